use std::sync::Mutex;

use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{
    Catalogue as Part, CatalogueItem, Epoch, ItemId, ItemRules, LocationId, Sequence, SiteId, Uom,
};
use tokio::sync::mpsc;

use super::*;
use crate::catalogue::{Assembler, PartOutcome};
use crate::picture::Picture;

const WHEN: When = When::Synced { unix_ms: 1_795_000_000_000 };
const MUG: &str = "4006381333931";
const BEEP: u8 = 0xE6;
const ACK: u8 = 0xD0;

/// A station with one scanner, and the other end of the scanner's line.
struct Bench {
    place: Place,
    line: mpsc::Receiver<Vec<u8>>,
    now: Duration,
}

impl Bench {
    fn new(scanner: &str) -> Self {
        let config = Config::parse(&config(scanner)).unwrap();
        let (writer, line) = PortWriter::to_channel();
        let place = Place::new(&config, &config.stations[0], known(), |_| writer.clone());
        let mut bench = Self { place, line, now: Duration::from_secs(1) };
        bench.port(PortEvent::Opened);
        bench
    }

    fn port(&mut self, event: PortEvent) {
        self.at(0, event);
    }

    fn at(&mut self, scanner: usize, event: PortEvent) {
        self.place.handle_port(self.now, WHEN, Slot::Scanner(scanner), event);
    }

    fn packet(&mut self, opcode: u8, data: &[u8]) {
        let mut packet = vec![data.len() as u8 + 4, opcode, 0, 0];
        packet.extend_from_slice(data);
        let sum = packet.iter().map(|byte| u16::from(*byte)).sum::<u16>().wrapping_neg();
        packet.extend(sum.to_be_bytes());
        self.port(PortEvent::Bytes(packet));
    }

    /// Opcodes of the packets that were written since. Each command is answered, as a scanner does.
    fn packets(&mut self) -> Vec<u8> {
        let mut opcodes = Vec::new();
        while let Ok(packet) = self.line.try_recv() {
            opcodes.push(packet[1]);
            if packet[1] != ACK {
                self.packet(ACK, &[]);
            }
        }
        opcodes
    }

    fn scan(&mut self, text: &str) -> Vec<u8> {
        self.now += Duration::from_secs(5);
        // EAN-13 or Code 128.
        let code_type = if text == MUG { 0x0B } else { 0x03 };
        self.packet(0xF3, &[&[code_type], text.as_bytes()].concat());
        self.packets()
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.place.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.place.handle_timeout(self.now, WHEN);
            self.packets();
        }
        self.now = until;
    }

    /// What the journal says to the only record that waits.
    fn record(&mut self, result: Result<(), &JournalError>) -> Vec<u8> {
        let records = self.place.take_records();
        let [(ticket, _)] = &records[..] else { panic!("{} records wait", records.len()) };
        let recorded = Recorded { epoch: Epoch::from_bytes([7; 16]), last: Sequence::new(1) };
        self.place.handle_recorded(self.now, *ticket, result.map(|()| recorded));
        self.packets()
    }
}

fn config(scanner: &str) -> String {
    format!(
        "[agent]\nid = \"box-1\"\nsite = \"HAM\"\n[broker]\nhost = \"localhost\"\n\
         [[station]]\nname = \"one\"\n[[station.scanner]]\nport = \"/dev/x\"\n{scanner}\n"
    )
}

/// A station with a scale of that protocol, and the other end of the scale's line.
fn with_scale(protocol: &str, more: &str) -> Bench {
    let scale = format!("[station.scale]\nport = \"/dev/y\"\nprotocol = \"{protocol}\"\n{more}");
    let config = Config::parse(&config(&scale)).unwrap();
    let (writer, line) = PortWriter::to_channel();
    let (silent, _) = PortWriter::to_channel();
    let open = |slot| if slot == Slot::Scale { writer.clone() } else { silent.clone() };
    let mut place = Place::new(&config, &config.stations[0], known(), open);
    let now = Duration::from_secs(1);
    place.handle_port(now, WHEN, Slot::Scale, PortEvent::Opened);
    Bench { place, line, now }
}

impl Bench {
    fn scale_sends(&mut self, bytes: &[u8]) {
        self.place.handle_port(self.now, WHEN, Slot::Scale, PortEvent::Bytes(bytes.to_vec()));
    }

    fn scale_health(&self) -> DeviceHealth {
        self.place.health(self.now).pop().unwrap()
    }
}

fn known() -> (Arc<Catalogue>, SharedPicture) {
    let catalogue = catalogue();
    let picture = Picture::new(catalogue.site().clone());
    (catalogue, Arc::new(Mutex::new(picture)))
}

fn catalogue() -> Arc<Catalogue> {
    let site = SiteId::new("HAM").unwrap();
    let item = CatalogueItem {
        id: ItemId::new("MUG").unwrap(),
        name: "mug".into(),
        uom: Uom::Piece,
        gtins: vec![Gtin::parse(MUG).unwrap()],
        codes: vec![],
        rules: ItemRules::default(),
    };
    let part = Part {
        revision: 1,
        part: 0,
        parts: 1,
        site: site.clone(),
        items: vec![item],
        locations: vec![LocationId::new("A-01").unwrap()],
        since: None,
    };
    match Assembler::new(site).handle_part(part) {
        PartOutcome::Complete { current, .. } => current,
        other => panic!("{other:?}"),
    }
}

/// The scanner's packet is acknowledged when it arrives; the beep waits for the disk.
#[test]
fn the_scanner_beeps_good_after_the_commit_and_not_before() {
    let mut bench = Bench::new("protocol = \"ssi\"\nbounce_ms = 0");
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.scan("SW:WF:RECEIVE"), [ACK, BEEP]);
    assert_eq!(bench.scan("SW:LOC:A-01"), [ACK, BEEP]);
    assert_eq!(bench.scan(MUG), [ACK], "not on disk yet");
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.packets(), [0u8; 0], "however long the disk takes");
    assert_eq!(bench.record(Ok(())), [BEEP, 0xE7], "a beep and the lamp");

    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.scan(MUG), [ACK]);
    let full = JournalError::Full { used: 1, quota: 1 };
    assert_eq!(bench.record(Err(&full)), [BEEP, 0xEA], "another sound, and it reads no more for a while");
}

#[test]
fn a_port_that_is_gone_is_written_nothing_and_has_nothing_due() {
    let mut bench = Bench::new("feedback = \"bell\"\nbounce_ms = 0");
    bench.port(PortEvent::Bytes(b"SW:WF:REC".to_vec()));
    assert!(bench.place.poll_timeout().is_some());
    bench.port(PortEvent::Closed(Closed::NotThere));
    assert_eq!(bench.place.poll_timeout(), None);
    assert_eq!(bench.line.try_recv().ok(), None, "half a read is refused, and nobody is there to hear it");
    bench.port(PortEvent::Opened);
    bench.port(PortEvent::Bytes(b"SW:WF:RECEIVE\r".to_vec()));
    assert_eq!(bench.line.try_recv().ok(), Some(vec![7, 7]), "nothing of the first half is left");
}

#[test]
fn the_last_bytes_are_kept_for_whoever_looks() {
    let mut bench = Bench::new("");
    bench.port(PortEvent::Bytes([&[b'x'; 4_000][..], b"\x1d]E0\r"].concat()));
    let health = bench.place.health(bench.now);
    assert_eq!(health[0].last_bytes, "x".repeat(LAST_BYTES_MAX - 5) + "\\x1d]E0\\r");
    let mut keys = Bench::new("protocol = \"keyboard\"");
    let typed =
        crate::scanner::keyboard::type_text(crate::scanner::layout::Layout::Us, b"SW:WF:RECEIVE").unwrap();
    keys.port(PortEvent::Bytes(typed));
    keys.pass(Duration::from_secs(1));
    assert_eq!(keys.place.health(keys.now)[0].last_bytes, "SW:WF:RECEIVE");
}

/// Two hands, two scanners: the answer goes back to the one that asked.
#[test]
fn the_beep_goes_to_the_scanner_whose_read_was_recorded() {
    let keys = "bounce_ms = 0\nfeedback = \"bell\"";
    let mut bench = Bench::new(keys);
    let second = format!("{keys}\n[[station.scanner]]\ndevice = \"second\"\nport = \"/dev/y\"\n{keys}");
    let mut lines = Vec::new();
    let config = Config::parse(&config(&second)).unwrap();
    bench.place = Place::new(&config, &config.stations[0], known(), |_| {
        let (writer, line) = PortWriter::to_channel();
        lines.push(line);
        writer
    });
    let scan = |text: &str| PortEvent::Bytes(format!("{text}\r").into_bytes());
    (0..2).for_each(|scanner| bench.at(scanner, PortEvent::Opened));
    bench.at(0, scan("SW:WF:RECEIVE"));
    bench.at(0, scan("SW:LOC:A-01"));
    while lines[0].try_recv().is_ok() {}
    bench.at(0, scan(&format!("]E0{MUG}")));
    bench.at(1, scan("no such code"));
    assert!(lines.iter_mut().all(|line| line.try_recv().is_err()), "both wait for the disk");
    bench.record(Ok(()));
    assert_eq!(lines[0].try_recv(), Ok(vec![7]), "good, at the scanner of the mug");
    assert_eq!(lines[1].try_recv(), Ok(vec![7, 7, 7]), "unknown, at the other one");
    assert!(lines.iter_mut().all(|line| line.try_recv().is_err()));
}

/// A load cell repeats a capture until it is acknowledged: that must not wait for the next time something comes.
#[test]
fn a_capture_is_acknowledged_at_once() {
    use stockwire_protocol::link::{
        BootNonce, Capabilities, Decoder, Hello, Identity, Message, Range, Unit, Weight,
    };

    let mut bench = with_scale("link", "");
    let wire = |sequence, message: Message| message.to_wire(link_sequence(sequence)).as_bytes().to_vec();
    let hello = Message::Hello(Hello {
        boot_nonce: BootNonce(7),
        capabilities: Capabilities::LOAD_CELL,
        firmware: [1, 0, 0],
        identity: Identity::new("cell-1").unwrap(),
    });
    bench.scale_sends(&wire(1, hello));
    while bench.line.try_recv().is_ok() {}
    let weight = Weight {
        stable: true,
        range: Range::Within,
        at_zero: false,
        unit: Unit::Kilogram,
        decimals: 3,
        raw: 1,
        net: 1_250,
        tare: 0,
        age_ms: 0,
    };
    bench.scale_sends(&wire(2, Message::Weight(weight)));
    let said = bench.line.try_recv().expect("an acknowledgement");
    let mut line: Decoder = Decoder::new();
    let mut acked = Vec::new();
    for byte in said {
        if let Some(frame) = line.push(byte)
            && let Message::Ack(ack) = Message::parse(&frame.unwrap()).unwrap()
        {
            acked.push(ack.sequence);
        }
    }
    assert_eq!(acked, [link_sequence(2)]);
}

fn link_sequence(number: u16) -> stockwire_protocol::link::Sequence {
    stockwire_protocol::link::Sequence(number)
}

#[test]
fn noise_is_counted_in_bytes_and_a_greeting_is_no_fault() {
    let mut bench = with_scale("mt-sics", "");
    bench.scale_sends(b"I4 A \"B021002593\"\r\nS S 1.000 kg\r\n");
    assert_eq!(bench.scale_health().counts, LineCounts { reads: 1, faults: 0, garbage_bytes: 0 });
    bench.scale_sends(b"nonsense\r\nS I\r\nES\r\n");
    let counts = bench.scale_health().counts;
    assert_eq!(counts, LineCounts { reads: 2, faults: 2, garbage_bytes: 8 }, "its own complaint is no noise");
    // More than is kept to be shown.
    bench.scale_sends(&[b'x'; 4_000]);
    bench.scale_sends(b"\r\nS S 1.000 kg\r\n");
    assert_eq!(bench.scale_health().counts.garbage_bytes, 4_008);
}

#[test]
fn a_scale_that_stops_sending_is_silent_and_its_last_weight_is_gone() {
    let mut bench = with_scale("cas-10", "unit = \"kg\"");
    bench.scale_sends(b"   1.250\r\n");
    assert_eq!(bench.place.screen().weight.as_deref(), Some("1.250 kg"));
    bench.pass(Duration::from_millis(2_900));
    assert_eq!(bench.place.screen().weight.as_deref(), Some("1.250 kg"));
    assert_eq!(bench.scale_health().state, DeviceState::Working);
    bench.pass(Duration::from_millis(200));
    assert_eq!(bench.place.screen().weight, None);
    assert_eq!(bench.place.glimpse(bench.now).weight, None);
    assert_eq!(bench.scale_health().state, DeviceState::Silent { for_s: 3 });
    assert_eq!(bench.place.poll_timeout(), None, "told once");
    bench.scale_sends(b"   1.250\r\n");
    assert_eq!(bench.scale_health().state, DeviceState::Working);
    // One that is asked is quiet until then.
    let mut asked = with_scale("mt-sics", "");
    asked.scale_sends(b"S S 1.000 kg\r\n");
    assert_eq!(asked.place.poll_timeout(), None);
}
