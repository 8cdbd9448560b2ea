//! A shop ends up with the numbers of the books, whatever is lost, delayed, garbled or killed on the way: the channel's
//! sender on a real store against a shop in memory, from seeds.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

#[path = "support/dice.rs"]
mod dice;
#[path = "support/model_shop.rs"]
mod model_shop;
#[path = "support/warehouse.rs"]
mod warehouse;

use std::collections::BTreeMap;
use std::time::Duration;

use dice::Dice;
use model_shop::ModelShop;
use stockwire_gateway::availability::{Basis, ChannelPolicy, Selling};
use stockwire_gateway::catalogue::{ErpId, Item, Location, Site, Snapshot};
use stockwire_gateway::channel::{self, ChannelAccess};
use stockwire_gateway::exchange::Secret;
use stockwire_gateway::io::sqlite_store::SqliteStore;
use stockwire_gateway::sender::{ChannelSender, ChannelSettings, Moment, Sender, Want};
use stockwire_gateway::store::{OfferQuery, Reader as _, Store as _};
use stockwire_protocol::gs1::Gtin;
use stockwire_protocol::{ChannelId, ItemId, LocationId, SiteId, Uom};
use warehouse::{Warehouse, books};

const SEEDS: u64 = 40;
/// Waits of a sender in one phase: far beyond what any seed needs.
const WAITS_MAX: u32 = 20_000;
/// The shop's codes: two item ids, a barcode, and one that is no item.
const SKUS: [&str; 4] = ["SKU-1", "SKU-2", "9521234000013", "GIFT-CARD"];
const ITEMS: [&str; 3] = ["SKU-1", "SKU-2", "SKU-3"];

fn shop() -> ChannelId {
    ChannelId::new("shop").unwrap()
}

fn sites() -> Vec<SiteId> {
    ["HAM", "MUC"].map(|code| SiteId::new(code).unwrap()).into()
}

fn sender() -> ChannelSender {
    let access = ChannelAccess {
        channel: stockwire_protocol::ChannelId::new("shop").unwrap(),
        url: "http://shop.invalid".into(),
        user: "stockwire".into(),
        password: Secret::new("p"),
        sites: sites(),
    };
    let settings = ChannelSettings { channel: shop(), refresh: Duration::from_secs(600) };
    ChannelSender::new(settings, channel::find("vendure").unwrap().connect(access))
}

fn store() -> SqliteStore {
    let mut store = SqliteStore::memory().unwrap();
    let policy = ChannelPolicy {
        channel: shop(),
        sites: sites(),
        safety_stock: 0,
        out_of_stock_threshold: 0,
        cap: None,
        basis: Basis::OnHand,
        selling: Selling::default(),
    };
    store.replace_channels(&[policy]).unwrap();
    let reference = Some("1".to_owned());
    let item = |id: &&str| Item {
        id: ItemId::new(*id).unwrap(),
        name: (*id).into(),
        uom: Uom::Piece,
        gtins: if *id == "SKU-3" { vec![Gtin::parse("9521234000013").unwrap()] } else { vec![] },
        codes: vec![],
        reference: reference.clone(),
    };
    let location = |site: SiteId| Location {
        site,
        location: LocationId::new("A-01").unwrap(),
        reference: reference.clone(),
    };
    let snapshot = Snapshot {
        sites: sites().into_iter().map(|site| Site { site, reference: reference.clone() }).collect(),
        items: ITEMS.iter().map(item).collect(),
        locations: sites().into_iter().map(location).collect(),
    };
    let erp = ErpId::new("erp").unwrap();
    store.replace_catalogue(&erp, &snapshot).unwrap();
    store.open_books(0, &erp, &[]).unwrap();
    store
}

struct World {
    store: SqliteStore,
    sender: ChannelSender,
    shop: ModelShop,
    dice: Dice,
    now: Duration,
    trouble: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            store: store(),
            sender: sender(),
            shop: ModelShop::new(&SKUS),
            dice: Dice::new(seed),
            now: Duration::ZERO,
            trouble: 0,
        }
    }

    fn moment(&self) -> Moment {
        Moment { now: self.now, unix_ms: 1_000_000 + self.now.as_millis() as i64 }
    }

    /// One step of the sender; whether it waits for news.
    fn step(&mut self) -> bool {
        let (at, random) = (self.moment(), self.dice.next());
        match self.sender.poll(at, &mut self.store, random).unwrap() {
            Want::Send(outbound) => {
                let outcome = self.shop.send(&outbound, &mut self.dice, self.trouble);
                self.now += Duration::from_millis(15);
                let (at, random) = (self.moment(), self.dice.next());
                self.sender.handle_outcome(at, outcome, random);
                false
            }
            Want::Wait(until) => {
                assert!(until > self.now, "a wait that does not pass");
                self.now = until;
                true
            }
        }
    }

    fn run_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..WAITS_MAX {
            if done(self) {
                return;
            }
            while !self.step() {}
        }
        panic!("no end: {:?}", self.sender.status());
    }

    fn crash(&mut self) {
        self.sender = sender();
    }

    fn unpublished(&self) -> u64 {
        self.store.gauges().unwrap().unpublished.iter().map(|(_, skus, _)| skus).sum()
    }

    /// What the shop must hold by the books; a negative shelf sells nothing.
    fn expected(&self) -> BTreeMap<String, [i64; 2]> {
        let held = books(&self.store);
        let number = |site: &str, item: &str| {
            held.get(&(format!("{site}/A-01"), item.to_owned())).copied().unwrap_or(0).max(0)
        };
        let mut expected: BTreeMap<String, [i64; 2]> = SKUS
            .iter()
            .zip(ITEMS)
            .map(|(sku, item)| ((*sku).to_owned(), [number("HAM", item), number("MUC", item)]))
            .collect();
        expected.insert("GIFT-CARD".into(), [0, 0]);
        expected
    }
}

fn check(seed: u64, trouble: u64, crashes: bool) {
    let mut world = World::new(seed);
    world.trouble = trouble;
    world.run_until(|world| world.sender.status().ready);
    let mut boxes = [Warehouse::new("HAM"), Warehouse::new("MUC")];
    for _ in 0..world.dice.below(8) + 2 {
        let at = world.moment();
        let item = ITEMS[world.dice.below(3) as usize];
        let way = if world.dice.chance(60) { ("supplier", "A-01") } else { ("A-01", "customer") };
        let quantity = ["1", "2", "3"][world.dice.below(3) as usize];
        let site = world.dice.below(2) as usize;
        boxes[site].record(&mut world.store, at.unix_ms, &[(item, quantity, way.0, way.1)]);
        world.sender.handle_wake(at);
        for _ in 0..world.dice.below(25) {
            world.step();
            if crashes && world.dice.chance(3) {
                world.crash();
            }
        }
    }
    world.trouble = 0;
    world.run_until(|world| world.unpublished() == 0);
    let expected = world.expected();
    // Quiet, and everything that was under way has come in; a number that came too late is put right when it is
    // more than there is, and told when it is less.
    world.shop.settle();
    let end = world.now + Duration::from_secs(60);
    world.run_until(|world| world.now > end);
    for (sku, numbers) in &expected {
        let shown = world.shop.held[sku];
        assert!(
            shown.iter().zip(numbers).all(|(shown, number)| shown <= number),
            "seed {seed}: {sku} {shown:?} {numbers:?}"
        );
        if shown != *numbers {
            let told = world.sender.status().remarks.iter().any(|remark| remark.contains(sku.as_str()));
            assert!(told, "seed {seed}: {sku} shows {shown:?} instead of {numbers:?}, and nobody is told");
        }
    }
    let offers = world.store.offers(&OfferQuery { channel: Some(shop()), ..OfferQuery::default() }).unwrap();
    assert_eq!(offers.rows.len(), 3, "what is no item has no offer");
    for offer in offers.rows {
        assert_eq!(
            offer.published.map(|published| published.number),
            Some(offer.availability.number),
            "seed {seed}"
        );
    }
}

#[test]
fn a_quiet_network_gives_every_sku_its_number() {
    for seed in 0..SEEDS / 3 {
        check(seed, 0, false);
    }
    let mut world = World::new(7);
    world.run_until(|world| world.sender.status().ready);
    let at = world.moment();
    Warehouse::new("HAM").record(&mut world.store, at.unix_ms, &[("SKU-3", "4", "supplier", "A-01")]);
    world.run_until(|world| world.unpublished() == 0);
    assert_eq!(world.shop.held, world.expected());
    let remarks = world.sender.status().remarks;
    assert_eq!(remarks, ["SKU GIFT-CARD is no item, nor one of its codes: it gets no numbers"]);
}

#[test]
fn lost_late_and_garbled_answers_never_leave_the_shop_with_too_much() {
    for seed in 0..SEEDS {
        check(seed, 30, false);
    }
}

#[test]
fn a_gateway_that_is_killed_all_the_time_gets_there_too() {
    for seed in 0..SEEDS {
        check(seed, 20, true);
    }
}

#[test]
fn more_than_was_told_is_put_right_and_less_is_only_told() {
    let mut world = World::new(3);
    world.run_until(|world| world.sender.status().ready);
    let at = world.moment();
    let moves = [("SKU-1", "4", "supplier", "A-01"), ("SKU-2", "4", "supplier", "A-01")];
    Warehouse::new("HAM").record(&mut world.store, at.unix_ms, &moves);
    world.run_until(|world| world.unpublished() == 0);
    world.shop.held.insert("SKU-1".into(), [9, 0]);
    world.shop.held.insert("SKU-2".into(), [1, 0]);
    world.run_until(|world| world.shop.held["SKU-1"] == [4, 0]);
    let end = world.now + Duration::from_secs(60);
    world.run_until(|world| world.now > end);
    assert_eq!(world.shop.held["SKU-2"], [1, 0], "the shop's own shipping may be ahead of our scanners");
    let told = world.sender.status().remarks.iter().filter(|remark| remark.contains("SKU-2")).count();
    assert_eq!(told, 1);
}
