//! The service manager's notifications: ready, alive, stopping. One datagram each, so no library is needed.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the service manager, when there is one.
#[derive(Debug)]
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// As the environment says. Without a service manager every call does nothing.
    ///
    /// # Errors
    /// When the environment names a socket that is none.
    pub fn from_environment() -> io::Result<Self> {
        let variable = |name| std::env::var(name).ok();
        let ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = variable("WATCHDOG_USEC").filter(|_| ours).and_then(|us| us.parse().ok());
        Self::new(variable("NOTIFY_SOCKET").as_deref(), watchdog.map(Duration::from_micros))
    }

    fn new(address: Option<&str>, watchdog: Option<Duration>) -> io::Result<Self> {
        let socket = match address {
            None | Some("") => None,
            Some(address) => {
                let address = match address.strip_prefix('@') {
                    Some(name) => SocketAddr::from_abstract_name(name)?,
                    None => SocketAddr::from_pathname(address)?,
                };
                let socket = UnixDatagram::unbound()?;
                // A service manager that does not read must not hold up a scan.
                socket.set_nonblocking(true)?;
                Some((socket, address))
            }
        };
        Ok(Self { socket, watchdog })
    }

    /// How often [`Self::alive`] is expected: half of the time after which the service manager kills us.
    pub fn alive_every(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 2)
    }

    /// Everything is up.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// For `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}"));
    }

    /// The main loop went round. Called there and nowhere else, so that a loop that hangs is noticed.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The end is intended.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
        {
            tracing::warn!(%error, "the service manager does not take a notification");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_the_service_manager_reads() {
        let path = std::env::temp_dir().join(format!("stockwire-notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::new(path.to_str(), Some(Duration::from_secs(90))).unwrap();
        assert_eq!(notify.alive_every(), Some(Duration::from_secs(45)));
        let mut buffer = [0; 100];
        let mut read = || {
            let length = manager.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        notify.ready("2 stations");
        assert_eq!(read(), "READY=1\nSTATUS=2 stations");
        notify.alive();
        assert_eq!(read(), "WATCHDOG=1");
        notify.stopping();
        assert_eq!(read(), "STOPPING=1");
        std::fs::remove_file(&path).unwrap();
        Notify::new(None, None).unwrap().ready("nobody listens");
    }
}
