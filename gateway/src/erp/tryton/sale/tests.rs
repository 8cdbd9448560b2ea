use std::collections::VecDeque;

use serde_json::from_str;
use stockwire_protocol::{ItemId, Quantity, SiteId};

use super::*;
use crate::exchange::Request;
use crate::order::Order;

const ORDER: &str = r#"{"channel":"shop","order":"17","code":"P7HE","placed_at":"2026-11-23T15:00:00Z",
    "currency":"EUR","payment":"paid","buyer":{"name":"Test Customer","email":"customer@example.invalid"},
    "delivery":{"name":"Test Customer","street":["Hafenstr. 1"],"postal_code":"20457","city":"Hamburg","country":"DE"},
    "lines":[{"id":"1","sku":"SKU-0001","quantity":3,"unit_price":1000,"discount":1,
              "amount":{"net":2999,"tax":570},"tax_rate":1900}],
    "charges":[{"name":"Parcel","amount":{"net":490,"tax":0}}],"total":{"net":3489,"tax":570}}"#;

fn sale() -> Sale {
    let order: Order = from_str(ORDER).unwrap();
    let keys = r#"{"company":1,"currency":1,"warehouse":12,"storage":9,"lost_found":4,"supplier":null,
        "customer":{"party":3,"location":7,"address":3}}"#;
    Sale {
        reference: "shop/17".into(),
        order_reference: "P7HE".into(),
        site: Some((SiteId::new("HAM").unwrap(), Some(keys.into()))),
        lines: vec![SaleLine {
            line: order.lines[0].id.clone(),
            item: ItemId::new("SKU-0001").unwrap(),
            item_reference: r#"{"product":1,"unit":1}"#.into(),
            quantity: Quantity::pieces(3),
        }],
        order,
        document: None,
    }
}

/// Drives a conversation through a script of `(request, answer)`; an empty answer is a lost one.
fn talk<T>(conversation: &mut dyn Conversation<Output = T>, script: &[(&str, &str)]) -> Result<T, Class> {
    let mut script: VecDeque<_> = script.iter().collect();
    let mut last = None;
    loop {
        match conversation.next(last.take()) {
            Step::Done(result) => {
                assert_eq!(script, VecDeque::<&(&str, &str)>::new(), "left over");
                return result.map_err(|failure| failure.class);
            }
            Step::Note(note) => assert_eq!(note, script.pop_front().expect("a line for the note").0),
            Step::Send(request) => {
                let (expected, body) = script.pop_front().unwrap_or_else(|| panic!("unexpected {request:?}"));
                assert_eq!(told(&request), *expected);
                last = Some(match *body {
                    "" => Err(Failure::new(Class::Unknown, "lost")),
                    body if body.starts_with("no: ") => Err(Failure::new(Class::Data, body)),
                    body => Ok(Answer { status: 200, headers: vec![], body: body.into() }),
                });
            }
        }
    }
}

fn told(request: &Request) -> String {
    request.path.trim_start_matches('/').to_owned() + if request.body.is_none() { " ?" } else { "" }
}

const CURRENCY: (&str, &str) = ("currency.currency ?", r#"[{"id":1,"digits":2}]"#);
const TAXES: (&str, &str) = (
    "account.tax ?",
    r#"[{"id":4,"rate":{"__class__":"Decimal","decimal":"0.19"},"group":{"id":1,"kind":"purchase"}},
        {"id":5,"rate":{"__class__":"Decimal","decimal":"0.19"},"group":{"id":2,"kind":"sale"}}]"#,
);
const NONE: (&str, &str) = ("sale.sale ?", "[]");
const DRAFT: &str = r#"{"id":7,"state":"draft","untaxed_amount":{"__class__":"Decimal","decimal":"34.89"},
    "tax_amount":{"__class__":"Decimal","decimal":"5.70"}}"#;

fn booked() -> Result<SalePosted, Class> {
    Ok(SalePosted::Booked { document: "sale.sale,7".into() })
}

#[test]
fn a_sale_is_carried_to_where_it_is_binding() {
    let calls = [
        CURRENCY,
        TAXES,
        NONE,
        ("sale.sale", DRAFT),
        ("sale.sale,7", ""),
        ("sale.sale/7/quote", r#"{"id":7,"state":"quotation"}"#),
        ("sale.sale/7/confirm", r#"{"id":7,"state":"confirmed"}"#),
    ];
    assert_eq!(talk(&mut PostSale::new(&sale()), &calls), booked());
    // The answer to the last call is lost: it is looked for, not called again.
    let mut lost = calls.to_vec();
    lost[6].1 = "";
    lost.push(("sale.sale ?", r#"[{"id":7,"state":"processing"}]"#));
    assert_eq!(talk(&mut PostSale::new(&sale()), &lost), booked());
}

#[test]
fn what_tryton_counts_otherwise_is_cancelled_and_told() {
    let other = DRAFT.replace("34.89", "34.90");
    let calls = [
        CURRENCY,
        TAXES,
        NONE,
        ("sale.sale", other.as_str()),
        ("sale.sale,7", ""),
        ("sale.sale/7/cancel", r#"{"id":7,"state":"cancelled"}"#),
    ];
    let reason = "Tryton makes 34.90 and 5.70 tax of it, the order says 34.89 and 5.70".into();
    assert_eq!(talk(&mut PostSale::new(&sale()), &calls), Ok(SalePosted::Refused { reason }));
}

#[test]
fn a_sale_that_somebody_cancelled_is_not_made_again() {
    let mut sale = sale();
    sale.document = Some("sale.sale,7".into());
    let result = talk(&mut PostSale::new(&sale), &[CURRENCY, TAXES, NONE]);
    assert!(matches!(result, Ok(SalePosted::Refused { .. })), "{result:?}");
}

#[test]
fn what_cannot_be_a_sale_is_said_before_anything_is_made() {
    let result = talk(&mut PostSale::new(&sale()), &[("currency.currency ?", "[]")]);
    let reason = "Tryton has no currency EUR".into();
    assert_eq!(result, Ok(SalePosted::Refused { reason }));
    let result = talk(&mut PostSale::new(&sale()), &[CURRENCY, ("account.tax ?", "[]")]);
    let reason =
        "line 1: Tryton has no tax on sales of 19.00 %; make one there, then let the order go on".into();
    assert_eq!(result, Ok(SalePosted::Refused { reason }));
    let nowhere = Sale { site: None, ..sale() };
    assert_eq!(talk(&mut PostSale::new(&nowhere), &[]), Err(Class::Setup));
}

#[test]
fn the_body_is_as_tryton_takes_it() {
    let taxes = [Tax { id: 5, rate: 1900 }];
    let (sale, money) = (sale(), Money { currency: 1, digits: 2 });
    let document = compose(&sale, &site_keys(&sale).unwrap(), money, &taxes).unwrap();
    let expected: Value = from_str(
        r#"{"reference":"shop/17","description":"P7HE","company":1,"currency":1,"warehouse":12,"party":3,
        "invoice_address":3,"shipment_address":3,"invoice_method":"order","shipment_method":"manual",
        "comment":"shop order P7HE, placed at 2026-11-23T15:00:00Z\nBuyer: Test Customer, customer@example.invalid\nDelivery: Test Customer, Hafenstr. 1, 20457 Hamburg, DE\n",
        "lines":[["create",[
          {"type":"line","product":1,"unit":1,"quantity":3.0,"taxes":[["add",[5]]],
           "unit_price":{"__class__":"Decimal","decimal":"9.9967"}},
          {"type":"line","description":"Parcel","quantity":1.0,"taxes":[],
           "unit_price":{"__class__":"Decimal","decimal":"4.9000"}}]]]}"#,
    )
    .unwrap();
    assert_eq!(document.body, expected);
    let sums = document.sums.unwrap();
    assert_eq!((sums.net, sums.tax, sums.slack), (3489, 570, 2));
}

#[test]
fn a_tax_without_a_rate_is_found_by_what_it_makes() {
    let taxes = [Tax { id: 1, rate: 700 }, Tax { id: 2, rate: 1900 }];
    let find = |net, tax| tax_field("1", None, Amount { net, tax }, &taxes);
    assert_eq!(find(490, 93), Ok(json!([["add", [2]]])), "93.1");
    assert_eq!(find(490, 34), Ok(json!([["add", [1]]])), "34.3");
    assert_eq!(find(490, 0), Ok(json!([])));
    assert!(find(490, 60).is_err());
}

const BINDING: &str = r#"[{"id":7,"state":"processing","shipment_state":"none","invoices":[{"id":1,"number":null}],
    "lines":[{"id":1,"product":1,"unit":1,"quantity":3.0,"taxes":[5],
        "unit_price":{"__class__":"Decimal","decimal":"9.9967"}}]}]"#;

#[test]
fn a_binding_sale_is_taken_back_by_another() {
    let cancelled = || Ok(SaleCancelled::Cancelled { document: "sale.sale,7".into() });
    let counter = [
        ("sale.sale ?", BINDING),
        NONE,
        ("sale.sale", r#"{"id":8,"state":"draft"}"#),
        ("sale.sale/8/quote", r#"{"id":8,"state":"quotation"}"#),
        ("sale.sale/8/confirm", ""),
        ("sale.sale ?", r#"[{"id":8,"state":"confirmed"}]"#),
    ];
    assert_eq!(talk(&mut CancelSale::new(&sale()), &counter), cancelled());
    // Asked again, what was made before is found.
    let again = [("sale.sale ?", BINDING), ("sale.sale ?", r#"[{"id":8,"state":"processing"}]"#)];
    assert_eq!(talk(&mut CancelSale::new(&sale()), &again), cancelled());
}

#[test]
fn one_that_binds_nobody_is_cancelled_and_one_that_has_left_is_not() {
    let standing = |state: &str, shipped: &str| {
        format!(r#"[{{"id":7,"state":"{state}","shipment_state":"{shipped}","invoices":[],"lines":[]}}]"#)
    };
    let (quotation, cancelled, sent) =
        (standing("quotation", "none"), standing("cancelled", "none"), standing("done", "sent"));
    let calls =
        [("sale.sale ?", quotation.as_str()), ("sale.sale/7/cancel", ""), ("sale.sale ?", &cancelled)];
    let document = "sale.sale,7".to_owned();
    assert_eq!(
        talk(&mut CancelSale::new(&sale()), &calls),
        Ok(SaleCancelled::Cancelled { document: document.clone() })
    );
    assert_eq!(talk(&mut CancelSale::new(&sale()), &[("sale.sale ?", "[]")]), Ok(SaleCancelled::Absent));
    let refused = talk(&mut CancelSale::new(&sale()), &[("sale.sale ?", &sent)]);
    assert!(matches!(refused, Ok(SaleCancelled::Refused { .. })), "{refused:?}");
    let stubborn = [
        ("sale.sale ?", quotation.as_str()),
        ("sale.sale/7/cancel", "no: it says so"),
        ("sale.sale ?", &quotation),
    ];
    let refused = talk(&mut CancelSale::new(&sale()), &stubborn);
    assert_eq!(refused, Ok(SaleCancelled::Refused { reason: "no: it says so".into() }));
    let found = talk(&mut ReadSale::new(&sale()), &[("sale.sale ?", BINDING)]).unwrap().unwrap();
    assert_eq!((found.document, found.invoice, found.cancelled), (document, None, false));
}
