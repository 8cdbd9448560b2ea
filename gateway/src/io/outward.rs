//! The loops that send: one for each ERP and each channel, each under its lease. What to send is decided in
//! [`crate::sender`], and who may in [`crate::lease`].

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;

use crate::catalogue::ErpId;
use crate::erp::ErpConnector;
use crate::exchange::{
    Answer, Class, Connector, Conversation, Effect, Endpoint, Exchange, Failure, Loss, Outbound,
    Want as ExchangeWant,
};
use crate::io::http_client::HttpClient;
use crate::io::shared::Shared;
use crate::io::unix_ms;
use crate::lease::{self, Keeper, Taken};
use crate::reconcile::{Plan, Snapshot};
use crate::sender::{Moment, Order, Sender, SenderStatus, Want, compare_books};
use crate::store::{Reader, Store, StoreError};

/// Orders that wait for a sender: people ask, so few.
pub const ORDERS_MAX: usize = 16;
/// Before a store that failed is asked again: a busy database is free by then, and a broken one is not hammered.
const STORE_AGAIN: Duration = Duration::from_secs(1);
/// Comparisons until the books stand still meanwhile; a gateway at work posts every few hundred milliseconds.
const COMPARISONS_MAX: u32 = 3;

/// Makes a sender that knows nothing yet: one for each time that its lease is taken.
pub type Make = Box<dyn Fn() -> Box<dyn Sender> + Send + Sync>;

/// What a sender's loop is connected to.
pub struct Wires {
    /// The books.
    pub store: Shared<dyn Store>,
    /// The name of this process among those that share the books.
    pub holder: Arc<str>,
    /// Rung when ingest has written work for this sender.
    pub wake: Arc<Notify>,
    /// What people ask for.
    pub orders: mpsc::Receiver<Order>,
    /// How the sender stands, told at each change; `None` = another gateway does the work, or none.
    pub status: watch::Sender<Option<SenderStatus>>,
    /// `true` ends the loop. What is under way then is looked up by whoever has the lease next.
    pub stop: watch::Receiver<bool>,
}

/// Has one sender's work done, whenever this process has the lease for it, until it is stopped.
pub async fn run_sender(make: Make, http: HttpClient, wires: Wires) {
    let mut post = Post { began: Instant::now(), keeper: Keeper::new(), http, wires };
    loop {
        let sender = make();
        if !post.obtain(sender.lease()).await {
            return;
        }
        let ended = post.serve(sender).await;
        post.wires.status.send_replace(None);
        match ended {
            Ended::Lost => {
                post.keeper.handle_lost(post.began.elapsed());
            }
            Ended::Stopped { clean } => {
                // A request that is still being worked on gets the rest of the lease for it before others look.
                let grant = post.keeper.handle_lost(post.began.elapsed()).filter(|_| clean);
                if let Some(grant) = grant
                    && let Err(fault) =
                        post.wires.store.call(move |store| store.give_lease_back(&grant)).await
                {
                    tracing::warn!(
                        error = &fault as &dyn std::error::Error,
                        "a lease was not given back; it lapses"
                    );
                }
                return;
            }
        }
    }
}

/// One sender's place in this process.
struct Post {
    began: Instant,
    keeper: Keeper,
    http: HttpClient,
    wires: Wires,
}

/// Why a sender's life is over.
enum Ended {
    /// Somebody else has the lease.
    Lost,
    /// Everything stops.
    Stopped {
        /// Nothing is on its way that changes something at the other side.
        clean: bool,
    },
}

impl Post {
    /// Waits until the lease is ours; `false` = stopped before.
    async fn obtain(&mut self, lease: String) -> bool {
        let mut known: Option<String> = None;
        loop {
            let asked_at = self.began.elapsed();
            let (name, holder) = (lease.clone(), Arc::clone(&self.wires.holder));
            let take = move |store: &mut (dyn Store + 'static)| {
                store.take_lease(unix_ms(), &name, &holder, lease::LENGTH)
            };
            match self.wires.store.call(take).await {
                Ok(Taken::Granted(grant)) => {
                    tracing::info!(lease, token = grant.token, "this gateway does the work");
                    self.keeper.handle_granted(asked_at, grant);
                    return true;
                }
                Ok(Taken::HeldBy(other)) => {
                    if known.as_ref() != Some(&other) {
                        tracing::info!(lease, holder = other, "another gateway does the work");
                    }
                    known = Some(other);
                }
                Err(fault) => {
                    tracing::warn!(
                        lease,
                        error = &fault as &dyn std::error::Error,
                        "a lease could not be asked for"
                    );
                }
            }
            tokio::select! {
                () = sleep(lease::ASK_AGAIN) => {}
                Some(order) = self.wires.orders.recv() => refuse(order, known.as_deref()),
                () = stopped(&mut self.wires.stop) => return false,
            }
        }
    }

    /// Does the work until the lease is lost or everything stops.
    async fn serve(&mut self, mut sender: Box<dyn Sender>) -> Ended {
        let mut was_unhealthy = false;
        loop {
            if *self.wires.stop.borrow_and_update() {
                return Ended::Stopped { clean: true };
            }
            if !self.renew().await {
                return Ended::Lost;
            }
            let (at, random) = (moment(self.began), random());
            let Some(grant) = self.keeper.grant(at.now).cloned() else {
                // It may have lapsed while the store did not answer: nothing is begun until it has.
                tokio::select! {
                    () = sleep(self.keeper.ask_at().saturating_sub(at.now)) => {}
                    () = stopped(&mut self.wires.stop) => return Ended::Stopped { clean: true },
                }
                continue;
            };
            let poll = move |store: &mut (dyn Store + 'static)| {
                let want = lease::under(&grant, store, |store| {
                    let want = sender.poll(at, store, random)?;
                    // The other side knows no tokens: the last look is just before.
                    if matches!(want, Want::Send(_)) {
                        store.check_fence()?;
                    }
                    Ok(want)
                });
                (sender, want)
            };
            let (returned, want) = self.wires.store.call(poll).await;
            sender = returned;
            tell(&self.wires.status, sender.status(), &mut was_unhealthy);
            match want {
                Ok(Want::Send(outbound)) => match self.send(&outbound).await {
                    Ok(outcome) => sender.handle_outcome(moment(self.began), outcome, self::random()),
                    Err(ended) => return ended,
                },
                Ok(Want::Wait(until)) => {
                    let (now, until) = (self.began.elapsed(), until.min(self.keeper.ask_at()));
                    tokio::select! {
                        () = sleep(until.saturating_sub(now)) => {}
                        () = self.wires.wake.notified() => sender.handle_wake(moment(self.began)),
                        Some(order) = self.wires.orders.recv() => sender.handle_order(moment(self.began), order),
                        () = stopped(&mut self.wires.stop) => return Ended::Stopped { clean: true },
                    }
                }
                Err(fault @ StoreError::Fenced { .. }) => {
                    tracing::warn!(%fault, "the work is left to the new holder");
                    return Ended::Lost;
                }
                Err(fault) => {
                    tracing::error!(%fault, cause = ?std::error::Error::source(&fault), "a sender's work is not recorded yet");
                    tokio::select! {
                        () = sleep(STORE_AGAIN) => {}
                        () = stopped(&mut self.wires.stop) => return Ended::Stopped { clean: true },
                    }
                }
            }
        }
    }

    /// Sends, and keeps the lease meanwhile. When that is lost the outcome is for the next holder to find out.
    async fn send(&mut self, outbound: &Outbound) -> Result<Result<Answer, Loss>, Ended> {
        let http = self.http.clone();
        let sending = http.send(outbound);
        tokio::pin!(sending);
        loop {
            let wait = self.keeper.ask_at().saturating_sub(self.began.elapsed());
            tokio::select! {
                outcome = &mut sending => return Ok(outcome),
                () = sleep(wait) => if !self.renew().await { return Err(Ended::Lost) },
                () = stopped(&mut self.wires.stop) => {
                    return Err(Ended::Stopped { clean: outbound.request.effect == Effect::Read });
                }
            }
        }
    }

    /// Renews the lease when that is due; `false` = it is somebody else's.
    async fn renew(&mut self) -> bool {
        let asked_at = self.began.elapsed();
        let Some(grant) = self.keeper.renewal(asked_at).cloned() else { return true };
        let renew = move |store: &mut (dyn Store + 'static)| {
            let renewed = store.renew_lease(unix_ms(), &grant, lease::LENGTH);
            (grant, renewed)
        };
        match self.wires.store.call(renew).await {
            (grant, Ok(true)) => self.keeper.handle_granted(asked_at, grant),
            (grant, Ok(false)) => {
                tracing::warn!(
                    lease = grant.name,
                    token = grant.token,
                    "another gateway has taken the work over; if that happens all the time, two have the same mqtt.client_id"
                );
                return false;
            }
            (grant, Err(fault)) => {
                tracing::warn!(
                    lease = grant.name,
                    error = &fault as &dyn std::error::Error,
                    "a lease could not be renewed yet"
                );
                self.keeper.handle_unanswered(self.began.elapsed());
            }
        }
        true
    }
}

/// Answers in the place of a sender that works elsewhere.
fn refuse(order: Order, holder: Option<&str>) {
    match order {
        // Whoever has the work reads again in its own time.
        Order::Refresh => {}
        Order::Reconcile(reply) => {
            let holder =
                holder.map_or("another gateway".to_owned(), |holder| format!("the gateway {holder}"));
            reply(Err(Failure::new(Class::Transient, format!("{holder} does this ERP's work: ask there"))));
        }
    }
}

/// Tells a change, and says in the log when a vendor falls ill or recovers.
fn tell(told: &watch::Sender<Option<SenderStatus>>, status: SenderStatus, was_unhealthy: &mut bool) {
    let unhealthy = status.health.is_unhealthy();
    if unhealthy && !*was_unhealthy {
        tracing::error!(sender = status.name, health = ?status.health, "the other side is not well; tried slowly");
    } else if !unhealthy && *was_unhealthy {
        tracing::info!(sender = status.name, "the other side is well again");
    }
    *was_unhealthy = unhealthy;
    told.send_if_modified(|known| {
        let changed = known.as_ref() != Some(&status);
        *known = Some(status);
        changed
    });
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could say stop is gone: that is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn moment(began: Instant) -> Moment {
    Moment { now: began.elapsed(), unix_ms: unix_ms() }
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
