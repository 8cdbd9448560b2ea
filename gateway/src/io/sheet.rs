//! One item's offers as a store has read them, what is to be written back, and whether a number may be sent. Both stores
//! ask here, so that they differ only in how they read and write.

use std::collections::BTreeMap;

use stockwire_protocol::{ChannelId, ItemId, SiteId, Sku, Uom};

use super::selling_row::{self, grants_text};
use crate::availability::{ChannelPolicy, SiteNumber, SiteStock, compute, unit};
use crate::escrow::table::{Offer, Table};
use crate::escrow::{Decision, Grants, Kind, Orders};
use crate::ledger::LedgerId;
use crate::reservation::Escrowed;
use crate::store::Published;

/// One item.
pub(super) struct Sheet {
    pub(super) uom: Uom,
    pub(super) stock: Vec<SiteStock>,
    pub(super) orders: BTreeMap<ChannelId, Orders>,
    /// Active offers of configured channels, ordered by channel and SKU.
    pub(super) rows: Vec<Row>,
}

/// One offer of it.
pub(super) struct Row {
    pub(super) policy: ChannelPolicy,
    pub(super) sku: Sku,
    /// Of the number that stands there; 0 = none was computed.
    pub(super) revision: i64,
    pub(super) number: i64,
    /// As they stand there.
    pub(super) grants_text: String,
    pub(super) published: Option<Published>,
    pub(super) grants: Grants,
}

/// What becomes of an offer.
pub(super) struct Change {
    pub(super) number: i64,
    pub(super) sites: Vec<SiteNumber>,
    pub(super) due: Due,
    pub(super) grants: String,
    /// When it is to be looked at again, unix milliseconds.
    pub(super) settle_at: Option<i64>,
}

/// Whether there is something to tell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A new number, or the same once more.
    Now,
    /// As before.
    AsBefore,
    /// Nothing: the channel holds what it should.
    No,
}

/// An item is sold strictly when it says so itself, or else when one of the channels that sell it says so.
pub(super) fn is_strict<'a>(
    item: Option<bool>,
    mut policies: impl Iterator<Item = &'a ChannelPolicy>,
) -> bool {
    item.unwrap_or_else(|| policies.any(|policy| policy.selling.strict))
}

/// Whole units of a channel's orders.
pub(super) fn orders(uom: Uom, pending_steps: i64, taken_steps: i64, given_back_steps: i64) -> Orders {
    let unit = unit(uom);
    Orders { pending: pending_steps / unit, taken: taken_steps / unit, given_back: given_back_steps / unit }
}

impl Sheet {
    /// Reads the rows' grants, forgets what counts no more, and says what is to be written of each row.
    pub(super) fn refresh(&mut self, now_ms: i64, through: LedgerId) -> Result<Vec<Change>, String> {
        self.open(now_ms)?;
        let decisions = self.table().decide(now_ms);
        let change = |(row, decision): (&Row, Decision)| {
            let told = compute(&row.policy, self.uom, &self.stock, Some(decision.number()), through);
            let confirms = row.grants.wants_confirmation(now_ms);
            let due = match decision {
                Decision::Tell(_) if told.number != row.number || confirms || row.revision == 0 => Due::Now,
                Decision::Tell(_) | Decision::Wait(_) => Due::AsBefore,
                Decision::Keep(_) => Due::No,
            };
            Change {
                number: if let Decision::Wait(_) = decision { row.number } else { told.number },
                sites: told.sites,
                due,
                grants: grants_text(&row.grants),
                settle_at: row.grants.next_ms(now_ms, row.policy.selling.order_lag_ms),
            }
        };
        Ok(self.rows.iter().zip(decisions).map(change).collect())
    }

    /// A number is about to be sent. `None` = it must not be: there is less to give than when it was computed. Else what
    /// the channel is expected to hold, and its grants as they are to be kept.
    pub(super) fn depart(
        &mut self,
        now_ms: i64,
        (channel, sku): (&ChannelId, &Sku),
        (number, attempt): (i64, u32),
    ) -> Result<Option<(Option<i64>, String)>, String> {
        self.open(now_ms)?;
        let is_it = |row: &Row| row.policy.channel == *channel && row.sku == *sku;
        let Some(at) = self.rows.iter().position(is_it) else { return Ok(None) };
        let Some(expects) = self.table().permits(at, number, now_ms, attempt) else { return Ok(None) };
        let row = &mut self.rows[at];
        let orders = self.orders.get(channel).copied().unwrap_or_default();
        row.grants.send(row.policy.kind(), number, expects, orders);
        Ok(Some((expects, grants_text(&row.grants))))
    }

    /// What somebody may take who sells no such item under a number of ours: only what no channel may sell already.
    pub(super) fn escrow(
        &mut self,
        now_ms: i64,
        buyer: &ChannelId,
        item: &ItemId,
    ) -> Result<Vec<Escrowed>, String> {
        if self.rows.iter().any(|row| row.policy.channel == *buyer) {
            // It has sold what it was told.
            return Ok(Vec::new());
        }
        self.open(now_ms)?;
        let escrowed = |(sites, free): (Vec<SiteId>, i64)| {
            let free_steps = free.max(0).saturating_mul(unit(self.uom));
            Escrowed { item: item.clone(), sites, free_steps }
        };
        Ok(self.table().free().into_iter().map(escrowed).collect())
    }

    fn open(&mut self, now_ms: i64) -> Result<(), String> {
        for row in &mut self.rows {
            let orders = self.orders.get(&row.policy.channel).copied().unwrap_or_default();
            row.grants = selling_row::grants(&row.grants_text, row.published.as_ref(), orders)?;
        }
        let mut table = self.table();
        table.settle(now_ms);
        let settled: Vec<Grants> = table.offers.into_iter().map(|offer| offer.grants).collect();
        self.rows.iter_mut().zip(settled).for_each(|(row, grants)| row.grants = grants);
        Ok(())
    }

    fn table(&self) -> Table<'_> {
        let offers = self.rows.iter().map(|row| Offer { policy: &row.policy, grants: row.grants.clone() });
        Table { uom: self.uom, stock: &self.stock, orders: &self.orders, offers: offers.collect() }
    }
}

/// What was sent in shared mode, where nothing has to fit, is remembered as well: the item may be sold strictly tomorrow.
pub(super) fn depart_shared(
    policy: &ChannelPolicy,
    now_ms: i64,
    (text, published): (&str, Option<&Published>),
    orders: Orders,
    number: i64,
) -> Result<(Option<i64>, String), String> {
    let mut grants = selling_row::grants(text, published, orders)?;
    let kind = policy.kind();
    grants.settle(kind, now_ms, policy.selling.order_lag_ms, orders);
    let expects = match policy.selling.compare_and_set {
        true => grants.candidates(now_ms, orders).first().copied(),
        false => None,
    };
    grants.send(kind, number, expects, orders);
    Ok((expects, grants_text(&grants)))
}

/// How the number on its way ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Landing {
    Accepted,
    Lost,
    Refused,
}

/// Notes that. Returns the grants as they are to be kept, and when they are to be looked at again.
pub(super) fn land(
    policy: Option<&ChannelPolicy>,
    now_ms: i64,
    text: &str,
    orders: Orders,
    landing: Landing,
) -> Result<(String, Option<i64>), String> {
    let mut grants = selling_row::grants(text, None, orders)?;
    let kind = policy.map_or(Kind::OnHand, ChannelPolicy::kind);
    match landing {
        Landing::Accepted => grants.accept(kind, now_ms, orders),
        Landing::Lost => grants.lose(now_ms),
        Landing::Refused => grants.refuse(),
    }
    let next = policy.and_then(|policy| grants.next_ms(now_ms, policy.selling.order_lag_ms));
    Ok((grants_text(&grants), next))
}
