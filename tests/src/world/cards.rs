//! What was written to every card there ever was: the witness of which life a row belongs to.
//!
//! A card is one life of one journal. Most boxes have one for ever; a restored copy and a clone are cards of their own
//! that begin with another's rows.

use std::collections::{BTreeMap, BTreeSet};

use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::{AgentId, Epoch, Event};

use super::auditor::Fault;

/// All cards.
#[derive(Default)]
pub(super) struct Cards {
    all: Vec<Card>,
    /// The one in each box.
    in_box: Vec<usize>,
    /// The cards from which everything can have come that the gateway holds of a stream; never empty.
    sources: BTreeMap<(AgentId, Epoch), BTreeSet<usize>>,
}

struct Card {
    agent: AgentId,
    epoch: Epoch,
    rows: Vec<Vec<u8>>,
}

impl Cards {
    /// A journal is begun in a box, with rows that moved over from the one before.
    pub(super) fn begin(&mut self, at: usize, agent: &AgentId, epoch: Epoch, rows: &[Event]) {
        let rows = rows.iter().map(Event::encode).collect();
        self.put(at, Card { agent: agent.clone(), epoch, rows });
    }

    /// A copy of the card in `from`, with so many rows, is in the box `to` from now on.
    pub(super) fn copy(&mut self, from: usize, to: usize, head: u64) {
        let Card { agent, epoch, rows } = &self.all[self.in_box[from]];
        let rows = rows[..head as usize].to_vec();
        let copy = Card { agent: agent.clone(), epoch: *epoch, rows };
        self.put(to, copy);
    }

    fn put(&mut self, at: usize, card: Card) {
        self.all.push(card);
        let number = self.all.len() - 1;
        match self.in_box.get_mut(at) {
            Some(current) => *current = number,
            None => self.in_box.push(number),
        }
    }

    /// A box has written these, the first under that sequence.
    ///
    /// # Errors
    /// When they do not follow what it wrote before.
    pub(super) fn write(&mut self, at: usize, first: u64, events: &[Event]) -> Result<(), Fault> {
        let card = &mut self.all[self.in_box[at]];
        let next = card.rows.len() as u64 + 1;
        if first != next {
            return Err(format!("box {at} wrote row {first} of {}, the next one was {next}", card.epoch));
        }
        card.rows.extend(events.iter().map(Event::encode));
        Ok(())
    }

    /// The gateway has committed this. Everything that it holds of a stream must stand on one card.
    ///
    /// # Errors
    /// When nobody wrote it, or nobody who also wrote what the gateway holds before it.
    pub(super) fn committed(
        &mut self,
        agent: &AgentId,
        epoch: Epoch,
        sequence: u64,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        let holds = |card: &Card| {
            let row = card.rows.get(sequence as usize - 1);
            card.agent == *agent && card.epoch == epoch && row.is_some_and(|row| row == bytes)
        };
        // A copy that was made since the last commit can be a source too.
        let sources = self.sources.entry((agent.clone(), epoch)).or_default();
        let known: Vec<&Card> = sources.iter().map(|number| &self.all[*number]).collect();
        let consistent = |card: &Card| {
            let before = sequence as usize - 1;
            known.is_empty() || known.iter().any(|other| card.rows.get(..before) == other.rows.get(..before))
        };
        let now = self.all.iter().enumerate().filter(|(_, card)| holds(card) && consistent(card));
        let now: BTreeSet<usize> = now.map(|(number, _)| number).collect();
        if now.is_empty() {
            let what = if self.all.iter().any(holds) {
                "of another life than the rows before it"
            } else {
                "and no box wrote it"
            };
            return Err(format!("{agent}/{epoch}/{sequence} was committed, {what}"));
        }
        *sources = now;
        Ok(())
    }
}
