//! The outbox against a gateway and a network that lose, double, delay and reorder: everything recorded must arrive
//! once and in order, and nothing may be trimmed that has not arrived.

// Helpers of tests: a failing unwrap is a failing test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;
use std::time::Duration;

use stockwire_agent::journal::{Journal, MemoryJournal, ReadLimit, contract, digest_at, digest_of};
use stockwire_agent::outbox::{AckOutcome, Outbox, OutboxConfig, REBUILD_AFTER, Stop, Transmit};
use stockwire_protocol::cbor::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Message as _};
use stockwire_protocol::{
    Ack, AgentId, Batch, Body, Command, CommandBody, CorrelationId, Digest, Epoch, Event, Refusal,
    ReplyResult, Sequence,
};

const ALL: ReadLimit = ReadLimit { events: usize::MAX, bytes: usize::MAX };

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn config() -> OutboxConfig {
    OutboxConfig::new(AgentId::new("box-1").unwrap())
}

fn epoch() -> Epoch {
    Epoch::from_bytes([7; 16])
}

/// The word of a gateway that holds what the journal holds.
fn ack(journal: &dyn Journal, watermark: u64, refusal: Option<Refusal>) -> Ack {
    let watermark = Sequence::new(watermark);
    let known = journal.watermark()..=journal.head();
    let digest =
        if known.contains(&watermark) { digest_at(journal, watermark).unwrap() } else { Digest::START };
    Ack { epoch: epoch(), watermark, digest, refusal }
}

/// The word of a gateway that holds these events.
fn ack_of(committed: &[Event], refusal: Option<Refusal>) -> Ack {
    let digest = digest_of(Digest::START, committed);
    Ack { epoch: epoch(), watermark: Sequence::new(committed.len() as u64), digest, refusal }
}

/// An outbox on a memory journal, connected at 0.
struct Desk {
    journal: MemoryJournal,
    outbox: Outbox,
    recorded: u64,
}

impl Desk {
    fn new(config: OutboxConfig) -> Self {
        let journal = MemoryJournal::new(epoch());
        let mut outbox = Outbox::new(config, &journal);
        outbox.handle_connected(Duration::ZERO);
        Self { journal, outbox, recorded: 0 }
    }

    fn record(&mut self, count: u64) {
        self.journal.append(&contract::events(self.recorded, self.recorded + count)).unwrap();
        self.recorded += count;
    }

    fn poll(&mut self, now: Duration) -> Option<Transmit> {
        let transmit = self.outbox.poll_transmit(now, &self.journal).unwrap()?;
        let batch = Batch::decode(&transmit.payload).unwrap();
        assert_eq!((batch.first, batch.last(), batch.epoch), (transmit.first, transmit.last, epoch()));
        assert!(transmit.payload.len() <= BATCH_BYTES_MAX && batch.events.len() <= BATCH_EVENTS_MAX);
        Some(transmit)
    }

    /// Everything that may be sent now, as `first-last`.
    fn sends(&mut self, now: Duration) -> String {
        let sent = std::iter::from_fn(|| self.poll(now).map(|t| format!("{}-{}", t.first, t.last)));
        sent.collect::<Vec<_>>().join(" ")
    }

    fn ack(&mut self, now: Duration, watermark: u64, refusal: Option<Refusal>) -> AckOutcome {
        let ack = ack(&self.journal, watermark, refusal);
        self.outbox.handle_ack(now, &ack, &mut self.journal).unwrap()
    }

    fn watermark(&self) -> u64 {
        self.journal.watermark().get()
    }
}

#[test]
fn a_window_of_batches_and_no_more_until_the_gateway_speaks() {
    let mut desk = Desk::new(config());
    assert_eq!(desk.sends(seconds(0)), "");
    desk.record(1);
    assert_eq!(desk.sends(seconds(0)), "1-1", "a live scan goes alone and at once");
    desk.record(2);
    assert_eq!(desk.sends(seconds(0)), "2-3");
    desk.record(2_000);
    assert_eq!(desk.sends(seconds(0)), "4-259 260-515", "full batches when there is a backlog");
    assert_eq!(desk.ack(seconds(1), 3, None), AckOutcome::Progress { watermark: Sequence::new(3) });
    assert_eq!(desk.sends(seconds(1)), "516-771 772-1027");
    assert_eq!(desk.watermark(), 3);
}

#[test]
fn a_puback_is_only_the_brokers_word() {
    let mut desk = Desk::new(config());
    desk.record(2_000);
    let tokens: Vec<_> =
        std::iter::from_fn(|| desk.poll(seconds(0))).map(|transmit| transmit.token).collect();
    assert_eq!(tokens.len(), 4);
    tokens.iter().for_each(|token| desk.outbox.handle_puback(seconds(0), *token, true));
    assert_eq!(desk.watermark(), 0, "the broker's PUBACK trims nothing");
    assert_eq!(desk.journal.kept_after(), Sequence::NONE);
    assert_eq!(desk.sends(seconds(1)), "", "and opens no window at the gateway");
}

#[test]
fn a_publish_that_the_broker_refused_is_sent_again_after_a_growing_pause() {
    let mut desk = Desk::new(config());
    desk.record(1);
    let mut now = seconds(0);
    for pause in [2, 4, 8, 16, 32, 60, 60] {
        let token = desk.poll(now).unwrap().token;
        desk.outbox.handle_puback(now, token, false);
        desk.outbox.handle_puback(now, token, false);
        assert_eq!(desk.sends(now), "");
        assert_eq!(desk.outbox.poll_timeout(), Some(now + seconds(pause)));
        now += seconds(pause);
        assert_eq!(desk.outbox.handle_timeout(now), None);
    }
    assert_eq!(desk.sends(now), "1-1");
    assert_eq!(desk.outbox.status().undelivered, 7);
    desk.ack(now, 1, None);
    assert_eq!(desk.outbox.status().undelivered, 0);
}

#[test]
fn a_gap_is_sent_again_once_although_every_batch_above_tells_of_it() {
    let mut desk = Desk::new(OutboxConfig { batch_events_max: 10, ..config() });
    desk.record(40);
    assert_eq!(desk.sends(seconds(0)), "1-10 11-20 21-30 31-40");
    assert_eq!(desk.ack(seconds(1), 10, None), AckOutcome::Progress { watermark: Sequence::new(10) });
    let gap = Some(Refusal::Gap);
    assert_eq!(desk.ack(seconds(1), 10, gap), AckOutcome::GoingBack { to: Sequence::new(10) });
    assert_eq!(desk.sends(seconds(1)), "11-20 21-30 31-40");
    assert_eq!(desk.ack(seconds(1), 10, gap), AckOutcome::Unchanged, "the echo of the same gap");
    assert_eq!(desk.sends(seconds(1)), "");
    assert_eq!(desk.ack(seconds(2), 20, gap), AckOutcome::GoingBack { to: Sequence::new(20) }, "another gap");
    assert_eq!(desk.sends(seconds(2)), "21-30 31-40");
}

#[test]
fn a_repeated_watermark_is_a_gap_too() {
    let mut desk = Desk::new(OutboxConfig { batch_events_max: 10, ..config() });
    desk.record(30);
    desk.sends(seconds(0));
    desk.ack(seconds(0), 10, None);
    assert_eq!(desk.ack(seconds(0), 10, None), AckOutcome::Unchanged);
    assert_eq!(desk.ack(seconds(0), 10, None), AckOutcome::Unchanged);
    assert_eq!(desk.ack(seconds(0), 10, None), AckOutcome::GoingBack { to: Sequence::new(10) });
    assert_eq!(desk.sends(seconds(0)), "11-20 21-30");
    desk.ack(seconds(0), 30, None);
    for _ in 0..10 {
        assert_eq!(
            desk.ack(seconds(0), 30, None),
            AckOutcome::Unchanged,
            "with nothing in flight it means nothing"
        );
    }
}

#[test]
fn silence_of_the_gateway_sends_again_more_slowly_and_then_asks_for_a_new_client() {
    let mut desk = Desk::new(config());
    desk.record(1);
    let mut now = seconds(0);
    let mut rebuilds = Vec::new();
    for (at, wait) in [10, 20, 40, 60, 60, 60].into_iter().enumerate() {
        assert_eq!(desk.sends(now), "1-1");
        assert_eq!(desk.outbox.poll_timeout(), Some(now + seconds(wait)));
        assert_eq!(desk.outbox.handle_timeout(now + seconds(wait) - Duration::from_nanos(1)), None);
        assert_eq!(desk.sends(now), "");
        now += seconds(wait);
        if desk.outbox.handle_timeout(now).is_some() {
            rebuilds.push(at + 1);
            desk.outbox.handle_disconnected(now);
            assert_eq!(desk.outbox.poll_timeout(), None, "no waking up without a link");
            assert_eq!(desk.sends(now), "");
            desk.outbox.handle_connected(now);
        }
    }
    assert_eq!(rebuilds, [REBUILD_AFTER as usize, 2 * REBUILD_AFTER as usize]);
    assert_eq!(desk.sends(now), "1-1");
    desk.ack(now, 1, None);
    assert_eq!((desk.outbox.status().timeouts, desk.outbox.poll_timeout()), (0, None));
}

#[test]
fn refusals_stop_sending_are_shown_and_tried_again_slowly() {
    for (refusal, stop) in [
        (Refusal::Version, Stop::Version),
        (Refusal::Malformed, Stop::Malformed),
        (Refusal::Conflict, Stop::Conflict),
        (Refusal::Unknown, Stop::UnknownAgent),
    ] {
        let mut desk = Desk::new(OutboxConfig { batch_events_max: 10, ..config() });
        desk.record(30);
        desk.sends(seconds(0));
        assert_eq!(desk.ack(seconds(1), 10, Some(refusal)), AckOutcome::Refused { refusal });
        assert_eq!(desk.outbox.status().stop, Some(stop));
        assert_eq!(desk.watermark(), if refusal == Refusal::Conflict { 0 } else { 10 });
        assert_eq!(desk.sends(seconds(2)), "");
        desk.outbox.handle_disconnected(seconds(2));
        desk.outbox.handle_connected(seconds(2));
        assert_eq!(desk.sends(seconds(2)), "", "a flapping link does not hammer");
        assert_eq!(desk.outbox.poll_timeout(), Some(seconds(301)));
        desk.outbox.handle_timeout(seconds(301));
        assert!(desk.sends(seconds(301)).ends_with("21-30"));
    }
}

#[test]
fn while_a_conflict_stands_no_watermark_is_trusted() {
    let mut desk = Desk::new(OutboxConfig { batch_events_max: 10, ..config() });
    desk.record(30);
    desk.sends(seconds(0));
    desk.ack(seconds(1), 20, Some(Refusal::Conflict));
    assert_eq!(desk.ack(seconds(1), 30, None), AckOutcome::Ignored);
    assert_eq!(desk.ack(seconds(1), 20, Some(Refusal::Gap)), AckOutcome::Ignored);
    assert_eq!(desk.watermark(), 0);
}

#[test]
fn acks_of_other_lives_of_the_journal_are_ignored() {
    let mut desk = Desk::new(config());
    desk.record(3);
    desk.sends(seconds(0));
    let other = Ack { epoch: Epoch::from_bytes([8; 16]), ..ack(&desk.journal, 3, None) };
    let outcome = desk.outbox.handle_ack(seconds(0), &other, &mut desk.journal).unwrap();
    assert_eq!((outcome, desk.watermark()), (AckOutcome::OtherEpoch, 0));
}

/// F14: the disk was restored from an old copy, and scanned on before the gateway was heard of.
#[test]
fn a_restored_journal_never_takes_new_scans_for_acknowledged_ones() {
    let mut old = MemoryJournal::new(epoch());
    old.append(&contract::events(0, 50)).unwrap();
    contract::acknowledge(&mut old, Sequence::new(40)).unwrap();

    // The gateway holds 100: 60 of them made after the copy was taken.
    let mut outbox = Outbox::new(config(), &old);
    old.append(&contract::events(1_000, 1_020)).unwrap();
    let outcome = outbox.handle_ack(seconds(0), &ack(&old, 100, None), &mut old).unwrap();
    let expected =
        AckOutcome::JournalBehindGateway { watermark: Sequence::new(100), head: Sequence::new(50) };
    assert_eq!((outcome, old.watermark()), (expected, Sequence::new(40)));
    outbox.handle_connected(seconds(0));
    assert_eq!(outbox.poll_transmit(seconds(0), &old).unwrap(), None, "no sequence is used twice");
    assert_eq!(outbox.poll_timeout(), None);
    assert_eq!(outbox.handle_ack(seconds(0), &ack(&old, 60, None), &mut old).unwrap(), AckOutcome::Ignored);
    let resend = Command { id: 1, body: CommandBody::Resend { epoch: epoch(), after: Sequence::new(45) } };
    outbox.handle_command(seconds(0), &resend, &old);
    assert_eq!(outbox.poll_transmit(seconds(0), &old).unwrap(), None, "not even when asked to");

    // With a new journal everything goes on, and late words about the old one change nothing.
    let mut new = MemoryJournal::new(Epoch::from_bytes([9; 16]));
    new.append(&contract::events(0, 2)).unwrap();
    outbox.handle_new_epoch(&new);
    let transmit = outbox.poll_transmit(seconds(0), &new).unwrap().unwrap();
    assert_eq!((transmit.first, transmit.last), (Sequence::new(1), Sequence::new(2)));
    assert_eq!(outbox.handle_ack(seconds(0), &ack(&new, 2, None), &mut new).unwrap(), AckOutcome::OtherEpoch);
}

/// F14 again: so much was scanned on the restored copy that its head lies above the gateway's watermark.
#[test]
fn an_ack_is_trusted_only_when_the_gateway_holds_our_events() {
    let mut journal = MemoryJournal::new(epoch());
    journal.append(&contract::events(0, 110)).unwrap();
    contract::acknowledge(&mut journal, Sequence::new(40)).unwrap();
    let mut outbox = Outbox::new(config(), &journal);
    outbox.handle_connected(seconds(0));
    let mut desk = Desk { journal, outbox, recorded: 110 };
    let theirs = [contract::events(0, 50), contract::events(1_000, 1_050)].concat();
    let told =
        |desk: &mut Desk, ack: &Ack| desk.outbox.handle_ack(seconds(0), ack, &mut desk.journal).unwrap();

    let contested = AckOutcome::Contested { watermark: Sequence::new(100) };
    assert_eq!(told(&mut desk, &ack_of(&theirs, None)), contested);
    assert_eq!(desk.watermark(), 40, "their 51 to 100 are not ours");
    assert_eq!(desk.sends(seconds(0)), "41-110", "so ours are sent from there, to be compared");
    assert_eq!(told(&mut desk, &ack_of(&theirs, None)), AckOutcome::Unchanged, "said once");
    assert_eq!(told(&mut desk, &ack_of(&theirs, Some(Refusal::Gap))), AckOutcome::Unchanged);
    let common = AckOutcome::Progress { watermark: Sequence::new(50) };
    assert_eq!(told(&mut desk, &ack_of(&theirs[..50], None)), common, "up to 50 they are the same");
    let conflict = ack_of(&theirs, Some(Refusal::Conflict));
    assert_eq!(told(&mut desk, &conflict), AckOutcome::Refused { refusal: Refusal::Conflict });
    assert_eq!(desk.watermark(), 50);
}

/// After a start nothing is sent twice that the gateway can vouch for.
#[test]
fn a_greeting_with_our_digest_is_believed_at_once() {
    let mut journal = MemoryJournal::new(epoch());
    journal.append(&contract::events(0, 40)).unwrap();
    let mut outbox = Outbox::new(OutboxConfig { batch_events_max: 10, ..config() }, &journal);
    outbox.handle_connected(seconds(0));
    let mut desk = Desk { journal, outbox, recorded: 40 };
    assert_eq!(desk.ack(seconds(0), 25, None), AckOutcome::Progress { watermark: Sequence::new(25) });
    assert_eq!(desk.sends(seconds(0)), "26-35 36-40");
}

/// F16: another box with this identity and a copy of this journal is sending, too.
#[test]
fn what_a_twin_recorded_is_not_taken_for_ours() {
    let mut desk = Desk::new(OutboxConfig { batch_events_max: 10, ..config() });
    desk.record(40);
    assert_eq!(desk.sends(seconds(0)), "1-10 11-20 21-30 31-40");
    let mut theirs = contract::events(0, 40);
    // One event differs in the middle, and all that follow are the same again.
    theirs[24] = contract::event(9_999);
    let outcome = desk.outbox.handle_ack(seconds(0), &ack_of(&theirs, None), &mut desk.journal).unwrap();
    assert_eq!(outcome, AckOutcome::Contested { watermark: Sequence::new(40) });
    assert_eq!((desk.watermark(), desk.sends(seconds(0)).as_str()), (0, "1-10 11-20 21-30 31-40"));
}

#[test]
fn a_gateway_restored_from_an_old_copy_gets_what_is_still_there_or_is_told() {
    let mut desk = Desk::new(OutboxConfig { batch_events_max: 10, ..config() });
    desk.record(30);
    desk.sends(seconds(0));
    desk.ack(seconds(0), 30, None);
    desk.record(5);
    assert_eq!(desk.sends(seconds(1)), "31-35");
    let gap = Some(Refusal::Gap);
    assert_eq!(desk.ack(seconds(1), 12, gap), AckOutcome::Unchanged, "an old word may come late");
    desk.outbox.handle_timeout(seconds(11));
    assert_eq!(desk.sends(seconds(11)), "31-35");
    assert_eq!(desk.ack(seconds(11), 12, gap), AckOutcome::GoingBack { to: Sequence::new(12) });
    assert_eq!(desk.sends(seconds(11)), "13-22 23-32 33-35");
    assert_eq!(desk.watermark(), 30, "our own watermark does not move back");

    // The same when the rows are gone: late messages stop nothing, a gateway that insists does.
    let mut journal = MemoryJournal::with_quota(epoch(), 2_000);
    let mut outbox = Outbox::new(config(), &journal);
    outbox.handle_connected(seconds(0));
    for round in 0..30 {
        journal.append(&contract::events(round * 5, round * 5 + 5)).unwrap();
        while outbox.poll_transmit(seconds(0), &journal).unwrap().is_some() {}
        let word = ack(&journal, round * 5 + 5, None);
        outbox.handle_ack(seconds(0), &word, &mut journal).unwrap();
    }
    assert!(journal.kept_after() > Sequence::NONE);
    journal.append(&contract::events(150, 151)).unwrap();
    assert!(outbox.poll_transmit(seconds(0), &journal).unwrap().is_some());
    let word = ack_of(&[], gap);
    let mut told = |at| outbox.handle_ack(seconds(at), &word, &mut journal).unwrap();
    assert_eq!([told(0), told(1), told(2), told(9)], [AckOutcome::Unchanged; 4]);
    assert_eq!(told(10), AckOutcome::Refused { refusal: Refusal::Gap });
    assert!(matches!(outbox.status().stop, Some(Stop::GatewayBehindJournal { watermark: 0, .. })));
}

/// Several gateways share an agent's batches, and what they say comes in any order.
#[test]
fn words_of_several_gateways_in_any_order_never_move_the_watermark_back() {
    for seed in 0..25_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |n: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % n as u64) as usize
        };
        let mut desk = Desk::new(OutboxConfig { batch_events_max: 10, ..config() });
        let (mut now, mut held, mut highest, mut resent) = (0, 0, 0, 0);
        let mut words: Vec<(u64, Option<Refusal>)> = Vec::new();
        for _ in 0..60 {
            desk.record(20);
            now += 1;
            // Each batch reaches some gateway at some time; each says what is committed then.
            let mut batches: Vec<(u64, u64)> = desk
                .sends(seconds(now))
                .split_whitespace()
                .filter_map(|batch| batch.split_once('-'))
                .map(|(first, last)| (first.parse().unwrap(), last.parse().unwrap()))
                .collect();
            while !batches.is_empty() {
                let (first, last) = batches.swap_remove(below(batches.len()));
                resent += u64::from(first <= held);
                let gap = first > held + 1;
                held = if gap { held } else { held.max(last) };
                words.push((held, gap.then_some(Refusal::Gap)));
            }
            for _ in 0..below(words.len() + 1) {
                let (watermark, refusal) = words.swap_remove(below(words.len()));
                desk.ack(seconds(now), watermark, refusal);
                highest = highest.max(watermark);
                assert_eq!(desk.watermark(), highest, "seed {seed}: neither back nor beyond what was said");
            }
            assert_eq!(desk.outbox.status().stop, None, "seed {seed}: late words are no reason to stop");
        }
        // Everybody is heard in the end, and then it goes on as with one.
        for (watermark, refusal) in words {
            desk.ack(seconds(now), watermark, refusal);
        }
        for _ in 0..200 {
            now += 10;
            desk.outbox.handle_timeout(seconds(now));
            for batch in desk.sends(seconds(now)).split_whitespace() {
                let (first, last) = batch.split_once('-').unwrap();
                let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
                assert!(first <= held + 1, "seed {seed}");
                held = held.max(last);
                desk.ack(seconds(now), held, None);
            }
        }
        assert_eq!((desk.watermark(), held), (1_200, 1_200), "seed {seed}, {resent} resent");
    }
}

#[test]
fn commands_are_answered() {
    let mut desk = Desk::new(config());
    desk.record(10);
    desk.sends(seconds(0));
    let mut command =
        |body| desk.outbox.handle_command(seconds(0), &Command { id: 7, body }, &desk.journal).result;
    let resend = |epoch, after| CommandBody::Resend { epoch, after: Sequence::new(after) };
    assert_eq!(command(CommandBody::Ping), ReplyResult::Done);
    assert!(matches!(command(resend(Epoch::from_bytes([1; 16]), 0)), ReplyResult::Refused(_)));
    assert_eq!(command(resend(epoch(), 11)), ReplyResult::Refused("the journal ends at 10".into()));
    assert_eq!(command(resend(epoch(), 4)), ReplyResult::Done);
    assert_eq!(desk.sends(seconds(0)), "5-10");
}

#[test]
fn the_largest_events_still_fit_into_batches() {
    let mut desk = Desk::new(config());
    let text = "\u{1F4E6}".repeat(CorrelationId::LENGTH_MAX);
    let mut events = contract::events(0, 600);
    for (at, event) in events.iter_mut().enumerate() {
        let Body::Movement(movement) = &mut event.body else { continue };
        let unique: String = text.chars().take(100).chain(format!("{at}").chars()).collect();
        movement.details.correlation = Some(CorrelationId::new(unique).unwrap());
    }
    desk.journal.append(&events).unwrap();
    let mut arrived = Vec::new();
    while (arrived.len() as u64) < 600 {
        let transmit = desk.poll(seconds(0)).expect("something is left");
        arrived.extend(Batch::decode(&transmit.payload).unwrap().events);
        desk.ack(seconds(0), transmit.last.get(), None);
    }
    assert_eq!(arrived, events);
}

/// The gateway's side in a few lines: applies in order, once, and compares what comes again.
#[derive(Default)]
struct Gateway {
    committed: Vec<Event>,
    digest: Digest,
    conflicts: u64,
}

impl Gateway {
    fn handle(&mut self, payload: &[u8]) -> Ack {
        let batch = Batch::decode(payload).unwrap();
        let mut refusal = None;
        for (id, event) in batch.identified() {
            let at = id.sequence.get() as usize - 1;
            match self.committed.get(at) {
                Some(known) if known == event => {}
                Some(_) => {
                    self.conflicts += 1;
                    refusal = Some(Refusal::Conflict);
                    break;
                }
                None if at == self.committed.len() => {
                    self.digest = self.digest.then(&event.encode());
                    self.committed.push(event.clone());
                }
                None => {
                    refusal = Some(Refusal::Gap);
                    break;
                }
            }
        }
        self.says(refusal)
    }

    fn says(&self, refusal: Option<Refusal>) -> Ack {
        let watermark = Sequence::new(self.committed.len() as u64);
        Ack { epoch: epoch(), watermark, digest: self.digest, refusal }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn take<T>(&mut self, queue: &mut VecDeque<T>) -> Option<T> {
        let at = self.below(queue.len().max(1) as u64) as usize;
        queue.remove(at)
    }
}

/// One seed: chaos, then quiet, then everything must agree.
fn run(seed: u64) -> u64 {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut desk = Desk::new(OutboxConfig { batch_events_max: 8, ..config() });
    let mut gateway = Gateway::default();
    let (mut up, mut down) = (VecDeque::<Transmit>::new(), VecDeque::<Ack>::new());
    let mut now = Duration::ZERO;
    for step in 0..600 {
        match random.below(16) {
            0..4 => desk.record(1 + random.below(5)),
            4..8 => up.extend(desk.poll(now)),
            8 | 9 => {
                // Delivered in any order, sometimes twice.
                if let Some(transmit) = random.take(&mut up) {
                    down.push_back(gateway.handle(&transmit.payload));
                    desk.outbox.handle_puback(now, transmit.token, true);
                    if random.below(5) == 0 {
                        up.push_back(transmit);
                    }
                }
            }
            10 | 11 => {
                if let Some(ack) = random.take(&mut down) {
                    desk.outbox.handle_ack(now, &ack, &mut desk.journal).unwrap();
                    if random.below(5) == 0 {
                        down.push_back(ack);
                    }
                }
            }
            12 => {
                // The broker acknowledges and loses, or refuses, or an ack is lost.
                match (random.below(3), random.take(&mut up)) {
                    (0, Some(transmit)) => desk.outbox.handle_puback(now, transmit.token, true),
                    (1, Some(transmit)) => desk.outbox.handle_puback(now, transmit.token, false),
                    _ => drop(random.take(&mut down)),
                }
            }
            13 => {
                desk.outbox.handle_disconnected(now);
                if random.below(2) == 0 {
                    up.clear();
                }
                desk.outbox.handle_connected(now);
            }
            14 => {
                now += Duration::from_millis(random.below(20_000));
                desk.outbox.handle_timeout(now);
            }
            _ => {
                // The agent starts again; messages of its earlier life are still on their way.
                desk.journal.reopen();
                desk.outbox = Outbox::new(OutboxConfig { batch_events_max: 8, ..config() }, &desk.journal);
                desk.outbox.handle_connected(now);
            }
        }
        let (watermark, committed) = (desk.watermark(), gateway.committed.len() as u64);
        assert!(
            watermark <= committed,
            "seed {seed}, step {step}: {watermark} trimmed, {committed} committed"
        );
        assert!(desk.outbox.status().in_flight <= config().window_batches, "seed {seed}, step {step}");
        assert_eq!(gateway.conflicts, 0, "seed {seed}, step {step}");
    }
    up.clear();
    down.clear();
    desk.outbox.handle_disconnected(now);
    desk.outbox.handle_connected(now);
    for _ in 0..1_000 {
        if desk.watermark() == desk.recorded {
            break;
        }
        match desk.poll(now) {
            Some(transmit) => {
                let ack = gateway.handle(&transmit.payload);
                desk.outbox.handle_ack(now, &ack, &mut desk.journal).unwrap();
            }
            None => {
                now = desk
                    .outbox
                    .poll_timeout()
                    .unwrap_or_else(|| panic!("seed {seed}: stuck without a time-out"));
                desk.outbox.handle_timeout(now);
            }
        }
    }
    assert_eq!(desk.watermark(), desk.recorded, "seed {seed}: not everything arrived in the quiet");
    assert!(
        gateway.committed == contract::events(0, desk.recorded),
        "seed {seed}: not what was recorded, in order"
    );
    desk.recorded
}

#[test]
fn whatever_the_network_does_everything_arrives_once_and_in_order() {
    let recorded: u64 = (0..120).map(run).sum();
    assert!(recorded > 20_000, "the chaos recorded too little to mean anything: {recorded}");
}

/// The same chaos on a journal that was copied, used on, and then replaced by its copy: F14 and F16.
#[test]
fn a_restored_copy_under_chaos_loses_no_new_scan() {
    let (mut told, mut conflicts) = (0, 0);
    for seed in 0..300u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut gateway = Gateway::default();
        let mut journal = MemoryJournal::new(epoch());
        let copied = 1 + random.below(40);
        journal.append(&contract::events(0, copied)).unwrap();
        contract::acknowledge(&mut journal, Sequence::new(random.below(copied + 1))).unwrap();
        gateway.committed = contract::events(0, copied + 1 + random.below(40));
        gateway.digest = digest_of(Digest::START, &gateway.committed);

        // Scanned on before or after the first word of the gateway, with a start in between or not.
        journal.append(&contract::events(5_000, 5_000 + random.below(60))).unwrap();
        let mut outbox = Outbox::new(OutboxConfig { batch_events_max: 8, ..config() }, &journal);
        journal.append(&contract::events(6_000, 6_000 + random.below(60))).unwrap();
        outbox.handle_connected(Duration::ZERO);
        let (mut up, mut down) = (VecDeque::<Transmit>::new(), VecDeque::<Ack>::new());
        if random.below(2) == 0 {
            down.push_back(gateway.says(None));
        }
        let mut behind = false;
        for _ in 0..200 {
            match random.below(3) {
                0 => up.extend(outbox.poll_transmit(Duration::ZERO, &journal).unwrap()),
                1 => down.extend(up.pop_front().map(|transmit| gateway.handle(&transmit.payload))),
                _ => {
                    if let Some(ack) = down.pop_front() {
                        let outcome = outbox.handle_ack(Duration::ZERO, &ack, &mut journal).unwrap();
                        behind |= matches!(outcome, AckOutcome::JournalBehindGateway { .. });
                    }
                }
            }
        }
        let read = journal.read(journal.kept_after(), ALL).unwrap();
        let trimmed = &read[..(journal.watermark().get() - journal.kept_after().get()) as usize];
        let at_gateway = &gateway.committed[..trimmed.len()];
        assert!(
            trimmed == at_gateway,
            "seed {seed}: a scan counts as acknowledged that the gateway does not have"
        );
        (told, conflicts) = (told + u64::from(behind), conflicts + gateway.conflicts);
    }
    assert!(
        told > 50 && conflicts > 50,
        "both ways of finding out must be met: {told} told, {conflicts} conflicts"
    );
}
