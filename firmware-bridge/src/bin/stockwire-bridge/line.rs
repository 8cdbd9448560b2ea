//! Bytes in and out of an open serial port or pseudo terminal.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use stockwire_protocol::link::WIRE_MAX;
use tokio::sync::mpsc;

/// Reads that may wait to be handled. Beyond that the reader waits, and the line backs up as any UART does.
const ARRIVALS_MAX: usize = 16;

/// How often a full line is tried again; a frame's time at 115,200 baud.
const RETRY_EVERY: Duration = Duration::from_millis(2);

/// How long a line may refuse bytes before it is given up. The longest frame takes 22 ms at 115,200 baud.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// One line. A thread waits for what arrives: registering a terminal with the runtime takes unsafe code, which we forbid.
#[derive(Debug)]
pub(crate) struct Line {
    fd: Arc<OwnedFd>,
    arrivals: mpsc::Receiver<io::Result<Vec<u8>>>,
}

impl Line {
    /// `fd` must be non-blocking: a full line must not stop its owner.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        let fd = Arc::new(fd);
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        let reader = Arc::clone(&fd);
        std::thread::spawn(move || {
            loop {
                let arrival = read(&reader);
                let last = arrival.is_err();
                if sender.blocking_send(arrival).is_err() || last {
                    return;
                }
            }
        });
        Self { fd, arrivals }
    }

    /// Waits for bytes. A line whose other end is gone is an error, never no bytes. May be dropped and asked again.
    pub(crate) async fn read(&mut self) -> io::Result<Vec<u8>> {
        match self.arrivals.recv().await {
            Some(arrival) => arrival,
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Writes what the line takes now, and says how much that was.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::io::write(&self.fd, bytes) {
            Ok(len) => Ok(len),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes all of it.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        let write = async {
            loop {
                bytes = &bytes[self.write(bytes)?..];
                if bytes.is_empty() {
                    return Ok(());
                }
                tokio::time::sleep(RETRY_EVERY).await;
            }
        };
        tokio::time::timeout(WRITE_TIMEOUT, write)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Waits for bytes or the end of the line.
fn read(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut buffer = [0; WIRE_MAX];
    loop {
        let waited = rustix::event::poll(&mut [PollFd::new(fd, PollFlags::IN)], None);
        let read = waited.and_then(|_| rustix::io::read(fd, &mut buffer));
        match read {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => return Ok(buffer[..len].to_vec()),
            Err(error) => return Err(error.into()),
        }
    }
}
