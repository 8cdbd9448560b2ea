//! The pages of a SQLite file and its log, read without SQLite: whatever leads to them is damaged, a leaf that is whole
//! still gives its rows. Each row carries a check of its own, so nothing here has to be believed.
//!
//! ```text
//!  leaf page of a table:  0D | free 2 | cells 2 | content 2 | frag 1 | cell offsets 2 each ... | ... cells
//!  cell:                  payload length, varint | key, varint | payload | [first overflow page 4]
//!  payload:               header length, varint | one type for each column, varint | values
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::super::PAGE_BYTES;
use super::super::log::Log;
use super::super::schema::Root;
use super::beside;

const PAGE: usize = PAGE_BYTES as usize;
/// First byte of a leaf page of a table.
const TABLE_LEAF: u8 = 0x0D;
/// Longest payload that is followed: an event at its limit, its check, and the record's header.
const PAYLOAD_MAX: usize = 2 * 1024 + 64;
/// Of a payload that does not fit, at most this much lies in the leaf, and at least `LOCAL_MIN`.
const LOCAL_MAX: usize = PAGE - 35;
const LOCAL_MIN: usize = (PAGE - 12) * 32 / 255 - 23;

/// A row of table `event`, not yet checked.
pub(in super::super) struct Found {
    pub(in super::super) sequence: u64,
    pub(in super::super) row: Vec<u8>,
}

/// The file, and the committed frames of its log.
pub(in super::super) struct Pages {
    file: File,
    count: u64,
    /// The newest committed copy of each page in the log.
    newest: HashMap<u32, Vec<u8>>,
}

/// One value of a record; other kinds do not occur in our tables.
enum Value<'a> {
    Null,
    Integer(i64),
    Blob(&'a [u8]),
}

impl Pages {
    pub(in super::super) fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let count = file.metadata()?.len() / PAGE_BYTES;
        let log = Log::read(&beside(path, "-wal"))?;
        let newest = log.committed().into_iter().map(|(number, page)| (number, page.to_vec())).collect();
        Ok(Self { file, count, newest })
    }

    /// The newest readable row of table `journal`.
    pub(in super::super) fn root(&mut self) -> Option<Root> {
        let mut best: Option<Root> = None;
        self.records(&mut |_, values| {
            if let [Value::Blob(epoch), numbers @ ..] = values
                && let [
                    Value::Integer(boot),
                    Value::Integer(watermark),
                    Value::Integer(digest),
                    Value::Integer(seal),
                ] = numbers
                && let Some(root) = Root::unseal(epoch, [*boot, *watermark, *digest, *seal])
                && best.is_none_or(|best| (best.boot, best.watermark) <= (root.boot, root.watermark))
            {
                best = Some(root);
            }
        });
        best
    }

    /// Every row of table `event`; the same one may come several times.
    pub(in super::super) fn events(&mut self, each: &mut dyn FnMut(Found)) {
        self.records(&mut |key, values| {
            if let [Value::Null, Value::Blob(row)] = values {
                each(Found { sequence: key, row: row.to_vec() });
            }
        });
    }

    fn records(&mut self, each: &mut dyn FnMut(u64, &[Value<'_>])) {
        let pages: Vec<Vec<u8>> = self.newest.values().cloned().collect();
        for page in pages {
            self.leaf(&page, each);
        }
        for number in 1..=self.count {
            // A block that the disk no longer gives is one page lost, not all.
            if let Some(page) = self.page_of_file(number) {
                self.leaf(&page, each);
            }
        }
    }

    fn leaf(&mut self, page: &[u8], each: &mut dyn FnMut(u64, &[Value<'_>])) {
        if page[0] != TABLE_LEAF {
            return;
        }
        let cells = usize::from(u16::from_be_bytes([page[3], page[4]]));
        for at in 0..cells {
            let Some(pointer) = page.get(8 + 2 * at..10 + 2 * at) else { return };
            let offset = usize::from(u16::from_be_bytes([pointer[0], pointer[1]]));
            let Some((key, payload)) = page.get(offset..).and_then(|cell| self.cell(cell)) else { continue };
            if let Some(values) = values(&payload) {
                each(key, &values);
            }
        }
    }

    fn cell(&mut self, cell: &[u8]) -> Option<(u64, Vec<u8>)> {
        let (length, cell) = varint(cell)?;
        let (key, cell) = varint(cell)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= PAYLOAD_MAX)?;
        if length <= LOCAL_MAX {
            return Some((key, cell.get(..length)?.to_vec()));
        }
        let fitting = LOCAL_MIN + (length - LOCAL_MIN) % (PAGE - 4);
        let local = if fitting <= LOCAL_MAX { fitting } else { LOCAL_MIN };
        let mut payload = cell.get(..local)?.to_vec();
        let mut next = u32::from_be_bytes(cell.get(local..local + 4)?.try_into().ok()?);
        while payload.len() < length {
            let page = self.page(next)?;
            next = u32::from_be_bytes(page[..4].try_into().ok()?);
            let wanted = (length - payload.len()).min(PAGE - 4);
            payload.extend_from_slice(&page[4..4 + wanted]);
        }
        Some((key, payload))
    }

    fn page(&mut self, number: u32) -> Option<Vec<u8>> {
        match self.newest.get(&number) {
            Some(page) => Some(page.clone()),
            None => self.page_of_file(u64::from(number)),
        }
    }

    fn page_of_file(&mut self, number: u64) -> Option<Vec<u8>> {
        let mut page = vec![0; PAGE];
        self.file.seek(SeekFrom::Start(number.checked_sub(1)? * PAGE_BYTES)).ok()?;
        self.file.read_exact(&mut page).ok()?;
        Some(page)
    }
}

fn values(payload: &[u8]) -> Option<Vec<Value<'_>>> {
    let (header, rest) = varint(payload)?;
    let header = usize::try_from(header).ok()?;
    let mut types = payload.get(payload.len() - rest.len()..header)?;
    let mut content = payload.get(header..)?;
    let mut values = Vec::new();
    while !types.is_empty() {
        let (kind, more) = varint(types)?;
        types = more;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 => 8,
            12.. if kind % 2 == 0 => usize::try_from((kind - 12) / 2).ok()?,
            _ => return None,
        };
        let (bytes, more) = content.split_at_checked(length)?;
        content = more;
        values.push(match kind {
            0 => Value::Null,
            8 | 9 => Value::Integer(kind as i64 - 8),
            1..=6 => Value::Integer(integer(bytes)),
            _ => Value::Blob(bytes),
        });
    }
    Some(values)
}

/// Two's complement, most significant byte first.
fn integer(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(sign, |value, byte| (value << 8) | i64::from(*byte))
}

/// Seven bits a byte, most significant first; a ninth byte gives all its eight.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for at in 0..9 {
        let byte = *bytes.get(at)?;
        if at == 8 {
            return Some(((value << 8) | u64::from(byte), &bytes[9..]));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}
