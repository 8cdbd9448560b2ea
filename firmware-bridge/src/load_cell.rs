//! A load cell peripheral, whole: samples and bytes in, frames out.

use core::time::Duration;

use stockwire_protocol::link::{Hello, NackReason, Range, Unit, Weight, Wire};

use crate::Uptime;
use crate::calibration::{Calibration, divide_nearest};
use crate::endpoint::{Endpoint, Request, Stats};
use crate::filter::Filter;
use crate::stability::Stability;

/// How far beyond its capacity a cell still shows a weight, in divisions: the customary play of a scale.
const OVER_DIVISIONS: i64 = 9;

/// How far below zero an empty pan may show, in divisions. Below that the pan was lifted off, or a wire is broken.
const UNDER_DIVISIONS: i64 = 20;

/// What still counts as zero, in divisions: the drift of an hour, and less than anything one would weigh here.
const ZERO_BAND_DIVISIONS: i64 = 5;

/// A load cell with its end of the link.
///
/// It answers polls with the weight of the moment, and *captures* by itself: the first stable load after the pan was at
/// zero is kept until the host has it. A load that stays on is captured once; it has to come off before the next.
#[derive(Debug, Clone)]
pub struct LoadCell {
    config: Config,
    filter: Filter,
    stability: Stability,
    endpoint: Endpoint,
    /// When the first sample came, from which the converter's settling time counts.
    first_sample_at: Option<Uptime>,
    /// What stands on the pan, and since when we know; `None` until the converter has settled.
    present: Option<Present>,
    /// In the calibration's unit and decimals; 0 when nothing was tared.
    tare: i32,
    trigger: Trigger,
}

/// How a cell is built and what it was calibrated to.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Counts to weight.
    pub calibration: Calibration,
    /// Smallest step shown, in the calibration's unit and decimals. At least 1.
    pub division: i32,
    /// Largest load, in the calibration's unit and decimals. At least one division.
    pub capacity: i32,
    /// Counts at and below which the converter is at its lower end: -0x80_0000 for 24 bits.
    pub raw_min: i32,
    /// Counts at and above which the converter is at its upper end: 0x7F_FFFF for 24 bits.
    pub raw_max: i32,
    /// How long the converter's first samples are worth nothing: 400 ms for an HX711 at 10 samples a second.
    pub settle: Duration,
}

/// The last measurement.
#[derive(Debug, Clone, Copy)]
struct Present {
    at: Uptime,
    raw: i32,
    /// Rounded to a division; meaningless unless `range` is `Within`.
    gross: i32,
    stable: bool,
    range: Range,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trigger {
    /// The next stable load is captured. So it is at boot: what was put on before the power came is not forgotten.
    Armed,
    /// Captured; the pan has not been at zero since.
    Spent,
}

impl LoadCell {
    /// A cell that has just booted.
    pub fn new(hello: Hello, config: Config) -> Result<Self, ConfigError> {
        if config.division < 1 {
            return Err(ConfigError::Division { division: config.division });
        }
        if config.capacity < config.division {
            return Err(ConfigError::Capacity { capacity: config.capacity });
        }
        if config.raw_min >= config.raw_max {
            return Err(ConfigError::RawLimits { raw_min: config.raw_min, raw_max: config.raw_max });
        }
        Ok(Self {
            config,
            filter: Filter::new(),
            stability: Stability::new(config.calibration.counts_per(config.division)),
            endpoint: Endpoint::new(hello),
            first_sample_at: None,
            present: None,
            tare: 0,
            trigger: Trigger::Armed,
        })
    }

    /// Takes one conversion, and says so when it completes a capture.
    pub fn handle_sample(&mut self, now: Uptime, raw: i32) -> Option<Weight> {
        let first_sample_at = *self.first_sample_at.get_or_insert(now);
        if now.saturating_sub(first_sample_at) < self.config.settle {
            return None;
        }
        let present = match self.saturated(raw) {
            Some(range) => {
                // A converter at its end tells nothing of the load; nor would an average over it.
                self.filter.reset();
                self.stability.reset();
                Present { at: now, raw, gross: 0, stable: false, range }
            }
            None => {
                let counts = self.filter.push(raw)?;
                let stable = self.stability.push(now, counts);
                let (gross, range) = self.gross(counts);
                Present { at: now, raw: counts, gross, stable, range }
            }
        };
        self.present = Some(present);
        self.capture(present)
    }

    /// Takes one byte off the link.
    pub fn handle_byte(&mut self, now: Uptime, byte: u8) {
        match (self.endpoint.handle_byte(now, byte), self.present) {
            (Some(Request::Weight { .. }), Some(present)) => {
                self.endpoint.answer(present.at, self.weight_of(present));
            }
            (Some(Request::Weight { sequence }), None) => {
                self.endpoint.refuse(sequence, NackReason::NotReady)
            }
            (None, _) => {}
        }
    }

    /// One frame to write now, if any. Ask until it says `None`.
    pub fn poll_transmit(&mut self, now: Uptime) -> Option<Wire> {
        self.endpoint.poll_transmit(now)
    }

    /// When there is something to send even if nothing happens until then; a time that has passed means now.
    pub fn poll_timeout(&self) -> Option<Uptime> {
        self.endpoint.poll_timeout()
    }

    /// Takes what is on the pan as tare. Only a stable load can be.
    pub fn tare(&mut self) -> Result<(), TareError> {
        match self.present {
            Some(Present { stable: true, range: Range::Within, gross, .. }) => {
                self.tare = gross;
                Ok(())
            }
            Some(_) => Err(TareError::Moving),
            None => Err(TareError::NotReady),
        }
    }

    /// Net is gross again.
    pub fn clear_tare(&mut self) {
        self.tare = 0;
    }

    /// What is on the pan, as of the last sample.
    pub fn weight(&self) -> Option<Weight> {
        self.present.map(|present| self.weight_of(present))
    }

    /// What the link has seen since boot.
    pub fn stats(&self) -> Stats {
        self.endpoint.stats()
    }

    /// How many captures wait for a host.
    pub fn kept_len(&self) -> usize {
        self.endpoint.kept_len()
    }

    fn saturated(&self, raw: i32) -> Option<Range> {
        let (high, low) = match self.config.calibration.is_rising() {
            true => (Range::Over, Range::Under),
            false => (Range::Under, Range::Over),
        };
        if raw >= self.config.raw_max {
            Some(high)
        } else if raw <= self.config.raw_min {
            Some(low)
        } else {
            None
        }
    }

    fn gross(&self, counts: i32) -> (i32, Range) {
        let division = i64::from(self.config.division);
        let exact = i64::from(self.config.calibration.value(counts));
        let rounded = divide_nearest(i128::from(exact), i128::from(division)) as i64 * division;
        let range = if rounded > i64::from(self.config.capacity) + OVER_DIVISIONS * division {
            Range::Over
        } else if rounded < -UNDER_DIVISIONS * division {
            Range::Under
        } else {
            Range::Within
        };
        (rounded.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32, range)
    }

    fn weight_of(&self, present: Present) -> Weight {
        let within = present.range == Range::Within;
        let net = if within { present.gross.saturating_sub(self.tare) } else { 0 };
        Weight {
            stable: present.stable && within,
            range: present.range,
            at_zero: within && self.is_zero(net),
            unit: self.config.calibration.unit(),
            decimals: self.config.calibration.decimals(),
            raw: present.raw,
            net,
            tare: self.tare,
            age_ms: 0,
        }
    }

    fn is_zero(&self, value: i32) -> bool {
        i64::from(value).abs() <= ZERO_BAND_DIVISIONS * i64::from(self.config.division)
    }

    fn capture(&mut self, present: Present) -> Option<Weight> {
        let weight = self.weight_of(present);
        if present.range == Range::Within && (weight.at_zero || self.is_zero(present.gross)) {
            self.trigger = Trigger::Armed;
            return None;
        }
        // Bare counts are no weight, and what is lighter than nothing is no load.
        let load = weight.stable && weight.net > 0 && weight.unit != Unit::Counts;
        if !load || self.trigger == Trigger::Spent {
            return None;
        }
        self.trigger = Trigger::Spent;
        self.endpoint.keep(present.at, weight);
        Some(weight)
    }
}

/// Why a cell cannot be built so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing could be shown.
    #[error("a division of {division}; at least 1 is needed")]
    Division {
        /// As configured.
        division: i32,
    },
    /// Less than one division.
    #[error("a capacity of {capacity}, less than one division")]
    Capacity {
        /// As configured.
        capacity: i32,
    },
    /// No counts between the ends of the converter.
    #[error("the converter's lower end {raw_min} is not below its upper end {raw_max}")]
    RawLimits {
        /// As configured.
        raw_min: i32,
        /// As configured.
        raw_max: i32,
    },
}

/// Why nothing was tared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TareError {
    /// Not a stable load within the cell's range.
    #[error("the load is moving or out of range")]
    Moving,
    /// No measurement yet.
    #[error("the cell has not settled since boot")]
    NotReady,
}

#[cfg(test)]
mod tests;
