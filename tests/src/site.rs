//! One whole site as processes: broker, gateway, agent with a virtual scanner and scale, beside an ERP and a shop.
//!
//! The binaries are the ones that a user runs; they are configured by files and spoken to through their own doors.

pub mod books;
mod keeper;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

pub use keeper::{Keeper, Outcome};

use crate::real::Mosquitto;
use crate::real::process::{Child, Scratch, eventually, free_port, write_private};

/// The agent's name.
pub const AGENT: &str = "box-ham-01";
/// Its site.
pub const SITE: &str = "HAM";
/// Name of the channel.
pub const CHANNEL: &str = "shop";

/// A debug build on a busy machine; a release build is there in a fraction of a second.
const START_WAIT: Duration = Duration::from_secs(30);

/// Where the ERP is.
#[derive(Clone, Debug)]
pub struct ErpDoor {
    /// Base address with the database's name.
    pub url: String,
    /// The key.
    pub key: String,
}

/// Where the shop is.
#[derive(Clone, Debug)]
pub struct ShopDoor {
    /// Base address.
    pub url: String,
    /// User of the Admin API.
    pub user: String,
    /// Its password.
    pub password: String,
}

/// Which broker is used.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one for each site, and a box would only be in the way"
)]
pub enum Broker {
    /// The one inside the gateway, without TLS, on loopback.
    Embedded,
    /// A real Mosquitto with mutual TLS.
    Mosquitto(Mosquitto),
}

/// The serial ports of the station.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The scanner's.
    pub scanner: PathBuf,
    /// Lines of the configuration that say how it speaks and signals; `BELL` for a plain one.
    pub scanner_lines: String,
    /// The scale's and its protocol.
    pub scale: Option<(PathBuf, String)>,
}

/// A line scanner with CR whose bell is heard.
pub const BELL: &str = "feedback = \"bell\"\n";

/// Processes, their configuration and their doors.
pub struct Site {
    /// The broker; killed and restarted by those who test that.
    pub broker: Broker,
    scratch: Scratch,
    http_port: u16,
    gateway: Option<Child>,
    agent: Option<Child>,
    client: reqwest::Client,
}

impl Site {
    /// Writes the configuration. Nothing is started yet.
    ///
    /// # Errors
    /// When a file cannot be written or no port can be had.
    pub fn new(broker: Broker, erp: &ErpDoor, shop: &ShopDoor, ports: &Ports) -> Result<Self> {
        let scratch = Scratch::new("site")?;
        let folder = scratch.path().to_path_buf();
        let http_port = free_port()?;
        write_private(&folder.join("erp.key"), erp.key.as_bytes())?;
        write_private(&folder.join("shop.password"), shop.password.as_bytes())?;
        let (mqtt, agent_broker) = match &broker {
            Broker::Embedded => {
                let port = free_port()?;
                let gateway = format!(
                    "[mqtt]\nport = {port}\n[broker]\nembedded = true\nlisten = \"127.0.0.1:{port}\"\n"
                );
                (gateway, format!("[broker]\nhost = \"127.0.0.1\"\nport = {port}\ntls = false\n"))
            }
            Broker::Mosquitto(mosquitto) => {
                let pki = mosquitto.pki().context("the broker must have certificates")?;
                let (port, ca) = (mosquitto.port(), pki.ca());
                let (gateway, agent) = (pki.client(crate::real::mosquitto::GATEWAY)?, pki.client(AGENT)?);
                let gateway = format!(
                    "[mqtt]\nhost = \"localhost\"\nport = {port}\n[mqtt.tls]\nca = {ca:?}\ncert = {:?}\nkey = {:?}\n",
                    gateway.certificate, gateway.key
                );
                let agent = format!(
                    "[broker]\nhost = \"localhost\"\nport = {port}\nca_file = {ca:?}\ncertificate_file = {:?}\nkey_file = {:?}\n",
                    agent.certificate, agent.key
                );
                (gateway, agent)
            }
        };
        let gateway = format!(
            "[http]\nlisten = \"127.0.0.1:{http_port}\"\n[store]\npath = {:?}\n{mqtt}\n\
             [erp]\nkind = \"tryton\"\nurl = {:?}\nkey_file = {:?}\n\
             [[channel]]\nname = \"{CHANNEL}\"\nkind = \"vendure\"\nurl = {:?}\nuser = {:?}\npassword_file = {:?}\nsites = [\"HAM\", \"MUC\"]\n",
            folder.join("gateway.db"),
            erp.url,
            folder.join("erp.key"),
            shop.url,
            shop.user,
            folder.join("shop.password"),
        );
        std::fs::write(folder.join("gateway.toml"), gateway)
            .context("writing the gateway's configuration")?;
        let scale = ports.scale.as_ref().map_or_else(String::new, |(port, protocol)| {
            format!("[station.scale]\nport = {port:?}\nprotocol = {protocol:?}\n")
        });
        let agent = format!(
            "[agent]\nid = \"{AGENT}\"\nsite = \"{SITE}\"\n[journal]\npath = {:?}\nquota_mib = 64\n{agent_broker}\n\
             [clock]\nsynchronized_file = \"\"\n[local]\nsocket = {:?}\n\
             [[station]]\nname = \"pack-1\"\n[station.scanner]\nport = {:?}\nbounce_ms = 1\n{}{scale}",
            folder.join("journal.db"),
            folder.join("agent.sock"),
            ports.scanner,
            ports.scanner_lines,
        );
        std::fs::write(folder.join("agent.toml"), agent).context("writing the agent's configuration")?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(150)).build()?;
        Ok(Self { broker, scratch, http_port, gateway: None, agent: None, client })
    }

    /// Where everything of this site lies.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Address of the console and the API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// Starts the gateway; it may take a while until it is [ready](Site::gateway_ready).
    ///
    /// # Errors
    /// When the program is not there.
    pub fn start_gateway(&mut self) -> Result<()> {
        let mut command = Command::new(program("stockwire-gateway")?);
        command.arg("run").arg("--config").arg(self.folder().join("gateway.toml"));
        self.gateway = Some(Child::spawn("gateway", command, &self.folder().join("gateway.log"))?);
        Ok(())
    }

    /// Waits until broker, ERP and books are there.
    ///
    /// # Errors
    /// When that does not come to be; the error shows the log.
    pub async fn gateway_ready(&mut self) -> Result<()> {
        let url = format!("{}/readyz", self.url());
        let ready = eventually("the gateway is ready", START_WAIT, || async {
            let answer = self.client.get(&url).send().await?;
            Ok(answer.status().is_success().then_some(()))
        });
        ready.await.with_context(|| self.logs())
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// When the program is not there.
    pub fn start_agent(&mut self) -> Result<()> {
        let mut command = Command::new(program("stockwire-agent")?);
        command.arg("run").arg("--config").arg(self.folder().join("agent.toml"));
        self.agent = Some(Child::spawn("agent", command, &self.folder().join("agent.log"))?);
        Ok(())
    }

    /// Waits until the agent answers and has a catalogue, so that it knows barcodes.
    ///
    /// # Errors
    /// When that does not come to be; the error shows the log.
    pub async fn agent_ready(&mut self) -> Result<()> {
        let ready = eventually("the agent has its catalogue", START_WAIT, || async {
            let status = self.agent_status()?;
            let items = status["catalogue"]["items"].as_u64().unwrap_or(0);
            Ok((items > 0).then_some(()))
        });
        ready.await.with_context(|| self.logs())
    }

    /// What `stockwire-agent status --json` says.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn agent_status(&self) -> Result<Value> {
        let mut command = Command::new(program("stockwire-agent")?);
        command.args(["status", "--json", "--config"]).arg(self.folder().join("agent.toml"));
        let output = command.output().context("asking the agent")?;
        // Its exit code tells how the agent is, which is in the answer as well.
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!("the agent's status: {}{}", output.status, String::from_utf8_lossy(&output.stderr))
        })
    }

    /// Runs a command of the agent with this site's configuration and gives what it prints.
    ///
    /// # Errors
    /// When it fails; its complaint is in the error.
    pub fn agent_command(&self, arguments: &[&str]) -> Result<String> {
        output("stockwire-agent", arguments, &self.folder().join("agent.toml"))
    }

    /// Runs a command of the gateway with this site's configuration and gives what it prints.
    ///
    /// # Errors
    /// When it fails; its complaint is in the error.
    pub fn gateway_command(&self, arguments: &[&str]) -> Result<String> {
        output("stockwire-gateway", arguments, &self.folder().join("gateway.toml"))
    }

    /// Asks the API.
    ///
    /// # Errors
    /// When it refuses; the problem is in the error.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.url())).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
    }

    /// Asks the API to do something.
    ///
    /// # Errors
    /// When it refuses; the problem is in the error.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.client.post(format!("{}{path}", self.url())).json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
    }

    /// Ends the gateway as a power cut would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_gateway(&mut self) -> Result<()> {
        self.gateway.take().context("the gateway does not run")?.kill9()
    }

    /// Ends the agent as a power cut would, as far as a process can show it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_agent(&mut self) -> Result<()> {
        self.agent.take().context("the agent does not run")?.kill9()
    }

    /// Ends the gateway by SIGTERM and checks that it ends well.
    ///
    /// # Errors
    /// When it does not run, had to be killed or ended badly.
    pub fn stop_gateway(&mut self) -> Result<()> {
        end("gateway", self.gateway.take().context("the gateway does not run")?)
    }

    /// Ends the agent by SIGTERM and checks that it ends well.
    ///
    /// # Errors
    /// When it does not run, had to be killed or ended badly.
    pub fn stop_agent(&mut self) -> Result<()> {
        end("agent", self.agent.take().context("the agent does not run")?)
    }

    /// Whether the gateway was started and not ended by us.
    ///
    /// # Errors
    /// When it ended by itself.
    pub fn gateway_runs(&mut self) -> Result<bool> {
        runs("gateway", &mut self.gateway)
    }

    /// Whether the agent was started and not ended by us.
    ///
    /// # Errors
    /// When it ended by itself.
    pub fn agent_runs(&mut self) -> Result<bool> {
        runs("agent", &mut self.agent)
    }

    /// Changes a configuration, `agent.toml` or `gateway.toml`, before the program is started.
    ///
    /// # Errors
    /// When the text to be replaced does not stand there once.
    pub fn configure(&self, name: &str, replace: &str, with: &str) -> Result<()> {
        let path = self.folder().join(name);
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {name}"))?;
        ensure!(text.matches(replace).count() == 1, "{replace:?} does not stand once in {name}:\n{text}");
        std::fs::write(&path, text.replace(replace, with)).with_context(|| format!("writing {name}"))
    }

    /// Has the gateway keep its books in a PostgreSQL instead of a file; before it is started.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn keep_books_in(&self, address: &str) -> Result<()> {
        let file = format!("path = {:?}", self.folder().join("gateway.db"));
        self.configure("gateway.toml", &file, &format!("postgres = {address:?}"))
    }

    /// Whether both programs run.
    pub fn is_running(&mut self) -> bool {
        let runs = |child: &mut Option<Child>| child.as_mut().is_none_or(Child::is_running);
        runs(&mut self.gateway) && runs(&mut self.agent)
    }

    /// Stops both cleanly, the agent first, and checks that they end well.
    ///
    /// # Errors
    /// When one had to be killed or ended badly.
    pub fn stop(&mut self) -> Result<()> {
        let (agent, gateway) = (self.agent.take(), self.gateway.take());
        agent.map_or(Ok(()), |agent| end("agent", agent))?;
        gateway.map_or(Ok(()), |gateway| end("gateway", gateway))
    }

    /// The end of both logs.
    pub fn logs(&self) -> String {
        let log = |name: &str| {
            let text = std::fs::read_to_string(self.folder().join(format!("{name}.log"))).unwrap_or_default();
            crate::real::process::tail(name, &text)
        };
        format!("{}\n{}", log("agent"), log("gateway"))
    }
}

fn end(name: &str, mut child: Child) -> Result<()> {
    let status: ExitStatus = child.terminate()?;
    ensure!(status.success(), "the {name} ended with {status}\n{}", child.log());
    Ok(())
}

fn runs(name: &str, child: &mut Option<Child>) -> Result<bool> {
    let Some(child) = child else { return Ok(false) };
    ensure!(child.is_running(), "the {name} ended by itself\n{}", child.log());
    Ok(true)
}

fn output(name: &str, arguments: &[&str], config: &Path) -> Result<String> {
    let output = Command::new(program(name)?).args(arguments).arg("--config").arg(config).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        let words = arguments.join(" ");
        bail!("{name} {words}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

/// Builds the agent and the gateway in the profile of the program that asks, so that they stand beside it; once in a
/// process.
///
/// # Errors
/// When they do not build; cargo has said why.
pub fn build() -> Result<()> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let build = || {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // With the tests among them cargo takes the same features of every dependency as it did for this program;
        // without, it would build the larger ones a second time.
        command.args(["build", "--locked", "--bins"]);
        command.args(["-p", "stockwire-agent", "-p", "stockwire-gateway", "-p", "stockwire-tests"]);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        forget_cargo(&mut command);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command.status().is_ok_and(|status| status.success())
    };
    ensure!(*DONE.get_or_init(build), "the agent and the gateway do not build");
    Ok(())
}

/// Takes out of a cargo's environment what another cargo told this program about itself. Build scripts of dependencies
/// look at some of it, and would have them compiled again whenever two commands differ in it.
pub fn forget_cargo(command: &mut Command) {
    let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| told.iter().any(|start| name.starts_with(start))) {
            command.env_remove(name);
        }
    }
}

/// A program of this workspace, built beside the one that asks.
///
/// # Errors
/// When it is not there; the error says how to build it.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    // Tests stand one folder deeper than programs.
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    let profile = if cfg!(debug_assertions) { "" } else { " --release" };
    found.with_context(|| format!("{name} is not built; run `cargo build{profile} -p {name}`"))
}
