//! Orders through their whole life, against a small warehouse of one transaction after the other.

use super::*;

pub(super) fn line(id: &str, sku: &str, pieces: i64) -> Line {
    Line {
        id: LineId::new(id).unwrap(),
        sku: sku.parse().unwrap(),
        name: None,
        quantity: Quantity::pieces(pieces),
        unit_price: 1_000,
        discount: 0,
        amount: Amount { net: 1_000 * pieces, tax: 190 * pieces },
        tax_rate: Some(1_900),
    }
}

/// A paid order of `shop` to Hamburg.
pub(super) fn order(id: &str, lines: &[Line]) -> Order {
    let sum = lines.iter().fold(Amount::default(), |sum, line| Amount {
        net: sum.net + line.amount.net,
        tax: sum.tax + line.amount.tax,
    });
    Order::new(Content {
        channel: "shop".parse().unwrap(),
        order: id.parse().unwrap(),
        code: format!("T-{id}").parse().unwrap(),
        placed_at_ms: 1_700_000_000_000,
        currency: "EUR".parse().unwrap(),
        payment: Payment::Paid,
        cancelled: false,
        account: None,
        buyer: Party::default(),
        delivery: Party { country: Some("DE".into()), ..Party::default() },
        lines: lines.to_vec(),
        charges: Vec::new(),
        total: sum,
    })
    .unwrap()
}

use std::collections::BTreeMap;

use stockwire_protocol::{
    Act, AgentId, BizStep, Body, Content as Packed, Details, Epoch, Event, Handling, LocationId, Movement,
    MovementId, Place, Reference, Sequence, Sku, StationId, Task, Uom, When,
};

use crate::reservation::{End, Ended, Firmness, Priority, Reservation, Shelf};
use crate::store::Mentioned;

/// One order in a warehouse of two sites that sells `A` and `B` in pieces.
struct Bench {
    policy: Policy,
    now_ms: i64,
    rows: Vec<Entry>,
    held: Vec<Reservation>,
    stock: BTreeMap<(ItemId, SiteId), i64>,
    facts: Vec<Mentioned>,
    tasks: BTreeMap<SiteId, Task>,
    head: Option<Head>,
}

fn item(name: &str) -> ItemId {
    ItemId::new(name).unwrap()
}

fn site(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

fn policy() -> Policy {
    let source = |name, priority| Source { site: site(name), priority, distance_km: BTreeMap::default() };
    Policy {
        sources: vec![source("HAM", 0), source("MUC", 1)],
        checks: Vec::new(),
        when_short: WhenShort::Backorder,
        leaves: Leaves::WhenPicked,
        posts_sales: true,
        tells_channel: true,
    }
}

impl Bench {
    fn new(policy: Policy, stock: &[(&str, &str, i64)]) -> Self {
        let stock = stock.iter().map(|(name, place, steps)| ((item(name), site(place)), *steps)).collect();
        let (rows, held, facts) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            policy,
            now_ms: 1_700_000_000_000,
            rows,
            held,
            stock,
            facts,
            tasks: BTreeMap::new(),
            head: None,
        }
    }

    fn known(&self) -> Known {
        let mut known = Known { rows: self.rows.clone(), held: self.held.clone(), ..Known::default() };
        for name in ["A", "B"] {
            known.skus.insert(Sku::new(name).unwrap(), item(name));
            let facts = KnownItem { uom: Uom::Piece, reference: Some(format!("ref {name}")), active: true };
            known.items.insert(item(name), facts);
            for place in ["HAM", "MUC"] {
                let key = (item(name), site(place));
                let here =
                    self.held.iter().filter(|held| (&held.line.item, &held.line.site) == (&key.0, &key.1));
                let reserved = here.map(Reservation::pending).sum();
                let on_hand = self.stock.get(&key).copied().unwrap_or_default();
                known.shelves.insert(key.clone(), Shelf { on_hand, reserved, ..Shelf::default() });
                known.spots.insert(key, vec![(LocationId::new("A-01").unwrap(), on_hand)]);
            }
        }
        known.facts = self.facts.clone();
        known
    }

    /// Keeps what a store would keep, and refuses what it would refuse.
    fn keep(&mut self, writes: Writes) {
        for row in writes.rows {
            assert_eq!(row.sequence, self.rows.len() as u64 + 1);
            self.rows.push(row);
        }
        for line in writes.reserve {
            let id = self.held.len() as u64 + 1;
            assert!(self.held.iter().all(|held| held.line.line != line.line), "held twice: {line:?}");
            let order = Standing::of(&self.rows).unwrap().order.key();
            let (account, firmness, at_ms) = (None, Firmness::Hard, self.now_ms);
            let (priority, ended) = (Priority::ORDINARY, Ended::default());
            self.held.push(Reservation { id, order, line, account, priority, firmness, at_ms, ended });
        }
        for end in writes.ends {
            let held = self.held.iter_mut().find(|held| held.line.line == end.number).unwrap();
            assert!(end.steps <= held.pending(), "ended twice: {end:?}");
            match end.end {
                End::Posted => held.ended.posted += end.steps,
                End::Voided => held.ended.voided += end.steps,
                End::Expired => held.ended.expired += end.steps,
            }
        }
        for (site, task) in writes.tasks {
            crate::task::check(&task).unwrap();
            self.tasks.insert(site, task);
        }
        for name in writes.withdraw {
            self.tasks.remove(&name.site).unwrap();
        }
        self.head = writes.head.or(self.head.take());
    }

    fn capture(&mut self, order: &Order) -> Captured {
        let (writes, captured) = capture(&self.policy, &self.known(), self.now_ms, "channel", order);
        self.keep(writes);
        captured
    }

    fn advance(&mut self) {
        let writes = advance(&self.policy, &self.known(), self.now_ms);
        self.keep(writes);
        // Looking again changes nothing but the time of the next look.
        let again = advance(&self.policy, &self.known(), self.now_ms);
        assert_eq!(again.rows, [], "looking twice is looking once");
        assert!(again.reserve.is_empty() && again.ends.is_empty() && again.tasks.is_empty());
    }

    fn ask(&mut self, asked: Command) -> Result<(), Refused> {
        let writes = command(&self.policy, &self.known(), self.now_ms, "somebody", &asked)?;
        self.keep(writes);
        let again = command(&self.policy, &self.known(), self.now_ms, "somebody", &asked)?;
        assert!(again.rows.iter().all(|row| matches!(row.fact, Fact::Released)), "{:?}", again.rows);
        Ok(())
    }

    fn take(&mut self, door: Door) -> Option<Errand> {
        let (writes, errand) = take(&self.policy, &self.known(), self.now_ms, door);
        self.keep(writes);
        errand
    }

    fn record(&mut self, duty: Duty, report: Report) {
        let writes = record(&self.policy, &self.known(), self.now_ms, duty, &report);
        self.keep(writes);
    }

    /// Takes the next step at a door, which must be that one, and has it done.
    #[track_caller]
    fn run(&mut self, duty: Duty, report: Report) {
        let errand = self.take(duty.door()).expect("nothing is due");
        assert_eq!(errand.duty, duty);
        self.record(duty, report);
    }

    fn fact(&mut self, place: &str, body: Body) {
        let at = self.facts.len() as u64 + 1;
        self.facts.push(Mentioned {
            site: site(place),
            movement: MovementId {
                agent: AgentId::new("box-1").unwrap(),
                epoch: Epoch::from_bytes([1; 16]),
                sequence: Sequence::new(at),
            },
            event: Event { when: When::Synced { unix_ms: self.now_ms }, body },
            received_at_ms: self.now_ms,
            applied: true,
        });
        self.advance();
    }

    fn details() -> Details {
        Details { reference: Some(Reference::new("T-1").unwrap()), ..Details::default() }
    }

    /// Pieces out of a site's shelf for the order; below zero: put back by undoing.
    fn pick(&mut self, name: &str, place: &str, pieces: i64) {
        *self.stock.get_mut(&(item(name), site(place))).unwrap() -= pieces;
        let (shelf, out) = (Place::At(LocationId::new("A-01").unwrap()), Place::Customer);
        let (from, to) = if pieces > 0 { (shelf, out) } else { (out, shelf) };
        let (station, details) = (StationId::new("S1").unwrap(), Self::details());
        let quantity = Quantity::pieces(pieces.abs());
        let (step, item) = (BizStep::Picking, item(name));
        self.fact(place, Body::Movement(Movement { step, item, quantity, from, to, station, details }));
    }

    fn back(&mut self, name: &str, pieces: i64) {
        let (from, to) = (Place::Customer, Place::At(LocationId::new("A-01").unwrap()));
        let (station, details) = (StationId::new("S1").unwrap(), Self::details());
        let (step, item, quantity) = (BizStep::Receiving, item(name), Quantity::pieces(pieces));
        self.fact("HAM", Body::Movement(Movement { step, item, quantity, from, to, station, details }));
    }

    fn short(&mut self, name: &str, place: &str, pieces: i64) {
        let content = Some(Packed::Goods { item: item(name), quantity: Quantity::pieces(pieces) });
        let (station, details) = (StationId::new("S1").unwrap(), Self::details());
        self.fact(
            place,
            Body::Handling(Handling { act: Act::Short, content, location: None, station, details }),
        );
    }

    fn stage(&self) -> &'static str {
        let head = self.head.as_ref().unwrap();
        assert_eq!(
            head.stage,
            Standing::of(&self.rows).unwrap().stage(),
            "the head is not what the rows say"
        );
        head.stage.as_str()
    }

    /// `HAM A pending 2 posted 1` for each hold.
    fn holds(&self) -> String {
        let told = |held: &Reservation| {
            let Ended { posted, voided, .. } = held.ended;
            let part =
                |name: &str, steps: i64| if steps == 0 { String::new() } else { format!(" {name} {steps}") };
            let (pending, posted, voided) =
                (part("pending", held.pending()), part("posted", posted), part("voided", voided));
            format!("{} {}{pending}{posted}{voided}", held.line.site, held.line.item)
        };
        self.held.iter().map(told).collect::<Vec<_>>().join(", ")
    }

    /// `HAM A 2` for each line of a task.
    fn tasks(&self) -> String {
        let lines = self.tasks.iter().flat_map(|(site, task)| {
            task.lines.iter().map(move |line| format!("{site} {} {}", line.item, line.quantity.steps))
        });
        lines.collect::<Vec<_>>().join(", ")
    }

    fn attention(&self) -> &str {
        self.head.as_ref().unwrap().attention.as_deref().unwrap_or_default()
    }
}

fn done(document: &str) -> Report {
    Report::Done(Some(document.into()))
}

#[test]
fn an_order_goes_from_the_shop_to_the_customer() {
    let mut bench = Bench::new(policy(), &[("A", "HAM", 5), ("B", "HAM", 5)]);
    assert_eq!(bench.capture(&order("1", &[line("a", "A", 2), line("b", "B", 1)])), Captured::New);
    assert_eq!((bench.stage(), bench.holds().as_str()), ("posting", "HAM A pending 2, HAM B pending 1"));
    assert_eq!(bench.tasks(), "");
    let errand = bench.take(Door::Erp).unwrap();
    let Load::Sale(sale) = &errand.load else { panic!("{errand:?}") };
    assert_eq!((sale.reference.as_str(), sale.order_reference.as_str()), ("shop/1", "T-1"));
    assert_eq!(sale.lines[0].item_reference, "ref A");
    // It is under way, and nobody else takes it but whoever comes after a crash.
    bench.record(Duty::PostSale, Report::Noted("sale 7".into()));
    bench.record(Duty::PostSale, done("sale 7"));
    assert_eq!((bench.stage(), bench.tasks().as_str()), ("picking", "HAM A 2, HAM B 1"));
    bench.pick("A", "HAM", 1);
    assert_eq!(bench.holds(), "HAM A pending 1 posted 1, HAM B pending 1");
    bench.pick("A", "HAM", 1);
    bench.pick("B", "HAM", 1);
    assert_eq!((bench.stage(), bench.holds().as_str()), ("shipped", "HAM A posted 2, HAM B posted 1"));
    let errand = bench.take(Door::Channel).unwrap();
    let Load::Shipment(shipment) = &errand.load else { panic!("{errand:?}") };
    assert_eq!((shipment.reference.as_str(), shipment.lines.len()), ("T-1-1", 2));
    bench.record(errand.duty, done("f 1"));
    assert_eq!(bench.stage(), "done");
    bench.run(Duty::ReadSale, Report::NoInvoice);
    assert_eq!(bench.take(Door::Erp), None);
    bench.now_ms += 60_000;
    bench.run(Duty::ReadSale, done("INV-1"));
    assert_eq!(Standing::of(&bench.rows).unwrap().invoice.as_deref(), Some("INV-1"));
    assert_eq!((bench.take(Door::Erp), bench.take(Door::Channel)), (None, None));
}

#[test]
fn the_same_order_again_changes_nothing_and_another_one_is_a_revision() {
    let mut bench = Bench::new(policy(), &[("A", "HAM", 5)]);
    let first = order("1", &[line("a", "A", 3)]);
    assert_eq!(bench.capture(&first), Captured::New);
    let rows = bench.rows.len();
    assert_eq!(bench.capture(&first), Captured::Same);
    assert_eq!(bench.rows.len(), rows);
    // Nothing has gone out yet: the sale is only due.
    assert_eq!(bench.capture(&order("1", &[line("a", "A", 1)])), Captured::Revised);
    assert_eq!((bench.stage(), bench.holds().as_str()), ("held", "HAM A pending 3"));
    bench.ask(Command::Release).unwrap();
    assert_eq!(bench.holds(), "HAM A pending 1 voided 2");
    let mut paid = order("1", &[line("a", "A", 1)]).into_content();
    paid.payment = Payment::Authorized;
    assert_eq!(bench.capture(&Order::new(paid).unwrap()), Captured::Revised);
    assert_ne!(bench.stage(), "held");
}

#[test]
fn what_is_missing_waits_visibly_or_is_given_up() {
    let mut bench = Bench::new(policy(), &[("A", "HAM", 1)]);
    bench.capture(&order("1", &[line("a", "A", 2)]));
    assert_eq!((bench.stage(), bench.holds().as_str()), ("backordered", "HAM A pending 1"));
    assert!(bench.take(Door::Erp).is_none());
    bench.advance();
    bench.stock.insert((item("A"), site("MUC")), 4);
    bench.advance();
    assert_eq!((bench.stage(), bench.holds().as_str()), ("posting", "HAM A pending 1, MUC A pending 1"));

    let mut bench = Bench::new(Policy { when_short: WhenShort::Partial, ..policy() }, &[("A", "HAM", 1)]);
    bench.capture(&order("1", &[line("a", "A", 2)]));
    bench.run(Duty::PostSale, done("sale 7"));
    assert_eq!(bench.tasks(), "HAM A 1");
    bench.pick("A", "HAM", 1);
    assert_eq!(bench.stage(), "partly_shipped");
    bench.stock.insert((item("A"), site("HAM")), 4);
    bench.advance();
    assert_eq!(bench.tasks(), "HAM A 2", "what is asked in all has in it what was done");
    bench.pick("A", "HAM", 1);
    assert_eq!(bench.stage(), "shipped");
    bench.run(Duty::Confirm { shipment: 1 }, done("f 1"));
    bench.run(Duty::Confirm { shipment: 2 }, done("f 2"));
    assert_eq!(bench.stage(), "done");

    let mut bench = Bench::new(Policy { when_short: WhenShort::Cancel, ..policy() }, &[("A", "HAM", 1)]);
    bench.capture(&order("1", &[line("a", "A", 2)]));
    // A piece that was just picked counts as gone and as held for a moment: nothing is given up for that.
    assert_eq!((bench.stage(), bench.holds().as_str()), ("backordered", ""));
    bench.now_ms += 4_999;
    bench.advance();
    assert_eq!(bench.stage(), "backordered");
    bench.now_ms += 1;
    bench.advance();
    assert_eq!((bench.stage(), bench.holds().as_str()), ("cancelling", ""));
    bench.run(Duty::CancelAtChannel, Report::Done(None));
    assert_eq!(bench.stage(), "cancelled");
    assert_eq!(bench.take(Door::Erp), None);
}

#[test]
fn a_pick_that_is_undone_is_held_for_again() {
    let mut bench = Bench::new(Policy { leaves: Leaves::WhenShipped, ..policy() }, &[("A", "HAM", 5)]);
    bench.capture(&order("1", &[line("a", "A", 2)]));
    bench.run(Duty::PostSale, done("sale 7"));
    bench.pick("A", "HAM", 2);
    assert_eq!((bench.stage(), bench.holds().as_str()), ("picked", "HAM A posted 2"));
    bench.pick("A", "HAM", -1);
    assert_eq!(bench.holds(), "HAM A posted 2, HAM A pending 1");
    bench.pick("A", "HAM", 1);
    assert_eq!((bench.stage(), bench.holds().as_str()), ("picked", "HAM A posted 2, HAM A posted 1"));
    let ship =
        |tracking: &str| Command::Ship { key: "1".into(), carrier: None, tracking: Some(tracking.into()) };
    bench.ask(ship("JD1")).unwrap();
    assert_eq!(bench.stage(), "shipped");
    assert!(matches!(bench.ask(ship("JD2")), Err(Refused::State(_))));
    let other = Command::Ship { key: "2".into(), carrier: None, tracking: None };
    assert!(matches!(bench.ask(other), Err(Refused::State(_))));
}

#[test]
fn what_the_shelf_lacks_comes_from_elsewhere_and_stays_held_there() {
    let mut bench = Bench::new(policy(), &[("A", "HAM", 2), ("A", "MUC", 5)]);
    bench.capture(&order("1", &[line("a", "A", 2)]));
    bench.run(Duty::PostSale, done("sale 7"));
    bench.pick("A", "HAM", 1);
    bench.short("A", "HAM", 1);
    assert_eq!(bench.holds(), "HAM A pending 1 posted 1, MUC A pending 1");
    assert_eq!(bench.tasks(), "HAM A 2, MUC A 1");
    bench.pick("A", "MUC", 1);
    assert_eq!(bench.stage(), "shipped");
    assert_eq!(bench.holds(), "HAM A posted 1 voided 1, MUC A posted 1");
}

#[test]
fn an_order_that_is_given_up_is_undone_step_by_step() {
    let mut bench = Bench::new(policy(), &[("A", "HAM", 5)]);
    bench.capture(&order("1", &[line("a", "A", 2)]));
    bench.run(Duty::PostSale, done("sale 7"));
    bench.ask(Command::Cancel { reason: "changed their mind".into() }).unwrap();
    assert_eq!(
        (bench.stage(), bench.holds().as_str(), bench.tasks().as_str()),
        ("cancelling", "HAM A voided 2", "")
    );
    let errand = bench.take(Door::Erp).unwrap();
    let Load::Sale(sale) = &errand.load else { panic!("{errand:?}") };
    assert_eq!((errand.duty, sale.document.as_deref()), (Duty::CancelSale, Some("sale 7")));
    bench.record(Duty::CancelSale, done("sale 7"));
    let errand = bench.take(Door::Channel).unwrap();
    let Load::Cancellation(cancellation) = &errand.load else { panic!("{errand:?}") };
    assert_eq!((cancellation.reason.as_str(), cancellation.lines.len()), ("changed their mind", 1));
    bench.record(errand.duty, Report::Refused("it is sent already".into()));
    assert_eq!(
        (bench.stage(), bench.attention()),
        ("cancelled", "cancel_at_channel was refused: it is sent already")
    );
    bench.ask(Command::Release).unwrap();
    bench.run(Duty::CancelAtChannel, Report::Done(None));
    assert_eq!((bench.stage(), bench.attention()), ("cancelled", ""));
}

#[test]
fn an_unknown_outcome_waits_for_its_answer() {
    let mut bench = Bench::new(policy(), &[("A", "HAM", 5)]);
    bench.capture(&order("1", &[line("a", "A", 2)]));
    bench.run(Duty::PostSale, Report::Unknown("the line went dead".into()));
    assert_eq!((bench.stage(), bench.tasks().as_str()), ("posting", ""));
    assert_eq!(bench.take(Door::Erp), None, "not before its time");
    bench.now_ms += 60_000;
    // A crash: it is under way for ever, until somebody takes it again and looks.
    assert_eq!(bench.take(Door::Erp).unwrap().attempts, 1);
    assert_eq!(bench.take(Door::Erp).unwrap().attempts, 2);
    bench.ask(Command::Cancel { reason: "too slow".into() }).unwrap();
    assert_eq!(bench.stage(), "cancelling");
    // The sale may still come: it is looked for until no request can be under way any more.
    for _ in 0..2 {
        bench.run(Duty::CancelSale, Report::Absent);
        assert_eq!(bench.take(Door::Erp), None);
        bench.now_ms += 10 * 60_000;
    }
    bench.run(Duty::CancelSale, Report::Absent);
    bench.run(Duty::CancelAtChannel, Report::Done(None));
    assert_eq!(bench.stage(), "cancelled");
    // It came all the same.
    bench.record(Duty::PostSale, done("sale 7"));
    assert_eq!(bench.stage(), "cancelling");
    bench.run(Duty::CancelSale, done("sale 7"));
    assert_eq!(bench.stage(), "cancelled");
    bench.advance();
}

#[test]
fn checks_wait_for_a_word_or_for_time() {
    let check = |rule, otherwise| Check { name: "fraud".into(), rule, wait_ms: Some(1_000), otherwise };
    let with = |check: Check| {
        let mut bench = Bench::new(Policy { checks: vec![check], ..policy() }, &[("A", "HAM", 5)]);
        bench.capture(&order("1", &[line("a", "A", 2)]));
        bench
    };
    let word = |verdict| Command::Decide { check: "fraud".into(), verdict, reason: "looked".into() };
    let mut bench = with(check(Rule::Above(2_379), Verdict::Pass));
    assert_eq!((bench.stage(), bench.holds().as_str()), ("checking", "HAM A pending 2"));
    assert!(bench.attention().starts_with("fraud waits for a word"), "{}", bench.attention());
    assert_eq!(bench.take(Door::Erp), None);
    bench.ask(word(Verdict::Pass)).unwrap();
    assert_eq!(bench.stage(), "posting");
    assert!(matches!(bench.ask(word(Verdict::Reject)), Err(Refused::State(_))));
    assert_eq!(with(check(Rule::Above(2_380), Verdict::Pass)).stage(), "posting");
    let mut bench = with(check(Rule::Every, Verdict::Reject));
    let due = bench.head.as_ref().unwrap().desk_due_ms;
    assert_eq!(due, Some(bench.now_ms + 1_000));
    bench.now_ms += 1_000;
    bench.advance();
    assert_eq!((bench.stage(), bench.holds().as_str()), ("cancelling", "HAM A voided 2"));
    let mut bench = with(check(Rule::Unpaid, Verdict::Reject));
    assert_eq!(bench.stage(), "posting");
    assert!(matches!(bench.ask(word(Verdict::Pass)), Err(Refused::Field { field: "check", .. })));
}

#[test]
fn an_order_that_is_kept_back_is_not_picked() {
    let mut bench = Bench::new(policy(), &[("A", "HAM", 5)]);
    bench.capture(&order("1", &[line("a", "A", 2)]));
    bench.run(Duty::PostSale, done("sale 7"));
    bench.ask(Command::Hold { reason: "call the customer".into() }).unwrap();
    assert_eq!((bench.stage(), bench.tasks().as_str()), ("held", ""));
    assert_eq!((bench.holds().as_str(), bench.attention()), ("HAM A pending 2", "call the customer"));
    bench.ask(Command::Release).unwrap();
    assert_eq!((bench.stage(), bench.tasks().as_str()), ("picking", "HAM A 2"));
}

#[test]
fn what_cannot_be_so_is_shown_and_looked_at_again() {
    let mut bench = Bench::new(policy(), &[("A", "HAM", 5)]);
    bench.capture(&order("1", &[line("a", "NO-SUCH", 2)]));
    assert_eq!((bench.stage(), bench.attention()), ("faulted", "lines[0].sku: no item is sold as NO-SUCH"));
    assert_eq!(bench.head.as_ref().unwrap().desk_due_ms, Some(bench.now_ms + 60_000));
    bench.advance();
    let mut wrong = order("1", &[line("a", "A", 2)]).into_content();
    wrong.total.net += 100;
    bench.capture(&Order::new(wrong).unwrap());
    assert!(bench.attention().starts_with("total.net: "), "{}", bench.attention());
    bench.capture(&order("1", &[line("a", "A", 2)]));
    assert_eq!((bench.stage(), bench.attention()), ("posting", ""));
}

#[test]
fn what_comes_back_is_paid_back_once() {
    let mut bench = Bench::new(policy(), &[("A", "HAM", 5)]);
    bench.capture(&order("1", &[line("a", "A", 2)]));
    bench.run(Duty::PostSale, done("sale 7"));
    let back = |key: &str, steps| Command::Return {
        key: key.into(),
        lines: vec![(LineId::new("a").unwrap(), Quantity::pieces(steps))],
        reason: "too small".into(),
        refund: 1_190,
    };
    assert!(matches!(bench.ask(back("R-1", 1)), Err(Refused::Field { field: "lines", .. })));
    bench.pick("A", "HAM", 2);
    bench.ask(back("R-1", 1)).unwrap();
    assert!(matches!(bench.ask(back("R-1", 2)), Err(Refused::State(_))));
    assert!(matches!(bench.ask(back("R-2", 2)), Err(Refused::Field { field: "lines", .. })));
    bench.back("A", 1);
    assert_eq!(bench.stage(), "returned");
    let due: Vec<_> = bench.rows.iter().filter(|row| matches!(row.fact, Fact::RefundDue { .. })).collect();
    assert_eq!(due.len(), 1, "{due:?}");
    assert!(matches!(bench.ask(Command::Cancel { reason: "late".into() }), Err(Refused::State(_))));
}
