//! Learn mode: from what a scanner sends for a known label to the configuration that reads it.
//!
//! ```text
//!  bytes with their times -> bursts -> where is the label? -> what stands before and after it -> Proposal
//! ```
//! Found are: prefix, suffix, the substitute of GS, AIM identifiers, parity that was not expected, SSI packets, a
//! keyboard's layout. A burst in which the label is not found says why as far as that can be told.

use std::fmt::Write as _;
use std::time::Duration;

use super::keyboard::Keyboard;
use super::layout::{LAYOUTS, Layout};
use super::ssi::Ssi;
use super::{Feedback, IDLE_GAP_DEFAULT, ScannerDecoder, ScannerOptions, ScannerProtocol, Source};
use crate::scale::parity_of;
use crate::serial::LineSettings;

/// The label to scan when none is named: letters that keyboard layouts swap, a sign, and a GS within.
pub const LABEL: &[u8] = b"010950600013435210AZQWYM-1\x1d217";
/// The same for people.
pub const LABEL_TEXT: &str = "GS1 (01)09506000134352(10)AZQWYM-1(21)7";
/// Two scans by hand are never this close, and no scanner pauses as long within one.
pub const PAUSE: Duration = Duration::from_millis(400);
/// Most that is shown of what came instead.
const SHOWN_BYTES_MAX: usize = 80;

const GS: u8 = 0x1D;

/// What came from the port, and when.
pub type Chunk = (Duration, Vec<u8>);

/// The settings that read the label.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// The scanner protocol's name.
    pub protocol: &'static str,
    /// Other than the present ones; `None`: these are right.
    pub line: Option<LineSettings>,
    /// Prefix, suffix, gap, substitute and layout.
    pub options: ScannerOptions,
    /// The AIM identifier that the scanner sent, such as `]d2`.
    pub aim: Option<String>,
    /// What became of GS.
    pub gs: Separator,
    /// How many scans say so.
    pub scans: usize,
}

/// What became of a GS within the label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Separator {
    /// It came, as itself or as its substitute.
    Came,
    /// It did not come at all.
    Lost,
    /// The label holds none, so nobody knows.
    NotAsked,
}

/// Why there is no proposal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// Nothing came.
    #[error("nothing came from the scanner")]
    Silence,
    /// Bytes that are no text.
    #[error("the scanner sent {shown}, which is no text")]
    Garbled {
        /// The beginning of it.
        shown: String,
    },
    /// Text, but not this label.
    #[error("the label was not found in {shown}")]
    OtherLabel {
        /// The beginning of it.
        shown: String,
    },
    /// Two scans came differently, or several at once.
    #[error("the scans differ: {first} and {second}")]
    Differ {
        /// What stands around the label in one.
        first: String,
        /// In another.
        second: String,
    },
    /// What was found cannot be configured.
    #[error("what stands around the label cannot be told from it: {reason}")]
    Unusable {
        /// Why.
        reason: String,
    },
}

impl Trouble {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Trouble::Silence => {
                "does it beep and light up when it reads? Choose RS-232, USB serial (CDC) or USB keyboard in its menu, and look at `stockwire-agent devices`"
            }
            Trouble::Garbled { .. } => {
                "the speed is another: look it up in the scanner's menu (often 9600 or 115200) and set `line`"
            }
            Trouble::OtherLabel { .. } => {
                "scan the label that was named, or name one whose text you know: --label SW:CMD:DONE for that of `stockwire-agent sheet commands`; a GS is written <GS>"
            }
            Trouble::Differ { .. } => "scan slowly, always the same label; if it stays so, check the cable",
            Trouble::Unusable { .. } => "choose CR as suffix and no prefix in the scanner's menu",
        }
    }
}

/// Finds the settings. `line` are those with which the bytes were read.
///
/// # Errors
/// [`Trouble`], with what to do.
pub fn learn(
    source: Source,
    line: LineSettings,
    chunks: &[Chunk],
    label: &[u8],
) -> Result<Proposal, Trouble> {
    let bursts = bursts(chunks);
    let mut proposal: Option<Proposal> = None;
    for burst in &bursts {
        let found = match source {
            Source::Serial => serial(burst, line, label)?,
            Source::Keyboard => keyboard(burst, label)?,
        };
        match &mut proposal {
            None => proposal = Some(found),
            Some(before) if is_same(before, &found) => {
                before.scans += 1;
                before.options.gap = before.options.gap.max(found.options.gap);
            }
            Some(before) => {
                return Err(Trouble::Differ { first: around(before), second: around(&found) });
            }
        }
    }
    let proposal = proposal.ok_or(Trouble::Silence)?;
    proposal.options.check().map_err(|reason| Trouble::Unusable { reason })?;
    Ok(proposal)
}

/// How many scans the bytes hold.
pub fn scans(chunks: &[Chunk]) -> usize {
    bursts(chunks).len()
}

impl Proposal {
    /// The lines for the configuration, with what is to be known about them.
    pub fn to_toml(&self) -> String {
        let ScannerOptions { prefix, suffix, gap, gs_substitute, layout, .. } = &self.options;
        let mut text = format!("protocol = \"{}\"\n", self.protocol);
        // Writing to a String cannot fail.
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            let _ = writeln!(text, "{key} = {value}");
        };
        if let Some(settings) = self.line {
            line("line", &format_args!("\"{settings}\""));
        }
        if self.protocol == Keyboard.name() {
            line("layout", &format_args!("\"{layout}\""));
        }
        if !prefix.is_empty() {
            line("prefix", &quoted(prefix));
        }
        if self.protocol == "line" {
            line("suffix", &quoted(suffix));
        }
        if self.protocol != Ssi.name() && (suffix.is_empty() || self.protocol == Keyboard.name()) {
            line("gap_ms", &gap.as_millis());
        }
        if let Some(substitute) = gs_substitute {
            line("gs_substitute", &quoted(&[*substitute]));
        }
        text.push_str(match &self.aim {
            Some(_) => "# AIM identifiers are on: good.\n",
            None => {
                "# AIM identifiers are OFF: switch them on in the scanner's menu, or GS1 labels are taken for plain text.\n"
            }
        });
        text.push_str(match self.gs {
            Separator::Came => "",
            Separator::Lost => {
                "# The GS within the label did NOT come: let the scanner send it, or a substitute such as \"~\", or lots and serials run together.\n"
            }
            Separator::NotAsked => {
                "# The label held no GS, so whether that comes is not known: learn again with a label that has a lot and a serial number.\n"
            }
        });
        if let Some(noun) = ambiguous(prefix).filter(|_| self.aim.is_none()) {
            text.push_str(&format!(
                "# The prefix looks like {noun}: switch that off rather than configure it, it changes with the symbology.\n"
            ));
        }
        text
    }
}

/// Vendors' own identifiers, which differ from label to label.
fn ambiguous(prefix: &[u8]) -> Option<&'static str> {
    match prefix {
        [letter] if letter.is_ascii_alphabetic() => Some("a vendor's code identifier"),
        [b'P', b'0', _] => Some("Zebra's code identifier"),
        _ => None,
    }
}

/// Bytes between pauses, each with its longest inner pause.
struct Burst {
    bytes: Vec<u8>,
    chunks: Vec<Chunk>,
    pause: Duration,
}

fn bursts(chunks: &[Chunk]) -> Vec<Burst> {
    let mut bursts: Vec<Burst> = Vec::new();
    let mut last = Duration::ZERO;
    for (at, bytes) in chunks.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        let pause = at.saturating_sub(last);
        match bursts.last_mut().filter(|_| pause < PAUSE) {
            Some(burst) => {
                burst.bytes.extend_from_slice(bytes);
                burst.chunks.push((*at, bytes.clone()));
                burst.pause = burst.pause.max(pause);
            }
            None => bursts.push(Burst {
                bytes: bytes.clone(),
                chunks: vec![(*at, bytes.clone())],
                pause: Duration::ZERO,
            }),
        }
        last = *at;
    }
    bursts
}

fn serial(burst: &Burst, line: LineSettings, label: &[u8]) -> Result<Proposal, Trouble> {
    let proposal = |protocol, line, options, found: &Found| Proposal {
        protocol,
        line,
        options,
        aim: found.aim.clone(),
        gs: found.gs,
        scans: 1,
    };
    if let Some(read) = packets(burst)
        && let Some(found) = find(&read, label).filter(|found| found.prefix.is_empty())
    {
        let options = ScannerOptions {
            feedback: Feedback::Scanner,
            gs_substitute: found.substitute,
            ..ScannerOptions::default()
        };
        return Ok(proposal(Ssi.name(), None, options, &found));
    }
    let (bytes, other_line) = match find(&burst.bytes, label) {
        Some(_) => (burst.bytes.clone(), None),
        // Seven bits and parity, read as eight: the eighth bit is the parity.
        None => {
            let seven: Vec<u8> = burst.bytes.iter().map(|byte| byte & 0x7F).collect();
            let parity = parity_of(&burst.bytes);
            (seven, parity.map(|parity| LineSettings { data_bits: 7, parity, ..line }))
        }
    };
    let Some(found) = find(&bytes, label).filter(|_| bytes == burst.bytes || other_line.is_some()) else {
        let text = burst.bytes.iter().filter(|byte| (b' '..=b'~').contains(byte)).count();
        let shown = shown(&burst.bytes);
        return Err(if text * 2 < burst.bytes.len() {
            Trouble::Garbled { shown }
        } else {
            Trouble::OtherLabel { shown }
        });
    };
    if find(&found.suffix, label).is_some() {
        let second = shown(&found.suffix);
        return Err(Trouble::Differ {
            first: "one label".into(),
            second: format!("one with {second} after it"),
        });
    }
    let options = ScannerOptions {
        prefix: found.prefix.clone(),
        suffix: found.suffix.clone(),
        gap: gap(burst.pause, IDLE_GAP_DEFAULT),
        gs_substitute: found.substitute,
        ..ScannerOptions::default()
    };
    Ok(proposal("line", other_line, options, &found))
}

/// The first read in SSI packets, if these are such.
fn packets(burst: &Burst) -> Option<Vec<u8>> {
    let mut decoder = Ssi.decoder(&ScannerOptions::default());
    decoder.handle_bytes(Duration::ZERO, &burst.bytes);
    decoder.poll_read()?.ok()
}

fn keyboard(burst: &Burst, label: &[u8]) -> Result<Proposal, Trouble> {
    let mut first_text = None;
    let mut best: Option<Proposal> = None;
    for layout in LAYOUTS {
        let text = typed(burst, layout);
        if let Some(found) = find(&text, label).filter(|found| found.suffix.is_empty()) {
            let options = ScannerOptions {
                prefix: found.prefix,
                gap: gap(burst.pause, Keyboard.gap()),
                gs_substitute: found.substitute,
                layout,
                ..ScannerOptions::default()
            };
            let proposal = Proposal {
                protocol: Keyboard.name(),
                line: None,
                options,
                aim: found.aim,
                gs: found.gs,
                scans: 1,
            };
            // An identifier that comes out whole is a better witness than the label alone: `]` moves about.
            if best.as_ref().is_none_or(|best| best.aim.is_none() && proposal.aim.is_some()) {
                best = Some(proposal);
            }
        }
        first_text.get_or_insert(text);
    }
    let shown = shown(&first_text.unwrap_or_default());
    best.ok_or(Trouble::OtherLabel { shown })
}

/// What the keys give in this layout, one read after the other; a read that it cannot type is left out.
fn typed(burst: &Burst, layout: Layout) -> Vec<u8> {
    let options = ScannerOptions { layout, gap: PAUSE, ..ScannerOptions::default() };
    let mut decoder: Box<dyn ScannerDecoder> = Keyboard.decoder(&options);
    burst.chunks.iter().for_each(|(at, bytes)| decoder.handle_bytes(*at, bytes));
    if let Some(due) = decoder.poll_timeout() {
        decoder.handle_timeout(due);
    }
    std::iter::from_fn(|| decoder.poll_read()).flatten().flatten().collect()
}

/// The label within a read, and what stands around it.
struct Found {
    prefix: Vec<u8>,
    aim: Option<String>,
    substitute: Option<u8>,
    gs: Separator,
    suffix: Vec<u8>,
}

/// As it is, else with another character for each GS, else without any.
fn find(bytes: &[u8], label: &[u8]) -> Option<Found> {
    let place = |pattern: &[u8], substitute: Option<u8>| {
        bytes.windows(pattern.len().max(1)).position(|window| {
            window.iter().zip(pattern).all(|(byte, expected)| match (substitute, *expected) {
                (Some(substitute), GS) => *byte == substitute,
                (_, expected) => *byte == expected,
            })
        })
    };
    let without: Vec<u8> = label.iter().copied().filter(|byte| *byte != GS).collect();
    let substitutes = || (0x01..0x7Fu8).filter(|byte| !byte.is_ascii_alphanumeric());
    let (at, length, substitute) = place(label, None)
        .map(|at| (at, label.len(), None))
        .or_else(|| {
            let named = label.contains(&GS).then(substitutes).into_iter().flatten();
            named.filter_map(|byte| place(label, Some(byte)).map(|at| (at, label.len(), Some(byte)))).next()
        })
        .or_else(|| place(&without, None).map(|at| (at, without.len(), None)))?;
    let (before, suffix) = (&bytes[..at], &bytes[at + length..]);
    let (prefix, aim) = match before {
        [prefix @ .., b']', letter, modifier]
            if letter.is_ascii_alphabetic() && modifier.is_ascii_alphanumeric() =>
        {
            (prefix, Some(format!("]{}{}", char::from(*letter), char::from(*modifier))))
        }
        _ => (before, None),
    };
    Some(Found {
        prefix: prefix.to_vec(),
        aim,
        substitute,
        gs: match (label.contains(&GS), length == label.len()) {
            (false, _) => Separator::NotAsked,
            (true, true) => Separator::Came,
            (true, false) => Separator::Lost,
        },
        suffix: suffix.to_vec(),
    })
}

/// Twice the longest pause seen, in tens of milliseconds, and no less than usual.
fn gap(pause: Duration, usual: Duration) -> Duration {
    let tens = (2 * pause.as_millis() as u64).div_ceil(10);
    Duration::from_millis(tens * 10).max(usual)
}

fn is_same(one: &Proposal, other: &Proposal) -> bool {
    let settings = |it: &Proposal| {
        let options = ScannerOptions { gap: Duration::ZERO, ..it.options.clone() };
        (it.protocol, it.line, options, it.aim.clone(), it.gs)
    };
    settings(one) == settings(other)
}

fn around(proposal: &Proposal) -> String {
    let ScannerOptions { prefix, suffix, layout, .. } = &proposal.options;
    let aim = proposal.aim.as_deref().unwrap_or("");
    let around = format!("{}{aim}...{}", prefix.escape_ascii(), suffix.escape_ascii());
    if proposal.protocol == Keyboard.name() { format!("{around} on {layout}") } else { around }
}

fn shown(bytes: &[u8]) -> String {
    let more = if bytes.len() > SHOWN_BYTES_MAX { " ..." } else { "" };
    format!("\"{}\"{more}", bytes[..bytes.len().min(SHOWN_BYTES_MAX)].escape_ascii())
}

/// A TOML string.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for character in String::from_utf8_lossy(bytes).chars() {
        match character {
            '\r' => text.push_str("\\r"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '"' | '\\' => text.extend(['\\', character]),
            ' '..='~' => text.push(character),
            other => text.push_str(&format!("\\u{:04x}", u32::from(other))),
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests;
