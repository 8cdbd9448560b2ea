//! How a channel sells, and what it was sent, as both stores keep them: the same text, because one is copied into the
//! other.

use serde::{Deserialize, Serialize};

use crate::availability::{ORDER_LAG_MS, Selling};
use crate::escrow::{Grant, GrantState, Grants, Orders};
use crate::store::Published;

/// A channel's way of selling. What a row of an older build lacks is as it was then.
#[derive(Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SellingRow {
    share_percent: i64,
    end_when: i64,
    order_lag_ms: i64,
    strict: bool,
    compare_and_set: bool,
    rank: i64,
}

impl Default for SellingRow {
    fn default() -> Self {
        Self::of(&Selling { order_lag_ms: ORDER_LAG_MS, ..Selling::default() })
    }
}

impl SellingRow {
    pub(super) fn of(selling: &Selling) -> Self {
        let Selling { share_percent, end_when, order_lag_ms, strict, compare_and_set, rank } = *selling;
        Self { share_percent, end_when, order_lag_ms, strict, compare_and_set, rank }
    }

    pub(super) fn read(self) -> Selling {
        let Self { share_percent, end_when, order_lag_ms, strict, compare_and_set, rank } = self;
        Selling { share_percent, end_when, order_lag_ms, strict, compare_and_set, rank }
    }
}

/// Numbers that a channel was sent.
#[derive(Serialize, Deserialize)]
pub(super) struct GrantsRow {
    base: i64,
    list: Vec<GrantRow>,
}

/// Number, what was expected, orders pending and taken then, state, since when, orders given back then.
type GrantRow = (i64, Option<i64>, i64, i64, char, i64, i64);

impl GrantsRow {
    pub(super) fn of(grants: &Grants) -> Self {
        let row = |grant: &Grant| {
            let (state, since_ms) = match grant.state {
                GrantState::Flying => ('f', 0),
                GrantState::Unanswered { since_ms } => ('u', since_ms),
                GrantState::Held { since_ms } => ('h', since_ms),
            };
            let Orders { pending, taken, given_back } = grant.orders_at;
            (grant.number, grant.expects, pending, taken, state, since_ms, given_back)
        };
        Self { base: grants.base, list: grants.list.iter().map(row).collect() }
    }

    fn read(self) -> Result<Grants, String> {
        let grant = |(number, expects, pending, taken, state, since_ms, given_back)| {
            let state = match state {
                'f' => GrantState::Flying,
                'u' => GrantState::Unanswered { since_ms },
                'h' => GrantState::Held { since_ms },
                other => return Err(format!("no state {other:?} of a number sent")),
            };
            Ok(Grant { number, expects, orders_at: Orders { pending, taken, given_back }, state })
        };
        let list = self.list.into_iter().map(grant).collect::<Result<_, _>>()?;
        Ok(Grants { list, base: self.base })
    }
}

/// Reads what a channel was sent. A build that did not remember that has left what the channel accepted last.
pub(super) fn grants(text: &str, published: Option<&Published>, orders: Orders) -> Result<Grants, String> {
    if text.is_empty() {
        let held = |published: &Published| Grant {
            number: published.number,
            expects: None,
            orders_at: orders,
            state: GrantState::Held { since_ms: published.at_ms },
        };
        return Ok(Grants { list: published.map(held).into_iter().collect(), base: orders.taken });
    }
    serde_json::from_str::<GrantsRow>(text).map_err(|fault| fault.to_string())?.read()
}

/// As it is kept.
pub(super) fn grants_text(grants: &Grants) -> String {
    // Numbers and letters: there is nothing that JSON could not say.
    serde_json::to_string(&GrantsRow::of(grants)).unwrap_or_default()
}
