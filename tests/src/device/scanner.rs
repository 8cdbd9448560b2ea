//! Virtual scanners: one table, one file per family of protocols, chosen by the name that the agent has for it.
//!
//! ```text
//!  test: scan, set_fault, unplug      host: acknowledgements, beeps, lamps, switching off
//!            |                           v
//!          Desk -------------> VirtualScanner -> Io -> damage -> line settings -> baud -> pseudo terminal
//!            ^                                   |
//!            '---- what the operator hears ------'
//! ```
//! A [`VirtualScanner`] is the firmware of one kind of scanner: it sees labels and the bytes of the host. Everything
//! else is the same for all: the pace of the line, what the host reads when its settings are others, and what can go
//! wrong. None of them beeps by itself where the manual asks to switch that off, so that every sound is the agent's.

mod datalogic;
mod honeywell;
mod line;
mod ssi;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use stockwire_agent::feedback::Signal;

use super::Pty;
use super::uart::{self, Line};
use super::wire::Sending;

/// The kinds of virtual scanners. One that plays a keyboard is none of them: the kernel's door for such a device,
/// `/dev/uinput`, is not on every machine, and its events are tested at the decoder.
pub static MODELS: &[&Model] = &[
    &line::PLAIN,
    &line::FRAMED,
    &line::PAUSING,
    &line::SUBSTITUTING,
    &honeywell::XENON,
    &datalogic::MAGELLAN,
    &ssi::ZEBRA,
];

/// The first model that speaks that protocol of the agent.
pub fn find(name: &str) -> Option<&'static Model> {
    MODELS.iter().copied().find(|model| model.name == name)
}

/// One row of [`MODELS`].
pub struct Model {
    /// The agent's name of the protocol.
    pub name: &'static str,
    /// How it is set up; empty when there is one way alone.
    pub variant: &'static str,
    /// Its line.
    pub line: Line,
    /// Lines of the agent's configuration for this setup.
    pub config: &'static str,
    /// What the operator is to hear.
    pub sounds: &'static Sounds,
    /// Sends packets that are acknowledged: damage is repaired without the operator, and the host sets it up first.
    pub packets: bool,
    /// Whether the host can switch it off.
    pub can_be_switched_off: bool,
    /// Switches one on.
    pub power_on: fn() -> Box<dyn VirtualScanner>,
}

/// The sounds that belong to each of the agent's signals, by the names that the manuals have for them.
#[allow(missing_docs, reason = "the names are those of `Signal`")]
pub struct Sounds {
    pub good: &'static [&'static str],
    pub heard: &'static [&'static str],
    pub unknown: &'static [&'static str],
    pub refused: &'static [&'static str],
    pub repeated: &'static [&'static str],
    pub not_stored: &'static [&'static str],
}

impl Sounds {
    /// Those of one signal.
    pub fn of(&self, signal: Signal) -> &'static [&'static str] {
        match signal {
            Signal::Good => self.good,
            Signal::Heard => self.heard,
            Signal::Unknown => self.unknown,
            Signal::Refused => self.refused,
            Signal::Repeated => self.repeated,
            Signal::NotStored => self.not_stored,
        }
    }
}

/// The firmware of one kind of scanner.
pub trait VirtualScanner: Send {
    /// A label lies in the beam and the trigger is pulled: an AIM identifier, then what the symbol holds.
    fn scan(&mut self, now: Duration, code: &str, io: &mut Io);

    /// A byte of the host came.
    fn handle_byte(&mut self, now: Duration, byte: u8, io: &mut Io);

    /// Time goes by.
    fn handle_time(&mut self, _now: Duration, _io: &mut Io) {}
}

/// What a firmware can do.
#[derive(Default)]
pub struct Io {
    frames: VecDeque<Vec<u8>>,
    sounds: Vec<&'static str>,
    lamp: Option<bool>,
    reads: Option<bool>,
    ready: bool,
    resent: u64,
}

impl Io {
    fn send(&mut self, frame: impl Into<Vec<u8>>) {
        self.frames.push_back(frame.into());
    }

    fn sound(&mut self, name: &'static str) {
        self.sounds.push(name);
    }

    fn set_lamp(&mut self, on: bool) {
        self.lamp = Some(on);
    }

    fn set_reads(&mut self, reads: bool) {
        self.reads = Some(reads);
    }
}

/// What can go wrong on the way to the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Every second frame breaks off in its middle.
    Cut,
    /// Bytes of a neighbouring motor before every second frame.
    Noise,
}

/// What the test has arranged, and what has come of it.
struct Desk {
    codes: VecDeque<String>,
    line: Line,
    fault: Option<Fault>,
    /// So many writes of the host do not arrive.
    lost_answers: u32,
    /// Any bytes, to be sent as they are.
    raw: Vec<u8>,
    sounds: VecDeque<&'static str>,
    lamp: bool,
    /// The lamp was on since it was asked for last.
    lit: bool,
    reads: bool,
    ready: bool,
    resent: u64,
}

/// A scanner at a port.
pub struct Scanner {
    model: &'static Model,
    link: PathBuf,
    desk: Arc<Mutex<Desk>>,
    plug: Option<Plug>,
}

/// The thread and its pseudo terminal; dropped, the port is gone.
struct Plug {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// A signal's sounds are asked for in one write, so that they come together; so long without one is the end of it.
const SIGNAL_GAP: Duration = Duration::from_millis(30);
/// Between two looks at the desk.
const LOOK: Duration = Duration::from_millis(2);

impl Scanner {
    /// Plugs one in at a stable name.
    ///
    /// # Errors
    /// When no pseudo terminal can be had.
    pub fn plug(model: &'static Model, link: &Path) -> Result<Self> {
        let desk = Desk {
            codes: VecDeque::new(),
            line: model.line,
            fault: None,
            lost_answers: 0,
            raw: Vec::new(),
            sounds: VecDeque::new(),
            lamp: false,
            lit: false,
            reads: true,
            ready: false,
            resent: 0,
        };
        let mut scanner =
            Self { model, link: link.to_path_buf(), desk: Arc::new(Mutex::new(desk)), plug: None };
        scanner.replug()?;
        Ok(scanner)
    }

    /// What it is.
    pub fn model(&self) -> &'static Model {
        self.model
    }

    /// The port.
    pub fn port(&self) -> &Path {
        &self.link
    }

    /// Reads a label: an AIM identifier and what the symbol holds; without one it is Code 128.
    pub fn scan(&self, code: &str) {
        let code = if code.starts_with(']') { code.to_owned() } else { format!("]C0{code}") };
        self.desk().codes.push_back(code);
    }

    /// Waits for the agent's signal; empty when none came in time.
    pub fn hear(&self, wait: Duration) -> Vec<&'static str> {
        let until = Instant::now() + wait;
        let mut heard = Vec::new();
        let mut last = Instant::now();
        loop {
            let new = std::mem::take(&mut self.desk().sounds);
            if !new.is_empty() {
                last = Instant::now();
            }
            heard.extend(new);
            if heard.is_empty() && Instant::now() >= until || !heard.is_empty() && last.elapsed() > SIGNAL_GAP
            {
                return heard;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Whether the lamp was lit since the last question.
    pub fn was_lit(&self) -> bool {
        let mut desk = self.desk();
        let lit = desk.lit;
        desk.lit = desk.lamp;
        lit
    }

    /// Whether it reads; switched off it does not.
    pub fn reads(&self) -> bool {
        self.desk().reads
    }

    /// Whether the host has opened the port and, where it must, told the scanner how to send.
    pub fn is_ready(&self) -> bool {
        self.desk().ready
    }

    /// How many packets it has sent again.
    pub fn resent(&self) -> u64 {
        self.desk().resent
    }

    /// Lets something go wrong, or right again.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.desk().fault = fault;
    }

    /// The next so many writes of the host do not arrive.
    pub fn lose_answers(&self, count: u32) {
        self.desk().lost_answers = count;
    }

    /// Bytes that no firmware sends.
    pub fn make_noise(&self, bytes: &[u8]) {
        self.desk().raw.extend_from_slice(bytes);
    }

    /// Sets its menu: speed, bits and parity.
    pub fn set_line(&self, line: Line) {
        self.desk().line = line;
    }

    /// Pulls its plug: the port is gone.
    pub fn unplug(&mut self) {
        self.plug = None;
        let mut desk = self.desk();
        (desk.reads, desk.lamp, desk.ready) = (true, false, false);
        desk.codes.clear();
    }

    /// Plugs it in, at the name it had.
    ///
    /// # Errors
    /// When no pseudo terminal can be had.
    pub fn replug(&mut self) -> Result<()> {
        self.unplug();
        let mut wire = Wire {
            pty: Pty::open(Some(&self.link))?,
            scanner: (self.model.power_on)(),
            packets: self.model.packets,
            desk: Arc::clone(&self.desk),
            begun: Instant::now(),
            sending: Sending::default(),
            frames: 0,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                wire.turn()?;
            }
            Ok(())
        });
        self.plug = Some(Plug { stop, thread: Some(thread) });
        Ok(())
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(fault)) = self.thread.take().and_then(|thread| thread.join().ok()) {
            eprintln!("a virtual scanner ended early: {fault:#}");
        }
    }
}

/// How often it is looked whether a label came: far shorter than any hand.
const TURN: Duration = Duration::from_millis(5);

/// The port's end of the firmware.
struct Wire {
    pty: Pty,
    scanner: Box<dyn VirtualScanner>,
    packets: bool,
    desk: Arc<Mutex<Desk>>,
    begun: Instant,
    sending: Sending,
    frames: u64,
}

impl Wire {
    fn turn(&mut self) -> Result<()> {
        let now = self.begun.elapsed();
        let wait = self.sending.due().map_or(TURN, |due| due.saturating_sub(now));
        let mut came = self.pty.read(wait.min(TURN))?;
        let (line, codes, raw) = {
            let mut desk = lock(&self.desk);
            if !came.is_empty() && desk.lost_answers > 0 {
                desk.lost_answers -= 1;
                came.clear();
            }
            (desk.line, std::mem::take(&mut desk.codes), std::mem::take(&mut desk.raw))
        };
        // Nobody has opened the port: what is sent goes nowhere.
        let Some(host) = self.pty.line(line)? else { return Ok(()) };
        let (now, mut io) = (self.begun.elapsed(), Io::default());
        for byte in uart::received(&came, host, line) {
            self.scanner.handle_byte(now, byte, &mut io);
        }
        self.scanner.handle_time(now, &mut io);
        codes.iter().for_each(|code| self.scanner.scan(now, code, &mut io));
        self.sending.push(now, &raw, line, host);
        for frame in io.frames {
            self.frames += 1;
            let frame = self.damage(frame);
            self.sending.push_whole(now, &frame, line, host);
        }
        {
            let mut desk = lock(&self.desk);
            desk.sounds.extend(io.sounds);
            desk.lamp = io.lamp.unwrap_or(desk.lamp);
            desk.lit |= desk.lamp || io.lamp == Some(true);
            desk.reads = io.reads.unwrap_or(desk.reads);
            desk.ready |= io.ready || !self.packets;
            desk.resent += io.resent;
        }
        let gone = self.sending.gone(self.begun.elapsed());
        if !gone.is_empty() {
            self.pty.send(&gone)?;
        }
        Ok(())
    }

    fn damage(&self, mut frame: Vec<u8>) -> Vec<u8> {
        if self.frames.is_multiple_of(2) {
            match lock(&self.desk).fault {
                Some(Fault::Cut) => frame.truncate(frame.len() / 2),
                Some(Fault::Noise) => {
                    // Another pattern each time, and no two runs of a test differ.
                    let noise = (0..7).map(|at| (self.frames.wrapping_mul(167) >> at) as u8 ^ 0x9c);
                    frame.splice(0..0, noise);
                }
                None => {}
            }
        }
        frame
    }
}

#[cfg(test)]
mod tests;
