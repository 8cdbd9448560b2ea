//! The decisions of ingest about a group, on values alone.

use std::collections::{BTreeSet, HashMap};

use stockwire_protocol::cbor::{DecodeError, Message};
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{
    Ack, AgentId, Batch, Body, Digest, Event, MovementId, Reference, Refusal, Reply, Sequence, SiteId, State,
    StateKind,
};

use super::desk::{Arrived, Desk, Stream, Taken};
use super::{
    Alarm, AppliedWrite, Known, KnownEvent, Need, Outcome, Publish, Replay, StreamKey, StreamSpan, Writes,
};
use crate::catalogue::{Index, ItemNo, PlaceNo};
use crate::code::{self, CodeKey, Codes};
use crate::dead_letter::{DeadLetterClass, DeadLetterId, NewDeadLetter};
use crate::ledger::{self, Booking};
use crate::task;

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
    /// What unknown codes of this group mean, as far as the store has told.
    codes: Codes,
}

enum Arrival {
    Batch(Arrived),
    State { site: SiteId, state: State, retained: bool },
    Reply { site: SiteId, agent: AgentId, reply: Reply },
    Bad { letter: NewDeadLetter, refusal: Refusal },
}

impl Group {
    pub(super) fn read(received_at_ms: i64, publishes: &[Publish<'_>]) -> Self {
        let mut group = Self {
            received_at_ms,
            arrivals: Vec::new(),
            streams: Vec::new(),
            latest: Vec::new(),
            shelves: Vec::new(),
            codes: Codes::default(),
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
                Err(bad) => {
                    let (letter, refusal) = *bad;
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
        let mut codes: BTreeSet<CodeKey> = BTreeSet::new();
        let mut tasks: BTreeSet<(SiteId, Reference)> = BTreeSet::new();
        for arrival in &self.arrivals {
            if let Arrival::Batch(arrived) = arrival {
                let site = &arrived.site;
                for event in &arrived.batch.events {
                    codes.extend(code::needed(event, self.received_at_ms));
                    shelves.extend(counted(index, &self.codes, self.received_at_ms, (site, event)));
                    tasks.extend(task::names(event).map(|name| (site.clone(), name)));
                }
            }
        }
        self.shelves = shelves.into_iter().collect();
        Need {
            streams: self.streams.clone(),
            latest: self.latest.clone(),
            shelves: self.shelves.clone(),
            event: None,
            codes: codes.into_iter().collect(),
            tasks: tasks.into_iter().collect(),
        }
    }

    /// What codes mean; `false` when that is news, which may ask for other balances than were loaded.
    pub(super) fn learn(&mut self, codes: &Codes) -> bool {
        let known = self.codes == *codes;
        if !known {
            self.codes.clone_from(codes);
        }
        known
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
                    acks.put(&arrived.site, key, (stream.watermark, stream.digest), refusal);
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
                    let Some(Some((epoch, watermark, digest))) = at.and_then(|at| known.latest.get(at))
                    else {
                        continue;
                    };
                    acks.put(
                        site,
                        &StreamKey { agent: agent.clone(), epoch: *epoch },
                        (*watermark, *digest),
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
pub(super) fn replay_need(
    index: &Index,
    codes: &Codes,
    at_ms: i64,
    movement: &MovementId,
    held: &KnownEvent,
) -> Need {
    let mut need = Need { event: Some(movement.clone()), ..Need::default() };
    if let Ok(event) = Event::decode(&held.bytes) {
        need.shelves.extend(counted(index, codes, at_ms, (&held.site, &event)));
        need.codes = code::needed(&event, at_ms);
        need.tasks = task::names(&event).map(|name| (held.site.clone(), name)).collect();
    }
    need
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
    let shelves: Vec<_> = counted(index, &known.codes, at_ms, (&held.site, &event)).into_iter().collect();
    let mut desk = Desk::new(index, known, &shelves, at_ms);
    match desk.apply(&held.site, &event) {
        Ok((Some(transfer), resolved)) => {
            let ledger = desk.row(None, transfer);
            desk.do_tasks(&held.site, resolved.as_ref().unwrap_or(&event));
            let resolved = resolved.map(|resolved| resolved.encode());
            desk.writes.applied = Some(AppliedWrite { movement: movement.clone(), ledger, resolved });
            desk.writes.close = close;
            (Some(desk.finish().0), Replay::Applied)
        }
        Ok((None, _)) => refused("the event moves no stock".into()),
        Err(fault) => refused(fault.to_string()),
    }
}

enum Read {
    Batch(SiteId, Batch),
    State(SiteId, State),
    Reply(SiteId, AgentId, Reply),
}

/// Topic, then bytes, then whether the one may say what the other says.
fn read(publish: &Publish<'_>) -> Result<Read, Box<(NewDeadLetter, Refusal)>> {
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
        Box::new((letter, refusal))
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
        Subject::Acks
        | Subject::Commands
        | Subject::Catalogue { .. }
        | Subject::CatalogueChanges
        | Subject::Tasks { .. }
        | Subject::TasksChanges => Err(bad(
            DeadLetterClass::Identity,
            "agents do not speak on this topic".into(),
            Refusal::Malformed,
        )),
    }
}

/// The shelf whose balance a count needs, when the catalogue has it.
fn counted(
    index: &Index,
    codes: &Codes,
    at_ms: i64,
    (site, event): (&SiteId, &Event),
) -> Option<(ItemNo, PlaceNo)> {
    if matches!(event.body, Body::Movement(_) | Body::Lost { .. } | Body::Handling(_)) {
        return None;
    }
    let resolved = code::resolve(index, codes, site, event, at_ms);
    let event = resolved.as_ref().unwrap_or(event);
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
    fn put(
        &mut self,
        site: &SiteId,
        key: &StreamKey,
        (watermark, digest): (Sequence, Digest),
        refusal: Option<Refusal>,
    ) {
        let same =
            |(_, agent, ack): &&mut (SiteId, AgentId, Ack)| *agent == key.agent && ack.epoch == key.epoch;
        match self.list.iter_mut().find(same) {
            Some((_, _, ack)) => {
                if watermark > ack.watermark {
                    (ack.watermark, ack.digest) = (watermark, digest);
                }
                ack.refusal = ack.refusal.or(refusal);
            }
            None => {
                let ack = Ack { epoch: key.epoch, watermark, digest, refusal };
                self.list.push((site.clone(), key.agent.clone(), ack));
            }
        }
    }
}
