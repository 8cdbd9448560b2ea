//! Refusals as RFC 9457 problem documents that name the field and what to do.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::store::StoreError;

/// A refusal.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    field: Option<String>,
    /// How long to wait before asking again.
    retry_after: Option<Duration>,
}

impl Problem {
    /// A parameter or body that is not what was expected.
    pub fn bad(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            detail: detail.into(),
            field: Some(field.into()),
            retry_after: None,
        }
    }

    /// Which parameter or field of the body it is about.
    #[cfg(test)]
    pub(super) fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, detail: detail.into(), field: None, retry_after: None }
    }

    /// The key is missing or unknown.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, detail: detail.into(), field: None, retry_after: None }
    }

    /// It makes no sense in the present state.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, detail: detail.into(), field: None, retry_after: None }
    }

    /// It cannot be done now, and may be later.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            detail: detail.into(),
            field: None,
            retry_after: None,
        }
    }

    /// This key asks too often.
    pub fn too_many(wait: Duration) -> Self {
        let detail = format!("this key asks too often; ask again in {} ms", wait.as_millis());
        Self { status: StatusCode::TOO_MANY_REQUESTS, detail, field: None, retry_after: Some(wait) }
    }

    /// Nobody answered in time.
    pub fn timeout(detail: impl Into<String>) -> Self {
        Self { status: StatusCode::GATEWAY_TIMEOUT, detail: detail.into(), field: None, retry_after: None }
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
                    retry_after: None,
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
        let mut response = (self.status, kind, body.to_string()).into_response();
        if let Some(wait) = self.retry_after {
            // The header knows whole seconds only; the text says it more exactly.
            let seconds = wait.as_millis().div_ceil(1000).to_string();
            response
                .headers_mut()
                .extend(HeaderValue::from_str(&seconds).ok().map(|value| (header::RETRY_AFTER, value)));
        }
        response
    }
}
