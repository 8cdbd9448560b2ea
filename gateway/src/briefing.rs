//! What agents are told without asking: the catalogue, what is to be done, and what lies where.
//!
//! Each agent is given a snapshot in parts, retained at the broker, and from then on the changes since it, one retained
//! message that is replaced by the next. When the changes have grown beyond what they save, or when neither broker nor
//! agent may know the snapshot any more, there is a new one. Nothing is told when nothing has changed.
//!
//! ```text
//!   heard of, or connected anew --> snapshot --> changes --> changes --> ... too large: snapshot --> changes ...
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use stockwire_protocol::cbor::{self, Message as _};
use stockwire_protocol::topic::Subject;
use stockwire_protocol::{
    AgentId, AsOf, Bin, Catalogue, Reference, SiteId, Task, TaskKind, Tasks, TasksSince,
};

use crate::catalogue::{changes_revision, snapshot_revision};
use crate::store::{Reader, StoreError};

/// Between two messages about tasks to one agent: operators at other stations see each other's work within this, and a
/// busy site still sends no more than one message a second.
pub const TASKS_INTERVAL: Duration = Duration::from_secs(1);
/// The same when only stock moved. An agent knows its own movements at once; those of others make warnings better.
pub const BINS_INTERVAL: Duration = Duration::from_secs(30);
/// Lines of stock that agents are told, at most: what an edge box keeps. A larger site is told none.
pub const BIN_LINES_MAX: usize = 16_384;
/// Changed items, places, tasks or bins read for one message: with more a snapshot is the better answer.
pub const CHANGES_ROWS_MAX: usize = 2_000;
/// Rows of the books looked through for touched places: some ten milliseconds of reading.
pub const CHANGES_LEDGER_MAX: u64 = 50_000;
/// Changes are sent whole each time. Below this that costs next to nothing; above it, at more than a share of the
/// snapshot, a new snapshot is cheaper than repeating them.
pub const CHANGES_BYTES_FREE: usize = 8 * 1024;
/// The share of the snapshot: with an eighth, what is repeated and what is sent anew cost about the same.
const CHANGES_SHARE: usize = 8;

/// How far everything has come that agents are told of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// Revision of the catalogue; 0 = none yet.
    pub catalogue: u64,
    /// Last row of the books.
    pub ledger: u64,
    /// Changes of the tasks of each site.
    pub tasks: BTreeMap<SiteId, u64>,
}

/// How far the tasks and the stock of one site had come. Both only grow, so their sum tells older from newer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// Changes of the site's tasks.
    pub tasks: u64,
    /// Last row of the books.
    pub ledger: u64,
}

impl Mark {
    fn state(self) -> u64 {
        self.tasks.saturating_add(self.ledger)
    }
}

/// Tasks and stock of a site, from one consistent state; all, or what was touched since a mark.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Picture {
    /// As of when.
    pub mark: Mark,
    /// Open tasks with what is still to be done.
    pub tasks: Vec<Task>,
    /// Touched tasks that are not open.
    pub gone: Vec<(TaskKind, Reference)>,
    /// What lies where, aliases of places included; `None` beyond [`BIN_LINES_MAX`]. In changes a touched place that is
    /// empty now is named.
    pub bins: Option<Vec<Bin>>,
    /// How far each agent's journal is in it.
    pub agents: Vec<(AgentId, AsOf)>,
}

/// What has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delta<T> {
    /// Nothing that concerns this site.
    Nothing,
    /// This.
    Changes(T),
    /// More than [`CHANGES_ROWS_MAX`] or [`CHANGES_LEDGER_MAX`].
    TooMany,
}

/// A message for an agent, retained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Where.
    pub site: SiteId,
    /// For whom.
    pub agent: AgentId,
    /// About what.
    pub subject: Subject,
    /// Encoded.
    pub payload: Vec<u8>,
}

/// Who was told what. Gone with the process and with the connection: then everybody is told anew.
#[derive(Debug, Default)]
pub struct Briefing {
    agents: BTreeMap<(SiteId, AgentId), Told>,
    /// The catalogue's revision at the last look.
    catalogue: u64,
}

/// What one agent was told.
#[derive(Debug, Default)]
struct Told {
    catalogue: Option<ToldCatalogue>,
    tasks: Option<ToldTasks>,
}

#[derive(Clone, Copy, Debug)]
struct ToldCatalogue {
    /// State of the snapshot.
    base: u64,
    bytes: usize,
    /// Revision of the newest changes told; that of the snapshot when there were none.
    newest: u64,
}

#[derive(Clone, Copy, Debug)]
struct ToldTasks {
    /// Revision of the snapshot.
    snapshot: u64,
    bytes: usize,
    /// What was touched behind this is in the changes. Moves on while nothing is.
    since: Mark,
    /// Up to where the agent has been told, or there was nothing to tell.
    told: Mark,
    with_bins: bool,
    /// When the last message went out.
    at: Duration,
}

impl Briefing {
    /// Nobody was told anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new connection: what the broker has kept is not known.
    pub fn forget(&mut self) {
        self.agents.values_mut().for_each(|told| *told = Told::default());
    }

    /// An agent was heard. `true` = for the first time, so that it waits for its first snapshot.
    pub fn heard(&mut self, site: &SiteId, agent: &AgentId) -> bool {
        let key = (site.clone(), agent.clone());
        if self.agents.contains_key(&key) {
            return false;
        }
        // A box that was carried elsewhere listens there only.
        self.agents.retain(|(_, other), _| other != agent);
        self.agents.insert(key, Told::default());
        true
    }

    /// What is to be told now, in the order in which it should go out.
    ///
    /// # Errors
    /// The store's; what was not returned is told at the next look.
    pub fn poll(&mut self, now: Duration, reader: &dyn Reader) -> Result<Vec<Notice>, StoreError> {
        let marks = reader.marks()?;
        let mut notices = Vec::new();
        // Without a catalogue nothing can be booked and no code is known.
        if marks.catalogue == 0 {
            return Ok(notices);
        }
        let mut sites: BTreeMap<SiteId, Site<'_>> = BTreeMap::new();
        let catalogue_moved = marks.catalogue != self.catalogue;
        for ((site, agent), told) in &mut self.agents {
            let known = sites.entry(site.clone()).or_insert_with(|| Site::new(reader, site));
            let from = notices.len();
            if told.catalogue.is_none() || catalogue_moved {
                tell_catalogue(known, &mut told.catalogue, &mut notices, agent)?;
            }
            let mark =
                Mark { tasks: marks.tasks.get(site).copied().unwrap_or_default(), ledger: marks.ledger };
            if is_due(told.tasks.as_ref(), mark, now) {
                tell_tasks(known, now, mark, (&mut told.tasks, agent), &mut notices)?;
            }
            debug_assert!(
                notices[from..].iter().all(|notice| notice.payload.len() <= cbor::CATALOGUE_BYTES_MAX)
            );
        }
        self.catalogue = marks.catalogue;
        Ok(notices)
    }
}

/// Whether it is time to look for changes of tasks or stock.
fn is_due(told: Option<&ToldTasks>, mark: Mark, now: Duration) -> bool {
    let Some(told) = told else { return true };
    let quiet = now.saturating_sub(told.at);
    (mark.tasks > told.told.tasks && quiet >= TASKS_INTERVAL)
        || (mark.ledger > told.told.ledger && quiet >= BINS_INTERVAL)
}

/// What was read of one site at this look: agents of a site are told the same.
struct Site<'a> {
    reader: &'a dyn Reader,
    site: SiteId,
    /// Encoded parts and the state they tell.
    catalogue: Option<(u64, Vec<Vec<u8>>)>,
    catalogue_changes: BTreeMap<u64, Delta<Catalogue>>,
    tasks: Option<Picture>,
    /// By where they start.
    task_changes: Vec<(Mark, Delta<Picture>)>,
}

impl<'a> Site<'a> {
    fn new(reader: &'a dyn Reader, site: &SiteId) -> Self {
        Self {
            reader,
            site: site.clone(),
            catalogue: None,
            catalogue_changes: BTreeMap::new(),
            tasks: None,
            task_changes: Vec::new(),
        }
    }

    fn catalogue(&mut self) -> Result<&(u64, Vec<Vec<u8>>), StoreError> {
        if self.catalogue.is_none() {
            let parts = self.reader.catalogue_parts(&self.site)?;
            let state = parts.first().map_or(0, |part| part.revision / 2);
            self.catalogue = Some((state, parts.iter().map(Catalogue::encode).collect()));
        }
        self.catalogue.as_ref().ok_or(StoreError::Busy { doing: "reading the catalogue" })
    }

    fn catalogue_changes(&mut self, base: u64) -> Result<Delta<Catalogue>, StoreError> {
        if let Some(changes) = self.catalogue_changes.get(&base) {
            return Ok(changes.clone());
        }
        let changes = self.reader.catalogue_changes(&self.site, base)?;
        self.catalogue_changes.insert(base, changes.clone());
        Ok(changes)
    }

    /// `None`: no ERP knows this site (yet).
    fn tasks(&mut self) -> Result<Option<&Picture>, StoreError> {
        if self.tasks.is_none() {
            self.tasks = match self.reader.picture(&self.site, None)? {
                Delta::Changes(picture) => Some(picture),
                Delta::Nothing | Delta::TooMany => None,
            };
        }
        Ok(self.tasks.as_ref())
    }

    fn task_changes(&mut self, since: Mark) -> Result<Delta<Picture>, StoreError> {
        if let Some((_, changes)) = self.task_changes.iter().find(|(mark, _)| *mark == since) {
            return Ok(changes.clone());
        }
        let changes = self.reader.picture(&self.site, Some(since))?;
        self.task_changes.push((since, changes.clone()));
        Ok(changes)
    }
}

/// Whether changes of this size are worth less than a snapshot of that.
fn outgrown(changes: usize, snapshot: usize) -> bool {
    changes > CHANGES_BYTES_FREE.max(snapshot / CHANGES_SHARE) || changes > cbor::CATALOGUE_BYTES_MAX
}

fn tell_catalogue(
    site: &mut Site<'_>,
    told: &mut Option<ToldCatalogue>,
    notices: &mut Vec<Notice>,
    agent: &AgentId,
) -> Result<(), StoreError> {
    let name = site.site.clone();
    let notice = |subject, payload| Notice { site: name.clone(), agent: agent.clone(), subject, payload };
    if let Some(before) = told {
        match site.catalogue_changes(before.base)? {
            Delta::Nothing => return Ok(()),
            Delta::Changes(changes) if changes.revision <= before.newest => return Ok(()),
            Delta::Changes(changes) => {
                let payload = changes.encode();
                if !outgrown(payload.len(), before.bytes) {
                    before.newest = changes.revision;
                    notices.push(notice(Subject::CatalogueChanges, payload));
                    return Ok(());
                }
            }
            Delta::TooMany => {}
        }
    }
    let (state, parts) = site.catalogue()?;
    if parts.is_empty() {
        // No ERP knows this site (yet).
        return Ok(());
    }
    for (part, payload) in (0..).zip(parts) {
        notices.push(notice(Subject::Catalogue { part }, payload.clone()));
    }
    let bytes = parts.iter().map(Vec::len).sum();
    *told = Some(ToldCatalogue { base: *state, bytes, newest: snapshot_revision(*state) });
    Ok(())
}

fn tell_tasks(
    site: &mut Site<'_>,
    now: Duration,
    mark: Mark,
    (told, agent): (&mut Option<ToldTasks>, &AgentId),
    notices: &mut Vec<Notice>,
) -> Result<(), StoreError> {
    let name = site.site.clone();
    let notice = |subject, payload| Notice { site: name.clone(), agent: agent.clone(), subject, payload };
    if let Some(before) = told {
        match site.task_changes(before.since)? {
            Delta::Nothing => {
                // Others' movements: looked through, and never again.
                (before.told, before.since) = (mark, mark);
                return Ok(());
            }
            Delta::Changes(picture) if picture.bins.is_some() == before.with_bins => {
                let changes = changes(&site.site, agent, before.snapshot, &picture);
                let payload = changes.encode();
                if !outgrown(payload.len(), before.bytes) {
                    (before.told, before.at) = (picture.mark, now);
                    notices.push(notice(Subject::TasksChanges, payload));
                    return Ok(());
                }
            }
            Delta::Changes(_) | Delta::TooMany => {}
        }
    }
    let name = site.site.clone();
    let Some(picture) = site.tasks()? else { return Ok(()) };
    let parts = parts(&name, agent, picture);
    let payloads: Vec<Vec<u8>> = parts.iter().map(Tasks::encode).collect();
    *told = Some(ToldTasks {
        snapshot: snapshot_revision(picture.mark.state()),
        bytes: payloads.iter().map(Vec::len).sum(),
        since: picture.mark,
        told: picture.mark,
        with_bins: picture.bins.is_some(),
        at: now,
    });
    for (part, payload) in (0..).zip(payloads) {
        notices.push(notice(Subject::Tasks { part }, payload));
    }
    Ok(())
}

fn as_of(agent: &AgentId, picture: &Picture) -> Option<AsOf> {
    picture.agents.iter().find(|(other, _)| other == agent).map(|(_, as_of)| *as_of)
}

fn changes(site: &SiteId, agent: &AgentId, snapshot: u64, picture: &Picture) -> Tasks {
    Tasks {
        revision: changes_revision(picture.mark.state()),
        part: 0,
        parts: 1,
        site: site.clone(),
        as_of: as_of(agent, picture),
        tasks: picture.tasks.clone(),
        bins: picture.bins.clone(),
        since: Some(TasksSince { revision: snapshot, gone: picture.gone.clone() }),
    }
}

/// Cuts a picture into parts, none of which is larger than a message may be.
pub fn parts(site: &SiteId, agent: &AgentId, picture: &Picture) -> Vec<Tasks> {
    // Array heads, version, revision, part numbers, the longest site and the point in the journal.
    const HEAD_BYTES: usize = 160;
    const ROOM: usize = cbor::CATALOGUE_BYTES_MAX - HEAD_BYTES;
    let empty = || Tasks {
        revision: snapshot_revision(picture.mark.state()),
        part: 0,
        parts: 1,
        site: site.clone(),
        as_of: as_of(agent, picture),
        tasks: Vec::new(),
        bins: picture.bins.is_some().then(Vec::new),
        since: None,
    };
    let mut parts = vec![empty()];
    let mut room = ROOM;
    let mut open = |parts: &mut Vec<Tasks>, bytes: usize| {
        if bytes > room {
            parts.push(empty());
            room = ROOM;
        }
        room = room.saturating_sub(bytes);
    };
    for task in &picture.tasks {
        open(&mut parts, task_bytes(task));
        parts.last_mut().into_iter().for_each(|part| part.tasks.push(task.clone()));
    }
    for bin in picture.bins.iter().flatten() {
        let items: usize = bin.items.iter().map(|(item, _)| item.as_str().len() + 16).sum();
        open(&mut parts, bin.location.as_str().len() + 10 + items);
        parts.last_mut().into_iter().flat_map(|part| &mut part.bins).for_each(|bins| bins.push(bin.clone()));
    }
    let count = parts.len() as u32;
    for (at, part) in (0..).zip(&mut parts) {
        (part.part, part.parts) = (at, count);
    }
    parts
}

/// At least what a task takes on the wire: texts with three bytes of head, numbers with nine.
fn task_bytes(task: &Task) -> usize {
    let text = |text: Option<usize>| text.unwrap_or(0) + 3;
    let line = |line: &stockwire_protocol::TaskLine| {
        line.item.as_str().len()
            + text(line.from.as_ref().map(|place| place.as_str().len()))
            + text(line.to.as_ref().map(|place| place.as_str().len()))
            + text(line.lot.as_ref().map(|lot| lot.as_str().len()))
            + 24
    };
    task.id.as_str().len()
        + text(task.order.as_ref().map(|order| order.as_str().len()))
        + text(task.location.as_ref().map(|place| place.as_str().len()))
        + task.lines.iter().map(line).sum::<usize>()
        + 12
}
