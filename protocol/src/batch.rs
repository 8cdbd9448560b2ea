//! Events and the batches they travel in.

use alloc::vec::Vec;

use crate::{
    AgentId, Details, Epoch, Handling, ItemId, LocationId, Movement, MovementId, Quantity, Sequence,
    StationId, Unresolved, When,
};

/// A recorded fact with its time. Its identity is its place in the journal, so it stands outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When it happened at the station.
    pub when: When,
    /// What happened.
    pub body: Body,
}

/// What can be recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// Stock moved.
    Movement(Movement),
    /// Stock was counted; the gateway books the difference against the loss location.
    Count(Count),
    /// A bounded store had to drop this many facts here. Loss is told, in sequence.
    Lost {
        /// How many; at least 1.
        count: u64,
    },
    /// Something was done to a plate, a label or a task; no stock moved.
    Handling(Handling),
    /// Stock moved or was counted under a code that the agent did not know.
    Unresolved(Unresolved),
}

impl Body {
    /// What else is known; `None` for a loss.
    pub fn details(&self) -> Option<&Details> {
        match self {
            Body::Movement(movement) => Some(&movement.details),
            Body::Count(count) => Some(&count.details),
            Body::Lost { .. } => None,
            Body::Handling(handling) => Some(&handling.details),
            Body::Unresolved(unresolved) => Some(&unresolved.details),
        }
    }

    /// The same, to be completed before it is recorded.
    pub fn details_mut(&mut self) -> Option<&mut Details> {
        match self {
            Body::Movement(movement) => Some(&mut movement.details),
            Body::Count(count) => Some(&mut count.details),
            Body::Lost { .. } => None,
            Body::Handling(handling) => Some(&mut handling.details),
            Body::Unresolved(unresolved) => Some(&mut unresolved.details),
        }
    }

    /// Where it was recorded; `None` for a loss.
    pub fn station(&self) -> Option<&StationId> {
        match self {
            Body::Movement(movement) => Some(&movement.station),
            Body::Count(count) => Some(&count.station),
            Body::Lost { .. } => None,
            Body::Handling(handling) => Some(&handling.station),
            Body::Unresolved(unresolved) => Some(&unresolved.station),
        }
    }
}

/// How much of an item lies at a location, by somebody who looked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Count {
    /// What.
    pub item: ItemId,
    /// Zero or more.
    pub counted: Quantity,
    /// Where.
    pub location: LocationId,
    /// Where it was recorded.
    pub station: StationId,
    /// What else is known.
    pub details: Details,
}

/// Consecutive events of one journal: what one MQTT publish carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Whose journal. The gateway checks it against the topic.
    pub agent: AgentId,
    /// Which life of it.
    pub epoch: Epoch,
    /// Sequence of the first event; never 0.
    pub first: Sequence,
    /// At least one; the n-th has sequence `first + n`.
    pub events: Vec<Event>,
}

impl Batch {
    /// Sequence of the last event; `first` when the batch is empty.
    pub fn last(&self) -> Sequence {
        let further = self.events.len().saturating_sub(1) as u64;
        self.first.checked_add(further).unwrap_or(self.first)
    }

    /// Each event under its identity.
    pub fn identified(&self) -> impl Iterator<Item = (MovementId, &Event)> {
        self.events.iter().enumerate().map_while(|(at, event)| {
            let sequence = self.first.checked_add(at as u64)?;
            Some((MovementId { agent: self.agent.clone(), epoch: self.epoch, sequence }, event))
        })
    }
}
