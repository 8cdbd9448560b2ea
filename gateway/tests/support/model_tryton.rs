//! A Tryton in memory, as far as we use it, that loses, delays and garbles what is said to it. Its rules are those
//! that were seen at the real one: a document moves nothing before its last call, that call works once, `wait` takes
//! an assignment back, references need not be unique.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Value, json};
use stockwire_gateway::exchange::{Answer, Loss, Method, Request};

use crate::dice::Dice;

#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) id: i64,
    pub(crate) model: String,
    pub(crate) reference: String,
    pub(crate) state: &'static str,
    lines: Vec<(i64, i64, i64, i64)>,
}

/// The whole ERP: one warehouse, a few places and items.
#[derive(Default)]
pub(crate) struct ModelTryton {
    pub(crate) documents: Vec<Document>,
    /// Pieces by (location, product).
    stock: BTreeMap<(i64, i64), i64>,
    /// Calls whose senders gave up, still on their way. A create has its id already, as in a database whose sequence
    /// is drawn before the commit: so a document that appears late can be the oldest.
    delayed: Vec<(Request, i64)>,
    last_id: i64,
}

const SUPPLIER: i64 = 1;
const CUSTOMER: i64 = 2;
const LOST: i64 = 3;
const WAREHOUSE: i64 = 4;
/// `(id, code, parent)`.
const PLACES: [(i64, &str, i64); 5] =
    [(5, "HAM/STO", 4), (6, "HAM/IN", 4), (7, "HAM/OUT", 4), (8, "HAM/A-01", 5), (9, "HAM/A-02", 5)];
pub(crate) const ITEMS: [&str; 3] = ["SKU-1", "SKU-2", "SKU-3"];
/// An item that no document may hold: the ERP refuses it.
pub(crate) const POISON: &str = "SKU-3";

impl ModelTryton {
    /// With an opening stock.
    pub(crate) fn new() -> Self {
        let mut model = Self::default();
        model.stock.insert((8, 1), 20);
        model.stock.insert((9, 2), 5);
        model
    }

    /// What lies where: `(HAM/A-01, SKU-1)` to pieces; zeros are left out.
    pub(crate) fn held(&self) -> BTreeMap<(String, String), i64> {
        let name = |(place, product): &(i64, i64)| {
            let (_, code, _) = PLACES.iter().find(|row| row.0 == *place)?;
            Some(((*code).to_owned(), ITEMS[*product as usize - 1].to_owned()))
        };
        let held = self.stock.iter().filter(|(_, pieces)| **pieces != 0);
        held.filter_map(|(key, pieces)| Some((name(key)?, *pieces))).collect()
    }

    /// A request with the fate that the dice give it. `trouble` is how many of a hundred meet one.
    pub(crate) fn send(&mut self, request: &Request, dice: &mut Dice, trouble: u64) -> Result<Answer, Loss> {
        // What was thought lost arrives at any time, in any order.
        while !self.delayed.is_empty() && dice.chance(30) {
            let at = dice.below(self.delayed.len() as u64) as usize;
            let (late, id) = self.delayed.remove(at);
            self.perform_as(&late, id);
        }
        let lost = || Loss::NoAnswer { message: "timed out".into() };
        if !dice.chance(trouble) {
            return Ok(self.perform(request));
        }
        match dice.below(8) {
            0 => Err(Loss::NotSent { message: "connection refused".into() }),
            1 => Err(lost()),
            2 => {
                self.perform(request);
                Err(lost())
            }
            3 => {
                if request.method == Method::Post {
                    self.last_id += 1;
                    self.delayed.push((request.clone(), self.last_id));
                }
                Err(lost())
            }
            4 => {
                self.perform(request);
                Ok(html(500))
            }
            5 => Ok(html(if dice.chance(50) { 503 } else { 401 })),
            6 => Ok(html(429)),
            _ => {
                let mut answer = self.perform(request);
                let keep = dice.below(answer.body.len() as u64 + 1) as usize;
                answer.body.truncate(keep);
                Ok(answer)
            }
        }
    }

    /// Everything that is still on its way arrives.
    pub(crate) fn settle(&mut self, dice: &mut Dice) {
        while !self.delayed.is_empty() {
            let at = dice.below(self.delayed.len() as u64) as usize;
            let (late, id) = self.delayed.remove(at);
            self.perform_as(&late, id);
        }
    }

    fn perform(&mut self, request: &Request) -> Answer {
        self.last_id += 1;
        self.perform_as(request, self.last_id)
    }

    /// `new_id` is for a document that comes into being.
    fn perform_as(&mut self, request: &Request, new_id: i64) -> Answer {
        let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        match (request.method, parts.as_slice()) {
            (Method::Get, [model]) => self.search(model, request),
            (Method::Post, [model]) => self.create(model, request.body.as_ref().unwrap(), new_id),
            (Method::Post, [model, id, call]) => self.call(model, id.parse().unwrap(), call),
            other => panic!("{other:?}"),
        }
    }

    fn search(&self, model: &str, request: &Request) -> Answer {
        let decoded = |text: &str| -> Value {
            serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE.decode(text).unwrap()).unwrap()
        };
        let domain =
            request.query.iter().find(|(name, _)| *name == "d").map_or(json!([]), |(_, text)| decoded(text));
        let after = clause(&domain, "id", ">").and_then(Value::as_i64).unwrap_or(0);
        let context = decoded(&request.headers[0].1);
        let rows: Vec<Value> = match model {
            "company.company" => vec![json!({"id": 1, "currency": 1, "party": 1})],
            "party.party" => vec![json!({"id": 2, "name": "Test", "supplier_location": SUPPLIER,
                "customer_location": CUSTOMER, "addresses": [1]})],
            "stock.location" if clause(&domain, "type", "=").is_some() => {
                vec![
                    json!({"id": WAREHOUSE, "code": "HAM", "storage_location": 5, "lost_found_location": LOST}),
                ]
            }
            "stock.location" => {
                let place = |(id, code, parent): &(i64, &str, i64)| {
                    json!({"id": id, "type": "storage", "code": code, "parent": parent,
                        "warehouse": {"id": WAREHOUSE, "code": "HAM"}})
                };
                PLACES.iter().map(place).collect()
            }
            "product.product" => {
                let place = context["locations"][0].as_i64();
                let row = |(at, code): (usize, &&str)| {
                    let id = at as i64 + 1;
                    let pieces = place.map(|place| self.stock.get(&(place, id)).copied().unwrap_or(0));
                    json!({"id": id, "code": code, "name": code, "quantity": pieces.map(|pieces| pieces as f64),
                        "default_uom": {"id": 1, "symbol": "u", "digits": 0}, "identifiers": []})
                };
                let rows = ITEMS.iter().enumerate().map(row);
                rows.filter(|row| place.is_none() || row["quantity"].as_f64() != Some(0.0)).collect()
            }
            documents => {
                let reference = clause(&domain, "reference", "=").and_then(Value::as_str).unwrap();
                let mine = |found: &&Document| {
                    found.model == documents && found.reference == reference && found.state != "cancelled"
                };
                let found = self.documents.iter().filter(mine);
                found.map(|found| json!({"id": found.id, "state": found.state})).collect()
            }
        };
        ok(&Value::Array(rows.into_iter().filter(|row| row["id"].as_i64() > Some(after)).collect()))
    }

    fn create(&mut self, model: &str, body: &Value, new_id: i64) -> Answer {
        let id = |line: &Value, name: &str| line[name].as_i64().unwrap();
        let mut lines = Vec::new();
        for line in body["moves"][0][1].as_array().unwrap() {
            let product = id(line, "product");
            if ITEMS[product as usize - 1] == POISON {
                return refusal("The value of \"Product\" is not valid according to its domain.");
            }
            let pieces = line["quantity"].as_f64().unwrap() as i64;
            lines.push((product, id(line, "from_location"), id(line, "to_location"), pieces));
        }
        let zone = |place: i64| {
            PLACES.iter().find(|row| row.0 == place).map(|row| if row.2 == 4 { row.0 } else { row.2 })
        };
        if model == "stock.shipment.internal" {
            let head = (id(body, "from_location"), id(body, "to_location"));
            let fits = |place: i64, head: i64| place == head || zone(place) == Some(head);
            if !lines.iter().all(|(_, from, to, _)| fits(*from, head.0) && fits(*to, head.1)) {
                return refusal("The value for field \"Moves\" is not valid according to its domain.");
            }
        }
        let state = if body["state"] == "waiting" { "waiting" } else { "draft" };
        let reference = body["reference"].as_str().unwrap().to_owned();
        self.documents.push(Document { id: new_id, model: model.to_owned(), reference, state, lines });
        self.documents.sort_by_key(|document| document.id);
        ok(&json!({"id": new_id, "state": state}))
    }

    fn call(&mut self, model: &str, id: i64, call: &str) -> Answer {
        let Some(at) = self.documents.iter().position(|found| found.id == id && found.model == model) else {
            return html(404);
        };
        let document = self.documents[at].clone();
        let covered = document.lines.iter().all(|(product, from, _, pieces)| {
            let wanted: i64 = document
                .lines
                .iter()
                .filter(|line| line.0 == *product && line.1 == *from)
                .map(|line| line.3)
                .sum();
            *pieces > 0
                && (*from <= LOST || self.stock.get(&(*from, *product)).copied().unwrap_or(0) >= wanted)
        });
        let kind = model.trim_start_matches("stock.shipment.");
        let next = match (kind, document.state, call) {
            (_, "draft" | "waiting" | "assigned" | "packed", "cancel") => "cancelled",
            ("in", "draft", "receive") => "done",
            ("internal" | "out", "draft" | "waiting" | "assigned", "wait") => "waiting",
            ("internal" | "out", "waiting", "assign_try") => {
                if covered {
                    "assigned"
                } else {
                    "waiting"
                }
            }
            ("internal" | "out", "waiting", "assign_force") => "assigned",
            ("internal", "assigned", "do") | ("out", "packed", "do") => "done",
            ("out", "assigned", "pack") => "packed",
            _ => return refusal(&format!("You can not call \"{call}\" on \"{model},{id}\".")),
        };
        self.documents[at].state = next;
        if next == "done" {
            for (product, from, to, pieces) in document.lines {
                *self.stock.entry((from, product)).or_default() -= pieces;
                *self.stock.entry((to, product)).or_default() += pieces;
            }
        }
        ok(&json!({"id": id, "state": next}))
    }
}

fn clause<'a>(domain: &'a Value, field: &str, operator: &str) -> Option<&'a Value> {
    let clauses = domain.as_array()?;
    clauses.iter().find(|clause| clause[0] == field && clause[1] == operator).map(|clause| &clause[2])
}

fn answer(status: u16, kind: &str, body: String) -> Answer {
    Answer { status, headers: vec![("content-type".into(), kind.into())], body: body.into() }
}

fn ok(body: &Value) -> Answer {
    answer(200, "application/json", body.to_string())
}

fn refusal(message: &str) -> Answer {
    answer(400, "application/json", json!({"status": 400, "message": message, "description": ""}).to_string())
}

fn html(status: u16) -> Answer {
    answer(status, "text/html; charset=utf-8", "<p>no</p>".into())
}
