//! Which Rust compiler builds for a target here: a pure choice over what was found.
//!
//! In order: the compiler that cargo would use anyway, if it has the target's standard library; Debian's compiler, if
//! it has it; Debian's compiler with the library's source. Standard libraries are tied to the exact compiler that made
//! them (mixing two is rustc's E0514), so the choice is always compiler and library together.

use std::fmt;
use std::path::PathBuf;

use crate::target::{CrossTools, Target};

/// The oldest compiler that builds the workspace; a test holds it equal to `rust-version`.
pub const OLDEST: Version = Version { major: 1, minor: 89, patch: 0 };

/// Chooses the compiler; or says what is missing, all of it at once.
///
/// # Errors
/// [`Missing`] when no compiler here can build for the target, or the C compiler for it is not ready.
pub fn choose(facts: &Facts) -> Result<Toolchain, Missing> {
    let target = facts.target;
    let usable = |rustc: &&Rustc| rustc.version >= OLDEST;
    let with = |rustc: &Rustc, std| Toolchain { rustc: rustc.clone(), std };
    let in_path = facts.in_path.as_ref().filter(usable).filter(|r| r.has_std).map(|r| with(r, Std::InPath));
    let debian = || facts.debian.as_ref().filter(usable).filter(|r| r.has_std).map(|r| with(r, Std::Debian));
    let source =
        || facts.debian.as_ref().filter(usable).filter(|r| r.has_source).map(|r| with(r, Std::DebianSource));
    let toolchain = in_path.or_else(debian).or_else(source);

    let native = target.arch == facts.host_arch;
    let from_here = native || target.cross.is_some();
    match toolchain {
        Some(toolchain) if from_here && facts.c_compiler == CCompiler::Ready => Ok(toolchain),
        toolchain => Err(Missing {
            target,
            host_arch: facts.host_arch,
            std: toolchain.is_none().then(|| StdMissing {
                in_path: facts.in_path.clone(),
                debian: facts.debian.clone(),
                rustup: facts.rustup,
            }),
            c_compiler: facts.c_compiler,
        }),
    }
}

/// What was found on this machine for one target.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The target that it is about.
    pub target: &'static Target,
    /// `std::env::consts::ARCH` of this machine.
    pub host_arch: &'static str,
    /// The compiler that cargo uses when nobody says otherwise.
    pub in_path: Option<Rustc>,
    /// Debian's compiler, `/usr/bin/rustc`.
    pub debian: Option<Rustc>,
    /// Whether `rustup` is there to add a target.
    pub rustup: bool,
    /// The C compiler for the target.
    pub c_compiler: CCompiler,
    /// Whether the result can be run here: natively, or because the runner and the target's libraries are there.
    pub runnable: bool,
}

/// One Rust compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rustc {
    /// How to start it.
    pub program: PathBuf,
    /// What it says its version is.
    pub version: Version,
    /// Whether the target's standard library is installed for it.
    pub has_std: bool,
    /// Whether the source of its standard library is installed.
    pub has_source: bool,
}

/// State of the C compiler for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CCompiler {
    /// It compiles a file that includes the C library's headers.
    Ready,
    /// It is there, but the target's C library is not.
    WithoutLibrary,
    /// It is not in `PATH`.
    Absent,
}

/// A compiler with the standard library that it will use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler.
    pub rustc: Rustc,
    /// Where the standard library comes from.
    pub std: Std,
}

/// Where the target's standard library comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Std {
    /// Installed for the compiler in `PATH`.
    InPath,
    /// Installed for Debian's compiler.
    Debian,
    /// Compiled from Debian's source package.
    DebianSource,
}

impl Toolchain {
    /// Name of the directory that holds what this toolchain compiled; two toolchains never share one.
    #[must_use]
    pub fn directory(&self) -> String {
        let version = self.rustc.version;
        match self.std {
            Std::InPath => format!("rustc-{version}"),
            Std::Debian => format!("debian-rustc-{version}"),
            Std::DebianSource => format!("debian-rustc-{version}-std-from-source"),
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.std {
            Std::InPath => "in PATH",
            Std::Debian => "Debian's",
            Std::DebianSource => "Debian's, standard library from source",
        };
        write!(f, "rustc {} ({how})", self.rustc.version)
    }
}

/// A compiler's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u16,
    /// Second number.
    pub minor: u16,
    /// Third number.
    pub patch: u16,
}

impl Version {
    /// Reads `rustc 1.95.0 (59807616e 2026-04-14)`; a suffix like `-nightly` does not count.
    #[must_use]
    pub fn parse(text: &str) -> Option<Version> {
        let number = text.strip_prefix("rustc ")?.split([' ', '-', '+']).next()?;
        let mut parts = number.trim().split('.').map(|part| part.parse().ok());
        let version = Version { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Everything that keeps this machine from building for a target. Its text says what to type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The target.
    pub target: &'static Target,
    /// This machine's kind.
    pub host_arch: &'static str,
    /// Set when no compiler has the standard library.
    pub std: Option<StdMissing>,
    /// The C compiler, which may be ready.
    pub c_compiler: CCompiler,
}

/// Why neither compiler will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StdMissing {
    /// The compiler in `PATH`, if any.
    pub in_path: Option<Rustc>,
    /// Debian's, if any.
    pub debian: Option<Rustc>,
    /// Whether rustup could add the target.
    pub rustup: bool,
}

impl Missing {
    /// The tools for a build from here; `None` for a native build, and when none is proven.
    #[must_use]
    pub fn cross(&self) -> Option<&CrossTools> {
        self.target.cross_from(self.host_arch)
    }

    /// Whether no package could help: this kind of machine cannot build for the target at all.
    #[must_use]
    pub fn not_from_here(&self) -> bool {
        self.target.arch != self.host_arch && self.target.cross.is_none()
    }

    /// Debian packages that bring the C compiler, when it is not ready.
    #[must_use]
    pub fn c_packages(&self) -> Vec<String> {
        match (self.c_compiler, self.cross()) {
            (CCompiler::Ready, _) => Vec::new(),
            (_, Some(cross)) => cross.packages.iter().map(|&name| name.to_owned()).collect(),
            (_, None) => vec!["gcc".to_owned(), "libc6-dev".to_owned()],
        }
    }

    /// Debian packages that bring the standard library, when none has it.
    #[must_use]
    pub fn std_packages(&self) -> Vec<String> {
        match (&self.std, self.cross()) {
            (None, _) => Vec::new(),
            (Some(_), Some(cross)) => cross.debian_std.packages(),
            // Natively the compiler package brings its own library.
            (Some(_), None) => vec!["rustc-web".to_owned()],
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let triple = self.target.triple;
        write!(f, "cannot build for {triple} here:")?;
        if self.not_from_here() {
            return write!(
                f,
                " that is proven only on a machine of that kind, and this one is {}",
                self.host_arch
            );
        }
        let gcc = self.cross().map_or_else(|| "cc".to_owned(), CrossTools::gcc);
        match self.c_compiler {
            CCompiler::Ready => {}
            CCompiler::Absent => write!(f, "\n  - {gcc} is not in PATH")?,
            CCompiler::WithoutLibrary => write!(f, "\n  - {gcc} finds no C library for the target")?,
        }
        if let Some(std) = &self.std {
            write!(f, "\n  - no Rust standard library for it: ")?;
            write!(f, "{}; {}", verdict("PATH", &std.in_path), verdict("/usr/bin", &std.debian))?;
        }
        for hint in crate::install::hints(self) {
            write!(f, "\n{hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Missing {}

fn verdict(place: &str, rustc: &Option<Rustc>) -> String {
    match rustc {
        None => format!("no rustc in {place}"),
        Some(rustc) if rustc.version < OLDEST => {
            format!("rustc {} in {place} is older than {OLDEST}", rustc.version)
        }
        Some(rustc) => format!("rustc {} in {place} has none", rustc.version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A compiler in one word: `std`, `source`, `bare` (neither), `old` (has all, but too old); `-` for none.
    fn rustc(program: &str, word: &str) -> Option<Rustc> {
        let minor = match (word, program) {
            ("old", _) => 85,
            (_, "/usr/bin/rustc") => 96,
            _ => 95,
        };
        (word != "-").then(|| Rustc {
            program: program.into(),
            version: Version { major: 1, minor, patch: 0 },
            has_std: matches!(word, "std" | "old"),
            has_source: matches!(word, "source" | "old"),
        })
    }

    fn facts(in_path: &str, debian: &str, c_compiler: CCompiler) -> Facts {
        Facts {
            target: Target::by_name("aarch64").unwrap(),
            host_arch: "x86_64",
            in_path: rustc("rustc", in_path),
            debian: rustc("/usr/bin/rustc", debian),
            rustup: in_path != "-",
            c_compiler,
            runnable: false,
        }
    }

    #[track_caller]
    fn check(in_path: &str, debian: &str, expected: Option<Std>) {
        let chosen = choose(&facts(in_path, debian, CCompiler::Ready)).ok();
        assert_eq!(
            chosen.as_ref().map(|toolchain| toolchain.std),
            expected,
            "PATH {in_path}, Debian {debian}"
        );
        if let Some(toolchain) = chosen {
            let program = if expected == Some(Std::InPath) { "rustc" } else { "/usr/bin/rustc" };
            assert_eq!(toolchain.rustc.program, PathBuf::from(program));
        }
    }

    #[test]
    fn the_compiler_in_path_is_first_then_debians_then_its_source() {
        check("std", "-", Some(Std::InPath));
        check("std", "std", Some(Std::InPath));
        check("bare", "std", Some(Std::Debian));
        check("bare", "source", Some(Std::DebianSource));
        check("-", "std", Some(Std::Debian));
        check("-", "source", Some(Std::DebianSource));
    }

    #[test]
    fn source_beside_the_compiler_in_path_is_not_used() {
        // Building std is for Debian's compiler only: a rustup user adds the target instead.
        check("source", "-", None);
        check("source", "bare", None);
    }

    #[test]
    fn what_is_absent_bare_or_too_old_is_passed_over() {
        check("-", "-", None);
        check("bare", "bare", None);
        check("old", "std", Some(Std::Debian));
        check("bare", "old", None);
        check("old", "old", None);
    }

    #[test]
    fn a_ready_rust_does_not_hide_a_missing_c_compiler() {
        for state in [CCompiler::Absent, CCompiler::WithoutLibrary] {
            let missing = choose(&facts("std", "-", state)).unwrap_err();
            assert_eq!(missing.std, None);
            assert_eq!(missing.c_packages(), ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]);
            assert_eq!(missing.std_packages(), Vec::<String>::new());
        }
    }

    #[test]
    fn a_native_build_needs_no_cross_compiler() {
        let native =
            Facts { target: Target::by_name("x86_64").unwrap(), ..facts("std", "-", CCompiler::Ready) };
        assert_eq!(choose(&native).unwrap().std, Std::InPath);
        let bare = Facts { c_compiler: CCompiler::Absent, ..native };
        assert_eq!(choose(&bare).unwrap_err().c_packages(), ["gcc", "libc6-dev"]);
    }

    #[test]
    fn an_unproven_pair_of_machines_is_refused_with_its_reason() {
        let arm = Facts {
            target: Target::by_name("x86_64").unwrap(),
            host_arch: "aarch64",
            ..facts("std", "std", CCompiler::Ready)
        };
        let text = choose(&arm).unwrap_err().to_string();
        assert!(text.ends_with("proven only on a machine of that kind, and this one is aarch64"), "{text}");
    }

    #[test]
    fn the_error_names_every_fault_and_what_to_type() {
        let text = choose(&facts("bare", "old", CCompiler::Absent)).unwrap_err().to_string();
        for part in [
            "aarch64-linux-gnu-gcc is not in PATH",
            "rustc 1.95.0 in PATH has none",
            "rustc 1.85.0 in /usr/bin is older than 1.89.0",
            "rustup target add aarch64-unknown-linux-gnu",
            "dpkg --add-architecture arm64",
            "rustc-web libstd-rust-web-dev:arm64",
            "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
            "--install",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        let text = choose(&facts("-", "-", CCompiler::Ready)).unwrap_err().to_string();
        assert!(!text.contains("rustup target add"), "there is no rustup to type that to:\n{text}");
    }

    #[test]
    fn two_toolchains_never_share_a_directory() {
        let of = |in_path, debian| choose(&facts(in_path, debian, CCompiler::Ready)).unwrap().directory();
        let names = [of("std", "-"), of("-", "std"), of("-", "source")];
        assert_eq!(names[0], "rustc-1.95.0");
        assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2], "{names:?}");
    }

    #[test]
    fn versions_are_read_from_what_compilers_print() {
        let version = |minor| Some(Version { major: 1, minor, patch: 0 });
        assert_eq!(Version::parse("rustc 1.95.0 (59807616e 2026-04-14)\n"), version(95));
        assert_eq!(Version::parse("rustc 1.97.0-nightly (abc 2026-05-01)"), version(97));
        assert_eq!(Version::parse("rustc 1.85.0\n"), version(85));
        for not_one in ["", "rustc", "rustc 1.95", "rustc one.two.three", "clang 18.1.0", "rustc 1.2.3.4"] {
            assert_eq!(Version::parse(not_one), None, "{not_one:?}");
        }
    }

    #[test]
    fn the_oldest_compiler_is_the_workspaces() {
        assert_eq!(format!("{}.{}", OLDEST.major, OLDEST.minor), env!("CARGO_PKG_RUST_VERSION"));
    }
}
