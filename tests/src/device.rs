//! Virtual devices: the other end of a pseudo terminal, driven by a test or by the demo. The agent under test opens
//! real serial ports.
//!
//! [`scale`] and [`scanner`] have a virtual device for each protocol that the agent speaks, written from the makers'
//! frames and without the agent's decoders; [`uart`] is what becomes of bytes when the two ends of a line are set
//! differently. [`LineScanner`] is the plain one, without the pace of a line, for tests of other things.

mod line_scanner;
mod pty;
pub mod scale;
pub mod scanner;
pub mod uart;
mod wire;

pub use line_scanner::{Heard, LineScanner};
pub use pty::Pty;
pub use scale::Scale;
pub use scanner::Scanner;
