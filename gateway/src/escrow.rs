//! Escrow: what all channels together may still sell never exceeds what is there, whatever is late, lost or doubled.
//!
//! A number that a channel was sent is a promise that it may use until we know better. Each is kept as a [`Grant`], and
//! [`Grants::exposure`] is the most that the channel may still sell beyond the orders that we have seen. In strict mode
//!
//! ```text
//!   I1:  sum of exposures of all channels  <=  on hand - reserved - kept  (the pool)
//! ```
//! is checked in the transaction that sends a number, so a number is raised only out of stock that is free *now*. How a
//! lowered number frees stock depends on what the channel does with a number ([`Kind`]):
//!
//! ```text
//!                 sells 2        told 3                          freed
//!   OnHand   10 ---------> 10  ---------->  3   its own open orders count against any number it ever held,
//!                                               so the bound is the highest one, until the lag window is over
//!   Net      10 --------->  8  ---------->  3   writing over a number gives it to be sold a second time,
//!                                               so the bound is the sum, until the lag window is over
//!   CAS      10 --------->  8  --(8? 3)-->  3   was what we thought, so nothing was sold unseen: freed at once
//! ```
//! The *lag window* is the time in which an order placed at the channel is with us. A number that was never answered
//! may arrive within [`UNANSWERED_MS`]; after that the channel is told once more, and what it then holds is known.

pub mod table;

use std::cmp::Reverse;

/// So long a number that was given up may still be on its way: longer than the time-outs of proxies and shops.
pub const UNANSWERED_MS: i64 = 15 * 60 * 1_000;
/// Numbers remembered for one offer. More within one lag window are counted together with their neighbours in time,
/// which keeps too much in escrow and never too little.
pub const GRANTS_MAX: usize = 16;

/// What a channel does with a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Keeps it, and subtracts its own open orders when it sells.
    OnHand,
    /// Counts down from it.
    Net,
    /// Counts down from it, and takes a new one only when it holds what we think.
    CompareAndSet,
}

/// A number that a channel was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Whole units; 0 or more.
    pub number: i64,
    /// It was taken only where the channel held this; `None` = unconditionally.
    pub expects: Option<i64>,
    /// The orders when it was sent; of a channel that keeps what is on hand, when it was accepted.
    pub orders_at: Orders,
    /// Whether it arrived.
    pub state: GrantState,
}

/// Whether a number arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GrantState {
    /// It is on its way.
    Flying,
    /// Nobody knows.
    Unanswered {
        /// Since when, unix milliseconds.
        since_ms: i64,
    },
    /// The channel has accepted it.
    Held {
        /// When we heard so, unix milliseconds.
        since_ms: i64,
    },
}

impl Grant {
    /// When it was last heard of; what is flying is the newest.
    fn since_ms(&self) -> i64 {
        match self.state {
            GrantState::Flying => i64::MAX,
            GrantState::Unanswered { since_ms } | GrantState::Held { since_ms } => since_ms,
        }
    }
}

/// A channel's orders for one item, as far as we have seen them, in whole units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Orders {
    /// Not shipped yet.
    pub pending: i64,
    /// All that were not cancelled, since ever.
    pub taken: i64,
    /// All that were cancelled, since ever: a channel that counts down may have counted up by them.
    pub given_back: i64,
}

/// The numbers that a channel may hold of one offer, the oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grants {
    /// Those that count; at most [`GRANTS_MAX`]. Empty = it was never told.
    pub list: Vec<Grant>,
    /// [`Orders::taken`] up to here was sold from numbers that count no more.
    pub base: i64,
}

impl Grants {
    /// The most that the channel may still sell beyond the orders seen; 0 or more.
    pub fn exposure(&self, kind: Kind, orders: Orders) -> i64 {
        let used = match kind {
            // It counts its orders against each number alone, see `left`.
            Kind::OnHand => 0,
            Kind::Net | Kind::CompareAndSet => orders.taken.saturating_sub(self.base),
        };
        bound(kind, &self.list, orders).saturating_sub(used).max(0)
    }

    /// What the channel can sell now if it holds the last number; `None` = that is not known, or it was never told.
    pub fn current(&self, kind: Kind, orders: Orders) -> Option<i64> {
        let last = self.list.last().filter(|last| !matches!(last.state, GrantState::Unanswered { .. }))?;
        Some(left(last, kind, orders))
    }

    /// The values that a channel with compare-and-set may hold, the likeliest first. Empty when it could be any: it
    /// never accepted one, or what was lost may have come over the last one by now.
    pub fn candidates(&self, now_ms: i64, orders: Orders) -> Vec<i64> {
        let is_held = |grant: &Grant| matches!(grant.state, GrantState::Held { .. });
        let Some(held) = self.list.iter().rposition(is_held) else { return Vec::new() };
        if self.wants_confirmation(now_ms) {
            return Vec::new();
        }
        let mut values: Vec<i64> = Vec::new();
        for grant in self.list[held..].iter().rev() {
            let value = left(grant, Kind::CompareAndSet, orders);
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    /// Whether a number is on its way.
    pub fn is_flying(&self) -> bool {
        self.list.last().is_some_and(|last| last.state == GrantState::Flying)
    }

    /// A number goes out. One at a time.
    pub fn send(&mut self, kind: Kind, number: i64, expects: Option<i64>, orders: Orders) {
        if self.list.is_empty() {
            self.base = orders.taken;
        }
        self.list.push(Grant { number, expects, orders_at: orders, state: GrantState::Flying });
        while self.list.len() > GRANTS_MAX {
            self.merge(kind, orders);
        }
    }

    /// The channel holds the number that was on its way.
    pub fn accept(&mut self, kind: Kind, now_ms: i64, orders: Orders) {
        self.land(|last| {
            last.state = GrantState::Held { since_ms: now_ms };
            if kind == Kind::OnHand {
                last.orders_at = orders;
            }
        });
    }

    /// Nobody knows whether the number on its way arrived.
    pub fn lose(&mut self, now_ms: i64) {
        self.land(|last| last.state = GrantState::Unanswered { since_ms: now_ms });
    }

    /// The number on its way was refused: it did not arrive, and never will.
    pub fn refuse(&mut self) {
        if self.is_flying() {
            self.list.pop();
        }
    }

    fn land(&mut self, to: impl FnOnce(&mut Grant)) {
        if let Some(last) = self.list.last_mut().filter(|last| last.state == GrantState::Flying) {
            to(last);
        }
    }

    /// Forgets what cannot count any more: everything older than a number that was accepted a whole lag window ago.
    pub fn settle(&mut self, kind: Kind, now_ms: i64, lag_ms: i64, orders: Orders) {
        let settled = |grant: &Grant| match grant.state {
            GrantState::Held { since_ms } => since_ms.saturating_add(lag_ms) <= now_ms,
            GrantState::Flying | GrantState::Unanswered { .. } => false,
        };
        let Some(at) = self.list.iter().rposition(settled) else { return };
        let (before, since) = (bound(kind, &self.list, orders), self.list[at].since_ms());
        let given_back = orders.given_back.saturating_sub(self.list[at].orders_at.given_back);
        self.list[at].expects = None;
        let mut position = 0;
        self.list.retain(|grant| {
            position += 1;
            // A lost number may come late, over one that was accepted before that.
            position > at
                || matches!(grant.state, GrantState::Unanswered { since_ms } if since < late_until(since_ms))
        });
        // Orders are laid against the numbers that go first, and what was given back since then adds to the one that
        // stays: that keeps too much in escrow and never too little. An order heard beside a cancellation hides neither.
        let freed = before.saturating_sub(bound(kind, &self.list, orders)).max(0);
        let used = orders.taken.saturating_sub(self.base).saturating_add(given_back).max(0);
        self.base = self.base.saturating_add(used.min(freed));
    }

    /// Whether the channel must be told once more, because a lost number may have come over the last accepted one.
    pub fn wants_confirmation(&self, now_ms: i64) -> bool {
        !self.is_flying() && self.confirmation_ms().is_some_and(|due| due <= now_ms)
    }

    /// When time alone will change something; `None` = never.
    pub fn next_ms(&self, now_ms: i64, lag_ms: i64) -> Option<i64> {
        let held = self
            .list
            .iter()
            .enumerate()
            .filter(|(at, grant)| *at > 0 && matches!(grant.state, GrantState::Held { .. }));
        let over = held.map(|(_, grant)| grant.since_ms().saturating_add(lag_ms));
        over.chain(self.confirmation_ms()).filter(|due| *due > now_ms).min()
    }

    fn confirmation_ms(&self) -> Option<i64> {
        let held = self.list.iter().filter(|grant| matches!(grant.state, GrantState::Held { .. }));
        let confirmed = held.map(Grant::since_ms).max().unwrap_or(i64::MIN);
        let lost = self.list.iter().filter_map(|grant| match grant.state {
            GrantState::Unanswered { since_ms } => Some(late_until(since_ms)),
            GrantState::Flying | GrantState::Held { .. } => None,
        });
        lost.filter(|until| confirmed < *until).max()
    }

    /// Makes one of two neighbours, of those alike where they are closest in time; the two last stay as they are.
    fn merge(&mut self, kind: Kind, orders: Orders) {
        // Changes can only be added to what they change, which stands first.
        let mergeable = if kind == Kind::CompareAndSet { 1 } else { self.list.len().saturating_sub(3) };
        let pairs = self.list.windows(2).take(mergeable).enumerate();
        let is_held = |grant: &Grant| matches!(grant.state, GrantState::Held { .. });
        let cost = |pair: &[Grant]| {
            let gap = pair[1].since_ms().saturating_sub(pair[0].since_ms());
            (is_held(&pair[0]) != is_held(&pair[1]), gap)
        };
        let Some((at, _)) = pairs.min_by_key(|(_, pair)| cost(pair)) else { return };
        let (first, second) = (self.list[at], self.list.remove(at + 1));
        let is_lost = |grant: &Grant| matches!(grant.state, GrantState::Unanswered { .. });
        let (since_ms, is_lost) =
            (first.since_ms().max(second.since_ms()), is_lost(&first) || is_lost(&second));
        let state = if is_lost { GrantState::Unanswered { since_ms } } else { GrantState::Held { since_ms } };
        self.list[at] = match kind {
            // Of lost numbers the higher one counts, whatever has left the house since.
            Kind::OnHand if is_lost => Grant { number: first.number.max(second.number), state, ..second },
            Kind::OnHand if allowed(&first, orders) > allowed(&second, orders) => Grant { state, ..first },
            Kind::OnHand => Grant { state, ..second },
            Kind::Net | Kind::CompareAndSet => {
                Grant { number: bound(kind, &[first, second], orders), expects: None, state, ..second }
            }
        };
    }
}

fn late_until(since_ms: i64) -> i64 {
    since_ms.saturating_add(UNANSWERED_MS)
}

/// What is left of a number, if the channel holds it.
fn left(grant: &Grant, kind: Kind, orders: Orders) -> i64 {
    match kind {
        Kind::OnHand => allowed(grant, orders),
        Kind::Net | Kind::CompareAndSet => {
            grant.number.saturating_sub(orders.taken.saturating_sub(grant.orders_at.taken))
        }
    }
    .max(0)
}

/// What a number of goods on hand allows beyond the orders seen; below zero where more is open.
///
/// What ships lowers number and open orders together at the channel, so it changes nothing; but a number that is still
/// under way was made before it shipped, and may be written after.
fn allowed(grant: &Grant, orders: Orders) -> i64 {
    let used = match grant.state {
        GrantState::Flying | GrantState::Unanswered { .. } => orders.pending,
        GrantState::Held { .. } => {
            let Orders { pending, taken, .. } = grant.orders_at;
            pending.saturating_add(orders.taken.saturating_sub(taken))
        }
    };
    grant.number.saturating_sub(used)
}

/// The most that these numbers allow together.
fn bound(kind: Kind, grants: &[Grant], orders: Orders) -> i64 {
    let sum = |effect: fn(&Grant) -> i64| grants.iter().map(effect).fold(0_i64, i64::saturating_add);
    match kind {
        Kind::OnHand => grants.iter().map(|grant| allowed(grant, orders)).max().unwrap_or(0),
        Kind::Net => sum(|grant| grant.number),
        // Each is a change of what was there, and one that may not have happened lowers nothing.
        Kind::CompareAndSet => sum(|grant| match (grant.expects, grant.state) {
            (None, _) => grant.number,
            (Some(expects), GrantState::Held { .. }) => grant.number.saturating_sub(expects),
            (Some(expects), _) => grant.number.saturating_sub(expects).max(0),
        }),
    }
}

/// One channel's offer of an item at the table where the pool is divided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seat {
    /// What it does with a number.
    pub kind: Kind,
    /// Its weight: more than 0.
    pub share: i64,
    /// The most it should be able to sell, in whole units.
    pub want: i64,
    /// Its orders.
    pub orders: Orders,
    /// What it was sent.
    pub grants: Grants,
}

impl Seat {
    /// See [`Grants::exposure`].
    pub fn exposure(&self) -> i64 {
        self.grants.exposure(self.kind, self.orders)
    }

    /// What it would be if it were sent this number now.
    fn exposure_with(&self, number: i64, expects: Option<i64>) -> i64 {
        let mut grants = self.grants.clone();
        grants.list.push(Grant { number, expects, orders_at: self.orders, state: GrantState::Flying });
        if self.grants.list.is_empty() {
            grants.base = self.orders.taken;
        }
        grants.exposure(self.kind, self.orders)
    }
}

/// What a seat is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Nothing: it holds this number, less what it has sold meanwhile.
    Keep(i64),
    /// This number.
    Tell(i64),
    /// Nothing before the answer to the number on its way.
    Wait(i64),
}

impl Decision {
    /// The number, in the channel's own way of counting.
    pub fn number(self) -> i64 {
        match self {
            Self::Keep(number) | Self::Tell(number) | Self::Wait(number) => number,
        }
    }
}

/// What is free: the pool less what channels may still sell; below zero when the pool has shrunk.
pub fn free(pool: i64, seats: &[Seat]) -> i64 {
    seats.iter().fold(pool, |left, seat| left.saturating_sub(seat.exposure()))
}

/// Whether a seat may be sent a number: I1 holds after it, or it makes nothing worse.
pub fn allows(pool: i64, seats: &[Seat], at: usize, number: i64, expects: Option<i64>) -> bool {
    let Some(seat) = seats.get(at) else { return false };
    let more = seat.exposure_with(number, expects).saturating_sub(seat.exposure());
    more <= 0 || more <= free(pool, seats)
}

/// Divides the pool between the seats, those that go first in order first. What is told fits all at once.
///
/// A seat keeps what it holds while that is near its part, because every change costs a lag window of held back stock;
/// but nobody starves for another's surplus.
pub fn plan(pool: i64, now_ms: i64, seats: &[Seat]) -> Vec<Decision> {
    let parts = divide(pool, seats);
    let current = |seat: &Seat| seat.grants.current(seat.kind, seat.orders);
    let mut free = free(pool, seats);
    let is_starving = |(seat, part): (&Seat, &i64)| *part > 0 && seat.exposure() == 0;
    let is_tight = free < 0 || seats.iter().zip(&parts).any(is_starving);
    let mut decide = |(seat, part): (&Seat, i64)| {
        let (kind, exposure) = (seat.kind, seat.exposure());
        if seat.grants.is_flying() {
            return Decision::Wait(seat.grants.list.last().map_or(0, |last| last.number));
        }
        let slack = if is_tight { 0 } else { (part / 4).max(1) };
        let confirm = seat.grants.wants_confirmation(now_ms);
        let room = free.max(0);
        let holds = current(seat);
        // What it should be able to sell after this.
        let sells = match (kind, holds) {
            (_, Some(holds))
                if !confirm && (part..=part.saturating_add(slack)).contains(&holds) && holds <= seat.want =>
            {
                return keep(seat, holds);
            }
            (Kind::OnHand, _) => part.min(exposure.saturating_add(room)),
            // Where nobody knows what it holds, this fits even from the lowest that it may be.
            (Kind::CompareAndSet, _) => part.min(lowest(seat, now_ms).unwrap_or(0).saturating_add(room)),
            (Kind::Net, Some(holds)) if !confirm && holds < part && part.min(room) <= holds => {
                return keep(seat, holds);
            }
            (Kind::Net, _) => part.min(room),
        };
        let number = match kind {
            Kind::OnHand => sells.saturating_add(seat.orders.pending),
            Kind::Net | Kind::CompareAndSet => sells,
        };
        if !confirm && holds.is_some_and(|holds| holds == sells) {
            return keep(seat, sells);
        }
        let expects = lowest(seat, now_ms);
        free = free.saturating_sub(seat.exposure_with(number, expects).saturating_sub(exposure).max(0));
        Decision::Tell(number)
    };
    seats.iter().zip(parts.iter().copied()).map(&mut decide).collect()
}

/// What a seat with compare-and-set is expected to hold at an attempt: when nobody knows, each possibility in turn.
/// `None` = it is told unconditionally.
pub fn expected(seat: &Seat, now_ms: i64, attempt: u32) -> Option<i64> {
    let candidates = possible(seat, now_ms);
    candidates.get(attempt as usize % candidates.len().max(1)).copied()
}

fn possible(seat: &Seat, now_ms: i64) -> Vec<i64> {
    match seat.kind {
        Kind::CompareAndSet => seat.grants.candidates(now_ms, seat.orders),
        Kind::OnHand | Kind::Net => Vec::new(),
    }
}

fn lowest(seat: &Seat, now_ms: i64) -> Option<i64> {
    possible(seat, now_ms).into_iter().min()
}

fn keep(seat: &Seat, sells: i64) -> Decision {
    match seat.kind {
        // What ships is subtracted there as well.
        Kind::OnHand => Decision::Keep(sells.saturating_add(seat.orders.pending)),
        Kind::Net | Kind::CompareAndSet => Decision::Keep(sells),
    }
}

/// Each seat's part of the pool: by share, nobody more than it wants, and single units to those that go first.
fn divide(pool: i64, seats: &[Seat]) -> Vec<i64> {
    let mut parts = vec![0_i64; seats.len()];
    let mut left = pool.max(0);
    // Every round either ends it or fills somebody.
    for _ in 0..=seats.len() {
        let hungry: Vec<usize> = (0..seats.len()).filter(|at| parts[*at] < seats[*at].want).collect();
        let shares: i128 = hungry.iter().map(|at| i128::from(seats[*at].share.max(1))).sum();
        if left == 0 || hungry.is_empty() {
            break;
        }
        let pot = left;
        for &at in &hungry {
            let fair = i128::from(pot) * i128::from(seats[at].share.max(1)) / shares;
            let given = i64::try_from(fair).unwrap_or(i64::MAX).min(seats[at].want - parts[at]).min(left);
            parts[at] += given;
            left -= given;
        }
    }
    // A unit stays where it is, if it may: to move it costs a lag window.
    let mut order: Vec<usize> = (0..seats.len()).collect();
    let has_more = |at: usize| seats[at].grants.current(seats[at].kind, seats[at].orders) > Some(parts[at]);
    order.sort_by_key(|at| Reverse((has_more(*at), seats[*at].share)));
    for at in order {
        if left > 0 && parts[at] < seats[at].want {
            parts[at] += 1;
            left -= 1;
        }
    }
    parts
}

#[cfg(test)]
mod tests;
