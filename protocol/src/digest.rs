//! What a stream of events has been, in eight bytes.

use core::fmt;

use crc::{CRC_64_XZ, Crc, Table};

const CRC: Crc<u64, Table<1>> = Crc::<u64, Table<1>>::new(&CRC_64_XZ);

/// A chain over the events of one epoch: each link covers all events before it, so that two streams with the same
/// digest at a sequence hold the same events up to there.
///
/// `digest(0) = 0`, `digest(n) = CRC-64/XZ(digest(n - 1) as 8 bytes, big-endian, then event n as a `row` of the
/// published contract)`, in the wire version the event was sent in. Check value of CRC-64/XZ over "123456789": `995DC9BBDF1939FA`. It tells mistakes
/// apart (a restored journal, two boxes with one identity), with odds of 2^-64 against; it is no signature.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Digest(u64);

impl Digest {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// As it came over a wire or from a disk.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// For a wire or a disk.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// With one more event, encoded alone.
    #[must_use]
    pub fn then(self, event: &[u8]) -> Self {
        let mut link = CRC.digest();
        link.update(&self.0.to_be_bytes());
        link.update(event);
        Self(link.finalize())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(CRC.checksum(b"123456789"), 0x995D_C9BB_DF19_39FA);
    }

    #[test]
    fn an_event_missing_repeated_or_exchanged_shows_in_all_that_follow() {
        let chain =
            |events: &[&str]| events.iter().fold(Digest::START, |chain, event| chain.then(event.as_bytes()));
        let right = chain(&["a", "b", "c"]);
        for other in
            [&["a", "c"][..], &["a", "b", "b", "c"], &["b", "a", "c"], &["x", "b", "c"], &["ab", "c"]]
        {
            assert_ne!(chain(other), right, "{other:?}");
        }
    }
}
