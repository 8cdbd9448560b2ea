//! Cases about tasks, and about the picture of a site that agents are told.

use stockwire_protocol::gs1::Sscc;
use stockwire_protocol::{
    Act, BizStep, Body, Code, Content, Correction, CorrectionReason, Count, Details, Event, Handling,
    LocationId, Lot, Movement, MovementId, Place, Purpose, Quantity, RawScan, Reference, Sequence, StationId,
    Task, TaskKind, TaskLine, Uom,
};

use super::{Bench, Make, agent, epoch, event, item, moved, place, site};
use crate::briefing::{CHANGES_LEDGER_MAX, Delta, Mark};
use crate::code::{CodeKey, Meaning};
use crate::dead_letter::DeadLetterId;
use crate::ingest::Replay;
use crate::store::{StoreError, TaskQuery};
use crate::task::{OPEN_LINES_MAX, TASK_LINES_MAX, TaskName, TaskRow, TaskState};

fn reference(id: &str) -> Reference {
    Reference::new(id).unwrap()
}

/// `SKU-1 5 A-01`: so much of it, from there; `>A-01` is where to.
fn line(text: &str) -> TaskLine {
    let [name, pieces, at] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let (from, to) = match (at, at.strip_prefix('>')) {
        ("-", _) => (None, None),
        (_, Some(to)) => (None, Some(LocationId::new(to).unwrap())),
        (from, None) => (Some(LocationId::new(from).unwrap()), None),
    };
    let quantity = Quantity::pieces(pieces.parse().unwrap());
    TaskLine { item: item(name), quantity, from, to, lot: None, expires_on: None }
}

fn task(kind: TaskKind, id: &str, lines: &[&str]) -> Task {
    Task {
        kind,
        id: reference(id),
        order: None,
        location: None,
        lines: lines.iter().map(|text| line(text)).collect(),
    }
}

fn count(id: &str, location: &str) -> Task {
    Task { location: Some(LocationId::new(location).unwrap()), ..task(TaskKind::Count, id, &[]) }
}

fn name(kind: TaskKind, id: &str) -> TaskName {
    TaskName { site: site("HAM"), id: reference(id), kind }
}

/// A step with pieces, for a task.
fn done(step: BizStep, name: &str, pieces: i64, (from, to): (&str, &str), details: Details) -> Event {
    event(
        1_000,
        Body::Movement(Movement {
            step,
            item: item(name),
            quantity: Quantity::pieces(pieces),
            from: place(from),
            to: place(to),
            station: StationId::new("S1").unwrap(),
            details,
        }),
    )
}

fn picked(name: &str, pieces: i64, from: &str, order: &str) -> Event {
    done(BizStep::Picking, name, pieces, (from, "customer"), super::referring(order))
}

fn received(name: &str, pieces: i64, to: &str, details: Details) -> Event {
    done(BizStep::Receiving, name, pieces, ("supplier", to), details)
}

fn short(name: &str, pieces: i64, location: &str, order: &str) -> Event {
    let handling = Handling {
        act: Act::Short,
        content: Some(Content::Goods { item: item(name), quantity: Quantity::pieces(pieces) }),
        location: Some(LocationId::new(location).unwrap()),
        station: StationId::new("S1").unwrap(),
        details: super::referring(order),
    };
    event(1_000, Body::Handling(handling))
}

/// A task in one line: its state, then `done/short/open` of each line, then what no line asks for.
fn told(row: &TaskRow) -> String {
    let lines = row.asked.lines.iter().zip(&row.lines);
    let mut words = vec![row.state.as_str().to_string()];
    words.extend(lines.map(|(line, outcome)| {
        format!("{}/{}/{}", outcome.done, outcome.short, outcome.open(line.quantity.steps))
    }));
    words.extend(row.beyond.iter().map(|done| format!("+{} {}", done.quantity.decimal(), done.item)));
    words.join(" ")
}

impl Bench {
    fn ask(&mut self, task: &Task) -> String {
        let now = self.tick();
        told(&self.store.put_task(now, &site("HAM"), task).unwrap())
    }

    fn task(&self, kind: TaskKind, id: &str) -> String {
        self.store.task(&name(kind, id)).unwrap().map_or_else(|| "none".into(), |row| told(&row))
    }

    #[track_caller]
    fn refuse(&mut self, task: &Task, why: &str) {
        match self.store.put_task(1, &site("HAM"), task) {
            Err(StoreError::Refused { reason }) => assert!(reason.contains(why), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn a_task_is_done_by_what_names_it(make: Make<'_>) {
    use TaskKind::Pick;
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 50), ("SKU-2", "A-02", 50)]);
    let order = task(Pick, "SO-7", &["SKU-1 5 A-01", "SKU-2 3 A-02"]);
    assert_eq!(bench.ask(&order), "open 0/0/5 0/0/3");
    let asked = bench.store.task(&name(Pick, "SO-7")).unwrap().unwrap();
    bench.record(&[picked("SKU-1", 2, "A-01", "SO-7"), picked("SKU-1", 9, "A-01", "SO-8")]);
    assert_eq!(bench.task(Pick, "SO-7"), "open 2/0/3 0/0/3");
    let row = bench.store.task(&name(Pick, "SO-7")).unwrap().unwrap();
    assert_eq!(row.open().lines.len(), 2);
    assert_eq!(row.open().lines[0].quantity, Quantity::pieces(3));
    assert_eq!((row.created_at_ms, row.asked), (asked.created_at_ms, order.clone()));
    assert!(row.changed_at_ms > asked.changed_at_ms);
    // Only taking it is picking it.
    bench.record(&[done(BizStep::Storing, "SKU-1", 1, ("A-01", "A-02"), super::referring("SO-7"))]);
    assert_eq!(bench.task(Pick, "SO-7"), "open 2/0/3 0/0/3");
    bench.record(&[picked("SKU-1", 3, "A-02", "SO-7"), short("SKU-2", 2, "A-02", "SO-7")]);
    assert_eq!(bench.task(Pick, "SO-7"), "open 5/0/0 0/2/1");
    bench.record(&[picked("SKU-2", 1, "A-02", "SO-7")]);
    assert_eq!(bench.task(Pick, "SO-7"), "done 5/0/0 1/2/0");
    // An undo opens it again.
    let undone = MovementId { agent: agent("box-1"), epoch: epoch(1), sequence: Sequence::new(5) };
    let corrects = Some(Correction { movement: undone, reason: CorrectionReason::DidNotOccur });
    let details = Details { corrects, ..super::referring("SO-7") };
    bench.record(&[done(BizStep::Picking, "SKU-2", 1, ("customer", "A-02"), details)]);
    assert_eq!(bench.task(Pick, "SO-7"), "open 5/0/0 0/2/1");
    bench.record(&[picked("SKU-2", 4, "A-02", "SO-7"), picked("SKU-3", 1, "A-01", "SO-7")]);
    assert_eq!(bench.task(Pick, "SO-7"), "done 5/0/0 4/0/0 +1 SKU-3");
    // What came again changes nothing.
    bench.send(1, &[picked("SKU-1", 2, "A-01", "SO-7")]);
    assert_eq!(bench.task(Pick, "SO-7"), "done 5/0/0 4/0/0 +1 SKU-3");
    bench.prove();
}

pub(crate) fn asking_twice_is_asking_once(make: Make<'_>) {
    use TaskKind::Pick;
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 50)]);
    let order = task(Pick, "SO-7", &["SKU-1 5 A-01"]);
    bench.ask(&order);
    bench.record(&[picked("SKU-1", 2, "A-01", "SO-7")]);
    let before = bench.store.task(&name(Pick, "SO-7")).unwrap();
    let mark = bench.store.marks().unwrap();
    assert_eq!(bench.ask(&order), "open 2/0/3");
    assert_eq!(
        (bench.store.task(&name(Pick, "SO-7")).unwrap(), bench.store.marks().unwrap()),
        (before, mark)
    );
    // Anew: what was done counts against what is asked now.
    assert_eq!(bench.ask(&task(Pick, "SO-7", &["SKU-1 2 A-01"])), "done 2/0/0");
    assert_eq!(bench.ask(&task(Pick, "SO-7", &["SKU-1 8 A-01", "SKU-2 1 -"])), "open 2/0/6 0/0/1");
    assert_eq!(bench.ask(&task(Pick, "SO-7", &["SKU-2 1 -"])), "open 0/0/1 +2 SKU-1");
    // The same number under another kind is another task.
    assert_eq!(bench.ask(&task(TaskKind::Replenish, "SO-7", &["SKU-1 8 >A-02"])), "open 0/0/8");
    assert_eq!(bench.task(Pick, "SO-7"), "open 0/0/1 +2 SKU-1");
}

pub(crate) fn goods_may_be_there_before_the_paper(make: Make<'_>) {
    use TaskKind::{Pick, Receive};
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 50)]);
    bench.record(&[
        received("SKU-1", 3, "IN", super::referring("PO-1")),
        received("NEW", 3, "IN", super::referring("PO-1")),
        picked("SKU-1", 1, "A-01", "PO-1"),
    ]);
    assert_eq!(bench.ask(&task(Receive, "PO-1", &["SKU-1 5 >IN"])), "open 3/0/2");
    // Withdrawn: what is done meanwhile is in when it is asked for again, once.
    assert!(bench.store.withdraw_task(9, &name(Receive, "PO-1")).unwrap());
    assert!(!bench.store.withdraw_task(9, &name(Receive, "PO-1")).unwrap());
    assert!(!bench.store.withdraw_task(9, &name(Pick, "PO-1")).unwrap());
    bench.record(&[received("SKU-1", 1, "IN", super::referring("PO-1"))]);
    assert_eq!(bench.task(Receive, "PO-1"), "withdrawn 3/0/2");
    assert_eq!(bench.ask(&task(Receive, "PO-1", &["SKU-1 5 >IN"])), "open 4/0/1");
    bench.record(&[received("SKU-1", 1, "IN", super::referring("PO-1"))]);
    assert_eq!(bench.task(Receive, "PO-1"), "done 5/0/0");
    bench.prove();
}

pub(crate) fn a_plate_does_its_own_task_and_its_orders(make: Make<'_>) {
    use TaskKind::{Announced, Receive};
    let mut bench = Bench::new(make);
    let sscc = (0..10).find_map(|digit| Sscc::from_u64(340_000_000_000_000_010 + digit).ok()).unwrap();
    let plate = sscc.to_string();
    bench.ask(&task(Receive, "PO-1", &["SKU-1 10 >IN"]));
    let announced = Task { order: Some(reference("PO-1")), ..task(Announced, &plate, &["SKU-1 6 >IN"]) };
    assert_eq!(bench.ask(&announced), "open 0/0/6");
    let on = |order: Option<&str>| Details {
        license_plate: Some(sscc),
        reference: order.map(reference),
        ..Details::default()
    };
    bench.record(&[received("SKU-1", 4, "IN", on(None))]);
    assert_eq!(
        (bench.task(Announced, &plate), bench.task(Receive, "PO-1")),
        ("open 4/0/2".into(), "open 4/0/6".into())
    );
    // With the order's own number on it, it is counted once all the same.
    bench.record(&[received("SKU-1", 2, "IN", on(Some("PO-1")))]);
    assert_eq!(
        (bench.task(Announced, &plate), bench.task(Receive, "PO-1")),
        ("done 6/0/0".into(), "open 6/0/4".into())
    );
    // The order comes after the goods.
    bench.ask(&Task { order: Some(reference("PO-2")), ..announced });
    assert_eq!(bench.ask(&task(Receive, "PO-2", &["SKU-1 4 >IN"])), "done 4/0/0");
    bench.prove();
}

pub(crate) fn a_count_task_is_done_by_counting(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 50)]);
    let counting = |name: &str, pieces, order: &str| {
        event(
            1_000,
            Body::Count(Count {
                item: item(name),
                counted: Quantity::pieces(pieces),
                location: LocationId::new("A-01").unwrap(),
                station: StationId::new("S1").unwrap(),
                details: super::referring(order),
            }),
        )
    };
    assert_eq!(bench.ask(&count("CNT-1", "A-01")), "open");
    bench.record(&[counting("SKU-1", 48, "CNT-2")]);
    assert_eq!(bench.task(TaskKind::Count, "CNT-1"), "open");
    bench.record(&[
        counting("SKU-1", 48, "CNT-1"),
        counting("SKU-2", 0, "CNT-1"),
        counting("SKU-1", 47, "CNT-1"),
    ]);
    assert_eq!(bench.task(TaskKind::Count, "CNT-1"), "done +47 SKU-1 +0 SKU-2", "the last word of each");
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 47");
}

pub(crate) fn a_task_without_sense_is_refused(make: Make<'_>) {
    use TaskKind::{Announced, Count, Pick};
    let mut bench = Bench::new(make);
    bench.refuse(&task(Pick, "SO-7", &[]), "lines: a pick task needs at least one");
    bench.refuse(&task(Count, "CNT-1", &[]), "location: a count task names the location");
    bench.refuse(&task(Pick, "SO-7", &["NEW 1 -"]), "item NEW is not in the catalogue");
    bench.refuse(&task(Pick, "SO-7", &["SKU-1 1 B-99"]), "site HAM has no location B-99");
    bench.refuse(&task(Pick, "SO-7", &["SKU-1 0 A-01"]), "lines[0].quantity");
    bench.refuse(&count("CNT-1", "B-99"), "site HAM has no location B-99");
    bench.refuse(&task(Announced, "PLT", &["SKU-1 1 -"]), "18 digits");
    let mut kilograms = task(Pick, "SO-7", &["SKU-1 1 -"]);
    kilograms.lines[0].quantity.uom = Uom::Kilogram;
    bench.refuse(&kilograms, "booked in H87, the line says KGM");
    let ordered = Task { order: Some(reference("PO-1")), ..task(Pick, "SO-7", &["SKU-1 1 -"]) };
    bench.refuse(&ordered, "order: only an announced plate has one");
    let many = Task { lines: vec![line("SKU-1 1 -"); TASK_LINES_MAX + 1], ..task(Pick, "SO-7", &[]) };
    bench.refuse(&many, "at most 500");
    let refused = bench.store.put_task(1, &site("NONE"), &task(Pick, "SO-7", &["SKU-1 1 -"]));
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    assert_eq!(bench.store.tasks(&TaskQuery::default()).unwrap().rows, [], "nothing of it was kept");
    // A line in another unit of the same kind is kept in the item's own.
    let mut grams = task(Pick, "SO-7", &["WEIGHED 1 -"]);
    grams.lines[0].quantity = Quantity::parse("1500", Uom::Gram).unwrap();
    bench.ask(&grams);
    let row = bench.store.task(&name(Pick, "SO-7")).unwrap().unwrap();
    assert_eq!(row.asked.lines[0].quantity, Quantity::parse("1.5", Uom::Kilogram).unwrap());
}

pub(crate) fn a_site_has_no_more_tasks_than_its_boxes_hold(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let full = |n: usize| Task {
        lines: vec![line("SKU-1 1 -"); TASK_LINES_MAX],
        ..task(TaskKind::Pick, &format!("SO-{n}"), &[])
    };
    let tasks = OPEN_LINES_MAX / TASK_LINES_MAX;
    for n in 0..tasks {
        bench.store.put_task(1, &site("HAM"), &full(n)).unwrap();
    }
    bench.refuse(&full(tasks), "withdraw what is not to be done any more");
    assert_eq!(bench.task(TaskKind::Pick, &format!("SO-{tasks}")), "none");
    bench.store.put_task(1, &site("MUC"), &full(tasks)).unwrap();
    assert!(bench.store.withdraw_task(2, &name(TaskKind::Pick, "SO-0")).unwrap());
    bench.store.put_task(1, &site("HAM"), &full(tasks)).unwrap();
}

pub(crate) fn tasks_are_listed_without_hole_or_repeat(make: Make<'_>) {
    use TaskKind::{Pick, Receive, Replenish};
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 50)]);
    for (kind, id) in [(Pick, "SO-2"), (Receive, "PO-1"), (Pick, "SO-1"), (Replenish, "SO-1")] {
        bench.ask(&task(kind, id, &["SKU-1 1 A-01"]));
    }
    bench.store.put_task(1, &site("MUC"), &task(Pick, "SO-0", &["SKU-1 1 A-01"])).unwrap();
    bench.record(&[picked("SKU-1", 1, "A-01", "SO-2")]);
    bench.store.withdraw_task(1, &name(Receive, "PO-1")).unwrap();
    let list = |query: TaskQuery| {
        let mut query = TaskQuery { limit: 2, ..query };
        let mut seen = Vec::new();
        loop {
            let page = bench.store.tasks(&query).unwrap();
            assert!(page.rows.len() <= 2);
            seen.extend(page.rows.iter().map(|row| {
                format!("{}/{} {} {}", row.site, row.asked.id, row.asked.kind.as_str(), row.state.as_str())
            }));
            match page.next {
                Some(next) => query.after = Some(next),
                None => return seen.join(", "),
            }
        }
    };
    assert_eq!(
        list(TaskQuery::default()),
        "HAM/PO-1 receive withdrawn, HAM/SO-1 pick open, HAM/SO-1 replenish open, HAM/SO-2 pick done, MUC/SO-0 pick open"
    );
    assert_eq!(
        list(TaskQuery { site: Some(site("HAM")), state: Some(TaskState::Open), ..TaskQuery::default() }),
        "HAM/SO-1 pick open, HAM/SO-1 replenish open"
    );
    assert_eq!(
        list(TaskQuery { kind: Some(Pick), ..TaskQuery::default() }),
        "HAM/SO-1 pick open, HAM/SO-2 pick done, MUC/SO-0 pick open"
    );
}

pub(crate) fn a_code_said_later_does_its_task(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 50)]);
    bench.ask(&task(TaskKind::Pick, "SO-7", &["SKU-1 5 A-01"]));
    let what = Code::Scanned(RawScan::new("OLD-7").unwrap());
    let purpose = Purpose::Move {
        step: BizStep::Picking,
        from: Code::Known(place("A-01")),
        to: Code::Known(Place::Customer),
    };
    bench.record(&[super::codes::unresolved(what, 5, purpose, super::referring("SO-7"))]);
    assert_eq!(bench.task(TaskKind::Pick, "SO-7"), "open 0/0/5");
    let code = CodeKey::Text("OLD-7".into());
    bench.store.put_alias(1, "anna", &code, &Meaning::Item(item("SKU-1"))).unwrap();
    let replayed = bench.ingest.replay(bench.store.as_mut(), 10, DeadLetterId(1), "anna").unwrap();
    assert_eq!(replayed, Replay::Applied);
    assert_eq!(bench.task(TaskKind::Pick, "SO-7"), "done 5/0/0");
    let again = bench.ingest.replay(bench.store.as_mut(), 11, DeadLetterId(1), "anna").unwrap();
    assert_eq!(again, Replay::AlreadyClosed);
    assert_eq!(bench.task(TaskKind::Pick, "SO-7"), "done 5/0/0");
    // Asked for under another number afterwards, it is read from what was recorded: as what it was taken for.
    assert_eq!(bench.ask(&task(TaskKind::Pick, "SO-8", &["SKU-1 5 A-01"])), "open 0/0/5");
    bench.store.withdraw_task(12, &name(TaskKind::Pick, "SO-7")).unwrap();
    assert_eq!(bench.ask(&task(TaskKind::Pick, "SO-7", &["SKU-1 6 A-01"])), "open 5/0/1");
}

/// A picture in one line: tasks with what is open, those that are gone, bins.
fn picture(bench: &Bench, since: Option<Mark>) -> String {
    let picture = match bench.store.picture(&site("HAM"), since).unwrap() {
        Delta::Changes(picture) => picture,
        Delta::Nothing => return "nothing".into(),
        Delta::TooMany => return "too many".into(),
    };
    let open = |task: &Task| {
        let lines = task.lines.iter().map(|line| format!(" {}", line.quantity.decimal()));
        format!("{}{}", task.id, lines.collect::<String>())
    };
    let words = |list: Vec<String>| list.join(", ");
    format!(
        "{} | -{} | {}",
        words(picture.tasks.iter().map(open).collect()),
        words(picture.gone.iter().map(|(_, id)| id.to_string()).collect()),
        words(
            picture
                .bins
                .unwrap()
                .iter()
                .map(|bin| {
                    let items =
                        bin.items.iter().map(|(item, quantity)| format!(" {item} {}", quantity.decimal()));
                    format!("{}{}", bin.location, items.collect::<String>())
                })
                .collect()
        ),
    )
}

fn mark(bench: &Bench) -> Mark {
    let marks = bench.store.marks().unwrap();
    Mark { tasks: marks.tasks.get(&site("HAM")).copied().unwrap_or_default(), ledger: marks.ledger }
}

pub(crate) fn a_picture_tells_what_is_to_be_done_and_what_lies_where(make: Make<'_>) {
    use TaskKind::{Pick, Receive};
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 50), ("SKU-2", "A-02", 7)]);
    assert_eq!(bench.store.picture(&site("NONE"), None).unwrap(), Delta::Nothing);
    bench.ask(&task(Pick, "SO-7", &["SKU-1 5 A-01", "SKU-2 3 A-02"]));
    bench.ask(&task(Receive, "PO-1", &["SKU-1 5 -"]));
    let start = mark(&bench);
    assert_eq!(picture(&bench, None), "PO-1 5, SO-7 5 3 | - | A-01 SKU-1 50, A-02 SKU-2 7");
    assert_eq!(picture(&bench, Some(start)), "nothing");
    // Nobody's task, another site's shelf.
    let elsewhere = super::batch("box-2", 1, 1, &[moved("SKU-1", 1, "supplier", "A-01")]);
    let topic = super::topic_of("MUC", &elsewhere);
    bench.publish(&[(topic, stockwire_protocol::cbor::Message::encode(&elsewhere))]);
    assert_eq!(picture(&bench, Some(start)), "nothing");
    bench.record(&[picked("SKU-2", 3, "A-02", "SO-7")]);
    assert_eq!(picture(&bench, Some(start)), "SO-7 5 | - | A-02 SKU-2 4");
    let second = mark(&bench);
    bench.record(&[picked("SKU-1", 5, "A-01", "SO-7"), moved("SKU-2", 4, "A-02", "A-01")]);
    assert_eq!(picture(&bench, Some(second)), " | -SO-7 | A-01 SKU-1 45 SKU-2 4, A-02");
    assert_eq!(picture(&bench, Some(start)), " | -SO-7 | A-01 SKU-1 45 SKU-2 4, A-02");
    bench.store.withdraw_task(9, &name(Receive, "PO-1")).unwrap();
    assert_eq!(picture(&bench, None), " | - | A-01 SKU-1 45 SKU-2 4");
    // Bins by lot are one bin, and by their other names they are there once more.
    let lot = Details { lot: Some(Lot::new("L1").unwrap()), ..Details::default() };
    bench.record(&[super::movement("SKU-1", Quantity::pieces(5), "supplier", "A-01", lot)]);
    let code = CodeKey::Text("OLD-1".into());
    let meaning = Meaning::Place(site("HAM"), LocationId::new("A-01").unwrap());
    bench.store.put_alias(1, "anna", &code, &meaning).unwrap();
    assert_eq!(picture(&bench, None), " | - | A-01 SKU-1 50 SKU-2 4, OLD-1 SKU-1 50 SKU-2 4");
    // How far the agent's own journal is in it.
    let Delta::Changes(whole) = bench.store.picture(&site("HAM"), None).unwrap() else { panic!() };
    let agents: Vec<_> = whole.agents.iter().map(|(who, at)| (who.to_string(), at.watermark.get())).collect();
    assert_eq!(agents, [("box-1".to_string(), 4)]);
    assert_eq!(whole.mark, mark(&bench));
}

pub(crate) fn too_much_news_is_a_new_picture(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 50)]);
    let start = mark(&bench);
    let events: Vec<Event> =
        (0..CHANGES_LEDGER_MAX + 1).map(|_| moved("SKU-1", 1, "supplier", "A-01")).collect();
    for chunk in events.chunks(stockwire_protocol::cbor::BATCH_EVENTS_MAX) {
        bench.record(chunk);
    }
    assert_eq!(picture(&bench, Some(start)), "too many");
    assert_eq!(picture(&bench, None), format!(" | - | A-01 SKU-1 {}", CHANGES_LEDGER_MAX + 51));
}
