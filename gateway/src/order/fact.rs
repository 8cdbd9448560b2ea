//! What happened to an order, as it is kept: rows that are only ever added. How the order stands follows from them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use stockwire_protocol::{ItemId, Reference, SiteId};

use super::form::text;
use super::{LineId, Order, Shipment};

/// One row of an order's history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// 1, 2, 3 ... within the order.
    pub sequence: u64,
    /// When it was written, unix milliseconds.
    pub at_ms: i64,
    /// Who: `gateway`, `channel`, `warehouse`, `erp`, or whoever asked through the API.
    pub by: String,
    /// What.
    pub fact: Fact,
}

/// What happened. Quantities are steps of the item's own unit. The form is only ever added to: a fact that was written
/// once must be readable for ever.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// It came.
    Captured {
        /// As it came.
        order: Order,
        /// What it is called on pick lists and in the warehouse's facts; unique over all channels.
        #[serde(with = "text")]
        reference: Reference,
    },
    /// It came again and says something else.
    Revised {
        /// As it came.
        order: Order,
    },
    /// Every line is an item that we know, and the sums add up.
    Validated {
        /// Its lines as we know them.
        lines: Vec<Mapped>,
    },
    /// Something in it cannot be so; looked at again when somebody releases it, and from time to time.
    Faulted {
        /// What, each naming its field.
        reasons: Vec<String>,
    },
    /// A check wants a word from outside.
    CheckBegan {
        /// Which.
        check: String,
        /// Why, for people.
        reason: String,
        /// When it decides by itself, unix milliseconds; `None`: never.
        until_ms: Option<i64>,
    },
    /// A check has decided.
    CheckEnded {
        /// Which.
        check: String,
        /// How.
        verdict: Verdict,
        /// Why, for people.
        reason: String,
    },
    /// It rests until somebody releases it. What it holds, it keeps.
    Held {
        /// Why.
        reason: String,
    },
    /// It goes on; what was refused is tried anew.
    Released,
    /// Stock is held for it.
    Reserved {
        /// What, and where it is to come from.
        allocations: Vec<Allocation>,
        /// What that was decided by.
        considered: Vec<Considered>,
    },
    /// Stock is missing.
    Short {
        /// What.
        lines: Vec<LineSteps>,
        /// What that was decided by.
        considered: Vec<Considered>,
    },
    /// Holds were given up.
    Freed {
        /// How much of which allocation.
        allocations: Vec<AllocationSteps>,
        /// Why.
        reason: String,
    },
    /// What is missing on the shelf stays held, so that nobody else is promised it, and counts no longer for this order.
    KeptBack {
        /// How much of which allocation.
        allocations: Vec<AllocationSteps>,
    },
    /// The goods of holds have left the books: picked.
    Left {
        /// How much of which allocation.
        allocations: Vec<AllocationSteps>,
    },
    /// A site was asked to pick, or asked anew.
    Asked {
        /// Which.
        #[serde(with = "text")]
        site: SiteId,
        /// What in all, that done before included.
        items: Vec<ItemSteps>,
    },
    /// A site is not asked any more.
    Withdrawn {
        /// Which.
        #[serde(with = "text")]
        site: SiteId,
    },
    /// What has been picked, in all.
    Picked {
        /// By item and site.
        picked: Vec<AtSite>,
    },
    /// What the warehouse has found missing, in all.
    Missing {
        /// By item and site.
        missing: Vec<AtSite>,
    },
    /// What has come back, in all.
    Returned {
        /// By item and site.
        returned: Vec<AtSite>,
    },
    /// A parcel has left.
    Shipped {
        /// What is in it.
        shipment: ShipmentRecord,
    },
    /// A step outside is to be taken.
    Due {
        /// Which.
        #[serde(with = "text")]
        duty: Duty,
    },
    /// A step outside is about to be sent. Until its answer stands here too, its outcome is unknown.
    Sent {
        /// Which.
        #[serde(with = "text")]
        duty: Duty,
    },
    /// The other side has made something, and is not done with it.
    Noted {
        /// By which step.
        #[serde(with = "text")]
        duty: Duty,
        /// Its id there.
        document: String,
    },
    /// What came of a step outside.
    Answered {
        /// Which.
        #[serde(with = "text")]
        duty: Duty,
        /// What.
        outcome: Outcome,
    },
    /// It is given up.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// A return is expected.
    ReturnAnnounced {
        /// Names it; the same again changes nothing.
        key: String,
        /// What.
        lines: Vec<LineSteps>,
        /// Why.
        reason: String,
        /// What is to be paid back when it is there, in minor units.
        refund: i64,
    },
    /// Money is to be paid back, because everything that was announced is there.
    RefundDue {
        /// By which return.
        key: String,
        /// How much, in minor units.
        amount: i64,
    },
}

/// One line, as we know it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mapped {
    /// The channel's id of the line.
    #[serde(with = "text")]
    pub line: LineId,
    /// What it is.
    #[serde(with = "text")]
    pub item: ItemId,
    /// How much is wanted.
    pub steps: i64,
}

/// So much of a line is held at a site, or was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Allocation {
    /// 1, 2, 3 ... within the order: the line number of its [reservation](crate::reservation::Line).
    pub number: u32,
    /// For which line.
    #[serde(with = "text")]
    pub line: LineId,
    /// Which site is to ship it.
    #[serde(with = "text")]
    pub site: SiteId,
    /// How much.
    pub steps: i64,
}

/// So much of an allocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AllocationSteps {
    /// Which.
    pub number: u32,
    /// How much.
    pub steps: i64,
}

/// So much of a line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LineSteps {
    /// Which.
    #[serde(with = "text")]
    pub line: LineId,
    /// How much.
    pub steps: i64,
}

/// So much of an item.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ItemSteps {
    /// Which.
    #[serde(with = "text")]
    pub item: ItemId,
    /// How much.
    pub steps: i64,
}

/// So much of an item at a site.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AtSite {
    /// Which.
    #[serde(with = "text")]
    pub item: ItemId,
    /// Where.
    #[serde(with = "text")]
    pub site: SiteId,
    /// How much.
    pub steps: i64,
}

/// A site as it was weighed when the source was chosen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Considered {
    /// Which.
    #[serde(with = "text")]
    pub site: SiteId,
    /// 0 is asked first.
    pub priority: u32,
    /// To where the order goes, kilometres; `None`: not told.
    pub distance_km: Option<u32>,
    /// What could be promised there of each item that is wanted.
    pub available: Vec<ItemSteps>,
}

/// A parcel, and by what it was recognised.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShipmentRecord {
    /// 1, 2, 3 ... within the order.
    pub number: u32,
    /// `plate:`, `site:` or `api:` and a name: the same again is the same parcel.
    pub key: String,
    /// Who carries it.
    pub carrier: Option<String>,
    /// The number under which it can be followed.
    pub tracking: Option<String>,
    /// What is in it.
    pub lines: Vec<LineSteps>,
}

impl ShipmentRecord {
    /// As a channel is told of it; `lines` are the order's, as we know them.
    pub fn shipment(
        &self,
        reference: &Reference,
        order: &Order,
        lines: &[Mapped],
        uom: UomOf<'_>,
    ) -> Shipment {
        let line = |part: &LineSteps| {
            let mapped = lines.iter().find(|mapped| mapped.line == part.line)?;
            let own = stockwire_protocol::Quantity { steps: part.steps, uom: uom(&mapped.item)? };
            let wanted = order.line(&part.line)?.quantity.uom;
            let quantity = own.to_uom(wanted).unwrap_or(own);
            Some(super::ShippedLine { line: part.line.clone(), quantity })
        };
        Shipment {
            number: self.number,
            reference: format!("{reference}-{}", self.number),
            carrier: self.carrier.clone(),
            tracking: self.tracking.clone(),
            lines: self.lines.iter().filter_map(line).collect(),
        }
    }
}

/// In which unit an item is booked.
pub(super) type UomOf<'a> = &'a dyn Fn(&ItemId) -> Option<stockwire_protocol::Uom>;

/// What a check says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Go on.
    Pass,
    /// Give the order up.
    Reject,
}

/// A step that somebody else must take.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Duty {
    /// Tell the ERP of the sale.
    PostSale,
    /// Take that back.
    CancelSale,
    /// Ask for the sale's invoice.
    ReadSale,
    /// Tell the channel of a parcel.
    Confirm {
        /// Which.
        shipment: u32,
    },
    /// Tell the channel that the order is given up.
    CancelAtChannel,
}

/// At whose door a step is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Door {
    /// Our own.
    Desk,
    /// The ERP's.
    Erp,
    /// The channel's where the order was placed.
    Channel,
}

impl Duty {
    /// Where it is done.
    pub fn door(self) -> Door {
        match self {
            Self::PostSale | Self::CancelSale | Self::ReadSale => Door::Erp,
            Self::Confirm { .. } | Self::CancelAtChannel => Door::Channel,
        }
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PostSale => f.write_str("post_sale"),
            Self::CancelSale => f.write_str("cancel_sale"),
            Self::ReadSale => f.write_str("read_sale"),
            Self::Confirm { shipment } => write!(f, "confirm_shipment {shipment}"),
            Self::CancelAtChannel => f.write_str("cancel_at_channel"),
        }
    }
}

impl FromStr for Duty {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = [Self::PostSale, Self::CancelSale, Self::ReadSale, Self::CancelAtChannel];
        let shipment = text.strip_prefix("confirm_shipment ").and_then(|number| number.parse().ok());
        let duty = whole.into_iter().find(|duty| duty.to_string() == text);
        duty.or(shipment.map(|shipment| Self::Confirm { shipment }))
            .ok_or_else(|| format!("no step {text:?}"))
    }
}

/// What came of a step outside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Done {
        /// What the other side made, by its id.
        document: Option<String>,
    },
    /// It is not to be done: there is nothing there to do it to.
    Nothing,
    /// It is not done yet, without any fault: looked at again.
    Later {
        /// Not before, unix milliseconds.
        at_ms: i64,
    },
    /// It was not done, and a later attempt may go through.
    Retry {
        /// Not before, unix milliseconds.
        at_ms: i64,
        /// For people.
        reason: String,
    },
    /// Nobody knows; it is looked up before anything is done again.
    Unknown {
        /// Not before, unix milliseconds.
        at_ms: i64,
        /// For people.
        reason: String,
    },
    /// The other side refuses, and will again: a person must look.
    Refused {
        /// Its own words.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_names() {
        for duty in [
            Duty::PostSale,
            Duty::CancelSale,
            Duty::ReadSale,
            Duty::CancelAtChannel,
            Duty::Confirm { shipment: 7 },
        ] {
            assert_eq!(duty.to_string().parse(), Ok(duty));
        }
        assert!("confirm_shipment x".parse::<Duty>().is_err());
    }

    #[test]
    fn the_form_of_a_row_is_frozen() {
        // If this fails, change the code, not the test: such rows are in people's stores.
        for text in [
            r#"{"fact":"released"}"#,
            r#"{"fact":"held","reason":"why"}"#,
            r#"{"fact":"check_ended","check":"fraud","verdict":"pass","reason":"why"}"#,
            r#"{"fact":"reserved","allocations":[{"number":1,"line":"1","site":"HAM","steps":2}],"considered":[{"site":"HAM","priority":0,"distance_km":null,"available":[{"item":"A","steps":3}]}]}"#,
            r#"{"fact":"answered","duty":"post_sale","outcome":{"outcome":"unknown","at_ms":7,"reason":"why"}}"#,
            r#"{"fact":"shipped","shipment":{"number":1,"key":"plate:1","carrier":null,"tracking":"1","lines":[{"line":"1","steps":2}]}}"#,
        ] {
            let fact: Fact = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&fact).unwrap(), text);
        }
    }
}
