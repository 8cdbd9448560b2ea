//! Ports: found by a name that stays, held exclusively, lost and found again without anybody's help.
//!
//! ```text
//!   resolve, open --ok--> reading, writing --0 bytes, EIO, ENODEV, failed write--> closed --wait--> resolve, open ...
//!     \--error--> wait --> resolve, open ...
//! ```
//! The name is resolved at each opening, never remembered: after re-plugging the numbers may have changed hands.
//! A removed USB adapter gives reads of 0 bytes for ever, so that such a read is a loss and never an empty line. Each
//! port is one task; when nothing comes it costs nothing.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_serial::{DataBits, FlowControl, SerialPortBuilder, SerialPortBuilderExt, SerialStream, StopBits};

use super::evdev::Keys;
use super::ports;
use crate::port::{PortName, Unresolved};
use crate::serial::{Attachment, LineSettings, Parity};

/// Between two attempts to open: a replugged device works again within two seconds, and one that is gone for days
/// costs next to nothing.
const REOPEN_WAIT: Duration = Duration::from_secs(1);
/// A scale's question is ten bytes: 10 ms at 9600 baud. A line that takes nothing for this long is broken.
const WRITE_WAIT: Duration = Duration::from_secs(1);
/// Most bytes of one read: at 115200 baud 350 ms worth.
const READ_BYTES: usize = 4 * 1024;
/// Writes that may wait. They are questions and beeps: late ones are worthless.
const WRITES_MAX: usize = 16;

/// What a port tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortEvent {
    /// It is open; nothing of what came before belongs to what comes now.
    Opened,
    /// What came, split anywhere.
    Bytes(Vec<u8>),
    /// It is gone, or cannot be opened. Told when that changes, not at each attempt.
    Closed(Closed),
}

/// Why a port is not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Nothing of that name is there.
    NotThere,
    /// It is there and cannot be opened; the system's reason.
    CannotOpen(String),
}

/// The way back to the device.
#[derive(Clone, Debug)]
pub struct PortWriter(mpsc::Sender<Vec<u8>>);

impl PortWriter {
    /// Hands the bytes to the port's task. `false` when too many wait already; while the port is closed they are
    /// dropped, since neither a question nor a beep is worth anything later.
    pub fn write(&self, bytes: Vec<u8>) -> bool {
        self.0.try_send(bytes).is_ok()
    }

    /// One whose bytes come out at the other end instead of at a port.
    #[cfg(test)]
    pub(crate) fn to_channel() -> (Self, mpsc::Receiver<Vec<u8>>) {
        let (writer, writes) = mpsc::channel(WRITES_MAX);
        (Self(writer), writes)
    }
}

/// Opens the port and keeps it open. `number` comes with each event. Ends when `events` is dropped. Call inside a
/// tokio runtime.
pub fn start(
    number: usize,
    name: impl Into<PortName>,
    attachment: impl Into<Attachment>,
    events: mpsc::Sender<(usize, PortEvent)>,
) -> PortWriter {
    let (writer, writes) = mpsc::channel(WRITES_MAX);
    let (name, attachment) = (name.into(), attachment.into());
    tokio::spawn(async move {
        let mut port = Port { number, name, attachment, events, writes, closed: None };
        // The only error is that nobody listens any more.
        let _ = port.run().await;
    });
    PortWriter(writer)
}

struct Port {
    number: usize,
    name: PortName,
    attachment: Attachment,
    events: mpsc::Sender<(usize, PortEvent)>,
    writes: mpsc::Receiver<Vec<u8>>,
    /// What was told last.
    closed: Option<Closed>,
}

/// Nobody listens any more.
struct Unheard;

impl Port {
    async fn run(&mut self) -> Result<(), Unheard> {
        loop {
            match open(&self.name, self.attachment) {
                Ok(stream) => {
                    while self.writes.try_recv().is_ok() {}
                    self.closed = None;
                    self.tell(PortEvent::Opened).await?;
                    let error = self.serve(stream).await?;
                    tracing::warn!(port = %self.name, %error, "lost");
                    // At once, and not only after the next attempt: nothing will come meanwhile.
                    self.tell_closed(Closed::NotThere).await?;
                }
                Err(closed) => self.tell_closed(closed).await?,
            }
            sleep(REOPEN_WAIT).await;
            if self.events.is_closed() {
                return Err(Unheard);
            }
        }
    }

    /// Moves bytes both ways until the port is lost, and says why.
    async fn serve(&mut self, mut stream: Stream) -> Result<io::Error, Unheard> {
        let mut buffer = vec![0; if matches!(stream, Stream::Keys(_)) { 0 } else { READ_BYTES }];
        loop {
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(bytes) if bytes.is_empty() => return Ok(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    Ok(bytes) => self.tell(PortEvent::Bytes(bytes)).await?,
                    Err(error) => return Ok(error),
                },
                bytes = self.writes.recv() => {
                    let bytes = bytes.ok_or(Unheard)?;
                    match timeout(WRITE_WAIT, stream.write_all(&bytes)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return Ok(error),
                        Err(_) => return Ok(io::Error::new(io::ErrorKind::TimedOut, "the line takes nothing")),
                    }
                }
            }
        }
    }

    async fn tell(&self, event: PortEvent) -> Result<(), Unheard> {
        self.events.send((self.number, event)).await.map_err(|_| Unheard)
    }

    async fn tell_closed(&mut self, closed: Closed) -> Result<(), Unheard> {
        if self.closed.as_ref() != Some(&closed) {
            self.closed = Some(closed.clone());
            self.tell(PortEvent::Closed(closed)).await?;
        }
        Ok(())
    }
}

/// An open port.
enum Stream {
    Serial(SerialStream),
    Keys(Keys),
}

impl Stream {
    /// Bytes that came; none is the port's end.
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<Vec<u8>> {
        match self {
            // Not `readable` and `try_read`: that pair never takes back the readiness, and a quiet port then costs a
            // whole core.
            Stream::Serial(stream) => stream.read(buffer).await.map(|length| buffer[..length].to_vec()),
            Stream::Keys(keys) => keys.read().await,
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Serial(stream) => stream.write_all(bytes).await,
            // No keyboard decoder has anything to write.
            Stream::Keys(_) => Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
    }
}

fn open(name: &PortName, attachment: Attachment) -> Result<Stream, Closed> {
    let keyboard = attachment == Attachment::Keyboard;
    let resolve = || {
        ports::resolve(name, keyboard).map_err(|error| match error {
            Unresolved::NotThere => Closed::NotThere,
            Unresolved::Several { .. } => Closed::CannotOpen(error.to_string()),
        })
    };
    let path = resolve()?;
    let device = fs::canonicalize(&path).map_err(|_| Closed::NotThere)?;
    let stream = match attachment {
        Attachment::Serial(line) => Stream::Serial(open_serial(&device, line)?),
        Attachment::Keyboard => Stream::Keys(Keys::open(&device).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Closed::NotThere,
            _ => Closed::CannotOpen(error.to_string()),
        })?),
    };
    // While it was opened the number may have gone to another device.
    match fs::canonicalize(resolve()?) {
        Ok(still) if still == device => Ok(stream),
        _ => Err(Closed::NotThere),
    }
}

fn open_serial(device: &Path, line: LineSettings) -> Result<SerialStream, Closed> {
    builder(device, line).open_native_async().map_err(|error| match error.kind() {
        tokio_serial::ErrorKind::NoDevice | tokio_serial::ErrorKind::Io(io::ErrorKind::NotFound) => {
            Closed::NotThere
        }
        _ => Closed::CannotOpen(error.to_string()),
    })
}

/// A port with these settings, to be opened.
pub(super) fn builder(device: &Path, line: LineSettings) -> SerialPortBuilder {
    let parity = match line.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    tokio_serial::new(device.to_string_lossy(), line.baud)
        .data_bits(if line.data_bits == 7 { DataBits::Seven } else { DataBits::Eight })
        .parity(parity)
        .stop_bits(if line.stop_bits == 2 { StopBits::Two } else { StopBits::One })
        .flow_control(FlowControl::None)
        // A second reader would take half of the bytes.
        .exclusive(true)
}
