//! The edge: what talks to brokers, disks and clocks.

mod book_row;
pub mod broker;
pub mod http_client;
pub mod mqtt;
mod order_row;
pub mod outward;
pub mod postgres_store;
mod rules_row;
mod selling_row;
pub mod shared;
mod sheet;
pub mod sqlite_store;
pub mod store_door;
pub mod systemd;

/// The wall clock, unix milliseconds.
pub fn unix_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 is 1970: order never comes from it.
    now.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
