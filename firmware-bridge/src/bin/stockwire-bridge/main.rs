//! The bench tool: be a peripheral for those without hardware, or talk to one and see every frame.

mod be;
mod line;
mod pan;
mod port;
mod pseudo_terminal;
mod report;
mod talk;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use stockwire_protocol::link::{BAUD, Identity};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::report::Report;

/// Speaks Stockwire's peripheral link: as a peripheral, or to one.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// One JSON object a line, for programs.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be a peripheral on a pseudo terminal until interrupted.
    #[command(subcommand)]
    Be(Kind),
    /// Greet the peripheral on PORT, poll it, and print what it says until interrupted.
    Talk(TalkArgs),
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// A load cell of 15 kg in steps of 1 g. Also takes commands from standard input: `GRAMS stable|moving`, `tare`,
    /// `untare`, `stats`, `quit`.
    LoadCell(LoadCellArgs),
}

#[derive(Debug, clap::Args)]
struct LoadCellArgs {
    /// What stands on the pan when: lines of `AT_MS GRAMS stable|moving`; `#` starts a comment.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Keep a symbolic link to the pseudo terminal here while running.
    #[arg(long, value_name = "PATH")]
    link: Option<PathBuf>,
    /// The name it gives itself: 1 to 32 visible ASCII characters.
    #[arg(long, value_name = "NAME", default_value = "bench-load-cell", value_parser = Identity::new)]
    identity: Identity,
}

#[derive(Debug, clap::Args)]
struct TalkArgs {
    /// A serial port, or the pseudo terminal of `be`.
    port: PathBuf,
    /// Ask for the weight this often, in milliseconds; 0 only listens.
    #[arg(long, value_name = "MS", default_value_t = 500)]
    every_ms: u64,
    /// Stop after this many sound frames.
    #[arg(long, value_name = "N")]
    count: Option<u32>,
    /// Leave captures with the peripheral instead of acknowledging them.
    #[arg(long)]
    no_ack: bool,
    /// Line rate of a real port.
    #[arg(long, default_value_t = BAUD)]
    baud: u32,
}

/// What a command ends with, when not well.
#[derive(Debug)]
enum Failure {
    /// The command line, a script or a port name is wrong: nothing was started.
    Usage(anyhow::Error),
    /// It was started and could not go on.
    Run(anyhow::Error),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let report = Report::new(cli.json);
    let outcome = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(cli.command, report)),
        Err(error) => Err(Failure::Run(error.into())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => {
            eprintln!("stockwire-bridge: {error:#}");
            ExitCode::from(2)
        }
        Err(Failure::Run(error)) => {
            eprintln!("stockwire-bridge: {error:#}");
            ExitCode::from(1)
        }
    }
}

async fn run(command: Command, report: Report) -> Result<(), Failure> {
    let mut stop = Stop::new().map_err(|error| Failure::Run(error.into()))?;
    match command {
        Command::Be(Kind::LoadCell(args)) => {
            let script = match &args.script {
                Some(path) => pan::Script::read(path).map_err(Failure::Usage)?,
                None => pan::Script::default(),
            };
            let config = be::Config { script, identity: args.identity, link: args.link };
            be::load_cell(config, report, &mut stop).await.map_err(Failure::Run)
        }
        Command::Talk(args) => {
            let port = port::Port::open(&args.port, args.baud).map_err(Failure::Usage)?;
            let config = talk::Config {
                every: (args.every_ms > 0).then(|| Duration::from_millis(args.every_ms)),
                count: args.count,
                acknowledges: !args.no_ack,
            };
            talk::talk(port, config, report, &mut stop).await.map_err(Failure::Run)
        }
    }
}

/// SIGINT and SIGTERM, both of which mean: clean up and go.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
