//! `stockwire-agent devices`: what is plugged in, and learn mode.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use stockwire_agent::config::{Config, ScannerConfig};
use stockwire_agent::devices::{self, Configured};
use stockwire_agent::io::listen::{Heard, listen};
use stockwire_agent::io::ports::{self, Roots};
use stockwire_agent::io::socket::{self, Ask};
use stockwire_agent::scanner::learn::{self, LABEL, LABEL_TEXT, PAUSE, Proposal};

use crate::{Usage, probe_command};

/// How long learn mode waits for the scans.
const LEARN_WAIT: Duration = Duration::from_secs(60);
/// One scan tells the settings, a second one that they were no accident.
const LEARN_SCANS: usize = 2;

#[derive(Args)]
pub(crate) struct DevicesCommand {
    /// For machines.
    #[arg(long)]
    json: bool,
    /// Find protocol and line settings of an unknown scale, reading only: at this port, or at each one that is not configured.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "", conflicts_with = "learn")]
    probe: Option<String>,
    /// Scan a known label at this station, and get the lines for its scanner's configuration.
    #[arg(long, value_name = "STATION")]
    learn: Option<String>,
    /// Which scanner of the station, when it has several.
    #[arg(long, value_name = "DEVICE", requires = "learn")]
    scanner: Option<String>,
    /// The label that is scanned, if it is not the one that is named; <GS> stands for GS.
    #[arg(long, value_name = "TEXT", requires = "learn")]
    label: Option<String>,
}

/// The configuration may be missing: then only ports are listed.
pub(crate) fn execute(
    command: DevicesCommand,
    path: &Path,
    load: impl FnOnce() -> anyhow::Result<Config>,
) -> anyhow::Result<ExitCode> {
    if let Some(port) = &command.probe {
        let config = if path.exists() { Some(load()?) } else { None };
        return probe_command::execute(port, command.json, config.as_ref());
    }
    match &command.learn {
        Some(station) => learn_scanner(&command, station, &load()?),
        None => {
            // Whoever writes a configuration needs the names of the ports before it is right.
            let config = path.exists().then(load).transpose();
            if let Err(error) = &config {
                eprintln!("warning: only ports are listed, because of the configuration: {error:#}");
            }
            list(config.unwrap_or_default().as_ref(), command.json)
        }
    }
}

fn list(config: Option<&Config>, json: bool) -> anyhow::Result<ExitCode> {
    let found = ports::list(&Roots::default()).context("listing the ports")?;
    let configured: Vec<Configured> = config.map(devices::configured).unwrap_or_default();
    // No agent runs, or none that answers: then the table says less.
    let status = config.and_then(|config| socket::ask(&config.socket, Ask::Status).ok());
    let status = status.and_then(|status| serde_json::from_str(&status).ok());
    let resolve =
        |device: &Configured| ports::resolve(&device.port, device.keyboard).ok()?.canonicalize().ok();
    let rows = devices::table(&found, &configured, resolve, status.as_ref());
    let text =
        if json { serde_json::to_string(&rows)? + "\n" } else { devices::to_text(&rows, status.is_some()) };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn learn_scanner(command: &DevicesCommand, station: &str, config: &Config) -> anyhow::Result<ExitCode> {
    let scanner = choose(config, station, command.scanner.as_deref())?;
    let label = match &command.label {
        Some(text) => text.replace("<GS>", "\x1d").into_bytes(),
        None => LABEL.to_vec(),
    };
    if label.is_empty() {
        return Err(Usage("--label is empty: give the text of the label to scan".into()).into());
    }
    if socket::ask(&config.socket, Ask::Status).is_ok() {
        // The port would be refused, and to take it away would lose scans.
        let hint = "`systemctl stop stockwire-agent`, learn, then start it again";
        return Err(Usage(format!("the agent is running and has the scanner: {hint}")).into());
    }
    let shown = command.label.as_deref().unwrap_or(LABEL_TEXT);
    let (port, seconds) = (&scanner.port, LEARN_WAIT.as_secs());
    eprintln!(
        "Scan the label {shown} {LEARN_SCANS} times, slowly, with the scanner at {port} ({seconds} s). Another label does as well when --label says its text."
    );
    let mut chunks = Vec::new();
    listen(port, scanner.attachment(), LEARN_WAIT, PAUSE, |at, bytes| {
        let silent = bytes.is_empty();
        if !silent {
            chunks.push((at, bytes));
        }
        if silent && learn::scans(&chunks) >= LEARN_SCANS { Heard::Enough } else { Heard::More }
    })
    .with_context(|| "`stockwire-agent devices` lists the ports that are there")?;
    let mut out = io::stdout().lock();
    match learn::learn(scanner.protocol.source(), scanner.line, &chunks, &label) {
        Ok(proposal) => {
            report(&mut out, scanner, &proposal)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(trouble) => {
            eprintln!("error: {trouble}\nhint: {}", trouble.hint());
            Ok(ExitCode::FAILURE)
        }
    }
}

fn report(out: &mut impl io::Write, scanner: &ScannerConfig, proposal: &Proposal) -> io::Result<()> {
    let scans = proposal.scans;
    writeln!(
        out,
        "# {scans} scan(s) read. In [station.scanner], instead of what stands there for these keys:"
    )?;
    writeln!(out, "device = \"{}\"\nport = \"{}\"\n{}", scanner.device, scanner.port, proposal.to_toml())
}

fn choose<'a>(config: &'a Config, station: &str, device: Option<&str>) -> Result<&'a ScannerConfig, Usage> {
    let stations =
        || config.stations.iter().map(|station| station.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = config.stations.iter().find(|known| known.name.as_str() == station);
    let found =
        found.ok_or_else(|| Usage(format!("there is no station {station:?}; there are {}", stations())))?;
    let names = || found.scanners.iter().map(|it| it.device.as_str()).collect::<Vec<_>>().join(", ");
    match (device, &found.scanners[..]) {
        (None, [only]) => Ok(only),
        (None, _) => {
            Err(Usage(format!("{station} has several scanners: name one with --scanner: {}", names())))
        }
        (Some(device), scanners) => scanners
            .iter()
            .find(|it| it.device.as_str() == device)
            .ok_or_else(|| Usage(format!("{station} has no scanner {device:?}; it has {}", names()))),
    }
}
