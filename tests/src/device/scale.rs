//! Virtual scales: one table, one file per family of protocols, chosen by the name that the agent has for it.
//!
//! ```text
//!  test: put, set_fault, unplug      host: commands
//!            |                           v
//!         Platform -> Display -> VirtualScale -> answer -> delay -> line settings -> baud -> pseudo terminal
//! ```
//! A [`VirtualScale`] is the firmware of one kind of indicator: it sees the display and the bytes of the host, and says
//! what it sends. Everything else is the same for all: the goods on the platform, how long they swing, the pace of the
//! line, what the host reads when its settings are others, and what can go wrong.

mod adam;
mod and;
mod bilanciai;
mod cas;
mod dibal;
mod gram;
mod link;
mod nci;
mod ohaus;
mod radwag;
mod rinstrum;
mod sbi;
mod sics;
mod toledo;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Pty;
use super::uart::{self, Line, Parity};
use super::wire::Sending;

/// The kinds of virtual scales.
#[rustfmt::skip]
pub static MODELS: &[&Model] = &[
    &sics::MT_SICS, &sics::ECHOING,
    &toledo::T8217, &toledo::BENCH_PRO, &toledo::CONTINUOUS, &toledo::CONTINUOUS_BARE,
    &nci::SCP_01, &nci::ECR,
    &and::STANDARD,
    &cas::CAS_22, &cas::PD_II, &cas::CAS_10,
    &ohaus::OHAUS,
    &sbi::SBI_16, &sbi::SBI_22,
    &radwag::RADWAG, &radwag::NARROW,
    &adam::CPW_PLUS, &adam::CBD,
    &gram::K3,
    &rinstrum::FORMAT_2,
    &bilanciai::D70,
    &dibal::DIBAL,
    &link::LOAD_CELL,
];

/// The model that speaks that protocol of the agent.
pub fn find(name: &str) -> Option<&'static Model> {
    MODELS.iter().copied().find(|model| model.name == name)
}

/// One row of [`MODELS`].
pub struct Model {
    /// The agent's name of the protocol.
    pub name: &'static str,
    /// Which of several dialects; empty when there is one alone.
    pub variant: &'static str,
    /// How it leaves the factory.
    pub line: Line,
    /// Lines of the agent's configuration for what the frames do not carry.
    pub config: &'static str,
    /// Switches one on.
    pub power_on: fn() -> Box<dyn VirtualScale>,
}

/// The firmware of one kind of scale.
pub trait VirtualScale: Send {
    /// A byte of the host came; what is done, when it ends a command.
    fn handle_byte(&mut self, display: &Display, byte: u8) -> Option<Answer>;

    /// What it sends by itself at this moment, asked for when the line is free.
    fn stream(&mut self, _now: Duration, _display: &Display) -> Option<Vec<u8>> {
        None
    }
}

/// What a command does.
pub struct Answer {
    /// How long the firmware takes.
    pub after: Duration,
    /// What it sends then.
    pub bytes: Vec<u8>,
    /// What it does to the scale.
    pub change: Option<Change>,
}

impl Answer {
    /// The usual time between a command and its answer: one cycle of the converter.
    const DELAY: Duration = Duration::from_millis(10);

    fn say(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        Some(Self { after: Self::DELAY, bytes: bytes.into(), change: None })
    }

    fn change(change: Change, bytes: impl Into<Vec<u8>>) -> Option<Self> {
        Some(Self { after: Self::DELAY, bytes: bytes.into(), change: Some(change) })
    }
}

/// A command that leaves the scale otherwise than it was; whoever only looks must cause none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Change {
    Zero,
    Tare,
    ClearTare,
    Reset,
}

/// What an indicator shows at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Display {
    /// On the platform, in grams.
    pub gross_g: i64,
    /// Taken off, in grams.
    pub tare_g: i64,
    /// The goods still swing.
    pub moving: bool,
    /// Whether it can weigh this.
    pub range: Range,
}

/// Whether a load can be weighed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Range {
    Within,
    Over,
    Under,
}

impl Display {
    /// What the big digits show, in grams.
    fn net_g(&self) -> i64 {
        self.gross_g - self.tare_g
    }

    fn is_zero(&self) -> bool {
        self.gross_g == 0
    }

    fn is_net(&self) -> bool {
        self.tare_g != 0
    }
}

/// Grams as a display in kilograms shows them: `-0.250`.
fn kilograms(grams: i64) -> String {
    let sign = if grams < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", grams.abs() / 1_000, grams.abs() % 1_000)
}

/// Sends by itself in equal intervals.
struct Pace {
    every: Duration,
    due: Duration,
}

impl Pace {
    const fn times_a_second(count: u64) -> Self {
        Self { every: Duration::from_millis(1_000 / count), due: Duration::ZERO }
    }

    fn is_due(&mut self, now: Duration) -> bool {
        let due = now >= self.due;
        if due {
            self.due = now + self.every;
        }
        due
    }
}

/// Collects a command until a terminator.
#[derive(Default)]
struct CommandLine(Vec<u8>);

/// No command of any scale is longer; the rest of a longer one is noise.
const COMMAND_BYTES_MAX: usize = 64;

impl CommandLine {
    /// The command, when `byte` is its end; empty ones, such as between CR and LF, are none.
    fn push(&mut self, byte: u8) -> Option<String> {
        if matches!(byte, b'\r' | b'\n') {
            let line = std::mem::take(&mut self.0);
            return (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned());
        }
        if self.0.len() < COMMAND_BYTES_MAX {
            self.0.push(byte);
        }
        None
    }
}

/// More than this is overload.
pub const CAPACITY_G: i64 = 30_000;

/// What can go wrong with a scale that is plugged in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Switched off: it neither hears nor sends.
    Silence,
    /// Every fourth frame breaks off in its middle.
    HalfFrames,
    /// Bytes of a neighbouring motor before every fourth frame.
    Noise,
}

/// What the test has arranged, and what has come of it.
struct Platform {
    gross_g: i64,
    tare_g: i64,
    settles_at: Instant,
    fault: Option<Fault>,
    line: Line,
    changes: Vec<Change>,
}

impl Platform {
    fn display(&self) -> Display {
        let range = match self.gross_g {
            over if over > CAPACITY_G => Range::Over,
            under if under < 0 => Range::Under,
            _ => Range::Within,
        };
        let left = self.settles_at.saturating_duration_since(Instant::now());
        let moving = !left.is_zero();
        // While it swings no two readings are the same: also a scale that does not tell can be seen to move.
        let swing = if moving && self.gross_g != 0 { 1 + (left.as_millis() / 10) as i64 % 97 } else { 0 };
        Display { gross_g: self.gross_g + swing, tare_g: self.tare_g, moving, range }
    }

    fn change(&mut self, change: Change) {
        self.changes.push(change);
        match change {
            Change::Tare => self.tare_g = self.gross_g,
            // An empty platform is at zero already; that is what zeroing would make of it.
            Change::Zero | Change::ClearTare | Change::Reset => self.tare_g = 0,
        }
    }
}

/// A scale at a port, with goods on its platform.
pub struct Scale {
    model: &'static Model,
    link: PathBuf,
    platform: Arc<Mutex<Platform>>,
    plug: Option<Plug>,
}

/// The thread and its pseudo terminal; dropped, the port is gone.
struct Plug {
    handle: Pty,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Scale {
    /// Plugs one in at a stable name, empty.
    ///
    /// # Errors
    /// When no pseudo terminal can be had.
    pub fn plug(model: &'static Model, link: &Path) -> Result<Self> {
        let platform = Platform {
            gross_g: 0,
            tare_g: 0,
            settles_at: Instant::now(),
            fault: None,
            line: model.line,
            changes: Vec::new(),
        };
        let platform = Arc::new(Mutex::new(platform));
        let mut scale = Self { model, link: link.to_path_buf(), platform, plug: None };
        scale.replug()?;
        Ok(scale)
    }

    /// What it is.
    pub fn model(&self) -> &'static Model {
        self.model
    }

    /// The port.
    pub fn port(&self) -> &Path {
        &self.link
    }

    /// A second handle of its port.
    ///
    /// # Errors
    /// When it is unplugged or no descriptor is left.
    pub fn handle(&self) -> Result<Pty> {
        self.plug.as_ref().context("the scale is unplugged")?.handle.try_clone()
    }

    /// Puts so much on the platform; it swings for a while.
    pub fn put(&self, grams: i64, swings: Duration) {
        let mut platform = self.platform();
        platform.gross_g = grams;
        platform.settles_at = Instant::now() + swings;
    }

    /// Presses its tare key: what is on the platform is taken off.
    pub fn tare(&self) {
        let mut platform = self.platform();
        platform.tare_g = platform.gross_g;
    }

    /// Lets something go wrong, or right again.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.platform().fault = fault;
    }

    /// Makes it dumb, as a scale that is switched off, or lets it answer again.
    pub fn set_answering(&self, answers: bool) {
        self.set_fault((!answers).then_some(Fault::Silence));
    }

    /// Sets its menu: speed, bits and parity.
    pub fn set_line(&self, line: Line) {
        self.platform().line = line;
    }

    /// Commands of the host that have changed it.
    pub fn changes(&self) -> Vec<Change> {
        self.platform().changes.clone()
    }

    /// Pulls its plug: the port is gone.
    pub fn unplug(&mut self) {
        self.plug = None;
    }

    /// Plugs it in, at the name it had.
    ///
    /// # Errors
    /// When no pseudo terminal can be had.
    pub fn replug(&mut self) -> Result<()> {
        self.unplug();
        let pty = Pty::open(Some(&self.link))?;
        let (handle, stop) = (pty.try_clone()?, Arc::new(AtomicBool::new(false)));
        let mut wire = Wire {
            pty,
            scale: (self.model.power_on)(),
            platform: Arc::clone(&self.platform),
            begun: Instant::now(),
            sending: Sending::default(),
            frames: 0,
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                wire.turn()?;
            }
            Ok(())
        });
        self.plug = Some(Plug { handle, stop, thread: Some(thread) });
        Ok(())
    }

    fn platform(&self) -> MutexGuard<'_, Platform> {
        lock(&self.platform)
    }
}

fn lock(platform: &Mutex<Platform>) -> MutexGuard<'_, Platform> {
    platform.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(fault)) = self.thread.take().and_then(|thread| thread.join().ok()) {
            eprintln!("a virtual scale ended early: {fault:#}");
        }
    }
}

/// How often it is looked whether something is to be sent: a tenth of the quickest indicator's cycle.
const TURN: Duration = Duration::from_millis(10);

/// What the firmware hears of the host. Like most, it does not look at the parity bit of a command.
fn heard(bytes: &[u8], host: Line, own: Line) -> Vec<u8> {
    match own.data_bits {
        7 => uart::received(bytes, host, Line { data_bits: 8, parity: Parity::None, ..own })
            .iter()
            .map(|byte| byte & 0x7f)
            .collect(),
        _ => uart::received(bytes, host, own),
    }
}

/// The port's end of the firmware: delays, settings and the pace of the line.
struct Wire {
    pty: Pty,
    scale: Box<dyn VirtualScale>,
    platform: Arc<Mutex<Platform>>,
    begun: Instant,
    /// Its moments are since `begun`.
    sending: Sending,
    frames: u64,
}

impl Wire {
    fn turn(&mut self) -> Result<()> {
        let now = self.begun.elapsed();
        let wait = self.sending.due().map_or(TURN, |due| due.saturating_sub(now));
        let came = self.pty.read(wait.min(TURN))?;
        let (line, fault) = {
            let platform = lock(&self.platform);
            (platform.line, platform.fault)
        };
        let Some(host) = self.pty.line(line)? else { return Ok(()) };
        if fault == Some(Fault::Silence) {
            self.sending.clear();
            return Ok(());
        }
        let now = self.begun.elapsed();
        for byte in heard(&came, host, line) {
            let display = lock(&self.platform).display();
            if let Some(answer) = self.scale.handle_byte(&display, byte) {
                if let Some(change) = answer.change {
                    lock(&self.platform).change(change);
                }
                self.queue(now + answer.after, &answer.bytes, line, host);
            }
        }
        if self.sending.is_empty() {
            let display = lock(&self.platform).display();
            if let Some(frame) = self.scale.stream(now, &display) {
                self.queue(now, &frame, line, host);
            }
        }
        let gone = self.sending.gone(self.begun.elapsed());
        if !gone.is_empty() {
            self.pty.send(&gone)?;
        }
        Ok(())
    }

    /// Sends a frame at the line's pace, from a moment on, or after what is being sent.
    fn queue(&mut self, from: Duration, frame: &[u8], line: Line, host: Line) {
        if frame.is_empty() {
            return;
        }
        self.frames += 1;
        let mut bytes = frame.to_vec();
        if self.frames.is_multiple_of(4) {
            match lock(&self.platform).fault {
                Some(Fault::HalfFrames) => bytes.truncate(frame.len() / 2),
                Some(Fault::Noise) => {
                    // Another pattern each time, and no two runs of a test differ.
                    let noise = (0..7).map(|at| (self.frames.wrapping_mul(167) >> at) as u8 ^ 0x9c);
                    bytes.splice(0..0, noise);
                }
                Some(Fault::Silence) | None => {}
            }
        }
        self.sending.push(from, &bytes, line, host);
    }
}

#[cfg(test)]
mod tests;
