//! Keyboard layouts: which character a key gives. A scanner that plays a keyboard sends keys, and only the layout that it
//! was set to tells what they mean.
//!
//! ```text
//!  kernel's key codes    41  2  3  4  5  6  7  8  9 10 11 12 13      the row of digits
//!                           16 17 18 19 20 21 22 23 24 25 26 27      the row below
//!                           30 31 32 33 34 35 36 37 38 39 40 43      home row
//!                        86 44 45 46 47 48 49 50 51 52 53            the row with Shift
//! ```
//! Sources: the kernel's input-event-codes, the national standard layouts as Windows has them, which is what scanners play.

use std::fmt;
use std::str::FromStr;

/// A layout that a scanner may be set to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// United States: what nearly every scanner plays unless it was told otherwise.
    Us,
    /// United Kingdom.
    Uk,
    /// Germany and Austria, QWERTZ.
    De,
    /// France, AZERTY.
    Fr,
}

/// All of them, in the order in which they are tried.
pub static LAYOUTS: [Layout; 4] = [Layout::Us, Layout::Uk, Layout::De, Layout::Fr];

/// What is held down besides the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Shift, either.
    pub shift: bool,
    /// Alt Gr, the right Alt.
    pub alt_gr: bool,
    /// Caps Lock is on.
    pub caps_lock: bool,
}

/// What a key gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Given {
    /// The character, at once.
    Char(char),
    /// The character; a space after it only completes it.
    Dead(char),
}

impl Layout {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Layout::Us => "us",
            Layout::Uk => "uk",
            Layout::De => "de",
            Layout::Fr => "fr",
        }
    }

    /// What the key gives; `None` when it has no character, or none with these modifiers.
    pub fn character(self, code: u16, held: Held) -> Option<Given> {
        if code == SPACE {
            return Some(Given::Char(' '));
        }
        let table = self.table();
        if held.alt_gr {
            let level = if held.shift { None } else { Some(table.alt_gr) };
            let character = level?.iter().find(|(key, _)| *key == code)?.1;
            return Some(given(table, code, Level::AltGr, character));
        }
        let at = KEYS.iter().position(|key| *key == code)?;
        let plain = table.plain.chars().nth(at)?;
        let capital = held.caps_lock && plain.is_lowercase() && plain != 'ß';
        let (rows, level) =
            if held.shift != capital { (table.shift, Level::Shift) } else { (table.plain, Level::Plain) };
        let character = rows.chars().nth(at).filter(|character| *character != NOTHING)?;
        Some(given(table, code, level, character))
    }

    fn table(self) -> &'static Table {
        match self {
            Layout::Us => &US,
            Layout::Uk => &UK,
            Layout::De => &DE,
            Layout::Fr => &FR,
        }
    }
}

fn given(table: &Table, code: u16, level: Level, character: char) -> Given {
    if table.dead.contains(&(code, level)) { Given::Dead(character) } else { Given::Char(character) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Plain,
    Shift,
    AltGr,
}

struct Table {
    /// One character for each of `KEYS`.
    plain: &'static str,
    shift: &'static str,
    alt_gr: &'static [(u16, char)],
    dead: &'static [(u16, Level)],
}

const SPACE: u16 = 57;
/// Stands in a table where the key gives nothing.
const NOTHING: char = '\u{fffd}';

/// The keys of the tables, in their order.
#[rustfmt::skip]
const KEYS: [u16; 48] = [
    41, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
    30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 43,
    86, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53,
];

#[rustfmt::skip]
static US: Table = Table {
    plain: concat!("`1234567890-=", "qwertyuiop[]", "asdfghjkl;'\\", "\\zxcvbnm,./"),
    shift: concat!("~!@#$%^&*()_+", "QWERTYUIOP{}", "ASDFGHJKL:\"|", "|ZXCVBNM<>?"),
    alt_gr: &[],
    dead: &[],
};

#[rustfmt::skip]
static UK: Table = Table {
    plain: concat!("`1234567890-=",  "qwertyuiop[]", "asdfghjkl;'#", "\\zxcvbnm,./"),
    shift: concat!("¬!\"£$%^&*()_+", "QWERTYUIOP{}", "ASDFGHJKL:@~", "|ZXCVBNM<>?"),
    alt_gr: &[(41, '¦'), (5, '€')],
    dead: &[],
};

#[rustfmt::skip]
static DE: Table = Table {
    plain: concat!("^1234567890ß´",  "qwertzuiopü+", "asdfghjklöä#", "<yxcvbnm,.-"),
    shift: concat!("°!\"§$%&/()=?`", "QWERTZUIOPÜ*", "ASDFGHJKLÖÄ'", ">YXCVBNM;:_"),
    alt_gr: &[
        (3, '²'), (4, '³'), (8, '{'), (9, '['), (10, ']'), (11, '}'), (12, '\\'),
        (16, '@'), (18, '€'), (27, '~'), (86, '|'), (50, 'µ'),
    ],
    dead: &[(41, Level::Plain), (13, Level::Plain), (13, Level::Shift)],
};

#[rustfmt::skip]
static FR: Table = Table {
    plain: concat!("²&é\"'(-è_çà)=",          "azertyuiop^$", "qsdfghjklmù*", "<wxcvbn,;:!"),
    shift: concat!("\u{fffd}1234567890°+",    "AZERTYUIOP¨£", "QSDFGHJKLM%µ", ">WXCVBN?./§"),
    alt_gr: &[
        (3, '~'), (4, '#'), (5, '{'), (6, '['), (7, '|'), (8, '`'), (9, '\\'), (10, '^'), (11, '@'),
        (12, ']'), (13, '}'), (18, '€'), (27, '¤'),
    ],
    dead: &[(26, Level::Plain), (26, Level::Shift), (3, Level::AltGr), (8, Level::AltGr)],
};

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected us, uk, de or fr")]
pub struct LayoutError;

impl FromStr for Layout {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<Self, LayoutError> {
        LAYOUTS.into_iter().find(|layout| layout.as_str() == text).ok_or(LayoutError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(layout: Layout, code: u16, modifiers: &str, expected: Option<Given>) {
        let held = Held {
            shift: modifiers.contains('S'),
            alt_gr: modifiers.contains('G'),
            caps_lock: modifiers.contains('C'),
        };
        assert_eq!(layout.character(code, held), expected, "{layout} {code} {modifiers}");
    }

    fn char(character: char) -> Option<Given> {
        Some(Given::Char(character))
    }

    #[test]
    fn known_keys() {
        use Layout::{De, Fr, Uk, Us};
        for (layout, code, modifiers, expected) in [
            (Us, 16, "", 'q'),
            (Us, 16, "S", 'Q'),
            (Us, 16, "C", 'Q'),
            (Us, 16, "SC", 'q'),
            (Us, 2, "C", '1'),
            (Us, 3, "S", '@'),
            (Us, 53, "", '/'),
            (Us, 53, "S", '?'),
            (Us, 57, "S", ' '),
            (Us, 43, "", '\\'),
            (Uk, 3, "S", '"'),
            (Uk, 40, "S", '@'),
            (Uk, 43, "", '#'),
            (Uk, 86, "", '\\'),
            (Uk, 4, "S", '£'),
            (De, 21, "", 'z'),
            (De, 44, "", 'y'),
            (De, 12, "", 'ß'),
            (De, 12, "S", '?'),
            (De, 12, "C", 'ß'),
            (De, 16, "G", '@'),
            (De, 8, "S", '/'),
            (De, 53, "", '-'),
            (De, 53, "S", '_'),
            (De, 10, "G", ']'),
            (De, 39, "C", 'Ö'),
            (Fr, 16, "", 'a'),
            (Fr, 2, "S", '1'),
            (Fr, 2, "", '&'),
            (Fr, 39, "", 'm'),
            (Fr, 52, "S", '/'),
            (Fr, 12, "G", ']'),
            (Fr, 11, "G", '@'),
            (Fr, 10, "G", '^'),
            (Fr, 7, "", '-'),
        ] {
            check(layout, code, modifiers, char(expected));
        }
        check(De, 41, "", Some(Given::Dead('^')));
        check(De, 13, "S", Some(Given::Dead('`')));
        check(Fr, 26, "", Some(Given::Dead('^')));
        check(Fr, 3, "G", Some(Given::Dead('~')));
        for (layout, code, modifiers) in
            [(Us, 59, ""), (Us, 16, "G"), (De, 16, "SG"), (Uk, 0, ""), (Fr, 28, "")]
        {
            check(layout, code, modifiers, None);
        }
    }

    /// Whatever ASCII a label holds, a scanner set to any of these layouts can type it.
    #[test]
    fn every_layout_has_all_of_ascii_and_no_character_twice() {
        for layout in LAYOUTS {
            let levels = ["", "S", "G"].map(|level| Held {
                shift: level == "S",
                alt_gr: level == "G",
                caps_lock: false,
            });
            let typed: Vec<char> = KEYS
                .into_iter()
                .chain([SPACE])
                .flat_map(|code| levels.iter().filter_map(move |held| layout.character(code, *held)))
                .map(|given| match given {
                    Given::Char(character) | Given::Dead(character) => character,
                })
                .collect();
            for character in ' '..='~' {
                assert!(typed.contains(&character), "{layout}: {character:?}");
            }
            for table in [layout.table().plain, layout.table().shift] {
                assert_eq!(table.chars().count(), KEYS.len(), "{layout}");
            }
            assert_eq!(layout.as_str().parse(), Ok(layout));
        }
        assert!("dvorak".parse::<Layout>().is_err());
    }
}
