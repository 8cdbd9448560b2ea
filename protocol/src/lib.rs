//! The hub of Stockwire: what crosses a wire, and nothing else.
//!
//! Agent, gateway, firmware and tests all speak in these types; the crate names none of them. It reads no clock,
//! opens nothing and allocates only through `alloc`, so it also builds for microcontrollers (`link` needs no
//! allocator at all). The published contract is `stockwire.cddl` beside this crate's manifest; the bytes under
//! `tests/wire/v1` are frozen.
//!
//! The five types to know, in the order in which data flows:
//! [`gs1::Scan`] is what a barcode means, [`Movement`] is a quantity of an item going from one place to another,
//! [`Event`] is a fact with its time, [`Batch`] is consecutive events of one journal under their identity, and
//! [`Ack`] is the gateway's word that it holds everything up to a watermark.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod link;

pub mod gs1;

mod ids;
mod quantity;
mod time;

mod exception;
mod handling;
mod movement;
mod unresolved;

mod batch;
mod control;
mod digest;
mod task;

pub mod cbor;
pub mod topic;

pub mod backoff;

pub use batch::{Batch, Body, Count, Event};
pub use control::{
    Ack, Catalogue, CatalogueItem, CatalogueSince, Command, CommandBody, ItemRules, PieceWeight, Refusal,
    Reply, ReplyResult, State, StateKind,
};
pub use digest::Digest;
pub use exception::Exception;
pub use handling::{Act, Content, Handling};
pub use ids::{
    AccountId, AgentId, ChannelId, CorrelationId, DeviceId, Epoch, IdError, ItemId, LocationId, Lot,
    MovementId, OperatorId, Reason, Reference, Sequence, SerialNumber, SiteId, Sku, StationId,
};
pub use movement::{
    BizStep, Correction, CorrectionReason, Details, Disposition, Movement, Place, StabilitySource,
    UnitSource, Weighing,
};
pub use quantity::{Quantity, QuantityError, Uom};
pub use task::{AsOf, Bin, Task, TaskKind, TaskLine, Tasks, TasksSince};
pub use time::When;
pub use unresolved::{Code, Purpose, RawScan, Unresolved};
