//! A stand-in for Tryton's REST door: products, locations, and shipments that move stock when they are done.
//!
//! Its rules are Tryton's: a document moves nothing before its last step, that step works once, a `waiting`
//! document needs stock to become `assigned` (or force), quantities have the unit's digits and no more, and an
//! unknown model or field is an HTML page with status 400.

pub mod door;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::real::World;

/// A running stand-in; it ends when dropped.
pub struct Erp {
    url: String,
    key: String,
    books: Arc<Mutex<Books>>,
    server: JoinHandle<()>,
}

impl Erp {
    /// Starts one on a free loopback port, seeded with a world.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(world: &World) -> Result<Self> {
        let key = crate::real::process::random_secret()?;
        let books = Arc::new(Mutex::new(Books::new(world, &key)));
        let routes = Router::new()
            .route("/stock/rest/model/{model}", get(list).post(create))
            .route("/stock/rest/model/{model}/{id}/{action}", post(act))
            .with_state(Arc::clone(&books));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("a port for the ERP stand-in")?;
        let url = format!("http://{}/stock/", listener.local_addr()?);
        let server = tokio::spawn(async move {
            if let Err(fault) = axum::serve(listener, routes).await {
                eprintln!("the ERP stand-in ended: {fault}");
            }
        });
        Ok(Self { url, key, books, server })
    }

    /// Base address, up to and with the database's name.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The user application key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What lies where: `(place, SKU)` to thousandths of the unit; nothing is left out but zeros.
    pub fn stock(&self) -> BTreeMap<(String, String), i64> {
        let books = lock(&self.books);
        let code = |id: i64| books.locations.iter().find(|l| l.id == id).map(|l| l.code.clone());
        let sku = |id: i64| books.products.iter().find(|p| p.id == id).map(|p| p.sku.clone());
        let cells = books.stock.iter().filter(|(_, amount)| **amount != 0);
        cells
            .filter_map(|((place, product), amount)| Some(((code(*place)?, sku(*product)?), *amount)))
            .collect()
    }

    /// References under which more than one document is done: something was posted twice.
    pub fn doubled(&self) -> Vec<String> {
        let books = lock(&self.books);
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for document in books.documents.iter().filter(|document| document.state == "done") {
            *times.entry(&document.reference).or_default() += 1;
        }
        times.into_iter().filter(|(_, times)| *times > 1).map(|(reference, _)| reference.to_owned()).collect()
    }

    /// How many documents are done.
    pub fn documents_done(&self) -> usize {
        lock(&self.books).documents.iter().filter(|document| document.state == "done").count()
    }
}

impl Drop for Erp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Books {
    key: String,
    locations: Vec<Location>,
    products: Vec<Product>,
    documents: Vec<Document>,
    /// Thousandths of the unit, by (location, product).
    stock: BTreeMap<(i64, i64), i64>,
}

struct Location {
    id: i64,
    code: String,
    kind: &'static str,
    parent: Option<i64>,
    warehouse: Option<i64>,
}

struct Product {
    id: i64,
    sku: String,
    name: String,
    gtin: String,
    unit: (i64, &'static str, u32),
}

struct Document {
    model: String,
    id: i64,
    reference: String,
    state: &'static str,
    lines: Vec<Line>,
}

struct Line {
    product: i64,
    from: i64,
    to: i64,
    amount: i64,
}

const SUPPLIER: i64 = 1;
const CUSTOMER: i64 = 2;
const LOST_FOUND: i64 = 3;
const SUPPLIER_PARTY: i64 = 2;
const CUSTOMER_PARTY: i64 = 3;
const MODELS: [&str; 3] = ["stock.shipment.in", "stock.shipment.internal", "stock.shipment.out"];

/// A refusal, as the door says it.
enum Fault {
    /// 400 with JSON: a business rule.
    User(String),
    /// 400 with HTML: not in this ERP.
    Unknown(String),
    NotFound,
    Unauthorized,
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        match self {
            Fault::User(message) => {
                let body = json!({"status": 400, "message": message, "description": ""});
                (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
            }
            Fault::Unknown(what) => {
                (StatusCode::BAD_REQUEST, html, format!("<p>Unable to get RPC method: {what}</p>"))
                    .into_response()
            }
            Fault::NotFound => (StatusCode::NOT_FOUND, html, "<p>Not Found</p>").into_response(),
            Fault::Unauthorized => (StatusCode::UNAUTHORIZED, html, "<p>Unauthorized</p>").into_response(),
        }
    }
}

type Reply = Result<axum::Json<Value>, Fault>;

async fn list(
    State(books): State<Arc<Mutex<Books>>>,
    Path(model): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Reply {
    let books = lock(&books);
    let context = books.enter(&headers)?;
    let query = Query::parse(query.as_deref().unwrap_or(""))?;
    let records = books.records(&model, &context)?;
    let mut found = Vec::new();
    for record in records {
        if query.matches(&record)? {
            query.check_fields(&record)?;
            found.push(record);
        }
    }
    Ok(axum::Json(Value::Array(found.into_iter().skip(query.offset).take(query.limit).collect())))
}

async fn create(
    State(books): State<Arc<Mutex<Books>>>,
    Path(model): Path<String>,
    headers: HeaderMap,
    axum::Json(body): axum::Json<Value>,
) -> Reply {
    let mut books = lock(&books);
    books.enter(&headers)?;
    books.create(&model, &body).map(axum::Json)
}

async fn act(
    State(books): State<Arc<Mutex<Books>>>,
    Path((model, id, action)): Path<(String, i64, String)>,
    headers: HeaderMap,
) -> Reply {
    let mut books = lock(&books);
    books.enter(&headers)?;
    books.act(&model, id, &action).map(axum::Json)
}

impl Books {
    fn new(world: &World, key: &str) -> Self {
        let fixed =
            |id, code: &str, kind| Location { id, code: code.into(), kind, parent: None, warehouse: None };
        let mut locations = vec![
            fixed(SUPPLIER, "SUP", "supplier"),
            fixed(CUSTOMER, "CUS", "customer"),
            fixed(LOST_FOUND, "LOST", "lost_found"),
        ];
        for site in &world.sites {
            let warehouse = locations.len() as i64 + 1;
            let mut add = |code: String, kind, parent| {
                let id = locations.len() as i64 + 1;
                let warehouse = (kind != "warehouse").then_some(warehouse);
                locations.push(Location { id, code, kind, parent, warehouse });
                id
            };
            add(site.code.clone(), "warehouse", None);
            let storage = add(format!("{}/STO", site.code), "storage", Some(warehouse));
            add(format!("{}/IN", site.code), "storage", Some(warehouse));
            add(format!("{}/OUT", site.code), "storage", Some(warehouse));
            for bin in &site.bins {
                add(format!("{}/{bin}", site.code), "storage", Some(storage));
            }
        }
        let mut stock = BTreeMap::new();
        let mut products = Vec::new();
        for (at, item) in world.items.iter().enumerate() {
            let id = at as i64 + 1;
            let unit = if item.unit == "KGM" { (2, "kg", 3) } else { (1, "u", 0) };
            for (place, quantity) in &item.opening {
                let place =
                    locations.iter().find(|location| &location.code == place).map(|location| location.id);
                let amount = quantity.parse::<f64>().ok().map(|amount| (amount * 1000.0).round() as i64);
                if let (Some(place), Some(amount)) = (place, amount) {
                    stock.insert((place, id), amount);
                }
            }
            products.push(Product {
                id,
                sku: item.sku.clone(),
                name: item.name.clone(),
                gtin: item.gtin.clone(),
                unit,
            });
        }
        Self { key: key.into(), locations, products, documents: Vec::new(), stock }
    }

    /// Checks the key and reads the context, which must name the company.
    fn enter(&self, headers: &HeaderMap) -> Result<Value, Fault> {
        let text =
            |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
        if text("authorization") != format!("Bearer {}", self.key) {
            return Err(Fault::Unauthorized);
        }
        let context = decode(&text("x-tryton-context")).unwrap_or(Value::Null);
        Ok(context)
    }

    fn records(&self, model: &str, context: &Value) -> Result<Vec<Value>, Fault> {
        match model {
            "company.company" => Ok(vec![json!({"id": 1, "__name__": model, "currency": 1, "party": 1})]),
            "party.party" => {
                Ok([(1, "Company"), (SUPPLIER_PARTY, "Test Supplier"), (CUSTOMER_PARTY, "Test Customer")]
                    .map(|(id, name)| {
                        json!({"id": id, "__name__": model, "name": name, "supplier_location": SUPPLIER,
                        "customer_location": CUSTOMER, "addresses": [id]})
                    })
                    .into())
            }
            "stock.location" => {
                Ok(self.locations.iter().map(|location| self.location(location, context)).collect())
            }
            "product.product" => {
                let places: Vec<i64> = context["locations"]
                    .as_array()
                    .map_or_else(Vec::new, |ids| ids.iter().filter_map(Value::as_i64).collect());
                if !places.is_empty() && context["company"].as_i64() != Some(1) {
                    return Err(Fault::User("the context has no company".into()));
                }
                // Tryton's own trap: children are counted by default for exactly one location.
                let children = context["with_childs"].as_bool().unwrap_or(places.len() == 1);
                Ok(self.products.iter().map(|product| self.product(product, &places, children)).collect())
            }
            model if MODELS.contains(&model) => {
                Ok(self.documents.iter().filter(|d| d.model == model).map(document).collect())
            }
            model => Err(Fault::Unknown(model.into())),
        }
    }

    fn location(&self, location: &Location, context: &Value) -> Value {
        let code_of = |id: Option<i64>| {
            let found = self.locations.iter().find(|other| Some(other.id) == id)?;
            Some(json!({"id": found.id, "code": found.code, "__name__": "stock.location"}))
        };
        let zone = |name: &str| {
            let code = format!("{}/{name}", location.code);
            let found =
                self.locations.iter().find(|other| other.code == code && location.kind == "warehouse");
            found.map(|zone| zone.id)
        };
        let quantity = context["product"].as_i64().map(|product| {
            json!(self.stock.get(&(location.id, product)).copied().unwrap_or(0) as f64 / 1000.0)
        });
        json!({
            "id": location.id, "__name__": "stock.location", "code": location.code, "name": location.code,
            "type": location.kind, "parent": location.parent, "active": 1,
            "warehouse": code_of(location.warehouse), "quantity": quantity,
            "input_location": zone("IN"), "storage_location": zone("STO"), "output_location": zone("OUT"),
            "lost_found_location": (location.kind == "warehouse").then_some(LOST_FOUND),
        })
    }

    fn product(&self, product: &Product, places: &[i64], children: bool) -> Value {
        let within =
            |id: i64| places.iter().any(|place| *place == id || (children && self.is_below(id, *place)));
        let mine = self.stock.iter().filter(|((place, id), _)| *id == product.id && within(*place));
        let quantity: i64 = mine.map(|(_, amount)| amount).sum();
        let (unit, symbol, digits) = product.unit;
        json!({
            "id": product.id, "__name__": "product.product", "code": product.sku, "name": product.name,
            "quantity": quantity as f64 / 1000.0, "active": 1,
            "default_uom": {"id": unit, "symbol": symbol, "digits": digits, "__name__": "product.uom"},
            "identifiers": [{"id": product.id, "type": "ean", "code": product.gtin, "__name__": "product.identifier"}],
        })
    }

    fn is_below(&self, id: i64, above: i64) -> bool {
        let parent =
            self.locations.iter().find(|location| location.id == id).and_then(|location| location.parent);
        parent.is_some_and(|parent| parent == above || self.is_below(parent, above))
    }

    fn create(&mut self, model: &str, body: &Value) -> Result<Value, Fault> {
        if !MODELS.contains(&model) {
            return Err(Fault::Unknown(model.into()));
        }
        let fields: &[&str] = match model {
            "stock.shipment.in" => &["supplier", "warehouse", "warehouse_input", "warehouse_storage"],
            "stock.shipment.internal" => &["from_location", "to_location"],
            _ => &["customer", "delivery_address", "warehouse", "warehouse_storage", "warehouse_output"],
        };
        for field in fields.iter().chain(&["company"]) {
            if body[field].as_i64().is_none() {
                return Err(Fault::User(format!("A value is required for field \"{field}\".")));
            }
        }
        let common = ["reference", "state", "company", "moves", "effective_date"];
        if let Some(object) = body.as_object() {
            for name in object.keys() {
                if !fields.contains(&name.as_str()) && !common.contains(&name.as_str()) {
                    return Err(Fault::Unknown(name.clone()));
                }
            }
        }
        let state = match (model, body["state"].as_str()) {
            (_, None) | (_, Some("draft")) => "draft",
            ("stock.shipment.internal" | "stock.shipment.out", Some("waiting")) => "waiting",
            (_, Some(other)) => {
                return Err(Fault::User(format!("The state {other:?} is not allowed at first.")));
            }
        };
        let lines = body["moves"][0][1].as_array().filter(|_| body["moves"][0][0] == "create");
        let lines = lines.ok_or_else(|| Fault::User("moves must be [[\"create\", [...]]]".into()))?;
        let lines = lines.iter().map(|line| self.line(model, line)).collect::<Result<Vec<_>, _>>()?;
        let id = self.documents.len() as i64 + 1;
        let reference = body["reference"].as_str().unwrap_or("").to_owned();
        self.documents.push(Document { model: model.into(), id, reference, state, lines });
        Ok(self.documents.last().map_or(Value::Null, document))
    }

    fn line(&self, model: &str, line: &Value) -> Result<Line, Fault> {
        let id = |field: &str| {
            line[field]
                .as_i64()
                .ok_or_else(|| Fault::User(format!("A value is required for field \"{field}\".")))
        };
        let product_id = id("product")?;
        let product = self.products.iter().find(|product| product.id == product_id);
        let product =
            product.ok_or_else(|| Fault::User(format!("the product {product_id} does not exist")))?;
        let quantity =
            line["quantity"].as_f64().ok_or_else(|| Fault::User("the quantity is no number".into()))?;
        let amount = (quantity * 1000.0).round() as i64;
        let step = 10_i64.pow(3 - product.unit.2);
        if amount % step != 0 || (quantity * 1000.0 - amount as f64).abs() > 1e-6 {
            return Err(Fault::User(format!(
                "The quantity {quantity} has too many digits for {}.",
                product.unit.1
            )));
        }
        if amount < 0 {
            return Err(Fault::User("The quantity is negative.".into()));
        }
        if id("unit")? != product.unit.0 {
            return Err(Fault::User("The unit is of another category.".into()));
        }
        if model != "stock.shipment.internal" && line["unit_price"]["__class__"] != "Decimal" {
            return Err(Fault::User("A value is required for field \"unit_price\".".into()));
        }
        let (from, to) = (id("from_location")?, id("to_location")?);
        for place in [from, to] {
            if !self.locations.iter().any(|location| location.id == place && location.kind != "warehouse") {
                return Err(Fault::User(format!(
                    "The location {place} is not valid according to its domain."
                )));
            }
        }
        Ok(Line { product: product_id, from, to, amount })
    }

    fn act(&mut self, model: &str, id: i64, action: &str) -> Result<Value, Fault> {
        let at = self.documents.iter().position(|d| d.model == model && d.id == id).ok_or(Fault::NotFound)?;
        let state = self.documents[at].state;
        let next = match (model, state, action) {
            (_, "done", _) | (_, "cancelled", _) => None,
            (_, _, "cancel") => Some("cancelled"),
            ("stock.shipment.in", "draft", "receive") => Some("done"),
            ("stock.shipment.internal" | "stock.shipment.out", "draft" | "waiting", "wait") => {
                Some("waiting")
            }
            ("stock.shipment.internal" | "stock.shipment.out", "waiting", "assign_try") => {
                Some(if self.is_covered(at) { "assigned" } else { "waiting" })
            }
            ("stock.shipment.internal" | "stock.shipment.out", "waiting", "assign_force") => Some("assigned"),
            ("stock.shipment.out", "assigned", "pack") => Some("packed"),
            ("stock.shipment.out", "packed", "do") | ("stock.shipment.internal", "assigned", "do") => {
                Some("done")
            }
            _ => None,
        };
        let Some(next) = next else {
            return Err(Fault::User(format!("You can not call \"{action}\" on \"{model},{id}\".")));
        };
        self.documents[at].state = next;
        if next == "done" {
            let Self { documents, stock, .. } = self;
            for line in &documents[at].lines {
                *stock.entry((line.from, line.product)).or_default() -= line.amount;
                *stock.entry((line.to, line.product)).or_default() += line.amount;
            }
        }
        Ok(document(&self.documents[at]))
    }

    /// Whether the physical places of a document hold what its lines take, all lines together.
    fn is_covered(&self, at: usize) -> bool {
        let mut wanted: BTreeMap<(i64, i64), i64> = BTreeMap::new();
        for line in &self.documents[at].lines {
            *wanted.entry((line.from, line.product)).or_default() += line.amount;
        }
        wanted.iter().all(|((place, product), amount)| {
            *place == LOST_FOUND || self.stock.get(&(*place, *product)).copied().unwrap_or(0) >= *amount
        })
    }
}

fn document(document: &Document) -> Value {
    json!({"id": document.id, "__name__": document.model, "reference": document.reference, "state": document.state,
        "number": document.id.to_string()})
}

/// Fields, domain, limit and offset of a list request.
struct Query {
    fields: Vec<String>,
    domain: Vec<Value>,
    limit: usize,
    offset: usize,
}

impl Query {
    fn parse(text: &str) -> Result<Self, Fault> {
        let mut query = Self { fields: Vec::new(), domain: Vec::new(), limit: usize::MAX, offset: 0 };
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace("%3D", "=").replace("%3d", "=");
            let number = || value.parse().map_err(|_| Fault::Unknown(format!("{name}={value}")));
            match name {
                "f" => query.fields.push(value),
                "s" => query.limit = number()?,
                "p" => query.offset = number()?,
                "o" => {
                    decode(&value).ok_or_else(|| Fault::Unknown("order".into()))?;
                }
                "d" => {
                    let domain = decode(&value).and_then(|domain| domain.as_array().cloned());
                    query.domain = domain.ok_or_else(|| Fault::Unknown("domain".into()))?;
                }
                _ => return Err(Fault::Unknown(name.into())),
            }
        }
        Ok(query)
    }

    fn matches(&self, record: &Value) -> Result<bool, Fault> {
        for clause in &self.domain {
            let (Some(field), Some(operator)) = (clause[0].as_str(), clause[1].as_str()) else {
                return Err(Fault::Unknown(format!("domain {clause}")));
            };
            let (value, wanted) = (field_of(record, field)?, &clause[2]);
            let holds = match operator {
                "=" => value == wanted,
                "!=" => {
                    value != wanted && value.as_f64().is_none_or(|number| Some(number) != wanted.as_f64())
                }
                "in" => wanted.as_array().is_some_and(|values| values.contains(value)),
                ">" => value.as_f64() > wanted.as_f64(),
                _ => return Err(Fault::Unknown(format!("operator {operator}"))),
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn check_fields(&self, record: &Value) -> Result<(), Fault> {
        self.fields.iter().try_for_each(|field| field_of(record, field).map(drop))
    }
}

/// A field, or a field of a related record: `default_uom.symbol`.
fn field_of<'a>(record: &'a Value, path: &str) -> Result<&'a Value, Fault> {
    let mut value = record;
    for name in path.split('.') {
        // A list of related records has its fields on each; one that is not there has none to check.
        let inside =
            if let Value::Array(list) = value { list.first().unwrap_or(&Value::Null) } else { value };
        if inside.is_null() {
            return Ok(&Value::Null);
        }
        value = inside.get(name).ok_or_else(|| Fault::Unknown(format!("field {path}")))?;
    }
    Ok(value)
}

/// URL-safe base64 of JSON, as the door wants domains and contexts.
fn decode(text: &str) -> Option<Value> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        bits = bits << 6 | ALPHABET.iter().position(|known| *known == letter)? as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    serde_json::from_slice(&bytes).ok()
}
