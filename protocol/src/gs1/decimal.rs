//! Exact decimals without a unit.

use core::fmt;

/// `digits` divided by 10 to the power of `decimals`, as written: 1.250 keeps its last zero, which tells the step
/// of the scale that printed the label.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Decimal {
    /// All digits, as one number.
    pub digits: u64,
    /// How many of them stand after the point.
    pub decimals: u8,
}

impl Decimal {
    /// Reads `12` or `1.5`, at most `digits_max` digits of which `decimals_max` after the point; no sign.
    pub(super) fn parse(text: &str, digits_max: usize, decimals_max: usize) -> Option<Self> {
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (text, ""),
        };
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.len() > decimals_max || whole.len() + fraction.len() > digits_max {
            return None;
        }
        if !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let mut digits: u64 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            digits = digits.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        }
        Some(Self { digits, decimals: u8::try_from(fraction.len()).ok()? })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = usize::from(self.decimals);
        let digits = alloc::format!("{:0width$}", self.digits, width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        if fraction.is_empty() { f.write_str(whole) } else { write!(f, "{whole}.{fraction}") }
    }
}
