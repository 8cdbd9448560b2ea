//! The chores of bringing Stockwire to an edge box: today, building the agent for it and running it under emulation.
//!
//! A [`Target`] is one row of a table. [`machine::look`] finds out what this machine has for it, as [`Facts`];
//! [`choose`] turns the facts into a [`Toolchain`] or says exactly what is [`Missing`]; [`install`] fetches that by
//! name; [`build`] drives cargo and checks the file that comes out; [`emulate`] runs it.
//!
//! ```text
//!  Target --look--> Facts --choose--> Toolchain --settings--> cargo --elf check--> target/cross/aarch64/stockwire-agent
//!                              \--> Missing --install--> (look again)
//! ```
//!
//! Decisions are pure functions over values (`target`, `toolchain`, `elf`, and the plans in `install` and `build`).
//! This crate never edits a configuration file of the user, never changes the default toolchain, and installs nothing
//! unless `--install` was given.

pub mod build;
pub mod elf;
pub mod emulate;
mod error;
pub mod install;
pub mod machine;
pub mod target;
pub mod toolchain;

pub use error::Error;
pub use target::{TARGETS, Target};
pub use toolchain::{Facts, Missing, Toolchain, choose};
