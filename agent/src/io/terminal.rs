//! The terminal of a full-screen command: taken at its beginning, given back as it was at its end, whatever the end.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

use crate::watch::canvas::{SIDE_MAX, Size};

/// The other screen, no cursor, and no going on in the next line at the right edge.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// The same backwards.
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";
/// For a terminal that does not tell its size: the oldest usual one.
const SIZE_USUAL: Size = Size { columns: 80, rows: 24 };

/// How the terminal was before; `None`: it is as it was. A panic looks here, so it is no field.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard output as a full screen. Dropping it, or a panic, gives it back.
#[derive(Debug)]
pub struct Terminal(());

impl Terminal {
    /// Takes it. Ctrl-C still interrupts; Ctrl-Z does not leave a full screen behind.
    ///
    /// # Errors
    /// When standard output is no terminal or does not let itself be set.
    pub fn take() -> io::Result<Self> {
        if !io::stdout().is_terminal() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "standard output is no terminal"));
        }
        let before = tcgetattr(io::stdout())?;
        let mut settings = before.clone();
        settings.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN);
        // Ctrl-S must not freeze a display that nobody sits at.
        settings.input_modes.remove(InputModes::IXON);
        for key in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            // Zero disables it.
            settings.special_codes[key] = 0;
        }
        settings.special_codes[SpecialCodeIndex::VMIN] = 1;
        settings.special_codes[SpecialCodeIndex::VTIME] = 0;
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let told = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                told(panic);
            }));
        });
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        // From here on the drop gives it back.
        let terminal = Self(());
        tcsetattr(io::stdout(), OptionalActions::Now, &settings)?;
        terminal.write(ENTER)?;
        Ok(terminal)
    }

    /// As it is now.
    pub fn size(&self) -> Size {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size {
                columns: usize::from(size.ws_col).min(SIDE_MAX),
                rows: usize::from(size.ws_row).min(SIDE_MAX),
            },
            _ => SIZE_USUAL,
        }
    }

    /// Writes at once.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn write(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Once is enough. A terminal that is gone has nothing to be given back, and there is nobody to tell.
fn give_back() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let mut out = io::stdout().lock();
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
        let _ = tcsetattr(io::stdout(), OptionalActions::Now, &before);
    }
}
