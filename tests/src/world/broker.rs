//! A broker with its connections, as bad as brokers are: it acknowledges before it has delivered, forgets everything
//! when it is killed, loses, repeats and overtakes.
//!
//! Packets of one connection stay in order, as TCP keeps them; what the broker itself does with messages may not.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use stockwire_protocol::AgentId;
use stockwire_protocol::topic::{self, Subject};

use super::{Happening, World};

/// One connection, by its number.
pub(super) type ConnId = usize;

/// Which program a connection belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Client {
    /// The agent on that box.
    Box(usize),
    /// The gateway.
    Cloud,
}

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The program's.
    Client,
    /// The broker's.
    Broker,
}

/// An MQTT message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Where.
    pub(super) topic: String,
    /// What.
    pub(super) payload: Vec<u8>,
    /// On its way to the broker: to be kept. On its way to a client: it was kept from before.
    pub(super) retained: bool,
}

/// What travels on a connection.
#[derive(Clone, Debug)]
pub(super) enum Packet {
    /// Client: let me in. With the subscriptions, which a client always sends right behind it.
    Connect,
    /// Client: a publish of QoS 1.
    Publish {
        /// Repeated in the answer.
        token: u64,
        /// The message.
        message: Message,
    },
    /// Client: the delivery of that number is done with.
    Taken {
        /// Of the delivery.
        delivery: u64,
    },
    /// Broker: you are in.
    Accepted,
    /// Broker: the PUBACK, which proves nothing.
    Puback {
        /// Of the publish.
        token: u64,
        /// Whether anybody was subscribed.
        delivered: bool,
    },
    /// Broker: a message.
    Deliver {
        /// Repeated in the answer.
        delivery: u64,
        /// The message.
        message: Message,
    },
}

struct Conn {
    client: Client,
    /// Whether each end believes in it; index by [`End`].
    open: [bool; 2],
    /// Half open: nothing arrives any more, and nobody is told.
    deaf: bool,
    /// When the last packet towards each end arrives: the next one not before.
    last: [Duration; 2],
}

/// The broker and all connections there ever were.
pub(super) struct Broker {
    up: bool,
    conns: Vec<Conn>,
    agents: BTreeMap<AgentId, ConnId>,
    cloud: Option<ConnId>,
    /// For the gateway while it is away, when the broker keeps sessions.
    queue: VecDeque<Message>,
    /// Handed to the gateway and not answered.
    unanswered: BTreeMap<u64, Message>,
    retained: BTreeMap<String, Message>,
    deliveries: u64,
    /// Whether it keeps the gateway's session over a lost connection.
    keeps_session: bool,
}

/// Messages kept for a client that is away; what is above it is dropped in silence, as Mosquitto does at its own limit.
const QUEUE_MAX: usize = 50;
/// Until an end notices by itself that nothing comes any more.
const KEEP_ALIVE: Duration = Duration::from_secs(90);

impl Broker {
    /// One that runs.
    pub(super) fn new(keeps_session: bool) -> Self {
        Self {
            up: true,
            conns: Vec::new(),
            agents: BTreeMap::new(),
            cloud: None,
            queue: VecDeque::new(),
            unanswered: BTreeMap::new(),
            retained: BTreeMap::new(),
            deliveries: 0,
            keeps_session,
        }
    }

    fn dial(&mut self, client: Client, now: Duration) -> ConnId {
        self.conns.push(Conn { client, open: [true, true], deaf: false, last: [now; 2] });
        self.conns.len() - 1
    }
}

impl World {
    /// A client opens a connection; what comes of it arrives later.
    pub(super) fn dial(&mut self, client: Client) -> ConnId {
        let now = self.queue.now();
        let conn = self.broker.dial(client, now);
        self.send(conn, End::Broker, Packet::Connect);
        conn
    }

    /// Puts a packet on a connection.
    pub(super) fn send(&mut self, conn: ConnId, to: End, packet: Packet) {
        let wait = self.latency();
        let entry = &mut self.broker.conns[conn];
        if entry.deaf {
            return;
        }
        let due = (self.queue.now() + wait).max(entry.last[to as usize]);
        entry.last[to as usize] = due;
        self.queue.at(due, Happening::Arrive { conn, to, packet });
    }

    fn latency(&mut self) -> Duration {
        let slow = self.chaos && self.weather.slow_link && self.random.chance(100);
        if slow { self.random.ms(500..=6_000) } else { self.random.ms(2..=60) }
    }

    /// One end closes a connection. The other end hears of it after a while, or by its own keep-alive.
    pub(super) fn hang_up(&mut self, conn: ConnId, by: End, silently: bool) {
        let entry = &mut self.broker.conns[conn];
        entry.open[by as usize] = false;
        let other = if by == End::Client { End::Broker } else { End::Client };
        if !entry.open[other as usize] {
            return;
        }
        entry.deaf |= silently;
        let wait = if silently { KEEP_ALIVE } else { self.random.ms(1..=40) };
        self.queue.after(wait, Happening::Ended { conn, end: other });
        if by == End::Broker {
            self.broker_forgets(conn);
        }
    }

    /// The connection of a client stops carrying anything, and nobody is told.
    pub(super) fn go_deaf(&mut self, conn: ConnId) {
        let entry = &mut self.broker.conns[conn];
        if entry.deaf || entry.open != [true, true] {
            return;
        }
        entry.deaf = true;
        for end in [End::Client, End::Broker] {
            self.queue.after(KEEP_ALIVE, Happening::Ended { conn, end });
        }
    }

    /// The network breaks a connection; both ends notice soon.
    pub(super) fn cut(&mut self, conn: ConnId) {
        if self.broker.conns[conn].open != [true, true] {
            return;
        }
        self.broker.conns[conn].deaf = true;
        for end in [End::Client, End::Broker] {
            let wait = self.random.ms(1..=200);
            self.queue.after(wait, Happening::Ended { conn, end });
        }
    }

    /// An end notices that a connection is gone.
    pub(super) fn handle_ended(&mut self, conn: ConnId, end: End) {
        let entry = &mut self.broker.conns[conn];
        if !std::mem::replace(&mut entry.open[end as usize], false) {
            return;
        }
        let client = entry.client;
        match (end, client) {
            (End::Broker, _) => {
                self.broker_forgets(conn);
                self.last_will(client);
            }
            (End::Client, Client::Box(at)) => self.box_disconnected(at, conn),
            (End::Client, Client::Cloud) => self.cloud_disconnected(conn),
        }
    }

    /// A packet arrives, if its connection still stands.
    pub(super) fn handle_arrival(&mut self, conn: ConnId, to: End, packet: Packet) {
        let entry = &self.broker.conns[conn];
        // What had reached the broker's machine is worked on even when the client is gone by now.
        if entry.deaf || !entry.open[to as usize] {
            return;
        }
        match (to, entry.client) {
            (End::Broker, client) => self.broker_receives(conn, client, packet),
            (End::Client, Client::Box(at)) => self.box_receives(at, conn, packet),
            (End::Client, Client::Cloud) => self.cloud_receives(conn, packet),
        }
    }

    fn broker_receives(&mut self, conn: ConnId, client: Client, packet: Packet) {
        if !self.broker.up {
            return self.hang_up(conn, End::Broker, false);
        }
        match packet {
            Packet::Connect => self.let_in(conn, client),
            Packet::Publish { token, message } => {
                let delivered = self.route(message);
                self.send(conn, End::Client, Packet::Puback { token, delivered });
            }
            Packet::Taken { delivery } => {
                self.broker.unanswered.remove(&delivery);
            }
            Packet::Accepted | Packet::Puback { .. } | Packet::Deliver { .. } => {}
        }
    }

    fn let_in(&mut self, conn: ConnId, client: Client) {
        self.send(conn, End::Client, Packet::Accepted);
        let (older, mut waiting) = match client {
            Client::Box(at) => {
                let agent = self.boxes[at].agent.clone();
                let filter = topic::down_filter(&self.boxes[at].site, &agent);
                let prefix = filter.trim_end_matches('#').to_owned();
                let kept = self.broker.retained.iter().filter(|(topic, _)| topic.starts_with(&prefix));
                let kept = kept.map(|(_, message)| message.clone()).collect::<Vec<_>>();
                (self.broker.agents.insert(agent, conn), kept)
            }
            Client::Cloud => {
                let kept = self.broker.retained.values();
                let kept =
                    kept.filter(|message| message.topic.ends_with("/up/state")).cloned().collect::<Vec<_>>();
                (self.broker.cloud.replace(conn), kept)
            }
        };
        // The same name again: the older connection is taken over.
        if let Some(older) = older {
            self.hang_up(older, End::Broker, false);
        }
        if client == Client::Cloud {
            let again = std::mem::take(&mut self.broker.unanswered);
            if self.broker.keeps_session {
                waiting.extend(again.into_values());
                waiting.extend(std::mem::take(&mut self.broker.queue));
            }
        }
        for message in waiting {
            self.deliver(conn, client, message);
        }
    }

    /// Hands a message on; whether anybody is subscribed to it.
    pub(super) fn route(&mut self, mut message: Message) -> bool {
        if message.retained {
            if message.payload.is_empty() {
                self.broker.retained.remove(&message.topic);
            } else {
                self.broker.retained.insert(message.topic.clone(), message.clone());
            }
            message.retained = false;
        }
        let Some((_, agent, subject)) = topic::parse(&message.topic) else { return false };
        let upward = matches!(subject, Subject::Events | Subject::State | Subject::Replies);
        let (conn, client) = if upward {
            (self.broker.cloud, Client::Cloud)
        } else {
            let at = self.boxes.iter().position(|other| other.agent == agent).unwrap_or_default();
            (self.broker.agents.get(&agent).copied(), Client::Box(at))
        };
        let Some(conn) = conn else {
            if upward && self.broker.keeps_session && self.broker.queue.len() < QUEUE_MAX {
                self.broker.queue.push_back(message);
                return true;
            }
            return upward && self.broker.keeps_session;
        };
        // What is retained finds its way with the next connection; a loss of it would show nothing but that.
        let may_be_lost = !matches!(subject, Subject::State | Subject::Catalogue { .. });
        if self.chaos && may_be_lost && self.random.chance(self.weather.lost_per_mille) {
            return true;
        }
        if self.chaos && self.random.chance(self.weather.repeated_per_mille) {
            let wait = self.random.ms(0..=20_000);
            self.queue.after(wait, Happening::Repeat { message: message.clone() });
        }
        if self.chaos && self.random.chance(self.weather.overtaken_per_mille) {
            let wait = self.random.ms(50..=15_000);
            self.queue.after(wait, Happening::Repeat { message });
        } else {
            self.deliver(conn, client, message);
        }
        true
    }

    /// A message that was held back, or a second copy of one, goes to whoever is connected now.
    pub(super) fn repeat(&mut self, message: Message) {
        let Some((_, agent, subject)) = topic::parse(&message.topic) else { return };
        let upward = matches!(subject, Subject::Events | Subject::State | Subject::Replies);
        let conn = if upward { self.broker.cloud } else { self.broker.agents.get(&agent).copied() };
        if let Some(conn) = conn
            && self.broker.up
        {
            let client = self.broker.conns[conn].client;
            self.deliver(conn, client, message);
        }
    }

    fn deliver(&mut self, conn: ConnId, client: Client, message: Message) {
        self.broker.deliveries += 1;
        let delivery = self.broker.deliveries;
        if client == Client::Cloud {
            self.broker.unanswered.insert(delivery, message.clone());
        }
        self.send(conn, End::Client, Packet::Deliver { delivery, message });
    }

    fn broker_forgets(&mut self, conn: ConnId) {
        self.broker.agents.retain(|_, current| *current != conn);
        if self.broker.cloud == Some(conn) {
            self.broker.cloud = None;
        }
    }

    /// SIGKILL, without persistence: what it had acknowledged and not delivered is gone.
    pub(super) fn kill_broker(&mut self) {
        self.log(|| "broker: killed, everything forgotten".into());
        for conn in 0..self.broker.conns.len() {
            if self.broker.conns[conn].open[End::Broker as usize] {
                self.hang_up(conn, End::Broker, false);
            }
        }
        let conns = std::mem::take(&mut self.broker.conns);
        self.broker = Broker { up: false, conns, ..Broker::new(self.broker.keeps_session) };
    }

    /// It runs again, and knows nothing.
    pub(super) fn start_broker(&mut self) {
        self.log(|| "broker: started".into());
        self.broker.up = true;
    }

    /// Whether it runs.
    pub(super) fn broker_is_up(&self) -> bool {
        self.broker.up
    }
}
