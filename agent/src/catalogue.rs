//! What the agent knows about goods and places: barcode to item, and the locations of its site.
//!
//! It comes from the gateway in parts. Only complete revisions are used, and an older never overwrites a newer. The
//! last complete one survives restarts as the bytes of its parts; writing the file is the edge's job.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use stockwire_protocol::cbor::{CATALOGUE_BYTES_MAX, DecodeError, Message as _};
use stockwire_protocol::gs1::{Gtin, Scan};
use stockwire_protocol::{Catalogue as Part, CatalogueItem, ItemId, LocationId, SiteId};

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
        Self::index(site, 0, Vec::new(), HashSet::new())
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
            item.gtins.iter().for_each(|gtin| add(&mut by_gtin, *gtin, at));
            item.codes.iter().for_each(|code| add(&mut by_code, code.clone(), at));
        }
        Self { site, revision, items, by_id, by_gtin, by_code, locations }
    }
}

/// Most parts of one revision: a quarter of a million items, more than an edge box should hold in memory.
pub const PARTS_MAX: u32 = 64;

/// Collects parts until a revision is complete.
#[derive(Debug)]
pub struct Assembler {
    current: Arc<Catalogue>,
    pending: Option<Pending>,
}

/// A revision of which parts are missing.
#[derive(Debug)]
struct Pending {
    revision: u64,
    of: u32,
    parts: BTreeMap<u32, Part>,
}

/// What became of a part.
#[derive(Debug)]
pub enum PartOutcome {
    /// The revision is complete and current now.
    Complete {
        /// For the stations.
        catalogue: Arc<Catalogue>,
        /// For [`load`] after a restart: to be written as one file, atomically.
        durable: Vec<u8>,
    },
    /// More parts are needed.
    Waiting {
        /// Parts here.
        have: u32,
        /// Parts in all.
        of: u32,
    },
    /// It belongs to a revision that is not newer than the one known.
    Stale {
        /// The newest revision known.
        have: u64,
    },
    /// It cannot be used.
    Refused(CatalogueError),
}

/// Why a part or a file of parts cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CatalogueError {
    /// For another site.
    #[error("the catalogue is for site {got}, this box belongs to {expected}")]
    Site {
        /// Ours.
        expected: SiteId,
        /// What came.
        got: SiteId,
    },
    /// Its own numbering is impossible, or differs from other parts of the same revision.
    #[error("revision {revision}: part {part} of {parts} does not fit (at most {PARTS_MAX} parts)")]
    Numbering {
        /// Which revision.
        revision: u64,
        /// Which part.
        part: u32,
        /// Of how many.
        parts: u32,
    },
    /// The file ends in the middle of a part.
    #[error("the stored catalogue is cut off")]
    CutOff,
    /// A stored part does not read back.
    #[error("the stored catalogue does not read back")]
    Decode(#[source] DecodeError),
    /// The stored parts are no complete revision.
    #[error("the stored catalogue is incomplete")]
    Incomplete,
}

impl Assembler {
    /// Nothing known yet.
    pub fn new(site: SiteId) -> Self {
        Self { current: Arc::new(Catalogue::empty(site)), pending: None }
    }

    /// The newest complete revision.
    pub fn current(&self) -> &Arc<Catalogue> {
        &self.current
    }

    /// A part came, in any order and perhaps again.
    pub fn handle_part(&mut self, part: Part) -> PartOutcome {
        if part.site != self.current.site {
            return PartOutcome::Refused(CatalogueError::Site {
                expected: self.current.site.clone(),
                got: part.site,
            });
        }
        let numbering =
            CatalogueError::Numbering { revision: part.revision, part: part.part, parts: part.parts };
        if part.parts == 0 || part.parts > PARTS_MAX || part.part >= part.parts {
            return PartOutcome::Refused(numbering);
        }
        // An older revision never overwrites a newer, not even half of one.
        let newest = self.pending.as_ref().map_or(0, |pending| pending.revision);
        if part.revision <= self.current.revision || part.revision < newest {
            return PartOutcome::Stale { have: self.current.revision.max(newest) };
        }
        if part.revision > newest {
            self.pending = None;
        }
        let pending = self.pending.get_or_insert_with(|| Pending {
            revision: part.revision,
            of: part.parts,
            parts: BTreeMap::new(),
        });
        if pending.of != part.parts {
            return PartOutcome::Refused(numbering);
        }
        pending.parts.insert(part.part, part);
        let (have, of) = (pending.parts.len() as u32, pending.of);
        if have < of {
            return PartOutcome::Waiting { have, of };
        }
        let parts = self.pending.take().map(|pending| pending.parts).unwrap_or_default();
        self.complete(parts)
    }

    fn complete(&mut self, parts: BTreeMap<u32, Part>) -> PartOutcome {
        let durable = store(parts.values());
        let revision = parts.values().next().map_or(0, |part| part.revision);
        let (mut items, mut locations) = (Vec::new(), HashSet::new());
        for part in parts.into_values() {
            items.extend(part.items);
            locations.extend(part.locations);
        }
        let site = self.current.site.clone();
        self.current = Arc::new(Catalogue::index(site, revision, items, locations));
        PartOutcome::Complete { catalogue: Arc::clone(&self.current), durable }
    }
}

/// ```text
///  +------------+-----------------+------------+-----------------+
///  | length u32 | part 0, as CBOR | length u32 | part 1, as CBOR | ...   big endian
///  +------------+-----------------+------------+-----------------+
/// ```
fn store<'a>(parts: impl Iterator<Item = &'a Part>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        let part = part.encode();
        bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&part);
    }
    bytes
}

/// Reads back what [`PartOutcome::Complete`] gave to be written.
///
/// # Errors
/// When the file is damaged or belongs to another site. The catalogue comes again from the gateway, so the agent can
/// go on with [`Assembler::new`].
pub fn load(site: SiteId, durable: &[u8]) -> Result<Assembler, CatalogueError> {
    let mut assembler = Assembler::new(site);
    let mut rest = durable;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if length > CATALOGUE_BYTES_MAX || length > after.len() {
            return Err(CatalogueError::CutOff);
        }
        let (part, after) = after.split_at(length);
        rest = after;
        match assembler.handle_part(Part::decode(part).map_err(CatalogueError::Decode)?) {
            PartOutcome::Complete { .. } if rest.is_empty() => return Ok(assembler),
            PartOutcome::Waiting { .. } => {}
            PartOutcome::Refused(error) => return Err(error),
            PartOutcome::Complete { .. } | PartOutcome::Stale { .. } => {
                return Err(CatalogueError::Incomplete);
            }
        }
    }
    Err(if rest.is_empty() { CatalogueError::Incomplete } else { CatalogueError::CutOff })
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
        let PartOutcome::Complete { catalogue, .. } = assembler.handle_part(part(1, 0, 1, items)) else {
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
            PartOutcome::Complete { catalogue, .. } => {
                format!("complete {} with {}", catalogue.revision(), catalogue.len())
            }
            PartOutcome::Waiting { have, of } => format!("{have} of {of}"),
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
        assert!(matches!(assembler.handle_part(strange), PartOutcome::Refused(CatalogueError::Site { .. })));
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
        assert!(matches!(load(SiteId::new("BER").unwrap(), &durable), Err(CatalogueError::Site { .. })));
        let mut flipped = durable.clone();
        flipped[10] ^= 1;
        let _ = load(site(), &flipped);
    }
}
