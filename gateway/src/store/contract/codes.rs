//! Cases about what codes mean, about item rules, and about the catalogue as agents are told it.

use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{
    BizStep, Catalogue, Code, Details, Event, ItemId, ItemRules, LocationId, Lot, PieceWeight, Place,
    Purpose, Quantity, RawScan, StationId, Unresolved, Uom,
};

use super::{Bench, Make, erp, event, item, moved, place, referring, site, snapshot};
use crate::briefing::{CHANGES_ROWS_MAX, Delta};
use crate::catalogue::{Item, changes_revision, snapshot_revision};
use crate::code::{self, CodeKey, Meaning};
use crate::dead_letter::DeadLetterId;
use crate::ingest::Replay;
use crate::store::StoreError;

const EAN: &str = "4006381333931";
const PACK: &str = "04012345123456";

fn text(code: &str) -> CodeKey {
    CodeKey::Text(code.into())
}

fn gtin(code: &str) -> CodeKey {
    CodeKey::Gtin(Gtin::parse(code).unwrap())
}

fn means_item(name: &str) -> Meaning {
    Meaning::Item(item(name))
}

fn means_place(site_name: &str, location: &str) -> Meaning {
    Meaning::Place(site(site_name), LocationId::new(location).unwrap())
}

fn scanned<T>(code: &str) -> Code<T> {
    Code::Scanned(RawScan::new(code).unwrap())
}

/// So many of what nobody knew, from the supplier to a place; a place in brackets was not known either.
fn unknown(code: &str, pieces: i64, to: &str) -> Event {
    unresolved(
        scanned(code),
        pieces,
        Purpose::Move {
            step: BizStep::Receiving,
            from: Code::Known(Place::Supplier),
            to: match to.strip_prefix('<').and_then(|to| to.strip_suffix('>')) {
                Some(to) => scanned(to),
                None => Code::Known(place(to)),
            },
        },
        Details::default(),
    )
}

pub(super) fn unresolved(what: Code<ItemId>, pieces: i64, purpose: Purpose, details: Details) -> Event {
    let body = Unresolved {
        item: what,
        quantity: Quantity::pieces(pieces),
        what: purpose,
        station: StationId::new("S1").unwrap(),
        details,
    };
    event(1_000, stockwire_protocol::Body::Unresolved(body))
}

fn replay(bench: &mut Bench, letter: i64) -> Replay {
    let now = bench.tick();
    bench.ingest.replay(bench.store.as_mut(), now, DeadLetterId(letter), "anna").unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>, why: &str) {
    match result {
        Err(StoreError::Refused { reason }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn an_unknown_code_waits_until_it_is_said(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let outcome = bench.record(&[unknown("OLD-7", 5, "A-01"), unknown("OLD-7", 2, "A-02")]);
    assert_eq!(outcome.counts.unappliable, 2);
    assert_eq!(super::acks(&outcome), ["box-1 2"], "it is durable here, so the journal may forget it");
    assert_eq!(bench.stock(), "");
    assert!(matches!(replay(&mut bench, 1), Replay::StillRefused { reason } if reason.contains("OLD-7")));

    assert!(bench.store.put_alias(7, "anna", &text("OLD-7"), &means_item("SKU-1")).unwrap());
    assert!(!bench.store.put_alias(8, "bert", &text("OLD-7"), &means_item("SKU-1")).unwrap(), "said before");
    assert_eq!(replay(&mut bench, 1), Replay::Applied);
    assert_eq!(replay(&mut bench, 1), Replay::AlreadyClosed);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 5");
    assert_eq!(replay(&mut bench, 2), Replay::Applied);
    // From now on nobody has to wait.
    let outcome = bench.record(&[unknown("OLD-7", 1, "A-01")]);
    assert_eq!(outcome.counts.unappliable, 0);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 6, HAM/A-02 SKU-1 2");

    // The books do not follow what the code means later.
    assert!(bench.store.remove_alias(&text("OLD-7"), None).unwrap());
    assert!(!bench.store.remove_alias(&text("OLD-7"), None).unwrap());
    bench.prove();
    assert!(bench.store.put_alias(9, "anna", &text("OLD-7"), &means_item("SKU-2")).unwrap());
    bench.prove();
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 6, HAM/A-02 SKU-1 2");
    assert_eq!(replay(&mut bench, 1), Replay::AlreadyClosed);
}

pub(crate) fn a_count_under_an_unknown_code_books_the_difference(make: Make<'_>) {
    let mut bench = Bench::opened(make, &[("SKU-1", "A-01", 50)]);
    let at = |location: &str| Purpose::Count { location: Code::Known(LocationId::new(location).unwrap()) };
    bench.record(&[unresolved(scanned("OLD-7"), 47, at("A-01"), Details::default())]);
    bench.store.put_alias(7, "anna", &text("OLD-7"), &means_item("SKU-1")).unwrap();
    assert_eq!(replay(&mut bench, 1), Replay::Applied);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 47");
    // The code is known to the store by now, and not to the agent: the shelf is looked up all the same.
    bench.record(&[unresolved(scanned("OLD-7"), 45, at("A-01"), Details::default())]);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 45");
    bench.prove();
}

pub(crate) fn a_code_means_one_item(make: Make<'_>) {
    let mut bench = Bench::new(make);
    refused(
        bench.store.put_alias(1, "anna", &text("code SKU-1"), &means_item("SKU-2")),
        "code code SKU-1 means item SKU-1",
    );
    refused(bench.store.put_alias(1, "anna", &text("X"), &means_item("NEW")), "NEW is not in the catalogue");
    bench.store.put_alias(1, "anna", &gtin(EAN), &means_item("SKU-1")).unwrap();
    refused(bench.store.put_alias(1, "anna", &gtin(EAN), &means_item("SKU-2")), "means item SKU-1");
    // The ERP says it of another item later: then nobody can tell any more, and nothing is booked.
    let mut claimed = snapshot();
    claimed.items[1].gtins = vec![Gtin::parse(EAN).unwrap()];
    bench.store.replace_catalogue(&erp(), &claimed).unwrap();
    assert_eq!(bench.record(&[unknown("]E04006381333931", 1, "A-01")]).counts.unappliable, 1);
    assert!(bench.store.remove_alias(&gtin(EAN), None).unwrap());
    assert_eq!(replay(&mut bench, 1), Replay::Applied);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-2 1");
    bench.prove();
}

pub(crate) fn a_places_other_name_is_booked_as_the_place(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.record(&[
        unknown("code SKU-1", 4, "<OLD RACK/2>"),
        moved("SKU-1", 3, "supplier", "OLD-2"),
        super::counted("SKU-2", 6, "OLD-2"),
    ]);
    assert_eq!(bench.stock(), "");
    for code in ["OLD RACK/2", "OLD-2"] {
        assert!(bench.store.put_alias(7, "anna", &text(code), &means_place("HAM", "A-02")).unwrap());
    }
    assert!(!bench.store.put_alias(7, "anna", &text("OLD-2"), &means_place("HAM", "A-02")).unwrap());
    refused(
        bench.store.put_alias(7, "anna", &text("OLD-2"), &means_place("HAM", "A-01")),
        "another location",
    );
    refused(bench.store.put_alias(7, "anna", &text("A-01"), &means_place("HAM", "A-02")), "a location A-01");
    refused(bench.store.put_alias(7, "anna", &text("X"), &means_place("HAM", "B-99")), "no location B-99");
    for letter in 1..=3 {
        assert_eq!(replay(&mut bench, letter), Replay::Applied, "letter {letter}");
    }
    assert_eq!(bench.stock(), "HAM/A-02 SKU-1 7, HAM/A-02 SKU-2 6");
    bench.record(&[moved("SKU-1", 1, "supplier", "OLD-2")]);
    assert_eq!(bench.stock(), "HAM/A-02 SKU-1 8, HAM/A-02 SKU-2 6");
    // Another site has no such name.
    let elsewhere = super::batch("box-2", 1, 1, &[moved("SKU-1", 1, "supplier", "OLD-2")]);
    let topic = super::topic_of("MUC", &elsewhere);
    let payload = stockwire_protocol::cbor::Message::encode(&elsewhere);
    assert_eq!(bench.publish(&[(topic, payload)]).counts.unappliable, 1);
    // What can stand as a location is told to agents; the other one is understood here only.
    assert!(told(&bench, "HAM").1.contains(&"OLD-2".to_string()));
    assert!(!told(&bench, "MUC").1.contains(&"OLD-2".to_string()));
    assert!(bench.store.remove_alias(&text("OLD-2"), Some(&site("HAM"))).unwrap());
    assert!(!bench.store.remove_alias(&text("OLD-2"), Some(&site("HAM"))).unwrap());
    assert!(!told(&bench, "HAM").1.contains(&"OLD-2".to_string()));
    assert_eq!(bench.record(&[moved("SKU-1", 1, "supplier", "OLD-2")]).counts.unappliable, 1);
    bench.prove();
}

pub(crate) fn a_packs_code_counts_what_is_in_it(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let rules = ItemRules { packs: vec![(Gtin::parse(PACK).unwrap(), 6)], ..ItemRules::default() };
    assert!(bench.store.put_item_rules(&item("SKU-1"), &rules).unwrap());
    bench.record(&[unknown("]C10104012345123456", 2, "A-01")]);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 12");
    refused(bench.store.put_item_rules(&item("SKU-2"), &rules), "means item SKU-1");
    bench.store.put_alias(1, "anna", &gtin(EAN), &means_item("SKU-2")).unwrap();
    let own = ItemRules { packs: vec![(Gtin::parse(EAN).unwrap(), 6)], ..ItemRules::default() };
    refused(bench.store.put_item_rules(&item("SKU-2"), &own), "no pack");
    bench.prove();
}

pub(crate) fn an_items_rules_outlive_the_catalogue(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let rules = ItemRules {
        lot: true,
        serial: false,
        expiry: true,
        piece_weight: Some(PieceWeight {
            expected: Quantity::parse("0.25", Uom::Kilogram).unwrap(),
            tolerance_steps: 3,
        }),
        recalled: vec![Lot::new("L-BAD").unwrap()],
        packs: vec![(Gtin::parse(PACK).unwrap(), 6)],
    };
    assert_eq!(bench.store.item_rules(&item("SKU-1")).unwrap(), Some(ItemRules::default()));
    assert_eq!(bench.store.item_rules(&item("NEW")).unwrap(), None);
    refused(bench.store.put_item_rules(&item("NEW"), &rules), "NEW is not in the catalogue");
    let before = bench.store.catalogue_revision().unwrap();
    assert!(bench.store.put_item_rules(&item("SKU-1"), &rules).unwrap());
    assert!(!bench.store.put_item_rules(&item("SKU-1"), &rules).unwrap(), "they were so before");
    assert_eq!(bench.store.catalogue_revision().unwrap(), before + 1);
    let mut renamed = snapshot();
    renamed.items[0].name = "Renamed".into();
    bench.store.replace_catalogue(&erp(), &renamed).unwrap();
    assert_eq!(bench.store.item_rules(&item("SKU-1")).unwrap(), Some(rules.clone()));
    let parts = bench.store.catalogue_parts(&site("HAM")).unwrap();
    let told = parts[0].items.iter().find(|told| told.id == item("SKU-1")).unwrap();
    assert_eq!((told.name.as_str(), &told.rules), ("Renamed", &rules));
    assert!(bench.store.put_item_rules(&item("SKU-1"), &ItemRules::default()).unwrap());
    assert_eq!(bench.store.item_rules(&item("SKU-1")).unwrap(), Some(ItemRules::default()));
}

pub(crate) fn aliases_are_listed_without_hole_or_repeat(make: Make<'_>) {
    let mut bench = Bench::new(make);
    for (at, code) in [(1, text("X-2")), (2, text("X-1")), (3, gtin(EAN))] {
        bench.store.put_alias(at, "anna", &code, &means_item("SKU-1")).unwrap();
    }
    bench.store.put_alias(4, "bert", &text("X-1"), &means_place("MUC", "A-02")).unwrap();
    bench.store.put_alias(5, "bert", &text("X-1"), &means_place("HAM", "A-01")).unwrap();
    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = bench.store.aliases(after.as_deref(), 2).unwrap();
        assert!(page.rows.len() <= 2);
        seen.extend(page.rows.iter().map(|alias| {
            let meaning = match &alias.meaning {
                Meaning::Item(item) => item.to_string(),
                Meaning::Place(site, location) => format!("{site}/{location}"),
            };
            format!("{} {meaning} {} {}", alias.code.as_text(), alias.by, alias.at_ms)
        }));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(
        seen,
        [
            "04006381333931 SKU-1 anna 3",
            "X-1 SKU-1 anna 2",
            "X-2 SKU-1 anna 1",
            "X-1 HAM/A-01 bert 5",
            "X-1 MUC/A-02 bert 4",
        ]
    );
}

/// Items and locations that agents of a site are told.
fn told(bench: &Bench, site_name: &str) -> (Vec<String>, Vec<String>) {
    let parts = bench.store.catalogue_parts(&site(site_name)).unwrap();
    let items = parts.iter().flat_map(|part| &part.items).map(|item| item.id.to_string()).collect();
    (items, parts.iter().flat_map(|part| &part.locations).map(ToString::to_string).collect())
}

/// What has changed since a state: items, locations, and those that are gone.
fn changes(bench: &Bench, site_name: &str, since: u64) -> String {
    let Catalogue { items, locations, since, .. } =
        match bench.store.catalogue_changes(&site(site_name), since).unwrap() {
            Delta::Changes(changes) => changes,
            Delta::Nothing => return "nothing".into(),
            Delta::TooMany => return "too many".into(),
        };
    let gone = since.unwrap();
    let words = |list: Vec<String>| list.join(" ");
    format!(
        "{} | {} | -{} | -{}",
        words(items.iter().map(|item| item.id.to_string()).collect()),
        words(locations.iter().map(ToString::to_string).collect()),
        words(gone.items.iter().map(ToString::to_string).collect()),
        words(gone.locations.iter().map(ToString::to_string).collect()),
    )
}

pub(crate) fn changes_of_the_catalogue_are_what_was_touched(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let base = bench.store.catalogue_revision().unwrap();
    assert_eq!(bench.store.catalogue_parts(&site("HAM")).unwrap()[0].revision, snapshot_revision(base));
    assert_eq!(changes(&bench, "HAM", base), "nothing");
    bench.store.replace_catalogue(&erp(), &snapshot()).unwrap();
    assert_eq!(changes(&bench, "HAM", base), "nothing", "the same once more");

    let mut next = snapshot();
    next.items[2].name = "Renamed".into();
    next.items.pop();
    next.locations.retain(|l| !(l.site == site("HAM") && l.location.as_str() == "A-02"));
    next.locations.push(crate::catalogue::Location {
        site: site("HAM"),
        location: "B-01".parse().unwrap(),
        reference: None,
    });
    bench.store.replace_catalogue(&erp(), &next).unwrap();
    assert_eq!(changes(&bench, "HAM", base), "SKU-3 | B-01 | -WEIGHED | -A-02");
    assert_eq!(changes(&bench, "MUC", base), "SKU-3 |  | -WEIGHED | -", "places are a site's own");
    assert_eq!(changes(&bench, "NONE", base), "nothing");
    bench.store.put_alias(1, "anna", &text("X"), &means_item("SKU-9")).unwrap();
    bench.store.put_alias(1, "anna", &text("OLD-1"), &means_place("HAM", "A-01")).unwrap();
    assert_eq!(changes(&bench, "HAM", base), "SKU-3 SKU-9 | B-01 OLD-1 | -WEIGHED | -A-02");
    let now = bench.store.catalogue_revision().unwrap();
    assert_eq!(changes(&bench, "HAM", now), "nothing");
    bench.store.remove_alias(&text("OLD-1"), Some(&site("HAM"))).unwrap();
    assert_eq!(changes(&bench, "HAM", now), " |  | - | -OLD-1");
    // What came back is there again.
    bench.store.replace_catalogue(&erp(), &snapshot()).unwrap();
    assert_eq!(changes(&bench, "HAM", now), "SKU-3 WEIGHED | A-02 | - | -B-01 OLD-1");

    // An agent that takes the changes has what a new one is given.
    let Delta::Changes(change) = bench.store.catalogue_changes(&site("HAM"), base).unwrap() else { panic!() };
    let newest = bench.store.catalogue_revision().unwrap();
    assert_eq!(change.revision, changes_revision(newest));
    assert_eq!(change.since.unwrap().revision, snapshot_revision(base));
    let whole = bench.store.catalogue_parts(&site("HAM")).unwrap();
    for item in &change.items {
        assert!(whole[0].items.contains(item), "{item:?}");
    }
    assert_eq!(whole[0].revision, snapshot_revision(newest));

    // More than a message is worth.
    let many = |n: usize| Item { id: item(&format!("ITEM-{n:05}")), ..snapshot().items[0].clone() };
    let large =
        crate::catalogue::Snapshot { items: (0..CHANGES_ROWS_MAX + 1).map(many).collect(), ..snapshot() };
    bench.store.replace_catalogue(&erp(), &large).unwrap();
    assert_eq!(changes(&bench, "HAM", base), "too many");
}

pub(crate) fn events_are_found_by_what_they_mention(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.record(&[
        unknown("OLD-7", 5, "A-01"),
        super::movement("SKU-1", Quantity::pieces(1), "supplier", "A-01", referring("PO-7")),
        unknown("OLD-7", 6, "A-01"),
    ]);
    let found = |word: &str, limit| {
        let found = bench.store.mentioning(word, limit).unwrap();
        found.iter().map(|found| (found.site.to_string(), found.movement.sequence.get())).collect::<Vec<_>>()
    };
    assert_eq!(found("OLD-7", 10), [("HAM".into(), 1), ("HAM".into(), 3)]);
    assert_eq!(found("OLD-7", 1), [("HAM".into(), 1)]);
    assert_eq!(found("PO-7", 10), [("HAM".into(), 2)]);
    assert_eq!(found("nobody", 10), []);
}

pub(crate) fn what_waits_for_a_code_is_found(make: Make<'_>) {
    let mut bench = Bench::new(make);
    let told = |bench: &Bench| {
        let row = |row: &code::Waiting| {
            format!("{}/{:?} {} x{}", row.site, row.sought, row.key.as_text(), row.events)
        };
        code::waiting(bench.store.as_ref()).unwrap().iter().map(row).collect::<Vec<_>>().join(", ")
    };
    let letters = |bench: &Bench, key: &CodeKey, meaning: &Meaning| {
        let found = code::waiting_for(bench.store.as_ref(), bench.now_ms, key, meaning).unwrap();
        found.into_iter().map(|id| id.0).collect::<Vec<_>>()
    };
    bench.record(&[
        unknown("]E04006381333931", 1, "A-01"),
        unknown("]C1010400638133393110LOT7", 1, "<OLD-2>"),
        unknown("OLD-7", 1, "<OLD-2>"),
        moved("SKU-1", 3, "supplier", "OLD-2"),
        moved("NEW", 3, "supplier", "A-01"),
        super::counted("SKU-2", 6, "OLD-2"),
        unknown("OLD-7", 1, "A-01"),
        unknown("OLD-7", 1, "A-02"),
    ]);
    assert_eq!(told(&bench), "HAM/Item OLD-7 x3, HAM/Item 04006381333931 x2, HAM/Place OLD-2 x2");
    assert_eq!(letters(&bench, &gtin(EAN), &means_item("SKU-1")), [1, 2]);
    assert_eq!(letters(&bench, &text("OLD-2"), &means_place("HAM", "A-02")), [2, 3, 4, 6]);
    assert_eq!(letters(&bench, &text("OLD-2"), &means_place("MUC", "A-02")), Vec::<i64>::new());
    bench.store.put_alias(1, "anna", &gtin(EAN), &means_item("SKU-1")).unwrap();
    assert_eq!(
        told(&bench),
        "HAM/Item OLD-7 x3, HAM/Place OLD-2 x2",
        "said, although one waits for its place"
    );
    assert_eq!(
        (replay(&mut bench, 1), letters(&bench, &gtin(EAN), &means_item("SKU-1"))),
        (Replay::Applied, vec![2])
    );
    bench.store.put_alias(1, "anna", &text("OLD-2"), &means_place("HAM", "A-02")).unwrap();
    assert_eq!(told(&bench), "HAM/Item OLD-7 x3");
    // What was taken for something is told as that.
    assert_eq!(replay(&mut bench, 2), Replay::Applied);
    let mentioned = bench.store.mentioning("OLD-2", 9).unwrap();
    assert!(
        matches!(&mentioned[0].event.body, stockwire_protocol::Body::Movement(m) if m.item == item("SKU-1"))
    );
}

pub(crate) fn a_second_letter_about_a_fact_changes_nothing(make: Make<'_>) {
    let mut bench = Bench::new(make);
    bench.record(&[unknown("OLD-7", 5, "A-01")]);
    let letter = bench.store.dead_letter(DeadLetterId(1)).unwrap().unwrap();
    let second = crate::dead_letter::NewDeadLetter {
        class: letter.class,
        reason: "said by somebody else".into(),
        source: "elsewhere".into(),
        bytes: letter.bytes,
        agent: letter.agent,
        movement: letter.movement,
    };
    let second = bench.store.add_dead_letter(1, &second).unwrap().unwrap();
    bench.store.put_alias(1, "anna", &text("OLD-7"), &means_item("SKU-1")).unwrap();
    assert_eq!(replay(&mut bench, 1), Replay::Applied);
    assert_eq!(replay(&mut bench, second.0), Replay::AlreadyApplied);
    assert_eq!(bench.stock(), "HAM/A-01 SKU-1 5");
    assert_eq!(replay(&mut bench, second.0), Replay::AlreadyClosed);
    bench.prove();
}
