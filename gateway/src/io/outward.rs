//! The loops that send: one for each ERP and each channel. What to send is decided in [`crate::sender`].

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;

use crate::catalogue::ErpId;
use crate::erp::ErpConnector;
use crate::exchange::{Connector, Conversation, Endpoint, Exchange, Failure, Want as ExchangeWant};
use crate::io::http_client::HttpClient;
use crate::io::shared::Shared;
use crate::reconcile::{Plan, Snapshot};
use crate::sender::{Moment, Order, Sender, SenderStatus, Want, compare_books};
use crate::store::{Reader, Store, StoreError};

/// Orders that wait for a sender: people ask, so few.
pub const ORDERS_MAX: usize = 16;
/// Before a store that failed is asked again: a busy database is free by then, and a broken one is not hammered.
const STORE_AGAIN: Duration = Duration::from_secs(1);
/// Comparisons until the books stand still meanwhile; a gateway at work posts every few hundred milliseconds.
const COMPARISONS_MAX: u32 = 3;

/// What a sender's loop is connected to.
pub struct Wires {
    /// The books.
    pub store: Shared<dyn Store>,
    /// Rung when ingest has written work for this sender.
    pub wake: Arc<Notify>,
    /// What people ask for.
    pub orders: mpsc::Receiver<Order>,
    /// How the sender stands, told at each change.
    pub status: watch::Sender<SenderStatus>,
    /// `true` ends the loop. What is under way then is looked up at the next start.
    pub stop: watch::Receiver<bool>,
}

/// Runs one sender until it is stopped.
pub async fn run_sender(mut sender: Box<dyn Sender>, http: HttpClient, mut wires: Wires) {
    let began = Instant::now();
    let mut was_unhealthy = false;
    while !*wires.stop.borrow_and_update() {
        let (at, random) = (moment(began), random());
        let (returned, want) = wires
            .store
            .call(move |store| {
                let want = sender.poll(at, store, random);
                (sender, want)
            })
            .await;
        sender = returned;
        publish(&wires.status, sender.status(), &mut was_unhealthy);
        match want {
            Ok(Want::Send(outbound)) => {
                tokio::select! {
                    outcome = http.send(&outbound) => sender.handle_outcome(moment(began), outcome, self::random()),
                    () = stopped(&mut wires.stop) => return,
                }
            }
            Ok(Want::Wait(until)) => {
                let now = moment(began);
                tokio::select! {
                    () = sleep(until.saturating_sub(now.now)) => {}
                    () = wires.wake.notified() => sender.handle_wake(moment(began)),
                    Some(order) = wires.orders.recv() => sender.handle_order(moment(began), order),
                    () = stopped(&mut wires.stop) => return,
                }
            }
            Err(fault) => {
                tracing::error!(%fault, cause = ?std::error::Error::source(&fault), "a sender's work is not recorded yet");
                tokio::select! {
                    () = sleep(STORE_AGAIN) => {}
                    () = stopped(&mut wires.stop) => return,
                }
            }
        }
    }
}

/// Tells a change, and says in the log when a vendor falls ill or recovers.
fn publish(told: &watch::Sender<SenderStatus>, status: SenderStatus, was_unhealthy: &mut bool) {
    let unhealthy = status.health.is_unhealthy();
    if unhealthy && !*was_unhealthy {
        tracing::error!(sender = status.name, health = ?status.health, "the other side is not well; tried slowly");
    } else if !unhealthy && *was_unhealthy {
        tracing::info!(sender = status.name, "the other side is well again");
    }
    *was_unhealthy = unhealthy;
    told.send_if_modified(|known| {
        let changed = *known != status;
        *known = status;
        changed
    });
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could say stop is gone: that is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn moment(began: Instant) -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment { now: began.elapsed(), unix_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX) }
}

/// Good enough to spread waits; `RandomState` takes its keys from the operating system.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// Holds one conversation, outside of any sender: for commands and tests.
///
/// # Errors
/// As the conversation ends. A note is not kept: do not post through here.
pub async fn converse<T>(
    connector: &dyn Connector,
    http: &HttpClient,
    conversation: Box<dyn Conversation<Output = T>>,
) -> Result<T, Failure> {
    let began = Instant::now();
    let mut endpoint = Endpoint::new(connector.limits());
    let mut exchange = Exchange::new(conversation);
    loop {
        match exchange.poll(began.elapsed(), connector, &mut endpoint, random()) {
            ExchangeWant::Send(outbound) => {
                let outcome = http.send(&outbound).await;
                exchange.handle_outcome(began.elapsed(), outcome, connector, &mut endpoint, random());
            }
            ExchangeWant::Wait(until) => sleep(until.saturating_sub(began.elapsed())).await,
            ExchangeWant::Note(note) => tracing::debug!(note, "noted"),
            // Each request above is answered before the next poll.
            ExchangeWant::Busy => tokio::task::yield_now().await,
            ExchangeWant::Done(result) => return result,
        }
    }
}

/// Why two sides could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The books.
    #[error("the books could not be read")]
    Store(#[from] StoreError),
    /// The ERP.
    #[error("the ERP could not be read")]
    Erp(#[from] Failure),
    /// A gateway is at work on these books.
    #[error("the books were being posted all the time; ask the running gateway instead (POST /v1/reconcile)")]
    Moving,
}

/// Compares the books with the ERP from outside of the sender: for the command line, while no gateway runs or while
/// it has nothing to post. A running gateway has its own sender do it ([`Order::Reconcile`]).
///
/// # Errors
/// [`ReconcileError`]
pub async fn reconcile(
    connector: &dyn ErpConnector,
    http: &HttpClient,
    reader: &Shared<dyn Reader>,
    erp: &ErpId,
) -> Result<Plan, ReconcileError> {
    let take = async || {
        let erp = erp.clone();
        reader.call(move |reader| reader.reconcile_snapshot(&erp)).await
    };
    for _ in 0..COMPARISONS_MAX {
        let before = take().await?;
        let quantities = converse(connector, http, connector.read_quantities()).await?;
        if !posted_alike(&before, &take().await?) {
            continue;
        }
        let erp = erp.clone();
        return Ok(reader.call(move |reader| compare_books(&*reader, &erp, &before, &quantities)).await?);
    }
    Err(ReconcileError::Moving)
}

/// Whether nothing was posted between two snapshots: the ERP's side of each is the same.
fn posted_alike(before: &Snapshot, after: &Snapshot) -> bool {
    let posted = |snapshot: &Snapshot| {
        let rows = snapshot.rows.iter().map(|row| {
            let posted = (row.balance.steps - row.unposted.steps, row.in_flight.steps);
            ((row.site.clone(), row.location.clone(), row.item.clone()), posted)
        });
        rows.filter(|(_, posted)| *posted != (0, 0)).collect::<std::collections::BTreeMap<_, _>>()
    };
    posted(before) == posted(after)
}
