//! What the edge program costs its box: disk, memory, wake-ups, and time to start.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::drain::fill;
use super::edge_box::{EdgeBox, edge_program};
use super::goods::Goods;
use super::mqtt::{self, Sink};
use super::pairs::{Plan, interleave, micros, micros_since};
use super::probe::{WakeUps, cpu_seconds, status_bytes};
use super::report::{Report, Target, Unit, percentile};
use crate::real::Mosquitto;
use crate::real::mosquitto::{Agent, GATEWAY, Persistence};
use crate::real::process::wait_until;
use crate::site::{AGENT, SITE};

/// Rows that no gateway has.
const BACKLOGS: [u64; 3] = [0, 100_000, 1_000_000];
/// Scanners that nobody uses.
const QUIET_PORTS: usize = 8;
/// Starts of each backlog.
const STARTS: usize = 21;
/// After the connection is up: births are sent, the first batch was tried, allocations are over.
const SETTLE: Duration = Duration::from_secs(3);
/// Helper threads of the runtime, such as the one that looked up the broker's name, end after ten idle seconds.
const THREADS_END: Duration = Duration::from_secs(12);
const CONNECT_WAIT: Duration = Duration::from_secs(20);
/// The outbox pauses for up to a minute when the broker has no subscriber.
const DRAIN_WAIT: Duration = Duration::from_secs(180);
const MEGABYTE: f64 = 1e6;

pub(super) fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let program = edge_program()?;
    let size = std::fs::metadata(&program).context("the program's size")?.len() as f64;
    report.fact("program file, everything in it", Unit::Bytes, size, Some(Target::AtMost(3.5 * MEGABYTE)));
    let goods = Goods::new()?;
    for rows in BACKLOGS {
        // Another broker each time: in its log the first connection is the one to wait for.
        let broker = Mosquitto::start(&[Agent { site: SITE, id: AGENT }], Persistence::Off)?;
        let mut edge = EdgeBox::new(program.clone(), &broker, QUIET_PORTS, &goods)?;
        fill(&goods, edge.journal(), rows)?;
        starts(&mut edge, rows, report)?;
        edge.start()?;
        wait_until("the agent is connected", CONNECT_WAIT, || {
            Ok(broker.log().contains(AGENT).then_some(()))
        })?;
        std::thread::sleep(SETTLE);
        memory(&mut edge, rows, report)?;
        if rows == 0 {
            idle(&mut edge, plan.idle, report)?;
        } else {
            drain(&mut edge, &broker, rows, report)?;
        }
        edge.kill()?;
    }
    report.note(format!(
        "the program is built with the profile `edge`; {QUIET_PORTS} scanners on pseudo terminals, TLS to a real \
         Mosquitto; each start follows a SIGKILL and is timed from before the start of the process to READY=1 on \
         NOTIFY_SOCKET, with the journal open; its limit is the start and end of /bin/true"
    ));
    Ok(())
}

fn starts(edge: &mut EdgeBox, rows: u64, report: &mut Report) -> Result<()> {
    let mut starts = Vec::new();
    let measured = interleave(
        STARTS,
        || {
            let begun = Instant::now();
            Command::new("/bin/true").status().context("/bin/true")?;
            Ok(micros_since(begun))
        },
        || {
            let taken = micros(edge.start()?);
            edge.kill()?;
            starts.push(taken);
            Ok(taken)
        },
    )?;
    report.row(format!("start to ready, {rows} rows of backlog"), Unit::Micros, &measured, None);
    let target = Some(Target::AtMost(15_000.0));
    report.fact(
        format!("start to ready, {rows} rows of backlog"),
        Unit::Micros,
        percentile(starts, 50),
        target,
    );
    Ok(())
}

fn memory(edge: &mut EdgeBox, rows: u64, report: &mut Report) -> Result<()> {
    let process = edge.process()?;
    let most = if rows == 0 { 5.0 } else { 8.0 };
    let target = Some(Target::AtMost(most * MEGABYTE));
    let resident = status_bytes(process, "VmRSS")?;
    report.fact(format!("resident memory, idle, {rows} rows of backlog"), Unit::Bytes, resident, target);
    for (kind, key) in [("its own", "RssAnon"), ("mapped from files", "RssFile")] {
        report.fact(format!("  of which {kind}"), Unit::Bytes, status_bytes(process, key)?, None);
    }
    Ok(())
}

fn idle(edge: &mut EdgeBox, watch: Duration, report: &mut Report) -> Result<()> {
    let process = edge.process()?;
    std::thread::sleep(THREADS_END);
    let (woken, cpu, begun) = (WakeUps::of(process)?, cpu_seconds(process)?, Instant::now());
    std::thread::sleep(watch);
    let seconds = begun.elapsed().as_secs_f64();
    let woken = WakeUps::of(process)?.since(&woken) as f64 * 60.0 / seconds;
    let what = format!("wake-ups in a minute, idle (watched for {seconds:.0} s)");
    report.fact(what, Unit::Plain, woken, Some(Target::AtMost(4.0)));
    let cpu = (cpu_seconds(process)? - cpu) / seconds * 100.0;
    report.fact("processor, idle", Unit::Percent, cpu, Some(Target::AtMost(0.005)));
    Ok(())
}

fn drain(edge: &mut EdgeBox, broker: &Mosquitto, rows: u64, report: &mut Report) -> Result<()> {
    let process = edge.process()?;
    let pki = broker.pki().context("the broker has certificates")?;
    let identity = pki.client(GATEWAY)?;
    let sink = Sink::start(mqtt::options(broker.port(), GATEWAY, Some((pki, &identity)))?)?;
    sink.wait(1, DRAIN_WAIT)?;
    let begun = Instant::now();
    sink.wait(rows, DRAIN_WAIT)?;
    let rate = rows as f64 / begun.elapsed().as_secs_f64();
    let peak = status_bytes(process, "VmHWM")?;
    let target = Some(Target::AtMost(8.0 * MEGABYTE));
    report.fact(format!("most memory, {rows} rows drained"), Unit::Bytes, peak, target);
    report.fact(format!("events drained over TLS, of {rows}"), Unit::PerSecond, rate, None);
    Ok(())
}
