//! Bytes of acks, states, commands, replies and the catalogue: plain arrays, version first.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

use serde::{Deserialize, Serialize};

use super::{Bytes16, CATALOGUE_BYTES_MAX, CONTROL_BYTES_MAX, DecodeError, Message, VERSION, read, write};
use crate::gs1::Gtin;
use crate::{
    Ack, AgentId, Catalogue, CatalogueItem, Command, CommandBody, Digest, Epoch, ItemId, LocationId, Refusal,
    Reply, ReplyResult, Sequence, SiteId, State, StateKind, Uom,
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

/// Id, name, unit, GTINs, other codes.
#[derive(Serialize, Deserialize)]
struct WireItem(String, String, u8, Vec<u64>, Vec<String>);

#[derive(Serialize, Deserialize)]
struct WireCatalogue(u8, u64, u32, u32, String, Vec<WireItem>, Vec<String>);

impl Message for Catalogue {
    const NAME: &'static str = "catalogue";
    const BYTES_MAX: usize = CATALOGUE_BYTES_MAX;

    fn encode(&self) -> Vec<u8> {
        let item = |item: &CatalogueItem| {
            let gtins = item.gtins.iter().map(|gtin| gtin.to_u64()).collect();
            WireItem(item.id.to_string(), item.name.clone(), item.uom.wire(), gtins, item.codes.clone())
        };
        write(&WireCatalogue(
            *VERSION.end(),
            self.revision,
            self.part,
            self.parts,
            self.site.to_string(),
            self.items.iter().map(item).collect(),
            self.locations.iter().map(ToString::to_string).collect(),
        ))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let item = |WireItem(id, name, uom, gtins, codes)| -> Result<CatalogueItem, String> {
            Ok(CatalogueItem {
                id: ItemId::new(id).map_err(text)?,
                name,
                uom: Uom::from_wire(uom).ok_or("unknown unit")?,
                gtins: gtins
                    .into_iter()
                    .map(|n| Gtin::from_u64(n).map_err(text))
                    .collect::<Result<_, _>>()?,
                codes,
            })
        };
        read(bytes, |WireCatalogue(_, revision, part, parts, site, items, locations)| {
            if part >= parts {
                return Err(alloc::format!("part {part} of {parts}"));
            }
            Ok(Catalogue {
                revision,
                part,
                parts,
                site: SiteId::new(site).map_err(text)?,
                items: items.into_iter().map(item).collect::<Result<_, _>>()?,
                locations: locations
                    .into_iter()
                    .map(|code| LocationId::new(code).map_err(text))
                    .collect::<Result<_, _>>()?,
            })
        })
    }
}
