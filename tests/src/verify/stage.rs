//! Running one stage's commands: output to a log, and what was counted in it.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::site::forget_cargo;

/// A stage under way.
pub(super) struct Running {
    root: PathBuf,
    log_path: PathBuf,
    log: RefCell<File>,
}

/// How a stage ended.
pub(super) struct Outcome {
    pub(super) name: &'static str,
    pub(super) took: Duration,
    pub(super) result: Result<u64>,
    pub(super) log: PathBuf,
}

/// What a command printed on standard output and standard error, in the order in which it came.
pub(super) struct Output {
    pub(super) text: String,
}

/// A line of life at least this often, because a silent minute looks like a hang.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);
/// How long to listen on after a program has ended: its last lines are in the pipe already.
const LINGER: Duration = Duration::from_secs(2);
/// Lines of the log shown when a stage fails: enough for an assertion and its context.
const SHOWN_LINES: usize = 60;

impl Running {
    pub(super) fn new(root: &Path, log_path: PathBuf) -> Result<Self> {
        let log = File::create(&log_path).with_context(|| format!("writing {}", log_path.display()))?;
        Ok(Self { root: root.into(), log_path, log: RefCell::new(log) })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Runs cargo in the workspace.
    pub(super) fn cargo(&self, arguments: &[&str]) -> Result<Output> {
        self.cargo_in(&self.root, arguments)
    }

    /// Runs cargo in the workspace with something in its environment.
    pub(super) fn cargo_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Result<Output> {
        self.cargo_at(&self.root, environment, arguments)
    }

    /// Runs cargo in a folder.
    pub(super) fn cargo_in(&self, folder: &Path, arguments: &[&str]) -> Result<Output> {
        self.cargo_at(folder, &[], arguments)
    }

    /// Runs cargo in a folder with something in its environment.
    pub(super) fn cargo_at(
        &self,
        folder: &Path,
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> Result<Output> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        self.command(folder, environment, Path::new(&cargo), &arguments)
    }

    /// Runs any program in the workspace.
    pub(super) fn program(&self, program: &Path, arguments: &[&OsStr]) -> Result<Output> {
        self.command(&self.root, &[], program, arguments)
    }

    fn command(
        &self,
        folder: &Path,
        environment: &[(&str, &str)],
        program: &Path,
        arguments: &[&OsStr],
    ) -> Result<Output> {
        let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
        let shown =
            format!("{} {}", program.file_name().unwrap_or_default().to_string_lossy(), words.join(" "));
        writeln!(self.log.borrow_mut(), "$ {shown}")?;
        // One pipe for both streams keeps their lines in order.
        let (reader, writer) = std::io::pipe().context("making a pipe")?;
        let mut command = Command::new(program);
        forget_cargo(&mut command);
        command.envs(environment.iter().copied());
        if folder != self.root {
            // A copy of the workspace has the same package names: in a shared folder its builds would pass for ours.
            command.env("CARGO_TARGET_DIR", folder.join("target"));
        }
        let mut child = command
            .args(arguments)
            .current_dir(folder)
            .env("CARGO_TERM_COLOR", "never")
            .stdin(Stdio::null())
            .stdout(writer.try_clone().context("sharing a pipe")?)
            .stderr(writer)
            .spawn()
            .with_context(|| format!("starting {shown}"))?;
        // It holds the pipe's writing end, and while anybody does, reading does not end.
        drop(command);
        let mut text = String::new();
        let (started, mut told) = (Instant::now(), Instant::now());
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let read = BufReader::new(reader).split(b'\n').map_while(std::result::Result::ok);
            // Nobody listens any more once the program has ended.
            read.take_while(|line| send.send(line.clone()).is_ok()).for_each(drop);
        });
        loop {
            let line = match lines.recv_timeout(LINGER) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => break,
                // Something that it started may outlive it and hold the pipe; that must not hold us.
                Err(RecvTimeoutError::Timeout) if child.try_wait()?.is_some() => break,
                Err(RecvTimeoutError::Timeout) => continue,
            };
            let line = String::from_utf8_lossy(&line);
            writeln!(self.log.borrow_mut(), "{line}")?;
            text.push_str(&line);
            text.push('\n');
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                let brief: String = line.trim().chars().filter(|c| !c.is_control()).take(90).collect();
                println!("   {:>4} s  {brief}", started.elapsed().as_secs());
            }
        }
        let status = child.wait().with_context(|| format!("waiting for {shown}"))?;
        if !status.success() {
            bail!("`{shown}` ended with {status}");
        }
        Ok(Output { text })
    }
}

impl Outcome {
    /// One line when it went well, the end of the log when it did not.
    pub(super) fn print(&self) {
        match &self.result {
            Ok(count) => println!("   passed: {count} in {:.1} s", self.took.as_secs_f64()),
            Err(fault) => {
                println!("   FAILED: {fault:#}");
                let text = std::fs::read_to_string(&self.log).unwrap_or_default();
                for line in telling(&text) {
                    println!("   | {line}");
                }
            }
        }
    }
}

/// The lines of a log that say why it failed: what the failed tests said of themselves, for the end of a log with
/// many test binaries in it speaks of those that passed; the end where no test says anything.
fn telling(log: &str) -> Vec<&str> {
    let mut failed = Vec::new();
    let mut within = false;
    for line in log.lines() {
        if line.starts_with("---- ") {
            within = true;
        } else if line == "failures:" || line.starts_with("test result: ") {
            within = false;
        }
        if within && !line.is_empty() || line.starts_with("test ") && line.ends_with(" ... FAILED") {
            failed.push(line);
        }
    }
    if failed.is_empty() {
        failed = log.lines().collect();
        failed.drain(..failed.len().saturating_sub(SHOWN_LINES));
    }
    failed.truncate(SHOWN_LINES);
    failed
}

impl Output {
    /// How many tests passed, over all of cargo's test binaries; none at all is a failure.
    pub(super) fn tests(&self) -> Result<u64> {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
        let mut sum = 0;
        for line in lines {
            let count = line.split(' ').next().unwrap_or_default();
            sum += count.parse::<u64>().with_context(|| format!("reading a count in {line:?}"))?;
        }
        if sum == 0 {
            bail!("no test ran");
        }
        Ok(sum)
    }

    /// The number that stands before a text, such as `2000` in `2000 seeds passed`.
    pub(super) fn number_before(&self, text: &str) -> Result<u64> {
        let at = self.text.find(text).with_context(|| format!("the output does not say {text:?}"))?;
        let word = self.text[..at].split_whitespace().last().unwrap_or_default();
        word.parse().with_context(|| format!("{word:?} before {text:?} is no number"))
    }

    /// A number of the last line that is a JSON object.
    pub(super) fn json_number(&self, key: &str) -> Result<u64> {
        let line =
            self.text.lines().rev().find(|line| line.starts_with('{')).context("no JSON line was printed")?;
        let value: serde_json::Value = serde_json::from_str(line).context("reading the JSON line")?;
        value
            .get(key)
            .and_then(serde_json::Value::as_u64)
            .with_context(|| format!("no number {key:?} in {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_test_is_shown_whatever_passed_after_it() {
        let passed = "test good ... ok\n\ntest result: ok. 1 passed\n".repeat(100);
        let failed = "test bad ... FAILED\n\nfailures:\n\n---- bad stdout ----\n\nthread 'bad' panicked:\n  left: 1\n\n\
                      \nfailures:\n    bad\n\ntest result: FAILED. 0 passed; 1 failed\n";
        let log = format!("{passed}{failed}{passed}");
        let expected = ["test bad ... FAILED", "---- bad stdout ----", "thread 'bad' panicked:", "  left: 1"];
        assert_eq!(telling(&log), expected);
        assert_eq!(telling("error: could not compile\n"), ["error: could not compile"]);
        assert_eq!(telling(&passed).len(), SHOWN_LINES);
    }
}
