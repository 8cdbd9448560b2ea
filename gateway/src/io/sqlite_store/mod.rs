//! The embedded store: one SQLite file, in write-ahead mode with every commit on the disk before it returns.

use std::error::Error;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use stockwire_protocol::{Digest, Disposition, Epoch, LocationId, Lot, MovementId, Place, Sequence, Uom};

use crate::lease::Grant;
use crate::store::{PAGE_ROWS_MAX, StoreError};

mod books;
mod catalogue;
mod codes;
mod escrow;
mod ingest;
mod leases;
mod letters;
mod offers;
mod orders;
mod picture;
mod postings;
mod queries;
mod reader;
mod reconcile;
mod reservations;
mod schema;
mod tasks;
mod writer;

#[cfg(test)]
mod tests;

/// How long a statement waits for another process (a command on the same file) before it is [`StoreError::Busy`].
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements kept compiled: all that exist here, with room.
const STATEMENTS_MAX: usize = 200;
/// Pages kept in memory, in KiB: the hot end of every b-tree of a site with a million balances.
const CACHE_KIB: i64 = 64 * 1024;
/// Write-ahead pages between checkpoints: 16 MiB, so that a burst of ingest is not interrupted every few groups,
/// and a start after a crash reads them back within a fraction of a second.
const CHECKPOINT_PAGES: i64 = 4_000;

/// The writer, of which there is one.
pub struct SqliteStore {
    connection: Connection,
    /// The lease under which everything is written that is written now.
    fence: Option<Grant>,
}

/// A second connection that can only read: it serves the API while the writer writes.
pub struct SqliteReader {
    connection: Connection,
}

impl SqliteStore {
    /// Opens or makes a database file and brings its schema forward.
    ///
    /// # Errors
    /// When the file cannot be opened, is newer than this build or cannot commit durably.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path).map_err(database("opening the database"))?;
        Self::start(connection, false)
    }

    /// A database that lives as long as this value: for the simulated world and for tests.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn memory() -> Result<Self, StoreError> {
        Self::start(Connection::open_in_memory().map_err(database("opening the database"))?, true)
    }

    fn start(mut connection: Connection, in_memory: bool) -> Result<Self, StoreError> {
        prepare(&connection)?;
        schema::make_durable(&connection, in_memory)?;
        set(&connection, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        schema::migrate(&mut connection)?;
        Ok(Self { connection, fence: None })
    }

    /// One transaction: everything that `work` did is kept when it succeeds, and nothing when it fails.
    fn write<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // Immediate: the write lock is taken before anything is read, so what was read still holds at the commit.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(database(doing))?;
        if let Some(grant) = &self.fence {
            leases::check(&transaction, grant)?;
        }
        let result = work(&transaction)?;
        transaction.commit().map_err(database(doing))?;
        Ok(result)
    }
}

impl SqliteReader {
    /// Opens a database that a [`SqliteStore`] has made.
    ///
    /// # Errors
    /// When there is none, or its schema is not this build's.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(database("opening the database"))?;
        prepare(&connection)?;
        let (found, known) = (schema::version(&connection)?, schema::known_version());
        if found != known {
            return Err(StoreError::Schema { found, known });
        }
        Ok(Self { connection })
    }

    /// Writes everything that is committed at this moment into a new file, on the disk when this returns.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    pub fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        const DOING: &str = "copying the database";
        let lost = |fault: std::io::Error| StoreError::Database { doing: DOING, source: Box::new(fault) };
        let name = path.to_str().ok_or_else(|| StoreError::Refused {
            reason: format!("{} is no path that SQLite can name", path.display()),
        })?;
        self.connection.execute("VACUUM INTO ?1", [name]).map_err(database(DOING))?;
        // SQLite leaves that to the system's pleasure, and a backup is for the day after a power cut.
        std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(lost)?;
        match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(lost),
            None => Ok(()),
        }
    }
}

/// What can be read from: both kinds of connection, by the same code.
pub trait Connected: Send {
    /// The connection.
    fn connection(&self) -> &Connection;
}

impl Connected for SqliteStore {
    fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Connected for SqliteReader {
    fn connection(&self) -> &Connection {
        &self.connection
    }
}

fn prepare(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY_TIMEOUT).map_err(database("setting up the database"))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // A plan never depends on a bound value: else SQLite compiles cached statements anew at nearly every use (LIMIT ?).
    let plans_stay = connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true);
    plans_stay.map_err(database("setting up the database"))?;
    set(connection, "cache_size", -CACHE_KIB)?;
    set(connection, "temp_store", 2)
}

fn set(connection: &Connection, pragma: &'static str, value: i64) -> Result<(), StoreError> {
    connection.pragma_update(None, pragma, value).map_err(database("setting up the database"))
}

/// Sets a pragma that answers with what it became.
fn pragma_text(connection: &Connection, pragma: &str, value: &str) -> rusqlite::Result<String> {
    connection.pragma_update_and_check(None, pragma, value, |row| row.get(0))
}

/// Turns the database's error into ours, with what we were doing.
fn database(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |fault| match fault.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { doing },
        _ => StoreError::Database { doing, source: Box::new(fault) },
    }
}

/// A column as one of our types; what does not fit was not written by us.
fn text<T: FromStr>(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<T>
where
    T::Err: Error + Send + Sync + 'static,
{
    row.get_ref(at)?.as_str()?.parse().map_err(|fault| unreadable(at, Box::new(fault)))
}

/// The same, where an empty text or NULL stands for nothing.
fn optional<T: FromStr>(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Option<T>>
where
    T::Err: Error + Send + Sync + 'static,
{
    match row.get_ref(at)?.as_str_or_null()? {
        None | Some("") => Ok(None),
        Some(_) => text(row, at).map(Some),
    }
}

fn unreadable(at: usize, fault: Box<dyn Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, fault)
}

fn uom(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Uom> {
    let code = row.get_ref(at)?.as_str()?;
    Uom::from_code(code).ok_or_else(|| unreadable(at, format!("no unit {code:?}").into()))
}

fn disposition(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Option<Disposition>> {
    match row.get_ref(at)?.as_str()? {
        "" => Ok(None),
        word => match Disposition::from_cbv(word) {
            Some(disposition) => Ok(Some(disposition)),
            None => Err(unreadable(at, format!("no disposition {word:?}").into())),
        },
    }
}

fn digest(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Digest> {
    row.get::<_, i64>(at).map(|bits| Digest::from_bits(bits.cast_unsigned()))
}

fn epoch(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Epoch> {
    Ok(Epoch::from_bytes(row.get(at)?))
}

/// Kinds of places as the schema numbers them.
fn place_kind(place: &Place) -> (i64, &str) {
    match place {
        Place::At(location) => (0, location.as_str()),
        Place::Supplier => (1, ""),
        Place::Customer => (2, ""),
        Place::Loss => (3, ""),
        Place::Transit => (4, ""),
    }
}

/// The kind of physical places.
const PLACE_AT: i64 = 0;

/// A place from its columns kind and location, side by side.
fn place(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Place> {
    match row.get::<_, i64>(at)? {
        PLACE_AT => Ok(Place::At(text::<LocationId>(row, at + 1)?)),
        1 => Ok(Place::Supplier),
        2 => Ok(Place::Customer),
        3 => Ok(Place::Loss),
        4 => Ok(Place::Transit),
        kind => Err(unreadable(at, format!("no kind of place {kind}").into())),
    }
}

fn lot_text(lot: Option<&Lot>) -> &str {
    lot.map_or("", Lot::as_str)
}

fn disposition_text(disposition: Option<Disposition>) -> &'static str {
    disposition.map_or("", Disposition::as_str)
}

/// The event's key: its identity in one integer. `None` beyond what a stream can number.
fn event_key(stream: i64, sequence: Sequence) -> Option<i64> {
    let sequence = i64::try_from(sequence.get()).ok().filter(|n| *n < 1 << schema::SEQUENCE_BITS)?;
    (stream < 1 << (63 - schema::SEQUENCE_BITS)).then_some(stream << schema::SEQUENCE_BITS | sequence)
}

/// Stream and sequence of an event's key.
fn event_parts(key: i64) -> (i64, Sequence) {
    let sequence = key & ((1 << schema::SEQUENCE_BITS) - 1);
    (key >> schema::SEQUENCE_BITS, Sequence::new(sequence as u64))
}

/// The key of an event that is held, when its stream is known.
fn find_event(connection: &Connection, movement: &MovementId) -> Result<Option<i64>, StoreError> {
    use rusqlite::OptionalExtension as _;
    let mut statement = connection
        .prepare_cached("SELECT no FROM stream WHERE agent = ?1 AND epoch = ?2")
        .map_err(database("looking up a stream"))?;
    let stream: Option<i64> = statement
        .query_row((movement.agent.as_str(), movement.epoch.as_bytes()), |row| row.get(0))
        .optional()
        .map_err(database("looking up a stream"))?;
    Ok(stream.and_then(|stream| event_key(stream, movement.sequence)))
}

/// Rows of a page: what was asked for, within the limit.
fn page_rows(limit: usize) -> usize {
    if limit == 0 { PAGE_ROWS_MAX } else { limit.min(PAGE_ROWS_MAX) }
}

/// A state of the database that several statements see alike. When a transaction runs already, that is one.
enum View<'a> {
    Own(Transaction<'a>),
    Running(&'a Connection),
}

impl std::ops::Deref for View<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match self {
            View::Own(transaction) => transaction,
            View::Running(connection) => connection,
        }
    }
}

fn snapshot(connection: &Connection) -> Result<View<'_>, StoreError> {
    if !connection.is_autocommit() {
        return Ok(View::Running(connection));
    }
    connection.unchecked_transaction().map(View::Own).map_err(database("starting to read"))
}

/// One number out of `meta`.
fn meta(connection: &Connection, key: &str) -> Result<i64, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")
        .map_err(database("reading meta"))?;
    statement.query_row([key], |row| row.get(0)).map_err(database("reading meta"))
}

/// Counts a number in `meta` up and returns it.
fn bump(connection: &Connection, key: &str) -> Result<i64, StoreError> {
    let sql = "UPDATE meta SET value = value + 1 WHERE key = ?1 RETURNING value";
    let mut statement = connection.prepare_cached(sql).map_err(database("counting up"))?;
    statement.query_row([key], |row| row.get(0)).map_err(database("counting up"))
}
