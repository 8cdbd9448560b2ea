//! What must be refused is refused aloud, is kept where it can be looked at, and disturbs nobody else.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rumqttc::mqttbytes::v5::{Packet, PubAckReason};
use rumqttc::{AsyncClient, EventLoop, MqttOptions, PublishOptions, QoS};
use serde_json::Value;
use stockwire_agent::io::sqlite_journal::{JournalOptions, SqliteJournal};
use stockwire_agent::journal::{Journal as _, JournalError};
use stockwire_protocol::cbor::{BATCH_BYTES_MAX, Message as _, PACKET_BYTES_MAX};
use stockwire_protocol::{
    Ack, AgentId, Batch, BizStep, Body, Details, Digest, Epoch, Event, ItemId, LocationId, Movement, Place,
    Quantity, Refusal, Sequence, StationId, When,
};
use stockwire_tests::device::Heard;
use stockwire_tests::peers::Peers;
use stockwire_tests::real::World;
use stockwire_tests::real::process::{Scratch, eventually};
use stockwire_tests::script::{Act, Stroke};
use stockwire_tests::shift::Shift;
use stockwire_tests::site::books::text;
use stockwire_tests::site::{AGENT, Broker, program};
use tokio::task::block_in_place;

/// Long enough for a busy machine; nothing here waits that long when it works.
const DEADLINE: Duration = Duration::from_secs(20);
/// Another agent than the one with a station.
const STRANGER: &str = "box-ham-02";

// --- What an agent sends ---

#[tokio::test(flavor = "multi_thread")]
async fn malformed_oversized_and_unknown_messages_are_dead_letters_and_good_agents_are_unaffected()
-> Result<()> {
    let mut shift = begin().await?;
    let acts = shift.script(12, 9);
    let mut stranger = Stranger::connect(&shift).await?;

    // A stranger that behaves is taken in like anybody.
    let mut held = vec![there()];
    ensure!(stranger.send(&stranger.batch(1, held.clone())).await? == PubAckReason::Success);
    ensure!(stranger.ack().await? == stranger.said(&held, None));
    shift.strangers += 1;

    let then = back();
    let good = stranger.batch(2, vec![then.clone()]);
    let mut trailing = good.clone();
    trailing.push(0);
    let mut oversized = good.clone();
    oversized.resize(BATCH_BYTES_MAX + 1, 0);
    let mut deep = vec![0x81; BATCH_BYTES_MAX];
    deep[0] = 0x84;
    let other = Batch { agent: AgentId::new(AGENT)?, ..Batch::decode(&good)? };
    let cases: &[(&str, Vec<u8>, &str, Refusal)] = &[
        ("noise", b"\xff\x00stockwire\xfe".to_vec(), "malformed", Refusal::Malformed),
        ("nothing", Vec::new(), "malformed", Refusal::Malformed),
        ("a batch that was cut off", good[..good.len() - 7].to_vec(), "malformed", Refusal::Malformed),
        ("a batch with something behind it", trailing, "malformed", Refusal::Malformed),
        ("a batch that is too large", oversized, "malformed", Refusal::Malformed),
        ("arrays in arrays without end", deep, "malformed", Refusal::Malformed),
        ("another agent's batch", other.encode(), "identity", Refusal::Malformed),
        ("a batch of a wire version to come", of_version_2(&good), "version", Refusal::Version),
    ];
    for ((what, payload, class, refusal), act) in cases.iter().zip(&acts) {
        stranger.send(payload).await?;
        let letter = newest_letter(&shift, class, payload).await.with_context(|| (*what).to_owned())?;
        ensure!(text(&letter["source"]) == stranger.topic("up/events"), "{what}: {letter}");
        ensure!(!text(&letter["reason"]).is_empty(), "{what}: {letter}");
        // Told why, and that nothing of it is held: whoever sends keeps it.
        let ack = stranger.ack().await.with_context(|| (*what).to_owned())?;
        ensure!(ack == stranger.said(&held, Some(*refusal)), "{what}: {ack:?}");
        shift.letters += 1;
        shift.perform(act)?;
    }

    // The same bytes again are counted, not kept again.
    stranger.send(&of_version_2(&good)).await?;
    eventually("the second copy is counted", DEADLINE, || async {
        let letters = shift.site.pages("/v1/dead-letters?class=version").await?;
        Ok((letters.len() == 1 && letters[0]["times"] == 2).then_some(()))
    })
    .await?;
    stranger.ack().await?;

    // What the broker itself does not carry ends that connection and no other.
    let huge = vec![0x84; PACKET_BYTES_MAX + 1];
    ensure!(stranger.send(&huge).await.is_err(), "a packet above the broker's limit was taken");

    // What was refused was not lost: in a version that is read it is taken, once.
    let mut stranger = Stranger::again(&shift, stranger).await?;
    stranger.send(&good).await?;
    stranger.send(&good).await?;
    held.push(then);
    ensure!(stranger.ack().await? == stranger.said(&held, None));
    shift.strangers += 1;

    for act in &acts[cases.len()..] {
        shift.perform(act)?;
    }
    shift.agree().await?;
    shift.traced().await?;
    shift.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_movement_of_an_unknown_item_is_held_aside_and_what_follows_goes_on() -> Result<()> {
    let mut shift = begin().await?;
    let mut stranger = Stranger::connect(&shift).await?;
    let unknown = event(moved("SKU-9999", "A-01", "A-02"));
    let nowhere = event(moved("SKU-0001", "A-01", "Z-99"));
    let events = vec![there(), unknown.clone(), nowhere.clone(), back()];
    stranger.send(&stranger.batch(1, events.clone())).await?;
    // Held, so that the agent may forget it; what became of it is ours to solve.
    ensure!(stranger.ack().await? == stranger.said(&events, None));
    (shift.strangers, shift.letters) = (4, 2);
    for (event, reason) in [(&unknown, "SKU-9999"), (&nowhere, "Z-99")] {
        let letter = newest_letter(&shift, "unappliable", &event.encode()).await?;
        ensure!(text(&letter["reason"]).contains(reason), "{letter} does not say {reason}");
        let outcome =
            shift.site.post(&format!("/v1/dead-letters/{}/replay", letter["id"]), &Value::Null).await?;
        ensure!(text(&outcome["result"]) == "still_refused", "{outcome}");
    }
    for act in shift.script(5, 10) {
        shift.perform(&act)?;
    }
    shift.agree().await?;
    shift.close()
}

/// A client that speaks as an agent.
struct Stranger {
    client: AsyncClient,
    events: EventLoop,
    epoch: Epoch,
}

impl Stranger {
    async fn connect(shift: &Shift) -> Result<Self> {
        Self::with_epoch(shift, Epoch::from_bytes([0x5a; 16])).await
    }

    async fn again(shift: &Shift, old: Self) -> Result<Self> {
        let epoch = old.epoch;
        drop(old);
        Self::with_epoch(shift, epoch).await
    }

    async fn with_epoch(shift: &Shift, epoch: Epoch) -> Result<Self> {
        let config = std::fs::read_to_string(shift.site.folder().join("agent.toml"))?;
        let port = config.lines().find_map(|line| line.strip_prefix("port = ")?.parse().ok());
        let port: u16 = port.context("the broker's port in agent.toml")?;
        let mut options = MqttOptions::new(STRANGER, ("127.0.0.1", port));
        // Ours is to be larger than anything that is allowed.
        options.set_max_packet_size(Some(4 * PACKET_BYTES_MAX as u32));
        let (client, events) = AsyncClient::builder(options).capacity(10).build();
        let mut stranger = Self { client, events, epoch };
        let down = stranger.topic("down/#");
        stranger.client.subscribe(down, QoS::AtLeastOnce).await?;
        stranger.until(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await?;
        Ok(stranger)
    }

    fn topic(&self, subject: &str) -> String {
        format!("stockwire/v1/HAM/{STRANGER}/{subject}")
    }

    fn batch(&self, first: u64, events: Vec<Event>) -> Vec<u8> {
        let agent = AgentId::new(STRANGER).unwrap();
        Batch { agent, epoch: self.epoch, first: Sequence::new(first), events }.encode()
    }

    /// What a gateway says that holds these.
    fn said(&self, held: &[Event], refusal: Option<Refusal>) -> Ack {
        let digest = held.iter().fold(Digest::START, |digest, event| digest.then(&event.encode()));
        Ack { epoch: self.epoch, watermark: Sequence::new(held.len() as u64), digest, refusal }
    }

    async fn send(&mut self, payload: &[u8]) -> Result<PubAckReason> {
        let options = PublishOptions::new(QoS::AtLeastOnce);
        self.client.publish(self.topic("up/events"), payload.to_vec(), options).await?;
        self.until(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason),
            _ => None,
        })
        .await
    }

    async fn ack(&mut self) -> Result<Ack> {
        let bytes = self.until(|packet| match packet {
            Packet::Publish(publish) if publish.topic.ends_with(b"/down/acks") => {
                Some(publish.payload.to_vec())
            }
            _ => None,
        });
        Ok(Ack::decode(&bytes.await?)?)
    }

    async fn until<T>(&mut self, wanted: impl Fn(&Packet) -> Option<T>) -> Result<T> {
        let arrival = async {
            loop {
                if let rumqttc::Event::Incoming(packet) = self.events.poll().await?
                    && let Some(found) = wanted(&packet)
                {
                    return Ok(found);
                }
            }
        };
        tokio::time::timeout(DEADLINE, arrival).await.context("the broker answers in time")?
    }
}

fn of_version_2(batch: &[u8]) -> Vec<u8> {
    let mut batch = batch.to_vec();
    assert_eq!(batch[1], 1, "an array's head, then the version");
    batch[1] = 2;
    batch
}

fn event(movement: Movement) -> Event {
    Event {
        when: When::Synced { unix_ms: jiff::Timestamp::now().as_millisecond() },
        body: Body::Movement(movement),
    }
}

fn moved(item: &str, from: &str, to: &str) -> Movement {
    let place = |code: &str| Place::At(LocationId::new(code).unwrap());
    Movement {
        step: BizStep::Storing,
        item: ItemId::new(item).unwrap(),
        quantity: Quantity::pieces(1),
        from: place(from),
        to: place(to),
        station: StationId::new("pack-9").unwrap(),
        details: Details::default(),
    }
}

/// There and back leaves the stock as it was, so that nobody's expectation has to know of it.
fn there() -> Event {
    event(moved("SKU-0001", "A-01", "A-02"))
}

fn back() -> Event {
    event(moved("SKU-0001", "A-02", "A-01"))
}

/// Waits for the dead letter that holds exactly these bytes.
async fn newest_letter(shift: &Shift, class: &str, bytes: &[u8]) -> Result<Value> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let found = eventually("it is set aside, byte for byte", DEADLINE, || async {
        let letters = shift.site.pages(&format!("/v1/dead-letters?class={class}&state=open")).await?;
        Ok(letters.into_iter().find(|letter| text(&letter["bytes_hex"]) == hex))
    });
    found.await.with_context(|| shift.evidence())
}

// --- Configuration ---

#[test]
fn wrong_configurations_are_refused_with_every_fault_and_its_line() -> Result<()> {
    stockwire_tests::site::build()?;
    let folder = Scratch::new("config")?;
    let agent = "[agent]\nid = \"Box 1\"\nsite = \"HAM\"\n[broker]\nhost = \"localhost\"\nport = 0\ntsl = true\n\
                 [journal]\nquota_mib = \"much\"\n[[station]]\nname = \"one\"\n[station.scanner]\nport = \"ttyS0\"\n";
    let gateway = "[http]\nlisten = \"everywhere\"\n[mqtt]\nhost = \"broker.example\"\n[erp]\nkind = \"abacus\"\n\
                   url = \"tryton\"\nkey_file = \"erp.key\"\n[[channel]]\nname = \"shop\"\nkind = \"vendure\"\n\
                   sites = []\nstock = 1\n";
    /// Line, and what the complaint about it names.
    type Faults = &'static [(usize, &'static str)];
    let cases: [(&str, &str, Faults); 2] = [
        (
            "stockwire-agent",
            agent,
            &[
                (2, "agent.id"),
                (6, "broker.port"),
                (7, "tsl"),
                (9, "journal.quota_mib"),
                (13, "station[1].scanner.port"),
            ],
        ),
        (
            "stockwire-gateway",
            gateway,
            &[
                (2, "http.listen"),
                (3, "mqtt.host"),
                (6, "kind"),
                (7, "url"),
                (9, "url"),
                (12, "sites"),
                (13, "stock"),
            ],
        ),
    ];
    for (name, config, faults) in cases {
        let path = folder.path().join(format!("{name}.toml"));
        std::fs::write(&path, config)?;
        for command in ["check-config", "run"] {
            let output = Command::new(program(name)?).args([command, "--config"]).arg(&path).output()?;
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(2), "{name} {command}: {}\n{complaint}", output.status);
            ensure!(output.stdout.is_empty(), "{name} {command}: a complaint is no output");
            for (line, what) in faults {
                let place = format!("line {line}");
                let told = complaint.lines().any(|told| told.contains(&place) && told.contains(what));
                ensure!(told, "{name} {command} does not say {what:?} for {place}:\n{complaint}");
            }
        }
        let missing = folder.path().join("missing.toml");
        let output = Command::new(program(name)?).args(["run", "--config"]).arg(&missing).output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2) && complaint.contains("missing.toml"), "{name}: {complaint}");
    }
    Ok(())
}

// --- A full disk ---

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_refuses_aloud_keeps_what_it_has_and_works_again_when_it_was_sent() -> Result<()> {
    let world = World::standard();
    let peers = Peers::stand_in(&world).await?;
    let mut shift = Shift::prepare(world, peers, Broker::Embedded, None)?;
    // What the gateway has is not kept, so that room comes back soon.
    shift.site.configure("agent.toml", "quota_mib = 64", "quota_mib = 1\nretained_rows = 0")?;
    shift.open().await?;
    shift.script(3, 11).iter().try_for_each(|act| shift.perform(act))?;
    shift.agree().await?;
    block_in_place(|| shift.site.stop_agent())?;
    block_in_place(|| shift.site.stop_gateway())?;

    let journal = shift.site.folder().join("journal.db");
    fill(&mut shift, JournalOptions { retained_rows: 0, ..JournalOptions::new(journal, 1024 * 1024) })?;
    shift.start_agent()?;
    refused_aloud(&mut shift)?;
    // Over a restart too.
    shift.site.kill_agent()?;
    shift.start_agent()?;
    refused_aloud(&mut shift)?;

    shift.site.start_gateway()?;
    drained(&shift).await?;
    shift.script(3, 12).iter().try_for_each(|act| shift.perform(act))?;
    arrived(&shift).await?;
    shift.close()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_aloud_keeps_what_it_has_and_works_again_when_there_is_room() -> Result<()> {
    let world = World::standard();
    let peers = Peers::stand_in(&world).await?;
    let mut shift = Shift::prepare(world, peers, Broker::Embedded, None)?;
    let disk = shift.site.folder().join("disk");
    let Some(disk) = Tmpfs::mount(disk)? else {
        // The test above fills a quota instead, which is the same to everything but the file system.
        println!("a disk of our own needs root; the quota must do");
        return Ok(());
    };
    let journal = disk.0.join("journal.db");
    let before = format!("path = {:?}", shift.site.folder().join("journal.db"));
    shift.site.configure("agent.toml", &before, &format!("path = {journal:?}"))?;
    shift.open().await?;
    shift.script(3, 13).iter().try_for_each(|act| shift.perform(act))?;
    shift.agree().await?;
    block_in_place(|| shift.site.stop_agent())?;
    block_in_place(|| shift.site.stop_gateway())?;

    let ballast = disk.fill()?;
    fill(&mut shift, JournalOptions::new(&journal, 64 * 1024 * 1024))?;
    shift.start_agent()?;
    refused_aloud(&mut shift)?;

    std::fs::remove_file(ballast)?;
    shift.script(3, 14).iter().try_for_each(|act| shift.perform(act))?;
    shift.site.start_gateway()?;
    drained(&shift).await?;
    arrived(&shift).await?;
    shift.close()
}

/// Records goods in, as the station would, until the journal takes no more.
fn fill(shift: &mut Shift, options: JournalOptions) -> Result<()> {
    let act = Act::Receive { bin: "A-04".into(), item: 2, amount: 1_000 };
    let movement = Movement {
        step: BizStep::Receiving,
        from: Place::Supplier,
        quantity: Quantity::pieces(1),
        ..moved(&shift.world.item(2).sku, "A-04", "A-04")
    };
    let mut journal = SqliteJournal::open(options)?;
    // Many at once until they do not fit, then one by one.
    for at_once in [64, 1] {
        let events = vec![event(movement.clone()); at_once];
        loop {
            match journal.append(&events) {
                Ok(_) => (0..at_once).for_each(|_| shift.heard_good(&act)),
                Err(JournalError::Full { .. } | JournalError::DiskFull { .. }) => break,
                Err(fault) => bail!("filling the journal: {fault}"),
            }
        }
    }
    ensure!(journal.head().get() == shift.recorded, "what was refused is not there");
    Ok(())
}

/// Each attempt to record gives the bad signal and its reason, and the journal stays as it is.
fn refused_aloud(shift: &mut Shift) -> Result<()> {
    block_in_place(|| shift.settle()).with_context(|| shift.evidence())?;
    for act in [
        Act::Receive { bin: "A-02".into(), item: 3, amount: 5_000 },
        Act::Count { bin: "A-03".into(), item: 4, amount: 7_000 },
    ] {
        for stroke in act.strokes(&shift.world) {
            let (code, expected) = match &stroke {
                Stroke::Scan(code) => (code, Heard::Understood),
                Stroke::Record(code) => (code, Heard::Bad),
                other => bail!("{other:?} is for goods that are weighed"),
            };
            let heard = block_in_place(|| shift.keeper.scan(code)).with_context(|| shift.evidence())?;
            ensure!(heard == expected, "{code}: {heard:?}\n{}", shift.evidence());
            if expected == Heard::Bad {
                let status = shift.site.agent_status()?;
                let message = text(&status["stations"][0]["screen"]["message"]).to_owned();
                ensure!(message.contains("not recorded") && message.contains("full"), "{message:?}");
                break;
            }
        }
        block_in_place(|| shift.settle()).with_context(|| shift.evidence())?;
    }
    let head = shift.site.journal_head()?;
    ensure!(head == shift.recorded, "{} facts were recorded, the journal has {head}", shift.recorded);
    Ok(())
}

async fn drained(shift: &Shift) -> Result<()> {
    let drained = eventually("everything recorded is acknowledged", 3 * DEADLINE, || async {
        let journal = shift.site.agent_status()?["journal"].take();
        Ok((journal["watermark"] == journal["head"]).then_some(()))
    });
    drained.await.with_context(|| shift.evidence())
}

/// Everything that was recorded is in the books. (The journal may have forgotten it by now.)
async fn arrived(shift: &Shift) -> Result<()> {
    let expected: Value =
        (shift.recorded + stockwire_tests::script::opening(&shift.world).len() as u64).into();
    let arrived = eventually("the books hold all of it", 3 * DEADLINE, || async {
        let books = shift.site.books().await?;
        let found = stockwire_tests::peers::differences("books", &shift.stock, &books);
        ensure!(found.is_empty(), "{}", found.join("\n"));
        Ok(Some(()))
    });
    arrived.await.with_context(|| shift.evidence())?;
    let report: Value = serde_json::from_str(&shift.site.gateway_command(&["verify-books", "--json"])?)?;
    ensure!(
        report["right"] == true && report["events"] == expected,
        "{expected} events are expected: {report}"
    );
    Ok(())
}

async fn begin() -> Result<Shift> {
    let world = World::standard();
    let peers = Peers::stand_in(&world).await?;
    Shift::begin(world, peers, Broker::Embedded, None).await
}

/// A small disk; it is gone when dropped.
struct Tmpfs(PathBuf);

/// Room for the journal's companions (4.2 MiB) and some megabytes of rows.
const DISK_MIB: u64 = 16;

impl Tmpfs {
    /// `None` for those who may not mount.
    fn mount(folder: PathBuf) -> Result<Option<Self>> {
        std::fs::create_dir(&folder)?;
        let size = format!("size={DISK_MIB}m,mode=700");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).output();
        let mounted = mount.is_ok_and(|output| output.status.success());
        Ok(mounted.then_some(Self(folder)))
    }

    /// Leaves no room at all.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("ballast");
        let mut file = std::fs::File::create(&path)?;
        for size in [64 * 1024, 512] {
            let block = vec![0; size];
            while let Ok(()) = file.write_all(&block) {}
        }
        ensure!(free_bytes(&self.0)? == 0, "the disk is not full");
        Ok(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: the agent may still be there after a failure, and goes with its owner.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn free_bytes(path: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail * disk.f_frsize)
}
