//! Talking to a peripheral: the host end of the link, with every event printed.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use stockwire_protocol::link::{Event, Host};
use tokio::time::MissedTickBehavior;

use crate::Stop;
use crate::line::Line;
use crate::port::Port;
use crate::report::{Report, counters_json, counters_text};

/// How often a peripheral that has not said hello is greeted: often enough that plugging it in feels immediate.
const GREET_EVERY: Duration = Duration::from_secs(1);

/// What a technician should check when bytes no longer pass.
const UNPLUGGED: &str = "the line is gone: was it unplugged, or has the other end stopped?";

pub(crate) struct Config {
    /// `None` only listens.
    pub(crate) every: Option<Duration>,
    /// Stop after this many sound frames; `None` goes on.
    pub(crate) count: Option<u32>,
    pub(crate) acknowledges: bool,
}

/// All that can happen to a host.
enum Input {
    Bytes(Vec<u8>),
    Ask,
    Greet,
    Stop,
}

pub(crate) async fn talk(
    mut port: Port,
    config: Config,
    report: Report,
    stop: &mut Stop,
) -> anyhow::Result<()> {
    let mut host = Host::new();
    let outcome = converse(&mut host, port.line(), &config, report, stop).await;
    let counters = host.counters();
    report.line(
        &format!("stopped   {}", counters_text(&counters)),
        &json!({"event": "stopped", "line": counters_json(&counters)}),
    )?;
    outcome.with_context(|| format!("talking on {}", port.path().display()))
}

async fn converse(
    host: &mut Host,
    line: &mut Line,
    config: &Config,
    report: Report,
    stop: &mut Stop,
) -> anyhow::Result<()> {
    let mut ask = tokio::time::interval(config.every.unwrap_or(GREET_EVERY));
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut greet = tokio::time::interval(GREET_EVERY);
    greet.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut greeted = config.every.is_none();
    loop {
        while let Some(wire) = host.poll_transmit() {
            tokio::select! {
                written = line.write_all(wire.as_bytes()) => written.context(UNPLUGGED)?,
                () = stop.requested() => return Ok(()),
            }
        }
        let input = tokio::select! {
            bytes = line.read() => Input::Bytes(bytes.context(UNPLUGGED)?),
            _ = ask.tick(), if config.every.is_some() => Input::Ask,
            _ = greet.tick(), if !greeted => Input::Greet,
            () = stop.requested() => Input::Stop,
        };
        match input {
            Input::Ask => host.ask_weight(),
            Input::Greet => host.greet(),
            Input::Stop => return Ok(()),
            Input::Bytes(bytes) => {
                for &byte in &bytes {
                    let Some(event) = host.handle_byte(byte) else { continue };
                    report.event(&event)?;
                    match event {
                        Event::Hello { .. } => greeted = true,
                        // Printed is as safe as it gets on a bench.
                        Event::Captured { sequence, .. } if config.acknowledges => host.acknowledge(sequence),
                        _ => {}
                    }
                    if config.count.is_some_and(|count| host.counters().sound >= count) {
                        // The last capture's acknowledgement still has to leave.
                        while let Some(wire) = host.poll_transmit() {
                            line.write_all(wire.as_bytes()).await.context(UNPLUGGED)?;
                        }
                        return Ok(());
                    }
                }
            }
        }
    }
}
