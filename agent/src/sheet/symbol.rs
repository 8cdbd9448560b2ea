//! From text to the dark modules of a symbol.
//!
//! ```text
//!  Code 128   start [FNC1] data ... check stop      11 modules a character, 13 for stop, quiet zone of 10
//!  Data Matrix  L-shaped border, clock track, data and error correction inside, quiet zone of 1, of 2 to be safe
//! ```

use barcoders::sym::code128::Code128;
use datamatrix::{DataMatrix, SymbolList};

use super::Code;

/// Which kind of symbol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Symbol {
    /// Bars, read by every scanner; GS1-128 for GS1 data.
    Code128,
    /// A small square, read by cameras only; GS1 DataMatrix for GS1 data.
    DataMatrix,
}

/// Dark and light modules, without the quiet zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Modules {
    width: usize,
    dark: Vec<bool>,
}

/// Why a text is in no symbol.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SymbolError {
    /// A scanner's settings would decide what comes of it.
    #[error(
        "{text:?} has {got:?}: only the printable characters of ASCII come back the same from every scanner"
    )]
    Character {
        /// What was to be printed.
        text: String,
        /// Its first such character.
        got: char,
    },
    /// The library found no symbol for it.
    #[error("{text:?} fits into no symbol")]
    TooLong {
        /// What was to be printed.
        text: String,
    },
}

impl Symbol {
    /// Modules to be kept light on each side: what the standard asks for, doubled for Data Matrix since labels are
    /// cut by hand.
    pub fn quiet_zone(self) -> usize {
        match self {
            Symbol::Code128 => 10,
            Symbol::DataMatrix => 2,
        }
    }

    /// Draws a code.
    ///
    /// # Errors
    /// When a scanner could not give it back.
    pub fn modules(self, code: &Code) -> Result<Modules, SymbolError> {
        let data = code.data();
        if let Some(got) = data.chars().find(|c| !(' '..='~').contains(c)) {
            return Err(SymbolError::Character { text: data.to_owned(), got });
        }
        let too_long = || SymbolError::TooLong { text: data.to_owned() };
        let is_gs1 = matches!(code, Code::Gs1 { .. });
        match self {
            Symbol::Code128 => {
                let bars = Code128::new(characters(data, is_gs1)).map_err(|_| too_long())?.encode();
                Ok(Modules { width: bars.len(), dark: bars.iter().map(|bar| *bar == 1).collect() })
            }
            Symbol::DataMatrix => {
                let squares = SymbolList::default().enforce_square();
                let encode = if is_gs1 { DataMatrix::encode_gs1 } else { DataMatrix::encode };
                let bitmap = encode(data.as_bytes(), squares).map_err(|_| too_long())?.bitmap();
                Ok(Modules { width: bitmap.width(), dark: bitmap.bits().to_vec() })
            }
        }
    }
}

/// Two digits take one character in set C; going there and back costs two, so it pays from four digits on at the
/// beginning, where the start character chooses, and from six elsewhere.
const DIGITS_FIRST: usize = 4;
const DIGITS_LATER: usize = 6;

/// The text with the library's marks for the sets B and C and for FNC1.
fn characters(data: &str, is_gs1: bool) -> String {
    const SET_B: char = '\u{181}';
    const SET_C: char = '\u{106}';
    const FNC1: char = '\u{179}';
    let mut out = String::new();
    let mut in_c = None;
    let mut rest = data;
    while let Some(first) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let enough = if in_c.is_none() { DIGITS_FIRST } else { DIGITS_LATER };
        // In set C digits go on as long as there are pairs.
        let to_c = digits >= enough || (in_c == Some(true) && digits >= 2);
        if in_c != Some(to_c) {
            out.push(if to_c { SET_C } else { SET_B });
            if in_c.is_none() && is_gs1 {
                out.push(FNC1);
            }
            in_c = Some(to_c);
        }
        let taken = match to_c {
            // An odd one is left over and stands alone in set B.
            true => digits - digits % 2,
            false => first.len_utf8(),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

impl Modules {
    /// Modules in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.dark.len() / self.width.max(1)
    }

    /// Runs of dark modules: `(row, first, length)`.
    pub fn runs(&self) -> Vec<(usize, usize, usize)> {
        let mut runs = Vec::new();
        for (row, line) in self.dark.chunks(self.width.max(1)).enumerate() {
            let mut at = 0;
            for run in line.chunk_by(|a, b| a == b) {
                if run.first() == Some(&true) {
                    runs.push((row, at, run.len()));
                }
                at += run.len();
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(data: &str, is_gs1: bool, expected: &str) {
        let shown: String = characters(data, is_gs1)
            .chars()
            .map(|c| match c {
                '\u{181}' => '<',
                '\u{106}' => '[',
                '\u{179}' => '*',
                c => c,
            })
            .collect();
        assert_eq!(shown, expected, "{data}");
        let code = match is_gs1 {
            true => Code::Gs1 { data: data.to_owned(), shown: data.to_owned() },
            false => Code::Text(data.to_owned()),
        };
        let modules = Symbol::Code128.modules(&code).unwrap();
        // Characters and check of 11, stop of 13; it begins and ends dark.
        assert_eq!((modules.width() - 13) % 11, 0);
        assert!(modules.dark[0] && modules.dark[modules.width() - 1] && modules.height() == 1);
        let matrix = Symbol::DataMatrix.modules(&code).unwrap();
        assert_eq!(matrix.width(), matrix.height());
        let read = DataMatrix::decode(&matrix.dark, matrix.width()).unwrap();
        assert_eq!(String::from_utf8(read).unwrap(), data);
    }

    #[test]
    fn digits_go_in_pairs_where_that_is_shorter() {
        check("SW:CMD:DONE", false, "<SW:CMD:DONE");
        check("1234", false, "[1234");
        check("123", false, "<123");
        check("12345", false, "[1234<5");
        check("A12345B", false, "<A12345B");
        check("A123456B", false, "<A[123456<B");
        check("SW:QTY:100000", false, "<SW:QTY:[100000");
        check("4149506000111117254A-01", true, "[*414950600011111725<4A-01");
        check("A", true, "<*A");
    }

    #[test]
    fn what_no_scanner_gives_back_is_refused() {
        let error = Symbol::Code128.modules(&Code::Text("SW:OP:Zo\u{eb}".into())).unwrap_err().to_string();
        assert!(error.starts_with("\"SW:OP:Zo\u{eb}\" has '\u{eb}'"), "{error}");
        assert!(Symbol::DataMatrix.modules(&Code::Text("a\tb".into())).is_err());
        assert!(Symbol::DataMatrix.modules(&Code::Text("x".repeat(4000))).is_err());
        assert!(Symbol::Code128.modules(&Code::Text(String::new())).is_err());
    }
}
