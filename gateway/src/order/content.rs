//! What an order says, checked once at the door.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use stockwire_protocol::{AccountId, ChannelId, Quantity, Reference, Sku};

use super::OrderKey;
use super::form::{instant, maybe_text, quantity, text};

/// Lines of one order: what fits into one pick task, and the longest of a business customer has a few hundred.
pub const LINES_MAX: usize = crate::task::TASK_LINES_MAX;
/// Charges beside the lines: carriage, gift wrap, a fee for the payment.
const CHARGES_MAX: usize = 20;
/// The most that any amount may be, in minor units: ten thousand million of a currency with cents. A thousand lines of
/// it still sum without overflow.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000;
/// What one line may hold, in steps of its unit.
const STEPS_MAX: i64 = crate::reservation::STEPS_MAX;
/// Characters of a name or of a line of an address.
const TEXT_LENGTH_MAX: usize = 200;
/// Lines of an address between the name and the town.
const STREET_LINES_MAX: usize = 4;
/// The highest tax rate, in hundredths of a per cent.
const TAX_RATE_MAX: u32 = 10_000;

/// A canonical order: [`Content`] that was checked. Equal orders are the same wish.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Content", into = "Content")]
pub struct Order(Content);

/// What an order says, as its channel says it. Money is in minor units of the currency; nothing here changes by our own
/// doing (a shipment, say), so that reading an order again gives the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Where it was placed.
    #[serde(with = "text")]
    pub channel: ChannelId,
    /// The channel's id of it, under which the channel is asked.
    #[serde(with = "text")]
    pub order: Reference,
    /// What people call it; unique within the channel.
    #[serde(with = "text")]
    pub code: Reference,
    /// When it was placed, by the channel's clock, unix milliseconds.
    #[serde(rename = "placed_at", with = "instant")]
    pub placed_at_ms: i64,
    /// Of all its amounts.
    #[serde(with = "text")]
    pub currency: Currency,
    /// Whether the money is there.
    pub payment: Payment,
    /// The channel or its customer gave it up.
    #[serde(default)]
    pub cancelled: bool,
    /// Who buys, where stock or credit is kept for accounts.
    #[serde(default, with = "maybe_text", skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Who pays, as given.
    #[serde(default)]
    pub buyer: Party,
    /// Where it goes, as given.
    #[serde(default)]
    pub delivery: Party,
    /// What is wanted; 1 to [`LINES_MAX`], each id once.
    pub lines: Vec<Line>,
    /// What is charged beside the lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<Charge>,
    /// The channel's own sum of lines and charges.
    pub total: Amount,
}

/// One line of an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The channel's id of it.
    #[serde(with = "text")]
    pub id: LineId,
    /// The channel's code of what is wanted.
    #[serde(with = "text")]
    pub sku: Sku,
    /// What the channel calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How much; more than nothing.
    #[serde(with = "quantity")]
    pub quantity: Quantity,
    /// For one unit, before tax and discounts.
    pub unit_price: i64,
    /// Taken off the whole line, before tax; 0 or more.
    #[serde(default)]
    pub discount: i64,
    /// Of the whole line, discounts taken off.
    pub amount: Amount,
    /// In hundredths of a per cent, 1900 = 19 %; `None` = the channel does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_rate: Option<u32>,
}

/// Something charged beside the lines.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// What for.
    pub name: String,
    /// How much.
    pub amount: Amount,
}

/// Money in minor units; 0 or more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    /// Before tax.
    pub net: i64,
    /// The tax.
    pub tax: i64,
}

impl Amount {
    /// What is paid.
    pub fn gross(self) -> i64 {
        self.net.saturating_add(self.tax)
    }
}

/// Whether the money is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payment {
    /// Nothing is promised yet.
    Open,
    /// Promised by whoever handles the payment, to be taken when goods leave.
    Authorized,
    /// It is there, or was agreed to come later on account.
    Paid,
}

/// Somebody, as given. Nothing of it is needed; what is missing was not told.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Party {
    /// A person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A firm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    /// Street, house and what else stands above the town.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub street: Vec<String>,
    /// Postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// Town.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// Province or state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// ISO 3166-1, two capitals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// E-mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Telephone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
}

/// The channel's id of a line: 1 to 64 printable characters, unique within the order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LineId(Reference);

impl LineId {
    /// Checks length and characters.
    ///
    /// # Errors
    /// What was expected and what came.
    pub fn new(text: impl Into<String>) -> Result<Self, stockwire_protocol::IdError> {
        Reference::new(text).map(Self)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for LineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LineId {
    type Err = stockwire_protocol::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

/// ISO 4217: three capitals. How many minor units make one is the channel's and the ERP's business; both use the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The three letters.
    pub fn as_str(&self) -> &str {
        // Checked when it was made.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Currency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let letters = text.as_bytes().try_into().ok();
        let letters = letters.filter(|letters: &[u8; 3]| letters.iter().all(u8::is_ascii_uppercase));
        letters.map(Self).ok_or_else(|| format!("expected a currency such as EUR, got {text:?}"))
    }
}

/// Why a content is no order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldFault {
    /// Which, as a path: `lines[2].quantity`.
    pub field: String,
    /// What was expected and what came.
    pub reason: String,
}

impl Order {
    /// Checks lengths, ranges and that no line comes twice. Whether the sums are right is a question to the order
    /// later on: a wrong sum is kept and shown, a wrong field cannot be kept.
    ///
    /// # Errors
    /// The first fault.
    pub fn new(content: Content) -> Result<Self, FieldFault> {
        check(&content)?;
        Ok(Self(content))
    }

    /// Whose order it is.
    pub fn key(&self) -> OrderKey {
        OrderKey { channel: self.channel.clone(), order: self.order.clone() }
    }

    /// The line of that id.
    pub fn line(&self, id: &LineId) -> Option<&Line> {
        self.lines.iter().find(|line| line.id == *id)
    }

    /// What it says, to be changed and checked anew.
    pub fn into_content(self) -> Content {
        self.0
    }
}

impl Deref for Order {
    type Target = Content;

    fn deref(&self) -> &Content {
        &self.0
    }
}

impl TryFrom<Content> for Order {
    type Error = FieldFault;

    fn try_from(content: Content) -> Result<Self, FieldFault> {
        Self::new(content)
    }
}

impl From<Order> for Content {
    fn from(order: Order) -> Self {
        order.0
    }
}

fn fault(field: impl Into<String>, reason: impl Into<String>) -> Result<(), FieldFault> {
    Err(FieldFault { field: field.into(), reason: reason.into() })
}

fn check(content: &Content) -> Result<(), FieldFault> {
    party("buyer", &content.buyer)?;
    party("delivery", &content.delivery)?;
    // What cannot be written as a date cannot be shown either.
    if jiff::Timestamp::from_millisecond(content.placed_at_ms).is_err() {
        return fault("placed_at", format!("no calendar has {} ms since 1970", content.placed_at_ms));
    }
    if content.lines.is_empty() || content.lines.len() > LINES_MAX {
        return fault("lines", format!("expected 1 to {LINES_MAX}, got {}", content.lines.len()));
    }
    let mut seen = BTreeSet::new();
    for (at, line) in content.lines.iter().enumerate() {
        let field = |name: &str| format!("lines[{at}].{name}");
        if !seen.insert(&line.id) {
            return fault(field("id"), format!("line {} stands there twice", line.id));
        }
        if !(1..=STEPS_MAX).contains(&line.quantity.steps) {
            return fault(field("quantity"), format!("expected more than 0, got {}", line.quantity));
        }
        money(field("unit_price"), line.unit_price)?;
        money(field("discount"), line.discount)?;
        amount(&field("amount"), line.amount)?;
        if let Some(name) = &line.name {
            short(field("name"), name)?;
        }
        if line.tax_rate.is_some_and(|rate| rate > TAX_RATE_MAX) {
            return fault(
                field("tax_rate"),
                format!("expected 0 to {TAX_RATE_MAX} hundredths of a per cent"),
            );
        }
    }
    if content.charges.len() > CHARGES_MAX {
        return fault("charges", format!("expected at most {CHARGES_MAX}, got {}", content.charges.len()));
    }
    for (at, charge) in content.charges.iter().enumerate() {
        short(format!("charges[{at}].name"), &charge.name)?;
        amount(&format!("charges[{at}].amount"), charge.amount)?;
    }
    amount("total", content.total)
}

fn amount(field: &str, amount: Amount) -> Result<(), FieldFault> {
    money(format!("{field}.net"), amount.net)?;
    money(format!("{field}.tax"), amount.tax)
}

fn money(field: String, minor: i64) -> Result<(), FieldFault> {
    match (0..=AMOUNT_MAX).contains(&minor) {
        true => Ok(()),
        false => fault(field, format!("expected 0 to {AMOUNT_MAX} minor units, got {minor}")),
    }
}

fn short(field: String, text: &str) -> Result<(), FieldFault> {
    let length = text.chars().count();
    match length <= TEXT_LENGTH_MAX && !text.chars().any(char::is_control) {
        true => Ok(()),
        false => {
            fault(field, format!("expected at most {TEXT_LENGTH_MAX} printable characters, got {length}"))
        }
    }
}

fn party(who: &str, party: &Party) -> Result<(), FieldFault> {
    let Party { name, company, street, postal_code, city, region, country, email, phone } = party;
    let texts = [
        ("name", name),
        ("company", company),
        ("postal_code", postal_code),
        ("city", city),
        ("region", region),
        ("email", email),
        ("phone", phone),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            short(format!("{who}.{field}"), text)?;
        }
    }
    if street.len() > STREET_LINES_MAX {
        return fault(format!("{who}.street"), format!("expected at most {STREET_LINES_MAX} lines"));
    }
    for (at, line) in street.iter().enumerate() {
        short(format!("{who}.street[{at}]"), line)?;
    }
    match country {
        Some(code) if code.len() != 2 || !code.bytes().all(|b| b.is_ascii_uppercase()) => {
            fault(format!("{who}.country"), format!("expected two capitals such as DE, got {code:?}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn given() -> Value {
        json!({
            "channel": "shop", "order": "17", "code": "T-1017", "placed_at": "2026-11-23T10:00:00Z",
            "currency": "EUR", "payment": "paid", "buyer": {"name": "A. Buyer"},
            "delivery": {"street": ["Kai 1"], "postal_code": "20457", "city": "Hamburg", "country": "DE"},
            "lines": [{
                "id": "1", "sku": "SHOP-1", "quantity": 2, "unit_price": 1000,
                "amount": {"net": 2000, "tax": 380}, "tax_rate": 1900,
            }],
            "charges": [{"name": "carriage", "amount": {"net": 500, "tax": 95}}],
            "total": {"net": 2500, "tax": 475},
        })
    }

    /// The given order with one value replaced, and the field of which it is said that it is wrong.
    #[track_caller]
    fn check(pointer: &str, value: Value, expected: &str) {
        let mut order = given();
        *order.pointer_mut(pointer).unwrap() = value;
        let fault = serde_json::from_value::<Order>(order).unwrap_err().to_string();
        assert!(fault.contains(expected), "{pointer}: {fault}");
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let order: Order = serde_json::from_value(given()).unwrap();
        assert_eq!(order.lines[0].quantity, Quantity::pieces(2));
        assert_eq!(order.total.gross(), 2975);
        let text = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), order);
        assert!(text.contains(r#""quantity":"2 H87""#) && text.contains("2026-11-23T10:00:00Z"), "{text}");
    }

    #[test]
    fn a_fault_names_its_field() {
        check("/channel", json!("Shop!"), "channel may hold only");
        check("/placed_at", json!("yesterday"), "expected a time such as");
        check("/currency", json!("euro"), "expected a currency such as EUR");
        check("/lines", json!([]), "lines: expected 1 to");
        check("/lines/0/quantity", json!(0), "lines[0].quantity: expected more than 0");
        check("/lines/0/quantity", json!("1.5"), "1.5");
        check("/lines/0/quantity", json!("1 XXX"), "expected a unit");
        check("/lines/0/unit_price", json!(-1), "lines[0].unit_price: expected 0 to");
        check("/lines/0/amount/net", json!(AMOUNT_MAX + 1), "lines[0].amount.net: expected 0 to");
        check("/lines/0/tax_rate", json!(10_001), "lines[0].tax_rate: expected 0 to");
        check("/charges/0/name", json!("a\nb"), "charges[0].name: expected at most");
        check("/total/tax", json!(-1), "total.tax: expected 0 to");
        check("/delivery/country", json!("Germany"), "delivery.country: expected two capitals");
        check(
            "/delivery/street",
            json!(["1", "2", "3", "4", "5"]),
            "delivery.street: expected at most 4 lines",
        );
        check("/buyer/name", json!("x".repeat(201)), "buyer.name: expected at most 200");
        let mut twice = given();
        let line = twice["lines"][0].clone();
        twice["lines"].as_array_mut().unwrap().push(line);
        let fault = serde_json::from_value::<Order>(twice).unwrap_err().to_string();
        assert_eq!(fault, "lines[1].id: line 1 stands there twice");
    }
}
