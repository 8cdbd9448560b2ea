//! Takes one conversation through its requests.

use std::mem;
use std::time::Duration;

use stockwire_protocol::backoff::Backoff;

use super::{Answer, Class, Connector, Conversation, Effect, Endpoint, Failure, Loss, Request, Secret, Step};

/// Attempts at one request, when trying again is safe: a lost packet or a restarting worker is over by then. What
/// lasts longer ends the exchange, and [`Endpoint::rest_until`] takes over.
const ATTEMPTS_MAX: u32 = 4;
/// Waits between them.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(2);
/// A vendor that wants a longer pause than this ends the exchange, so that other work is not held up by it.
const RATE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Before a conversation asks what became of a request of unknown outcome: the vendor may still be working on it, and
/// an answer given now would be about the moment before.
const SETTLE_WAIT: Duration = Duration::from_millis(500);

/// A conversation under way.
pub struct Exchange<T> {
    conversation: Box<dyn Conversation<Output = T>>,
    state: State,
}

/// What an exchange wants from the edge.
#[derive(Debug)]
pub enum Want<T> {
    /// Send this and hand in what came of it.
    Send(Outbound),
    /// Poll again at this time.
    Wait(Duration),
    /// A request is out; hand in its outcome first.
    Busy,
    /// Keep this durably, then poll again.
    Note(String),
    /// Finished. Polling again gives [`Want::Busy`] for ever.
    Done(Result<T, Failure>),
}

/// A request with what proves who we are.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// What to send.
    pub request: Request,
    /// Credentials, as headers.
    pub credentials: Vec<(&'static str, Secret)>,
}

enum State {
    /// The conversation is to be asked, not before this time.
    Ask {
        last: Option<Result<Answer, Failure>>,
        at: Duration,
    },
    /// A request waits for its turn.
    Ready {
        pending: Pending,
        at: Duration,
    },
    /// It is out.
    Sent {
        pending: Pending,
    },
    /// A login is out, and the request waits for it; its attempts are counted on the request.
    LoggingIn {
        pending: Pending,
        login: Request,
    },
    Ended,
}

struct Pending {
    request: Request,
    attempts: u32,
    backoff: Backoff,
    /// A new session was opened for it: a second refusal is final.
    logged_in: bool,
}

impl Pending {
    fn new(request: Request) -> Self {
        Self { request, attempts: 0, backoff: Backoff::new(RETRY_FIRST, RETRY_CAP), logged_in: false }
    }
}

/// What follows from an outcome.
enum Verdict {
    Deliver(Result<Answer, Failure>),
    Again { after: Duration },
    LogIn,
}

impl<T> Exchange<T> {
    /// Before the first step.
    pub fn new(conversation: Box<dyn Conversation<Output = T>>) -> Self {
        Self { conversation, state: State::Ask { last: None, at: Duration::ZERO } }
    }

    /// What to do now.
    pub fn poll(
        &mut self,
        now: Duration,
        connector: &dyn Connector,
        endpoint: &mut Endpoint,
        random: u64,
    ) -> Want<T> {
        loop {
            match mem::replace(&mut self.state, State::Ended) {
                State::Ask { last, at } if at > now => {
                    self.state = State::Ask { last, at };
                    return Want::Wait(at);
                }
                State::Ask { last, .. } => match self.conversation.next(last) {
                    Step::Send(request) => {
                        self.state = State::Ready { pending: Pending::new(request), at: now };
                    }
                    Step::Note(note) => {
                        self.state = State::Ask { last: None, at: now };
                        return Want::Note(note);
                    }
                    Step::Done(result) => {
                        endpoint.note_end(now, result.as_ref().err(), random);
                        return Want::Done(result);
                    }
                },
                State::Ready { pending, at } if at > now => {
                    self.state = State::Ready { pending, at };
                    return Want::Wait(at);
                }
                State::Ready { pending, .. } => {
                    if let Err(at) = endpoint.admit(now) {
                        self.state = State::Ready { pending, at };
                        return Want::Wait(at);
                    }
                    return Want::Send(self.send(pending, connector, endpoint));
                }
                waiting => {
                    self.state = waiting;
                    return Want::Busy;
                }
            }
        }
    }

    fn send(&mut self, mut pending: Pending, connector: &dyn Connector, endpoint: &Endpoint) -> Outbound {
        if endpoint.session().is_none()
            && let Some(request) = connector.login()
        {
            pending.logged_in = true;
            let outbound = Outbound { request: request.clone(), credentials: Vec::new() };
            self.state = State::LoggingIn { pending, login: request };
            return outbound;
        }
        let credentials = connector.authorize(endpoint.session());
        let outbound = Outbound { request: pending.request.clone(), credentials };
        self.state = State::Sent { pending };
        outbound
    }

    /// What came of the request that [`Exchange::poll`] wanted sent.
    pub fn handle_outcome(
        &mut self,
        now: Duration,
        outcome: Result<Answer, Loss>,
        connector: &dyn Connector,
        endpoint: &mut Endpoint,
        random: u64,
    ) {
        self.state = match mem::replace(&mut self.state, State::Ended) {
            State::Sent { mut pending } => {
                let judged =
                    judge(&pending.request, outcome, |answer| connector.judge(&pending.request, answer));
                match verdict(&mut pending, judged, random) {
                    Verdict::Again { after } => State::Ready { pending, at: now + after },
                    Verdict::LogIn if connector.login().is_some() && !pending.logged_in => {
                        endpoint.set_session(None);
                        State::Ready { pending, at: now }
                    }
                    Verdict::LogIn => {
                        endpoint.set_session(None);
                        let failure =
                            Failure::new(Class::Auth, format!("{} was refused", pending.request.name));
                        State::Ask { last: Some(Err(failure)), at: now }
                    }
                    Verdict::Deliver(result) => {
                        let unknown = matches!(&result, Err(failure) if failure.class == Class::Unknown);
                        let at = if unknown { now + SETTLE_WAIT } else { now };
                        State::Ask { last: Some(result), at }
                    }
                }
            }
            State::LoggingIn { mut pending, login } => {
                let mut session = None;
                let judged = judge(&login, outcome, |answer| {
                    match Failure::of_status(answer).map_or_else(|| connector.session(answer), Err) {
                        Ok(opened) => {
                            session = Some(opened);
                            None
                        }
                        Err(failure) => Some(failure),
                    }
                });
                match verdict(&mut pending, judged, random) {
                    Verdict::Again { after } => State::Ready { pending, at: now + after },
                    Verdict::Deliver(Ok(_)) => {
                        endpoint.set_session(session);
                        State::Ready { pending: Pending { attempts: 0, ..pending }, at: now }
                    }
                    Verdict::LogIn => {
                        let failure =
                            Failure::new(Class::Auth, "the login was refused: check user and password");
                        State::Ask { last: Some(Err(failure)), at: now }
                    }
                    // Of the request itself nothing was sent.
                    Verdict::Deliver(Err(failure)) => {
                        let class =
                            if failure.class == Class::Unknown { Class::Transient } else { failure.class };
                        let message = format!("logging in: {}", failure.message);
                        State::Ask { last: Some(Err(Failure { class, message })), at: now }
                    }
                }
            }
            // Nothing is out: an outcome of nothing changes nothing.
            other => other,
        };
    }
}

/// Puts what came, or did not, into a class, seen from what the request can have done.
fn judge(
    request: &Request,
    outcome: Result<Answer, Loss>,
    judge: impl FnOnce(&Answer) -> Option<Failure>,
) -> Result<Answer, Failure> {
    let named = |message: String| format!("{}: {message}", request.name);
    match outcome {
        Err(Loss::NotSent { message }) => Err(Failure::new(Class::Transient, named(message))),
        Err(Loss::Unsendable { message }) => Err(Failure::new(Class::Setup, named(message))),
        Err(Loss::NoAnswer { message }) => Err(Failure::new(unknown(request), named(message))),
        Ok(answer) => match judge(&answer) {
            None => Ok(answer),
            Some(Failure { class: Class::Transient | Class::Unknown, message }) => {
                // A server that fails with a 500 may have committed before.
                Err(Failure::new(unknown(request), named(message)))
            }
            Some(Failure { class, message }) => Err(Failure::new(class, named(message))),
        },
    }
}

/// What an unknown outcome is for this request.
fn unknown(request: &Request) -> Class {
    match request.effect {
        Effect::Read | Effect::Idempotent => Class::Transient,
        Effect::Once => Class::Unknown,
    }
}

/// Decides by class. Nothing of class `Unknown` is ever sent again here.
fn verdict(pending: &mut Pending, judged: Result<Answer, Failure>, random: u64) -> Verdict {
    pending.attempts += 1;
    let failure = match judged {
        Ok(answer) => return Verdict::Deliver(Ok(answer)),
        Err(failure) => failure,
    };
    match failure.class {
        Class::Transient if pending.attempts < ATTEMPTS_MAX => {
            Verdict::Again { after: pending.backoff.next_delay(random) }
        }
        Class::Rate { after } if pending.attempts < ATTEMPTS_MAX => {
            // Refused before it was looked at, so sending it again is safe whatever it does.
            let after = after.unwrap_or_default().max(pending.backoff.next_delay(random));
            if after > RATE_WAIT_MAX { Verdict::Deliver(Err(failure)) } else { Verdict::Again { after } }
        }
        Class::Auth => Verdict::LogIn,
        _ => Verdict::Deliver(Err(failure)),
    }
}

#[cfg(test)]
mod tests;
