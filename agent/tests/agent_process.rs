//! The agent as it is shipped: a process with a scanner and a scale, and nobody to send to.

// Helpers of tests: a failing unwrap is a failing test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::time::{Duration, Instant};

use stockwire_agent::io::sqlite_journal::JournalReader;

mod bench;

use bench::{Bench, MUG, NUTS, terminate, until};

const GOOD: usize = 1;

#[test]
fn scans_are_recorded_and_beeped_without_a_broker() {
    let bench = Bench::new("process");
    let mut scanner = bench.scanner();
    let _scale = bench.scale(b"S S     12.500 kg\r\n");
    let mut agent = bench.start();
    bench.await_device("bench-1/scanner", "working");
    bench.await_device("bench-1/scale", "working");

    assert_eq!(bench.scan(&mut scanner, "SW:WF:RECEIVE"), 2);
    assert_eq!(bench.scan(&mut scanner, "SW:LOC:A-01"), 2);
    assert_eq!(bench.scan(&mut scanner, MUG), GOOD);
    // Understood, and nothing recorded before it is weighed: two. What lies on the scale may be in the books: three. The
    // operator says that it is not: two. Then the scale's weight is recorded: one.
    scanner.send(format!("{NUTS}\r").as_bytes());
    assert_eq!(scanner.await_bytes(5), [7; 5]);
    scanner.send(b"SW:CMD:WEIGH\r");
    assert_eq!(scanner.await_bytes(3), [7; 3]);
    assert_eq!(bench.scan(&mut scanner, "]E04006381333932"), 3, "a wrong check digit");

    // Read through the running agent, which has the file to itself.
    let events = bench.export();
    let seen: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event["sequence"].as_u64().unwrap(),
                event["item"].as_str().unwrap(),
                event["quantity"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(seen, [(1, "MUG", "1 H87"), (2, "NUTS", "12.5 KGM")]);

    let status = bench.status();
    assert_eq!((&status["journal"]["head"], &status["journal"]["watermark"]), (&2.into(), &0.into()));
    assert_eq!(status["link"]["connected"], false);
    assert_eq!(status["stations"][0]["screen"]["workflow"], "RECEIVE");
    let doctor = bench.output(&["doctor"]);
    let text = String::from_utf8(doctor.stdout).unwrap();
    assert_eq!(doctor.status.code(), Some(1), "{text}");
    assert!(text.contains("ok   devices") && text.contains("FAIL broker"), "{text}");

    assert_eq!(terminate(&mut agent).code(), Some(0), "{}", bench.log());
    assert!(!bench.path("agent.sock").exists());
    // Read from the file, which nobody has now.
    assert_eq!(bench.export(), events);
    assert!(bench.output(&["journal", "verify"]).status.success());
    let doctor = bench.output(&["doctor", "--json"]);
    let checks: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert!(
        checks
            .as_array()
            .unwrap()
            .iter()
            .any(|check| check["name"] == "agent" && check["verdict"] == "failed")
    );
}

#[test]
fn what_was_beeped_survives_a_kill() {
    let bench = Bench::new("kill");
    let mut scanner = bench.scanner();
    for round in 1..=5u64 {
        let mut agent = bench.start();
        bench.await_device("bench-1/scanner", "working");
        bench.scan(&mut scanner, "SW:WF:RECEIVE");
        bench.scan(&mut scanner, "SW:LOC:A-01");
        scanner.send(format!("{MUG}\r").as_bytes());
        assert_eq!(scanner.await_bytes(1)[0], 7);
        agent.0.kill().unwrap();
        agent.0.wait().unwrap();
        let reader = JournalReader::open(&bench.path("journal.db")).unwrap();
        assert_eq!(reader.head().get(), round, "the beep came, and the row is there");
    }
}

#[test]
fn a_replugged_scanner_works_again_and_an_unplugged_one_costs_nothing() {
    let bench = Bench::new("replug");
    let mut agent = bench.start();
    bench.await_device("bench-1/scanner", "unplugged");
    let mut scanner = bench.scanner();
    bench.await_device("bench-1/scanner", "working");
    bench.scan(&mut scanner, "SW:WF:RECEIVE");
    // Half a read, and the plug is pulled: it must not become the beginning of the next.
    scanner.send(b"SW:LOC:A");
    drop(scanner);
    let begun = Instant::now();
    bench.await_device("bench-1/scanner", "unplugged");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let before = processor_time(agent.0.id());
    let begun = Instant::now();
    until("two seconds without a scanner", || (begun.elapsed() > Duration::from_secs(2)).then_some(()));
    let used = processor_time(agent.0.id()) - before;
    // Ticks are 10 ms; two seconds at one per cent are two of them.
    assert!(used <= 2, "{used} ticks in two seconds");
    let begun = Instant::now();
    let mut scanner = bench.scanner();
    bench.await_device("bench-1/scanner", "working");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    bench.scan(&mut scanner, "SW:LOC:A-01");
    assert_eq!(bench.scan(&mut scanner, MUG), GOOD);
    assert_eq!(terminate(&mut agent).code(), Some(0));
}

/// User and system time of a process, in ticks.
fn processor_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn noise_on_the_line_neither_fills_the_log_nor_hides_the_next_scan() {
    let bench = Bench::new("noise");
    let mut scanner = bench.scanner();
    let mut agent = bench.start();
    bench.await_device("bench-1/scanner", "working");
    let mut noise = 0x2545_f491u32;
    for _ in 0..1_000 {
        let block: Vec<u8> = (0..256)
            .map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 17;
                noise ^= noise << 5;
                // Bytes of a line at the wrong speed: anything, without an end.
                (noise >> 24) as u8 | 0x80
            })
            .collect();
        scanner.send(&block);
    }
    scanner.send(b"\r");
    // Whatever the noise gave, it ends with a bad signal.
    until("a signal", || (!scanner.receive(Duration::from_millis(20)).is_empty()).then_some(()));
    until("silence", || scanner.receive(Duration::from_millis(300)).is_empty().then_some(()));
    bench.scan(&mut scanner, "SW:WF:RECEIVE");
    bench.scan(&mut scanner, "SW:LOC:A-01");
    assert_eq!(bench.scan(&mut scanner, MUG), GOOD);
    assert!(bench.log().len() < 64 * 1024, "{} bytes of log for 256 KiB of noise", bench.log().len());
    assert!(!bench.log().contains('\u{1b}') && !bench.log().contains('\r'), "control characters in the log");
    assert_eq!(terminate(&mut agent).code(), Some(0));
}

#[test]
fn a_second_agent_on_the_same_journal_ends_and_says_why() {
    let bench = Bench::new("second");
    let mut agent = bench.start();
    bench.status();
    let second = bench.output(&["run"]);
    let text = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&format!("in use by process {}", agent.0.id())) && text.contains("hint: stop"),
        "{text}"
    );
    assert!(bench.path("agent.sock").exists(), "the first one's socket is left alone");
    bench.status();
    assert_eq!(terminate(&mut agent).code(), Some(0));
}

#[test]
fn a_wrong_configuration_is_told_whole_and_ends_with_2() {
    let bench = Bench::new("config");
    fs::write(bench.path("config.toml"), "[agent]\nid = \"X\"\n[broker]\nport = 0\n").unwrap();
    for command in ["run", "check-config", "status"] {
        let output = bench.output(&[command]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        for fault in ["line 1: agent.site is missing", "line 2: agent.id", "line 4: broker.port"] {
            assert!(text.contains(fault), "{command}: {text}");
        }
    }
    assert_eq!(bench.output(&["no-such-command"]).status.code(), Some(2));
    let manual = bench.output(&["print-config"]).stdout;
    fs::write(bench.path("config.toml"), &manual).unwrap();
    assert!(bench.output(&["check-config"]).status.success());
}

#[test]
fn bytes_are_decoded_as_the_agent_would() {
    let bench = Bench::new("decode");
    let pipe = |arguments: &[&str], input: &[u8]| {
        use std::io::Write;
        use std::process::Stdio;
        let mut child = bench
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A refused command does not read its input.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    };
    let output = pipe(&["decode", "scale", "--protocol", "mt-sics"], b"S S     12.500 kg\r\nES\r\n");
    let lines: Vec<serde_json::Value> = output
        .stdout
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!((lines.len(), &lines[0]["value"]), (2, &"12.500".into()), "{lines:?}");
    let output = pipe(&["decode", "scan"], format!("{MUG}\n").as_bytes());
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["gtin"], "04006381333931");
    let output = pipe(&["decode", "scale", "--protocol", "telex"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("mt-sics"));
}
