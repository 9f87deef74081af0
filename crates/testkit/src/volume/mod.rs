//! The volume contract's suite.

mod checks;
mod reference;
mod suite;

pub use crate::report::{Check, Outcome, Report};
pub use reference::ReferenceDriver;
pub use suite::{Options, Restart, Restarted, conformance};
