//! Where it was measured: a number without its machine, command and load is worth nothing.

use std::fmt::{self, Display};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// The machine and the moment.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// UTC.
    pub at: String,
    /// As typed.
    pub command: String,
    /// What was built, as git names it; `-dirty` when files differ from it.
    pub commit: String,
    /// Whether the compiler optimised.
    pub release: bool,
    /// Model and number of processors.
    pub processor: String,
    /// Name and version of the kernel.
    pub kernel: String,
    /// Kind of the file system under the journals, and where it is mounted.
    pub disk: String,
    /// Processes that ran or wanted to, over 1, 5 and 15 minutes, when it began.
    pub load_before: String,
    /// The same when it ended.
    pub load_after: String,
}

impl Machine {
    /// Looks around.
    pub fn look() -> Self {
        Self {
            at: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            command: command(),
            commit: commit(),
            release: !cfg!(debug_assertions),
            processor: processor(),
            kernel: read("/proc/sys/kernel/ostype") + " " + &read("/proc/sys/kernel/osrelease"),
            disk: disk(&std::env::temp_dir()),
            load_before: load(),
            load_after: String::new(),
        }
    }

    /// To be called at the end.
    pub fn finish(&mut self) {
        self.load_after = load();
    }
}

impl Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "at         {}", self.at)?;
        writeln!(f, "command    {}", self.command)?;
        let build = if self.release { "release" } else { "DEBUG BUILD: these numbers mean nothing" };
        writeln!(f, "commit     {}, {build}", self.commit)?;
        writeln!(f, "processor  {}", self.processor)?;
        writeln!(f, "kernel     {}", self.kernel)?;
        writeln!(f, "disk       {}", self.disk)?;
        writeln!(f, "load       {} before, {} after", self.load_before, self.load_after)
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// By its name only: where the tree lies is nobody's business.
fn command() -> String {
    let mut words: Vec<String> = std::env::args().collect();
    if let Some(first) = words.first_mut() {
        *first =
            Path::new(first).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    }
    words.join(" ")
}

fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=10"]).output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model.trim());
    let count = std::thread::available_parallelism().map_or(1, |count| count.get());
    format!("{model}, {count} processors")
}

fn load() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The mount that the folder lies on is the one with the longest matching name.
fn disk(folder: &Path) -> String {
    let mounts = read("/proc/mounts");
    let found = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (place, kind) = (words.next()?, words.next()?);
            folder.starts_with(place).then_some((place, kind))
        })
        .max_by_key(|(place, _)| place.len());
    let Some((place, kind)) = found else { return "unknown".to_owned() };
    let warning =
        if kind == "tmpfs" { ": MEMORY, flushes cost nothing there; set TMPDIR to a disk" } else { "" };
    format!("{kind} at {place}{warning}")
}
