//! The write-ahead log, looked at without SQLite: is its end the end that was written?
//!
//! SQLite takes the first frame whose checksum is wrong for the end of the log, because that is what a power cut leaves.
//! A bad block in the middle looks the same, and everything behind it would be gone without a word, its sequences given
//! a second time. But each commit is flushed before the next one begins: a power cut leaves at most one unfinished
//! transaction behind the end, and two commits there mean damage.
//!
//! ```text
//!  header: magic 4 | format 4 | page size 4 | round 4 | salts 8 | checksum 8
//!  frame:  page number 4 | pages after a commit, else 0: 4 | salts 8 | checksum 8 | page
//! ```

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use super::{FRAME_BYTES, PAGE_BYTES};

const HEADER: usize = 32;
const FRAME: usize = FRAME_BYTES as usize;
const PAGE: usize = PAGE_BYTES as usize;
/// Enough that the system is asked some thirty times for a whole log.
const READ_BYTES: usize = 64 * 1024;
/// The lowest bit says in which byte order checksums are computed.
const MAGIC: u32 = 0x377f_0682;

/// What is wrong with the log at `path`, when SQLite took its first `frames_seen` frames for all there are. Read a
/// piece at a time: the agent starts with it, and its memory is small.
pub(super) fn fault(path: &Path, frames_seen: u32) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let frames = file.metadata()?.len().saturating_sub(HEADER as u64) / FRAME_BYTES;
    let mut reader = BufReader::with_capacity(READ_BYTES, file);
    let mut header = [0; HEADER];
    match reader.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    if header.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if !is_header(&header) {
        return Ok(Some("the header of its log does not read back".to_owned()));
    }
    reader.seek_relative(i64::from(frames_seen) * FRAME_BYTES as i64)?;
    let mut commits = 0;
    let mut frame = [0; FRAME];
    for _ in u64::from(frames_seen)..frames {
        reader.read_exact(&mut frame)?;
        commits += u32::from(frame[8..16] == header[16..24] && is_commit(&frame));
    }
    let what = || format!("{commits} commits lie behind frame {frames_seen} of its log, which is damaged");
    Ok((commits > 1).then(what))
}

/// The bytes of a log.
pub(super) struct Log {
    bytes: Vec<u8>,
}

impl Log {
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => Ok(Self { bytes }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self { bytes: Vec::new() }),
            Err(error) => Err(error),
        }
    }

    /// Where the newest committed copy of each page lies. What was not committed was promised to nobody.
    pub(super) fn committed(&self) -> HashMap<u32, &[u8]> {
        let mut newest = HashMap::new();
        let mut open = Vec::new();
        for (_, frame) in self.present() {
            open.push((word(frame), &frame[FRAME - PAGE..]));
            if is_commit(frame) {
                newest.extend(open.drain(..));
            }
        }
        newest
    }

    /// Frames of the present round; behind it lie those of earlier ones, with other salts.
    fn present(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let header = self.bytes.get(..HEADER).filter(|header| is_header(header));
        let frames = self.bytes.get(HEADER..).unwrap_or(&[]);
        // Without a header the first frame tells: it belongs to the present round, unless nothing does.
        let salts = header.map(|header| &header[16..24]).or_else(|| frames.get(8..16)).unwrap_or(&[]);
        frames.chunks_exact(FRAME).enumerate().filter(move |(_, frame)| frame[8..16] == *salts)
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn is_commit(frame: &[u8]) -> bool {
    word(&frame[4..]) != 0
}

/// Magic and checksum, as SQLite checks them.
fn is_header(header: &[u8]) -> bool {
    let big = word(header) & 1 == 1;
    let (mut one, mut two) = (0u32, 0u32);
    for pair in header[..24].chunks_exact(8) {
        let half = |bytes: &[u8]| if big { word(bytes) } else { word(bytes).swap_bytes() };
        one = one.wrapping_add(half(&pair[..4])).wrapping_add(two);
        two = two.wrapping_add(half(&pair[4..])).wrapping_add(one);
    }
    word(header) & !1 == MAGIC && (one, two) == (word(&header[24..]), word(&header[28..]))
}
