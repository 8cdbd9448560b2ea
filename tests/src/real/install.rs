//! Installs what the real peers need, by package name: from Debian, PyPI and npm.
//!
//! A new tool is one variant, one row in [`TOOLS`]. Nothing is fetched that is there already. With
//! `STOCKWIRE_NO_INSTALL=1`, or without the right to install, the error says which command a person should run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cache;

/// When set to `1`, nothing is installed.
pub const NO_INSTALL_VARIABLE: &str = "STOCKWIRE_NO_INSTALL";

/// Something that a test needs and that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// The MQTT broker.
    Mosquitto,
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
    /// The judge of service units.
    SystemdAnalyze,
}

/// How to get each tool.
static TOOLS: &[(Tool, Recipe)] = &[
    (
        Tool::Mosquitto,
        Recipe::Debian {
            packages: &["mosquitto"],
            check: &["sh", "-c", "PATH=$PATH:/usr/sbin mosquitto -h"],
            says: "mosquitto version 2.",
        },
    ),
    (
        Tool::Python,
        Recipe::Debian {
            packages: &["python3", "python3-venv"],
            check: &[
                "python3",
                "-c",
                "import ensurepip, sys; assert sys.version_info >= (3, 9); print('fit')",
            ],
            says: "fit",
        },
    ),
    (
        Tool::Node,
        Recipe::Debian {
            packages: &["nodejs", "npm"],
            check: &[
                "node",
                "-e",
                "console.log(+process.versions.node.split('.')[0] >= 20 ? 'fit' : 'too old')",
            ],
            says: "fit",
        },
    ),
    (
        Tool::Tryton,
        Recipe::PyPi {
            folder: "tryton",
            // One series: Tryton's modules must not be mixed between series.
            packages: &["trytond==8.0.12", "trytond-stock==8.0.5", "proteus==8.0.0", "waitress==3.0.2"],
        },
    ),
    (Tool::Vendure, Recipe::Npm { folder: "vendure", manifest: "vendure/package.json" }),
    (Tool::CborReader, Recipe::PyPi { folder: "cbor", packages: &["cbor2==6.3.0", "pycddl==0.6.4"] }),
    (
        Tool::SystemdAnalyze,
        Recipe::Debian { packages: &["systemd"], check: &["systemd-analyze", "--version"], says: "systemd" },
    ),
];

enum Recipe {
    /// Debian packages; they are there when the output of `check` contains `says`.
    Debian { packages: &'static [&'static str], check: &'static [&'static str], says: &'static str },
    /// A virtual environment of its own.
    PyPi { folder: &'static str, packages: &'static [&'static str] },
    /// A folder with `node_modules`, as its manifest under `tests/peers/` says.
    Npm { folder: &'static str, manifest: &'static str },
}

/// Makes sure that `tool` is there. Gives the folder of a virtual environment or of `node_modules`; for a Debian
/// package, whose programs are on the path, the root folder.
pub fn ensure(tool: Tool) -> Result<PathBuf> {
    let recipe = TOOLS.iter().find(|(name, _)| *name == tool).map(|(_, recipe)| recipe);
    match recipe.with_context(|| format!("no recipe for {tool:?}"))? {
        Recipe::Debian { packages, check, says } => ensure_debian(tool, packages, check, says),
        Recipe::PyPi { folder, packages } => ensure_pypi(folder, packages),
        Recipe::Npm { folder, manifest } => ensure_npm(folder, manifest),
    }
}

fn ensure_debian(tool: Tool, packages: &[&str], check: &[&str], says: &str) -> Result<PathBuf> {
    if is_there(check, says) {
        return Ok(PathBuf::from("/"));
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
    if is_there(check, says) {
        return Ok(PathBuf::from("/"));
    }
    let missing = check.join(" ");
    bail!("{} is installed but `{missing}` does not say {says:?}: a newer one is needed", packages.join(" "))
}

fn ensure_pypi(folder: &str, packages: &[&str]) -> Result<PathBuf> {
    ensure(Tool::Python)?;
    let listed = packages.join(" ");
    cache::folder(folder, &packages, &format!("installing {listed} from PyPI"), |path| {
        let by_hand = format!("python3 -m venv {0} && {0}/bin/pip install {listed}", path.display());
        may_install(&by_hand)?;
        run(&mut command("python3", &["-m", "venv"], Some(path)), &by_hand)?;
        let mut pip = Command::new(path.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages);
        run(&mut pip, &by_hand)
    })
}

fn ensure_npm(folder: &str, manifest: &str) -> Result<PathBuf> {
    ensure(Tool::Node)?;
    let source = cache::peer_file(manifest);
    let wanted = fs::read(&source).with_context(|| format!("reading {}", source.display()))?;
    let path = cache::folder(folder, &wanted, &format!("installing {manifest} from npm"), |path| {
        let by_hand = format!("cd {} && npm install --ignore-scripts", path.display());
        may_install(&by_hand)?;
        fs::write(path.join("package.json"), &wanted).context("copying the manifest")?;
        let mut npm = Command::new("npm");
        // Scripts would compile; nothing that we list needs it.
        npm.args([
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-package-lock",
            "--loglevel=error",
        ]);
        run(npm.current_dir(path).env("npm_config_update_notifier", "false"), &by_hand)
    })?;
    Ok(path.join("node_modules"))
}

fn is_there(check: &[&str], says: &str) -> bool {
    let output = Command::new(check[0]).args(&check[1..]).output();
    output.is_ok_and(|output| {
        [output.stdout, output.stderr].iter().any(|text| String::from_utf8_lossy(text).contains(says))
    })
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
