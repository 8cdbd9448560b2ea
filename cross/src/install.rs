//! Fetching what is missing, by name: the plan is pure, and [`carry_out`] makes no choices.

use std::process::Command;

use crate::error::Error;
use crate::machine;
use crate::target::DebianStd;
use crate::toolchain::{Facts, Missing};

/// How long apt waits for another apt or dpkg to finish: unattended upgrades of a fresh machine take minutes.
const APT_LOCK_TIMEOUT_S: u32 = 300;

/// One command that brings something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Let rustup add the target's standard library to the compiler in `PATH`.
    RustupTarget(&'static str),
    /// Let dpkg accept packages of a foreign architecture.
    AddArchitecture(&'static str),
    /// Fetch the package lists.
    UpdateLists,
    /// Install Debian packages.
    Packages(Vec<String>),
}

/// The cheap first attempt at a missing standard library: rustup, where it is used. It may be refused (a mirror
/// without the target, a machine without a network), and then Debian's packages are the second.
#[must_use]
pub fn rustup_plan(missing: &Missing) -> Option<Step> {
    let std = missing.std.as_ref()?;
    (std.rustup && !missing.not_from_here()).then_some(Step::RustupTarget(missing.target.triple))
}

/// What Debian is asked for, in order; empty when nothing is missing for building and running.
#[must_use]
pub fn debian_plan(facts: &Facts, missing: Option<&Missing>, accepted_architectures: &[String]) -> Vec<Step> {
    let cross = facts.target.cross_from(facts.host_arch);
    let mut packages = Vec::new();
    let mut steps = Vec::new();
    if let Some(missing) = missing {
        if missing.not_from_here() {
            return Vec::new();
        }
        packages.extend(missing.c_packages());
        packages.extend(missing.std_packages());
        if let (Some(_), Some(DebianStd::Package { architecture })) =
            (&missing.std, cross.map(|cross| &cross.debian_std))
            && !accepted_architectures.iter().any(|accepted| accepted == architecture)
        {
            steps.push(Step::AddArchitecture(architecture));
        }
    }
    if let (false, Some(cross)) = (facts.runnable, cross) {
        packages.push(cross.runner_package.to_owned());
        // The runner also needs the target's libraries, which come with its C library.
        packages.extend(cross.packages.iter().map(|&name| name.to_owned()));
    }
    packages.sort();
    packages.dedup();
    if packages.is_empty() {
        return Vec::new();
    }
    steps.push(Step::UpdateLists);
    steps.push(Step::Packages(packages));
    steps
}

/// What a person may type instead, one line each.
pub(crate) fn hints(missing: &Missing) -> Vec<String> {
    let debian = |mut packages: Vec<String>| {
        let foreign =
            packages.iter().find_map(|name| name.split_once(':')).map(|(_, architecture)| architecture);
        let add = foreign.map(|name| format!("dpkg --add-architecture {name} && ")).unwrap_or_default();
        packages.dedup();
        format!("  {add}apt-get update && apt-get install --no-install-recommends {}", packages.join(" "))
    };
    let mut lines = Vec::new();
    let c_packages = missing.c_packages();
    if !c_packages.is_empty() {
        lines.push("the C compiler, as root on Debian:".to_owned());
        lines.push(debian(c_packages));
    }
    if missing.std.is_some() {
        lines.push("the standard library:".to_owned());
        if let Some(Step::RustupTarget(triple)) = rustup_plan(missing) {
            lines.push(format!("  rustup target add {triple}"));
            lines.push("or, as root on Debian:".to_owned());
        }
        lines.push(debian(missing.std_packages()));
    }
    lines.push("or repeat the command with --install, which does the same".to_owned());
    lines
}

/// Carries out one step, with its output on standard error.
///
/// # Errors
/// When the command cannot be started or fails. A failed update of the lists is told but is no error: one broken
/// third-party source fails it, while the lists that are there may do; the install after it decides.
pub fn carry_out(step: &Step) -> Result<(), Error> {
    let mut command = step.command();
    eprintln!("cross: {}", machine::shown(&command));
    match machine::run_to_stderr(&mut command) {
        Err(error) if *step == Step::UpdateLists => {
            eprintln!("cross: {error}; going on with the lists that are there");
            Ok(())
        }
        result => result,
    }
}

impl Step {
    /// Whether only root may do it.
    #[must_use]
    pub fn needs_root(&self) -> bool {
        !matches!(self, Step::RustupTarget(_))
    }

    /// The command as one would type it.
    #[must_use]
    pub fn shown(&self) -> String {
        machine::shown(&self.command())
    }

    fn command(&self) -> Command {
        let apt = || {
            let mut command = Command::new("apt-get");
            command.env("DEBIAN_FRONTEND", "noninteractive");
            command.arg("-o").arg(format!("DPkg::Lock::Timeout={APT_LOCK_TIMEOUT_S}"));
            command
        };
        match self {
            Step::RustupTarget(triple) => {
                let mut command = Command::new("rustup");
                // In the workspace, because rustup chooses the compiler by directory.
                command.args(["target", "add", triple]).current_dir(machine::root());
                command
            }
            Step::AddArchitecture(architecture) => {
                let mut command = Command::new("dpkg");
                command.args(["--add-architecture", architecture]);
                command
            }
            Step::UpdateLists => {
                let mut command = apt();
                command.arg("update");
                command
            }
            Step::Packages(names) => {
                let mut command = apt();
                command.args(["install", "-y", "--no-install-recommends"]).args(names);
                command
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Target;
    use crate::toolchain::{CCompiler, choose};

    /// A machine with nothing but a C compiler in the given state.
    fn bare(c_compiler: CCompiler, rustup: bool, runnable: bool) -> Facts {
        Facts {
            target: Target::by_name("aarch64").unwrap(),
            host_arch: "x86_64",
            in_path: None,
            debian: None,
            rustup,
            c_compiler,
            runnable,
        }
    }

    fn names(names: &[&str]) -> Step {
        Step::Packages(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn a_bare_machine_gets_everything_and_each_name_once() {
        let facts = bare(CCompiler::Absent, false, false);
        let missing = choose(&facts).unwrap_err();
        assert_eq!(rustup_plan(&missing), None);
        let expected = [
            Step::AddArchitecture("arm64"),
            Step::UpdateLists,
            names(&[
                "gcc-aarch64-linux-gnu",
                "libc6-dev-arm64-cross",
                "libstd-rust-web-dev:arm64",
                "qemu-user-static",
                "rustc-web",
            ]),
        ];
        assert_eq!(debian_plan(&facts, Some(&missing), &[]), expected);
    }

    #[test]
    fn an_architecture_is_added_only_when_needed() {
        let facts = bare(CCompiler::Ready, false, true);
        let missing = choose(&facts).unwrap_err();
        let plan = debian_plan(&facts, Some(&missing), &["i386".to_owned(), "arm64".to_owned()]);
        assert_eq!(plan, [Step::UpdateLists, names(&["libstd-rust-web-dev:arm64", "rustc-web"])]);

        // Only the C compiler is missing: no foreign architecture for that.
        let missing = Missing { std: None, c_compiler: CCompiler::Absent, ..missing };
        let plan = debian_plan(&facts, Some(&missing), &[]);
        assert_eq!(plan, [Step::UpdateLists, names(&["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"])]);
    }

    #[test]
    fn what_builds_but_cannot_run_gets_the_runner() {
        let facts = bare(CCompiler::Ready, true, false);
        let plan = debian_plan(&facts, None, &[]);
        let packages = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user-static"];
        assert_eq!(plan, [Step::UpdateLists, names(&packages)]);
    }

    #[test]
    fn nothing_missing_is_nothing_to_do() {
        assert_eq!(debian_plan(&bare(CCompiler::Ready, true, true), None, &[]), []);
    }

    #[test]
    fn rustup_is_asked_first_where_it_is_used() {
        let missing = choose(&bare(CCompiler::Ready, true, true)).unwrap_err();
        assert_eq!(rustup_plan(&missing), Some(Step::RustupTarget("aarch64-unknown-linux-gnu")));
        assert_eq!(rustup_plan(&Missing { std: None, ..missing }), None);
    }

    #[test]
    fn only_rustup_works_without_root() {
        assert!(!Step::RustupTarget("x").needs_root());
        for step in [Step::AddArchitecture("arm64"), Step::UpdateLists, Step::Packages(Vec::new())] {
            assert!(step.needs_root(), "{step:?}");
        }
    }
}
