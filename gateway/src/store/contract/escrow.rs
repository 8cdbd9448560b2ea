//! Cases about items of which all channels together may sell no more than is there.

use stockwire_protocol::{ChannelId, Quantity, Reference};

use super::{Bench, Make, channel, item, moved, policy, site, sku};
use crate::availability::{Basis, ChannelPolicy, ChannelResult, ChannelUpdate, Selling};
use crate::catalogue::Listing;
use crate::escrow::UNANSWERED_MS;
use crate::reservation::{
    End, Firmness, Line, OrderKey, Part, Priority, Refused, Request, Reservation, Resolution, Step,
};

const LAG_MS: i64 = 60_000;

fn named(name: &str) -> ChannelId {
    ChannelId::new(name).unwrap()
}

fn sold(name: &str, basis: Basis, rank: i64) -> ChannelPolicy {
    let compare_and_set = name == "careful";
    let selling = Selling { order_lag_ms: LAG_MS, strict: true, rank, compare_and_set, ..Selling::default() };
    ChannelPolicy { channel: named(name), basis, selling, ..policy(0) }
}

impl Bench {
    /// SKU-1 is sold by `shop`, which subtracts its own orders, `market`, which counts down, and `careful`, which counts
    /// down and compares.
    fn strict(make: Make<'_>, pieces: i64) -> Self {
        let mut bench = Self::opened(make, &[("SKU-1", "A-01", pieces)]);
        let policies =
            [sold("shop", Basis::OnHand, 0), sold("market", Basis::Net, 1), sold("careful", Basis::Net, 2)];
        bench.store.replace_channels(&policies).unwrap();
        for name in ["shop", "market", "careful"] {
            let listing = Listing { sku: sku("X-1"), item: item("SKU-1"), reference: None };
            bench.store.replace_listings(&named(name), &[listing]).unwrap();
        }
        bench
    }

    fn take_one(&mut self, name: &str) -> Option<ChannelUpdate> {
        let now = self.tick();
        let mut updates = self.store.take_channel_updates(now, &named(name), 10).unwrap();
        assert!(updates.len() < 2, "{updates:?}");
        updates.pop()
    }

    fn answer(&mut self, name: &str, result: ChannelResult) {
        let now = self.tick();
        self.store.record_channel_results(now, &named(name), &[(sku("X-1"), result)]).unwrap();
    }

    /// Takes what is due and accepts it; the number, if any.
    fn tell(&mut self, name: &str) -> Option<i64> {
        let update = self.take_one(name)?;
        self.answer(name, ChannelResult::Accepted { revision: update.revision });
        Some(update.number)
    }

    fn tell_all(&mut self) -> [Option<i64>; 3] {
        ["shop", "market", "careful"].map(|name| self.tell(name))
    }

    fn lose(&mut self, name: &str) -> i64 {
        let update = self.take_one(name).unwrap();
        let message = "timed out".to_owned();
        self.answer(name, ChannelResult::Unknown { revision: update.revision, at_ms: 0, message });
        update.number
    }

    fn later(&mut self, ms: i64) {
        self.now_ms += ms;
    }

    fn order(&mut self, name: &str, number: &str, pieces: i64) -> Result<Vec<Reservation>, Refused> {
        let order = OrderKey { channel: named(name), order: Reference::new(number).unwrap() };
        let quantity = Quantity::pieces(pieces);
        let lines = vec![Line { line: 1, item: item("SKU-1"), site: site("HAM"), quantity }];
        let (firmness, priority) = (Firmness::Hard, Priority::ORDINARY);
        let now = self.tick();
        self.store.reserve(now, &Request { order, account: None, priority, firmness, lines }).unwrap()
    }

    fn end(&mut self, name: &str, number: &str, end: End) {
        let order = OrderKey { channel: named(name), order: Reference::new(number).unwrap() };
        let (key, now) = (format!("{end:?}"), self.tick());
        let resolution = Resolution { order, key, step: Step::End(end), part: Part::All };
        self.store.resolve(now, &resolution).unwrap().unwrap();
    }

    fn shown(&self, name: &str) -> (i64, Option<i64>) {
        let offer = self.store.availability(&named(name), &sku("X-1")).unwrap().unwrap();
        let escrow = offer.availability.terms.iter().find(|term| term.name == "escrow");
        (offer.availability.number, escrow.map(|term| term.quantity.steps))
    }
}

pub(crate) fn what_is_there_is_divided(make: Make<'_>) {
    let mut bench = Bench::strict(make, 7);
    assert_eq!(bench.tell_all(), [Some(3), Some(2), Some(2)]);
    assert_eq!(bench.tell_all(), [None; 3]);
    assert_eq!([bench.shown("shop"), bench.shown("market")], [(3, Some(-4)), (2, Some(-5))]);
    // More comes in: it is divided too. The market's number is written over, so the old one counts as well until its
    // orders must have come; there is no room for that yet.
    bench.record(&[moved("SKU-1", 5, "supplier", "A-01")]);
    assert_eq!(bench.tell_all(), [Some(4), Some(4), None]);
    bench.later(LAG_MS);
    assert_eq!(bench.tell_all(), [None, None, Some(4)]);
    bench.prove();
}

pub(crate) fn an_order_counts_against_what_its_channel_was_told(make: Make<'_>) {
    let mut bench = Bench::strict(make, 6);
    assert_eq!(bench.tell_all(), [Some(2), Some(2), Some(2)]);
    // It counted down by itself: to tell it again would let it sell the piece a second time.
    bench.order("market", "M-1", 1).unwrap();
    assert_eq!((bench.tell_all(), bench.shown("market").0), ([None; 3], 1));
    // It counts its own order itself.
    bench.order("shop", "S-1", 1).unwrap();
    assert_eq!((bench.tell_all(), bench.shown("shop").0), ([None; 3], 2));
    // Nothing of it is free for others. A cancelled order is: the channel has it back.
    bench.end("market", "M-1", End::Voided);
    assert_eq!((bench.tell_all(), bench.shown("market").0), ([None; 3], 2));
    // What shipped is subtracted at both.
    bench.record(&[moved("SKU-1", 1, "A-01", "customer")]);
    bench.end("shop", "S-1", End::Posted);
    bench.tell_all();
    assert_eq!(bench.shown("shop").0, 1);
}

pub(crate) fn a_lost_number_stays_in_escrow(make: Make<'_>) {
    let mut bench = Bench::strict(make, 3);
    assert_eq!(bench.tell_all(), [Some(1), Some(1), Some(1)]);
    bench.record(&[moved("SKU-1", 3, "supplier", "A-01")]);
    // The shop may hold 2 now, or still 1; nobody else gets the piece meanwhile.
    assert_eq!(bench.lose("shop"), 2);
    bench.record(&[moved("SKU-1", 1, "A-01", "loss")]);
    assert_eq!(
        bench.take_one("market").map(|update| update.number),
        None,
        "there is no room to write over it"
    );
    let again = bench.take_one("shop").unwrap();
    assert!(again.unresolved);
    bench.answer("shop", ChannelResult::Accepted { revision: again.revision });
    // The lost one may still come, over the accepted one. So the shop is told once more when it cannot any more.
    bench.later(UNANSWERED_MS - 30_000);
    assert_eq!(bench.take_one("shop"), None);
    bench.later(60_000);
    assert_eq!(bench.tell("shop"), Some(again.number));
    assert_eq!(bench.take_one("shop"), None);
}

pub(crate) fn a_lower_number_frees_after_the_lag_window(make: Make<'_>) {
    let mut bench = Bench::strict(make, 9);
    assert_eq!(bench.tell_all(), [Some(3), Some(3), Some(3)]);
    // Half of the stock is taken by others: all must come down, and nobody may go up for it.
    let mut policies =
        vec![sold("shop", Basis::OnHand, 0), sold("market", Basis::Net, 1), sold("careful", Basis::Net, 2)];
    policies[0].cap = Some(0);
    bench.store.replace_channels(&policies).unwrap();
    assert_eq!(bench.tell("shop"), Some(0));
    // An order that was placed before the shop took the lower number may be on its way.
    assert_eq!([bench.tell("market"), bench.tell("careful")], [None, None]);
    bench.order("shop", "S-1", 1).unwrap();
    bench.later(LAG_MS);
    // 8 are left; the market is written over only where old and new fit together.
    assert_eq!(bench.tell("careful"), Some(4));
    assert_eq!(bench.tell("market"), None);
    // One with compare-and-set frees at once.
    policies[2].cap = Some(1);
    bench.store.replace_channels(&policies).unwrap();
    let update = bench.take_one("careful").unwrap();
    assert_eq!((update.number, update.expects), (1, Some(4)));
    bench.answer("careful", ChannelResult::Accepted { revision: update.revision });
    assert_eq!(bench.tell("market"), Some(4));
}

pub(crate) fn what_does_not_fit_any_more_is_not_sent(make: Make<'_>) {
    let mut bench = Bench::strict(make, 3);
    // The numbers are computed for all at once, and sent one after the other.
    assert_eq!(bench.tell("shop"), Some(1));
    bench.order("shop", "S-1", 1).unwrap();
    bench.order("house", "H-1", 2).unwrap();
    assert_eq!([bench.tell("market"), bench.tell("careful")], [Some(0), Some(0)]);
}

pub(crate) fn others_take_only_what_no_channel_may_sell(make: Make<'_>) {
    let mut bench = Bench::strict(make, 8);
    let mut policies =
        [sold("shop", Basis::OnHand, 0), sold("market", Basis::Net, 1), sold("careful", Basis::Net, 2)];
    policies.iter_mut().for_each(|policy| policy.cap = Some(2));
    bench.store.replace_channels(&policies).unwrap();
    assert_eq!(bench.tell_all(), [Some(2), Some(2), Some(2)]);
    let refused = bench.order("house", "H-1", 3).unwrap_err();
    assert_eq!(refused.to_string(), "not enough to promise: SKU-1 at HAM: 3 wanted, 2 available");
    bench.order("house", "H-1", 2).unwrap();
    assert!(matches!(bench.order("house", "H-2", 1), Err(Refused::Short(_))));
    // The channel's own orders are what the number was for.
    bench.order("market", "M-1", 2).unwrap();
    bench.prove();
}

pub(crate) fn an_item_says_whether_it_is_sold_strictly(make: Make<'_>) {
    let mut bench = Bench::strict(make, 6);
    let now = bench.tick();
    assert!(bench.store.put_strict(now, &item("SKU-1"), Some(false)).unwrap());
    assert!(!bench.store.put_strict(now, &item("SKU-1"), Some(false)).unwrap());
    assert_eq!(bench.tell_all(), [Some(6), Some(6), Some(6)]);
    assert_eq!(bench.shown("shop"), (6, None));
    // What they were told is known when it is sold strictly from now on. The market is emptied before it is filled.
    assert!(bench.store.put_strict(now, &item("SKU-1"), None).unwrap());
    assert_eq!(bench.tell_all(), [Some(2), Some(0), Some(2)]);
    bench.later(LAG_MS + UNANSWERED_MS);
    assert_eq!(bench.tell_all(), [None, Some(2), None]);
    assert_eq!(bench.store.availability(&channel(), &sku("X-1")).unwrap().unwrap().availability.number, 2);
}
