//! The ERP and the shop behind one face, stand-in or real, so that a story is told once.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::real::{Tool, Tryton, Vendure, World, install, vendure};
use crate::script::Stock;
use crate::site::{ErpDoor, ShopDoor};
use crate::standin;

/// The ERP.
pub enum Erp {
    /// In memory, in this process.
    StandIn(standin::Erp),
    /// Tryton, in a process of its own.
    Tryton(Box<Tryton>),
}

/// The shop.
pub enum Shop {
    /// In memory, in this process.
    StandIn(standin::Shop),
    /// Vendure, in a process of its own.
    Vendure(Box<Vendure>),
}

/// Both.
pub struct Peers {
    /// The ERP.
    pub erp: Erp,
    /// The shop.
    pub shop: Shop,
}

impl Peers {
    /// Starts stand-ins.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn stand_in(world: &World) -> Result<Self> {
        let erp = Erp::StandIn(standin::Erp::start(world).await?);
        Ok(Self { erp, shop: Shop::StandIn(standin::Shop::start(world).await?) })
    }

    /// Installs, seeds and starts the real ones. Blocks for that long.
    ///
    /// # Errors
    /// When one cannot be installed or started.
    pub fn real(world: &World) -> Result<Self> {
        for tool in [Tool::Tryton, Tool::Vendure] {
            install::ensure(tool)?;
        }
        let erp = Erp::Tryton(Box::new(Tryton::start(world)?));
        Ok(Self { erp, shop: Shop::Vendure(Box::new(Vendure::start(world)?)) })
    }

    /// Where the gateway finds the ERP.
    pub fn erp_door(&self) -> ErpDoor {
        match &self.erp {
            Erp::StandIn(erp) => ErpDoor { url: erp.url().into(), key: erp.key().into() },
            Erp::Tryton(tryton) => ErpDoor { url: tryton.url(), key: tryton.seed().rest_key.clone() },
        }
    }

    /// Where the gateway finds the shop.
    ///
    /// # Errors
    /// When the password's file cannot be read.
    pub fn shop_door(&self) -> Result<ShopDoor> {
        match &self.shop {
            Shop::StandIn(shop) => Ok(ShopDoor {
                url: shop.url().into(),
                user: "superadmin".into(),
                password: shop.password().into(),
            }),
            Shop::Vendure(shop) => {
                let password =
                    std::fs::read_to_string(shop.password_file()).context("the shop's password")?;
                Ok(ShopDoor { url: shop.url(), user: vendure::USER.into(), password: password.trim().into() })
            }
        }
    }

    /// What the ERP's books say: `(place, SKU)` in thousandths, without zeros and without virtual places.
    ///
    /// # Errors
    /// When the ERP does not answer.
    pub async fn erp_stock(&self) -> Result<Stock> {
        let all = match &self.erp {
            Erp::StandIn(erp) => erp.stock(),
            Erp::Tryton(tryton) => tryton
                .quantities()
                .await?
                .into_iter()
                .map(|((sku, place), amount)| ((place, sku), amount))
                .collect(),
        };
        Ok(all.into_iter().filter(|((place, _), amount)| place.contains('/') && *amount != 0).collect())
    }

    /// What the shop shows, by SKU, over all sites.
    ///
    /// # Errors
    /// When the shop does not answer.
    pub async fn shop_stock(&self) -> Result<BTreeMap<String, i64>> {
        match &self.shop {
            Shop::StandIn(shop) => Ok(shop.on_hand()),
            Shop::Vendure(shop) => {
                let all = shop.all_stock().await?;
                let sum = |levels: BTreeMap<String, crate::real::vendure::Level>| {
                    levels.values().map(|l| l.on_hand).sum()
                };
                Ok(all.into_iter().map(|(sku, levels)| (sku, sum(levels))).collect())
            }
        }
    }
}

/// What the shop must show when everything has arrived: whole units of all places, never below zero at a site.
pub fn expected_shop(world: &World, stock: &Stock) -> BTreeMap<String, i64> {
    let of_site = |site: &str, sku: &str| {
        let cells =
            stock.iter().filter(|((place, item), _)| item == sku && place.starts_with(&format!("{site}/")));
        cells.map(|(_, amount)| amount).sum::<i64>().max(0).div_euclid(1000)
    };
    let shown = |sku: &str| world.sites.iter().map(|site| of_site(&site.code, sku)).sum();
    world.items.iter().map(|item| (item.sku.clone(), shown(&item.sku))).collect()
}

/// The differences of two books, a line each; empty when they agree. Zeros count as absent.
pub fn differences<K: Ord + std::fmt::Debug>(
    what: &str,
    expected: &BTreeMap<K, i64>,
    got: &BTreeMap<K, i64>,
) -> Vec<String> {
    let keys: std::collections::BTreeSet<&K> = expected.keys().chain(got.keys()).collect();
    let value = |books: &BTreeMap<K, i64>, key: &K| books.get(key).copied().unwrap_or(0);
    let differ = keys.into_iter().filter(|key| value(expected, key) != value(got, key));
    differ
        .map(|key| format!("{what} {key:?}: expected {}, got {}", value(expected, key), value(got, key)))
        .collect()
}
