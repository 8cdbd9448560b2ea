//! The gateway's process: MQTT in, the one transaction, acks out. It can end between any two steps; its database
//! stays.
//!
//! This is the counterpart of the gateway's `run.rs`: it makes no decision of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use stockwire_gateway::ingest::{GROUP_PUBLISHES_MAX, Ingest, Outcome, Publish};
use stockwire_gateway::store::{Reader as _, Store as _, StoreError};
use stockwire_protocol::backoff::Backoff;
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{AgentId, Command, CommandBody, Epoch, Event, SiteId};

use super::auditor::Committed;
use super::broker::{Client, ConnId, End, Message, Packet};
use super::edge::UNIX_MS;
use super::senders::{Posted, Vendor};
use super::vault::{Durable, News, Row, Vault};
use super::{Happening, World};

/// The gateway and its database.
pub(super) struct Cloud {
    /// The database.
    pub(super) vault: Vault,
    /// Everything it has committed, in the order of the books.
    pub(super) committed: Vec<Committed>,
    /// How far each journal is durable here.
    durable: Durable,
    /// Streams of which other bytes came than those that are held.
    frozen: BTreeSet<(AgentId, Epoch)>,
    pub(super) process: Option<Process>,
    /// Counts starts.
    pub(super) life: u32,
}

/// What is gone with a crash.
pub(super) struct Process {
    pub(super) started: Duration,
    ingest: Ingest,
    link: Link,
    backoff: Backoff,
    inbox: VecDeque<Arrived>,
    /// An ingest step is arranged.
    ingesting: bool,
    /// Committed and not yet answered.
    unanswered: VecDeque<(Outcome, Vec<Arrived>)>,
    pub(super) senders: [Posted; 2],
    /// Which revision each agent was given over this connection, as the gateway's courier keeps it.
    served: BTreeMap<(SiteId, AgentId), u64>,
    revision: u64,
}

struct Arrived {
    conn: ConnId,
    delivery: u64,
    message: Message,
}

enum Link {
    Waiting,
    Dialling(ConnId),
    Up(ConnId),
}

/// How often the process looks at what may have changed.
const TICK: Duration = Duration::from_secs(1);

impl Cloud {
    /// With an empty database; not started.
    pub(super) fn new(vault: Vault) -> Self {
        Self {
            vault,
            committed: Vec::new(),
            durable: Durable::new(),
            frozen: BTreeSet::new(),
            process: None,
            life: 0,
        }
    }

    /// The last sequence of a journal that the database holds.
    pub(super) fn durable(&self, agent: &AgentId, epoch: Epoch) -> u64 {
        self.durable.get(&(agent.clone(), epoch)).copied().unwrap_or(0)
    }

    /// Its connection, if it has one.
    pub(super) fn conn(&self) -> Option<ConnId> {
        match self.process.as_ref()?.link {
            Link::Up(conn) | Link::Dialling(conn) => Some(conn),
            Link::Waiting => None,
        }
    }

    /// Whether it runs and has answered everything that came.
    pub(super) fn is_idle(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.inbox.is_empty() && process.unanswered.is_empty())
    }

    fn up(&self) -> Option<ConnId> {
        match self.process.as_ref()?.link {
            Link::Up(conn) => Some(conn),
            Link::Dialling(_) | Link::Waiting => None,
        }
    }
}

impl World {
    pub(super) fn unix_ms(&self) -> i64 {
        UNIX_MS + self.queue.now().as_millis() as i64
    }

    pub(super) fn is_cloud_life(&self, life: u32) -> bool {
        self.cloud.life == life && self.cloud.process.is_some()
    }

    /// Starts the process on the database as it was left.
    pub(super) fn start_cloud(&mut self) {
        if self.cloud.process.is_some() {
            return;
        }
        let now = self.queue.now();
        let policies = [self.policy.clone()];
        let vault = &mut self.cloud.vault;
        vault.dies_after = None;
        let ready = vault.replace_channels(&policies);
        match ready {
            Ok(()) => {}
            Err(StoreError::Busy { .. }) => {
                return self.queue.after(Duration::from_secs(1), Happening::StartCloud);
            }
            Err(fault) => return self.fail(format!("the gateway cannot start: {fault}")),
        }
        self.cloud.life += 1;
        let life = self.cloud.life;
        let senders = self.senders();
        self.cloud.process = Some(Process {
            started: now,
            ingest: Ingest::new(),
            link: Link::Waiting,
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(60)),
            inbox: VecDeque::new(),
            ingesting: false,
            unanswered: VecDeque::new(),
            senders,
            served: BTreeMap::new(),
            revision: 0,
        });
        self.log(|| "gateway: starts".into());
        self.queue.after(Duration::from_millis(20), Happening::DialCloud { life });
        for vendor in Vendor::ALL {
            self.arrange_turn(vendor, Duration::from_millis(30));
        }
        self.queue.after(TICK, Happening::Tick { life });
    }

    /// The process ends without a word.
    pub(super) fn kill_cloud(&mut self) {
        let conn = self.cloud.conn();
        if self.cloud.process.take().is_none() {
            return;
        }
        self.cloud.life += 1;
        self.log(|| "gateway: killed".into());
        if let Some(conn) = conn {
            self.hang_up(conn, End::Client, false);
        }
    }

    /// Between two steps: sometimes the process ends right here.
    pub(super) fn stumbles(&mut self) -> bool {
        if !self.chaos || !self.random.chance(self.weather.cloud_crash_per_mille) {
            return false;
        }
        self.crash_cloud();
        true
    }

    fn crash_cloud(&mut self) {
        self.kill_cloud();
        let wait = self.random.ms(1_000..=20_000);
        self.queue.after(wait, Happening::StartCloud);
    }

    pub(super) fn dial_cloud(&mut self, life: u32) {
        if !self.is_cloud_life(life) || self.cloud.conn().is_some() {
            return;
        }
        let conn = self.dial(Client::Cloud);
        if let Some(process) = &mut self.cloud.process {
            process.link = Link::Dialling(conn);
        }
    }

    pub(super) fn cloud_disconnected(&mut self, conn: ConnId) {
        if self.cloud.conn() != Some(conn) {
            return;
        }
        let random = self.random.next();
        let Some(process) = &mut self.cloud.process else { return };
        process.link = Link::Waiting;
        let wait = process.backoff.next_delay(random);
        self.queue.after(wait, Happening::DialCloud { life: self.cloud.life });
    }

    pub(super) fn cloud_receives(&mut self, conn: ConnId, packet: Packet) {
        if self.cloud.conn() != Some(conn) {
            return;
        }
        let life = self.cloud.life;
        let Some(process) = &mut self.cloud.process else { return };
        match packet {
            Packet::Accepted => {
                process.link = Link::Up(conn);
                process.backoff.reset();
                // A new connection knows nothing, and neither may the broker.
                process.served.clear();
                self.serve_known();
            }
            Packet::Deliver { delivery, message } => {
                process.inbox.push_back(Arrived { conn, delivery, message });
                if !std::mem::replace(&mut process.ingesting, true) {
                    let wait = self.random.ms(1..=150);
                    self.queue.after(wait, Happening::Ingest { life });
                }
            }
            Packet::Puback { .. } | Packet::Connect | Packet::Publish { .. } | Packet::Taken { .. } => {}
        }
    }

    /// One group, one transaction.
    pub(super) fn ingest(&mut self, life: u32) {
        if !self.is_cloud_life(life) || self.stumbles() {
            return;
        }
        let unix_ms = self.unix_ms();
        let size = self.random.within(1..=GROUP_PUBLISHES_MAX as u64) as usize;
        self.arm_vault();
        let Some(process) = &mut self.cloud.process else { return };
        process.ingesting = false;
        let size = size.min(process.inbox.len());
        let group: Vec<Arrived> = process.inbox.drain(..size).collect();
        let publishes: Vec<Publish<'_>> = group
            .iter()
            .map(|arrived| Publish {
                topic: &arrived.message.topic,
                payload: &arrived.message.payload,
                retained: arrived.message.retained,
            })
            .collect();
        let outcome = process.ingest.handle_publishes(&mut self.cloud.vault, unix_ms, &publishes);
        if self.vault_died() {
            // Whatever it was told, it is committed or it is not.
            return self.check_commit();
        }
        let Some(process) = &mut self.cloud.process else { return };
        match outcome {
            Ok(outcome) => {
                process.unanswered.push_back((outcome, group));
                self.check_commit();
                let wait = self.random.ms(0..=10);
                self.queue.after(wait, Happening::Answer { life });
            }
            Err(StoreError::Busy { .. }) => {
                for arrived in group.into_iter().rev() {
                    process.inbox.push_front(arrived);
                }
                self.log(|| "gateway: the database is busy".into());
                // Nothing may have been committed.
                self.check_commit();
            }
            Err(fault) => return self.fail(format!("ingest failed: {fault:?}")),
        }
        let Some(process) = &mut self.cloud.process else { return };
        if !process.inbox.is_empty() && !std::mem::replace(&mut process.ingesting, true) {
            let wait = self.random.ms(1..=200);
            self.queue.after(wait, Happening::Ingest { life });
        }
    }

    fn check_commit(&mut self) {
        for News { conflicts, rows } in self.cloud.vault.take_news() {
            for row in rows {
                if let Err(fault) = self.check_row(row) {
                    return self.fail(fault);
                }
            }
            let conflicts = conflicts.into_iter().map(|movement| (movement.agent, movement.epoch));
            self.cloud.frozen.extend(conflicts);
        }
    }

    /// What a commit brought must follow what is there without a hole, must be what one box has written, and must not
    /// continue a stream that two lives quarrel about.
    fn check_row(&mut self, Row { agent, epoch, sequence, bytes, applied }: Row) -> Result<(), String> {
        let key = (agent.clone(), epoch);
        if self.cloud.frozen.contains(&key) {
            return Err(format!("{agent}/{epoch}/{sequence} was taken behind a conflict"));
        }
        let before = self.cloud.durable.entry(key).or_default();
        if sequence != *before + 1 {
            return Err(format!("{agent}/{epoch}: {sequence} was committed after {before}"));
        }
        *before = sequence;
        self.cards.committed(&agent, epoch, sequence, &bytes)?;
        let event = Event::decode(&bytes)
            .map_err(|fault| format!("a committed event does not read back: {fault}"))?;
        if !applied {
            return Err(format!("{agent}/{epoch}/{sequence} was not applied"));
        }
        self.cloud.committed.push(Committed { agent, epoch, sequence, event });
        Ok(())
    }

    /// After the commit: the acks, and the broker's messages are done with.
    pub(super) fn answer(&mut self, life: u32) {
        if !self.is_cloud_life(life) || self.stumbles() {
            return;
        }
        let Some(process) = &mut self.cloud.process else { return };
        let Some((outcome, taken)) = process.unanswered.pop_front() else { return };
        for (site, agent, ack) in &outcome.acks {
            let durable = self.cloud.durable(agent, ack.epoch);
            if ack.watermark.get() > durable {
                let fault = format!("{agent} is told {}, and the database ends at {durable}", ack.watermark);
                return self.fail(fault);
            }
            self.log(|| format!("gateway: ack {agent} {} {:?}", ack.watermark, ack.refusal));
            self.cloud_publishes(site, agent, Subject::Acks, ack.encode(), false);
        }
        for Arrived { conn, delivery, message } in taken {
            if self.cloud.up() == Some(conn) {
                self.send(conn, End::Broker, Packet::Taken { delivery });
            }
            if let Some((site, agent, _)) = topic::parse(&message.topic) {
                self.serve(site, agent);
            }
        }
        for (vendor, affected) in
            [(Vendor::Erp, outcome.affected.postings), (Vendor::Shop, outcome.affected.offers)]
        {
            if affected {
                self.wake_sender(vendor);
            }
        }
    }

    fn cloud_publishes(
        &mut self,
        site: &SiteId,
        agent: &AgentId,
        subject: Subject,
        payload: Vec<u8>,
        retained: bool,
    ) {
        let Some(conn) = self.cloud.up() else { return };
        let message = Message { topic: topic::topic(site, agent, subject), payload, retained };
        self.send(conn, End::Broker, Packet::Publish { token: 0, message });
    }

    /// An agent has spoken; it is given the catalogue unless it has this revision.
    fn serve(&mut self, site: SiteId, agent: AgentId) {
        let Some(process) = &mut self.cloud.process else { return };
        let key = (site, agent);
        if process.revision == 0 || process.served.get(&key) == Some(&process.revision) {
            return;
        }
        process.served.insert(key.clone(), process.revision);
        let (site, agent) = key;
        match self.cloud.vault.catalogue_parts(&site) {
            Ok(parts) => {
                for part in parts {
                    let subject = Subject::Catalogue { part: part.part };
                    self.cloud_publishes(&site, &agent, subject, part.encode(), true);
                }
            }
            Err(fault) => self.fail(format!("the catalogue cannot be read: {fault}")),
        }
    }

    /// Every agent that was ever heard is given the catalogue, unless it has it.
    fn serve_known(&mut self) {
        match self.cloud.vault.devices() {
            Ok(devices) => {
                for device in devices {
                    self.serve(device.site, device.agent);
                }
            }
            Err(fault) => self.fail(format!("the devices cannot be read: {fault}")),
        }
    }

    /// What may have changed behind the process's back.
    pub(super) fn tick(&mut self, life: u32) {
        if !self.is_cloud_life(life) {
            return;
        }
        self.queue.after(TICK, Happening::Tick { life });
        match self.cloud.vault.catalogue_revision() {
            Ok(revision) => {
                let Some(process) = &mut self.cloud.process else { return };
                if revision != process.revision {
                    process.revision = revision;
                    self.serve_known();
                }
            }
            Err(fault) => self.fail(format!("the catalogue's revision cannot be read: {fault}")),
        }
    }

    /// Before a piece of work on the store: perhaps the process ends within it.
    pub(super) fn arm_vault(&mut self) {
        let ends = self.chaos && self.random.chance(self.weather.cloud_crash_per_mille);
        let calls = self.random.below(4) as u32;
        self.cloud.vault.dies_after = ends.then_some(calls);
    }

    /// After it: whether it did.
    pub(super) fn vault_died(&mut self) -> bool {
        let died = self.cloud.vault.is_dead();
        self.cloud.vault.dies_after = None;
        if died {
            self.crash_cloud();
        }
        died
    }

    /// Somebody at the console asks a box to send again.
    pub(super) fn ask_resend(&mut self, at: usize, id: u64) {
        use stockwire_agent::journal::Journal as _;
        let edge = &self.boxes[at];
        let (site, agent, epoch) = (edge.site.clone(), edge.agent.clone(), edge.disk.epoch());
        let durable = self.cloud.durable(&agent, epoch);
        let after = stockwire_protocol::Sequence::new(self.random.below(durable + 1));
        let command = Command { id, body: CommandBody::Resend { epoch, after } };
        self.log(|| format!("gateway: asks {agent} to send again after {after}"));
        self.cloud_publishes(&site, &agent, Subject::Commands, command.encode(), false);
    }
}
