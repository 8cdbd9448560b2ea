//! Fonts that every PDF reader has, and how wide their letters are.
//!
//! Widths are those of the standard fonts' metrics, in thousandths of the size.

use super::page::Length;

/// One of the fonts that need not be embedded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Font {
    /// Helvetica.
    Regular,
    /// Helvetica Bold.
    Bold,
    /// Courier Bold: `0` and `O` differ, and so do `1`, `l` and `I`.
    Code,
}

impl Font {
    /// All of them, in the order in which a PDF numbers them.
    pub const ALL: [Font; 3] = [Font::Regular, Font::Bold, Font::Code];

    /// How wide a text is at a size.
    pub fn width(self, text: &str, size: Length) -> Length {
        let thousandths: i64 = text.chars().map(|c| i64::from(self.advance(c))).sum();
        (thousandths * i64::from(size) / 1000) as Length
    }

    /// The largest size of at most `size` at which a text fits, and the text, cut when even `size_min` is too much.
    pub fn fit(self, text: &str, size: Length, size_min: Length, width: Length) -> (Length, String) {
        let needed = i64::from(self.width(text, size)).max(1);
        let fitting = (i64::from(size) * i64::from(width) / needed) as Length;
        if fitting >= size_min {
            return (fitting.min(size), text.to_owned());
        }
        let mut cut = text.to_owned();
        while cut.pop().is_some() {
            let dotted = format!("{cut}...");
            if self.width(&dotted, size_min) <= width {
                return (size_min, dotted);
            }
        }
        (size_min, String::new())
    }

    /// A sentence in lines of at most `width`. A word that is longer has a line of its own.
    pub fn wrap(self, text: &str, size: Length, width: Length) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            match lines.last_mut() {
                Some(line) if self.width(&format!("{line} {word}"), size) <= width => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines
    }

    fn advance(self, c: char) -> u16 {
        let table = match self {
            Font::Regular => &REGULAR,
            Font::Bold => &BOLD,
            Font::Code => return 600,
        };
        let at = (c as usize).wrapping_sub(' ' as usize);
        // Letters with accents are as wide as most letters.
        table.get(at).copied().unwrap_or(556)
    }
}

/// From space to tilde.
#[rustfmt::skip]
static REGULAR: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

#[rustfmt::skip]
static BOLD: [u16; 95] = [
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 333, 333, 584, 584, 584, 611,
    975, 722, 722, 722, 722, 667, 611, 778, 722, 278, 556, 722, 611, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 333, 278, 333, 584, 556,
    333, 556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556, 278, 889, 611, 611,
    611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_smaller_and_then_cut() {
        assert_eq!(Font::Code.width("SW", 1000), 1200);
        assert_eq!(Font::Regular.width("il", 1000), 444);
        assert_eq!(Font::Code.fit("ABCD", 1000, 500, 2400), (1000, "ABCD".into()));
        assert_eq!(Font::Code.fit("ABCD", 1000, 500, 1800), (750, "ABCD".into()));
        assert_eq!(Font::Code.fit("ABCDEFGH", 1000, 500, 1500), (500, "AB...".into()));
        assert_eq!(Font::Code.fit("ABCD", 1000, 500, 10), (500, String::new()));
        assert_eq!(Font::Code.wrap("a bc  def ghijklm", 1000, 2400), ["a bc", "def", "ghijklm"]);
        assert!(Font::Code.wrap("", 1000, 2400).is_empty());
        assert_eq!(Font::Bold.fit("", 1000, 500, 10), (1000, String::new()));
    }
}
