//! One conversation with a vendor's system: what is asked, what came back, and what a failure means.
//!
//! A connector is pure. It builds a [`Request`], is handed the [`Answer`] and says what to do next
//! ([`Conversation`]); it never sends. [`Exchange`] takes a conversation through its requests and does, once for all
//! connectors, what is the same everywhere: retries by class, rate limits, logging in again, giving up. It is pure
//! too: the edge (`io/`) sends what [`Exchange::poll`] wants and hands back what came.
//!
//! The rule that everything rests on: a request that may have changed something and whose outcome nobody knows is
//! **never sent again from here**. It is handed to the conversation as [`Class::Unknown`], and that one finds out
//! by asking (DESIGN 3.8).

mod endpoint;
mod run;

use std::fmt;
use std::time::Duration;

use serde_json::Value;

pub use endpoint::{Endpoint, Health, Limits};
pub use run::{Exchange, Outbound, Want};

/// What every connector tells about its vendor's door.
pub trait Connector: Send + Sync {
    /// Everything that paths are relative to, without a slash at its end.
    fn base_url(&self) -> &str;

    /// Headers that prove who we are; `session` is what [`Connector::session`] found at the last login.
    fn authorize(&self, session: Option<&Secret>) -> Vec<(&'static str, Secret)>;

    /// The request that opens a session. `None`: the door knows us by a fixed key.
    fn login(&self) -> Option<Request> {
        None
    }

    /// What the answer to [`Connector::login`] gave.
    ///
    /// # Errors
    /// [`Class::Auth`] when we were refused.
    fn session(&self, _answer: &Answer) -> Result<Secret, Failure> {
        Err(Failure::new(Class::Setup, "this connector has no sessions"))
    }

    /// What went wrong, by an answer; `None` when nothing did.
    fn judge(&self, request: &Request, answer: &Answer) -> Option<Failure>;

    /// How fast and how large.
    fn limits(&self) -> Limits;
}

/// A talk of one or more requests, step by step. It holds everything it needs and touches nothing.
pub trait Conversation: Send {
    /// What it finds out or achieves.
    type Output;

    /// What to do now. `last` is the outcome of the request that the last step wanted sent; `None` at the start and
    /// after [`Step::Note`].
    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<Self::Output>;
}

/// What a conversation wants.
#[derive(Debug)]
pub enum Step<T> {
    /// Send this and come back with its outcome.
    Send(Request),
    /// Keep this (a document's id) durably, then come back.
    Note(String),
    /// Finished.
    Done(Result<T, Failure>),
}

/// What sending a request can do at the other side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing: send it as often as you like.
    Read,
    /// The same as sending it once, however often and however late it arrives.
    Idempotent,
    /// Something each time, or something that must not arrive late. Never sent again while its outcome is unknown.
    Once,
}

/// HTTP method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Reads.
    Get,
    /// Everything else that our vendors offer.
    Post,
}

/// A request as a value. It carries no credentials; those come from [`Connector::authorize`] when it is sent.
#[derive(Clone, PartialEq)]
pub struct Request {
    /// What it is for, in a few fixed words: label of traces and metrics.
    pub name: &'static str,
    /// How.
    pub method: Method,
    /// After [`Connector::base_url`]; begins with a slash, and needs no escaping.
    pub path: String,
    /// Query parameters, not yet escaped.
    pub query: Vec<(&'static str, String)>,
    /// Headers besides the usual ones and the credentials.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Option<Value>,
    /// What sending it can do.
    pub effect: Effect,
}

impl fmt::Debug for Request {
    /// Without the body: a login's holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} ({}, {:?})", self.method, self.path, self.name, self.effect)
    }
}

/// What came back, whatever it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it came, within [`Limits::answer_bytes_max`].
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name (given in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`Class::Unknown`]: half an answer says nothing about what was done.
    pub fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.body).map_err(|fault| {
            Failure::new(Class::Unknown, format!("the answer is no JSON ({fault}): {}", self.text()))
        })
    }

    /// The beginning of the body, fit for a message.
    pub fn text(&self) -> String {
        excerpt(&String::from_utf8_lossy(&self.body[..self.body.len().min(4 * EXCERPT_CHARS)]))
    }

    /// How long the vendor asks us to stay away: `Retry-After` in seconds. The other form, a date, would need a
    /// clock that agrees with the vendor's; it counts as none.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.header("retry-after")?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds.min(RETRY_AFTER_MAX.as_secs())))
    }
}

/// An hour: a vendor that asks for more is asked again after it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// Enough of a vendor's text to know what it is about.
const EXCERPT_CHARS: usize = 300;

/// The beginning of a text from outside, on one line: it goes into logs and dead letters.
pub fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(EXCERPT_CHARS).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

/// Why there is no answer. The one thing that matters is whether the request can have arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loss {
    /// It certainly did not: no connection was made.
    NotSent {
        /// For people.
        message: String,
    },
    /// It may have: a time-out, a connection lost, an answer cut off.
    NoAnswer {
        /// For people.
        message: String,
    },
    /// We did not try, and never shall: it is larger than [`Limits::request_bytes_max`] or no request at all.
    Unsendable {
        /// For people.
        message: String,
    },
}

/// What a failure means for what happens next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Nothing was done, and later it may go through.
    Transient,
    /// The vendor wants us to be slower.
    Rate {
        /// By its own word.
        after: Option<Duration>,
    },
    /// The other side stands differently than we thought: look again, then decide.
    Conflict,
    /// It does not know us (any more).
    Auth,
    /// We talk to the wrong door, or in a form it does not know: no message is at fault, a person must look.
    Setup,
    /// It refuses what the message says, and will again.
    Data,
    /// Nobody knows whether it was done.
    Unknown,
}

impl Class {
    /// One word, for metrics and the books.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Transient => "transient",
            Class::Rate { .. } => "rate",
            Class::Conflict => "conflict",
            Class::Auth => "auth",
            Class::Setup => "setup",
            Class::Data => "data",
            Class::Unknown => "unknown",
        }
    }
}

/// What went wrong in an exchange.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}: {message}", class.as_str())]
pub struct Failure {
    /// What it means.
    pub class: Class,
    /// For people; holds the vendor's own words.
    pub message: String,
}

impl Failure {
    /// A failure of a class.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }

    /// The usual meaning of an HTTP status that is no success. Connectors whose vendor means something else by it
    /// say so themselves first.
    pub fn of_status(answer: &Answer) -> Option<Self> {
        let class = match answer.status {
            200..=299 => return None,
            401 | 403 => Class::Auth,
            408 | 500..=599 => Class::Transient,
            409 | 412 => Class::Conflict,
            429 => Class::Rate { after: answer.retry_after() },
            // Redirects too: a request that followed one would arrive without its body.
            _ => Class::Setup,
        };
        Some(Self::new(class, format!("HTTP {}: {}", answer.status, answer.text())))
    }
}

/// A text that never stands in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Answer { status, headers, body: body.into() }
    }

    #[test]
    fn statuses_have_their_classes() {
        let check = |status, expected: Option<Class>| {
            let failure = Failure::of_status(&answer(status, &[], "why"));
            assert_eq!(failure.map(|failure| failure.class), expected, "{status}");
        };
        check(200, None);
        check(204, None);
        check(302, Some(Class::Setup));
        check(400, Some(Class::Setup));
        check(401, Some(Class::Auth));
        check(403, Some(Class::Auth));
        check(404, Some(Class::Setup));
        check(409, Some(Class::Conflict));
        check(429, Some(Class::Rate { after: None }));
        check(500, Some(Class::Transient));
        check(503, Some(Class::Transient));
    }

    #[test]
    fn retry_after_is_seconds_and_bounded() {
        let after = |value| answer(429, &[("retry-after", value)], "").retry_after();
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("99999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn nothing_secret_is_printed() {
        let request = Request {
            name: "login",
            method: Method::Post,
            path: "/login".into(),
            query: vec![],
            headers: vec![],
            body: Some(serde_json::json!({"password": "hunter2"})),
            effect: Effect::Idempotent,
        };
        let text = format!("{request:?} {:?}", Secret::new("hunter2"));
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn excerpts_are_one_short_line() {
        assert_eq!(excerpt("<p>no\n\n  such</p>\u{1b}[2J"), "<p>no such</p>[2J…");
        assert_eq!(excerpt(&"x".repeat(1000)).chars().count(), EXCERPT_CHARS + 1);
        assert_eq!(excerpt("short"), "short");
    }
}
