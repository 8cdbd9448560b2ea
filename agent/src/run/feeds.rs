//! What the gateway tells, kept in files beside the journal: the catalogue and the tasks, each with its changes.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use stockwire_protocol::cbor::{CATALOGUE_BYTES_MAX, Message as _};
use stockwire_protocol::topic::Subject;

use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::feed::{self, Assembler, Book, Outcome};
use crate::io::file;
use crate::tasks::Tasks;

/// Both of them.
pub(super) struct Feeds {
    catalogue: Feed<Catalogue>,
    tasks: Feed<Tasks>,
}

/// Something newer has come.
pub(super) enum Told {
    Catalogue(Arc<Catalogue>),
    Tasks(Arc<Tasks>),
}

impl Feeds {
    /// What was told last, so that scans are understood before the broker is reached.
    pub(super) fn open(config: &Config) -> Self {
        Self {
            catalogue: Feed::open(config, "catalogue", super::catalogue_path(config)),
            tasks: Feed::open(config, "tasks", beside(&config.journal_path, ".tasks")),
        }
    }

    pub(super) fn catalogue(&self) -> &Arc<Catalogue> {
        self.catalogue.assembler.current()
    }

    pub(super) fn tasks(&self) -> &Arc<Tasks> {
        self.tasks.assembler.current()
    }

    /// A message of one of them.
    ///
    /// # Errors
    /// When it does not read.
    pub(super) fn handle_message(
        &mut self,
        subject: Subject,
        payload: &[u8],
    ) -> Result<Option<Told>, impl Display + use<>> {
        match subject {
            Subject::Tasks { .. } | Subject::TasksChanges => {
                self.tasks.handle_message(payload).map(|told| told.map(Told::Tasks))
            }
            _ => self.catalogue.handle_message(payload).map(|told| told.map(Told::Catalogue)),
        }
    }
}

/// One of them.
struct Feed<B: Book> {
    name: &'static str,
    assembler: Assembler<B>,
    path: PathBuf,
}

impl<B: Book> Feed<B> {
    /// A file that cannot be read is no reason not to start: the broker's retained copy comes again.
    fn open(config: &Config, name: &'static str, path: PathBuf) -> Self {
        let nothing = || Assembler::new(config.site.clone());
        let tell = |error: anyhow::Error, path: &Path| {
            tracing::error!(error = format!("{error:#}"), path = %path.display(), "the {name} cannot be read");
        };
        let loaded = file::read_limited(&path, super::CATALOGUE_FILE_BYTES_MAX)
            .map_err(anyhow::Error::new)
            .and_then(|bytes| {
                bytes.map_or_else(
                    || Ok(nothing()),
                    |bytes| feed::load(config.site.clone(), &bytes).context("its parts"),
                )
            });
        let mut assembler = loaded.unwrap_or_else(|error| {
            tell(error, &path);
            nothing()
        });
        let changes = beside(&path, ".changes");
        let put_on = |bytes: Vec<u8>| assembler.handle_stored_changes(&bytes).context("its changes");
        let stored = file::read_limited(&changes, CATALOGUE_BYTES_MAX as u64).map_err(anyhow::Error::new);
        if let Err(error) = stored.and_then(|bytes| bytes.map_or(Ok(()), put_on)) {
            tell(error, &changes);
        }
        Self { name, assembler, path }
    }

    fn handle_message(
        &mut self,
        payload: &[u8],
    ) -> Result<Option<Arc<B>>, stockwire_protocol::cbor::DecodeError> {
        let outcome = self.assembler.handle_part(B::Part::decode(payload)?);
        let mut told = self.keep(outcome);
        if told.is_some()
            && let Some(outcome) = self.assembler.handle_waiting()
        {
            told = self.keep(outcome).or(told);
        }
        Ok(told)
    }

    fn keep(&self, outcome: Outcome<B>) -> Option<Arc<B>> {
        let (current, durable, path) = match outcome {
            Outcome::Complete { current, durable } => (current, durable, self.path.clone()),
            Outcome::Changed { current, durable } => (current, durable, beside(&self.path, ".changes")),
            Outcome::Waiting { .. } | Outcome::Stale { .. } => return None,
            Outcome::Refused(error) => {
                tracing::warn!(
                    error = super::lives::chain(&error),
                    "a part of the {} was refused",
                    self.name
                );
                return None;
            }
        };
        tracing::info!(revision = current.revision(), "{}", self.name);
        if let Err(error) = file::write_atomically(&path, &durable) {
            // It is used all the same; after a restart the broker's retained copy comes again.
            tracing::error!(%error, path = %path.display(), "the {} cannot be kept", self.name);
        }
        Some(current)
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
