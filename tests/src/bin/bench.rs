//! `cargo run --release -p stockwire-tests --bin bench -- NAME`: how far our code is from what the machine can do.

use std::process::ExitCode;

use clap::Parser;
use stockwire_tests::bench::{self, Machine, Plan};

/// Measures a limit of this machine and our code in turns, and prints both with their ratio and the target.
///
/// Exits with 0 when everything could be measured, whether or not a target is met; with 1 when something could not.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Which one: journal-latency, journal-rate, drain, agent-footprint, gateway-ingest, scan-to-channel or
    /// all; and soak, which takes ten minutes and is not among all.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(bench::names()))]
    name: String,
    /// Print one JSON line instead of tables.
    #[arg(long)]
    json: bool,
    /// Time for each row of the result; never fewer than 15 pairs of slices. For soak, how long it lasts.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Only record so many scans by the way of journal-latency: what a flush counter is put around.
    #[arg(long, hide = true)]
    only_scans: Option<u32>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(scans) = arguments.only_scans {
        return match bench::record_scans(scans) {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => fail(&fault),
        };
    }
    let mut machine = Machine::look();
    let reports = match bench::run(&arguments.name, &Plan::new(arguments.seconds)) {
        Ok(reports) => reports,
        Err(fault) => return fail(&fault),
    };
    machine.finish();
    if arguments.json {
        println!("{}", bench::to_json(&machine, &reports));
    } else {
        print!("{machine}");
        for report in &reports {
            print!("\n{report}");
        }
    }
    let complete = reports.iter().all(|report| report.unmeasured.is_empty());
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fail(fault: &anyhow::Error) -> ExitCode {
    eprintln!("bench: {fault:#}");
    ExitCode::FAILURE
}
