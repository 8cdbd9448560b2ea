//! From a scan's last byte to the number in the shop, through all processes.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Client;
use rumqttc::{AsyncClient, Event, Packet, PublishOptions};
use rusqlite::Connection;
use serde_json::json;
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::{Epoch, Sequence};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::goods::Goods;
use super::mqtt;
use super::pairs::{Plan, interleave, micros, micros_since};
use super::probe::PlainDisk;
use super::report::{Report, Target, Unit, percentile};
use crate::device::Pty;
use crate::peers::{self, Peers};
use crate::real::mosquitto::{Agent, GATEWAY, Persistence};
use crate::real::process::{Scratch, wait_until};
use crate::real::{Mosquitto, World};
use crate::site::{AGENT, Broker, Ports, SITE, Site};
use crate::standin;

/// Scans in a second: a hall with twenty people, and the busiest one that the design has in mind.
const RATES: [u32; 2] = [20, 500];
/// The limit's steps in a slice.
const STEPS: usize = 20;
/// How often the shop's shelf is looked at.
const LOOK_EVERY: Duration = Duration::from_micros(100);
/// A scan that is not in the shop by then will not come.
const ARRIVAL_WAIT: Duration = Duration::from_secs(60);
/// A second box of the same site, which only measures the broker.
const PROBE: &str = "bench-01";
/// Nobody at the gateway listens to it.
const PROBE_TOPIC: &str = "stockwire/v1/HAM/bench-01/up/bench";
/// Items that are counted in pieces.
const PIECES: u64 = 19;

pub(super) fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    // One thread for the peers' servers and one for what is measured here, as the machine has.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut hall = Hall::open(&runtime)?;
    let (pairs, slice) = plan.slices();
    for rate in RATES {
        let mut parts = Parts::default();
        let (steps, desk, site) = (&mut hall.steps, &mut hall.desk, &hall.site);
        let measured = interleave(
            pairs,
            || {
                let sums =
                    (0..STEPS).map(|_| steps.once(&runtime, &mut parts)).collect::<Result<Vec<_>>>()?;
                Ok((percentile(sums, 50), Vec::new()))
            },
            || {
                let times = desk.scan_for(slice, rate).with_context(|| site.logs())?;
                Ok((percentile(times.clone(), 50), times))
            },
        )?;
        let medians: Vec<_> = measured.iter().map(|(limit, ours)| (limit.0, ours.0)).collect();
        let what = format!("a scan's last byte to the shop, {rate} scans/s");
        report.row(format!("{what}, p50 of a slice"), Unit::Micros, &medians, Some(Target::AtMost(2.5)));
        let sum = percentile(medians.iter().map(|pair| pair.0).collect(), 50);
        let all: Vec<f64> = measured.into_iter().flat_map(|(_, ours)| ours.1).collect();
        let p99 = percentile(all, 99);
        let target = Some(Target::AtMost(6.0));
        report.row(format!("{what}, p99 of all against that p50"), Unit::Micros, &[(sum, p99)], target);
        report.fact(format!("{what}, p99"), Unit::Micros, p99, None);
        for (name, times) in parts.into_named() {
            report.fact(
                format!("  limit's part at {rate} scans/s: {name}"),
                Unit::Micros,
                percentile(times, 50),
                None,
            );
        }
    }
    report.note(
        "limit: the sum of one flush, one publish through the same broker with TLS to a subscriber, one SQLite commit \
         of a row and one POST to the shop, measured one after the other; ours: scans at fixed times whatever came of \
         the earlier ones, each timed from when it was due to when the shop showed a number with it (looked at every \
         0.1 ms). The shop and the ERP are the stand-ins; agent and gateway are the real programs",
    );
    hall.site.stop()
}

/// Everything that runs.
struct Hall {
    desk: Desk,
    steps: Steps,
    site: Site,
}

impl Hall {
    fn open(runtime: &Runtime) -> Result<Self> {
        let world = World::standard();
        let peers = runtime.block_on(Peers::stand_in(&world))?;
        let probe = Agent { site: SITE, id: PROBE };
        let broker = Mosquitto::start(&[Agent { site: SITE, id: AGENT }, probe], Persistence::Off)?;
        let (erp_door, shop_door) = (peers.erp_door(), peers.shop_door()?);
        let pki = broker.pki().context("the broker has certificates")?;
        let publisher = mqtt::options(broker.port(), PROBE, Some((pki, &pki.client(PROBE)?)))?;
        let subscriber = mqtt::options(broker.port(), "bench-gateway", Some((pki, &pki.client(GATEWAY)?)))?;
        let echo = runtime.block_on(Echo::open(publisher, subscriber))?;
        let scratch = Scratch::new("bench")?;
        let steps = Steps {
            disk: PlainDisk::create(&scratch.path().join("limit"))?,
            echo,
            commit: Commit::create(&scratch.path().join("limit.db"))?,
            post: runtime.block_on(Post::log_in(&shop_door.url, &shop_door.user, &shop_door.password))?,
            _scratch: scratch,
        };
        let scratch = Scratch::new("bench")?;
        let scanner = Pty::open(Some(&scratch.path().join("scanner")))?;
        let ports = Ports {
            scanner: scanner.port().to_path_buf(),
            scanner_lines: crate::site::BELL.into(),
            scale: None,
        };
        let mut site = Site::new(Broker::Mosquitto(broker), &erp_door, &shop_door, &ports)?;
        site.start_gateway()?;
        site.start_agent()?;
        runtime.block_on(site.gateway_ready())?;
        runtime.block_on(site.agent_ready())?;
        let mut desk = Desk { scanner, world, peers, scans: 0, shown: BTreeMap::new(), _scratch: scratch };
        desk.begin().with_context(|| site.logs())?;
        Ok(Self { desk, steps, site })
    }
}

/// A station, and a view of the shop's shelf.
struct Desk {
    scanner: Pty,
    world: World,
    peers: Peers,
    scans: u64,
    /// What the shop must show once everything so far has arrived.
    shown: BTreeMap<String, i64>,
    _scratch: Scratch,
}

impl Desk {
    fn begin(&mut self) -> Result<()> {
        for code in ["SW:WF:RECEIVE", "SW:LOC:A-01"] {
            self.scanner.write(format!("{code}\r").as_bytes())?;
            let heard = self.scanner.read(ARRIVAL_WAIT)?;
            ensure!(heard == [7, 7], "{code}: heard {heard:?}, expected two bells");
        }
        let opening = peers::expected_shop(&self.world, &crate::script::opening(&self.world));
        wait_until("the shop shows the opening stock", ARRIVAL_WAIT, || {
            Ok((self.shop()?.on_hand() == opening).then_some(()))
        })?;
        self.shown = opening;
        Ok(())
    }

    fn shop(&self) -> Result<&standin::Shop> {
        match &self.peers.shop {
            peers::Shop::StandIn(shop) => Ok(shop),
            peers::Shop::Vendure(_) => anyhow::bail!("the shop is not the stand-in"),
        }
    }

    /// Scans at fixed times, and waits until all of it has arrived; microseconds from each scan's time to its number.
    fn scan_for(&mut self, slice: Duration, rate: u32) -> Result<Vec<f64>> {
        let (count, every) =
            ((slice.as_secs_f64() * f64::from(rate)).ceil() as u32, Duration::from_secs(1) / rate);
        let mut times = Vec::new();
        let mut on_the_way: BTreeMap<String, VecDeque<(i64, Instant)>> = BTreeMap::new();
        let mut writes = self.shop()?.writes();
        let (mut done, mut next, begun) = (0, self.code()?, Instant::now() + every);
        self.scanner.write(next.1.as_bytes())?;
        while done < count || on_the_way.values().any(|queue| !queue.is_empty()) {
            let due = begun + every * done;
            if done < count && Instant::now() >= due {
                self.scanner.write(b"\r")?;
                let shown = self.shown.get_mut(&next.0).context("an item of the shop")?;
                *shown += 1;
                on_the_way.entry(next.0).or_default().push_back((*shown, due));
                done += 1;
                next = self.code()?;
                if done < count {
                    // Everything but the last byte travels while nobody waits for it.
                    self.scanner.write(next.1.as_bytes())?;
                }
            }
            // Nobody listens to the bells; unread they would fill the line.
            self.scanner.read(Duration::ZERO)?;
            let shop = self.shop()?;
            if shop.writes() != writes {
                writes = shop.writes();
                let (shelf, now) = (shop.on_hand(), Instant::now());
                for (sku, queue) in &mut on_the_way {
                    let number = shelf.get(sku).copied().unwrap_or(0);
                    while let Some((_, due)) = queue.front().filter(|(wanted, _)| *wanted <= number) {
                        times.push(micros(now.saturating_duration_since(*due)));
                        queue.pop_front();
                    }
                }
            }
            ensure!(begun.elapsed() < slice + ARRIVAL_WAIT, "{} of {count} scans arrived", times.len());
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(times)
    }

    /// SKU and code of the next scan.
    fn code(&mut self) -> Result<(String, String)> {
        let item = self.world.item(1 + (self.scans % PIECES) as usize);
        self.scans += 1;
        Ok((item.sku.clone(), format!("]E0{}", item.gtin)))
    }
}

/// The limit: each step of the way by itself.
struct Steps {
    disk: PlainDisk,
    echo: Echo,
    commit: Commit,
    post: Post,
    _scratch: Scratch,
}

/// Times of the steps, for the report.
#[derive(Default)]
struct Parts([Vec<f64>; 4]);

impl Parts {
    fn into_named(self) -> impl Iterator<Item = (&'static str, Vec<f64>)> {
        ["one flush", "broker, with TLS", "one commit", "one POST"].into_iter().zip(self.0)
    }
}

impl Steps {
    fn once(&mut self, runtime: &Runtime, parts: &mut Parts) -> Result<f64> {
        let times = [
            self.disk.write()?,
            runtime.block_on(self.echo.once())?,
            self.commit.once()?,
            runtime.block_on(self.post.once())?,
        ];
        parts.0.iter_mut().zip(times).for_each(|(part, time)| part.push(time));
        Ok(times.iter().sum())
    }
}

/// Publisher and subscriber on the site's broker.
struct Echo {
    publisher: AsyncClient,
    received: mpsc::UnboundedReceiver<Instant>,
    payload: Vec<u8>,
    _subscriber: AsyncClient,
}

impl Echo {
    async fn open(publisher: rumqttc::MqttOptions, subscriber: rumqttc::MqttOptions) -> Result<Self> {
        let (subscriber, mut incoming) = mqtt::connect(subscriber).await?;
        mqtt::subscribe(&subscriber, &mut incoming, PROBE_TOPIC).await?;
        let (publisher, mut outgoing) = mqtt::connect(publisher).await?;
        let (arrived, received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            // The end of the connection closes the channel, which the next step tells.
            while let Ok(event) = incoming.poll().await {
                if matches!(event, Event::Incoming(Packet::Publish(_)))
                    && arrived.send(Instant::now()).is_err()
                {
                    return;
                }
            }
        });
        tokio::spawn(async move { while outgoing.poll().await.is_ok() {} });
        let batch = Goods::new()?.batch(Epoch::from_bytes([1; 16]), Sequence::NONE.get(), 1)?;
        Ok(Self { publisher, received, payload: batch.encode(), _subscriber: subscriber })
    }

    async fn once(&mut self) -> Result<f64> {
        let begun = Instant::now();
        self.publisher.publish(PROBE_TOPIC, self.payload.clone(), PublishOptions::at_least_once()).await?;
        let arrived =
            tokio::time::timeout(ARRIVAL_WAIT, self.received.recv()).await.context("nothing came back")?;
        Ok(micros(arrived.context("the broker was lost")?.saturating_duration_since(begun)))
    }
}

/// A database as durable as the gateway's.
struct Commit(Connection);

impl Commit {
    fn create(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection
            .execute_batch("CREATE TABLE event (key INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT")?;
        Ok(Self(connection))
    }

    fn once(&mut self) -> Result<f64> {
        let begun = Instant::now();
        self.0.prepare_cached("INSERT INTO event (bytes) VALUES (zeroblob(100))")?.execute([])?;
        Ok(micros_since(begun))
    }
}

/// A request that changes nothing, over a connection that is kept.
struct Post {
    client: Client,
    url: String,
    token: String,
}

impl Post {
    async fn log_in(url: &str, user: &str, password: &str) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(ARRIVAL_WAIT).build()?;
        let url = format!("{url}/admin-api");
        let query =
            "mutation L($u: String!, $p: String!) { login(username: $u, password: $p) { __typename } }";
        let body = json!({"query": query, "variables": {"u": user, "p": password}});
        let answer = client.post(&url).json(&body).send().await?;
        let token = answer.headers().get("vendure-auth-token").context("the shop gave no token")?;
        let token = token.to_str()?.to_owned();
        Ok(Self { client, url, token })
    }

    async fn once(&self) -> Result<f64> {
        let begun = Instant::now();
        let body = json!({"query": "query { stockLocations { items { id name } } }"});
        let answer = self.client.post(&self.url).bearer_auth(&self.token).json(&body).send().await?;
        let text = answer.text().await?;
        let taken = micros_since(begun);
        ensure!(text.contains("\"data\""), "the shop answered {text}");
        Ok(taken)
    }
}
