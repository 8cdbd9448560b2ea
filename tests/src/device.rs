//! Virtual devices: the other end of a pseudo terminal, driven by a test or by the demo. The agent under test opens
//! real serial ports.
//!
//! [`scale`] has a virtual scale for each protocol that the agent speaks, written from the makers' frames and without
//! the agent's decoders; [`uart`] is what becomes of bytes when the two ends of a line are set differently.

mod pty;
pub mod scale;
mod scanner;
pub mod uart;

pub use pty::Pty;
pub use scale::Scale;
pub use scanner::{Heard, LineScanner};
