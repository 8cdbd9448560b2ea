//! A real Tryton 8.0, seeded from a [`World`], served on a private port.
//!
//! What we speak to it is its REST door; these shapes were seen with trytond 8.0.12, trytond-stock 8.0.5
//! and trytond-sale 8.0.5.
//! Base `http://127.0.0.1:PORT/stock/rest/model/`; `Authorization: Bearer KEY`; `X-Tryton-Context` carries URL-safe
//! base64 of `{"company":1}` and, when writing, `"_skip_warnings":true`. Query: `f` a field each (dots reach into related
//! records), `d` the domain and `o` the order as base64 JSON, `s` limit, `p` offset. `Decimal` is
//! `{"__class__":"Decimal","decimal":"0"}`, a date `{"__class__":"date","year":2026,"month":11,"day":22}`.
//!
//! ```text
//! items      GET product.product?f=code&f=default_uom.symbol&f=identifiers.type&f=identifiers.code
//!            [{"id":1,"code":"SKU-0001","default_uom":{"id":1,"symbol":"u"},
//!              "identifiers":[{"id":1,"type":"ean","code":"9521234000013"}]}]
//! places     GET stock.location?f=code&f=type&f=warehouse.code&d=[["type","in",["storage","warehouse","lost_found"]]]
//!            [{"id":13,"type":"storage","code":"HAM/A-01","warehouse":{"id":12,"code":"HAM"}}]
//! quantities GET product.product?f=code&f=quantity&d=[["quantity","!=",0]]
//!              context {"company":1,"locations":[13],"with_childs":false}
//!            [{"id":1,"code":"SKU-0001","quantity":100.0}]
//!
//! goods in   POST stock.shipment.in?f=state    input and storage both the storage zone: any bin, one step
//!              {"reference":R,"company":1,"supplier":2,"warehouse":12,"warehouse_input":9,"warehouse_storage":9,
//!               "moves":[["create",[{"product":1,"unit":1,"quantity":10.0,"from_location":6,"to_location":14,
//!                 "unit_price":DECIMAL,"currency":1,"company":1}]]]}                          -> draft
//!            POST stock.shipment.in/ID/receive {}                                            -> done
//! internal   POST stock.shipment.internal?f=state    born waiting, or its lines must equal its head
//!              {"reference":R,"state":"waiting","company":1,"from_location":9,"to_location":9,
//!               "moves":[["create",[{"product":1,"unit":1,"quantity":5.0,"from_location":13,"to_location":16,
//!                 "company":1}]]]}                                                           -> waiting
//!            POST .../ID/wait {} (gives the number), assign_try {} -> assigned, do {}          -> done
//!            assign_try that finds too little leaves waiting; assign_force {} -> assigned, stock may go below zero
//! found,lost the same with the lost_found location (4) as from_location, or as to_location
//! outgoing   POST stock.shipment.out?f=state    storage and output both the storage zone: no picking step
//!              {"reference":R,"state":"waiting","company":1,"customer":3,"delivery_address":3,"warehouse":12,
//!               "warehouse_storage":9,"warehouse_output":9,"moves":[["create",[{"product":1,"unit":1,"quantity":3.0,
//!                 "from_location":13,"to_location":7,"unit_price":DECIMAL,"currency":1,"company":1}]]]} -> waiting
//!            wait, assign_try -> assigned, pack -> packed, do                                 -> done
//! count      POST stock.inventory?f=state {"number":R,"company":1,"location":13,"date":DATE,
//!              "lines":[["create",[{"product":5,"quantity":97.0}]]]}                          -> draft
//!            POST stock.inventory/ID/confirm {}     posts 97 less what was there at create      -> done
//! sale       POST sale.sale?f=state {"reference":R,"company":1,"currency":1,"warehouse":12,"party":3,"invoice_address":3,
//!              "shipment_address":3,"invoice_method":"order","shipment_method":"manual","lines":[["create",[
//!                {"type":"line","product":1,"unit":1,"quantity":2.0,"unit_price":DECIMAL,"taxes":[["add",[1]]]}]]]} -> draft
//!            POST sale.sale/ID/quote {} -> quotation, confirm {} -> confirmed, and processing with an invoice in draft;
//!            an outgoing move with "origin":"sale.line,ID" counts for it: shipment_state none -> sent
//! search     GET stock.shipment.in?f=state&d=[["reference","=",R]]      (inventory: number)
//! ```
//! Only the last step changes stock, and repeating it is `400 {"status":400,"message":"You can not call ..."}`. So a
//! create that commits after its client gave up does no harm, as long as one document alone is carried to its end.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cache;
use super::install::{self, Tool};
use super::process::{Child, Scratch, free_port, random_secret, write_private};
use super::world::World;

/// The name of the database, which is the first part of every path.
const DATABASE: &str = "stock";
/// Up within 2 s on an idle machine; tests run in parallel on few cores.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// Twice the slowest call that was measured under load.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What the seed script tells about the database it made.
#[derive(Debug, Clone, Deserialize)]
pub struct Seed {
    /// Opens the REST door for the user `gateway`.
    pub rest_key: String,
    /// The company's id.
    pub company: i64,
    /// The currency's id.
    pub currency: i64,
    /// Who sells to us.
    pub supplier: Party,
    /// Who buys from us.
    pub customer: Party,
    /// Warehouses by code.
    pub sites: BTreeMap<String, Zones>,
    /// Places by `SITE/LOCATION`, the zones `STO`, `IN` and `OUT` among them.
    pub locations: BTreeMap<String, i64>,
    /// Items by SKU.
    pub items: BTreeMap<String, SeededItem>,
}

/// A business partner.
#[derive(Debug, Clone, Deserialize)]
pub struct Party {
    /// Its id.
    pub party: i64,
    /// The location that its goods come from or go to.
    pub location: i64,
    /// Where to deliver; only the customer's is given.
    pub address: Option<i64>,
}

/// The zones of a warehouse.
#[derive(Debug, Clone, Deserialize)]
pub struct Zones {
    /// The warehouse itself.
    pub warehouse: i64,
    /// `STO`, parent of the bins.
    pub storage: i64,
    /// `IN`
    pub input: i64,
    /// `OUT`
    pub output: i64,
    /// Where what is lost goes and what is found comes from; shared by all warehouses.
    pub lost_found: i64,
}

/// An item as Tryton knows it.
#[derive(Debug, Clone, Deserialize)]
pub struct SeededItem {
    /// The product's id.
    pub id: i64,
    /// GTIN-13.
    pub gtin: String,
    /// The id of its unit.
    pub unit: i64,
}

/// A running Tryton. Dropping it kills it and removes its database.
pub struct Tryton {
    child: Child,
    scratch: Scratch,
    template: PathBuf,
    port: u16,
    seed: Seed,
    http: reqwest::Client,
}

impl Tryton {
    /// Installs and seeds what is missing, then serves a fresh copy.
    pub fn start(world: &World) -> Result<Self> {
        let environment = install::ensure(Tool::Tryton)?;
        let template = seeded(&environment, world)?;
        let seed = fs::read(template.join("seed.json")).context("reading the seed")?;
        let seed = serde_json::from_slice(&seed).context("understanding the seed")?;
        let scratch = Scratch::new("tryton")?;
        let port = free_port()?;
        restore(&template, scratch.path())?;
        write_config(scratch.path())?;
        let child = launch(&environment, scratch.path(), port)?;
        Ok(Self { child, scratch, template, port, seed, http: super::http_client()? })
    }

    /// The base URL with the database's name, as a connector is configured: `http://127.0.0.1:PORT/stock`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Keys and ids.
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Kills it as a power cut would.
    pub fn kill9(&mut self) -> Result<()> {
        self.child.kill9()
    }

    /// Starts it again on the same port with the data that it had.
    pub fn restart(&mut self) -> Result<()> {
        if self.child.is_running() {
            self.kill9()?;
        }
        self.child = launch(&install::ensure(Tool::Tryton)?, self.scratch.path(), self.port)?;
        Ok(())
    }

    /// Starts it again on the same port as it was seeded.
    pub fn reset(&mut self) -> Result<()> {
        self.kill9()?;
        restore(&self.template, self.scratch.path())?;
        self.restart()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.child.log()
    }

    /// One REST call as the gateway's user. `path` is `MODEL`, `MODEL/ID` or `MODEL/ID/ACTION`.
    pub async fn rest(
        &self,
        method: Method,
        path: &str,
        query: Query<'_>,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut context = json!({"company": self.seed.company, "_skip_warnings": true});
        if let (Value::Object(all), Value::Object(more)) = (&mut context, query.context) {
            all.extend(more);
        }
        let mut url =
            reqwest::Url::parse(&format!("{}/rest/model/{path}", self.url())).context("building the URL")?;
        for field in query.fields {
            url.query_pairs_mut().append_pair("f", field);
        }
        if !query.domain.is_null() {
            url.query_pairs_mut().append_pair("d", &base64(query.domain.to_string().as_bytes()));
        }
        let mut request = self
            .http
            .request(method, url)
            .timeout(CALL_TIMEOUT)
            .bearer_auth(&self.seed.rest_key)
            .header("X-Tryton-Context", base64(context.to_string().as_bytes()));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("calling {path}"))?;
        let status = response.status();
        let text = response.text().await.with_context(|| format!("reading the answer of {path}"))?;
        Ok(Answer { status, text })
    }

    /// How much of `sku` lies in exactly this place (`HAM/A-01`), in thousandths of its unit.
    pub async fn quantity(&self, sku: &str, place: &str) -> Result<i64> {
        Ok(self.quantities_at(place).await?.get(sku).copied().unwrap_or(0))
    }

    /// What lies in each place, in thousandths, by (SKU, place); nothing where nothing is.
    pub async fn quantities(&self) -> Result<BTreeMap<(String, String), i64>> {
        let mut all = BTreeMap::new();
        for place in self.seed.locations.keys() {
            for (sku, quantity) in self.quantities_at(place).await? {
                all.insert((sku, place.clone()), quantity);
            }
        }
        Ok(all)
    }

    /// Every shipment with this reference and every inventory with this number.
    pub async fn documents(&self, reference: &str) -> Result<Vec<Document>> {
        const MODELS: [(&str, &str); 4] = [
            ("stock.shipment.in", "reference"),
            ("stock.shipment.internal", "reference"),
            ("stock.shipment.out", "reference"),
            ("stock.inventory", "number"),
        ];
        let mut found = Vec::new();
        for (model, key) in MODELS {
            let query =
                Query { fields: &["state"], domain: json!([[key, "=", reference]]), ..Query::default() };
            for row in self.rest(Method::GET, model, query, None).await?.rows()? {
                let state = row["state"].as_str().context("a document without state")?.to_owned();
                found.push(Document {
                    model,
                    id: row["id"].as_i64().context("a document without id")?,
                    state,
                });
            }
        }
        Ok(found)
    }

    async fn quantities_at(&self, place: &str) -> Result<BTreeMap<String, i64>> {
        let location = self.seed.locations.get(place).with_context(|| format!("no place {place}"))?;
        let query = Query {
            fields: &["code", "quantity"],
            domain: json!([["quantity", "!=", 0]]),
            // Without with_childs a zone would also show what its bins hold.
            context: json!({"locations": [location], "with_childs": false}),
        };
        let mut quantities = BTreeMap::new();
        for row in self.rest(Method::GET, "product.product", query, None).await?.rows()? {
            let sku = row["code"].as_str().context("a product without code")?;
            let quantity = row["quantity"].as_f64().context("a product without quantity")?;
            // Tryton speaks in floats; no unit of our seed has more than three decimals.
            quantities.insert(sku.to_owned(), (quantity * 1000.0).round() as i64);
        }
        Ok(quantities)
    }
}

/// What to ask for.
#[derive(Debug, Default)]
pub struct Query<'a> {
    /// Fields to be answered.
    pub fields: &'a [&'a str],
    /// Which records; null for all.
    pub domain: Value,
    /// Added to the context.
    pub context: Value,
}

/// Status and text as they came.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// JSON when it went well or broke a business rule, HTML otherwise.
    pub text: String,
}

impl Answer {
    /// The record answered; an error unless the status is 200.
    pub fn record(self) -> Result<Value> {
        if self.status != StatusCode::OK {
            bail!("Tryton answered {}: {}", self.status, self.text);
        }
        serde_json::from_str(&self.text).with_context(|| format!("not JSON: {}", self.text))
    }

    /// The records found.
    pub fn rows(self) -> Result<Vec<Value>> {
        match self.record()? {
            Value::Array(rows) => Ok(rows),
            other => bail!("not a list: {other}"),
        }
    }
}

/// A shipment or an inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// `stock.shipment.in`
    pub model: &'static str,
    /// Its id within the model.
    pub id: i64,
    /// `done`
    pub state: String,
}

/// The folder with the seeded database, its seed.json and the world that it was made from.
fn seeded(environment: &Path, world: &World) -> Result<PathBuf> {
    let script = cache::peer_file("tryton_seed.py");
    let program = fs::read(&script).with_context(|| format!("reading {}", script.display()))?;
    let mut description = serde_json::to_value(world).context("describing the world")?;
    let inputs = (environment, &program, description.to_string());
    let empty = with_modules(environment)?;
    cache::folder("tryton-seeded", &inputs, "seeding Tryton", |folder| {
        restore(&empty, folder)?;
        write_config(folder)?;
        description["gateway_password"] = random_secret()?.into();
        write_private(&folder.join("world.json"), description.to_string().as_bytes())?;
        write_private(&folder.join("seed.json"), b"")?; // the script keeps its permissions
        let mut command = Command::new(environment.join("bin/python"));
        command.arg(script);
        command.args([
            config_path(folder),
            DATABASE.into(),
            folder.join("world.json"),
            folder.join("seed.json"),
        ]);
        finish("the seed script", command)
    })
}

/// The folder with a database that has the modules `stock` and `sale` and nothing in them: it takes longest and is the
/// same for all.
fn with_modules(environment: &Path) -> Result<PathBuf> {
    cache::folder("tryton-empty", &environment, "making Tryton's tables", |folder| {
        write_config(folder)?;
        write_private(&database_path(folder), b"")?; // trytond-admin wants the file to exist
        let password = folder.join("admin.password");
        write_private(&password, random_secret()?.as_bytes())?;
        let mut command = Command::new(environment.join("bin/trytond-admin"));
        command
            .args([
                "-d",
                DATABASE,
                "-u",
                "stock",
                "sale",
                "--activate-dependencies",
                "--email",
                "admin@example.invalid",
                "-c",
            ])
            .arg(config_path(folder))
            .env("TRYTONPASSFILE", password);
        finish("trytond-admin", command)
    })
}

fn finish(name: &str, mut command: Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        bail!("{name} failed with {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn restore(template: &Path, folder: &Path) -> Result<()> {
    // SQLite would replay what an earlier run left beside the file into the new one.
    for suffix in ["-journal", "-wal", "-shm"] {
        let leftover = folder.join(format!("{DATABASE}.sqlite{suffix}"));
        if leftover.exists() {
            fs::remove_file(&leftover).with_context(|| format!("removing {}", leftover.display()))?;
        }
    }
    fs::copy(database_path(template), database_path(folder)).context("copying the database")?;
    Ok(())
}

fn write_config(folder: &Path) -> Result<()> {
    let config = format!("[database]\nuri = sqlite://\npath = {}\n", folder.display());
    write_private(&config_path(folder), config.as_bytes())
}

fn config_path(folder: &Path) -> PathBuf {
    folder.join("trytond.conf")
}

fn database_path(folder: &Path) -> PathBuf {
    folder.join(format!("{DATABASE}.sqlite"))
}

fn launch(environment: &Path, folder: &Path, port: u16) -> Result<Child> {
    // Through waitress: trytond's own server closes the connection after every answer.
    let mut command = Command::new(environment.join("bin/waitress-serve"));
    command
        .arg(format!("--listen=127.0.0.1:{port}"))
        .args(["--threads=4", "trytond.application:app"])
        .env("TRYTOND_CONFIG", config_path(folder))
        .env("TRYTOND_DATABASE_NAMES", DATABASE);
    let mut child = Child::spawn("tryton", command, &folder.join("tryton.log"))?;
    // Its own word first: the port alone could be answered by somebody who took it in the meantime.
    child.wait_ready(START_DEADLINE, |child| {
        child.log().contains("Serving on") && says_its_version(port).unwrap_or(false)
    })?;
    Ok(child)
}

/// Whether the server answers. Spoken by hand, because starting does not need a runtime.
fn says_its_version(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(CALL_TIMEOUT))?;
    let body = r#"{"id":0,"method":"common.server.version","params":[]}"#;
    write!(
        stream,
        "POST /rpc/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// URL-safe base64 with padding, which is what Tryton decodes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word =
            group.iter().enumerate().fold(0u32, |word, (i, byte)| word | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63] as char;
            text.push(if i <= group.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_as_in_rfc_4648() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "-_8=", "the URL-safe alphabet");
    }
}
