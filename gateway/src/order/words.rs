//! What happened to an order, in words for people.

use super::fact::{AtSite, Fact, LineSteps, Outcome, Verdict};

impl Fact {
    /// One line; quantities are steps of the items' own units, which are pieces for what is counted.
    pub fn words(&self) -> String {
        match self {
            Self::Captured { order, reference } => {
                format!("placed as {} with {} lines, called {reference} here", order.code, order.lines.len())
            }
            Self::Revised { order } if order.cancelled => "the channel gave it up".into(),
            Self::Revised { .. } => "the channel changed it".into(),
            Self::Validated { lines } => format!("{} lines known, sums right", lines.len()),
            Self::Faulted { reasons } => format!("cannot be so: {}", reasons.join("; ")),
            Self::CheckBegan { check, reason, .. } => format!("{check} asks: {reason}"),
            Self::CheckEnded { check, verdict: Verdict::Pass, reason } => format!("{check} passed: {reason}"),
            Self::CheckEnded { check, verdict: Verdict::Reject, reason } => {
                format!("{check} rejected it: {reason}")
            }
            Self::Held { reason } => format!("kept back: {reason}"),
            Self::Released => "released".into(),
            Self::Reserved { allocations, .. } => {
                let parts =
                    allocations.iter().map(|a| format!("{} of line {} at {}", a.steps, a.line, a.site));
                format!("held: {}", parts.collect::<Vec<_>>().join(", "))
            }
            Self::Short { lines, .. } => format!("missing: {}", of_lines(lines)),
            Self::Freed { reason, .. } => format!("holds given up: {reason}"),
            Self::KeptBack { .. } => "what is missing on the shelf stays held".into(),
            Self::Left { .. } => "holds ended with the pick".into(),
            Self::Asked { site, items } => {
                let parts = items.iter().map(|row| format!("{} {}", row.steps, row.item));
                format!("{site} is asked to pick {}", parts.collect::<Vec<_>>().join(", "))
            }
            Self::Withdrawn { site } => format!("{site} is not asked any more"),
            Self::Picked { picked } => format!("picked in all: {}", at_sites(picked)),
            Self::Missing { missing } => format!("missing on the shelf: {}", at_sites(missing)),
            Self::Returned { returned } => format!("come back in all: {}", at_sites(returned)),
            Self::Shipped { shipment } => {
                let by =
                    shipment.carrier.as_deref().map(|carrier| format!(" by {carrier}")).unwrap_or_default();
                let under =
                    shipment.tracking.as_deref().map(|number| format!(" as {number}")).unwrap_or_default();
                format!("parcel {} left{by}{under}: {}", shipment.number, of_lines(&shipment.lines))
            }
            Self::Due { duty } => format!("{duty} is to be done"),
            Self::Sent { duty } => format!("{duty} sent"),
            Self::Noted { duty, document } => format!("{duty} made {document}"),
            Self::Answered { duty, outcome } => match outcome {
                Outcome::Done { document: Some(document) } => format!("{duty} done: {document}"),
                Outcome::Done { document: None } => format!("{duty} done"),
                Outcome::Nothing => format!("{duty}: there is nothing to do it to"),
                Outcome::Later { .. } => format!("{duty}: not yet"),
                Outcome::Retry { reason, .. } => format!("{duty} not done yet: {reason}"),
                Outcome::Unknown { reason, .. } => {
                    format!("{duty}: nobody knows, it will be looked up: {reason}")
                }
                Outcome::Refused { reason } => format!("{duty} refused: {reason}"),
            },
            Self::Cancelled { reason } => format!("given up: {reason}"),
            Self::ReturnAnnounced { key, lines, reason, .. } => {
                format!("return {key} announced, {}: {reason}", of_lines(lines))
            }
            Self::RefundDue { key, amount } => {
                format!("return {key} is there: {amount} minor units are to be paid back")
            }
        }
    }
}

fn of_lines(parts: &[LineSteps]) -> String {
    let parts = parts.iter().map(|part| format!("{} of line {}", part.steps, part.line));
    parts.collect::<Vec<_>>().join(", ")
}

fn at_sites(rows: &[AtSite]) -> String {
    let rows = rows.iter().map(|row| format!("{} {} at {}", row.steps, row.item, row.site));
    rows.collect::<Vec<_>>().join(", ")
}
