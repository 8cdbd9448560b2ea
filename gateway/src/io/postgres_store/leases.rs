//! Leases in PostgreSQL. They lapse by the server's clock, which is one for all replicas; theirs may differ by more than
//! a lease is long.

use std::time::Duration;

use super::PostgresStore;
use super::column::{count, get};
use super::session::{Lock, Tx};
use crate::lease::{Grant, Taken};
use crate::store::StoreError;

const LEASING: &str = "handling a lease";

/// The server's clock, unix milliseconds; of this moment and not of the transaction's beginning.
macro_rules! now {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

impl PostgresStore {
    pub(super) fn take(&mut self, name: &str, holder: &str, length: Duration) -> Result<Taken, StoreError> {
        // Asked every second by everybody who does not have it, so it writes nothing then.
        let other = self.session.read(LEASING, |tx| {
            let sql =
                concat!("SELECT holder FROM lease WHERE name = $1 AND holder <> $2 AND until > ", now!());
            tx.optional(LEASING, sql, &[&name, &holder])?.map(|row| get::<String>(&row, 0)).transpose()
        })?;
        if let Some(other) = other {
            return Ok(Taken::HeldBy(other));
        }
        self.session.write(LEASING, Lock::None, |tx| {
            let sql = concat!(
                "INSERT INTO lease (name, holder, token, until) VALUES ($1, $2, 1, ",
                now!(),
                " + $3) ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, token = lease.token + 1,
                      until = excluded.until
                  WHERE lease.holder = excluded.holder OR lease.until <= ",
                now!(),
                " RETURNING token"
            );
            if let Some(row) = tx.optional(LEASING, sql, &[&name, &holder, &millis(length)])? {
                return Ok(Taken::Granted(Grant { name: name.to_owned(), token: count(&row, 0)? }));
            }
            // Somebody was a moment faster.
            let row = tx.one(LEASING, "SELECT holder FROM lease WHERE name = $1", &[&name])?;
            Ok(Taken::HeldBy(get(&row, 0)?))
        })
    }

    pub(super) fn renew(&mut self, grant: &Grant, length: Duration) -> Result<bool, StoreError> {
        self.session.write(LEASING, Lock::None, |tx| {
            let sql = concat!("UPDATE lease SET until = ", now!(), " + $3 WHERE name = $1 AND token = $2");
            let values: [&(dyn postgres::types::ToSql + Sync); 3] =
                [&grant.name, &grant.token.cast_signed(), &millis(length)];
            Ok(tx.execute(LEASING, sql, &values)? == 1)
        })
    }

    pub(super) fn give_back(&mut self, grant: &Grant) -> Result<(), StoreError> {
        self.session.write(LEASING, Lock::None, |tx| {
            let sql = "UPDATE lease SET until = 0 WHERE name = $1 AND token = $2";
            tx.execute(LEASING, sql, &[&grant.name, &grant.token.cast_signed()]).map(drop)
        })
    }

    pub(super) fn put_fence(&mut self, grant: Option<&Grant>) {
        self.session.set_fence(grant);
    }

    pub(super) fn look_at_fence(&self) -> Result<(), StoreError> {
        self.session.check_fence()
    }
}

/// Whether others can take the lease before this transaction has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// They cannot.
    Shared,
    /// They can.
    No,
}

/// Whether the grant is the newest of its lease.
pub(super) fn check(tx: &Tx<'_>, grant: &Grant, hold: Hold) -> Result<(), StoreError> {
    let sql = match hold {
        Hold::Shared => "SELECT token FROM lease WHERE name = $1 FOR SHARE",
        Hold::No => "SELECT token FROM lease WHERE name = $1",
    };
    match tx.optional(LEASING, sql, &[&grant.name])?.map(|row| count(&row, 0)).transpose()? {
        Some(token) if token == grant.token => Ok(()),
        _ => Err(StoreError::Fenced { lease: grant.name.clone() }),
    }
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
