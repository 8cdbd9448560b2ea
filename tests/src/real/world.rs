//! The small trading company that the ERP and the shop are seeded with: same items, barcodes and sites in both.

use std::collections::BTreeMap;

use serde::Serialize;

/// Items that the standard world has.
pub const ITEMS: u32 = 20;
/// The one that is weighed rather than counted, in kilograms with three decimals.
pub const WEIGHED_SKU: &str = "SKU-0020";

/// GS1's prefix for examples (952) and a company number of our own choice.
const GTIN_PREFIX: &str = "9521234";

/// What is traded where, and how much of it is there at first.
#[derive(Debug, Clone, Serialize)]
pub struct World {
    /// Warehouses.
    pub sites: Vec<Site>,
    /// Goods.
    pub items: Vec<Item>,
}

/// A warehouse with its bins. Beside them the ERP has the zones `STO`, `IN` and `OUT`.
#[derive(Debug, Clone, Serialize)]
pub struct Site {
    /// `HAM`
    pub code: String,
    /// `Hamburg`
    pub name: String,
    /// `A-01`; the ERP's code of the place is `HAM/A-01`.
    pub bins: Vec<String>,
}

/// Something that is traded.
#[derive(Debug, Clone, Serialize)]
pub struct Item {
    /// `SKU-0001`
    pub sku: String,
    /// `Part 01`
    pub name: String,
    /// GTIN-13, as its barcode says it.
    pub gtin: String,
    /// UN/ECE Rec 20 code: `H87` (pieces) or `KGM`.
    pub unit: &'static str,
    /// Opening stock of the ERP by place: `HAM/A-01` to a decimal number. The shop always begins with nothing.
    pub opening: BTreeMap<String, String>,
}

impl World {
    /// Two sites with four bins each and twenty items; 100 of each lie in `HAM/A-01` and 40 in `MUC/A-01`.
    pub fn standard() -> Self {
        Self::empty().with_opening("HAM/A-01", "100").with_opening("MUC/A-01", "40")
    }

    /// The same company before the first goods have come in.
    pub fn empty() -> Self {
        let site = |code: &str, name: &str| Site {
            code: code.to_owned(),
            name: name.to_owned(),
            bins: (1..=4).map(|n| format!("A-{n:02}")).collect(),
        };
        let item = |n: u32| {
            let sku = format!("SKU-{n:04}");
            let unit = if sku == WEIGHED_SKU { "KGM" } else { "H87" };
            Item { sku, name: format!("Part {n:02}"), gtin: gtin(n), unit, opening: BTreeMap::new() }
        };
        Self {
            sites: vec![site("HAM", "Hamburg"), site("MUC", "Munich")],
            items: (1..=ITEMS).map(item).collect(),
        }
    }

    /// Puts `quantity` of every item into one place at first.
    #[must_use]
    pub fn with_opening(mut self, place: &str, quantity: &str) -> Self {
        for item in &mut self.items {
            item.opening.insert(place.to_owned(), quantity.to_owned());
        }
        self
    }

    /// The item of that number, counted from 1: `SKU-0001` is number 1.
    pub fn item(&self, number: usize) -> &Item {
        &self.items[number - 1]
    }
}

/// The GTIN-13 of the n-th item.
pub fn gtin(number: u32) -> String {
    let body = format!("{GTIN_PREFIX}{number:05}");
    let sum: u32 = body
        .bytes()
        .enumerate()
        .map(|(i, digit)| u32::from(digit - b'0') * if i % 2 == 0 { 1 } else { 3 })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digit_is_gs1s() {
        // The general specifications' own example shows the same weights: 629104150021 has the check digit 3.
        assert_eq!(gtin(1), "9521234000013");
        assert_eq!(gtin(10), "9521234000105");
    }

    #[test]
    fn standard_world_has_one_weighed_item() {
        let world = World::standard();
        let weighed: Vec<_> =
            world.items.iter().filter(|item| item.unit == "KGM").map(|item| &item.sku).collect();
        assert_eq!(weighed, [WEIGHED_SKU]);
        assert_eq!(world.item(3).opening["MUC/A-01"], "40");
    }
}
