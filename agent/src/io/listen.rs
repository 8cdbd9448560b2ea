//! Listening to one port for a while, for commands that look at what a device sends.

use std::io;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::serial::{self, Closed, PortEvent};
use crate::port::PortName;
use crate::serial::Attachment;

/// Events that may wait for whoever listens.
const WAITING_MAX: usize = 64;

/// Why there was nothing to hear.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port could not be opened.
    #[error("{port}: {reason}")]
    Closed {
        /// Which.
        port: PortName,
        /// Why.
        reason: String,
    },
    /// The runtime could not be made.
    #[error("listening could not begin")]
    Runtime(#[source] io::Error),
}

/// Hands each piece of what comes to `heard`, with the time since the port was opened; and nothing, when nothing came for
/// `pause`. Ends when `heard` has enough, or after `wait`.
///
/// # Errors
/// When the port is not there, cannot be opened or goes away.
pub fn listen(
    port: &PortName,
    attachment: Attachment,
    wait: Duration,
    pause: Duration,
    mut heard: impl FnMut(Duration, Vec<u8>) -> Heard,
) -> Result<(), ListenError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ListenError::Runtime)?;
    runtime.block_on(async {
        let (sender, mut events) = mpsc::channel(WAITING_MAX);
        let _writer = serial::start(0, port.clone(), attachment, sender);
        let begun = Instant::now();
        while let Some(left) = wait.checked_sub(begun.elapsed()) {
            let event = tokio::time::timeout(left.min(pause), events.recv()).await;
            let verdict = match event {
                Ok(Some((_, PortEvent::Opened))) => continue,
                Ok(Some((_, PortEvent::Bytes(bytes)))) => heard(begun.elapsed(), bytes),
                Ok(Some((_, PortEvent::Closed(closed)))) => {
                    let reason = match closed {
                        Closed::NotThere => "it is not there".to_owned(),
                        Closed::CannotOpen(reason) => reason,
                    };
                    return Err(ListenError::Closed { port: port.clone(), reason });
                }
                Ok(None) => break,
                Err(_) => heard(begun.elapsed(), Vec::new()),
            };
            if verdict == Heard::Enough {
                break;
            }
        }
        Ok(())
    })
}

/// Whether to listen on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// There is more to hear.
    More,
    /// That was all.
    Enough,
}
