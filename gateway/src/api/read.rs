//! Handlers that read.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use serde::Deserialize;
use stockwire_protocol::{ChannelId, IdError, ItemId, LocationId, SiteId, Sku};

use super::json::{Device, ItemRow, Letter, Movement, Offer, Posting, Rows, Stock, TraceAnswer};
use super::{Api, Problem};
use crate::catalogue::ErpId;
use crate::dead_letter::{DeadLetterClass, DeadLetterId, DeadLetterState};
use crate::store::{DeadLetterQuery, MovementQuery, OfferQuery, PAGE_ROWS_MAX, Page, StockQuery, StoreError};
use crate::trace;

type Answer<T> = Result<Json<T>, Problem>;

/// Every query parameter there is; each handler takes its own.
#[derive(Deserialize, Default)]
pub(super) struct Parameters {
    pub(super) site: Option<String>,
    location: Option<String>,
    pub(super) item: Option<String>,
    pub(super) channel: Option<String>,
    pub(super) order: Option<String>,
    pub(super) pending: Option<bool>,
    pub(super) stage: Option<String>,
    pub(super) attention: Option<bool>,
    erp: Option<String>,
    search: Option<String>,
    pub(super) state: Option<String>,
    pub(super) kind: Option<String>,
    class: Option<String>,
    negative: Option<bool>,
    limit: Option<usize>,
    pub(super) after: Option<String>,
}

impl Parameters {
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        match self.limit {
            None => Ok(100),
            Some(limit) if (1..=PAGE_ROWS_MAX).contains(&limit) => Ok(limit),
            Some(limit) => Err(Problem::bad("limit", format!("expected 1 to {PAGE_ROWS_MAX}, got {limit}"))),
        }
    }
}

fn id<T: std::str::FromStr<Err = IdError>>(
    field: &'static str,
    text: Option<&String>,
) -> Result<Option<T>, Problem> {
    text.map(|text| text.parse().map_err(|fault: IdError| Problem::bad(field, fault.to_string()))).transpose()
}

pub(super) async fn stock(State(api): State<Arc<Api>>, Query(p): Query<Parameters>) -> Answer<Rows<Stock>> {
    let query = StockQuery {
        site: id::<SiteId>("site", p.site.as_ref())?,
        location: id::<LocationId>("location", p.location.as_ref())?,
        item: id::<ItemId>("item", p.item.as_ref())?,
        negative_only: p.negative.unwrap_or(false),
        limit: p.limit()?,
        after: p.after,
    };
    let page = api.reader.call(move |reader| reader.stock(&query)).await?;
    Ok(Json(Rows::of(page, Stock::from)))
}

pub(super) async fn movements(
    State(api): State<Arc<Api>>,
    Query(p): Query<Parameters>,
) -> Answer<Rows<Movement>> {
    let query = MovementQuery {
        site: id::<SiteId>("site", p.site.as_ref())?,
        item: id::<ItemId>("item", p.item.as_ref())?,
        limit: p.limit()?,
        after: p.after,
    };
    let page = api.reader.call(move |reader| reader.movements(&query)).await?;
    Ok(Json(Rows::of(page, Movement::from)))
}

pub(super) async fn items(State(api): State<Arc<Api>>, Query(p): Query<Parameters>) -> Answer<Rows<ItemRow>> {
    let limit = p.limit()?;
    let after = id::<ItemId>("after", p.after.as_ref())?;
    let search = p.search.unwrap_or_default();
    let rows = api.reader.call(move |reader| reader.items(&search, after.as_ref(), limit)).await?;
    let next = (rows.len() == limit).then(|| rows.last().map(|item| item.id.to_string())).flatten();
    Ok(Json(Rows::of(Page { rows, next }, ItemRow::from)))
}

pub(super) async fn offers(State(api): State<Arc<Api>>, Query(p): Query<Parameters>) -> Answer<Rows<Offer>> {
    let query = OfferQuery {
        channel: id::<ChannelId>("channel", p.channel.as_ref())?,
        item: id::<ItemId>("item", p.item.as_ref())?,
        limit: p.limit()?,
        after: p.after,
    };
    let page = api.reader.call(move |reader| reader.offers(&query)).await?;
    Ok(Json(Rows::of(page, Offer::from)))
}

pub(super) async fn availability(
    State(api): State<Arc<Api>>,
    Path((channel, sku)): Path<(String, String)>,
) -> Answer<Offer> {
    let channel = ChannelId::new(channel).map_err(|fault| Problem::bad("channel", fault.to_string()))?;
    let sku = Sku::new(sku).map_err(|fault| Problem::bad("sku", fault.to_string()))?;
    let missing = format!("{channel} sells no {sku}");
    let offer = api.reader.call(move |reader| reader.availability(&channel, &sku)).await?;
    offer.map(|offer| Json(offer.into())).ok_or_else(|| Problem::not_found(missing))
}

pub(super) async fn devices(State(api): State<Arc<Api>>) -> Answer<Rows<Device>> {
    let rows = api.reader.call(|reader| reader.devices()).await?;
    Ok(Json(Rows::all(rows.into_iter().map(Device::from).collect())))
}

pub(super) async fn dead_letters(
    State(api): State<Arc<Api>>,
    Query(p): Query<Parameters>,
) -> Answer<Rows<Letter>> {
    let known = |field, text: &Option<String>, found: bool| match text {
        Some(text) if !found => Err(Problem::bad(field, format!("there is no {field} {text:?}"))),
        _ => Ok(()),
    };
    let state = p.state.as_deref().and_then(DeadLetterState::from_name);
    let class = p.class.as_deref().and_then(DeadLetterClass::from_name);
    known("state", &p.state, state.is_some())?;
    known("class", &p.class, class.is_some())?;
    let query = DeadLetterQuery { state, class, limit: p.limit()?, after: p.after };
    let page = api.reader.call(move |reader| reader.dead_letters(&query)).await?;
    Ok(Json(Rows::of(page, Letter::from)))
}

pub(super) async fn dead_letter(State(api): State<Arc<Api>>, Path(number): Path<i64>) -> Answer<Letter> {
    let letter = api.reader.call(move |reader| reader.dead_letter(DeadLetterId(number))).await?;
    letter
        .map(|letter| Json(letter.into()))
        .ok_or_else(|| Problem::not_found(format!("no dead letter {number}")))
}

pub(super) async fn trace(
    State(api): State<Arc<Api>>,
    Path(key): Path<String>,
    Query(p): Query<Parameters>,
) -> Answer<TraceAnswer> {
    let limit = p.limit()?;
    let keys = trace::parse(&key);
    let threads = api
        .reader
        .call(move |reader| -> Result<_, StoreError> {
            // The first reading of the text that finds anything is the right one.
            for key in keys {
                let threads = reader.trace(&key, limit)?;
                if !threads.is_empty() {
                    return Ok(threads);
                }
            }
            Ok(Vec::new())
        })
        .await?;
    if threads.is_empty() {
        return Err(Problem::not_found(format!("nothing is known about {key:?}")));
    }
    let steps = trace::timeline(&threads);
    Ok(Json(TraceAnswer::new(key, &threads, steps)))
}

pub(super) async fn postings(
    State(api): State<Arc<Api>>,
    Query(p): Query<Parameters>,
) -> Answer<Rows<Posting>> {
    let limit = p.limit()?;
    let erp = p.erp.as_deref().unwrap_or("erp");
    let erp = ErpId::new(erp).ok_or_else(|| Problem::bad("erp", "expected 1 to 32 of a-z, 0-9 and -"))?;
    let rows = api.reader.call(move |reader| reader.posting_batches(&erp, limit)).await?;
    Ok(Json(Rows::all(rows.into_iter().map(Posting::from).collect())))
}

/// A quiet line is told apart from a dead one at least this often.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Without news from ingest (a posting or a publication was recorded), look this often.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// News from now on, as they are committed. What a slow reader has missed comes in the next look: the cursor waits.
pub(super) async fn live(
    State(api): State<Arc<Api>>,
) -> Result<Sse<impl futures_core::Stream<Item = Result<Event, Infallible>>>, Problem> {
    let cursor = api.reader.call(|reader| reader.changes_head()).await?;
    let (send, receive) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        let mut cursor = cursor;
        loop {
            let _ = tokio::time::timeout(LOOK_EVERY, api.news.notified()).await;
            if send.is_closed() {
                return;
            }
            let changes = match api.reader.call(move |reader| reader.changes(cursor, PAGE_ROWS_MAX)).await {
                Ok(changes) => changes,
                Err(fault) => {
                    tracing::warn!(error = &fault as &dyn std::error::Error, "a live view ends");
                    return;
                }
            };
            cursor = changes.cursor;
            let movements = changes.movements.into_iter().map(|row| event("movement", &Movement::from(row)));
            let offers = changes.offers.into_iter().map(|row| event("offer", &Offer::from(row)));
            let devices = changes.devices.into_iter().map(|row| event("device", &Device::from(row)));
            for news in movements.chain(offers).chain(devices) {
                if send.send(Ok(news)).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(Sse::new(Receiving(receive)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn event(name: &str, row: &impl serde::Serialize) -> Event {
    // Our own rows are maps of texts and numbers, which JSON can always hold.
    Event::default().event(name).json_data(row).unwrap_or_else(|_| Event::default().comment("unprintable"))
}

struct Receiving(tokio::sync::mpsc::Receiver<Result<Event, Infallible>>);

impl futures_core::Stream for Receiving {
    type Item = Result<Event, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}
