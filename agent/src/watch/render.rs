//! From what the agent said to a screenful: a pure function of the view, the time and the size.
//!
//! ```text
//!  | bench-1   RECEIVE   anna   12 recorded |   a station: its bar,
//!  |   #  ####  ####   large: the weight,   |   filled with the last signal's colour,
//!  |  ##    #   #  #   else the signal,     |   the large line,
//!  |   #  #     #  #   else the task        |
//!  | 1 Blue mug into A-01                   |   what became of the last scan,
//!  | » scan an item, or DONE                |   what is expected next,
//!  |   4 s good  1 Blue mug into A-01       |   what came before
//!  | connected, all sent              box-1 |   the agent: the last row of the screen
//! ```

use std::time::Duration;

use super::block;
use super::canvas::{Frame, Hue, Palette, Rect, Size, Style, columns, wrap};
use super::view::{Mood, Station, View};
use crate::feedback::{Colour, Light, Signal};

/// Everything that a picture follows from.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// What the agent said last, or why it says nothing.
    pub contact: Contact<'a>,
    /// Only this station.
    pub station: Option<&'a str>,
    /// Since the beginning, for blinking.
    pub now: Duration,
    /// Whether there are colours.
    pub palette: Palette,
}

/// Whether the agent answers.
#[derive(Clone, Copy, Debug)]
pub enum Contact<'a> {
    /// It did.
    Answered(&'a View),
    /// It does not, and what it said before may be wrong by now.
    Silent {
        /// For how long.
        since: Duration,
        /// Why, as the system says.
        reason: &'a str,
    },
}

/// A station needs so much room; more of them than fit are counted in the last row.
const TILE_MIN: Size = Size { columns: 20, rows: 6 };
/// A cell is twice as high as wide, and a station is best seen twice as wide as high.
const TILE_SHAPE: usize = 4;
/// Blinking: half a second on, half a second off, slower than what troubles anybody.
const BLINK: Duration = Duration::from_millis(500);

/// Draws a screenful.
pub fn render(picture: &Picture<'_>, size: Size) -> Frame {
    let mut frame = Frame::new(size);
    let size = frame.size();
    match picture.contact {
        Contact::Silent { since, reason } => silent(&mut frame, picture, since, reason),
        Contact::Answered(view) => {
            let wanted = |station: &&Station| picture.station.is_none_or(|name| name == station.name);
            let stations: Vec<&Station> = view.stations.iter().filter(wanted).collect();
            if stations.is_empty() {
                nobody(&mut frame, picture, view);
            }
            let shown = tiles(&mut frame, picture, view, &stations);
            footer(&mut frame, picture, view, size, stations.len() - shown);
        }
    }
    frame
}

/// Draws as many stations as fit; how many.
fn tiles(frame: &mut Frame, picture: &Picture<'_>, view: &View, stations: &[&Station]) -> usize {
    let Size { columns, rows } = frame.size();
    let rows = rows.saturating_sub(1);
    let fits = |across: usize| {
        let down = stations.len().div_ceil(across).max(1);
        let tile = Size { columns: columns / across, rows: rows / down };
        let enough = tile.columns >= TILE_MIN.columns && tile.rows >= TILE_MIN.rows;
        (across, down, if enough { tile.columns.min(tile.rows * TILE_SHAPE) } else { 0 })
    };
    let best =
        (1..=stations.len().max(1)).map(fits).max_by_key(|(across, _, room)| (*room, usize::MAX - across));
    let (across, down) = match best {
        Some((across, down, room)) if room > 0 => (across, down),
        // Too small for all of them: as many as there is room for, at least one.
        _ => ((columns / TILE_MIN.columns).max(1), (rows / TILE_MIN.rows).max(1)),
    };
    let shown = stations.len().min(across * down);
    for (at, station) in stations.iter().take(shown).enumerate() {
        let (column, row) = (at % across, at / across);
        let (left, top) = (columns * column / across, rows * row / down);
        let (right, bottom) = (columns * (column + 1) / across, rows * (row + 1) / down);
        // A dark column between two stations.
        let gap = usize::from(column + 1 < across);
        let area = Rect { x: left, y: top, columns: right - left - gap, rows: bottom - top };
        tile(frame, picture, view, station, area);
    }
    shown
}

fn tile(frame: &mut Frame, picture: &Picture<'_>, view: &View, station: &Station, area: Rect) {
    let mood = station.mood();
    let ground = ground(mood, picture);
    frame.fill(area, ground);
    bar(frame, station, Rect { rows: 1, ..area });

    let inner = Rect {
        x: area.x + 1,
        y: area.y + 1,
        columns: area.columns.saturating_sub(2),
        rows: area.rows.saturating_sub(1),
    };
    let heavy = heavier(ground);
    let (big, said_big) = large(station, mood);
    let lines = lines(view, station, mood, ground, said_big, inner.columns);
    // The large line takes what the others leave, and at most six tenths.
    let rows_max = inner.rows.saturating_sub(lines.len() + 1).min(inner.rows * 6 / 10);
    let (block, below) = enlarge(&big, inner.columns, rows_max);
    let mut y = inner.y;
    let middle = |width: usize| inner.x + inner.columns.saturating_sub(width) / 2;
    if let Some(block) = block {
        // A row of air above it when there is one to spare.
        y += usize::from(inner.rows > block.lines.len() + lines.len() + 1);
        for line in &block.lines {
            frame.put(middle(block.columns), y, block.columns, line, Style { bold: false, ..ground });
            y += 1;
        }
    } else if lines.len() < inner.rows {
        frame.put(middle(columns(&big.text)), y, inner.columns, &big.text, heavy);
        y += 1;
    }
    if y > inner.y {
        // What is said about it stands in the row that is free anyway.
        frame.put(middle(columns(&below)), y, inner.columns, &below, heavy);
        y += usize::from(!below.is_empty() || y + lines.len() < inner.y + inner.rows);
    }
    let bottom = inner.y + inner.rows;
    for (line, style) in lines {
        if y < bottom {
            frame.put(inner.x, y, inner.columns, &line, style);
            y += 1;
        }
    }
    // What came before, after a free row.
    y += 1;
    for told in station.glimpse.recent.iter().skip(1) {
        if y >= bottom {
            break;
        }
        let (word, mark) = (word(told.signal).to_lowercase(), mark(told.signal));
        let (age, message) = (age(told.age_ms), &told.message);
        let line = match inner.columns {
            0..WORDS_MIN => format!("{age:>5} {mark} {message}"),
            _ => format!("{age:>5}  {word:<10}  {message}"),
        };
        frame.put(inner.x, y, inner.columns, &line, Style { bold: false, ..ground });
        y += 1;
    }
}

/// What became of the last input, what is expected next, and which devices do not work.
fn lines(
    view: &View,
    station: &Station,
    mood: Mood,
    ground: Style,
    said_big: bool,
    room: usize,
) -> Vec<(String, Style)> {
    /// Of each text: what is longer is read at the bench.
    const ROWS_MAX: usize = 3;
    let heavy = heavier(ground);
    let mut lines = Vec::new();
    let mut add = |text: &str, style| {
        lines.extend(wrap(text, room, ROWS_MAX).into_iter().map(|line| (line, style)));
    };
    if let Some(told) = station.last() {
        match mood {
            Mood::Calm => add(&format!("{} ago: {}", age(told.age_ms), told.message), ground),
            _ if said_big => add(&told.message, heavy),
            _ => add(&format!("{}: {}", word(told.signal), told.message), heavy),
        }
    }
    add(&format!("\u{bb} {}", station.screen.expected), heavy);
    for (device, state) in view.broken(&station.name) {
        let style = Style { reverse: !ground.reverse, ..ground };
        add(&format!("{device}: {}", state.replace('_', " ")), style);
    }
    lines
}

/// Who, what, by whom, how much.
fn bar(frame: &mut Frame, station: &Station, area: Rect) {
    let style = Style { front: Hue::White, back: Hue::Black, bold: true, reverse: false };
    frame.fill(area, style);
    let screen = &station.screen;
    let recorded = match &screen.workflow {
        Some(_) => format!("{} recorded ", screen.recorded),
        None => String::new(),
    };
    let mut left = format!(" {}", station.name);
    for part in [&screen.workflow, &screen.operator].into_iter().flatten() {
        left += &format!("   {}", part.replace('_', " "));
    }
    let room = area.columns.saturating_sub(columns(&recorded) + 1);
    // When there is no room for both, what is done matters more than how much.
    let (room, recorded) = if columns(&left) > room { (area.columns, "") } else { (room, recorded.as_str()) };
    frame.put(area.x, area.y, room, &left, style);
    let x = area.x + area.columns - columns(recorded);
    frame.put(x, area.y, columns(recorded), recorded, Style { bold: false, ..style });
}

/// What is drawn large.
#[derive(Default)]
struct Large {
    text: String,
    /// Of a weight.
    unit: String,
    /// Said below it.
    about: String,
}

/// The weight, else the signal, else the task; and whether it is the signal's word.
fn large(station: &Station, mood: Mood) -> (Large, bool) {
    let plain = |text: &str| Large { text: text.replace('_', " "), ..Large::default() };
    if let Some(weight) = station.weight() {
        let states = [(weight.moving, "moving"), (weight.out_of_range, "out of range"), (weight.net, "net")];
        let about: Vec<&str> = states.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        return (
            Large { text: weight.value.clone(), unit: weight.unit.clone(), about: about.join(", ") },
            false,
        );
    }
    match (mood.signal(), &station.screen.workflow) {
        (Some(signal), _) => (plain(word(signal)), true),
        (None, Some(workflow)) => (plain(workflow), false),
        (None, None) => (plain("READY"), false),
    }
}

/// As large as it gets, and what stands below it. A unit stands beside the number when that costs no size.
fn enlarge(big: &Large, columns: usize, rows: usize) -> (Option<block::Block>, String) {
    let Large { text, unit, about } = big;
    let alone = block::draw(text, columns, rows);
    let both = block::draw(&format!("{text} {unit}"), columns, rows).filter(|_| !unit.is_empty());
    match (alone, both) {
        (Some(alone), Some(both)) if both.scale == alone.scale => (Some(both), about.clone()),
        (alone, _) => {
            let parts = [unit.as_str(), about.as_str()];
            let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            (alone, parts.join(", "))
        }
    }
}

/// With fewer columns a signal's word would take the place of what was scanned.
const WORDS_MIN: usize = 36;

fn mark(signal: Signal) -> char {
    match signal {
        Signal::Good => '+',
        Signal::Heard => '\u{b7}',
        Signal::Unknown => '?',
        Signal::Refused => '!',
        Signal::Repeated => '=',
        Signal::NotStored => 'X',
    }
}

fn word(signal: Signal) -> &'static str {
    match signal {
        Signal::Good => "GOOD",
        Signal::Heard => "HEARD",
        Signal::Unknown => "UNKNOWN",
        Signal::Refused => "REFUSED",
        Signal::Repeated => "REPEATED",
        Signal::NotStored => "NOT STORED",
    }
}

/// What fills a station.
fn ground(mood: Mood, picture: &Picture<'_>) -> Style {
    let Some(Light { colour, blinking }) = mood.light() else { return Style::default() };
    let off = blinking && (picture.now.as_millis() / BLINK.as_millis()) % 2 == 1;
    if picture.palette == Palette::Monochrome {
        // Without colours only what asks for the operator fills the screen; a new signal flashes as well.
        let asks = matches!(colour, Colour::Amber | Colour::Red);
        return Style { reverse: matches!(mood, Mood::Flash(_)) || (asks && !off), ..Style::default() };
    }
    if matches!(mood, Mood::Flash(_)) {
        return Style { front: Hue::Black, back: Hue::White, ..Style::default() };
    }
    let hue = match colour {
        Colour::Green => Hue::Green,
        Colour::Blue => Hue::Blue,
        Colour::Amber => Hue::Amber,
        Colour::Red => Hue::Red,
    };
    if off {
        return Style { front: hue, back: Hue::Black, bold: true, reverse: false };
    }
    on(hue)
}

/// Letters that are read on a colour.
fn on(hue: Hue) -> Style {
    let front = match hue {
        Hue::Green | Hue::Amber | Hue::White => Hue::Black,
        _ => Hue::White,
    };
    Style { front, back: hue, bold: front == Hue::White, reverse: false }
}

/// Heavier where that does not turn black into grey.
fn heavier(style: Style) -> Style {
    Style { bold: style.front != Hue::Black, ..style }
}

fn age(age_ms: u64) -> String {
    match age_ms / 1000 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// The last row: how movements get to the gateway.
fn footer(frame: &mut Frame, picture: &Picture<'_>, view: &View, size: Size, hidden: usize) {
    let waiting = match view.waiting() {
        0 => "all sent".to_owned(),
        waiting => format!("{waiting} waiting"),
    };
    let (hue, text) = match (view.trouble(), view.link.connected) {
        (Some(trouble), _) => (Hue::Red, format!("{}; {waiting}", trouble.message)),
        (None, false) => (
            Hue::Amber,
            format!("no connection for {}, {waiting}", age(view.link.since_s.saturating_mul(1000))),
        ),
        (None, true) => (Hue::Green, format!("connected, {waiting}")),
    };
    let style = match picture.palette {
        Palette::Monochrome => Style { reverse: true, ..Style::default() },
        // Quiet when all is well: only what is wrong fills its row.
        Palette::Colour if hue == Hue::Green => {
            Style { front: hue, back: Hue::Black, bold: true, reverse: false }
        }
        Palette::Colour => on(hue),
    };
    let y = size.rows - 1;
    frame.fill(Rect { x: 0, y, columns: size.columns, rows: 1 }, style);
    let right = match hidden {
        0 => format!("{} ", view.agent),
        hidden => format!("{hidden} more station(s)  {} ", view.agent),
    };
    let room = size.columns.saturating_sub(columns(&right) + 1);
    // What is wrong matters more than whose it is.
    let (room, right) =
        if columns(&text) + 1 > room && hidden == 0 { (size.columns, "") } else { (room, right.as_str()) };
    frame.put(1, y, room.saturating_sub(1), &text, style);
    frame.put(size.columns - columns(right).min(size.columns), y, columns(right), right, style);
}

/// The agent does not answer: nothing that it said before is shown, because it may be wrong.
fn silent(frame: &mut Frame, picture: &Picture<'_>, since: Duration, reason: &str) {
    let style = match picture.palette {
        Palette::Monochrome => Style { reverse: true, ..Style::default() },
        Palette::Colour => on(Hue::Red),
    };
    let since = age(since.as_millis() as u64);
    let lines = [
        format!("The agent has not answered for {since}."),
        "Wait: scans may not be recorded now.".to_owned(),
        format!("Trying again. {reason}."),
        "If it stays so: stockwire-agent doctor".to_owned(),
    ];
    notice(frame, style, "NO AGENT", &lines);
}

/// The agent has no station to show.
fn nobody(frame: &mut Frame, picture: &Picture<'_>, view: &View) {
    let names: Vec<&str> = view.stations.iter().map(|station| station.name.as_str()).collect();
    let lines = match picture.station {
        Some(name) => {
            [format!("There is no station {name} here."), format!("There are: {}", names.join(", "))]
        }
        None => {
            ["The agent has no stations.".to_owned(), "Add a [[station]] to its configuration.".to_owned()]
        }
    };
    notice(frame, Style::default(), "NO STATION", &lines);
}

fn notice(frame: &mut Frame, style: Style, title: &str, lines: &[String]) {
    let Size { columns: across, rows } = frame.size();
    frame.fill(Rect { x: 0, y: 0, columns: across, rows }, style);
    let room = across.saturating_sub(2);
    let lines: Vec<String> = lines.iter().flat_map(|line| wrap(line, room, 3)).collect();
    let rows_max = rows.saturating_sub(lines.len() + 2).min(rows / 2);
    let mut y = 1;
    match block::draw(title, room, rows_max) {
        Some(block) => {
            for line in &block.lines {
                frame.put(1 + (room - block.columns) / 2, y, block.columns, line, style);
                y += 1;
            }
        }
        None => {
            frame.put(1, y, room, title, heavier(style));
            y += 1;
        }
    }
    y += 1;
    for line in &lines {
        frame.put(1, y, room, line, heavier(style));
        y += 1;
    }
}
