//! Zebra (Symbol) scanners in SSI, the Simple Serial Interface with packets. Some Honeywell and Opticon engines speak it too.
//!
//! ```text
//!  +-----+--------+--------+--------+------ - - ------+-----+-----+
//!  | LEN | opcode | source | status | data            | CKH | CKL |   LEN: bytes before the checksum, at most 255
//!  +-----+--------+--------+--------+------ - - ------+-----+-----+   source: 00 scanner, 04 host
//!    status: bit 0 sent before, bit 1 more packets of this read follow, bit 3 keep the parameter
//!    checksum: two's complement of the 16-bit sum of the LEN bytes, high byte first
//!
//!  scanner                                  host
//!    DECODE_DATA F3 (code type, text) ------>
//!    <------------------------------- CMD_ACK D0      or CMD_NAK D1 01: send it again
//!    DECODE_DATA F3, status bit 0 ---------->         no answer in time (2 s): twice more at most
//!    <-------------------- BEEP E6, LED_ON E7, SCAN_DISABLE EA ...
//!    CMD_ACK D0 ---------------------------->
//! ```
//!
//! 9600 8N1. Scanners leave the factory sending text; packets are asked for when the port opens and whenever text comes
//! instead (parameter EE = 1, until the scanner is switched off), together with AIM identifiers (2D = 1) and, when the
//! agent signals, its own good-read beep off (38 = 0). The acknowledgement says that a read has arrived, the beep that it
//! is recorded. Sources: Zebra DS457 guide p.93 and DS2208 guide p.110 (packets), DS9908 guide p.245 and MP72 SSI commands
//! (opcodes), Symbol SE 955 guide p.10-9 (resending), MK1000 guide p.5-16 (beeps), CS3000 manual p.129 (code types).

mod code_type;
mod packet;

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use stockwire_protocol::gs1::SCAN_BYTES_MAX;

use self::packet::{Found, Opcode, PACKET_BYTES_MAX, Packet, RETRANSMIT, build};
use super::line::HOLD;
use super::{Feedback, LineCounts, ReadFault, ScannerDecoder, ScannerOptions, ScannerProtocol};
use crate::feedback::Signal;
use crate::serial::LineSettings;

/// The row of the table.
pub struct Ssi;

impl ScannerProtocol for Ssi {
    fn name(&self) -> &'static str {
        "ssi"
    }

    fn title(&self) -> &'static str {
        "Zebra scanners with SSI: packets, acknowledged, beeps, lamp and enabling on command"
    }

    fn line(&self) -> LineSettings {
        LineSettings::DEFAULT
    }

    fn feedbacks(&self) -> &'static [Feedback] {
        &[Feedback::Scanner, Feedback::None]
    }

    fn unused(&self) -> &'static [&'static str] {
        &["gap_ms", "layout"]
    }

    fn decoder(&self, options: &ScannerOptions) -> Box<dyn ScannerDecoder> {
        Box::new(Decoder::new(options))
    }
}

/// Within a packet bytes follow each other at once, also through USB adapters that collect them for 16 ms. A pause this
/// long ends whatever was begun.
const SILENCE: Duration = Duration::from_millis(100);
/// A scanner sends an unanswered packet twice more, after at most 9.9 s each. What is the same and comes later was scanned again.
const RESENDS_WITHIN: Duration = Duration::from_secs(20);
/// So long a read may take that was damaged or of which packets are missing: the usual 2 s until the scanner resends.
const REPAIR_WAIT: Duration = Duration::from_secs(3);
/// Noise must not be answered for ever.
const NAKS_MAX: u8 = 3;
/// A command is a few milliseconds on the line and answered at once; it is repeated once.
const ANSWER_WAIT: Duration = Duration::from_millis(500);
/// Commands that wait for the one before: what a signal takes, and the parameters.
const COMMANDS_MAX: usize = 12;
/// Packets that wait to be written, mostly acknowledgements.
const TRANSMITS_MAX: usize = 32;
/// The lamp of a good read.
const LAMP_TIME: Duration = Duration::from_millis(500);
const LAMP: u8 = 1;
/// Fewer skipped bytes than a header has are a spike on the cable: no text, and no packet that was damaged.
const SKIPPED_BYTES_MIN: u32 = 4;
/// No beep when a parameter is taken.
const NO_BEEP: u8 = 0xFF;

struct Decoder {
    options: ScannerOptions,
    /// What may become a packet; at most `PACKET_BYTES_MAX` and less than that after each call.
    buffer: Vec<u8>,
    skipped: Skipped,
    /// When the last byte came.
    heard: Duration,
    /// The packets of a read that goes on.
    partial: Option<Partial>,
    /// The last read that was taken, and when: status and data, as the scanner would send them again.
    accepted: Option<(bool, Vec<u8>, Duration)>,
    /// Something was damaged; when it counts as lost.
    damaged: Option<Duration>,
    naks: u8,
    commands: VecDeque<Command>,
    /// The command that waits for its answer.
    sent: Option<Sent>,
    /// Whether commands are answered at all; with handshaking switched off in its menu a scanner obeys in silence.
    answers: bool,
    /// At most `TRANSMITS_MAX`.
    transmits: VecDeque<Vec<u8>>,
    lamp_off_at: Option<Duration>,
    enable_at: Option<Duration>,
    reads: VecDeque<Result<Vec<u8>, ReadFault>>,
    counts: LineCounts,
}

/// Bytes outside of packets since the last one.
#[derive(Clone, Copy, Default)]
struct Skipped {
    bytes: u32,
    text: u32,
}

struct Partial {
    code_type: u8,
    /// At most `SCAN_BYTES_MAX`, then it is only waited for its end.
    data: Vec<u8>,
    overflowed: bool,
    /// When the next packet must be there.
    due: Duration,
}

/// A packet to the scanner that it answers.
#[derive(Clone)]
struct Command {
    opcode: Opcode,
    data: Vec<u8>,
}

struct Sent {
    command: Command,
    due: Duration,
    again: bool,
}

impl Decoder {
    fn new(options: &ScannerOptions) -> Self {
        let mut decoder = Self {
            options: options.clone(),
            buffer: Vec::new(),
            skipped: Skipped::default(),
            heard: Duration::ZERO,
            partial: None,
            accepted: None,
            damaged: None,
            naks: 0,
            commands: VecDeque::new(),
            sent: None,
            answers: true,
            transmits: VecDeque::new(),
            lamp_off_at: None,
            enable_at: None,
            reads: VecDeque::new(),
            counts: LineCounts::default(),
        };
        decoder.set_up();
        decoder
    }

    fn signals(&self) -> bool {
        self.options.feedback == Feedback::Scanner
    }

    /// Tells the scanner how to send. For now only: it is the site's to decide what the scanner keeps.
    fn set_up(&mut self) {
        self.commands.retain(|command| command.opcode != Opcode::ParamSend);
        let own_beep_off: &[(u8, u8)] = if self.signals() { &[(0x38, 0)] } else { &[] };
        for (parameter, value) in [(0xEE, 1), (0x2D, 1)].iter().chain(own_beep_off) {
            self.command(Opcode::ParamSend, &[NO_BEEP, *parameter, *value]);
        }
        if self.signals() {
            // An agent that ended while the scanner was switched off must not leave it so.
            self.command(Opcode::ScanEnable, &[]);
        }
    }

    fn command(&mut self, opcode: Opcode, data: &[u8]) {
        if self.commands.len() < COMMANDS_MAX {
            self.commands.push_back(Command { opcode, data: data.to_vec() });
        }
    }

    fn answer(&mut self, opcode: Opcode, data: &[u8]) {
        self.transmit(build(opcode, 0, data));
    }

    fn transmit(&mut self, packet: Vec<u8>) {
        if self.transmits.len() < TRANSMITS_MAX {
            self.transmits.push_back(packet);
        }
    }

    /// Takes packets off the buffer. At the `end` nothing is waited for any more.
    fn take_packets(&mut self, now: Duration, end: bool) {
        let mut at = 0;
        while at < self.buffer.len() {
            match Packet::find(&self.buffer[at..]) {
                Found::Packet(packet, length) => {
                    at += length;
                    self.skipped = Skipped::default();
                    self.handle_packet(now, packet);
                }
                Found::Incomplete if !end => break,
                Found::Incomplete | Found::Nothing => {
                    let byte = self.buffer[at];
                    self.skipped.bytes = self.skipped.bytes.saturating_add(1);
                    let is_text = matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n' | 0x1D);
                    self.skipped.text = self.skipped.text.saturating_add(u32::from(is_text));
                    self.counts.garbage_bytes += 1;
                    at += 1;
                }
            }
        }
        self.buffer.drain(..at);
    }

    fn handle_packet(&mut self, now: Duration, packet: Packet) {
        match packet.opcode {
            Opcode::DecodeData => self.handle_decode_data(now, packet),
            Opcode::CmdAck => {
                self.answers = true;
                self.sent = None;
            }
            Opcode::CmdNak => {
                self.answers = true;
                if let Some(sent) = &mut self.sent {
                    if packet.data.first() == Some(&1) && !sent.again {
                        sent.due = now;
                    } else {
                        // Denied or unknown: this model does not do it.
                        self.sent = None;
                    }
                }
            }
            // It was switched on or plugged in again, and has forgotten what it was told.
            Opcode::Event => {
                self.answer(Opcode::CmdAck, &[]);
                self.set_up();
            }
            _ => self.answer(Opcode::CmdAck, &[]),
        }
    }

    fn handle_decode_data(&mut self, now: Duration, packet: Packet) {
        self.answer(Opcode::CmdAck, &[]);
        self.naks = 0;
        let is_same = self.accepted.as_ref().is_some_and(|(continued, data, at)| {
            (*continued, data) == (packet.is_continued(), &packet.data)
                && now.saturating_sub(*at) < RESENDS_WITHIN
        });
        if packet.is_retransmit() && is_same {
            // Our acknowledgement went lost, not the read. If something was damaged meanwhile it may have been another
            // piece with this code: then `damaged` still stands, and the operator is told.
            if let Some(partial) = &mut self.partial {
                partial.due = now + REPAIR_WAIT;
            }
            return;
        }
        self.damaged = None;
        self.accepted = Some((packet.is_continued(), packet.data.clone(), now));
        let Some((&code_type, data)) = packet.data.split_first() else {
            return self.put(Err(ReadFault::Damaged));
        };
        let mut partial = match self.partial.take() {
            Some(partial) if partial.code_type == code_type => partial,
            // The rest of another read will not come any more.
            Some(_) => {
                self.put(Err(ReadFault::Damaged));
                Partial { code_type, data: Vec::new(), overflowed: false, due: now }
            }
            None => Partial { code_type, data: Vec::new(), overflowed: false, due: now },
        };
        partial.overflowed |= partial.data.len() + data.len() > SCAN_BYTES_MAX;
        if !partial.overflowed {
            partial.data.extend_from_slice(data);
        }
        if packet.is_continued() {
            partial.due = now + REPAIR_WAIT;
            self.partial = Some(partial);
        } else {
            self.end_read(partial);
        }
    }

    fn end_read(&mut self, partial: Partial) {
        if partial.overflowed {
            return self.put(Err(ReadFault::TooLong { max: SCAN_BYTES_MAX }));
        }
        // Packets need neither, but the scanner's menu may have them.
        let ScannerOptions { prefix, suffix, gs_substitute, .. } = &self.options;
        let data = partial.data.strip_prefix(prefix.as_slice()).unwrap_or(&partial.data);
        let mut data = data.strip_suffix(suffix.as_slice()).unwrap_or(data).to_vec();
        if let Some(substitute) = gs_substitute {
            data.iter_mut().filter(|byte| *byte == substitute).for_each(|byte| *byte = 0x1D);
        }
        if let Some(read) = code_type::with_aim(partial.code_type, &data).filter(|_| !data.is_empty()) {
            self.put(Ok(read));
        }
    }

    /// The line fell silent: what lies about will not become a packet.
    fn handle_silence(&mut self, now: Duration) {
        self.take_packets(now, true);
        let Skipped { bytes, text } = mem::take(&mut self.skipped);
        if bytes >= SKIPPED_BYTES_MIN && bytes == text {
            self.put(Err(ReadFault::NotPackets));
            self.set_up();
        } else if bytes >= SKIPPED_BYTES_MIN {
            self.damaged.get_or_insert(now + REPAIR_WAIT);
            if self.naks < NAKS_MAX {
                self.naks += 1;
                self.answer(Opcode::CmdNak, &[1]);
            }
        }
    }

    fn silence_due(&self) -> Option<Duration> {
        (!self.buffer.is_empty() || self.skipped.bytes > 0).then(|| self.heard + SILENCE)
    }

    /// Sends the next command once the one before is answered, or again when it is not.
    fn send_commands(&mut self, now: Duration) {
        if let Some(sent) = self.sent.take_if(|sent| sent.due <= now) {
            // After the second time it is given up: a beep is worth nothing later, and parameters are sent again when
            // text comes.
            self.answers = !sent.again;
            if !sent.again {
                self.send(now, sent.command, true);
            }
        }
        while self.sent.is_none()
            && let Some(command) = self.commands.pop_front()
        {
            self.send(now, command, false);
        }
    }

    fn send(&mut self, now: Duration, command: Command, again: bool) {
        let status = if again { RETRANSMIT } else { 0 };
        self.transmit(build(command.opcode, status, &command.data));
        // Who answers nothing is not waited for, or the beep would come after the operator has gone on.
        self.sent = self.answers.then(|| Sent { command, due: now + ANSWER_WAIT, again });
    }

    fn put(&mut self, read: Result<Vec<u8>, ReadFault>) {
        match read {
            Ok(_) => self.counts.reads += 1,
            Err(_) => self.counts.faults += 1,
        }
        self.reads.push_back(read);
    }
}

impl ScannerDecoder for Decoder {
    fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        // The caller's timer may come after the bytes that it should have preceded.
        self.handle_timeout(now);
        if !bytes.is_empty() {
            self.heard = now;
        }
        // In pieces, so that noise without end is never held.
        for piece in bytes.chunks(PACKET_BYTES_MAX) {
            self.buffer.extend_from_slice(piece);
            self.take_packets(now, false);
        }
        self.send_commands(now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        // What was never sent is due at once.
        let commands = match &self.sent {
            Some(sent) => Some(sent.due),
            None => (!self.commands.is_empty()).then_some(Duration::ZERO),
        };
        let partial = self.partial.as_ref().map(|partial| partial.due);
        let others = [self.silence_due(), partial, self.damaged, self.lamp_off_at, self.enable_at];
        others.into_iter().flatten().chain(commands).min()
    }

    fn handle_timeout(&mut self, now: Duration) {
        if self.silence_due().is_some_and(|due| due <= now) {
            self.handle_silence(now);
        }
        if self.partial.take_if(|partial| partial.due <= now).is_some() {
            self.put(Err(ReadFault::Damaged));
        }
        if self.damaged.take_if(|due| *due <= now).is_some() {
            self.put(Err(ReadFault::Damaged));
        }
        if self.lamp_off_at.take_if(|due| *due <= now).is_some() {
            self.command(Opcode::LedOff, &[LAMP]);
        }
        if self.enable_at.take_if(|due| *due <= now).is_some() {
            self.command(Opcode::ScanEnable, &[]);
        }
        self.send_commands(now);
    }

    fn poll_read(&mut self) -> Option<Result<Vec<u8>, ReadFault>> {
        self.reads.pop_front()
    }

    fn handle_signal(&mut self, now: Duration, signal: Signal) -> bool {
        if !self.signals() {
            return false;
        }
        // Of signals that were not yet sent only the last one is worth hearing.
        self.commands.retain(|command| !matches!(command.opcode, Opcode::Beep | Opcode::LedOn));
        // High is well and low is not, and the longer the worse.
        let beep = match signal {
            Signal::Good => 0x00,
            Signal::Heard => 0x01,
            Signal::Repeated => 0x02,
            Signal::Unknown => 0x06,
            Signal::Refused => 0x0F,
            Signal::NotStored => 0x11,
        };
        self.command(Opcode::Beep, &[beep]);
        if signal == Signal::Good {
            self.command(Opcode::LedOn, &[LAMP]);
            self.lamp_off_at = Some(now + LAMP_TIME);
        }
        if signal == Signal::NotStored {
            self.command(Opcode::ScanDisable, &[]);
            self.enable_at = Some(now + HOLD);
        }
        self.send_commands(now);
        true
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    fn counts(&self) -> LineCounts {
        self.counts
    }
}

#[cfg(test)]
mod tests;
