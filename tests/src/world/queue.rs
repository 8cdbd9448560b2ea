//! Virtual time: what is due, in order. Nothing in a world waits, so an hour of it takes milliseconds.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::Happening;

/// Everything that is still to happen.
#[derive(Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Entry>,
    order: u64,
    now: Duration,
}

struct Entry {
    due: Duration,
    /// Of two things due at once the one that was arranged first comes first: the heap itself keeps no order.
    order: u64,
    what: Happening,
}

impl Queue {
    /// Time since the world began.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// At that time, or now when it has passed.
    pub(super) fn at(&mut self, due: Duration, what: Happening) {
        self.order += 1;
        self.heap.push(Entry { due: due.max(self.now), order: self.order, what });
    }

    /// So long from now.
    pub(super) fn after(&mut self, wait: Duration, what: Happening) {
        self.at(self.now + wait, what);
    }

    /// Moves time to what is due next.
    pub(super) fn pop(&mut self) -> Option<Happening> {
        let entry = self.heap.pop()?;
        self.now = entry.due;
        Some(entry.what)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// Reversed: the heap gives its greatest, and we want the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}
