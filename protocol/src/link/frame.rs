//! One frame: its layout, and how it is written.

use core::fmt;

use crc::{CRC_16_IBM_3740, Crc, Table};

use super::cobs;
use super::{DELIMITER, PAYLOAD_MAX, VERSION};

/// CRC-16/IBM-3740 (often misnamed "CCITT-FALSE"): polynomial 1021, initial value FFFF, not reflected. Its check value,
/// the CRC of the nine characters `123456789`, is 29B1. The name alone is not enough: at least six CRC-16 are in use.
const CRC: Crc<u16, Table<1>> = Crc::<u16, Table<1>>::new(&CRC_16_IBM_3740);

/// What stands between two delimiters.
///
/// ```text
///  0         1         2         3         4                4+n       5+n
/// +---------+---------+---------+---------+-- - - - - - - --+---------+---------+
/// | version |  kind   |      sequence     |  payload        |      CRC-16       |
/// |   01    |   u8    |  u16, low first   |  n = 0..=240    |  u16, low first   |
/// +---------+---------+---------+---------+-- - - - - - - --+---------+---------+
/// |<------------- covered by the CRC ---------------------->|
/// |<------------- stuffed by COBS, then followed by the delimiter 00 ---------->|
/// ```
///
/// The payload `39 30` as kind 7, sequence 0 is `01 07 00 00 39 30`, its CRC is A53A, and the wire carries
/// `03 01 07 01 05 39 30 3A A5 00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Layout of everything behind this byte. [`VERSION`] in every frame that a decoder hands out.
    pub version: u8,
    /// Which message the payload holds. Any value is legal on the wire; the receiver refuses those it does not know.
    pub kind: Kind,
    /// [`Sequence::LIVE`], or the number by which the answer names this message.
    pub sequence: Sequence,
    /// At most [`PAYLOAD_MAX`] bytes; empty for messages that say all by their kind.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// A frame of the current version.
    pub const fn new(kind: Kind, sequence: Sequence, payload: &'a [u8]) -> Self {
        Self { version: VERSION, kind, sequence, payload }
    }

    /// Writes the frame as it goes onto the wire, stuffed and delimited, and says how long it is.
    /// [`super::WIRE_MAX`] bytes are always enough.
    pub fn encode_into(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        if self.payload.len() > PAYLOAD_MAX {
            return Err(EncodeError::PayloadTooLong { len: self.payload.len() });
        }
        self.write(out).ok_or(EncodeError::BufferTooShort)
    }

    fn write(&self, out: &mut [u8]) -> Option<usize> {
        let [sequence_low, sequence_high] = self.sequence.0.to_le_bytes();
        let header = [self.version, self.kind.0, sequence_low, sequence_high];
        let mut digest = CRC.digest();
        digest.update(&header);
        digest.update(self.payload);

        let mut encoder = cobs::Encoder::new(out)?;
        encoder.extend(&header)?;
        encoder.extend(self.payload)?;
        encoder.extend(&digest.finalize().to_le_bytes())?;
        let len = encoder.finish();
        *out.get_mut(len)? = DELIMITER;
        Some(len + 1)
    }
}

/// The CRC of header and payload.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    CRC.checksum(bytes)
}

/// What a payload holds. A plain number: a frame of a kind we do not know is still a sound frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub u8);

impl Kind {
    /// Peripheral to host: who I am.
    pub const HELLO: Self = Self(0x01);
    /// Peripheral to host: a weight, live or captured.
    pub const WEIGHT: Self = Self(0x02);
    /// Host to peripheral: tell me.
    pub const POLL: Self = Self(0x10);
    /// Either way: I have it, forget it.
    pub const ACK: Self = Self(0x20);
    /// Either way: I cannot do what you asked, and why.
    pub const NACK: Self = Self(0x21);
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::HELLO => f.write_str("hello"),
            Self::WEIGHT => f.write_str("weight"),
            Self::POLL => f.write_str("poll"),
            Self::ACK => f.write_str("ack"),
            Self::NACK => f.write_str("nack"),
            Self(other) => write!(f, "kind {other:#04x}"),
        }
    }
}

/// A sender's own numbering of its frames: 1, 2, 3 ... 65535, 1, 2 ... It means something only together with the boot
/// nonce of that sender, and has nothing to do with a journal's sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sequence(pub u16);

impl Sequence {
    /// Marks a message that nobody keeps: true now, replaced by the next.
    pub const LIVE: Self = Self(0);

    /// Whether the sender waits for an answer to this message.
    pub const fn is_numbered(self) -> bool {
        self.0 != 0
    }

    /// The number after this one. Steps over [`Sequence::LIVE`].
    pub const fn next(self) -> Self {
        match self.0 {
            u16::MAX => Self(1),
            n => Self(n + 1),
        }
    }

    /// How many steps of [`Sequence::next`] lead from `earlier` to here; none when both are the same.
    pub const fn steps_after(self, earlier: Self) -> u16 {
        match self.0.checked_sub(earlier.0) {
            Some(steps) => steps,
            // Past the wrap: 65535 is followed by 1, so the ring has 65535 places.
            None => self.0 + (u16::MAX - earlier.0),
        }
    }
}

/// Why a frame was not written. Both are mistakes of the caller, found at run time because lengths are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The payload exceeds [`PAYLOAD_MAX`].
    #[error("a link payload of {len} bytes exceeds {PAYLOAD_MAX}")]
    PayloadTooLong {
        /// Length of the refused payload.
        len: usize,
    },
    /// The output is shorter than the stuffed frame.
    #[error("the output is too short for the frame")]
    BufferTooShort,
}
