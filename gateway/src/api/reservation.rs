//! Promises to orders: reserving, ending, and what is kept for accounts.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use stockwire_protocol::{AccountId, ChannelId, ItemId, Reference, SiteId};

use super::body::{self, Body};
use super::json::{Rows, time};
use super::read::Parameters;
use super::{Api, Problem, RunRequest};
use crate::reservation::{
    self, End, Firmness, LinePart, OrderKey, Part, Priority, Quota, Refused, Request, Reservation,
    Resolution, Shortage, Step,
};

/// Stock to hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    channel: String,
    order: String,
    lines: Vec<WantedLine>,
    account: Option<String>,
    priority: Option<u8>,
    until: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedLine {
    line: u32,
    item: String,
    site: String,
    quantity: String,
    uom: Option<String>,
}

fn order(channel: &str, order: &str) -> Result<OrderKey, Problem> {
    Ok(OrderKey {
        channel: body::text("channel", channel, ChannelId::new)?,
        order: body::text("order", order, Reference::new)?,
    })
}

fn instant(text: &str) -> Result<i64, String> {
    let instant: Result<jiff::Timestamp, _> = text.parse();
    let expected = |_| format!("expected a time such as 2026-12-31T18:00:00Z, got {text:?}");
    instant.map(jiff::Timestamp::as_millisecond).map_err(expected)
}

impl Wanted {
    fn parse(self) -> Result<Request, Problem> {
        let line = |(at, line): (usize, &WantedLine)| -> Result<reservation::Line, Problem> {
            let at = format!("lines[{at}].");
            Ok(reservation::Line {
                line: line.line,
                item: body::text(format!("{at}item"), &line.item, ItemId::new)?,
                site: body::text(format!("{at}site"), &line.site, SiteId::new)?,
                quantity: body::quantity(&at, &line.quantity, line.uom.as_ref())?,
            })
        };
        let priority = match self.priority {
            None => Priority::ORDINARY,
            Some(priority) => Priority::new(priority)
                .ok_or_else(|| Problem::bad("priority", format!("expected 0 to 9, got {priority}")))?,
        };
        let until_ms = body::maybe("until", self.until.as_ref(), instant)?;
        Ok(Request {
            order: order(&self.channel, &self.order)?,
            account: body::maybe("account", self.account.as_ref(), AccountId::new)?,
            priority,
            firmness: until_ms.map_or(Firmness::Hard, |until_ms| Firmness::Soft { until_ms }),
            lines: self.lines.iter().enumerate().map(line).collect::<Result<_, _>>()?,
        })
    }
}

/// A hold.
#[derive(Serialize)]
pub(super) struct Held {
    reservation: u64,
    channel: String,
    order: String,
    line: u32,
    item: String,
    site: String,
    quantity: String,
    uom: &'static str,
    pending: String,
    posted: String,
    voided: String,
    expired: String,
    account: Option<String>,
    priority: u8,
    until: Option<String>,
    reserved_at: String,
}

impl From<Reservation> for Held {
    fn from(held: Reservation) -> Self {
        let quantity = held.line.quantity;
        let decimal = |steps| stockwire_protocol::Quantity { steps, ..quantity }.decimal();
        Self {
            reservation: held.id,
            pending: decimal(held.pending()),
            posted: decimal(held.ended.posted),
            voided: decimal(held.ended.voided),
            expired: decimal(held.ended.expired),
            channel: held.order.channel.to_string(),
            order: held.order.order.to_string(),
            line: held.line.line,
            item: held.line.item.to_string(),
            site: held.line.site.to_string(),
            quantity: quantity.decimal(),
            uom: quantity.uom.code(),
            account: held.account.map(|account| account.to_string()),
            priority: held.priority.get(),
            until: match held.firmness {
                Firmness::Soft { until_ms } => Some(time(until_ms)),
                Firmness::Hard => None,
            },
            reserved_at: time(held.at_ms),
        }
    }
}

fn answer(held: Result<Vec<Reservation>, Refused>) -> Result<Json<Rows<Held>>, Problem> {
    match held {
        Ok(held) => Ok(Json(Rows::all(held.into_iter().map(Held::from).collect()))),
        Err(Refused::Field { field, reason }) => Err(Problem::bad(field, reason)),
        Err(refused) => Err(Problem::conflict(refused.to_string())),
    }
}

/// Has channels told of what has changed; waits while the run loop has much in hand, so that it is not forgotten.
pub(super) async fn tell(api: &Api) -> Result<(), Problem> {
    let gone =
        |_| Problem::unavailable("the gateway is stopping; what was asked is done and can be asked again");
    api.requests.send(RunRequest::Promised).await.map_err(gone)
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(p): Query<Parameters>,
) -> Result<Json<Rows<Held>>, Problem> {
    let query = reservation::Query {
        channel: body::maybe("channel", p.channel.as_ref(), ChannelId::new)?,
        order: body::maybe("order", p.order.as_ref(), Reference::new)?,
        item: body::maybe("item", p.item.as_ref(), ItemId::new)?,
        pending_only: p.pending.unwrap_or(false),
        limit: p.limit()?,
        after: p.after,
    };
    let page = api.reader.call(move |reader| reader.reservations(&query)).await?;
    Ok(Json(Rows::of(page, Held::from)))
}

/// Holds stock: all of it or none. The same request again answers the same.
pub(super) async fn reserve(
    State(api): State<Arc<Api>>,
    wanted: Body<Wanted>,
) -> Result<Json<Rows<Held>>, Problem> {
    let request = body::read(wanted)?.parse()?;
    let now = crate::io::unix_ms();
    let held = api.store.call(move |store| store.reserve(now, &request)).await?;
    tell(&api).await?;
    answer(held)
}

/// What happens to an order's holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ending {
    key: String,
    step: String,
    lines: Option<Vec<EndingLine>>,
}

/// So much of one line; what it is stands in the hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndingLine {
    line: u32,
    site: String,
    quantity: String,
    uom: Option<String>,
}

impl Ending {
    fn parse(self, order: OrderKey) -> Result<Resolution, Problem> {
        let step = match self.step.as_str() {
            "confirm" => Step::Confirm,
            "post" => Step::End(End::Posted),
            "void" => Step::End(End::Voided),
            other => {
                return Err(Problem::bad("step", format!("expected confirm, post or void, got {other:?}")));
            }
        };
        let part = |(at, line): (usize, &EndingLine)| -> Result<LinePart, Problem> {
            let at = format!("lines[{at}].");
            let site = body::text(format!("{at}site"), &line.site, SiteId::new)?;
            let quantity = body::quantity(&at, &line.quantity, line.uom.as_ref())?;
            Ok(LinePart { line: line.line, site, quantity })
        };
        let part = match &self.lines {
            None => Part::All,
            Some(lines) => Part::Lines(lines.iter().enumerate().map(part).collect::<Result<_, _>>()?),
        };
        Ok(Resolution { order, key: self.key, step, part })
    }
}

/// Confirms, posts or voids what an order holds. The same key again answers the same.
pub(super) async fn resolve(
    State(api): State<Arc<Api>>,
    Path((channel, number)): Path<(String, String)>,
    ending: Body<Ending>,
) -> Result<Json<Rows<Held>>, Problem> {
    let resolution = body::read(ending)?.parse(order(&channel, &number)?)?;
    let now = crate::io::unix_ms();
    let held = api.store.call(move |store| store.resolve(now, &resolution)).await?;
    tell(&api).await?;
    answer(held)
}

/// Stock that is kept for one account.
#[derive(Serialize)]
pub(super) struct Kept {
    account: String,
    item: String,
    site: String,
    quantity: String,
    uom: &'static str,
    used: String,
    kept: String,
}

impl From<Quota> for Kept {
    fn from(quota: Quota) -> Self {
        let decimal = |steps| stockwire_protocol::Quantity { steps, ..quota.quantity }.decimal();
        Self {
            account: quota.account.to_string(),
            item: quota.item.to_string(),
            site: quota.site.to_string(),
            quantity: quota.quantity.decimal(),
            uom: quota.quantity.uom.code(),
            used: decimal(quota.used),
            kept: decimal(quota.kept()),
        }
    }
}

pub(super) async fn quotas(State(api): State<Arc<Api>>) -> Result<Json<Rows<Kept>>, Problem> {
    let quotas = api.reader.call(|reader| reader.quotas()).await?;
    Ok(Json(Rows::all(quotas.into_iter().map(Kept::from).collect())))
}

/// How much to keep; nothing when there is no quantity.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keeping {
    quantity: Option<String>,
    uom: Option<String>,
}

#[derive(Serialize)]
pub(super) struct KeepOutcome {
    result: &'static str,
}

pub(super) async fn keep(
    State(api): State<Arc<Api>>,
    Path((account, site, item)): Path<(String, String, String)>,
    keeping: Body<Keeping>,
) -> Result<Json<KeepOutcome>, Problem> {
    let keeping = body::read(keeping)?;
    let account = body::text("account", &account, AccountId::new)?;
    let site = body::text("site", &site, SiteId::new)?;
    let item = body::text("item", &item, ItemId::new)?;
    let quantity = keeping.quantity.as_ref();
    let quantity = quantity.map(|decimal| body::quantity("", decimal, keeping.uom.as_ref())).transpose()?;
    let now = crate::io::unix_ms();
    let changed =
        api.store.call(move |store| store.put_quota(now, &account, (&item, &site), quantity)).await?;
    tell(&api).await?;
    Ok(Json(KeepOutcome { result: if changed { "changed" } else { "as_before" } }))
}

/// Less is there than was promised.
#[derive(Serialize)]
pub(super) struct Short {
    item: String,
    site: String,
    on_hand: String,
    reserved: String,
    uom: &'static str,
    gives_way: Vec<GivesWay>,
}

#[derive(Serialize)]
struct GivesWay {
    channel: String,
    order: String,
    line: u32,
    quantity: String,
}

impl From<Shortage> for Short {
    fn from(shortage: Shortage) -> Self {
        let gives_way = |(held, steps): (Reservation, i64)| GivesWay {
            channel: held.order.channel.to_string(),
            order: held.order.order.to_string(),
            line: held.line.line,
            quantity: stockwire_protocol::Quantity { steps, ..held.line.quantity }.decimal(),
        };
        Self {
            item: shortage.item.to_string(),
            site: shortage.site.to_string(),
            on_hand: shortage.on_hand.decimal(),
            reserved: shortage.reserved.decimal(),
            uom: shortage.reserved.uom.code(),
            gives_way: shortage.gives_way.into_iter().map(gives_way).collect(),
        }
    }
}

pub(super) async fn shortages(State(api): State<Arc<Api>>) -> Result<Json<Rows<Short>>, Problem> {
    let shortages = api.reader.call(|reader| reader.shortages()).await?;
    Ok(Json(Rows::all(shortages.into_iter().map(Short::from).collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<usize, &str>) {
        let wanted: Wanted = serde_json::from_str(json).unwrap();
        let got = wanted.parse().map(|request| request.lines.len());
        assert_eq!(
            got.as_ref().map_err(|fault| fault.field()),
            expected.as_ref().map_err(|field| Some(*field))
        );
    }

    #[test]
    fn a_refusal_names_the_field() {
        let with =
            |line: &str, more: &str| format!(r#"{{"channel":"shop","order":"S-1","lines":[{line}]{more}}}"#);
        let line = r#"{"line":1,"item":"A","site":"HAM","quantity":"2"}"#;
        check(&with(line, ""), Ok(1));
        check(&with(line, r#","priority":9,"until":"2026-12-31T18:00:00Z","account":"K-1""#), Ok(1));
        check(&with(line, r#","priority":10"#), Err("priority"));
        check(&with(line, r#","until":"tomorrow""#), Err("until"));
        check(&with(line, r#","account":"""#), Err("account"));
        check(&with(r#"{"line":1,"item":"","site":"HAM","quantity":"2"}"#, ""), Err("lines[0].item"));
        check(&with(r#"{"line":1,"item":"A","site":"H/M","quantity":"2"}"#, ""), Err("lines[0].site"));
        check(&with(r#"{"line":1,"item":"A","site":"HAM","quantity":"two"}"#, ""), Err("lines[0].quantity"));
        check(&with(line, "").replace("shop", "Shop!"), Err("channel"));
    }
}
