//! The journal on disk: one SQLite file in WAL mode, one writer, one flush for each append.
//!
//! ```text
//!  append: BEGIN -> rows -> watermark, when the gateway moved it -> bounded trim -> COMMIT = one fdatasync
//!                                                                      |
//!  journal.db-wal   [ frame | frame | frame | zeros ............ ] <---+   grown once, then overwritten for ever
//!  journal.db       [ page 1 | ... ] <--- passive checkpoint, when nobody waits
//!  journal.db.lock  the holder's process id      journal.db.reserve  blocks kept back for trimming on a full disk
//! ```
//!
//! The choices, each measured (docs/benchmarks, docs/decisions): pages of 512 bytes, because a frame is a page and 24
//! bytes and an isolated scan then dirties one block of the disk; a log that never grows or shrinks, because growing
//! costs a flush of the file system's own journal; `synchronous=FULL`, because anything less loses committed rows at
//! a power cut; a watermark instead of one deletion for each row.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, DEFAULT_NAME, ErrorCode, params};
use stockwire_protocol::cbor::{EVENT_BYTES_MAX, Message as _};
use stockwire_protocol::{Digest, Epoch, Event, Sequence};

use crate::journal::{Journal, JournalError, ReadLimit};

mod error;
mod lock;
mod log;
mod reader;
mod row;
mod salvage;
mod schema;
mod space;

pub use error::OpenError;
use lock::{Lock, LockError, beside};
pub use reader::JournalReader;
pub use row::{RowFault, StoredRow};
pub use salvage::Salvage;
use schema::Root;
use space::sync_directory;

/// Bytes of a page; see the module's text. Fixed with the first table of a file.
const PAGE_BYTES: u64 = 512;
/// A frame of the write-ahead log: the page and its header.
const FRAME_BYTES: u64 = PAGE_BYTES + 24;
/// Frames for which the log has room on disk: 2.1 MiB, which a start after a crash reads in a few milliseconds.
const WAL_FRAMES: u32 = 4_096;
/// From here on [`SqliteJournal::maintain`] copies the log into the file. Early enough that a burst of scans still
/// fits behind it, late enough that a page that changes often is copied once for hundreds of scans.
const CHECKPOINT_FRAMES: u32 = WAL_FRAMES / 2;
/// From here on an append copies first, and is refused when that fails. The quarter that is left belongs to trims and
/// acknowledgements, which must work when the disk is full.
const CHECKPOINT_FRAMES_URGENT: u32 = WAL_FRAMES / 4 * 3;
/// Pages of the quota that only trims may use.
const RESERVE_PAGES: u64 = 64;
/// Rows that the gateway holds and that are kept all the same: should it be restored from a backup, it asks for them
/// again. A busy site records 20,000 movements a day, and backups are taken nightly.
pub const RETAINED_ROWS_DEFAULT: u64 = 20_000;
/// Rows trimmed in the transaction of an append: enough to keep pace, at a fraction of a flush's time.
const TRIM_STEP: u64 = 256;
/// Rows trimmed at once when nobody waits, or when an append needs the room.
const TRIM_STEP_IDLE: u64 = 4_096;
/// Page cache: the way to the last leaf and the pages of a large read. More only costs resident memory.
const CACHE_KIB: i64 = 256;
/// A file up to this size is checked page by page at each start, within a few milliseconds. In a larger one each row
/// is checked when it is read, before it is sent; `journal verify` checks everything on demand.
const QUICK_CHECK_BYTES_MAX: u64 = 1024 * 1024;

/// Where the journal is, and how much it may hold.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// The file; its companions are named after it.
    pub path: PathBuf,
    /// Bytes that the file may have. The log and the reserve beside it add 4.2 MiB.
    pub quota_bytes: u64,
    /// See [`RETAINED_ROWS_DEFAULT`]. They give way when room is needed.
    pub retained_rows: u64,
}

impl JournalOptions {
    /// Smallest quota that makes sense: some thousands of events.
    pub const QUOTA_BYTES_MIN: u64 = 256 * 1024;

    /// With the retention at its default.
    pub fn new(path: impl Into<PathBuf>, quota_bytes: u64) -> Self {
        Self { path: path.into(), quota_bytes, retained_rows: RETAINED_ROWS_DEFAULT }
    }
}

/// The journal on disk.
#[derive(Debug)]
pub struct SqliteJournal {
    options: JournalOptions,
    /// `None` after a failed write or flush: nothing is asked of that connection again, see [`Self::reopen`].
    open: Option<Connection>,
    lock: Arc<Lock>,
    /// What the file says about itself. Its watermark is behind ours until the next append or [`Self::save_watermark`].
    durable: Root,
    head: Sequence,
    watermark: Sequence,
    digest: Digest,
    kept_after: Sequence,
    /// Frames in the log after the last commit.
    wal_frames: Arc<AtomicU32>,
    growth: Growth,
}

/// Whether the file may grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Growth {
    /// Up to the quota.
    Quota,
    /// The disk is full and the reserve has been given up: only pages that trims set free are used again.
    None,
}

/// How the journal stands, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalStats {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes allowed.
    pub quota_bytes: u64,
    /// Frames in the write-ahead log.
    pub wal_frames: u32,
    /// The disk is full: the reserve has been given up.
    pub disk_full: bool,
    /// A write failed; the journal takes nothing until it has been opened again.
    pub poisoned: bool,
}

impl SqliteJournal {
    /// Opens the journal, or makes it with a new epoch when there is none. Each opening counts as a boot.
    ///
    /// The time it takes does not depend on how much is stored.
    ///
    /// # Errors
    /// [`OpenError`]; with [`OpenError::Damaged`] nothing has been changed.
    pub fn open(options: JournalOptions) -> Result<Self, OpenError> {
        let lock = take_lock(&options.path)?;
        Self::open_locked(options, Arc::new(lock))
    }

    /// Opens the journal, and when it is damaged sets it aside and begins a new life with what can be read.
    ///
    /// # Errors
    /// [`OpenError`], never `Damaged`.
    pub fn open_or_salvage(
        options: JournalOptions,
        unix_s: i64,
    ) -> Result<(Self, Option<Salvage>), OpenError> {
        let lock = Arc::new(take_lock(&options.path)?);
        salvage::finish(&options.path, unix_s)?;
        match Self::open_locked(options.clone(), Arc::clone(&lock)) {
            Ok(journal) => Ok((journal, None)),
            Err(OpenError::Damaged { reason, .. }) => {
                let salvage = salvage::set_aside(&options.path, &reason, unix_s)?;
                Ok((Self::open_locked(options, lock)?, Some(salvage)))
            }
            Err(error) => Err(error),
        }
    }

    /// As [`Self::open_or_salvage`], for damage that was met later, by reading.
    ///
    /// # Errors
    /// [`OpenError`]; the journal then takes nothing until [`Self::reopen`] succeeds.
    pub fn salvage(&mut self, reason: &str, unix_s: i64) -> Result<Salvage, OpenError> {
        self.open = None;
        let salvage = salvage::set_aside(&self.options.path, reason, unix_s)?;
        *self = Self::open_locked(self.options.clone(), Arc::clone(&self.lock))?;
        Ok(salvage)
    }

    /// Earlier lives of this journal whose rows the gateway does not hold yet, oldest first: left by a salvage. They
    /// are journals of their own, to be sent before this one and then [retired](Self::retire).
    ///
    /// # Errors
    /// [`OpenError::File`] when the directory cannot be listed.
    pub fn earlier_lives(path: &Path) -> Result<Vec<PathBuf>, OpenError> {
        let mut lives = Vec::new();
        for before in salvage::before(path)? {
            lives.extend(Self::earlier_lives(&before)?);
            lives.push(before);
        }
        Ok(lives)
    }

    /// Deletes an earlier life whose rows are all at the gateway.
    ///
    /// # Errors
    /// [`OpenError::File`]; it is then sent again after the next start, which has no second effect.
    pub fn retire(mut self) -> Result<(), OpenError> {
        assert_eq!(self.watermark, self.head, "no row is forgotten before the gateway holds it");
        self.open = None;
        let path = self.options.path;
        // The file last: it is what the next start looks for.
        for name in [beside(&path, "-wal"), beside(&path, ".reserve"), beside(&path, ".lock"), path.clone()] {
            match fs::remove_file(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(OpenError::File { path: name, doing: "delete it", source: error });
                }
                _ => {}
            }
        }
        sync_directory(&path).map_err(|source| OpenError::File { path, doing: "delete it", source })
    }

    /// Begins a new epoch, because the gateway holds more of this one than this file: it was restored from a copy.
    /// The old file is kept as `.behind-<time>`. Rows after `own_after`, recorded since this process started and so
    /// never in any copy, move over; not those that the gateway was seen to hold.
    ///
    /// # Errors
    /// [`OpenError`]; the journal then takes nothing until [`Self::reopen`] succeeds.
    pub fn begin_new_epoch(&mut self, own_after: Sequence, unix_s: i64) -> Result<PathBuf, OpenError> {
        let all = ReadLimit { events: usize::MAX, bytes: usize::MAX };
        let own = self.read(own_after.max(self.watermark), all).map_err(|error| OpenError::File {
            path: self.options.path.clone(),
            doing: "read the rows of this run",
            source: io::Error::other(error),
        })?;
        self.open = None;
        let kept = salvage::replace(&self.options.path, &own, ".behind", unix_s)?;
        *self = Self::open_locked(self.options.clone(), Arc::clone(&self.lock))?;
        Ok(kept)
    }

    fn open_locked(options: JournalOptions, lock: Arc<Lock>) -> Result<Self, OpenError> {
        let wal_frames = Arc::new(AtomicU32::new(0));
        let (connection, life) = schema::open(&options.path, &wal_frames)?;
        let mut journal = Self {
            open: None,
            lock,
            durable: life.root,
            head: life.head,
            watermark: life.root.watermark,
            digest: life.root.digest,
            kept_after: life.kept_after,
            wal_frames,
            growth: Growth::Quota,
            options,
        };
        journal.grow_log_and_reserve();
        journal.open = Some(connection);
        journal
            .limit_pages(journal.pages_for_appends())
            .map_err(|source| journal.open_error("set the quota", source))?;
        Ok(journal)
    }

    /// After an error that poisons: closes the file, opens it again and checks that it still holds what it promised.
    ///
    /// A failed flush is never tried again: the kernel may have dropped the pages, so a second flush that succeeds
    /// proves nothing. What was refused then and reached the disk all the same is taken back, because the operator
    /// was told that it is not stored.
    ///
    /// # Errors
    /// [`OpenError`]; `Damaged` when promised rows are missing. The journal stays closed.
    pub fn reopen(&mut self) -> Result<(), OpenError> {
        self.open = None;
        let (connection, life) = schema::reopen(&self.options.path, &self.wal_frames)?;
        let damaged = |reason| OpenError::Damaged { path: self.options.path.clone(), reason };
        if life.root.epoch != self.durable.epoch {
            return Err(damaged(format!(
                "it now has epoch {}, it had {}",
                life.root.epoch, self.durable.epoch
            )));
        }
        if life.head < self.head {
            return Err(damaged(format!("it ends at {}, rows up to {} were durable", life.head, self.head)));
        }
        connection
            .execute("DELETE FROM event WHERE sequence > ?1", params![signed(self.head)])
            .map_err(|source| self.open_error("take back refused rows", source))?;
        self.durable = life.root;
        self.kept_after = life.kept_after;
        self.open = Some(connection);
        self.limit_pages(self.pages_for_appends()).map_err(|source| self.open_error("set the quota", source))
    }

    /// Work that nobody waits for: trims, copies the log into the file, and gets the reserve back. Does nothing, and
    /// flushes nothing, unless [`Self::wants_maintenance`].
    ///
    /// # Errors
    /// As [`Journal::append`]. Call it again soon while it returns [`Maintenance::More`].
    pub fn maintain(&mut self) -> Result<Maintenance, JournalError> {
        self.grow_again()?;
        let surplus = self.surplus_rows();
        if surplus >= TRIM_STEP {
            self.trim(surplus.min(TRIM_STEP_IDLE), "trim")?;
        }
        if self.wal_frames.load(Ordering::Relaxed) >= CHECKPOINT_FRAMES {
            self.checkpoint()?;
        }
        Ok(if self.surplus_rows() >= TRIM_STEP { Maintenance::More } else { Maintenance::Done })
    }

    /// Whether [`Self::maintain`] has something to do.
    pub fn wants_maintenance(&self) -> bool {
        self.growth == Growth::None
            || self.surplus_rows() >= TRIM_STEP
            || self.wal_frames.load(Ordering::Relaxed) >= CHECKPOINT_FRAMES
    }

    /// Makes the watermark durable, if no append has done so since it moved. This costs a flush; without it the gateway
    /// is only sent again, after a restart, what it has.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn save_watermark(&mut self) -> Result<(), JournalError> {
        self.trim(0, "save its watermark")
    }

    /// Rows as they are stored, checked, from `after + 1` on: for `journal tail`, `verify` and `export`.
    ///
    /// # Errors
    /// As [`Journal::read`].
    pub fn rows(&self, after: Sequence, limit: ReadLimit) -> Result<Vec<StoredRow>, JournalError> {
        row::read(self.connection("read")?, self.durable.epoch, after, self.head, limit)
    }

    /// How it stands.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the file does not answer.
    pub fn stats(&self) -> Result<JournalStats, JournalError> {
        let used_bytes = match &self.open {
            Some(connection) => {
                used_bytes(connection).map_err(|source| JournalError::io("count its pages", source))?
            }
            None => 0,
        };
        Ok(JournalStats {
            used_bytes,
            quota_bytes: self.options.quota_bytes,
            wal_frames: self.wal_frames.load(Ordering::Relaxed),
            disk_full: self.growth == Growth::None,
            poisoned: self.open.is_none(),
        })
    }

    /// Whether it takes nothing until it has been [reopened](Self::reopen).
    pub fn is_poisoned(&self) -> bool {
        self.open.is_none()
    }

    /// Files that were put aside beside a journal and are kept for people.
    ///
    /// # Errors
    /// [`OpenError::File`] when the directory cannot be listed.
    pub fn set_aside(path: &Path) -> Result<Vec<PathBuf>, OpenError> {
        salvage::beside_with(path, |rest| {
            let kept =
                [".corrupt-", ".behind-", ".replaced-"].iter().find_map(|kind| rest.strip_prefix(kind));
            kept.is_some_and(|time| time.bytes().all(|byte| byte.is_ascii_digit()))
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.options.path
    }

    fn connection(&self, doing: &'static str) -> Result<&Connection, JournalError> {
        self.open
            .as_ref()
            .ok_or_else(|| JournalError::io(doing, "an earlier write failed; it has to be opened again"))
    }

    /// One transaction: rows, watermark, trim. Durable when it returns `Ok`, without effect when it returns `Err`.
    fn commit(&mut self, rows: &[Vec<u8>], trim: u64, doing: &'static str) -> Result<(), Refused> {
        let connection = self.connection(doing).map_err(Refused::Other)?;
        let first = self.head.get();
        let kept_after = self.kept_after.get() + trim;
        let root = Root { watermark: self.watermark, digest: self.digest, ..self.durable };
        let written = (|| {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            let mut insert =
                connection.prepare_cached("INSERT INTO event (sequence, row) VALUES (?1, ?2)")?;
            for (at, row) in rows.iter().enumerate() {
                insert.execute(params![(first + 1 + at as u64) as i64, row])?;
            }
            if root != self.durable {
                root.write(connection)?;
            }
            if trim > 0 {
                connection
                    .prepare_cached("DELETE FROM event WHERE sequence <= ?1")?
                    .execute(params![kept_after as i64])?;
            }
            // The flush. The row is on disk when it returns, and only then does the operator hear `good`.
            connection.execute_batch("COMMIT")
        })();
        if let Err(error) = written {
            if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
                // SQLite may have rolled back by itself. A roll-back reads, it does not write.
                if connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok() {
                    return Err(Refused::NoRoom);
                }
            }
            return Err(Refused::Other(self.poisoned_by(doing, error)));
        }
        self.head = Sequence::new(first + rows.len() as u64);
        self.durable = root;
        self.kept_after = Sequence::new(kept_after);
        Ok(())
    }

    /// Deletes the oldest rows that the gateway holds, and makes the watermark durable.
    fn trim(&mut self, rows: u64, doing: &'static str) -> Result<(), JournalError> {
        if rows == 0 && self.watermark == self.durable.watermark {
            return Ok(());
        }
        self.limit_pages(self.quota_pages()).map_err(|source| self.poisoned_by(doing, source))?;
        let trimmed = self.commit(&[], rows.min(self.acknowledged_rows()), doing);
        self.limit_pages(self.pages_for_appends()).map_err(|source| self.poisoned_by(doing, source))?;
        trimmed.map_err(|refused| self.refused(refused))
    }

    /// Rows that the gateway holds.
    fn acknowledged_rows(&self) -> u64 {
        self.watermark.get().saturating_sub(self.kept_after.get())
    }

    /// Those of them beyond the retention.
    fn surplus_rows(&self) -> u64 {
        self.acknowledged_rows().saturating_sub(self.options.retained_rows)
    }

    /// Copies the log into the file; the log then begins anew at its first byte.
    ///
    /// When the disk has no room for what the file grows by, the reserve is spent on it, at once: room that is merely
    /// set free belongs to whoever writes first.
    fn checkpoint(&mut self) -> Result<(), JournalError> {
        match self.copy_log() {
            Err(Refused::NoRoom) if self.growth == Growth::Quota => {
                tracing::error!("the disk is full: scans go on only into room that acknowledgements free");
                self.give_up_reserve();
                self.copy_log().map_err(|refused| self.refused(refused))
            }
            outcome => outcome.map_err(|refused| self.refused(refused)),
        }
    }

    fn copy_log(&mut self) -> Result<(), Refused> {
        let connection = self.connection("checkpoint").map_err(Refused::Other)?;
        match connection.wal_checkpoint_v2(DEFAULT_NAME, rusqlite::wal::CheckpointMode::PASSIVE) {
            Ok((frames, copied)) if frames == copied => {
                self.wal_frames.store(0, Ordering::Relaxed);
                Ok(())
            }
            // Nobody else reads this file, so that a part can only be left over by a bug.
            Ok((frames, copied)) => {
                let what = format!("{copied} of {frames} frames were copied");
                Err(Refused::Other(self.poisoned_by("checkpoint", what)))
            }
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Err(Refused::NoRoom),
            Err(error) => Err(Refused::Other(self.poisoned_by("checkpoint", error))),
        }
    }

    /// What an append that found no room tries: whether the disk has some again, then rows kept for comfort go, then
    /// the reserve.
    fn make_room(&mut self) -> Result<(), JournalError> {
        if self.grow_again()? {
            return Ok(());
        }
        if self.growth == Growth::Quota && space::disk_is_full(&self.options.path) {
            tracing::error!("the disk is full: scans go on only into room that acknowledgements free");
            self.give_up_reserve();
            self.checkpoint()?;
        } else if self.acknowledged_rows() == 0 {
            return Err(self.full());
        }
        self.trim(TRIM_STEP_IDLE, "make room")
    }

    fn full(&self) -> JournalError {
        let used = self.open.as_ref().and_then(|connection| used_bytes(connection).ok()).unwrap_or(0);
        match self.growth {
            Growth::Quota => JournalError::Full { used, quota: self.options.quota_bytes },
            Growth::None => JournalError::DiskFull { used },
        }
    }

    fn refused(&self, refused: Refused) -> JournalError {
        match refused {
            Refused::NoRoom => self.full(),
            Refused::Other(error) => error,
        }
    }

    fn poisoned_by(
        &mut self,
        doing: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> JournalError {
        self.open = None;
        JournalError::io(doing, source)
    }

    fn open_error(&self, doing: &'static str, source: rusqlite::Error) -> OpenError {
        schema::open_error(&self.options.path, doing, source)
    }

    fn quota_pages(&self) -> u64 {
        self.options.quota_bytes / PAGE_BYTES
    }

    fn pages_for_appends(&self) -> u64 {
        match self.growth {
            Growth::Quota => self.quota_pages().saturating_sub(RESERVE_PAGES),
            // SQLite raises it to what there is.
            Growth::None => 1,
        }
    }

    fn limit_pages(&self, pages: u64) -> Result<(), rusqlite::Error> {
        let Some(connection) = &self.open else { return Ok(()) };
        connection.pragma_update_and_check(None, "max_page_count", pages as i64, |_| Ok(()))
    }

    /// A full disk does not stop the start: then what there is has to do.
    fn grow_log_and_reserve(&mut self) {
        let grown =
            space::grow_log(&self.options.path).and_then(|()| space::grow_reserve(&self.options.path));
        if let Err(error) = grown {
            tracing::warn!(%error, "no room for the journal's log and reserve; scans go on only into free room");
            self.growth = Growth::None;
        }
    }

    /// After a full disk: up to the quota again, as soon as the reserve can be had.
    fn grow_again(&mut self) -> Result<bool, JournalError> {
        if self.growth == Growth::Quota || space::grow_reserve(&self.options.path).is_err() {
            return Ok(false);
        }
        tracing::info!("the disk has room again: the journal's reserve is back");
        self.growth = Growth::Quota;
        self.limit_pages(self.pages_for_appends())
            .map_err(|source| self.poisoned_by("set the quota", source))?;
        Ok(true)
    }

    fn give_up_reserve(&mut self) {
        self.growth = Growth::None;
        if let Err(error) = space::remove_reserve(&self.options.path) {
            tracing::error!(%error, "the journal's reserve cannot be given up");
        }
        if let Err(error) = self.limit_pages(self.pages_for_appends()) {
            tracing::error!(%error, "the journal's size cannot be held");
        }
    }
}

/// What [`SqliteJournal::maintain`] left over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maintenance {
    /// Nothing.
    Done,
    /// There is more to trim than one step takes.
    More,
}

/// Why a transaction had no effect.
enum Refused {
    NoRoom,
    Other(JournalError),
}

impl Journal for SqliteJournal {
    fn epoch(&self) -> Epoch {
        self.durable.epoch
    }

    fn boot(&self) -> u32 {
        self.durable.boot
    }

    fn head(&self) -> Sequence {
        self.head
    }

    fn watermark(&self) -> Sequence {
        self.watermark
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn kept_after(&self) -> Sequence {
        self.kept_after
    }

    fn append(&mut self, events: &[Event]) -> Result<Sequence, JournalError> {
        if events.is_empty() {
            return Ok(self.head);
        }
        // SQLite's keys are signed.
        match self.head.checked_add(events.len() as u64) {
            Some(last) if last.get() <= i64::MAX as u64 => {}
            _ => return Err(JournalError::Exhausted),
        }
        let mut rows = Vec::with_capacity(events.len());
        for (at, event) in events.iter().enumerate() {
            let bytes = event.encode();
            if bytes.len() > EVENT_BYTES_MAX {
                return Err(JournalError::TooLarge { at, bytes: bytes.len(), max: EVENT_BYTES_MAX });
            }
            let sequence = Sequence::new(self.head.get() + 1 + at as u64);
            rows.push(row::seal(self.durable.epoch, sequence, bytes));
        }
        if self.wal_frames.load(Ordering::Relaxed) >= CHECKPOINT_FRAMES_URGENT {
            self.checkpoint()?;
        }
        let trim = if self.surplus_rows() >= TRIM_STEP { TRIM_STEP } else { 0 };
        match self.commit(&rows, trim, "append") {
            Err(Refused::NoRoom) => {
                self.make_room()?;
                self.commit(&rows, 0, "append").map_err(|refused| self.refused(refused))?;
            }
            outcome => outcome.map_err(|refused| self.refused(refused))?,
        }
        Ok(self.head)
    }

    fn read(&self, after: Sequence, limit: ReadLimit) -> Result<Vec<Event>, JournalError> {
        if after < self.kept_after {
            return Err(JournalError::Forgotten { after, kept_after: self.kept_after });
        }
        self.rows(after, limit)?.into_iter().map(StoredRow::into_event).collect()
    }

    fn handle_ack(&mut self, watermark: Sequence, digest: Digest) -> Result<(), JournalError> {
        if watermark > self.head {
            return Err(JournalError::AckAboveHead { watermark, head: self.head });
        }
        // It reaches the disk with the next append or `save_watermark`: a flush of its own would double the writes.
        if watermark > self.watermark {
            (self.watermark, self.digest) = (watermark, digest);
        }
        Ok(())
    }
}

fn take_lock(path: &Path) -> Result<Lock, OpenError> {
    Lock::take(path).map_err(|error| match error {
        LockError::Held(pid) => OpenError::InUse { path: path.to_owned(), pid },
        LockError::Io(source) => OpenError::File { path: path.to_owned(), doing: "lock it", source },
    })
}

fn signed(sequence: Sequence) -> i64 {
    // `append` keeps the head below 2^63.
    sequence.get() as i64
}

fn page_count(connection: &Connection) -> Result<u64, rusqlite::Error> {
    connection
        .prepare_cached("PRAGMA page_count")?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(|pages| pages as u64)
}

fn used_bytes(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let free: i64 = connection.prepare_cached("PRAGMA freelist_count")?.query_row([], |row| row.get(0))?;
    Ok((page_count(connection)?.saturating_sub(free as u64)) * PAGE_BYTES)
}
