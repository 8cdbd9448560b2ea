//! A real Mosquitto on a private port: MQTT 5, mutual TLS, and rights for each agent by its certificate.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::install::{self, Tool};
use super::pki::Pki;
use super::process::{Child, Scratch, free_port, write_private};

/// The common name of the gateway's certificate.
pub const GATEWAY: &str = "gateway";

/// Mosquitto is up within 0.1 s on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// Whether the broker keeps sessions and queued messages over a restart. Nothing that we promise depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Everything is forgotten with the process: the harder case.
    Off,
    /// Written to disk at every change.
    On,
}

/// An agent that may connect, and the site that it may speak for.
#[derive(Debug, Clone, Copy)]
pub struct Agent<'a> {
    /// `HAM`
    pub site: &'a str,
    /// `ham-01`: the common name of its certificate.
    pub id: &'a str,
}

/// A broker. Dropping it kills it and removes its folder.
pub struct Mosquitto {
    child: Child,
    scratch: Scratch,
    port: u16,
    pki: Option<Pki>,
}

impl Mosquitto {
    /// With mutual TLS: an agent may publish below `stockwire/v1/SITE/AGENT/up/` and read below `.../down/`, the gateway
    /// the other way round for all. Everything else is refused.
    pub fn start(agents: &[Agent<'_>], persistence: Persistence) -> Result<Self> {
        let scratch = Scratch::new("mosquitto")?;
        let pki = Pki::create(&scratch.path().join("pki"))?;
        let acl = scratch.path().join("acl");
        write_private(&acl, rights(agents).as_bytes())?;
        let server = pki.server();
        let security = format!(
            "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\nuse_identity_as_username true\n\
             allow_anonymous false\nacl_file {}\n",
            pki.ca().display(),
            server.certificate.display(),
            server.key.display(),
            acl.display()
        );
        Self::start_with(scratch, &security, persistence, Some(pki))
    }

    /// Without TLS and rights, for quick tests and for measuring.
    pub fn start_plain(persistence: Persistence) -> Result<Self> {
        Self::start_with(Scratch::new("mosquitto")?, "allow_anonymous true\n", persistence, None)
    }

    /// The same, sending each message at once. By itself Mosquitto lets a small one wait until the one before it is
    /// confirmed by TCP, which an idle peer does after 40 ms.
    pub fn start_plain_nodelay(persistence: Persistence) -> Result<Self> {
        let options = "allow_anonymous true\nset_tcp_nodelay true\n";
        Self::start_with(Scratch::new("mosquitto")?, options, persistence, None)
    }

    /// Whether it is there.
    pub fn is_running(&mut self) -> bool {
        self.child.is_running()
    }

    /// Kills it as a power cut would.
    pub fn kill9(&mut self) -> Result<()> {
        self.child.kill9()
    }

    /// Ends it cleanly: with persistence it saves its state.
    pub fn stop(&mut self) -> Result<()> {
        self.child.terminate().map(drop)
    }

    /// Starts it again on the same port with the same certificates, after [`kill9`](Self::kill9) or
    /// [`stop`](Self::stop).
    pub fn restart(&mut self) -> Result<()> {
        if self.child.is_running() {
            self.kill9()?;
        }
        self.child = launch(self.scratch.path(), self.port)?;
        Ok(())
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The authority that made its certificates; absent without TLS.
    pub fn pki(&self) -> Option<&Pki> {
        self.pki.as_ref()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.child.log()
    }

    fn start_with(
        scratch: Scratch,
        security: &str,
        persistence: Persistence,
        pki: Option<Pki>,
    ) -> Result<Self> {
        install::ensure(Tool::Mosquitto)?;
        let port = free_port()?;
        let store = match persistence {
            Persistence::Off => "persistence false\n".to_owned(),
            Persistence::On => {
                let folder = scratch.path().display();
                format!(
                    "persistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n"
                )
            }
        };
        // Started by root it would become the user `mosquitto`, who may not read our files.
        let user = if rustix::process::geteuid().is_root() { "user root\n" } else { "" };
        let config = format!("listener {port} 127.0.0.1\nlog_dest stderr\n{user}{security}{store}");
        write_private(&config_path(scratch.path()), config.as_bytes())?;
        let child = launch(scratch.path(), port)?;
        Ok(Self { child, scratch, port, pki })
    }
}

fn rights(agents: &[Agent<'_>]) -> String {
    let mut acl =
        format!("user {GATEWAY}\ntopic read stockwire/v1/+/+/up/#\ntopic write stockwire/v1/+/+/down/#\n");
    for Agent { site, id } in agents {
        let own = format!("stockwire/v1/{site}/{id}");
        acl.push_str(&format!("\nuser {id}\ntopic write {own}/up/#\ntopic read {own}/down/#\n"));
    }
    acl
}

fn launch(folder: &Path, port: u16) -> Result<Child> {
    let mut command = Command::new(program()?);
    command.arg("-c").arg(config_path(folder));
    let mut child = Child::spawn("mosquitto", command, &folder.join("mosquitto.log"))?;
    // Its own word first: the port alone could be answered by somebody who took it in the meantime.
    child.wait_ready(START_DEADLINE, |child| {
        child.log().contains(" running") && TcpStream::connect(("127.0.0.1", port)).is_ok()
    })?;
    Ok(child)
}

fn config_path(folder: &Path) -> PathBuf {
    folder.join("mosquitto.conf")
}

/// Debian puts it where the path of an ordinary user may not look.
fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("mosquitto"))
        .find(|file| file.is_file())
        .context("mosquitto is neither on the path nor in /usr/sbin")
}
