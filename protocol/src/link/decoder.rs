//! From bytes as they come off the line to frames that can be believed.

use super::cobs::Unstuffer;
use super::frame::{Frame, Kind, Sequence, checksum};
use super::{DELIMITER, FRAME_MAX, OVERHEAD, VERSION};

/// Takes a serial line byte by byte and hands out sound frames.
///
/// Whatever arrives, it finds the next frame at the next delimiter, never holds more than `N` bytes, and counts each
/// frame it had to give up. `N` is the longest frame this end understands: a lamp with little memory may choose less
/// than [`FRAME_MAX`].
#[derive(Debug, Clone)]
pub struct Decoder<const N: usize = FRAME_MAX> {
    state: State,
    /// `buffer[..len]` are the plain bytes of the open frame.
    buffer: [u8; N],
    len: usize,
    counters: Counters,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Between frames: only delimiters since the last one.
    Idle,
    Collecting(Unstuffer),
    /// The open frame is longer than any we understand; its end is all we wait for.
    Discarding,
}

impl<const N: usize> Decoder<N> {
    /// A decoder that has seen nothing.
    pub const fn new() -> Self {
        const { assert!(N >= OVERHEAD, "a decoder must hold at least an empty frame") };
        Self { state: State::Idle, buffer: [0; N], len: 0, counters: Counters::new() }
    }

    /// Takes one byte. `None` means that no frame ends here, not that something is wrong.
    pub fn push(&mut self, byte: u8) -> Option<Result<Frame<'_>, FrameError>> {
        if byte == DELIMITER {
            return self.end();
        }
        let mut unstuffer = match self.state {
            State::Idle => {
                self.len = 0;
                Unstuffer::new()
            }
            State::Collecting(unstuffer) => unstuffer,
            State::Discarding => return None,
        };
        self.state = match unstuffer.push(byte) {
            None => State::Collecting(unstuffer),
            Some(plain) => match self.buffer.get_mut(self.len) {
                Some(slot) => {
                    *slot = plain;
                    self.len += 1;
                    State::Collecting(unstuffer)
                }
                None => State::Discarding,
            },
        };
        None
    }

    /// What this line has carried so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A delimiter: the open frame is judged here, and here alone, so that each is counted once.
    fn end(&mut self) -> Option<Result<Frame<'_>, FrameError>> {
        let verdict = match core::mem::replace(&mut self.state, State::Idle) {
            // Delimiters in a row are how both ends flush.
            State::Idle => return None,
            State::Discarding => Err(FrameError::TooLong),
            State::Collecting(unstuffer) if !unstuffer.is_complete() => Err(FrameError::Torn),
            State::Collecting(_) => parse(&self.buffer[..self.len]),
        };
        self.counters.count(&verdict);
        Some(verdict)
    }
}

impl<const N: usize> Default for Decoder<N> {
    fn default() -> Self {
        Self::new()
    }
}

fn parse(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    let Some((body, &[crc_low, crc_high])) = bytes.split_last_chunk::<2>() else {
        return Err(FrameError::Torn);
    };
    let Some((&[version, kind, sequence_low, sequence_high], payload)) = body.split_first_chunk::<4>() else {
        return Err(FrameError::Torn);
    };
    let carried = u16::from_le_bytes([crc_low, crc_high]);
    let computed = checksum(body);
    if carried != computed {
        return Err(FrameError::Noisy { carried, computed });
    }
    // Only now is the version byte more than noise.
    if version != VERSION {
        return Err(FrameError::ForeignVersion { version });
    }
    let sequence = Sequence(u16::from_le_bytes([sequence_low, sequence_high]));
    Ok(Frame { version, kind: Kind(kind), sequence, payload })
}

/// Why the bytes between two delimiters are no frame. Never a reason to close the line: the next frame may be sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Bytes are missing: a delimiter came inside a COBS block, or too early for header and CRC.
    #[error("torn frame")]
    Torn,
    /// Complete, but the CRC does not agree.
    #[error("noisy frame: it carries CRC {carried:04X}, its bytes give {computed:04X}")]
    Noisy {
        /// As received.
        carried: u16,
        /// As it should be for the bytes received.
        computed: u16,
    },
    /// Longer than this decoder holds. Also what two frames look like when the delimiter between them is lost.
    #[error("frame longer than this end accepts")]
    TooLong,
    /// A sound frame of a version we do not read.
    #[error("link version {version}, this end reads {VERSION}")]
    ForeignVersion {
        /// As received.
        version: u8,
    },
}

/// What a line has carried. Each counter stops at its maximum instead of starting over: "very many" must not read "few".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Sound frames.
    pub sound: u32,
    /// [`FrameError::Torn`].
    pub torn: u32,
    /// [`FrameError::Noisy`].
    pub noisy: u32,
    /// [`FrameError::TooLong`].
    pub too_long: u32,
    /// [`FrameError::ForeignVersion`].
    pub foreign_version: u32,
}

impl Counters {
    /// Nothing carried yet.
    pub const fn new() -> Self {
        Self { sound: 0, torn: 0, noisy: 0, too_long: 0, foreign_version: 0 }
    }

    /// Frames that were given up, for whatever reason.
    pub const fn lost(&self) -> u32 {
        self.torn
            .saturating_add(self.noisy)
            .saturating_add(self.too_long)
            .saturating_add(self.foreign_version)
    }

    fn count(&mut self, verdict: &Result<Frame<'_>, FrameError>) {
        let counter = match verdict {
            Ok(_) => &mut self.sound,
            Err(FrameError::Torn) => &mut self.torn,
            Err(FrameError::Noisy { .. }) => &mut self.noisy,
            Err(FrameError::TooLong) => &mut self.too_long,
            Err(FrameError::ForeignVersion { .. }) => &mut self.foreign_version,
        };
        *counter = counter.saturating_add(1);
    }
}
