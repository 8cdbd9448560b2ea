//! The tables, and how a database of an older build is brought forward.

use rusqlite::{Connection, TransactionBehavior};

use super::{database, pragma_text};
use crate::store::StoreError;

/// One step forward each; the position is the version it leads to. A step that was released is never edited.
const MIGRATIONS: [&str; 6] = [V1, V2, V3, V4, V5, V6];

/// Bits of an event's key that hold its sequence: a journal of a million scans a second lasts twelve days, one of
/// a hundred a second 350 years. The other 23 number the streams: eight million journals.
pub(super) const SEQUENCE_BITS: u32 = 40;

/// Rows of the books that are not indexed by item yet, at most, before they all are. An index kept row by row would
/// dirty a page for each, a third of the cost of ingest; so it is brought up in sorted stretches, and whoever asks
/// looks through the rest, which takes a millisecond or two.
pub(super) const ITEM_ROWS_STRETCH: u64 = 8_192;

/// Version 1.
///
/// The event's key packs (stream, sequence) into one integer, which makes the unique key of ingest the table's own
/// b-tree: no second index, and a redelivered batch is compared by reading one stretch of it. Balances lead with
/// the item, because a movement asks "how much of this is there?" for every channel. Whatever others call a thing
/// is text; whatever the books repeat a million times is a number.
const V1: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('instance', lower(hex(randomblob(4)))), ('index_revision', 0), ('catalogue_revision', 0),
    ('change', 0), ('refused_letters', 0), ('item_rows_through', 0);

CREATE TABLE erp (
    erp TEXT PRIMARY KEY,
    opened_at INTEGER,                  -- NULL: the opening stock is not booked
    through INTEGER NOT NULL            -- ledger rows up to here are planned
) STRICT, WITHOUT ROWID;

CREATE TABLE site (
    no INTEGER PRIMARY KEY,
    site TEXT NOT NULL UNIQUE,
    erp TEXT NOT NULL,
    reference TEXT,
    active INTEGER NOT NULL,
    task_change INTEGER NOT NULL DEFAULT 0  -- counts changes of its tasks
) STRICT;

CREATE TABLE place (
    no INTEGER PRIMARY KEY,
    site INTEGER NOT NULL REFERENCES site,
    kind INTEGER NOT NULL,              -- 0 at, 1 supplier, 2 customer, 3 loss, 4 transit
    location TEXT NOT NULL,             -- '' for the virtual ones
    reference TEXT,
    active INTEGER NOT NULL,
    changed INTEGER NOT NULL,           -- the revision of the catalogue that changed it last
    UNIQUE (site, kind, location)
) STRICT;
CREATE INDEX place_changed ON place (site, changed);

-- What people say a label at a site means, beside the places' own names.
CREATE TABLE place_alias (
    site INTEGER NOT NULL,
    code TEXT NOT NULL,
    place INTEGER NOT NULL,
    active INTEGER NOT NULL,            -- 0: taken back; agents are told that it is gone
    changed INTEGER NOT NULL,
    said_by TEXT NOT NULL,
    said_at INTEGER NOT NULL,
    PRIMARY KEY (site, code)
) STRICT, WITHOUT ROWID;

CREATE TABLE item (
    no INTEGER PRIMARY KEY,
    item TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    uom TEXT NOT NULL,
    gtins TEXT NOT NULL,                -- JSON array
    codes TEXT NOT NULL,                -- JSON array
    erp TEXT NOT NULL,
    reference TEXT,
    active INTEGER NOT NULL,
    rules TEXT,                         -- JSON; NULL: nothing is asked and checked
    changed INTEGER NOT NULL            -- the revision of the catalogue that changed it last
) STRICT;
CREATE INDEX item_changed ON item (changed);

-- Every code of an item, for the gateway's own look-ups.
CREATE TABLE item_code (
    kind INTEGER NOT NULL,              -- 0 GTIN, 1 text
    code TEXT NOT NULL,
    item INTEGER NOT NULL,
    source INTEGER NOT NULL,            -- 0 ERP, 1 a person, 2 a pack of the item's rules
    pieces INTEGER NOT NULL,            -- how many of the item's unit it means
    said_by TEXT,                       -- of a person
    said_at INTEGER,
    PRIMARY KEY (kind, code, item, source)
) STRICT, WITHOUT ROWID;
CREATE INDEX item_code_item ON item_code (item, source);

CREATE TABLE stream (
    no INTEGER PRIMARY KEY,
    agent TEXT NOT NULL,
    epoch BLOB NOT NULL,
    site TEXT NOT NULL,
    watermark INTEGER NOT NULL,
    digest INTEGER NOT NULL,            -- of all events up to the watermark, see the published contract
    UNIQUE (agent, epoch)
) STRICT;

CREATE TABLE event (
    key INTEGER PRIMARY KEY,            -- stream << 40 | sequence: one identity, once
    ledger INTEGER,                     -- NULL: not applied
    received_at INTEGER NOT NULL,
    bytes BLOB NOT NULL                 -- as the journal holds it
) STRICT;

CREATE TABLE ledger (
    id INTEGER PRIMARY KEY,             -- the order of application, without holes
    event INTEGER NOT NULL,
    item INTEGER NOT NULL,
    from_place INTEGER NOT NULL,
    to_place INTEGER NOT NULL,
    steps INTEGER NOT NULL CHECK (steps >= 0),
    lot TEXT NOT NULL,                  -- '' = not known by lot
    disposition TEXT NOT NULL           -- '' = ordinary
) STRICT;

-- What events were taken for whose codes had to be resolved; the books are derived from this.
CREATE TABLE resolved (event INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;

-- Rows of the books by item, up to meta.item_rows_through; see ITEM_ROWS_STRETCH.
CREATE TABLE item_row (item INTEGER NOT NULL, ledger INTEGER NOT NULL, PRIMARY KEY (item, ledger)) STRICT, WITHOUT ROWID;

CREATE TABLE balance (
    item INTEGER NOT NULL,
    place INTEGER NOT NULL,
    lot TEXT NOT NULL,
    disposition TEXT NOT NULL,
    steps INTEGER NOT NULL,
    PRIMARY KEY (item, place, lot, disposition)
) STRICT, WITHOUT ROWID;
CREATE INDEX balance_place ON balance (place);

CREATE TABLE mention (
    word TEXT NOT NULL,
    event INTEGER NOT NULL,
    PRIMARY KEY (word, event)
) STRICT, WITHOUT ROWID;

CREATE TABLE task (
    site INTEGER NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    order_id TEXT,                      -- the purchase order of an announced plate
    location TEXT,                      -- to count
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    changed INTEGER NOT NULL,           -- of the site's changes, the one that changed it last
    PRIMARY KEY (site, id, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_changed ON task (site, changed);
CREATE INDEX task_open ON task (site, id) WHERE state = 'open';
CREATE INDEX task_order ON task (site, order_id) WHERE order_id IS NOT NULL;

CREATE TABLE task_line (
    site INTEGER NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    line INTEGER NOT NULL,
    item INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    from_location TEXT,
    to_location TEXT,
    lot TEXT,
    expires_on INTEGER,                 -- yyyymmdd
    PRIMARY KEY (site, id, kind, line)
) STRICT, WITHOUT ROWID;

-- What was done for a task; kept whatever its lines become.
CREATE TABLE task_tally (
    site INTEGER NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    item INTEGER NOT NULL,
    lot TEXT NOT NULL,
    location TEXT NOT NULL,
    done INTEGER NOT NULL,
    short INTEGER NOT NULL,
    PRIMARY KEY (site, id, kind, item, lot, location)
) STRICT, WITHOUT ROWID;

-- Holds of stock for orders. Neither table is ever updated; what is pending is a projection of both.
CREATE TABLE reservation (
    id INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    order_id TEXT NOT NULL,
    line INTEGER NOT NULL,
    site INTEGER NOT NULL,
    attempt INTEGER NOT NULL,           -- 0, 1, 2 ...: anew after the one before has expired
    item INTEGER NOT NULL,
    steps INTEGER NOT NULL CHECK (steps > 0),
    account TEXT,
    priority INTEGER NOT NULL,
    until INTEGER,                      -- NULL: hard from the beginning
    at INTEGER NOT NULL,
    UNIQUE (channel, order_id, line, site, attempt)
) STRICT;
CREATE INDEX reservation_account ON reservation (account, item, site) WHERE account IS NOT NULL;

CREATE TABLE reservation_entry (
    reservation INTEGER NOT NULL REFERENCES reservation,
    key TEXT NOT NULL,                  -- of the resolution; '' when its time was up
    step TEXT NOT NULL,                 -- confirmed, posted, voided or expired
    steps INTEGER NOT NULL CHECK (steps >= 0),
    at INTEGER NOT NULL,
    PRIMARY KEY (reservation, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE pending (
    reservation INTEGER PRIMARY KEY,
    item INTEGER NOT NULL,
    site INTEGER NOT NULL,
    channel TEXT NOT NULL,
    steps INTEGER NOT NULL CHECK (steps > 0),
    until INTEGER                       -- NULL: hard by now
) STRICT;
CREATE INDEX pending_item ON pending (item, site);
CREATE INDEX pending_until ON pending (until) WHERE until IS NOT NULL;

CREATE TABLE quota (
    item INTEGER NOT NULL,
    site INTEGER NOT NULL,
    account TEXT NOT NULL,
    steps INTEGER NOT NULL CHECK (steps > 0),
    since INTEGER NOT NULL,             -- reservations after this one use it
    PRIMARY KEY (item, site, account)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letter (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    class TEXT NOT NULL,
    reason TEXT NOT NULL,
    source TEXT NOT NULL,
    bytes BLOB NOT NULL,
    site TEXT,
    agent TEXT,
    event INTEGER,                      -- the fact it is about
    erp TEXT,                           -- of a posting
    ledger INTEGER,                     -- of a posting
    channel TEXT,                       -- of a publication
    sku TEXT,                           -- of a publication
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    times INTEGER NOT NULL,
    state TEXT NOT NULL,
    closed_at INTEGER,
    closed_by TEXT,
    closed_why TEXT
) STRICT;
CREATE INDEX dead_letter_conflict ON dead_letter (event) WHERE class = 'conflict' AND state = 'open';
CREATE INDEX dead_letter_event ON dead_letter (event) WHERE event IS NOT NULL;
CREATE INDEX dead_letter_open ON dead_letter (class, id) WHERE state = 'open';
CREATE INDEX dead_letter_posting ON dead_letter (erp, ledger) WHERE class = 'posting' AND state = 'open';

CREATE TABLE device (
    agent TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    status TEXT NOT NULL,
    last_seen INTEGER NOT NULL,
    epoch BLOB,
    head INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    clock_at INTEGER,                   -- when it told its clock; NULL = never
    clock_unix INTEGER,
    clock_synced INTEGER,
    boot INTEGER,
    uptime INTEGER,
    software TEXT,
    change INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE channel (
    channel TEXT PRIMARY KEY,
    sites TEXT NOT NULL,                -- JSON array
    safety_stock INTEGER NOT NULL,
    threshold INTEGER NOT NULL,
    cap INTEGER,
    basis TEXT NOT NULL,
    active INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE offer (
    channel TEXT NOT NULL,
    sku TEXT NOT NULL,
    item INTEGER NOT NULL,
    reference TEXT,
    active INTEGER NOT NULL,
    revision INTEGER NOT NULL,          -- of the number it must be told; 0 = none computed
    number INTEGER NOT NULL,
    sites TEXT NOT NULL,                -- JSON: [[site, number], ...]
    through INTEGER NOT NULL,
    due_since INTEGER,                  -- NULL: nothing to tell
    next_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    fault TEXT,
    unresolved INTEGER NOT NULL,        -- 1: some number was sent and nobody knows whether it arrived
    adrift TEXT NOT NULL,               -- JSON: [[at, [[site, number], ...]], ...], sent and never answered
    flight_revision INTEGER,            -- NULL: none in flight
    flight_number INTEGER,
    flight_sites TEXT,
    flight_through INTEGER,
    pub_revision INTEGER,               -- NULL: none accepted yet
    pub_number INTEGER,
    pub_sites TEXT,
    pub_through INTEGER,
    pub_at INTEGER,
    change INTEGER NOT NULL,
    PRIMARY KEY (channel, sku)
) STRICT, WITHOUT ROWID;
CREATE INDEX offer_item ON offer (item);
CREATE INDEX offer_due ON offer (channel, number) WHERE due_since IS NOT NULL;
CREATE INDEX offer_change ON offer (change);

-- Items whose offers are to be computed anew, and since when; 0: because something else than stock changed.
CREATE TABLE stale_item (item INTEGER PRIMARY KEY, since INTEGER NOT NULL) STRICT;

CREATE TABLE batch (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    turn INTEGER NOT NULL,              -- order of posting; the halves of a split batch keep its turn
    erp TEXT NOT NULL,
    site INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    document TEXT,
    fault TEXT,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX batch_open ON batch (erp, turn, id) WHERE state IN ('planned', 'sent', 'unknown', 'retry');

CREATE TABLE posting (
    batch INTEGER NOT NULL REFERENCES batch,
    ledger INTEGER NOT NULL,
    PRIMARY KEY (batch, ledger)
) STRICT, WITHOUT ROWID;
CREATE INDEX posting_ledger ON posting (ledger);

CREATE TABLE api_key (
    name TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;
";

/// Version 2: who does what must be done once.
const V2: &str = "
CREATE TABLE lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    token INTEGER NOT NULL,             -- grows each time it is taken
    until INTEGER NOT NULL              -- unix milliseconds; 0: given back
) STRICT, WITHOUT ROWID;
";

/// Version 3: how channels share stock, what each was sent, and which orders it has had.
const V3: &str = "
ALTER TABLE channel ADD COLUMN selling TEXT NOT NULL DEFAULT '{}'; -- JSON
ALTER TABLE item ADD COLUMN strict INTEGER;     -- NULL: as its channels are
ALTER TABLE offer ADD COLUMN grants TEXT NOT NULL DEFAULT ''; -- JSON: numbers that it may hold; '': what it accepted last
ALTER TABLE offer ADD COLUMN settle_at INTEGER; -- when time alone may change its number; NULL: never
CREATE INDEX offer_settle ON offer (settle_at) WHERE settle_at IS NOT NULL;

-- All that a channel's orders have taken of an item and not given back.
CREATE TABLE taken (
    item INTEGER NOT NULL,
    channel TEXT NOT NULL,
    steps INTEGER NOT NULL,
    PRIMARY KEY (item, channel)
) STRICT, WITHOUT ROWID;
INSERT INTO taken SELECT item, channel, sum(steps - coalesce((SELECT sum(entry.steps) FROM reservation_entry AS entry
        WHERE entry.reservation = reservation.id AND entry.step IN ('voided', 'expired')), 0))
    FROM reservation GROUP BY item, channel;
";

/// Version 4: orders.
const V4: &str = "
-- How each order stands; follows from its rows.
CREATE TABLE order_head (
    no INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    order_id TEXT NOT NULL,             -- the channel's
    code TEXT NOT NULL,                 -- what people call it
    reference TEXT NOT NULL UNIQUE,     -- what the warehouse calls it
    stage TEXT NOT NULL,
    attention TEXT,                     -- NULL: nobody need look
    placed_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    currency TEXT NOT NULL,
    gross INTEGER NOT NULL,             -- minor units
    desk_due INTEGER,                   -- when it is to be looked at; NULL: when something comes
    erp_due INTEGER,
    channel_due INTEGER,
    UNIQUE (channel, order_id)
) STRICT;
CREATE INDEX order_head_desk ON order_head (desk_due) WHERE desk_due IS NOT NULL;
CREATE INDEX order_head_erp ON order_head (erp_due) WHERE erp_due IS NOT NULL;
CREATE INDEX order_head_channel ON order_head (channel, channel_due) WHERE channel_due IS NOT NULL;

-- What happened to it; never updated.
CREATE TABLE order_row (
    order_no INTEGER NOT NULL REFERENCES order_head,
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    said_by TEXT NOT NULL,
    fact TEXT NOT NULL,                 -- JSON
    PRIMARY KEY (order_no, sequence)
) STRICT, WITHOUT ROWID;

-- Words by which the warehouse's facts find it.
CREATE TABLE order_watch (
    word TEXT NOT NULL,
    order_no INTEGER NOT NULL,
    PRIMARY KEY (word, order_no)
) STRICT, WITHOUT ROWID;

CREATE TABLE order_cursor (channel TEXT PRIMARY KEY, through INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE order_delivery (
    no INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (channel, id)
) STRICT;
";

/// Version 5: goods on their way for orders.
const V5: &str = "
-- What has left its shelf for an order and is open at its channel; follows from its rows.
CREATE TABLE order_out (
    order_no INTEGER NOT NULL REFERENCES order_head,
    item INTEGER NOT NULL,
    site INTEGER NOT NULL,
    steps INTEGER NOT NULL,             -- more than 0
    PRIMARY KEY (order_no, item, site)
) STRICT, WITHOUT ROWID;
CREATE INDEX order_out_item ON order_out (item);
";

/// Version 6: what was given back is counted apart from what was taken.
const V6: &str = "
ALTER TABLE taken ADD COLUMN given_back INTEGER NOT NULL DEFAULT 0;
UPDATE offer SET grants = '';           -- were kept without it: what it accepted last counts
";

/// Brings the database to this build's version, each step in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let doing = "bringing the schema forward";
    let known = MIGRATIONS.len() as i64;
    loop {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(database(doing))?;
        // Read inside the transaction: two processes may start at once.
        let found = version(&transaction)?;
        if found > known || found < 0 {
            return Err(StoreError::Schema { found, known });
        }
        let Some(step) = MIGRATIONS.get(found as usize) else { return Ok(()) };
        transaction.execute_batch(step).map_err(database(doing))?;
        transaction.pragma_update(None, "user_version", found + 1).map_err(database(doing))?;
        transaction.commit().map_err(database(doing))?;
    }
}

/// The version that the file says it has; 0 = empty.
pub(super) fn version(connection: &Connection) -> Result<i64, StoreError> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(database("reading the schema version"))
}

/// The newest version this build knows.
pub(super) fn known_version() -> i64 {
    MIGRATIONS.len() as i64
}

/// Sets what durability rests on and reads it back: a pragma that did not take is silent otherwise.
pub(super) fn make_durable(connection: &Connection, in_memory: bool) -> Result<(), StoreError> {
    let doing = "setting up the database";
    // Write-ahead log: readers do not stop the writer. FULL: a commit is on the disk when it returns.
    let journal = pragma_text(connection, "journal_mode", "WAL").map_err(database(doing))?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(database(doing))?;
    let synchronous: i64 =
        connection.pragma_query_value(None, "synchronous", |row| row.get(0)).map_err(database(doing))?;
    let expected = if in_memory { "memory" } else { "wal" };
    if journal != expected || synchronous != 2 {
        return Err(StoreError::Refused {
            reason: format!(
                "the database does not commit durably here: journal {journal} (expected {expected}), synchronous \
                 {synchronous} (expected 2); is it on a network share?"
            ),
        });
    }
    Ok(())
}
