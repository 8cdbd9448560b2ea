//! Request bodies, read with the field named that is not as expected.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use stockwire_protocol::{Quantity, Uom};

use super::Problem;

/// A body as it came.
pub(super) type Body<T> = Result<Json<T>, JsonRejection>;

/// The body, or which field of it is not as expected.
pub(super) fn read<T>(body: Body<T>) -> Result<T, Problem> {
    body.map(|Json(body)| body).map_err(|fault| {
        let text = fault.body_text();
        // The path of the field stands between the sentence and the fault.
        let field = text.split(": ").nth(1).filter(|path| !path.is_empty() && !path.contains(' '));
        let field = field.filter(|_| matches!(fault, JsonRejection::JsonDataError(_)));
        let field = field.unwrap_or("body").to_string();
        Problem::bad(field, text)
    })
}

/// One field of text, by its own rules.
pub(super) fn text<'t, T, E: std::fmt::Display>(
    field: impl Into<String>,
    text: &'t str,
    make: impl FnOnce(&'t str) -> Result<T, E>,
) -> Result<T, Problem> {
    make(text).map_err(|fault| Problem::bad(field, fault.to_string()))
}

/// The same for a field that may be left out.
pub(super) fn maybe<'t, T, E: std::fmt::Display>(
    field: impl Into<String>,
    given: Option<&'t String>,
    make: impl FnOnce(&'t str) -> Result<T, E>,
) -> Result<Option<T>, Problem> {
    given.map(|given| text(field, given, make)).transpose()
}

/// A decimal number in a unit; pieces when none is named.
pub(super) fn quantity(at: &str, decimal: &str, uom: Option<&String>) -> Result<Quantity, Problem> {
    let unit = match uom {
        None => Uom::Piece,
        Some(code) => Uom::from_code(code).ok_or_else(|| {
            Problem::bad(
                format!("{at}uom"),
                format!("expected a unit of UN/ECE Rec 20 such as H87 or KGM, got {code:?}"),
            )
        })?,
    };
    text(format!("{at}quantity"), decimal, |decimal| Quantity::parse(decimal, unit))
}
