//! Consistent Overhead Byte Stuffing: a frame without zeros, so that zero can delimit it.
//!
//! Each code byte says how far it is to the next zero that was taken out; `FF` says 254 bytes follow and no zero was
//! there. We write the classic form (a full block is always followed by another code byte) and read either.

use super::DELIMITER;

/// The code byte of a block of 254 bytes that ended without a zero.
const FULL_BLOCK: u8 = 0xFF;

/// Encodes `bytes` into `out`, without a delimiter, and says how long that is; `None` when `out` is too short.
pub fn encode(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut encoder = Encoder::new(out)?;
    encoder.extend(bytes)?;
    Some(encoder.finish())
}

/// Decodes one frame, given without its delimiter, into `out`; `None` when it is torn, holds a zero, or `out` is too
/// short.
pub fn decode(encoded: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut unstuffer = Unstuffer::new();
    let mut len = 0;
    for &byte in encoded {
        if byte == DELIMITER {
            return None;
        }
        if let Some(plain) = unstuffer.push(byte) {
            *out.get_mut(len)? = plain;
            len += 1;
        }
    }
    unstuffer.is_complete().then_some(len)
}

/// Writes stuffed bytes into a slice, one plain byte at a time, so that header, payload and CRC need no common buffer.
pub(super) struct Encoder<'a> {
    out: &'a mut [u8],
    /// Where the code byte of the open block stands. Always inside `out`.
    code_at: usize,
    /// Where the next byte goes. Always above `code_at`.
    at: usize,
}

impl<'a> Encoder<'a> {
    /// `None` when there is no room even for the first code byte.
    pub(super) fn new(out: &'a mut [u8]) -> Option<Self> {
        (!out.is_empty()).then_some(Self { out, code_at: 0, at: 1 })
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) -> Option<()> {
        bytes.iter().try_for_each(|&byte| self.push(byte))
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        if byte != DELIMITER {
            *self.out.get_mut(self.at)? = byte;
            self.at += 1;
        }
        if byte == DELIMITER || self.open_code() == FULL_BLOCK {
            self.out[self.code_at] = self.open_code();
            // Reserves the next code byte; it must fit even when it turns out to be the last `01`.
            self.out.get(self.at)?;
            self.code_at = self.at;
            self.at += 1;
        }
        Some(())
    }

    /// Closes the last block and says how many bytes were written.
    pub(super) fn finish(self) -> usize {
        self.out[self.code_at] = self.open_code();
        self.at
    }

    /// Bytes in the open block plus one. A block is closed at 255, so this never truncates.
    fn open_code(&self) -> u8 {
        (self.at - self.code_at) as u8
    }
}

/// Takes stuffed bytes, gives plain ones. Knows nothing of buffers and delimiters.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unstuffer {
    /// Plain bytes still to come in the open block.
    left: u8,
    /// Whether a zero belongs before the next block. False at the start and after a full block.
    owes_zero: bool,
}

impl Unstuffer {
    pub(super) const fn new() -> Self {
        Self { left: 0, owes_zero: false }
    }

    /// Takes one byte that is not the delimiter.
    pub(super) fn push(&mut self, byte: u8) -> Option<u8> {
        if self.left > 0 {
            self.left -= 1;
            return Some(byte);
        }
        let zero = self.owes_zero.then_some(0);
        self.left = byte.wrapping_sub(1);
        self.owes_zero = byte != FULL_BLOCK;
        zero
    }

    /// Whether a delimiter may come now. Otherwise the frame is torn.
    pub(super) fn is_complete(&self) -> bool {
        self.left == 0
    }
}
