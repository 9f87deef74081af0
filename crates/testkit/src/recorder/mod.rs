//! Drivers that write down what they are asked, and what came of it: in front of any driver, linked in or served, so
//! that what two of them were told can be compared.
//!
//! The program `recorder` is one as a plugin: a network driver that does [`Nothing`], and addresses that are really
//! given.

mod drivers;
mod journal;
mod nothing;

pub use drivers::Recorder;
pub use journal::{Call, Journal, Request};
pub use nothing::Nothing;
