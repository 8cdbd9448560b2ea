//! `stockwire-agent sheet` as a technician calls it. That its barcodes can be read is shown in the system tests.

// Helpers of tests: a failing unwrap is a failing test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

mod bench;

use bench::Bench;

#[test]
fn locations_come_from_the_gateways_catalogue() {
    let bench = Bench::new("sheet");
    let output = bench.output(&["sheet", "locations", "--from-catalogue", "--format", "svg"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let codes: Vec<usize> =
        ["SW:LOC:A-01", "SW:LOC:B-07"].iter().map(|code| text.find(code).unwrap()).collect();
    assert!(codes.is_sorted() && text.matches("SW:LOC:").count() == 2, "in order, and no others");

    fs::remove_file(bench.path("journal.db.catalogue")).unwrap();
    let output = bench.output(&["sheet", "locations", "--from-catalogue"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("no catalogue has come from the gateway yet; name the locations instead"),
        "{said}"
    );
}

#[test]
fn svg_has_a_file_for_each_page_and_pdf_one_for_all() {
    let bench = Bench::new("sheet-files");
    let svg = bench.path("places.svg");
    let output = bench.output(&["sheet", "locations", "A-01..A-30", "--out", svg.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("30 labels on 3 page(s)"), "{said}");
    for name in ["places.svg", "places-2.svg", "places-3.svg"] {
        assert!(fs::read_to_string(bench.path(name)).unwrap().starts_with("<svg "), "{name}");
    }
    assert!(!bench.path("places-4.svg").exists());

    let pdf = bench.output(&["sheet", "locations", "A-01..A-30"]).stdout;
    assert!(pdf.starts_with(b"%PDF-") && pdf.ends_with(b"%%EOF\n"));
    assert_eq!(pdf, bench.output(&["sheet", "locations", "A-01..A-30"]).stdout, "the same bytes each time");

    let output = bench.output(&["sheet", "locations", "A-01..A-30", "--format", "svg"]);
    assert_eq!(output.status.code(), Some(2), "three files do not fit into one stream");
    let output = bench.output(&["sheet", "locations"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("A-01..A-40"));
}
