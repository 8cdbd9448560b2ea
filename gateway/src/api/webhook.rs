//! Webhooks of channels: signed, fresh and new, they have the channel's orders read at once. What stands in them is not
//! believed; the order that counts is the one that is read.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::Serialize;
use stockwire_protocol::ChannelId;

use super::{Api, Problem, RunRequest, body};
use crate::exchange::Secret;

/// How old, or how far ahead, a signature may be, seconds: clocks of two machines that are kept differ by less, and what
/// somebody recorded is worth nothing after it.
const WINDOW_S: u64 = 300;
/// Characters of a delivery's id.
const ID_LENGTH_MAX: usize = 128;
/// Signatures in one header: the old secret's and the new one's, while it is changed.
const SIGNATURES_MAX: usize = 4;

/// What became of a delivery.
#[derive(Serialize)]
pub(super) struct WebhookOutcome {
    result: &'static str,
}

pub(super) async fn receive(
    State(api): State<Arc<Api>>,
    Path(channel): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<WebhookOutcome>, Problem> {
    let channel = body::text("channel", &channel, ChannelId::new)?;
    // Who has no secret learns no more than who has a wrong one.
    let secret = api.webhooks.get(&channel).ok_or_else(refused)?;
    let now = crate::io::unix_ms();
    let id = verify(secret, &headers, &bytes, now.unsigned_abs() / 1_000)?;
    let of = channel.clone();
    let new = api.store.call(move |store| store.note_delivery(now, &of, &id)).await?;
    // A delivery that came before is answered well, so that it is not sent for ever, and looked for again: it may have
    // been noted by a gateway that ended before it looked.
    let gone = |_| Problem::unavailable("the gateway is stopping; send it again");
    api.requests.send(RunRequest::LookForOrders { channel }).await.map_err(gone)?;
    Ok(Json(WebhookOutcome { result: if new { "new" } else { "as_before" } }))
}

fn refused() -> Problem {
    Problem::unauthorized(
        "the signature of this webhook does not fit; see webhook_secret_file in the configuration",
    )
}

/// The delivery's id, when it is signed by whoever has the secret, and fresh. By the rules of Standard Webhooks:
/// `webhook-signature` has `v1,` and the base64 of the HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`.
fn verify(secret: &Secret, headers: &HeaderMap, body: &[u8], now_s: u64) -> Result<String, Problem> {
    let header = |name: &'static str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or_else(|| Problem::bad(name, "this header is missing or unreadable"))
    };
    let (id, timestamp, signatures) =
        (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    if id.is_empty() || id.len() > ID_LENGTH_MAX || id.chars().any(char::is_control) {
        return Err(Problem::bad("webhook-id", format!("expected 1 to {ID_LENGTH_MAX} characters")));
    }
    let at_s: u64 = timestamp
        .parse()
        .map_err(|_| Problem::bad("webhook-timestamp", "expected seconds since 1970".to_owned()))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key_bytes(secret.reveal()));
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let fits = signatures.split(' ').take(SIGNATURES_MAX).any(|signature| {
        let given = signature.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
        // Compared in constant time.
        given.is_some_and(|given| hmac::verify(&key, &signed, &given).is_ok())
    });
    if !fits {
        return Err(refused());
    }
    // After the signature: only who has the secret learns what the clock says here.
    if now_s.abs_diff(at_s) > WINDOW_S {
        let reason =
            format!("it was signed {} s from now, at most {WINDOW_S} are taken", now_s.abs_diff(at_s));
        return Err(Problem::bad("webhook-timestamp", reason));
    }
    Ok(id.to_owned())
}

/// `whsec_` and base64 stand for bytes; anything else for itself.
fn key_bytes(secret: &str) -> Vec<u8> {
    let decoded = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    decoded.unwrap_or_else(|| secret.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_700_000_000;

    fn signed(secret: &str, id: &str, at_s: u64, body: &[u8]) -> HeaderMap {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key_bytes(secret));
        let text = [id.as_bytes(), b".", at_s.to_string().as_bytes(), b".", body].concat();
        let signature = format!("v1,{}", STANDARD.encode(hmac::sign(&key, &text).as_ref()));
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", at_s.to_string().parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        headers
    }

    #[track_caller]
    fn check(headers: &HeaderMap, body: &[u8], expected: Result<&str, Option<&str>>) {
        let got = verify(&Secret::new("hunter2"), headers, body, NOW_S);
        let got = got.as_deref().map_err(|problem| problem.field());
        assert_eq!(got, expected);
    }

    #[test]
    fn only_what_is_signed_and_fresh_is_taken() {
        let good = signed("hunter2", "d-1", NOW_S, b"{}");
        check(&good, b"{}", Ok("d-1"));
        check(&good, b"{ }", Err(None));
        check(&signed("hunter3", "d-1", NOW_S, b"{}"), b"{}", Err(None));
        check(&signed("hunter2", "d-1", NOW_S - 300, b"{}"), b"{}", Ok("d-1"));
        check(&signed("hunter2", "d-1", NOW_S - 301, b"{}"), b"{}", Err(Some("webhook-timestamp")));
        check(&signed("hunter2", "d-1", NOW_S + 301, b"{}"), b"{}", Err(Some("webhook-timestamp")));
        // Another id or time under the same signature.
        let mut other = good.clone();
        other.insert("webhook-id", "d-2".parse().unwrap());
        check(&other, b"{}", Err(None));
        let mut other = good.clone();
        other.insert("webhook-timestamp", (NOW_S + 1).to_string().parse().unwrap());
        check(&other, b"{}", Err(None));
        let mut two = good.clone();
        let both = format!("v1,AAAA {}", good["webhook-signature"].to_str().unwrap());
        two.insert("webhook-signature", both.parse().unwrap());
        check(&two, b"{}", Ok("d-1"));
        for missing in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let mut headers = good.clone();
            headers.remove(missing);
            check(&headers, b"{}", Err(Some(missing)));
        }
    }

    #[test]
    fn a_secret_may_be_written_as_base64() {
        assert_eq!(key_bytes("whsec_aHVudGVyMg=="), b"hunter2");
        assert_eq!(key_bytes("hunter2"), b"hunter2");
    }
}
