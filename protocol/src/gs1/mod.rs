//! What a barcode means: GS1 keys, element strings and symbology identifiers, and our own command barcodes.
//!
//! [`interpret`] is the way in: the bytes of one read become a [`Scan`]. It never fails; a scan that must not be
//! used has [`Kind::Error`] and says why in its findings. Two rules shape everything here:
//! the AIM identifier decides what a code is, so bare digits are never guessed into element strings; and what is
//! wrong *within* an element is an error, while what is missing *beside* it is a warning, because the pairing
//! rules hold over all labels on the item and a scanner sees one at a time.
//!
//! In reading order: `scan` looks at the AIM identifier (`symbology`) and hands the rest to `element` or `command`;
//! `element` cuts the string by the rows of `table`, whose values are `key`s, `date`s and `decimal`s.

mod command;
mod date;
mod decimal;
mod element;
mod finding;
mod key;
mod scan;
mod symbology;
mod table;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use command::{Command, CommandError, LocationCode};
pub use date::{Date, DateError, DayZero};
pub use decimal::Decimal;
pub use element::{Element, ElementError, ElementString, Meaning};
pub use finding::{Code, Finding, Severity};
pub use key::{Gln, Gtin, KeyError, Sscc, check_digit};
pub use scan::{Kind, SCAN_BYTES_MAX, Scan, interpret};
pub use symbology::{Content, Symbology};
