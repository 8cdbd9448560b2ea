//! The whole way on real parts: pseudo terminals, Mosquitto with mutual TLS, Tryton, Vendure; then with everything of
//! ours and the broker killed again and again, and with an ERP whose answers get lost.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stockwire_tests::chaos::{self, Victim};
use stockwire_tests::peers::{Erp, Peers};
use stockwire_tests::real::World;
use stockwire_tests::real::mosquitto::{Agent, Mosquitto, Persistence};
use stockwire_tests::real::process::random_secret;
use stockwire_tests::real::proxy::{Fault, FaultProxy, Rule};
use stockwire_tests::shift::Shift;
use stockwire_tests::site::books::text;
use stockwire_tests::site::{AGENT, Broker, ErpDoor, SITE};
use tokio::task::block_in_place;

const AGENTS: &[Agent<'static>] = &[Agent { site: SITE, id: AGENT }];
/// Movements of each test.
const ACTS: usize = 200;
/// SIGKILLs for each victim.
const KILLS: usize = 10;
/// Set it to the seed that a failure names to have the same work and the same plan again.
const SEED_VARIABLE: &str = "STOCKWIRE_SEED";
/// Lost answers below this number prove nothing.
const FAULTS_MIN: u64 = 10;
/// Each lost answer costs the gateway a look at what has become of the request, and one of them its whole patience.
const ARRIVAL_WAIT_LOST_ANSWERS: Duration = Duration::from_secs(200);
/// Installing and seeding the peers is not counted; these are three times what an idle machine of two cores needs.
const TIME_PLAIN: Duration = Duration::from_secs(180);
const TIME_KILLS: Duration = Duration::from_secs(450);
const TIME_LOST_ANSWERS: Duration = Duration::from_secs(360);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real peers: cargo verify --stage real"]
async fn two_hundred_movements_reach_tryton_and_vendure_through_mosquitto() -> Result<()> {
    let seed = seed()?;
    let mut shift = prepare(None)?;
    within(TIME_PLAIN, async {
        shift.open().await?;
        for act in shift.script(ACTS, seed) {
            shift.perform(&act)?;
        }
        told("scanned");
        shift.agree().await?;
        told("arrived");
        let moves = shift.traced().await?;
        one_document_each(&shift, moves).await?;
        shift.close()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real peers: cargo verify --stage real"]
async fn nothing_is_lost_or_doubled_when_agent_gateway_and_broker_are_killed() -> Result<()> {
    let seed = seed()?;
    let mut shift = prepare(None)?;
    within(TIME_KILLS, async {
        shift.open().await?;
        let acts = shift.script(ACTS, seed);
        let kills = chaos::plan(seed, acts.len(), &[Victim::Agent, Victim::Gateway, Victim::Broker], KILLS);
        shift.work_under(&acts, &kills).await?;
        println!(
            "{} kills, {} outcomes looked up, {} acts repeated",
            shift.kills, shift.doubts.0, shift.doubts.1
        );
        ensure!(shift.kills == 3 * KILLS, "{} of {} kills were struck", shift.kills, kills.len());
        told("scanned");
        shift.agree().await?;
        told("arrived");
        let moves = shift.traced().await?;
        one_document_each(&shift, moves).await?;
        shift.close()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real peers: cargo verify --stage real"]
async fn nothing_is_doubled_when_trytons_answers_get_lost_after_it_has_committed() -> Result<()> {
    let seed = seed()?;
    let (mut shift, proxy) = prepare_behind_proxy().await?;
    // Small documents, so that there are many writes whose answers can get lost.
    shift.site.configure("gateway.toml", "kind = \"tryton\"\n", "kind = \"tryton\"\nbatch_lines = 15\n")?;
    within(TIME_LOST_ANSWERS, async {
        shift.open().await?;
        // Every third write; one of them only by a real time-out, which takes the gateway's whole patience.
        let write = |fault| Rule::every_request(fault).method("POST");
        let stall = Fault::StallAnswer(Duration::from_secs(60));
        proxy.set_rules(vec![write(stall).every(5).times(1), write(Fault::LoseAnswer).every(3)]);
        for act in shift.script(ACTS, seed) {
            shift.perform(&act)?;
        }
        told("scanned");
        shift.agree_within(ARRIVAL_WAIT_LOST_ANSWERS).await?;
        told("arrived");
        let counts = proxy.counts();
        ensure!(counts.faults >= FAULTS_MIN, "too few answers were lost to prove anything: {counts:?}");
        println!("{counts:?}");
        let moves = shift.traced().await?;
        one_document_each(&shift, moves).await?;
        shift.close()
    })
    .await
}

fn seed() -> Result<u64> {
    let seed = match std::env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().with_context(|| format!("{SEED_VARIABLE}={text}"))?,
        Err(_) => u64::from_str_radix(&random_secret()?[..8], 16)?,
    };
    println!("{SEED_VARIABLE}={seed}");
    Ok(seed)
}

fn prepare(erp: Option<ErpDoor>) -> Result<Shift> {
    block_in_place(|| {
        let world = World::standard();
        let peers = Peers::real(&world)?;
        prepare_with(world, peers, erp)
    })
}

fn prepare_with(world: World, peers: Peers, erp: Option<ErpDoor>) -> Result<Shift> {
    let broker = Broker::Mosquitto(Mosquitto::start(AGENTS, Persistence::Off)?);
    Shift::prepare(world, peers, broker, erp)
}

async fn prepare_behind_proxy() -> Result<(Shift, FaultProxy)> {
    let world = World::standard();
    let peers = block_in_place(|| Peers::real(&world))?;
    let Erp::Tryton(tryton) = &peers.erp else { anyhow::bail!("the real ERP was asked for") };
    let proxy = FaultProxy::start(tryton.port()).await?;
    let ErpDoor { url, key } = peers.erp_door();
    let url = url.replace(&format!(":{}/", tryton.port()), &format!(":{}/", proxy.port()));
    let shift = block_in_place(|| prepare_with(world, peers, Some(ErpDoor { url, key })))?;
    Ok((shift, proxy))
}

/// Each of our references stands on one finished document and no more, and each movement on one line of them.
async fn one_document_each(shift: &Shift, moves: u64) -> Result<()> {
    let Erp::Tryton(tryton) = &shift.peers.erp else { anyhow::bail!("the real ERP was asked for") };
    let postings = shift.site.get("/v1/postings?limit=500").await?;
    let postings = postings["rows"].as_array().context("rows")?;
    let mut lines = 0;
    for posting in postings.iter().filter(|posting| posting["state"] == "done") {
        let documents = tryton.documents(text(&posting["reference"])).await?;
        let done: Vec<_> = documents.iter().filter(|document| document.state == "done").collect();
        ensure!(done.len() == 1, "{posting}: {documents:?}\n{}", shift.evidence());
        lines += posting["lines"].as_u64().context("lines")?;
    }
    let mut states = BTreeMap::<&str, usize>::new();
    for posting in postings {
        *states.entry(text(&posting["state"])).or_default() += 1;
    }
    ensure!(states.keys().all(|state| ["done", "split"].contains(state)), "{states:?}");
    ensure!(lines == moves, "{moves} movements, {lines} lines on documents");
    println!("{lines} lines on {states:?} documents");
    Ok(())
}

fn told(what: &str) {
    println!("{what} at {}", jiff::Timestamp::now());
}

async fn within(limit: Duration, work: impl Future<Output = Result<()>>) -> Result<()> {
    let started = Instant::now();
    let result = tokio::time::timeout(limit, work).await;
    println!("took {:.1} s", started.elapsed().as_secs_f64());
    result.unwrap_or_else(|_| anyhow::bail!("not finished within {limit:?}"))
}
