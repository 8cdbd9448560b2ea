//! Builds the agent for a target and checks the file that comes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::elf::Header;
use crate::error::Error;
use crate::machine::{self, Workspace};
use crate::target::Target;
use crate::toolchain::{Facts, Std, Toolchain};

/// The package whose binary goes onto the edge box.
const PACKAGE: &str = "stockwire-agent";

/// The cargo profile for edge boxes, from the workspace's `Cargo.toml`.
const PROFILE: &str = "edge";

/// How the result finds its C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Linkage {
    /// From the box, at start.
    Dynamic,
    /// It carries its own.
    Static,
}

/// A finished build.
#[derive(Debug, Serialize)]
pub struct Built {
    /// Name of the target's row.
    pub target: &'static str,
    /// What rustc calls the target.
    pub triple: &'static str,
    /// The stripped executable.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// How it finds its C library, read from the file.
    pub linkage: Linkage,
    /// The compiler, for people.
    pub toolchain: String,
    /// Words to put before the path to run it here; empty on a machine of its kind.
    pub runner: Vec<String>,
    /// How long cargo took.
    pub seconds: f64,
}

/// Builds, checks, and copies the result to where [`result_path`] says.
///
/// # Errors
/// When cargo fails, or what it built is not for the target or not linked as asked.
pub fn build(facts: &Facts, toolchain: &Toolchain, linkage: Linkage) -> Result<Built, Error> {
    let target = facts.target;
    let workspace = machine::workspace()?;
    let settings = settings(facts, toolchain, linkage, &workspace);
    let mut cargo = machine::cargo();
    cargo.args(&settings.arguments).envs(settings.environment).current_dir(&workspace.root);
    // What goes onto the box does not depend on flags that happen to be set in somebody's shell.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let triple = target.triple;
    eprintln!("cross: building {PACKAGE} for {triple} with {toolchain}; the first time takes minutes");
    let started = Instant::now();
    machine::run_to_stderr(&mut cargo)?;
    let seconds = started.elapsed().as_secs_f64();

    let made = settings.directory.join(target.triple).join(PROFILE).join(PACKAGE);
    let file = fs::read(&made).map_err(|source| Error::File { what: "read", path: made.clone(), source })?;
    check(&made, &file, target, linkage)?;
    let path = result_path(&workspace, target, linkage);
    put(&path, &made)?;
    let cross = target.cross_from(facts.host_arch);
    Ok(Built {
        target: target.name,
        triple,
        path,
        size_bytes: file.len() as u64,
        linkage,
        toolchain: toolchain.to_string(),
        runner: cross.map(crate::emulate::words).unwrap_or_default(),
        seconds,
    })
}

/// Where the executable for a target stands after a build, whatever toolchain made it.
#[must_use]
pub fn result_path(workspace: &Workspace, target: &Target, linkage: Linkage) -> PathBuf {
    let directory = match linkage {
        Linkage::Dynamic => target.name.to_owned(),
        Linkage::Static => format!("{}-static", target.name),
    };
    workspace.target_dir.join("cross").join(directory).join(PACKAGE)
}

/// What cargo is told.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    directory: PathBuf,
}

fn settings(facts: &Facts, toolchain: &Toolchain, linkage: Linkage, workspace: &Workspace) -> Settings {
    let target = facts.target;
    // One directory a toolchain: artefacts of two compilers do not mix.
    let directory = workspace.target_dir.join("cross").join("build").join(toolchain.directory());
    let directory_text = directory.to_string_lossy();
    let words = ["build", "--locked", "--package", PACKAGE, "--bin", PACKAGE, "--profile", PROFILE];
    let places = ["--target", target.triple, "--target-dir", &*directory_text];
    let mut arguments: Vec<String> = words.iter().chain(&places).map(|&word| word.to_owned()).collect();
    let mut environment = Vec::new();
    let mut set = |name: String, value: String| environment.push((name, value));

    if toolchain.std != Std::InPath {
        set("RUSTC".to_owned(), toolchain.rustc.program.to_string_lossy().into_owned());
    }
    if toolchain.std == Std::DebianSource {
        // The profile aborts on panic, and for that `panic_abort` must be named beside `std`.
        arguments.push("-Zbuild-std=std,panic_abort".to_owned());
        set("RUSTC_BOOTSTRAP".to_owned(), "1".to_owned());
    }
    let lower = target.triple.replace('-', "_");
    let upper = lower.to_uppercase();
    if let Some(cross) = target.cross_from(facts.host_arch) {
        set(format!("CARGO_TARGET_{upper}_LINKER"), cross.gcc());
        set(format!("CC_{lower}"), cross.gcc());
        set(format!("AR_{lower}"), format!("{}ar", cross.gcc_prefix));
    }
    if linkage == Linkage::Static {
        set(format!("CARGO_TARGET_{upper}_RUSTFLAGS"), "-C target-feature=+crt-static".to_owned());
    }
    Settings { arguments, environment, directory }
}

fn check(path: &Path, file: &[u8], target: &Target, linkage: Linkage) -> Result<(), Error> {
    let expected = Header { machine: target.machine, dynamic: linkage == Linkage::Dynamic };
    let found = Header::read(file);
    if found == Some(expected) {
        return Ok(());
    }
    let describe = |header: Option<Header>| match header {
        Some(Header { machine, dynamic: true }) => format!("a dynamic executable of ELF machine {machine}"),
        Some(Header { machine, dynamic: false }) => format!("a static executable of ELF machine {machine}"),
        None => "no 64-bit ELF file".to_owned(),
    };
    let (expected, found) = (describe(Some(expected)), describe(found));
    Err(Error::WrongFile { path: path.to_owned(), expected, found })
}

/// Copies beside and renames, so that a copy that still runs keeps its file and nobody sees half of one.
fn put(path: &Path, made: &Path) -> Result<(), Error> {
    let failed = |what| move |source| Error::File { what, path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed("make the directory of"))?;
    }
    let beside = path.with_extension(format!("new.{}", std::process::id()));
    fs::copy(made, &beside).map_err(failed("write beside"))?;
    fs::rename(&beside, path).map_err(failed("replace"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::{CCompiler, Rustc, Version};

    fn settings_of(target: &str, std: Std, linkage: Linkage) -> Settings {
        let rustc = Rustc {
            program: "/usr/bin/rustc".into(),
            version: Version { major: 1, minor: 96, patch: 0 },
            has_std: true,
            has_source: true,
        };
        let facts = Facts {
            target: Target::by_name(target).unwrap(),
            host_arch: "x86_64",
            in_path: None,
            debian: Some(rustc.clone()),
            rustup: false,
            c_compiler: CCompiler::Ready,
            runnable: true,
        };
        let workspace = Workspace { root: "/w".into(), target_dir: "/w/target".into() };
        settings(&facts, &Toolchain { rustc, std }, linkage, &workspace)
    }

    #[track_caller]
    fn check_environment(target: &str, std: Std, linkage: Linkage, expected: &[&str]) {
        let settings = settings_of(target, std, linkage);
        let found: Vec<_> =
            settings.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(found, expected);
    }

    const GCC: [&str; 3] = [
        "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc",
        "CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc",
        "AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar",
    ];
    const STATIC: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS=-C target-feature=+crt-static";
    const DEBIAN: &str = "RUSTC=/usr/bin/rustc";

    #[test]
    fn each_toolchain_is_told_what_it_needs() {
        check_environment("aarch64", Std::InPath, Linkage::Dynamic, &GCC);
        check_environment("aarch64", Std::Debian, Linkage::Dynamic, &[&[DEBIAN], &GCC[..]].concat());
        check_environment(
            "aarch64",
            Std::DebianSource,
            Linkage::Static,
            &[&[DEBIAN, "RUSTC_BOOTSTRAP=1"], &GCC[..], &[STATIC]].concat(),
        );
        check_environment("x86_64", Std::InPath, Linkage::Dynamic, &[]);
    }

    #[test]
    fn std_is_built_only_from_source() {
        let has = |std| {
            let arguments = settings_of("aarch64", std, Linkage::Dynamic).arguments;
            arguments.contains(&"-Zbuild-std=std,panic_abort".to_owned())
        };
        assert!(has(Std::DebianSource));
        assert!(!has(Std::Debian) && !has(Std::InPath), "stable cargo refuses -Z");
    }

    #[test]
    fn toolchains_build_apart_and_leave_the_result_in_one_place() {
        let directory = |std| settings_of("aarch64", std, Linkage::Dynamic).directory;
        assert_eq!(directory(Std::InPath), Path::new("/w/target/cross/build/rustc-1.96.0"));
        assert_eq!(directory(Std::Debian), Path::new("/w/target/cross/build/debian-rustc-1.96.0"));
        let workspace = Workspace { root: "/w".into(), target_dir: "/w/target".into() };
        let row = Target::by_name("aarch64").unwrap();
        let path = |linkage| result_path(&workspace, row, linkage);
        assert_eq!(path(Linkage::Dynamic), Path::new("/w/target/cross/aarch64/stockwire-agent"));
        assert_eq!(path(Linkage::Static), Path::new("/w/target/cross/aarch64-static/stockwire-agent"));
    }

    #[test]
    fn a_file_for_another_machine_or_linked_otherwise_is_refused() {
        let ours = fs::read(std::env::current_exe().unwrap()).unwrap();
        let own = Target::by_name(std::env::consts::ARCH).unwrap();
        let other = crate::TARGETS.iter().find(|row| row.machine != own.machine).unwrap();
        let path = Path::new("agent");
        assert!(check(path, &ours, own, Linkage::Dynamic).is_ok());
        let text = check(path, &ours, own, Linkage::Static).unwrap_err().to_string();
        assert!(text.contains("a dynamic executable") && text.contains("not a static"), "{text}");
        assert!(check(path, &ours, other, Linkage::Dynamic).is_err());
        assert!(check(path, b"#!/bin/sh", own, Linkage::Dynamic).is_err());
    }
}
