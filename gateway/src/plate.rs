//! Licence plates: what stands on a pallet, tote or carton, derived from what was done to it.

use std::collections::{BTreeMap, BTreeSet};

use stockwire_protocol::gs1::{Date, Sscc};
use stockwire_protocol::{Act, Body, Content, ItemId, Lot, Quantity, SiteId};

use crate::store::Mentioned;

/// Facts about one plate, at most: what goes onto a pallet piece by piece, with room. Of a plate with more the contents
/// are not told.
pub const PLATE_FACTS_MAX: usize = 10_000;
/// Plates within plates that are opened: carton, pallet, container, and one to spare.
pub const PLATE_DEPTH_MAX: usize = 4;

/// How a plate stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plate {
    /// Its number.
    pub sscc: Sscc,
    /// Where something was last done to it.
    pub site: SiteId,
    /// How far it is on its way.
    pub stage: Stage,
    /// Goods on it.
    pub goods: Vec<Goods>,
    /// Plates on it.
    pub plates: BTreeSet<Sscc>,
    /// The plate that it stands on.
    pub on: Option<Sscc>,
}

/// How far a plate is on its way; whatever came last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Named by movements only: announced, or received as one.
    Known,
    /// Things are put on and taken off.
    Open,
    /// Complete.
    Closed,
    /// On a vehicle.
    Loaded,
    /// Has left.
    Shipped,
}

impl Stage {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Known => "known",
            Stage::Open => "open",
            Stage::Closed => "closed",
            Stage::Loaded => "loaded",
            Stage::Shipped => "shipped",
        }
    }
}

/// So much of something on a plate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Goods {
    /// What.
    pub item: ItemId,
    /// How much; greater than zero unless more was taken off than put on.
    pub quantity: Quantity,
    /// Its lot, when known.
    pub lot: Option<Lot>,
    /// Its last usable day, when known.
    pub expires_on: Option<Date>,
}

/// What the facts that mention a plate, in the order in which they came, make of it. `None`: none is about it.
pub fn read(sscc: Sscc, facts: &[Mentioned]) -> Option<Plate> {
    let site = facts.last()?.site.clone();
    let mut plate =
        Plate { sscc, site, stage: Stage::Known, goods: Vec::new(), plates: BTreeSet::new(), on: None };
    // Steps by item, lot, day and unit: kilograms and pieces of one item are told apart.
    type Key = (ItemId, Option<Lot>, Option<Date>, stockwire_protocol::Uom);
    let mut goods: BTreeMap<Key, i64> = BTreeMap::new();
    for fact in facts {
        let Body::Handling(handling) = &fact.event.body else { continue };
        let about = handling.details.license_plate;
        if about != Some(sscc) {
            // Of this plate it says only what it stands on.
            match (&handling.content, handling.act) {
                (Some(Content::Plate(inner)), Act::Packed) if *inner == sscc => plate.on = about,
                (Some(Content::Plate(inner)), Act::Unpacked) if *inner == sscc && plate.on == about => {
                    plate.on = None;
                }
                _ => {}
            }
            continue;
        }
        let sign = match handling.act {
            Act::Packed => 1,
            Act::Unpacked => -1,
            Act::Closed | Act::Unloaded => {
                plate.stage = Stage::Closed;
                continue;
            }
            Act::Loaded => {
                plate.stage = Stage::Loaded;
                continue;
            }
            Act::Shipped => {
                plate.stage = Stage::Shipped;
                continue;
            }
            Act::Short | Act::Relabelled => continue,
        };
        plate.stage = Stage::Open;
        match &handling.content {
            Some(Content::Goods { item, quantity }) => {
                let details = &handling.details;
                let key = (item.clone(), details.lot.clone(), details.expires_on, quantity.uom);
                let steps = goods.entry(key).or_default();
                *steps = steps.saturating_add(sign * quantity.steps);
            }
            Some(Content::Plate(inner)) if sign > 0 => drop(plate.plates.insert(*inner)),
            Some(Content::Plate(inner)) => drop(plate.plates.remove(inner)),
            None => {}
        }
    }
    let left = goods.into_iter().filter(|(_, steps)| *steps != 0);
    plate.goods = left
        .map(|((item, lot, expires_on, uom), steps)| Goods {
            item,
            quantity: Quantity { steps, uom },
            lot,
            expires_on,
        })
        .collect();
    Some(plate)
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::{
        AgentId, Details, Epoch, Event, Handling, MovementId, Sequence, StationId, When,
    };

    use super::*;

    fn sscc(number: u64) -> Sscc {
        // The check digit of zeros is zero, and of these it is found by trying.
        (0..10).find_map(|digit| Sscc::from_u64(number * 10 + digit).ok()).unwrap()
    }

    fn fact(at: u64, act: Act, plate: Sscc, content: Option<Content>) -> Mentioned {
        let details = Details { license_plate: Some(plate), ..Details::default() };
        let station = StationId::new("pack-1").unwrap();
        let body = Body::Handling(Handling { act, content, location: None, station, details });
        Mentioned {
            site: SiteId::new("HAM").unwrap(),
            movement: MovementId {
                agent: AgentId::new("box-1").unwrap(),
                epoch: Epoch::from_bytes([1; 16]),
                sequence: Sequence::new(at),
            },
            event: Event { when: When::Synced { unix_ms: at as i64 }, body },
            received_at_ms: at as i64,
        }
    }

    fn mugs(count: i64) -> Option<Content> {
        Some(Content::Goods { item: ItemId::new("MUG").unwrap(), quantity: Quantity::pieces(count) })
    }

    #[test]
    fn contents_are_packed_less_unpacked() {
        let (pallet, carton) = (sscc(1), sscc(2));
        let facts = [
            fact(1, Act::Packed, carton, mugs(6)),
            fact(2, Act::Unpacked, carton, mugs(2)),
            fact(3, Act::Closed, carton, None),
            fact(4, Act::Packed, pallet, Some(Content::Plate(carton))),
        ];
        let inner = read(carton, &facts).unwrap();
        assert_eq!((inner.stage, inner.on, inner.goods.len()), (Stage::Closed, Some(pallet), 1));
        assert_eq!(inner.goods[0].quantity, Quantity::pieces(4));
        let outer = read(pallet, &facts[3..]).unwrap();
        assert_eq!((outer.stage, outer.plates.len(), outer.goods.len()), (Stage::Open, 1, 0));
        assert_eq!(read(pallet, &[]), None);
    }

    #[test]
    fn the_last_word_tells_how_far_it_is() {
        let plate = sscc(7);
        let mut facts = vec![
            fact(1, Act::Packed, plate, mugs(1)),
            fact(2, Act::Closed, plate, None),
            fact(3, Act::Loaded, plate, None),
        ];
        assert_eq!(read(plate, &facts).unwrap().stage, Stage::Loaded);
        facts.push(fact(4, Act::Unloaded, plate, None));
        assert_eq!(read(plate, &facts).unwrap().stage, Stage::Closed);
        facts.push(fact(5, Act::Shipped, plate, None));
        assert_eq!(read(plate, &facts).unwrap().stage, Stage::Shipped);
    }
}
