//! Who may read and write which topic: the same rules that the ACL file of a stand-alone broker states.

use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;

use mqtt5::broker::auth::{AuthProvider, AuthResult};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use stockwire_protocol::{AgentId, topic};

/// What one connection may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// No TLS: whoever reached the loopback address.
    Everything,
    /// A gateway replica, by its common name.
    Gateway(String),
    /// A box: writes below its own `up`, reads below its own `down`, at whatever site it stands.
    Agent(AgentId),
}

impl Rights {
    /// By the common name of a verified certificate. A name that is neither a gateway's nor a possible agent id has
    /// none at all: it could contain what means something in a topic.
    pub(super) fn of(common_name: &str, gateway_names: &[String]) -> Option<Self> {
        if gateway_names.iter().any(|name| name == common_name) {
            return Some(Self::Gateway(common_name.to_owned()));
        }
        AgentId::new(common_name).ok().map(Self::Agent)
    }

    /// The client id must be the name in the certificate, alone or followed by `:` and more (replicas need one each).
    /// Otherwise one box could throw another off by connecting under its id.
    fn may_be_called(&self, client_id: &str) -> bool {
        let name = match self {
            Self::Everything => return true,
            Self::Gateway(name) => name.as_str(),
            Self::Agent(agent) => agent.as_str(),
        };
        client_id.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    }

    fn may_publish(&self, topic: &str) -> bool {
        match self {
            Self::Everything | Self::Gateway(_) => true,
            Self::Agent(agent) => is_own(agent, "up", topic),
        }
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        match self {
            Self::Everything | Self::Gateway(_) => true,
            Self::Agent(agent) => is_own(agent, "down", filter),
        }
    }
}

/// `stockwire/v1/{any site}/{agent}/{direction}/...`. A filter may have a wildcard for the site and below the
/// direction; in the place of the agent or the direction it is not equal to them. `$share/...` does not match either.
fn is_own(agent: &AgentId, direction: &str, topic: &str) -> bool {
    let Some(rest) = topic.strip_prefix(topic::PREFIX).and_then(|rest| rest.strip_prefix('/')) else {
        return false;
    };
    let mut levels = rest.split('/');
    let site = levels.next();
    site.is_some_and(|site| !site.is_empty() && site != "#")
        && levels.next() == Some(agent.as_str())
        && levels.next() == Some(direction)
        && levels.next().is_some()
}

/// One connection's rights, in the form in which the broker crate asks.
pub(super) struct Access {
    rights: Rights,
}

impl Access {
    pub(super) fn new(rights: Rights) -> Self {
        Self { rights }
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl AuthProvider for Access {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        _peer: SocketAddr,
    ) -> Answer<'a, mqtt5::Result<AuthResult>> {
        let result = if self.rights.may_be_called(&connect.client_id) {
            AuthResult::success()
        } else {
            AuthResult::fail_with_reason(
                ReasonCode::ClientIdentifierNotValid,
                "the client id must be the name in the certificate",
            )
        };
        Box::pin(ready(Ok(result)))
    }

    fn authorize_publish<'a>(
        &'a self,
        _client_id: &str,
        _user: Option<&'a str>,
        topic: &'a str,
    ) -> Answer<'a, bool> {
        Box::pin(ready(self.rights.may_publish(topic)))
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _client_id: &str,
        _user: Option<&'a str>,
        filter: &'a str,
    ) -> Answer<'a, bool> {
        Box::pin(ready(self.rights.may_subscribe(filter)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn box_7() -> Rights {
        Rights::of("box-7", &["gateway".to_owned()]).unwrap()
    }

    #[test]
    fn an_agent_writes_up_and_reads_down_under_its_own_name_only() {
        for (topic, write, read) in [
            ("stockwire/v1/HAM/box-7/up/events", true, false),
            ("stockwire/v1/HAM/box-7/up/a/b", true, false),
            ("stockwire/v1/HAM/box-7/down/acks", false, true),
            ("stockwire/v1/HAM/box-7/down/#", false, true),
            ("stockwire/v1/+/box-7/down/+", false, true),
            ("stockwire/v1/HAM/box-7/up", false, false),
            ("stockwire/v1/HAM/box-7/down", false, false),
            ("stockwire/v1/HAM/box-77/up/events", false, false),
            ("stockwire/v1/HAM/box/up/events", false, false),
            ("stockwire/v1/HAM/+/down/acks", false, false),
            ("stockwire/v1/HAM/#", false, false),
            ("stockwire/v1/#", false, false),
            ("stockwire/v1//box-7/up/events", false, false),
            ("stockwire/v10/HAM/box-7/up/events", false, false),
            ("stockwire/v1/HAM/box-7/+/acks", false, false),
            ("$share/g/stockwire/v1/HAM/box-7/down/#", false, false),
            ("$SYS/#", false, false),
            ("#", false, false),
            ("", false, false),
        ] {
            assert_eq!(box_7().may_publish(topic), write, "write {topic}");
            assert_eq!(box_7().may_subscribe(topic), read, "read {topic}");
        }
    }

    #[test]
    fn names_that_are_no_agent_have_no_rights() {
        for name in ["+", "#", "a/b", "Box-7", "", "box 7"] {
            assert_eq!(Rights::of(name, &[]), None, "{name:?}");
        }
        let gateways = ["gateway.example.com".to_owned()];
        assert!(Rights::of("gateway.example.com", &gateways).unwrap().may_subscribe("#"));
    }

    #[test]
    fn nobody_connects_under_anothers_client_id() {
        for (client_id, may) in
            [("box-7", true), ("box-7:doctor", true), ("box-77", false), ("box-8", false), ("", false)]
        {
            assert_eq!(box_7().may_be_called(client_id), may, "{client_id:?}");
        }
    }
}
