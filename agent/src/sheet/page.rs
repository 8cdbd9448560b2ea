//! A page as marks on paper: what the layout makes, and PDF and SVG write.

use super::font::Font;

/// Hundredths of a point, 1/7200 inch. The origin is the page's upper left corner, y grows downwards.
pub type Length = i32;

/// One point, as fonts are measured.
pub const POINT: Length = 100;

/// Whole millimetres, rounded to a hundredth of a point (3.5 um).
pub const fn mm(millimetres: i32) -> Length {
    (millimetres * 720_000 + 1_270) / 2_540
}

/// A page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// Across.
    pub width: Length,
    /// Down.
    pub height: Length,
    /// Later ones lie above earlier ones.
    pub marks: Vec<Mark>,
}

/// A place on the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Area {
    /// Left edge.
    pub x: Length,
    /// Upper edge.
    pub y: Length,
    /// To the right.
    pub width: Length,
    /// Downwards.
    pub height: Length,
}

/// Something printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mark {
    /// A line of text.
    Text {
        /// Where `align` says.
        x: Length,
        /// The line that letters stand on.
        baseline: Length,
        /// Which end `x` is.
        align: Align,
        /// Its font.
        font: Font,
        /// Its size.
        size: Length,
        /// Its colour.
        ink: Ink,
        /// Printable characters.
        text: String,
    },
    /// A filled rectangle with round corners.
    Fill {
        /// Where.
        area: Area,
        /// Of its corners.
        radius: Length,
        /// Its colour.
        ink: Ink,
    },
    /// The outline of a rectangle with round corners.
    Outline {
        /// Where the line's middle runs.
        area: Area,
        /// Of its corners.
        radius: Length,
        /// How thick.
        line: Length,
        /// Its colour.
        ink: Ink,
    },
    /// Black rectangles that must be exact: the modules of one symbol. Drawn as one path, so that where two meet no
    /// light shines through.
    Modules(Vec<Area>),
}

/// What a text's `x` is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Align {
    Left,
    Middle,
    Right,
}

/// Colours that differ on a monochrome printer too. Symbols are always black.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Ink {
    Black,
    Grey,
    Hairline,
    Blue,
    Green,
    Amber,
    Red,
}

impl Ink {
    /// Red, green and blue.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Ink::Black => [0, 0, 0],
            Ink::Grey => [96, 102, 112],
            Ink::Hairline => [196, 200, 206],
            Ink::Blue => [29, 91, 165],
            Ink::Green => [20, 134, 74],
            Ink::Amber => [224, 134, 0],
            Ink::Red => [200, 40, 40],
        }
    }
}

/// A length as points, for both formats: `1234` is `12.34`.
pub(super) fn points(length: Length) -> String {
    let sign = if length < 0 { "-" } else { "" };
    let length = length.unsigned_abs();
    match (length / 100, length % 100) {
        (whole, 0) => format!("{sign}{whole}"),
        (whole, rest) if rest % 10 == 0 => format!("{sign}{whole}.{}", rest / 10),
        (whole, rest) => format!("{sign}{whole}.{rest:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let shown = [0, 5, 50, 100, 1234, -7, -250].map(points);
        assert_eq!(shown, ["0", "0.05", "0.5", "1", "12.34", "-0.07", "-2.5"]);
        assert_eq!([mm(210), mm(297), mm(0)], [59_528, 84_189, 0]);
    }
}
