//! Every row of the scanner table against a conversation written down in `transcripts/scanner/NAME.txt`: whole, split at
//! every byte, byte by byte, merged, after noise. If a transcript fails, change the code, not the transcript.
//!
//! ```text
//! # a comment
//! == what happens here | suffix = "\n", bounce_ms = 0      a fresh decoder; the keys are those of the configuration
//! get ]E0123\r            what the scanner sends, control characters escaped
//! hex 04 D0 00 00 FF 2C   the same in hexadecimal
//! keys 30d 30u            the same as key events
//! at 250                  from here on the time is 250 ms, and everything due until then has happened
//! signal good             the station's answer
//! send 07                 what the decoder wants written to the scanner by now
//! read ]E0123             the next read, control characters escaped
//! fault Damaged           or why it is none
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says by panicking what went wrong")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use stockwire_agent::config::Config;
use stockwire_agent::feedback::Signal;
use stockwire_agent::scanner::keyboard::KeyEvent;
use stockwire_agent::scanner::{Feedback, SCANNERS, ScannerDecoder, ScannerOptions, ScannerProtocol};

#[derive(Clone, Debug)]
enum Step {
    Get(Vec<u8>),
    At(Duration),
    Signal(Signal),
}

#[derive(Default)]
struct Scene {
    title: String,
    options: ScannerOptions,
    steps: Vec<Step>,
    /// As `read` and `fault` lines.
    reads: Vec<String>,
    /// Each write.
    sends: Vec<String>,
}

#[test]
fn transcripts_hold_however_the_bytes_come() {
    for row in SCANNERS {
        for scene in scenes(*row) {
            let what = |how: &str| format!("{}: {}, {how}", row.name(), scene.title);
            let check = |how: &str, steps: &[Step]| {
                let (reads, sends) = play(*row, &scene.options, steps);
                assert_eq!((&reads, &sends), (&scene.reads, &scene.sends), "{}", what(how));
            };
            check("as it stands", &scene.steps);
            // Answers that come before their question answer nothing, so here only what is read counts.
            let (reads, _) = play(*row, &scene.options, &merged(&scene.steps));
            assert_eq!(reads, scene.reads, "{}", what("merged"));
            for (at, step) in scene.steps.iter().enumerate() {
                let Step::Get(bytes) = step else { continue };
                for cut in 1..bytes.len() {
                    let halves = [&bytes[..cut], &bytes[cut..]].map(|half| Step::Get(half.to_vec()));
                    let mut steps = scene.steps.clone();
                    steps.splice(at..=at, halves);
                    check(&format!("step {at} split at {cut}"), &steps);
                }
            }
            let single = scene.steps.iter().flat_map(|step| match step {
                Step::Get(bytes) => bytes.iter().map(|byte| Step::Get(vec![*byte])).collect(),
                other => vec![other.clone()],
            });
            check("byte by byte", &single.collect::<Vec<_>>());
        }
    }
}

/// Noise may cost the read that it runs into, and never one after that.
#[test]
fn noise_before_the_first_read_costs_that_read_at_most() {
    let mut random = Random(7);
    for row in SCANNERS {
        for scene in scenes(*row).iter().filter(|scene| scene.reads.len() > 1) {
            for length in 1..40 {
                let mut bytes = random.bytes(length);
                if row.name() == "keyboard" {
                    // Whole events: the kernel gives no halves. Not the modifiers, which noise would hold down.
                    bytes = bytes
                        .iter()
                        .flat_map(|byte| KeyEvent { code: 59 + u16::from(byte % 10), value: 1 }.to_bytes())
                        .collect();
                }
                let steps = [&[Step::Get(bytes)], &scene.steps[..]].concat();
                let (reads, _) = play(*row, &scene.options, &steps);
                let rest = &scene.reads[1..];
                assert!(reads.ends_with(rest), "{}: {}, {length} bytes: {reads:#?}", row.name(), scene.title);
            }
        }
    }
}

/// Every signal is another sequence of bytes on every row that has commands of its own.
#[test]
fn each_row_with_commands_tells_all_signals_apart() {
    let mut rows = 0;
    for row in SCANNERS.iter().filter(|row| row.feedbacks().contains(&Feedback::Scanner)) {
        rows += 1;
        let mut told: Vec<Vec<Vec<u8>>> = Vec::new();
        for signal in SIGNALS {
            let mut decoder =
                row.decoder(&ScannerOptions { feedback: Feedback::Scanner, ..Default::default() });
            let mut now = Duration::ZERO;
            let mut settle = |decoder: &mut dyn ScannerDecoder| {
                let mut sent = Vec::new();
                while let Some(due) =
                    decoder.poll_timeout().filter(|due| *due < now + Duration::from_secs(60))
                {
                    now = now.max(due);
                    decoder.handle_timeout(now);
                    sent.extend(std::iter::from_fn(|| decoder.poll_transmit()));
                }
                sent.extend(std::iter::from_fn(|| decoder.poll_transmit()));
                sent
            };
            settle(decoder.as_mut());
            assert!(decoder.handle_signal(Duration::from_secs(100), signal));
            let sent = settle(decoder.as_mut());
            assert!(
                !sent.is_empty() && !told.contains(&sent),
                "{}: {signal:?} is told as another",
                row.name()
            );
            told.push(sent);
        }
    }
    assert_eq!(rows, 3);
}

const SIGNALS: [Signal; 6] =
    [Signal::Good, Signal::Heard, Signal::Unknown, Signal::Refused, Signal::Repeated, Signal::NotStored];

/// What comes out, reads and writes each in their order.
fn play(row: &dyn ScannerProtocol, options: &ScannerOptions, steps: &[Step]) -> (Vec<String>, Vec<String>) {
    let mut decoder = row.decoder(options);
    let (mut now, mut reads, mut sends) = (Duration::ZERO, Vec::new(), Vec::new());
    for step in steps.iter().chain([&Step::At(Duration::from_secs(60))]) {
        match step {
            Step::Get(bytes) => decoder.handle_bytes(now, bytes),
            Step::Signal(signal) => {
                decoder.handle_signal(now, *signal);
            }
            // As the loop around it does: each time-out when it is due. The end is for what is left over, no more.
            Step::At(until) if *until < Duration::from_secs(60) => {
                while let Some(due) = decoder.poll_timeout().filter(|due| due <= until) {
                    now = now.max(due);
                    decoder.handle_timeout(now);
                    drain(decoder.as_mut(), &mut reads, &mut sends);
                }
                now = *until;
            }
            Step::At(end) => {
                drain(decoder.as_mut(), &mut reads, &mut sends);
                decoder.handle_timeout(*end);
                while decoder.poll_transmit().is_some() {}
            }
        }
        drain(decoder.as_mut(), &mut reads, &mut sends);
    }
    (reads, sends)
}

fn drain(decoder: &mut dyn ScannerDecoder, reads: &mut Vec<String>, sends: &mut Vec<String>) {
    reads.extend(std::iter::from_fn(|| decoder.poll_read()).map(|read| match read {
        Ok(read) => format!("read {}", read.escape_ascii()),
        Err(fault) => format!("fault {fault:?}"),
    }));
    sends.extend(
        std::iter::from_fn(|| decoder.poll_transmit())
            .map(|bytes| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ")),
    );
}

/// What comes at one time in one piece.
fn merged(steps: &[Step]) -> Vec<Step> {
    let mut merged: Vec<Step> = Vec::new();
    for step in steps {
        match (merged.last_mut(), step) {
            (Some(Step::Get(bytes)), Step::Get(more)) => bytes.extend(more),
            _ => merged.push(step.clone()),
        }
    }
    merged
}

fn scenes(row: &dyn ScannerProtocol) -> Vec<Scene> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/transcripts/scanner/{}.txt", row.name()));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut scenes: Vec<Scene> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "==" {
            let (title, keys) = rest.split_once(" | ").unwrap_or((rest, ""));
            scenes.push(Scene { title: title.into(), options: options(row, keys), ..Scene::default() });
            continue;
        }
        if word.is_empty() || word == "#" {
            continue;
        }
        let scene = scenes.last_mut().expect("a scene begins with ==");
        match word {
            "get" => scene.steps.push(Step::Get(unescape(rest))),
            "hex" => {
                let bytes = rest.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap());
                scene.steps.push(Step::Get(bytes.collect()));
            }
            "keys" => scene.steps.push(Step::Get(rest.split(' ').flat_map(key).collect())),
            "at" => scene.steps.push(Step::At(Duration::from_millis(rest.parse().unwrap()))),
            "signal" => {
                let signal = SIGNALS.into_iter().find(|signal| signal.as_str() == rest);
                scene.steps.push(Step::Signal(signal.expect(rest)));
            }
            "send" => scene.sends.push(rest.into()),
            "read" | "fault" => scene.reads.push(line.into()),
            other => panic!("{}:{}: {other} is no step", path.display(), at + 1),
        }
    }
    assert!(!scenes.is_empty(), "{} holds no scene", path.display());
    scenes
}

/// The options that the configuration gives for these keys.
fn options(row: &dyn ScannerProtocol, keys: &str) -> ScannerOptions {
    let lines = keys.replace(", ", "\n");
    let text = format!(
        "[agent]\nid = \"box-1\"\nsite = \"HAM\"\n[broker]\nhost = \"localhost\"\n[[station]]\nname = \"one\"\n\
         [station.scanner]\nport = \"/dev/x\"\nprotocol = \"{}\"\n{lines}\n",
        row.name()
    );
    let mut config = Config::parse(&text).unwrap_or_else(|faults| panic!("{keys}: {faults}"));
    config.stations.remove(0).scanners.remove(0).options
}

fn key(text: &str) -> [u8; KeyEvent::BYTES] {
    let (code, how) = text.split_at(text.len() - 1);
    let value = ["u", "d", "r"].iter().position(|known| *known == how).expect(text);
    KeyEvent { code: code.parse().expect(text), value: value as u8 }.to_bytes()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, left) = match (first, tail) {
            (b'\\', [b'r', left @ ..]) => (b'\r', left),
            (b'\\', [b'n', left @ ..]) => (b'\n', left),
            (b'\\', [b't', left @ ..]) => (b'\t', left),
            (b'\\', [b'x', high, low, left @ ..]) => {
                let digits = [*high, *low];
                (u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap(), left)
            }
            (byte, left) => (*byte, left),
        };
        bytes.push(byte);
        rest = left;
    }
    bytes
}

struct Random(u64);

impl Random {
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }
}
