//! Ledger against ERP as of one cut-off, considering what is on its way. Pure: [`plan`] decides, others act.

use std::collections::BTreeMap;
use std::fmt;

use stockwire_protocol::{AgentId, Epoch, ItemId, LocationId, MovementId, Quantity, Sequence, SiteId, Uom};

use crate::catalogue::Index;
use crate::ledger::LedgerId;

/// The ledger side at one moment; from one transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Ledger rows up to here are considered.
    pub cutoff: LedgerId,
    /// The same as each agent's prefix. An agent with a backlog makes the comparison partial, not wrong.
    pub watermarks: Vec<(AgentId, Epoch, Sequence)>,
    /// Every physical place and item with a balance or an open posting; ordered by the key.
    pub rows: Vec<SnapshotRow>,
}

/// One place and item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotRow {
    /// Where.
    pub site: SiteId,
    /// Where in it.
    pub location: LocationId,
    /// What.
    pub item: ItemId,
    /// The ledger's balance, over all lots and dispositions.
    pub balance: Quantity,
    /// The part that the ERP certainly has not booked: rows without a batch, in planned batches, or dead letters.
    pub unposted: Quantity,
    /// The part that it may have booked: rows in batches that were sent and are not done.
    pub in_flight: Quantity,
}

/// What the ERP says about one place and item.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ErpQuantity {
    /// Where.
    pub site: SiteId,
    /// Where in it.
    pub location: LocationId,
    /// What.
    pub item: ItemId,
    /// In steps of the item's own unit.
    pub steps: i64,
}

/// One of our lines at a place: evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownLine {
    /// Its row in the books.
    pub ledger: LedgerId,
    /// The fact behind it.
    pub movement: MovementId,
    /// Where.
    pub site: SiteId,
    /// Where in it.
    pub location: LocationId,
    /// What.
    pub item: ItemId,
    /// What it added there; below zero when it left.
    pub steps: i64,
    /// Our reference of the document that the ERP confirmed; `None` = not confirmed.
    pub reference: Option<String>,
}

/// What may explain a difference, beside the snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Our lines at the places in question; see [`crate::store::Reader::known_lines`].
    pub lines: &'a [KnownLine],
    /// What documents without our reference moved at the ERP since the last agreement, where its connector can
    /// read that: somebody worked in the ERP itself.
    pub foreign: &'a [ErpQuantity],
    /// For the units of items that only the ERP has.
    pub index: &'a Index,
}

/// Why both sides differ, as far as the evidence tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A part of what is in flight is booked: it explains itself when the outcome is known.
    Late,
    /// The ERP confirmed this line and does not have it.
    MissingPosting(LedgerId),
    /// The ERP has this line twice.
    DuplicatePosting(LedgerId),
    /// The ERP has this line the wrong way round.
    SignFlip(LedgerId),
    /// The same amount is too much at this location and too little at that one, or the reverse.
    SwappedLocation(LocationId),
    /// Documents in the ERP that are not ours sum to the difference.
    ManualEdit,
    /// Nothing known explains it.
    Unknown,
}

/// What to do about it. Only a person, or the shelf, decides against either side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Compare again when nothing is in flight.
    Wait,
    /// Show it to a person together with the row that explains it.
    Review,
    /// Have the place counted: the count is the tie-breaker.
    Count,
}

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Discrepancy {
    /// Where.
    pub site: SiteId,
    /// Where in it.
    pub location: LocationId,
    /// What.
    pub item: ItemId,
    /// The ledger's balance.
    pub ledger: Quantity,
    /// The part of it that the ERP cannot have.
    pub unposted: Quantity,
    /// The part of it that the ERP may have.
    pub in_flight: Quantity,
    /// What the ERP has.
    pub erp: Quantity,
    /// What the ERP has too much; below zero: too little.
    pub difference: Quantity,
    /// Why.
    pub cause: Cause,
    /// What to do.
    pub action: Action,
}

/// The result of a comparison: everything a person needs to see, in an order that does not depend on chance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Ledger rows up to here were considered.
    pub cutoff: LedgerId,
    /// How many places and items were compared.
    pub compared: usize,
    /// How many agree only because of what is on its way.
    pub explained: usize,
    /// What does not agree, by site, location and item.
    pub discrepancies: Vec<Discrepancy>,
}

impl Plan {
    /// Whether nothing is left unexplained.
    pub fn is_agreed(&self) -> bool {
        self.discrepancies.is_empty()
    }
}

/// Places and items that do not agree: what evidence is needed for.
pub fn compare(snapshot: &Snapshot, erp: &[ErpQuantity]) -> Vec<(SiteId, LocationId, ItemId)> {
    let pairs = merge(snapshot, erp).into_iter().filter(|pair| !pair.agrees());
    pairs.map(|pair| pair.key).collect()
}

/// Compares, and names the cause of each difference.
pub fn plan(snapshot: &Snapshot, erp: &[ErpQuantity], evidence: &Evidence<'_>) -> Plan {
    let pairs = merge(snapshot, erp);
    let explained = pairs.iter().filter(|pair| pair.agrees() && pair.balance != pair.erp).count();
    let compared = pairs.len();
    let open: Vec<Pair> = pairs.into_iter().filter(|pair| !pair.agrees()).collect();
    let discrepancies = open.iter().map(|pair| {
        let cause = pair.cause(&open, evidence);
        let action = match cause {
            Cause::Late => Action::Wait,
            Cause::Unknown => Action::Count,
            _ => Action::Review,
        };
        let (site, location, item) = pair.key.clone();
        let uom = pair.uom.or(evidence.index.items.get(&item).map(|facts| facts.uom)).unwrap_or(Uom::Piece);
        let quantity = |steps| Quantity { steps, uom };
        Discrepancy {
            site,
            location,
            item,
            ledger: quantity(pair.balance),
            unposted: quantity(pair.unposted),
            in_flight: quantity(pair.in_flight),
            erp: quantity(pair.erp),
            difference: quantity(pair.difference()),
            cause,
            action,
        }
    });
    Plan { cutoff: snapshot.cutoff, compared, explained, discrepancies: discrepancies.collect() }
}

/// Both sides of one place and item, in steps.
struct Pair {
    key: (SiteId, LocationId, ItemId),
    uom: Option<Uom>,
    balance: i64,
    unposted: i64,
    in_flight: i64,
    erp: i64,
}

/// Both lists side by side; what one lacks is zero there.
fn merge(snapshot: &Snapshot, erp: &[ErpQuantity]) -> Vec<Pair> {
    let mut pairs: BTreeMap<(SiteId, LocationId, ItemId), Pair> = BTreeMap::new();
    let key =
        |site: &SiteId, location: &LocationId, item: &ItemId| (site.clone(), location.clone(), item.clone());
    for row in &snapshot.rows {
        let key = key(&row.site, &row.location, &row.item);
        let (balance, unposted, in_flight) = (row.balance.steps, row.unposted.steps, row.in_flight.steps);
        pairs.insert(
            key.clone(),
            Pair { key, uom: Some(row.balance.uom), balance, unposted, in_flight, erp: 0 },
        );
    }
    for row in erp {
        let key = key(&row.site, &row.location, &row.item);
        let pair = pairs.entry(key.clone()).or_insert(Pair {
            key,
            uom: None,
            balance: 0,
            unposted: 0,
            in_flight: 0,
            erp: 0,
        });
        pair.erp = pair.erp.saturating_add(row.steps);
    }
    pairs.into_values().collect()
}

impl Pair {
    /// What the ERP has beyond what it must have, when everything in flight is booked there.
    fn difference(&self) -> i64 {
        self.erp.saturating_sub(self.balance.saturating_sub(self.unposted))
    }

    /// In flight is all or nothing per document; with several documents a part of it may be booked, and then the
    /// difference lies between.
    fn is_within_flight(&self) -> bool {
        let (low, high) = (self.in_flight.saturating_neg().min(0), self.in_flight.saturating_neg().max(0));
        (low..=high).contains(&self.difference())
    }

    fn agrees(&self) -> bool {
        let difference = self.difference();
        difference == 0 || difference == self.in_flight.saturating_neg()
    }

    fn cause(&self, open: &[Pair], evidence: &Evidence<'_>) -> Cause {
        let difference = self.difference();
        if self.in_flight != 0 && self.is_within_flight() {
            return Cause::Late;
        }
        let (site, location, item) = &self.key;
        let here = |s: &SiteId, l: &LocationId, i: &ItemId| s == site && l == location && i == item;
        let foreign = evidence.foreign.iter().filter(|row| here(&row.site, &row.location, &row.item));
        let foreign: i64 = foreign.map(|row| row.steps).sum();
        if foreign != 0 && foreign == difference {
            return Cause::ManualEdit;
        }
        let lines = evidence.lines.iter().filter(|line| here(&line.site, &line.location, &line.item));
        for line in lines.filter(|line| line.reference.is_some()) {
            if difference == -line.steps {
                return Cause::MissingPosting(line.ledger);
            }
            if difference == line.steps {
                return Cause::DuplicatePosting(line.ledger);
            }
            if Some(difference) == line.steps.checked_mul(-2) {
                return Cause::SignFlip(line.ledger);
            }
        }
        let sibling = |pair: &&Pair| {
            let (s, l, i) = &pair.key;
            s == site && i == item && l != location && Some(pair.difference()) == difference.checked_neg()
        };
        match open.iter().find(sibling) {
            Some(pair) => Cause::SwappedLocation(pair.key.1.clone()),
            None => Cause::Unknown,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Late => f.write_str("late"),
            Cause::MissingPosting(row) => write!(f, "missing posting of row {}", row.0),
            Cause::DuplicatePosting(row) => write!(f, "row {} posted twice", row.0),
            Cause::SignFlip(row) => write!(f, "row {} posted the wrong way round", row.0),
            Cause::SwappedLocation(location) => write!(f, "swapped with {location}"),
            Cause::ManualEdit => f.write_str("edited in the ERP"),
            Cause::Unknown => f.write_str("unknown"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Wait => "wait",
            Action::Review => "review",
            Action::Count => "count",
        })
    }
}

/// One line for each difference, in a fixed order: two plans can be compared by their text.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { cutoff, compared, explained, discrepancies } = self;
        let open = discrepancies.len();
        writeln!(f, "as of row {}: {compared} compared, {explained} explained, {open} open", cutoff.0)?;
        for d in discrepancies {
            writeln!(
                f,
                "{}/{} {}: ledger {} (unposted {}, in flight {}), ERP {}, difference {}: {} -> {}",
                d.site,
                d.location,
                d.item,
                d.ledger,
                d.unposted.decimal(),
                d.in_flight.decimal(),
                d.erp.decimal(),
                d.difference.decimal(),
                d.cause,
                d.action
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::{AgentId, Epoch, MovementId, Sequence};

    use super::*;

    fn site() -> SiteId {
        SiteId::new("HAM").unwrap()
    }

    fn location(name: &str) -> LocationId {
        LocationId::new(name).unwrap()
    }

    fn item() -> ItemId {
        ItemId::new("SKU-1").unwrap()
    }

    /// Ledger rows `location: balance unposted in-flight`, ERP rows `location: quantity`, confirmed lines
    /// `location: +steps`; the plan's lines after its head.
    fn check(
        ledger: &[(&str, [i64; 3])],
        erp: &[(&str, i64)],
        lines: &[(&str, i64)],
        foreign: &[(&str, i64)],
        expected: &[&str],
    ) {
        let pieces = Quantity::pieces;
        let row = |(at, [balance, unposted, in_flight]): &(&str, [i64; 3])| SnapshotRow {
            site: site(),
            location: location(at),
            item: item(),
            balance: pieces(*balance),
            unposted: pieces(*unposted),
            in_flight: pieces(*in_flight),
        };
        let snapshot =
            Snapshot { cutoff: LedgerId(9), watermarks: vec![], rows: ledger.iter().map(row).collect() };
        let quantity = |(at, steps): &(&str, i64)| ErpQuantity {
            site: site(),
            location: location(at),
            item: item(),
            steps: *steps,
        };
        let erp: Vec<_> = erp.iter().map(quantity).collect();
        let foreign: Vec<_> = foreign.iter().map(quantity).collect();
        let line = |(number, (at, steps)): (usize, &(&str, i64))| KnownLine {
            ledger: LedgerId(number as u64 + 1),
            movement: MovementId {
                agent: AgentId::new("box-1").unwrap(),
                epoch: Epoch::from_bytes([1; 16]),
                sequence: Sequence::new(1),
            },
            site: site(),
            location: location(at),
            item: item(),
            steps: *steps,
            reference: Some("SW-1".into()),
        };
        let lines: Vec<_> = lines.iter().enumerate().map(line).collect();
        let index = Index::default();
        let plan = plan(&snapshot, &erp, &Evidence { lines: &lines, foreign: &foreign, index: &index });
        let text = plan.to_string();
        let got: Vec<&str> =
            text.lines().skip(1).map(|line| line.split_once("difference ").unwrap().1).collect();
        assert_eq!(got, expected, "{text}");
        assert_eq!(compare(&snapshot, &erp).len(), expected.len());
    }

    #[test]
    fn what_is_on_its_way_explains_itself() {
        check(&[("A", [10, 0, 0])], &[("A", 10)], &[], &[], &[]);
        check(&[("A", [10, 4, 0])], &[("A", 6)], &[], &[], &[]);
        check(&[("A", [10, 0, 4])], &[("A", 6)], &[], &[], &[]);
        check(&[("A", [10, 0, 4])], &[("A", 10)], &[], &[], &[]);
        check(&[("A", [10, 0, 4])], &[("A", 8)], &[], &[], &["-2: late -> wait"]);
        check(&[("A", [10, 10, 0])], &[], &[], &[], &[]);
    }

    #[test]
    fn a_difference_is_given_its_cause() {
        let lines = &[("A", 5), ("A", -3)];
        check(&[("A", [10, 0, 0])], &[("A", 5)], lines, &[], &["-5: missing posting of row 1 -> review"]);
        check(&[("A", [10, 0, 0])], &[("A", 15)], lines, &[], &["5: row 1 posted twice -> review"]);
        check(&[("A", [10, 0, 0])], &[("A", 7)], lines, &[], &["-3: row 2 posted twice -> review"]);
        check(
            &[("A", [10, 0, 0])],
            &[("A", 16)],
            lines,
            &[],
            &["6: row 2 posted the wrong way round -> review"],
        );
        check(&[("A", [10, 0, 0])], &[("A", 12)], lines, &[("A", 2)], &["2: edited in the ERP -> review"]);
        check(&[("A", [10, 0, 0])], &[("A", 12)], lines, &[], &["2: unknown -> count"]);
        check(
            &[("A", [10, 0, 0]), ("B", [1, 0, 0])],
            &[("A", 3), ("B", 8)],
            &[],
            &[],
            &["-7: swapped with B -> review", "7: swapped with A -> review"],
        );
        check(&[], &[("A", 7)], &[], &[], &["7: unknown -> count"]);
    }
}
