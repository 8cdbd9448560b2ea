//! Finds protocol and line settings of a scale that nobody knows, without changing anything about it.
//!
//! ```text
//!  first pass    each protocol with the settings it leaves the factory with
//!  second pass   every speed, with eight bits and with seven
//!
//!  one trial     set the line -> listen -> what came by itself?
//!                             -> ask one harmless question after the other -> what was answered?
//!                                                          something: ask it again, to be sure
//! ```
//! Nothing is opened here: [`Probe`] says what to do next ([`Step`]) and is handed what came. Only requests for a weight
//! are sent, and of those only such that no scale takes for anything else: several scales obey single letters, so that a
//! request with a `T` in it would tare one of them.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use crate::scale::diagnosis::{self, Diagnosis, Score};
use crate::scale::{SCALES, ScaleDecoder, ScaleOptions, ScaleProtocol};
use crate::serial::{LineSettings, Parity};

/// What the port is to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Use these settings, and throw away what has come so far.
    Set(LineSettings),
    /// Send this.
    Write(Vec<u8>),
    /// Hand on what comes within this time.
    Listen(Duration),
}

/// The longest pause between two frames of a scale that sends by itself, 370 ms, and a frame.
const STREAM_WAIT: Duration = Duration::from_millis(700);
/// Scales answer within 300 ms, and the slowest line takes 140 ms for a frame.
const ANSWER_WAIT: Duration = Duration::from_millis(450);
/// A question that was answered is asked so often in all: one frame could be an accident.
const ASKED: usize = 3;
/// Bytes kept of one trial.
const BYTES_MAX: usize = diagnosis::EVIDENCE_BYTES_MAX;

/// Speeds of the second pass, the usual ones first.
const SPEEDS: [u32; 8] = [9_600, 4_800, 2_400, 19_200, 1_200, 38_400, 115_200, 57_600];
/// Data bits and parity of the second pass.
const FORMATS: [(u8, Parity); 3] = [(8, Parity::None), (7, Parity::Even), (7, Parity::Odd)];

/// An empty command, which no scale obeys.
const END: &[u8] = b"\r\n";
/// Letters with which some scale is set to zero, tared, cleared, reset, switched to another unit, filter or echo.
const HARMFUL: &[u8] = b"TZCEUXFHKtzfckx@";
/// Requests that are a print key: they may add the weight to the scale's own total. Their scales are recognised by how
/// they complain of the other questions.
const PRINT_KEYS: [&[u8]; 1] = [b"P\r\n"];

/// A protocol that understood what came.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name.
    pub protocol: &'static str,
    /// For people.
    pub title: &'static str,
    /// The settings with which it was understood.
    pub line: LineSettings,
    /// How sure that is.
    pub score: Score,
    /// The frames have no unit: it must be configured.
    pub needs_unit: bool,
    /// The frames have no checksum, which others of this protocol have.
    pub bare: bool,
}

impl Found {
    /// The lines to paste into the configuration.
    pub fn to_toml(&self, port: &str) -> String {
        let Found { protocol, line, .. } = self;
        let mut text =
            format!("[station.scale]\nport = \"{port}\"\nprotocol = \"{protocol}\"\nline = \"{line}\"\n");
        if self.needs_unit {
            text.push_str("unit = \"kg\"  # it sends none: write the one that it shows\n");
        }
        if self.bare {
            text.push_str("checksum = false\n");
        }
        text
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// All protocols that understood the answers, the surest first; empty when none did.
    pub found: Vec<Found>,
    /// When none was found: what the bytes that came look like, and with which settings; `None`: nothing came at all.
    pub heard: Option<(LineSettings, Diagnosis)>,
}

impl Outcome {
    /// For a terminal.
    pub fn to_text(&self, port: &str) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = match (self.found.as_slice(), &self.heard) {
            ([], None) => write!(
                text,
                "{port}: nothing came at any speed.\n-> is the scale switched on, is the cable the right one (crossed \
                 or straight), and does its menu let it answer or send by itself?\n"
            ),
            ([], Some((line, diagnosis))) => write!(
                text,
                "{port}: something came with \"{line}\", and no known protocol understands it: {}\n-> choose another \
                 output format in the scale's menu, then run this again\n",
                diagnosis.message("any known protocol", *line)
            ),
            ([found], _) => write!(text, "# {}: {}\n{}", found.title, sure(found.score), found.to_toml(port)),
            (found, _) => {
                let _ =
                    writeln!(text, "# {} protocols understand it: paste the one of your scale", found.len());
                found.iter().try_for_each(|found| {
                    write!(text, "\n# {}: {}\n{}", found.title, sure(found.score), found.to_toml(port))
                })
            }
        };
        text
    }
}

fn sure(score: Score) -> String {
    match score {
        Score { frames: 0, .. } => {
            "recognised by how it refuses a question; weigh something to be sure".into()
        }
        Score { checked: true, frames, .. } => {
            format!("{frames} frames understood, and their checksums hold")
        }
        Score { frames, .. } => format!("{frames} frames understood"),
    }
}

/// The search.
pub struct Probe {
    /// Trials that are still to be made.
    trials: VecDeque<Trial>,
    /// Trials that were begun.
    made: usize,
    steps: VecDeque<Step>,
    /// What the steps are about.
    now: Option<Doing>,
    /// What came in the trial, at most [`BYTES_MAX`].
    bytes: Vec<u8>,
    /// Settings that bytes suggested; each is followed once for each question.
    suggested: Vec<(LineSettings, Option<Vec<u8>>)>,
    /// The protocols whose question was asked, to follow their handshake.
    speakers: Vec<Box<dyn ScaleDecoder>>,
    /// Protocols in whose words the scale has complained of a question.
    complained: Vec<Found>,
    outcome: Outcome,
}

/// Settings, and the questions to be asked with them.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Trial {
    line: LineSettings,
    questions: VecDeque<Vec<u8>>,
}

enum Doing {
    /// Waits for what comes by itself.
    Listening(Trial),
    /// Waits for an answer to the question, which was asked so often.
    Asking(Trial, Vec<u8>, usize),
}

impl Default for Probe {
    fn default() -> Self {
        Self::new()
    }
}

impl Probe {
    /// The whole search.
    pub fn new() -> Self {
        Self {
            made: 0,
            trials: plan(),
            steps: VecDeque::new(),
            now: None,
            bytes: Vec::new(),
            suggested: Vec::new(),
            speakers: Vec::new(),
            complained: Vec::new(),
            outcome: Outcome { found: Vec::new(), heard: None },
        }
    }

    /// What to do next; `None`: the search is over.
    pub fn poll_step(&mut self) -> Option<Step> {
        if self.steps.is_empty() {
            self.conclude();
        }
        self.steps.pop_front()
    }

    /// What came.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        let room = BYTES_MAX.saturating_sub(self.bytes.len());
        self.bytes.extend(&bytes[..bytes.len().min(room)]);
        for speaker in &mut self.speakers {
            // Nothing here depends on the time.
            speaker.handle_bytes(Duration::ZERO, bytes);
        }
    }

    /// What a handshake wants to send back at once. Only control characters are passed on: letters may be commands.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let wants = self.speakers.iter_mut().find_map(|speaker| speaker.poll_transmit())?;
        wants.iter().all(|byte| byte.is_ascii_control()).then_some(wants)
    }

    /// Which trial of how many is being made. What comes may add some, or make others needless.
    pub fn progress(&self) -> (usize, usize) {
        (self.made, self.made + self.trials.len())
    }

    /// What came of it.
    pub fn outcome(mut self) -> Outcome {
        if self.outcome.found.is_empty() {
            self.outcome.found = self.complained;
        }
        self.outcome
    }

    /// The steps are done: what came decides on the next ones.
    fn conclude(&mut self) {
        match self.now.take() {
            None => self.begin(),
            Some(Doing::Listening(trial)) if self.bytes.is_empty() => {
                // What was asked with other settings, or without an end, must not stand before the next question.
                if !trial.questions.is_empty() {
                    self.steps.push_back(Step::Write(END.to_vec()));
                }
                self.ask(trial);
            }
            // It sends by itself: questions would only disturb it, and the next speed is no better if this one was read.
            Some(Doing::Listening(trial)) => self.judge(trial, None),
            Some(Doing::Asking(trial, _, _)) if self.bytes.is_empty() => self.ask(trial),
            Some(Doing::Asking(trial, question, asked)) if asked < ASKED => {
                self.put(trial, question, asked + 1);
            }
            Some(Doing::Asking(trial, question, _)) => self.judge(trial, Some(question)),
        }
    }

    fn begin(&mut self) {
        let Some(trial) = self.trials.pop_front() else { return };
        self.made += 1;
        self.bytes.clear();
        self.speakers.clear();
        self.steps.extend([Step::Set(trial.line), Step::Listen(STREAM_WAIT)]);
        self.now = Some(Doing::Listening(trial));
    }

    /// The next question of the trial, or the next trial.
    fn ask(&mut self, mut trial: Trial) {
        match trial.questions.pop_front() {
            Some(question) => self.put(trial, question, 1),
            None => self.begin(),
        }
    }

    fn put(&mut self, trial: Trial, question: Vec<u8>, asked: usize) {
        self.speakers.clear();
        for row in SCALES {
            let mut decoder = row.decoder(&ScaleOptions::default());
            if ask(&mut *decoder).as_ref() == Some(&question) {
                self.speakers.push(decoder);
            }
        }
        self.steps.extend([Step::Write(question.clone()), Step::Listen(ANSWER_WAIT)]);
        self.now = Some(Doing::Asking(trial, question, asked));
    }

    fn judge(&mut self, trial: Trial, question: Option<Vec<u8>>) {
        let bytes = std::mem::take(&mut self.bytes);
        let found = understood(&bytes, trial.line);
        if found.iter().any(|found| found.score.frames > 0) {
            self.outcome.found = found.into_iter().filter(|found| found.score.frames > 0).collect();
            self.trials.clear();
            return;
        }
        let diagnosis = diagnosis::judge(&bytes, "", trial.line);
        if let Diagnosis::Parity { sent, .. } = &diagnosis
            && !self.suggested.contains(&(*sent, question.clone()))
        {
            self.suggested.push((*sent, question.clone()));
            let questions = question.into_iter().chain(trial.questions).collect();
            self.trials.push_front(Trial { line: *sent, questions });
            return self.begin();
        }
        if self.complained.is_empty() && !found.is_empty() {
            // Asked in another language, but with the right settings: only another question is missing.
            self.complained = found;
            self.trials.retain(|other| other.line == trial.line);
        }
        self.outcome.heard.get_or_insert((trial.line, diagnosis));
        match question {
            Some(_) => self.ask(trial),
            // It sends by itself, and is not understood: no question helps.
            None => self.begin(),
        }
    }
}

/// All trials, the likely ones first.
fn plan() -> VecDeque<Trial> {
    let mut trials: Vec<Trial> = Vec::new();
    let mut add = |line: LineSettings, question: Option<Vec<u8>>| {
        let at = trials.iter().position(|trial| trial.line == line).unwrap_or_else(|| {
            trials.push(Trial { line, questions: VecDeque::new() });
            trials.len() - 1
        });
        let questions = &mut trials[at].questions;
        questions.extend(question.filter(|question| !questions.contains(question)));
    };
    for row in SCALES {
        add(row.line(), question(*row));
    }
    // A question without an end would stand before the next one.
    let has_end = |question: &Vec<u8>| question.ends_with(b"\r") || question.ends_with(b"\n");
    for trial in &mut trials {
        trial.questions.make_contiguous().sort_by_key(|question| !has_end(question));
    }
    let mut trials: VecDeque<Trial> = trials.into();
    for baud in SPEEDS {
        for (data_bits, parity) in FORMATS {
            let line = LineSettings { baud, data_bits, parity, stop_bits: 1 };
            let asked = trials.iter().find(|trial| trial.line == line).map(|trial| trial.questions.clone());
            let asked = asked.unwrap_or_default();
            let mut questions = VecDeque::new();
            for question in SCALES.iter().filter_map(|row| question(*row)) {
                if !asked.contains(&question) && !questions.contains(&question) && is_text(&question) {
                    questions.push_back(question);
                }
            }
            questions.make_contiguous().sort_by_key(|question| !has_end(question));
            trials.push_back(Trial { line, questions });
        }
    }
    trials
}

/// What a protocol asks, if no scale takes that for something else.
fn question(row: &dyn ScaleProtocol) -> Option<Vec<u8>> {
    ask(&mut *row.decoder(&ScaleOptions::default()))
}

fn ask(decoder: &mut dyn ScaleDecoder) -> Option<Vec<u8>> {
    /// Some ask for the tare first.
    const REQUESTS: usize = 4;
    std::iter::from_fn(|| decoder.request()).take(REQUESTS).find(|request| is_harmless(request))
}

fn is_harmless(request: &[u8]) -> bool {
    !PRINT_KEYS.contains(&request) && !request.iter().any(|byte| HARMFUL.contains(byte))
}

/// A load cell's binary greeting is worth asking with its own speed alone.
fn is_text(request: &[u8]) -> bool {
    request.iter().all(u8::is_ascii)
}

/// The protocols that understand the bytes, the surest first.
fn understood(bytes: &[u8], line: LineSettings) -> Vec<Found> {
    // Whoever reads does not notice how many stop bits there are; then it is as many as usual.
    let usual = |row: &dyn ScaleProtocol| {
        let usual = row.line();
        if (LineSettings { stop_bits: usual.stop_bits, ..line }) == usual { usual } else { line }
    };
    let found = |found: &diagnosis::Match| Found {
        protocol: found.row.name(),
        title: found.row.title(),
        line: usual(found.row),
        score: found.score,
        needs_unit: found.options.unit.is_some(),
        bare: !found.options.checksum,
    };
    diagnosis::matches(bytes).iter().map(found).collect()
}

#[cfg(test)]
mod tests;
