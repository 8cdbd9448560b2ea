//! The planner against scales that are nothing but a line setting, a question and an answer.

use super::*;

/// A scale at the end of a line: what it answers to what, and what it sends by itself.
struct Bench {
    line: LineSettings,
    answer: fn(&[u8]) -> Option<&'static [u8]>,
    stream: &'static [u8],
}

/// Plays the port; gives the outcome, what was sent, and how long the waits were in all.
fn play(bench: &Bench) -> (Outcome, Vec<Vec<u8>>, Duration) {
    let mut probe = Probe::new();
    let mut line = None;
    let (mut sent, mut waited) = (Vec::new(), Duration::ZERO);
    let (mut trials, mut answer) = (0, Vec::new());
    while let Some(step) = probe.poll_step() {
        match step {
            Step::Set(set) => {
                trials += 1;
                line = Some(set);
            }
            Step::Write(bytes) => {
                // An empty command is nothing to these.
                if line == Some(bench.line) && bytes != END {
                    answer.extend((bench.answer)(&bytes).unwrap_or_default());
                }
                sent.push(bytes);
            }
            Step::Listen(wait) => {
                waited += wait;
                let mut came = std::mem::take(&mut answer);
                if !bench.stream.is_empty() {
                    came = read(bench.stream, bench.line, line.unwrap());
                }
                probe.handle_bytes(&came);
                while let Some(bytes) = probe.poll_transmit() {
                    let more = (bench.answer)(&bytes).unwrap_or_default();
                    probe.handle_bytes(more);
                    sent.push(bytes);
                }
            }
        }
    }
    let (at, total) = probe.progress();
    assert!(trials <= total && at <= total, "{trials} trials, {at} of {total}");
    (probe.outcome(), sent, waited)
}

/// What is read of a stream with other settings than it is sent with.
fn read(stream: &[u8], sent: LineSettings, line: LineSettings) -> Vec<u8> {
    let odd = |byte: &u8| byte.count_ones() % 2 == 1;
    let bytes = stream.repeat(4);
    match (sent.data_bits, line.data_bits) {
        _ if sent.baud != line.baud => [0x00, 0xf8, 0x80, 0x78].repeat(9),
        (8, 8) => bytes,
        (7, 7) if sent.parity == line.parity => bytes,
        (7, 7) => vec![0; bytes.len()],
        (7, _) => {
            let even = sent.parity == Parity::Even;
            bytes.iter().map(|byte| byte | u8::from(odd(byte) == even) << 7).collect()
        }
        _ => {
            let even = line.parity == Parity::Even;
            bytes.iter().map(|byte| if odd(byte) == even { 0 } else { *byte }).collect()
        }
    }
}

const EIGHT: LineSettings = LineSettings::DEFAULT;

fn check(line: &str, answer: fn(&[u8]) -> Option<&'static [u8]>, stream: &'static [u8], expected: &str) {
    let line: LineSettings = line.parse().unwrap();
    let (outcome, sent, _) = play(&Bench { line, answer, stream });
    let found: Vec<String> =
        outcome.found.iter().map(|found| format!("{} {}", found.protocol, found.line)).collect();
    assert_eq!(found.join(", "), expected);
    for question in &sent {
        assert!(!question.iter().any(|byte| HARMFUL.contains(byte)), "{}", question.escape_ascii());
    }
}

fn nothing(_: &[u8]) -> Option<&'static [u8]> {
    None
}

#[test]
fn scales_that_are_asked() {
    let sics = |question: &[u8]| match question {
        b"SI\r\n" => Some(&b"S S     12.345 kg\r\n"[..]),
        _ => Some(&b"ES\r\n"[..]),
    };
    check("9600 8N1", sics, b"", "mt-sics 9600 8N1");
    check("19200 7O1", sics, b"", "mt-sics 19200 7O1");
    let toledo = |question: &[u8]| (question == b"W").then_some(&b"\x0212.345\r"[..]);
    check("9600 7E1", toledo, b"", "toledo-8217 9600 7E1");
    let nci = |question: &[u8]| match question {
        b"W\r" => Some(&b"\n 12.345kg\r\n00\r\x03"[..]),
        _ => Some(&b"\n?\r\x03"[..]),
    };
    check("9600 7E1", nci, b"", "nci 9600 7E1");
    let pd2 = |bytes: &[u8]| match bytes {
        [0x05] => Some(&b"\x06"[..]),
        [0x11] => Some(&b"\x01\x02S 12.345kg\x60\x03\x04"[..]),
        _ => None,
    };
    check("9600 8N1", pd2, b"", "cas-pd2 9600 8N1");
}

#[test]
fn scales_that_send_by_themselves() {
    check("4800 7E2", nothing, b"$+0012.345 +0000.000 kg 0201\r\n", "bilanciai-d70 4800 7E2");
    check("2400 7E1", nothing, b"ST,+0012.345 kg\r\n", "and 2400 7E1");
    // Its checksum is worth more than any grammar.
    let (outcome, _, _) = play(&Bench {
        line: "9600 7E1".parse().unwrap(),
        answer: nothing,
        stream: b"\x02-0  12345     0\r\x05",
    });
    assert!(outcome.found[0].score.checked, "{:?}", outcome.found);
    assert_eq!(outcome.found[0].protocol, "toledo-continuous");
}

#[test]
fn what_cannot_be_told_apart_is_listed_with_the_surest_first() {
    let (outcome, _, _) = play(&Bench { line: EIGHT, answer: nothing, stream: b"  12.345\r\n" });
    assert_eq!(outcome.found[0].protocol, "cas-10");
    assert!(outcome.found[0].needs_unit);
    let text = outcome.to_text("/dev/x");
    assert!(text.contains("protocol = \"cas-10\"\nline = \"9600 8N1\"\nunit = "), "{text}");
}

#[test]
fn a_print_key_is_never_pressed_and_its_scale_is_known_by_its_complaints() {
    let cbd = |question: &[u8]| (question != b"P\r\n").then_some(&b"ER XX\r\n"[..]);
    check("4800 8N1", cbd, b"", "adam-cbd 4800 8N1");
}

#[test]
fn silence_and_babble_end_with_advice() {
    let (outcome, sent, waited) = play(&Bench { line: EIGHT, answer: nothing, stream: b"" });
    assert!(outcome.found.is_empty() && outcome.heard.is_none());
    assert!(outcome.to_text("/dev/x").contains("nothing came at any speed"));
    assert!(sent.len() > 100, "{} questions", sent.len());
    assert!(waited < Duration::from_secs(180), "{waited:?}");
    let (outcome, sent, _) = play(&Bench { line: EIGHT, answer: nothing, stream: b"HELLO WORLD\r\n" });
    assert!(outcome.found.is_empty() && sent.iter().all(|bytes| bytes == END));
    assert!(outcome.to_text("/dev/x").contains("no known protocol"), "{}", outcome.to_text("/dev/x"));
}
