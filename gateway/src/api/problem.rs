//! Refusals as RFC 9457 problem documents that name the field and what to do.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::store::StoreError;

/// A refusal.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    field: Option<String>,
}

impl Problem {
    /// A parameter or body that is not what was expected.
    pub fn bad(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, detail: detail.into(), field: Some(field.into()) }
    }

    /// Which parameter or field of the body it is about.
    #[cfg(test)]
    pub(super) fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, detail: detail.into(), field: None }
    }

    /// The key is missing or unknown.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, detail: detail.into(), field: None }
    }

    /// It makes no sense in the present state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, detail: detail.into(), field: None }
    }

    /// It cannot be done now, and may be later.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, detail: detail.into(), field: None }
    }

    /// Nobody answered in time.
    pub fn timeout(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::GATEWAY_TIMEOUT, detail: detail.into(), field: None }
    }
}

impl From<StoreError> for Problem {
    fn from(fault: StoreError) -> Self {
        match &fault {
            StoreError::Refused { reason } => Self::conflict(reason.clone()),
            StoreError::Busy { .. } | StoreError::Fenced { .. } => Self::unavailable(fault.to_string()),
            _ => {
                // What the database says may hold paths and data; it is for the log.
                tracing::error!(error = &fault as &dyn std::error::Error, "the store failed for a request");
                Self {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    detail: "the store failed; the gateway's log says why".into(),
                    field: None,
                }
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "field": self.field,
        });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, body.to_string()).into_response()
    }
}
