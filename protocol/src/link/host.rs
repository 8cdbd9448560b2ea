//! The host end of one line: the agent's, and the bench tool's.
//!
//! Sans-IO: it is given bytes and asked what to send. It keeps no time; how often to poll, and after how long a silence
//! to say "connected, not answering", is up to who owns the clock.

use super::decoder::{Counters, Decoder, FrameError};
use super::frame::{Frame, Sequence};
use super::message::{Ack, BootNonce, Hello, Message, MessageError, Nack, NackReason, Poll, Weight, Wire};

/// One line to one peripheral.
///
/// After opening: [`Host::greet`]. Then write whatever [`Host::poll_transmit`] gives, feed what arrives to
/// [`Host::handle_byte`], call [`Host::ask_weight`] as often as a live weight is wanted, and [`Host::acknowledge`] a
/// capture once it is safe (in the journal): until then the peripheral keeps it.
#[derive(Debug, Clone, Default)]
pub struct Host {
    decoder: Decoder,
    /// The peripheral's present life; `None` until it has said hello.
    peer: Option<Peer>,
    /// Number of the last poll sent.
    asked: Sequence,
    due: Due,
}

/// What is known of one life of a peripheral.
#[derive(Debug, Clone, Copy)]
struct Peer {
    boot_nonce: BootNonce,
    /// The last numbered message handed out; `None` when this host came in the middle of that life.
    delivered: Option<Sequence>,
    /// Whether `delivered` was acknowledged, so that its repetition needs no asking the owner again.
    acknowledged: bool,
}

/// What waits to be sent. One of each is enough: a second greeting or poll says nothing new, and a peripheral has one
/// numbered message under way at a time.
#[derive(Debug, Clone, Copy, Default)]
struct Due {
    greeting: bool,
    answer: Option<Answer>,
    weight: bool,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Ack(Ack),
    Nack(Nack),
}

impl Host {
    /// A line just opened. Says nothing before [`Host::greet`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks who is there. Due after opening the line, and whenever the peripheral has been silent.
    pub fn greet(&mut self) {
        self.due.greeting = true;
    }

    /// Asks what is on the pan.
    pub fn ask_weight(&mut self) {
        self.due.weight = true;
    }

    /// The capture with this number is safe here; the peripheral may forget it. Says nothing when the number is not the
    /// one last handed out: the peripheral was restarted meanwhile.
    pub fn acknowledge(&mut self, sequence: Sequence) {
        if let Some(peer) = &mut self.peer
            && peer.delivered == Some(sequence)
        {
            peer.acknowledged = true;
            self.due.answer = Some(Answer::Ack(Ack { boot_nonce: peer.boot_nonce, sequence }));
        }
    }

    /// Bytes to write now, if any. Ask until it says `None`.
    pub fn poll_transmit(&mut self) -> Option<Wire> {
        if core::mem::take(&mut self.due.greeting) {
            return Some(self.numbered(Poll::Hello).flushing());
        }
        if let Some(answer) = self.due.answer.take() {
            let message = match answer {
                Answer::Ack(ack) => Message::Ack(ack),
                Answer::Nack(nack) => Message::Nack(nack),
            };
            return Some(message.to_wire(Sequence::LIVE));
        }
        core::mem::take(&mut self.due.weight).then(|| self.numbered(Poll::Weight))
    }

    /// Takes one byte off the line.
    pub fn handle_byte(&mut self, byte: u8) -> Option<Event> {
        let (sequence, message) = match self.decoder.push(byte)? {
            Ok(frame) => (frame.sequence, read(&frame)),
            Err(error) => return Some(Event::Garbled(error)),
        };
        Some(match message {
            Ok(FromPeripheral::Hello(hello)) => self.handle_hello(sequence, hello),
            Ok(FromPeripheral::Weight(weight)) if sequence == Sequence::LIVE => Event::Live(weight),
            Ok(FromPeripheral::Weight(weight)) => self.handle_capture(sequence, weight),
            Ok(FromPeripheral::Nack(nack)) => Event::Refused(nack),
            Err(error) => self.handle_unreadable(sequence, error),
        })
    }

    /// What the line has carried.
    pub fn counters(&self) -> Counters {
        self.decoder.counters()
    }

    fn handle_hello(&mut self, sequence: Sequence, hello: Hello) -> Event {
        let arrival = match self.peer {
            None => Arrival::First,
            Some(peer) if peer.boot_nonce == hello.boot_nonce => Arrival::Again,
            Some(_) => Arrival::Restarted,
        };
        let peer = match &mut self.peer {
            Some(peer) if arrival == Arrival::Again => peer,
            peer => peer.insert(Peer { boot_nonce: hello.boot_nonce, delivered: None, acknowledged: false }),
        };
        // The hello of a boot is always the first number of that life. One that comes late, after a capture was handed
        // out, must not turn the count back.
        if sequence.is_numbered() {
            if peer.delivered.is_none() {
                peer.delivered = Some(sequence);
                peer.acknowledged = true;
            }
            // Nothing has to be made safe first: whoever owns this line knows the peripheral now.
            self.due.answer = Some(Answer::Ack(Ack { boot_nonce: hello.boot_nonce, sequence }));
        }
        Event::Hello { hello, arrival }
    }

    fn handle_capture(&mut self, sequence: Sequence, weight: Weight) -> Event {
        let Some(peer) = &mut self.peer else {
            // Without the nonce nobody can say whether this number is new. It is kept and will come again.
            self.due.greeting = true;
            return Event::Early { sequence };
        };
        let lost = match peer.delivered {
            Some(delivered) if delivered == sequence => {
                if peer.acknowledged {
                    self.due.answer = Some(Answer::Ack(Ack { boot_nonce: peer.boot_nonce, sequence }));
                }
                return Event::Repeated { sequence };
            }
            Some(delivered) => sequence.steps_after(delivered) - 1,
            None => 0,
        };
        peer.delivered = Some(sequence);
        peer.acknowledged = false;
        Event::Captured { sequence, weight, lost }
    }

    /// A numbered message nobody here can read would come again for ever and hold up those behind it.
    fn handle_unreadable(&mut self, sequence: Sequence, error: MessageError) -> Event {
        if let Some(peer) = &mut self.peer
            && sequence.is_numbered()
        {
            let reason = NackReason::from(error);
            self.due.answer = Some(Answer::Nack(Nack { boot_nonce: peer.boot_nonce, sequence, reason }));
            peer.delivered = Some(sequence);
        }
        Event::Unreadable { sequence, error }
    }

    fn numbered(&mut self, poll: Poll) -> Wire {
        self.asked = self.asked.next();
        Message::Poll(poll).to_wire(self.asked)
    }
}

/// The messages that come up the line.
enum FromPeripheral {
    Hello(Hello),
    Weight(Weight),
    Nack(Nack),
}

fn read(frame: &Frame<'_>) -> Result<FromPeripheral, MessageError> {
    match Message::parse(frame)? {
        Message::Hello(hello) => Ok(FromPeripheral::Hello(hello)),
        Message::Weight(weight) => Ok(FromPeripheral::Weight(weight)),
        Message::Nack(nack) => Ok(FromPeripheral::Nack(nack)),
        // A host's own words coming back: both ends are hosts, or the line echoes.
        Message::Poll(_) | Message::Ack(_) => Err(MessageError::UnknownKind { kind: frame.kind }),
    }
}

/// What came up the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The peripheral says who it is.
    Hello {
        /// Its words.
        hello: Hello,
        /// Whether it is the one we knew.
        arrival: Arrival,
    },
    /// What is on the pan now. Replaces what was said before.
    Live(Weight),
    /// A weight the peripheral keeps until [`Host::acknowledge`] is called with its number.
    Captured {
        /// Its number.
        sequence: Sequence,
        /// What was weighed, and how long ago.
        weight: Weight,
        /// How many facts before this one the peripheral had no room to keep.
        lost: u16,
    },
    /// A capture that was handed out before. Acknowledged again if it had been; nothing to do.
    Repeated {
        /// Its number.
        sequence: Sequence,
    },
    /// A capture from a peripheral that has not said hello. It has been asked to, and will send the capture again.
    Early {
        /// Its number.
        sequence: Sequence,
    },
    /// The peripheral cannot answer.
    Refused(Nack),
    /// A sound frame we cannot read: a newer peripheral. It was told so.
    Unreadable {
        /// Its number.
        sequence: Sequence,
        /// Why.
        error: MessageError,
    },
    /// No frame. Counted in [`Host::counters`]; whatever it was, it will be polled or repeated again.
    Garbled(FrameError),
}

/// How a hello relates to what was known of the peripheral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first since the line was opened.
    First,
    /// The same life as before.
    Again,
    /// It was restarted, or exchanged: whatever it had not delivered is gone, and its zero and tare with it.
    Restarted,
}
