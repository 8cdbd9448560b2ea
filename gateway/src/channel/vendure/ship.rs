//! What the shop is told of an order: that goods have left, and that some will never come.
//!
//! ```text
//!  ship     order -> a fulfilment of ours: Shipped, Delivered -> held
//!                                          Pending            -> transition -> order
//!                 -> none                  -> addFulfillmentToOrder -> transition -> order
//!  cancel   order -> as little is left of the lines as was asked for -> held
//!                 -> more                  -> cancelOrder -> order
//! ```
//! Ours is the fulfilment whose code is our tracking number, or the shipment's reference when there is none. Every call
//! that changes something is followed by a look: what the shop then holds is what counts, whatever it answered.
//!
//! The shop counts its own stock down when goods are told as shipped. When a part of a line is given up of which another
//! part has left, Vendure 3.7 counts it up as well, as if that had come back: its number must be told anew afterwards.

use serde_json::{Value, json};

use super::graphql;
use crate::exchange::{Answer, Class, Conversation, Effect, Failure, Step, excerpt};
use crate::order::{Cancellation, Order, Shipment, ShippedLine, Told};

/// Looks in one conversation: one before, one after each of two calls, and a few for lost answers.
const LOOKS_MAX: u32 = 8;

const LOOK: &str = "query($i:ID!){order(id:$i){id state lines{id quantity} \
    fulfillments{id state trackingCode lines{orderLineId quantity}}}}";
const FULFIL: &str = "mutation($i:FulfillOrderInput!){addFulfillmentToOrder(input:$i){__typename \
    ... on Fulfillment{id state} ... on ErrorResult{errorCode message}}}";
const TRANSITION: &str = "mutation($i:ID!){transitionFulfillmentToState(id:$i,state:\"Shipped\"){__typename \
    ... on Fulfillment{id state} ... on ErrorResult{errorCode message}}}";
const CANCEL: &str = "mutation($i:CancelOrderInput!){cancelOrder(input:$i){__typename \
    ... on Order{id state} ... on ErrorResult{errorCode message}}}";

/// Telling the shop something of an order.
pub(super) struct Tell {
    order: Order,
    what: What,
    state: State,
    looks: u32,
    /// A call's outcome is unknown and nobody has looked since.
    unresolved: bool,
    /// What the shop said against the last call.
    refusal: Option<(String, String)>,
}

enum What {
    Ship(Shipment),
    Cancel(Cancellation),
}

enum State {
    Start,
    Looking,
    Calling,
}

impl Tell {
    pub(super) fn shipment(order: &Order, shipment: &Shipment) -> Self {
        Self::new(order, What::Ship(shipment.clone()))
    }

    pub(super) fn cancellation(order: &Order, cancellation: &Cancellation) -> Self {
        Self::new(order, What::Cancel(cancellation.clone()))
    }

    fn new(order: &Order, what: What) -> Self {
        Self { order: order.clone(), what, state: State::Start, looks: 0, unresolved: false, refusal: None }
    }

    fn look(&mut self) -> Step<Told> {
        self.looks += 1;
        if self.looks > LOOKS_MAX {
            let message = format!("no end after {LOOKS_MAX} looks at order {}", self.order.code);
            let class = if self.unresolved { Class::Unknown } else { Class::Conflict };
            return Step::Done(Err(Failure::new(class, message)));
        }
        self.state = State::Looking;
        Step::Send(graphql("look", LOOK, json!({"i": self.order.order.as_str()}), Effect::Read))
    }

    fn call(&mut self, name: &'static str, query: &str, variables: Value) -> Step<Told> {
        self.state = State::Calling;
        Step::Send(graphql(name, query, variables, Effect::Once))
    }

    fn decide(&mut self, found: &Value) -> Step<Told> {
        self.unresolved = false;
        if found.is_null() {
            let reason = format!("the shop has no order {}", self.order.order);
            return Step::Done(Ok(Told::Refused { reason }));
        }
        match &self.what {
            What::Ship(shipment) => {
                let code = code(shipment).to_owned();
                let ours =
                    rows(&found["fulfillments"]).iter().find(|one| one["trackingCode"] == code.as_str());
                match ours.map(|one| (one["id"].as_str().unwrap_or_default(), one["state"].as_str())) {
                    Some((id, Some("Shipped" | "Delivered"))) => held(Some(id.to_owned())),
                    // Given up by somebody in the shop: goods have left all the same, so a person must look.
                    Some((_, Some("Cancelled"))) => {
                        let reason = format!("fulfilment {code} was cancelled in the shop");
                        Step::Done(Ok(Told::Refused { reason }))
                    }
                    Some((id, _)) => match self.refused() {
                        Some(refused) => refused,
                        None => {
                            let id = id.to_owned();
                            self.call("ship", TRANSITION, json!({"i": id}))
                        }
                    },
                    None => self.fulfil(found),
                }
            }
            What::Cancel(cancellation) => {
                let open: Vec<Value> =
                    cancellation.lines.iter().filter_map(|line| self.still_open(found, line)).collect();
                if found["state"] == "Cancelled" || open.is_empty() {
                    return held(None);
                }
                if let Some(refused) = self.refused() {
                    return refused;
                }
                // With the last of its goods the carriage is given up too.
                let gone = |line: &Value| {
                    let given_up = open.iter().find(|one| one["orderLineId"] == line["id"]);
                    given_up.and_then(|one| one["quantity"].as_i64()).unwrap_or(0)
                        >= line["quantity"].as_i64().unwrap_or(0)
                };
                let whole = rows(&found["lines"]).iter().all(gone);
                let input = json!({"orderId": self.order.order.as_str(), "lines": open,
                    "cancelShipping": whole, "reason": cancellation.reason});
                self.call("cancel", CANCEL, json!({"i": input}))
            }
        }
    }

    fn fulfil(&mut self, found: &Value) -> Step<Told> {
        let What::Ship(shipment) = &self.what else { return self.look() };
        // Somebody has told the shop by hand, under another number.
        let fulfilled = |line: &ShippedLine| {
            let fulfilments = rows(&found["fulfillments"]).iter().filter(|one| one["state"] != "Cancelled");
            let lines = fulfilments.flat_map(|one| rows(&one["lines"]));
            let of_it = lines.filter(|one| one["orderLineId"] == line.line.as_str());
            let there: i64 = of_it.filter_map(|one| one["quantity"].as_i64()).sum();
            there + pieces(line) > ordered(found, line)
        };
        if let Some((code, message)) = &self.refusal {
            let reason = format!("{code} {message}");
            if code == "ITEMS_ALREADY_FULFILLED_ERROR" && shipment.lines.iter().all(fulfilled) {
                return held(None);
            }
            // The shop has not heard yet of what lies there, or is told so later: not for ever.
            if code == "INSUFFICIENT_STOCK_ON_HAND_ERROR" {
                return Step::Done(Err(Failure::new(Class::Conflict, reason)));
            }
            return Step::Done(Ok(Told::Refused { reason }));
        }
        let lines: Vec<Value> = shipment
            .lines
            .iter()
            .map(|line| json!({"orderLineId": line.line.as_str(), "quantity": pieces(line)}))
            .collect();
        let arguments = json!([
            {"name": "method", "value": shipment.carrier.as_deref().unwrap_or("Parcel")},
            {"name": "trackingCode", "value": code(shipment)},
        ]);
        let input =
            json!({"lines": lines, "handler": {"code": "manual-fulfillment", "arguments": arguments}});
        self.call("fulfil", FULFIL, json!({"i": input}))
    }

    /// What was said against the call, when the shop still stands where it was.
    fn refused(&self) -> Option<Step<Told>> {
        let (code, message) = self.refusal.as_ref()?;
        Some(Step::Done(Ok(Told::Refused { reason: format!("{code} {message}") })))
    }

    /// What is to be given up of a line and is not yet.
    fn still_open(&self, found: &Value, line: &ShippedLine) -> Option<Value> {
        let before = self.order.line(&line.line).map_or(0, |line| line.quantity.steps);
        let due = ordered(found, line) - before.saturating_sub(pieces(line)).max(0);
        (due > 0).then(|| json!({"orderLineId": line.line.as_str(), "quantity": due}))
    }
}

impl Conversation for Tell {
    type Output = Told;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<Told> {
        match (&self.state, last) {
            (State::Looking, Some(Ok(answer))) => match answer.json() {
                Ok(body) => self.decide(&body["data"]["order"]),
                Err(failure) => Step::Done(Err(failure)),
            },
            (State::Calling, Some(Ok(answer))) => match answer.json() {
                Ok(body) => {
                    // One field of the answer, whatever its name.
                    let result = body["data"].as_object().and_then(|data| data.values().next()).cloned();
                    let result = result.unwrap_or_default();
                    self.refusal = result["errorCode"].as_str().map(|code| {
                        (code.to_owned(), excerpt(result["message"].as_str().unwrap_or_default()))
                    });
                    self.look()
                }
                Err(_) => {
                    self.unresolved = true;
                    self.look()
                }
            },
            (State::Calling, Some(Err(failure))) if failure.class == Class::Unknown => {
                self.unresolved = true;
                self.look()
            }
            (State::Calling, Some(Err(failure))) if failure.class == Class::Data => {
                self.refusal = Some(("refused:".into(), failure.message));
                self.look()
            }
            (_, Some(Err(failure))) => {
                let class = if self.unresolved { Class::Unknown } else { failure.class };
                Step::Done(Err(Failure::new(class, failure.message)))
            }
            (State::Start | State::Looking | State::Calling, _) => self.look(),
        }
    }
}

fn held(document: Option<String>) -> Step<Told> {
    Step::Done(Ok(Told::Held { document }))
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn code(shipment: &Shipment) -> &str {
    shipment.tracking.as_deref().unwrap_or(&shipment.reference)
}

/// The shop sells whole pieces.
fn pieces(line: &ShippedLine) -> i64 {
    line.quantity.steps / 10i64.pow(line.quantity.uom.decimals())
}

fn ordered(found: &Value, line: &ShippedLine) -> i64 {
    let of_it = rows(&found["lines"]).iter().find(|one| one["id"] == line.line.as_str());
    of_it.and_then(|one| one["quantity"].as_i64()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::Quantity;

    use super::*;
    use crate::order::LineId;

    const ORDER: &str = r#"{"channel":"shop","order":"2","code":"P7HE","placed_at":"2026-11-23T15:00:00Z",
        "currency":"EUR","payment":"paid","total":{"net":2000,"tax":380},
        "lines":[{"id":"1","sku":"SKU-0001","quantity":2,"unit_price":1000,"amount":{"net":2000,"tax":380}}]}"#;

    fn order() -> Order {
        serde_json::from_str(ORDER).unwrap()
    }

    fn lines(pieces: i64) -> Vec<ShippedLine> {
        vec![ShippedLine { line: LineId::new("1").unwrap(), quantity: Quantity::pieces(pieces) }]
    }

    fn ship(pieces: i64) -> Tell {
        let shipment = Shipment {
            number: 1,
            reference: "P7HE-1".into(),
            carrier: Some("DHL".into()),
            tracking: Some("T1".into()),
            lines: lines(pieces),
        };
        Tell::shipment(&order(), &shipment)
    }

    fn cancel(pieces: i64) -> Tell {
        let cancellation = Cancellation { reason: "none left".into(), lines: lines(pieces) };
        Tell::cancellation(&order(), &cancellation)
    }

    /// The order with so many pieces left in its line, and these fulfilments: code, state, pieces.
    fn found(quantity: i64, fulfilments: &[(&str, &str, i64)]) -> String {
        let one = |(at, (code, state, pieces)): (usize, &(&str, &str, i64))| {
            json!({"id": (at + 1).to_string(), "state": state, "trackingCode": code,
                "lines": [{"orderLineId": "1", "quantity": pieces}]})
        };
        let fulfilments: Vec<Value> = fulfilments.iter().enumerate().map(one).collect();
        let order = json!({"id": "2", "state": "PaymentSettled", "lines": [{"id": "1", "quantity": quantity}],
            "fulfillments": fulfilments});
        json!({"data": {"order": order}}).to_string()
    }

    fn error(code: &str) -> String {
        json!({"data": {"x": {"__typename": "E", "errorCode": code, "message": "so it is"}}}).to_string()
    }

    const DONE: &str = r#"{"data":{"x":{"__typename":"Fulfillment","id":"1","state":"Pending"}}}"#;

    /// Drives it through `(request, answer)`; an empty answer is a lost one.
    fn talk(mut tell: Tell, script: &[(&str, String)]) -> Result<Told, Class> {
        let mut script = script.iter();
        let mut last = None;
        loop {
            match tell.next(last.take()) {
                Step::Done(result) => {
                    assert!(script.next().is_none(), "left over");
                    return result.map_err(|failure| failure.class);
                }
                Step::Note(note) => panic!("{note}"),
                Step::Send(request) => {
                    let (name, body) = script.next().unwrap_or_else(|| panic!("unexpected {request:?}"));
                    assert_eq!(request.name, *name);
                    last = Some(match body.as_str() {
                        "" => Err(Failure::new(Class::Unknown, "lost")),
                        body => Ok(Answer { status: 200, headers: vec![], body: body.into() }),
                    });
                }
            }
        }
    }

    fn told_held(document: Option<&str>) -> Result<Told, Class> {
        Ok(Told::Held { document: document.map(str::to_owned) })
    }

    #[test]
    fn a_parcel_is_told_once_whatever_gets_lost() {
        let (none, pending, shipped) =
            (found(2, &[]), found(2, &[("T1", "Pending", 1)]), found(2, &[("T1", "Shipped", 1)]));
        let look = |body: &String| ("look", body.clone());
        let lost = |name| (name, String::new());
        let done = |name| (name, DONE.to_owned());
        for (fulfilled, transited) in [(done("fulfil"), done("ship")), (lost("fulfil"), lost("ship"))] {
            let script = [look(&none), fulfilled, look(&pending), transited, look(&shipped)];
            assert_eq!(talk(ship(1), &script), told_held(Some("1")));
        }
        // The call was lost before it came there.
        let script = [look(&none), lost("fulfil"), look(&none), done("fulfil"), look(&shipped)];
        assert_eq!(talk(ship(1), &script), told_held(Some("1")));
        assert_eq!(talk(ship(1), &[look(&shipped)]), told_held(Some("1")));
    }

    #[test]
    fn what_somebody_told_by_hand_is_not_told_again() {
        let by_hand = found(2, &[("other", "Shipped", 2)]);
        let script = [
            ("look", by_hand.clone()),
            ("fulfil", error("ITEMS_ALREADY_FULFILLED_ERROR")),
            ("look", by_hand),
        ];
        assert_eq!(talk(ship(1), &script), told_held(None));
        let cancelled = found(2, &[("T1", "Cancelled", 1)]);
        assert!(matches!(talk(ship(1), &[("look", cancelled)]), Ok(Told::Refused { .. })));
    }

    #[test]
    fn a_refusal_for_ever_is_told_from_one_for_now() {
        let none = found(2, &[]);
        let refused = |code| [("look", none.clone()), ("fulfil", error(code)), ("look", none.clone())];
        assert_eq!(talk(ship(1), &refused("INSUFFICIENT_STOCK_ON_HAND_ERROR")), Err(Class::Conflict));
        assert!(matches!(talk(ship(1), &refused("QUANTITY_TOO_GREAT_ERROR")), Ok(Told::Refused { .. })));
        let gone = r#"{"data":{"order":null}}"#.to_owned();
        assert!(matches!(talk(ship(1), &[("look", gone)]), Ok(Told::Refused { .. })));
    }

    #[test]
    fn lines_are_given_up_once() {
        let look = |quantity| ("look", found(quantity, &[]));
        let done = ("cancel", DONE.to_owned());
        assert_eq!(talk(cancel(1), &[look(2), done.clone(), look(1)]), told_held(None));
        assert_eq!(talk(cancel(2), &[look(2), ("cancel", String::new()), look(0)]), told_held(None));
        assert_eq!(talk(cancel(1), &[look(1)]), told_held(None), "it was given up before");
        let refused = talk(cancel(1), &[look(2), ("cancel", error("QUANTITY_TOO_GREAT_ERROR")), look(2)]);
        assert!(matches!(refused, Ok(Told::Refused { .. })));
    }
}
