use super::*;
use crate::exchange::Secret;

fn access() -> ErpAccess {
    ErpAccess {
        url: "http://erp.invalid".into(),
        key: Secret::new("k"),
        company: None,
        supplier: Some("Test Supplier".into()),
        customer: Some("Test Customer".into()),
        shortage: Default::default(),
        sales: false,
    }
}

/// Hands a conversation these bodies, one after another; returns the models it asked for and its result.
fn talk<T>(
    conversation: &mut dyn Conversation<Output = T>,
    bodies: &[&str],
) -> (Vec<String>, Result<T, Failure>) {
    let mut bodies = bodies.iter();
    let mut asked = Vec::new();
    let mut last = None;
    loop {
        match conversation.next(last.take()) {
            Step::Send(request) => {
                assert_eq!(request.effect, crate::exchange::Effect::Read);
                asked.push(request.path.trim_start_matches('/').to_owned());
                let body = bodies.next().unwrap_or_else(|| panic!("no answer left for {request:?}"));
                last = Some(Ok(Answer { status: 200, headers: vec![], body: (*body).into() }));
            }
            Step::Note(note) => panic!("nothing to note in {note}"),
            Step::Done(result) => return (asked, result),
        }
    }
}

const COMPANY: &str = r#"[{"id":1,"currency":{"id":1},"party":1,"__name__":"company.company"}]"#;
const COMPANY_PLAIN: &str = r#"[{"id":1,"currency":1,"party":1,"__name__":"company.company"}]"#;
const PARTIES: &str = r#"[{"id":1,"name":"Company","addresses":[1],"supplier_location":6,"customer_location":7},
    {"id":2,"name":"Test Supplier","addresses":[],"supplier_location":6,"customer_location":7},
    {"id":3,"name":"Test Customer","addresses":[3],"supplier_location":6,"customer_location":7}]"#;
const WAREHOUSES: &str = r#"[{"id":12,"code":"HAM","storage_location":9,"lost_found_location":4},
    {"id":20,"code":"no site!","storage_location":21,"lost_found_location":4}]"#;
const PLACES: &str = r#"[
    {"id":9,"type":"storage","code":"HAM/STO","parent":12,"warehouse":{"id":12,"code":"HAM"}},
    {"id":11,"type":"storage","code":"OUT","parent":12,"warehouse":{"id":12,"code":"HAM"}},
    {"id":12,"type":"warehouse","code":"HAM","parent":null,"warehouse":{"id":12,"code":"HAM"}},
    {"id":13,"type":"storage","code":"HAM/A-01","parent":9,"warehouse":{"id":12,"code":"HAM"}},
    {"id":14,"type":"storage","code":"A-01","parent":9,"warehouse":{"id":12,"code":"HAM"}},
    {"id":15,"type":"storage","code":null,"parent":9,"warehouse":{"id":12,"code":"HAM"}},
    {"id":16,"type":"storage","code":"HAM/A/1","parent":9,"warehouse":{"id":12,"code":"HAM"}},
    {"id":17,"type":"storage","code":"HAM/TRANSIT","parent":null,"warehouse":null}]"#;
const ITEMS: &str = r#"[
    {"id":1,"code":"SKU-0001","name":"Part 01","default_uom":{"id":1,"symbol":"u","digits":0},
     "identifiers":[{"type":"ean","id":1,"code":"9521234000013"},{"type":"brand","id":2,"code":"P/01"}]},
    {"id":2,"code":"SKU-0020","name":null,"default_uom":{"id":2,"symbol":"kg","digits":3},"identifiers":[]},
    {"id":3,"code":"SKU-0001","name":"Twin","default_uom":{"id":1,"symbol":"u","digits":0},"identifiers":[]},
    {"id":4,"code":null,"name":"Service","default_uom":{"id":1,"symbol":"u","digits":0},"identifiers":[]},
    {"id":5,"code":"SKU-0005","name":"By the hour","default_uom":{"id":9,"symbol":"h","digits":2},"identifiers":[]}]"#;

#[test]
fn the_catalogue_is_read_and_what_is_of_no_use_is_told() {
    let bodies = [COMPANY_PLAIN, PARTIES, WAREHOUSES, PLACES, ITEMS];
    let (asked, read) = talk(&mut ReadCatalogue::new(&access()), &bodies);
    assert_eq!(
        asked,
        ["company.company", "party.party", "stock.location", "stock.location", "product.product"]
    );
    let CatalogueRead { snapshot, remarks } = read.unwrap();
    let [site] = &snapshot.sites[..] else { panic!("{:?}", snapshot.sites) };
    assert_eq!(site.site.as_str(), "HAM");
    let keys: SiteKeys = super::super::keys(site.reference.as_deref().unwrap()).unwrap();
    assert_eq!((keys.company, keys.currency, keys.warehouse, keys.storage), (1, Some(1), 12, 9));
    assert_eq!(keys.supplier.map(|party| (party.party, party.location)), Some((2, 6)));
    assert_eq!(
        keys.customer.map(|party| (party.party, party.location, party.address)),
        Some((3, 7, Some(3)))
    );
    let places: Vec<String> = snapshot
        .locations
        .iter()
        .map(|place| format!("{} {}", place.location, place.reference.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(
        places,
        [
            r#"STO {"location":9,"zone":9}"#,
            r#"OUT {"location":11,"zone":11}"#,
            r#"A-01 {"location":13,"zone":9}"#,
        ]
    );
    let items: Vec<String> = snapshot
        .items
        .iter()
        .map(|item| format!("{} {} {} {} {:?}", item.id, item.name, item.uom, item.gtins.len(), item.codes))
        .collect();
    assert_eq!(items, [r#"SKU-0001 Part 01 H87 1 ["P/01"]"#, "SKU-0020 SKU-0020 KGM 0 []"]);
    let expected = [
        "warehouse \"no site!\": site may hold only",
        "there are two places HAM/A-01",
        "place 15 of HAM: it has no code",
        "place 16 of HAM: location may hold only",
        "item SKU-0001: there are two of that code",
        "item without code: item must have",
        "item SKU-0005: its unit \"h\" is none that we know",
    ];
    assert_eq!(remarks.len(), expected.len(), "{remarks:?}");
    for (remark, expected) in remarks.iter().zip(expected) {
        assert!(remark.starts_with(expected), "{remark:?} is not {expected:?}");
    }
}

#[test]
fn parties_that_are_not_named_are_the_first_that_will_do() {
    let mut access = access();
    (access.supplier, access.customer) = (None, None);
    let (_, read) =
        talk(&mut ReadCatalogue::new(&access), &[COMPANY_PLAIN, PARTIES, WAREHOUSES, PLACES, "[]"]);
    let snapshot = read.unwrap().snapshot;
    let keys: SiteKeys = super::super::keys(snapshot.sites[0].reference.as_deref().unwrap()).unwrap();
    // Not the company itself; and only one of the others has an address to deliver to.
    assert_eq!(keys.supplier.map(|party| party.party), Some(2));
    assert_eq!(keys.customer.map(|party| party.party), Some(3));
}

#[test]
fn several_companies_need_a_word_from_the_administrator() {
    let two = r#"[{"id":1,"currency":1,"party":1},{"id":2,"currency":1,"party":2}]"#;
    let (_, read) = talk(&mut ReadCatalogue::new(&access()), &[two]);
    assert_eq!(read.unwrap_err().class, Class::Setup);
    let configured = ErpAccess { company: Some(2), ..access() };
    assert!(talk(&mut ReadCatalogue::new(&configured), &[two, "[]", "[]", "[]", "[]"]).1.is_ok());
    let wrong = ErpAccess { company: Some(3), ..access() };
    assert_eq!(talk(&mut ReadCatalogue::new(&wrong), &[two]).1.unwrap_err().class, Class::Setup);
}

#[test]
fn pages_follow_one_another_by_id_and_must_move_on() {
    let page = |first: usize, count: usize| {
        let rows: Vec<String> = (first..first + count).map(|id| format!(r#"{{"id":{id}}}"#)).collect();
        Answer { status: 200, headers: vec![], body: format!("[{}]", rows.join(",")).into() }
    };
    let mut pages = Pages::new("items", "product.product", ITEM_FIELDS, vec![]);
    assert!(!pages.request().query.iter().any(|(name, _)| *name == "d"));
    assert_eq!(pages.take(&page(1, PAGE_ROWS)).map(|(rows, more)| (rows.len(), more)), Ok((PAGE_ROWS, true)));
    let domain = super::super::encode(&json!([["id", ">", PAGE_ROWS]]));
    assert!(pages.request().query.contains(&("d", domain)));
    // A server that ignores the domain would be read for ever.
    assert!(pages.take(&page(1, PAGE_ROWS)).is_err());
    assert_eq!(pages.take(&page(PAGE_ROWS + 1, 3)).map(|(rows, more)| (rows.len(), more)), Ok((3, false)));
}

#[test]
fn quantities_are_read_place_by_place() {
    let in_ham = r#"[{"id":1,"code":"SKU-0001","quantity":100.0,"default_uom":{"id":1,"symbol":"u","digits":0}},
        {"id":2,"code":"SKU-0020","quantity":-0.30000000000000004,"default_uom":{"id":2,"symbol":"kg","digits":3}},
        {"id":9,"code":"HOURS","quantity":1.5,"default_uom":{"id":2,"symbol":"h","digits":2}}]"#;
    let places = r#"[
        {"id":13,"type":"storage","code":"HAM/A-01","parent":9,"warehouse":{"id":12,"code":"HAM"}},
        {"id":14,"type":"storage","code":"HAM/A-02","parent":9,"warehouse":{"id":12,"code":"HAM"}},
        {"id":17,"type":"storage","code":"TRANSIT","parent":null,"warehouse":null}]"#;
    let (asked, read) = talk(&mut ReadQuantities::new(&access()), &[COMPANY, places, "[]", in_ham]);
    assert_eq!(asked.len(), 4, "{asked:?}");
    let told: Vec<String> = read
        .unwrap()
        .iter()
        .map(|quantity| {
            format!("{}/{} {} {}", quantity.site, quantity.location, quantity.item, quantity.steps)
        })
        .collect();
    assert_eq!(told, ["HAM/A-01 SKU-0001 100", "HAM/A-01 SKU-0020 -300000"]);
}

#[test]
fn garbage_ends_in_a_failure_and_never_in_a_catalogue() {
    for body in ["", "null", "{}", "[1]", "[{}]", r#"[{"id":"x"}]"#, "[{\"id\":1", "<html>"] {
        assert!(talk(&mut ReadCatalogue::new(&access()), &[body]).1.is_err(), "{body}");
        assert!(talk(&mut ReadQuantities::new(&access()), &[body]).1.is_err(), "{body}");
    }
}
