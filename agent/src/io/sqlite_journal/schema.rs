//! The file: how it is made, opened and judged.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, DEFAULT_NAME, ErrorCode, OpenFlags, OptionalExtension, params};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::{Digest, Epoch, Event, Sequence};

use super::lock::beside;
use super::{
    CACHE_KIB, DbConfig, OpenError, PAGE_BYTES, QUICK_CHECK_BYTES_MAX, log, page_count, row, sync_directory,
};

/// `SWJ1`: tells our file from any other SQLite file.
pub(super) const APPLICATION_ID: i32 = 0x5357_4A31;
/// Of the tables below. A newer one is refused, never guessed at.
const FORMAT: i32 = 1;
/// Rows at the end of the file that are checked at each start: the pages written last are those a power cut meets.
const TAIL_CHECKED: i64 = 64;

/// `seal`: a check over the other columns, since a flipped bit in the watermark would forget rows early.
const TABLES: &str = "
    CREATE TABLE journal (
        epoch BLOB NOT NULL,
        boot INTEGER NOT NULL,
        watermark INTEGER NOT NULL,
        digest INTEGER NOT NULL,
        seal INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE event (
        sequence INTEGER PRIMARY KEY,
        row BLOB NOT NULL
    ) STRICT;
";

/// What the file says about itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) root: Root,
    pub(super) head: Sequence,
    pub(super) kept_after: Sequence,
}

/// The one row of table `journal`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Root {
    pub(super) epoch: Epoch,
    pub(super) boot: u32,
    pub(super) watermark: Sequence,
    /// Of the events up to the watermark.
    pub(super) digest: Digest,
}

impl Root {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self { epoch, boot: 0, watermark: Sequence::NONE, digest: Digest::START }
    }

    fn seal(&self) -> u32 {
        let mut bytes = self.epoch.as_bytes().to_vec();
        bytes.extend_from_slice(&self.boot.to_le_bytes());
        bytes.extend_from_slice(&self.watermark.get().to_le_bytes());
        bytes.extend_from_slice(&self.digest.bits().to_le_bytes());
        row::CRC.checksum(&bytes)
    }

    /// From the five columns; `None` when they are not what was written.
    pub(super) fn unseal(epoch: &[u8], [boot, watermark, digest, seal]: [i64; 4]) -> Option<Self> {
        let root = Self {
            epoch: Epoch::from_bytes(epoch.try_into().ok()?),
            boot: u32::try_from(boot).ok()?,
            watermark: Sequence::new(u64::try_from(watermark).ok()?),
            digest: Digest::from_bits(digest.cast_unsigned()),
        };
        (i64::from(root.seal()) == seal).then_some(root)
    }

    /// Within the caller's transaction.
    pub(super) fn write(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let digest = self.digest.bits().cast_signed();
        let values =
            params![self.epoch.as_bytes(), self.boot, super::signed(self.watermark), digest, self.seal()];
        connection
            .prepare_cached(
                "UPDATE journal SET epoch = ?1, boot = ?2, watermark = ?3, digest = ?4, seal = ?5 WHERE rowid = 1",
            )?
            .execute(values)
            .map(drop)
    }
}

/// Opens the file or makes it, judges it, and counts the boot.
pub(super) fn open(path: &Path, wal_frames: &Arc<AtomicU32>) -> Result<(Connection, Life), OpenError> {
    let connection = connect(path, wal_frames)?;
    if !is_made(&connection, path)? {
        make(&connection, path, Root::new(random_epoch(path)?), &[])?;
    }
    let mut life = judge(&connection, path)?;
    life.root.boot = life.root.boot.saturating_add(1);
    life.root.write(&connection).map_err(|source| open_error(path, "count the start", source))?;
    Ok((connection, life))
}

/// Opens the file again within the same boot.
pub(super) fn reopen(path: &Path, wal_frames: &Arc<AtomicU32>) -> Result<(Connection, Life), OpenError> {
    let connection = connect(path, wal_frames)?;
    let life = judge(&connection, path)?;
    Ok((connection, life))
}

/// Damage is told apart from refusal: the former is salvaged, the latter is for a person.
pub(super) fn open_error(path: &Path, doing: &'static str, source: rusqlite::Error) -> OpenError {
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenError::Damaged { path: path.to_owned(), reason: source.to_string() }
        }
        _ => OpenError::Sqlite { path: path.to_owned(), doing, source },
    }
}

/// A connection with every setting made, and those that durability rests on read back.
pub(super) fn connect(path: &Path, wal_frames: &Arc<AtomicU32>) -> Result<Connection, OpenError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection =
        Connection::open_with_flags(path, flags).map_err(|source| open_error(path, "open it", source))?;
    let error = |source| open_error(path, "set it up", source);
    let foreign = |reason| OpenError::Foreign { path: path.to_owned(), reason };

    // The page size counts only before the first page is written. Exclusive before WAL: then the index of the log
    // lies in our memory, and nothing of it is shared with, or damaged by, another process.
    connection.pragma_update(None, "page_size", PAGE_BYTES as i64).map_err(error)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(error)?;
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(error)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(error)?;
    if tables > 0 && id != APPLICATION_ID {
        return Err(foreign(format!("its application id is {id:#x}, a journal has {APPLICATION_ID:#x}")));
    }
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(error)?;
    // Anything less than FULL rolls committed scans back at a power cut.
    connection.pragma_update(None, "synchronous", "FULL").map_err(error)?;
    let synchronous: i64 =
        connection.pragma_query_value(None, "synchronous", |row| row.get(0)).map_err(error)?;
    let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(error)?;
    if mode != "wal" || synchronous != 2 || page != PAGE_BYTES as i64 {
        let got = format!("journal_mode {mode}, synchronous {synchronous}, page_size {page}");
        return Err(foreign(format!("it must run with WAL, FULL and {PAGE_BYTES}; SQLite gives {got}")));
    }
    // The log is overwritten in place for ever; truncating it would give its blocks back.
    connection.pragma_update(None, "journal_size_limit", -1).map_err(error)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(error)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(error)?;
    connection.pragma_update(None, "temp_store", "MEMORY").map_err(error)?;
    // This hook takes the place of SQLite's own, which would copy the log in the middle of a scan's commit.
    let frames = Arc::clone(wal_frames);
    connection
        .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count: std::ffi::c_int| {
            frames.store(count.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(error)?;
    Ok(connection)
}

fn is_made(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
    connection
        .query_row("SELECT 1 FROM sqlite_master WHERE name = 'journal'", [], |_| Ok(()))
        .optional()
        .map(|made| made.is_some())
        .map_err(|source| open_error(path, "look for its tables", source))
}

/// One transaction, so that a crash leaves either no journal or a whole one.
pub(super) fn make(
    connection: &Connection,
    path: &Path,
    root: Root,
    events: &[Event],
) -> Result<(), OpenError> {
    let made = (|| {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        connection.pragma_update(None, "user_version", FORMAT)?;
        connection.execute_batch(TABLES)?;
        connection.execute("INSERT INTO journal VALUES (x'', 0, 0, 0, 0)", [])?;
        root.write(connection)?;
        for (at, event) in events.iter().enumerate() {
            let sequence = Sequence::new(1 + at as u64);
            let row = row::seal(root.epoch, sequence, event.encode());
            connection.execute("INSERT INTO event VALUES (?1, ?2)", params![super::signed(sequence), row])?;
        }
        connection.execute_batch("COMMIT")
    })();
    made.map_err(|source| open_error(path, "make its tables", source))?;
    sync_directory(path).map_err(|source| OpenError::File {
        path: path.to_owned(),
        doing: "make its name durable",
        source,
    })
}

/// Reads what the file says about itself, and refuses what cannot be true.
fn judge(connection: &Connection, path: &Path) -> Result<Life, OpenError> {
    let error = |source| open_error(path, "read it", source);
    let damaged = |reason: String| OpenError::Damaged { path: path.to_owned(), reason };
    let format: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(error)?;
    if format != FORMAT {
        let reason = format!("it has format {format}, this version reads {FORMAT}");
        return Err(OpenError::Foreign { path: path.to_owned(), reason });
    }
    let root = connection
        .query_row("SELECT epoch, boot, watermark, digest, seal FROM journal WHERE rowid = 1", [], |row| {
            let numbers = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
            Ok(Root::unseal(row.get_ref(0)?.as_blob()?, numbers))
        })
        .optional()
        .map_err(error)?
        .flatten()
        .ok_or_else(|| damaged("its epoch and watermark do not read back".into()))?;
    let Root { epoch, watermark, .. } = root;
    let watermark = watermark.get();
    // The first and the last key, not a scan: the start must not take longer the more is stored.
    let end =
        |query: &str| connection.query_row(query, [], |row| row.get::<_, Option<i64>>(0)).map_err(error);
    let last = end("SELECT max(sequence) FROM event")?.map_or(0, |key| key as u64);
    let first = end("SELECT min(sequence) FROM event")?.map(|key| key as u64);
    let head = last.max(watermark);
    let kept_after = first.map_or(head, |first| first.saturating_sub(1));
    if kept_after > watermark {
        return Err(damaged(format!("rows {} to {kept_after} are missing", watermark + 1)));
    }
    if last != 0 && last < watermark {
        return Err(damaged(format!("it ends at {last}, and {watermark} is acknowledged")));
    }
    let (frames, _) = connection
        .wal_checkpoint_v2(DEFAULT_NAME, CheckpointMode::NOOP)
        .map_err(|source| open_error(path, "look at its log", source))?;
    let fault = log::fault(&beside(path, "-wal"), frames.unsigned_abs())
        .map_err(|source| OpenError::File { path: path.to_owned(), doing: "look at its log", source })?;
    if let Some(reason) = fault {
        return Err(damaged(reason));
    }
    check_tail(connection, path, epoch)?;
    if page_count(connection).map_err(error)? * PAGE_BYTES <= QUICK_CHECK_BYTES_MAX {
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(error)?;
        if verdict != "ok" {
            return Err(damaged(verdict));
        }
    }
    Ok(Life { root, head: Sequence::new(head), kept_after: Sequence::new(kept_after) })
}

fn check_tail(connection: &Connection, path: &Path, epoch: Epoch) -> Result<(), OpenError> {
    let error = |source| open_error(path, "read its last rows", source);
    let mut statement = connection
        .prepare("SELECT sequence, row FROM event ORDER BY sequence DESC LIMIT ?1")
        .map_err(error)?;
    let mut rows = statement.query(params![TAIL_CHECKED]).map_err(error)?;
    let mut below = None;
    while let Some(found) = rows.next().map_err(error)? {
        let sequence = Sequence::new(found.get::<_, i64>(0).map_err(error)? as u64);
        let damaged = |reason| OpenError::Damaged {
            path: path.to_owned(),
            reason: format!("row {sequence}: {reason}"),
        };
        if below.is_some_and(|below: Sequence| sequence.next() != Some(below)) {
            return Err(damaged("the next one is missing".to_owned()));
        }
        let bytes: Vec<u8> = found.get(1).map_err(|source| damaged(source.to_string()))?;
        row::unseal(epoch, sequence, &bytes).map_err(|fault| damaged(fault.to_string()))?;
        below = Some(sequence);
    }
    Ok(())
}

pub(super) fn random_epoch(path: &Path) -> Result<Epoch, OpenError> {
    let mut bytes = [0; 16];
    // Blocks until the kernel's pool is filled, seconds after a first start: an epoch must never come twice.
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match got {
        Ok(16) => Ok(Epoch::from_bytes(bytes)),
        Ok(count) => Err(random_error(path, format!("the random source gave {count} of 16 bytes"))),
        Err(error) => Err(random_error(path, error)),
    }
}

fn random_error(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
    OpenError::File { path: path.to_owned(), doing: "draw its epoch", source: std::io::Error::other(source) }
}
