//! The decisions of ingest, on values alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sha2::{Digest as _, Sha256};
use stockwire_protocol::cbor::{DecodeError, Message};
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{
    Ack, AgentId, Batch, BizStep, Body, Details, Epoch, Event, IdError, Movement, MovementId, Place,
    Quantity, Reference, Refusal, Reply, Sequence, SiteId, State, StateKind, StationId, When,
};

use super::{
    Alarm, DeviceWrite, EventWrite, Known, KnownEvent, KnownStream, Mention, Need, Outcome, Publish, Replay,
    RowWrite, StreamKey, StreamSpan, StreamWrite, Writes,
};
use crate::catalogue::{ErpId, Index, ItemNo, PlaceNo};
use crate::dead_letter::{DeadLetterClass, DeadLetterId, NewDeadLetter};
use crate::ledger::{self, BalanceKey, Booking, LedgerId, OpeningLine, Shelves, Transfer, Unappliable};

/// A group of publishes, read.
pub(super) struct Group {
    received_at_ms: i64,
    arrivals: Vec<Arrival>,
    /// Streams of the batches, in the order of their first arrival.
    streams: Vec<StreamSpan>,
    /// Agents of unreadable bytes, in the order of arrival.
    latest: Vec<AgentId>,
    /// What is counted in this group; follows from the catalogue, see [`Group::need`].
    shelves: Vec<(ItemNo, PlaceNo)>,
}

enum Arrival {
    Batch(Arrived),
    State { site: SiteId, state: State, retained: bool },
    Reply { site: SiteId, agent: AgentId, reply: Reply },
    Bad { letter: NewDeadLetter, refusal: Refusal },
}

/// A batch with the bytes of each event, as the journal holds them.
struct Arrived {
    site: SiteId,
    /// Position in [`Group::streams`].
    stream: usize,
    batch: Batch,
    rows: Vec<Vec<u8>>,
}

impl Group {
    pub(super) fn read(received_at_ms: i64, publishes: &[Publish<'_>]) -> Self {
        let mut group = Self {
            received_at_ms,
            arrivals: Vec::new(),
            streams: Vec::new(),
            latest: Vec::new(),
            shelves: Vec::new(),
        };
        let mut numbers: HashMap<StreamKey, usize> = HashMap::new();
        for publish in publishes {
            let arrival = match read(publish) {
                Ok(Read::Batch(site, batch)) => {
                    let key = StreamKey { agent: batch.agent.clone(), epoch: batch.epoch };
                    let (first, last) = (batch.first, batch.last());
                    let stream = *numbers.entry(key.clone()).or_insert_with(|| {
                        group.streams.push(StreamSpan { key, first, last });
                        group.streams.len() - 1
                    });
                    let span = &mut group.streams[stream];
                    span.first = span.first.min(first);
                    span.last = span.last.max(last);
                    let rows = batch.events.iter().map(Message::encode).collect();
                    Arrival::Batch(Arrived { site, stream, batch, rows })
                }
                Ok(Read::State(site, state)) => Arrival::State { site, state, retained: publish.retained },
                Ok(Read::Reply(site, agent, reply)) => Arrival::Reply { site, agent, reply },
                Err((letter, refusal)) => {
                    if let Some((_, agent)) = &letter.agent
                        && !group.latest.contains(agent)
                    {
                        group.latest.push(agent.clone());
                    }
                    Arrival::Bad { letter, refusal }
                }
            };
            group.arrivals.push(arrival);
        }
        group
    }

    /// What must be known to decide, given the catalogue.
    pub(super) fn need(&mut self, index: &Index) -> Need {
        let mut shelves = BTreeSet::new();
        for arrival in &self.arrivals {
            if let Arrival::Batch(arrived) = arrival {
                for event in &arrived.batch.events {
                    shelves.extend(counted(index, &arrived.site, event));
                }
            }
        }
        self.shelves = shelves.into_iter().collect();
        Need {
            streams: self.streams.clone(),
            latest: self.latest.clone(),
            shelves: self.shelves.clone(),
            event: None,
        }
    }

    pub(super) fn decide(&self, index: &Index, known: &Known) -> (Writes, Outcome) {
        let mut desk = Desk::new(index, known, &self.shelves, self.received_at_ms);
        let mut acks = Acks::default();

        // Within a group a batch that overtook another is put behind it again: what would be a gap is none.
        let mut batches: Vec<&Arrived> = Vec::new();
        for arrival in &self.arrivals {
            if let Arrival::Batch(arrived) = arrival {
                batches.push(arrived);
            }
        }
        batches.sort_by_key(|arrived| (arrived.stream, arrived.batch.first));
        let mut desks: Vec<Stream<'_>> = self.streams.iter().zip(&known.streams).map(Stream::new).collect();
        for arrived in batches {
            let Some(stream) = desks.get_mut(arrived.stream) else { continue };
            let key = &self.streams[arrived.stream].key;
            match desk.take_batch(arrived, key, stream) {
                Taken::Yes(refusal) => {
                    acks.put(&arrived.site, key, stream.watermark, refusal);
                    desk.heard(&arrived.site, &key.agent).epoch = Some(key.epoch);
                }
                Taken::NotReady => desk.outcome.counts.deferred += 1,
            }
        }
        for arrival in &self.arrivals {
            match arrival {
                Arrival::Batch(_) => {}
                Arrival::State { site, state, retained } => {
                    let device = desk.heard(site, &state.agent);
                    device.state = Some(state.kind.clone());
                    device.retained = *retained;
                    if matches!(state.kind, StateKind::Online { .. }) {
                        desk.outcome.births.push((site.clone(), state.agent.clone()));
                    }
                }
                Arrival::Reply { site, agent, reply } => {
                    desk.outcome.replies.push((site.clone(), agent.clone(), reply.clone()));
                }
                Arrival::Bad { letter, refusal } => {
                    desk.outcome.counts.malformed += 1;
                    let alarm =
                        Alarm::Refused { topic: letter.source.clone(), reason: letter.reason.clone() };
                    desk.outcome.alarms.push(alarm);
                    desk.writes.dead_letters.push(letter.clone());
                    // The bytes name no stream that we could trust: the answer goes to the agent's latest.
                    let Some((site, agent)) = &letter.agent else { continue };
                    let at = self.latest.iter().position(|latest| latest == agent);
                    let Some(Some((epoch, watermark))) = at.and_then(|at| known.latest.get(at)) else {
                        continue;
                    };
                    acks.put(
                        site,
                        &StreamKey { agent: agent.clone(), epoch: *epoch },
                        *watermark,
                        Some(*refusal),
                    );
                }
            }
        }
        desk.outcome.acks = acks.list;
        desk.finish()
    }
}

/// What must be known to take up an event again.
pub(super) fn replay_need(index: &Index, movement: &MovementId, event: &KnownEvent) -> Need {
    let decoded = Event::decode(&event.bytes).ok();
    let shelves = decoded.and_then(|decoded| counted(index, &event.site, &decoded));
    Need { event: Some(movement.clone()), shelves: shelves.into_iter().collect(), ..Need::default() }
}

/// Applies an event that is held and was not applied; once.
pub(super) fn replay(
    index: &Index,
    known: &Known,
    at_ms: i64,
    letter: DeadLetterId,
    movement: &MovementId,
    by: &str,
) -> (Option<Writes>, Replay) {
    let refused = |reason: String| (None, Replay::StillRefused { reason });
    let Some(held) = &known.event else {
        return refused(format!("event {movement} is not there"));
    };
    let close = Some((letter, by.to_string()));
    if held.ledger.is_some() {
        return (Some(Writes { received_at_ms: at_ms, close, ..Writes::default() }), Replay::AlreadyApplied);
    }
    let event = match Event::decode(&held.bytes) {
        Ok(event) => event,
        Err(fault) => return refused(fault.to_string()),
    };
    if !index.sites.get(&held.site).is_some_and(|places| places.open) {
        return refused(format!("site {} has no opening stock yet", held.site));
    }
    let shelves: Vec<_> = counted(index, &held.site, &event).into_iter().collect();
    let mut desk = Desk::new(index, known, &shelves, at_ms);
    match desk.apply(&held.site, &event) {
        Ok(Some(transfer)) => {
            let id = desk.row(None, transfer);
            desk.writes.applied = Some((movement.clone(), id));
            desk.writes.close = close;
            (Some(desk.finish().0), Replay::Applied)
        }
        Ok(None) => refused("the event moves no stock".into()),
        Err(fault) => refused(fault.to_string()),
    }
}

enum Read {
    Batch(SiteId, Batch),
    State(SiteId, State),
    Reply(SiteId, AgentId, Reply),
}

/// Topic, then bytes, then whether the one may say what the other says.
fn read(publish: &Publish<'_>) -> Result<Read, (NewDeadLetter, Refusal)> {
    let parsed = topic::parse(publish.topic);
    let from = parsed.as_ref().map(|(site, agent, _)| (site.clone(), agent.clone()));
    let bad = |class, reason: String, refusal| {
        let letter = NewDeadLetter {
            class,
            reason,
            source: publish.topic.to_string(),
            bytes: publish.payload.to_vec(),
            agent: from.clone(),
            movement: None,
        };
        (letter, refusal)
    };
    let undecodable = |fault: DecodeError| match fault {
        DecodeError::Version { .. } => bad(DeadLetterClass::Version, fault.to_string(), Refusal::Version),
        _ => bad(DeadLetterClass::Malformed, fault.to_string(), Refusal::Malformed),
    };
    let stranger = |agent: &AgentId| {
        let reason = format!("the payload is {agent}'s, the topic is another's");
        bad(DeadLetterClass::Identity, reason, Refusal::Malformed)
    };
    let Some((site, agent, subject)) = parsed else {
        return Err(bad(DeadLetterClass::Identity, "the topic is none of ours".into(), Refusal::Malformed));
    };
    match subject {
        Subject::Events if publish.retained => {
            Err(bad(DeadLetterClass::Identity, "events are never retained".into(), Refusal::Malformed))
        }
        Subject::Events => {
            let batch = Batch::decode(publish.payload).map_err(undecodable)?;
            if batch.agent != agent {
                return Err(stranger(&batch.agent));
            }
            Ok(Read::Batch(site, batch))
        }
        Subject::State => {
            let state = State::decode(publish.payload).map_err(undecodable)?;
            if state.agent != agent {
                return Err(stranger(&state.agent));
            }
            Ok(Read::State(site, state))
        }
        Subject::Replies => {
            Ok(Read::Reply(site, agent, Reply::decode(publish.payload).map_err(undecodable)?))
        }
        Subject::Acks | Subject::Commands | Subject::Catalogue { .. } => Err(bad(
            DeadLetterClass::Identity,
            "agents do not speak on this topic".into(),
            Refusal::Malformed,
        )),
    }
}

/// The shelf whose balance a count needs, when the catalogue has it.
fn counted(index: &Index, site: &SiteId, event: &Event) -> Option<(ItemNo, PlaceNo)> {
    match &event.body {
        Body::Count(_) => match ledger::book(index, site, event) {
            Ok(Booking::Count { item, place, .. }) => Some((item, place)),
            _ => None,
        },
        _ => None,
    }
}

/// One ack for each stream, in the order of arrival: the newest watermark and the first refusal.
#[derive(Default)]
struct Acks {
    list: Vec<(SiteId, AgentId, Ack)>,
}

impl Acks {
    fn put(&mut self, site: &SiteId, key: &StreamKey, watermark: Sequence, refusal: Option<Refusal>) {
        let same =
            |(_, agent, ack): &&mut (SiteId, AgentId, Ack)| *agent == key.agent && ack.epoch == key.epoch;
        match self.list.iter_mut().find(same) {
            Some((_, _, ack)) => {
                ack.watermark = ack.watermark.max(watermark);
                ack.refusal = ack.refusal.or(refusal);
            }
            None => {
                let ack = Ack { epoch: key.epoch, watermark, refusal };
                self.list.push((site.clone(), key.agent.clone(), ack));
            }
        }
    }
}

/// A stream while its batches are taken.
struct Stream<'a> {
    known: &'a KnownStream,
    /// Sequence of the first row in `known.held`.
    held_first: Sequence,
    site: Option<SiteId>,
    watermark: Sequence,
    frozen: bool,
    /// Rows taken in this group: they follow the known watermark without holes.
    fresh: Vec<usize>,
    /// Position in [`Writes::streams`], once something is to be written.
    write: Option<usize>,
}

impl<'a> Stream<'a> {
    fn new((span, known): (&StreamSpan, &'a KnownStream)) -> Self {
        Self {
            known,
            held_first: span.first,
            site: known.site.clone(),
            watermark: known.watermark,
            frozen: known.frozen,
            fresh: Vec::new(),
            write: None,
        }
    }
}

enum Taken {
    Yes(Option<Refusal>),
    /// Neither applied nor answered: the agent sends it again.
    NotReady,
}

/// Where the decisions of one transaction are collected.
struct Desk<'a> {
    index: &'a Index,
    shelves: Shelves,
    ledger_next: u64,
    balances: HashMap<BalanceKey, i64>,
    offers: BTreeSet<ItemNo>,
    devices: BTreeMap<(SiteId, AgentId), DeviceWrite>,
    writes: Writes,
    outcome: Outcome,
}

impl<'a> Desk<'a> {
    fn new(index: &'a Index, known: &Known, followed: &[(ItemNo, PlaceNo)], received_at_ms: i64) -> Self {
        let mut shelves = Shelves::default();
        for (item, place) in followed {
            shelves.follow(*item, *place);
        }
        for (key, steps) in &known.balances {
            shelves.add(key, *steps);
        }
        Self {
            index,
            shelves,
            ledger_next: known.ledger_head.0 + 1,
            balances: HashMap::new(),
            offers: BTreeSet::new(),
            devices: BTreeMap::new(),
            writes: Writes { received_at_ms, ..Writes::default() },
            outcome: Outcome::default(),
        }
    }

    fn heard(&mut self, site: &SiteId, agent: &AgentId) -> &mut DeviceWrite {
        self.devices.entry((site.clone(), agent.clone())).or_insert_with(|| DeviceWrite {
            site: site.clone(),
            agent: agent.clone(),
            state: None,
            epoch: None,
            lost: 0,
            retained: false,
        })
    }

    /// One batch against its stream: the part that is known is compared, the part that is new is applied in order.
    fn take_batch(&mut self, arrived: &Arrived, key: &StreamKey, stream: &mut Stream<'_>) -> Taken {
        let batch = &arrived.batch;
        // Before an ERP has told of goods and places, and of what lies there, nothing could be booked rightly: not
        // taken and not answered, the batch stays in the journal it came from.
        let open = self.index.sites.get(&arrived.site).map(|places| places.open);
        if self.index.sites.is_empty() || open == Some(false) {
            return Taken::NotReady;
        }
        let moved = stream.site.as_ref().filter(|site| **site != arrived.site);
        if let Some(site) = moved {
            // A box that was carried to another site brings a journal of the old one: its events happened there.
            let reason =
                format!("journal {} belongs to site {site}, it came under {}", key.epoch, arrived.site);
            self.outcome.counts.malformed += 1;
            let topic = topic::topic(&arrived.site, &key.agent, Subject::Events);
            self.outcome.alarms.push(Alarm::Refused { topic: topic.clone(), reason: reason.clone() });
            self.writes.dead_letters.push(NewDeadLetter {
                class: DeadLetterClass::Identity,
                reason,
                source: topic,
                bytes: batch.encode(),
                agent: Some((arrived.site.clone(), key.agent.clone())),
                movement: None,
            });
            return Taken::Yes(Some(Refusal::Malformed));
        }
        // Events are missing before this batch: nothing of it is applied, the agent goes back to the watermark.
        if batch.first.get() > stream.watermark.get().saturating_add(1) {
            self.outcome.counts.gaps += 1;
            return Taken::Yes(Some(Refusal::Gap));
        }
        let known = (stream.watermark.get() + 1 - batch.first.get()).min(batch.events.len() as u64) as usize;
        for at in 0..known {
            if self.is_held(arrived, at, stream) {
                self.outcome.counts.events_duplicate += 1;
            } else {
                self.quarantine(arrived, at, key);
                stream.frozen = true;
            }
        }
        if stream.frozen {
            // Which of two lives the following events belong to cannot be known: none is merged.
            return Taken::Yes(Some(Refusal::Conflict));
        }
        for at in known..batch.events.len() {
            self.take_event(arrived, at, key, stream);
        }
        Taken::Yes(None)
    }

    /// Whether the event at `at`, at or below the watermark, is the one that is held under its identity.
    fn is_held(&self, arrived: &Arrived, at: usize, stream: &Stream<'_>) -> bool {
        let sequence = arrived.batch.first.get() + at as u64;
        let known_through = stream.known.watermark.get();
        let held = if sequence > known_through {
            let fresh = stream.fresh.get((sequence - known_through - 1) as usize);
            fresh.map(|event| &self.writes.events[*event].bytes)
        } else {
            stream.held(sequence)
        };
        // Equal bytes are the rule. Bytes of an older wire version may differ and still say the same.
        held.is_some_and(|held| {
            *held == arrived.rows[at]
                || Event::decode(held).is_ok_and(|held| held == arrived.batch.events[at])
        })
    }

    fn quarantine(&mut self, arrived: &Arrived, at: usize, key: &StreamKey) {
        let sequence = Sequence::new(arrived.batch.first.get() + at as u64);
        let movement = MovementId { agent: key.agent.clone(), epoch: key.epoch, sequence };
        self.outcome.counts.conflicts += 1;
        self.outcome.alarms.push(Alarm::Conflict { movement: movement.clone() });
        self.writes.dead_letters.push(NewDeadLetter {
            class: DeadLetterClass::Conflict,
            reason: format!("{movement} is held with other bytes"),
            source: topic::topic(&arrived.site, &key.agent, Subject::Events),
            bytes: arrived.rows[at].clone(),
            agent: Some((arrived.site.clone(), key.agent.clone())),
            movement: Some(movement),
        });
    }

    fn take_event(&mut self, arrived: &Arrived, at: usize, key: &StreamKey, stream: &mut Stream<'_>) {
        let (site, event) = (&arrived.site, &arrived.batch.events[at]);
        let sequence = Sequence::new(arrived.batch.first.get() + at as u64);
        let write = *stream.write.get_or_insert_with(|| {
            self.writes.streams.push(StreamWrite {
                key: key.clone(),
                site: site.clone(),
                watermark: sequence,
            });
            self.writes.streams.len() - 1
        });
        let movement = || MovementId { agent: key.agent.clone(), epoch: key.epoch, sequence };
        let number = self.writes.events.len();
        let ledger = match self.apply(site, event) {
            Ok(transfer) => transfer.map(|transfer| self.row(Some(number), transfer)),
            Err(fault) => {
                // Durable here all the same: its identity is used up and the stream goes on behind it.
                self.set_aside(site, movement(), &fault, &arrived.rows[at]);
                None
            }
        };
        if let Body::Lost { count } = event.body {
            self.outcome.counts.lost = self.outcome.counts.lost.saturating_add(count);
            self.outcome.alarms.push(Alarm::Lost { movement: movement(), count });
            let device = self.heard(site, &key.agent);
            device.lost = device.lost.saturating_add(count);
        }
        self.mention(number, event);
        self.writes.events.push(EventWrite {
            stream: write,
            sequence,
            bytes: arrived.rows[at].clone(),
            ledger,
        });
        self.outcome.counts.events_new += 1;
        stream.fresh.push(number);
        stream.site.get_or_insert_with(|| site.clone());
        stream.watermark = sequence;
        self.writes.streams[write].watermark = sequence;
    }

    fn set_aside(&mut self, site: &SiteId, movement: MovementId, fault: &Unappliable, row: &[u8]) {
        let reason = fault.to_string();
        self.outcome.counts.unappliable += 1;
        self.outcome.alarms.push(Alarm::Unappliable { movement: movement.clone(), reason: reason.clone() });
        self.writes.dead_letters.push(NewDeadLetter {
            class: DeadLetterClass::Unappliable,
            reason,
            source: topic::topic(site, &movement.agent, Subject::Events),
            bytes: row.to_vec(),
            agent: Some((site.clone(), movement.agent.clone())),
            movement: Some(movement),
        });
    }

    /// What the event does to the books, a count resolved against what they say now.
    fn apply(&self, site: &SiteId, event: &Event) -> Result<Option<Transfer>, Unappliable> {
        Ok(self.shelves.adjustment(ledger::book(self.index, site, event)?))
    }

    /// Enters a transfer: a row, and its two entries into the balances.
    fn row(&mut self, event: Option<usize>, transfer: Transfer) -> LedgerId {
        let id = LedgerId(self.ledger_next);
        self.ledger_next += 1;
        for (key, steps) in transfer.entries() {
            self.shelves.add(&key, steps);
            *self.balances.entry(key).or_default() += steps;
        }
        if transfer.steps != 0 {
            self.outcome.affected.postings = true;
            if self.index.listed.contains(&transfer.item) {
                self.offers.insert(transfer.item);
            }
        }
        self.writes.rows.push(RowWrite { id, event, transfer });
        id
    }

    /// Words somebody may search for. The item is found by its number in the books.
    fn mention(&mut self, event: usize, recorded: &Event) {
        let Some(details) = details(recorded) else { return };
        let plate = details.license_plate.map(|plate| plate.to_string());
        let words = [
            details.correlation.as_ref().map(|word| word.as_str()),
            details.reference.as_ref().map(|word| word.as_str()),
            details.lot.as_ref().map(|word| word.as_str()),
            details.serial.as_ref().map(|word| word.as_str()),
            plate.as_deref(),
        ];
        let first = self.writes.mentions.len();
        for word in words.into_iter().flatten() {
            if self.writes.mentions[first..].iter().all(|mention| mention.word != word) {
                self.writes.mentions.push(Mention { word: word.to_string(), event });
            }
        }
    }

    fn finish(mut self) -> (Writes, Outcome) {
        self.outcome.affected.offers = !self.offers.is_empty();
        self.writes.offers = self.offers.into_iter().collect();
        self.writes.balances = self.balances.into_iter().filter(|(_, steps)| *steps != 0).collect();
        // Neighbours in the key are neighbours on the page, and replicas take their locks in one order.
        self.writes.balances.sort_unstable();
        self.writes.devices = self.devices.into_values().collect();
        (self.writes, self.outcome)
    }
}

impl Stream<'_> {
    /// The bytes held under a sequence at or below the known watermark.
    fn held(&self, sequence: u64) -> Option<&Vec<u8>> {
        let at = sequence.checked_sub(self.held_first.get())?;
        self.known.held.get(at as usize)
    }
}

fn details(event: &Event) -> Option<&Details> {
    match &event.body {
        Body::Movement(movement) => Some(&movement.details),
        Body::Count(count) => Some(&count.details),
        Body::Lost { .. } => None,
    }
}

/// The opening stock as events like any other, so that the books are rebuilt from events alone: one stream for
/// each site, under an agent name that no box has.
///
/// # Errors
/// The first line that the catalogue cannot hold, in words.
pub(crate) fn opening(
    index: &Index,
    head: LedgerId,
    at_ms: i64,
    (instance, erp): (&str, &ErpId),
    lines: &[OpeningLine],
) -> Result<Writes, String> {
    let text = |fault: IdError| fault.to_string();
    let agent = AgentId::new(format!("opening-{erp}")).map_err(text)?;
    let station = StationId::new("gateway").map_err(text)?;
    let reference = Reference::new("opening").map_err(text)?;
    let mut sites: BTreeMap<&SiteId, Vec<Event>> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.quantity.steps != 0) {
        let (loss, at) = (Place::Loss, Place::At(line.location.clone()));
        let (from, to) = if line.quantity.steps > 0 { (loss, at) } else { (at, loss) };
        let steps = line.quantity.steps.checked_abs().ok_or("an opening quantity is too large")?;
        let movement = Movement {
            step: BizStep::StockTaking,
            item: line.item.clone(),
            quantity: Quantity { steps, uom: line.quantity.uom },
            from,
            to,
            station: station.clone(),
            details: Details { reference: Some(reference.clone()), ..Details::default() },
        };
        let event = Event { when: When::Synced { unix_ms: at_ms }, body: Body::Movement(movement) };
        sites.entry(&line.site).or_default().push(event);
    }
    let known = Known { ledger_head: head, ..Known::default() };
    let mut desk = Desk::new(index, &known, &[], at_ms);
    let fresh = KnownStream::default();
    for (stream, (site, events)) in sites.into_iter().enumerate() {
        // Another database gives its opening another identity.
        let hash = Sha256::digest(format!("{instance}/{erp}/{site}"));
        let mut epoch = [0; 16];
        epoch.copy_from_slice(&hash[..16]);
        let key = StreamKey { agent: agent.clone(), epoch: Epoch::from_bytes(epoch) };
        let rows = events.iter().map(Message::encode).collect();
        let batch = Batch { agent: agent.clone(), epoch: key.epoch, first: Sequence::new(1), events };
        let span = StreamSpan { key: key.clone(), first: batch.first, last: batch.last() };
        let arrived = Arrived { site: site.clone(), stream, batch, rows };
        let mut state = Stream::new((&span, &fresh));
        for at in 0..arrived.batch.events.len() {
            desk.take_event(&arrived, at, &key, &mut state);
        }
    }
    let (writes, outcome) = desk.finish();
    match outcome.alarms.first() {
        Some(Alarm::Unappliable { reason, .. }) => Err(reason.clone()),
        _ => Ok(writes),
    }
}
