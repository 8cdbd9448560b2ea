//! The disk of an edge box: what is not flushed is gone after a power cut.

use stockwire_agent::journal::{Journal, JournalError, MemoryJournal, ReadLimit};
use stockwire_protocol::{Digest, Epoch, Event, Sequence};

/// A journal on such a disk.
///
/// An append is flushed before it answers, and with it everything before it; a watermark waits for the next append or
/// for its turn.
#[derive(Clone)]
pub(super) struct Disk {
    /// What the process sees.
    live: MemoryJournal,
    /// What a power cut leaves.
    flushed: MemoryJournal,
    quota: u64,
    acks: u32,
    /// The next append fails, as a worn card does.
    fails: bool,
    /// Journals that were put aside for a new one, oldest first.
    aside: Vec<MemoryJournal>,
    /// The last complete catalogue, as a file.
    pub(super) catalogue: Option<Vec<u8>>,
}

/// Watermarks between two flushes of their own: often enough that a restart sends little again.
const ACKS_BETWEEN_FLUSHES: u32 = 8;

impl Disk {
    /// An empty one.
    pub(super) fn new(epoch: Epoch, quota: u64) -> Self {
        let live = MemoryJournal::with_quota(epoch, quota);
        Self { flushed: live.clone(), live, quota, acks: 0, fails: false, aside: Vec::new(), catalogue: None }
    }

    /// The power is gone.
    pub(super) fn cut_power(&mut self) {
        self.live = self.flushed.clone();
    }

    /// The box starts.
    pub(super) fn reopen(&mut self) {
        self.fails = false;
        self.live.reopen();
        self.flushed = self.live.clone();
    }

    /// Makes the next append fail.
    pub(super) fn fail_once(&mut self) {
        self.fails = true;
    }

    /// A copy of what is flushed, for somebody who makes backups of cards.
    pub(super) fn backup(&self) -> MemoryJournal {
        self.flushed.clone()
    }

    /// Somebody puts such a copy into the box.
    pub(super) fn restore(&mut self, copy: MemoryJournal) {
        self.live = copy.clone();
        self.flushed = copy;
    }

    /// The journal is put aside, whole, and a new one begun with its rows after `own_after`, which are returned.
    ///
    /// # Errors
    /// When those cannot be read or written.
    pub(super) fn begin_epoch(&mut self, epoch: Epoch, own_after: u64) -> Result<Vec<Event>, JournalError> {
        let all = ReadLimit { events: usize::MAX, bytes: usize::MAX };
        let own = self.live.read(Sequence::new(own_after).max(self.live.watermark()), all)?;
        let mut fresh = MemoryJournal::with_quota(epoch, self.quota);
        fresh.append(&own)?;
        self.aside.push(std::mem::replace(&mut self.live, fresh));
        self.flushed = self.live.clone();
        Ok(own)
    }

    /// The journal in use, and those that were put aside.
    pub(super) fn journals(&self) -> impl Iterator<Item = &MemoryJournal> {
        self.aside.iter().chain([&self.live])
    }
}

impl Journal for Disk {
    fn epoch(&self) -> Epoch {
        self.live.epoch()
    }

    fn boot(&self) -> u32 {
        self.live.boot()
    }

    fn head(&self) -> Sequence {
        self.live.head()
    }

    fn watermark(&self) -> Sequence {
        self.live.watermark()
    }

    fn digest(&self) -> Digest {
        self.live.digest()
    }

    fn kept_after(&self) -> Sequence {
        self.live.kept_after()
    }

    fn append(&mut self, events: &[Event]) -> Result<Sequence, JournalError> {
        if self.fails {
            return Err(JournalError::io("append", std::io::Error::other("the card does not answer")));
        }
        let head = self.live.append(events)?;
        self.flushed = self.live.clone();
        Ok(head)
    }

    fn read(&self, after: Sequence, limit: ReadLimit) -> Result<Vec<Event>, JournalError> {
        self.live.read(after, limit)
    }

    fn handle_ack(&mut self, watermark: Sequence, digest: Digest) -> Result<(), JournalError> {
        self.live.handle_ack(watermark, digest)?;
        self.acks += 1;
        if self.acks.is_multiple_of(ACKS_BETWEEN_FLUSHES) {
            self.flushed = self.live.clone();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stockwire_agent::journal::contract;

    use super::*;

    fn epoch(seed: u8) -> Epoch {
        Epoch::from_bytes([seed; 16])
    }

    #[test]
    fn keeps_the_contract_of_every_journal() {
        let mut made = 0;
        contract::check(|| {
            made += 1;
            Box::new(Disk::new(epoch(made), u64::MAX))
        });
        contract::check_full(Box::new(Disk::new(epoch(1), 4_096)));
    }

    #[test]
    fn a_power_cut_takes_what_was_not_flushed() {
        let mut disk = Disk::new(epoch(1), u64::MAX);
        let head = disk.append(&[contract::event(1), contract::event(2)]).unwrap();
        contract::acknowledge(&mut disk, head).unwrap();
        disk.cut_power();
        disk.reopen();
        assert_eq!((disk.head(), disk.watermark()), (head, Sequence::NONE));
    }
}
