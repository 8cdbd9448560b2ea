//! Two buyers never get the same piece: 32 orders at once for one unit, through HTTP, over and over.
//!
//! `STOCKWIRE_RACE_ROUNDS=1000 cargo test -p stockwire-tests --test last_piece -- --include-ignored` is the long one.

use anyhow::{Result, ensure};
use stockwire_tests::peers::Peers;
use stockwire_tests::race;
use stockwire_tests::real::{Postgres, World};
use stockwire_tests::replicas::Replicas;
use stockwire_tests::shift::Shift;
use stockwire_tests::site::Broker;
use tokio::task::block_in_place;

/// Stock at HAM, see [`World::standard`].
const ITEM: &str = "SKU-0001";

#[tokio::test(flavor = "multi_thread")]
async fn one_piece_is_promised_once_with_the_books_in_a_file() -> Result<()> {
    let world = World::standard();
    let peers = Peers::stand_in(&world).await?;
    let mut shift = Shift::begin(world, peers, Broker::Embedded, None).await?;
    ensure!(race::last_piece(&[shift.site.url()], "HAM", ITEM).await? > 0);
    shift.close()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
async fn one_piece_is_promised_once_with_the_books_in_postgresql() -> Result<()> {
    let postgres = block_in_place(Postgres::start)?;
    let world = World::standard();
    let peers = Peers::stand_in(&world).await?;
    let mut shift = Shift::prepare(world, peers, Broker::Embedded, None)?;
    shift.site.keep_books_in(&postgres.address())?;
    shift.open().await?;
    ensure!(race::last_piece(&[shift.site.url()], "HAM", ITEM).await? > 0);
    shift.close()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PostgreSQL and a Mosquitto: cargo verify --stage postgres"]
async fn one_piece_is_promised_once_by_three_gateways() -> Result<()> {
    let mut replicas = Replicas::start(&World::standard()).await?;
    let doors: Vec<String> = replicas.all.iter().map(|replica| replica.url()).collect();
    ensure!(race::last_piece(&doors, "HAM", ITEM).await? > 0);
    replicas.stop()
}
