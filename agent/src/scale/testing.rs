//! For the tests of the protocols: what bytes say, in one line.

use std::time::Duration;

use super::{FrameFault, Net, Range, Reading, ScaleDecoder, ScaleOptions, ScaleProtocol, Source, Stability};

/// What `bytes` say to a fresh decoder: replies joined by `"; "`, printed as [`print`] does.
pub(super) fn check(row: &dyn ScaleProtocol, options: &ScaleOptions, bytes: &[u8], expected: &str) {
    let mut decoder = row.decoder(options);
    decoder.handle_bytes(Duration::ZERO, bytes);
    decoder.handle_end();
    assert_eq!(replies(&mut *decoder), expected, "{}: {}", row.name(), bytes.escape_ascii());
}

/// The replies that wait.
pub(super) fn replies(decoder: &mut dyn ScaleDecoder) -> String {
    std::iter::from_fn(|| decoder.poll_reply()).map(|reply| print(&reply)).collect::<Vec<_>>().join("; ")
}

/// `12.345 kg stable net tare 1.000`; what is unknown is left out, `*` marks what is configured or inferred.
pub(super) fn print(reply: &Result<Reading, FrameFault>) -> String {
    let reading = match reply {
        Ok(reading) => reading,
        Err(fault) => return fault.kind.as_str().into(),
    };
    let mark = |source| if matches!(source, Source::Configured | Source::Inferred) { "*" } else { "" };
    let mut words = match (reading.value, reading.unit) {
        (Some(value), Some(unit)) => vec![format!("{value} {}{}", unit.as_str(), mark(reading.unit_source))],
        _ => vec!["no weight".into()],
    };
    if reading.stability != Stability::Unknown {
        words.push(format!("{}{}", reading.stability.as_str(), mark(reading.stability_source)));
    }
    if reading.range != Range::Ok && reading.range != Range::Unknown {
        words.push(reading.range.as_str().into());
    }
    if reading.net != Net::Unknown {
        words.push(reading.net.as_str().into());
    }
    if reading.zero == Some(true) {
        words.push("zero".into());
    }
    words.extend(reading.tare.map(|tare| format!("tare {tare}")));
    words.join(" ")
}
