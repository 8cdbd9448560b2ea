//! The whole way with the books in a real PostgreSQL, which is killed in the middle of the work.
//!
//! `cargo verify --stage postgres` runs it; it installs PostgreSQL when that is missing.

use anyhow::{Result, ensure};
use stockwire_tests::peers::Peers;
use stockwire_tests::real::{Postgres, World};
use stockwire_tests::shift::Shift;
use stockwire_tests::site::Broker;
use tokio::task::block_in_place;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a PostgreSQL: cargo verify --stage postgres"]
async fn a_database_that_is_killed_costs_time_and_nothing_else() -> Result<()> {
    let mut postgres = block_in_place(Postgres::start)?;
    let world = World::standard();
    let peers = Peers::stand_in(&world).await?;
    let mut shift = Shift::prepare(world, peers, Broker::Embedded, None)?;
    shift.site.keep_books_in(&postgres.address())?;
    shift.open().await?;
    let acts = shift.script(40, 7);
    for (round, acts) in acts.chunks(10).enumerate() {
        let (before, without) = acts.split_at(5);
        before.iter().try_for_each(|act| shift.perform(act))?;
        // Power off in the middle of what it is doing; the station goes on without it.
        block_in_place(|| postgres.kill9())?;
        without.iter().try_for_each(|act| shift.perform(act))?;
        block_in_place(|| postgres.restart())?;
        ensure!(shift.site.is_running(), "round {round}: the gateway ended with its database");
    }
    shift.agree().await?;
    ensure!(shift.traced().await? > 0, "counts alone prove little");
    shift.close()
}
