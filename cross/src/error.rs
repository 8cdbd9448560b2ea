//! What can go wrong in a chore, and the exit code of each.

use std::io;
use std::path::PathBuf;

use crate::toolchain::Missing;

/// Why a chore did not get done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine is not set up for the target.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// `--install` without the right to install.
    #[error("only root can install packages; run as root:\n{}", .commands.join("\n"))]
    NotRoot {
        /// What root would run.
        commands: Vec<String>,
    },
    /// `--install` brings Debian packages, and this is no Debian.
    #[error("--install needs apt-get, which is not here; by hand:\n{missing}")]
    NoApt {
        /// What is missing.
        missing: String,
    },
    /// `run` before `build`.
    #[error("{} is not built yet: stockwire-cross build --target {target}{}", .path.display(), if *.is_static { " --static" } else { "" })]
    NotBuilt {
        /// Where it would be.
        path: PathBuf,
        /// For which target.
        target: &'static str,
        /// Whether the static one was asked for.
        is_static: bool,
    },
    /// The runner or the target's libraries are not here.
    #[error(
        "cannot run {target} here: {runner} or {library_root} is missing; as root on Debian: apt-get install {packages}"
    )]
    NotRunnable {
        /// The target.
        target: &'static str,
        /// The emulator.
        runner: &'static str,
        /// Where the target's libraries are looked for.
        library_root: &'static str,
        /// What brings both.
        packages: String,
    },
    /// A program could not be started.
    #[error("cannot start {command}")]
    Start {
        /// The whole command.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ran and failed; its own words are on standard error.
    #[error("{command}: {status}")]
    Failed {
        /// The whole command.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A file could not be read or written.
    #[error("cannot {what} {}", .path.display())]
    File {
        /// The verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program answered something that we do not understand.
    #[error("cannot read the answer of {command}: {answer:?}")]
    Answer {
        /// The whole command.
        command: String,
        /// The beginning of what it said.
        answer: String,
    },
    /// The build made something other than what was asked for.
    #[error(
        "{} is {found}, not {expected}: a linker or flags set elsewhere (.cargo/config.toml) get in between",
        .path.display()
    )]
    WrongFile {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        expected: String,
        /// What it is.
        found: String,
    },
}

impl Error {
    /// 2 when the way it was called or this machine's set-up must change first, 1 when the work itself failed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Missing(_)
            | Error::NotRoot { .. }
            | Error::NoApt { .. }
            | Error::NotBuilt { .. }
            | Error::NotRunnable { .. } => 2,
            Error::Start { .. }
            | Error::Failed { .. }
            | Error::File { .. }
            | Error::Answer { .. }
            | Error::WrongFile { .. } => 1,
        }
    }
}
