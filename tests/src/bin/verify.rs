//! `cargo verify`: everything that must pass before a change lands, from one command on a new machine.

use std::process::ExitCode;

use clap::Parser;
use stockwire_tests::verify;

/// Installs what the checks need, by package name, and runs them on private loopback ports.
///
/// Every stage writes its output under target/verify/. A stage that cannot run has failed. Long soaks are not
/// part of it: see `docs/testing.md`.
#[derive(Parser)]
#[command(name = "cargo verify")]
struct Arguments {
    /// Run only this stage (may be repeated).
    #[arg(long, value_name = "NAME")]
    stage: Vec<String>,
    /// List the stages.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for stage in verify::STAGES {
            println!("{:<10} {}", stage.name, stage.what);
        }
        for stage in verify::SOAKS {
            println!("{:<10} {} (only when named)", stage.name, stage.what);
        }
        return ExitCode::SUCCESS;
    }
    match verify::run(&arguments.stage) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("verify: {fault:#}");
            ExitCode::from(2)
        }
    }
}
