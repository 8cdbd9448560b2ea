//! What came of a measurement: paired rows, single facts, and what could not be measured.

use std::fmt::{self, Display};

use serde::Serialize;

/// The result of one benchmark.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Which one.
    pub name: &'static str,
    /// What is compared with what.
    pub what: &'static str,
    /// Limit and ours, measured in turns.
    pub rows: Vec<Row>,
    /// Counts and sizes, which need no pair.
    pub facts: Vec<Fact>,
    /// How it was measured, where that is not plain.
    pub notes: Vec<String>,
    /// What could not be measured, and why.
    pub unmeasured: Vec<String>,
}

/// One quantity, as the limit has it and as we have it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it is.
    pub what: String,
    /// Of `limit` and `ours`.
    pub unit: Unit,
    /// The machine without us.
    pub limit: Spread,
    /// Our code.
    pub ours: Spread,
    /// Ours by limit, pair by pair; its middle is not exactly the quotient of the other two.
    pub ratio: Spread,
    /// What the ratio should be.
    pub target: Option<Target>,
    /// How many slices of each.
    pub pairs: usize,
    /// Whether the target is met; absent without one.
    pub met: Option<bool>,
}

/// One number of ours.
#[derive(Clone, Debug, Serialize)]
pub struct Fact {
    /// What it is.
    pub what: String,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
    /// What it should be.
    pub target: Option<Target>,
    /// Whether the target is met; absent without one.
    pub met: Option<bool>,
}

/// The middle of many slices, and how far they lie apart.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spread {
    /// Half lie below it.
    pub median: f64,
    /// One in ten lies below it.
    pub p10: f64,
    /// One in ten lies above it.
    pub p90: f64,
}

/// How good it must be.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Less is better.
    AtMost(f64),
    /// More is better.
    AtLeast(f64),
}

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Microseconds.
    Micros,
    /// So many in a second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// A count or a quotient.
    Plain,
    /// A share of one core.
    Percent,
}

impl Report {
    /// Empty.
    pub fn new(name: &'static str, what: &'static str) -> Self {
        Self { name, what, rows: vec![], facts: vec![], notes: vec![], unmeasured: vec![] }
    }

    /// Adds a quantity that was measured in turns: `(limit, ours)` for each pair of slices.
    pub fn row(&mut self, what: impl Into<String>, unit: Unit, pairs: &[(f64, f64)], target: Option<Target>) {
        let column = |pick: fn(&(f64, f64)) -> f64| Spread::of(pairs.iter().map(pick).collect());
        let ratio = column(|(limit, ours)| ours / limit);
        self.rows.push(Row {
            what: what.into(),
            unit,
            limit: column(|pair| pair.0),
            ours: column(|pair| pair.1),
            met: target.map(|target| target.is_met(ratio.median)),
            ratio,
            target,
            pairs: pairs.len(),
        });
    }

    /// Adds a number.
    pub fn fact(&mut self, what: impl Into<String>, unit: Unit, value: f64, target: Option<Target>) {
        let met = target.map(|target| target.is_met(value));
        self.facts.push(Fact { what: what.into(), value, unit, target, met });
    }

    /// Adds a remark.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Adds what could not be measured, and why.
    pub fn unmeasured(&mut self, text: impl Into<String>) {
        self.unmeasured.push(text.into());
    }
}

impl Spread {
    /// Of at least one value.
    ///
    /// # Panics
    /// Without a value: then nothing was measured, and the caller should have said so.
    pub fn of(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "a spread needs a value");
        values.sort_by(f64::total_cmp);
        Self { median: rank(&values, 50), p10: rank(&values, 10), p90: rank(&values, 90) }
    }
}

/// The value below which `percent` of the values lie, by the nearest rank.
pub(super) fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    rank(&values, percent)
}

fn rank(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(at - 1).copied().unwrap_or(f64::NAN)
}

impl Target {
    /// Whether that is good enough.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Target::AtMost(most) => value <= most,
            Target::AtLeast(least) => value >= least,
        }
    }
}

impl Unit {
    fn say(self, value: f64) -> String {
        match self {
            Unit::Micros if value >= 10_000.0 => format!("{:.1} ms", value / 1000.0),
            Unit::Micros => format!("{value:.1} us"),
            Unit::PerSecond if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
            Unit::PerSecond if value >= 10e3 => format!("{:.0} k/s", value / 1e3),
            Unit::PerSecond if value >= 1e3 => format!("{:.2} k/s", value / 1e3),
            Unit::PerSecond => format!("{value:.0} /s"),
            Unit::Bytes if value >= 1e6 => format!("{:.2} MB", value / 1e6),
            Unit::Bytes if value >= 10e3 => format!("{:.1} kB", value / 1e3),
            Unit::Bytes => format!("{value:.1} B"),
            Unit::Plain => format!("{value:.2}"),
            Unit::Percent => format!("{value:.3} %"),
        }
    }
}

fn say_target(target: Option<Target>, unit: Unit) -> String {
    match target {
        None => String::new(),
        Some(Target::AtMost(most)) => format!("<= {}", unit.say(most)),
        Some(Target::AtLeast(least)) => format!(">= {}", unit.say(least)),
    }
}

fn say_met(met: Option<bool>) -> &'static str {
    match met {
        None => "",
        Some(true) => "met",
        Some(false) => "NOT MET",
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.what)?;
        let spread = |unit: Unit, spread: &Spread, pairs: usize| {
            if pairs == 1 {
                return unit.say(spread.median);
            }
            format!("{} ({} .. {})", unit.say(spread.median), unit.say(spread.p10), unit.say(spread.p90))
        };
        if !self.rows.is_empty() {
            let mut lines =
                vec![["median (p10 .. p90)", "limit", "ours", "ratio", "target", ""].map(String::from)];
            lines.extend(self.rows.iter().map(|row| {
                [
                    match row.pairs {
                        1 => row.what.clone(),
                        pairs => format!("{}, {pairs} pairs", row.what),
                    },
                    spread(row.unit, &row.limit, row.pairs),
                    spread(row.unit, &row.ours, row.pairs),
                    spread(Unit::Plain, &row.ratio, row.pairs),
                    say_target(row.target, Unit::Plain),
                    say_met(row.met).to_owned(),
                ]
            }));
            table(f, &lines)?;
        }
        if !self.facts.is_empty() {
            let line = |fact: &Fact| {
                [
                    fact.what.clone(),
                    fact.unit.say(fact.value),
                    say_target(fact.target, fact.unit),
                    say_met(fact.met).to_owned(),
                ]
            };
            let mut lines = vec![["single numbers", "ours", "target", ""].map(String::from)];
            lines.extend(self.facts.iter().map(line));
            table(f, &lines)?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        for gap in &self.unmeasured {
            writeln!(f, "  NOT MEASURED: {gap}")?;
        }
        Ok(())
    }
}

fn table<const N: usize>(f: &mut fmt::Formatter<'_>, lines: &[[String; N]]) -> fmt::Result {
    let widths: [usize; N] =
        std::array::from_fn(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0));
    for line in lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(f, "  {}", cells.collect::<Vec<_>>().join("   ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let spread = Spread::of(hundred.clone());
        assert_eq!((spread.p10, spread.median, spread.p90), (10.0, 50.0, 90.0));
        assert_eq!(percentile(hundred, 99), 99.0);
        assert_eq!(percentile(vec![7.0], 99), 7.0);
        let three = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((three.p10, three.median, three.p90), (1.0, 2.0, 3.0));
    }

    #[test]
    fn a_ratio_is_taken_pair_by_pair_and_judged_by_its_middle() {
        let mut report = Report::new("x", "y");
        // The machine became ten times slower in the last pair; the ratio does not notice.
        let pairs = [(100.0, 120.0), (110.0, 132.0), (1000.0, 1200.0)];
        report.row("time", Unit::Micros, &pairs, Some(Target::AtMost(1.25)));
        report.row("time", Unit::Micros, &pairs, Some(Target::AtMost(1.1)));
        assert!((report.rows[0].ratio.p90 - 1.2).abs() < 1e-9);
        assert_eq!((report.rows[0].met, report.rows[1].met), (Some(true), Some(false)));
        report.fact("rows", Unit::PerSecond, 5.0, Some(Target::AtLeast(6.0)));
        let text = report.to_string();
        assert!(text.contains("1.20 (1.20 .. 1.20)   <= 1.25   met"), "{text}");
        assert!(text.contains("rows             5 /s   >= 6 /s   NOT MET"), "{text}");
    }
}
