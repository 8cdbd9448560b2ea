//! Agents that send without a station: the real outbox and the real link over a journal in memory, which is filled with
//! movements at a steady rate. What was recorded is the expectation.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stockwire_agent::io::mqtt::{Link, LinkEvent, Message, MqttConfig, PubResult};
use stockwire_agent::journal::{Journal as _, MemoryJournal};
use stockwire_agent::outbox::{Outbox, OutboxConfig};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{
    Ack, AgentId, BizStep, Body, Details, Epoch, Event, ItemId, LocationId, Movement, Place, Quantity,
    Refusal, SiteId, StationId, When,
};
use tokio::sync::{mpsc, watch};

use crate::real::World;
use crate::script::{Dice, Stock};

/// Between two looks at the clock: what is due is recorded then, several movements in one commit.
const TURN: Duration = Duration::from_millis(50);
/// For everything to be acknowledged after the last movement.
const DRAIN_WAIT: Duration = Duration::from_secs(180);

/// One agent.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Its name.
    pub agent: String,
    /// Its site.
    pub site: String,
    /// The broker's port on this machine.
    pub port: u16,
    /// What it does.
    pub seed: u64,
    /// Recorded before it connects.
    pub backlog: u64,
    /// Recorded in a second from then on.
    pub rate: u64,
}

/// What an agent recorded, and what it took to bring it to the gateway.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Movements.
    pub recorded: u64,
    /// Movements in all publishes: more than recorded when something was sent again.
    pub published: u64,
    /// Acknowledgements.
    pub acks: u64,
    /// Those of them that told of a gap.
    pub gaps: u64,
    /// Stock that came of it: place and item, in thousandths.
    pub moved: Stock,
    /// From the connection to the last acknowledgement.
    pub took: Duration,
}

/// Records until told to stop, and sends until the gateway has everything.
///
/// # Errors
/// When the watermark moves back, when sending stops for good, or when not everything is acknowledged in time.
pub async fn send(world: &World, sender: &Sender, mut stop: watch::Receiver<bool>) -> Result<Sent> {
    let (agent, site) = (AgentId::new(sender.agent.as_str())?, SiteId::new(sender.site.as_str())?);
    let mut epoch = [0; 16];
    epoch[..8].copy_from_slice(&sender.seed.to_be_bytes());
    let mut journal = MemoryJournal::new(Epoch::from_bytes(epoch));
    let mut hands = Hands { dice: Dice::new(sender.seed), world, site: site.clone(), sent: Sent::default() };
    hands.record(&mut journal, sender.backlog)?;

    let config = MqttConfig {
        subscriptions: vec![topic::down_filter(&site, &agent)],
        ..MqttConfig::new("127.0.0.1", sender.port, agent.to_string())
    };
    let (events_in, mut events) = mpsc::channel(256);
    let mut link = Link::start(config.clone(), events_in.clone());
    let mut outbox = Outbox::new(OutboxConfig::new(agent.clone()), &journal);
    let (to, started) = (topic::topic(&site, &agent, Subject::Events), Instant::now());
    let mut turn = tokio::time::interval(TURN);
    let (mut recording, mut stopped_at) = (Duration::ZERO, None);
    while stopped_at.is_none() || journal.watermark() < journal.head() {
        tokio::select! {
            _ = turn.tick() => {}
            _ = stop.wait_for(|stop| *stop), if stopped_at.is_none() => stopped_at = Some(started.elapsed()),
            event = events.recv() => {
                let now = started.elapsed();
                match event.context("the link ended")? {
                    LinkEvent::Connected => outbox.handle_connected(now),
                    LinkEvent::Disconnected { .. } => outbox.handle_disconnected(now),
                    LinkEvent::Published { token, result } => {
                        outbox.handle_puback(now, token, result == PubResult::Accepted);
                    }
                    LinkEvent::Received(message) if message.topic.ends_with("/down/acks") => {
                        let ack = Ack::decode(&message.payload)?;
                        let before = journal.watermark();
                        outbox.handle_ack(now, &ack, &mut journal)?;
                        ensure!(journal.watermark() >= before, "{agent}: {before} back to {}", journal.watermark());
                        hands.sent.acks += 1;
                        hands.sent.gaps += u64::from(ack.refusal == Some(Refusal::Gap));
                    }
                    LinkEvent::Received(_) => {}
                }
            }
        }
        let now = started.elapsed();
        if let Some(since) = stopped_at {
            let (held, of) = (journal.watermark(), journal.head());
            ensure!(now < since + DRAIN_WAIT, "{agent}: {held} of {of} acknowledged, {:?}", outbox.status());
        } else {
            let due = (now - recording).as_millis() as u64 * sender.rate / 1_000;
            if due > 0 {
                recording = now;
                hands.record(&mut journal, due)?;
            }
        }
        if outbox.poll_timeout().is_some_and(|due| due <= now) && outbox.handle_timeout(now).is_some() {
            link.shutdown().await;
            outbox.handle_disconnected(started.elapsed());
            link = Link::start(config.clone(), events_in.clone());
        }
        let stop = outbox.status().stop;
        ensure!(stop.is_none(), "{agent}: sending has stopped: {stop:?}");
        while link.room() > 0
            && let Some(batch) = outbox.poll_transmit(started.elapsed(), &journal)?
        {
            hands.sent.published += batch.last.get() - batch.first.get() + 1;
            let (token, message) =
                (batch.token, Message { topic: to.clone(), payload: batch.payload, retain: false });
            if link.try_publish(token, message).is_err() {
                outbox.handle_puback(started.elapsed(), token, false);
            }
        }
    }
    link.shutdown().await;
    hands.sent.took = started.elapsed();
    Ok(hands.sent)
}

/// Adds up what several agents did, onto what lay there before.
pub fn expected(opening: Stock, all: &[Sent]) -> Stock {
    let mut stock = opening;
    for (key, amount) in all.iter().flat_map(|sent| &sent.moved) {
        *stock.entry(key.clone()).or_default() += amount;
    }
    stock.retain(|_, amount| *amount != 0);
    stock
}

/// Who does the work.
struct Hands<'a> {
    dice: Dice,
    world: &'a World,
    site: SiteId,
    sent: Sent,
}

impl Hands<'_> {
    /// So many movements in one commit: pieces come in, are carried about and go out.
    fn record(&mut self, journal: &mut MemoryJournal, count: u64) -> Result<()> {
        let mut events = Vec::new();
        for _ in 0..count {
            // All but the last item are counted in pieces.
            let item = self.world.items[self.dice.below(self.world.items.len() - 1)].sku.clone();
            let (from, to) = match self.dice.below(3) {
                0 => (None, Some("A-01")),
                1 => (Some("A-01"), Some("A-02")),
                _ => (Some("A-01"), None),
            };
            let pieces = 1 + self.dice.below(3) as i64;
            for (bin, sign) in [(from, -1), (to, 1)] {
                if let Some(bin) = bin {
                    let key = (format!("{}/{bin}", self.site), item.clone());
                    *self.sent.moved.entry(key).or_default() += sign * pieces * 1_000;
                }
            }
            let place = |bin: Option<&str>, outside: Place| match bin {
                Some(bin) => LocationId::new(bin).map(Place::At),
                None => Ok(outside),
            };
            let body = Body::Movement(Movement {
                step: BizStep::Storing,
                item: ItemId::new(item)?,
                quantity: Quantity::pieces(pieces),
                from: place(from, Place::Supplier)?,
                to: place(to, Place::Customer)?,
                station: StationId::new("pack-1")?,
                details: Details::default(),
            });
            self.sent.recorded += 1;
            let unix_ms = 1_790_000_000_000 + self.sent.recorded as i64 * 50;
            events.push(Event { when: When::Synced { unix_ms }, body });
        }
        if !events.is_empty() {
            journal.append(&events)?;
        }
        Ok(())
    }
}

/// How often something was sent, by how often that was needed.
pub fn repetition(all: &[Sent]) -> f64 {
    let sum = |of: fn(&Sent) -> u64| all.iter().map(of).sum::<u64>() as f64;
    sum(|sent| sent.published) / sum(|sent| sent.recorded).max(1.0)
}
