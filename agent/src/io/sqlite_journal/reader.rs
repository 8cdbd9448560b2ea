//! A journal that is only looked at: for `journal tail`, `verify` and `export` while no agent runs, and for files that
//! were set aside.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use stockwire_protocol::{Epoch, Sequence};

use super::lock::Lock;
use super::salvage::pages::{Found, Pages};
use super::{OpenError, StoredRow, row, schema, take_lock};
use crate::journal::{JournalError, ReadLimit};

/// What is in the file. Nothing is written, and no boot counted.
#[derive(Debug)]
pub struct JournalReader {
    rows: Rows,
    /// Held so that no agent starts meanwhile.
    _lock: Lock,
    epoch: Epoch,
    head: Sequence,
    watermark: Sequence,
    kept_after: Sequence,
}

#[derive(Debug)]
enum Rows {
    Whole(Connection),
    /// Of a damaged file: what was found page by page.
    Found(BTreeMap<Sequence, StoredRow>),
}

impl JournalReader {
    /// Opens the file; a damaged one is read page by page.
    ///
    /// # Errors
    /// [`OpenError::InUse`] while an agent runs on it, [`OpenError::Damaged`] when not even an epoch can be found.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let missing = |source| OpenError::File { path: path.to_owned(), doing: "find it", source };
        std::fs::metadata(path).map_err(missing)?;
        let lock = take_lock(path)?;
        match schema::reopen(path, &Arc::default()) {
            Ok((connection, life)) => Ok(Self {
                rows: Rows::Whole(connection),
                _lock: lock,
                epoch: life.root.epoch,
                head: life.head,
                watermark: life.root.watermark,
                kept_after: life.kept_after,
            }),
            Err(OpenError::Damaged { reason, .. }) => Self::open_damaged(path, lock, reason),
            Err(error) => Err(error),
        }
    }

    fn open_damaged(path: &Path, lock: Lock, reason: String) -> Result<Self, OpenError> {
        let mut pages = Pages::read(path).map_err(|source| OpenError::File {
            path: path.to_owned(),
            doing: "read it page by page",
            source,
        })?;
        let root = pages.root().ok_or_else(|| OpenError::Damaged { path: path.to_owned(), reason })?;
        let mut found = BTreeMap::new();
        pages.events(&mut |Found { sequence, row }| {
            let sequence = Sequence::new(sequence);
            if let Ok(row) = row::unseal(root.epoch, sequence, &row) {
                found.insert(sequence, row);
            }
        });
        let first = found.first_key_value().map_or(root.watermark, |(first, _)| *first);
        let last = found.last_key_value().map_or(root.watermark, |(last, _)| *last);
        Ok(Self {
            rows: Rows::Found(found),
            _lock: lock,
            epoch: root.epoch,
            head: last.max(root.watermark),
            watermark: root.watermark,
            kept_after: Sequence::new(first.get().saturating_sub(1)),
        })
    }

    /// Which life it is.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Its last row.
    pub fn head(&self) -> Sequence {
        self.head
    }

    /// What the gateway held, as far as this file knows.
    pub fn watermark(&self) -> Sequence {
        self.watermark
    }

    /// Rows after this one are there.
    pub fn kept_after(&self) -> Sequence {
        self.kept_after
    }

    /// Whether the file is damaged; rows may then be missing in between.
    pub fn is_damaged(&self) -> bool {
        matches!(self.rows, Rows::Found(_))
    }

    /// Rows after `after`, each checked.
    ///
    /// # Errors
    /// As [`Journal::read`](crate::journal::Journal::read).
    pub fn rows(&self, after: Sequence, limit: ReadLimit) -> Result<Vec<StoredRow>, JournalError> {
        match &self.rows {
            Rows::Whole(connection) => {
                row::read(connection, self.epoch, after.max(self.kept_after), self.head, limit)
            }
            Rows::Found(found) => {
                let after = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
                Ok(found.range(after).take(limit.events).map(|(_, row)| row.clone()).collect())
            }
        }
    }
}
