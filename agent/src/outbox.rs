//! The sans-IO publisher: which events go to the gateway, when, and when again.
//!
//! ```text
//!  journal:   1 ......... watermark ......... cursor ......... head
//!             committed   |  in flight        |  not sent yet
//!             at the      |  (window of a few |
//!             gateway     |   batches)        |
//! ```
//!
//! - Batches are made of the oldest events first, so within an epoch the gateway sees them in order. When it keeps up
//!   they are small (one scan, one publish); when it lags they fill up to the limits by themselves.
//! - The broker's PUBACK proves nothing about the gateway: it neither moves the watermark nor trims anything.
//! - Only [`Ack`]s of this epoch move the watermark, and only when their digest says that the gateway's events up to
//!   there are ours. So a journal that was restored from an old copy, or one of two boxes with one identity, never takes
//!   its own scans for acknowledged ones (F14, F16).
//! - No progress for a while, or a gap at the gateway: go back and send again from the watermark.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use stockwire_protocol::cbor::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Message as _};
use stockwire_protocol::{
    Ack, AgentId, Batch, Command, CommandBody, Digest, Epoch, Refusal, Reply, ReplyResult, Sequence,
};

use crate::journal::{Journal, JournalError, ReadLimit, digest_at, digest_of};

/// Batches that the gateway has not acknowledged. Four full ones keep an uplink of 10 Mbit/s busy over a round trip of
/// 200 ms; more would only be sent twice after a break.
pub const WINDOW_BATCHES: usize = 4;
/// Round trip over a slow uplink, broker, gateway queue and database commit, with room to spare.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// While a gateway is down its agents still try about this often, so that they are back soon after it.
pub const ACK_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Time-outs in a row, with the broker connected all along, after which the client itself is suspected: some lose
/// queued publishes or wait for ever after a lost session.
pub const REBUILD_AFTER: u32 = 3;
/// A refused stream is mended by people (an update, an enrolment, a dead letter looked at), not by asking more often.
pub const REFUSED_RETRY: Duration = Duration::from_secs(5 * 60);
/// The broker refused or had no subscriber: the gateway is not there. First pause; it doubles up to `ACK_TIMEOUT_MAX`.
pub const UNDELIVERED_RETRY: Duration = Duration::from_secs(2);
/// The same watermark so often while batches are in flight: the gateway lacks what follows it.
pub const REPEATED_ACKS_MAX: u32 = 3;
/// What a batch needs besides its events: version, agent (at most 64 bytes), epoch, sequence, lengths.
const BATCH_HEADER_BYTES_MAX: usize = 256;

/// Limits and waits of an outbox; the constants of this file unless a test or a site knows better.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboxConfig {
    /// Who sends.
    pub agent: AgentId,
    /// See [`WINDOW_BATCHES`]; at least 1.
    pub window_batches: usize,
    /// See [`BATCH_EVENTS_MAX`].
    pub batch_events_max: usize,
    /// See [`ACK_TIMEOUT`].
    pub ack_timeout: Duration,
    /// See [`ACK_TIMEOUT_MAX`].
    pub ack_timeout_max: Duration,
    /// See [`REBUILD_AFTER`].
    pub rebuild_after: u32,
    /// See [`REFUSED_RETRY`].
    pub refused_retry: Duration,
    /// See [`UNDELIVERED_RETRY`].
    pub undelivered_retry: Duration,
}

impl OutboxConfig {
    /// The constants of this file.
    pub fn new(agent: AgentId) -> Self {
        Self {
            agent,
            window_batches: WINDOW_BATCHES,
            batch_events_max: BATCH_EVENTS_MAX,
            ack_timeout: ACK_TIMEOUT,
            ack_timeout_max: ACK_TIMEOUT_MAX,
            rebuild_after: REBUILD_AFTER,
            refused_retry: REFUSED_RETRY,
            undelivered_retry: UNDELIVERED_RETRY,
        }
    }
}

/// The publisher of one journal.
#[derive(Debug)]
pub struct Outbox {
    config: OutboxConfig,
    epoch: Epoch,
    /// The journal's head when it was opened: what lies above it can be at the gateway only if this process sent it.
    head_at_start: Sequence,
    connected: bool,
    /// Last sequence given to the link since the last going back; `None`: go on from the journal's watermark.
    cursor: Option<Cursor>,
    /// Last sequence ever given to the link by this process, in this epoch.
    sent: Sequence,
    /// Batches above the watermark, oldest first; at most `window_batches`.
    in_flight: VecDeque<InFlight>,
    tokens: u64,
    /// The gateway's events were found not to be ours, and it has not been heard about that yet.
    contested: bool,
    /// Nothing is sent before this.
    hold_until: Duration,
    /// When the gateway should have made progress; set exactly while something is in flight.
    ack_due: Option<Duration>,
    /// Time-outs without progress, over all connections.
    timeouts: u32,
    /// Those since the client was last built anew.
    timeouts_of_client: u32,
    undelivered: u32,
    /// Where the last going back went to; a second gap told from there is the echo of the same one.
    went_back_to: Option<Sequence>,
    repeated_acks: u32,
    /// Since when gaps are told below our own watermark, without progress.
    gap_below_since: Option<Duration>,
    /// Why nothing is sent, and until when; `Duration::MAX`: until the journal is replaced.
    stop: Option<(Stop, Duration)>,
    last_progress: Option<Duration>,
    rebuilds: u64,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    token: u64,
    last: Sequence,
    /// Of all events up to the last; `None` when the chain was not at hand.
    digest: Option<Digest>,
}

#[derive(Clone, Copy, Debug)]
struct Cursor {
    at: Sequence,
    /// As in [`InFlight`].
    digest: Option<Digest>,
}

/// Why nothing is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Stop {
    /// The gateway does not read our wire version.
    Version,
    /// It could not read what we sent.
    Malformed,
    /// It has other bytes under an identity that we sent.
    Conflict,
    /// It does not know this agent.
    UnknownAgent,
    /// It holds events that this journal neither had when it was opened nor sent since: the journal is an old copy.
    JournalBehindGateway {
        /// What the gateway holds.
        watermark: u64,
        /// What the journal held.
        head: u64,
    },
    /// The gateway asks for events that were acknowledged and forgotten: its database is an old copy.
    GatewayBehindJournal {
        /// What the gateway holds.
        watermark: u64,
        /// What the journal still has starts after this.
        kept_after: u64,
    },
}

/// A batch to publish, QoS 1, on the agent's `up/events` topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Names it in [`Outbox::handle_puback`]; unique in this process.
    pub token: u64,
    /// Its first event.
    pub first: Sequence,
    /// Its last event.
    pub last: Sequence,
    /// The encoded batch, at most [`BATCH_BYTES_MAX`].
    pub payload: Vec<u8>,
}

/// What an acknowledgement did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AckOutcome {
    /// More is committed at the gateway than was known.
    Progress {
        /// Up to here.
        watermark: Sequence,
    },
    /// Nothing new.
    Unchanged,
    /// Of another life of the journal.
    OtherEpoch,
    /// The gateway holds other events than ours: nothing is forgotten, and ours are sent from our watermark on, for it to
    /// compare.
    Contested {
        /// How far it says it has come.
        watermark: Sequence,
    },
    /// Events are missing at the gateway; they will be sent again.
    GoingBack {
        /// After this one.
        to: Sequence,
    },
    /// Sending has stopped, and will be tried again later.
    Refused {
        /// The gateway's reason.
        refusal: Refusal,
    },
    /// The journal is an old copy. It must be put aside (it holds what the gateway may not have) and a new one begun:
    /// then [`Outbox::handle_new_epoch`].
    JournalBehindGateway {
        /// What the gateway holds.
        watermark: Sequence,
        /// What this journal held when it was opened, or sent since.
        head: Sequence,
    },
    /// Sending has stopped for a reason that this acknowledgement does not change.
    Ignored,
}

/// The MQTT client makes no progress: shut it down and build a new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rebuild {
    /// After so many time-outs.
    pub timeouts: u32,
}

/// How the publisher stands, for `status` and `doctor`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct OutboxStatus {
    /// Whether the broker is connected.
    pub connected: bool,
    /// Batches that the gateway has not acknowledged.
    pub in_flight: usize,
    /// Last sequence given to the link.
    pub sent: u64,
    /// Time-outs without progress.
    pub timeouts: u32,
    /// Publishes that the broker did not take, since the last progress.
    pub undelivered: u32,
    /// Clients built anew.
    pub rebuilds: u64,
    /// Why nothing is sent, if so.
    pub stop: Option<Stop>,
    /// Monotonic time of the gateway's last progress.
    #[serde(rename = "last_progress_ms", serialize_with = "as_ms")]
    pub last_progress: Option<Duration>,
}

fn as_ms<S: serde::Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_millis() as u64).serialize(to)
}

impl Outbox {
    /// The publisher of a journal just opened.
    pub fn new(config: OutboxConfig, journal: &dyn Journal) -> Self {
        Self {
            config,
            epoch: journal.epoch(),
            head_at_start: journal.head(),
            connected: false,
            cursor: None,
            sent: Sequence::NONE,
            in_flight: VecDeque::new(),
            tokens: 0,
            contested: false,
            hold_until: Duration::ZERO,
            ack_due: None,
            timeouts: 0,
            timeouts_of_client: 0,
            undelivered: 0,
            went_back_to: None,
            repeated_acks: 0,
            gap_below_since: None,
            stop: None,
            last_progress: None,
            rebuilds: 0,
        }
    }

    /// The journal was replaced by one with another epoch.
    pub fn handle_new_epoch(&mut self, journal: &dyn Journal) {
        *self = Self {
            connected: self.connected,
            // A late PUBACK for the old journal must not name a batch of the new one.
            tokens: self.tokens,
            last_progress: self.last_progress,
            rebuilds: self.rebuilds,
            ..Self::new(self.config.clone(), journal)
        };
    }

    /// The broker is connected; it may have lost everything we gave it.
    pub fn handle_connected(&mut self, _now: Duration) {
        self.connected = true;
        self.go_back(None);
    }

    /// The connection is gone, with everything in flight.
    pub fn handle_disconnected(&mut self, _now: Duration) {
        self.connected = false;
        self.go_back(None);
    }

    /// The gateway's word.
    ///
    /// # Errors
    /// When the journal cannot take the watermark.
    pub fn handle_ack(
        &mut self,
        now: Duration,
        ack: &Ack,
        journal: &mut dyn Journal,
    ) -> Result<AckOutcome, JournalError> {
        if ack.epoch != self.epoch {
            return Ok(AckOutcome::OtherEpoch);
        }
        if matches!(self.stop, Some((Stop::JournalBehindGateway { .. }, _))) {
            return Ok(AckOutcome::Ignored);
        }
        let head = self.sent.max(self.head_at_start);
        if ack.watermark > head {
            // Using these sequences again would give one identity to two facts.
            let stop = Stop::JournalBehindGateway { watermark: ack.watermark.get(), head: head.get() };
            self.stop(stop, Duration::MAX);
            return Ok(AckOutcome::JournalBehindGateway { watermark: ack.watermark, head });
        }
        // While a conflict stands no watermark is trusted.
        if ack.refusal != Some(Refusal::Conflict) && matches!(self.stop, Some((Stop::Conflict, _))) {
            return Ok(AckOutcome::Ignored);
        }
        if ack.refusal != Some(Refusal::Conflict)
            && ack.watermark > journal.watermark()
            && !self.is_ours(ack, journal)?
        {
            if self.contested {
                return Ok(AckOutcome::Unchanged);
            }
            // What differs lies above our watermark: sent again from there, the gateway finds it and sets it aside
            // before it takes anything that follows.
            self.contested = true;
            self.go_back(None);
            return Ok(AckOutcome::Contested { watermark: ack.watermark });
        }
        match ack.refusal {
            Some(
                refusal @ (Refusal::Conflict | Refusal::Version | Refusal::Malformed | Refusal::Unknown),
            ) => {
                let stop = match refusal {
                    Refusal::Version => Stop::Version,
                    Refusal::Malformed => Stop::Malformed,
                    Refusal::Conflict => Stop::Conflict,
                    _ => Stop::UnknownAgent,
                };
                // A conflict says that the gateway's events are not ours, so its watermark is not ours either.
                if refusal != Refusal::Conflict {
                    self.advance(now, ack, journal)?;
                }
                self.stop(stop, now + self.config.refused_retry);
                Ok(AckOutcome::Refused { refusal })
            }
            Some(Refusal::Gap) => self.handle_gap(now, ack, journal),
            None => {
                if self.advance(now, ack, journal)? {
                    return Ok(AckOutcome::Progress { watermark: journal.watermark() });
                }
                self.handle_repeated(ack.watermark, journal)
            }
        }
    }

    /// The broker's answer to a publish, or `false` when it could not even be queued.
    ///
    /// An accepted one changes nothing here: brokers acknowledge and then lose messages, so only the gateway's word
    /// opens the window again.
    pub fn handle_puback(&mut self, now: Duration, token: u64, accepted: bool) {
        let known = self.in_flight.iter().any(|batch| batch.token == token);
        if accepted || !known {
            return;
        }
        let wait = doubled(self.config.undelivered_retry, self.undelivered, self.config.ack_timeout_max);
        self.undelivered = self.undelivered.saturating_add(1);
        self.hold_until = now + wait;
        self.go_back(None);
    }

    /// The gateway asks for something.
    pub fn handle_command(&mut self, now: Duration, command: &Command, journal: &dyn Journal) -> Reply {
        let result = match command.body {
            CommandBody::Ping => ReplyResult::Done,
            CommandBody::Resend { epoch, .. } if epoch != self.epoch => {
                ReplyResult::Refused(format!("the journal's epoch is {}, not {epoch}", self.epoch))
            }
            CommandBody::Resend { after, .. } if after > journal.head() => {
                ReplyResult::Refused(format!("the journal ends at {}", journal.head()))
            }
            CommandBody::Resend { after, .. } if after < journal.kept_after() => {
                ReplyResult::Refused(format!("the journal keeps only what follows {}", journal.kept_after()))
            }
            CommandBody::Resend { after, .. } => {
                // Somebody looked into it: a refusal is worth another try.
                if !matches!(self.stop, Some((Stop::JournalBehindGateway { .. }, _))) {
                    self.stop = None;
                }
                self.hold_until = now;
                self.go_back(Some(after));
                ReplyResult::Done
            }
        };
        Reply { id: command.id, result }
    }

    /// The next batch, if one may be sent now.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn poll_transmit(
        &mut self,
        now: Duration,
        journal: &dyn Journal,
    ) -> Result<Option<Transmit>, JournalError> {
        assert_eq!(journal.epoch(), self.epoch, "the journal was replaced without handle_new_epoch");
        let window_is_full = self.in_flight.len() >= self.config.window_batches;
        if !self.connected || window_is_full || now < self.hold_until || self.stop.is_some() {
            return Ok(None);
        }
        let cursor = match self.cursor {
            Some(cursor) if cursor.at != journal.watermark() => cursor,
            _ => Cursor { at: journal.watermark(), digest: Some(journal.digest()) },
        };
        if cursor.at >= journal.head() {
            return Ok(None);
        }
        let Some((batch, payload)) = self.batch(cursor.at, journal)? else { return Ok(None) };
        let (first, last) = (batch.first, batch.last());
        self.tokens += 1;
        let token = self.tokens;
        let digest = cursor.digest.map(|before| digest_of(before, &batch.events));
        self.cursor = Some(Cursor { at: last, digest });
        self.sent = self.sent.max(last);
        self.in_flight.push_back(InFlight { token, last, digest });
        if self.ack_due.is_none() {
            self.ack_due = Some(now + self.ack_timeout());
        }
        Ok(Some(Transmit { token, first, last, payload }))
    }

    /// When [`Outbox::handle_timeout`] is due, or [`Outbox::poll_transmit`] may have something again.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if !self.connected {
            return None;
        }
        match self.stop {
            Some((_, Duration::MAX)) => None,
            Some((_, until)) => Some(until),
            None => self.ack_due.or((self.hold_until > Duration::ZERO).then_some(self.hold_until)),
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Duration) -> Option<Rebuild> {
        if let Some((_, until)) = self.stop
            && now >= until
        {
            self.stop = None;
            self.go_back(None);
        }
        if now >= self.hold_until {
            self.hold_until = Duration::ZERO;
        }
        if !self.connected || self.ack_due.is_none_or(|due| now < due) {
            return None;
        }
        self.timeouts = self.timeouts.saturating_add(1);
        self.timeouts_of_client += 1;
        self.go_back(None);
        if self.timeouts_of_client < self.config.rebuild_after {
            return None;
        }
        self.timeouts_of_client = 0;
        self.rebuilds += 1;
        Some(Rebuild { timeouts: self.timeouts })
    }

    /// How it stands.
    pub fn status(&self) -> OutboxStatus {
        OutboxStatus {
            connected: self.connected,
            in_flight: self.in_flight.len(),
            sent: self.sent.get(),
            timeouts: self.timeouts,
            undelivered: self.undelivered,
            rebuilds: self.rebuilds,
            stop: self.stop.map(|(stop, _)| stop),
            last_progress: self.last_progress,
        }
    }

    /// As many events as fit, oldest first.
    fn batch(
        &self,
        after: Sequence,
        journal: &dyn Journal,
    ) -> Result<Option<(Batch, Vec<u8>)>, JournalError> {
        let limit = ReadLimit {
            events: self.config.batch_events_max.clamp(1, BATCH_EVENTS_MAX),
            bytes: BATCH_BYTES_MAX - BATCH_HEADER_BYTES_MAX,
        };
        let events = journal.read(after, limit)?;
        let Some(first) = after.next().filter(|_| !events.is_empty()) else { return Ok(None) };
        let mut batch = Batch { agent: self.config.agent.clone(), epoch: self.epoch, first, events };
        loop {
            let payload = batch.encode();
            // Rows are encoded one by one in the journal and together here; usually that is shorter, but only the size
            // of what is sent counts. One event alone always fits.
            if payload.len() <= BATCH_BYTES_MAX || batch.events.len() == 1 {
                return Ok(Some((batch, payload)));
            }
            batch.events.truncate(batch.events.len() / 2);
        }
    }

    /// Whether the gateway's events up to its watermark are ours; anything else must not be forgotten here.
    fn is_ours(&self, ack: &Ack, journal: &dyn Journal) -> Result<bool, JournalError> {
        let sent = self.in_flight.iter().find(|batch| batch.last == ack.watermark);
        let ours = match sent.and_then(|batch| batch.digest) {
            Some(digest) => digest,
            None => digest_at(journal, ack.watermark)?,
        };
        Ok(ours == ack.digest)
    }

    /// Takes the gateway's watermark over, whose digest [is ours](Self::is_ours). Whether it was news.
    fn advance(&mut self, now: Duration, ack: &Ack, journal: &mut dyn Journal) -> Result<bool, JournalError> {
        if ack.watermark <= journal.watermark() {
            return Ok(false);
        }
        journal.handle_ack(ack.watermark, ack.digest)?;
        self.in_flight.retain(|batch| batch.last > ack.watermark);
        if self.cursor.is_none_or(|cursor| cursor.at < ack.watermark) {
            self.cursor = Some(Cursor { at: ack.watermark, digest: Some(ack.digest) });
        }
        self.sent = self.sent.max(ack.watermark);
        self.contested = false;
        (self.timeouts, self.timeouts_of_client, self.undelivered) = (0, 0, 0);
        (self.repeated_acks, self.gap_below_since) = (0, None);
        self.went_back_to = None;
        self.last_progress = Some(now);
        self.ack_due = (!self.in_flight.is_empty()).then(|| now + self.ack_timeout());
        Ok(true)
    }

    fn handle_gap(
        &mut self,
        now: Duration,
        ack: &Ack,
        journal: &mut dyn Journal,
    ) -> Result<AckOutcome, JournalError> {
        self.advance(now, ack, journal)?;
        let watermark = ack.watermark;
        // Each batch that was on its way above the gap tells of it once more.
        if self.went_back_to == Some(watermark) {
            return Ok(AckOutcome::Unchanged);
        }
        if watermark < journal.watermark() {
            // The gateway's own word has gone beyond. Of several gateways one may have said this before another said
            // more, and be heard after it; a gateway that really lost its rows says it of every batch, and on and on.
            let since = *self.gap_below_since.get_or_insert(now);
            if self.in_flight.is_empty() || now.saturating_sub(since) < self.config.ack_timeout {
                return Ok(AckOutcome::Unchanged);
            }
            self.gap_below_since = None;
        }
        if watermark < journal.kept_after() {
            let stop = Stop::GatewayBehindJournal {
                watermark: watermark.get(),
                kept_after: journal.kept_after().get(),
            };
            self.stop(stop, now + self.config.refused_retry);
            return Ok(AckOutcome::Refused { refusal: Refusal::Gap });
        }
        if self.sent <= watermark {
            return Ok(AckOutcome::Unchanged);
        }
        self.go_back(Some(watermark));
        Ok(AckOutcome::GoingBack { to: watermark })
    }

    fn handle_repeated(
        &mut self,
        watermark: Sequence,
        journal: &dyn Journal,
    ) -> Result<AckOutcome, JournalError> {
        // The gateway is there, so there is nothing to wait for.
        self.hold_until = Duration::ZERO;
        let is_repeat = watermark == journal.watermark() && !self.in_flight.is_empty();
        self.repeated_acks = if is_repeat { self.repeated_acks + 1 } else { 0 };
        if self.repeated_acks < REPEATED_ACKS_MAX || self.went_back_to == Some(watermark) {
            return Ok(AckOutcome::Unchanged);
        }
        self.go_back(Some(watermark));
        Ok(AckOutcome::GoingBack { to: watermark })
    }

    /// Everything after `to`, or after the journal's watermark, counts as not sent.
    fn go_back(&mut self, to: Option<Sequence>) {
        self.cursor = to.map(|at| Cursor { at, digest: None });
        self.in_flight.clear();
        self.ack_due = None;
        self.repeated_acks = 0;
        self.went_back_to = to;
    }

    fn stop(&mut self, stop: Stop, until: Duration) {
        self.go_back(None);
        self.stop = Some((stop, until));
    }

    fn ack_timeout(&self) -> Duration {
        doubled(self.config.ack_timeout, self.timeouts, self.config.ack_timeout_max)
    }
}

/// `first`, doubled so often, at most `most`.
fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1u32.checked_shl(times).unwrap_or(u32::MAX)).min(most)
}
