//! The kinds of edge box we build for: one row each.

use crate::elf;

/// Every target, in the order in which `targets` prints them. A row stands here only once a build for it has run.
pub static TARGETS: &[Target] = &[
    Target {
        name: "aarch64",
        triple: "aarch64-unknown-linux-gnu",
        arch: "aarch64",
        machine: elf::AARCH64,
        cross: Some(CrossTools {
            gcc_prefix: "aarch64-linux-gnu-",
            packages: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
            debian_std: DebianStd::Package { architecture: "arm64" },
            runner: "qemu-aarch64-static",
            runner_package: "qemu-user-static",
            library_root: "/usr/aarch64-linux-gnu",
        }),
    },
    Target {
        name: "x86_64",
        triple: "x86_64-unknown-linux-gnu",
        arch: "x86_64",
        machine: elf::X86_64,
        cross: None,
    },
];

/// One kind of edge box.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// What one types after `--target`.
    pub name: &'static str,
    /// What rustc calls it.
    pub triple: &'static str,
    /// What `std::env::consts::ARCH` says on such a machine; equal to the host's means a native build.
    pub arch: &'static str,
    /// `e_machine` of its executables; a finished build is checked against it.
    pub machine: u16,
    /// How it is built on a machine of another kind; `None` when that has not been proven for it.
    pub cross: Option<CrossTools>,
}

/// What a build on a machine of another kind needs.
#[derive(Debug, PartialEq, Eq)]
pub struct CrossTools {
    /// The C compiler is `{gcc_prefix}gcc`, the archiver `{gcc_prefix}ar`; both compile SQLite and ring, gcc links.
    pub gcc_prefix: &'static str,
    /// Debian packages of the C compiler and of the target's C library.
    pub packages: &'static [&'static str],
    /// How Debian supplies Rust's standard library for the target.
    pub debian_std: DebianStd,
    /// qemu-user program that runs the result here.
    pub runner: &'static str,
    /// Debian package of the runner.
    pub runner_package: &'static str,
    /// Where the runner finds the target's dynamic loader and libc (`-L`).
    pub library_root: &'static str,
}

/// How Debian supplies Rust's standard library for a target.
#[derive(Debug, PartialEq, Eq)]
pub enum DebianStd {
    /// Ready, as a package of this foreign architecture, which dpkg must be told to accept.
    Package {
        /// Debian's name of the architecture.
        architecture: &'static str,
    },
    /// As source, compiled with the agent; needs no foreign architecture.
    Source,
}

impl Target {
    /// The row of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Target> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// The tools needed on a host of `host_arch`: none when the host is such a machine itself.
    #[must_use]
    pub fn cross_from(&self, host_arch: &str) -> Option<&CrossTools> {
        if self.arch == host_arch { None } else { self.cross.as_ref() }
    }
}

impl CrossTools {
    /// The C compiler, which is also the linker.
    #[must_use]
    pub fn gcc(&self) -> String {
        format!("{}gcc", self.gcc_prefix)
    }
}

impl DebianStd {
    /// Debian packages that bring a compiler and the standard library (or its source).
    #[must_use]
    pub fn packages(&self) -> Vec<String> {
        match self {
            DebianStd::Package { architecture } => {
                vec!["rustc-web".to_owned(), format!("libstd-rust-web-dev:{architecture}")]
            }
            DebianStd::Source => vec!["rustc-web".to_owned(), "rust-web-src".to_owned()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_triples_are_unique_and_agree() {
        for (i, row) in TARGETS.iter().enumerate() {
            assert_eq!(Target::by_name(row.name), Some(row), "a second row is called {}", row.name);
            assert!(TARGETS[i + 1..].iter().all(|other| other.triple != row.triple));
            assert!(row.triple.starts_with(row.arch), "{}", row.triple);
        }
        assert_eq!(Target::by_name("mips"), None);
    }

    #[test]
    fn a_machine_of_the_same_kind_needs_no_cross_tools() {
        let row = Target::by_name("aarch64").unwrap();
        assert!(row.cross_from("x86_64").is_some());
        assert_eq!(row.cross_from("aarch64"), None);
    }

    #[test]
    fn a_ready_standard_library_comes_from_its_foreign_architecture() {
        let row = Target::by_name("aarch64").unwrap();
        let packages = row.cross.as_ref().unwrap().debian_std.packages();
        assert_eq!(packages, ["rustc-web", "libstd-rust-web-dev:arm64"]);
        assert_eq!(DebianStd::Source.packages(), ["rustc-web", "rust-web-src"]);
    }
}
