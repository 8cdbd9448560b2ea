//! Conversations with recorded answers, and a small shop for the story of a push.

use super::*;
use crate::ledger::LedgerId;
use stockwire_protocol::ItemId;

fn site(code: &str) -> SiteId {
    SiteId::new(code).unwrap()
}

fn vendure() -> Vendure {
    Vendure::new(ChannelAccess {
        channel: stockwire_protocol::ChannelId::new("shop").unwrap(),
        url: "http://shop.invalid/admin-api/".into(),
        user: "stockwire".into(),
        password: Secret::new("hunter2"),
        sites: vec![site("HAM"), site("MUC")],
    })
}

fn map() -> SiteMap {
    [(site("HAM"), "2".to_owned()), (site("MUC"), "3".to_owned())].into()
}

fn update(sku: &str, ham: i64, muc: i64) -> ChannelUpdate {
    let number = |code, number| crate::availability::SiteNumber { site: site(code), number };
    ChannelUpdate {
        sku: Sku::new(sku).unwrap(),
        reference: None,
        item: ItemId::new(sku).unwrap(),
        revision: 1,
        number: ham + muc,
        sites: vec![number("HAM", ham), number("MUC", muc)],
        through: LedgerId(1),
        attempts: 0,
        unresolved: false,
        published: None,
        expects: None,
    }
}

#[test]
fn answers_are_judged_by_their_body() {
    let check = |status, body: &str, expected: Option<Class>| {
        let failure = judge(&Answer { status, headers: vec![], body: body.into() });
        assert_eq!(failure.map(|failure| failure.class), expected, "{status} {body}");
    };
    let error = |code: &str| {
        format!(r#"{{"errors":[{{"message":"m","extensions":{{"code":"{code}"}}}}],"data":null}}"#)
    };
    check(200, r#"{"data":{"x":1}}"#, None);
    check(200, r#"{"data":{"x":"#, Some(Class::Unknown));
    check(200, r#"{"data":null}"#, Some(Class::Unknown));
    check(200, "", Some(Class::Unknown));
    check(200, &error("FORBIDDEN"), Some(Class::Auth));
    check(200, &error("ENTITY_NOT_FOUND"), Some(Class::Data));
    check(200, r#"{"errors":[{"message":"Int","extensions":{"code":"BAD_USER_INPUT"}}]}"#, Some(Class::Data));
    check(200, &error("INTERNAL_SERVER_ERROR"), Some(Class::Transient));
    check(200, r#"{"errors":[{"message":"m"}]}"#, Some(Class::Transient));
    check(400, &error("GRAPHQL_VALIDATION_FAILED"), Some(Class::Setup));
    check(404, "<p>Not Found</p>", Some(Class::Setup));
    check(502, "<p>Bad Gateway</p>", Some(Class::Transient));
    check(429, "", Some(Class::Rate { after: None }));
}

#[test]
fn a_session_is_a_token_in_a_header() {
    let check = |headers: &[(&str, &str)], body: &str, expected: Result<&str, Class>| {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let session = vendure().session(&Answer { status: 200, headers, body: body.into() });
        let got = session.as_ref().map(Secret::reveal).map_err(|failure| failure.class);
        assert_eq!(got, expected, "{body}");
    };
    let good = r#"{"data":{"login":{"__typename":"CurrentUser","id":"1"}}}"#;
    check(&[(TOKEN_HEADER, "t1")], good, Ok("t1"));
    check(&[], good, Err(Class::Setup));
    let bad = r#"{"data":{"login":{"__typename":"InvalidCredentialsError","errorCode":"X","message":"no"}}}"#;
    check(&[(TOKEN_HEADER, "t1")], bad, Err(Class::Auth));
    let bearer = vendure().authorize(Some(&Secret::new("t1")));
    assert_eq!(bearer[0].1.reveal(), "Bearer t1");
    let login = vendure().login().unwrap();
    assert!(!format!("{login:?}").contains("hunter2"));
    assert_eq!(vendure().base_url(), "http://shop.invalid");
}

/// A shop of a few variants: what it holds, and what is to go wrong at which of its writes.
#[derive(Default)]
struct Shop {
    held: BTreeMap<String, BTreeMap<String, i64>>,
    /// Variants that the shop refuses to write.
    poison: Vec<&'static str>,
    /// By number of the write, from 1: what comes instead of an answer, and whether the write is done.
    faults: BTreeMap<usize, (Class, bool)>,
    /// After which write the shop's own fulfilment takes one of SKU-1 at HAM.
    fulfils_after: Option<usize>,
    writes: usize,
    asked: Vec<&'static str>,
}

impl Shop {
    fn with(skus: &[(&str, i64, i64)]) -> Self {
        let levels = |ham, muc| BTreeMap::from([("2".to_owned(), ham), ("3".to_owned(), muc)]);
        let held = skus.iter().map(|(sku, ham, muc)| ((*sku).to_owned(), levels(*ham, *muc))).collect();
        Self { held, ..Self::default() }
    }

    fn answer(&mut self, request: &Request) -> Result<Answer, Failure> {
        self.asked.push(request.name);
        let variables = request.body.as_ref().map(|body| body["variables"].clone()).unwrap_or_default();
        let body = match request.name {
            "read" | "read back" => {
                let wanted = variables["o"]["filter"]["sku"]["in"].as_array().unwrap();
                let rows: Vec<Value> =
                    self.held.iter().filter(|(sku, _)| wanted.contains(&json!(sku))).map(row).collect();
                json!({"data": {"productVariants": {"totalItems": rows.len(), "items": rows}}})
            }
            "update" => {
                self.writes += 1;
                let fault = self.faults.get(&self.writes).copied();
                if !matches!(fault, Some((_, false))) {
                    self.write(&variables)?;
                }
                if self.fulfils_after == Some(self.writes) {
                    *self.held.get_mut("SKU-1").unwrap().get_mut("2").unwrap() -= 1;
                }
                if let Some((class, _)) = fault {
                    return Err(Failure::new(class, "so it is"));
                }
                json!({"data": {"updateProductVariants": []}})
            }
            other => panic!("{other}"),
        };
        Ok(Answer { status: 200, headers: vec![], body: body.to_string().into() })
    }

    fn write(&mut self, variables: &Value) -> Result<(), Failure> {
        let input = variables["i"].as_array().unwrap();
        for variant in input {
            let id = variant["id"].as_str().unwrap();
            if self.poison.contains(&id) {
                return Err(Failure::new(Class::Data, "ENTITY_NOT_FOUND"));
            }
        }
        for variant in input {
            let held = self.held.get_mut(variant["id"].as_str().unwrap()).unwrap();
            for level in variant["stockLevels"].as_array().unwrap() {
                let (id, number) =
                    (level["stockLocationId"].as_str().unwrap(), level["stockOnHand"].as_i64().unwrap());
                held.insert(id.to_owned(), number);
            }
        }
        Ok(())
    }

    fn push(&mut self, updates: &[ChannelUpdate]) -> Result<Vec<Pushed>, Class> {
        let mut push = vendure().push(&map(), updates);
        let mut last = None;
        loop {
            match push.next(last.take()) {
                Step::Send(request) => last = Some(self.answer(&request)),
                Step::Note(note) => panic!("{note}"),
                Step::Done(result) => return result.map_err(|failure| failure.class),
            }
        }
    }

    fn at(&self, sku: &str) -> (i64, i64) {
        (self.held[sku]["2"], self.held[sku]["3"])
    }
}

/// A variant's id is its SKU here.
fn row((sku, levels): (&String, &BTreeMap<String, i64>)) -> Value {
    let level = |(id, on_hand): (&String, &i64)| json!({"stockLocation": {"id": id}, "stockOnHand": on_hand, "stockAllocated": 0});
    json!({"id": sku, "sku": sku, "stockLevels": levels.iter().map(level).collect::<Vec<_>>()})
}

#[test]
fn what_differs_is_written_and_read_back() {
    let mut shop = Shop::with(&[("SKU-1", 5, 0), ("SKU-2", 1, 1)]);
    let pushed = shop.push(&[update("SKU-1", 7, 2), update("SKU-2", 1, 1)]);
    assert_eq!(pushed, Ok(vec![Pushed::Held, Pushed::Held]));
    assert_eq!(shop.asked, ["read", "update", "read back"]);
    assert_eq!(shop.at("SKU-1"), (7, 2));
    // Once more: the shop holds it, so nothing is written that could undo a fulfilment.
    shop.asked.clear();
    assert_eq!(shop.push(&[update("SKU-1", 7, 2)]), Ok(vec![Pushed::Held]));
    assert_eq!(shop.asked, ["read"]);
    // Unless an older write may still be on its way.
    let mut unresolved = update("SKU-1", 7, 2);
    unresolved.unresolved = true;
    shop.asked.clear();
    assert_eq!(shop.push(&[unresolved]), Ok(vec![Pushed::Held]));
    assert_eq!(shop.asked, ["read", "update", "read back"]);
    assert_eq!(shop.push(&[]), Ok(vec![]));
}

#[test]
fn the_one_at_fault_is_found_and_the_others_get_their_numbers() {
    let skus = ["SKU-1", "SKU-2", "SKU-3", "SKU-4", "SKU-5"];
    let mut shop = Shop::with(&skus.map(|sku| (sku, 0, 0)));
    shop.poison.push("SKU-3");
    let mut updates: Vec<ChannelUpdate> = skus.iter().map(|sku| update(sku, 4, 4)).collect();
    updates.push(update("GONE", 1, 1));
    let pushed = shop.push(&updates).unwrap();
    assert!(
        matches!(&pushed[2], Pushed::Refused { reason } if reason.contains("ENTITY_NOT_FOUND")),
        "{pushed:?}"
    );
    assert!(matches!(&pushed[5], Pushed::Refused { reason } if reason.contains("no variant")), "{pushed:?}");
    for at in [0, 1, 3, 4] {
        assert_eq!((&pushed[at], shop.at(skus[at])), (&Pushed::Held, (4, 4)));
    }
    assert_eq!(shop.at("SKU-3"), (0, 0));
}

#[test]
fn a_lost_answer_is_settled_by_reading_back() {
    for (done, expected) in [(true, Pushed::Held), (false, Pushed::Unknown { message: "so it is".into() })] {
        let mut shop = Shop::with(&[("SKU-1", 5, 0)]);
        shop.faults.insert(1, (Class::Unknown, done));
        assert_eq!(shop.push(&[update("SKU-1", 7, 2)]), Ok(vec![expected]));
        assert_eq!(shop.asked, ["read", "update", "read back"], "written once only");
    }
    // Refused before it was done, and nothing written before: nothing is unknown.
    let mut shop = Shop::with(&[("SKU-1", 5, 0)]);
    shop.faults.insert(1, (Class::Auth, false));
    assert_eq!(shop.push(&[update("SKU-1", 7, 2)]), Err(Class::Auth));
}

#[test]
fn a_fulfilment_that_races_with_us_is_seen() {
    let mut shop = Shop::with(&[("SKU-1", 5, 0)]);
    shop.fulfils_after = Some(1);
    let pushed = shop.push(&[update("SKU-1", 7, 0)]).unwrap();
    assert_eq!(pushed, [Pushed::Differs { shows: "6 instead of 7, 0 instead of 0".into() }]);
}

#[test]
fn a_site_that_the_shop_does_not_know_is_never_written() {
    let mut shop = Shop::with(&[("SKU-1", 5, 0)]);
    let mut elsewhere = update("SKU-1", 7, 0);
    elsewhere.sites[1].site = site("BER");
    let pushed = shop.push(&[elsewhere]).unwrap();
    assert!(matches!(&pushed[0], Pushed::Refused { reason } if reason.contains("BER")), "{pushed:?}");
    assert!(shop.asked.is_empty());
}

fn answer(body: &str) -> Option<Result<Answer, Failure>> {
    Some(Ok(Answer { status: 200, headers: vec![], body: body.into() }))
}

const STOCK_LOCATIONS: &str = r#"{"data":{"stockLocations":{"items":[{"id":"1","name":"Default Stock Location"},
    {"id":"2","name":"HAM"},{"id":"3","name":"MUC"}]}}}"#;

#[test]
fn the_map_needs_a_location_for_each_site() {
    let mut mapping = vendure().map_skus();
    assert!(matches!(mapping.next(None), Step::Send(_)));
    let without = r#"{"data":{"stockLocations":{"items":[{"id":"2","name":"HAM"}]}}}"#;
    let Step::Done(Err(failure)) = mapping.next(answer(without)) else { panic!("went on") };
    assert_eq!(failure.class, Class::Setup);
    assert!(failure.message.contains("MUC"), "{failure}");
}

#[test]
fn the_map_is_read_page_by_page_with_an_overlap() {
    let page = |ids: std::ops::Range<usize>| {
        let rows: Vec<Value> = ids
            .map(|id| json!({"id": id.to_string(), "sku": format!("SKU-{id:04}"), "stockLevels": []}))
            .collect();
        json!({"data": {"productVariants": {"totalItems": 150, "items": rows}}}).to_string()
    };
    let mut mapping = vendure().map_skus();
    mapping.next(None);
    mapping.next(answer(STOCK_LOCATIONS));
    let Step::Send(second) = mapping.next(answer(&page(0..100))) else { panic!("no second page") };
    assert_eq!(second.body.unwrap()["variables"]["o"]["skip"], 99);
    // Variant 50 was deleted meanwhile, so everything after it moved up by one.
    let Step::Done(Ok(read)) = mapping.next(answer(&page(100..150))) else { panic!("no end") };
    assert_eq!((read.skus.len(), read.sites), (150, map()));
    assert_eq!(read.remarks, Vec::<String>::new());
}

#[test]
fn garbage_ends_in_a_failure() {
    for body in ["", "{}", "[]", r#"{"data":{}}"#, r#"{"data":{"productVariants":{"items":[{"id":1}]}}}"#] {
        let mut mapping = vendure().map_skus();
        mapping.next(None);
        assert!(matches!(mapping.next(answer(body)), Step::Done(Err(_))), "{body}");
        let mut push = vendure().push(&map(), &[update("SKU-1", 1, 1)]);
        push.next(None);
        assert!(matches!(push.next(answer(body)), Step::Done(Err(_))), "{body}");
        let mut read = vendure().read_back(&map(), &[Sku::new("SKU-1").unwrap()]);
        read.next(None);
        assert!(matches!(read.next(answer(body)), Step::Done(Err(_))), "{body}");
    }
}

#[test]
fn reading_back_tells_every_sku_asked_for() {
    let skus: Vec<Sku> = ["SKU-1", "GONE"].iter().map(|sku| Sku::new(*sku).unwrap()).collect();
    let mut read = vendure().read_back(&map(), &skus);
    read.next(None);
    let shop = Shop::with(&[("SKU-1", 5, -1)]);
    let rows: Vec<Value> = shop.held.iter().map(row).collect();
    let body = json!({"data": {"productVariants": {"items": rows}}}).to_string();
    let Step::Done(Ok(read)) = read.next(answer(&body)) else { panic!("no end") };
    let numbers = [(site("HAM"), 5), (site("MUC"), -1)].into();
    assert_eq!(read, [(skus[0].clone(), Shown::Numbers(numbers)), (skus[1].clone(), Shown::Nothing)]);
}
