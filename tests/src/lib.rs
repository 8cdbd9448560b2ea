//! System tests of Stockwire: everything that needs more than one crate, or a process that is not ours.
//!
//! `real` installs and starts real peers, `standin` replaces them where nothing may be installed, and `peers` gives
//! both one face; `device` plugs virtual scanners and scales into pseudo terminals; `script` is what a storekeeper does
//! and the stock that must come of it; `site` runs the whole with the binaries that a user runs; `shift` has the
//! storekeeper work there, `chaos` breaks things meanwhile; `replicas` runs several gateways, and `stream` has agents send
//! to them without a station; `verify` is the list of what must pass.

pub mod bench;
pub mod chaos;
pub mod device;
pub mod peers;
pub mod race;
pub mod real;
pub mod replicas;
pub mod script;
pub mod shift;
pub mod site;
pub mod standin;
pub mod stream;
pub mod verify;
pub mod world;
