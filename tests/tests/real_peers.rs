//! Each real peer does what we build on, and the proxy in front of it loses exactly what it should.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

use std::time::Duration;

use reqwest::{Method, StatusCode};
use rumqttc::mqttbytes::v5::{Packet, PubAckReason, SubscribeReasonCode};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, PublishOptions, QoS, TlsConfiguration, Transport};
use serde_json::{Value, json};
use stockwire_tests::real::mosquitto::{Agent, GATEWAY, Mosquitto, Persistence};
use stockwire_tests::real::pki::{Identity, Pki};
use stockwire_tests::real::process::{Scratch, eventually};
use stockwire_tests::real::proxy::{Fault, FaultProxy, Rule};
use stockwire_tests::real::tryton::{Answer, Document, Query, Tryton};
use stockwire_tests::real::vendure::{Level, Vendure};
use stockwire_tests::real::world::{WEIGHED_SKU, World};

/// Long enough for a busy machine; nothing here waits that long when it works.
const DEADLINE: Duration = Duration::from_secs(20);

const AGENTS: &[Agent<'static>] = &[Agent { site: "HAM", id: "ham-01" }, Agent { site: "MUC", id: "muc-01" }];

// --- Mosquitto ---

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real peers: cargo verify --stage real"]
async fn mosquitto_carries_an_agents_own_topics_and_refuses_all_others() {
    let mut broker = Mosquitto::start(AGENTS, Persistence::Off).unwrap();
    let pki = broker.pki().unwrap();
    let (mut gateway, mut agent) =
        (Mqtt::connect(&broker, pki, GATEWAY), Mqtt::connect(&broker, pki, "ham-01"));
    assert_eq!(gateway.subscribe("$share/gateway/stockwire/v1/+/+/up/#").await, granted());
    assert_eq!(agent.subscribe("stockwire/v1/HAM/ham-01/down/#").await, granted());

    assert_eq!(agent.publish("stockwire/v1/HAM/ham-01/up/events", "one").await, PubAckReason::Success);
    assert_eq!(gateway.receive().await, ("stockwire/v1/HAM/ham-01/up/events".to_owned(), "one".to_owned()));
    gateway.publish("stockwire/v1/HAM/ham-01/down/acks", "ack").await;
    assert_eq!(agent.receive().await, ("stockwire/v1/HAM/ham-01/down/acks".to_owned(), "ack".to_owned()));

    for forged in [
        "stockwire/v1/MUC/muc-01/up/events",
        "stockwire/v1/MUC/ham-01/up/events",
        "stockwire/v1/HAM/ham-01/down/acks",
    ] {
        assert_eq!(agent.publish(forged, "forged").await, PubAckReason::NotAuthorized, "{forged}");
    }
    assert_eq!(gateway.publish("stockwire/v1/HAM/ham-01/up/events", "x").await, PubAckReason::NotAuthorized);

    // The same port and certificates after a power cut; without persistence the subscription is gone.
    broker.kill9().unwrap();
    broker.restart().unwrap();
    let pki = broker.pki().unwrap();
    let mut gateway = Mqtt::connect(&broker, pki, GATEWAY);
    assert_eq!(gateway.subscribe("stockwire/v1/+/+/up/#").await, granted());
    let mut agent = Mqtt::connect(&broker, pki, "ham-01");
    assert_eq!(agent.publish("stockwire/v1/HAM/ham-01/up/events", "two").await, PubAckReason::Success);
    assert_eq!(gateway.receive().await.1, "two", "and nothing forged was delivered before it");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real peers: cargo verify --stage real"]
async fn mosquitto_lets_in_nobody_without_a_certificate_of_its_authority() {
    let broker = Mosquitto::start(AGENTS, Persistence::On).unwrap();
    let elsewhere = Scratch::new("stranger").unwrap();
    let stranger = Pki::create(elsewhere.path()).unwrap().client("ham-01").unwrap();
    let ca = broker.pki().unwrap().ca();
    for identity in [Some(&stranger), None] {
        let mut options = MqttOptions::new("ham-01", ("localhost", broker.port()));
        options.set_transport(Transport::tls_with_config(tls(&ca, identity)));
        let (_client, mut events) = AsyncClient::builder(options).capacity(10).build();
        let refused = tokio::time::timeout(DEADLINE, async {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => return false,
                    Ok(_) => {}
                    Err(_) => return true,
                }
            }
        });
        assert!(refused.await.unwrap(), "let in with {identity:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real peers: cargo verify --stage real"]
async fn mosquitto_remembers_over_a_restart_only_when_told_to() {
    for (persistence, remembered) in [(Persistence::On, true), (Persistence::Off, false)] {
        let mut broker = Mosquitto::start_plain(persistence).unwrap();
        let mut writer = Mqtt::connect_plain(&broker, "writer");
        assert_eq!(writer.publish_retained("state", "kept").await, PubAckReason::NoMatchingSubscribers);
        broker.stop().unwrap();
        broker.restart().unwrap();
        let mut reader = Mqtt::connect_plain(&broker, "reader");
        assert_eq!(reader.subscribe("#").await, granted());
        // A retained message comes before anything published later, so the marker tells that there was none.
        Mqtt::connect_plain(&broker, "marker").publish("marker", "end").await;
        let first = reader.receive().await.0;
        assert_eq!(first, if remembered { "state" } else { "marker" }, "{persistence:?}");
    }
}

struct Mqtt {
    client: AsyncClient,
    events: EventLoop,
}

impl Mqtt {
    fn connect(broker: &Mosquitto, pki: &Pki, name: &str) -> Self {
        let mut options = MqttOptions::new(name, ("localhost", broker.port()));
        options.set_transport(Transport::tls_with_config(tls(&pki.ca(), Some(&pki.client(name).unwrap()))));
        let (client, events) = AsyncClient::builder(options).capacity(10).build();
        Self { client, events }
    }

    fn connect_plain(broker: &Mosquitto, name: &str) -> Self {
        let options = MqttOptions::new(name, ("localhost", broker.port()));
        let (client, events) = AsyncClient::builder(options).capacity(10).build();
        Self { client, events }
    }

    async fn subscribe(&mut self, filter: &str) -> Vec<SubscribeReasonCode> {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        self.until(|packet| match packet {
            Packet::SubAck(ack) => Some(ack.return_codes.clone()),
            _ => None,
        })
        .await
    }

    async fn publish(&mut self, topic: &str, payload: &str) -> PubAckReason {
        self.publish_as(PublishOptions::new(QoS::AtLeastOnce), topic, payload).await
    }

    async fn publish_retained(&mut self, topic: &str, payload: &str) -> PubAckReason {
        self.publish_as(PublishOptions::new(QoS::AtLeastOnce).retained(), topic, payload).await
    }

    async fn publish_as(&mut self, options: PublishOptions, topic: &str, payload: &str) -> PubAckReason {
        self.client.publish(topic.to_owned(), payload.to_owned(), options).await.unwrap();
        self.until(|packet| match packet {
            Packet::PubAck(ack) => Some(ack.reason),
            _ => None,
        })
        .await
    }

    async fn receive(&mut self) -> (String, String) {
        self.until(|packet| match packet {
            Packet::Publish(publish) => {
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                Some((topic, String::from_utf8_lossy(&publish.payload).into_owned()))
            }
            _ => None,
        })
        .await
    }

    async fn until<T>(&mut self, wanted: impl Fn(&Packet) -> Option<T>) -> T {
        let arrival = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await.unwrap()
                    && let Some(found) = wanted(&packet)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(DEADLINE, arrival).await.expect("the broker answers in time")
    }
}

fn tls(ca: &std::path::Path, identity: Option<&Identity>) -> TlsConfiguration {
    let read = |path| std::fs::read(path).unwrap();
    let client_auth = identity.map(|identity| (read(&identity.certificate), read(&identity.key)));
    TlsConfiguration::Simple { ca: std::fs::read(ca).unwrap(), alpn: None, client_auth }
}

fn granted() -> Vec<SubscribeReasonCode> {
    vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)]
}

// --- Tryton ---

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real peers: cargo verify --stage real"]
async fn tryton_posts_every_kind_of_document_and_shows_its_quantities() {
    let mut tryton = Tryton::start(&World::standard()).unwrap();
    assert_eq!(tryton.seed().items["SKU-0001"].gtin, World::standard().item(1).gtin);
    assert_eq!(tryton.quantity("SKU-0001", "HAM/A-01").await.unwrap(), 100_000);

    let received =
        goods_in(&tryton, "in-1", &[("SKU-0001", 10.0, "HAM/A-02"), (WEIGHED_SKU, 1.234, "HAM/A-03")]);
    assert_eq!(post(&tryton, "stock.shipment.in", &received, &["receive"]).await, "done");
    let moved = internal(
        &tryton,
        "move-1",
        &[("SKU-0001", 4.0, "HAM/A-02", "HAM/A-04"), ("SKU-0002", 5.0, "HAM/A-01", "HAM/A-02")],
    );
    assert_eq!(post(&tryton, "stock.shipment.internal", &moved, &["wait", "assign_try", "do"]).await, "done");
    let shipped = goods_out(&tryton, "out-1", &[("SKU-0001", 3.0, "HAM/A-04")]);
    assert_eq!(
        post(&tryton, "stock.shipment.out", &shipped, &["wait", "assign_try", "pack", "do"]).await,
        "done"
    );

    let quantities = tryton.quantities().await.unwrap();
    let at =
        |sku: &str, place: &str| quantities.get(&(sku.to_owned(), place.to_owned())).copied().unwrap_or(0);
    assert_eq!(at("SKU-0001", "HAM/A-02"), 6_000);
    assert_eq!(at("SKU-0001", "HAM/A-04"), 1_000);
    assert_eq!(at("SKU-0002", "HAM/A-01"), 95_000);
    assert_eq!(at(WEIGHED_SKU, "HAM/A-03"), 1_234);
    assert_eq!(at("SKU-0001", "HAM/STO"), 0, "a zone alone, without its bins");

    // Too little: the ERP waits, until told that it has happened all the same.
    let short = internal(&tryton, "short", &[("SKU-0003", 130.0, "HAM/A-01", "HAM/A-02")]);
    assert_eq!(post(&tryton, "stock.shipment.internal", &short, &["wait", "assign_try"]).await, "waiting");
    let id = tryton.documents("short").await.unwrap()[0].id;
    for (action, state) in [("assign_force", "assigned"), ("do", "done")] {
        assert_eq!(
            act(&tryton, "stock.shipment.internal", id, action).await.record().unwrap()["state"],
            state
        );
    }
    assert_eq!(tryton.quantity("SKU-0003", "HAM/A-01").await.unwrap(), -30_000);
    let again = act(&tryton, "stock.shipment.internal", id, "do").await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "a finished document is not done twice");

    tryton.kill9().unwrap();
    tryton.restart().unwrap();
    assert_eq!(tryton.quantity("SKU-0001", "HAM/A-04").await.unwrap(), 1_000, "what was answered survives");
    tryton.reset().unwrap();
    assert_eq!(tryton.documents("in-1").await.unwrap(), []);
    assert_eq!(tryton.quantity("SKU-0003", "HAM/A-01").await.unwrap(), 100_000);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real peers: cargo verify --stage real"]
async fn tryton_commits_although_the_answer_is_lost() {
    let tryton = Tryton::start(&World::empty()).unwrap();
    let proxy = FaultProxy::start(tryton.port()).await.unwrap();
    proxy.set_rules(vec![Rule::every_request(Fault::LoseAnswer).method("POST").times(2)]);
    let client = reqwest::Client::new();
    let url = format!("http://127.0.0.1:{}/stock/rest/model/stock.shipment.in", proxy.port());
    let body = goods_in(&tryton, "lost", &[("SKU-0001", 7.0, "MUC/A-01")]);

    let send = async |url: &str, body: &Value| {
        client
            .post(url)
            .bearer_auth(&tryton.seed().rest_key)
            .header("X-Tryton-Context", CONTEXT)
            .json(body)
            .send()
            .await
    };
    send(&url, &body).await.expect_err("the answer was lost");
    let created = tryton.documents("lost").await.unwrap();
    let [Document { id, state, .. }] = created.as_slice() else { panic!("not one document: {created:?}") };
    assert_eq!(state, "draft");
    let receive = format!("{url}/{id}/receive");
    send(&receive, &json!({})).await.expect_err("the answer was lost");
    assert_eq!(tryton.quantity("SKU-0001", "MUC/A-01").await.unwrap(), 7_000, "and yet it was done");
    let repeated = send(&receive, &json!({})).await.expect("the third answer passes");
    assert_eq!(repeated.status(), StatusCode::BAD_REQUEST);
    assert_eq!(tryton.quantity("SKU-0001", "MUC/A-01").await.unwrap(), 7_000, "once");
    assert_eq!((proxy.counts().requests, proxy.counts().forwarded, proxy.counts().faults), (3, 3, 2));
}

/// `{"company":1}`
const CONTEXT: &str = "eyJjb21wYW55IjoxfQ==";

async fn post(tryton: &Tryton, model: &str, document: &Value, actions: &[&str]) -> String {
    let query = Query { fields: &["state"], ..Query::default() };
    let mut record = tryton.rest(Method::POST, model, query, Some(document)).await.unwrap().record().unwrap();
    let id = record["id"].as_i64().unwrap();
    for action in actions {
        record = act(tryton, model, id, action).await.record().unwrap();
    }
    record["state"].as_str().unwrap().to_owned()
}

async fn act(tryton: &Tryton, model: &str, id: i64, action: &str) -> Answer {
    let query = Query { fields: &["state"], ..Query::default() };
    tryton.rest(Method::POST, &format!("{model}/{id}/{action}"), query, Some(&json!({}))).await.unwrap()
}

fn goods_in(tryton: &Tryton, reference: &str, lines: &[(&str, f64, &str)]) -> Value {
    let seed = tryton.seed();
    let zones = &seed.sites[&lines[0].2[..3]];
    let moves: Vec<Value> = lines
        .iter()
        .map(|(sku, quantity, to)| {
            priced(line(tryton, sku, *quantity, seed.supplier.location, seed.locations[*to]), seed.currency)
        })
        .collect();
    json!({"reference": reference, "company": seed.company, "supplier": seed.supplier.party,
        "warehouse": zones.warehouse, "warehouse_input": zones.storage, "warehouse_storage": zones.storage,
        "moves": [["create", moves]]})
}

fn internal(tryton: &Tryton, reference: &str, lines: &[(&str, f64, &str, &str)]) -> Value {
    let seed = tryton.seed();
    let storage = seed.sites[&lines[0].2[..3]].storage;
    let moves: Vec<Value> = lines
        .iter()
        .map(|(sku, quantity, from, to)| {
            line(tryton, sku, *quantity, seed.locations[*from], seed.locations[*to])
        })
        .collect();
    json!({"reference": reference, "state": "waiting", "company": seed.company,
        "from_location": storage, "to_location": storage, "moves": [["create", moves]]})
}

fn goods_out(tryton: &Tryton, reference: &str, lines: &[(&str, f64, &str)]) -> Value {
    let seed = tryton.seed();
    let zones = &seed.sites[&lines[0].2[..3]];
    let moves: Vec<Value> = lines
        .iter()
        .map(|(sku, quantity, from)| {
            priced(line(tryton, sku, *quantity, seed.locations[*from], seed.customer.location), seed.currency)
        })
        .collect();
    json!({"reference": reference, "state": "waiting", "company": seed.company, "customer": seed.customer.party,
        "delivery_address": seed.customer.address, "warehouse": zones.warehouse,
        "warehouse_storage": zones.storage, "warehouse_output": zones.storage, "moves": [["create", moves]]})
}

fn line(tryton: &Tryton, sku: &str, quantity: f64, from: i64, to: i64) -> Value {
    let (seed, item) = (tryton.seed(), &tryton.seed().items[sku]);
    json!({"product": item.id, "unit": item.unit, "quantity": quantity, "from_location": from, "to_location": to,
        "company": seed.company})
}

fn priced(mut line: Value, currency: i64) -> Value {
    line["unit_price"] = json!({"__class__": "Decimal", "decimal": "0"});
    line["currency"] = currency.into();
    line
}

// --- Vendure ---

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real peers: cargo verify --stage real"]
async fn vendure_takes_stock_by_site_and_subtracts_what_it_has_sold() {
    let mut shop = Vendure::start(&World::standard()).unwrap();
    let level = |on_hand, allocated| Level { on_hand, allocated };
    assert_eq!(
        shop.stock("SKU-0001").await.unwrap()["HAM"],
        level(0, 0),
        "nothing until the gateway says so"
    );
    shop.set_stock("SKU-0001", "HAM", 5).await.unwrap();
    shop.set_stock("SKU-0001", "MUC", 2).await.unwrap();

    shop.buy("SKU-0001", 3).await.unwrap();
    let stock = shop.stock("SKU-0001").await.unwrap();
    assert_eq!(stock["HAM"], level(5, 3));
    assert_eq!(stock["MUC"], level(2, 0));
    shop.buy("SKU-0001", 5).await.expect_err("only four are left to sell");

    shop.kill9().unwrap();
    shop.restart().unwrap();
    assert_eq!(shop.stock("SKU-0001").await.unwrap()["HAM"], level(5, 3), "what was answered survives");
    shop.reset().unwrap();
    assert_eq!(shop.stock("SKU-0001").await.unwrap()["HAM"], level(0, 0));
    assert_eq!(shop.all_stock().await.unwrap().len(), World::standard().items.len());
}

// --- The proxy, in front of a small server of our own ---

#[tokio::test]
async fn proxy_loses_answers_only_after_the_server_has_worked() {
    let served = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = std::sync::Arc::clone(&served);
    let big = "x".repeat(200_000);
    let app = axum::Router::new().fallback(move |body: String| {
        let (counter, big) = (std::sync::Arc::clone(&counter), big.clone());
        async move {
            let number = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            format!("{number} {body} {big}")
        }
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let served = || served.load(std::sync::atomic::Ordering::SeqCst);
    let proxy = FaultProxy::start(port).await.unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One connection for all, to see that the proxy keeps it open.
    let client = reqwest::Client::builder().pool_max_idle_per_host(1).build().unwrap();
    let post = async |path: &str| {
        let request = client.post(format!("http://127.0.0.1:{}{path}", proxy.port())).body("hello");
        let answer = request.timeout(Duration::from_secs(1)).send().await?;
        Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.headers().clone(), answer.text().await?))
    };

    assert!(post("/a").await.unwrap().2.starts_with("0 hello xxx"));

    proxy.set_rules(vec![
        Rule::every_request(Fault::LoseAnswer).path_contains("/lose").every(2),
        Rule::every_request(Fault::LoseRequest).path_contains("/gone"),
        Rule::every_request(Fault::StallAnswer(DEADLINE)).path_contains("/stall").method("POST"),
        Rule::every_request(Fault::Refuse { status: 429, retry_after_s: Some(7) })
            .path_contains("/busy")
            .times(1),
    ]);
    post("/lose").await.unwrap();
    assert!(!post("/lose").await.unwrap_err().is_timeout(), "a reset is seen at once");
    assert_eq!(served(), 3, "the server had worked");
    assert!(!post("/gone").await.unwrap_err().is_timeout());
    assert_eq!(served(), 3, "the server never saw it");
    assert!(post("/stall").await.unwrap_err().is_timeout());
    assert_eq!(served(), 4);
    let (status, headers, _) = post("/busy").await.unwrap();
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (429, "7"));
    assert_eq!(post("/busy").await.unwrap().0, 200, "once was enough");
    proxy.set_rules(vec![]);
    assert_eq!(post("/lose").await.unwrap().0, 200);

    let counts =
        eventually("all requests are counted", DEADLINE, async || Ok(Some(proxy.counts()))).await.unwrap();
    assert_eq!((counts.requests, counts.forwarded, counts.faults), (8, 6, 4));
    server.abort();
}
