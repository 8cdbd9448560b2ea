//! The second act of a seed: eight channels that sell what they were told, strictly, over the gateway's own store.
//!
//! Every kind of channel is there: such as subtract their own open orders, such as count down, and such as count down and
//! compare. Their answers get lost, their numbers come late, their orders are seen minutes after they were placed, and
//! the gateway's process ends in between. Beside them a sales desk takes orders, and baskets that nobody pays. Goods come
//! and go. The auditor of this act counts what no order can be given: *oversold* must stay 0.

use std::collections::{BTreeMap, VecDeque};

use stockwire_gateway::availability::{Basis, ChannelPolicy, ChannelResult, ChannelUpdate, Selling};
use stockwire_gateway::catalogue::{ErpId, Item, Listing, Location, Site, Snapshot};
use stockwire_gateway::ingest::{Ingest, Publish};
use stockwire_gateway::io::sqlite_store::SqliteStore;
use stockwire_gateway::ledger::OpeningLine;
use stockwire_gateway::reservation::{
    End, Firmness, Line, OrderKey, Part, Priority, Query, Refused, Request, Resolution, Step,
};
use stockwire_gateway::store::{Reader as _, Store as _, StoreError};
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{
    AgentId, Batch, BizStep, Body, ChannelId, Details, Epoch, Event, ItemId, LocationId, Movement, Place,
    Quantity, Reference, Sequence, SiteId, Sku, StationId, Uom, When,
};

use super::random::Random;

/// What an act has shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sales {
    /// Pieces sold by channels.
    pub(super) sold: u64,
    /// Numbers sent to channels.
    pub(super) told: u64,
    /// Whether everything that was free was offered in the end.
    pub(super) offered: i64,
}

/// An order is with us within this time after it was placed.
const LAG_MS: i64 = 60_000;
/// What a client has given up arrives within this time, or never.
const LATE_MS: u64 = 5 * 60_000;
/// Steps with faults, and without: of the latter each takes minutes, so that all is answered, late or settled.
const STEPS: [usize; 2] = [70, 20];
/// A basket is kept so long.
const BASKET_MS: i64 = 90_000;
const SITES: [&str; 2] = ["HAM", "MUC"];
const SKU: &str = "X-1";
/// The kinds of the eight channels.
const CHANNELS: [(&str, Basis, bool); 8] = [
    ("shop-a", Basis::OnHand, false),
    ("shop-b", Basis::OnHand, false),
    ("shop-c", Basis::OnHand, false),
    ("market-a", Basis::Net, false),
    ("market-b", Basis::Net, false),
    ("careful-a", Basis::Net, true),
    ("careful-b", Basis::Net, true),
    ("careful-c", Basis::Net, true),
];

/// What happened at a channel, in its order, until the gateway hears of it.
#[derive(Clone, Copy)]
enum News {
    Order { number: u64, pieces: i64, placed_ms: i64 },
    Cancel { number: u64, placed_ms: i64 },
}

/// A number under way.
#[derive(Clone)]
struct Sent {
    update: ChannelUpdate,
    arrives_ms: i64,
    answered_ms: i64,
    /// Whether the channel took it; `None` = it has not arrived.
    taken: Option<bool>,
    heard: bool,
}

/// A channel as it is in truth.
struct Channel {
    id: ChannelId,
    basis: Basis,
    compares: bool,
    /// On hand, or what is left to sell.
    held: i64,
    /// Its own open orders.
    open: i64,
    news: VecDeque<News>,
    under_way: Vec<Sent>,
    /// Pieces that left, and the channel is told so once no older number is under way.
    shipped: i64,
}

impl Channel {
    fn can_sell(&self) -> i64 {
        match self.basis {
            Basis::OnHand => self.held - self.open,
            Basis::Net => self.held,
        }
    }

    fn take(&mut self, update: &ChannelUpdate) -> bool {
        if self.compares && update.expects.is_some_and(|expects| expects != self.held) {
            return false;
        }
        self.held = update.number;
        true
    }
}

/// An order as its sender sees it.
struct Sold {
    channel: usize,
    /// By site.
    lines: Vec<usize>,
    is_cancelling: bool,
}

struct Market {
    random: Random,
    store: SqliteStore,
    ingest: Ingest,
    now_ms: i64,
    chaos: bool,
    /// Of numbers sent. Where many are lost much stands in escrow, which hides other faults.
    faults_per_mille: u32,
    channels: Vec<Channel>,
    /// The auditor's own count: what lies at each site, and what of it is promised.
    on_hand: [i64; 2],
    promised: [i64; 2],
    baskets: Vec<(i64, usize, i64)>,
    sequences: [u64; 2],
    orders: BTreeMap<u64, Sold>,
    number: u64,
    sales: Sales,
}

type Played<T = ()> = Result<T, String>;

/// Plays one seed.
pub(super) fn play(seed: u64) -> Played<Sales> {
    let mut market = Market::open(Random::new(seed ^ 0x6d61_726b_6574)).map_err(|fault| fault.to_string())?;
    for (steps, chaos) in STEPS.into_iter().zip([true, false]) {
        market.chaos = chaos;
        for _ in 0..steps {
            market.step()?;
        }
    }
    market.check_the_end()?;
    Ok(market.sales)
}

fn failed(fault: StoreError) -> String {
    format!("the store failed: {fault:?}")
}

fn item() -> ItemId {
    ItemId::new("SKU-1").expect("an item")
}

fn site(at: usize) -> SiteId {
    SiteId::new(SITES[at]).expect("a site")
}

fn bin() -> LocationId {
    LocationId::new("A-01").expect("a location")
}

impl Market {
    fn open(mut random: Random) -> Result<Self, StoreError> {
        let mut store = SqliteStore::memory()?;
        let policies: Vec<ChannelPolicy> = (0..)
            .zip(CHANNELS)
            .map(|(rank, (name, basis, compare_and_set))| {
                let share_percent = [100, 100, 50][random.below(3) as usize];
                let selling = Selling {
                    order_lag_ms: LAG_MS,
                    strict: true,
                    compare_and_set,
                    rank,
                    share_percent,
                    ..Selling::default()
                };
                ChannelPolicy {
                    channel: ChannelId::new(name).expect("a channel"),
                    sites: vec![site(0), site(1)],
                    safety_stock: 0,
                    out_of_stock_threshold: 0,
                    cap: random.chance(200).then_some(3),
                    basis,
                    selling,
                }
            })
            .collect();
        store.replace_channels(&policies)?;
        let erp = ErpId::new("erp").expect("a name");
        let at = |at: usize| Site { site: site(at), reference: None };
        let there = |at: usize| Location { site: site(at), location: bin(), reference: None };
        let goods = Item {
            id: item(),
            name: "Part".into(),
            uom: Uom::Piece,
            gtins: vec![],
            codes: vec![],
            reference: None,
        };
        let (sites, locations) = (vec![at(0), at(1)], vec![there(0), there(1)]);
        store.replace_catalogue(&erp, &Snapshot { sites, items: vec![goods], locations })?;
        let on_hand = [random.below(12) as i64, random.below(6) as i64];
        let line = |at: usize| OpeningLine {
            site: site(at),
            location: bin(),
            item: item(),
            quantity: Quantity::pieces(on_hand[at]),
        };
        store.open_books(1, &erp, &[line(0), line(1)])?;
        let mut channels = Vec::new();
        for (name, basis, compares) in CHANNELS {
            let id = ChannelId::new(name).expect("a channel");
            let sku = Sku::new(SKU).expect("a SKU");
            store.replace_listings(&id, &[Listing { sku, item: item(), reference: None }])?;
            let (news, under_way) = (VecDeque::new(), Vec::new());
            channels.push(Channel { id, basis, compares, held: 0, open: 0, news, under_way, shipped: 0 });
        }
        Ok(Self {
            faults_per_mille: *random.pick(&[0, 60, 400]),
            random,
            store,
            ingest: Ingest::new(),
            now_ms: super::edge::UNIX_MS,
            chaos: true,
            channels,
            on_hand,
            promised: [0; 2],
            baskets: Vec::new(),
            sequences: [0; 2],
            orders: BTreeMap::new(),
            number: 0,
            sales: Sales::default(),
        })
    }

    fn step(&mut self) -> Played {
        // Quiet is long, so that nothing is late any more.
        let most = if self.chaos { LAG_MS as u64 / 4 } else { LATE_MS };
        self.now_ms += self.random.below(most) as i64;
        self.store.expire_reservations(self.now_ms).map_err(failed)?;
        let now_ms = self.now_ms;
        self.baskets.retain(|(until_ms, at, pieces)| {
            let is_over = *until_ms <= now_ms;
            self.promised[*at] -= if is_over { *pieces } else { 0 };
            !is_over
        });
        for at in 0..self.channels.len() {
            self.network(at)?;
            self.hear(at)?;
        }
        if self.chaos {
            self.people()?;
        }
        for at in 0..self.channels.len() {
            if !self.chaos || self.random.chance(500) {
                self.send(at)?;
            }
        }
        if self.chaos && self.random.chance(20) {
            self.crash()?;
        }
        self.check_what_may_be_sold()
    }

    /// What channels have sold unseen and may still sell is there, at every moment: who waits until somebody has sold
    /// too much sees one fault in ten.
    fn check_what_may_be_sold(&self) -> Played {
        let mut may_be_sold = 0;
        for channel in &self.channels {
            may_be_sold += channel.can_sell().max(0);
            for news in &channel.news {
                may_be_sold += match news {
                    News::Order { pieces, .. } => *pieces,
                    // What it gave back is promised still.
                    News::Cancel { number, .. } => {
                        -self.orders.get(number).map_or(0, |sold| sold.lines.len() as i64)
                    }
                };
            }
        }
        let there: i64 =
            self.on_hand.iter().zip(self.promised).map(|(shelf, promised)| shelf - promised).sum();
        match may_be_sold <= there {
            true => Ok(()),
            false => Err(format!("oversold: {may_be_sold} may be sold, and {there} are there")),
        }
    }

    /// The gateway's sender of a channel: what is due goes out, one at a time.
    fn send(&mut self, at: usize) -> Played {
        let id = self.channels[at].id.clone();
        let due = self.store.take_channel_updates(self.now_ms, &id, 10).map_err(failed)?;
        for update in due {
            self.sales.told += 1;
            let is_fault = self.chaos && self.random.chance(self.faults_per_mille);
            let fate = if is_fault { self.random.below(5) } else { 9 };
            let mut sent = Sent {
                arrives_ms: self.now_ms + self.random.below(4_000) as i64,
                answered_ms: self.now_ms + 4_000 + self.random.below(10_000) as i64,
                taken: None,
                heard: true,
                update,
            };
            match fate {
                // Refused at the door.
                0 => (sent.arrives_ms, sent.taken) = (i64::MAX, Some(false)),
                // Done, and the answer is lost; never done; done after it was given up.
                1 => sent.heard = false,
                2 => (sent.arrives_ms, sent.heard) = (i64::MAX, false),
                3 | 4 => {
                    sent.arrives_ms = sent.answered_ms + self.random.below(LATE_MS) as i64;
                    sent.heard = false;
                }
                _ => {}
            }
            self.channels[at].under_way.push(sent);
        }
        Ok(())
    }

    fn network(&mut self, at: usize) -> Played {
        let (now_ms, channel) = (self.now_ms, &mut self.channels[at]);
        if channel.under_way.is_empty() {
            channel.open -= channel.shipped;
            channel.held -= channel.shipped;
            channel.shipped = 0;
        }
        let mut under_way = std::mem::take(&mut channel.under_way);
        for sent in under_way.iter_mut().filter(|sent| sent.taken.is_none() && sent.arrives_ms <= now_ms) {
            sent.taken = Some(channel.take(&sent.update));
        }
        let mut answers = Vec::new();
        for sent in under_way.iter_mut().filter(|sent| sent.answered_ms <= now_ms) {
            let revision = sent.update.revision;
            let message = String::from("in a simulation");
            answers.push((
                sent.update.sku.clone(),
                match (sent.heard, sent.taken) {
                    (true, Some(true)) => ChannelResult::Accepted { revision },
                    (true, Some(false)) => ChannelResult::Retry { revision, at_ms: now_ms + 1_000, message },
                    _ => ChannelResult::Unknown { revision, at_ms: now_ms + 1_000, message },
                },
            ));
            sent.answered_ms = i64::MAX;
        }
        // What never arrives is forgotten with its answer.
        under_way.retain(|sent| {
            sent.answered_ms != i64::MAX || (sent.taken.is_none() && sent.arrives_ms != i64::MAX)
        });
        channel.under_way = under_way;
        if answers.is_empty() {
            return Ok(());
        }
        let id = channel.id.clone();
        self.store.record_channel_results(now_ms, &id, &answers).map_err(failed)
    }

    /// Hears the oldest news of a channel; of what is as old as the window allows, always.
    fn hear(&mut self, at: usize) -> Played {
        while let Some(news) = self.channels[at].news.front().copied() {
            let (News::Order { placed_ms, .. } | News::Cancel { placed_ms, .. }) = news;
            // The next step comes within a quarter of the window.
            if placed_ms + LAG_MS * 3 / 4 > self.now_ms && self.chaos && self.random.chance(700) {
                return Ok(());
            }
            self.channels[at].news.pop_front();
            match news {
                News::Order { number, pieces, .. } => self.take_order(at, number, pieces)?,
                News::Cancel { number, .. } => {
                    let Some(order) = self.orders.remove(&number) else { continue };
                    self.resolve(number, &order, End::Voided)?;
                    for at in order.lines {
                        self.promised[at] -= 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Each piece is reserved where there is one.
    fn take_order(&mut self, at: usize, number: u64, pieces: i64) -> Played {
        let mut lines = Vec::new();
        for line in 0..pieces as u32 {
            let mut found = None;
            for place in 0..SITES.len() {
                let lines = [(line + 1, place, 1)];
                if self.reserve(&self.channels[at].id.clone(), number, &lines, Firmness::Hard)? {
                    found = Some(place);
                    break;
                }
            }
            let Some(place) = found else {
                let (shelf, promised) = (self.on_hand, self.promised);
                return Err(format!(
                    "oversold: {} has sold piece {} of order {number}, and {shelf:?} are there with {promised:?} promised",
                    self.channels[at].id,
                    line + 1
                ));
            };
            lines.push(place);
        }
        self.orders.insert(number, Sold { channel: at, lines, is_cancelling: false });
        Ok(())
    }

    /// Asks the store to hold pieces, and compares its answer with what the auditor knows.
    fn reserve(
        &mut self,
        channel: &ChannelId,
        number: u64,
        lines: &[(u32, usize, i64)],
        firmness: Firmness,
    ) -> Played<bool> {
        let order = order(channel, number);
        let line = |(line, at, pieces): &(u32, usize, i64)| Line {
            line: *line,
            item: item(),
            site: site(*at),
            quantity: Quantity::pieces(*pieces),
        };
        let priority = Priority::ORDINARY;
        let request =
            Request { order, account: None, priority, firmness, lines: lines.iter().map(line).collect() };
        match self.store.reserve(self.now_ms, &request).map_err(failed)? {
            Ok(_) => {
                for (_, at, pieces) in lines {
                    self.promised[*at] += pieces;
                }
                let (shelf, promised) = (self.on_hand, self.promised);
                match promised.iter().zip(shelf).all(|(promised, shelf)| *promised <= shelf) {
                    true => Ok(true),
                    false => Err(format!("promised twice: {promised:?} of {shelf:?}")),
                }
            }
            Err(Refused::Short(_)) => Ok(false),
            Err(other) => Err(format!("a reservation is refused: {other}")),
        }
    }

    fn resolve(&mut self, number: u64, sold: &Sold, end: End) -> Played {
        let order = order(&self.channels[sold.channel].id, number);
        let resolution =
            Resolution { order, key: end.as_str().into(), step: Step::End(end), part: Part::All };
        match self.store.resolve(self.now_ms, &resolution).map_err(failed)? {
            Ok(_) => Ok(()),
            Err(refused) => Err(format!("order {number} does not end: {refused}")),
        }
    }

    fn people(&mut self) -> Played {
        for _ in 0..2 + self.random.below(6) {
            match self.random.below(12) {
                0..=5 => self.buy(),
                6 => self.ship()?,
                7 => self.cancel(),
                8 => {
                    let (at, pieces) = (self.random.below(2) as usize, 1 + self.random.below(12) as i64);
                    self.moved(at, pieces)?;
                }
                9 => {
                    // A basket that nobody pays.
                    let (at, pieces) = (self.random.below(2) as usize, 1 + self.random.below(2) as i64);
                    let until_ms = self.now_ms + BASKET_MS;
                    if self.desk(&[(1, at, pieces)], Firmness::Soft { until_ms })? {
                        self.baskets.push((until_ms, at, pieces));
                    }
                }
                10 => {
                    // Two lines of the same goods, each of which may fit alone.
                    let at = self.random.below(2) as usize;
                    let pieces = (self.on_hand[at] - self.promised[at]).max(1);
                    let until_ms = self.now_ms + BASKET_MS;
                    if self.desk(&[(1, at, pieces), (2, at, 1)], Firmness::Soft { until_ms })? {
                        self.baskets.push((until_ms, at, pieces + 1));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn buy(&mut self) {
        let at = self.random.below(self.channels.len() as u64) as usize;
        let (placed_ms, channel) = (self.now_ms, &mut self.channels[at]);
        let pieces = channel.can_sell().min(1 + self.random.below(3) as i64);
        if pieces < 1 {
            return;
        }
        self.sales.sold += pieces as u64;
        match channel.basis {
            Basis::OnHand => channel.open += pieces,
            Basis::Net => channel.held -= pieces,
        }
        self.number += 1;
        channel.news.push_back(News::Order { number: self.number, pieces, placed_ms });
    }

    fn some_order(&mut self) -> Option<u64> {
        let open: Vec<u64> =
            self.orders.iter().filter(|(_, sold)| !sold.is_cancelling).map(|(number, _)| *number).collect();
        (!open.is_empty()).then(|| *self.random.pick(&open))
    }

    /// Goods leave the house, and after that the hold is posted and the channel told.
    fn ship(&mut self) -> Played {
        let Some(number) = self.some_order() else { return Ok(()) };
        let Some(sold) = self.orders.remove(&number) else { return Ok(()) };
        for at in &sold.lines {
            self.moved(*at, -1)?;
        }
        self.resolve(number, &sold, End::Posted)?;
        for at in &sold.lines {
            self.promised[*at] -= 1;
        }
        let channel = &mut self.channels[sold.channel];
        if channel.basis == Basis::OnHand {
            channel.shipped += sold.lines.len() as i64;
        }
        Ok(())
    }

    fn cancel(&mut self) {
        let Some(number) = self.some_order() else { return };
        let restocks = self.random.chance(500);
        let Some(sold) = self.orders.get_mut(&number) else { return };
        sold.is_cancelling = true;
        let channel = &mut self.channels[sold.channel];
        let pieces = sold.lines.len() as i64;
        match channel.basis {
            Basis::OnHand => channel.open -= pieces,
            Basis::Net => channel.held += if restocks { pieces } else { 0 },
        }
        channel.news.push_back(News::Cancel { number, placed_ms: self.now_ms });
    }

    /// Somebody at the phone, who may take what no channel may sell.
    fn desk(&mut self, lines: &[(u32, usize, i64)], firmness: Firmness) -> Played<bool> {
        self.number += 1;
        let desk = ChannelId::new("desk").expect("a channel");
        self.reserve(&desk, self.number, lines, firmness)
    }

    fn moved(&mut self, at: usize, pieces: i64) -> Played {
        self.on_hand[at] += pieces;
        self.sequences[at] += 1;
        let (from, to) = match pieces > 0 {
            true => (Place::Supplier, Place::At(bin())),
            false => (Place::At(bin()), Place::Customer),
        };
        let movement = Movement {
            step: BizStep::Storing,
            item: item(),
            quantity: Quantity::pieces(pieces.abs()),
            from,
            to,
            station: StationId::new("S1").expect("a station"),
            details: Details::default(),
        };
        let event = Event { when: When::Synced { unix_ms: self.now_ms }, body: Body::Movement(movement) };
        let agent = AgentId::new(format!("box-{}", at + 1)).expect("an agent");
        let (epoch, first) = (Epoch::from_bytes([at as u8 + 1; 16]), Sequence::new(self.sequences[at]));
        let batch = Batch { agent: agent.clone(), epoch, first, events: vec![event] };
        let (topic, payload) = (topic::topic(&site(at), &agent, Subject::Events), batch.encode());
        let publish = Publish { topic: &topic, payload: &payload, retained: false };
        let outcome =
            self.ingest.handle_publishes(&mut self.store, self.now_ms, &[publish]).map_err(failed)?;
        match outcome.counts.events_new {
            1 => Ok(()),
            other => Err(format!("{other} events were taken of one")),
        }
    }

    /// The process ends: what was in flight has an unknown outcome.
    fn crash(&mut self) -> Played {
        for at in 0..self.channels.len() {
            let id = self.channels[at].id.clone();
            self.store.recover_publications(self.now_ms, &id).map_err(failed)?;
            for sent in &mut self.channels[at].under_way {
                sent.answered_ms = i64::MAX;
            }
            self.channels[at].under_way.retain(|sent| sent.taken.is_none() && sent.arrives_ms != i64::MAX);
        }
        Ok(())
    }

    /// Every order has its goods, every basket is given back, and what the channels hold fits into what is there.
    fn check_the_end(&mut self) -> Played {
        let query = Query { pending_only: true, ..Query::default() };
        let pending = self.store.reservations(&query).map_err(failed)?;
        let held: i64 = pending.rows.iter().map(|held| held.pending()).sum();
        let open: i64 = self.orders.values().map(|sold| sold.lines.len() as i64).sum();
        if held != open {
            return Err(format!("{held} pieces are held, and {open} are ordered"));
        }
        let offered: i64 = self.channels.iter().map(|channel| channel.can_sell().max(0)).sum();
        let there: i64 =
            self.on_hand.iter().zip(self.promised).map(|(shelf, promised)| shelf - promised).sum();
        if offered > there {
            return Err(format!("channels may sell {offered}, and {there} are there"));
        }
        self.sales.offered = offered;
        match self.store.verify_books().map_err(failed)?.is_right() {
            true => Ok(()),
            false => Err("the books of the market are wrong".into()),
        }
    }
}

fn order(channel: &ChannelId, number: u64) -> OrderKey {
    OrderKey { channel: channel.clone(), order: Reference::new(format!("O-{number}")).expect("a number") }
}
