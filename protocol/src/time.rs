//! When something happened, and how far that is to be trusted.

/// Wall time as the edge box knew it. It is data: order comes from (epoch, sequence) alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum When {
    /// The clock was synchronised.
    Synced {
        /// Milliseconds since 1970-01-01 UTC.
        unix_ms: i64,
    },
    /// The clock was not (a box without a clock battery starts in the past). Any later synchronised time of the
    /// same boot gives the offset, so the gateway corrects it then.
    Unsynced {
        /// What the clock said; may be decades off.
        unix_ms: i64,
        /// Which start of the box, counted by its journal.
        boot: u32,
        /// Monotonic milliseconds since that start.
        uptime_ms: u64,
    },
}

impl When {
    /// What the clock said, in milliseconds since 1970-01-01 UTC.
    pub fn unix_ms(&self) -> i64 {
        match self {
            When::Synced { unix_ms } | When::Unsynced { unix_ms, .. } => *unix_ms,
        }
    }

    /// Whether the clock was synchronised.
    pub fn is_synced(&self) -> bool {
        matches!(self, When::Synced { .. })
    }
}
