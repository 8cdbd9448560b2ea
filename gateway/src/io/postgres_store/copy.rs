//! Moving from a file to PostgreSQL: every row under its own number, and the books proven on both sides before the
//! copy is kept.

use postgres::types::ToSql;
use rusqlite::types::Value;

use super::books::verify;
use super::catalogue::refused;
use super::column::{clean, get};
use super::session::{Lock, Tx};
use super::{PostgresStore, schema};
use crate::io::sqlite_store::{Connected as _, SqliteStore};
use crate::store::{BooksReport, Reader as _, StoreError};

const COPYING: &str = "copying the books";

/// Rows in one statement: some megabytes of events.
const ROWS_MAX: usize = 4_000;

/// A table: its columns there, each with its kind (`i` integer, `t` text, `x` bytes, `b` truth), and how its rows are
/// read from the file, in that order.
struct Table {
    name: &'static str,
    columns: &'static [(&'static str, char)],
    from: &'static str,
}

/// The file names a stream's site by its text, and keeps an event and its bytes in one row.
const EVENTS: &str = "event JOIN stream ON stream.no = event.key >> 40 JOIN site ON site.site = stream.site";

#[rustfmt::skip]
static TABLES: &[Table] = &[
    Table { name: "erp", columns: &[("erp", 't'), ("opened_at", 'i'), ("through", 'i')], from: "SELECT * FROM erp" },
    Table { name: "site", columns: &[("no", 'i'), ("site", 't'), ("erp", 't'), ("reference", 't'), ("active", 'b'),
        ("task_change", 'i')], from: "SELECT no, site, erp, reference, active, task_change FROM site" },
    Table { name: "place", columns: &[("no", 'i'), ("site", 'i'), ("kind", 'i'), ("location", 't'), ("reference", 't'),
        ("active", 'b'), ("changed", 'i')],
        from: "SELECT no, site, kind, location, reference, active, changed FROM place" },
    Table { name: "place_alias", columns: &[("site", 'i'), ("code", 't'), ("place", 'i'), ("active", 'b'),
        ("changed", 'i'), ("said_by", 't'), ("said_at", 'i')],
        from: "SELECT site, code, place, active, changed, said_by, said_at FROM place_alias" },
    Table { name: "item", columns: &[("no", 'i'), ("item", 't'), ("name", 't'), ("uom", 't'), ("gtins", 't'),
        ("codes", 't'), ("erp", 't'), ("reference", 't'), ("active", 'b'), ("rules", 't'), ("changed", 'i'), ("strict", 'b')],
        from: "SELECT no, item, name, uom, gtins, codes, erp, reference, active, rules, changed, strict FROM item" },
    Table { name: "item_code", columns: &[("kind", 'i'), ("code", 't'), ("item", 'i'), ("source", 'i'), ("pieces", 'i'),
        ("said_by", 't'), ("said_at", 'i')],
        from: "SELECT kind, code, item, source, pieces, said_by, said_at FROM item_code" },
    Table { name: "stream", columns: &[("no", 'i'), ("site", 'i'), ("agent", 't'), ("epoch", 'x'), ("watermark", 'i'),
        ("digest", 'i')],
        from: "SELECT stream.no, site.no, agent, epoch, watermark, digest FROM stream
               JOIN site ON site.site = stream.site" },
    Table { name: "event", columns: &[("site", 'i'), ("key", 'i'), ("ledger", 'i'), ("received_at", 'i')],
        from: "SELECT site.no, key, ledger, received_at FROM {events}" },
    Table { name: "fact", columns: &[("site", 'i'), ("key", 'i'), ("received_at", 'i'), ("bytes", 'x')],
        from: "SELECT site.no, key, received_at, bytes FROM {events}" },
    // When a row was booked the file does not keep; that is when its event came, but for what was replayed.
    Table { name: "ledger", columns: &[("id", 'i'), ("booked_at", 'i'), ("site", 'i'), ("event", 'i'), ("item", 'i'),
        ("from_place", 'i'), ("to_place", 'i'), ("steps", 'i'), ("lot", 't'), ("disposition", 't')],
        from: "SELECT ledger.id, received_at, site.no, event, item, from_place, to_place, steps, lot, disposition
               FROM {events} JOIN ledger ON ledger.event = event.key" },
    Table { name: "resolved", columns: &[("event", 'i'), ("bytes", 'x')], from: "SELECT event, bytes FROM resolved" },
    Table { name: "balance", columns: &[("site", 'i'), ("item", 'i'), ("place", 'i'), ("lot", 't'), ("disposition", 't'),
        ("steps", 'i')],
        from: "SELECT place.site, item, place, lot, disposition, steps FROM balance JOIN place ON place.no = place" },
    Table { name: "mention", columns: &[("word", 't'), ("event", 'i')], from: "SELECT word, event FROM mention" },
    Table { name: "task", columns: &[("site", 'i'), ("id", 't'), ("kind", 't'), ("order_id", 't'), ("location", 't'),
        ("state", 't'), ("created_at", 'i'), ("changed_at", 'i'), ("changed", 'i')],
        from: "SELECT site, id, kind, order_id, location, state, created_at, changed_at, changed FROM task" },
    Table { name: "task_line", columns: &[("site", 'i'), ("id", 't'), ("kind", 't'), ("line", 'i'), ("item", 'i'),
        ("steps", 'i'), ("from_location", 't'), ("to_location", 't'), ("lot", 't'), ("expires_on", 'i')],
        from: "SELECT site, id, kind, line, item, steps, from_location, to_location, lot, expires_on FROM task_line" },
    Table { name: "task_tally", columns: &[("site", 'i'), ("id", 't'), ("kind", 't'), ("item", 'i'), ("lot", 't'),
        ("location", 't'), ("done", 'i'), ("short", 'i')],
        from: "SELECT site, id, kind, item, lot, location, done, short FROM task_tally" },
    Table { name: "reservation", columns: &[("id", 'i'), ("channel", 't'), ("order_id", 't'), ("line", 'i'), ("site", 'i'),
        ("attempt", 'i'), ("item", 'i'), ("steps", 'i'), ("account", 't'), ("priority", 'i'), ("until", 'i'), ("at", 'i')],
        from: "SELECT id, channel, order_id, line, site, attempt, item, steps, account, priority, until, at
               FROM reservation" },
    Table { name: "reservation_entry", columns: &[("reservation", 'i'), ("key", 't'), ("step", 't'), ("steps", 'i'),
        ("at", 'i')], from: "SELECT reservation, key, step, steps, at FROM reservation_entry" },
    Table { name: "pending", columns: &[("reservation", 'i'), ("site", 'i'), ("item", 'i'), ("channel", 't'),
        ("steps", 'i'), ("until", 'i')],
        from: "SELECT reservation, site, item, channel, steps, until FROM pending" },
    Table { name: "quota", columns: &[("site", 'i'), ("item", 'i'), ("account", 't'), ("steps", 'i'), ("since", 'i')],
        from: "SELECT site, item, account, steps, since FROM quota" },
    Table { name: "order_head", columns: &[("no", 'i'), ("channel", 't'), ("order_id", 't'), ("code", 't'),
        ("reference", 't'), ("stage", 't'), ("attention", 't'), ("placed_at", 'i'), ("changed_at", 'i'),
        ("currency", 't'), ("gross", 'i'), ("desk_due", 'i'), ("erp_due", 'i'), ("channel_due", 'i')],
        from: "SELECT no, channel, order_id, code, reference, stage, attention, placed_at, changed_at, currency, gross,
               desk_due, erp_due, channel_due FROM order_head" },
    Table { name: "order_row", columns: &[("order_no", 'i'), ("sequence", 'i'), ("at", 'i'), ("said_by", 't'),
        ("fact", 't')], from: "SELECT order_no, sequence, at, said_by, fact FROM order_row" },
    Table { name: "order_out", columns: &[("order_no", 'i'), ("item", 'i'), ("site", 'i'), ("steps", 'i')],
        from: "SELECT order_no, item, site, steps FROM order_out" },
    Table { name: "order_watch", columns: &[("word", 't'), ("order_no", 'i')],
        from: "SELECT word, order_no FROM order_watch" },
    Table { name: "order_cursor", columns: &[("channel", 't'), ("through", 'i')],
        from: "SELECT channel, through FROM order_cursor" },
    Table { name: "order_delivery", columns: &[("no", 'i'), ("channel", 't'), ("id", 't'), ("at", 'i')],
        from: "SELECT no, channel, id, at FROM order_delivery" },
    Table { name: "dead_letter", columns: &[("id", 'i'), ("hash", 'x'), ("class", 't'), ("reason", 't'), ("source", 't'),
        ("bytes", 'x'), ("site", 't'), ("agent", 't'), ("event", 'i'), ("erp", 't'), ("ledger", 'i'), ("channel", 't'),
        ("sku", 't'), ("first_at", 'i'), ("last_at", 'i'), ("times", 'i'), ("state", 't'), ("closed_at", 'i'),
        ("closed_by", 't'), ("closed_why", 't')],
        from: "SELECT id, hash, class, reason, source, bytes, site, agent, event, erp, ledger, channel, sku, first_at,
               last_at, times, state, closed_at, closed_by, closed_why FROM dead_letter" },
    Table { name: "device", columns: &[("agent", 't'), ("site", 't'), ("status", 't'), ("last_seen", 'i'), ("epoch", 'x'),
        ("head", 'i'), ("lost", 'i'), ("clock_at", 'i'), ("clock_unix", 'i'), ("clock_synced", 'b'), ("boot", 'i'),
        ("uptime", 'i'), ("software", 't'), ("change", 'i')],
        from: "SELECT agent, site, status, last_seen, epoch, head, lost, clock_at, clock_unix, clock_synced, boot,
               uptime, software, change FROM device" },
    Table { name: "channel", columns: &[("channel", 't'), ("sites", 't'), ("safety_stock", 'i'), ("threshold", 'i'),
        ("cap", 'i'), ("basis", 't'), ("active", 'b'), ("selling", 't')],
        from: "SELECT channel, sites, safety_stock, threshold, cap, basis, active, selling FROM channel" },
    Table { name: "offer", columns: &[("channel", 't'), ("sku", 't'), ("item", 'i'), ("reference", 't'), ("active", 'b'),
        ("revision", 'i'), ("number", 'i'), ("sites", 't'), ("through", 'i'), ("due_since", 'i'), ("next_at", 'i'),
        ("attempts", 'i'), ("fault", 't'), ("unresolved", 'b'), ("adrift", 't'), ("flight_revision", 'i'),
        ("flight_number", 'i'), ("flight_sites", 't'), ("flight_through", 'i'), ("pub_revision", 'i'),
        ("pub_number", 'i'), ("pub_sites", 't'), ("pub_through", 'i'), ("pub_at", 'i'), ("change", 'i'),
        ("grants", 't'), ("settle_at", 'i')],
        from: "SELECT channel, sku, item, reference, active, revision, number, sites, through, due_since, next_at,
               attempts, fault, unresolved, adrift, flight_revision, flight_number, flight_sites, flight_through,
               pub_revision, pub_number, pub_sites, pub_through, pub_at, change, grants, settle_at FROM offer" },
    Table { name: "taken", columns: &[("item", 'i'), ("channel", 't'), ("steps", 'i'), ("given_back", 'i')],
        from: "SELECT item, channel, steps, given_back FROM taken" },
    Table { name: "stale_item", columns: &[("item", 'i'), ("since", 'i')], from: "SELECT item, since FROM stale_item" },
    Table { name: "batch", columns: &[("id", 'i'), ("turn", 'i'), ("erp", 't'), ("site", 'i'), ("kind", 'i'),
        ("state", 't'), ("attempts", 'i'), ("next_at", 'i'), ("document", 't'), ("fault", 't'), ("created_at", 'i'),
        ("changed_at", 'i')],
        from: "SELECT id, turn, erp, site, kind, state, attempts, next_at, document, fault, created_at, changed_at
               FROM batch" },
    Table { name: "posting", columns: &[("batch", 'i'), ("ledger", 'i')], from: "SELECT batch, ledger FROM posting" },
    Table { name: "api_key", columns: &[("name", 't'), ("hash", 'x'), ("created_at", 'i'), ("revoked_at", 'i'),
        ("last_used_at", 'i')],
        from: "SELECT name, hash, created_at, revoked_at, last_used_at FROM api_key" },
];

impl PostgresStore {
    /// Takes over everything that a file holds, into a database without books, and proves that both say the same;
    /// else nothing of it is kept. Nobody may write to the file meanwhile.
    ///
    /// # Errors
    /// When there are books here already, when the books of the file are wrong, or when the copy differs.
    pub fn copy_from(&mut self, source: &SqliteStore) -> Result<BooksReport, StoreError> {
        let file = source.connection();
        let report = source.verify_books()?;
        if !report.is_right() {
            return refused(format!("the books in the file are wrong: {}", report.findings.join("; ")));
        }
        schema::partitions(&self.session, &days(file)?)?;
        self.session.write(COPYING, Lock::Books, |tx| {
            let sql = "SELECT EXISTS (SELECT FROM site) OR EXISTS (SELECT FROM stream)
                           OR EXISTS (SELECT FROM dead_letter) OR EXISTS (SELECT FROM channel)";
            if get(&tx.one(COPYING, sql, &[])?, 0)? {
                return refused("there are books in the database already; nothing was copied".into());
            }
            for table in TABLES {
                copy(tx, file, table)?;
            }
            copy_counters(tx, file)?;
            let keys = [
                ("dead_letter", "id"),
                ("batch", "id"),
                ("reservation", "id"),
                ("order_head", "no"),
                ("order_delivery", "no"),
            ];
            for (table, key) in keys {
                let sql = format!(
                    "SELECT setval(pg_get_serial_sequence('{table}', '{key}'), max({key})) FROM {table} HAVING count(*) > 0"
                );
                tx.query(COPYING, &sql, &[])?;
            }
            tx.batch(COPYING, "ANALYZE event, fact, ledger, balance, mention, item, place, stream, offer")?;
            let copied = verify(tx)?;
            if copied != report {
                return refused(format!(
                    "the copy differs from the file, and nothing of it was kept: {} and {} events, {} and {} rows, {} \
                     and {} balances; {}",
                    copied.events,
                    report.events,
                    copied.rows,
                    report.rows,
                    copied.balances,
                    report.balances,
                    copied.findings.join("; ")
                ));
            }
            Ok(copied)
        })
    }
}

/// Times of the events, one for each day on which some came.
fn days(file: &rusqlite::Connection) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT DISTINCT received_at / 86400000 * 86400000 FROM event";
    let mut statement = file.prepare(sql).map_err(reading)?;
    let days = statement.query_map([], |row| row.get(0)).map_err(reading)?;
    days.collect::<rusqlite::Result<_>>().map_err(reading)
}

fn reading(fault: rusqlite::Error) -> StoreError {
    StoreError::Database { doing: "reading the file to copy", source: Box::new(fault) }
}

/// One column of some rows.
enum Column {
    Integer(Vec<Option<i64>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
    Truth(Vec<Option<bool>>),
}

impl Column {
    fn new(kind: char) -> Self {
        match kind {
            'i' => Self::Integer(Vec::new()),
            't' => Self::Text(Vec::new()),
            'x' => Self::Bytes(Vec::new()),
            _ => Self::Truth(Vec::new()),
        }
    }

    fn sql_type(&self) -> &'static str {
        match self {
            Self::Integer(_) => "bigint",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytea",
            Self::Truth(_) => "boolean",
        }
    }

    fn values(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Integer(values) => values,
            Self::Text(values) => values,
            Self::Bytes(values) => values,
            Self::Truth(values) => values,
        }
    }

    fn push(&mut self, value: Value) -> Result<(), StoreError> {
        match (self, value) {
            (Self::Integer(values), Value::Null) => values.push(None),
            (Self::Text(values), Value::Null) => values.push(None),
            (Self::Bytes(values), Value::Null) => values.push(None),
            (Self::Truth(values), Value::Null) => values.push(None),
            (Self::Integer(values), Value::Integer(value)) => values.push(Some(value)),
            (Self::Text(values), Value::Text(value)) => values.push(Some(clean(&value).into_owned())),
            (Self::Bytes(values), Value::Blob(value)) => values.push(Some(value)),
            (Self::Truth(values), Value::Integer(value)) => values.push(Some(value != 0)),
            (_, value) => {
                return Err(StoreError::Corrupt { what: format!("a column of the file holds {value:?}") });
            }
        }
        Ok(())
    }
}

fn copy(tx: &Tx<'_>, file: &rusqlite::Connection, table: &Table) -> Result<(), StoreError> {
    let mut statement = file.prepare(&table.from.replace("{events}", EVENTS)).map_err(reading)?;
    let mut rows = statement.query([]).map_err(reading)?;
    loop {
        let mut columns: Vec<Column> = table.columns.iter().map(|(_, kind)| Column::new(*kind)).collect();
        let mut taken = 0;
        while taken < ROWS_MAX {
            let Some(row) = rows.next().map_err(reading)? else { break };
            for (at, column) in columns.iter_mut().enumerate() {
                column.push(row.get(at).map_err(reading)?)?;
            }
            taken += 1;
        }
        if taken == 0 {
            return Ok(());
        }
        let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
        let arrays = (1..).zip(&columns).map(|(at, column)| format!("${at}::{}[]", column.sql_type()));
        let arrays: Vec<String> = arrays.collect();
        let sql = format!(
            "INSERT INTO {} ({}) SELECT * FROM unnest({})",
            table.name,
            names.join(", "),
            arrays.join(", ")
        );
        let values: Vec<&(dyn ToSql + Sync)> = columns.iter().map(Column::values).collect();
        tx.execute(COPYING, &sql, &values)?;
    }
}

/// Who we are, and how far everything has come.
fn copy_counters(tx: &Tx<'_>, file: &rusqlite::Connection) -> Result<(), StoreError> {
    let number = |key: &str| -> Result<i64, StoreError> {
        file.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).map_err(reading)
    };
    let instance: String = file
        .query_row("SELECT value FROM meta WHERE key = 'instance'", [], |row| row.get(0))
        .map_err(reading)?;
    let head: i64 =
        file.query_row("SELECT coalesce(max(id), 0) FROM ledger", [], |row| row.get(0)).map_err(reading)?;
    let sql = "UPDATE books SET instance = $1, head = $2, index_revision = $3, catalogue_revision = $4, change = $5,
                   refused_letters = $6";
    tx.execute(
        COPYING,
        sql,
        &[
            &instance,
            &head,
            &number("index_revision")?,
            &number("catalogue_revision")?,
            &number("change")?,
            &number("refused_letters")?,
        ],
    )
    .map(drop)
}
