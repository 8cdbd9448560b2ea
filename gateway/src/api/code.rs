//! What codes mean, what must be checked when an item moves, and what stands on a plate.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use stockwire_protocol::gs1::{Gtin, Sscc};
use stockwire_protocol::{ItemId, ItemRules, LocationId, Lot, PieceWeight, Quantity, SiteId, Uom};

use super::body::{self, Body};
use super::json::{Rows, time};
use super::read::Parameters;
use super::{Api, Problem, RunRequest, write};
use crate::code::{self, Alias, CodeKey, Meaning, Sought, Waiting};
use crate::ingest::Replay;
use crate::plate::{self, PLATE_FACTS_MAX, Plate};
use crate::store::{Store, StoreError};

/// What waits for a code is booked within this; the rest by asking again.
const BOOKING_WAIT: Duration = Duration::from_secs(10);
/// Lots that are called back and packs, of one item: with them it still fits into one message to an agent.
const RECALLED_MAX: usize = 500;
/// See [`RECALLED_MAX`].
const PACKS_MAX: usize = 50;

#[derive(Serialize)]
pub(super) struct UnknownCode {
    /// As it was scanned, separators as `\u{1d}`: this is what is sent back with its meaning.
    code: String,
    gtin: Option<String>,
    sought: &'static str,
    site: String,
    events: u64,
    first_at: String,
    last_at: String,
    movement: String,
}

impl From<Waiting> for UnknownCode {
    fn from(waiting: Waiting) -> Self {
        Self {
            code: waiting.scan.to_string(),
            gtin: match waiting.key {
                CodeKey::Gtin(gtin) => Some(gtin.to_string()),
                CodeKey::Text(_) => None,
            },
            sought: match waiting.sought {
                Sought::Item => "item",
                Sought::Place => "location",
            },
            site: waiting.site.to_string(),
            events: waiting.events,
            first_at: time(waiting.first_at_ms),
            last_at: time(waiting.last_at_ms),
            movement: waiting.last.to_string(),
        }
    }
}

pub(super) async fn unknown(
    State(api): State<Arc<Api>>,
    Query(p): Query<Parameters>,
) -> Result<Json<Rows<UnknownCode>>, Problem> {
    let site = body::maybe("site", p.site.as_ref(), SiteId::new)?;
    let limit = p.limit()?;
    let waiting = api.reader.call(|reader| code::waiting(reader)).await?;
    let own = waiting.into_iter().filter(|row| site.as_ref().is_none_or(|site| row.site == *site));
    Ok(Json(Rows::all(own.take(limit).map(UnknownCode::from).collect())))
}

/// A code with what it means: an item, or a location of a site.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    code: String,
    item: Option<String>,
    site: Option<String>,
    location: Option<String>,
}

impl Said {
    fn meaning(&self) -> Result<Meaning, Problem> {
        match (&self.item, &self.site, &self.location) {
            (Some(item), None, None) => Ok(Meaning::Item(body::text("item", item, ItemId::new)?)),
            (None, Some(site), Some(location)) => Ok(Meaning::Place(
                body::text("site", site, SiteId::new)?,
                body::text("location", location, LocationId::new)?,
            )),
            _ => Err(Problem::bad("item", "expected an item, or a site and a location")),
        }
    }
}

#[derive(Serialize)]
pub(super) struct CodeOutcome {
    result: &'static str,
    /// As it is looked up from now on.
    code: String,
    /// Facts that were booked by this request.
    booked: usize,
    /// Facts that still wait, for another code or for this request to be sent again.
    waiting: usize,
}

/// Says what a code means, and books what waited for it. Each fact is booked once, however often this is sent.
pub(super) async fn say(
    State(api): State<Arc<Api>>,
    given: Body<Said>,
) -> Result<Json<CodeOutcome>, Problem> {
    let said = body::read(given)?;
    let meaning = said.meaning()?;
    let now = crate::io::unix_ms();
    let key =
        code::alias_key(&said.code, &meaning, code::year_of(now)).map_err(|why| Problem::bad("code", why))?;
    let code = key.as_text();
    let work = move |store: &mut (dyn Store + 'static)| {
        let new = store.put_alias(now, "api", &key, &meaning)?;
        Ok::<_, StoreError>((new, code::waiting_for(&*store, now, &key, &meaning)?))
    };
    let (new, letters) = api.store.call(work).await?;
    let (mut booked, mut waiting) = (0, 0);
    let until = tokio::time::Instant::now() + BOOKING_WAIT;
    for id in letters {
        // One by one through the run loop, so that what arrives meanwhile is taken in between.
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        let request = |answer| RunRequest::Replay { id, by: "api".into(), answer };
        let outcome = match left.is_zero() {
            true => None,
            false => write::ask(&api, left, request).await?,
        };
        match outcome.transpose()? {
            Some(Replay::Applied) => booked += 1,
            Some(Replay::StillRefused { .. }) | None => waiting += 1,
            Some(Replay::AlreadyApplied | Replay::AlreadyClosed | Replay::Requeued) => {}
        }
    }
    Ok(Json(CodeOutcome { result: if new { "said" } else { "already_said" }, code, booked, waiting }))
}

#[derive(Serialize)]
pub(super) struct SaidCode {
    code: String,
    kind: &'static str,
    item: Option<String>,
    site: Option<String>,
    location: Option<String>,
    said_by: String,
    said_at: String,
}

impl From<Alias> for SaidCode {
    fn from(alias: Alias) -> Self {
        let (item, site, location) = match &alias.meaning {
            Meaning::Item(item) => (Some(item.to_string()), None, None),
            Meaning::Place(site, location) => (None, Some(site.to_string()), Some(location.to_string())),
        };
        Self {
            code: alias.code.as_text(),
            kind: match alias.code {
                CodeKey::Gtin(_) => "gtin",
                CodeKey::Text(_) => "text",
            },
            item,
            site,
            location,
            said_by: alias.by,
            said_at: time(alias.at_ms),
        }
    }
}

pub(super) async fn aliases(
    State(api): State<Arc<Api>>,
    Query(p): Query<Parameters>,
) -> Result<Json<Rows<SaidCode>>, Problem> {
    let (limit, after) = (p.limit()?, p.after);
    let page = api.reader.call(move |reader| reader.aliases(after.as_deref(), limit)).await?;
    Ok(Json(Rows::of(page, SaidCode::from)))
}

/// Which alias nobody stands by any more, as it is listed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TakenBack {
    code: String,
    kind: String,
    site: Option<String>,
}

#[derive(Serialize)]
pub(super) struct TakeBackOutcome {
    result: &'static str,
}

/// Takes an alias back. What was booked by it stays booked.
pub(super) async fn take_back(
    State(api): State<Arc<Api>>,
    given: Body<TakenBack>,
) -> Result<Json<TakeBackOutcome>, Problem> {
    let taken = body::read(given)?;
    let site = body::maybe("site", taken.site.as_ref(), SiteId::new)?;
    let key = match taken.kind.as_str() {
        "gtin" => CodeKey::Gtin(body::text("code", &taken.code, Gtin::parse)?),
        "text" => CodeKey::Text(taken.code.replace("\\u{1d}", "\u{1d}")),
        other => return Err(Problem::bad("kind", format!("expected gtin or text, got {other:?}"))),
    };
    let gone = api.store.call(move |store| store.remove_alias(&key, site.as_ref())).await?;
    Ok(Json(TakeBackOutcome { result: if gone { "taken_back" } else { "not_said" } }))
}

/// An item's rules, both ways. What is left out is not asked.
#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rules {
    lot: bool,
    serial: bool,
    expiry: bool,
    piece_weight: Option<Weight>,
    recalled: Vec<String>,
    packs: Vec<Pack>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weight {
    expected: String,
    tolerance: String,
    uom: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pack {
    gtin: String,
    pieces: u32,
}

impl From<ItemRules> for Rules {
    fn from(rules: ItemRules) -> Self {
        let weight = |weight: PieceWeight| Weight {
            expected: weight.expected.decimal(),
            tolerance: Quantity { steps: weight.tolerance_steps, ..weight.expected }.decimal(),
            uom: weight.expected.uom.code().into(),
        };
        Self {
            lot: rules.lot,
            serial: rules.serial,
            expiry: rules.expiry,
            piece_weight: rules.piece_weight.map(weight),
            recalled: rules.recalled.iter().map(ToString::to_string).collect(),
            packs: rules
                .packs
                .iter()
                .map(|(gtin, pieces)| Pack { gtin: gtin.to_string(), pieces: *pieces })
                .collect(),
        }
    }
}

impl Rules {
    fn parse(&self) -> Result<ItemRules, Problem> {
        for (field, count, max) in
            [("recalled", self.recalled.len(), RECALLED_MAX), ("packs", self.packs.len(), PACKS_MAX)]
        {
            if count > max {
                return Err(Problem::bad(field, format!("expected at most {max}, got {count}")));
            }
        }
        let pack = |(at, pack): (usize, &Pack)| -> Result<(Gtin, u32), Problem> {
            if pack.pieces == 0 {
                return Err(Problem::bad(format!("packs[{at}].pieces"), "a pack holds one or more"));
            }
            Ok((body::text(format!("packs[{at}].gtin"), &pack.gtin, Gtin::parse)?, pack.pieces))
        };
        let lot = |(at, lot): (usize, &String)| body::text(format!("recalled[{at}]"), lot, Lot::new);
        Ok(ItemRules {
            lot: self.lot,
            serial: self.serial,
            expiry: self.expiry,
            piece_weight: self.piece_weight.as_ref().map(Weight::parse).transpose()?,
            recalled: self.recalled.iter().enumerate().map(lot).collect::<Result<_, _>>()?,
            packs: self.packs.iter().enumerate().map(pack).collect::<Result<_, _>>()?,
        })
    }
}

impl Weight {
    fn parse(&self) -> Result<PieceWeight, Problem> {
        let unit = Uom::from_code(&self.uom)
            .filter(|unit| matches!(unit, Uom::Kilogram | Uom::Gram | Uom::Pound))
            .ok_or_else(|| {
                Problem::bad("piece_weight.uom", format!("expected KGM, GRM or LBR, got {:?}", self.uom))
            })?;
        let parse = |field: &str, text: &str| {
            body::text(format!("piece_weight.{field}"), text, |text| Quantity::parse(text, unit))
        };
        let expected = parse("expected", &self.expected)?;
        let tolerance = parse("tolerance", &self.tolerance)?;
        if expected.steps <= 0 {
            return Err(Problem::bad("piece_weight.expected", "a piece weighs more than nothing"));
        }
        if tolerance.steps < 0 {
            return Err(Problem::bad("piece_weight.tolerance", "expected nothing or more"));
        }
        Ok(PieceWeight { expected, tolerance_steps: tolerance.steps })
    }
}

pub(super) async fn rules(
    State(api): State<Arc<Api>>,
    Path(item): Path<String>,
) -> Result<Json<Rules>, Problem> {
    let item = body::text("item", &item, ItemId::new)?;
    let missing = no_item(&item);
    let rules = api.reader.call(move |reader| reader.item_rules(&item)).await?;
    rules.map(|rules| Json(rules.into())).ok_or_else(|| Problem::not_found(missing))
}

fn no_item(item: &ItemId) -> String {
    format!("item {item} is not in the catalogue; GET /v1/items lists what there is")
}

/// Replaces an item's rules. Sent twice, it is done once.
pub(super) async fn put_rules(
    State(api): State<Arc<Api>>,
    Path(item): Path<String>,
    given: Body<Rules>,
) -> Result<Json<Rules>, Problem> {
    let item = body::text("item", &item, ItemId::new)?;
    let rules = body::read(given)?.parse()?;
    let missing = no_item(&item);
    let work = move |store: &mut (dyn Store + 'static)| {
        if store.item_rules(&item)?.is_none() {
            return Ok(None);
        }
        store.put_item_rules(&item, &rules)?;
        store.item_rules(&item)
    };
    let rules: Option<ItemRules> = api.store.call(work).await?;
    rules.map(|rules| Json(rules.into())).ok_or_else(|| Problem::not_found(missing))
}

#[derive(Serialize)]
pub(super) struct PlateTold {
    sscc: String,
    site: String,
    location: Option<String>,
    station: String,
    at: String,
    stage: &'static str,
    on: Option<String>,
    goods: Vec<PlateGoods>,
    plates: Vec<String>,
}

#[derive(Serialize)]
struct PlateGoods {
    item: String,
    quantity: String,
    uom: &'static str,
    lot: Option<String>,
    expires_on: Option<String>,
}

impl From<Plate> for PlateTold {
    fn from(plate: Plate) -> Self {
        let goods = |goods: plate::Goods| PlateGoods {
            item: goods.item.to_string(),
            quantity: goods.quantity.decimal(),
            uom: goods.quantity.uom.code(),
            lot: goods.lot.map(|lot| lot.to_string()),
            expires_on: goods.expires_on.map(|day| day.to_string()),
        };
        Self {
            sscc: plate.sscc.to_string(),
            site: plate.site.to_string(),
            location: plate.location.map(|location| location.to_string()),
            station: plate.station.to_string(),
            at: time(plate.at_ms),
            stage: plate.stage.as_str(),
            on: plate.on.map(|on| on.to_string()),
            goods: plate.goods.into_iter().map(goods).collect(),
            plates: plate.plates.iter().map(ToString::to_string).collect(),
        }
    }
}

pub(super) async fn plate(
    State(api): State<Arc<Api>>,
    Path(sscc): Path<String>,
) -> Result<Json<PlateTold>, Problem> {
    let sscc = body::text("sscc", &sscc, Sscc::parse)?;
    let facts =
        api.reader.call(move |reader| reader.mentioning(&sscc.to_string(), PLATE_FACTS_MAX + 1)).await?;
    if facts.len() > PLATE_FACTS_MAX {
        return Err(Problem::conflict(format!(
            "more than {PLATE_FACTS_MAX} facts name plate {sscc}: its contents cannot be told; see /v1/traces/{sscc}"
        )));
    }
    let plate = plate::read(sscc, &facts);
    plate
        .map(|plate| Json(plate.into()))
        .ok_or_else(|| Problem::not_found(format!("nothing is known about plate {sscc}")))
}
