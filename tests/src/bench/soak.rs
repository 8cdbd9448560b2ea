//! Ten minutes of noise: a scanner's and a scale's port carry a megabyte a second that means nothing, and in between an
//! operator scans. Nothing recorded may be missing, and the memory stays as it is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stockwire_agent::io::sqlite_journal::JournalReader;

use super::edge_box::{EdgeBox, hear_good};
use super::goods::Goods;
use super::mqtt::{self, Sink};
use super::pairs::{Plan, micros_since};
use super::probe::{cpu_seconds, status_bytes};
use super::report::{Report, Target, Unit, percentile};
use crate::device::Pty;
use crate::real::Mosquitto;
use crate::real::mosquitto::Persistence;

/// What a port carries in a second: ten times what the fastest serial scanner could send.
const NOISE_BYTES_PER_SECOND: f64 = 1e6;
/// Written at once: as much as a pseudo terminal holds.
const PIECE: usize = 4096;
/// Noise, then a scan on the same port.
const NOISE_TIME: Duration = Duration::from_secs(1);
/// No bell for so long: the agent has answered all the noise, on a busy machine too.
const QUIET: Duration = Duration::from_millis(500);
const QUIET_WAIT: Duration = Duration::from_secs(20);
/// At the other station, while there is noise here.
const PAUSE: Duration = Duration::from_millis(100);
/// After that the allocator has met everything that comes.
const WARM_UP: Duration = Duration::from_secs(60);
/// Half a page of the journal's cache for each minute would be a leak; this much is what the allocator moves about.
const GROWTH_BYTES_MAX: f64 = 512.0 * 1024.0;
const BELL: u8 = 7;

pub(super) fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let goods = Goods::new()?;
    let broker = Mosquitto::start_plain(Persistence::Off)?;
    let _sink = Sink::start(mqtt::options(broker.port(), "gateway", None)?)?;
    let mut edge = EdgeBox::with_scale(crate::site::program("stockwire-agent")?, &broker, 2, &goods)?;
    edge.start()?;
    edge.command("SW:WF:RECEIVE")?;
    edge.command("SW:LOC:A-01")?;
    let process = edge.process()?;
    let journal = edge.journal();
    let scale = edge.scale().context("the box has a scale")?.try_clone()?;
    let noisy = edge.scanners()[0].try_clone()?;
    let quiet = edge.scanners()[1].try_clone()?;

    let (begun, cpu) = (Instant::now(), cpu_seconds(process)?);
    let over = Arc::new(AtomicBool::new(false));
    let scale_noise = Noise::start(scale, 1, &over)?;
    let scanner_noise = Noise::start(noisy, 2, &over)?;
    let operator = operate(quiet, goods.clone(), &over);
    let (mut recorded, mut memory) = (0, Vec::new());
    while begun.elapsed() < plan.soak {
        std::thread::sleep(NOISE_TIME);
        scanner_noise.scan(&goods, recorded)?;
        recorded += 1;
        memory.push((begun.elapsed(), status_bytes(process, "RssAnon")?));
    }
    over.store(true, Ordering::Relaxed);
    let times = operator.join().map_err(|_| anyhow::anyhow!("the operator panicked"))??;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = (cpu_seconds(process)? - cpu) / seconds * 100.0;
    for (what, noise) in [("scanner", scanner_noise), ("scale", scale_noise)] {
        let rate = noise.end()? as f64 / seconds;
        report.fact(format!("noise at the {what}'s port, bytes"), Unit::PerSecond, rate, None);
    }
    recorded += times.len() as u64;
    edge.kill()?;

    let head = JournalReader::open(&journal)?.head().get();
    report.fact("good signals", Unit::Plain, recorded as f64, None);
    let differ = head.abs_diff(recorded) as f64;
    report.fact("rows missing or too many", Unit::Plain, differ, Some(Target::AtMost(0.0)));
    let warm = memory.iter().find(|(at, _)| *at >= WARM_UP.min(plan.soak / 2)).context("a minute went by")?.1;
    let most = memory.iter().map(|(_, bytes)| *bytes).fold(0.0, f64::max);
    let last = memory.last().context("memory was looked at")?.1;
    report.fact("memory of its own after a minute", Unit::Bytes, warm, None);
    report.fact("most memory of its own", Unit::Bytes, most, None);
    report.fact(
        "growth from then to the end",
        Unit::Bytes,
        last - warm,
        Some(Target::AtMost(GROWTH_BYTES_MAX)),
    );
    report.fact("processor", Unit::Percent, cpu, None);
    for percent in [50, 99] {
        let time = percentile(times.clone(), percent);
        report.fact(format!("a scan at the other station to its bell, p{percent}"), Unit::Micros, time, None);
    }
    report.note(format!(
        "{seconds:.0} s of random bytes at a line scanner's port and at an MT-SICS scale's, each in pieces of {PIECE}; \
         every second the scanner's port falls silent and reads a code, and a second station reads one every {} ms all \
         the time; each was called good, and the journal was counted after a SIGKILL",
        PAUSE.as_millis()
    ));
    Ok(())
}

/// The operator at the other station; gives the time of each scan, in microseconds.
fn operate(mut scanner: Pty, goods: Goods, over: &Arc<AtomicBool>) -> JoinHandle<Result<Vec<f64>>> {
    let over = Arc::clone(over);
    std::thread::spawn(move || {
        let mut times = Vec::new();
        while !over.load(Ordering::Relaxed) {
            scanner.write(goods.code(times.len() as u64).as_bytes())?;
            let begun = Instant::now();
            scanner.write(b"\r")?;
            hear_good(&mut scanner)?;
            times.push(micros_since(begun));
            std::thread::sleep(PAUSE);
        }
        Ok(times)
    })
}

/// Knuth's congruential generator: the same noise each time.
fn chance(state: &mut u64) -> u8 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 56) as u8
}

/// A port that carries noise.
struct Noise {
    /// Whoever writes a piece holds it, so that none comes after the noise was switched off.
    device: Arc<Mutex<Pty>>,
    on: Arc<AtomicBool>,
    /// What came back since it was taken last, and when the last of it came.
    heard: Arc<Mutex<(Vec<u8>, Instant)>>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Noise {
    fn start(device: Pty, seed: u64, over: &Arc<AtomicBool>) -> Result<Self> {
        let noise = Self {
            device: Arc::new(Mutex::new(device.try_clone()?)),
            on: Arc::new(AtomicBool::new(true)),
            heard: Arc::new(Mutex::new((Vec::new(), Instant::now()))),
            sent: Arc::default(),
            threads: Vec::new(),
        };
        let (mut ear, heard, ended) = (device, Arc::clone(&noise.heard), Arc::clone(over));
        let listen = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let bytes = ear.read(PAUSE)?;
                if !bytes.is_empty() {
                    *heard.lock().unwrap_or_else(PoisonError::into_inner) = (bytes, Instant::now());
                }
            }
            Ok(())
        });
        let (mouth, on, sent, ended) =
            (Arc::clone(&noise.device), Arc::clone(&noise.on), Arc::clone(&noise.sent), Arc::clone(over));
        let speak = std::thread::spawn(move || {
            let mut random = seed;
            let every = Duration::from_secs_f64(PIECE as f64 / NOISE_BYTES_PER_SECOND);
            let mut due = Instant::now();
            while !ended.load(Ordering::Relaxed) {
                let piece: Vec<u8> = (0..PIECE).map(|_| chance(&mut random)).collect();
                {
                    let mut mouth = mouth.lock().unwrap_or_else(PoisonError::into_inner);
                    if on.load(Ordering::Relaxed) {
                        mouth.write(&piece)?;
                        sent.fetch_add(PIECE as u64, Ordering::Relaxed);
                    }
                }
                // What a pause or a slow reader has cost is caught up with, a second of it at most.
                due = (due + every).max(Instant::now().checked_sub(NOISE_TIME).unwrap_or(due));
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            Ok(())
        });
        Ok(Self { threads: vec![listen, speak], ..noise })
    }

    /// Lets the port fall silent, reads a code there and hears the one bell.
    fn scan(&self, goods: &Goods, n: u64) -> Result<()> {
        self.on.store(false, Ordering::Relaxed);
        // The rest of the noise ends as a read of its own.
        self.write(b"\r")?;
        let ended = Instant::now();
        self.wait("the bells for the noise", |_, silent| silent.min(ended.elapsed()) > QUIET)?;
        self.write(format!("{}\r", goods.code(n)).as_bytes())?;
        let bells = self.wait("the bell for the scan", |bells, _| !bells.is_empty())?;
        ensure!(bells == [BELL], "heard {bells:?} for a scan between noise, expected one bell");
        self.on.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    /// Waits; gives what was heard, and forgets it.
    fn wait(&self, what: &str, done: impl Fn(&[u8], Duration) -> bool) -> Result<Vec<u8>> {
        let begun = Instant::now();
        loop {
            {
                let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                if done(&heard.0, heard.1.elapsed()) {
                    return Ok(std::mem::take(&mut heard.0));
                }
            }
            ensure!(begun.elapsed() < QUIET_WAIT, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for both threads; how many bytes were sent.
    fn end(self) -> Result<u64> {
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread of the noise panicked"))??;
        }
        Ok(self.sent.load(Ordering::Relaxed))
    }
}
