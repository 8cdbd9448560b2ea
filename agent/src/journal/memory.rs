//! A journal in memory, for tests and the simulated world. It forgets with its process, so no agent runs on it.

use std::collections::VecDeque;

use stockwire_protocol::cbor::{EVENT_BYTES_MAX, Message as _};
use stockwire_protocol::{Digest, Epoch, Event, Sequence};

use super::{Journal, JournalError, ReadLimit};

/// The contract in its simplest form. Rows are kept as bytes, as on disk, so that reading decodes.
#[derive(Clone, Debug)]
pub struct MemoryJournal {
    epoch: Epoch,
    boot: u32,
    /// Those after `kept_after`; the first has sequence `kept_after + 1`.
    rows: VecDeque<Vec<u8>>,
    used: u64,
    quota: u64,
    kept_after: u64,
    watermark: u64,
    digest: Digest,
}

impl MemoryJournal {
    /// Empty and without a quota.
    pub fn new(epoch: Epoch) -> Self {
        Self::with_quota(epoch, u64::MAX)
    }

    /// Empty; the rows that are kept never exceed `quota` bytes.
    pub fn with_quota(epoch: Epoch, quota: u64) -> Self {
        Self {
            epoch,
            boot: 1,
            rows: VecDeque::new(),
            used: 0,
            quota,
            kept_after: 0,
            watermark: 0,
            digest: Digest::START,
        }
    }

    /// Empty, with its next sequence just above `start`: for the end of the counter.
    pub fn starting_after(epoch: Epoch, start: Sequence) -> Self {
        Self { kept_after: start.get(), watermark: start.get(), ..Self::new(epoch) }
    }

    /// The box has started again: everything recorded is still there.
    pub fn reopen(&mut self) {
        self.boot += 1;
    }

    /// Gives the space of acknowledged rows free.
    fn forget(&mut self) {
        // Rows go only once the gateway holds them.
        while self.kept_after < self.watermark {
            let Some(row) = self.rows.pop_front() else { break };
            self.used -= row.len() as u64;
            self.kept_after += 1;
        }
    }
}

impl Journal for MemoryJournal {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn boot(&self) -> u32 {
        self.boot
    }

    fn head(&self) -> Sequence {
        Sequence::new(self.kept_after + self.rows.len() as u64)
    }

    fn watermark(&self) -> Sequence {
        Sequence::new(self.watermark)
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn kept_after(&self) -> Sequence {
        Sequence::new(self.kept_after)
    }

    fn append(&mut self, events: &[Event]) -> Result<Sequence, JournalError> {
        let head = self.head().checked_add(events.len() as u64).ok_or(JournalError::Exhausted)?;
        let rows: Vec<_> = events.iter().map(Event::encode).collect();
        if let Some((at, row)) = rows.iter().enumerate().find(|(_, row)| row.len() > EVENT_BYTES_MAX) {
            return Err(JournalError::TooLarge { at, bytes: row.len(), max: EVENT_BYTES_MAX });
        }
        let more: u64 = rows.iter().map(|row| row.len() as u64).sum();
        if self.used + more > self.quota {
            self.forget();
        }
        if self.used + more > self.quota {
            return Err(JournalError::Full { used: self.used, quota: self.quota });
        }
        self.used += more;
        self.rows.extend(rows);
        Ok(head)
    }

    fn read(&self, after: Sequence, limit: ReadLimit) -> Result<Vec<Event>, JournalError> {
        let skip = after
            .get()
            .checked_sub(self.kept_after)
            .ok_or(JournalError::Forgotten { after, kept_after: self.kept_after() })?;
        let mut events = Vec::new();
        let mut bytes = 0;
        for (at, row) in self.rows.iter().enumerate().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
            bytes += row.len();
            if !events.is_empty() && (events.len() >= limit.events || bytes > limit.bytes) {
                break;
            }
            let sequence = Sequence::new(self.kept_after + at as u64 + 1);
            let event = Event::decode(row)
                .map_err(|fault| JournalError::Corrupt { sequence, reason: fault.to_string() })?;
            events.push(event);
        }
        Ok(events)
    }

    fn handle_ack(&mut self, watermark: Sequence, digest: Digest) -> Result<(), JournalError> {
        if watermark > self.head() {
            return Err(JournalError::AckAboveHead { watermark, head: self.head() });
        }
        if watermark.get() > self.watermark {
            (self.watermark, self.digest) = (watermark.get(), digest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::contract;

    fn epoch(seed: u8) -> Epoch {
        Epoch::from_bytes([seed; 16])
    }

    #[test]
    fn keeps_the_contract() {
        let mut made = 0;
        contract::check(|| {
            made += 1;
            Box::new(MemoryJournal::new(epoch(made)))
        });
        contract::check_full(Box::new(MemoryJournal::with_quota(epoch(1), 4_096)));
    }

    #[test]
    fn the_end_of_the_counter_is_an_error_and_not_a_second_beginning() {
        let mut journal = MemoryJournal::starting_after(epoch(1), Sequence::new(u64::MAX - 2));
        let events = [contract::event(1), contract::event(2)];
        assert!(matches!(
            journal.append(&[events.as_slice(), &events].concat()),
            Err(JournalError::Exhausted)
        ));
        assert_eq!(journal.append(&events).unwrap(), Sequence::new(u64::MAX));
        assert!(matches!(journal.append(&events[..1]), Err(JournalError::Exhausted)));
        assert_eq!(journal.head(), Sequence::new(u64::MAX));
    }
}
