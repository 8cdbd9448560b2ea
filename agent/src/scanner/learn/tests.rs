use proptest::prelude::*;

use super::super::keyboard::{KeyEvent, type_text};
use super::*;

const LINE: LineSettings = LineSettings::DEFAULT;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One scan that comes in one piece.
fn scan(bytes: &[u8]) -> Vec<Chunk> {
    vec![(ms(1_000), bytes.to_vec())]
}

fn around_label(before: &[u8], after: &[u8]) -> Vec<u8> {
    [before, LABEL, after].concat()
}

/// The lines to paste, without the remarks.
fn lines(proposal: &Proposal) -> Vec<String> {
    proposal.to_toml().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn check(chunks: &[Chunk], expected: &[&str]) -> Proposal {
    let proposal = learn(Source::Serial, LINE, chunks, LABEL).unwrap();
    assert_eq!(lines(&proposal), expected);
    proposal
}

#[test]
fn prefix_suffix_and_identifiers() {
    let p = check(&scan(&around_label(b"]d2", b"\r")), &["protocol = \"line\"", "suffix = \"\\r\""]);
    assert_eq!((p.aim.as_deref(), p.gs, p.scans), (Some("]d2"), Separator::Came, 1));
    let p = check(&scan(&around_label(b"", b"\r\n")), &["protocol = \"line\"", "suffix = \"\\r\\n\""]);
    assert!(p.aim.is_none() && p.to_toml().contains("AIM identifiers are OFF"));
    check(
        &scan(&around_label(b"\x02]C1", b"\x03")),
        &["protocol = \"line\"", "prefix = \"\\u0002\"", "suffix = \"\\u0003\""],
    );
    check(
        &scan(&around_label(b"B:]Q3", b"\t")),
        &["protocol = \"line\"", "prefix = \"B:\"", "suffix = \"\\t\""],
    );
    check(
        &scan(&around_label(b"\"\\", b";")),
        &["protocol = \"line\"", "prefix = \"\\\"\\\\\"", "suffix = \";\""],
    );
    let p = check(
        &scan(&around_label(b"P0G", b"\r")),
        &["protocol = \"line\"", "prefix = \"P0G\"", "suffix = \"\\r\""],
    );
    assert!(p.to_toml().contains("Zebra's code identifier"));
}

#[test]
fn a_pause_when_there_is_no_suffix() {
    check(&scan(&around_label(b"]d2", b"")), &["protocol = \"line\"", "suffix = \"\"", "gap_ms = 50"]);
    let bytes = around_label(b"]d2", b"");
    let slow =
        vec![(ms(0), bytes[..5].to_vec()), (ms(63), bytes[5..9].to_vec()), (ms(80), bytes[9..].to_vec())];
    check(&slow, &["protocol = \"line\"", "suffix = \"\"", "gap_ms = 130"]);
}

#[test]
fn gs_replaced_and_gs_lost() {
    let with = |gs: &[u8]| {
        let label =
            String::from_utf8(LABEL.to_vec()).unwrap().replace('\x1d', std::str::from_utf8(gs).unwrap());
        scan(format!("]d2{label}\r").as_bytes())
    };
    for (substitute, written) in [("~", "~"), ("|", "|"), ("\x1e", "\\u001e"), ("\"", "\\\"")] {
        check(
            &with(substitute.as_bytes()),
            &["protocol = \"line\"", "suffix = \"\\r\"", &format!("gs_substitute = \"{written}\"")],
        );
    }
    let p = check(&with(b""), &["protocol = \"line\"", "suffix = \"\\r\""]);
    assert!(p.gs == Separator::Lost && p.to_toml().contains("did NOT come"));
}

#[test]
fn parity_that_was_not_expected() {
    for (parity, line) in [(0, "9600 7E1"), (1, "9600 7O1")] {
        let seven = |byte: &u8| if byte.count_ones() % 2 == parity { *byte } else { byte | 0x80 };
        let bytes: Vec<u8> = around_label(b"]d2", b"\r").iter().map(seven).collect();
        check(&scan(&bytes), &["protocol = \"line\"", &format!("line = \"{line}\""), "suffix = \"\\r\""]);
    }
}

#[test]
fn a_label_without_gs_tells_everything_else() {
    let p = learn(Source::Serial, LINE, &scan(b"]C0SW:CMD:DONE\r\n"), b"SW:CMD:DONE").unwrap();
    assert_eq!(lines(&p), ["protocol = \"line\"", "suffix = \"\\r\\n\""]);
    assert!(p.to_toml().contains("The label held no GS"));
}

#[test]
fn packets_are_ssi() {
    let mut packet = [&[0, 0xF3, 0, 0, 0x1B][..], b"]d2", LABEL].concat();
    packet[0] = packet.len() as u8;
    let sum = packet.iter().map(|byte| u16::from(*byte)).sum::<u16>().wrapping_neg();
    packet.extend(sum.to_be_bytes());
    let p = check(&scan(&packet), &["protocol = \"ssi\""]);
    assert_eq!(p.aim.as_deref(), Some("]d2"));
}

#[test]
fn a_keyboard_and_its_layout() {
    for layout in LAYOUTS {
        for (text, lines_more) in
            [(around_label(b"]d2", b""), vec![]), (around_label(b"$:", b""), vec!["prefix = \"$:\""])]
        {
            let keys = type_text(layout, &text).unwrap();
            let enter = [1, 0].map(|value| KeyEvent { code: 28, value }.to_bytes()).concat();
            let events = [keys, enter].concat();
            let chunks = events.chunks(3).enumerate();
            let chunks: Vec<Chunk> = chunks.map(|(at, event)| (ms(8 * at as u64), event.to_vec())).collect();
            let p = learn(Source::Keyboard, LINE, &chunks, LABEL).unwrap();
            let layout_line = format!("layout = \"{layout}\"");
            let mut expected = vec!["protocol = \"keyboard\"", &layout_line];
            expected.extend(lines_more);
            expected.push("gap_ms = 100");
            // What us and uk share tells nothing apart: then us is as good.
            if layout == Layout::Uk {
                expected[1] = "layout = \"us\"";
            }
            assert_eq!(lines(&p), expected);
        }
    }
    let other = type_text(Layout::Us, b"OTHER").unwrap();
    let trouble = learn(Source::Keyboard, LINE, &scan(&other), LABEL).unwrap_err();
    assert_eq!(trouble, Trouble::OtherLabel { shown: "\"OTHER\"".into() });
}

#[test]
fn several_scans_must_agree() {
    let good = around_label(b"]d2", b"\r");
    let twice = vec![(ms(0), good.clone()), (ms(900), good[..7].to_vec()), (ms(910), good[7..].to_vec())];
    assert_eq!(check(&twice, &["protocol = \"line\"", "suffix = \"\\r\""]).scans, 2);
    assert_eq!(scans(&twice), 2);
    let differ = vec![(ms(0), good.clone()), (ms(900), around_label(b"]d2", b"\r\n"))];
    let trouble = learn(Source::Serial, LINE, &differ, LABEL).unwrap_err();
    assert!(matches!(trouble, Trouble::Differ { .. }), "{trouble}");
    let merged = scan(&[good.clone(), good].concat());
    assert!(matches!(learn(Source::Serial, LINE, &merged, LABEL), Err(Trouble::Differ { .. })));
}

#[test]
fn troubles_say_what_came_and_what_to_do() {
    let trouble = |chunks: &[Chunk]| learn(Source::Serial, LINE, chunks, LABEL).unwrap_err();
    assert_eq!(trouble(&[]), Trouble::Silence);
    assert_eq!(
        trouble(&scan(b"4006381333931\r")),
        Trouble::OtherLabel { shown: "\"4006381333931\\r\"".into() }
    );
    assert!(matches!(trouble(&scan(&[0xF8, 0x80, 0x00, 0xFE, 0x1C])), Trouble::Garbled { .. }));
    // The suffix would end each read within the prefix.
    assert!(matches!(trouble(&scan(&around_label(b"\rX", b"\r"))), Trouble::Unusable { .. }));
    let long = around_label(&[b'x'; 17], b"\r");
    assert!(matches!(trouble(&scan(&long)), Trouble::Unusable { .. }));
    for trouble in [trouble(&[]), trouble(&scan(b"4006381333931\r"))] {
        assert!(!trouble.hint().is_empty() && !trouble.to_string().is_empty());
    }
}

proptest! {
    /// What is proposed reads the label, and the lines to paste mean the same.
    #[test]
    fn a_proposal_reads_the_label(
        prefix in "[!-/:-@\\x02]{0,4}",
        aim in prop::sample::select(vec!["", "]d2", "]C1"]),
        suffix in prop::sample::select(vec!["\r", "\r\n", "\n", "\t", "\x03", "", "#\r", "END"]),
        substitute in prop::sample::select(vec!['\x1d', '~', '|', '^']),
    ) {
        let label = String::from_utf8(LABEL.to_vec()).unwrap();
        let sent = format!("{prefix}{aim}{}{suffix}", label.replace('\x1d', &substitute.to_string()));
        let Ok(proposal) = learn(Source::Serial, LINE, &scan(sent.as_bytes()), LABEL) else {
            // A prefix that holds the suffix or the substitute; checked above.
            prop_assume!(false);
            return Ok(());
        };
        let protocol = super::super::find(proposal.protocol).unwrap();
        let mut decoder = protocol.decoder(&proposal.options);
        decoder.handle_bytes(ms(0), sent.as_bytes());
        decoder.handle_timeout(ms(10_000));
        prop_assert_eq!(decoder.poll_read(), Some(Ok(format!("{aim}{label}").into_bytes())));
        let toml: toml::Table = proposal.to_toml().parse().unwrap();
        prop_assert_eq!(toml["suffix"].as_str().unwrap().as_bytes(), &proposal.options.suffix);
        let pasted = toml.get("prefix").map_or("", |prefix| prefix.as_str().unwrap());
        prop_assert_eq!(pasted.as_bytes(), &proposal.options.prefix);
    }

    /// Whatever comes, there is an answer.
    #[test]
    fn anything_gets_an_answer(chunks in prop::collection::vec((0u64..100_000, prop::collection::vec(any::<u8>(), 0..60)), 0..8)) {
        let mut chunks: Vec<Chunk> = chunks.into_iter().map(|(at, bytes)| (ms(at), bytes)).collect();
        chunks.sort();
        for source in [Source::Serial, Source::Keyboard] {
            let _ = learn(source, LINE, &chunks, LABEL);
        }
    }
}
