//! What a station remembers for displays: its last signals, and the number on its scale.
//!
//! It is kept whether somebody watches or not, costs a few hundred bytes, and is read when somebody asks.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use crate::feedback::Signal;
use crate::scale::{FrameFault, Net, Range, Reading, Stability};

/// As many lines as the largest display at a bench shows.
pub const RECENT_MAX: usize = 12;

/// One station's memory.
#[derive(Debug, Default)]
pub struct Glance {
    signals: u64,
    /// The newest last; at most `RECENT_MAX`.
    told: VecDeque<(Duration, Signal, String)>,
    /// `None`: the scale tells no weight now, or there is none.
    weight: Option<(Duration, Weight)>,
}

/// What a display is told, at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Glimpse {
    /// Signals since the agent began: a higher number is a new one, even if it is the same.
    pub signals: u64,
    /// The newest first.
    pub recent: Vec<Told>,
    /// On the scale.
    pub weight: Option<Weight>,
}

/// One signal that was given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Told {
    /// Which.
    pub signal: Signal,
    /// Why.
    pub message: String,
    /// How long ago.
    pub age_ms: u64,
}

/// The number on a scale.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Weight {
    /// Exactly as the scale shows it.
    pub value: String,
    /// Its unit; empty when nobody knows it.
    pub unit: String,
    /// Whether it stands still, as far as is known.
    pub moving: bool,
    /// Outside the scale's range: not to be used.
    pub out_of_range: bool,
    /// Less its tare.
    pub net: bool,
    /// How long ago the scale said so.
    pub age_ms: u64,
}

impl Glance {
    /// The station gave a signal.
    pub fn handle_signal(&mut self, now: Duration, signal: Signal, message: &str) {
        self.signals += 1;
        if self.told.len() == RECENT_MAX {
            self.told.pop_front();
        }
        self.told.push_back((now, signal, message.to_owned()));
    }

    /// The scale said something.
    pub fn handle_weight(&mut self, now: Duration, reply: &Result<Reading, FrameFault>) {
        // A status or a fault: the old weight no longer stands.
        self.weight = match reply {
            Ok(Reading { value: Some(value), unit, stability, range, net, .. }) => Some((
                now,
                Weight {
                    value: value.to_string(),
                    unit: unit.map_or("", |unit| unit.as_str()).to_owned(),
                    moving: *stability == Stability::Moving,
                    out_of_range: !matches!(range, Range::Ok | Range::Unknown),
                    net: *net == Net::Net,
                    age_ms: 0,
                },
            )),
            _ => None,
        };
    }

    /// The scale is gone.
    pub fn handle_scale_lost(&mut self) {
        self.weight = None;
    }

    /// As it is now.
    pub fn glimpse(&self, now: Duration) -> Glimpse {
        let age_ms = |at: Duration| now.saturating_sub(at).as_millis() as u64;
        let told = self.told.iter().rev();
        Glimpse {
            signals: self.signals,
            recent: told
                .map(|(at, signal, message)| Told {
                    signal: *signal,
                    message: message.clone(),
                    age_ms: age_ms(*at),
                })
                .collect(),
            weight: self.weight.as_ref().map(|(at, weight)| Weight { age_ms: age_ms(*at), ..weight.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_come_first_and_old_ones_are_forgotten() {
        let mut glance = Glance::default();
        for second in 1..=20 {
            glance.handle_signal(Duration::from_secs(second), Signal::Good, &second.to_string());
        }
        let glimpse = glance.glimpse(Duration::from_secs(21));
        assert_eq!((glimpse.signals, glimpse.recent.len()), (20, RECENT_MAX));
        assert_eq!((glimpse.recent[0].message.as_str(), glimpse.recent[0].age_ms), ("20", 1000));
        assert_eq!(glimpse.recent[11].message, "9");
    }
}
