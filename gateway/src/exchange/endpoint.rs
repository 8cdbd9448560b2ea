//! What lasts between the exchanges with one vendor: rate limit, session, and whether it is well.

use std::time::Duration;

use stockwire_protocol::backoff::Backoff;

use super::{Class, Failure, Secret};

/// How fast, how long and how large, for one vendor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Requests a second in the long run.
    pub requests_per_s: u32,
    /// Requests that may go at once after a pause.
    pub burst: u32,
    /// For name, connection and TLS together.
    pub connect_wait: Duration,
    /// From the first byte sent to the last received. Beyond the longest time that the vendor works on a request:
    /// giving up earlier makes unknown outcomes, not speed.
    pub answer_wait: Duration,
    /// Largest body that we send.
    pub request_bytes_max: usize,
    /// Largest body that we read.
    pub answer_bytes_max: usize,
}

/// Whether a vendor is well, as far as we can tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// The last exchange came to its end, be it a refusal.
    Well,
    /// The last few did not; each next one waits longer, up to [`REST_CAP`].
    Failing {
        /// Exchanges in a row.
        times: u32,
        /// The last failure.
        failure: Failure,
    },
}

impl Health {
    /// From here on it is an incident and no hiccup: said once in the log, and the console shows it.
    pub const UNHEALTHY_AFTER: u32 = 3;

    /// Whether a person should know.
    pub fn is_unhealthy(&self) -> bool {
        match self {
            Health::Well => false,
            Health::Failing { times, failure } => {
                *times >= Self::UNHEALTHY_AFTER || matches!(failure.class, Class::Auth | Class::Setup)
            }
        }
    }
}

/// First rest after a failed exchange, and the longest: a vendor that restarts is found again within a minute, and
/// one that is down for a night costs some hundred requests.
const REST_FIRST: Duration = Duration::from_millis(250);
const REST_CAP: Duration = Duration::from_secs(60);
/// A person has to act first; asking often only fills the vendor's log and may lock our account.
const REST_PERSON: Duration = Duration::from_secs(30);

/// The standing side of one vendor's door.
#[derive(Clone, Debug)]
pub struct Endpoint {
    limits: Limits,
    /// Thousandths of requests that may go now, as of `filled_at`.
    permits_milli: u64,
    filled_at: Duration,
    session: Option<Secret>,
    backoff: Backoff,
    rest_until: Duration,
    health: Health,
    /// Requests handed out, for metrics.
    requests: u64,
    /// Exchanges that came to an end.
    exchanges: u64,
}

impl Endpoint {
    /// A door that has not been used yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            permits_milli: u64::from(limits.burst.max(1)) * 1_000,
            filled_at: Duration::ZERO,
            session: None,
            backoff: Backoff::new(REST_FIRST, REST_CAP),
            rest_until: Duration::ZERO,
            health: Health::Well,
            requests: 0,
            exchanges: 0,
        }
    }

    /// Takes the right to send one request, or says when to ask again.
    pub(super) fn admit(&mut self, now: Duration) -> Result<(), Duration> {
        const REQUEST_MILLI: u64 = 1_000;
        let rate = u64::from(self.limits.requests_per_s.max(1));
        let passed_ms = u64::try_from(now.saturating_sub(self.filled_at).as_millis()).unwrap_or(u64::MAX);
        let cap = u64::from(self.limits.burst.max(1)) * REQUEST_MILLI;
        // A thousandth of a request per millisecond is one request a second.
        self.permits_milli = self.permits_milli.saturating_add(passed_ms.saturating_mul(rate)).min(cap);
        self.filled_at = self.filled_at.saturating_add(Duration::from_millis(passed_ms));
        if self.permits_milli >= REQUEST_MILLI {
            self.permits_milli -= REQUEST_MILLI;
            self.requests += 1;
            return Ok(());
        }
        let missing = REQUEST_MILLI - self.permits_milli;
        Err(self.filled_at + Duration::from_millis(missing.div_ceil(rate)))
    }

    /// An exchange has ended: remembers how the vendor is, and how long to leave it alone.
    pub(super) fn note_end(&mut self, now: Duration, failure: Option<&Failure>, random: u64) {
        self.exchanges += 1;
        // A refusal of what we said is an answer of a vendor that is well.
        let Some(failure) = failure.filter(|failure| !matches!(failure.class, Class::Data)) else {
            self.backoff.reset();
            self.rest_until = now;
            self.health = Health::Well;
            return;
        };
        let delay = self.backoff.next_delay(random);
        let delay = match failure.class {
            Class::Rate { after } => delay.max(after.unwrap_or_default()),
            Class::Auth | Class::Setup => delay.max(REST_PERSON),
            _ => delay,
        };
        self.rest_until = now.saturating_add(delay);
        let times = match self.health {
            Health::Well => 1,
            Health::Failing { times, .. } => times.saturating_add(1),
        };
        self.health = Health::Failing { times, failure: failure.clone() };
    }

    /// No new exchange before this time.
    pub fn rest_until(&self) -> Duration {
        self.rest_until
    }

    /// Ends the rest: somebody has repaired something and does not want to wait.
    pub fn wake(&mut self, now: Duration) {
        self.rest_until = now;
    }

    /// How it is.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Requests and exchanges so far.
    pub fn counts(&self) -> (u64, u64) {
        (self.requests, self.exchanges)
    }

    pub(super) fn session(&self) -> Option<&Secret> {
        self.session.as_ref()
    }

    pub(super) fn set_session(&mut self, session: Option<Secret>) {
        self.session = session;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests_per_s: u32, burst: u32) -> Limits {
        Limits {
            requests_per_s,
            burst,
            connect_wait: Duration::from_secs(1),
            answer_wait: Duration::from_secs(1),
            request_bytes_max: 1,
            answer_bytes_max: 1,
        }
    }

    #[test]
    fn the_bucket_gives_its_burst_and_then_the_rate() {
        let mut endpoint = Endpoint::new(limits(10, 3));
        let mut now = Duration::ZERO;
        let mut sent_at_ms = Vec::new();
        while sent_at_ms.len() < 8 {
            match endpoint.admit(now) {
                Ok(()) => sent_at_ms.push(now.as_millis()),
                Err(at) => {
                    assert!(at > now, "a wait that does not pass");
                    now = at;
                }
            }
        }
        assert_eq!(sent_at_ms, [0, 0, 0, 100, 200, 300, 400, 500]);
        // A long pause fills it no further than the burst.
        now += Duration::from_secs(3600);
        for _ in 0..3 {
            assert_eq!(endpoint.admit(now), Ok(()));
        }
        assert_eq!(endpoint.admit(now), Err(now + Duration::from_millis(100)));
    }

    #[test]
    fn failures_lengthen_the_rest_and_success_ends_it() {
        let mut endpoint = Endpoint::new(limits(10, 3));
        let now = Duration::from_secs(100);
        let transient = Failure::new(Class::Transient, "down");
        for times in 1..=20 {
            endpoint.note_end(now, Some(&transient), 59_999);
            assert!(endpoint.rest_until() > now);
            assert!(endpoint.rest_until() <= now + REST_CAP);
            assert_eq!(endpoint.health().is_unhealthy(), times >= Health::UNHEALTHY_AFTER);
        }
        assert_eq!(endpoint.rest_until(), now + REST_CAP, "tried slowly by then");
        endpoint.note_end(now, Some(&Failure::new(Class::Data, "no such item")), 0);
        assert_eq!((endpoint.rest_until(), endpoint.health()), (now, &Health::Well));
        let rate = Failure::new(Class::Rate { after: Some(Duration::from_secs(7)) }, "slow down");
        endpoint.note_end(now, Some(&rate), 0);
        assert_eq!(endpoint.rest_until(), now + Duration::from_secs(7));
        endpoint.note_end(now, Some(&Failure::new(Class::Auth, "who?")), 0);
        assert_eq!(endpoint.rest_until(), now + REST_PERSON);
        assert!(endpoint.health().is_unhealthy());
        endpoint.note_end(now, None, 0);
        assert!(!endpoint.health().is_unhealthy());
    }
}
