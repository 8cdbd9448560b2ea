//! The same rules without a socket, for the simulated world: a request as a value in, an answer as a value out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use stockwire_gateway::exchange::{Answer, Outbound};

use super::super::erp::door::{answer as value_of, headers, now};
use super::{Shelves, Variant, answer, lock};
use crate::real::World;

/// The stand-in, asked directly.
pub struct Door {
    shelves: Arc<Mutex<Shelves>>,
}

/// Password of `superadmin`.
pub const PASSWORD: &str = "world";

impl Door {
    /// With a world's items, and nothing on hand.
    pub fn new(world: &World) -> Self {
        let variants = world.items.iter().map(|item| Variant {
            sku: item.sku.clone(),
            gtin: item.gtin.clone(),
            on_hand: vec![0; world.sites.len()],
        });
        let shelves = Shelves {
            password: PASSWORD.into(),
            token: "token".into(),
            sites: world.sites.iter().map(|site| site.code.clone()).collect(),
            variants: variants.collect(),
            writes: 0,
        };
        Self { shelves: Arc::new(Mutex::new(shelves)) }
    }

    /// Works on one request.
    pub fn answer(&self, outbound: &Outbound) -> Answer {
        let body = outbound.request.body.as_ref().map(ToString::to_string).unwrap_or_default();
        value_of(now(answer(State(Arc::clone(&self.shelves)), headers(outbound), body)))
    }

    /// What each SKU shows, over all sites.
    pub fn on_hand(&self) -> BTreeMap<String, i64> {
        let shelves = lock(&self.shelves);
        shelves.variants.iter().map(|variant| (variant.sku.clone(), variant.on_hand.iter().sum())).collect()
    }
}
