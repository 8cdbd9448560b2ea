//! What a storekeeper does, as scans and weights, and the stock that must come of it.
//!
//! The expectation is worked out here, from the script alone: it knows nothing of journals, messages or ledgers.

use std::collections::BTreeMap;

use crate::real::World;

/// One thing done at a station that ends as one recorded fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Goods come in.
    Receive {
        /// Into which bin.
        bin: String,
        /// Number of the item in the world, from 1.
        item: usize,
        /// Thousandths of the unit.
        amount: i64,
    },
    /// Goods go out to a customer.
    Pick {
        /// Out of which bin.
        bin: String,
        /// Number of the item in the world, from 1.
        item: usize,
        /// Thousandths of the unit.
        amount: i64,
    },
    /// Somebody looked.
    Count {
        /// Which bin.
        bin: String,
        /// Number of the item in the world, from 1.
        item: usize,
        /// Thousandths of the unit.
        amount: i64,
    },
}

/// One stroke at the station.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stroke {
    /// A code is scanned; it sets the stage and nothing is recorded.
    Scan(String),
    /// A code is scanned, and the good signal says that the fact is on disk.
    Record(String),
    /// This many grams are put on the scale, and the good signal says that the fact is on disk.
    Weigh(i64),
    /// The platform is cleared.
    Clear,
}

/// Stock by `(place, SKU)` in thousandths of the unit, as the ERP names places: `HAM/A-01`.
pub type Stock = BTreeMap<(String, String), i64>;

/// Numbers from a seed, good enough to choose work by (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..sides`; `sides` is at least 1.
    pub fn below(&mut self, sides: usize) -> usize {
        (self.roll() % sides.max(1) as u64) as usize
    }
}

/// The opening stock of a world.
pub fn opening(world: &World) -> Stock {
    let mut stock = Stock::new();
    for item in &world.items {
        for (place, quantity) in &item.opening {
            let thousandths = quantity.parse::<i64>().unwrap_or(0) * 1000;
            stock.insert((place.clone(), item.sku.clone()), thousandths);
        }
    }
    stock
}

/// So many acts at one site: mostly goods in and out, some counts, some weighing; never more out than is there.
pub fn acts(world: &World, site: &str, count: usize, seed: u64) -> Vec<Act> {
    acts_from(world, site, &opening(world), count, seed)
}

/// The same, from a stock that is there already.
pub fn acts_from(world: &World, site: &str, stock: &Stock, count: usize, seed: u64) -> Vec<Act> {
    let mut dice = Dice::new(seed);
    let mut stock = stock.clone();
    let bins = world.sites.iter().find(|known| known.code == site).map_or(&[][..], |site| &site.bins);
    let mut acts = Vec::new();
    while acts.len() < count {
        let item = 1 + dice.below(world.items.len());
        let bin = bins[dice.below(bins.len())].clone();
        let there = stock.get(&(format!("{site}/{bin}"), world.item(item).sku.clone())).copied().unwrap_or(0);
        let weighed = world.item(item).unit == "KGM";
        // The scale shows grams, and a piece is a thousand thousandths.
        let some = |dice: &mut Dice| {
            if weighed { 100 + dice.below(5_000) as i64 } else { 1000 * (1 + dice.below(9) as i64) }
        };
        let act = match dice.below(10) {
            0..=4 => Act::Receive { bin, item, amount: some(&mut dice) },
            5..=8 => match some(&mut dice).min(there) {
                0 => continue,
                amount => Act::Pick { bin, item, amount },
            },
            // A count by weight has its own story; here the counted items are pieces.
            _ if weighed => continue,
            _ => Act::Count { bin, item, amount: 1000 * dice.below(120) as i64 },
        };
        act.apply(world, site, &mut stock);
        acts.push(act);
    }
    acts
}

impl Act {
    /// What it does to the stock.
    pub fn apply(&self, world: &World, site: &str, stock: &mut Stock) {
        let cell = |bin: &String, item: usize| (format!("{site}/{bin}"), world.item(item).sku.clone());
        match self {
            Act::Receive { bin, item, amount } => *stock.entry(cell(bin, *item)).or_default() += amount,
            Act::Pick { bin, item, amount } => *stock.entry(cell(bin, *item)).or_default() -= amount,
            Act::Count { bin, item, amount } => {
                stock.insert(cell(bin, *item), *amount);
            }
        }
    }

    /// The scans and weights for it. Each act opens its workflow anew, so that one that failed can be repeated.
    pub fn strokes(&self, world: &World) -> Vec<Stroke> {
        let (workflow, bin, item, amount) = match self {
            Act::Receive { bin, item, amount } => ("RECEIVE", bin, *item, *amount),
            Act::Pick { bin, item, amount } => ("PICK", bin, *item, *amount),
            Act::Count { bin, item, amount } => ("COUNT", bin, *item, *amount),
        };
        // The scanner sends AIM identifiers: EAN-13 as ]E0, Code 128 as ]C0.
        let code = format!("]E0{}", world.item(item).gtin);
        let mut strokes =
            vec![Stroke::Scan(format!("SW:WF:{workflow}")), Stroke::Scan(format!("SW:LOC:{bin}"))];
        match (self, world.item(item).unit) {
            (Act::Count { .. }, _) => {
                strokes.push(Stroke::Scan(format!("SW:QTY:{}", amount / 1000)));
                strokes.push(Stroke::Scan(code));
                strokes.push(Stroke::Record("SW:CMD:DONE".into()));
                strokes.push(Stroke::Scan("SW:CMD:DONE".into()));
            }
            (_, "KGM") => {
                strokes.push(Stroke::Scan(code));
                strokes.push(Stroke::Weigh(amount));
                strokes.push(Stroke::Clear);
                strokes.push(Stroke::Scan("SW:CMD:DONE".into()));
            }
            _ => {
                strokes.push(Stroke::Scan(format!("SW:QTY:{}", amount / 1000)));
                strokes.push(Stroke::Record(code));
                strokes.push(Stroke::Scan("SW:CMD:DONE".into()));
            }
        }
        strokes
    }

    /// For people.
    pub fn describe(&self, world: &World) -> String {
        let quantity = |item: usize, amount: i64| {
            let unit = if world.item(item).unit == "KGM" { " kg" } else { "" };
            let text = format!("{}.{:03}", amount / 1000, amount % 1000);
            format!("{}{unit} of {}", text.trim_end_matches('0').trim_end_matches('.'), world.item(item).sku)
        };
        match self {
            Act::Receive { bin, item, amount } => format!("receive {} into {bin}", quantity(*item, *amount)),
            Act::Pick { bin, item, amount } => format!("pick {} out of {bin}", quantity(*item, *amount)),
            Act::Count { bin, item, amount } => format!("count {} in {bin}", quantity(*item, *amount)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_never_takes_what_is_not_there() {
        let world = World::standard();
        for seed in 0..20 {
            let mut stock = opening(&world);
            for act in acts(&world, "HAM", 200, seed) {
                act.apply(&world, "HAM", &mut stock);
                assert!(stock.values().all(|amount| *amount >= 0), "seed {seed}: {act:?}");
            }
        }
        assert_ne!(acts(&world, "HAM", 10, 1), acts(&world, "HAM", 10, 2));
        assert_eq!(acts(&world, "HAM", 10, 1), acts(&world, "HAM", 10, 1));
    }
}
