//! An item's rules as both stores keep them: the same text, because one is copied into the other.

use serde::{Deserialize, Serialize};
use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{ItemRules, Lot, PieceWeight, Quantity, Uom};

/// Rules as they are kept.
#[derive(Serialize, Deserialize)]
pub(super) struct RulesRow {
    lot: bool,
    serial: bool,
    expiry: bool,
    /// Expected steps, tolerance, unit.
    piece_weight: Option<(i64, i64, String)>,
    recalled: Vec<String>,
    packs: Vec<(String, u32)>,
}

impl RulesRow {
    pub(super) fn of(rules: &ItemRules) -> Self {
        let weight =
            |w: PieceWeight| (w.expected.steps, w.tolerance_steps, w.expected.uom.code().to_string());
        Self {
            lot: rules.lot,
            serial: rules.serial,
            expiry: rules.expiry,
            piece_weight: rules.piece_weight.map(weight),
            recalled: rules.recalled.iter().map(ToString::to_string).collect(),
            packs: rules.packs.iter().map(|(gtin, pieces)| (gtin.to_string(), *pieces)).collect(),
        }
    }

    pub(super) fn read(self) -> Result<ItemRules, String> {
        let weight = |(steps, tolerance_steps, unit): (i64, i64, String)| {
            let uom = Uom::from_code(&unit).ok_or_else(|| format!("no unit {unit:?}"))?;
            Ok::<_, String>(PieceWeight { expected: Quantity { steps, uom }, tolerance_steps })
        };
        let pack = |(gtin, pieces): (String, u32)| {
            Gtin::parse(&gtin).map(|gtin| (gtin, pieces)).map_err(|fault| fault.to_string())
        };
        let lot = |lot: String| Lot::new(lot).map_err(|fault| fault.to_string());
        Ok(ItemRules {
            lot: self.lot,
            serial: self.serial,
            expiry: self.expiry,
            piece_weight: self.piece_weight.map(weight).transpose()?,
            recalled: self.recalled.into_iter().map(lot).collect::<Result<_, _>>()?,
            packs: self.packs.into_iter().map(pack).collect::<Result<_, String>>()?,
        })
    }
}
