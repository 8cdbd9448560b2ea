//! Cases about work that one gateway at a time may do.

use std::time::Duration;

use super::{Bench, Make, channel, erp, moved, policy, sku, snapshot};
use crate::availability::ChannelResult;
use crate::catalogue::ErpId;
use crate::lease::{Grant, LENGTH, Taken, under};
use crate::posting::{BatchResult, BatchState};
use crate::store::{Store, StoreError};

const WORK: &str = "erp/erp";

impl Bench {
    fn lease(&mut self, holder: &str, length: Duration) -> Taken {
        self.store.take_lease(self.now_ms, WORK, holder, length).unwrap()
    }

    #[track_caller]
    fn granted(&mut self, holder: &str, length: Duration) -> Grant {
        match self.lease(holder, length) {
            Taken::Granted(grant) => grant,
            Taken::HeldBy(other) => panic!("{other} has it"),
        }
    }

    fn renewed(&mut self, grant: &Grant) -> bool {
        self.store.renew_lease(self.now_ms, grant, LENGTH).unwrap()
    }
}

fn held_by(holder: &str) -> Taken {
    Taken::HeldBy(holder.to_owned())
}

pub(crate) fn a_lease_has_one_holder_until_it_gives_it_back(make: Make<'_>) {
    let mut bench = Bench::empty(make);
    let a = bench.granted("a", LENGTH);
    assert_eq!(a.name, WORK);
    assert_eq!(bench.lease("b", LENGTH), held_by("a"));
    assert!(bench.renewed(&a));
    // Other work is nobody's business here.
    assert!(matches!(
        bench.store.take_lease(bench.now_ms, "channel/shop", "b", LENGTH),
        Ok(Taken::Granted(_))
    ));

    bench.store.give_lease_back(&a).unwrap();
    let b = bench.granted("b", LENGTH);
    assert!(b.token > a.token, "{a:?} {b:?}");
    assert!(!bench.renewed(&a));
    // Late words of the former holder change nothing.
    bench.store.give_lease_back(&a).unwrap();
    assert_eq!(bench.lease("c", LENGTH), held_by("b"));
    assert!(bench.renewed(&b));
}

pub(crate) fn a_lease_that_lapses_is_taken_by_another(make: Make<'_>) {
    let mut bench = Bench::empty(make);
    let a = bench.granted("a", Duration::ZERO);
    // Nobody wanted it meanwhile: it goes on.
    assert!(bench.renewed(&a));
    assert_eq!(bench.lease("b", LENGTH), held_by("a"));
    assert!(bench.store.renew_lease(bench.now_ms, &a, Duration::ZERO).unwrap());
    let b = bench.granted("b", LENGTH);
    assert!(b.token > a.token);
    assert!(!bench.renewed(&a));
}

pub(crate) fn a_new_life_takes_its_own_lease_over_at_once(make: Make<'_>) {
    let mut bench = Bench::empty(make);
    let before = bench.granted("a", LENGTH);
    let after = bench.granted("a", LENGTH);
    assert!(after.token > before.token);
    assert!(!bench.renewed(&before) && bench.renewed(&after));
}

pub(crate) fn nothing_is_written_under_a_lost_lease(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5)]);
    bench.record(&[moved("SKU-1", 1, "A-01", "customer"), moved("SKU-1", 2, "supplier", "A-01")]);
    let a = bench.granted("a", Duration::ZERO);
    let now = bench.tick();
    let held = under(&a, bench.store.as_mut(), |store| {
        store.check_fence()?;
        store.take_posting_batch(now, &erp(), 1)
    });
    let batch = held.unwrap().expect("there is work");
    let b = bench.granted("b", LENGTH);

    type Write<'a> = Box<dyn Fn(&mut dyn Store) -> Result<(), StoreError> + 'a>;
    let done = BatchResult::Done { document: "1".into() };
    let (reference, empty) = (batch.reference.as_str(), crate::catalogue::Snapshot::default());
    let writes: Vec<(&str, Write<'_>)> = vec![
        ("check_fence", Box::new(|store| store.check_fence())),
        ("replace_catalogue", Box::new(|store| store.replace_catalogue(&erp(), &empty).map(drop))),
        ("open_books", Box::new(|store| store.open_books(now, &erp(), &[]).map(drop))),
        ("take_posting_batch", Box::new(|store| store.take_posting_batch(now, &erp(), 1).map(drop))),
        ("record_batch_result", Box::new(|store| store.record_batch_result(now, reference, &done))),
        ("recover_postings", Box::new(|store| store.recover_postings(now, &erp()).map(drop))),
        ("replace_listings", Box::new(|store| store.replace_listings(&channel(), &[]).map(drop))),
        ("replace_channels", Box::new(|store| store.replace_channels(&[policy(3)]))),
        ("take_channel_updates", Box::new(|store| store.take_channel_updates(now, &channel(), 9).map(drop))),
        (
            "record_channel_results",
            Box::new(|store| {
                let result = ChannelResult::Accepted { revision: 1 };
                store.record_channel_results(now, &channel(), &[(sku("SHOP-1"), result)])
            }),
        ),
        ("recover_publications", Box::new(|store| store.recover_publications(now, &channel()).map(drop))),
        ("create_api_key", Box::new(|store| store.create_api_key(now, "late", &[7; 32]))),
    ];
    let before =
        format!("{:?} {:?}", bench.store.gauges().unwrap(), bench.store.offers(&Default::default()).unwrap());
    for (name, write) in &writes {
        let refused = under(&a, bench.store.as_mut(), |store| write(store));
        assert!(
            matches!(&refused, Err(StoreError::Fenced { lease }) if lease == WORK),
            "{name}: {refused:?}"
        );
    }
    let after =
        format!("{:?} {:?}", bench.store.gauges().unwrap(), bench.store.offers(&Default::default()).unwrap());
    assert_eq!(before, after);
    assert_eq!(bench.store.api_keys().unwrap().len(), 0);
    // The new holder may, and so may who needs no lease: the fence is gone with the work.
    for (name, write) in &writes {
        let done = under(&b, bench.store.as_mut(), |store| write(store));
        assert!(done.is_ok(), "{name}: {done:?}");
    }
    bench.store.replace_catalogue(&erp(), &snapshot()).unwrap();
    bench.prove();
}

pub(crate) fn whoever_takes_over_finds_what_was_in_flight(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 5)]);
    bench.record(&[moved("SKU-1", 1, "A-01", "customer")]);
    let now = bench.tick();
    let batch = bench.store.take_posting_batch(now, &erp(), 9).unwrap().unwrap();
    let updates = bench.store.take_channel_updates(now, &channel(), 99).unwrap();
    assert!(!updates.is_empty());
    // Each takes over its own work only.
    let other = ErpId::new("other").unwrap();
    assert_eq!(bench.store.recover_postings(now, &other).unwrap(), 0);
    let elsewhere = stockwire_protocol::ChannelId::new("elsewhere").unwrap();
    assert_eq!(bench.store.recover_publications(now, &elsewhere).unwrap(), 0);
    assert!(bench.store.take_channel_updates(now, &channel(), 99).unwrap().is_empty());

    assert_eq!(bench.store.recover_postings(now, &erp()).unwrap(), 1);
    assert!(bench.store.take_channel_updates(now, &channel(), 99).unwrap().is_empty());
    assert_eq!(bench.store.recover_publications(now, &channel()).unwrap(), updates.len());
    let again = bench.store.take_posting_batch(now, &erp(), 9).unwrap().unwrap();
    assert_eq!((again.reference, again.state), (batch.reference, BatchState::Unknown));
    let again = bench.store.take_channel_updates(now, &channel(), 99).unwrap();
    assert!(again.len() == updates.len() && again.iter().all(|update| update.unresolved));
}
