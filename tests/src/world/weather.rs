//! Which troubles a seed has, and when. Each kind is on in about half of the worlds, so that every pair of kinds meets
//! in some, and some worlds are calm enough to see one kind alone.

use std::time::Duration;

use stockwire_agent::journal::Journal as _;
use stockwire_protocol::topic::{self, Subject};

use super::broker::Message;
use super::random::Random;
use super::{Happening, World};
use crate::real::World as Company;

/// What can go wrong in a world.
pub(super) struct Weather {
    /// How many boxes stand in it.
    pub(super) boxes: usize,
    /// Movements of each operator.
    pub(super) movements: u32,
    /// When the last trouble is over.
    pub(super) chaos_ends: Duration,
    /// Bytes that a journal may keep.
    pub(super) journal_quota: u64,
    /// Appends fail now and then.
    pub(super) disk_fails: bool,
    /// Some appends take seconds.
    pub(super) slow_disk: bool,
    /// Some packets take seconds.
    pub(super) slow_link: bool,
    /// Messages that the broker acknowledges and loses.
    pub(super) lost_per_mille: u32,
    /// Messages that it delivers twice.
    pub(super) repeated_per_mille: u32,
    /// Messages that others overtake.
    pub(super) overtaken_per_mille: u32,
    /// It keeps the gateway's session while that is away.
    pub(super) broker_keeps_session: bool,
    /// Calls of the store that fail.
    pub(super) store_busy_per_mille: u32,
    /// Steps of the gateway at which it ends.
    pub(super) cloud_crash_per_mille: u32,
    /// Requests to the ERP that meet trouble.
    pub(super) erp_faults_per_mille: u32,
    /// The same for the shop.
    pub(super) shop_faults_per_mille: u32,
    /// Lines in one document.
    pub(super) lines_max: usize,
    /// How long a movement waits for others to share its document.
    pub(super) batch_wait_ms: u64,
    power_cuts: bool,
    kills: bool,
    link_cuts: bool,
    deaf_links: bool,
    broker_kills: bool,
    cloud_kills: bool,
    stuck_clients: bool,
    garbage: bool,
    resend_commands: bool,
    /// What is done to a card, seldom.
    card: Option<Card>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Card {
    /// An old copy is put back into its box (F14).
    Restored,
    /// A copy is put into a second box (F16).
    Cloned,
}

/// One trouble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// A box loses its power.
    PowerCut { at: usize },
    /// Its program is killed.
    KillBox { at: usize },
    /// Its connection breaks.
    CutLink { at: usize },
    /// Its connection carries nothing any more, and nobody is told.
    DeafLink { at: usize },
    /// Its client library stops sending.
    StuckClient { at: usize },
    /// Its next append fails.
    DiskFails { at: usize },
    /// The broker is killed.
    KillBroker,
    /// The gateway's program is killed.
    KillCloud,
    /// The gateway's connection breaks.
    CutCloud,
    /// A stranger publishes rubbish in a box's name.
    Garbage { at: usize },
    /// Somebody at the console asks a box to send again.
    Resend { at: usize },
    /// A backup of a card is made.
    Backup { at: usize },
    /// And put back.
    Restore { at: usize },
    /// A card is copied, and the copy put into a second box.
    Clone { at: usize },
    /// The second box is found and taken away.
    Retire,
}

impl Weather {
    /// From a seed.
    pub(super) fn new(random: &mut Random) -> Self {
        let mut half = || random.chance(500);
        let (power_cuts, kills, link_cuts, deaf_links) = (half(), half(), half(), half());
        let (broker_kills, cloud_kills, stuck_clients) = (half(), half(), half());
        let (disk_fails, slow_disk, slow_link) = (half(), half(), half());
        let (broker_keeps_session, garbage, resend_commands, quota) = (half(), half(), half(), half());
        let mut rate = |most: u64| if random.chance(500) { random.within(1..=most) as u32 } else { 0 };
        let (lost_per_mille, repeated_per_mille, overtaken_per_mille) = (rate(150), rate(200), rate(200));
        let (store_busy_per_mille, cloud_crash_per_mille) = (rate(60), rate(20));
        let (erp_faults_per_mille, shop_faults_per_mille) = (rate(350), rate(350));
        let card = match random.below(8) {
            0 => Some(Card::Restored),
            1 => Some(Card::Cloned),
            _ => None,
        };
        Self {
            boxes: random.within(2..=3) as usize,
            movements: random.within(30..=80) as u32,
            chaos_ends: random.ms(60_000..=300_000),
            // Some thirty rows: full during each longer outage.
            journal_quota: if quota && random.chance(300) { 3_000 } else { u64::MAX },
            disk_fails: disk_fails && card.is_none(),
            slow_disk,
            slow_link,
            lost_per_mille,
            repeated_per_mille,
            overtaken_per_mille,
            broker_keeps_session,
            store_busy_per_mille,
            cloud_crash_per_mille,
            erp_faults_per_mille,
            shop_faults_per_mille,
            lines_max: random.within(1..=30) as usize,
            batch_wait_ms: *random.pick(&[0, 200, 2_000, 20_000]),
            power_cuts,
            kills,
            link_cuts,
            deaf_links,
            broker_kills,
            cloud_kills,
            stuck_clients,
            garbage: garbage && random.chance(300),
            resend_commands,
            card,
        }
    }

    /// The company that trades in it: fewer goods than usual, so that movements meet, and stock to begin with.
    pub(super) fn company(&self, random: &mut Random) -> Company {
        let mut company = Company::standard();
        let weighed = company.items.split_off(company.items.len() - 1);
        company.items.truncate(random.within(2..=6) as usize);
        company.items.extend(weighed);
        for item in &mut company.items {
            item.opening.clear();
            for site in &company.sites {
                for bin in &site.bins {
                    if random.chance(600) {
                        item.opening.insert(format!("{}/{bin}", site.code), random.below(200).to_string());
                    }
                }
            }
        }
        company
    }

    /// When what goes wrong.
    pub(super) fn troubles(&self, random: &mut Random, boxes: usize) -> Vec<(Duration, Trouble)> {
        let mut all = Vec::new();
        let end = self.chaos_ends.as_millis() as u64;
        let mut often = |on: bool, mean_s: u64, make: &dyn Fn() -> Trouble| {
            let mut due = 0;
            if !on {
                return;
            }
            loop {
                // Waits spread around their mean.
                due += random.within(mean_s * 100..=mean_s * 1_900);
                if due >= end {
                    break;
                }
                all.push((Duration::from_millis(due), make()));
            }
        };
        for at in 0..boxes {
            often(self.power_cuts, 50, &|| Trouble::PowerCut { at });
            often(self.kills, 50, &|| Trouble::KillBox { at });
            often(self.link_cuts, 25, &|| Trouble::CutLink { at });
            often(self.deaf_links, 120, &|| Trouble::DeafLink { at });
            often(self.stuck_clients, 150, &|| Trouble::StuckClient { at });
            often(self.disk_fails, 40, &|| Trouble::DiskFails { at });
            often(self.garbage, 100, &|| Trouble::Garbage { at });
            often(self.resend_commands, 60, &|| Trouble::Resend { at });
        }
        often(self.broker_kills, 60, &|| Trouble::KillBroker);
        often(self.cloud_kills, 60, &|| Trouble::KillCloud);
        often(self.link_cuts, 50, &|| Trouble::CutCloud);
        let early = Duration::from_millis(random.within(10_000..=end / 2));
        let late = Duration::from_millis(random.within(end / 2..=end));
        let at = random.below(boxes as u64) as usize;
        match self.card {
            Some(Card::Restored) => {
                all.push((early, Trouble::Backup { at }));
                all.push((late, Trouble::Restore { at }));
            }
            Some(Card::Cloned) => {
                all.push((early, Trouble::Clone { at }));
                all.push((late, Trouble::Retire));
            }
            None => {}
        }
        all.sort_by_key(|(due, _)| *due);
        all
    }
}

impl World {
    pub(super) fn trouble(&mut self, trouble: Trouble) {
        self.log(|| format!("trouble: {trouble:?}"));
        match trouble {
            Trouble::PowerCut { at } => self.restart_box(at, true),
            Trouble::KillBox { at } => self.restart_box(at, false),
            Trouble::CutLink { at } => {
                if let Some(conn) = self.boxes[at].conn() {
                    self.cut(conn);
                }
            }
            Trouble::DeafLink { at } => {
                if let Some(conn) = self.boxes[at].conn() {
                    self.go_deaf(conn);
                }
            }
            Trouble::StuckClient { at } => self.boxes[at].get_stuck(),
            Trouble::DiskFails { at } => self.boxes[at].disk.fail_once(),
            Trouble::KillBroker => {
                if self.broker_is_up() {
                    self.kill_broker();
                    let wait = self.random.ms(500..=40_000);
                    self.queue.after(wait, Happening::StartBroker);
                }
            }
            Trouble::KillCloud => {
                self.kill_cloud();
                let wait = self.random.ms(500..=40_000);
                self.queue.after(wait, Happening::StartCloud);
            }
            Trouble::CutCloud => {
                if let Some(conn) = self.cloud.conn() {
                    self.cut(conn);
                }
            }
            Trouble::Garbage { at } => self.publish_garbage(at),
            Trouble::Resend { at } => {
                let id = self.random.next();
                self.ask_resend(at, id);
            }
            Trouble::Backup { at } => {
                let copy = self.boxes[at].disk.backup();
                self.backups.insert(at, copy);
            }
            Trouble::Restore { at } => self.restore(at),
            Trouble::Clone { at } => self.clone_box(at),
            Trouble::Retire => self.retire_clone(),
        }
    }

    fn restart_box(&mut self, at: usize, power: bool) {
        self.kill_box(at, power);
        let wait = if power { self.random.ms(2_000..=30_000) } else { self.random.ms(500..=5_000) };
        self.queue.after(wait, Happening::Boot { at });
    }

    fn publish_garbage(&mut self, at: usize) {
        if !self.broker_is_up() {
            return;
        }
        let bytes: Vec<u8> = (0..self.random.within(1..=40)).map(|_| self.random.next() as u8).collect();
        self.garbage.push(bytes.clone());
        let edge = &self.boxes[at];
        let topic = topic::topic(&edge.site, &edge.agent, Subject::Events);
        self.route(Message { topic, payload: bytes, retained: false });
    }

    /// The box is stopped, its card is overwritten with an old copy, and it starts again.
    fn restore(&mut self, at: usize) {
        let Some(copy) = self.backups.remove(&at) else { return };
        self.kill_box(at, true);
        self.settle_doubt(at);
        let edge = &mut self.boxes[at];
        // Since the copy was made the box may have begun another epoch by itself.
        if copy.epoch() != edge.disk.epoch() {
            return;
        }
        self.auditor.restored(at, copy.epoch(), copy.head().get());
        self.cards.copy(at, at, copy.head().get());
        self.boxes[at].disk.restore(copy);
        self.keep_offline(at);
        let wait = self.random.ms(5_000..=60_000);
        self.queue.after(wait, Happening::Boot { at });
    }

    /// Often the network is not there at once: scans go on, and rows pile up under sequences that the gateway knows.
    fn keep_offline(&mut self, at: usize) {
        if self.random.chance(600) {
            self.boxes[at].offline_until = self.queue.now() + self.random.ms(10_000..=120_000);
        }
    }

    /// The same identity and the same rows in two boxes.
    fn clone_box(&mut self, at: usize) {
        self.kill_box(at, false);
        self.settle_doubt(at);
        let twin = self.boxes.len();
        let (epoch, head) = (self.boxes[at].disk.epoch(), self.boxes[at].disk.head().get());
        self.auditor.cloned(at, twin, epoch, head);
        self.cards.copy(at, twin, head);
        let random = self.random.fork();
        let clone = self.boxes[at].twin(twin, random);
        self.boxes.push(clone);
        for at in [at, twin] {
            self.keep_offline(at);
            let wait = self.random.ms(1_000..=30_000);
            self.queue.after(wait, Happening::Boot { at });
        }
    }

    /// Somebody has seen the alarm and found the second box: it is switched off, and its card kept.
    fn retire_clone(&mut self) {
        for at in self.weather.boxes..self.boxes.len() {
            self.kill_box(at, false);
            self.settle_doubt(at);
            self.auditor.retired(at);
            self.boxes[at].retired = true;
        }
    }
}
