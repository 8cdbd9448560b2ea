//! The host's end of a real or pseudo serial port.

use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{Mode, OFlags};
use rustix::termios::{ControlModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};

use crate::line::Line;

#[derive(Debug)]
pub(crate) struct Port {
    line: Line,
    path: PathBuf,
}

impl Port {
    pub(crate) fn open(path: &Path, baud: u32) -> anyhow::Result<Self> {
        let name = path.display();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .with_context(|| format!("opening {name} (does it exist, and may this user open it?)"))?;
        let mut termios = tcgetattr(&fd).with_context(|| format!("{name} is not a serial port"))?;
        termios.make_raw();
        // Hanging up on close would reset many boards; the next to open the port wants to find it running.
        termios.control_modes.remove(ControlModes::HUPCL);
        termios.control_modes.insert(ControlModes::CLOCAL | ControlModes::CREAD);
        termios.set_speed(baud).with_context(|| format!("{name} cannot run at {baud} baud"))?;
        tcsetattr(&fd, OptionalActions::Now, &termios).with_context(|| format!("setting up {name}"))?;
        // What lies in the buffer was said to somebody else.
        tcflush(&fd, QueueSelector::IOFlush).with_context(|| format!("flushing {name}"))?;
        Ok(Self { line: Line::new(fd), path: path.to_owned() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it carries.
    pub(crate) fn line(&mut self) -> &mut Line {
        &mut self.line
    }
}
