//! The peripheral's end of the link: who it is, what it still owes the host, what the host asks of it.

use stockwire_protocol::link::{
    Ack, Counters, Decoder, HOST_QUIET, Hello, Message, Nack, NackReason, Poll, RESEND_AFTER, Sequence,
    Weight, Wire,
};

use crate::Uptime;

/// Captures kept for a host that does not answer: a station's work in the minute an agent needs to restart, in half
/// a kilobyte of memory. A capture beyond that is refused, never one that is kept; the number it would have had is
/// skipped, which tells the host.
pub const KEPT_MAX: usize = 16;

/// One end of one line.
///
/// One fact is under way at a time and repeated until it is acknowledged; the next follows then. The hello of this life
/// is the first fact, so that a host knows whose numbers it hears before it hears any.
#[derive(Debug, Clone)]
pub struct Endpoint {
    hello: Hello,
    decoder: Decoder,
    /// When a frame from a host last arrived; `None` before the first.
    heard_at: Option<Uptime>,
    introduction: Introduction,
    kept: Kept,
    /// Number of the next capture. The hello had the first.
    next: Sequence,
    /// When the fact now under way was last sent; `None` when it has not been.
    sent_at: Option<Uptime>,
    due: Due,
    stats: Stats,
}

/// How far the hello of this life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Introduction {
    /// Boot: said once into the blue, for a host that already listens.
    Unsaid,
    /// Said; a host has not acknowledged it.
    Said,
    /// A host knows whose numbers it hears.
    Heard,
}

/// Answers that wait to be sent. A second question of the same kind is answered with the first.
#[derive(Debug, Clone, Copy, Default)]
struct Due {
    hello: bool,
    weight: Option<Measured>,
    nack: Option<Nack>,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    weight: Weight,
    at: Uptime,
}

/// What a host asks that only the device behind the endpoint can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Answer with [`Endpoint::answer`] or [`Endpoint::refuse`].
    Weight {
        /// The host's number of its question.
        sequence: Sequence,
    },
}

/// What an endpoint has seen since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Frames that arrived.
    pub line: Counters,
    /// Facts a host acknowledged, the hello included.
    pub acknowledged: u32,
    /// Facts sent again because no acknowledgement came.
    pub resent: u32,
    /// Facts a host said it will never understand.
    pub refused: u32,
    /// Captures there was no room to keep.
    pub lost: u32,
}

const INTRODUCTION: Sequence = Sequence(1);

impl Endpoint {
    /// A peripheral that has just booted. `hello.boot_nonce` must differ from the last boot's.
    pub const fn new(hello: Hello) -> Self {
        Self {
            hello,
            decoder: Decoder::new(),
            heard_at: None,
            introduction: Introduction::Unsaid,
            kept: Kept::new(),
            next: INTRODUCTION.next(),
            sent_at: None,
            due: Due { hello: false, weight: None, nack: None },
            stats: Stats { line: Counters::new(), acknowledged: 0, resent: 0, refused: 0, lost: 0 },
        }
    }

    /// Takes one byte off the line.
    pub fn handle_byte(&mut self, now: Uptime, byte: u8) -> Option<Request> {
        // A torn or noisy frame is counted by the decoder; whoever sent it asks again.
        let frame = self.decoder.push(byte)?.ok()?;
        self.heard_at = Some(now);
        let sequence = frame.sequence;
        match Message::parse(&frame) {
            Ok(Message::Poll(Poll::Weight)) => return Some(Request::Weight { sequence }),
            Ok(Message::Poll(Poll::Hello)) => self.handle_greeting(),
            Ok(Message::Ack(ack)) => {
                if self.settle(ack) {
                    self.stats.acknowledged = self.stats.acknowledged.saturating_add(1);
                }
            }
            Ok(Message::Nack(Nack { boot_nonce, sequence, .. })) => {
                if self.settle(Ack { boot_nonce, sequence }) {
                    self.stats.refused = self.stats.refused.saturating_add(1);
                }
            }
            Ok(Message::Hello(_) | Message::Weight(_)) => self.refuse(sequence, NackReason::UnknownKind),
            Err(error) => self.refuse(sequence, error.into()),
        }
        None
    }

    /// Answers [`Request::Weight`] with what was measured at `at`.
    pub fn answer(&mut self, at: Uptime, weight: Weight) {
        self.due.weight = Some(Measured { weight, at });
    }

    /// Answers a request with why it cannot be met.
    pub fn refuse(&mut self, sequence: Sequence, reason: NackReason) {
        self.due.nack = Some(Nack { boot_nonce: self.hello.boot_nonce, sequence, reason });
    }

    /// Keeps a capture until a host has it.
    pub fn keep(&mut self, at: Uptime, weight: Weight) {
        let sequence = self.next;
        self.next = sequence.next();
        if !self.kept.push(Fact { sequence, measured: Measured { weight, at } }) {
            self.stats.lost = self.stats.lost.saturating_add(1);
        }
    }

    /// One frame to write now, if any. Ask until it says `None`.
    pub fn poll_transmit(&mut self, now: Uptime) -> Option<Wire> {
        if let Some(nack) = self.due.nack.take() {
            return Some(Message::Nack(nack).to_wire(Sequence::LIVE));
        }
        if core::mem::take(&mut self.due.hello) {
            return Some(Message::Hello(self.hello).to_wire(Sequence::LIVE));
        }
        if let Some(measured) = self.due.weight.take() {
            return Some(measured.message(now).to_wire(Sequence::LIVE));
        }
        if self.poll_timeout().is_none_or(|due| due > now) {
            return None;
        }
        if self.sent_at.replace(now).is_some() {
            self.stats.resent = self.stats.resent.saturating_add(1);
        }
        match self.introduction {
            Introduction::Unsaid => {
                self.introduction = Introduction::Said;
                // The reset may have cut a frame in half.
                Some(Message::Hello(self.hello).to_wire(INTRODUCTION).flushing())
            }
            Introduction::Said => Some(Message::Hello(self.hello).to_wire(INTRODUCTION)),
            Introduction::Heard => {
                self.kept.first().map(|fact| fact.measured.message(now).to_wire(fact.sequence))
            }
        }
    }

    /// When [`Endpoint::poll_transmit`] has something to send even if nothing happens until then; a time that has passed
    /// means now.
    pub fn poll_timeout(&self) -> Option<Uptime> {
        if self.introduction == Introduction::Unsaid {
            return Some(Uptime::ZERO);
        }
        self.under_way()?;
        let heard_at = self.heard_at?;
        let due = self.sent_at.map_or(heard_at, |sent_at| sent_at + RESEND_AFTER);
        // Nobody listens any more; the next frame from a host starts it again.
        (due.max(heard_at) <= heard_at + HOST_QUIET).then_some(due)
    }

    /// Who this peripheral is.
    pub const fn hello(&self) -> Hello {
        self.hello
    }

    /// What has been seen since boot.
    pub fn stats(&self) -> Stats {
        Stats { line: self.decoder.counters(), ..self.stats }
    }

    /// How many captures wait for their acknowledgement.
    pub fn kept_len(&self) -> usize {
        self.kept.len
    }

    fn handle_greeting(&mut self) {
        match self.introduction {
            Introduction::Heard => self.due.hello = true,
            // The numbered hello is owed anyway: now is the moment.
            Introduction::Unsaid | Introduction::Said => self.sent_at = None,
        }
    }

    /// Takes the fact under way off the list if that is what `ack` names.
    fn settle(&mut self, ack: Ack) -> bool {
        let named = ack.boot_nonce == self.hello.boot_nonce && self.under_way() == Some(ack.sequence);
        if named && self.sent_at.is_some() {
            match self.introduction {
                Introduction::Unsaid | Introduction::Said => self.introduction = Introduction::Heard,
                Introduction::Heard => self.kept.drop_first(),
            }
            self.sent_at = None;
            return true;
        }
        false
    }

    fn under_way(&self) -> Option<Sequence> {
        match self.introduction {
            Introduction::Unsaid | Introduction::Said => Some(INTRODUCTION),
            Introduction::Heard => self.kept.first().map(|fact| fact.sequence),
        }
    }
}

impl Measured {
    fn message(&self, now: Uptime) -> Message {
        let age_ms = u32::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u32::MAX);
        Message::Weight(Weight { age_ms, ..self.weight })
    }
}

#[derive(Debug, Clone, Copy)]
struct Fact {
    sequence: Sequence,
    measured: Measured,
}

/// The captures a host has not acknowledged, oldest first.
#[derive(Debug, Clone)]
struct Kept {
    facts: [Option<Fact>; KEPT_MAX],
    /// Where the oldest stands.
    at: usize,
    len: usize,
}

impl Kept {
    const fn new() -> Self {
        Self { facts: [None; KEPT_MAX], at: 0, len: 0 }
    }

    /// Says no when there is no room.
    fn push(&mut self, fact: Fact) -> bool {
        if self.len == KEPT_MAX {
            return false;
        }
        self.facts[(self.at + self.len) % KEPT_MAX] = Some(fact);
        self.len += 1;
        true
    }

    fn first(&self) -> Option<Fact> {
        self.facts[self.at]
    }

    fn drop_first(&mut self) {
        if self.facts[self.at].take().is_some() {
            self.at = (self.at + 1) % KEPT_MAX;
            self.len -= 1;
        }
    }
}
