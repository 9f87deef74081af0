//! The volume contract's suite.

mod checks;
mod reference;
mod report;
mod suite;

pub use reference::ReferenceDriver;
pub use report::{Check, Outcome, Report};
pub use suite::{Options, Restart, Restarted, conformance};
