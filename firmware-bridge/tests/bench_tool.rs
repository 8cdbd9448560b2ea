//! The bench tool as a process: a load cell on a pseudo terminal, and a host that opens it like any serial port.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail as tests do: loudly and at the line.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serde_json::Value;
use stockwire_protocol::link::{Arrival, Event, FrameError, Host, NackReason, Weight};

/// Everything awaited here takes a second or two; a machine that needs more than this is broken or the test is.
const DEADLINE: Duration = Duration::from_secs(20);

/// How often the host polls while it waits.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// A running load cell. Killed when a test ends early.
struct Cell {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    port: PathBuf,
    boot_nonce: String,
}

impl Cell {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stockwire-bridge"))
            .args(["be", "load-cell", "--json"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = json_lines(child.stdout.take().unwrap());
        let stdin = child.stdin.take();
        let mut cell = Self { child, stdin, lines, port: PathBuf::new(), boot_nonce: String::new() };
        let ready = cell.line("ready");
        cell.port = ready["port"].as_str().unwrap().into();
        cell.boot_nonce = ready["boot_nonce"].as_str().unwrap().into();
        cell
    }

    /// The next line about `event`.
    #[track_caller]
    fn line(&self, event: &str) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no `{event}` from the tool"));
            if line["event"] == event {
                return line;
            }
        }
    }

    fn say(&mut self, command: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    fn stats(&mut self) -> Value {
        self.say("stats");
        self.line("stats")
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        // Already gone when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn json_lines(output: impl Read + Send + 'static) -> Receiver<Value> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let object = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
            if sender.send(object).is_err() {
                return;
            }
        }
    });
    lines
}

fn wait(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + DEADLINE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(5)); // Waiting for a process has no other condition to wait on.
    }
    panic!("the tool does not end");
}

/// The host's end: a port, a `Host`, and what came up the line.
struct Station {
    fd: OwnedFd,
    host: Host,
    events: Vec<Event>,
    /// What the line does to bytes on their way up.
    noise: Noise,
    arrived: usize,
    acknowledges: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Noise {
    None,
    /// One byte in so many loses a bit, one is lost, one comes twice.
    OneIn(usize),
}

impl Station {
    fn open(port: &Path) -> Self {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(port, flags, Mode::empty()).unwrap();
        let mut termios = tcgetattr(&fd).unwrap();
        termios.make_raw();
        tcsetattr(&fd, OptionalActions::Now, &termios).unwrap();
        let mut host = Host::new();
        host.greet();
        Self { fd, host, events: Vec::new(), noise: Noise::None, arrived: 0, acknowledges: true }
    }

    fn write(&self, bytes: &[u8]) {
        assert_eq!(rustix::io::write(&self.fd, bytes).unwrap(), bytes.len());
    }

    /// Polls and listens until `done`. An error is the line's end.
    #[track_caller]
    fn until(&mut self, what: &str, done: impl Fn(&[Event]) -> bool) -> rustix::io::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let mut next_poll = Instant::now();
        while !done(&self.events) {
            if Instant::now() >= deadline {
                let last = self.events.len().saturating_sub(5);
                panic!("no {what}; {:?}, last came {:#?}", self.host.counters(), &self.events[last..]);
            }
            if Instant::now() >= next_poll {
                self.host.ask_weight();
                next_poll += POLL_EVERY;
            }
            while let Some(wire) = self.host.poll_transmit() {
                rustix::io::write(&self.fd, wire.as_bytes())?;
            }
            self.listen()?;
        }
        Ok(())
    }

    fn listen(&mut self) -> rustix::io::Result<()> {
        let patience = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        if rustix::event::poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&patience))? == 0 {
            return Ok(());
        }
        let mut buffer = [0; 256];
        let len = rustix::io::read(&self.fd, &mut buffer)?;
        if len == 0 {
            return Err(rustix::io::Errno::IO);
        }
        for &byte in &buffer[..len] {
            self.arrived += 1;
            match self.noise {
                Noise::OneIn(n) if self.arrived.is_multiple_of(n) => match self.arrived / n % 3 {
                    0 => self.hear(byte ^ 0x20),
                    1 => {}
                    _ => {
                        self.hear(byte);
                        self.hear(byte);
                    }
                },
                _ => self.hear(byte),
            }
        }
        Ok(())
    }

    fn hear(&mut self, byte: u8) {
        if let Some(event) = self.host.handle_byte(byte) {
            self.events.push(event);
            if let (true, Event::Captured { sequence, .. }) = (self.acknowledges, event) {
                self.host.acknowledge(sequence);
            }
        }
    }

    /// Captured net weights, in order; nothing may have been lost before any.
    fn captured(&self) -> Vec<i32> {
        captured(&self.events)
    }
}

fn captured(events: &[Event]) -> Vec<i32> {
    let net = |event: &Event| match event {
        Event::Captured { weight, lost, .. } => {
            assert_eq!(*lost, 0);
            Some(weight.net)
        }
        _ => None,
    };
    events.iter().filter_map(net).collect()
}

fn live(events: &[Event], is: impl Fn(&Weight) -> bool) -> bool {
    events.iter().any(|event| matches!(event, Event::Live(weight) if is(weight)))
}

fn temporary(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory
}

#[test]
fn a_script_is_weighed_polled_and_captured() {
    let directory = temporary("script");
    let (script, link) = (directory.join("pan.txt"), directory.join("scale"));
    fs::write(&script, "0 0 stable\n200 1250 moving\n500 1250 stable\n1500 0 stable\n1900 80 stable\n")
        .unwrap();
    let arguments =
        ["--identity", "cell-7", "--script", script.to_str().unwrap(), "--link", link.to_str().unwrap()];
    let mut cell = Cell::start(&arguments);
    assert_eq!(fs::read_link(&link).unwrap(), cell.port);

    let mut station = Station::open(&link);
    station.until("both captures", |events| captured(events) == [1_250, 80]).unwrap();
    assert!(live(&station.events, |weight| !weight.stable && weight.net != 0), "seen moving");
    assert!(live(&station.events, |weight| weight.stable && weight.net == 1_250));
    let hello = station.events.iter().find_map(|event| match event {
        Event::Hello { hello, arrival: Arrival::First } => Some(*hello),
        _ => None,
    });
    let hello = hello.unwrap();
    assert_eq!((hello.identity.as_str(), hello.boot_nonce.to_string()), ("cell-7", cell.boot_nonce.clone()));

    cell.signal(Signal::TERM);
    assert_eq!(cell.wait().code(), Some(0));
    assert!(fs::symlink_metadata(&link).is_err(), "the link is gone");
    cell.line("stopped");
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn garbage_and_half_frames_are_counted_and_lose_nothing() {
    let mut cell = Cell::start(&[]);
    let mut station = Station::open(&cell.port);
    station.until("an empty pan", |events| live(events, |weight| weight.stable)).unwrap();
    assert_eq!(cell.stats()["stats"]["line"]["torn"], 0);

    // Down the line: half a poll, a poll with a wrong CRC, more than any frame is long, a kind nobody knows.
    station.write(&[0x04, 0x01, 0x10, 0x00]);
    station.write(&[0x04, 0x01, 0x10, 0x02, 0x04, 0x01, 0xBB, 0xDF, 0x00]);
    station.write(&[0x55; 300]);
    station.write(&[0x00]);
    station.write(&[0x03, 0x01, 0x07, 0x01, 0x05, 0x39, 0x30, 0x3A, 0xA5, 0x00]);
    let unknown =
        |event: &Event| matches!(event, Event::Refused(nack) if nack.reason == NackReason::UnknownKind);
    station.until("a refusal", |events| events.iter().any(unknown)).unwrap();
    let line = cell.stats()["stats"]["line"].clone();
    assert_eq!(
        (&line["torn"], &line["noisy"], &line["too_long"]),
        (&1.into(), &1.into(), &1.into()),
        "{line}"
    );

    // Up the line: three bytes in a hundred bent, lost or doubled while five loads are weighed.
    station.noise = Noise::OneIn(33);
    let loads: Vec<i32> = (1..=5).map(|n| n * 100 + 7).collect();
    for (n, grams) in loads.iter().enumerate() {
        cell.say(&format!("{grams} stable"));
        station.until("the capture", |events| captured(events).len() == n + 1).unwrap();
        let seen = station.events.len();
        cell.say("0 stable");
        station.until("zero", |events| live(&events[seen..], |weight| weight.at_zero)).unwrap();
    }
    assert_eq!(station.captured(), loads, "each once, in order");
    assert!(station.host.counters().lost() > 5, "{:?}", station.host.counters());
    assert!(station.events.iter().any(|event| matches!(event, Event::Garbled(FrameError::Noisy { .. }))));

    // When the noise ends, every capture gets its acknowledgement through.
    station.noise = Noise::None;
    let seen = station.events.len();
    station.until("a quiet line", |events| events.len() > seen + 10).unwrap();
    let stats = cell.stats();
    assert_eq!((&stats["waiting"], &stats["stats"]["lost"]), (&0.into(), &0.into()), "{stats}");
    assert_eq!(stats["stats"]["acknowledged"], 6, "the hello and five captures");
}

#[test]
fn captures_wait_for_a_host_that_comes_back() {
    let mut cell = Cell::start(&[]);
    let mut station = Station::open(&cell.port);
    station.acknowledges = false;
    station.until("an empty pan", |events| live(events, |weight| weight.stable)).unwrap();
    cell.say("500 stable");
    station.until("the capture", |events| captured(events) == [500]).unwrap();
    cell.say("0 stable");
    let seen = station.events.len();
    station.until("zero", |events| live(&events[seen..], |weight| weight.at_zero)).unwrap();
    // The host dies before its journal has the capture; while it is away another load is weighed.
    drop(station);
    cell.say("600 stable");
    cell.line("captured");
    assert_eq!(cell.line("captured")["weight"]["net"], "600");
    assert_eq!(cell.stats()["waiting"], 2);

    let mut station = Station::open(&cell.port);
    station.until("both", |events| captured(events) == [500, 600]).unwrap();
    let last = station.events.len();
    station.until("quiet", |events| events.len() > last + 10).unwrap();
    assert_eq!(cell.stats()["waiting"], 0);
}

#[test]
fn killed_in_mid_stream_it_leaves_no_phantom_and_starts_a_new_life() {
    let directory = temporary("kill");
    let link = directory.join("scale");
    let arguments = ["--link", link.to_str().unwrap()];
    let mut cell = Cell::start(&arguments);
    let mut station = Station::open(&link);
    cell.say("1000 stable");
    station.until("the capture", |events| captured(events) == [1_000]).unwrap();

    cell.signal(Signal::KILL);
    station.until("nothing more", |_| false).expect_err("the line ends");
    assert_eq!(station.captured(), [1_000]);
    assert!(station.events.iter().all(|event| match event {
        Event::Live(weight) | Event::Captured { weight, .. } => (0..=1_000).contains(&weight.net),
        _ => true,
    }));
    cell.wait();

    // What a killed instance left behind is taken over.
    let mut reborn = Cell::start(&arguments);
    assert_ne!(reborn.boot_nonce, cell.boot_nonce);
    let Station { host, events, .. } = station;
    let mut station = Station { host, events, ..Station::open(&link) };
    station.host.greet();
    reborn.say("300 stable");
    station.until("the next capture", |events| captured(events) == [1_000, 300]).unwrap();
    let restarted = |event: &Event| matches!(event, Event::Hello { arrival: Arrival::Restarted, .. });
    assert!(station.events.iter().any(restarted), "numbers start over, and the host knows");

    reborn.say("quit");
    assert_eq!(reborn.wait().code(), Some(0));
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn talk_prints_what_it_hears_and_tells_when_the_line_ends() {
    let mut cell = Cell::start(&["--identity", "talkative"]);
    let mut talk = Command::new(env!("CARGO_BIN_EXE_stockwire-bridge"))
        .args(["talk", cell.port.to_str().unwrap(), "--json", "--every-ms", "50"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = json_lines(talk.stdout.take().unwrap());
    let line = |event: &str| loop {
        let line = lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no `{event}` from talk"));
        if line["event"] == event {
            return line;
        }
    };
    assert_eq!(line("hello")["identity"], "talkative");
    cell.say("420 stable");
    let captured = line("captured");
    assert_eq!((&captured["weight"]["net"], &captured["weight"]["unit"]), (&"420".into(), &"g".into()));

    cell.signal(Signal::KILL);
    let stopped = line("stopped");
    assert!(stopped["line"]["sound"].as_u64().unwrap() > 3);
    assert_eq!(wait(&mut talk).code(), Some(1));
    let mut hint = String::new();
    talk.stderr.take().unwrap().read_to_string(&mut hint).unwrap();
    assert!(hint.contains("unplugged"), "{hint}");
}

#[test]
fn mistakes_are_told_before_anything_starts() {
    let directory = temporary("mistakes");
    let (script, file) = (directory.join("pan.txt"), directory.join("file"));
    fs::write(&script, "0 0 stable\nsoon 5 stable\n9 heavy stable\n").unwrap();
    fs::write(&file, "not ours").unwrap();
    let run = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_stockwire-bridge"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, error) = run(&["be", "load-cell", "--script", script.to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(error.contains("line 2: `soon`") && error.contains("line 3: `heavy`"), "{error}");
    assert_eq!(run(&["be", "load-cell", "--identity", "two words"]).0, Some(2));
    assert_eq!(run(&["be", "toaster"]).0, Some(2));
    assert_eq!(run(&["talk", "/dev/null"]).0, Some(2));
    let (code, error) = run(&["be", "load-cell", "--link", file.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(error.contains("no symbolic link"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "not ours");
    fs::remove_dir_all(&directory).unwrap();
}
