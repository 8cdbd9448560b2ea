//! What was not as it should be when stock moved, and what the operator settled at once.

/// It travels with the movement that was made all the same, so that whoever reads the books sees both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Exception {
    /// The goods are past their last day.
    Expired,
    /// The maker has called the lot back.
    Recalled,
    /// More than the task asks for.
    OverReceived,
    /// Not the location that the task names.
    WrongLocation,
    /// The weight does not fit the item's expected weight.
    WeightOutOfTolerance,
    /// By the stock picture there was nothing left here.
    EmptyBin,
    /// The task does not name the item.
    NotOnTask,
    /// The scale was not back at zero before these goods; the operator confirmed the weight.
    WeightConfirmed,
}

/// `(exception, word, wire number)`. Wire numbers are frozen with wire version 1.
const EXCEPTIONS: [(Exception, &str, u8); 8] = [
    (Exception::Expired, "expired", 0),
    (Exception::Recalled, "recalled", 1),
    (Exception::OverReceived, "over_received", 2),
    (Exception::WrongLocation, "wrong_location", 3),
    (Exception::WeightOutOfTolerance, "weight_out_of_tolerance", 4),
    (Exception::EmptyBin, "empty_bin", 5),
    (Exception::NotOnTask, "not_on_task", 6),
    (Exception::WeightConfirmed, "weight_confirmed", 7),
];

impl Exception {
    /// The word.
    pub fn as_str(self) -> &'static str {
        EXCEPTIONS[usize::from(self.wire())].1
    }

    pub(crate) fn wire(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_wire(number: u8) -> Option<Self> {
        EXCEPTIONS.iter().find(|row| row.2 == number).map(|row| row.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_numbers_are_the_rows() {
        for (at, (exception, word, number)) in EXCEPTIONS.iter().enumerate() {
            assert_eq!((usize::from(*number), exception.wire()), (at, *number), "{word}");
            assert_eq!((Exception::from_wire(*number), exception.as_str()), (Some(*exception), *word));
        }
        assert_eq!(Exception::from_wire(8), None);
    }
}
