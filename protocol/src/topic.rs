//! MQTT topics: `stockwire/v1/{site}/{agent}/up/...` and `.../down/...`.

use alloc::format;
use alloc::string::String;

use crate::{AgentId, SiteId};

/// Everything of wire version 1 stands below this.
pub const PREFIX: &str = "stockwire/v1";

/// One agent's direction and subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// Agent to gateway: a [`crate::Batch`].
    Events,
    /// Agent to gateway, retained: a [`crate::State`].
    State,
    /// Agent to gateway: a [`crate::Reply`].
    Replies,
    /// Gateway to agent: an [`crate::Ack`].
    Acks,
    /// Gateway to agent: a [`crate::Command`].
    Commands,
    /// Gateway to agent, retained: one part of a [`crate::Catalogue`].
    Catalogue {
        /// Which part, counted from 0.
        part: u32,
    },
    /// Gateway to agent, retained: what has changed since that catalogue, also a [`crate::Catalogue`].
    CatalogueChanges,
    /// Gateway to agent, retained: one part of [`crate::Tasks`].
    Tasks {
        /// Which part, counted from 0.
        part: u32,
    },
    /// Gateway to agent, retained: what has changed since those tasks, also [`crate::Tasks`].
    TasksChanges,
}

/// The topic of one agent's subject.
pub fn topic(site: &SiteId, agent: &AgentId, subject: Subject) -> String {
    match subject {
        Subject::Events => format!("{PREFIX}/{site}/{agent}/up/events"),
        Subject::State => format!("{PREFIX}/{site}/{agent}/up/state"),
        Subject::Replies => format!("{PREFIX}/{site}/{agent}/up/replies"),
        Subject::Acks => format!("{PREFIX}/{site}/{agent}/down/acks"),
        Subject::Commands => format!("{PREFIX}/{site}/{agent}/down/commands"),
        Subject::Catalogue { part } => format!("{PREFIX}/{site}/{agent}/down/catalogue/{part}"),
        Subject::CatalogueChanges => format!("{PREFIX}/{site}/{agent}/down/catalogue/changes"),
        Subject::Tasks { part } => format!("{PREFIX}/{site}/{agent}/down/tasks/{part}"),
        Subject::TasksChanges => format!("{PREFIX}/{site}/{agent}/down/tasks/changes"),
    }
}

/// What an agent subscribes to.
pub fn down_filter(site: &SiteId, agent: &AgentId) -> String {
    format!("{PREFIX}/{site}/{agent}/down/#")
}

/// What a gateway replica subscribes to. Each batch of events goes to one replica of the share group; states, which are
/// retained, and replies go to all of them: a broker gives no retained message to a shared subscription, and only the
/// replica that asked knows what a reply answers.
pub fn up_filters(group: &str) -> [String; 3] {
    [
        format!("$share/{group}/{PREFIX}/+/+/up/events"),
        format!("{PREFIX}/+/+/up/state"),
        format!("{PREFIX}/+/+/up/replies"),
    ]
}

/// Reads a topic back; `None` for anything that is not one of ours.
pub fn parse(topic: &str) -> Option<(SiteId, AgentId, Subject)> {
    let mut levels = topic.strip_prefix(PREFIX)?.strip_prefix('/')?.split('/');
    let site = SiteId::new(levels.next()?).ok()?;
    let agent = AgentId::new(levels.next()?).ok()?;
    let direction = (levels.next()?, levels.next()?, levels.next(), levels.next());
    let subject = match direction {
        ("up", "events", None, None) => Subject::Events,
        ("up", "state", None, None) => Subject::State,
        ("up", "replies", None, None) => Subject::Replies,
        ("down", "acks", None, None) => Subject::Acks,
        ("down", "commands", None, None) => Subject::Commands,
        ("down", "catalogue", Some("changes"), None) => Subject::CatalogueChanges,
        ("down", "tasks", Some("changes"), None) => Subject::TasksChanges,
        ("down", "tasks", Some(part), None) => Subject::Tasks { part: part.parse().ok()? },
        ("down", "catalogue", Some(part), None) => Subject::Catalogue { part: part.parse().ok()? },
        _ => return None,
    };
    Some((site, agent, subject))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_reads_back_and_strangers_do_not() {
        let (site, agent) = (SiteId::new("HAM").unwrap(), AgentId::new("box-1").unwrap());
        let subjects = [
            Subject::Events,
            Subject::State,
            Subject::Replies,
            Subject::Acks,
            Subject::Commands,
            Subject::Catalogue { part: 3 },
            Subject::CatalogueChanges,
            Subject::Tasks { part: 0 },
            Subject::TasksChanges,
        ];
        for subject in subjects {
            assert_eq!(parse(&topic(&site, &agent, subject)), Some((site.clone(), agent.clone(), subject)));
        }
        for text in [
            "",
            "stockwire/v2/HAM/box-1/up/events",
            "stockwire/v1/HAM/+/up/events",
            "$SYS/x",
            "stockwire/v1/HAM/box-1/up/events/x",
            "stockwire/v1/HAM/box-1/down/events",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
