//! Rows of orders as both stores keep them.

use crate::order::{Entry, Fact};
use crate::store::StoreError;

/// A fact as text.
///
/// # Errors
/// Never in practice: every fact has a form.
pub(super) fn write(entry: &Entry) -> Result<String, StoreError> {
    serde_json::to_string(&entry.fact)
        .map_err(|fault| StoreError::Corrupt { what: format!("a row of an order has no form: {fault}") })
}

/// A row as it was kept.
///
/// # Errors
/// When this build cannot have written it.
pub(super) fn read(sequence: i64, at_ms: i64, by: String, fact: &str) -> Result<Entry, StoreError> {
    let fact: Fact = serde_json::from_str(fact)
        .map_err(|fault| StoreError::Corrupt { what: format!("row {sequence} of an order: {fault}") })?;
    Ok(Entry { sequence: sequence.unsigned_abs(), at_ms, by, fact })
}

/// Deliveries of one channel that are remembered: those of a busy day. What is older than the window in which a signature
/// holds is refused by its age.
pub(super) const DELIVERIES_MAX: i64 = 100_000;
