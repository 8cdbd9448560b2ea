//! The sans-IO centre of one station: scans and weights in, movements to record and signals out.
//!
//! ```text
//!   handle_scan, handle_weight              poll_action
//!  ---------------------------> Station ------------------> Record, Signal, RequestWeight, Display
//!                                  ^                           |
//!                                  |    handle_recorded        v
//!                                  '------------------------ journal
//! ```
//!
//! One input is worked on at a time. While its events are on their way into the journal further scans wait here, in
//! order; only the journal's word gives [`Signal::Good`], moves the session on and lets the next scan be looked at.

mod bounce;
mod calendar;
mod meaning;
mod weighing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use stockwire_protocol::gs1::{self, Date, Gln};
use stockwire_protocol::{
    AgentId, Body, Correction, CorrectionReason, DeviceId, Epoch, Event, MovementId, OperatorId, Sequence,
    StationId, When,
};

pub use self::bounce::BOUNCE_DEFAULT;
use self::bounce::{Bounce, Code};
pub(crate) use self::calendar::YEAR_MIN;
use self::calendar::{day, year};
use self::meaning::Meaning;
use self::weighing::{Asking, Platform};
pub use self::weighing::{PLATFORM_POLL, PLATFORM_WATCH_MAX, WEIGHT_ANSWER_MAX, WEIGHT_POLL};
use crate::catalogue::Catalogue;
use crate::feedback::Signal;
use crate::journal::JournalError;
use crate::picture::Picture;
use crate::scale::capture::Capture;
use crate::scale::{FrameFault, Reading};
use crate::scanner::ReadFault;
use crate::workflow::{self, Floor, Input, Next, Outcome, Session, Step, Unknown, Workflow};

/// What a site sets about one station.
#[derive(Clone, Debug)]
pub struct StationConfig {
    /// Whose journal it records into.
    pub agent: AgentId,
    /// Its name.
    pub station: StationId,
    /// How long the same code from one device counts as the same scan; [`BOUNCE_DEFAULT`] for devices not named.
    pub bounce: BTreeMap<DeviceId, Duration>,
    /// Whether it has a scale.
    pub scale: bool,
    /// The scale prints a load once and an empty platform never: it is asked when the operator scans WEIGH.
    pub scale_prints: bool,
    /// The site's own GLN; a location label with another one is refused.
    pub site_gln: Option<Gln>,
    /// What becomes of codes that the catalogue does not know.
    pub unknown: Unknown,
    /// How numbers of variable measure are read.
    pub variable_measure: Option<&'static gs1::VariableRules>,
}

impl StationConfig {
    /// A station without a scale, everything else as usual.
    pub fn new(agent: AgentId, station: StationId) -> Self {
        Self {
            agent,
            station,
            bounce: BTreeMap::new(),
            scale: false,
            scale_prints: false,
            site_gln: None,
            variable_measure: None,
            unknown: Unknown::Refuse,
        }
    }
}

/// Scans that wait while the journal commits. More means that the disk hangs, and the operator must know.
pub const WAITING_MAX: usize = 32;
/// Movements that UNDO can take back, one after the other.
pub const UNDO_MAX: usize = 64;
/// A session whose last fact is older than this at a start was over, or is nobody's any more.
pub const RESUME_MAX: Duration = workflow::IDLE_MAX;
/// Noise on the line must not turn into a siren.
const FAULT_SIGNAL_EVERY: Duration = Duration::from_secs(2);

/// What the stations of one agent know of stock and tasks together. It is locked for one call at a time.
pub type SharedPicture = Arc<Mutex<Picture>>;

/// One station.
pub struct Station {
    config: StationConfig,
    catalogue: Arc<Catalogue>,
    picture: SharedPicture,
    /// The calendar day at the last input; `None` while the clock is not synchronised.
    today: Option<Date>,
    operator: Option<OperatorId>,
    /// A session that a stop interrupted: the operator is asked whether it goes on.
    interrupted: Option<Interrupted>,
    running: Option<Running>,
    /// What is on its way into the journal; at most one.
    recording: Option<Recording>,
    /// Scans that came meanwhile; at most `WAITING_MAX`.
    waiting: VecDeque<Arrival>,
    bounce: Bounce,
    platform: Platform,
    fault_signalled: Option<Duration>,
    tickets: u64,
    screen: Screen,
    shown: Option<Screen>,
    actions: VecDeque<Action>,
}

/// The workflow that runs.
struct Running {
    name: &'static str,
    session: Box<dyn Session>,
    /// When `TimedOut` is due.
    deadline: Duration,
    /// While weighing.
    asking: Option<Asking>,
    /// Movements of this session that UNDO can take back, oldest first.
    undo: VecDeque<(MovementId, Body)>,
}

/// What ran when the agent stopped.
struct Interrupted {
    row: &'static dyn Workflow,
    session: Box<dyn Session>,
    /// Its last fact, for UNDO.
    last: (MovementId, Body),
    /// Until when the question stands.
    deadline: Duration,
}

/// Events that are being committed, and what follows when they are.
struct Recording {
    ticket: Ticket,
    events: Vec<Event>,
    next: Next,
    message: String,
    takes_back: bool,
    /// The code that caused it: scanning it again after a failure is no bounce.
    code: Option<Code>,
    /// It uses the weight on the scale; what was known of the platform before is true again if it is not stored.
    weighed: Option<Capture>,
}

struct Arrival {
    now: Duration,
    when: When,
    code: Code,
}

/// Names one request to record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(u64);

/// The journal's word that the events of a ticket are durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// The journal's epoch.
    pub epoch: Epoch,
    /// Sequence of the ticket's last event.
    pub last: Sequence,
}

/// What the station wants done.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Append all of these in one go, then call [`Station::handle_recorded`].
    Record {
        /// To be repeated there.
        ticket: Ticket,
        /// At least one.
        events: Vec<Event>,
    },
    /// Let the operator know.
    Signal {
        /// What to sound and light.
        signal: Signal,
        /// Why, in one line.
        message: String,
    },
    /// Ask the scale for a weight now; nothing to do for one that sends by itself.
    RequestWeight,
    /// Show this.
    Display(Screen),
}

/// What a display at the bench shows.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Screen {
    /// The workflow that runs.
    pub workflow: Option<&'static str>,
    /// What to scan next.
    pub expected: String,
    /// What became of the last input.
    pub message: String,
    /// Its signal.
    pub signal: Option<Signal>,
    /// The number on the scale, as far as it tells one now.
    pub weight: Option<String>,
    /// Who works here.
    pub operator: Option<String>,
    /// Events recorded since the session began.
    pub recorded: u64,
}

impl Station {
    /// A station at which no workflow runs.
    pub fn new(config: StationConfig, catalogue: Arc<Catalogue>) -> Self {
        let picture = Arc::new(Mutex::new(Picture::new(catalogue.site().clone())));
        Self::sharing(config, catalogue, picture)
    }

    /// The same with a picture of the stock that other stations of the agent add to.
    pub fn sharing(config: StationConfig, catalogue: Arc<Catalogue>, picture: SharedPicture) -> Self {
        let mut station = Self {
            config,
            catalogue,
            picture,
            today: None,
            operator: None,
            interrupted: None,
            running: None,
            recording: None,
            waiting: VecDeque::new(),
            bounce: Bounce::default(),
            platform: Platform::default(),
            fault_signalled: None,
            tickets: 0,
            screen: Screen::default(),
            shown: None,
            actions: VecDeque::new(),
        };
        station.display();
        station
    }

    /// A newer catalogue came.
    pub fn handle_catalogue(&mut self, catalogue: Arc<Catalogue>) {
        self.catalogue = catalogue;
    }

    /// The shared picture was told new tasks.
    pub fn handle_tasks(&mut self) {
        self.display();
    }

    /// At the start: the facts that this agent recorded last, oldest first, with their identity. When this station's
    /// last one is not older than a session waits, the operator is asked whether to go on.
    pub fn handle_history(&mut self, now: Duration, when: When, history: &[(MovementId, Event)]) {
        self.today = day(when);
        let ours = |event: &Event| event.body.station() == Some(&self.config.station);
        let Some((id, event)) = history.iter().rev().find(|(_, event)| ours(event)) else { return };
        let age_ms = when.unix_ms().saturating_sub(event.when.unix_ms());
        // A clock that was set since then tells no age; asking once too often costs one scan.
        let known = when.is_synced() && event.when.is_synced();
        if known && !(0..=RESUME_MAX.as_millis() as i64).contains(&age_ms) {
            return;
        }
        let found = workflow::WORKFLOWS.iter().find_map(|row| Some((*row, row.resume(&event.body)?)));
        let Some((row, session)) = found else { return };
        if let Some(operator) = event.body.details().and_then(|details| details.operator.clone()) {
            self.screen.operator = Some(operator.to_string());
            self.operator = Some(operator);
        }
        let last = (id.clone(), event.body.clone());
        self.interrupted = Some(Interrupted { row, session, last, deadline: now + RESUME_MAX });
        self.note(String::new());
        self.display();
    }

    /// A scanner's decoder gave this.
    pub fn handle_scan(
        &mut self,
        now: Duration,
        when: When,
        device: &DeviceId,
        read: Result<Vec<u8>, ReadFault>,
    ) {
        match read {
            Ok(raw) => self.arrive(Arrival { now, when, code: (device.clone(), raw) }),
            Err(fault) => {
                // Something was scanned and did not arrive whole: the operator must not take silence for success.
                if self.fault_signalled.is_none_or(|last| now.saturating_sub(last) >= FAULT_SIGNAL_EVERY) {
                    self.fault_signalled = Some(now);
                    self.signal(Signal::Refused, format!("{fault}: scan again"));
                }
            }
        }
        self.platform.look_until = now + PLATFORM_WATCH_MAX;
        self.watch_platform(now);
        self.display();
    }

    /// The scale is gone, or sends no more: what it showed last is no weight of now.
    pub fn handle_scale_lost(&mut self) {
        self.screen.weight = None;
        self.display();
    }

    /// The scale's decoder gave this.
    pub fn handle_weight(&mut self, now: Duration, when: When, reply: Result<Reading, FrameFault>) {
        self.screen.weight = match &reply {
            Ok(Reading { value: Some(value), unit: Some(unit), .. }) => {
                Some(format!("{value} {}", unit.as_str()))
            }
            // A status or a fault: the old weight no longer stands.
            _ => None,
        };
        self.weigh(now, when, reply);
        self.watch_platform(now);
        self.display();
    }

    /// The journal's answer to [`Action::Record`].
    pub fn handle_recorded(
        &mut self,
        now: Duration,
        ticket: Ticket,
        result: Result<Recorded, &JournalError>,
    ) {
        let Some(recording) = self.recording.take_if(|recording| recording.ticket == ticket) else { return };
        match result {
            Ok(recorded) => {
                self.screen.recorded += recording.events.len() as u64;
                self.picture().handle_recorded(recorded.epoch, recorded.last, &recording.events);
                self.remember(&recording, recorded);
                self.go(now, recording.next);
                self.signal(Signal::Good, recording.message);
            }
            Err(error) => {
                if let Some(code) = recording.code {
                    self.bounce.forget(&code);
                }
                if let Some(capture) = recording.weighed {
                    self.platform.capture = capture;
                }
                self.signal(Signal::NotStored, format!("not recorded: {error}; {}", error.hint()));
            }
        }
        while self.recording.is_none()
            && let Some(arrival) = self.waiting.pop_front()
        {
            self.work(arrival);
        }
        self.watch_platform(now);
        self.display();
    }

    /// When [`Station::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let interrupted = self.interrupted.as_ref().map(|interrupted| interrupted.deadline);
        let running = self.running.as_ref().filter(|_| self.recording.is_none());
        let asking = running.and_then(|running| running.asking.as_ref()?.due);
        let deadline = running.map(|running| running.deadline);
        [interrupted, deadline, asking, self.platform.look].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        self.interrupted.take_if(|interrupted| now >= interrupted.deadline);
        if let Some(running) = self.running.as_ref().filter(|_| self.recording.is_none()) {
            let asking = running.asking.as_ref().and_then(|asking| asking.due);
            if now >= running.deadline {
                // Nothing is recorded by the passing of time, so the event time is of no consequence.
                self.step(now, When::Synced { unix_ms: 0 }, None, Input::TimedOut);
            } else if asking.is_some_and(|due| now >= due) {
                self.ask_again(now);
            }
        }
        self.watch_platform(now);
        self.display();
    }

    /// What to do next; to be asked until `None` after every `handle_*`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What a display shows now.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    fn arrive(&mut self, arrival: Arrival) {
        let window = self.config.bounce.get(&arrival.code.0).copied().unwrap_or(BOUNCE_DEFAULT);
        if self.bounce.is_bounce(arrival.now, window, &arrival.code) {
            return self.signal(Signal::Repeated, "the same code again: counted once".into());
        }
        if self.recording.is_none() {
            return self.work(arrival);
        }
        if self.waiting.len() >= WAITING_MAX {
            self.bounce.forget(&arrival.code);
            return self.signal(Signal::NotStored, "the disk is too slow: this scan was not recorded".into());
        }
        self.waiting.push_back(arrival);
    }

    fn work(&mut self, Arrival { now, when, code }: Arrival) {
        let catalogue = Arc::clone(&self.catalogue);
        self.today = day(when);
        let context = gs1::Context { year: year(when), variable: self.config.variable_measure };
        let scan = gs1::interpret_with(&code.1, context);
        match self.understand(&scan, &catalogue) {
            Ok(Meaning::Input(input)) if self.interrupted.is_some() => self.go_on(now, input),
            Ok(Meaning::Input(Input::Weigh)) if self.wants_word() => self.confirm(now),
            Ok(Meaning::Input(input)) => self.step(now, when, Some(code), input),
            Ok(Meaning::Workflow(name)) => self.begin(now, &name),
            Ok(Meaning::Operator(operator)) => {
                let message = match &self.operator {
                    Some(before) if *before != operator => format!("{operator} takes over from {before}"),
                    _ => format!("{operator} works here"),
                };
                self.screen.operator = Some(operator.to_string());
                self.operator = Some(operator);
                self.signal(Signal::Heard, message);
            }
            Err((signal, message)) => self.signal(signal, message),
        }
    }

    fn begin(&mut self, now: Duration, name: &str) {
        match (&self.running, workflow::find(name)) {
            (_, None) => {
                self.signal(Signal::Unknown, format!("no workflow {name}: there are {}", workflow_names()))
            }
            (Some(running), Some(_)) => {
                let message = format!("{} still runs: scan DONE or CANCEL first", running.name);
                self.signal(Signal::Refused, message);
            }
            (None, Some(row)) => {
                self.interrupted = None;
                self.run(now, row, row.begin(), VecDeque::new());
                self.signal(Signal::Heard, row.title().into());
            }
        }
    }

    fn run(
        &mut self,
        now: Duration,
        row: &'static dyn Workflow,
        session: Box<dyn Session>,
        undo: VecDeque<(MovementId, Body)>,
    ) {
        let deadline = now + session.patience();
        self.running = Some(Running { name: row.name(), session, deadline, asking: None, undo });
        self.screen.recorded = 0;
    }

    /// The answer to the question whether an interrupted session goes on.
    fn go_on(&mut self, now: Duration, input: Input<'_>) {
        match (input, self.interrupted.take()) {
            (Input::Yes, Some(Interrupted { row, session, last, .. })) => {
                self.run(now, row, session, VecDeque::from([last]));
                self.signal(Signal::Heard, format!("{} goes on", row.name()));
            }
            (Input::No | Input::Cancel | Input::Done, Some(_)) => {
                self.signal(Signal::Heard, "it is over".into());
            }
            (_, interrupted) => {
                self.interrupted = interrupted;
                self.signal(Signal::Refused, format!("not now: {}", self.expected()));
            }
        }
    }

    fn step(&mut self, now: Duration, when: When, code: Option<Code>, input: Input<'_>) {
        let Some(running) = &mut self.running else {
            return match input {
                Input::Stranger(stranger, _) => self.signal(Signal::Unknown, stranger.why),
                _ => self.signal(Signal::Refused, no_workflow()),
            };
        };
        running.deadline = now + running.session.patience();
        let picture = lock(&self.picture);
        let floor = floor(&self.config, self.operator.as_ref(), self.today, &self.catalogue, &picture);
        let by_weight = matches!(input, Input::Weight(_));
        let Step { next, outcome } = running.session.step(input, &floor);
        drop(picture);
        let weight_again =
            by_weight && matches!(&outcome, Outcome::Refused(why) if *why == self.screen.message);
        match outcome {
            Outcome::Heard(message) => {
                self.go(now, next);
                self.signal(Signal::Heard, message);
            }
            // The same weight that does not fit: said once.
            Outcome::Refused(_) if weight_again => self.go(now, next),
            Outcome::Refused(message) => {
                self.go(now, next);
                self.signal(Signal::Refused, message);
            }
            Outcome::Unknown(message) => {
                self.go(now, next);
                self.signal(Signal::Unknown, message);
            }
            Outcome::Told(message) => {
                self.go(now, next);
                self.note(message);
            }
            Outcome::Record { facts, message } => {
                self.record(when, facts, Then { next, message, takes_back: false, code })
            }
            Outcome::UndoLast => self.undo(when, next, code),
        }
    }

    fn record(&mut self, when: When, facts: Vec<Body>, then: Then) {
        let events: Vec<_> = facts.into_iter().map(|body| Event { when, body }).collect();
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let Then { next, message, takes_back, code } = then;
        self.recording = Some(Recording {
            ticket,
            events: events.clone(),
            next,
            message,
            takes_back,
            code,
            weighed: None,
        });
        self.actions.push_back(Action::Record { ticket, events });
    }

    /// A recorded movement is never changed: the way back is a movement of its own that names it.
    fn undo(&mut self, when: When, next: Next, code: Option<Code>) {
        let last = self.running.as_ref().and_then(|running| running.undo.back());
        let Some((id, body)) = last else {
            return self.signal(Signal::Refused, "nothing to take back in this session".into());
        };
        let Some(mut back) = workflow::reverse(body) else {
            let message = format!("this is not taken back: {}", workflow::subject(body));
            return self.signal(Signal::Refused, message);
        };
        if let Some(details) = back.details_mut() {
            let reason = CorrectionReason::DidNotOccur;
            details.corrects = Some(Correction { movement: id.clone(), reason });
            details.operator.clone_from(&self.operator);
        }
        let message = format!("taken back: {}", workflow::subject(&back));
        let then = Then { next, message, takes_back: true, code };
        self.record(when, vec![back], then);
    }

    fn remember(&mut self, recording: &Recording, recorded: Recorded) {
        let Some(running) = &mut self.running else { return };
        if recording.takes_back {
            running.undo.pop_back();
            return;
        }
        let before = recorded.last.get().saturating_sub(recording.events.len() as u64);
        for (sequence, event) in (before + 1..).zip(&recording.events) {
            if matches!(event.body, Body::Count(_)) {
                continue;
            }
            let (agent, sequence) = (self.config.agent.clone(), Sequence::new(sequence));
            if running.undo.len() >= UNDO_MAX {
                running.undo.pop_front();
            }
            let id = MovementId { agent, epoch: recorded.epoch, sequence };
            running.undo.push_back((id, event.body.clone()));
        }
    }

    fn go(&mut self, now: Duration, next: Next) {
        let Some(running) = &mut self.running else { return };
        match next {
            Next::Stay => {}
            Next::Go(session) => {
                running.deadline = now + session.patience();
                running.session = session;
            }
            Next::End => {
                self.running = None;
                self.screen.weight = None;
            }
        }
        self.arrange_weighing(now);
    }

    /// For the screen alone.
    fn note(&mut self, message: String) {
        (self.screen.signal, self.screen.message) = (None, message);
    }

    fn signal(&mut self, signal: Signal, message: String) {
        self.screen.signal = Some(signal);
        self.screen.message.clone_from(&message);
        self.actions.push_back(Action::Signal { signal, message });
    }

    /// Says what is on the screen when that has changed.
    fn display(&mut self) {
        self.screen.workflow = self.running.as_ref().map(|running| running.name);
        self.screen.expected = self.expected();
        if self.shown.as_ref() != Some(&self.screen) {
            self.shown = Some(self.screen.clone());
            self.actions.push_back(Action::Display(self.screen.clone()));
        }
    }
}

impl Station {
    fn expected(&self) -> String {
        let picture = self.picture();
        let floor = floor(&self.config, self.operator.as_ref(), self.today, &self.catalogue, &picture);
        match (&self.running, &self.interrupted) {
            (Some(running), _) => self.weighing_prompt(running.session.expected(&floor)),
            (None, Some(Interrupted { row, session, .. })) => {
                let next = session.expected(&floor);
                format!("{} was interrupted ({next}): YES goes on, NO ends it", row.name())
            }
            (None, None) => no_workflow(),
        }
    }

    fn picture(&self) -> MutexGuard<'_, Picture> {
        lock(&self.picture)
    }
}

/// A picture only warns: one that another thread left half changed is better than none.
pub(crate) fn lock(picture: &SharedPicture) -> MutexGuard<'_, Picture> {
    picture.lock().unwrap_or_else(PoisonError::into_inner)
}

fn floor<'a>(
    config: &'a StationConfig,
    operator: Option<&'a OperatorId>,
    today: Option<Date>,
    catalogue: &'a Catalogue,
    picture: &'a Picture,
) -> Floor<'a> {
    Floor {
        station: &config.station,
        operator,
        scale: config.scale,
        today,
        catalogue,
        picture,
        unknown: config.unknown,
    }
}

/// What follows a commit.
struct Then {
    next: Next,
    message: String,
    takes_back: bool,
    code: Option<Code>,
}

fn no_workflow() -> String {
    "scan a workflow".into()
}

fn workflow_names() -> String {
    workflow::WORKFLOWS.iter().map(|row| row.name()).collect::<Vec<_>>().join(", ")
}
