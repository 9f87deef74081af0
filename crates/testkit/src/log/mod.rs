//! The log contract's suite.

mod checks;
mod reference;
mod suite;

pub use reference::ReferenceLog;
pub use suite::{Options, Restart, Restarted, conformance};
