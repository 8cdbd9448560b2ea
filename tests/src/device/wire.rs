//! Bytes on a serial line: one after the other at the line's pace, as the other end's settings read them.

use std::collections::VecDeque;
use std::time::Duration;

use super::uart::{self, Line};

/// What is being sent: bytes, and the moment at which the last bit of each has gone.
#[derive(Default)]
pub(super) struct Sending(VecDeque<(Duration, u8)>);

impl Sending {
    /// Nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The plug was pulled, or the device switched off.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// When the next byte has gone.
    pub(super) fn due(&self) -> Option<Duration> {
        self.0.front().map(|(due, _)| *due)
    }

    /// Sends a frame from a moment on, or after what is being sent, over a line that `host` reads with its own settings.
    pub(super) fn push(&mut self, from: Duration, bytes: &[u8], line: Line, host: Line) {
        let begin = self.0.back().map_or(from, |(last, _)| from.max(*last));
        let took = line.character_time() * bytes.len() as u32;
        let read = if host == line { bytes.to_vec() } else { uart::received(bytes, line, host) };
        for (at, byte) in (1u32..).zip(&read) {
            self.0.push_back((begin + took * at / read.len() as u32, *byte));
        }
    }

    /// The same, but the host has nothing until the whole frame has gone: USB adapters collect what follows closely. A
    /// busy machine then puts no pause into a frame that the device did not make.
    pub(super) fn push_whole(&mut self, from: Duration, bytes: &[u8], line: Line, host: Line) {
        let before = self.0.len();
        self.push(from, bytes, line, host);
        let end = self.0.back().map_or(from, |(last, _)| *last);
        self.0.iter_mut().skip(before).for_each(|(due, _)| *due = end);
    }

    /// What has gone by now.
    pub(super) fn gone(&mut self, now: Duration) -> Vec<u8> {
        let count = self.0.iter().take_while(|(due, _)| *due <= now).count();
        self.0.drain(..count).map(|(_, byte)| byte).collect()
    }
}
