//! The user's terminal: raw mode that is always undone, its size, standard input, detach keys, signals, and the
//! session that joins all of them to a container.

mod detach;
mod raw;
pub mod session;
mod signals;
mod stdin;

pub use detach::DetachKeys;
pub use raw::{is_terminal, restore_on_panic, size};
pub use session::{Ended, Session, Target};
