//! Who sits at the table where one item is divided: each offer of the item, with its channel's orders.

use std::collections::BTreeMap;

use stockwire_protocol::{ChannelId, SiteId, Uom};

use super::{Decision, Grants, Kind, Orders, Seat, allows, expected, plan};
use crate::availability::{self, Basis, ChannelPolicy, SiteStock};

/// What a store knows of one item.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    /// Its unit.
    pub uom: Uom,
    /// What lies where, and what of it is promised.
    pub stock: &'a [SiteStock],
    /// Orders, by channel.
    pub orders: &'a BTreeMap<ChannelId, Orders>,
    /// Every active offer of a configured channel, ordered by channel and SKU.
    pub offers: Vec<Offer<'a>>,
}

/// One offer.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    /// Its channel's.
    pub policy: &'a ChannelPolicy,
    /// What the channel was sent.
    pub grants: Grants,
}

impl ChannelPolicy {
    /// What the channel does with a number.
    pub fn kind(&self) -> Kind {
        match self.basis {
            Basis::OnHand => Kind::OnHand,
            Basis::Net if self.selling.compare_and_set => Kind::CompareAndSet,
            Basis::Net => Kind::Net,
        }
    }
}

impl Table<'_> {
    /// Forgets what cannot count any more.
    pub fn settle(&mut self, now_ms: i64) {
        for at in 0..self.offers.len() {
            let orders = self.seat_orders(at);
            let Offer { policy, grants } = &mut self.offers[at];
            grants.settle(policy.kind(), now_ms, policy.selling.order_lag_ms, orders);
        }
    }

    /// What each offer is to be told, in their order.
    pub fn decide(&self, now_ms: i64) -> Vec<Decision> {
        let mut decisions = vec![Decision::Keep(0); self.offers.len()];
        for group in self.groups() {
            let (seats, pool) = (self.seats(&group), self.pool(&group));
            for (at, decision) in group.iter().zip(plan(pool, now_ms, &seats)) {
                decisions[*at] = decision;
            }
        }
        decisions
    }

    /// Whether an offer may be sent a number now, and what its channel is expected to hold; `None` = it may not.
    pub fn permits(&self, at: usize, number: i64, now_ms: i64, attempt: u32) -> Option<Option<i64>> {
        let groups = self.groups();
        let group = groups.iter().find(|group| group.contains(&at))?;
        let (seats, pool) = (self.seats(group), self.pool(group));
        let place = group.iter().position(|member| *member == at)?;
        let expects = expected(seats.get(place)?, now_ms, attempt);
        allows(pool, &seats, place, number, expects).then_some(expects)
    }

    /// What is there for no channel in particular, in whole units, and at which sites; below zero where channels may sell
    /// more than is there.
    pub fn free(&self) -> Vec<(Vec<SiteId>, i64)> {
        let free = |group: Vec<usize>| {
            let mut sites: Vec<SiteId> =
                group.iter().flat_map(|at| self.offers[*at].policy.sites.iter().cloned()).collect();
            sites.sort();
            sites.dedup();
            (sites, super::free(self.pool(&group), &self.seats(&group)))
        };
        self.groups().into_iter().map(free).collect()
    }

    /// Offers whose channels have sites in common, each group by rank.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<(Vec<&SiteId>, Vec<usize>)> = Vec::new();
        for (at, offer) in self.offers.iter().enumerate() {
            let mut merged: (Vec<&SiteId>, Vec<usize>) = (offer.policy.sites.iter().collect(), vec![at]);
            let (shared, rest): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|(sites, _)| sites.iter().any(|site| merged.0.contains(site)));
            for (sites, members) in shared {
                merged.0.extend(sites);
                merged.1.extend(members);
            }
            groups = rest;
            groups.push(merged);
        }
        let mut groups: Vec<Vec<usize>> = groups.into_iter().map(|(_, members)| members).collect();
        for group in &mut groups {
            group.sort_by_key(|at| (self.offers[*at].policy.selling.rank, *at));
        }
        groups
    }

    /// What the sites of a group may still promise.
    fn pool(&self, group: &[usize]) -> i64 {
        let is_theirs =
            |stock: &&SiteStock| group.iter().any(|at| self.offers[*at].policy.sites.contains(&stock.site));
        availability::pool(self.uom, self.stock.iter().filter(is_theirs))
    }

    fn seats(&self, group: &[usize]) -> Vec<Seat> {
        let seat = |at: &usize| {
            let Offer { policy, grants } = &self.offers[*at];
            let want = match self.is_first(*at) {
                true => availability::sellable(policy, self.uom, self.stock),
                false => 0,
            };
            Seat {
                kind: policy.kind(),
                share: policy.selling.share_percent,
                want,
                orders: self.seat_orders(*at),
                grants: grants.clone(),
            }
        };
        group.iter().map(seat).collect()
    }

    /// An order says which item was sold and not under which SKU: so only one SKU of a channel sells an item, and orders
    /// count for that one alone.
    fn is_first(&self, at: usize) -> bool {
        at == 0 || self.offers[at - 1].policy.channel != self.offers[at].policy.channel
    }

    fn seat_orders(&self, at: usize) -> Orders {
        match self.is_first(at) {
            true => self.orders.get(&self.offers[at].policy.channel).copied().unwrap_or_default(),
            false => Orders::default(),
        }
    }
}
