//! The HTTP door: `/v1`, its OpenAPI document, health, metrics and the console. The only place of status codes.

mod body;
mod code;
mod csv;
mod fresh;
mod json;
mod openapi;
mod order;
mod pace;
mod problem;
mod read;
mod reservation;
mod routes;
mod selling;
mod task;
mod webhook;
mod write;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};
use stockwire_protocol::{AgentId, ChannelId, CommandBody, SiteId};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::console;
use crate::exchange::Secret;
use crate::io::shared::Shared;
use crate::metrics::Metrics;
use crate::order::round::Book;
use crate::store::{Reader, Store};

pub use pace::Pace;
pub use problem::Problem;
pub(crate) use routes::{ROUTES, WEBHOOK};

/// Largest request body: a task with all the lines that it may have.
const BODY_BYTES_MAX: usize = 128 * 1024;

/// What the handlers share.
pub struct Api {
    /// For reading; a connection of its own, so that a long page never holds up ingest.
    pub reader: Shared<dyn Reader>,
    /// For the few writes.
    pub store: Shared<dyn Store>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Set when the broker and the store are there.
    pub ready: Arc<AtomicBool>,
    /// Rung after every commit, for live views.
    pub news: Arc<Notify>,
    /// Work that only the run loop can do.
    pub requests: mpsc::Sender<RunRequest>,
    /// Whether requests from this machine need no key.
    pub trust_loopback: bool,
    /// How orders are dealt with.
    pub orders: Arc<Book>,
    /// The secrets of channels' webhooks.
    pub webhooks: BTreeMap<ChannelId, Secret>,
    /// How often each key may ask.
    pub pace: Pace,
}

/// What a handler asks of the run loop.
pub enum RunRequest {
    /// Take a dead letter up again; answers as [`crate::ingest::Replay`] does.
    Replay {
        /// Which.
        id: crate::dead_letter::DeadLetterId,
        /// Who asked.
        by: String,
        /// The outcome.
        answer: oneshot::Sender<Result<crate::ingest::Replay, crate::store::StoreError>>,
    },
    /// Send a command to an agent; answers when its reply came, or not at all.
    Command {
        /// Where.
        site: SiteId,
        /// Who.
        agent: AgentId,
        /// What.
        body: CommandBody,
        /// The reply.
        answer: oneshot::Sender<stockwire_protocol::ReplyResult>,
    },
    /// Promises have changed: channels may have to be told, and what became of orders.
    Promised,
    /// A channel says that there is something to see.
    LookForOrders {
        /// Which.
        channel: ChannelId,
    },
    /// Compare the books with the ERP; answers with the plan, printed.
    Reconcile {
        /// The plan or why there is none.
        answer: oneshot::Sender<Result<crate::reconcile::Plan, String>>,
    },
}

/// The whole door.
pub fn router(api: Arc<Api>) -> Router {
    let (mut guarded, mut signed) = (Router::new(), Router::new());
    for route in ROUTES {
        let mut handler = (route.handler)();
        if route.is_table() {
            let columns = openapi::columns(route.answer);
            let export = move |request: Request, next: Next| csv::export(columns.clone(), request, next);
            handler = handler.layer(middleware::from_fn(export));
        }
        match route.path {
            WEBHOOK => signed = signed.route(route.path, handler),
            path => guarded = guarded.route(path, handler),
        }
    }
    let guarded = guarded
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn(fresh::tag))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), authenticate));
    Router::new()
        .merge(guarded)
        .merge(signed)
        .merge(console::routes())
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/openapi.json", get(|| async { axum::Json(openapi::document()) }))
        .fallback(|| async {
            Problem::not_found("there is nothing at this path; /openapi.json lists what there is")
        })
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(harden))
        .with_state(api)
}

/// A key in `Authorization: Bearer`, or a request from this machine when that is trusted.
async fn authenticate(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    if api.trust_loopback && from.is_some_and(|ip| ip.is_loopback()) && is_at_this_machine(request.headers())
    {
        return next.run(request).await;
    }
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(secret) = header.and_then(|value| value.strip_prefix("Bearer ")) else {
        return Problem::unauthorized("no API key came; send `Authorization: Bearer KEY`").into_response();
    };
    let hash: [u8; 32] = Sha256::digest(secret.trim()).into();
    match api.store.call(move |store| store.use_api_key(crate::io::unix_ms(), &hash)).await {
        Ok(Some(key)) => match api.pace.take(&key.name, Instant::now()) {
            Ok(()) => next.run(request).await,
            Err(wait) => Problem::too_many(wait).into_response(),
        },
        Ok(None) => Problem::unauthorized("this API key is unknown or revoked").into_response(),
        Err(fault) => Problem::from(fault).into_response(),
    }
}

/// Whether a request from a loopback address is meant by somebody at this machine. A proxy speaks for people elsewhere
/// and says so; a page from elsewhere, open in a browser here, gives itself away by its origin or by the name it had
/// resolved to this machine.
fn is_at_this_machine(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    let host = text("host").unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let local = name == "localhost"
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let own = text("origin").is_none_or(|origin| origin == format!("http://{host}"));
    local && own && text("x-forwarded-for").is_none() && text("forwarded").is_none()
}

/// No page may be framed, sniffed or load anything from elsewhere: what is shown comes from barcodes.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                  frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn ready(State(api): State<Arc<Api>>) -> (StatusCode, &'static str) {
    if api.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: no broker, or no catalogue from the ERP yet\n")
    }
}

async fn metrics(State(api): State<Arc<Api>>) -> Response {
    match api.reader.call(|reader| reader.gauges()).await {
        Ok(gauges) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
            (kind, api.metrics.print(&gauges, crate::io::unix_ms())).into_response()
        }
        Err(fault) => Problem::from(fault).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], expected: bool) {
        let map = headers.iter().map(|(name, value)| {
            (axum::http::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        assert_eq!(is_at_this_machine(&map.collect()), expected, "{headers:?}");
    }

    #[test]
    fn only_who_sits_here_is_trusted_without_a_key() {
        check(&[("host", "127.0.0.1:8480")], true);
        check(&[("host", "localhost:8480")], true);
        check(&[("host", "[::1]:8480")], true);
        check(&[("host", "127.0.0.1:8480"), ("origin", "http://127.0.0.1:8480")], true);
        check(&[], false);
        check(&[("host", "evil.example:8480")], false);
        check(&[("host", "127.0.0.1:8480"), ("origin", "https://evil.example")], false);
        check(&[("host", "127.0.0.1:8480"), ("origin", "null")], false);
        check(&[("host", "127.0.0.1:8480"), ("x-forwarded-for", "192.0.2.1")], false);
        check(&[("host", "127.0.0.1:8480"), ("forwarded", "for=192.0.2.1")], false);
    }
}
