//! Vendure 3.7 through its admin GraphQL.
//!
//! ```text
//!  map    stockLocations, then productVariants page by page
//!  push   productVariants (what it holds) -> updateProductVariants (what differs) -> productVariants (what it holds now)
//! ```
//! The shop subtracts what it has sold and not shipped by itself, so it must be given what is physically there
//! ([`Basis::OnHand`]). Its stock is set absolutely and without a condition: a fulfilment of its own that happens
//! between our reading and our writing is lost in the number, which is why a number counts only when read back.
//! A batch is refused as a whole, so it is cut in halves to find the one at fault. A location id that does not exist
//! is accepted, answered with success, and makes the variant unsellable: ids come from the shop's own list only.

mod orders;
mod push;
mod ship;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use stockwire_protocol::{Reference, SiteId, Sku};

use super::{
    ChannelAccess, ChannelConnector, ChannelKind, ChannelMap, ChannelSku, Declared, Pushed, Shown, SiteMap,
};
use crate::availability::{Basis, ChannelUpdate};
use crate::exchange::{
    Answer, Class, Connector, Conversation, Effect, Failure, Limits, Method, Request, Secret, Step, excerpt,
};
use crate::order::{Cancellation, Order, OrdersRead, Shipment, Told};

/// The row of [`super::CHANNELS`].
pub struct Kind;

impl ChannelKind for Kind {
    fn name(&self) -> &'static str {
        "vendure"
    }

    fn title(&self) -> &'static str {
        "Vendure 3.7, admin GraphQL"
    }

    fn declares(&self) -> Declared {
        Declared { basis: Basis::OnHand, compare_and_set: false }
    }

    fn connect(&self, access: ChannelAccess) -> Box<dyn ChannelConnector> {
        Box::new(Vendure::new(access))
    }
}

/// The connector for one shop. `url` is the server; `user` an administrator who may read the catalogue and update it.
pub struct Vendure {
    base: String,
    access: ChannelAccess,
}

/// Variants in one write: about 25 ms each on a busy shop, so half a second; and few enough that the one that matters
/// does not wait long behind others.
const PUSH_MAX: usize = 20;
/// Variants in one page, the most that a shop gives by default.
const PAGE_ROWS: usize = 100;
/// Pages in one reading: ten million variants.
const PAGES_MAX: usize = 100_000;
/// Stock locations of a shop; more than one page of them is another kind of business.
const LOCATIONS_MAX: usize = 100;

/// What makes a session; it appears in the answer's header.
const TOKEN_HEADER: &str = "vendure-auth-token";

const LOGIN: &str = "mutation($u:String!,$p:String!){login(username:$u,password:$p){__typename \
    ... on CurrentUser{id} ... on ErrorResult{errorCode message}}}";
const LOCATIONS: &str = "query($o:StockLocationListOptions){stockLocations(options:$o){items{id name}}}";
const VARIANTS: &str = "query($o:ProductVariantListOptions){productVariants(options:$o){totalItems items{id sku \
    stockLevels{stockLocation{id} stockOnHand stockAllocated}}}}";
const UPDATE: &str = "mutation($i:[UpdateProductVariantInput!]!){updateProductVariants(input:$i){id sku}}";

impl Vendure {
    /// From its access.
    pub fn new(access: ChannelAccess) -> Self {
        let base = access.url.trim_end_matches('/');
        let base = base.strip_suffix("/admin-api").unwrap_or(base).to_owned();
        Self { base, access }
    }
}

impl Connector for Vendure {
    fn base_url(&self) -> &str {
        &self.base
    }

    fn authorize(&self, session: Option<&Secret>) -> Vec<(&'static str, Secret)> {
        let bearer = |token: &Secret| ("authorization", Secret::new(format!("Bearer {}", token.reveal())));
        session.map(bearer).into_iter().collect()
    }

    fn login(&self) -> Option<Request> {
        let variables = json!({"u": self.access.user, "p": self.access.password.reveal()});
        Some(graphql("login", LOGIN, variables, Effect::Idempotent))
    }

    fn session(&self, answer: &Answer) -> Result<Secret, Failure> {
        if let Some(failure) = judge(answer) {
            return Err(failure);
        }
        let login = &answer.json()?["data"]["login"];
        match (login["__typename"].as_str(), answer.header(TOKEN_HEADER)) {
            (Some("CurrentUser"), Some(token)) if !token.is_empty() => Ok(Secret::new(token)),
            (Some("CurrentUser"), _) => {
                let message = format!("the shop gave no {TOKEN_HEADER}; its tokenMethod must include bearer");
                Err(Failure::new(Class::Setup, message))
            }
            _ => {
                let message = login["message"].as_str().unwrap_or("the login was refused");
                Err(Failure::new(Class::Auth, excerpt(message)))
            }
        }
    }

    fn judge(&self, _request: &Request, answer: &Answer) -> Option<Failure> {
        judge(answer)
    }

    fn limits(&self) -> Limits {
        Limits {
            // A push is three requests of 10 to 500 ms, one after another: a guard against loops.
            requests_per_s: 50,
            burst: 50,
            connect_wait: Duration::from_secs(5),
            // 20 variants at two locations took 0.5 s under load; forty times that.
            answer_wait: Duration::from_secs(20),
            // 20 variants at 100 locations are 150 kB.
            request_bytes_max: 1024 * 1024,
            // 100 variants at 100 locations are 1 MB.
            answer_bytes_max: 8 * 1024 * 1024,
        }
    }
}

impl ChannelConnector for Vendure {
    fn push_max(&self) -> usize {
        PUSH_MAX
    }

    fn map_skus(&self) -> Box<dyn Conversation<Output = ChannelMap>> {
        Box::new(MapSkus {
            wanted: self.access.sites.clone(),
            located: false,
            skip: 0,
            seen: 0,
            map: ChannelMap::default(),
        })
    }

    fn push(&self, map: &SiteMap, updates: &[ChannelUpdate]) -> Box<dyn Conversation<Output = Vec<Pushed>>> {
        Box::new(push::Push::new(map, updates))
    }

    fn offers_orders(&self) -> bool {
        true
    }

    fn read_orders(&self, since_ms: i64) -> Box<dyn Conversation<Output = OrdersRead>> {
        Box::new(orders::ReadOrders::new(self.access.channel.clone(), since_ms))
    }

    fn read_order(&self, order: &Reference) -> Box<dyn Conversation<Output = Option<Order>>> {
        Box::new(orders::ReadOrder::new(self.access.channel.clone(), order))
    }

    fn confirm_shipment(&self, order: &Order, shipment: &Shipment) -> Box<dyn Conversation<Output = Told>> {
        Box::new(ship::Tell::shipment(order, shipment))
    }

    fn cancel_order(
        &self,
        order: &Order,
        cancellation: &Cancellation,
    ) -> Box<dyn Conversation<Output = Told>> {
        Box::new(ship::Tell::cancellation(order, cancellation))
    }

    fn read_back(&self, map: &SiteMap, skus: &[Sku]) -> Box<dyn Conversation<Output = Vec<(Sku, Shown)>>> {
        Box::new(ReadBack { map: map.clone(), skus: skus.to_vec(), read: Vec::new() })
    }
}

fn graphql(name: &'static str, query: &str, variables: Value, effect: Effect) -> Request {
    Request {
        name,
        method: Method::Post,
        path: "/admin-api".into(),
        query: vec![],
        headers: vec![],
        body: Some(json!({"query": query, "variables": variables})),
        effect,
    }
}

/// Nearly everything comes as HTTP 200; what it means stands in the body.
fn judge(answer: &Answer) -> Option<Failure> {
    let body = match answer.json() {
        Ok(body) => body,
        Err(failure) => return Failure::of_status(answer).or(Some(failure)),
    };
    let Some(error) = body["errors"].get(0) else {
        let no_data = || Failure::new(Class::Unknown, format!("an answer without data: {}", answer.text()));
        return Failure::of_status(answer).or_else(|| body["data"].is_null().then(no_data));
    };
    let code = error["extensions"]["code"].as_str().unwrap_or("");
    let class = match code {
        "FORBIDDEN" | "UNAUTHORIZED" => Class::Auth,
        // Our query itself: another version, or a field that this shop does not have.
        "GRAPHQL_VALIDATION_FAILED" | "GRAPHQL_PARSE_FAILED" => Class::Setup,
        "" | "INTERNAL_SERVER_ERROR" => Class::Transient,
        _ => Class::Data,
    };
    let message = error["message"].as_str().unwrap_or("no message");
    Some(Failure::new(class, excerpt(&format!("{code} {message}"))))
}

/// A page of variants by SKU.
fn variants_by_sku<'a>(name: &'static str, skus: impl Iterator<Item = &'a Sku>) -> Request {
    let skus: Vec<&str> = skus.map(Sku::as_str).collect();
    let options = json!({"o": {"take": PAGE_ROWS, "filter": {"sku": {"in": skus}}}});
    graphql(name, VARIANTS, options, Effect::Read)
}

/// A variant as the shop holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Variant {
    id: String,
    sku: String,
    /// By location id: on hand and allocated.
    levels: BTreeMap<String, (i64, i64)>,
}

impl Variant {
    /// What it has on hand at one of our sites. No level is none: the shop makes the row with the first number.
    fn on_hand(&self, location: &str) -> i64 {
        self.levels.get(location).map_or(0, |level| level.0)
    }
}

fn variants(answer: &Answer) -> Result<Vec<Variant>, Failure> {
    let body = answer.json()?;
    let broken = || Failure::new(Class::Transient, format!("no list of variants: {}", answer.text()));
    let variant = |row: &Value| {
        let level = |level: &Value| {
            let numbers = (level["stockOnHand"].as_i64()?, level["stockAllocated"].as_i64()?);
            Some((level["stockLocation"]["id"].as_str()?.to_owned(), numbers))
        };
        let levels = row["stockLevels"].as_array()?.iter().map(level).collect::<Option<_>>()?;
        Some(Variant { id: row["id"].as_str()?.to_owned(), sku: row["sku"].as_str()?.to_owned(), levels })
    };
    let rows = body["data"]["productVariants"]["items"].as_array().ok_or_else(broken)?;
    rows.iter().map(variant).collect::<Option<_>>().ok_or_else(broken)
}

/// Reads [`ChannelMap`].
struct MapSkus {
    wanted: Vec<SiteId>,
    located: bool,
    skip: usize,
    seen: usize,
    map: ChannelMap,
}

impl Conversation for MapSkus {
    type Output = ChannelMap;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<ChannelMap> {
        let taken = match last {
            None => {
                let options = json!({"o": {"take": LOCATIONS_MAX}});
                return Step::Send(graphql("locations", LOCATIONS, options, Effect::Read));
            }
            Some(Err(failure)) => Err(failure),
            Some(Ok(answer)) if !self.located => self.take_locations(&answer).map(|()| true),
            Some(Ok(answer)) => self.take_page(&answer),
        };
        match taken {
            Err(failure) => Step::Done(Err(failure)),
            Ok(false) => Step::Done(Ok(std::mem::take(&mut self.map))),
            Ok(true) => {
                let options = json!({"o": {"take": PAGE_ROWS, "skip": self.skip, "sort": {"id": "ASC"}}});
                Step::Send(graphql("variants", VARIANTS, options, Effect::Read))
            }
        }
    }
}

impl MapSkus {
    fn take_locations(&mut self, answer: &Answer) -> Result<(), Failure> {
        let body = answer.json()?;
        for row in body["data"]["stockLocations"]["items"].as_array().into_iter().flatten() {
            if let (Some(id), Some(name)) = (row["id"].as_str(), row["name"].as_str())
                && let Some(site) = self.wanted.iter().find(|site| site.as_str() == name)
                && self.map.sites.insert(site.clone(), id.to_owned()).is_some()
            {
                return Err(Failure::new(
                    Class::Setup,
                    format!("the shop has two stock locations named {name}"),
                ));
            }
        }
        let missing: Vec<&str> = self
            .wanted
            .iter()
            .filter(|site| !self.map.sites.contains_key(site))
            .map(SiteId::as_str)
            .collect();
        if !missing.is_empty() {
            // Leaving one out would sell less than there is, and nobody would know why.
            let message = format!(
                "the shop has no stock location named {}; make one for each site",
                missing.join(", ")
            );
            return Err(Failure::new(Class::Setup, message));
        }
        self.located = true;
        Ok(())
    }

    /// Whether there are more pages.
    fn take_page(&mut self, answer: &Answer) -> Result<bool, Failure> {
        let page = variants(answer)?;
        self.seen += 1;
        if self.seen > PAGES_MAX {
            return Err(Failure::new(Class::Setup, format!("more than {PAGES_MAX} pages of variants")));
        }
        // The next page overlaps this one by a row, so that a variant deleted meanwhile hides no other.
        let more = page.len() >= PAGE_ROWS;
        self.skip += page.len().saturating_sub(1);
        for variant in page {
            match Sku::new(variant.sku.clone()) {
                Ok(sku) => {
                    let reference = Some(variant.id);
                    match self.map.skus.iter().rev().take(PAGE_ROWS).find(|known| known.sku == sku) {
                        Some(known) if known.reference == reference => {}
                        Some(_) => self.map.remarks.push(format!("there are two variants {sku}")),
                        None => self.map.skus.push(ChannelSku { sku, reference }),
                    }
                }
                Err(fault) => self.map.remarks.push(excerpt(&format!("variant {}: {fault}", variant.id))),
            }
        }
        Ok(more)
    }
}

/// Reads back what the shop holds.
struct ReadBack {
    map: SiteMap,
    /// Still to be read.
    skus: Vec<Sku>,
    read: Vec<(Sku, Shown)>,
}

impl Conversation for ReadBack {
    type Output = Vec<(Sku, Shown)>;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<Self::Output> {
        match last {
            None => {}
            Some(Err(failure)) => return Step::Done(Err(failure)),
            Some(Ok(answer)) => match variants(&answer) {
                Err(failure) => return Step::Done(Err(failure)),
                Ok(held) => {
                    let asked = self.skus.len().min(PAGE_ROWS);
                    for sku in self.skus.drain(..asked) {
                        let shown = held.iter().find(|variant| variant.sku == sku.as_str());
                        let numbers = |variant: &Variant| {
                            let sites = self.map.iter();
                            Shown::Numbers(
                                sites.map(|(site, id)| (site.clone(), variant.on_hand(id))).collect(),
                            )
                        };
                        self.read.push((sku, shown.map_or(Shown::Nothing, numbers)));
                    }
                }
            },
        }
        if self.skus.is_empty() {
            return Step::Done(Ok(std::mem::take(&mut self.read)));
        }
        Step::Send(variants_by_sku("read back", self.skus.iter().take(PAGE_ROWS)))
    }
}

#[cfg(test)]
mod tests;
