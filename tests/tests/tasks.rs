//! Tasks, codes and plates from the HTTP door to the bench and back, with the binaries that a user runs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says by panicking what went wrong")]

use std::time::Duration;

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
/// A code that no catalogue has; its check digit is right.
const STRANGE: &str = "]E09521234999997";

/// A site with a bench.
struct Bench {
    world: World,
    site: Site,
    keeper: Keeper,
    _peers: Peers,
    // Last, so that the ports are there until nobody uses them.
    _devices: Scratch,
}

impl Bench {
    /// Everything runs; `[station]` has this beside what every station has.
    async fn begin(station: &str) -> Self {
        block_in_place(site::build).unwrap();
        let world = World::standard();
        let peers = Peers::stand_in(&world).await.unwrap();
        let devices = Scratch::new("devices").unwrap();
        let keeper = Keeper::plug(devices.path()).unwrap();
        let scale = Some((keeper.scale.port().into(), "mt-sics".into()));
        let ports = Ports { scanner: keeper.scanner.port().into(), scanner_lines: site::BELL.into(), scale };
        let doors = (peers.erp_door(), peers.shop_door().unwrap());
        let mut site = Site::new(Broker::Embedded, &doors.0, &doors.1, &ports).unwrap();
        let name = "name = \"pack-1\"\n";
        site.configure("agent.toml", name, &format!("{name}{station}")).unwrap();
        site.start_gateway().unwrap();
        site.gateway_ready().await.unwrap();
        site.start_agent().unwrap();
        site.agent_ready().await.unwrap();
        Self { world, site, keeper, _peers: peers, _devices: devices }
    }

    /// The barcode of an item.
    fn item(&self, number: usize) -> String {
        format!("]E0{}", self.world.item(number).gtin)
    }

    /// Scans codes one after the other; each must be heard like this.
    #[track_caller]
    fn scan(&mut self, codes: &[&str], expected: Heard) {
        for code in codes {
            let heard = block_in_place(|| self.keeper.scan(code)).unwrap();
            assert_eq!(heard, expected, "{code}: {}\n{}", self.screen(), self.site.logs());
        }
    }

    /// What the bench shows: the agent's own status, which `watch` draws.
    fn screen(&self) -> String {
        self.site.agent_status().unwrap()["stations"][0].to_string()
    }

    async fn shows(&self, text: &str) {
        let what = format!("the bench shows {text:?}");
        let shown = eventually(&what, SOON, || async { Ok(self.screen().contains(text).then_some(())) });
        shown.await.unwrap_or_else(|fault| panic!("{fault:#}\n{}\n{}", self.screen(), self.site.logs()));
    }

    async fn get(&self, path: &str) -> Value {
        self.site.get(path).await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.site.post(path, &body).await.unwrap()
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: &Value) -> (u16, Value) {
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.site.url())).json(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Until what is at a path is as it should be.
    async fn becomes(&self, path: &str, is_right: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{path} is as it should be");
        let found =
            eventually(&what, SOON, || async { Ok(Some(self.site.get(path).await?).filter(&is_right)) });
        match found.await {
            Ok(value) => value,
            Err(fault) => panic!("{fault:#}\n{}\n{}", self.get(path).await, self.site.logs()),
        }
    }

    /// On hand of an item in a bin of the site.
    async fn stock(&self, item: &str, bin: &str) -> String {
        let page = self.get(&format!("/v1/stock?site={SITE}&item={item}&location={bin}")).await;
        page["rows"][0]["on_hand"].as_str().unwrap_or("none").to_string()
    }

    /// Revision of the catalogue at the bench: odd is a snapshot, even is changes put onto one.
    fn revision(&self) -> u64 {
        self.site.agent_status().unwrap()["catalogue"]["revision"].as_u64().unwrap()
    }

    async fn revision_after(&self, before: u64) -> u64 {
        let newer = || async { Ok(Some(self.revision()).filter(|revision| *revision > before)) };
        eventually("a newer catalogue is at the bench", SOON, newer).await.unwrap()
    }

    fn end(mut self) {
        block_in_place(|| self.site.stop()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_comes_to_the_bench_and_its_end_to_the_books() {
    let mut bench = Bench::begin("").await;
    let order = json!({"site": SITE, "kind": "pick", "id": "SO-1001", "lines": [
        {"item": "SKU-0001", "quantity": "2", "from": "A-01"},
        {"item": "SKU-0002", "quantity": "1", "from": "A-01"},
    ]});
    let asked = bench.post("/v1/tasks", order.clone()).await;
    assert_eq!((&asked["state"], &asked["lines"][0]["open"]), (&json!("open"), &json!("2")));

    bench.scan(&["SW:WF:PICK", "SW:LOC:A-01", "]C1400SO-1001"], Heard::Understood);
    bench.shows("Part 01").await;
    let (first, second) = (bench.item(1), bench.item(2));
    bench.scan(&[&first], Heard::Good);
    let path = format!("/v1/tasks/{SITE}/pick/SO-1001");
    bench.becomes(&path, |task| task["lines"][0]["done"] == "1" && task["state"] == "open").await;
    bench.scan(&[&first], Heard::Good);
    bench.shows("Part 02").await;
    bench.scan(&[&second], Heard::Good);
    let done = bench.becomes(&path, |task| task["state"] == "done").await;
    let lines: Vec<_> = (0..2).map(|n| (&done["lines"][n]["done"], &done["lines"][n]["open"])).collect();
    assert_eq!(lines, [(&json!("2"), &json!("0")), (&json!("1"), &json!("0"))]);
    assert_eq!(
        (bench.stock("SKU-0001", "A-01").await, bench.stock("SKU-0002", "A-01").await),
        ("98".into(), "99".into())
    );
    // Asked once more, nothing is to be done once more.
    assert_eq!(bench.post("/v1/tasks", order).await["state"], "done");
    bench.scan(&["SW:CMD:DONE"], Heard::Understood);

    // What nobody wants any more goes from the bench as well.
    let refill = json!({"site": SITE, "kind": "pick", "id": "SO-1002", "lines": [{"item": "SKU-0003", "quantity": "1"}]});
    bench.post("/v1/tasks", refill).await;
    bench.scan(&["SW:WF:PICK", "SW:LOC:A-01", "]C1400SO-1002"], Heard::Understood);
    bench.shows("Part 03").await;
    let withdraw = format!("/v1/tasks/{SITE}/pick/SO-1002/withdraw");
    assert_eq!(bench.post(&withdraw, json!({})).await["result"], "withdrawn");
    assert_eq!(bench.post(&withdraw, json!({})).await["result"], "already_withdrawn");
    let gone = eventually("the bench forgets it", SOON, || async {
        Ok((!bench.screen().contains("Part 03")).then_some(()))
    });
    gone.await.unwrap();
    let open = bench.get("/v1/tasks?state=open").await;
    assert_eq!(open["rows"], json!([]));
    let withdrawn = bench.get("/v1/tasks?state=withdrawn&kind=pick").await;
    assert_eq!(withdrawn["rows"][0]["id"], "SO-1002");

    // Refusals name the field.
    for (body, field) in [
        (json!({"site": SITE, "kind": "dance", "id": "X"}), json!("kind")),
        (json!({"site": SITE, "kind": "pick", "id": "X"}), json!("lines")),
        (
            json!({"site": SITE, "kind": "pick", "id": "X", "lines": [{"item": "SKU-0001", "quantity": "1 000"}]}),
            json!("lines[0].quantity"),
        ),
        (
            json!({"site": SITE, "kind": "pick", "id": "X", "lines": [{"item": "SKU-0001", "quantity": 5}]}),
            json!("lines[0].quantity"),
        ),
    ] {
        let (status, problem) = bench.send(reqwest::Method::POST, "/v1/tasks", &body).await;
        assert!((400..=422).contains(&status), "{status} {problem}");
        assert_eq!(problem["field"], field, "{problem}");
    }
    let unknown =
        json!({"site": SITE, "kind": "pick", "id": "X", "lines": [{"item": "NEW", "quantity": "1"}]});
    let (status, problem) = bench.send(reqwest::Method::POST, "/v1/tasks", &unknown).await;
    assert!(status == 409 && problem["detail"].to_string().contains("NEW"), "{status} {problem}");
    bench.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_code_is_kept_explained_and_booked_once() {
    let mut bench = Bench::begin("unknown = \"record\"\n").await;
    let before = bench.revision();
    // Recorded at the edge, whether anybody listens or not.
    block_in_place(|| bench.site.stop_gateway()).unwrap();
    bench.scan(&["SW:WF:RECEIVE", "SW:LOC:A-02"], Heard::Understood);
    bench.scan(&[STRANGE], Heard::Good);
    bench.site.start_gateway().unwrap();
    bench.site.gateway_ready().await.unwrap();
    bench.scan(&[STRANGE], Heard::Good);
    let unknown = bench.becomes("/v1/codes", |page| page["rows"][0]["events"] == 2).await;
    let row = &unknown["rows"][0];
    assert_eq!((&row["code"], &row["gtin"]), (&json!(STRANGE), &json!("09521234999997")));
    assert_eq!((&row["sought"], &row["site"]), (&json!("item"), &json!(SITE)));
    assert_eq!(bench.stock("SKU-0002", "A-02").await, "none");

    // What cannot be meant is refused, and nothing is said by it.
    let codes = |item: &str| json!({"code": row["code"], "item": item});
    let (status, problem) = bench.send(reqwest::Method::POST, "/v1/codes", &codes("NEW")).await;
    assert!(status == 409 && problem["detail"].to_string().contains("NEW"), "{status} {problem}");
    let (status, problem) = bench.send(reqwest::Method::POST, "/v1/codes", &json!({"code": STRANGE})).await;
    assert_eq!((status, &problem["field"]), (400, &json!("item")), "{problem}");
    // Two people know it at the same time, and one of them is impatient.
    let said = codes("SKU-0002");
    let answers = tokio::join!(bench.post("/v1/codes", said.clone()), bench.post("/v1/codes", said.clone()));
    let again = bench.post("/v1/codes", said).await;
    let booked = |answer: &Value| answer["booked"].as_u64().unwrap();
    assert_eq!((booked(&answers.0) + booked(&answers.1), booked(&again)), (2, 0), "{answers:?}");
    assert_eq!(again["result"], "already_said");
    assert_eq!(bench.stock("SKU-0002", "A-02").await, "2");
    assert_eq!(bench.get("/v1/codes").await["rows"], json!([]));
    assert_eq!(bench.get("/v1/dead-letters?state=open").await["rows"], json!([]));

    // The bench is told by changes, and knows the code from then on.
    let revision = bench.revision_after(before).await;
    assert!(revision.is_multiple_of(2), "{before} {revision}");
    let aliases = bench.get("/v1/aliases").await;
    assert_eq!(
        (&aliases["rows"][0]["item"], &aliases["rows"][0]["kind"]),
        (&json!("SKU-0002"), &json!("gtin"))
    );
    bench.scan(&[STRANGE], Heard::Good);
    bench.shows("Part 02").await;
    let newest =
        bench.becomes("/v1/movements?limit=3&item=SKU-0002", |page| page["rows"][2].is_object()).await;
    let kinds: Vec<_> = (0..3).map(|n| newest["rows"][n]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["movement", "unresolved", "unresolved"]);
    assert_eq!(bench.stock("SKU-0002", "A-02").await, "3");
    bench.site.gateway_command(&["verify-books"]).unwrap();
    // Taken back, the books stay as they are.
    let alias = json!({"code": "09521234999997", "kind": "gtin"});
    assert_eq!(bench.post("/v1/aliases/take-back", alias.clone()).await["result"], "taken_back");
    assert_eq!(bench.post("/v1/aliases/take-back", alias).await["result"], "not_said");
    assert_eq!(bench.stock("SKU-0002", "A-02").await, "3");
    bench.site.gateway_command(&["verify-books"]).unwrap();
    bench.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plate_is_announced_received_and_found() {
    let mut bench = Bench::begin("").await;
    let announced = json!({"site": SITE, "kind": "announced", "id": PLATE, "order": "PO-7", "lines": [
        {"item": "SKU-0003", "quantity": "6"}, {"item": "SKU-0004", "quantity": "4"},
    ]});
    bench.post("/v1/tasks", announced).await;
    let order = json!({"site": SITE, "kind": "receive", "id": "PO-7", "lines": [
        {"item": "SKU-0003", "quantity": "10"}, {"item": "SKU-0004", "quantity": "4"},
    ]});
    bench.post("/v1/tasks", order).await;
    let (status, _) = bench.send(reqwest::Method::GET, &format!("/v1/plates/{PLATE}"), &json!({})).await;
    assert_eq!(status, 404, "announced is not there");
    let (status, problem) =
        bench.send(reqwest::Method::GET, "/v1/plates/395212340000000016", &json!({})).await;
    assert_eq!((status, &problem["field"]), (400, &json!("sscc")));
    // The tasks are at the bench when it asks for what is open of the order.
    bench.scan(&["SW:WF:RECEIVE", "SW:LOC:A-03", "]C1400PO-7"], Heard::Understood);
    bench.shows("Part 03").await;
    bench.scan(&[&format!("]C100{PLATE}")], Heard::Understood);
    bench.shows("YES receives all of it").await;
    bench.scan(&["SW:CMD:YES"], Heard::Good);
    let path = format!("/v1/plates/{PLATE}");
    let plate = eventually("the plate is known", SOON, || async { Ok(bench.site.get(&path).await.ok()) })
        .await
        .unwrap();
    let goods: Vec<_> =
        plate["goods"].as_array().unwrap().iter().map(|g| (&g["item"], &g["quantity"])).collect();
    assert_eq!(goods, [(&json!("SKU-0003"), &json!("6")), (&json!("SKU-0004"), &json!("4"))]);
    assert_eq!(
        (&plate["site"], &plate["location"], &plate["stage"]),
        (&json!(SITE), &json!("A-03"), &json!("known"))
    );
    assert_eq!(bench.stock("SKU-0003", "A-03").await, "6");
    assert_eq!(bench.get(&format!("/v1/tasks/{SITE}/announced/{PLATE}")).await["state"], "done");
    let order = bench.get(&format!("/v1/tasks/{SITE}/receive/PO-7")).await;
    assert_eq!((&order["lines"][0]["open"], &order["lines"][1]["open"]), (&json!("4"), &json!("0")));
    bench.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_come_alone_and_too_many_come_as_a_new_snapshot() {
    let mut bench = Bench::begin("").await;
    let snapshot = bench.revision();
    assert!(!snapshot.is_multiple_of(2), "{snapshot} is a snapshot");
    let rules = |item: u32| format!("/v1/items/SKU-{item:04}/rules");
    let lot = json!({"lot": true, "recalled": ["L-BAD"]});
    let (status, told) = bench.send(reqwest::Method::PUT, &rules(5), &lot).await;
    assert_eq!((status, &told["lot"], &told["recalled"]), (200, &json!(true), &json!(["L-BAD"])), "{told}");
    assert_eq!(bench.get(&rules(5)).await, told);
    let changed = bench.revision_after(snapshot).await;
    assert!(changed.is_multiple_of(2), "{changed} is changes");
    // The station asks for it.
    let (fifth, first) = (bench.item(5), bench.item(1));
    bench.scan(&["SW:WF:RECEIVE", "SW:LOC:A-02"], Heard::Understood);
    bench.scan(&[&first], Heard::Good);
    bench.scan(&[&fifth], Heard::Understood);
    bench.shows("lot").await;
    bench.scan(&["SW:CMD:CANCEL"], Heard::Understood);

    // More than a share of the snapshot is told whole.
    let lots: Vec<String> = (0..450).map(|n| format!("LOT-OF-THE-MAKER-{n:03}")).collect();
    let many = json!({"lot": true, "recalled": lots});
    let (status, told) = bench.send(reqwest::Method::PUT, &rules(6), &many).await;
    assert_eq!((status, told["recalled"].as_array().map(Vec::len)), (200, Some(450)));
    let whole = bench.revision_after(changed).await;
    assert!(!whole.is_multiple_of(2), "{whole} is a snapshot");
    // Nothing new is nothing to tell, and a box that was off is told what it missed.
    block_in_place(|| bench.site.stop_agent()).unwrap();
    let (status, _) = bench.send(reqwest::Method::PUT, &rules(5), &json!({})).await;
    assert_eq!(status, 200);
    bench.site.start_agent().unwrap();
    let back = eventually("the box is told what it missed", SOON, || async {
        Ok(bench
            .site
            .agent_status()
            .ok()
            .and_then(|s| s["catalogue"]["revision"].as_u64())
            .filter(|r| *r > whole))
    });
    let back = back.await.unwrap();
    assert!(back.is_multiple_of(2), "{back} is changes");
    bench.scan(&["SW:WF:RECEIVE", "SW:LOC:A-02"], Heard::Understood);
    bench.scan(&[&fifth], Heard::Good);

    let bad = json!({"piece_weight": {"expected": "0", "tolerance": "1", "uom": "KGM"}});
    let (status, problem) = bench.send(reqwest::Method::PUT, &rules(5), &bad).await;
    assert_eq!((status, &problem["field"]), (400, &json!("piece_weight.expected")), "{problem}");
    let (status, _) = bench.send(reqwest::Method::PUT, "/v1/items/NEW/rules", &json!({})).await;
    assert_eq!(status, 404);
    bench.end();
}
