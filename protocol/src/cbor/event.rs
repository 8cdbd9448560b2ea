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
//! ```

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{self, MapAccess, SeqAccess};
use serde::ser::{SerializeMap, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Bytes16, DecodeError, EVENT_BYTES_MAX, Message, VERSION, read, write,
};
use crate::gs1::{Date, Gtin, Sscc};
use crate::{
    AgentId, Batch, BizStep, Body, Correction, CorrectionReason, CorrelationId, Count, Details, Disposition,
    Epoch, Event, ItemId, LocationId, Lot, Movement, MovementId, OperatorId, Place, Quantity, Reference,
    Sequence, SerialNumber, StationId, Uom, Weighing, When,
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
struct Texts {
    list: Vec<String>,
    index: BTreeMap<String, u32>,
}

impl Texts {
    fn put(&mut self, text: &str) -> u32 {
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
fn text(texts: &[String], at: u32) -> Result<&str, String> {
    let found = texts.get(at as usize).map(String::as_str);
    found.ok_or_else(|| alloc::format!("text {at} of {}", texts.len()))
}

/// Kind numbers, the first element of an event.
const MOVEMENT: u8 = 0;
const COUNT: u8 = 1;
const LOST: u8 = 2;

struct WireEvent {
    dt: i64,
    details: WireDetails,
    body: WireBody,
}

enum WireBody {
    Movement { step: u8, item: u32, steps: i64, uom: u8, from: i64, to: i64, station: u32 },
    Count { item: u32, steps: i64, uom: u8, location: u32, station: u32 },
    Lost { count: u64 },
}

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
        };
        Ok(Event { when, body })
    }
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

/// What may be unknown: a map with small integer keys in rising order, empty for most events.
#[derive(Default)]
struct WireDetails {
    clock: Option<(u32, u64)>,
    gtin: Option<u64>,
    lot: Option<u32>,
    serial: Option<u32>,
    expires_on: Option<u32>,
    license_plate: Option<u64>,
    weighing: Option<(i64, i64, i64, u8)>,
    disposition: Option<u8>,
    reference: Option<u32>,
    operator: Option<u32>,
    correlation: Option<u32>,
    corrects: Option<(u32, Bytes16, u64, u8)>,
}

impl WireDetails {
    fn of(details: &Details, when: When, texts: &mut Texts) -> Self {
        let mut put = |text: Option<&str>| text.map(|text| texts.put(text));
        Self {
            clock: match when {
                When::Synced { .. } => None,
                When::Unsynced { boot, uptime_ms, .. } => Some((boot, uptime_ms)),
            },
            gtin: details.gtin.map(|gtin| gtin.to_u64()),
            lot: put(details.lot.as_ref().map(Lot::as_str)),
            serial: put(details.serial.as_ref().map(SerialNumber::as_str)),
            expires_on: details.expires_on.map(Date::to_yyyymmdd),
            license_plate: details.license_plate.map(|sscc| sscc.to_u64()),
            weighing: details
                .weighing
                .map(|w| (w.gross.steps, w.tare.steps, w.net.steps, w.gross.uom.wire())),
            disposition: details.disposition.map(Disposition::wire),
            reference: put(details.reference.as_ref().map(Reference::as_str)),
            operator: put(details.operator.as_ref().map(OperatorId::as_str)),
            correlation: put(details.correlation.as_ref().map(CorrelationId::as_str)),
            corrects: details.corrects.as_ref().map(|correction| {
                let MovementId { agent, epoch, sequence } = &correction.movement;
                let reason = match correction.reason {
                    CorrectionReason::DidNotOccur => 0,
                    CorrectionReason::IncorrectData => 1,
                };
                (texts.put(agent.as_str()), Bytes16(*epoch.as_bytes()), sequence.get(), reason)
            }),
        }
    }

    fn details(self, texts: &[String]) -> Result<(Details, Option<(u32, u64)>), String> {
        fn named<T>(
            texts: &[String],
            at: Option<u32>,
            make: impl FnOnce(String) -> Result<T, crate::IdError>,
        ) -> Result<Option<T>, String> {
            at.map(|at| make(text(texts, at)?.to_string()).map_err(|fault| fault.to_string())).transpose()
        }
        let details = Details {
            gtin: self.gtin.map(|n| Gtin::from_u64(n).map_err(|e| e.to_string())).transpose()?,
            lot: named(texts, self.lot, Lot::new)?,
            serial: named(texts, self.serial, SerialNumber::new)?,
            expires_on: self
                .expires_on
                .map(|day| Date::from_yyyymmdd(day).map_err(|fault| fault.to_string()))
                .transpose()?,
            license_plate: self
                .license_plate
                .map(|n| Sscc::from_u64(n).map_err(|e| e.to_string()))
                .transpose()?,
            weighing: self.weighing.map(weighing).transpose()?,
            disposition: self
                .disposition
                .map(|n| Disposition::from_wire(n).ok_or_else(|| alloc::format!("no disposition {n}")))
                .transpose()?,
            reference: named(texts, self.reference, Reference::new)?,
            operator: named(texts, self.operator, OperatorId::new)?,
            correlation: named(texts, self.correlation, CorrelationId::new)?,
            corrects: self.corrects.map(|wire| correction(wire, texts)).transpose()?,
        };
        Ok((details, self.clock))
    }
}

fn weighing((gross, tare, net, uom): (i64, i64, i64, u8)) -> Result<Weighing, String> {
    let uom = Uom::from_wire(uom).ok_or_else(|| alloc::format!("no unit {uom}"))?;
    if gross.checked_sub(tare) != Some(net) {
        return Err("net weight is not gross less tare".into());
    }
    let weight = |steps| Quantity { steps, uom };
    Ok(Weighing { gross: weight(gross), tare: weight(tare), net: weight(net) })
}

fn correction(
    (agent, epoch, sequence, reason): (u32, Bytes16, u64, u8),
    texts: &[String],
) -> Result<Correction, String> {
    let agent = AgentId::new(text(texts, agent)?).map_err(|fault| fault.to_string())?;
    let reason = match reason {
        0 => CorrectionReason::DidNotOccur,
        1 => CorrectionReason::IncorrectData,
        n => return Err(alloc::format!("no correction reason {n}")),
    };
    let movement = MovementId { agent, epoch: Epoch::from_bytes(epoch.0), sequence: Sequence::new(sequence) };
    Ok(Correction { movement, reason })
}

impl Serialize for WireDetails {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let present = [
            self.clock.is_some(),
            self.gtin.is_some(),
            self.lot.is_some(),
            self.serial.is_some(),
            self.expires_on.is_some(),
            self.license_plate.is_some(),
            self.weighing.is_some(),
            self.disposition.is_some(),
            self.reference.is_some(),
            self.operator.is_some(),
            self.correlation.is_some(),
            self.corrects.is_some(),
        ];
        let mut map = to.serialize_map(Some(present.into_iter().filter(|p| *p).count()))?;
        fn put<M: SerializeMap, T: Serialize>(
            map: &mut M,
            key: u8,
            value: &Option<T>,
        ) -> Result<(), M::Error> {
            value.as_ref().map_or(Ok(()), |value| map.serialize_entry(&key, value))
        }
        put(&mut map, 0, &self.clock)?;
        put(&mut map, 1, &self.gtin)?;
        put(&mut map, 2, &self.lot)?;
        put(&mut map, 3, &self.serial)?;
        put(&mut map, 4, &self.expires_on)?;
        put(&mut map, 5, &self.license_plate)?;
        put(&mut map, 6, &self.weighing)?;
        put(&mut map, 7, &self.disposition)?;
        put(&mut map, 8, &self.reference)?;
        put(&mut map, 9, &self.operator)?;
        put(&mut map, 10, &self.correlation)?;
        put(&mut map, 11, &self.corrects)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for WireDetails {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = WireDetails;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("details: a map with keys 0 to 11")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WireDetails, A::Error> {
                let mut details = WireDetails::default();
                // Repeated and unordered keys are caught by writing the message again.
                while let Some(key) = map.next_key::<u8>()? {
                    match key {
                        0 => details.clock = Some(map.next_value()?),
                        1 => details.gtin = Some(map.next_value()?),
                        2 => details.lot = Some(map.next_value()?),
                        3 => details.serial = Some(map.next_value()?),
                        4 => details.expires_on = Some(map.next_value()?),
                        5 => details.license_plate = Some(map.next_value()?),
                        6 => details.weighing = Some(map.next_value()?),
                        7 => details.disposition = Some(map.next_value()?),
                        8 => details.reference = Some(map.next_value()?),
                        9 => details.operator = Some(map.next_value()?),
                        10 => details.correlation = Some(map.next_value()?),
                        11 => details.corrects = Some(map.next_value()?),
                        key => return Err(de::Error::custom(format_args!("no detail {key}"))),
                    }
                }
                Ok(details)
            }
        }
        from.deserialize_map(Visitor)
    }
}
