//! The sender of orders at one door: tells the ERP of sales, or a channel of parcels and cancellations; and takes in what
//! a channel has sold.
//!
//! It has a connection of its own, so that an order never waits behind a document of stock or a long list of numbers.
//! One step at a time, as everywhere: written down before it is sent, and its answer before the next.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use stockwire_protocol::ChannelId;

use super::{Desk, IDLE_POLL, Moment, Order as Asked, READ_AGAIN, Sender, SenderStatus, Want};
use crate::catalogue::ErpId;
use crate::channel::ChannelConnector;
use crate::dead_letter::{DeadLetterClass, NewDeadLetter};
use crate::erp::ErpConnector;
use crate::exchange::{self, Answer, Class, Connector, Conversation, Exchange, Failure, Loss, Step};
use crate::order::round::{self, Book};
use crate::order::{
    Captured, Door, Duty, Errand, Load, Order, OrderKey, OrdersRead, Report, SaleCancelled, SaleFound,
    SalePosted, Told, Unreadable,
};
use crate::store::{Store, StoreError};

/// How often a channel is asked for orders that no webhook has told of: the customer waits for the goods for days, and
/// whoever else sells the piece for seconds.
const ORDERS_POLL: Duration = Duration::from_secs(5);
/// How far behind the last change known a reading begins: a channel may date a change before it shows it, and its clock
/// may be put back a little. What comes again changes nothing.
const OVERLAP_MS: i64 = 60_000;

/// Whose door.
pub enum OrderDoor {
    /// An ERP's.
    Erp {
        /// Its name.
        erp: ErpId,
        /// Its connector.
        connector: Box<dyn ErpConnector>,
    },
    /// A channel's.
    Channel {
        /// Its name.
        channel: ChannelId,
        /// Its connector.
        connector: Box<dyn ChannelConnector>,
    },
}

/// The sender of orders at one door.
pub struct OrderSender {
    door: OrderDoor,
    book: Arc<Book>,
    desk: Desk,
    work: Work,
    read_due: Duration,
    /// The last reading said that there is more.
    more: bool,
}

enum Work {
    Idle,
    Running { key: OrderKey, duty: Duty, exchange: Exchange<Report> },
    KeepingNote { key: OrderKey, duty: Duty, exchange: Exchange<Report>, note: String },
    KeepingReport { key: OrderKey, duty: Duty, report: Report },
    Reading(Exchange<OrdersRead>),
    Taking { orders: VecDeque<Order>, unreadable: Vec<Unreadable>, through_ms: i64 },
}

impl OrderSender {
    /// Takes up what an earlier holder left first.
    pub fn new(door: OrderDoor, book: Arc<Book>) -> Self {
        let name = match &door {
            OrderDoor::Erp { erp, .. } => format!("{erp} orders"),
            OrderDoor::Channel { channel, .. } => format!("{channel} orders"),
        };
        let desk = Desk::new(name, connector(&door));
        Self { door, book, desk, work: Work::Idle, read_due: Duration::ZERO, more: false }
    }

    fn choose(&mut self, at: Moment, store: &mut dyn Store) -> Result<Option<Want>, StoreError> {
        if self.desk.endpoint.rest_until() > at.now {
            return Ok(Some(Want::Wait(self.desk.endpoint.rest_until())));
        }
        let (door, channel) = match &self.door {
            OrderDoor::Erp { .. } => (Door::Erp, None),
            OrderDoor::Channel { channel, .. } => (Door::Channel, Some(channel)),
        };
        // What an earlier holder sent and never heard of is due as well: its conversation looks first.
        if let Some(key) = store.due_orders(at.unix_ms, door, channel, 1)?.into_iter().next() {
            if let Some(errand) = round::take(store, &self.book, at.unix_ms, door, &key)? {
                let duty = errand.duty;
                self.work = Work::Running { key, duty, exchange: self.conversation(&errand) };
            }
            return Ok(None);
        }
        let OrderDoor::Channel { channel, connector } = &self.door else {
            return Ok(Some(Want::Wait(at.now + IDLE_POLL)));
        };
        if at.now < self.read_due {
            return Ok(Some(Want::Wait(self.read_due.min(at.now + IDLE_POLL))));
        }
        // Before the first reading: what is sold from now on. What was sold before is somebody else's work already.
        let through = store.orders_through(channel)?.unwrap_or(at.unix_ms);
        let since = if self.more { through } else { through.saturating_sub(OVERLAP_MS) };
        self.work = Work::Reading(Exchange::new(connector.read_orders(since)));
        Ok(None)
    }

    fn conversation(&self, errand: &Errand) -> Exchange<Report> {
        let impossible = || {
            let failure = Failure::new(Class::Setup, format!("{} is done elsewhere", errand.duty));
            Box::new(Ended(Some(failure))) as Box<dyn Conversation<Output = Report>>
        };
        let conversation = match (&self.door, &errand.load, errand.duty) {
            (OrderDoor::Erp { connector, .. }, Load::Sale(sale), Duty::PostSale) => {
                reporting(connector.post_sale(sale), |posted| match posted {
                    SalePosted::Booked { document } => Report::Done(Some(document)),
                    SalePosted::Refused { reason } => Report::Refused(reason),
                })
            }
            (OrderDoor::Erp { connector, .. }, Load::Sale(sale), Duty::CancelSale) => {
                reporting(connector.cancel_sale(sale), |cancelled| match cancelled {
                    SaleCancelled::Cancelled { document } => Report::Done(Some(document)),
                    SaleCancelled::Absent => Report::Absent,
                    SaleCancelled::Refused { reason } => Report::Refused(reason),
                })
            }
            (OrderDoor::Erp { connector, .. }, Load::Sale(sale), Duty::ReadSale) => {
                reporting(connector.read_sale(sale), |found| match found {
                    Some(SaleFound { invoice: Some(invoice), .. }) => Report::Done(Some(invoice)),
                    Some(SaleFound { invoice: None, .. }) => Report::NoInvoice,
                    None => Report::Absent,
                })
            }
            (OrderDoor::Channel { connector, .. }, Load::Shipment(shipment), _) => {
                reporting(connector.confirm_shipment(&errand.order, shipment), told)
            }
            (OrderDoor::Channel { connector, .. }, Load::Cancellation(cancellation), _) => {
                reporting(connector.cancel_order(&errand.order, cancellation), told)
            }
            _ => impossible(),
        };
        Exchange::new(conversation)
    }

    /// One step; `None` = go on at once. What is under way is put back when the store fails.
    fn step(&mut self, at: Moment, store: &mut dyn Store, random: u64) -> Result<Option<Want>, StoreError> {
        let Self { door, desk, .. } = self;
        let (connector, endpoint) = (connector(door), &mut desk.endpoint);
        match mem::replace(&mut self.work, Work::Idle) {
            Work::Idle => return self.choose(at, store),
            Work::Running { key, duty, mut exchange } => {
                match exchange.poll(at.now, connector, endpoint, random) {
                    exchange::Want::Done(result) => {
                        self.work = Work::KeepingReport { key, duty, report: report(result) };
                    }
                    exchange::Want::Note(note) => {
                        self.work = Work::KeepingNote { key, duty, exchange, note };
                    }
                    other => return Ok(self.put_back(at, other, Work::Running { key, duty, exchange })),
                }
            }
            Work::KeepingNote { key, duty, exchange, note } => {
                let report = Report::Noted(note.clone());
                if let Err(fault) = round::record(store, &self.book, at.unix_ms, &key, (duty, &report)) {
                    self.work = Work::KeepingNote { key, duty, exchange, note };
                    return Err(fault);
                }
                self.work = Work::Running { key, duty, exchange };
            }
            Work::KeepingReport { key, duty, report } => {
                if let Err(fault) = round::record(store, &self.book, at.unix_ms, &key, (duty, &report)) {
                    self.work = Work::KeepingReport { key, duty, report };
                    return Err(fault);
                }
                self.count(&key, duty, &report);
            }
            Work::Reading(mut exchange) => match exchange.poll(at.now, connector, endpoint, random) {
                exchange::Want::Done(Ok(read)) => {
                    self.more = read.more;
                    self.read_due = if read.more { at.now } else { at.now + ORDERS_POLL };
                    self.work = Work::Taking {
                        orders: read.orders.into(),
                        unreadable: read.unreadable,
                        through_ms: read.through_ms,
                    };
                }
                exchange::Want::Done(Err(failure)) => {
                    self.read_due = self.desk.endpoint.rest_until().max(at.now + READ_AGAIN);
                    tracing::warn!(sender = self.desk.name, %failure, "orders could not be read");
                }
                other => return Ok(self.put_back(at, other, Work::Reading(exchange))),
            },
            Work::Taking { orders, unreadable, through_ms } => {
                if let Err(fault) = self.set_aside(at, store, &unreadable) {
                    self.work = Work::Taking { orders, unreadable, through_ms };
                    return Err(fault);
                }
                self.keep_orders(at, store, orders, through_ms)?;
            }
        }
        Ok(None)
    }

    /// What was sold and cannot be taken is for a person: nothing else would ever say so. The same again only counts.
    fn set_aside(
        &mut self,
        at: Moment,
        store: &mut dyn Store,
        unreadable: &[Unreadable],
    ) -> Result<(), StoreError> {
        for Unreadable { order, reason } in unreadable {
            let letter = NewDeadLetter {
                class: DeadLetterClass::Order,
                reason: format!("order {order} cannot be taken: {reason}"),
                source: self.desk.name.clone(),
                bytes: order.clone().into_bytes(),
                agent: None,
                movement: None,
            };
            store.add_dead_letter(at.unix_ms, &letter)?;
            self.desk.remark(letter.reason);
        }
        Ok(())
    }

    /// The mark moves only behind orders that are kept.
    fn keep_orders(
        &mut self,
        at: Moment,
        store: &mut dyn Store,
        mut orders: VecDeque<Order>,
        through_ms: i64,
    ) -> Result<(), StoreError> {
        while let Some(order) = orders.pop_front() {
            match round::capture(store, &self.book, at.unix_ms, "channel", &order) {
                Ok(Captured::Same) => {}
                Ok(captured) => {
                    tracing::info!(sender = self.desk.name, order = %order.code, ?captured, "order taken in");
                    self.desk.results.done += 1;
                }
                Err(fault) => {
                    orders.push_front(order);
                    self.work = Work::Taking { orders, unreadable: Vec::new(), through_ms };
                    return Err(fault);
                }
            }
        }
        let OrderDoor::Channel { channel, .. } = &self.door else { return Ok(()) };
        if let Err(fault) = store.put_orders_through(channel, through_ms) {
            self.work = Work::Taking { orders, unreadable: Vec::new(), through_ms };
            return Err(fault);
        }
        Ok(())
    }

    fn count(&mut self, key: &OrderKey, duty: Duty, report: &Report) {
        let (sender, order) = (&self.desk.name, format!("{}/{}", key.channel, key.order));
        let results = &mut self.desk.results;
        match report {
            Report::Noted(_) | Report::Absent | Report::NoInvoice => {}
            Report::Done(document) => {
                results.done += 1;
                tracing::info!(sender, order, %duty, document, "order step done");
            }
            Report::Refused(reason) => {
                results.refused += 1;
                tracing::warn!(sender, order, %duty, reason, "order step refused");
            }
            Report::Retry(reason) => {
                results.retried += 1;
                tracing::warn!(sender, order, %duty, reason, "order step to be tried again");
            }
            Report::Unknown(reason) => {
                results.unknown += 1;
                tracing::warn!(sender, order, %duty, reason, "order step of unknown outcome");
            }
        }
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
}

fn connector(door: &OrderDoor) -> &dyn Connector {
    match door {
        OrderDoor::Erp { connector, .. } => &**connector,
        OrderDoor::Channel { connector, .. } => &**connector,
    }
}

fn told(told: Told) -> Report {
    match told {
        Told::Held { document } => Report::Done(document),
        Told::Refused { reason } => Report::Refused(reason),
    }
}

fn report(result: Result<Report, Failure>) -> Report {
    match result {
        Ok(report) => report,
        Err(Failure { class: Class::Unknown, message }) => Report::Unknown(message),
        Err(Failure { class: Class::Data, message }) => Report::Refused(message),
        Err(failure) => Report::Retry(failure.to_string()),
    }
}

/// A conversation whose outcome is told as a report.
struct Reporting<T> {
    inner: Box<dyn Conversation<Output = T>>,
    report: fn(T) -> Report,
}

fn reporting<T: 'static>(
    inner: Box<dyn Conversation<Output = T>>,
    report: fn(T) -> Report,
) -> Box<dyn Conversation<Output = Report>> {
    Box::new(Reporting { inner, report })
}

impl<T> Conversation for Reporting<T> {
    type Output = Report;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<Report> {
        match self.inner.next(last) {
            Step::Send(request) => Step::Send(request),
            Step::Note(note) => Step::Note(note),
            Step::Done(result) => Step::Done(result.map(self.report)),
        }
    }
}

/// A conversation that is over before it begins.
struct Ended(Option<Failure>);

impl Conversation for Ended {
    type Output = Report;

    fn next(&mut self, _last: Option<Result<Answer, Failure>>) -> Step<Report> {
        let failure = self.0.take().unwrap_or_else(|| Failure::new(Class::Setup, "it is over"));
        Step::Done(Err(failure))
    }
}

impl Sender for OrderSender {
    fn connector(&self) -> &dyn Connector {
        connector(&self.door)
    }

    fn lease(&self) -> String {
        match &self.door {
            OrderDoor::Erp { erp, .. } => format!("orders erp {erp}"),
            OrderDoor::Channel { channel, .. } => format!("orders channel {channel}"),
        }
    }

    fn poll(&mut self, at: Moment, store: &mut dyn Store, random: u64) -> Result<Want, StoreError> {
        loop {
            if let Some(want) = self.step(at, store, random)? {
                return Ok(want);
            }
        }
    }

    fn handle_outcome(&mut self, at: Moment, outcome: Result<Answer, Loss>, random: u64) {
        let Self { door, desk, .. } = self;
        let (connector, endpoint) = (connector(door), &mut desk.endpoint);
        match &mut self.work {
            Work::Running { exchange, .. } => {
                exchange.handle_outcome(at.now, outcome, connector, endpoint, random);
            }
            Work::Reading(exchange) => {
                exchange.handle_outcome(at.now, outcome, connector, endpoint, random);
            }
            Work::Idle | Work::KeepingNote { .. } | Work::KeepingReport { .. } | Work::Taking { .. } => {}
        }
    }

    /// There may be something due; whoever waits is polled.
    fn handle_wake(&mut self, _at: Moment) {}

    fn handle_order(&mut self, at: Moment, order: Asked) {
        match order {
            Asked::Refresh => {
                self.read_due = at.now;
                self.desk.endpoint.wake(at.now);
            }
            Asked::Reconcile(reply) => {
                reply(Err(Failure::new(Class::Setup, "orders are not compared; ask the ERP's own sender")));
            }
        }
    }

    fn status(&self) -> SenderStatus {
        let (requests, exchanges) = self.desk.endpoint.counts();
        SenderStatus {
            name: self.desk.name.clone(),
            health: self.desk.endpoint.health().clone(),
            doing: match &self.work {
                Work::Idle => "waiting",
                Work::Reading(_) | Work::Taking { .. } => "reading orders",
                Work::Running { duty, .. }
                | Work::KeepingNote { duty, .. }
                | Work::KeepingReport { duty, .. } => match duty {
                    Duty::PostSale => "posting a sale",
                    Duty::CancelSale => "cancelling a sale",
                    Duty::ReadSale => "asking for an invoice",
                    Duty::Confirm { .. } => "confirming a shipment",
                    Duty::CancelAtChannel => "cancelling an order",
                },
            },
            ready: true,
            catalogue_revision: 0,
            requests,
            exchanges,
            results: self.desk.results,
            remarks: self.desk.remarks.clone(),
        }
    }
}
