//! Taking batches into the books: bare inserts of the same rows, and the gateway's own way.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, params};
use stockwire_gateway::catalogue::{ErpId, Item, Location, Site, Snapshot};
use stockwire_gateway::ingest::{Ingest, Publish};
use stockwire_gateway::io::sqlite_store::SqliteStore;
use stockwire_gateway::store::Store as _;
use stockwire_protocol::cbor::{BATCH_EVENTS_MAX, Message as _};
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{Epoch, Event, Uom};

use super::goods::{BINS, Goods, ITEMS};
use super::pairs::{Plan, interleave, micros};
use super::probe::thread_cpu_ns;
use super::report::{Report, Target, Unit};
use crate::real::process::Scratch;

/// Full batches in one transaction: alone, the limit's best batch of about 512, and a gateway that lags.
const GROUPS: [usize; 3] = [1, 2, 16];
/// Events that come again: a hundred full batches, so that they are not all in the nearest cache.
const AGAIN: u64 = 100 * BATCH;
const BATCH: u64 = BATCH_EVENTS_MAX as u64;
const EPOCH: Epoch = Epoch::from_bytes([0xb; 16]);
/// Of the store; the limit has the same.
const CACHE_KIB: i64 = 64 * 1024;
const CHECKPOINT_PAGES: i64 = 4_000;

pub(super) fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let goods = Goods::new()?;
    let (pairs, slice) = plan.slices();
    for group in GROUPS {
        measure(&goods, group, pairs, slice, report)?;
    }
    report.note(
        "limit `events`: prepared INSERT OR IGNORE of identity, time and bytes alone; limit `all rows`: also ledger \
         row, mention and both balances, one statement each; WAL, synchronous FULL and cache as in the store. Ours: \
         Ingest::handle_publishes with decoding, checks, books and acknowledgements. Publishes are encoded outside of \
         the measured time. The targets are those for PostgreSQL, which comes later",
    );
    Ok(())
}

fn measure(goods: &Goods, group: usize, pairs: usize, slice: Duration, report: &mut Report) -> Result<()> {
    let scratch = Scratch::new("bench")?;
    let mut events_only = Plain::create(&scratch.path().join("events.db"), goods, false)?;
    let mut all_rows = Plain::create(&scratch.path().join("rows.db"), goods, true)?;
    let mut books = Books::create(&scratch.path().join("gateway.db"), goods)?;
    let in_one = group as u64 * BATCH;

    let new = |limit: &mut Plain, books: &mut Books| {
        interleave(pairs, || limit.slice(slice, in_one, None), || books.slice(slice, group, None))
    };
    let target = (group == 2).then_some(Target::AtLeast(0.65));
    let measured = new(&mut events_only, &mut books)?;
    report.row(
        format!("new events, {in_one} in one, against events"),
        Unit::PerSecond,
        &rates(&measured),
        target,
    );
    report.row(
        format!("processor time of a new event, {in_one} in one"),
        Unit::Micros,
        &costs(&measured),
        None,
    );
    let measured = new(&mut all_rows, &mut books)?;
    report.row(
        format!("new events, {in_one} in one, against all rows"),
        Unit::PerSecond,
        &rates(&measured),
        None,
    );

    let measured = interleave(
        pairs,
        || events_only.slice(slice, in_one, Some(AGAIN)),
        || books.slice(slice, group, Some(AGAIN)),
    )?;
    let repeated = rates(&measured);
    report.row(
        format!("events that came again, {in_one} in one, against events"),
        Unit::PerSecond,
        &repeated,
        None,
    );
    let what = format!("processor time of an event that came again, {in_one} in one");
    report.row(what, Unit::Micros, &costs(&measured), None);
    let middle = super::report::percentile(repeated.iter().map(|pair| pair.1).collect(), 50);
    let target = (group == 16).then_some(Target::AtLeast(400_000.0));
    report.fact(format!("events that came again, {in_one} in one"), Unit::PerSecond, middle, target);
    Ok(())
}

/// Events in a second, and microseconds of processor for one.
type Speed = (f64, f64);

fn rates(measured: &[(Speed, Speed)]) -> Vec<(f64, f64)> {
    measured.iter().map(|(limit, ours)| (limit.0, ours.0)).collect()
}

fn costs(measured: &[(Speed, Speed)]) -> Vec<(f64, f64)> {
    measured.iter().map(|(limit, ours)| (limit.1, ours.1)).collect()
}

/// Repeats `prepare`, which does not count, and `work`, which does, until the work has taken a slice.
fn busy<T>(
    slice: Duration,
    mut prepare: impl FnMut() -> Result<T>,
    mut work: impl FnMut(T) -> Result<u64>,
) -> Result<Speed> {
    let (mut taken, mut cpu, mut done) = (Duration::ZERO, 0, 0);
    while taken < slice {
        let prepared = prepare()?;
        let (begun, cpu_before) = (Instant::now(), thread_cpu_ns()?);
        done += work(prepared)?;
        cpu += thread_cpu_ns()? - cpu_before;
        taken += begun.elapsed();
    }
    Ok((done as f64 * 1e6 / micros(taken), cpu as f64 / 1000.0 / done as f64))
}

/// Which events come next: new ones, or the first `again` over and over.
fn next(n: &mut u64, count: u64, again: Option<u64>, position: &mut u64) -> u64 {
    let after = match again {
        None => {
            *n += count;
            return *n - count;
        }
        Some(again) => *position % (again - again % count),
    };
    *position = after + count;
    after
}

/// The limit: nothing but SQLite.
struct Plain {
    connection: Connection,
    goods: Goods,
    all_rows: bool,
    n: u64,
    position: u64,
}

impl Plain {
    fn create(path: &Path, goods: &Goods, all_rows: bool) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.set_prepared_statement_cache_capacity(16);
        connection.execute_batch(
            "CREATE TABLE event (identity INTEGER PRIMARY KEY, received INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
             CREATE TABLE ledger (id INTEGER PRIMARY KEY, event INTEGER NOT NULL, item INTEGER NOT NULL,
                 source INTEGER NOT NULL, destination INTEGER NOT NULL, steps INTEGER NOT NULL) STRICT;
             CREATE INDEX ledger_item ON ledger (item);
             CREATE TABLE mention (word TEXT NOT NULL, event INTEGER NOT NULL, PRIMARY KEY (word, event))
                 STRICT, WITHOUT ROWID;
             CREATE TABLE balance (item INTEGER NOT NULL, place INTEGER NOT NULL, steps INTEGER NOT NULL,
                 PRIMARY KEY (item, place)) STRICT, WITHOUT ROWID;",
        )?;
        Ok(Self { connection, goods: goods.clone(), all_rows, n: 0, position: 0 })
    }

    fn slice(&mut self, slice: Duration, count: u64, again: Option<u64>) -> Result<Speed> {
        let Self { connection, goods, all_rows, n, position } = self;
        let all_rows = *all_rows;
        busy(
            slice,
            || {
                let after = next(n, count, again, position);
                let rows = goods.events(after..after + count)?.iter().map(Event::encode).collect::<Vec<_>>();
                Ok((after, rows))
            },
            |(after, rows)| {
                connection.execute_batch("BEGIN IMMEDIATE")?;
                let mut event =
                    connection.prepare_cached("INSERT OR IGNORE INTO event VALUES (?1, ?2, ?3)")?;
                let mut ledger =
                    connection.prepare_cached("INSERT INTO ledger VALUES (?1, ?1, ?2, 1, ?3, 1)")?;
                let mut mention = connection.prepare_cached("INSERT INTO mention VALUES (?1, ?2)")?;
                let mut balance = connection.prepare_cached(
                    "INSERT INTO balance VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET steps = steps + excluded.steps",
                )?;
                for (at, row) in rows.iter().enumerate() {
                    let n = after as i64 + 1 + at as i64;
                    event.execute(params![n, 1_795_400_000_000_i64, row])?;
                    if all_rows {
                        let (item, bin) = (n % i64::from(ITEMS), 2 + n / 20 % i64::from(BINS));
                        ledger.execute((n, item, bin))?;
                        mention.execute((format!("PO-{:06}", n / 20), n))?;
                        balance.execute((item, 1, -1))?;
                        balance.execute((item, bin, 1))?;
                    }
                }
                connection.execute_batch("COMMIT")?;
                Ok(rows.len() as u64)
            },
        )
    }
}

/// Ours.
struct Books {
    ingest: Ingest,
    store: SqliteStore,
    goods: Goods,
    topic: String,
    n: u64,
    position: u64,
}

impl Books {
    fn create(path: &Path, goods: &Goods) -> Result<Self> {
        let mut store = SqliteStore::open(path)?;
        let erp = ErpId::new("bench").context("a name for the ERP")?;
        store.replace_catalogue(&erp, &snapshot(goods))?;
        ensure!(store.open_books(0, &erp, &[])?, "the books were open already");
        let topic = topic::topic(&goods.site, &goods.agent, Subject::Events);
        let mut books = Self { ingest: Ingest::new(), store, goods: goods.clone(), topic, n: 0, position: 0 };
        // What comes again must have come.
        while books.n < AGAIN {
            books.slice(Duration::from_nanos(1), 16, None)?;
        }
        Ok(books)
    }

    fn slice(&mut self, slice: Duration, group: usize, again: Option<u64>) -> Result<Speed> {
        let Self { ingest, store, goods, topic, n, position } = self;
        let count = group as u64 * BATCH;
        busy(
            slice,
            || {
                let after = next(n, count, again, position);
                let payload = |at: u64| Ok(goods.batch(EPOCH, after + at * BATCH, BATCH)?.encode());
                (0..group as u64).map(payload).collect::<Result<Vec<_>>>()
            },
            |payloads| {
                let publishes: Vec<_> =
                    payloads.iter().map(|payload| Publish { topic, payload, retained: false }).collect();
                let outcome = ingest.handle_publishes(store, 1_795_400_000_000, &publishes)?;
                let counts = outcome.counts;
                let taken = if again.is_some() { counts.events_duplicate } else { counts.events_new };
                // A bench of what is refused would be very fast.
                ensure!(
                    taken == count,
                    "{taken} of {count} events were taken: {counts:?} {:?}",
                    outcome.alarms
                );
                Ok(count)
            },
        )
    }
}

fn snapshot(goods: &Goods) -> Snapshot {
    let item = |(id, gtin): (&stockwire_protocol::ItemId, _)| Item {
        id: id.clone(),
        name: id.to_string(),
        uom: Uom::Piece,
        gtins: vec![gtin],
        codes: vec![],
        reference: None,
    };
    let bin = |location: &stockwire_protocol::LocationId| Location {
        site: goods.site.clone(),
        location: location.clone(),
        reference: None,
    };
    Snapshot {
        sites: vec![Site { site: goods.site.clone(), reference: None }],
        items: goods.items().map(item).collect(),
        locations: goods.bins().iter().map(bin).collect(),
    }
}
