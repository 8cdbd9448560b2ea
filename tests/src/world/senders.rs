//! The gateway's two senders, ledger rows to the ERP and numbers to the shop: the real ones, polled in virtual time.

use std::time::Duration;

use stockwire_gateway::exchange::{Answer, Loss};
use stockwire_gateway::sender::{
    ChannelSender, ChannelSettings, ErpSender, ErpSettings, Moment, Opening, Sender, Want,
};
use stockwire_gateway::store::StoreError;

use super::{Happening, World};

/// Whom a sender talks to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Vendor {
    /// The ERP.
    Erp,
    /// The shop.
    Shop,
}

impl Vendor {
    /// Both.
    pub(super) const ALL: [Vendor; 2] = [Vendor::Erp, Vendor::Shop];
}

/// A sender, as long as its process lives.
pub(super) struct Posted {
    sender: Box<dyn Sender>,
    /// The request that is out, if one is.
    out: Option<u64>,
    requests: u64,
    /// When it is polled next, if that is arranged.
    turn: Option<Duration>,
}

/// As the edge does: before a store that failed is asked again.
const STORE_AGAIN: Duration = Duration::from_secs(1);
/// Longer than any world: what is read again while nothing changes teaches nothing.
const REFRESH: Duration = Duration::from_secs(24 * 3_600);

impl World {
    /// Fresh senders for a fresh process.
    pub(super) fn senders(&self) -> [Posted; 2] {
        let erp = ErpSettings {
            erp: self.erp.id.clone(),
            refresh: REFRESH,
            lines_max: self.weather.lines_max,
            batch_wait: Duration::from_millis(self.weather.batch_wait_ms),
            opening: Opening::FromErp,
        };
        let shop = ChannelSettings { channel: self.policy.channel.clone(), refresh: REFRESH };
        let posted = |sender| Posted { sender, out: None, requests: 0, turn: None };
        [
            posted(Box::new(ErpSender::new(erp, self.erp.connect()))),
            posted(Box::new(ChannelSender::new(shop, self.shop.connect()))),
        ]
    }

    fn posted(&mut self, vendor: Vendor) -> Option<&mut Posted> {
        self.cloud.process.as_mut().map(|process| &mut process.senders[vendor as usize])
    }

    fn moment(&self) -> Moment {
        let started = self.cloud.process.as_ref().map_or(Duration::ZERO, |process| process.started);
        Moment { now: self.queue.now() - started, unix_ms: self.unix_ms() }
    }

    /// Polls a sender after that wait, or earlier when that is arranged.
    pub(super) fn arrange_turn(&mut self, vendor: Vendor, wait: Duration) {
        // A wait of nothing would be a loop without end.
        let (life, due) = (self.cloud.life, self.queue.now() + wait.max(Duration::from_millis(1)));
        let Some(posted) = self.posted(vendor) else { return };
        if posted.turn.is_none_or(|arranged| due < arranged) {
            posted.turn = Some(due);
            self.queue.at(due, Happening::SenderTurn { life, vendor });
        }
    }

    /// Ingest has written work for it.
    pub(super) fn wake_sender(&mut self, vendor: Vendor) {
        let at = self.moment();
        let Some(posted) = self.posted(vendor) else { return };
        posted.sender.handle_wake(at);
        let wait = self.random.ms(1..=20);
        self.arrange_turn(vendor, wait);
    }

    pub(super) fn sender_turn(&mut self, life: u32, vendor: Vendor) {
        let (now, at) = (self.queue.now(), self.moment());
        if !self.is_cloud_life(life) || self.posted(vendor).is_none_or(|posted| posted.turn != Some(now)) {
            return;
        }
        let Some(posted) = self.posted(vendor) else { return };
        posted.turn = None;
        if posted.out.is_some() {
            return;
        }
        let random = self.random.next();
        self.arm_vault();
        let Some(process) = &mut self.cloud.process else { return };
        let posted = &mut process.senders[vendor as usize];
        let want = posted.sender.poll(at, &mut self.cloud.vault, random);
        if self.vault_died() {
            return;
        }
        match want {
            Ok(Want::Send(outbound)) => {
                let Some(posted) = self.posted(vendor) else { return };
                posted.requests += 1;
                let request = posted.requests;
                posted.out = Some(request);
                self.log(|| format!("gateway: asks {vendor:?} {:?}", outbound.request));
                self.send_outside(life, vendor, request, outbound);
                // Before or behind the request: the process may end with it on its way.
                self.stumbles();
            }
            Ok(Want::Wait(until)) => self.arrange_turn(vendor, until.saturating_sub(at.now)),
            Err(StoreError::Busy { .. }) => self.arrange_turn(vendor, STORE_AGAIN),
            Err(fault) => self.fail(format!("{vendor:?}: the store refuses: {fault}")),
        }
    }

    /// What came of a request, for the process that sent it.
    pub(super) fn outside_answers(
        &mut self,
        life: u32,
        vendor: Vendor,
        request: u64,
        outcome: Result<Answer, Loss>,
    ) {
        if !self.is_cloud_life(life) || self.stumbles() {
            return;
        }
        let (random, at) = (self.random.next(), self.moment());
        let Some(posted) = self.posted(vendor) else { return };
        if posted.out != Some(request) {
            return;
        }
        posted.out = None;
        posted.sender.handle_outcome(at, outcome, random);
        self.arrange_turn(vendor, Duration::ZERO);
    }

    /// What a sender says about itself, for a failure.
    pub(super) fn sender_status(&mut self, vendor: Vendor) -> String {
        self.posted(vendor).map(|posted| format!("{:?}", posted.sender.status())).unwrap_or_default()
    }
}
