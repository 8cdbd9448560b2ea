//! Every virtual scanner at the real agent, over pseudo terminals: what was acknowledged with the good signal is in the
//! journal once, whatever happens on the line, and the operator hears each time what became of a scan.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use stockwire_agent::catalogue::{Assembler, PartOutcome};
use stockwire_agent::feedback::Signal;
use stockwire_agent::io::sqlite_journal::{JournalOptions, JournalReader, SqliteJournal};
use stockwire_agent::journal::{Journal as _, JournalError};
use stockwire_agent::scanner::{SCANNERS, Source};
use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{
    BizStep, Body, Catalogue, CatalogueItem, Details, Event, ItemId, ItemRules, LocationId, Movement, Place,
    Quantity, SiteId, StationId, Uom, When,
};
use stockwire_tests::device::Scanner;
use stockwire_tests::device::scanner::{self, Fault, MODELS, Model};
use stockwire_tests::device::uart::{Line, Parity};
use stockwire_tests::real::process::{Child, Scratch, free_port, wait_until};
use stockwire_tests::site::{build, program};

/// Long enough for a busy machine; nothing here waits that long when it works.
const DEADLINE: Duration = Duration::from_secs(20);
const MUG: &str = "]E04006381333931";
const CUP: &str = "]E05901234123457";
/// In no catalogue.
const STRANGER: &str = "]E09506000134352";
/// The last digit is wrong.
const MISREAD: &str = "]E04006381333932";
/// A mug with lot and serial number; GS between them.
const LABEL: &str = "]C1010400638133393110L-77\x1d21S-1";
/// The same code again within this time is one piece.
const BOUNCE_MS: u32 = 2_500;

#[test]
fn every_protocol_has_a_virtual_scanner() {
    for row in SCANNERS {
        // One that plays a keyboard needs a kernel with uinput; its events are tested at its decoder.
        let expected = row.source() == Source::Serial;
        assert_eq!(scanner::find(row.name()).is_some(), expected, "{}", row.name());
    }
}

#[test]
fn each_scanner_says_what_became_of_each_scan() -> Result<()> {
    build()?;
    let mut floor = Floor::open(BOUNCE_MS)?;
    floor.each(|place| {
        place.begin()?;
        place.expect(MUG, Signal::Good)?;
        // A scanner that reads twice is no second piece.
        place.expect(MUG, Signal::Repeated)?;
        place.expect(CUP, Signal::Good)?;
        place.expect(STRANGER, Signal::Unknown)?;
        place.expect(MISREAD, Signal::Refused)?;
        place.expect(LABEL, Signal::Good)
    })?;
    for place in &floor.places {
        let lamp = matches!(place.scanner.model().name, "ssi" | "honeywell");
        ensure!(place.scanner.was_lit() == lamp, "{}: the lamp", place.what());
    }
    // Whatever was called good survives the end of the process at this moment.
    floor.kill()?;
    let head = JournalReader::open(&floor.path("journal.db"))?.head().get();
    ensure!(head == 3 * MODELS.len() as u64, "{head} rows");
    let recorded = floor.recorded()?;
    for place in &floor.places {
        let rows: Vec<_> = recorded.iter().filter(|event| event["station"] == place.name.as_str()).collect();
        let items: Vec<_> = rows.iter().map(|event| event["item"].as_str().unwrap_or("")).collect();
        ensure!(items == ["MUG", "CUP", "MUG"], "{}: {items:?}", place.what());
        let label = (&rows[2]["lot"], &rows[2]["serial"]);
        ensure!(label == (&"L-77".into(), &"S-1".into()), "{}: {label:?}", place.what());
    }
    Ok(())
}

#[test]
fn a_packet_that_is_sent_again_counts_once_and_a_second_piece_twice() -> Result<()> {
    build()?;
    let mut floor = Floor::of(&[scanner::find("ssi").unwrap()], 0)?;
    let place = &floor.places[0];
    place.begin()?;
    for resent in 1..=2 {
        // The acknowledgement goes lost, perhaps with the beep behind it, which the agent sends again when it is not
        // answered.
        place.scanner.lose_answers(1);
        place.expect(MUG, Signal::Good)?;
        wait_until("the packet was sent again", DEADLINE, || {
            Ok((place.scanner.resent() == resent).then_some(()))
        })?;
        // Nothing is said twice about it.
        let heard = place.scanner.hear(Duration::from_millis(200));
        ensure!(heard.is_empty(), "after the packet came again: {heard:?}");
    }
    // The same code in a packet of its own is another piece.
    place.expect(MUG, Signal::Good)?;
    floor.kill()?;
    let recorded = floor.recorded()?;
    ensure!(recorded.len() == 3, "{recorded:?}");
    Ok(())
}

#[test]
fn noise_and_cut_reads_cost_nothing_that_was_acknowledged() -> Result<()> {
    const PIECES: u64 = 3;
    build()?;
    let mut floor = Floor::open(0)?;
    floor.each(|place| place.begin())?;
    for fault in [Fault::Noise, Fault::Cut] {
        floor
            .each(|place| {
                place.scanner.set_fault(Some(fault));
                for _ in 0..PIECES {
                    place.until_good(CUP)?;
                }
                // And what belongs to no scan at all.
                place.scanner.set_fault(None);
                place.scanner.make_noise(b"\x00\xff\x9c\x81\x03");
                place.await_quiet();
                place.until_good(MUG)
            })
            .with_context(|| format!("{fault:?}"))?;
    }
    for place in &floor.places {
        let resent = place.scanner.resent() > 0;
        ensure!(resent == place.scanner.model().packets, "{}: repaired by itself {resent}", place.what());
    }
    floor.kill()?;
    let recorded = floor.recorded()?;
    for place in &floor.places {
        let count = |item: &str| {
            let of = |event: &&Value| event["station"] == place.name.as_str() && event["item"] == item;
            recorded.iter().filter(of).count() as u64
        };
        let counts = (count("CUP"), count("MUG"));
        ensure!(counts == (2 * PIECES, 2), "{}: {counts:?}, each good signal is one piece", place.what());
    }
    Ok(())
}

#[test]
fn what_cannot_be_stored_is_said_and_switches_the_scanner_off_for_a_moment() -> Result<()> {
    build()?;
    let mut floor = Floor::prepare(MODELS, 0)?;
    let full = fill(floor.path("journal.db"))?;
    floor.start()?;
    floor.each(|place| {
        place.begin()?;
        place.scanner.scan(MUG);
        place.hears(Signal::NotStored)?;
        if place.scanner.model().can_be_switched_off {
            wait_until("switched off", DEADLINE, || Ok((!place.scanner.reads()).then_some(())))?;
            wait_until("switched on again", DEADLINE, || Ok(place.scanner.reads().then_some(())))?;
        }
        // Trying again is right, and no bounce.
        place.expect(MUG, Signal::NotStored)
    })?;
    floor.kill()?;
    let head = JournalReader::open(&floor.path("journal.db"))?.head().get();
    ensure!(head == full, "{head} rows, {full} before");
    Ok(())
}

#[test]
fn a_scanner_that_is_pulled_out_and_put_back_goes_on_where_it_was() -> Result<()> {
    build()?;
    let mut floor = Floor::open(0)?;
    floor.each(|place| {
        place.begin()?;
        place.expect(MUG, Signal::Good)
    })?;
    let begun = Instant::now();
    floor.places.iter_mut().for_each(|place| place.scanner.unplug());
    floor.await_state("unplugged")?;
    let noticed = begun.elapsed();
    ensure!(noticed < Duration::from_secs(2), "noticed after {noticed:?}");
    for place in &mut floor.places {
        place.scanner.replug()?;
    }
    floor.await_state("working")?;
    // Packets, the beep and the session are as they were: the next mug goes to the same place.
    floor.each(|place| place.expect(MUG, Signal::Good))?;
    floor.kill()?;
    let recorded = floor.recorded()?;
    ensure!(recorded.len() == 2 * MODELS.len(), "{recorded:?}");
    ensure!(recorded.iter().all(|event| event["to"] == "A-01" && event["item"] == "MUG"), "{recorded:?}");
    Ok(())
}

#[test]
fn a_line_that_is_set_wrongly_says_so() -> Result<()> {
    build()?;
    let line = scanner::find("line").unwrap();
    let floor = Floor::of(&[line, line], 0)?;
    let cases = [(Line::seven(9_600, Parity::Even), "9600 7E1"), (Line::eight(38_400), "speed")];
    for (place, (set, told)) in floor.places.iter().zip(cases) {
        place.scanner.set_line(set);
        place.scanner.scan(MUG);
        wait_until(&format!("{told} is told"), DEADLINE, || {
            let devices = String::from_utf8(floor.command(&["devices"])?.stdout)?;
            let doctor = String::from_utf8(floor.command(&["doctor"])?.stdout)?;
            let text = devices + &doctor + &floor.log();
            Ok((text.contains(told)).then_some(()))
        })
        .with_context(|| floor.evidence())?;
    }
    ensure!(floor.recorded()?.is_empty());
    Ok(())
}

/// Records until there is no room; how many rows there are.
fn fill(path: PathBuf) -> Result<u64> {
    let event = Event {
        when: When::Synced { unix_ms: 1_790_000_000_000 },
        body: Body::Movement(Movement {
            step: BizStep::Receiving,
            item: ItemId::new("MUG")?,
            quantity: Quantity::pieces(1),
            from: Place::Supplier,
            to: Place::At(LocationId::new("A-01")?),
            station: StationId::new("bench-0")?,
            details: Details::default(),
        }),
    };
    let mut journal = SqliteJournal::open(JournalOptions::new(path, 1024 * 1024))?;
    for at_once in [64, 1] {
        let events = vec![event.clone(); at_once];
        loop {
            match journal.append(&events) {
                Ok(_) => {}
                Err(JournalError::Full { .. }) => break,
                Err(fault) => bail!("filling the journal: {fault}"),
            }
        }
    }
    Ok(journal.head().get())
}

/// An agent with stations, each with one kind of scanner.
struct Floor {
    /// `None` before its start.
    child: Option<Child>,
    places: Vec<Station>,
    folder: Scratch,
}

struct Station {
    name: String,
    scanner: Scanner,
}

impl Floor {
    fn open(bounce_ms: u32) -> Result<Self> {
        Self::of(MODELS, bounce_ms)
    }

    fn of(models: &[&'static Model], bounce_ms: u32) -> Result<Self> {
        let mut floor = Self::prepare(models, bounce_ms)?;
        floor.start()?;
        Ok(floor)
    }

    fn prepare(models: &[&'static Model], bounce_ms: u32) -> Result<Self> {
        let folder = Scratch::new("scanners")?;
        let root = folder.path().to_path_buf();
        let mut config = format!(
            "[agent]\nid = \"box-1\"\nsite = \"HAM\"\n[journal]\npath = {:?}\nquota_mib = 1\n\
             [broker]\nhost = \"127.0.0.1\"\nport = {}\ntls = false\n[clock]\nsynchronized_file = \"\"\n[local]\nsocket = {:?}\n",
            root.join("journal.db"),
            free_port()?,
            root.join("agent.sock"),
        );
        let mut places = Vec::new();
        for (at, model) in models.iter().enumerate() {
            let name = format!("bench-{at}");
            let scanner = Scanner::plug(model, &root.join(format!("scanner-{at}")))?;
            write!(
                config,
                "[[station]]\nname = \"{name}\"\n[station.scanner]\nport = {:?}\nprotocol = \"{}\"\n\
                 bounce_ms = {bounce_ms}\n{}",
                scanner.port(),
                model.name,
                model.config
            )?;
            places.push(Station { name, scanner });
        }
        std::fs::write(root.join("config.toml"), config)?;
        std::fs::write(root.join("journal.db.catalogue"), catalogue())?;
        Ok(Self { child: None, places, folder })
    }

    fn start(&mut self) -> Result<()> {
        let mut command = Command::new(program("stockwire-agent")?);
        command.arg("run").arg("--config").arg(self.path("config.toml"));
        self.child = Some(Child::spawn("agent", command, &self.path("agent.log"))?);
        self.await_state("working")
    }

    /// As a power cut would.
    fn kill(&mut self) -> Result<()> {
        self.child.take().context("the agent does not run")?.kill9()
    }

    /// The same at each station, all at the same time.
    fn each(&self, work: impl Fn(&Station) -> Result<()> + Sync) -> Result<()> {
        std::thread::scope(|scope| {
            let work = &work;
            let run = |place| scope.spawn(move || work(place));
            let runs: Vec<_> = self.places.iter().map(run).collect();
            let mut done = runs.into_iter().zip(&self.places);
            done.try_for_each(|(run, place)| run.join().unwrap().with_context(|| place.what()))
        })
        .with_context(|| self.evidence())
    }

    fn await_state(&self, kind: &str) -> Result<()> {
        wait_until(&format!("every scanner is {kind}"), DEADLINE, || {
            let Ok(status) = self.status() else { return Ok(None) };
            let devices = status["devices"].as_array().context("devices")?.clone();
            let ready = self.places.iter().all(|place| kind != "working" || place.scanner.is_ready());
            Ok((ready && devices.iter().all(|device| device["state"]["kind"] == kind)).then_some(()))
        })
        .with_context(|| self.evidence())
    }

    fn recorded(&self) -> Result<Vec<Value>> {
        let output = self.command(&["journal", "export"])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        text.lines().map(|line| serde_json::from_str(line).context("an event")).collect()
    }

    fn status(&self) -> Result<Value> {
        let output = self.command(&["status", "--json"])?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn command(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(program("stockwire-agent")?);
        command.args(arguments).arg("--config").arg(self.path("config.toml"));
        command.output().context("running the agent's command")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        self.child.as_ref().map(Child::log).unwrap_or_default()
    }

    fn evidence(&self) -> String {
        let status = self.status().map_or_else(|fault| fault.to_string(), |status| format!("{status:#}"));
        format!("{status}\n{}", self.log())
    }
}

impl Station {
    fn what(&self) -> String {
        let model = self.scanner.model();
        format!("{} {} {}", self.name, model.name, model.variant)
    }

    fn begin(&self) -> Result<()> {
        self.expect("SW:WF:RECEIVE", Signal::Heard)?;
        self.expect("SW:LOC:A-01", Signal::Heard)
    }

    /// Scans, and hears this.
    fn expect(&self, code: &str, signal: Signal) -> Result<()> {
        self.scanner.scan(code);
        self.hears(signal).with_context(|| format!("after {code:?}"))
    }

    fn hears(&self, signal: Signal) -> Result<()> {
        let (heard, expected) = (self.scanner.hear(DEADLINE), self.scanner.model().sounds.of(signal));
        ensure!(heard == expected, "heard {heard:?}, expected {expected:?} for {signal:?}");
        Ok(())
    }

    /// As an operator does: whoever does not hear the good signal scans again.
    fn until_good(&self, code: &str) -> Result<()> {
        const TRIES: usize = 5;
        for _ in 0..TRIES {
            self.scanner.scan(code);
            let heard = self.scanner.hear(DEADLINE);
            if heard == self.scanner.model().sounds.good {
                return Ok(());
            }
            ensure!(!heard.is_empty(), "nothing was said about {code:?}");
            self.await_quiet();
        }
        bail!("no good signal after {TRIES} tries")
    }

    /// Whatever is said about damage is over, and the next damage will be told: so that a noisy line does not beep for
    /// ever, the agent tells one in two seconds.
    fn await_quiet(&self) {
        const QUIET: Duration = Duration::from_millis(2_100);
        while !self.scanner.hear(QUIET).is_empty() {}
    }
}

fn catalogue() -> Vec<u8> {
    let site = SiteId::new("HAM").unwrap();
    let item = |id: &str, gtin: &str| CatalogueItem {
        id: ItemId::new(id).unwrap(),
        name: id.to_lowercase(),
        uom: Uom::Piece,
        gtins: vec![Gtin::parse(gtin).unwrap()],
        codes: vec![],
        rules: ItemRules::default(),
    };
    let part = Catalogue {
        revision: 1,
        part: 0,
        parts: 1,
        site: site.clone(),
        items: vec![item("MUG", "4006381333931"), item("CUP", "5901234123457")],
        locations: vec![LocationId::new("A-01").unwrap()],
        since: None,
    };
    match Assembler::new(site).handle_part(part) {
        PartOutcome::Complete { durable, .. } => durable,
        other => panic!("{other:?}"),
    }
}
