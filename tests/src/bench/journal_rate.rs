//! Recording in groups: a bare SQLite loop, and the way of a scan from its bytes to the durable row.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::Connection;
use stockwire_agent::io::sqlite_journal::{JournalOptions, SqliteJournal};
use stockwire_agent::journal::Journal as _;
use stockwire_agent::scanner::{self, ScannerDecoder, ScannerOptions};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::gs1::{self, Kind};
use stockwire_protocol::{Body, Event};

use super::goods::{self, Goods};
use super::pairs::{Plan, interleave, rate};
use super::probe::thread_cpu_ns;
use super::report::{Report, Target, Unit};
use crate::real::process::Scratch;

/// Rows with one flush.
const GROUPS: [u64; 4] = [1, 8, 64, 512];
/// No slice may meet the quota.
const QUOTA_BYTES: u64 = 64 << 30;
/// What [`SqliteJournal`] adds to an event, and what its pages and its log are; the limit uses the same.
const CHECK_BYTES: usize = 4;
const PAGE_BYTES: u64 = 512;
const FRAME_BYTES: f64 = PAGE_BYTES as f64 + 24.0;
/// Frames at which the journal's own append copies its log; the limit does it as seldom.
const CHECKPOINT_FRAMES: u32 = 3_072;
const CACHE_KIB: i64 = 256;
/// Rows of one commit at a time that bytes are counted over: few enough that no copying of the log falls into it.
const ISOLATED_ROWS: u64 = 200;

pub(super) fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let goods = Goods::new()?;
    let (pairs, slice) = plan.slices();
    for group in GROUPS {
        measure(&goods, group, pairs, slice, report)?;
    }
    count_bytes(&goods, report)?;
    report.note(
        "limit: prepared INSERTs of rows of the same size in transactions of the group's size, WAL, synchronous FULL, \
         page 512, exclusive, log never truncated. Log bytes are what is handed to the file system, without the copy \
         into the file that follows for hundreds of rows at once. Ours: scanner bytes, decoder, GS1, event, CBOR, check, append",
    );
    Ok(())
}

fn measure(goods: &Goods, group: u64, pairs: usize, slice: Duration, report: &mut Report) -> Result<()> {
    let scratch = Scratch::new("bench")?;
    let mut plain = Plain::create(&scratch.path().join("limit.db"), goods)?;
    let mut line = Line::open(scratch.path().join("journal.db"), goods.clone())?;
    // Both logs reach their full size first: growing costs the file system flushes of its own.
    for _ in 0..(2 * u64::from(CHECKPOINT_FRAMES) / group.max(8)).max(16) {
        plain.commit(group.max(8))?;
        line.record(group.max(8))?;
    }
    let timed = |step: &mut dyn FnMut() -> Result<usize>| -> Result<(f64, f64)> {
        let (mut rows, before) = (0, thread_cpu_ns()?);
        let rate = rate(slice, || {
            let done = step()?;
            rows += done;
            Ok(done)
        })?;
        Ok((rate, (thread_cpu_ns()? - before) as f64 / 1000.0 / rows.max(1) as f64))
    };
    let measured =
        interleave(pairs, || timed(&mut || plain.commit(group)), || timed(&mut || line.record(group)))?;
    let column = |pick: fn(&(f64, f64)) -> f64| {
        measured.iter().map(|(limit, ours)| (pick(limit), pick(ours))).collect::<Vec<_>>()
    };
    report.row(
        format!("rows recorded, {group} with one flush"),
        Unit::PerSecond,
        &column(|side| side.0),
        Some(Target::AtLeast(0.9)),
    );
    report.row(
        format!("processor time of a row, {group} with one flush"),
        Unit::Micros,
        &column(|side| side.1),
        None,
    );
    Ok(())
}

/// What is written, as far as it can be counted without looking below the file system.
fn count_bytes(goods: &Goods, report: &mut Report) -> Result<()> {
    let payload = goods::mean_bytes(goods)?;
    report.fact("bytes of an event as recorded", Unit::Bytes, payload, None);
    for group in [1, 64] {
        let scratch = Scratch::new("bench")?;
        let path = scratch.path().join("journal.db");
        let mut line = Line::open(path, goods.clone())?;
        line.record(group)?;
        let before = line.journal.stats()?.wal_frames;
        let commits = (ISOLATED_ROWS / group).max(3);
        for _ in 0..commits {
            line.record(group)?;
        }
        let frames = f64::from(line.journal.stats()?.wal_frames - before);
        let bytes = frames * FRAME_BYTES / (commits * group) as f64;
        let target = (group == 64).then_some(Target::AtMost(3.4 * payload));
        report.fact(format!("log bytes of a row, {group} with one flush"), Unit::Bytes, bytes, target);
        if group == 1 {
            // A write that begins anywhere in a block touches this many on average.
            let blocks = 1.0 + (frames / commits as f64 * FRAME_BYTES - 1.0) / 4096.0;
            let target = Some(Target::AtMost(1.4));
            report.fact("4 KiB blocks that a row by itself dirties, computed", Unit::Plain, blocks, target);
        }
    }
    let scratch = Scratch::new("bench")?;
    let mut line = Line::open(scratch.path().join("journal.db"), goods.clone())?;
    for _ in 0..200 {
        line.record(512)?;
    }
    let rows = line.journal.head().get() as f64;
    let used = line.journal.stats()?.used_bytes as f64 / rows;
    report.fact(
        "bytes in the file for a row, by payload",
        Unit::Plain,
        used / payload,
        Some(Target::AtMost(1.15)),
    );
    Ok(())
}

/// The limit: nothing but SQLite.
struct Plain {
    connection: Connection,
    row: Vec<u8>,
    next: i64,
}

impl Plain {
    fn create(path: &Path, goods: &Goods) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "journal_size_limit", -1)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_FRAMES)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection
            .execute_batch("CREATE TABLE event (sequence INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT")?;
        let row = vec![0x5a; goods.event(0)?.encode().len() + CHECK_BYTES];
        Ok(Self { connection, row, next: 1 })
    }

    fn commit(&mut self, group: u64) -> Result<usize> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut insert =
            self.connection.prepare_cached("INSERT INTO event (sequence, row) VALUES (?1, ?2)")?;
        for _ in 0..group {
            insert.execute((self.next, &self.row))?;
            self.next += 1;
        }
        self.connection.execute_batch("COMMIT")?;
        Ok(group as usize)
    }
}

/// Ours, from the scanner's bytes on; only the workflow is left out, which is one for each operator.
struct Line {
    goods: Goods,
    decoder: Box<dyn ScannerDecoder>,
    journal: SqliteJournal,
    n: u64,
}

impl Line {
    fn open(path: PathBuf, goods: Goods) -> Result<Self> {
        let protocol = scanner::find("line").context("the line scanner")?;
        let journal = SqliteJournal::open(JournalOptions::new(path, QUOTA_BYTES))?;
        Ok(Self { goods, decoder: protocol.decoder(&ScannerOptions::default()), journal, n: 0 })
    }

    fn record(&mut self, group: u64) -> Result<usize> {
        let mut events = Vec::with_capacity(group as usize);
        for _ in 0..group {
            events.push(self.scan()?);
        }
        self.journal.append(&events)?;
        Ok(group as usize)
    }

    fn scan(&mut self) -> Result<Event> {
        let bytes = self.goods.code(self.n) + "\r";
        self.decoder.handle_bytes(Duration::ZERO, bytes.as_bytes());
        let read = self.decoder.poll_read().context("no read came of a scan")??;
        let scan = gs1::interpret(&read, 2026);
        anyhow::ensure!(!matches!(scan.kind(), Kind::Error), "the scan is not readable");
        let mut event = self.goods.event(self.n)?;
        if let Body::Movement(movement) = &mut event.body {
            movement.details.gtin = scan.gtin();
        }
        self.n += 1;
        Ok(event)
    }
}
