//! Orders of the shop, read page by page in the order of their change.
//!
//! The shop keeps the moment of a change in whole seconds, and often before the moment at which the order was placed: so
//! a reading goes on until the second in which it would have to stop is read to its end. What was given up of a line
//! is gone from it; an order that was given up whole is told as it was placed.

use serde_json::{Value, json};
use stockwire_protocol::{ChannelId, Quantity, Reference, Sku};

use super::graphql;
use crate::exchange::{Answer, Class, Conversation, Effect, Failure, Step, excerpt};
use crate::order::{
    Amount, Charge, Content, Line, LineId, Order, OrdersRead, Party, Payment, READ_ORDERS_MAX, Unreadable,
};

/// Orders in one page: with their lines and addresses some 200 kB.
const PAGE_ORDERS: usize = 100;
/// Pages of one reading: more orders that changed in one and the same second are a repair of the shop's data, and a
/// person should look first.
const PAGES_MAX: usize = 50;

const FIELDS: &str = "id code type state active orderPlacedAt updatedAt currencyCode totalWithTax total \
    customer{firstName lastName emailAddress phoneNumber} \
    shippingAddress{fullName company streetLine1 streetLine2 city province postalCode countryCode phoneNumber} \
    billingAddress{fullName company streetLine1 streetLine2 city province postalCode countryCode phoneNumber} \
    lines{id quantity orderPlacedQuantity unitPrice unitPriceWithTax proratedLinePrice proratedLinePriceWithTax \
    taxRate productVariant{sku name}} \
    shippingLines{discountedPrice discountedPriceWithTax shippingMethod{name}} \
    surcharges{description price priceWithTax} payments{state amount}";

/// Reading what changed since a moment.
pub(super) struct ReadOrders {
    channel: ChannelId,
    since_ms: i64,
    skip: usize,
    pages: usize,
    asked: bool,
    read: OrdersRead,
    looked_at: usize,
}

impl ReadOrders {
    pub(super) fn new(channel: ChannelId, since_ms: i64) -> Self {
        let read = OrdersRead { through_ms: since_ms, ..OrdersRead::default() };
        Self { channel, since_ms, skip: 0, pages: 0, asked: false, read, looked_at: 0 }
    }

    fn ask(&mut self) -> Step<OrdersRead> {
        self.asked = true;
        // The filter is strict, and a whole second stands for all of it.
        let after = match jiff::Timestamp::from_millisecond(self.since_ms.saturating_sub(1)) {
            Ok(after) => after.to_string(),
            Err(fault) => return Step::Done(Err(Failure::new(Class::Setup, fault.to_string()))),
        };
        let options = json!({"o": {
            "filter": {"orderPlacedAt": {"isNull": false}, "updatedAt": {"after": after}},
            "sort": {"updatedAt": "ASC"}, "skip": self.skip, "take": PAGE_ORDERS,
        }});
        let query =
            format!("query($o:OrderListOptions){{orders(options:$o){{totalItems items{{{FIELDS}}}}}}}");
        Step::Send(graphql("orders", &query, options, Effect::Read))
    }

    fn take(&mut self, answer: &Answer) -> Result<bool, Failure> {
        let found = &answer.json()?["data"]["orders"];
        let (items, total) = match (found["items"].as_array(), found["totalItems"].as_u64()) {
            (Some(items), Some(total)) => (items, usize::try_from(total).unwrap_or(usize::MAX)),
            _ => return Err(strange("a list of orders", found)),
        };
        for item in items {
            let changed =
                instant(&item["updatedAt"]).ok_or_else(|| strange("an order with updatedAt", item))?;
            if self.looked_at >= READ_ORDERS_MAX && changed > self.read.through_ms {
                self.read.more = true;
                return Ok(true);
            }
            self.looked_at += 1;
            self.read.through_ms = self.read.through_ms.max(changed);
            match order(&self.channel, item) {
                Ok(Some(order)) => self.read.orders.push(order),
                Ok(None) => {}
                Err(reason) => {
                    let order = item["id"].as_str().unwrap_or_default().to_owned();
                    self.read.unreadable.push(Unreadable { order, reason });
                }
            }
        }
        self.skip += items.len();
        self.pages += 1;
        Ok(items.is_empty() || self.skip >= total)
    }
}

impl Conversation for ReadOrders {
    type Output = OrdersRead;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<OrdersRead> {
        match last {
            Some(Err(failure)) => Step::Done(Err(failure)),
            Some(Ok(answer)) if self.asked => match self.take(&answer) {
                Ok(true) => Step::Done(Ok(std::mem::take(&mut self.read))),
                Ok(false) if self.pages >= PAGES_MAX => {
                    let message = format!(
                        "more than {} orders changed in one second; look what changes them",
                        PAGES_MAX * PAGE_ORDERS
                    );
                    Step::Done(Err(Failure::new(Class::Data, message)))
                }
                Ok(false) => self.ask(),
                Err(failure) => Step::Done(Err(failure)),
            },
            _ => self.ask(),
        }
    }
}

/// Reading one.
pub(super) struct ReadOrder {
    channel: ChannelId,
    order: Reference,
}

impl ReadOrder {
    pub(super) fn new(channel: ChannelId, order: &Reference) -> Self {
        Self { channel, order: order.clone() }
    }
}

impl Conversation for ReadOrder {
    type Output = Option<Order>;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<Option<Order>> {
        let Some(last) = last else {
            let query = format!("query($i:ID!){{order(id:$i){{{FIELDS}}}}}");
            return Step::Send(graphql("order", &query, json!({"i": self.order.as_str()}), Effect::Read));
        };
        let read = last.and_then(|answer| {
            let found = &answer.json()?["data"]["order"];
            if found.is_null() || found["orderPlacedAt"].is_null() {
                return Ok(None);
            }
            order(&self.channel, found).map_err(|reason| Failure::new(Class::Data, excerpt(&reason)))
        });
        Step::Done(read)
    }
}

fn strange(what: &str, body: &Value) -> Failure {
    Failure::new(Class::Setup, format!("expected {what}, got {}", excerpt(&body.to_string())))
}

fn instant(value: &Value) -> Option<i64> {
    value.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// The order in our form; `None` = it is a part of another one.
fn order(channel: &ChannelId, item: &Value) -> Result<Option<Order>, String> {
    // A marketplace of several sellers makes one of these for each, besides the whole.
    if item["type"] == "Seller" {
        return Ok(None);
    }
    let text = |field: &str| {
        item[field].as_str().ok_or_else(|| format!("{field}: expected a text, got {}", item[field]))
    };
    let reference = |field: &str| Reference::new(text(field)?).map_err(|fault| format!("{field}: {fault}"));
    let placed = instant(&item["orderPlacedAt"]);
    let cancelled = item["state"] == "Cancelled";
    let rows = |field: &str| item[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines = Vec::new();
    for (at, row) in rows("lines").iter().enumerate() {
        lines.extend(line(row, cancelled).map_err(|reason| format!("lines[{at}].{reason}"))?);
    }
    let mut charges = Vec::new();
    for row in rows("shippingLines") {
        charges.push((
            &row["shippingMethod"]["name"],
            &row["discountedPrice"],
            &row["discountedPriceWithTax"],
        ));
    }
    for row in rows("surcharges") {
        charges.push((&row["description"], &row["price"], &row["priceWithTax"]));
    }
    let charges = charges.into_iter().map(|(name, net, gross)| {
        Ok(Charge {
            name: name.as_str().unwrap_or("charge").to_owned(),
            amount: amount("charges", net, gross)?,
        })
    });
    let charges: Vec<Charge> = charges.collect::<Result<_, String>>()?;
    // What was given up has no price there any more; its sum is that of what is told.
    let total = match cancelled {
        false => amount("total", &item["total"], &item["totalWithTax"])?,
        true => {
            let amounts =
                lines.iter().map(|line: &Line| line.amount).chain(charges.iter().map(|charge| charge.amount));
            amounts.fold(Amount::default(), |sum, one| Amount {
                net: sum.net.saturating_add(one.net),
                tax: sum.tax.saturating_add(one.tax),
            })
        }
    };
    let content = Content {
        channel: channel.clone(),
        order: reference("id")?,
        code: reference("code")?,
        placed_at_ms: placed.ok_or_else(|| format!("orderPlacedAt: no time in {}", item["orderPlacedAt"]))?,
        currency: text("currencyCode")?.parse().map_err(|fault| format!("currencyCode: {fault}"))?,
        payment: payment(item),
        cancelled,
        account: None,
        buyer: buyer(item),
        delivery: party(&item["shippingAddress"]),
        lines,
        charges,
        total,
    };
    Order::new(content).map(Some).map_err(|fault| fault.to_string())
}

/// One line; `None` = all of it was given up.
fn line(row: &Value, cancelled: bool) -> Result<Option<Line>, String> {
    let number = |field: &str| {
        row[field].as_i64().ok_or_else(|| format!("{field}: expected a number, got {}", row[field]))
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let quantity = number(if cancelled { "orderPlacedQuantity" } else { "quantity" })?;
    if quantity == 0 {
        return Ok(None);
    }
    let unit_price = number("unitPrice")?;
    let full = unit_price.saturating_mul(quantity);
    let amount = match cancelled {
        false => amount("proratedLinePrice", &row["proratedLinePrice"], &row["proratedLinePriceWithTax"])?,
        true => Amount {
            net: full,
            tax: number("unitPriceWithTax")?.saturating_sub(unit_price).saturating_mul(quantity),
        },
    };
    Ok(Some(Line {
        id: LineId::new(text(&row["id"])).map_err(|fault| format!("id: {fault}"))?,
        sku: Sku::new(text(&row["productVariant"]["sku"])).map_err(|fault| format!("sku: {fault}"))?,
        name: row["productVariant"]["name"].as_str().map(str::to_owned),
        quantity: Quantity::pieces(quantity),
        unit_price,
        discount: full.saturating_sub(amount.net).max(0),
        amount,
        tax_rate: Some(rate(&row["taxRate"])?),
    }))
}

fn amount(field: &str, net: &Value, gross: &Value) -> Result<Amount, String> {
    match (net.as_i64(), gross.as_i64()) {
        (Some(net), Some(gross)) => Ok(Amount { net, tax: gross.saturating_sub(net) }),
        _ => Err(format!("{field}: expected two whole numbers, got {net} and {gross}")),
    }
}

/// A rate in per cent, in hundredths.
fn rate(value: &Value) -> Result<u32, String> {
    let hundredths = value.as_f64().map(|rate| (rate * 100.0).round());
    match hundredths.filter(|rate| (0.0..=10_000.0).contains(rate)) {
        // Whole and small, so the conversion is exact.
        Some(rate) => Ok(rate as u32),
        None => Err(format!("taxRate: expected 0 to 100, got {value}")),
    }
}

/// By the payments themselves: the state of the order says how far its goods are.
fn payment(item: &Value) -> Payment {
    let sum = |states: &[&str]| {
        let payments = item["payments"].as_array().map(Vec::as_slice).unwrap_or_default();
        let counted =
            payments.iter().filter(|payment| states.iter().any(|state| payment["state"] == **state));
        counted.filter_map(|payment| payment["amount"].as_i64()).fold(0i64, i64::saturating_add)
    };
    let due = item["totalWithTax"].as_i64().unwrap_or(i64::MAX);
    if sum(&["Settled"]) >= due {
        Payment::Paid
    } else if sum(&["Settled", "Authorized"]) >= due {
        Payment::Authorized
    } else {
        Payment::Open
    }
}

fn buyer(item: &Value) -> Party {
    let mut buyer = party(&item["billingAddress"]);
    let customer = &item["customer"];
    let names = ["firstName", "lastName"].iter().filter_map(|name| given(&customer[*name]));
    let name = names.collect::<Vec<_>>().join(" ");
    if buyer.name.is_none() && !name.is_empty() {
        buyer.name = Some(name);
    }
    buyer.email = given(&customer["emailAddress"]);
    buyer.phone = buyer.phone.or_else(|| given(&customer["phoneNumber"]));
    buyer
}

fn party(address: &Value) -> Party {
    Party {
        name: given(&address["fullName"]),
        company: given(&address["company"]),
        street: ["streetLine1", "streetLine2"].iter().filter_map(|line| given(&address[*line])).collect(),
        postal_code: given(&address["postalCode"]),
        city: given(&address["city"]),
        region: given(&address["province"]),
        country: given(&address["countryCode"]),
        email: None,
        phone: given(&address["phoneNumber"]),
    }
}

fn given(value: &Value) -> Option<String> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = r#"{"id":"2","type":"Regular","code":"P7HECMZRB9UNV2EB","state":"PartiallyShipped","active":false,
        "orderPlacedAt":"2026-11-23T15:35:29.650Z","updatedAt":"2026-11-23T15:35:30.000Z","currencyCode":"EUR",
        "total":2390,"totalWithTax":2751,
        "customer":{"firstName":"Test","lastName":"Customer","emailAddress":"customer@example.invalid","phoneNumber":null},
        "shippingAddress":{"fullName":"Test Customer","company":null,"streetLine1":"Hafenstr. 1","streetLine2":null,
            "city":"Hamburg","province":null,"postalCode":"20457","countryCode":"DE","phoneNumber":null},
        "billingAddress":{"fullName":null,"company":null},
        "lines":[
          {"id":"1","orderPlacedQuantity":2,"quantity":2,"unitPrice":1000,"unitPriceWithTax":1190,
           "proratedLinePrice":1900,"proratedLinePriceWithTax":2261,"taxRate":19,
           "productVariant":{"sku":"SKU-0001","name":"Part 01"}},
          {"id":"2","orderPlacedQuantity":1,"quantity":0,"unitPrice":1000,"unitPriceWithTax":1190,
           "proratedLinePrice":0,"proratedLinePriceWithTax":0,"taxRate":7.7,
           "productVariant":{"sku":"SKU-0002","name":"Part 02"}}],
        "shippingLines":[{"discountedPrice":490,"discountedPriceWithTax":490,"shippingMethod":{"name":"Parcel"}}],
        "surcharges":[],"payments":[{"state":"Settled","amount":4060}]}"#;

    fn shop() -> ChannelId {
        ChannelId::new("shop").unwrap()
    }

    fn item(change: impl FnOnce(&mut Value)) -> Value {
        let mut item: Value = serde_json::from_str(ORDER).unwrap();
        change(&mut item);
        item
    }

    fn told(change: impl FnOnce(&mut Value)) -> Order {
        order(&shop(), &item(change)).unwrap().unwrap()
    }

    #[test]
    fn an_order_is_told_in_our_words() {
        let order = told(|_| ());
        assert_eq!(
            (order.order.as_str(), order.code.as_str(), order.placed_at_ms),
            ("2", "P7HECMZRB9UNV2EB", 1_795_448_129_650)
        );
        assert_eq!(
            (order.payment, order.cancelled, order.total),
            (Payment::Paid, false, Amount { net: 2390, tax: 361 })
        );
        let [line] = order.lines.as_slice() else { panic!("{:?}", order.lines) };
        assert_eq!((line.sku.as_str(), line.quantity, line.discount), ("SKU-0001", Quantity::pieces(2), 100));
        assert_eq!((line.amount, line.tax_rate), (Amount { net: 1900, tax: 361 }, Some(1900)));
        assert_eq!(order.buyer.name.as_deref(), Some("Test Customer"));
        assert_eq!(order.delivery.street, ["Hafenstr. 1"]);
        assert_eq!(order.charges.len(), 1);
    }

    #[test]
    fn what_was_given_up_whole_is_told_as_it_was_placed() {
        let order = told(|item| {
            item["state"] = "Cancelled".into();
            item["lines"][0]["quantity"] = 0.into();
        });
        assert!(order.cancelled);
        let quantities: Vec<i64> = order.lines.iter().map(|line| line.quantity.steps).collect();
        assert_eq!(quantities, [2, 1]);
        assert_eq!(order.total, Amount { net: 3490, tax: 570 });
        assert_eq!(order.lines[1].tax_rate, Some(770));
    }

    #[test]
    fn money_counts_when_it_is_there() {
        let payment = |payments: Value| told(|item| item["payments"] = payments).payment;
        assert_eq!(payment(json!([])), Payment::Open);
        assert_eq!(
            payment(json!([{"state":"Settled","amount":2000},{"state":"Declined","amount":751}])),
            Payment::Open
        );
        assert_eq!(
            payment(json!([{"state":"Settled","amount":2000},{"state":"Authorized","amount":751}])),
            Payment::Authorized
        );
        assert_eq!(
            payment(json!([{"state":"Settled","amount":2000},{"state":"Settled","amount":751}])),
            Payment::Paid
        );
    }

    #[test]
    fn a_fault_names_its_field_and_a_part_of_an_order_is_none() {
        let fault = |change: fn(&mut Value)| order(&shop(), &item(change)).unwrap_err();
        assert!(
            fault(|item| item["lines"][0]["productVariant"]["sku"] = "".into()).starts_with("lines[0].sku: ")
        );
        assert!(fault(|item| item["currencyCode"] = "euro".into()).starts_with("currencyCode: "));
        assert!(fault(|item| item["lines"][0]["taxRate"] = (-1).into()).starts_with("lines[0].taxRate: "));
        assert_eq!(order(&shop(), &item(|item| item["type"] = "Seller".into())), Ok(None));
    }

    fn page(orders: &[(usize, i64)], total: usize) -> Answer {
        let one = |(id, second): &(usize, i64)| {
            item(|item| {
                item["id"] = id.to_string().into();
                item["updatedAt"] = jiff::Timestamp::from_second(*second).unwrap().to_string().into();
            })
        };
        let items: Vec<Value> = orders.iter().map(one).collect();
        let body = json!({"data": {"orders": {"totalItems": total, "items": items}}}).to_string();
        Answer { status: 200, headers: vec![], body: body.into() }
    }

    /// Reads from a shop whose orders changed in these seconds; gives ids, how far, and whether there is more.
    fn read(seconds: &[i64], since_s: i64) -> (usize, i64, bool) {
        let mut reading = ReadOrders::new(shop(), since_s * 1000);
        let mut last = None;
        loop {
            match reading.next(last.take()) {
                Step::Send(request) => {
                    let options = &request.body.as_ref().unwrap()["variables"]["o"];
                    let after = instant(&options["filter"]["updatedAt"]["after"]).unwrap();
                    let skip = options["skip"].as_u64().unwrap() as usize;
                    let found: Vec<(usize, i64)> = seconds
                        .iter()
                        .copied()
                        .enumerate()
                        .filter(|(_, second)| second * 1000 > after)
                        .collect();
                    let rows: Vec<_> = found.iter().copied().skip(skip).take(PAGE_ORDERS).collect();
                    last = Some(Ok(page(&rows, found.len())));
                }
                Step::Note(note) => panic!("{note}"),
                Step::Done(read) => {
                    let read = read.unwrap();
                    assert_eq!(read.unreadable, []);
                    return (read.orders.len(), read.through_ms / 1000, read.more);
                }
            }
        }
    }

    #[test]
    fn a_reading_ends_between_two_seconds_and_goes_on_from_there() {
        assert_eq!(read(&[], 50), (0, 50, false));
        assert_eq!(read(&[100, 100, 101], 100), (3, 101, false), "the second asked for is in it");
        assert_eq!(read(&[100, 101], 101), (1, 101, false));
        let one_each: Vec<i64> = (1000..1900).collect();
        assert_eq!(read(&one_each, 0), (500, 1499, true));
        assert_eq!(read(&one_each, 1499), (401, 1899, false));
        // More in one second than a reading holds.
        let crowd: Vec<i64> = std::iter::repeat_n(1000, 650).chain([1001]).collect();
        assert_eq!(read(&crowd, 0), (650, 1000, true));
    }
}
