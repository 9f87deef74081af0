//! Raw mode, undone on drop, panic and fatal signals.

use std::io::{IsTerminal, Result};
use std::sync::Mutex;

use rustix::termios::{self, OptionalActions, Termios};

/// The settings to go back to, while raw mode is on.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode while this lives.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Switches standard input to raw mode.
    pub fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        *lock() = Some(before);
        if let Err(error) = termios::tcsetattr(&stdin, OptionalActions::Now, &raw) {
            *lock() = None;
            return Err(error.into());
        }
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Termios>> {
    SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Undoes raw mode, if it is on.
pub fn restore() {
    if let Some(before) = lock().take() {
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}

/// A panic leaves the terminal usable, and is none if it comes of a reader that has gone.
#[expect(
    clippy::disallowed_methods,
    reason = "a hook has nobody to return to, and a client no mounts to undo"
)]
pub fn restore_on_panic() {
    let next = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        if info
            .payload_as_str()
            .is_some_and(|text| text.starts_with("failed printing to stdout: Broken pipe"))
        {
            // Whoever read our output has had enough: what a signal would have done.
            std::process::exit(141);
        }
        next(info);
    }));
}

/// Whether standard input is a terminal.
pub fn is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// The terminal's height and width.
pub fn size() -> Option<(u16, u16)> {
    let found =
        termios::tcgetwinsize(std::io::stdout()).or_else(|_| termios::tcgetwinsize(std::io::stdin())).ok()?;
    (found.ws_row > 0 && found.ws_col > 0).then_some((found.ws_row, found.ws_col))
}
