//! What is asked about orders: by channels, which bring them, and by people and other systems through the API.

use stockwire_protocol::{Quantity, Reference};

use super::desk::{Desk, GATEWAY};
use super::fact::{Duty, Fact, LineSteps, Verdict};
use super::policy::Policy;
use super::standing::CheckState;
use super::work::{Known, Writes};
use super::{LineId, Order};

/// Characters of a key or a reason.
const TEXT_LENGTH_MAX: usize = 200;

/// What somebody wants of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Give it up.
    Cancel {
        /// Why; for the channel too.
        reason: String,
    },
    /// Keep it back. What it holds, it keeps.
    Hold {
        /// Why.
        reason: String,
    },
    /// Let it go on, and try anew what was refused.
    Release,
    /// Answer a check.
    Decide {
        /// Which.
        check: String,
        /// How.
        verdict: Verdict,
        /// Why.
        reason: String,
    },
    /// A parcel has left.
    Ship {
        /// Names it: the same again changes nothing.
        key: String,
        /// Who carries it.
        carrier: Option<String>,
        /// The number under which it can be followed.
        tracking: Option<String>,
    },
    /// Goods will come back.
    Return {
        /// Names it: the same again changes nothing.
        key: String,
        /// What; each line once.
        lines: Vec<(LineId, Quantity)>,
        /// Why.
        reason: String,
        /// What is to be paid back when it is there, in minor units.
        refund: i64,
    },
}

/// Why nothing was done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such order.
    #[error("there is no such order")]
    Unknown,
    /// Something in what was asked makes no sense.
    #[error("{field}: {reason}")]
    Field {
        /// Which, as a path.
        field: &'static str,
        /// What was expected and what came.
        reason: String,
    },
    /// It makes no sense as the order stands.
    #[error("{0}")]
    State(String),
}

/// What capturing an order came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Captured {
    /// It is new.
    New,
    /// It was known, and says something else now.
    Revised,
    /// It was known as it is.
    Same,
}

/// Takes an order in. The same order again changes nothing; one that says something else is kept as a revision.
pub fn capture(policy: &Policy, known: &Known, now_ms: i64, by: &str, order: &Order) -> (Writes, Captured) {
    take_in(policy, known, now_ms, (by, None), order)
}

/// Takes an order in and keeps it back, because the store refused what else was to be kept of it.
pub(super) fn capture_held(
    policy: &Policy,
    known: &Known,
    now_ms: i64,
    (by, reason): (&str, &str),
    order: &Order,
) -> (Writes, Captured) {
    take_in(policy, known, now_ms, (by, Some(reason)), order)
}

fn take_in(
    policy: &Policy,
    known: &Known,
    now_ms: i64,
    (by, held): (&str, Option<&str>),
    order: &Order,
) -> (Writes, Captured) {
    let reference = match known.code_taken {
        false => order.code.clone(),
        // Two channels number alike: the warehouse must not mix them up. What is too long is cut from its middle.
        true => distinct(order),
    };
    let first = Fact::Captured { order: order.clone(), reference };
    let Some(mut desk) = Desk::open(policy, known, now_ms, Some((by, first))) else {
        return (Writes::default(), Captured::Same);
    };
    let hold = |desk: &mut Desk<'_>| {
        if let Some(reason) = held {
            desk.note(GATEWAY, Fact::Held { reason: reason.to_owned() });
        }
    };
    if known.rows.is_empty() {
        hold(&mut desk);
        return (desk.finish(), Captured::New);
    }
    if desk.standing.order == *order {
        return (Writes::default(), Captured::Same);
    }
    let is_other = desk.standing.order.lines != order.lines || desk.standing.order.delivery != order.delivery;
    desk.note(by, Fact::Revised { order: order.clone() });
    hold(&mut desk);
    let passed_on = desk.standing.duties.contains_key(&Duty::PostSale)
        || !desk.standing.asked.is_empty()
        || !desk.standing.picked.is_empty();
    if is_other && passed_on && !order.cancelled {
        let reason = "the channel changed it after it was passed on: look, then release or cancel it".into();
        desk.note(GATEWAY, Fact::Held { reason });
    }
    (desk.finish(), Captured::Revised)
}

/// A name for an order whose code is taken.
fn distinct(order: &Order) -> Reference {
    let whole = format!("{}/{}", order.channel, order.code);
    let room = Reference::LENGTH_MAX - order.channel.as_str().chars().count() - 1;
    let short = || {
        let code: Vec<char> = order.code.as_str().chars().collect();
        let end: String = code[code.len().saturating_sub(room)..].iter().collect();
        format!("{}/{end}", order.channel)
    };
    Reference::new(whole).or_else(|_| Reference::new(short())).unwrap_or_else(|_| order.code.clone())
}

/// Looks at an order and does everything that can be done now.
pub fn advance(policy: &Policy, known: &Known, now_ms: i64) -> Writes {
    Desk::open(policy, known, now_ms, None).map(Desk::finish).unwrap_or_default()
}

/// Keeps an order back because the store refused what was to be kept of it.
pub fn hold_back(policy: &Policy, known: &Known, now_ms: i64, reason: &str) -> Writes {
    let Some(mut desk) = Desk::open(policy, known, now_ms, None) else { return Writes::default() };
    desk.note(GATEWAY, Fact::Held { reason: reason.to_owned() });
    let mut writes = desk.finish();
    // Whatever it was, it must not be tried with this row.
    (writes.tasks, writes.withdraw) = (Vec::new(), Vec::new());
    writes
}

/// Does what somebody asks.
///
/// # Errors
/// [`Refused`]; nothing changes then. Asking for what is so already is no error.
pub fn command(
    policy: &Policy,
    known: &Known,
    now_ms: i64,
    by: &str,
    command: &Command,
) -> Result<Writes, Refused> {
    let mut desk = Desk::open(policy, known, now_ms, None).ok_or(Refused::Unknown)?;
    let cancelled = desk.standing.cancelled.is_some();
    let gone = |what: &str| Err(Refused::State(format!("it is given up; {what} makes no sense any more")));
    match command {
        Command::Cancel { reason } => {
            text("reason", reason)?;
            if !cancelled {
                let shipped =
                    desk.standing.order.lines.iter().all(|line| desk.standing.shipped(&line.id) > 0);
                if shipped {
                    return Err(Refused::State("it has left; what comes back is a return".into()));
                }
                desk.note(by, Fact::Cancelled { reason: reason.clone() });
            }
        }
        Command::Hold { reason } => {
            text("reason", reason)?;
            if cancelled {
                return gone("holding it");
            }
            if desk.standing.held.is_none() {
                desk.note(by, Fact::Held { reason: reason.clone() });
            }
        }
        Command::Release => {
            let refused = desk.standing.attention().is_some();
            if desk.standing.held.is_some() || desk.standing.faults.is_some() || refused {
                desk.note(by, Fact::Released);
            }
        }
        Command::Decide { check, verdict, reason } => {
            text("reason", reason)?;
            match desk.standing.checks.get(check) {
                None => {
                    let waiting: Vec<&str> = desk.standing.checks.keys().map(String::as_str).collect();
                    let reason = format!("expected one of {}, got {check:?}", waiting.join(", "));
                    return Err(Refused::Field { field: "check", reason });
                }
                Some(CheckState::Decided(known)) if known == verdict => {}
                Some(CheckState::Decided(_)) => {
                    return Err(Refused::State(format!("{check} has decided otherwise before")));
                }
                Some(CheckState::Waiting { .. }) if cancelled => return gone("deciding"),
                Some(CheckState::Waiting { .. }) => {
                    let (check, reason) = (check.clone(), reason.clone());
                    desk.note(by, Fact::CheckEnded { check, verdict: *verdict, reason });
                }
            }
        }
        Command::Ship { key, carrier, tracking } => ship(&mut desk, by, key, carrier, tracking)?,
        Command::Return { key, lines, reason, refund } => {
            announce(&mut desk, by, (key, reason), lines, *refund)?;
        }
    }
    Ok(desk.finish())
}

fn ship(
    desk: &mut Desk<'_>,
    by: &str,
    key: &str,
    carrier: &Option<String>,
    tracking: &Option<String>,
) -> Result<(), Refused> {
    text("key", key)?;
    for (field, given) in [("carrier", carrier), ("tracking", tracking)] {
        if let Some(given) = given {
            text(field, given)?;
        }
    }
    let key = format!("api:{key}");
    if let Some(known) = desk.standing.shipments.iter().find(|shipment| shipment.key == key) {
        return match (&known.carrier, &known.tracking) == (carrier, tracking) {
            true => Ok(()),
            false => Err(Refused::State("this key names another parcel of the order".into())),
        };
    }
    let lines = desk.waiting();
    if lines.is_empty() {
        return Err(Refused::State("nothing that is picked waits to leave".into()));
    }
    desk.ship_lines(by, key, (carrier.clone(), tracking.clone()), lines);
    Ok(())
}

fn announce(
    desk: &mut Desk<'_>,
    by: &str,
    (key, reason): (&str, &str),
    lines: &[(LineId, Quantity)],
    refund: i64,
) -> Result<(), Refused> {
    text("key", key)?;
    text("reason", reason)?;
    let lines = lines.iter().map(|(line, quantity)| own_steps(desk, line, *quantity));
    let lines: Vec<LineSteps> = lines.collect::<Result<_, _>>()?;
    if let Some(known) = desk.standing.returns.get(key) {
        return match known.lines == lines && known.refund == refund {
            true => Ok(()),
            false => Err(Refused::State("this key names another return of the order".into())),
        };
    }
    if lines.is_empty() {
        return Err(Refused::Field { field: "lines", reason: "expected at least one".into() });
    }
    if !(0..=desk.standing.order.total.gross()).contains(&refund) {
        let reason = format!("expected 0 to {}, got {refund}", desk.standing.order.total.gross());
        return Err(Refused::Field { field: "refund", reason });
    }
    for part in &lines {
        let announced: i64 = desk
            .standing
            .returns
            .values()
            .flat_map(|earlier| &earlier.lines)
            .filter(|earlier| earlier.line == part.line)
            .map(|earlier| earlier.steps)
            .sum();
        let room = desk.standing.shipped(&part.line) - announced;
        if !(1..=room).contains(&part.steps) {
            let reason =
                format!("line {}: at most what has left and is not announced can come back", part.line);
            return Err(Refused::Field { field: "lines", reason });
        }
    }
    let (key, reason) = (key.to_owned(), reason.to_owned());
    desk.note(by, Fact::ReturnAnnounced { key, lines, reason, refund });
    Ok(())
}

/// A quantity of a line in the steps in which the order counts it.
fn own_steps(desk: &Desk<'_>, line: &LineId, quantity: Quantity) -> Result<LineSteps, Refused> {
    let field = |reason: String| Refused::Field { field: "lines", reason };
    let item = desk.standing.item(line).ok_or_else(|| field(format!("the order has no line {line}")))?;
    let uom = desk.known.items.get(item).map(|item| item.uom);
    let uom = uom.ok_or_else(|| field(format!("{item} is not in the catalogue")))?;
    let own = quantity.to_uom(uom).map_err(|fault| field(format!("line {line}: {fault}")))?;
    Ok(LineSteps { line: line.clone(), steps: own.steps })
}

fn text(field: &'static str, text: &str) -> Result<(), Refused> {
    let length = text.chars().count();
    match (1..=TEXT_LENGTH_MAX).contains(&length) && !text.chars().any(char::is_control) {
        true => Ok(()),
        false => {
            let reason = format!("expected 1 to {TEXT_LENGTH_MAX} printable characters, got {length}");
            Err(Refused::Field { field, reason })
        }
    }
}
