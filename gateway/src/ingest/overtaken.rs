//! Batches that came before what stands in front of them, because that went to another gateway.
//!
//! Gateways of one group share an agent's messages, and so a batch is often here while the one before it is being
//! written there. Told of a gap, the agent would go back and send everything again, to be shared out in the same way. So
//! the batch waits a moment, together with its right to be acknowledged, and is taken in again behind whatever comes
//! next. What is missing for longer is a gap.

use std::time::Duration;

use stockwire_protocol::{Ack, AgentId, Refusal, SiteId};

/// How long a batch waits for the one before it: many times what another gateway needs for a group, and far below the
/// time after which an agent sends again by itself.
pub const OVERTAKEN_WAIT: Duration = Duration::from_secs(1);
/// How soon it is looked at again when nothing else comes: about what a group takes.
pub const OVERTAKEN_AGAIN: Duration = Duration::from_millis(20);
/// Messages that wait, at most: a window of four batches for each of some dozen agents at once. What comes on top of
/// them is told of its gap.
pub const OVERTAKEN_MAX: usize = 64;

/// Messages that wait for the ones before them. Times are monotonic.
#[derive(Debug)]
pub struct Overtaken<T> {
    waiting: Vec<(Duration, T)>,
    again_at: Duration,
}

impl<T> Default for Overtaken<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), again_at: Duration::ZERO }
    }
}

impl<T> Overtaken<T> {
    /// When [`Overtaken::take`] has something; `None` = nothing waits.
    pub fn again_at(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then_some(self.again_at)
    }

    /// Everything that waits, each with the time at which it came, to be taken in behind what has arrived.
    pub fn take(&mut self) -> Vec<(Duration, T)> {
        std::mem::take(&mut self.waiting)
    }

    /// Sorts a group that was taken in: keeps the messages of agents that were found to have a gap, unless they have
    /// waited long enough, and takes the word of the gap out of `acks`. Returns what is done with, in its order.
    pub fn sort(
        &mut self,
        now: Duration,
        group: Vec<(Duration, T)>,
        agent: impl Fn(&T) -> Option<(SiteId, AgentId)>,
        acks: &mut Vec<(SiteId, AgentId, Ack)>,
    ) -> Vec<T> {
        let gap = |ack: &Ack| ack.refusal == Some(Refusal::Gap);
        let mut patient: Vec<(SiteId, AgentId)> = Vec::new();
        let mut room = OVERTAKEN_MAX.saturating_sub(self.waiting.len());
        for (site, name, _) in acks.iter().filter(|(_, _, ack)| gap(ack)) {
            let key = (site.clone(), name.clone());
            let own = group.iter().filter(|(_, message)| agent(message).as_ref() == Some(&key));
            let (count, since) = own.fold((0, now), |(count, since), (at, _)| (count + 1, since.min(*at)));
            if !patient.contains(&key)
                && now.saturating_sub(since) < OVERTAKEN_WAIT
                && (1..=room).contains(&count)
            {
                room -= count;
                patient.push(key);
            }
        }
        if patient.is_empty() {
            return group.into_iter().map(|(_, message)| message).collect();
        }
        self.again_at = now + OVERTAKEN_AGAIN;
        acks.retain(|(site, name, ack)| {
            !gap(ack) || !patient.iter().any(|own| own.0 == *site && own.1 == *name)
        });
        let mut done = Vec::new();
        for (at, message) in group {
            match agent(&message) {
                Some(own) if patient.contains(&own) => self.waiting.push((at, message)),
                _ => done.push(message),
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::{agent, epoch, site};
    use stockwire_protocol::{Digest, Sequence};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn acks(list: &[(&str, Option<Refusal>)]) -> Vec<(SiteId, AgentId, Ack)> {
        let ack = |(name, refusal): &(&str, Option<Refusal>)| {
            let ack = Ack {
                epoch: epoch(1),
                watermark: Sequence::new(4),
                digest: Digest::from_bits(0),
                refusal: *refusal,
            };
            (site("HAM"), agent(name), ack)
        };
        list.iter().map(ack).collect()
    }

    /// Messages are called by their agent and a number: `box-1/5`.
    fn sort(
        overtaken: &mut Overtaken<String>,
        now: u64,
        group: Vec<(Duration, String)>,
        acks: &mut Vec<(SiteId, AgentId, Ack)>,
    ) -> Vec<String> {
        let of = |message: &String| Some((site("HAM"), agent(message.split('/').next()?)));
        overtaken.sort(ms(now), group, of, acks)
    }

    fn arrived(now: u64, names: &[&str]) -> Vec<(Duration, String)> {
        names.iter().map(|name| (ms(now), (*name).to_owned())).collect()
    }

    #[test]
    fn a_gap_waits_for_what_is_missing_and_nobody_else_does() {
        let mut overtaken = Overtaken::default();
        let mut told = acks(&[("box-1", Some(Refusal::Gap)), ("box-2", None)]);
        let done = sort(&mut overtaken, 10, arrived(10, &["box-1/6", "box-2/1", "box-1/7"]), &mut told);
        assert_eq!((done, told), (vec!["box-2/1".to_owned()], acks(&[("box-2", None)])));
        assert_eq!(overtaken.again_at(), Some(ms(10) + OVERTAKEN_AGAIN));
        // The missing one comes; everything is taken in behind it.
        let mut group = arrived(15, &["box-1/5"]);
        group.extend(overtaken.take());
        let mut told = acks(&[("box-1", None)]);
        let done = sort(&mut overtaken, 15, group, &mut told);
        assert_eq!((done.len(), told.len(), overtaken.again_at()), (3, 1, None));
    }

    #[test]
    fn what_is_missing_for_long_is_a_gap() {
        let mut overtaken = Overtaken::default();
        let mut now = 0;
        let mut group = arrived(now, &["box-1/6"]);
        let told = loop {
            let mut told = acks(&[("box-1", Some(Refusal::Gap))]);
            // Others of the same agent come meanwhile; the oldest decides.
            group.extend(arrived(now, &["box-1/7"]).into_iter().filter(|_| now == 500));
            if !sort(&mut overtaken, now, group, &mut told).is_empty() {
                break told;
            }
            now += 100;
            group = overtaken.take();
        };
        assert_eq!((ms(now), told), (OVERTAKEN_WAIT, acks(&[("box-1", Some(Refusal::Gap))])));
        assert_eq!(overtaken.again_at(), None);
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut overtaken = Overtaken::default();
        let names: Vec<String> = (0..=OVERTAKEN_MAX).map(|n| format!("box-1/{n}")).collect();
        let group = arrived(0, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut told = acks(&[("box-1", Some(Refusal::Gap))]);
        assert_eq!(sort(&mut overtaken, 0, group, &mut told).len(), OVERTAKEN_MAX + 1);
        assert_eq!(told.len(), 1);
    }

    #[test]
    fn other_refusals_are_told_at_once() {
        let mut overtaken = Overtaken::default();
        let mut told = acks(&[("box-1", Some(Refusal::Conflict)), ("box-2", Some(Refusal::Gap))]);
        let done = sort(&mut overtaken, 0, arrived(0, &["box-1/6", "box-2/1"]), &mut told);
        assert_eq!((done, told), (vec!["box-1/6".to_owned()], acks(&[("box-1", Some(Refusal::Conflict))])));
    }
}
