//! The store for several replicas: PostgreSQL, from version 13 on.
//!
//! The database keeps the promise that there is one writer: every writing transaction first locks the one row of
//! `books`, so replicas write one after the other, rows of the books get their numbers in the order of the commits,
//! and what was read under the lock still holds at the commit. Each statement works on arrays, so a transaction costs
//! a handful of round trips however many events it holds.
//!
//! A connection that breaks is made anew. When it broke during a commit, the server is asked what became of that
//! transaction before anything is done again.

use std::path::PathBuf;

use crate::store::{PAGE_ROWS_MAX, StoreError};

mod books;
mod catalogue;
mod codes;
mod column;
mod copy;
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
mod session;
mod tasks;
mod tls;
mod trace;
mod writer;

#[cfg(test)]
mod tests;

use session::{Session, Tx};

/// Where the database is and who we are there.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// Hosts or a socket's folder, port, database and user; never a password.
    pub server: postgres::Config,
    /// File with the password; without it the variable `PGPASSWORD` or none is used.
    pub password_file: Option<PathBuf>,
    /// Certificate authority of the server, PEM; without it there is no TLS.
    pub ca: Option<PathBuf>,
}

/// A connection to the books in PostgreSQL. Any number may be open, in any number of processes.
pub struct PostgresStore {
    session: Session,
    /// When partitions are to be looked at again, unix milliseconds.
    partitions_due_ms: i64,
}

impl PostgresStore {
    /// Connects and brings the schema forward.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses us, or when the schema is newer than this build can work with.
    pub fn open(config: PostgresConfig) -> Result<Self, StoreError> {
        let session = Session::open(config)?;
        schema::migrate(&session, None)?;
        Ok(Self { session, partitions_due_ms: 0 })
    }

    /// Connects to books that are there already.
    ///
    /// # Errors
    /// As [`PostgresStore::open`], and when there are none.
    pub fn open_reader(config: PostgresConfig) -> Result<Self, StoreError> {
        let session = Session::open(config)?;
        schema::check(&session)?;
        Ok(Self { session, partitions_due_ms: 0 })
    }

    /// Brings the schema to a version, forward or back, and says what it was and is. Replicas go on meanwhile.
    ///
    /// # Errors
    /// When there is no such version, when going back would lose what was recorded, or when the server fails.
    pub fn migrate(config: PostgresConfig, to: Option<i64>) -> Result<(i64, i64), StoreError> {
        schema::migrate(&Session::open(config)?, to)
    }
}

/// Bits of an event's key that hold its sequence, as in the other store: keys are the same there.
const SEQUENCE_BITS: u32 = 40;

/// Rows of a page: what was asked for, within the limit.
fn page_rows(limit: usize) -> usize {
    if limit == 0 { PAGE_ROWS_MAX } else { limit.min(PAGE_ROWS_MAX) }
}

/// Counters in the one row of `books`.
#[derive(Clone, Copy)]
enum Counter {
    /// Of what ingest looks things up in.
    Index,
    /// Of what agents are told.
    Catalogue,
    /// Of offers and devices.
    Change,
    /// Letters of the kinds that are limited.
    RefusedLetters,
}

impl Counter {
    fn column(self) -> &'static str {
        match self {
            Self::Index => "index_revision",
            Self::Catalogue => "catalogue_revision",
            Self::Change => "change",
            Self::RefusedLetters => "refused_letters",
        }
    }
}

/// One of the counters.
fn counter(tx: &Tx<'_>, counter: Counter) -> Result<i64, StoreError> {
    let row = tx.one("reading a counter", &format!("SELECT {} FROM books", counter.column()), &[])?;
    column::get(&row, 0)
}

/// Counts one of them up and returns it.
fn bump(tx: &Tx<'_>, counter: Counter) -> Result<i64, StoreError> {
    let column = counter.column();
    let row =
        tx.one("counting up", &format!("UPDATE books SET {column} = {column} + 1 RETURNING {column}"), &[])?;
    column::get(&row, 0)
}

/// What stands before the number in every posting's reference.
fn instance(tx: &Tx<'_>) -> Result<String, StoreError> {
    column::get(&tx.one("reading who we are", "SELECT instance FROM books", &[])?, 0)
}
