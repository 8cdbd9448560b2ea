//! Real peers for our tests: Mosquitto, PostgreSQL, Tryton and Vendure, installed by name, seeded once, started in seconds.
//!
//! ```text
//! install::ensure(Tool) -> cache: Debian package, Python environment or node_modules
//!          World -> Tryton::start / Vendure::start   copy of a seeded template, own port, own scratch folder
//!                   Postgres::start                  a new cluster, every commit on the disk
//!                   Mosquitto::start                 MQTT 5, mutual TLS, one access rule for each agent
//!          FaultProxy in front of either             loses answers after the peer has committed
//! ```
//! Each peer is a process of its own and listens on loopback only. Dropping its handle kills its process group and
//! removes its folder; what is cached stays in `$STOCKWIRE_CACHE` or `target/peers`.
//! Starting and stopping block the calling thread, so a test with a [`FaultProxy`] needs a multi-threaded runtime.

pub mod cable;
pub mod cache;
pub mod install;
pub mod mosquitto;
pub mod pki;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod tryton;
pub mod vendure;
pub mod world;

use anyhow::{Context as _, Result};

pub use install::Tool;
pub use mosquitto::Mosquitto;
pub use pki::Pki;
pub use postgres::Postgres;
pub use proxy::FaultProxy;
pub use tryton::Tryton;
pub use vendure::Vendure;
pub use world::World;

/// A client for the peers' HTTP doors. They speak plain HTTP on loopback, yet the client wants a TLS provider.
fn http_client() -> Result<reqwest::Client> {
    // A second installation is refused and leaves the first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().build().context("making an HTTP client")
}
