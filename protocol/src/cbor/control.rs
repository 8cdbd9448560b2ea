//! Bytes of acks, states, commands, replies and the catalogue: plain arrays, version first.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

use serde::{Deserialize, Serialize};

use super::{Bytes16, CATALOGUE_BYTES_MAX, CONTROL_BYTES_MAX, DecodeError, Message, VERSION, read, write};
use crate::gs1::Gtin;
use crate::{
    Ack, AgentId, Catalogue, CatalogueItem, CatalogueSince, Command, CommandBody, Digest, Epoch, ItemId,
    ItemRules, LocationId, Lot, PieceWeight, Quantity, Refusal, Reply, ReplyResult, Sequence, SiteId, State,
    StateKind, Uom,
};

fn text<E: Display>(fault: E) -> String {
    fault.to_string()
}

#[derive(Serialize, Deserialize)]
struct WireAck(u8, Bytes16, u64, u64, Option<u8>);

const REFUSALS: [Refusal; 5] =
    [Refusal::Gap, Refusal::Version, Refusal::Malformed, Refusal::Conflict, Refusal::Unknown];

impl Message for Ack {
    const NAME: &'static str = "ack";
    const BYTES_MAX: usize = CONTROL_BYTES_MAX;

    fn encode(&self) -> Vec<u8> {
        let refusal = self.refusal.map(|refusal| refusal as u8);
        write(&WireAck(
            *VERSION.end(),
            Bytes16(*self.epoch.as_bytes()),
            self.watermark.get(),
            self.digest.bits(),
            refusal,
        ))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        read(bytes, |WireAck(_, epoch, watermark, digest, refusal)| {
            let refusal = refusal
                .map(|number| REFUSALS.get(usize::from(number)).copied().ok_or("unknown refusal"))
                .transpose()?;
            Ok(Ack {
                epoch: Epoch::from_bytes(epoch.0),
                watermark: Sequence::new(watermark),
                digest: Digest::from_bits(digest),
                refusal,
            })
        })
    }
}

#[derive(Serialize, Deserialize)]
struct WireState(u8, String, u8, Option<WireOnline>);

/// Epoch, head, watermark, boot, uptime, wall clock, synchronised, software.
#[derive(Serialize, Deserialize)]
struct WireOnline(Bytes16, u64, u64, u32, u64, i64, bool, String);

/// Longest software version that is read: longer ones are no version.
const SOFTWARE_LENGTH_MAX: usize = 64;

impl Message for State {
    const NAME: &'static str = "state";
    const BYTES_MAX: usize = CONTROL_BYTES_MAX;

    fn encode(&self) -> Vec<u8> {
        let (kind, online) = match &self.kind {
            StateKind::Online {
                epoch,
                head,
                watermark,
                boot,
                uptime_ms,
                unix_ms,
                clock_synced,
                software,
            } => (
                0,
                Some(WireOnline(
                    Bytes16(*epoch.as_bytes()),
                    head.get(),
                    watermark.get(),
                    *boot,
                    *uptime_ms,
                    *unix_ms,
                    *clock_synced,
                    software.chars().take(SOFTWARE_LENGTH_MAX).collect(),
                )),
            ),
            StateKind::Stopped => (1, None),
            StateKind::Lost => (2, None),
        };
        write(&WireState(*VERSION.end(), self.agent.to_string(), kind, online))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        read(bytes, |WireState(_, agent, kind, online)| {
            let agent = AgentId::new(agent).map_err(text)?;
            let kind = match (kind, online) {
                (
                    0,
                    Some(WireOnline(
                        epoch,
                        head,
                        watermark,
                        boot,
                        uptime_ms,
                        unix_ms,
                        clock_synced,
                        software,
                    )),
                ) => StateKind::Online {
                    epoch: Epoch::from_bytes(epoch.0),
                    head: Sequence::new(head),
                    watermark: Sequence::new(watermark),
                    boot,
                    uptime_ms,
                    unix_ms,
                    clock_synced,
                    software,
                },
                (1, None) => StateKind::Stopped,
                (2, None) => StateKind::Lost,
                (kind, _) => return Err(alloc::format!("no state kind {kind} of this form")),
            };
            Ok(State { agent, kind })
        })
    }
}

#[derive(Serialize, Deserialize)]
struct WireCommand(u8, u64, u8, Option<(Bytes16, u64)>);

impl Message for Command {
    const NAME: &'static str = "command";
    const BYTES_MAX: usize = CONTROL_BYTES_MAX;

    fn encode(&self) -> Vec<u8> {
        let (kind, resend) = match self.body {
            CommandBody::Ping => (0, None),
            CommandBody::Resend { epoch, after } => (1, Some((Bytes16(*epoch.as_bytes()), after.get()))),
        };
        write(&WireCommand(*VERSION.end(), self.id, kind, resend))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        read(bytes, |WireCommand(_, id, kind, resend)| {
            let body = match (kind, resend) {
                (0, None) => CommandBody::Ping,
                (1, Some((epoch, after))) => {
                    CommandBody::Resend { epoch: Epoch::from_bytes(epoch.0), after: Sequence::new(after) }
                }
                (kind, _) => return Err(alloc::format!("no command kind {kind} of this form")),
            };
            Ok(Command { id, body })
        })
    }
}

#[derive(Serialize, Deserialize)]
struct WireReply(u8, u64, Option<String>);

impl Message for Reply {
    const NAME: &'static str = "reply";
    const BYTES_MAX: usize = CONTROL_BYTES_MAX;

    fn encode(&self) -> Vec<u8> {
        let refused = match &self.result {
            ReplyResult::Done => None,
            ReplyResult::Refused(why) => Some(why.clone()),
        };
        write(&WireReply(*VERSION.end(), self.id, refused))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        read(bytes, |WireReply(_, id, refused)| {
            let result = refused.map_or(ReplyResult::Done, ReplyResult::Refused);
            Ok(Reply { id, result })
        })
    }
}

/// Id, name, unit, GTINs, other codes, rules unless they ask nothing.
#[derive(Serialize, Deserialize)]
struct WireItem(
    String,
    String,
    u8,
    Vec<u64>,
    Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")] Option<WireRules>,
);

/// What each movement must name, expected weight and tolerance of a piece in its unit, recalled lots, packs.
#[derive(Serialize, Deserialize)]
struct WireRules(u8, Option<(i64, i64, u8)>, Vec<String>, Vec<(u64, u32)>);

/// Bits of what each movement must name.
const NAMES_LOT: u8 = 1;
const NAMES_SERIAL: u8 = 2;
const NAMES_EXPIRY: u8 = 4;

/// The last is there in changes only: the snapshot's revision, and the items and locations that are gone.
#[derive(Serialize, Deserialize)]
struct WireCatalogue(
    u8,
    u64,
    u32,
    u32,
    String,
    Vec<WireItem>,
    Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")] Option<(u64, Vec<String>, Vec<String>)>,
);

fn write_rules(rules: &ItemRules) -> Option<WireRules> {
    let bit = |bit, set| if set { bit } else { 0 };
    let demands =
        bit(NAMES_LOT, rules.lot) | bit(NAMES_SERIAL, rules.serial) | bit(NAMES_EXPIRY, rules.expiry);
    let weight = |w: PieceWeight| (w.expected.steps, w.tolerance_steps, w.expected.uom.wire());
    (*rules != ItemRules::default()).then(|| {
        WireRules(
            demands,
            rules.piece_weight.map(weight),
            rules.recalled.iter().map(ToString::to_string).collect(),
            rules.packs.iter().map(|(gtin, count)| (gtin.to_u64(), *count)).collect(),
        )
    })
}

fn read_rules(WireRules(demands, weight, recalled, packs): WireRules) -> Result<ItemRules, String> {
    let piece_weight = |(steps, tolerance_steps, uom)| {
        let uom = Uom::from_wire(uom).filter(|uom| matches!(uom, Uom::Kilogram | Uom::Gram | Uom::Pound));
        match uom {
            Some(uom) if steps > 0 && tolerance_steps >= 0 => {
                Ok(PieceWeight { expected: Quantity { steps, uom }, tolerance_steps })
            }
            _ => Err("a piece weighs more than nothing, in kg, g or lb"),
        }
    };
    let pack = |(gtin, count)| match count {
        0 => Err(String::from("a pack holds one or more")),
        count => Ok((Gtin::from_u64(gtin).map_err(text)?, count)),
    };
    Ok(ItemRules {
        lot: demands & NAMES_LOT != 0,
        serial: demands & NAMES_SERIAL != 0,
        expiry: demands & NAMES_EXPIRY != 0,
        piece_weight: weight.map(piece_weight).transpose()?,
        recalled: names(recalled, Lot::new)?,
        packs: packs.into_iter().map(pack).collect::<Result<_, _>>()?,
    })
}

fn names<T, E: Display>(texts: Vec<String>, make: impl Fn(String) -> Result<T, E>) -> Result<Vec<T>, String> {
    texts.into_iter().map(|name| make(name).map_err(text)).collect()
}

impl Message for Catalogue {
    const NAME: &'static str = "catalogue";
    const BYTES_MAX: usize = CATALOGUE_BYTES_MAX;

    fn encode(&self) -> Vec<u8> {
        let item = |item: &CatalogueItem| {
            let gtins = item.gtins.iter().map(|gtin| gtin.to_u64()).collect();
            WireItem(
                item.id.to_string(),
                item.name.clone(),
                item.uom.wire(),
                gtins,
                item.codes.clone(),
                write_rules(&item.rules),
            )
        };
        let since = |since: &CatalogueSince| {
            let items = since.items.iter().map(ToString::to_string).collect();
            (since.revision, items, since.locations.iter().map(ToString::to_string).collect())
        };
        write(&WireCatalogue(
            *VERSION.end(),
            self.revision,
            self.part,
            self.parts,
            self.site.to_string(),
            self.items.iter().map(item).collect(),
            self.locations.iter().map(ToString::to_string).collect(),
            self.since.as_ref().map(since),
        ))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let item = |WireItem(id, name, uom, gtins, codes, rules)| -> Result<CatalogueItem, String> {
            Ok(CatalogueItem {
                id: ItemId::new(id).map_err(text)?,
                name,
                uom: Uom::from_wire(uom).ok_or("unknown unit")?,
                gtins: gtins
                    .into_iter()
                    .map(|n| Gtin::from_u64(n).map_err(text))
                    .collect::<Result<_, _>>()?,
                codes,
                rules: rules.map_or(Ok(ItemRules::default()), read_rules)?,
            })
        };
        let since = |(revision, items, locations)| -> Result<CatalogueSince, String> {
            let (items, locations) = (names(items, ItemId::new)?, names(locations, LocationId::new)?);
            Ok(CatalogueSince { revision, items, locations })
        };
        read(bytes, |WireCatalogue(_, revision, part, parts, site, items, locations, changed)| {
            check_part(revision, (part, parts), changed.as_ref().map(|changed| changed.0))?;
            Ok(Catalogue {
                revision,
                part,
                parts,
                site: SiteId::new(site).map_err(text)?,
                items: items.into_iter().map(item).collect::<Result<_, _>>()?,
                locations: names(locations, LocationId::new)?,
                since: changed.map(since).transpose()?,
            })
        })
    }
}

/// A part has a place among its parts; changes are one message and newer than what they change.
pub(super) fn check_part(revision: u64, (part, parts): (u32, u32), since: Option<u64>) -> Result<(), String> {
    if part >= parts {
        return Err(alloc::format!("part {part} of {parts}"));
    }
    match since {
        Some(since) if revision <= since || parts != 1 => {
            Err(alloc::format!("changes to revision {revision} since {since} in {parts} parts"))
        }
        _ => Ok(()),
    }
}
