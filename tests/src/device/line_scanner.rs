//! A line scanner: a code and CR go out, the agent's answer comes back as bells.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Pty;

/// A scanner that is set to send AIM identifiers and CR.
pub struct LineScanner {
    pty: Pty,
}

/// What the operator heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// One bell: it is on disk.
    Good,
    /// Two bells: understood, nothing to store.
    Understood,
    /// Three bells: not done.
    Bad,
}

const BELL: u8 = 0x07;
/// The agent writes a signal in one go, so its bells come together; this long without one is the end of it.
const SIGNAL_GAP: Duration = Duration::from_millis(5);

impl LineScanner {
    /// Plugs one in at a stable name.
    ///
    /// # Errors
    /// When no pseudo terminal can be had.
    pub fn plug(link: &Path) -> Result<Self> {
        Ok(Self { pty: Pty::open(Some(link))? })
    }

    /// The port.
    pub fn port(&self) -> &Path {
        self.pty.port()
    }

    /// A second handle of its port.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn handle(&self) -> Result<Pty> {
        self.pty.try_clone()
    }

    /// Reads a code.
    ///
    /// # Errors
    /// When the port is gone.
    pub fn send(&mut self, code: &str) -> Result<()> {
        self.pty.write(code.as_bytes())?;
        self.pty.write(b"\r")
    }

    /// Any bytes, for noise on the line.
    ///
    /// # Errors
    /// When the port is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.pty.write(bytes)
    }

    /// Waits for the agent's signal; `None` when none came in time.
    ///
    /// # Errors
    /// When the port is gone or something else than bells came.
    pub fn hear(&mut self, wait: Duration) -> Result<Option<Heard>> {
        let until = Instant::now() + wait;
        let mut bells = 0;
        loop {
            let left = if bells == 0 { until.saturating_duration_since(Instant::now()) } else { SIGNAL_GAP };
            let bytes = self.pty.read(left)?;
            if bytes.iter().any(|byte| *byte != BELL) {
                bail!("the agent sent {bytes:02x?} to the scanner, expected bells");
            }
            bells += bytes.len();
            match (bytes.is_empty(), bells) {
                (true, 0) => return Ok(None),
                (true, 1) => return Ok(Some(Heard::Good)),
                (true, 2) => return Ok(Some(Heard::Understood)),
                (true, other) => bail!("{other} bells are no signal"),
                (false, 3) => return Ok(Some(Heard::Bad)),
                (false, _) => {}
            }
        }
    }

    /// Lets any number of bells ring out, until none came for so long; how many there were.
    ///
    /// # Errors
    /// When the port is gone.
    pub fn hush(&mut self, quiet: Duration) -> Result<usize> {
        let mut bells = 0;
        loop {
            match self.pty.read(quiet)?.len() {
                0 => return Ok(bells),
                more => bells += more,
            }
        }
    }

    /// Reads a code and waits for the signal.
    ///
    /// # Errors
    /// As above, and when no signal came.
    pub fn scan(&mut self, code: &str, wait: Duration) -> Result<Heard> {
        self.send(code)?;
        match self.hear(wait)? {
            Some(heard) => Ok(heard),
            None => bail!("no signal within {wait:?} after {code:?}"),
        }
    }
}
