//! TOML into values, with a line for every fault and none of them hiding another.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Fault;

/// Most faults that are told: a file of another kind would give one for each of its lines.
const FAULTS_MAX: usize = 100;

/// The text and what is wrong with it so far.
pub(super) struct Document<'a> {
    text: &'a str,
    faults: RefCell<Vec<Fault>>,
}

/// One table. Each key that is asked for is known; the others are faults, see [`Section::finish`].
pub(super) struct Section<'a> {
    document: &'a Document<'a>,
    path: String,
    table: &'a DeTable<'a>,
    at: Range<usize>,
    known: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, faults: RefCell::new(Vec::new()) }
    }

    pub(super) fn root(&'a self, table: &'a Spanned<DeTable<'a>>) -> Section<'a> {
        Section::new(self, String::new(), table.get_ref(), 0..0)
    }

    pub(super) fn fault(&self, at: Range<usize>, key: &str, what: impl Into<String>) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < FAULTS_MAX {
            let line = 1 + self.text.as_bytes().iter().take(at.start).filter(|byte| **byte == b'\n').count();
            faults.push(Fault { line, key: key.to_owned(), what: what.into() });
        }
    }

    /// In the order of the lines.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        faults.sort_by_key(|fault| fault.line);
        faults
    }
}

impl<'a> Section<'a> {
    fn new(document: &'a Document<'a>, path: String, table: &'a DeTable<'a>, at: Range<usize>) -> Self {
        Self { document, path, table, at, known: RefCell::default() }
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().insert(key);
        self.table.get(key)
    }

    /// A fault of this key, at its line when it is there.
    pub(super) fn fault(&self, key: &str, what: impl Into<String>) {
        let at = self.table.get(key).map_or(self.at.clone(), Spanned::span);
        self.document.fault(at, &self.name(key), what);
    }

    /// A value, read by `read`, which says what it expected when it cannot.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.get(key)?;
        match read(value.get_ref()) {
            Ok(value) => Some(value),
            Err(what) => {
                self.document.fault(value.span(), &self.name(key), what);
                None
            }
        }
    }

    /// As [`Self::optional`], with a default when the key is missing. `None` means that a fault was noted.
    pub(super) fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        if self.get(key).is_none() { Some(default) } else { self.optional(key, read) }
    }

    /// As [`Self::optional`], and a fault when the key is missing.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<T> {
        if self.get(key).is_none() {
            self.document.fault(self.at.clone(), &self.name(key), "is missing");
        }
        self.optional(key, read)
    }

    /// A table below this one; an empty one when it is missing, so that its required keys are reported.
    pub(super) fn section(&self, key: &'static str) -> Section<'a> {
        static EMPTY: std::sync::LazyLock<DeTable<'static>> = std::sync::LazyLock::new(DeTable::new);
        let (table, at) = match self.get(key) {
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => (table, value.span()),
                other => {
                    self.document.fault(value.span(), &self.name(key), expected("a table", other));
                    (&*EMPTY, value.span())
                }
            },
            None => (&*EMPTY, self.at.clone()),
        };
        Section::new(self.document, self.name(key), table, at)
    }

    /// Tables below this one: `[[key]]` any number of times, or `[key]` once.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Table(table) => {
                vec![Section::new(self.document, self.name(key), table, value.span())]
            }
            DeValue::Array(values) => {
                let numbered = values.iter().enumerate().filter_map(|(at, value)| match value.get_ref() {
                    DeValue::Table(table) => {
                        let path = format!("{}[{}]", self.name(key), at + 1);
                        Some(Section::new(self.document, path, table, value.span()))
                    }
                    other => {
                        self.document.fault(value.span(), &self.name(key), expected("a table", other));
                        None
                    }
                });
                numbered.collect()
            }
            other => {
                self.document.fault(value.span(), &self.name(key), expected("tables", other));
                Vec::new()
            }
        }
    }

    /// Whether the key is there at all.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// Reports keys that nobody asked for: a mistyped key would otherwise be a default that nobody chose.
    pub(super) fn finish(self) {
        let known = self.known.borrow();
        for key in self.table.keys().filter(|key| !known.contains(key.get_ref().as_ref())) {
            let keys: Vec<&str> = known.iter().copied().collect();
            self.document.fault(
                key.span(),
                &self.name(key.get_ref()),
                format!("is not known; known here: {}", keys.join(", ")),
            );
        }
    }
}

/// Most of a value that is repeated in a fault.
const SHOWN_CHARS_MAX: usize = 60;

/// `expected X, got Y`.
pub(super) fn expected(what: &str, got: &DeValue<'_>) -> String {
    let got = match got {
        DeValue::String(text) => {
            let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
            format!("{shown:?}")
        }
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        other => format!("a {}", other.type_str()),
    };
    format!("expected {what}, got {got}")
}

/// Text that `parse` accepts.
pub(super) fn text<T, E: std::fmt::Display>(
    value: &DeValue<'_>,
    what: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, String> {
    match value {
        DeValue::String(text) => parse(text).map_err(|error| format!("{}: {error}", expected(what, value))),
        other => Err(expected(what, other)),
    }
}

/// A whole number within bounds.
pub(super) fn number(
    value: &DeValue<'_>,
    bounds: std::ops::RangeInclusive<u64>,
    unit: &str,
) -> Result<u64, String> {
    let what = format!("a number{unit} from {} to {}", bounds.start(), bounds.end());
    let DeValue::Integer(number) = value else { return Err(expected(&what, value)) };
    match u64::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) if bounds.contains(&number) => Ok(number),
        _ => Err(expected(&what, value)),
    }
}

/// `true` or `false`.
pub(super) fn truth(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| expected("true or false", value))
}
