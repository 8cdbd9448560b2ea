//! The stages of `cargo verify`, in the order of their cost: a slip in the format shows before the ERP is installed.

mod fuzz;
mod sabotage;
mod stage;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

pub use sabotage::SABOTAGES;
use stage::{Outcome, Running};

use crate::peers::Peers;
use crate::real::install::{self, ensure as ensure_tool};
use crate::real::process::{Child, Scratch, free_port, wait_until};
use crate::real::{Postgres, Tool, World};
use crate::site;

/// Names a PostgreSQL to the gateway's own tests.
pub(crate) const POSTGRES_VARIABLE: &str = "STOCKWIRE_POSTGRES_URL";

/// One stage: a name for `--stage`, what it shows, and how it is run.
pub struct Stage {
    /// For `--stage`.
    pub name: &'static str,
    /// What passing means.
    pub what: &'static str,
    run: fn(&Running) -> Result<u64>,
}

/// Every stage.
pub static STAGES: &[Stage] = &[
    Stage { name: "format", what: "the code is formatted", run: format },
    Stage { name: "lint", what: "clippy finds nothing", run: lint },
    Stage { name: "tests", what: "unit, contract, golden, story and process tests", run: tests },
    Stage {
        name: "wire",
        what: "a Python reader understands the golden bytes by the published CDDL",
        run: wire,
    },
    Stage {
        name: "codes",
        what: "a GS1 reader and a barcode writer agree with `decode scan`, but for explained differences",
        run: codes,
    },
    Stage { name: "world", what: "2,000 seeds of the simulated world end with equal books", run: world },
    Stage { name: "sabotage", what: "each deliberate fault in a guarantee is caught", run: sabotage::run },
    Stage { name: "demo", what: "the demo runs headless and its books, ERP and shop agree", run: demo },
    Stage {
        name: "postgres",
        what: "the store on PostgreSQL: contract, several gateways, kills, the demo",
        run: postgres,
    },
    Stage { name: "real", what: "real Mosquitto, Tryton and Vendure, with kills and time-outs", run: real },
    Stage { name: "cross", what: "the agent built for aarch64 runs under qemu-user", run: cross },
];

/// Long ones: run only when they are named.
pub static SOAKS: &[Stage] =
    &[Stage { name: "fuzz", what: "every parser of bytes from outside, under libFuzzer", run: fuzz::run }];

/// Runs the named stages, or all but the soaks, and prints the table. `Ok(false)` when one failed.
///
/// # Errors
/// When a name is no stage or the log folder cannot be made.
pub fn run(names: &[String]) -> Result<bool> {
    for name in names {
        ensure!(
            STAGES.iter().chain(SOAKS).any(|stage| stage.name == name),
            "there is no stage {name:?}; `cargo verify --list` shows them"
        );
    }
    let root = workspace_root()?;
    let logs = root.join("target/verify");
    std::fs::create_dir_all(&logs).with_context(|| format!("making {}", logs.display()))?;
    let begin = Instant::now();
    let mut outcomes = Vec::new();
    let chosen = |stage: &&Stage| names.iter().any(|name| name == stage.name);
    let soaks = SOAKS.iter().filter(chosen);
    for stage in STAGES.iter().filter(|stage| names.is_empty() || chosen(stage)).chain(soaks) {
        println!("== {:<9} {}", stage.name, stage.what);
        let running = Running::new(&root, logs.join(format!("{}.log", stage.name)))?;
        let started = Instant::now();
        let result = (stage.run)(&running);
        let outcome =
            Outcome { name: stage.name, took: started.elapsed(), result, log: running.log_path().into() };
        outcome.print();
        outcomes.push(outcome);
    }
    print_table(&outcomes, begin.elapsed());
    Ok(outcomes.iter().all(|outcome| outcome.result.is_ok()))
}

fn print_table(outcomes: &[Outcome], took: Duration) {
    println!("\n{:<10} {:>7} {:>8}  result", "stage", "count", "seconds");
    for outcome in outcomes {
        let (count, result) = match &outcome.result {
            Ok(count) => (count.to_string(), "passed".to_owned()),
            Err(_) => ("-".to_owned(), format!("FAILED, see {}", outcome.log.display())),
        };
        println!("{:<10} {count:>7} {:>8.1}  {result}", outcome.name, outcome.took.as_secs_f64());
    }
    let failed = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
    println!("{:<10} {:>7} {:>8.1}", "total", "", took.as_secs_f64());
    println!("{} passed, {failed} failed", outcomes.len() - failed);
}

fn workspace_root() -> Result<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map(Path::to_path_buf).context("tests/ stands in the workspace")
}

fn format(stage: &Running) -> Result<u64> {
    stage.cargo(&["fmt", "--all", "--", "--check"])?;
    Ok(1)
}

fn lint(stage: &Running) -> Result<u64> {
    stage.cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    Ok(1)
}

fn tests(stage: &Running) -> Result<u64> {
    ensure_tool(Tool::SystemdAnalyze)?;
    // Our own process tests measure seconds, so not all of them at once on two cores.
    stage.cargo(&["test", "--locked", "--workspace", "--no-fail-fast"])?.tests()
}

fn wire(stage: &Running) -> Result<u64> {
    let python = ensure_tool(Tool::CborReader)?.join("bin/python");
    let folder = stage.root().join("protocol/tests/wire");
    let output = stage.program(
        &python,
        &[
            folder.join("read.py").as_os_str(),
            stage.root().join("protocol/stockwire.cddl").as_os_str(),
            folder.join("v1").as_os_str(),
        ],
    )?;
    output.number_before("golden files, 0 failed")
}

fn codes(stage: &Running) -> Result<u64> {
    let python = ensure_tool(Tool::Gs1Reader)?.join("bin/python");
    let bwip = ensure_tool(Tool::BarcodeWriter)?.join("bwip-js");
    let node = install::program(Tool::Node, "node")?;
    site::build()?;
    let output = stage.program(
        &python,
        &[
            // Without files of its own beside the sources.
            OsStr::new("-B"),
            stage.root().join("tests/oracle/judge.py").as_os_str(),
            site::program("stockwire-agent")?.as_os_str(),
            stage.root().join("protocol/tests/data/gs1-syntax-dictionary.txt").as_os_str(),
            node.as_os_str(),
            bwip.as_os_str(),
        ],
    )?;
    output.number_before("judgements, ")
}

fn world(stage: &Running) -> Result<u64> {
    let output = stage.cargo(&[
        "run",
        "--locked",
        "--release",
        "-p",
        "stockwire-tests",
        "--bin",
        "world",
        "--",
        "--seeds",
        "2000",
    ])?;
    output.number_before("seeds passed")
}

fn demo(stage: &Running) -> Result<u64> {
    let output = stage.cargo(&[
        "run",
        "--locked",
        "--release",
        "-p",
        "stockwire-tests",
        "--bin",
        "demo",
        "--",
        "--headless",
        "--movements",
        "200",
        "--json",
    ])?;
    output.json_number("movements")
}

fn postgres(stage: &Running) -> Result<u64> {
    let server = Postgres::start()?;
    let address = server.address();
    let arguments = ["test", "--locked", "--workspace", "--lib", "postgres_store", "--", "--ignored"];
    let count = stage.cargo_with(&[(POSTGRES_VARIABLE, address.as_str())], &arguments)?.tests()?;
    let arguments = [
        "test",
        "--locked",
        "--workspace",
        "--test",
        "e2e_postgres",
        "--test",
        "last_piece",
        "--test",
        "replicas",
        "--",
        "--ignored",
    ];
    let count = count + stage.cargo(&arguments)?.tests()?;
    let demo = ["run", "--locked", "--release", "-p", "stockwire-tests", "--bin", "demo", "--", "--headless"];
    let output = stage.cargo(&[&demo[..], &["--postgres", "--movements", "200", "--json"]].concat())?;
    Ok(count + output.json_number("movements")?)
}

fn real(stage: &Running) -> Result<u64> {
    // What the tests would install by themselves, but with its progress shown.
    for tool in [Tool::Mosquitto, Tool::MosquittoClients, Tool::Tryton, Tool::Vendure, Tool::BarcodeReaders] {
        ensure_tool(tool)?;
    }
    // In the profile of the tests stage, whose builds are there; one test at a time, because each starts an ERP, a shop
    // and a broker of its own.
    let files = [
        "mqtt_link",
        "agent_uplink",
        "sqlite_journal",
        "broker",
        "real_peers",
        "orders_real",
        "e2e_real",
        "e2e_orders",
        "sheet",
    ];
    let mut arguments = vec!["test", "--locked", "--workspace", "--no-fail-fast"];
    files.iter().for_each(|file| arguments.extend(["--test", file]));
    let ignored = ["--", "--ignored", "--test-threads", "1", "--nocapture"];
    let count = stage.cargo(&[&arguments[..], &ignored].concat())?.tests()?;

    // The gateway's own tests against vendors are told where these are.
    let peers = Peers::real(&World::standard())?;
    let (erp, shop) = (peers.erp_door(), peers.shop_door()?);
    let doors = [
        ("STOCKWIRE_TRYTON_URL", erp.url.as_str()),
        ("STOCKWIRE_TRYTON_KEY", erp.key.as_str()),
        ("STOCKWIRE_VENDURE_URL", shop.url.as_str()),
        ("STOCKWIRE_VENDURE_PASSWORD", shop.password.as_str()),
    ];
    let arguments = ["test", "--locked", "--workspace", "--test", "vendors_real"];
    Ok(count + stage.cargo_with(&doors, &[&arguments[..], &ignored].concat())?.tests()?)
}

fn cross(stage: &Running) -> Result<u64> {
    stage.cargo(&[
        "run",
        "--locked",
        "-p",
        "stockwire-cross",
        "--",
        "build",
        "--target",
        "aarch64",
        "--install",
    ])?;
    let run =
        ["run", "--locked", "--quiet", "-p", "stockwire-cross", "--", "run", "--target", "aarch64", "--"];
    let mut checks = 0;
    for (arguments, expected) in [(&["--version"][..], "stockwire-agent"), (&["print-config"], "[journal]")] {
        let output = stage.cargo(&[&run[..], arguments].concat())?;
        if !output.text.contains(expected) {
            bail!("the aarch64 agent's {} does not print {expected:?}", arguments.join(" "));
        }
        checks += 1;
    }
    // The whole program: journal, local socket, a broker that is not there. No serial port: qemu-user does not know
    // the call by which line settings are read.
    let scratch = Scratch::new("aarch64")?;
    let file = |name: &str| scratch.path().join(name).to_string_lossy().into_owned();
    let config = format!(
        "[agent]\nid = \"box-arm\"\nsite = \"HAM\"\n[journal]\npath = {:?}\nquota_mib = 64\n\
         [broker]\nhost = \"127.0.0.1\"\nport = {}\ntls = false\n[clock]\nsynchronized_file = \"\"\n\
         [local]\nsocket = {:?}\n[[station]]\nname = \"pack-1\"\n[station.scanner]\nport = {:?}\n",
        file("journal.db"),
        free_port()?,
        file("agent.sock"),
        file("scanner"),
    );
    std::fs::write(scratch.path().join("agent.toml"), config).context("writing the agent's configuration")?;
    let path = file("agent.toml");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(stage.root()).args(run).args(["run", "--config", &path]);
    let mut agent = Child::spawn("the aarch64 agent", command, &scratch.path().join("agent.log"))?;
    wait_until("the aarch64 agent answers", Duration::from_secs(60), || {
        // `status` ends with 1 while anything is wrong, and here the broker and the scanner are missing on purpose.
        let mut status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        status.current_dir(stage.root()).args(run).args(["status", "--json", "--config", &path]);
        let output = status.output().context("asking the aarch64 agent")?;
        let answer: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        ensure!(answer["agent"] == "box-arm", "another agent answered: {answer}");
        ensure!(answer["journal"]["fault"].is_null(), "its journal is at fault: {answer}");
        Ok(Some(()))
    })
    .with_context(|| agent.log())?;
    let ended = agent.terminate()?;
    ensure!(ended.success(), "the aarch64 agent ended with {ended}\n{}", agent.log());
    Ok(checks + 1)
}
