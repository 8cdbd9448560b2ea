//! How fast ingest is on this machine, against the same rows written by hand in the same run.
//!
//! `cargo test --release -p stockwire-gateway --lib measure -- --ignored --nocapture`

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use stockwire_protocol::cbor::Message;
use stockwire_protocol::{Batch, Event};

use super::SqliteStore;
use super::tests::Directory;
use crate::catalogue::{Item, Location, Snapshot};
use crate::ingest::{Ingest, Publish};
use crate::store::contract::{batch, erp, item, moved, site, snapshot, topic_of};
use crate::store::{Reader, Store};

const AGENTS: usize = 4;
const ITEMS: usize = 2_000;
const LOCATIONS: usize = 50;
const BATCH: usize = 256;
/// Batches in one group: 512 events in one transaction.
const GROUP: usize = 2;
const GROUPS: usize = 400;

/// Receive, move, pick, over items and locations in no order.
fn events(agent: usize, from: usize) -> Vec<Event> {
    let mut state = (agent * 1_000_003 + from) as u64 | 1;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    (0..BATCH)
        .map(|_| {
            let name = format!("ITEM-{:05}", random(ITEMS));
            let (a, b) = (random(LOCATIONS), random(LOCATIONS));
            let (from, to) =
                (format!("L-{a:03}"), format!("L-{:03}", if a == b { (b + 1) % LOCATIONS } else { b }));
            match random(3) {
                0 => moved(&name, 5, "supplier", &to),
                1 => moved(&name, 2, &from, &to),
                _ => moved(&name, 1, &from, "customer"),
            }
        })
        .collect()
}

fn catalogue() -> Snapshot {
    let seed = snapshot();
    let item = |n: usize| Item { id: item(&format!("ITEM-{n:05}")), ..seed.items[0].clone() };
    let location = |n: usize| Location {
        site: site("HAM"),
        location: format!("L-{n:03}").parse().unwrap(),
        reference: Some(format!("l{n}")),
    };
    Snapshot {
        items: (0..ITEMS).map(item).collect(),
        locations: (0..LOCATIONS).map(location).collect(),
        ..seed
    }
}

fn groups() -> Vec<Vec<(String, Vec<u8>)>> {
    let mut next = [0_usize; AGENTS];
    let mut publish = |at: usize| {
        let agent = at % AGENTS;
        let batch: Batch =
            batch(&format!("box-{}", agent + 1), 1, next[agent] as u64 + 1, &events(agent, next[agent]));
        next[agent] += BATCH;
        (topic_of("HAM", &batch), batch.encode())
    };
    (0..GROUPS).map(|group| (0..GROUP).map(|at| publish(group * GROUP + at)).collect()).collect()
}

fn rate(events: usize, took: Duration) -> String {
    format!("{:>8.0} events/s", events as f64 / took.as_secs_f64())
}

#[test]
#[ignore = "a measurement; wants --release and a quiet machine"]
fn measure_ingest() {
    let groups = groups();
    let total = GROUPS * GROUP * BATCH;
    let directory = Directory::new();
    let mut store = SqliteStore::open(&directory.file()).unwrap();
    store.replace_catalogue(&erp(), &catalogue()).unwrap();
    store.open_books(1, &erp(), &[]).unwrap();
    let mut ingest = Ingest::new();
    let mut run = |store: &mut SqliteStore| {
        let start = Instant::now();
        let mut slowest = Duration::ZERO;
        for group in &groups {
            let publishes: Vec<_> =
                group.iter().map(|(topic, payload)| Publish { topic, payload, retained: false }).collect();
            let one = Instant::now();
            let outcome = ingest.handle_publishes(store, 1_700_000_000_000, &publishes).unwrap();
            slowest = slowest.max(one.elapsed());
            assert!(outcome.acks.iter().all(|(_, _, ack)| ack.refusal.is_none()));
        }
        (start.elapsed(), slowest)
    };
    let (fresh, slowest) = run(&mut store);
    println!("ingest, new         {} slowest group {slowest:?}", rate(total, fresh));
    let (again, _) = run(&mut store);
    println!("ingest, duplicates  {}", rate(total, again));

    let one = Instant::now();
    let report = store.verify_books().unwrap();
    assert!(report.is_right(), "{report:?}");
    println!("verify-books        {}", rate(total, one.elapsed()));

    let start = Instant::now();
    let decoded: usize =
        groups.iter().flatten().map(|(_, bytes)| Batch::decode(bytes).unwrap().events.len()).sum();
    println!("decoding alone      {}", rate(decoded, start.elapsed()));

    let by_hand = Directory::new();
    let limit = write_by_hand(&store, &by_hand, total);
    println!(
        "same rows by hand   {} ratio {:.2}",
        rate(total, limit),
        limit.as_secs_f64() / fresh.as_secs_f64()
    );
    let only = Directory::new();
    let limit = write_events_only(&store, &only);
    println!("events alone        {}", rate(total, limit));
}

/// The rows that ingest left, written again group by group with nothing in between: the store's own limit.
fn write_by_hand(store: &SqliteStore, directory: &Directory, total: usize) -> Duration {
    type EventRow = (i64, Option<i64>, i64, Vec<u8>);
    type LedgerRow = (i64, i64, i64, i64, i64, i64);
    let target = SqliteStore::open(&directory.file()).unwrap().connection;
    let events: Vec<EventRow> =
        all(&store.connection, "SELECT key, ledger, received_at, bytes FROM event ORDER BY ledger", |r| {
            (r.get(0).unwrap(), r.get(1).unwrap(), r.get(2).unwrap(), r.get(3).unwrap())
        });
    let sql = "SELECT id, event, item, from_place, to_place, steps FROM ledger ORDER BY id";
    let rows: Vec<LedgerRow> = all(&store.connection, sql, |r| {
        let number = |at| r.get(at).unwrap();
        (number(0), number(1), number(2), number(3), number(4), number(5))
    });
    assert_eq!((events.len(), rows.len()), (total, total));
    let start = Instant::now();
    for (events, rows) in events.chunks(GROUP * BATCH).zip(rows.chunks(GROUP * BATCH)) {
        target.execute_batch("BEGIN IMMEDIATE").unwrap();
        {
            let mut insert = target.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4)").unwrap();
            for (key, ledger, received, bytes) in events {
                insert.execute(params![key, ledger, received, bytes]).unwrap();
            }
            let mut insert =
                target.prepare_cached("INSERT INTO ledger VALUES (?1, ?2, ?3, ?4, ?5, ?6, '', '')").unwrap();
            let sql = "INSERT INTO balance VALUES (?1, ?2, '', '', ?3) ON CONFLICT DO UPDATE SET steps = steps + excluded.steps";
            let mut upsert = target.prepare_cached(sql).unwrap();
            for (id, event, item, from, to, steps) in rows {
                insert.execute(params![id, event, item, from, to, steps]).unwrap();
                upsert.execute(params![item, from, -steps]).unwrap();
                upsert.execute(params![item, to, steps]).unwrap();
            }
        }
        target.execute_batch("COMMIT").unwrap();
    }
    start.elapsed()
}

/// One table, one row an event: what `reference/performance.md` calls the limit.
fn write_events_only(store: &SqliteStore, directory: &Directory) -> Duration {
    let target = SqliteStore::open(&directory.file()).unwrap().connection;
    let events: Vec<(i64, Vec<u8>)> =
        all(&store.connection, "SELECT key, bytes FROM event ORDER BY ledger", |row| {
            (row.get(0).unwrap(), row.get(1).unwrap())
        });
    let start = Instant::now();
    for events in events.chunks(GROUP * BATCH) {
        target.execute_batch("BEGIN IMMEDIATE").unwrap();
        {
            let mut insert = target.prepare_cached("INSERT INTO event VALUES (?1, NULL, 0, ?2)").unwrap();
            for (key, bytes) in events {
                insert.execute(params![key, bytes]).unwrap();
            }
        }
        target.execute_batch("COMMIT").unwrap();
    }
    start.elapsed()
}

fn all<T>(connection: &Connection, sql: &str, mut read: impl FnMut(&rusqlite::Row<'_>) -> T) -> Vec<T> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok(read(row))).unwrap();
    rows.map(Result::unwrap).collect()
}
