//! The manuals say what the code does: tables of devices are written from the code's tables, and no task, command,
//! reason or signal is missing from the operator's page.
//!
//! `STOCKWIRE_MANUAL=write cargo test -p stockwire-agent --test manual` writes the tables anew.

// Helpers of tests: a failing unwrap is a failing test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stockwire_agent::feedback::Signal;
use stockwire_agent::scale::SCALES;
use stockwire_agent::scale::diagnosis::Diagnosis;
use stockwire_agent::scanner::{Feedback, SCANNERS, Source};
use stockwire_agent::serial::LineSettings;
use stockwire_agent::workflow::WORKFLOWS;
use stockwire_agent::workflow::command::COMMANDS;
use stockwire_agent::workflow::reason::REASONS;

fn page(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

/// The table between the two marks of that name is this one.
fn check(name: &str, table: &str) {
    let (path, text) = page("devices.md");
    let (begin, end) =
        (format!("<!-- {name}: written by agent/tests/manual.rs -->\n"), format!("<!-- /{name} -->"));
    let (head, rest) = text.split_once(&begin).unwrap();
    let (found, tail) = rest.split_once(&end).unwrap();
    if std::env::var("STOCKWIRE_MANUAL").is_ok_and(|value| value == "write") {
        std::fs::write(&path, format!("{head}{begin}{table}{end}{tail}")).unwrap();
    } else {
        assert_eq!(found, table, "{}: STOCKWIRE_MANUAL=write", path.display());
    }
}

/// One test for both tables, since both are written into one file.
#[test]
fn every_device_stands_in_its_table() {
    let mut table = String::from("| `protocol` | scanners | line | it signals by |\n|---|---|---|---|\n");
    for row in SCANNERS {
        let words = row.feedbacks().iter().filter_map(|feedback| match feedback {
            Feedback::None => None,
            Feedback::Bell => Some("bell"),
            Feedback::Scanner => Some("its own commands"),
        });
        let words: Vec<&str> = words.collect();
        let signals = if words.is_empty() { "nothing: the screen".to_owned() } else { words.join(", ") };
        let line = match row.source() {
            Source::Serial => row.line().to_string(),
            Source::Keyboard => "-".to_owned(),
        };
        writeln!(table, "| `{}` | {} | {line} | {signals} |", row.name(), row.title()).unwrap();
    }
    check("scanners", &table);
    let mut table = String::from("| `protocol` | scales | line | its own keys |\n|---|---|---|---|\n");
    for row in SCALES {
        let keys: Vec<String> = row.options().iter().map(|key| format!("`{key}`")).collect();
        writeln!(table, "| `{}` | {} | {} | {} |", row.name(), row.title(), row.line(), keys.join(", "))
            .unwrap();
    }
    check("scales", &table);
}

#[test]
fn every_diagnosis_stands_in_the_page_for_technicians() {
    let (_, text) = page("devices.md");
    let line = LineSettings::DEFAULT;
    let five = [
        Diagnosis::Unplugged,
        Diagnosis::Silent { waited: Duration::ZERO },
        Diagnosis::Parity { sent: line, protocols: vec![] },
        Diagnosis::WrongSpeed,
        Diagnosis::Garbage { protocols: vec![] },
    ];
    for diagnosis in five {
        // Another diagnosis does not compile until somebody has put it above.
        match diagnosis {
            Diagnosis::Working | Diagnosis::Unknown => panic!("is no fault"),
            Diagnosis::Unplugged | Diagnosis::Silent { .. } | Diagnosis::Parity { .. } => {}
            Diagnosis::WrongSpeed | Diagnosis::Garbage { .. } => {}
        }
        assert!(text.contains(&format!("| `{}` |", diagnosis.as_str())), "{diagnosis:?}");
    }
}

#[test]
fn everything_that_an_operator_can_scan_and_hear_stands_in_their_page() {
    let (_, text) = page("operator.md");
    for row in WORKFLOWS {
        assert!(text.contains(&format!("| **{}** `SW:WF:{}` |", row.title(), row.name())), "{}", row.name());
    }
    for row in COMMANDS {
        assert!(text.contains(&format!("`{}`", row.command)), "{}", row.command);
    }
    for row in REASONS {
        assert!(text.contains(&format!("`SW:WHY:{}`", row.word)), "{}", row.word);
    }
    for signal in
        [Signal::Good, Signal::Heard, Signal::Unknown, Signal::Refused, Signal::Repeated, Signal::NotStored]
    {
        let word = signal.as_str().replace('_', " ").to_uppercase();
        let tones = ["one", "two", "three"][signal.tones().len() - 1];
        let light = signal.light();
        let colour =
            format!("{:?}{}", light.colour, if light.blinking { " blinking" } else { "" }).to_lowercase();
        let row = text.lines().find(|line| line.contains(&format!("| {word} |"))).expect(&word);
        assert!(
            row.contains(&format!("| {tones} ")) && row.contains(&format!(", {colour} |")),
            "{word}: {row}"
        );
    }
}
