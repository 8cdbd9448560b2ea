//! Configuration files: all faults at once, and never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = stockwire_agent::config::Config::parse(text);
    let _ = stockwire_gateway::config::Config::parse(text);
});
