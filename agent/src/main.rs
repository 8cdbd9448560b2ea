//! `stockwire-agent`: the command line.
//!
//! Exit codes: 0 good, 1 failed, 2 usage or configuration.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use stockwire_agent::config::{self, Config, LogLevel};
use stockwire_agent::decode::{ScaleLines, ScanLines};
use stockwire_agent::devices;
use stockwire_agent::doctor::{self, Configured, Observed, Verdict};
use stockwire_agent::io::clock::Clock;
use stockwire_agent::io::mqtt::TlsFiles;
use stockwire_agent::io::ports::{self, Roots};
use stockwire_agent::io::socket::{self, Ask};
use stockwire_agent::io::sqlite_journal::OpenError;
use stockwire_agent::io::watcher::{self, Watch};
use stockwire_agent::scale::{SCALES, ScaleOptions, StatusBits, Unit};
use stockwire_agent::watch::canvas::Palette;
use stockwire_protocol::gs1;

mod devices_command;
mod journal_command;
mod probe_command;
mod sheet_command;

/// Reads scanners and scales, records every movement durably, and sends it to the gateway.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
struct Cli {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/stockwire/agent.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run until a signal ends it.
    Run,
    /// Name every fault of the configuration file.
    CheckConfig,
    /// Print the default configuration, which is the manual.
    PrintConfig,
    /// List the ports that are there, by the names to configure, and what is on them.
    Devices(devices_command::DevicesCommand),
    /// Show what the agent would understand: bytes on standard input, one line of JSON for each read.
    #[command(subcommand)]
    Decode(Decode),
    /// Look at what is recorded.
    #[command(subcommand)]
    Journal(journal_command::JournalCommand),
    /// How the running agent stands.
    Status {
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Make barcodes to print: commands, quantities, locations, badges.
    #[command(subcommand)]
    Sheet(sheet_command::SheetCommand),
    /// Show the stations on a display at the bench: full screen, until q is pressed.
    Watch {
        /// Only this station.
        #[arg(long, value_name = "NAME")]
        station: Option<String>,
    },
    /// Check everything, one after the other, and say what to do.
    Doctor {
        /// For machines.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum Decode {
    /// Barcodes, one in each line.
    Scan {
        /// Reads weights in shops' own EAN-13 by the rules of this country, such as `de`; without it, none.
        #[arg(long, value_name = "COUNTRY")]
        variable_measure: Option<String>,
    },
    /// What a scale sends.
    Scale {
        /// The scale's protocol; a wrong name lists them all.
        #[arg(long, value_name = "NAME")]
        protocol: String,
        /// The unit, for protocols that send none.
        #[arg(long)]
        unit: Option<String>,
        /// What the status byte of a Toledo 8217 means: 8217 or benchpro.
        #[arg(long, value_name = "FAMILY")]
        status_bits: Option<String>,
        /// The frames of a Toledo continuous output have no checksum.
        #[arg(long)]
        no_checksum: bool,
    },
}

/// The configuration or the command line is at fault, not the world.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn main() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli) {
        Ok(code) => code,
        // Whoever reads our output has seen enough.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(open) = error.downcast_ref::<OpenError>() {
                eprintln!("hint: {}", open.hint());
            }
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run => {
            let config = load(&cli.config)?;
            log_to_stderr(config.log_level);
            // One thread: there is one journal, and everything waits for its flush.
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime")?;
            runtime.block_on(stockwire_agent::run::run(config))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::CheckConfig => {
            let config = load(&cli.config)?;
            println!(
                "{}: good, {} with {} station(s)",
                cli.config.display(),
                config.agent,
                config.stations.len()
            );
            let found = ports::list(&Roots::default()).context("listing the ports")?;
            for warning in devices::warnings(&devices::configured(&config), &found) {
                println!("warning: {warning}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::PrintConfig => {
            io::stdout().write_all(config::DEFAULT.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Devices(command) => devices_command::execute(command, &cli.config, || load(&cli.config)),
        Command::Decode(Decode::Scan { variable_measure }) => decode_scan(variable_measure.as_deref()),
        Command::Decode(Decode::Scale { protocol, unit, status_bits, no_checksum }) => {
            let plain = scale_options(unit.as_deref(), status_bits.as_deref())?;
            decode_scale(&protocol, &ScaleOptions { checksum: !no_checksum, ..plain })
        }
        Command::Journal(command) => {
            // Only where the journal is matters, and a file can be named without a configuration.
            journal_command::execute(command, || load(&cli.config))
        }
        Command::Sheet(command) => sheet_command::execute(command, || load(&cli.config)),
        Command::Watch { station } => watch(load(&cli.config)?, station),
        Command::Status { json } => status(&load(&cli.config)?, json),
        Command::Doctor { json } => {
            let checks = doctor::checks(&observe(&cli.config));
            let text = if json {
                serde_json::to_string(&checks)? + "\n"
            } else {
                doctor::to_text(&checks, io::stdout().is_terminal())
            };
            io::stdout().write_all(text.as_bytes())?;
            let failed = doctor::verdict(&checks) == Verdict::Failed;
            Ok(ExitCode::from(u8::from(failed)))
        }
    }
}

fn load(path: &Path) -> anyhow::Result<Config> {
    let text = fs::read_to_string(path)
        .map_err(|error| Usage(format!("{}: {error}; name it with --config", path.display())))?;
    Ok(Config::parse(&text).map_err(|faults| Usage(format!("{}: {faults}", path.display())))?)
}

fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
    };
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // The system's log puts its own time before each line.
    if std::env::var_os("JOURNAL_STREAM").is_some() { lines.without_time().init() } else { lines.init() }
}

fn decode_scan(country: Option<&str>) -> anyhow::Result<ExitCode> {
    let variable =
        country.map(gs1::VariableRules::parse).transpose().map_err(|error| Usage(error.to_string()))?;
    let mut lines = ScanLines::new(gs1::Context { year: Clock::new(None).year(), variable });
    each_chunk(|chunk| match chunk {
        Some(bytes) => lines.handle_bytes(bytes),
        None => lines.finish().into_iter().collect(),
    })
}

fn scale_options(unit: Option<&str>, status_bits: Option<&str>) -> Result<ScaleOptions, Usage> {
    let mut options = ScaleOptions::default();
    if let Some(name) = unit {
        let unit = Unit::parse(name);
        options.unit =
            Some(unit.ok_or_else(|| Usage(format!("no scale shows the unit {name:?}; try g or kg")))?);
    }
    if let Some(name) = status_bits {
        let family = StatusBits::parse(name);
        options.status_bits =
            family.ok_or_else(|| Usage(format!("no family is named {name:?}; try 8217 or benchpro")))?;
    }
    Ok(options)
}

fn decode_scale(protocol: &str, options: &ScaleOptions) -> anyhow::Result<ExitCode> {
    let mut lines = ScaleLines::new(protocol, options).ok_or_else(|| {
        let names: Vec<&str> = SCALES.iter().map(|row| row.name()).collect();
        Usage(format!("there is no scale protocol {protocol:?}; there are {}", names.join(", ")))
    })?;
    each_chunk(|chunk| match chunk {
        Some(bytes) => lines.handle_bytes(bytes),
        None => lines.finish(),
    })
}

/// Standard input in chunks, then `None` for its end; what comes back goes out, a line each, at once.
fn each_chunk(mut lines: impl FnMut(Option<&[u8]>) -> Vec<String>) -> anyhow::Result<ExitCode> {
    let mut buffer = [0; 4096];
    let mut out = io::stdout().lock();
    loop {
        let length = io::stdin().lock().read(&mut buffer).context("reading standard input")?;
        for line in lines((length > 0).then_some(&buffer[..length])) {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
        if length == 0 {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn status(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let answer = socket::ask(&config.socket, Ask::Status).with_context(|| {
        format!("no agent answers at {}; `stockwire-agent doctor` looks further", config.socket.display())
    })?;
    if json {
        writeln!(io::stdout(), "{answer}")?;
    }
    let status: serde_json::Value = serde_json::from_str(&answer).context("the agent's answer")?;
    let Some(findings) = status["findings"].as_array() else {
        bail!("the agent's answer has no findings: {answer}")
    };
    if !json {
        let mut out = io::stdout().lock();
        let (journal, link) = (&status["journal"], &status["link"]);
        let state = if link["connected"] == true { "connected" } else { "not connected" };
        writeln!(out, "{} {}, process {}", text(&status["agent"]), text(&status["software"]), status["pid"])?;
        writeln!(out, "journal  {} recorded, {} acknowledged", journal["head"], journal["watermark"])?;
        writeln!(out, "broker   {}, {state} for {} s", text(&link["broker"]), link["since_s"])?;
        for device in status["devices"].as_array().into_iter().flatten() {
            let state = text(&device["state"]["kind"]).to_owned();
            writeln!(out, "device   {} at {}: {state}", text(&device["name"]), text(&device["port"]))?;
        }
        for station in status["stations"].as_array().into_iter().flatten() {
            let screen = &station["screen"];
            writeln!(
                out,
                "station  {}: {} {}",
                text(&station["name"]),
                text(&screen["expected"]),
                text(&screen["message"])
            )?;
        }
        for finding in findings {
            writeln!(
                out,
                "{}: {}\n  -> {}",
                text(&finding["severity"]),
                text(&finding["message"]),
                text(&finding["hint"])
            )?;
        }
    }
    let failed = findings.iter().any(|finding| finding["severity"] == "error");
    Ok(ExitCode::from(u8::from(failed)))
}

fn watch(config: Config, station: Option<String>) -> anyhow::Result<ExitCode> {
    if !io::stdout().is_terminal() {
        let hint = "watch fills a terminal, and standard output is none; `status --json` is for programs";
        return Err(Usage(hint.to_owned()).into());
    }
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let palette = if no_color { Palette::Monochrome } else { Palette::Colour };
    watcher::watch(&Watch { socket: config.socket, station, palette }).context("the terminal")?;
    Ok(ExitCode::SUCCESS)
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or("")
}

/// Looks at everything that the doctor judges.
fn observe(path: &Path) -> Observed {
    let unknown = || Err("not looked at".to_owned());
    let mut observed = Observed {
        config: unknown().map(|()| Configured { path: String::new(), agent: String::new(), stations: 0 }),
        directory: unknown(),
        tls: None,
        status: unknown().map(|()| String::new()),
        broker: None,
        missing_ports: Vec::new(),
        port_warnings: Vec::new(),
    };
    let config = match load(path) {
        Ok(config) => config,
        Err(error) => {
            observed.config = Err(format!("{error:#}"));
            return observed;
        }
    };
    observed.config = Ok(Configured {
        path: path.display().to_string(),
        agent: config.agent.to_string(),
        stations: config.stations.len(),
    });
    // A listing that fails tells nothing against the names.
    let found = ports::list(&Roots::default()).unwrap_or_default();
    observed.port_warnings = devices::warnings(&devices::configured(&config), &found);
    observed.directory = writable_directory(&config.journal_path);
    observed.tls = config.broker.tls.as_ref().map(|files| {
        let files =
            TlsFiles { ca: files.ca.clone(), cert: files.certificate.clone(), key: files.key.clone() };
        files.load().map(drop).map_err(|error| error.to_string())
    });
    observed.status = socket::ask(&config.socket, Ask::Status)
        .map_err(|error| format!("{}: {error}", config.socket.display()));
    if observed.status.is_err() {
        observed.broker = Some(reach(&config.broker.host, config.broker.port));
        observed.missing_ports = devices::configured(&config)
            .into_iter()
            .filter(|device| ports::resolve(&device.port, device.keyboard).is_err())
            .map(|device| format!("{} of {}", device.port, device.name))
            .collect();
    }
    observed
}

fn writable_directory(journal: &Path) -> Result<(), String> {
    let directory = journal.parent().unwrap_or(Path::new("/"));
    // Asked of the kernel, not tried: the doctor leaves nothing behind.
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
        .map_err(|error| format!("{}: {error}", directory.display()))
}

/// Name resolution and TCP, no further.
fn reach(host: &str, port: u16) -> Result<(), String> {
    const WAIT: Duration = Duration::from_secs(5);
    let addresses = (host, port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    let mut last = format!("{host} has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, WAIT) {
            Ok(_) => return Ok(()),
            Err(error) => last = format!("{host} at {address}: {error}"),
        }
    }
    Err(last)
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
