//! A row: the event's own bytes, and a check over them.

use crc::{CRC_32_ISCSI, Crc};
use rusqlite::{Connection, ErrorCode, params};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::{Epoch, Event, Sequence};

use crate::journal::{JournalError, ReadLimit};

/// ```text
/// +--------------------------+----------------------------------------------+
/// | event, CBOR (n bytes)    | CRC-32C of epoch, sequence, event (4, little) |
/// +--------------------------+----------------------------------------------+
/// ```
/// Four bytes for each row: SQLite checks the shape of its pages and not their content, so without it a flipped bit
/// in an item code would be booked. The epoch and the sequence are part of the check, so that a row found in a page of
/// an earlier life, or under another key, is not taken for one of ours. A digest against forgery would cost 16 and
/// more, and whoever can write the file could make it anew.
pub(super) const CHECK_BYTES: usize = 4;

pub(super) const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// A row that passed its check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRow {
    /// Its place in the epoch.
    pub sequence: Sequence,
    /// [`Event::encode`].
    pub bytes: Vec<u8>,
}

/// Why bytes are no row.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RowFault {
    /// Shorter than a check.
    #[error("it has {0} bytes, too few for a row")]
    Short(usize),
    /// The bytes are not those that were written.
    #[error("its check is {stored:08x}, its bytes give {computed:08x}")]
    Check {
        /// As stored.
        stored: u32,
        /// As computed now.
        computed: u32,
    },
}

impl StoredRow {
    /// The event.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] when the bytes are none.
    pub fn into_event(self) -> Result<Event, JournalError> {
        Event::decode(&self.bytes)
            .map_err(|error| JournalError::Corrupt { sequence: self.sequence, reason: error.to_string() })
    }
}

fn check(epoch: Epoch, sequence: Sequence, bytes: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(epoch.as_bytes());
    digest.update(&sequence.get().to_le_bytes());
    digest.update(bytes);
    digest.finalize()
}

pub(super) fn seal(epoch: Epoch, sequence: Sequence, mut bytes: Vec<u8>) -> Vec<u8> {
    let check = check(epoch, sequence, &bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    bytes
}

pub(super) fn unseal(epoch: Epoch, sequence: Sequence, row: &[u8]) -> Result<StoredRow, RowFault> {
    let (bytes, stored) = row.split_last_chunk::<CHECK_BYTES>().ok_or(RowFault::Short(row.len()))?;
    let (stored, computed) = (u32::from_le_bytes(*stored), check(epoch, sequence, bytes));
    // A row that does not read back as it was written is never sent.
    if stored != computed {
        return Err(RowFault::Check { stored, computed });
    }
    Ok(StoredRow { sequence, bytes: bytes.to_vec() })
}

/// Consecutive rows after `after`, each checked. A missing one is damage, not the end: the head is known.
pub(super) fn read(
    connection: &Connection,
    epoch: Epoch,
    after: Sequence,
    head: Sequence,
    limit: ReadLimit,
) -> Result<Vec<StoredRow>, JournalError> {
    let mut rows = Vec::new();
    let mut bytes_left = limit.bytes;
    let mut expected = after.get() + 1;
    let failed = |error: rusqlite::Error, sequence: u64| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            JournalError::Corrupt { sequence: Sequence::new(sequence), reason: error.to_string() }
        }
        _ => JournalError::io("read", error),
    };
    let events_max = limit.events.max(1);
    if after >= head {
        return Ok(rows);
    }
    let mut statement = connection
        .prepare_cached("SELECT sequence, row FROM event WHERE sequence > ?1 ORDER BY sequence LIMIT ?2")
        .map_err(|error| failed(error, expected))?;
    let count = i64::try_from(events_max).unwrap_or(i64::MAX);
    let mut found =
        statement.query(params![after.get() as i64, count]).map_err(|error| failed(error, expected))?;
    loop {
        let row = match found.next().map_err(|error| failed(error, expected))? {
            Some(row) => row,
            None if expected <= head.get() && rows.len() < events_max => {
                return Err(JournalError::Corrupt {
                    sequence: Sequence::new(expected),
                    reason: "it is missing".into(),
                });
            }
            None => return Ok(rows),
        };
        let sequence = row.get::<_, i64>(0).map_err(|error| failed(error, expected))? as u64;
        if sequence != expected {
            return Err(JournalError::Corrupt {
                sequence: Sequence::new(expected),
                reason: "it is missing".into(),
            });
        }
        let stored = row.get_ref(1).map_err(|error| failed(error, expected))?;
        let stored = stored.as_blob().map_err(|error| JournalError::Corrupt {
            sequence: Sequence::new(expected),
            reason: error.to_string(),
        })?;
        let row = unseal(epoch, Sequence::new(sequence), stored).map_err(|fault| JournalError::Corrupt {
            sequence: Sequence::new(expected),
            reason: fault.to_string(),
        })?;
        if row.bytes.len() > bytes_left && !rows.is_empty() {
            return Ok(rows);
        }
        bytes_left = bytes_left.saturating_sub(row.bytes.len());
        rows.push(row);
        expected += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_only_under_its_own_identity() {
        let (epoch, sequence) = (Epoch::from_bytes([7; 16]), Sequence::new(3));
        let row = seal(epoch, sequence, b"event".to_vec());
        assert_eq!(unseal(epoch, sequence, &row), Ok(StoredRow { sequence, bytes: b"event".to_vec() }));
        assert!(unseal(epoch, Sequence::new(4), &row).is_err());
        assert!(unseal(Epoch::from_bytes([8; 16]), sequence, &row).is_err());
        assert_eq!(unseal(epoch, sequence, b"abc"), Err(RowFault::Short(3)));
        for bit in 0..row.len() * 8 {
            let mut flipped = row.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(epoch, sequence, &flipped).is_err(), "bit {bit}");
        }
    }
}
