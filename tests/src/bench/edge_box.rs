//! The real edge program with its own folder, configuration and virtual scanners.

use std::fmt::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::goods::Goods;
use crate::device::Pty;
use crate::real::Mosquitto;
use crate::real::process::{Child, Scratch};
use crate::site::{AGENT, SITE};

/// Longer than any start that is worth measuring.
const READY_WAIT: Duration = Duration::from_secs(30);
/// Longer than any flush.
const BELL_WAIT: Duration = Duration::from_secs(10);
const BELL: u8 = 7;

/// An edge box: its files stay over starts and kills.
pub(super) struct EdgeBox {
    program: PathBuf,
    scanners: Vec<Pty>,
    scale: Option<Pty>,
    child: Option<Child>,
    scratch: Scratch,
}

impl EdgeBox {
    /// Lays out a box with so many stations, each with one scanner that beeps. It knows the catalogue of `goods`.
    pub(super) fn new(program: PathBuf, broker: &Mosquitto, stations: usize, goods: &Goods) -> Result<Self> {
        Self::lay_out(program, broker, stations, goods, false)
    }

    /// The same, with a scale's port at the first station.
    pub(super) fn with_scale(
        program: PathBuf,
        broker: &Mosquitto,
        stations: usize,
        goods: &Goods,
    ) -> Result<Self> {
        Self::lay_out(program, broker, stations, goods, true)
    }

    fn lay_out(
        program: PathBuf,
        broker: &Mosquitto,
        stations: usize,
        goods: &Goods,
        with_scale: bool,
    ) -> Result<Self> {
        let scratch = Scratch::new("bench-box")?;
        let folder = scratch.path();
        let scanners = (0..stations)
            .map(|at| Pty::open(Some(&folder.join(format!("scanner-{at}")))))
            .collect::<Result<Vec<_>>>()?;
        let scale = with_scale.then(|| Pty::open(Some(&folder.join("scale")))).transpose()?;
        let mut config = format!(
            "[agent]\nid = \"{AGENT}\"\nsite = \"{SITE}\"\n[journal]\npath = {:?}\nquota_mib = 4096\n\
             [clock]\nsynchronized_file = \"\"\n[local]\nsocket = {:?}\n[log]\nlevel = \"warn\"\n",
            folder.join("journal.db"),
            folder.join("agent.sock"),
        );
        match broker.pki() {
            None => {
                write!(config, "[broker]\nhost = \"127.0.0.1\"\nport = {}\ntls = false\n", broker.port())?
            }
            Some(pki) => {
                let identity = pki.client(AGENT)?;
                write!(
                    config,
                    "[broker]\nhost = \"localhost\"\nport = {}\nca_file = {:?}\ncertificate_file = {:?}\nkey_file = {:?}\n",
                    broker.port(),
                    pki.ca(),
                    identity.certificate,
                    identity.key
                )?;
            }
        }
        for (at, scanner) in scanners.iter().enumerate() {
            write!(
                config,
                "[[station]]\nname = \"pack-{at}\"\n[station.scanner]\ndevice = \"scanner-{at}\"\nport = {:?}\n\
                 bounce_ms = 1\nfeedback = \"bell\"\n",
                scanner.port()
            )?;
            if let (0, Some(scale)) = (at, &scale) {
                write!(config, "[station.scale]\nport = {:?}\nprotocol = \"mt-sics\"\n", scale.port())?;
            }
        }
        std::fs::write(folder.join("agent.toml"), config).context("writing the agent's configuration")?;
        // Where the agent keeps the last complete one, so that scans are understood without a gateway.
        std::fs::write(folder.join("journal.db.catalogue"), goods.known()?.1)
            .context("writing the catalogue")?;
        Ok(Self { program, scanners, scale, child: None, scratch })
    }

    /// Its journal.
    pub(super) fn journal(&self) -> PathBuf {
        self.scratch.path().join("journal.db")
    }

    /// Starts the program; gives the time from before the start to its word that it is ready.
    pub(super) fn start(&mut self) -> Result<Duration> {
        let socket = self.scratch.path().join("notify.sock");
        // A socket of an earlier start.
        let _ = std::fs::remove_file(&socket);
        let notices = UnixDatagram::bind(&socket).context("the notification socket")?;
        notices.set_read_timeout(Some(READY_WAIT))?;
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(self.scratch.path().join("agent.toml"));
        command.env("NOTIFY_SOCKET", &socket).env_remove("WATCHDOG_USEC");
        let log = self.scratch.path().join("agent.log");
        let begun = Instant::now();
        let child = self.child.insert(Child::spawn("agent", command, &log)?);
        let mut buffer = [0; 1024];
        loop {
            let got = notices.recv(&mut buffer);
            let taken = begun.elapsed();
            let got = got.with_context(|| format!("the agent is not ready\n{}", child.log()))?;
            if buffer[..got].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return Ok(taken);
            }
        }
    }

    /// Its process.
    pub(super) fn process(&mut self) -> Result<u32> {
        let child = self.child.as_mut().context("the agent does not run")?;
        ensure!(child.is_running(), "the agent has ended\n{}", child.log());
        Ok(child.id())
    }

    /// As a power cut would.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.child.take().context("the agent does not run")?.kill9()
    }

    /// The scanners.
    pub(super) fn scanners(&mut self) -> &mut [Pty] {
        &mut self.scanners
    }

    /// The scale.
    pub(super) fn scale(&self) -> Option<&Pty> {
        self.scale.as_ref()
    }

    /// Scans a code and waits until the bells say that it was understood.
    pub(super) fn command(&mut self, code: &str) -> Result<()> {
        for scanner in &mut self.scanners {
            scanner.write(format!("{code}\r").as_bytes())?;
            let heard = scanner.read(BELL_WAIT)?;
            ensure!(heard == [BELL; 2], "{code}: heard {heard:?}, expected two bells");
        }
        Ok(())
    }
}

/// Waits for the one bell that says that a scan is on disk.
pub(super) fn hear_good(scanner: &mut Pty) -> Result<()> {
    match scanner.read(BELL_WAIT)?.as_slice() {
        [BELL] => Ok(()),
        [] => bail!("no bell"),
        other => bail!("heard {other:?}, expected one bell"),
    }
}

/// The agent as it goes onto the box: built with the profile `edge`.
pub(super) fn edge_program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    let folders = own.parent().and_then(Path::parent);
    let found = folders.map(|folder| folder.join("edge/stockwire-agent")).filter(|path| path.is_file());
    found.context("stockwire-agent is not built; run `cargo build -p stockwire-agent --profile edge`")
}
