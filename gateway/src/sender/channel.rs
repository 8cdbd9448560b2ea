//! The sender of one channel: learns what it sells, and brings it the newest numbers, the scarcest first.
//!
//! While there is nothing to bring it looks, page by page, at what the channel holds. An old number that was given up
//! can arrive long after a newer one, and somebody may edit the shop. More than it was told is put right at once,
//! since it would be sold. Less is put right only when it is exactly a number that we sent lately and never heard of;
//! otherwise it is told to a person: the channel's own shipping may be ahead of our scanners, and raising the number
//! would sell what is leaving.

use std::collections::HashMap;
use std::mem;
use std::time::Duration;

use stockwire_protocol::backoff::Backoff;
use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{ChannelId, ItemId, Sku};

use super::{Desk, IDLE_POLL, Moment, Order, READ_AGAIN, Sender, SenderStatus, Want, is_final};
use crate::availability::{ChannelResult, ChannelUpdate, SiteNumber};
use crate::catalogue::Listing;
use crate::channel::{ChannelConnector, ChannelMap, Pushed, Shown, SiteMap};
use crate::exchange::{self, Answer, Class, Connector, Exchange, Failure, Loss};
use crate::store::{OfferQuery, OfferRow, PAGE_ROWS_MAX, Store, StoreError};

/// How one channel is served; from the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelSettings {
    /// Its name.
    pub channel: ChannelId,
    /// How often its SKUs are read again.
    pub refresh: Duration,
}

/// Waits before a number is sent again, by its attempts.
const RESEND_FIRST: Duration = Duration::from_millis(500);
const RESEND_CAP: Duration = Duration::from_secs(60);

/// Between two looks at a page of what the channel holds: a shop of a few hundred SKUs is seen through every minute,
/// for one small request each time.
const AUDIT_PAUSE: Duration = Duration::from_secs(10);
/// So long a number that was given up may still be on its way: longer than the time-outs of proxies and of shops, which
/// are minutes, and short enough that the shop's own shipping seldom comes to the same number by chance.
const ADRIFT_MAX_AGE_MS: i64 = 15 * 60 * 1_000;
/// SKUs in one look: a page of the shop's.
const AUDIT_SKUS: usize = 100;

/// The sender of one channel.
pub struct ChannelSender {
    settings: ChannelSettings,
    connector: Box<dyn ChannelConnector>,
    desk: Desk,
    work: Work,
    map_due: Duration,
    /// The channel's keys of our sites; `None` until its SKUs are known.
    sites: Option<SiteMap>,
    /// The catalogue that the SKUs were looked up in.
    catalogue_revision: u64,
    /// What an earlier holder left in flight was noted.
    recovered: bool,
    audit_due: Duration,
    /// Where the next look begins, by the store's own mark.
    audit_after: Option<String>,
}

enum Work {
    Idle,
    Mapping(Exchange<ChannelMap>),
    KeepingMap(ChannelMap),
    Pushing { updates: Vec<ChannelUpdate>, exchange: Exchange<Vec<Pushed>> },
    KeepingResults(Vec<(Sku, ChannelResult)>),
    Auditing { told: Vec<Told>, exchange: Exchange<Vec<(Sku, Shown)>> },
    Repairing(Exchange<Vec<Pushed>>),
}

impl ChannelSender {
    /// Reads the channel's SKUs first.
    pub fn new(settings: ChannelSettings, connector: Box<dyn ChannelConnector>) -> Self {
        let desk = Desk::new(settings.channel.to_string(), &*connector);
        Self {
            settings,
            connector,
            desk,
            work: Work::Idle,
            map_due: Duration::ZERO,
            sites: None,
            catalogue_revision: 0,
            recovered: false,
            audit_due: Duration::ZERO,
            audit_after: None,
        }
    }

    /// Chooses the next piece of work; the wait when there is none.
    fn choose(&mut self, at: Moment, store: &mut dyn Store) -> Result<Option<Want>, StoreError> {
        if !self.recovered {
            let numbers = store.recover_publications(at.unix_ms, &self.settings.channel)?;
            if numbers > 0 {
                tracing::info!(
                    channel = self.desk.name,
                    numbers,
                    "were in flight; they are sent and read back"
                );
            }
            self.recovered = true;
        }
        if self.desk.endpoint.rest_until() > at.now {
            return Ok(Some(Want::Wait(self.desk.endpoint.rest_until())));
        }
        let revision = store.catalogue_revision()?;
        if revision == 0 {
            // There is nothing yet that a SKU could be looked up in.
            return Ok(Some(Want::Wait(at.now + IDLE_POLL)));
        }
        if at.now >= self.map_due || (revision != self.catalogue_revision && self.sites.is_some()) {
            self.work = Work::Mapping(Exchange::new(self.connector.map_skus()));
            return Ok(None);
        }
        let Some(sites) = &self.sites else { return Ok(Some(Want::Wait(self.map_due))) };
        let updates =
            store.take_channel_updates(at.unix_ms, &self.settings.channel, self.connector.push_max())?;
        if updates.is_empty() {
            if at.now >= self.audit_due {
                return self.choose_audit(at, &*store);
            }
            return Ok(Some(Want::Wait(self.map_due.min(self.audit_due).min(at.now + IDLE_POLL))));
        }
        let exchange = Exchange::new(self.connector.push(sites, &updates));
        self.work = Work::Pushing { updates, exchange };
        Ok(None)
    }

    /// Looks at the next page of settled offers; those that are due anyway will be read back when they are brought.
    fn choose_audit(&mut self, at: Moment, store: &dyn Store) -> Result<Option<Want>, StoreError> {
        let query = OfferQuery {
            channel: Some(self.settings.channel.clone()),
            item: None,
            after: self.audit_after.clone(),
            limit: AUDIT_SKUS,
        };
        let page = store.offers(&query)?;
        self.audit_after = page.next;
        self.audit_due = at.now + AUDIT_PAUSE;
        let told: Vec<Told> = page.rows.into_iter().filter_map(|offer| settled(at, offer)).collect();
        let Some(sites) = self.sites.as_ref().filter(|_| !told.is_empty()) else { return Ok(None) };
        let skus: Vec<Sku> = told.iter().map(|told| told.update.sku.clone()).collect();
        self.work = Work::Auditing { told, exchange: Exchange::new(self.connector.read_back(sites, &skus)) };
        Ok(None)
    }

    /// What is to be put right by a look at the channel.
    fn audited(&mut self, told: Vec<Told>, shown: &[(Sku, Shown)]) {
        let mut wrong = Vec::new();
        for Told { update, adrift } in told {
            let Some((_, Shown::Numbers(numbers))) = shown.iter().find(|(sku, _)| *sku == update.sku) else {
                continue;
            };
            let difference = |site: &SiteNumber| {
                numbers.get(&site.site).map_or(0, |shown| shown.saturating_sub(site.number))
            };
            let differences: Vec<i64> = update.sites.iter().map(difference).collect();
            if differences.iter().any(|difference| *difference > 0) {
                tracing::warn!(channel = self.desk.name, sku = %update.sku, ?differences, "the channel holds more than it was told");
                wrong.push(update);
            } else if differences.iter().all(|difference| *difference == 0) {
                continue;
            } else if adrift
                .iter()
                .any(|late| late.iter().all(|site| numbers.get(&site.site) == Some(&site.number)))
            {
                tracing::warn!(channel = self.desk.name, sku = %update.sku, ?differences, "an old number came late");
                wrong.push(update);
            } else {
                self.desk.remark(format!("the channel holds less of {} than it was told", update.sku));
            }
        }
        wrong.truncate(self.connector.push_max());
        if let Some(sites) = self.sites.as_ref().filter(|_| !wrong.is_empty()) {
            let exchange = Exchange::new(self.connector.push(sites, &wrong));
            self.work = Work::Repairing(exchange);
        }
    }

    /// One step; `None` = go on at once. What is under way is put back when the store fails.
    fn step(&mut self, at: Moment, store: &mut dyn Store, random: u64) -> Result<Option<Want>, StoreError> {
        let Self { connector, desk, .. } = self;
        let (connector, endpoint): (&dyn Connector, _) = (&**connector, &mut desk.endpoint);
        match mem::replace(&mut self.work, Work::Idle) {
            Work::Idle => return self.choose(at, store),
            Work::Mapping(mut exchange) => match exchange.poll(at.now, connector, endpoint, random) {
                exchange::Want::Done(Ok(map)) => self.work = Work::KeepingMap(map),
                exchange::Want::Done(Err(failure)) => {
                    self.map_due = self.desk.endpoint.rest_until().max(at.now + READ_AGAIN);
                    self.catalogue_revision = store.catalogue_revision()?;
                    self.desk.remark(format!("the SKUs could not be read: {failure}"));
                }
                other => return Ok(self.put_back(at, other, Work::Mapping(exchange))),
            },
            Work::KeepingMap(map) => self.keep_map(at, store, map)?,
            Work::Pushing { updates, mut exchange } => {
                match exchange.poll(at.now, connector, endpoint, random) {
                    exchange::Want::Done(pushed) => {
                        if matches!(&pushed, Ok(pushed) if pushed.iter().any(is_odd)) {
                            // A variant or a location may have gone.
                            self.map_due = self.map_due.min(at.now + READ_AGAIN);
                        }
                        let rest_until = self.desk.endpoint.rest_until();
                        self.work = Work::KeepingResults(results(at, &updates, pushed, rest_until, random));
                    }
                    other => return Ok(self.put_back(at, other, Work::Pushing { updates, exchange })),
                }
            }
            Work::Auditing { told, mut exchange } => match exchange.poll(at.now, connector, endpoint, random)
            {
                exchange::Want::Done(Ok(shown)) => self.audited(told, &shown),
                exchange::Want::Done(Err(failure)) => {
                    tracing::debug!(channel = self.desk.name, %failure, "the channel could not be looked at");
                }
                other => return Ok(self.put_back(at, other, Work::Auditing { told, exchange })),
            },
            Work::Repairing(mut exchange) => match exchange.poll(at.now, connector, endpoint, random) {
                exchange::Want::Done(Ok(pushed)) => {
                    let held = pushed.iter().filter(|pushed| **pushed == Pushed::Held).count();
                    tracing::info!(channel = self.desk.name, held, of = pushed.len(), "numbers put right");
                }
                // The next look sees it again.
                exchange::Want::Done(Err(failure)) => {
                    tracing::warn!(channel = self.desk.name, %failure, "numbers not put right yet");
                }
                other => return Ok(self.put_back(at, other, Work::Repairing(exchange))),
            },
            Work::KeepingResults(results) => {
                if let Err(fault) = store.record_channel_results(at.unix_ms, &self.settings.channel, &results)
                {
                    self.work = Work::KeepingResults(results);
                    return Err(fault);
                }
                self.count(&results);
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
            // The edge asks twice while a request is out, or there is something to note: nothing to do.
            exchange::Want::Busy | exchange::Want::Note(_) | exchange::Want::Done(_) => {
                Some(Want::Wait(at.now + IDLE_POLL))
            }
        }
    }

    fn keep_map(&mut self, at: Moment, store: &mut dyn Store, map: ChannelMap) -> Result<(), StoreError> {
        let kept = store.catalogue_revision().and_then(|revision| {
            let (listings, mut remarks) = listings(&*store, &map)?;
            let change = store.replace_listings(&self.settings.channel, &listings)?;
            remarks.extend(map.remarks.iter().cloned());
            remarks.extend(change.unknown_items.iter().map(|listing| no_item(&listing.sku)));
            Ok((revision, change.active, remarks))
        });
        match kept {
            Ok((revision, skus, remarks)) => {
                if self.sites.is_none() || revision != self.catalogue_revision {
                    tracing::info!(channel = self.desk.name, skus, unknown = remarks.len(), "SKUs mapped");
                }
                self.catalogue_revision = revision;
                self.sites = Some(map.sites);
                self.map_due = at.now + self.settings.refresh;
                self.desk.set_remarks(remarks);
                Ok(())
            }
            Err(fault) if is_final(&fault) => {
                self.map_due = at.now + self.settings.refresh;
                self.desk.remark(format!("the SKUs were not taken: {fault}"));
                Ok(())
            }
            Err(fault) => {
                self.work = Work::KeepingMap(map);
                Err(fault)
            }
        }
    }

    fn count(&mut self, results: &[(Sku, ChannelResult)]) {
        let (channel, counts) = (&self.desk.name, &mut self.desk.results);
        for (sku, result) in results {
            match result {
                ChannelResult::Accepted { revision } => {
                    counts.done += 1;
                    tracing::info!(channel, %sku, revision, "number accepted");
                }
                ChannelResult::Retry { message, .. } => {
                    counts.retried += 1;
                    tracing::warn!(channel, %sku, message, "number to be sent again");
                }
                ChannelResult::Unknown { message, .. } => {
                    counts.unknown += 1;
                    tracing::warn!(channel, %sku, message, "number of unknown outcome");
                }
                ChannelResult::Dead { reason, .. } => {
                    counts.refused += 1;
                    tracing::warn!(channel, %sku, reason, "number refused");
                }
            }
        }
    }
}

/// What the channel should hold, as an update once more, and what may have come over it late.
struct Told {
    update: ChannelUpdate,
    adrift: Vec<Vec<SiteNumber>>,
}

/// An offer whose number the channel has accepted and that nothing has changed since.
fn settled(at: Moment, offer: OfferRow) -> Option<Told> {
    let published = offer.published.filter(|_| !offer.unresolved && offer.fault.is_none())?;
    if published.number != offer.availability.number {
        return None;
    }
    let recent = offer.adrift.into_iter().filter(|adrift| at.unix_ms - adrift.at_ms < ADRIFT_MAX_AGE_MS);
    let update = ChannelUpdate {
        sku: offer.sku,
        reference: None,
        item: offer.item,
        revision: published.revision,
        number: published.number,
        sites: offer.availability.sites,
        through: published.through,
        attempts: 0,
        unresolved: false,
        published: Some(published),
        expects: None,
    };
    Some(Told { update, adrift: recent.map(|adrift| adrift.sites).collect() })
}

/// Says that the channel is not as it was mapped.
fn is_odd(pushed: &Pushed) -> bool {
    matches!(pushed, Pushed::Refused { .. } | Pushed::Differs { .. })
}

fn no_item(sku: &Sku) -> String {
    format!("SKU {sku} is no item, nor one of its codes: it gets no numbers")
}

/// Which item each SKU is: the one of that name, or the one that carries it as a code or barcode.
fn listings(store: &dyn Store, map: &ChannelMap) -> Result<(Vec<Listing>, Vec<String>), StoreError> {
    let index = store.catalogue_index()?;
    let mut found: Vec<Listing> = Vec::new();
    let mut open: HashMap<&str, &crate::channel::ChannelSku> = HashMap::new();
    for listed in &map.skus {
        match ItemId::new(listed.sku.as_str()) {
            Ok(item) if index.items.contains_key(&item) => found.push(listing(listed, item)),
            _ => {
                open.insert(listed.sku.as_str(), listed);
            }
        }
    }
    drop(index);
    let gtins: HashMap<Gtin, &str> =
        open.keys().filter_map(|sku| Gtin::parse(sku).ok().map(|gtin| (gtin, *sku))).collect();
    let mut after: Option<ItemId> = None;
    while !open.is_empty() {
        let page = store.items("", after.as_ref(), PAGE_ROWS_MAX)?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        for item in page {
            let by_code = item.codes.iter().map(String::as_str);
            let by_gtin = item.gtins.iter().filter_map(|gtin| gtins.get(gtin).copied());
            for name in by_code.chain(by_gtin) {
                if let Some(listed) = open.remove(name) {
                    found.push(listing(listed, item.id.clone()));
                }
            }
        }
    }
    let mut remarks: Vec<String> = open.values().map(|listed| no_item(&listed.sku)).collect();
    remarks.sort();
    Ok((found, remarks))
}

fn listing(listed: &crate::channel::ChannelSku, item: ItemId) -> Listing {
    Listing { sku: listed.sku.clone(), item, reference: listed.reference.clone() }
}

/// What the books are told about each update.
fn results(
    at: Moment,
    updates: &[ChannelUpdate],
    pushed: Result<Vec<Pushed>, Failure>,
    rest_until: Duration,
    random: u64,
) -> Vec<(Sku, ChannelResult)> {
    let result = |(position, update): (usize, &ChannelUpdate)| {
        let revision = update.revision;
        let at_ms = at.unix_ms_at(rest_until.max(at.now + resend_wait(update.attempts, random)));
        let retry = |message: String| ChannelResult::Retry { revision, at_ms, message };
        let unknown = |message: String| ChannelResult::Unknown { revision, at_ms, message };
        match &pushed {
            Ok(pushed) => match pushed.get(position) {
                Some(Pushed::Held) => ChannelResult::Accepted { revision },
                // It may have sold under the number before it was changed.
                Some(Pushed::Differs { shows }) => {
                    unknown(format!("right after it was told, the channel shows {shows}"))
                }
                Some(Pushed::Unknown { message }) => unknown(message.clone()),
                Some(Pushed::Refused { reason }) => ChannelResult::Dead { revision, reason: reason.clone() },
                None => unknown("the connector told nothing about it".into()),
            },
            Err(failure) if failure.class == Class::Unknown => unknown(failure.to_string()),
            Err(failure) => retry(failure.to_string()),
        }
    };
    updates
        .iter()
        .enumerate()
        .map(|(position, update)| (update.sku.clone(), result((position, update))))
        .collect()
}

fn resend_wait(attempts: u32, random: u64) -> Duration {
    let mut backoff = Backoff::new(RESEND_FIRST, RESEND_CAP);
    for _ in 0..attempts.min(u64::BITS) {
        backoff.next_delay(random);
    }
    backoff.next_delay(random)
}

impl Sender for ChannelSender {
    fn connector(&self) -> &dyn Connector {
        &*self.connector
    }

    fn lease(&self) -> String {
        format!("channel/{}", self.settings.channel)
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
            Work::Mapping(exchange) => exchange.handle_outcome(at.now, outcome, connector, endpoint, random),
            Work::Pushing { exchange, .. } | Work::Repairing(exchange) => {
                exchange.handle_outcome(at.now, outcome, connector, endpoint, random);
            }
            Work::Auditing { exchange, .. } => {
                exchange.handle_outcome(at.now, outcome, connector, endpoint, random);
            }
            Work::Idle | Work::KeepingMap(_) | Work::KeepingResults(_) => {}
        }
    }

    fn handle_wake(&mut self, _at: Moment) {
        // Polling is all that a wake asks for: numbers coalesce in the store while a push is under way.
    }

    fn handle_order(&mut self, at: Moment, order: Order) {
        match order {
            Order::Refresh => {
                self.map_due = at.now;
                self.desk.endpoint.wake(at.now);
            }
            Order::Reconcile(reply) => {
                reply(Err(Failure::new(Class::Setup, format!("{} is a channel, no ERP", self.desk.name))));
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
                Work::Mapping(_) | Work::KeepingMap(_) => "reading the SKUs",
                Work::Pushing { .. } | Work::KeepingResults(_) => "publishing",
                Work::Auditing { .. } | Work::Repairing(_) => "looking at the channel",
            },
            ready: self.sites.is_some(),
            catalogue_revision: self.catalogue_revision,
            requests,
            exchanges,
            results: self.desk.results,
            remarks: self.desk.remarks.clone(),
        }
    }
}
