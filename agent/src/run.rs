//! The running agent: one loop over a closed set of inputs, around the pure cores.
//!
//! ```text
//!  ports, link, socket, signals, time --> Input --> cores --> records of all stations --> one append, one flush
//!                                                                                  --> signals (the beep)
//!                                                                                  --> batches to the link
//! ```
//! Everything happens in one thread. The journal is written by the loop itself: a hand-over to another thread and back
//! would cost an isolated scan more than it could gain, and what arrives during a flush is appended by the next one,
//! all of it together. So there is no timer that a scan waits for, and 64 ports at once cost two flushes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use stockwire_protocol::cbor::PACKET_BYTES_MAX;
use stockwire_protocol::{Sequence, StateKind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::catalogue;
use crate::config::Config;
use crate::devices as devices_table;
use crate::health::{CatalogueHealth, ClockHealth, DiskHealth, Health};
use crate::io::clock::Clock;
use crate::io::file;
use crate::io::mqtt::{Link, LinkEvent};
use crate::io::ports::{self, Roots};
use crate::io::serial::{self, PortEvent};
use crate::io::socket::{Ask, Door, Question};
use crate::io::systemd::Notify;
use crate::journal::{Journal as _, ReadLimit};
use crate::serial::Attachment;
use crate::station::{self, SharedPicture};

mod devices;
mod feeds;
mod lives;
mod uplink;

use devices::{Place, Slot};
use feeds::{Feeds, Told};
use lives::Lives;
use uplink::Uplink;

/// Inputs taken before what they cause is appended: four for each of 64 ports.
const INPUTS_MAX: usize = 256;
/// Events of ports, link and socket that may wait; then their tasks wait, and behind them the kernel's buffers.
const WAITING_MAX: usize = 256;
/// How often an unsynchronised clock is looked at again.
const CLOCK_WAIT: Duration = Duration::from_secs(60);
/// Largest catalogue file: all parts of a revision at their greatest.
pub const CATALOGUE_FILE_BYTES_MAX: u64 = catalogue::PARTS_MAX as u64 * PACKET_BYTES_MAX as u64;
/// Rows and bytes of one page of the journal that the socket gives.
const PAGE: ReadLimit = ReadLimit { events: 500, bytes: 512 * 1024 };

/// Everything that can happen.
enum Input {
    Port(usize, PortEvent),
    Link(LinkEvent),
    Question(Question),
    /// A time-out is due, or a signal said to go on.
    Time,
    Stop(&'static str),
}

/// Where inputs come from.
struct Sources {
    ports: mpsc::Receiver<(usize, PortEvent)>,
    link: mpsc::Receiver<LinkEvent>,
    questions: mpsc::Receiver<Question>,
    terminate: Signal,
    interrupt: Signal,
}

/// The cores and the edges they act through.
struct Agent {
    config: Arc<Config>,
    clock: Clock,
    notify: Notify,
    lives: Lives,
    uplink: Uplink,
    /// What the stations know of stock and tasks together.
    picture: SharedPicture,
    places: Vec<Place>,
    /// The device behind each port.
    slots: Vec<(usize, Slot)>,
    alive_at: Option<Duration>,
    /// When to look at the clock again; `None` once it is synchronised.
    clock_at: Option<Duration>,
}

/// Runs until a signal ends it.
///
/// # Errors
/// When something that is needed to begin is not there. Whatever happens later is survived, logged and shown by
/// `status`.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let clock = Clock::new(config.clock_synchronized_file.clone());
    let notify = Notify::from_environment().context("the service manager's socket (NOTIFY_SOCKET)")?;
    let lives = Lives::open(&config, clock.unix_ms() / 1000)?;
    let feeds = Feeds::open(&config);
    let (picture, history) = lives.remember(&config, feeds.tasks());

    match ports::list(&Roots::default()) {
        Ok(found) => {
            for warning in devices_table::warnings(&devices_table::configured(&config), &found) {
                tracing::warn!(warning, "ports of the configuration");
            }
        }
        Err(error) => tracing::warn!(%error, "the ports cannot be listed"),
    }
    let (questions, question_receiver) = mpsc::channel(WAITING_MAX);
    let door = Door::open(&config.socket, questions).with_context(|| {
        format!("the local socket {} (local.socket): does its directory exist?", config.socket.display())
    })?;
    let (ports, port_receiver) = mpsc::channel(WAITING_MAX);
    let (link, link_receiver) = start_link(&config);
    let mut sources = Sources {
        ports: port_receiver,
        link: link_receiver,
        questions: question_receiver,
        terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
        interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
    };
    let mut slots = Vec::new();
    let mut places = Vec::new();
    for (at, station) in config.stations.iter().enumerate() {
        let known = (Arc::clone(feeds.catalogue()), Arc::clone(&picture));
        places.push(Place::new(&config, station, known, |slot| {
            let (port, attachment) = match (slot, &station.scale) {
                (Slot::Scale, Some(scale)) => (scale.port.clone(), Attachment::Serial(scale.line)),
                (Slot::Scanner(scanner), _) => {
                    (station.scanners[scanner].port.clone(), station.scanners[scanner].attachment())
                }
                (Slot::Scale, None) => unreachable!("a slot is made for each device that is configured"),
            };
            slots.push((at, slot));
            serial::start(slots.len() - 1, port, attachment, ports.clone())
        }));
    }
    drop(ports);
    let uplink = Uplink::new(Arc::clone(&config), link, feeds, &lives);
    let now = clock.now();
    let when = clock.when(lives.current().boot());
    places.iter_mut().for_each(|place| place.handle_history(now, when, &history));
    let mut agent = Agent {
        alive_at: notify.alive_every().map(|every| now + every),
        clock_at: (!clock.is_synced()).then_some(now + CLOCK_WAIT),
        config,
        clock,
        notify,
        lives,
        uplink,
        picture,
        places,
        slots,
    };
    agent.started();
    let reason = agent.serve(&mut sources).await;
    agent.stop(reason).await?;
    drop(door);
    Ok(())
}

impl Agent {
    fn started(&self) {
        let journal = self.lives.current();
        tracing::info!(
            agent = %self.config.agent, site = %self.config.site, stations = self.places.len(),
            epoch = %journal.epoch(), head = %journal.head(), watermark = %journal.watermark(), boot = journal.boot(),
            started_in_ms = self.clock.uptime_ms(), "started"
        );
        self.notify.ready(&format!("{} stations, journal at {}", self.places.len(), journal.head()));
    }

    async fn serve(&mut self, sources: &mut Sources) -> &'static str {
        loop {
            let mut input = self.next(sources).await;
            // Other ports may have become ready with this one: let their tasks deliver, so that one flush serves all.
            tokio::task::yield_now().await;
            for _ in 0..INPUTS_MAX {
                if let Some(reason) = self.handle(input) {
                    self.settle();
                    return reason;
                }
                match sources.waiting() {
                    Some(further) => input = further,
                    None => break,
                }
            }
            // Always, and not only when time was all that happened: a busy port must not keep time-outs waiting. But once
            // for all inputs: asking 64 stations after each of 64 scans would cost more than the scans.
            self.handle_timeouts(self.clock.now(), sources);
            self.settle();
            // The beeps go out before the batches are made.
            tokio::task::yield_now().await;
            let now = self.clock.now();
            self.uplink.transmit(now, &mut self.lives, &self.clock);
        }
    }

    /// Waits for the next input, without a time-out when nothing is pending.
    async fn next(&self, sources: &mut Sources) -> Input {
        let due = self.poll_timeout().map(|due| tokio::time::Instant::from_std(self.clock.instant(due)));
        let time = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some((port, event)) = sources.ports.recv() => Input::Port(port, event),
            Some(event) = sources.link.recv() => Input::Link(event),
            Some(question) = sources.questions.recv() => Input::Question(question),
            () = time => Input::Time,
            _ = sources.terminate.recv() => Input::Stop("SIGTERM"),
            _ = sources.interrupt.recv() => Input::Stop("SIGINT"),
        }
    }

    fn poll_timeout(&self) -> Option<Duration> {
        let places = self.places.iter().filter_map(Place::poll_timeout);
        let others = [self.lives.poll_timeout(), self.uplink.poll_timeout(), self.alive_at, self.clock_at];
        places.chain(others.into_iter().flatten()).min()
    }

    /// Gives the input to its core. A reason is returned when it is the last one.
    fn handle(&mut self, input: Input) -> Option<&'static str> {
        let now = self.clock.now();
        match input {
            Input::Port(port, event) => {
                let (place, slot) = self.slots[port];
                let when = self.clock.when(self.lives.current().boot());
                self.places[place].handle_port(now, when, slot, event);
            }
            Input::Link(event) => match self.uplink.handle_event(now, event, &mut self.lives, &self.clock) {
                None => {}
                Some(Told::Catalogue(catalogue)) => {
                    for place in &mut self.places {
                        place.handle_catalogue(Arc::clone(&catalogue));
                    }
                }
                Some(Told::Tasks(tasks)) => {
                    station::lock(&self.picture).handle_tasks(tasks);
                    self.places.iter_mut().for_each(|place| place.handle_tasks(now));
                }
            },
            Input::Question(Question { ask, answer }) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.answer(now, ask));
            }
            Input::Time => {}
            Input::Stop(reason) => return Some(reason),
        }
        None
    }

    fn handle_timeouts(&mut self, now: Duration, sources: &mut Sources) {
        let is_due = |due: Option<Duration>| due.is_some_and(|due| due <= now);
        for place in &mut self.places {
            if is_due(place.poll_timeout()) {
                place.handle_timeout(now, self.clock.when(self.lives.current().boot()));
            }
        }
        if is_due(self.lives.poll_timeout()) && self.lives.handle_timeout(now, self.clock.unix_ms() / 1000) {
            self.uplink.handle_new_epoch(&self.lives, &self.clock);
        }
        if is_due(self.uplink.poll_timeout())
            && let Some(rebuild) = self.uplink.handle_timeout(now)
        {
            tracing::warn!(
                timeouts = rebuild.timeouts,
                "the connection makes no progress; a new client is built"
            );
            let (link, events) = start_link(&self.config);
            sources.link = events;
            let old = self.uplink.replace_link(now, link);
            tokio::spawn(async move { old.shutdown().await });
        }
        if is_due(self.alive_at) {
            self.notify.alive();
            self.alive_at = self.notify.alive_every().map(|every| now + every);
        }
        if is_due(self.clock_at) {
            self.clock_at = if self.clock.is_synced() {
                tracing::info!("the clock is synchronised");
                // With it the gateway dates what was recorded before.
                self.uplink.publish_birth(&self.lives, &self.clock);
                None
            } else {
                Some(now + CLOCK_WAIT)
            };
        }
    }

    /// Appends what the stations want recorded, all of it with one flush, and tells them; until they want no more.
    fn settle(&mut self) {
        loop {
            let mut tickets = Vec::new();
            let mut requests = Vec::new();
            for (at, place) in self.places.iter_mut().enumerate() {
                for (ticket, events) in place.take_records() {
                    tickets.push((at, ticket));
                    requests.push(events);
                }
            }
            if requests.is_empty() {
                return;
            }
            // Durable before beep: stations give the signal in `handle_recorded`, and that comes after the append.
            let now = self.clock.now();
            let outcomes = self.lives.append(now, &requests);
            let now = self.clock.now();
            for ((place, ticket), outcome) in tickets.into_iter().zip(&outcomes) {
                self.places[place].handle_recorded(now, ticket, outcome.as_ref().copied());
            }
            match outcomes.iter().find_map(|outcome| outcome.as_ref().err()) {
                Some(error) => {
                    if self.lives.failed(now, error, self.clock.unix_ms() / 1000) {
                        self.uplink.handle_new_epoch(&self.lives, &self.clock);
                    }
                }
                None => self.lives.works(),
            }
        }
    }

    /// One line of JSON.
    fn answer(&self, now: Duration, ask: Ask) -> String {
        match ask {
            Ask::Status => {
                let stations: Vec<_> = self
                    .places
                    .iter()
                    .map(|place| {
                        serde_json::json!({
                            "name": place.name(),
                            "screen": place.screen(),
                            "glimpse": place.glimpse(now),
                        })
                    })
                    .collect();
                let health = self.health(now).to_json();
                match serde_json::from_str::<serde_json::Value>(&health) {
                    Ok(mut health) => {
                        health["stations"] = stations.into();
                        health["pid"] = std::process::id().into();
                        health.to_string()
                    }
                    Err(error) => serde_json::json!({ "error": error.to_string() }).to_string(),
                }
            }
            Ask::Journal { after, limit } => {
                let journal = self.lives.current();
                let after = Sequence::new(after).max(journal.kept_after());
                match journal.rows(after, ReadLimit { events: limit.min(PAGE.events), ..PAGE }) {
                    Ok(rows) => serde_json::json!({
                        "epoch": journal.epoch().to_string(),
                        "head": journal.head().get(),
                        "watermark": journal.watermark().get(),
                        "kept_after": journal.kept_after().get(),
                        "rows": rows.iter().map(|row| (row.sequence.get(), hex(&row.bytes))).collect::<Vec<_>>(),
                    })
                    .to_string(),
                    Err(error) => serde_json::json!({ "error": lives::chain(&error) }).to_string(),
                }
            }
        }
    }

    fn health(&self, now: Duration) -> Health {
        let disk = file::disk(&self.config.journal_path).unwrap_or_else(|error| {
            tracing::error!(%error, "the disk below the journal does not tell how it stands");
            DiskHealth { free_bytes: 0, read_only: false }
        });
        let catalogue = self.uplink.catalogue();
        Health {
            agent: self.config.agent.to_string(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            journal: self.lives.health(),
            link: self.uplink.health(now),
            outbox: self.uplink.outbox_status(),
            devices: self.places.iter().flat_map(|place| place.health(now)).collect(),
            clock: ClockHealth { synced: self.clock.is_synced(), unix_ms: self.clock.unix_ms() },
            disk,
            catalogue: CatalogueHealth {
                revision: catalogue.revision(),
                items: catalogue.len(),
                locations: catalogue.locations_len(),
            },
        }
    }

    /// Says good-bye: nothing is pending, since every input was settled.
    async fn stop(mut self, reason: &'static str) -> anyhow::Result<()> {
        tracing::info!(reason, "stopping");
        self.notify.stopping();
        self.uplink.publish_state(StateKind::Stopped);
        self.uplink.link().shutdown().await;
        self.lives.stop().context("the journal at the end")?;
        tracing::info!(head = %self.lives.current().head(), "stopped");
        Ok(())
    }
}

impl Sources {
    /// Something that is there already.
    fn waiting(&mut self) -> Option<Input> {
        if let Ok((port, event)) = self.ports.try_recv() {
            return Some(Input::Port(port, event));
        }
        if let Ok(event) = self.link.try_recv() {
            return Some(Input::Link(event));
        }
        self.questions.try_recv().ok().map(Input::Question)
    }
}

fn start_link(config: &Config) -> (Link, mpsc::Receiver<LinkEvent>) {
    let (events, receiver) = mpsc::channel(WAITING_MAX);
    (Link::start(uplink::mqtt_config(config), events), receiver)
}

/// Where the last complete catalogue is kept: beside the journal.
pub fn catalogue_path(config: &Config) -> PathBuf {
    let mut name = config.journal_path.clone().into_os_string();
    name.push(".catalogue");
    name.into()
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
