//! The senders against a real Tryton and a real Vendure, which must run already and be freshly seeded:
//! `STOCKWIRE_TRYTON_URL`, `STOCKWIRE_TRYTON_KEY`, `STOCKWIRE_VENDURE_URL`, `STOCKWIRE_VENDURE_PASSWORD`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

#[path = "support/warehouse.rs"]
mod warehouse;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stockwire_gateway::availability::{Basis, ChannelPolicy, Selling};
use stockwire_gateway::catalogue::ErpId;
use stockwire_gateway::channel::{self, ChannelAccess, ChannelConnector, Shown};
use stockwire_gateway::erp::{self, ErpAccess, ErpConnector, Shortage};
use stockwire_gateway::exchange::Secret;
use stockwire_gateway::io::http_client::HttpClient;
use stockwire_gateway::io::outward::{self, ORDERS_MAX, Wires, converse, run_sender};
use stockwire_gateway::io::shared::Shared;
use stockwire_gateway::io::sqlite_store::{SqliteReader, SqliteStore};
use stockwire_gateway::sender::{
    ChannelSender, ChannelSettings, ErpSender, ErpSettings, Opening, Order, Sender, SenderStatus,
};
use stockwire_gateway::store::{DeadLetterQuery, Reader, Store};
use stockwire_protocol::{ChannelId, SiteId, Sku};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use warehouse::{Warehouse, books};

/// Long enough for a busy machine; nothing here waits that long when it works.
const DEADLINE: Duration = Duration::from_secs(300);

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must be set"))
}

fn tryton() -> Box<dyn ErpConnector> {
    erp::find("tryton").unwrap().connect(ErpAccess {
        url: env("STOCKWIRE_TRYTON_URL"),
        key: Secret::new(env("STOCKWIRE_TRYTON_KEY")),
        company: None,
        supplier: Some("Test Supplier".into()),
        customer: Some("Test Customer".into()),
        shortage: Shortage::Force,
        sales: false,
    })
}

fn sites() -> Vec<SiteId> {
    ["HAM", "MUC"].map(|code| SiteId::new(code).unwrap()).into()
}

fn vendure() -> Box<dyn ChannelConnector> {
    channel::find("vendure").unwrap().connect(ChannelAccess {
        channel: stockwire_protocol::ChannelId::new("shop").unwrap(),
        url: env("STOCKWIRE_VENDURE_URL"),
        user: "superadmin".into(),
        password: Secret::new(env("STOCKWIRE_VENDURE_PASSWORD")),
        sites: sites(),
    })
}

fn erp_id() -> ErpId {
    ErpId::new("erp").unwrap()
}

fn shop() -> ChannelId {
    ChannelId::new("shop").unwrap()
}

/// A folder of this test alone, gone afterwards.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("stockwire-vendors-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A sender's loop and the ends of its wires.
struct Running {
    wake: Arc<Notify>,
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<Option<SenderStatus>>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(make: impl Fn() -> Box<dyn Sender> + Send + Sync + 'static, store: &Shared<dyn Store>) -> Self {
        let http = HttpClient::new(make().connector()).unwrap();
        let (orders, orders_end) = mpsc::channel(ORDERS_MAX);
        let (status_end, status) = watch::channel(None);
        let (stop, stop_end) = watch::channel(false);
        let wake = Arc::new(Notify::new());
        let wires = Wires {
            store: store.clone(),
            holder: "gateway".into(),
            wake: Arc::clone(&wake),
            orders: orders_end,
            status: status_end,
            stop: stop_end,
        };
        let task = tokio::spawn(run_sender(Box::new(make), http, wires));
        Self { wake, orders, status, stop, task }
    }

    async fn ready(&mut self) -> SenderStatus {
        let ready = self.status.wait_for(|status| status.as_ref().is_some_and(|status| status.ready));
        let waited = tokio::time::timeout(DEADLINE, ready).await;
        waited.expect("not ready in time").unwrap().clone().expect("it is there")
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        tokio::time::timeout(DEADLINE, self.task).await.expect("it does not stop").unwrap();
    }
}

fn erp_sender() -> Box<dyn Sender> {
    let settings = ErpSettings {
        erp: erp_id(),
        refresh: Duration::from_secs(600),
        lines_max: 100,
        batch_wait: Duration::from_millis(100),
        opening: Opening::FromErp,
    };
    Box::new(ErpSender::new(settings, tryton()))
}

async fn record(store: &Shared<dyn Store>, mut ham: Warehouse, moves: Vec<[String; 4]>) -> Warehouse {
    store
        .call(move |store| {
            let moves: Vec<(&str, &str, &str, &str)> =
                moves.iter().map(|[a, b, c, d]| (a.as_str(), b.as_str(), c.as_str(), d.as_str())).collect();
            ham.record(store, 1_000, &moves);
            ham
        })
        .await
}

fn line(item: &str, quantity: &str, from: &str, to: &str) -> [String; 4] {
    [item, quantity, from, to].map(String::from)
}

/// Waits until nothing is left to post; rings again in case the bell came while the sender was at work.
async fn posted(store: &Shared<dyn Store>, running: &Running) {
    let done = async {
        loop {
            running.wake.notify_one();
            let open: u64 = store
                .call(|store| store.gauges().unwrap().unposted.iter().map(|(_, rows, _)| rows).sum())
                .await;
            if open == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, done).await.expect("not posted in time");
}

async fn tryton_holds() -> BTreeMap<(String, String), i64> {
    let connector = tryton();
    let http = HttpClient::new(&*connector).unwrap();
    let quantities = converse(&*connector, &http, connector.read_quantities()).await.unwrap();
    quantities
        .into_iter()
        .map(|quantity| {
            ((format!("{}/{}", quantity.site, quantity.location), quantity.item.to_string()), quantity.steps)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a running Tryton"]
async fn every_kind_of_movement_reaches_tryton_once() {
    let folder = Folder::new();
    let path = folder.0.join("gateway.db");
    let store: Shared<dyn Store> = Shared::new(Box::new(SqliteStore::open(&path).unwrap()));
    let mut running = Running::start(erp_sender, &store);
    let status = running.ready().await;
    assert!(status.catalogue_revision > 0, "{status:?}");
    println!("remarks: {:?}", status.remarks);

    let opening = store.call(|store| books(&*store)).await;
    assert_eq!(opening, tryton_holds().await, "the books begin with the ERP's quantities");
    assert!(!opening.is_empty());

    let mut ham = Warehouse::new("HAM");
    let mut moves = Vec::new();
    for turn in 1..=30_i64 {
        let item = format!("SKU-{:04}", turn % 15 + 1);
        moves.push(line(&item, "7", "supplier", "IN"));
        moves.push(line(&item, "4", "IN", "A-02"));
        moves.push(line(&item, "2", "A-01", "A-03"));
        moves.push(line(&item, "1", "A-01", "OUT"));
        moves.push(line(&item, "1", "OUT", "customer"));
        moves.push(line(&item, "1", "A-02", "customer"));
        moves.push(line(&item, "1", "loss", "A-04"));
        moves.push(line(&item, "1", "A-03", "loss"));
    }
    // By weight, to the gram; and more than the ERP believes to be there.
    moves.push(line("SKU-0020", "1.234", "supplier", "A-04"));
    moves.push(line("SKU-0020", "0.1", "A-04", "A-03"));
    moves.push(line("SKU-0001", "500", "A-04", "customer"));
    ham = record(&store, ham, moves).await;
    posted(&store, &running).await;
    let held = store.call(|store| books(&*store)).await;
    assert_eq!(held, tryton_holds().await);
    assert_ne!(held, opening);

    // One line that Tryton refuses (a tenth of a gram) ends as a dead letter; those beside it are booked.
    let moves = vec![
        line("SKU-0001", "3", "supplier", "A-01"),
        line("SKU-0020", "0.0001", "supplier", "A-01"),
        line("SKU-0002", "4", "supplier", "A-01"),
    ];
    record(&store, ham, moves).await;
    posted(&store, &running).await;
    let letters = store.call(|store| store.dead_letters(&DeadLetterQuery::default()).unwrap().rows).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    println!("refused: {}", letters[0].reason);
    let mut expected = store.call(|store| books(&*store)).await;
    *expected.get_mut(&("HAM/A-01".into(), "SKU-0020".into())).unwrap() -= 100;
    expected.retain(|_, steps| *steps != 0);
    assert_eq!(expected, tryton_holds().await);

    // Both sides agree, but for what is a dead letter; asked of the sender and from outside.
    let (reply, plan) = oneshot::channel();
    let order = Order::Reconcile(Box::new(move |plan| drop(reply.send(plan))));
    running.orders.send(order).await.map_err(|_| "the sender is gone").unwrap();
    let plan = tokio::time::timeout(DEADLINE, plan).await.unwrap().unwrap().unwrap();
    assert!(plan.is_agreed(), "{plan}");
    let reader: Shared<dyn Reader> = Shared::new(Box::new(SqliteReader::open(&path).unwrap()));
    let connector = tryton();
    let http = HttpClient::new(&*connector).unwrap();
    let outside = outward::reconcile(&*connector, &http, &reader, &erp_id()).await.unwrap();
    assert_eq!(outside.to_string(), plan.to_string());
    println!("{plan}");
    println!("{:?}", running.status.borrow().as_ref().map(|status| status.results));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a running Tryton and Vendure"]
async fn numbers_reach_vendure_and_are_read_back() {
    let store: Shared<dyn Store> = Shared::new(Box::new(SqliteStore::memory().unwrap()));
    let policy = ChannelPolicy {
        channel: shop(),
        sites: sites(),
        safety_stock: 0,
        out_of_stock_threshold: 0,
        cap: None,
        basis: Basis::OnHand,
        selling: Selling::default(),
    };
    store.call(move |store| store.replace_channels(&[policy])).await.unwrap();
    let mut erp = Running::start(erp_sender, &store);
    erp.ready().await;
    let settings = ChannelSettings { channel: shop(), refresh: Duration::from_secs(600) };
    let make = move || -> Box<dyn Sender> { Box::new(ChannelSender::new(settings.clone(), vendure())) };
    let mut channel = Running::start(make, &store);
    let status = channel.ready().await;
    println!("remarks: {:?}", status.remarks);
    record(&store, Warehouse::new("HAM"), vec![line("SKU-0003", "5", "A-01", "customer")]).await;
    posted(&store, &erp).await;
    let done = async {
        loop {
            channel.wake.notify_one();
            let open: u64 = store
                .call(|store| store.gauges().unwrap().unpublished.iter().map(|(_, skus, _)| skus).sum())
                .await;
            if open == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, done).await.expect("not published in time");
    println!("{:?}", channel.status.borrow().as_ref().map(|status| status.results));

    // What the shop shows is what the books say, site by site.
    let connector = vendure();
    let http = HttpClient::new(&*connector).unwrap();
    let map = converse(&*connector, &http, connector.map_skus()).await.unwrap();
    let skus: Vec<Sku> = map.skus.iter().map(|sku| sku.sku.clone()).collect();
    let shown = converse(&*connector, &http, connector.read_back(&map.sites, &skus)).await.unwrap();
    assert!(!shown.is_empty());
    for (sku, shown) in shown {
        let (channel, asked) = (shop(), sku.clone());
        let offer = store.call(move |store| store.availability(&channel, &asked).unwrap()).await.unwrap();
        let expected: BTreeMap<SiteId, i64> =
            offer.availability.sites.iter().map(|site| (site.site.clone(), site.number)).collect();
        assert_eq!(shown, Shown::Numbers(expected), "{sku}");
        assert_eq!(
            offer.published.map(|published| published.number),
            Some(offer.availability.number),
            "{sku}"
        );
    }
    channel.stop().await;
    erp.stop().await;
}
