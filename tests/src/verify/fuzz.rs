//! Every parser of bytes from outside, under libFuzzer for a while.
//!
//! Not part of a plain run: `cargo verify --stage fuzz`. `STOCKWIRE_FUZZ_SECONDS` is the time for each target. Inputs that
//! reached new code are kept under `tests/fuzz/corpus` and are where the next run begins.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::stage::Running;

/// Seconds for each target when nothing else is said.
const SECONDS: u64 = 60;
/// A parser that holds more has lost its bound: the largest message is 64 KiB. libFuzzer's own tables are in it.
const MEMORY_MIB: u64 = 1_024;
/// The largest message there is, and somewhat more.
const INPUT_BYTES_MAX: u64 = 70_000;
/// An input that takes longer is one that an attacker would send twice.
const INPUT_SECONDS_MAX: u64 = 5;
/// The driver of libFuzzer, by name and version.
const CARGO_FUZZ: (&str, &str) = ("cargo-fuzz", "0.13.2");

/// Runs each target; counts them.
pub(super) fn run(stage: &Running) -> Result<u64> {
    let seconds = match std::env::var("STOCKWIRE_FUZZ_SECONDS") {
        Ok(text) => text.parse().context("STOCKWIRE_FUZZ_SECONDS is no number of seconds")?,
        Err(_) => SECONDS,
    };
    let driver = driver(stage)?;
    let folder = stage.root().join("tests/fuzz");
    let mut targets: Vec<String> = std::fs::read_dir(folder.join("targets"))?
        .map(|entry| Ok(entry?.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    targets.sort();
    ensure!(!targets.is_empty(), "there are no targets in {}", folder.display());
    for target in &targets {
        println!("   {target}, {seconds} s");
        let limits = [
            format!("-max_total_time={seconds}"),
            format!("-rss_limit_mb={MEMORY_MIB}"),
            format!("-max_len={INPUT_BYTES_MAX}"),
            format!("-timeout={INPUT_SECONDS_MAX}"),
        ];
        let mut arguments =
            vec!["fuzz", "run", "--fuzz-dir", "tests/fuzz", "--sanitizer", "none", target, "--"];
        arguments.extend(limits.iter().map(String::as_str));
        let path = with_folder_first(&driver)?;
        // The flags that libFuzzer needs are not stable ones.
        stage.cargo_with(&[("PATH", &path), ("RUSTC_BOOTSTRAP", "1")], &arguments)?;
    }
    Ok(targets.len() as u64)
}

/// The folder that holds the driver, installed when it is not there.
fn driver(stage: &Running) -> Result<PathBuf> {
    let root = stage.root().join("target/tools");
    let bin = root.join("bin");
    if !bin.join(CARGO_FUZZ.0).is_file() {
        let place = root.to_string_lossy();
        stage.cargo(&["install", CARGO_FUZZ.0, "--version", CARGO_FUZZ.1, "--locked", "--root", &place])?;
    }
    Ok(bin)
}

fn with_folder_first(folder: &Path) -> Result<String> {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&rest));
    let joined = std::env::join_paths(folders).context("joining PATH")?;
    joined.into_string().ok().context("PATH is no text")
}
