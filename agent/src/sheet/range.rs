//! Names as a person types them: `A-01`, or `A-01..A-40` for forty of them.

use stockwire_protocol::LocationId;

use super::LABELS_MAX;

/// Why a word names no locations.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RangeError {
    /// The ends differ in more than their last number.
    #[error("{from:?}..{to:?}: both ends must be the same up to their last number, as in A-01..A-40")]
    Ends {
        /// First.
        from: String,
        /// Last.
        to: String,
    },
    /// More labels than anybody prints.
    #[error("{from:?}..{to:?} has more than {LABELS_MAX} names")]
    TooMany {
        /// First.
        from: String,
        /// Last.
        to: String,
    },
    /// No name of a location.
    #[error("{got:?} is no location's name")]
    Name {
        /// What came.
        got: String,
        /// Why.
        #[source]
        source: stockwire_protocol::IdError,
    },
}

/// All names of a word, both ends of a range included.
///
/// # Errors
/// When the word is no range and no name.
pub fn expand(word: &str) -> Result<Vec<LocationId>, RangeError> {
    let Some((from, to)) = word.split_once("..") else { return Ok(vec![name(word.to_owned())?]) };
    let ends = || RangeError::Ends { from: from.to_owned(), to: to.to_owned() };
    let (prefix, first) = last_number(from);
    let (other, last) = last_number(to);
    // With leading zeros both ends have as many digits; without, the second may have more.
    let padded = first.starts_with('0') && first.len() > 1;
    if prefix != other || (first.len() != last.len() && (padded || last.starts_with('0'))) {
        return Err(ends());
    }
    let number = |digits: &str| digits.parse::<u64>().map_err(|_| ends());
    let (low, high) = (number(first)?, number(last)?);
    if low > high {
        return Err(ends());
    }
    if high - low >= LABELS_MAX as u64 {
        return Err(RangeError::TooMany { from: from.to_owned(), to: to.to_owned() });
    }
    let width = if first.len() == last.len() { first.len() } else { 0 };
    (low..=high).map(|number| name(format!("{prefix}{number:0width$}"))).collect()
}

fn name(text: String) -> Result<LocationId, RangeError> {
    LocationId::new(text.as_str()).map_err(|source| RangeError::Name { got: text, source })
}

fn last_number(text: &str) -> (&str, &str) {
    text.split_at(text.trim_end_matches(|c: char| c.is_ascii_digit()).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expected: Result<&[&str], &str>) {
        let got = expand(word).map_err(|error| error.to_string());
        let got = got.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            got,
            expected.map(|names| names.iter().map(ToString::to_string).collect()).map_err(String::from)
        );
    }

    #[test]
    fn ranges() {
        check("A-01", Ok(&["A-01"]));
        check("A-08..A-11", Ok(&["A-08", "A-09", "A-10", "A-11"]));
        check("DOCK9..DOCK11", Ok(&["DOCK9", "DOCK10", "DOCK11"]));
        check("A1-3..A1-4", Ok(&["A1-3", "A1-4"]));
        check("7..7", Ok(&["7"]));
        let same = "both ends must be the same up to their last number, as in A-01..A-40";
        for (from, to) in
            [("A-01", "B-02"), ("A-02", "A-01"), ("A-01", "A-100"), ("A", "B"), ("", ""), ("A-1", "A-02")]
        {
            check(&format!("{from}..{to}"), Err(&format!("{from:?}..{to:?}: {same}")));
        }
        check("A0001..A9999", Err("\"A0001\"..\"A9999\" has more than 5000 names"));
        check("A 1", Err("\"A 1\" is no location's name"));
        check("", Err("\"\" is no location's name"));
        let long = "9".repeat(30);
        check(&format!("1..{long}"), Err(&format!("\"1\"..{long:?}: {same}")));
    }
}
