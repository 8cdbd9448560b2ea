//! The ERP and the shop, and the network between them and the gateway: requests that are never done, done with the
//! answer lost, done late, refused at the door, answered by half a page.

use std::time::Duration;

use stockwire_gateway::catalogue::ErpId;
use stockwire_gateway::channel::{self, ChannelAccess, ChannelConnector};
use stockwire_gateway::erp::{self, ErpAccess, ErpConnector, Shortage};
use stockwire_gateway::exchange::{Answer, Loss, Outbound, Secret};
use stockwire_protocol::SiteId;

use super::senders::Vendor;
use super::{Happening, World};
use crate::real::World as Company;
use crate::standin::{erp::door as erp_door, shop::door as shop_door};

/// The ERP.
pub(super) struct Erp {
    /// Its name at the gateway.
    pub(super) id: ErpId,
    /// Its rules.
    pub(super) door: erp_door::Door,
}

/// The shop.
pub(super) struct Shop {
    /// Its rules.
    pub(super) door: shop_door::Door,
    sites: Vec<SiteId>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Done and answered.
    Fine,
    /// No connection was made.
    NotSent,
    /// Never done, never answered.
    Lost,
    /// Done, and the answer is lost.
    AnswerLost,
    /// The answer is given up, and it is done after that.
    Late,
    /// Done, and half of the answer comes.
    HalfAnswer,
    /// Refused unseen, by a busy server.
    Busy(u16),
    /// Done, and the server fails while it answers.
    FailedAfter,
}

/// A late request is done within this time after the client has given up. A shop's numbers are absolute, so one that
/// came even later would stand over its successors; no client can do anything about that but look again some day.
const ERP_LATE_MS: u64 = 40_000;
const SHOP_LATE_MS: u64 = 400;

impl Erp {
    /// Seeded with a company.
    pub(super) fn new(company: &Company) -> Self {
        Self { id: ErpId::new("tryton").expect("a name"), door: erp_door::Door::new(company) }
    }

    /// The gateway's real connector to it.
    pub(super) fn connect(&self) -> Box<dyn ErpConnector> {
        let access = ErpAccess {
            url: "http://erp.invalid/stock/".into(),
            key: Secret::new(erp_door::KEY),
            company: None,
            supplier: Some("Test Supplier".into()),
            customer: Some("Test Customer".into()),
            shortage: Shortage::Force,
            sales: false,
        };
        erp::find("tryton").expect("the Tryton connector").connect(access)
    }
}

impl Shop {
    /// With a company's items, and nothing on hand.
    pub(super) fn new(company: &Company, sites: Vec<SiteId>) -> Self {
        Self { door: shop_door::Door::new(company), sites }
    }

    /// The gateway's real connector to it.
    pub(super) fn connect(&self) -> Box<dyn ChannelConnector> {
        let access = ChannelAccess {
            channel: stockwire_protocol::ChannelId::new("shop").expect("a name"),
            url: "http://shop.invalid".into(),
            user: "superadmin".into(),
            password: Secret::new(shop_door::PASSWORD),
            sites: self.sites.clone(),
        };
        channel::find("vendure").expect("the Vendure connector").connect(access)
    }
}

impl World {
    fn fate(&mut self, vendor: Vendor) -> Fate {
        let faults = match vendor {
            Vendor::Erp => self.weather.erp_faults_per_mille,
            Vendor::Shop => self.weather.shop_faults_per_mille,
        };
        if !self.chaos || !self.random.chance(faults) {
            return Fate::Fine;
        }
        let fates = [
            Fate::NotSent,
            Fate::Lost,
            Fate::AnswerLost,
            Fate::AnswerLost,
            Fate::Late,
            Fate::Late,
            Fate::HalfAnswer,
            Fate::Busy(503),
            Fate::Busy(429),
            Fate::FailedAfter,
        ];
        *self.random.pick(&fates)
    }

    /// Puts a request on its way.
    pub(super) fn send_outside(&mut self, life: u32, vendor: Vendor, request: u64, outbound: Outbound) {
        let fate = self.fate(vendor);
        if !matches!(fate, Fate::Fine) {
            self.log(|| format!("{vendor:?}: {} will be {fate:?}", outbound.request.name));
        }
        // The shop takes its time, so that numbers that change meanwhile travel together.
        let there = match vendor {
            Vendor::Erp => self.random.ms(5..=200),
            Vendor::Shop => self.random.ms(50..=900),
        };
        // A connection that breaks is noticed at once or only by the time-out.
        let given_up = match self.random.chance(700) {
            true => self.random.ms(100..=3_000),
            false => Duration::from_secs(30),
        };
        let no_answer = || Err(Loss::NoAnswer { message: "the connection was lost".into() });
        match fate {
            Fate::NotSent => {
                let outcome = Err(Loss::NotSent { message: "connection refused".into() });
                self.queue.after(there, Happening::OutsideAnswers { life, vendor, request, outcome });
            }
            Fate::Lost => {
                self.queue.after(
                    given_up,
                    Happening::OutsideAnswers { life, vendor, request, outcome: no_answer() },
                );
            }
            Fate::AnswerLost => {
                self.queue.after(
                    there,
                    Happening::OutsideReceives { outbound: Box::new(outbound), vendor, reply: None },
                );
                let wait = there + given_up;
                self.queue
                    .after(wait, Happening::OutsideAnswers { life, vendor, request, outcome: no_answer() });
            }
            Fate::Late => {
                let late = match vendor {
                    Vendor::Erp => self.random.ms(1..=ERP_LATE_MS),
                    Vendor::Shop => self.random.ms(1..=SHOP_LATE_MS),
                };
                self.queue.after(
                    given_up,
                    Happening::OutsideAnswers { life, vendor, request, outcome: no_answer() },
                );
                let wait = given_up + late;
                self.queue.after(
                    wait,
                    Happening::OutsideReceives { outbound: Box::new(outbound), vendor, reply: None },
                );
            }
            Fate::Busy(status) => {
                let headers = vec![("retry-after".to_owned(), "2".to_owned())];
                let outcome = Ok(Answer { status, headers, body: b"<p>Come back later</p>".to_vec() });
                self.queue.after(there, Happening::OutsideAnswers { life, vendor, request, outcome });
            }
            Fate::Fine | Fate::HalfAnswer | Fate::FailedAfter => {
                let spoil = match fate {
                    Fate::HalfAnswer => Spoil::Half,
                    Fate::FailedAfter => Spoil::Failed,
                    _ => Spoil::Nothing,
                };
                let reply = Some(Reply { life, request, spoil });
                self.queue
                    .after(there, Happening::OutsideReceives { outbound: Box::new(outbound), vendor, reply });
            }
        }
    }

    /// A request is done.
    pub(super) fn outside_receives(&mut self, vendor: Vendor, outbound: &Outbound, reply: Option<Reply>) {
        let mut answer = match vendor {
            Vendor::Erp => self.erp.door.answer(outbound),
            Vendor::Shop => self.shop.door.answer(outbound),
        };
        self.log(|| format!("{vendor:?}: does {:?}: {} {}", outbound.request, answer.status, answer.text()));
        let Some(Reply { life, request, spoil }) = reply else { return };
        match spoil {
            Spoil::Nothing => {}
            Spoil::Half => answer.body.truncate(answer.body.len() / 2),
            Spoil::Failed => {
                answer.status = 500;
                answer.headers.retain(|(name, _)| name != "content-type");
                answer.body = b"<p>Internal Server Error</p>".to_vec();
            }
        }
        let back = self.random.ms(5..=120);
        self.queue.after(back, Happening::OutsideAnswers { life, vendor, request, outcome: Ok(answer) });
    }
}

/// To whom an answer goes, and in what state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    life: u32,
    request: u64,
    spoil: Spoil,
}

#[derive(Clone, Copy, Debug)]
enum Spoil {
    Nothing,
    Half,
    Failed,
}
