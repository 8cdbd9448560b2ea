//! Every virtual scale at the real agent, over pseudo terminals: goods are weighed, what may not be booked is not, and
//! what is wrong with a line is told.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use stockwire_agent::catalogue::{Assembler, PartOutcome};
use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{Catalogue, CatalogueItem, ItemId, ItemRules, LocationId, SiteId, Uom};
use stockwire_tests::device::scale::{self, Fault, MODELS, Model};
use stockwire_tests::device::uart::{Line, Parity};
use stockwire_tests::device::{Heard, LineScanner, Scale};
use stockwire_tests::real::process::{Child, Scratch, free_port, wait_until};
use stockwire_tests::site::{build, program};

/// Long enough for a busy machine; nothing here waits that long when it works.
const DEADLINE: Duration = Duration::from_secs(20);
/// Stations at one agent.
const STATIONS: usize = 8;
/// Nuts, by weight.
const NUTS: &str = "]C10109506000134352";

#[test]
fn each_scale_weighs_what_lies_still_and_nothing_else() -> Result<()> {
    build()?;
    for models in MODELS.chunks(STATIONS) {
        let mut floor = Floor::open(models)?;
        floor.weigh().with_context(|| floor.evidence())?;
    }
    Ok(())
}

#[test]
fn damaged_frames_cost_nothing_but_themselves() -> Result<()> {
    build()?;
    for models in MODELS.chunks(STATIONS) {
        let mut floor = Floor::open(models)?;
        for (at, place) in floor.places.iter().enumerate() {
            // Half a frame costs the next one as well, and Dibal's weight counts as still only after three good ones.
            let half = at % 2 == 0 && place.scale.model().name != "dibal";
            place.scale.set_fault(Some(if half { Fault::HalfFrames } else { Fault::Noise }));
        }
        floor.weigh_once(5_000).with_context(|| floor.evidence())?;
    }
    Ok(())
}

#[test]
fn mistakes_of_a_line_are_told_apart_and_say_what_to_do() -> Result<()> {
    build()?;
    let model = |name| scale::find(name).unwrap();
    let models = ["and", "and", "mt-sics", "mt-sics", "rinstrum", "cas-10", "bilanciai-d70"].map(model);
    let mut floor = Floor::open(&models)?;
    let scales = &mut floor.places;
    // Seven bits read as eight: the agent's default for A&D is right, so its scale is set otherwise; and so on.
    scales[0].scale.set_line(Line::seven(2_400, Parity::Odd));
    scales[1].scale.set_line(Line::eight(2_400));
    scales[1].scale.put(12_345, Duration::ZERO);
    scales[2].scale.set_fault(Some(Fault::Silence));
    scales[3].scale.unplug();
    scales[4].scale.set_line(Line::eight(2_400));
    scales[5].scale.set_line(Line::seven(9_600, Parity::Even));
    // Another protocol at the other end of the cable.
    let link = scales[6].scale.port().to_path_buf();
    scales[6].scale.unplug();
    let stranger = Scale::plug(model("rinstrum"), &link)?;
    stranger.set_line(models[6].line);
    for place in &mut floor.places {
        place.ask_for_weight()?;
    }
    let expected = [
        ("device_parity", "2400 7O1"),
        ("device_parity", "2400 8N1"),
        ("device_silent", "devices --probe"),
        ("device_unplugged", "stockwire-agent devices"),
        ("device_wrong_speed", "devices --probe"),
        ("device_parity", "protocol = \"cas-10\""),
        ("device_garbage", "protocol = \"rinstrum\""),
    ];
    for (at, (code, told)) in expected.iter().enumerate() {
        let name = format!("{}/scale", floor.places[at].name);
        let found = wait_until(&format!("{name}: {code}"), DEADLINE, || {
            let status = floor.status()?;
            let findings = status["findings"].as_array().context("findings")?.clone();
            let about =
                |finding: &&Value| finding["message"].as_str().is_some_and(|it| it.starts_with(&name));
            Ok(findings.iter().find(about).filter(|finding| finding["code"] == *code).cloned())
        });
        let found = found.with_context(|| floor.evidence())?;
        let text = format!("{} {}", found["message"], found["hint"]).replace('\\', "");
        ensure!(text.contains(told), "{name}: {text} does not say {told:?}");
    }
    // The doctor and `devices` say the same.
    let doctor = String::from_utf8(floor.command(&["doctor"])?.stdout)?;
    ensure!(doctor.contains("FAIL devices") && doctor.contains("2400 7O1"), "{doctor}");
    let devices = String::from_utf8(floor.command(&["devices"])?.stdout)?;
    ensure!(devices.contains("wrong_speed") && devices.contains("parity"), "{devices}");
    Ok(())
}

#[test]
fn a_probe_finds_each_scale_and_changes_none() -> Result<()> {
    build()?;
    let folder = Scratch::new("probe")?;
    // And one with settings that no such scale leaves the factory with.
    let other = (scale::find("nci").unwrap(), Line::eight(4_800));
    let scales = MODELS.iter().map(|model| (*model, model.line)).chain([other]);
    // All at once: each waits for its own line most of the time.
    let probes = scales.enumerate().map(|(at, (model, line))| {
        let link = folder.path().join(format!("scale-{at}"));
        std::thread::spawn(move || probe(model, line, &link))
    });
    for probe in probes.collect::<Vec<_>>() {
        probe.join().unwrap()?;
    }
    Ok(())
}

fn probe(model: &'static Model, line: Line, link: &Path) -> Result<()> {
    let scale = Scale::plug(model, link)?;
    scale.set_line(line);
    scale.put(12_345, Duration::ZERO);
    let mut command = Command::new(program("stockwire-agent")?);
    command.args(["devices", "--json", "--config", "/nonexistent", "--probe"]).arg(link);
    let output = command.output()?;
    let what = format!("{} {}", model.name, model.variant);
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    let answer: Value = serde_json::from_str(&text).with_context(|| format!("{what}: {text}{complaint}"))?;
    let found = answer["found"].as_array().context("found")?;
    let this = found.iter().find(|found| found["protocol"] == model.name);
    let this = this.with_context(|| format!("{what} is not among {answer}"))?;
    ensure!(found[0]["protocol"] == model.name, "{what} is not the surest of {answer}");
    ensure!(this["line"] == line.to_string(), "{what}: {answer}");
    let config = this["config"].as_str().unwrap_or_default();
    let told = model.config.lines().filter(|line| !line.contains("status_bits"));
    for line in told {
        ensure!(config.contains(line), "{what}: {config} does not say {line}");
    }
    ensure!(scale.changes().is_empty(), "{what} was changed: {:?}", scale.changes());
    Ok(())
}

/// An agent with stations, each with a scanner and one kind of scale.
struct Floor {
    agent: Child,
    places: Vec<Place>,
    folder: Scratch,
}

struct Place {
    name: String,
    scanner: LineScanner,
    scale: Scale,
}

impl Floor {
    fn open(models: &[&'static Model]) -> Result<Self> {
        let folder = Scratch::new("scales")?;
        let root = folder.path().to_path_buf();
        let mut config = format!(
            "[agent]\nid = \"box-1\"\nsite = \"HAM\"\n[journal]\npath = {:?}\nquota_mib = 16\n\
             [broker]\nhost = \"127.0.0.1\"\nport = {}\ntls = false\n[clock]\nsynchronized_file = \"\"\n[local]\nsocket = {:?}\n",
            root.join("journal.db"),
            free_port()?,
            root.join("agent.sock"),
        );
        let mut places = Vec::new();
        for (at, model) in models.iter().enumerate() {
            let name = format!("bench-{at}");
            let scanner = LineScanner::plug(&root.join(format!("scanner-{at}")))?;
            let scale = Scale::plug(model, &root.join(format!("scale-{at}")))?;
            write!(
                config,
                "[[station]]\nname = \"{name}\"\n[station.scanner]\nport = {:?}\nfeedback = \"bell\"\nbounce_ms = 0\n\
                 [station.scale]\nport = {:?}\nprotocol = \"{}\"\n{}",
                scanner.port(),
                scale.port(),
                model.name,
                model.config
            )?;
            places.push(Place { name, scanner, scale });
        }
        std::fs::write(root.join("config.toml"), config)?;
        std::fs::write(root.join("journal.db.catalogue"), catalogue())?;
        let mut command = Command::new(program("stockwire-agent")?);
        command.arg("run").arg("--config").arg(root.join("config.toml"));
        let agent = Child::spawn("agent", command, &root.join("agent.log"))?;
        let floor = Self { agent, places, folder };
        wait_until("the agent answers and has its scanners", DEADLINE, || {
            let Ok(status) = floor.status() else { return Ok(None) };
            let devices = status["devices"].as_array().context("devices")?.clone();
            let ready = |device: &Value| device["state"]["kind"] != "unplugged";
            Ok(devices.iter().all(ready).then_some(()))
        })
        .with_context(|| floor.evidence())?;
        Ok(floor)
    }

    /// Overload, then goods that swing, then the same again net of a tare; what was recorded is what lay there.
    fn weigh(&mut self) -> Result<()> {
        for place in &mut self.places {
            place.ask_for_weight()?;
        }
        self.empty_platforms_are_seen()?;
        // More than the scale can weigh is not booked, however long it lies there.
        self.places.iter().for_each(|place| place.scale.put(31_000, Duration::ZERO));
        for place in &mut self.places {
            let heard = place.scanner.hear(Duration::from_millis(150))?;
            ensure!(heard != Some(Heard::Good), "{}: an overload was booked", place.what());
        }
        self.no_weight_is_shown()?;
        let swings = Duration::from_millis(900);
        let begun = Instant::now();
        for (at, place) in self.places.iter().enumerate() {
            place.scale.put(12_345 + at as i64, swings);
        }
        for place in &mut self.places {
            place.say_when_it_prints()?;
            place.good().with_context(|| place.what())?;
        }
        ensure!(begun.elapsed() >= swings, "a weight was booked after {:?}, while it swung", begun.elapsed());
        self.places.iter().for_each(|place| place.scale.put(0, Duration::ZERO));
        let recorded = self.recorded()?;
        for (at, place) in self.places.iter().enumerate() {
            let expected = format!("{} KGM", decimal(12_345 + at as i64));
            let quantity = recorded.iter().find(|event| event["station"] == place.name.as_str());
            let quantity = quantity.map(|event| event["quantity"].clone());
            ensure!(quantity == Some(expected.as_str().into()), "{}: {quantity:?}, {expected}", place.what());
        }
        ensure!(recorded.len() == self.places.len(), "{} were recorded", recorded.len());
        Ok(())
    }

    fn weigh_once(&mut self, grams: i64) -> Result<()> {
        for place in &mut self.places {
            place.ask_for_weight()?;
        }
        self.empty_platforms_are_seen()?;
        self.places.iter().for_each(|place| place.scale.put(grams, Duration::ZERO));
        for place in &mut self.places {
            place.say_when_it_prints()?;
            place.good().with_context(|| place.what())?;
        }
        for event in self.recorded()? {
            ensure!(event["quantity"] == format!("{} KGM", decimal(grams)), "{event}");
        }
        Ok(())
    }

    /// A load counts only after the platform was empty. CBD says nothing of an empty one.
    fn empty_platforms_are_seen(&self) -> Result<()> {
        wait_until("every platform is empty", DEADLINE, || {
            let status = self.status()?;
            let stations = status["stations"].as_array().context("stations")?;
            let shows = |station: &Value| station["screen"]["weight"] == "0.000 kg";
            let late = self
                .places
                .iter()
                .zip(stations)
                .find(|(place, station)| place.scale.model().name != "adam-cbd" && !shows(station));
            match late {
                None => Ok(Some(())),
                Some((place, station)) => bail!("{}: {}", place.what(), station["screen"]),
            }
        })
    }

    /// Behind a status no old weight stands. Scales that fall silent have no status to send.
    fn no_weight_is_shown(&self) -> Result<()> {
        let silent = ["cas-10", "adam-cpwplus", "adam-cbd", "cas-pd2"];
        wait_until("no weight is shown", DEADLINE, || {
            let status = self.status()?;
            let stations = status["stations"].as_array().context("stations")?;
            let shown = self.places.iter().zip(stations).find(|(place, station)| {
                !silent.contains(&place.scale.model().name) && !station["screen"]["weight"].is_null()
            });
            Ok(shown.is_none().then_some(()))
        })
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
        command.args(arguments).arg("--config").arg(self.folder.path().join("config.toml"));
        command.output().context("running the agent's command")
    }

    fn evidence(&self) -> String {
        let status = self.status().map_or_else(|fault| fault.to_string(), |status| format!("{status:#}"));
        let kinds: Vec<String> = self.places.iter().map(Place::what).collect();
        format!("{}\n{status}\n{}", kinds.join(", "), self.agent.log())
    }
}

impl Place {
    fn what(&self) -> String {
        let model = self.scale.model();
        format!("{} {} {}", self.name, model.name, model.variant)
    }

    /// Begins to receive nuts: the next weight is theirs.
    fn ask_for_weight(&mut self) -> Result<()> {
        for code in ["SW:WF:RECEIVE", "SW:LOC:A-01", NUTS] {
            let heard = self.scanner.scan(code, DEADLINE).with_context(|| self.what())?;
            ensure!(heard == Heard::Understood, "{}: {code}: {heard:?}", self.what());
        }
        Ok(())
    }

    /// A scale that prints a load once is asked when the operator says so.
    fn say_when_it_prints(&mut self) -> Result<()> {
        if self.scale.model().name == "adam-cbd" {
            let heard = self.scanner.scan("SW:CMD:WEIGH", DEADLINE).with_context(|| self.what())?;
            ensure!(heard == Heard::Understood, "{}: {heard:?}", self.what());
            // While the goods swing it prints nothing, and is asked again a few seconds later.
        }
        Ok(())
    }

    fn good(&mut self) -> Result<()> {
        let begun = Instant::now();
        // A refusal of what lay there before may still ring.
        while begun.elapsed() < DEADLINE {
            match self.scanner.hear(DEADLINE)? {
                Some(Heard::Good) => return Ok(()),
                Some(Heard::Bad) => {}
                heard => bail!("{heard:?} instead of the good signal"),
            }
        }
        bail!("only refusals")
    }
}

/// Grams as kilograms in the books: without zeros at the end.
fn decimal(grams: i64) -> String {
    let text = format!("{}.{:03}", grams / 1_000, grams % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn catalogue() -> Vec<u8> {
    let site = SiteId::new("HAM").unwrap();
    let nuts = CatalogueItem {
        id: ItemId::new("NUTS").unwrap(),
        name: "nuts".into(),
        uom: Uom::Kilogram,
        gtins: vec![Gtin::parse("9506000134352").unwrap()],
        codes: vec![],
        rules: ItemRules::default(),
    };
    let part = Catalogue {
        revision: 1,
        part: 0,
        parts: 1,
        site: site.clone(),
        items: vec![nuts],
        locations: vec![LocationId::new("A-01").unwrap()],
        since: None,
    };
    match Assembler::new(site).handle_part(part) {
        PartOutcome::Complete { durable, .. } => durable,
        other => panic!("{other:?}"),
    }
}
