//! Every row of the scale and scanner tables: bytes may come split anywhere and be anything.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use stockwire_agent::scale::{FrameFault, Reading, SCALES, ScaleOptions, ScaleProtocol};
use stockwire_agent::scanner::{ReadFault, SCANNERS, ScannerOptions, ScannerProtocol};

/// Bytes as they come from real lines: pieces of frames, delimiters, and anything.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            &b"S S     100.00 g\r\n"[..], b"S D -0.680 kg\r\n", b"S +\r\n", b"SI S 1 kg", b"\r\n", b"\r", b"\n", b" ",
            b"]E04006381333931\r", b"]C10109506000134352\x1d", b"\x02", b"\x03", b"\x00", b"SW:CMD:DONE\r\n", b"\t",
        ]).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..40),
    ];
    vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

/// The chunks into which `cuts` divide the bytes.
fn chunks<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn weigh(row: &dyn ScaleProtocol, chunks: &[&[u8]]) -> Vec<Result<Reading, FrameFault>> {
    let mut decoder = row.decoder(&ScaleOptions::default());
    let mut replies = Vec::new();
    for chunk in chunks {
        decoder.handle_bytes(Duration::ZERO, chunk);
        replies.extend(std::iter::from_fn(|| decoder.poll_reply()));
    }
    decoder.handle_end();
    replies.extend(std::iter::from_fn(|| decoder.poll_reply()));
    replies
}

fn read(
    row: &dyn ScannerProtocol,
    options: &ScannerOptions,
    chunks: &[&[u8]],
) -> Vec<Result<Vec<u8>, ReadFault>> {
    let mut decoder = row.decoder(options);
    let mut reads = Vec::new();
    for chunk in chunks {
        decoder.handle_bytes(Duration::ZERO, chunk);
        reads.extend(std::iter::from_fn(|| decoder.poll_read()));
    }
    decoder.handle_timeout(Duration::from_secs(60));
    reads.extend(std::iter::from_fn(|| decoder.poll_read()));
    reads
}

proptest! {
    #[test]
    fn scales_give_the_same_for_any_split(bytes in bytes(), cuts in vec(any::<usize>(), 0..12)) {
        for row in SCALES {
            prop_assert_eq!(weigh(*row, &chunks(&bytes, &cuts)), weigh(*row, &[&bytes]), "{}", row.name());
        }
    }

    #[test]
    fn scanners_give_the_same_for_any_split(
        bytes in bytes(),
        cuts in vec(any::<usize>(), 0..12),
        prefix in prop::sample::select(vec!["", "\x02"]),
        suffix in prop::sample::select(vec!["\r", "\r\n", "\x03", "\t", ""]),
    ) {
        let options = ScannerOptions { prefix: prefix.into(), suffix: suffix.into(), ..ScannerOptions::default() };
        for row in SCANNERS {
            let split = read(*row, &options, &chunks(&bytes, &cuts));
            prop_assert_eq!(split, read(*row, &options, &[&bytes]), "{}", row.name());
        }
    }

    /// A reading without a value carries no unit, and one with a value has a unit that somebody vouches for.
    #[test]
    fn readings_are_whole(bytes in bytes()) {
        for row in SCALES {
            for reading in weigh(*row, &[&bytes]).into_iter().flatten() {
                prop_assert_eq!(reading.value.is_some(), reading.unit.is_some(), "{}", row.name());
                prop_assert_eq!(reading.unit.is_some(), reading.unit_source.as_str() != "none", "{}", row.name());
            }
        }
    }
}
