//! A screenful of cells, and the bytes that put it onto a terminal.

/// Cells across and down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// A rectangle of cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Rect {
    pub x: usize,
    pub y: usize,
    pub columns: usize,
    pub rows: usize,
}

/// The colours that every terminal has, the Linux console included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Hue {
    /// Whatever the terminal shows by itself.
    #[default]
    Plain,
    Black,
    Red,
    Green,
    Amber,
    Blue,
    White,
}

/// How a cell looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Style {
    /// Of the letter.
    pub front: Hue,
    /// Behind it.
    pub back: Hue,
    /// Heavier. Not with black: consoles show that as grey.
    pub bold: bool,
    /// Front and back change places; what is left when there are no colours.
    pub reverse: bool,
}

/// One cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cell {
    /// `None`: the right half of the wide character before.
    c: Option<char>,
    style: Style,
}

/// A screenful.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    size: Size,
    cells: Vec<Cell>,
}

/// Nobody's terminal is larger, and a wrong answer from one must not take the memory.
pub const SIDE_MAX: usize = 1_000;

impl Frame {
    /// Empty.
    pub fn new(size: Size) -> Self {
        let size = Size { columns: size.columns.clamp(1, SIDE_MAX), rows: size.rows.clamp(1, SIDE_MAX) };
        let cell = Cell { c: Some(' '), style: Style::default() };
        Self { size, cells: vec![cell; size.columns * size.rows] }
    }

    /// Its size.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Empties a rectangle.
    pub fn fill(&mut self, rect: Rect, style: Style) {
        for y in rect.y..(rect.y + rect.rows).min(self.size.rows) {
            for x in rect.x..(rect.x + rect.columns).min(self.size.columns) {
                self.cells[y * self.size.columns + x] = Cell { c: Some(' '), style };
            }
        }
    }

    /// Writes one line of text from `x` on, at most `columns` wide; what is too long is cut and says so.
    pub fn put(&mut self, x: usize, y: usize, columns: usize, text: &str, style: Style) {
        let end = (x + columns).min(self.size.columns);
        if y >= self.size.rows {
            return;
        }
        let mut at = x;
        for c in clip(text, end.saturating_sub(x)).chars() {
            let wide = width(c);
            if wide == 0 || at + wide > end {
                continue;
            }
            let row = y * self.size.columns;
            self.cells[row + at] = Cell { c: Some(visible(c)), style };
            if wide == 2 {
                self.cells[row + at + 1] = Cell { c: None, style };
            }
            at += wide;
        }
    }

    /// The letters of each row, for tests and logs.
    pub fn text(&self) -> Vec<String> {
        let row = |row: &[Cell]| row.iter().filter_map(|cell| cell.c).collect();
        self.cells.chunks(self.size.columns).map(row).collect()
    }

    /// The style of a cell.
    pub fn style(&self, x: usize, y: usize) -> Option<Style> {
        (x < self.size.columns).then(|| self.cells.get(y * self.size.columns + x).map(|cell| cell.style))?
    }
}

/// How many cells a character takes.
fn width(c: char) -> usize {
    match c as u32 {
        // Marks that join the letter before, and what turns the direction of text around: an item's name must not
        // rearrange the screen.
        0x300..=0x36f | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xfeff => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// A scan is any bytes: what would command the terminal is shown as a dot.
fn visible(c: char) -> char {
    if c.is_control() { '\u{b7}' } else { c }
}

/// How many cells a text takes.
pub fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// As much of a text as fits.
fn clip(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let (mut cut, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += width(c);
        if used + 2 > room {
            break;
        }
        cut.push(c);
    }
    cut.extend(std::iter::repeat_n('.', room.min(2)));
    cut
}

/// A text in lines of so many cells; the last one is cut when there would be more than `rows`.
pub fn wrap(text: &str, room: usize, rows: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let last = lines.len() == rows;
        match lines.last_mut() {
            // On the last line everything is added, and cut when it is put.
            Some(line) if last || columns(line) + 1 + columns(word) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ if rows == 0 => return lines,
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Whether colours are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Palette {
    /// As they are.
    Colour,
    /// Only heavy and reversed, as `NO_COLOR` asks.
    Monochrome,
}

/// The bytes that turn what is on the terminal into this; `None`: anything may be there.
pub fn paint(before: Option<&Frame>, after: &Frame, palette: Palette) -> String {
    let mut out = String::new();
    let before = before.filter(|before| before.size == after.size);
    if before.is_none() {
        out += "\x1b[0m\x1b[2J";
    }
    let columns = after.size.columns;
    for (y, row) in after.cells.chunks(columns).enumerate() {
        if before.is_some_and(|before| before.cells[y * columns..(y + 1) * columns] == *row) {
            continue;
        }
        out += &format!("\x1b[{};1H", y + 1);
        let mut style = None;
        for cell in row {
            if style != Some(cell.style) {
                style = Some(cell.style);
                out += &select(cell.style, palette);
            }
            out.extend(cell.c);
        }
        out += "\x1b[0m";
    }
    out
}

/// "Select graphic rendition".
fn select(style: Style, palette: Palette) -> String {
    let mut out = String::from("\x1b[0");
    if style.bold {
        out += ";1";
    }
    if style.reverse {
        out += ";7";
    }
    if palette == Palette::Colour {
        for (hue, base) in [(style.front, 30), (style.back, 40)] {
            let number = match hue {
                Hue::Plain => continue,
                Hue::Black => 0,
                Hue::Red => 1,
                Hue::Green => 2,
                Hue::Amber => 3,
                Hue::Blue => 4,
                Hue::White => 7,
            };
            out += &format!(";{}", base + number);
        }
    }
    out + "m"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_in_its_place_and_commands_nothing() {
        let mut frame = Frame::new(Size { columns: 10, rows: 2 });
        frame.put(2, 0, 6, "a\x1b[2Jb", Style::default());
        frame.put(0, 1, 10, "\u{4f60}\u{597d}!", Style::default());
        frame.put(8, 1, 10, "xyz", Style::default());
        frame.put(0, 7, 10, "below", Style::default());
        assert_eq!(frame.text(), ["  a\u{b7}[2Jb  ", "\u{4f60}\u{597d}!   .."]);
        assert_eq!(
            (clip("abcdef", 4), clip("abcd", 4), clip("abc", 1)),
            ("ab..".into(), "abcd".into(), ".".into())
        );
        assert_eq!(wrap("one two three four", 8, 2), ["one two", "three four"]);
        assert_eq!(wrap("one two three four", 8, 9), ["one two", "three", "four"]);
        assert!(wrap("one", 8, 0).is_empty() && wrap("", 8, 2).is_empty());
    }

    #[test]
    fn only_rows_that_changed_are_painted() {
        let size = Size { columns: 3, rows: 2 };
        let before = Frame::new(size);
        let mut after = before.clone();
        let style = Style { front: Hue::Black, back: Hue::Green, ..Style::default() };
        after.put(1, 1, 2, "ok", style);
        assert_eq!(paint(Some(&before), &after, Palette::Colour), "\x1b[2;1H\x1b[0m \x1b[0;30;42mok\x1b[0m");
        assert_eq!(paint(Some(&before), &after, Palette::Monochrome), "\x1b[2;1H\x1b[0m \x1b[0mok\x1b[0m");
        assert_eq!(paint(Some(&after), &after, Palette::Colour), "");
        assert!(paint(None, &after, Palette::Colour).starts_with("\x1b[0m\x1b[2J\x1b[1;1H"));
    }
}
