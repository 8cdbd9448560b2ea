//! GS1 identification keys: digits that end in a mod-10 check digit.

use core::fmt;
use core::str::FromStr;

/// Why digits are no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key comes in other lengths.
    #[error("{key} has {expected} digits, got {got}")]
    Length {
        /// Which key was being read.
        key: &'static str,
        /// The lengths it comes in, in words.
        expected: &'static str,
        /// How many characters came.
        got: usize,
    },
    /// A key is all digits.
    #[error("{key} holds only digits, got {got:?} at position {at}")]
    NotDigit {
        /// Which key was being read.
        key: &'static str,
        /// The offending character.
        got: char,
        /// Its position, counted from 0.
        at: usize,
    },
    /// A digit was misread or mistyped.
    #[error("{key} {digits} ends in check digit {got}, expected {expected}")]
    CheckDigit {
        /// Which key was being read.
        key: &'static str,
        /// The number as stored, zero-padded.
        digits: u64,
        /// What its other digits add up to.
        expected: char,
        /// What it ends in.
        got: char,
    },
    /// More digits than the key has.
    #[error("{number} is too large for {key}")]
    TooLarge {
        /// Which key was being made.
        key: &'static str,
        /// The number.
        number: u64,
    },
}

/// The mod-10 check digit, in ASCII, of the ASCII digits before it; `None` when one of them is no digit.
pub fn check_digit(payload: &[u8]) -> Option<u8> {
    // From the right the weights are 3, 1, 3, 1 ... which is why leading zeros change nothing.
    let mut sum = 0;
    for (distance, byte) in payload.iter().rev().enumerate() {
        if !byte.is_ascii_digit() {
            return None;
        }
        let weight = if distance % 2 == 0 { 3 } else { 1 };
        sum = (sum + u32::from(byte - b'0') * weight) % 10;
    }
    // At most 10 - 1 = 9.
    Some(b'0' + ((10 - sum) % 10) as u8)
}

/// `N` ASCII digits, the last of which is the right check digit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Digits<const N: usize>([u8; N]);

impl<const N: usize> Digits<N> {
    /// `text` must be at most `N` long; it is padded with zeros on the left.
    fn parse(key: &'static str, text: &str) -> Result<Self, KeyError> {
        if let Some((at, got)) = text.chars().enumerate().find(|(_, c)| !c.is_ascii_digit()) {
            return Err(KeyError::NotDigit { key, got, at });
        }
        let mut digits = [b'0'; N];
        digits[N - text.len()..].copy_from_slice(text.as_bytes());
        Self::checked(key, digits)
    }

    fn from_u64(key: &'static str, number: u64) -> Result<Self, KeyError> {
        let mut digits = [b'0'; N];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        if rest > 0 {
            return Err(KeyError::TooLarge { key, number });
        }
        Self::checked(key, digits)
    }

    fn checked(key: &'static str, digits: [u8; N]) -> Result<Self, KeyError> {
        let this = Self(digits);
        let got = digits[N - 1];
        match check_digit(&digits[..N - 1]) {
            Some(expected) if expected != got => Err(KeyError::CheckDigit {
                key,
                digits: this.to_u64(),
                expected: char::from(expected),
                got: char::from(got),
            }),
            _ => Ok(this),
        }
    }

    fn as_str(&self) -> &str {
        // Always `Some`: the bytes are ASCII digits by construction.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn to_u64(self) -> u64 {
        self.0.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    }
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident($length:literal), $kind:literal, $expected:literal: $($accepted:literal)|+, $as_str:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Digits<$length>);

        impl $name {
            /// Reads the digits and checks the last.
            ///
            /// # Errors
            /// [`KeyError`] says what was expected and what came.
            pub fn parse(text: &str) -> Result<Self, KeyError> {
                match text.chars().count() {
                    $($accepted)|+ => Ok(Self(Digits::parse($kind, text)?)),
                    got => Err(KeyError::Length { key: $kind, expected: $expected, got }),
                }
            }

            /// From the number, as [`Self::to_u64`] gives it.
            ///
            /// # Errors
            /// When it has too many digits or the last is not the right check digit.
            pub fn from_u64(number: u64) -> Result<Self, KeyError> {
                Digits::from_u64($kind, number).map(Self)
            }

            /// The digits as one number, for compact storage.
            pub fn to_u64(self) -> u64 {
                self.0.to_u64()
            }

            /// All its digits, zero-padded.
            pub fn $as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl FromStr for $name {
            type Err = KeyError;
            fn from_str(text: &str) -> Result<Self, KeyError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.0.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.as_str())
            }
        }
    };
}

key!(
    /// Global Trade Item Number: what is bought and sold, one per packaging level. GTIN-8, -12 and -13 are stored
    /// as GTIN-14 with zeros on the left, which leaves the check digit as it was, so that equal items compare equal.
    Gtin(14), "GTIN", "8, 12, 13 or 14": 8 | 12 | 13 | 14, as_str14
);
key!(
    /// Serial Shipping Container Code: the number of a licence plate.
    Sscc(18), "SSCC", "18": 18, as_str
);
key!(
    /// Global Location Number: a site or a party.
    Gln(13), "GLN", "13": 13, as_str
);

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use super::*;

    #[test]
    fn check_digits() {
        for (payload, expected) in [
            ("950110153100", b'0'),
            ("9501234", b'6'),
            ("10614141123456789", b'7'),
            ("0950600013435", b'2'),
            ("", b'0'),
            ("0000000", b'0'),
        ] {
            assert_eq!(check_digit(payload.as_bytes()), Some(expected), "{payload}");
        }
        assert_eq!(check_digit(b"12a4"), None);
    }

    fn check(text: &str, expected: Result<&str, &str>) {
        let got = Gtin::parse(text).map(|gtin| gtin.to_string()).map_err(|error| error.to_string());
        assert_eq!(got, expected.map(String::from).map_err(String::from), "{text}");
    }

    #[test]
    fn every_length_becomes_gtin_14() {
        check("96385074", Ok("00000096385074"));
        check("614141007349", Ok("00614141007349"));
        check("5901234123457", Ok("05901234123457"));
        check("09506000134352", Ok("09506000134352"));
        check("9506000134352", Ok("09506000134352"));
        check("09506000134353", Err("GTIN 9506000134353 ends in check digit 3, expected 2"));
        check("950600013435", Err("GTIN 950600013435 ends in check digit 5, expected 9"));
        check("", Err("GTIN has 8, 12, 13 or 14 digits, got 0"));
        check("123456789", Err("GTIN has 8, 12, 13 or 14 digits, got 9"));
        check("9638507x", Err("GTIN holds only digits, got 'x' at position 7"));
        check("9638٣074", Err("GTIN holds only digits, got '٣' at position 4"));
    }

    #[test]
    fn keys_survive_as_numbers() {
        let gtin = Gtin::parse("96385074").unwrap();
        assert_eq!(Gtin::from_u64(gtin.to_u64()), Ok(gtin));
        assert_eq!(
            Gtin::from_u64(100_000_000_000_000),
            Err(KeyError::TooLarge { key: "GTIN", number: 100_000_000_000_000 })
        );
        assert!(matches!(
            Gtin::from_u64(96_385_075),
            Err(KeyError::CheckDigit { expected: '4', got: '5', .. })
        ));
        let sscc = Sscc::parse("106141411234567897").unwrap();
        assert_eq!(Sscc::from_u64(sscc.to_u64()), Ok(sscc));
        assert_eq!(Gln::parse("9506000111117").unwrap().to_string(), "9506000111117");
        assert!(Gln::parse("950600011111").is_err());
        assert!(Sscc::from_u64(u64::MAX).is_err());
    }
}
