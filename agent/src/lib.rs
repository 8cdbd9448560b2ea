//! The Stockwire agent: from the barcode beam to the MQTT broker, and nothing lost on the way.
//!
//! ```text
//!  serial bytes -> scanner, scale -> station (workflow) -> journal -> outbox -> MQTT
//!                                        |    ^               ^          |
//!                                    feedback catalogue     watermark <- Ack
//! ```
//!
//! Everything in this list is a pure core: it is handed bytes, events and the time, and is asked what it wants
//! (`handle_*`, `poll_*`). Only `io`, `run` and `main` name a runtime, a socket, a file, a database or a clock.
//! The agent never opens a listening port, never changes a recorded fact, and never forgets one before the gateway's
//! own acknowledgement.
//!
//! The five types to know, in the order in which data flows: [`scale::Reading`] is what a scale said,
//! [`station::Station`] turns scans and weights into events, [`workflow::Session`] is the operator's task,
//! [`journal::Journal`] keeps events until the gateway has them, and [`outbox::Outbox`] decides what is sent.
#![forbid(unsafe_code)]

pub mod serial;

pub mod port;

pub mod scanner;

pub mod scale;

pub mod feed;

pub mod catalogue;
pub mod picture;
pub mod tasks;

pub mod workflow;

pub mod feedback;

pub mod station;

pub mod journal;

pub mod outbox;

pub mod health;

pub mod decode;

pub mod show;

pub mod doctor;

pub mod sheet;

pub mod watch;

pub mod config;

pub mod devices;

pub mod probe;

pub mod io;

pub mod run;
