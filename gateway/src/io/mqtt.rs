//! The gateway's link to the broker: MQTT 5 behind a task and two channels of our own types.
//!
//! Nothing else in this crate names the client library. What arrives comes with an [`AckToken`]: ingest gives it back
//! after its commit, and only then does the broker get its PUBACK. So the broker never holds fewer messages than we
//! have not committed, and never sends more than `receive_maximum` ahead: that is the whole back-pressure, and
//! keep-alive goes on however slow the database is. Nothing is remembered across connections; the agents send again
//! what was not acknowledged by the gateway itself (docs/decisions/0002-mqtt-client.md).
//!
//! ```text
//!  acks, catalogue --try_publish--> [window] --> publish --+              +--> keep-alive, sockets
//!                 events <-- Published <-- report <--------+-- event loop +
//!  ingest --ack(token)--> [acks] --> acknowledge ----------+   (drive)    +--> [received] --> forward --> events
//! ```

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rumqttc::{
    AckMode, AsyncClient, Event, EventLoop, LastWill, ManualAck, MqttOptions, Packet, PublishNotice,
    PublishNoticeError, PublishOptions, PublishResult, QoS, SubscribeFilter, SubscribeReasonCode,
};
use stockwire_protocol::backoff::Backoff;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

mod dial;
mod loss;
mod tls;

use dial::LastBytes;
use loss::Loss;
pub use loss::{LossClass, PubResult};
pub use tls::{TlsFiles, TlsFilesError};

/// A broker in the same rack needs no more to be found dead within two minutes.
pub const KEEP_ALIVE_S_DEFAULT: u16 = 60;
/// Largest MQTT packet in either direction, the same as the agents': their batches and our catalogue pages.
pub const PACKET_SIZE_MAX_DEFAULT: u32 = 256 * 1024;
/// Messages in memory between their arrival and [`Link::ack`]. One database transaction takes a few hundred batches;
/// times [`PACKET_SIZE_MAX_DEFAULT`] this is 64 MiB at the very worst.
pub const RECEIVE_MAXIMUM_DEFAULT: u16 = 256;
/// Publishes that may wait for their PUBACK at a time. Acks to agents are small and many.
pub const PUBLISH_WINDOW: usize = 256;
/// What the client library may have in flight: well above [`PUBLISH_WINDOW`], since its packet identifiers wrap
/// around at this number and a late PUBACK must not meet its successor. Its default of 65,535 costs 14 MB.
const IN_FLIGHT_MAX: u16 = 5 * PUBLISH_WINDOW as u16;
/// Requests inside the client library's own channels (it has one for publishes and one for acks).
const REQUESTS_MAX: usize = PUBLISH_WINDOW;
/// TCP, TLS and CONNACK together: three round trips even over a satellite, and a dead address is given up soon.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// A broker that answers pings but not a publish for this long is not working; start afresh.
const PUBACK_WAIT: Duration = Duration::from_secs(60);
/// First wait after a lost connection, and the longest.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_CAP: Duration = Duration::from_secs(60);
/// A connection that lasted this long was a good one, and the waits begin small again. A CONNACK alone proves nothing:
/// a broker may accept and cut at once, and so does a second replica with our client id.
const GOOD_AFTER: Duration = Duration::from_secs(30);
/// How long [`Link::shutdown`] waits for PUBACKs. What stays open is in the database and is sent again.
pub const SHUTDOWN_WAIT: Duration = Duration::from_secs(2);
/// Everything in a PUBLISH besides topic and payload: type, length (4), topic length (2), identifier (2), no properties.
const PUBLISH_OVERHEAD: usize = 1 + 4 + 2 + 2 + 1;

/// Where the broker is and who we are. Certificate files are read anew at every connection attempt, so that a renewed
/// certificate is picked up without a restart.
#[derive(Clone, Debug)]
pub struct MqttConfig {
    /// Name or address. With TLS the broker's certificate must carry exactly this (an address as an IP SAN).
    pub host: String,
    /// 8883 with TLS, 1883 without, by custom.
    pub port: u16,
    /// One of its own for every replica: a second client with the same id takes the connection over
    /// ([`LossClass::TakenOver`]). The embedded broker accepts the name in the certificate, alone or followed by
    /// `/` and more.
    pub client_id: String,
    /// `None` means plain TCP: for the demo and tests on one machine.
    pub tls: Option<TlsFiles>,
    /// See [`KEEP_ALIVE_S_DEFAULT`]; zero is taken as one, because without pings a dead link is never noticed.
    pub keep_alive_s: u16,
    /// See [`PACKET_SIZE_MAX_DEFAULT`].
    pub packet_size_max: u32,
    /// See [`RECEIVE_MAXIMUM_DEFAULT`]; at least one.
    pub receive_maximum: u16,
    /// Topic filters, QoS 1, made again at each connection; replicas share with `$share/{group}/...`. If the broker
    /// refuses one, the connection is given up with [`LossClass::Credentials`]: half a gateway would look healthy.
    pub subscriptions: Vec<String>,
    /// What the broker publishes for us when the link dies without a DISCONNECT.
    pub will: Option<Message>,
}

impl MqttConfig {
    /// The broker at `host:port` over plain TCP, no subscriptions, no will, the rest at its defaults.
    pub fn new(host: impl Into<String>, port: u16, client_id: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port,
            client_id: client_id.into(),
            tls: None,
            keep_alive_s: KEEP_ALIVE_S_DEFAULT,
            packet_size_max: PACKET_SIZE_MAX_DEFAULT,
            receive_maximum: RECEIVE_MAXIMUM_DEFAULT,
            subscriptions: Vec::new(),
            will: None,
        }
    }
}

/// What travels under a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Full topic name.
    pub topic: String,
    /// The bytes, not looked at here.
    pub payload: Vec<u8>,
    /// Sending: the broker keeps it for later subscribers. Receiving: it was kept.
    pub retain: bool,
}

/// What the link tells its owner.
#[derive(Debug)]
pub enum LinkEvent {
    /// Accepted by the broker and all subscriptions granted. Nothing of an earlier connection is known any more.
    Connected,
    /// A connection or an attempt ended. Every token without a `Published` is void, and
    /// every [`AckToken`] of it does nothing any more. The link tries again by itself.
    Disconnected {
        /// For people: what happened and, where we know, what to do.
        reason: String,
        /// For code and metrics.
        class: LossClass,
        /// When the next attempt is due.
        retry_in: Duration,
    },
    /// The broker answered the publish. That frees the window and means nothing more.
    Published {
        /// As given to [`Link::try_publish`].
        token: u64,
        /// The broker's verdict.
        result: PubResult,
    },
    /// Something arrived on one of the subscriptions.
    Received {
        /// What arrived.
        message: Message,
        /// To be given to [`Link::ack`] once the message needs no sending again.
        ack: AckToken,
    },
}

/// The right to acknowledge one received message, once. Dropped, it leaves the message unacknowledged and its place
/// of `receive_maximum` taken until the connection ends.
#[derive(Debug)]
#[must_use = "give it to Link::ack after the commit; dropping it takes one place of receive_maximum for good"]
pub struct AckToken {
    connection: u64,
    /// None for QoS 0, which knows no acknowledgement.
    ack: Option<ManualAck>,
}

/// Why [`Link::try_publish`] did not take a message. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotQueued {
    /// As many publishes are unanswered as may be; wait for a `Published`.
    #[error("the publish window is full")]
    Full,
    /// No connection; wait for `Connected`.
    #[error("not connected to the broker")]
    Offline,
    /// Could never be sent on this connection.
    #[error("the packet would have {size} bytes, {max} are allowed")]
    TooLarge {
        /// Bytes of the whole packet.
        size: usize,
        /// The smaller of our limit and the broker's.
        max: usize,
    },
    /// Empty, too long, or with a wildcard or NUL in it.
    #[error("not a topic name that can be published to")]
    BadTopic,
}

/// A link that is kept up until [`shutdown`](Self::shutdown), or until it is dropped.
#[derive(Debug)]
pub struct Link {
    open: Arc<Mutex<Option<Open>>>,
    stop: watch::Sender<bool>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

/// What a live connection offers to publishers. Made with the connection and gone with it, so that nothing queued for
/// one connection can slip into the next.
#[derive(Debug)]
struct Open {
    connection: u64,
    /// Without a limit of its own: there is at most one entry for each message that the reader holds, and the message
    /// is the larger of the two.
    acks: mpsc::UnboundedSender<ManualAck>,
    publishes: mpsc::Sender<Publish>,
    window: Arc<Semaphore>,
    packet_size_max: usize,
}

#[derive(Debug)]
struct Publish {
    token: u64,
    message: Message,
    place: OwnedSemaphorePermit,
}

impl Link {
    /// Begins to connect, and goes on for ever. Faults come as events. Call inside a tokio runtime.
    #[must_use]
    pub fn start(config: MqttConfig, events: mpsc::Sender<LinkEvent>) -> Link {
        let open = Arc::new(Mutex::new(None));
        let (stop, stopped) = watch::channel(false);
        let worker = Worker { config, events, open: Arc::clone(&open), stopped, connection: 0 };
        let task = tokio::spawn(worker.run());
        Link { open, stop, task: tokio::sync::Mutex::new(Some(task)) }
    }

    /// Queues a publish with QoS 1. `token` comes back in [`LinkEvent::Published`]; take each number once per process.
    ///
    /// # Errors
    /// When nothing was queued; see [`NotQueued`].
    pub fn try_publish(&self, token: u64, message: Message) -> Result<(), NotQueued> {
        if !is_topic_name(&message.topic) {
            return Err(NotQueued::BadTopic);
        }
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or(NotQueued::Offline)?;
        let size = PUBLISH_OVERHEAD + message.topic.len() + message.payload.len();
        if size > open.packet_size_max {
            return Err(NotQueued::TooLarge { size, max: open.packet_size_max });
        }
        let place = Arc::clone(&open.window).try_acquire_owned().map_err(|_| NotQueued::Full)?;
        // The channel holds a whole window, so that it can only be closed here, never full.
        open.publishes.try_send(Publish { token, message, place }).map_err(|_| NotQueued::Offline)
    }

    /// How many publishes [`try_publish`](Self::try_publish) would take now; none when offline.
    #[must_use]
    pub fn room(&self) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().map_or(0, |open| open.window.available_permits())
    }

    /// Tells the broker that a received message is safe with us. A token of an earlier connection does nothing: its
    /// message will come again, and the ledger knows it.
    pub fn ack(&self, token: AckToken) {
        let Some(ack) = token.ack else { return };
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = open.as_ref().filter(|open| open.connection == token.connection) else { return };
        if let Err(error) = open.acks.send(ack) {
            tracing::debug!(%error, "an ack came too late for its connection");
        }
    }

    /// Waits up to [`SHUTDOWN_WAIT`] for PUBACKs of what is queued, says DISCONNECT (which keeps the will from being
    /// published), and ends the task, which closes `events`.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let Some(mut task) = self.task.lock().await.take() else { return };
        // Twice the wait: once for PUBACKs, once for the DISCONNECT to leave. The reader of `events` may be the one
        // who waits here, so an end by force has to be there.
        if timeout(2 * SHUTDOWN_WAIT, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// Why a connection is over.
enum Ended {
    /// Lost; there will be another.
    Lost(Loss),
    /// Nobody wants it any more: shut down, or the owner of `events` is gone.
    Done,
}

impl From<Loss> for Ended {
    fn from(loss: Loss) -> Self {
        Self::Lost(loss)
    }
}

struct Worker {
    config: MqttConfig,
    events: mpsc::Sender<LinkEvent>,
    open: Arc<Mutex<Option<Open>>>,
    stopped: watch::Receiver<bool>,
    /// Counts the connections, so that an [`AckToken`] is not taken for one of a later connection.
    connection: u64,
}

impl Worker {
    async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_CAP);
        loop {
            let begun = Instant::now();
            self.connection += 1;
            let ended = self.connection().await;
            self.set_open(None);
            let Ended::Lost(loss) = ended else { return };
            if begun.elapsed() >= GOOD_AFTER {
                backoff.reset();
            }
            let retry_in = backoff.next_delay(random());
            let event = LinkEvent::Disconnected { reason: loss.reason, class: loss.class, retry_in };
            tokio::select! {
                sent = self.events.send(event) => if sent.is_err() { return },
                () = wait_for_stop(&mut self.stopped) => return,
            }
            tokio::select! {
                () = tokio::time::sleep(retry_in) => {}
                () = wait_for_stop(&mut self.stopped) => return,
            }
        }
    }

    /// One connection from dialling to its end, with a client of its own.
    async fn connection(&mut self) -> Ended {
        match self.try_connection().await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn try_connection(&mut self) -> Result<std::convert::Infallible, Ended> {
        let (options, last) = options(&self.config)?;
        let (client, mut event_loop) = AsyncClient::builder(options).capacity(REQUESTS_MAX).build();
        let mut stopped = self.stopped.clone();
        let broker = tokio::select! {
            answer = connack(&mut event_loop, &last) => answer?,
            () = wait_for_stop(&mut stopped) => return Err(Ended::Done),
        };

        let keep_alive_s = broker.keep_alive_s.unwrap_or(self.config.keep_alive_s.max(1));
        let receive_maximum = usize::from(self.config.receive_maximum.max(1));
        let (received_in, received) = mpsc::channel(receive_maximum);
        let mut drive = pin!(drive(event_loop, last, keep_alive_s, received_in));
        let subscribed = subscribe(&client, &self.config.subscriptions);
        beside(drive.as_mut(), &mut stopped, subscribed).await??;

        let (publishes, queued) = mpsc::channel(PUBLISH_WINDOW);
        let (acks, acked) = mpsc::unbounded_channel();
        let connection = self.connection;
        let window = Arc::new(Semaphore::new(PUBLISH_WINDOW));
        let packet_size_max = broker
            .packet_size_max
            .map_or(self.config.packet_size_max, |theirs| theirs.min(self.config.packet_size_max))
            as usize;
        self.set_open(Some(Open {
            connection,
            acks,
            publishes,
            window: Arc::clone(&window),
            packet_size_max,
        }));
        let announced = self.events.send(LinkEvent::Connected);
        beside(drive.as_mut(), &mut stopped, announced).await?.map_err(|_| Ended::Done)?;

        let (notices_in, notices) = mpsc::channel(PUBLISH_WINDOW);
        let stop = async {
            wait_for_stop(&mut stopped).await;
            self.set_open(None);
            // All places free again: every publish was answered.
            let answered = window.acquire_many(PUBLISH_WINDOW as u32);
            if timeout(SHUTDOWN_WAIT, answered).await.is_err() {
                tracing::debug!("stopping with publishes unanswered; they are sent again later");
            }
            // Its failure means that the connection is over already, which `drive` reports.
            if client.disconnect_now().await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        Err(tokio::select! {
            ended = drive => ended,
            ended = publish(&client, queued, notices_in) => ended,
            ended = report(&self.events, notices) => ended,
            ended = forward(&client, connection, &self.events, received) => ended,
            () = acknowledge(&client, acked) => Ended::Done,
            () = stop => Ended::Done,
        })
    }

    fn set_open(&self, open: Option<Open>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }
}

/// What CONNACK said about the broker's own limits.
struct BrokerLimits {
    packet_size_max: Option<u32>,
    keep_alive_s: Option<u16>,
}

async fn connack(event_loop: &mut EventLoop, last: &LastBytes) -> Result<BrokerLimits, Loss> {
    loop {
        match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(connack))) => {
                let properties = connack.properties.as_ref();
                return Ok(BrokerLimits {
                    packet_size_max: properties.and_then(|properties| properties.max_packet_size),
                    keep_alive_s: properties.and_then(|properties| properties.server_keep_alive),
                });
            }
            Ok(_) => {}
            Err(error) => return Err(Loss::from_connection(&error, last.disconnect_reason())),
        }
    }
}

/// Polls the client until the connection ends. Pings depend on it, so it waits for nothing but the network, and for
/// the reader only when the broker leaves no choice: Mosquitto 2.0.11 forgets Receive Maximum once PUBACKs come and
/// sends all it has. Then not reading on is the only brake, for as long as the broker can do without a ping.
async fn drive(
    mut event_loop: EventLoop,
    last: LastBytes,
    keep_alive_s: u16,
    received: mpsc::Sender<rumqttc::Publish>,
) -> Ended {
    let silence_max = silence_max(keep_alive_s);
    let mut overflowed: u64 = 0;
    loop {
        let event = match timeout(silence_max, event_loop.poll()).await {
            Ok(Ok(event)) => event,
            Ok(Err(rumqttc::ConnectionError::RequestsDone)) => return Ended::Done,
            Ok(Err(error)) => return Loss::from_connection(&error, last.disconnect_reason()).into(),
            // The library has no time-out on writing: a peer that vanished with our send buffer full would hold it.
            Err(_) => return Loss::network("the connection stood still, not even pings got through").into(),
        };
        let Event::Incoming(Packet::Publish(publish)) = event else { continue };
        let publish = match received.try_send(publish) {
            Ok(()) => continue,
            Err(TrySendError::Full(publish)) => publish,
            Err(TrySendError::Closed(_)) => return Ended::Done,
        };
        if publish.qos == QoS::AtMostOnce {
            // Nothing of ours is sent that way, so a stranger's flood is what is dropped.
            overflowed += 1;
            if overflowed.is_power_of_two() {
                tracing::warn!(overflowed, "QoS 0 messages dropped: they come faster than they are read");
            }
            continue;
        }
        if timeout(stall_max(keep_alive_s), received.send(publish)).await.is_err() {
            return Loss::protocol(
                "the broker ignores Receive Maximum, and messages are read too slowly for that",
            )
            .into();
        }
    }
}

async fn subscribe(client: &AsyncClient, filters: &[String]) -> Result<(), Ended> {
    if filters.is_empty() {
        return Ok(());
    }
    let wanted = filters.iter().map(|filter| SubscribeFilter::new(filter.as_str(), QoS::AtLeastOnce));
    let notice = client.subscribe_many_tracked(wanted).await.map_err(|error| {
        Loss::configuration(format!(
            "a subscription is not valid ({error}); check the topic filters {filters:?}"
        ))
    })?;
    let suback = notice.wait_async().await.map_err(|error| Loss::protocol(format!("no SUBACK: {error}")))?;
    for (filter, code) in filters.iter().zip(&suback.return_codes) {
        if !matches!(code, SubscribeReasonCode::Success(_)) {
            return Err(Loss::credentials(format!(
                "the broker refused the subscription to {filter} ({code:?}); check the broker's access rules"
            ))
            .into());
        }
    }
    Ok(())
}

/// Our queue into the client's. Waits while the client or the broker has no room, which fills our window.
async fn publish(
    client: &AsyncClient,
    mut queued: mpsc::Receiver<Publish>,
    notices: mpsc::Sender<(u64, PublishNotice, OwnedSemaphorePermit)>,
) -> Ended {
    while let Some(Publish { token, message, place }) = queued.recv().await {
        let options = PublishOptions::at_least_once().retain(message.retain);
        let Ok(notice) = client.publish_tracked(message.topic, message.payload, options).await else {
            return Loss::protocol("the MQTT client took no more publishes").into();
        };
        // Holds a whole window, as many as there are places.
        if notices.try_send((token, notice, place)).is_err() {
            break;
        }
    }
    // Shutting down; `stop` decides when it is over.
    std::future::pending().await
}

/// The client's answers to our events, in order: MQTT has PUBACKs come in the order of the publishes.
async fn report(
    events: &mpsc::Sender<LinkEvent>,
    mut notices: mpsc::Receiver<(u64, PublishNotice, OwnedSemaphorePermit)>,
) -> Ended {
    while let Some((token, notice, place)) = notices.recv().await {
        let result = match timeout(PUBACK_WAIT, notice.wait_async()).await {
            Ok(Ok(PublishResult::Qos1(puback))) => PubResult::from_code(puback.reason as u8),
            Ok(Err(PublishNoticeError::RetainNotSupported)) => PubResult::RETAIN_NOT_SUPPORTED,
            Ok(other) => return Loss::protocol(format!("a publish ended without PUBACK: {other:?}")).into(),
            Err(_) => {
                return Loss::network("the broker answers pings but has not answered a publish for a minute")
                    .into();
            }
        };
        if events.send(LinkEvent::Published { token, result }).await.is_err() {
            return Ended::Done;
        }
        drop(place);
    }
    std::future::pending().await
}

/// What arrived to our events, with the right to acknowledge it.
async fn forward(
    client: &AsyncClient,
    connection: u64,
    events: &mpsc::Sender<LinkEvent>,
    mut received: mpsc::Receiver<rumqttc::Publish>,
) -> Ended {
    while let Some(publish) = received.recv().await {
        let ack = AckToken { connection, ack: client.prepare_ack(&publish) };
        let Ok(topic) = String::from_utf8(publish.topic.into()) else {
            return Loss::protocol("the broker sent a topic that is not UTF-8").into();
        };
        let message = Message { topic, payload: publish.payload.into(), retain: publish.retain };
        if events.send(LinkEvent::Received { message, ack }).await.is_err() {
            return Ended::Done;
        }
    }
    std::future::pending().await
}

/// The PUBACKs that ingest released.
async fn acknowledge(client: &AsyncClient, mut acked: mpsc::UnboundedReceiver<ManualAck>) {
    while let Some(ack) = acked.recv().await {
        // It fails only when the event loop is gone, and `drive` says why.
        if client.manual_ack(ack).await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// Runs `step` while `drive` goes on; the end of the connection ends both, and so does a stop.
async fn beside<T>(
    drive: Pin<&mut impl Future<Output = Ended>>,
    stopped: &mut watch::Receiver<bool>,
    step: impl Future<Output = T>,
) -> Result<T, Ended> {
    tokio::select! {
        ended = drive => Err(ended),
        done = step => Ok(done),
        () = wait_for_stop(stopped) => Err(Ended::Done),
    }
}

fn options(config: &MqttConfig) -> Result<(MqttOptions, LastBytes), Loss> {
    let mut options = MqttOptions::new(config.client_id.clone(), (config.host.clone(), config.port));
    let tls = config.tls.as_ref().map(TlsFiles::load).transpose();
    let tls = tls.map_err(|error| Loss::configuration(error.to_string()))?;
    let last = dial::set_dialler(&mut options, &config.host, tls);
    options
        .set_connect_timeout(CONNECT_WAIT)
        .set_keep_alive(config.keep_alive_s.max(1))
        .set_clean_start(true)
        .set_session_expiry_interval(Some(0))
        .set_ack_mode(AckMode::Manual)
        .set_receive_maximum(Some(config.receive_maximum.max(1)))
        .set_max_packet_size(Some(config.packet_size_max))
        .set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX);
    if let Some(will) = &config.will {
        let will = LastWill::new(&will.topic, will.payload.clone(), QoS::AtLeastOnce, will.retain, None);
        options.set_last_will(will);
    }
    options.validate().map_err(|error| Loss::configuration(format!("MQTT settings: {error}")))?;
    Ok((options, last))
}

/// Longer than the two keep-alive periods in which the client itself notices a missing PINGRESP.
fn silence_max(keep_alive_s: u16) -> Duration {
    match keep_alive_s {
        // The broker may switch keep-alive off; then nothing says that silence is wrong.
        0 => Duration::MAX,
        period => Duration::from_secs(u64::from(period)) * 5 / 2 + CONNECT_WAIT,
    }
}

/// A broker cuts a client that was silent for one and a half keep-alive periods. One may have passed already when the
/// waiting begins.
fn stall_max(keep_alive_s: u16) -> Duration {
    match keep_alive_s {
        0 => Duration::MAX,
        period => Duration::from_secs(period.into()) / 2,
    }
}

fn is_topic_name(topic: &str) -> bool {
    (1..=usize::from(u16::MAX)).contains(&topic.len()) && !topic.contains(['+', '#', '\0'])
}

async fn wait_for_stop(stopped: &mut watch::Receiver<bool>) {
    // An error means that the `Link` was dropped, which is a stop too.
    _ = stopped.wait_for(|stop| *stop).await;
}

/// Spreads the retries of many boxes; the seed of a hash table is random enough for that and always there.
fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}
