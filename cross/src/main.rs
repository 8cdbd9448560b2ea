//! `stockwire-cross`: the chores of bringing Stockwire to an edge box.

use std::error::Error as _;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde_json::json;
use stockwire_cross::build::{self, Built, Linkage};
use stockwire_cross::install::{self, Step};
use stockwire_cross::{Error, Facts, TARGETS, Target, Toolchain, choose, emulate, machine};

/// Builds the Stockwire agent for edge boxes and runs it under emulation.
#[derive(Parser)]
#[command(name = "stockwire-cross", version)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build the agent for a target; prints where it is.
    Build {
        #[command(flatten)]
        what: What,
        /// Install what is missing: rustup's target where rustup is used, else Debian packages (as root).
        #[arg(long)]
        install: bool,
        /// Print one JSON line.
        #[arg(long)]
        json: bool,
    },
    /// List the targets, and what this machine has for each.
    Targets {
        /// Print one JSON line a target.
        #[arg(long)]
        json: bool,
    },
    /// Run the agent that was built for a target, under emulation where needed; ends with the agent's own exit code.
    Run {
        #[command(flatten)]
        what: What,
        /// What the agent is given, after `--`.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(Args)]
struct What {
    /// Which kind of edge box; `targets` lists them.
    #[arg(long, value_parser = target_by_name)]
    target: &'static Target,
    /// The executable that carries its own C library.
    #[arg(long = "static")]
    is_static: bool,
}

impl What {
    fn linkage(&self) -> Linkage {
        if self.is_static { Linkage::Static } else { Linkage::Dynamic }
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().chore {
        Chore::Build { what, install, json } => make(&what, install).map(|built| print_built(&built, json)),
        Chore::Targets { json } => print_targets(json),
        Chore::Run { what, arguments } => run(&what, &arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("stockwire-cross: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::from(error.exit_code())
        }
    }
}

fn make(what: &What, may_install: bool) -> Result<Built, Error> {
    let (facts, toolchain) = if may_install { install_and_choose(what.target)? } else { look(what.target)? };
    build::build(&facts, &toolchain, what.linkage())
}

fn look(target: &'static Target) -> Result<(Facts, Toolchain), Error> {
    let facts = machine::look(target);
    let toolchain = choose(&facts)?;
    Ok((facts, toolchain))
}

/// Looks, fetches what is missing, and looks again; what is still missing then is the error.
fn install_and_choose(target: &'static Target) -> Result<(Facts, Toolchain), Error> {
    let mut facts = machine::look(target);
    if let Some(step) = choose(&facts).err().as_ref().and_then(install::rustup_plan) {
        match install::carry_out(&step) {
            Ok(()) => {}
            Err(error @ Error::Failed { .. }) => {
                eprintln!("cross: {error}; trying Debian's packages instead")
            }
            Err(error) => return Err(error),
        }
        facts = machine::look(target);
    }
    let missing = choose(&facts).err();
    if missing.is_some() || !facts.runnable {
        let no_apt = !machine::in_search_path("apt-get");
        match &missing {
            Some(missing) if no_apt => return Err(Error::NoApt { missing: missing.to_string() }),
            // What can be built is built, also where the emulator cannot be had.
            None if no_apt => return look(target),
            _ => {}
        }
        let steps = install::debian_plan(&facts, missing.as_ref(), &machine::foreign_architectures()?);
        if steps.iter().any(Step::needs_root) && !machine::is_root()? {
            return Err(Error::NotRoot { commands: steps.iter().map(Step::shown).collect() });
        }
        steps.iter().try_for_each(install::carry_out)?;
    }
    look(target)
}

fn run(what: &What, arguments: &[OsString]) -> Result<(), Error> {
    let path = build::result_path(&machine::workspace()?, what.target, what.linkage());
    if !path.is_file() {
        return Err(Error::NotBuilt { path, target: what.target.name, is_static: what.is_static });
    }
    Err(emulate::become_agent(&machine::look(what.target), &path, arguments))
}

fn print_built(built: &Built, as_json: bool) {
    if as_json {
        println!("{}", json!(built));
        return;
    }
    println!("{}", built.path.display());
    let linkage = match built.linkage {
        Linkage::Dynamic => "dynamic",
        Linkage::Static => "static",
    };
    let (size, toolchain, seconds) = (built.size_bytes, &built.toolchain, built.seconds);
    println!("{} bytes, {linkage}, {}, {toolchain}, {seconds:.1} s", size, built.triple);
}

fn print_targets(as_json: bool) -> Result<(), Error> {
    let workspace = machine::workspace()?;
    if !as_json {
        println!("{:<8} {:<26} {:<6} {:<54} built", "target", "triple", "runs", "builds with");
    }
    for target in TARGETS {
        let facts = machine::look(target);
        let choice = choose(&facts);
        let built =
            Some(build::result_path(&workspace, target, Linkage::Dynamic)).filter(|path| path.is_file());
        if as_json {
            println!(
                "{}",
                json!({
                    "target": target.name,
                    "triple": target.triple,
                    "builds": choice.is_ok(),
                    "toolchain": choice.as_ref().ok().map(Toolchain::to_string),
                    "missing": choice.as_ref().err().map(ToString::to_string),
                    "runs": facts.runnable,
                    "built": built,
                })
            );
            continue;
        }
        let with =
            choice.map_or_else(|_| "not yet: `build` says what is missing".to_owned(), |t| t.to_string());
        let runs = if facts.runnable { "yes" } else { "no" };
        let built = built.map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        println!("{:<8} {:<26} {runs:<6} {with:<54} {built}", target.name, target.triple);
    }
    Ok(())
}

fn target_by_name(name: &str) -> Result<&'static Target, String> {
    let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    Target::by_name(name).ok_or_else(|| format!("the targets are: {}", names()))
}
