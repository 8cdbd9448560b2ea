//! What may not be as it should be when goods move: the operator decides, and the answer travels with the movement.

use stockwire_protocol::gs1::Date;
use stockwire_protocol::{Code, Exception, LocationId, Lot, Quantity, Reference, TaskKind, TaskLine, Uom};

use super::Floor;
use super::amount;
use super::parcel::{Goods, Parcel};

/// One thing that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Finding {
    /// What.
    pub(super) exception: Exception,
    /// The same, for people.
    pub(super) message: String,
}

fn finding(exception: Exception, message: String) -> Finding {
    Finding { exception, message }
}

/// Expired or called back.
pub(super) fn condition(
    goods: &Goods,
    lot: Option<&Lot>,
    expires_on: Option<Date>,
    floor: &Floor<'_>,
) -> Vec<Finding> {
    let name = &goods.item.name;
    let mut findings = Vec::new();
    if let (Some(last), Some(today)) = (expires_on, floor.today)
        && last < today
    {
        findings.push(finding(Exception::Expired, format!("{name} expired on {last}")));
    }
    if let Some(lot) = lot.filter(|lot| goods.item.rules.recalled.contains(lot)) {
        findings.push(finding(Exception::Recalled, format!("lot {lot} of {name} is called back")));
    }
    findings
}

/// What is true of goods wherever they go: expired, called back, too light or too heavy.
pub(super) fn goods(parcel: &Parcel, floor: &Floor<'_>) -> Vec<Finding> {
    let Parcel { goods, label, quantity, .. } = parcel;
    let mut findings = condition(goods, label.lot.as_ref(), label.expires_on, floor);
    let by_weight = matches!(quantity.uom, Uom::Kilogram | Uom::Gram | Uom::Pound);
    if let Some(weight) = goods.item.rules.piece_weight.filter(|_| by_weight && parcel.one_label) {
        let off = quantity.to_uom(weight.expected.uom).map(|q| q.steps.abs_diff(weight.expected.steps));
        if off.is_ok_and(|off| off > weight.tolerance_steps.unsigned_abs()) {
            let (is, should) = (amount::say(*quantity), amount::say(weight.expected));
            let message = format!("{} weighs {is}, it should be {should}", goods.item.name);
            findings.push(finding(Exception::WeightOutOfTolerance, message));
        }
    }
    findings
}

/// Whether a task asks for it, and for so much; `None` when the task is not known here.
pub(super) fn task(parcel: &Parcel, kind: TaskKind, id: &Reference, floor: &Floor<'_>) -> Option<Finding> {
    let (task, open) = floor.picture.task(kind, id)?;
    let name = &parcel.goods.item.name;
    let lines = || task.lines.iter().zip(&open).filter(|(line, _)| line.item == parcel.goods.item.id);
    let Some((first, _)) = lines().next() else {
        return Some(finding(Exception::NotOnTask, format!("{name} is not on {id}")));
    };
    let left: i64 = lines().map(|(_, open)| *open).sum();
    let more = parcel.quantity.to_uom(first.quantity.uom).is_ok_and(|quantity| quantity.steps > left);
    more.then(|| {
        let (is, left) =
            (amount::say(parcel.quantity), amount::say(Quantity { steps: left, ..first.quantity }));
        finding(Exception::OverReceived, format!("{id} asks for {left} more {name}, this is {is}"))
    })
}

/// Which end of a task's line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    From,
    To,
}

impl End {
    /// The location that the line names there.
    pub(super) fn of(self, line: &TaskLine) -> Option<&LocationId> {
        match self {
            End::From => line.from.as_ref(),
            End::To => line.to.as_ref(),
        }
    }
}

/// Whether a task names another place for it.
pub(super) fn place(
    parcel: &Parcel,
    kind: TaskKind,
    id: &Reference,
    at: &Code<LocationId>,
    end: End,
    floor: &Floor<'_>,
) -> Option<Finding> {
    let (task, open) = floor.picture.task(kind, id)?;
    let lines =
        task.lines.iter().zip(&open).filter(|(line, open)| line.item == parcel.goods.item.id && **open > 0);
    let named: Vec<&LocationId> = lines.filter_map(|(line, _)| end.of(line)).collect();
    let wrong = !named.is_empty() && !named.iter().any(|location| at.known() == Some(*location));
    wrong.then(|| {
        let message = format!("{id} names {} for {}, this is {}", named[0], parcel.goods.item.name, say(at));
        finding(Exception::WrongLocation, message)
    })
}

/// Whether the stock picture has less here than is taken.
pub(super) fn bin(parcel: &Parcel, at: &Code<LocationId>, floor: &Floor<'_>) -> Option<Finding> {
    let Parcel { goods, quantity, .. } = parcel;
    let left = floor.picture.on_hand(at.known()?, goods.code().known()?, *quantity)?;
    (left < quantity.steps).then(|| {
        let left = amount::say(Quantity { steps: left.max(0), ..*quantity });
        finding(
            Exception::EmptyBin,
            format!("by the books {left} {} are left in {}", goods.item.name, say(at)),
        )
    })
}

/// A location as people say it.
pub(super) fn say(location: &Code<LocationId>) -> String {
    match location {
        Code::Known(location) => location.to_string(),
        Code::Scanned(raw) => format!("unknown location {raw}"),
    }
}
