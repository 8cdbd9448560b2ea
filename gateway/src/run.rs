//! The gateway as a process: broker link, ingest, senders and the HTTP door around one store.

mod courier;
mod senders;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use stockwire_protocol::{Command, ReplyResult, topic};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::api::{self, Api, RunRequest};
use crate::config::{Config, StoreConfig};
use crate::ingest::{Alarm, GROUP_PUBLISHES_MAX, Ingest, Negative, Outcome, Publish};
use crate::io::broker::{self, BrokerConfig};
use crate::io::mqtt::{AckToken, Link, LinkEvent, Message, MqttConfig};
use crate::io::shared::Shared;
use crate::io::{store_door, systemd, unix_ms};
use crate::metrics::Metrics;
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
    let store: Shared<dyn Store> = Shared::new(blocking(&config, store_door::open).await?);
    let policies = senders::policies(&config)?;
    let prepared = store.call(move |store| {
        let recovered = store.recover_in_flight(unix_ms())?;
        store.replace_channels(&policies).map(|()| recovered)
    });
    let recovered = prepared.await?;
    if recovered > 0 {
        tracing::info!(
            recovered,
            "work was in flight when the gateway last ended; its outcome will be looked up"
        );
    }
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
    let senders = Senders::start(&config, &store, &stopping)?;
    let api = Arc::new(Api {
        reader: reader.clone(),
        store: store.clone(),
        metrics: Arc::clone(&metrics),
        ready: Arc::clone(&ready),
        news: Arc::clone(&news),
        requests,
        trust_loopback: config.http.trust_loopback,
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
    link_config.subscriptions = topic::up_filters(&config.mqtt.group).into();
    let (events, mut arrived) = mpsc::channel(LINK_EVENTS);
    let link = Link::start(link_config, events);
    let mut desk = Desk {
        courier: Courier::new(link, reader),
        store,
        ingest: Some(Ingest::new()),
        metrics,
        ready,
        news,
        senders,
        has_erp: config.erp.is_some(),
        questions: HashMap::new(),
        next_command: unix_ms().unsigned_abs(),
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
    /// Absent only while a blocking thread has it.
    ingest: Option<Ingest>,
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
    news: Arc<Notify>,
    senders: Senders,
    has_erp: bool,
    /// Commands that wait for their reply.
    questions: HashMap<u64, oneshot::Sender<ReplyResult>>,
    next_command: u64,
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
            tokio::select! {
                () = &mut stop => return Ok(()),
                Some(ended) = tasks.join_next() => {
                    return ended.context("a part of the gateway panicked")?.context("a part of the gateway ended");
                }
                event = arrived.recv() => {
                    let event = event.context("the broker link ended")?;
                    self.arrive(event, arrived).await?;
                }
                Some(request) = requested.recv() => self.answer(request).await,
                _ = tick.tick() => {
                    let looked = self.look().await;
                    self.bear(looked)?;
                }
                // In this loop on purpose: it comes only while the loop makes progress.
                _ = watchdog.tick() => systemd::notify("WATCHDOG=1"),
            }
            self.courier.deliver();
        }
    }

    /// A store that is away for a while ends nothing: what could not be read is asked for again at the next look.
    fn bear(&self, result: Result<()>) -> Result<()> {
        match result {
            Err(fault) if passes(&fault) => {
                self.ready.store(false, Ordering::Relaxed);
                tracing::warn!(error = format!("{fault:#}"), "the store does not answer; looking again");
                Ok(())
            }
            result => result,
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

    async fn take_in(&mut self, group: Vec<(Message, AckToken)>) -> Result<()> {
        let (messages, tokens): (Vec<Message>, Vec<AckToken>) = group.into_iter().unzip();
        let messages = Arc::new(messages);
        let outcome = self.commit(&messages).await?;
        // Only now: what is acknowledged is committed. (The agent's own acknowledgement first, the broker's after.)
        for (site, agent, ack) in &outcome.acks {
            self.courier.ack(site, agent, ack);
        }
        for token in tokens {
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

    /// One transaction; tried again while the store is busy, because what has arrived is in our hands now.
    async fn commit(&mut self, messages: &Arc<Vec<Message>>) -> Result<Outcome> {
        let mut attempt = 0;
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
                Ok(outcome) => return Ok(outcome),
                Err(fault @ (StoreError::Busy { .. } | StoreError::Database { .. })) => {
                    let wait = STORE_RETRY[attempt.min(STORE_RETRY.len() - 1)];
                    attempt += 1;
                    tracing::error!(
                        error = &fault as &dyn std::error::Error,
                        attempt,
                        ?wait,
                        "nothing was stored; trying again"
                    );
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
        let revision = self.courier.look().await?;
        let connected = self.courier.is_connected();
        self.ready
            .store(connected && (revision > 0 || !self.has_erp) && self.senders.is_open(), Ordering::Relaxed);
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
            RunRequest::Promised => {
                self.senders.wake_channels();
                self.news.notify_waiters();
            }
            RunRequest::Reconcile { answer } => self.senders.reconcile(answer),
        }
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
