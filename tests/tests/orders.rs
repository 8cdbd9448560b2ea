//! Orders from the door to the bench and back, with the binaries that a user runs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says by panicking what went wrong")]

use std::time::Duration;

use ring::hmac;
use serde_json::{Value, json};
use stockwire_tests::device::Heard;
use stockwire_tests::peers::Peers;
use stockwire_tests::real::World;
use stockwire_tests::real::process::{Scratch, eventually};
use stockwire_tests::site::{self, Broker, Keeper, Ports, SITE, Site};
use tokio::task::block_in_place;

/// Long enough for a busy machine; nothing here waits that long when it works.
const SOON: Duration = Duration::from_secs(30);
/// An SSCC of the examples' company.
const PLATE: &str = "395212340000000014";
const SECRET: &str = "a secret of a test";

struct Bench {
    world: World,
    site: Site,
    keeper: Keeper,
    _peers: Peers,
    // Last, so that the ports are there until nobody uses them.
    _devices: Scratch,
}

impl Bench {
    async fn begin() -> Self {
        block_in_place(site::build).unwrap();
        let world = World::standard();
        let peers = Peers::stand_in(&world).await.unwrap();
        let devices = Scratch::new("devices").unwrap();
        let keeper = Keeper::plug(devices.path()).unwrap();
        let ports =
            Ports { scanner: keeper.scanner.port().into(), scanner_lines: site::BELL.into(), scale: None };
        let doors = (peers.erp_door(), peers.shop_door().unwrap());
        let mut site = Site::new(Broker::Embedded, &doors.0, &doors.1, &ports).unwrap();
        let secret = site.folder().join("shop.webhook");
        std::fs::write(&secret, SECRET).unwrap();
        let name = "[[channel]]\n";
        site.configure("gateway.toml", name, &format!("{name}webhook_secret_file = {secret:?}\n")).unwrap();
        site.start_gateway().unwrap();
        site.gateway_ready().await.unwrap();
        site.start_agent().unwrap();
        site.agent_ready().await.unwrap();
        Self { world, site, keeper, _peers: peers, _devices: devices }
    }

    #[track_caller]
    fn scan(&mut self, codes: &[&str], expected: Heard) {
        for code in codes {
            let heard = block_in_place(|| self.keeper.scan(code)).unwrap();
            assert_eq!(heard, expected, "{code}: {}", self.site.logs());
        }
    }

    async fn send(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = reqwest::Client::new().post(format!("{}{path}", self.site.url())).json(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn becomes(&self, path: &str, is_right: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{path} is as it should be");
        let found =
            eventually(&what, SOON, || async { Ok(Some(self.site.get(path).await?).filter(&is_right)) });
        match found.await {
            Ok(value) => value,
            Err(fault) => panic!("{fault:#}\n{}\n{}", self.site.get(path).await.unwrap(), self.site.logs()),
        }
    }

    fn end(mut self) {
        block_in_place(|| self.site.stop()).unwrap();
    }
}

/// An order for so many pieces of an item, from a channel that has no connector here.
fn order(id: &str, sku: &str, pieces: i64) -> Value {
    json!({
        "channel": "counter", "order": id, "code": id, "placed_at": "2026-11-23T10:00:00Z", "currency": "EUR",
        "payment": "paid", "lines": [{"id": "1", "sku": sku, "quantity": pieces, "unit_price": 500,
            "amount": {"net": 500 * pieces, "tax": 0}}], "total": {"net": 500 * pieces, "tax": 0},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_picked_packed_and_shipped_at_the_bench() {
    let mut bench = Bench::begin().await;
    let (status, captured) = bench.send("/v1/orders", &order("C-1", "SKU-0001", 2)).await;
    assert_eq!(
        (status, &captured["result"], &captured["stage"]),
        (200, &json!("new"), &json!("picking")),
        "{captured}"
    );
    let (_, again) = bench.send("/v1/orders", &order("C-1", "SKU-0001", 2)).await;
    assert_eq!((&again["result"], &again["timeline"]), (&json!("as_before"), &captured["timeline"]));
    let task = bench.becomes(&format!("/v1/tasks/{SITE}/pick/C-1"), |task| task["state"] == "open").await;
    assert_eq!(task["lines"][0]["open"], "2", "{task}");
    let bin = task["lines"][0]["from"].as_str().unwrap().to_owned();

    let good = format!("]E0{}", bench.world.item(1).gtin);
    bench.scan(&["SW:WF:PICK", &format!("SW:LOC:{bin}"), "]C1400C-1"], Heard::Understood);
    bench.scan(&[&good, &good], Heard::Good);
    let path = "/v1/orders/counter/C-1";
    bench.becomes(path, |order| order["stage"] == "picked").await;
    // Held no more, and not there any more: what may be promised is what lies there.
    let held = bench.site.get("/v1/reservations?order=C-1").await.unwrap();
    assert_eq!(
        (&held["rows"][0]["pending"], &held["rows"][0]["posted"]),
        (&json!("0"), &json!("2")),
        "{held}"
    );

    bench.scan(&["SW:CMD:DONE"], Heard::Understood);
    bench.scan(&["SW:WF:PACK", &format!("]C100{PLATE}"), "]C1400C-1"], Heard::Understood);
    bench.scan(&[&good, &good, "SW:CMD:DONE"], Heard::Good);
    bench.scan(&["SW:CMD:DONE"], Heard::Understood);
    bench.scan(&["SW:WF:LOAD", "SW:LOC:A-01"], Heard::Understood);
    bench.scan(&[&format!("]C100{PLATE}")], Heard::Good);
    bench.scan(&["SW:CMD:DONE"], Heard::Understood);
    bench.scan(&["SW:CMD:YES"], Heard::Good);
    let shipped = bench.becomes(path, |order| order["stage"] == "done").await;
    assert_eq!(shipped["shipments"].as_array().unwrap().len(), 1, "{shipped}");
    assert_eq!(shipped["shipments"][0]["tracking"], PLATE);
    let (status, refused) = bench.send(&format!("{path}/cancel"), &json!({"reason": "too late"})).await;
    assert_eq!(status, 409, "{refused}");

    // One comes back.
    let back = json!({"key": "R-1", "reason": "too small", "refund": 500, "lines": [{"line": "1", "quantity": "1"}]});
    let (status, announced) = bench.send(&format!("{path}/returns"), &back).await;
    assert_eq!(status, 200, "{announced}");
    bench.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_orders_for_the_last_piece_end_in_one_shipment_and_one_backorder() {
    let mut bench = Bench::begin().await;
    let stock = bench.site.get("/v1/stock?item=SKU-0002").await.unwrap();
    let rows = stock["rows"].as_array().unwrap();
    let pieces: i64 = rows.iter().map(|row| row["on_hand"].as_str().unwrap().parse::<i64>().unwrap()).sum();
    // All but one belong to somebody.
    let (status, first) = bench.send("/v1/orders", &order("ALL", "SKU-0002", pieces - 1)).await;
    assert_eq!((status, &first["stage"]), (200, &json!("picking")), "{first}");
    let (one, two) =
        tokio::join!(async { bench.send("/v1/orders", &order("L-1", "SKU-0002", 1)).await.1 }, async {
            bench.send("/v1/orders", &order("L-2", "SKU-0002", 1)).await.1
        },);
    let mut stages = [one["stage"].as_str().unwrap(), two["stage"].as_str().unwrap()];
    stages.sort_unstable();
    assert_eq!(stages, ["backordered", "picking"]);
    let waiting = bench.site.get("/v1/orders?stage=backordered").await.unwrap();
    assert_eq!(waiting["rows"].as_array().unwrap().len(), 1, "{waiting}");
    // Whoever gives way frees the piece for the other, within a minute and by itself.
    let (winner, loser) = if one["stage"] == "picking" { ("L-1", "L-2") } else { ("L-2", "L-1") };
    let (status, cancelled) = bench
        .send(&format!("/v1/orders/counter/{winner}/cancel"), &json!({"reason": "changed their mind"}))
        .await;
    assert_eq!((status, &cancelled["stage"]), (200, &json!("cancelled")), "{cancelled}");
    let path = format!("/v1/orders/counter/{loser}");
    let what = "the other has it";
    eventually(what, Duration::from_secs(60), || async {
        Ok(Some(bench.site.get(&path).await?).filter(|order| order["stage"] == "picking"))
    })
    .await
    .unwrap();
    bench.keeper.patience = SOON;
    bench.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_heard_when_it_is_signed() {
    let bench = Bench::begin().await;
    let url = format!("{}/v1/channels/shop/webhook", bench.site.url());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let send = async |secret: &str, id: &str, at: u64| {
        let body = r#"{"type":"order.placed"}"#;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signature = base64(hmac::sign(&key, format!("{id}.{at}.{body}").as_bytes()).as_ref());
        let request = reqwest::Client::new().post(&url).body(body).header("webhook-id", id);
        let request = request.header("webhook-timestamp", at.to_string());
        let answer = request.header("webhook-signature", format!("v1,{signature}")).send().await.unwrap();
        let (status, answer): (u16, Value) = (answer.status().as_u16(), answer.json().await.unwrap());
        (status, answer["result"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(send(SECRET, "d-1", now).await, (200, "new".into()));
    assert_eq!(send(SECRET, "d-1", now).await, (200, "as_before".into()));
    assert_eq!(send("guess", "d-2", now).await.0, 401);
    assert_eq!(send(SECRET, "d-2", now - 3_600).await.0, 400);
    bench.end();
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
