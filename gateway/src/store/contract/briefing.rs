//! Cases about what agents are told, and when.

use std::time::Duration;

use stockwire_protocol::cbor::{CATALOGUE_BYTES_MAX, Message};
use stockwire_protocol::topic::Subject;
use stockwire_protocol::{Catalogue, ItemRules, Lot, Quantity, Reference, Task, TaskKind, TaskLine, Tasks};

use super::{Bench, Make, agent, batch, erp, item, moved, site, snapshot, topic_of};
use crate::briefing::{BINS_INTERVAL, Briefing, CHANGES_BYTES_FREE, Notice, TASKS_INTERVAL};
use crate::code::{CodeKey, Meaning};

/// Each message in a few words: for whom, about what, its revision, what it is changes of, and how much is in it.
fn told(notices: &[Notice]) -> Vec<String> {
    let line = |notice: &Notice| {
        let who = &notice.agent;
        assert!(notice.payload.len() <= CATALOGUE_BYTES_MAX);
        match notice.subject {
            Subject::Catalogue { part } => {
                let told = Catalogue::decode(&notice.payload).unwrap();
                assert_eq!((told.part, &told.site, told.since), (part, &notice.site, None));
                format!("{who} catalogue {}: {} items", told.revision, told.items.len())
            }
            Subject::CatalogueChanges => {
                let told = Catalogue::decode(&notice.payload).unwrap();
                let since = told.since.unwrap().revision;
                format!("{who} catalogue {} since {since}: {} items", told.revision, told.items.len())
            }
            Subject::Tasks { part } => {
                let told = Tasks::decode(&notice.payload).unwrap();
                assert_eq!((told.part, &told.site, told.since), (part, &notice.site, None));
                format!(
                    "{who} tasks {}: {} tasks, {} bins",
                    told.revision,
                    told.tasks.len(),
                    told.bins.unwrap().len()
                )
            }
            Subject::TasksChanges => {
                let told = Tasks::decode(&notice.payload).unwrap();
                let since = told.since.unwrap();
                format!(
                    "{who} tasks {} since {}: {} tasks, {} gone, {} bins",
                    told.revision,
                    since.revision,
                    told.tasks.len(),
                    since.gone.len(),
                    told.bins.unwrap().len()
                )
            }
            other => panic!("{other:?}"),
        }
    };
    notices.iter().map(line).collect()
}

fn pick(id: &str, lines: usize) -> Task {
    let line = TaskLine {
        item: item("SKU-1"),
        quantity: Quantity::pieces(5),
        from: None,
        to: None,
        lot: None,
        expires_on: None,
    };
    Task {
        kind: TaskKind::Pick,
        id: Reference::new(id).unwrap(),
        order: None,
        location: None,
        lines: vec![line; lines],
    }
}

/// Somebody who tells, at a second of their own clock.
struct Teller(Briefing);

impl Teller {
    fn new(agents: &[(&str, &str)]) -> Self {
        let mut briefing = Briefing::new();
        for (at, who) in agents {
            assert!(briefing.heard(&site(at), &agent(who)));
            assert!(!briefing.heard(&site(at), &agent(who)), "only once");
        }
        Self(briefing)
    }

    fn at(&mut self, now: Duration, bench: &Bench) -> Vec<String> {
        told(&self.0.poll(now, bench.store.as_ref()).unwrap())
    }
}

const START: Duration = Duration::from_secs(100);
const NOBODY: [String; 0] = [];

pub(crate) fn an_agent_is_told_everything_once_and_then_what_changes(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 50)]);
    let mut teller = Teller::new(&[("HAM", "box-1")]);
    assert_eq!(teller.at(START, &bench), ["box-1 catalogue 3: 10 items", "box-1 tasks 3: 0 tasks, 1 bins"]);
    assert_eq!(teller.at(START, &bench), NOBODY);
    bench.store.put_task(1, &site("HAM"), &pick("SO-1", 1)).unwrap();
    bench.store.put_task(1, &site("MUC"), &pick("SO-9", 1)).unwrap();
    assert_eq!(teller.at(START, &bench), NOBODY, "not more often than every second");
    let mut now = START + TASKS_INTERVAL;
    assert_eq!(teller.at(now, &bench), ["box-1 tasks 4 since 3: 1 tasks, 0 gone, 0 bins"]);
    assert_eq!(teller.at(now + BINS_INTERVAL, &bench), NOBODY);
    now += TASKS_INTERVAL;
    bench.store.put_task(1, &site("HAM"), &pick("SO-2", 1)).unwrap();
    assert_eq!(
        teller.at(now, &bench),
        ["box-1 tasks 6 since 3: 2 tasks, 0 gone, 0 bins"],
        "all since the snapshot"
    );
    bench.store.put_alias(1, "anna", &CodeKey::Text("X".into()), &Meaning::Item(item("SKU-1"))).unwrap();
    assert_eq!(teller.at(now, &bench), ["box-1 catalogue 4 since 3: 1 items"]);
    // Somebody new, a box that came from elsewhere, and a new connection: from the beginning.
    assert!(teller.0.heard(&site("HAM"), &agent("box-2")));
    assert_eq!(teller.at(now, &bench), ["box-2 catalogue 5: 10 items", "box-2 tasks 7: 2 tasks, 1 bins"]);
    assert!(teller.0.heard(&site("MUC"), &agent("box-2")));
    assert_eq!(teller.at(now, &bench), ["box-2 catalogue 5: 10 items", "box-2 tasks 5: 1 tasks, 0 bins"]);
    teller.0.forget();
    assert_eq!(teller.at(now, &bench).len(), 4);
    assert_eq!(teller.at(now + BINS_INTERVAL, &bench), NOBODY);
}

pub(crate) fn stock_alone_is_told_less_often(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 50)]);
    let mut teller = Teller::new(&[("HAM", "box-1"), ("MUC", "box-2")]);
    assert_eq!(teller.at(START, &bench).len(), 4);
    bench.record(&[moved("SKU-1", 5, "A-01", "A-02")]);
    assert_eq!(teller.at(START + TASKS_INTERVAL, &bench), NOBODY);
    assert_eq!(teller.at(START + BINS_INTERVAL, &bench), ["box-1 tasks 4 since 3: 0 tasks, 0 gone, 2 bins"]);
    assert_eq!(teller.at(START + BINS_INTERVAL * 3, &bench), NOBODY);
}

pub(crate) fn changes_that_save_nothing_are_a_snapshot(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let mut teller = Teller::new(&[("HAM", "box-1")]);
    assert_eq!(teller.at(START, &bench), ["box-1 catalogue 3: 10 items", "box-1 tasks 1: 0 tasks, 0 bins"]);
    let lots = CHANGES_BYTES_FREE / 20 + 1;
    let recalled = (0..lots).map(|n| Lot::new(format!("LOT-{n:016}")).unwrap()).collect();
    let rules = ItemRules { recalled, ..ItemRules::default() };
    bench.store.put_item_rules(&item("SKU-1"), &rules).unwrap();
    let now = START + TASKS_INTERVAL;
    assert_eq!(teller.at(now, &bench), ["box-1 catalogue 5: 10 items"]);
    // The next changes are changes of that one, and small again.
    bench.store.put_item_rules(&item("SKU-2"), &ItemRules { lot: true, ..ItemRules::default() }).unwrap();
    assert_eq!(teller.at(now, &bench), ["box-1 catalogue 6 since 5: 1 items"]);
    bench.store.put_task(1, &site("HAM"), &pick("SO-1", 500)).unwrap();
    bench.store.put_task(1, &site("HAM"), &pick("SO-2", 500)).unwrap();
    assert_eq!(teller.at(now, &bench), ["box-1 tasks 5: 2 tasks, 0 bins"]);
    bench.store.put_task(1, &site("HAM"), &pick("SO-3", 1)).unwrap();
    assert_eq!(teller.at(now + TASKS_INTERVAL, &bench), ["box-1 tasks 6 since 5: 1 tasks, 0 gone, 0 bins"]);
}

pub(crate) fn nobody_is_told_of_a_site_that_no_erp_has(make: Make<'_>) {
    let mut bench = Bench::empty(make);
    let mut teller = Teller::new(&[("HAM", "box-1")]);
    assert_eq!(teller.at(START, &bench), NOBODY, "no catalogue yet");
    bench.store.replace_catalogue(&erp(), &snapshot()).unwrap();
    assert_eq!(teller.at(START, &bench).len(), 2);
    let mut strange = Teller::new(&[("NONE", "box-1")]);
    assert_eq!(strange.at(START, &bench), NOBODY);
}

pub(crate) fn an_agent_learns_how_far_its_own_journal_is_in_the_picture(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.record(&[moved("SKU-1", 5, "supplier", "A-01"), moved("SKU-1", 1, "supplier", "A-01")]);
    let other = batch("box-2", 7, 1, &[moved("SKU-1", 1, "supplier", "A-01")]);
    bench.publish(&[(topic_of("HAM", &other), other.encode())]);
    let mut teller = Teller::new(&[("HAM", "box-1"), ("HAM", "box-2"), ("HAM", "box-3")]);
    let notices = teller.0.poll(START, bench.store.as_ref()).unwrap();
    let tasks = notices.iter().filter(|notice| matches!(notice.subject, Subject::Tasks { .. }));
    let as_of: Vec<_> = tasks
        .map(|notice| Tasks::decode(&notice.payload).unwrap().as_of.map(|at| (at.epoch, at.watermark.get())))
        .collect();
    assert_eq!(as_of, [Some((super::epoch(1), 2)), Some((super::epoch(7), 1)), None]);
}
