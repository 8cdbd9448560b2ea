//! Bytes of tasks and bins: plain arrays, version first.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

use serde::{Deserialize, Serialize};

use super::control::check_part;
use super::{Bytes16, CATALOGUE_BYTES_MAX, DecodeError, Message, Sparse, VERSION, read, write};
use crate::gs1::Date;
use crate::{
    AsOf, Bin, Epoch, ItemId, LocationId, Lot, Quantity, Reference, Sequence, SiteId, Task, TaskKind,
    TaskLine, Tasks, TasksSince, Uom,
};

/// Revision, part, parts, site, tasks; as far as there are: how far of the agent's own journal, bins, and in changes
/// since what and which tasks are gone.
#[derive(Serialize, Deserialize)]
struct WireTasks(u8, u64, u32, u32, String, Vec<WireTask>, Sparse<WirePoint, Vec<WireBin>, WireSince>);

/// Epoch, watermark.
type WirePoint = (Bytes16, u64);
/// The snapshot's revision; kind and id of tasks that are gone.
type WireSince = (u64, Vec<(u8, String)>);

/// Kind, id, order, location, lines.
#[derive(Serialize, Deserialize)]
struct WireTask(u8, String, Option<String>, Option<String>, Vec<WireLine>);

/// Item, steps, unit, from, to, lot, last usable day.
#[derive(Serialize, Deserialize)]
struct WireLine(String, i64, u8, Option<String>, Option<String>, Option<String>, Option<u32>);

/// Location, items with steps and unit.
#[derive(Serialize, Deserialize)]
struct WireBin(String, Vec<(String, i64, u8)>);

impl Message for Tasks {
    const NAME: &'static str = "tasks";
    const BYTES_MAX: usize = CATALOGUE_BYTES_MAX;

    fn encode(&self) -> Vec<u8> {
        let line = |line: &TaskLine| {
            WireLine(
                line.item.to_string(),
                line.quantity.steps,
                line.quantity.uom.wire(),
                line.from.as_ref().map(ToString::to_string),
                line.to.as_ref().map(ToString::to_string),
                line.lot.as_ref().map(ToString::to_string),
                line.expires_on.map(Date::to_yyyymmdd),
            )
        };
        let task = |task: &Task| {
            WireTask(
                task.kind.wire(),
                task.id.to_string(),
                task.order.as_ref().map(ToString::to_string),
                task.location.as_ref().map(ToString::to_string),
                task.lines.iter().map(line).collect(),
            )
        };
        let bin = |bin: &Bin| {
            let item = |(item, quantity): &(ItemId, Quantity)| {
                (item.to_string(), quantity.steps, quantity.uom.wire())
            };
            WireBin(bin.location.to_string(), bin.items.iter().map(item).collect())
        };
        let since = |since: &TasksSince| {
            (since.revision, since.gone.iter().map(|(kind, id)| (kind.wire(), id.to_string())).collect())
        };
        write(&WireTasks(
            *VERSION.end(),
            self.revision,
            self.part,
            self.parts,
            self.site.to_string(),
            self.tasks.iter().map(task).collect(),
            Sparse(
                self.as_of.map(|as_of| (Bytes16(*as_of.epoch.as_bytes()), as_of.watermark.get())),
                self.bins.as_ref().map(|bins| bins.iter().map(bin).collect()),
                self.since.as_ref().map(since),
            ),
        ))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        read(bytes, |WireTasks(_, revision, part, parts, site, tasks, Sparse(as_of, bins, changed))| {
            check_part(revision, (part, parts), changed.as_ref().map(|changed| changed.0))?;
            let as_of = as_of.map(|(epoch, watermark)| AsOf {
                epoch: Epoch::from_bytes(epoch.0),
                watermark: Sequence::new(watermark),
            });
            let since = |(revision, gone): WireSince| -> Result<TasksSince, String> {
                let gone = gone.into_iter().map(|(number, id)| Ok((kind(number)?, reference(id)?)));
                Ok(TasksSince { revision, gone: gone.collect::<Result<_, String>>()? })
            };
            Ok(Tasks {
                revision,
                part,
                parts,
                site: SiteId::new(site).map_err(fault)?,
                as_of,
                tasks: tasks.into_iter().map(task).collect::<Result<_, _>>()?,
                bins: bins.map(|bins| bins.into_iter().map(bin).collect::<Result<_, _>>()).transpose()?,
                since: changed.map(since).transpose()?,
            })
        })
    }
}

fn task(WireTask(number, id, order, location, lines): WireTask) -> Result<Task, String> {
    Ok(Task {
        kind: kind(number)?,
        id: reference(id)?,
        order: order.map(reference).transpose()?,
        location: location.map(place).transpose()?,
        lines: lines.into_iter().map(line).collect::<Result<_, _>>()?,
    })
}

fn line(WireLine(item, steps, uom, from, to, lot, expires_on): WireLine) -> Result<TaskLine, String> {
    if steps <= 0 {
        return Err("a line asks for more than nothing".into());
    }
    Ok(TaskLine {
        item: ItemId::new(item).map_err(fault)?,
        quantity: quantity(steps, uom)?,
        from: from.map(place).transpose()?,
        to: to.map(place).transpose()?,
        lot: lot.map(|lot| Lot::new(lot).map_err(fault)).transpose()?,
        expires_on: expires_on.map(|day| Date::from_yyyymmdd(day).map_err(fault)).transpose()?,
    })
}

fn bin(WireBin(location, items): WireBin) -> Result<Bin, String> {
    let item = |(item, steps, uom)| Ok((ItemId::new(item).map_err(fault)?, quantity(steps, uom)?));
    Ok(Bin { location: place(location)?, items: items.into_iter().map(item).collect::<Result<_, String>>()? })
}

fn kind(number: u8) -> Result<TaskKind, String> {
    TaskKind::from_wire(number).ok_or_else(|| alloc::format!("no task kind {number}"))
}

fn quantity(steps: i64, uom: u8) -> Result<Quantity, String> {
    Ok(Quantity { steps, uom: Uom::from_wire(uom).ok_or_else(|| alloc::format!("no unit {uom}"))? })
}

fn reference(text: String) -> Result<Reference, String> {
    Reference::new(text).map_err(fault)
}

fn place(text: String) -> Result<LocationId, String> {
    LocationId::new(text).map_err(fault)
}

fn fault<E: Display>(fault: E) -> String {
    fault.to_string()
}
