//! What is done with a damaged journal: it is set aside, what can be read is saved, and a new life begins.
//!
//! ```text
//!  journal.db, -wal   (damaged)  --> journal.db.corrupt-<time>, -wal          kept for people, never opened again
//!        | rows above the watermark, found page by page
//!        v
//!  journal.db.before-0001        the same epoch and the same sequences, sent first, then deleted
//!  journal.db                    a new epoch; begins with `Lost` when the end of the old one is in doubt
//! ```
//! The saved rows keep their identity: some may be at the gateway already, and under a new one they would be booked
//! twice. A row missing between two others is replaced by `Lost` at its own sequence. Only the end is uncertain: rows
//! after the last one found may have been sent, so that epoch takes no further rows.
//!
//! The new file is written as `journal.db.next` first. Its appearance, by one renaming, is the decision: before it the
//! damaged file is untouched, after it the next start completes what a crash interrupted ([`finish`]).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, params};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::{Body, Epoch, Event, Sequence, When};

use super::lock::beside;
use super::{OpenError, row, schema, schema::Root, signed, sync_directory};

pub(super) mod pages;

use pages::{Found, Pages};

/// What became of a damaged journal, for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Salvage {
    /// What was wrong.
    pub reason: String,
    /// Where the damaged file lies now.
    pub kept: PathBuf,
    /// Its epoch; `None` when not even that could be read, and so no row could be told from noise.
    pub epoch: Option<Epoch>,
    /// Rows above the watermark that were saved.
    pub saved: u64,
    /// Rows known to be lost: those replaced in sequence, and one for an end in doubt.
    pub lost: u64,
}

/// Saves what can be read of the journal at `path`, sets the file aside and begins a new life in its place.
pub(super) fn set_aside(path: &Path, reason: &str, unix_s: i64) -> Result<Salvage, OpenError> {
    let mut pages = Pages::read(path).map_err(file(path, "read it page by page"))?;
    let root = pages.root();
    let (saved, lost) = match root {
        Some(root) => save(path, root, &mut pages)?,
        None => (0, 0),
    };
    drop(pages);
    // Whatever was damaged, the last rows may have been too: their loss would leave no trace.
    let end_in_doubt =
        Event { when: When::Unsynced { unix_ms: 0, boot: 1, uptime_ms: 0 }, body: Body::Lost { count: 1 } };
    let kept = replace(path, &[end_in_doubt], ".corrupt", unix_s)?;
    Ok(Salvage { reason: reason.to_owned(), kept, epoch: root.map(|root| root.epoch), saved, lost: lost + 1 })
}

/// Puts a journal with a new epoch and these first rows at `path`; the old file gets the name that is returned.
pub(super) fn replace(path: &Path, first: &[Event], kept: &str, unix_s: i64) -> Result<PathBuf, OpenError> {
    let draft = draft(path, Root::new(schema::random_epoch(path)?), first)?;
    fs::rename(draft, beside(path, ".next"))
        .and_then(|()| sync_directory(path))
        .map_err(file(path, "begin a new one"))?;
    let kept = beside(path, &format!("{kept}-{unix_s}"));
    move_away_and_begin(path, &kept)?;
    Ok(kept)
}

/// Ends what a crash interrupted.
pub(super) fn finish(path: &Path, unix_s: i64) -> Result<(), OpenError> {
    if !beside(path, ".next").exists() {
        return Ok(());
    }
    move_away_and_begin(path, &beside(path, &format!(".replaced-{unix_s}")))
}

fn move_away_and_begin(path: &Path, kept: &Path) -> Result<(), OpenError> {
    let moved = || {
        // A second name first, so that at no moment there is none. The log goes before the file: an old log beside a
        // new file would be copied into it.
        link(&beside(path, "-wal"), &beside(kept, "-wal"))?;
        link(path, kept)?;
        sync_directory(path)?;
        remove(&beside(path, "-wal"))?;
        remove(path)?;
        fs::rename(beside(path, ".next"), path)?;
        sync_directory(path)
    };
    moved().map_err(file(path, "set it aside"))
}

/// Earlier lives whose rows are not yet at the gateway, oldest first.
pub(super) fn before(path: &Path) -> Result<Vec<PathBuf>, OpenError> {
    beside_with(path, |rest| {
        let number = rest.strip_prefix(".before-");
        number.is_some_and(|number| number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// Files whose names are the journal's with something after it that `is_wanted`, in order.
pub(super) fn beside_with(path: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, OpenError> {
    let listing = file(path, "list its directory");
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let stem = path.file_name().unwrap_or(OsStr::new("")).to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(&listing)? {
        let name = entry.map_err(&listing)?.file_name();
        if name.to_str().and_then(|name| name.strip_prefix(&stem)).is_some_and(&is_wanted) {
            found.push(directory.join(name));
        }
    }
    found.sort();
    Ok(found)
}

/// Writes the rows above the watermark, and `Lost` where one is missing, to the next `before` file.
fn save(path: &Path, root: Root, pages: &mut Pages) -> Result<(u64, u64), OpenError> {
    let saving = file(path, "save its rows");
    let mut rows = BTreeMap::new();
    pages.events(&mut |Found { sequence, row }| {
        let sequence = Sequence::new(sequence);
        if sequence > root.watermark && row::unseal(root.epoch, sequence, &row).is_ok() {
            rows.entry(sequence).or_insert(row);
        }
    });
    let draft = draft(path, root, &[])?;
    let connection = schema::connect(&draft, &Arc::default())?;
    let counts = fill(&connection, root, &rows)
        .map_err(|source| schema::open_error(&draft, "save its rows", source))?;
    close(connection, &draft)?;
    fs::rename(&draft, next_before(path, root.epoch)?).map_err(&saving)?;
    sync_directory(path).map_err(&saving)?;
    Ok(counts)
}

/// A number higher than all others; an attempt at the same file that a crash interrupted is overwritten.
fn next_before(path: &Path, epoch: Epoch) -> Result<PathBuf, OpenError> {
    let Some(last) = before(path)?.pop() else { return Ok(beside(path, ".before-0001")) };
    let root = Pages::read(&last).map_err(file(&last, "read it page by page"))?.root();
    if root.is_some_and(|root| root.epoch == epoch) {
        return Ok(last);
    }
    let number = last.to_str().and_then(|last| last.rsplit_once('-')?.1.parse().ok()).unwrap_or(0u32);
    Ok(beside(path, &format!(".before-{:04}", number + 1)))
}

/// A whole journal in one file, without a log, so that one renaming puts it in place.
fn draft(path: &Path, root: Root, first: &[Event]) -> Result<PathBuf, OpenError> {
    let draft = beside(path, ".draft");
    for leftover in [beside(&draft, "-wal"), beside(&draft, "-journal"), draft.clone()] {
        remove(&leftover).map_err(file(path, "remove a leftover"))?;
    }
    let connection = schema::connect(&draft, &Arc::default())?;
    schema::make(&connection, &draft, root, first)?;
    close(connection, &draft)?;
    Ok(draft)
}

fn close(connection: Connection, draft: &Path) -> Result<(), OpenError> {
    let error = |source| schema::open_error(draft, "close it", source);
    connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).map_err(error)?;
    connection.close().map_err(|(_, source)| error(source))?;
    fs::File::open(draft).and_then(|draft| draft.sync_all()).map_err(file(draft, "close it"))
}

fn fill(
    connection: &Connection,
    root: Root,
    rows: &BTreeMap<Sequence, Vec<u8>>,
) -> Result<(u64, u64), rusqlite::Error> {
    let (mut saved, mut holes) = (0, 0);
    let Some((last, _)) = rows.last_key_value() else { return Ok((0, 0)) };
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let mut insert = connection.prepare_cached("INSERT INTO event (sequence, row) VALUES (?1, ?2)")?;
    // The time of a row that cannot be read is not known; its neighbour's is as close as it gets.
    let mut when = When::Unsynced { unix_ms: 0, boot: root.boot, uptime_ms: 0 };
    for number in root.watermark.get() + 1..=last.get() {
        let sequence = Sequence::new(number);
        match rows.get(&sequence) {
            Some(row) => {
                if let Ok(event) = row::unseal(root.epoch, sequence, row).map(row::StoredRow::into_event) {
                    when = event.map_or(when, |event| event.when);
                }
                insert.execute(params![signed(sequence), row])?;
                saved += 1;
            }
            None => {
                let lost = Event { when, body: Body::Lost { count: 1 } };
                insert.execute(params![signed(sequence), row::seal(root.epoch, sequence, lost.encode())])?;
                holes += 1;
            }
        }
    }
    connection.execute_batch("COMMIT")?;
    Ok((saved, holes))
}

fn file(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::File { path: path.clone(), doing, source }
}

fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // From an attempt that was interrupted within the same second.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
