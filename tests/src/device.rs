//! Virtual devices on pseudo terminals: the agent opens them as it opens real serial ports.

mod pty;
mod scale;
mod scanner;

pub use pty::Pty;
pub use scale::MtSicsScale;
pub use scanner::{Heard, LineScanner};
