//! Being a peripheral: the library's load cell with a simulated pan below it and a pseudo terminal as its UART.

use std::io::BufRead;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use stockwire_bridge::{Config as CellConfig, LoadCell};
use stockwire_protocol::link::{BootNonce, Capabilities, Hello, Identity};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::Stop;
use crate::line::Line;
use crate::pan::{self, Converter, Load, Script};
use crate::pseudo_terminal::PseudoTerminal;
use crate::report::{Report, counters_text, hello_text, stats_json, weight_json, weight_text};

/// 80 samples a second: the fast rate of an HX711.
const SAMPLE_EVERY: Duration = Duration::from_micros(12_500);

/// Commands that may wait; whoever types or pipes faster is held up by their own pipe.
const COMMANDS_MAX: usize = 16;

/// Capacity and division of the simulated scale, in grams.
const CAPACITY_G: i32 = 15_000;
const DIVISION_G: i32 = 1;

/// Time an HX711 at 80 samples a second needs after power-on.
const SETTLE: Duration = Duration::from_millis(50);

pub(crate) struct Config {
    pub(crate) script: Script,
    pub(crate) identity: Identity,
    pub(crate) link: Option<PathBuf>,
}

/// All that can happen to a peripheral.
enum Input {
    Bytes(Vec<u8>),
    Sample,
    Command(String),
    Stop,
}

pub(crate) async fn load_cell(config: Config, report: Report, stop: &mut Stop) -> anyhow::Result<()> {
    let mut terminal = PseudoTerminal::open(config.link)?;
    let mut device = Device::new(config.identity, config.script, report)?;
    let link = terminal.link().map(|link| link.display().to_string());
    let port = terminal.path().display().to_string();
    report.line(
        &match &link {
            Some(link) => format!("{} on {port}, linked from {link}", hello_text(&device.hello)),
            None => format!("{} on {port}", hello_text(&device.hello)),
        },
        &json!({"event": "ready", "port": port, "link": link, "identity": config.identity.as_str(),
            "boot_nonce": device.hello.boot_nonce.to_string()}),
    )?;

    let mut commands = read_commands();
    let mut samples = tokio::time::interval(SAMPLE_EVERY);
    // A stalled machine loses samples, as a converter nobody reads does; it does not deliver them in a burst.
    samples.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        device.transmit(terminal.line())?;
        let input = tokio::select! {
            bytes = terminal.line().read() => Input::Bytes(bytes.context("reading the pseudo terminal")?),
            _ = samples.tick() => Input::Sample,
            Some(command) = commands.recv() => Input::Command(command),
            () = stop.requested() => Input::Stop,
        };
        match input {
            Input::Bytes(bytes) => device.handle_bytes(&bytes),
            Input::Sample => device.handle_sample()?,
            Input::Command(command) => {
                if device.handle_command(&command)? == Next::Stop {
                    break;
                }
            }
            Input::Stop => break,
        }
    }
    device.report_stats("stopped")
}

#[derive(PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

struct Device {
    hello: Hello,
    cell: LoadCell,
    converter: Converter,
    script: Script,
    booted: Instant,
    /// Bytes the host did not take off the line in time.
    overrun_bytes: u64,
    report: Report,
}

impl Device {
    fn new(identity: Identity, script: Script, report: Report) -> anyhow::Result<Self> {
        let hello = Hello {
            boot_nonce: boot_nonce()?,
            capabilities: Capabilities::LOAD_CELL,
            firmware: firmware_version(),
            identity,
        };
        let config = CellConfig {
            calibration: Converter::calibration()?,
            division: DIVISION_G,
            capacity: CAPACITY_G,
            raw_min: pan::RAW_MIN,
            raw_max: pan::RAW_MAX,
            settle: SETTLE,
        };
        let cell = LoadCell::new(hello, config)?;
        let booted = Instant::now();
        Ok(Self { hello, cell, converter: Converter::new(), script, booted, overrun_bytes: 0, report })
    }

    fn transmit(&mut self, line: &Line) -> anyhow::Result<()> {
        while let Some(wire) = self.cell.poll_transmit(self.booted.elapsed()) {
            let taken = line.write(wire.as_bytes()).context("writing the pseudo terminal")?;
            self.overrun_bytes += (wire.as_bytes().len() - taken) as u64;
        }
        Ok(())
    }

    fn handle_bytes(&mut self, bytes: &[u8]) {
        let now = self.booted.elapsed();
        for &byte in bytes {
            self.cell.handle_byte(now, byte);
        }
    }

    fn handle_sample(&mut self) -> anyhow::Result<()> {
        let now = self.booted.elapsed();
        if let Some(load) = self.script.poll(now) {
            self.converter.load = load;
        }
        let raw = self.converter.convert();
        if let Some(weight) = self.cell.handle_sample(now, raw) {
            self.report.line(
                &format!("captured  {}", weight_text(&weight)),
                &json!({"event": "captured", "weight": weight_json(&weight)}),
            )?;
        }
        Ok(())
    }

    fn handle_command(&mut self, command: &str) -> anyhow::Result<Next> {
        let outcome = match command.trim() {
            "" => Ok(()),
            "quit" => return Ok(Next::Stop),
            "stats" => {
                self.report_stats("stats")?;
                Ok(())
            }
            "tare" => self.cell.tare().map_err(|error| error.to_string()),
            "untare" => {
                self.cell.clear_tare();
                Ok(())
            }
            load => Load::parse(load).map(|load| self.converter.load = load),
        };
        if let Err(error) = outcome {
            self.report.line(
                &format!("refused   {error}"),
                &json!({"event": "refused", "command": command, "error": error}),
            )?;
        }
        Ok(Next::Go)
    }

    fn report_stats(&self, event: &str) -> anyhow::Result<()> {
        let stats = self.cell.stats();
        let text = format!(
            "{event:<9} {}; {} acknowledged, {} resent, {} waiting, {} lost, {} bytes overrun",
            counters_text(&stats.line),
            stats.acknowledged,
            stats.resent,
            self.cell.kept_len(),
            stats.lost,
            self.overrun_bytes
        );
        let object = json!({"event": event, "stats": stats_json(&stats), "waiting": self.cell.kept_len(),
            "overrun_bytes": self.overrun_bytes});
        Ok(self.report.line(&text, &object)?)
    }
}

/// Lines from standard input. A thread of its own, because a terminal can only be waited for by blocking; it ends with
/// the process, and at the end of the input the peripheral simply runs on.
fn read_commands() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            match line {
                Ok(line) => {
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    eprintln!("stockwire-bridge: standard input: {error}; no more commands are read");
                    return;
                }
            }
        }
    });
    receiver
}

fn boot_nonce() -> anyhow::Result<BootNonce> {
    let mut bytes = [0; 4];
    let len = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("drawing a boot nonce")?;
    anyhow::ensure!(len == bytes.len(), "the system gave {len} of {} random bytes", bytes.len());
    Ok(BootNonce(u32::from_le_bytes(bytes)))
}

/// The crate's version, as a firmware would report its own.
fn firmware_version() -> [u8; 3] {
    let part = |text: &str| text.parse().unwrap_or(u8::MAX);
    [
        part(env!("CARGO_PKG_VERSION_MAJOR")),
        part(env!("CARGO_PKG_VERSION_MINOR")),
        part(env!("CARGO_PKG_VERSION_PATCH")),
    ]
}
