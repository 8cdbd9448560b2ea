//! A box's way to the gateway: the MQTT client around the outbox, and what the gateway's word does to the journal.

use std::time::Duration;

use stockwire_agent::catalogue::PartOutcome;
use stockwire_agent::io::mqtt::PUBLISH_WINDOW;
use stockwire_agent::journal::Journal as _;
use stockwire_agent::outbox::{AckOutcome, Stop};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{Ack, Catalogue, Command, State, StateKind};

use super::{Happening, Link, Process, UNIX_MS, World};
use crate::world::broker::{Client, ConnId, End, Message, Packet};

/// Token of publishes that are not the outbox's.
const OWN_TOKEN: u64 = 0;

impl World {
    pub(super) fn rebuild_client(&mut self, at: usize) {
        let now = self.queue.now();
        let conn = self.boxes[at].conn();
        let life = self.boxes[at].life;
        let Some(process) = &mut self.boxes[at].process else { return };
        process.link = Link::Waiting;
        process.awaited.clear();
        process.outbox.handle_disconnected(now - process.started);
        if let Some(conn) = conn {
            self.hang_up(conn, End::Client, false);
        }
        self.queue.after(Duration::from_millis(100), Happening::Dial { at, life });
    }

    pub(in crate::world) fn dial_box(&mut self, at: usize, life: u32) {
        if !self.is_life(at, life) || self.boxes[at].conn().is_some() {
            return;
        }
        let offline_until = self.boxes[at].offline_until;
        if self.chaos && self.queue.now() < offline_until {
            return self.queue.at(offline_until, Happening::Dial { at, life });
        }
        let conn = self.dial(Client::Box(at));
        if let Some(process) = &mut self.boxes[at].process {
            process.link = Link::Dialling(conn);
        }
    }

    pub(in crate::world) fn box_disconnected(&mut self, at: usize, conn: ConnId) {
        if self.boxes[at].conn() != Some(conn) {
            return;
        }
        let (now, random) = (self.queue.now(), self.random.next());
        let life = self.boxes[at].life;
        let Some(process) = &mut self.boxes[at].process else { return };
        process.link = Link::Waiting;
        process.awaited.clear();
        process.outbox.handle_disconnected(now - process.started);
        let wait = process.backoff.next_delay(random);
        self.queue.after(wait, Happening::Dial { at, life });
        self.pump(at);
    }

    pub(in crate::world) fn box_receives(&mut self, at: usize, conn: ConnId, packet: Packet) {
        let now = self.queue.now();
        if self.boxes[at].conn() != Some(conn) {
            return;
        }
        let edge = &mut self.boxes[at];
        let Some(process) = &mut edge.process else { return };
        match packet {
            Packet::Accepted => {
                process.link = Link::Up { conn, stuck: false };
                process.backoff.reset();
                // With the network comes the time.
                process.clock_synced = true;
                process.outbox.handle_connected(now - process.started);
                self.announce(at);
            }
            Packet::Puback { token, delivered } => {
                process.awaited.remove(&token);
                if token != OWN_TOKEN {
                    process.outbox.handle_puback(now - process.started, token, delivered);
                }
                self.check_watermark(at);
            }
            Packet::Deliver { delivery, message } => {
                self.send(conn, End::Broker, Packet::Taken { delivery });
                self.box_hears(at, &message);
            }
            Packet::Connect | Packet::Publish { .. } | Packet::Taken { .. } => {}
        }
        self.pump(at);
    }

    fn announce(&mut self, at: usize) {
        let now = self.queue.now();
        let edge = &self.boxes[at];
        let Some(process) = &edge.process else { return };
        let kind = StateKind::Online {
            epoch: edge.disk.epoch(),
            head: edge.disk.head(),
            watermark: edge.disk.watermark(),
            boot: edge.disk.boot(),
            uptime_ms: (now - process.started).as_millis() as u64,
            unix_ms: UNIX_MS + now.as_millis() as i64,
            clock_synced: process.clock_synced,
            software: "world".into(),
        };
        let payload = State { agent: edge.agent.clone(), kind }.encode();
        self.publish(at, OWN_TOKEN, Subject::State, payload, true);
    }

    fn publish(&mut self, at: usize, token: u64, subject: Subject, payload: Vec<u8>, retained: bool) {
        let edge = &mut self.boxes[at];
        let topic = topic::topic(&edge.site, &edge.agent, subject);
        let Some(Process { link: Link::Up { conn, stuck }, awaited, .. }) = &mut edge.process else { return };
        if token != OWN_TOKEN {
            awaited.insert(token);
        }
        let (conn, stuck) = (*conn, *stuck);
        if !stuck {
            let message = Message { topic, payload, retained };
            self.send(conn, End::Broker, Packet::Publish { token, message });
        }
    }

    /// The last will, as the broker publishes it.
    pub(in crate::world) fn last_will(&mut self, client: Client) {
        let Client::Box(at) = client else { return };
        let edge = &self.boxes[at];
        let topic = topic::topic(&edge.site, &edge.agent, Subject::State);
        let payload = State { agent: edge.agent.clone(), kind: StateKind::Lost }.encode();
        self.route(Message { topic, payload, retained: true });
    }

    fn box_hears(&mut self, at: usize, message: &Message) {
        let now = self.queue.now();
        let Some((_, _, subject)) = topic::parse(&message.topic) else { return };
        let edge = &mut self.boxes[at];
        let Some(process) = &mut edge.process else { return };
        match subject {
            Subject::Acks => match Ack::decode(&message.payload) {
                Ok(ack) => self.box_acked(at, &ack),
                Err(fault) => self.fail(format!("box {at} cannot read an ack: {fault}")),
            },
            Subject::Commands => {
                let Ok(command) = Command::decode(&message.payload) else { return };
                let reply = process.outbox.handle_command(now - process.started, &command, &edge.disk);
                self.publish(at, OWN_TOKEN, Subject::Replies, reply.encode(), false);
            }
            Subject::Catalogue { .. } => {
                let Ok(part) = Catalogue::decode(&message.payload) else { return };
                match process.assembler.handle_part(part) {
                    PartOutcome::Complete { current, durable } => {
                        edge.disk.catalogue = Some(durable);
                        process.station.handle_catalogue(current);
                    }
                    // The simulated gateway sends snapshots alone.
                    PartOutcome::Changed { .. } | PartOutcome::Waiting { .. } | PartOutcome::Stale { .. } => {
                    }
                    PartOutcome::Refused(fault) => {
                        self.fail(format!("box {at} refuses the catalogue: {fault}"))
                    }
                }
            }
            // The simulated gateway sends none of these.
            Subject::CatalogueChanges | Subject::Tasks { .. } | Subject::TasksChanges => {}
            Subject::Events | Subject::State | Subject::Replies => {}
        }
    }

    fn box_acked(&mut self, at: usize, ack: &Ack) {
        let now = self.queue.now();
        let edge = &mut self.boxes[at];
        let Some(process) = &mut edge.process else { return };
        let outcome = process.outbox.handle_ack(now - process.started, ack, &mut edge.disk);
        match outcome {
            Err(fault) => return self.fail(format!("box {at} cannot take an ack: {fault}")),
            Ok(AckOutcome::JournalBehindGateway { watermark, head }) => {
                process.wants_epoch = true;
                self.log(|| format!("box {at}: the gateway holds {watermark}, this journal began at {head}"));
                self.begin_epoch_when_asked(at);
            }
            Ok(AckOutcome::Refused { refusal }) => {
                edge.refused_since.get_or_insert(now);
                self.log(|| format!("box {at}: refused, {refusal:?}"));
            }
            Ok(AckOutcome::Progress { watermark }) => {
                edge.refused_since = None;
                self.log(|| format!("box {at}: acknowledged up to {watermark}"));
            }
            Ok(_) => {}
        }
        self.check_watermark(at);
    }

    /// No early forget: a journal believes only what the gateway's database holds.
    fn check_watermark(&mut self, at: usize) {
        let edge = &self.boxes[at];
        let durable = self.cloud.durable(&edge.agent, edge.disk.epoch());
        let believed = edge.disk.watermark().get().max(edge.disk.kept_after().get());
        if believed > durable {
            let fault =
                format!("box {at} forgets up to {believed}, and the gateway's database ends at {durable}");
            self.fail(fault);
        }
    }

    /// Puts the journal aside for a new one, once nothing is on its way into it. What this process recorded itself
    /// moves over, as the agent's own journal does it: it was in no copy.
    pub(super) fn begin_epoch_when_asked(&mut self, at: usize) {
        let edge = &mut self.boxes[at];
        let Some(process) = &mut edge.process else { return };
        if !process.wants_epoch || process.writing.is_some() || process.beeps > 0 {
            return;
        }
        process.wants_epoch = false;
        edge.refused_since = None;
        let own_after = process.head_at_start;
        self.begin_epoch(at, own_after);
        let edge = &mut self.boxes[at];
        if let Some(process) = &mut edge.process {
            process.head_at_start = edge.disk.head().get();
            process.outbox.handle_new_epoch(&edge.disk);
        }
        self.announce(at);
        self.pump(at);
    }

    fn begin_epoch(&mut self, at: usize, own_after: u64) {
        let epoch = self.fresh_epoch();
        let edge = &mut self.boxes[at];
        let old = edge.disk.epoch();
        let own = match edge.disk.begin_epoch(epoch, own_after) {
            Ok(own) => own,
            Err(fault) => return self.fail(format!("box {at} cannot begin an epoch: {fault}")),
        };
        self.cards.begin(at, &edge.agent, epoch, &own);
        self.auditor.moved(at, old, epoch, own_after);
        self.log(|| format!("box {at}: begins epoch {epoch}, rows after {own_after} of {old} moved over"));
    }

    /// A technician looks at boxes whose journal the gateway has refused for a while, as the dead letter asks: the
    /// program is stopped, the journal kept, and the box begins with an empty one.
    pub(in crate::world) fn technician(&mut self) {
        let now = self.queue.now();
        for at in 0..self.boxes.len() {
            let edge = &self.boxes[at];
            let long = edge.refused_since.is_some_and(|since| now - since > Duration::from_secs(120));
            let stop = edge.process.as_ref().and_then(|process| process.outbox.status().stop);
            if long && stop == Some(Stop::Conflict) {
                self.log(|| format!("box {at}: a technician puts its journal aside"));
                self.kill_box(at, false);
                self.settle_doubt(at);
                let head = self.boxes[at].disk.head().get();
                self.begin_epoch(at, head);
                self.boxes[at].refused_since = None;
                self.queue.after(Duration::from_secs(60), Happening::Boot { at });
            }
        }
    }

    pub(super) fn pump_outbox(&mut self, at: usize) {
        loop {
            let now = self.queue.now();
            let edge = &mut self.boxes[at];
            let Some(process) = &mut edge.process else { return };
            if !matches!(process.link, Link::Up { .. }) || process.awaited.len() >= PUBLISH_WINDOW {
                return;
            }
            match process.outbox.poll_transmit(now - process.started, &edge.disk) {
                Ok(None) => return,
                Ok(Some(transmit)) => {
                    self.log(|| format!("box {at}: sends {}..={}", transmit.first, transmit.last));
                    self.publish(at, transmit.token, Subject::Events, transmit.payload, false);
                }
                Err(fault) => return self.fail(format!("box {at} cannot read its journal: {fault}")),
            }
        }
    }
}
