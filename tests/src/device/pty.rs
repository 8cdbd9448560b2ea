//! A pseudo terminal: our end is the device, the other end is the serial port.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{ControlModes, InputModes, OptionalActions, ioctl_tiocnxcl, tcgetattr, tcsetattr};

use super::uart::{Line, Parity};

/// The speed of a port that nobody has opened yet: no device works at it.
const UNOPENED_BAUD: u32 = 50;

/// Our end of a pseudo terminal.
pub struct Pty {
    device: File,
    /// Held open, so that a port that nobody has opened yet is no error and keeps what is written to it.
    _port: File,
    path: PathBuf,
    link: Option<PathBuf>,
}

impl Pty {
    /// Makes one, raw; with `link` a stable name points to it, as udev's `/dev/serial/by-id` does.
    ///
    /// # Errors
    /// When the system has no pseudo terminal left or the link cannot be made.
    pub fn open(link: Option<&Path>) -> Result<Self> {
        let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .context("opening a pseudo terminal")?;
        grantpt(&device).context("granting a pseudo terminal")?;
        unlockpt(&device).context("unlocking a pseudo terminal")?;
        let name = ptsname(&device, Vec::new()).context("naming a pseudo terminal")?;
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let port = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
            .with_context(|| format!("opening {}", path.display()))?;
        let mut settings = tcgetattr(&port).context("reading line settings")?;
        // Or the line would echo our bytes back to us and hold them until a newline.
        settings.make_raw();
        settings.set_speed(UNOPENED_BAUD).context("marking the line as unopened")?;
        tcsetattr(&port, OptionalActions::Now, &settings).context("making the line raw")?;
        if let Some(link) = link {
            if link.symlink_metadata().is_ok() {
                std::fs::remove_file(link).with_context(|| format!("removing the old {}", link.display()))?;
            }
            std::os::unix::fs::symlink(&path, link).with_context(|| format!("linking {}", link.display()))?;
        }
        Ok(Self { device: device.into(), _port: port.into(), path, link: link.map(Path::to_path_buf) })
    }

    /// What to configure as the serial port.
    pub fn port(&self) -> &Path {
        self.link.as_deref().unwrap_or(&self.path)
    }

    /// Sends bytes down the line.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.device.write_all(bytes).context("writing to a pseudo terminal")
    }

    /// Sends bytes down the line; what the other end has no room for is lost, as on a wire.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let mut watched = [PollFd::new(&self.device, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut watched, Some(&now)) {
            // A few bytes at a time never fill what poll has found free.
            Ok(1..) => self.write(bytes),
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(fault) => Err(fault).context("waiting for a pseudo terminal"),
        }
    }

    /// The settings with which the port was opened last; `None` before that. A pseudo terminal forgets how many data
    /// bits it was told, so that those are the device's own, if `device` has a parity bit as well.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn line(&self, device: Line) -> Result<Option<Line>> {
        let settings = tcgetattr(&self._port).context("reading line settings")?;
        let baud = settings.output_speed();
        if baud == UNOPENED_BAUD {
            return Ok(None);
        }
        let odd = settings.control_modes.contains(ControlModes::PARODD);
        let parity = match settings.input_modes.contains(InputModes::INPCK) {
            true if odd => Parity::Odd,
            true => Parity::Even,
            false => Parity::None,
        };
        let data_bits = match (parity, device.parity) {
            (Parity::None, _) => 8,
            (_, Parity::None) => 7,
            _ => device.data_bits,
        };
        let stop_bits = 1 + u8::from(settings.control_modes.contains(ControlModes::CSTOPB));
        Ok(Some(Line { baud, data_bits, parity, stop_bits }))
    }

    /// Bytes that came, waiting for the first at most so long; empty when none came.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn read(&mut self, wait: Duration) -> Result<Vec<u8>> {
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let mut watched = [PollFd::new(&self.device, PollFlags::IN)];
            match poll(&mut watched, Some(&left)) {
                Ok(0) => return Ok(Vec::new()),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(fault) => return Err(fault).context("waiting for a pseudo terminal"),
            }
        }
        let mut buffer = [0; 4096];
        let got = self.device.read(&mut buffer).context("reading from a pseudo terminal")?;
        Ok(buffer[..got].to_vec())
    }

    /// Takes away the exclusive hold of a program that was killed. On a real port it goes with the last handle; here
    /// ours stays open, and only root would get in again.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn release(&self) -> Result<()> {
        ioctl_tiocnxcl(&self._port).context("releasing a pseudo terminal")
    }

    /// A second handle of our end, for a thread that reads while another writes.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn try_clone(&self) -> Result<Self> {
        let device = self.device.try_clone().context("cloning a pseudo terminal")?;
        let port = self._port.try_clone().context("cloning a pseudo terminal")?;
        Ok(Self { device, _port: port, path: self.path.clone(), link: None })
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            let _ = std::fs::remove_file(link);
        }
    }
}
