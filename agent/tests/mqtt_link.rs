//! The agent's link against brokers: scripted ones for what no good broker does, and a real Mosquitto process.
// Helpers of a test fail the test by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stockwire_agent::io::mqtt::{
    Link, LinkEvent, LossClass, Message, MqttConfig, NotQueued, PUBLISH_WINDOW, PubResult, TlsFiles,
};
use support::Pki;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[path = "support/pki.rs"]
mod support;

/// Far more than anything here takes; only a failing test waits for it.
const DEADLINE: Duration = Duration::from_secs(30);
const CONNACK: &[u8] = &[0x20, 0x03, 0x00, 0x00, 0x00];

struct Peer {
    link: Link,
    events: mpsc::Receiver<LinkEvent>,
}

impl Peer {
    fn start(config: MqttConfig) -> Self {
        let (sender, events) = mpsc::channel(4);
        Self { link: Link::start(config, sender), events }
    }

    async fn connected(config: MqttConfig) -> Self {
        let mut peer = Self::start(config);
        peer.up().await;
        peer
    }

    async fn event(&mut self) -> LinkEvent {
        timeout(DEADLINE, self.events.recv()).await.expect("no event").expect("the link has ended")
    }

    /// Waits for the next connection, over as many losses as it takes.
    async fn up(&mut self) {
        loop {
            match self.event().await {
                LinkEvent::Connected => return,
                LinkEvent::Disconnected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn lost(&mut self) -> (LossClass, String) {
        match self.event().await {
            LinkEvent::Disconnected { class, reason, .. } => (class, reason),
            other => panic!("not lost: {other:?}"),
        }
    }

    async fn answer(&mut self) -> (u64, PubResult) {
        match self.event().await {
            LinkEvent::Published { token, result } => (token, result),
            other => panic!("no PUBACK: {other:?}"),
        }
    }

    async fn received(&mut self) -> Message {
        match self.event().await {
            LinkEvent::Received(message) => message,
            other => panic!("nothing received: {other:?}"),
        }
    }
}

fn message(topic: &str, payload: impl Into<Vec<u8>>) -> Message {
    Message { topic: topic.to_owned(), payload: payload.into(), retain: false }
}

fn own_event(payload: impl Into<Vec<u8>>) -> Message {
    message("stockwire/v1/HAM/box-7/up/events", payload)
}

// ---- A broker that does as it is told ----

/// Listens, and plays the broker's side byte by byte.
struct Script(tokio::net::TcpListener);

impl Script {
    async fn new() -> (Self, MqttConfig) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (Self(listener), MqttConfig::new("127.0.0.1", port, "box-7"))
    }

    /// The next connection, after its CONNECT.
    async fn connection(&self) -> TcpStream {
        let (mut stream, _) = timeout(DEADLINE, self.0.accept()).await.expect("nobody connects").unwrap();
        let (kind, _) = packet(&mut stream).await;
        assert_eq!(kind, 0x10, "CONNECT");
        stream
    }
}

/// Reads one MQTT packet: its first byte and what follows the length.
async fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let read = async {
        let kind = stream.read_u8().await.unwrap();
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = stream.read_u8().await.unwrap();
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        (kind, body)
    };
    timeout(DEADLINE, read).await.expect("no packet")
}

/// The identifier of a QoS 1 PUBLISH, and its payload.
fn parts(body: &[u8]) -> ([u8; 2], &[u8]) {
    let topic = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    assert_eq!(body[topic + 2], 0, "we send no properties");
    ([body[topic], body[topic + 1]], &body[topic + 3..])
}

#[tokio::test]
async fn nothing_sent_on_one_connection_comes_again_on_the_next() {
    let (broker, config) = Script::new().await;
    let mut agent = Peer::start(config);
    let mut first = broker.connection().await;
    first.write_all(CONNACK).await.unwrap();
    assert!(matches!(agent.event().await, LinkEvent::Connected));
    for token in 1..=20 {
        agent.link.try_publish(token, own_event(*b"old")).unwrap();
    }
    let (kind, body) = packet(&mut first).await;
    assert_eq!((kind & 0xf0, parts(&body).1), (0x30, &b"old"[..]));
    drop(first);
    assert_eq!(agent.lost().await.0, LossClass::Network);
    assert_eq!(agent.link.try_publish(21, own_event(*b"old")), Err(NotQueued::Offline));
    assert_eq!(agent.link.room(), 0);

    let mut second = broker.connection().await;
    second.write_all(CONNACK).await.unwrap();
    agent.up().await;
    assert_eq!(agent.link.room(), PUBLISH_WINDOW, "void publishes take no window");
    agent.link.try_publish(22, own_event(*b"new")).unwrap();
    let (_, body) = packet(&mut second).await;
    let (id, payload) = parts(&body);
    assert_eq!(payload, b"new", "the 20 old ones are the journal's to send, not the client's");
    second.write_all(&[0x40, 0x02, id[0], id[1]]).await.unwrap();
    assert_eq!(agent.answer().await, (22, PubResult::Accepted));
}

#[tokio::test]
async fn every_puback_reason_is_told_apart() {
    let (broker, config) = Script::new().await;
    let mut agent = Peer::start(config);
    let mut stream = broker.connection().await;
    stream.write_all(CONNACK).await.unwrap();
    agent.up().await;
    let cases = [
        (0, PubResult::Accepted),
        (16, PubResult::NoSubscriber),
        (135, PubResult::NotAuthorised),
        (151, PubResult::Refused { code: 151 }),
    ];
    for (token, (reason, result)) in (1..).zip(cases) {
        agent.link.try_publish(token, own_event(*b"x")).unwrap();
        let (_, body) = packet(&mut stream).await;
        let (id, _) = parts(&body);
        // Without the property length, as MQTT allows and Mosquitto does.
        stream.write_all(&[0x40, 0x03, id[0], id[1], reason]).await.unwrap();
        assert_eq!(agent.answer().await, (token, result));
    }
}

#[tokio::test]
async fn the_window_is_ours_and_is_given_back_by_pubacks() {
    let (broker, config) = Script::new().await;
    let mut agent = Peer::start(config);
    let mut stream = broker.connection().await;
    stream.write_all(CONNACK).await.unwrap();
    agent.up().await;
    for token in 0..PUBLISH_WINDOW as u64 {
        agent.link.try_publish(token, own_event(*b"x")).unwrap();
    }
    assert_eq!(agent.link.try_publish(99, own_event(*b"x")), Err(NotQueued::Full));
    let (_, body) = packet(&mut stream).await;
    let (id, _) = parts(&body);
    stream.write_all(&[0x40, 0x02, id[0], id[1]]).await.unwrap();
    assert_eq!(agent.answer().await, (0, PubResult::Accepted));
    // The place is free once the event has been taken; the channel is told before the place is.
    while agent.link.room() == 0 {
        tokio::task::yield_now().await;
    }
    agent.link.try_publish(100, own_event(*b"x")).unwrap();
}

#[tokio::test]
async fn waits_grow_even_when_the_broker_accepts_and_then_cuts() {
    let (broker, config) = Script::new().await;
    let mut agent = Peer::start(config);
    let mut ceilings_met = 0;
    // Full jitter draws from below 0.5, 1, 2, 4, 8 and 16 s; if every CONNACK reset it, all would stay below 0.5 s. By
    // chance six growing ranges give nothing above that once in 32,768 runs.
    for _ in 0..6 {
        let mut stream = broker.connection().await;
        stream.write_all(CONNACK).await.unwrap();
        drop(stream);
        loop {
            match agent.event().await {
                LinkEvent::Disconnected { retry_in, .. } => {
                    ceilings_met += u32::from(retry_in > Duration::from_millis(500));
                    break;
                }
                LinkEvent::Connected => {}
                other => panic!("{other:?}"),
            }
        }
        if ceilings_met > 0 {
            return;
        }
    }
    panic!("six waits, none longer than the first may be");
}

#[tokio::test]
async fn refusals_say_who_must_act() {
    for (farewell, class, says) in [
        (&[0x20, 0x03, 0x00, 0x87, 0x00][..], LossClass::Credentials, "access rules"),
        (&[0x20, 0x03, 0x00, 0x85, 0x00], LossClass::Configuration, "client id"),
        (&[0x20, 0x03, 0x00, 0x89, 0x00], LossClass::Busy, "trying again"),
        (&[0x00, 0x00], LossClass::Protocol, "not MQTT 5"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", LossClass::Network, "is it the broker's port?"),
        (&[], LossClass::Network, "closed the connection"),
    ] {
        let (broker, config) = Script::new().await;
        let mut agent = Peer::start(config);
        let mut stream = broker.connection().await;
        stream.write_all(farewell).await.unwrap();
        stream.shutdown().await.unwrap();
        let (got, reason) = agent.lost().await;
        assert_eq!(got, class, "{reason}");
        assert!(reason.contains(says), "{reason}");
    }
}

#[tokio::test]
async fn a_disconnect_without_properties_is_understood() {
    for (code, class) in
        [(0x8e, LossClass::TakenOver), (0x8b, LossClass::Busy), (0x87, LossClass::Credentials)]
    {
        let (broker, config) = Script::new().await;
        let mut agent = Peer::start(config);
        let mut stream = broker.connection().await;
        stream.write_all(CONNACK).await.unwrap();
        agent.up().await;
        stream.write_all(&[0xe0, 0x01, code]).await.unwrap();
        drop(stream);
        assert_eq!(agent.lost().await.0, class);
    }
}

#[tokio::test]
async fn a_broker_that_stops_answering_pings_is_given_up() {
    let (broker, mut config) = Script::new().await;
    config.keep_alive_s = 1;
    let mut agent = Peer::start(config);
    let mut stream = broker.connection().await;
    stream.write_all(CONNACK).await.unwrap();
    agent.up().await;
    assert_eq!(packet(&mut stream).await.0, 0xc0, "PINGREQ");
    let (class, reason) = agent.lost().await;
    assert_eq!(class, LossClass::Network);
    assert!(reason.contains("ping"), "{reason}");
}

#[tokio::test]
async fn impossible_messages_are_refused_before_sending() {
    let (broker, config) = Script::new().await;
    let mut agent = Peer::start(config);
    let mut stream = broker.connection().await;
    // Maximum Packet Size 1000 among the CONNACK properties.
    stream.write_all(&[0x20, 0x08, 0x00, 0x00, 0x05, 0x27, 0x00, 0x00, 0x03, 0xe8]).await.unwrap();
    agent.up().await;
    let fits = 1000 - own_event([]).topic.len() - 10;
    let refused = agent.link.try_publish(1, own_event(vec![0; fits + 1]));
    assert_eq!(refused, Err(NotQueued::TooLarge { size: 1001, max: 1000 }));
    for topic in ["", "a/+/b", "a/#", "a\0b"] {
        assert_eq!(agent.link.try_publish(1, message(topic, [])), Err(NotQueued::BadTopic), "{topic:?}");
    }
    agent.link.try_publish(1, own_event(vec![0; fits])).unwrap();
    let (_, body) = packet(&mut stream).await;
    assert!(body.len() <= 1000);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let pki = Pki::new();
    let (one, other) = (pki.issue("box-1"), pki.issue("box-2"));
    let absent = pki.dir().join("absent.pem");
    let prose = pki.dir().join("prose.pem");
    std::fs::write(&prose, "not a certificate").unwrap();
    let good = TlsFiles { ca: one.ca, cert: one.cert, key: one.key };
    good.load().unwrap();
    let cases = [
        (TlsFiles { ca: absent.clone(), ..good.clone() }, "absent.pem; it is not there: enroll this box"),
        (TlsFiles { cert: absent, ..good.clone() }, "absent.pem; it is not there: enroll this box"),
        (TlsFiles { key: prose.clone(), ..good.clone() }, "prose.pem has no private key in it"),
        (TlsFiles { ca: prose, ..good.clone() }, "prose.pem has no certificate in it"),
        (TlsFiles { key: other.key, ..good.clone() }, "box-2.key is not the key of"),
        (TlsFiles { cert: good.key.clone(), ..good }, "box-1.key has no certificate in it"),
    ];
    for (files, says) in cases {
        let error = files.load().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        let config = MqttConfig { tls: Some(files), ..MqttConfig::new("127.0.0.1", 1, "box-1") };
        let (class, reason) = Peer::start(config).lost().await;
        assert_eq!((class, reason), (LossClass::Configuration, error));
    }
}

#[tokio::test]
async fn shutdown_sends_what_is_queued_and_says_goodbye() {
    let (broker, config) = Script::new().await;
    let mut agent = Peer::start(config);
    let mut stream = broker.connection().await;
    stream.write_all(CONNACK).await.unwrap();
    agent.up().await;
    for token in 1..=3 {
        agent.link.try_publish(token, own_event(*b"last")).unwrap();
    }
    let serve = async {
        for _ in 1..=3 {
            let (_, body) = packet(&mut stream).await;
            let (id, _) = parts(&body);
            stream.write_all(&[0x40, 0x02, id[0], id[1]]).await.unwrap();
        }
        packet(&mut stream).await.0
    };
    let (farewell, ()) = tokio::join!(serve, agent.link.shutdown());
    assert_eq!(farewell, 0xe0, "DISCONNECT, after all three were answered");
    for token in 1..=3 {
        assert_eq!(agent.answer().await, (token, PubResult::Accepted));
    }
    assert!(agent.events.recv().await.is_none(), "the channel is closed");
}

// ---- Mosquitto ----

struct Mosquitto {
    pki: Pki,
    port: u16,
    child: Child,
}

impl Mosquitto {
    fn start() -> Self {
        let pki = Pki::new();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let files = pki.issue("broker");
        let dir = pki.dir().display();
        std::fs::write(
            pki.dir().join("acl"),
            "user gateway\ntopic readwrite stockwire/#\n\
             pattern write stockwire/v1/+/%u/up/#\npattern read stockwire/v1/+/%u/down/#\n",
        )
        .unwrap();
        let config = format!(
            "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
             use_identity_as_username true\nacl_file {dir}/acl\npersistence false\nallow_anonymous false\n\
             max_packet_size 262144\nmax_inflight_messages 64\nuser {}\n",
            files.ca.display(),
            files.cert.display(),
            files.key.display(),
            whoami(),
        );
        std::fs::write(pki.dir().join("mosquitto.conf"), config).unwrap();
        let child = Self::spawn(&pki);
        let mosquitto = Self { pki, port, child };
        mosquitto.wait_until_it_listens();
        mosquitto
    }

    fn spawn(pki: &Pki) -> Child {
        let program =
            ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|path| PathBuf::from(path).exists());
        Command::new(program.unwrap_or("mosquitto"))
            .arg("-c")
            .arg(pki.dir().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is not installed (Debian package mosquitto)")
    }

    fn wait_until_it_listens(&self) {
        let begun = std::time::Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < DEADLINE, "mosquitto does not listen");
            std::thread::yield_now();
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = Self::spawn(&self.pki);
        self.wait_until_it_listens();
    }

    fn config(&self, name: &str, subscriptions: &[&str]) -> MqttConfig {
        let files = self.pki.issue(name);
        MqttConfig {
            tls: Some(TlsFiles { ca: files.ca, cert: files.cert, key: files.key }),
            subscriptions: subscriptions.iter().map(|&filter| filter.to_owned()).collect(),
            ..MqttConfig::new("localhost", self.port, name)
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may be dead already, which is as good.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Mosquitto started by root becomes the user `mosquitto`, who cannot read our files.
fn whoami() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
#[ignore = "needs mosquitto: cargo verify --stage real"]
async fn mosquitto_carries_messages_both_ways_and_refuses_forged_ones() {
    let broker = Mosquitto::start();
    let mut gateway =
        Peer::connected(broker.config("gateway", &["$share/g/stockwire/v1/+/+/up/events"])).await;
    let mut agent = Peer::connected(broker.config("box-7", &["stockwire/v1/HAM/box-7/down/#"])).await;

    let large = own_event((0..200 * 1024).map(|byte: usize| byte as u8).collect::<Vec<_>>());
    agent.link.try_publish(1, large.clone()).unwrap();
    assert_eq!(agent.answer().await, (1, PubResult::Accepted));
    assert_eq!(gateway.received().await, large);

    let down = message("stockwire/v1/HAM/box-7/down/acks", *b"ack");
    gateway.link.try_publish(1, down.clone()).unwrap();
    gateway.answer().await;
    assert_eq!(agent.received().await, down);

    agent.link.try_publish(2, message("stockwire/v1/HAM/box-8/up/events", *b"forged")).unwrap();
    assert_eq!(agent.answer().await, (2, PubResult::NotAuthorised));

    let refused = agent.link.try_publish(3, own_event(vec![0; 256 * 1024])).unwrap_err();
    assert!(matches!(refused, NotQueued::TooLarge { max: 262_144, .. }), "{refused:?}");
}

#[tokio::test]
#[ignore = "needs mosquitto: cargo verify --stage real"]
async fn mosquitto_killed_and_restarted_finds_us_again() {
    let mut broker = Mosquitto::start();
    let mut agent = Peer::connected(broker.config("box-7", &["stockwire/v1/HAM/box-7/down/#"])).await;
    broker.kill();
    assert_eq!(agent.lost().await.0, LossClass::Network);
    broker.restart();
    agent.up().await;

    // The subscription was made again too.
    let gateway = Peer::connected(broker.config("gateway", &[])).await;
    let down = message("stockwire/v1/HAM/box-7/down/acks", *b"after the restart");
    gateway.link.try_publish(1, down.clone()).unwrap();
    assert_eq!(agent.received().await, down);
}

#[tokio::test]
#[ignore = "needs mosquitto: cargo verify --stage real"]
async fn mosquitto_tells_of_takeover_will_and_retained_state() {
    let broker = Mosquitto::start();
    let mut gateway = Peer::connected(broker.config("gateway", &["stockwire/v1/+/+/up/state"])).await;
    let state = |text: &[u8]| Message { retain: true, ..message("stockwire/v1/HAM/box-7/up/state", text) };
    let mut config = broker.config("box-7", &[]);
    config.will = Some(state(b"gone"));
    let mut first = Peer::connected(config.clone()).await;
    first.link.try_publish(1, state(b"born")).unwrap();
    assert_eq!(first.answer().await, (1, PubResult::Accepted));
    assert_eq!(gateway.received().await, message("stockwire/v1/HAM/box-7/up/state", *b"born"));

    let second = Peer::connected(config).await;
    // Mosquitto 2.0.11 closes without a word; later ones say why.
    let (class, reason) = first.lost().await;
    assert!(matches!(class, LossClass::Network | LossClass::TakenOver), "{class:?} {reason}");
    assert_eq!(gateway.received().await, message("stockwire/v1/HAM/box-7/up/state", *b"gone"));
    first.link.shutdown().await;
    second.link.shutdown().await;

    let mut late = Peer::connected(MqttConfig {
        client_id: "gateway-2".to_owned(),
        ..broker.config("gateway", &["stockwire/v1/+/+/up/state"])
    })
    .await;
    assert_eq!(late.received().await, state(b"gone"), "kept, and marked as kept");
}

#[tokio::test]
#[ignore = "needs mosquitto: cargo verify --stage real"]
async fn mosquitto_does_not_let_strangers_in() {
    let broker = Mosquitto::start();
    let stranger = Pki::new().issue("box-7");
    let mut config = broker.config("box-7", &[]);
    let ours = config.tls.take().unwrap();
    // The files of the dropped authority are gone, which is the configuration's fault.
    config.tls = Some(TlsFiles { cert: stranger.cert, key: stranger.key, ca: ours.ca.clone() });
    assert_eq!(Peer::start(config.clone()).lost().await.0, LossClass::Configuration);

    let other = Pki::new();
    let stranger = other.issue("box-7");
    config.tls = Some(TlsFiles { cert: stranger.cert, key: stranger.key, ca: ours.ca.clone() });
    let (class, reason) = Peer::start(config.clone()).lost().await;
    assert_eq!(class, LossClass::Tls, "{reason}");

    config.tls = Some(TlsFiles { ca: stranger.ca, ..ours.clone() });
    let (class, reason) = Peer::start(config.clone()).lost().await;
    assert_eq!(class, LossClass::Tls);
    assert!(reason.contains("not from the CA in our CA file"), "{reason}");

    config.tls = Some(ours);
    config.host = "127.0.0.2".to_owned();
    assert_ne!(Peer::start(config.clone()).lost().await.0, LossClass::Credentials);

    config.host = "127.0.0.1".to_owned();
    config.tls = None;
    let (class, reason) = Peer::start(config).lost().await;
    assert!(matches!(class, LossClass::Network | LossClass::Protocol), "{class:?} {reason}");
}

/// Sends commands while the agent's events are not read, waits for `pause`, then expects them all.
async fn slow_reader(commands: u32, keep_alive_s: u16, pause: Duration) {
    let broker = Mosquitto::start();
    let mut config = broker.config("box-7", &["stockwire/v1/HAM/box-7/down/#"]);
    config.keep_alive_s = keep_alive_s;
    let mut agent = Peer::connected(config).await;
    let mut gateway = Peer::connected(broker.config("gateway", &[])).await;
    for number in 0..commands {
        let command = message("stockwire/v1/HAM/box-7/down/commands", number.to_le_bytes());
        gateway.link.try_publish(number.into(), command).unwrap();
        gateway.answer().await;
    }
    tokio::time::sleep(pause).await;
    for number in 0..commands {
        assert_eq!(agent.received().await.payload, number.to_le_bytes(), "in order, none missing");
    }
}

#[tokio::test]
#[ignore = "needs mosquitto: cargo verify --stage real"]
async fn mosquitto_keeps_a_slow_reader_connected() {
    // Not reading is what is tested: three keep-alive periods, where Mosquitto cuts a client that is silent for one and
    // a half. As many messages as fit inside (Receive Maximum is 32).
    slow_reader(32, 1, Duration::from_secs(3)).await;
}

#[tokio::test]
#[ignore = "needs mosquitto: cargo verify --stage real"]
async fn mosquitto_may_send_more_than_receive_maximum() {
    slow_reader(500, 60, Duration::ZERO).await;
}
