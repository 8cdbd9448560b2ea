//! What the two ends can say. Each message has a fixed layout in link version 1: fields in the order shown, numbers
//! low byte first. A payload that is longer, shorter, or sets a reserved bit is refused rather than half understood.

use core::fmt;
use core::str;

use super::frame::{Frame, Kind, Sequence};
use super::{DELIMITER, OVERHEAD};

/// One message. Small and `Copy`, so that a firmware can keep a few without a heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Peripheral: who I am. Numbered at boot, so that no fact of a new life is mistaken for one of the old.
    Hello(Hello),
    /// Peripheral: a weight. [`Sequence::LIVE`] when polled, numbered when captured.
    Weight(Weight),
    /// Host: tell me.
    Poll(Poll),
    /// Host: the numbered message of that life of the peripheral is safe here, forget it.
    Ack(Ack),
    /// Either end: the message with that number gets no other answer.
    Nack(Nack),
}

impl Message {
    /// Reads what a sound frame says.
    pub fn parse(frame: &Frame<'_>) -> Result<Self, MessageError> {
        let payload = frame.payload;
        let message = match frame.kind {
            Kind::HELLO => Hello::parse(payload).map(Self::Hello),
            Kind::WEIGHT => Weight::parse(payload).map(Self::Weight),
            Kind::POLL => Poll::parse(payload).map(Self::Poll),
            Kind::ACK => Ack::parse(payload).map(Self::Ack),
            Kind::NACK => Nack::parse(payload).map(Self::Nack),
            kind => return Err(MessageError::UnknownKind { kind }),
        };
        message.ok_or(MessageError::BadPayload { kind: frame.kind, len: payload.len() })
    }

    /// The message as it goes onto the wire.
    pub fn to_wire(&self, sequence: Sequence) -> Wire {
        let mut payload = Payload { bytes: [0; MESSAGE_PAYLOAD_MAX], len: 0 };
        let kind = match self {
            Self::Hello(hello) => hello.write(&mut payload),
            Self::Weight(weight) => weight.write(&mut payload),
            Self::Poll(poll) => poll.write(&mut payload),
            Self::Ack(ack) => ack.write(&mut payload),
            Self::Nack(nack) => nack.write(&mut payload),
        };
        let mut wire = Wire { bytes: [0; WIRE_LEN], len: 0 };
        match Frame::new(kind, sequence, &payload.bytes[..payload.len]).encode_into(&mut wire.bytes) {
            Ok(len) => wire.len = len,
            Err(error) => unreachable!("no message exceeds its buffer: {error}"),
        }
        wire
    }
}

/// The longest payload of a message: a hello with the longest identity.
const MESSAGE_PAYLOAD_MAX: usize = Hello::FIXED_LEN + Identity::LEN_MAX;

/// That, framed and stuffed, with one more delimiter before it.
const WIRE_LEN: usize = MESSAGE_PAYLOAD_MAX + OVERHEAD + 3;

/// Bytes ready for the line.
#[derive(Debug, Clone, Copy)]
pub struct Wire {
    bytes: [u8; WIRE_LEN],
    len: usize,
}

impl Wire {
    /// What to write, all of it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The same with a delimiter before it, which ends whatever half frame stands in the receiver.
    #[must_use]
    pub fn flushing(mut self) -> Self {
        self.bytes.copy_within(..self.len, 1);
        self.bytes[0] = DELIMITER;
        self.len += 1;
        self
    }
}

/// Who a peripheral is.
///
/// ```text
///  0                   4         6        9              9+n
/// +----+----+----+----+----+----+--+--+--+-- - - - - - - --+
/// |    boot nonce     | capab.  | a.b.c  | identity, ASCII |
/// +----+----+----+----+----+----+--+--+--+-- - - - - - - --+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Drawn at each boot: numbers start over with it.
    pub boot_nonce: BootNonce,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Version of its firmware: major, minor, patch.
    pub firmware: [u8; 3],
    /// Its name, the same for its whole life.
    pub identity: Identity,
}

impl Hello {
    const FIXED_LEN: usize = 9;

    fn parse(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        Some(Self {
            boot_nonce: BootNonce(fields.u32()?),
            capabilities: Capabilities(fields.u16()?),
            firmware: fields.take()?,
            identity: Identity::new(str::from_utf8(fields.rest()).ok()?).ok()?,
        })
    }

    fn write(&self, payload: &mut Payload) -> Kind {
        payload.put(&self.boot_nonce.0.to_le_bytes());
        payload.put(&self.capabilities.0.to_le_bytes());
        payload.put(&self.firmware);
        payload.put(self.identity.as_str().as_bytes());
        Kind::HELLO
    }
}

/// One life of a peripheral, from power-on to power-off. Random, or counted in its flash; never the same twice running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootNonce(pub u32);

impl fmt::Display for BootNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What a peripheral can do, a bit each. Bits we do not know are kept and mean nothing to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(pub u16);

impl Capabilities {
    /// Answers `Poll::Weight` and captures weights.
    pub const LOAD_CELL: Self = Self(1);

    /// Whether all of `other` is among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The name of a peripheral: 1 to 32 visible ASCII characters, so that it can stand in a log line, a file name and a
/// configuration key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    bytes: [u8; Self::LEN_MAX],
    /// 1 to `LEN_MAX`.
    len: u8,
}

impl Identity {
    /// Room for a 96-bit chip number in hex with a prefix.
    pub const LEN_MAX: usize = 32;

    /// Checks the characters and the length.
    pub fn new(text: &str) -> Result<Self, IdentityError> {
        if text.is_empty() || text.len() > Self::LEN_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(IdentityError);
        }
        let mut bytes = [0; Self::LEN_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { bytes, len: text.len() as u8 })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        // The constructor let only ASCII in, so the empty case never shows.
        str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that cannot name a peripheral.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identity is 1 to {} visible ASCII characters", Identity::LEN_MAX)]
pub struct IdentityError;

/// What a load cell measures.
///
/// ```text
///  0       1      2          3           7           11          15          19
/// +-------+------+----------+-----------+-----------+-----------+-----------+
/// | flags | unit | decimals |  raw i32  |  net i32  | tare i32  | age u32   |
/// +-------+------+----------+-----------+-----------+-----------+-----------+
///  flags: bit 0 stable, bits 1-2 range (0 within, 1 over, 2 under), bit 3 at zero, others 0
/// ```
///
/// Raw counts travel with the calibrated value, so that a wrong calibration can be put right afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// The cell itself vouches for the weight: by its own rule nothing moves.
    pub stable: bool,
    /// Outside its range a cell knows no weight: `net` must not be used then.
    pub range: Range,
    /// Net is zero within the cell's zero band: the pan is empty, or holds what was tared.
    pub at_zero: bool,
    /// What `net` and `tare` count.
    pub unit: Unit,
    /// `net` and `tare` are in units of 10^-decimals: 1250 with 3 decimals and `Unit::Kilogram` is 1.250 kg. At most 9.
    pub decimals: u8,
    /// Filtered counts of the converter, before calibration.
    pub raw: i32,
    /// Gross less tare, rounded to the cell's division.
    pub net: i32,
    /// What was taken off; 0 when nothing was.
    pub tare: i32,
    /// How long ago it was measured, when this was sent. A capture that waited for its host is older than it looks.
    pub age_ms: u32,
}

impl Weight {
    /// The most decimals an `i32` can use.
    pub const DECIMALS_MAX: u8 = 9;

    fn parse(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let [flags, unit, decimals] = fields.take()?;
        let weight = Self {
            stable: flags & 1 != 0,
            range: Range::from_code((flags >> 1) & 0b11)?,
            at_zero: flags & 0b1000 != 0,
            unit: Unit::from_code(unit)?,
            decimals,
            raw: fields.i32()?,
            net: fields.i32()?,
            tare: fields.i32()?,
            age_ms: fields.u32()?,
        };
        let legal = flags & 0xF0 == 0 && decimals <= Self::DECIMALS_MAX && fields.rest().is_empty();
        legal.then_some(weight)
    }

    fn write(&self, payload: &mut Payload) -> Kind {
        let flags = u8::from(self.stable) | self.range.code() << 1 | u8::from(self.at_zero) << 3;
        payload.put(&[flags, self.unit.code(), self.decimals]);
        payload.put(&self.raw.to_le_bytes());
        payload.put(&self.net.to_le_bytes());
        payload.put(&self.tare.to_le_bytes());
        payload.put(&self.age_ms.to_le_bytes());
        Kind::WEIGHT
    }
}

/// Whether a load is one the cell can weigh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Range {
    /// It is.
    #[default]
    Within,
    /// Above capacity, or the converter is at its upper end.
    Over,
    /// Below what an empty pan can give, or the converter is at its lower end: a pan lifted off, a broken wire.
    Under,
}

impl Range {
    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Within,
            1 => Self::Over,
            2 => Self::Under,
            _ => return None,
        })
    }

    fn code(self) -> u8 {
        match self {
            Self::Within => 0,
            Self::Over => 1,
            Self::Under => 2,
        }
    }
}

/// Units a load cell is calibrated in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// The cell is not calibrated: net is counts less counts at zero. Never a weight to book.
    Counts,
    /// Gram.
    Gram,
    /// Kilogram.
    Kilogram,
    /// Pound, avoirdupois.
    Pound,
}

impl Unit {
    /// The UN/ECE Rec 20 code; none for bare counts.
    pub const fn rec20(self) -> Option<&'static str> {
        match self {
            Self::Counts => None,
            Self::Gram => Some("GRM"),
            Self::Kilogram => Some("KGM"),
            Self::Pound => Some("LBR"),
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Counts,
            1 => Self::Gram,
            2 => Self::Kilogram,
            3 => Self::Pound,
            _ => return None,
        })
    }

    fn code(self) -> u8 {
        match self {
            Self::Counts => 0,
            Self::Gram => 1,
            Self::Kilogram => 2,
            Self::Pound => 3,
        }
    }
}

/// What a host wants to know. One byte: 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// Who are you?
    Hello,
    /// What is on the pan now?
    Weight,
}

impl Poll {
    fn parse(payload: &[u8]) -> Option<Self> {
        match payload {
            [0] => Some(Self::Hello),
            [1] => Some(Self::Weight),
            _ => None,
        }
    }

    fn write(&self, payload: &mut Payload) -> Kind {
        payload.put(&[match self {
            Self::Hello => 0,
            Self::Weight => 1,
        }]);
        Kind::POLL
    }
}

/// Names a numbered message of one life of the peripheral: `nonce u32, sequence u16`. Without the nonce an
/// acknowledgement still under way at a reset could make the peripheral forget a fact of its new life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Whose numbers these are.
    pub boot_nonce: BootNonce,
    /// The one that is safe.
    pub sequence: Sequence,
}

impl Ack {
    fn parse(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let ack = Self { boot_nonce: BootNonce(fields.u32()?), sequence: Sequence(fields.u16()?) };
        fields.rest().is_empty().then_some(ack)
    }

    fn write(&self, payload: &mut Payload) -> Kind {
        payload.put(&self.boot_nonce.0.to_le_bytes());
        payload.put(&self.sequence.0.to_le_bytes());
        Kind::ACK
    }
}

/// Refuses a message: `nonce u32, sequence u16, reason u8`. The nonce is the peripheral's, whoever speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nack {
    /// The life of the peripheral in which it was said.
    pub boot_nonce: BootNonce,
    /// The sender's number of the refused message.
    pub sequence: Sequence,
    /// Why.
    pub reason: NackReason,
}

impl Nack {
    fn parse(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let nack = Self {
            boot_nonce: BootNonce(fields.u32()?),
            sequence: Sequence(fields.u16()?),
            reason: NackReason::from_code(fields.take::<1>()?[0])?,
        };
        fields.rest().is_empty().then_some(nack)
    }

    fn write(&self, payload: &mut Payload) -> Kind {
        payload.put(&self.boot_nonce.0.to_le_bytes());
        payload.put(&self.sequence.0.to_le_bytes());
        payload.put(&[self.reason.code()]);
        Kind::NACK
    }
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NackReason {
    /// This end does not know the kind of message.
    UnknownKind,
    /// It knows the kind and cannot read the payload.
    BadPayload,
    /// It cannot do that at all.
    Unsupported,
    /// It cannot yet: a load cell that has not seen a sample since boot.
    NotReady,
}

impl NackReason {
    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::UnknownKind,
            2 => Self::BadPayload,
            3 => Self::Unsupported,
            4 => Self::NotReady,
            _ => return None,
        })
    }

    fn code(self) -> u8 {
        match self {
            Self::UnknownKind => 1,
            Self::BadPayload => 2,
            Self::Unsupported => 3,
            Self::NotReady => 4,
        }
    }
}

/// Why a sound frame says nothing to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A newer or another kind of peripheral.
    #[error("unknown message: {kind}")]
    UnknownKind {
        /// As received.
        kind: Kind,
    },
    /// Known, but not laid out as version 1 says.
    #[error("{kind} message with an illegal payload of {len} bytes")]
    BadPayload {
        /// As received.
        kind: Kind,
        /// Length of its payload.
        len: usize,
    },
}

impl From<MessageError> for NackReason {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::UnknownKind { .. } => Self::UnknownKind,
            MessageError::BadPayload { .. } => Self::BadPayload,
        }
    }
}

/// A payload being written.
struct Payload {
    bytes: [u8; MESSAGE_PAYLOAD_MAX],
    len: usize,
}

impl Payload {
    fn put(&mut self, field: &[u8]) {
        self.bytes[self.len..][..field.len()].copy_from_slice(field);
        self.len += field.len();
    }
}

/// A payload being read, front to back.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }

    fn rest(self) -> &'a [u8] {
        self.0
    }
}
