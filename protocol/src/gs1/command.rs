//! Our own barcodes: text that starts with `SW:`, printed on sheets, shelves and badges.

use alloc::string::String;
use core::fmt;

use super::decimal::Decimal;
use super::key::Gln;

/// What an operator tells the station by scanning.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// `SW:CMD:DONE`: this task is finished.
    Done,
    /// `SW:CMD:CANCEL`: leave the task; what is recorded stays recorded.
    Cancel,
    /// `SW:CMD:UNDO`: take the last movement back, by a new one.
    Undo,
    /// `SW:CMD:YES`.
    Yes,
    /// `SW:CMD:NO`.
    No,
    /// `SW:CMD:SHORT`: there is less than asked for.
    Short,
    /// `SW:CMD:WEIGH`: the scale tells how many pieces there are of what is scanned next.
    Weigh,
    /// `SW:WHY:DAMAGED`: why stock is adjusted, scrapped or returned.
    Reason(String),
    /// `SW:QTY:12`, `SW:QTY:1.5`: so much of what is scanned next or was scanned last.
    Quantity(Decimal),
    /// `SW:WF:RECEIVE`: start this workflow. The name is as printed; the agent knows its workflows.
    Workflow(String),
    /// `SW:OP:anna`: this operator works here now.
    Operator(String),
}

/// A place as its label names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocationCode {
    /// The place within its site: `SW:LOC:A-01` or AI 254; the GLN's digits when the label names the site alone.
    pub code: String,
    /// The site, when the label names it (AI 414).
    pub gln: Option<Gln>,
}

/// Why text that starts with `SW:` is none of our barcodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// `SW:WHAT:...`
    #[error(
        "unknown command barcode {verb:?}: expected SW:CMD:, SW:QTY:, SW:LOC:, SW:WF:, SW:WHY: or SW:OP:"
    )]
    Verb {
        /// What stands after `SW:`, cut to 16 characters.
        verb: String,
    },
    /// `SW:CMD:WHAT`
    #[error("unknown command {word:?}: expected one of DONE, CANCEL, UNDO, YES, NO, SHORT, WEIGH")]
    Word {
        /// What came, cut to 16 characters.
        word: String,
    },
    /// `SW:QTY:WHAT`
    #[error(
        "{got:?} is no quantity: expected at most {DIGITS_MAX} digits, up to {DECIMALS_MAX} after the point"
    )]
    Quantity {
        /// What came, cut to 16 characters.
        got: String,
    },
    /// Nothing after the colon, too much or a control character.
    #[error("SW:{verb}: needs 1 to {TEXT_MAX} printable characters, got {got:?}")]
    Text {
        /// Which command.
        verb: &'static str,
        /// What came, cut to 64 characters.
        got: String,
    },
}

/// Fewer digits than the shortest GTIN that is scanned beside it by mistake, EAN-13, would need.
const DIGITS_MAX: usize = 9;
/// As fine as a scale shows kilograms.
const DECIMALS_MAX: usize = 3;
/// A name on a badge or a shelf; Code 128 labels get unreadable long before.
const TEXT_MAX: usize = 48;

/// The words of `SW:CMD:`, one row each.
static WORDS: &[(&str, Command)] = &[
    ("DONE", Command::Done),
    ("CANCEL", Command::Cancel),
    ("UNDO", Command::Undo),
    ("YES", Command::Yes),
    ("NO", Command::No),
    ("SHORT", Command::Short),
    ("WEIGH", Command::Weigh),
];

/// What one of our barcodes says.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Ours {
    Command(Command),
    Location(LocationCode),
}

/// `None` when the text does not start with `SW:` and so is none of ours.
pub(super) fn read(text: &str) -> Option<Result<Ours, CommandError>> {
    let rest = text.strip_prefix("SW:")?;
    let (verb, argument) = rest.split_once(':').unwrap_or((rest, ""));
    Some(match verb {
        "CMD" => word(argument).map(Ours::Command),
        "QTY" => quantity(argument).map(Ours::Command),
        "LOC" => printable("LOC", argument).map(|code| Ours::Location(LocationCode { code, gln: None })),
        "WF" => printable("WF", argument).map(|name| Ours::Command(Command::Workflow(name))),
        "WHY" => printable("WHY", argument).map(|why| Ours::Command(Command::Reason(why))),
        "OP" => printable("OP", argument).map(|name| Ours::Command(Command::Operator(name))),
        _ => Err(CommandError::Verb { verb: cut(verb, 16) }),
    })
}

fn word(text: &str) -> Result<Command, CommandError> {
    let row = WORDS.iter().find(|(word, _)| *word == text);
    row.map(|(_, command)| command.clone()).ok_or_else(|| CommandError::Word { word: cut(text, 16) })
}

fn quantity(text: &str) -> Result<Command, CommandError> {
    let decimal = Decimal::parse(text, DIGITS_MAX, DECIMALS_MAX);
    decimal.map(Command::Quantity).ok_or_else(|| CommandError::Quantity { got: cut(text, 16) })
}

fn printable(verb: &'static str, text: &str) -> Result<String, CommandError> {
    let length = text.chars().count();
    if length == 0 || length > TEXT_MAX || text.chars().any(char::is_control) {
        return Err(CommandError::Text { verb, got: cut(text, 64) });
    }
    Ok(String::from(text))
}

fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

impl fmt::Display for Command {
    /// The text of the barcode.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Quantity(quantity) => write!(f, "SW:QTY:{quantity}"),
            Command::Workflow(name) => write!(f, "SW:WF:{name}"),
            Command::Operator(name) => write!(f, "SW:OP:{name}"),
            Command::Reason(why) => write!(f, "SW:WHY:{why}"),
            word => {
                let row = WORDS.iter().find(|(_, command)| command == word);
                write!(f, "SW:CMD:{}", row.map_or("", |(word, _)| word))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let got = match read(text).unwrap() {
            Ok(Ours::Command(command)) => {
                assert_eq!(command.to_string(), text, "prints what it reads");
                Ok(format!("{command:?}"))
            }
            Ok(Ours::Location(location)) => Ok(format!("at {}", location.code)),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(got, expected.map(String::from).map_err(String::from), "{text}");
    }

    #[test]
    fn our_barcodes() {
        for (word, command) in WORDS {
            check(&format!("SW:CMD:{word}"), Ok(&format!("{command:?}")));
        }
        check("SW:LOC:A-01", Ok("at A-01"));
        check("SW:LOC:A:01", Ok("at A:01"));
        check("SW:QTY:12", Ok("Quantity(Decimal { digits: 12, decimals: 0 })"));
        check("SW:QTY:0", Ok("Quantity(Decimal { digits: 0, decimals: 0 })"));
        check("SW:QTY:0.250", Ok("Quantity(Decimal { digits: 250, decimals: 3 })"));
        check("SW:WF:RECEIVE", Ok("Workflow(\"RECEIVE\")"));
        check("SW:WHY:DAMAGED", Ok("Reason(\"DAMAGED\")"));
        check("SW:OP:anna", Ok("Operator(\"anna\")"));
    }

    #[test]
    fn what_is_refused() {
        let words = "expected one of DONE, CANCEL, UNDO, YES, NO, SHORT, WEIGH";
        check("SW:CMD:done", Err(&format!("unknown command \"done\": {words}")));
        check("SW:CMD:", Err(&format!("unknown command \"\": {words}")));
        let verbs = "expected SW:CMD:, SW:QTY:, SW:LOC:, SW:WF:, SW:WHY: or SW:OP:";
        check("SW:", Err(&format!("unknown command barcode \"\": {verbs}")));
        check("SW:XYZ:1", Err(&format!("unknown command barcode \"XYZ\": {verbs}")));
        for got in
            ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", "1.0000", "1234567890", "12345678.25", "٣", " 1"]
        {
            let expected = "is no quantity: expected at most 9 digits, up to 3 after the point";
            check(&format!("SW:QTY:{got}"), Err(&format!("{got:?} {expected}")));
        }
        check("SW:LOC:", Err("SW:LOC: needs 1 to 48 printable characters, got \"\""));
        check("SW:OP:a\tb", Err("SW:OP: needs 1 to 48 printable characters, got \"a\\tb\""));
        let long = "x".repeat(49);
        check(
            &format!("SW:WF:{long}"),
            Err(&format!("SW:WF: needs 1 to 48 printable characters, got {long:?}")),
        );
    }

    #[test]
    fn other_text_is_not_ours() {
        for text in ["", "SW", "sw:CMD:DONE", " SW:CMD:DONE", "ABC"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
