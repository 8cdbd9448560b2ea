//! A cell and a host, wired together in memory. The wire can be cut, and the cell reset.

use std::vec;
use std::vec::Vec;

use stockwire_protocol::link::{
    Ack, Arrival, BootNonce, Capabilities, Event, FrameError, HOST_QUIET, Host, Identity, Message,
    RESEND_AFTER, Sequence,
};

use super::*;
use crate::{CalibrationPoint, KEPT_MAX};

/// Counts of a gram, and of the empty pan.
const PER_GRAM: i32 = 400;
const EMPTY: i32 = 120_000;
/// 80 conversions a second.
const SAMPLE_EVERY: Duration = Duration::from_micros(12_500);

fn config() -> Config {
    let low = CalibrationPoint { raw: EMPTY, value: 0 };
    let high = CalibrationPoint { raw: EMPTY + 10_000 * PER_GRAM, value: 10_000 };
    Config {
        calibration: Calibration::two_point(low, high, Unit::Gram, 0).unwrap(),
        division: 1,
        capacity: 15_000,
        raw_min: -0x80_0000,
        raw_max: 0x7F_FFFF,
        settle: Duration::from_millis(50),
    }
}

struct Bench {
    now: Uptime,
    cell: LoadCell,
    host: Host,
    wire: WireState,
    events: Vec<Event>,
    /// Whether the host acknowledges what it is handed.
    acknowledges: bool,
}

#[derive(PartialEq)]
enum WireState {
    Whole,
    Cut,
    /// The nth byte of each frame from the cell has a bit flipped.
    Noisy(usize),
}

impl Bench {
    fn new() -> Self {
        Self {
            now: Duration::ZERO,
            cell: boot(1),
            host: Host::new(),
            wire: WireState::Whole,
            events: Vec::new(),
            acknowledges: true,
        }
    }

    /// Moves what either end wants to send to the other.
    fn exchange(&mut self) {
        loop {
            let up = self.cell.poll_transmit(self.now);
            let down = self.host.poll_transmit();
            if up.is_none() && down.is_none() {
                return;
            }
            if self.wire == WireState::Cut {
                continue;
            }
            for &byte in down.iter().flat_map(|wire| wire.as_bytes()) {
                self.cell.handle_byte(self.now, byte);
            }
            for (at, &byte) in up.iter().flat_map(|wire| wire.as_bytes()).enumerate() {
                let bent = if self.wire == WireState::Noisy(at) { byte ^ 0x10 } else { byte };
                if let Some(event) = self.host.handle_byte(bent) {
                    self.events.push(event);
                    if let (true, Event::Captured { sequence, .. }) = (self.acknowledges, event) {
                        self.host.acknowledge(sequence);
                    }
                }
            }
        }
    }

    /// Leaves `counts` on the converter for a while, polling every 100 ms.
    fn hold(&mut self, counts: i32, duration: Duration) {
        let until = self.now + duration;
        let mut sample = 0;
        while self.now < until {
            self.cell.handle_sample(self.now, counts);
            if sample % 8 == 0 {
                self.host.ask_weight();
            }
            self.exchange();
            self.now += SAMPLE_EVERY;
            sample += 1;
        }
    }

    fn put(&mut self, grams: i32) {
        self.hold(EMPTY + grams * PER_GRAM, Duration::from_millis(900));
    }

    /// Net weights handed out as captures, in order.
    fn captured(&self) -> Vec<i32> {
        let net = |event: &Event| match event {
            Event::Captured { weight, .. } => Some(weight.net),
            _ => None,
        };
        self.events.iter().filter_map(net).collect()
    }

    #[track_caller]
    fn last_live(&self) -> Weight {
        let live = |event: &Event| match event {
            Event::Live(weight) => Some(*weight),
            _ => None,
        };
        self.events.iter().rev().find_map(live).unwrap()
    }
}

fn boot(nonce: u32) -> LoadCell {
    let hello = Hello {
        boot_nonce: BootNonce(nonce),
        capabilities: Capabilities::LOAD_CELL,
        firmware: [0, 1, 0],
        identity: Identity::new("cell").unwrap(),
    };
    LoadCell::new(hello, config()).unwrap()
}

#[test]
fn a_load_is_polled_live_and_captured_once() {
    let mut bench = Bench::new();
    bench.put(0);
    assert!(bench.last_live().at_zero);
    bench.put(1_250);
    let live = bench.last_live();
    assert_eq!((live.net, live.stable, live.range), (1_250, true, Range::Within));
    assert_eq!(live.raw, EMPTY + 1_250 * PER_GRAM);
    bench.put(1_250);
    assert_eq!(bench.captured(), [1_250]);
    bench.put(0);
    bench.put(80);
    assert_eq!(bench.captured(), [1_250, 80]);
    assert_eq!(bench.cell.kept_len(), 0);
    assert_eq!(bench.cell.stats().resent, 0);
}

#[test]
fn a_load_from_before_the_power_came_is_captured() {
    let mut bench = Bench::new();
    bench.put(500);
    assert_eq!(bench.captured(), [500]);
}

#[test]
fn a_swinging_load_is_shown_and_not_captured() {
    let mut bench = Bench::new();
    bench.put(0);
    for swing in 0..40 {
        let counts = EMPTY + 1_000 * PER_GRAM + if swing % 2 == 0 { 5_000 } else { -5_000 };
        bench.hold(counts, Duration::from_millis(150));
    }
    assert!(!bench.last_live().stable);
    assert_eq!(bench.captured(), []);
}

#[test]
fn out_of_range_is_no_weight() {
    let mut bench = Bench::new();
    for (counts, range) in [
        (EMPTY + 15_010 * PER_GRAM, Range::Over),
        (0x7F_FFFF, Range::Over),
        (EMPTY - 21 * PER_GRAM, Range::Under),
        (-0x80_0000, Range::Under),
    ] {
        bench.hold(counts, Duration::from_millis(900));
        let live = bench.last_live();
        assert_eq!((live.range, live.stable, live.net), (range, false, 0), "{counts}");
    }
    bench.put(15_009);
    assert_eq!(bench.last_live().range, Range::Within);
    assert_eq!(bench.captured(), [15_009]);
}

#[test]
fn a_tote_is_tared_and_its_contents_captured() {
    let mut bench = Bench::new();
    assert_eq!(bench.cell.tare(), Err(TareError::NotReady));
    bench.put(0);
    bench.hold(EMPTY + 300 * PER_GRAM, Duration::from_millis(100));
    assert_eq!(bench.cell.tare(), Err(TareError::Moving));
    bench.put(300);
    bench.cell.tare().unwrap();
    bench.put(300);
    let live = bench.last_live();
    assert_eq!((live.net, live.tare, live.at_zero), (0, 300, true));
    bench.put(1_300);
    assert_eq!(bench.captured(), [300, 1_000]);
    bench.cell.clear_tare();
    bench.put(1_300);
    assert_eq!(bench.last_live().net, 1_300);
}

#[test]
fn an_uncalibrated_cell_shows_counts_and_captures_nothing() {
    let hello = Hello {
        boot_nonce: BootNonce(1),
        capabilities: Capabilities::LOAD_CELL,
        firmware: [0, 1, 0],
        identity: Identity::new("raw").unwrap(),
    };
    let config = Config { calibration: Calibration::NONE, capacity: 0x7F_FFFF, ..config() };
    let mut bench = Bench { cell: LoadCell::new(hello, config).unwrap(), ..Bench::new() };
    bench.put(100);
    let live = bench.last_live();
    assert_eq!((live.unit, live.net), (Unit::Counts, EMPTY + 100 * PER_GRAM));
    assert_eq!(bench.captured(), []);
}

#[test]
fn polled_before_it_has_settled_it_says_so() {
    let mut bench = Bench::new();
    bench.host.ask_weight();
    bench.exchange();
    let refused =
        |event: &Event| matches!(event, Event::Refused(nack) if nack.reason == NackReason::NotReady);
    assert!(bench.events.iter().any(refused), "{:?}", bench.events);
}

#[test]
fn captures_outlive_a_cut_cable_in_order() {
    let mut bench = Bench::new();
    bench.put(0);
    bench.wire = WireState::Cut;
    for grams in [100, 200, 300] {
        bench.put(grams);
        bench.put(0);
    }
    assert_eq!(bench.cell.kept_len(), 3);
    assert_eq!(bench.captured(), []);
    bench.wire = WireState::Whole;
    bench.put(0);
    assert_eq!(bench.captured(), [100, 200, 300]);
    let ages = bench.events.iter().filter_map(|event| match event {
        Event::Captured { weight, .. } => Some(weight.age_ms),
        _ => None,
    });
    let ages: Vec<u32> = ages.collect();
    assert!(ages[0] > 4_500 && ages.is_sorted_by(|a, b| a > b), "{ages:?}");
    assert_eq!(bench.cell.kept_len(), 0);
}

#[test]
fn a_noisy_line_delays_a_capture_and_loses_none() {
    let mut bench = Bench::new();
    bench.put(0);
    bench.wire = WireState::Noisy(9);
    bench.put(640);
    assert_eq!(bench.captured(), []);
    assert!(bench.events.iter().any(|event| matches!(event, Event::Garbled(FrameError::Noisy { .. }))));
    bench.wire = WireState::Whole;
    bench.put(640);
    assert_eq!(bench.captured(), [640]);
    assert!(bench.cell.stats().resent > 0);
    assert!(bench.host.counters().noisy > 0);
}

#[test]
fn without_an_acknowledgement_it_repeats_and_the_host_takes_it_once() {
    let mut bench = Bench::new();
    bench.acknowledges = false;
    bench.put(0);
    bench.put(70);
    bench.put(70);
    assert_eq!(bench.captured(), [70]);
    let repeated = Event::Repeated { sequence: Sequence(2) };
    assert!(bench.events.iter().filter(|event| **event == repeated).count() >= 3);
    bench.host.acknowledge(Sequence(2));
    bench.put(70);
    assert_eq!((bench.cell.kept_len(), bench.cell.stats().acknowledged), (0, 2));
}

#[test]
fn what_finds_no_room_leaves_a_gap_in_the_numbers() {
    let mut bench = Bench::new();
    bench.put(0);
    bench.wire = WireState::Cut;
    for n in 0..KEPT_MAX as i32 + 3 {
        bench.put(100 + n);
        bench.put(0);
    }
    bench.wire = WireState::Whole;
    bench.put(0);
    bench.put(999);
    let expected: Vec<i32> = (0..KEPT_MAX as i32).map(|n| 100 + n).chain([999]).collect();
    assert_eq!(bench.captured(), expected, "what was kept is not overwritten");
    assert!(bench.events.iter().any(|event| matches!(event, Event::Captured { lost: 3, .. })));
    assert_eq!(bench.cell.stats().lost, 3);
}

#[test]
fn a_reset_is_noticed_though_its_first_words_were_lost() {
    let mut bench = Bench::new();
    bench.put(0);
    bench.put(100);
    bench.wire = WireState::Cut;
    bench.cell = boot(2);
    bench.put(0);
    bench.put(200);
    bench.wire = WireState::Whole;
    bench.put(200);
    // Both lives number their first capture 2.
    assert_eq!(bench.captured(), [100, 200]);
    let restarted = |event: &Event| matches!(event, Event::Hello { arrival: Arrival::Restarted, .. });
    assert!(bench.events.iter().any(restarted));
}

#[test]
fn an_acknowledgement_of_another_life_or_number_forgets_nothing() {
    let mut bench = Bench::new();
    bench.acknowledges = false;
    bench.put(0);
    bench.put(70);
    assert_eq!((bench.cell.kept_len(), bench.captured()), (1, vec![70]));
    for (nonce, sequence, kept) in [(2, 2, 1), (1, 1, 1), (1, 3, 1), (1, 2, 0)] {
        let ack = Ack { boot_nonce: BootNonce(nonce), sequence: Sequence(sequence) };
        for &byte in Message::Ack(ack).to_wire(Sequence::LIVE).as_bytes() {
            bench.cell.handle_byte(bench.now, byte);
        }
        assert_eq!(bench.cell.kept_len(), kept, "{ack:?}");
    }
}

#[test]
fn it_speaks_once_at_boot_and_then_only_when_spoken_to() {
    let mut cell = boot(1);
    let ms = Duration::from_millis;
    let greeting = cell.poll_transmit(ms(0)).unwrap();
    assert_eq!(greeting.as_bytes()[0], 0, "flushes half a frame");
    assert!(cell.poll_transmit(ms(60_000)).is_none());
    assert_eq!(cell.poll_timeout(), None, "a board may sleep");

    let mut host = Host::new();
    host.ask_weight();
    let heard_at = ms(70_000);
    for &byte in host.poll_transmit().unwrap().as_bytes() {
        cell.handle_byte(heard_at, byte);
    }
    let mut sent = 0;
    for step in 0..800 {
        let now = heard_at + ms(10) * step;
        while cell.poll_transmit(now).is_some() {
            sent += 1;
        }
    }
    // The refusal, and the hello until the host is believed gone.
    let hellos = HOST_QUIET.as_millis() / RESEND_AFTER.as_millis() + 1;
    assert_eq!(sent, 1 + hellos);
}

#[test]
fn configurations_that_make_no_scale() {
    let new = |config| LoadCell::new(boot(1).endpoint.hello(), config).map(|_| ());
    assert_eq!(new(Config { division: 0, ..config() }), Err(ConfigError::Division { division: 0 }));
    assert_eq!(
        new(Config { division: 5, capacity: 4, ..config() }),
        Err(ConfigError::Capacity { capacity: 4 })
    );
    assert_eq!(
        new(Config { raw_min: 0, raw_max: 0, ..config() }),
        Err(ConfigError::RawLimits { raw_min: 0, raw_max: 0 })
    );
}

#[test]
fn any_bytes_and_any_counts_leave_it_working() {
    let mut bench = Bench::new();
    let mut random = 0x5EED_u64;
    for step in 0..200_000_u32 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let now = Duration::from_millis(1) * step;
        bench.cell.handle_byte(now, (random >> 56) as u8);
        bench.cell.handle_sample(now, (random >> 32) as i32);
        while bench.cell.poll_transmit(now).is_some() {}
    }
    assert!(bench.cell.stats().line.lost() > 100);
    bench.now = Duration::from_secs(1_000);
    bench.put(0);
    bench.put(77);
    assert_eq!(bench.captured().last(), Some(&77));
}
