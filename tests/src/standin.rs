//! Built-in stand-ins for the ERP and the shop, so that the demo needs nothing but Rust.
//!
//! They speak the part of Tryton's and Vendure's doors that our connectors use and are as strict about it as the
//! real ones, which `cargo verify --stage real` runs the same story against. They keep their books in memory.

pub mod erp;
pub mod shop;

pub use erp::Erp;
pub use shop::Shop;
