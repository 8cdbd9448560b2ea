//! Licence plates: what stands on a pallet, tote or carton, derived from what was done to it.

use std::collections::{BTreeMap, BTreeSet};

use stockwire_protocol::gs1::{Date, Sscc};
use stockwire_protocol::{
    Act, Body, Content, Details, Handling, ItemId, LocationId, Lot, Place, Quantity, SiteId, StationId, Uom,
};

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
    /// The place in that site, when a fact has named it; not of a plate that has left.
    pub location: Option<LocationId>,
    /// At which station.
    pub station: StationId,
    /// When, unix milliseconds, by the clock of the box.
    pub at_ms: i64,
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
    let mut plate: Option<Plate> = None;
    // Steps by item, lot, day and unit: kilograms and pieces of one item are told apart.
    let mut goods: BTreeMap<GoodsKey, i64> = BTreeMap::new();
    let mut put = |key: GoodsKey, steps: i64| {
        let before = goods.entry(key).or_default();
        *before = before.saturating_add(steps);
    };
    for fact in facts {
        let (Some(station), Some(details)) = (fact.event.body.station(), fact.event.body.details()) else {
            continue;
        };
        let about = details.license_plate;
        let plate = plate.get_or_insert_with(|| Plate {
            sscc,
            site: fact.site.clone(),
            location: None,
            station: station.clone(),
            at_ms: fact.event.when.unix_ms(),
            stage: Stage::Known,
            goods: Vec::new(),
            plates: BTreeSet::new(),
            on: None,
        });
        if plate.site != fact.site {
            plate.location = None;
        }
        (plate.site, plate.station) = (fact.site.clone(), station.clone());
        plate.at_ms = fact.event.when.unix_ms();
        match &fact.event.body {
            Body::Movement(movement) if about == Some(sscc) => {
                let key = goods_key(&movement.item, movement.quantity, details);
                match (&movement.from, &movement.to) {
                    // It went there as a whole.
                    (Place::At(_), Place::At(to)) => plate.location = Some(to.clone()),
                    (_, Place::At(to)) => {
                        put(key, movement.quantity.steps);
                        plate.location = Some(to.clone());
                    }
                    (_, _) => put(key, -movement.quantity.steps),
                }
            }
            Body::Handling(handling) if about == Some(sscc) => {
                plate.location = handling.location.clone().or(plate.location.take());
                plate.handle(handling, &mut put);
            }
            // Of this plate it says only what it stands on.
            Body::Handling(Handling { act, content: Some(Content::Plate(inner)), .. }) if *inner == sscc => {
                match act {
                    Act::Packed => plate.on = about,
                    Act::Unpacked if plate.on == about => plate.on = None,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    let mut plate = plate?;
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

type GoodsKey = (ItemId, Option<Lot>, Option<Date>, Uom);

fn goods_key(item: &ItemId, quantity: Quantity, details: &Details) -> GoodsKey {
    (item.clone(), details.lot.clone(), details.expires_on, quantity.uom)
}

impl Plate {
    /// What was done to this plate itself.
    fn handle(&mut self, handling: &Handling, mut put: impl FnMut(GoodsKey, i64)) {
        let sign = match handling.act {
            Act::Packed => 1,
            Act::Unpacked => -1,
            Act::Closed | Act::Unloaded => {
                self.stage = Stage::Closed;
                return;
            }
            Act::Loaded => {
                self.stage = Stage::Loaded;
                return;
            }
            Act::Shipped => {
                (self.stage, self.location) = (Stage::Shipped, None);
                return;
            }
            Act::Short | Act::Relabelled => return,
        };
        self.stage = Stage::Open;
        match &handling.content {
            Some(Content::Goods { item, quantity }) => {
                put(goods_key(item, *quantity, &handling.details), sign * quantity.steps);
            }
            Some(Content::Plate(inner)) if sign > 0 => drop(self.plates.insert(*inner)),
            Some(Content::Plate(inner)) => drop(self.plates.remove(inner)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::{AgentId, BizStep, Epoch, Event, Movement, MovementId, Sequence, When};

    use super::*;

    fn sscc(number: u64) -> Sscc {
        // The check digit of zeros is zero, and of these it is found by trying.
        (0..10).find_map(|digit| Sscc::from_u64(number * 10 + digit).ok()).unwrap()
    }

    fn fact(at: u64, act: Act, plate: Sscc, content: Option<Content>) -> Mentioned {
        let details = Details { license_plate: Some(plate), ..Details::default() };
        let station = StationId::new("pack-1").unwrap();
        mentioned(at, Body::Handling(Handling { act, content, location: None, station, details }))
    }

    fn moved(at: u64, plate: Sscc, pieces: i64, from: Place, to: Place) -> Mentioned {
        let details = Details { license_plate: Some(plate), ..Details::default() };
        let station = StationId::new("dock-1").unwrap();
        let (item, quantity) = (ItemId::new("MUG").unwrap(), Quantity::pieces(pieces));
        let step = BizStep::Receiving;
        mentioned(at, Body::Movement(Movement { step, item, quantity, from, to, station, details }))
    }

    fn at(location: &str) -> Place {
        Place::At(LocationId::new(location).unwrap())
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

    #[test]
    fn a_received_plate_holds_what_came_on_it_and_is_where_it_was_put() {
        let plate = sscc(9);
        let mut facts = vec![
            moved(1, plate, 6, Place::Supplier, at("IN")),
            moved(2, plate, 2, Place::Supplier, at("IN")),
        ];
        let told = |facts: &[Mentioned]| {
            let plate = read(plate, facts).unwrap();
            let pieces: Vec<_> = plate.goods.iter().map(|goods| goods.quantity.steps).collect();
            (
                pieces,
                plate.location.map(|location| location.to_string()),
                plate.stage,
                plate.station.to_string(),
            )
        };
        let pieces = |pieces: i64| vec![Quantity::pieces(pieces).steps];
        assert_eq!(told(&facts), (pieces(8), Some("IN".into()), Stage::Known, "dock-1".into()));
        // An undo, put away as a whole, one piece sold, and away.
        facts.push(moved(3, plate, 2, at("IN"), Place::Supplier));
        facts.push(moved(4, plate, 6, at("IN"), at("A-01")));
        facts.push(moved(5, plate, 1, at("A-01"), Place::Customer));
        assert_eq!(told(&facts), (pieces(5), Some("A-01".into()), Stage::Known, "dock-1".into()));
        facts.push(fact(6, Act::Shipped, plate, None));
        assert_eq!(told(&facts), (pieces(5), None, Stage::Shipped, "pack-1".into()));
    }
}
