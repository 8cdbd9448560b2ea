//! The gateway as a process: broker link, ingest, senders and the HTTP door around one store.

mod courier;
mod senders;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{Batch, Command, ReplyResult};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::api::{self, Api, RunRequest};
use crate::catalogue::ErpId;
use crate::config::{Config, StoreConfig};
use crate::ingest::{Alarm, GROUP_PUBLISHES_MAX, Ingest, Negative, Outcome, Overtaken, Publish, Span};
use crate::io::broker::{self, BrokerConfig};
use crate::io::mqtt::{AckToken, Link, LinkEvent, Message, MqttConfig};
use crate::io::shared::Shared;
use crate::io::{store_door, systemd, unix_ms};
use crate::metrics::Metrics;
use crate::order::round::{self, Book};
use crate::store::{Reader, Store, StoreError};
use courier::Courier;
use senders::Senders;

/// Link events waiting for ingest: the link itself holds no more than its Receive Maximum unacknowledged.
const LINK_EVENTS: usize = 256;
/// Requests of the API that only this loop can serve; more at once are refused.
const RUN_REQUESTS: usize = 64;
/// Waits between attempts at a store that is busy; ingest stands still meanwhile, and so do the acknowledgements.
const STORE_RETRY: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];
/// How often what may have changed behind our back (a new catalogue revision) is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Orders worked on in one look: each is a transaction, and what arrives waits behind them.
const ORDERS_MAX: usize = 50;
/// How long the store may fail before this gateway leaves the broker, so that others of its group are given what it
/// cannot keep. What it had taken and not acknowledged is sent again by the agents.
const STORE_PATIENCE: Duration = Duration::from_secs(5);
/// The broker drops a gateway that stands still after one and a half of these; until then it gives it its share of the
/// messages. Half of it is what a busy gateway may leave unread.
const KEEP_ALIVE_S: u16 = 20;
/// Ticks further apart than this mean that the process stood still, and what it was about to tell agents is old.
const PAUSED: Duration = Duration::from_secs(10);
/// Senders finish the request in hand within this; systemd's own patience is longer.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// Looks at what the configuration names without starting anything: files that must be readable.
///
/// # Errors
/// The first file that is not, and what to do.
pub fn check(config: &Config) -> Result<()> {
    if let Some(tls) = &config.mqtt.tls {
        tls.load()?;
    }
    senders::check(config)
}

/// Compares the books with the ERP and gives the plan. Changes nothing.
///
/// # Errors
/// When the store or the ERP cannot be read.
pub async fn reconcile(config: &Config) -> Result<crate::reconcile::Plan> {
    let reader: Shared<dyn Reader> = Shared::new(blocking(config, store_door::open_reader).await?);
    senders::reconcile(config, &reader).await
}

/// Opens the store, which blocks, beside the runtime's own threads.
async fn blocking<T: Send + 'static>(
    config: &Config,
    open: fn(&StoreConfig) -> Result<T, StoreError>,
) -> Result<T> {
    let store = config.store.clone();
    let opened = tokio::task::spawn_blocking(move || open(&store)).await?;
    opened.with_context(|| format!("opening {}", config.store))
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start, or when a part of it ends that must not.
pub async fn run(config: Config) -> Result<()> {
    start_log(&config);
    let mut stop_term = signal(SignalKind::terminate())?;
    let mut stop_int = signal(SignalKind::interrupt())?;
    let _claim = blocking(&config, store_door::claim).await?;
    let store: Shared<dyn Store> = Shared::new(blocking(&config, store_door::open).await?);
    let policies = senders::policies(&config)?;
    store.call(move |store| store.replace_channels(&policies)).await?;
    let reader: Shared<dyn Reader> = Shared::new(blocking(&config, store_door::open_reader).await?);

    let embedded = match &config.broker {
        Some(broker) => {
            let mut settings = BrokerConfig::new(broker.listen);
            settings.tls.clone_from(&broker.tls);
            Some(broker::start(settings).await.context("starting the embedded broker")?)
        }
        None => None,
    };
    let listener = TcpListener::bind(config.http.listen)
        .await
        .with_context(|| format!("listening on {}; is another gateway running?", config.http.listen))?;

    let (stop, stopping) = watch::channel(false);
    let metrics = Arc::new(Metrics::default());
    let (ready, news) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let (requests, requested) = mpsc::channel(RUN_REQUESTS);
    let book = Arc::new(senders::book(&config)?);
    let senders = Senders::start(&config, &store, &book, &stopping)?;
    let api = Arc::new(Api {
        reader: reader.clone(),
        store: store.clone(),
        metrics: Arc::clone(&metrics),
        ready: Arc::clone(&ready),
        news: Arc::clone(&news),
        requests,
        trust_loopback: config.http.trust_loopback,
        orders: Arc::clone(&book),
        webhooks: senders::webhook_secrets(&config)?,
        pace: api::Pace::new(config.http.requests_per_s),
    });
    let mut tasks = JoinSet::new();
    let mut http_stop = stopping.clone();
    let service = api::router(api).into_make_service_with_connect_info::<SocketAddr>();
    tasks.spawn(async move {
        let stopped = async move {
            // An error means that the sender is gone: stopping as well.
            let _ = http_stop.wait_for(|stop| *stop).await;
        };
        axum::serve(listener, service).with_graceful_shutdown(stopped).await.context("serving HTTP")
    });

    let mut link_config =
        MqttConfig::new(config.mqtt.host.clone(), config.mqtt.port, config.mqtt.client_id.clone());
    link_config.tls.clone_from(&config.mqtt.tls);
    link_config.keep_alive_s = KEEP_ALIVE_S;
    link_config.subscriptions = topic::up_filters(&config.mqtt.group).into();
    let (events, mut arrived) = mpsc::channel(LINK_EVENTS);
    let link = Link::start(link_config.clone(), events.clone());
    let mut desk = Desk {
        courier: Courier::new(link, reader.clone()),
        dial: (link_config, events),
        began: Instant::now(),
        looked: Instant::now(),
        head: 0,
        overtaken: matches!(config.store, StoreConfig::Postgres(_)).then(Overtaken::default),
        failing_since: None,
        away: false,
        reader,
        store,
        book,
        ingest: Some(Ingest::new()),
        metrics,
        ready,
        news,
        senders,
        erp: senders::erp_name(&config)?,
        questions: HashMap::new(),
        next_command: first_command(),
    };
    systemd::notify("READY=1\nSTATUS=serving");
    tracing::info!(http = %config.http.listen, store = %config.store, "the gateway runs");
    let result = desk.serve(&mut arrived, requested, &mut tasks, async {
        tokio::select! {
            _ = stop_term.recv() => {}
            _ = stop_int.recv() => {}
        }
    });
    let result = result.await;
    systemd::notify("STOPPING=1");
    // The receivers may be gone already, which is what we want of them.
    let _ = stop.send(true);
    desk.courier.shutdown().await;
    desk.senders.join(STOP_WAIT).await;
    // Live views never end by themselves.
    if tokio::time::timeout(Duration::from_secs(1), async { while tasks.join_next().await.is_some() {} })
        .await
        .is_err()
    {
        tasks.abort_all();
    }
    if let Some(broker) = embedded {
        broker.shutdown().await;
    }
    tracing::info!("the gateway has stopped");
    result
}

fn start_log(config: &Config) {
    use std::io::IsTerminal as _;
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(config.log);
    let done = builder.with_ansi(std::io::stderr().is_terminal()).try_init();
    // A second gateway in one process (a test) keeps the first one's log.
    let _ = done;
}

/// Where everything that arrives is dealt with, one thing after the other.
struct Desk {
    courier: Courier,
    store: Shared<dyn Store>,
    book: Arc<Book>,
    /// Absent only while a blocking thread has it.
    ingest: Option<Ingest>,
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
    news: Arc<Notify>,
    senders: Senders,
    erp: Option<ErpId>,
    reader: Shared<dyn Reader>,
    /// What a link is made of, when this gateway comes back to the broker.
    dial: (MqttConfig, mpsc::Sender<LinkEvent>),
    began: Instant,
    /// The last look, and the last row of the books then.
    looked: Instant,
    head: u64,
    /// Batches whose predecessors are at another gateway. `None`: there can be no other, so a gap is one at once.
    overtaken: Option<Overtaken<(Message, AckToken)>>,
    /// Since when the store has not done what it was asked for.
    failing_since: Option<Instant>,
    /// Not at the broker, because the store is away.
    away: bool,
    /// Commands that wait for their reply. Replies come to every gateway of the group, and so to the one that asked.
    questions: HashMap<u64, oneshot::Sender<ReplyResult>>,
    next_command: u64,
}

/// Numbers of commands begin anywhere, so that no two gateways wait for the same one.
fn first_command() -> u64 {
    use std::hash::BuildHasher as _;
    // Half of the range, so that counting up never ends.
    std::hash::RandomState::new().hash_one(()) >> 1
}

impl Desk {
    async fn serve(
        &mut self,
        arrived: &mut mpsc::Receiver<LinkEvent>,
        mut requested: mpsc::Receiver<RunRequest>,
        tasks: &mut JoinSet<Result<()>>,
        stop: impl Future<Output = ()>,
    ) -> Result<()> {
        tokio::pin!(stop);
        let mut tick = tokio::time::interval(TICK);
        let mut watchdog =
            tokio::time::interval(systemd::watchdog_interval().unwrap_or(Duration::from_secs(3600)));
        loop {
            let again = self.overtaken.as_ref().and_then(Overtaken::again_at);
            let again = again.map(|at| tokio::time::Instant::from_std(self.began + at));
            tokio::select! {
                () = &mut stop => return Ok(()),
                Some(ended) = tasks.join_next() => {
                    return ended.context("a part of the gateway panicked")?.context("a part of the gateway ended");
                }
                event = arrived.recv() => {
                    let event = event.context("the broker link ended")?;
                    self.arrive(event, arrived).await?;
                }
                () = wait_until(again) => self.take_in(Vec::new()).await?,
                Some(request) = requested.recv() => self.answer(request).await,
                _ = tick.tick() => {
                    let looked = self.look().await;
                    self.bear(looked)?;
                    if self.failing_since.is_some_and(|since| since.elapsed() >= STORE_PATIENCE) {
                        self.leave().await;
                    }
                }
                // In this loop on purpose: it comes only while the loop makes progress.
                _ = watchdog.tick() => systemd::notify("WATCHDOG=1"),
            }
            self.courier.deliver();
        }
    }

    /// A store that is away for a while ends nothing: what could not be read is asked for again at the next look.
    fn bear(&mut self, result: Result<()>) -> Result<()> {
        match result {
            Err(fault) if passes(&fault) => {
                self.ready.store(false, Ordering::Relaxed);
                self.failing_since.get_or_insert_with(Instant::now);
                tracing::warn!(error = format!("{fault:#}"), "the store does not answer; looking again");
                Ok(())
            }
            Ok(()) => {
                self.failing_since = None;
                Ok(())
            }
            result => result,
        }
    }

    /// Leaves the broker while the store is away. Nothing that was not acknowledged is kept: agents send it again, and
    /// the broker gives it to those who can write it down.
    async fn leave(&mut self) {
        self.overtaken.iter_mut().for_each(|overtaken| drop(overtaken.take()));
        if !self.away {
            tracing::error!("the store is away; this gateway leaves the broker until it is back");
            self.away = true;
            self.courier.shutdown().await;
        }
    }

    /// Comes back to the broker.
    fn come_back(&mut self) {
        if self.away {
            tracing::info!("the store is back, and so is this gateway");
            self.away = false;
            let (config, events) = self.dial.clone();
            self.courier.relink(Link::start(config, events));
        }
    }

    /// Takes one event of the link, and every publish that has arrived behind it, into one transaction.
    async fn arrive(&mut self, first: LinkEvent, arrived: &mut mpsc::Receiver<LinkEvent>) -> Result<()> {
        let mut group: Vec<(Message, AckToken)> = Vec::new();
        let mut next = Some(first);
        while let Some(event) = next.take() {
            match event {
                LinkEvent::Received { message, ack } => {
                    group.push((message, ack));
                    if group.len() < GROUP_PUBLISHES_MAX {
                        // What has arrived, and no waiting for more.
                        next = arrived.try_recv().ok();
                    }
                }
                LinkEvent::Connected => {
                    tracing::info!("the broker is there");
                    self.metrics.set_connected(true);
                    let served = self.courier.handle_connected().await;
                    self.bear(served)?;
                    next = arrived.try_recv().ok().filter(|_| group.len() < GROUP_PUBLISHES_MAX);
                }
                LinkEvent::Disconnected { reason, class, retry_in } => {
                    tracing::warn!(reason, class = class.as_str(), ?retry_in, "no broker");
                    self.metrics.set_connected(false);
                    self.courier.handle_disconnected();
                    self.ready.store(false, Ordering::Relaxed);
                }
                // Everything that goes down is sent again when it is asked for; only the room matters.
                LinkEvent::Published { .. } => {}
            }
        }
        if group.is_empty() {
            let looked = self.look().await;
            self.bear(looked)
        } else {
            self.take_in(group).await
        }
    }

    async fn take_in(&mut self, arrived: Vec<(Message, AckToken)>) -> Result<()> {
        if self.away {
            // Of the last moments before: agents send it again.
            return Ok(());
        }
        let mut group = arrived;
        // Behind what may be what they wait for.
        group.extend(self.overtaken.iter_mut().flat_map(Overtaken::take));
        let messages: Arc<Vec<Message>> =
            Arc::new(group.iter().map(|(message, _)| message.clone()).collect());
        let Some(mut outcome) = self.commit(&messages).await? else { return Ok(()) };
        let done = match &mut self.overtaken {
            Some(overtaken) => overtaken.sort(self.began.elapsed(), group, span, &mut outcome.acks),
            None => group,
        };
        if done.len() < messages.len() {
            // Not refused yet.
            outcome.counts.gaps = 0;
        }
        // Only now: what is acknowledged is committed. (The agent's own acknowledgement first, the broker's after.)
        for (site, agent, ack) in &outcome.acks {
            self.courier.ack(site, agent, ack);
        }
        for (_, token) in done {
            self.courier.link().ack(token);
        }
        self.metrics.ingested(&outcome.counts);
        for alarm in &outcome.alarms {
            raise(alarm);
        }
        for message in messages.iter() {
            if let Some((site, agent, _)) = topic::parse(&message.topic) {
                let served = self.courier.heard(&site, &agent).await;
                self.bear(served)?;
            }
        }
        for (_, _, reply) in outcome.replies {
            if let Some(question) = self.questions.remove(&reply.id) {
                // Whoever asked may have gone.
                let _ = question.send(reply.result);
            }
        }
        if outcome.affected.postings {
            self.senders.wake_erp();
        }
        if outcome.affected.offers {
            self.senders.wake_channels();
        }
        self.news.notify_waiters();
        Ok(())
    }

    /// One transaction; tried again while the store is busy, because what has arrived is in our hands now. `None`: for
    /// so long that we have left the broker.
    async fn commit(&mut self, messages: &Arc<Vec<Message>>) -> Result<Option<Outcome>> {
        let (mut attempt, began) = (0, Instant::now());
        loop {
            let mut ingest = self.ingest.take().unwrap_or_default();
            let group = Arc::clone(messages);
            let (back, result) = self
                .store
                .call(move |store| {
                    let publishes: Vec<Publish<'_>> = group
                        .iter()
                        .map(|m| Publish { topic: &m.topic, payload: &m.payload, retained: m.retain })
                        .collect();
                    let result = ingest.handle_publishes(store, unix_ms(), &publishes);
                    (ingest, result)
                })
                .await;
            self.ingest = Some(back);
            match result {
                Ok(outcome) => return Ok(Some(outcome)),
                Err(fault @ (StoreError::Busy { .. } | StoreError::Database { .. })) => {
                    let wait = STORE_RETRY[attempt.min(STORE_RETRY.len() - 1)];
                    attempt += 1;
                    tracing::error!(
                        error = &fault as &dyn std::error::Error,
                        attempt,
                        ?wait,
                        "nothing was stored; trying again"
                    );
                    if began.elapsed() >= STORE_PATIENCE {
                        self.failing_since.get_or_insert(began);
                        self.ready.store(false, Ordering::Relaxed);
                        self.leave().await;
                        return Ok(None);
                    }
                    tokio::time::sleep(wait).await;
                    // We are well; a restart would bring no store back.
                    systemd::notify("WATCHDOG=1");
                }
                Err(fault) => return Err(fault).context("taking in what has arrived"),
            }
        }
    }

    /// Looks at what may have changed: holds whose time is up, the catalogue, and whether we are ready.
    async fn look(&mut self) -> Result<()> {
        self.questions.retain(|_, question| !question.is_closed());
        let expired = self.store.call(|store| store.expire_reservations(unix_ms())).await;
        if expired.context("ending reservations whose time is up")? > 0 {
            self.senders.wake_channels();
            self.news.notify_waiters();
        }
        let book = Arc::clone(&self.book);
        let worked = self.store.call(move |store| round::work_due(store, &book, unix_ms(), ORDERS_MAX)).await;
        if worked.context("working on orders")? > 0 {
            self.senders.wake_orders();
            self.senders.wake_channels();
            self.news.notify_waiters();
        }
        if self.looked.elapsed() > PAUSED {
            // Others may have told agents something newer while our word was on its way.
            self.courier.forget();
        }
        self.looked = Instant::now();
        let head = self.reader.call(|reader| reader.changes_head()).await?.ledger;
        if std::mem::replace(&mut self.head, head) != head {
            // Perhaps another gateway has taken it in.
            self.senders.wake_erp();
            self.senders.wake_channels();
            self.news.notify_waiters();
        }
        self.metrics.set_leases(self.senders.leases());
        let revision = self.courier.look().await?;
        let open = match self.erp.clone() {
            // Whichever gateway has read the catalogue and opened the books: ingest may begin at all of them.
            Some(erp) => revision > 0 && self.reader.call(move |reader| reader.books_are_open(&erp)).await?,
            None => true,
        };
        self.come_back();
        self.ready.store(self.courier.is_connected() && open, Ordering::Relaxed);
        Ok(())
    }

    async fn answer(&mut self, request: RunRequest) {
        // A closed answer means that nobody waits any more.
        match request {
            RunRequest::Replay { id, by, answer } => {
                let mut ingest = self.ingest.take().unwrap_or_default();
                let work = move |store: &mut (dyn Store + 'static)| {
                    let result = ingest.replay(store, unix_ms(), id, &by);
                    (ingest, result)
                };
                let (back, result) = self.store.call(work).await;
                self.ingest = Some(back);
                self.senders.wake_erp();
                self.senders.wake_channels();
                self.news.notify_waiters();
                let _ = answer.send(result);
            }
            RunRequest::Command { site, agent, body, answer } => {
                self.next_command += 1;
                let command = Command { id: self.next_command, body };
                self.questions.insert(command.id, answer);
                self.courier.command(&site, &agent, &command);
            }
            RunRequest::LookForOrders { channel } => self.senders.look_for_orders(&channel),
            RunRequest::Promised => {
                self.senders.wake_channels();
                self.senders.wake_orders();
                self.news.notify_waiters();
            }
            RunRequest::Reconcile { answer } => self.senders.reconcile(answer),
        }
    }
}

/// Which events a message carries.
fn span((message, _): &(Message, AckToken)) -> Option<Span> {
    let (site, agent, Subject::Events) = topic::parse(&message.topic)? else { return None };
    let batch = Batch::decode(&message.payload).ok()?;
    Some(Span { last: batch.last(), stream: (site, agent, batch.epoch) })
}

/// Never, when there is nothing to wait for.
async fn wait_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Whether a fault is the store's and may be over soon.
fn passes(fault: &anyhow::Error) -> bool {
    let fault = fault.downcast_ref::<StoreError>();
    fault.is_some_and(|fault| matches!(fault, StoreError::Busy { .. } | StoreError::Database { .. }))
}

fn raise(alarm: &Alarm) {
    match alarm {
        Alarm::Conflict { movement } => {
            tracing::error!(%movement, "one identity came with two contents: set aside, see dead letters");
        }
        Alarm::Lost { movement, count } => tracing::error!(%movement, count, "the agent had to drop facts"),
        Alarm::Negative(Negative { site, location, item, quantity }) => {
            tracing::warn!(%site, %location, %item, %quantity, "the books say less than nothing lies there");
        }
        Alarm::Unappliable { movement, reason } => {
            tracing::warn!(%movement, reason, "held but not booked: see dead letters");
        }
        Alarm::Refused { topic, reason } => {
            // A topic or reason may carry what somebody scanned or sent.
            tracing::warn!(topic = %topic.escape_debug(), reason = %reason.escape_debug(), "refused: see dead letters");
        }
    }
}
