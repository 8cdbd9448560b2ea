//! Sheets of barcodes to print: commands, quantities, locations and badges, each with its text under it.
//!
//! ```text
//!  tables and names -> Sheet (groups of labels) -> layout -> Page (marks) -> pdf, svg
//! ```
//!
//! All lengths are whole hundredths of a point, so that a bar is exactly as wide as the next one of its kind and a
//! sheet is the same bytes each time.

use stockwire_protocol::gs1::{self, Command, Decimal, Gln, Kind};
use stockwire_protocol::{LocationId, OperatorId, SiteId};

use crate::workflow::WORKFLOWS;
use crate::workflow::command::COMMANDS;
use crate::workflow::reason::REASONS;

pub mod font;
pub mod layout;
pub mod page;
pub mod pdf;
pub mod range;
pub mod svg;
pub mod symbol;

pub use layout::{Options, Paper, SheetError, pages};
pub use page::{Ink, Page};
pub use symbol::{Symbol, SymbolError};

/// What is printed, before it is laid out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sheet {
    /// At the top of each page.
    pub title: String,
    /// For whom: the site.
    pub site: String,
    /// How the labels look.
    pub look: Look,
    /// In reading order; none is empty.
    pub groups: Vec<Group>,
}

/// Labels under one heading.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// The heading; empty: none.
    pub title: String,
    /// One sentence beside it.
    pub note: &'static str,
    /// In reading order.
    pub labels: Vec<Label>,
}

/// One barcode with what people read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// In large letters.
    pub title: String,
    /// One short sentence; may be empty.
    pub hint: String,
    /// What the scanner reads.
    pub code: Code,
    /// Tells kinds of labels apart from afar.
    pub ink: Ink,
}

/// What a scanner reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Code {
    /// Text as it is.
    Text(String),
    /// GS1 element strings: the symbol begins with FNC1. No element but the last has a variable length.
    Gs1 {
        /// As it is read.
        data: String,
        /// With its application identifiers in parentheses, as people read it.
        shown: String,
    },
}

/// Size and weight of what stands on a label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// A line of words, and a sentence.
    Words,
    /// A short name that is read from afar.
    Name,
    /// A number, three in a row.
    Number,
}

/// More than a packet of paper is a mistake in a range.
pub const LABELS_MAX: usize = 5_000;

/// What operators count in their heads anyway comes first, then what goods are packed in.
#[rustfmt::skip]
pub const QUANTITIES: &[&str] = &[
    "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "12", "15", "16", "18", "20", "24", "25", "30",
    "36", "40", "48", "50", "60", "72", "75", "80", "96", "100", "120", "144", "200", "250", "500", "1000",
    "0.25", "0.5",
];

/// Every workflow, every command and every reason, from their tables.
pub fn commands(site: &str) -> Sheet {
    let workflows = WORKFLOWS.iter().map(|row| Label {
        title: row.title().to_owned(),
        hint: String::new(),
        code: text(&Command::Workflow(row.name().to_owned())),
        ink: Ink::Blue,
    });
    let mut groups = vec![Group {
        title: "Begin a task".to_owned(),
        note: "Scan one of these first.",
        labels: workflows.collect(),
    }];
    let mut last = None;
    for row in COMMANDS {
        if last.replace(row.group) != Some(row.group) {
            groups.push(Group { title: row.group.title().to_owned(), note: "", labels: Vec::new() });
        }
        if let Some(group) = groups.last_mut() {
            group.labels.push(Label {
                title: row.title.to_owned(),
                hint: row.hint.to_owned(),
                code: text(&row.command),
                ink: command_ink(&row.command),
            });
        }
    }
    let reasons = REASONS.iter().map(|row| Label {
        title: row.title.to_owned(),
        hint: String::new(),
        code: text(&Command::Reason(row.word.to_owned())),
        ink: Ink::Amber,
    });
    groups.push(Group {
        title: "Why".to_owned(),
        note: "For what is adjusted, scrapped or returned.",
        labels: reasons.collect(),
    });
    Sheet { title: "Commands".to_owned(), site: site.to_owned(), look: Look::Words, groups }
}

/// The colours of the light that follows: what goes on is green, what goes back is amber, what ends is red.
fn command_ink(command: &Command) -> Ink {
    match command {
        Command::Done | Command::Yes => Ink::Green,
        Command::Cancel | Command::No => Ink::Red,
        Command::Undo => Ink::Amber,
        _ => Ink::Blue,
    }
}

/// Quantities, as texts such as `12` and `0.5`.
///
/// # Errors
/// Names the one that no barcode can carry.
pub fn quantities<'a>(site: &str, numbers: impl IntoIterator<Item = &'a str>) -> Result<Sheet, NotPrintable> {
    let labels = numbers.into_iter().map(|number| {
        let code = format!("SW:QTY:{number}");
        match gs1::interpret(code.as_bytes(), ANY_YEAR).kind() {
            Kind::Command(Command::Quantity(quantity)) => Ok(quantity_label(*quantity)),
            _ => {
                Err(NotPrintable { what: "quantity", got: number.to_owned(), expected: "such as 12 or 0.5" })
            }
        }
    });
    let group = Group {
        title: "How many".to_owned(),
        note: "Scan the quantity, then the item; or the item, then the quantity.",
        labels: labels.collect::<Result<_, _>>()?,
    };
    Ok(Sheet {
        title: "Quantities".to_owned(),
        site: site.to_owned(),
        look: Look::Number,
        groups: vec![group],
    })
}

fn quantity_label(quantity: Decimal) -> Label {
    Label {
        title: quantity.to_string(),
        hint: String::new(),
        code: text(&Command::Quantity(quantity)),
        ink: Ink::Green,
    }
}

/// Places, as `SW:LOC:...`, or by GS1 key when the site has a GLN and GS1 allows the name in AI 254.
pub fn locations<'a>(
    site: &SiteId,
    gln: Option<Gln>,
    names: impl IntoIterator<Item = &'a LocationId>,
) -> Sheet {
    let labels = names.into_iter().map(|name| Label {
        title: name.to_string(),
        hint: String::new(),
        code: location_code(gln, name),
        ink: Ink::Blue,
    });
    let group = Group { title: String::new(), note: "", labels: labels.collect() };
    Sheet { title: "Locations".to_owned(), site: site.to_string(), look: Look::Name, groups: vec![group] }
}

fn location_code(gln: Option<Gln>, name: &LocationId) -> Code {
    if let Some(gln) = gln {
        let data = format!("414{gln}254{name}");
        // Our own reader decides which names AI 254 may carry: at most 20 characters of GS1's set.
        if let Kind::Location(read) = gs1::interpret(format!("]C1{data}").as_bytes(), ANY_YEAR).kind()
            && read.gln == Some(gln)
            && read.code == name.as_str()
        {
            return Code::Gs1 { data, shown: format!("(414){gln}(254){name}") };
        }
    }
    Code::Text(format!("SW:LOC:{name}"))
}

/// Operators' badges.
pub fn badges<'a>(site: &str, operators: impl IntoIterator<Item = &'a OperatorId>) -> Sheet {
    let labels = operators.into_iter().map(|name| Label {
        title: name.to_string(),
        hint: "works here now".to_owned(),
        code: text(&Command::Operator(name.to_string())),
        ink: Ink::Amber,
    });
    let group = Group {
        title: "Badges".to_owned(),
        note: "Scan yours when you come to a station.",
        labels: labels.collect(),
    };
    Sheet { title: "Badges".to_owned(), site: site.to_owned(), look: Look::Words, groups: vec![group] }
}

/// Something was to be printed that no scanner could give back.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{got:?} is no {what}: expected something {expected}")]
pub struct NotPrintable {
    what: &'static str,
    got: String,
    expected: &'static str,
}

/// The year decides the century of dates, and there is none on our labels.
const ANY_YEAR: u16 = 2026;

fn text(command: &Command) -> Code {
    Code::Text(command.to_string())
}

impl Code {
    /// What a scanner gives, without AIM identifier.
    pub fn data(&self) -> &str {
        match self {
            Code::Text(data) | Code::Gs1 { data, .. } => data,
        }
    }

    /// What stands under the symbol.
    pub fn shown(&self) -> &str {
        match self {
            Code::Text(text) => text,
            Code::Gs1 { shown, .. } => shown,
        }
    }
}

impl Sheet {
    /// How many labels.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.labels.len()).sum()
    }

    /// Whether there is nothing to print.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workflow_command_and_reason_is_on_the_sheet_and_means_itself() {
        let sheet = commands("HAM");
        assert_eq!(sheet.len(), WORKFLOWS.len() + COMMANDS.len() + REASONS.len());
        for label in sheet.groups.iter().flat_map(|group| &group.labels) {
            let scan = gs1::interpret(label.code.data().as_bytes(), ANY_YEAR);
            let Kind::Command(command) = scan.kind() else { panic!("{label:?}") };
            assert_eq!(command.to_string(), label.code.data());
            if let Command::Workflow(name) = command {
                assert!(crate::workflow::find(name).is_some(), "{name}");
            }
        }
        assert!(sheet.groups.iter().all(|group| !group.labels.is_empty() && !group.title.is_empty()));
    }

    /// What an operator may have to scan can be printed: on this sheet, or on one of quantities or badges.
    #[test]
    fn no_command_is_without_a_label() {
        let sheet = commands("HAM");
        let codes: Vec<&str> =
            sheet.groups.iter().flat_map(|group| &group.labels).map(|label| label.code.data()).collect();
        let mut wanted: Vec<String> = ["DONE", "CANCEL", "UNDO", "YES", "NO", "SHORT", "WEIGH"]
            .map(|word| format!("SW:CMD:{word}"))
            .into();
        wanted.extend(WORKFLOWS.iter().map(|row| format!("SW:WF:{}", row.name())));
        wanted.extend(REASONS.iter().map(|row| format!("SW:WHY:{}", row.word)));
        for code in &wanted {
            assert_eq!(codes.iter().filter(|printed| *printed == code).count(), 1, "{code}");
            let scan = gs1::interpret(code.as_bytes(), ANY_YEAR);
            let Kind::Command(command) = scan.kind() else { panic!("{code}") };
            // Another command does not compile until somebody has said here where it is printed.
            match command {
                Command::Done | Command::Cancel | Command::Undo | Command::Yes | Command::No => {}
                Command::Short | Command::Weigh | Command::Workflow(_) | Command::Reason(_) => {}
                Command::Quantity(_) | Command::Operator(_) => panic!("{code} has a sheet of its own"),
            }
        }
        assert_eq!(codes.len(), wanted.len(), "{codes:?}");
    }

    #[test]
    fn quantities_are_exact() {
        let sheet = quantities("HAM", QUANTITIES.iter().copied()).unwrap();
        let titles: Vec<&str> = sheet.groups[0].labels.iter().map(|label| label.title.as_str()).collect();
        assert_eq!(titles, QUANTITIES);
        let error = quantities("HAM", ["1,5"]).unwrap_err().to_string();
        assert_eq!(error, "\"1,5\" is no quantity: expected something such as 12 or 0.5");
    }

    #[test]
    fn a_location_is_named_by_its_gs1_key_where_there_is_one() {
        let site = SiteId::new("HAM").unwrap();
        let gln = Gln::parse("9506000111117").unwrap();
        let code = |gln, name: &str| {
            let name = LocationId::new(name).unwrap();
            locations(&site, gln, [&name]).groups[0].labels[0].code.clone()
        };
        assert_eq!(code(None, "A-01"), Code::Text("SW:LOC:A-01".into()));
        let gs1 = code(Some(gln), "A-01");
        assert_eq!((gs1.data(), gs1.shown()), ("4149506000111117254A-01", "(414)9506000111117(254)A-01"));
        // Not in GS1's set of characters, and longer than AI 254 may be.
        assert_eq!(code(Some(gln), "A#01"), Code::Text("SW:LOC:A#01".into()));
        let long = "A".repeat(21);
        assert_eq!(code(Some(gln), &long), Code::Text(format!("SW:LOC:{long}")));
    }
}
