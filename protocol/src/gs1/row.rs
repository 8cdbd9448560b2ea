//! What one row of the identifier table says, how rows are found, and how they are kept small.
//!
//! Rows are written down as [`Entry`]: typed, readable, full of references. Those never reach the binary: the compiler
//! packs them into three flat arrays without a single pointer, as a pointer costs 16 bytes and a relocation of 24
//! more on a 64-bit box, which for 224 rows of four texts each would be more than all the texts together.

use super::check::Check;
use super::date::DayZero;
use super::table::{PARTS, TABLE, TEXT};

/// One application identifier, or a range of them that differ in their last digit, as it is written down.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// The identifier; a last `n` stands for any digit from 0.
    ai: &'static str,
    /// Where a range ends: its last identifier, or for `n` its last digit. Zero: no range.
    to: u16,
    /// In order; only the last may vary in length.
    parts: &'static [Part],
    /// Alternatives between commas, each a sum of identifiers that must stand on the same item: `00+02,01`. `n` is
    /// any digit. Empty: none.
    requires: &'static str,
    /// Identifiers between commas that must not stand on the same item. Measures do not name themselves: two of them
    /// that differ in decimals contradict each other, which is refused.
    excludes: &'static str,
    /// For the primary key of a Digital Link: which qualifiers may follow, in this order; alternatives between `|`.
    qualifiers: Option<&'static str>,
    /// May not stand in the query of a Digital Link.
    label_only: bool,
    title: &'static str,
}

/// The same in 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Row {
    first: u16,
    last: u16,
    /// How many digits the identifier has.
    digits: u8,
    flags: u8,
    parts_at: u16,
    parts: u8,
    /// Where its texts begin: requires, excludes, qualifiers, title.
    text_at: u16,
    requires: u8,
    excludes: u8,
    qualifiers: u8,
    title: u8,
}

const KEY: u8 = 1;
const LABEL_ONLY: u8 = 2;

/// A piece of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub(super) set: Set,
    pub(super) min: u8,
    pub(super) max: u8,
    /// May be missing, with everything behind it.
    pub(super) optional: bool,
    pub(super) read: Read,
    /// What holds beyond set and length; [`Check::Nothing`] fills up.
    pub(super) checks: [Check; 3],
}

/// Which characters a part may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Set {
    /// Digits.
    N,
    /// GS1 character set 82.
    X,
    /// GS1 character set 39.
    Y,
    /// GS1 character set 64, file-safe base 64.
    Z,
}

/// How a part is understood, and with that how it is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Read {
    Text,
    Gtin,
    Sscc,
    Gln,
    Date(DayZero),
    /// YYYYMMDD.
    LongDate,
    Count,
    /// A number whose decimals are told by the identifier's last digit.
    Measure,
    /// The same behind the number of a currency.
    Amount,
}

impl Part {
    const fn new(set: Set, min: u8, max: u8) -> Self {
        Self { set, min, max, optional: false, read: Read::Text, checks: [Check::Nothing; 3] }
    }

    pub(super) const fn read(mut self, read: Read) -> Self {
        self.read = read;
        self
    }

    pub(super) const fn check(mut self, checks: &[Check]) -> Self {
        let mut at = 0;
        while at < checks.len() {
            self.checks[at] = checks[at];
            at += 1;
        }
        self
    }

    pub(super) const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

/// Exactly `length` digits.
pub(super) const fn n(length: u8) -> Part {
    Part::new(Set::N, length, length)
}

/// 1 to `max` digits.
pub(super) const fn n_to(max: u8) -> Part {
    Part::new(Set::N, 1, max)
}

/// Exactly `length` characters of set 82.
pub(super) const fn x(length: u8) -> Part {
    Part::new(Set::X, length, length)
}

/// 1 to `max` characters of set 82.
pub(super) const fn x_to(max: u8) -> Part {
    Part::new(Set::X, 1, max)
}

/// 1 to `max` characters of set 39.
pub(super) const fn y_to(max: u8) -> Part {
    Part::new(Set::Y, 1, max)
}

/// 1 to `max` characters of set 64.
pub(super) const fn z_to(max: u8) -> Part {
    Part::new(Set::Z, 1, max)
}

pub(super) const fn row(
    ai: &'static str,
    parts: &'static [Part],
    requires: &'static str,
    excludes: &'static str,
    title: &'static str,
) -> Entry {
    Entry { ai, to: 0, parts, requires, excludes, qualifiers: None, label_only: false, title }
}

impl Entry {
    /// A range up to this identifier, or this last digit.
    pub(super) const fn up_to(mut self, to: u16) -> Self {
        self.to = to;
        self
    }

    /// A primary key of Digital Links.
    pub(super) const fn key(mut self, qualifiers: &'static str) -> Self {
        self.qualifiers = Some(qualifiers);
        self
    }

    pub(super) const fn label_only(mut self) -> Self {
        self.label_only = true;
        self
    }

    const fn texts(&self) -> [&'static str; 4] {
        let qualifiers = match self.qualifiers {
            Some(qualifiers) => qualifiers,
            None => "",
        };
        [self.requires, self.excludes, qualifiers, self.title]
    }

    const fn packed(&self, parts_at: u16, text_at: u16) -> Row {
        let (mut first, mut at) = (0, 0);
        while at < self.ai.len() {
            let digit = self.ai.as_bytes()[at];
            first = first * 10 + if digit == b'n' { 0 } else { (digit - b'0') as u16 };
            at += 1;
        }
        let is_digit_range = self.ai.as_bytes()[at - 1] == b'n';
        let last = match self.to {
            0 => first,
            to if is_digit_range => first + to,
            to => to,
        };
        let key = if self.qualifiers.is_some() { KEY } else { 0 };
        let label_only = if self.label_only { LABEL_ONLY } else { 0 };
        let [requires, excludes, qualifiers, title] = self.texts();
        Row {
            first,
            last,
            digits: self.ai.len() as u8,
            flags: key | label_only,
            parts_at,
            parts: self.parts.len() as u8,
            text_at,
            requires: requires.len() as u8,
            excludes: excludes.len() as u8,
            qualifiers: qualifiers.len() as u8,
            title: title.len() as u8,
        }
    }
}

/// How long all texts together are, and how many parts there are.
pub(super) const fn sizes(entries: &[Entry]) -> (usize, usize) {
    let (mut text, mut parts, mut at) = (0, 0, 0);
    while at < entries.len() {
        let texts = entries[at].texts();
        text += texts[0].len() + texts[1].len() + texts[2].len() + texts[3].len();
        parts += entries[at].parts.len();
        at += 1;
    }
    (text, parts)
}

pub(super) const fn pack_rows<const N: usize>(entries: &[Entry]) -> [Row; N] {
    let mut rows = [entries[0].packed(0, 0); N];
    let (mut at, mut parts_at, mut text_at) = (0, 0, 0);
    while at < N {
        rows[at] = entries[at].packed(parts_at as u16, text_at as u16);
        let (text, parts) = sizes(entries.split_at(at).1.split_at(1).0);
        text_at += text;
        parts_at += parts;
        at += 1;
    }
    // A text that does not fit its length in a byte, or an offset in two, would be cut silently.
    assert!(text_at <= u16::MAX as usize && parts_at <= u16::MAX as usize);
    rows
}

pub(super) const fn pack_parts<const N: usize>(entries: &[Entry]) -> [Part; N] {
    let mut packed = [n(1); N];
    let (mut at, mut filled) = (0, 0);
    while at < entries.len() {
        let parts = entries[at].parts;
        let mut part = 0;
        while part < parts.len() {
            packed[filled] = parts[part];
            filled += 1;
            part += 1;
        }
        at += 1;
    }
    packed
}

pub(super) const fn pack_text<const N: usize>(entries: &[Entry]) -> [u8; N] {
    let mut packed = [0; N];
    let (mut at, mut filled) = (0, 0);
    while at < entries.len() {
        let texts = entries[at].texts();
        let mut text = 0;
        while text < texts.len() {
            let bytes = texts[text].as_bytes();
            assert!(bytes.len() <= u8::MAX as usize);
            let mut byte = 0;
            while byte < bytes.len() {
                packed[filled] = bytes[byte];
                filled += 1;
                byte += 1;
            }
            text += 1;
        }
        at += 1;
    }
    packed
}

impl Row {
    pub(super) fn parts(&self) -> &'static [Part] {
        let at = usize::from(self.parts_at);
        &PARTS[at..at + usize::from(self.parts)]
    }

    pub(super) fn requires(&self) -> &'static str {
        self.text(0, self.requires)
    }

    pub(super) fn excludes(&self) -> &'static str {
        self.text(usize::from(self.requires), self.excludes)
    }

    /// Which qualifiers may follow in a Digital Link; `None` when this is no primary key of one.
    pub(super) fn qualifiers(&self) -> Option<&'static str> {
        let from = usize::from(self.requires) + usize::from(self.excludes);
        (self.flags & KEY != 0).then(|| self.text(from, self.qualifiers))
    }

    pub(super) fn title(&self) -> &'static str {
        let from = usize::from(self.requires) + usize::from(self.excludes) + usize::from(self.qualifiers);
        self.text(from, self.title)
    }

    fn text(&self, from: usize, length: u8) -> &'static str {
        let at = usize::from(self.text_at) + from;
        // Always `Some`: the offsets were made beside the text.
        TEXT.get(at..at + usize::from(length)).unwrap_or_default()
    }

    /// Whether it may stand in the query of a Digital Link.
    pub(super) fn may_stand_in_query(&self) -> bool {
        self.flags & LABEL_ONLY == 0
    }

    /// Whether two identifiers of this range say the same thing with other decimals, so that only one may stand.
    pub(super) fn is_one_thing(&self) -> bool {
        self.parts().iter().any(|part| matches!(part.read, Read::Measure | Read::Amount))
    }

    /// Its identifiers, for tests that go through all of them.
    #[cfg(test)]
    pub(super) fn identifiers(&self) -> impl Iterator<Item = alloc::string::String> {
        let digits = usize::from(self.digits);
        (self.first..=self.last).map(move |ai| alloc::format!("{ai:0digits$}"))
    }
}

/// The row whose identifier `data` starts with, and that identifier. Identifiers are prefix-free, so that one look
/// into the table, by the next four digits, finds it or shows that there is none.
pub(super) fn find(data: &str) -> Option<(&'static Row, &str)> {
    let bytes = data.as_bytes();
    let available = bytes.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    let digit = |at: usize| if at < available { u16::from(bytes[at] - b'0') } else { 0 };
    let wanted = digit(0) * 1000 + digit(1) * 100 + digit(2) * 10 + digit(3);
    let scale = |row: &Row| 10u16.pow(u32::from(4 - row.digits));
    let row = &TABLE[TABLE.partition_point(|row| row.first * scale(row) <= wanted).checked_sub(1)?];
    let length = usize::from(row.digits);
    (length <= available && wanted / scale(row) <= row.last).then(|| (row, &data[..length]))
}

/// The row of exactly this identifier.
pub(super) fn find_exact(ai: &str) -> Option<&'static Row> {
    find(ai).filter(|(_, found)| *found == ai).map(|(row, _)| row)
}

/// Whether an identifier is meant by a pattern such as `31nn`.
pub(super) fn matches_pattern(ai: &str, pattern: &str) -> bool {
    let mut pairs = ai.bytes().zip(pattern.bytes());
    ai.len() == pattern.len() && pairs.all(|(digit, wanted)| wanted == b'n' || digit == wanted)
}

/// Identifiers by their first two digits whose elements have a length known beforehand, identifier included, and
/// so need no GS behind them. The list is closed for all time; everything else needs GS even if its format is fixed.
pub(super) const PREDEFINED: &[(&str, usize)] = &[
    ("00", 20),
    ("01", 16),
    ("02", 16),
    ("03", 16),
    ("04", 18),
    ("11", 8),
    ("12", 8),
    ("13", 8),
    ("14", 8),
    ("15", 8),
    ("16", 8),
    ("17", 8),
    ("18", 8),
    ("19", 8),
    ("20", 4),
    ("31", 10),
    ("32", 10),
    ("33", 10),
    ("34", 10),
    ("35", 10),
    ("36", 10),
    ("41", 16),
];

/// The length of the value behind `ai`, when it is predefined.
pub(super) fn predefined_length(ai: &str) -> Option<usize> {
    let (_, total) = PREDEFINED.iter().find(|(prefix, _)| ai.starts_with(prefix))?;
    total.checked_sub(ai.len())
}

impl Set {
    pub(super) fn contains(self, byte: u8) -> bool {
        match self {
            Set::N => byte.is_ascii_digit(),
            Set::X => byte.is_ascii_alphanumeric() || b"!\"%&'()*+,-./:;<=>?_".contains(&byte),
            Set::Y => byte.is_ascii_digit() || byte.is_ascii_uppercase() || b"#-/".contains(&byte),
            Set::Z => byte.is_ascii_alphanumeric() || b"-_=".contains(&byte),
        }
    }

    /// In words, for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Set::N => "digits",
            Set::X => "characters of GS1 set 82",
            Set::Y => "characters of GS1 set 39",
            Set::Z => "characters of GS1 set 64",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_found() {
        let check = |data: &str, expected| assert_eq!(find(data).map(|(_, ai)| ai), expected, "{data}");
        check("0109506000134352", Some("01"));
        check("3103001250", Some("3103"));
        check("3105001250", Some("3105"));
        check("3106001250", None);
        check("310", None);
        check("310x001250", None);
        check("414", Some("414"));
        check("41", None);
        check("4", None);
        check("10ABC", Some("10"));
        check("1", None);
        check("999", Some("99"));
        check("9", None);
        check("3909", Some("3909"));
        check("3944", None);
        check("8043", Some("8043"));
        check("8044", None);
        check("04", None);
        check("", None);
        check("x", None);
        check("ä1", None);
    }

    /// As slow and plain as can be, against the quick way.
    #[test]
    fn the_quick_way_finds_what_looking_at_every_row_finds() {
        for number in 0..10_000 {
            let data = alloc::format!("{number:04}A");
            let slow =
                TABLE.iter().find_map(|row| row.identifiers().find(|ai| data.starts_with(ai.as_str())));
            assert_eq!(find(&data).map(|(_, ai)| ai), slow.as_deref(), "{data}");
        }
    }

    #[test]
    fn rows_are_sound() {
        for (at, row) in TABLE.iter().enumerate() {
            let (last, before) = row.parts().split_last().unwrap();
            assert!(last.min >= 1 && last.min <= last.max, "{row:?}");
            assert!(before.iter().all(|part| part.min == part.max), "{row:?}: only the last part may vary");
            let optional = row.parts().iter().map(|part| part.optional);
            assert!(optional.is_sorted(), "{row:?}: no mandatory part behind an optional one");
            for ai in row.identifiers() {
                assert_eq!(find(&ai).map(|(found, _)| found), Some(row), "{ai}");
                for other in TABLE[at + 1..].iter().flat_map(Row::identifiers) {
                    assert!(!other.starts_with(&ai), "{ai} hides {other}");
                }
                if let Some(length) = predefined_length(&ai) {
                    let sum: usize = row.parts().iter().map(|part| usize::from(part.max)).sum();
                    assert_eq!((sum, last.min, last.optional), (length, last.max, false), "{ai}");
                }
            }
        }
    }

    #[test]
    fn patterns() {
        for (ai, pattern, expected) in [
            ("3103", "310n", true),
            ("3103", "31nn", true),
            ("3103", "311n", false),
            ("310", "310n", false),
            ("01", "01", true),
        ] {
            assert_eq!(matches_pattern(ai, pattern), expected, "{ai} {pattern}");
        }
    }

    #[test]
    fn character_sets_have_the_size_they_are_named_for() {
        let size = |set: Set| (0..=255).filter(|byte| set.contains(*byte)).count();
        // The padding of base 64 is not one of the 64.
        assert_eq!([Set::N, Set::X, Set::Y, Set::Z].map(size), [10, 82, 39, 64 + 1]);
    }

    /// On the edge boxes each kilobyte is weighed.
    #[test]
    fn the_table_is_small() {
        let size = size_of_val(&TABLE) + size_of_val(&PARTS) + TEXT.len();
        std::println!(
            "{size} bytes: {} rows of {}, {} parts of {}, text {}",
            TABLE.len(),
            size_of::<Row>(),
            PARTS.len(),
            size_of::<Part>(),
            TEXT.len()
        );
        assert!(size_of::<Row>() <= 16 && size < 16_000, "{size}");
    }
}
