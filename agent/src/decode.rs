//! `decode scan` and `decode scale`: bytes in, one JSON line per read or frame out. Pure, so that tests and other
//! programs see exactly what the agent would understand.

use std::time::Duration;

use serde::Serialize;
use stockwire_protocol::gs1::{self, Context, SCAN_BYTES_MAX, VariableMeasure};

use crate::scale::{self, FrameFault, Reading, ScaleDecoder, ScaleOptions};

/// One scan per line of input, an empty line included: what comes out has the lines of what went in. CR before the
/// line's end is dropped; GS, AIM identifier and everything else are data.
#[derive(Debug)]
pub struct ScanLines {
    context: Context,
    /// The line so far; at most one byte longer than any scan.
    line: Vec<u8>,
}

impl ScanLines {
    /// `context`: the year, and how the site reads numbers of variable measure.
    pub fn new(context: Context) -> Self {
        Self { context, line: Vec::new() }
    }

    /// More input, split anywhere. Gives the JSON lines of the scans that ended.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                lines.push(self.end_of_line());
            } else if self.line.len() <= SCAN_BYTES_MAX + 1 {
                // Beyond that it is too long already and is refused as such, whatever follows.
                self.line.push(byte);
            }
        }
        lines
    }

    /// The input ended; the last line may lack its end.
    pub fn finish(&mut self) -> Option<String> {
        (!self.line.is_empty()).then(|| self.end_of_line())
    }

    fn end_of_line(&mut self) -> String {
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        scan(&line, self.context)
    }
}

/// The JSON line of one scan.
pub fn scan(raw: &[u8], context: Context) -> String {
    let scan = gs1::interpret_with(raw, context);
    let elements = scan.elements().iter();
    let findings = scan.findings().iter();
    json(&ScanLine {
        raw: scan.raw_text(),
        symbology: scan.symbology().map(|symbology| symbology.name()),
        kind: scan.kind().name(),
        elements: elements.map(|e| ElementLine { ai: e.ai(), value: e.value(), title: e.title() }).collect(),
        gtin: scan.gtin().map(|gtin| gtin.to_string()),
        variable: scan.variable().map(|variable| match variable.measure {
            VariableMeasure::Weight(kg) => VariableLine { measure: "weight", value: kg.to_string() },
            VariableMeasure::Price(price) => VariableLine { measure: "price", value: price.to_string() },
            VariableMeasure::Count(count) => VariableLine { measure: "count", value: count.to_string() },
        }),
        findings: findings
            .map(|finding| FindingLine {
                severity: finding.severity().as_str(),
                code: finding.code.as_str(),
                message: &finding.message,
            })
            .collect(),
    })
}

/// The frames of one scale.
pub struct ScaleLines(Box<dyn ScaleDecoder>);

impl ScaleLines {
    /// `None` when there is no protocol of that name.
    pub fn new(protocol: &str, options: &ScaleOptions) -> Option<Self> {
        let protocol = scale::find(protocol)?;
        let mut decoder = protocol.decoder(options);
        if protocol.prints() {
            // Whoever pipes in what was printed has asked for it: a bare number is whole only as an answer.
            decoder.request();
        }
        Some(Self(decoder))
    }

    /// More input, split anywhere. Gives the JSON lines of the frames that ended.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Vec<String> {
        self.0.handle_bytes(Duration::ZERO, bytes);
        self.lines()
    }

    /// The input ended; what is left over is no frame.
    pub fn finish(&mut self) -> Vec<String> {
        self.0.handle_end();
        self.lines()
    }

    fn lines(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.0.poll_reply()).map(|reply| self::reply(&reply)).collect()
    }
}

/// The JSON line of one reading or refused frame.
pub fn reply(reply: &Result<Reading, FrameFault>) -> String {
    match reply {
        Ok(reading) => json(&ReadingLine {
            value: reading.value.map(|value| value.to_string()),
            unit: reading.unit.map(|unit| unit.as_str()),
            unit_source: reading.unit_source.as_str(),
            stability: reading.stability.as_str(),
            stability_source: reading.stability_source.as_str(),
            range: reading.range.as_str(),
            net: reading.net.as_str(),
            zero: reading.zero,
            tare: reading.tare.map(|tare| tare.to_string()),
            raw: text(&reading.raw),
        }),
        Err(fault) => json(&FaultLine { error: fault.to_string(), raw: text(&fault.raw) }),
    }
}

#[derive(Serialize)]
struct ScanLine<'a> {
    raw: String,
    symbology: Option<&'static str>,
    kind: &'static str,
    elements: Vec<ElementLine<'a>>,
    gtin: Option<String>,
    /// Only where the site's rules read one.
    #[serde(skip_serializing_if = "Option::is_none")]
    variable: Option<VariableLine>,
    findings: Vec<FindingLine<'a>>,
}

#[derive(Serialize)]
struct VariableLine {
    measure: &'static str,
    value: String,
}

#[derive(Serialize)]
struct ElementLine<'a> {
    ai: &'a str,
    value: &'a str,
    title: &'static str,
}

#[derive(Serialize)]
struct FindingLine<'a> {
    severity: &'static str,
    code: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct ReadingLine {
    /// As text: a JSON number would be read back as a float.
    value: Option<String>,
    unit: Option<&'static str>,
    unit_source: &'static str,
    stability: &'static str,
    stability_source: &'static str,
    range: &'static str,
    net: &'static str,
    zero: Option<bool>,
    tare: Option<String>,
    raw: String,
}

#[derive(Serialize)]
struct FaultLine {
    error: String,
    raw: String,
}

/// As UTF-8, else as Latin-1, so that no byte goes lost.
fn text(raw: &[u8]) -> String {
    std::str::from_utf8(raw).map_or_else(|_| raw.iter().map(|byte| char::from(*byte)).collect(), String::from)
}

fn json(line: &impl Serialize) -> String {
    // Serialising plain fields to memory cannot fail; if it ever did, the text says so.
    serde_json::to_string(line).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context = Context { year: 2026, variable: None };

    fn scans(input: &[u8]) -> Vec<String> {
        let mut lines = ScanLines::new(CONTEXT);
        let mut printed = lines.handle_bytes(input);
        printed.extend(lines.finish());
        for at in 0..input.len().min(200) {
            let mut split = ScanLines::new(CONTEXT);
            let parts = [split.handle_bytes(&input[..at]), split.handle_bytes(&input[at..])].concat();
            assert_eq!(parts.into_iter().chain(split.finish()).collect::<Vec<_>>(), printed, "split at {at}");
        }
        printed
    }

    #[test]
    fn one_json_line_per_scan() {
        let printed = scans(b"]C1010400638133393110ABC\x1d21S1\r\n\nSW:LOC:A-01");
        assert_eq!(
            printed,
            [
                concat!(
                    r#"{"raw":"]C1010400638133393110ABC\u001d21S1","symbology":"GS1-128","kind":"gs1","elements":["#,
                    r#"{"ai":"01","value":"04006381333931","title":"GTIN"},{"ai":"10","value":"ABC","title":"BATCH/LOT"},"#,
                    r#"{"ai":"21","value":"S1","title":"SERIAL"}],"gtin":"04006381333931","findings":[]}"#,
                ),
                concat!(
                    r#"{"raw":"","symbology":null,"kind":"error","elements":[],"gtin":null,"findings":["#,
                    r#"{"severity":"error","code":"empty","message":"the code holds no data"}]}"#,
                ),
                r#"{"raw":"SW:LOC:A-01","symbology":null,"kind":"location","elements":[],"gtin":null,"findings":[]}"#,
            ]
        );
    }

    #[test]
    fn findings_tell_warnings_from_errors() {
        let finding = |raw: &str| {
            let line: serde_json::Value = serde_json::from_str(&scan(raw.as_bytes(), CONTEXT)).unwrap();
            let finding = &line["findings"][0];
            assert!(finding["message"].is_string(), "{line}");
            format!("{} {} {}", line["kind"], finding["severity"], finding["code"]).replace('"', "")
        };
        assert_eq!(finding("4006381333931"), "ean warning no_aim_identifier");
        assert_eq!(finding("]E04006381333932"), "error error check_digit");
    }

    #[test]
    fn every_kind_has_its_name() {
        for (raw, kind) in [
            ("]C10109506000134352", "gs1"),
            ("]Q1https://id.gs1.org/01/09506000134352", "digital_link"),
            ("]E09506000134352", "ean"),
            ("]C0SHELF", "plain"),
            ("]Q1https://example.com", "url"),
            ("SW:CMD:DONE", "command"),
            ("SW:LOC:A-01", "location"),
            ("]C1", "error"),
        ] {
            let line: serde_json::Value = serde_json::from_str(&scan(raw.as_bytes(), CONTEXT)).unwrap();
            assert_eq!((&line["kind"], line.get("variable")), (&serde_json::json!(kind), None), "{raw}");
        }
    }

    #[test]
    fn variable_measure_by_the_sites_rules() {
        let context = Context { variable: gs1::VariableRules::of("fi"), ..CONTEXT };
        assert_eq!(
            scan(b"]E02388060112344", context),
            concat!(
                r#"{"raw":"]E02388060112344","symbology":"EAN-13","kind":"ean","elements":[],"#,
                r#""gtin":"02388060100006","variable":{"measure":"weight","value":"1.234"},"findings":[]}"#,
            )
        );
    }

    #[test]
    fn no_input_ends_the_program_or_grows_without_bound() {
        let printed =
            scans(&[b"\xff\xfe\x00".as_slice(), b"SW:NO:1", &vec![b'9'; 100_000], b"]C1(01)"].join(&b'\n'));
        let kinds = printed.iter().map(|line| {
            assert!(line.len() < 30_000);
            serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].as_str().unwrap().to_string()
        });
        assert_eq!(kinds.collect::<Vec<_>>(), ["plain", "error", "error", "error"]);
    }

    #[test]
    fn one_json_line_per_frame() {
        let mut lines = ScaleLines::new("mt-sics", &ScaleOptions::default()).unwrap();
        let mut printed = lines.handle_bytes(b"S S     100.00 g\r\nS +\r\nS S 1.0 stone\r\n\xd3\r\nS D");
        printed.extend(lines.finish());
        assert_eq!(
            printed,
            [
                concat!(
                    r#"{"value":"100.00","unit":"g","unit_source":"reported","stability":"stable","#,
                    r#""stability_source":"reported","range":"ok","net":"unknown","zero":false,"tare":null,"raw":"S S     100.00 g"}"#,
                ),
                concat!(
                    r#"{"value":null,"unit":null,"unit_source":"none","stability":"unknown","#,
                    r#""stability_source":"none","range":"over","net":"unknown","zero":null,"tare":null,"raw":"S +"}"#,
                ),
                r#"{"error":"unknown unit \"stone\"","raw":"S S 1.0 stone"}"#,
                r#"{"error":"bytes with the eighth bit set: the parity or speed of the line does not match","raw":"Ó"}"#,
                r#"{"error":"the frame breaks off","raw":"S D"}"#,
            ]
        );
        assert!(ScaleLines::new("no-such-scale", &ScaleOptions::default()).is_none());
    }

    /// Whoever pipes in what a scale answered has asked it.
    #[test]
    fn a_single_line_of_a_scale_that_prints_decodes() {
        let mut lines = ScaleLines::new("adam-cbd", &ScaleOptions::default()).unwrap();
        let printed = lines.handle_bytes(b"   12.345kg\r\n");
        assert!(
            printed.len() == 1 && printed[0].starts_with(r#"{"value":"12.345","unit":"kg""#),
            "{printed:?}"
        );
    }
}
