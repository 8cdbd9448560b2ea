//! Sending a backlog: one event in each publish as others do it, and the agent's own way with batches.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rumqttc::PublishOptions;
use stockwire_agent::io::mqtt::{Link, LinkEvent, Message, MqttConfig, PubResult};
use stockwire_agent::io::sqlite_journal::{JournalOptions, SqliteJournal};
use stockwire_agent::journal::Journal;
use stockwire_agent::outbox::{Outbox, OutboxConfig};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{Ack, Epoch};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::goods::Goods;
use super::mqtt::{self, Sink};
use super::pairs::{Plan, interleave};
use super::report::{Report, Target, Unit};
use crate::real::Mosquitto;
use crate::real::mosquitto::Persistence;
use crate::real::process::Scratch;

/// Rows of a backlog: half a day of a busy site.
const BACKLOG: u64 = 100_000;
/// Publishes of one event in a slice: a quarter of a second on a quick machine.
const SINGLES: u64 = 15_000;
/// Publishes that the limit has in flight. More gave queueing and hardly any rate (reference measurements).
const IN_FLIGHT: u16 = 100;
/// Publishes that the sink has not counted yet. The broker answers a publish before the sink has it, queues a thousand
/// for it, and then drops what it has acknowledged: the limit must not run into that.
const UNCOUNTED_MAX: u64 = 800;
/// Rows with one flush while a backlog is made.
const FILL_GROUP: u64 = 512;
const QUOTA_BYTES: u64 = 64 << 30;
/// Nothing here takes longer on a machine on which it can be measured at all.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let goods = Goods::new()?;
    let stock = Mosquitto::start_plain(Persistence::Off)?;
    measure(plan, &goods, &stock, "Mosquitto as it comes", report)?;
    let prompt = Mosquitto::start_plain_nodelay(Persistence::Off)?;
    measure(plan, &goods, &prompt, "Mosquitto with set_tcp_nodelay", report)?;
    let epoch = Epoch::from_bytes([0xff; 16]);
    let live = goods.batch(epoch, 1_000_000, 1)?.encode().len() as f64;
    let json = goods.json_bytes(epoch, 1_000_000) as f64;
    report.fact("bytes of a movement live, alone in a publish", Unit::Bytes, live, None);
    report.fact("bytes of the same as JSON with names", Unit::Bytes, json, None);
    report.fact("live by JSON", Unit::Plain, live / json, Some(Target::AtMost(0.34)));
    report.note(format!(
        "limit: rumqttc, QoS 1, one event in each publish, {IN_FLIGHT} in flight, {SINGLES} in a slice, until the sink \
         has counted all, never more than {UNCOUNTED_MAX} ahead of it; ours: journal on disk, outbox and link, until the last acknowledgement is in the journal. \
         The same sink decodes and counts for both, on the same two cores as broker and sender"
    ));
    Ok(())
}

fn measure(plan: &Plan, goods: &Goods, broker: &Mosquitto, name: &str, report: &mut Report) -> Result<()> {
    let sink = Sink::start(mqtt::options(broker.port(), "gateway", None)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bench = Bench { goods: goods.clone(), port: broker.port(), sink, runtime };
    let mut epochs = 1u64..;
    let mut next_epoch = || {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&epochs.next().unwrap_or(0).to_be_bytes());
        Epoch::from_bytes(bytes)
    };
    // Before it counts: connections, caches, the broker's own memory.
    let warm = Instant::now();
    bench.singles(next_epoch())?;
    bench.drain()?;
    let pairs = plan.pairs_of(warm.elapsed());

    let before = bench.sink.counts();
    let mut drained_bytes = 0;
    let measured = interleave(
        pairs,
        || bench.singles(next_epoch()),
        || {
            let before = bench.sink.counts();
            let rate = bench.drain()?;
            drained_bytes += bench.sink.counts().payload_bytes - before.payload_bytes;
            Ok(rate)
        },
    )?;
    let after = bench.sink.counts();
    let what = format!("events drained of {BACKLOG}, to the gateway's word; {name}");
    report.row(what, Unit::PerSecond, &measured, Some(Target::AtLeast(10.0)));
    let lost = (pairs as u64 * (SINGLES + BACKLOG)).saturating_sub(after.unique - before.unique);
    report.fact(format!("events lost; {name}"), Unit::Plain, lost as f64, Some(Target::AtMost(0.0)));
    let repeated = (after.repeated - before.repeated) as f64;
    report.fact(format!("events sent twice; {name}"), Unit::Plain, repeated, None);
    let drained = drained_bytes as f64 / (pairs as u64 * BACKLOG) as f64;
    report.fact(
        format!("bytes of a movement drained; {name}"),
        Unit::Bytes,
        drained,
        Some(Target::AtMost(32.0)),
    );
    Ok(())
}

struct Bench {
    goods: Goods,
    port: u16,
    sink: Sink,
    runtime: Runtime,
}

impl Bench {
    /// The limit.
    fn singles(&self, epoch: Epoch) -> Result<f64> {
        let payloads =
            (0..SINGLES).map(|n| Ok(self.goods.batch(epoch, n, 1)?.encode())).collect::<Result<Vec<_>>>()?;
        let topic = topic::topic(&self.goods.site, &self.goods.agent, Subject::Events);
        let before = self.sink.counts().unique;
        self.sink.set_acks(false);
        let rate = self.runtime.block_on(async {
            let mut options = mqtt::options(self.port, "singles", None)?;
            options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
            let (client, mut events) = mqtt::connect(options).await?;
            let begun = Instant::now();
            let poll = tokio::spawn(async move { while events.poll().await.is_ok() {} });
            // A millisecond is a tenth of what the window holds, and a quarter of a hundredth of the slice.
            let until_counted = async |wanted: u64| {
                while self.sink.counts().unique < before + wanted {
                    ensure!(begun.elapsed() < PATIENCE, "the single events do not arrive");
                    ensure!(!poll.is_finished(), "the client lost its connection");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok(())
            };
            for (n, payload) in (0..).zip(payloads) {
                until_counted(u64::saturating_sub(n, UNCOUNTED_MAX)).await?;
                client.publish(topic.as_str(), payload, PublishOptions::at_least_once()).await?;
            }
            until_counted(SINGLES).await?;
            let taken = begun.elapsed();
            client.disconnect().await?;
            poll.await?;
            Ok(SINGLES as f64 / taken.as_secs_f64())
        });
        self.sink.set_acks(true);
        rate
    }

    /// Ours.
    fn drain(&self) -> Result<f64> {
        let scratch = Scratch::new("bench")?;
        let path = scratch.path().join("journal.db");
        fill(&self.goods, path.clone(), BACKLOG)?;
        // Opened anew, as after a start.
        let mut journal = SqliteJournal::open(JournalOptions::new(path, QUOTA_BYTES))?;
        let wanted = self.sink.counts().unique + BACKLOG;
        let taken = self.runtime.block_on(send(&self.goods, self.port, &mut journal))?;
        self.sink.wait(wanted, Duration::ZERO).context("the sink acknowledged what it had not counted")?;
        Ok(BACKLOG as f64 / taken.as_secs_f64())
    }
}

/// Makes a journal with so many rows that no gateway has.
pub(super) fn fill(goods: &Goods, path: PathBuf, rows: u64) -> Result<()> {
    let mut journal = SqliteJournal::open(JournalOptions::new(path, QUOTA_BYTES))?;
    let mut n = 0;
    while n < rows {
        let next = rows.min(n + FILL_GROUP);
        journal.append(&goods.events(n..next)?)?;
        n = next;
    }
    Ok(())
}

/// The agent's loop, with nothing but the uplink in it.
async fn send(goods: &Goods, port: u16, journal: &mut dyn Journal) -> Result<Duration> {
    let (events_in, mut events) = mpsc::channel(256);
    let link = Link::start(
        MqttConfig {
            subscriptions: vec![topic::down_filter(&goods.site, &goods.agent)],
            ..MqttConfig::new("127.0.0.1", port, goods.agent.to_string())
        },
        events_in,
    );
    let mut outbox = Outbox::new(OutboxConfig::new(goods.agent.clone()), journal);
    let events_topic = topic::topic(&goods.site, &goods.agent, Subject::Events);
    let started = Instant::now();
    let mut connected_at = None;
    while journal.watermark() < journal.head() {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.context("the link is silent")?;
        let now = started.elapsed();
        match event.context("the link ended")? {
            LinkEvent::Connected => {
                connected_at = Some(Instant::now());
                outbox.handle_connected(now);
            }
            LinkEvent::Disconnected { reason, .. } => anyhow::bail!("disconnected: {reason}"),
            LinkEvent::Published { token, result } => {
                outbox.handle_puback(now, token, result == PubResult::Accepted);
            }
            LinkEvent::Received(message) => {
                let ack = Ack::decode(&message.payload)?;
                outbox.handle_ack(now, &ack, journal)?;
            }
        }
        while link.room() > 0
            && let Some(batch) = outbox.poll_transmit(now, journal)?
        {
            let message = Message { topic: events_topic.clone(), payload: batch.payload, retain: false };
            link.try_publish(batch.token, message)?;
        }
    }
    let taken = connected_at.context("never connected")?.elapsed();
    link.shutdown().await;
    Ok(taken)
}
