//! What `stockwire-agent sheet` prints is read back from its picture, by barcode readers that are not ours.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests, where a panic is the report

use std::path::{Path, PathBuf};
use std::process::Command;

use stockwire_agent::sheet::page::Mark;
use stockwire_agent::sheet::{self, Options, Page, Paper, QUANTITIES, Sheet, Symbol, range};
use stockwire_protocol::gs1::Gln;
use stockwire_protocol::{LocationId, OperatorId, SiteId};
use stockwire_tests::real::Tool;
use stockwire_tests::real::install::ensure;
use stockwire_tests::real::process::Scratch;
use stockwire_tests::site::program;

const GLN: &str = "9506000111117";
/// As a camera sees them: a bar or square is at least two pixels wide.
const USUAL_DPI: u16 = 150;
/// For the finest that are printed: bars of five dots at 600 dpi, two pixels and a half.
const FINE_DPI: u16 = 300;

struct Bench {
    folder: Scratch,
}

impl Bench {
    fn new() -> Self {
        ensure(Tool::BarcodeReaders).unwrap();
        let folder = Scratch::new("sheet").unwrap();
        let defaults = run(Command::new(program("stockwire-agent").unwrap()).arg("print-config"));
        let config = String::from_utf8(defaults).unwrap();
        let with_gln = config.replace("#site_gln = \"\"", &format!("site_gln = {GLN:?}"));
        assert_ne!(with_gln, config, "the default configuration shows site_gln");
        std::fs::write(folder.path().join("gln.toml"), with_gln).unwrap();
        std::fs::write(folder.path().join("plain.toml"), config).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Prints with the agent; pictures of the pages that came, in order.
    fn print(&self, config: &str, arguments: &[&str], name: &str, dpi: u16) -> Vec<PathBuf> {
        let out = self.path(name);
        let mut agent = Command::new(program("stockwire-agent").unwrap());
        run(agent.arg("--config").arg(self.path(config)).arg("sheet").args(arguments).arg("--out").arg(&out));
        let (stem, ending) = name.split_once('.').unwrap();
        let mut pages = match ending {
            "svg" => vec![out],
            _ => {
                let prefix = self.path(stem);
                let arguments = ["-r", &dpi.to_string(), "-gray", "-png"];
                run(Command::new("pdftoppm").args(arguments).arg(&out).arg(&prefix));
                Vec::new()
            }
        };
        // `stem-2.svg` and so on, or `stem-1.png`; there may be zeros before the number.
        let prefix = format!("{stem}-");
        let mut others: Vec<PathBuf> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix))
            .collect();
        others.sort();
        pages.extend(others);
        pages.into_iter().map(|page| self.picture(page, dpi)).collect()
    }

    fn picture(&self, page: PathBuf, dpi: u16) -> PathBuf {
        if page.extension().unwrap() == "png" {
            return page;
        }
        let picture = page.with_extension("svg.png");
        let dpi = dpi.to_string();
        let arguments = ["--dpi-x", &dpi, "--dpi-y", &dpi, "-o"];
        run(Command::new("rsvg-convert").args(arguments).arg(&picture).arg(&page));
        picture
    }
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What a reader gave; a GS1 symbol's text begins with the separator that stands for FNC1.
type Read = Vec<String>;

fn read_bars(picture: &Path, _symbols: usize) -> Read {
    let arguments = ["-q", "--nodbus", "--xml", "-Sdisable", "-Scode128.enable"];
    let xml = String::from_utf8(run(Command::new("zbarimg").args(arguments).arg(picture))).unwrap();
    let symbols = xml.split("<symbol ").skip(1).map(|symbol| {
        let (_, data) = symbol.split_once("<![CDATA[").unwrap();
        let (data, _) = data.split_once("]]>").unwrap();
        let fnc1 = if symbol.contains("modifiers='GS1'") { "\u{1d}" } else { "" };
        format!("{fnc1}{data}")
    });
    symbols.collect()
}

/// It is told how many there are, because it looks for minutes to be sure that there are no more; and it gives up after
/// one.
fn read_squares(picture: &Path, symbols: usize) -> Read {
    // 29: the separator for FNC1.
    let stop = format!("--stop-after={symbols}");
    let arguments = ["--newline", "--gs1=29", "--milliseconds=60000", &stop];
    let text = run(Command::new("dmtxread").args(arguments).arg(picture));
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

/// Reads so many symbols from a picture.
type Reader = fn(&Path, usize) -> Read;

const READERS: [(Symbol, &str, Reader); 2] =
    [(Symbol::Code128, "code128", read_bars), (Symbol::DataMatrix, "datamatrix", read_squares)];

/// What should come back.
fn expected(sheet: &Sheet) -> Vec<String> {
    let labels = sheet.groups.iter().flat_map(|group| &group.labels);
    let mut texts: Vec<String> = labels
        .map(|label| match &label.code {
            sheet::Code::Text(text) => text.clone(),
            sheet::Code::Gs1 { data, .. } => format!("\u{1d}{data}"),
        })
        .collect();
    texts.sort();
    texts
}

fn assert_reads(
    pictures: &[PathBuf],
    read: fn(&Path, usize) -> Read,
    sheet: &Sheet,
    options: &Options,
    what: &str,
) {
    let pages = sheet::pages(sheet, options).unwrap();
    assert_eq!(pages.len(), pictures.len(), "{what}");
    let symbols = |page: &Page| page.marks.iter().filter(|mark| matches!(mark, Mark::Modules(_))).count();
    let mut got: Vec<String> =
        pages.iter().zip(pictures).flat_map(|(page, picture)| read(picture, symbols(page))).collect();
    got.sort();
    assert_eq!(got, expected(sheet), "{what}");
}

fn ids<T>(names: &[&str], make: impl Fn(&str) -> T) -> Vec<T> {
    names.iter().map(|name| make(name)).collect()
}

#[test]
#[ignore = "needs barcode readers: cargo verify --stage real"]
fn every_code_on_every_sheet_reads_back_as_its_text() {
    let bench = Bench::new();
    let site = SiteId::new("SITE").unwrap();
    let places: Vec<LocationId> = ["A-01..A-14", "DOCK-WEST-1", "B#7", "a_b.c"]
        .iter()
        .flat_map(|word| range::expand(word).unwrap())
        .collect();
    let gln = Gln::parse(GLN).unwrap();
    let operators = ids(&["anna", "Ben Kim", "op-0042"], |name| OperatorId::new(name).unwrap());
    let words = ["locations", "A-01..A-14", "DOCK-WEST-1", "B#7", "a_b.c"];
    let cases: [(&str, &[&str], Sheet); 5] = [
        ("plain.toml", &["commands"], sheet::commands("SITE")),
        ("plain.toml", &["quantities"], sheet::quantities("SITE", QUANTITIES.iter().copied()).unwrap()),
        ("plain.toml", &words, sheet::locations(&site, None, &places)),
        ("gln.toml", &words, sheet::locations(&site, Some(gln), &places)),
        ("plain.toml", &["badges", "anna", "Ben Kim", "op-0042"], sheet::badges("SITE", &operators)),
    ];
    for (at, (config, arguments, sheet)) in cases.iter().enumerate() {
        for (paper, paper_name, ending) in [(Paper::A4, "a4", "pdf"), (Paper::Letter, "letter", "svg")] {
            for (symbol, symbol_name, read) in READERS {
                let what = format!("{arguments:?} as {symbol_name} in {ending} on {paper_name}");
                let with = [arguments, &["--paper", paper_name, "--symbol", symbol_name][..]].concat();
                let name = format!("{symbol_name}-{at}-{ending}.{ending}");
                let pictures = bench.print(config, &with, &name, USUAL_DPI);
                assert_reads(&pictures, read, sheet, &Options { paper, symbol, label_mm: None }, &what);
            }
        }
    }
}

#[test]
#[ignore = "needs barcode readers: cargo verify --stage real"]
fn the_finest_symbols_that_are_printed_read_back() {
    let bench = Bench::new();
    // The longest name of a location, at the smallest label that the agent agrees to.
    let name = format!("HALL-7_{}", "x".repeat(41));
    let places = ids(&[&name], |name| LocationId::new(name).unwrap());
    let sheet = sheet::locations(&SiteId::new("SITE").unwrap(), None, &places);
    for (symbol, symbol_name, read) in READERS {
        let (label, label_mm) = smallest_label(&bench, &name, symbol_name);
        let arguments = ["locations", &name, "--symbol", symbol_name, "--label", &label];
        let pictures = bench.print("plain.toml", &arguments, &format!("{symbol_name}.pdf"), FINE_DPI);
        let options = Options { paper: Paper::A4, symbol, label_mm: Some(label_mm) };
        assert_reads(&pictures, read, &sheet, &options, &format!("{symbol_name} on {label} mm"));
    }
}

/// As the agent's refusals say, one after the other.
fn smallest_label(bench: &Bench, name: &str, symbol: &str) -> (String, (u16, u16)) {
    let mut label = "30x20".to_owned();
    for _ in 0..3 {
        let mut agent = Command::new(program("stockwire-agent").unwrap());
        let output = agent
            .arg("--config")
            .arg(bench.path("plain.toml"))
            .args(["sheet", "locations", name, "--symbol", symbol, "--label", &label])
            .output()
            .unwrap();
        if output.status.success() {
            let (width, height) = label.split_once('x').unwrap();
            let label_mm = (width.parse().unwrap(), height.parse().unwrap());
            return (label, label_mm);
        }
        assert_eq!(output.status.code(), Some(2), "what cannot be printed is a matter of usage");
        let said = String::from_utf8(output.stderr).unwrap();
        let (_, hint) = said.split_once("choose --label ").expect(&said);
        label = hint.trim().split(',').next().unwrap().to_owned();
    }
    panic!("the agent's advice leads nowhere: {label}")
}

#[test]
fn a_sheet_says_what_it_cannot_print() {
    let folder = Scratch::new("sheet-refusals").unwrap();
    let check = |arguments: &[&str], expected: &str| {
        let mut agent = Command::new(program("stockwire-agent").unwrap());
        let none = folder.path().join("none.toml");
        let output = agent.arg("--config").arg(&none).arg("sheet").args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    check(&["quantities", "1,5"], "\"1,5\" is no quantity: expected something such as 12 or 0.5");
    check(&["badges", "Zo\u{eb}"], "only the printable characters of ASCII come back");
    check(&["locations", "A-01"], "name it with --config");
    check(&["commands", "--label", "300x20"], "on this paper it has");
    check(&["commands", "--label", "wide"], "expected millimetres such as 70x37");
    check(&["commands", "--paper", "a3"], "expected a4 or letter");
    check(&["commands", "--symbol", "qr"], "expected code128 or datamatrix");
    check(&["commands", "--format", "png"], "expected pdf or svg");
    let output = Path::new(folder.path()).join("c.pdf");
    let mut agent = Command::new(program("stockwire-agent").unwrap());
    run(agent.args(["--config", "none.toml", "sheet", "commands", "--out"]).arg(&output));
    assert!(std::fs::read(&output).unwrap().starts_with(b"%PDF-"), "commands need no configuration");
}
