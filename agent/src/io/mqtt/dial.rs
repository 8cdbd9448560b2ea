//! The way to the broker: TCP, TLS, and an eye on the last bytes that came.
//!
//! The client library would dial by itself. It does not get past an address that swallows packets, and it does not
//! understand a DISCONNECT without properties (`e0 01 reason`, which MQTT 5 allows and the embedded broker sends): it waits for a property
//! length that never comes, sees the connection end, and the broker's reason is lost. So we watch for it here.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rumqttc::{DisconnectReasonCode, MqttOptions};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// One of a host's addresses; what is left of the whole time goes to the next.
const ADDRESS_WAIT: Duration = Duration::from_secs(4);

/// Has the client dial through here, under TLS when there is a configuration for it.
pub(super) fn set_dialler(
    options: &mut MqttOptions,
    host: &str,
    tls: Option<Arc<ClientConfig>>,
) -> LastBytes {
    let last = LastBytes::default();
    let watching = last.clone();
    let host = host.to_owned();
    match tls {
        None => options.set_socket_connector(move |address, _| {
            let last = watching.clone();
            async move { Ok(Watched { stream: tcp(&address).await?, last }) }
        }),
        Some(tls) => options.set_socket_connector(move |address, _| {
            let (last, tls, host) = (watching.clone(), Arc::clone(&tls), host.clone());
            async move {
                let name = ServerName::try_from(host).map_err(io::Error::other)?;
                let stream = TlsConnector::from(tls).connect(name, tcp(&address).await?).await?;
                Ok(Watched { stream, last })
            }
        }),
    };
    last
}

async fn tcp(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the broker's name has no address");
    for address in lookup_host(address).await? {
        match timeout(ADDRESS_WAIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A publish is one write; waiting to fill a segment would only add the peer's delayed ACK to each.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer")),
        }
    }
    Err(last)
}

/// The last three bytes of the connection so far.
#[derive(Clone, Debug, Default)]
pub(super) struct LastBytes(Arc<Mutex<[u8; 3]>>);

impl LastBytes {
    /// The reason in a DISCONNECT without properties, if that was the end. A broker says nothing after it, so it is
    /// the end of the stream; a packet that happens to end in these bytes would have to be the very last one too, and
    /// then a message for people is wrong.
    pub(super) fn disconnect_reason(&self) -> Option<DisconnectReasonCode> {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            [0xe0, 0x01, reason] => DisconnectReasonCode::try_from(reason).ok(),
            _ => None,
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = &bytes[bytes.len().saturating_sub(last.len())..];
        last.rotate_left(newest.len());
        let keep = last.len() - newest.len();
        last[keep..].copy_from_slice(newest);
    }
}

struct Watched<S> {
    stream: S,
    last: LastBytes,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(new) = buffer.filled().get(before..)
            && !new.is_empty()
        {
            self.last.push(new);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reads: &[&[u8]], reason: Option<DisconnectReasonCode>) {
        let last = LastBytes::default();
        for bytes in reads {
            last.push(bytes);
        }
        assert_eq!(last.disconnect_reason(), reason, "{reads:x?}");
    }

    #[test]
    fn a_short_disconnect_is_seen_however_it_is_cut() {
        let taken_over = Some(DisconnectReasonCode::SessionTakenOver);
        check(&[&[0xe0, 0x01, 0x8e]], taken_over);
        check(&[&[0xd0, 0x00, 0xe0, 0x01, 0x8e]], taken_over);
        check(&[&[0xd0, 0x00], &[0xe0], &[0x01, 0x8e]], taken_over);
        check(&[&[0xd0, 0x00, 0xe0, 0x01], &[0x8e]], taken_over);
        check(&[&[0xe0, 0x01, 0x8e], &[0xd0, 0x00]], None);
        check(&[&[0xe0, 0x01, 0x01]], None);
        check(&[&[0xe0]], None);
        check(&[], None);
    }
}
