//! The storekeeper: scans, listens, and goes on only when the station has answered.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::device::scale::{MODELS, Model};
use crate::device::{Heard, LineScanner, Scale};
use crate::real::World;
use crate::script::{Act, Stroke};

/// Somebody at a station with a scanner and a scale.
pub struct Keeper {
    /// The scanner.
    pub scanner: LineScanner,
    /// The scale.
    pub scale: Scale,
    /// Longest wait for a signal.
    pub patience: Duration,
    /// The stroke at which the last act ended, and what was heard after it.
    pub ended_at: Option<(Stroke, Option<Heard>)>,
}

/// How an act ended for the storekeeper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The good signal came: it is on disk.
    Recorded,
    /// No signal came after the stroke that records: it may be on disk or not.
    InDoubt,
    /// The station was deaf or refused before the stroke that records: it is not on disk.
    NotDone,
}

/// A swing of the platform, shorter than a person's hand takes to leave it.
const SWING: Duration = Duration::from_millis(60);

impl Keeper {
    /// Plugs the devices in, at stable names in a folder.
    ///
    /// # Errors
    /// When no pseudo terminal can be had.
    pub fn plug(folder: &Path) -> Result<Self> {
        Self::plug_with(folder, MODELS[0])
    }

    /// The same with another kind of scale.
    ///
    /// # Errors
    /// When no pseudo terminal can be had.
    pub fn plug_with(folder: &Path, model: &'static Model) -> Result<Self> {
        Ok(Self {
            scanner: LineScanner::plug(&folder.join("scanner"))?,
            scale: Scale::plug(model, &folder.join("scale"))?,
            patience: Duration::from_secs(10),
            ended_at: None,
        })
    }

    /// Does one act and expects it to go well.
    ///
    /// # Errors
    /// When a signal is missing or bad.
    pub fn perform(&mut self, world: &World, act: &Act) -> Result<()> {
        match self.attempt(world, act)? {
            Outcome::Recorded => Ok(()),
            outcome => bail!("{}: {outcome:?} at {:?}", act.describe(world), self.ended_at),
        }
    }

    /// Does one act while anything may fail.
    ///
    /// # Errors
    /// When the virtual devices themselves fail.
    pub fn attempt(&mut self, world: &World, act: &Act) -> Result<Outcome> {
        // What a station that is just starting still says is about something else.
        while self.scanner.hear(Duration::from_millis(5))?.is_some() {}
        let mut recorded = false;
        for stroke in act.strokes(world) {
            let heard = match &stroke {
                Stroke::Scan(code) | Stroke::Record(code) => {
                    self.scanner.send(code)?;
                    self.scanner.hear(self.patience)?
                }
                Stroke::Weigh(grams) => {
                    self.scale.put(*grams, SWING);
                    self.scanner.hear(self.patience)?
                }
                Stroke::Clear => {
                    self.scale.put(0, SWING);
                    continue;
                }
            };
            self.ended_at = Some((stroke.clone(), heard));
            let records = matches!(stroke, Stroke::Record(_) | Stroke::Weigh(_));
            match (records, heard) {
                (true, Some(Heard::Good)) => recorded = true,
                (false, Some(Heard::Understood)) => {}
                // After the fact is recorded, nothing that follows can undo it.
                _ if recorded => break,
                (true, None) => {
                    self.scale.put(0, SWING);
                    return Ok(Outcome::InDoubt);
                }
                _ => {
                    self.scale.put(0, SWING);
                    return Ok(Outcome::NotDone);
                }
            }
        }
        ensure!(recorded, "{} has no stroke that records", act.describe(world));
        Ok(Outcome::Recorded)
    }

    /// Scans one code and tells what was heard.
    ///
    /// # Errors
    /// When no signal comes.
    pub fn scan(&mut self, code: &str) -> Result<Heard> {
        self.scanner.scan(code, self.patience).with_context(|| format!("scanning {code:?}"))
    }
}
