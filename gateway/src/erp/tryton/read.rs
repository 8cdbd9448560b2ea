//! Reads what Tryton knows of goods and places, and what lies where.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{ItemId, LocationId, SiteId, Uom};

use super::super::{CatalogueRead, ErpAccess};
use super::{ItemKeys, Party, PlaceKeys, SiteKeys, number, search, text_of};
use crate::catalogue::{Item, Location, Site};
use crate::exchange::{Answer, Class, Conversation, Failure, Request, Step};
use crate::reconcile::ErpQuantity;

/// Rows in one page: 250 kB and 60 ms of items.
const PAGE_ROWS: usize = 500;
/// Rows in one reading. A fault at the other side that gives pages without end stops here.
const ROWS_MAX: usize = 5_000_000;

/// Units by Tryton's symbol. A unit that is not here is told as a remark, never guessed.
const UNITS: &[(&str, Uom)] = &[
    ("u", Uom::Piece),
    ("kg", Uom::Kilogram),
    ("g", Uom::Gram),
    ("lb", Uom::Pound),
    ("l", Uom::Litre),
    ("L", Uom::Litre),
    ("m", Uom::Metre),
];

const COMPANY_FIELDS: &[&str] = &["currency", "party"];
const PARTY_FIELDS: &[&str] = &["name", "supplier_location", "customer_location", "addresses"];
const SITE_FIELDS: &[&str] = &["code", "storage_location", "lost_found_location"];
const PLACE_FIELDS: &[&str] = &["code", "type", "parent", "warehouse.code"];
const ITEM_FIELDS: &[&str] =
    &["code", "name", "default_uom.symbol", "default_uom.digits", "identifiers.type", "identifiers.code"];
const QUANTITY_FIELDS: &[&str] = &["code", "quantity", "default_uom.symbol", "default_uom.digits"];

/// One table, page by page, by growing id: a row that is added or removed meanwhile moves no other.
struct Pages {
    name: &'static str,
    model: &'static str,
    fields: &'static [&'static str],
    domain: Vec<Value>,
    context: Value,
    last_id: i64,
    rows: usize,
}

impl Pages {
    fn new(
        name: &'static str,
        model: &'static str,
        fields: &'static [&'static str],
        domain: Vec<Value>,
    ) -> Self {
        Self { name, model, fields, domain, context: json!({}), last_id: 0, rows: 0 }
    }

    fn within(mut self, context: Value) -> Self {
        self.context = context;
        self
    }

    fn request(&self) -> Request {
        let mut domain = self.domain.clone();
        if self.last_id > 0 {
            domain.push(json!(["id", ">", self.last_id]));
        }
        search(self.name, self.model, self.fields, &Value::Array(domain), PAGE_ROWS, &self.context)
    }

    /// The rows of an answer, and whether there are more.
    fn take(&mut self, answer: &Answer) -> Result<(Vec<Value>, bool), Failure> {
        let broken = |what: &str| Failure::new(Class::Transient, format!("{}: {what}", self.name));
        let Value::Array(rows) = answer.json()? else { return Err(broken("the answer is no list")) };
        self.rows += rows.len();
        if self.rows > ROWS_MAX {
            return Err(Failure::new(Class::Setup, format!("{}: more than {ROWS_MAX} rows", self.name)));
        }
        let more = rows.len() >= PAGE_ROWS;
        if let Some(last) = rows.last() {
            let id = last["id"].as_i64().ok_or_else(|| broken("a row without id"))?;
            if id <= self.last_id {
                return Err(broken("the rows are not in the order of their ids"));
            }
            self.last_id = id;
        }
        Ok((rows, more))
    }
}

fn company_of(rows: &[Value], configured: Option<i64>) -> Result<&Value, Failure> {
    let setup = |message: String| Failure::new(Class::Setup, message);
    match (rows, configured) {
        ([], _) => Err(setup("Tryton has no company that we may see".into())),
        ([only], None) => Ok(only),
        (several, None) => {
            let ids: Vec<String> = several.iter().map(|row| row["id"].to_string()).collect();
            Err(setup(format!("Tryton has several companies; say which: {}", ids.join(", "))))
        }
        (rows, Some(id)) => rows
            .iter()
            .find(|row| row["id"].as_i64() == Some(id))
            .ok_or_else(|| setup(format!("Tryton has no company {id} that we may see"))),
    }
}

/// The unit of a product and how many decimals Tryton keeps of it.
fn unit_of(row: &Value) -> Result<(Uom, u32), String> {
    let symbol = row["default_uom"]["symbol"].as_str().unwrap_or("");
    let uom = UNITS.iter().find(|unit| unit.0 == symbol).map(|unit| unit.1);
    let digits = row["default_uom"]["digits"].as_u64().and_then(|digits| u32::try_from(digits).ok());
    match (uom, digits) {
        (Some(uom), Some(digits)) => Ok((uom, digits.min(uom.decimals()))),
        _ => Err(format!("its unit {symbol:?} is none that we know")),
    }
}

/// `HAM/A-01` at site `HAM` is `A-01`; a code without the site stands as it is.
fn location_of(code: &str, site: &str) -> Result<LocationId, String> {
    let own = code.strip_prefix(site).and_then(|rest| rest.strip_prefix('/')).unwrap_or(code);
    LocationId::new(own).map_err(|fault| fault.to_string())
}

/// Reads [`CatalogueRead`]: company, parties, warehouses, places, items.
pub(super) struct ReadCatalogue {
    company: Option<i64>,
    supplier: Option<String>,
    customer: Option<String>,
    stage: Stage,
    pages: Pages,
    /// The company's own party is nobody's supplier.
    own_party: i64,
    currency: Option<i64>,
    parties: Vec<Value>,
    warehouses: Vec<Value>,
    /// Places by id: parent, code, code of the warehouse; `None` = no storage place of its own.
    places: Vec<PlaceRow>,
    read: CatalogueRead,
    seen: HashSet<String>,
}

#[derive(Clone, Copy)]
enum Stage {
    Company,
    Parties,
    Warehouses,
    Places,
    Items,
}

struct PlaceRow {
    id: i64,
    parent: Option<i64>,
    storage: bool,
    code: Option<String>,
    warehouse: Option<i64>,
}

impl ReadCatalogue {
    pub(super) fn new(access: &ErpAccess) -> Self {
        Self {
            company: access.company,
            supplier: access.supplier.clone(),
            customer: access.customer.clone(),
            stage: Stage::Company,
            pages: Pages::new("companies", "company.company", COMPANY_FIELDS, vec![]),
            own_party: 0,
            currency: None,
            parties: Vec::new(),
            warehouses: Vec::new(),
            places: Vec::new(),
            read: CatalogueRead::default(),
            seen: HashSet::new(),
        }
    }
}

impl Conversation for ReadCatalogue {
    type Output = CatalogueRead;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<CatalogueRead> {
        let answer = match last {
            None => return Step::Send(self.pages.request()),
            Some(Err(failure)) => return Step::Done(Err(failure)),
            Some(Ok(answer)) => answer,
        };
        match self.take(&answer) {
            Err(failure) => Step::Done(Err(failure)),
            Ok(true) => Step::Send(self.pages.request()),
            Ok(false) => Step::Done(Ok(std::mem::take(&mut self.read))),
        }
    }
}

impl ReadCatalogue {
    /// Takes a page in; whether there is more to ask.
    fn take(&mut self, answer: &Answer) -> Result<bool, Failure> {
        let (rows, more) = self.pages.take(answer)?;
        match self.stage {
            Stage::Company => {
                let company = company_of(&rows, self.company)?;
                self.company = company["id"].as_i64();
                self.currency = company["currency"].as_i64();
                self.own_party = company["party"].as_i64().unwrap_or(0);
                let mut domain = Vec::new();
                if let (Some(supplier), Some(customer)) = (&self.supplier, &self.customer) {
                    domain.push(json!(["name", "in", [supplier, customer]]));
                }
                self.turn(Stage::Parties, Pages::new("parties", "party.party", PARTY_FIELDS, domain));
            }
            // One page of them will do: whoever has more names the two that are meant.
            Stage::Parties => {
                self.parties = rows;
                let domain = vec![json!(["type", "=", "warehouse"])];
                self.turn(Stage::Warehouses, Pages::new("warehouses", "stock.location", SITE_FIELDS, domain));
            }
            Stage::Warehouses => {
                self.warehouses.extend(rows);
                if !more {
                    let domain = vec![json!(["type", "in", ["storage", "view", "warehouse"]])];
                    self.turn(Stage::Places, Pages::new("places", "stock.location", PLACE_FIELDS, domain));
                }
            }
            Stage::Places => {
                self.places.extend(rows.iter().filter_map(place_row));
                if !more {
                    self.take_sites();
                    self.turn(Stage::Items, Pages::new("items", "product.product", ITEM_FIELDS, vec![]));
                }
            }
            Stage::Items => {
                for row in &rows {
                    if let Err(remark) = self.take_item(row) {
                        self.remark(format!(
                            "item {}: {remark}",
                            row["code"].as_str().unwrap_or("without code")
                        ));
                    }
                }
                return Ok(more);
            }
        }
        Ok(true)
    }

    fn turn(&mut self, stage: Stage, pages: Pages) {
        self.stage = stage;
        self.pages = pages.within(json!({"company": self.company}));
    }

    fn remark(&mut self, remark: String) {
        if self.read.remarks.len() < CatalogueRead::REMARKS_MAX {
            self.read.remarks.push(crate::exchange::excerpt(&remark));
        }
    }

    /// The party of that name, or the first that may stand there.
    fn party(&self, name: Option<&str>, location: &str, needs_address: bool) -> Option<Party> {
        let usable = |row: &&Value| {
            let mine = row["id"].as_i64() == Some(self.own_party);
            name.map_or(!mine, |name| row["name"].as_str() == Some(name))
        };
        self.parties.iter().filter(usable).find_map(|row| {
            let address = row["addresses"].get(0).and_then(Value::as_i64);
            let party = Party { party: row["id"].as_i64()?, location: row[location].as_i64()?, address };
            (!needs_address || address.is_some()).then_some(party)
        })
    }

    fn take_sites(&mut self) {
        let supplier = self.party(self.supplier.as_deref(), "supplier_location", false);
        let customer = self.party(self.customer.as_deref(), "customer_location", true);
        for (party, role) in [(&supplier, "supplier"), (&customer, "customer")] {
            if party.is_none() {
                self.remark(format!("no party can stand as {role}: such movements can not be posted"));
            }
        }
        let mut sites: HashMap<i64, SiteId> = HashMap::new();
        for row in std::mem::take(&mut self.warehouses) {
            let code = row["code"].as_str().unwrap_or("");
            let ids = (row["id"].as_i64(), row["storage_location"].as_i64(), self.company);
            let (site, (Some(warehouse), Some(storage), Some(company))) = (SiteId::new(code), ids) else {
                self.remark(format!("warehouse {code:?} has no usable code or no storage zone"));
                continue;
            };
            let site = match site {
                Ok(site) if !self.read.snapshot.sites.iter().any(|other| other.site == site) => site,
                Ok(site) => {
                    self.remark(format!("there are two warehouses {site}"));
                    continue;
                }
                Err(fault) => {
                    self.remark(format!("warehouse {code:?}: {fault}"));
                    continue;
                }
            };
            let keys = SiteKeys {
                company,
                currency: self.currency,
                warehouse,
                storage,
                lost_found: row["lost_found_location"].as_i64(),
                supplier: supplier.clone(),
                customer: customer.clone(),
            };
            sites.insert(warehouse, site.clone());
            self.read.snapshot.sites.push(Site { site, reference: text_of(&keys) });
        }
        self.take_places(&sites);
    }

    fn take_places(&mut self, sites: &HashMap<i64, SiteId>) {
        let places = std::mem::take(&mut self.places);
        let parents: HashMap<i64, i64> =
            places.iter().filter_map(|row| Some((row.id, row.parent?))).collect();
        for row in places.iter().filter(|row| row.storage) {
            // A place outside every warehouse is none that an agent can stand at: transit, for one.
            let Some((warehouse, site)) = row.warehouse.and_then(|id| Some((id, sites.get(&id)?))) else {
                continue;
            };
            let location = match &row.code {
                Some(code) => location_of(code, site.as_str()),
                None => Err("it has no code".into()),
            };
            let zone = zone(row.id, warehouse, &parents);
            match (location, zone) {
                (Ok(location), Some(zone)) if self.seen.insert(format!("{site}/{location}")) => {
                    let reference = text_of(&PlaceKeys { location: row.id, zone });
                    self.read.snapshot.locations.push(Location { site: site.clone(), location, reference });
                }
                (Ok(location), Some(_)) => self.remark(format!("there are two places {site}/{location}")),
                (Ok(location), None) => self.remark(format!("place {site}/{location} is in no zone")),
                (Err(fault), _) => self.remark(format!("place {} of {site}: {fault}", row.id)),
            }
        }
        self.seen.clear();
    }

    fn take_item(&mut self, row: &Value) -> Result<(), String> {
        let id = ItemId::new(row["code"].as_str().unwrap_or("")).map_err(|fault| fault.to_string())?;
        let (uom, _) = unit_of(row)?;
        let (Some(product), Some(unit)) = (row["id"].as_i64(), row["default_uom"]["id"].as_i64()) else {
            return Err("it has no id or no unit".into());
        };
        if !self.seen.insert(id.as_str().to_owned()) {
            return Err("there are two of that code".into());
        }
        let (mut gtins, mut codes) = (Vec::new(), Vec::new());
        for identifier in row["identifiers"].as_array().into_iter().flatten() {
            let code = identifier["code"].as_str().unwrap_or("");
            // EAN-8, UPC-A, EAN-13 and GTIN-14 alike; what is none of them may still be printed on a label.
            match Gtin::parse(code) {
                Ok(gtin) => gtins.push(gtin),
                Err(_) if code.is_empty() => {}
                Err(_) => codes.push(code.to_owned()),
            }
        }
        let name = row["name"].as_str().unwrap_or(id.as_str()).to_owned();
        let reference = text_of(&ItemKeys { product, unit });
        self.read.snapshot.items.push(Item { id, name, uom, gtins, codes, reference });
        Ok(())
    }
}

fn place_row(row: &Value) -> Option<PlaceRow> {
    Some(PlaceRow {
        id: row["id"].as_i64()?,
        parent: row["parent"].as_i64(),
        storage: row["type"].as_str() == Some("storage"),
        code: row["code"].as_str().map(str::to_owned),
        warehouse: row["warehouse"]["id"].as_i64(),
    })
}

/// The ancestor right below the warehouse.
fn zone(mut id: i64, warehouse: i64, parents: &HashMap<i64, i64>) -> Option<i64> {
    // Deeper than any warehouse; a loop in the data ends here too.
    const DEPTH_MAX: usize = 64;
    for _ in 0..DEPTH_MAX {
        match parents.get(&id) {
            Some(parent) if *parent == warehouse => return Some(id),
            Some(parent) => id = *parent,
            None => return None,
        }
    }
    None
}

/// Reads every place's quantities: one request a place, since Tryton adds several places up.
pub(super) struct ReadQuantities {
    company: Option<i64>,
    stage: QuantityStage,
    pages: Pages,
    /// Still to be read, the last first.
    places: Vec<(SiteId, LocationId, i64)>,
    current: Option<(SiteId, LocationId)>,
    quantities: Vec<ErpQuantity>,
}

#[derive(Clone, Copy)]
enum QuantityStage {
    Company,
    Places,
    Quantities,
}

impl ReadQuantities {
    pub(super) fn new(access: &ErpAccess) -> Self {
        Self {
            company: access.company,
            stage: QuantityStage::Company,
            pages: Pages::new("companies", "company.company", COMPANY_FIELDS, vec![]),
            places: Vec::new(),
            current: None,
            quantities: Vec::new(),
        }
    }

    /// Takes a page in; whether there is more to ask.
    fn take(&mut self, answer: &Answer) -> Result<bool, Failure> {
        let (rows, more) = self.pages.take(answer)?;
        match self.stage {
            QuantityStage::Company => {
                self.company = company_of(&rows, self.company)?["id"].as_i64();
                let domain = vec![json!(["type", "in", ["storage"]])];
                self.pages = Pages::new("places", "stock.location", PLACE_FIELDS, domain)
                    .within(json!({"company": self.company}));
                self.stage = QuantityStage::Places;
            }
            QuantityStage::Places => {
                self.places.extend(rows.iter().filter_map(place_of));
                if !more {
                    self.stage = QuantityStage::Quantities;
                    return Ok(self.next_place());
                }
            }
            QuantityStage::Quantities => {
                for row in &rows {
                    self.take_quantity(row)?;
                }
                if !more {
                    return Ok(self.next_place());
                }
            }
        }
        Ok(true)
    }

    fn next_place(&mut self) -> bool {
        let Some((site, location, id)) = self.places.pop() else { return false };
        // Without `with_childs` a zone would also count what its bins hold.
        let context = json!({"company": self.company, "locations": [id], "with_childs": false});
        let domain = vec![json!(["quantity", "!=", 0])];
        self.pages = Pages::new("quantities", "product.product", QUANTITY_FIELDS, domain).within(context);
        self.current = Some((site, location));
        true
    }

    fn take_quantity(&mut self, row: &Value) -> Result<(), Failure> {
        let Some((site, location)) = self.current.clone() else { return Ok(()) };
        let code = row["code"].as_str().unwrap_or("");
        // What the catalogue leaves out, with a remark, has no place in the books either.
        let (Ok(item), Ok((uom, digits))) = (ItemId::new(code), unit_of(row)) else { return Ok(()) };
        let steps = number::from_json(&row["quantity"], uom, digits).map_err(|fault| {
            Failure::new(Class::Data, format!("the quantity of {item} at {site}/{location}: {fault}"))
        })?;
        if steps != 0 {
            self.quantities.push(ErpQuantity { site, location, item, steps });
        }
        Ok(())
    }
}

impl Conversation for ReadQuantities {
    type Output = Vec<ErpQuantity>;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<Vec<ErpQuantity>> {
        let answer = match last {
            None => return Step::Send(self.pages.request()),
            Some(Err(failure)) => return Step::Done(Err(failure)),
            Some(Ok(answer)) => answer,
        };
        match self.take(&answer) {
            Err(failure) => Step::Done(Err(failure)),
            Ok(true) => Step::Send(self.pages.request()),
            Ok(false) => {
                let mut quantities = std::mem::take(&mut self.quantities);
                quantities.sort();
                Step::Done(Ok(quantities))
            }
        }
    }
}

fn place_of(row: &Value) -> Option<(SiteId, LocationId, i64)> {
    let site = SiteId::new(row["warehouse"]["code"].as_str()?).ok()?;
    let location = location_of(row["code"].as_str()?, site.as_str()).ok()?;
    Some((site, location, row["id"].as_i64()?))
}

#[cfg(test)]
mod tests;
