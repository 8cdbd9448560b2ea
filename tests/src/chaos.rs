//! When what is killed: a plan made from a seed, so that a failure can be repeated.

use std::time::Duration;

use crate::script::Dice;

/// What can be killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Victim {
    /// The agent; it is started again at once.
    Agent,
    /// The gateway.
    Gateway,
    /// The broker, which forgets everything.
    Broker,
}

/// One SIGKILL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kill {
    /// Whom it hits.
    pub victim: Victim,
    /// During which act.
    pub act: usize,
    /// So long after the act has begun.
    pub after: Duration,
    /// For how many further acts it stays down.
    pub down: usize,
    /// Whether the victim had recovered from its last one; otherwise it may be hit while it recovers.
    pub when_recovered: bool,
}

/// An act of four or five scans takes the storekeeper so long on an idle machine. Later blows hit the pause after it.
const ACT: Duration = Duration::from_millis(60);
/// Longest time down, in acts.
const DOWN_MAX: usize = 4;

/// So many kills of each victim, in the order of their acts.
pub fn plan(seed: u64, acts: usize, victims: &[Victim], times: usize) -> Vec<Kill> {
    let mut dice = Dice::new(seed);
    let mut kills = Vec::new();
    for victim in victims {
        // Nobody is killed twice in one act: the second blow would find it dead.
        let mut free: Vec<usize> = (0..acts).collect();
        for _ in 0..times.min(acts) {
            kills.push(Kill {
                victim: *victim,
                act: free.swap_remove(dice.below(free.len())),
                after: Duration::from_micros(dice.below(ACT.as_micros() as usize) as u64),
                down: dice.below(DOWN_MAX + 1),
                when_recovered: dice.below(3) > 0,
            });
        }
    }
    kills.sort_by_key(|kill| (kill.act, kill.after));
    kills
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_plan_hits_everybody_as_often_as_asked_and_again_the_same_way() {
        let victims = [Victim::Agent, Victim::Gateway, Victim::Broker];
        let kills = plan(7, 200, &victims, 10);
        for victim in victims {
            let acts: BTreeSet<usize> =
                kills.iter().filter(|kill| kill.victim == victim).map(|kill| kill.act).collect();
            assert_eq!(acts.len(), 10);
        }
        assert!(kills.iter().all(|kill| kill.act < 200) && kills.is_sorted_by_key(|kill| kill.act));
        assert_eq!(kills, plan(7, 200, &victims, 10));
        assert_ne!(kills, plan(8, 200, &victims, 10));
    }
}
