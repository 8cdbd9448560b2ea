//! Telling systemd how we are, by the datagram protocol of sd_notify(3).

use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Sends a state such as `READY=1`; nothing happens when systemd does not listen.
pub fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| match path.as_bytes().strip_prefix(b"@") {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            socket.send_to_addr(state.as_bytes(), &SocketAddr::from_abstract_name(name)?)
        }
        None => socket.send_to(state.as_bytes(), &path),
    });
    if let Err(fault) = sent {
        tracing::warn!(%fault, "systemd could not be told {state:?}");
    }
}

/// How often `WATCHDOG=1` is wanted: half of what systemd waits for. `None` = no watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    Some(Duration::from_micros(micros / 2))
}
