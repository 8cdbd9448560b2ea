//! Memory under noise, in a process of its own: another test's memory would be counted too.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

use std::fs;
use std::time::Duration;

use stockwire_agent::feedback::Signal;
use stockwire_agent::scanner::{SCANNERS, ScannerOptions};

/// Memory stays flat under noise: 12 MB for each row, and none of it is kept.
#[test]
fn noise_leaves_memory_flat() {
    const CHUNK: usize = 4096;
    let mut random = Random(11);
    let noise: Vec<Vec<u8>> = (0..64).map(|_| random.bytes(CHUNK)).collect();
    for row in SCANNERS {
        let options =
            ScannerOptions { feedback: row.feedbacks()[0], gap: row.gap(), ..ScannerOptions::default() };
        let mut decoder = row.decoder(&options);
        let mut reads = 0u64;
        let mut before = None;
        for round in 0..(12 << 20) / CHUNK as u64 {
            let now = Duration::from_micros(4_096 * round);
            decoder.handle_bytes(now, &noise[round as usize % noise.len()]);
            decoder.handle_signal(now, Signal::Refused);
            reads += std::iter::from_fn(|| decoder.poll_read()).count() as u64;
            while decoder.poll_transmit().is_some() {}
            // After a warm-up, so that what any decoder keeps is there already.
            if round == 1_000 {
                before = Some(resident_kib());
            }
        }
        let grown = resident_kib().saturating_sub(before.unwrap());
        assert!(grown < 1_024, "{}: {grown} KiB more after 12 MB of noise, {reads} reads", row.name());
        assert!(
            decoder.counts().faults + decoder.counts().garbage_bytes > 0,
            "{}: noise is told",
            row.name()
        );
    }
}

struct Random(u64);

impl Random {
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }
}

/// Memory of this process, as the kernel counts it.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
