//! Every parser of bytes from outside, under libFuzzer for a while.
//!
//! Not part of a plain run: `cargo verify --stage fuzz`. `STOCKWIRE_FUZZ_SECONDS` is the time for each target. The fewest
//! inputs that reach all code that was ever reached are kept in `tests/fuzz/corpus`, one line of hex each, and are where
//! the next run begins.

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
        let kept = folder.join("corpus").join(format!("{target}.hex"));
        let working = stage.root().join("target/fuzz").join(target);
        unpack(&kept, &working).with_context(|| format!("unpacking {}", kept.display()))?;
        let place = working.to_string_lossy();
        let limits = [
            format!("-max_total_time={seconds}"),
            format!("-rss_limit_mb={MEMORY_MIB}"),
            format!("-max_len={INPUT_BYTES_MAX}"),
            format!("-timeout={INPUT_SECONDS_MAX}"),
        ];
        let common = ["--fuzz-dir", "tests/fuzz", "--sanitizer", "none", target, &place, "--"];
        let limits: Vec<&str> = limits.iter().map(String::as_str).collect();
        let path = with_folder_first(&driver)?;
        // The flags that libFuzzer needs are not stable ones.
        let environment = [("PATH", path.as_str()), ("RUSTC_BOOTSTRAP", "1")];
        stage.cargo_with(&environment, &[&["fuzz", "run"], &common[..], &limits].concat())?;
        // By code reached and not by how often: that is a tenth of the inputs.
        stage.cargo_with(&environment, &[&["fuzz", "cmin"], &common[..], &["-use_counters=0"]].concat())?;
        pack(&working, &kept).with_context(|| format!("keeping {}", kept.display()))?;
    }
    Ok(targets.len() as u64)
}

/// Makes a file of each line, beside what is there already.
fn unpack(kept: &Path, working: &Path) -> Result<()> {
    std::fs::create_dir_all(working)?;
    let text = match std::fs::read_to_string(kept) {
        Ok(text) => text,
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(fault) => return Err(fault.into()),
    };
    for (at, line) in text.lines().enumerate() {
        let bytes = hex::decode(line).with_context(|| format!("line {}", at + 1))?;
        std::fs::write(working.join(format!("kept-{at:05}")), bytes)?;
    }
    Ok(())
}

/// Makes a line of each file, the shortest first, so that two runs differ in what they found and nothing else.
fn pack(working: &Path, kept: &Path) -> Result<()> {
    let inputs = std::fs::read_dir(working)?.map(|entry| Ok(std::fs::read(entry?.path())?));
    let mut inputs: Vec<Vec<u8>> = inputs.collect::<Result<_>>()?;
    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    inputs.dedup();
    let lines: String = inputs.iter().map(|input| format!("{}\n", hex::encode(input))).collect();
    if let Some(folder) = kept.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(kept, lines)?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::process::Scratch;

    #[test]
    fn what_is_kept_is_unpacked_as_it_was() {
        let scratch = Scratch::new("corpus").unwrap();
        let (kept, working) = (scratch.path().join("corpus/scan.hex"), scratch.path().join("working"));
        unpack(&kept, &working).unwrap();
        for (name, bytes) in [("a", &b"\x1d01"[..]), ("b", b""), ("c", b"\x1d01"), ("d", b"\xff")] {
            std::fs::write(working.join(name), bytes).unwrap();
        }
        pack(&working, &kept).unwrap();
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "\nff\n1d3031\n");
        let again = scratch.path().join("again");
        unpack(&kept, &again).unwrap();
        pack(&again, &kept).unwrap();
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "\nff\n1d3031\n");
    }
}
