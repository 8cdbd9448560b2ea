//! The edges: the only place of this crate that touches disks, ports, sockets and clocks.
//!
//! Each file is one edge and knows nothing of the others; [`crate::run`] puts them around the core.

pub mod ports;

mod evdev;

pub mod serial;

pub mod listen;

pub mod probe;

pub mod sqlite_journal;

pub mod mqtt;

pub mod clock;
pub mod file;
pub mod socket;
pub mod systemd;

pub mod terminal;
pub mod watcher;
