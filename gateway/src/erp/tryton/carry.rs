//! Brings one document to its end, from wherever an earlier attempt left it.
//!
//! ```text
//!            +--> none --------> create --+
//!  look for -+--> one is done ------------|--------------------> booked   (every other one is cancelled)
//!  the       |                            v
//!  reference +--> the oldest of them -> by its state: wait, assign_try, .. do -> done -> booked
//!     ^           (others are cancelled        |
//!     |            before it goes on)          |
//!     +--- outcome unknown, or refused --------+      refused twice in the same state -> cancelled -> refused
//! ```
//! A create that "timed out" may still arrive: it makes a second document, which changes no stock and which nobody
//! ever carries on. A second document that exists is cancelled **before** the first goes on; a cancelled document
//! can no longer be carried to its end by a call that is still under way.

use serde_json::{Value, json};

use super::super::{Posted, Shortage};
use super::{change, number, search};
use crate::exchange::{Answer, Class, Conversation, Failure, Request, Step};

pub(super) const IN: &str = "stock.shipment.in";
pub(super) const INTERNAL: &str = "stock.shipment.internal";
pub(super) const OUT: &str = "stock.shipment.out";
pub(super) const SALE: &str = "sale.sale";

/// Requests in one conversation: a batch that never leaves its path needs 6, and each of a few lost answers two more.
const REQUESTS_MAX: u32 = 40;
/// Outcomes that stay unknown before the vendor is left alone for a while.
const UNKNOWN_MAX: u32 = 4;
/// Documents with one reference that a search shows; two are seldom, more a sign of somebody else's doing.
const FOUND_MAX: usize = 100;

/// A document as it must be created.
pub(super) struct Document {
    pub(super) model: &'static str,
    pub(super) body: Value,
    pub(super) company: i64,
    /// What Tryton must make of it, as far as it counts by itself.
    pub(super) sums: Option<Sums>,
}

/// What a sale must come to.
pub(super) struct Sums {
    /// Before tax, in minor units: exactly.
    pub(super) net: i64,
    /// The tax, in minor units: give or take `slack`, because one rounds by the piece and another by the document.
    pub(super) tax: i64,
    pub(super) slack: i64,
    /// Decimals of the currency.
    pub(super) digits: u32,
}

/// A document as Tryton has it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    id: i64,
    state: String,
    /// A sale's sum before tax, and its tax.
    sums: Option<(String, String)>,
}

/// The way of one document.
pub(super) struct Carry {
    /// What to send; or why nothing is to be sent, to be told at the first step.
    document: Result<Document, Option<Result<Posted, Failure>>>,
    reference: String,
    shortage: Shortage,
    state: State,
    /// The document whose id is already kept.
    noted: Option<String>,
    /// What was called since the last look: `wait` and `assign_try` leave the state as it is.
    called: Vec<&'static str>,
    /// A call's outcome is unknown and nobody has looked since.
    unresolved: bool,
    unknown: u32,
    requests: u32,
    /// Which document was refused what, in which state.
    refusal: Option<(Found, String)>,
}

enum State {
    Start,
    Looking,
    Creating,
    /// Kept, now go on with it.
    Noted(Found),
    Calling(Found, &'static str),
    Cancelling {
        rest: Vec<Found>,
        then: Then,
    },
}

/// What to do when the documents that are in the way are cancelled.
#[derive(Clone)]
enum Then {
    GoOn(Found),
    Booked(Found),
    Refused(String),
}

impl Carry {
    /// `noted` is the document's id when an earlier attempt had it kept.
    pub(super) fn new(
        document: Result<Document, Result<Posted, Failure>>,
        reference: &str,
        noted: Option<&str>,
        shortage: Shortage,
    ) -> Self {
        Self {
            document: document.map_err(Some),
            reference: reference.to_owned(),
            shortage,
            state: State::Start,
            noted: noted.map(str::to_owned),
            called: Vec::new(),
            unresolved: false,
            unknown: 0,
            requests: 0,
            refusal: None,
        }
    }
}

impl Conversation for Carry {
    type Output = Posted;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<Posted> {
        if let Err(ended) = &mut self.document {
            let again = || Err(Failure::new(Class::Setup, "the posting was asked after its end"));
            return Step::Done(ended.take().unwrap_or_else(again));
        }
        match (std::mem::replace(&mut self.state, State::Start), last) {
            (State::Noted(found), _) => self.go_on(found),
            (State::Looking, Some(Ok(answer))) => match rows(&answer) {
                Ok(found) => {
                    self.unresolved = false;
                    self.decide(found)
                }
                Err(failure) => self.end(failure),
            },
            (State::Creating, Some(Ok(answer))) => match record(&answer) {
                Ok(found) => self.note(found),
                // Half an answer: it may have been created.
                Err(failure) => self.look_again(failure),
            },
            (State::Creating, Some(Err(failure))) if failure.class == Class::Data => {
                Step::Done(Ok(Posted::Refused { reason: failure.message }))
            }
            (State::Calling(_, call), Some(Ok(answer))) => match record(&answer) {
                Ok(found) => {
                    self.called.push(call);
                    self.go_on(found)
                }
                Err(failure) => self.look_again(failure),
            },
            (State::Calling(found, _), Some(Err(failure))) if failure.class == Class::Data => {
                // Perhaps it stands elsewhere than we thought: an earlier call of ours arrived late.
                self.refusal = Some((found, failure.message));
                self.look()
            }
            (State::Calling(..), Some(Err(failure))) if failure.class == Class::Conflict => self.look(),
            // It is booked, whatever becomes of the documents beside it.
            (State::Cancelling { mut rest, then: then @ Then::Booked(_) }, Some(_)) => {
                rest.pop();
                self.cancel(rest, then)
            }
            (State::Cancelling { mut rest, then }, Some(Ok(answer))) => match record(&answer) {
                Ok(found) if found.state == "cancelled" => {
                    rest.pop();
                    self.cancel(rest, then)
                }
                Ok(_) => self.look(),
                Err(failure) => self.look_again(failure),
            },
            (State::Cancelling { .. }, Some(Err(failure)))
                if matches!(failure.class, Class::Data | Class::Conflict) =>
            {
                self.look()
            }
            (State::Looking, Some(Err(failure))) => self.end(failure),
            (_, Some(Err(failure))) if failure.class == Class::Unknown => self.look_again(failure),
            (_, Some(Err(failure))) => self.end(failure),
            (_, None) | (State::Start, Some(Ok(_))) => self.look(),
        }
    }
}

impl Carry {
    fn document(&self) -> Option<&Document> {
        self.document.as_ref().ok()
    }

    fn model(&self) -> &'static str {
        self.document().map_or("", |document| document.model)
    }

    fn send(&mut self, state: State, make: impl FnOnce(&Document, &Value) -> Request) -> Step<Posted> {
        self.requests += 1;
        if self.requests > REQUESTS_MAX {
            let message =
                format!("no end after {REQUESTS_MAX} requests; somebody else works on {}", self.reference);
            return self.end(Failure::new(Class::Conflict, message));
        }
        self.state = state;
        match self.document() {
            // Warnings ask a person "are you sure?"; the goods have moved already.
            Some(document) => {
                Step::Send(make(document, &json!({"company": document.company, "_skip_warnings": true})))
            }
            None => self.end(Failure::new(Class::Setup, "there is nothing to post")),
        }
    }

    /// Ends without knowing that it is booked. What was left open is said to be so.
    fn end(&mut self, failure: Failure) -> Step<Posted> {
        let class = if self.unresolved { Class::Unknown } else { failure.class };
        Step::Done(Err(Failure::new(class, failure.message)))
    }

    fn look(&mut self) -> Step<Posted> {
        self.called.clear();
        let domain = json!([["reference", "=", self.reference], ["state", "!=", "cancelled"]]);
        self.send(State::Looking, |document, context| {
            search("look", document.model, document.fields(), &domain, FOUND_MAX, context)
        })
    }

    /// Nobody knows what became of the last call. Never call again; look.
    fn look_again(&mut self, failure: Failure) -> Step<Posted> {
        self.unresolved = true;
        self.unknown += 1;
        if self.unknown >= UNKNOWN_MAX {
            return self.end(failure);
        }
        self.look()
    }

    /// What to do with the documents that carry our reference, oldest first.
    fn decide(&mut self, mut found: Vec<Found>) -> Step<Posted> {
        let model = self.model();
        if let Some(at) = found.iter().position(|found| is_booked(model, &found.state)) {
            let done = found.remove(at);
            // A second one that is done can not be helped from here; reconciliation shows it.
            found.retain(|other| !is_booked(model, &other.state));
            return self.cancel(found, Then::Booked(done));
        }
        if found.is_empty() {
            return match (self.refusal.take(), &self.noted) {
                (Some((_, reason)), _) => Step::Done(Ok(Posted::Refused { reason })),
                // Goods that have moved are posted anew; what was agreed is for whoever gave it up.
                (None, Some(noted)) if model == SALE => {
                    let reason = format!("{noted} was there and is gone; somebody cancelled it in Tryton");
                    Step::Done(Ok(Posted::Refused { reason }))
                }
                (None, _) => self.create(),
            };
        }
        match &self.refusal {
            // It stands where it was refused, so the refusal was meant: clear it away, whole. The refusal is kept,
            // for should that cancelling be lost, the next look must not begin anew.
            Some((refused, reason)) if *refused == found[0] => {
                let reason = reason.clone();
                self.cancel(found, Then::Refused(reason))
            }
            _ => {
                self.refusal = None;
                let oldest = found.remove(0);
                self.cancel(found, Then::GoOn(oldest))
            }
        }
    }

    fn create(&mut self) -> Step<Posted> {
        self.send(State::Creating, |document, context| {
            let path = format!("/{}", document.model);
            change("create", path, document.fields(), document.body.clone(), context)
        })
    }

    /// Cancels what is left, the newest first.
    fn cancel(&mut self, rest: Vec<Found>, then: Then) -> Step<Posted> {
        match (rest.last().map(|found| found.id), then) {
            (Some(id), then) => self.call_on(id, "cancel", State::Cancelling { rest, then }),
            (None, Then::GoOn(found)) => self.note(found),
            (None, Then::Booked(found)) => self.booked(&found),
            (None, Then::Refused(reason)) => Step::Done(Ok(Posted::Refused { reason })),
        }
    }

    fn call_on(&mut self, id: i64, call: &'static str, state: State) -> Step<Posted> {
        self.send(state, |document, context| {
            change(call, format!("/{}/{id}/{call}", document.model), document.fields(), json!({}), context)
        })
    }

    /// Has the document's id kept before anything happens to it.
    fn note(&mut self, found: Found) -> Step<Posted> {
        let name = self.name(&found);
        if self.noted.as_ref() == Some(&name) {
            return self.go_on(found);
        }
        self.noted = Some(name.clone());
        self.state = State::Noted(found);
        Step::Note(name)
    }

    /// As Tryton itself writes a reference to a record.
    fn name(&self, found: &Found) -> String {
        format!("{},{}", self.model(), found.id)
    }

    fn booked(&mut self, found: &Found) -> Step<Posted> {
        Step::Done(Ok(Posted::Booked { document: self.name(found) }))
    }

    /// The next call, by the state of the document alone.
    fn go_on(&mut self, found: Found) -> Step<Posted> {
        let model = self.model();
        let called = |call| self.called.contains(&call);
        let call = match (model, found.state.as_str()) {
            (_, state) if is_booked(model, state) => return self.booked(&found),
            (SALE, "draft") => match self.differs(&found) {
                Some(reason) => {
                    self.refusal = Some((found.clone(), reason.clone()));
                    return self.cancel(vec![found], Then::Refused(reason));
                }
                None => "quote",
            },
            (SALE, "quotation") => "confirm",
            (IN, "draft") => "receive",
            (IN, "received") => "do",
            // Gives it its number. Calling it on an assigned document would take the assignment back.
            (INTERNAL | OUT, "draft" | "waiting") if !called("wait") => "wait",
            (INTERNAL | OUT, "waiting") if !called("assign_try") => "assign_try",
            // Tryton believes that there is too little.
            (INTERNAL | OUT, "waiting") => match self.shortage {
                Shortage::Force => "assign_force",
                Shortage::Refuse => {
                    let reason =
                        "Tryton holds too little stock for it, and forcing is switched off".to_owned();
                    self.refusal = Some((found.clone(), reason.clone()));
                    return self.cancel(vec![found], Then::Refused(reason));
                }
            },
            (INTERNAL, "assigned" | "shipped") => "do",
            (OUT, "assigned" | "picked") => "pack",
            (OUT, "packed" | "shipped") => "do",
            (_, state) => {
                let message = format!("{} is in the state {state:?}, which leads nowhere", self.name(&found));
                return self.end(Failure::new(Class::Conflict, message));
            }
        };
        self.call_on(found.id, call, State::Calling(found, call))
    }

    /// What Tryton counts otherwise than was agreed.
    fn differs(&self, found: &Found) -> Option<String> {
        let sums = self.document()?.sums.as_ref()?;
        let (net, tax) = found.sums.as_ref()?;
        let equal = |told: &str, expected: i64, slack: i64| {
            number::minor(told, sums.digits).is_some_and(|told| (told - expected).abs() <= slack)
        };
        if equal(net, sums.net, 0) && equal(tax, sums.tax, sums.slack) {
            return None;
        }
        let [net_due, tax_due] = [sums.net, sums.tax].map(|amount| number::amount(amount, sums.digits));
        Some(format!("Tryton makes {net} and {tax} tax of it, the order says {net_due} and {tax_due}"))
    }
}

/// Whether a document of a model is, in that state, what we wanted of it.
fn is_booked(model: &str, state: &str) -> bool {
    match model {
        SALE => matches!(state, "confirmed" | "processing" | "done"),
        _ => state == "done",
    }
}

impl Document {
    /// What is read of it each time.
    fn fields(&self) -> &'static [&'static str] {
        match self.model {
            SALE => &["state", "untaxed_amount", "tax_amount"],
            _ => &["state"],
        }
    }
}

fn record(answer: &Answer) -> Result<Found, Failure> {
    found(&answer.json()?)
}

fn rows(answer: &Answer) -> Result<Vec<Found>, Failure> {
    let body = answer.json()?;
    let rows = body.as_array().ok_or_else(|| no_record(&body))?;
    let mut found = rows.iter().map(found).collect::<Result<Vec<_>, _>>()?;
    found.sort_by_key(|found| found.id);
    Ok(found)
}

fn found(record: &Value) -> Result<Found, Failure> {
    match (record["id"].as_i64(), record["state"].as_str()) {
        (Some(id), Some(state)) => {
            let decimal = |field: &str| record[field]["decimal"].as_str().map(str::to_owned);
            let sums = decimal("untaxed_amount").zip(decimal("tax_amount"));
            Ok(Found { id, state: state.to_owned(), sums })
        }
        _ => Err(no_record(record)),
    }
}

fn no_record(body: &Value) -> Failure {
    let text = crate::exchange::excerpt(&body.to_string());
    Failure::new(Class::Unknown, format!("expected a record with id and state, got {text}"))
}
