//! The HTTP door against its own OpenAPI document, on a running site.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says by panicking what went wrong")]

use serde_json::Value;
use stockwire_tests::device::Heard;
use stockwire_tests::peers::Peers;
use stockwire_tests::real::World;
use stockwire_tests::real::process::{Scratch, eventually};
use stockwire_tests::script;
use stockwire_tests::site::{self, Broker, Keeper, Ports, SITE, Site};

use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// What a value must be by a schema of the document; the first difference is named.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return fits(document, &document["components"]["schemas"][name], value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let tried: Vec<String> =
            choices.iter().filter_map(|one| fits(document, one, value, at).err()).collect();
        return if tried.len() < choices.len() { Ok(()) } else { Err(tried.join(" and ")) };
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return Err(format!("{at}: the schema {schema} has no type")),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !kinds.contains(&kind) {
        return Err(format!("{at}: {kinds:?} expected, got {value}"));
    }
    match value {
        Value::Array(list) => {
            let each =
                |(n, one): (usize, &Value)| fits(document, &schema["items"], one, &format!("{at}[{n}]"));
            list.iter().enumerate().try_for_each(each)
        }
        Value::Object(map) => {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !map.contains_key(name) {
                    return Err(format!("{at} lacks {name}"));
                }
            }
            for (name, inside) in map {
                match schema["properties"].get(name) {
                    Some(schema) => fits(document, schema, inside, &format!("{at}.{name}"))?,
                    None if schema["additionalProperties"] == true => {}
                    None => return Err(format!("{at} has {name}, which the document does not know")),
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A plate that the site has been told of.
const PLATE: &str = "395212340000000014";

/// An order, apart from what other doors are asked for.
const ORDER: &str = "O-1";
/// Opened by a signature and not by a key; `tests/tests/orders.rs` has one.
const SIGNED: &str = "/v1/channels/{channel}/webhook";
/// Doors that make no sense for an order of which nothing was asked and nothing is picked, and that is given up by then:
/// they say so.
const LATER: [&str; 4] = [
    "/v1/orders/{channel}/{order}/decide",
    "/v1/orders/{channel}/{order}/hold",
    "/v1/orders/{channel}/{order}/returns",
    "/v1/orders/{channel}/{order}/ship",
];

/// A body that every door takes that wants one.
fn sent(path: &str) -> Value {
    match path {
        "/v1/tasks" => serde_json::json!({"site": SITE, "kind": "pick", "id": "SO-1", "lines": [
            {"item": "SKU-0001", "quantity": "2", "uom": "H87", "from": "A-01", "lot": "L1", "expires_on": "2027-01-31"},
        ]}),
        "/v1/codes" => serde_json::json!({"code": "OLD-1", "item": "SKU-0001"}),
        "/v1/aliases/take-back" => serde_json::json!({"code": "OLD-1", "kind": "text"}),
        "/v1/items/{item}/rules" => serde_json::json!({
            "lot": true, "piece_weight": {"expected": "250", "tolerance": "5.5", "uom": "GRM"},
            "recalled": ["L-BAD"], "packs": [{"gtin": "19521234999994", "pieces": 6}],
        }),
        "/v1/items/{item}/strict" => serde_json::json!({"strict": false}),
        "/v1/reservations" => {
            serde_json::json!({"channel": "shop", "order": "SO-1", "priority": 7, "lines": [
                {"line": 1, "item": "SKU-0001", "site": SITE, "quantity": "1", "uom": "H87"},
            ]})
        }
        "/v1/reservations/{channel}/{order}/resolve" => serde_json::json!({"key": "paid", "step": "confirm"}),
        "/v1/orders" => serde_json::json!({
            "channel": "shop", "order": ORDER, "code": "T-1", "placed_at": "2026-11-23T10:00:00Z", "currency": "EUR",
            "payment": "paid", "delivery": {"name": "A. Buyer", "country": "DE", "postal_code": "20457"},
            "lines": [{"id": "1", "sku": "SKU-0001", "quantity": 1, "unit_price": 1000,
                "amount": {"net": 1000, "tax": 190}, "tax_rate": 1900}],
            "charges": [{"name": "carriage", "amount": {"net": 500, "tax": 95}}], "total": {"net": 1500, "tax": 285},
        }),
        "/v1/orders/{channel}/{order}/cancel" | "/v1/orders/{channel}/{order}/hold" => {
            serde_json::json!({"reason": "seen in a test"})
        }
        "/v1/orders/{channel}/{order}/decide" => {
            serde_json::json!({"check": "fraud", "verdict": "pass", "reason": "seen in a test"})
        }
        "/v1/orders/{channel}/{order}/ship" => {
            serde_json::json!({"key": "1", "carrier": "DHL", "tracking": "JD1"})
        }
        "/v1/orders/{channel}/{order}/returns" => serde_json::json!({
            "key": "R-1", "reason": "too small", "refund": 1190, "lines": [{"line": "1", "quantity": "1", "uom": "H87"}],
        }),
        "/v1/quotas/{account}/{site}/{item}" => serde_json::json!({"quantity": "1", "uom": "H87"}),
        _ => serde_json::json!({"why": "seen in a test"}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_what_the_document_says_and_nobody_enters_without_a_key() {
    site::build().unwrap();
    let world = World::standard();
    let peers = Peers::stand_in(&world).await.unwrap();
    let devices = Scratch::new("devices").unwrap();
    let mut keeper = Keeper::plug(devices.path()).unwrap();
    let ports = Ports {
        scanner: keeper.scanner.port().into(),
        scanner_lines: stockwire_tests::site::BELL.into(),
        scale: Some((keeper.scale.port().into(), "mt-sics".into())),
    };
    let mut site =
        Site::new(Broker::Embedded, &peers.erp_door(), &peers.shop_door().unwrap(), &ports).unwrap();
    site.start_gateway().unwrap();
    site.gateway_ready().await.unwrap();
    site.start_agent().unwrap();
    site.agent_ready().await.unwrap();
    for act in script::acts(&world, SITE, 3, 7) {
        tokio::task::block_in_place(|| keeper.perform(&world, &act)).unwrap();
    }
    // A plate with something on it.
    let strokes = [("SW:WF:PACK", Heard::Understood), (&format!("]C100{PLATE}"), Heard::Understood)];
    let gtin = format!("]E0{}", world.item(1).gtin);
    for (code, expected) in
        strokes.into_iter().chain([(gtin.as_str(), Heard::Good), ("SW:CMD:DONE", Heard::Good)])
    {
        let heard = tokio::task::block_in_place(|| keeper.scan(code)).unwrap();
        assert_eq!(heard, expected, "{code}");
    }
    // Something to set aside: a message that is none.
    publish_garbage(&site).await;
    let letter = eventually("the garbage is set aside", SOON, || async {
        let page = site.get("/v1/dead-letters?state=open").await?;
        Ok(page["rows"].get(0).and_then(|row| row["id"].as_i64()))
    })
    .await
    .unwrap();
    eventually("the plate is known", SOON, || async {
        Ok(site.get(&format!("/v1/plates/{PLATE}")).await.ok())
    })
    .await
    .unwrap();
    eventually("the movements are booked", SOON, || async {
        let page = site.get("/v1/movements?limit=3").await?;
        Ok((page["rows"][2]["station"] == "pack-1").then_some(()))
    })
    .await
    .unwrap();

    eventually("the shop's SKUs are known", SOON, || async {
        let page = site.get("/v1/availability?limit=1").await?;
        Ok(page["rows"][0]["published"].is_object().then_some(()))
    })
    .await
    .unwrap();

    let document = site.get("/openapi.json").await.unwrap();
    let client = reqwest::Client::new();
    let key = site.gateway_command(&["api-key", "create", "test"]).unwrap().trim().to_owned();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let filled = path
                .replace("{channel}", "shop")
                .replace("{sku}", "SKU-0001")
                .replace("{site}", SITE)
                .replace("{agent}", site::AGENT)
                .replace("{id}", &letter.to_string())
                .replace("{key}", "SKU-0001")
                .replace("{item}", "SKU-0001")
                .replace("{kind}", "pick")
                .replace("{task}", "SO-1")
                .replace("{order}", if path.starts_with("/v1/orders") { ORDER } else { "SO-1" })
                .replace("{account}", "K-1")
                .replace("{sscc}", PLATE);
            let url = format!("{}{filled}", site.url());
            let request = || match method.as_str() {
                "get" => client.get(&url),
                "put" => client.put(&url).json(&sent(path)),
                "post" => client.post(&url).json(&sent(path)),
                other => panic!("{other} {path}"),
            };
            // As if through a proxy: from outside, without and with a key.
            let outside = || request().header("x-forwarded-for", "192.0.2.1");
            assert_eq!(outside().send().await.unwrap().status(), 401, "{method} {path} without a key");
            assert_eq!(
                outside().bearer_auth("sw_wrong").send().await.unwrap().status(),
                401,
                "{method} {path}"
            );
            if path == SIGNED {
                asked += 1;
                continue;
            }
            if let Some(schema) = operation.get("requestBody") {
                let schema = &schema["content"]["application/json"]["schema"];
                fits(&document, schema, &sent(path), path).unwrap();
            }
            let answer = outside().bearer_auth(&key).send().await.unwrap();
            let status = answer.status();
            let schema = operation["responses"]["200"]["content"].get("application/json");
            if schema.is_none() && status == 200 {
                // A live view never ends.
                asked += 1;
                continue;
            }
            let text = answer.text().await.unwrap();
            if LATER.contains(&path.as_str()) {
                assert!(status == 400 || status == 409, "{method} {path}: {status} {text}");
                let problem = serde_json::from_str(&text).unwrap();
                fits(&document, &document["components"]["schemas"]["Problem"], &problem, path).unwrap();
                asked += 1;
                continue;
            }
            assert_eq!(status, 200, "{method} {path}: {text}");
            asked += 1;
            if let Some(schema) = schema {
                let value: Value = serde_json::from_str(&text).unwrap();
                fits(&document, &schema["schema"], &value, path).unwrap();
            }
            if !operation["responses"]["200"]["content"]["text/csv"].is_null() {
                is_one_table(&client, &url, &text).await;
            }
        }
    }
    assert!(asked > 12, "{asked} operations");
    site.gateway_command(&["api-key", "revoke", "test"]).unwrap();
    let url = format!("{}/v1/stock", site.url());
    let revoked =
        client.get(&url).header("forwarded", "for=192.0.2.1").bearer_auth(&key).send().await.unwrap();
    assert_eq!(revoked.status(), 401);
    // Refusals name the field.
    let refused = client.get(format!("{url}?site=A/B")).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    let problem: Value = refused.json().await.unwrap();
    fits(&document, &document["components"]["schemas"]["Problem"], &problem, "problem").unwrap();
    assert_eq!(problem["field"], "site");
    let mut order = sent("/v1/orders");
    order["lines"][0]["unit_price"] = (-1).into();
    let refused = client.post(format!("{}/v1/orders", site.url())).json(&order).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["field"], "lines[0].unit_price");
    tokio::task::block_in_place(|| site.stop()).unwrap();
}

/// The same as one table, with the names and rows of the page; and nothing when nothing has changed.
async fn is_one_table(client: &reqwest::Client, url: &str, page: &str) {
    let page: Value = serde_json::from_str(page).unwrap();
    assert!(page["next"].is_null(), "{url}: the page is all there is");
    let table = client.get(url).header("accept", "text/csv").send().await.unwrap().text().await.unwrap();
    let rows = page["rows"].as_array().unwrap();
    assert!(table.lines().count() > rows.len(), "{url}: a line of names and each row, in {table}");
    if let Some(row) = rows.first() {
        let names: Vec<&str> = table.lines().next().unwrap().split(',').collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, row.as_object().unwrap().keys().collect::<Vec<_>>(), "{url}");
    }
    let first = client.get(url).send().await.unwrap();
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    let again = client.get(url).header("if-none-match", &tag).send().await.unwrap();
    // A device's time of day may have moved on meanwhile.
    let moved = again.headers()["etag"] != tag.as_str();
    assert!(moved || again.status() == 304, "{url}: {}", again.status());
}

/// Publishes bytes that are no message, under the agent's name.
async fn publish_garbage(site: &Site) {
    let config = std::fs::read_to_string(site.folder().join("gateway.toml")).unwrap();
    let port = config.lines().find_map(|line| line.strip_prefix("port = ")).unwrap().parse().unwrap();
    let mut options = rumqttc::MqttOptions::new("garbage-1", (String::from("127.0.0.1"), port));
    options.set_keep_alive(30);
    let (client, mut link) = rumqttc::AsyncClient::builder(options).capacity(10).build();
    let topic = format!("stockwire/v1/{SITE}/{}/up/events", site::AGENT);
    let options = rumqttc::PublishOptions::at_least_once();
    client.publish(topic, vec![0xff; 40], options).await.unwrap();
    loop {
        if let rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_)) = link.poll().await.unwrap() {
            return;
        }
    }
}
