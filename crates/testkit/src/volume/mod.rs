//! The volume contract's suite.

mod checks;
mod reference;
mod suite;
mod within;

pub use crate::report::{Check, Outcome, Report};
pub use reference::ReferenceDriver;
pub use suite::{Look, Options, Restart, Restarted, checks, conformance};
