//! What is stocked, where, and under which name each outside system knows it.
//!
//! The ERP is the master: its connector reads items and places and hands over a whole [`Snapshot`]; the store keeps
//! it under a growing revision. References are the ERP's own keys, opaque here. Rows are never deleted, because the
//! ledger names them for ever: what a newer snapshot lacks becomes inactive.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{
    Catalogue, CatalogueItem, ChannelId, ItemId, LocationId, Place, SiteId, Sku, Uom, cbor,
};

/// One ERP connection, by its name in the configuration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ErpId(String);

impl ErpId {
    /// Longest name.
    pub const LENGTH_MAX: usize = 32;

    /// `None` unless it is 1 to 32 of `a-z 0-9 -`: the name stands in posting references and metric labels.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        ((1..=Self::LENGTH_MAX).contains(&text.len()) && text.bytes().all(safe)).then_some(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ErpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Everything one ERP knows about goods and places.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// Sites (warehouses).
    pub sites: Vec<Site>,
    /// Items; ids are unique.
    pub items: Vec<Item>,
    /// Physical locations; (site, location) is unique and each site is listed.
    pub locations: Vec<Location>,
}

/// One warehouse or store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Site {
    /// Our identity.
    pub site: SiteId,
    /// The ERP's key or keys, in the connector's own form (JSON where it needs several).
    pub reference: Option<String>,
}

/// One stock-keeping identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Our identity.
    pub id: ItemId,
    /// For people.
    pub name: String,
    /// The unit in which it is booked.
    pub uom: Uom,
    /// GTINs that mean one `uom` of it.
    pub gtins: Vec<Gtin>,
    /// Other codes that mean it.
    pub codes: Vec<String>,
    /// The ERP's key, in the connector's own form.
    pub reference: Option<String>,
}

/// One physical place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    /// Where it stands.
    pub site: SiteId,
    /// Its code, as printed on the shelf.
    pub location: LocationId,
    /// The ERP's key, in the connector's own form.
    pub reference: Option<String>,
}

/// That a channel sells an item under a code of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// The channel's code.
    pub sku: Sku,
    /// What it is here.
    pub item: ItemId,
    /// The channel's key, in the connector's own form.
    pub reference: Option<String>,
}

/// A store's number for an item: small and stable, so that ledger rows are small.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ItemNo(pub i64);

/// A store's number for a place of a site, the virtual ones included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PlaceNo(pub i64);

/// What ingest must know about an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ItemFacts {
    /// Its number in the store.
    pub no: ItemNo,
    /// The unit in which it is booked.
    pub uom: Uom,
}

/// The catalogue in the form that ingest looks things up in; loaded once per revision.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// Grows with every change of what stands here; not the revision that agents see.
    pub revision: u64,
    /// By our identity.
    pub items: HashMap<ItemId, ItemFacts>,
    /// Per site; a site without an entry is unknown. Empty = no catalogue yet.
    pub sites: HashMap<SiteId, SitePlaces>,
    /// The virtual places of all sites.
    pub virtual_places: HashSet<PlaceNo>,
    /// Items that some channel sells: a movement changes an availability.
    pub listed: HashSet<ItemNo>,
}

/// The places of one site.
#[derive(Clone, Debug, Default)]
pub struct SitePlaces {
    /// Whether the opening stock is booked; before that nothing else can be.
    pub open: bool,
    /// Physical ones.
    pub at: HashMap<LocationId, PlaceNo>,
    /// Other names of physical ones, by the text of their code.
    pub aliases: HashMap<String, LocationId>,
    /// Virtual ones; all four exist.
    pub virtual_places: BTreeMap<Place, PlaceNo>,
}

impl SitePlaces {
    /// The number of a place, when the site has it.
    pub fn number(&self, place: &Place) -> Option<PlaceNo> {
        match place {
            Place::At(location) => self.at.get(location).copied(),
            place => self.virtual_places.get(place).copied(),
        }
    }
}

/// The revision under which agents are told a snapshot of this state. Of one state a snapshot is newer than changes: an
/// agent that came to it by changes takes the snapshot all the same, and later changes are changes of that.
pub fn snapshot_revision(state: u64) -> u64 {
    state.saturating_mul(2).saturating_add(1)
}

/// The revision under which agents are told the changes that lead to this state.
pub fn changes_revision(state: u64) -> u64 {
    state.saturating_mul(2)
}

/// Cuts one site's snapshot into parts, none of which is larger than a message may be.
///
/// Items come in order of their id and locations in order of their code, so equal catalogues give equal bytes.
pub fn parts(
    revision: u64,
    site: &SiteId,
    items: &[CatalogueItem],
    locations: &[LocationId],
) -> Vec<Catalogue> {
    // Array heads, version, revision, part numbers and the longest site come to less than this.
    const HEAD_BYTES: usize = 128;
    // What CBOR adds to a text or a number: at most five and nine bytes.
    let item_bytes = |item: &CatalogueItem| {
        let codes: usize = item.codes.iter().map(|code| code.len() + 5).sum();
        let recalled: usize = item.rules.recalled.iter().map(|lot| lot.as_str().len() + 5).sum();
        let rules = recalled + item.rules.packs.len() * 15 + 34;
        item.id.as_str().len() + item.name.len() + item.gtins.len() * 9 + codes + rules + 24
    };
    let mut cut: Vec<(Vec<CatalogueItem>, Vec<LocationId>)> = vec![Default::default()];
    let mut room = cbor::CATALOGUE_BYTES_MAX - HEAD_BYTES;
    let mut open = |cut: &mut Vec<(Vec<CatalogueItem>, Vec<LocationId>)>, bytes: usize| {
        if bytes > room {
            cut.push(Default::default());
            room = cbor::CATALOGUE_BYTES_MAX - HEAD_BYTES;
        }
        room = room.saturating_sub(bytes);
    };
    let mut items: Vec<&CatalogueItem> = items.iter().collect();
    items.sort_by(|a, b| a.id.cmp(&b.id));
    for item in items {
        open(&mut cut, item_bytes(item));
        if let Some(part) = cut.last_mut() {
            part.0.push(item.clone());
        }
    }
    let mut locations: Vec<&LocationId> = locations.iter().collect();
    locations.sort();
    for location in locations {
        open(&mut cut, location.as_str().len() + 5);
        if let Some(part) = cut.last_mut() {
            part.1.push(location.clone());
        }
    }
    let parts = cut.len() as u32;
    let part = |(part, (items, locations))| Catalogue {
        revision,
        part: part as u32,
        parts,
        site: site.clone(),
        items,
        locations,
        since: None,
    };
    cut.into_iter().enumerate().map(part).collect()
}

/// Which listings of which channel a catalogue change concerns; see [`crate::store::Store::replace_listings`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListingsChange {
    /// Whose.
    pub channel: ChannelId,
    /// Listings whose item the catalogue does not know: they are kept out, and told.
    pub unknown_items: Vec<Listing>,
    /// How many are active now.
    pub active: usize,
}
