//! Brings one batch to its end as one document, from wherever an earlier attempt left it.
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
use stockwire_protocol::Place;

use super::super::{Posted, Shortage};
use super::{ItemKeys, PlaceKeys, SiteKeys, change, keys, number, search};
use crate::exchange::{Answer, Class, Conversation, Failure, Request, Step};
use crate::ledger::LedgerId;
use crate::posting::{PostingBatch, PostingKind, PostingLine};

const IN: &str = "stock.shipment.in";
const INTERNAL: &str = "stock.shipment.internal";
const OUT: &str = "stock.shipment.out";

/// Requests in one conversation: a batch that never leaves its path needs 6, and each of a few lost answers two more.
const REQUESTS_MAX: u32 = 40;
/// Outcomes that stay unknown before the vendor is left alone for a while.
const UNKNOWN_MAX: u32 = 4;
/// Documents with one reference that a search shows; two are seldom, more a sign of somebody else's doing.
const FOUND_MAX: usize = 100;

/// A document as it must be created.
struct Document {
    model: &'static str,
    body: Value,
    company: i64,
}

/// A document as Tryton has it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    id: i64,
    state: String,
}

/// Posting one batch.
pub(super) struct Post {
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

impl Post {
    pub(super) fn new(batch: &PostingBatch, shortage: Shortage) -> Self {
        Self {
            document: compose(batch).map_err(Some),
            reference: batch.reference.clone(),
            shortage,
            state: State::Start,
            noted: batch.document.clone(),
            called: Vec::new(),
            unresolved: false,
            unknown: 0,
            requests: 0,
            refusal: None,
        }
    }
}

impl Conversation for Post {
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

impl Post {
    fn document(&self) -> Option<&Document> {
        self.document.as_ref().ok()
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
            search("look", document.model, &["state"], &domain, FOUND_MAX, context)
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
        if let Some(at) = found.iter().position(|found| found.state == "done") {
            let done = found.remove(at);
            // A second one that is done can not be helped from here; reconciliation shows it.
            found.retain(|other| other.state != "done");
            return self.cancel(found, Then::Booked(done));
        }
        if found.is_empty() {
            return match self.refusal.take() {
                Some((_, reason)) => Step::Done(Ok(Posted::Refused { reason })),
                None => self.create(),
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
            change("create", format!("/{}", document.model), document.body.clone(), context)
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
            change(call, format!("/{}/{id}/{call}", document.model), json!({}), context)
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
        format!("{},{}", self.document().map_or("", |document| document.model), found.id)
    }

    fn booked(&mut self, found: &Found) -> Step<Posted> {
        Step::Done(Ok(Posted::Booked { document: self.name(found) }))
    }

    /// The next call, by the state of the document alone.
    fn go_on(&mut self, found: Found) -> Step<Posted> {
        let model = self.document().map_or("", |document| document.model);
        let called = |call| self.called.contains(&call);
        let call = match (model, found.state.as_str()) {
            (_, "done") => return self.booked(&found),
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
        (Some(id), Some(state)) => Ok(Found { id, state: state.to_owned() }),
        _ => Err(no_record(record)),
    }
}

fn no_record(body: &Value) -> Failure {
    let text = crate::exchange::excerpt(&body.to_string());
    Failure::new(Class::Unknown, format!("expected a record with id and state, got {text}"))
}

/// A line with Tryton's keys.
struct Line<'a> {
    line: &'a PostingLine,
    item: ItemKeys,
    from: Option<PlaceKeys>,
    to: Option<PlaceKeys>,
}

/// The document for a batch, or why there is none.
fn compose(batch: &PostingBatch) -> Result<Document, Result<Posted, Failure>> {
    let site: SiteKeys = match &batch.site_reference {
        Some(text) => keys(text).map_err(Err)?,
        None => return Err(Err(lacking(format!("the catalogue has no reference for site {}", batch.site)))),
    };
    let lines = batch.lines.iter().map(line_keys).collect::<Result<Vec<_>, _>>().map_err(Err)?;
    let parts = parts(batch.kind, &lines);
    let [_] = parts.as_slice() else { return Err(Ok(Posted::Mixed { parts })) };
    let zone = |place: fn(&Line<'_>) -> Option<i64>| {
        let missing = || Err(lacking(format!("batch {} has a line without its place", batch.reference)));
        lines.first().and_then(place).ok_or_else(missing)
    };
    let from_zone = || zone(|line| line.from.as_ref().map(|place| place.zone));
    let to_zone = || zone(|line| line.to.as_ref().map(|place| place.zone));
    let lost_found = || {
        site.lost_found
            .ok_or_else(|| Err(lacking(format!("warehouse {} has no lost and found location", batch.site))))
    };
    let party = |party: &Option<super::Party>, role: &str| {
        party.clone().ok_or_else(|| Err(lacking(format!("Tryton has no party that may stand as {role}"))))
    };
    let mut head = json!({"reference": batch.reference, "company": site.company});
    let (model, outside, more) = match batch.kind {
        PostingKind::GoodsIn => {
            let supplier = party(&site.supplier, "supplier")?;
            // With one zone as input and storage there is no second step, and lines may go to any place.
            let more = json!({"supplier": supplier.party, "warehouse": site.warehouse,
                "warehouse_input": site.storage, "warehouse_storage": site.storage});
            (IN, Some(supplier.location), more)
        }
        PostingKind::Internal => (
            INTERNAL,
            None,
            json!({"state": "waiting", "from_location": from_zone()?, "to_location": to_zone()?}),
        ),
        PostingKind::AdjustmentFound => {
            let lost = lost_found()?;
            (
                INTERNAL,
                Some(lost),
                json!({"state": "waiting", "from_location": lost, "to_location": to_zone()?}),
            )
        }
        PostingKind::AdjustmentLost => {
            let lost = lost_found()?;
            (
                INTERNAL,
                Some(lost),
                json!({"state": "waiting", "from_location": from_zone()?, "to_location": lost}),
            )
        }
        PostingKind::Outgoing => {
            let customer = party(&site.customer, "customer")?;
            let zone = from_zone()?;
            // With one zone as storage and output there is no picking step.
            let more = json!({"state": "waiting", "customer": customer.party, "delivery_address": customer.address,
                "warehouse": site.warehouse, "warehouse_storage": zone, "warehouse_output": zone});
            (OUT, Some(customer.location), more)
        }
        PostingKind::CustomerReturn
        | PostingKind::SupplierReturn
        | PostingKind::TransitIn
        | PostingKind::TransitOut => {
            let reason = format!("the Tryton connector has no document for {:?}", batch.kind);
            return Err(Ok(Posted::Impossible { reason }));
        }
    };
    let moves =
        lines.iter().map(|line| one_move(line, &site, model, outside)).collect::<Result<Vec<_>, _>>()?;
    if let (Some(head), Some(more)) = (head.as_object_mut(), more.as_object()) {
        head.extend(more.clone());
        head.insert("moves".into(), json!([["create", moves]]));
    }
    Ok(Document { model, body: head, company: site.company })
}

fn lacking(message: String) -> Failure {
    Failure::new(Class::Setup, message)
}

fn line_keys(line: &PostingLine) -> Result<Line<'_>, Failure> {
    let place = |place: &Place, reference: &Option<String>| match (place, reference) {
        (Place::At(_), Some(text)) => keys(text).map(Some),
        (Place::At(at), None) => Err(lacking(format!("the catalogue has no reference for place {at}"))),
        _ => Ok(None),
    };
    Ok(Line {
        line,
        item: keys(&line.item_reference)?,
        from: place(&line.from, &line.from_reference)?,
        to: place(&line.to, &line.to_reference)?,
    })
}

/// The zones that a document's head names.
type Head = (Option<i64>, Option<i64>);

/// Which lines may share a document: all of them, except where its head names zones. Parts stand in the order of
/// their first line.
fn parts(kind: PostingKind, lines: &[Line<'_>]) -> Vec<Vec<LedgerId>> {
    let zone = |place: &Option<PlaceKeys>| place.as_ref().map(|place| place.zone);
    let head = |line: &Line<'_>| match kind {
        PostingKind::GoodsIn => (None, None),
        _ => (zone(&line.from), zone(&line.to)),
    };
    let mut heads: Vec<Head> = Vec::new();
    let mut parts: Vec<Vec<LedgerId>> = Vec::new();
    for line in lines {
        let head = head(line);
        let at = heads.iter().position(|known| *known == head).unwrap_or(heads.len());
        if at == heads.len() {
            heads.push(head);
            parts.push(Vec::new());
        }
        parts[at].push(line.line.ledger);
    }
    parts
}

fn one_move(
    line: &Line<'_>,
    site: &SiteKeys,
    model: &str,
    outside: Option<i64>,
) -> Result<Value, Result<Posted, Failure>> {
    let place = |place: &Option<PlaceKeys>| place.as_ref().map(|place| place.location).or(outside);
    let quantity = number::to_json(line.line.quantity).ok_or_else(|| {
        let reason =
            format!("{} of {} is more than Tryton's floats hold exactly", line.line.quantity, line.line.item);
        Ok(Posted::Refused { reason })
    })?;
    let mut one = json!({"product": line.item.product, "unit": line.item.unit, "quantity": quantity,
        "from_location": place(&line.from), "to_location": place(&line.to), "company": site.company});
    if model != INTERNAL
        && let Some(one) = one.as_object_mut()
    {
        // Prices are the accountants'; the fields are compulsory.
        one.insert("unit_price".into(), json!({"__class__": "Decimal", "decimal": "0"}));
        one.insert("currency".into(), json!(site.currency));
    }
    Ok(one)
}

#[cfg(test)]
mod tests;
