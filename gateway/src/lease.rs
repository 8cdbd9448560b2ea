//! Work that must be done once, however many gateways share the books: who does it, and how one that lost it is stopped.
//!
//! A *lease* is a row in the store: its name, its *holder*, until when, and a *fencing token*, which grows each time
//! somebody takes it. Taking and renewing it says who may work. It cannot stop a holder that was paused, moved to
//! another machine or cut off and goes on later without knowing; the token can. What is done under a lease is done
//! behind a fence: each writing transaction first looks whether the token is still the newest, in the same
//! transaction, and writes nothing when it is not.
//!
//! ```text
//!   nobody --take--> held, token 7 --renew, renew--> lapses or is given back --take by another--> held, token 8
//!                                                    writes with token 7 --> refused
//! ```
//!
//! Whether a lease has lapsed is read from the database's clock, since replicas have clocks of their own; the holder
//! counts the same time from before it asked, by a clock that cannot be set, and so stops first. Neither has to be
//! right for the books to be: for that there is the token.

use std::time::Duration;

use crate::store::{Store, StoreError};

/// How long a lease lasts that is not renewed. Work of a replica that died stands still for that long, so it is short
/// against the half minute within which people are told of trouble; a busy machine or a database that is restarted
/// takes some seconds, so it is no shorter.
pub const LENGTH: Duration = Duration::from_secs(10);
/// Renewed after a third: two renewals may fail before anybody else may begin.
pub const RENEW_AFTER: Duration = Duration::from_millis(LENGTH.as_millis() as u64 / 3);
/// How often those without it look whether it is free, and how soon a holder asks again that got no answer: one small
/// statement each time.
pub const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A lease that was taken, as the one who took it knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Of what: see [`Sender::lease`](crate::sender::Sender::lease).
    pub name: String,
    /// Larger than that of everybody who had it before.
    pub token: u64,
}

/// What came of asking for a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It is ours.
    Granted(Grant),
    /// Somebody else has it.
    HeldBy(String),
}

/// What one process knows of one lease. Times are monotonic, since the process began.
#[derive(Debug, Default)]
pub struct Keeper {
    held: Option<Held>,
    ask_at: Duration,
}

#[derive(Debug)]
struct Held {
    grant: Grant,
    /// Counted from before the store was asked: nobody else can have it earlier.
    until: Duration,
}

impl Keeper {
    /// Nothing is held.
    pub fn new() -> Self {
        Self::default()
    }

    /// The grant to work under; `None` when there is none, or when it may have lapsed and must be renewed first.
    pub fn grant(&self, now: Duration) -> Option<&Grant> {
        self.held.as_ref().filter(|held| now < held.until).map(|held| &held.grant)
    }

    /// The grant to renew, when that is due.
    pub fn renewal(&self, now: Duration) -> Option<&Grant> {
        self.held.as_ref().filter(|_| now >= self.ask_at).map(|held| &held.grant)
    }

    /// When the store is to be asked next.
    pub fn ask_at(&self) -> Duration {
        self.ask_at
    }

    /// The store was asked at that time and gave, or prolonged, this.
    pub fn handle_granted(&mut self, asked_at: Duration, grant: Grant) {
        self.held = Some(Held { grant, until: asked_at + LENGTH });
        self.ask_at = asked_at + RENEW_AFTER;
    }

    /// The store did not answer. What is held lapses when its time is up, and not before.
    pub fn handle_unanswered(&mut self, now: Duration) {
        self.ask_at = now + ASK_AGAIN;
    }

    /// Somebody else has it, or it was given back. What was held, to be given back.
    pub fn handle_lost(&mut self, now: Duration) -> Option<Grant> {
        self.ask_at = now + ASK_AGAIN;
        self.held.take().map(|held| held.grant)
    }
}

/// Does a piece of work under a lease: whatever it writes is written only while the token is the newest.
///
/// # Errors
/// [`StoreError::Fenced`] when it is not, and those of the work.
pub fn under<T>(
    grant: &Grant,
    store: &mut dyn Store,
    work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    /// Takes the fence away however the work ends: the same store serves ingest next.
    struct Fenced<'a>(&'a mut dyn Store);
    impl Drop for Fenced<'_> {
        fn drop(&mut self) {
            self.0.set_fence(None);
        }
    }
    store.set_fence(Some(grant));
    let fenced = Fenced(store);
    work(&mut *fenced.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn grant(token: u64) -> Grant {
        Grant { name: "erp/erp".into(), token }
    }

    #[test]
    fn a_grant_is_renewed_at_a_third_and_lapses_in_the_end() {
        let mut keeper = Keeper::new();
        assert_eq!((keeper.grant(seconds(0)), keeper.ask_at()), (None, seconds(0)));
        // Asked at 5, answered whenever.
        keeper.handle_granted(seconds(5), grant(1));
        assert_eq!(keeper.renewal(seconds(8)), None);
        assert_eq!(keeper.renewal(seconds(9)), Some(&grant(1)));
        keeper.handle_unanswered(seconds(9));
        assert_eq!((keeper.renewal(seconds(9)), keeper.renewal(seconds(10))), (None, Some(&grant(1))));
        assert_eq!(keeper.grant(seconds(14)), Some(&grant(1)));
        // Nobody may work any more, but it may still be ours: asked for on and on.
        assert_eq!(keeper.grant(seconds(15)), None);
        assert_eq!(keeper.renewal(seconds(15)), Some(&grant(1)));
        keeper.handle_granted(seconds(16), grant(1));
        assert_eq!(keeper.grant(seconds(25)), Some(&grant(1)));
    }

    #[test]
    fn what_is_lost_is_not_worked_under() {
        let mut keeper = Keeper::new();
        keeper.handle_granted(seconds(0), grant(1));
        assert_eq!(keeper.handle_lost(seconds(1)), Some(grant(1)));
        assert_eq!((keeper.grant(seconds(1)), keeper.renewal(seconds(60))), (None, None));
        assert_eq!(keeper.ask_at(), seconds(1) + ASK_AGAIN);
        assert_eq!(keeper.handle_lost(seconds(2)), None);
    }

    #[test]
    fn two_renewals_may_fail() {
        assert!(RENEW_AFTER * 2 + ASK_AGAIN < LENGTH);
    }
}
