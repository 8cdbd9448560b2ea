//! Runs seeds of the simulated world.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use stockwire_tests::world::{self, Failure, Report, Telling};

/// Simulates agents, broker, gateway, ERP and shop from a seed, with faults, and compares everything with an
/// independent auditor.
#[derive(Parser)]
struct Arguments {
    /// Run this one seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run so many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1, conflicts_with = "seed")]
    from: u64,
    /// Print everything that happens; with --seed.
    #[arg(long)]
    verbose: bool,
}

/// A sign of life this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// What the threads have in common.
#[derive(Default)]
struct Shared {
    next: AtomicU64,
    passed: AtomicU64,
    stop: AtomicBool,
    sum: Mutex<Sum>,
    failure: Mutex<Option<Box<Failure>>>,
}

#[derive(Default)]
struct Sum {
    facts: usize,
    happenings: u64,
    took: Duration,
    contested: u64,
    sold: u64,
    told: u64,
    longest: (Duration, u64),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic of a core is caught and told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(seed) = arguments.seed {
        let telling = if arguments.verbose { Telling::Printed } else { Telling::Silent };
        return match world::run(seed, telling) {
            Ok(report) => {
                println!("seed {seed}: {report:?}");
                println!("1 seeds passed");
                ExitCode::SUCCESS
            }
            Err(failure) => tell(&failure, arguments.verbose),
        };
    }
    run_many(arguments.from, arguments.seeds)
}

fn run_many(from: u64, seeds: u64) -> ExitCode {
    let shared = Shared { next: AtomicU64::new(from), ..Shared::default() };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&shared, from + seeds))).collect();
        let mut told = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::park_timeout(Duration::from_millis(50));
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                eprintln!("{:>6} of {seeds} seeds", shared.passed.load(Ordering::Relaxed));
            }
        }
    });
    let failure = shared.failure.into_inner().unwrap_or_default();
    if let Some(failure) = failure {
        return tell(&failure, false);
    }
    let sum = shared.sum.into_inner().unwrap_or_default();
    eprintln!(
        "{} facts, {} happenings, {:.0} virtual hours, {} worlds with copied cards; {} pieces sold strictly by {} numbers; \
         {:.1} s; longest {} ms (seed {})",
        sum.facts,
        sum.happenings,
        sum.took.as_secs_f64() / 3_600.0,
        sum.contested,
        sum.sold,
        sum.told,
        began.elapsed().as_secs_f64(),
        sum.longest.0.as_millis(),
        sum.longest.1,
    );
    println!("{} seeds passed", shared.passed.into_inner());
    ExitCode::SUCCESS
}

fn work(shared: &Shared, end: u64) {
    loop {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if seed >= end || shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let began = Instant::now();
        match world::run(seed, Telling::Silent) {
            Ok(report) => shared.add(seed, &report, began.elapsed()),
            Err(failure) => {
                shared.stop.store(true, Ordering::Relaxed);
                if let Ok(mut first) = shared.failure.lock() {
                    first.get_or_insert(failure);
                }
            }
        }
    }
}

impl Shared {
    fn add(&self, seed: u64, report: &Report, took: Duration) {
        self.passed.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut sum) = self.sum.lock() {
            sum.facts += report.facts;
            sum.happenings += report.happenings;
            sum.took += report.took;
            sum.contested += u64::from(report.contested);
            sum.sold += report.sold;
            sum.told += report.told;
            sum.longest = sum.longest.max((took, seed));
        }
    }
}

fn tell(failure: &Failure, is_told: bool) -> ExitCode {
    if !is_told {
        for line in &failure.log {
            println!("{line}");
        }
    }
    println!("\nseed {} failed {}", failure.seed, failure.fault);
    println!("replay: cargo run -p stockwire-tests --bin world -- --seed {} --verbose", failure.seed);
    ExitCode::FAILURE
}
