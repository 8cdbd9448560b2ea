//! Several gateways over one PostgreSQL and one Mosquitto, as processes that can be killed, stopped and cut off.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::peers::Peers;
use crate::real::cable::Cable;
use crate::real::mosquitto::Persistence;
use crate::real::process::{Child, Scratch, eventually, free_port, tail, write_private};
use crate::real::{Mosquitto, Postgres, World};
use crate::site::{self, CHANNEL, program};

/// How many there are.
pub const REPLICAS: usize = 3;
/// A debug build on a busy machine, with the catalogue to be read and the books to be opened by one of them.
const START_WAIT: Duration = Duration::from_secs(60);

/// The replicas with everything that they share.
pub struct Replicas {
    /// ERP and shop.
    pub peers: Peers,
    /// What agents connect to.
    pub broker: Mosquitto,
    /// Gateways.
    pub all: Vec<Replica>,
    client: reqwest::Client,
    // Last, so that they outlive who uses them.
    _postgres: Postgres,
    _scratch: Scratch,
}

/// One gateway.
pub struct Replica {
    /// Its client identifier.
    pub name: String,
    /// Its way to the database.
    pub database: Cable,
    http_port: u16,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Replicas {
    /// Starts everything but agents, and waits until every replica is ready.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(world: &World) -> Result<Self> {
        block_in_place(site::build)?;
        let postgres = block_in_place(Postgres::start)?;
        let broker = block_in_place(|| Mosquitto::start_plain(Persistence::Off))?;
        let peers = Peers::stand_in(world).await?;
        let scratch = Scratch::new("replicas")?;
        let (erp, shop) = (peers.erp_door(), peers.shop_door()?);
        write_private(&scratch.path().join("erp.key"), erp.key.as_bytes())?;
        write_private(&scratch.path().join("shop.password"), shop.password.as_bytes())?;
        let mut all = Vec::new();
        for n in 1..=REPLICAS {
            let name = format!("gateway-{n}");
            let database = Cable::to(postgres.port()).await?;
            let http_port = free_port()?;
            let [key, password] = ["erp.key", "shop.password"].map(|file| scratch.path().join(file));
            let text = format!(
                "[http]\nlisten = \"127.0.0.1:{http_port}\"\n[store]\npostgres = {:?}\n\
                 [mqtt]\nport = {}\nclient_id = {name:?}\n\
                 [erp]\nkind = \"tryton\"\nurl = {:?}\nkey_file = {key:?}\n\
                 [[channel]]\nname = \"{CHANNEL}\"\nkind = \"vendure\"\nurl = {:?}\nuser = {:?}\n\
                 password_file = {password:?}\nsites = [\"HAM\", \"MUC\"]\n",
                postgres.address_at(database.port()),
                broker.port(),
                erp.url,
                shop.url,
                shop.user,
            );
            let config = scratch.path().join(format!("{name}.toml"));
            std::fs::write(&config, text).context("writing a gateway's configuration")?;
            let log = scratch.path().join(format!("{name}.log"));
            all.push(Replica { name, database, http_port, config, log, child: None });
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build()?;
        let mut replicas = Self { peers, broker, all, client, _postgres: postgres, _scratch: scratch };
        // All at once: the schema, the catalogue and the opening of the books are for one of them.
        replicas.all.iter_mut().try_for_each(Replica::start)?;
        replicas.ready().await?;
        Ok(replicas)
    }

    /// Waits until each of them is ready.
    ///
    /// # Errors
    /// When that does not come to be; the error shows the logs.
    pub async fn ready(&self) -> Result<()> {
        for replica in &self.all {
            let (url, what) = (format!("{}/readyz", replica.url()), format!("{} is ready", replica.name));
            let ready = eventually(&what, START_WAIT, || async {
                Ok(self.client.get(&url).send().await?.status().is_success().then_some(()))
            });
            ready.await.with_context(|| self.logs())?;
        }
        Ok(())
    }

    /// Asks one of them.
    ///
    /// # Errors
    /// When it refuses or is not there.
    pub async fn get(&self, replica: usize, path: &str) -> Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.all[replica].url())).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
    }

    /// Who has a lease, by what each that runs says of itself; names in order.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn holders(&self, lease: &str) -> Result<Vec<String>> {
        let mut holders = Vec::new();
        for replica in self.all.iter().filter(|replica| replica.child.is_some()) {
            let page = self.client.get(format!("{}/metrics", replica.url())).send().await?.text().await?;
            if page.contains(&format!("stockwire_lease_held{{lease={lease:?}}} 1\n")) {
                holders.push(replica.name.clone());
            }
        }
        Ok(holders)
    }

    /// What `verify-books` counts: events. The books must be right.
    ///
    /// # Errors
    /// When they are not.
    pub fn verified_events(&self) -> Result<u64> {
        let mut command = Command::new(program("stockwire-gateway")?);
        command.args(["verify-books", "--json", "--config"]).arg(&self.all[0].config);
        let output = command.output().context("verifying the books")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let report: Value = serde_json::from_str(&text)
            .with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))?;
        ensure!(output.status.success() && report["right"] == true, "the books are wrong: {report}");
        report["events"].as_u64().context("events")
    }

    /// Stops all of them cleanly.
    ///
    /// # Errors
    /// When one had to be killed or ended badly.
    pub fn stop(&mut self) -> Result<()> {
        self.all.iter_mut().try_for_each(Replica::stop)
    }

    /// The ends of all logs.
    pub fn logs(&self) -> String {
        let logs = self.all.iter().map(|replica| tail(&replica.name, &read(&replica.log)));
        logs.collect::<Vec<_>>().join("\n")
    }

    /// How often a text stands in the logs of all.
    pub fn count_in_logs(&self, text: &str) -> usize {
        self.all.iter().map(|replica| read(&replica.log).matches(text).count()).sum()
    }
}

impl Replica {
    /// Address of its API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the program is not there.
    pub fn start(&mut self) -> Result<()> {
        let mut command = Command::new(program("stockwire-gateway")?);
        command.arg("run").arg("--config").arg(&self.config);
        self.child = Some(Child::spawn(&self.name, command, &self.log)?);
        Ok(())
    }

    /// Ends it as a power cut would.
    ///
    /// # Errors
    /// When it does not run, or ended by itself.
    pub fn kill9(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the gateway does not run")?;
        ensure!(child.is_running(), "{} ended by itself\n{}", self.name, child.log());
        child.kill9()
    }

    /// Stops the process where it stands.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.child.as_ref().context("the gateway does not run")?.freeze()
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.child.as_ref().context("the gateway does not run")?.thaw()
    }

    /// Ends it by SIGTERM and checks that it ends well.
    ///
    /// # Errors
    /// When it does not run, had to be killed or ended badly.
    pub fn stop(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the gateway does not run")?;
        let status = child.terminate()?;
        ensure!(status.success(), "{} ended with {status}\n{}", self.name, child.log());
        Ok(())
    }
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}
