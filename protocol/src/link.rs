//! The serial link to a microcontroller peripheral: what a [`Frame`] looks like, what it says, and how the host end
//! of the cable behaves.
//!
//! `no_std` and free of allocation: the same code runs in a load cell's firmware and in the agent.
//!
//! ```text
//!  bytes -> Decoder -> Frame -> Message -> Host -> Event        (the agent, the bench tool)
//! ```
//!
//! * [`Frame`]: the bytes between two delimiters, with version, kind, sequence and CRC.
//! * [`Decoder`]: takes one byte at a time, resynchronises on delimiters and counts every frame it had to give up.
//! * [`Message`]: the few things two ends can say.
//! * [`Host`]: the agent's end: greets, polls, tells a capture from its repetition, acknowledges.
//!
//! **Polled or kept.** A message with [`Sequence::LIVE`] is the state of this moment; if it is lost the next one
//! replaces it. A numbered message of a peripheral is a fact (a captured weight): it is repeated until the host
//! acknowledges that number. A number that is skipped is a fact the peripheral had no room to keep. The first number
//! of each life is the hello, so that no fact of a new life can pass for a repetition from the old one.
//!
//! **Who speaks first.** The host. A peripheral announces itself once at boot, and then speaks only to a host it has
//! heard within [`HOST_QUIET`]: captures made while nobody listens wait in its store instead of being sent into
//! a cable nobody reads.

use core::time::Duration;

mod cobs;
mod decoder;
mod frame;
mod host;
mod message;

pub use cobs::{decode as cobs_decode, encode as cobs_encode};
pub use decoder::{Counters, Decoder, FrameError};
pub use frame::{EncodeError, Frame, Kind, Sequence};
pub use host::{Arrival, Event, Host};
pub use message::{
    Ack, BootNonce, Capabilities, Hello, Identity, IdentityError, Message, MessageError, Nack, NackReason,
    Poll, Range, Unit, Weight, Wire,
};

/// The only version of the link so far. A frame of another version is counted and refused.
pub const VERSION: u8 = 1;

/// A delimiter ends every frame and occurs nowhere inside one. Sent alone it flushes half a frame from the other
/// end's decoder, which is what either end does first after opening the line.
pub const DELIMITER: u8 = 0;

/// Payload limit. With header and CRC a frame stays below 254 bytes, so COBS costs exactly one byte, and the two
/// dialects of COBS (with and without a last `01` after a full block) never differ.
pub const PAYLOAD_MAX: usize = 240;

/// Header (version, kind, sequence) and CRC.
pub const OVERHEAD: usize = 6;

/// A whole frame before COBS: what a [`Decoder`] has to hold.
pub const FRAME_MAX: usize = PAYLOAD_MAX + OVERHEAD;

/// A whole frame on the wire: one COBS byte before it, one delimiter behind it.
pub const WIRE_MAX: usize = FRAME_MAX + 2;

/// The line rate both ends start with: every USB bridge and microcontroller can do it, and a weight (27 bytes on
/// the wire) takes 2.4 ms.
pub const BAUD: u32 = 115_200;

/// How long a peripheral believes in a host it no longer hears. Hosts poll several times a second; five seconds
/// outlast a busy host and a garbled poll or two.
pub const HOST_QUIET: Duration = Duration::from_secs(5);

/// How long a peripheral waits for an acknowledgement before it repeats a kept message: many times the round trip
/// (about 5 ms at [`BAUD`]) plus the time a host takes to write to its disk.
pub const RESEND_AFTER: Duration = Duration::from_millis(250);
