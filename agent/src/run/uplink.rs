//! The way to the gateway: the link's events into the outbox, the outbox's wishes into the link.

use std::sync::Arc;
use std::time::Duration;

use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::topic::{self, Subject};
use stockwire_protocol::{Ack, Command, State, StateKind};

use super::feeds::{Feeds, Told};
use super::lives::{Lives, chain};
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::health::LinkHealth;
use crate::io::clock::Clock;
use crate::io::mqtt::{Link, LinkEvent, Message, MqttConfig, NotQueued, PubResult, TlsFiles};
use crate::journal::{Journal as _, JournalError};
use crate::outbox::{AckOutcome, Outbox, OutboxConfig, OutboxStatus, Rebuild};

/// Marks tokens of births and replies; the outbox counts its own from 0.
const OWN_TOKEN: u64 = 1 << 63;

/// Link and outbox.
pub(super) struct Uplink {
    config: Arc<Config>,
    link: Link,
    outbox: Outbox,
    feeds: Feeds,
    own_tokens: u64,
    connected: bool,
    changed_at: Duration,
    last_loss: Option<String>,
}

/// What the link must be told at its start.
pub(super) fn mqtt_config(config: &Config) -> MqttConfig {
    let broker = &config.broker;
    let will = State { agent: config.agent.clone(), kind: StateKind::Lost };
    MqttConfig {
        tls: broker.tls.as_ref().map(|files| TlsFiles {
            ca: files.ca.clone(),
            cert: files.certificate.clone(),
            key: files.key.clone(),
        }),
        keep_alive_s: broker.keep_alive_s,
        subscriptions: vec![topic::down_filter(&config.site, &config.agent)],
        will: Some(Message {
            topic: topic::topic(&config.site, &config.agent, Subject::State),
            payload: will.encode(),
            retain: true,
        }),
        ..MqttConfig::new(broker.host.clone(), broker.port, config.agent.to_string())
    }
}

impl Uplink {
    pub(super) fn new(config: Arc<Config>, link: Link, feeds: Feeds, lives: &Lives) -> Self {
        let outbox = Outbox::new(OutboxConfig::new(config.agent.clone()), lives.sending());
        Self {
            config,
            link,
            outbox,
            feeds,
            own_tokens: 0,
            connected: false,
            changed_at: Duration::ZERO,
            last_loss: None,
        }
    }

    /// Gives the catalogue or the tasks when newer ones have come.
    pub(super) fn handle_event(
        &mut self,
        now: Duration,
        event: LinkEvent,
        lives: &mut Lives,
        clock: &Clock,
    ) -> Option<Told> {
        match event {
            LinkEvent::Connected => {
                tracing::info!(broker = %self.broker(), "connected");
                (self.connected, self.changed_at) = (true, now);
                self.outbox.handle_connected(now);
                self.publish_birth(lives, clock);
            }
            LinkEvent::Disconnected { reason, class, retry_in } => {
                if std::mem::take(&mut self.connected) {
                    self.changed_at = now;
                }
                tracing::warn!(broker = %self.broker(), class = class.as_str(), reason, ?retry_in, "not connected");
                self.last_loss = Some(reason);
                self.outbox.handle_disconnected(now);
            }
            LinkEvent::Published { token, result } if token & OWN_TOKEN == 0 => {
                self.outbox.handle_puback(now, token, result == PubResult::Accepted);
            }
            LinkEvent::Published { result, .. } => {
                // A birth without a listener is retained; anything else is worth a line.
                if !matches!(result, PubResult::Accepted | PubResult::NoSubscriber) {
                    tracing::warn!(?result, "the broker refused our state or reply");
                }
            }
            LinkEvent::Received(message) => return self.handle_message(now, message, lives, clock),
        }
        None
    }

    fn handle_message(
        &mut self,
        now: Duration,
        message: Message,
        lives: &mut Lives,
        clock: &Clock,
    ) -> Option<Told> {
        let refuse = |what: &dyn std::fmt::Display| tracing::warn!(topic = message.topic, error = %what, "not understood");
        let subject = topic::parse(&message.topic)
            .filter(|(site, agent, _)| *site == self.config.site && *agent == self.config.agent)
            .map(|(_, _, subject)| subject);
        match subject {
            Some(Subject::Acks) => match Ack::decode(&message.payload) {
                Ok(ack) => self.handle_ack(now, &ack, lives, clock),
                Err(error) => refuse(&error),
            },
            // A retained command would be obeyed again at each connection.
            Some(Subject::Commands) if message.retain => refuse(&"a command must not be retained"),
            Some(Subject::Commands) => match Command::decode(&message.payload) {
                Ok(command) => {
                    tracing::info!(id = command.id, body = ?command.body, "command");
                    let reply = self.outbox.handle_command(now, &command, lives.sending());
                    self.publish(Subject::Replies, reply.encode(), false);
                }
                Err(error) => refuse(&error),
            },
            Some(
                subject @ (Subject::Catalogue { .. }
                | Subject::CatalogueChanges
                | Subject::Tasks { .. }
                | Subject::TasksChanges),
            ) => match self.feeds.handle_message(subject, &message.payload) {
                Ok(told) => return told,
                Err(error) => refuse(&error),
            },
            _ => refuse(&"nothing is expected on this topic"),
        }
        None
    }

    fn handle_ack(&mut self, now: Duration, ack: &Ack, lives: &mut Lives, clock: &Clock) {
        let unix_s = clock.unix_ms() / 1000;
        let outcome = match self.outbox.handle_ack(now, ack, lives.sending_mut()) {
            Ok(outcome) => outcome,
            Err(error) => return self.journal_failed(now, &error, lives, clock),
        };
        let moved_on = match outcome {
            AckOutcome::Progress { watermark } => {
                tracing::debug!(%watermark, "acknowledged");
                lives.watermark_moved(now);
                lives.advance(unix_s)
            }
            AckOutcome::JournalBehindGateway { .. } => lives.overtaken(unix_s),
            AckOutcome::Unchanged | AckOutcome::Ignored => Ok(false),
            other => {
                tracing::warn!(outcome = ?other, "the gateway does not simply go on");
                Ok(false)
            }
        };
        match moved_on {
            Ok(true) => self.handle_new_epoch(lives, clock),
            Ok(false) => {}
            Err(error) => tracing::error!(error = chain(&error), hint = error.hint(), "journal"),
        }
    }

    /// Gives the link what the outbox wants sent, as long as there is room.
    pub(super) fn transmit(&mut self, now: Duration, lives: &mut Lives, clock: &Clock) {
        while self.link.room() > 0 {
            match self.outbox.poll_transmit(now, lives.sending()) {
                Ok(Some(batch)) => {
                    let topic = topic::topic(&self.config.site, &self.config.agent, Subject::Events);
                    let message = Message { topic, payload: batch.payload, retain: false };
                    if let Err(error) = self.link.try_publish(batch.token, message) {
                        tracing::warn!(%error, first = %batch.first, last = %batch.last, "not sent");
                        self.outbox.handle_puback(now, batch.token, false);
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => return self.journal_failed(now, &error, lives, clock),
            }
        }
    }

    /// Another life of the journal is sent from now on.
    pub(super) fn handle_new_epoch(&mut self, lives: &Lives, clock: &Clock) {
        self.outbox.handle_new_epoch(lives.sending());
        self.publish_birth(lives, clock);
    }

    fn journal_failed(&mut self, now: Duration, error: &JournalError, lives: &mut Lives, clock: &Clock) {
        if lives.failed(now, error, clock.unix_ms() / 1000) {
            self.handle_new_epoch(lives, clock);
        }
    }

    /// Tells who we are and how we stand; retained, so that a gateway that starts later knows it too.
    pub(super) fn publish_birth(&mut self, lives: &Lives, clock: &Clock) {
        let sending = lives.sending();
        let kind = StateKind::Online {
            epoch: sending.epoch(),
            head: sending.head(),
            watermark: sending.watermark(),
            boot: lives.current().boot(),
            uptime_ms: clock.uptime_ms(),
            unix_ms: clock.unix_ms(),
            clock_synced: clock.is_synced(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.publish_state(kind);
    }

    pub(super) fn publish_state(&mut self, kind: StateKind) {
        let state = State { agent: self.config.agent.clone(), kind };
        self.publish(Subject::State, state.encode(), true);
    }

    fn publish(&mut self, subject: Subject, payload: Vec<u8>, retain: bool) {
        let topic = topic::topic(&self.config.site, &self.config.agent, subject);
        self.own_tokens += 1;
        match self.link.try_publish(OWN_TOKEN | self.own_tokens, Message { topic, payload, retain }) {
            // The next connection begins with a birth of its own, and the gateway repeats its commands.
            Ok(()) | Err(NotQueued::Offline) => {}
            Err(error) => tracing::warn!(%error, ?subject, "not sent"),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.outbox.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Duration) -> Option<Rebuild> {
        self.outbox.handle_timeout(now)
    }

    /// Puts another link in the place of one that makes no progress.
    pub(super) fn replace_link(&mut self, now: Duration, link: Link) -> Link {
        self.outbox.handle_disconnected(now);
        (self.connected, self.changed_at) = (false, now);
        std::mem::replace(&mut self.link, link)
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn catalogue(&self) -> &Arc<Catalogue> {
        self.feeds.catalogue()
    }

    pub(super) fn outbox_status(&self) -> OutboxStatus {
        self.outbox.status()
    }

    pub(super) fn health(&self, now: Duration) -> LinkHealth {
        LinkHealth {
            broker: self.broker(),
            connected: self.connected,
            since_s: now.saturating_sub(self.changed_at).as_secs(),
            last_loss: self.last_loss.clone(),
        }
    }

    fn broker(&self) -> String {
        format!("{}:{}", self.config.broker.host, self.config.broker.port)
    }
}
