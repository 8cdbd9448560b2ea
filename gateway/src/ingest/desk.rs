//! Where the decisions of one transaction are made, event by event, and collected.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use stockwire_protocol::cbor::Message;
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{
    AgentId, Batch, Body, Content, Digest, Event, MovementId, RawScan, Reference, Refusal, Sequence, SiteId,
    TaskKind,
};

use super::{
    Alarm, BalanceWrite, DeviceWrite, EventWrite, Known, KnownStream, Mention, Outcome, PlaceKind, RowWrite,
    StreamKey, StreamSpan, StreamWrite, TaskWrite, Writes,
};
use crate::catalogue::{Index, ItemNo, PlaceNo};
use crate::code::{self, Codes};
use crate::dead_letter::{DeadLetterClass, NewDeadLetter};
use crate::ledger::{self, BalanceKey, LedgerId, Shelves, Transfer, Unappliable};
use crate::task::{self, KnownTask, TallyKey};

/// A batch with the bytes of each event, as the journal holds them.
pub(super) struct Arrived {
    pub(super) site: SiteId,
    /// Position among the streams of the group.
    pub(super) stream: usize,
    pub(super) batch: Batch,
    pub(super) rows: Vec<Vec<u8>>,
}

/// A stream while its batches are taken.
pub(super) struct Stream<'a> {
    known: &'a KnownStream,
    /// Sequence of the first row in `known.held`.
    held_first: Sequence,
    site: Option<SiteId>,
    pub(super) watermark: Sequence,
    pub(super) digest: Digest,
    frozen: bool,
    /// Rows taken in this group: they follow the known watermark without holes.
    fresh: Vec<usize>,
    /// Position in [`Writes::streams`], once something is to be written.
    write: Option<usize>,
}

impl<'a> Stream<'a> {
    pub(super) fn new((span, known): (&StreamSpan, &'a KnownStream)) -> Self {
        Self {
            known,
            held_first: span.first,
            site: known.site.clone(),
            watermark: known.watermark,
            digest: known.digest,
            frozen: known.frozen,
            fresh: Vec::new(),
            write: None,
        }
    }
}

pub(super) enum Taken {
    Yes(Option<Refusal>),
    /// Neither applied nor answered: the agent sends it again.
    NotReady,
}

/// Where the decisions of one transaction are collected.
pub(super) struct Desk<'a> {
    index: &'a Index,
    codes: &'a Codes,
    shelves: Shelves,
    /// Tasks that this transaction may touch, each with the keys under which something was added.
    tasks: Vec<(KnownTask, BTreeSet<TallyKey>)>,
    ledger_next: u64,
    balances: HashMap<BalanceKey, i64>,
    offers: BTreeSet<ItemNo>,
    devices: BTreeMap<(SiteId, AgentId), DeviceWrite>,
    pub(super) writes: Writes,
    pub(super) outcome: Outcome,
}

impl<'a> Desk<'a> {
    pub(super) fn new(
        index: &'a Index,
        known: &'a Known,
        followed: &[(ItemNo, PlaceNo)],
        received_at_ms: i64,
    ) -> Self {
        let mut shelves = Shelves::default();
        for (item, place) in followed {
            shelves.follow(*item, *place);
        }
        for (key, steps) in &known.balances {
            shelves.add(key, *steps);
        }
        Self {
            index,
            codes: &known.codes,
            shelves,
            tasks: known.tasks.iter().map(|task| (task.clone(), BTreeSet::new())).collect(),
            ledger_next: known.ledger_head.0 + 1,
            balances: HashMap::new(),
            offers: BTreeSet::new(),
            devices: BTreeMap::new(),
            writes: Writes { received_at_ms, ..Writes::default() },
            outcome: Outcome::default(),
        }
    }

    pub(super) fn heard(&mut self, site: &SiteId, agent: &AgentId) -> &mut DeviceWrite {
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
    pub(super) fn take_batch(
        &mut self,
        arrived: &Arrived,
        key: &StreamKey,
        stream: &mut Stream<'_>,
    ) -> Taken {
        let batch = &arrived.batch;
        // Before an ERP has told of goods and places, and of what lies there, nothing could be booked rightly: not
        // taken and not answered, the batch stays in the journal it came from.
        let open = self.index.sites.get(&arrived.site).map(|places| places.open);
        if self.index.sites.is_empty() || open == Some(false) {
            return Taken::NotReady;
        }
        let strange = match &stream.site {
            // A box that was carried to another site brings a journal of the old one: its events happened there.
            Some(site) if *site != arrived.site => {
                let reason =
                    format!("journal {} belongs to site {site}, it came under {}", key.epoch, arrived.site);
                Some((reason, Refusal::Malformed))
            }
            // A slip in the box's configuration: taken, the journal would belong to a site that never was.
            None if open.is_none() => {
                let reason = format!(
                    "site {} is not in the catalogue: correct the box's configuration, or add the site to the ERP",
                    arrived.site
                );
                Some((reason, Refusal::Unknown))
            }
            _ => None,
        };
        if let Some((reason, refusal)) = strange {
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
            return Taken::Yes(Some(refusal));
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

    pub(super) fn take_event(
        &mut self,
        arrived: &Arrived,
        at: usize,
        key: &StreamKey,
        stream: &mut Stream<'_>,
    ) {
        let (site, event) = (&arrived.site, &arrived.batch.events[at]);
        let sequence = Sequence::new(arrived.batch.first.get() + at as u64);
        let write = *stream.write.get_or_insert_with(|| {
            self.writes.streams.push(StreamWrite {
                key: key.clone(),
                site: site.clone(),
                watermark: sequence,
                digest: stream.digest,
            });
            self.writes.streams.len() - 1
        });
        let movement = || MovementId { agent: key.agent.clone(), epoch: key.epoch, sequence };
        let number = self.writes.events.len();
        let (ledger, resolved) = match self.apply(site, event) {
            Ok((transfer, resolved)) => {
                self.do_tasks(site, resolved.as_ref().unwrap_or(event));
                let resolved = resolved.map(|resolved| resolved.encode());
                (transfer.map(|transfer| self.row(Some(number), transfer)), resolved)
            }
            Err(fault) => {
                // Durable here all the same: its identity is used up and the stream goes on behind it.
                self.set_aside(site, movement(), &fault, &arrived.rows[at]);
                (None, None)
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
            resolved,
        });
        self.outcome.counts.events_new += 1;
        stream.fresh.push(number);
        stream.site.get_or_insert_with(|| site.clone());
        stream.watermark = sequence;
        stream.digest = stream.digest.then(&arrived.rows[at]);
        let write = &mut self.writes.streams[write];
        (write.watermark, write.digest) = (sequence, stream.digest);
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

    /// What the event does to the books, a count resolved against what they say now; and what it was taken for, when
    /// codes in it had to be resolved.
    pub(super) fn apply(
        &self,
        site: &SiteId,
        event: &Event,
    ) -> Result<(Option<Transfer>, Option<Event>), Unappliable> {
        let resolved = code::resolve(self.index, self.codes, site, event, self.writes.received_at_ms);
        let booking = ledger::book(self.index, site, resolved.as_ref().unwrap_or(event))?;
        Ok((self.shelves.adjustment(booking), resolved))
    }

    /// What the event, in the catalogue's words, does to the tasks that it names.
    pub(super) fn do_tasks(&mut self, site: &SiteId, event: &Event) {
        if self.tasks.is_empty() {
            return;
        }
        let facts = |item: &_| self.index.items.get(item).copied();
        let Some(effect) = task::effect(facts, event) else { return };
        let plated = |task: &KnownTask| {
            task.name.kind == TaskKind::Announced && effect.plate() == Some(task.name.id.as_str())
        };
        let own = |task: &&(KnownTask, _)| task.0.name.site == *site;
        let announced: Vec<Reference> = self
            .tasks
            .iter()
            .filter(own)
            .filter(|(task, _)| plated(task))
            .filter_map(|(task, _)| task.order.clone())
            .collect();
        for (task, keys) in self.tasks.iter_mut().filter(|task| task.0.name.site == *site) {
            if task.take(&effect, &announced) {
                keys.insert(effect.key().clone());
            }
        }
    }

    /// Enters a transfer: a row, and its two entries into the balances.
    pub(super) fn row(&mut self, event: Option<usize>, transfer: Transfer) -> LedgerId {
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
        let Some(details) = recorded.body.details() else { return };
        let inner = match &recorded.body {
            Body::Handling(handling) => match &handling.content {
                Some(Content::Plate(plate)) => Some(plate.to_string()),
                _ => None,
            },
            _ => None,
        };
        let scans: Vec<&RawScan> = match &recorded.body {
            Body::Unresolved(unresolved) => unresolved.scans().collect(),
            _ => Vec::new(),
        };
        let plate = details.license_plate.map(|plate| plate.to_string());
        let words = [
            details.correlation.as_ref().map(|word| word.as_str()),
            details.reference.as_ref().map(|word| word.as_str()),
            details.lot.as_ref().map(|word| word.as_str()),
            details.serial.as_ref().map(|word| word.as_str()),
            plate.as_deref(),
            inner.as_deref(),
        ];
        let first = self.writes.mentions.len();
        for word in words.into_iter().flatten().chain(scans.into_iter().map(RawScan::as_str)) {
            if self.writes.mentions[first..].iter().all(|mention| mention.word != word) {
                self.writes.mentions.push(Mention { word: word.to_string(), event });
            }
        }
    }

    pub(super) fn finish(mut self) -> (Writes, Outcome) {
        self.outcome.affected.offers = !self.offers.is_empty();
        self.writes.offers = self.offers.into_iter().collect();
        for (key, steps) in self.balances.into_iter().filter(|(_, steps)| *steps != 0) {
            let outside = self.index.virtual_places.contains(&key.place);
            let kind = if outside { PlaceKind::Virtual } else { PlaceKind::Physical };
            self.writes.balances.push(BalanceWrite { key, steps, kind });
        }
        // Neighbours in the key are neighbours on the page, and replicas take their locks in one order.
        self.writes.balances.sort_unstable();
        self.writes.devices = self.devices.into_values().collect();
        let touched = self.tasks.into_iter().filter(|(_, keys)| !keys.is_empty());
        self.writes.tasks = touched
            .map(|(task, keys)| {
                let tally =
                    |key: TallyKey| (key.clone(), task.tallies.get(&key).copied().unwrap_or_default());
                let tallies = keys.into_iter().map(tally).collect();
                TaskWrite { name: task.name.clone(), state: task.state, tallies }
            })
            .collect();
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
