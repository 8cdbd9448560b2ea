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
use axum::routing::{MethodRouter, get, post, put};
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

/// One door: method, path, what it is, its parameters, and who answers.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    /// `(name, where, meaning)`.
    pub(crate) parameters: &'static [(&'static str, &'static str, &'static str)],
    /// Name of the schema of the body that must come; empty when none.
    pub(crate) body: &'static str,
    /// Name of the schema of a good answer.
    pub(crate) answer: &'static str,
    handler: fn() -> MethodRouter<Arc<Api>>,
}

impl Route {
    /// Whether it answers with rows, page by page, that can be had as one table too.
    pub(crate) fn is_table(&self) -> bool {
        self.method == "get" && self.answer.ends_with("Page")
    }
}

const LIMIT: (&str, &str, &str) = ("limit", "query", "rows wanted, 1 to 500");
const AFTER: (&str, &str, &str) = ("after", "query", "`next` of the page before");
const SITE: (&str, &str, &str) = ("site", "query", "only this site");
const ITEM: (&str, &str, &str) = ("item", "query", "only this item");
const TASK: &[(&str, &str, &str)] = &[
    ("site", "path", "site"),
    ("kind", "path", "pick, receive, announced, count or replenish"),
    ("task", "path", "number of the task"),
];

const ORDER: &[(&str, &str, &str)] =
    &[("channel", "path", "name of the channel"), ("order", "path", "the channel's id of the order")];
/// The one door below `/v1` that is opened by a signature and not by a key.
const WEBHOOK: &str = "/v1/channels/{channel}/webhook";

/// Everything below `/v1`. The router and the OpenAPI document are both made from it, so they cannot differ.
pub(crate) static ROUTES: &[Route] = &[
    Route {
        method: "get",
        path: "/v1/stock",
        summary: "What lies where",
        parameters: &[
            SITE,
            ("location", "query", "only this location"),
            ITEM,
            ("negative", "query", "true: only balances below zero"),
            LIMIT,
            AFTER,
        ],
        body: "",
        answer: "StockPage",
        handler: || get(read::stock),
    },
    Route {
        method: "get",
        path: "/v1/movements",
        summary: "Ledger rows, newest first",
        parameters: &[SITE, ITEM, LIMIT, AFTER],
        body: "",
        answer: "MovementPage",
        handler: || get(read::movements),
    },
    Route {
        method: "get",
        path: "/v1/items",
        summary: "Items whose id, name or code contains a text",
        parameters: &[("search", "query", "the text; all without it"), LIMIT, AFTER],
        body: "",
        answer: "ItemPage",
        handler: || get(read::items),
    },
    Route {
        method: "get",
        path: "/v1/items/{item}/rules",
        summary: "What is asked and checked when an item moves",
        parameters: &[("item", "path", "the item")],
        body: "",
        answer: "ItemRules",
        handler: || get(code::rules),
    },
    Route {
        method: "put",
        path: "/v1/items/{item}/rules",
        summary: "Say what is asked and checked when an item moves; sent twice, it is done once",
        parameters: &[("item", "path", "the item")],
        body: "ItemRulesGiven",
        answer: "ItemRules",
        handler: || put(code::put_rules),
    },
    Route {
        method: "put",
        path: "/v1/items/{item}/strict",
        summary: "Say whether all channels together may sell no more of an item than is there; left out: as they are configured",
        parameters: &[("item", "path", "the item")],
        body: "StrictGiven",
        answer: "StrictOutcome",
        handler: || put(selling::put_strict),
    },
    Route {
        method: "get",
        path: "/v1/tasks",
        summary: "What the warehouse is asked to do, and what came of it",
        parameters: &[
            SITE,
            ("kind", "query", "pick, receive, announced, count or replenish"),
            ("state", "query", "open, done or withdrawn"),
            LIMIT,
            AFTER,
        ],
        body: "",
        answer: "TaskPage",
        handler: || get(task::list),
    },
    Route {
        method: "post",
        path: "/v1/tasks",
        summary: "Ask for a task, or ask anew: what is asked is replaced, what was done is kept; sent twice, it is asked once",
        parameters: &[],
        body: "TaskGiven",
        answer: "Task",
        handler: || post(task::ask),
    },
    Route {
        method: "get",
        path: "/v1/tasks/{site}/{kind}/{task}",
        summary: "One task with what came of it",
        parameters: TASK,
        body: "",
        answer: "Task",
        handler: || get(task::show),
    },
    Route {
        method: "post",
        path: "/v1/tasks/{site}/{kind}/{task}/withdraw",
        summary: "Nobody asks for this task any more",
        parameters: TASK,
        body: "",
        answer: "WithdrawOutcome",
        handler: || post(task::withdraw),
    },
    Route {
        method: "get",
        path: "/v1/codes",
        summary: "Codes that were scanned and nobody knows, the most wanted first",
        parameters: &[SITE, LIMIT],
        body: "",
        answer: "UnknownCodePage",
        handler: || get(code::unknown),
    },
    Route {
        method: "post",
        path: "/v1/codes",
        summary: "Say what a code means, an item or a location of a site, and book what waited for it, each fact once",
        parameters: &[],
        body: "CodeGiven",
        answer: "CodeOutcome",
        handler: || post(code::say),
    },
    Route {
        method: "get",
        path: "/v1/aliases",
        summary: "What people said that codes mean",
        parameters: &[LIMIT, AFTER],
        body: "",
        answer: "AliasPage",
        handler: || get(code::aliases),
    },
    Route {
        method: "post",
        path: "/v1/aliases/take-back",
        summary: "Take back what a code means, as it is listed; what was booked stays booked",
        parameters: &[],
        body: "AliasGiven",
        answer: "TakeBackOutcome",
        handler: || post(code::take_back),
    },
    Route {
        method: "get",
        path: "/v1/plates/{sscc}",
        summary: "What stands on a licence plate, and where it is",
        parameters: &[("sscc", "path", "18 digits")],
        body: "",
        answer: "Plate",
        handler: || get(code::plate),
    },
    Route {
        method: "get",
        path: "/v1/availability",
        summary: "What every channel is told, with the terms of each number",
        parameters: &[("channel", "query", "only this channel"), ITEM, LIMIT, AFTER],
        body: "",
        answer: "OfferPage",
        handler: || get(read::offers),
    },
    Route {
        method: "get",
        path: "/v1/availability/{channel}/{sku}",
        summary: "Why one channel is told this number",
        parameters: &[("channel", "path", "name of the channel"), ("sku", "path", "the channel's code")],
        body: "",
        answer: "Offer",
        handler: || get(read::availability),
    },
    Route {
        method: "get",
        path: "/v1/reservations",
        summary: "Stock held for orders, newest first",
        parameters: &[
            ("channel", "query", "only this channel"),
            ("order", "query", "only orders with this number"),
            ITEM,
            ("pending", "query", "true: only what is still held"),
            LIMIT,
            AFTER,
        ],
        body: "",
        answer: "ReservationPage",
        handler: || get(reservation::list),
    },
    Route {
        method: "post",
        path: "/v1/reservations",
        summary: "Hold stock for an order, whole or not at all; sent twice, it is held once",
        parameters: &[],
        body: "ReservationGiven",
        answer: "ReservationPage",
        handler: || post(reservation::reserve),
    },
    Route {
        method: "post",
        path: "/v1/reservations/{channel}/{order}/resolve",
        summary: "Confirm, post or void what an order holds, or some lines of it; the same key again changes nothing",
        parameters: &[
            ("channel", "path", "name of the channel"),
            ("order", "path", "the order's number there"),
        ],
        body: "ResolutionGiven",
        answer: "ReservationPage",
        handler: || post(reservation::resolve),
    },
    Route {
        method: "get",
        path: "/v1/orders",
        summary: "How orders stand, the newest first",
        parameters: &[
            ("channel", "query", "only this channel"),
            ("order", "query", "only what is called so: by people, in the warehouse or by its channel"),
            ("stage", "query", "only what is so far"),
            ("attention", "query", "true: only what a person must look at"),
            LIMIT,
            AFTER,
        ],
        body: "",
        answer: "OrderPage",
        handler: || get(order::list),
    },
    Route {
        method: "post",
        path: "/v1/orders",
        summary: "Take an order in; sent twice, it is taken once, and what it says else is kept as a revision",
        parameters: &[],
        body: "OrderGiven",
        answer: "CaptureOutcome",
        handler: || post(order::capture),
    },
    Route {
        method: "get",
        path: "/v1/orders/{channel}/{order}",
        summary: "One order with everything that happened to it",
        parameters: ORDER,
        body: "",
        answer: "Order",
        handler: || get(order::show),
    },
    Route {
        method: "post",
        path: "/v1/orders/{channel}/{order}/cancel",
        summary: "Give an order up and take back what was begun for it; twice is once",
        parameters: ORDER,
        body: "OrderReason",
        answer: "Order",
        handler: || post(order::cancel),
    },
    Route {
        method: "post",
        path: "/v1/orders/{channel}/{order}/hold",
        summary: "Keep an order back; what it holds, it keeps",
        parameters: ORDER,
        body: "OrderReason",
        answer: "Order",
        handler: || post(order::hold),
    },
    Route {
        method: "post",
        path: "/v1/orders/{channel}/{order}/release",
        summary: "Let an order go on, and try anew what was refused",
        parameters: ORDER,
        body: "",
        answer: "Order",
        handler: || post(order::release),
    },
    Route {
        method: "post",
        path: "/v1/orders/{channel}/{order}/decide",
        summary: "Answer a check of an order: pass or reject",
        parameters: ORDER,
        body: "OrderWord",
        answer: "Order",
        handler: || post(order::decide),
    },
    Route {
        method: "post",
        path: "/v1/orders/{channel}/{order}/ship",
        summary: "Everything that is picked has left in a parcel; the same key again changes nothing",
        parameters: ORDER,
        body: "OrderParcel",
        answer: "Order",
        handler: || post(order::ship),
    },
    Route {
        method: "post",
        path: "/v1/orders/{channel}/{order}/returns",
        summary: "Announce what will come back, and what is paid back when it is there; the same key again changes nothing",
        parameters: ORDER,
        body: "OrderReturn",
        answer: "Order",
        handler: || post(order::announce),
    },
    Route {
        method: "post",
        path: WEBHOOK,
        summary: "A channel says that there is something to see; signed by the rules of Standard Webhooks instead of a key",
        parameters: &[
            ("channel", "path", "name of the channel"),
            ("webhook-id", "header", "names the delivery: the same again changes nothing"),
            (
                "webhook-timestamp",
                "header",
                "when it was signed, seconds since 1970; at most five minutes from now",
            ),
            ("webhook-signature", "header", "v1, and the base64 of the HMAC-SHA256 over id.timestamp.body"),
        ],
        body: "",
        answer: "WebhookOutcome",
        handler: || post(webhook::receive),
    },
    Route {
        method: "get",
        path: "/v1/quotas",
        summary: "Stock kept for accounts",
        parameters: &[],
        body: "",
        answer: "QuotaPage",
        handler: || get(reservation::quotas),
    },
    Route {
        method: "put",
        path: "/v1/quotas/{account}/{site}/{item}",
        summary: "Keep so much for an account, counted from now; without a quantity nothing any more",
        parameters: &[
            ("account", "path", "the account"),
            ("site", "path", "site"),
            ("item", "path", "the item"),
        ],
        body: "QuotaGiven",
        answer: "QuotaOutcome",
        handler: || put(reservation::keep),
    },
    Route {
        method: "get",
        path: "/v1/shortages",
        summary: "Where less is there than was promised, and which orders should give way",
        parameters: &[],
        body: "",
        answer: "ShortagePage",
        handler: || get(reservation::shortages),
    },
    Route {
        method: "get",
        path: "/v1/devices",
        summary: "Edge boxes and how they stand",
        parameters: &[],
        body: "",
        answer: "DevicePage",
        handler: || get(read::devices),
    },
    Route {
        method: "post",
        path: "/v1/devices/{site}/{agent}/ping",
        summary: "Ask an agent to answer, there and back through the broker",
        parameters: &[("site", "path", "site"), ("agent", "path", "agent")],
        body: "",
        answer: "CommandOutcome",
        handler: || post(write::ping),
    },
    Route {
        method: "get",
        path: "/v1/dead-letters",
        summary: "Messages set aside, newest first",
        parameters: &[
            ("state", "query", "open, replayed or discarded"),
            ("class", "query", "why it was set aside"),
            LIMIT,
            AFTER,
        ],
        body: "",
        answer: "DeadLetterPage",
        handler: || get(read::dead_letters),
    },
    Route {
        method: "get",
        path: "/v1/dead-letters/{id}",
        summary: "One dead letter with its bytes",
        parameters: &[("id", "path", "number of the dead letter")],
        body: "",
        answer: "DeadLetter",
        handler: || get(read::dead_letter),
    },
    Route {
        method: "post",
        path: "/v1/dead-letters/{id}/replay",
        summary: "Take a dead letter up again; any number of times has the effect of once",
        parameters: &[("id", "path", "number of the dead letter")],
        body: "",
        answer: "ReplayOutcome",
        handler: || post(write::replay),
    },
    Route {
        method: "post",
        path: "/v1/dead-letters/{id}/discard",
        summary: "Close a dead letter without effect; the body says why",
        parameters: &[("id", "path", "number of the dead letter")],
        body: "Discard",
        answer: "DiscardOutcome",
        handler: || post(write::discard),
    },
    Route {
        method: "get",
        path: "/v1/traces/{key}",
        summary: "The way of a movement, item, order, lot or plate through everything",
        parameters: &[
            ("key", "path", "a movement's identity, an item, or any word that events mention"),
            LIMIT,
        ],
        body: "",
        answer: "Trace",
        handler: || get(read::trace),
    },
    Route {
        method: "get",
        path: "/v1/postings",
        summary: "Recent documents at the ERP, newest first",
        parameters: &[("erp", "query", "name of the ERP"), LIMIT],
        body: "",
        answer: "PostingPage",
        handler: || get(read::postings),
    },
    Route {
        method: "post",
        path: "/v1/reconcile",
        summary: "Compare the books with the ERP now; changes nothing",
        parameters: &[],
        body: "",
        answer: "ReconcilePlan",
        handler: || post(write::reconcile),
    },
    Route {
        method: "get",
        path: "/v1/changes",
        summary: "Live changes as server-sent events: movements, offers and devices",
        parameters: &[],
        body: "",
        answer: "Changes",
        handler: || get(read::live),
    },
];

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
