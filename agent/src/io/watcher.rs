//! The loop of `stockwire-agent watch`: asks the agent four times a second and shows what it says.
//!
//! The agent does nothing for it while nobody watches: its answer is made when it is asked.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::socket::{self, Ask};
use super::terminal::Terminal;
use crate::watch::canvas::{Frame, Palette, paint};
use crate::watch::render::{Contact, Picture, render};
use crate::watch::view::View;

/// A scan is seen a quarter of a second after it was heard at the latest, and an answer costs the agent well below a
/// millisecond.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// One lost answer is no silence; a restart takes longer.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// What to watch.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The agent's socket.
    pub socket: PathBuf,
    /// Only this station.
    pub station: Option<String>,
    /// Whether to use colours.
    pub palette: Palette,
}

/// Shows it until somebody ends it: q, Ctrl-C, or a signal.
///
/// # Errors
/// When the terminal cannot be used, or goes away.
pub fn watch(watch: &Watch) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(show(watch));
    // A question may be on its way; nobody waits for its answer any more.
    runtime.shutdown_background();
    result
}

async fn show(watch: &Watch) -> io::Result<()> {
    // Before the terminal is taken, so that none of them can end the program while it is.
    let mut ends =
        [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
    let mut resized = signal(SignalKind::window_change())?;
    let terminal = Terminal::take()?;
    let mut keys = keys();
    let begun = Instant::now();
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut question: Option<JoinHandle<Result<View, String>>> = None;
    let mut said = Said { view: None, at: begun, reason: None };
    let mut shown: Option<Frame> = None;
    loop {
        let [terminate, interrupt, hangup] = &mut ends;
        tokio::select! {
            answer = answered(&mut question) => said.take(answer),
            _ = ticks.tick() => {
                if question.is_none() {
                    question = Some(ask(&watch.socket));
                }
            }
            _ = resized.recv() => shown = None,
            key = pressed(&mut keys) => match key {
                Some(b'q' | b'Q' | CTRL_C) | None => return Ok(()),
                // Whatever else: what another program wrote over it is painted over.
                Some(_) => shown = None,
            },
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        }
        let Some(contact) = said.contact() else { continue };
        let picture = Picture {
            contact,
            station: watch.station.as_deref(),
            now: begun.elapsed(),
            palette: watch.palette,
        };
        let frame = render(&picture, terminal.size());
        if shown.as_ref() != Some(&frame) {
            terminal.write(&paint(shown.as_ref(), &frame, watch.palette))?;
            shown = Some(frame);
        }
    }
}

/// What the agent said last.
struct Said {
    view: Option<View>,
    /// When it did; at first when we began.
    at: Instant,
    /// Why it says nothing since.
    reason: Option<String>,
}

impl Said {
    fn take(&mut self, answer: Result<View, String>) {
        match answer {
            Ok(view) => *self = Self { view: Some(view), at: Instant::now(), reason: None },
            Err(reason) => self.reason = Some(reason),
        }
    }

    /// `None`: it was only just asked for the first time.
    fn contact(&self) -> Option<Contact<'_>> {
        let since = self.at.elapsed();
        match (&self.view, &self.reason) {
            (Some(view), _) if since < SILENT_AFTER => Some(Contact::Answered(view)),
            (None, None) if since < SILENT_AFTER => None,
            (_, reason) => {
                let reason = reason.as_deref().unwrap_or("It is there, and busy or stopped");
                Some(Contact::Silent { since, reason })
            }
        }
    }
}

/// Asks in another thread: the screen lives on while the agent is slow.
fn ask(path: &Path) -> JoinHandle<Result<View, String>> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || match socket::ask(&path, Ask::Status) {
        Ok(answer) => View::parse(&answer),
        Err(error) => Err(format!("{}: {error}", path.display())),
    })
}

/// The answer to the question, if one was asked; else never.
async fn answered(question: &mut Option<JoinHandle<Result<View, String>>>) -> Result<View, String> {
    let Some(asked) = question else { return std::future::pending().await };
    let answer = asked.await;
    *question = None;
    answer.unwrap_or_else(|error| Err(error.to_string()))
}

/// Where the terminal does not make it a signal.
const CTRL_C: u8 = 3;

/// Keys not yet looked at: nobody types ahead on a display.
const KEYS_MAX: usize = 8;

/// Reads the keyboard in a thread of its own, which ends with the program: waiting without blocking would be a property
/// of the opened terminal, which the shell shares with us. `None` when nobody types, because standard input is no
/// terminal; a closed channel when the terminal is gone.
fn keys() -> Option<mpsc::Receiver<u8>> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let (keys, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok(length @ 1..) = io::stdin().lock().read(&mut buffer) {
            if buffer[..length].iter().any(|key| keys.blocking_send(*key).is_err()) {
                return;
            }
        }
    });
    Some(receiver)
}

/// The next key; never when there is no keyboard. `None`: the terminal is gone.
async fn pressed(keys: &mut Option<mpsc::Receiver<u8>>) -> Option<u8> {
    match keys {
        Some(keys) => keys.recv().await,
        None => std::future::pending().await,
    }
}
