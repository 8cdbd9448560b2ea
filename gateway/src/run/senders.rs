//! The senders as tasks: made from the configuration, woken by ingest, stopped together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
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
use crate::reconcile::Plan;
use crate::sender::{
    ChannelSender, ChannelSettings, ErpSender, ErpSettings, Opening, Order, Sender, SenderStatus,
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
        stop: &watch::Receiver<bool>,
    ) -> Result<Self> {
        let mut senders = Self { erp: None, channels: Vec::new(), tasks: JoinSet::new() };
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
        }
        for channel in &config.channels {
            let settings = ChannelSettings { channel: channel.name.clone(), refresh: LISTINGS_REFRESH };
            let kind = channel::find(&channel.kind).map_err(anyhow::Error::msg)?;
            let access = ChannelAccess {
                channel: channel.name.clone(),
                url: channel.url.clone(),
                user: channel.user.clone(),
                password: secret(&channel.password_file)?,
                sites: channel.sites.clone(),
            };
            let make = move || -> Box<dyn Sender> {
                Box::new(ChannelSender::new(settings.clone(), kind.connect(access.clone())))
            };
            let handle = senders.spawn(Box::new(make), config, store, stop)?;
            senders.channels.push(handle);
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
        let all = self.erp.iter().chain(&self.channels);
        all.map(|handle| (handle.lease.clone(), handle.status.borrow().is_some())).collect()
    }

    pub(super) fn wake_erp(&self) {
        self.erp.iter().for_each(|erp| erp.wake.notify_one());
    }

    pub(super) fn wake_channels(&self) {
        self.channels.iter().for_each(|channel| channel.wake.notify_one());
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
    config.channels.iter().try_for_each(|channel| secret(&channel.password_file).map(drop))
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
