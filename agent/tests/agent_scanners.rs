//! Scanners at the agent as it is shipped: packets, unplugging, numbers that swap, the table of devices, learn mode.

// Helpers of tests: a failing unwrap is a failing test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use stockwire_agent::io::sqlite_journal::JournalReader;
use stockwire_agent::scanner::learn::LABEL;

mod bench;

use bench::{Agent, Bench, Device, MUG, terminate, until};

/// A bench with these stations instead of its own; `{root}` is its directory.
fn bench_with(name: &str, stations: &str) -> Bench {
    let bench = Bench::new(name);
    let path = bench.path("config.toml");
    let config = fs::read_to_string(&path).unwrap();
    let (head, _) = config.split_once("[[station]]").unwrap();
    let stations = stations.replace("{root}", &bench.directory.0.display().to_string());
    fs::write(path, format!("{head}{stations}")).unwrap();
    bench
}

/// Processor time of a process so far, user and system, in ticks of 10 ms.
fn ticks(agent: &Agent) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", agent.0.id())).unwrap();
    // The name in parentheses may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

const ACK: u8 = 0xD0;
const BEEP: u8 = 0xE6;

/// A Zebra scanner: it sends packets and answers commands.
struct SsiScanner {
    device: Device,
    received: Vec<u8>,
}

impl SsiScanner {
    fn send(&mut self, opcode: u8, status: u8, data: &[u8]) {
        let mut packet = vec![data.len() as u8 + 4, opcode, 0, status];
        packet.extend_from_slice(data);
        let sum = packet.iter().map(|byte| u16::from(*byte)).sum::<u16>().wrapping_neg();
        packet.extend(sum.to_be_bytes());
        self.device.send(&packet);
    }

    /// The next packet from the agent as opcode and data, answered if it is a command.
    fn packet(&mut self) -> (u8, Vec<u8>) {
        until("a packet from the agent", || {
            let length = self.received.first().map_or(usize::MAX, |length| usize::from(*length) + 2);
            if self.received.len() < length {
                self.received.extend(self.device.receive(Duration::from_millis(20)));
                return None;
            }
            let packet: Vec<u8> = self.received.drain(..length).collect();
            let (opcode, data) = (packet[1], packet[4..length - 2].to_vec());
            if opcode != ACK {
                self.send(ACK, 0, &[]);
            }
            Some((opcode, data))
        })
    }

    /// Packets up to one with this opcode.
    fn until(&mut self, opcode: u8) -> Vec<(u8, Vec<u8>)> {
        let mut packets = Vec::new();
        while packets.last().is_none_or(|(last, _)| *last != opcode) {
            packets.push(self.packet());
        }
        packets
    }

    /// Scans, and gives what the agent sent up to its beep.
    fn scan(&mut self, code_type: u8, text: &str) -> Vec<(u8, Vec<u8>)> {
        self.send(0xF3, 0, &[&[code_type], text.as_bytes()].concat());
        self.until(BEEP)
    }
}

#[test]
fn an_ssi_scanner_is_set_up_acknowledged_and_beeped_when_the_row_is_on_disk() {
    let bench = bench_with(
        "ssi",
        "[[station]]\nname = \"bench-1\"\n[station.scanner]\nport = \"{root}/scanner\"\nprotocol = \"ssi\"\nbounce_ms = 0\n",
    );
    let mut scanner = SsiScanner { device: bench.scanner(), received: Vec::new() };
    let mut agent = bench.start();
    let set_up = scanner.until(0xE9);
    assert!(
        set_up.iter().any(|(opcode, data)| (*opcode, &data[..]) == (0xC6, &[0xFF, 0xEE, 1])),
        "{set_up:02x?}"
    );
    bench.await_device("bench-1/scanner", "working");

    for (code_type, text) in [(0x03, "SW:WF:RECEIVE"), (0x03, "SW:LOC:A-01")] {
        let packets = scanner.scan(code_type, text);
        assert_eq!(packets[0].0, ACK, "{packets:02x?}");
        assert_eq!(packets[1], (BEEP, vec![1]), "understood, nothing stored: {packets:02x?}");
    }
    let mug = MUG.strip_prefix("]E0").unwrap();
    let packets = scanner.scan(0x0B, mug);
    assert_eq!(packets.last(), Some(&(BEEP, vec![0])), "good: {packets:02x?}");
    // Its acknowledgement was lost on the way, so it sends that again: acknowledged, and counted once.
    scanner.send(0xF3, 1, &[&[0x0B], mug.as_bytes()].concat());
    scanner.until(ACK);
    let packets = scanner.scan(0x0B, mug);
    assert_eq!(packets.last(), Some(&(BEEP, vec![0])), "another mug: {packets:02x?}");
    agent.0.kill().unwrap();
    agent.0.wait().unwrap();
    let reader = JournalReader::open(&bench.path("journal.db")).unwrap();
    assert_eq!(reader.head().get(), 2, "two beeps, two rows, however the agent ends");
}

/// Two scanners are pulled out and plugged in again in the other order, so that each gets the other's number.
#[test]
fn two_scanners_swap_their_numbers_and_stay_who_they_are() {
    let station = |name: &str| {
        format!(
            "[[station]]\nname = \"{name}\"\n[station.scanner]\nport = \"{{root}}/{name}\"\nfeedback = \"bell\"\nbounce_ms = 0\n"
        )
    };
    let bench = bench_with("swap", &(station("left") + &station("right")));
    let number = |name: &str| -> PathBuf { fs::read_link(bench.path(name)).unwrap() };
    let plug_in = |name: &str| Device::plug_in(&bench.path(name));
    let (mut left, mut right) = (plug_in("left"), plug_in("right"));
    let before = (number("left"), number("right"));
    let mut agent = bench.start();
    for name in ["left/scanner", "right/scanner"] {
        bench.await_device(name, "working");
    }
    bench.scan(&mut left, "SW:WF:RECEIVE");
    bench.scan(&mut left, "SW:LOC:A-01");
    bench.scan(&mut right, "SW:WF:RECEIVE");
    bench.scan(&mut right, "SW:LOC:B-07");
    assert_eq!((bench.scan(&mut left, MUG), bench.scan(&mut right, MUG)), (1, 1));

    let begun = Instant::now();
    drop((left, right));
    for name in ["left/scanner", "right/scanner"] {
        bench.await_device(name, "unplugged");
    }
    let noticed = begun.elapsed();
    assert!(noticed < Duration::from_secs(2), "{noticed:?}");
    let used = ticks(&agent);
    let begun = Instant::now();
    until("three seconds without scanners", || (begun.elapsed() > Duration::from_secs(3)).then_some(()));
    let used = ticks(&agent) - used;
    assert!(used <= 3, "{used} ticks of 10 ms in three seconds are more than one per cent");

    // Other terminals may have come and gone meanwhile, so the numbers are taken until they are swapped.
    let (mut left, mut right) = until("swapped numbers", || {
        let right = plug_in("right");
        let left = plug_in("left");
        ((number("left"), number("right")) != before).then_some((left, right))
    });
    let begun = Instant::now();
    for name in ["left/scanner", "right/scanner"] {
        bench.await_device(name, "working");
    }
    let resumed = begun.elapsed();
    assert!(resumed < Duration::from_secs(3), "{resumed:?}");
    assert_eq!(
        (bench.scan(&mut right, MUG), bench.scan(&mut left, MUG), bench.scan(&mut right, MUG)),
        (1, 1, 1)
    );
    let events = bench.export();
    let at = |place: &str| events.iter().filter(|event| event["to"] == place).count();
    assert_eq!((at("A-01"), at("B-07")), (2, 3), "{events:?}");
    eprintln!("noticed after {noticed:?}, {used} ticks in 3 s, resumed after {resumed:?}");
    assert_eq!(terminate(&mut agent).code(), Some(0));
}

#[test]
fn the_table_shows_what_is_configured_and_what_came() {
    let bench = Bench::new("table");
    let stopped: serde_json::Value =
        serde_json::from_slice(&bench.output(&["devices", "--json"]).stdout).unwrap();
    let row = |table: &serde_json::Value, name: &str| {
        let rows = table.as_array().unwrap();
        rows.iter().find(|row| row["configured"] == name).unwrap().clone()
    };
    assert_eq!(row(&stopped, "bench-1/scanner")["device"], serde_json::Value::Null);
    let mut scanner = bench.scanner();
    let mut agent = bench.start();
    bench.await_device("bench-1/scanner", "working");
    bench.scan(&mut scanner, "SW:WF:RECEIVE");
    let text = bench.output(&["devices", "--json"]).stdout;
    let table: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let found = row(&table, "bench-1/scanner");
    assert_eq!((&found["state"], &found["last_bytes"]), (&"working".into(), &"SW:WF:RECEIVE\\r".into()));
    assert!(found["device"].as_str().unwrap().starts_with("/dev/pts/"), "{found}");
    let scale = row(&table, "bench-1/scale");
    assert_eq!(scale["state"], "unplugged");
    assert!(scale["diagnosis"]["hint"].as_str().unwrap().contains("plug it in"), "{scale}");
    let text = String::from_utf8(bench.output(&["devices"]).stdout).unwrap();
    assert!(text.contains("bench-1/scanner, line: working\n    last bytes: SW:WF:RECEIVE\\r\n"), "{text}");
    // Learning needs the port for itself.
    let refused = bench.output(&["devices", "--learn", "bench-1"]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && text.contains("systemctl stop stockwire-agent"), "{text}");
    assert_eq!(terminate(&mut agent).code(), Some(0));
}

#[test]
fn a_number_as_port_is_warned_about() {
    let bench =
        bench_with("number", "[[station]]\nname = \"bench-1\"\n[station.scanner]\nport = \"/dev/ttyUSB7\"\n");
    let output = bench.output(&["check-config"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("warning: bench-1/scanner: /dev/ttyUSB7 may be another device after the next start"),
        "{text}"
    );
    // The doctor says it too, and a configuration with faults keeps nobody from looking at the ports.
    let text = String::from_utf8(bench.output(&["doctor"]).stdout).unwrap();
    assert!(text.contains("look ports         bench-1/scanner: /dev/ttyUSB7"), "{text}");
    fs::write(bench.path("config.toml"), "[agent]\n").unwrap();
    let output = bench.output(&["devices", "--json"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && text.contains("agent.id is missing"), "{text}");
    serde_json::from_slice::<Vec<serde_json::Value>>(&output.stdout).unwrap();
}

#[test]
fn a_known_label_gives_the_configuration() {
    let bench = Bench::new("learn");
    let mut scanner = bench.scanner();
    let mut learn = bench
        .command(&["devices", "--learn", "bench-1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asked = String::new();
    BufReader::new(learn.stderr.take().unwrap()).read_line(&mut asked).unwrap();
    assert!(asked.contains("(01)09506000134352"), "{asked}");
    let label = String::from_utf8(LABEL.to_vec()).unwrap().replace('\x1d', "~");
    let mut last = Instant::now();
    // Slowly, as the command asks.
    until("learned", || {
        if last.elapsed() > Duration::from_millis(700) {
            scanner.send(format!("\x02]d2{label}\x03").as_bytes());
            last = Instant::now();
        }
        learn.try_wait().unwrap()
    });
    let mut lines = String::new();
    learn.stdout.take().unwrap().read_to_string(&mut lines).unwrap();
    for line in
        ["protocol = \"line\"", "prefix = \"\\u0002\"", "suffix = \"\\u0003\"", "gs_substitute = \"~\""]
    {
        assert!(lines.lines().any(|found| found == line), "{line} in {lines}");
    }
    // Pasted over what stood there, it is a configuration, and scans with it are understood.
    let config = fs::read_to_string(bench.path("config.toml")).unwrap();
    let keys: Vec<&str> = lines.lines().filter(|line| !line.starts_with(['#', 'd'])).collect();
    let port = keys.iter().find(|line| line.starts_with("port = ")).unwrap();
    let config = config.replacen(port, &keys.join("\n"), 1);
    fs::write(bench.path("config.toml"), config).unwrap();
    let mut agent = bench.start();
    bench.await_device("bench-1/scanner", "working");
    scanner.send(b"\x02]C0SW:WF:RECEIVE\x03");
    assert_eq!(scanner.await_bytes(2), [7, 7]);
    assert_eq!(terminate(&mut agent).code(), Some(0));
    let missing = bench.output(&["devices", "--learn", "bench-9"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("there are bench-1"));
}
