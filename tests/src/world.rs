//! The seeded world: boxes, operators, broker, gateway, ERP and shop in one process and in virtual time, all from one
//! seed. First chaos, then quiet, then everything must agree with the books of an independent auditor.
//!
//! The agent's and the gateway's cores are the very code of the binaries: station, workflows, outbox, ingest, ledger,
//! SQLite store, senders, exchange and connectors. Simulated is what stands around them, each in its own file:
//!
//! ```text
//!  operator -> edge (with disk) -> broker -> cloud (with vault) -> senders -> outside (ERP, shop)
//!      |                                                                          |
//!      '----------------------- auditor: what must be there <--- check ----------'
//! ```
//! A second act sells: `market.rs`.
//! `cargo run -p stockwire-tests --bin world -- --seed 1234 --verbose` replays one.

#![allow(clippy::expect_used, reason = "names that the simulation makes up are valid by their form")]

mod auditor;
mod broker;
mod cards;
mod check;
mod cloud;
mod disk;
mod edge;
mod market;
mod operator;
mod outside;
mod queue;
mod random;
mod senders;
mod vault;
mod weather;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use stockwire_agent::feedback::Signal;
use stockwire_agent::journal::{Journal as _, MemoryJournal};
use stockwire_gateway::availability::{Basis, ChannelPolicy, Selling};
use stockwire_gateway::exchange::{Answer, Loss, Outbound};
use stockwire_protocol::{AgentId, ChannelId, Epoch, SiteId};

use crate::real::World as Company;
use auditor::Auditor;
use broker::{Broker, ConnId, End, Message, Packet};
use cards::Cards;
use cloud::Cloud;
use disk::Disk;
use edge::EdgeBox;
use operator::Operator;
use outside::{Erp, Reply, Shop};
use queue::Queue;
use random::Random;
use senders::Vendor;
use vault::Vault;
use weather::{Trouble, Weather};

/// What a seed showed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Facts that operators recorded.
    pub facts: usize,
    /// Things that happened.
    pub happenings: u64,
    /// Virtual time until everything agreed.
    pub took: Duration,
    /// Whether two cards with one identity were at work.
    pub contested: bool,
    /// Pieces that eight channels sold strictly, with faults and without one too many.
    pub sold: u64,
    /// Numbers that they were told.
    pub told: u64,
}

/// What went wrong with a seed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What is wrong.
    pub fault: String,
    /// What happened last, oldest first.
    pub log: Vec<String>,
}

/// Things that happen before a world is given up: hundreds of times what one needs.
const HAPPENINGS_MAX: u64 = 3_000_000;
/// Virtual time after the last trouble in which everything must come to rest: two of the longest waits that any part
/// has (five minutes after a refusal), and some back-offs of a minute each.
const QUIET_MAX: Duration = Duration::from_secs(30 * 60);
/// How often the world is asked whether it has come to rest.
const REST_LOOK: Duration = Duration::from_secs(5);
/// Log lines kept for a failure.
const LOG_LINES: usize = 400;

/// Everything that can be due.
enum Happening {
    // Operators and boxes.
    Boot { at: usize },
    Kill { at: usize, life: u32 },
    LookUp { at: usize, life: u32 },
    Scan { at: usize, life: u32, code: Vec<u8> },
    Flushed { at: usize, life: u32 },
    Recorded { at: usize, life: u32 },
    Heard { at: usize, life: u32, signal: Signal, epoch: Option<Epoch> },
    Weighed { at: usize, life: u32 },
    Timer { at: usize, life: u32 },
    Dial { at: usize, life: u32 },
    // The network.
    Arrive { conn: ConnId, to: End, packet: Packet },
    Ended { conn: ConnId, end: End },
    Repeat { message: Message },
    // The gateway.
    StartCloud,
    DialCloud { life: u32 },
    Ingest { life: u32 },
    Answer { life: u32 },
    Tick { life: u32 },
    SenderTurn { life: u32, vendor: Vendor },
    // The ERP and the shop.
    OutsideReceives { vendor: Vendor, outbound: Box<Outbound>, reply: Option<Reply> },
    OutsideAnswers { life: u32, vendor: Vendor, request: u64, outcome: Result<Answer, Loss> },
    // The world itself.
    Trouble(Trouble),
    StartBroker,
    Quiet,
    Rest,
}

/// One world.
struct World {
    queue: Queue,
    random: Random,
    weather: Weather,
    /// Faults happen.
    chaos: bool,
    company: Company,
    policy: ChannelPolicy,
    boxes: Vec<EdgeBox>,
    broker: Broker,
    cloud: Cloud,
    erp: Erp,
    shop: Shop,
    auditor: Auditor,
    cards: Cards,
    backups: BTreeMap<usize, MemoryJournal>,
    /// Publishes of strangers.
    garbage: Vec<Vec<u8>>,
    quiet_since: Option<Duration>,
    done: bool,
    fault: Option<String>,
    log: Option<Log>,
}

struct Log {
    lines: VecDeque<String>,
    print: bool,
}

/// How much is said about a seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Telling {
    /// Nothing but the result.
    Silent,
    /// The last lines are kept for a failure.
    Kept,
    /// Every line is printed.
    Printed,
}

/// Runs one seed.
///
/// # Errors
/// What went wrong. The same seed goes wrong in the same way again.
pub fn run(seed: u64, telling: Telling) -> Result<Report, Box<Failure>> {
    let mut world = match World::new(seed, telling) {
        Ok(world) => world,
        Err(fault) => return Err(Box::new(Failure { seed, fault, log: Vec::new() })),
    };
    // An assertion of a core is a finding like any other.
    let ended = catch_unwind(AssertUnwindSafe(|| world.play()));
    let fault = match ended {
        // The second act has books of its own: channels that sell what they were told.
        Ok(Ok(report)) => match market::play(seed) {
            Ok(sales) => return Ok(Report { sold: sales.sold, told: sales.told, ..report }),
            Err(fault) => format!("at the market: {fault}"),
        },
        Ok(Err(fault)) => fault,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            format!("a core panicked: {}", text.unwrap_or_default())
        }
    };
    if telling == Telling::Silent {
        // It is the same world again, this time with somebody who writes down what happens.
        return run(seed, Telling::Kept);
    }
    let log = world.log.map(|log| log.lines.into()).unwrap_or_default();
    Err(Box::new(Failure { seed, fault, log }))
}

impl World {
    fn new(seed: u64, telling: Telling) -> Result<Self, String> {
        let mut random = Random::new(seed);
        let weather = Weather::new(&mut random.fork());
        let company = weather.company(&mut random.fork());
        let vault = Vault::new(random.fork()).map_err(|fault| fault.to_string())?;
        let sites: Vec<SiteId> =
            company.sites.iter().map(|site| SiteId::new(site.code.as_str()).expect("a site")).collect();
        let policy = ChannelPolicy {
            channel: ChannelId::new("shop").expect("a channel"),
            sites: sites.clone(),
            safety_stock: random.below(4) as i64,
            out_of_stock_threshold: random.below(3) as i64,
            cap: random.chance(300).then_some(50),
            basis: Basis::OnHand,
            selling: Selling::default(),
        };
        let mut world = Self {
            queue: Queue::default(),
            broker: Broker::new(weather.broker_keeps_session),
            cloud: Cloud::new(vault),
            erp: Erp::new(&company),
            shop: Shop::new(&company, sites.clone()),
            auditor: Auditor::new(&company),
            boxes: Vec::new(),
            cards: Cards::default(),
            backups: BTreeMap::new(),
            garbage: Vec::new(),
            quiet_since: None,
            done: false,
            fault: None,
            log: (telling != Telling::Silent)
                .then(|| Log { lines: VecDeque::new(), print: telling == Telling::Printed }),
            chaos: true,
            policy,
            company,
            weather,
            random,
        };
        for number in 0..world.weather.boxes {
            let site = number % sites.len();
            let mut bins = world.company.sites[site].bins.clone();
            // Two boxes of a site share two bins and have two to themselves.
            bins.remove(1 - number / sites.len());
            let scale = world.weather.journal_quota == u64::MAX && !world.weather.disk_fails;
            let operator =
                Operator::new(world.random.fork(), world.weather.movements, bins, scale && number % 2 == 0);
            let agent = AgentId::new(format!("box-{}", number + 1)).expect("an agent");
            let disk = Disk::new(world.fresh_epoch(), world.weather.journal_quota);
            world.cards.begin(number, &agent, disk.epoch(), &[]);
            world.boxes.push(EdgeBox::new(number, agent, sites[site].clone(), disk, operator, scale));
        }
        Ok(world)
    }

    fn fresh_epoch(&mut self) -> Epoch {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.random.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.random.next().to_be_bytes());
        Epoch::from_bytes(bytes)
    }

    fn play(&mut self) -> Result<Report, String> {
        self.begin();
        let mut happenings = 0;
        while let Some(what) = self.queue.pop() {
            self.happens(what);
            happenings += 1;
            if let Some(fault) = self.fault.take() {
                let at = self.queue.now().as_secs_f64();
                return Err(format!("after {at:.3} s: {fault}"));
            }
            if self.done {
                self.check_the_end()?;
                return Ok(Report {
                    facts: self.auditor.facts(),
                    happenings,
                    took: self.queue.now(),
                    contested: self.auditor.is_contested(),
                    ..Report::default()
                });
            }
            if happenings > HAPPENINGS_MAX {
                return Err(format!("no end after {happenings} happenings: something runs in circles"));
            }
        }
        Err("the world stands still, and is not at rest".into())
    }

    fn begin(&mut self) {
        self.queue.after(Duration::ZERO, Happening::StartCloud);
        for at in 0..self.boxes.len() {
            let wait = self.random.ms(0..=20_000);
            self.queue.after(wait, Happening::Boot { at });
        }
        let troubles = self.weather.troubles(&mut self.random.fork(), self.boxes.len());
        for (due, trouble) in troubles {
            self.queue.at(due, Happening::Trouble(trouble));
        }
        self.cloud.vault.busy_per_mille = self.weather.store_busy_per_mille;
        self.queue.at(self.weather.chaos_ends, Happening::Quiet);
    }

    fn happens(&mut self, what: Happening) {
        match what {
            Happening::Boot { at } => self.boot(at),
            Happening::Kill { at, life } => self.kill_life(at, life),
            Happening::LookUp { at, life } => self.look_up(at, life),
            Happening::Scan { at, life, code } => self.scan(at, life, code),
            Happening::Flushed { at, life } => self.flushed(at, life),
            Happening::Recorded { at, life } => self.recorded(at, life),
            Happening::Heard { at, life, signal, epoch } => self.heard(at, life, signal, epoch),
            Happening::Weighed { at, life } => self.weighed(at, life),
            Happening::Timer { at, life } => self.timer(at, life),
            Happening::Dial { at, life } => self.dial_box(at, life),
            Happening::Arrive { conn, to, packet } => self.handle_arrival(conn, to, packet),
            Happening::Ended { conn, end } => self.handle_ended(conn, end),
            Happening::Repeat { message } => self.repeat(message),
            Happening::StartCloud => self.start_cloud(),
            Happening::DialCloud { life } => self.dial_cloud(life),
            Happening::Ingest { life } => self.ingest(life),
            Happening::Answer { life } => self.answer(life),
            Happening::Tick { life } => self.tick(life),
            Happening::SenderTurn { life, vendor } => self.sender_turn(life, vendor),
            Happening::OutsideReceives { vendor, outbound, reply } => {
                self.outside_receives(vendor, &outbound, reply);
            }
            Happening::OutsideAnswers { life, vendor, request, outcome } => {
                self.outside_answers(life, vendor, request, outcome);
            }
            Happening::Trouble(trouble) => self.trouble(trouble),
            Happening::StartBroker => self.start_broker(),
            Happening::Quiet => self.become_quiet(),
            Happening::Rest => self.look_for_rest(),
        }
    }

    /// From here on nothing fails any more.
    fn become_quiet(&mut self) {
        self.log(|| "---- quiet ----".into());
        self.chaos = false;
        self.quiet_since = Some(self.queue.now());
        self.cloud.vault.busy_per_mille = 0;
        self.start_broker();
        self.start_cloud();
        for at in 0..self.boxes.len() {
            self.boot(at);
        }
        self.queue.after(REST_LOOK, Happening::Rest);
    }

    fn look_for_rest(&mut self) {
        self.technician();
        if self.is_at_rest() {
            self.done = true;
            return;
        }
        let quiet = self.quiet_since.map_or(Duration::ZERO, |since| self.queue.now() - since);
        if quiet > QUIET_MAX {
            let state = self.state();
            return self.fail(format!("not at rest after {} s of quiet:\n{state}", quiet.as_secs()));
        }
        self.queue.after(REST_LOOK, Happening::Rest);
    }

    /// The first fault is the one that counts.
    fn fail(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }

    fn log(&mut self, line: impl FnOnce() -> String) {
        let now = self.queue.now();
        let Some(log) = &mut self.log else { return };
        let line = format!("{:>10.3}  {}", now.as_secs_f64(), line());
        if log.print {
            println!("{line}");
        }
        if log.lines.len() == LOG_LINES {
            log.lines.pop_front();
        }
        log.lines.push_back(line);
    }
}
