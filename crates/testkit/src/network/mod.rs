//! The network contract's suite. It needs no engine: it is one, as far as a driver can tell. It makes the sandboxes,
//! hands out the addresses, moves interfaces in, names and addresses them, sets routes, and takes all of it back.

mod checks;
mod reference;
mod sandbox;
mod suite;

pub use reference::ReferenceDriver;
pub use suite::{Options, Restart, Restarted, conformance};
