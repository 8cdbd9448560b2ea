//! The tables, how a database is brought to another version while replicas work on it, and partitions by month.

use super::column;
use super::session::{Lock, Session, Tx};
use crate::store::StoreError;

/// One step forward and the same step back; the position is the version it leads to. A step that was released is
/// never edited. A step only adds, so that replicas of the version before go on while it is made: that is why a build
/// works with the next version too, and why going back one version is safe.
struct Step {
    forward: &'static str,
    /// A statement that answers with true when going back would lose what was recorded.
    loses: &'static str,
    back: &'static str,
}

const STEPS: [Step; 6] = [V1, V2, V3, V4, V5, V6];

/// Versions beyond its own that a build works with.
const VERSIONS_AHEAD: i64 = 1;

/// How long a step waits for a lock before it gives up and is tried again: whoever waits for a table in use makes
/// everybody wait who comes after.
const STEP_LOCK_TIMEOUT_MS: u32 = 2_000;

/// The number of the lock under which one process at a time changes the schema; "stockwir" in ASCII.
const SCHEMA_LOCK: i64 = 0x7374_6f63_6b77_6972;

/// Months for which partitions stand ready beyond the present one. They are made daily by whoever takes events in, so
/// that one would do, and another for a clock that is set wrong.
const MONTHS_AHEAD: i32 = 2;

/// Version 1.
///
/// `event` holds each identity once: its key packs (stream, sequence), led by the site. What is large or only ever
/// grows, the bytes in `fact` and the rows of the books in `ledger`, is partitioned by the month in which it came, so
/// that an old month can be archived whole; a unique key across partitions does not exist, hence the table of
/// identities beside them. Texts that are compared or ordered are so by their bytes, as everywhere else.
const V1: Step = Step {
    forward: r#"
CREATE TABLE books (
    one BOOLEAN PRIMARY KEY DEFAULT true CHECK (one),
    instance TEXT NOT NULL,
    head BIGINT NOT NULL,               -- last row of the ledger
    index_revision BIGINT NOT NULL,
    catalogue_revision BIGINT NOT NULL,
    change BIGINT NOT NULL,
    refused_letters BIGINT NOT NULL
);
INSERT INTO books VALUES (true, left(replace(gen_random_uuid()::text, '-', ''), 8), 0, 0, 0, 0, 0);

CREATE TABLE erp (
    erp TEXT COLLATE "C" PRIMARY KEY,
    opened_at BIGINT,                   -- NULL: the opening stock is not booked
    through BIGINT NOT NULL             -- ledger rows up to here are planned
);

CREATE TABLE site (
    no BIGINT PRIMARY KEY,
    site TEXT COLLATE "C" NOT NULL UNIQUE,
    erp TEXT COLLATE "C" NOT NULL,
    reference TEXT,
    active BOOLEAN NOT NULL,
    task_change BIGINT NOT NULL DEFAULT 0 -- counts changes of its tasks
);

CREATE TABLE place (
    no BIGINT PRIMARY KEY,
    site BIGINT NOT NULL REFERENCES site,
    kind BIGINT NOT NULL,               -- 0 at, 1 supplier, 2 customer, 3 loss, 4 transit
    location TEXT COLLATE "C" NOT NULL, -- '' for the virtual ones
    reference TEXT,
    active BOOLEAN NOT NULL,
    changed BIGINT NOT NULL,            -- the revision of the catalogue that changed it last
    UNIQUE (site, kind, location)
);
CREATE INDEX place_changed ON place (site, changed);

-- What people say a label at a site means, beside the places' own names.
CREATE TABLE place_alias (
    site BIGINT NOT NULL,
    code TEXT COLLATE "C" NOT NULL,
    place BIGINT NOT NULL,
    active BOOLEAN NOT NULL,            -- false: taken back; agents are told that it is gone
    changed BIGINT NOT NULL,
    said_by TEXT NOT NULL,
    said_at BIGINT NOT NULL,
    PRIMARY KEY (site, code)
);

CREATE TABLE item (
    no BIGINT PRIMARY KEY,
    item TEXT COLLATE "C" NOT NULL UNIQUE,
    name TEXT NOT NULL,
    uom TEXT NOT NULL,
    gtins TEXT NOT NULL,                -- JSON array
    codes TEXT NOT NULL,                -- JSON array
    erp TEXT COLLATE "C" NOT NULL,
    reference TEXT,
    active BOOLEAN NOT NULL,
    rules TEXT,                         -- JSON; NULL: nothing is asked and checked
    changed BIGINT NOT NULL             -- the revision of the catalogue that changed it last
);
CREATE INDEX item_changed ON item (changed);

-- Every code of an item, for the gateway's own look-ups.
CREATE TABLE item_code (
    kind BIGINT NOT NULL,               -- 0 GTIN, 1 text
    code TEXT COLLATE "C" NOT NULL,
    item BIGINT NOT NULL,
    source BIGINT NOT NULL,             -- 0 ERP, 1 a person, 2 a pack of the item's rules
    pieces BIGINT NOT NULL,             -- how many of the item's unit it means
    said_by TEXT,                       -- of a person
    said_at BIGINT,
    PRIMARY KEY (kind, code, item, source)
);
CREATE INDEX item_code_item ON item_code (item, source);

CREATE TABLE stream (
    no BIGINT PRIMARY KEY,
    site BIGINT NOT NULL REFERENCES site,
    agent TEXT COLLATE "C" NOT NULL,
    epoch BYTEA NOT NULL,
    watermark BIGINT NOT NULL,
    digest BIGINT NOT NULL,             -- of all events up to the watermark, see the published contract
    UNIQUE (agent, epoch)
);

CREATE TABLE event (
    site BIGINT NOT NULL,
    key BIGINT NOT NULL,                -- stream << 40 | sequence
    ledger BIGINT,                      -- NULL: not applied
    received_at BIGINT NOT NULL,
    PRIMARY KEY (site, key)             -- one identity, once
);

CREATE TABLE fact (
    site BIGINT NOT NULL,
    key BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    bytes BYTEA NOT NULL,               -- as the journal holds it
    PRIMARY KEY (site, key, received_at)
) PARTITION BY RANGE (received_at);
CREATE TABLE fact_default PARTITION OF fact DEFAULT;

CREATE TABLE ledger (
    id BIGINT NOT NULL,                 -- the order of application, without holes
    booked_at BIGINT NOT NULL,
    site BIGINT NOT NULL,
    event BIGINT NOT NULL,
    item BIGINT NOT NULL,
    from_place BIGINT NOT NULL,
    to_place BIGINT NOT NULL,
    steps BIGINT NOT NULL CHECK (steps >= 0),
    lot TEXT COLLATE "C" NOT NULL,      -- '' = not known by lot
    disposition TEXT COLLATE "C" NOT NULL, -- '' = ordinary
    PRIMARY KEY (id, booked_at)
) PARTITION BY RANGE (booked_at);
CREATE INDEX ledger_item ON ledger (item, id);
CREATE TABLE ledger_default PARTITION OF ledger DEFAULT;

-- What events were taken for whose codes had to be resolved; the books are derived from this.
CREATE TABLE resolved (event BIGINT PRIMARY KEY, bytes BYTEA NOT NULL);

CREATE TABLE balance (
    site BIGINT NOT NULL,
    item BIGINT NOT NULL,
    place BIGINT NOT NULL,
    lot TEXT COLLATE "C" NOT NULL,
    disposition TEXT COLLATE "C" NOT NULL,
    steps BIGINT NOT NULL,
    PRIMARY KEY (site, item, place, lot, disposition)
);
-- "How much of this is there, over all sites?" is asked by every movement of what some channel sells.
CREATE INDEX balance_item ON balance (item);

CREATE TABLE mention (
    word TEXT COLLATE "C" NOT NULL,
    event BIGINT NOT NULL,
    PRIMARY KEY (word, event)
);

CREATE TABLE task (
    site BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    order_id TEXT COLLATE "C",          -- the purchase order of an announced plate
    location TEXT COLLATE "C",          -- to count
    state TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    changed BIGINT NOT NULL,            -- of the site's changes, the one that changed it last
    PRIMARY KEY (site, id, kind)
);
CREATE INDEX task_changed ON task (site, changed);
CREATE INDEX task_open ON task (site, id) WHERE state = 'open';
CREATE INDEX task_order ON task (site, order_id) WHERE order_id IS NOT NULL;

CREATE TABLE task_line (
    site BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    line BIGINT NOT NULL,
    item BIGINT NOT NULL,
    steps BIGINT NOT NULL,
    from_location TEXT COLLATE "C",
    to_location TEXT COLLATE "C",
    lot TEXT COLLATE "C",
    expires_on BIGINT,                  -- yyyymmdd
    PRIMARY KEY (site, id, kind, line)
);

-- What was done for a task; kept whatever its lines become.
CREATE TABLE task_tally (
    site BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    item BIGINT NOT NULL,
    lot TEXT COLLATE "C" NOT NULL,
    location TEXT COLLATE "C" NOT NULL,
    done BIGINT NOT NULL,
    short BIGINT NOT NULL,
    PRIMARY KEY (site, id, kind, item, lot, location)
);

-- Holds of stock for orders. Neither table is ever updated; what is pending is a projection of both.
CREATE TABLE reservation (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    channel TEXT COLLATE "C" NOT NULL,
    order_id TEXT COLLATE "C" NOT NULL,
    line BIGINT NOT NULL,
    site BIGINT NOT NULL,
    attempt BIGINT NOT NULL,            -- 0, 1, 2 ...: anew after the one before has expired
    item BIGINT NOT NULL,
    steps BIGINT NOT NULL CHECK (steps > 0),
    account TEXT COLLATE "C",
    priority BIGINT NOT NULL,
    until BIGINT,                       -- NULL: hard from the beginning
    at BIGINT NOT NULL,
    UNIQUE (channel, order_id, line, site, attempt)
);
CREATE INDEX reservation_account ON reservation (account, item, site) WHERE account IS NOT NULL;

CREATE TABLE reservation_entry (
    reservation BIGINT NOT NULL REFERENCES reservation,
    key TEXT COLLATE "C" NOT NULL,      -- of the resolution; '' when its time was up
    step TEXT NOT NULL,                 -- confirmed, posted, voided or expired
    steps BIGINT NOT NULL CHECK (steps >= 0),
    at BIGINT NOT NULL,
    PRIMARY KEY (reservation, key)
);

CREATE TABLE pending (
    reservation BIGINT PRIMARY KEY,
    site BIGINT NOT NULL,
    item BIGINT NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    steps BIGINT NOT NULL CHECK (steps > 0),
    until BIGINT                        -- NULL: hard by now
);
CREATE INDEX pending_item ON pending (item, site);
CREATE INDEX pending_until ON pending (until) WHERE until IS NOT NULL;

CREATE TABLE quota (
    site BIGINT NOT NULL,
    item BIGINT NOT NULL,
    account TEXT COLLATE "C" NOT NULL,
    steps BIGINT NOT NULL CHECK (steps > 0),
    since BIGINT NOT NULL,              -- reservations after this one use it
    PRIMARY KEY (site, item, account)
);

CREATE TABLE dead_letter (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    hash BYTEA NOT NULL UNIQUE,
    class TEXT COLLATE "C" NOT NULL,
    reason TEXT NOT NULL,
    source TEXT NOT NULL,
    bytes BYTEA NOT NULL,
    site TEXT COLLATE "C",
    agent TEXT COLLATE "C",
    event BIGINT,                       -- the fact it is about
    erp TEXT COLLATE "C",               -- of a posting
    ledger BIGINT,                      -- of a posting
    channel TEXT COLLATE "C",           -- of a publication
    sku TEXT COLLATE "C",               -- of a publication
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    times BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    closed_at BIGINT,
    closed_by TEXT,
    closed_why TEXT
);
CREATE INDEX dead_letter_conflict ON dead_letter (event) WHERE class = 'conflict' AND state = 'open';
CREATE INDEX dead_letter_event ON dead_letter (event) WHERE event IS NOT NULL;
CREATE INDEX dead_letter_open ON dead_letter (class, id) WHERE state = 'open';
CREATE INDEX dead_letter_posting ON dead_letter (erp, ledger) WHERE class = 'posting';

CREATE TABLE device (
    agent TEXT COLLATE "C" PRIMARY KEY,
    site TEXT COLLATE "C" NOT NULL,
    status TEXT NOT NULL,
    last_seen BIGINT NOT NULL,
    epoch BYTEA,
    head BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    clock_at BIGINT,                    -- when it told its clock; NULL = never
    clock_unix BIGINT,
    clock_synced BOOLEAN,
    boot BIGINT,
    uptime BIGINT,
    software TEXT,
    change BIGINT NOT NULL
);

CREATE TABLE channel (
    channel TEXT COLLATE "C" PRIMARY KEY,
    sites TEXT NOT NULL,                -- JSON array
    safety_stock BIGINT NOT NULL,
    threshold BIGINT NOT NULL,
    cap BIGINT,
    basis TEXT NOT NULL,
    active BOOLEAN NOT NULL
);

CREATE TABLE offer (
    channel TEXT COLLATE "C" NOT NULL,
    sku TEXT COLLATE "C" NOT NULL,
    item BIGINT NOT NULL,
    reference TEXT,
    active BOOLEAN NOT NULL,
    revision BIGINT NOT NULL,           -- of the number it must be told; 0 = none computed
    number BIGINT NOT NULL,
    sites TEXT NOT NULL,                -- JSON: [[site, number], ...]
    through BIGINT NOT NULL,
    due_since BIGINT,                   -- NULL: nothing to tell
    next_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    fault TEXT,
    unresolved BOOLEAN NOT NULL,        -- some number was sent and nobody knows whether it arrived
    adrift TEXT NOT NULL,               -- JSON: [[at, [[site, number], ...]], ...], sent and never answered
    flight_revision BIGINT,             -- NULL: none in flight
    flight_number BIGINT,
    flight_sites TEXT,
    flight_through BIGINT,
    pub_revision BIGINT,                -- NULL: none accepted yet
    pub_number BIGINT,
    pub_sites TEXT,
    pub_through BIGINT,
    pub_at BIGINT,
    change BIGINT NOT NULL,
    PRIMARY KEY (channel, sku)
);
CREATE INDEX offer_item ON offer (item);
CREATE INDEX offer_due ON offer (channel, number) WHERE due_since IS NOT NULL;
CREATE INDEX offer_change ON offer (change);

-- Items whose offers are to be computed anew, and since when; 0: because something else than stock changed.
CREATE TABLE stale_item (item BIGINT PRIMARY KEY, since BIGINT NOT NULL);

CREATE TABLE batch (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    turn BIGINT NOT NULL,               -- order of posting; the halves of a split batch keep its turn
    erp TEXT COLLATE "C" NOT NULL,
    site BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    document TEXT,
    fault TEXT,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE INDEX batch_open ON batch (erp, turn, id) WHERE state IN ('planned', 'sent', 'unknown', 'retry');

CREATE TABLE posting (
    batch BIGINT NOT NULL REFERENCES batch,
    ledger BIGINT NOT NULL,
    PRIMARY KEY (batch, ledger)
);
CREATE INDEX posting_ledger ON posting (ledger);

CREATE TABLE api_key (
    name TEXT COLLATE "C" PRIMARY KEY,
    hash BYTEA NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT,
    last_used_at BIGINT
);
"#,
    loses: "SELECT EXISTS (SELECT FROM event) OR EXISTS (SELECT FROM item) OR EXISTS (SELECT FROM dead_letter)",
    back: "DROP TABLE books, erp, site, place, place_alias, item, item_code, stream, event, fact, ledger, resolved, balance,
               mention, task, task_line, task_tally, reservation, reservation_entry, pending, quota, dead_letter, device,
               channel, offer, stale_item, batch, posting, api_key",
};

/// Version 2: who does what must be done once.
const V2: Step = Step {
    forward: r#"
CREATE TABLE lease (
    name TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT NOT NULL,
    token BIGINT NOT NULL,              -- grows each time it is taken
    until BIGINT NOT NULL               -- unix milliseconds of this server's clock; 0: given back
);
"#,
    // Who works at this moment; whoever comes next says so anew.
    loses: "SELECT false",
    back: "DROP TABLE lease",
};

/// Version 3: how channels share stock, what each was sent, and which orders it has had.
const V3: Step = Step {
    forward: r#"
ALTER TABLE channel ADD COLUMN selling TEXT NOT NULL DEFAULT '{}'; -- JSON
ALTER TABLE item ADD COLUMN strict BOOLEAN;     -- NULL: as its channels are
ALTER TABLE offer ADD COLUMN grants TEXT NOT NULL DEFAULT ''; -- JSON: numbers that it may hold; '': what it accepted last
ALTER TABLE offer ADD COLUMN settle_at BIGINT;  -- when time alone may change its number; NULL: never
CREATE INDEX offer_settle ON offer (settle_at) WHERE settle_at IS NOT NULL;

-- All that a channel's orders have taken of an item and not given back.
CREATE TABLE taken (
    item BIGINT NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    steps BIGINT NOT NULL,
    PRIMARY KEY (item, channel)
);
INSERT INTO taken SELECT item, channel, sum(steps - coalesce((SELECT sum(entry.steps) FROM reservation_entry AS entry
        WHERE entry.reservation = reservation.id AND entry.step IN ('voided', 'expired')), 0))
    FROM reservation GROUP BY item, channel;
"#,
    // Without what was sent a channel would be told numbers that others may still sell.
    loses: "SELECT EXISTS (SELECT FROM offer WHERE settle_at IS NOT NULL) OR EXISTS (SELECT FROM item WHERE strict)",
    back: "DROP TABLE taken; ALTER TABLE offer DROP COLUMN grants, DROP COLUMN settle_at;
           ALTER TABLE item DROP COLUMN strict; ALTER TABLE channel DROP COLUMN selling",
};

/// Version 4: orders.
const V4: Step = Step {
    forward: r#"
-- How each order stands; follows from its rows.
CREATE TABLE order_head (
    no BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    channel TEXT COLLATE "C" NOT NULL,
    order_id TEXT COLLATE "C" NOT NULL, -- the channel's
    code TEXT COLLATE "C" NOT NULL,     -- what people call it
    reference TEXT COLLATE "C" NOT NULL UNIQUE, -- what the warehouse calls it
    stage TEXT NOT NULL,
    attention TEXT,                     -- NULL: nobody need look
    placed_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    currency TEXT NOT NULL,
    gross BIGINT NOT NULL,              -- minor units
    desk_due BIGINT,                    -- when it is to be looked at; NULL: when something comes
    erp_due BIGINT,
    channel_due BIGINT,
    UNIQUE (channel, order_id)
);
CREATE INDEX order_head_desk ON order_head (desk_due) WHERE desk_due IS NOT NULL;
CREATE INDEX order_head_erp ON order_head (erp_due) WHERE erp_due IS NOT NULL;
CREATE INDEX order_head_channel ON order_head (channel, channel_due) WHERE channel_due IS NOT NULL;

-- What happened to it; never updated.
CREATE TABLE order_row (
    order_no BIGINT NOT NULL REFERENCES order_head,
    sequence BIGINT NOT NULL,
    at BIGINT NOT NULL,
    said_by TEXT NOT NULL,
    fact TEXT NOT NULL,                 -- JSON
    PRIMARY KEY (order_no, sequence)
);

-- Words by which the warehouse's facts find it.
CREATE TABLE order_watch (
    word TEXT COLLATE "C" NOT NULL,
    order_no BIGINT NOT NULL,
    PRIMARY KEY (word, order_no)
);

CREATE TABLE order_cursor (channel TEXT COLLATE "C" PRIMARY KEY, through BIGINT NOT NULL);

CREATE TABLE order_delivery (
    no BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    channel TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    UNIQUE (channel, id)
);
"#,
    loses: "SELECT EXISTS (SELECT FROM order_head) OR EXISTS (SELECT FROM order_cursor)",
    back: "DROP TABLE order_row, order_watch, order_head, order_cursor, order_delivery",
};

const V5: Step = Step {
    forward: r#"
-- What has left its shelf for an order and is open at its channel; follows from its rows.
CREATE TABLE order_out (
    order_no BIGINT NOT NULL REFERENCES order_head,
    item BIGINT NOT NULL,
    site BIGINT NOT NULL,
    steps BIGINT NOT NULL,              -- more than 0
    PRIMARY KEY (order_no, item, site)
);
CREATE INDEX order_out_item ON order_out (item);
"#,
    loses: "SELECT EXISTS (SELECT FROM order_out)",
    back: "DROP TABLE order_out",
};

const V6: Step = Step {
    forward: "ALTER TABLE taken ADD COLUMN given_back BIGINT NOT NULL DEFAULT 0;
              UPDATE offer SET grants = ''", // were kept without it: what it accepted last counts
    loses: "SELECT EXISTS (SELECT FROM offer WHERE grants <> '')",
    back: "ALTER TABLE taken DROP COLUMN given_back",
};

/// The newest version this build knows.
pub(super) fn known_version() -> i64 {
    STEPS.len() as i64
}

/// Brings the database to a version, this build's when none is named; says what it was and is. One process at a time
/// does it, the others wait and find it done.
pub(super) fn migrate(session: &Session, to: Option<i64>) -> Result<(i64, i64), StoreError> {
    const DOING: &str = "changing the schema";
    let known = known_version();
    if let Some(to) = to.filter(|to| !(0..=known).contains(to)) {
        return Err(StoreError::Refused {
            reason: format!("there is no schema version {to}; there are 0 to {known}"),
        });
    }
    let mut first = None;
    loop {
        let done = session.write(DOING, Lock::None, |tx| {
            tx.one(DOING, "SELECT pg_advisory_xact_lock($1::bigint + hashtext(current_schema()))", &[&SCHEMA_LOCK])?;
            let found = version(tx)?;
            first.get_or_insert(found);
            let target = match to {
                Some(to) => to,
                // Newer than this build, by a replica of a newer one: it stays.
                None if (known..=known + VERSIONS_AHEAD).contains(&found) => return Ok(Some(found)),
                None => known,
            };
            if found > known && (to.is_none() || found > known + VERSIONS_AHEAD) || found < 0 {
                return Err(StoreError::Schema { found, known });
            }
            if found == target {
                return Ok(Some(found));
            }
            tx.batch(DOING, &format!("SET LOCAL lock_timeout = {STEP_LOCK_TIMEOUT_MS}"))?;
            let reached = if found < target {
                tx.batch(DOING, STEPS[found as usize].forward)?;
                found + 1
            } else {
                let Some(step) = STEPS.get(found as usize - 1) else {
                    return Err(StoreError::Schema { found, known });
                };
                if column::get(&tx.one(DOING, step.loses, &[])?, 0)? {
                    let reason = format!(
                        "going back from schema version {found} to {} would lose what is recorded; nothing was changed",
                        found - 1
                    );
                    return Err(StoreError::Refused { reason });
                }
                tx.batch(DOING, step.back)?;
                found - 1
            };
            tx.execute(DOING, "UPDATE stockwire_schema SET version = $1", &[&reached])?;
            Ok(None)
        })?;
        if let Some(done) = done {
            return Ok((first.unwrap_or(done), done));
        }
    }
}

/// Whether this build can work here.
pub(super) fn check(session: &Session) -> Result<(), StoreError> {
    let known = known_version();
    let found = session.read("reading the schema version", |tx| {
        let sql = "SELECT to_regclass('stockwire_schema') IS NULL";
        let none: bool = column::get(&tx.one("reading the schema version", sql, &[])?, 0)?;
        if none { Ok(0) } else { version(tx) }
    })?;
    match found {
        0 => Err(StoreError::Refused {
            reason: "there are no books in this database yet; make them with `stockwire-gateway migrate`"
                .into(),
        }),
        found if (known..=known + VERSIONS_AHEAD).contains(&found) => Ok(()),
        found => Err(StoreError::Schema { found, known }),
    }
}

/// The version that the database says it has; 0 = empty. The table that says so is made when it is not there.
fn version(tx: &Tx<'_>) -> Result<i64, StoreError> {
    const DOING: &str = "reading the schema version";
    let none: bool = column::get(&tx.one(DOING, "SELECT to_regclass('stockwire_schema') IS NULL", &[])?, 0)?;
    if none {
        tx.batch(DOING, "CREATE TABLE stockwire_schema (version BIGINT NOT NULL)")?;
        tx.batch(DOING, "INSERT INTO stockwire_schema VALUES (0)")?;
    }
    column::get(&tx.one(DOING, "SELECT version FROM stockwire_schema", &[])?, 0)
}

/// Makes the partitions of a month and of the months after it.
pub(super) fn coming_partitions(session: &Session, at_ms: i64) -> Result<(), StoreError> {
    make_partitions(session, months(at_ms, MONTHS_AHEAD))
}

/// Makes the partitions of the months of these times.
pub(super) fn partitions(session: &Session, at_ms: &[i64]) -> Result<(), StoreError> {
    let wanted: std::collections::BTreeSet<_> = at_ms.iter().flat_map(|at_ms| months(*at_ms, 0)).collect();
    make_partitions(session, wanted)
}

/// A month whose rows are in a default partition already
/// stays there: nothing is refused for want of a partition, and nothing is moved behind anybody's back.
fn make_partitions(
    session: &Session,
    months: impl IntoIterator<Item = (String, i64, i64)>,
) -> Result<(), StoreError> {
    const DOING: &str = "making partitions";
    for (name, first_ms, end_ms) in months {
        for (table, column) in [("fact", "received_at"), ("ledger", "booked_at")] {
            let partition = format!("{table}_{name}");
            let made = session.write(DOING, Lock::None, |tx| {
                tx.one(DOING, "SELECT pg_advisory_xact_lock($1::bigint + hashtext(current_schema()))", &[&SCHEMA_LOCK])?;
                let sql = format!(
                    "SELECT to_regclass($1) IS NULL
                         AND NOT EXISTS (SELECT FROM {table}_default WHERE {column} >= $2 AND {column} < $3)"
                );
                let wanted = tx.one(DOING, &sql, &[&partition.as_str(), &first_ms, &end_ms])?;
                if column::get(&wanted, 0)? {
                    tx.batch(
                        DOING,
                        &format!(
                            "SET LOCAL lock_timeout = {STEP_LOCK_TIMEOUT_MS};
                             CREATE TABLE {partition} PARTITION OF {table} FOR VALUES FROM ({first_ms}) TO ({end_ms})"
                        ),
                    )?;
                }
                Ok(())
            });
            made?;
        }
    }
    Ok(())
}

/// Name, first millisecond and end of a month and of `ahead` after it; none for times that no calendar has.
fn months(at_ms: i64, ahead: i32) -> impl Iterator<Item = (String, i64, i64)> {
    let first = jiff::Timestamp::from_millisecond(at_ms).ok();
    let first = first.map(|at| at.to_zoned(jiff::tz::TimeZone::UTC).date().first_of_month());
    let start = |date: jiff::civil::Date| {
        let zoned = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(zoned.timestamp().as_millisecond())
    };
    (0..=ahead).filter_map(move |ahead| {
        let month = first?.checked_add(jiff::Span::new().months(ahead)).ok()?;
        let next = month.checked_add(jiff::Span::new().months(1)).ok()?;
        Some((format!("{:04}_{:02}", month.year(), month.month()), start(month)?, start(next)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_touch_and_run_over_the_turn_of_a_year() {
        // 2023-11-14.
        let months: Vec<_> = months(1_700_000_000_000, MONTHS_AHEAD).collect();
        assert_eq!(months.len(), MONTHS_AHEAD as usize + 1);
        assert_eq!(months[0], ("2023_11".into(), 1_698_796_800_000, 1_701_388_800_000));
        assert_eq!(months[2].0, "2024_01");
        assert!(months.windows(2).all(|pair| pair[0].2 == pair[1].1), "{months:?}");
        assert_eq!(super::months(i64::MAX, 0).count(), 0);
    }
}
