//! Every page as a whole table: `Accept: text/csv`, or `format=csv` in the address, gives all rows from the first to the
//! last as RFC 4180, in the order and with the names of the document.
//!
//! The rows are those of the JSON answer, page after page through the same handler, so the two cannot differ. A list or
//! an object stands in its cell as JSON. Much of what is exported was scanned by somebody, and a spreadsheet takes a text
//! that begins with `=`, `+`, `-` or `@` for a formula: such a text has a `'` before it.

use std::pin::Pin;
use std::task::{self, Poll};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use reqwest::Url;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::store::PAGE_ROWS_MAX;

/// Pages of one export: ten million rows. What is larger is asked for by site or item.
const PAGES_MAX: usize = 20_000;
/// Pages waiting for a slow reader; each is some 100 kB.
const PAGES_WAITING: usize = 2;
/// A page of 500 rows as JSON, each with a few kilobytes of terms or lines.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Answers with the whole table where CSV is asked for.
pub(super) async fn export(columns: Vec<String>, request: Request, next: Next) -> Response {
    if !is_wanted(request.headers(), request.uri()) {
        return next.run(request).await;
    }
    let (parts, _) = request.into_parts();
    let page = async move |after: Option<String>, next: Next| {
        let mut parts = parts.clone();
        parts.uri = page_uri(&parts.uri, after.as_deref());
        next.run(Request::from_parts(parts, Body::empty())).await
    };
    // A refusal is told as ever, before the first byte of a table.
    let first = page(None, next.clone()).await;
    if first.status() != StatusCode::OK {
        return first;
    }
    let (send, receive) = mpsc::channel(PAGES_WAITING);
    tokio::spawn(async move {
        let mut response = first;
        let mut with_names = true;
        for _ in 0..PAGES_MAX {
            let (text, after) = match table(&columns, with_names, response).await {
                Ok(table) => table,
                // The answer breaks off: half a table must not pass for a whole one.
                Err(fault) => return drop(send.send(Err(fault)).await),
            };
            if send.send(Ok(text)).await.is_err() || after.is_none() {
                return;
            }
            with_names = false;
            response = page(after, next.clone()).await;
        }
        let fault = format!("more than {PAGES_MAX} pages; ask for less, by site or by item");
        drop(send.send(Err(fault)).await);
    });
    let mut response = Response::new(Body::from_stream(Pages(receive)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present"));
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"stockwire.csv\""),
    );
    response
}

fn is_wanted(headers: &HeaderMap, uri: &Uri) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let named =
        |kind: &str| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/csv"));
    accepted.split(',').any(named)
        || uri.query().unwrap_or_default().split('&').any(|pair| pair == "format=csv")
}

/// The address of one page: what was asked for, as many rows as there may be, after the last one.
fn page_uri(uri: &Uri, after: Option<&str>) -> Uri {
    // Any base does: only path and query of it are used.
    let Ok(mut url) = Url::parse(&format!("http://localhost{uri}")) else { return uri.clone() };
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| !matches!(name.as_ref(), "limit" | "after" | "format"))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(kept).append_pair("limit", &PAGE_ROWS_MAX.to_string());
    if let Some(after) = after {
        url.query_pairs_mut().append_pair("after", after);
    }
    format!("{}?{}", url.path(), url.query().unwrap_or_default()).parse().unwrap_or_else(|_| uri.clone())
}

/// The rows of a page as lines, and where the next one begins.
async fn table(
    columns: &[String],
    with_names: bool,
    response: Response,
) -> Result<(Bytes, Option<String>), String> {
    let (status, body) = (response.status(), response.into_body());
    let bytes = axum::body::to_bytes(body, PAGE_BYTES_MAX).await.map_err(|fault| fault.to_string())?;
    if status != StatusCode::OK {
        return Err(format!("a page was refused: {}", String::from_utf8_lossy(&bytes)));
    }
    let page: Value = serde_json::from_slice(&bytes).map_err(|fault| fault.to_string())?;
    let mut lines = csv::Writer::from_writer(Vec::new());
    let mut write = |record: Vec<String>| lines.write_record(record).map_err(|fault| fault.to_string());
    if with_names {
        write(columns.to_vec())?;
    }
    for row in page["rows"].as_array().into_iter().flatten() {
        write(columns.iter().map(|column| cell(&row[column.as_str()])).collect())?;
    }
    let text = lines.into_inner().map_err(|fault| fault.to_string())?;
    Ok((text.into(), page["next"].as_str().map(str::to_owned)))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if is_formula(text) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_formula(text: &str) -> bool {
    // A quantity below zero is a number and nothing else.
    let number = || text.parse::<f64>().is_ok_and(f64::is_finite);
    text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !number()
}

struct Pages(mpsc::Receiver<Result<Bytes, String>>);

impl futures_core::Stream for Pages {
    type Item = Result<Bytes, String>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn csv_is_asked_for_by_header_or_address() {
        let check = |accept: &'static str, uri: &str, expected| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(is_wanted(&headers, &uri.parse().unwrap()), expected, "{accept} {uri}");
        };
        check("text/csv", "/v1/stock", true);
        check("application/json, text/csv;q=0.5", "/v1/stock", true);
        check("*/*", "/v1/stock", false);
        check("*/*", "/v1/stock?site=HAM&format=csv", true);
        check("*/*", "/v1/items?search=format=csv2", false);
    }

    #[test]
    fn each_page_is_asked_for_whole() {
        let check = |uri: &str, after, expected: &str| {
            assert_eq!(page_uri(&uri.parse().unwrap(), after).to_string(), expected);
        };
        check("/v1/stock?format=csv&site=HAM&limit=3", None, "/v1/stock?site=HAM&limit=500");
        check("/v1/stock", Some("a\u{1f}b&c"), "/v1/stock?limit=500&after=a%1Fb%26c");
    }

    #[test]
    fn a_cell_is_exact_and_no_formula() {
        let check = |value: Value, expected: &str| assert_eq!(cell(&value), expected);
        check(json!(null), "");
        check(json!(7), "7");
        check(json!(true), "true");
        check(json!("-1.5"), "-1.5");
        check(json!("=1+1"), "'=1+1");
        check(json!("-2+3"), "'-2+3");
        check(json!("@SUM(A1)"), "'@SUM(A1)");
        check(json!([{"name": "on_hand"}]), r#"[{"name":"on_hand"}]"#);
    }

    #[tokio::test]
    async fn rows_are_lines_and_a_refused_page_ends_it() {
        let columns = ["item", "name"].map(String::from);
        let page = json!({"rows": [{"name": "a, \"b\"", "item": "X"}], "next": "X"}).to_string();
        let (text, next) = table(&columns, true, Response::new(page.into())).await.unwrap();
        assert_eq!((text.as_ref(), next.as_deref()), (&b"item,name\nX,\"a, \"\"b\"\"\"\n"[..], Some("X")));
        let mut refused = Response::new(Body::from("busy"));
        *refused.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        assert!(table(&columns, false, refused).await.is_err());
    }

    /// A table of so many rows, served page by page; page 3 fails when told to.
    async fn served(rows: usize, fails: bool) -> Result<String, reqwest::Error> {
        let page = move |uri: Uri| async move {
            let url = Url::parse(&format!("http://localhost{uri}")).unwrap();
            let get = |key: &str| {
                url.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.parse().unwrap())
            };
            let (after, limit): (usize, usize) = (get("after").unwrap_or(0), get("limit").unwrap());
            if fails && after == 1_000 {
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
            let end = (after + limit).min(rows);
            let rows_here: Vec<Value> = (after..end).map(|n| json!({"n": n})).collect();
            let next = (end < rows).then(|| end.to_string());
            Ok(axum::Json(json!({"rows": rows_here, "next": next})))
        };
        let layer = |request, next| export(vec!["n".into()], request, next);
        let door = axum::routing::get(page).layer(axum::middleware::from_fn(layer));
        let router = axum::Router::new().route("/v1/n", door);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(axum::serve(listener, router).into_future());
        // Another test of this process may have done it before.
        drop(rustls::crypto::ring::default_provider().install_default());
        let answer = reqwest::get(format!("http://{address}/v1/n?format=csv&limit=7")).await?;
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/csv; charset=utf-8; header=present");
        let text = answer.text().await;
        server.abort();
        text
    }

    #[tokio::test]
    async fn all_pages_are_one_table_and_half_of_it_is_none() {
        let text = served(1_200, false).await.unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[1], lines[1_200]), (1_201, "n", "0", "1199"));
        assert_eq!(served(0, false).await.unwrap(), "n\n");
        served(1_200, true).await.expect_err("it breaks off where a page is refused");
    }
}
