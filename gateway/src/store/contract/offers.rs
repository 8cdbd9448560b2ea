//! Cases about numbers on their way to a channel.

use super::{Bench, Make, channel, moved, policy, sku};
use crate::availability::{ChannelResult, ChannelUpdate};
use crate::dead_letter::DeadLetterId;
use crate::ingest::Replay;
use crate::store::OfferRow;

impl Bench {
    pub(super) fn updates(&mut self, max: usize) -> Vec<ChannelUpdate> {
        let now = self.tick();
        self.store.take_channel_updates(now, &channel(), max).unwrap()
    }

    fn report(&mut self, name: &str, result: ChannelResult) {
        let now = self.tick();
        self.store.record_channel_results(now, &channel(), &[(sku(name), result)]).unwrap();
    }

    fn accept(&mut self, updates: &[ChannelUpdate]) {
        for update in updates {
            self.report(update.sku.as_str(), ChannelResult::Accepted { revision: update.revision });
        }
    }

    /// Everything that is due now is told and accepted: the channel knows that there is nothing.
    pub(super) fn settle(&mut self) {
        loop {
            let updates = self.updates(100);
            if updates.is_empty() {
                return;
            }
            self.accept(&updates);
        }
    }

    pub(super) fn offer(&self, name: &str) -> OfferRow {
        self.store.availability(&channel(), &sku(name)).unwrap().unwrap()
    }
}

/// `sku=number` for each.
fn told(updates: &[ChannelUpdate]) -> Vec<String> {
    updates.iter().map(|update| format!("{}={}", update.sku, update.number)).collect()
}

pub(crate) fn a_number_reaches_the_channel(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5)]);
    let first = bench.updates(100);
    assert_eq!(
        (first.len(), told(&first).pop()),
        (9, Some("SHOP-1=5".into())),
        "the opening stock is told as well"
    );
    bench.accept(&first);
    bench.record(&[moved("SKU-1", 10, "supplier", "A-01"), moved("SKU-1", 3, "A-01", "customer")]);
    let updates = bench.updates(100);
    assert_eq!(told(&updates), ["SHOP-1=12"]);
    let sites: Vec<_> = updates[0].sites.iter().map(|site| (site.site.as_str(), site.number)).collect();
    assert_eq!(sites, [("HAM", 12), ("MUC", 0)]);
    assert_eq!((updates[0].published.as_ref().map(|p| p.number), updates[0].through.0), (Some(5), 3));
    bench.accept(&updates);
    let offer = bench.offer("SHOP-1");
    let published = offer.published.unwrap();
    assert_eq!(
        (published.number, published.revision, published.at_ms),
        (12, updates[0].revision, bench.now_ms)
    );
    assert_eq!((offer.availability.number, offer.unresolved, offer.attempts), (12, false, 0));
    assert_eq!(bench.updates(100), []);
}

pub(crate) fn numbers_are_coalesced(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.settle();
    for _ in 0..5 {
        bench.record(&[moved("SKU-1", 1, "supplier", "A-01")]);
    }
    let updates = bench.updates(100);
    assert_eq!(told(&updates), ["SHOP-1=5"]);
    assert_eq!(updates[0].revision, 2, "numbers that nobody was told need no revision");
}

pub(crate) fn the_scarcest_goes_first(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.settle();
    let stock = [("SKU-1", 50), ("SKU-2", 1), ("SKU-3", 7)];
    let events: Vec<_> = stock.iter().map(|(name, n)| moved(name, *n, "supplier", "A-01")).collect();
    bench.record(&events);
    assert_eq!(told(&bench.updates(2)), ["SHOP-2=1", "SHOP-3=7"]);
    assert_eq!(told(&bench.updates(2)), ["SHOP-1=50"]);
}

pub(crate) fn what_is_in_flight_is_not_sent_twice(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.settle();
    bench.record(&[moved("SKU-1", 5, "supplier", "A-01")]);
    let updates = bench.updates(100);
    assert_eq!(bench.updates(100), []);
    let later = bench.now_ms + 60_000;
    let retry = ChannelResult::Retry { revision: updates[0].revision, at_ms: later, message: "rate".into() };
    bench.report("SHOP-1", retry);
    assert_eq!(bench.updates(100), [], "not before its time");
    assert_eq!(bench.offer("SHOP-1").fault.as_deref(), Some("rate"));
    bench.now_ms = later;
    let again = bench.updates(100);
    assert_eq!((told(&again), again[0].attempts, again[0].unresolved), (vec!["SHOP-1=5".into()], 1, false));
}

pub(crate) fn an_unknown_outcome_is_kept(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.settle();
    bench.record(&[moved("SKU-1", 5, "supplier", "A-01")]);
    bench.updates(100);
    // The process ended between sending and hearing.
    let now = bench.tick();
    assert_eq!(bench.store.recover_publications(now, &channel()).unwrap(), 1);
    assert!(bench.offer("SHOP-1").unresolved);
    let again = bench.updates(100);
    assert_eq!((told(&again), again[0].unresolved), (vec!["SHOP-1=5".into()], true));
    let unknown =
        ChannelResult::Unknown { revision: again[0].revision, at_ms: 0, message: "timed out".into() };
    bench.report("SHOP-1", unknown);
    // Even when the number is the accepted one again, it is sent: the other one may have arrived meanwhile.
    bench.record(&[moved("SKU-1", 5, "A-01", "customer")]);
    let again = bench.updates(100);
    assert_eq!((told(&again), again[0].unresolved), (vec!["SHOP-1=0".into()], true));
    bench.accept(&again);
    let offer = bench.offer("SHOP-1");
    assert!(!offer.unresolved);
    assert_eq!(bench.updates(100), []);
    // Both that were never answered may still arrive.
    let adrift: Vec<_> = offer.adrift.iter().map(|adrift| adrift.sites[0].number).collect();
    assert_eq!(adrift, [5, 5]);
}

pub(crate) fn a_change_in_flight_stays_due(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.settle();
    bench.record(&[moved("SKU-1", 5, "supplier", "A-01")]);
    let first = bench.updates(100);
    bench.record(&[moved("SKU-1", 1, "A-01", "customer")]);
    assert_eq!(bench.updates(100), [], "one at a time, so that the older cannot arrive last");
    bench.accept(&first);
    assert_eq!(told(&bench.updates(100)), ["SHOP-1=4"]);
}

pub(crate) fn the_same_number_covers_newer_rows(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5)]);
    bench.settle();
    bench.record(&[moved("SKU-1", 2, "A-01", "A-02")]);
    assert_eq!(bench.updates(100), [], "a move within the site changes no number");
    assert_eq!(bench.offer("SHOP-1").published.unwrap().through.0, 2, "and the accepted one tells of it");
}

pub(crate) fn a_refused_number_is_a_dead_letter(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.settle();
    bench.record(&[moved("SKU-1", 5, "supplier", "A-01")]);
    let updates = bench.updates(100);
    let dead = ChannelResult::Dead { revision: updates[0].revision, reason: "no such variant".into() };
    bench.report("SHOP-1", dead.clone());
    assert_eq!(bench.letters(), ["publication open x1: no such variant"]);
    assert_eq!(bench.updates(100), []);
    let replayed = bench.ingest.replay(bench.store.as_mut(), 9, DeadLetterId(1), "anna").unwrap();
    assert_eq!(replayed, Replay::Requeued);
    assert_eq!(told(&bench.updates(100)), ["SHOP-1=5"]);
    bench.report("SHOP-1", dead);
    // The next change is tried by itself.
    bench.record(&[moved("SKU-1", 1, "supplier", "A-01")]);
    assert_eq!(told(&bench.updates(100)), ["SHOP-1=6"]);
}

pub(crate) fn a_policy_change_makes_offers_due(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5)]);
    bench.settle();
    bench.store.replace_channels(&[policy(0)]).unwrap();
    assert_eq!(bench.updates(100), []);
    bench.store.replace_channels(&[policy(2)]).unwrap();
    assert_eq!(told(&bench.updates(100)), ["SHOP-1=3"]);
    let terms = bench.offer("SHOP-1").availability.terms;
    let words: Vec<_> =
        terms.iter().map(|term| format!("{} {}", term.name, term.quantity.decimal())).collect();
    assert_eq!(words, ["on_hand 5", "on_hand 0", "safety_stock -2"]);
    bench.store.replace_channels(&[]).unwrap();
    assert_eq!(bench.store.availability(&channel(), &sku("SHOP-1")).unwrap(), None);
}

pub(crate) fn a_late_result_changes_nothing(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5)]);
    bench.settle();
    let before = bench.offer("SHOP-1");
    let revision = before.published.as_ref().unwrap().revision;
    bench.report("SHOP-1", ChannelResult::Dead { revision, reason: "late".into() });
    bench.report("SHOP-1", ChannelResult::Unknown { revision: 77, at_ms: 0, message: "late".into() });
    bench.report("SHOP-1", ChannelResult::Accepted { revision: 77 });
    assert_eq!(bench.offer("SHOP-1"), before);
    assert_eq!(bench.letters(), Vec::<String>::new());
}
