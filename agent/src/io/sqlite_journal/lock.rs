//! One agent on one journal: an advisory lock beside it that names its holder.
//!
//! The lock lies on a file of its own, because closing any handle to a database drops the locks that this process
//! has on it (POSIX), and so that a second agent can say whom to stop. The kernel releases it with the process, however
//! that ends.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Longest lock file that is looked at: a process id and a line feed.
const LOCK_BYTES_MAX: u64 = 32;

/// Held as long as the journal is open.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process has it; its id, when the file tells.
    Held(Option<u32>),
    /// The file system said no.
    Io(io::Error),
}

impl Lock {
    pub(super) fn take(journal: &Path) -> Result<Self, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(beside(journal, ".lock"))
            .map_err(LockError::Io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held(holder(&mut file))),
            Err(error) => return Err(LockError::Io(error.into())),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(LockError::Io)?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(LOCK_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// `journal.db` and `.lock` give `journal.db.lock`: found next to each other, moved together.
pub(super) fn beside(journal: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(journal);
    name.push(suffix);
    PathBuf::from(name)
}
