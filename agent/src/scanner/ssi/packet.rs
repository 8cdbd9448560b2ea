//! One SSI packet: its bytes and its checksum.

/// LEN counts up to 255, and two bytes of checksum follow.
pub(super) const PACKET_BYTES_MAX: usize = 255 + CHECKSUM_BYTES;
const CHECKSUM_BYTES: usize = 2;
/// LEN, opcode, source and status.
const HEADER_BYTES: usize = 4;
const FROM_SCANNER: u8 = 0x00;
const FROM_HOST: u8 = 0x04;

/// STATUS: this packet was sent before.
pub(super) const RETRANSMIT: u8 = 1 << 0;
/// STATUS: more packets of the same message follow.
const CONTINUED: u8 = 1 << 1;

/// What a packet is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are those of the manuals")]
#[repr(u8)]
pub(super) enum Opcode {
    Management = 0x80,
    ReplyRevision = 0xA4,
    ParamSend = 0xC6,
    CmdAck = 0xD0,
    CmdNak = 0xD1,
    CapabilitiesReply = 0xD4,
    DecodeData = 0xF3,
    Event = 0xF6,
    Beep = 0xE6,
    LedOn = 0xE7,
    LedOff = 0xE8,
    ScanEnable = 0xE9,
    ScanDisable = 0xEA,
}

/// A packet whose checksum is right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Packet {
    pub(super) opcode: Opcode,
    status: u8,
    pub(super) data: Vec<u8>,
}

/// What stands at the beginning of some bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// It may become a packet.
    Incomplete,
    /// No packet begins here.
    Nothing,
    /// A packet of so many bytes.
    Packet(Packet, usize),
}

impl Packet {
    pub(super) fn is_retransmit(&self) -> bool {
        self.status & RETRANSMIT != 0
    }

    pub(super) fn is_continued(&self) -> bool {
        self.status & CONTINUED != 0
    }

    /// Looks at the beginning of what came.
    pub(super) fn find(bytes: &[u8]) -> Found {
        let Some(&length) = bytes.first() else { return Found::Incomplete };
        let length = usize::from(length);
        let opcode = match bytes.get(1) {
            None => None,
            Some(&byte) => match from_scanner(byte) {
                Some(opcode) => Some(opcode),
                None => return Found::Nothing,
            },
        };
        if length < HEADER_BYTES || bytes.get(2).is_some_and(|source| *source != FROM_SCANNER) {
            return Found::Nothing;
        }
        let (Some(opcode), Some(whole)) = (opcode, bytes.get(..length + CHECKSUM_BYTES)) else {
            return Found::Incomplete;
        };
        let (message, sum) = whole.split_at(length);
        if sum != checksum(message) {
            return Found::Nothing;
        }
        let packet = Packet { opcode, status: message[3], data: message[HEADER_BYTES..].to_vec() };
        Found::Packet(packet, length + CHECKSUM_BYTES)
    }
}

/// Opcodes that come from a scanner; anything else is no packet, which keeps noise from being awaited.
fn from_scanner(byte: u8) -> Option<Opcode> {
    [
        Opcode::Management,
        Opcode::ReplyRevision,
        Opcode::ParamSend,
        Opcode::CmdAck,
        Opcode::CmdNak,
        Opcode::CapabilitiesReply,
        Opcode::DecodeData,
        Opcode::Event,
    ]
    .into_iter()
    .find(|opcode| *opcode as u8 == byte)
}

/// The two's complement of the sum, high byte first.
fn checksum(message: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let sum = message.iter().fold(0u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
    sum.wrapping_neg().to_be_bytes()
}

/// A packet from the host. `data` are a few bytes of ours.
pub(super) fn build(opcode: Opcode, status: u8, data: &[u8]) -> Vec<u8> {
    assert!(HEADER_BYTES + data.len() <= 255, "commands are short");
    let mut packet = vec![(HEADER_BYTES + data.len()) as u8, opcode as u8, FROM_HOST, status];
    packet.extend_from_slice(data);
    let sum = checksum(&packet);
    packet.extend_from_slice(&sum);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of manuals and of a public driver's tests.
    #[test]
    fn built_as_the_manuals_show() {
        for (opcode, status, data, expected) in [
            (Opcode::CmdAck, 0, &[][..], &[0x04, 0xD0, 0x04, 0x00, 0xFF, 0x28][..]),
            (Opcode::CmdNak, 0, &[1], &[0x05, 0xD1, 0x04, 0x00, 0x01, 0xFF, 0x25]),
            (Opcode::Beep, 0, &[0], &[0x05, 0xE6, 0x04, 0x00, 0x00, 0xFF, 0x11]),
            (Opcode::LedOn, 0, &[1], &[0x05, 0xE7, 0x04, 0x00, 0x01, 0xFF, 0x0F]),
            (Opcode::LedOff, 0, &[1], &[0x05, 0xE8, 0x04, 0x00, 0x01, 0xFF, 0x0E]),
            (Opcode::ScanEnable, 0, &[], &[0x04, 0xE9, 0x04, 0x00, 0xFF, 0x0F]),
            (Opcode::ScanDisable, 0, &[], &[0x04, 0xEA, 0x04, 0x00, 0xFF, 0x0E]),
            (Opcode::ParamSend, 0, &[0xFF, 0xEE, 1], &[0x07, 0xC6, 0x04, 0x00, 0xFF, 0xEE, 0x01, 0xFD, 0x41]),
            (Opcode::ParamSend, 8, &[0xFF, 0xEE, 1], &[0x07, 0xC6, 0x04, 0x08, 0xFF, 0xEE, 0x01, 0xFD, 0x39]),
        ] {
            assert_eq!(build(opcode, status, data), expected);
        }
        assert_eq!(checksum(&[0x0A, 0x80, 0x04, 0x00, 0x00, 0x06, 0x20, 0x00, 0x00, 0xFF]), [0xFE, 0x4D]);
    }

    #[test]
    fn found_only_where_one_begins() {
        let good = [0x07, 0xF3, 0x00, 0x00, 0x01, 0x4E, 0x52, 0xFE, 0x65];
        let packet = Packet { opcode: Opcode::DecodeData, status: 0, data: b"\x01NR".to_vec() };
        assert_eq!(Packet::find(&good), Found::Packet(packet.clone(), good.len()));
        assert_eq!(Packet::find(&[&good[..], b"more"].concat()), Found::Packet(packet, good.len()));
        (0..good.len()).for_each(|at| assert_eq!(Packet::find(&good[..at]), Found::Incomplete));
        for at in 0..good.len() {
            let mut bad = good;
            bad[at] ^= 0x10;
            assert!(!matches!(Packet::find(&bad), Found::Packet(..)), "one bit wrong in byte {at}");
        }
        for nothing in [&b"5901234123457\r"[..], &[0x03, 0xF3], &[0x05, 0x00], &[0x05, 0xF3, 0x04]] {
            assert_eq!(Packet::find(nothing), Found::Nothing, "{nothing:02x?}");
        }
    }
}
