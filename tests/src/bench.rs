//! Measurements: our code against the limit of the machine it runs on, both in one run, slice by slice in turns.
//!
//! A shared or virtual machine gives times that differ by a factor of ten from one minute to the next, so that a
//! time alone says nothing. A limit measured a moment before on the same core and disk does: what is published is
//! the ratio. `docs/benchmarks` keeps results with the raw output.

mod agent_footprint;
mod drain;
mod edge_box;
mod gateway_ingest;
mod goods;
mod journal_latency;
mod journal_rate;
mod machine;
mod mqtt;
mod pairs;
mod probe;
mod report;
mod scan_to_channel;
mod soak;

use anyhow::Result;
use serde_json::{Value, json};

pub use journal_latency::record_scans;
pub use machine::Machine;
pub use pairs::Plan;
pub use report::{Fact, Report, Row, Spread, Target, Unit};

/// One measurement.
pub struct Bench {
    /// For the command line.
    pub name: &'static str,
    /// What is compared with what.
    pub what: &'static str,
    run: fn(&Plan, &mut Report) -> Result<()>,
}

/// The measurements, in the order of the way of the data.
pub static BENCHES: &[Bench] = &[
    Bench {
        name: "journal-latency",
        what: "a scan's last byte to the durable row, against one write and flush of the disk",
        run: journal_latency::run,
    },
    Bench {
        name: "journal-rate",
        what: "recording in groups, against a bare SQLite loop with the same groups",
        run: journal_rate::run,
    },
    Bench {
        name: "drain",
        what: "sending a backlog through a real broker, against one event in each publish",
        run: drain::run,
    },
    Bench {
        name: "agent-footprint",
        what: "size, memory, wake-ups and start of the edge program",
        run: agent_footprint::run,
    },
    Bench {
        name: "gateway-ingest",
        what: "taking batches into the books, against bare inserts of the same rows",
        run: gateway_ingest::run,
    },
    Bench {
        name: "scan-to-channel",
        what: "a scan's last byte to the number in the shop, against the sum of the parts",
        run: scan_to_channel::run,
    },
];

/// Takes ten minutes and is no comparison: by its name only, not among all of them.
static SOAK: Bench = Bench {
    name: "soak",
    what: "a megabyte of noise a second at a scanner's and a scale's port, with scans in between",
    run: soak::run,
};

/// Runs the named one, or all of them.
///
/// What cannot be measured is told in the report; the others go on.
///
/// # Errors
/// When there is none of that name.
pub fn run(name: &str, plan: &Plan) -> Result<Vec<Report>> {
    let mut chosen: Vec<&Bench> =
        BENCHES.iter().filter(|bench| name == "all" || bench.name == name).collect();
    chosen.extend((name == SOAK.name).then_some(&SOAK));
    anyhow::ensure!(!chosen.is_empty(), "there is no benchmark {name:?}; there are {}", names().join(", "));
    let run = |bench: &&Bench| {
        let mut report = Report::new(bench.name, bench.what);
        if let Err(fault) = (bench.run)(plan, &mut report) {
            report.unmeasured(format!("{fault:#}"));
        }
        report
    };
    Ok(chosen.iter().map(run).collect())
}

/// What may be asked for.
pub fn names() -> Vec<&'static str> {
    BENCHES.iter().map(|bench| bench.name).chain([SOAK.name, "all"]).collect()
}

/// Everything as one JSON value.
pub fn to_json(machine: &Machine, reports: &[Report]) -> Value {
    json!({ "machine": machine, "benchmarks": reports })
}
