//! Orders on real parts: bought in Vendure, sold in Tryton, picked at the bench, told to Vendure; and two that were paid
//! for the same last pieces.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use stockwire_tests::device::Heard;
use stockwire_tests::peers::{Erp, Peers, Shop};
use stockwire_tests::real::World;
use stockwire_tests::real::mosquitto::{Agent, Mosquitto, Persistence};
use stockwire_tests::real::process::eventually;
use stockwire_tests::real::tryton::{Query, Tryton};
use stockwire_tests::real::vendure::Vendure;
use stockwire_tests::shift::Shift;
use stockwire_tests::site::{AGENT, Broker, SITE};
use tokio::task::block_in_place;

const AGENTS: &[Agent<'static>] = &[Agent { site: SITE, id: AGENT }];
/// For an order to come from the shop and go through the ERP, on a busy machine.
const SOON: Duration = Duration::from_secs(90);
/// What there is of each item, see [`World::standard`].
const PIECES: u32 = 140;

fn prepare() -> Result<Shift> {
    let mut world = World::standard();
    // Of this one there is a last piece.
    world.items[4].opening = [("HAM/A-01".to_owned(), "1".to_owned())].into();
    let peers = Peers::real(&world)?;
    let broker = Broker::Mosquitto(Mosquitto::start(AGENTS, Persistence::Off)?);
    let shift = Shift::prepare(world, peers, broker, None)?;
    shift.site.configure(
        "gateway.toml",
        "[erp]\n",
        "[orders]\nleaves = \"when_picked\"\n[erp]\nsales = true\n",
    )?;
    shift.site.configure("gateway.toml", "[[channel]]\n", "[[channel]]\norders = true\n")?;
    Ok(shift)
}

fn shop(shift: &Shift) -> Result<&Vendure> {
    match &shift.peers.shop {
        Shop::Vendure(shop) => Ok(shop),
        Shop::StandIn(_) => anyhow::bail!("the real shop was asked for"),
    }
}

fn erp(shift: &Shift) -> Result<&Tryton> {
    match &shift.peers.erp {
        Erp::Tryton(erp) => Ok(erp),
        Erp::StandIn(_) => anyhow::bail!("the real ERP was asked for"),
    }
}

/// The row of an order, once it is at this stage.
async fn at_stage(shift: &Shift, code: &str, stage: &str) -> Result<Value> {
    let path = format!("/v1/orders?order={code}");
    let what = format!("{code} is {stage}");
    let found = eventually(&what, SOON, || async {
        let page = shift.site.get(&path).await?;
        Ok(page["rows"].get(0).filter(|row| row["stage"] == stage).cloned())
    });
    match found.await {
        Ok(row) => Ok(row),
        Err(fault) => Err(fault.context(format!("{}\n{}", shift.site.get(&path).await?, shift.site.logs()))),
    }
}

/// Sales in the ERP that have this text in their reference.
async fn sales(shift: &Shift, order: &str) -> Result<Vec<Value>> {
    let domain = json!([["reference", "like", format!("%{order}%")]]);
    let query = Query { fields: &["state", "reference"], domain, ..Query::default() };
    erp(shift)?.rest(Method::GET, "sale.sale", query, None).await?.rows()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real peers: cargo verify --stage real"]
async fn an_order_of_the_shop_is_one_sale_one_pick_and_one_fulfilment() -> Result<()> {
    let mut shift = block_in_place(prepare)?;
    shift.open().await?;
    eventually("the shop may sell", SOON, || async {
        let stock = shop(&shift)?.stock("SKU-0001").await?;
        Ok((stock.values().map(|level| level.on_hand).sum::<i64>() == i64::from(PIECES)).then_some(()))
    })
    .await?;
    let code = shop(&shift)?.buy("SKU-0001", 2).await?;
    let row = at_stage(&shift, &code, "picking").await?;
    let order = row["order"].as_str().context("the order's id")?.to_owned();
    let sold = sales(&shift, &format!("shop/{order}")).await?;
    ensure!(sold.len() == 1, "{sold:?}");

    let task = shift.site.get(&format!("/v1/tasks/{SITE}/pick/{code}")).await?;
    ensure!(task["lines"][0]["open"] == "2", "{task}");
    pick(&mut shift, &code, 1, 2)?;
    at_stage(&shift, &code, "done").await?;
    let query = "query($i: ID!) { order(id: $i) { state fulfillments { state lines { quantity } } } }";
    let told = shop(&shift)?.admin(query, json!({"i": order})).await?;
    ensure!(told["order"]["state"] == "Shipped", "{told}");
    ensure!(told["order"]["fulfillments"].as_array().is_some_and(|all| all.len() == 1), "{told}");
    // Everything agrees: the shop has counted down by itself, and so have we.
    eventually("the ERP has it too", SOON, || async {
        Ok((erp(&shift)?.quantity("SKU-0001", "HAM/A-01").await? == 98_000).then_some(()))
    })
    .await?;
    let sold = sales(&shift, &format!("shop/{order}")).await?;
    ensure!(sold.len() == 1, "{sold:?}");
    holds(&shift, "SKU-0001", i64::from(PIECES) - 2).await?;

    // The last piece: when it leaves nothing lies there any more, and the shop ships only what it believes to be there.
    let code = shop(&shift)?.buy("SKU-0005", 1).await?;
    at_stage(&shift, &code, "picking").await?;
    pick(&mut shift, &code, 5, 1)?;
    at_stage(&shift, &code, "done").await?;
    holds(&shift, "SKU-0005", 0).await?;
    shift.close()
}

/// Picks so many pieces of an item for an order, at the bench.
fn pick(shift: &mut Shift, code: &str, item: usize, pieces: usize) -> Result<()> {
    let good = format!("]E0{}", shift.world.item(item).gtin);
    let reference = format!("]C1400{code}");
    let begin = ["SW:WF:PICK", "SW:LOC:A-01", &reference].map(|scan| (scan, Heard::Understood));
    let goods = std::iter::repeat_n((good.as_str(), Heard::Good), pieces);
    let end = std::iter::once(("SW:CMD:DONE", Heard::Understood));
    for (scan, expected) in begin.into_iter().chain(goods).chain(end) {
        let heard = block_in_place(|| shift.keeper.scan(scan))?;
        ensure!(heard == expected, "{scan}: {heard:?}\n{}", shift.site.logs());
    }
    Ok(())
}

/// What the shop holds, and what we say that it should; nothing of it is sold and not shipped.
async fn holds(shift: &Shift, sku: &str, pieces: i64) -> Result<()> {
    let path = format!("/v1/availability/shop/{sku}");
    let what = format!("the shop holds {pieces} of {sku}");
    let held = eventually(&what, SOON, || async {
        let levels = shop(shift)?.stock(sku).await?;
        let sums =
            levels.values().fold((0, 0), |sum, level| (sum.0 + level.on_hand, sum.1 + level.allocated));
        let offer = shift.site.get(&path).await?;
        Ok((sums == (pieces, 0) && offer["published"]["number"] == pieces).then_some(()))
    });
    match held.await {
        Ok(()) => Ok(()),
        Err(fault) => {
            let levels = shop(shift)?.stock(sku).await?;
            Err(fault.context(format!("{levels:?} {}\n{}", shift.site.get(&path).await?, shift.site.logs())))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs real peers: cargo verify --stage real"]
async fn two_paid_orders_for_the_last_pieces_end_in_one_pick_and_one_backorder() -> Result<()> {
    let mut shift = block_in_place(prepare)?;
    shift.open().await?;
    let placed = |row: &Value| row["published"]["number"] == PIECES;
    eventually("the shop may sell", SOON, || async {
        Ok(Some(shift.site.get("/v1/availability/shop/SKU-0002").await?).filter(placed))
    })
    .await?;
    // The shop believes that there is twice as much, and nobody here is awake to tell it otherwise.
    shift.site.kill_gateway()?;
    shop(&shift)?.set_stock("SKU-0002", "HAM", i64::from(2 * PIECES)).await?;
    let first = shop(&shift)?.buy("SKU-0002", PIECES).await?;
    let second = shop(&shift)?.buy("SKU-0002", PIECES).await?;
    shift.site.start_gateway()?;
    shift.site.gateway_ready().await?;
    at_stage(&shift, &first, "picking").await?;
    let waiting = at_stage(&shift, &second, "backordered").await?;
    ensure!(
        sales(&shift, &format!("shop/{}", waiting["order"].as_str().unwrap_or_default())).await?.is_empty()
    );
    let held = shift.site.get("/v1/reservations?item=SKU-0002&pending=true").await?;
    let held = held["rows"].as_array().context("rows")?;
    let pieces: i64 = held.iter().filter_map(|row| row["pending"].as_str()?.parse::<i64>().ok()).sum();
    ensure!(pieces == i64::from(PIECES), "{held:?}");
    shift.close()
}
