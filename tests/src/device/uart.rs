//! What one end of a serial line reads when the other end sends with other settings.
//!
//! ```text
//!  idle  start  b0 b1 b2 b3 b4 b5 b6 (b7) (parity)  stop  idle
//!  ~~~~~\_____/ =========================== =====  /~~~~~~~~~~
//! ```
//! A receiver waits for a falling edge and samples in the middle of each of its own bits. Whatever a technician sees
//! after a mistake in a menu follows from that: seven bits with parity read as eight show a set eighth bit, eight bits
//! read as seven with parity show zeros, another speed shows bytes of its own making.

use std::fmt;
use std::time::Duration;

/// How bits go over the line; prints as technicians write it: `9600 8N1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// Bits per second.
    pub baud: u32,
    /// 7 or 8.
    pub data_bits: u8,
    /// The parity bit.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
}

/// The parity bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Parity {
    None,
    Even,
    Odd,
}

impl Line {
    /// Eight bits, no parity.
    pub const fn eight(baud: u32) -> Self {
        Self { baud, data_bits: 8, parity: Parity::None, stop_bits: 1 }
    }

    /// Seven bits and a parity bit.
    pub const fn seven(baud: u32, parity: Parity) -> Self {
        Self { baud, data_bits: 7, parity, stop_bits: 1 }
    }

    /// How long one character takes.
    pub fn character_time(&self) -> Duration {
        let bits = 1 + u32::from(self.data_bits) + u32::from(self.parity != Parity::None);
        Duration::from_secs(1) * (bits + u32::from(self.stop_bits)) / self.baud
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{} {}{parity}{}", self.baud, self.data_bits, self.stop_bits)
    }
}

/// What `receiver` reads of what `sender` sends in one go, as Linux hands it on: a byte with a wrong parity bit is
/// read as zero, one without its stop bit is read as it came.
pub fn received(bytes: &[u8], sender: Line, receiver: Line) -> Vec<u8> {
    let mut levels = vec![true];
    for &byte in bytes {
        levels.push(false);
        let bits = (0..sender.data_bits).map(|bit| byte >> bit & 1 == 1);
        levels.extend(bits);
        let ones = (byte & mask(sender)).count_ones();
        match sender.parity {
            Parity::None => {}
            Parity::Even => levels.push(ones % 2 == 1),
            Parity::Odd => levels.push(ones.is_multiple_of(2)),
        }
        levels.extend([true].repeat(usize::from(sender.stop_bits)));
    }
    // Time is counted in steps in which both ends' half bits are whole numbers.
    let (sent_bit, read_bit) = (2 * u64::from(receiver.baud), 2 * u64::from(sender.baud));
    // After the last character the line is idle.
    let level = |time: u64| levels.get((time / sent_bit) as usize).copied().unwrap_or(true);
    let end = levels.len() as u64 * sent_bit;
    let (mut time, mut read) = (0, Vec::new());
    while time < end {
        if level(time) {
            time = (time / sent_bit + 1) * sent_bit;
            continue;
        }
        let sample = |bit: u64| level(time + bit * read_bit + read_bit / 2);
        if sample(0) {
            // Shorter than half a bit: a glitch, no start.
            time = (time / sent_bit + 1) * sent_bit;
            continue;
        }
        let data_bits = u64::from(receiver.data_bits);
        let byte = (0..data_bits).fold(0, |byte, bit| byte | u8::from(sample(1 + bit)) << bit);
        let ones_odd = byte.count_ones() % 2 == 1;
        let (parity_bit, parity_good) = match receiver.parity {
            Parity::None => (0, true),
            Parity::Even => (1, sample(1 + data_bits) == ones_odd),
            Parity::Odd => (1, sample(1 + data_bits) != ones_odd),
        };
        let stop = 1 + data_bits + parity_bit;
        let stopped = sample(stop);
        let checked = receiver.parity != Parity::None;
        read.push(if parity_good && (stopped || !checked) { byte } else { 0 });
        time += stop * read_bit + read_bit / 2;
        // After a missing stop bit the next start is an edge again, not the same low level.
        while !stopped && time < end && !level(time) {
            time = (time / sent_bit + 1) * sent_bit;
        }
    }
    read
}

fn mask(line: Line) -> u8 {
    if line.data_bits == 7 { 0x7f } else { 0xff }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEVEN_EVEN: Line = Line::seven(9_600, Parity::Even);

    #[test]
    fn equal_settings_read_what_was_sent() {
        let bytes: Vec<u8> = (0..=255).collect();
        let two_stops = Line { stop_bits: 2, ..Line::eight(4_800) };
        for line in [Line::eight(9_600), Line::eight(1_200), two_stops] {
            assert_eq!(received(&bytes, line, line), bytes, "{line}");
        }
        for line in [SEVEN_EVEN, Line::seven(2_400, Parity::Odd)] {
            assert_eq!(received(&bytes[..128], line, line), bytes[..128], "{line}");
        }
    }

    #[test]
    fn mistakes_of_parity_look_as_they_do_on_a_bench() {
        // The frame that the reference gives for seven bits read as eight.
        let read = received(b"\x0200.120\r", SEVEN_EVEN, Line::eight(9_600));
        assert_eq!(read, [0x82, 0x30, 0x30, 0x2e, 0xb1, 0xb2, 0x30, 0x8d]);
        // The other way round each character with an odd number of ones is a parity error.
        let read = received(b"\x0200.120\r", Line::eight(9_600), SEVEN_EVEN);
        assert_eq!(read, [0, b'0', b'0', b'.', 0, 0, b'0', 0]);
    }

    #[test]
    fn another_speed_makes_other_bytes() {
        let frame = b"S S     12.345 kg\r\n";
        let (slow, fast) = (Line::eight(2_400), Line::eight(9_600));
        let (too_fast, too_slow) = (received(frame, slow, fast), received(frame, fast, slow));
        // Four bits of ours for each of theirs: many more bytes, made of runs of equal bits.
        assert!(too_fast.len() > 2 * frame.len(), "{too_fast:02x?}");
        assert!(too_slow.len() < frame.len(), "{too_slow:02x?}");
        assert!(!frame.windows(4).any(|part| too_slow.windows(4).any(|other| other == part)));
    }
}
