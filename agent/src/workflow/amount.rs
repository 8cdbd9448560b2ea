//! How much of an item a scan means: the same rules in every workflow.
//!
//! | the item is booked in | quantity barcode scanned before | else the label says | else |
//! |---|---|---|---|
//! | pieces | that many | AI 30 or 37 | one; `SW:CMD:WEIGH` before it: as many as the scale tells |
//! | kg, g, lb | that much | AI 310n, net weight | the scale |
//! | litres, metres | that much | - | refused: scan a quantity first |
//!
//! The GTIN of a pack means as many pieces as the catalogue says, times the number above.

use stockwire_protocol::gs1::{Date, Decimal, Gtin, Scan, Sscc};
use stockwire_protocol::{
    CatalogueItem, Details, IdError, Lot, OperatorId, PieceWeight, Quantity, Reference, SerialNumber,
    StabilitySource, UnitSource, Uom, Weighing,
};

use crate::scale::capture::Vouched;
use crate::scale::{Net, Reading, Source};

/// What a label says besides the item.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Label {
    /// The trade item.
    pub gtin: Option<Gtin>,
    /// AI 10.
    pub lot: Option<Lot>,
    /// AI 21.
    pub serial: Option<SerialNumber>,
    /// AI 17.
    pub expires_on: Option<Date>,
    /// AI 00.
    pub license_plate: Option<Sscc>,
    /// AI 400.
    pub order: Option<Reference>,
    /// AI 30 or 37.
    pub count: Option<u32>,
    /// AI 310n.
    pub net_weight_kg: Option<Decimal>,
}

impl Label {
    /// Reads the elements of a scan.
    ///
    /// # Errors
    /// When an element is longer than GS1 allows.
    pub fn of(scan: &Scan) -> Result<Self, IdError> {
        let elements = scan.element_string();
        Ok(Self {
            gtin: scan.gtin().or_else(|| elements.content_gtin()),
            lot: elements.lot().map(Lot::new).transpose()?,
            serial: elements.serial().map(SerialNumber::new).transpose()?,
            expires_on: elements.expires_on(),
            license_plate: elements.sscc(),
            order: elements.order().map(Reference::new).transpose()?,
            count: scan.count(),
            net_weight_kg: scan.net_weight_kg(),
        })
    }

    /// The details of a movement of what this label is on.
    pub fn details(
        &self,
        order: Option<&Reference>,
        operator: Option<&OperatorId>,
        weighed: Option<&Weighed>,
    ) -> Details {
        Details {
            gtin: self.gtin,
            lot: self.lot.clone(),
            serial: self.serial.clone(),
            expires_on: self.expires_on,
            license_plate: self.license_plate,
            weighing: weighed.and_then(|weighed| weighed.weighing),
            stability_source: weighed.map(|weighed| weighed.stability_source).unwrap_or_default(),
            unit_source: weighed.map(|weighed| weighed.unit_source).unwrap_or_default(),
            reference: self.order.as_ref().or(order).cloned(),
            operator: operator.cloned(),
            ..Details::default()
        }
    }
}

/// How much a scan means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Amount {
    /// This much; zero or more.
    Exactly(Quantity),
    /// What the scale will say.
    Weigh,
    /// It cannot be told, and why.
    Refused(String),
}

/// What was scanned before the item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Nothing: the label decides.
    Label,
    /// `SW:QTY:n`.
    Exactly(Decimal),
    /// `SW:CMD:WEIGH`.
    Weigh,
}

/// Applies the table above.
pub fn of(item: &CatalogueItem, label: &Label, how: How, scale: bool) -> Amount {
    let pack = item.rules.packs.iter().find(|(gtin, _)| label.gtin == Some(*gtin));
    let pack = pack.map_or(1, |(_, count)| i64::from(*count));
    let amount = match (how, item.uom) {
        (How::Exactly(scanned), uom) => exactly(scanned.to_string(), uom),
        (How::Weigh, _) if !scale => Amount::Refused("there is no scale here".into()),
        (How::Weigh, Uom::Piece) if item.rules.piece_weight.is_none() => {
            Amount::Refused(format!("what one {} weighs is not known: count by scanning", item.id))
        }
        (How::Weigh, Uom::Piece | Uom::Kilogram | Uom::Gram | Uom::Pound) => return Amount::Weigh,
        (How::Label, Uom::Piece) => Amount::Exactly(Quantity::pieces(i64::from(label.count.unwrap_or(1)))),
        (How::Label, uom @ (Uom::Kilogram | Uom::Gram | Uom::Pound)) => match label.net_weight_kg {
            Some(net) => match Quantity::parse(&net.to_string(), Uom::Kilogram)
                .and_then(|net| net.to_uom(uom))
            {
                Ok(quantity) => Amount::Exactly(quantity),
                Err(error) => Amount::Refused(format!("the weight on the label cannot be booked: {error}")),
            },
            None if scale => Amount::Weigh,
            None => Amount::Refused(format!(
                "{} is booked in {uom} and there is no scale: scan a quantity first",
                item.id
            )),
        },
        (How::Weigh | How::Label, uom @ (Uom::Litre | Uom::Metre)) => {
            Amount::Refused(format!("{} is booked in {uom}: scan a quantity first", item.id))
        }
    };
    let amount = match amount {
        Amount::Exactly(quantity) if pack > 1 => match quantity.steps.checked_mul(pack) {
            Some(steps) => Amount::Exactly(Quantity { steps, ..quantity }),
            None => Amount::Refused("the quantity cannot be booked: the number is too large".into()),
        },
        amount => amount,
    };
    match (&amount, &label.serial) {
        (Amount::Exactly(quantity), Some(serial))
            if *quantity != Quantity::pieces(1) && item.uom == Uom::Piece =>
        {
            Amount::Refused(format!("serial number {serial} names one piece, not {}", say(*quantity)))
        }
        _ => amount,
    }
}

fn exactly(decimal: String, uom: Uom) -> Amount {
    match Quantity::parse(&decimal, uom) {
        Ok(quantity) => Amount::Exactly(quantity),
        Err(_) if uom == Uom::Piece => {
            Amount::Refused(format!("the quantity cannot be booked: {decimal} is no number of pieces"))
        }
        Err(error) => Amount::Refused(format!("the quantity cannot be booked: {error}")),
    }
}

/// An amount as people say it: pieces without a unit.
pub fn say(quantity: Quantity) -> String {
    let unit = match quantity.uom {
        Uom::Piece => return quantity.decimal(),
        Uom::Kilogram => "kg",
        Uom::Gram => "g",
        Uom::Pound => "lb",
        Uom::Litre => "l",
        Uom::Metre => "m",
    };
    format!("{} {unit}", quantity.decimal())
}

/// A weight that can be booked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weighed {
    /// Net, in the unit that was asked for; greater than zero.
    pub quantity: Quantity,
    /// What the scale said about gross and tare, when it said which is which.
    pub weighing: Option<Weighing>,
    /// Who vouches that it stood still.
    pub stability_source: StabilitySource,
    /// Who says in which unit the scale weighs.
    pub unit_source: UnitSource,
    /// The platform was not seen empty before; the operator vouched for what lies there.
    pub confirmed: bool,
}

/// What a reading is worth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Weight {
    /// It can be booked.
    Bookable(Weighed),
    /// Nothing is left when the tare is taken off.
    Nothing,
    /// Never with this scale as it is set, and why.
    Refused(String),
}

/// What a reading that [`Capture`](crate::scale::capture::Capture) let through means in the books: it must be positive
/// and in a unit that converts exactly. `vouched`: what the operator vouched for.
pub fn weight(wanted: Uom, reading: &Reading, vouched: Vouched) -> Weight {
    let (Some(value), Some(unit)) = (reading.value, reading.unit) else { return Weight::Nothing };
    let Some(uom) = unit.uom() else {
        return Weight::Refused(format!("the scale shows {}: switch it to kg, g or lb", unit.as_str()));
    };
    let booked =
        |shown: crate::scale::Shown| shown.quantity(uom).and_then(|quantity| quantity.to_uom(wanted));
    let quantities = (booked(value), reading.tare.map(booked).transpose());
    let (value, tare) = match quantities {
        (Ok(value), Ok(tare)) => (value, tare),
        (Err(error), _) | (_, Err(error)) => {
            return Weight::Refused(format!("the weight cannot be booked: {error}"));
        }
    };
    let nothing = Quantity { steps: 0, uom: wanted };
    let minus = |a: Quantity, b: Quantity| a.steps.checked_sub(b.steps).map(|steps| Quantity { steps, ..a });
    let (net, weighing) = match (reading.net, tare) {
        (Net::Net, Some(tare)) => {
            let gross = value.checked_add(tare).ok();
            (Some(value), gross.map(|gross| Weighing { gross, tare, net: value }))
        }
        (Net::Gross, tare) => {
            let tare = tare.unwrap_or(nothing);
            let net = minus(value, tare);
            (net, net.map(|net| Weighing { gross: value, tare, net }))
        }
        // Which of the two it is, or how much was taken off, is not known: booked as shown, and nothing claimed.
        (Net::Net, None) | (Net::Unknown, _) => (Some(value), None),
    };
    match net {
        Some(quantity) if quantity.steps > 0 => Weight::Bookable(Weighed {
            quantity,
            weighing,
            stability_source: match reading.stability_source {
                _ if vouched.stability => StabilitySource::Confirmed,
                Source::Inferred => StabilitySource::Inferred,
                Source::Reported | Source::Configured | Source::Nobody => StabilitySource::Reported,
            },
            unit_source: match reading.unit_source {
                Source::Configured => UnitSource::Configured,
                Source::Reported | Source::Inferred | Source::Nobody => UnitSource::Reported,
            },
            confirmed: vouched.platform,
        }),
        Some(_) => Weight::Nothing,
        None => Weight::Refused("the weight does not fit".into()),
    }
}

/// In which unit an item is weighed; `None` when it is not.
pub fn weighed_in(item: &CatalogueItem) -> Option<Uom> {
    match item.uom {
        uom @ (Uom::Kilogram | Uom::Gram | Uom::Pound) => Some(uom),
        _ => item.rules.piece_weight.map(|weight| weight.expected.uom),
    }
}

/// How many pieces a net weight is.
///
/// # Errors
/// When no whole number fits, or more than one does: a guess is no count.
pub fn pieces(net: Quantity, weight: PieceWeight) -> Result<i64, String> {
    let PieceWeight { expected, tolerance_steps } = weight;
    let (lightest, heaviest) =
        (expected.steps.saturating_sub(tolerance_steps), expected.steps.saturating_add(tolerance_steps));
    // So many pieces at least, if all are as heavy as they may be, and at most, if all are as light.
    let fewest = net.steps.saturating_add(heaviest - 1) / heaviest.max(1);
    let most = if lightest > 0 { net.steps / lightest } else { i64::MAX };
    if most == fewest && fewest > 0 {
        Ok(fewest)
    } else if most < fewest {
        Err(format!("{} is no whole number of pieces of {}", say(net), say(expected)))
    } else {
        Err(format!("{} may be {fewest} pieces or more: put fewer on the scale", say(net)))
    }
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::ItemId;
    use stockwire_protocol::gs1::interpret;

    use super::*;
    use crate::scale::{Range, Shown, Stability, Unit};

    fn item(uom: Uom) -> CatalogueItem {
        CatalogueItem {
            id: ItemId::new("NUTS").unwrap(),
            name: String::new(),
            uom,
            gtins: vec![],
            codes: vec![],
            rules: stockwire_protocol::ItemRules::default(),
        }
    }

    fn check(uom: Uom, raw: &str, scanned: Option<&str>, expected: &str) {
        let label = Label::of(&interpret(raw.as_bytes(), 2026)).unwrap();
        let scanned = scanned.map(|text| match interpret(format!("SW:QTY:{text}").as_bytes(), 2026).kind() {
            stockwire_protocol::gs1::Kind::Command(stockwire_protocol::gs1::Command::Quantity(decimal)) => {
                *decimal
            }
            other => panic!("{other:?}"),
        });
        let how = scanned.map_or(How::Label, How::Exactly);
        let got = match of(&item(uom), &label, how, true) {
            Amount::Exactly(quantity) => quantity.to_string(),
            Amount::Weigh => "weigh".into(),
            Amount::Refused(why) => why,
        };
        assert_eq!(got, expected, "{raw} {scanned:?}");
    }

    #[test]
    fn amounts() {
        check(Uom::Piece, "]C10104006381333931", None, "1 H87");
        check(Uom::Piece, "]C10104006381333931", Some("12"), "12 H87");
        check(Uom::Piece, "]C102040063813339313724", None, "24 H87");
        check(Uom::Piece, "]C102040063813339313724", Some("3"), "3 H87");
        check(
            Uom::Piece,
            "]C10104006381333931",
            Some("1.5"),
            "the quantity cannot be booked: 1.5 is no number of pieces",
        );
        check(Uom::Piece, "]C1010400638133393121S1", None, "1 H87");
        check(Uom::Piece, "]C1010400638133393121S1", Some("2"), "serial number S1 names one piece, not 2");
        check(Uom::Kilogram, "]C101040063813339313103001250", None, "1.25 KGM");
        check(Uom::Gram, "]C101040063813339313103001250", None, "1250 GRM");
        check(
            Uom::Pound,
            "]C101040063813339313103001250",
            None,
            "the weight on the label cannot be booked: KGM does not convert exactly to LBR",
        );
        check(Uom::Kilogram, "]C10104006381333931", None, "weigh");
        check(Uom::Kilogram, "]C10104006381333931", Some("0.5"), "0.5 KGM");
        check(Uom::Litre, "]C10104006381333931", None, "NUTS is booked in LTR: scan a quantity first");
        assert_eq!(
            of(&item(Uom::Kilogram), &Label::default(), How::Label, false),
            Amount::Refused("NUTS is booked in KGM and there is no scale: scan a quantity first".into())
        );
    }

    #[test]
    fn a_pack_is_as_many_pieces_as_the_catalogue_says() {
        let mut mugs = item(Uom::Piece);
        mugs.rules.packs = vec![(Gtin::parse("14006381333938").unwrap(), 12)];
        let label = |raw: &str| Label::of(&interpret(raw.as_bytes(), 2026)).unwrap();
        let amount = |raw, how| of(&mugs, &label(raw), how, false);
        assert_eq!(amount("]C10114006381333938", How::Label), Amount::Exactly(Quantity::pieces(12)));
        assert_eq!(amount("]C102140063813339383703", How::Label), Amount::Exactly(Quantity::pieces(36)));
        assert_eq!(amount("]C10104006381333931", How::Label), Amount::Exactly(Quantity::pieces(1)));
        assert_eq!(
            amount("]C10104006381333931", How::Weigh),
            Amount::Refused("there is no scale here".into())
        );
    }

    #[test]
    fn pieces_by_weight_only_when_one_number_fits() {
        let gram = |text: &str| Quantity::parse(text, Uom::Gram).unwrap();
        let check = |net, expected, tolerance: &str, counted: Result<i64, &str>| {
            let weight = PieceWeight { expected: gram(expected), tolerance_steps: gram(tolerance).steps };
            assert_eq!(pieces(gram(net), weight), counted.map_err(String::from), "{net}");
        };
        check("100", "10", "0", Ok(10));
        check("101", "10", "0", Err("101 g is no whole number of pieces of 10 g"));
        check("101", "10", "0.2", Ok(10));
        check("95", "10", "0.2", Err("95 g is no whole number of pieces of 10 g"));
        check("500", "10", "0.1", Ok(50));
        check("505", "10", "0.1", Err("505 g may be 50 pieces or more: put fewer on the scale"));
        check("4", "10", "0.2", Err("4 g is no whole number of pieces of 10 g"));
        check("100", "10", "20", Err("100 g may be 4 pieces or more: put fewer on the scale"));
    }

    /// What a shop's own scale printed is booked like the weight on a supplier's label.
    #[test]
    fn weights_in_numbers_of_variable_measure() {
        let variable = stockwire_protocol::gs1::VariableRules::of("fi");
        let context = stockwire_protocol::gs1::Context { year: 2026, variable };
        let scan = stockwire_protocol::gs1::interpret_with(b"]E02388060112344", context);
        let label = Label::of(&scan).unwrap();
        assert_eq!(label.gtin, Gtin::parse("2388060100006").ok());
        let amount = of(&item(Uom::Gram), &label, How::Label, true);
        assert_eq!(amount, Amount::Exactly(Quantity::parse("1234", Uom::Gram).unwrap()));
    }

    fn reading(value: &str) -> Reading {
        Reading {
            value: Shown::parse(value),
            unit: Some(Unit::Kilogram),
            unit_source: Source::Reported,
            ..Reading {
                stability: Stability::Stable,
                stability_source: Source::Reported,
                ..Reading::status(Stability::Unknown, Range::Ok, b"")
            }
        }
    }

    fn weighs(reading: &Reading, expected: &str) {
        let got = match weight(Uom::Kilogram, reading, Vouched::default()) {
            Weight::Bookable(Weighed { quantity, weighing: None, .. }) => quantity.to_string(),
            Weight::Bookable(Weighed { quantity, weighing: Some(Weighing { gross, tare, net }), .. }) => {
                format!("{quantity}: {} - {} = {}", gross.decimal(), tare.decimal(), net.decimal())
            }
            Weight::Nothing => "nothing".into(),
            Weight::Refused(why) => format!("refused: {why}"),
        };
        assert_eq!(got, expected, "{reading:?}");
    }

    #[test]
    fn weights_are_booked_only_when_positive_and_in_a_unit_of_the_books() {
        let good = reading("1.250");
        weighs(&good, "1.25 KGM");
        weighs(&Reading { unit: Some(Unit::Gram), ..good.clone() }, "0.00125 KGM");
        weighs(
            &Reading { unit: Some(Unit::Ounce), ..good.clone() },
            "refused: the scale shows oz: switch it to kg, g or lb",
        );
        weighs(
            &Reading { unit: Some(Unit::Pound), ..good.clone() },
            "refused: the weight cannot be booked: LBR does not convert exactly to KGM",
        );
        weighs(&reading("0.000"), "nothing");
        weighs(&reading("-1.000"), "nothing");
        weighs(&Reading::status(Stability::Stable, Range::Ok, b""), "nothing");
        weighs(
            &reading("0.0000001"),
            "refused: the weight cannot be booked: KGM has 6 decimals, \"0.0000001\" has more",
        );
    }

    #[test]
    fn who_vouches_goes_with_the_weight() {
        let said = |reading: &Reading, vouched| match weight(Uom::Kilogram, reading, vouched) {
            Weight::Bookable(weighed) => {
                let label = Label::default();
                let details = label.details(None, None, Some(&weighed));
                (details.stability_source.as_str(), details.unit_source.as_str(), weighed.confirmed)
            }
            other => panic!("{other:?}"),
        };
        let nobody = Vouched::default();
        let good = reading("1.250");
        assert_eq!(said(&good, nobody), ("reported", "reported", false));
        let inferred = Reading { stability_source: Source::Inferred, ..good.clone() };
        assert_eq!(said(&inferred, nobody), ("inferred", "reported", false));
        let bare = Reading { unit_source: Source::Configured, ..good.clone() };
        assert_eq!(said(&bare, Vouched { platform: true, ..nobody }), ("reported", "configured", true));
        let silent = Reading { stability: Stability::Unknown, stability_source: Source::Nobody, ..good };
        assert_eq!(said(&silent, Vouched { stability: true, ..nobody }), ("confirmed", "reported", false));
    }

    #[test]
    fn gross_tare_and_net_are_kept_apart() {
        let tare = Shown::parse("0.250");
        weighs(&Reading { net: Net::Net, tare, ..reading("1.000") }, "1 KGM: 1.25 - 0.25 = 1");
        weighs(&Reading { net: Net::Gross, tare, ..reading("1.000") }, "0.75 KGM: 1 - 0.25 = 0.75");
        weighs(&Reading { net: Net::Gross, ..reading("1.000") }, "1 KGM: 1 - 0 = 1");
        weighs(&Reading { net: Net::Net, ..reading("1.000") }, "1 KGM");
        weighs(&Reading { net: Net::Gross, tare, ..reading("0.250") }, "nothing");
    }
}
