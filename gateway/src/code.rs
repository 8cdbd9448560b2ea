//! What a scanned code means: which item of the catalogue, which place of a site.
//!
//! Codes come from the ERP with the items, from people as aliases, and from an item's rules as packs. A scan that an
//! agent did not know is looked up here in the same way as at the station: by the GTIN in it, else by its bare text. A
//! code that two items claim means neither.

use std::collections::{BTreeMap, BTreeSet};

use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::gs1::{Gtin, Kind, interpret};
use stockwire_protocol::{
    Body, Event, ItemId, LocationId, MovementId, Place, Quantity, RawScan, SiteId, Unresolved,
};

use crate::catalogue::Index;
use crate::dead_letter::{DeadLetter, DeadLetterClass, DeadLetterId, DeadLetterState};
use crate::store::{DeadLetterQuery, Reader, StoreError};

/// A code in the form in which it is looked up.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CodeKey {
    /// The trade item, however it was printed.
    Gtin(Gtin),
    /// Text without its AIM identifier, byte for byte.
    Text(String),
}

impl CodeKey {
    /// For people and as a column: the 14 digits, or the text.
    pub fn as_text(&self) -> String {
        match self {
            CodeKey::Gtin(gtin) => gtin.to_string(),
            CodeKey::Text(text) => text.clone(),
        }
    }
}

/// What a person says that a code means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Meaning {
    /// This item, at every site.
    Item(ItemId),
    /// This place of a site.
    Place(SiteId, LocationId),
}

/// An alias, as it is listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alias {
    /// The code, as it is looked up.
    pub code: CodeKey,
    /// What it means.
    pub meaning: Meaning,
    /// Who said so.
    pub by: String,
    /// When, unix milliseconds.
    pub at_ms: i64,
}

/// A code that nobody knew, with what waits for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// One of the scans, as it came.
    pub scan: RawScan,
    /// As it is looked up.
    pub key: CodeKey,
    /// What it must be.
    pub sought: Sought,
    /// Where it was scanned.
    pub site: SiteId,
    /// Facts that are held and not booked.
    pub events: u64,
    /// When the first of them came here, unix milliseconds.
    pub first_at_ms: i64,
    /// When the last of them came.
    pub last_at_ms: i64,
    /// The last of them.
    pub last: MovementId,
}

/// What a code must be to be of use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Sought {
    /// An item.
    Item,
    /// A place of the site.
    Place,
}

/// Open letters that are looked through for unknown codes, the newest first: reading them takes a tenth of a second.
/// Behind them older ones come up as these are settled.
pub const WAITING_LETTERS_MAX: usize = 10_000;

/// Codes that somebody has to explain, the most wanted first. What a person has said already is left out, even when
/// its facts still wait, for another code.
///
/// # Errors
/// The store's.
pub fn waiting(reader: &dyn Reader) -> Result<Vec<Waiting>, StoreError> {
    let mut said: BTreeSet<(Option<SiteId>, CodeKey)> = BTreeSet::new();
    let mut after = None;
    loop {
        let page = reader.aliases(after.as_deref(), 0)?;
        said.extend(page.rows.into_iter().map(|alias| match alias.meaning {
            Meaning::Item(_) => (None, alias.code),
            Meaning::Place(site, _) => (Some(site), alias.code),
        }));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let mut found: BTreeMap<(SiteId, Sought, CodeKey), Waiting> = BTreeMap::new();
    each_open_letter(reader, |letter, site, event| {
        let (Body::Unresolved(unresolved), Some(last)) = (&event.body, &letter.movement) else { return };
        let at_ms = letter.first_at_ms;
        for (sought, scan) in sought(unresolved) {
            let (whose, keys) = match sought {
                Sought::Item => (None, item_keys(scan.as_str(), year_of(at_ms))),
                Sought::Place => {
                    (Some(site.clone()), vec![CodeKey::Text(place_text(scan.as_str(), year_of(at_ms)))])
                }
            };
            let Some(key) = keys.first().cloned() else { continue };
            if keys.into_iter().any(|key| said.contains(&(whose.clone(), key))) {
                continue;
            }
            let new = || Waiting {
                scan: scan.clone(),
                key: key.clone(),
                sought,
                site: site.clone(),
                events: 0,
                first_at_ms: at_ms,
                last_at_ms: at_ms,
                last: last.clone(),
            };
            let row = found.entry((site.clone(), sought, key.clone())).or_insert_with(new);
            row.events += 1;
            row.first_at_ms = at_ms;
        }
    })?;
    let mut rows: Vec<Waiting> = found.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.events));
    Ok(rows)
}

/// Open letters that may be booked once this code has this meaning, the oldest first: a count after a movement says
/// something else than before it. At most [`WAITING_LETTERS_MAX`] are looked through.
///
/// # Errors
/// The store's.
pub fn waiting_for(
    reader: &dyn Reader,
    now_ms: i64,
    key: &CodeKey,
    meaning: &Meaning,
) -> Result<Vec<DeadLetterId>, StoreError> {
    let mut found = Vec::new();
    each_open_letter(reader, |letter, site, event| {
        if waits_for(event, site, year_of(now_ms), key, meaning) {
            found.push(letter.id);
        }
    })?;
    found.reverse();
    Ok(found)
}

/// What is held and waits for the catalogue, newest first.
fn each_open_letter(
    reader: &dyn Reader,
    mut take: impl FnMut(&DeadLetter, &SiteId, &Event),
) -> Result<(), StoreError> {
    let mut query = DeadLetterQuery {
        class: Some(DeadLetterClass::Unappliable),
        state: Some(DeadLetterState::Open),
        ..DeadLetterQuery::default()
    };
    let mut read = 0;
    while read < WAITING_LETTERS_MAX {
        let page = reader.dead_letters(&query)?;
        read += page.rows.len();
        for letter in &page.rows {
            // What is held was read before it was set aside; a row of a newer build waits for that build.
            if let (Some((site, _)), Ok(event)) = (&letter.agent, Event::decode(&letter.bytes)) {
                take(letter, site, &event);
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    Ok(())
}

/// The scans that nobody knew, with what they must be.
fn sought(unresolved: &Unresolved) -> impl Iterator<Item = (Sought, &RawScan)> {
    let item = unresolved.item.scanned();
    let places = unresolved.scans().skip(usize::from(item.is_some()));
    item.map(|scan| (Sought::Item, scan)).into_iter().chain(places.map(|scan| (Sought::Place, scan)))
}

/// Whether an event of a site may be booked once this code has this meaning.
fn waits_for(event: &Event, site: &SiteId, year: u16, key: &CodeKey, meaning: &Meaning) -> bool {
    match (&event.body, meaning) {
        (Body::Unresolved(unresolved), Meaning::Item(_)) => {
            let scan = unresolved.item.scanned();
            scan.is_some_and(|scan| item_keys(scan.as_str(), year).contains(key))
        }
        (_, Meaning::Place(own, _)) if own != site => false,
        (Body::Unresolved(unresolved), Meaning::Place(..)) => sought(unresolved).any(|(sought, scan)| {
            sought == Sought::Place && place_text(scan.as_str(), year) == key.as_text()
        }),
        (Body::Movement(movement), Meaning::Place(..)) => {
            let is_it = |place: &Place| matches!(place, Place::At(at) if at.as_str() == key.as_text());
            is_it(&movement.from) || is_it(&movement.to)
        }
        (Body::Count(count), Meaning::Place(..)) => count.location.as_str() == key.as_text(),
        (Body::Movement(_) | Body::Count(_) | Body::Lost { .. } | Body::Handling(_), _) => false,
    }
}

/// The keys of an item's code, the most specific first.
pub fn item_keys(raw: &str, year: u16) -> Vec<CodeKey> {
    let scan = interpret(raw.as_bytes(), year);
    let gtin = scan.gtin().or_else(|| scan.element_string().content_gtin());
    let text = scan.data_text();
    let text = (!text.is_empty()).then_some(CodeKey::Text(text));
    gtin.map(CodeKey::Gtin).into_iter().chain(text).collect()
}

/// The text of a place's code: what stands in a location label, else the bare text.
pub fn place_text(raw: &str, year: u16) -> String {
    let scan = interpret(raw.as_bytes(), year);
    match scan.kind() {
        Kind::Location(label) => label.code.clone(),
        _ => scan.data_text(),
    }
}

/// The key under which a person's code is kept.
///
/// # Errors
/// When it can mean no item or place: a command, or a label that is refused at every station.
pub fn alias_key(code: &str, meaning: &Meaning, year: u16) -> Result<CodeKey, String> {
    // As a dead letter's reason shows a separator, and as it was scanned.
    let code = code.replace("\\u{1d}", "\u{1d}");
    if RawScan::new(code.as_str()).is_none() {
        return Err(format!("a code has 1 to {} bytes, got {}", RawScan::BYTES_MAX, code.len()));
    }
    let scan = interpret(code.as_bytes(), year);
    match (scan.kind(), meaning) {
        (Kind::Error, _) => {
            let why = scan.findings().first().map(|finding| finding.message.clone()).unwrap_or_default();
            Err(format!("stations refuse this code: {why}"))
        }
        (Kind::Command(_), _) => Err("this is a command barcode".into()),
        (Kind::Location(_), Meaning::Item(_)) => Err("this is a location barcode".into()),
        (_, Meaning::Item(_)) => {
            item_keys(&code, year).into_iter().next().ok_or_else(|| "the code says nothing".into())
        }
        (_, Meaning::Place(..)) => match place_text(&code, year) {
            text if text.is_empty() => Err("the code says nothing".into()),
            text => Ok(CodeKey::Text(text)),
        },
    }
}

/// The year of a moment, for the century of dates; a day off around New Year changes no century.
pub fn year_of(unix_ms: i64) -> u16 {
    const YEAR_MS: i64 = 31_556_952_000;
    u16::try_from(1970 + unix_ms.div_euclid(YEAR_MS)).unwrap_or(2000)
}

/// What the store knows of codes: each with the items that claim it, and how many of their unit it means.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Codes(BTreeMap<CodeKey, BTreeSet<(ItemId, u32)>>);

impl Codes {
    /// A code means so many of an item.
    pub fn add(&mut self, key: CodeKey, item: ItemId, pieces: u32) {
        self.0.entry(key).or_default().insert((item, pieces));
    }

    fn item(&self, raw: &str, year: u16) -> Option<(&ItemId, u32)> {
        let keys = item_keys(raw, year);
        let claims = keys.iter().find_map(|key| self.0.get(key))?;
        match claims.iter().next() {
            Some((item, pieces)) if claims.len() == 1 => Some((item, *pieces)),
            _ => None,
        }
    }
}

/// The codes of items that must be looked up to understand an event.
pub fn needed(event: &Event, received_at_ms: i64) -> Vec<CodeKey> {
    match &event.body {
        Body::Unresolved(unresolved) => {
            let raw = unresolved.item.scanned();
            raw.map(|raw| item_keys(raw.as_str(), year_of(received_at_ms))).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// An event in the catalogue's own words, when it was recorded in others and they are known: unknown codes resolved,
/// aliases of places replaced. `None`: it stands as it is.
pub fn resolve(
    index: &Index,
    codes: &Codes,
    site: &SiteId,
    event: &Event,
    received_at_ms: i64,
) -> Option<Event> {
    let places = index.sites.get(site)?;
    let body = match &event.body {
        Body::Unresolved(unresolved) => {
            let year = year_of(received_at_ms);
            let location = |raw: &RawScan| {
                let text = place_text(raw.as_str(), year);
                let own = LocationId::new(text.as_str()).ok().filter(|own| places.at.contains_key(own));
                own.or_else(|| places.aliases.get(&text).cloned())
            };
            let mut pieces = 1;
            if let Some(raw) = unresolved.item.scanned() {
                pieces = codes.item(raw.as_str(), year)?.1;
            }
            let item = |raw: &RawScan| codes.item(raw.as_str(), year).map(|(item, _)| item.clone());
            let mut body = unresolved.resolve(item, location)?;
            let quantity = match &mut body {
                Body::Movement(movement) => &mut movement.quantity,
                Body::Count(count) => &mut count.counted,
                _ => return None,
            };
            // A pack's code counts as many as are in it; a weight is a weight.
            if pieces > 1 && quantity.uom == stockwire_protocol::Uom::Piece {
                *quantity = Quantity { steps: quantity.steps.checked_mul(i64::from(pieces))?, ..*quantity };
            }
            body
        }
        Body::Movement(movement) => {
            let [from, to] = [&movement.from, &movement.to].map(|place| alias(places, place));
            if from.is_none() && to.is_none() {
                return None;
            }
            let mut movement = movement.clone();
            movement.from = from.unwrap_or(movement.from);
            movement.to = to.unwrap_or(movement.to);
            // From a place to itself by its other name: nothing that could be booked.
            if movement.from == movement.to {
                return None;
            }
            Body::Movement(movement)
        }
        Body::Count(count) => {
            let Some(Place::At(location)) = alias(places, &Place::At(count.location.clone())) else {
                return None;
            };
            Body::Count(stockwire_protocol::Count { location, ..count.clone() })
        }
        Body::Lost { .. } | Body::Handling(_) => return None,
    };
    Some(Event { when: event.when, body })
}

/// The place that this one is an alias of; a place of that name goes before.
fn alias(places: &crate::catalogue::SitePlaces, place: &Place) -> Option<Place> {
    let Place::At(location) = place else { return None };
    if places.aliases.is_empty() || places.at.contains_key(location) {
        return None;
    }
    places.aliases.get(location.as_str()).cloned().map(Place::At)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u16 = 2026;

    fn item() -> Meaning {
        Meaning::Item(ItemId::new("MUG").unwrap())
    }

    fn place() -> Meaning {
        Meaning::Place(SiteId::new("HAM").unwrap(), LocationId::new("A-01").unwrap())
    }

    #[track_caller]
    fn check(code: &str, meaning: &Meaning, expected: Result<&str, &str>) {
        let got = alias_key(code, meaning, YEAR);
        match (got, expected) {
            (Ok(key), Ok(expected)) => assert_eq!(key.as_text(), expected, "{code:?}"),
            (Err(fault), Err(part)) => assert!(fault.contains(part), "{code:?}: {fault}"),
            (got, expected) => panic!("{code:?}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_persons_code_is_kept_as_stations_look_it_up() {
        check("]E04006381333931", &item(), Ok("04006381333931"));
        check("]C1010400638133393110LOT7", &item(), Ok("04006381333931"));
        check("]C1010400638133393110LOT7\\u{1d}21X", &item(), Ok("04006381333931"));
        check("4006381333931", &item(), Ok("04006381333931"));
        check("]A0OLD-7", &item(), Ok("OLD-7"));
        check("OLD-7", &place(), Ok("OLD-7"));
        check("SW:LOC:OLD-7", &place(), Ok("OLD-7"));
        check("SW:LOC:OLD-7", &item(), Err("location barcode"));
        check("SW:CMD:DONE", &item(), Err("command"));
        check("]E04006381333932", &item(), Err("stations refuse"));
        check("", &item(), Err("1 to 160 bytes"));
    }

    #[test]
    fn what_two_items_claim_means_neither() {
        let mut codes = Codes::default();
        let gtin = Gtin::parse("4006381333931").unwrap();
        codes.add(CodeKey::Gtin(gtin), ItemId::new("MUG").unwrap(), 1);
        codes.add(CodeKey::Text("X".into()), ItemId::new("MUG").unwrap(), 1);
        assert_eq!(codes.item("]E04006381333931", YEAR).map(|(item, _)| item.as_str()), Some("MUG"));
        assert_eq!(codes.item("]A0X", YEAR).map(|(item, _)| item.as_str()), Some("MUG"));
        codes.add(CodeKey::Text("X".into()), ItemId::new("BOX").unwrap(), 1);
        assert_eq!(codes.item("X", YEAR), None);
        assert_eq!(codes.item("Y", YEAR), None);
    }

    #[test]
    fn years_follow_the_clock() {
        assert_eq!((year_of(0), year_of(1_795_000_000_000), year_of(-1)), (1970, 2026, 1969));
    }
}
