//! Orders: taking them in, how they stand, and what people ask of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stockwire_protocol::{ChannelId, Reference};

use super::body::{self, Body};
use super::json::{Rows, time};
use super::read::Parameters;
use super::{Api, Problem, RunRequest};
use crate::order::{
    Captured, Command, Entry, Head, LineId, Order, OrderKey, Refused, Stage, Standing, Verdict, round,
};
use crate::store::OrderQuery;

/// Who asks, in an order's history.
const BY: &str = "api";

/// How an order stands.
#[derive(Serialize)]
pub(super) struct Row {
    channel: String,
    order: String,
    code: String,
    reference: String,
    stage: &'static str,
    attention: Option<String>,
    currency: String,
    gross: i64,
    placed_at: String,
    changed_at: String,
}

impl From<Head> for Row {
    fn from(head: Head) -> Self {
        Self {
            channel: head.order.channel.to_string(),
            order: head.order.order.to_string(),
            code: head.code.to_string(),
            reference: head.reference.to_string(),
            stage: head.stage.as_str(),
            attention: head.attention,
            currency: head.currency.to_string(),
            gross: head.gross,
            placed_at: time(head.placed_at_ms),
            changed_at: time(head.changed_at_ms),
        }
    }
}

/// An order with everything that happened to it.
#[derive(Serialize)]
pub(super) struct Whole {
    stage: &'static str,
    attention: Option<String>,
    reference: String,
    sale: Option<String>,
    invoice: Option<String>,
    shipments: Value,
    order: Order,
    timeline: Vec<Value>,
}

fn whole(rows: &[Entry]) -> Result<Whole, Problem> {
    let standing = Standing::of(rows).ok_or_else(|| Problem::not_found("there is no such order"))?;
    Ok(Whole {
        stage: standing.stage().as_str(),
        attention: standing.attention(),
        reference: standing.reference.to_string(),
        sale: standing.sale().map(str::to_owned),
        invoice: standing.invoice.clone(),
        shipments: json!(standing.shipments),
        timeline: rows.iter().map(told).collect(),
        order: standing.order,
    })
}

/// One row of the history: when, by whom, and the fact as it is kept.
fn told(entry: &Entry) -> Value {
    let mut told = json!(entry.fact);
    told["sequence"] = json!(entry.sequence);
    told["at"] = json!(time(entry.at_ms));
    told["by"] = json!(entry.by);
    told["text"] = json!(entry.fact.words());
    told
}

fn key(channel: &str, order: &str) -> Result<OrderKey, Problem> {
    Ok(OrderKey {
        channel: body::text("channel", channel, ChannelId::new)?,
        order: body::text("order", order, Reference::new)?,
    })
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(p): Query<Parameters>,
) -> Result<Json<Rows<Row>>, Problem> {
    let stage = |name: &str| {
        Stage::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = Stage::NAMES.iter().map(|row| row.0).collect();
            format!("expected {}, got {name:?}", names.join(", "))
        })
    };
    let query = OrderQuery {
        channel: body::maybe("channel", p.channel.as_ref(), ChannelId::new)?,
        stage: body::maybe("stage", p.stage.as_ref(), stage)?,
        code: body::maybe("order", p.order.as_ref(), Reference::new)?,
        attention_only: p.attention.unwrap_or(false),
        limit: p.limit()?,
        after: p.after,
    };
    let page = api.reader.call(move |reader| reader.orders(&query)).await?;
    Ok(Json(Rows::of(page, Row::from)))
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path((channel, order)): Path<(String, String)>,
) -> Result<Json<Whole>, Problem> {
    let key = key(&channel, &order)?;
    let rows = api.reader.call(move |reader| reader.order(&key)).await?;
    whole(&rows).map(Json)
}

/// What taking an order in came to.
#[derive(Serialize)]
pub(super) struct CaptureOutcome {
    result: &'static str,
    #[serde(flatten)]
    whole: Whole,
}

/// Takes an order in. The same again changes nothing; one that says something else is kept as a revision.
pub(super) async fn capture(
    State(api): State<Arc<Api>>,
    given: Body<Order>,
) -> Result<Json<CaptureOutcome>, Problem> {
    let order = body::read(given)?;
    let (key, book, now) = (order.key(), Arc::clone(&api.orders), crate::io::unix_ms());
    let (captured, rows) = api
        .store
        .call(move |store| {
            let captured = round::capture(store, &book, now, BY, &order)?;
            Ok::<_, crate::store::StoreError>((captured, store.order(&key)?))
        })
        .await?;
    tell(&api).await?;
    let result = match captured {
        Captured::New => "new",
        Captured::Revised => "revised",
        Captured::Same => "as_before",
    };
    Ok(Json(CaptureOutcome { result, whole: whole(&rows)? }))
}

/// Why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    reason: String,
}

/// A word on a check.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Word {
    check: String,
    verdict: Verdict,
    reason: String,
}

/// A parcel.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parcel {
    key: String,
    carrier: Option<String>,
    tracking: Option<String>,
}

/// A return.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    key: String,
    reason: String,
    #[serde(default)]
    refund: i64,
    lines: Vec<BackLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackLine {
    line: String,
    quantity: String,
    uom: Option<String>,
}

type At = Path<(String, String)>;

pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    at: At,
    why: Body<Why>,
) -> Result<Json<Whole>, Problem> {
    let Why { reason } = body::read(why)?;
    ask(&api, at, Command::Cancel { reason }).await
}

pub(super) async fn hold(
    State(api): State<Arc<Api>>,
    at: At,
    why: Body<Why>,
) -> Result<Json<Whole>, Problem> {
    let Why { reason } = body::read(why)?;
    ask(&api, at, Command::Hold { reason }).await
}

pub(super) async fn release(State(api): State<Arc<Api>>, at: At) -> Result<Json<Whole>, Problem> {
    ask(&api, at, Command::Release).await
}

pub(super) async fn decide(
    State(api): State<Arc<Api>>,
    at: At,
    word: Body<Word>,
) -> Result<Json<Whole>, Problem> {
    let Word { check, verdict, reason } = body::read(word)?;
    ask(&api, at, Command::Decide { check, verdict, reason }).await
}

pub(super) async fn ship(
    State(api): State<Arc<Api>>,
    at: At,
    parcel: Body<Parcel>,
) -> Result<Json<Whole>, Problem> {
    let Parcel { key, carrier, tracking } = body::read(parcel)?;
    ask(&api, at, Command::Ship { key, carrier, tracking }).await
}

pub(super) async fn announce(
    State(api): State<Arc<Api>>,
    at: At,
    back: Body<Back>,
) -> Result<Json<Whole>, Problem> {
    let Back { key, reason, refund, lines } = body::read(back)?;
    let line = |(number, line): (usize, &BackLine)| {
        let at = format!("lines[{number}].");
        let id = body::text(format!("{at}line"), &line.line, LineId::new)?;
        Ok((id, body::quantity(&at, &line.quantity, line.uom.as_ref())?))
    };
    let lines = lines.iter().enumerate().map(line).collect::<Result<_, Problem>>()?;
    ask(&api, at, Command::Return { key, lines, reason, refund }).await
}

async fn ask(api: &Api, Path((channel, order)): At, command: Command) -> Result<Json<Whole>, Problem> {
    let key = key(&channel, &order)?;
    let (book, now) = (Arc::clone(&api.orders), crate::io::unix_ms());
    let (outcome, rows) = api
        .store
        .call(move |store| {
            let outcome = round::ask(store, &book, now, BY, &key, &command)?;
            Ok::<_, crate::store::StoreError>((outcome, store.order(&key)?))
        })
        .await?;
    match outcome {
        Ok(()) => {}
        Err(Refused::Unknown) => return Err(Problem::not_found("there is no such order")),
        Err(Refused::Field { field, reason }) => return Err(Problem::bad(field, reason)),
        Err(Refused::State(reason)) => return Err(Problem::conflict(reason)),
    }
    tell(api).await?;
    whole(&rows).map(Json)
}

/// Has senders look at what became due.
async fn tell(api: &Api) -> Result<(), Problem> {
    let gone =
        |_| Problem::unavailable("the gateway is stopping; what was asked is done and can be asked again");
    api.requests.send(RunRequest::Promised).await.map_err(gone)
}
