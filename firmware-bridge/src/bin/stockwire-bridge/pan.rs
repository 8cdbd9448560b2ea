//! The simulated pan: what stands on it when, and what a converter below it would read.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use stockwire_bridge::{Calibration, CalibrationError, CalibrationPoint};
use stockwire_protocol::link::Unit;

/// Counts of the empty pan. Not zero, as on no real cell.
const EMPTY_COUNTS: i32 = 120_000;

/// Counts of a gram: 15 kg then use three quarters of a 24-bit converter.
const COUNTS_PER_GRAM: i32 = 400;

/// Noise of a load that stands still, in counts either way: an eighth of a gram, as good cells have it.
const NOISE_COUNTS: i32 = 50;

/// Half the swing of a moving load: 40 g, far beyond a division, slow enough to pass the filter.
const SWING_COUNTS: i32 = 40 * COUNTS_PER_GRAM;

/// Samples of one swing; 0.4 s at 80 samples a second, twice what the filter averages over.
const SWING_SAMPLES: i32 = 32;

/// Ends of a 24-bit converter.
pub(crate) const RAW_MIN: i32 = -0x80_0000;
pub(crate) const RAW_MAX: i32 = 0x7F_FFFF;

/// Heaviest load a script may name: beyond it the converter is at its end anyway.
const GRAMS_MAX: i32 = 50_000;

/// Longest script: a day of a load a second. More is a mistaken file.
const SCRIPT_BYTES_MAX: u64 = 4 << 20;

/// What somebody put on the pan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// In whole grams, 0 for the empty pan, below for a pan that is pulled.
    pub(crate) grams: i32,
    pub(crate) motion: Motion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Motion {
    Stable,
    Moving,
}

impl Load {
    pub(crate) const NONE: Self = Self { grams: 0, motion: Motion::Stable };

    /// Reads `GRAMS stable|moving`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (Some(grams), Some(motion), None) = (words.next(), words.next(), words.next()) else {
            return Err(format!("expected `GRAMS stable|moving`, found `{text}`"));
        };
        let grams = grams
            .parse()
            .ok()
            .filter(|grams| (-GRAMS_MAX..=GRAMS_MAX).contains(grams))
            .ok_or_else(|| format!("`{grams}` is not a whole number of grams up to {GRAMS_MAX}"))?;
        let motion = match motion {
            "stable" => Motion::Stable,
            "moving" => Motion::Moving,
            other => return Err(format!("`{other}` is neither `stable` nor `moving`")),
        };
        Ok(Self { grams, motion })
    }
}

/// Loads and when they are put on, earliest first.
#[derive(Debug, Default)]
pub(crate) struct Script {
    steps: Vec<(Duration, Load)>,
    /// The first step not yet played.
    at: usize,
}

impl Script {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let len = std::fs::metadata(path).with_context(|| format!("reading script {name}"))?.len();
        anyhow::ensure!(
            len <= SCRIPT_BYTES_MAX,
            "script {name} has {len} bytes; {SCRIPT_BYTES_MAX} are possible"
        );
        let text = std::fs::read_to_string(path).with_context(|| format!("reading script {name}"))?;
        Self::parse(&text).map_err(|faults| anyhow::anyhow!("script {name}:\n  {}", faults.join("\n  ")))
    }

    /// All faults at once, each with its line.
    fn parse(text: &str) -> Result<Self, Vec<String>> {
        let mut steps: Vec<(Duration, Load)> = Vec::new();
        let mut faults = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let content = line.split('#').next().unwrap_or_default().trim();
            if content.is_empty() {
                continue;
            }
            let earliest = steps.last().map_or(Duration::ZERO, |(at, _)| *at);
            match parse_step(content, earliest) {
                Ok(step) => steps.push(step),
                Err(fault) => faults.push(format!("line {}: {fault}", number + 1)),
            }
        }
        if faults.is_empty() { Ok(Self { steps, at: 0 }) } else { Err(faults) }
    }

    /// The load that was put on last by `now`, if one was since the last call.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<Load> {
        let mut load = None;
        while let Some((at, next)) = self.steps.get(self.at)
            && *at <= now
        {
            load = Some(*next);
            self.at += 1;
        }
        load
    }
}

fn parse_step(content: &str, earliest: Duration) -> Result<(Duration, Load), String> {
    let (at, load) = content.split_once(char::is_whitespace).unwrap_or((content, ""));
    let at = at.parse().map_err(|_| format!("`{at}` is not a number of milliseconds"))?;
    let at = Duration::from_millis(at);
    if at < earliest {
        return Err(format!("{} ms is before the line above", at.as_millis()));
    }
    Ok((at, Load::parse(load.trim())?))
}

/// The converter below the pan.
#[derive(Debug)]
pub(crate) struct Converter {
    pub(crate) load: Load,
    sample: i32,
    noise: u32,
}

impl Converter {
    pub(crate) fn new() -> Self {
        Self { load: Load::NONE, sample: 0, noise: 1 }
    }

    /// What two known weights would teach a technician about this cell.
    pub(crate) fn calibration() -> Result<Calibration, CalibrationError> {
        let low = CalibrationPoint { raw: EMPTY_COUNTS, value: 0 };
        let high = CalibrationPoint { raw: EMPTY_COUNTS + 10_000 * COUNTS_PER_GRAM, value: 10_000 };
        Calibration::two_point(low, high, Unit::Gram, 0)
    }

    pub(crate) fn convert(&mut self) -> i32 {
        self.sample = (self.sample + 1) % SWING_SAMPLES;
        let swing = match self.load.motion {
            Motion::Stable => 0,
            Motion::Moving if self.sample < SWING_SAMPLES / 2 => SWING_COUNTS,
            Motion::Moving => -SWING_COUNTS,
        };
        // A linear congruential generator: the same noise on every run.
        self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (self.noise >> 16) as i32 % (2 * NOISE_COUNTS + 1) - NOISE_COUNTS;
        let raw = EMPTY_COUNTS + self.load.grams * COUNTS_PER_GRAM + swing + noise;
        raw.clamp(RAW_MIN, RAW_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_plays_in_order() {
        let text = "# a crate\n0 0 stable\n\n500 1250 moving # swings\n900 1250 stable\n";
        let mut script = Script::parse(text).unwrap();
        let at = Duration::from_millis;
        assert_eq!(script.poll(at(0)), Some(Load::NONE));
        assert_eq!(script.poll(at(499)), None);
        assert_eq!(script.poll(at(500)), Some(Load { grams: 1250, motion: Motion::Moving }));
        assert_eq!(script.poll(at(5_000)), Some(Load { grams: 1250, motion: Motion::Stable }));
        assert_eq!(script.poll(at(9_000)), None);
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults = Script::parse("0 0\n5 1.5 stable\n4 99999 stable\nx 1 stable\n9 1 still\n3 1 stable")
            .unwrap_err();
        assert_eq!(
            faults,
            [
                "line 1: expected `GRAMS stable|moving`, found `0`",
                "line 2: `1.5` is not a whole number of grams up to 50000",
                "line 3: `99999` is not a whole number of grams up to 50000",
                "line 4: `x` is not a number of milliseconds",
                "line 5: `still` is neither `stable` nor `moving`",
            ]
        );
        assert_eq!(
            Script::parse("9 1 stable\n3 1 stable").unwrap_err(),
            ["line 2: 3 ms is before the line above"]
        );
    }

    #[test]
    fn the_converter_reads_what_stands_on_the_pan() {
        let mut converter = Converter::new();
        converter.load.grams = 1_000;
        for _ in 0..1_000 {
            let counts = converter.convert();
            assert!((counts - EMPTY_COUNTS - 1_000 * COUNTS_PER_GRAM).abs() <= NOISE_COUNTS, "{counts}");
        }
    }
}
