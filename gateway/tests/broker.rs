//! The embedded broker, with our own link as its client, over loopback TLS.
// Helpers of a test fail the test by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use stockwire_gateway::io::broker::{self, Broker, BrokerConfig, BrokerError, BrokerTls};
use stockwire_gateway::io::mqtt::{
    AckToken, Link, LinkEvent, LossClass, Message, MqttConfig, NotQueued, PubResult, TlsFiles,
};
use support::Pki;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[path = "support/pki.rs"]
mod support;

/// Far more than anything here takes; only a failing test waits for it.
const DEADLINE: Duration = Duration::from_secs(30);
const SHARED_EVENTS: &str = "$share/ingest/stockwire/v1/+/+/up/events";

struct World {
    pki: Pki,
    broker: Broker,
}

impl World {
    async fn new() -> Self {
        let pki = Pki::new();
        let files = pki.issue("broker");
        let mut config = BrokerConfig::new(loopback());
        config.tls = Some(BrokerTls { ca: files.ca, cert: files.cert, key: files.key });
        let broker = broker::start(config).await.unwrap();
        Self { pki, broker }
    }

    /// Settings of a client whose certificate names `name`.
    fn config(&self, name: &str, subscriptions: &[&str]) -> MqttConfig {
        let files = self.pki.issue(name);
        MqttConfig {
            tls: Some(TlsFiles { ca: files.ca, cert: files.cert, key: files.key }),
            subscriptions: subscriptions.iter().map(|&filter| filter.to_owned()).collect(),
            ..MqttConfig::new("127.0.0.1", self.broker.local_addr().port(), name)
        }
    }

    async fn connect(&self, name: &str, subscriptions: &[&str]) -> Peer {
        Peer::connected(self.config(name, subscriptions)).await
    }
}

struct Peer {
    link: Link,
    events: mpsc::Receiver<LinkEvent>,
    next_token: u64,
}

impl Peer {
    fn start(config: MqttConfig) -> Self {
        let (sender, events) = mpsc::channel(16);
        Self { link: Link::start(config, sender), events, next_token: 1 }
    }

    async fn connected(config: MqttConfig) -> Self {
        let mut peer = Self::start(config);
        match peer.event().await {
            LinkEvent::Connected => peer,
            other => panic!("not connected: {other:?}"),
        }
    }

    async fn event(&mut self) -> LinkEvent {
        timeout(DEADLINE, self.events.recv()).await.expect("no event").expect("the link has ended")
    }

    async fn lost(&mut self) -> (LossClass, String) {
        loop {
            if let LinkEvent::Disconnected { class, reason, .. } = self.event().await {
                return (class, reason);
            }
        }
    }

    async fn publish(&mut self, message: Message) -> PubResult {
        let token = self.next_token;
        self.next_token += 1;
        self.link.try_publish(token, message).unwrap();
        match self.event().await {
            LinkEvent::Published { token: answered, result } if answered == token => result,
            other => panic!("no answer to the publish: {other:?}"),
        }
    }

    async fn received(&mut self) -> (Message, AckToken) {
        match self.event().await {
            LinkEvent::Received { message, ack } => (message, ack),
            other => panic!("nothing received: {other:?}"),
        }
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn message(topic: &str, payload: impl Into<Vec<u8>>) -> Message {
    Message { topic: topic.to_owned(), payload: payload.into(), retain: false }
}

#[tokio::test]
async fn events_go_up_and_acks_come_down() {
    let world = World::new().await;
    let mut gateway = world.connect("gateway", &[SHARED_EVENTS]).await;
    let mut agent = world.connect("box-7", &["stockwire/v1/HAM/box-7/down/#"]).await;

    let event = message("stockwire/v1/HAM/box-7/up/events", *b"three boxes of screws");
    assert_eq!(agent.publish(event.clone()).await, PubResult::Accepted);
    let (received, ack) = gateway.received().await;
    assert_eq!(received, event);
    gateway.link.ack(ack);

    let down = message("stockwire/v1/HAM/box-7/down/acks", *b"all of them");
    assert_eq!(gateway.publish(down.clone()).await, PubResult::Accepted);
    assert_eq!(agent.received().await.0, down);
}

#[tokio::test]
async fn a_retained_catalogue_reaches_a_box_that_comes_later() {
    let world = World::new().await;
    let mut gateway = world.connect("gateway", &[]).await;
    let catalogue =
        Message { retain: true, ..message("stockwire/v1/HAM/box-7/down/catalogue/0", vec![7; 200 * 1024]) };
    gateway.publish(catalogue.clone()).await;

    let mut agent = world.connect("box-7", &["stockwire/v1/HAM/box-7/down/#"]).await;
    let (received, ack) = agent.received().await;
    assert_eq!(received, catalogue, "200 KiB, byte for byte, and marked as retained");
    agent.link.ack(ack);
}

#[tokio::test]
async fn the_will_of_a_box_that_vanishes_is_published() {
    let world = World::new().await;
    let mut gateway = world.connect("gateway", &["stockwire/v1/+/+/up/state"]).await;
    let gone = message("stockwire/v1/HAM/box-7/up/state", *b"gone");
    let mut config = world.config("box-7", &[]);
    config.will = Some(gone.clone());

    // A runtime that is dropped takes its sockets along without a word, like a process that is killed.
    let killed = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (sender, mut events) = mpsc::channel(4);
    let link = {
        let _inside = killed.enter();
        Link::start(config.clone(), sender)
    };
    assert!(matches!(timeout(DEADLINE, events.recv()).await, Ok(Some(LinkEvent::Connected))));
    killed.shutdown_background();
    assert_eq!(gateway.received().await.0, gone);
    drop(link);

    // And one that says goodbye leaves no will: the next thing to arrive is from somebody else.
    let leaving = Peer::connected(config).await;
    leaving.link.shutdown().await;
    let mut other = world.connect("box-8", &[]).await;
    let here = message("stockwire/v1/HAM/box-8/up/state", *b"here");
    other.publish(here.clone()).await;
    assert_eq!(gateway.received().await.0, here);
}

#[tokio::test]
async fn a_box_can_neither_write_nor_read_for_another() {
    let world = World::new().await;
    let mut gateway = world.connect("gateway", &[SHARED_EVENTS]).await;
    let mut agent = world.connect("box-7", &[]).await;
    for topic in [
        "stockwire/v1/HAM/box-8/up/events",
        "stockwire/v1/HAM/box-7/down/acks",
        "stockwire/v1/HAM/box-7",
        "somewhere/else",
    ] {
        assert_eq!(agent.publish(message(topic, *b"forged")).await, PubResult::NotAuthorised, "{topic}");
    }
    let own = message("stockwire/v1/HAM/box-7/up/events", *b"true");
    assert_eq!(agent.publish(own.clone()).await, PubResult::Accepted);
    assert_eq!(gateway.received().await.0, own, "and of the forged ones nothing came");

    let mut curious = Peer::start(world.config("box-9", &["stockwire/v1/HAM/box-7/down/#"]));
    let (class, reason) = curious.lost().await;
    assert_eq!(class, LossClass::Credentials);
    assert!(reason.contains("stockwire/v1/HAM/box-7/down/#"), "{reason}");

    let mut masked = world.config("box-9", &[]);
    masked.client_id = "box-7".to_owned();
    let (class, reason) = Peer::start(masked).lost().await;
    assert_eq!(class, LossClass::Configuration, "{reason}");
    assert_eq!(agent.publish(own).await, PubResult::Accepted, "box-7 was not thrown off");
}

#[tokio::test]
async fn only_certificates_of_our_authority_get_in() {
    let world = World::new().await;
    let stranger = Pki::new();
    let mut config = world.config("box-7", &[]);
    let files = stranger.issue("box-7");
    let ours = config.tls.clone().unwrap();

    // He shows a certificate of another authority.
    config.tls = Some(TlsFiles { ca: ours.ca.clone(), cert: files.cert, key: files.key });
    let (class, reason) = Peer::start(config.clone()).lost().await;
    assert_eq!(class, LossClass::Tls, "{reason}");

    // We would be talking to a broker of another authority.
    config.tls = Some(TlsFiles { ca: files.ca, ..ours });
    let (class, reason) = Peer::start(config.clone()).lost().await;
    assert_eq!(class, LossClass::Tls);
    assert!(reason.contains("CA file"), "{reason}");

    // Plain TCP to the TLS port.
    config.tls = None;
    let (class, reason) = Peer::start(config).lost().await;
    assert_eq!(class, LossClass::Protocol);
    assert!(reason.contains("with TLS or without"), "{reason}");

    // A name that is neither an agent's nor a gateway's.
    let (class, _) = Peer::start(world.config("Box 7", &[])).lost().await;
    assert_eq!(class, LossClass::Network);
}

#[tokio::test]
async fn replicas_share_and_each_message_comes_to_one_of_them() {
    const MESSAGES: u64 = 20_000;
    const WINDOW: usize = 100;
    let world = World::new().await;
    let mut replicas = Vec::new();
    for number in 1..=2 {
        let mut config = world.config("gateway", &[SHARED_EVENTS]);
        config.client_id = format!("gateway:{number}");
        replicas.push(Peer::connected(config).await);
    }
    let mut agent = world.connect("box-7", &[]).await;
    let (seen_in, mut seen) = mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    for (number, mut replica) in replicas.into_iter().enumerate() {
        let seen_in = seen_in.clone();
        tasks.spawn(async move {
            loop {
                let (message, ack) = replica.received().await;
                replica.link.ack(ack);
                let number_and_payload = (number, u64::from_le_bytes(message.payload.try_into().unwrap()));
                if seen_in.send(number_and_payload).is_err() {
                    return;
                }
            }
        });
    }
    let begun = std::time::Instant::now();
    tasks.spawn(async move {
        let (mut sent, mut answered) = (0, 0);
        while answered < MESSAGES {
            while sent < MESSAGES && sent - answered < WINDOW as u64 {
                let event = message("stockwire/v1/HAM/box-7/up/events", sent.to_le_bytes());
                agent.link.try_publish(sent, event).unwrap();
                sent += 1;
            }
            match agent.event().await {
                LinkEvent::Published { token, result } => {
                    assert_eq!((token, result), (answered, PubResult::Accepted));
                    answered += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    });

    let mut payloads = HashSet::new();
    let mut shares = [0u64; 2];
    while payloads.len() < MESSAGES as usize {
        let (number, payload) = timeout(DEADLINE, seen.recv()).await.expect("a message is missing").unwrap();
        assert!(payloads.insert(payload), "{payload} came twice");
        shares[number] += 1;
    }
    println!("{MESSAGES} messages, window {WINDOW}: {:?}, shares {shares:?}", begun.elapsed());
    assert!(shares.iter().all(|&share| share > MESSAGES / 4), "one replica does all the work: {shares:?}");
    tasks.shutdown().await;
}

#[tokio::test]
async fn what_is_not_acknowledged_holds_back_the_rest_and_the_link_stays_up() {
    const RECEIVE_MAXIMUM: u16 = 8;
    const MESSAGES: u16 = 40;
    let world = World::new().await;
    let mut config = world.config("gateway", &[SHARED_EVENTS]);
    config.receive_maximum = RECEIVE_MAXIMUM;
    config.keep_alive_s = 1;
    let mut gateway = Peer::connected(config).await;
    let mut agent = world.connect("box-7", &[]).await;
    for number in 0..MESSAGES {
        let event = message("stockwire/v1/HAM/box-7/up/events", number.to_le_bytes());
        assert_eq!(agent.publish(event).await, PubResult::Accepted);
    }

    let mut held = Vec::new();
    for _ in 0..RECEIVE_MAXIMUM {
        held.push(gateway.received().await);
    }
    // The quiet itself is what is tested: three keep-alive periods in which nothing more arrives, nothing is
    // acknowledged, and the broker sees our pings all the same.
    let more = timeout(Duration::from_secs(3), gateway.events.recv()).await;
    assert!(more.is_err(), "more than Receive Maximum, or the connection was lost: {more:?}");

    let mut numbers = Vec::new();
    while numbers.len() < MESSAGES.into() {
        if held.is_empty() {
            held.push(gateway.received().await);
        }
        for (message, ack) in held.drain(..) {
            numbers.push(u16::from_le_bytes(message.payload.try_into().unwrap()));
            gateway.link.ack(ack);
        }
    }
    assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>(), "all of them, in order");
}

#[tokio::test]
async fn a_silent_stranger_does_not_keep_others_out() {
    let world = World::new().await;
    let silent = tokio::net::TcpStream::connect(world.broker.local_addr()).await.unwrap();
    world.connect("box-7", &[]).await;
    drop(silent);
}

#[tokio::test]
async fn a_second_client_of_one_name_takes_over_and_the_first_is_told() {
    let world = World::new().await;
    let config = world.config("box-7", &[]);
    let mut first = Peer::connected(config.clone()).await;
    let _second = Peer::connected(config).await;
    let (class, reason) = first.lost().await;
    assert_eq!(class, LossClass::TakenOver, "{reason}");
}

#[tokio::test]
async fn limits_are_told_before_sending() {
    let world = World::new().await;
    let mut config = world.config("box-7", &[]);
    config.packet_size_max = 10_000_000;
    let agent = Peer::connected(config).await;
    let event = message("stockwire/v1/HAM/box-7/up/events", vec![0; 300 * 1024]);
    let refused = agent.link.try_publish(1, event).unwrap_err();
    assert!(matches!(refused, NotQueued::TooLarge { max: 262_144, .. }), "{refused:?}");
}

#[tokio::test]
async fn shutdown_closes_the_port_and_tells_the_clients() {
    let world = World::new().await;
    let mut agent = world.connect("box-7", &[]).await;
    let address = world.broker.local_addr();
    timeout(DEADLINE, world.broker.shutdown()).await.expect("shutdown hangs");
    let (class, reason) = agent.lost().await;
    assert!(matches!(class, LossClass::Busy | LossClass::Network), "{class:?} {reason}");
    let refused = tokio::net::TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_the_start() {
    let open = BrokerConfig::new(SocketAddr::from(([0, 0, 0, 0], 0)));
    assert!(matches!(broker::start(open).await, Err(BrokerError::Unprotected { .. })));

    let first = broker::start(BrokerConfig::new(loopback())).await.unwrap();
    let taken = broker::start(BrokerConfig::new(first.local_addr())).await;
    assert!(matches!(taken, Err(BrokerError::Listen { .. })));

    let pki = Pki::new();
    let (one, other) = (pki.issue("one"), pki.issue("other"));
    let mut mixed = BrokerConfig::new(loopback());
    mixed.tls = Some(BrokerTls { ca: one.ca.clone(), cert: one.cert, key: other.key });
    let error = broker::start(mixed.clone()).await.unwrap_err().to_string();
    assert!(error.contains("other.key is not the key of") && error.contains("one.pem"), "{error}");
    mixed.tls = Some(BrokerTls { ca: one.ca, cert: pki.dir().join("absent.pem"), key: one.key });
    let error = broker::start(mixed).await.unwrap_err().to_string();
    assert!(error.contains("absent.pem; it is not there"), "{error}");
}

#[tokio::test]
async fn without_tls_it_serves_loopback_without_names() {
    let broker = broker::start(BrokerConfig::new(loopback())).await.unwrap();
    let mut config = MqttConfig::new("127.0.0.1", broker.local_addr().port(), "anyone");
    config.subscriptions = vec!["stockwire/#".to_owned()];
    let mut peer = Peer::connected(config).await;
    let event = message("stockwire/v1/HAM/box-7/up/events", *b"demo");
    peer.link.try_publish(1, event.clone()).unwrap();
    let mut events = [peer.event().await, peer.event().await];
    events.sort_by_key(|event| matches!(event, LinkEvent::Published { .. }));
    let [LinkEvent::Received { message, .. }, LinkEvent::Published { result, .. }] = events else {
        panic!("{events:?}")
    };
    assert_eq!((message, result), (event, PubResult::Accepted));
    broker.shutdown().await;
}

/// One of Mosquitto's clients, ended with the test.
struct CommandLine(std::process::Child);

impl CommandLine {
    fn start(program: &str, port: u16, pki: &Pki, name: &str, arguments: &[&str]) -> Self {
        let files = pki.issue(name);
        // Line by line, as it would be on a terminal, so that what it prints can be waited for.
        let child = std::process::Command::new("stdbuf")
            .args(["-oL", program])
            .args(["-V", "5", "-h", "127.0.0.1", "-q", "1", "-p", &port.to_string(), "--cafile"])
            .arg(files.ca)
            .arg("--cert")
            .arg(files.cert)
            .arg("--key")
            .arg(files.key)
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn();
        Self(child.expect("the Debian package mosquitto-clients is not installed"))
    }

    /// Waits for its end: whether it succeeded, and all it printed.
    async fn output(mut self) -> (bool, Vec<u8>) {
        let waiting = tokio::task::spawn_blocking(move || {
            use std::io::Read;
            let mut bytes = Vec::new();
            self.0.stdout.take().unwrap().read_to_end(&mut bytes).unwrap();
            self.0.stderr.take().unwrap().read_to_end(&mut bytes).unwrap();
            (self.0.wait().unwrap().success(), bytes)
        });
        waiting.await.unwrap()
    }
}

impl Drop for CommandLine {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mosquitto: cargo verify --stage real"]
async fn another_implementation_of_mqtt_5_is_served_as_well() {
    let world = World::new().await;
    let port = world.broker.local_addr().port();
    let run =
        |program, name, arguments: &[&str]| CommandLine::start(program, port, &world.pki, name, arguments);

    // Retained, 200 KiB, read by a client that comes later.
    let large: Vec<u8> = (0..200 * 1024).map(|byte: usize| byte as u8).collect();
    let file = world.pki.dir().join("large");
    std::fs::write(&file, &large).unwrap();
    let catalogue = "stockwire/v1/HAM/box-7/down/catalogue/0";
    let publish = ["-i", "gateway:pub", "-t", catalogue, "-r", "-f", file.to_str().unwrap()];
    assert!(run("mosquitto_pub", "gateway", &publish).output().await.0);
    let read = ["-i", "box-7:sub", "-t", "stockwire/v1/HAM/box-7/down/#", "-C", "1", "-N", "-W", "30"];
    let (good, bytes) = run("mosquitto_sub", "box-7", &read).output().await;
    assert!(good && bytes == large, "{} bytes", bytes.len());

    // A shared subscription next to one of ours: together each message once.
    let mut ours = world.config("gateway", &[SHARED_EVENTS]);
    ours.client_id = "gateway:ours".to_owned();
    let mut ours = Peer::connected(ours).await;
    let share = ["-i", "gateway:theirs", "-t", SHARED_EVENTS, "-C", "5", "-F", "%p", "-W", "30"];
    let theirs = run("mosquitto_sub", "gateway", &share);
    let mut agent = world.connect("box-7", &[]).await;
    // Their subscription is there when a message no longer comes to us.
    let mut sent = 0u32;
    let mut got = Vec::new();
    while sent < 1_000 && sent as usize - got.len() < 5 {
        let event = message("stockwire/v1/HAM/box-7/up/events", sent.to_string());
        assert_eq!(agent.publish(event).await, PubResult::Accepted);
        sent += 1;
        while let Ok(Some(event)) = timeout(Duration::from_millis(200), ours.events.recv()).await {
            let LinkEvent::Received { message, ack } = event else { panic!("{event:?}") };
            got.push(String::from_utf8(message.payload).unwrap());
            ours.link.ack(ack);
        }
    }
    let (good, printed) = theirs.output().await;
    assert!(good);
    got.extend(String::from_utf8(printed).unwrap().lines().map(str::to_owned));
    got.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(got, (0..sent).map(|number| number.to_string()).collect::<Vec<_>>());

    // The will of a client that is killed.
    let mut watcher = world.config("gateway", &["stockwire/v1/+/+/up/state"]);
    watcher.client_id = "gateway:watcher".to_owned();
    let mut watcher = Peer::connected(watcher).await;
    let topic = "stockwire/v1/HAM/box-8/up/state";
    let mut doomed = run(
        "mosquitto_sub",
        "box-8",
        &[
            "-i",
            "box-8",
            "-t",
            "stockwire/v1/HAM/box-8/down/#",
            "--will-topic",
            topic,
            "--will-payload",
            "gone",
            "--will-qos",
            "1",
            "-d",
        ],
    );
    // With -d it says when it is connected and subscribed.
    let stdout = doomed.0.stdout.take().unwrap();
    let subscribed = tokio::task::spawn_blocking(move || {
        use std::io::BufRead;
        std::io::BufReader::new(stdout).lines().any(|line| line.unwrap().contains("SUBACK"))
    });
    assert!(timeout(DEADLINE, subscribed).await.unwrap().unwrap());
    drop(doomed);
    assert_eq!(watcher.received().await.0, message(topic, *b"gone"));

    // A forged topic fails with the reason.
    let forged = ["-i", "box-7:pub", "-t", "stockwire/v1/HAM/box-8/up/events", "-m", "forged", "-d"];
    let (_, said) = run("mosquitto_pub", "box-7", &forged).output().await;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("RC:135") || said.contains("Not authorized"), "{said}");
}
