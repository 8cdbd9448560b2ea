//! The contract, and what is particular to a database that several gateways share.
//!
//! They need a PostgreSQL, named in `STOCKWIRE_POSTGRES_URL`; `cargo verify --stage postgres` starts one for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use stockwire_protocol::Event;

use super::{PostgresConfig, PostgresStore, schema};
use crate::lease::{LENGTH, Taken, under};
use crate::store::contract::{Bench, acks, batch, counted, moved, movement, referring, topic_of};
use crate::store::{Reader, Store, StoreError};

mod contract {
    crate::store::contract::suite!(
        ignored "needs a PostgreSQL: cargo verify --stage postgres",
        crate::io::postgres_store::tests::new_store
    );
}

fn server() -> postgres::Config {
    let url = std::env::var("STOCKWIRE_POSTGRES_URL").expect("STOCKWIRE_POSTGRES_URL names a PostgreSQL");
    url.parse().unwrap()
}

/// An empty set of tables of its own, in a schema that no other test uses.
struct Place {
    config: PostgresConfig,
}

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let schema = format!("test_{}_{number}", std::process::id());
        let mut server = server();
        server.connect(NoTls).unwrap().batch_execute(&format!("CREATE SCHEMA {schema}")).unwrap();
        server.options(&format!("-c search_path={schema}"));
        Self { config: PostgresConfig { server, password_file: None, ca: None } }
    }

    fn open(&self) -> PostgresStore {
        PostgresStore::open(self.config.clone()).unwrap()
    }

    /// Somebody else on the same tables.
    fn client(&self) -> Client {
        self.config.server.connect(NoTls).unwrap()
    }

    /// A bench on it, with some stock.
    fn bench(&self) -> Bench {
        Bench::opened(&|| Box::new(self.open()), &[("SKU-1", "A-01", 20)])
    }

    /// Another gateway on books that are open already.
    fn other(&self) -> Bench {
        Bench::empty(&|| Box::new(self.open()))
    }
}

fn new_store() -> Box<dyn Store> {
    Box::new(Place::new().open())
}

fn some_of_everything() -> Vec<Event> {
    let pieces = stockwire_protocol::Quantity::pieces;
    vec![
        moved("SKU-1", 5, "supplier", "A-01"),
        movement("SKU-2", pieces(3), "supplier", "A-02", referring("PO-1")),
        counted("SKU-1", 21, "A-01"),
        moved("NEW", 1, "supplier", "A-01"),
        moved("SKU-1", 2, "A-01", "customer"),
    ]
}

/// Everything a store says, as one text.
fn everything(store: &dyn Store) -> String {
    let letters = store.dead_letters(&Default::default()).unwrap();
    let stock = store.stock(&Default::default()).unwrap();
    format!("{:?} {stock:?} {letters:?} {:?}", store.verify_books().unwrap(), store.gauges().unwrap())
}

/// Runs `work` in as many threads, each with a gateway of its own, all beginning together.
fn together<T: Send + 'static>(
    place: &Place,
    threads: u8,
    work: impl Fn(u8, &mut Bench) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let (barrier, work) = (Arc::new(Barrier::new(threads.into())), Arc::new(work));
    let start = |n: u8| {
        let (barrier, work, config) = (Arc::clone(&barrier), Arc::clone(&work), place.config.clone());
        std::thread::spawn(move || {
            let mut bench = Place { config }.other();
            barrier.wait();
            work(n, &mut bench)
        })
    };
    let handles: Vec<_> = (0..threads).map(start).collect();
    handles.into_iter().map(|handle| handle.join().unwrap()).collect()
}

#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn one_batch_that_three_gateways_take_at_once_is_applied_once() {
    let place = Place::new();
    let bench = place.bench();
    for round in 0..20 {
        let outcomes = together(&place, 3, move |_, bench| {
            let events: Vec<Event> = (0..10).map(|_| moved("SKU-1", 1, "supplier", "A-01")).collect();
            bench.send(1 + round * 10, &events)
        });
        let new: u64 = outcomes.iter().map(|outcome| outcome.counts.events_new).sum();
        let old: u64 = outcomes.iter().map(|outcome| outcome.counts.events_duplicate).sum();
        assert_eq!((new, old), (10, 20), "round {round}: {outcomes:?}");
        for outcome in &outcomes {
            assert_eq!(acks(outcome), [format!("box-1 {}", (round + 1) * 10)]);
        }
    }
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 220");
    bench.prove();
}

#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn a_watermark_never_moves_back() {
    let place = Place::new();
    let bench = place.bench();
    // Each gateway goes through the same journal in steps of its own, so that one is ahead of the other all the time.
    let seen = together(&place, 3, |n, bench| {
        let mut seen = Vec::new();
        let step = u64::from(n) + 2;
        let mut first = 1;
        while first <= 60 {
            let events: Vec<Event> = (0..step).map(|_| moved("SKU-1", 1, "supplier", "A-01")).collect();
            for (_, _, ack) in bench.send(first, &events).acks {
                seen.push(ack.watermark.get());
                first = ack.watermark.get() + 1;
            }
        }
        seen
    });
    for seen in &seen {
        assert!(seen.is_sorted(), "{seen:?}");
    }
    let head = seen.iter().flatten().max().unwrap();
    assert_eq!(bench.stock(), format!("HAM/A-01 SKU-1 {}", 20 + head));
    assert_eq!(bench.store.gauges().unwrap().events, 1 + head);
    bench.prove();
}

#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn counts_and_movements_of_several_gateways_give_right_books() {
    let place = Place::new();
    let bench = place.bench();
    together(&place, 3, |n, bench| {
        let name = format!("box-{n}");
        for round in 0..15 {
            let events = [
                moved("SKU-1", 3, "supplier", "A-01"),
                counted("SKU-1", 50 + round, "A-01"),
                moved("SKU-1", 1, "A-01", "customer"),
            ];
            let outcome = bench.send_all(&[batch(&name, 1, 1 + round as u64 * 3, &events)]);
            assert_eq!(outcome.counts.events_new, 3);
        }
    });
    // 20 to begin with, 135 facts, and no number of the books twice.
    assert_eq!(bench.store.gauges().unwrap().events, 1 + 135);
    bench.prove();
}

#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn one_posting_batch_and_one_update_go_to_one_gateway() {
    let place = Place::new();
    let mut bench = place.bench();
    bench.send(1, &[moved("SKU-1", 5, "supplier", "A-01"), moved("SKU-2", 5, "supplier", "A-01")]);
    let taken = together(&place, 3, |_, bench| {
        let now = bench.tick();
        let channel = crate::store::contract::channel();
        let updates = bench.store.take_channel_updates(now, &channel, 100).unwrap();
        updates.iter().map(|update| update.sku.to_string()).collect::<Vec<_>>()
    });
    let mut skus: Vec<String> = taken.into_iter().flatten().collect();
    skus.sort();
    assert_eq!(skus, (1..=9).map(|n| format!("SHOP-{n}")).collect::<Vec<_>>());
}

/// A failure at any statement of the transaction leaves nothing of it, and the same group goes through afterwards.
#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn a_failure_at_any_statement_leaves_nothing() {
    let undisturbed = {
        let mut bench = Place::new().bench();
        bench.send(1, &some_of_everything());
        bench.stock()
    };
    let tables = [
        "stream",
        "event",
        "fact_default",
        "ledger_default",
        "balance",
        "stale_item",
        "mention",
        "dead_letter",
        "device",
        "books",
    ];
    for table in tables {
        let place = Place::new();
        let mut bench = place.bench();
        let before = everything(bench.store.as_ref());
        // The last row of the statement fails: what it wrote before must go with it.
        let mut fault = place.client();
        fault
            .batch_execute(&format!(
                "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN RAISE EXCEPTION 'the disk is gone'; END $$;
                 CREATE TRIGGER fault AFTER INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION fault()"
            ))
            .unwrap();
        let now = bench.tick();
        let batch = batch("box-1", 1, 1, &some_of_everything());
        let bytes = stockwire_protocol::cbor::Message::encode(&batch);
        let topic = topic_of("HAM", &batch);
        let publish = crate::ingest::Publish { topic: &topic, payload: &bytes, retained: false };
        let failed = bench.ingest.handle_publishes(bench.store.as_mut(), now, &[publish]);
        let partition = table.ends_with("_default");
        if partition {
            // A statement's trigger is the parent's.
            assert!(failed.is_ok(), "{table}");
            continue;
        }
        assert!(matches!(failed, Err(StoreError::Database { .. })), "{table}: {failed:?}");
        assert_eq!(everything(bench.store.as_ref()), before, "{table}");
        fault.batch_execute(&format!("DROP TRIGGER fault ON {table}")).unwrap();
        assert_eq!(acks(&bench.send(1, &some_of_everything())), ["box-1 5"]);
        assert_eq!(bench.stock(), undisturbed, "{table}");
        bench.prove();
    }
}

/// Connections are killed at any moment; every gateway goes on, and nothing is lost or doubled.
#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn a_killed_connection_loses_nothing_and_doubles_nothing() {
    let place = Place::new();
    let bench = place.bench();
    let done = Arc::new(AtomicU64::new(0));
    let (killer_done, mut client) = (Arc::clone(&done), place.client());
    let path = place.config.server.get_options().unwrap().to_owned();
    assert!(path.contains("test_"));
    let mut own = server();
    own.application_name("killer");
    let mut watcher = own.connect(NoTls).unwrap();
    let schema = path.rsplit('=').next().unwrap().to_owned();
    let killer = std::thread::spawn(move || {
        let mut kills = 0;
        while killer_done.load(Ordering::Relaxed) < 2 && kills < 30 {
            // Whoever holds or waits for a lock on these books is in the middle of a transaction.
            let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks
                       WHERE relation = ($1::text || '.books')::regclass AND pid <> pg_backend_pid()";
            let killed: i64 = watcher.query_one(sql, &[&schema]).unwrap().get(0);
            kills += killed;
            if killed > 0 {
                // Some progress between two kills; the gateways wait 20 ms before they try again.
                watcher.query_one("SELECT pg_sleep(0.05)::text", &[]).unwrap();
            }
        }
        kills
    });
    let counter = Arc::clone(&done);
    let outcomes = together(&place, 2, move |n, bench| {
        let name = format!("box-{n}");
        for round in 0..25_u64 {
            let events: Vec<Event> = (0..10).map(|_| moved("SKU-1", 1, "supplier", "A-01")).collect();
            // As the gateway does: what failed is handed in again until it is acknowledged.
            let batch = batch(&name, 1, 1 + round * 10, &events);
            let bytes = stockwire_protocol::cbor::Message::encode(&batch);
            let topic = topic_of("HAM", &batch);
            let publish = crate::ingest::Publish { topic: &topic, payload: &bytes, retained: false };
            let mut tries = 0;
            while let Err(fault) = bench.ingest.handle_publishes(bench.store.as_mut(), 5, &[publish]) {
                tries += 1;
                assert!(tries < 20, "{fault:?}");
            }
        }
        counter.fetch_add(1, Ordering::Relaxed);
    });
    assert_eq!(outcomes.len(), 2);
    let kills = killer.join().unwrap();
    assert!(kills > 5, "{kills} kills are no test");
    client.batch_execute("SELECT 1").unwrap();
    let fresh = place.other();
    assert_eq!(fresh.stock(), "HAM/A-01 SKU-1 520");
    assert_eq!(fresh.store.gauges().unwrap().events, 501);
    fresh.prove();
    drop(bench);
}

#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn a_stopped_gateway_does_not_stop_the_others() {
    let place = Place::new();
    let mut bench = place.bench();
    // Somebody begins a transaction, locks the books and falls silent; the server ends it for us.
    let mut silent = place.client();
    silent.batch_execute("SET idle_in_transaction_session_timeout = '500ms'").unwrap();
    let mut transaction = silent.transaction().unwrap();
    transaction.query_one("SELECT head FROM books FOR UPDATE", &[]).unwrap();
    assert_eq!(acks(&bench.send(1, &[moved("SKU-1", 1, "supplier", "A-01")])), ["box-1 1"]);
    assert!(transaction.query_one("SELECT 1", &[]).is_err(), "its transaction is over");
    bench.prove();
}

#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn a_lock_that_is_not_given_up_makes_the_store_busy() {
    let place = Place::new();
    let mut bench = place.bench();
    let mut other = place.client();
    let mut transaction = other.transaction().unwrap();
    transaction.query_one("SELECT head FROM books FOR UPDATE", &[]).unwrap();
    place.client().batch_execute("SELECT 1").unwrap();
    // Reading goes on meanwhile.
    assert_eq!(bench.store.gauges().unwrap().events, 1);
    transaction.commit().unwrap();
    assert_eq!(acks(&bench.send(1, &some_of_everything())), ["box-1 5"]);
}

#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn what_was_committed_is_there_for_the_next_gateway() {
    let place = Place::new();
    let mut bench = place.bench();
    bench.send(1, &some_of_everything());
    let before = everything(bench.store.as_ref());
    drop(bench);
    assert_eq!(everything(&place.open()), before);
    let reader = PostgresStore::open_reader(place.config.clone()).unwrap();
    assert!(reader.verify_books().unwrap().is_right());
    let empty = PostgresStore::open_reader(Place::new().config);
    assert!(matches!(empty.err(), Some(StoreError::Refused { reason }) if reason.contains("migrate")));
}

/// Tampering with any table of the books is found.
#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn wrong_books_are_found() {
    let first = "(item, place) = (SELECT item, place FROM balance WHERE steps <> 0 LIMIT 1)";
    let changes = [
        format!("UPDATE balance SET steps = steps + 1 WHERE {first}"),
        format!("DELETE FROM balance WHERE {first}"),
        "UPDATE ledger SET steps = steps + 1 WHERE id = 2".into(),
        "UPDATE ledger SET to_place = to_place + 1 WHERE id = 2".into(),
        "DELETE FROM ledger WHERE id = 2".into(),
        "DELETE FROM ledger WHERE id = (SELECT max(id) FROM ledger)".into(),
        "DELETE FROM event WHERE ledger = 2".into(),
        "DELETE FROM fact WHERE key = (SELECT key FROM event WHERE ledger = 2)".into(),
        "UPDATE fact SET bytes = (SELECT fact.bytes FROM fact JOIN event USING (site, key) WHERE ledger = 3)
             WHERE key = (SELECT key FROM event WHERE ledger = 2)"
            .into(),
        "UPDATE event SET ledger = NULL WHERE ledger = 2".into(),
        "UPDATE stream SET watermark = watermark + 1".into(),
        "UPDATE books SET head = head + 1".into(),
        "INSERT INTO balance VALUES (1, 1, 99, '', '', 5)".into(),
    ];
    for change in changes {
        let place = Place::new();
        let mut bench = place.bench();
        bench.send(1, &some_of_everything());
        bench.prove();
        place.client().batch_execute(&change).unwrap();
        let report = bench.store.verify_books().unwrap();
        assert!(!report.is_right() && !report.findings.is_empty(), "{change}: {report:?}");
    }
}

#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn three_gateways_make_one_schema() {
    let place = Place::new();
    together(&place, 3, |_, bench| assert_eq!(bench.store.gauges().unwrap().events, 0));
    let known = schema::known_version();
    let migrate = |to| PostgresStore::migrate(place.config.clone(), to);
    assert_eq!(migrate(None).unwrap(), (known, known));
    // Empty books may go back, and come forward again.
    assert_eq!(migrate(Some(0)).unwrap(), (known, 0));
    assert_eq!(migrate(None).unwrap(), (0, known));
    assert!(matches!(migrate(Some(99)), Err(StoreError::Refused { .. })));
    let bench = place.bench();
    let before = everything(bench.store.as_ref());
    assert!(matches!(migrate(Some(0)), Err(StoreError::Refused { reason }) if reason.contains("would lose")));
    assert_eq!(everything(bench.store.as_ref()), before);
    // A replica of the next version has been here: this build goes on. Of the one after that: it does not.
    let set = |version: i64| {
        place.client().execute("UPDATE stockwire_schema SET version = $1", &[&version]).unwrap();
        PostgresStore::open(place.config.clone()).err()
    };
    assert!(set(known + 1).is_none());
    assert!(matches!(set(known + 2), Some(StoreError::Schema { .. })));
}

#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn rows_go_into_the_partition_of_their_month() {
    let place = Place::new();
    let mut bench = place.bench();
    bench.store.recover_postings(bench.now_ms, &crate::store::contract::erp()).unwrap();
    bench.send(1, &some_of_everything());
    let mut client = place.client();
    for (table, rows) in
        [("fact_2023_11", 5), ("ledger_2023_11", 4), ("fact_default", 1), ("ledger_default", 1)]
    {
        let sql = format!("SELECT count(*) FROM {table}");
        assert_eq!(client.query_one(&sql, &[]).unwrap().get::<_, i64>(0), rows, "{table}");
    }
    client.batch_execute("SELECT 1 FROM ledger_2024_01").unwrap();
    // A year later nobody has made any: nothing is refused, and from then on there are some.
    bench.now_ms += 366 * 86_400_000;
    assert_eq!(acks(&bench.send(6, &some_of_everything())), ["box-1 10"]);
    assert_eq!(acks(&bench.send(11, &some_of_everything())), ["box-1 15"]);
    client.batch_execute("SELECT 1 FROM ledger_2024_12").unwrap();
    bench.prove();
}

#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn text_with_a_zero_in_it_is_kept_readable() {
    let mut bench = Place::new().bench();
    let letter = crate::dead_letter::NewDeadLetter {
        class: crate::dead_letter::DeadLetterClass::Malformed,
        reason: "a\0b".into(),
        source: "c\0d".into(),
        bytes: vec![0, 1],
        agent: None,
        movement: None,
    };
    let id = bench.store.add_dead_letter(1, &letter).unwrap().unwrap();
    let kept = bench.store.dead_letter(id).unwrap().unwrap();
    assert_eq!((kept.reason.as_str(), kept.source.as_str()), ("a\u{fffd}b", "c\u{fffd}d"));
    assert_eq!(kept.bytes, [0, 1]);
}

/// A file with some of everything moves into the database, and goes on there as if nothing had been.
#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn a_file_moves_into_the_database_and_goes_on_there() {
    use crate::io::sqlite_store::SqliteStore;
    let path = std::env::temp_dir().join(format!("stockwire-copy-{}.db", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let mut file = Bench::opened(&|| Box::new(SqliteStore::open(&path).unwrap()), &[("SKU-1", "A-01", 20)]);
    file.send(1, &some_of_everything());
    let now = file.tick();
    let batch = file.store.take_posting_batch(now, &crate::store::contract::erp(), 100).unwrap().unwrap();
    file.store.take_channel_updates(now, &crate::store::contract::channel(), 3).unwrap();
    file.store.create_api_key(1, "till", &[7; 32]).unwrap();
    let before = everything(file.store.as_ref());
    drop(file);

    let place = Place::new();
    let source = SqliteStore::open(&path).unwrap();
    let report = place.open().copy_from(&source).unwrap();
    assert_eq!((report.events, report.rows), (6, 5));
    let mut moved_in = place.other();
    assert_eq!(everything(moved_in.store.as_ref()), before);
    assert_eq!(moved_in.store.use_api_key(5, &[7; 32]).unwrap().unwrap().name, "till");
    // What was on its way is known by the same reference, and numbers go on without a hole.
    let batches = moved_in.store.posting_batches(&crate::store::contract::erp(), 9).unwrap();
    assert!(batches.iter().any(|known| known.reference == batch.reference && known.lines == batch.lines));
    moved_in.store.recover_postings(now, &crate::store::contract::erp()).unwrap();
    assert_eq!(acks(&moved_in.send(1, &some_of_everything())), ["box-1 5"], "all known");
    assert_eq!(acks(&moved_in.send(6, &some_of_everything())), ["box-1 10"]);
    moved_in.prove();
    // Once only, and nothing of a wrong one.
    let again = place.open().copy_from(&source);
    assert!(matches!(again, Err(StoreError::Refused { reason }) if reason.contains("already")));
    let tampered = rusqlite::Connection::open(&path).unwrap();
    tampered.execute_batch("UPDATE balance SET steps = steps + 1 WHERE steps > 0").unwrap();
    let other = Place::new();
    let wrong = other.open().copy_from(&source);
    assert!(matches!(wrong, Err(StoreError::Refused { reason }) if reason.contains("wrong")));
    assert_eq!(other.open().gauges().unwrap().events, 0);
    drop((source, tampered));
    std::fs::remove_file(&path).unwrap();
}

#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn of_many_gateways_that_want_a_lease_one_gets_it() {
    let place = Place::new();
    drop(place.bench());
    for round in 0..20 {
        // Given back, lapsed, or never held: whatever it was, one is the next.
        let taken = together(&place, 8, move |n, bench| {
            let name = format!("work/{}", round / 4);
            let length = if round % 2 == 0 { Duration::ZERO } else { LENGTH };
            let taken = bench.store.take_lease(0, &name, &format!("gateway-{n}"), length).unwrap();
            (length, taken)
        });
        let tokens: Vec<u64> = taken
            .iter()
            .filter_map(|(_, taken)| match taken {
                Taken::Granted(grant) => Some(grant.token),
                Taken::HeldBy(_) => None,
            })
            .collect();
        let mut different = tokens.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), tokens.len(), "round {round}: {taken:?}");
        // One that lasts no time may be taken by each of them, one after the other.
        assert!(if taken[0].0.is_zero() { !tokens.is_empty() } else { tokens.len() <= 1 }, "{taken:?}");
        if round % 4 == 1 {
            assert_eq!(tokens.len(), 1, "round {round}: {taken:?}");
        }
    }
}

#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn a_lease_lapses_by_the_clock_of_the_server() {
    let place = Place::new();
    let (mut a, mut b) = (place.open(), place.open());
    let length = Duration::from_millis(300);
    let began = Instant::now();
    // Their own clocks are years apart, and nobody asks for them.
    let Taken::Granted(grant) = a.take_lease(i64::MAX, "work", "a", length).unwrap() else {
        panic!("it is free")
    };
    let next = loop {
        match b.take_lease(0, "work", "b", LENGTH).unwrap() {
            Taken::Granted(next) => break next,
            Taken::HeldBy(holder) => assert!(holder == "a" && began.elapsed() < LENGTH, "{holder}"),
        }
    };
    assert!(began.elapsed() >= length && next.token > grant.token);
    assert!(!a.renew_lease(0, &grant, LENGTH).unwrap());
}

#[test]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
fn nobody_takes_a_lease_over_while_something_is_written_under_it() {
    let place = Place::new();
    drop(place.bench());
    let erp = crate::store::contract::erp();
    for round in 0..10_i64 {
        // Two that take turns, each with work that only the holder may do: what one has begun the other finds ended.
        let done = together(&place, 2, {
            let erp = erp.clone();
            move |n, bench| {
                let name = format!("gateway-{n}");
                let mut written = 0;
                for _ in 0..20 {
                    let taken = bench.store.take_lease(0, "turns", &name, Duration::ZERO).unwrap();
                    let Taken::Granted(grant) = taken else { continue };
                    let wrote =
                        under(&grant, bench.store.as_mut(), |store| store.recover_postings(round, &erp));
                    match wrote {
                        Ok(_) => written += 1,
                        Err(StoreError::Fenced { lease }) => assert_eq!(lease, "turns"),
                        Err(fault) => panic!("{fault}"),
                    }
                }
                written
            }
        });
        assert!(done.iter().sum::<i32>() > 0, "round {round}: {done:?}");
    }
}
