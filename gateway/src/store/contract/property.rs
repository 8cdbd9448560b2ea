//! That the order of arrival does not matter.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stockwire_protocol::{Batch, Event, Sequence};

use super::{Bench, Make, batch, counted, moved};
use crate::store::Store;

/// Three journals, each with a corner of the site to itself for counts (whose result depends on order by nature)
/// and a common one for movements.
fn journal(agent: usize, seed: &[u8]) -> Vec<Event> {
    let own = ["A-01", "A-02", "IN"][agent];
    seed.iter()
        .map(|byte| {
            let quantity = i64::from(byte % 7) + 1;
            let name = format!("SKU-{}", byte % 3 + 1);
            match byte % 5 {
                0 | 1 => moved(&name, quantity, "supplier", "A-01"),
                2 => moved("SKU-9", quantity, "supplier", own),
                3 => counted("SKU-9", quantity, own),
                _ => moved(&name, quantity, "A-01", "customer"),
            }
        })
        .collect()
}

/// What reaches the gateway: stretches of the journals in any order, some twice, some cut short, in groups.
#[derive(Debug, Clone)]
struct Arrivals {
    journals: Vec<Vec<u8>>,
    groups: Vec<Vec<(usize, prop::sample::Index, prop::sample::Index)>>,
}

fn arrivals() -> impl Strategy<Value = Arrivals> {
    let stretch = (0..3_usize, any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let groups = prop::collection::vec(prop::collection::vec(stretch, 1..5), 0..12);
    let journals = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..12), 3);
    (journals, groups).prop_map(|(journals, groups)| Arrivals { journals, groups })
}

fn name(agent: usize) -> String {
    format!("box-{}", agent + 1)
}

/// Balances as one text; rows of the books come in another order, so only their sums are compared.
fn books(store: &dyn Store) -> (String, String) {
    let report = store.verify_books().unwrap();
    assert!(report.is_right(), "{report:?}");
    let rows = store.stock(&Default::default()).unwrap().rows;
    let gauges = store.gauges().unwrap();
    (format!("{rows:?}"), format!("{} events, {:?}", gauges.events, gauges.dead_letters))
}

pub(crate) fn any_order_of_arrival_gives_the_same_books(make: Make<'_>) {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let test = |arrivals: Arrivals| {
        let journals: Vec<Vec<Event>> =
            arrivals.journals.iter().enumerate().map(|(a, seed)| journal(a, seed)).collect();
        let mut straight = Bench::new(make);
        for (agent, events) in journals.iter().enumerate() {
            straight.send_all(&[batch(&name(agent), 1, 1, events)]);
        }

        let mut tangled = Bench::new(make);
        for group in &arrivals.groups {
            let stretch = |(agent, from, len): &(usize, prop::sample::Index, prop::sample::Index)| -> Batch {
                let events = &journals[*agent];
                let from = from.index(events.len());
                let to = from + 1 + len.index(events.len() - from);
                batch(&name(*agent), 1, from as u64 + 1, &events[from..to])
            };
            let batches: Vec<Batch> = group.iter().map(stretch).collect();
            let outcome = tangled.send_all(&batches);
            for (_, agent, ack) in &outcome.acks {
                prop_assert!(
                    ack.refusal.is_none_or(|r| r == stockwire_protocol::Refusal::Gap),
                    "{agent} {ack:?}"
                );
            }
        }
        // In the end every agent goes back to its watermark and sends the rest.
        for (agent, events) in journals.iter().enumerate() {
            let outcome = tangled.send_all(&[batch(&name(agent), 1, 1, events)]);
            prop_assert_eq!(outcome.acks[0].2.watermark, Sequence::new(events.len() as u64));
        }
        prop_assert_eq!(books(tangled.store.as_ref()), books(straight.store.as_ref()));
        Ok(())
    };
    TestRunner::new(config).run(&arrivals(), test).unwrap();
}
