//! What the tool prints: for people a sentence, for programs the same as one JSON object.

use std::io::{self, Write};

use serde_json::{Value, json};
use stockwire_bridge::Stats;
use stockwire_protocol::link::{Arrival, Counters, Event, Hello, Range, Unit, Weight};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    json: bool,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// One line, at once: whoever started us may be waiting for it.
    pub(crate) fn line(self, text: &str, object: &Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.json {
            true => writeln!(out, "{object}")?,
            false => writeln!(out, "{text}")?,
        }
        out.flush()
    }

    pub(crate) fn event(self, event: &Event) -> io::Result<()> {
        let (text, object) = match event {
            Event::Hello { hello, arrival } => {
                let arrival = match arrival {
                    Arrival::First => "first",
                    Arrival::Again => "again",
                    Arrival::Restarted => "restarted",
                };
                (
                    format!("hello     {} ({arrival})", hello_text(hello)),
                    json!({"event": "hello", "arrival": arrival, "identity": hello.identity.as_str(),
                        "boot_nonce": hello.boot_nonce.to_string(), "capabilities": hello.capabilities.0,
                        "firmware": version(hello)}),
                )
            }
            Event::Live(weight) => (
                format!("live      {}", weight_text(weight)),
                json!({"event": "live", "weight": weight_json(weight)}),
            ),
            Event::Captured { sequence, weight, lost } => (
                format!("captured  #{} {}{}", sequence.0, weight_text(weight), lost_text(*lost)),
                json!({"event": "captured", "sequence": sequence.0, "lost": lost, "weight": weight_json(weight)}),
            ),
            Event::Repeated { sequence } => {
                (format!("repeated  #{}", sequence.0), json!({"event": "repeated", "sequence": sequence.0}))
            }
            Event::Early { sequence } => (
                format!("early     #{} before any hello", sequence.0),
                json!({"event": "early", "sequence": sequence.0}),
            ),
            Event::Refused(nack) => {
                let reason = format!("{:?}", nack.reason);
                (
                    format!("refused   our #{}: {reason}", nack.sequence.0),
                    json!({"event": "refused", "sequence": nack.sequence.0, "reason": reason}),
                )
            }
            Event::Unreadable { sequence, error } => (
                format!("unreadable #{}: {error}", sequence.0),
                json!({"event": "unreadable", "sequence": sequence.0, "error": error.to_string()}),
            ),
            Event::Garbled(error) => {
                (format!("garbled   {error}"), json!({"event": "garbled", "error": error.to_string()}))
            }
        };
        self.line(&text, &object)
    }
}

pub(crate) fn hello_text(hello: &Hello) -> String {
    format!("{} firmware {} boot {}", hello.identity, version(hello), hello.boot_nonce)
}

pub(crate) fn weight_text(weight: &Weight) -> String {
    let range = match weight.range {
        Range::Over => return format!("over range (raw {})", weight.raw),
        Range::Under => return format!("under range (raw {})", weight.raw),
        Range::Within if weight.stable => "stable",
        Range::Within => "moving",
    };
    let unit = unit_name(weight.unit);
    let tare = match weight.tare {
        0 => String::new(),
        tare => format!(", tare {} {unit}", decimal(tare, weight.decimals)),
    };
    format!(
        "{} {unit} {range}{tare} (raw {}, {} ms ago)",
        decimal(weight.net, weight.decimals),
        weight.raw,
        weight.age_ms
    )
}

pub(crate) fn weight_json(weight: &Weight) -> Value {
    let range = match weight.range {
        Range::Within => "within",
        Range::Over => "over",
        Range::Under => "under",
    };
    // Outside its range a cell knows no weight, and a program must not find one.
    let net = (weight.range == Range::Within).then(|| decimal(weight.net, weight.decimals));
    json!({"net": net, "tare": decimal(weight.tare, weight.decimals), "unit": unit_name(weight.unit),
        "stable": weight.stable, "range": range, "at_zero": weight.at_zero, "raw": weight.raw,
        "age_ms": weight.age_ms})
}

pub(crate) fn stats_json(stats: &Stats) -> Value {
    json!({"line": counters_json(&stats.line), "acknowledged": stats.acknowledged, "resent": stats.resent,
        "refused": stats.refused, "lost": stats.lost})
}

pub(crate) fn counters_json(counters: &Counters) -> Value {
    json!({"sound": counters.sound, "torn": counters.torn, "noisy": counters.noisy,
        "too_long": counters.too_long, "foreign_version": counters.foreign_version})
}

pub(crate) fn counters_text(counters: &Counters) -> String {
    let Counters { sound, torn, noisy, too_long, foreign_version } = counters;
    format!(
        "{sound} sound, {torn} torn, {noisy} noisy, {too_long} too long, {foreign_version} of another version"
    )
}

fn version(hello: &Hello) -> String {
    let [major, minor, patch] = hello.firmware;
    format!("{major}.{minor}.{patch}")
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Counts => "counts",
        Unit::Gram => "g",
        Unit::Kilogram => "kg",
        Unit::Pound => "lb",
    }
}

fn lost_text(lost: u16) -> String {
    match lost {
        0 => String::new(),
        lost => format!(" after {lost} LOST"),
    }
}

/// `1250` with 3 decimals is `1.250`. Never through a float.
fn decimal(value: i32, decimals: u8) -> String {
    let decimals = usize::from(decimals);
    if decimals == 0 {
        return value.to_string();
    }
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_stand_where_they_should() {
        for (value, decimals, text) in [
            (0, 0, "0"),
            (1_250, 3, "1.250"),
            (-5, 3, "-0.005"),
            (i32::MIN, 9, "-2.147483648"),
            (7, 1, "0.7"),
        ] {
            assert_eq!(decimal(value, decimals), text);
        }
    }
}
