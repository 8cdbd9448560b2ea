//! Three real gateways over one PostgreSQL and one Mosquitto, with agents that keep sending: nothing that happens to one
//! of them changes anything but latency.
//!
//! `cargo verify --stage postgres` runs them. `STOCKWIRE_REPLICA_ROUNDS` says how often everything happens again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stockwire_gateway::lease;
use stockwire_tests::peers::{Erp, Peers, differences, expected_shop};
use stockwire_tests::real::World;
use stockwire_tests::real::process::eventually;
use stockwire_tests::replicas::{REPLICAS, Replicas};
use stockwire_tests::script::{self, Stock};
use stockwire_tests::shift::Shift;
use stockwire_tests::site::Broker;
use stockwire_tests::stream::{self, Sender, Sent};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinSet, block_in_place};

/// Agents, half of them at each site.
const AGENTS: usize = 6;
/// Movements that each records in a second.
const RATE: u64 = 15;
/// For all postings and numbers to arrive after the last movement, on a busy machine.
const ARRIVAL_WAIT: Duration = Duration::from_secs(180);
/// How often a movement of a backlog may be sent when nothing happens. On a quiet machine it is 1.0, on a busy one up to
/// 1.4; when batches do not wait for those that they overtook, 3.5.
const REPETITION_MAX: f64 = 2.0;
/// Between two looks at the watermarks.
const LOOK: Duration = Duration::from_millis(200);

/// Each of these tests needs both cores for itself.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Agents that send.
struct Agents {
    running: JoinSet<Result<Sent>>,
    stop: watch::Sender<bool>,
}

impl Agents {
    fn start(world: &World, port: u16, count: usize, backlog: u64, rate: u64) -> Self {
        let (stop, stopping) = watch::channel(false);
        let mut running = JoinSet::new();
        for n in 0..count {
            let site = world.sites[n % world.sites.len()].code.clone();
            let agent = format!("box-{n}");
            let sender = Sender { agent, site, port, seed: 1 + n as u64, backlog, rate };
            let (world, stopping) = (world.clone(), stopping.clone());
            running.spawn(async move { stream::send(&world, &sender, stopping).await });
        }
        Self { running, stop }
    }

    async fn finish(mut self) -> Result<Vec<Sent>> {
        self.stop.send_replace(true);
        let mut all = Vec::new();
        while let Some(ended) = self.running.join_next().await {
            all.push(ended.context("an agent panicked")??);
        }
        Ok(all)
    }

    /// Fails when one has ended already.
    async fn check(&mut self) -> Result<()> {
        match self.running.try_join_next() {
            Some(ended) => {
                ended.context("an agent panicked")??;
                anyhow::bail!("an agent ended before it was told to")
            }
            None => Ok(()),
        }
    }
}

/// Lets time pass, and looks that no watermark moves back meanwhile, whichever gateway is asked.
async fn pass(
    replicas: &Replicas,
    agents: &mut Agents,
    seen: &mut BTreeMap<String, u64>,
    time: Duration,
) -> Result<()> {
    let begun = Instant::now();
    let mut asked = 0;
    while begun.elapsed() < time {
        // Not a wait for anything: the time is the point.
        tokio::time::sleep(LOOK).await;
        agents.check().await?;
        asked = (asked + 1) % REPLICAS;
        // The one that is asked may be the one that is down.
        let Ok(Ok(devices)) = tokio::time::timeout(LOOK, replicas.get(asked, "/v1/devices")).await else {
            continue;
        };
        for row in devices["rows"].as_array().context("rows of devices")? {
            let (agent, watermark) = (row["agent"].to_string(), row["watermark"].as_u64().unwrap_or(0));
            let known = seen.entry(agent.clone()).or_default();
            ensure!(watermark >= *known, "{agent} was at {known} and is at {watermark}");
            *known = watermark;
        }
    }
    Ok(())
}

/// Everything is where it belongs: once in the books, once in the ERP, and in the shop.
async fn agree(replicas: &Replicas, world: &World, events_before: u64, all: &[Sent]) -> Result<()> {
    let stock = stream::expected(script::opening(world), all);
    let shop = expected_shop(world, &stock);
    let arrived = eventually("ERP and shop have everything", ARRIVAL_WAIT, || async {
        let erp: Stock = replicas.peers.erp_stock().await?;
        let mut found = differences("ERP", &stock, &erp);
        found.extend(differences("shop", &shop, &replicas.peers.shop_stock().await?));
        found.truncate(20);
        ensure!(found.is_empty(), "{}", found.join("\n"));
        Ok(Some(()))
    });
    arrived.await.with_context(|| replicas.logs())?;
    let recorded: u64 = all.iter().map(|sent| sent.recorded).sum();
    let held = block_in_place(|| replicas.verified_events())? - events_before;
    ensure!(held == recorded, "{recorded} recorded, {held} held");
    let mut books = Stock::new();
    for site in &world.sites {
        let page = replicas.get(0, &format!("/v1/stock?site={}&limit=500", site.code)).await?;
        ensure!(page["next"].is_null(), "more stock than a page");
        for row in page["rows"].as_array().context("rows of stock")? {
            let [location, item, on_hand] = ["location", "item", "on_hand"].map(|key| row[key].as_str());
            let key = (
                format!("{}/{}", site.code, location.context("location")?),
                item.context("item")?.to_owned(),
            );
            *books.entry(key).or_default() += on_hand.context("on_hand")?.parse::<i64>()? * 1_000;
        }
    }
    let found = differences("books", &stock, &books);
    ensure!(found.is_empty(), "{}", found.join("\n"));
    let letters = replicas.get(0, "/v1/dead-letters").await?;
    ensure!(letters["rows"].as_array().is_some_and(Vec::is_empty), "{letters}");
    if let Erp::StandIn(erp) = &replicas.peers.erp {
        ensure!(erp.doubled().is_empty(), "posted twice: {:?}", erp.doubled());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PostgreSQL and a Mosquitto: cargo verify --stage postgres"]
async fn what_happens_to_one_of_three_gateways_costs_time_and_nothing_else() -> Result<()> {
    let rounds = match std::env::var("STOCKWIRE_REPLICA_ROUNDS") {
        Ok(text) => text.parse().context("STOCKWIRE_REPLICA_ROUNDS is no number of rounds")?,
        Err(_) => 1,
    };
    let _alone = ALONE.lock().await;
    let world = World::standard();
    let mut replicas = Replicas::start(&world).await?;
    let before = block_in_place(|| replicas.verified_events())?;
    let mut agents = Agents::start(&world, replicas.broker.port(), AGENTS, 0, RATE);
    let mut seen = BTreeMap::new();
    for round in 0..rounds {
        // Each of them is killed, the holder of the ERP's work among them, and is back some seconds later.
        for victim in 0..REPLICAS {
            pass(&replicas, &mut agents, &mut seen, Duration::from_secs(3)).await?;
            replicas.all[victim].kill9()?;
            pass(&replicas, &mut agents, &mut seen, Duration::from_secs(2)).await?;
            replicas.all[victim].start()?;
        }
        replicas.ready().await?;
        // The holder stands still for longer than its lease, and goes on as if nothing had been.
        let holder = only_holder(&replicas, "erp/erp").await?;
        replicas.all[holder].freeze()?;
        pass(&replicas, &mut agents, &mut seen, lease::LENGTH + Duration::from_secs(5)).await?;
        replicas.all[holder].thaw()?;
        let next = only_holder(&replicas, "erp/erp").await?;
        ensure!(next != holder, "round {round}: nobody has taken the work over\n{}", replicas.logs());
        // The one that has it now loses the database.
        replicas.all[next].database.pull();
        pass(&replicas, &mut agents, &mut seen, lease::LENGTH + Duration::from_secs(5)).await?;
        replicas.all[next].database.plug();
        replicas.ready().await?;
        let last = only_holder(&replicas, "erp/erp").await?;
        ensure!(last != next, "round {round}: nobody has taken the work over\n{}", replicas.logs());
        // A clean end gives the work to somebody else, mostly at once: not while a request is on its way.
        block_in_place(|| replicas.all[last].stop())?;
        let begun = Instant::now();
        ensure!(only_holder(&replicas, "erp/erp").await? != last);
        println!("round {round}: the work was taken over {:?} after a stop", begun.elapsed());
        replicas.all[last].start()?;
        replicas.ready().await?;
    }
    let all = agents.finish().await.with_context(|| replicas.logs())?;
    agree(&replicas, &world, before, &all).await?;
    let recorded: u64 = all.iter().map(|sent| sent.recorded).sum();
    println!(
        "{recorded} movements, each sent {:.2} times, {} gaps told; fenced {} times, {} batches looked up",
        stream::repetition(&all),
        all.iter().map(|sent| sent.gaps).sum::<u64>(),
        replicas.count_in_logs("the work is left to the new holder")
            + replicas.count_in_logs("another gateway has taken the work over"),
        replicas.count_in_logs("their outcome is looked up"),
    );
    replicas.stop()
}

/// Who alone has a lease.
async fn only_holder(replicas: &Replicas, lease: &str) -> Result<usize> {
    let alone = eventually("one has the lease, and says so", 3 * lease::LENGTH, || async {
        let holders = replicas.holders(lease).await?;
        ensure!(holders.len() == 1, "held by {holders:?}");
        Ok(replicas.all.iter().position(|replica| replica.name == holders[0]))
    });
    alone.await.with_context(|| replicas.logs())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PostgreSQL and a Mosquitto: cargo verify --stage postgres"]
async fn a_backlog_is_not_sent_over_and_over_because_three_share_it() -> Result<()> {
    let _alone = ALONE.lock().await;
    let world = World::standard();
    let mut replicas = Replicas::start(&world).await?;
    let before = block_in_place(|| replicas.verified_events())?;
    let agents = Agents::start(&world, replicas.broker.port(), AGENTS, 5_000, 0);
    let all = agents.finish().await.with_context(|| replicas.logs())?;
    let longest = all.iter().map(|sent| sent.took).max().unwrap_or_default();
    let recorded: u64 = all.iter().map(|sent| sent.recorded).sum();
    let gaps: u64 = all.iter().map(|sent| sent.gaps).sum();
    let repetition = stream::repetition(&all);
    println!("{recorded} movements in {longest:?}, each sent {repetition:.2} times, {gaps} gaps told");
    ensure!(repetition < REPETITION_MAX, "each movement was sent {repetition:.2} times");
    agree(&replicas, &world, before, &all).await?;
    replicas.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_on_a_file_is_refused_and_told_why() -> Result<()> {
    let world = World::standard();
    let peers = Peers::stand_in(&world).await?;
    let mut shift = Shift::begin(world, peers, Broker::Embedded, None).await?;
    let second = block_in_place(|| shift.site.gateway_command(&["run"]));
    let told = format!("{:#}", second.err().context("a second gateway ran on the same file")?);
    ensure!(told.contains("another gateway runs on") && told.contains("PostgreSQL"), "{told}");
    ensure!(shift.site.is_running(), "the first one must go on");
    shift.close()
}
