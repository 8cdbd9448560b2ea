//! From the scan of an item to goods that can be booked: the same steps in every workflow.
//!
//! ```text
//!                       item                          all demanded is known, and how much
//!   Ready --------------------------> (demanded lot, serial or expiry missing?) ---------------> a Parcel
//!    |  ^                                  |                     |                                  |
//!    |  | SW:QTY:n, WEIGH                  v                     v item booked by weight            v
//!    |  '-- Counted -- item -----------> Asking ----------> Weighing ---------------> (not as it should be?)
//!    |       CANCEL, UNDO, 60 s: dropped   CANCEL, UNDO, 60 s: dropped                              |
//!    |                                                                                              v
//!    '<------------------------------------ NO, CANCEL, UNDO, 60 s: dropped -------------------- Confirming
//!                                                                                  YES: a Parcel with exceptions
//! ```

use std::time::Duration;

use stockwire_protocol::gs1::{Date, DayZero};
use stockwire_protocol::{
    CatalogueItem, Code, Exception, ItemId, ItemRules, Lot, Quantity, RawScan, SerialNumber, Uom,
};

use super::amount::{self, Amount, How, Label, Weighed};
use super::check::Finding;
use super::{ANSWER_MAX, Floor, Input, QUANTITY_MAX, Unknown, WEIGHING_MAX};

/// Goods that can be booked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Parcel {
    /// What.
    pub(super) goods: Goods,
    /// What its labels say.
    pub(super) label: Label,
    /// How much; greater than zero unless the workflow takes zero.
    pub(super) quantity: Quantity,
    /// What the scale said.
    pub(super) weighed: Option<Weighed>,
    /// Whether the quantity is that of one scanned label, and not a number of them.
    pub(super) one_label: bool,
    /// What is not as it should be and was settled; in rising order.
    pub(super) exceptions: Vec<Exception>,
}

/// An item, or the scan that nobody knew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Goods {
    /// The item; for a stranger one that stands for it here and is never recorded.
    pub(super) item: CatalogueItem,
    raw: Option<RawScan>,
}

impl Goods {
    /// An item of the catalogue.
    pub(super) fn known(item: &CatalogueItem) -> Self {
        Self { item: item.clone(), raw: None }
    }

    /// For the books.
    pub(super) fn code(&self) -> Code<ItemId> {
        match &self.raw {
            None => Code::Known(self.item.id.clone()),
            Some(raw) => Code::Scanned(raw.clone()),
        }
    }

    fn stranger(raw: RawScan, label: &Label) -> Option<Self> {
        let item = CatalogueItem {
            id: ItemId::new("unknown").ok()?,
            name: format!("unknown code {raw}"),
            uom: if label.net_weight_kg.is_some() { Uom::Kilogram } else { Uom::Piece },
            gtins: Vec::new(),
            codes: Vec::new(),
            rules: ItemRules::default(),
        };
        Some(Self { item, raw: Some(raw) })
    }
}

/// How far the next goods have come.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Taking {
    /// Nothing is scanned.
    #[default]
    Ready,
    /// How much of the next item was said.
    Counted(How),
    /// Something that the item demands is missing.
    Asking { ask: Ask, goods: Box<Goods>, label: Box<Label>, how: How },
    /// The scale is asked.
    Weighing { goods: Box<Goods>, label: Box<Label> },
    /// Something is not as it should be: the operator decides.
    Confirming { parcel: Box<Parcel>, question: String },
}

/// What an item can demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    /// AI 10, or a barcode that is the lot and nothing else.
    Lot,
    /// AI 21, or a barcode that is the serial number and nothing else.
    Serial,
    /// AI 17, or a barcode of six digits, YYMMDD.
    Expiry,
}

/// How a workflow speaks of goods, and what it wants to know about them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// `recorded`, `counted`: what does not happen when something is dropped.
    pub(super) done: &'static str,
    /// What must be asked when the item demands it.
    pub(super) asks: &'static [Ask],
}

/// For workflows that move goods.
pub(super) const MOVING: Words = Words { done: "recorded", asks: &[Ask::Lot, Ask::Serial, Ask::Expiry] };

/// What became of an input.
pub(super) enum Taken<'a> {
    /// It goes on as this, and the operator hears it as good so far.
    Heard(Taking, String),
    /// It goes on as this, and the operator hears that something is wrong.
    Dropped(Taking, String),
    /// Not accepted.
    Refused(String),
    /// Goods that can be booked.
    Parcel(Box<Parcel>),
    /// This input is none of goods.
    Other(Input<'a>),
}

impl Taking {
    /// What the operator should scan next, when it is not simply the next thing.
    pub(super) fn expected(&self, of_which: &str) -> Option<String> {
        Some(match self {
            Taking::Ready => return None,
            Taking::Counted(How::Exactly(quantity)) => {
                format!("scan the item of which {quantity} {of_which}")
            }
            Taking::Counted(_) => "scan the item that is weighed".into(),
            Taking::Asking { ask, goods, .. } => ask.question(goods),
            Taking::Weighing { goods, .. } => format!("put {} on the scale", goods.item.name),
            Taking::Confirming { question, .. } => format!("{question}: YES or NO"),
        })
    }

    /// How long to wait, when it is not as long as for the next thing.
    pub(super) fn patience(&self) -> Option<Duration> {
        match self {
            Taking::Ready => None,
            Taking::Counted(_) => Some(QUANTITY_MAX),
            Taking::Asking { .. } | Taking::Confirming { .. } => Some(ANSWER_MAX),
            Taking::Weighing { .. } => Some(WEIGHING_MAX),
        }
    }

    /// In which unit the goods on the scale are wanted.
    pub(super) fn weighing(&self) -> Option<Uom> {
        match self {
            Taking::Weighing { goods, .. } => amount::weighed_in(&goods.item),
            _ => None,
        }
    }

    /// What becomes of an input. `check` says what is not as it should be with goods that are complete otherwise.
    pub(super) fn step<'a>(
        &self,
        input: Input<'a>,
        floor: &Floor<'_>,
        words: Words,
        check: impl Fn(&Parcel) -> Vec<Finding>,
    ) -> Taken<'a> {
        match (self, input) {
            (Taking::Ready | Taking::Counted(_), Input::Quantity(quantity)) => {
                Taken::Heard(Taking::Counted(How::Exactly(quantity)), format!("{quantity} of the next item"))
            }
            (Taking::Ready | Taking::Counted(_), Input::Weigh) if floor.scale => {
                Taken::Heard(Taking::Counted(How::Weigh), "the scale tells how much of the next item".into())
            }
            (Taking::Ready | Taking::Counted(_), Input::Weigh) => {
                Taken::Refused("there is no scale here".into())
            }
            (Taking::Ready | Taking::Counted(_), Input::Item(item, label)) => {
                complete(Goods::known(item), label, self.how(), floor, words, check)
            }
            (Taking::Ready | Taking::Counted(_), Input::Stranger(stranger, label))
                if floor.unknown == Unknown::Record =>
            {
                match stranger.raw.and_then(|raw| Goods::stranger(raw, &label)) {
                    Some(goods) => complete(goods, label, self.how(), floor, words, check),
                    None => Taken::Refused(format!("{}, and it is too long to be recorded", stranger.why)),
                }
            }
            (Taking::Asking { ask, goods, label, how }, input) => {
                answer(*ask, goods, label, *how, input, floor, words, check)
            }
            (Taking::Weighing { goods, label }, Input::Weight(weighed)) => {
                match by_weight(goods, label, weighed) {
                    Ok(parcel) => checked(parcel, check),
                    // The goods stay asked for: with fewer or more of them on the scale it may fit.
                    Err(why) => Taken::Refused(why),
                }
            }
            (Taking::Confirming { parcel, .. }, Input::Yes) => Taken::Parcel(parcel.clone()),
            (Taking::Confirming { parcel, .. }, Input::No | Input::Cancel | Input::Undo) => {
                Taken::Heard(Taking::Ready, format!("{} was not {}", parcel.goods.item.name, words.done))
            }
            (Taking::Confirming { parcel, .. }, Input::TimedOut) => {
                let message =
                    format!("no answer for a minute: {} was not {}", parcel.goods.item.name, words.done);
                Taken::Dropped(Taking::Ready, message)
            }
            (Taking::Counted(_), Input::Cancel | Input::Undo) => {
                Taken::Heard(Taking::Ready, "the quantity was dropped".into())
            }
            (Taking::Counted(_), Input::TimedOut) => {
                Taken::Dropped(Taking::Ready, "the quantity was dropped: no item for a minute".into())
            }
            (Taking::Weighing { goods, .. }, Input::Cancel | Input::Undo) => {
                let message = format!("{} was not weighed and not {}", goods.item.name, words.done);
                Taken::Heard(Taking::Ready, message)
            }
            (Taking::Weighing { goods, .. }, Input::TimedOut) => {
                let message =
                    format!("no stable weight for a minute: {} was not {}", goods.item.name, words.done);
                Taken::Dropped(Taking::Ready, message)
            }
            (_, input) => Taken::Other(input),
        }
    }

    fn how(&self) -> How {
        match self {
            Taking::Counted(how) => *how,
            _ => How::Label,
        }
    }
}

/// The label, the quantity, the question: whatever is missing is asked for.
fn complete<'a>(
    goods: Goods,
    label: Label,
    how: How,
    floor: &Floor<'_>,
    words: Words,
    check: impl Fn(&Parcel) -> Vec<Finding>,
) -> Taken<'a> {
    let missing = words.asks.iter().copied().find(|ask| ask.is_missing(&goods.item.rules, &label));
    if let Some(ask) = missing {
        let question = ask.question(&goods);
        let (goods, label) = (Box::new(goods), Box::new(label));
        return Taken::Heard(Taking::Asking { ask, goods, label, how }, question);
    }
    match amount::of(&goods.item, &label, how, floor.scale) {
        Amount::Exactly(quantity) => {
            let one_label = how == How::Label && label.count.is_none();
            checked(
                Parcel { goods, label, quantity, weighed: None, one_label, exceptions: Vec::new() },
                check,
            )
        }
        Amount::Weigh => {
            let message = format!("put {} on the scale", goods.item.name);
            Taken::Heard(Taking::Weighing { goods: Box::new(goods), label: Box::new(label) }, message)
        }
        Amount::Refused(why) => Taken::Refused(why),
    }
}

fn by_weight(goods: &Goods, label: &Label, weighed: Weighed) -> Result<Parcel, String> {
    let (quantity, one_label) = match (goods.item.uom, goods.item.rules.piece_weight) {
        (Uom::Piece, Some(weight)) => (Quantity::pieces(amount::pieces(weighed.quantity, weight)?), false),
        _ => (weighed.quantity, true),
    };
    let exceptions = if weighed.confirmed { vec![Exception::WeightConfirmed] } else { Vec::new() };
    let (goods, label) = (goods.clone(), label.clone());
    Ok(Parcel { goods, label, quantity, weighed: Some(weighed), one_label, exceptions })
}

fn checked<'a>(mut parcel: Parcel, check: impl Fn(&Parcel) -> Vec<Finding>) -> Taken<'a> {
    let findings = check(&parcel);
    if findings.is_empty() {
        return Taken::Parcel(Box::new(parcel));
    }
    let question = findings.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; ");
    parcel.exceptions.extend(findings.iter().map(|finding| finding.exception));
    parcel.exceptions.sort_unstable();
    parcel.exceptions.dedup();
    let message = format!("{question}: YES or NO");
    Taken::Dropped(Taking::Confirming { parcel: Box::new(parcel), question }, message)
}

#[allow(clippy::too_many_arguments, reason = "the parts of one state, taken apart once")]
fn answer<'a>(
    ask: Ask,
    goods: &Goods,
    label: &Label,
    how: How,
    input: Input<'a>,
    floor: &Floor<'_>,
    words: Words,
    check: impl Fn(&Parcel) -> Vec<Finding>,
) -> Taken<'a> {
    let (said, text) = match input {
        Input::Item(item, said) if item.id == goods.item.id => (said, None),
        Input::Item(item, _) => {
            return Taken::Refused(format!("this is {}: {}", item.name, ask.question(goods)));
        }
        Input::Stranger(stranger, said) => (said, Some(stranger.text)),
        Input::Cancel | Input::Undo | Input::No => {
            return Taken::Heard(Taking::Ready, format!("{} was not {}", goods.item.name, words.done));
        }
        Input::TimedOut => {
            let message = format!("no answer for a minute: {} was not {}", goods.item.name, words.done);
            return Taken::Dropped(Taking::Ready, message);
        }
        input => return Taken::Other(input),
    };
    let mut label = label.clone();
    label.lot = label.lot.or(said.lot);
    label.serial = label.serial.or(said.serial);
    label.expires_on = label.expires_on.or(said.expires_on);
    if ask.is_missing(&goods.item.rules, &label)
        && let Some(text) = text
    {
        ask.read(&text, floor, &mut label);
    }
    if ask.is_missing(&goods.item.rules, &label) {
        return Taken::Refused(format!("this does not say it: {}", ask.question(goods)));
    }
    complete(goods.clone(), label, how, floor, words, check)
}

impl Ask {
    fn is_missing(self, rules: &ItemRules, label: &Label) -> bool {
        match self {
            Ask::Lot => rules.lot && label.lot.is_none(),
            Ask::Serial => rules.serial && label.serial.is_none(),
            Ask::Expiry => rules.expiry && label.expires_on.is_none(),
        }
    }

    fn question(self, goods: &Goods) -> String {
        let name = &goods.item.name;
        match self {
            Ask::Lot => format!("scan the lot of {name}"),
            Ask::Serial => format!("scan the serial number of {name}"),
            Ask::Expiry => format!("scan the last day of {name}"),
        }
    }

    /// A barcode that holds the answer and nothing else.
    fn read(self, text: &str, floor: &Floor<'_>, label: &mut Label) {
        match self {
            Ask::Lot => label.lot = Lot::new(text).ok(),
            Ask::Serial => label.serial = SerialNumber::new(text).ok(),
            Ask::Expiry => {
                let year = floor.today.map_or(crate::station::YEAR_MIN, Date::year);
                label.expires_on = Date::from_yymmdd(text, year, DayZero::LastOfMonth).ok();
            }
        }
    }
}
