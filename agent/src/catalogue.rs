//! What the agent knows about goods and places: barcode to item, and the locations of its site.
//!
//! It comes from the gateway in revisions; `feed.rs` collects them.

use std::collections::{HashMap, HashSet};

use stockwire_protocol::gs1::{Gtin, Scan};
use stockwire_protocol::{Catalogue as Part, CatalogueItem, ItemId, LocationId, SiteId};

pub use crate::feed::PARTS_MAX;
use crate::feed::{self, Book, FeedError, Head};

/// One complete revision, indexed. It does not change; a newer revision is a new value.
#[derive(Clone, Debug)]
pub struct Catalogue {
    site: SiteId,
    revision: u64,
    items: Vec<CatalogueItem>,
    by_id: HashMap<ItemId, u32>,
    by_gtin: HashMap<Gtin, Meaning>,
    by_code: HashMap<String, Meaning>,
    locations: HashSet<LocationId>,
}

/// Positions in `items`.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    One(u32),
    Several(u32, u32),
}

/// What a barcode means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LookUp<'a> {
    /// This item.
    Found(&'a CatalogueItem),
    /// None that we know.
    Unknown,
    /// Two items claim it. Booking either would be a guess.
    Ambiguous {
        /// One.
        first: &'a ItemId,
        /// The other.
        second: &'a ItemId,
    },
}

impl Catalogue {
    /// Before the first revision has come: nothing is known.
    pub fn empty(site: SiteId) -> Self {
        <Self as Book>::empty(site)
    }

    /// Of which site.
    pub fn site(&self) -> &SiteId {
        &self.site
    }

    /// Grows with every change; 0 before the first.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many locations.
    pub fn locations_len(&self) -> usize {
        self.locations.len()
    }

    /// All locations, in no order.
    pub fn locations(&self) -> impl Iterator<Item = &LocationId> {
        self.locations.iter()
    }

    /// The item of a scan: by its GTIN, by the GTIN of a licence plate's content, else by the bare text.
    pub fn look_up(&self, scan: &Scan) -> LookUp<'_> {
        let gtin = scan.gtin().or_else(|| scan.element_string().content_gtin());
        let meaning = gtin
            .and_then(|gtin| self.by_gtin.get(&gtin))
            .or_else(|| self.by_code.get(scan.data_text().as_str()));
        let item = |at: u32| &self.items[at as usize];
        match meaning {
            Some(Meaning::One(at)) => LookUp::Found(item(*at)),
            Some(Meaning::Several(first, second)) => {
                LookUp::Ambiguous { first: &item(*first).id, second: &item(*second).id }
            }
            None => LookUp::Unknown,
        }
    }

    /// The item of that id.
    pub fn item(&self, id: &ItemId) -> Option<&CatalogueItem> {
        self.by_id.get(id).map(|at| &self.items[*at as usize])
    }

    /// The location of that code, when the site has it.
    pub fn location(&self, code: &str) -> Option<&LocationId> {
        let id = LocationId::new(code).ok()?;
        self.locations.get(&id)
    }

    fn index(site: SiteId, revision: u64, items: Vec<CatalogueItem>, locations: HashSet<LocationId>) -> Self {
        fn add<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Meaning>, key: K, at: u32) {
            let entry = map.entry(key).or_insert(Meaning::One(at));
            if let Meaning::One(first) = *entry
                && first != at
            {
                *entry = Meaning::Several(first, at);
            }
        }
        let (mut by_id, mut by_gtin, mut by_code) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (at, item) in items.iter().enumerate() {
            let at = at as u32;
            by_id.insert(item.id.clone(), at);
            let packs = item.rules.packs.iter().map(|(gtin, _)| gtin);
            item.gtins.iter().chain(packs).for_each(|gtin| add(&mut by_gtin, *gtin, at));
            item.codes.iter().for_each(|code| add(&mut by_code, code.clone(), at));
        }
        Self { site, revision, items, by_id, by_gtin, by_code, locations }
    }
}

impl Book for Catalogue {
    type Part = Part;

    fn empty(site: SiteId) -> Self {
        Self::index(site, 0, Vec::new(), HashSet::new())
    }

    fn site(&self) -> &SiteId {
        &self.site
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn head(part: &Part) -> Head<'_> {
        let since = part.since.as_ref().map(|since| since.revision);
        Head { revision: part.revision, part: part.part, parts: part.parts, site: &part.site, since }
    }

    fn snapshot(site: SiteId, revision: u64, parts: Vec<Part>) -> Self {
        let (mut items, mut locations) = (Vec::new(), HashSet::new());
        for part in parts {
            items.extend(part.items);
            locations.extend(part.locations);
        }
        Self::index(site, revision, items, locations)
    }

    fn changed(&self, changes: Part) -> Self {
        let gone = changes.since.iter().flat_map(|since| &since.items);
        let touched: HashSet<&ItemId> = changes.items.iter().map(|item| &item.id).chain(gone).collect();
        let kept = self.items.iter().filter(|item| !touched.contains(&item.id)).cloned();
        let items = kept.chain(changes.items.iter().cloned()).collect();
        let mut locations = self.locations.clone();
        for location in changes.since.iter().flat_map(|since| &since.locations) {
            locations.remove(location);
        }
        locations.extend(changes.locations);
        Self::index(self.site.clone(), changes.revision, items, locations)
    }
}

/// Collects parts of the catalogue.
pub type Assembler = feed::Assembler<Catalogue>;
/// What became of a part.
pub type PartOutcome = feed::Outcome<Catalogue>;

/// Reads back what [`PartOutcome::Complete`] gave to be written.
///
/// # Errors
/// When the file is damaged or belongs to another site.
pub fn load(site: SiteId, durable: &[u8]) -> Result<Assembler, FeedError> {
    feed::load(site, durable)
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::gs1::interpret;
    use stockwire_protocol::{ItemRules, Uom};

    use super::*;

    fn site() -> SiteId {
        SiteId::new("HAM").unwrap()
    }

    fn item(id: &str, gtins: &[&str], codes: &[&str]) -> CatalogueItem {
        CatalogueItem {
            id: ItemId::new(id).unwrap(),
            name: format!("the {id}"),
            uom: Uom::Piece,
            gtins: gtins.iter().map(|gtin| Gtin::parse(gtin).unwrap()).collect(),
            codes: codes.iter().map(|code| (*code).to_string()).collect(),
            rules: ItemRules::default(),
        }
    }

    fn part(revision: u64, part: u32, parts: u32, items: Vec<CatalogueItem>) -> Part {
        let locations = vec![LocationId::new(format!("A-0{part}")).unwrap()];
        Part { revision, part, parts, site: site(), items, locations, since: None }
    }

    fn id_of(catalogue: &Catalogue, raw: &str) -> String {
        match catalogue.look_up(&interpret(raw.as_bytes(), 2026)) {
            LookUp::Found(item) => item.id.to_string(),
            LookUp::Unknown => "unknown".into(),
            LookUp::Ambiguous { first, second } => format!("{first} or {second}"),
        }
    }

    #[test]
    fn finds_items_by_every_code_they_have() {
        let mut assembler = Assembler::new(site());
        let items =
            vec![item("MUG", &["4006381333931"], &["MUG-1", "X"]), item("BOX", &["95060001343528"], &["X"])];
        let PartOutcome::Complete { current: catalogue, .. } = assembler.handle_part(part(1, 0, 1, items))
        else {
            panic!()
        };
        for (raw, expected) in [
            ("]E04006381333931", "MUG"),
            ("]C10104006381333931", "MUG"),
            ("]C1029506000134352837 24".replace(' ', "").as_str(), "BOX"),
            ("MUG-1", "MUG"),
            ("]A0MUG-1", "MUG"),
            ("X", "MUG or BOX"),
            ("mug-1", "unknown"),
            ("]E09506000134352", "unknown"),
        ] {
            assert_eq!(id_of(&catalogue, raw), expected, "{raw}");
        }
        assert_eq!(catalogue.item(&ItemId::new("BOX").unwrap()).unwrap().name, "the BOX");
        assert_eq!(catalogue.location("A-00").unwrap().as_str(), "A-00");
        assert_eq!(
            (catalogue.location("A-01"), catalogue.location(""), catalogue.location("A/1")),
            (None, None, None)
        );
    }

    #[test]
    fn only_complete_revisions_count_and_older_never_overwrite_newer() {
        let mut assembler = Assembler::new(site());
        let mut give = |revision, at, of, id: &str| match assembler.handle_part(part(
            revision,
            at,
            of,
            vec![item(id, &[], &[id])],
        )) {
            PartOutcome::Complete { current: catalogue, .. } => {
                format!("complete {} with {}", catalogue.revision(), catalogue.len())
            }
            PartOutcome::Waiting { have, of } => format!("{have} of {of}"),
            PartOutcome::Changed { current, .. } => format!("changed to {}", current.revision()),
            PartOutcome::Stale { have } => format!("stale, have {have}"),
            PartOutcome::Refused(error) => error.to_string(),
        };
        assert_eq!(give(5, 1, 2, "B"), "1 of 2");
        assert_eq!(give(5, 1, 2, "B"), "1 of 2", "the same part again is no second one");
        assert_eq!(give(4, 0, 1, "OLD"), "stale, have 5", "also while the newer is not complete");
        assert_eq!(give(5, 0, 2, "A"), "complete 5 with 2");
        assert_eq!(give(5, 0, 2, "A"), "stale, have 5");
        assert_eq!(give(6, 0, 3, "A"), "1 of 3");
        assert_eq!(give(7, 0, 1, "C"), "complete 7 with 1", "a newer revision does not wait for an older");
        assert_eq!(give(6, 1, 3, "B"), "stale, have 7");
        assert_eq!(give(8, 0, 2, "A"), "1 of 2");
        assert_eq!(give(8, 2, 3, "A"), "revision 8: part 2 of 3 does not fit (at most 64 parts)");
        assert_eq!(give(8, 2, 2, "A"), "revision 8: part 2 of 2 does not fit (at most 64 parts)");
        assert_eq!(give(9, 0, 65, "A"), "revision 9: part 0 of 65 does not fit (at most 64 parts)");
        assert_eq!(assembler.current().revision(), 7);
        let strange = Part { site: SiteId::new("BER").unwrap(), ..part(99, 0, 1, vec![]) };
        assert!(matches!(assembler.handle_part(strange), PartOutcome::Refused(FeedError::Site { .. })));
    }

    #[test]
    fn survives_a_restart_or_says_why_not() {
        let mut assembler = Assembler::new(site());
        assembler.handle_part(part(3, 1, 2, vec![item("B", &[], &["b"])]));
        let outcome = assembler.handle_part(part(3, 0, 2, vec![item("A", &["4006381333931"], &[])]));
        let PartOutcome::Complete { durable, .. } = outcome else { panic!("{outcome:?}") };
        let loaded = load(site(), &durable).unwrap();
        assert_eq!(
            (loaded.current().revision(), loaded.current().len(), loaded.current().locations_len()),
            (3, 2, 2)
        );
        assert_eq!(id_of(loaded.current(), "]E04006381333931"), "A");

        for cut in 0..durable.len() {
            assert!(load(site(), &durable[..cut]).is_err(), "cut at {cut}");
        }
        assert!(load(site(), &[durable.as_slice(), &durable].concat()).is_err());
        assert!(matches!(load(SiteId::new("BER").unwrap(), &durable), Err(FeedError::Site { .. })));
        let mut flipped = durable.clone();
        flipped[10] ^= 1;
        let _ = load(site(), &flipped);
    }

    #[test]
    fn changes_are_put_onto_their_snapshot_and_wait_for_it() {
        let mut assembler = Assembler::new(site());
        let changes = |revision, since, items: Vec<CatalogueItem>, gone: &[&str]| Part {
            since: Some(stockwire_protocol::CatalogueSince {
                revision: since,
                items: gone.iter().map(|id| ItemId::new(*id).unwrap()).collect(),
                locations: vec![LocationId::new("A-00").unwrap()],
            }),
            locations: vec![LocationId::new("B-01").unwrap()],
            ..part(revision, 0, 1, items)
        };
        let early = assembler.handle_part(changes(12, 10, vec![item("C", &[], &["c"])], &["A"]));
        assert!(matches!(early, PartOutcome::Waiting { .. }), "{early:?}");
        assert!(assembler.handle_waiting().is_none());
        let snapshot = part(10, 0, 1, vec![item("A", &[], &["a"]), item("B", &[], &["b"])]);
        let PartOutcome::Complete { current, durable: first } = assembler.handle_part(snapshot) else {
            panic!()
        };
        assert_eq!(
            (current.revision(), id_of(&current, "a"), id_of(&current, "c")),
            (10, "A".into(), "unknown".into())
        );
        let Some(PartOutcome::Changed { current, durable: second }) = assembler.handle_waiting() else {
            panic!()
        };
        let seen = (current.revision(), id_of(&current, "a"), id_of(&current, "b"), id_of(&current, "c"));
        assert_eq!(seen, (12, "unknown".into(), "B".into(), "C".into()));
        assert_eq!((current.location("A-00"), current.location("B-01").is_some()), (None, true));
        assert!(assembler.handle_waiting().is_none());

        // Older changes and the snapshot again change nothing; newer ones of the same snapshot go on top.
        let older = assembler.handle_part(changes(11, 10, vec![item("X", &[], &[])], &[]));
        assert!(matches!(older, PartOutcome::Stale { have: 12 }), "{older:?}");
        let PartOutcome::Changed { current, .. } =
            assembler.handle_part(changes(13, 10, vec![item("C", &[], &["c2"])], &["A"]))
        else {
            panic!()
        };
        assert_eq!((id_of(&current, "c"), id_of(&current, "c2")), ("unknown".into(), "C".into()));

        let mut loaded = load(site(), &first).unwrap();
        loaded.handle_stored_changes(&second).unwrap();
        assert_eq!(id_of(loaded.current(), "c"), "C");
        assert!(loaded.handle_stored_changes(&second[1..]).is_err());
    }

    #[test]
    fn the_gtin_of_a_pack_finds_the_item() {
        let mut mug = item("MUG", &["4006381333931"], &[]);
        mug.rules.packs = vec![(Gtin::parse("14006381333938").unwrap(), 12)];
        let mut assembler = Assembler::new(site());
        let PartOutcome::Complete { current, .. } = assembler.handle_part(part(1, 0, 1, vec![mug])) else {
            panic!()
        };
        assert_eq!(id_of(&current, "]C10114006381333938"), "MUG");
    }
}
