//! Senders: each takes outgoing work for one ERP or one channel from the store, has it done, and records what came
//! of it.
//!
//! Work is durable before it is sent and its result is durable before the next piece is taken; so a crash leaves at
//! most one piece of unknown outcome, which whoever takes the work over looks up. A sender is pure: the edge polls it
//! with the time and the store, sends what it wants sent and hands back what came. The seeded world drives the same
//! code.
//!
//! Of several gateways one at a time does a sender's work, under a [lease](crate::lease). The edge sees to it: a sender
//! lives from the taking of its lease to the loss, is polled behind the fence, and must only begin by looking at what an
//! earlier holder left in flight.

mod channel;
mod erp;
mod order;

use std::time::Duration;

use crate::catalogue::ErpId;
use crate::exchange::{Answer, Connector, Endpoint, Failure, Health, Loss, Outbound};
use crate::reconcile::{self, ErpQuantity, Evidence, Plan, Snapshot};
use crate::store::{Reader, Store, StoreError};

pub use channel::{ChannelSender, ChannelSettings};
pub use erp::{ErpSender, ErpSettings, Opening};
pub use order::{OrderDoor, OrderSender};

/// A moment on both clocks: one that only goes forward, and one that the books understand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Since the process began.
    pub now: Duration,
    /// Wall time, unix milliseconds.
    pub unix_ms: i64,
}

impl Moment {
    /// The wall time at a later moment of the monotonic clock.
    fn unix_ms_at(&self, then: Duration) -> i64 {
        let ms = then.saturating_sub(self.now).as_millis();
        self.unix_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
    }
}

/// What a sender wants from the edge.
#[derive(Debug)]
pub enum Want {
    /// Send this, and hand in what came of it before polling again.
    Send(Outbound),
    /// Poll again at this time, or earlier when there is news.
    Wait(Duration),
}

/// What somebody asks of a sender besides its daily work.
pub enum Order {
    /// Read items and places (or SKUs) again, soon.
    Refresh,
    /// Compare the ERP with the books. A channel's sender answers with a failure.
    Reconcile(Reply),
}

/// Where the answer to [`Order::Reconcile`] goes.
pub type Reply = Box<dyn FnOnce(Result<Plan, Failure>) + Send>;

/// One ERP's or one channel's sender.
pub trait Sender: Send {
    /// Whose door it uses: for the HTTP client.
    fn connector(&self) -> &dyn Connector;

    /// The lease under which it works, so that one gateway at a time does: its kind and its name.
    fn lease(&self) -> String;

    /// Goes as far as it can without sending. After an error nothing is lost: poll again.
    ///
    /// # Errors
    /// The store's.
    fn poll(&mut self, at: Moment, store: &mut dyn Store, random: u64) -> Result<Want, StoreError>;

    /// What came of the request that [`Want::Send`] asked for.
    fn handle_outcome(&mut self, at: Moment, outcome: Result<Answer, Loss>, random: u64);

    /// There is new work in the store.
    fn handle_wake(&mut self, at: Moment);

    /// Somebody asks for something.
    fn handle_order(&mut self, at: Moment, order: Order);

    /// How it stands.
    fn status(&self) -> SenderStatus;
}

/// How a sender stands, for the console, metrics and readiness.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SenderStatus {
    /// The name in the configuration.
    pub name: String,
    /// Whether the vendor is well.
    pub health: Health,
    /// What it is at, in a word.
    pub doing: &'static str,
    /// An ERP: the catalogue is there and the books are open, so that ingest may begin. A channel: its SKUs are known.
    pub ready: bool,
    /// Revision of the catalogue that it has read (an ERP) or mapped (a channel); 0 = none.
    pub catalogue_revision: u64,
    /// Requests sent.
    pub requests: u64,
    /// Conversations that came to an end.
    pub exchanges: u64,
    /// Results of the work itself.
    pub results: Results,
    /// What a person should look at: items without a unit, SKUs without an item, at most [`SenderStatus::REMARKS_MAX`].
    pub remarks: Vec<String>,
}

impl SenderStatus {
    /// Enough to see the pattern.
    pub const REMARKS_MAX: usize = 100;
}

/// Counts of what came of the work: batches for an ERP, SKUs for a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Results {
    /// Booked, or accepted.
    pub done: u64,
    /// To be tried again.
    pub retried: u64,
    /// Of unknown outcome, to be looked up.
    pub unknown: u64,
    /// Refused: split, or a dead letter.
    pub refused: u64,
}

/// What both kinds of sender stand on.
struct Desk {
    name: String,
    endpoint: Endpoint,
    results: Results,
    remarks: Vec<String>,
}

impl Desk {
    fn new(name: String, connector: &dyn Connector) -> Self {
        Self {
            name,
            endpoint: Endpoint::new(connector.limits()),
            results: Results::default(),
            remarks: Vec::new(),
        }
    }

    /// Puts what a new reading gave in the place of all that was told before.
    fn set_remarks(&mut self, remarks: Vec<String>) {
        let known = std::mem::take(&mut self.remarks);
        for remark in remarks.iter().filter(|remark| !known.contains(remark)) {
            tracing::warn!(sender = self.name, remark, "of no use in what was read");
        }
        self.remarks = remarks;
        self.remarks.truncate(SenderStatus::REMARKS_MAX);
    }

    /// Tells something once.
    fn remark(&mut self, remark: String) {
        if self.remarks.len() < SenderStatus::REMARKS_MAX && !self.remarks.contains(&remark) {
            tracing::warn!(sender = self.name, remark, "needs a look");
            self.remarks.push(remark);
        }
    }
}

/// Lines looked at for the cause of one discrepancy: older ones have been compared before.
const EVIDENCE_LINES_MAX: usize = 100;

/// The plan of a reconciliation: the books as of `snapshot` against what the ERP said after it, with our own lines as
/// evidence for what differs.
///
/// # Errors
/// The store's.
pub fn compare_books(
    reader: &dyn Reader,
    erp: &ErpId,
    snapshot: &Snapshot,
    quantities: &[ErpQuantity],
) -> Result<Plan, StoreError> {
    let keys = reconcile::compare(snapshot, quantities);
    let lines =
        if keys.is_empty() { Vec::new() } else { reader.known_lines(erp, &keys, EVIDENCE_LINES_MAX)? };
    let index = reader.catalogue_index()?;
    Ok(reconcile::plan(snapshot, quantities, &Evidence { lines: &lines, foreign: &[], index: &index }))
}

/// A store that says no to what we have read or achieved will say no again: carry on without, and tell.
fn is_final(fault: &StoreError) -> bool {
    match fault {
        StoreError::Busy { .. } | StoreError::Database { .. } | StoreError::Fenced { .. } => false,
        StoreError::Schema { .. } | StoreError::Corrupt { .. } | StoreError::Refused { .. } => true,
    }
}

/// How often a sender looks for work that nobody told it about: a batch whose time has come, a row that another
/// replica wrote.
const IDLE_POLL: Duration = Duration::from_secs(2);
/// After a reading that the vendor answered and that was of no use: it will not be better in a second.
const READ_AGAIN: Duration = Duration::from_secs(30);
