//! Pictures of what `stockwire-agent watch` shows, as files that a person can look at: `tests/pictures/*.txt`.
//!
//! Each row shows its letters, and beside them the colours behind: `g` green, `b` blue, `a` amber, `r` red, `w` white,
//! `k` black, `.` the terminal's own, `*` reversed. With `STOCKWIRE_PICTURES=write` they are drawn anew: look at them.

// Helpers of tests: a failing unwrap is a failing test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use stockwire_agent::watch::canvas::{Frame, Hue, Palette, Size};
use stockwire_agent::watch::render::{Contact, Picture, render};
use stockwire_agent::watch::view::View;

fn size(columns: usize, rows: usize) -> Size {
    Size { columns, rows }
}

/// A station in the middle of receiving; `recent` are `(signal, age in seconds, message)`, the newest first.
fn station(name: &str, workflow: Option<&str>, expected: &str, recent: &[(&str, u64, &str)]) -> Value {
    let recent: Vec<Value> = recent
        .iter()
        .map(|(signal, age, message)| json!({ "signal": signal, "message": message, "age_ms": age * 1000 + 500 }))
        .collect();
    json!({
        "name": name,
        "screen": { "workflow": workflow, "expected": expected, "operator": workflow.map(|_| "anna"), "recorded": 12 },
        "glimpse": { "signals": recent.len(), "recent": recent },
    })
}

fn with_weight(mut station: Value, weight: Value) -> Value {
    station["glimpse"]["weight"] = weight;
    station
}

fn status(stations: Vec<Value>) -> Value {
    json!({
        "agent": "box-1", "journal": { "head": 112, "watermark": 112 }, "link": { "connected": true, "since_s": 60 },
        "devices": [], "stations": stations, "findings": [],
    })
}

fn receiving() -> Value {
    let recent = [
        ("good", 0, "1 Blue mug into A-01"),
        ("good", 3, "1 Blue mug into A-01"),
        ("heard", 9, "receiving into A-01"),
        ("heard", 12, "Receive goods"),
    ];
    station("bench-1", Some("RECEIVE"), "scan an item, a quantity, another location, or DONE", &recent)
}

fn drawn(status: &Value, size: Size, now_ms: u64, palette: Palette, only: Option<&str>) -> Frame {
    let view = View::parse(&status.to_string()).unwrap();
    let now = Duration::from_millis(now_ms);
    render(&Picture { contact: Contact::Answered(&view), station: only, now, palette }, size)
}

fn colour(status: &Value, columns: usize, rows: usize) -> Frame {
    drawn(status, size(columns, rows), 0, Palette::Colour, None)
}

/// Letters and colours, a row in each line.
fn picture(frame: &Frame) -> String {
    let mut out = String::new();
    for (y, text) in frame.text().iter().enumerate() {
        let behind = |x| {
            let style = frame.style(x, y).unwrap();
            match (style.reverse, style.back) {
                (true, _) => '*',
                (_, Hue::Plain) => '.',
                (_, Hue::Black) => 'k',
                (_, Hue::Red) => 'r',
                (_, Hue::Green) => 'g',
                (_, Hue::Amber) => 'a',
                (_, Hue::Blue) => 'b',
                (_, Hue::White) => 'w',
            }
        };
        let colours: Vec<char> = (0..frame.size().columns).map(behind).collect();
        let runs = colours.chunk_by(|a, b| a == b).map(|run| format!(" {}{}", run[0], run.len()));
        writeln!(out, "|{text}|{}", runs.collect::<String>()).unwrap();
    }
    out
}

fn check(name: &str, frame: &Frame) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(format!("{name}.txt"));
    let got = picture(frame);
    if std::env::var("STOCKWIRE_PICTURES").is_ok_and(|value| value == "write") {
        std::fs::write(&path, &got).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(got == expected, "{name} has changed from\n{expected}to\n{got}");
}

#[test]
fn a_good_scan_fills_the_smallest_display_with_green() {
    check("good_40x12", &colour(&status(vec![receiving()]), 40, 12));
}

#[test]
fn a_large_display_shows_large_letters_and_what_came_before() {
    check("good_100x30", &colour(&status(vec![receiving()]), 100, 30));
}

#[test]
fn a_new_signal_flashes_white() {
    let mut status = status(vec![receiving()]);
    status["stations"][0]["glimpse"]["recent"][0]["age_ms"] = 100.into();
    check("flash_40x12", &colour(&status, 40, 12));
}

#[test]
fn good_news_fade_after_a_while_and_bad_news_stay() {
    let mut status = status(vec![receiving()]);
    for (signal, name) in [("good", "calm_40x12"), ("not_stored", "not_stored_40x12")] {
        let last = &mut status["stations"][0]["glimpse"]["recent"][0];
        last["signal"] = signal.into();
        last["age_ms"] = 75_000.into();
        check(name, &colour(&status, 40, 12));
    }
}

#[test]
fn what_asks_for_the_operator_blinks() {
    let recent =
        [("refused", 2, "MUG expired on 2026-10-01: scan YES to take it all the same, NO to leave it")];
    let status = status(vec![station("bench-1", Some("PUT_AWAY"), "YES or NO", &recent)]);
    check("refused_on_60x16", &drawn(&status, size(60, 16), 0, Palette::Colour, None));
    check("refused_off_60x16", &drawn(&status, size(60, 16), 500, Palette::Colour, None));
}

#[test]
fn the_weight_is_what_is_read_from_afar() {
    let recent = [("heard", 1, "put NUTS on the scale")];
    let weighing = station("bench-1", Some("RECEIVE"), "a stable weight of NUTS", &recent);
    let weight = |moving: bool| json!({ "value": "12.500", "unit": "kg", "moving": moving, "out_of_range": false, "net": true, "age_ms": 90 });
    let moving = status(vec![with_weight(weighing.clone(), weight(true))]);
    check("weight_moving_44x14", &colour(&moving, 44, 14));
    let mut stable = weight(false);
    stable["net"] = false.into();
    check("weight_80x24", &colour(&status(vec![with_weight(weighing.clone(), stable.clone())]), 80, 24));
    // What the scale said four seconds ago is not what lies on it now.
    stable["age_ms"] = 4_000.into();
    check("weight_old_44x14", &colour(&status(vec![with_weight(weighing, stable)]), 44, 14));
}

#[test]
fn nobody_works_and_a_device_is_gone_and_there_is_no_network() {
    let mut status = status(vec![station("bench-1", None, "scan SW:WF:RECEIVE, PICK or COUNT", &[])]);
    status["devices"] = json!([
        { "name": "bench-1/scanner", "state": { "kind": "unplugged" } },
        { "name": "bench-1/scale", "state": { "kind": "working" } },
    ]);
    status["journal"]["watermark"] = 3.into();
    status["link"] = json!({ "connected": false, "since_s": 7_300 });
    check("offline_60x16", &colour(&status, 60, 16));
    status["findings"] = json!([{ "severity": "error", "code": "disk_read_only", "message": "the disk below the journal is read-only: nothing can be recorded" }]);
    check("trouble_60x16", &colour(&status, 60, 16));
}

#[test]
fn several_stations_share_the_screen() {
    let four = |names: &[&str]| {
        let signals = ["good", "heard", "unknown", "not_stored"];
        let one = |(at, name): (usize, &&str)| {
            station(
                name,
                Some("PICK"),
                "scan an item",
                &[(signals[at % 4], 2, "4006381333931"), ("heard", 8, "order SO-1")],
            )
        };
        names.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    let stations = status(four(&["bench-1", "bench-2", "dock-west", "dock-east"]));
    check("four_100x30", &colour(&stations, 100, 30));
    check("one_of_four_40x12", &drawn(&stations, size(40, 12), 0, Palette::Colour, Some("dock-west")));
    check("four_on_a_small_one_40x12", &colour(&stations, 40, 12));
    check("no_such_station_40x12", &drawn(&stations, size(40, 12), 0, Palette::Colour, Some("bench-9")));
}

#[test]
fn without_colours_words_and_reversal_remain() {
    let good = status(vec![receiving()]);
    check("good_mono_40x12", &drawn(&good, size(40, 12), 0, Palette::Monochrome, None));
    let recent = [("unknown", 2, "4006381333931 is unknown here")];
    let unknown = status(vec![station("bench-1", Some("PICK"), "scan an item", &recent)]);
    check("unknown_mono_40x12", &drawn(&unknown, size(40, 12), 0, Palette::Monochrome, None));
}

#[test]
fn an_agent_that_does_not_answer_is_not_shown_as_it_was() {
    let silent = |size| {
        let contact = Contact::Silent {
            since: Duration::from_secs(75),
            reason: "/run/stockwire/agent.sock: No such file or directory (os error 2)",
        };
        render(&Picture { contact, station: None, now: Duration::ZERO, palette: Palette::Colour }, size)
    };
    check("silent_40x12", &silent(size(40, 12)));
    check("silent_80x24", &silent(size(80, 24)));
}

/// The picture of the manuals, `docs/pictures/watch.svg`, drawn from what the code shows.
#[test]
fn the_manual_shows_what_a_display_shows() {
    let receives = [
        ("good", 0, "6 Blue mug into A-01"),
        ("heard", 5, "6 of the next item"),
        ("good", 9, "1 Blue mug into A-01"),
        ("unknown", 21, "no item has the GTIN 04006381333948"),
    ];
    let weighs = [("heard", 2, "put Walnuts on the scale"), ("good", 14, "12.5 kg Walnuts into B-07")];
    let loads = [
        ("refused", 1, "plate 106141411234567897 is loaded already"),
        ("good", 12, "plate 106141411234567897 loaded, 1 plate in all"),
    ];
    let weight = json!({ "value": "12.500", "unit": "kg", "moving": false, "out_of_range": false, "net": true, "age_ms": 90 });
    let mut four = status(vec![
        station("bench-1", Some("RECEIVE"), "scan an item into A-01", &receives),
        with_weight(station("bench-2", Some("RECEIVE"), "put Walnuts on the scale", &weighs), weight),
        station("dock-west", Some("LOAD"), "scan a plate at D-1, or DONE (1 loaded)", &loads),
        station("dock-east", None, "scan a workflow", &[]),
    ]);
    four["agent"] = "ham-box-1".into();
    let got = svg(&colour(&four, 120, 34));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures/watch.svg");
    if std::env::var("STOCKWIRE_PICTURES").is_ok_and(|value| value == "write") {
        std::fs::write(&path, &got).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(got == expected, "{} is not what is drawn now: STOCKWIRE_PICTURES=write", path.display());
}

/// A frame as a drawing: what lies behind in one rectangle for each run, letters on top.
fn svg(frame: &Frame) -> String {
    const CELL: (usize, usize) = (10, 20);
    let colour = |hue: Hue, plain: &'static str| match hue {
        Hue::Plain => plain,
        Hue::Black => "#0c0c0c",
        Hue::Red => "#c4201c",
        Hue::Green => "#18a03c",
        Hue::Amber => "#e8a000",
        Hue::Blue => "#1450c0",
        Hue::White => "#dcdcdc",
    };
    let (width, height) = (frame.size().columns * CELL.0, frame.size().rows * CELL.1);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" \
         font-size=\"16\" xml:space=\"preserve\">\n<title>stockwire-agent watch</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#0c0c0c\"/>\n"
    );
    for (y, row) in frame.text().iter().enumerate() {
        let cells: Vec<_> =
            row.chars().enumerate().map(|(x, c)| (x, c, frame.style(x, y).unwrap())).collect();
        for run in cells.chunk_by(|a, b| a.2 == b.2) {
            let (x, style) = (run[0].0 * CELL.0, run[0].2);
            let (front, back) = (colour(style.front, "#dcdcdc"), colour(style.back, "#0c0c0c"));
            let (front, back) = if style.reverse { (back, front) } else { (front, back) };
            let (top, wide) = (y * CELL.1, run.len() * CELL.0);
            if back != "#0c0c0c" {
                writeln!(
                    out,
                    "<rect x=\"{x}\" y=\"{top}\" width=\"{wide}\" height=\"{}\" fill=\"{back}\" shape-rendering=\"crispEdges\"/>",
                    CELL.1
                )
                .unwrap();
            }
            let text: String = run.iter().map(|cell| cell.1).collect();
            let begin = text.len() - text.trim_start().len();
            let text = text.trim();
            if !text.is_empty() {
                let (x, long) = (x + begin * CELL.0, text.chars().count() * CELL.0);
                let text = text.replace('&', "&amp;").replace('<', "&lt;");
                let bold = if style.bold { " font-weight=\"bold\"" } else { "" };
                writeln!(
                    out,
                    "<text x=\"{x}\" y=\"{}\" textLength=\"{long}\" fill=\"{front}\"{bold}>{text}</text>",
                    top + 15
                )
                .unwrap();
            }
        }
    }
    out + "</svg>\n"
}

#[test]
fn any_size_and_any_text_are_drawn() {
    let nasty = "\u{1b}[2J\u{202e}\u{4f60}\u{597d} \u{1f4e6}\u{301}\r\n".repeat(40);
    let recent: Vec<(&str, u64, &str)> = (0..12).map(|age| ("good", age, nasty.as_str())).collect();
    let one = station(&nasty, Some(&nasty), &nasty, &recent);
    let weight = json!({ "value": nasty, "unit": nasty, "moving": true, "age_ms": 0 });
    for count in [0, 1, 7, 64] {
        let status = status(vec![with_weight(one.clone(), weight.clone()); count]);
        let view = View::parse(&status.to_string()).unwrap();
        let contact = Contact::Answered(&view);
        let picture = Picture { contact, station: None, now: Duration::ZERO, palette: Palette::Colour };
        for columns in [0, 1, 3, 19, 40, 120] {
            for rows in [0, 1, 2, 6, 12, 40] {
                let frame = render(&picture, size(columns, rows));
                let text = frame.text().concat();
                assert!(!text.contains(['\u{1b}', '\r', '\n', '\u{202e}']), "{columns}x{rows}");
            }
        }
    }
}
