//! Zebra with SSI: packets with a checksum, each acknowledged or sent again.
//!
//! ```text
//!  LEN opcode source status data... CKH CKL     LEN counts up to the last data byte; the checksum is the two's
//!                                               complement of the sum of LEN bytes, high byte first
//! ```
//! A read stays in the scanner until the host has acknowledged it: after a NAK it is sent again at once, after 2 s of
//! silence as well, with status bit 0 set; the third try is the last. Out of its box it sends bare text and beeps by
//! itself; parameter EE = 1 makes it send packets, 2D = 1 puts AIM identifiers before the data, 38 = 0 stops its beep.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Io, Model, Sounds, VirtualScanner};
use crate::device::uart::Line;

/// A DS series scanner as it leaves the factory.
pub(super) static ZEBRA: Model = Model {
    name: "ssi",
    variant: "",
    line: Line::eight(9_600),
    config: "",
    sounds: &Sounds {
        good: &["1 short high"],
        heard: &["2 short high"],
        unknown: &["2 short low"],
        refused: &["1 long low"],
        repeated: &["3 short high"],
        not_stored: &["3 long low"],
    },
    packets: true,
    can_be_switched_off: true,
    power_on: || Box::<Zebra>::default(),
};

/// By the code in the host's command.
#[rustfmt::skip]
static BEEPS: [&str; 20] = [
    "1 short high", "2 short high", "3 short high", "4 short high", "5 short high",
    "1 short low",  "2 short low",  "3 short low",  "4 short low",  "5 short low",
    "1 long high",  "2 long high",  "3 long high",  "4 long high",  "5 long high",
    "1 long low",   "2 long low",   "3 long low",   "4 long low",   "5 long low",
];

const RESPONSE_TIME: Duration = Duration::from_secs(2);
const TRIES: u8 = 3;
/// Within a packet of the host bytes follow each other; after this pause another one begins.
const PACKET_GAP: Duration = Duration::from_millis(100);
/// LEN is one byte; header and code type go off.
const TEXT_MAX: usize = 250;

const ACK: u8 = 0xd0;
const NAK: u8 = 0xd1;
const RESEND: u8 = 1;
const DENIED: u8 = 6;
const AGAIN: u8 = 1;
const MORE_FOLLOWS: u8 = 2;

struct Zebra {
    packeted: bool,
    aim: bool,
    own_beep: bool,
    reads: bool,
    /// Packets of reads that the host has not acknowledged; the first one is on its way.
    waiting: VecDeque<(u8, Vec<u8>)>,
    sent: Option<(Duration, u8)>,
    input: Vec<u8>,
    heard: Duration,
    last_command: Vec<u8>,
}

impl Default for Zebra {
    fn default() -> Self {
        Self {
            packeted: false,
            aim: false,
            own_beep: true,
            reads: true,
            waiting: VecDeque::new(),
            sent: None,
            input: Vec::new(),
            heard: Duration::ZERO,
            last_command: Vec::new(),
        }
    }
}

impl VirtualScanner for Zebra {
    fn scan(&mut self, now: Duration, code: &str, io: &mut Io) {
        if !self.reads {
            return;
        }
        if self.own_beep {
            io.sound("its own");
        }
        let (aim, text) = code.split_at(3);
        if !self.packeted {
            io.send(text);
            return;
        }
        let text = if self.aim { code } else { text };
        let mut pieces = text.as_bytes().chunks(TEXT_MAX).peekable();
        while let Some(piece) = pieces.next() {
            let status = if pieces.peek().is_some() { MORE_FOLLOWS } else { 0 };
            self.waiting.push_back((status, [&[code_type(aim)], piece].concat()));
        }
        self.send_next(now, io);
    }

    fn handle_byte(&mut self, now: Duration, byte: u8, io: &mut Io) {
        if now.saturating_sub(self.heard) > PACKET_GAP {
            self.input.clear();
        }
        self.heard = now;
        self.input.push(byte);
        let length = usize::from(self.input[0]);
        if length < 4 {
            self.input.clear();
        } else if self.input.len() == length + 2 {
            let packet = std::mem::take(&mut self.input);
            if checksum(&packet[..length]) == packet[length..] {
                self.handle_packet(now, &packet[1..length], io);
            } else {
                io.send(packet_of(NAK, 0, &[RESEND]));
            }
        }
    }

    fn handle_time(&mut self, now: Duration, io: &mut Io) {
        if let Some((at, tries)) = self.sent.filter(|(at, _)| now >= *at + RESPONSE_TIME) {
            debug_assert!(at <= now);
            self.send_again(now, tries, io);
        }
    }
}

impl Zebra {
    fn handle_packet(&mut self, now: Duration, packet: &[u8], io: &mut Io) {
        let (opcode, status, data) = (packet[0], packet[2], &packet[3..]);
        match opcode {
            ACK => {
                if self.sent.take().is_some() {
                    self.waiting.pop_front();
                }
                return self.send_next(now, io);
            }
            NAK => {
                if let (Some((_, tries)), Some(&RESEND)) = (self.sent, data.first()) {
                    self.send_again(now, tries, io);
                }
                return;
            }
            _ => {}
        }
        // The host did not hear that this was done.
        let done = status & AGAIN != 0 && self.last_command[..] == [&packet[..1], data].concat();
        if !done && !self.obey(opcode, data, io) {
            return io.send(packet_of(NAK, 0, &[DENIED]));
        }
        self.last_command = [&packet[..1], data].concat();
        io.send(packet_of(ACK, 0, &[]));
    }

    /// `false`: this model does not do that.
    fn obey(&mut self, opcode: u8, data: &[u8], io: &mut Io) -> bool {
        match (opcode, data) {
            (0xe6, [code]) => match BEEPS.get(usize::from(*code)) {
                Some(name) => io.sound(name),
                None => return false,
            },
            (0xe7, [_]) => io.set_lamp(true),
            (0xe8, [_]) => io.set_lamp(false),
            (0xe9, []) => self.reads = true,
            (0xea, []) => self.reads = false,
            (0xc6, [_, pairs @ ..]) => {
                for pair in pairs.chunks(2) {
                    match pair {
                        [0xee, value] => self.packeted = *value == 1,
                        [0x2d, value] => self.aim = *value == 1,
                        [0x38, value] => self.own_beep = *value == 1,
                        _ => return false,
                    }
                }
            }
            _ => return false,
        }
        io.set_reads(self.reads);
        io.ready = self.packeted && self.aim && !self.own_beep && opcode == 0xe9;
        true
    }

    fn send_next(&mut self, now: Duration, io: &mut Io) {
        if let (None, Some((status, data))) = (self.sent, self.waiting.front()) {
            io.send(packet_of(0xf3, *status, data));
            self.sent = Some((now, 1));
        }
    }

    fn send_again(&mut self, now: Duration, tries: u8, io: &mut Io) {
        if tries == TRIES {
            self.sent = None;
            self.waiting.pop_front();
            io.sound("nobody answers");
            return self.send_next(now, io);
        }
        if let Some((status, data)) = self.waiting.front() {
            io.send(packet_of(0xf3, status | AGAIN, data));
            io.resent += 1;
            self.sent = Some((now, tries + 1));
        }
    }
}

/// The guides' numbers for the symbologies that the tests use.
fn code_type(aim: &str) -> u8 {
    match aim {
        "]E0" => 0x0b,
        "]E4" => 0x0a,
        "]C1" => 0x0f,
        "]d1" | "]d2" => 0x1b,
        "]Q1" | "]Q3" => 0x1c,
        _ => 0x03,
    }
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    (!bytes.iter().map(|byte| u16::from(*byte)).sum::<u16>()).wrapping_add(1).to_be_bytes()
}

pub(super) fn packet_of(opcode: u8, status: u8, data: &[u8]) -> Vec<u8> {
    let mut packet = [&[data.len() as u8 + 4, opcode, 0, status], data].concat();
    packet.extend(checksum(&packet));
    packet
}
