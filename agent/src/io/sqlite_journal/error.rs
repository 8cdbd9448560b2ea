//! What can go wrong before there is a journal.

use std::io;
use std::path::PathBuf;

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A second agent on the same journal.
    #[error("the journal {path} is in use by {}", match .pid { Some(pid) => format!("process {pid}"), None => "another process".to_owned() })]
    InUse {
        /// The journal.
        path: PathBuf,
        /// Its holder, when the lock file tells.
        pid: Option<u32>,
    },
    /// The file system said no.
    #[error("the journal {path}: cannot {doing}")]
    File {
        /// The journal.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The answer.
        #[source]
        source: io::Error,
    },
    /// SQLite said no, for another reason than damage.
    #[error("the journal {path}: cannot {doing}")]
    Sqlite {
        /// The journal.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The answer.
        #[source]
        source: rusqlite::Error,
    },
    /// A SQLite file that is no journal of ours, or of a later version.
    #[error("{path} is not a journal this version can use: {reason}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// What is stored contradicts itself or does not read back. [`super::Salvage`] is the way on.
    #[error("the journal {path} is damaged: {reason}")]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
}

impl OpenError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            OpenError::InUse { .. } => {
                "stop that process first, or give this agent a journal of its own (journal.path)"
            }
            OpenError::File { .. } => {
                "check that the directory exists and belongs to the agent's user, and that the disk is neither full nor read-only"
            }
            OpenError::Sqlite { .. } => "check the disk: is it full, read-only or failing? `dmesg` tells",
            OpenError::Foreign { .. } => {
                "point journal.path at another file, or install the version that wrote this one"
            }
            OpenError::Damaged { .. } => {
                "start the agent: it sets the file aside, saves what can be read and goes on"
            }
        }
    }
}
