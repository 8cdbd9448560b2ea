//! Operators: they scan, listen, and believe only the good signal.

use std::collections::VecDeque;
use std::time::Duration;

use stockwire_agent::feedback::Signal;

use super::auditor::Fact;
use super::random::Random;
use crate::real::World as Company;

/// Somebody at a station, with work for some hours.
pub(super) struct Operator {
    random: Random,
    /// Movements still to be done; the last task may do a few more.
    left: u32,
    bins: Vec<String>,
    scale: bool,
    task: Option<Task>,
    /// Done at the station, and not yet answered; oldest first.
    open: VecDeque<Step>,
    /// Second reads of one code that must be called out as such.
    bounces: u32,
    /// No other scan before this.
    not_before: Duration,
    last_code: Vec<u8>,
    /// What lies on the scale, in grams.
    pub(super) load_g: i64,
}

/// From the workflow's barcode to DONE.
struct Task {
    begin: Vec<Step>,
    pieces: Vec<Piece>,
    end: Vec<Step>,
    /// What is to be done now, in order.
    todo: VecDeque<Step>,
}

/// Steps that stand or fall together; the last one settles it.
struct Piece {
    steps: Vec<Step>,
    /// Takes the piece before it back: that is possible in the same session only.
    undo: bool,
    settled: bool,
}

/// One thing done at the station, and what must be heard for it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// What is done.
    pub(super) act: Act,
    /// What must follow, unless it cannot be stored.
    pub(super) expect: Expect,
    /// Which piece of the task it settles.
    piece: Option<usize>,
}

/// A thing done at the station.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Act {
    /// A code is scanned.
    Scan(Vec<u8>),
    /// So many grams are on the scale, and it is asked for them by itself.
    Weigh(i64),
}

/// A signal, with what the operator did when it is the good one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Expect {
    /// Understood.
    Heard,
    /// Recorded.
    Good(Vec<Fact>),
    /// Not in the catalogue.
    Unknown,
    /// Not possible.
    Refused,
}

/// What an operator does next.
pub(super) enum Next {
    /// This, now; and the same scan once more by itself after a bounce.
    Do(Step, Option<Duration>),
    /// Nothing before this.
    Wait(Duration),
    /// Listen.
    Listen,
    /// Go home.
    Home,
}

/// A scanner reads no two codes faster, and the same code must not look like a bounce.
const GAP: Duration = Duration::from_millis(450);
/// Somebody who is used to it scans the next piece before the last one has beeped, this deep.
const AHEAD_MAX: usize = 2;

impl Operator {
    /// Somebody with so many movements before them.
    pub(super) fn new(random: Random, movements: u32, bins: Vec<String>, scale: bool) -> Self {
        Self {
            random,
            left: movements,
            bins,
            scale,
            task: None,
            open: VecDeque::new(),
            bounces: 0,
            not_before: Duration::ZERO,
            last_code: Vec::new(),
            load_g: 0,
        }
    }

    /// Somebody with the same work at the same bins.
    pub(super) fn colleague(&self, random: Random) -> Self {
        Self::new(random, self.left, self.bins.clone(), self.scale)
    }

    /// Whether everything is done and answered.
    pub(super) fn is_home(&self) -> bool {
        self.left == 0 && self.task.is_none() && self.open.is_empty()
    }

    /// What to do now.
    pub(super) fn next(&mut self, now: Duration, company: &Company) -> Next {
        if now < self.not_before {
            return Next::Wait(self.not_before);
        }
        if self.task.is_none() {
            if !self.open.is_empty() {
                return Next::Listen;
            }
            if self.left == 0 {
                return Next::Home;
            }
            self.task = Some(self.plan(company));
        }
        let Some(task) = &mut self.task else { return Next::Home };
        let Some(step) = task.todo.front() else { return Next::Listen };
        if !self.open.is_empty() {
            // Ahead only with single pieces (UNDO waits for what it takes back), and never with the same code: that would
            // be a bounce.
            let single = |step: &Step| match (&step.act, &step.expect) {
                (Act::Scan(code), Expect::Good(facts)) => facts.len() == 1 && !code.starts_with(b"SW:"),
                _ => false,
            };
            let ahead = self.open.len() < AHEAD_MAX
                && single(step)
                && self.open.iter().all(single)
                && step.act != Act::Scan(self.last_code.clone());
            if !ahead || !self.random.chance(300) {
                return Next::Listen;
            }
        }
        let Some(step) = task.todo.pop_front() else { return Next::Listen };
        let mut bounce = None;
        match &step.act {
            Act::Scan(code) => {
                self.last_code.clone_from(code);
                self.not_before = now + GAP;
                if self.open.is_empty() && self.random.chance(40) {
                    let wait = self.random.ms(5..=15);
                    self.bounces += 1;
                    self.not_before += wait;
                    bounce = Some(wait);
                }
            }
            Act::Weigh(grams) => self.load_g = *grams,
        }
        self.open.push_back(step.clone());
        Next::Do(step, bounce)
    }

    /// A signal sounds. Returns what it settles: the step, and whether it went as it should.
    pub(super) fn hear(&mut self, now: Duration, signal: Signal) -> Result<Option<Step>, String> {
        if signal == Signal::Repeated {
            self.bounces =
                self.bounces.checked_sub(1).ok_or("a scan was called a repetition that is none")?;
            return Ok(None);
        }
        let step = self.open.pop_front().ok_or_else(|| format!("{signal:?} without a reason"))?;
        let as_expected = match (&step.expect, signal) {
            (Expect::Heard, Signal::Heard)
            | (Expect::Good(_), Signal::Good)
            | (Expect::Unknown, Signal::Unknown)
            | (Expect::Refused, Signal::Refused) => true,
            (Expect::Good(_), Signal::NotStored) => false,
            _ => return Err(format!("{signal:?} for {step:?}")),
        };
        if !as_expected {
            // Told that it was not stored: the station stands where it stood, and scanning again is right.
            self.not_before = now + self.random.ms(4_000..=20_000);
            if let Some(task) = &mut self.task {
                task.todo.push_front(step);
            }
            return Ok(None);
        }
        // What was weighed is taken off the scale.
        self.load_g = 0;
        self.settle(&step);
        self.not_before = self.not_before.max(now + self.pace());
        Ok(Some(step))
    }

    fn pace(&mut self) -> Duration {
        match self.random.below(100) {
            0..=84 => self.random.ms(200..=1_200),
            85..=98 => self.random.ms(1_000..=8_000),
            _ => self.random.ms(10_000..=45_000),
        }
    }

    fn settle(&mut self, step: &Step) {
        let Some(task) = &mut self.task else { return };
        if let Some(piece) = step.piece {
            task.pieces[piece].settled = true;
        }
        if let Expect::Good(facts) = &step.expect {
            self.left = self.left.saturating_sub(facts.len() as u32);
        }
        if task.todo.is_empty() && self.open.is_empty() {
            self.task = None;
        }
    }

    /// What was being waited for when the station went dark, oldest first.
    pub(super) fn in_doubt(&self) -> impl Iterator<Item = &[Fact]> {
        self.open.iter().filter_map(|step| match &step.expect {
            Expect::Good(facts) => Some(facts.as_slice()),
            _ => None,
        })
    }

    /// The station is back, and so many of the doubtful ones were recorded: begin the task anew with the rest of it.
    pub(super) fn start_again(&mut self, now: Duration, recorded: usize) {
        let good = |step: &Step| matches!(step.expect, Expect::Good(_));
        let settled: Vec<Step> = self.open.iter().filter(|step| good(step)).take(recorded).cloned().collect();
        self.open.clear();
        self.bounces = 0;
        self.load_g = 0;
        for step in &settled {
            // With something left to do the task does not end by this.
            self.settle(step);
        }
        self.not_before = now + self.random.ms(2_000..=20_000);
        let Some(task) = &mut self.task else { return };
        let mut todo: VecDeque<Step> = task.begin.iter().cloned().collect();
        let mut any = false;
        for piece in task.pieces.iter_mut().filter(|piece| !piece.settled) {
            if piece.undo {
                piece.settled = true;
            } else {
                todo.extend(piece.steps.iter().cloned());
                any = true;
            }
        }
        todo.extend(task.end.iter().cloned());
        task.todo = todo;
        if !any {
            self.task = None;
        }
    }

    fn plan(&mut self, company: &Company) -> Task {
        let bin = self.random.pick(&self.bins).clone();
        let workflow = *self.random.pick(&["RECEIVE", "RECEIVE", "PICK", "PICK", "COUNT"]);
        let command = |text: &str| scan(format!("SW:{text}"), Expect::Heard);
        let begin = vec![command(&format!("WF:{workflow}")), command(&format!("LOC:{bin}"))];
        let mut pieces = Vec::new();
        let mut end = vec![command("CMD:DONE")];
        if workflow == "COUNT" {
            pieces.push(self.plan_count(company, &bin));
        } else {
            let sign = if workflow == "RECEIVE" { 1 } else { -1 };
            for _ in 0..self.random.within(2..=9) {
                self.plan_piece(company, &bin, sign, &mut pieces);
            }
        }
        for (at, piece) in pieces.iter_mut().enumerate() {
            if let Some(last) = piece.steps.last_mut() {
                last.piece = Some(at);
            }
        }
        end.iter_mut().for_each(|step| step.piece = None);
        let steps = pieces.iter().flat_map(|piece| &piece.steps);
        let todo = begin.iter().chain(steps).chain(&end).cloned().collect();
        Task { begin, pieces, end, todo }
    }

    fn plan_piece(&mut self, company: &Company, bin: &str, sign: i64, pieces: &mut Vec<Piece>) {
        let piece = |steps| Piece { steps, undo: false, settled: false };
        let item = self.random.below(company.items.len() as u64) as usize;
        let good = |milli: i64| {
            Expect::Good(vec![Fact::Moved { bin: bin.into(), item, milli: sign * milli, undo: false }])
        };
        let goods = &company.items[item];
        let weighed = goods.unit == "KGM";
        let (steps, milli) = match self.random.below(10) {
            0 => {
                let code = *self.random.pick(&["]E04006381333931", "]C1SOMETHING ELSE", "SW:LOC:Z-99"]);
                let expect = if code.starts_with("]C1") { Expect::Refused } else { Expect::Unknown };
                return pieces.push(piece(vec![scan(code, expect)]));
            }
            1 => {
                // A check digit that does not fit.
                return pieces.push(piece(vec![scan("]E04006381333930", Expect::Refused)]));
            }
            _ if weighed && self.scale && self.random.chance(500) => {
                let grams = self.random.within(20..=9_000) as i64;
                let weigh = Step { act: Act::Weigh(grams), expect: good(grams), piece: None };
                (vec![scan(ean(&goods.gtin), Expect::Heard), weigh], grams)
            }
            _ if weighed => {
                let grams = self.random.within(20..=9_000) as i64;
                (vec![scan(format!("]C1010{}3103{grams:06}", goods.gtin), good(grams))], grams)
            }
            2..=4 => {
                let pieces = self.random.within(1..=24) as i64;
                let steps = vec![
                    scan(format!("SW:QTY:{pieces}"), Expect::Heard),
                    scan(ean(&goods.gtin), good(pieces * 1_000)),
                ];
                (steps, pieces * 1_000)
            }
            5 => {
                let lot = self.random.within(1..=3);
                (vec![scan(format!("]C1010{}10LOT{lot}", goods.gtin), good(1_000))], 1_000)
            }
            _ => (vec![scan(ean(&goods.gtin), good(1_000))], 1_000),
        };
        pieces.push(piece(steps));
        if self.random.chance(80) {
            let back = Fact::Moved { bin: bin.into(), item, milli: -sign * milli, undo: true };
            let steps = vec![scan("SW:CMD:UNDO", Expect::Good(vec![back]))];
            pieces.push(Piece { steps, undo: true, settled: false });
        }
    }

    /// One piece: the tally is lost with the session, and recorded as a whole.
    fn plan_count(&mut self, company: &Company, bin: &str) -> Piece {
        let mut steps = Vec::new();
        let mut facts: Vec<Fact> = Vec::new();
        for _ in 0..self.random.within(1..=4) {
            let item = self.random.below(company.items.len() as u64) as usize;
            let goods = &company.items[item];
            let seen =
                facts.iter().any(|fact| matches!(fact, Fact::Counted { item: other, .. } if *other == item));
            if seen {
                continue;
            }
            let milli = if goods.unit == "KGM" {
                let milli = self.random.within(0..=50_000) as i64;
                steps.push(scan(format!("SW:QTY:{}.{:03}", milli / 1_000, milli % 1_000), Expect::Heard));
                milli
            } else {
                let units = self.random.within(0..=120) as i64;
                steps.push(scan(format!("SW:QTY:{units}"), Expect::Heard));
                units * 1_000
            };
            steps.push(scan(ean(&goods.gtin), Expect::Heard));
            facts.push(Fact::Counted { bin: bin.into(), item, milli });
        }
        steps.push(scan("SW:CMD:DONE", Expect::Good(facts)));
        Piece { steps, undo: false, settled: false }
    }
}

fn scan(code: impl Into<String>, expect: Expect) -> Step {
    Step { act: Act::Scan(code.into().into_bytes()), expect, piece: None }
}

fn ean(gtin: &str) -> String {
    format!("]E0{gtin}")
}
