//! After a start: does the gateway hold what we hold?

use stockwire_protocol::Sequence;

use crate::journal::Journal;

/// The gateway may hold other events than ours under our sequences, because this journal may be an old copy that was
/// scanned on.
///
/// Acknowledgements are cumulative and name no batch: the clean answer to a batch that is the same on both sides must
/// not be taken for the answer to the next, which is not. So first everything that the gateway claims to hold is sent,
/// trusting nothing, and the answers are counted. They come in the order of the batches, and one word more may come
/// that is none of them (the greeting at a connection). When one answer more was heard than batches were needed, each of
/// them was compared; a conflict would have been told. After that every acknowledgement is believed.
///
/// A going back begins a new `Doubt`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubt {
    /// The gateway's first word.
    claimed: Option<Sequence>,
    /// Batches sent.
    sent: u32,
    /// Acknowledgements heard since the first of them was sent.
    heard: u32,
    /// How many must be heard; known once everything claimed has been sent.
    needed: Option<u32>,
    /// The last batch began after this one.
    last_after: Sequence,
}

impl Doubt {
    /// A journal just made, and still empty, is no copy of anything.
    pub(super) fn about(journal: &dyn Journal) -> Option<Self> {
        let is_new = journal.boot() == 1 && journal.head() == Sequence::NONE;
        (!is_new).then(Self::default)
    }

    /// One batch asks what the gateway holds; the others wait for its first word.
    pub(super) fn waits_for_the_first_word(&self) -> bool {
        self.claimed.is_none() && self.sent > 0
    }

    /// Where the next batch begins, when the cursor stands here.
    pub(super) fn next_after(&mut self, cursor: Sequence, head: Sequence) -> Sequence {
        if self.sent > 0 && self.claimed.is_some_and(|claimed| cursor >= claimed) {
            self.needed.get_or_insert(self.sent + 1);
        }
        // The one answer more may need one batch more: if there is nothing new, the last one again.
        let one_more = self.needed.is_some_and(|needed| self.sent < needed);
        if cursor >= head && one_more { self.last_after } else { cursor }
    }

    /// A batch was sent that begins after this one.
    pub(super) fn handle_sent(&mut self, after: Sequence) {
        self.sent += 1;
        self.last_after = after;
    }

    /// The gateway spoke and complained of nothing. Whether the doubt is over: its claim was compared, or it claims no
    /// more than is known to be committed.
    pub(super) fn handle_ack(&mut self, claimed: Sequence, committed: Sequence) -> bool {
        self.claimed.get_or_insert(claimed);
        self.heard += u32::from(self.sent > 0);
        claimed <= committed || self.needed.is_some_and(|needed| self.heard >= needed)
    }
}
