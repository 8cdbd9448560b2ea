//! Scans as they come from a scanner, and what they must be taken for.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;

use super::*;

/// Prints a scan as `kind gtin ai=value ... !finding ...`; `<GS>` in the input stands for the byte.
fn check(input: &str, expected: &str) {
    check_bytes(input.replace("<GS>", "\x1d").as_bytes(), expected);
}

fn check_bytes(raw: &[u8], expected: &str) {
    let scan = interpret(raw, 2026);
    let mut got = match scan.kind() {
        Kind::Plain(text) => format!("plain {text:?}"),
        Kind::Url(text) => format!("url {text:?}"),
        Kind::Command(command) => format!("command {command:?}"),
        Kind::Location(location) => format!("location {}", location.code),
        kind => kind.name().to_string(),
    };
    if let Some(gtin) = scan.gtin() {
        got += &format!(" {gtin}");
    }
    for element in scan.elements() {
        got += &format!(" {}={}", element.ai(), element.value());
    }
    for finding in scan.findings() {
        let mark = if finding.severity() == Severity::Error { "!" } else { "?" };
        got += &format!(" {mark}{}", finding.code);
    }
    assert_eq!(got, expected, "{:?} {:?}", scan.raw_text(), scan.findings());
    let errors = scan.findings().iter().filter(|finding| finding.severity() == Severity::Error).count();
    assert_eq!(
        errors,
        usize::from(scan.is_refused()),
        "an error finding means refused, and the other way round"
    );
}

/// The first finding's message.
fn check_message(input: &str, expected: &str) {
    let scan = interpret(input.replace("<GS>", "\x1d").as_bytes(), 2026);
    assert_eq!(scan.findings().first().map(|finding| finding.message.as_str()), Some(expected), "{input}");
}

/// Verdicts of the GS1 reference engine on the same input, but that pairing faults are warnings here.
#[test]
fn as_the_reference_engine() {
    check(
        "]C10109506000134352310300125010ABC123<GS>17260700",
        "gs1 09506000134352 01=09506000134352 3103=001250 10=ABC123 17=260700",
    );
    check("]C10109506000134353", "error !check_digit");
    check("]C101095060001343523106001250", "error !unknown_ai");
    check("]C13103001250", "gs1 3103=001250 ?missing_pair");
    check("]C1010950600013435217260231", "error !date");
    check("]C1010950600013435210ABC<GS><GS>21S", "error !separator");
    check("]C1010950600013435210ABC21S", "gs1 09506000134352 01=09506000134352 10=ABC21S");
    check("]C100106141411234567897", "gs1 00=106141411234567897");
    check(
        "]Q1https://id.gs1.org/01/09506000134352/10/ABC123/21/987?17=260700",
        "digital_link 09506000134352 01=09506000134352 10=ABC123 21=987 17=260700",
    );
}

#[test]
fn separators() {
    let expected = "gs1 09506000134352 01=09506000134352 10=ABC";
    check("]C1010950600013435210ABC", expected);
    check("]C10109506000134352<GS>10ABC", expected);
    check("]C1010950600013435210ABC<GS>", expected);
    check("]C10109506000134352<GS>10ABC<GS>", expected);
    check("]C10109506000134352<GS><GS>10ABC", "error !separator");
    check("]C1010950600013435210ABC<GS><GS>", "error !separator");
    check("]C1<GS>010950600013435210ABC", "error !separator");
    check("]C1<GS>", "error !separator");
    // A separator within a value of predefined length cuts it short, it does not make the next digits its own.
    check("]C1010950600013<GS>4352", "error !length");
    check("]C1010950600013435217<GS>260700", "error !length");
}

#[test]
fn lengths_and_characters() {
    check("]C1", "error !empty");
    check("]C10", "error !unknown_ai");
    check("]C101", "error !length");
    check("]C1010950600013435", "error !length");
    check("]C10109506000134352010", "error !length");
    check("]C1010950600013435210", "error !length");
    check("]C1010950600013435210<GS>21S", "error !length");
    check(
        "]C1010950600013435210ABCDEFGHIJ0123456789",
        "gs1 09506000134352 01=09506000134352 10=ABCDEFGHIJ0123456789",
    );
    check("]C1010950600013435210ABCDEFGHIJ0123456789X", "error !length");
    check(
        "]C1010950600013435210!\"%&'()*+,-./:;<=>?_",
        "gs1 09506000134352 01=09506000134352 10=!\"%&'()*+,-./:;<=>?_",
    );
    check("]C1010950600013435210A B", "error !character");
    check("]C1010950600013435210A#B", "error !character");
    check("]C10109506000134352310300125X", "error !character");
    check("]C1010950600013435x", "error !character");
    check("]C1010950600013435210ÄB", "error !not_ascii");
    check_bytes(b"]C1010950600013435210\xc4B", "error !not_ascii");
    check("]C100106141411234567897029506000134352937123456789", "error !check_digit");
    check("]C1001061414112345678970209506000134352<GS>37123456789", "error !length");
}

#[test]
fn warehouse_labels() {
    check(
        "]C10010614141123456789702095060001343523748<GS>10LOT-7<GS>15261231",
        "gs1 00=106141411234567897 02=09506000134352 37=48 10=LOT-7 15=261231",
    );
    check("]C1001061414112345678973302012550", "gs1 00=106141411234567897 3302=012550");
    check("]C1400PO-4500012345<GS>4109506000111117", "gs1 400=PO-4500012345 410=9506000111117");
    check(
        "]d201095060001343521126010113260102152612001727010021SN/1",
        "gs1 09506000134352 01=09506000134352 11=260101 13=260102 15=261200 17=270100 21=SN/1",
    );
    // A character set told beside the data changes nothing about them.
    check("]Q4\\000026010950600013435210A", "gs1 09506000134352 01=09506000134352 10=A");
    check("]Q2\\000026https://id.gs1.org/01/09506000134352", "digital_link 09506000134352 01=09506000134352");
    check("]Q2\\000026", "error !empty");
    check("]Q2\\000026a\\\\b", "plain \"a\\\\b\"");
    for aim in ["]d2", "]d5", "]Q3", "]Q4", "]e0", "]J1"] {
        check(&format!("{aim}010950600013435210A"), "gs1 09506000134352 01=09506000134352 10=A");
    }
}

#[test]
fn typed_values() {
    let scan = interpret(
        b"]C1010950600013435231030012503302001400\x1d10A\x1d21S\x1d1726070015260731\x1d11260101",
        2026,
    );
    let elements = scan.element_string();
    let date = |year, month, day| Date::new(year, month, day).ok();
    assert_eq!(elements.gtin().map(|gtin| gtin.to_string()), Some("09506000134352".into()));
    assert_eq!(elements.net_weight_kg(), Some(Decimal { digits: 1250, decimals: 3 }));
    assert_eq!(elements.net_weight_kg().map(|kg| kg.to_string()), Some("1.250".into()));
    assert_eq!(elements.gross_weight_kg().map(|kg| kg.to_string()), Some("14.00".into()));
    assert_eq!((elements.lot(), elements.serial()), (Some("A"), Some("S")));
    assert_eq!(elements.expires_on(), date(2026, 7, 31));
    assert_eq!(elements.best_before_on(), date(2026, 7, 31));
    assert_eq!((elements.produced_on(), elements.packed_on()), (date(2026, 1, 1), None));
    assert_eq!((elements.sscc(), elements.content_gtin(), elements.count()), (None, None, None));
    let pallet = interpret(b"]C100106141411234567897020950600013435237000048", 2026);
    let elements = pallet.element_string();
    assert_eq!(elements.sscc(), Sscc::parse("106141411234567897").ok());
    assert_eq!(elements.content_gtin(), Gtin::parse("09506000134352").ok());
    assert_eq!((elements.count(), pallet.gtin()), (Some(48), None));
    let order = interpret(b"]C1400PO1\x1d4109506000111117", 2026);
    assert_eq!(order.element_string().order(), Some("PO1"));
    assert_eq!(order.element_string().ship_to(), Gln::parse("9506000111117").ok());
}

/// The decimals are the identifier's last digit, 0 to 5.
#[test]
fn implied_decimals() {
    for (ai, expected) in [
        ("3100", "1250"),
        ("3101", "125.0"),
        ("3102", "12.50"),
        ("3103", "1.250"),
        ("3104", "0.1250"),
        ("3105", "0.01250"),
    ] {
        let scan = interpret(format!("]C10109506000134352{ai}001250").as_bytes(), 2026);
        assert_eq!(
            scan.element_string().net_weight_kg().map(|kg| kg.to_string()),
            Some(expected.into()),
            "{ai}"
        );
    }
}

#[test]
fn pairing_is_a_warning() {
    check("]C110ABC", "gs1 10=ABC ?missing_pair");
    check("]C10209506000134352", "gs1 02=09506000134352 ?missing_pair");
    check("]C102095060001343523748", "gs1 02=09506000134352 37=48 ?missing_pair");
    check(
        "]C1010950600013435202095060001343523748",
        "gs1 09506000134352 01=09506000134352 02=09506000134352 37=48 ?forbidden_pair ?forbidden_pair ?missing_pair",
    );
    check("]C1254A-01", "gs1 254=A-01 ?missing_pair");
    check_message("]C13748", "AI 37 needs AI 00 with 02 or 00 with 8026 on the same item");
    check_message("]C101095060001343523748", "AI 01 must not stand together with AI 37");
}

#[test]
fn contradictions_are_refused() {
    check("]C101095060001343520109506000134352", "gs1 09506000134352 01=09506000134352");
    check("]C101095060001343520100000096385074", "error !conflict");
    check("]C1010950600013435231030012503102001250", "error !conflict");
    check("]C1010950600013435210A<GS>10B", "error !conflict");
}

#[test]
fn retail_symbols() {
    check("]E05901234123457", "ean 05901234123457");
    check("]E00614141007349", "ean 00614141007349");
    check("]E0614141007349", "ean 00614141007349");
    check("]E004252614", "ean 00042100005264");
    check("]E004252615", "error !check_digit");
    check("]E0425261", "error !symbology");
    check("]E496385074", "ean 00000096385074");
    check("]E05901234123458", "error !check_digit");
    check("]E096385074", "error !symbology");
    check("]E0590123412345x", "error !symbology");
    check("]E4963850740", "error !symbology");
    check("]E3590123412345712", "ean 05901234123457 ?add_on_ignored");
    check("]E3590123412345712345", "ean 05901234123457 ?add_on_ignored");
    check("]E359012341234571", "error !check_digit");
    check("]E35901234123457123", "error !symbology");
    check("]E361414100734912", "ean 00614141007349 ?add_on_ignored");
    check("]E361414100734912345", "ean 00614141007349 ?add_on_ignored");
    check("]E3590123412345x12", "error !symbology");
    check("]E35901234123457x2", "error !symbology");
    check("]E3590123412345ä12", "error !symbology");
    check("]E112", "plain \"12\"");
    check("]I109506000134352", "ean 09506000134352");
    check("]I009506000134353", "plain \"09506000134353\" ?not_gtin");
    check("]I0123456", "plain \"123456\"");
    // Thirteen digits of another symbology are no EAN-13.
    check("]I35901234123457", "plain \"5901234123457\"");
    check("]C05901234123457", "plain \"5901234123457\"");
    check("]E02388060112344", "ean 02388060112344 ?restricted_circulation");
    check("]E00212345678909", "ean 00212345678909 ?restricted_circulation");
    check("]E420000004", "ean 00000020000004 ?restricted_circulation");
    check("]E0212345000014", "ean 00212345000014 ?restricted_circulation");
    check("]I102388060112344", "ean 02388060112344 ?restricted_circulation");
    check("]I100212345678909", "ean 00212345678909 ?restricted_circulation");
}

#[test]
fn without_aim_identifier_nothing_is_guessed() {
    check("96385074", "ean 00000096385074 ?no_aim_identifier");
    check("614141007349", "ean 00614141007349 ?no_aim_identifier");
    check("5901234123457", "ean 05901234123457 ?no_aim_identifier");
    check("09506000134352", "ean 09506000134352 ?no_aim_identifier");
    check("2388060112344", "ean 02388060112344 ?restricted_circulation ?no_aim_identifier");
    check("5901234123458", "plain \"5901234123458\" ?not_gtin");
    check("04252614", "ean 00042100005264 ?no_aim_identifier");
    check("04252615", "plain \"04252615\" ?not_gtin");
    check("00000000", "ean 00000000000000 ?restricted_circulation ?no_aim_identifier");
    check("01000009", "plain \"01000009\" ?ambiguous");
    check("0109506000134352", "plain \"0109506000134352\"");
    check(
        "010950600013435210ABC<GS>17260700",
        "plain \"010950600013435210ABC\\u{1d}17260700\" ?unmarked_gs1",
    );
    check("106141411234567897", "plain \"106141411234567897\"");
    check("(01)09506000134352", "plain \"(01)09506000134352\"");
    check("12345", "plain \"12345\"");
    check("abcdefgh", "plain \"abcdefgh\"");
    check("]Z9ABC", "plain \"]Z9ABC\" ?unknown_aim");
    check("", "error !empty");
}

/// Data are data: no trimming, no normalising, and what is not UTF-8 is kept readable.
#[test]
fn plain_text_is_kept() {
    check(" A-01\t", "plain \" A-01\\t\"");
    check("]Q1grün", "plain \"grün\"");
    check_bytes(b"]d1gr\xfcn", "plain \"grün\"");
    check_bytes(b"\x00\xff", "plain \"\\0ÿ\"");
    let scan = interpret(b"]d1gr\xfcn", 2026);
    assert_eq!((scan.raw(), scan.aim()), (&b"]d1gr\xfcn"[..], Some("]d1")));
    assert_eq!((scan.raw_text(), scan.data_text()), ("]d1grün".into(), "grün".into()));
}

#[test]
fn our_own_barcodes() {
    check("SW:CMD:DONE", "command Done");
    check("]C0SW:CMD:UNDO", "command Undo");
    check("]Q1SW:QTY:12", "command Quantity(Decimal { digits: 12, decimals: 0 })");
    check("]d1SW:WF:RECEIVE", "command Workflow(\"RECEIVE\")");
    check("SW:OP:anna", "command Operator(\"anna\")");
    check("SW:LOC:A-01", "location A-01");
    check("SW:CMD:EXPLODE", "error !command");
    check("]C0SW:QTY:9506000134352", "error !command");
    // A GS1 carrier holds no command, whatever its data look like.
    check("]C1SW:CMD:DONE", "error !unknown_ai");
}

#[test]
fn locations() {
    check("]C14149506000111117254A-01-03", "location A-01-03 414=9506000111117 254=A-01-03");
    check("]C1254A-01-03<GS>4149506000111117", "location A-01-03 254=A-01-03 414=9506000111117");
    check("]C14149506000111117", "location 9506000111117 414=9506000111117");
    check("]C101095060001343524149506000111117", "gs1 09506000134352 01=09506000134352 414=9506000111117");
    let scan = interpret(b"]C14149506000111117254A-01", 2026);
    let expected = LocationCode { code: "A-01".into(), gln: Gln::parse("9506000111117").ok() };
    assert_eq!(scan.kind(), &Kind::Location(expected));
    let expected = LocationCode { code: "A-01".into(), gln: None };
    assert_eq!(interpret(b"SW:LOC:A-01", 2026).kind(), &Kind::Location(expected));
}

#[test]
fn links_and_other_urls() {
    check("https://id.gs1.org/01/09506000134352", "digital_link 09506000134352 01=09506000134352");
    check("]d1HTTPS://ID.GS1.ORG/00/106141411234567897", "digital_link 00=106141411234567897");
    check(
        "]Q1https://a/01/09506000134352?10=L",
        "digital_link 09506000134352 01=09506000134352 10=L ?misplaced_qualifier",
    );
    check("]Q1https://a/8013/1987654Ad4X4bL5ttr2310c2K", "digital_link 8013=1987654Ad4X4bL5ttr2310c2K");
    check("]Q1https://a/01/09506000134352?02=96385074", "error !length");
    check("]Q1https://a/01/09506000134352/21/S/10/L", "error !digital_link");
    check("]Q1https://a/01/09506000134353", "error !check_digit");
    check("]Q1https://id.gs1.org/414/9506000111117/254/A-01", "location A-01 414=9506000111117 254=A-01");
    check(
        "]Q1https://a/415/9506000111117/8020/7?3911=978125",
        "digital_link 415=9506000111117 8020=7 3911=978125",
    );
    check("]Q1https://a/00/106141411234567897?37=7", "digital_link 00=106141411234567897 37=7 ?missing_pair");
    check("]Q1https://example.com/a?b=c", "url \"https://example.com/a?b=c\"");
    check("]Q1https://a/01/9506000134352", "url \"https://a/01/9506000134352\" ?not_digital_link");
    check("]Q1see https://example.com", "plain \"see https://example.com\"");
    // A GS1 carrier holds element strings, not URLs.
    check("]Q3https://id.gs1.org/01/09506000134352", "error !unknown_ai");
}

/// Nothing is read from a shop's own numbers until the site names its rules.
#[test]
fn variable_measure_is_the_sites_choice() {
    let context = |country| Context { year: 2026, variable: VariableRules::of(country) };
    let scan = |country, raw: &str| {
        let scan = interpret_with(raw.as_bytes(), context(country));
        let variable = scan.variable().map(|variable| (variable.item.to_u64(), variable.measure));
        (variable, scan.findings().iter().map(|finding| finding.code).collect::<alloc::vec::Vec<_>>())
    };
    let weight = |digits, decimals| VariableMeasure::Weight(Decimal { digits, decimals });
    assert_eq!(scan("fi", "]E02388060112344"), (Some((2_388_060_100_006, weight(1234, 3))), [].into()));
    assert_eq!(scan("", "]E02388060112344"), (None, [Code::RestrictedCirculation].into()));
    assert_eq!(scan("gb", "]E02388060112344"), (None, [Code::RestrictedCirculation].into()));
    assert_eq!(
        scan("de", "]E02811112068707"),
        (None, [Code::RestrictedCirculation, Code::VariableMeasure].into())
    );
    assert_eq!(scan("fi", "2388060112344").1, [Code::NoAimIdentifier]);
    let ham = interpret_with(b"]E02388060112344", context("fi"));
    assert_eq!(ham.gtin().map(Gtin::to_u64), Some(2_388_060_100_006));
    assert_eq!((ham.net_weight_kg(), ham.count()), (Some(Decimal { digits: 1234, decimals: 3 }), None));
    let eggs = interpret_with(b"]E02511119000129", context("de"));
    assert_eq!((eggs.count(), eggs.findings()), (Some(12), &[][..]));
    let label = interpret_with(b"]C101095060001343523103001250\x1d3012", context("fi"));
    assert_eq!((label.net_weight_kg().map(|kg| kg.digits), label.count()), (Some(1250), Some(12)));
    // The rules are for shops' own numbers only.
    assert_eq!(scan("fi", "]E05901234123457"), (None, [].into()));
    assert_eq!(scan("fi", "]C10102388060112344"), (None, [].into()));
}

#[test]
fn messages_carry_the_facts() {
    check_message("]C10109506000134353", "AI 01: GTIN 9506000134353 ends in check digit 3, expected 2");
    check_message("]C1010950600013435217260231", "AI 17: 2026-02 has no day 31");
    check_message(
        "]C101095060001343523106001250",
        "no known application identifier at position 16: \"3106\"",
    );
    check_message(
        "]C10109506000134352<GS><GS>10A",
        "separator at position 17 where an application identifier should be",
    );
    check_message("]C101950600013435", "AI 01 at position 2 needs 14 characters, got 12");
    check_message("]C14222761", "AI 422 at position 3 needs 3 characters, got 4");
    check_message("]C1422999", "AI 422: \"999\" at position 3 is not a country number of ISO 3166");
    check_message(
        "01000009",
        "is EAN-8 00000001000009 and UPC-E 00010000000009 at once: switch the scanner's AIM identifiers on",
    );
    check_message("]C1010950600013435210", "AI 10 at position 18 needs 1 to 20 characters, got 0");
    check_message(
        "]C1010950600013435210A B",
        "AI 10 holds only characters of GS1 set 82, got ' ' at position 19",
    );
    check_message("]C1010950600013435210A<GS>10B", "AI 10 \"B\" contradicts AI 10 \"A\" on the same label");
    check_message("]E096385074", "EAN-13 promises 13 digits, got \"96385074\"");
    check_message("]E05901234123458", "GTIN 5901234123458 ends in check digit 8, expected 7");
}

#[test]
fn noise_is_refused_before_it_is_read() {
    let mut raw = vec![b'7'; SCAN_BYTES_MAX];
    assert!(!interpret(&raw, 2026).is_refused());
    raw.push(b'7');
    check_bytes(&raw, "error !too_long");
    let message = interpret(&[b"]E0".as_slice(), &[b'7'; 5000]].concat(), 2026).findings()[0].message.clone();
    assert_eq!(message, String::from("EAN-13 promises 13 digits, got \"77777777777777777777777777777777\""));
}

#[test]
fn every_code_has_its_own_name() {
    let codes = [
        Code::Empty,
        Code::TooLong,
        Code::NotAscii,
        Code::UnknownAi,
        Code::Length,
        Code::Character,
        Code::CheckDigit,
        Code::Date,
        Code::Separator,
        Code::Conflict,
        Code::Symbology,
        Code::Component,
        Code::DigitalLink,
        Code::Command,
        Code::MissingPair,
        Code::ForbiddenPair,
        Code::NoAimIdentifier,
        Code::NotGtin,
        Code::Ambiguous,
        Code::MisplacedQualifier,
        Code::NotDigitalLink,
        Code::VariableMeasure,
        Code::UnknownAim,
        Code::UnmarkedGs1,
        Code::AddOnIgnored,
        Code::RestrictedCirculation,
    ];
    let mut names: alloc::vec::Vec<_> = codes.iter().map(|code| code.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), codes.len());
}
