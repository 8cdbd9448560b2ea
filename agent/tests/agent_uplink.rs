//! The agent as a process, with a real broker and a gateway played by the test: birth, events, acks, commands,
//! catalogue, will; and a salvaged journal sent under its own identity.

// Helpers of tests: a failing unwrap is a failing test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::process::{Child, Command as Program, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use stockwire_agent::io::mqtt::{Link, LinkEvent, Message, MqttConfig};
use stockwire_agent::io::sqlite_journal::{JournalOptions, SqliteJournal};
use stockwire_agent::journal::{Journal as _, contract, digest_of};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{
    Ack, AgentId, Batch, Body, Command, CommandBody, Digest, Epoch, Event, Reply, ReplyResult, Sequence,
    SiteId, State, StateKind,
};

mod bench;

use bench::{Bench, DEADLINE, MUG, catalogue_part, terminate, until};

/// A broker of its own, ended with the test.
struct Mosquitto {
    child: Child,
    port: u16,
}

impl Mosquitto {
    fn start(directory: &bench::Directory) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = directory.0.join("mosquitto.conf");
        fs::write(&file, format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"))
            .unwrap();
        let path =
            ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|path| fs::exists(path).unwrap_or(false));
        let child = Program::new(path.unwrap_or("mosquitto"))
            .arg("-c")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is not installed (Debian package mosquitto)");
        until("mosquitto listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { child, port }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may be dead already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The gateway's side of the conversation, on a thread of its own.
struct Gateway {
    sent: tokio::sync::mpsc::UnboundedSender<Message>,
    received: Receiver<Message>,
    /// What has come, from the first sequence on.
    held: HashMap<Epoch, Vec<Event>>,
}

impl Gateway {
    fn connect(port: u16) -> Self {
        let (sent, mut to_send) = tokio::sync::mpsc::unbounded_channel::<Message>();
        let (receive, received) = std::sync::mpsc::channel();
        let (connected, is_connected) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (events, mut happened) = tokio::sync::mpsc::channel(64);
                let subscriptions = vec![format!("{}/+/+/up/#", topic::PREFIX)];
                let config = MqttConfig { subscriptions, ..MqttConfig::new("127.0.0.1", port, "gateway") };
                let link = Link::start(config, events);
                let mut tokens = 0;
                loop {
                    tokio::select! {
                        event = happened.recv() => match event.unwrap() {
                            LinkEvent::Connected => connected.send(()).unwrap(),
                            // The test may have ended.
                            LinkEvent::Received(message) => drop(receive.send(message)),
                            _ => {}
                        },
                        message = to_send.recv() => match message {
                            Some(message) => {
                                tokens += 1;
                                link.try_publish(tokens, message).unwrap();
                            }
                            None => return,
                        },
                    }
                }
            });
        });
        is_connected.recv_timeout(DEADLINE).expect("the gateway is connected");
        Self { sent, received, held: HashMap::new() }
    }

    fn received(&mut self, wanted: Subject) -> Vec<u8> {
        loop {
            let message = self.received.recv_timeout(DEADLINE).expect("nothing came in time");
            if topic::parse(&message.topic).is_some_and(|(_, _, subject)| subject == wanted) {
                return message.payload;
            }
        }
    }

    fn batch(&mut self) -> Batch {
        let batch = Batch::decode(&self.received(Subject::Events)).unwrap();
        self.hold(&batch);
        batch
    }

    fn state(&mut self) -> StateKind {
        State::decode(&self.received(Subject::State)).unwrap().kind
    }

    fn send(&mut self, subject: Subject, payload: Vec<u8>, retain: bool) {
        let (site, agent) = (SiteId::new("HAM").unwrap(), AgentId::new("box-1").unwrap());
        self.sent.send(Message { topic: topic::topic(&site, &agent, subject), payload, retain }).unwrap();
    }

    fn hold(&mut self, batch: &Batch) {
        let held = self.held.entry(batch.epoch).or_default();
        held.truncate(batch.first.get() as usize - 1);
        held.extend(batch.events.iter().cloned());
    }

    fn ack(&mut self, epoch: Epoch, watermark: u64) {
        let digest = digest_of(Digest::START, &self.held[&epoch][..watermark as usize]);
        let ack = Ack { epoch, watermark: Sequence::new(watermark), digest, refusal: None };
        self.send(Subject::Acks, ack.encode(), false);
    }

    /// Answers every batch, as a gateway does, until the agent knows of this watermark.
    fn answer_until(&mut self, bench: &Bench, epoch: Epoch, watermark: u64) {
        until("the watermark", || {
            while let Ok(message) = self.received.recv_timeout(Duration::from_millis(50)) {
                if let Ok(batch) = Batch::decode(&message.payload) {
                    assert_eq!(batch.epoch, epoch);
                    self.hold(&batch);
                    self.ack(epoch, watermark);
                }
            }
            (bench.status()["journal"]["watermark"] == watermark).then_some(())
        });
    }
}

#[test]
#[ignore = "needs mosquitto: cargo verify --stage real"]
fn a_day_with_a_gateway() {
    let directory = bench::Directory::new("uplink-broker");
    let broker = Mosquitto::start(&directory);
    let mut gateway = Gateway::connect(broker.port);
    let bench = Bench::with_broker("uplink", broker.port);
    fs::remove_file(bench.path("journal.db.catalogue")).unwrap();
    let mut scanner = bench.scanner();
    let mut agent = bench.start();

    let StateKind::Online { epoch, head, boot, clock_synced, .. } = gateway.state() else {
        panic!("no birth")
    };
    assert_eq!((head.get(), boot, clock_synced), (0, 1, true));
    gateway.send(Subject::Catalogue { part: 0 }, catalogue_part().encode(), true);
    until("the catalogue", || (bench.status()["catalogue"]["items"] == 2).then_some(()));

    bench.scan(&mut scanner, "SW:WF:RECEIVE");
    bench.scan(&mut scanner, "SW:LOC:A-01");
    assert_eq!(bench.scan(&mut scanner, MUG), 1);
    let batch = gateway.batch();
    assert_eq!((batch.epoch, batch.first.get(), batch.events.len()), (epoch, 1, 1));
    assert_eq!(bench.status()["journal"]["watermark"], 0, "the broker's acknowledgement moves nothing");
    gateway.ack(epoch, 1);
    gateway.answer_until(&bench, epoch, 1);
    assert_eq!(bench.output(&["status"]).status.code(), Some(1), "the scale is unplugged");

    gateway.send(Subject::Commands, Command { id: 9, body: CommandBody::Ping }.encode(), false);
    let reply = Reply::decode(&gateway.received(Subject::Replies)).unwrap();
    assert_eq!(reply, Reply { id: 9, result: ReplyResult::Done });

    // Not acknowledged, killed, started again: it comes again, and the will was published meanwhile.
    assert_eq!(bench.scan(&mut scanner, MUG), 1);
    let first = gateway.batch();
    agent.0.kill().unwrap();
    agent.0.wait().unwrap();
    assert_eq!(gateway.state(), StateKind::Lost);
    let mut agent = bench.start();
    let StateKind::Online { epoch: again, head, .. } = gateway.state() else { panic!("no birth") };
    assert_eq!((again, head.get()), (epoch, 2));
    let second = loop {
        // The watermark may have been lost with the process; then what was acknowledged comes again too.
        let batch = gateway.batch();
        gateway.ack(epoch, batch.last().get());
        if batch.last().get() == 2 {
            break batch;
        }
    };
    assert_eq!(second.events.last(), first.events.last(), "the same bytes under the same identity");
    gateway.answer_until(&bench, epoch, 2);
    assert_eq!(terminate(&mut agent).code(), Some(0));
    assert_eq!(gateway.state(), StateKind::Stopped);
}

#[test]
#[ignore = "needs mosquitto: cargo verify --stage real"]
fn a_damaged_journal_is_sent_under_its_own_identity_before_the_new_one() {
    let directory = bench::Directory::new("salvage-broker");
    let broker = Mosquitto::start(&directory);
    let mut gateway = Gateway::connect(broker.port);
    let bench = Bench::with_broker("salvage", broker.port);
    let epoch = {
        let mut journal =
            SqliteJournal::open(JournalOptions::new(bench.path("journal.db"), 16 << 20)).unwrap();
        journal.append(&contract::events(0, 30)).unwrap();
        contract::acknowledge(&mut journal, Sequence::new(10)).unwrap();
        journal.append(&contract::events(30, 60)).unwrap();
        journal.epoch()
    };
    let raw = rusqlite::Connection::open(bench.path("journal.db")).unwrap();
    raw.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(raw);
    let mut file = fs::File::options().write(true).open(bench.path("journal.db")).unwrap();
    file.seek(SeekFrom::Start(512 * 9)).unwrap();
    file.write_all(&[0x55; 512]).unwrap();
    drop(file);

    gateway.held.insert(epoch, contract::events(0, 10));
    let mut agent = bench.start();
    let mut expected = 11;
    let mut lost = 0;
    while expected <= 60 {
        let batch = gateway.batch();
        assert_eq!(
            (batch.epoch, batch.first.get()),
            (epoch, expected),
            "the old life first, under its own identity"
        );
        for (at, event) in batch.events.iter().enumerate() {
            match event.body {
                Body::Lost { count } => lost += count,
                _ => assert_eq!(*event, contract::event(expected - 1 + at as u64)),
            }
        }
        expected = batch.last().get() + 1;
        gateway.ack(epoch, batch.last().get());
    }
    assert!((1..=10).contains(&lost), "{lost} lost to one bad page");
    let batch = loop {
        let batch = gateway.batch();
        if batch.epoch != epoch {
            break batch;
        }
        gateway.ack(epoch, 60);
    };
    assert!(matches!(batch.events[..], [Event { body: Body::Lost { count: 1 }, .. }]), "{batch:?}");
    gateway.ack(batch.epoch, 1);
    gateway.answer_until(&bench, batch.epoch, 1);
    let aside = &bench.status()["journal"]["set_aside"];
    assert!(aside.as_array().is_some_and(|files| files.len() == 1), "{aside}");
    assert!(
        SqliteJournal::earlier_lives(&bench.path("journal.db")).unwrap().is_empty(),
        "it was sent and is gone"
    );
    assert_eq!(terminate(&mut agent).code(), Some(0));
}
