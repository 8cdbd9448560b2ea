//! Reading TOML so that every fault is told at once, with its line, what was expected and what came.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One fault of a configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Fault {
    /// Counted from 1.
    pub line: usize,
    /// What was expected, what came, what to do.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// A document under reading: its text, for line numbers, and the faults so far.
pub(super) struct Reader<'t> {
    text: &'t str,
    faults: Vec<Fault>,
}

/// A table whose keys are taken one by one; what is left at the end is unknown.
pub(super) struct Section<'t> {
    name: String,
    span: Range<usize>,
    table: DeTable<'t>,
}

impl<'t> Reader<'t> {
    /// Parses the document; syntax faults are collected like all others.
    pub(super) fn new(text: &'t str) -> (Self, Section<'t>) {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut reader = Self { text, faults: Vec::new() };
        for error in errors {
            reader.fault(error.span().unwrap_or(0..0), error.message().to_owned());
        }
        let section = Section { name: String::new(), span: root.span(), table: root.into_inner() };
        (reader, section)
    }

    /// Notes a fault at a place of the text.
    pub(super) fn fault(&mut self, span: Range<usize>, message: String) {
        let before = self.text.get(..span.start.min(self.text.len())).unwrap_or(self.text);
        self.faults.push(Fault { line: before.matches('\n').count() + 1, message });
    }

    /// Faults so far.
    pub(super) fn count(&self) -> usize {
        self.faults.len()
    }

    /// All faults in the order of their lines.
    pub(super) fn finish(mut self) -> Vec<Fault> {
        self.faults.sort();
        self.faults
    }

    /// A sub-table, when it is there.
    pub(super) fn section(&mut self, parent: &mut Section<'t>, key: &str) -> Option<Section<'t>> {
        let value = parent.take(key)?;
        let (span, name) = (value.span(), parent.path(key));
        match value.into_inner() {
            DeValue::Table(table) => Some(Section { name, span, table }),
            other => {
                self.fault(span, format!("{name} must be a table [{name}], got {}", other.type_str()));
                None
            }
        }
    }

    /// The tables of `[[key]]`.
    pub(super) fn sections(&mut self, parent: &mut Section<'t>, key: &str) -> Vec<Section<'t>> {
        let Some(value) = parent.take(key) else { return Vec::new() };
        let (span, name) = (value.span(), parent.path(key));
        let DeValue::Array(list) = value.into_inner() else {
            self.fault(span, format!("{name} must be tables [[{name}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for value in list {
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(table) => sections.push(Section { name: name.clone(), span, table }),
                other => {
                    self.fault(span, format!("{name} must be tables [[{name}]], got {}", other.type_str()))
                }
            }
        }
        sections
    }

    /// A text, read further by `parse`, whose error says what was expected.
    pub(super) fn parse<T>(
        &mut self,
        section: &mut Section<'t>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = section.take(key)?;
        let (span, name) = (value.span(), section.path(key));
        let Some(text) = value.get_ref().as_str() else {
            self.fault(span, format!("{name} must be a text in quotes, got {}", value.get_ref().type_str()));
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(expected) => {
                self.fault(span, format!("{name} = {text:?}: {expected}"));
                None
            }
        }
    }

    /// A text that may not be left out.
    pub(super) fn required<T>(
        &mut self,
        section: &mut Section<'t>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !section.has(key) {
            self.fault(section.span.clone(), format!("[{}] lacks {key}", section.name));
            return None;
        }
        self.parse(section, key, parse)
    }

    /// The path of a file or folder.
    pub(super) fn path(&mut self, section: &mut Section<'t>, key: &str) -> Option<PathBuf> {
        self.required(section, key, |text| match text {
            "" => Err("expected the path of a file".into()),
            text => Ok(PathBuf::from(text)),
        })
    }

    /// A whole number within bounds, or the default.
    pub(super) fn integer(
        &mut self,
        section: &mut Section<'t>,
        key: &str,
        bounds: (i64, i64),
        default: i64,
    ) -> i64 {
        let Some(value) = section.take(key) else { return default };
        let (span, name) = (value.span(), section.path(key));
        let number = value.get_ref().as_integer();
        let number = number.and_then(|n| i64::from_str_radix(&n.as_str().replace('_', ""), n.radix()).ok());
        match number {
            Some(number) if (bounds.0..=bounds.1).contains(&number) => number,
            Some(number) => {
                self.fault(span, format!("{name} = {number}: expected {} to {}", bounds.0, bounds.1));
                default
            }
            None => {
                let got = value.get_ref().type_str();
                self.fault(
                    span,
                    format!("{name} must be a whole number from {} to {}, got {got}", bounds.0, bounds.1),
                );
                default
            }
        }
    }

    /// true or false, or the default.
    pub(super) fn boolean(&mut self, section: &mut Section<'t>, key: &str, default: bool) -> bool {
        let Some(value) = section.take(key) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            let name = section.path(key);
            self.fault(
                value.span(),
                format!("{name} must be true or false, got {}", value.get_ref().type_str()),
            );
            default
        })
    }

    /// A list of texts, each read further.
    pub(super) fn list<T>(
        &mut self,
        section: &mut Section<'t>,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(value) = section.take(key) else { return Vec::new() };
        let (span, name) = (value.span(), section.path(key));
        let DeValue::Array(list) = value.into_inner() else {
            self.fault(span, format!("{name} must be a list of texts such as [\"A\", \"B\"]"));
            return Vec::new();
        };
        let mut parsed = Vec::new();
        for value in list {
            match value.get_ref().as_str().map(&parse) {
                Some(Ok(good)) => parsed.push(good),
                Some(Err(expected)) => self.fault(value.span(), format!("{name}: {expected}")),
                None => self.fault(value.span(), format!("{name} holds {}", value.get_ref().type_str())),
            }
        }
        parsed
    }

    /// Tells every key that nobody took.
    pub(super) fn end(&mut self, section: Section<'t>) {
        for key in section.table.keys() {
            let name = section.path(key.get_ref());
            self.fault(key.span(), format!("{name} is no known key; `print-config` shows all of them"));
        }
    }
}

impl<'t> Section<'t> {
    /// Where a key's value stands; the section, when it is not there.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or_else(|| self.span.clone(), |value| value.span())
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where it stands, for faults about the whole.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    fn take(&mut self, key: &str) -> Option<Spanned<DeValue<'t>>> {
        self.table.remove(key)
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}
