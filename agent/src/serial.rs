//! Line settings of a serial port, as data. No port is opened here.

use std::fmt;
use std::str::FromStr;

/// How bits go over the line; prints and reads as technicians write it: `9600 8N1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineSettings {
    /// Bits per second.
    pub baud: u32,
    /// 7 or 8.
    pub data_bits: u8,
    /// The parity bit.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
}

/// The parity bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parity {
    /// There is none.
    None,
    /// Makes the number of ones even.
    Even,
    /// Makes it odd.
    Odd,
}

/// What kind of port it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A serial port with these settings.
    Serial(LineSettings),
    /// An input device.
    Keyboard,
}

impl From<LineSettings> for Attachment {
    fn from(line: LineSettings) -> Self {
        Attachment::Serial(line)
    }
}

impl Parity {
    /// For sentences.
    pub fn word(self) -> &'static str {
        match self {
            Parity::None => "no",
            Parity::Even => "even",
            Parity::Odd => "odd",
        }
    }
}

impl LineSettings {
    /// The most common setting, and what USB adapters that ignore it report.
    pub const DEFAULT: Self = Self { baud: 9_600, data_bits: 8, parity: Parity::None, stop_bits: 1 };
}

impl fmt::Display for LineSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{} {}{parity}{}", self.baud, self.data_bits, self.stop_bits)
    }
}

/// Why a text is no line setting.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected line settings such as \"9600 8N1\" (50 to 4000000 baud, 7 or 8 bits, N, E or O, 1 or 2), got {got:?}"
)]
pub struct LineSettingsError {
    got: String,
}

impl FromStr for LineSettings {
    type Err = LineSettingsError;

    fn from_str(text: &str) -> Result<Self, LineSettingsError> {
        read(text).ok_or_else(|| LineSettingsError { got: text.chars().take(32).collect() })
    }
}

fn read(text: &str) -> Option<LineSettings> {
    let (baud, rest) = text.trim().split_once(' ')?;
    let baud = baud.parse().ok().filter(|baud| (50..=4_000_000).contains(baud))?;
    let [data @ (b'7' | b'8'), parity, stop @ (b'1' | b'2')] = rest.trim().as_bytes() else { return None };
    let parity = match parity.to_ascii_uppercase() {
        b'N' => Parity::None,
        b'E' => Parity::Even,
        b'O' => Parity::Odd,
        _ => return None,
    };
    Some(LineSettings { baud, data_bits: data - b'0', parity, stop_bits: stop - b'0' })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_reads() {
        for text in ["9600 8N1", "2400 7E1", "1200 7O2", "115200 8N1"] {
            assert_eq!(text.parse::<LineSettings>().unwrap().to_string(), text);
        }
        assert_eq!("9600  8n1".parse::<LineSettings>().unwrap(), LineSettings::DEFAULT);
        for text in [
            "",
            "9600",
            "8N1",
            "9600 9N1",
            "9600 8X1",
            "9600 8N3",
            "49 8N1",
            "-1 8N1",
            "9600 8N11",
            "5000000 8N1",
        ] {
            assert!(text.parse::<LineSettings>().is_err(), "{text}");
        }
    }
}
