//! Leases in SQLite: one process, and the same rules as for many.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{SqliteStore, database};
use crate::lease::{Grant, Taken};
use crate::store::StoreError;

const LEASING: &str = "handling a lease";

impl SqliteStore {
    pub(super) fn take(
        &mut self,
        now_ms: i64,
        name: &str,
        holder: &str,
        length: Duration,
    ) -> Result<Taken, StoreError> {
        self.write(LEASING, |tx| {
            let sql = "SELECT holder FROM lease WHERE name = ?1 AND holder <> ?2 AND until > ?3";
            let other: Option<String> = tx
                .query_row(sql, params![name, holder, now_ms], |row| row.get(0))
                .optional()
                .map_err(database(LEASING))?;
            if let Some(other) = other {
                return Ok(Taken::HeldBy(other));
            }
            let sql = "INSERT INTO lease (name, holder, token, until) VALUES (?1, ?2, 1, ?3)
                       ON CONFLICT (name) DO UPDATE SET holder = ?2, token = token + 1, until = ?3 RETURNING token";
            let until = now_ms.saturating_add(millis(length));
            let token: i64 = tx
                .query_row(sql, params![name, holder, until], |row| row.get(0))
                .map_err(database(LEASING))?;
            Ok(Taken::Granted(Grant { name: name.to_owned(), token: token.cast_unsigned() }))
        })
    }

    pub(super) fn renew(&mut self, now_ms: i64, grant: &Grant, length: Duration) -> Result<bool, StoreError> {
        self.write(LEASING, |tx| {
            let sql = "UPDATE lease SET until = ?3 WHERE name = ?1 AND token = ?2";
            let until = now_ms.saturating_add(millis(length));
            let renewed = tx.execute(sql, params![grant.name, grant.token.cast_signed(), until]);
            Ok(renewed.map_err(database(LEASING))? == 1)
        })
    }

    pub(super) fn give_back(&mut self, grant: &Grant) -> Result<(), StoreError> {
        self.write(LEASING, |tx| {
            let sql = "UPDATE lease SET until = 0 WHERE name = ?1 AND token = ?2";
            tx.execute(sql, params![grant.name, grant.token.cast_signed()]).map_err(database(LEASING))?;
            Ok(())
        })
    }

    pub(super) fn put_fence(&mut self, grant: Option<&Grant>) {
        self.fence = grant.cloned();
    }

    pub(super) fn look_at_fence(&self) -> Result<(), StoreError> {
        self.fence.as_ref().map_or(Ok(()), |grant| check(&self.connection, grant))
    }
}

/// Whether the grant is the newest of its lease.
pub(super) fn check(connection: &Connection, grant: &Grant) -> Result<(), StoreError> {
    let sql = "SELECT token FROM lease WHERE name = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(database(LEASING))?;
    let token: Option<i64> =
        statement.query_row([&grant.name], |row| row.get(0)).optional().map_err(database(LEASING))?;
    match token.map(i64::cast_unsigned) {
        Some(token) if token == grant.token => Ok(()),
        _ => Err(StoreError::Fenced { lease: grant.name.clone() }),
    }
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
