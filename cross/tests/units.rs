//! The service units as systemd itself judges them: no warning, no running as root, and a tight sandbox.
//! Every `*.service` in `units/` is tested without being named here.
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests panic as tests do.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Ten times the highest exposure that `systemd-analyze security` may find. What an agent has left at 13 is the
/// price of serial ports and a network; Debian's Mosquitto stands at 96.
const EXPOSURE_MAX: &str = "--threshold=15";

/// Brings `systemd-analyze` and `systemd-sysusers`.
const PACKAGE: &str = "systemd";

#[test]
fn systemd_finds_nothing_to_warn_about() {
    if !tools_are_here() {
        return;
    }
    for unit in units() {
        let root = Root::with(&unit.name, &unit.text);
        let output = root.verify(&unit.name);
        assert!(is_clean(&output), "{}: {}", unit.name, said(&output));
    }
}

#[test]
fn a_misspelt_key_would_be_found() {
    if !tools_are_here() {
        return;
    }
    for unit in units() {
        let text = unit.text.replace("RestartSec=", "RestartSeconds=");
        assert_ne!(text, unit.text);
        let root = Root::with(&unit.name, &text);
        let output = root.verify(&unit.name);
        assert!(said(&output).contains("RestartSeconds"), "{}: {}", unit.name, said(&output));
        assert!(!is_clean(&output));
    }
}

#[test]
fn the_sandbox_is_tight() {
    if !tools_are_here() {
        return;
    }
    for unit in units() {
        let root = Root::with(&unit.name, &unit.text);
        let output = root.exposure(&unit.name);
        assert!(output.status.success(), "{}: {}", unit.name, said(&output));
    }
}

#[test]
fn a_loosened_sandbox_would_be_found() {
    if !tools_are_here() {
        return;
    }
    for unit in units() {
        let text = unit
            .text
            .replace("CapabilityBoundingSet=\n", "")
            .replace("SystemCallFilter=@system-service\n", "");
        assert_ne!(text, unit.text);
        let root = Root::with(&unit.name, &text);
        assert!(!root.exposure(&unit.name).status.success(), "{}", unit.name);
    }
}

#[test]
fn each_service_has_a_user_of_its_own_that_sysusers_makes() {
    if !tools_are_here() {
        return;
    }
    let root = Root::empty();
    fs::create_dir_all(root.path.join("etc")).unwrap();
    let users = units_dir().join("stockwire.sysusers");
    let output = Command::new("systemd-sysusers").arg(root.argument()).arg(users).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let passwd = fs::read_to_string(root.path.join("etc/passwd")).unwrap();
    let mut seen = Vec::new();
    for unit in units() {
        let user = unit.value("User");
        assert_eq!(user, unit.value("Group"), "{}", unit.name);
        assert!(passwd.lines().any(|line| line.starts_with(&format!("{user}:"))), "no {user} in:\n{passwd}");
        assert!(!seen.contains(&user), "{user} runs two services");
        seen.push(user);
    }
}

#[test]
fn each_service_starts_its_program_for_good_and_keeps_its_state_to_itself() {
    for unit in units() {
        let name = unit.name.trim_end_matches(".service");
        let short = name.trim_start_matches("stockwire-");
        assert_eq!(
            unit.value("ExecStart"),
            format!("/usr/bin/{name} run --config /etc/stockwire/{short}.toml")
        );
        assert_eq!(unit.value("StateDirectory"), name);
        assert_eq!(unit.value("StateDirectoryMode"), "0700");
        assert_eq!(unit.value("Restart"), "always");
        assert_eq!(unit.value("StartLimitIntervalSec"), "0", "else it stays down after five quick failures");
    }
}

#[test]
fn the_agent_is_watched() {
    let unit = units().into_iter().find(|unit| unit.name == "stockwire-agent.service").unwrap();
    assert_eq!(unit.value("Type"), "notify");
    assert_eq!(unit.value("WatchdogSec"), "30");
}

struct Unit {
    name: String,
    text: String,
}

impl Unit {
    /// The value of a key that stands in the unit exactly once.
    fn value(&self, key: &str) -> String {
        let mut values = self.text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let value = values.next().unwrap_or_else(|| panic!("{} has no {key}", self.name));
        assert_eq!(values.next(), None, "{} has {key} twice", self.name);
        value.to_owned()
    }
}

fn units_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("units")
}

fn units() -> Vec<Unit> {
    let paths = fs::read_dir(units_dir()).unwrap().map(|entry| entry.unwrap().path());
    let units: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "service"))
        .map(|path| Unit {
            name: path.file_name().unwrap().to_str().unwrap().to_owned(),
            text: fs::read_to_string(&path).unwrap(),
        })
        .collect();
    assert!(!units.is_empty());
    units
}

/// Whether systemd's tools are here. Where `CI=true` they must be; elsewhere the omission is told past the test
/// harness, which would swallow it.
#[allow(clippy::explicit_write)] // eprintln! is what the harness swallows.
fn tools_are_here() -> bool {
    let here =
        |tool| Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if here("systemd-analyze") && here("systemd-sysusers") {
        return true;
    }
    let message =
        format!("the units cannot be checked without systemd-analyze: install the package {PACKAGE}");
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
    writeln!(std::io::stderr(), "NOT TESTED: {message}").unwrap();
    false
}

fn is_clean(output: &Output) -> bool {
    // Unknown keys are only warned about, with exit code 0.
    output.status.success() && output.stdout.is_empty() && output.stderr.is_empty()
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A file tree in which the programs are installed, so that systemd does not miss them.
struct Root {
    path: PathBuf,
}

impl Root {
    fn empty() -> Root {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("stockwire-units-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Root { path }
    }

    /// The tree with one unit, its program, and the targets of this machine that units refer to.
    fn with(name: &str, text: &str) -> Root {
        let root = Root::empty();
        let ours = root.path.join("etc/systemd/system");
        let theirs = root.path.join("usr/lib/systemd/system");
        let programs = root.path.join("usr/bin");
        for dir in [&ours, &theirs, &programs] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::write(ours.join(name), text).unwrap();
        // `systemd-analyze` asks only whether it may be executed.
        fs::copy(std::env::current_exe().unwrap(), programs.join(name.trim_end_matches(".service"))).unwrap();
        for entry in fs::read_dir("/usr/lib/systemd/system").unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "target") {
                fs::copy(&path, theirs.join(path.file_name().unwrap())).unwrap();
            }
        }
        root
    }

    fn argument(&self) -> String {
        format!("--root={}", self.path.display())
    }

    fn verify(&self, name: &str) -> Output {
        let mut command = Command::new("systemd-analyze");
        command
            .args(["verify", "--man=no", "--recursive-errors=yes"])
            .arg(self.argument())
            .arg(name)
            .output()
            .unwrap()
    }

    fn exposure(&self, name: &str) -> Output {
        let path = self.path.join("etc/systemd/system").join(name);
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager", EXPOSURE_MAX]).arg(path).output().unwrap()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // Left over only after a failure to remove it, which must not hide the test's own result.
        let _ = fs::remove_dir_all(&self.path);
    }
}
