//! One order at a time through the store: what the run loop, the senders and the API all do.

use std::collections::BTreeMap;

use stockwire_protocol::ChannelId;

use super::command::{self, Captured, Command, Refused};
use super::errand::{self, Errand, Report};
use super::fact::{Door, Duty};
use super::policy::Policy;
use super::work::{Known, Need, Writes};
use super::{Order, OrderKey};
use crate::store::{Store, StoreError};

/// How the orders of each channel are dealt with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Book {
    /// Channels of the configuration whose orders are taken.
    pub channels: BTreeMap<ChannelId, Policy>,
    /// Everybody else's: orders that came through the API.
    pub others: Policy,
}

impl Book {
    /// The policy for a channel's orders.
    pub fn policy(&self, channel: &ChannelId) -> &Policy {
        self.channels.get(channel).unwrap_or(&self.others)
    }
}

/// Takes an order in; whether it was new.
///
/// # Errors
/// The store's; then nothing was kept.
pub fn capture(
    store: &mut dyn Store,
    book: &Book,
    now_ms: i64,
    by: &str,
    order: &Order,
) -> Result<Captured, StoreError> {
    let policy = book.policy(&order.channel);
    let need = need(policy, order.key(), Some(order));
    let mut captured = Captured::Same;
    let mut decide = |known: &Known| {
        let (writes, came_to) = command::capture(policy, known, now_ms, by, order);
        captured = came_to;
        writes
    };
    match store.work_order(now_ms, &need, &mut decide) {
        Err(StoreError::Refused { reason }) => {
            // The order is there whatever the warehouse can take: it is kept, and a person is told.
            let mut decide = |known: &Known| {
                let (writes, came_to) = command::capture_held(policy, known, now_ms, (by, &reason), order);
                captured = came_to;
                writes
            };
            store.work_order(now_ms, &need, &mut decide)?;
        }
        other => other?,
    }
    Ok(captured)
}

/// Looks at orders that are due here, those that wait longest first; how many.
///
/// # Errors
/// The store's; what was done before stays done.
pub fn work_due(store: &mut dyn Store, book: &Book, now_ms: i64, max: usize) -> Result<usize, StoreError> {
    let due = store.due_orders(now_ms, Door::Desk, None, max)?;
    for key in &due {
        work(store, book, now_ms, key, &mut |policy, known| command::advance(policy, known, now_ms))?;
    }
    Ok(due.len())
}

/// Does what somebody asks of an order.
///
/// # Errors
/// The store's; inside, why nothing was done.
pub fn ask(
    store: &mut dyn Store,
    book: &Book,
    now_ms: i64,
    by: &str,
    key: &OrderKey,
    asked: &Command,
) -> Result<Result<(), Refused>, StoreError> {
    let mut outcome = Ok(());
    work(store, book, now_ms, key, &mut |policy, known| match command::command(
        policy, known, now_ms, by, asked,
    ) {
        Ok(writes) => writes,
        Err(refused) => {
            outcome = Err(refused);
            Writes::default()
        }
    })?;
    Ok(outcome)
}

/// The next step of an order at a door, marked as sent; `None`: there is none now.
///
/// # Errors
/// The store's.
pub fn take(
    store: &mut dyn Store,
    book: &Book,
    now_ms: i64,
    door: Door,
    key: &OrderKey,
) -> Result<Option<Errand>, StoreError> {
    let mut taken = None;
    work(store, book, now_ms, key, &mut |policy, known| {
        let (writes, errand) = errand::take(policy, known, now_ms, door);
        taken = errand;
        writes
    })?;
    Ok(taken)
}

/// Keeps what came of a step.
///
/// # Errors
/// The store's.
pub fn record(
    store: &mut dyn Store,
    book: &Book,
    now_ms: i64,
    key: &OrderKey,
    (duty, report): (Duty, &Report),
) -> Result<(), StoreError> {
    let policy = book.policy(&key.channel);
    let need = need(policy, key.clone(), None);
    let mut decide = |known: &Known| errand::record(policy, known, now_ms, duty, report);
    match store.work_order(now_ms, &need, &mut decide) {
        Err(StoreError::Refused { reason }) => {
            // What the other side said is kept in any case; what follows from it waits for a person.
            let mut decide =
                |known: &Known| errand::record_held(policy, known, now_ms, (duty, report), &reason);
            store.work_order(now_ms, &need, &mut decide)
        }
        other => other,
    }
}

fn need(policy: &Policy, order: OrderKey, incoming: Option<&Order>) -> Need {
    let sites = policy.sources.iter().map(|source| source.site.clone()).collect();
    Need { order, incoming: incoming.cloned(), sites }
}

fn work(
    store: &mut dyn Store,
    book: &Book,
    now_ms: i64,
    key: &OrderKey,
    decide: &mut dyn FnMut(&Policy, &Known) -> Writes,
) -> Result<(), StoreError> {
    let policy = book.policy(&key.channel);
    let need = need(policy, key.clone(), None);
    match store.work_order(now_ms, &need, &mut |known| decide(policy, known)) {
        Err(StoreError::Refused { reason }) => {
            store.work_order(now_ms, &need, &mut |known| command::hold_back(policy, known, now_ms, &reason))
        }
        other => other,
    }
}
