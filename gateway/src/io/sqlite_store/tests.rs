//! The contract, and what is particular to a file.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use stockwire_protocol::Event;

use super::{SqliteReader, SqliteStore, schema};
use crate::store::contract::{Bench, acks, batch, counted, moved, movement, referring};
use crate::store::{Reader, Store, StoreError};

mod memory {
    crate::store::contract::suite!(crate::io::sqlite_store::tests::memory_store);
}

mod file {
    crate::store::contract::suite!(crate::io::sqlite_store::tests::file_store);
}

/// A directory of its own that is gone with the value.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("stockwire-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("gateway.db")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left in the temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

thread_local! {
    /// Directories of the stores of this test; they outlive the stores and go with the thread.
    static DIRECTORIES: std::cell::RefCell<Vec<Directory>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn memory_store() -> Box<dyn Store> {
    Box::new(SqliteStore::memory().unwrap())
}

/// A store in a file that goes with the test.
fn file_store() -> Box<dyn Store> {
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file()).unwrap();
    DIRECTORIES.with_borrow_mut(|directories| directories.push(directory));
    Box::new(store)
}

/// A bench on a file, with what a group of some of everything does to it.
fn bench(directory: &Directory) -> Bench {
    Bench::opened(&|| Box::new(SqliteStore::open(&directory.file()).unwrap()), &[("SKU-1", "A-01", 20)])
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

/// A failure at any statement of the transaction leaves nothing of it, and the same group goes through afterwards.
#[test]
fn a_failure_between_any_two_statements_leaves_nothing() {
    let undisturbed = {
        let directory = Directory::new();
        let mut bench = bench(&directory);
        bench.send(1, &some_of_everything());
        bench.stock()
    };
    // Table, what is done to it, and how often that happens in the group.
    let statements = [
        ("stream", "INSERT", 1),
        ("event", "INSERT", 5),
        ("ledger", "INSERT", 4),
        ("balance", "INSERT", 4),
        ("balance", "UPDATE", 1),
        ("stale_item", "INSERT", 1),
        ("mention", "INSERT", 1),
        ("dead_letter", "INSERT", 1),
        ("device", "INSERT", 1),
    ];
    for (table, verb, times) in statements {
        for time in 0..times {
            let directory = Directory::new();
            let mut bench = bench(&directory);
            let before = everything(bench.store.as_ref());
            let fault = Connection::open(directory.file()).unwrap();
            fault
                .execute_batch(&format!(
                    "CREATE TABLE fuse (n INTEGER); INSERT INTO fuse VALUES ({time});
                     CREATE TRIGGER fault BEFORE {verb} ON {table} BEGIN
                         SELECT CASE WHEN (SELECT n FROM fuse) = 0 THEN RAISE(ROLLBACK, 'the disk is gone') END;
                         UPDATE fuse SET n = n - 1;
                     END"
                ))
                .unwrap();
            let now = bench.tick();
            let batch = batch("box-1", 1, 1, &some_of_everything());
            let bytes = stockwire_protocol::cbor::Message::encode(&batch);
            let topic = crate::store::contract::topic_of("HAM", &batch);
            let publish = crate::ingest::Publish { topic: &topic, payload: &bytes, retained: false };
            let failed = bench.ingest.handle_publishes(bench.store.as_mut(), now, &[publish]);
            assert!(matches!(failed, Err(StoreError::Database { .. })), "{table} {verb} {time}: {failed:?}");
            assert_eq!(everything(bench.store.as_ref()), before, "{table} {verb} {time}");
            fault.execute_batch("DROP TRIGGER fault; DROP TABLE fuse").unwrap();
            assert_eq!(acks(&bench.send(1, &some_of_everything())), ["box-1 5"]);
            assert_eq!(bench.stock(), undisturbed, "{table} {verb} {time}");
            bench.prove();
        }
    }
}

#[test]
fn what_was_committed_is_there_after_a_start() {
    let directory = Directory::new();
    let mut bench = bench(&directory);
    bench.send(1, &some_of_everything());
    let before = everything(bench.store.as_ref());
    drop(bench);
    let store = SqliteStore::open(&directory.file()).unwrap();
    assert_eq!(everything(&store), before);
}

#[test]
fn a_reader_sees_what_is_committed_while_the_writer_works() {
    let directory = Directory::new();
    let mut bench = bench(&directory);
    let reader = SqliteReader::open(&directory.file()).unwrap();
    assert_eq!(reader.gauges().unwrap().events, 1);
    bench.send(1, &some_of_everything());
    assert_eq!(reader.gauges().unwrap().events, 6);
    assert!(reader.verify_books().unwrap().is_right());
    let missing = SqliteReader::open(&directory.0.join("none.db"));
    assert!(matches!(missing.err(), Some(StoreError::Database { .. })));
}

#[test]
fn a_database_of_a_newer_build_is_left_alone() {
    let directory = Directory::new();
    drop(bench(&directory));
    Connection::open(directory.file()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    for fault in [SqliteStore::open(&directory.file()).err(), SqliteReader::open(&directory.file()).err()] {
        assert!(matches!(fault, Some(StoreError::Schema { found: 99, known: 6 })), "{fault:?}");
    }
}

/// Tampering with any table of the books is found.
#[test]
fn wrong_books_are_found() {
    let changes = [
        "UPDATE balance SET steps = steps + 1 WHERE rowid_of_first",
        "DELETE FROM balance WHERE rowid_of_first",
        "UPDATE ledger SET steps = steps + 1 WHERE id = 2",
        "UPDATE ledger SET to_place = to_place + 1 WHERE id = 2",
        "DELETE FROM ledger WHERE id = 2",
        "DELETE FROM event WHERE ledger = 2",
        "UPDATE event SET bytes = (SELECT bytes FROM event WHERE ledger = 3) WHERE ledger = 2",
        "UPDATE event SET ledger = NULL WHERE ledger = 2",
        "UPDATE stream SET watermark = watermark + 1",
        "INSERT INTO balance VALUES (1, 99, '', '', 5)",
    ];
    for change in changes {
        let directory = Directory::new();
        let mut bench = bench(&directory);
        bench.send(1, &some_of_everything());
        bench.prove();
        let first = "(item, place) = (SELECT item, place FROM balance WHERE steps <> 0 LIMIT 1)";
        let sql = change.replace("rowid_of_first", first);
        Connection::open(directory.file()).unwrap().execute_batch(&sql).unwrap();
        let report = bench.store.verify_books().unwrap();
        assert!(!report.is_right() && !report.findings.is_empty(), "{change}: {report:?}");
    }
}

#[test]
fn a_second_writer_waits_or_is_told() {
    let directory = Directory::new();
    let mut bench = bench(&directory);
    let other = Connection::open(directory.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let store = SqliteStore::open(&directory.file());
    assert!(matches!(store.err(), Some(StoreError::Busy { .. })));
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(acks(&bench.send(1, &some_of_everything())), ["box-1 5"]);
}

/// An item's rows are found whole and in order, whether they are indexed by it already or not.
#[test]
fn rows_of_an_item_are_found_on_both_sides_of_the_index() {
    let mut bench = Bench::new(&memory_store);
    let mut expected = Vec::new();
    let mut row = 0;
    while row < schema::ITEM_ROWS_STRETCH + 1_000 {
        let events: Vec<Event> = (0..200)
            .map(|n| moved(if n % 50 == 0 { "SKU-2" } else { "SKU-1" }, 1, "supplier", "A-01"))
            .collect();
        bench.send(row + 1, &events);
        expected.extend((0..200).filter(|n| n % 50 == 0).map(|n| row + n + 1));
        row += 200;
    }
    expected.reverse();
    let indexed: u64 = expected.iter().filter(|id| **id <= schema::ITEM_ROWS_STRETCH).count() as u64;
    assert!(indexed > 0 && indexed < expected.len() as u64, "both sides have some");
    let item = Some(crate::store::contract::item("SKU-2"));
    let mut query = crate::store::MovementQuery { item, limit: 7, ..Default::default() };
    let mut found = Vec::new();
    loop {
        let page = bench.store.movements(&query).unwrap();
        found.extend(page.rows.iter().map(|movement| movement.row.id.0));
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, expected);
}
