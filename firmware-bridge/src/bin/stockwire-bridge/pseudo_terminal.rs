//! A pseudo terminal that a host can open like a serial port, and a name for it that stays.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::line::Line;

/// Both ends of a pseudo terminal, held open while it lives.
#[derive(Debug)]
pub(crate) struct PseudoTerminal {
    line: Line,
    /// Never used, only held: without it the master reports a hang-up whenever no host has the port open.
    _slave: OwnedFd,
    path: PathBuf,
    link: Option<PathBuf>,
}

impl PseudoTerminal {
    /// Opens one in raw mode, and makes `link` a symbolic link to it.
    pub(crate) fn open(link: Option<PathBuf>) -> anyhow::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).context("opening a pseudo terminal")?;
        rustix::pty::grantpt(&master).context("granting the pseudo terminal")?;
        rustix::pty::unlockpt(&master).context("unlocking the pseudo terminal")?;
        let name = rustix::pty::ptsname(&master, Vec::new()).context("naming the pseudo terminal")?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(name.into_bytes()));

        let slave = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| format!("opening {}", path.display()))?;
        // Frames are bytes: no echo, no line editing, no translation of carriage returns.
        let mut termios = tcgetattr(&slave).context("reading the terminal's mode")?;
        termios.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &termios).context("setting raw mode")?;

        let status = rustix::fs::fcntl_getfl(&master).context("reading the master's flags")?;
        rustix::fs::fcntl_setfl(&master, status | OFlags::NONBLOCK)
            .context("making the master non-blocking")?;
        if let Some(link) = &link {
            point(link, &path)?;
        }
        Ok(Self { line: Line::new(master), _slave: slave, path, link })
    }

    /// What a host opens.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The name that stays, if one was asked for.
    pub(crate) fn link(&self) -> Option<&Path> {
        self.link.as_deref()
    }

    /// The peripheral's end.
    pub(crate) fn line(&mut self) -> &mut Line {
        &mut self.line
    }
}

impl Drop for PseudoTerminal {
    fn drop(&mut self) {
        let Some(link) = &self.link else { return };
        // Another instance may have taken the name over; then it is theirs to remove.
        if fs::read_link(link).is_ok_and(|target| target == self.path)
            && let Err(error) = fs::remove_file(link)
        {
            eprintln!("stockwire-bridge: removing {}: {error}", link.display());
        }
    }
}

/// Makes `link` point to `target`. Takes over what a killed instance left, and nothing that is not a symbolic link.
fn point(link: &Path, target: &Path) -> anyhow::Result<()> {
    match fs::symlink_metadata(link) {
        Ok(metadata) if metadata.file_type().is_symlink() => {
            fs::remove_file(link).with_context(|| format!("replacing {}", link.display()))?;
        }
        Ok(_) => anyhow::bail!("{} exists and is no symbolic link; name another place", link.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("looking at {}", link.display())),
    }
    std::os::unix::fs::symlink(target, link).with_context(|| format!("linking {}", link.display()))
}
