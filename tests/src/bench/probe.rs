//! What the kernel tells about processes and disks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use super::pairs::micros_since;

/// A movement's row in the journal with its frame's share: what the limit writes.
const RECORD_BYTES: usize = 176;
/// Written again and again from the start, as the journal's log is.
const FILE_BYTES: usize = 4 * 1024 * 1024;
/// A kernel reports the times of a process in hundredths of a second, on every architecture that we know.
const TICKS_PER_SECOND: f64 = 100.0;

/// The limit of a durable write: overwrite a few bytes of a file that has all its blocks, and flush.
pub(super) struct PlainDisk {
    file: File,
    at: usize,
}

impl PlainDisk {
    /// Makes the file beside whatever is compared with it.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file =
            File::options().read(true).write(true).create_new(true).open(path).context("the limit's file")?;
        file.write_all_at(&vec![0; FILE_BYTES], 0)?;
        file.sync_all()?;
        Ok(Self { file, at: 0 })
    }

    /// One write and one flush, in microseconds.
    pub(super) fn write(&mut self) -> Result<f64> {
        if self.at + RECORD_BYTES > FILE_BYTES {
            self.at = 0;
        }
        let begun = Instant::now();
        self.file.write_all_at(&[0x5a; RECORD_BYTES], self.at as u64)?;
        // `fdatasync`, as in a journal: the length does not change.
        self.file.sync_data()?;
        self.at += RECORD_BYTES;
        Ok(micros_since(begun))
    }
}

/// Nanoseconds that the calling thread has spent on a processor.
pub(super) fn thread_cpu_ns() -> Result<u64> {
    let text =
        fs::read_to_string("/proc/thread-self/schedstat").context("reading this thread's processor time")?;
    text.split(' ').next().and_then(|first| first.parse().ok()).context("the first number of schedstat")
}

/// A line such as `VmRSS: 1234 kB` of a process's status, in bytes.
pub(super) fn status_bytes(process: u32, key: &str) -> Result<f64> {
    let value = status(&format!("/proc/{process}/status"), key)?;
    let kib = value.strip_suffix(" kB").with_context(|| format!("{key} is {value:?}"))?;
    Ok(kib.trim().parse::<f64>()? * 1024.0)
}

/// How often each thread of a process has gone to sleep by itself: each time something had woken it up.
#[derive(Debug)]
pub(super) struct WakeUps(BTreeMap<PathBuf, u64>);

impl WakeUps {
    /// So far.
    pub(super) fn of(process: u32) -> Result<Self> {
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{process}/task")).context("listing threads")? {
            let file = thread?.path().join("status");
            // It may have ended since it was listed; then it is one that came and went.
            let Ok(text) = fs::read_to_string(&file) else { continue };
            let count = value(&text, "voluntary_ctxt_switches").context("a thread's count")?.parse()?;
            threads.insert(file, count);
        }
        Ok(Self(threads))
    }

    /// Since then. A thread that has ended woke up for that at least, and took its other wake-ups along.
    pub(super) fn since(&self, before: &Self) -> u64 {
        let ended = before.0.keys().filter(|thread| !self.0.contains_key(*thread)).count() as u64;
        let grown =
            self.0.iter().map(|(thread, now)| now - before.0.get(thread).copied().unwrap_or(0).min(*now));
        grown.sum::<u64>() + ended
    }
}

/// Seconds that a process has spent on processors.
pub(super) fn cpu_seconds(process: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).context("reading a process's times")?;
    // The name in brackets may hold anything, spaces too.
    let (_, rest) = text.rsplit_once(") ").context("the name ends")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let ticks = |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok()).context("a time");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn status(file: &str, key: &str) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
    value(&text, key).map(str::to_owned).with_context(|| format!("{file} has no {key}"))
}

fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_about_ourselves() {
        let own = std::process::id();
        let (now, most) = (status_bytes(own, "VmRSS").unwrap(), status_bytes(own, "VmHWM").unwrap());
        assert!(now > 0.0 && most >= now, "{now} {most}");
        assert!(cpu_seconds(own).unwrap() >= 0.0);
        let before = thread_cpu_ns().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(thread_cpu_ns().unwrap() >= before);
    }

    #[test]
    fn wake_ups_are_counted_per_thread_though_threads_come_and_go() {
        let own = std::process::id();
        let before = WakeUps::of(own).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(WakeUps::of(own).unwrap().since(&before) > 0, "this thread slept");
        let counts = |counts: &[(&str, u64)]| {
            WakeUps(counts.iter().map(|(thread, count)| (PathBuf::from(thread), *count)).collect())
        };
        let (before, after) = (counts(&[("1", 5), ("2", 100)]), counts(&[("1", 8), ("3", 2)]));
        assert_eq!(
            after.since(&before),
            3 + 2 + 1,
            "the first slept thrice, the third twice, the second ended"
        );
    }
}
