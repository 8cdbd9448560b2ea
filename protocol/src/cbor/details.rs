//! Bytes of an event's details: a map with small integer keys in rising order, empty for most events.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{self, MapAccess};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Bytes16;
use super::event::{Texts, text};
use crate::gs1::{Date, Gtin, Sscc};
use crate::{
    AgentId, Correction, CorrectionReason, CorrelationId, Details, Disposition, Epoch, Exception, Lot,
    MovementId, OperatorId, Quantity, Reason, Reference, Sequence, SerialNumber, StabilitySource, UnitSource,
    Uom, Weighing, When,
};

#[derive(Default)]
pub(super) struct WireDetails {
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
    exceptions: Option<Vec<u8>>,
    reason: Option<u32>,
    stability_source: Option<u8>,
    unit_source: Option<u8>,
}

impl WireDetails {
    pub(super) fn of(details: &Details, when: When, texts: &mut Texts) -> Self {
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
            exceptions: (!details.exceptions.is_empty())
                .then(|| details.exceptions.iter().map(|exception| exception.wire()).collect()),
            reason: details.reason.as_ref().map(|reason| texts.put(reason.as_str())),
            stability_source: details.stability_source.wire(),
            unit_source: details.unit_source.wire(),
        }
    }

    pub(super) fn details(self, texts: &[String]) -> Result<(Details, Option<(u32, u64)>), String> {
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
            stability_source: StabilitySource::from_wire(self.stability_source)
                .ok_or("no such source of stability")?,
            unit_source: UnitSource::from_wire(self.unit_source).ok_or("no such source of a unit")?,
            disposition: self
                .disposition
                .map(|n| Disposition::from_wire(n).ok_or_else(|| alloc::format!("no disposition {n}")))
                .transpose()?,
            reference: named(texts, self.reference, Reference::new)?,
            operator: named(texts, self.operator, OperatorId::new)?,
            correlation: named(texts, self.correlation, CorrelationId::new)?,
            corrects: self.corrects.map(|wire| correction(wire, texts)).transpose()?,
            exceptions: self.exceptions.map_or(Ok(Vec::new()), exceptions)?,
            reason: named(texts, self.reason, Reason::new)?,
        };
        Ok((details, self.clock))
    }
}

fn exceptions(wire: Vec<u8>) -> Result<Vec<Exception>, String> {
    if wire.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err("exceptions stand in rising order, each once".into());
    }
    let exception = |n| Exception::from_wire(n).ok_or_else(|| alloc::format!("no exception {n}"));
    wire.into_iter().map(exception).collect()
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
            self.exceptions.is_some(),
            self.reason.is_some(),
            self.stability_source.is_some(),
            self.unit_source.is_some(),
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
        put(&mut map, 12, &self.exceptions)?;
        put(&mut map, 13, &self.reason)?;
        put(&mut map, 14, &self.stability_source)?;
        put(&mut map, 15, &self.unit_source)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for WireDetails {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = WireDetails;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("details: a map with keys 0 to 15")
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
                        12 => details.exceptions = Some(map.next_value()?),
                        13 => details.reason = Some(map.next_value()?),
                        14 => details.stability_source = Some(map.next_value()?),
                        15 => details.unit_source = Some(map.next_value()?),
                        key => return Err(de::Error::custom(format_args!("no detail {key}"))),
                    }
                }
                Ok(details)
            }
        }
        from.deserialize_map(Visitor)
    }
}
