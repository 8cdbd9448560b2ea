//! The Stockwire gateway: keeps the books, and tells ERPs and channels what they need to know of them.
//!
//! What agents publish becomes events, ledger rows, balances and outgoing work in one transaction, and only then an
//! acknowledgement. The modules below, in the order in which data flows, are pure: they are handed bytes, time and
//! rows, and are asked what is to be written or sent. Only `io`, `run` and `main` name a runtime, a socket, a file,
//! a database or a clock.
//!
//! The gateway never forgets an event, never changes a row of the books, never repeats a request of unknown outcome
//! without looking first, and never trusts a broker's word for anything.
//!
//! The types to know: [`ingest::Ingest`] holds the rules of the one transaction, [`ledger::LedgerRow`] is one applied
//! event in the books, [`posting::PostingBatch`] a document on its way into an ERP, [`availability::Availability`] a
//! channel's number with its reasons, and [`store::Store`] keeps all of them.
#![forbid(unsafe_code)]

pub mod catalogue;
pub mod code;

pub mod ingest;
pub mod ledger;

pub mod task;

pub mod posting;
pub mod reconcile;
pub mod reservation;

pub mod order;

pub mod availability;
pub mod escrow;

pub mod exchange;

pub mod lease;

pub mod erp;

pub mod channel;

pub mod sender;

pub mod briefing;
pub mod plate;

pub mod dead_letter;
pub mod trace;

pub mod store;

pub mod config;
pub mod metrics;

pub mod api;
pub mod console;

pub mod io;
pub mod run;
