//! A network cable that can be pulled: a proxy on loopback in front of any TCP server.

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The proxy. Dropping it closes every connection.
pub struct Cable {
    port: u16,
    plugged: watch::Sender<bool>,
    // Aborts the accept loop, and with it the connections, when dropped.
    _tasks: JoinSet<()>,
}

impl Cable {
    /// Leads to the server on 127.0.0.1 at `upstream_port`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn to(upstream_port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("binding the cable's end")?;
        let port = listener.local_addr().context("reading the port")?.port();
        let (plugged, seen) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, upstream_port, seen.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { port, plugged, _tasks: tasks })
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Resets every connection, and each new one, until it is plugged in again.
    pub fn pull(&self) {
        self.plugged.send_replace(false);
    }

    /// Lets everything pass again.
    pub fn plug(&self) {
        self.plugged.send_replace(true);
    }
}

/// One connection. How it ends is seen by both sides, which have to cope.
async fn serve(mut client: TcpStream, upstream_port: u16, mut plugged: watch::Receiver<bool>) {
    if *plugged.borrow_and_update()
        && let Ok(mut upstream) = TcpStream::connect(("127.0.0.1", upstream_port)).await
    {
        tokio::select! {
            ended = copy_bidirectional(&mut client, &mut upstream) => {
                if ended.is_ok() {
                    return;
                }
            }
            _ = plugged.wait_for(|plugged| !plugged) => {}
        }
        let _ = upstream.set_zero_linger();
    }
    // The coming drop sends RST instead of FIN.
    let _ = client.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_is_pulled_is_reset_and_what_is_plugged_passes() {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let cable = Cable::to(server.local_addr().unwrap().port()).await.unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", cable.port())).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let (mut other, _) = server.accept().await.unwrap();
        let mut bytes = [0; 4];
        other.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");

        cable.pull();
        assert!(client.read_exact(&mut bytes).await.is_err());
        assert!(other.read_exact(&mut bytes).await.is_err());
        let mut refused = TcpStream::connect(("127.0.0.1", cable.port())).await.unwrap();
        assert!(refused.read_exact(&mut bytes).await.is_err());

        cable.plug();
        let mut client = TcpStream::connect(("127.0.0.1", cable.port())).await.unwrap();
        let (mut other, _) = server.accept().await.unwrap();
        other.write_all(b"pong").await.unwrap();
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"pong");
    }
}
