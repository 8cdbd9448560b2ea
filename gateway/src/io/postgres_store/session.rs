//! One connection: transactions, compiled statements, and what is done when the server or the way to it fails.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use postgres::error::SqlState;
use postgres::types::ToSql;
use postgres::{Client, IsolationLevel, NoTls, Row, Statement, Transaction};

use super::tls::Tls;
use super::{PostgresConfig, leases};
use crate::lease::Grant;
use crate::store::StoreError;

/// Waits before a transaction is tried again, about five seconds in all: a server restarts within that. Whoever calls
/// is told after it and tries again in its own time.
const RETRY_WAITS: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1_500),
    Duration::from_secs(3),
];
/// A server that does not answer within this is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that nobody acknowledges for this long mean that the way is gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// A lock is waited for this long, then the store is busy: longer than any transaction of ours but the first catalogue.
const LOCK_TIMEOUT_MS: u32 = 10_000;
/// The server ends a transaction whose owner has been silent this long, shorter than others wait for its locks: a
/// replica that was stopped or cut off must not stop the rest.
const IDLE_TIMEOUT_MS: u32 = 5_000;
/// Statements kept compiled: all that exist here, with room.
const STATEMENTS_MAX: usize = 256;
/// How often the server is asked what became of a transaction that it is still ending.
const OUTCOME_ASKS: usize = 20;

/// Every writing transaction begins with it: one at a time, over all replicas, sees and changes the books.
const LOCK_BOOKS: &str = "SELECT pg_current_xact_id()::text FROM books FOR UPDATE";

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A connection that is made anew when it breaks.
pub(super) struct Session {
    config: PostgresConfig,
    live: RefCell<Option<Live>>,
    /// The lease under which everything is written that is written now.
    fence: Option<Grant>,
}

struct Live {
    client: Client,
    statements: RefCell<HashMap<String, Statement>>,
}

/// Which lock a transaction takes first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// The books: it reads what it changes.
    Books,
    /// None: it changes rows that nothing else depends on.
    None,
}

/// A transaction under way.
pub(super) struct Tx<'a> {
    transaction: RefCell<Transaction<'a>>,
    statements: &'a RefCell<HashMap<String, Statement>>,
}

impl Session {
    /// Connects once, so that a wrong address or password is told at the start.
    pub(super) fn open(config: PostgresConfig) -> Result<Self, StoreError> {
        let live = connect(&config)?;
        Ok(Self { config, live: RefCell::new(Some(live)), fence: None })
    }

    /// One transaction: everything that `work` did is kept when it succeeds, and nothing when it fails. `work` is
    /// done again when the server or the connection failed in a way that left nothing of it.
    pub(super) fn write<T>(
        &self,
        doing: &'static str,
        lock: Lock,
        mut work: impl FnMut(&Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.again(doing, |live| {
            let transaction = live.client.transaction().map_err(database(doing))?;
            let tx = Tx { transaction: RefCell::new(transaction), statements: &live.statements };
            let number = match lock {
                Lock::Books => tx.one(doing, LOCK_BOOKS, &[])?,
                Lock::None => tx.one(doing, "SELECT pg_current_xact_id()::text", &[])?,
            };
            let number: String = super::column::get(&number, 0)?;
            // A statement of its own behind the lock: it sees what was committed while that was waited for.
            if let Some(grant) = &self.fence {
                leases::check(&tx, grant, leases::Hold::Shared)?;
            }
            let value = work(&tx)?;
            match tx.transaction.into_inner().commit() {
                Ok(()) => Ok(Attempt::Done(value)),
                Err(fault) => match database(doing)(fault) {
                    fault if Class::of(&fault) == Class::Lost => {
                        Ok(Attempt::Unknown { number, value, fault })
                    }
                    fault => Err(fault),
                },
            }
        })
    }

    /// See [`Store::set_fence`](crate::store::Store::set_fence).
    pub(super) fn set_fence(&mut self, grant: Option<&Grant>) {
        self.fence = grant.cloned();
    }

    /// Whether what is fenced may go on.
    pub(super) fn check_fence(&self) -> Result<(), StoreError> {
        match &self.fence {
            Some(grant) => self.read("looking whether a lease is still ours", |tx| {
                leases::check(tx, grant, leases::Hold::No)
            }),
            None => Ok(()),
        }
    }

    /// One state of the database that several statements see alike.
    pub(super) fn read<T>(
        &self,
        doing: &'static str,
        mut work: impl FnMut(&Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.again(doing, |live| {
            let builder = live.client.build_transaction();
            let transaction = builder.isolation_level(IsolationLevel::RepeatableRead).read_only(true).start();
            let transaction = transaction.map_err(database(doing))?;
            let tx = Tx { transaction: RefCell::new(transaction), statements: &live.statements };
            let value = work(&tx)?;
            // Nothing was written, so nothing can be lost with it.
            tx.transaction.into_inner().commit().map_err(database(doing))?;
            Ok(Attempt::Done(value))
        })
    }

    /// Tries until it is done, as often as makes sense.
    fn again<T>(
        &self,
        doing: &'static str,
        mut attempt: impl FnMut(&mut Live) -> Result<Attempt<T>, StoreError>,
    ) -> Result<T, StoreError> {
        let mut waits = RETRY_WAITS.iter();
        loop {
            let fault = match self.with_live(&mut attempt) {
                Ok(Attempt::Done(value)) => return Ok(value),
                Ok(Attempt::Unknown { number, value, fault }) => match self.outcome(&number) {
                    Some(Outcome::Committed) => return Ok(value),
                    Some(Outcome::Aborted) => fault,
                    // Whoever calls must find out; everything that is called twice has the effect of once.
                    None => return Err(fault),
                },
                Err(fault) => fault,
            };
            let class = Class::of(&fault);
            match (class, waits.next()) {
                (Class::Final, _) => return Err(fault),
                (Class::Conflict | Class::Lost | Class::Busy, Some(wait)) => {
                    tracing::warn!(
                        doing,
                        reason = class.as_str(),
                        error = &fault as &dyn std::error::Error,
                        ?wait,
                        "the database did nothing; trying again"
                    );
                    std::thread::sleep(*wait);
                }
                (Class::Conflict | Class::Busy, None) => return Err(StoreError::Busy { doing }),
                (Class::Lost, None) => return Err(fault),
            }
        }
    }

    fn with_live<T>(
        &self,
        work: &mut impl FnMut(&mut Live) -> Result<Attempt<T>, StoreError>,
    ) -> Result<Attempt<T>, StoreError> {
        let mut slot = self.live.borrow_mut();
        let mut live = match slot.take() {
            Some(live) => live,
            None => connect(&self.config)?,
        };
        let result = work(&mut live);
        match &result {
            Ok(Attempt::Unknown { .. }) => return result,
            Err(fault) if Class::of(fault) == Class::Lost => return result,
            // Among the conflicts is a statement compiled before a migration.
            Err(fault) if Class::of(fault) == Class::Conflict => live.statements.borrow_mut().clear(),
            _ => {}
        }
        *slot = Some(live);
        result
    }

    /// What became of a transaction whose commit was not answered; `None` = it cannot be known.
    fn outcome(&self, number: &str) -> Option<Outcome> {
        for ask in 0..OUTCOME_ASKS {
            std::thread::sleep(RETRY_WAITS[ask.min(RETRY_WAITS.len() - 1)] / 2);
            let asked = self.with_live(&mut |live: &mut Live| {
                let sql = "SELECT pg_xact_status($1::text::xid8)";
                let row =
                    live.client.query_one(sql, &[&number]).map_err(database("asking for an outcome"))?;
                super::column::get::<Option<String>>(&row, 0).map(Attempt::Done)
            });
            match asked {
                Ok(Attempt::Done(Some(status))) if status == "committed" => return Some(Outcome::Committed),
                Ok(Attempt::Done(Some(status))) if status == "aborted" => return Some(Outcome::Aborted),
                // Still ending, or the server is not back yet.
                Ok(Attempt::Done(Some(_))) => {}
                Err(fault) if Class::of(&fault) != Class::Final => {}
                // So long ago that the server has forgotten it.
                Ok(_) | Err(_) => return None,
            }
        }
        None
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let live = self.live.get_mut().take();
        // The client waits for the server's goodbye by a runtime of its own, which no task of another may do.
        if tokio::runtime::Handle::try_current().is_ok() {
            std::thread::spawn(move || drop(live));
        }
    }
}

enum Attempt<T> {
    Done(T),
    Unknown { number: String, value: T, fault: StoreError },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Committed,
    Aborted,
}

/// What to do about a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Another transaction was in the way, or a statement is out of date: nothing happened.
    Conflict,
    /// No connection: nothing happened.
    Lost,
    /// A lock or the server's room was not to be had: nothing happened.
    Busy,
    /// Trying again would not help.
    Final,
}

impl Class {
    fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Lost => "connection lost",
            Self::Busy => "busy",
            Self::Final => "final",
        }
    }

    fn of(fault: &StoreError) -> Self {
        let StoreError::Database { source, .. } = fault else { return Self::Final };
        let Some(fault) = source.downcast_ref::<postgres::Error>() else { return Self::Final };
        if fault.is_closed() {
            return Self::Lost;
        }
        let Some(code) = fault.code() else {
            // Neither the server's word nor about values: the socket's.
            let io = std::error::Error::source(fault).is_some_and(|source| source.is::<std::io::Error>());
            return if io { Self::Lost } else { Self::Final };
        };
        const LOST: [SqlState; 6] = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            SqlState::CONNECTION_FAILURE,
            SqlState::PROTOCOL_VIOLATION,
        ];
        const CONFLICT: [SqlState; 4] = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::FEATURE_NOT_SUPPORTED,
            SqlState::INVALID_SQL_STATEMENT_NAME,
        ];
        const BUSY: [SqlState; 2] = [SqlState::LOCK_NOT_AVAILABLE, SqlState::TOO_MANY_CONNECTIONS];
        match code {
            code if LOST.contains(code) => Self::Lost,
            code if CONFLICT.contains(code) => Self::Conflict,
            code if BUSY.contains(code) => Self::Busy,
            _ => Self::Final,
        }
    }
}

fn connect(config: &PostgresConfig) -> Result<Live, StoreError> {
    const DOING: &str = "connecting to the database";
    let mut server = config.server.clone();
    if let Some(path) = &config.password_file {
        let password = std::fs::read_to_string(path).map_err(|fault| StoreError::Refused {
            reason: format!("the password file {} cannot be read: {fault}", path.display()),
        })?;
        server.password(password.trim_end_matches(['\r', '\n']));
    } else if let Some(password) = std::env::var_os("PGPASSWORD") {
        server.password(password.as_encoded_bytes());
    }
    server.application_name("stockwire-gateway").connect_timeout(CONNECT_TIMEOUT);
    server.tcp_user_timeout(ANSWER_TIMEOUT);
    let client = match &config.ca {
        Some(ca) => {
            let tls = Tls::new(ca).map_err(|fault| StoreError::Refused { reason: fault.to_string() })?;
            server.ssl_mode(postgres::config::SslMode::Require);
            server.connect(tls)
        }
        None => {
            server.ssl_mode(postgres::config::SslMode::Disable);
            server.connect(NoTls)
        }
    };
    let mut client = client.map_err(database(DOING))?;
    // A commit is on the disk when it returns, whatever the server's default is.
    let sql = format!(
        "SET synchronous_commit = on; SET lock_timeout = {LOCK_TIMEOUT_MS};
         SET idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MS}; SET client_min_messages = warning"
    );
    client.batch_execute(&sql).map_err(database(DOING))?;
    Ok(Live { client, statements: RefCell::default() })
}

impl Tx<'_> {
    /// All rows of a statement.
    pub(super) fn query(
        &self,
        doing: &'static str,
        sql: &str,
        values: Parameters<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let statement = self.statement(doing, sql)?;
        self.transaction.borrow_mut().query(&statement, values).map_err(database(doing))
    }

    /// The one row of a statement.
    pub(super) fn one(
        &self,
        doing: &'static str,
        sql: &str,
        values: Parameters<'_>,
    ) -> Result<Row, StoreError> {
        let statement = self.statement(doing, sql)?;
        self.transaction.borrow_mut().query_one(&statement, values).map_err(database(doing))
    }

    /// The one row of a statement, or none.
    pub(super) fn optional(
        &self,
        doing: &'static str,
        sql: &str,
        values: Parameters<'_>,
    ) -> Result<Option<Row>, StoreError> {
        let statement = self.statement(doing, sql)?;
        self.transaction.borrow_mut().query_opt(&statement, values).map_err(database(doing))
    }

    /// How many rows a statement changed.
    pub(super) fn execute(
        &self,
        doing: &'static str,
        sql: &str,
        values: Parameters<'_>,
    ) -> Result<u64, StoreError> {
        let statement = self.statement(doing, sql)?;
        self.transaction.borrow_mut().execute(&statement, values).map_err(database(doing))
    }

    /// Statements without values and without answers.
    pub(super) fn batch(&self, doing: &'static str, sql: &str) -> Result<(), StoreError> {
        self.transaction.borrow_mut().batch_execute(sql).map_err(database(doing))
    }

    /// Rows of a statement as they come, for what is too large to hold.
    pub(super) fn each(
        &self,
        doing: &'static str,
        sql: &str,
        values: Parameters<'_>,
        mut take: impl FnMut(&Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        use postgres::fallible_iterator::FallibleIterator as _;
        let statement = self.statement(doing, sql)?;
        let mut transaction = self.transaction.borrow_mut();
        let values = values.iter().map(|value| *value as &dyn ToSql);
        let mut rows = transaction.query_raw(&statement, values).map_err(database(doing))?;
        while let Some(row) = rows.next().map_err(database(doing))? {
            take(&row)?;
        }
        Ok(())
    }

    fn statement(&self, doing: &'static str, sql: &str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.transaction.borrow_mut().prepare(sql).map_err(database(doing))?;
        let mut statements = self.statements.borrow_mut();
        if statements.len() == STATEMENTS_MAX {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// Turns the server's error into ours, with what we were doing.
fn database(doing: &'static str) -> impl Fn(postgres::Error) -> StoreError {
    move |fault| StoreError::Database { doing, source: Box::new(fault) }
}
