//! Stories: what an operator does at a station, and what must happen. The files under `stories/` are written so that a
//! storekeeper can read them.
//!
//! A line that begins with two spaces is what the station did; every other line is what was done to it:
//!
//! ```text
//! # a remark
//! item MUG "Blue mug" H87 4006381333931 code MUG-1   known to the catalogue (with its unit, GTINs, other codes)
//!   ... / needs lot serial expiry / weighs 0.25 kg +- 0.01 / recalled L-6 L-7 / pack 14006381333938 of 12
//! location A-01                                     known to the catalogue
//! task pick SO-1: 3 MUG from A-01, 2 CUP            told by the gateway (pick, receive, announced, replenish)
//! task announced 106141411234567897 of PO-8: 480 MUG lot L-7 until 270131
//! task count C-3 at A-02
//! bin A-01: 3 MUG                                   what lies there, told by the gateway
//! scale adam-cbd                                    the station has a scale of this protocol; else mt-sics
//! codes nobody knows are recorded                   the site's choice; else they are refused
//! power cut                                         the agent starts anew with what is in the journal
//! scan ]E04006381333931                             the scanner read this (<GS> is the separator)
//! line S S     1.250 kg                             the scale sent this line
//! wait 30 s                                         nothing happens for so long
//! disk fails / disk works / disk waits / disk goes on   what the journal does with what is recorded
//! again 50 ms ]E04006381333931                      the scanner read this so soon after the line before
//! garbled                                           the scanner sent something that is no read
//! ```
//!
//! The runner checks that what the station does is what is written, line by line. After a wanted change
//! `UPDATE_STORIES=1 cargo test -p stockwire-agent --test stories` writes the files anew; read the difference.

// Helpers of tests: a failing unwrap is a failing test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stockwire_agent::catalogue::{Assembler, Catalogue, PartOutcome};
use stockwire_agent::journal::{Journal, JournalError, MemoryJournal, ReadLimit};
use stockwire_agent::picture::Picture;
use stockwire_agent::scale::{self, ScaleDecoder, ScaleOptions, ScaleProtocol};
use stockwire_agent::scanner::ReadFault;
use stockwire_agent::station::{Action, Recorded, Station, StationConfig, Ticket};
use stockwire_agent::tasks;
use stockwire_agent::workflow::Unknown;
use stockwire_agent::workflow::amount::say;
use stockwire_protocol::gs1::{Date, DayZero, Gtin};
use stockwire_protocol::{
    AgentId, Bin, Body, Catalogue as Part, CatalogueItem, Code, Content, DeviceId, Epoch, Event, ItemId,
    ItemRules, LocationId, Lot, MovementId, PieceWeight, Place, Purpose, Quantity, Reference, Sequence,
    SiteId, StabilitySource, StationId, Task, TaskKind, TaskLine, Tasks, UnitSource, Uom, When,
};

#[test]
fn every_story_goes_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "stories are missing: {files:?}");
    let mut failed = Vec::new();
    for file in files {
        let written = std::fs::read_to_string(&file).unwrap();
        let told = tell(&written);
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if told == written {
            continue;
        }
        if std::env::var_os("UPDATE_STORIES").is_some() {
            std::fs::write(&file, &told).unwrap();
            continue;
        }
        let at = told.lines().zip(written.lines()).position(|(a, b)| a != b);
        let at = at.unwrap_or(told.lines().count().min(written.lines().count()));
        let line = |text: &str| text.lines().nth(at).unwrap_or("(end)").to_string();
        failed.push(format!("{name}:{}\n  written: {}\n  happened: {}", at + 1, line(&written), line(&told)));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Plays the story and writes it down as it happened.
fn tell(story: &str) -> String {
    let mut told = String::new();
    let mut stage = Stage::new();
    for line in story.lines().filter(|line| !line.starts_with("  ")) {
        told.push_str(line);
        told.push('\n');
        stage.play(line);
        match std::mem::take(&mut stage.asked) {
            0 => {}
            1 => stage.happened.push("the scale is asked".into()),
            more => stage.happened.push(format!("the scale is asked {more} times")),
        }
        stage.happened.drain(..).for_each(|line| writeln!(told, "  {line}").unwrap());
    }
    told
}

/// What the journal does with what is recorded.
#[derive(Clone, Copy, PartialEq)]
enum Disk {
    Works,
    Fails,
    /// It has not answered yet.
    Waits,
}

struct Stage {
    now: Duration,
    items: Vec<CatalogueItem>,
    locations: Vec<LocationId>,
    tasks: Vec<Task>,
    bins: Option<Vec<Bin>>,
    unknown: Unknown,
    scale_protocol: &'static dyn ScaleProtocol,
    picture: Arc<Mutex<Picture>>,
    station: Station,
    scale: Box<dyn ScaleDecoder>,
    journal: MemoryJournal,
    disk: Disk,
    waiting: VecDeque<(Ticket, Vec<Event>)>,
    /// Requests to the scale since the last line.
    asked: usize,
    happened: Vec<String>,
}

/// Between two lines of a story; longer than the bounce window.
const PACE: Duration = Duration::from_millis(1_000);

impl Stage {
    fn new() -> Self {
        let picture = Arc::new(Mutex::new(Picture::new(site())));
        let nothing = Arc::new(Catalogue::empty(site()));
        let scale_protocol = scale::find("mt-sics").unwrap();
        Self {
            now: Duration::ZERO,
            items: Vec::new(),
            locations: Vec::new(),
            tasks: Vec::new(),
            bins: None,
            unknown: Unknown::Refuse,
            station: Station::sharing(config(Unknown::Refuse, scale_protocol), nothing, Arc::clone(&picture)),
            picture,
            scale: scale_protocol.decoder(&ScaleOptions::default()),
            scale_protocol,
            journal: MemoryJournal::new(Epoch::from_bytes([1; 16])),
            disk: Disk::Works,
            waiting: VecDeque::new(),
            asked: 0,
            happened: Vec::new(),
        }
    }

    fn play(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "" | "#" => return,
            "item" => self.item(rest),
            "location" => {
                self.locations.push(LocationId::new(rest).unwrap());
                self.catalogue();
            }
            "task" => {
                self.tasks.push(task(rest, &self.items));
                self.tell();
            }
            "bin" => {
                let (location, items) = rest.split_once(": ").unwrap();
                let lines = items.split(", ").map(|one| task_line(one, &self.items));
                let items = lines.map(|line| (line.item, line.quantity)).collect();
                let bin = Bin { location: LocationId::new(location).unwrap(), items };
                self.bins.get_or_insert_default().push(bin);
                self.tell();
            }
            "codes" if rest == "nobody knows are recorded" => {
                self.unknown = Unknown::Record;
                self.start();
            }
            "scale" => {
                self.scale_protocol = scale::find(rest).unwrap();
                self.scale = self.scale_protocol.decoder(&ScaleOptions::default());
                self.start();
            }
            "power" if rest == "cut" => {
                self.start();
                self.station.handle_history(self.now, self.when(), &self.history());
            }
            "scan" => self.scan(rest, PACE),
            "again" => {
                let (ms, code) = rest.split_once(" ms ").unwrap();
                self.scan(code, Duration::from_millis(ms.parse().unwrap()));
            }
            "garbled" => {
                self.now += PACE;
                self.station.handle_scan(self.now, self.when(), &device(), Err(ReadFault::WithoutSuffix));
            }
            "line" => {
                self.now += PACE;
                self.scale.handle_bytes(self.now, rest.as_bytes());
                self.scale.handle_bytes(self.now, b"\r\n");
                while let Some(reply) = self.scale.poll_reply() {
                    self.station.handle_weight(self.now, self.when(), reply);
                }
            }
            "wait" => self.wait(rest),
            "disk" => {
                self.disk = match rest {
                    "works" | "goes on" => Disk::Works,
                    "fails" => Disk::Fails,
                    "waits" => Disk::Waits,
                    _ => panic!("no such disk: {line}"),
                }
            }
            _ => panic!("not understood: {line}"),
        }
        self.act();
    }

    /// `MUG "Blue mug" H87 4006381333931 code MUG-1`
    fn item(&mut self, rest: &str) {
        let (id, rest) = rest.split_once(" \"").unwrap();
        let (name, rest) = rest.split_once("\" ").unwrap();
        let (rest, rules) = rest.split_once(" / ").unwrap_or((rest, ""));
        let (numbers, codes) = rest.split_once(" code ").unwrap_or((rest, ""));
        let mut numbers = numbers.split(' ');
        let uom = Uom::from_code(numbers.next().unwrap()).unwrap();
        self.items.push(CatalogueItem {
            id: ItemId::new(id).unwrap(),
            name: name.into(),
            uom,
            gtins: numbers.map(|gtin| Gtin::parse(gtin).unwrap()).collect(),
            codes: codes.split_whitespace().map(String::from).collect(),
            rules: item_rules(rules),
        });
        self.catalogue();
    }

    /// Another start of the agent: nothing is left but what the gateway told and the journal.
    fn start(&mut self) {
        let catalogue = Arc::new(Catalogue::empty(site()));
        self.picture = Arc::new(Mutex::new(Picture::new(site())));
        self.station =
            Station::sharing(config(self.unknown, self.scale_protocol), catalogue, Arc::clone(&self.picture));
        self.catalogue();
        self.tell();
        let history = self.history();
        let events: Vec<_> = history.into_iter().map(|(_, event)| event).collect();
        let (epoch, head) = (self.journal.epoch(), self.journal.head());
        self.picture.lock().unwrap().handle_recorded(epoch, head, &events);
    }

    fn history(&self) -> Vec<(MovementId, Event)> {
        let limit = ReadLimit { events: usize::MAX, bytes: usize::MAX };
        let events = self.journal.read(Sequence::NONE, limit).unwrap();
        let id = |n| MovementId {
            agent: AgentId::new("box-1").unwrap(),
            epoch: self.journal.epoch(),
            sequence: Sequence::new(n),
        };
        (1..).map(id).zip(events).collect()
    }

    /// The gateway tells what is to be done and what lies where.
    fn tell(&mut self) {
        let part = Tasks {
            revision: 1,
            part: 0,
            parts: 1,
            site: site(),
            as_of: None,
            tasks: self.tasks.clone(),
            bins: self.bins.clone(),
            since: None,
        };
        let mut assembler = tasks::Assembler::new(site());
        assembler.handle_part(part);
        self.picture.lock().unwrap().handle_tasks(Arc::clone(assembler.current()));
        self.station.handle_tasks();
    }

    fn catalogue(&mut self) {
        let (items, locations) = (self.items.clone(), self.locations.clone());
        let part = Part { revision: 1, part: 0, parts: 1, site: site(), items, locations, since: None };
        let PartOutcome::Complete { current, .. } = Assembler::new(site()).handle_part(part) else {
            panic!()
        };
        self.station.handle_catalogue(current);
    }

    fn scan(&mut self, text: &str, pace: Duration) {
        self.now += pace;
        let read = text.replace("<GS>", "\x1d").into_bytes();
        self.station.handle_scan(self.now, self.when(), &device(), Ok(read));
    }

    fn wait(&mut self, rest: &str) {
        let (count, unit) = rest.split_once(' ').unwrap();
        let unit = Duration::from_millis(match unit {
            "ms" => 1,
            "s" => 1_000,
            "min" => 60_000,
            _ => panic!("no such unit: {rest}"),
        });
        let until = self.now + unit * count.parse().unwrap();
        while let Some(due) = self.station.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.station.handle_timeout(self.now);
            self.act();
        }
        self.now = until;
    }

    fn when(&self) -> When {
        When::Synced { unix_ms: 1_795_000_000_000 + self.now.as_millis() as i64 }
    }

    /// Does what the station wants, until it wants nothing more.
    fn act(&mut self) {
        let mut asked = 0;
        loop {
            if self.disk != Disk::Waits
                && let Some((ticket, events)) = self.waiting.pop_front()
            {
                self.record(ticket, &events);
            }
            match self.station.poll_action() {
                Some(Action::Record { ticket, events }) => self.waiting.push_back((ticket, events)),
                Some(Action::Signal { signal, message }) => {
                    self.happened.push(format!("{}: {message}", signal.as_str()))
                }
                Some(Action::RequestWeight) => {
                    self.scale.request();
                    asked += 1;
                }
                Some(Action::Display(screen)) => {
                    let workflow = screen.workflow.unwrap_or("-");
                    let weight = screen.weight.map(|weight| format!(" [{weight}]")).unwrap_or_default();
                    let note = match screen.signal {
                        None => format!(" ({})", screen.message),
                        Some(_) => String::new(),
                    };
                    let note = if screen.message.is_empty() { String::new() } else { note };
                    let shown = format!("screen: {workflow}: {}{weight}{note}", screen.expected);
                    // Only the last one stays on the glass.
                    self.happened.retain(|line| !line.starts_with("screen: "));
                    self.happened.push(shown);
                }
                None if self.waiting.is_empty() || self.disk == Disk::Waits => break,
                None => {}
            }
        }
        self.asked += asked;
    }

    fn record(&mut self, ticket: Ticket, events: &[Event]) {
        if self.disk == Disk::Fails {
            let error = JournalError::io("append", "No space left on device");
            return self.station.handle_recorded(self.now, ticket, Err(&error));
        }
        let last = self.journal.append(events).unwrap();
        let first = last.get() + 1 - events.len() as u64;
        for (sequence, event) in (first..).zip(events) {
            self.happened.push(format!("#{sequence} {}", print(&event.body)));
        }
        let recorded = Recorded { epoch: self.journal.epoch(), last };
        self.station.handle_recorded(self.now, ticket, Ok(recorded));
    }
}

fn device() -> DeviceId {
    DeviceId::new("scanner-1").unwrap()
}

fn site() -> SiteId {
    SiteId::new("HAM").unwrap()
}

fn config(unknown: Unknown, scale: &dyn ScaleProtocol) -> StationConfig {
    let agent = AgentId::new("box-1").unwrap();
    let scale_prints = scale.prints();
    StationConfig {
        scale: true,
        scale_prints,
        unknown,
        ..StationConfig::new(agent, StationId::new("bench-1").unwrap())
    }
}

/// `needs lot expiry / weighs 0.25 kg +- 0.01 / recalled L-6 / pack 14006381333938 of 12`
fn item_rules(text: &str) -> ItemRules {
    let mut rules = ItemRules::default();
    for rule in text.split(" / ").filter(|rule| !rule.is_empty()) {
        let (verb, rest) = rule.split_once(' ').unwrap();
        let words: Vec<_> = rest.split(' ').collect();
        match (verb, &words[..]) {
            ("needs", what) => {
                rules.lot = what.contains(&"lot");
                rules.serial = what.contains(&"serial");
                rules.expiry = what.contains(&"expiry");
            }
            ("weighs", [weight, unit, "+-", tolerance]) => {
                let uom = if *unit == "kg" { Uom::Kilogram } else { Uom::Gram };
                rules.piece_weight = Some(PieceWeight {
                    expected: Quantity::parse(weight, uom).unwrap(),
                    tolerance_steps: Quantity::parse(tolerance, uom).unwrap().steps,
                });
            }
            ("recalled", lots) => rules.recalled = lots.iter().map(|lot| Lot::new(*lot).unwrap()).collect(),
            ("pack", [gtin, "of", count]) => {
                rules.packs.push((Gtin::parse(gtin).unwrap(), count.parse().unwrap()));
            }
            _ => panic!("no such rule: {rule}"),
        }
    }
    rules
}

/// `pick SO-1: 3 MUG from A-01`, `announced 106141411234567897 of PO-8: 480 MUG lot L-7`, `count C-3 at A-02`
fn task(text: &str, items: &[CatalogueItem]) -> Task {
    let (head, lines) = text.split_once(": ").unwrap_or((text, ""));
    let words: Vec<_> = head.split(' ').collect();
    let kind = match words[0] {
        "pick" => TaskKind::Pick,
        "receive" => TaskKind::Receive,
        "announced" => TaskKind::Announced,
        "count" => TaskKind::Count,
        "replenish" => TaskKind::Replenish,
        _ => panic!("no such task: {text}"),
    };
    let after = |word: &str| words.iter().position(|other| *other == word).map(|at| words[at + 1]);
    Task {
        kind,
        id: Reference::new(words[1]).unwrap(),
        order: after("of").map(|order| Reference::new(order).unwrap()),
        location: after("at").map(|location| LocationId::new(location).unwrap()),
        lines: lines.split(", ").filter(|line| !line.is_empty()).map(|line| task_line(line, items)).collect(),
    }
}

/// `480 MUG from A-01 to A-02 lot L-7 until 270131`
fn task_line(text: &str, items: &[CatalogueItem]) -> TaskLine {
    let words: Vec<_> = text.split(' ').collect();
    let item = items.iter().find(|item| item.id.as_str() == words[1]).unwrap();
    let after = |word: &str| words.iter().position(|other| *other == word).map(|at| words[at + 1]);
    let place = |word| after(word).map(|location| LocationId::new(location).unwrap());
    TaskLine {
        item: item.id.clone(),
        quantity: Quantity::parse(words[0], item.uom).unwrap(),
        from: place("from"),
        to: place("to"),
        lot: after("lot").map(|lot| Lot::new(lot).unwrap()),
        expires_on: after("until").map(|day| Date::from_yymmdd(day, 2026, DayZero::Refused).unwrap()),
    }
}

/// One fact in one line.
fn print(body: &Body) -> String {
    let mut line = match body {
        Body::Movement(m) => {
            let (from, to) = (place(&m.from), place(&m.to));
            format!("{} {} {}: {from} -> {to}", m.step.as_str(), say(m.quantity), m.item)
        }
        Body::Count(count) => format!("counted {} {} in {}", say(count.counted), count.item, count.location),
        Body::Lost { count } => format!("lost {count}"),
        Body::Handling(handling) => {
            let content = match &handling.content {
                None => String::new(),
                Some(Content::Goods { item, quantity }) => format!(" {} {item}", say(*quantity)),
                Some(Content::Plate(plate)) => format!(" plate {plate}"),
            };
            let at = handling.location.as_ref().map(|location| format!(" at {location}")).unwrap_or_default();
            format!("{}{content}{at}", handling.act.as_str())
        }
        Body::Unresolved(unresolved) => {
            let item = code(&unresolved.item, ToString::to_string);
            match &unresolved.what {
                Purpose::Move { step, from, to } => {
                    let (from, to) = (code(from, place), code(to, place));
                    format!(
                        "unresolved {} {} {item}: {from} -> {to}",
                        step.as_str(),
                        say(unresolved.quantity)
                    )
                }
                Purpose::Count { location } => {
                    let location = code(location, ToString::to_string);
                    format!("unresolved count {} {item} in {location}", say(unresolved.quantity))
                }
            }
        }
    };
    let Some(details) = body.details() else { return line };
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            write!(line, ", {name} {value}").unwrap();
        }
    };
    add("lot", details.lot.as_ref().map(ToString::to_string));
    add("serial", details.serial.as_ref().map(ToString::to_string));
    add("expires", details.expires_on.map(|date| date.to_string()));
    add("plate", details.license_plate.map(|plate| plate.to_string()));
    add("condition", details.disposition.map(|disposition| disposition.as_str().into()));
    add("why", details.reason.as_ref().map(ToString::to_string));
    add("order", details.reference.as_ref().map(ToString::to_string));
    add("gross", details.weighing.map(|weighing| weighing.gross.decimal()));
    add("tare", details.weighing.map(|weighing| weighing.tare.decimal()));
    let (stability, unit) = (details.stability_source, details.unit_source);
    add("stability", (stability != StabilitySource::Reported).then(|| stability.as_str().into()));
    add("unit", (unit != UnitSource::Reported).then(|| unit.as_str().into()));
    add("by", details.operator.as_ref().map(ToString::to_string));
    let exceptions: Vec<_> = details.exceptions.iter().map(|exception| exception.as_str()).collect();
    add("although", (!exceptions.is_empty()).then(|| exceptions.join(" ")));
    add(
        "takes back",
        details.corrects.as_ref().map(|correction| format!("#{}", correction.movement.sequence)),
    );
    line
}

fn code<T>(code: &Code<T>, say: impl Fn(&T) -> String) -> String {
    match code {
        Code::Known(known) => say(known),
        Code::Scanned(raw) => format!("<{raw}>"),
    }
}

fn place(place: &Place) -> String {
    match place {
        Place::At(location) => location.to_string(),
        other => format!("{other:?}").to_lowercase(),
    }
}
