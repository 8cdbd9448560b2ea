//! The frames are the makers' examples, typed in here once more.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use super::*;

const NOW: Duration = Duration::from_secs(9);

struct Bench {
    scanner: Box<dyn VirtualScanner>,
    io: Io,
}

impl Bench {
    fn of(name: &str, variant: &str) -> Self {
        let model = MODELS.iter().find(|model| (model.name, model.variant) == (name, variant)).unwrap();
        Self { scanner: (model.power_on)(), io: Io::default() }
    }

    fn host(&mut self, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().for_each(|byte| self.scanner.handle_byte(NOW, *byte, &mut self.io));
        self.sent()
    }

    fn scan(&mut self, code: &str) -> Vec<u8> {
        self.scanner.scan(NOW, code, &mut self.io);
        self.sent()
    }

    fn sent(&mut self) -> Vec<u8> {
        self.io.frames.drain(..).flatten().collect()
    }
}

#[test]
fn lines_are_sent_as_they_are_set_up() {
    let check = |variant: &str, expected: &[u8]| {
        assert_eq!(Bench::of("line", variant).scan("]C110AB\x1d21"), expected, "{variant}");
    };
    check("CR", b"]C110AB\x1d21\r");
    check("STX, ETX", b"\x02]C110AB\x1d21\x03");
    check("a pause", b"]C110AB\x1d21");
    check("CR LF, ~ for GS", b"]C110AB~21\r\n");
}

#[test]
fn ssi_packets_are_those_of_the_manual() {
    let mut zebra = Bench::of("ssi", "");
    assert_eq!(zebra.scan("]E05901234123457"), b"5901234123457", "bare text, out of its box");
    assert_eq!(std::mem::take(&mut zebra.io.sounds), ["its own"]);
    let ack = [0x04, 0xd0, 0x00, 0x00, 0xff, 0x2c];
    assert_eq!(zebra.host(&[0x07, 0xc6, 0x04, 0x00, 0xff, 0xee, 0x01, 0xfd, 0x41]), ack);
    // The manual's frame of an EAN-13, and again with status bit 0 after a NAK.
    let first = b"\x12\xf3\x00\x00\x0b5901234123457\xfc\x52";
    assert_eq!(zebra.scan("]E05901234123457"), first);
    assert_eq!(
        zebra.host(&[0x05, 0xd1, 0x04, 0x00, 0x01, 0xff, 0x25]),
        b"\x12\xf3\x00\x01\x0b5901234123457\xfc\x51"
    );
    zebra.scanner.handle_time(NOW + Duration::from_millis(1_999), &mut zebra.io);
    assert_eq!(zebra.sent(), b"");
    zebra.scanner.handle_time(NOW + Duration::from_secs(2), &mut zebra.io);
    assert_eq!((zebra.sent().get(3), zebra.io.resent), (Some(&1), 2));
    zebra.io.sounds.clear();
    zebra.scanner.handle_time(NOW + Duration::from_secs(4), &mut zebra.io);
    assert_eq!((zebra.sent(), &zebra.io.sounds[..]), (vec![], &["nobody answers"][..]));
    // Beep, lamp, off and on; a packet with a wrong checksum is not obeyed.
    zebra.io.sounds.clear();
    assert_eq!(zebra.host(&[0x05, 0xe6, 0x04, 0x00, 0x00, 0xff, 0x11]), ack);
    assert_eq!(zebra.host(&[0x05, 0xe7, 0x04, 0x00, 0x01, 0xff, 0x0f]), ack);
    assert_eq!((&zebra.io.sounds[..], zebra.io.lamp), (&["1 short high"][..], Some(true)));
    assert_eq!(zebra.host(&[0x04, 0xea, 0x04, 0x00, 0xff, 0x0e]), ack);
    assert_eq!((zebra.scan("]E05901234123457"), zebra.io.reads), (vec![], Some(false)));
    assert_eq!(zebra.host(&[0x04, 0xe9, 0x04, 0x00, 0xff, 0x0e])[1], 0xd1);
    assert_eq!(zebra.io.reads, Some(false));
    assert_eq!(zebra.host(&[0x04, 0xe9, 0x04, 0x00, 0xff, 0x0f]), ack);
    assert_eq!(zebra.io.reads, Some(true));
}

#[test]
fn a_long_read_goes_in_packets_that_are_acknowledged_one_by_one() {
    let mut zebra = Bench::of("ssi", "");
    zebra.host(&[0x07, 0xc6, 0x04, 0x00, 0xff, 0xee, 0x01, 0xfd, 0x41]);
    let text = "x".repeat(300);
    let first = zebra.scan(&format!("]C0{text}"));
    assert_eq!((first.len(), first[3]), (4 + 1 + 250 + 2, 2));
    let second = zebra.host(&[0x04, 0xd0, 0x04, 0x00, 0xff, 0x28]);
    assert_eq!((second.len(), second[3]), (4 + 1 + 50 + 2, 0));
    assert_eq!(zebra.host(&[0x04, 0xd0, 0x04, 0x00, 0xff, 0x28]), b"");
}

#[test]
fn honeywell_and_datalogic_do_what_a_byte_says() {
    let mut xenon = Bench::of("honeywell", "");
    assert_eq!(xenon.scan("]E04006381333931"), b"]E04006381333931\r");
    xenon.host(b"\x1b7\x1b1\x1b88");
    assert_eq!((&xenon.io.sounds[..], xenon.io.lamp), (&["good read", "error"][..], Some(true)));
    xenon.scanner.handle_time(NOW + Duration::from_millis(135), &mut xenon.io);
    assert_eq!(xenon.io.lamp, Some(false));
    let mut magellan = Bench::of("datalogic", "");
    magellan.host(b"\x01F");
    assert_eq!((magellan.scan("]E04006381333931"), magellan.io.reads), (vec![], Some(false)));
    magellan.host(b"E");
    assert_eq!(magellan.scan("]E04006381333931"), b"]E04006381333931\r");
    assert_eq!(magellan.io.sounds, ["beep", "not on file"]);
}
