//! The IPAM contract's suite.

mod checks;
mod reference;
mod suite;

pub use reference::ReferenceDriver;
pub use suite::{Options, Restart, Restarted, conformance};
