//! How much a channel may sell, and why.
//!
//! ```text
//!   pool   = sum over its sites of max(0, on hand - reserved - kept for accounts)      in whole units
//!   number = min(cap, share of the pool - safety stock - threshold)
//!            0 when pool - safety stock - threshold is not above `end_when`; in strict mode what is in escrow for it
//! ```
//! A channel that takes its own open orders from the number by itself is told a number with these in it, those that have
//! left and that it does not know of included.
//! Each step is kept as a [`Term`], so that "why does the shop show 7?" has an answer.

use stockwire_protocol::{ChannelId, ItemId, Quantity, SiteId, Sku, Uom};

use crate::ledger::LedgerId;
use crate::store::Published;

/// How one channel is served; from the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelPolicy {
    /// Whose.
    pub channel: ChannelId,
    /// Sites whose stock it sells, the preferred first. Holdbacks are taken from the last first.
    pub sites: Vec<SiteId>,
    /// Whole units held back from every channel.
    pub safety_stock: i64,
    /// Whole units held back from this channel.
    pub out_of_stock_threshold: i64,
    /// The most it is ever told, in whole units; `None` = no cap.
    pub cap: Option<i64>,
    /// Which number it must be given; its connector declares it.
    pub basis: Basis,
    /// How it shares with others.
    pub selling: Selling,
}

/// How a channel shares stock with others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selling {
    /// So many per cent of what is there are offered to it; 1 to 100. In strict mode also its weight beside others.
    pub share_percent: i64,
    /// It is told 0 when no more than this is left, in whole units; 0 = it may sell the last one.
    pub end_when: i64,
    /// An order that was placed there is reserved here within this time, milliseconds.
    pub order_lag_ms: i64,
    /// Its items are sold strictly: what all channels may sell together is there. See [`crate::escrow`].
    pub strict: bool,
    /// It takes a new number only where it holds what we think; its connector declares it.
    pub compare_and_set: bool,
    /// Its place in the configuration: those that stand first get what cannot be divided.
    pub rank: i64,
}

impl Default for Selling {
    fn default() -> Self {
        Self {
            share_percent: 100,
            end_when: 0,
            order_lag_ms: ORDER_LAG_MS,
            strict: false,
            compare_and_set: false,
            rank: 0,
        }
    }
}

/// The lag window unless the configuration says otherwise: five minutes, several rounds of a poller that looks every
/// minute and fails once or twice.
pub const ORDER_LAG_MS: i64 = 5 * 60 * 1_000;

/// Which number a channel must be given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Basis {
    /// It subtracts what it has sold and not shipped by itself (Vendure): give it what is there for it, its own open
    /// orders included.
    OnHand,
    /// It sells exactly what it is given (most marketplaces): give it what is left after open orders.
    Net,
}

/// Stock of an item at one site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteStock {
    /// Where.
    pub site: SiteId,
    /// Ordinary stock at physical places, in steps of the item's unit; may be below zero.
    pub on_hand_steps: i64,
    /// Steps held for orders, by the channel where they were placed; each more than 0.
    pub reserved_steps: Vec<(ChannelId, i64)>,
    /// Steps kept for accounts and not used by them yet; 0 or more.
    pub kept_steps: i64,
    /// Steps that have left their shelves for orders which the channel still counts as not shipped, by channel; each
    /// more than 0.
    pub out_steps: Vec<(ChannelId, i64)>,
}

impl SiteStock {
    /// What may still be promised to anybody, in steps; below zero when more was promised than lies there.
    pub fn promisable_steps(&self) -> i64 {
        let reserved = self.reserved_steps.iter().fold(0_i64, |sum, (_, steps)| sum.saturating_add(*steps));
        self.on_hand_steps.saturating_sub(reserved).saturating_sub(self.kept_steps)
    }
}

/// The number for a channel, and how it came about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Availability {
    /// Whole units; 0 or more.
    pub number: i64,
    /// The same, per site of the policy, in its order; sums to `number`.
    pub sites: Vec<SiteNumber>,
    /// The sum, in reading order; the last partial sum is `number`.
    pub terms: Vec<Term>,
    /// Every ledger row up to here is in it.
    pub through: LedgerId,
}

/// One site's share of a number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SiteNumber {
    /// Where.
    pub site: SiteId,
    /// Whole units; 0 or more.
    pub number: i64,
}

/// One step of the sum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Term {
    /// What it is: `on_hand`, `reserved`, `out_for_its_orders`, `kept_for_accounts`, `negative_ignored`, `fraction`, `share`, `safety_stock`,
    /// `out_of_stock_threshold`, `not_below_zero`, `end_when`, `cap`, `escrow`.
    pub name: &'static str,
    /// At which site, when it is one site's.
    pub site: Option<SiteId>,
    /// What it adds; exact, in the item's unit.
    pub quantity: Quantity,
}

/// A number to tell a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelUpdate {
    /// The channel's code.
    pub sku: Sku,
    /// The channel's key for it, as its connector gave it.
    pub reference: Option<String>,
    /// What it is.
    pub item: ItemId,
    /// Grows with each number of this SKU; an older never overwrites a newer.
    pub revision: u64,
    /// Whole units; 0 or more.
    pub number: i64,
    /// The same per site, for channels that keep stock by location.
    pub sites: Vec<SiteNumber>,
    /// Every ledger row up to here is in it.
    pub through: LedgerId,
    /// Failed attempts so far; 0 = first.
    pub attempts: u32,
    /// An earlier number was sent and nobody knows whether it arrived: numbers are absolute, so sending this one
    /// settles it, but its answer must be read back.
    pub unresolved: bool,
    /// What the channel has accepted before.
    pub published: Option<Published>,
    /// A channel with compare-and-set must hold this, or take nothing; `None` = whatever it holds.
    pub expects: Option<i64>,
}

/// What became of an update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChannelResult {
    /// The channel holds the number.
    Accepted {
        /// Of the update.
        revision: u64,
    },
    /// It does not, and a later attempt may go through.
    Retry {
        /// Of the update.
        revision: u64,
        /// Not before, unix milliseconds.
        at_ms: i64,
        /// For people.
        message: String,
    },
    /// Nobody knows.
    Unknown {
        /// Of the update.
        revision: u64,
        /// Not before, unix milliseconds.
        at_ms: i64,
        /// For people.
        message: String,
    },
    /// It never will: a dead letter. The next change of the number is tried again by itself.
    Dead {
        /// Of the update.
        revision: u64,
        /// For people.
        reason: String,
    },
}

/// The number for one channel, from what lies at its sites. `escrow` is what it may be told in strict mode.
///
/// Each site counts in whole units, because half a unit here and half there is nobody's parcel; a site below zero
/// counts as empty and takes nothing from the others. Holdbacks and the cap are taken from the last site first, so
/// that a channel which keeps stock by location is told numbers that sum to the same.
pub fn compute(
    policy: &ChannelPolicy,
    uom: Uom,
    stock: &[SiteStock],
    escrow: Option<i64>,
    through: LedgerId,
) -> Availability {
    let Draft { mut terms, mut sites, pool, number, .. } = draft(policy, uom, stock);
    let told = escrow.map_or(number, |escrow| escrow.clamp(0, pool));
    if told != number {
        let steps = (told - number).saturating_mul(unit(uom));
        terms.push(Term { name: "escrow", site: None, quantity: Quantity { steps, uom } });
    }
    let mut held_back = pool - told;
    for site in sites.iter_mut().rev() {
        let taken = site.number.min(held_back);
        site.number -= taken;
        held_back -= taken;
    }
    Availability { number: told, sites, terms, through }
}

/// How many whole units a channel should be able to sell beyond all orders that we know, before escrow; 0 or more.
pub fn sellable(policy: &ChannelPolicy, uom: Uom, stock: &[SiteStock]) -> i64 {
    let draft = draft(policy, uom, stock);
    draft.number.saturating_sub(draft.own).max(0)
}

/// What some sites together may still promise, in whole units.
pub fn pool<'a>(uom: Uom, stock: impl Iterator<Item = &'a SiteStock>) -> i64 {
    stock.fold(0_i64, |sum, site| sum.saturating_add(site.promisable_steps().max(0) / unit(uom)))
}

/// Steps in a whole unit.
pub fn unit(uom: Uom) -> i64 {
    10_i64.pow(uom.decimals())
}

struct Draft {
    terms: Vec<Term>,
    /// What each site has for it, before anything is held back.
    sites: Vec<SiteNumber>,
    /// Their sum.
    pool: i64,
    /// Units of it that the channel itself takes away, for its own open orders.
    own: i64,
    /// What it would be told.
    number: i64,
}

fn draft(policy: &ChannelPolicy, uom: Uom, stock: &[SiteStock]) -> Draft {
    let unit = unit(uom);
    let mut terms = Vec::new();
    let mut term = |name, site: Option<&SiteId>, steps: i64| {
        if steps != 0 || name == "on_hand" {
            terms.push(Term { name, site: site.cloned(), quantity: Quantity { steps, uom } });
        }
    };
    let mut sites = Vec::with_capacity(policy.sites.len());
    let mut free = 0_i64;
    for site in &policy.sites {
        let found = stock.iter().find(|stock| stock.site == *site);
        let on_hand = found.map_or(0, |stock| stock.on_hand_steps);
        term("on_hand", Some(site), on_hand);
        let reserved = found.map_or(0, |stock| reserved_from(policy, &stock.reserved_steps));
        term("reserved", Some(site), -reserved);
        let kept = found.map_or(0, |stock| stock.kept_steps);
        term("kept_for_accounts", Some(site), -kept);
        let promisable = on_hand.saturating_sub(reserved).saturating_sub(kept);
        term("negative_ignored", Some(site), promisable.min(0).saturating_neg());
        // A channel that takes its own open orders from the number needs those goods in it until it knows they have left.
        let out = found.map_or(0, |stock| out_of(policy, &stock.out_steps));
        term("out_for_its_orders", Some(site), out);
        let left = promisable.max(0).saturating_add(out);
        term("fraction", Some(site), -(left % unit));
        sites.push(SiteNumber { site: site.clone(), number: left / unit });
        free = free.saturating_add(pool(uom, found.into_iter()));
    }
    let pool = sites.iter().fold(0_i64, |sum, site| sum.saturating_add(site.number));
    let steps = |whole: i64| whole.saturating_mul(unit);
    // Its own open orders are in the number of a channel that subtracts them itself, whatever is held back.
    let own = pool.saturating_sub(free).max(0);
    let Selling { share_percent, end_when, .. } = policy.selling;
    let share = i128::from(free) * i128::from(share_percent.clamp(0, 100)) / 100;
    let share = i64::try_from(share).unwrap_or(free);
    term("share", None, -steps(free - share));
    term("safety_stock", None, -steps(policy.safety_stock));
    term("out_of_stock_threshold", None, -steps(policy.out_of_stock_threshold));
    let held_back = policy.safety_stock.saturating_add(policy.out_of_stock_threshold);
    let left = share.saturating_sub(held_back);
    term("not_below_zero", None, steps(left.min(0)).saturating_neg());
    let mut left = left.max(0);
    if end_when > 0 && free.saturating_sub(held_back) <= end_when {
        term("end_when", None, -steps(left));
        left = 0;
    }
    let uncapped = own.saturating_add(left);
    let number = policy.cap.map_or(uncapped, |cap| uncapped.min(cap.max(0)));
    term("cap", None, -steps(uncapped - number));
    Draft { terms, sites, pool, own, number }
}

/// What is held from a channel's point of view: one that subtracts its own open orders must not lose them twice.
fn reserved_from(policy: &ChannelPolicy, reserved: &[(ChannelId, i64)]) -> i64 {
    let counts = |channel: &ChannelId| policy.basis == Basis::Net || *channel != policy.channel;
    let counted = reserved.iter().filter(|(channel, _)| counts(channel));
    counted.fold(0_i64, |sum, (_, steps)| sum.saturating_add(*steps))
}

fn out_of(policy: &ChannelPolicy, out: &[(ChannelId, i64)]) -> i64 {
    let own = out.iter().filter(|(channel, _)| policy.basis == Basis::OnHand && *channel == policy.channel);
    own.fold(0_i64, |sum, (_, steps)| sum.saturating_add(*steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(name: &str) -> SiteId {
        SiteId::new(name).unwrap()
    }

    fn policy(safety_stock: i64, out_of_stock_threshold: i64, cap: Option<i64>) -> ChannelPolicy {
        let sites = vec![site("HAM"), site("MUC")];
        let channel = ChannelId::new("shop").unwrap();
        let (basis, selling) = (Basis::OnHand, Selling::default());
        ChannelPolicy { channel, sites, safety_stock, out_of_stock_threshold, cap, basis, selling }
    }

    /// Stock at HAM and MUC, holdbacks and cap; the number, its split, and the sum in words.
    fn check(uom: Uom, stock: [i64; 2], policy: ChannelPolicy, expected: (i64, [i64; 2], &str)) {
        let stock = [("HAM", stock[0]), ("MUC", stock[1])];
        let stock = stock.map(|(name, on_hand_steps)| plain(name, on_hand_steps));
        check_stock(uom, &stock, &policy, expected);
    }

    fn plain(name: &str, on_hand_steps: i64) -> SiteStock {
        SiteStock {
            site: site(name),
            on_hand_steps,
            reserved_steps: Vec::new(),
            kept_steps: 0,
            out_steps: Vec::new(),
        }
    }

    fn check_stock(uom: Uom, stock: &[SiteStock], policy: &ChannelPolicy, expected: (i64, [i64; 2], &str)) {
        let got = compute(policy, uom, stock, None, LedgerId(9));
        let split: Vec<i64> = got.sites.iter().map(|site| site.number).collect();
        let words: Vec<String> =
            got.terms.iter().map(|t| format!("{} {}", t.name, t.quantity.decimal())).collect();
        assert_eq!(
            (got.number, split.as_slice(), words.join(", ").as_str()),
            (expected.0, expected.1.as_slice(), expected.2)
        );
        let sum: i64 = got.terms.iter().map(|term| term.quantity.steps).sum();
        assert_eq!(sum, got.number * 10_i64.pow(uom.decimals()), "the terms add up to the number");
        assert_eq!(split.iter().sum::<i64>(), got.number, "the sites add up to the number");
    }

    #[test]
    fn every_number_has_its_reasons() {
        let p = policy;
        check(Uom::Piece, [5, 2], p(0, 0, None), (7, [5, 2], "on_hand 5, on_hand 2"));
        check(
            Uom::Piece,
            [5, 2],
            p(1, 2, None),
            (4, [4, 0], "on_hand 5, on_hand 2, safety_stock -1, out_of_stock_threshold -2"),
        );
        check(
            Uom::Piece,
            [1, 1],
            p(5, 0, None),
            (0, [0, 0], "on_hand 1, on_hand 1, safety_stock -5, not_below_zero 3"),
        );
        check(Uom::Piece, [50, 2], p(0, 0, Some(10)), (10, [10, 0], "on_hand 50, on_hand 2, cap -42"));
        check(Uom::Piece, [5, -3], p(0, 0, None), (5, [5, 0], "on_hand 5, on_hand -3, negative_ignored 3"));
        check(
            Uom::Kilogram,
            [1_500_000, 500_000],
            p(0, 0, None),
            (1, [1, 0], "on_hand 1.5, fraction -0.5, on_hand 0.5, fraction -0.5"),
        );
        check(Uom::Piece, [0, 0], p(0, 0, Some(0)), (0, [0, 0], "on_hand 0, on_hand 0"));
    }

    #[test]
    fn a_channel_has_its_share_and_an_end() {
        let sold = |share_percent, end_when| {
            let selling = Selling { share_percent, end_when, ..Selling::default() };
            ChannelPolicy { selling, ..policy(1, 1, Some(5)) }
        };
        let words = "on_hand 9, on_hand 2, share -6, safety_stock -1, out_of_stock_threshold -1";
        check(Uom::Piece, [9, 2], sold(50, 0), (3, [3, 0], words));
        check(Uom::Piece, [9, 2], sold(50, 8), (3, [3, 0], words));
        check(Uom::Piece, [9, 2], sold(50, 9), (0, [0, 0], &format!("{words}, end_when -3")));
        let words = "on_hand 9, on_hand 2, safety_stock -1, out_of_stock_threshold -1, cap -4";
        check(Uom::Piece, [9, 2], sold(100, 8), (5, [5, 0], words));
        // Its own open orders are not shared out a second time.
        let shop = ChannelId::new("shop").unwrap();
        let stock = [SiteStock { reserved_steps: vec![(shop, 4)], ..plain("HAM", 10) }, plain("MUC", 0)];
        let mut half = sold(50, 0);
        (half.safety_stock, half.out_of_stock_threshold, half.cap) = (0, 0, None);
        check_stock(Uom::Piece, &stock, &half, (7, [7, 0], "on_hand 10, on_hand 0, share -3"));
        assert_eq!(sellable(&half, Uom::Piece, &stock), 3);
        half.basis = Basis::Net;
        let words = "on_hand 10, reserved -4, on_hand 0, share -3";
        check_stock(Uom::Piece, &stock, &half, (3, [3, 0], words));
        assert_eq!(sellable(&half, Uom::Piece, &stock), 3);
    }

    #[test]
    fn what_is_in_escrow_for_it_is_told() {
        let told = |escrow| {
            let got = compute(
                &policy(1, 0, None),
                Uom::Piece,
                &[plain("HAM", 5), plain("MUC", 2)],
                Some(escrow),
                LedgerId(9),
            );
            let last = got.terms.last().map(|term| (term.name, term.quantity.steps));
            (got.number, got.sites.iter().map(|site| site.number).collect::<Vec<_>>(), last)
        };
        assert_eq!(told(2), (2, vec![2, 0], Some(("escrow", -4))));
        assert_eq!(told(6), (6, vec![5, 1], Some(("safety_stock", -1))));
        assert_eq!(told(99), (7, vec![5, 2], Some(("escrow", 1))), "never more than lies there");
    }

    #[test]
    fn what_has_left_is_in_the_number_until_the_channel_knows() {
        let shop = ChannelId::new("shop").unwrap();
        // Three were there and one was picked for the shop's order: it subtracts that one, and must still sell two.
        let ham = SiteStock { out_steps: vec![(shop, 1)], ..plain("HAM", 2) };
        let stock = [ham, plain("MUC", 0)];
        let mut policy = policy(0, 0, None);
        check_stock(Uom::Piece, &stock, &policy, (3, [3, 0], "on_hand 2, out_for_its_orders 1, on_hand 0"));
        assert_eq!(sellable(&policy, Uom::Piece, &stock), 2);
        policy.basis = Basis::Net;
        check_stock(Uom::Piece, &stock, &policy, (2, [2, 0], "on_hand 2, on_hand 0"));
    }

    #[test]
    fn what_is_promised_is_not_sold_again() {
        let channel = |name: &str| ChannelId::new(name).unwrap();
        let reserved_steps = vec![(channel("market"), 2), (channel("shop"), 3)];
        let ham = SiteStock { reserved_steps, kept_steps: 1, ..plain("HAM", 10) };
        let stock = [ham, plain("MUC", 0)];
        // The shop counts its own three open orders itself; a market is told what is left after all of them.
        let mut policy = policy(0, 0, None);
        let words = "on_hand 10, reserved -2, kept_for_accounts -1, on_hand 0";
        check_stock(Uom::Piece, &stock, &policy, (7, [7, 0], words));
        policy.basis = Basis::Net;
        let words = "on_hand 10, reserved -5, kept_for_accounts -1, on_hand 0";
        check_stock(Uom::Piece, &stock, &policy, (4, [4, 0], words));
        // More is promised here than lies here: that takes nothing from the other site.
        let short = SiteStock { kept_steps: 9, ..plain("HAM", 5) };
        let words = "on_hand 5, kept_for_accounts -9, negative_ignored 4, on_hand 2";
        check_stock(Uom::Piece, &[short, plain("MUC", 2)], &policy, (2, [0, 2], words));
    }
}
