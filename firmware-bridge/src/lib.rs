//! What runs inside a microcontroller peripheral of Stockwire.
//!
//! `no_std`, free of allocation and of clocks: a board crate hands in samples, bytes and the time since boot, and is
//! told what to send. It never touches a pin itself; drivers over embedded-hal stand between it and the board.
//!
//! ```text
//!  converter -> Filter -> Calibration -> Stability ---+
//!                                                     +-> LoadCell -> Endpoint -> frames
//!  UART bytes -> link::Decoder -> Endpoint -> Request-+
//! ```
//!
//! * [`LoadCell`]: the whole peripheral, fed samples and bytes.
//! * [`Filter`] and [`Stability`]: from noisy counts to a weight that stands still.
//! * [`Calibration`]: from counts to a weight, by two points.
//! * [`Endpoint`]: the peripheral's end of the link; it keeps a captured weight until the host has it.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod load_cell;

mod filter;

mod stability;

mod calibration;

mod endpoint;

pub use calibration::{Calibration, CalibrationError, CalibrationPoint};
pub use endpoint::{Endpoint, KEPT_MAX, Request, Stats};
pub use filter::{AVERAGE_LEN, Filter, MEDIAN_LEN};
pub use load_cell::{Config, ConfigError, LoadCell, TareError};
pub use stability::Stability;

/// Time since boot, as every `now` here. It must never run backwards; where it starts does not matter.
pub type Uptime = core::time::Duration;
