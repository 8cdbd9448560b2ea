//! The OpenAPI 3.1 document, made from the same table as the router.

mod orders;

use serde_json::{Map, Value, json};

use super::{ROUTES, WEBHOOK};

/// The document.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let parameters: Vec<Value> = route
            .parameters
            .iter()
            .map(|(name, place, meaning)| {
                let kind = match *name {
                    "limit" => json!({"type": "integer", "minimum": 1, "maximum": 500}),
                    "id" => json!({"type": "integer"}),
                    "negative" | "pending" | "attention" => json!({"type": "boolean"}),
                    _ => json!({"type": "string"}),
                };
                json!({"name": name, "in": place, "required": *place != "query", "description": meaning, "schema": kind})
            })
            .collect();
        let (kind, schema) = match route.answer {
            "Changes" => ("text/event-stream", json!({"type": "string"})),
            answer => ("application/json", json!({"$ref": format!("#/components/schemas/{answer}")})),
        };
        let mut operation = json!({
            "summary": route.summary,
            "operationId": operation_id(route.method, route.path),
            "parameters": parameters,
            "responses": {
                "200": {"description": "Good", "content": {kind: {"schema": schema}}},
                "default": {"description": "Refused", "content": {"application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/Problem"}}}},
            },
        });
        if route.is_table() {
            operation["responses"]["200"]["content"]["text/csv"] = json!({"schema": {"type": "string",
                "description": "All rows, whatever limit and after say, by Accept: text/csv or format=csv. RFC 4180; lists \
                    and objects as JSON; a text that a spreadsheet would take for a formula has a ' before it."}});
        }
        if route.path == WEBHOOK {
            // Signed instead, and whatever stands in it.
            operation["security"] = json!([]);
            operation["requestBody"] = json!({"content": {"*/*": {"schema": {"type": "string"}}}});
        }
        if !route.body.is_empty() {
            operation["requestBody"] = json!({"required": true, "content": {"application/json": {
                "schema": {"$ref": format!("#/components/schemas/{}", route.body)}}}});
        }
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Stockwire gateway", "version": env!("CARGO_PKG_VERSION"), "license": {
            "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"}},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": schemas(),
        },
    })
}

/// The fields of the rows of a page, in their order.
pub(super) fn columns(page: &str) -> Vec<String> {
    let row = page.strip_suffix("Page").unwrap_or(page);
    let fields = &schemas()[row]["required"];
    let names = fields.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

/// `get /v1/dead-letters/{id}` is `get_dead_letters_id`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.trim_start_matches("/v1/").split(['/', '-']).map(|word| word.trim_matches(['{', '}']));
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

const TEXT: &str = "string";
const MAYBE: &str = "string?";
const NUMBER: &str = "integer";
const TRUTH: &str = "boolean";

/// Names with their types.
type Fields = &'static [(&'static str, &'static str)];

/// An object with all its fields; a `?` after the type means that null may stand there.
fn object(fields: &[(&str, &str)]) -> Value {
    let mut properties = Map::new();
    for (name, kind) in fields {
        let schema = match (kind.strip_suffix('?'), kind.strip_prefix('#'), kind.strip_prefix('[')) {
            (_, Some(other), _) => match other.strip_suffix('?') {
                Some(other) => {
                    json!({"anyOf": [{"$ref": format!("#/components/schemas/{other}")}, {"type": "null"}]})
                }
                None => json!({"$ref": format!("#/components/schemas/{other}")}),
            },
            (_, _, Some("string]")) => json!({"type": "array", "items": {"type": "string"}}),
            (_, _, Some(other)) => {
                let other = other.trim_end_matches(']');
                json!({"type": "array", "items": {"$ref": format!("#/components/schemas/{other}")}})
            }
            (Some(kind), ..) => json!({"type": [kind, "null"]}),
            _ => json!({"type": kind}),
        };
        properties.insert((*name).to_owned(), schema);
    }
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// What is sent: of these fields only the first so many must be there.
fn given(required: usize, fields: &[(&str, &str)]) -> Value {
    let mut object = object(fields);
    object["required"] = fields.iter().take(required).map(|(name, _)| *name).collect();
    object
}

/// What is sent, by name: how many of the fields must be there, then all of them.
const GIVEN: [(&str, usize, Fields); 12] = [
    ("Discard", 1, &[("why", TEXT)]),
    ("CodeGiven", 1, &[("code", TEXT), ("item", MAYBE), ("site", MAYBE), ("location", MAYBE)]),
    ("AliasGiven", 2, &[("code", TEXT), ("kind", TEXT), ("site", MAYBE)]),
    (
        "TaskGiven",
        3,
        &[
            ("site", TEXT),
            ("kind", TEXT),
            ("id", TEXT),
            ("order", MAYBE),
            ("location", MAYBE),
            ("lines", "[TaskLineGiven]"),
        ],
    ),
    (
        "TaskLineGiven",
        2,
        &[
            ("item", TEXT),
            ("quantity", TEXT),
            ("uom", MAYBE),
            ("from", MAYBE),
            ("to", MAYBE),
            ("lot", MAYBE),
            ("expires_on", MAYBE),
        ],
    ),
    ("ItemRulesGiven", 0, RULES),
    (
        "ReservationGiven",
        3,
        &[
            ("channel", TEXT),
            ("order", TEXT),
            ("lines", "[ReservationLineGiven]"),
            ("account", MAYBE),
            ("priority", "integer?"),
            ("until", MAYBE),
        ],
    ),
    (
        "ReservationLineGiven",
        4,
        &[("line", NUMBER), ("item", TEXT), ("site", TEXT), ("quantity", TEXT), ("uom", MAYBE)],
    ),
    ("ResolutionGiven", 2, &[("key", TEXT), ("step", TEXT), ("lines", "[ResolutionLineGiven]")]),
    ("ResolutionLineGiven", 3, &[("line", NUMBER), ("site", TEXT), ("quantity", TEXT), ("uom", MAYBE)]),
    ("QuotaGiven", 0, &[("quantity", MAYBE), ("uom", MAYBE)]),
    ("StrictGiven", 0, &[("strict", "boolean?")]),
];

const RULES: Fields = &[
    ("lot", TRUTH),
    ("serial", TRUTH),
    ("expiry", TRUTH),
    ("piece_weight", "#PieceWeight?"),
    ("recalled", "[string]"),
    ("packs", "[Pack]"),
];

/// What comes back about tasks, codes and plates.
const FLOOR: [(&str, Fields); 14] = [
    ("ItemRules", RULES),
    ("PieceWeight", &[("expected", TEXT), ("tolerance", TEXT), ("uom", TEXT)]),
    ("Pack", &[("gtin", TEXT), ("pieces", NUMBER)]),
    (
        "Task",
        &[
            ("site", TEXT),
            ("kind", TEXT),
            ("id", TEXT),
            ("state", TEXT),
            ("order", MAYBE),
            ("location", MAYBE),
            ("lines", "[TaskLine]"),
            ("beyond", "[TaskBeyond]"),
            ("created_at", TEXT),
            ("changed_at", TEXT),
        ],
    ),
    (
        "TaskLine",
        &[
            ("item", TEXT),
            ("quantity", TEXT),
            ("uom", TEXT),
            ("from", MAYBE),
            ("to", MAYBE),
            ("lot", MAYBE),
            ("expires_on", MAYBE),
            ("done", TEXT),
            ("short", TEXT),
            ("open", TEXT),
        ],
    ),
    ("TaskBeyond", &[("item", TEXT), ("quantity", TEXT), ("uom", TEXT), ("location", MAYBE), ("lot", MAYBE)]),
    ("WithdrawOutcome", &[("result", TEXT)]),
    (
        "UnknownCode",
        &[
            ("code", TEXT),
            ("gtin", MAYBE),
            ("sought", TEXT),
            ("site", TEXT),
            ("events", NUMBER),
            ("first_at", TEXT),
            ("last_at", TEXT),
            ("movement", TEXT),
        ],
    ),
    ("CodeOutcome", &[("result", TEXT), ("code", TEXT), ("booked", NUMBER), ("waiting", NUMBER)]),
    (
        "Alias",
        &[
            ("code", TEXT),
            ("kind", TEXT),
            ("item", MAYBE),
            ("site", MAYBE),
            ("location", MAYBE),
            ("said_by", TEXT),
            ("said_at", TEXT),
        ],
    ),
    ("TakeBackOutcome", &[("result", TEXT)]),
    (
        "Plate",
        &[
            ("sscc", TEXT),
            ("site", TEXT),
            ("location", MAYBE),
            ("station", TEXT),
            ("at", TEXT),
            ("stage", TEXT),
            ("on", MAYBE),
            ("goods", "[PlateGoods]"),
            ("plates", "[string]"),
        ],
    ),
    (
        "PlateGoods",
        &[("item", TEXT), ("quantity", TEXT), ("uom", TEXT), ("lot", MAYBE), ("expires_on", MAYBE)],
    ),
    ("DiscardOutcome", &[("result", TEXT)]),
];

/// What comes back about promises.
const PROMISES: [(&str, Fields); 6] = [
    (
        "Reservation",
        &[
            ("reservation", NUMBER),
            ("channel", TEXT),
            ("order", TEXT),
            ("line", NUMBER),
            ("item", TEXT),
            ("site", TEXT),
            ("quantity", TEXT),
            ("uom", TEXT),
            ("pending", TEXT),
            ("posted", TEXT),
            ("voided", TEXT),
            ("expired", TEXT),
            ("account", MAYBE),
            ("priority", NUMBER),
            ("until", MAYBE),
            ("reserved_at", TEXT),
        ],
    ),
    (
        "Quota",
        &[
            ("account", TEXT),
            ("item", TEXT),
            ("site", TEXT),
            ("quantity", TEXT),
            ("uom", TEXT),
            ("used", TEXT),
            ("kept", TEXT),
        ],
    ),
    ("QuotaOutcome", &[("result", TEXT)]),
    ("StrictOutcome", &[("result", TEXT)]),
    (
        "Shortage",
        &[
            ("item", TEXT),
            ("site", TEXT),
            ("on_hand", TEXT),
            ("reserved", TEXT),
            ("uom", TEXT),
            ("gives_way", "[GivesWay]"),
        ],
    ),
    ("GivesWay", &[("channel", TEXT), ("order", TEXT), ("line", NUMBER), ("quantity", TEXT)]),
];

fn schemas() -> Value {
    let mut all = Map::new();
    for (name, required, fields) in GIVEN {
        all.insert(name.into(), given(required, fields));
    }
    for (name, fields) in FLOOR.into_iter().chain(PROMISES) {
        all.insert(name.into(), object(fields));
    }
    let rows: [(&str, &[(&str, &str)]); 10] = [
        (
            "Stock",
            &[
                ("site", TEXT),
                ("location", TEXT),
                ("item", TEXT),
                ("name", TEXT),
                ("lot", MAYBE),
                ("disposition", MAYBE),
                ("on_hand", TEXT),
                ("uom", TEXT),
            ],
        ),
        (
            "Movement",
            &[
                ("ledger", NUMBER),
                ("movement", TEXT),
                ("kind", TEXT),
                ("step", TEXT),
                ("site", TEXT),
                ("item", TEXT),
                ("quantity", TEXT),
                ("uom", TEXT),
                ("from", TEXT),
                ("to", TEXT),
                ("lot", MAYBE),
                ("disposition", MAYBE),
                ("station", MAYBE),
                ("operator", MAYBE),
                ("reference", MAYBE),
                ("correlation", TEXT),
                ("occurred_at", TEXT),
                ("clock_synced", TRUTH),
                ("received_at", TEXT),
            ],
        ),
        (
            "Item",
            &[("item", TEXT), ("name", TEXT), ("uom", TEXT), ("gtins", "[string]"), ("codes", "[string]")],
        ),
        ("Term", &[("name", TEXT), ("site", MAYBE), ("quantity", TEXT)]),
        ("Published", &[("number", NUMBER), ("revision", NUMBER), ("at", TEXT), ("through", NUMBER)]),
        (
            "Offer",
            &[
                ("channel", TEXT),
                ("sku", TEXT),
                ("item", TEXT),
                ("number", NUMBER),
                ("terms", "[Term]"),
                ("published", "#Published?"),
                ("unresolved", TRUTH),
                ("fault", MAYBE),
                ("attempts", NUMBER),
            ],
        ),
        (
            "Device",
            &[
                ("site", TEXT),
                ("agent", TEXT),
                ("status", TEXT),
                ("last_seen_at", TEXT),
                ("epoch", MAYBE),
                ("watermark", NUMBER),
                ("head", NUMBER),
                ("backlog", NUMBER),
                ("frozen", TRUTH),
                ("lost", NUMBER),
                ("clock_synced", "boolean?"),
                ("software", MAYBE),
            ],
        ),
        (
            "DeadLetter",
            &[
                ("id", NUMBER),
                ("class", TEXT),
                ("reason", TEXT),
                ("source", TEXT),
                ("state", TEXT),
                ("times", NUMBER),
                ("first_at", TEXT),
                ("last_at", TEXT),
                ("agent", MAYBE),
                ("movement", MAYBE),
                ("closed_by", MAYBE),
                ("closed_why", MAYBE),
                ("bytes_hex", TEXT),
            ],
        ),
        (
            "Posting",
            &[
                ("erp", TEXT),
                ("reference", TEXT),
                ("kind", TEXT),
                ("site", TEXT),
                ("state", TEXT),
                ("document", MAYBE),
                ("lines", NUMBER),
                ("attempts", NUMBER),
            ],
        ),
        ("Step", &[("at", MAYBE), ("movement", TEXT), ("stage", TEXT), ("text", TEXT)]),
    ];
    for (name, fields) in rows {
        all.insert(name.into(), object(fields));
    }
    for row in [
        "Stock",
        "Movement",
        "Item",
        "Offer",
        "Device",
        "DeadLetter",
        "Posting",
        "Task",
        "UnknownCode",
        "Alias",
        "Reservation",
        "Quota",
        "Shortage",
    ] {
        let list = format!("[{row}]");
        all.insert(format!("{row}Page"), object(&[("rows", &list), ("next", MAYBE)]));
    }
    let answers: [(&str, &[(&str, &str)]); 4] = [
        ("Trace", &[("key", TEXT), ("movements", NUMBER), ("timeline", "[Step]")]),
        ("ReconcilePlan", &[("agreed", TRUTH), ("text", TEXT)]),
        ("CommandOutcome", &[("result", TEXT), ("reason", MAYBE), ("took_ms", NUMBER)]),
        ("ReplayOutcome", &[("result", TEXT), ("reason", MAYBE)]),
    ];
    for (name, fields) in answers {
        all.insert(name.into(), object(fields));
    }
    orders::add(&mut all);
    all.insert(
        "Problem".into(),
        object(&[("type", TEXT), ("title", MAYBE), ("status", NUMBER), ("detail", TEXT), ("field", MAYBE)]),
    );
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_and_every_reference_has_a_schema() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(!document["components"]["schemas"][name].is_null(), "no schema {name}");
        }
    }

    #[test]
    fn every_table_has_columns() {
        for route in ROUTES.iter().filter(|route| route.is_table()) {
            assert!(!columns(route.answer).is_empty(), "{}", route.path);
        }
        assert_eq!(columns("QuotaPage")[..3], ["account", "item", "site"]);
    }

    #[test]
    fn every_path_parameter_is_described() {
        for route in ROUTES {
            for name in route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
                let described = route.parameters.iter().any(|p| p.0 == name && p.1 == "path");
                assert!(described, "{} {name}", route.path);
            }
        }
    }
}
