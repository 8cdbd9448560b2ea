//! The frames are the makers' examples, typed in here once more; a port behaves as a wire does.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::io::{Read, Write};

use rustix::termios::{InputModes, OptionalActions, tcgetattr, tcsetattr};

use super::*;

const LOADED: Display = Display { gross_g: 12_345, tare_g: 0, moving: false, range: Range::Within };
const EMPTY: Display = Display { gross_g: 0, ..LOADED };
const MOVING: Display = Display { moving: true, ..LOADED };
const NET: Display = Display { gross_g: 750, tare_g: 1_000, ..LOADED };
const OVER: Display = Display { gross_g: 31_000, range: Range::Over, ..LOADED };

/// What the scale sends: by itself when nothing is asked, else after the request.
fn check(name: &str, variant: &str, request: &[u8], display: Display, expected: &[u8]) {
    let model = MODELS.iter().find(|model| (model.name, model.variant) == (name, variant)).unwrap();
    let mut scale = (model.power_on)();
    let answers = request.iter().filter_map(|byte| scale.handle_byte(&display, *byte));
    let mut said: Vec<u8> = answers.flat_map(|answer| answer.bytes).collect();
    if request.is_empty() {
        said = scale.stream(Duration::ZERO, &display).unwrap_or_default();
    }
    assert_eq!(said.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{name} {variant}");
}

#[test]
#[rustfmt::skip]
fn frames_of_scales_that_are_asked() {
    check("mt-sics", "balance",  b"SI\r\n", LOADED, b"S S     12.345 kg\r\n");
    check("mt-sics", "balance",  b"SI\r\n", MOVING, b"S D     12.345 kg\r\n");
    check("mt-sics", "balance",  b"SI\r\n", OVER,   b"S +\r\n");
    check("mt-sics", "echoing",  b"SI\r\n", NET,    b"SI S   -0.250 kg\r\n");
    check("mt-sics", "balance",  b"W\r\n",  LOADED, b"ES\r\n");
    check("toledo-8217", "bit 5 tells net",  b"W", LOADED, b"\x0212.345\r");
    check("toledo-8217", "bit 5 tells net",  b"W", MOVING, b"\x02?A\r");
    check("toledo-8217", "bit 5 tells net",  b"W", OVER,   b"\x02?B\r");
    check("toledo-8217", "bit 5 always set", b"W", MOVING, b"\x02?a\r");
    check("toledo-8217", "bit 5 tells net",  b"E", LOADED, b"\x02E\r");
    check("nci", "",     b"W\r", LOADED, b"\n 12.345kg\r\n0p0\r\x03");
    check("nci", "",     b"W\r", OVER,   b"\n^^^^^^^kg\r\n0r0\r\x03");
    check("nci", "",     b"?\r", LOADED, b"\n?\r\x03");
    check("nci-ecr", "", b"W\r", LOADED, b"\n12.345KG\r\nS0p0\r\x03");
    check("nci-ecr", "", b"W\r", MOVING, b"\nS1p0\r\x03");
    check("cas-pd2", "", b"\x05",     LOADED, b"\x06");
    check("cas-pd2", "", b"\x05\x11", LOADED, b"\x06\x01\x02S 12.345kg\x60\x03\x04");
    check("cas-pd2", "", b"\x11",     LOADED, b"");
    check("ohaus", "",   b"IP\r\n", MOVING, b"   12.345 kg   ?G  \r\n");
    check("sbi-16", "", b"\x1bP\r\n", LOADED, b"+   12.345 kg \r\n");
    check("sbi-16", "", b"\x1bP\r\n", MOVING, b"+   12.345    \r\n");
    check("sbi-22", "", b"\x1bP\r\n", NET,    b"N     -    0.250 kg \r\n");
    check("sbi-22", "", b"\x1bP\r\n", OVER,   b"Stat         H      \r\n");
    check("radwag", "22 characters", b"SI\r\n",  MOVING, b"SI  ?     12.345 kg \r\n");
    check("radwag", "21 characters", b"SUI\r\n", MOVING, b"SUI?     12.345 kg \r\n");
    check("adam-cpwplus", "", b"N\r\n", LOADED, b"N/W +  12.345 kg\r\n");
    check("adam-cbd", "",     b"P\r\nP\r\n", LOADED, b"   12.345kg\r\n");
    check("gram-k3", "",      b"$", EMPTY, b"\x02i   0.000kg\r\x03");
    check("dibal", "",        b"98000001\r\n", Display { gross_g: 316, ..LOADED }, b"9900031600000004\r\n");
}

#[test]
#[rustfmt::skip]
fn frames_of_scales_that_send_by_themselves() {
    let tared = Display { gross_g: 750, tare_g: 1_000, moving: true, ..LOADED };
    check("toledo-continuous", "with checksum",    b"", LOADED, b"\x02-0  12345     0\r\x05");
    check("toledo-continuous", "with checksum",    b"", tared,  b"\x02-;    250  1000\rq");
    check("toledo-continuous", "without checksum", b"", LOADED, b"\x02-0  12345     0\r");
    check("and", "",           b"", LOADED, b"ST,+0012.345 kg\r\n");
    check("and", "",           b"", tared,  b"US,-0000.250 kg\r\n");
    check("cas-22", "",        b"", Display { gross_g: 13_500, ..LOADED }, b"ST,GS,1\xc4,  13.500 kg\r\n");
    check("cas-10", "",        b"", LOADED, b"  12.345\r\n");
    check("rinstrum", "",      b"", LOADED, b"\x02  12.345G  - kg\x03");
    check("rinstrum", "",      b"", tared,  b"\x02-  0.250NM -   \x03");
    check("bilanciai-d70", "", b"", LOADED, b"$+0012.345 +0000.000 kg 0201\r\n");
}

/// A host's end of a port, opened with a speed and a parity.
fn open(port: &Path, baud: u32, parity: bool) -> std::fs::File {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(port).unwrap();
    let mut settings = tcgetattr(&file).unwrap();
    settings.make_raw();
    settings.set_speed(baud).unwrap();
    settings.input_modes.set(InputModes::INPCK, parity);
    tcsetattr(&file, OptionalActions::Now, &settings).unwrap();
    file
}

fn read(host: &mut std::fs::File, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    host.read_exact(&mut bytes).unwrap();
    bytes
}

fn link(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("stockwire-virtual-scale-{name}-{}", std::process::id()))
}

#[test]
fn a_line_has_its_pace_and_its_settings() {
    let scale = Scale::plug(find("mt-sics").unwrap(), &link("pace")).unwrap();
    scale.put(12_345, Duration::ZERO);
    let mut host = open(scale.port(), 9_600, false);
    let begun = Instant::now();
    host.write_all(b"SI\r\n").unwrap();
    assert_eq!(read(&mut host, 19), b"S S     12.345 kg\r\n");
    // Ten bits for each of 19 characters, behind the answer's delay.
    assert!(begun.elapsed() >= Duration::from_millis(19 + 10), "{:?}", begun.elapsed());
    scale.set_line(Line::seven(9_600, uart::Parity::Even));
    host.write_all(b"SI\r\n").unwrap();
    let read = read(&mut host, 19);
    assert_eq!(read.iter().map(|byte| byte & 0x7f).collect::<Vec<_>>(), b"S S     12.345 kg\r\n");
    assert!(read.iter().all(|byte| byte.count_ones() % 2 == 0), "{read:02x?}");
}

#[test]
fn a_plug_can_be_pulled_and_put_back() {
    let mut scale = Scale::plug(find("cas-10").unwrap(), &link("plug")).unwrap();
    let mut host = open(scale.port(), 9_600, false);
    assert_eq!(read(&mut host, 10), b"   0.000\r\n");
    scale.unplug();
    assert!(!scale.port().exists());
    scale.replug().unwrap();
    let mut host = open(scale.port(), 9_600, false);
    assert_eq!(read(&mut host, 10), b"   0.000\r\n");
}

#[test]
fn what_changes_a_scale_is_noticed() {
    let scale = Scale::plug(find("toledo-8217").unwrap(), &link("change")).unwrap();
    scale.put(1_000, Duration::ZERO);
    let mut host = open(scale.port(), 9_600, true);
    host.write_all(b"WT").unwrap();
    // The weight, and the status after it has been tared: net.
    assert_eq!(read(&mut host, 12), b"\x0201.000\r\x02?@\r");
    assert_eq!(scale.changes(), [Change::Tare]);
}
