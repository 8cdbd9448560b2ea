//! Tryton 8 through its REST door, with its module `stock`; with `sale` too when orders are posted there.
//!
//! ```text
//!  what moved                 document                  its states, and the call that leads on
//!  supplier -> place          stock.shipment.in         draft -receive-> done
//!  place -> place, -> loss,   stock.shipment.internal   waiting -wait-> waiting -assign_try-> assigned -do-> done
//!    loss -> place
//!  place -> customer          stock.shipment.out        the same, with -pack-> packed before do
//!  an order                   sale.sale                 draft -quote-> quotation -confirm-> confirmed, processing, done
//! ```
//! Only the last call moves stock, and Tryton refuses it the second time. Together with a search by `reference`
//! before anything is created, and with one document alone carried to its end, that makes posting happen once,
//! however many requests or answers are lost ([`carry`]). A sale ships "manually", so it never makes a shipment of its
//! own: the moves of ours name its lines, and by them Tryton knows how much of it has left ([`origin`]). What Tryton must know of a warehouse besides its places
//! (zones, company, currency, parties) is kept in the references of our catalogue, so a batch is complete in itself.

mod carry;
mod number;
mod origin;
mod post;
mod read;
mod sale;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

use super::{CatalogueRead, ErpAccess, ErpConnector, ErpKind, Posted};
use crate::exchange::{
    Answer, Class, Connector, Conversation, Effect, Failure, Limits, Method, Request, Secret, excerpt,
};
use crate::order::{Sale, SaleCancelled, SaleFound, SalePosted};
use crate::posting::PostingBatch;
use crate::reconcile::ErpQuantity;

/// The row of [`super::ERPS`].
pub struct Kind;

impl ErpKind for Kind {
    fn name(&self) -> &'static str {
        "tryton"
    }

    fn title(&self) -> &'static str {
        "Tryton 8.0, REST, modules stock and sale"
    }

    fn connect(&self, access: ErpAccess) -> Box<dyn ErpConnector> {
        Box::new(Tryton::new(access))
    }
}

/// The connector for one Tryton database. `url` is the server with the database's name, `key` that of a user
/// application of the kind `rest`.
pub struct Tryton {
    base: String,
    access: ErpAccess,
}

impl Tryton {
    /// From its access.
    pub fn new(access: ErpAccess) -> Self {
        Self { base: format!("{}/rest/model", access.url.trim_end_matches('/')), access }
    }
}

impl Connector for Tryton {
    fn base_url(&self) -> &str {
        &self.base
    }

    fn authorize(&self, _session: Option<&Secret>) -> Vec<(&'static str, Secret)> {
        vec![("authorization", Secret::new(format!("Bearer {}", self.access.key.reveal())))]
    }

    fn judge(&self, request: &Request, answer: &Answer) -> Option<Failure> {
        let is_json = answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        match answer.status {
            200..=299 => answer.json().err(),
            // A business rule, in words of the user's language: there is no code to tell one from another.
            400 if is_json => match answer.json() {
                Ok(body) => Some(Failure::new(Class::Data, user_error(&body))),
                Err(failure) => Some(failure),
            },
            // The record is gone; somebody deleted it, or restored a backup.
            404 if request.path.matches('/').count() > 1 => {
                Some(Failure::new(Class::Conflict, format!("{} does not exist", request.path)))
            }
            // A method that this Tryton does not offer, which is no question of who we are.
            403 => Some(Failure::new(Class::Setup, format!("HTTP 403: {}", answer.text()))),
            _ => Failure::of_status(answer),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            // One writer with answers of 25 ms and more never gets near it: a guard against loops.
            requests_per_s: 50,
            burst: 50,
            connect_wait: Duration::from_secs(5),
            // A document of 100 lines took 1.3 s alone and 2.9 s among other writers; ten times that.
            answer_wait: Duration::from_secs(30),
            // 100 lines are 25 kB.
            request_bytes_max: 1024 * 1024,
            // A page of 500 items with their identifiers is 250 kB.
            answer_bytes_max: 16 * 1024 * 1024,
        }
    }
}

impl ErpConnector for Tryton {
    fn read_catalogue(&self) -> Box<dyn Conversation<Output = CatalogueRead>> {
        Box::new(read::ReadCatalogue::new(&self.access))
    }

    fn post(&self, batch: &PostingBatch) -> Box<dyn Conversation<Output = Posted>> {
        match origin::wanted(batch).filter(|_| self.access.sales) {
            Some(orders) => Box::new(origin::PostSold::new(batch, orders, self.access.shortage)),
            None => Box::new(post::post(batch, &[], self.access.shortage)),
        }
    }

    fn offers_sales(&self) -> bool {
        self.access.sales
    }

    fn post_sale(&self, sale: &Sale) -> Box<dyn Conversation<Output = SalePosted>> {
        Box::new(sale::PostSale::new(sale))
    }

    fn read_sale(&self, sale: &Sale) -> Box<dyn Conversation<Output = Option<SaleFound>>> {
        Box::new(sale::ReadSale::new(sale))
    }

    fn cancel_sale(&self, sale: &Sale) -> Box<dyn Conversation<Output = SaleCancelled>> {
        Box::new(sale::CancelSale::new(sale))
    }

    fn read_quantities(&self) -> Box<dyn Conversation<Output = Vec<ErpQuantity>>> {
        Box::new(read::ReadQuantities::new(&self.access))
    }
}

/// What a site's reference holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct SiteKeys {
    company: i64,
    currency: Option<i64>,
    warehouse: i64,
    storage: i64,
    lost_found: Option<i64>,
    supplier: Option<Party>,
    customer: Option<Party>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Party {
    party: i64,
    location: i64,
    address: Option<i64>,
}

/// What an item's reference holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct ItemKeys {
    product: i64,
    unit: i64,
}

/// What a place's reference holds. `zone` is the place below the warehouse that it belongs to: the head of a document
/// must name places above all its lines, and a warehouse itself is not allowed there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct PlaceKeys {
    location: i64,
    zone: i64,
}

/// Reads what [`text_of`] wrote.
fn keys<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|fault| {
        let message =
            format!("the catalogue holds {text:?}, which is none of our references ({fault}); read it again");
        Failure::new(Class::Setup, message)
    })
}

fn text_of(keys: &impl Serialize) -> Option<String> {
    // Plain numbers in plain structures: there is nothing in them that could fail.
    serde_json::to_string(keys).ok()
}

/// The header that carries what a call is about, besides the record.
const CONTEXT: &str = "x-tryton-context";

fn encode(value: &Value) -> String {
    URL_SAFE.encode(value.to_string())
}

/// A search. `fields` with dots reach into related records.
fn search(
    name: &'static str,
    model: &str,
    fields: &[&str],
    domain: &Value,
    limit: usize,
    context: &Value,
) -> Request {
    let mut query: Vec<(&'static str, String)> =
        fields.iter().map(|field| ("f", (*field).to_owned())).collect();
    if domain.as_array().is_some_and(|clauses| !clauses.is_empty()) {
        query.push(("d", encode(domain)));
    }
    query.push(("o", encode(&json!([["id", "ASC"]]))));
    query.push(("s", limit.to_string()));
    Request {
        name,
        method: Method::Get,
        path: format!("/{model}"),
        query,
        headers: vec![(CONTEXT, encode(context))],
        body: None,
        effect: Effect::Read,
    }
}

/// A call that changes something: never sent again while its outcome is unknown.
fn change(name: &'static str, path: String, fields: &[&str], body: Value, context: &Value) -> Request {
    Request {
        name,
        method: Method::Post,
        path,
        query: fields.iter().map(|field| ("f", (*field).to_owned())).collect(),
        headers: vec![(CONTEXT, encode(context))],
        body: Some(body),
        effect: Effect::Once,
    }
}

/// Tryton's own words.
fn user_error(body: &Value) -> String {
    let part = |name: &str| body[name].as_str().map(str::trim).filter(|text| !text.is_empty());
    let words = [part("message"), part("description")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    if words.is_empty() { excerpt(&body.to_string()) } else { excerpt(&words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tryton() -> Tryton {
        Tryton::new(ErpAccess {
            url: "http://erp.invalid/stock/".into(),
            key: Secret::new("k"),
            company: None,
            supplier: None,
            customer: None,
            shortage: Default::default(),
            sales: true,
        })
    }

    #[test]
    fn answers_are_judged_by_status_and_kind_never_by_words() {
        let check = |path: &str, status, kind: &str, body: &str, expected: Option<Class>| {
            let request = change("call", path.into(), &["state"], json!({}), &json!({}));
            let headers = vec![("content-type".to_owned(), kind.to_owned())];
            let failure = tryton().judge(&request, &Answer { status, headers, body: body.into() });
            assert_eq!(failure.map(|failure| failure.class), expected, "{status} {kind} {body}");
        };
        let (json, html) = ("application/json", "text/html; charset=utf-8");
        let refusal = r#"{"status":400,"message":"You can not call \"do\" on it.","description":""}"#;
        check("/m/1/do", 200, json, r#"{"id":1}"#, None);
        check("/m/1/do", 200, json, r#"{"id":1"#, Some(Class::Unknown));
        check("/m/1/do", 200, html, "", Some(Class::Unknown));
        check("/m/1/do", 400, json, refusal, Some(Class::Data));
        check("/m/1/do", 400, json, "{\"sta", Some(Class::Unknown));
        check("/m", 400, html, "<p>Unable to get RPC method</p>", Some(Class::Setup));
        check("/m", 401, html, "", Some(Class::Auth));
        check("/m/1/do", 403, html, "", Some(Class::Setup));
        check("/m", 404, html, "", Some(Class::Setup));
        check("/m/1/do", 404, html, "", Some(Class::Conflict));
        check("/m/1/do", 429, html, "", Some(Class::Rate { after: None }));
        check("/m/1/do", 502, html, "", Some(Class::Transient));
    }

    #[test]
    fn requests_are_as_the_server_reads_them() {
        let request =
            search("look", "stock.move", &["state"], &json!([["id", ">", 3]]), 5, &json!({"company": 1}));
        assert_eq!(request.path, "/stock.move");
        let query: Vec<String> =
            request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(query, ["f=state", "d=W1siaWQiLCI-IiwzXV0=", "o=W1siaWQiLCJBU0MiXV0=", "s=5"]);
        assert_eq!(request.headers, [(CONTEXT, "eyJjb21wYW55IjoxfQ==".to_owned())]);
        assert_eq!(tryton().base_url(), "http://erp.invalid/stock/rest/model");
    }
}
