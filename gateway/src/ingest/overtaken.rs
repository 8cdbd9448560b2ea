//! Batches that came before what stands in front of them, because that went to another gateway.
//!
//! Gateways of one group share an agent's messages, and so a batch is often here while the one before it is being
//! written there. Told of a gap, the agent would go back and send everything again, to be shared out in the same way. So
//! the batch waits a moment, together with its right to be acknowledged, and is taken in again behind whatever comes
//! next. What is missing for longer is a gap.

use std::time::Duration;

use stockwire_protocol::{Ack, AgentId, Epoch, Refusal, Sequence, SiteId};

/// How long a batch waits for the one before it while nothing of its stream is written anywhere: many times what another
/// gateway needs for a group, even behind another on a busy machine, and far below the time after which an agent sends
/// again by itself.
pub const OVERTAKEN_WAIT: Duration = Duration::from_secs(3);
/// How soon it is looked at again when nothing else comes: about what a group takes. Each look is a transaction.
pub const OVERTAKEN_AGAIN: Duration = Duration::from_millis(50);
/// Messages that wait, at most: a window of four batches for each of some dozen agents at once. What comes on top of
/// them is told of its gap.
pub const OVERTAKEN_MAX: usize = 64;

/// Which events a message carries, as far as that matters here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// Whose.
    pub stream: (SiteId, AgentId, Epoch),
    /// The last of them.
    pub last: Sequence,
}

/// Messages that wait for the ones before them. Times are monotonic.
#[derive(Debug)]
pub struct Overtaken<T> {
    waiting: Vec<T>,
    /// Streams of those, each with the watermark at the last look and since when that is so.
    streams: Vec<((SiteId, AgentId, Epoch), Sequence, Duration)>,
    again_at: Duration,
}

impl<T> Default for Overtaken<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), streams: Vec::new(), again_at: Duration::ZERO }
    }
}

impl<T> Overtaken<T> {
    /// When [`Overtaken::take`] has something; `None` = nothing waits.
    pub fn again_at(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then_some(self.again_at)
    }

    /// Everything that waits, to be taken in behind what has arrived and handed to [`Overtaken::sort`] with it.
    pub fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.waiting)
    }

    /// Sorts a group that was taken in: keeps what lies above a gap, unless its stream has stood still for long, and takes
    /// the word of that gap out of `acks`. Returns what is done with, in its order.
    pub fn sort(
        &mut self,
        now: Duration,
        group: Vec<T>,
        span: impl Fn(&T) -> Option<Span>,
        acks: &mut Vec<(SiteId, AgentId, Ack)>,
    ) -> Vec<T> {
        let before = std::mem::take(&mut self.streams);
        for (site, agent, ack) in acks.iter().filter(|(_, _, ack)| ack.refusal == Some(Refusal::Gap)) {
            let stream = (site.clone(), agent.clone(), ack.epoch);
            // Whoever is writing what is missing is given all the time that it takes.
            let known =
                before.iter().find(|(known, watermark, _)| *known == stream && *watermark >= ack.watermark);
            let since = known.map_or(now, |(_, _, since)| *since);
            if now.saturating_sub(since) < OVERTAKEN_WAIT {
                self.streams.push((stream, ack.watermark, since));
            }
        }
        if self.streams.is_empty() {
            return group;
        }
        let (mut done, mut written) = (Vec::new(), Vec::new());
        for message in group {
            let span = span(&message);
            let stream = span.and_then(|span| {
                let known = self.streams.iter().position(|(stream, _, _)| *stream == span.stream)?;
                Some((known, span.last > self.streams[known].1))
            });
            match stream {
                Some((_, true)) if self.waiting.len() < OVERTAKEN_MAX => self.waiting.push(message),
                Some((_, true)) => done.push(message),
                Some((known, false)) => {
                    written.push(self.streams[known].0.clone());
                    done.push(message);
                }
                None => done.push(message),
            }
        }
        let full = self.waiting.len() == OVERTAKEN_MAX;
        acks.retain_mut(|(site, agent, ack)| {
            let own = |(own_site, own_agent, epoch): &(SiteId, AgentId, Epoch)| {
                own_site == site && own_agent == agent && *epoch == ack.epoch
            };
            if full
                || ack.refusal != Some(Refusal::Gap)
                || !self.streams.iter().any(|(stream, _, _)| own(stream))
            {
                return true;
            }
            // What was written is acknowledged, and nothing said of the rest.
            ack.refusal = None;
            written.iter().any(own)
        });
        self.again_at = now + OVERTAKEN_AGAIN;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::{agent, epoch, site};
    use stockwire_protocol::Digest;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn acks(list: &[Word<'_>]) -> Vec<(SiteId, AgentId, Ack)> {
        let ack = |(name, watermark, refusal): &Word<'_>| {
            let (watermark, digest) = (Sequence::new(*watermark), Digest::from_bits(0));
            (site("HAM"), agent(name), Ack { epoch: epoch(1), watermark, digest, refusal: *refusal })
        };
        list.iter().map(ack).collect()
    }

    /// Agent, watermark and refusal of an acknowledgement.
    type Word<'a> = (&'a str, u64, Option<Refusal>);

    const GAP: Option<Refusal> = Some(Refusal::Gap);

    /// Messages are called by their agent and their last event: `box-1/5`.
    #[track_caller]
    fn check(
        overtaken: &mut Overtaken<&'static str>,
        now: u64,
        group: &[&'static str],
        told: &[Word<'_>],
        expected: (&[&str], &[Word<'_>], &[&str]),
    ) {
        let mut group = group.to_vec();
        group.extend(overtaken.take());
        let span = |message: &&str| {
            let (name, last) = message.split_once('/')?;
            Some(Span {
                stream: (site("HAM"), agent(name), epoch(1)),
                last: Sequence::new(last.parse().ok()?),
            })
        };
        let mut told = acks(told);
        let done = overtaken.sort(ms(now), group, span, &mut told);
        assert_eq!(
            (done.as_slice(), told, overtaken.waiting.as_slice()),
            (expected.0, acks(expected.1), expected.2)
        );
        assert_eq!(overtaken.again_at(), (!expected.2.is_empty()).then_some(ms(now) + OVERTAKEN_AGAIN));
    }

    #[test]
    fn what_overtook_waits_and_nobody_else_does() {
        let overtaken = &mut Overtaken::default();
        let told = [("box-1", 4, GAP), ("box-2", 1, None)];
        check(
            overtaken,
            10,
            &["box-1/6", "box-2/1", "state"],
            &told,
            (&["box-2/1", "state"], &[("box-2", 1, None)], &["box-1/6"]),
        );
        // The missing one comes, and one with another hole behind it.
        let told = [("box-1", 6, GAP)];
        check(
            overtaken,
            15,
            &["box-1/5", "box-1/9"],
            &told,
            (&["box-1/5", "box-1/6"], &[("box-1", 6, None)], &["box-1/9"]),
        );
        check(overtaken, 20, &[], &[("box-1", 9, None)], (&["box-1/9"], &[("box-1", 9, None)], &[]));
    }

    #[test]
    fn a_stream_that_stands_still_has_a_gap() {
        let overtaken = &mut Overtaken::default();
        check(overtaken, 0, &["box-1/9"], &[("box-1", 4, GAP)], (&[], &[], &["box-1/9"]));
        check(overtaken, 2_900, &[], &[("box-1", 4, GAP)], (&[], &[], &["box-1/9"]));
        // Another gateway has written something.
        check(overtaken, 3_100, &["box-1/10"], &[("box-1", 5, GAP)], (&[], &[], &["box-1/10", "box-1/9"]));
        check(overtaken, 6_000, &[], &[("box-1", 5, GAP)], (&[], &[], &["box-1/10", "box-1/9"]));
        let told = [("box-1", 5, GAP)];
        check(overtaken, 6_100, &[], &told, (&["box-1/10", "box-1/9"], &told, &[]));
        // The next one is given time anew.
        check(overtaken, 6_200, &["box-1/9"], &told, (&[], &[], &["box-1/9"]));
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let overtaken = &mut Overtaken::default();
        let told = [("box-1", 4, GAP)];
        let group = ["box-1/9"; OVERTAKEN_MAX + 1];
        check(overtaken, 0, &group, &told, (&["box-1/9"], &told, &group[1..]));
    }

    #[test]
    fn other_refusals_are_told_at_once() {
        let overtaken = &mut Overtaken::default();
        let told = [("box-1", 4, Some(Refusal::Conflict)), ("box-2", 0, GAP)];
        check(
            overtaken,
            0,
            &["box-1/6", "box-2/1"],
            &told,
            (&["box-1/6"], &[("box-1", 4, Some(Refusal::Conflict))], &["box-2/1"]),
        );
    }
}
