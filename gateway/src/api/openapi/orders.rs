//! Schemas of orders.

use serde_json::{Map, Value, json};

use super::{Fields, MAYBE, NUMBER, TEXT, TRUTH, given, object};

/// What may be left out of: how many of the fields must be there, then all of them.
const ORDERS: [(&str, usize, Fields); 11] = [
    (
        "OrderGiven",
        8,
        &[
            ("channel", TEXT),
            ("order", TEXT),
            ("code", TEXT),
            ("placed_at", TEXT),
            ("currency", TEXT),
            ("payment", TEXT),
            ("lines", "[OrderLine]"),
            ("total", "#Amount"),
            ("cancelled", TRUTH),
            ("account", MAYBE),
            ("buyer", "#Party"),
            ("delivery", "#Party"),
            ("charges", "[Charge]"),
        ],
    ),
    (
        "OrderLine",
        5,
        &[
            ("id", TEXT),
            ("sku", TEXT),
            ("quantity", "quantity"),
            ("unit_price", NUMBER),
            ("amount", "#Amount"),
            ("name", MAYBE),
            ("discount", NUMBER),
            ("tax_rate", "integer?"),
        ],
    ),
    ("Charge", 2, &[("name", TEXT), ("amount", "#Amount")]),
    ("Amount", 2, &[("net", NUMBER), ("tax", NUMBER)]),
    (
        "Party",
        0,
        &[
            ("name", MAYBE),
            ("company", MAYBE),
            ("street", "[string]"),
            ("postal_code", MAYBE),
            ("city", MAYBE),
            ("region", MAYBE),
            ("country", MAYBE),
            ("email", MAYBE),
            ("phone", MAYBE),
        ],
    ),
    ("OrderReason", 1, &[("reason", TEXT)]),
    ("OrderWord", 3, &[("check", TEXT), ("verdict", TEXT), ("reason", TEXT)]),
    ("OrderParcel", 1, &[("key", TEXT), ("carrier", MAYBE), ("tracking", MAYBE)]),
    (
        "OrderReturn",
        3,
        &[("key", TEXT), ("reason", TEXT), ("lines", "[OrderReturnLine]"), ("refund", NUMBER)],
    ),
    ("OrderReturnLine", 2, &[("line", TEXT), ("quantity", TEXT), ("uom", MAYBE)]),
    ("WebhookOutcome", 1, &[("result", TEXT)]),
];

const ROW: Fields = &[
    ("channel", TEXT),
    ("order", TEXT),
    ("code", TEXT),
    ("reference", TEXT),
    ("stage", TEXT),
    ("attention", MAYBE),
    ("currency", TEXT),
    ("gross", NUMBER),
    ("placed_at", TEXT),
    ("changed_at", TEXT),
];

const WHOLE: Fields = &[
    ("stage", TEXT),
    ("attention", MAYBE),
    ("reference", TEXT),
    ("sale", MAYBE),
    ("invoice", MAYBE),
    ("shipments", "[OrderShipment]"),
    ("order", "#OrderGiven"),
    ("timeline", "[OrderFact]"),
];

const SHIPMENT: Fields =
    &[("number", NUMBER), ("key", TEXT), ("carrier", MAYBE), ("tracking", MAYBE), ("lines", "[OrderSteps]")];

/// Adds them.
pub(super) fn add(all: &mut Map<String, Value>) {
    for (name, required, fields) in ORDERS {
        all.insert(name.into(), given(required, fields));
    }
    // Pieces as a number, or any quantity as text with its unit.
    all["OrderLine"]["properties"]["quantity"] = json!({"type": ["string", "integer"]});
    all["OrderGiven"]["properties"]["payment"] =
        json!({"type": "string", "enum": ["open", "authorized", "paid"]});
    all["OrderWord"]["properties"]["verdict"] = json!({"type": "string", "enum": ["pass", "reject"]});
    all.insert("OrderRow".into(), object(ROW));
    all.insert("OrderPage".into(), object(&[("rows", "[OrderRow]"), ("next", MAYBE)]));
    all.insert("Order".into(), object(WHOLE));
    let captured: Vec<(&str, &str)> = [("result", TEXT)].into_iter().chain(WHOLE.iter().copied()).collect();
    all.insert("CaptureOutcome".into(), object(&captured));
    all.insert("OrderShipment".into(), object(SHIPMENT));
    all.insert("OrderSteps".into(), object(&[("line", TEXT), ("steps", NUMBER)]));
    // What else stands in a fact depends on which it is.
    let mut fact =
        object(&[("fact", TEXT), ("sequence", NUMBER), ("at", TEXT), ("by", TEXT), ("text", TEXT)]);
    fact["additionalProperties"] = json!(true);
    all.insert("OrderFact".into(), fact);
}
