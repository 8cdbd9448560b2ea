//! Command barcodes that every workflow understands: one row each, in the order in which they are printed.
//!
//! `stockwire-agent sheet commands` prints this table after the workflows, so a new row is on the next sheet.

use stockwire_protocol::gs1::Command;

/// The commands beside `SW:WF:` (a row in [`WORKFLOWS`](super::WORKFLOWS)), `SW:QTY:` and `SW:OP:`.
#[rustfmt::skip]
pub static COMMANDS: &[CommandRow] = &[
    row(Group::Task,   Command::Done,   "Done",   "The task is finished."),
    row(Group::Task,   Command::Undo,   "Undo",   "Take the last movement back."),
    row(Group::Task,   Command::Cancel, "Cancel", "Leave the task. What is recorded stays."),
    row(Group::Answer, Command::Yes,    "Yes",    "Yes to the question on the screen."),
    row(Group::Answer, Command::No,     "No",     "No to the question on the screen."),
    row(Group::Answer, Command::Short,  "Short",  "There is less here than asked for."),
    row(Group::Answer, Command::Weigh,  "Weigh",  "The scale counts the pieces of what is scanned next."),
];

/// One command, for people.
#[derive(Debug)]
pub struct CommandRow {
    /// Under which heading it is printed.
    pub group: Group,
    /// What is on the barcode.
    pub command: Command,
    /// One or two words.
    pub title: &'static str,
    /// What it does, in one short sentence.
    pub hint: &'static str,
}

/// Headings, in the order in which they are printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Group {
    /// How a task goes on.
    Task,
    /// An answer to the station's question.
    Answer,
}

impl Group {
    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Group::Task => "While you work",
            Group::Answer => "Answers",
        }
    }
}

const fn row(group: Group, command: Command, title: &'static str, hint: &'static str) -> CommandRow {
    CommandRow { group, command, title, hint }
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::gs1::{Kind, interpret};

    use super::*;

    #[test]
    fn every_row_reads_back_and_groups_stay_together() {
        for (at, row) in COMMANDS.iter().enumerate() {
            let text = row.command.to_string();
            assert_eq!(
                interpret(text.as_bytes(), 2026).kind(),
                &Kind::Command(row.command.clone()),
                "{text}"
            );
            assert!(!row.title.is_empty() && !row.hint.is_empty(), "{text}");
            assert!(
                COMMANDS[..at].iter().all(|other| other.group <= row.group && other.command != row.command)
            );
        }
    }
}
