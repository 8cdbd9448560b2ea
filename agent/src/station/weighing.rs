//! The station's side of weighing: when the scale is asked, which of its readings a session gets, and what the operator
//! is told about the others. The judgement itself is [`Capture`]'s.
//!
//! ```text
//!  a session wants a weight:  asked at once, and again until one may be taken
//!  the platform was not seen empty since the last one:  watched, so that the moment between two loads is noticed
//!  nothing but the operator's word helps:  WEIGH, and what lies there then is taken
//! ```

use std::time::Duration;

use stockwire_protocol::When;

use super::{Action, Running, Station};
use crate::feedback::Signal;
use crate::scale::capture::{Capture, Wait};
use crate::scale::{FaultKind, FrameFault, Reading};
use crate::workflow::Input;
use crate::workflow::amount::{self, Weighed, Weight};

/// Pause between two questions to the scale while its weight is not bookable yet.
pub const WEIGHT_POLL: Duration = Duration::from_millis(250);
/// A scale that has not answered by then is asked again.
pub const WEIGHT_ANSWER_MAX: Duration = Duration::from_secs(1);
/// One that prints is not asked again before: each time costs paper, or a beep that nobody understands.
const PRINT_ANSWER_MAX: Duration = Duration::from_secs(3);
/// Pause between two looks for an empty platform: nobody lifts one crate and sets down another within it.
pub const PLATFORM_POLL: Duration = Duration::from_millis(500);
/// The platform is watched for so long after the operator did something, within a workflow or after it: goods are lifted
/// after DONE as well. Later a station is quiet, and the operator says that the next goods are new.
pub const PLATFORM_WATCH_MAX: Duration = Duration::from_secs(60);

/// What is known of the scale's platform.
#[derive(Default)]
pub(super) struct Platform {
    pub(super) capture: Capture,
    /// When to look next whether it is empty; `None` while that is of no interest.
    pub(super) look: Option<Duration>,
    /// Until when to look.
    pub(super) look_until: Duration,
}

/// The scale is being asked.
pub(super) struct Asking {
    /// When to ask again; `None`: when the operator says so.
    pub(super) due: Option<Duration>,
    /// Something came since it was asked last.
    answered: bool,
    /// Why nothing but the operator's word, or their hands, helps.
    told: Option<Wait>,
}

impl Station {
    /// Begins to ask, or ends it, as the session wants.
    pub(super) fn arrange_weighing(&mut self, now: Duration) {
        let Some(running) = &mut self.running else {
            self.platform.capture.handle_unwanted();
            return;
        };
        match (running.session.weighing(), &running.asking) {
            (Some(_), None) => {
                self.platform.capture.handle_wanted(now);
                let due = (!self.config.scale_prints).then_some(now + WEIGHT_ANSWER_MAX);
                running.asking = Some(Asking { due, answered: false, told: None });
                if due.is_some() {
                    self.actions.push_back(Action::RequestWeight);
                }
            }
            (None, Some(_)) => {
                // Nobody asks the scale any more, so what it showed last must not stand there as if it were now.
                running.asking = None;
                self.screen.weight = None;
                self.platform.capture.handle_unwanted();
            }
            _ => {}
        }
    }

    /// Asks again.
    pub(super) fn ask_again(&mut self, now: Duration) {
        let answer_max = if self.config.scale_prints { PRINT_ANSWER_MAX } else { WEIGHT_ANSWER_MAX };
        if let Some(Running { asking: Some(asking), .. }) = &mut self.running {
            if !std::mem::take(&mut asking.answered) {
                // It says nothing: what it showed last is no weight of now.
                self.screen.weight = None;
            }
            asking.due = Some(now + answer_max);
            self.actions.push_back(Action::RequestWeight);
        }
    }

    /// The scale's decoder gave this. Each reading is shown to the judge, wanted or not.
    pub(super) fn weigh(&mut self, now: Duration, when: When, reply: Result<Reading, FrameFault>) {
        let judged = reply.as_ref().ok().map(|reading| self.platform.capture.handle_reading(now, reading));
        if self.recording.is_some() {
            return;
        }
        let Some(Running { session, asking: Some(asking), .. }) = &mut self.running else { return };
        asking.answered = true;
        let Some(uom) = session.weighing() else { return };
        let (reading, judged) = match (reply, judged) {
            (Ok(reading), Some(judged)) => (reading, judged),
            (Err(FrameFault { kind: FaultKind::OtherReply, .. }), _) | (Ok(_), None) => return,
            (Err(fault), _) => {
                asking.due = (!self.config.scale_prints).then_some(now + WEIGHT_POLL);
                return self.note(format!("the scale: {fault}"));
            }
        };
        let weight = judged.map(|vouched| amount::weight(uom, &reading, vouched));
        asking.told = match weight {
            Err(wait) if wait.prompt().is_some() => Some(wait),
            // A load that swings does not make the operator's part undone.
            Err(Wait::Moving | Wait::Early) => asking.told,
            _ => None,
        };
        asking.due = (!self.config.scale_prints).then_some(now + WEIGHT_POLL);
        if self.config.scale_prints && weight.is_err() {
            // It printed once; for another print the operator says so again.
            self.platform.capture.handle_unwanted();
        }
        match weight {
            Ok(Weight::Bookable(weighed)) => self.take(now, when, weighed),
            Ok(Weight::Nothing) => self.note(Wait::Empty.as_str().into()),
            Ok(Weight::Refused(why)) => self.refuse(why),
            Err(Wait::Early) => {}
            Err(wait) if wait.prompt().is_some() => self.refuse(wait.as_str().into()),
            Err(wait) => self.note(wait.as_str().into()),
        }
    }

    /// A session gets a weight. It counts as used at once, unless the session does not take it or it is not stored.
    fn take(&mut self, now: Duration, when: When, weighed: Weighed) {
        let before = self.platform.capture.clone();
        let deadline = self.running.as_ref().map(|running| running.deadline);
        self.step(now, when, None, Input::Weight(weighed));
        match (&mut self.recording, &mut self.running) {
            (None, Some(running)) if running.asking.is_some() => {
                // It did not fit and is asked for as before: the goods that lie there do not prolong the session.
                running.deadline = deadline.unwrap_or(running.deadline);
                return;
            }
            (Some(recording), _) => recording.weighed = Some(before),
            _ => {}
        }
        self.platform.capture.handle_used();
        self.platform.look_until = now + PLATFORM_WATCH_MAX;
    }

    /// Whether WEIGH means now: what lies on the scale is new, and stands still.
    pub(super) fn wants_word(&self) -> bool {
        let asking = self.running.as_ref().and_then(|running| running.asking.as_ref());
        asking.is_some_and(|asking| asking.told.is_some() || self.config.scale_prints)
    }

    /// The operator scanned WEIGH.
    pub(super) fn confirm(&mut self, now: Duration) {
        self.platform.capture.handle_confirmed(now);
        if let Some(running) = &mut self.running {
            running.deadline = now + running.session.patience();
            if let Some(asking) = &mut running.asking {
                asking.told = None;
            }
        }
        self.ask_again(now);
        self.signal(Signal::Heard, "what lies on the scale is weighed".into());
    }

    /// What the operator should do while the scale is asked; `wanted` is what the session says.
    pub(super) fn weighing_prompt(&self, wanted: String) -> String {
        match self.running.as_ref().and_then(|running| running.asking.as_ref()) {
            Some(_) if self.platform.capture.is_confirmed() => wanted,
            Some(Asking { told: Some(wait), .. }) if !self.config.scale_prints => {
                wait.prompt().map_or(wanted, String::from)
            }
            Some(_) if self.config.scale_prints => format!("{wanted}, then scan WEIGH"),
            _ => wanted,
        }
    }

    /// Looks whether the platform is empty, as long as that is of interest.
    pub(super) fn watch_platform(&mut self, now: Duration) {
        let asked = self.running.as_ref().is_some_and(|running| running.asking.is_some());
        let shows_empty = self.config.scale && !self.config.scale_prints;
        let worked = now < self.platform.look_until;
        let wanted = shows_empty && worked && !asked && self.platform.capture.wants_empty();
        match self.platform.look {
            Some(due) if wanted && now < due => {}
            _ if wanted => {
                self.platform.look = Some(now + PLATFORM_POLL);
                self.actions.push_back(Action::RequestWeight);
            }
            Some(_) => {
                self.platform.look = None;
                if !asked {
                    self.screen.weight = None;
                }
            }
            None => {}
        }
    }

    /// Said once: the scale repeats it several times a second.
    fn refuse(&mut self, why: String) {
        if self.screen.message != why {
            self.signal(Signal::Refused, why);
        }
    }
}
