//! What a barcode means: GS1 keys, element strings and symbology identifiers, and our own command barcodes.
//!
//! [`interpret`] is the way in: the bytes of one read become a [`Scan`]. It never fails; a scan that must not be
//! used has [`Kind::Error`] and says why in its findings. Two rules shape everything here:
//! the AIM identifier decides what a code is, so bare digits are never guessed into element strings; and what is
//! wrong *within* an element is an error, while what is missing *beside* it is a warning, because the pairing
//! rules hold over all labels on the item and a scanner sees one at a time.
//!
//! In reading order: `scan` looks at the AIM identifier (`symbology`) and hands the rest to `element`, `retail`,
//! `digital_link` or `command`; `element` cuts the string by the `row`s of `table`, whose values are `key`s, `date`s
//! and `decimal`s and pass their `check`s. `variable_measure` reads the weights in shops' own numbers.

mod scan;
mod symbology;

mod command;
mod digital_link;
mod element;
mod element_error;
mod retail;
mod variable_measure;

mod row;
mod table;

mod check;
mod codes;
mod coupon;
mod date;
mod decimal;
mod finding;
mod key;

#[cfg(test)]
mod dictionary;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use check::check_pair;
pub use command::{Command, CommandError, LocationCode};
pub use date::{Date, DateError, DayZero};
pub use decimal::Decimal;
pub use element::{Element, ElementString, Meaning};
pub use element_error::ElementError;
pub use finding::{Code, Finding, Severity};
pub use key::{Gln, Gtin, KeyError, Sscc, check_digit};
pub use retail::expand_upc_e;
pub use scan::{Context, Kind, SCAN_BYTES_MAX, Scan, interpret, interpret_with};
pub use symbology::{Content, Symbology};
pub use variable_measure::{
    UnknownRulesError, VARIABLE_RULES, Variable, VariableMeasure, VariableMeasureError, VariableRules,
};
