use super::*;

const EAN: &[u8] = b"\x12\xF3\x00\x00\x0B\x35\x39\x30\x31\x32\x33\x34\x31\x32\x33\x34\x35\x37\xFC\x52";
const ACK: &[u8] = &[0x04, 0xD0, 0x04, 0x00, 0xFF, 0x28];
const NAK_RESEND: &[u8] = &[0x05, 0xD1, 0x04, 0x00, 0x01, 0xFF, 0x25];
const MUG: &[u8] = b"]E05901234123457";

/// A packet as the scanner sends it.
fn packet(opcode: u8, status: u8, data: &[u8]) -> Vec<u8> {
    let mut packet = vec![data.len() as u8 + 4, opcode, 0, status];
    packet.extend_from_slice(data);
    let sum = packet.iter().map(|byte| u16::from(*byte)).sum::<u16>().wrapping_neg();
    packet.extend(sum.to_be_bytes());
    packet
}

fn decode_data(status: u8, code_type: u8, text: &[u8]) -> Vec<u8> {
    packet(0xF3, status, &[&[code_type], text].concat())
}

fn scanner_ack() -> Vec<u8> {
    packet(0xD0, 0, &[])
}

fn decoder(feedback: Feedback) -> Decoder {
    Decoder::new(&ScannerOptions { feedback, ..ScannerOptions::default() })
}

fn reads(decoder: &mut Decoder) -> Vec<Result<Vec<u8>, ReadFault>> {
    std::iter::from_fn(|| decoder.poll_read()).collect()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Answers whatever the decoder sends, until it has nothing more to say; the opcodes and data of its commands.
fn serve(decoder: &mut Decoder, now: Duration) -> Vec<(u8, Vec<u8>)> {
    let mut commands = Vec::new();
    decoder.handle_timeout(now);
    while let Some(bytes) = decoder.poll_transmit() {
        if !matches!(bytes[1], 0xD0 | 0xD1) {
            commands.push((bytes[1], bytes[4..bytes.len() - 2].to_vec()));
            decoder.handle_bytes(now, &scanner_ack());
        }
    }
    commands
}

/// The same bytes at once, byte by byte, and split at every position: what is read, and how often it is acknowledged.
fn check(bytes: &[u8], expected: &[&[u8]], acks: usize) {
    let chunks = (0..=bytes.len()).map(|at| vec![&bytes[..at], &bytes[at..]]);
    for chunks in chunks.chain([bytes.chunks(1).collect()]) {
        let mut decoder = decoder(Feedback::None);
        chunks.iter().for_each(|chunk| decoder.handle_bytes(Duration::ZERO, chunk));
        let expected: Vec<_> = expected.iter().map(|read| Ok(read.to_vec())).collect();
        assert_eq!(reads(&mut decoder), expected, "{chunks:02x?}");
        let sent: Vec<_> = std::iter::from_fn(|| decoder.poll_transmit()).collect();
        assert_eq!(sent.iter().filter(|sent| *sent == ACK).count(), acks, "{sent:02x?}");
        assert!(!sent.iter().any(|sent| sent == NAK_RESEND), "{sent:02x?}");
    }
}

#[test]
fn packets_in_any_pieces_are_read_and_acknowledged() {
    check(EAN, &[MUG], 1);
    check(&[EAN, EAN].concat(), &[MUG, MUG], 2);
    check(&[b"\x00\xFF\x12", EAN].concat(), &[MUG], 1);
    check(&packet(0xF6, 0, &[3]), &[], 1);
    check(&scanner_ack(), &[], 0);
    let gs1 = decode_data(0, 0x0F, b"010950600013435210A\x1d21B\r");
    check(&[EAN, &gs1].concat(), &[MUG, b"]C1010950600013435210A\x1d21B"], 2);
    // A label longer than a packet comes in several.
    let long: Vec<u8> = (0..600u32).map(|at| b'A' + (at % 26) as u8).collect();
    let packets = [
        decode_data(2, 0x1C, &long[..250]),
        decode_data(2, 0x1C, &long[250..500]),
        decode_data(0, 0x1C, &long[500..]),
    ];
    check(&packets.concat(), &[&[b"]Q1", &long[..]].concat()], 3);
}

#[test]
fn prefix_suffix_and_substitute_of_the_scanners_menu_are_taken_off() {
    let options = ScannerOptions {
        prefix: b"<".to_vec(),
        suffix: b">\r".to_vec(),
        gs_substitute: Some(b'~'),
        ..ScannerOptions::default()
    };
    let mut decoder = Decoder::new(&options);
    decoder.handle_bytes(Duration::ZERO, &decode_data(0, 0x0F, b"<10A~21B>\r"));
    decoder.handle_bytes(Duration::ZERO, &decode_data(0, 0x0F, b"10A"));
    assert_eq!(reads(&mut decoder), [Ok(b"]C110A\x1d21B".to_vec()), Ok(b"]C110A".to_vec())]);
}

#[test]
fn a_resent_packet_counts_once_and_the_same_label_again_counts_twice() {
    let mut decoder = decoder(Feedback::None);
    decoder.handle_bytes(ms(0), EAN);
    decoder.handle_bytes(ms(2_000), &decode_data(1, 0x0B, b"5901234123457"));
    decoder.handle_bytes(ms(4_000), &decode_data(1, 0x0B, b"5901234123457"));
    assert_eq!(reads(&mut decoder).len(), 1);
    decoder.handle_bytes(ms(5_000), EAN);
    assert_eq!(reads(&mut decoder).len(), 1, "not marked as sent before: another piece");
    // The first sending never arrived: it is marked, and yet it is news.
    decoder.handle_bytes(ms(6_000), &decode_data(1, 0x03, b"OTHER"));
    decoder.handle_bytes(ms(30_000), &decode_data(1, 0x03, b"OTHER"));
    assert_eq!(reads(&mut decoder).len(), 2, "the second comes too late to be the same");
    let acks = std::iter::from_fn(|| decoder.poll_transmit()).filter(|sent| sent == ACK).count();
    assert_eq!(acks, 6, "each is acknowledged, or the scanner would send it for ever");
}

#[test]
fn what_arrives_damaged_is_asked_for_again() {
    let mut decoder = decoder(Feedback::None);
    let mut damaged = EAN.to_vec();
    damaged[7] ^= 0x04;
    decoder.handle_bytes(ms(0), &damaged);
    assert_eq!(decoder.poll_timeout(), Some(ms(100)), "the pause that ends it");
    decoder.handle_timeout(ms(100));
    let sent: Vec<_> = std::iter::from_fn(|| decoder.poll_transmit()).collect();
    assert!(sent.iter().any(|sent| sent == NAK_RESEND), "{sent:02x?}");
    decoder.handle_bytes(ms(150), &decode_data(1, 0x0B, b"5901234123457"));
    assert_eq!(reads(&mut decoder), [Ok(MUG.to_vec())]);
    decoder.handle_timeout(ms(60_000));
    assert_eq!(reads(&mut decoder), [], "mended, so nobody is told");

    decoder.handle_bytes(ms(60_000), &damaged);
    decoder.handle_timeout(ms(60_100));
    decoder.handle_timeout(ms(63_100));
    assert_eq!(reads(&mut decoder), [Err(ReadFault::Damaged)], "not mended: scan again");
}

#[test]
fn after_damage_a_resent_last_read_is_not_counted_and_the_operator_is_told() {
    let mut decoder = decoder(Feedback::None);
    decoder.handle_bytes(ms(0), EAN);
    assert_eq!(reads(&mut decoder).len(), 1);
    let mut damaged = EAN.to_vec();
    damaged[7] ^= 0x04;
    decoder.handle_bytes(ms(1_000), &damaged);
    decoder.handle_timeout(ms(1_100));
    decoder.handle_bytes(ms(1_200), &decode_data(1, 0x0B, b"5901234123457"));
    decoder.handle_timeout(ms(4_100));
    assert_eq!(reads(&mut decoder), [Err(ReadFault::Damaged)]);
}

#[test]
fn text_instead_of_packets_is_told_and_packets_are_asked_for() {
    let mut decoder = decoder(Feedback::None);
    serve(&mut decoder, ms(0));
    decoder.handle_bytes(ms(1_000), b"5901234123457\r\n");
    assert_eq!(decoder.poll_timeout(), Some(ms(1_100)));
    assert_eq!(serve(&mut decoder, ms(1_100)), [(0xC6, vec![0xFF, 0xEE, 1]), (0xC6, vec![0xFF, 0x2D, 1])]);
    assert_eq!(reads(&mut decoder), [Err(ReadFault::NotPackets)]);
    assert!(ReadFault::NotPackets.hint().contains("packeted decode data"));
}

#[test]
fn noise_is_asked_about_a_few_times_only() {
    let mut decoder = decoder(Feedback::None);
    serve(&mut decoder, ms(0));
    let mut naks = 0;
    for round in 1..100u64 {
        decoder.handle_bytes(ms(round * 1_000), &[0x80, 0xF3, 0x00, 0x91, 0xA2]);
        decoder.handle_timeout(ms(round * 1_000 + 100));
        naks += std::iter::from_fn(|| decoder.poll_transmit()).filter(|sent| sent == NAK_RESEND).count();
    }
    assert_eq!(naks, usize::from(NAKS_MAX));
    decoder.handle_bytes(ms(200_000), EAN);
    assert_eq!(reads(&mut decoder).pop(), Some(Ok(MUG.to_vec())));
}

#[test]
fn a_spike_on_the_cable_is_counted_and_no_more() {
    let mut decoder = decoder(Feedback::None);
    serve(&mut decoder, ms(0));
    decoder.handle_bytes(ms(1_000), &[0x00, 0xFF, 0x80]);
    assert_eq!(serve(&mut decoder, ms(1_100)), []);
    assert_eq!((decoder.poll_timeout(), reads(&mut decoder)), (None, vec![]));
    assert_eq!(decoder.counts().garbage_bytes, 3);
}

#[test]
fn a_read_whose_packets_stop_is_told() {
    let mut decoder = decoder(Feedback::None);
    decoder.handle_bytes(ms(0), &decode_data(2, 0x1C, b"ABC"));
    decoder.handle_timeout(ms(2_999));
    assert_eq!(reads(&mut decoder), []);
    decoder.handle_timeout(ms(3_000));
    assert_eq!(reads(&mut decoder), [Err(ReadFault::Damaged)]);
    // What comes after it stands for itself.
    decoder.handle_bytes(ms(4_000), EAN);
    assert_eq!(reads(&mut decoder), [Ok(MUG.to_vec())]);
    (0..40).for_each(|at| decoder.handle_bytes(ms(5_000), &decode_data(2, 0x1C, &[b'A' + at; 250])));
    decoder.handle_bytes(ms(5_000), &decode_data(0, 0x1C, b"end"));
    assert_eq!(reads(&mut decoder), [Err(ReadFault::TooLong { max: SCAN_BYTES_MAX })]);
}

#[test]
fn it_is_told_to_send_packets_with_aim_identifiers_and_not_to_beep_by_itself() {
    let mut plain = decoder(Feedback::None);
    assert_eq!(serve(&mut plain, ms(0)), [(0xC6, vec![0xFF, 0xEE, 1]), (0xC6, vec![0xFF, 0x2D, 1])]);
    assert!(!plain.handle_signal(ms(0), Signal::Good));
    let mut signalling = decoder(Feedback::Scanner);
    let set_up = serve(&mut signalling, ms(0));
    assert_eq!(set_up[2..], [(0xC6, vec![0xFF, 0x38, 0]), (0xE9, vec![])]);
    assert_eq!(signalling.poll_timeout(), None, "quiet lines cost nothing");
    // Switched on again, it has forgotten all that.
    signalling.handle_bytes(ms(9_000), &packet(0xF6, 0, &[3]));
    assert_eq!(serve(&mut signalling, ms(9_000)), set_up);
}

#[test]
fn each_signal_sounds_different_and_what_was_not_stored_stops_it() {
    let mut decoder = decoder(Feedback::Scanner);
    serve(&mut decoder, ms(0));
    let mut heard = Vec::new();
    for (at, signal) in super::super::tests::SIGNALS.into_iter().enumerate() {
        let now = ms(10_000 * (at as u64 + 1));
        assert!(decoder.handle_signal(now, signal));
        let commands = serve(&mut decoder, now);
        assert!(commands[0].0 == 0xE6 && !heard.contains(&commands[0]), "{signal:?}: {commands:02x?}");
        heard.push(commands[0].clone());
        let later = serve(&mut decoder, now + HOLD);
        match signal {
            Signal::Good => assert_eq!((&commands[1], &later[0]), (&(0xE7, vec![1]), &(0xE8, vec![1]))),
            Signal::NotStored => assert_eq!((commands[1].0, later[0].0), (0xEA, 0xE9)),
            _ => assert_eq!((commands.len(), later.len()), (1, 0), "{signal:?}"),
        }
        assert_eq!(decoder.poll_timeout(), None, "{signal:?}");
    }
}

#[test]
fn a_scanner_that_answers_no_command_is_not_waited_for() {
    let mut decoder = decoder(Feedback::Scanner);
    let mut sent = Vec::new();
    let mut now = ms(0);
    while let Some(due) = decoder.poll_timeout() {
        now = now.max(due);
        decoder.handle_timeout(now);
        sent.extend(std::iter::from_fn(|| decoder.poll_transmit()).map(|sent| (sent[1], sent[3])));
    }
    // The first one again, marked as sent before; the others once.
    assert_eq!(sent, [(0xC6, 0), (0xC6, 1), (0xC6, 0), (0xC6, 0), (0xE9, 0)]);
    assert_eq!(now, ANSWER_WAIT * 2);
    decoder.handle_signal(now, Signal::Good);
    let at_once: Vec<u8> = std::iter::from_fn(|| decoder.poll_transmit()).map(|sent| sent[1]).collect();
    assert_eq!(at_once, [0xE6, 0xE7], "the beep comes now or not at all, and once");
    decoder.handle_timeout(now + LAMP_TIME);
    assert!(decoder.poll_transmit().is_some());
    // It answers after all.
    decoder.handle_bytes(now, &scanner_ack());
    // Denied: not asked again.
    decoder.handle_signal(now, Signal::Heard);
    assert!(decoder.poll_transmit().is_some());
    decoder.handle_bytes(now, &packet(0xD1, 0, &[6]));
    assert_eq!((decoder.poll_transmit(), decoder.poll_timeout()), (None, None));
}

#[test]
fn what_nobody_fetches_does_not_pile_up() {
    let mut decoder = decoder(Feedback::Scanner);
    for at in 0..1_000 {
        decoder.handle_bytes(ms(at), EAN);
        decoder.handle_signal(ms(at), Signal::Good);
        decoder.handle_timeout(ms(2_000 * at));
    }
    assert!(decoder.transmits.len() <= TRANSMITS_MAX && decoder.commands.len() <= COMMANDS_MAX);
    assert!(decoder.buffer.is_empty());
}

/// A scanner on a bad line: acknowledgements get lost, packets get damaged, and it resends as its manual says.
#[test]
fn a_conversation_over_a_bad_line_loses_and_doubles_nothing() {
    for seed in 1..=40u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut chance = |percent: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % 100 < percent
        };
        let mut host = decoder(Feedback::Scanner);
        let (mut now, mut scanned, mut given_up, mut lost_acks) = (ms(0), Vec::new(), 0, 0);
        let mut got = Vec::new();
        for piece in 0..100u64 {
            now += ms(30_000);
            // The same label comes several times in a row, as equal pieces do.
            let text = format!("59{:05}", piece / 3);
            let mut acknowledged = false;
            for attempt in 0..3u8 {
                let mut bytes = decode_data(attempt.min(1), 0x03, text.as_bytes());
                if chance(10) {
                    let at = bytes.len() / 2;
                    bytes[at] ^= 0x41;
                }
                let cut = if chance(50) { bytes.len() / 3 } else { 0 };
                host.handle_bytes(now, &bytes[..cut]);
                host.handle_bytes(now, &bytes[cut..]);
                // The scanner's time-out, with the host's timers before it.
                let until = now + ms(2_000);
                while let Some(due) = host.poll_timeout().filter(|due| *due < until) {
                    now = now.max(due);
                    host.handle_timeout(now);
                    while let Some(sent) = host.poll_transmit() {
                        match sent[1] {
                            0xD0 if chance(15) => lost_acks += 1,
                            0xD0 => acknowledged = true,
                            0xD1 => {}
                            _ => host.handle_bytes(now, &scanner_ack()),
                        }
                    }
                }
                while let Some(sent) = host.poll_transmit() {
                    match sent[1] {
                        0xD0 if chance(15) => lost_acks += 1,
                        0xD0 => acknowledged = true,
                        _ => {}
                    }
                }
                now = until;
                if acknowledged {
                    break;
                }
            }
            now += REPAIR_WAIT;
            host.handle_timeout(now);
            let told = reads(&mut host);
            let good: Vec<_> = told.iter().flatten().cloned().collect();
            if good.is_empty() {
                // The operator heard that it was not counted, and nothing was.
                given_up += 1;
                assert!(told.contains(&Err(ReadFault::Damaged)), "seed {seed}, piece {piece}: {told:?}");
            } else {
                scanned.push(format!("]C0{text}").into_bytes());
                got.extend(good);
                host.handle_signal(now, Signal::Good);
            }
        }
        assert_eq!(got, scanned, "seed {seed}");
        assert!(lost_acks > 5 && given_up < 10, "seed {seed}: {lost_acks} lost, {given_up} given up");
    }
}
