//! An MQTT 5 broker inside the gateway process, for one machine and the demo.
//!
//! The protocol work is the `mqtt5` crate's; ours are the door and the rules (docs/decisions/0003-embedded-broker.md).
//! Each connection is accepted here, shakes hands in a task of its own, and is handed to the crate together with an
//! access rule that knows the name in its certificate. Everything is in memory: a restart forgets retained messages
//! and whatever was in flight, which costs nothing but sending again, because nothing we promise rests on a broker.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mqtt5::broker::auth::AuthProvider;
use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::storage::QueueLimits;
use mqtt5::broker::sys_topics::BrokerStats;
use mqtt5::broker::tls_acceptor::TlsStreamWrapper;
use mqtt5::broker::transport::BrokerTransport;
use mqtt5::broker::{BrokerConfig as Settings, ResourceLimits, ResourceMonitor};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

mod access;
mod certificate;

use super::mqtt::{PACKET_SIZE_MAX_DEFAULT, TlsFiles, TlsFilesError};
use access::{Access, Rights};

/// Boxes of one machine's worth of warehouse, and a socket each. Beyond that a real broker is the better choice.
const CONNECTIONS_MAX: usize = 1_000;
/// TLS handshake of one connection; the crate itself waits 10 s for CONNECT after it.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// Unacknowledged publishes towards one subscriber, unless it asks for fewer. The gateway takes this many into one
/// transaction (`RECEIVE_MAXIMUM_DEFAULT`).
const OUTBOUND_IN_FLIGHT_MAX: u16 = 256;
/// Messages waiting for one subscriber before its publishers are slowed down.
const CHANNEL_MESSAGES: usize = 256;
/// And what may wait behind that for one subscriber; beyond it the oldest are forgotten, and sent again by the agents.
const QUEUE: QueueLimits = QueueLimits { max_messages: 10_000, max_bytes: 64 * 1024 * 1024 };
/// Unacknowledged publishes from one client: above the windows of our own links, so that those decide.
const INBOUND_IN_FLIGHT_MAX: u16 = 512;
/// Catalogue parts and states: one retained message each, for every box.
const RETAINED_MESSAGES_MAX: usize = 100_000;
/// How long [`Broker::shutdown`] waits for connections to end by themselves.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);
/// After an accept error (out of file descriptors, mostly) the same error would come at once again.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What to listen on and whom to let in.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Port 0 takes any free one; see [`Broker::local_addr`].
    pub listen: SocketAddr,
    /// With these, every client must show a certificate of that CA, and its common name says what it may do. Without,
    /// there are no names and no rules, and only loopback addresses are served.
    pub tls: Option<BrokerTls>,
    /// Common names that may read and write everything. Everybody else is an agent.
    pub gateway_names: Vec<String>,
}

/// The broker's own certificate, its key, and the CA that client certificates must come from, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerTls {
    /// Authority of the clients' certificates.
    pub ca: PathBuf,
    /// The broker's certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl BrokerConfig {
    /// On `listen`, without TLS, with the one gateway name `gateway`.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, tls: None, gateway_names: vec!["gateway".to_owned()] }
    }
}

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The port is taken, the address not ours, or the port needs rights.
    #[error("the broker cannot listen on {listen}; is another broker running there?")]
    Listen {
        /// As configured.
        listen: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Without TLS nobody is asked who he is.
    #[error(
        "without TLS the broker serves loopback addresses only, not {listen}; configure its certificates"
    )]
    Unprotected {
        /// As configured.
        listen: SocketAddr,
    },
    /// The certificate files are of no use.
    #[error(transparent)]
    Tls(#[from] TlsFilesError),
}

/// A running broker. Dropping it stops it without a farewell.
#[derive(Debug)]
pub struct Broker {
    local_addr: SocketAddr,
    stop: broadcast::Sender<()>,
    task: Option<JoinHandle<()>>,
}

impl Broker {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Closes the port and all connections; returns when both are closed.
    pub async fn shutdown(mut self) {
        // An error means that nobody listens, so that there is nothing left to stop.
        _ = self.stop.send(());
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the broker's task had ended badly before");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Starts a broker, which listens when this returns.
///
/// # Errors
/// See [`BrokerError`].
pub async fn start(config: BrokerConfig) -> Result<Broker, BrokerError> {
    let listen = config.listen;
    let acceptor = match &config.tls {
        Some(BrokerTls { ca, cert, key }) => {
            let files = TlsFiles { ca: ca.clone(), cert: cert.clone(), key: key.clone() };
            Some(TlsAcceptor::from(files.server_config()?))
        }
        None if listen.ip().is_loopback() => None,
        None => return Err(BrokerError::Unprotected { listen }),
    };
    let failed = |source| BrokerError::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let local_addr = listener.local_addr().map_err(failed)?;
    let (stop, stopped) = broadcast::channel(1);
    let door = Arc::new(Door {
        acceptor,
        gateway_names: config.gateway_names,
        hall: Hall::new(),
        stop: stop.clone(),
    });
    let task = tokio::spawn(accept(listener, door, stopped));
    Ok(Broker { local_addr, stop, task: Some(task) })
}

/// What every connection shares inside the crate.
struct Hall {
    settings: Arc<Settings>,
    router: Arc<MessageRouter>,
    stats: Arc<BrokerStats>,
    resources: Arc<ResourceMonitor>,
}

impl Hall {
    fn new() -> Self {
        let packet_size_max = PACKET_SIZE_MAX_DEFAULT as usize;
        let mut settings = Settings::new()
            .with_max_clients(CONNECTIONS_MAX)
            // Sessions end with their connection: there is no store, so one that outlives it would only be memory.
            .with_session_expiry(Duration::ZERO)
            .with_max_packet_size(packet_size_max)
            .with_client_channel_capacity(CHANNEL_MESSAGES)
            .with_max_outbound_inflight(OUTBOUND_IN_FLIGHT_MAX)
            .with_server_receive_maximum(INBOUND_IN_FLIGHT_MAX)
            .with_maximum_qos(1)
            .with_sys_topics_enabled(false);
        settings.topic_alias_maximum = 0;
        let router = MessageRouter::new()
            .with_fallback_queue_limits(QUEUE)
            .with_retained_limits(RETAINED_MESSAGES_MAX, packet_size_max);
        let limits = ResourceLimits {
            max_connections: CONNECTIONS_MAX,
            // A whole warehouse comes through one NAT address, and after a power cut all at once.
            max_connections_per_ip: CONNECTIONS_MAX,
            max_connection_rate: u32::MAX,
            // Zero means unlimited: a drained backlog is what it is made for.
            max_message_rate_per_client: 0,
            max_bandwidth_per_client: 0,
            ..ResourceLimits::default()
        };
        Self {
            settings: Arc::new(settings),
            router: Arc::new(router),
            stats: Arc::new(BrokerStats::new()),
            resources: Arc::new(ResourceMonitor::new(limits)),
        }
    }
}

struct Door {
    acceptor: Option<TlsAcceptor>,
    gateway_names: Vec<String>,
    hall: Hall,
    stop: broadcast::Sender<()>,
}

async fn accept(listener: TcpListener, door: Arc<Door>, mut stopped: broadcast::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= CONNECTIONS_MAX => {
                    tracing::warn!(CONNECTIONS_MAX, "broker: connection refused, there are too many");
                }
                Ok((stream, peer)) => {
                    // Before the handshake, so that a stop during it is not missed.
                    let stop = door.stop.subscribe();
                    connections.spawn(admit(Arc::clone(&door), stream, peer, stop));
                }
                Err(error) => {
                    tracing::error!(%error, "broker: cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            // Only to take finished ones out; what they had to say they have said.
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = stopped.recv() => break,
        }
    }
    drop(listener);
    let all_gone = async { while connections.join_next().await.is_some() {} };
    if timeout(SHUTDOWN_WAIT, all_gone).await.is_err() {
        tracing::warn!(left = connections.len(), "broker: connections cut at shutdown");
        connections.shutdown().await;
    }
}

/// Finds out who is there, then lets the crate serve him under his rights.
async fn admit(door: Arc<Door>, stream: TcpStream, peer: SocketAddr, mut stop: broadcast::Receiver<()>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "broker: Nagle's algorithm stays on");
    }
    let (transport, rights) = match &door.acceptor {
        None => (BrokerTransport::tcp(stream), Rights::Everything),
        Some(acceptor) => {
            let handshake = unless(stop.recv(), timeout(HANDSHAKE_WAIT, acceptor.accept(stream)));
            let stream = match handshake.await {
                None => return,
                Some(Ok(Ok(stream))) => stream,
                Some(Ok(Err(error))) => {
                    tracing::info!(%peer, %error, "broker: TLS handshake failed");
                    return;
                }
                Some(Err(_)) => {
                    tracing::info!(%peer, "broker: no TLS handshake within 10 s");
                    return;
                }
            };
            // The verifier requires one, so that none at all would be a bug in it; refuse rather than trust.
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let name = shown.and_then(|certificate| certificate::common_name(certificate));
            let Some(rights) = name.and_then(|name| Rights::of(name, &door.gateway_names)) else {
                tracing::warn!(%peer, "broker: certificate without a usable common name");
                return;
            };
            (BrokerTransport::tls(TlsStreamWrapper::new(stream)), rights)
        }
    };
    let rules: Arc<dyn AuthProvider> = Arc::new(Access::new(rights));
    let hall = &door.hall;
    let handler = ClientHandler::new(
        transport,
        peer,
        Arc::clone(&hall.settings),
        Arc::clone(&hall.router),
        rules,
        None,
        Arc::clone(&hall.stats),
        Arc::clone(&hall.resources),
        stop,
    );
    if let Err(error) = handler.run().await
        && !error.is_normal_disconnect()
    {
        tracing::debug!(%peer, %error, "broker: connection ended");
    }
}

/// `work`, or nothing when `end` comes first.
async fn unless<T>(end: impl Future, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        _ = end => None,
        done = work => Some(done),
    }
}
