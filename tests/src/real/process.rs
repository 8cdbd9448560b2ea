//! A child process that cannot outlive its test, and waiting that names what it waited for.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// Between two looks at a condition. Short against every start-up time here, long against the cost of a look.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How much of a log an error message shows: enough for a Python traceback.
const LOG_TAIL_LINES: usize = 30;
/// Time for a peer to end after SIGTERM before the group is killed.
const TERMINATE_GRACE: Duration = Duration::from_secs(5);

/// Where tests may listen.
const TEST_PORTS: std::ops::Range<u16> = 20_000..60_000;
/// On Linux's usual range one try in thirty is out of ours.
const FREE_PORT_TRIES: usize = 100;

/// A running program with its own process group and log file. Dropping it kills the whole group.
#[derive(Debug)]
pub struct Child {
    name: String,
    log: PathBuf,
    /// Length of the log before this start.
    log_start: u64,
    child: std::process::Child,
    group: Pid,
}

impl Child {
    /// Starts `command` with both outputs appended to `log` and nothing on its input.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening the log {}", log.display()))?;
        let log_start = out.metadata().context("measuring the log")?.len();
        let err = out.try_clone().context("sharing the log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        let group = Pid::from_child(&child);
        Ok(Self { name: name.to_owned(), log: log.to_owned(), log_start, child, group })
    }

    /// Waits until `probe` says yes. Fails at once when the program ends, and after `deadline` otherwise; either way the
    /// error shows the end of the log.
    pub fn wait_ready(&mut self, deadline: Duration, mut probe: impl FnMut(&Self) -> bool) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("asking for the exit status")? {
                bail!("{} ended with {status} before it was ready\n{}", self.name, self.log_tail());
            }
            if probe(self) {
                return Ok(());
            }
            if started.elapsed() > deadline {
                bail!("{} was not ready after {deadline:?}\n{}", self.name, self.log_tail());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Kills the process group with SIGKILL, as a power cut would, and waits for its end.
    pub fn kill9(&mut self) -> Result<()> {
        self.signal_group(Signal::KILL)?;
        self.child.wait().with_context(|| format!("waiting for {} to die", self.name))?;
        Ok(())
    }

    /// Stops the process group where it stands, with SIGSTOP.
    pub fn freeze(&self) -> Result<()> {
        kill_process_group(self.group, Signal::STOP).with_context(|| format!("stopping {}", self.name))
    }

    /// Lets it go on, with SIGCONT.
    pub fn thaw(&self) -> Result<()> {
        kill_process_group(self.group, Signal::CONT).with_context(|| format!("continuing {}", self.name))
    }

    /// Asks with SIGTERM for a clean end. What has not ended in time is killed, and that is an error.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal_group(Signal::TERM)?;
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("asking for the exit status")? {
                return Ok(status);
            }
            if started.elapsed() > TERMINATE_GRACE {
                self.kill9()?;
                bail!("{} ignored SIGTERM for {TERMINATE_GRACE:?}\n{}", self.name, self.log_tail());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Asks with SIGQUIT for an end at once and waits for it; dropping kills what has not ended by then.
    pub fn quit(&mut self, grace: Duration) {
        let started = Instant::now();
        if self.signal_group(Signal::QUIT).is_ok() {
            while self.is_running() && started.elapsed() < grace {
                std::thread::sleep(POLL_INTERVAL);
            }
        }
    }

    /// Whether the program is still there.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The operating system's number of the program, which is also that of its group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that this run of the program has printed so far; what is not UTF-8 is replaced.
    pub fn log(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.log).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.log_start))?;
            file.read_to_end(&mut bytes)
        });
        match read {
            Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("(the log {} cannot be read: {error})", self.log.display()),
        }
    }

    fn log_tail(&self) -> String {
        tail(&self.name, &self.log())
    }

    fn signal_group(&mut self, signal: Signal) -> Result<()> {
        // A group that is gone already is what we wanted.
        if self.child.try_wait().context("asking for the exit status")?.is_none() {
            match kill_process_group(self.group, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error).with_context(|| format!("signalling {}", self.name)),
            }
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Only while the leader has not been waited for can its number, hence the group's, not be somebody else's.
        if self.is_running() {
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Waits until `condition` gives a value; the error names `what` and the last answer.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let last = condition();
        if let Ok(Some(value)) = last {
            return Ok(value);
        }
        if started.elapsed() > deadline {
            return Err(timed_out(what, deadline, last.err()));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// [`wait_until`] for asynchronous conditions.
pub async fn eventually<T, F>(what: &str, deadline: Duration, mut condition: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let started = Instant::now();
    loop {
        let last = condition().await;
        if let Ok(Some(value)) = last {
            return Ok(value);
        }
        if started.elapsed() > deadline {
            return Err(timed_out(what, deadline, last.err()));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn timed_out(what: &str, deadline: Duration, last: Option<anyhow::Error>) -> anyhow::Error {
    match last {
        Some(error) => error.context(format!("{what}: still failing after {deadline:?}")),
        None => anyhow::anyhow!("{what}: not the case after {deadline:?}"),
    }
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(name: &str, log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
    format!("--- last lines of {name} ---\n{}\n---", shown.join("\n"))
}

/// A port on 127.0.0.1 that nobody listens on at this moment.
pub fn free_port() -> Result<u16> {
    // The kernel's own range goes a little beyond ours. The refused ones are held, so that each try is another.
    let mut refused = Vec::new();
    while refused.len() < FREE_PORT_TRIES {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("asking for a free port")?;
        let port = listener.local_addr().context("reading the port")?.port();
        if TEST_PORTS.contains(&port) {
            return Ok(port);
        }
        refused.push(listener);
    }
    bail!("no free port in {TEST_PORTS:?} after {FREE_PORT_TRIES} tries")
}

/// A private folder that goes away with its owner. It is kept when a test panics, so that its logs can be read.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a new folder that only this user may enter.
    pub fn new(name: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("stockwire-{name}-{}-{number}", std::process::id()));
        // A number that an earlier process had may have left one behind.
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("clearing {}", path.display()))?;
        }
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("peers: kept {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Writes a file that only this user may read.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    // Permissions first: a secret is never readable by others, not even for a moment.
    File::create(path)
        .and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o600)))
        .and_then(|()| fs::write(path, content))
        .with_context(|| format!("writing {}", path.display()))
}

/// 128 random bits as hexadecimal digits, for passwords that live as long as a test.
pub fn random_secret() -> Result<String> {
    let mut bytes = [0u8; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("reading random bytes")?;
    anyhow::ensure!(filled == bytes.len(), "the kernel gave {filled} random bytes");
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: &Path) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Child::spawn("shell", command, log).unwrap()
    }

    fn is_alive(process: i32) -> bool {
        // A zombie counts as dead: it holds nothing.
        fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn dropping_kills_grandchildren_too() {
        let scratch = Scratch::new("process").unwrap();
        let mut child = shell("sleep 600 & echo $!; wait", &scratch.path().join("log"));
        child.wait_ready(TERMINATE_GRACE, |child| child.log().ends_with('\n')).unwrap();
        let grandchild: i32 = child.log().trim().parse().unwrap();
        assert!(is_alive(grandchild));
        drop(child);
        wait_until("the grandchild is gone", TERMINATE_GRACE, || Ok((!is_alive(grandchild)).then_some(())))
            .unwrap();
    }

    #[test]
    fn a_child_that_ends_early_is_an_error_with_its_last_words() {
        let scratch = Scratch::new("process").unwrap();
        let log = scratch.path().join("log");
        let mut child = shell("echo first run; exit 0", &log);
        child.wait_ready(TERMINATE_GRACE, |_| false).unwrap_err();
        let mut child = shell("echo no such file >&2; exit 3", &log);
        let error = format!("{:#}", child.wait_ready(TERMINATE_GRACE, |_| false).unwrap_err());
        assert!(error.contains("shell ended with exit status: 3 before it was ready"), "{error}");
        assert!(error.contains("no such file") && !error.contains("first run"), "{error}");
    }

    #[test]
    fn a_deadline_names_what_was_awaited() {
        let soon = Duration::from_millis(1);
        let error = wait_until::<()>("the moon is full", soon, || Ok(None)).unwrap_err();
        assert_eq!(error.to_string(), "the moon is full: not the case after 1ms");
        let error = wait_until::<()>("the moon is full", soon, || bail!("clouds")).unwrap_err();
        assert_eq!(format!("{error:#}"), "the moon is full: still failing after 1ms: clouds");
    }

    #[test]
    fn secrets_are_private_and_differ() {
        let scratch = Scratch::new("process").unwrap();
        let file = scratch.path().join("secret");
        write_private(&file, random_secret().unwrap().as_bytes()).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(fs::read_to_string(&file).unwrap(), random_secret().unwrap());
    }
}
