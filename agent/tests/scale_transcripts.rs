//! Every row of the scale table against a conversation written down in `transcripts/scale/NAME.txt`: whole, split at
//! every byte, byte by byte, merged, after half a frame, after noise. If a transcript fails, change the code, not the
//! transcript.
//!
//! ```text
//! # a comment
//! == what this scale is like | unit = kg, status_bits = 8217, checksum = false      a fresh decoder, its options
//! ask 57                  asked for a weight, the decoder sends this (hexadecimal); "ask nothing" when it streams
//! get 02 30 30 0D         bytes that the scale sends
//! send 11                 what the decoder wants to send back now
//! at 250                  from here on the time is 250 ms
//! {"value":"1.0", ...}    the next reply, as `decode scale` prints it
//! ```

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use stockwire_agent::decode;
use stockwire_agent::scale::{
    BUFFERED_MAX, SCALES, ScaleDecoder, ScaleOptions, ScaleProtocol, StatusBits, Unit,
};

#[test]
fn transcripts_hold_however_the_bytes_come() {
    for row in SCALES {
        for scene in scenes(*row) {
            let expected = &scene.replies;
            let check = |how: &str, steps: &[Step]| {
                assert_eq!(
                    &play(*row, &scene.options, steps),
                    expected,
                    "{}: {}, {how}",
                    row.name(),
                    scene.title
                );
            };
            check("as it stands", &scene.steps);
            check("merged", &merged(&scene.steps));
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

#[test]
fn a_port_opened_in_the_middle_of_a_frame_gives_no_weight_of_its_own() {
    for row in SCALES {
        for scene in scenes(*row) {
            let first = frames(&scene.steps).next().unwrap();
            for from in 1..first.len() {
                let before = Step::Get(first[from..].to_vec());
                let steps = [std::slice::from_ref(&before), &scene.steps].concat();
                let replies = play(*row, &scene.options, &steps);
                let extra = replies.len().checked_sub(scene.replies.len());
                let (extra, rest) = replies.split_at(extra.unwrap());
                assert_eq!(rest, scene.replies, "{}: {}, from byte {from}", row.name(), scene.title);
                assert!(extra.iter().all(|reply| !has_weight(reply)), "{}: {extra:?}", row.name());
            }
        }
    }
}

#[test]
fn noise_before_the_first_frame_costs_that_frame_at_most() {
    let mut random = 7u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    };
    for row in SCALES {
        for scene in scenes(*row) {
            for length in 1..64 {
                let before = Step::Get(noise(length));
                let steps = [std::slice::from_ref(&before), &scene.steps].concat();
                let replies = play(*row, &scene.options, &steps);
                let (first, rest) = scene.replies.split_first().unwrap();
                assert!(replies.ends_with(rest), "{}: {}, {before:?}: {replies:#?}", row.name(), scene.title);
                let extra = &replies[..replies.len() - rest.len()];
                assert!(
                    extra.iter().all(|reply| !has_weight(reply) || reply == first),
                    "{}: {extra:?}",
                    row.name()
                );
            }
        }
    }
}

/// Protocols whose frames prove themselves: no single wrong bit may change a weight.
const CHECKED: &[&str] = &["toledo-continuous", "cas-pd2", "dibal", "link"];

#[test]
fn no_single_wrong_bit_changes_a_weight_that_has_a_checksum() {
    for name in CHECKED {
        let row = stockwire_agent::scale::find(name).unwrap();
        for scene in scenes(row).iter().filter(|scene| scene.options.checksum) {
            for frame in frames(&scene.steps) {
                let alone = |bytes: Vec<u8>| play(row, &scene.options, &[Step::Get(bytes)]);
                let right = alone(frame.to_vec());
                if !right.iter().any(has_weight) {
                    continue;
                }
                for bit in 0..frame.len() * 8 {
                    let mut wrong = frame.to_vec();
                    wrong[bit / 8] ^= 1 << (bit % 8);
                    let mut weights = alone(wrong).into_iter().filter(has_weight);
                    assert!(
                        weights.all(|reply| right.contains(&reply)),
                        "{name}: {}, bit {bit}",
                        scene.title
                    );
                }
            }
        }
    }
}

#[test]
fn every_transcript_says_what_matters() {
    for row in SCALES {
        let scenes = scenes(*row);
        let replies = || scenes.iter().flat_map(|scene| &scene.replies);
        let none = |what: &str| format!("{}: its transcript has no {what}", row.name());
        assert!(
            replies().any(|reply| reply["stability"] == "stable" && has_weight(reply)),
            "{}",
            none("stable weight")
        );
        assert!(replies().any(|reply| reply["stability"] == "moving"), "{}", none("load that moves"));
        assert!(replies().any(|reply| reply["error"].is_string()), "{}", none("frame that is refused"));
    }
    // And none is left over from a row that is gone.
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(stockwire_agent::scale::find(&name).is_some(), "{name}: there is no such row");
    }
}

proptest! {
    /// Anything may come over a line, also what was nearly a frame. Nothing panics, and memory stays bounded.
    #[test]
    fn anything_may_come(pieces in vec(piece(), 0..40)) {
        for (row, frames) in SCALES.iter().zip(FRAMES.iter()) {
            for options in [ScaleOptions::default(), ScaleOptions { unit: Some(Unit::Kilogram), checksum: false, ..ScaleOptions::default() }] {
                let mut decoder = row.decoder(&options);
                let mut now = Duration::ZERO;
                for piece in &pieces {
                    now += piece.after;
                    let bytes = piece.bytes(frames);
                    let mut faults = 0;
                    match piece.event {
                        Event::Ask => drop(decoder.request()),
                        Event::Timeout => decoder.handle_timeout(now),
                        Event::End => decoder.handle_end(),
                        Event::Bytes => decoder.handle_bytes(now, &bytes),
                    }
                    while let Some(reply) = decoder.poll_reply() {
                        faults += 1;
                        let raw = reply.map_or_else(|fault| fault.raw, |reading| reading.raw);
                        prop_assert!(raw.len() <= BUFFERED_MAX, "{}: {} raw bytes", row.name(), raw.len());
                    }
                    while decoder.poll_transmit().is_some() {}
                    prop_assert!(decoder.buffered() <= BUFFERED_MAX, "{}: {}", row.name(), decoder.buffered());
                    // What was held back may be told in several faults, each of a byte at least.
                    prop_assert!(faults <= bytes.len() + BUFFERED_MAX, "{}: {faults} replies", row.name());
                    prop_assert!(decoder.poll_timeout().is_none_or(|due| due <= now + Duration::from_secs(60)));
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Piece {
    event: Event,
    after: Duration,
    random: Vec<u8>,
    /// Which frame of the row's transcript, and the bytes of it that are flipped or left out.
    frame: usize,
    flips: Vec<(usize, u8)>,
    keep: usize,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Bytes,
    Ask,
    Timeout,
    End,
}

fn piece() -> impl Strategy<Value = Piece> {
    let event = prop_oneof![
        8 => Just(Event::Bytes),
        1 => Just(Event::Ask),
        1 => Just(Event::Timeout),
        1 => Just(Event::End),
    ];
    let random = prop_oneof![2 => Just(Vec::new()), 1 => vec(any::<u8>(), 0..300)];
    let flips = prop_oneof![2 => Just(Vec::new()), 1 => vec((any::<usize>(), any::<u8>()), 1..3)];
    (event, 0..3_000u64, random, any::<usize>(), flips, 0..60usize).prop_map(
        |(event, after, random, frame, flips, keep)| Piece {
            event,
            after: Duration::from_millis(after),
            random,
            frame,
            flips,
            keep,
        },
    )
}

impl Piece {
    fn bytes(&self, frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = frames[self.frame % frames.len()].clone();
        for (at, byte) in &self.flips {
            let at = at % bytes.len();
            bytes[at] = *byte;
        }
        bytes.truncate(self.keep);
        [&self.random[..], &bytes[..]].concat()
    }
}

/// One conversation with one scale.
struct Scene {
    title: String,
    options: ScaleOptions,
    steps: Vec<Step>,
    replies: Vec<Value>,
}

#[derive(Clone, Debug)]
enum Step {
    At(Duration),
    /// Asked for a weight, the decoder sends this.
    Ask(Option<Vec<u8>>),
    /// It wants to send this.
    Send(Vec<u8>),
    Get(Vec<u8>),
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/scale")
}

fn scenes(row: &dyn ScaleProtocol) -> Vec<Scene> {
    let path = folder().join(format!("{}.txt", row.name()));
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("every row of SCALES has a transcript; {}: {error}", path.display()));
    let mut scenes: Vec<Scene> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let place = format!("{}:{}", path.display(), at + 1);
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        if word == "==" {
            let (title, options) = rest.split_once('|').unwrap_or((rest, ""));
            let options = read_options(options, &place);
            scenes.push(Scene { title: title.trim().into(), options, steps: vec![], replies: vec![] });
            continue;
        }
        if word.is_empty() || word.starts_with('#') {
            continue;
        }
        let scene = scenes.last_mut().unwrap_or_else(|| panic!("{place}: begin with == and a title"));
        match word {
            "ask" if rest == "nothing" => scene.steps.push(Step::Ask(None)),
            "ask" => scene.steps.push(Step::Ask(Some(hex(rest, &place)))),
            "send" => scene.steps.push(Step::Send(hex(rest, &place))),
            "get" => scene.steps.push(Step::Get(hex(rest, &place))),
            "at" => scene.steps.push(Step::At(Duration::from_millis(rest.parse().unwrap()))),
            _ if word.starts_with('{') => {
                let reply = serde_json::from_str(line).unwrap_or_else(|error| panic!("{place}: {error}"));
                scene.replies.push(reply);
            }
            other => panic!("{place}: what is {other:?}?"),
        }
    }
    assert!(!scenes.is_empty(), "{} is empty", path.display());
    scenes
}

fn read_options(text: &str, place: &str) -> ScaleOptions {
    let mut options = ScaleOptions::default();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        match pair.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some(("unit", unit)) => options.unit = Some(Unit::parse(unit).unwrap()),
            Some(("status_bits", bits)) => options.status_bits = StatusBits::parse(bits).unwrap(),
            Some(("checksum", checksum)) => options.checksum = checksum.parse().unwrap(),
            other => panic!("{place}: what is {other:?}?"),
        }
    }
    options
}

fn hex(text: &str, place: &str) -> Vec<u8> {
    let byte =
        |text| u8::from_str_radix(text, 16).unwrap_or_else(|error| panic!("{place}: {text:?}: {error}"));
    text.split_whitespace().map(byte).collect()
}

/// The replies.
fn play(row: &dyn ScaleProtocol, options: &ScaleOptions, steps: &[Step]) -> Vec<Value> {
    let mut decoder = row.decoder(options);
    let mut replies = Vec::new();
    let mut now = Duration::ZERO;
    for step in steps {
        match step {
            Step::At(then) => {
                now = *then;
                decoder.handle_timeout(now);
            }
            Step::Ask(expected) => assert_eq!(decoder.request(), *expected, "{}: request", row.name()),
            Step::Send(expected) => {
                assert_eq!(decoder.poll_transmit().as_ref(), Some(expected), "{}: what it sends", row.name());
            }
            Step::Get(bytes) => decoder.handle_bytes(now, bytes),
        }
        take(&mut *decoder, &mut replies);
    }
    decoder.handle_end();
    take(&mut *decoder, &mut replies);
    replies
}

fn take(decoder: &mut dyn ScaleDecoder, replies: &mut Vec<Value>) {
    while let Some(reply) = decoder.poll_reply() {
        replies.push(serde_json::from_str(&decode::reply(&reply)).unwrap());
    }
}

/// Bytes that come one after the other come together.
fn merged(steps: &[Step]) -> Vec<Step> {
    let mut merged: Vec<Step> = Vec::new();
    for step in steps {
        match (merged.last_mut(), step) {
            (Some(Step::Get(before)), Step::Get(bytes)) => before.extend(bytes),
            _ => merged.push(step.clone()),
        }
    }
    merged
}

fn frames(steps: &[Step]) -> impl Iterator<Item = &[u8]> {
    steps.iter().filter_map(|step| match step {
        Step::Get(bytes) => Some(&bytes[..]),
        _ => None,
    })
}

/// Of every row, in the order of the table.
static FRAMES: LazyLock<Vec<Vec<Vec<u8>>>> = LazyLock::new(|| {
    let of = |row: &&dyn ScaleProtocol| {
        let steps: Vec<Step> = scenes(*row).into_iter().flat_map(|scene| scene.steps).collect();
        frames(&steps).map(<[u8]>::to_vec).collect()
    };
    SCALES.iter().map(of).collect()
});

fn has_weight(reply: &Value) -> bool {
    reply["value"].is_string()
}
