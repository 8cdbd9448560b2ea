//! A bench for tests: the agent as a real process, with a scanner and a scale on pseudo terminals.

// Helpers of tests: a failing unwrap is a failing test. Not every test program uses all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serde_json::Value;
use stockwire_agent::catalogue::{Assembler, PartOutcome};
use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{Catalogue, CatalogueItem, ItemId, LocationId, SiteId, Uom};

/// Whatever is awaited comes within this, on a busy machine too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// A mug, by the piece.
pub(crate) const MUG: &str = "]E04006381333931";
/// Nuts, by weight.
pub(crate) const NUTS: &str = "]C10109506000134352";

/// Awaits a condition.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory of its own, removed at the end.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("stockwire-{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What a killed test leaves in the temporary directory is the system's to clean.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A device on a pseudo terminal, under a name that stays. Dropping it unplugs it.
pub(crate) struct Device {
    master: File,
    name: PathBuf,
}

impl Device {
    pub(crate) fn plug_in(name: &Path) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        // Raw from the start: a terminal echoes what comes before somebody opens it.
        let mut settings = tcgetattr(&master).unwrap();
        settings.make_raw();
        tcsetattr(&master, OptionalActions::Now, &settings).unwrap();
        let terminal = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        std::os::unix::fs::symlink(terminal, name).unwrap();
        Self { master: File::from(master), name: name.to_owned() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).unwrap();
    }

    /// What came back within the time.
    pub(crate) fn receive(&mut self, wait: Duration) -> Vec<u8> {
        let ready = {
            let mut fds = [PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)];
            let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
            poll(&mut fds, Some(&wait)).unwrap() > 0 && fds[0].revents().contains(PollFlags::IN)
        };
        let mut buffer = [0; 256];
        // While nobody has the other end open reading fails.
        let length = if ready { self.master.read(&mut buffer).unwrap_or(0) } else { 0 };
        buffer[..length].to_vec()
    }

    /// Awaits bytes.
    pub(crate) fn await_bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        until(&format!("{count} bytes written back"), || {
            bytes.extend(self.receive(Duration::from_millis(20)));
            (bytes.len() >= count).then(|| bytes.clone())
        })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        fs::remove_file(&self.name).unwrap();
    }
}

/// A scale that answers MT-SICS requests with one weight.
pub(crate) struct Scale {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scale {
    pub(crate) fn plug_in(name: &Path, answer: &'static [u8]) -> Self {
        let mut device = Device::plug_in(name);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                asked.extend(device.receive(Duration::from_millis(20)));
                while let Some(end) = asked.iter().position(|byte| *byte == b'\n') {
                    asked.drain(..=end);
                    device.send(answer);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Scale {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// An agent's surroundings.
pub(crate) struct Bench {
    pub(crate) directory: Directory,
    pub(crate) broker_port: u16,
}

impl Drop for Bench {
    fn drop(&mut self) {
        // The log goes with the directory, and is the first thing wanted when a test fails.
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// A running agent, killed when dropped.
pub(crate) struct Agent(pub(crate) Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bench {
    /// One station, its configuration and catalogue; no broker at the port.
    pub(crate) fn new(name: &str) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::with_broker(name, free)
    }

    pub(crate) fn with_broker(name: &str, broker_port: u16) -> Self {
        let directory = Directory::new(name);
        let root = directory.0.display();
        let config = format!(
            "[agent]\nid = \"box-1\"\nsite = \"HAM\"\n[journal]\npath = \"{root}/journal.db\"\nquota_mib = 16\n\
             [broker]\nhost = \"127.0.0.1\"\nport = {broker_port}\ntls = false\n[clock]\nsynchronized_file = \"\"\n\
             [local]\nsocket = \"{root}/agent.sock\"\n[log]\nlevel = \"debug\"\n\
             [[station]]\nname = \"bench-1\"\n[station.scanner]\nport = \"{root}/scanner\"\nfeedback = \"bell\"\n\
             bounce_ms = 0\n[station.scale]\nport = \"{root}/scale\"\n"
        );
        fs::write(directory.0.join("config.toml"), config).unwrap();
        fs::write(directory.0.join("journal.db.catalogue"), catalogue()).unwrap();
        Self { directory, broker_port }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }

    pub(crate) fn scanner(&self) -> Device {
        Device::plug_in(&self.path("scanner"))
    }

    pub(crate) fn scale(&self, answer: &'static [u8]) -> Scale {
        Scale::plug_in(&self.path("scale"), answer)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stockwire-agent"));
        command.arg("--config").arg(self.path("config.toml")).args(arguments);
        command
    }

    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts the agent; its log goes to `agent.log`.
    pub(crate) fn start(&self) -> Agent {
        let log = File::options().create(true).append(true).open(self.path("agent.log")).unwrap();
        let child = self.command(&["run"]).stdin(Stdio::null()).stderr(log).spawn().unwrap();
        Agent(child)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// The running agent's status, once it answers.
    pub(crate) fn status(&self) -> Value {
        until(&format!("the agent answers; {}", self.path("agent.log").display()), || {
            let output = self.output(&["status", "--json"]);
            serde_json::from_slice(&output.stdout).ok()
        })
    }

    /// Awaits a state of a device.
    pub(crate) fn await_device(&self, name: &str, state: &str) {
        until(&format!("{name} {state}"), || {
            let status = self.status();
            let devices = status["devices"].as_array().unwrap();
            let device = devices.iter().find(|device| device["name"] == name).unwrap();
            (device["state"]["kind"] == state).then_some(())
        });
    }

    pub(crate) fn scan(&self, scanner: &mut Device, code: &str) -> usize {
        scanner.send(format!("{code}\r").as_bytes());
        let mut bells = scanner.await_bytes(1).len();
        // Two or three; they may come in pieces.
        while bells < 3 {
            match scanner.receive(Duration::from_millis(100)).len() {
                0 => break,
                more => bells += more,
            }
        }
        bells
    }

    /// All events, as `journal export` gives them.
    pub(crate) fn export(&self) -> Vec<Value> {
        let output = self.output(&["journal", "export"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The file that an agent keeps of a complete catalogue.
fn catalogue() -> Vec<u8> {
    let site = SiteId::new("HAM").unwrap();
    match Assembler::new(site).handle_part(catalogue_part()) {
        PartOutcome::Complete { durable, .. } => durable,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn catalogue_part() -> Catalogue {
    let item = |id: &str, uom, gtin: &str| CatalogueItem {
        id: ItemId::new(id).unwrap(),
        name: id.to_lowercase(),
        uom,
        gtins: vec![Gtin::parse(gtin).unwrap()],
        codes: vec![],
        rules: stockwire_protocol::ItemRules::default(),
    };
    Catalogue {
        revision: 1,
        part: 0,
        parts: 1,
        site: SiteId::new("HAM").unwrap(),
        items: vec![item("MUG", Uom::Piece, "4006381333931"), item("NUTS", Uom::Kilogram, "9506000134352")],
        locations: ["A-01", "B-07"].map(|code| LocationId::new(code).unwrap()).to_vec(),
        since: None,
    }
}

pub(crate) fn terminate(agent: &mut Agent) -> std::process::ExitStatus {
    let pid = rustix::process::Pid::from_child(&agent.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    agent.0.wait().unwrap()
}
