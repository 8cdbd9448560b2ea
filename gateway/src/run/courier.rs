//! What goes down to agents: acknowledgements, commands, and what they are told without asking.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Result;
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::topic::{Subject, topic};
use stockwire_protocol::{Ack, AgentId, Command, SiteId};
use tokio::time::Instant;

use crate::briefing::{Briefing, Notice};
use crate::io::mqtt::{Link, Message, NotQueued};
use crate::io::shared::Shared;
use crate::store::{Reader, StoreError};

/// Commands waiting for room on the link; a person asked for each.
const COMMANDS_MAX: usize = 256;

/// Publishes in the order of importance, as far as the link has room.
pub(super) struct Courier {
    link: Link,
    reader: Shared<dyn Reader>,
    connected: bool,
    /// The newest acknowledgement of each agent: they are cumulative, so an older one is worth nothing.
    acks: BTreeMap<(SiteId, AgentId), Vec<u8>>,
    commands: VecDeque<Message>,
    /// Retained messages on their way, by topic: a newer one takes the place of an older.
    notices: VecDeque<Message>,
    /// Absent only while a blocking thread has it.
    briefing: Option<Briefing>,
    began: Instant,
    next_token: u64,
}

impl Courier {
    pub(super) fn new(link: Link, reader: Shared<dyn Reader>) -> Self {
        Self {
            link,
            reader,
            connected: false,
            acks: BTreeMap::new(),
            commands: VecDeque::new(),
            notices: VecDeque::new(),
            briefing: Some(Briefing::new()),
            began: Instant::now(),
            next_token: 0,
        }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// A new connection knows nothing, and neither may the broker: every known agent is told everything anew.
    pub(super) async fn handle_connected(&mut self) -> Result<()> {
        self.connected = true;
        self.notices.clear();
        let devices = self.reader.call(|reader| reader.devices()).await?;
        let briefing = self.briefing.get_or_insert_default();
        briefing.forget();
        for device in devices {
            briefing.heard(&device.site, &device.agent);
        }
        self.look().await.map(drop)
    }

    /// What was told may be older than what others have told since: everything is told anew at the next look.
    pub(super) fn forget(&mut self) {
        self.briefing.get_or_insert_default().forget();
    }

    /// Goes on over another link, whose connection is told of as the first one's was.
    pub(super) fn relink(&mut self, link: Link) {
        self.link = link;
    }

    pub(super) fn handle_disconnected(&mut self) {
        self.connected = false;
    }

    /// An agent has spoken. One that was never heard waits for everything.
    pub(super) async fn heard(&mut self, site: &SiteId, agent: &AgentId) -> Result<()> {
        match self.briefing.get_or_insert_default().heard(site, agent) {
            true => self.look().await.map(drop),
            false => Ok(()),
        }
    }

    /// Looks whether agents have to be told something. Returns the catalogue's revision.
    pub(super) async fn look(&mut self) -> Result<u64> {
        if !self.connected {
            return Ok(self.reader.call(|reader| reader.catalogue_revision()).await?);
        }
        let mut briefing = self.briefing.take().unwrap_or_default();
        let now = self.began.elapsed();
        let look = move |reader: &mut (dyn Reader + 'static)| {
            let told =
                reader.catalogue_revision().and_then(|revision| Ok((revision, briefing.poll(now, reader)?)));
            (briefing, told)
        };
        let (back, told) = self.reader.call(look).await;
        self.briefing = Some(back);
        let (revision, notices) = match told {
            Ok(told) => told,
            // Told at the next look; reading it once more costs less than falling over.
            Err(fault @ StoreError::Busy { .. }) => {
                tracing::warn!(error = &fault as &dyn std::error::Error, "agents are told later");
                return Ok(self.reader.call(|reader| reader.catalogue_revision()).await?);
            }
            Err(fault) => return Err(fault.into()),
        };
        notices.into_iter().for_each(|notice| self.put(notice));
        Ok(revision)
    }

    fn put(&mut self, Notice { site, agent, subject, payload }: Notice) {
        let message = Message { topic: topic(&site, &agent, subject), payload, retain: true };
        // Whatever is waiting under this topic is older, and nobody needs it any more.
        self.notices.retain(|waiting| waiting.topic != message.topic);
        self.notices.push_back(message);
    }

    pub(super) fn ack(&mut self, site: &SiteId, agent: &AgentId, ack: &Ack) {
        self.acks.insert((site.clone(), agent.clone()), ack.encode());
    }

    pub(super) fn command(&mut self, site: &SiteId, agent: &AgentId, command: &Command) {
        if self.commands.len() == COMMANDS_MAX {
            // The oldest has waited longest and its asker has most likely gone.
            self.commands.pop_front();
        }
        let to = topic(site, agent, Subject::Commands);
        self.commands.push_back(Message { topic: to, payload: command.encode(), retain: false });
    }

    /// Hands the link what it has room for, acknowledgements first: they let agents go on.
    pub(super) fn deliver(&mut self) {
        while self.link.room() > 0 {
            let Some(message) = self.next() else { return };
            self.next_token += 1;
            match self.link.try_publish(self.next_token, message) {
                Ok(()) => {}
                // Said again when asked again: acknowledgements by the agent's time-out, the rest at the next connection.
                Err(NotQueued::Full | NotQueued::Offline) => return,
                Err(fault @ (NotQueued::TooLarge { .. } | NotQueued::BadTopic)) => {
                    tracing::error!(?fault, "a message of our own making cannot be sent");
                }
            }
        }
    }

    fn next(&mut self) -> Option<Message> {
        if let Some(((site, agent), payload)) = self.acks.pop_first() {
            return Some(Message { topic: topic(&site, &agent, Subject::Acks), payload, retain: false });
        }
        self.commands.pop_front().or_else(|| self.notices.pop_front())
    }

    pub(super) async fn shutdown(&mut self) {
        self.connected = false;
        self.acks.clear();
        self.link.shutdown().await;
    }
}
