//! Where everything stands on the paper.
//!
//! ```text
//!  +------------------------------------------+     a label with bars           a label with a square
//!  | Commands                            HAM  |    +------------------------+  +------------------------+
//!  | ---------------------------------------- |    | | Title                |  | | Title     +--------+ |
//!  | Begin a task   Scan one of these first.  |    | | A short sentence.    |  | | A short   | Data   | |
//!  | [label] [label]                          |    | | |||||||||||||||||||| |  | | sentence. | Matrix | |
//!  | [label] [label]                          |    | |       SW:CMD:DONE    |  | |           +--------+ |
//!  | how to print                       1 / 2 |    +------------------------+  +---------- SW:CMD:DONE -+
//!  +------------------------------------------+
//! ```

use super::font::Font;
use super::page::{Align, Area, Ink, Length, Mark, POINT, Page, mm};
use super::symbol::{Modules, Symbol, SymbolError};
use super::{LABELS_MAX, Label, Look, Sheet};

/// What a person chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The printer's paper.
    pub paper: Paper,
    /// Bars or squares.
    pub symbol: Symbol,
    /// A label's width and height in millimetres; `None`: what suits what is printed.
    pub label_mm: Option<(u16, u16)>,
}

/// Paper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paper {
    /// 210 x 297 mm.
    A4,
    /// 8.5 x 11 inches.
    Letter,
}

/// Why a sheet cannot be laid out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SheetError {
    /// Nothing to print.
    #[error("there is nothing to print")]
    Empty,
    /// Too much.
    #[error("{got} labels are more than the {LABELS_MAX} that are printed at once")]
    TooMany {
        /// How many.
        got: usize,
    },
    /// The label is larger than the paper or too small to hold anything.
    #[error("a label of {} x {} mm: on this paper it has {LABEL_WIDTH_MIN_MM} to {width_max} mm across and {LABEL_HEIGHT_MIN_MM} to {height_max} mm down", .got.0, .got.1)]
    LabelSize {
        /// What was asked for.
        got: (u16, u16),
        /// Room on the paper.
        width_max: u16,
        /// Room on the paper.
        height_max: u16,
    },
    /// Its bars would be too fine to be read.
    #[error(
        "{text:?} needs a label of at least {needed_mm} mm across; choose --label {needed_mm}x{height_mm}, or --symbol datamatrix"
    )]
    TooNarrow {
        /// What was to be printed.
        text: String,
        /// The least width.
        needed_mm: u16,
        /// The label's height.
        height_mm: u16,
    },
    /// Its squares would be too fine to be read.
    #[error("{text:?} needs a label of at least {needed_mm} mm down; choose --label {width_mm}x{needed_mm}")]
    TooLow {
        /// What was to be printed.
        text: String,
        /// The label's width.
        width_mm: u16,
        /// The least height.
        needed_mm: u16,
    },
    /// No symbol holds the text.
    #[error(transparent)]
    Symbol(#[from] SymbolError),
}

/// Printers cannot print to the edge, and a page is held with a thumb.
const MARGIN: Length = mm(12);
/// Between labels, for the scissors and so that a scanner sees one code at a time.
const GAP: Length = mm(4);
/// Title, site and the line below them.
const HEADER: Length = mm(14);
/// Advice and page number.
const FOOTER: Length = mm(7);
/// A group's heading.
const HEADING: Length = mm(10);
/// Inside a label, on all sides.
const PADDING: Length = mm(3);
/// The coloured stripe at a label's left edge, and the room it takes.
const STRIPE: Length = mm(2);
const STRIPE_ROOM: Length = mm(6);
/// The line of text below a symbol.
const CAPTION: Length = mm(4);

/// A dot of a 600 dpi printer. Bars are whole numbers of dots, or the printer makes them unequal.
const DOT: Length = 12;
/// Bars of 0.21 mm at the least, which handheld scanners read at arm's length; more than 0.51 mm gains nothing there.
const BAR_DOTS: (Length, Length) = (5, 12);
/// Squares of 0.25 to 1.7 mm: cameras need more than laser scanners, and a square has room.
const SQUARE_DOTS: (Length, Length) = (6, 40);
/// Bars are hit by an aimer that sways with the hand.
const BARS_HEIGHT_MIN: Length = mm(9);

const LABEL_WIDTH_MIN_MM: u16 = 30;
const LABEL_HEIGHT_MIN_MM: u16 = 20;

impl Paper {
    /// Across and down.
    pub fn size(self) -> (Length, Length) {
        match self {
            Paper::A4 => (mm(210), mm(297)),
            Paper::Letter => (612 * POINT, 792 * POINT),
        }
    }
}

impl Look {
    /// How many labels stand side by side, how high one is, and the size of its title.
    fn usual(self) -> (Length, Length, Length) {
        match self {
            Look::Words => (2, mm(32), 15 * POINT),
            Look::Name => (2, mm(38), 34 * POINT),
            Look::Number => (3, mm(31), 22 * POINT),
        }
    }
}

/// Lays a sheet out.
///
/// # Errors
/// When something on it could not be read back from paper.
pub fn pages(sheet: &Sheet, options: &Options) -> Result<Vec<Page>, SheetError> {
    match sheet.len() {
        0 => return Err(SheetError::Empty),
        got if got > LABELS_MAX => return Err(SheetError::TooMany { got }),
        _ => {}
    }
    let paper = options.paper.size();
    let room = (paper.0 - 2 * MARGIN, paper.1 - 2 * MARGIN - HEADER - FOOTER);
    let (columns, width, height) = label_size(sheet.look, options, room)?;
    let mut flow = Flow { sheet, paper, pages: Vec::new(), y: 0 };
    for group in &sheet.groups {
        let heading = if group.title.is_empty() { 0 } else { HEADING };
        for (row, labels) in group.labels.chunks(columns).enumerate() {
            // A heading stays with its first row.
            let needed = height + if row == 0 { heading } else { 0 };
            if flow.pages.is_empty() || flow.y + needed > paper.1 - MARGIN - FOOTER {
                flow.new_page();
                if row > 0 && heading > 0 {
                    flow.heading(&format!("{}, continued", group.title), "");
                }
            }
            if row == 0 && heading > 0 {
                flow.heading(&group.title, group.note);
            }
            for (column, label) in labels.iter().enumerate() {
                let x = MARGIN + column as Length * (width + GAP);
                let area = Area { x, y: flow.y, width, height };
                draw(flow.marks(), label, sheet.look, options.symbol, area)?;
            }
            flow.y += height + GAP;
        }
    }
    Ok(flow.finish())
}

/// Columns, width and height.
fn label_size(
    look: Look,
    options: &Options,
    room: (Length, Length),
) -> Result<(usize, Length, Length), SheetError> {
    let (columns, height, _) = look.usual();
    let Some(got) = options.label_mm else {
        return Ok((columns as usize, (room.0 - (columns - 1) * GAP) / columns, height));
    };
    // The heading above a label is on the same page.
    let (width_max, height_max) = (whole_mm(room.0), whole_mm(room.1 - HEADING));
    if !(LABEL_WIDTH_MIN_MM..=width_max).contains(&got.0)
        || !(LABEL_HEIGHT_MIN_MM..=height_max).contains(&got.1)
    {
        return Err(SheetError::LabelSize { got, width_max, height_max });
    }
    let (width, height) = (mm(got.0.into()), mm(got.1.into()));
    Ok((((room.0 + GAP) / (width + GAP)).max(1) as usize, width, height))
}

/// Rounded down, but for what `mm` rounded.
fn whole_mm(length: Length) -> u16 {
    const ROUNDED: Length = 4;
    ((length + ROUNDED) * 254 / 72_000) as u16
}

/// Rounded up, which is enough.
fn enough_mm(length: Length) -> u16 {
    whole_mm(length) + 1
}

struct Flow<'a> {
    sheet: &'a Sheet,
    paper: (Length, Length),
    pages: Vec<Page>,
    /// Where the next row begins.
    y: Length,
}

impl Flow<'_> {
    fn marks(&mut self) -> &mut Vec<Mark> {
        if self.pages.is_empty() {
            self.new_page();
        }
        let last = self.pages.len() - 1;
        &mut self.pages[last].marks
    }

    fn new_page(&mut self) {
        let (width, height) = self.paper;
        let (left, right) = (MARGIN, width - MARGIN);
        let words = |x, align, font, size, ink, text: &str| Mark::Text {
            x,
            baseline: MARGIN + mm(6),
            align,
            font,
            size,
            ink,
            text: text.to_owned(),
        };
        let rule = Area { x: left, y: MARGIN + mm(9), width: right - left, height: POINT };
        let marks = vec![
            words(left, Align::Left, Font::Bold, 20 * POINT, Ink::Black, &self.sheet.title),
            words(right, Align::Right, Font::Bold, 11 * POINT, Ink::Grey, &self.sheet.site),
            Mark::Fill { area: rule, radius: 0, ink: Ink::Black },
        ];
        self.pages.push(Page { width, height, marks });
        self.y = MARGIN + HEADER;
    }

    fn heading(&mut self, title: &str, note: &str) {
        let baseline = self.y + mm(5);
        let size = 13 * POINT;
        let text = |x, font, size, ink, text: &str| Mark::Text {
            x,
            baseline,
            align: Align::Left,
            font,
            size,
            ink,
            text: text.to_owned(),
        };
        let note_x = MARGIN + Font::Bold.width(title, size) + mm(4);
        let marks = self.marks();
        marks.push(text(MARGIN, Font::Bold, size, Ink::Black, title));
        if !note.is_empty() {
            marks.push(text(note_x, Font::Regular, 10 * POINT, Ink::Grey, note));
        }
        self.y += HEADING;
    }

    fn finish(mut self) -> Vec<Page> {
        let count = self.pages.len();
        for (at, page) in self.pages.iter_mut().enumerate() {
            let words = |x, align, text: String| Mark::Text {
                x,
                baseline: page.height - MARGIN,
                align,
                font: Font::Regular,
                size: 8 * POINT,
                ink: Ink::Grey,
                text,
            };
            let advice = "Stockwire. Print at 100 %, not fitted to the page, and scan each code once before it is laminated.";
            let footer = [
                words(MARGIN, Align::Left, advice.to_owned()),
                words(page.width - MARGIN, Align::Right, format!("{} / {count}", at + 1)),
            ];
            page.marks.extend(footer);
        }
        self.pages
    }
}

fn draw(
    marks: &mut Vec<Mark>,
    label: &Label,
    look: Look,
    symbol: Symbol,
    area: Area,
) -> Result<(), SheetError> {
    let modules = symbol.modules(&label.code)?;
    marks.push(Mark::Outline { area, radius: mm(2), line: 60, ink: Ink::Hairline });
    let stripe =
        Area { x: area.x + mm(2), y: area.y + PADDING, width: STRIPE, height: area.height - 2 * PADDING };
    marks.push(Mark::Fill { area: stripe, radius: STRIPE / 2, ink: label.ink });
    let inner = Area {
        x: area.x + STRIPE_ROOM,
        y: area.y + PADDING,
        width: area.width - STRIPE_ROOM - PADDING,
        height: area.height - 2 * PADDING,
    };
    match symbol {
        Symbol::Code128 => draw_bars(marks, label, look, &modules, area, inner),
        Symbol::DataMatrix => draw_square(marks, label, look, &modules, area, inner),
    }
}

/// Title above, bars over the whole width, their text below.
fn draw_bars(
    marks: &mut Vec<Mark>,
    label: &Label,
    look: Look,
    modules: &Modules,
    area: Area,
    inner: Area,
) -> Result<(), SheetError> {
    let words = draw_words(marks, label, look, inner.x, inner.y, inner.width);
    let top = inner.y + words + mm(2);
    let height = inner.y + inner.height - CAPTION - top;
    let in_all = (modules.width() + 2 * Symbol::Code128.quiet_zone()) as Length;
    let dots = (inner.width / (in_all * DOT)).min(BAR_DOTS.1);
    let (width_mm, height_mm) = (whole_mm(area.width), whole_mm(area.height));
    if dots < BAR_DOTS.0 {
        let needed_mm = enough_mm(in_all * DOT * BAR_DOTS.0 + area.width - inner.width);
        return Err(SheetError::TooNarrow { text: label.code.data().to_owned(), needed_mm, height_mm });
    }
    if height < BARS_HEIGHT_MIN {
        let needed_mm = enough_mm(area.height - height + BARS_HEIGHT_MIN);
        return Err(SheetError::TooLow { text: label.code.data().to_owned(), width_mm, needed_mm });
    }
    let module = dots * DOT;
    let width = modules.width() as Length * module;
    let x = on_dot(inner.x + (inner.width - width) / 2);
    let bars = modules.runs().into_iter().map(|(_, first, length)| Area {
        x: x + first as Length * module,
        y: top,
        width: length as Length * module,
        height,
    });
    marks.push(Mark::Modules(bars.collect()));
    caption(marks, label, x + width / 2, Align::Middle, inner);
    Ok(())
}

/// Words on the left, the square on the right, its text below both.
fn draw_square(
    marks: &mut Vec<Mark>,
    label: &Label,
    look: Look,
    modules: &Modules,
    area: Area,
    inner: Area,
) -> Result<(), SheetError> {
    let in_all = (modules.width() + Symbol::DataMatrix.quiet_zone()) as Length;
    // Half of the width stays for the words. Above and to the right the label's padding is light anyway.
    let side = (inner.height - CAPTION).min(inner.width / 2);
    let dots = (side / (in_all * DOT)).min(SQUARE_DOTS.1);
    if dots < SQUARE_DOTS.0 {
        let needed = in_all * DOT * SQUARE_DOTS.0;
        let (width_mm, height_mm) = (whole_mm(area.width), whole_mm(area.height));
        let text = label.code.data().to_owned();
        let height_needed = enough_mm(needed + area.height - inner.height + CAPTION);
        return Err(match height_needed > height_mm {
            true => SheetError::TooLow { text, width_mm, needed_mm: height_needed },
            false => {
                let needed_mm = enough_mm(2 * needed + area.width - inner.width);
                SheetError::TooNarrow { text, needed_mm, height_mm }
            }
        });
    }
    let module = dots * DOT;
    let quiet = Symbol::DataMatrix.quiet_zone() as Length * module;
    let width = modules.width() as Length * module;
    let x = on_dot(inner.x + inner.width - width - DOT);
    let top = inner.y;
    let squares = modules.runs().into_iter().map(|(row, first, length)| Area {
        x: x + first as Length * module,
        y: top + row as Length * module,
        width: length as Length * module,
        height: module,
    });
    marks.push(Mark::Modules(squares.collect()));
    let words_y = match look {
        Look::Words => inner.y,
        // A single word stands beside the middle of the square.
        Look::Name | Look::Number => top + (width - capitals(look.usual().2)) / 2,
    };
    draw_words(marks, label, look, inner.x, words_y, x - quiet - inner.x);
    caption(marks, label, x + width, Align::Right, inner);
    Ok(())
}

/// Title and sentence in a column, from `y` down; how much height they took.
fn draw_words(
    marks: &mut Vec<Mark>,
    label: &Label,
    look: Look,
    x: Length,
    y: Length,
    width: Length,
) -> Length {
    const HINT: Length = 9 * POINT;
    const HINT_LINE: Length = mm(4);
    let (_, _, usual) = look.usual();
    let (size, text) = Font::Bold.fit(&label.title, usual, usual / 3, width);
    let mut baseline = y + capitals(usual);
    let mut put = |baseline, font, size, ink, text| {
        marks.push(Mark::Text { x, baseline, align: Align::Left, font, size, ink, text });
    };
    put(baseline, Font::Bold, size, Ink::Black, text);
    let lines = Font::Regular.wrap(&label.hint, HINT, width);
    for line in &lines {
        baseline += HINT_LINE;
        let (size, text) = Font::Regular.fit(line, HINT, HINT / 2, width);
        put(baseline, Font::Regular, size, Ink::Grey, text);
    }
    // What hangs below the last line.
    baseline + if lines.is_empty() { 0 } else { mm(1) } - y
}

/// How high capitals are in a font of a size.
fn capitals(size: Length) -> Length {
    size * 72 / 100
}

fn caption(marks: &mut Vec<Mark>, label: &Label, x: Length, align: Align, inner: Area) {
    let (size, text) = Font::Code.fit(label.code.shown(), 9 * POINT, 4 * POINT, inner.width);
    let baseline = inner.y + inner.height;
    marks.push(Mark::Text { x, baseline, align, font: Font::Code, size, ink: Ink::Black, text });
}

/// The next dot of a printer.
fn on_dot(length: Length) -> Length {
    (length + DOT - 1) / DOT * DOT
}

#[cfg(test)]
mod tests {
    use stockwire_protocol::gs1::Gln;
    use stockwire_protocol::{LocationId, SiteId};

    use super::*;
    use crate::sheet::{QUANTITIES, commands, locations, quantities};

    const BARS: Options = Options { paper: Paper::A4, symbol: Symbol::Code128, label_mm: None };

    fn places(names: &[&str]) -> Sheet {
        let names: Vec<LocationId> = names.iter().map(|name| LocationId::new(*name).unwrap()).collect();
        locations(&SiteId::new("HAM").unwrap(), Some(Gln::parse("9506000111117").unwrap()), &names)
    }

    fn area_of(mark: &Mark) -> Option<Area> {
        match mark {
            Mark::Text { x, baseline, align, font, size, text, .. } => {
                let width = font.width(text, *size);
                let x = match align {
                    Align::Left => *x,
                    Align::Middle => x - width / 2,
                    Align::Right => x - width,
                };
                Some(Area { x, y: baseline - size, width, height: *size })
            }
            Mark::Fill { area, .. } | Mark::Outline { area, .. } => Some(*area),
            Mark::Modules(areas) => {
                let left = areas.iter().map(|area| area.x).min()?;
                let right = areas.iter().map(|area| area.x + area.width).max()?;
                let top = areas.iter().map(|area| area.y).min()?;
                let bottom = areas.iter().map(|area| area.y + area.height).max()?;
                Some(Area { x: left, y: top, width: right - left, height: bottom - top })
            }
        }
    }

    #[test]
    fn everything_stays_on_the_paper_and_every_label_keeps_its_quiet_zone() {
        let sheets = [
            commands("HAM"),
            quantities("HAM", QUANTITIES.iter().copied()).unwrap(),
            places(&["A-01", "A-02", "DOCK-WEST-14", "B#7"]),
        ];
        for sheet in &sheets {
            for paper in [Paper::A4, Paper::Letter] {
                for symbol in [Symbol::Code128, Symbol::DataMatrix] {
                    let pages = pages(sheet, &Options { paper, symbol, label_mm: None }).unwrap();
                    let mut symbols = 0;
                    for page in &pages {
                        for mark in &page.marks {
                            let area = area_of(mark).unwrap();
                            assert!(
                                area.x >= MARGIN && area.x + area.width <= page.width - MARGIN,
                                "{mark:?}"
                            );
                            assert!(
                                area.y >= MARGIN / 2 && area.y + area.height <= page.height - MARGIN,
                                "{mark:?}"
                            );
                            if let Mark::Modules(modules) = mark {
                                symbols += 1;
                                let module = modules.iter().map(|area| area.width).min().unwrap();
                                let quiet = symbol.quiet_zone() as Length * module;
                                let touches = |other: &&Mark| match (other, area_of(other).unwrap()) {
                                    // Beside bars nothing may stand; above and below they may be approached.
                                    (Mark::Modules(_) | Mark::Outline { .. }, _) => false,
                                    (_, b) => {
                                        b.x < area.x + area.width + quiet
                                            && area.x - quiet < b.x + b.width
                                            && b.y < area.y + area.height
                                            && area.y < b.y + b.height
                                    }
                                };
                                let near: Vec<&Mark> = page.marks.iter().filter(touches).collect();
                                assert!(near.is_empty(), "{near:?} touches {area:?}");
                                assert_eq!((module % DOT, area.x % DOT), (0, 0));
                            }
                        }
                    }
                    assert_eq!(symbols, sheet.len());
                }
            }
        }
    }

    #[test]
    fn a_heading_stays_with_its_labels_and_is_repeated() {
        let mut sheet = commands("HAM");
        let label = sheet.groups[0].labels[0].clone();
        sheet.groups[0].labels = vec![label; 15];
        let pages = pages(&sheet, &BARS).unwrap();
        let headings = |page: &Page| -> Vec<String> {
            let titles = page.marks.iter().filter_map(|mark| match mark {
                Mark::Text { size, text, .. } if *size == 13 * POINT => Some(text.clone()),
                _ => None,
            });
            titles.collect()
        };
        let all: Vec<Vec<String>> = pages.iter().map(headings).collect();
        assert_eq!(all[0], ["Begin a task"]);
        assert_eq!(all[1][0], "Begin a task, continued");
    }

    #[test]
    fn what_could_not_be_read_is_refused_with_what_to_do() {
        let check = |sheet: &Sheet, options: Options, expected: &str| {
            let error = pages(sheet, &options).unwrap_err().to_string();
            assert_eq!(error, expected);
        };
        let long = "A".repeat(48);
        check(
            &places(&[&long]),
            BARS,
            &format!(
                "{:?} needs a label of at least 149 mm across; choose --label 149x38, or --symbol datamatrix",
                format!("SW:LOC:{long}")
            ),
        );
        assert!(pages(&places(&[&long]), &Options { label_mm: Some((149, 40)), ..BARS }).is_ok());
        let squares = Options { symbol: Symbol::DataMatrix, ..BARS };
        assert!(pages(&places(&[&long]), &squares).is_ok());
        check(
            &places(&["A-01"]),
            Options { label_mm: Some((90, 20)), ..BARS },
            "\"4149506000111117254A-01\" needs a label of at least 30 mm down; choose --label 90x30",
        );
        assert!(pages(&places(&["A-01"]), &Options { label_mm: Some((90, 30)), ..BARS }).is_ok());
        check(
            &places(&["A-01"]),
            Options { label_mm: Some((200, 30)), ..BARS },
            "a label of 200 x 30 mm: on this paper it has 30 to 186 mm across and 20 to 242 mm down",
        );
        check(&places(&[]), BARS, "there is nothing to print");
    }
}
