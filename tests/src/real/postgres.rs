//! A real PostgreSQL on a private port, with every commit on the disk.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::install::{self, Tool};
use super::process::{Child, Scratch, free_port};

/// A new server is up within a second or two; a busy machine takes longer.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// An immediate shutdown ends within milliseconds; after this the server alone is killed.
const QUIT_GRACE: Duration = Duration::from_secs(5);
/// The name of our user and of its database.
const USER: &str = "stockwire";
/// Tests open a few connections each, and many run at once.
const CONNECTIONS_MAX: u32 = 200;

/// A server. Dropping it ends it at once and removes its folder.
pub struct Postgres {
    child: Child,
    port: u16,
    scratch: Scratch,
}

impl Postgres {
    /// Installs it when it is missing, makes a new cluster and starts it. Blocks for that long.
    pub fn start() -> Result<Self> {
        install::ensure(Tool::Postgres)?;
        let scratch = Scratch::new("postgres")?;
        let port = free_port()?;
        let data = scratch.path().join("data");
        std::fs::create_dir(&data).context("making the cluster's folder")?;
        give_away(scratch.path())?;
        let mut command = unprivileged(&program("initdb")?);
        command.arg("-D").arg(&data).args(["-U", USER, "-A", "trust", "--locale=C.UTF-8", "-E", "UTF8"]);
        let output = command.output().context("starting initdb")?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "initdb ended with {}\n{text}", output.status);
        let child = launch(scratch.path(), port)?;
        Ok(Self { child, port, scratch })
    }

    /// As a client is told of it: `host=.. port=.. user=.. dbname=..`.
    pub fn address(&self) -> String {
        self.address_at(self.port)
    }

    /// The same by way of something that stands in front of it on another port.
    pub fn address_at(&self, port: u16) -> String {
        format!("host=127.0.0.1 port={port} user={USER} dbname=postgres")
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it as a power cut would.
    pub fn kill9(&mut self) -> Result<()> {
        self.child.kill9()
    }

    /// Starts it again on the same port, after [`kill9`](Self::kill9).
    pub fn restart(&mut self) -> Result<()> {
        if self.child.is_running() {
            self.kill9()?;
        }
        // What is left of the killed one names a process that is gone.
        let _ = std::fs::remove_file(self.scratch.path().join("data/postmaster.pid"));
        self.child = launch(self.scratch.path(), self.port)?;
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its processes have groups of their own, which a kill of ours does not reach; on SIGQUIT it ends them itself.
        self.child.quit(QUIT_GRACE);
    }
}

fn launch(folder: &Path, port: u16) -> Result<Child> {
    let mut command = unprivileged(&program("postgres")?);
    command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
    // fsync and full_page_writes stay as they are: on.
    for setting in [
        format!("unix_socket_directories={}", folder.display()),
        format!("max_connections={CONNECTIONS_MAX}"),
    ] {
        command.args(["-c", &setting]);
    }
    let mut child = Child::spawn("postgres", command, &folder.join("postgres.log"))?;
    child.wait_ready(START_DEADLINE, |child| {
        child.log().contains("ready to accept connections") && TcpStream::connect(("127.0.0.1", port)).is_ok()
    })?;
    Ok(child)
}

/// PostgreSQL refuses to run as root: then its package's own user runs it.
fn unprivileged(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    // Our own folder may be closed to that user.
    command.current_dir("/");
    command
}

fn give_away(folder: &Path) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        let status = Command::new("chown").args(["-R", "postgres:postgres"]).arg(folder).status();
        let status = status.context("starting chown")?;
        ensure!(status.success(), "giving {} to PostgreSQL's user ended with {status}", folder.display());
    }
    Ok(())
}

/// Debian keeps each version's programs apart; the newest is taken.
fn program(name: &str) -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("looking for PostgreSQL's programs")?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            let path = entry.path().join("bin").join(name);
            path.is_file().then_some((version, path))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, path)| path).with_context(|| format!("there is no {name} below /usr/lib/postgresql"))
}
