//! The edge: what talks to brokers, disks and clocks.

pub mod broker;
pub mod mqtt;
pub mod sqlite_store;
