//! What sessions record.

use stockwire_protocol::gs1::Sscc;
use stockwire_protocol::{
    Act, BizStep, Body, Code, Content, Count, Details, Disposition, Handling, LocationId, Movement, Place,
    Purpose, Quantity, Reason, Reference, Unresolved,
};

use super::Floor;
use super::parcel::{Goods, Parcel};

/// Why goods move, besides what their label says.
#[derive(Clone, Debug, Default)]
pub(super) struct About<'a> {
    /// The order or another task.
    pub(super) reference: Option<&'a Reference>,
    /// The plate they are on, unless the label names one.
    pub(super) plate: Option<Sscc>,
    /// Their condition.
    pub(super) disposition: Option<Disposition>,
    /// The operator's word for it.
    pub(super) reason: Option<&'a Reason>,
}

fn details(parcel: &Parcel, about: &About<'_>, floor: &Floor<'_>) -> Details {
    let mut details = parcel.label.details(about.reference, floor.operator, parcel.weighed.as_ref());
    details.license_plate = details.license_plate.or(about.plate);
    details.disposition = about.disposition;
    details.reason = about.reason.cloned();
    details.exceptions.clone_from(&parcel.exceptions);
    details
}

/// Goods went from one place to another.
pub(super) fn moved(
    step: BizStep,
    parcel: &Parcel,
    (from, to): (Code<Place>, Code<Place>),
    about: &About<'_>,
    floor: &Floor<'_>,
) -> Body {
    let (station, details) = (floor.station.clone(), details(parcel, about, floor));
    let quantity = parcel.quantity;
    match (parcel.goods.code(), from, to) {
        (Code::Known(item), Code::Known(from), Code::Known(to)) => {
            Body::Movement(Movement { step, item, quantity, from, to, station, details })
        }
        (item, from, to) => {
            let what = Purpose::Move { step, from, to };
            Body::Unresolved(Unresolved { item, quantity, what, station, details })
        }
    }
}

/// Goods were counted.
pub(super) fn counted(
    goods: &Goods,
    counted: Quantity,
    location: &Code<LocationId>,
    details: Details,
    floor: &Floor<'_>,
) -> Body {
    let station = floor.station.clone();
    match (goods.code(), location) {
        (Code::Known(item), Code::Known(location)) => {
            Body::Count(Count { item, counted, location: location.clone(), station, details })
        }
        (item, location) => {
            let what = Purpose::Count { location: location.clone() };
            Body::Unresolved(Unresolved { item, quantity: counted, what, station, details })
        }
    }
}

/// Something was done to a plate.
pub(super) fn handled(
    act: Act,
    content: Option<Content>,
    location: Option<LocationId>,
    details: Details,
    floor: &Floor<'_>,
) -> Body {
    let details = Details { operator: floor.operator.cloned(), ..details };
    Body::Handling(Handling { act, content, location, station: floor.station.clone(), details })
}

/// A location as one end of a movement.
pub(super) fn at(location: &Code<LocationId>) -> Code<Place> {
    match location {
        Code::Known(location) => Code::Known(Place::At(location.clone())),
        Code::Scanned(raw) => Code::Scanned(raw.clone()),
    }
}

/// What takes a fact back: a new one, the other way. The caller says which one it corrects. `None` when nothing does.
pub(crate) fn reverse(body: &Body) -> Option<Body> {
    match body.clone() {
        Body::Movement(movement) => {
            let Movement { from, to, .. } = movement;
            Some(Body::Movement(Movement { from: to, to: from, ..movement }))
        }
        Body::Handling(handling) => {
            Some(Body::Handling(Handling { act: handling.act.reverse()?, ..handling }))
        }
        Body::Unresolved(Unresolved {
            what: Purpose::Move { step, from, to },
            item,
            quantity,
            station,
            details,
        }) => {
            let what = Purpose::Move { step, from: to, to: from };
            Some(Body::Unresolved(Unresolved { item, quantity, what, station, details }))
        }
        Body::Unresolved(_) | Body::Count(_) | Body::Lost { .. } => None,
    }
}

/// What a fact is about, for people.
pub(crate) fn subject(body: &Body) -> String {
    match body {
        Body::Movement(movement) => format!("{} {}", super::amount::say(movement.quantity), movement.item),
        Body::Count(count) => format!("{} {}", super::amount::say(count.counted), count.item),
        Body::Lost { count } => format!("{count} lost"),
        Body::Handling(Handling { content: Some(Content::Goods { item, quantity }), .. }) => {
            format!("{} {item}", super::amount::say(*quantity))
        }
        Body::Handling(Handling { content: Some(Content::Plate(plate)), .. }) => format!("plate {plate}"),
        Body::Handling(handling) => {
            handling.details.license_plate.map_or_else(String::new, |plate| format!("plate {plate}"))
        }
        Body::Unresolved(unresolved) => {
            let scans: Vec<_> = unresolved.scans().map(ToString::to_string).collect();
            format!("{} of {}", super::amount::say(unresolved.quantity), scans.join(", "))
        }
    }
}
