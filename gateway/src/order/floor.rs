//! What the warehouse's facts say about one order. They are read anew each time, whole, so that nothing is counted twice
//! and the order in which they came does not matter.

use std::collections::{BTreeMap, BTreeSet};

use stockwire_protocol::gs1::Sscc;
use stockwire_protocol::{
    Act, BizStep, Body, Content, Handling, ItemId, Movement, Place, Quantity, Reference, SiteId,
};

use super::fact::UomOf;
use crate::store::Mentioned;

/// Facts about one order, at most: the longest order, packed piece by piece. Of an order with more the rest is not read,
/// and it is held for a person.
pub const FACTS_MAX: usize = 20_000;
/// Plates within plates that are followed: carton, pallet, container, and one to spare.
pub const DEPTH_MAX: usize = crate::plate::PLATE_DEPTH_MAX;

/// What the warehouse has done for an order; quantities in steps of the items' own units.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Floor {
    /// Taken out for it, less what was put back by undoing.
    pub picked: BTreeMap<(ItemId, SiteId), i64>,
    /// Told missing, and when that was told last, unix milliseconds.
    pub missing: BTreeMap<(ItemId, SiteId), (i64, i64)>,
    /// Come back from the customer.
    pub returned: BTreeMap<(ItemId, SiteId), i64>,
    /// Plates that have left with something of it, by number.
    pub left: BTreeMap<Sscc, Parcel>,
}

/// What stands on a plate for an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parcel {
    /// Where it was packed.
    pub site: SiteId,
    /// What, in steps; more than zero.
    pub goods: BTreeMap<ItemId, i64>,
}

/// The words by which everything about an order is found: its reference, the plates that were packed for it, and the
/// plates on which those stand. Ask again with what these words bring, until nothing is new.
pub fn words(reference: &Reference, facts: &[Mentioned]) -> BTreeSet<String> {
    let mut plates: BTreeSet<Sscc> = BTreeSet::new();
    for _ in 0..=DEPTH_MAX {
        let before = plates.len();
        for handling in handlings(facts) {
            let (Act::Packed, Some(plate), Some(content)) =
                (handling.act, handling.details.license_plate, &handling.content)
            else {
                continue;
            };
            let is_ours = match content {
                Content::Goods { .. } => handling.details.reference.as_ref() == Some(reference),
                Content::Plate(inner) => plates.contains(inner),
            };
            if is_ours {
                plates.insert(plate);
            }
        }
        if plates.len() == before {
            break;
        }
    }
    plates.iter().map(ToString::to_string).chain([reference.to_string()]).collect()
}

fn handlings(facts: &[Mentioned]) -> impl Iterator<Item = &Handling> {
    facts.iter().filter_map(|fact| match &fact.event.body {
        Body::Handling(handling) => Some(handling),
        _ => None,
    })
}

/// What the facts come to. What is set aside has not happened yet, as far as the books go.
pub fn read(reference: &Reference, facts: &[Mentioned], uom: UomOf<'_>) -> Floor {
    let mut floor = Floor::default();
    let mut packed: BTreeMap<Sscc, Parcel> = BTreeMap::new();
    let mut on: BTreeMap<Sscc, Sscc> = BTreeMap::new();
    let mut shipped: BTreeSet<Sscc> = BTreeSet::new();
    let steps = |item: &ItemId, quantity: Quantity| {
        uom(item).and_then(|uom| quantity.to_uom(uom).ok()).map(|own| own.steps)
    };
    for fact in facts.iter().filter(|fact| fact.applied) {
        let at = |item: &ItemId| (item.clone(), fact.site.clone());
        let is_ours =
            fact.event.body.details().is_some_and(|details| details.reference.as_ref() == Some(reference));
        match &fact.event.body {
            Body::Movement(Movement { step, item, quantity, from, to, .. }) if is_ours => {
                let Some(steps) = steps(item, *quantity) else { continue };
                let (what, steps) = match (step, from, to) {
                    (BizStep::Receiving, Place::Customer, Place::At(_)) => (&mut floor.returned, steps),
                    (BizStep::Receiving, Place::At(_), Place::Customer) => (&mut floor.returned, -steps),
                    (_, Place::At(_), Place::Customer) => (&mut floor.picked, steps),
                    (_, Place::Customer, Place::At(_)) => (&mut floor.picked, -steps),
                    _ => continue,
                };
                let sum = what.entry(at(item)).or_default();
                *sum = sum.saturating_add(steps);
            }
            Body::Handling(Handling { act, content, details, .. }) => {
                match (act, content, details.license_plate) {
                    (Act::Short, Some(Content::Goods { item, quantity }), _) if is_ours => {
                        let Some(steps) = steps(item, *quantity) else { continue };
                        let sum = floor.missing.entry(at(item)).or_default();
                        *sum = (sum.0.saturating_add(steps), sum.1.max(fact.received_at_ms));
                    }
                    (Act::Packed | Act::Unpacked, Some(Content::Goods { item, quantity }), Some(plate))
                        if is_ours =>
                    {
                        let Some(steps) = steps(item, *quantity) else { continue };
                        let steps = if *act == Act::Packed { steps } else { -steps };
                        let parcel = packed
                            .entry(plate)
                            .or_insert_with(|| Parcel { site: fact.site.clone(), goods: BTreeMap::new() });
                        let sum = parcel.goods.entry(item.clone()).or_default();
                        *sum = sum.saturating_add(steps);
                    }
                    (Act::Packed, Some(Content::Plate(inner)), Some(plate)) => {
                        on.insert(*inner, plate);
                    }
                    (Act::Unpacked, Some(Content::Plate(inner)), Some(plate))
                        if on.get(inner) == Some(&plate) =>
                    {
                        on.remove(inner);
                    }
                    (Act::Shipped, None, Some(plate)) => {
                        shipped.insert(plate);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    floor.picked.retain(|_, steps| *steps != 0);
    floor.returned.retain(|_, steps| *steps != 0);
    for (plate, mut parcel) in packed {
        parcel.goods.retain(|_, steps| *steps > 0);
        let outer = std::iter::successors(Some(plate), |plate| on.get(plate).copied()).take(DEPTH_MAX + 1);
        if !parcel.goods.is_empty() && outer.into_iter().any(|plate| shipped.contains(&plate)) {
            floor.left.insert(plate, parcel);
        }
    }
    floor
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::{
        AgentId, Details, Epoch, Event, LocationId, MovementId, Sequence, StationId, Uom, When,
    };

    use super::*;

    const PLATES: [&str; 2] = ["340123450000000000", "340123450000000017"];

    fn plate(at: usize) -> Sscc {
        Sscc::parse(PLATES[at]).unwrap()
    }

    fn reference() -> Reference {
        Reference::new("T-1").unwrap()
    }

    fn mentioned(at: u64, body: Body) -> Mentioned {
        Mentioned {
            site: SiteId::new("HAM").unwrap(),
            movement: MovementId {
                agent: AgentId::new("box-1").unwrap(),
                epoch: Epoch::from_bytes([1; 16]),
                sequence: Sequence::new(at),
            },
            event: Event { when: When::Synced { unix_ms: at as i64 }, body },
            received_at_ms: at as i64,
            applied: true,
        }
    }

    fn details(plate: Option<Sscc>) -> Details {
        Details { reference: Some(reference()), license_plate: plate, ..Details::default() }
    }

    fn moved(at: u64, step: BizStep, pieces: i64, from: Place, to: Place) -> Mentioned {
        let (item, station) = (ItemId::new("A").unwrap(), StationId::new("S1").unwrap());
        let quantity = Quantity::pieces(pieces);
        mentioned(
            at,
            Body::Movement(Movement { step, item, quantity, from, to, station, details: details(None) }),
        )
    }

    fn handled(at: u64, act: Act, content: Option<Content>, details: Details) -> Mentioned {
        let station = StationId::new("S1").unwrap();
        mentioned(at, Body::Handling(Handling { act, content, location: None, station, details }))
    }

    fn goods(pieces: i64) -> Option<Content> {
        Some(Content::Goods { item: ItemId::new("A").unwrap(), quantity: Quantity::pieces(pieces) })
    }

    fn told(facts: &[Mentioned]) -> String {
        let floor = read(&reference(), facts, &|_| Some(Uom::Piece));
        let of = |name: &str, rows: &BTreeMap<(ItemId, SiteId), i64>| {
            rows.values().map(|steps| format!("{name} {steps}")).collect::<Vec<_>>()
        };
        let missing = floor.missing.values().map(|(steps, _)| format!("missing {steps}"));
        let left = floor.left.values().map(|parcel| format!("left {}", parcel.goods.values().sum::<i64>()));
        let mut all = of("picked", &floor.picked);
        all.extend(missing.chain(of("returned", &floor.returned)).chain(left));
        all.join(", ")
    }

    #[test]
    fn picks_undos_shortages_and_returns_are_summed() {
        let shelf = || Place::At(LocationId::new("A-01").unwrap());
        let mut facts = vec![
            moved(1, BizStep::Picking, 3, shelf(), Place::Customer),
            moved(2, BizStep::Picking, 1, Place::Customer, shelf()),
            handled(3, Act::Short, goods(2), details(None)),
            moved(4, BizStep::Receiving, 2, Place::Customer, shelf()),
            moved(5, BizStep::Receiving, 1, shelf(), Place::Customer),
        ];
        assert_eq!(told(&facts), "picked 2, missing 2, returned 1");
        facts[0].applied = false;
        assert_eq!(told(&facts), "picked -1, missing 2, returned 1");
    }

    #[test]
    fn a_plate_leaves_with_what_stands_on_it_and_on_what_it_stands() {
        let none = |plate| Details { license_plate: Some(plate), ..Details::default() };
        let mut facts = vec![
            handled(1, Act::Packed, goods(3), details(Some(plate(0)))),
            handled(2, Act::Unpacked, goods(1), details(Some(plate(0)))),
        ];
        assert_eq!(words(&reference(), &facts).len(), 2);
        facts.push(handled(3, Act::Packed, Some(Content::Plate(plate(0))), none(plate(1))));
        let words = words(&reference(), &facts);
        assert_eq!(words.into_iter().collect::<Vec<_>>(), [PLATES[0], PLATES[1], "T-1"]);
        assert_eq!(told(&facts), "");
        facts.push(handled(4, Act::Shipped, None, none(plate(1))));
        assert_eq!(told(&facts), "left 2");
        // It was taken off before.
        facts.push(handled(5, Act::Unpacked, Some(Content::Plate(plate(0))), none(plate(1))));
        assert_eq!(told(&facts), "");
    }
}
