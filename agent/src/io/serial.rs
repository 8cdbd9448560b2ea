//! Serial ports: found by a name that stays, held exclusively, lost and found again without anybody's help.
//!
//! ```text
//!   open --ok--> reading, writing --0 bytes, EIO, ENODEV, failed write--> closed --wait--> open ...
//!     \--error--> wait --> open ...
//! ```
//! A removed USB adapter gives reads of 0 bytes for ever, so that such a read is a loss and never an empty line. Each
//! port is one task; when nothing comes it costs nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_serial::{DataBits, FlowControl, SerialPortBuilderExt, SerialStream, StopBits};

use crate::serial::{LineSettings, Parity};

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
}

/// Opens the port and keeps it open. `number` comes with each event. Ends when `events` is dropped. Call inside a
/// tokio runtime.
pub fn start(
    number: usize,
    path: PathBuf,
    line: LineSettings,
    events: mpsc::Sender<(usize, PortEvent)>,
) -> PortWriter {
    let (writer, writes) = mpsc::channel(WRITES_MAX);
    tokio::spawn(async move {
        let mut port = Port { number, path, line, events, writes, closed: None };
        // The only error is that nobody listens any more.
        let _ = port.run().await;
    });
    PortWriter(writer)
}

struct Port {
    number: usize,
    path: PathBuf,
    line: LineSettings,
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
            match open(&self.path, self.line) {
                Ok(stream) => {
                    while self.writes.try_recv().is_ok() {}
                    self.closed = None;
                    self.tell(PortEvent::Opened).await?;
                    let error = self.serve(stream).await?;
                    tracing::warn!(port = %self.path.display(), %error, "lost");
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
    async fn serve(&mut self, mut stream: SerialStream) -> Result<io::Error, Unheard> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            tokio::select! {
                // Not `readable` and `try_read`: that pair never takes back the readiness, and a quiet port then costs a
                // whole core.
                read = stream.read(&mut buffer) => match read {
                    Ok(0) => return Ok(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    Ok(length) => self.tell(PortEvent::Bytes(buffer[..length].to_vec())).await?,
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

fn open(path: &Path, line: LineSettings) -> Result<SerialStream, Closed> {
    if !path.exists() {
        return Err(Closed::NotThere);
    }
    let parity = match line.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    tokio_serial::new(path.to_string_lossy(), line.baud)
        .data_bits(if line.data_bits == 7 { DataBits::Seven } else { DataBits::Eight })
        .parity(parity)
        .stop_bits(if line.stop_bits == 2 { StopBits::Two } else { StopBits::One })
        .flow_control(FlowControl::None)
        // A second reader would take half of the bytes.
        .exclusive(true)
        .open_native_async()
        .map_err(|error| match error.kind() {
            tokio_serial::ErrorKind::NoDevice | tokio_serial::ErrorKind::Io(io::ErrorKind::NotFound) => {
                Closed::NotThere
            }
            _ => Closed::CannotOpen(error.to_string()),
        })
}

/// A serial port of this machine, under the names it has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PortListing {
    /// The name to configure: one that stays when devices are plugged in another order.
    pub use_name: PathBuf,
    /// The kernel's name, for now.
    pub device: PathBuf,
    /// Whether `use_name` is such a name.
    pub stable: bool,
}

/// The ports that are there, each once, by its best name: by-id unless two devices share it, else by-path.
///
/// # Errors
/// When `/dev` cannot be listed.
pub fn list(dev: &Path) -> io::Result<Vec<PortListing>> {
    let mut found: Vec<PortListing> = Vec::new();
    for (directory, stable) in [("serial/by-id", true), ("serial/by-path", true), ("", false)] {
        for (name, device) in names_in(&dev.join(directory), stable)? {
            if !found.iter().any(|listing| listing.device == device) {
                found.push(PortListing { use_name: name, device, stable });
            }
        }
    }
    Ok(found)
}

/// Names and the devices they stand for; of plain names only those of ports that can be plugged in.
fn names_in(directory: &Path, links: bool) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.path();
        let pluggable =
            |name: &str| ["ttyUSB", "ttyACM", "ttyAMA"].iter().any(|prefix| name.starts_with(prefix));
        if links || name.file_name().and_then(|name| name.to_str()).is_some_and(pluggable) {
            // A link whose device has just gone is no port.
            if let Ok(device) = fs::canonicalize(&name) {
                names.push((name, device));
            }
        }
    }
    names.sort();
    Ok(names)
}
