//! Bytes of events and batches.
//!
//! Texts stand once in a table, in the order of their first use, and events name them by index: a batch of one
//! loses two bytes by it, a drained batch gains a third. Times are differences to the event before.
//!
//! ```text
//! batch    [version, agent, epoch, first, t0, [text ...], [event ...]]
//! row      [version, t0, [text ...], event]                      one event by itself: the journal's row
//! movement [0, dt, {details}, step, item, steps, uom, from, to, station]
//! count    [1, dt, {details}, item, steps, uom, location, station]
//! lost     [2, dt, {details}, count]
//! handling [3, dt, {details}, act, station, {location, goods, plate}]
//! unresolved [4, dt, {details}, step, item, steps, uom, from, to, station, scanned]
//! ```

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{self, SeqAccess};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::details::WireDetails;
use super::{
    BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Bytes16, DecodeError, EVENT_BYTES_MAX, Message, Sparse, VERSION, read,
    write,
};
use crate::gs1::Sscc;
use crate::{
    Act, AgentId, Batch, BizStep, Body, Code, Content, Count, Details, Epoch, Event, Handling, ItemId,
    LocationId, Movement, Place, Purpose, Quantity, RawScan, Sequence, StationId, Unresolved, Uom, When,
};

impl Message for Batch {
    const NAME: &'static str = "batch";
    const BYTES_MAX: usize = BATCH_BYTES_MAX;

    fn encode(&self) -> Vec<u8> {
        let t0 = self.events.first().map_or(0, |event| event.when.unix_ms());
        let mut texts = Texts::default();
        let mut before = t0;
        let events = self.events.iter().map(|event| {
            let wire = WireEvent::of(event, before, &mut texts);
            before = event.when.unix_ms();
            wire
        });
        let events: Vec<WireEvent> = events.collect();
        let (agent, epoch) = (self.agent.to_string(), Bytes16(*self.epoch.as_bytes()));
        write(&WireBatch(*VERSION.end(), agent, epoch, self.first.get(), t0, texts.list, events))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        read(bytes, |WireBatch(_, agent, epoch, first, t0, texts, wire)| {
            if first == 0 || wire.is_empty() || wire.len() > BATCH_EVENTS_MAX {
                let got = wire.len();
                return Err(alloc::format!(
                    "{got} events from sequence {first}, expected 1 to {BATCH_EVENTS_MAX} from 1"
                ));
            }
            if Sequence::new(first).checked_add(wire.len() as u64 - 1).is_none() {
                return Err("the sequence runs past its end".into());
            }
            let mut before = t0;
            let mut events = Vec::with_capacity(wire.len());
            for wire in wire {
                let event = wire.event(before, &texts)?;
                before = event.when.unix_ms();
                events.push(event);
            }
            let agent = AgentId::new(agent).map_err(|fault| fault.to_string())?;
            Ok(Batch { agent, epoch: Epoch::from_bytes(epoch.0), first: Sequence::new(first), events })
        })
    }
}

impl Message for Event {
    const NAME: &'static str = "event";
    const BYTES_MAX: usize = EVENT_BYTES_MAX;

    fn encode(&self) -> Vec<u8> {
        let t0 = self.when.unix_ms();
        let mut texts = Texts::default();
        let event = WireEvent::of(self, t0, &mut texts);
        write(&WireRow(*VERSION.end(), t0, texts.list, event))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        read(bytes, |WireRow(_, t0, texts, event)| event.event(t0, &texts))
    }
}

#[derive(Serialize, Deserialize)]
struct WireBatch(u8, String, Bytes16, u64, i64, Vec<String>, Vec<WireEvent>);

#[derive(Serialize, Deserialize)]
struct WireRow(u8, i64, Vec<String>, WireEvent);

/// The text table while writing.
#[derive(Default)]
pub(super) struct Texts {
    list: Vec<String>,
    index: BTreeMap<String, u32>,
}

impl Texts {
    pub(super) fn put(&mut self, text: &str) -> u32 {
        if let Some(at) = self.index.get(text) {
            return *at;
        }
        let at = self.list.len() as u32;
        self.list.push(text.to_string());
        self.index.insert(text.to_string(), at);
        at
    }
}

/// The text table while reading.
pub(super) fn text(texts: &[String], at: u32) -> Result<&str, String> {
    let found = texts.get(at as usize).map(String::as_str);
    found.ok_or_else(|| alloc::format!("text {at} of {}", texts.len()))
}

/// Kind numbers, the first element of an event.
const MOVEMENT: u8 = 0;
const COUNT: u8 = 1;
const LOST: u8 = 2;
const HANDLING: u8 = 3;
const UNRESOLVED: u8 = 4;

/// Bits of `scanned`: which of the texts are scans that nobody knew.
const SCANNED_ITEM: u8 = 1;
const SCANNED_FROM: u8 = 2;
const SCANNED_TO: u8 = 4;

struct WireEvent {
    dt: i64,
    details: WireDetails,
    body: WireBody,
}

enum WireBody {
    Movement { step: u8, item: u32, steps: i64, uom: u8, from: i64, to: i64, station: u32 },
    Count { item: u32, steps: i64, uom: u8, location: u32, station: u32 },
    Lost { count: u64 },
    Handling(WireHandling),
    Unresolved(WireUnresolved),
}

/// Act, station, and as far as there are: location, goods (item, steps, unit), plate.
type WireHandling = (u8, u32, Sparse<u32, (u32, i64, u8), u64>);

/// Step, item, steps, unit, from, to, station, which are scans. A count has no step and no `from`.
type WireUnresolved = (Option<u8>, u32, i64, u8, Option<i64>, i64, u32, u8);

impl WireEvent {
    fn of(event: &Event, before: i64, texts: &mut Texts) -> Self {
        // Wrapping, because a clock may jump anywhere and the reader wraps back.
        let dt = event.when.unix_ms().wrapping_sub(before);
        match &event.body {
            Body::Movement(movement) => {
                let body = WireBody::Movement {
                    step: movement.step.wire(),
                    item: texts.put(movement.item.as_str()),
                    steps: movement.quantity.steps,
                    uom: movement.quantity.uom.wire(),
                    from: place_number(&movement.from, texts),
                    to: place_number(&movement.to, texts),
                    station: texts.put(movement.station.as_str()),
                };
                Self { dt, details: WireDetails::of(&movement.details, event.when, texts), body }
            }
            Body::Count(count) => {
                let body = WireBody::Count {
                    item: texts.put(count.item.as_str()),
                    steps: count.counted.steps,
                    uom: count.counted.uom.wire(),
                    location: texts.put(count.location.as_str()),
                    station: texts.put(count.station.as_str()),
                };
                Self { dt, details: WireDetails::of(&count.details, event.when, texts), body }
            }
            Body::Lost { count } => {
                let details = WireDetails::of(&Details::default(), event.when, texts);
                Self { dt, details, body: WireBody::Lost { count: *count } }
            }
            Body::Handling(handling) => {
                let (goods, plate) = match &handling.content {
                    None => (None, None),
                    Some(Content::Goods { item, quantity }) => {
                        (Some((texts.put(item.as_str()), quantity.steps, quantity.uom.wire())), None)
                    }
                    Some(Content::Plate(plate)) => (None, Some(plate.to_u64())),
                };
                let station = texts.put(handling.station.as_str());
                let location = handling.location.as_ref().map(|location| texts.put(location.as_str()));
                let body = WireBody::Handling((handling.act.wire(), station, Sparse(location, goods, plate)));
                Self { dt, details: WireDetails::of(&handling.details, event.when, texts), body }
            }
            Body::Unresolved(unresolved) => {
                let body = WireBody::Unresolved(write_unresolved(unresolved, texts));
                Self { dt, details: WireDetails::of(&unresolved.details, event.when, texts), body }
            }
        }
    }

    fn event(self, before: i64, texts: &[String]) -> Result<Event, String> {
        let (details, clock) = self.details.details(texts)?;
        let unix_ms = before.wrapping_add(self.dt);
        let when = match clock {
            None => When::Synced { unix_ms },
            Some((boot, uptime_ms)) => When::Unsynced { unix_ms, boot, uptime_ms },
        };
        let fault = |fault: crate::IdError| fault.to_string();
        let quantity = |steps, uom| -> Result<Quantity, String> {
            Ok(Quantity { steps, uom: Uom::from_wire(uom).ok_or_else(|| alloc::format!("no unit {uom}"))? })
        };
        let body = match self.body {
            WireBody::Movement { step, item, steps, uom, from, to, station } => {
                let movement = Movement {
                    step: BizStep::from_wire(step)
                        .ok_or_else(|| alloc::format!("no business step {step}"))?,
                    item: ItemId::new(text(texts, item)?).map_err(fault)?,
                    quantity: quantity(steps, uom)?,
                    from: place(from, texts)?,
                    to: place(to, texts)?,
                    station: StationId::new(text(texts, station)?).map_err(fault)?,
                    details,
                };
                if movement.quantity.steps <= 0 || movement.from == movement.to {
                    return Err("a movement needs a quantity above zero and two different places".into());
                }
                Body::Movement(movement)
            }
            WireBody::Count { item, steps, uom, location, station } => {
                if steps < 0 {
                    return Err("a count is zero or more".into());
                }
                Body::Count(Count {
                    item: ItemId::new(text(texts, item)?).map_err(fault)?,
                    counted: quantity(steps, uom)?,
                    location: LocationId::new(text(texts, location)?).map_err(fault)?,
                    station: StationId::new(text(texts, station)?).map_err(fault)?,
                    details,
                })
            }
            WireBody::Lost { count: 0 } => return Err("lost counts at least one".into()),
            WireBody::Lost { count } if details == Details::default() => Body::Lost { count },
            WireBody::Lost { .. } => return Err("lost has no details".into()),
            WireBody::Handling((act, station, Sparse(location, goods, plate))) => {
                let content = match (goods, plate) {
                    (None, None) => None,
                    (Some((_, steps, _)), None) if steps <= 0 => {
                        return Err("a content needs a quantity above zero".into());
                    }
                    (Some((item, steps, uom)), None) => Some(Content::Goods {
                        item: ItemId::new(text(texts, item)?).map_err(fault)?,
                        quantity: quantity(steps, uom)?,
                    }),
                    (None, Some(plate)) => {
                        Some(Content::Plate(Sscc::from_u64(plate).map_err(|fault| fault.to_string())?))
                    }
                    (Some(_), Some(_)) => return Err("a content is goods or a plate".into()),
                };
                let location =
                    location.map(|at| LocationId::new(text(texts, at)?).map_err(fault)).transpose()?;
                let handling = Handling {
                    act: Act::from_wire(act).ok_or_else(|| alloc::format!("no act {act}"))?,
                    content,
                    location,
                    station: StationId::new(text(texts, station)?).map_err(fault)?,
                    details,
                };
                if !handling.is_whole() {
                    return Err("the act lacks its plate or its content, or has one too many".into());
                }
                Body::Handling(handling)
            }
            WireBody::Unresolved(wire) => {
                let (_, _, steps, uom, ..) = wire;
                Body::Unresolved(read_unresolved(wire, quantity(steps, uom)?, details, texts)?)
            }
        };
        Ok(Event { when, body })
    }
}

fn write_unresolved(unresolved: &Unresolved, texts: &mut Texts) -> WireUnresolved {
    let mut scanned = 0;
    let item = match &unresolved.item {
        Code::Known(item) => texts.put(item.as_str()),
        Code::Scanned(raw) => {
            scanned |= SCANNED_ITEM;
            texts.put(raw.as_str())
        }
    };
    let mut spot = |code: &Code<Place>, bit, texts: &mut Texts| match code {
        Code::Known(place) => place_number(place, texts),
        Code::Scanned(raw) => {
            scanned |= bit;
            i64::from(texts.put(raw.as_str()))
        }
    };
    let (step, from, to) = match &unresolved.what {
        Purpose::Move { step, from, to } => {
            let from = spot(from, SCANNED_FROM, texts);
            (Some(step.wire()), Some(from), spot(to, SCANNED_TO, texts))
        }
        Purpose::Count { location } => {
            let location = match location {
                Code::Known(location) => Code::Known(Place::At(location.clone())),
                Code::Scanned(raw) => Code::Scanned(raw.clone()),
            };
            (None, None, spot(&location, SCANNED_TO, texts))
        }
    };
    let station = texts.put(unresolved.station.as_str());
    let Quantity { steps, uom } = unresolved.quantity;
    (step, item, steps, uom.wire(), from, to, station, scanned)
}

fn read_unresolved(
    (step, item, steps, _, from, to, station, scanned): WireUnresolved,
    quantity: Quantity,
    details: Details,
    texts: &[String],
) -> Result<Unresolved, String> {
    let raw = |at: u32| {
        let raw = RawScan::new(text(texts, at)?);
        raw.ok_or_else(|| alloc::format!("a scan has 1 to {} bytes", RawScan::BYTES_MAX))
    };
    let spot = |number: i64, bit| match scanned & bit {
        0 => place(number, texts).map(Code::Known),
        _ => {
            let at = u32::try_from(number).map_err(|_| alloc::format!("no text {number}"))?;
            raw(at).map(Code::Scanned)
        }
    };
    let item = match scanned & SCANNED_ITEM {
        0 => Code::Known(ItemId::new(text(texts, item)?).map_err(|fault| fault.to_string())?),
        _ => Code::Scanned(raw(item)?),
    };
    let what = match (step, from) {
        (Some(step), Some(from)) => {
            let step = BizStep::from_wire(step).ok_or_else(|| alloc::format!("no business step {step}"))?;
            let (from, to) = (spot(from, SCANNED_FROM)?, spot(to, SCANNED_TO)?);
            if steps <= 0 || from == to {
                return Err("a movement needs a quantity above zero and two different places".into());
            }
            Purpose::Move { step, from, to }
        }
        (None, None) if steps < 0 => return Err("a count is zero or more".into()),
        (None, None) => Purpose::Count {
            location: match spot(to, SCANNED_TO)? {
                Code::Known(Place::At(location)) => Code::Known(location),
                Code::Known(_) => return Err("a count is of a location".into()),
                Code::Scanned(raw) => Code::Scanned(raw),
            },
        },
        _ => return Err("a movement has a step and an origin, a count has neither".into()),
    };
    let station = StationId::new(text(texts, station)?).map_err(|fault| fault.to_string())?;
    let unresolved = Unresolved { item, quantity, what, station, details };
    // Bits that stand for nothing are told by writing it again; that there is one at all is told here.
    if unresolved.scans().next().is_none() {
        return Err("every code is known: this is a movement or a count".into());
    }
    Ok(unresolved)
}

/// Places are text indices; the virtual ones are negative.
fn place_number(place: &Place, texts: &mut Texts) -> i64 {
    match place {
        Place::At(location) => i64::from(texts.put(location.as_str())),
        Place::Supplier => -1,
        Place::Customer => -2,
        Place::Loss => -3,
        Place::Transit => -4,
    }
}

fn place(number: i64, texts: &[String]) -> Result<Place, String> {
    match number {
        -1 => Ok(Place::Supplier),
        -2 => Ok(Place::Customer),
        -3 => Ok(Place::Loss),
        -4 => Ok(Place::Transit),
        number => {
            let at = u32::try_from(number).map_err(|_| alloc::format!("no place {number}"))?;
            LocationId::new(text(texts, at)?).map(Place::At).map_err(|fault| fault.to_string())
        }
    }
}

impl Serialize for WireEvent {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.body {
            WireBody::Movement { step, item, steps, uom, from, to: place_to, station } => {
                let mut array = to.serialize_tuple(10)?;
                array.serialize_element(&MOVEMENT)?;
                array.serialize_element(&self.dt)?;
                array.serialize_element(&self.details)?;
                array.serialize_element(step)?;
                array.serialize_element(item)?;
                array.serialize_element(steps)?;
                array.serialize_element(uom)?;
                array.serialize_element(from)?;
                array.serialize_element(place_to)?;
                array.serialize_element(station)?;
                array.end()
            }
            WireBody::Count { item, steps, uom, location, station } => {
                (COUNT, self.dt, &self.details, item, steps, uom, location, station).serialize(to)
            }
            WireBody::Lost { count } => (LOST, self.dt, &self.details, count).serialize(to),
            WireBody::Handling((act, station, about)) => {
                (HANDLING, self.dt, &self.details, act, station, about).serialize(to)
            }
            WireBody::Unresolved((step, item, steps, uom, from, place_to, station, scanned)) => {
                let details = &self.details;
                (UNRESOLVED, self.dt, details, step, item, steps, uom, from, place_to, station, scanned)
                    .serialize(to)
            }
        }
    }
}

impl<'de> Deserialize<'de> for WireEvent {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = WireEvent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event: [kind, dt, {details}, ...]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<WireEvent, A::Error> {
                let kind: u8 = element(&mut array)?;
                let dt = element(&mut array)?;
                let details = element(&mut array)?;
                let body = match kind {
                    MOVEMENT => WireBody::Movement {
                        step: element(&mut array)?,
                        item: element(&mut array)?,
                        steps: element(&mut array)?,
                        uom: element(&mut array)?,
                        from: element(&mut array)?,
                        to: element(&mut array)?,
                        station: element(&mut array)?,
                    },
                    COUNT => WireBody::Count {
                        item: element(&mut array)?,
                        steps: element(&mut array)?,
                        uom: element(&mut array)?,
                        location: element(&mut array)?,
                        station: element(&mut array)?,
                    },
                    LOST => WireBody::Lost { count: element(&mut array)? },
                    HANDLING => {
                        WireBody::Handling((element(&mut array)?, element(&mut array)?, element(&mut array)?))
                    }
                    UNRESOLVED => WireBody::Unresolved((
                        element(&mut array)?,
                        element(&mut array)?,
                        element(&mut array)?,
                        element(&mut array)?,
                        element(&mut array)?,
                        element(&mut array)?,
                        element(&mut array)?,
                        element(&mut array)?,
                    )),
                    kind => return Err(de::Error::custom(format_args!("no event kind {kind}"))),
                };
                if array.next_element::<de::IgnoredAny>()?.is_some() {
                    return Err(de::Error::custom("an event has more elements than its kind"));
                }
                Ok(WireEvent { dt, details, body })
            }
        }
        from.deserialize_seq(Visitor)
    }
}

fn element<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(array: &mut A) -> Result<T, A::Error> {
    array.next_element()?.ok_or_else(|| de::Error::custom("an event has fewer elements than its kind"))
}
