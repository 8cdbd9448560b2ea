//! System tests of Stockwire: everything that needs more than one crate, or a process that is not ours.
//!
//! `real` installs and starts real peers, `standin` replaces them where nothing may be installed, `device` plugs
//! virtual scanners and scales into pseudo terminals, and `verify` is the list of what must pass.

pub mod device;
pub mod real;
pub mod standin;
pub mod verify;
