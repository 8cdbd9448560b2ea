//! Why stock is adjusted, scrapped or returned: `SW:WHY:...`. A site may print others; these have a meaning here.

use stockwire_protocol::{Disposition, Reason};

/// The reasons with a meaning, in the order in which they are printed.
#[rustfmt::skip]
pub static REASONS: &[ReasonRow] = &[
    row("DAMAGED",  "Damaged",          Some(Disposition::Damaged)),
    row("EXPIRED",  "Expired",          Some(Disposition::Expired)),
    row("RECALLED", "Called back",      Some(Disposition::Recalled)),
    row("QUALITY",  "Not good enough",  Some(Disposition::NonSellableOther)),
    row("GOOD",     "As good as new",   None),
    row("SAMPLE",   "Sample or own use", None),
    row("FOUND",    "Found",            None),
    row("LOST",     "Lost",             None),
];

/// One reason.
#[derive(Debug)]
pub struct ReasonRow {
    /// As it stands on the barcode after `SW:WHY:`.
    pub word: &'static str,
    /// For people.
    pub title: &'static str,
    /// In which condition goods come back for it; `None`: they can be sold.
    pub disposition: Option<Disposition>,
}

const fn row(word: &'static str, title: &'static str, disposition: Option<Disposition>) -> ReasonRow {
    ReasonRow { word, title, disposition }
}

/// The reason that makes an adjustment add to the stock; every other takes away.
pub(super) const FOUND: &str = "FOUND";

/// In which condition goods come back for a reason. Without one, and for a word of the site's own, somebody has to
/// look at them first.
pub(super) fn returned(reason: Option<&Reason>) -> Option<Disposition> {
    let known = reason.and_then(|reason| REASONS.iter().find(|row| row.word == reason.as_str()));
    known.map_or(Some(Disposition::Returned), |row| row.disposition)
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::gs1::{Command, Kind, interpret};

    use super::*;

    #[test]
    fn every_reason_reads_back_and_stands_once() {
        for (at, row) in REASONS.iter().enumerate() {
            let scan = interpret(format!("SW:WHY:{}", row.word).as_bytes(), 2026);
            assert_eq!(scan.kind(), &Kind::Command(Command::Reason(row.word.into())));
            assert!(Reason::new(row.word).is_ok() && !row.title.is_empty());
            assert!(REASONS[..at].iter().all(|other| other.word != row.word), "{}", row.word);
        }
        assert!(REASONS.iter().any(|row| row.word == FOUND));
    }

    #[test]
    fn returned_goods_are_not_sold_unless_somebody_says_so() {
        let condition = |word: &str| returned(Some(&Reason::new(word).unwrap()));
        assert_eq!(returned(None), Some(Disposition::Returned));
        assert_eq!(condition("DAMAGED"), Some(Disposition::Damaged));
        assert_eq!(condition("GOOD"), None);
        assert_eq!(condition("OUR OWN WORD"), Some(Disposition::Returned));
    }
}
