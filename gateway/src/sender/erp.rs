//! The sender of one ERP: reads its catalogue, opens the books with its quantities, posts, and compares.
//!
//! One piece of work at a time: that makes us the single writer that posting rests on, and makes quantities that are
//! read be those of one moment.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use stockwire_protocol::Quantity;

use super::{
    Desk, IDLE_POLL, Moment, Order, READ_AGAIN, Reply, Sender, SenderStatus, Want, compare_books, is_final,
};
use crate::catalogue::ErpId;
use crate::erp::{CatalogueRead, ErpConnector, Posted};
use crate::exchange::{self, Answer, Class, Connector, Exchange, Failure, Loss};
use crate::ledger::OpeningLine;
use crate::posting::{BatchResult, BatchState};
use crate::reconcile::{ErpQuantity, Snapshot};
use crate::store::{Store, StoreError};

/// How one ERP is served; from the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ErpSettings {
    /// Its name.
    pub erp: ErpId,
    /// How often its items and places are read again.
    pub refresh: Duration,
    /// Movements in one document.
    pub lines_max: usize,
    /// How long a movement may wait for others to share its document.
    pub batch_wait: Duration,
    /// With what the books begin.
    pub opening: Opening,
}

/// With what the books begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    /// With the ERP's own quantities, so that both agree from the first movement on.
    FromErp,
    /// With nothing: the stock will be received or counted.
    Empty,
}

/// Readings of the opening quantities until two in a row agree: others may be working in the ERP meanwhile.
const OPENING_READS_MAX: u32 = 10;
/// Reconciliations that wait; people asking, so few.
const ORDERS_MAX: usize = 8;

/// The sender of one ERP.
pub struct ErpSender {
    settings: ErpSettings,
    connector: Box<dyn ErpConnector>,
    desk: Desk,
    work: Work,
    catalogue_due: Duration,
    catalogue_revision: u64,
    books_open: bool,
    /// The store was asked for both.
    resumed: bool,
    /// New work is held back until this time, so that it shares a document.
    gathering_until: Option<Duration>,
    orders: VecDeque<Reply>,
}

enum Work {
    Idle,
    ReadingCatalogue(Exchange<CatalogueRead>),
    KeepingCatalogue(CatalogueRead),
    /// With the reading before, to be compared.
    ReadingOpening {
        exchange: Exchange<Vec<ErpQuantity>>,
        before: Option<Vec<ErpQuantity>>,
        reads: u32,
    },
    KeepingOpening(Vec<ErpQuantity>),
    Posting {
        reference: String,
        exchange: Exchange<Posted>,
    },
    KeepingDocument {
        reference: String,
        exchange: Exchange<Posted>,
        document: String,
    },
    KeepingResult {
        reference: String,
        result: BatchResult,
    },
    Comparing {
        snapshot: Snapshot,
        exchange: Exchange<Vec<ErpQuantity>>,
        reply: Reply,
    },
    Answering {
        snapshot: Snapshot,
        quantities: Vec<ErpQuantity>,
        reply: Reply,
    },
}

impl ErpSender {
    /// Reads the catalogue first, whatever else is to be done.
    pub fn new(settings: ErpSettings, connector: Box<dyn ErpConnector>) -> Self {
        let desk = Desk::new(settings.erp.to_string(), &*connector);
        Self {
            settings,
            connector,
            desk,
            work: Work::Idle,
            catalogue_due: Duration::ZERO,
            catalogue_revision: 0,
            books_open: false,
            resumed: false,
            gathering_until: None,
            orders: VecDeque::new(),
        }
    }

    /// An earlier holder may have left a batch in flight, and everything may be there already: nothing need wait then for
    /// an ERP that may be down.
    fn resume(&mut self, at: Moment, store: &mut dyn Store) -> Result<(), StoreError> {
        let batches = store.recover_postings(at.unix_ms, &self.settings.erp)?;
        if batches > 0 {
            tracing::info!(erp = self.desk.name, batches, "were in flight; their outcome is looked up");
        }
        let revision = store.catalogue_revision()?;
        if revision > 0 && store.books_are_open(&self.settings.erp)? {
            (self.catalogue_revision, self.books_open) = (revision, true);
        }
        self.resumed = true;
        Ok(())
    }

    /// Chooses the next piece of work; the wait when there is none.
    fn choose(&mut self, at: Moment, store: &mut dyn Store) -> Result<Option<Want>, StoreError> {
        if !self.resumed {
            self.resume(at, store)?;
        }
        if self.desk.endpoint.rest_until() > at.now {
            return Ok(Some(Want::Wait(self.desk.endpoint.rest_until())));
        }
        if at.now >= self.catalogue_due {
            self.work = Work::ReadingCatalogue(Exchange::new(self.connector.read_catalogue()));
            return Ok(None);
        }
        if self.catalogue_revision == 0 {
            return Ok(Some(Want::Wait(self.catalogue_due)));
        }
        if !self.books_open {
            self.work = match self.settings.opening {
                Opening::Empty => Work::KeepingOpening(Vec::new()),
                Opening::FromErp => {
                    Work::ReadingOpening { exchange: self.read_quantities(), before: None, reads: 0 }
                }
            };
            return Ok(None);
        }
        if !self.orders.is_empty() {
            // Before the ERP is read: what is booked afterwards is unposted on both sides of the comparison.
            let snapshot = store.reconcile_snapshot(&self.settings.erp)?;
            if let Some(reply) = self.orders.pop_front() {
                self.work = Work::Comparing { snapshot, exchange: self.read_quantities(), reply };
            }
            return Ok(None);
        }
        match self.gathering_until {
            Some(until) if until > at.now => return Ok(Some(Want::Wait(until))),
            _ => self.gathering_until = None,
        }
        match store.take_posting_batch(at.unix_ms, &self.settings.erp, self.settings.lines_max)? {
            Some(batch) => {
                if batch.state != BatchState::Planned {
                    tracing::info!(erp = self.desk.name, batch = batch.reference, state = ?batch.state, "posting resumed");
                }
                let exchange = Exchange::new(self.connector.post(&batch));
                self.work = Work::Posting { reference: batch.reference, exchange };
                Ok(None)
            }
            None => Ok(Some(Want::Wait(self.catalogue_due.min(at.now + IDLE_POLL)))),
        }
    }

    fn read_quantities(&self) -> Exchange<Vec<ErpQuantity>> {
        Exchange::new(self.connector.read_quantities())
    }

    /// One step; `None` = go on at once. What is under way is put back when the store fails.
    fn step(&mut self, at: Moment, store: &mut dyn Store, random: u64) -> Result<Option<Want>, StoreError> {
        let Self { connector, desk, .. } = self;
        let (connector, endpoint): (&dyn Connector, _) = (&**connector, &mut desk.endpoint);
        match mem::replace(&mut self.work, Work::Idle) {
            Work::Idle => return self.choose(at, store),
            Work::ReadingCatalogue(mut exchange) => {
                match exchange.poll(at.now, connector, endpoint, random) {
                    exchange::Want::Done(Ok(read)) => self.work = Work::KeepingCatalogue(read),
                    exchange::Want::Done(Err(failure)) => {
                        self.catalogue_due = self.desk.endpoint.rest_until().max(at.now + READ_AGAIN);
                        self.desk.remark(format!("the catalogue could not be read: {failure}"));
                    }
                    other => return Ok(self.put_back(at, other, Work::ReadingCatalogue(exchange))),
                }
            }
            Work::KeepingCatalogue(read) => self.keep_catalogue(at, store, read)?,
            Work::ReadingOpening { mut exchange, before, reads } => {
                match exchange.poll(at.now, connector, endpoint, random) {
                    exchange::Want::Done(Ok(quantities)) if before.as_ref() == Some(&quantities) => {
                        self.work = Work::KeepingOpening(quantities);
                    }
                    exchange::Want::Done(Ok(_)) if reads >= OPENING_READS_MAX => {
                        self.catalogue_due = at.now + READ_AGAIN;
                        self.desk.remark(
                            "the ERP's quantities keep changing; stop other work there to open the books"
                                .into(),
                        );
                    }
                    exchange::Want::Done(Ok(quantities)) => {
                        let exchange = self.read_quantities();
                        self.work =
                            Work::ReadingOpening { exchange, before: Some(quantities), reads: reads + 1 };
                    }
                    exchange::Want::Done(Err(failure)) => {
                        // Nothing is posted before the books are open, so the next try begins with the catalogue.
                        self.catalogue_due = self.desk.endpoint.rest_until().max(at.now + READ_AGAIN);
                        self.catalogue_revision = 0;
                        self.desk.remark(format!("the opening quantities could not be read: {failure}"));
                    }
                    other => {
                        let work = Work::ReadingOpening { exchange, before, reads };
                        return Ok(self.put_back(at, other, work));
                    }
                }
            }
            Work::KeepingOpening(quantities) => self.keep_opening(at, store, quantities)?,
            Work::Posting { reference, mut exchange } => {
                match exchange.poll(at.now, connector, endpoint, random) {
                    exchange::Want::Done(result) => {
                        let result = batch_result(at, result, self.desk.endpoint.rest_until());
                        self.work = Work::KeepingResult { reference, result };
                    }
                    exchange::Want::Note(document) => {
                        self.work = Work::KeepingDocument { reference, exchange, document };
                    }
                    other => return Ok(self.put_back(at, other, Work::Posting { reference, exchange })),
                }
            }
            Work::KeepingDocument { reference, exchange, document } => {
                let result = BatchResult::Created { document: document.clone() };
                if let Err(fault) = store.record_batch_result(at.unix_ms, &reference, &result) {
                    self.work = Work::KeepingDocument { reference, exchange, document };
                    return Err(fault);
                }
                self.work = Work::Posting { reference, exchange };
            }
            Work::KeepingResult { reference, result } => self.keep_result(at, store, reference, result)?,
            Work::Comparing { snapshot, mut exchange, reply } => {
                match exchange.poll(at.now, connector, endpoint, random) {
                    exchange::Want::Done(Ok(quantities)) => {
                        self.work = Work::Answering { snapshot, quantities, reply };
                    }
                    exchange::Want::Done(Err(failure)) => reply(Err(failure)),
                    other => {
                        return Ok(self.put_back(at, other, Work::Comparing { snapshot, exchange, reply }));
                    }
                }
            }
            Work::Answering { snapshot, quantities, reply } => {
                let plan = compare_books(&*store, &self.settings.erp, &snapshot, &quantities);
                reply(plan.map_err(|fault| Failure::new(Class::Transient, fault.to_string())));
            }
        }
        Ok(None)
    }

    /// Keeps a piece of work that waits for the edge.
    fn put_back<T>(&mut self, at: Moment, want: exchange::Want<T>, work: Work) -> Option<Want> {
        self.work = work;
        match want {
            exchange::Want::Send(outbound) => Some(Want::Send(outbound)),
            exchange::Want::Wait(until) => Some(Want::Wait(until)),
            // The edge asks twice while a request is out, or a reading has something to note: nothing to do.
            exchange::Want::Busy | exchange::Want::Note(_) | exchange::Want::Done(_) => {
                Some(Want::Wait(at.now + IDLE_POLL))
            }
        }
    }

    fn keep_catalogue(
        &mut self,
        at: Moment,
        store: &mut dyn Store,
        read: CatalogueRead,
    ) -> Result<(), StoreError> {
        match store.replace_catalogue(&self.settings.erp, &read.snapshot) {
            Ok(revision) => {
                if revision != self.catalogue_revision {
                    let (items, places) = (read.snapshot.items.len(), read.snapshot.locations.len());
                    tracing::info!(erp = self.desk.name, revision, items, places, "catalogue read");
                }
                self.catalogue_revision = revision;
                self.catalogue_due = at.now + self.settings.refresh;
                self.desk.set_remarks(read.remarks);
                Ok(())
            }
            Err(fault) if is_final(&fault) => {
                self.catalogue_due = at.now + self.settings.refresh;
                self.desk.remark(format!("the catalogue was not taken: {fault}"));
                Ok(())
            }
            Err(fault) => {
                self.work = Work::KeepingCatalogue(read);
                Err(fault)
            }
        }
    }

    fn keep_opening(
        &mut self,
        at: Moment,
        store: &mut dyn Store,
        quantities: Vec<ErpQuantity>,
    ) -> Result<(), StoreError> {
        let opened = opening_lines(&*store, &quantities).and_then(|lines| {
            store.open_books(at.unix_ms, &self.settings.erp, &lines).map(|new| (new, lines.len()))
        });
        match opened {
            Ok((new, lines)) => {
                if new {
                    tracing::info!(erp = self.desk.name, lines, "books opened with the ERP's quantities");
                }
                self.books_open = true;
                Ok(())
            }
            Err(fault) if is_final(&fault) => {
                self.catalogue_due = at.now + READ_AGAIN;
                self.catalogue_revision = 0;
                self.desk.remark(format!("the books could not be opened: {fault}"));
                Ok(())
            }
            Err(fault) => {
                self.work = Work::KeepingOpening(quantities);
                Err(fault)
            }
        }
    }

    fn keep_result(
        &mut self,
        at: Moment,
        store: &mut dyn Store,
        reference: String,
        result: BatchResult,
    ) -> Result<(), StoreError> {
        if let Err(fault) = store.record_batch_result(at.unix_ms, &reference, &result) {
            self.work = Work::KeepingResult { reference, result };
            return Err(fault);
        }
        let (name, results) = (&self.desk.name, &mut self.desk.results);
        match &result {
            BatchResult::Created { .. } => {}
            BatchResult::Done { document } => {
                results.done += 1;
                tracing::info!(erp = name, batch = reference, document, "posting booked");
            }
            BatchResult::Retry { class, message, .. } => {
                results.retried += 1;
                tracing::warn!(erp = name, batch = reference, class, message, "posting to be tried again");
            }
            BatchResult::Unknown { message, .. } => {
                results.unknown += 1;
                tracing::warn!(erp = name, batch = reference, message, "posting of unknown outcome");
            }
            BatchResult::Rejected { reason } | BatchResult::Dead { reason } => {
                results.refused += 1;
                tracing::warn!(erp = name, batch = reference, reason, "posting refused");
            }
        }
        Ok(())
    }
}

/// What the books are told about a batch.
fn batch_result(at: Moment, result: Result<Posted, Failure>, rest_until: Duration) -> BatchResult {
    let at_ms = at.unix_ms_at(rest_until);
    match result {
        Ok(Posted::Booked { document }) => BatchResult::Done { document },
        Ok(Posted::Refused { reason }) => BatchResult::Rejected { reason },
        Ok(Posted::Impossible { reason }) => BatchResult::Dead { reason },
        // Halves of halves fit in the end: a single line always does.
        Ok(Posted::Mixed { parts }) => {
            BatchResult::Rejected { reason: format!("needs {} documents of its own kind", parts.len()) }
        }
        Err(Failure { class: Class::Unknown, message }) => BatchResult::Unknown { at_ms, message },
        Err(Failure { class, message }) => {
            BatchResult::Retry { at_ms, class: class.as_str().into(), message }
        }
    }
}

/// The ERP's quantities as opening lines, each in its item's own unit.
fn opening_lines(store: &dyn Store, quantities: &[ErpQuantity]) -> Result<Vec<OpeningLine>, StoreError> {
    if quantities.is_empty() {
        return Ok(Vec::new());
    }
    let index = store.catalogue_index()?;
    let line = |quantity: &ErpQuantity| {
        let item = index.items.get(&quantity.item)?;
        Some(OpeningLine {
            site: quantity.site.clone(),
            location: quantity.location.clone(),
            item: quantity.item.clone(),
            quantity: Quantity { steps: quantity.steps, uom: item.uom },
        })
    };
    // An item that came into the ERP between the two readings has no place in the books yet: reconciliation shows it.
    Ok(quantities.iter().filter_map(line).collect())
}

impl Sender for ErpSender {
    fn connector(&self) -> &dyn Connector {
        &*self.connector
    }

    fn lease(&self) -> String {
        format!("erp/{}", self.settings.erp)
    }

    fn poll(&mut self, at: Moment, store: &mut dyn Store, random: u64) -> Result<Want, StoreError> {
        loop {
            if let Some(want) = self.step(at, store, random)? {
                return Ok(want);
            }
        }
    }

    fn handle_outcome(&mut self, at: Moment, outcome: Result<Answer, Loss>, random: u64) {
        let (connector, endpoint): (&dyn Connector, _) = (&*self.connector, &mut self.desk.endpoint);
        match &mut self.work {
            Work::ReadingCatalogue(exchange) => {
                exchange.handle_outcome(at.now, outcome, connector, endpoint, random);
            }
            Work::ReadingOpening { exchange, .. } | Work::Comparing { exchange, .. } => {
                exchange.handle_outcome(at.now, outcome, connector, endpoint, random);
            }
            Work::Posting { exchange, .. } => {
                exchange.handle_outcome(at.now, outcome, connector, endpoint, random)
            }
            Work::Idle
            | Work::KeepingCatalogue(_)
            | Work::KeepingOpening(_)
            | Work::KeepingDocument { .. }
            | Work::KeepingResult { .. }
            | Work::Answering { .. } => {}
        }
    }

    fn handle_wake(&mut self, at: Moment) {
        // The first of a burst sets the time; those that come after it do not move it.
        self.gathering_until.get_or_insert(at.now + self.settings.batch_wait);
    }

    fn handle_order(&mut self, at: Moment, order: Order) {
        match order {
            Order::Refresh => {
                self.catalogue_due = at.now;
                self.desk.endpoint.wake(at.now);
            }
            Order::Reconcile(reply) if self.orders.len() < ORDERS_MAX => self.orders.push_back(reply),
            Order::Reconcile(reply) => {
                reply(Err(Failure::new(Class::Transient, "too many reconciliations are waiting")));
            }
        }
    }

    fn status(&self) -> SenderStatus {
        let (requests, exchanges) = self.desk.endpoint.counts();
        SenderStatus {
            name: self.desk.name.clone(),
            health: self.desk.endpoint.health().clone(),
            doing: match self.work {
                Work::Idle => "waiting",
                Work::ReadingCatalogue(_) | Work::KeepingCatalogue(_) => "reading the catalogue",
                Work::ReadingOpening { .. } | Work::KeepingOpening(_) => "opening the books",
                Work::Posting { .. } | Work::KeepingDocument { .. } | Work::KeepingResult { .. } => "posting",
                Work::Comparing { .. } | Work::Answering { .. } => "reconciling",
            },
            ready: self.catalogue_revision > 0 && self.books_open,
            catalogue_revision: self.catalogue_revision,
            requests,
            exchanges,
            results: self.desk.results,
            remarks: self.desk.remarks.clone(),
        }
    }
}
