//! `stockwire-agent sheet`: barcodes to print.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use stockwire_agent::config::Config;
use stockwire_agent::io::file;
use stockwire_agent::sheet::{self, Options, Page, Paper, QUANTITIES, Sheet, Symbol, range};
use stockwire_agent::{catalogue, run};
use stockwire_protocol::{LocationId, OperatorId};

use crate::Usage;

#[derive(Subcommand)]
pub(crate) enum SheetCommand {
    /// What begins a task, ends it, takes back and answers.
    Commands {
        #[command(flatten)]
        how: How,
    },
    /// Numbers of pieces.
    Quantities {
        /// Such as 6 or 0.5; without any, the usual ones.
        numbers: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Shelves, bins and docks.
    Locations {
        /// Such as DOCK-1, or A-01..A-40 for forty of them.
        names: Vec<String>,
        /// All that the gateway has told this box.
        #[arg(long, conflicts_with = "names")]
        from_catalogue: bool,
        #[command(flatten)]
        how: How,
    },
    /// Operators.
    Badges {
        /// As they are to stand in the records.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Args)]
pub(crate) struct How {
    /// Where to; SVG has a file for each page. Without it, standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// pdf or svg; without it, what the file's name ends in, else pdf.
    #[arg(long, value_parser = format)]
    format: Option<Format>,
    /// What the printer holds: a4 or letter.
    #[arg(long, default_value = "a4", value_parser = paper)]
    paper: Paper,
    /// code128, which every scanner reads, or datamatrix, which cameras read.
    #[arg(long, default_value = "code128", value_parser = symbol)]
    symbol: Symbol,
    /// A label's width and height in millimetres.
    #[arg(long, value_name = "WxH", value_parser = label_size)]
    label: Option<(u16, u16)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Pdf,
    Svg,
}

// Plain functions: three enumerations of clap's would be as large as the code that writes PDF.

fn format(text: &str) -> Result<Format, String> {
    match text {
        "pdf" => Ok(Format::Pdf),
        "svg" => Ok(Format::Svg),
        _ => Err("expected pdf or svg".to_owned()),
    }
}

fn paper(text: &str) -> Result<Paper, String> {
    match text {
        "a4" => Ok(Paper::A4),
        "letter" => Ok(Paper::Letter),
        _ => Err("expected a4 or letter".to_owned()),
    }
}

fn symbol(text: &str) -> Result<Symbol, String> {
    match text {
        "code128" => Ok(Symbol::Code128),
        "datamatrix" => Ok(Symbol::DataMatrix),
        _ => Err("expected code128 or datamatrix".to_owned()),
    }
}

fn label_size(text: &str) -> Result<(u16, u16), String> {
    let sides = text.split_once(['x', 'X']);
    let sides = sides.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    sides.ok_or_else(|| format!("expected millimetres such as 70x37, got {text:?}"))
}

pub(crate) fn execute(
    command: SheetCommand,
    config: impl FnOnce() -> anyhow::Result<Config>,
) -> anyhow::Result<ExitCode> {
    let usage = |error: &dyn std::error::Error| Usage(error.to_string());
    let (sheet, how) = match command {
        // These are the same at every site; its name stands on them where it is known.
        SheetCommand::Commands { how } => (sheet::commands(&site(config)), how),
        SheetCommand::Quantities { numbers, how } => {
            let site = site(config);
            let sheet = if numbers.is_empty() {
                sheet::quantities(&site, QUANTITIES.iter().copied())
            } else {
                sheet::quantities(&site, numbers.iter().map(String::as_str))
            };
            (sheet.map_err(|error| usage(&error))?, how)
        }
        SheetCommand::Locations { names, from_catalogue, how } => {
            let config = config()?;
            let names = if from_catalogue { known_locations(&config)? } else { named_locations(&names)? };
            (sheet::locations(&config.site, config.site_gln, &names), how)
        }
        SheetCommand::Badges { names, how } => {
            let names = names.iter().map(|name| {
                OperatorId::new(name.as_str()).map_err(|error| Usage(format!("{name:?}: {error}")))
            });
            let names = names.collect::<Result<Vec<_>, _>>()?;
            (sheet::badges(&site(config), &names), how)
        }
    };
    let options = Options { paper: how.paper, symbol: how.symbol, label_mm: how.label };
    let pages = sheet::pages(&sheet, &options).map_err(|error| usage(&error))?;
    write(&sheet, &pages, &how)?;
    Ok(ExitCode::SUCCESS)
}

/// The site's name, to stand on the page. Without a configuration the page is as good, and a person is told.
fn site(config: impl FnOnce() -> anyhow::Result<Config>) -> String {
    match config() {
        Ok(config) => config.site.to_string(),
        Err(error) => {
            eprintln!("note: without the site's name on it: {error:#}");
            String::new()
        }
    }
}

fn named_locations(words: &[String]) -> anyhow::Result<Vec<LocationId>> {
    if words.is_empty() {
        let hint = "name locations, such as DOCK-1 or A-01..A-40, or say --from-catalogue";
        return Err(Usage(hint.to_owned()).into());
    }
    let mut names = Vec::new();
    for word in words {
        names.extend(range::expand(word).map_err(|error| Usage(format!("{:#}", anyhow::Error::new(error))))?);
    }
    Ok(names)
}

fn known_locations(config: &Config) -> anyhow::Result<Vec<LocationId>> {
    let path = run::catalogue_path(config);
    let bytes = file::read_limited(&path, run::CATALOGUE_FILE_BYTES_MAX)
        .with_context(|| format!("reading {}", path.display()))?
        .with_context(|| {
            format!(
                "{} is not there: no catalogue has come from the gateway yet; name the locations instead",
                path.display()
            )
        })?;
    let catalogue = catalogue::load(config.site.clone(), &bytes)
        .with_context(|| format!("{}: name the locations instead", path.display()))?;
    let mut names: Vec<LocationId> = catalogue.current().locations().cloned().collect();
    names.sort_unstable();
    Ok(names)
}

fn write(sheet: &Sheet, pages: &[Page], how: &How) -> anyhow::Result<()> {
    let ending = |path: &Path| path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("svg"));
    let by_name = if how.out.as_deref().is_some_and(ending) { Format::Svg } else { Format::Pdf };
    let format = how.format.unwrap_or(by_name);
    let title = format!("{} {}", sheet.title, sheet.site);
    let Some(out) = &how.out else {
        let bytes = match (format, pages) {
            (Format::Pdf, pages) => sheet::pdf::write(&title, pages),
            (Format::Svg, [page]) => sheet::svg::write(&title, page).into_bytes(),
            (Format::Svg, pages) => {
                let hint = format!("{} pages are as many SVG files: name the first with --out", pages.len());
                return Err(Usage(hint).into());
            }
        };
        if io::stdout().is_terminal() {
            return Err(Usage("this is nothing to look at in a terminal: say --out FILE".to_owned()).into());
        }
        return Ok(io::stdout().write_all(&bytes)?);
    };
    let save = |path: &Path, bytes: &[u8]| {
        file::write_atomically(path, bytes).with_context(|| format!("writing {}", path.display()))
    };
    match format {
        Format::Pdf => save(out, &sheet::pdf::write(&title, pages))?,
        Format::Svg => {
            for (at, page) in pages.iter().enumerate() {
                save(&numbered(out, at), sheet::svg::write(&title, page).as_bytes())?;
            }
        }
    }
    let more = if format == Format::Svg && pages.len() > 1 { " and the files numbered after it" } else { "" };
    eprintln!("{} labels on {} page(s) in {}{more}", sheet.len(), pages.len(), out.display());
    Ok(())
}

/// `labels.svg`, then `labels-2.svg`.
fn numbered(path: &Path, at: usize) -> PathBuf {
    if at == 0 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{}", at + 1));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}
