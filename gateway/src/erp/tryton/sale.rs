//! Orders as sales.
//!
//! ```text
//!  post     currency, taxes -> look for the reference .. create -> quote -> confirm       (carry.rs)
//!  read     look for the reference, with the numbers of its invoices
//!  cancel   look -> draft, quotation: cancel -> look
//!                -> binding, nothing shipped: a second sale takes it back, line by line -> .. confirm
//! ```
//! A sale is invoiced by the order and ships "manually": the goods are posted by the books, see [`super::origin`]. The
//! buyer stands in its comment; the party is the configured customer, because accounts of customers are kept elsewhere.

use serde_json::{Value, json};
use stockwire_protocol::Uom;

use super::super::{Posted, Shortage};
use super::carry::{Carry, Document, SALE, Sums};
use super::{ItemKeys, SiteKeys, change, keys, number, search};
use crate::exchange::{Answer, Class, Conversation, Failure, Step};
use crate::order::{Amount, Content, Party, Sale, SaleCancelled, SaleFound, SaleLine, SalePosted};

/// Sales with one reference that a search shows; two are seldom.
const FOUND_MAX: usize = 20;
/// Taxes of a company: rates of a few countries.
const TAXES_MAX: usize = 500;
/// Decimals of a unit price, Tryton's own default; more are refused there.
const PRICE_DIGITS: u32 = 4;
/// A rate is told in hundredths of a per cent, so 0.19 is 1900.
const RATE_DIGITS: u32 = 4;
/// Minor units by which a tax may differ for each line, because one rounds by the piece and another by the document.
const TAX_SLACK: i64 = 1;
/// Requests in one cancellation: a look and a call for each of a few sales, twice over for lost answers.
const REQUESTS_MAX: u32 = 40;

/// A tax on sales.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tax {
    id: i64,
    /// Hundredths of a per cent.
    rate: i64,
}

/// The currency of an order, as Tryton has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Money {
    currency: i64,
    digits: u32,
}

fn site_keys(sale: &Sale) -> Result<SiteKeys, Failure> {
    match &sale.site {
        Some((_, Some(text))) => keys(text),
        Some((site, None)) => Err(setup(format!("the catalogue has no reference for site {site}"))),
        None => Err(setup("no site ships this order, and Tryton asks for a warehouse".into())),
    }
}

fn setup(message: String) -> Failure {
    Failure::new(Class::Setup, message)
}

fn strange(what: &str, body: &Value) -> Failure {
    Failure::new(
        Class::Unknown,
        format!("expected {what}, got {}", crate::exchange::excerpt(&body.to_string())),
    )
}

/// Posting one.
pub(super) struct PostSale {
    sale: Sale,
    state: State,
}

enum State {
    Start,
    Currency(SiteKeys),
    Taxes(SiteKeys, Money),
    Carrying(Box<Carry>),
}

impl PostSale {
    pub(super) fn new(sale: &Sale) -> Self {
        Self { sale: sale.clone(), state: State::Start }
    }

    fn carry(&mut self, site: &SiteKeys, money: Money, taxes: &[Tax]) -> Step<SalePosted> {
        let document = match compose(&self.sale, site, money, taxes) {
            Ok(document) => document,
            Err(reason) => return Step::Done(Ok(SalePosted::Refused { reason })),
        };
        let noted = self.sale.document.as_deref();
        let carry = Carry::new(Ok(document), &self.sale.reference, noted, Shortage::Refuse);
        self.state = State::Carrying(Box::new(carry));
        self.next(None)
    }
}

impl Conversation for PostSale {
    type Output = SalePosted;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<SalePosted> {
        if let State::Carrying(carry) = &mut self.state {
            return match carry.next(last) {
                Step::Send(request) => Step::Send(request),
                Step::Note(note) => Step::Note(note),
                Step::Done(Err(failure)) => Step::Done(Err(failure)),
                Step::Done(Ok(Posted::Booked { document })) => {
                    Step::Done(Ok(SalePosted::Booked { document }))
                }
                Step::Done(Ok(Posted::Refused { reason } | Posted::Impossible { reason })) => {
                    Step::Done(Ok(SalePosted::Refused { reason }))
                }
                Step::Done(Ok(Posted::Mixed { .. })) => {
                    Step::Done(Err(setup("a sale is one document".into())))
                }
            };
        }
        let answer = match last.transpose() {
            Ok(answer) => answer,
            Err(failure) => return Step::Done(Err(failure)),
        };
        match (std::mem::replace(&mut self.state, State::Start), answer) {
            (State::Currency(site), Some(answer)) => match currency(&answer) {
                Ok(Some(money)) => {
                    let domain = json!([["type", "=", "percentage"], ["company", "=", site.company]]);
                    let context = json!({"company": site.company});
                    let fields = ["rate", "group.kind"];
                    let request = search("taxes", "account.tax", &fields, &domain, TAXES_MAX, &context);
                    self.state = State::Taxes(site, money);
                    Step::Send(request)
                }
                Ok(None) => {
                    let reason = format!("Tryton has no currency {}", self.sale.order.currency);
                    Step::Done(Ok(SalePosted::Refused { reason }))
                }
                Err(failure) => Step::Done(Err(failure)),
            },
            (State::Taxes(site, money), Some(answer)) => match taxes(&answer) {
                Ok(taxes) => self.carry(&site, money, &taxes),
                Err(failure) => Step::Done(Err(failure)),
            },
            _ => match site_keys(&self.sale) {
                Ok(site) => {
                    let domain = json!([["code", "=", self.sale.order.currency.as_str()]]);
                    let context = json!({"company": site.company});
                    self.state = State::Currency(site);
                    Step::Send(search("currency", "currency.currency", &["digits"], &domain, 1, &context))
                }
                Err(failure) => Step::Done(Err(failure)),
            },
        }
    }
}

fn currency(answer: &Answer) -> Result<Option<Money>, Failure> {
    let body = answer.json()?;
    let rows = body.as_array().ok_or_else(|| strange("a list of currencies", &body))?;
    let Some(row) = rows.first() else { return Ok(None) };
    let digits = row["digits"].as_u64().and_then(|digits| u32::try_from(digits).ok());
    // Nothing that is traded has more than four.
    match (row["id"].as_i64(), digits.filter(|digits| *digits <= 4)) {
        (Some(currency), Some(digits)) => Ok(Some(Money { currency, digits })),
        _ => Err(strange("a currency with id and digits", row)),
    }
}

fn taxes(answer: &Answer) -> Result<Vec<Tax>, Failure> {
    let body = answer.json()?;
    let rows = body.as_array().ok_or_else(|| strange("a list of taxes", &body))?;
    let of_sales = rows.iter().filter(|row| row["group"]["kind"] != "purchase");
    // A rate with more decimals than an order can tell is nobody's.
    let tax = |row: &Value| {
        Some(Tax {
            id: row["id"].as_i64()?,
            rate: number::minor(row["rate"]["decimal"].as_str()?, RATE_DIGITS)?,
        })
    };
    Ok(of_sales.filter_map(tax).collect())
}

/// The sale as it must be created; or why Tryton can not have it.
fn compose(sale: &Sale, site: &SiteKeys, money: Money, taxes: &[Tax]) -> Result<Document, String> {
    let order: &Content = &sale.order;
    let customer = site.customer.as_ref().ok_or("Tryton has no party that may stand as customer")?;
    let mut lines = Vec::with_capacity(sale.lines.len() + order.charges.len());
    let mut sums = Sums { net: 0, tax: 0, slack: 0, digits: money.digits };
    for sold in &sale.lines {
        lines.push(product_line(sale, sold, money, taxes)?);
    }
    for charge in &order.charges {
        let price = price(charge.amount.net, 1, 1, money.digits).ok_or("a charge that is no price")?;
        lines.push(
            json!({"type": "line", "description": charge.name, "quantity": 1.0, "unit_price": decimal(price),
            "taxes": tax_field(&charge.name, None, charge.amount, taxes)?}),
        );
    }
    let amounts = sale.lines.iter().filter_map(|sold| order_line(sale, sold)).map(|line| line.amount);
    for amount in amounts.chain(order.charges.iter().map(|charge| charge.amount)) {
        sums.net = sums.net.saturating_add(amount.net);
        sums.tax = sums.tax.saturating_add(amount.tax);
        sums.slack += TAX_SLACK;
    }
    let body = json!({
        "reference": sale.reference, "description": sale.order_reference, "comment": comment(order),
        "company": site.company, "currency": money.currency, "warehouse": site.warehouse,
        "party": customer.party, "invoice_address": customer.address, "shipment_address": customer.address,
        "invoice_method": "order", "shipment_method": "manual", "lines": [["create", lines]],
    });
    Ok(Document { model: SALE, body, company: site.company, sums: Some(sums) })
}

fn order_line<'a>(sale: &'a Sale, sold: &SaleLine) -> Option<&'a crate::order::Line> {
    sale.order.line(&sold.line)
}

fn product_line(sale: &Sale, sold: &SaleLine, money: Money, taxes: &[Tax]) -> Result<Value, String> {
    let line = order_line(sale, sold).ok_or_else(|| format!("the order has no line {}", sold.line))?;
    let item: ItemKeys = keys(&sold.item_reference).map_err(|failure| failure.message)?;
    let inexact = || format!("{} of {} is more than Tryton's floats hold exactly", sold.quantity, sold.item);
    let quantity = number::to_json(sold.quantity).ok_or_else(inexact)?;
    let per_unit = 10i64.pow(Uom::decimals(sold.quantity.uom));
    let price = price(line.amount.net, sold.quantity.steps, per_unit, money.digits)
        .ok_or_else(|| format!("line {} has no price that Tryton could hold", sold.line))?;
    Ok(json!({"type": "line", "product": item.product, "unit": item.unit, "quantity": quantity,
        "unit_price": decimal(price),
        "taxes": tax_field(sold.line.as_str(), line.tax_rate, line.amount, taxes)?}))
}

/// The price of one unit with [`PRICE_DIGITS`] decimals, half up; discounts are in it.
fn price(net: i64, steps: i64, per_unit: i64, digits: u32) -> Option<String> {
    let above = i128::from(net) * i128::from(per_unit) * 10i128.pow(PRICE_DIGITS);
    let below = i128::from(steps).checked_mul(10i128.pow(digits)).filter(|below| *below > 0)?;
    let rounded = (above * 2 + below) / (below * 2);
    i64::try_from(rounded).ok().map(|minor| number::amount(minor, PRICE_DIGITS))
}

fn decimal(text: String) -> Value {
    json!({"__class__": "Decimal", "decimal": text})
}

/// The tax by its rate; by what was charged where the order tells no rate.
fn tax_field(line: &str, rate: Option<u32>, amount: Amount, taxes: &[Tax]) -> Result<Value, String> {
    let whole = i128::from(10i64.pow(RATE_DIGITS));
    let makes = |tax: &&Tax| {
        let made = i128::from(amount.net) * i128::from(tax.rate);
        // Less than one minor unit away.
        (made - i128::from(amount.tax) * whole).abs() < whole
    };
    let found = match rate {
        Some(rate) => taxes.iter().find(|tax| tax.rate == i64::from(rate)),
        None => taxes.iter().find(makes),
    };
    match found {
        Some(tax) => Ok(json!([["add", [tax.id]]])),
        None if amount.tax == 0 => Ok(json!([])),
        None => {
            let told = rate.map_or_else(
                || format!("that makes {} of {}", amount.tax, amount.net),
                |rate| format!("of {} %", number::amount(i64::from(rate), 2)),
            );
            Err(format!(
                "line {line}: Tryton has no tax on sales {told}; make one there, then let the order go on"
            ))
        }
    }
}

/// Who buys and where it goes, for people.
fn comment(order: &Content) -> String {
    let mut text =
        format!("{} order {}, placed at {}\n", order.channel, order.code, time(order.placed_at_ms));
    for (role, party) in [("Buyer", &order.buyer), ("Delivery", &order.delivery)] {
        let words = words(party);
        if !words.is_empty() {
            text.push_str(&format!("{role}: {}\n", words.join(", ")));
        }
    }
    text
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

fn words(party: &Party) -> Vec<String> {
    let town =
        [party.postal_code.as_deref(), party.city.as_deref()].into_iter().flatten().collect::<Vec<_>>();
    let town = (!town.is_empty()).then(|| town.join(" "));
    let before = [party.name.clone(), party.company.clone()];
    let after = [town, party.region.clone(), party.country.clone(), party.email.clone(), party.phone.clone()];
    before.into_iter().chain(party.street.iter().cloned().map(Some)).chain(after).flatten().collect()
}

/// A sale as it stands.
struct Standing {
    id: i64,
    state: String,
    shipped: bool,
    /// Invoices that have a number.
    invoices: Vec<String>,
    lines: Vec<Value>,
}

const STANDING: [&str; 8] = [
    "state",
    "shipment_state",
    "invoices.number",
    "lines.product",
    "lines.unit",
    "lines.quantity",
    "lines.unit_price",
    "lines.taxes",
];

fn standing(answer: &Answer) -> Result<Vec<Standing>, Failure> {
    let body = answer.json()?;
    let rows = body.as_array().ok_or_else(|| strange("a list of sales", &body))?;
    let one = |row: &Value| {
        let numbers = row["invoices"].as_array()?.iter().filter_map(|invoice| invoice["number"].as_str());
        Some(Standing {
            id: row["id"].as_i64()?,
            state: row["state"].as_str()?.to_owned(),
            shipped: row["shipment_state"] != "none",
            invoices: numbers.map(str::to_owned).collect(),
            lines: row["lines"].as_array()?.clone(),
        })
    };
    let mut sales = rows
        .iter()
        .map(|row| one(row).ok_or_else(|| strange("a sale", row)))
        .collect::<Result<Vec<_>, _>>()?;
    sales.sort_by_key(|sale| sale.id);
    Ok(sales)
}

impl Standing {
    fn document(&self) -> String {
        format!("{SALE},{}", self.id)
    }
}

/// Reading one.
pub(super) struct ReadSale {
    sale: Sale,
}

impl ReadSale {
    pub(super) fn new(sale: &Sale) -> Self {
        Self { sale: sale.clone() }
    }
}

impl Conversation for ReadSale {
    type Output = Option<SaleFound>;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<Option<SaleFound>> {
        let Some(last) = last else {
            return match site_keys(&self.sale) {
                Ok(site) => Step::Send(look(&self.sale.reference, &json!({"company": site.company}))),
                Err(failure) => Step::Done(Err(failure)),
            };
        };
        let found = last.and_then(|answer| standing(&answer)).map(|mut sales| {
            // The one that stands; else the last that did.
            let at =
                sales.iter().position(|sale| sale.state != "cancelled").or(sales.len().checked_sub(1))?;
            let sale = sales.swap_remove(at);
            Some(SaleFound {
                document: sale.document(),
                cancelled: sale.state == "cancelled",
                invoice: sale.invoices.first().cloned(),
                state: sale.state,
            })
        });
        Step::Done(found)
    }
}

fn look(reference: &str, context: &Value) -> crate::exchange::Request {
    search("look", SALE, &STANDING, &json!([["reference", "=", reference]]), FOUND_MAX, context)
}

/// Cancelling one.
pub(super) struct CancelSale {
    sale: Sale,
    site: Option<SiteKeys>,
    state: Cancelling,
    requests: u32,
    refusal: Option<String>,
}

enum Cancelling {
    Looking,
    Calling,
    Countering(Box<Carry>, String),
}

impl CancelSale {
    pub(super) fn new(sale: &Sale) -> Self {
        Self { sale: sale.clone(), site: None, state: Cancelling::Looking, requests: 0, refusal: None }
    }

    fn look(&mut self) -> Step<SaleCancelled> {
        self.requests += 1;
        if self.requests > REQUESTS_MAX {
            let message = format!(
                "no end after {REQUESTS_MAX} requests; somebody else works on {}",
                self.sale.reference
            );
            return Step::Done(Err(Failure::new(Class::Conflict, message)));
        }
        let company = match site_keys(&self.sale) {
            Ok(site) => self.site.insert(site).company,
            Err(failure) => return Step::Done(Err(failure)),
        };
        self.state = Cancelling::Looking;
        Step::Send(look(&self.sale.reference, &json!({"company": company})))
    }

    fn decide(&mut self, sales: &[Standing]) -> Step<SaleCancelled> {
        let Some(site) = self.site.clone() else { return self.look() };
        let unbound = sales.iter().rfind(|sale| matches!(sale.state.as_str(), "draft" | "quotation"));
        if let Some(sale) = unbound {
            if let Some(reason) = self.refusal.take() {
                return Step::Done(Ok(SaleCancelled::Refused { reason }));
            }
            self.requests += 1;
            self.state = Cancelling::Calling;
            let path = format!("/{SALE}/{}/cancel", sale.id);
            let context = json!({"company": site.company, "_skip_warnings": true});
            return Step::Send(change("cancel", path, &["state"], json!({}), &context));
        }
        let Some(sale) = sales.iter().find(|sale| sale.state != "cancelled") else {
            return Step::Done(Ok(match sales.last() {
                Some(cancelled) => SaleCancelled::Cancelled { document: cancelled.document() },
                None => SaleCancelled::Absent,
            }));
        };
        if sale.shipped {
            let reason = format!("goods have left by {}; what comes back is a return", sale.document());
            return Step::Done(Ok(SaleCancelled::Refused { reason }));
        }
        match counter(&self.sale, sale, &site) {
            Ok(document) => {
                // Its number in the books of the ERP is its own; ours says what it takes back.
                let reference = format!("{}/cancelled", self.sale.reference);
                let carry = Carry::new(Ok(document), &reference, None, Shortage::Refuse);
                self.state = Cancelling::Countering(Box::new(carry), sale.document());
                self.next(None)
            }
            Err(failure) => Step::Done(Err(failure)),
        }
    }
}

impl Conversation for CancelSale {
    type Output = SaleCancelled;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<SaleCancelled> {
        match (&mut self.state, last) {
            (Cancelling::Countering(carry, document), last) => match carry.next(last) {
                Step::Send(request) => Step::Send(request),
                // It is found by its reference; the sale's own id is the one that is kept.
                Step::Note(_) => self.next(None),
                Step::Done(Err(failure)) => Step::Done(Err(failure)),
                Step::Done(Ok(Posted::Booked { .. })) => {
                    Step::Done(Ok(SaleCancelled::Cancelled { document: document.clone() }))
                }
                Step::Done(Ok(Posted::Refused { reason } | Posted::Impossible { reason })) => {
                    Step::Done(Ok(SaleCancelled::Refused { reason }))
                }
                Step::Done(Ok(Posted::Mixed { .. })) => {
                    Step::Done(Err(setup("a sale is one document".into())))
                }
            },
            (Cancelling::Looking, Some(Ok(answer))) => match standing(&answer) {
                Ok(sales) => self.decide(&sales),
                Err(failure) => Step::Done(Err(failure)),
            },
            (Cancelling::Looking, Some(Err(failure))) => Step::Done(Err(failure)),
            (Cancelling::Calling, Some(Err(failure))) if failure.class == Class::Data => {
                // It may have been confirmed meanwhile; if it stands where it was refused, that was meant.
                self.refusal = Some(failure.message);
                self.look()
            }
            (Cancelling::Calling, Some(Err(failure)))
                if !matches!(failure.class, Class::Unknown | Class::Conflict) =>
            {
                Step::Done(Err(failure))
            }
            // Done, or nobody knows: the state tells.
            (Cancelling::Calling | Cancelling::Looking, _) => self.look(),
        }
    }
}

/// The sale that takes another one back.
fn counter(sale: &Sale, standing: &Standing, site: &SiteKeys) -> Result<Document, Failure> {
    let customer = site
        .customer
        .as_ref()
        .ok_or_else(|| setup("Tryton has no party that may stand as customer".into()))?;
    let line = |line: &Value| {
        let quantity = line["quantity"].as_f64().ok_or_else(|| strange("a line with a quantity", line))?;
        let id = |value: &Value| value.as_i64().or_else(|| value["id"].as_i64());
        // Without its taxes the sale would be taken back for another sum.
        let taxes =
            line["taxes"].as_array().and_then(|taxes| taxes.iter().map(id).collect::<Option<Vec<i64>>>());
        let taxes = taxes.ok_or_else(|| strange("a line with its taxes", line))?;
        // A line without a product keeps its price and tax; its words stand in the sale that is taken back.
        let description = id(&line["product"]).is_none().then_some("taken back");
        Ok(
            json!({"type": "line", "product": id(&line["product"]), "unit": id(&line["unit"]), "quantity": -quantity,
            "unit_price": line["unit_price"], "description": description, "taxes": [["add", taxes]]}),
        )
    };
    let lines = standing.lines.iter().map(line).collect::<Result<Vec<_>, Failure>>()?;
    let body = json!({
        "reference": format!("{}/cancelled", sale.reference), "description": sale.order_reference,
        "origin": standing.document(), "company": site.company, "currency": site.currency,
        "warehouse": site.warehouse, "party": customer.party, "invoice_address": customer.address,
        "shipment_address": customer.address, "invoice_method": "order", "shipment_method": "manual",
        "lines": [["create", lines]],
    });
    Ok(Document { model: SALE, body, company: site.company, sums: None })
}

#[cfg(test)]
mod tests;
