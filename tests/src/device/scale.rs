//! An MT-SICS scale: answers `S` when the weight is stable, `SI` at once, `Z`, `T` and `@`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Pty;

/// A scale whose load is set by the test.
pub struct MtSicsScale {
    port: PathBuf,
    handle: Pty,
    load: Arc<Mutex<Load>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Clone, Copy)]
struct Load {
    grams: i64,
    tare_grams: i64,
    /// Moving until then.
    settles_at: Instant,
    answers: bool,
}

/// `S` waits for a stable weight so long before it gives up, as the makers' default.
const STABLE_WAIT: Duration = Duration::from_secs(5);
/// More than this is overload.
const CAPACITY_G: i64 = 30_000;

impl MtSicsScale {
    /// Plugs one in at a stable name, empty.
    ///
    /// # Errors
    /// When no pseudo terminal can be had.
    pub fn plug(link: &Path) -> Result<Self> {
        let mut pty = Pty::open(Some(link))?;
        let load = Load { grams: 0, tare_grams: 0, settles_at: Instant::now(), answers: true };
        let (load, stop) = (Arc::new(Mutex::new(load)), Arc::new(AtomicBool::new(false)));
        let (shared, ended, port) = (Arc::clone(&load), Arc::clone(&stop), pty.port().to_path_buf());
        let handle = pty.try_clone()?;
        let thread = std::thread::spawn(move || serve(&mut pty, &shared, &ended));
        Ok(Self { port, handle, load, stop, thread: Some(thread) })
    }

    /// The port.
    pub fn port(&self) -> &Path {
        &self.port
    }

    /// A second handle of its port.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn handle(&self) -> Result<Pty> {
        self.handle.try_clone()
    }

    /// Puts so much on the platform; it swings for a while.
    pub fn put(&self, grams: i64, swings: Duration) {
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        load.grams = grams;
        load.settles_at = Instant::now() + swings;
    }

    /// Makes it dumb, as a scale that is switched off, or lets it answer again.
    pub fn set_answering(&self, answers: bool) {
        self.load.lock().unwrap_or_else(PoisonError::into_inner).answers = answers;
    }
}

impl Drop for MtSicsScale {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(fault)) = self.thread.take().and_then(|thread| thread.join().ok()) {
            eprintln!("the virtual scale ended early: {fault:#}");
        }
    }
}

fn serve(pty: &mut Pty, load: &Mutex<Load>, stop: &AtomicBool) -> Result<()> {
    let mut line = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        for byte in pty.read(Duration::from_millis(50))? {
            match byte {
                b'\n' => {
                    let command = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                    line.clear();
                    if let Some(reply) = reply(&command, load, stop) {
                        pty.write(format!("{reply}\r\n").as_bytes())?;
                    }
                }
                byte => line.push(byte),
            }
        }
    }
    Ok(())
}

fn reply(command: &str, load: &Mutex<Load>, stop: &AtomicBool) -> Option<String> {
    let now = || *load.lock().unwrap_or_else(PoisonError::into_inner);
    if !now().answers {
        return None;
    }
    let weight = |status: &str, load: Load| {
        let net = load.grams - load.tare_grams;
        match load.grams {
            over if over > CAPACITY_G => "S +".to_owned(),
            under if under < 0 => "S -".to_owned(),
            _ => format!("S {status} {:>10.3} kg", net as f64 / 1000.0),
        }
    };
    Some(match command {
        "S" => {
            let until = Instant::now() + STABLE_WAIT;
            loop {
                let load = now();
                if load.settles_at <= Instant::now() {
                    break weight("S", load);
                }
                if Instant::now() > until || stop.load(Ordering::Relaxed) {
                    break "S I".to_owned();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        "SI" => weight(if now().settles_at <= Instant::now() { "S" } else { "D" }, now()),
        "Z" => {
            load.lock().unwrap_or_else(PoisonError::into_inner).tare_grams = 0;
            "Z A".to_owned()
        }
        "T" => {
            let mut load = load.lock().unwrap_or_else(PoisonError::into_inner);
            load.tare_grams = load.grams;
            format!("T S {:>10.3} kg", load.grams as f64 / 1000.0)
        }
        "@" => "I4 A \"VIRTUAL1\"".to_owned(),
        _ => "ES".to_owned(),
    })
}
