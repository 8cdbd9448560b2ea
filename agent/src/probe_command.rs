//! `stockwire-agent devices --probe`: which scale is that, and what is to be written into the configuration?

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use stockwire_agent::config::Config;
use stockwire_agent::devices;
use stockwire_agent::io::ports::{self, Roots};
use stockwire_agent::io::probe;
use stockwire_agent::port::{FoundPort, PortName};
use stockwire_agent::probe::{Found, Outcome};

use crate::Usage;

/// Probes the named port, or with an empty name each one that is there and not configured.
pub(crate) fn execute(name: &str, json: bool, config: Option<&Config>) -> anyhow::Result<ExitCode> {
    let found = ports::list(&Roots::default()).context("listing the ports")?;
    let targets = match name {
        "" => unknown(&found, config)?,
        name => vec![named(name, &found)?],
    };
    let mut code = ExitCode::FAILURE;
    for (name, device) in targets {
        let outcome = probe::probe(&device, progress).with_context(|| {
            format!("{name}: a running agent has its ports to itself: is this one of them?")
        })?;
        clear_progress();
        if !outcome.found.is_empty() {
            code = ExitCode::SUCCESS;
        }
        let text = if json { to_json(&name, &outcome)? } else { outcome.to_text(&name) };
        io::stdout().write_all(text.as_bytes())?;
    }
    Ok(code)
}

fn named(name: &str, found: &[FoundPort]) -> anyhow::Result<(String, PathBuf)> {
    let port: PortName = name.parse().map_err(|error| Usage(format!("{name:?} is no port: {error}")))?;
    let device = ports::resolve(&port, false)
        .with_context(|| format!("{name}; `stockwire-agent devices` lists the ports that are there"))?;
    // The name that stays is the one to paste.
    let same = |found: &&FoundPort| !found.keyboard && is_same(&found.device, &device);
    let best = found.iter().find(same).map_or_else(|| port.to_string(), |it| it.best_name(found).to_string());
    Ok((best, device))
}

fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

fn unknown(found: &[FoundPort], config: Option<&Config>) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let configured = config.map(devices::configured).unwrap_or_default();
    let unknown = found.iter().filter(|port| {
        !port.keyboard && !configured.iter().any(|device| !device.keyboard && port.is_named(&device.port))
    });
    let targets: Vec<_> =
        unknown.map(|port| (port.best_name(found).to_string(), port.device.clone())).collect();
    if targets.is_empty() {
        let hint = "every port that is there is configured; name one: `stockwire-agent devices --probe PORT`";
        return Err(Usage(hint.into()).into());
    }
    Ok(targets)
}

/// It takes up to two minutes when nothing answers.
fn progress(at: usize, total: usize) {
    if io::stderr().is_terminal() {
        eprint!("\r{at} of {total} settings tried ... ");
    }
}

fn clear_progress() {
    if io::stderr().is_terminal() {
        eprint!("\r{:40}\r", "");
    }
}

fn to_json(port: &str, outcome: &Outcome) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        port: &'a str,
        found: Vec<Protocol>,
        heard: Option<&'static str>,
    }
    #[derive(Serialize)]
    struct Protocol {
        protocol: &'static str,
        line: String,
        frames: usize,
        checked: bool,
        config: String,
    }
    let protocol = |found: &Found| Protocol {
        protocol: found.protocol,
        line: found.line.to_string(),
        frames: found.score.frames,
        checked: found.score.checked,
        config: found.to_toml(port),
    };
    let found = outcome.found.iter().map(protocol).collect();
    let heard = outcome.heard.as_ref().map(|(_, diagnosis)| diagnosis.as_str());
    Ok(serde_json::to_string(&Line { port, found, heard })? + "\n")
}
