//! What goes down to agents: acknowledgements, commands, and the catalogue when they need it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use anyhow::Result;
use stockwire_protocol::cbor::Message as _;
use stockwire_protocol::topic::{Subject, topic};
use stockwire_protocol::{Ack, AgentId, Command, SiteId};

use crate::io::mqtt::{Link, Message, NotQueued};
use crate::io::shared::Shared;
use crate::store::Reader;

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
    catalogues: VecDeque<Message>,
    /// Which revision each agent was given over this connection.
    served: HashMap<(SiteId, AgentId), u64>,
    revision: u64,
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
            catalogues: VecDeque::new(),
            served: HashMap::new(),
            revision: 0,
            next_token: 0,
        }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// A new connection knows nothing, and neither may the broker: every known agent is given the catalogue anew.
    pub(super) async fn handle_connected(&mut self) -> Result<()> {
        self.connected = true;
        self.served.clear();
        self.catalogues.clear();
        for device in self.reader.call(|reader| reader.devices()).await? {
            self.heard(device.site, device.agent).await?;
        }
        Ok(())
    }

    pub(super) fn handle_disconnected(&mut self) {
        self.connected = false;
    }

    /// An agent has spoken; it is given the catalogue unless it has this revision.
    pub(super) async fn heard(&mut self, site: SiteId, agent: AgentId) -> Result<()> {
        let key = (site, agent);
        if self.revision == 0 || self.served.get(&key) == Some(&self.revision) {
            return Ok(());
        }
        let site = key.0.clone();
        let parts = self.reader.call(move |reader| reader.catalogue_parts(&site)).await?;
        for part in parts {
            let to = topic(&key.0, &key.1, Subject::Catalogue { part: part.part });
            self.catalogues.push_back(Message { topic: to, payload: part.encode(), retain: true });
        }
        self.served.insert(key, self.revision);
        Ok(())
    }

    /// Looks whether the catalogue has changed, and gives it to everybody when it has. Returns its revision.
    pub(super) async fn look(&mut self) -> Result<u64> {
        let revision = self.reader.call(|reader| reader.catalogue_revision()).await?;
        if revision != self.revision {
            self.revision = revision;
            self.catalogues.clear();
            for device in self.reader.call(|reader| reader.devices()).await? {
                self.heard(device.site, device.agent).await?;
            }
        }
        Ok(revision)
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
        self.commands.pop_front().or_else(|| self.catalogues.pop_front())
    }

    pub(super) async fn shutdown(&self) {
        self.link.shutdown().await;
    }
}
