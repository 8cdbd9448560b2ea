//! The configuration: TOML in, either everything the agent needs or all faults at once.
//!
//! `config/default.toml` is the manual, printed by `print-config`; a test keeps its defaults equal to the code's.
//! Nothing is read from disk here, and no secret stands in it: keys are files, named.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use stockwire_protocol::gs1::{Gln, VariableRules};
use stockwire_protocol::{AgentId, DeviceId, SiteId, StationId};
use toml::de::{DeTable, DeValue};

use crate::port::PortName;
use crate::scale::{self, ScaleOptions, ScaleProtocol, StatusBits, Unit};
use crate::scanner::layout::Layout;
use crate::scanner::{self, Feedback, ScannerOptions, ScannerProtocol, Source};
use crate::serial::{Attachment, LineSettings};
use crate::station::BOUNCE_DEFAULT;
use crate::workflow::Unknown;

mod reader;

use reader::{Document, Section, expected, number, text, truth};

/// The commented default configuration: the manual.
pub const DEFAULT: &str = include_str!("config/default.toml");

/// Ports are watched by one thread, and an operator's station has its own; 64 of them are the largest sites' docks.
pub const STATIONS_MAX: usize = 64;
/// Scanners at one station: left hand, right hand, overhead, and one to spare.
pub const SCANNERS_MAX: usize = 4;

/// Everything that can be set, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Who this box is.
    pub agent: AgentId,
    /// Where it is.
    pub site: SiteId,
    /// The site's GLN, to refuse location labels of another site.
    pub site_gln: Option<Gln>,
    /// By which country's rules numbers of variable measure are read; `None`: not at all.
    pub variable_measure: Option<&'static VariableRules>,
    /// The journal's file.
    pub journal_path: PathBuf,
    /// Bytes it may have.
    pub journal_quota_bytes: u64,
    /// Rows kept although the gateway has them.
    pub retained_rows: u64,
    /// The broker.
    pub broker: BrokerConfig,
    /// Exists once the clock is synchronised; `None`: it always is.
    pub clock_synchronized_file: Option<PathBuf>,
    /// The Unix socket of `status` and `doctor`.
    pub socket: PathBuf,
    /// What is logged.
    pub log_level: LogLevel,
    /// Operators' places.
    pub stations: Vec<StationConfig>,
}

/// Where movements go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `None`: plain TCP.
    pub tls: Option<TlsConfig>,
    /// Seconds between pings.
    pub keep_alive_s: u16,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The authority.
    pub ca: PathBuf,
    /// Our certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// One operator's place.
#[derive(Clone, Debug, PartialEq)]
pub struct StationConfig {
    /// Its name.
    pub name: StationId,
    /// At least one.
    pub scanners: Vec<ScannerConfig>,
    /// At most one.
    pub scale: Option<ScaleConfig>,
    /// What becomes of codes that the catalogue does not know.
    pub unknown: Unknown,
}

/// A scanner and its port.
#[derive(Clone)]
pub struct ScannerConfig {
    /// Its name, unique at its station.
    pub device: DeviceId,
    /// The port.
    pub port: PortName,
    /// How it speaks.
    pub protocol: &'static dyn ScannerProtocol,
    /// How bits go over the line.
    pub line: LineSettings,
    /// Prefix, suffix, feedback and so on.
    pub options: ScannerOptions,
    /// The same code again within this time is one piece.
    pub bounce: Duration,
}

impl ScannerConfig {
    /// How its port is opened.
    pub fn attachment(&self) -> Attachment {
        match self.protocol.source() {
            Source::Serial => Attachment::Serial(self.line),
            Source::Keyboard => Attachment::Keyboard,
        }
    }
}

/// A scale and its port.
#[derive(Clone)]
pub struct ScaleConfig {
    /// Its name.
    pub device: DeviceId,
    /// The port.
    pub port: PortName,
    /// How it speaks.
    pub protocol: &'static dyn ScaleProtocol,
    /// How bits go over the line.
    pub line: LineSettings,
    /// The unit, for protocols without.
    pub options: ScaleOptions,
}

/// One thing wrong with the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1.
    pub line: usize,
    /// Such as `broker.port`; empty when the text is no TOML there.
    pub key: String,
    /// What was expected and what came.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { line, key, what } = self;
        match key.as_str() {
            "" => write!(f, "line {line}: {what}"),
            key => write!(f, "line {line}: {key} {what}"),
        }
    }
}

/// All that is wrong, in the order of the lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} fault{}:\n{}", .0.len(), if .0.len() == 1 { "" } else { "s" },
    .0.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n"))]
pub struct Faults(pub Vec<Fault>);

impl Config {
    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// All [`Faults`] at once.
    pub fn parse(text: &str) -> Result<Self, Faults> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let document = Document::new(text);
        for error in &errors {
            document.fault(error.span().unwrap_or(0..0), "", error.message());
        }
        let root = document.root(&table);
        let config = read(&root);
        root.finish();
        let faults = document.into_faults();
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            // A key that could not be read always leaves a fault.
            _ => Err(Faults(faults)),
        }
    }
}

/// `None` when a fault was noted. Every section is read before anything is given up, so that all faults are seen.
fn read(root: &Section<'_>) -> Option<Config> {
    let agent = root.section("agent");
    let id = agent.required("id", |value| text(value, "an agent id", str::parse::<AgentId>));
    let site = agent.required("site", |value| text(value, "a site", str::parse::<SiteId>));
    let site_gln = agent.or("site_gln", None, |value| unless_empty(value, "a GLN of 13 digits", Gln::parse));
    let variable_measure = agent.or("variable_measure", None, |value| {
        unless_empty(value, "a country of two letters, or \"\"", VariableRules::parse)
    });
    agent.finish();

    let journal = root.section("journal");
    let journal_path = journal.or("path", "/var/lib/stockwire-agent/journal.db".into(), path);
    // A TiB is more than any edge box has, and less than what overflows.
    let quota_mib = journal.or("quota_mib", 1024, |value| number(value, 1..=1024 * 1024, " of MiB"));
    let retained_rows = journal.or("retained_rows", 20_000, |value| number(value, 0..=100_000_000, ""));
    journal.finish();

    let broker = read_broker(root.section("broker"));

    let clock = root.section("clock");
    let synchronized = Some(PathBuf::from("/run/systemd/timesync/synchronized"));
    let clock_synchronized_file = clock.or("synchronized_file", synchronized, |value| {
        unless_empty(value, "an absolute path, or \"\"", absolute)
    });
    clock.finish();

    let local = root.section("local");
    let socket = local.or("socket", "/run/stockwire-agent/agent.sock".into(), path);
    local.finish();

    let log = root.section("log");
    let log_level = log.or("level", LogLevel::Info, |value| match value.as_str() {
        Some("error") => Ok(LogLevel::Error),
        Some("warn") => Ok(LogLevel::Warn),
        Some("info") => Ok(LogLevel::Info),
        Some("debug") => Ok(LogLevel::Debug),
        _ => Err(expected("error, warn, info or debug", value)),
    });
    log.finish();

    let stations = read_stations(root);
    Some(Config {
        agent: id?,
        site: site?,
        site_gln: site_gln?,
        variable_measure: variable_measure?,
        journal_path: journal_path?,
        journal_quota_bytes: quota_mib? * 1024 * 1024,
        retained_rows: retained_rows?,
        broker: broker?,
        clock_synchronized_file: clock_synchronized_file?,
        socket: socket?,
        log_level: log_level?,
        stations: stations?,
    })
}

fn read_broker(broker: Section<'_>) -> Option<BrokerConfig> {
    let host = broker.required("host", |value| {
        text(value, "a host name or address", |host| {
            let good = !host.is_empty()
                && host.len() <= 253
                && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
            if good { Ok(host.to_owned()) } else { Err("write it without scheme, port and spaces") }
        })
    });
    let tls = broker.or("tls", true, truth);
    let default_port = if tls == Some(false) { 1883 } else { 8883 };
    let port = broker.or("port", default_port, |value| number(value, 1..=65_535, ""));
    let keep_alive_s = broker.or("keep_alive_s", 60, |value| number(value, 5..=3_600, " of seconds"));
    let ca = broker.or("ca_file", "/etc/stockwire/ca.pem".into(), path);
    let certificate = broker.or("certificate_file", "/etc/stockwire/agent.pem".into(), path);
    let key = broker.or("key_file", "/etc/stockwire/agent.key".into(), path);
    if tls == Some(false) {
        // Whoever names certificates means to use them.
        for file in ["ca_file", "certificate_file", "key_file"] {
            if broker.has(file) {
                broker.fault(file, "is not used, because tls = false: remove one of the two");
            }
        }
    }
    broker.finish();
    let files = TlsConfig { ca: ca?, certificate: certificate?, key: key? };
    Some(BrokerConfig {
        host: host?,
        port: port? as u16,
        tls: tls?.then_some(files),
        keep_alive_s: keep_alive_s? as u16,
    })
}

fn read_stations(root: &Section<'_>) -> Option<Vec<StationConfig>> {
    let sections = root.sections("station");
    if sections.len() > STATIONS_MAX {
        root.fault("station", format!("stands {} times, at most {STATIONS_MAX} are served", sections.len()));
    }
    let (mut names, mut ports) = (BTreeSet::new(), BTreeSet::new());
    let mut stations = Some(Vec::new());
    for section in sections {
        let station = read_station(&section, &mut ports);
        if let Some(station) = &station
            && !names.insert(station.name.clone())
        {
            section.fault("name", format!("{} stands twice", station.name));
        }
        section.finish();
        match (station, &mut stations) {
            (Some(station), Some(stations)) => stations.push(station),
            _ => stations = None,
        }
    }
    stations
}

fn read_station(station: &Section<'_>, ports: &mut BTreeSet<PortName>) -> Option<StationConfig> {
    let name = station.required("name", |value| text(value, "a station name", str::parse::<StationId>));
    let sections = station.sections("scanner");
    if sections.is_empty() || sections.len() > SCANNERS_MAX {
        station
            .fault("scanner", format!("stands {} times, 1 to {SCANNERS_MAX} are possible", sections.len()));
    }
    let scanners: Vec<_> = sections.into_iter().map(|scanner| read_scanner(scanner, ports)).collect();
    let scale = station.has("scale").then(|| read_scale(station.section("scale"), ports));
    let unknown = station.or("unknown", Unknown::Refuse, |value| match value.as_str() {
        Some("refuse") => Ok(Unknown::Refuse),
        Some("record") => Ok(Unknown::Record),
        _ => Err(expected("refuse or record", value)),
    });
    let mut devices = BTreeSet::new();
    let named = scanners.iter().flatten().map(|scanner| &scanner.device);
    for device in named.chain(scale.iter().flatten().map(|scale| &scale.device)) {
        if !devices.insert(device) {
            station.fault(
                "scanner",
                format!("has two devices named {device}: give each a name with device = \"...\""),
            );
        }
    }
    Some(StationConfig {
        name: name?,
        scanners: scanners.into_iter().collect::<Option<_>>()?,
        scale: match scale {
            Some(scale) => Some(scale?),
            None => None,
        },
        unknown: unknown?,
    })
}

fn read_scanner(section: Section<'_>, ports: &mut BTreeSet<PortName>) -> Option<ScannerConfig> {
    let default_device = DeviceId::new("scanner").ok()?;
    let device =
        section.or("device", default_device, |value| text(value, "a device name", str::parse::<DeviceId>));
    let port = read_port(&section, ports);
    let protocol = section.or("protocol", scanner::SCANNERS[0], |value| {
        let names: Vec<&str> = scanner::SCANNERS.iter().map(|row| row.name()).collect();
        value.as_str().and_then(scanner::find).ok_or_else(|| expected(&one_of(&names), value))
    });
    let default_line = protocol.map_or(LineSettings::DEFAULT, |protocol| protocol.line());
    let line = section.or("line", default_line, |value| text(value, "line settings", str::parse));
    let affix = |value: &DeValue<'_>| text(value, "text", |affix| Ok::<_, String>(affix.as_bytes().to_vec()));
    let defaults = ScannerOptions::default();
    let prefix = section.or("prefix", defaults.prefix, affix);
    let suffix = section.or("suffix", defaults.suffix, affix);
    let default_gap = protocol.map_or(defaults.gap, |protocol| protocol.gap()).as_millis() as u64;
    let gap_ms = section.or("gap_ms", default_gap, |value| number(value, 10..=2_000, " of milliseconds"));
    let gs_substitute = section.or("gs_substitute", None, |value| {
        unless_empty(value, "one ASCII character, or \"\"", |one| match one.as_bytes() {
            [byte] if byte.is_ascii() => Ok(*byte),
            _ => Err("only one byte can stand for GS"),
        })
    });
    let default_bounce = BOUNCE_DEFAULT.as_millis() as u64;
    let bounce_ms =
        section.or("bounce_ms", default_bounce, |value| number(value, 0..=10_000, " of milliseconds"));
    let feedbacks = protocol.map_or(&[Feedback::None][..], |protocol| protocol.feedbacks());
    let feedback = section.or("feedback", feedbacks[0], |value| {
        let words: Vec<&str> = feedbacks.iter().map(|feedback| feedback.as_str()).collect();
        let named = feedbacks.iter().find(|feedback| Some(feedback.as_str()) == value.as_str());
        named.copied().ok_or_else(|| expected(&one_of(&words), value))
    });
    let layout = section.or("layout", Layout::Us, |value| text(value, "a keyboard layout", str::parse));
    if let Some(protocol) = protocol {
        // Whoever sets one of these expects it to do something; the default layout does nothing anywhere else.
        let is_set = |key: &'static str| section.has(key) && (key != "layout" || layout != Some(Layout::Us));
        for key in protocol.unused().iter().copied().filter(|key| is_set(key)) {
            section.fault(key, format!("is not used by protocol {}: remove it", protocol.name()));
        }
    }
    let gap = gap_ms.map(Duration::from_millis);
    let options = (|| {
        Some(ScannerOptions {
            prefix: prefix?,
            suffix: suffix?,
            gap: gap?,
            gs_substitute: gs_substitute?,
            feedback: feedback?,
            layout: layout?,
        })
    })();
    if let Some(Err(what)) = options.as_ref().map(ScannerOptions::check) {
        section
            .fault(if section.has("suffix") { "suffix" } else { "prefix" }, format!("does not work: {what}"));
    }
    section.finish();
    Some(ScannerConfig {
        device: device?,
        port: port?,
        protocol: protocol?,
        line: line?,
        options: options?,
        bounce: Duration::from_millis(bounce_ms?),
    })
}

fn read_scale(section: Section<'_>, ports: &mut BTreeSet<PortName>) -> Option<ScaleConfig> {
    let default_device = DeviceId::new("scale").ok()?;
    let device =
        section.or("device", default_device, |value| text(value, "a device name", str::parse::<DeviceId>));
    let port = read_port(&section, ports);
    let protocol = section.or("protocol", scale::SCALES[0], |value| {
        let names: Vec<&str> = scale::SCALES.iter().map(|row| row.name()).collect();
        value.as_str().and_then(scale::find).ok_or_else(|| expected(&one_of(&names), value))
    });
    let default_line = protocol.map_or(LineSettings::DEFAULT, |protocol| protocol.line());
    let line = section.or("line", default_line, |value| text(value, "line settings", str::parse));
    let unit = section.or("unit", None, |value| {
        unless_empty(value, "a unit such as g or kg, or \"\"", |unit| {
            Unit::parse(unit).ok_or("no scale shows this unit")
        })
    });
    let plain = ScaleOptions::default();
    let status_bits = section.or("status_bits", plain.status_bits, |value| {
        let names = [StatusBits::Toledo, StatusBits::BenchPro].map(StatusBits::as_str);
        value.as_str().and_then(StatusBits::parse).ok_or_else(|| expected(&one_of(&names), value))
    });
    let checksum = section.or("checksum", plain.checksum, truth);
    let set = [
        ("status_bits", status_bits != Some(plain.status_bits)),
        ("checksum", checksum != Some(plain.checksum)),
    ];
    for (key, set) in set {
        if let Some(row) = protocol.filter(|row| set && !row.options().contains(&key)) {
            section.fault(key, format!("means nothing to {}: take it out", row.name()));
        }
    }
    section.finish();
    Some(ScaleConfig {
        device: device?,
        port: port?,
        protocol: protocol?,
        line: line?,
        options: ScaleOptions { unit: unit?, status_bits: status_bits?, checksum: checksum? },
    })
}

/// A port belongs to one device: two readers would each get half of the bytes.
fn read_port(section: &Section<'_>, ports: &mut BTreeSet<PortName>) -> Option<PortName> {
    let port = section.required("port", |value| text(value, "a port", str::parse::<PortName>))?;
    if !ports.insert(port.clone()) {
        section.fault("port", format!("{port} is used by another device too"));
    }
    Some(port)
}

fn one_of(names: &[&str]) -> String {
    format!("one of {}", names.join(", "))
}

/// Absolute, because a service's working directory is nobody's choice.
fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("a path begins with /") }
}

fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    text(value, "an absolute path", absolute)
}

fn unless_empty<T, E: fmt::Display>(
    value: &DeValue<'_>,
    what: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, String> {
    if value.as_str() == Some("") { Ok(None) } else { text(value, what, parse).map(Some) }
}

// The protocols are rows of static tables: their name is all there is to show and to compare.

impl fmt::Debug for ScannerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, port, protocol, line, options, bounce } = self;
        f.debug_tuple(protocol.name())
            .field(device)
            .field(port)
            .field(line)
            .field(options)
            .field(bounce)
            .finish()
    }
}

impl PartialEq for ScannerConfig {
    fn eq(&self, other: &Self) -> bool {
        let key = |config: &Self| {
            (config.device.clone(), config.port.clone(), config.protocol.name(), config.bounce)
        };
        key(self) == key(other) && (self.line, &self.options) == (other.line, &other.options)
    }
}

impl fmt::Debug for ScaleConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, port, protocol, line, options } = self;
        f.debug_tuple(protocol.name()).field(device).field(port).field(line).field(options).finish()
    }
}

impl PartialEq for ScaleConfig {
    fn eq(&self, other: &Self) -> bool {
        let key = |config: &Self| (config.device.clone(), config.port.clone(), config.protocol.name());
        key(self) == key(other) && (self.line, self.options) == (other.line, other.options)
    }
}

#[cfg(test)]
mod tests;
