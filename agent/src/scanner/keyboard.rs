//! A scanner that plays a USB keyboard, which is how most leave the factory.
//!
//! ```text
//!  +---------+---------+-------+
//!  | code lo | code hi | value |     the kernel's key code; value 0 up, 1 down, 2 repeated by holding
//!  +---------+---------+-------+     code FFFF: the kernel dropped events, whatever is held is unknown
//! ```
//! This is how `io/evdev.rs` hands key events on, three bytes each, so that this file is fed and tested like any other
//! protocol. No line settings. A read ends with Enter or Tab, else with a pause.
//!
//! GS is typed as Alt and 0 2 9, or as Ctrl and `]`; both are understood, as is every other control character that way.
//! Such a scanner cannot be made to beep: the station's screen and the log say what became of a scan. Sources: the
//! kernel's input-event-codes, Zebra DS2208 guide (keyboard emulation, Alt codes), reports of lost GS.
//!
//! A scanner in HID POS mode (usage page 8Ch) is no keyboard: the kernel gives it a `hidraw` node alone, which nothing
//! here reads. Switch it with the label "USB keyboard" or, better since it then beeps, "USB serial" of its manual.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use stockwire_protocol::gs1::SCAN_BYTES_MAX;

use super::layout::{Given, Held, Layout};
use super::{Feedback, LineCounts, ReadFault, ScannerDecoder, ScannerOptions, ScannerProtocol, Source};
use crate::feedback::Signal;
use crate::serial::LineSettings;

/// The row of the table.
pub struct Keyboard;

/// Keys follow each other within 1 to 16 ms, and within 60 ms where the scanner was told to type slowly.
const GAP: Duration = Duration::from_millis(100);

impl ScannerProtocol for Keyboard {
    fn name(&self) -> &'static str {
        "keyboard"
    }

    fn title(&self) -> &'static str {
        "scanners that play a USB keyboard"
    }

    fn line(&self) -> LineSettings {
        LineSettings::DEFAULT
    }

    fn source(&self) -> Source {
        Source::Keyboard
    }

    fn feedbacks(&self) -> &'static [Feedback] {
        &[Feedback::None]
    }

    fn gap(&self) -> Duration {
        GAP
    }

    fn unused(&self) -> &'static [&'static str] {
        &["line", "suffix"]
    }

    fn decoder(&self, options: &ScannerOptions) -> Box<dyn ScannerDecoder> {
        Box::new(Decoder {
            options: options.clone(),
            event: Vec::new(),
            held: Keys::default(),
            alt_code: None,
            after_dead: false,
            read: Vec::new(),
            fault: None,
            heard: Duration::ZERO,
            reads: VecDeque::new(),
            counts: LineCounts::default(),
        })
    }
}

/// One key event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyEvent {
    /// The kernel's number of the key.
    pub code: u16,
    /// 0 up, 1 down, 2 repeated.
    pub value: u8,
}

impl KeyEvent {
    /// Bytes of one event.
    pub const BYTES: usize = 3;
    /// The kernel dropped events.
    pub const LOST: Self = Self { code: 0xFFFF, value: 0 };

    /// As the decoder takes it.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let [low, high] = self.code.to_le_bytes();
        [low, high, self.value]
    }
}

const TAB: u16 = 15;
const ENTER: u16 = 28;
const LEFT_CTRL: u16 = 29;
const LEFT_SHIFT: u16 = 42;
const RIGHT_SHIFT: u16 = 54;
const LEFT_ALT: u16 = 56;
const SPACE: u16 = 57;
const CAPS_LOCK: u16 = 58;
const NUM_LOCK: u16 = 69;
const SCROLL_LOCK: u16 = 70;
const KEYPAD_ENTER: u16 = 96;
const RIGHT_CTRL: u16 = 97;
const RIGHT_ALT: u16 = 100;
const LEFT_META: u16 = 125;
const RIGHT_META: u16 = 126;
const GS: u8 = 0x1D;
/// Alt codes name one byte.
const ALT_CODE_MAX: u16 = 255;

struct Decoder {
    options: ScannerOptions,
    /// The bytes of an event that is not whole yet.
    event: Vec<u8>,
    held: Keys,
    /// What was typed while Alt is held; `None`: nothing.
    alt_code: Option<u16>,
    /// The last character was a dead key's.
    after_dead: bool,
    /// At most `SCAN_BYTES_MAX` and the prefix.
    read: Vec<u8>,
    /// The read cannot be used; told at its end.
    fault: Option<ReadFault>,
    heard: Duration,
    reads: VecDeque<Result<Vec<u8>, ReadFault>>,
    counts: LineCounts,
}

/// Modifiers that are down, or on.
#[derive(Clone, Copy, Default)]
struct Keys {
    left_shift: bool,
    right_shift: bool,
    left_ctrl: bool,
    right_ctrl: bool,
    alt: bool,
    alt_gr: bool,
    caps_lock: bool,
}

impl Keys {
    fn ctrl(self) -> bool {
        self.left_ctrl || self.right_ctrl
    }

    /// Windows takes Ctrl and Alt together for Alt Gr, and so do scanners.
    fn alt_gr(self) -> bool {
        self.alt_gr || self.ctrl() && self.alt
    }
}

impl ScannerDecoder for Decoder {
    fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        // The caller's timer may come after the events that it should have preceded.
        self.handle_timeout(now);
        if !bytes.is_empty() {
            self.heard = now;
        }
        for &byte in bytes {
            self.event.push(byte);
            if let [low, high, value] = self.event[..] {
                self.event.clear();
                self.handle_key(KeyEvent { code: u16::from_le_bytes([low, high]), value });
            }
        }
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.is_reading().then(|| self.heard + self.options.gap)
    }

    fn handle_timeout(&mut self, now: Duration) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.end_read();
        }
    }

    fn poll_read(&mut self) -> Option<Result<Vec<u8>, ReadFault>> {
        self.reads.pop_front()
    }

    fn handle_signal(&mut self, _now: Duration, _signal: Signal) -> bool {
        false
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn counts(&self) -> LineCounts {
        self.counts
    }
}

impl Decoder {
    fn is_reading(&self) -> bool {
        !self.read.is_empty() || self.fault.is_some()
    }

    fn handle_key(&mut self, event: KeyEvent) {
        if event == KeyEvent::LOST {
            self.held = Keys { caps_lock: self.held.caps_lock, ..Keys::default() };
            self.alt_code = None;
            self.fault.get_or_insert(ReadFault::Damaged);
            return;
        }
        let down = match event.value {
            0 => false,
            1 => true,
            // Held down for long: it was pressed once.
            2 => return,
            _ => return self.counts.garbage_bytes += KeyEvent::BYTES as u64,
        };
        match event.code {
            LEFT_SHIFT => self.held.left_shift = down,
            RIGHT_SHIFT => self.held.right_shift = down,
            LEFT_CTRL => self.held.left_ctrl = down,
            RIGHT_CTRL => self.held.right_ctrl = down,
            RIGHT_ALT => self.held.alt_gr = down,
            LEFT_ALT => {
                self.held.alt = down;
                if let Some(code) = self.alt_code.take().filter(|_| !down) {
                    self.push_alt_code(code);
                }
            }
            CAPS_LOCK => self.held.caps_lock ^= down,
            NUM_LOCK | SCROLL_LOCK | LEFT_META | RIGHT_META => {}
            _ if !down => {}
            ENTER | KEYPAD_ENTER | TAB => self.end_read(),
            code => self.press(code),
        }
    }

    fn press(&mut self, code: u16) {
        let after_dead = mem::take(&mut self.after_dead);
        if code == SPACE && after_dead {
            return;
        }
        if self.held.alt && !self.held.alt_gr() {
            let digit = keypad(code).or_else(|| row_digit(code)).and_then(|key| key.to_digit(10));
            let Some(digit) = digit else { return self.no_character(code) };
            let typed = self.alt_code.unwrap_or(0).saturating_mul(10).saturating_add(digit as u16);
            self.alt_code = Some(typed);
            return;
        }
        if let Some(character) = keypad(code) {
            return self.push(character);
        }
        let held = Held {
            shift: self.held.left_shift || self.held.right_shift,
            alt_gr: self.held.alt_gr(),
            caps_lock: self.held.caps_lock,
        };
        match self.options.layout.character(code, held) {
            Some(Given::Char(character)) if self.held.ctrl() && !self.held.alt => {
                match character.to_ascii_uppercase() {
                    control @ '@'..='_' => self.push(char::from(control as u8 & 0x1F)),
                    _ => self.no_character(code),
                }
            }
            Some(Given::Char(character)) => self.push(character),
            Some(Given::Dead(character)) => {
                self.after_dead = true;
                self.push(character);
            }
            None => self.no_character(code),
        }
    }

    fn push_alt_code(&mut self, code: u16) {
        match u8::try_from(code.min(ALT_CODE_MAX + 1)) {
            Ok(byte) => self.push(char::from(byte)),
            Err(_) => self.no_character(LEFT_ALT),
        }
    }

    fn push(&mut self, character: char) {
        if self.read.len() + character.len_utf8() > SCAN_BYTES_MAX + self.options.prefix.len() {
            self.fault.get_or_insert(ReadFault::TooLong { max: SCAN_BYTES_MAX });
            return;
        }
        self.read.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// A character less would be another code, so the read is none.
    fn no_character(&mut self, code: u16) {
        self.fault.get_or_insert(ReadFault::NoCharacter { code });
    }

    fn end_read(&mut self) {
        if !self.is_reading() {
            return;
        }
        self.after_dead = false;
        let mut read = mem::take(&mut self.read);
        let fault = self.fault.take().or_else(|| {
            let whole = read.starts_with(&self.options.prefix);
            (!whole).then_some(ReadFault::WithoutPrefix)
        });
        if let Some(fault) = fault {
            self.counts.faults += 1;
            return self.reads.push_back(Err(fault));
        }
        read.drain(..self.options.prefix.len());
        if let Some(substitute) = self.options.gs_substitute {
            read.iter_mut().filter(|byte| **byte == substitute).for_each(|byte| *byte = GS);
        }
        if !read.is_empty() {
            self.counts.reads += 1;
            self.reads.push_back(Ok(read));
        }
    }
}

/// The keypad gives digits, since scanners take Num Lock for on.
fn keypad(code: u16) -> Option<char> {
    Some(match code {
        55 => '*',
        71..=73 => char::from(b'7' + (code - 71) as u8),
        74 => '-',
        75..=77 => char::from(b'4' + (code - 75) as u8),
        78 => '+',
        79..=81 => char::from(b'1' + (code - 79) as u8),
        82 => '0',
        83 => '.',
        98 => '/',
        _ => return None,
    })
}

/// The digit printed on a key of the upper row, whatever the layout makes of it.
fn row_digit(code: u16) -> Option<char> {
    match code {
        2..=10 => Some(char::from(b'1' + (code - 2) as u8)),
        11 => Some('0'),
        _ => None,
    }
}

/// The keys that a scanner set to this layout types for a text, for tests and for virtual devices; `None` when it has
/// no key for a character. GS is typed as Alt and 0 2 9.
pub fn type_text(layout: Layout, text: &[u8]) -> Option<Vec<u8>> {
    let mut events = Vec::new();
    let mut key = |code, value| events.extend(KeyEvent { code, value }.to_bytes());
    for &byte in text {
        if byte < b' ' {
            key(LEFT_ALT, 1);
            for digit in format!("{byte:03}").bytes() {
                let code = [82, 79, 80, 81, 75, 76, 77, 71, 72, 73][usize::from(digit - b'0')];
                key(code, 1);
                key(code, 0);
            }
            key(LEFT_ALT, 0);
            continue;
        }
        let (modifier, code, given) =
            [None, Some(LEFT_SHIFT), Some(RIGHT_ALT)].into_iter().find_map(|modifier| {
                let held = Held {
                    shift: modifier == Some(LEFT_SHIFT),
                    alt_gr: modifier == Some(RIGHT_ALT),
                    caps_lock: false,
                };
                (2..=86).find_map(|code| match layout.character(code, held) {
                    Some(given @ (Given::Char(it) | Given::Dead(it))) if it == char::from(byte) => {
                        Some((modifier, code, given))
                    }
                    _ => None,
                })
            })?;
        modifier.iter().for_each(|modifier| key(*modifier, 1));
        key(code, 1);
        key(code, 0);
        modifier.iter().for_each(|modifier| key(*modifier, 0));
        if matches!(given, Given::Dead(_)) {
            key(SPACE, 1);
            key(SPACE, 0);
        }
    }
    Some(events)
}

#[cfg(test)]
mod tests {
    use super::super::layout::LAYOUTS;
    use super::*;

    const AT: Duration = Duration::from_secs(1);

    fn decoder(layout: Layout) -> Box<dyn ScannerDecoder> {
        Keyboard.decoder(&ScannerOptions { layout, gap: GAP, ..ScannerOptions::default() })
    }

    fn keys(events: &[(u16, u8)]) -> Vec<u8> {
        events.iter().flat_map(|(code, value)| KeyEvent { code: *code, value: *value }.to_bytes()).collect()
    }

    fn finish(mut decoder: Box<dyn ScannerDecoder>) -> Vec<String> {
        decoder.handle_timeout(AT + GAP);
        let reads = std::iter::from_fn(|| decoder.poll_read());
        reads
            .map(|read| {
                read.map_or_else(|fault| format!("{fault:?}"), |read| String::from_utf8(read).unwrap())
            })
            .collect()
    }

    /// At once and split at every position.
    fn check(layout: Layout, bytes: &[u8], expected: &[&str]) {
        for at in 0..bytes.len() {
            let mut split = decoder(layout);
            split.handle_bytes(AT, &bytes[..at]);
            split.handle_bytes(AT, &bytes[at..]);
            assert_eq!(finish(split), expected, "{layout}, split at {at}");
        }
    }

    #[test]
    fn every_layout_types_a_gs1_label_and_a_link() {
        let label = "]C10109506000134352170AZ-Qy_m\x1d21#^~{W}";
        let link = "]Q1https://id.gs1.org/01/09506000134352?17=261231&x=%C3*'\"<>[`|]@$\\+;:,.!()";
        for layout in LAYOUTS {
            let enter = keys(&[(ENTER, 1), (ENTER, 0)]);
            let label_keys = type_text(layout, label.as_bytes()).unwrap();
            let link_keys = type_text(layout, link.as_bytes()).unwrap();
            check(layout, &[label_keys, enter.clone(), link_keys, enter].concat(), &[label, link]);
        }
    }

    #[test]
    fn only_pressing_counts() {
        check(Layout::Us, &keys(&[(30, 1), (30, 2), (30, 2), (30, 0), (48, 1), (30, 0)]), &["ab"]);
        // The next key goes down before the last one is up.
        check(Layout::Us, &keys(&[(42, 1), (30, 1), (48, 1), (42, 0), (30, 0), (46, 1)]), &["ABc"]);
        check(Layout::Us, &keys(&[(58, 1), (58, 0), (30, 1), (58, 1), (58, 0), (30, 1)]), &["Aa"]);
        check(Layout::Us, &keys(&[(28, 1), (28, 0), (15, 1), (96, 1)]), &[]);
        check(Layout::Us, &keys(&[(30, 1), (15, 1), (48, 1), (96, 1)]), &["a", "b"]);
        check(Layout::Us, &keys(&[(79, 1), (83, 1), (82, 1)]), &["1.0"]);
    }

    #[test]
    fn gs_by_alt_and_by_ctrl() {
        let alt = |codes: &[u16]| {
            let digits = codes.iter().flat_map(|code| [(*code, 1), (*code, 0)]);
            keys(&[(56, 1)].into_iter().chain(digits).chain([(56, 0)]).collect::<Vec<_>>())
        };
        check(Layout::Us, &alt(&[82, 80, 73]), &["\u{1d}"]);
        check(Layout::Fr, &alt(&[11, 3, 10]), &["\u{1d}"]);
        check(Layout::Us, &alt(&[80, 73]), &["\u{1d}"]);
        check(Layout::Us, &alt(&[82, 80, 80, 72]), &["ä"]);
        check(Layout::Us, &alt(&[73, 73, 73, 73, 73, 73]), &["NoCharacter { code: 56 }"]);
        check(Layout::Us, &keys(&[(29, 1), (27, 1), (27, 0), (29, 0), (30, 1)]), &["\u{1d}a"]);
        check(Layout::De, &keys(&[(29, 1), (56, 1), (16, 1), (56, 0), (29, 0)]), &["@"]);
        check(Layout::Us, &keys(&[(56, 1), (56, 0)]), &[]);
    }

    #[test]
    fn dead_keys_wait_for_no_space_and_swallow_one() {
        check(Layout::De, &keys(&[(41, 1), (57, 1), (30, 1)]), &["^a"]);
        check(Layout::De, &keys(&[(41, 1), (30, 1), (57, 1), (30, 1)]), &["^a a"]);
        check(Layout::Us, &keys(&[(42, 1), (7, 1), (42, 0), (57, 1)]), &["^ "]);
    }

    #[test]
    fn a_read_that_misses_a_character_is_none() {
        check(
            Layout::Us,
            &keys(&[(30, 1), (59, 1), (48, 1), (28, 1), (30, 1)]),
            &["NoCharacter { code: 59 }", "a"],
        );
        let lost = [keys(&[(42, 1), (30, 1)]), KeyEvent::LOST.to_bytes().to_vec(), keys(&[(48, 1), (28, 1)])];
        check(Layout::Us, &[lost.concat(), keys(&[(30, 1)])].concat(), &["Damaged", "a"]);
        let mut long = decoder(Layout::Us);
        long.handle_bytes(AT, &keys(&[(30, 1)]).repeat(SCAN_BYTES_MAX + 1));
        assert_eq!(finish(long), [format!("TooLong {{ max: {SCAN_BYTES_MAX} }}")]);
    }

    #[test]
    fn a_pause_ends_a_read_without_enter() {
        let mut decoder = decoder(Layout::Us);
        decoder.handle_bytes(AT, &keys(&[(30, 1), (30, 0)]));
        assert_eq!(decoder.poll_timeout(), Some(AT + GAP));
        decoder.handle_bytes(AT + GAP, &keys(&[(48, 1)]));
        assert_eq!(decoder.poll_read(), Some(Ok(b"a".to_vec())));
        decoder.handle_timeout(AT + GAP + GAP);
        assert_eq!(decoder.poll_read(), Some(Ok(b"b".to_vec())));
        assert_eq!(decoder.poll_timeout(), None);
    }

    #[test]
    fn prefix_and_substitute() {
        let options = ScannerOptions {
            prefix: b"[".to_vec(),
            gs_substitute: Some(b'~'),
            gap: GAP,
            ..ScannerOptions::default()
        };
        let mut decoder = Keyboard.decoder(&options);
        for text in ["[10A~21B", "10A"] {
            let mut bytes = type_text(Layout::Us, text.as_bytes()).unwrap();
            bytes.extend(keys(&[(ENTER, 1), (ENTER, 0)]));
            decoder.handle_bytes(AT, &bytes);
        }
        assert_eq!(decoder.poll_read(), Some(Ok(b"10A\x1d21B".to_vec())));
        assert_eq!(decoder.poll_read(), Some(Err(ReadFault::WithoutPrefix)));
    }
}
