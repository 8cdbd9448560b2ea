//! Room on the disk: taken before it is needed, and kept back for what must work without any.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::lock::beside;
use super::{FRAME_BYTES, WAL_FRAMES};

/// Bytes in `journal.db.reserve`: as much as one whole log may add to the file when it is copied.
const RESERVE_BYTES: u64 = WAL_FRAMES as u64 * FRAME_BYTES;
/// With less than this the file system refuses some writes already, depending on who asks and for how much.
const DISK_BYTES_MIN: u64 = 1024 * 1024;

/// Gives the log its full length, once, with real zeros: blocks that are merely promised cost the file system a
/// journal entry at their first write. To SQLite they look like the end of the log.
pub(super) fn grow_log(journal: &Path) -> io::Result<()> {
    const CHUNK: usize = 64 * 1024;
    let wanted = 32 + u64::from(WAL_FRAMES) * FRAME_BYTES;
    let mut file = OpenOptions::new().write(true).open(beside(journal, "-wal"))?;
    let mut length = file.seek(SeekFrom::End(0))?;
    if length >= wanted {
        return Ok(());
    }
    let zeros = vec![0; CHUNK];
    while length < wanted {
        let step = (wanted - length).min(CHUNK as u64);
        file.write_all(&zeros[..step as usize])?;
        length += step;
    }
    file.sync_all()
}

/// Keeps blocks back. A part of a reserve is none, and takes the room that trims need.
pub(super) fn grow_reserve(journal: &Path) -> io::Result<()> {
    let path = beside(journal, ".reserve");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(&path)?;
    if file.metadata()?.len() == RESERVE_BYTES {
        return Ok(());
    }
    let grown = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE_BYTES);
    if let Err(error) = grown {
        fs::remove_file(&path)?;
        return Err(error.into());
    }
    Ok(())
}

pub(super) fn remove_reserve(journal: &Path) -> io::Result<()> {
    match fs::remove_file(beside(journal, ".reserve")) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// SQLite has one answer for a full disk and for a used-up quota.
pub(super) fn disk_is_full(journal: &Path) -> bool {
    match rustix::fs::statvfs(journal) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize) < DISK_BYTES_MIN,
        // Then the milder reading: an append is refused either way.
        Err(error) => {
            tracing::error!(%error, "the disk does not tell how full it is");
            false
        }
    }
}

/// Makes names in the directory of `path` durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}
