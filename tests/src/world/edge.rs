//! An edge box: the agent's own cores, with a simulated disk, scanner, scale and MQTT client around them.
//!
//! This is the counterpart of the agent's `run.rs`: it makes no decision of its own.

mod uplink;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use stockwire_agent::catalogue::{self, Assembler};
use stockwire_agent::feedback::Signal;
use stockwire_agent::journal::{Journal as _, JournalError};
use stockwire_agent::outbox::{Outbox, OutboxConfig};
use stockwire_agent::scale::{Net, Range, Reading, Shown, Source, Stability, Unit};
use stockwire_agent::station::{Action, Recorded, Station, StationConfig, Ticket};
use stockwire_protocol::backoff::Backoff;
use stockwire_protocol::{AgentId, DeviceId, Epoch, Event, SiteId, StationId, When};

use super::broker::{ConnId, End};
use super::disk::Disk;
use super::operator::{Act, Expect, Next, Operator, Step};
use super::random::Random;
use super::{Happening, World};

/// The wall clock at the beginning of every world.
pub(super) const UNIX_MS: i64 = 1_790_000_000_000;

/// One box with its station.
pub(super) struct EdgeBox {
    /// Its name.
    pub(super) agent: AgentId,
    /// Where it stands.
    pub(super) site: SiteId,
    /// What survives its process.
    pub(super) disk: Disk,
    /// Who works at it.
    pub(super) operator: Operator,
    station: StationId,
    device: DeviceId,
    scale: bool,
    /// Some boards have no clock battery.
    clock_battery: bool,
    process: Option<Process>,
    /// Counts starts, so that what was arranged for an earlier process does not reach the next.
    life: u32,
    /// When the operator looks up next, if that is arranged.
    look_up: Option<Duration>,
    /// It has no network before this.
    pub(super) offline_until: Duration,
    /// Was taken out of use.
    pub(super) retired: bool,
    /// Since when the gateway has refused its journal.
    refused_since: Option<Duration>,
}

struct Process {
    started: Duration,
    clock_synced: bool,
    station: Station,
    outbox: Outbox,
    assembler: Assembler,
    link: Link,
    backoff: Backoff,
    /// PUBACKs that are to come.
    awaited: BTreeSet<u64>,
    writing: Option<Writing>,
    /// Good signals to come, with the epoch of their rows.
    good: VecDeque<Epoch>,
    /// Good signals that sound and are not heard yet.
    beeps: u32,
    /// The journal's head when the process began, or began the epoch.
    head_at_start: u64,
    timer: Option<Duration>,
    wants_epoch: bool,
}

/// An append under way.
struct Writing {
    ticket: Ticket,
    events: Vec<Event>,
    /// Once it is flushed or refused; the process hears of it later.
    result: Option<Result<Recorded, JournalError>>,
}

enum Link {
    Waiting,
    Dialling(ConnId),
    Up {
        conn: ConnId,
        /// The client library has stopped sending, and does not know it.
        stuck: bool,
    },
}

/// As the agent's own link: first wait and cap.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_CAP: Duration = Duration::from_secs(60);

impl EdgeBox {
    /// A box that has never been switched on.
    pub(super) fn new(
        number: usize,
        agent: AgentId,
        site: SiteId,
        disk: Disk,
        operator: Operator,
        scale: bool,
    ) -> Self {
        Self {
            agent,
            site,
            disk,
            operator,
            // Valid by their form.
            station: StationId::new(format!("bench-{number}")).expect("a station name"),
            device: DeviceId::new("scanner-1").expect("a device name"),
            scale,
            clock_battery: number.is_multiple_of(2),
            process: None,
            life: 0,
            look_up: None,
            offline_until: Duration::ZERO,
            retired: false,
            refused_since: None,
        }
    }

    /// A second box with the same card and name, and somebody else at it.
    pub(super) fn twin(&self, number: usize, random: Random) -> Self {
        let operator = self.operator.colleague(random);
        let (agent, site) = (self.agent.clone(), self.site.clone());
        Self::new(number, agent, site, self.disk.clone(), operator, self.scale)
    }

    /// Whether it runs.
    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Whether everything recorded is at the gateway, as far as the box knows.
    pub(super) fn is_drained(&self) -> bool {
        self.retired
            || (self.is_running() && self.disk.watermark() == self.disk.head() && self.operator.is_home())
    }

    /// Its connection, if it has one.
    pub(super) fn conn(&self) -> Option<ConnId> {
        match self.process.as_ref()?.link {
            Link::Up { conn, .. } | Link::Dialling(conn) => Some(conn),
            Link::Waiting => None,
        }
    }

    /// The client library on this box stops sending and does not notice.
    pub(super) fn get_stuck(&mut self) {
        if let Some(Process { link: Link::Up { stuck, .. }, .. }) = &mut self.process {
            *stuck = true;
        }
    }

    /// For the log and for a failure.
    pub(super) fn status(&self) -> String {
        let outbox = self.process.as_ref().map(|process| process.outbox.status());
        format!(
            "{}: head {}, watermark {}, operator home: {}, outbox {outbox:?}",
            self.agent,
            self.disk.head(),
            self.disk.watermark(),
            self.operator.is_home()
        )
    }
}

impl World {
    /// The box is switched on, or its process started again.
    pub(super) fn boot(&mut self, at: usize) {
        let now = self.queue.now();
        let edge = &mut self.boxes[at];
        if edge.is_running() || edge.retired {
            return;
        }
        edge.life += 1;
        edge.disk.reopen();
        self.settle_doubt(at);
        let edge = &mut self.boxes[at];
        let (epoch, head) = (edge.disk.epoch(), edge.disk.head().get());
        let assembler = match &edge.disk.catalogue {
            Some(file) => {
                catalogue::load(edge.site.clone(), file).unwrap_or_else(|_| Assembler::new(edge.site.clone()))
            }
            None => Assembler::new(edge.site.clone()),
        };
        let mut config = StationConfig::new(edge.agent.clone(), edge.station.clone());
        config.scale = edge.scale;
        edge.process = Some(Process {
            started: now,
            clock_synced: edge.clock_battery,
            station: Station::new(config, Arc::clone(assembler.current())),
            outbox: Outbox::new(OutboxConfig::new(edge.agent.clone()), &edge.disk),
            assembler,
            link: Link::Waiting,
            backoff: Backoff::new(RETRY_FIRST, RETRY_CAP),
            awaited: BTreeSet::new(),
            writing: None,
            good: VecDeque::new(),
            beeps: 0,
            head_at_start: head,
            timer: None,
            wants_epoch: false,
        });
        edge.look_up = None;
        let life = edge.life;
        self.log(|| format!("box {at}: starts, epoch {epoch}, head {head}"));
        self.queue.after(Duration::from_millis(50), Happening::Dial { at, life });
        self.arrange_look_up(at, now);
        self.pump(at);
    }

    /// What the operator was waiting for when the process ended is recorded or it is not: the journal says.
    pub(super) fn settle_doubt(&mut self, at: usize) {
        let now = self.queue.now();
        let edge = &mut self.boxes[at];
        let doubt: Vec<_> = edge.operator.in_doubt().map(<[_]>::to_vec).collect();
        let (epoch, head) = (edge.disk.epoch(), edge.disk.head().get());
        match self.auditor.resolve(at, epoch, head, doubt.iter().map(Vec::as_slice)) {
            Ok(recorded) => {
                edge.operator.start_again(now, recorded);
                self.log(|| format!("box {at}: {recorded} of {} in doubt are recorded", doubt.len()));
            }
            Err(fault) => self.fail(fault),
        }
    }

    /// The process ends without a word. A power cut also takes what was not flushed.
    pub(super) fn kill_box(&mut self, at: usize, power: bool) {
        let conn = self.boxes[at].conn();
        let edge = &mut self.boxes[at];
        if edge.process.take().is_none() {
            return;
        }
        edge.life += 1;
        if power {
            edge.disk.cut_power();
        }
        self.log(|| format!("box {at}: {}", if power { "power cut" } else { "killed" }));
        if let Some(conn) = conn {
            self.hang_up(conn, End::Client, power);
        }
    }

    /// Ends the process if it is still that one; it starts again by itself.
    pub(super) fn kill_life(&mut self, at: usize, life: u32) {
        if self.is_life(at, life) {
            self.kill_box(at, false);
            let wait = self.random.ms(500..=3_000);
            self.queue.after(wait, Happening::Boot { at });
        }
    }

    fn is_life(&self, at: usize, life: u32) -> bool {
        self.boxes[at].life == life && self.boxes[at].is_running()
    }

    // ---- the operator ----

    fn arrange_look_up(&mut self, at: usize, due: Duration) {
        let (now, edge) = (self.queue.now(), &mut self.boxes[at]);
        let due = due.max(now + Duration::from_millis(1));
        if edge.look_up.is_none_or(|arranged| due < arranged) {
            edge.look_up = Some(due);
            self.queue.at(due, Happening::LookUp { at, life: edge.life });
        }
    }

    pub(super) fn look_up(&mut self, at: usize, life: u32) {
        let now = self.queue.now();
        if !self.is_life(at, life) || self.boxes[at].look_up != Some(now) {
            return;
        }
        let edge = &mut self.boxes[at];
        edge.look_up = None;
        let Some(process) = &edge.process else { return };
        if process.assembler.current().revision() == 0 {
            // The screen says that no catalogue has come yet.
            return self.arrange_look_up(at, now + Duration::from_secs(3));
        }
        match edge.operator.next(now, &self.company) {
            Next::Wait(due) => self.arrange_look_up(at, due),
            Next::Listen => {}
            Next::Home => {}
            Next::Do(step, bounce) => {
                self.act(at, &step);
                if let (Some(wait), Act::Scan(code)) = (bounce, step.act) {
                    self.queue.after(wait, Happening::Scan { at, life, code });
                }
                // Perhaps the next piece is scanned before the beep.
                let wait = self.random.ms(460..=900);
                self.arrange_look_up(at, now + wait);
            }
        }
    }

    fn act(&mut self, at: usize, step: &Step) {
        self.log(|| match &step.act {
            Act::Scan(code) => format!("box {at}: scan {}", String::from_utf8_lossy(code)),
            Act::Weigh(grams) => format!("box {at}: {grams} g on the scale"),
        });
        if let Act::Scan(code) = &step.act {
            self.scan(at, self.boxes[at].life, code.clone());
        }
    }

    pub(super) fn scan(&mut self, at: usize, life: u32, code: Vec<u8>) {
        if !self.is_life(at, life) {
            return;
        }
        let when = self.wall_clock(at);
        let now = self.queue.now();
        let edge = &mut self.boxes[at];
        let Some(process) = &mut edge.process else { return };
        process.station.handle_scan(now - process.started, when, &edge.device, Ok(code));
        self.pump(at);
    }

    fn wall_clock(&self, at: usize) -> When {
        let now = self.queue.now();
        let edge = &self.boxes[at];
        let unix_ms = UNIX_MS + now.as_millis() as i64;
        match &edge.process {
            Some(process) if !process.clock_synced => {
                let uptime = now - process.started;
                let uptime_ms = uptime.as_millis() as u64;
                // Without a battery the clock begins at its own beginning.
                When::Unsynced { unix_ms: uptime.as_millis() as i64, boot: edge.disk.boot(), uptime_ms }
            }
            _ => When::Synced { unix_ms },
        }
    }

    /// A signal reaches the operator's ear.
    pub(super) fn heard(&mut self, at: usize, life: u32, signal: Signal, epoch: Option<Epoch>) {
        if !self.is_life(at, life) {
            return;
        }
        let now = self.queue.now();
        let edge = &mut self.boxes[at];
        let settled = match edge.operator.hear(now, signal) {
            Ok(settled) => settled,
            Err(fault) => return self.fail(format!("box {at}: {fault}")),
        };
        if let (Some(process), true) = (&mut edge.process, epoch.is_some()) {
            process.beeps -= 1;
        }
        if let Some(Step { expect: Expect::Good(facts), .. }) = settled {
            let Some(epoch) = epoch else { return self.fail(format!("box {at}: good without a row")) };
            let head =
                edge.disk.journals().find(|journal| journal.epoch() == epoch).map_or(0, |j| j.head().get());
            if let Err(fault) = self.auditor.heard_good(at, epoch, head, &facts) {
                return self.fail(fault);
            }
            self.begin_epoch_when_asked(at);
        }
        self.arrange_look_up(at, now);
    }

    // ---- the agent's edge ----

    /// Does what the cores want, until they want nothing more.
    pub(super) fn pump(&mut self, at: usize) {
        self.pump_station(at);
        self.pump_outbox(at);
        self.arrange_timer(at);
    }

    fn pump_station(&mut self, at: usize) {
        let life = self.boxes[at].life;
        loop {
            let edge = &mut self.boxes[at];
            let Some(process) = &mut edge.process else { return };
            let Some(action) = process.station.poll_action() else { return };
            match action {
                Action::Record { ticket, events } => {
                    assert!(process.writing.is_none(), "one record at a time");
                    process.writing = Some(Writing { ticket, events, result: None });
                    let wait = self.disk_wait();
                    self.queue.after(wait, Happening::Flushed { at, life });
                }
                Action::Signal { signal, message } => {
                    let epoch = if signal == Signal::Good { process.good.pop_front() } else { None };
                    process.beeps += u32::from(epoch.is_some());
                    self.log(|| format!("box {at}: {} ({message})", signal.as_str()));
                    let wait = self.random.ms(1..=5);
                    self.queue.after(wait, Happening::Heard { at, life, signal, epoch });
                }
                Action::RequestWeight => {
                    let wait = self.random.ms(20..=200);
                    self.queue.after(wait, Happening::Weighed { at, life });
                }
                Action::Display(_) => {}
            }
        }
    }

    fn disk_wait(&mut self) -> Duration {
        let slow = self.chaos && self.weather.slow_disk && self.random.chance(50);
        if slow { self.random.ms(200..=4_000) } else { self.random.ms(20..=40) }
    }

    /// The append reaches the disk, or fails. From here on a power cut leaves the row; nobody has heard of it yet.
    pub(super) fn flushed(&mut self, at: usize, life: u32) {
        if !self.is_life(at, life) {
            return;
        }
        let edge = &mut self.boxes[at];
        let Some(writing) = edge.process.as_mut().and_then(|process| process.writing.as_mut()) else {
            return;
        };
        let epoch = edge.disk.epoch();
        let result = edge.disk.append(&writing.events).map(|last| Recorded { epoch, last });
        if let Ok(recorded) = &result {
            let first = recorded.last.get() + 1 - writing.events.len() as u64;
            if let Err(fault) = self.cards.write(at, first, &writing.events) {
                return self.fail(fault);
            }
        }
        writing.result = Some(result);
        let wait = self.random.ms(1..=4);
        self.queue.after(wait, Happening::Recorded { at, life });
    }

    /// The process hears of it.
    pub(super) fn recorded(&mut self, at: usize, life: u32) {
        if !self.is_life(at, life) {
            return;
        }
        let now = self.queue.now();
        let edge = &mut self.boxes[at];
        let Some(process) = &mut edge.process else { return };
        let Some(Writing { ticket, result: Some(result), .. }) = process.writing.take() else { return };
        if let Ok(recorded) = &result {
            process.good.push_back(recorded.epoch);
        }
        let told = result.as_ref().map(|recorded| *recorded);
        process.station.handle_recorded(now - process.started, ticket, told);
        let poisoned = result.as_ref().err().is_some_and(JournalError::is_poisoned);
        self.pump(at);
        if poisoned {
            // The journal has to be opened again: the process ends, and its supervisor starts it anew. The signal
            // was given; the operator hears it before that.
            self.queue.after(Duration::from_millis(10), Happening::Kill { at, life });
        } else {
            self.begin_epoch_when_asked(at);
        }
    }

    /// The scale answers.
    pub(super) fn weighed(&mut self, at: usize, life: u32) {
        if !self.is_life(at, life) {
            return;
        }
        let (now, when) = (self.queue.now(), self.wall_clock(at));
        let grams = self.boxes[at].operator.load_g;
        let moving = self.random.chance(200);
        let Some(process) = &mut self.boxes[at].process else { return };
        let reading = Reading {
            value: Some(Shown { steps: grams, decimals: 3 }),
            unit: Some(Unit::Kilogram),
            unit_source: Source::Reported,
            stability: if moving || grams == 0 { Stability::Moving } else { Stability::Stable },
            stability_source: Source::Reported,
            range: Range::Ok,
            net: Net::Net,
            zero: None,
            tare: None,
            age_ms: 0,
            raw: Vec::new(),
        };
        process.station.handle_weight(now - process.started, when, Ok(reading));
        self.pump(at);
    }

    fn arrange_timer(&mut self, at: usize) {
        let now = self.queue.now();
        let edge = &mut self.boxes[at];
        let Some(process) = &mut edge.process else { return };
        let due = [process.station.poll_timeout(), process.outbox.poll_timeout()].into_iter().flatten().min();
        let Some(due) = due else { return };
        // A timer never fires in the instant in which it was set: that would be a loop without end.
        let due = (process.started + due).max(now + Duration::from_millis(1));
        if process.timer.is_none_or(|arranged| due < arranged || arranged <= now) {
            process.timer = Some(due);
            self.queue.at(due, Happening::Timer { at, life: edge.life });
        }
    }

    pub(super) fn timer(&mut self, at: usize, life: u32) {
        let now = self.queue.now();
        if !self.is_life(at, life) {
            return;
        }
        let Some(process) = &mut self.boxes[at].process else { return };
        if process.timer != Some(now) {
            return;
        }
        process.timer = None;
        process.station.handle_timeout(now - process.started);
        if process.outbox.handle_timeout(now - process.started).is_some() {
            self.log(|| format!("box {at}: the client is built anew"));
            self.rebuild_client(at);
        }
        self.pump(at);
    }
}
