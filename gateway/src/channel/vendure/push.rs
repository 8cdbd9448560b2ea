//! Brings numbers to the shop and reads them back.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stockwire_protocol::Sku;

use super::super::{Pushed, SiteMap};
use super::{UPDATE, Variant, graphql, variants, variants_by_sku};
use crate::availability::ChannelUpdate;
use crate::exchange::{Answer, Class, Conversation, Effect, Failure, Step};

/// One push.
pub(super) struct Push {
    targets: Vec<Target>,
    state: State,
    /// Groups of targets that are still to be written: the whole, or the halves of one that was refused.
    groups: Vec<Vec<usize>>,
    /// Something was, or may have been, written.
    wrote: bool,
}

struct Target {
    sku: Sku,
    /// By location id.
    numbers: BTreeMap<String, i64>,
    /// An earlier write of unknown outcome may still arrive: write, even when the shop shows the number.
    unresolved: bool,
    variant: Option<String>,
    outcome: Option<Pushed>,
}

enum State {
    Start,
    Reading,
    Writing { group: Vec<usize> },
    ReadingBack { lost: Option<String> },
}

impl Push {
    pub(super) fn new(map: &SiteMap, updates: &[ChannelUpdate]) -> Self {
        let target = |update: &ChannelUpdate| {
            let mut numbers = BTreeMap::new();
            let mut outcome = None;
            for site in &update.sites {
                match map.get(&site.site) {
                    Some(id) => {
                        numbers.insert(id.clone(), site.number);
                    }
                    None => {
                        let message = format!("the shop has no stock location for site {}", site.site);
                        outcome = Some(Pushed::Refused { reason: message });
                    }
                }
            }
            Target { sku: update.sku.clone(), numbers, unresolved: update.unresolved, variant: None, outcome }
        };
        let targets = updates.iter().map(target).collect();
        Self { targets, state: State::Start, groups: Vec::new(), wrote: false }
    }

    fn open(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(|target| target.outcome.is_none())
    }

    /// What the shop holds decides what is written.
    fn take_before(&mut self, held: &[Variant]) {
        let mut group = Vec::new();
        for (at, target) in self.targets.iter_mut().enumerate().filter(|(_, target)| target.outcome.is_none())
        {
            match find(held, &target.sku) {
                None => {
                    let reason = format!("the shop has no variant {} (any more)", target.sku);
                    target.outcome = Some(Pushed::Refused { reason });
                }
                Some(variant) if target.is_held(variant) && !target.unresolved => {
                    // Not writing is the best way not to lose a fulfilment of the shop's own.
                    target.outcome = Some(Pushed::Held);
                }
                Some(variant) => {
                    target.variant = Some(variant.id.clone());
                    group.push(at);
                }
            }
        }
        if !group.is_empty() {
            self.groups.push(group);
        }
    }

    /// What the shop holds after writing is what counts.
    fn take_after(&mut self, held: &[Variant], lost: Option<&str>) {
        for target in self.targets.iter_mut().filter(|target| target.outcome.is_none()) {
            let outcome = match (find(held, &target.sku), lost) {
                (Some(variant), _) if target.is_held(variant) => Pushed::Held,
                // It may still arrive.
                (_, Some(message)) => Pushed::Unknown { message: message.to_owned() },
                (Some(variant), None) => Pushed::Differs { shows: target.shown(variant) },
                (None, None) => Pushed::Differs { shows: "nothing".into() },
            };
            target.outcome = Some(outcome);
        }
    }

    fn write(&mut self, group: Vec<usize>) -> Step<Vec<Pushed>> {
        let input: Vec<Value> = group
            .iter()
            .filter_map(|at| self.targets.get(*at))
            .map(|target| {
                let level =
                    |(id, number): (&String, &i64)| json!({"stockLocationId": id, "stockOnHand": number});
                let levels: Vec<Value> = target.numbers.iter().map(level).collect();
                json!({"id": target.variant, "stockLevels": levels})
            })
            .collect();
        self.state = State::Writing { group };
        // Absolute, and yet not to be repeated blindly: an old number that arrives late would stand over a newer one.
        Step::Send(graphql("update", UPDATE, json!({"i": input}), Effect::Once))
    }

    fn go_on(&mut self) -> Step<Vec<Pushed>> {
        if let Some(group) = self.groups.pop() {
            return self.write(group);
        }
        self.read_back(None)
    }

    fn read_back(&mut self, lost: Option<String>) -> Step<Vec<Pushed>> {
        if self.open().next().is_none() {
            return self.end();
        }
        self.state = State::ReadingBack { lost };
        Step::Send(variants_by_sku("read back", self.open().map(|target| &target.sku)))
    }

    fn end(&mut self) -> Step<Vec<Pushed>> {
        let unknown = || Pushed::Unknown { message: "it was not looked at".into() };
        Step::Done(Ok(self
            .targets
            .iter()
            .map(|target| target.outcome.clone().unwrap_or_else(unknown))
            .collect()))
    }

    /// Gives everything that is open the same outcome.
    fn end_all(&mut self, outcome: &Pushed) -> Step<Vec<Pushed>> {
        for target in self.targets.iter_mut().filter(|target| target.outcome.is_none()) {
            target.outcome = Some(outcome.clone());
        }
        self.end()
    }
}

impl Conversation for Push {
    type Output = Vec<Pushed>;

    fn next(&mut self, last: Option<Result<Answer, Failure>>) -> Step<Vec<Pushed>> {
        match (std::mem::replace(&mut self.state, State::Start), last) {
            (State::Reading, Some(Ok(answer))) => match variants(&answer) {
                Ok(held) => {
                    self.take_before(&held);
                    self.go_on()
                }
                Err(failure) => Step::Done(Err(failure)),
            },
            // Nothing has been written yet.
            (State::Reading, Some(Err(failure))) => Step::Done(Err(failure)),
            (State::Writing { .. }, Some(Ok(_))) => {
                self.wrote = true;
                self.go_on()
            }
            (State::Writing { group }, Some(Err(failure))) => match (failure.class, group.as_slice()) {
                (Class::Data, [only]) => {
                    if let Some(target) = self.targets.get_mut(*only) {
                        target.outcome = Some(Pushed::Refused { reason: failure.message });
                    }
                    self.go_on()
                }
                (Class::Data, several) => {
                    // All of it was refused for one of them.
                    let (first, second) = several.split_at(several.len() / 2);
                    self.groups.extend([second.to_vec(), first.to_vec()]);
                    self.go_on()
                }
                // Certainly not done, nor was anything before it.
                (class, _) if class != Class::Unknown && !self.wrote => Step::Done(Err(failure)),
                _ => self.read_back(Some(failure.message)),
            },
            (State::ReadingBack { lost }, Some(Ok(answer))) => match variants(&answer) {
                Ok(held) => {
                    self.take_after(&held, lost.as_deref());
                    self.end()
                }
                Err(failure) => self.end_all(&Pushed::Unknown { message: failure.message }),
            },
            (State::ReadingBack { .. }, Some(Err(failure))) => {
                self.end_all(&Pushed::Unknown { message: failure.message })
            }
            (_, _) => {
                if self.open().next().is_none() {
                    return self.end();
                }
                self.state = State::Reading;
                Step::Send(variants_by_sku("read", self.open().map(|target| &target.sku)))
            }
        }
    }
}

impl Target {
    fn is_held(&self, variant: &Variant) -> bool {
        self.numbers.iter().all(|(id, number)| variant.on_hand(id) == *number)
    }

    fn shown(&self, variant: &Variant) -> String {
        let one = |(id, number): (&String, &i64)| {
            let shown = variant.levels.get(id).map_or("nothing".to_owned(), |level| level.0.to_string());
            format!("{shown} instead of {number}")
        };
        self.numbers.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

fn find<'a>(held: &'a [Variant], sku: &Sku) -> Option<&'a Variant> {
    held.iter().find(|variant| variant.sku == sku.as_str())
}
