//! `stockwire-agent journal`: what is recorded, asked of the running agent or read from the file.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use serde::Deserialize;
use stockwire_agent::config::Config;
use stockwire_agent::io::socket::{self, Ask};
use stockwire_agent::io::sqlite_journal::{JournalReader, OpenError, StoredRow};
use stockwire_agent::journal::ReadLimit;
use stockwire_agent::show;
use stockwire_protocol::Sequence;

/// Rows asked for at once.
const PAGE: usize = 500;

#[derive(Subcommand)]
pub(crate) enum JournalCommand {
    /// The last events.
    Tail {
        /// How many.
        #[arg(short = 'n', default_value_t = 20)]
        count: u64,
        /// For machines: one object in each line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// How much there is.
    Stats {
        /// For machines.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Read every row and check it.
    Verify {
        #[command(flatten)]
        which: Which,
    },
    /// Every event, one JSON object in each line.
    Export {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Args)]
pub(crate) struct Which {
    /// A journal's file, such as one that was set aside, instead of the configured one.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// A journal, wherever its rows come from.
enum Source {
    File(JournalReader),
    /// An agent is running on it.
    Agent(PathBuf),
}

/// The edges of what is there.
struct Extent {
    epoch: String,
    head: u64,
    watermark: u64,
    kept_after: u64,
}

/// The agent's answer to [`Ask::Journal`].
#[derive(Deserialize)]
struct Page {
    epoch: String,
    head: u64,
    watermark: u64,
    kept_after: u64,
    rows: Vec<(u64, String)>,
}

pub(crate) fn execute(
    command: JournalCommand,
    config: impl FnOnce() -> anyhow::Result<Config>,
) -> anyhow::Result<ExitCode> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match command {
        JournalCommand::Tail { count, json, which } => {
            let source = Source::open(&which, config)?;
            let extent = source.extent()?;
            source.each_row(extent.head.saturating_sub(count), &mut |row| {
                let sequence = row.sequence;
                let event = row.into_event()?;
                let line = if json {
                    show::event_json(sequence, &event).to_string()
                } else {
                    show::event_text(sequence, &event)
                };
                Ok(writeln!(out, "{line}")?)
            })?;
        }
        JournalCommand::Stats { json, which } => {
            let Extent { epoch, head, watermark, kept_after } = Source::open(&which, config)?.extent()?;
            let backlog = head.saturating_sub(watermark);
            if json {
                let stats = serde_json::json!({
                    "epoch": epoch, "head": head, "watermark": watermark, "kept_after": kept_after, "backlog": backlog,
                });
                writeln!(out, "{stats}")?;
            } else {
                writeln!(out, "epoch {epoch}")?;
                writeln!(out, "{head} recorded, {watermark} acknowledged, {backlog} to be acknowledged")?;
                writeln!(out, "kept: {} to {head}", kept_after + 1)?;
            }
        }
        JournalCommand::Verify { which } => {
            let source = Source::open(&which, config)?;
            let extent = source.extent()?;
            let mut rows = 0u64;
            source.each_row(0, &mut |row| {
                row.into_event()?;
                rows += 1;
                Ok(())
            })?;
            if let Source::File(reader) = &source
                && reader.is_damaged()
            {
                bail!("the file is damaged; {rows} rows can be read: see `journal export --file`");
            }
            let expected = extent.head - extent.kept_after;
            // An agent that is running may have recorded more meanwhile.
            if rows < expected {
                bail!("{rows} rows were read, {expected} should be there");
            }
            writeln!(out, "{rows} rows, {} to {}: good", extent.kept_after + 1, extent.kept_after + rows)?;
        }
        JournalCommand::Export { which } => {
            let source = Source::open(&which, config)?;
            source.each_row(0, &mut |row| {
                let sequence = row.sequence;
                Ok(writeln!(out, "{}", show::event_json(sequence, &row.into_event()?))?)
            })?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

impl Source {
    fn open(which: &Which, config: impl FnOnce() -> anyhow::Result<Config>) -> anyhow::Result<Self> {
        let (path, socket) = match &which.file {
            Some(file) => (file.clone(), None),
            None => {
                let config = config()?;
                (config.journal_path, Some(config.socket))
            }
        };
        match (JournalReader::open(&path), socket) {
            (Ok(reader), _) => Ok(Source::File(reader)),
            (Err(OpenError::InUse { .. }), Some(socket)) => Ok(Source::Agent(socket)),
            (Err(error), _) => Err(error.into()),
        }
    }

    fn extent(&self) -> anyhow::Result<Extent> {
        Ok(match self {
            Source::File(reader) => Extent {
                epoch: reader.epoch().to_string(),
                head: reader.head().get(),
                watermark: reader.watermark().get(),
                kept_after: reader.kept_after().get(),
            },
            Source::Agent(socket) => {
                let Page { epoch, head, watermark, kept_after, .. } = page(socket, u64::MAX / 2, 1)?;
                Extent { epoch, head, watermark, kept_after }
            }
        })
    }

    /// Every row after this one.
    fn each_row(
        &self,
        mut after: u64,
        each: &mut dyn FnMut(StoredRow) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            let rows = match self {
                Source::File(reader) => {
                    reader.rows(Sequence::new(after), ReadLimit { events: PAGE, bytes: usize::MAX })?
                }
                Source::Agent(socket) => {
                    let rows = page(socket, after, PAGE)?.rows.into_iter().map(|(sequence, bytes)| {
                        let bytes = from_hex(&bytes)
                            .ok_or_else(|| anyhow!("the agent's answer holds no hexadecimal digits"))?;
                        Ok(StoredRow { sequence: Sequence::new(sequence), bytes })
                    });
                    rows.collect::<anyhow::Result<Vec<_>>>()?
                }
            };
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.sequence.get();
            for row in rows {
                each(row)?;
            }
        }
    }
}

fn page(socket: &Path, after: u64, limit: usize) -> anyhow::Result<Page> {
    let answer = socket::ask(socket, Ask::Journal { after, limit }).with_context(|| {
        format!("the journal is in use, and its agent does not answer at {}", socket.display())
    })?;
    serde_json::from_str(&answer).map_err(|_| anyhow!("the agent cannot give its rows: {answer}"))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
