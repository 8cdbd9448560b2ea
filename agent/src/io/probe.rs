//! The port of a probe: sets, writes and reads as the planner says.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio_serial::{ClearBuffer, DataBits, Parity, SerialPort, StopBits};

use super::serial;
use crate::probe::{Outcome, Probe, Step};
use crate::serial::{self as settings, LineSettings};

/// A read waits so long: the planner's waits are many times that.
const READ_WAIT: Duration = Duration::from_millis(20);
/// At 115200 baud so much comes within one wait.
const READ_BYTES: usize = 256;

/// Why there was nothing to find out.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The port could not be opened.
    #[error("the port cannot be opened")]
    Open(#[source] tokio_serial::Error),
    /// It was lost, or does not take these settings.
    #[error("the port was lost while {doing}")]
    Lost {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Probes one port; `tell` hears which trial of how many begins.
///
/// # Errors
/// When the port cannot be opened or is lost.
pub fn probe(device: &Path, mut tell: impl FnMut(usize, usize)) -> Result<Outcome, ProbeError> {
    let mut port =
        serial::builder(device, LineSettings::DEFAULT).timeout(READ_WAIT).open().map_err(ProbeError::Open)?;
    let lost = |doing| move |source| ProbeError::Lost { doing, source };
    let mut probe = Probe::new();
    let mut told = (0, 0);
    while let Some(step) = probe.poll_step() {
        if told != probe.progress() {
            told = probe.progress();
            tell(told.0, told.1);
        }
        match step {
            Step::Set(line) => {
                set(&mut *port, line).map_err(|error| lost("it was set")(error.into()))?;
            }
            Step::Write(bytes) => port.write_all(&bytes).map_err(lost("it was written to"))?,
            Step::Listen(wait) => {
                let until = Instant::now() + wait;
                let mut buffer = [0; READ_BYTES];
                while Instant::now() < until {
                    match port.read(&mut buffer) {
                        Ok(0) => return Err(lost("it was read")(ErrorKind::UnexpectedEof.into())),
                        Ok(length) => probe.handle_bytes(&buffer[..length]),
                        Err(error) if error.kind() == ErrorKind::TimedOut => {}
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) => return Err(lost("it was read")(error)),
                    }
                    if let Some(bytes) = probe.poll_transmit() {
                        port.write_all(&bytes).map_err(lost("it was written to"))?;
                    }
                }
            }
        }
    }
    Ok(probe.outcome())
}

fn set(port: &mut dyn SerialPort, line: LineSettings) -> tokio_serial::Result<()> {
    port.set_baud_rate(line.baud)?;
    port.set_data_bits(if line.data_bits == 7 { DataBits::Seven } else { DataBits::Eight })?;
    port.set_parity(match line.parity {
        settings::Parity::None => Parity::None,
        settings::Parity::Even => Parity::Even,
        settings::Parity::Odd => Parity::Odd,
    })?;
    port.set_stop_bits(if line.stop_bits == 2 { StopBits::Two } else { StopBits::One })?;
    // What came with other settings says nothing about these.
    port.clear(ClearBuffer::All)
}
