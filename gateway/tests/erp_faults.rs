//! Postings happen exactly once, whatever is lost, delayed, garbled or killed on the way: the ERP's sender on a real
//! store against a Tryton in memory, from seeds. First chaos, then quiet, then both sides must hold the same.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

#[path = "support/dice.rs"]
mod dice;
#[path = "support/model_tryton.rs"]
mod model_tryton;
#[path = "support/warehouse.rs"]
mod warehouse;

use std::collections::BTreeMap;
use std::time::Duration;

use dice::Dice;
use model_tryton::{ITEMS, ModelTryton, POISON};
use stockwire_gateway::catalogue::ErpId;
use stockwire_gateway::erp::{self, ErpAccess, Shortage};
use stockwire_gateway::exchange::Secret;
use stockwire_gateway::io::sqlite_store::SqliteStore;
use stockwire_gateway::sender::{ErpSender, ErpSettings, Moment, Opening, Order, Sender, Want};
use stockwire_gateway::store::{DeadLetterQuery, PAGE_ROWS_MAX, Reader as _};
use warehouse::{Warehouse, books};

/// Seeds of one run; each takes some milliseconds.
const SEEDS: u64 = 40;
/// Waits of a sender in one phase: far beyond what any seed needs.
const WAITS_MAX: u32 = 20_000;

fn erp_id() -> ErpId {
    ErpId::new("erp").unwrap()
}

fn sender() -> ErpSender {
    let access = ErpAccess {
        url: "http://erp.invalid/stock".into(),
        key: Secret::new("k"),
        company: None,
        supplier: None,
        customer: None,
        shortage: Shortage::Force,
        sales: false,
    };
    let settings = ErpSettings {
        erp: erp_id(),
        refresh: Duration::from_secs(600),
        lines_max: 10,
        batch_wait: Duration::from_millis(200),
        opening: Opening::FromErp,
    };
    ErpSender::new(settings, erp::find("tryton").unwrap().connect(access))
}

/// A gateway's half of the world: store, sender, clock.
struct World {
    store: SqliteStore,
    sender: ErpSender,
    erp: ModelTryton,
    dice: Dice,
    now: Duration,
    /// Percent of requests that meet trouble.
    trouble: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            store: SqliteStore::memory().unwrap(),
            sender: sender(),
            erp: ModelTryton::new(),
            dice: Dice::new(seed),
            now: Duration::ZERO,
            trouble: 0,
        }
    }

    fn moment(&self) -> Moment {
        Moment { now: self.now, unix_ms: 1_000_000 + self.now.as_millis() as i64 }
    }

    /// One step of the sender; whether it waits for news.
    fn step(&mut self) -> bool {
        let (at, random) = (self.moment(), self.dice.next());
        match self.sender.poll(at, &mut self.store, random).unwrap() {
            Want::Send(outbound) => {
                assert!(!outbound.credentials.is_empty());
                let outcome = self.erp.send(&outbound.request, &mut self.dice, self.trouble);
                self.now += Duration::from_millis(20);
                let (at, random) = (self.moment(), self.dice.next());
                self.sender.handle_outcome(at, outcome, random);
                false
            }
            Want::Wait(until) => {
                assert!(until > self.now, "a wait that does not pass");
                self.now = until;
                true
            }
        }
    }

    /// The process dies wherever it is; another one starts on the same store.
    fn crash(&mut self) {
        self.sender = sender();
    }

    fn run_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..WAITS_MAX {
            if done(self) {
                return;
            }
            // What a sender is to bring about is there when it waits; asking more often only costs time.
            while !self.step() {}
        }
        panic!("no end: {:?}", self.sender.status());
    }

    fn unposted(&self) -> u64 {
        self.store.gauges().unwrap().unposted.iter().map(|(_, rows, _)| rows).sum()
    }

    /// What the books hold less what the ERP has refused and a person must look at.
    fn expected(&self) -> BTreeMap<(String, String), i64> {
        let mut held = books(&self.store);
        held.retain(|(_, item), _| item != POISON);
        held
    }
}

/// A movement of these, one to three pieces.
const WAYS: [(&str, &str); 9] = [
    ("supplier", "IN"),
    ("supplier", "A-01"),
    ("IN", "A-01"),
    ("A-01", "A-02"),
    ("A-01", "OUT"),
    ("OUT", "customer"),
    ("A-02", "customer"),
    ("loss", "A-02"),
    ("A-01", "loss"),
];

fn check(seed: u64, trouble: u64, crashes: bool) {
    let mut world = World::new(seed);
    world.trouble = trouble;
    world.run_until(|world| world.sender.status().ready);
    assert_eq!(
        books(&world.store),
        world.erp.held(),
        "seed {seed}: the books begin with the ERP's quantities"
    );

    let mut ham = Warehouse::new("HAM");
    let mut poisoned = 0;
    for _ in 0..world.dice.below(6) + 2 {
        let mut moves = Vec::new();
        for _ in 0..world.dice.below(8) + 1 {
            let (from, to) = WAYS[world.dice.below(WAYS.len() as u64) as usize];
            let item = ITEMS[world.dice.below(if seed.is_multiple_of(4) { 3 } else { 2 }) as usize];
            poisoned += usize::from(item == POISON);
            moves.push((item, ["1", "2", "3"][world.dice.below(3) as usize], from, to));
        }
        let at = world.moment();
        ham.record(&mut world.store, at.unix_ms, &moves);
        world.sender.handle_wake(at);
        for _ in 0..world.dice.below(60) {
            world.step();
            if crashes && world.dice.chance(3) {
                world.crash();
            }
        }
    }

    world.trouble = 0;
    let mut dice = Dice::new(seed ^ 1);
    world.run_until(|world| world.unposted() == 0);
    world.erp.settle(&mut dice);
    // What has arrived late must not have moved anything a second time.
    assert_eq!(world.expected(), world.erp.held(), "seed {seed}: {:#?}", world.erp.documents);
    let mut done = BTreeMap::new();
    for document in world.erp.documents.iter().filter(|document| document.state == "done") {
        assert_eq!(done.insert(document.reference.clone(), document.id), None, "seed {seed}: done twice");
    }
    let letters =
        world.store.dead_letters(&DeadLetterQuery { limit: PAGE_ROWS_MAX, ..Default::default() }).unwrap();
    assert_eq!(
        letters.rows.len(),
        poisoned,
        "seed {seed}: what the ERP refuses, and nothing else, is a dead letter"
    );
    assert!(world.store.verify_books().unwrap().is_right());

    // Reconciliation sees agreement (what is a dead letter counts as unposted), and what somebody does in the ERP.
    let (told, plan) = std::sync::mpsc::channel();
    let reply = told.clone();
    let at = world.moment();
    world.sender.handle_order(at, Order::Reconcile(Box::new(move |plan| reply.send(plan).unwrap())));
    let mut plan_told = None;
    world.run_until(|_| {
        plan_told = plan_told.take().or_else(|| plan.try_recv().ok());
        plan_told.is_some()
    });
    let plan = plan_told.unwrap().unwrap();
    assert!(plan.is_agreed(), "seed {seed}: {plan}");
}

#[test]
fn a_quiet_network_posts_everything_once() {
    for seed in 0..SEEDS / 5 {
        check(seed, 0, false);
    }
}

#[test]
fn lost_late_and_garbled_answers_change_nothing() {
    for seed in 0..SEEDS {
        check(seed, 25, false);
    }
}

#[test]
fn a_gateway_that_is_killed_all_the_time_posts_once_too() {
    for seed in 0..SEEDS {
        check(seed, 20, true);
    }
}

#[test]
fn a_restart_is_ready_without_the_erp() {
    let mut world = World::new(1);
    world.run_until(|world| world.sender.status().ready);
    world.crash();
    world.trouble = 100;
    assert!(!world.sender.status().ready);
    let at = world.moment();
    world.sender.poll(at, &mut world.store, 1).unwrap();
    assert!(world.sender.status().ready, "the books are there; agents need not wait for an ERP that is down");
}

#[test]
fn an_erp_that_stays_down_is_tried_slowly() {
    let mut world = World::new(2);
    world.run_until(|world| world.sender.status().ready);
    let at = world.moment();
    Warehouse::new("HAM").record(&mut world.store, at.unix_ms, &[("SKU-1", "1", "supplier", "IN")]);
    world.trouble = 100;
    let before = world.sender.status().requests;
    let end = world.now + Duration::from_secs(3600);
    while world.now < end {
        world.step();
    }
    let status = world.sender.status();
    assert!(status.health.is_unhealthy(), "{status:?}");
    let requests = status.requests - before;
    assert!((30..1_500).contains(&requests), "{requests} requests in an hour");
    world.trouble = 0;
    world.run_until(|world| world.unposted() == 0);
    assert_eq!(world.expected(), world.erp.held());
    assert!(!world.sender.status().health.is_unhealthy());
}
