//! The journals of this box: the one that records, and before it any earlier life that a salvage left to be sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stockwire_protocol::{Digest, Event, MovementId, Sequence};

use crate::config::Config;
use crate::health::{Fault, JournalHealth};
use crate::io::sqlite_journal::{
    JournalOptions, JournalStats, Maintenance, OpenError, RETAINED_ROWS_DEFAULT, Salvage, SqliteJournal,
};
use crate::journal::{Journal as _, JournalError, ReadLimit};
use crate::picture::Picture;
use crate::station::{Recorded, SharedPicture};
use crate::tasks::Tasks;

/// Between two attempts to open a journal that failed: a disk that was pulled out comes back within seconds, and each
/// attempt costs a few reads.
const REOPEN_WAIT: Duration = Duration::from_secs(2);
/// A watermark that moved and met no append is made durable after this. It costs a flush; were it lost, the gateway
/// would only be sent the same rows again.
const WATERMARK_WAIT: Duration = Duration::from_secs(60);
/// After the last append, before the log is copied: a burst of scans is over by then.
const QUIET_WAIT: Duration = Duration::from_millis(200);
/// Rows that are read at a start to know what was recorded lately: some hours of one box, and a few milliseconds.
const HISTORY_ROWS_MAX: usize = 512;
/// An earlier life takes no rows, so that it has no quota to keep.
const EARLIER_QUOTA_BYTES: u64 = 1 << 40;

/// The current life, and the one that is sent.
pub(super) struct Lives {
    current: SqliteJournal,
    /// Sent before the current one; `None` ordinarily.
    earlier: Option<SqliteJournal>,
    /// The current life's head when it was opened.
    head_at_start: Sequence,
    maintain_at: Option<Duration>,
    watermark_at: Option<Duration>,
    reopen_at: Option<Duration>,
    fault: Option<Fault>,
}

impl Lives {
    pub(super) fn open(config: &Config, unix_s: i64) -> anyhow::Result<Self> {
        let options = JournalOptions {
            path: config.journal_path.clone(),
            quota_bytes: config.journal_quota_bytes,
            retained_rows: config.retained_rows,
        };
        let (current, salvage) = SqliteJournal::open_or_salvage(options, unix_s)?;
        if let Some(salvage) = &salvage {
            tell(salvage);
        }
        let head_at_start = current.head();
        let mut lives = Self {
            current,
            earlier: None,
            head_at_start,
            maintain_at: None,
            watermark_at: None,
            reopen_at: None,
            fault: None,
        };
        // Scans must go on whatever became of an earlier journal; it stays on the disk, and `status` shows the fault.
        if let Err(error) = lives.find_earlier(unix_s) {
            lives.note(chain(&error), error.hint());
        }
        Ok(lives)
    }

    /// What was recorded last, with its identity, and the picture of the stock with it.
    pub(super) fn remember(
        &self,
        config: &Config,
        tasks: &Arc<Tasks>,
    ) -> (SharedPicture, Vec<(MovementId, Event)>) {
        let journal = &self.current;
        let mut picture = Picture::new(config.site.clone());
        picture.handle_tasks(Arc::clone(tasks));
        let after = Sequence::new(journal.head().get().saturating_sub(HISTORY_ROWS_MAX as u64));
        let after = after.max(journal.kept_after());
        let limit = ReadLimit { events: HISTORY_ROWS_MAX, bytes: usize::MAX };
        let events = journal.read(after, limit).unwrap_or_else(|error| {
            // It is a picture; what is recorded from now on does not depend on it.
            tracing::warn!(error = chain(&error), "what was recorded last cannot be read");
            Vec::new()
        });
        picture.handle_recorded(journal.epoch(), journal.head(), &events);
        let id = |sequence| MovementId { agent: config.agent.clone(), epoch: journal.epoch(), sequence };
        let history = (after.get() + 1..).map(Sequence::new).map(id).zip(events).collect();
        (Arc::new(Mutex::new(picture)), history)
    }

    /// Where scans are recorded.
    pub(super) fn current(&self) -> &SqliteJournal {
        &self.current
    }

    /// What is being sent.
    pub(super) fn sending(&self) -> &SqliteJournal {
        self.earlier.as_ref().unwrap_or(&self.current)
    }

    /// What is being sent.
    pub(super) fn sending_mut(&mut self) -> &mut SqliteJournal {
        self.earlier.as_mut().unwrap_or(&mut self.current)
    }

    /// Appends the requests with one flush, and answers each.
    ///
    /// One that cannot be stored does not take the others with it: then each is tried by itself.
    pub(super) fn append(
        &mut self,
        now: Duration,
        requests: &[Vec<Event>],
    ) -> Vec<Result<Recorded, JournalError>> {
        let all: Vec<Event> = requests.concat();
        let before = self.current.head().get();
        let outcomes = match self.current.append(&all) {
            Ok(_) => {
                let mut last = before;
                requests
                    .iter()
                    .map(|request| {
                        Ok(self.recorded({
                            last += request.len() as u64;
                            last
                        }))
                    })
                    .collect()
            }
            Err(error) if requests.len() > 1 && !error.is_poisoned() => requests
                .iter()
                .map(|request| {
                    let head = self.current.append(request)?;
                    Ok(self.recorded(head.get()))
                })
                .collect(),
            Err(error) => {
                // Each request has its answer: a station without one would wait for ever.
                let told = chain(&error);
                let others = requests.iter().skip(1).map(|_| Err(JournalError::io("append", told.clone())));
                let others: Vec<_> = others.collect();
                std::iter::once(Err(error)).chain(others).collect()
            }
        };
        // The append took the watermark with it.
        self.watermark_at = None;
        if self.current.wants_maintenance() {
            self.maintain_at = Some(now + QUIET_WAIT);
        }
        outcomes
    }

    fn recorded(&self, last: u64) -> Recorded {
        Recorded { epoch: self.current.epoch(), last: Sequence::new(last) }
    }

    /// The gateway's watermark moved.
    pub(super) fn watermark_moved(&mut self, now: Duration) {
        self.watermark_at.get_or_insert(now + WATERMARK_WAIT);
        if self.sending().wants_maintenance() {
            self.maintain_at.get_or_insert(now + QUIET_WAIT);
        }
    }

    /// Goes on to the next life when the gateway holds all of an earlier one. `true`: another one is sent now.
    pub(super) fn advance(&mut self, unix_s: i64) -> Result<bool, OpenError> {
        let Some(earlier) = self.earlier.take_if(|earlier| earlier.watermark() == earlier.head()) else {
            return Ok(false);
        };
        tracing::info!(epoch = %earlier.epoch(), head = %earlier.head(), "the gateway holds all of an earlier journal");
        earlier.retire()?;
        self.find_earlier(unix_s)?;
        Ok(true)
    }

    /// The gateway holds more of the epoch than this journal ever had. `true`: another epoch is sent now.
    pub(super) fn overtaken(&mut self, unix_s: i64) -> Result<bool, OpenError> {
        if let Some(earlier) = &mut self.earlier {
            // The rows that the salvage could not find had been sent: nothing of that life is lost.
            let head = earlier.head();
            // The life ends with this: nobody asks for its digest again.
            if let Err(error) = earlier.handle_ack(head, Digest::START) {
                tracing::error!(%error, "an earlier journal cannot be ended");
            }
            return self.advance(unix_s);
        }
        let kept = self.current.begin_new_epoch(self.head_at_start, unix_s)?;
        self.head_at_start = self.current.head();
        tracing::error!(
            kept = %kept.display(), epoch = %self.current.epoch(),
            "the journal was an old copy: the gateway holds more of it. It was set aside and a new epoch begun"
        );
        Ok(true)
    }

    /// An error of either journal. `true`: another epoch is sent now.
    pub(super) fn failed(&mut self, now: Duration, error: &JournalError, unix_s: i64) -> bool {
        self.note(chain(error), error.hint());
        match error {
            // Only what is sent is read.
            JournalError::Corrupt { .. } => {
                self.salvage(now, self.earlier.is_some(), &error.to_string(), unix_s)
            }
            _ if error.is_poisoned() => {
                self.reopen_at.get_or_insert(now + REOPEN_WAIT);
                false
            }
            _ => false,
        }
    }

    /// For the log, once, and for `status`.
    fn note(&mut self, message: String, hint: &str) {
        let fault = Fault { message, hint: hint.to_owned() };
        if self.fault.as_ref() != Some(&fault) {
            tracing::error!(error = %fault.message, hint = %fault.hint, "journal");
        }
        self.fault = Some(fault);
    }

    /// After an append went well.
    pub(super) fn works(&mut self) {
        self.fault = None;
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        [self.maintain_at, self.watermark_at, self.reopen_at].into_iter().flatten().min()
    }

    /// `true`: another epoch is sent now.
    pub(super) fn handle_timeout(&mut self, now: Duration, unix_s: i64) -> bool {
        if self.reopen_at.is_some_and(|at| at <= now) {
            self.reopen_at = None;
            return self.reopen(now, unix_s);
        }
        if self.maintain_at.is_some_and(|at| at <= now) {
            self.maintain_at = None;
            return self.maintain(now, unix_s);
        }
        if self.watermark_at.is_some_and(|at| at <= now) {
            self.watermark_at = None;
            let saved = self.sending_mut().save_watermark();
            return saved.is_err_and(|error| self.failed(now, &error, unix_s));
        }
        false
    }

    fn maintain(&mut self, now: Duration, unix_s: i64) -> bool {
        let journals = [Some(&mut self.current), self.earlier.as_mut()];
        let mut error = None;
        for journal in journals.into_iter().flatten() {
            match journal.maintain() {
                Ok(Maintenance::Done) => {}
                Ok(Maintenance::More) => self.maintain_at = Some(now + QUIET_WAIT),
                Err(fault) => error = Some(fault),
            }
        }
        error.is_some_and(|error| self.failed(now, &error, unix_s))
    }

    fn reopen(&mut self, now: Duration, unix_s: i64) -> bool {
        for earlier in [false, true] {
            let journal = if earlier { self.earlier.as_mut() } else { Some(&mut self.current) };
            let Some(journal) = journal.filter(|journal| journal.is_poisoned()) else { continue };
            match journal.reopen() {
                Ok(()) => {
                    tracing::info!(path = %journal.path().display(), "the journal works again");
                    self.fault = None;
                }
                Err(OpenError::Damaged { reason, .. }) => return self.salvage(now, earlier, &reason, unix_s),
                Err(error) => {
                    self.note(chain(&error), error.hint());
                    self.reopen_at = Some(now + REOPEN_WAIT);
                }
            }
        }
        false
    }

    fn salvage(&mut self, now: Duration, earlier: bool, reason: &str, unix_s: i64) -> bool {
        let journal = self.earlier.as_mut().filter(|_| earlier).unwrap_or(&mut self.current);
        let salvaged = journal.salvage(reason, unix_s).and_then(|salvage| {
            tell(&salvage);
            // The salvaged file's own earlier life goes first.
            self.earlier = None;
            self.head_at_start = self.current.head();
            self.find_earlier(unix_s)
        });
        match salvaged {
            Ok(()) => {
                self.fault = None;
                true
            }
            Err(error) => {
                self.note(chain(&error), error.hint());
                self.reopen_at = Some(now + REOPEN_WAIT);
                false
            }
        }
    }

    fn find_earlier(&mut self, unix_s: i64) -> Result<(), OpenError> {
        for path in SqliteJournal::earlier_lives(self.current.path())? {
            let options = JournalOptions {
                path,
                quota_bytes: EARLIER_QUOTA_BYTES,
                retained_rows: RETAINED_ROWS_DEFAULT,
            };
            let (journal, salvage) = SqliteJournal::open_or_salvage(options, unix_s)?;
            if let Some(salvage) = &salvage {
                tell(salvage);
            }
            if journal.watermark() == journal.head() {
                journal.retire()?;
                continue;
            }
            tracing::info!(epoch = %journal.epoch(), head = %journal.head(), "an earlier journal is sent first");
            self.earlier = Some(journal);
            return Ok(());
        }
        Ok(())
    }

    /// At a clean stop: what can be made durable without anybody waiting.
    pub(super) fn stop(&mut self) -> Result<(), JournalError> {
        if let Some(earlier) = &mut self.earlier {
            earlier.save_watermark()?;
        }
        self.current.save_watermark()
    }

    pub(super) fn health(&self) -> JournalHealth {
        let (stats, fault) = match self.current.stats() {
            Ok(stats) => (stats, None),
            Err(error) => {
                let none = JournalStats {
                    used_bytes: 0,
                    quota_bytes: 0,
                    wal_frames: 0,
                    disk_full: false,
                    poisoned: true,
                };
                (none, Some(Fault { message: chain(&error), hint: error.hint().to_owned() }))
            }
        };
        JournalHealth {
            epoch: self.current.epoch().to_string(),
            head: self.current.head().get(),
            watermark: self.current.watermark().get(),
            used_bytes: stats.used_bytes,
            quota_bytes: stats.quota_bytes,
            fault: self.fault.clone().or(fault),
            set_aside: SqliteJournal::set_aside(self.current.path()).map_or_else(
                |error| vec![chain(&error)],
                |files| files.iter().map(|file| file.display().to_string()).collect(),
            ),
        }
    }
}

/// An error and its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn tell(salvage: &Salvage) {
    tracing::error!(
        reason = %salvage.reason, kept = %salvage.kept.display(), saved = salvage.saved, lost = salvage.lost,
        "the journal was damaged. It was set aside; rows that could be read are sent first, a new epoch has begun"
    );
}
