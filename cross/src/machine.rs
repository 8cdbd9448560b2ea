//! The edge of this crate: finds out what is on this machine, and runs other programs.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;
use crate::target::{CrossTools, Target};
use crate::toolchain::{CCompiler, Facts, Rustc, Version};

/// Debian's compiler, also when rustup's stands before it in `PATH`.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// How much of an answer that is not understood goes into the error.
const ANSWER_CHARACTERS_SHOWN: usize = 200;

/// Finds out what is here for `target`. What cannot be found or does not answer counts as absent.
#[must_use]
pub fn look(target: &'static Target) -> Facts {
    let host_arch = env::consts::ARCH;
    let cross = target.cross_from(host_arch);
    // Cargo obeys RUSTC, so the compiler "in PATH" is the one it names.
    let in_path = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    Facts {
        target,
        host_arch,
        in_path: rustc(&in_path, target),
        debian: rustc(OsStr::new(DEBIAN_RUSTC), target),
        rustup: in_search_path("rustup"),
        c_compiler: c_compiler(&cross.map_or_else(|| "cc".to_owned(), CrossTools::gcc)),
        runnable: match cross {
            Some(cross) => in_search_path(cross.runner) && Path::new(cross.library_root).join("lib").is_dir(),
            None => target.arch == host_arch,
        },
    }
}

/// Where the workspace is, and where cargo puts what it builds.
pub struct Workspace {
    /// The directory of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// Cargo's target directory, whatever `CARGO_TARGET_DIR` or a configuration says.
    pub target_dir: PathBuf,
}

/// Asks cargo about the workspace that this crate was built from.
///
/// # Errors
/// When cargo cannot be started, fails, or answers without a target directory.
pub fn workspace() -> Result<Workspace, Error> {
    let root = root();
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(&root);
    let answer = output(&mut command)?;
    let target_dir = serde_json::from_str::<serde_json::Value>(&answer)
        .ok()
        .and_then(|metadata| metadata.get("target_directory")?.as_str().map(PathBuf::from))
        .ok_or_else(|| Error::Answer {
            command: shown(&command),
            answer: answer.chars().take(ANSWER_CHARACTERS_SHOWN).collect(),
        })?;
    Ok(Workspace { root, target_dir })
}

/// The cargo that started us, or the one in `PATH`.
#[must_use]
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a program to its end with all of its output on our standard error, so that ours stays readable by machines.
///
/// # Errors
/// When it cannot be started or fails.
pub fn run_to_stderr(command: &mut Command) -> Result<(), Error> {
    let status = command
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .map_err(|source| Error::Start { command: shown(command), source })?;
    if status.success() { Ok(()) } else { Err(Error::Failed { command: shown(command), status }) }
}

/// Architectures other than its own that dpkg accepts.
///
/// # Errors
/// When dpkg cannot be asked.
pub fn foreign_architectures() -> Result<Vec<String>, Error> {
    let answer = output(Command::new("dpkg").arg("--print-foreign-architectures"))?;
    Ok(answer.split_whitespace().map(str::to_owned).collect())
}

/// Whether we may install packages.
///
/// # Errors
/// When `id` cannot be asked.
pub fn is_root() -> Result<bool, Error> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}

/// Whether a program of this name is in `PATH`.
#[must_use]
pub fn in_search_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// A command as one would type it.
#[must_use]
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The workspace that this crate was built from.
#[must_use]
pub fn root() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir).to_owned()
}

fn rustc(program: &OsStr, target: &Target) -> Option<Rustc> {
    let ask = |arguments: &[&str]| {
        // In the workspace, because rustup chooses the compiler by directory.
        output(Command::new(program).args(arguments).current_dir(root())).ok()
    };
    let version = Version::parse(&ask(&["--version"])?)?;
    let library = ask(&["--print", "target-libdir", "--target", target.triple]);
    let sysroot = ask(&["--print", "sysroot"]);
    Some(Rustc {
        program: program.into(),
        version,
        has_std: library.is_some_and(|dir| holds_std(Path::new(dir.trim()))),
        has_source: sysroot
            .is_some_and(|dir| Path::new(dir.trim()).join("lib/rustlib/src/rust/library/std").is_dir()),
    })
}

/// Whether a compiler's library directory holds a compiled `std`; `core` alone is what bare-metal targets have.
fn holds_std(dir: &Path) -> bool {
    let Ok(entries) = dir.read_dir() else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

fn c_compiler(program: &str) -> CCompiler {
    if !in_search_path(program) {
        return CCompiler::Absent;
    }
    match check_c(program) {
        Ok(true) => CCompiler::Ready,
        Ok(false) | Err(_) => CCompiler::WithoutLibrary,
    }
}

/// Whether the compiler understands a file that needs the C library's headers. They come in the same package as
/// what the linker needs, so linking is not tried.
fn check_c(program: &str) -> io::Result<bool> {
    let mut child = Command::new(program)
        .args(["-fsyntax-only", "-x", "c", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let written = match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(b"#include <stdlib.h>\n#include <pthread.h>\n"),
        None => Ok(()),
    };
    let good = child.wait()?.success();
    written?;
    Ok(good)
}

fn output(command: &mut Command) -> Result<String, Error> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Start { command: shown(command), source })?;
    if !output.status.success() {
        // Its reason is in its own words; callers that only probe drop the error, so only the others repeat it.
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let command = format!("{} ({reason})", shown(command));
        return Err(Error::Failed { command, status: output.status });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn std_is_there_only_as_a_compiled_library() {
        let dir = env::temp_dir().join(format!("stockwire-cross-std-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert!(!holds_std(&dir));
        std::fs::write(dir.join("libcore-0a1b.rlib"), "").unwrap();
        std::fs::write(dir.join("libstd-0a1b.so"), "").unwrap();
        assert!(!holds_std(&dir), "a shared library alone does not do");
        std::fs::write(dir.join("libstd-0a1b.rlib"), "").unwrap();
        assert!(holds_std(&dir));
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(!holds_std(&dir));
    }

    #[test]
    fn the_compiler_that_runs_this_test_is_found_with_its_std() {
        let native = Target::by_name(env::consts::ARCH).unwrap();
        let facts = look(native);
        assert!(facts.in_path.unwrap().has_std);
        assert_eq!(facts.c_compiler, CCompiler::Ready);
        assert!(facts.runnable);
    }

    #[test]
    fn a_compiler_that_is_not_there_is_absent() {
        assert_eq!(c_compiler("no-such-compiler-gcc"), CCompiler::Absent);
        assert_eq!(c_compiler("false"), CCompiler::WithoutLibrary);
        assert_eq!(rustc(OsStr::new("no-such-rustc"), &crate::TARGETS[0]), None);
    }

    #[test]
    fn a_failed_command_is_named_with_its_reason() {
        let error = output(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no luck") && text.contains('3'), "{text}");
    }
}
