//! From a scan's last byte to the durable row, beside one write and flush of the same disk.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use stockwire_agent::feedback::Signal;
use stockwire_agent::io::serial::{self, PortEvent};
use stockwire_agent::io::sqlite_journal::{JournalOptions, Maintenance, SqliteJournal};
use stockwire_agent::journal::Journal as _;
use stockwire_agent::scanner::{self, ScannerOptions};
use stockwire_agent::station::{Action, Recorded, Station, StationConfig};
use stockwire_protocol::{DeviceId, StationId, When};
use tokio::sync::mpsc;

use super::edge_box::{self, EdgeBox};
use super::goods::Goods;
use super::mqtt::{self, Sink};
use super::pairs::{Plan, interleave, micros, micros_since};
use super::probe::{PlainDisk, cpu_seconds};
use super::report::{Report, Target, Unit, percentile};
use crate::device::Pty;
use crate::real::Mosquitto;
use crate::real::mosquitto::Persistence;
use crate::real::process::Scratch;

/// Operations in a slice: the smallest number that has a 99th percentile.
const SLICE: usize = 100;
/// Slices of a row that takes a quarter of a millisecond for an operation and as long for the pause before it.
const PAIR: Duration = Duration::from_millis(120);
/// Before the last byte, so that reader and disk are at rest as they are between two scans of a person. The limit
/// waits as long.
const REST: Duration = Duration::from_micros(300);
const QUOTA_BYTES: u64 = 64 << 30;
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Scanners that read at the same moment.
const PORTS: usize = 64;
/// Such moments in a slice.
const PORTS_SLICE: usize = 10;
/// Scans between the two counts of flushes.
const FLUSH_COUNTS: (u32, u32) = (100, 300);

pub(super) fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    durable(plan, report)?;
    count_flushes(report);
    if let Err(fault) = bells(plan, report) {
        report.unmeasured(format!("the real agent: {fault:#}"));
    }
    report.note(
        "limit: pwrite of 176 bytes and fdatasync in a preallocated file beside the journal; ours: the pseudo \
         terminal's last byte, the agent's serial port, decoder, station and journal, in one thread as in the agent, \
         until the append has returned; a bell also has the way back through the terminal",
    );
    Ok(())
}

/// Records so many scans by the way that is measured; for counting what the kernel is asked to do.
///
/// # Errors
/// When one is not recorded.
pub fn record_scans(scans: u32) -> Result<()> {
    let scratch = Scratch::new("bench")?;
    let mut desk = Desk::open(scratch.path(), &Goods::new()?)?;
    for _ in 0..scans {
        desk.scan()?;
    }
    Ok(())
}

fn durable(plan: &Plan, report: &mut Report) -> Result<()> {
    let scratch = Scratch::new("bench")?;
    let mut disk = PlainDisk::create(&scratch.path().join("limit"))?;
    let mut desk = Desk::open(scratch.path(), &Goods::new()?)?;
    for _ in 0..SLICE {
        disk.write()?;
        desk.scan()?;
    }
    let slices = interleave(
        plan.pairs_of(PAIR),
        || slice(SLICE, || disk.write()),
        || {
            let times = slice(SLICE, || desk.scan())?;
            desk.rest()?;
            Ok(times)
        },
    )?;
    let what = "a scan's last byte to the durable row";
    rows(report, what, &slices, (Some(Target::AtMost(1.25)), Some(Target::AtMost(1.5))));
    Ok(())
}

/// The real program, as an operator hears it.
fn bells(plan: &Plan, report: &mut Report) -> Result<()> {
    let program = crate::site::program("stockwire-agent")?;
    let goods = Goods::new()?;
    let broker = Mosquitto::start_plain(Persistence::Off)?;
    let _sink = Sink::start(mqtt::options(broker.port(), "gateway", None)?)?;
    let scratch = Scratch::new("bench")?;
    let mut disk = PlainDisk::create(&scratch.path().join("limit"))?;
    let mut n = 0;

    let mut one = EdgeBox::new(program.clone(), &broker, 1, &goods)?;
    one.start()?;
    one.command("SW:WF:RECEIVE")?;
    one.command("SW:LOC:A-01")?;
    let slices = interleave(
        plan.pairs_of(PAIR),
        || slice(SLICE, || disk.write()),
        || slice(SLICE, || all_at_once(&mut one, &goods, &mut n)),
    )?;
    rows(report, "a scan's last byte to the bell, real agent, connected", &slices, (None, None));
    one.kill()?;

    let mut many = EdgeBox::new(program, &broker, PORTS, &goods)?;
    many.start()?;
    many.command("SW:WF:RECEIVE")?;
    many.command("SW:LOC:A-01")?;
    let process = many.process()?;
    let (scans, begun, cpu) = (n, Instant::now(), cpu_seconds(process)?);
    let slices = interleave(
        plan.pairs_of(PAIR),
        || slice(PORTS_SLICE, || disk.write()),
        || slice(PORTS_SLICE, || all_at_once(&mut many, &goods, &mut n)),
    )?;
    let what = format!("{PORTS} scanners at the same moment, last byte to last bell");
    rows(report, &what, &slices, (None, Some(Target::AtMost(2.2))));
    let (seconds, scans) = (begun.elapsed().as_secs_f64(), (n - scans) as f64);
    let cpu = cpu_seconds(process)? - cpu;
    report.fact(format!("scans at {PORTS} scanners"), Unit::PerSecond, scans / seconds, None);
    report.fact("processor for one of them", Unit::Micros, cpu / scans * 1e6, None);
    report.fact("processor meanwhile", Unit::Percent, cpu / seconds * 100.0, None);
    many.kill()
}

/// Every scanner of the box reads something; the time from the last byte of the last one to its last bell.
fn all_at_once(edge: &mut EdgeBox, goods: &Goods, n: &mut u64) -> Result<f64> {
    for scanner in edge.scanners() {
        scanner.write(goods.code(*n).as_bytes())?;
        *n += 1;
    }
    std::thread::sleep(REST);
    let begun = Instant::now();
    for scanner in edge.scanners() {
        scanner.write(b"\r")?;
    }
    for scanner in edge.scanners() {
        edge_box::hear_good(scanner)?;
    }
    Ok(micros_since(begun))
}

/// So many operations, each after a rest; their times.
fn slice(count: usize, mut operation: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    let one = |_| {
        std::thread::sleep(REST);
        operation()
    };
    (0..count).map(one).collect()
}

fn rows(
    report: &mut Report,
    what: &str,
    slices: &[(Vec<f64>, Vec<f64>)],
    (p50, p99): (Option<Target>, Option<Target>),
) {
    let column = |percent| {
        let pair = |(limit, ours): &(Vec<f64>, Vec<f64>)| {
            (percentile(limit.clone(), percent), percentile(ours.clone(), percent))
        };
        slices.iter().map(pair).collect::<Vec<_>>()
    };
    report.row(format!("{what}, p50 of a slice"), Unit::Micros, &column(50), p50);
    let limit: Vec<f64> = slices.iter().flat_map(|slice| slice.0.iter().copied()).collect();
    let ours: Vec<f64> = slices.iter().flat_map(|slice| slice.1.iter().copied()).collect();
    // Of all together: what spoils one scan in a hundred does not come once in every slice.
    report.row(
        format!("{what}, p99 of all"),
        Unit::Micros,
        &[(percentile(limit, 99), percentile(ours, 99))],
        p99,
    );
}

/// Twice under `strace`, with more scans the second time: the difference belongs to the scans alone.
fn count_flushes(report: &mut Report) {
    let (few, many) = FLUSH_COUNTS;
    let counted = flushes(few).and_then(|before| Ok((before, flushes(many)?)));
    match counted {
        Ok((before, after)) => {
            let each = (after as f64 - before as f64) / f64::from(many - few);
            report.fact("flushes for a scan by itself", Unit::Plain, each, Some(Target::AtMost(1.0)));
        }
        Err(fault) => report.unmeasured(format!("flushes for a scan: {fault:#}")),
    }
}

fn flushes(scans: u32) -> Result<u64> {
    let scratch = Scratch::new("bench")?;
    let counts = scratch.path().join("counts");
    let output = Command::new("strace")
        .args(["-f", "-c", "-e", "trace=fdatasync,fsync", "-o"])
        .arg(&counts)
        .arg(std::env::current_exe()?)
        .args(["journal-latency", "--only-scans", &scans.to_string()])
        .output()
        .context("running strace (Debian package strace)")?;
    ensure!(output.status.success(), "under strace: {}", String::from_utf8_lossy(&output.stderr));
    let table = std::fs::read_to_string(&counts)?;
    // `% time  seconds  usecs/call  calls  [errors]  syscall`
    let calls = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let counted = matches!(words.last(), Some(&"fdatasync" | &"fsync"));
        counted.then(|| words.get(3)?.parse::<u64>().ok()).flatten()
    });
    let sum = calls.sum();
    ensure!(sum > 0, "strace counted nothing:\n{table}");
    Ok(sum)
}

/// A station without the rest of the agent: port, decoder, station, journal.
struct Desk {
    scanner: Pty,
    goods: Goods,
    n: u64,
    durable: Receiver<Result<Instant>>,
    rest: Option<mpsc::UnboundedSender<Sender<Result<()>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    fn open(folder: &Path, goods: &Goods) -> Result<Self> {
        let scanner = Pty::open(Some(&folder.join("scanner")))?;
        let (durable_in, durable) = channel();
        let (rest, wishes) = mpsc::unbounded_channel();
        let work = Work::new(folder, goods)?;
        let port = scanner.port().to_path_buf();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let done = runtime
                .context("a runtime")
                .and_then(|runtime| runtime.block_on(work.serve(&port, wishes, &durable_in)));
            if let Err(fault) = done {
                // Nobody listens once the measurement is over.
                let _ = durable_in.send(Err(fault));
            }
        });
        let desk =
            Self { scanner, goods: goods.clone(), n: 0, durable, rest: Some(rest), thread: Some(thread) };
        desk.answer().context("the port does not open")?;
        Ok(desk)
    }

    /// Scans something; microseconds from its last byte to the durable row.
    fn scan(&mut self) -> Result<f64> {
        self.scanner.write(self.goods.code(self.n).as_bytes())?;
        self.n += 1;
        std::thread::sleep(REST);
        let begun = Instant::now();
        self.scanner.write(b"\r")?;
        Ok(micros(self.answer()?.saturating_duration_since(begun)))
    }

    /// What the agent does when nobody scans.
    fn rest(&self) -> Result<()> {
        let (done, is_done) = channel();
        let sent = self.rest.as_ref().is_some_and(|rest| rest.send(done).is_ok());
        ensure!(sent, "the desk ended");
        is_done.recv().context("the desk ended")?
    }

    fn answer(&self) -> Result<Instant> {
        match self.durable.recv_timeout(ANSWER_WAIT) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => bail!("no answer within {ANSWER_WAIT:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the desk ended"),
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(self.rest.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}

/// What runs in the desk's thread.
struct Work {
    station: Station,
    device: DeviceId,
    journal: SqliteJournal,
    started: Instant,
}

impl Work {
    fn new(folder: &Path, goods: &Goods) -> Result<Self> {
        let device = DeviceId::new("scanner")?;
        let mut config = StationConfig::new(goods.agent.clone(), StationId::new("pack-1")?);
        config.bounce.insert(device.clone(), Duration::ZERO);
        let station = Station::new(config, goods.known()?.0);
        let journal = SqliteJournal::open(JournalOptions::new(folder.join("journal.db"), QUOTA_BYTES))?;
        let mut work = Self { station, device, journal, started: Instant::now() };
        for code in ["SW:WF:RECEIVE", "SW:LOC:A-01"] {
            let signal = work.scan(code.as_bytes().to_vec())?.0;
            ensure!(signal == Signal::Heard, "{code}: {signal:?}");
        }
        Ok(work)
    }

    async fn serve(
        mut self,
        port: &Path,
        mut wishes: mpsc::UnboundedReceiver<Sender<Result<()>>>,
        durable: &Sender<Result<Instant>>,
    ) -> Result<()> {
        let protocol = scanner::find("line").context("the line scanner")?;
        let mut decoder = protocol.decoder(&ScannerOptions::default());
        let (events_in, mut events) = mpsc::channel(16);
        let _writer = serial::start(0, port.to_path_buf(), protocol.line(), events_in);
        loop {
            let event = tokio::select! {
                event = events.recv() => event.context("the port's task ended")?.1,
                wish = wishes.recv() => {
                    let Some(done) = wish else { return Ok(()) };
                    let _ = done.send(self.rest());
                    continue;
                }
            };
            match event {
                PortEvent::Opened => drop(durable.send(Ok(Instant::now()))),
                PortEvent::Closed(why) => bail!("the port is closed: {why:?}"),
                PortEvent::Bytes(bytes) => {
                    decoder.handle_bytes(self.started.elapsed(), &bytes);
                    while let Some(read) = decoder.poll_read() {
                        let (signal, at) = self.scan(read?)?;
                        ensure!(signal == Signal::Good, "a scan was not recorded: {signal:?}");
                        drop(durable.send(at.context("a good signal without a row")));
                    }
                }
            }
        }
    }

    /// The station's answer, and when the row was durable, if one was recorded.
    fn scan(&mut self, read: Vec<u8>) -> Result<(Signal, Option<Instant>)> {
        let now = self.started.elapsed();
        let unix_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis() as i64;
        self.station.handle_scan(now, When::Synced { unix_ms }, &self.device, Ok(read));
        let (mut signal, mut durable) = (None, None);
        while let Some(action) = self.station.poll_action() {
            match action {
                Action::Record { ticket, events } => {
                    let last = self.journal.append(&events)?;
                    durable = Some(Instant::now());
                    let recorded = Recorded { epoch: self.journal.epoch(), last };
                    self.station.handle_recorded(self.started.elapsed(), ticket, Ok(recorded));
                }
                Action::Signal { signal: given, .. } => signal = Some(given),
                Action::RequestWeight | Action::Display(_) => {}
            }
        }
        Ok((signal.context("the station gave no signal")?, durable))
    }

    fn rest(&mut self) -> Result<()> {
        while self.journal.maintain()? == Maintenance::More {}
        Ok(())
    }
}
