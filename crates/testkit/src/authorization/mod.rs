//! The authorization contract's suite.

mod checks;
mod reference;
mod suite;

pub use reference::ReferenceAuthorizer;
pub use suite::{Options, Restart, Restarted, conformance};
