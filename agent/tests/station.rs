//! What holds at a station whatever is scanned: no silence, no good signal without a commit, nothing without a limit.

// Helpers of tests: a failing unwrap is a failing test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stockwire_agent::catalogue::{Assembler, Catalogue, PartOutcome};
use stockwire_agent::feedback::Signal;
use stockwire_agent::journal::{Journal, JournalError, MemoryJournal, ReadLimit};
use stockwire_agent::scale::{self, ScaleOptions};
use stockwire_agent::scanner::ReadFault;
use stockwire_agent::station::{
    Action, PLATFORM_POLL, PLATFORM_WATCH_MAX, Recorded, Station, StationConfig, Ticket, WAITING_MAX,
};
use stockwire_protocol::gs1::{Gln, Gtin};
use stockwire_protocol::{
    AgentId, Body, Catalogue as Part, CatalogueItem, DeviceId, Epoch, Event, ItemId, LocationId, Place,
    Sequence, SiteId, StationId, Uom, When,
};

fn catalogue() -> Arc<Catalogue> {
    let item = |id: &str, uom, gtin: &str| CatalogueItem {
        id: ItemId::new(id).unwrap(),
        name: id.to_lowercase(),
        uom,
        gtins: vec![Gtin::parse(gtin).unwrap()],
        codes: vec![],
        rules: stockwire_protocol::ItemRules::default(),
    };
    let site = SiteId::new("HAM").unwrap();
    let part = Part {
        revision: 1,
        part: 0,
        parts: 1,
        site: site.clone(),
        items: vec![item("MUG", Uom::Piece, "4006381333931"), item("NUTS", Uom::Kilogram, "9506000134352")],
        locations: ["A-01", "B-07"].map(|code| LocationId::new(code).unwrap()).to_vec(),
        since: None,
    };
    match Assembler::new(site).handle_part(part) {
        PartOutcome::Complete { current, .. } => current,
        other => panic!("{other:?}"),
    }
}

fn config() -> StationConfig {
    let agent = AgentId::new("box-1").unwrap();
    StationConfig { scale: true, ..StationConfig::new(agent, StationId::new("bench-1").unwrap()) }
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

fn when(now: Duration) -> When {
    When::Synced { unix_ms: 1_795_000_000_000 + now.as_millis() as i64 }
}

fn at_ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn scan(station: &mut Station, ms: u64, raw: &str) {
    station.handle_scan(at_ms(ms), when(at_ms(ms)), &device("scanner-1"), Ok(raw.into()));
}

fn drain(station: &mut Station) -> Vec<Action> {
    std::iter::from_fn(|| station.poll_action()).collect()
}

fn signals(actions: &[Action]) -> Vec<Signal> {
    let signal = |action: &Action| match action {
        Action::Signal { signal, .. } => Some(*signal),
        _ => None,
    };
    actions.iter().filter_map(signal).collect()
}

fn record(actions: &[Action]) -> Option<(Ticket, Vec<Event>)> {
    actions.iter().find_map(|action| match action {
        Action::Record { ticket, events } => Some((*ticket, events.clone())),
        _ => None,
    })
}

/// A station that receives into A-01.
fn receiving() -> Station {
    let mut station = Station::new(config(), catalogue());
    scan(&mut station, 0, "SW:WF:RECEIVE");
    scan(&mut station, 1, "SW:LOC:A-01");
    drain(&mut station);
    station
}

const MUG: &str = "]E04006381333931";

#[test]
fn no_good_signal_before_the_journals_word_and_none_after_its_refusal() {
    let mut station = receiving();
    scan(&mut station, 1_000, MUG);
    let actions = drain(&mut station);
    let (ticket, events) = record(&actions).unwrap();
    assert_eq!((signals(&actions), events.len()), (vec![], 1), "durable before beep");

    let full = JournalError::Full { used: 9, quota: 10 };
    station.handle_recorded(at_ms(1_001), ticket, Err(&full));
    assert_eq!(signals(&drain(&mut station)), [Signal::NotStored]);
    let late = Recorded { epoch: Epoch::from_bytes([1; 16]), last: Sequence::new(1) };
    station.handle_recorded(at_ms(1_002), ticket, Ok(late));
    assert_eq!(drain(&mut station), [], "a ticket is answered once");

    scan(&mut station, 1_010, MUG);
    let (ticket, _) = record(&drain(&mut station)).expect("after a failure the same code is no bounce");
    station.handle_recorded(at_ms(1_011), ticket, Ok(late));
    assert_eq!(signals(&drain(&mut station)), [Signal::Good]);
}

#[test]
fn an_undo_names_the_movement_by_the_epoch_it_was_recorded_in() {
    let mut station = receiving();
    scan(&mut station, 1_000, MUG);
    let (ticket, _) = record(&drain(&mut station)).unwrap();
    let recorded = Recorded { epoch: Epoch::from_bytes([3; 16]), last: Sequence::new(42) };
    station.handle_recorded(at_ms(1_001), ticket, Ok(recorded));
    scan(&mut station, 2_000, "SW:CMD:UNDO");
    let (_, events) = record(&drain(&mut station)).unwrap();
    let Body::Movement(back) = &events[0].body else { panic!("{events:?}") };
    let named = &back.details.corrects.as_ref().unwrap().movement;
    assert_eq!(named.to_string(), "box-1/03030303030303030303030303030303/42");
    assert_eq!((&back.from, &back.to), (&Place::At(LocationId::new("A-01").unwrap()), &Place::Supplier));
}

#[test]
fn scans_that_wait_for_the_disk_are_bounded_and_the_rest_is_told() {
    let mut station = receiving();
    for at in 0..=WAITING_MAX as u64 {
        scan(&mut station, 1_000 * (at + 1), MUG);
    }
    assert_eq!(signals(&drain(&mut station)), [], "one on its way, the others wait");
    scan(&mut station, 900_000, MUG);
    assert_eq!(signals(&drain(&mut station)), [Signal::NotStored]);
    scan(&mut station, 900_001, MUG);
    assert_eq!(signals(&drain(&mut station)), [Signal::NotStored], "and trying again is no bounce");
}

#[test]
fn each_device_has_its_own_bounce_window() {
    let bounce = BTreeMap::from([(device("slow"), at_ms(2_000))]);
    let mut station = Station::new(StationConfig { bounce, ..config() }, catalogue());
    let mut heard = |ms, name: &str| {
        station.handle_scan(at_ms(ms), when(at_ms(ms)), &device(name), Ok("SW:OP:anna".into()));
        signals(&drain(&mut station))[0]
    };
    assert_eq!(heard(0, "slow"), Signal::Heard);
    assert_eq!(heard(10, "usual"), Signal::Heard, "another device is another scan");
    assert_eq!(heard(410, "usual"), Signal::Heard);
    assert_eq!(heard(1_999, "slow"), Signal::Repeated);
    assert_eq!(heard(3_999, "slow"), Signal::Heard);
}

#[test]
fn a_location_of_another_site_is_refused() {
    let ours = Gln::parse("9506000111117").unwrap();
    let mut station = Station::new(StationConfig { site_gln: Some(ours), ..config() }, catalogue());
    scan(&mut station, 0, "SW:WF:RECEIVE");
    drain(&mut station);
    scan(&mut station, 1_000, "]C14144006381000000254A-01");
    assert_eq!(signals(&drain(&mut station)), [Signal::Refused]);
    scan(&mut station, 2_000, "]C14149506000111117254A-01");
    assert_eq!(signals(&drain(&mut station)), [Signal::Heard]);
}

#[test]
fn noise_on_the_line_is_told_and_is_no_siren() {
    let mut station = Station::new(config(), catalogue());
    let mut heard = 0;
    for ms in (0..10_000).step_by(10) {
        station.handle_scan(at_ms(ms), when(at_ms(ms)), &device("scanner-1"), Err(ReadFault::WithoutSuffix));
        heard += signals(&drain(&mut station)).len();
    }
    assert_eq!(heard, 5);
}

/// A box without a clock battery: the label's century comes from the build, not from 1970.
#[test]
fn a_clock_in_1970_does_not_move_expiry_dates_into_another_century() {
    let mut station = receiving();
    let unset = When::Unsynced { unix_ms: 5_000, boot: 1, uptime_ms: 5_000 };
    let raw = "]C1010400638133393117300101";
    station.handle_scan(at_ms(5_000), unset, &device("scanner-1"), Ok(raw.into()));
    let (_, events) = record(&drain(&mut station)).unwrap();
    let Body::Movement(movement) = &events[0].body else { panic!("{events:?}") };
    assert_eq!(movement.details.expires_on.unwrap().to_string(), "2030-01-01");
    assert_eq!(events[0].when, unset, "and the time is recorded as what it is");
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const SCANS: &[&str] = &[
    MUG,
    MUG,
    MUG,
    "]E09506000134352",
    "]C101040063813339313703",
    "]C1010950600013435210L1",
    "]C1400PO-1",
    "SW:LOC:A-01",
    "SW:LOC:B-07",
    "SW:LOC:C-99",
    "SW:WF:RECEIVE",
    "SW:WF:PICK",
    "SW:WF:COUNT",
    "SW:WF:NONE",
    "SW:QTY:3",
    "SW:QTY:0",
    "SW:QTY:0.5",
    "SW:CMD:DONE",
    "SW:CMD:CANCEL",
    "SW:CMD:UNDO",
    "SW:CMD:UNDO",
    "SW:CMD:YES",
    "SW:CMD:SHORT",
    "SW:CMD:WEIGH",
    "SW:OP:anna",
    "rubbish",
    "]E04006381333932",
    "\x00\x01",
    "",
];
const LINES: &[&str] =
    &["S S 1.250 kg", "S S 1.250 kg", "S D 1.0 kg", "S +", "S I", "ES", "S S 0 kg", "noise", "S S 3 oz"];

/// One seed: whatever is scanned, weighed and whatever the disk does.
fn run(seed: u64) -> (usize, usize) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut station = Station::new(config(), catalogue());
    let mut scale = scale::find("mt-sics").unwrap().decoder(&ScaleOptions::default());
    let mut journal = MemoryJournal::new(Epoch::from_bytes([1; 16]));
    let mut pending = Vec::new();
    let (mut now, mut scanned, mut answered, mut commits, mut good) = (Duration::ZERO, 0, 0, 0, 0);
    // Of the last input: the scale is watched for a while after it.
    let mut touched = Duration::ZERO;
    for step in 0..400 {
        now += at_ms(1 + random.below(900) as u64);
        let is_scan = match random.below(10) {
            0..7 => {
                // Half of the time the operator does what the screen asks for.
                let asked = match station.screen() {
                    screen if screen.workflow.is_none() => {
                        random.pick(&["SW:WF:RECEIVE", "SW:WF:PICK", "SW:WF:COUNT"])
                    }
                    screen if screen.expected.contains("location") => {
                        random.pick(&["SW:LOC:A-01", "SW:LOC:B-07"])
                    }
                    _ => random.pick(&[MUG, MUG, "]E09506000134352", "SW:CMD:UNDO"]),
                };
                let raw = if random.below(2) == 0 { asked } else { random.pick(SCANS) };
                scan(&mut station, now.as_millis() as u64, raw);
                scanned += 1;
                touched = now;
                true
            }
            7 | 8 => {
                scale.handle_bytes(now, format!("{}\r\n", random.pick(LINES)).as_bytes());
                while let Some(reply) = scale.poll_reply() {
                    station.handle_weight(now, when(now), reply);
                    touched = now;
                }
                false
            }
            _ => {
                now += Duration::from_secs(random.below(100) as u64);
                if let Some(due) = station.poll_timeout() {
                    let looks = due.saturating_sub(touched) <= PLATFORM_WATCH_MAX + PLATFORM_POLL;
                    assert!(station.screen().workflow.is_some() || looks, "seed {seed}: waits for nothing");
                    now = now.max(due);
                    station.handle_timeout(now);
                    assert!(station.poll_timeout().is_none_or(|next| next > due), "seed {seed}: a busy loop");
                }
                false
            }
        };
        // The disk answers at once, later, or with a fault.
        let answers = random.below(4) != 0;
        loop {
            let actions = drain(&mut station);
            let told = signals(&actions);
            good += told.iter().filter(|signal| **signal == Signal::Good).count();
            answered += told.len();
            pending.extend(record(&actions));
            assert!(pending.len() <= 1, "seed {seed}, step {step}: two records at once");
            let Some((ticket, events)) = pending.pop() else { break };
            if !answers && step < 399 {
                pending.push((ticket, events));
                break;
            }
            if random.below(5) == 0 {
                let fault = JournalError::io("append", "no space");
                station.handle_recorded(now, ticket, Err(&fault));
            } else {
                let last = journal.append(&events).unwrap();
                commits += 1;
                station.handle_recorded(now, ticket, Ok(Recorded { epoch: journal.epoch(), last }));
            }
        }
        if is_scan && pending.is_empty() {
            assert!(answered >= scanned, "seed {seed}, step {step}: a scan was met with silence");
        }
        assert!(!station.screen().expected.is_empty());
    }
    assert_eq!(good, commits, "seed {seed}: one good signal for each commit, and for nothing else");

    // What is undone is undone once: per location nothing becomes negative by taking back.
    let limit = ReadLimit { events: usize::MAX, bytes: usize::MAX };
    let mut corrected = BTreeMap::new();
    for event in journal.read(Sequence::NONE, limit).unwrap() {
        let Body::Movement(movement) = event.body else { continue };
        assert!(movement.quantity.steps > 0 && movement.from != movement.to, "seed {seed}: {movement:?}");
        if let Some(correction) = movement.details.corrects {
            let earlier = corrected.insert(correction.movement.sequence, ());
            assert!(earlier.is_none(), "seed {seed}: taken back twice: {}", correction.movement);
        }
    }
    (commits, corrected.len())
}

#[test]
fn whatever_happens_each_scan_is_answered_and_good_means_recorded() {
    let (mut commits, mut corrections) = (0, 0);
    for seed in 0..200 {
        let (more, undone) = run(seed);
        (commits, corrections) = (commits + more, corrections + undone);
    }
    assert!(
        commits > 2_000 && corrections > 300,
        "the chaos did too little: {commits} commits, {corrections} corrections"
    );
}
