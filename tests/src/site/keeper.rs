//! The storekeeper: scans, listens, and goes on only when the station has answered.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::device::scale::{MODELS, Model};
use crate::device::{Heard, LineScanner, Scale, Scanner, scanner};
use crate::real::World;
use crate::real::process::wait_until;
use crate::script::{Act, Stroke};

/// Somebody at a station with a scanner and a scale.
pub struct Keeper {
    /// The scanner.
    pub scanner: LineScanner,
    /// Another one that is used in its place.
    other: Option<Scanner>,
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
            other: None,
            scale: Scale::plug(model, &folder.join("scale"))?,
            patience: Duration::from_secs(10),
            ended_at: None,
        })
    }

    /// Takes another kind of scanner into the hand; gives its port and the lines of its configuration.
    ///
    /// # Errors
    /// When no pseudo terminal can be had.
    pub fn take_scanner(
        &mut self,
        folder: &Path,
        model: &'static scanner::Model,
    ) -> Result<(PathBuf, String)> {
        let other = self.other.insert(Scanner::plug(model, &folder.join("other-scanner"))?);
        Ok((other.port().into(), format!("protocol = \"{}\"\n{}", model.name, model.config)))
    }

    fn send(&mut self, code: &str) -> Result<()> {
        let Some(other) = &self.other else { return self.scanner.send(code) };
        // The agent may still be telling it how to send.
        wait_until("the scanner is set up", self.patience, || Ok(other.is_ready().then_some(())))?;
        other.scan(code);
        Ok(())
    }

    fn hear(&mut self, wait: Duration) -> Result<Option<Heard>> {
        let Some(other) = &self.other else { return self.scanner.hear(wait) };
        let (heard, sounds) = (other.hear(wait), other.model().sounds);
        Ok(match heard {
            heard if heard.is_empty() => None,
            heard if heard == sounds.good => Some(Heard::Good),
            heard if heard == sounds.heard => Some(Heard::Understood),
            _ => Some(Heard::Bad),
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
        while self.hear(Duration::from_millis(5))?.is_some() {}
        let mut recorded = false;
        for stroke in act.strokes(world) {
            let heard = match &stroke {
                Stroke::Scan(code) | Stroke::Record(code) => {
                    self.send(code)?;
                    self.hear(self.patience)?
                }
                Stroke::Weigh(grams) => {
                    self.scale.put(*grams, SWING);
                    match self.hear(self.patience)? {
                        // Faster than the agent could see that the last goods were lifted: these are others.
                        Some(Heard::Bad) => {
                            self.send("SW:CMD:WEIGH")?;
                            match self.hear(self.patience)? {
                                Some(Heard::Understood) => self.hear(self.patience)?,
                                heard => heard,
                            }
                        }
                        heard => heard,
                    }
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
        self.send(code)?;
        let heard = self.hear(self.patience)?;
        heard.with_context(|| format!("no signal within {:?} after {code:?}", self.patience))
    }
}
