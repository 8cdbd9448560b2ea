//! The only encoder and decoder: compact, deterministic CBOR (RFC 8949 section 4.2), arrays and small integer keys.
//!
//! A decoder refuses before it works: the size is capped first, the version looked at next, then the bytes are read
//! into types and never into a free value; what was read is written again and must give the same bytes. So there is
//! one encoding of each message, nothing trails it, and hashes of bytes are hashes of meaning.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

mod control;
mod details;
mod event;
mod task;

/// The wire versions this build reads; it writes the newest.
pub const VERSION: core::ops::RangeInclusive<u8> = 1..=1;

/// One event by itself. The sum of all fields at their greatest is below it, so no event is ever too large to send.
pub const EVENT_BYTES_MAX: usize = 2 * 1024;
/// Events in one publish: beyond it the header's share of the bytes no longer shrinks and a resend costs more.
pub const BATCH_EVENTS_MAX: usize = 256;
/// One batch: a fifth of a second on a 2.5 Mbit/s uplink, and far below the packet limit of every broker.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;
/// Acks, states, commands and replies are a few dozen bytes.
pub const CONTROL_BYTES_MAX: usize = 1024;
/// One part of the catalogue: about 4,000 items.
pub const CATALOGUE_BYTES_MAX: usize = 240 * 1024;
/// What an MQTT client and broker must allow in one packet: the largest message and its topic.
pub const PACKET_BYTES_MAX: usize = 256 * 1024;

/// A message with one encoding.
pub trait Message: Sized {
    /// For error texts.
    const NAME: &'static str;
    /// Longest encoding that is looked at.
    const BYTES_MAX: usize;

    /// The bytes.
    fn encode(&self) -> Vec<u8>;

    /// Reads the bytes of exactly one message.
    ///
    /// # Errors
    /// [`DecodeError`] tells what was expected and what came; nothing is allocated by announced lengths alone.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than the message may be.
    #[error("{name}: {got} bytes, at most {max} are allowed")]
    TooLong {
        /// Which message.
        name: &'static str,
        /// Its limit.
        max: usize,
        /// What came.
        got: usize,
    },
    /// A wire version that this build does not read.
    #[error("{name}: wire version {got}, this build reads {} to {}", VERSION.start(), VERSION.end())]
    Version {
        /// Which message.
        name: &'static str,
        /// What came.
        got: u8,
    },
    /// Not the CBOR that the contract describes.
    #[error("{name}: {reason}")]
    Malformed {
        /// Which message.
        name: &'static str,
        /// What was wrong.
        reason: String,
    },
    /// Readable, but not the one deterministic encoding (or something trails it).
    #[error("{name}: not the deterministic encoding, byte {at} differs")]
    NotDeterministic {
        /// Which message.
        name: &'static str,
        /// First byte that differs from what this build writes.
        at: usize,
    },
}

/// Writing to memory cannot fail, and every type written here serializes.
#[allow(clippy::expect_used)]
fn write<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    ciborium::into_writer(value, &mut bytes).expect("CBOR to memory");
    bytes
}

/// Size, version, types, then the encoding itself.
fn read<M: Message, W: DeserializeOwned>(
    bytes: &[u8],
    build: impl FnOnce(W) -> Result<M, String>,
) -> Result<M, DecodeError> {
    let name = M::NAME;
    if bytes.len() > M::BYTES_MAX {
        return Err(DecodeError::TooLong { name, max: M::BYTES_MAX, got: bytes.len() });
    }
    // Every message is an array of fewer than 24 elements that begins with its version, a small unsigned integer.
    if let [0x80..=0x97, got @ 0x00..=0x17, ..] = bytes
        && !VERSION.contains(got)
    {
        return Err(DecodeError::Version { name, got: *got });
    }
    let malformed = |reason: String| DecodeError::Malformed { name, reason };
    let wire: W = ciborium::from_reader(bytes).map_err(|fault| malformed(fault.to_string()))?;
    let message = build(wire).map_err(malformed)?;
    let again = message.encode();
    if again != bytes {
        let at = again.iter().zip(bytes).position(|(a, b)| a != b).unwrap_or(again.len().min(bytes.len()));
        return Err(DecodeError::NotDeterministic { name, at });
    }
    Ok(message)
}

/// Up to three values under the keys 0, 1 and 2 of a map; what is not there has no key.
struct Sparse<A, B, C>(Option<A>, Option<B>, Option<C>);

impl<A: Serialize, B: Serialize, C: Serialize> Serialize for Sparse<A, B, C> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let Sparse(first, second, third) = self;
        let count =
            usize::from(first.is_some()) + usize::from(second.is_some()) + usize::from(third.is_some());
        let mut map = to.serialize_map(Some(count))?;
        first.as_ref().map_or(Ok(()), |value| map.serialize_entry(&0, value))?;
        second.as_ref().map_or(Ok(()), |value| map.serialize_entry(&1, value))?;
        third.as_ref().map_or(Ok(()), |value| map.serialize_entry(&2, value))?;
        map.end()
    }
}

impl<'de, A, B, C> serde::Deserialize<'de> for Sparse<A, B, C>
where
    A: serde::Deserialize<'de>,
    B: serde::Deserialize<'de>,
    C: serde::Deserialize<'de>,
{
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::{Error as _, MapAccess};
        struct Visitor<A, B, C>(core::marker::PhantomData<(A, B, C)>);
        impl<'de, A, B, C> serde::de::Visitor<'de> for Visitor<A, B, C>
        where
            A: serde::Deserialize<'de>,
            B: serde::Deserialize<'de>,
            C: serde::Deserialize<'de>,
        {
            type Value = Sparse<A, B, C>;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("a map with keys 0 to 2")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut value = Sparse(None, None, None);
                // Repeated and unordered keys are caught by writing the message again.
                while let Some(key) = map.next_key::<u8>()? {
                    match key {
                        0 => value.0 = Some(map.next_value()?),
                        1 => value.1 = Some(map.next_value()?),
                        2 => value.2 = Some(map.next_value()?),
                        key => return Err(M::Error::custom(format_args!("no key {key}"))),
                    }
                }
                Ok(value)
            }
        }
        from.deserialize_map(Visitor(core::marker::PhantomData))
    }
}

/// A CBOR byte string of fixed length; serde would write an array as numbers.
#[derive(Clone, Copy)]
struct Bytes16([u8; 16]);

impl Serialize for Bytes16 {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Bytes16 {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes16;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("16 bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes16, E> {
                bytes.try_into().map(Bytes16).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        from.deserialize_bytes(Visitor)
    }
}
