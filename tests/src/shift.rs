//! A storekeeper's shift at one site: work is done, things break, and in the end everything must agree.
//!
//! The expectation comes from the script and the storekeeper's ears alone. What was heard as *good* is done; what
//! was not heard is looked up in the agent's journal, as a person would look at the station's screen, and repeated
//! when it is not there. Nothing of what is expected is read from the gateway, the ERP or the shop.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::chaos::{Kill, Victim};
use crate::device::Pty;
use crate::peers::{Erp, Peers, Shop, differences, expected_shop};
use crate::real::World;
use crate::real::process::{Scratch, eventually, tail, wait_until};
use crate::script::{self, Act, Stock};
use crate::site::books::{self, Recorded};
use crate::site::{self, Broker, ErpDoor, Keeper, Outcome, Ports, SITE, Site};

/// For everything to arrive everywhere after the last scan, on a busy machine with the real ERP and shop.
pub const ARRIVAL_WAIT: Duration = Duration::from_secs(60);
/// For an agent to answer after it was started.
const AGENT_WAIT: Duration = Duration::from_secs(20);
/// While things break the storekeeper soon suspects that no signal will come. Each lost signal costs this.
const CHAOS_PATIENCE: Duration = Duration::from_millis(1500);
/// The agent has written its signals by the time it has said so; the terminal passes them on within this.
const QUIET: Duration = Duration::from_millis(50);
/// An act that is not done after so many attempts is not going to be.
const ATTEMPTS_MAX: u32 = 5;
/// `SW:CMD:CANCEL` leads one step back; the deepest workflow has fewer.
const CANCELS_MAX: u32 = 6;
/// Differences that a failure shows in full.
const DIFFERENCES_SHOWN: usize = 40;

/// Everything of one site, and what is known to have been done there.
pub struct Shift {
    /// Items and places.
    pub world: World,
    /// ERP and shop.
    pub peers: Peers,
    /// Broker, gateway and agent.
    pub site: Site,
    /// At the station.
    pub keeper: Keeper,
    /// What must lie where.
    pub stock: Stock,
    /// Acts that were recorded.
    pub recorded: u64,
    /// Events that somebody else's journal brought into the books; what they did to the stock is in `stock`.
    pub strangers: u64,
    /// Messages that must have been set aside.
    pub letters: usize,
    /// Kills that were struck.
    pub kills: usize,
    /// Acts whose outcome had to be looked up in the journal, and attempts that were repeated after it.
    pub doubts: (usize, usize),
    settled: u32,
    /// Of scanner and scale.
    ports: [Pty; 2],
    // Last, so that the ports are there until nobody uses them.
    _devices: Scratch,
}

impl Shift {
    /// Starts everything and waits until the station knows its barcodes. `erp` replaces the ERP's own door, for a
    /// proxy in front of it.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn begin(world: World, peers: Peers, broker: Broker, erp: Option<ErpDoor>) -> Result<Self> {
        let mut shift = Self::prepare(world, peers, broker, erp)?;
        shift.open().await?;
        Ok(shift)
    }

    /// Writes the configuration and plugs the devices in; nothing runs yet.
    ///
    /// # Errors
    /// When a program does not build, a file cannot be written or no terminal can be had.
    pub fn prepare(world: World, peers: Peers, broker: Broker, erp: Option<ErpDoor>) -> Result<Self> {
        block_in_place(site::build)?;
        let devices = Scratch::new("devices")?;
        let keeper = Keeper::plug(devices.path())?;
        let scale = Some((keeper.scale.port().into(), "mt-sics".into()));
        let ports = Ports { scanner: keeper.scanner.port().into(), scanner_lines: site::BELL.into(), scale };
        let erp = erp.unwrap_or_else(|| peers.erp_door());
        let site = Site::new(broker, &erp, &peers.shop_door()?, &ports)?;
        let stock = script::opening(&world);
        let ports = [keeper.scanner.handle()?, keeper.scale.handle()?];
        Ok(Self {
            world,
            peers,
            site,
            keeper,
            stock,
            recorded: 0,
            strangers: 0,
            letters: 0,
            kills: 0,
            doubts: (0, 0),
            settled: 0,
            ports,
            _devices: devices,
        })
    }

    /// Starts gateway and agent.
    ///
    /// # Errors
    /// When one is not ready in time.
    pub async fn open(&mut self) -> Result<()> {
        self.site.start_gateway()?;
        self.site.gateway_ready().await?;
        self.start_agent()?;
        self.site.agent_ready().await
    }

    /// Starts the agent on ports that nobody holds, however its predecessor ended.
    ///
    /// # Errors
    /// When the program is not there.
    pub fn start_agent(&mut self) -> Result<()> {
        start_agent(&mut self.site, &self.ports)
    }

    /// The next acts of a script that fits what lies there now.
    pub fn script(&self, count: usize, seed: u64) -> Vec<Act> {
        script::acts_from(&self.world, SITE, &self.stock, count, seed)
    }

    /// Does one act; the good signal must come.
    ///
    /// # Errors
    /// When it does not.
    pub fn perform(&mut self, act: &Act) -> Result<()> {
        block_in_place(|| self.keeper.perform(&self.world, act)).with_context(|| self.evidence())?;
        self.heard_good(act);
        Ok(())
    }

    /// Does these acts while things break as planned.
    ///
    /// # Errors
    /// As below, and when one does not start again.
    pub async fn work_under(&mut self, acts: &[Act], kills: &[Kill]) -> Result<()> {
        let mut down: Vec<(usize, Victim)> = Vec::new();
        for (at, act) in acts.iter().enumerate() {
            for (_, victim) in down.extract_if(.., |(until, _)| *until <= at) {
                self.restart(victim)?;
            }
            let now: Vec<Kill> = kills.iter().filter(|kill| kill.act == at).copied().collect();
            self.perform_under(act, &now).await?;
            let longer = now.iter().filter(|kill| kill.victim != Victim::Agent);
            down.extend(longer.map(|kill| (at + 1 + kill.down, kill.victim)));
        }
        down.into_iter().try_for_each(|(_, victim)| self.restart(victim))
    }

    /// Does one act while these things happen to it.
    ///
    /// # Errors
    /// When the journal does not hold what was heard as recorded, or holds what was not done, or the station does
    /// not come back.
    pub async fn perform_under(&mut self, act: &Act, kills: &[Kill]) -> Result<()> {
        for kill in kills {
            self.restart(kill.victim)?;
            if kill.when_recovered {
                self.recovered(kill.victim).await?;
            }
        }
        let patience = std::mem::replace(&mut self.keeper.patience, CHAOS_PATIENCE);
        let outcome = self.perform_until_done(act, kills);
        self.keeper.patience = patience;
        outcome.with_context(|| format!("{} under {kills:?}\n{}", act.describe(&self.world), self.evidence()))
    }

    fn perform_until_done(&mut self, act: &Act, kills: &[Kill]) -> Result<()> {
        let mut kills = kills;
        for _ in 0..ATTEMPTS_MAX {
            let outcome = block_in_place(|| self.attempt(act, kills))?;
            self.kills += kills.len();
            let agent_lived = kills.iter().all(|kill| kill.victim != Victim::Agent);
            if agent_lived && outcome == Outcome::Recorded {
                self.heard_good(act);
                return Ok(());
            }
            kills = &[];
            self.doubts.0 += 1;
            block_in_place(|| self.settle())?;
            let more = self.site.journal_head()?.checked_sub(self.recorded);
            match (outcome, more) {
                (Outcome::Recorded | Outcome::InDoubt, Some(1)) => {
                    self.heard_good(act);
                    return Ok(());
                }
                (Outcome::NotDone | Outcome::InDoubt, Some(0)) => self.doubts.1 += 1,
                _ => bail!(
                    "heard as {outcome:?}, but after {} recorded acts the journal holds {more:?} more",
                    self.recorded
                ),
            }
        }
        bail!("not done after {ATTEMPTS_MAX} attempts")
    }

    /// Starts again what was killed and is still down.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Agent if !self.site.agent_runs()? => self.start_agent(),
            Victim::Gateway if !self.site.gateway_runs()? => self.site.start_gateway(),
            Victim::Agent | Victim::Gateway => Ok(()),
            Victim::Broker => match &mut self.site.broker {
                Broker::Mosquitto(broker) => {
                    if broker.is_running() {
                        return Ok(());
                    }
                    broker.restart()
                }
                Broker::Embedded => bail!("the embedded broker lives and dies with the gateway"),
            },
        }
    }

    /// Waits until journal, books, ERP and shop say what was done, each of them nothing else, and nothing was set
    /// aside that was not meant to be.
    ///
    /// # Errors
    /// The differences and the ends of all logs, when that does not come to be.
    pub async fn agree(&mut self) -> Result<()> {
        self.agree_within(ARRIVAL_WAIT).await
    }

    /// The same, with another wait for everything to arrive.
    ///
    /// # Errors
    /// As above.
    pub async fn agree_within(&mut self, wait: Duration) -> Result<()> {
        let rows = self.site.journal().with_context(|| self.evidence())?;
        let mut found =
            differences("journal", &self.stock, &books::replay(&script::opening(&self.world), &rows).0);
        if rows.len() as u64 != self.recorded {
            found.push(format!(
                "{} acts were recorded, the journal holds {} events",
                self.recorded,
                rows.len()
            ));
        }
        self.report(&found)?;
        let agreed = eventually("books, ERP and shop agree with the journal", wait, || async {
            // In the order of the way, so that nobody farther on is asked in vain.
            for (what, stock) in [("books", self.site.books().await?), ("ERP", self.peers.erp_stock().await?)]
            {
                tell(&differences(what, &self.stock, &stock))?;
            }
            let shop = expected_shop(&self.world, &self.stock);
            tell(&differences("shop", &shop, &self.peers.shop_stock().await?))?;
            Ok(Some(()))
        });
        agreed.await.with_context(|| self.evidence())?;
        let report =
            self.site.gateway_command(&["verify-books", "--json"]).with_context(|| self.evidence())?;
        let report: Value = serde_json::from_str(&report)?;
        // The opening stock stands in the books as events of the gateway's own.
        let events = script::opening(&self.world).len() as u64 + self.recorded + self.strangers;
        if report["right"] != true || report["events"].as_u64() != Some(events) {
            found.push(format!("{events} facts are known, the books say {report}"));
        }
        let letters = self.site.pages("/v1/dead-letters").await?;
        if letters.len() != self.letters {
            found.push(format!("{} dead letters were expected: {letters:#?}", self.letters));
        }
        self.report(&found)
    }

    /// Waits until every event has its whole trace: recorded, received, booked, posted, published. Gives the number of
    /// those that moved stock; a count that found what was expected did not.
    ///
    /// # Errors
    /// The gaps, when that does not come to be.
    pub async fn traced(&mut self) -> Result<u64> {
        let rows = self.site.journal()?;
        let moved = books::replay(&script::opening(&self.world), &rows).1;
        let moves = moved.iter().filter(|moved| **moved).count() as u64;
        let mut open: Vec<(Recorded, bool)> = rows.into_iter().zip(moved).collect();
        let started = Instant::now();
        while let Some((row, moves_stock)) = open.pop() {
            let missing = self.site.missing_stages(&row.identity, moves_stock).await?;
            if !missing.is_empty() {
                // The last of them are on their way: the ERP has the stock a moment before the books hear of it.
                ensure!(started.elapsed() < ARRIVAL_WAIT, "{}\n{}", missing.join("\n"), self.evidence());
                open.push((row, moves_stock));
                tokio::task::yield_now().await;
            }
        }
        Ok(moves)
    }

    /// Ends agent and gateway cleanly.
    ///
    /// # Errors
    /// When one does not end well.
    pub fn close(&mut self) -> Result<()> {
        block_in_place(|| self.site.stop()).with_context(|| self.evidence())
    }

    /// The ends of all logs.
    pub fn evidence(&self) -> String {
        let mut logs = self.site.logs();
        if let Broker::Mosquitto(broker) = &self.site.broker {
            logs = format!("{logs}\n{}", tail("mosquitto", &broker.log()));
        }
        if let Erp::Tryton(tryton) = &self.peers.erp {
            logs = format!("{logs}\n{}", tail("tryton", &tryton.log()));
        }
        if let Shop::Vendure(vendure) = &self.peers.shop {
            logs = format!("{logs}\n{}", tail("vendure", &vendure.log()));
        }
        logs
    }

    /// Waits until the station has worked off whatever was scanned, lets go of every workflow and is silent: what is
    /// heard from then on answers to what is scanned from then on.
    ///
    /// # Errors
    /// When it does not come to rest.
    pub fn settle(&mut self) -> Result<()> {
        for _ in 0..CANCELS_MAX {
            self.settled += 1;
            let operator = format!("keeper-{}", self.settled);
            let screen = wait_until("the station deals with what is scanned", AGENT_WAIT, || {
                // Again and again: a port that is just being opened may forget what came before.
                if self.site.agent_status()?["devices"][0]["state"]["kind"] == "working" {
                    self.keeper.scanner.send(&format!("SW:OP:{operator}"))?;
                }
                let mut screen = self.site.agent_status()?["stations"][0]["screen"].take();
                Ok((screen["operator"] == *operator).then(|| screen.take()))
            })?;
            self.keeper.scanner.hush(QUIET)?;
            if screen["workflow"].is_null() {
                return Ok(());
            }
            self.keeper.scanner.send("SW:CMD:CANCEL")?;
        }
        bail!("the station does not leave its workflow")
    }

    /// The act, and the blows that fall meanwhile.
    fn attempt(&mut self, act: &Act, kills: &[Kill]) -> Result<Outcome> {
        let Self { keeper, world, site, ports, .. } = self;
        std::thread::scope(|scope| {
            let blows = scope.spawn(|| -> Result<()> {
                let start = Instant::now();
                for kill in kills {
                    // Not a wait for anything: the moment is the point.
                    std::thread::sleep(kill.after.saturating_sub(start.elapsed()));
                    strike(site, ports, kill.victim)?;
                }
                Ok(())
            });
            let outcome = keeper.attempt(world, act);
            blows.join().map_err(|_| anyhow::anyhow!("the thread of the blows panicked"))??;
            outcome
        })
    }

    async fn recovered(&mut self, victim: Victim) -> Result<()> {
        match victim {
            Victim::Gateway => {
                // It is not ready without one.
                if matches!(self.site.broker, Broker::Mosquitto(_)) {
                    self.restart(Victim::Broker)?;
                }
                self.site.gateway_ready().await
            }
            Victim::Agent => self.site.agent_ready().await,
            Victim::Broker => Ok(()),
        }
    }

    /// The good signal was heard for this act, however it came about.
    pub fn heard_good(&mut self, act: &Act) {
        self.recorded += 1;
        act.apply(&self.world, SITE, &mut self.stock);
    }

    fn report(&self, found: &[String]) -> Result<()> {
        tell(found).with_context(|| self.evidence())
    }
}

/// Ends one. The agent is started again at once, as its service manager would; the others by whoever planned it.
fn strike(site: &mut Site, ports: &[Pty], victim: Victim) -> Result<()> {
    match victim {
        Victim::Agent => {
            ensure!(site.agent_runs()?, "the agent was to be killed and does not run");
            site.kill_agent()?;
            start_agent(site, ports)
        }
        Victim::Gateway => {
            ensure!(site.gateway_runs()?, "the gateway was to be killed and does not run");
            site.kill_gateway()
        }
        Victim::Broker => match &mut site.broker {
            Broker::Mosquitto(broker) => {
                ensure!(broker.is_running(), "the broker was to be killed and ended by itself");
                broker.kill9()
            }
            Broker::Embedded => bail!("the embedded broker lives and dies with the gateway"),
        },
    }
}

fn start_agent(site: &mut Site, ports: &[Pty]) -> Result<()> {
    ports.iter().try_for_each(Pty::release)?;
    site.start_agent()
}

fn tell(found: &[String]) -> Result<()> {
    let more = found.len().saturating_sub(DIFFERENCES_SHOWN);
    let shown = &found[..found.len() - more];
    ensure!(found.is_empty(), "{} differences:\n{}\n({more} more)", found.len(), shown.join("\n"));
    Ok(())
}
