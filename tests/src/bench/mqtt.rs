//! The gateway's end of the broker, without a gateway: counts what comes and acknowledges it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rumqttc::{
    AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, PublishOptions, QoS,
    TlsConfiguration, Transport,
};
use stockwire_protocol::cbor::{Message as _, PACKET_BYTES_MAX};
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{Ack, Batch, Digest, Epoch, Sequence};
use tokio::sync::oneshot;

use crate::real::pki::{Identity, Pki};

/// Requests that may wait inside a client: enough that neither publishes nor acknowledgements wait for it.
const REQUESTS_MAX: usize = 256;
/// A broker on this machine answers within milliseconds.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How to reach a broker.
pub(super) fn options(port: u16, client: &str, tls: Option<(&Pki, &Identity)>) -> Result<MqttOptions> {
    // A certificate carries the name.
    let host = if tls.is_some() { "localhost" } else { "127.0.0.1" };
    let mut options = MqttOptions::new(client, (host, port));
    options.set_max_packet_size(Some(PACKET_BYTES_MAX as u32));
    // As agent and gateway do; else each answer waits for the peer's delayed ACK, 40 ms on Linux.
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    if let Some((pki, identity)) = tls {
        let client_auth = Some((std::fs::read(&identity.certificate)?, std::fs::read(&identity.key)?));
        let ca = std::fs::read(pki.ca())?;
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Simple {
            ca,
            alpn: None,
            client_auth,
        }));
    }
    Ok(options)
}

/// A client that is connected.
pub(super) async fn connect(options: MqttOptions) -> Result<(AsyncClient, EventLoop)> {
    let (client, mut events) = AsyncClient::builder(options).capacity(REQUESTS_MAX).build();
    let connack = async {
        loop {
            if let Event::Incoming(Packet::ConnAck(_)) = events.poll().await? {
                return Ok::<_, rumqttc::ConnectionError>(());
            }
        }
    };
    tokio::time::timeout(ANSWER_WAIT, connack).await.context("no CONNACK")??;
    Ok((client, events))
}

/// Subscribes and waits for the broker's word.
pub(super) async fn subscribe(client: &AsyncClient, events: &mut EventLoop, filter: &str) -> Result<()> {
    client.subscribe(filter, QoS::AtLeastOnce).await?;
    let suback = async {
        loop {
            if let Event::Incoming(Packet::SubAck(suback)) = events.poll().await? {
                return Ok::<_, rumqttc::ConnectionError>(suback);
            }
        }
    };
    let suback = tokio::time::timeout(ANSWER_WAIT, suback).await.context("no SUBACK")??;
    let granted =
        suback.return_codes.iter().all(|code| matches!(code, rumqttc::SubscribeReasonCode::Success(_)));
    ensure!(granted, "the subscription to {filter} was refused: {:?}", suback.return_codes);
    Ok(())
}

/// What has come.
#[derive(Debug, Default)]
struct Tally {
    streams: HashMap<Epoch, Stream>,
    unique: u64,
    repeated: u64,
    payload_bytes: u64,
    fault: Option<String>,
}

/// Which sequences of an epoch have come.
#[derive(Debug, Default)]
struct Stream {
    seen: Vec<u64>,
    watermark: u64,
    digest: Digest,
}

/// What has come, for reports.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Identities.
    pub(super) unique: u64,
    /// Identities that came again.
    pub(super) repeated: u64,
    /// Payloads, summed.
    pub(super) payload_bytes: u64,
}

/// A gateway that keeps nothing: it decodes, counts each identity once and acknowledges.
pub(super) struct Sink {
    tally: Arc<(Mutex<Tally>, Condvar)>,
    acks: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Subscribes to all events. Each batch is answered with a watermark.
    pub(super) fn start(options: MqttOptions) -> Result<Self> {
        let tally = Arc::new((Mutex::new(Tally::default()), Condvar::new()));
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let shared = Arc::clone(&tally);
        let acks = Arc::new(AtomicBool::new(true));
        let is_acking = Arc::clone(&acks);
        let thread = std::thread::spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(fault) => return drop(ready.send(Err(fault.into()))),
            };
            runtime.block_on(async {
                let subscribed = async {
                    let (client, mut events) = connect(options).await?;
                    subscribe(&client, &mut events, "stockwire/v1/+/+/up/events").await?;
                    anyhow::Ok((client, events))
                };
                let (client, events) = match subscribed.await {
                    Ok(connected) => connected,
                    Err(fault) => return drop(ready.send(Err(fault))),
                };
                if ready.send(Ok(())).is_err() {
                    return;
                }
                tokio::select! {
                    _ = stopped => {}
                    Err(fault) = receive(client, events, &shared, &is_acking) => {
                        lock(&shared.0).fault = Some(format!("{fault:#}"));
                        shared.1.notify_all();
                    }
                }
            });
        });
        is_ready.recv().context("the sink ended early")??;
        Ok(Self { tally, acks, stop: Some(stop), thread: Some(thread) })
    }

    /// Whether batches are answered. Those of a limit that stops at the broker's word are not.
    pub(super) fn set_acks(&self, acks: bool) {
        self.acks.store(acks, Ordering::Relaxed);
    }

    /// So far.
    pub(super) fn counts(&self) -> Counts {
        let tally = lock(&self.tally.0);
        let Tally { unique, repeated, payload_bytes, .. } = *tally;
        Counts { unique, repeated, payload_bytes }
    }

    /// Waits until so many identities have come.
    pub(super) fn wait(&self, unique: u64, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        let mut tally = lock(&self.tally.0);
        while tally.unique < unique {
            if let Some(fault) = &tally.fault {
                bail!("the sink: {fault}");
            }
            let left = until.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{} of {unique} events came in {patience:?}", tally.unique);
            tally = self.tally.1.wait_timeout(tally, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}

async fn receive(
    client: AsyncClient,
    mut events: EventLoop,
    tally: &(Mutex<Tally>, Condvar),
    acks: &AtomicBool,
) -> Result<()> {
    loop {
        let Event::Incoming(Packet::Publish(publish)) = events.poll().await? else { continue };
        let batch = Batch::decode(&publish.payload).context("a publish")?;
        let (watermark, digest) = {
            let mut tally = lock(&tally.0);
            tally.payload_bytes += publish.payload.len() as u64;
            tally.take(&batch)
        };
        tally.1.notify_all();
        if acks.load(Ordering::Relaxed) {
            let topic = std::str::from_utf8(&publish.topic)?;
            let (site, agent, _) = topic::parse(topic).context("a topic of ours")?;
            let ack = Ack { epoch: batch.epoch, watermark: Sequence::new(watermark), digest, refusal: None };
            let topic = topic::topic(&site, &agent, Subject::Acks);
            client.try_publish(topic, ack.encode(), PublishOptions::at_least_once()).context("an ack")?;
        }
    }
}

impl Tally {
    /// Counts the identities; gives the last one below which all have come, and the digest of those.
    fn take(&mut self, batch: &Batch) -> (u64, Digest) {
        let stream = self.streams.entry(batch.epoch).or_default();
        for sequence in batch.first.get()..=batch.last().get() {
            let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
            if stream.seen.len() <= word {
                stream.seen.resize(word + 1, 0);
            }
            if stream.seen[word] & bit == 0 {
                stream.seen[word] |= bit;
                self.unique += 1;
            } else {
                self.repeated += 1;
            }
        }
        if batch.first.get() <= stream.watermark + 1 {
            let known = (stream.watermark + 1 - batch.first.get()) as usize;
            for event in batch.events.iter().skip(known) {
                stream.digest = stream.digest.then(&event.encode());
                stream.watermark += 1;
            }
        }
        (stream.watermark, stream.digest)
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::goods::Goods;
    use super::*;

    #[test]
    fn each_identity_counts_once_and_a_gap_holds_the_watermark() {
        let (goods, epoch) = (Goods::new().unwrap(), Epoch::from_bytes([1; 16]));
        let mut tally = Tally::default();
        let mut take = |after, count| tally.take(&goods.batch(epoch, after, count).unwrap());
        assert_eq!(take(0, 3).0, 3);
        assert_eq!(take(5, 2).0, 3, "4 and 5 are missing");
        assert_eq!(take(2, 3).0, 5, "overlaps");
        assert_eq!((tally.unique, tally.repeated), (7, 1));
    }
}
