//! The edge: what talks to brokers, disks and clocks.

pub mod broker;
pub mod http_client;
pub mod mqtt;
pub mod outward;
pub mod shared;
pub mod sqlite_store;
