//! The senders as tasks: made from the configuration, woken by ingest, stopped together.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stockwire_protocol::{ChannelId, SiteId};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::availability::{ChannelPolicy, Selling};
use crate::catalogue::ErpId;
use crate::channel::{self, ChannelAccess};
use crate::config::{Channel, Config, Erp};
use crate::erp::{self, ErpAccess, ErpConnector, ErpKind, Shortage};
use crate::exchange::Secret;
use crate::io::http_client::HttpClient;
use crate::io::outward::{self, Make, ORDERS_MAX, Wires};
use crate::io::shared::Shared;
use crate::order::round::Book;
use crate::order::{Policy, Source};
use crate::reconcile::Plan;
use crate::sender::{
    ChannelSender, ChannelSettings, ErpSender, ErpSettings, Opening, Order, OrderDoor, OrderSender, Sender,
    SenderStatus,
};
use crate::store::{Reader, Store};

/// How often a channel's list of SKUs is read again.
const LISTINGS_REFRESH: Duration = Duration::from_secs(600);
/// A key or a password; anything longer is not one.
const SECRET_BYTES_MAX: u64 = 4096;

/// All senders of this process.
pub(super) struct Senders {
    erp: Option<Handle>,
    channels: Vec<Handle>,
    /// Those that deal with orders, and whose.
    orders: Vec<(Option<ChannelId>, Handle)>,
    tasks: JoinSet<()>,
}

struct Handle {
    wake: Arc<Notify>,
    orders: mpsc::Sender<Order>,
    lease: String,
    status: watch::Receiver<Option<SenderStatus>>,
}

impl Senders {
    /// Starts one for the ERP and one for each channel.
    pub(super) fn start(
        config: &Config,
        store: &Shared<dyn Store>,
        book: &Arc<Book>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Self> {
        let mut senders = Self { erp: None, channels: Vec::new(), orders: Vec::new(), tasks: JoinSet::new() };
        if let Some(erp) = &config.erp {
            let settings = ErpSettings {
                erp: erp_id(erp)?,
                refresh: Duration::from_secs(erp.refresh_s),
                lines_max: erp.batch_lines,
                batch_wait: Duration::from_millis(erp.batch_wait_ms),
                opening: Opening::FromErp,
            };
            let (kind, access) = erp_access(erp)?;
            let make = move || -> Box<dyn Sender> {
                Box::new(ErpSender::new(settings.clone(), kind.connect(access.clone())))
            };
            senders.erp = Some(senders.spawn(Box::new(make), config, store, stop)?);
            if book.others.posts_sales {
                let (kind, access) = erp_access(erp)?;
                let (erp, book) = (erp_id(erp)?, Arc::clone(book));
                let make = move || -> Box<dyn Sender> {
                    let door = OrderDoor::Erp { erp: erp.clone(), connector: kind.connect(access.clone()) };
                    Box::new(OrderSender::new(door, Arc::clone(&book)))
                };
                let handle = senders.spawn(Box::new(make), config, store, stop)?;
                senders.orders.push((None, handle));
            }
        }
        for channel in &config.channels {
            let settings = ChannelSettings { channel: channel.name.clone(), refresh: LISTINGS_REFRESH };
            let kind = channel::find(&channel.kind).map_err(anyhow::Error::msg)?;
            let access = channel_access(channel)?;
            let make = move || -> Box<dyn Sender> {
                Box::new(ChannelSender::new(settings.clone(), kind.connect(access.clone())))
            };
            let handle = senders.spawn(Box::new(make), config, store, stop)?;
            senders.channels.push(handle);
            if book.channels.get(&channel.name).is_some_and(|policy| policy.tells_channel) {
                let (name, access, book) = (channel.name.clone(), channel_access(channel)?, Arc::clone(book));
                let make = move || -> Box<dyn Sender> {
                    let door =
                        OrderDoor::Channel { channel: name.clone(), connector: kind.connect(access.clone()) };
                    Box::new(OrderSender::new(door, Arc::clone(&book)))
                };
                let handle = senders.spawn(Box::new(make), config, store, stop)?;
                senders.orders.push((Some(channel.name.clone()), handle));
            }
        }
        Ok(senders)
    }

    fn spawn(
        &mut self,
        make: Make,
        config: &Config,
        store: &Shared<dyn Store>,
        stop: &watch::Receiver<bool>,
    ) -> Result<Handle> {
        let sender = make();
        let http = HttpClient::new(sender.connector())?;
        let (told, status) = watch::channel(None);
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        let wake = Arc::new(Notify::new());
        let wires = Wires {
            store: store.clone(),
            holder: config.mqtt.client_id.as_str().into(),
            wake: Arc::clone(&wake),
            orders: taken,
            status: told,
            stop: stop.clone(),
        };
        self.tasks.spawn(outward::run_sender(make, http, wires));
        Ok(Handle { wake, orders, lease: sender.lease(), status })
    }

    /// The lease of each, and whether its work is done here.
    pub(super) fn leases(&self) -> Vec<(String, bool)> {
        let all = self.erp.iter().chain(&self.channels).chain(self.orders.iter().map(|(_, handle)| handle));
        all.map(|handle| (handle.lease.clone(), handle.status.borrow().is_some())).collect()
    }

    pub(super) fn wake_erp(&self) {
        self.erp.iter().for_each(|erp| erp.wake.notify_one());
    }

    pub(super) fn wake_channels(&self) {
        self.channels.iter().for_each(|channel| channel.wake.notify_one());
    }

    /// Something became due of an order.
    pub(super) fn wake_orders(&self) {
        self.orders.iter().for_each(|(_, handle)| handle.wake.notify_one());
    }

    /// A channel says that there is something to see.
    pub(super) fn look_for_orders(&self, channel: &ChannelId) {
        let theirs = self.orders.iter().filter(|(name, _)| name.as_ref() == Some(channel));
        for (_, handle) in theirs {
            // When there are too many already, it is about to look anyway.
            let _ = handle.orders.try_send(Order::Refresh);
        }
    }

    /// Asks the ERP's sender to compare; the answer comes when its work in hand is done.
    pub(super) fn reconcile(&self, answer: oneshot::Sender<Result<Plan, String>>) {
        let Some(erp) = &self.erp else {
            // Nobody waiting any more is no fault.
            let _ = answer.send(Err("no ERP is configured; see [erp] in the configuration".into()));
            return;
        };
        let order = Order::Reconcile(Box::new(move |result| {
            let _ = answer.send(result.map_err(|failure| failure.to_string()));
        }));
        if erp.orders.try_send(order).is_err() {
            tracing::warn!("the ERP's sender has too many orders; this one is dropped");
        }
    }

    /// Waits for the ends of all, and no longer than that.
    pub(super) async fn join(&mut self, patience: Duration) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::warn!("a sender did not end in time; its work in hand is looked up at the next start");
            self.tasks.abort_all();
        }
    }
}

/// What the configuration says about orders.
pub(super) fn book(config: &Config) -> Result<Book> {
    let posts_sales = match &config.erp {
        Some(erp) => {
            let (kind, access) = erp_access(erp)?;
            kind.connect(access).offers_sales()
        }
        None => false,
    };
    // Sites in the order in which they are named, where nobody has said more of them.
    let sources = |sites: &[SiteId]| -> Vec<Source> {
        let plain = |(at, site): (usize, &SiteId)| {
            let said = config.orders.sources.iter().find(|source| source.site == *site);
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            said.cloned().unwrap_or(Source { site: site.clone(), priority: at, distance_km: BTreeMap::new() })
        };
        sites.iter().enumerate().map(plain).collect()
    };
    let policy = |sites: &[SiteId], tells_channel| Policy {
        sources: sources(sites),
        checks: config.orders.checks.clone(),
        when_short: config.orders.when_short,
        leaves: config.orders.leaves,
        posts_sales,
        tells_channel,
    };
    let mut all: Vec<SiteId> = Vec::new();
    let named = config.orders.sources.iter().map(|source| &source.site);
    for site in named.chain(config.channels.iter().flat_map(|channel| &channel.sites)) {
        if !all.contains(site) {
            all.push(site.clone());
        }
    }
    let mut channels = BTreeMap::new();
    for channel in &config.channels {
        let kind = channel::find(&channel.kind).map_err(anyhow::Error::msg)?;
        let offers = channel.orders && kind.connect(channel_access(channel)?).offers_orders();
        if channel.orders && !offers {
            bail!(
                "channel {}: orders = true, and the connector {} does not read orders",
                channel.name,
                channel.kind
            );
        }
        channels.insert(channel.name.clone(), policy(&channel.sites, offers));
    }
    Ok(Book { channels, others: policy(&all, false) })
}

/// The secrets of webhooks, by channel.
pub(super) fn webhook_secrets(config: &Config) -> Result<BTreeMap<ChannelId, Secret>> {
    let with =
        config.channels.iter().filter_map(|channel| Some((channel, channel.webhook_secret_file.as_ref()?)));
    with.map(|(channel, file)| Ok((channel.name.clone(), secret(file)?))).collect()
}

fn channel_access(channel: &Channel) -> Result<ChannelAccess> {
    Ok(ChannelAccess {
        channel: channel.name.clone(),
        url: channel.url.clone(),
        user: channel.user.clone(),
        password: secret(&channel.password_file)?,
        sites: channel.sites.clone(),
    })
}

/// What the configuration says about channels, for the store.
pub(super) fn policies(config: &Config) -> Result<Vec<ChannelPolicy>> {
    let policy = |(rank, channel): (i64, &Channel)| {
        let declared = channel::find(&channel.kind).map_err(anyhow::Error::msg)?.declares();
        Ok(ChannelPolicy {
            channel: channel.name.clone(),
            sites: channel.sites.clone(),
            safety_stock: channel.safety_stock,
            out_of_stock_threshold: channel.out_of_stock_threshold,
            cap: channel.cap,
            basis: declared.basis,
            selling: Selling {
                share_percent: channel.share_percent,
                end_when: channel.end_when,
                order_lag_ms: channel.order_lag_s.saturating_mul(1_000),
                strict: channel.strict,
                compare_and_set: declared.compare_and_set,
                rank,
            },
        })
    };
    (0..).zip(&config.channels).map(policy).collect()
}

/// Whether the secrets can be read.
pub(super) fn check(config: &Config) -> Result<()> {
    if let Some(erp) = &config.erp {
        HttpClient::new(&*erp_connector(erp)?)?;
    }
    book(config)?;
    webhook_secrets(config).map(drop)
}

/// Compares from outside of a running gateway.
pub(super) async fn reconcile(config: &Config, reader: &Shared<dyn Reader>) -> Result<Plan> {
    let erp = config.erp.as_ref().context("no ERP is configured; see [erp] in the configuration")?;
    let connector = erp_connector(erp)?;
    let http = HttpClient::new(&*connector)?;
    Ok(outward::reconcile(&*connector, &http, reader, &erp_id(erp)?).await?)
}

/// The name of the configured ERP.
pub(super) fn erp_name(config: &Config) -> Result<Option<ErpId>> {
    config.erp.as_ref().map(erp_id).transpose()
}

fn erp_id(erp: &Erp) -> Result<ErpId> {
    ErpId::new(&erp.name)
        .with_context(|| format!("erp.name = {:?}: expected 1 to 32 of a-z, 0-9 and -", erp.name))
}

fn erp_connector(erp: &Erp) -> Result<Box<dyn ErpConnector>> {
    let (kind, access) = erp_access(erp)?;
    Ok(kind.connect(access))
}

fn erp_access(erp: &Erp) -> Result<(&'static dyn ErpKind, ErpAccess)> {
    let kind = erp::find(&erp.kind).map_err(anyhow::Error::msg)?;
    let access = ErpAccess {
        url: erp.url.clone(),
        key: secret(&erp.key_file)?,
        company: erp.company,
        supplier: erp.supplier.clone(),
        customer: erp.customer.clone(),
        shortage: if erp.force_assignment { Shortage::Force } else { Shortage::Refuse },
        sales: erp.sales,
    };
    Ok((kind, access))
}

fn secret(path: &Path) -> Result<Secret> {
    let shown = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("cannot read the secret in {shown}"))?.len();
    if size > SECRET_BYTES_MAX {
        bail!("{shown} has {size} bytes; a secret has at most {SECRET_BYTES_MAX}");
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the secret in {shown}"))?;
    match text.trim() {
        "" => bail!("{shown} is empty; put the secret into it"),
        text => Ok(Secret::new(text)),
    }
}
