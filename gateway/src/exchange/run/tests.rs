use super::super::{Limits, Method};
use super::*;

/// A door with or without sessions; what it does is said by the answers.
struct Door {
    sessions: bool,
}

impl Connector for Door {
    fn base_url(&self) -> &str {
        "http://vendor.invalid"
    }
    fn authorize(&self, session: Option<&Secret>) -> Vec<(&'static str, Secret)> {
        session.cloned().map(|session| ("authorization", session)).into_iter().collect()
    }
    fn login(&self) -> Option<Request> {
        self.sessions.then(|| request("login", Effect::Idempotent))
    }
    fn session(&self, answer: &Answer) -> Result<Secret, Failure> {
        match answer.text().as_str() {
            "bad password" => Err(Failure::new(Class::Auth, "bad password")),
            token => Ok(Secret::new(token)),
        }
    }
    fn judge(&self, _request: &Request, answer: &Answer) -> Option<Failure> {
        Failure::of_status(answer)
    }
    fn limits(&self) -> Limits {
        Limits {
            requests_per_s: 1_000,
            burst: 1_000,
            connect_wait: Duration::from_secs(1),
            answer_wait: Duration::from_secs(1),
            request_bytes_max: 1_000,
            answer_bytes_max: 1_000,
        }
    }
}

fn request(name: &'static str, effect: Effect) -> Request {
    Request {
        name,
        method: Method::Post,
        path: "/".into(),
        query: vec![],
        headers: vec![],
        body: None,
        effect,
    }
}

/// Sends one request and ends with its outcome.
struct One(Effect);

impl Conversation for One {
    type Output = u16;
    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<u16> {
        match last {
            None => Step::Send(request("one", self.0)),
            Some(outcome) => Step::Done(outcome.map(|answer| answer.status)),
        }
    }
}

fn ok(status: u16, body: &str) -> Result<Answer, Loss> {
    Ok(Answer { status, headers: vec![], body: body.into() })
}

fn no_answer() -> Result<Answer, Loss> {
    Err(Loss::NoAnswer { message: "timed out".into() })
}

fn not_sent() -> Result<Answer, Loss> {
    Err(Loss::NotSent { message: "connection refused".into() })
}

/// Runs one request against a script of outcomes; returns what was sent and how it ended.
fn check(
    effect: Effect,
    sessions: bool,
    script: Vec<Result<Answer, Loss>>,
    sent: &[&str],
    expected: Result<u16, Class>,
) {
    let door = Door { sessions };
    let mut endpoint = Endpoint::new(door.limits());
    let mut exchange = Exchange::new(Box::new(One(effect)));
    let mut now = Duration::ZERO;
    let mut script = script.into_iter();
    let mut seen = Vec::new();
    let result = loop {
        match exchange.poll(now, &door, &mut endpoint, 7) {
            Want::Send(outbound) => {
                let session = outbound.credentials.first().map_or("", |(_, secret)| secret.reveal());
                seen.push(format!("{} {session}", outbound.request.name).trim().to_owned());
                assert!(matches!(exchange.poll(now, &door, &mut endpoint, 7), Want::Busy));
                let outcome = script.next().expect("more requests than the script has outcomes");
                exchange.handle_outcome(now, outcome, &door, &mut endpoint, 7);
            }
            Want::Wait(at) => {
                assert!(at > now);
                now = at;
            }
            Want::Done(result) => break result,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(seen, sent);
    assert_eq!(result.map_err(|failure| failure.class), expected);
    assert_eq!(script.count(), 0, "not all outcomes were used");
}

#[test]
fn reads_are_tried_again_and_then_given_up() {
    use Effect::Read;
    check(Read, false, vec![ok(200, "")], &["one"], Ok(200));
    check(Read, false, vec![not_sent(), no_answer(), ok(503, ""), ok(200, "")], &["one"; 4], Ok(200));
    check(
        Read,
        false,
        vec![no_answer(), no_answer(), no_answer(), no_answer()],
        &["one"; 4],
        Err(Class::Transient),
    );
    check(Read, false, vec![ok(404, "")], &["one"], Err(Class::Setup));
}

#[test]
fn an_unknown_outcome_is_never_sent_again() {
    use Effect::Once;
    check(Once, false, vec![no_answer()], &["one"], Err(Class::Unknown));
    check(Once, false, vec![ok(500, "")], &["one"], Err(Class::Unknown));
    check(Once, false, vec![ok(504, "")], &["one"], Err(Class::Unknown));
    check(Once, false, vec![not_sent(), no_answer()], &["one"; 2], Err(Class::Unknown));
}

#[test]
fn what_certainly_was_not_done_is_tried_again() {
    use Effect::Once;
    check(Once, false, vec![not_sent(), not_sent(), ok(200, "")], &["one"; 3], Ok(200));
    check(Once, false, vec![ok(429, ""), ok(200, "")], &["one"; 2], Ok(200));
    check(
        Once,
        false,
        vec![not_sent(), not_sent(), not_sent(), not_sent()],
        &["one"; 4],
        Err(Class::Transient),
    );
}

#[test]
fn a_long_pause_ends_the_exchange_and_the_door_rests() {
    let door = Door { sessions: false };
    let mut endpoint = Endpoint::new(door.limits());
    let mut exchange = Exchange::new(Box::new(One(Effect::Once)));
    let now = Duration::from_secs(1);
    assert!(matches!(exchange.poll(now, &door, &mut endpoint, 7), Want::Send(_)));
    let slow = Answer { status: 429, headers: vec![("retry-after".into(), "60".into())], body: vec![] };
    exchange.handle_outcome(now, Ok(slow), &door, &mut endpoint, 7);
    let Want::Done(Err(failure)) = exchange.poll(now, &door, &mut endpoint, 7) else { panic!("not ended") };
    assert_eq!(failure.class, Class::Rate { after: Some(Duration::from_secs(60)) });
    assert_eq!(endpoint.rest_until(), now + Duration::from_secs(60));
}

#[test]
fn sessions_are_opened_renewed_once_and_then_refused() {
    use Effect::Once;
    let (login, one) = ("login", "one t1");
    check(Once, true, vec![ok(200, "t1"), ok(200, "")], &[login, one], Ok(200));
    // A login that is lost is tried again: the request itself was never sent.
    check(Once, true, vec![no_answer(), ok(200, "t1"), ok(200, "")], &[login, login, one], Ok(200));
    check(Once, true, vec![no_answer(); 4], &[login; 4], Err(Class::Transient));
    check(Once, true, vec![ok(200, "bad password")], &[login], Err(Class::Auth));
    // A fresh session that is refused at once is no expired session.
    check(Once, true, vec![ok(200, "t1"), ok(403, "")], &[login, one], Err(Class::Auth));
    check(Once, false, vec![ok(401, "")], &["one"], Err(Class::Auth));
}

#[test]
fn an_expired_session_is_renewed_in_between() {
    let door = Door { sessions: true };
    let mut endpoint = Endpoint::new(door.limits());
    endpoint.set_session(Some(Secret::new("old")));
    let mut exchange = Exchange::new(Box::new(One(Effect::Once)));
    let now = Duration::ZERO;
    let mut seen = Vec::new();
    for outcome in [ok(403, ""), ok(200, "new"), ok(200, "")] {
        let Want::Send(outbound) = exchange.poll(now, &door, &mut endpoint, 7) else {
            panic!("nothing to send")
        };
        seen.push((
            outbound.request.name,
            outbound.credentials.first().map(|(_, secret)| secret.reveal().to_owned()),
        ));
        exchange.handle_outcome(now, outcome, &door, &mut endpoint, 7);
    }
    assert_eq!(seen, [("one", Some("old".into())), ("login", None), ("one", Some("new".into()))]);
    assert!(matches!(exchange.poll(now, &door, &mut endpoint, 7), Want::Done(Ok(200))));
}

#[test]
fn an_outcome_of_nothing_changes_nothing() {
    let door = Door { sessions: false };
    let mut endpoint = Endpoint::new(door.limits());
    let mut exchange = Exchange::new(Box::new(One(Effect::Once)));
    exchange.handle_outcome(Duration::ZERO, no_answer(), &door, &mut endpoint, 7);
    assert!(matches!(exchange.poll(Duration::ZERO, &door, &mut endpoint, 7), Want::Send(_)));
}
