//! A read of a scanner, understood.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockwire_agent::decode;
use stockwire_protocol::gs1::{Context, VariableRules, interpret_with};

const COUNTRIES: [&str; 9] = ["de", "dk", "ee", "fi", "gb", "lt", "lv", "no", "se"];

fuzz_target!(|data: &[u8]| {
    let Some((&choice, raw)) = data.split_first() else { return };
    // Every country's variable-measure codes, and none.
    let variable = COUNTRIES.get(usize::from(choice)).and_then(|country| VariableRules::of(country));
    let context = Context { year: 2026, variable };
    let scan = interpret_with(raw, context);
    assert_eq!(scan.raw(), raw, "the scanned bytes are kept as they came");
    let line = decode::scan(raw, context);
    assert!(!line.contains('\n'), "one line of JSON for a read");
});
