//! From bytes to frames, for every protocol whose frames are lines or begin with a mark.
//!
//! ```text
//!    ... noise | frame | half a frame | frame | line too long ...
//!          v       v          v           v          v
//!       Noise   Reading   Truncated    Reading    TooLong          one reply each, in this order
//! ```
//!
//! A protocol gives a [`Grammar`]: where a frame ends, and what it says. [`Framed`] does the rest once for all: bytes in
//! any pieces, damaged frames that become faults, the next good frame found again, and no more memory than one frame.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use super::{FaultKind, FrameFault, Reading, ScaleDecoder};
use crate::serial::Parity;

/// No decoder holds back more bytes than this: the longest frame, and the beginning of the noise before it.
pub const BUFFERED_MAX: usize = 512;
/// A frame is sent in one go: 128 characters take 1.1 s at 1200 baud, so a longer pause within one is a break.
pub(super) const SILENCE_MAX: Duration = Duration::from_millis(1_500);
/// Of bytes that belong to no frame so many are kept: enough to see what the line carries.
const RAW_MAX: usize = 128;
/// Noise without end is told once in so many bytes.
const NOISE_MAX: usize = 1_024;

/// Room that stays for replies: a burst of noise must not hold on to its memory.
const REPLIES_KEPT: usize = 8;

/// What is particular to one protocol.
pub(super) trait Grammar: Send {
    /// No frame has more bytes, its end not counted. Together with the noise before it below [`BUFFERED_MAX`].
    const FRAME_MAX: usize;
    /// A frame begins with a mark, so that in damaged bytes the next one can be looked for. Otherwise frames are lines,
    /// and a damaged one is given up as a whole.
    const MARKED: bool = false;
    /// No byte of a good frame is above 7Fh; one that is shows that the line's parity is set wrongly.
    const SEVEN_BIT: bool = true;

    /// Looks for a frame at the beginning of `bytes`, which are never empty.
    fn cut(&self, bytes: &[u8]) -> Cut {
        line(bytes)
    }

    /// What a frame says; `None` for one that is part of the conversation and nothing else. Changes itself only for a
    /// good frame: a damaged one may be the wrong beginning of another.
    ///
    /// # Errors
    /// When it says no weight that could be believed.
    fn handle_frame(&mut self, now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind>;

    /// See [`ScaleDecoder::request`].
    fn request(&mut self) -> Option<Vec<u8>>;

    /// See [`ScaleDecoder::poll_transmit`].
    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        None
    }
}

/// What stands at the beginning of the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cut {
    /// A frame that is not complete.
    More,
    /// So many bytes of no frame; at least one. For marked frames.
    Skip(usize),
    /// A frame of `len` bytes, and `end` bytes that close it and say nothing. `len` 0: an empty line, no frame.
    Frame {
        /// Its bytes.
        len: usize,
        /// The bytes after it that go with it.
        end: usize,
    },
}

/// Lines that end with CR, LF or CR LF; some firmware of every maker leaves one of the two out.
pub(super) fn line(bytes: &[u8]) -> Cut {
    match bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(len) => Cut::Frame { len, end: 1 },
        None => Cut::More,
    }
}

/// The way to the first `mark`, when that is not where the bytes begin.
pub(super) fn skip_to(mark: u8, bytes: &[u8]) -> Option<Cut> {
    match bytes.iter().position(|byte| *byte == mark) {
        Some(0) => None,
        at => Some(Cut::Skip(at.unwrap_or(bytes.len()))),
    }
}

/// The parity that bytes show when their line has seven data bits and is read with eight; `None` when they do not.
pub fn parity_of(bytes: &[u8]) -> Option<Parity> {
    /// Fewer could agree by chance.
    const BYTES_MIN: usize = 6;
    if bytes.len() < BYTES_MIN || bytes.is_ascii() {
        return None;
    }
    let odd = bytes.iter().filter(|byte| byte.count_ones() % 2 == 1).count();
    match odd {
        0 => Some(Parity::Even),
        all if all == bytes.len() => Some(Parity::Odd),
        _ => None,
    }
}

/// A decoder made of a grammar.
pub(super) struct Framed<G> {
    grammar: G,
    /// What is not yet a frame; at most `FRAME_MAX` bytes between calls.
    buffer: Vec<u8>,
    /// The bytes of no frame since the last reply.
    lost: Option<Lost>,
    /// The line is too long, and what comes up to its end belongs to it.
    overlong: bool,
    /// When the last byte came.
    heard: Option<Duration>,
    replies: VecDeque<Result<Reading, FrameFault>>,
}

struct Lost {
    kind: FaultKind,
    /// At most `RAW_MAX` of them.
    raw: Vec<u8>,
    bytes: usize,
}

impl<G: Grammar> Framed<G> {
    pub(super) fn new(grammar: G) -> Self {
        const { assert!(G::FRAME_MAX + 1 + RAW_MAX <= BUFFERED_MAX) };
        Self {
            grammar,
            buffer: Vec::new(),
            lost: None,
            overlong: false,
            heard: None,
            replies: VecDeque::new(),
        }
    }

    fn cut(&mut self, now: Duration) {
        while !self.buffer.is_empty() {
            match self.grammar.cut(&self.buffer) {
                Cut::More if self.overlong => self.lose(self.buffer.len(), FaultKind::Noise),
                Cut::More if self.buffer.len() <= G::FRAME_MAX => return,
                Cut::More if G::MARKED => self.lose(1, FaultKind::TooLong { max: G::FRAME_MAX }),
                Cut::More => {
                    self.overlong = true;
                    self.lose(self.buffer.len(), FaultKind::TooLong { max: G::FRAME_MAX });
                }
                Cut::Skip(bytes) => self.lose(bytes, FaultKind::Noise),
                Cut::Frame { len, end } if self.overlong => {
                    self.overlong = false;
                    self.lose(len, FaultKind::Noise);
                    self.buffer.drain(..end);
                    self.tell_lost();
                }
                Cut::Frame { len: 0, end } => drop(self.buffer.drain(..end)),
                Cut::Frame { len, end } => self.handle_frame(now, len, end),
            }
        }
    }

    fn handle_frame(&mut self, now: Duration, len: usize, end: usize) {
        let frame = &self.buffer[..len];
        let reply = if G::SEVEN_BIT && !frame.is_ascii() {
            Err(FaultKind::Parity)
        } else {
            self.grammar.handle_frame(now, frame)
        };
        match reply {
            Err(kind) if G::MARKED && kind.is_damage() => self.lose(1, kind),
            reply => {
                let (raw, bytes) = (frame.to_vec(), len);
                self.buffer.drain(..len + end);
                self.tell_lost();
                match reply {
                    Ok(Some(reading)) => self.replies.push_back(Ok(reading)),
                    Ok(None) => {}
                    Err(kind) => self.replies.push_back(Err(FrameFault { kind, raw, bytes })),
                }
            }
        }
    }

    /// The first `bytes` belong to no frame. Damage begins a fault of its own, noise goes with what is before it.
    fn lose(&mut self, bytes: usize, kind: FaultKind) {
        if kind != FaultKind::Noise {
            self.tell_lost();
        }
        let lost = self.lost.get_or_insert_with(|| Lost { kind, raw: Vec::new(), bytes: 0 });
        let room = RAW_MAX.saturating_sub(lost.raw.len());
        lost.bytes += bytes;
        lost.raw.extend(self.buffer.drain(..bytes).take(room));
        if lost.bytes >= NOISE_MAX {
            self.tell_lost();
        }
    }

    fn tell_lost(&mut self) {
        if let Some(Lost { kind, raw, bytes }) = self.lost.take() {
            let kind = match kind {
                FaultKind::Noise if G::SEVEN_BIT && !raw.is_ascii() => FaultKind::Parity,
                kind => kind,
            };
            self.replies.push_back(Err(FrameFault { kind, raw, bytes }));
        }
    }

    /// Nothing more comes for what is held back.
    fn give_up(&mut self) {
        self.tell_lost();
        self.overlong = false;
        if !self.buffer.is_empty() {
            let raw = mem::take(&mut self.buffer);
            let bytes = raw.len();
            let kind = if G::SEVEN_BIT && !raw.is_ascii() { FaultKind::Parity } else { FaultKind::Truncated };
            self.replies.push_back(Err(FrameFault { kind, raw, bytes }));
        }
    }
}

impl<G: Grammar> ScaleDecoder for Framed<G> {
    fn request(&mut self) -> Option<Vec<u8>> {
        self.grammar.request()
    }

    fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        self.handle_timeout(now);
        if !bytes.is_empty() {
            self.heard = Some(now);
        }
        // One by one: a frame is cut where it ends, not where the driver happened to stop reading.
        for &byte in bytes {
            self.buffer.push(byte);
            self.cut(now);
        }
    }

    fn poll_reply(&mut self) -> Option<Result<Reading, FrameFault>> {
        let reply = self.replies.pop_front();
        if reply.is_none() {
            self.replies.shrink_to(REPLIES_KEPT);
        }
        reply
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.grammar.poll_transmit()
    }

    fn poll_timeout(&self) -> Option<Duration> {
        let held = !self.buffer.is_empty() || self.lost.is_some();
        self.heard.filter(|_| held).map(|heard| heard + SILENCE_MAX)
    }

    fn handle_timeout(&mut self, now: Duration) {
        if self.poll_timeout().is_some_and(|due| now >= due) {
            self.give_up();
        }
    }

    fn handle_end(&mut self) {
        self.give_up();
    }

    fn buffered(&self) -> usize {
        self.buffer.len() + self.lost.as_ref().map_or(0, |lost| lost.raw.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Range, Stability};
    use super::*;

    /// Lines: `=` and anything is a frame.
    struct Lines;

    impl Grammar for Lines {
        const FRAME_MAX: usize = 8;

        fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
            match frame {
                [b'='] => Ok(None),
                [b'=', ..] => Ok(Some(Reading::status(Stability::Stable, Range::Ok, frame))),
                _ => Err(FaultKind::Malformed { expected: "=" }),
            }
        }

        fn request(&mut self) -> Option<Vec<u8>> {
            None
        }
    }

    /// STX, two bytes, and their sum.
    struct Sums;

    impl Grammar for Sums {
        const FRAME_MAX: usize = 4;
        const MARKED: bool = true;

        fn cut(&self, bytes: &[u8]) -> Cut {
            let frame = if bytes.len() < 4 { Cut::More } else { Cut::Frame { len: 4, end: 0 } };
            skip_to(2, bytes).unwrap_or(frame)
        }

        fn handle_frame(&mut self, _now: Duration, frame: &[u8]) -> Result<Option<Reading>, FaultKind> {
            match frame {
                [_, a, b, sum] if a + b == *sum => {
                    Ok(Some(Reading::status(Stability::Stable, Range::Ok, frame)))
                }
                _ => Err(FaultKind::Checksum),
            }
        }

        fn request(&mut self) -> Option<Vec<u8>> {
            None
        }
    }

    fn replies(decoder: &mut dyn ScaleDecoder) -> String {
        let print = |reply: Result<Reading, FrameFault>| match reply {
            Ok(reading) => format!("{}", reading.raw.escape_ascii()),
            Err(fault) => format!("{} {}", fault.kind.as_str(), fault.raw.escape_ascii()),
        };
        std::iter::from_fn(|| decoder.poll_reply()).map(print).collect::<Vec<_>>().join(", ")
    }

    fn check<G: Grammar + 'static>(grammar: fn() -> G, bytes: &[u8], expected: &str) {
        let mut decoder = Framed::new(grammar());
        decoder.handle_bytes(Duration::ZERO, bytes);
        decoder.handle_end();
        assert_eq!(replies(&mut decoder), expected, "{}", bytes.escape_ascii());
        for at in 0..=bytes.len() {
            let mut decoder = Framed::new(grammar());
            decoder.handle_bytes(Duration::ZERO, &bytes[..at]);
            decoder.handle_bytes(Duration::ZERO, &bytes[at..]);
            decoder.handle_end();
            assert_eq!(replies(&mut decoder), expected, "{} split at {at}", bytes.escape_ascii());
        }
    }

    #[test]
    fn lines() {
        check(|| Lines, b"=1\r\n=2\n\n=3\r", "=1, =2, =3");
        check(|| Lines, b"=\r\n=1\r\n", "=1");
        check(|| Lines, b"x\r\n=1\r\n=2", "malformed x, =1, truncated =2");
        check(|| Lines, b"=1234567\r\n=12345678\r\n=1\r\n", "=1234567, too_long =12345678, =1");
        check(|| Lines, b"=123456789=1\r\n=1\r\n", "too_long =123456789=1, =1");
        check(|| Lines, b"=\xb1\r\n=1\r\n\xff", "parity =\\xb1, =1, parity \\xff");
    }

    #[test]
    fn marked_frames_are_found_again_inside_damaged_ones() {
        check(|| Sums, b"\x02\x21\x21\x42\x02\x01\x02\x03", "\\x02!!B, \\x02\\x01\\x02\\x03");
        check(|| Sums, b"ab\x02\x21\x21\x42c\x02", "noise ab, \\x02!!B, noise c, truncated \\x02");
        check(|| Sums, b"\x02\x41\x02\x21\x21\x42", "checksum \\x02A, \\x02!!B");
        check(|| Sums, b"\x02\x41\x41\x41\x02\x41\x41\x41", "checksum \\x02AAA, checksum \\x02AAA");
        check(|| Sums, b"\x82\x33\x30\xb1\xb2\x30", "parity \\x8230\\xb1\\xb20");
    }

    #[test]
    fn endless_noise_is_told_again_and_again_in_bounded_memory() {
        let mut decoder = Framed::new(Lines);
        let mut faults = 0;
        for _ in 0..10_000 {
            decoder.handle_bytes(Duration::ZERO, b"x");
            assert!(decoder.buffered() <= BUFFERED_MAX);
            faults += std::iter::from_fn(|| decoder.poll_reply()).count();
        }
        assert_eq!(faults, 10_000 / NOISE_MAX);
        decoder.handle_bytes(Duration::ZERO, &b"x\n".repeat(10_000));
        assert_eq!(std::iter::from_fn(|| decoder.poll_reply()).count(), 10_000);
        assert!(decoder.replies.capacity() <= 2 * REPLIES_KEPT);
    }

    #[test]
    fn a_frame_that_breaks_off_is_not_glued_to_the_next() {
        let mut decoder = Framed::new(Lines);
        decoder.handle_bytes(Duration::from_secs(1), b"=1");
        assert_eq!(decoder.poll_timeout(), Some(Duration::from_secs(1) + SILENCE_MAX));
        decoder.handle_timeout(Duration::from_secs(2));
        assert_eq!(replies(&mut decoder), "");
        decoder.handle_timeout(Duration::from_secs(3));
        assert_eq!((replies(&mut decoder).as_str(), decoder.poll_timeout()), ("truncated =1", None));
        decoder.handle_bytes(Duration::from_secs(4), b"=2");
        decoder.handle_bytes(Duration::from_secs(9), b"=3\r");
        assert_eq!(replies(&mut decoder), "truncated =2, =3");
    }

    #[test]
    fn a_parity_bit_read_as_data_is_recognised() {
        assert_eq!(parity_of(b"\x82\x30\x30\x2E\xB1\xB2\x30\x8D"), Some(Parity::Even));
        assert_eq!(parity_of(b"\x02\xB0\xB0\xAE\x31\x32\xB0\x0D"), Some(Parity::Odd));
        assert_eq!(parity_of(b"00.120\r"), None);
        assert_eq!(parity_of(b"\xff\x00\xfe\x13\x80\x81"), None);
        assert_eq!(parity_of(b"\xB1\xB2"), None);
    }
}
