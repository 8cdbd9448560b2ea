//! Entity tags: whoever asks again learns cheaply that nothing has changed.
//!
//! The tag is a digest of the answer itself, so it needs nothing from the store and is right across replicas. It saves
//! the way and not the reading.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use super::Problem;

/// The largest answer with a tag; a page of 500 rows is a few hundred kilobytes.
const TAGGED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of the digest in a tag: 128 bits, nobody meets the same twice.
const TAG_BYTES: usize = 16;

/// Gives good JSON answers a tag, and no body to who has it already.
pub(super) async fn tag(request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes() == b"application/json");
    if response.status() != StatusCode::OK || !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, TAGGED_BYTES_MAX).await else {
        return Problem::unavailable("the answer grew too large; ask for fewer rows with limit")
            .into_response();
    };
    let tag = format!("\"{}\"", hex(&Sha256::digest(&bytes)[..TAG_BYTES]));
    let same = known.is_some_and(|known| has(&known, &tag));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    // To be kept, and asked for each time whether it still holds.
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if same {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a list of tags, weak or strong, has this one.
fn has(known: &HeaderValue, tag: &str) -> bool {
    let known = known.to_str().unwrap_or_default();
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == tag || one == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_a_list() {
        let has = |known: &'static str| has(&HeaderValue::from_static(known), "\"ab\"");
        assert!(has("\"ab\"") && has("\"x\", W/\"ab\"") && has("*"));
        assert!(!has("\"x\"") && !has("ab") && !has(""));
    }
}
