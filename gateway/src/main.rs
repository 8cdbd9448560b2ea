//! `stockwire-gateway`: the command line.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use sha2::{Digest as _, Sha256};
use stockwire_gateway::config::{self, Config, ConfigError};
use stockwire_gateway::dead_letter::{DeadLetterId, DeadLetterState};
use stockwire_gateway::ingest::{Ingest, Replay};
use stockwire_gateway::io::{store_door, unix_ms};
use stockwire_gateway::store::{DeadLetterQuery, PAGE_ROWS_MAX, Reader, Store};
use stockwire_gateway::{channel, erp, run, trace};

/// The cloud service of Stockwire: takes movements in, keeps the books, posts to the ERP, tells the channels.
#[derive(Parser)]
#[command(name = "stockwire-gateway", version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, default_value = "/etc/stockwire/gateway.toml", value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM.
    Run,
    /// Tell every fault of the configuration at once.
    CheckConfig,
    /// Print the commented default configuration, which is the manual.
    PrintConfig,
    /// List the ERP and channel connectors.
    Connectors,
    /// Bring the database to this version's schema. In PostgreSQL gateways go on meanwhile.
    Migrate {
        /// To this schema version instead; back as well, while that loses nothing.
        #[arg(long, value_name = "N")]
        to: Option<i64>,
    },
    /// Write a proven copy of the books into a new file, while the gateway runs.
    Backup {
        /// The new file.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Move the books from a file into the PostgreSQL that the configuration names, and prove them on both sides. Stop
    /// the gateway first; the file is left as it is.
    CopyStore {
        /// The file of the books.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },
    /// Keys for the API and the console.
    #[command(subcommand)]
    ApiKey(ApiKey),
    /// Messages set aside.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Compare the books with the ERP, print the plan, change nothing. Exit code 1 when something is unexplained.
    Reconcile {
        /// Only print (the default and, today, all there is).
        #[arg(long)]
        dry_run: bool,
    },
    /// The way of a movement, item, order, lot or plate through everything.
    Trace {
        /// A movement's identity, an item, or any word that events mention.
        key: String,
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Rebuild the books from the events and compare. Exit code 1 when they differ.
    VerifyBooks {
        /// For machines.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum ApiKey {
    /// Make a key; its secret is printed once and kept nowhere.
    Create {
        /// What it is for.
        name: String,
    },
    /// List the keys, without their secrets.
    List,
    /// Make a key useless.
    Revoke {
        /// Its name.
        name: String,
    },
}

#[derive(Subcommand)]
enum DeadLetters {
    /// Newest first.
    List {
        /// The closed ones too.
        #[arg(long)]
        all: bool,
        /// For machines: one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// One, with its bytes.
    Show {
        /// Its number.
        id: i64,
    },
    /// Take one up again; any number of times has the effect of once.
    Replay {
        /// Its number.
        id: i64,
    },
    /// Close one without effect.
    Discard {
        /// Its number.
        id: i64,
        /// Why; kept with it.
        #[arg(long)]
        why: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match act(&arguments) {
        Ok(good) => ExitCode::from(u8::from(!good)),
        Err(fault) => {
            eprintln!("stockwire-gateway: {fault:#}");
            let usage = fault.downcast_ref::<ConfigError>().is_some();
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

/// `Ok(false)` is a negative finding: exit code 1 without an error.
fn act(arguments: &Arguments) -> Result<bool> {
    match &arguments.command {
        Command::PrintConfig => {
            std::io::stdout().write_all(config::DEFAULT.as_bytes())?;
            return Ok(true);
        }
        Command::Connectors => {
            for kind in erp::ERPS {
                println!("erp      {:<12} {}", kind.name(), kind.title());
            }
            for kind in channel::CHANNELS {
                println!("channel  {:<12} {}", kind.name(), kind.title());
            }
            return Ok(true);
        }
        _ => {}
    }
    let config = Config::load(&arguments.config)?;
    let open = || store_door::open(&config.store).with_context(|| format!("opening {}", config.store));
    let read = || store_door::open_reader(&config.store).with_context(|| format!("opening {}", config.store));
    match &arguments.command {
        Command::Run => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(run::run(config)).map(|()| true)
        }
        Command::CheckConfig => {
            run::check(&config)?;
            println!("{}: good", arguments.config.display());
            Ok(true)
        }
        Command::Migrate { to } => {
            let done = store_door::migrate(&config.store, *to);
            let done = done.with_context(|| format!("the schema of {}", config.store))?;
            println!("{}: {done}", config.store);
            Ok(true)
        }
        Command::Backup { to } => {
            let report = store_door::backup(&config.store, to);
            let report = report.with_context(|| format!("copying {} to {}", config.store, to.display()))?;
            println!(
                "{}: {} events, {} rows, {} balances; the books are right",
                to.display(),
                report.events,
                report.rows,
                report.balances
            );
            Ok(true)
        }
        Command::CopyStore { from } => {
            let copied = store_door::copy_from(from, &config.store);
            let report = copied.with_context(|| format!("moving {} to {}", from.display(), config.store))?;
            let hash = |hash: [u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            println!(
                "{} events, {} rows and {} balances are in {}, the same on both sides",
                report.events, report.rows, report.balances, config.store
            );
            println!("rows      SHA-256 {}", hash(report.rows_hash[0]));
            println!("balances  SHA-256 {}", hash(report.balances_hash[0]));
            Ok(true)
        }
        Command::ApiKey(ApiKey::Create { name }) => {
            let mut secret = [0_u8; 32];
            let flags = rustix::rand::GetRandomFlags::empty();
            let got =
                rustix::rand::getrandom(&mut secret, flags).context("asking the system for random bytes")?;
            anyhow::ensure!(got == secret.len(), "the system gave {got} random bytes");
            let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            let secret = format!("sw_{secret}");
            let hash: [u8; 32] = Sha256::digest(&secret).into();
            open()?.create_api_key(unix_ms(), name, &hash)?;
            if std::io::stdout().is_terminal() {
                eprintln!("This is the key {name:?}; it is shown this once:");
            }
            println!("{secret}");
            Ok(true)
        }
        Command::ApiKey(ApiKey::List) => {
            for key in read()?.api_keys()? {
                let state = if key.revoked_at_ms.is_some() { "revoked" } else { "live" };
                let used = key.last_used_at_ms.map_or("never used".into(), |at| format!("used {}", time(at)));
                println!("{:<24} {state:<8} made {}  {used}", key.name, time(key.created_at_ms));
            }
            Ok(true)
        }
        Command::ApiKey(ApiKey::Revoke { name }) => {
            if !open()?.revoke_api_key(unix_ms(), name)? {
                bail!("there is no live key {name:?}; `stockwire-gateway api-key list` shows them");
            }
            println!("{name} is revoked");
            Ok(true)
        }
        Command::DeadLetters(command) => dead_letters(command, open, read),
        Command::Reconcile { dry_run: _ } => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let plan = runtime.block_on(run::reconcile(&config))?;
            print!("{plan}");
            Ok(plan.is_agreed())
        }
        Command::Trace { key, json } => {
            let store = read()?;
            for candidate in trace::parse(key) {
                let threads = store.trace(&candidate, PAGE_ROWS_MAX)?;
                if threads.is_empty() {
                    continue;
                }
                for step in trace::timeline(&threads) {
                    let at = step.at_ms.map_or_else(String::new, time);
                    if *json {
                        let line = serde_json::json!({"at": at, "movement": step.movement.to_string(),
                            "stage": step.stage.as_str(), "text": step.text});
                        println!("{line}");
                    } else {
                        println!("{at:<24} {:<10} {}", step.stage.as_str(), step.text);
                    }
                }
                return Ok(true);
            }
            bail!("nothing is known about {key:?}")
        }
        Command::VerifyBooks { json } => {
            let report = read()?.verify_books()?;
            let right = report.is_right();
            if *json {
                let line = serde_json::json!({"right": right, "events": report.events, "rows": report.rows,
                    "balances": report.balances, "findings": report.findings});
                println!("{line}");
            } else {
                println!("{} events, {} rows, {} balances", report.events, report.rows, report.balances);
                for finding in &report.findings {
                    println!("  {finding}");
                }
                println!("{}", if right { "the books are right" } else { "THE BOOKS ARE WRONG" });
            }
            Ok(right)
        }
        Command::PrintConfig | Command::Connectors => Ok(true),
    }
}

fn dead_letters(
    command: &DeadLetters,
    open: impl Fn() -> Result<Box<dyn Store>>,
    read: impl Fn() -> Result<Box<dyn Reader>>,
) -> Result<bool> {
    match command {
        DeadLetters::List { all, json } => {
            let state = (!all).then_some(DeadLetterState::Open);
            let page = read()?.dead_letters(&DeadLetterQuery { state, ..DeadLetterQuery::default() })?;
            for letter in &page.rows {
                if *json {
                    let line = serde_json::json!({"id": letter.id.0, "class": letter.class.as_str(),
                        "state": letter.state.as_str(), "reason": letter.reason, "source": letter.source,
                        "times": letter.times, "last_at": time(letter.last_at_ms)});
                    println!("{line}");
                } else {
                    println!(
                        "{:>6}  {:<12} {:<10} {}  {} ({})",
                        letter.id.0,
                        letter.class.as_str(),
                        letter.state.as_str(),
                        time(letter.last_at_ms),
                        letter.reason,
                        letter.source
                    );
                }
            }
            if page.next.is_some() {
                eprintln!("more than {}; the API pages through all of them", page.rows.len());
            }
            Ok(true)
        }
        DeadLetters::Show { id } => {
            let letter = read()?.dead_letter(DeadLetterId(*id))?;
            let letter = letter.with_context(|| format!("there is no dead letter {id}"))?;
            println!("{} {} from {}", letter.class.as_str(), letter.state.as_str(), letter.source);
            println!("{}", letter.reason);
            println!(
                "first {}, last {}, {} times",
                time(letter.first_at_ms),
                time(letter.last_at_ms),
                letter.times
            );
            if let Some(movement) = &letter.movement {
                println!("movement {movement}");
            }
            println!("{}", letter.bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            Ok(true)
        }
        DeadLetters::Replay { id } => {
            let outcome =
                Ingest::new().replay(open()?.as_mut(), unix_ms(), DeadLetterId(*id), "command line")?;
            match &outcome {
                Replay::Applied => println!("applied"),
                Replay::AlreadyApplied => println!("had been applied before; nothing changed"),
                Replay::AlreadyClosed => println!("had been closed before; nothing changed"),
                Replay::Requeued => println!("put back to work"),
                Replay::StillRefused { reason } => println!("still refused: {reason}"),
            }
            Ok(!matches!(outcome, Replay::StillRefused { .. }))
        }
        DeadLetters::Discard { id, why } => {
            let closed = open()?.discard_dead_letter(unix_ms(), DeadLetterId(*id), "command line", why)?;
            println!("{}", if closed { "discarded" } else { "had been closed before" });
            Ok(true)
        }
    }
}

fn time(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms)
        .map_or_else(|_| format!("{unix_ms} ms"), |time| format!("{time:.0}"))
}
