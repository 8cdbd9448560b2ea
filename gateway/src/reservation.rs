//! Stock promised to orders: who may hold how much, and how each promise ends.
//!
//! ```text
//!               soft: until a time          goods left
//!   reserve -> Pending -------------------> Posted
//!                 | '---- cancelled ------> Voided
//!                 '------ time is up -----> Expired    (soft ones only; confirming makes it hard)
//! ```
//!
//! - A request is taken whole or not at all, and its demand is summed per item and site before it is compared, so that
//!   one order cannot take the last piece twice.
//! - Nothing is edited: each end is an entry that names what it resolves. A reserved unit ends once; the same request
//!   again, or the same key of a resolution, changes nothing.
//! - `available to promise = on hand - reserved - what is kept for other accounts`, per item and site.
//! - A hold whose outcome somebody else decides (a payment, a call to the ERP) is confirmed *before* the call: what is
//!   hard never expires by itself, so an unknown outcome frees no stock.
//!
//! The store loads what [`decide`] and [`resolve`] ask for and keeps what they answer in the same transaction. Rows and
//! their unique keys follow Magento's append-only reservations, with the check inside (`docs/decisions/0011`).

use std::collections::BTreeMap;

use stockwire_protocol::{AccountId, ChannelId, ItemId, Quantity, Reference, SiteId};

/// Lines of one request: the longest order of a business customer has a few hundred.
pub const LINES_MAX: usize = 1_000;
/// What one line may hold, in steps of its unit: as much as one movement.
pub const STEPS_MAX: i64 = crate::ledger::QUANTITY_STEPS_MAX;
/// A soft hold lasts at most this long: a basket that nobody pays within a week is no order.
pub const SOFT_MS_MAX: i64 = 7 * 24 * 60 * 60 * 1_000;
/// Shortages told in one answer: more at once is a wrong count, not a list to work through.
pub const SHORTAGES_MAX: usize = 500;
/// Characters of an idempotency key, as HTTP clients send them.
pub const KEY_LENGTH_MAX: usize = 64;

/// Whose order it is: unique, because each channel numbers its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OrderKey {
    /// Where it was placed.
    pub channel: ChannelId,
    /// Its number there.
    pub order: Reference,
}

/// How firmly a hold stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Firmness {
    /// Ends by itself.
    Soft {
        /// When, unix milliseconds.
        until_ms: i64,
    },
    /// Ends only by being posted or voided.
    Hard,
}

/// Who keeps a hold when the shelf has less than was promised: 0 loses first, 9 last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Priority(u8);

impl Priority {
    /// An order like any other.
    pub const ORDINARY: Self = Self(5);

    /// 0 to 9.
    pub fn new(value: u8) -> Option<Self> {
        (value <= 9).then_some(Self(value))
    }

    /// As a number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// A wish to hold stock for one order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// For which order.
    pub order: OrderKey,
    /// Who buys, where that decides what may be taken.
    pub account: Option<AccountId>,
    /// Who gives way.
    pub priority: Priority,
    /// Until when.
    pub firmness: Firmness,
    /// What; 1 to [`LINES_MAX`], each `(line, site)` once.
    pub lines: Vec<Line>,
}

/// One line of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The order's own line number.
    pub line: u32,
    /// What.
    pub item: ItemId,
    /// Which site is to ship it.
    pub site: SiteId,
    /// How much; more than zero, in the item's own unit.
    pub quantity: Quantity,
}

/// A hold as it stands: what was reserved, and how much of it has ended in which way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// Its number: 1, 2, 3 ... in the order of reserving.
    pub id: u64,
    /// For which order.
    pub order: OrderKey,
    /// Which line.
    pub line: Line,
    /// Who buys.
    pub account: Option<AccountId>,
    /// Who gives way.
    pub priority: Priority,
    /// Until when; hard once it was confirmed.
    pub firmness: Firmness,
    /// When it was reserved, unix milliseconds.
    pub at_ms: i64,
    /// How much has ended, in steps, by [`End`].
    pub ended: Ended,
}

/// Steps of a hold that have ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ended {
    /// The goods left.
    pub posted: i64,
    /// Given up.
    pub voided: i64,
    /// Nobody confirmed it in time.
    pub expired: i64,
}

impl Reservation {
    /// Steps that are still held.
    pub fn pending(&self) -> i64 {
        let Ended { posted, voided, expired } = self.ended;
        self.line.quantity.steps - posted - voided - expired
    }

    fn is_due(&self, now_ms: i64) -> bool {
        self.pending() > 0 && matches!(self.firmness, Firmness::Soft { until_ms } if until_ms <= now_ms)
    }
}

/// How a hold ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum End {
    /// The goods left.
    Posted,
    /// Given up: cancelled, or the order came to nothing.
    Voided,
    /// Nobody confirmed it in time.
    Expired,
}

impl End {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Posted => "posted",
            Self::Voided => "voided",
            Self::Expired => "expired",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Posted, Self::Voided, Self::Expired].into_iter().find(|end| end.as_str() == name)
    }
}

/// One item at one site, as the store finds it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shelf {
    /// Ordinary stock at physical places, in steps; may be below zero.
    pub on_hand: i64,
    /// Steps of all pending holds.
    pub reserved: i64,
    /// What is kept for accounts and not used by them yet: steps, 0 or more.
    pub kept: BTreeMap<AccountId, i64>,
}

impl Shelf {
    /// What a buyer may still be promised; below zero when the shelf holds less than was promised already.
    pub fn available_to_promise(&self, account: Option<&AccountId>) -> i64 {
        let others = self.kept.iter().filter(|(other, _)| Some(*other) != account).map(|(_, steps)| steps);
        let others = others.fold(0_i64, |sum, steps| sum.saturating_add(*steps));
        self.on_hand.saturating_sub(self.reserved).saturating_sub(others)
    }
}

/// What a request must be compared with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// Every hold of the order.
    pub held: Vec<Reservation>,
    /// Each item and site of the request; soft holds there whose time is up are ended already.
    pub shelves: BTreeMap<(ItemId, SiteId), Shelf>,
    /// What channels may sell already of strictly sold items, for whoever is not one of them.
    pub escrow: Vec<Escrowed>,
}

impl Known {
    /// What may be promised to one buyer of each item at each site, so that all of it together may be: what channels may
    /// sell already is nobody else's, at whichever site it lies. Below zero where less lies there than was promised.
    pub fn available(&self, account: Option<&AccountId>) -> BTreeMap<(ItemId, SiteId), i64> {
        let available =
            |(key, shelf): (&(ItemId, SiteId), &Shelf)| (key.clone(), shelf.available_to_promise(account));
        let mut all: BTreeMap<_, _> = self.shelves.iter().map(available).collect();
        for escrow in &self.escrow {
            let mut free = escrow.promisable(self, account).max(0);
            for (_, steps) in all.iter_mut().filter(|((item, site), _)| escrow.covers(item, site)) {
                *steps = (*steps).min(free);
                free -= (*steps).max(0);
            }
        }
        all
    }
}

/// An item that is sold strictly at some sites.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Escrowed {
    /// Which.
    pub item: ItemId,
    /// Where its channels sell from.
    pub sites: Vec<SiteId>,
    /// Steps that are there for nobody in particular; 0 or more.
    pub free_steps: i64,
}

impl Escrowed {
    fn covers(&self, item: &ItemId, site: &SiteId) -> bool {
        self.item == *item && self.sites.contains(site)
    }

    /// What one buyer may still be promised of it: what is kept for him is in nobody's escrow.
    fn promisable(&self, known: &Known, account: Option<&AccountId>) -> i64 {
        let own = known.shelves.iter().filter(|((item, site), _)| self.covers(item, site));
        let kept = own.filter_map(|(_, shelf)| shelf.kept.get(account?)).copied();
        kept.fold(self.free_steps, i64::saturating_add)
    }
}

/// Why a request or a resolution changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// It makes no sense by itself.
    #[error("{field}: {reason}")]
    Field {
        /// Which, as a path in the request: `lines[2].quantity`.
        field: String,
        /// What was expected and what came.
        reason: String,
    },
    /// Too little is there. Nothing of the request is held.
    #[error("not enough to promise: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Short(Vec<Short>),
    /// The order holds something else under this line.
    #[error("line {line} at {site} is held already, as {held}")]
    Differs {
        /// Which line.
        line: u32,
        /// Where.
        site: SiteId,
        /// What is held.
        held: String,
    },
    /// The order holds no such line.
    #[error("line {line} at {site} is not held")]
    NotHeld {
        /// Which line.
        line: u32,
        /// Where.
        site: SiteId,
    },
    /// More is to end than is pending.
    #[error("line {line} at {site} has {pending} pending, not {wanted}")]
    NotPending {
        /// Which line.
        line: u32,
        /// Where.
        site: SiteId,
        /// Still held.
        pending: Quantity,
        /// Asked for.
        wanted: Quantity,
    },
    /// The key was used for something else.
    #[error("key {0:?} was used for another resolution of this order")]
    KeyReused(String),
}

/// One item at one site of which there is not enough.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Short {
    /// What.
    pub item: ItemId,
    /// Where.
    pub site: SiteId,
    /// The whole demand of the request.
    pub wanted: Quantity,
    /// What may be promised to this buyer; 0 or more.
    pub available: Quantity,
}

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { item, site, wanted, available } = self;
        write!(f, "{item} at {site}: {} wanted, {} available", wanted.decimal(), available.decimal())
    }
}

/// Checks a request by itself, before the store is asked.
///
/// # Errors
/// [`Refused::Field`] with the first thing wrong.
pub fn check(request: &Request, now_ms: i64) -> Result<(), Refused> {
    let field = |field: String, reason: String| Err(Refused::Field { field, reason });
    if request.lines.is_empty() || request.lines.len() > LINES_MAX {
        return field("lines".into(), format!("expected 1 to {LINES_MAX}, got {}", request.lines.len()));
    }
    if let Firmness::Soft { until_ms } = request.firmness
        && !(now_ms < until_ms && until_ms - now_ms <= SOFT_MS_MAX)
    {
        return field("until_ms".into(), "expected a time within the next seven days".into());
    }
    let mut seen = std::collections::BTreeSet::new();
    for (at, line) in request.lines.iter().enumerate() {
        if !(1..=STEPS_MAX).contains(&line.quantity.steps) {
            let got = line.quantity;
            return field(format!("lines[{at}].quantity"), format!("expected more than 0, got {got}"));
        }
        if !seen.insert((line.line, &line.site)) {
            let reason = format!("line {} at {} stands there twice", line.line, line.site);
            return field(format!("lines[{at}].line"), reason);
        }
    }
    Ok(())
}

/// The lines that are new by a request; none when it came again.
///
/// What has expired may be reserved anew, because the buyer is still there; what was posted or voided stays ended, so
/// that a request which comes late does not bring back a cancelled order.
///
/// # Errors
/// [`Refused::Short`] with everything that is short, or [`Refused::Differs`]; then nothing is held.
pub fn decide(request: &Request, known: &Known) -> Result<Vec<Line>, Refused> {
    let mut fresh = Vec::new();
    for line in &request.lines {
        match latest(&known.held, line.line, &line.site) {
            None => fresh.push(line.clone()),
            Some(held) if held.pending() == 0 && held.ended.expired > 0 => fresh.push(line.clone()),
            Some(held) if held.line == *line => {}
            Some(held) => {
                let (line, site) = (line.line, line.site.clone());
                let held = format!("{} of {}", held.line.quantity, held.line.item);
                return Err(Refused::Differs { line, site, held });
            }
        }
    }
    // The whole demand of the request first: two lines that each fit may not fit together.
    let mut demand: BTreeMap<(&ItemId, &SiteId), Quantity> = BTreeMap::new();
    for line in &fresh {
        let sum = demand.entry((&line.item, &line.site)).or_insert(Quantity { steps: 0, ..line.quantity });
        sum.steps = sum.steps.saturating_add(line.quantity.steps);
    }
    let empty = Shelf::default();
    // Of what channels may sell from several sites, the demand at all of them together.
    let escrowed = |item: &ItemId, site: &SiteId| {
        let escrow = known.escrow.iter().find(|escrow| escrow.covers(item, site))?;
        let elsewhere = demand.iter().filter(|((what, at), _)| *at != site && escrow.covers(what, at));
        let elsewhere = elsewhere.fold(0_i64, |sum, (_, wanted)| sum.saturating_add(wanted.steps));
        Some(escrow.promisable(known, request.account.as_ref()).saturating_sub(elsewhere))
    };
    let short: Vec<Short> = demand
        .iter()
        .filter_map(|(&(item, site), &wanted)| {
            let shelf = known.shelves.get(&(item.clone(), site.clone())).unwrap_or(&empty);
            let steps = shelf.available_to_promise(request.account.as_ref());
            let steps = escrowed(item, site).map_or(steps, |escrowed| steps.min(escrowed));
            (steps < wanted.steps).then(|| Short {
                item: item.clone(),
                site: site.clone(),
                wanted,
                available: Quantity { steps: steps.max(0), ..wanted },
            })
        })
        .collect();
    match short.is_empty() {
        true => Ok(fresh),
        false => Err(Refused::Short(short)),
    }
}

/// The newest hold of a line: those before it have expired.
fn latest<'a>(held: &'a [Reservation], line: u32, site: &SiteId) -> Option<&'a Reservation> {
    let of_line = held.iter().filter(|hold| (hold.line.line, &hold.line.site) == (line, site));
    of_line.max_by_key(|hold| hold.id)
}

/// How (part of) an order's holds end, or become hard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resolution {
    /// Whose.
    pub order: OrderKey,
    /// Names this resolution within the order, such as the shipment's number: the same key again changes nothing.
    pub key: String,
    /// What happens.
    pub step: Step,
    /// To which lines.
    pub part: Part,
}

/// What happens to holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Soft ones become hard.
    Confirm,
    /// They end.
    End(End),
}

/// Which part of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// Whatever is pending.
    All,
    /// These.
    Lines(Vec<LinePart>),
}

/// So much of one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinePart {
    /// Which line.
    pub line: u32,
    /// At which site.
    pub site: SiteId,
    /// How much; more than zero. Confirming takes a hold whole, whatever stands here.
    pub quantity: Quantity,
}

/// An entry to append: so many steps of a hold end, or it becomes hard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Which hold.
    pub reservation: u64,
    /// What happens to it.
    pub step: Step,
    /// Of how much of it; 0 when it is confirmed.
    pub steps: i64,
}

/// Checks a resolution by itself, before the store is asked.
///
/// # Errors
/// [`Refused::Field`].
pub fn check_resolution(resolution: &Resolution) -> Result<(), Refused> {
    let length = resolution.key.chars().count();
    if !(1..=KEY_LENGTH_MAX).contains(&length) || resolution.key.chars().any(char::is_control) {
        let reason = format!("expected 1 to {KEY_LENGTH_MAX} printable characters, got {:?}", resolution.key);
        return Err(Refused::Field { field: "key".into(), reason });
    }
    match &resolution.part {
        Part::Lines(lines) if lines.is_empty() || lines.len() > LINES_MAX => {
            let reason = format!("expected 1 to {LINES_MAX}, got {}", lines.len());
            Err(Refused::Field { field: "lines".into(), reason })
        }
        _ => Ok(()),
    }
}

/// The entries that a resolution makes. `earlier` are the entries that its key made before; none when it is new.
///
/// Ending everything of an order that holds nothing is no fault: cancelling twice is a cancelled order.
///
/// # Errors
/// [`Refused`]; then nothing changes.
pub fn resolve(
    resolution: &Resolution,
    held: &[Reservation],
    earlier: &[Entry],
) -> Result<Vec<Entry>, Refused> {
    let entries = |pending: fn(&Reservation) -> i64| match &resolution.part {
        Part::All => all(resolution.step, held, pending),
        Part::Lines(parts) => some(resolution.step, parts, held, pending),
    };
    if earlier.is_empty() {
        return entries(Reservation::pending);
    }
    // It came again. What it asked for cannot be compared with what is pending now, only with what it did then.
    let same = match &resolution.part {
        Part::All => earlier.iter().all(|entry| entry.step == resolution.step),
        Part::Lines(_) => {
            // Whoever repeats himself may name the lines in another order.
            let by_number = |entries: &[Entry]| {
                let mut entries = entries.to_vec();
                entries.sort_by_key(|entry| entry.reservation);
                entries
            };
            by_number(&entries(|hold| hold.line.quantity.steps)?) == by_number(earlier)
        }
    };
    match same {
        true => Ok(Vec::new()),
        false => Err(Refused::KeyReused(resolution.key.clone())),
    }
}

fn all(step: Step, held: &[Reservation], pending: fn(&Reservation) -> i64) -> Result<Vec<Entry>, Refused> {
    // Whoever confirms is about to take money: that nothing is held any more must not look like success.
    let gone = held.iter().find(|hold| {
        let newest = latest(held, hold.line.line, &hold.line.site);
        step == Step::Confirm && hold.ended.expired > 0 && newest.is_some_and(|newest| newest.id == hold.id)
    });
    if let Some(hold) = gone {
        let quantity = hold.line.quantity;
        let pending = Quantity { steps: hold.pending(), ..quantity };
        let (line, site) = (hold.line.line, hold.line.site.clone());
        return Err(Refused::NotPending { line, site, pending, wanted: quantity });
    }
    let live = held.iter().filter(|hold| pending(hold) > 0);
    Ok(live.map(|hold| entry(step, hold, pending(hold))).collect())
}

fn some(
    step: Step,
    parts: &[LinePart],
    held: &[Reservation],
    pending: fn(&Reservation) -> i64,
) -> Result<Vec<Entry>, Refused> {
    let mut entries: Vec<Entry> = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let (line, site) = (part.line, &part.site);
        let not_held = || Refused::NotHeld { line, site: site.clone() };
        let hold = latest(held, line, site).ok_or_else(not_held)?;
        if entries.iter().any(|entry| entry.reservation == hold.id) {
            let reason = format!("line {line} at {site} stands there twice");
            return Err(Refused::Field { field: format!("lines[{at}].line"), reason });
        }
        let left = pending(hold);
        let wanted = part.quantity.to_uom(hold.line.quantity.uom).map_err(|fault| Refused::Field {
            field: format!("lines[{at}].quantity"),
            reason: fault.to_string(),
        })?;
        let wanted = if step == Step::Confirm { 0 } else { wanted.steps };
        if wanted > left || (wanted < 1 && step != Step::Confirm) || left == 0 {
            let pending = Quantity { steps: left, ..hold.line.quantity };
            return Err(Refused::NotPending { line, site: site.clone(), pending, wanted: part.quantity });
        }
        entries.push(entry(step, hold, wanted));
    }
    Ok(entries)
}

fn entry(step: Step, hold: &Reservation, steps: i64) -> Entry {
    let steps = if step == Step::Confirm { 0 } else { steps };
    Entry { reservation: hold.id, step, steps }
}

/// The entries that end every soft hold whose time is up.
pub fn expire(held: &[Reservation], now_ms: i64) -> Vec<Entry> {
    let due = held.iter().filter(|hold| hold.is_due(now_ms));
    due.map(|hold| entry(Step::End(End::Expired), hold, hold.pending())).collect()
}

/// Which holds lose how many steps, when `missing` steps of what was promised are not there.
///
/// The lowest priority gives way first, then soft before hard, then the youngest: who came first keeps it. It is
/// advice for a person or an order process: nothing ends by itself.
pub fn give_way(held: &[Reservation], missing: i64) -> Vec<(u64, i64)> {
    let mut ranked: Vec<&Reservation> = held.iter().filter(|hold| hold.pending() > 0).collect();
    ranked.sort_by_key(|hold| (hold.priority, hold.firmness == Firmness::Hard, u64::MAX - hold.id));
    let mut missing = missing;
    let mut losers = Vec::new();
    for hold in ranked {
        if missing <= 0 {
            break;
        }
        let steps = hold.pending().min(missing);
        missing -= steps;
        losers.push((hold.id, steps));
    }
    losers
}

/// What is kept for an account: nobody else may reserve it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quota {
    /// For whom.
    pub account: AccountId,
    /// What.
    pub item: ItemId,
    /// Where.
    pub site: SiteId,
    /// How much in all, counted from when it was set; more than zero.
    pub quantity: Quantity,
    /// How much of it the account holds or has had since, in steps.
    pub used: i64,
}

impl Quota {
    /// Steps still kept: what the account has not used yet.
    pub fn kept(&self) -> i64 {
        (self.quantity.steps - self.used).max(0)
    }
}

/// Which reservations to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    /// Only of this channel.
    pub channel: Option<ChannelId>,
    /// Only of orders with this number.
    pub order: Option<Reference>,
    /// Only of this item.
    pub item: Option<ItemId>,
    /// Only those that are (partly) pending.
    pub pending_only: bool,
    /// `next` of the page before.
    pub after: Option<String>,
    /// Rows wanted; 0 = as many as allowed.
    pub limit: usize,
}

/// Less is there than was promised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shortage {
    /// What.
    pub item: ItemId,
    /// Where.
    pub site: SiteId,
    /// Physically there; may be below zero.
    pub on_hand: Quantity,
    /// Pending in all.
    pub reserved: Quantity,
    /// Who should give way and by how many steps, the first first; see [`give_way`].
    pub gives_way: Vec<(Reservation, i64)>,
}

#[cfg(test)]
mod tests;
