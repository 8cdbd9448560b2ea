use stockwire_protocol::Uom;

use super::*;

fn key() -> OrderKey {
    OrderKey { channel: ChannelId::new("shop").unwrap(), order: Reference::new("S-1").unwrap() }
}

fn pieces(steps: i64) -> Quantity {
    Quantity { steps, uom: Uom::Piece }
}

fn line(line: u32, item: &str, steps: i64) -> Line {
    let (item, site) = (ItemId::new(item).unwrap(), SiteId::new("HAM").unwrap());
    Line { line, item, site, quantity: pieces(steps) }
}

fn request(lines: Vec<Line>) -> Request {
    Request { order: key(), account: None, priority: Priority::ORDINARY, firmness: Firmness::Hard, lines }
}

fn hold(id: u64, line: Line) -> Reservation {
    let (order, priority) = (key(), Priority::ORDINARY);
    let ended = Ended::default();
    Reservation { id, order, line, account: None, priority, firmness: Firmness::Hard, at_ms: 0, ended }
}

fn known(on_hand: i64, reserved: i64, held: Vec<Reservation>) -> Known {
    let shelf = Shelf { on_hand, reserved, ..Shelf::default() };
    let of = |item: &str| (ItemId::new(item).unwrap(), SiteId::new("HAM").unwrap());
    let shelves = BTreeMap::from([(of("MUG"), shelf.clone()), (of("CUP"), shelf)]);
    Known { held, shelves, escrow: Vec::new() }
}

fn account(name: &str) -> AccountId {
    AccountId::new(name).unwrap()
}

fn part(line: u32, steps: i64) -> LinePart {
    LinePart { line, site: SiteId::new("HAM").unwrap(), quantity: pieces(steps) }
}

fn resolution(step: Step, part: Part) -> Resolution {
    Resolution { order: key(), key: "K-1".into(), step, part }
}

#[test]
fn a_request_is_taken_whole_or_not_at_all() {
    let two = request(vec![line(1, "MUG", 3), line(2, "CUP", 6)]);
    assert_eq!(decide(&two, &known(6, 0, vec![])).unwrap(), two.lines);
    let refused = decide(&two, &known(5, 0, vec![])).unwrap_err();
    assert_eq!(refused.to_string(), "not enough to promise: CUP at HAM: 6 wanted, 5 available");
    let Refused::Short(short) = decide(&two, &known(5, 5, vec![])).unwrap_err() else { panic!("not short") };
    assert_eq!(short.len(), 2, "everything that is short is told at once");
}

#[test]
fn demand_is_summed_before_it_is_compared() {
    let twice = request(vec![line(1, "MUG", 1), line(2, "MUG", 1)]);
    let refused = decide(&twice, &known(1, 0, vec![])).unwrap_err();
    assert_eq!(refused.to_string(), "not enough to promise: MUG at HAM: 2 wanted, 1 available");
}

#[test]
fn what_channels_may_sell_is_for_their_orders() {
    let at = |name: &str| SiteId::new(name).unwrap();
    let mug = ItemId::new("MUG").unwrap();
    let at_muc = |line: Line| Line { site: at("MUC"), ..line };
    let mut known = known(5, 0, vec![]);
    let shelf = Shelf { on_hand: 5, kept: BTreeMap::from([(account("big"), 2)]), ..Shelf::default() };
    known.shelves.insert((mug.clone(), at("MUC")), shelf);
    known.escrow = vec![Escrowed { item: mug, sites: vec![at("HAM"), at("MUC")], free_steps: 3 }];
    // The demand at all sites of a pool is one demand.
    let both = request(vec![line(1, "MUG", 2), at_muc(line(2, "MUG", 2))]);
    let refused = decide(&both, &known).unwrap_err();
    let text = "not enough to promise: MUG at HAM: 2 wanted, 1 available, MUG at MUC: 2 wanted, 1 available";
    assert_eq!(refused.to_string(), text);
    let less = request(vec![line(1, "MUG", 2), at_muc(line(2, "MUG", 1))]);
    assert!(decide(&less, &known).is_ok());
    // What is kept for a buyer is in nobody's escrow.
    let big = Request { account: Some(account("big")), ..both };
    assert!(decide(&big, &known).is_ok());
    assert!(decide(&request(vec![line(1, "CUP", 5)]), &known).is_ok());
}

#[test]
fn a_request_that_comes_again_changes_nothing_and_another_is_refused() {
    let held = vec![hold(1, line(1, "MUG", 3))];
    assert_eq!(decide(&request(vec![line(1, "MUG", 3)]), &known(3, 3, held.clone())).unwrap(), []);
    let refused = decide(&request(vec![line(1, "MUG", 4)]), &known(9, 3, held.clone())).unwrap_err();
    assert_eq!(refused.to_string(), "line 1 at HAM is held already, as 3 H87 of MUG");
    // A new line of the same order is compared with what is left.
    let more = request(vec![line(1, "MUG", 3), line(2, "MUG", 2)]);
    assert_eq!(decide(&more, &known(5, 3, held.clone())).unwrap(), [line(2, "MUG", 2)]);
    assert!(matches!(decide(&more, &known(4, 3, held)), Err(Refused::Short(_))));
}

#[test]
fn only_what_expired_may_be_reserved_anew() {
    let mut ended = hold(1, line(1, "MUG", 3));
    ended.ended.voided = 3;
    let again = request(vec![line(1, "MUG", 3)]);
    assert_eq!(decide(&again, &known(9, 0, vec![ended.clone()])).unwrap(), [], "cancelled stays cancelled");
    ended.ended = Ended { expired: 3, ..Ended::default() };
    assert_eq!(decide(&again, &known(9, 0, vec![ended.clone()])).unwrap(), again.lines);
    // Reserved anew: the newest counts.
    let held = vec![ended, hold(2, line(1, "MUG", 3))];
    assert_eq!(decide(&again, &known(9, 3, held.clone())).unwrap(), []);
    let all = resolution(Step::Confirm, Part::All);
    assert_eq!(resolve(&all, &held, &[]).unwrap(), [Entry { reservation: 2, step: Step::Confirm, steps: 0 }]);
}

#[test]
fn what_is_kept_for_an_account_is_only_its_own() {
    let mut shelf = Shelf { on_hand: 10, reserved: 2, ..Shelf::default() };
    shelf.kept = BTreeMap::from([(account("K"), 3), (account("L"), 1)]);
    assert_eq!(shelf.available_to_promise(None), 4);
    assert_eq!(shelf.available_to_promise(Some(&account("K"))), 7);
    assert_eq!(shelf.available_to_promise(Some(&account("M"))), 4);
    shelf.on_hand = 1;
    assert_eq!(shelf.available_to_promise(None), -5, "oversold is told, not hidden");
}

#[test]
fn what_channels_may_sell_is_nobody_elses_at_any_site() {
    let (item, site) = (|| ItemId::new("A").unwrap(), |name: &str| SiteId::new(name).unwrap());
    let shelf = |on_hand| Shelf { on_hand, ..Shelf::default() };
    let shelves = [
        ((item(), site("HAM")), shelf(5)),
        ((item(), site("MUC")), shelf(3)),
        ((item(), site("ZRH")), shelf(2)),
    ];
    let escrow = Escrowed { item: item(), sites: vec![site("HAM"), site("MUC")], free_steps: 6 };
    let known = Known { shelves: shelves.into(), escrow: vec![escrow], ..Known::default() };
    let available: Vec<i64> = known.available(None).into_values().collect();
    assert_eq!(available, [5, 1, 2], "six of the eight at the first two, and what lies elsewhere");
}

#[test]
fn each_unit_ends_once() {
    let mut held = vec![hold(1, line(1, "MUG", 5)), hold(2, line(2, "CUP", 2))];
    let post = |steps| resolution(Step::End(End::Posted), Part::Lines(vec![part(1, steps)]));
    let posted = |steps| Entry { reservation: 1, step: Step::End(End::Posted), steps };
    assert_eq!(resolve(&post(3), &held, &[]).unwrap(), [posted(3)]);
    held[0].ended.posted = 3;
    assert_eq!(resolve(&post(3), &held, &[posted(3)]).unwrap(), [], "the same key again");
    assert_eq!(
        resolve(&post(2), &held, &[posted(3)]).unwrap_err().to_string(),
        "key \"K-1\" was used for another resolution of this order"
    );
    let refused = resolve(&post(3), &held, &[]).unwrap_err();
    assert_eq!(refused.to_string(), "line 1 at HAM has 2 H87 pending, not 3 H87");
    let twice = resolution(Step::End(End::Posted), Part::Lines(vec![part(1, 1), part(1, 2)]));
    let refused = resolve(&twice, &held, &[]).unwrap_err();
    assert_eq!(refused.to_string(), "lines[1].line: line 1 at HAM stands there twice");
    // Stored by number, repeated in the order in which it was asked.
    let backwards = resolution(Step::End(End::Posted), Part::Lines(vec![part(2, 2), part(1, 3)]));
    let second = Entry { reservation: 2, step: Step::End(End::Posted), steps: 2 };
    assert_eq!(resolve(&backwards, &held, &[posted(3), second]).unwrap(), []);
    let none = resolution(Step::End(End::Voided), Part::Lines(vec![part(3, 1)]));
    assert_eq!(resolve(&none, &held, &[]).unwrap_err().to_string(), "line 3 at HAM is not held");
    let zero = resolution(Step::End(End::Voided), Part::Lines(vec![part(1, 0)]));
    assert!(matches!(resolve(&zero, &held, &[]), Err(Refused::NotPending { .. })));

    let all = resolution(Step::End(End::Voided), Part::All);
    let voided = |reservation, steps| Entry { reservation, step: Step::End(End::Voided), steps };
    assert_eq!(resolve(&all, &held, &[]).unwrap(), [voided(1, 2), voided(2, 2)]);
    assert_eq!(resolve(&all, &held, &[voided(1, 2), voided(2, 2)]).unwrap(), []);
    assert_eq!(resolve(&all, &[], &[]).unwrap(), [], "cancelling what is cancelled is no fault");
}

#[test]
fn soft_holds_end_by_themselves_and_hard_ones_do_not() {
    let mut soft = hold(1, line(1, "MUG", 5));
    soft.firmness = Firmness::Soft { until_ms: 100 };
    let hard = hold(2, line(2, "MUG", 5));
    let held = vec![soft.clone(), hard];
    assert_eq!(expire(&held, 99), []);
    let expired = Entry { reservation: 1, step: Step::End(End::Expired), steps: 5 };
    assert_eq!(expire(&held, 100), [expired]);
    soft.ended.expired = 5;
    assert_eq!(expire(&[soft.clone()], 100), []);
    // Paying for a hold that is gone must be told.
    let late = resolve(&resolution(Step::Confirm, Part::All), &[soft.clone()], &[]).unwrap_err();
    assert_eq!(late.to_string(), "line 1 at HAM has 0 H87 pending, not 5 H87");
    let late = resolution(Step::Confirm, Part::Lines(vec![part(1, 5)]));
    assert!(matches!(resolve(&late, &[soft], &[]), Err(Refused::NotPending { .. })));
}

#[test]
fn the_lowest_priority_gives_way_first_then_soft_then_young() {
    let with = |id, priority, firmness, steps| {
        let mut hold = hold(id, line(id as u32, "MUG", steps));
        (hold.priority, hold.firmness) = (Priority::new(priority).unwrap(), firmness);
        hold
    };
    let soft = Firmness::Soft { until_ms: 9 };
    let held = [
        with(1, 9, Firmness::Hard, 2),
        with(2, 5, Firmness::Hard, 2),
        with(3, 5, soft, 2),
        with(4, 5, Firmness::Hard, 2),
        with(5, 1, Firmness::Hard, 1),
    ];
    assert_eq!(give_way(&held, 0), []);
    assert_eq!(give_way(&held, 2), [(5, 1), (3, 1)]);
    assert_eq!(give_way(&held, 6), [(5, 1), (3, 2), (4, 2), (2, 1)]);
    assert_eq!(give_way(&held, 99).iter().map(|(_, steps)| steps).sum::<i64>(), 9);
}

#[test]
fn a_request_that_makes_no_sense_names_the_field() {
    let told = |request: &Request| check(request, 1_000).map_err(|refused| refused.to_string());
    assert_eq!(told(&request(vec![line(1, "MUG", 1)])), Ok(()));
    assert_eq!(told(&request(vec![])).unwrap_err(), "lines: expected 1 to 1000, got 0");
    assert_eq!(
        told(&request(vec![line(1, "MUG", 1), line(1, "CUP", 1)])).unwrap_err(),
        "lines[1].line: line 1 at HAM stands there twice"
    );
    assert_eq!(
        told(&request(vec![line(1, "MUG", 0)])).unwrap_err(),
        "lines[0].quantity: expected more than 0, got 0 H87"
    );
    let until =
        |until_ms| Request { firmness: Firmness::Soft { until_ms }, ..request(vec![line(1, "MUG", 1)]) };
    assert_eq!(told(&until(1_000 + SOFT_MS_MAX)), Ok(()));
    for until_ms in [1_000, 0, 1_001 + SOFT_MS_MAX] {
        let told = told(&until(until_ms)).unwrap_err();
        assert_eq!(told, "until_ms: expected a time within the next seven days");
    }
    assert_eq!(Priority::new(10), None);
    assert_eq!(Priority::new(9).map(Priority::get), Some(9));
}
