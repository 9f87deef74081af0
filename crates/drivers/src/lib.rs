//! First-party drivers, each a contract implementation.
//!
//! They are linked into the engine or served as plugins; nothing here knows which. The daemon's list of
//! built-ins says which ones an engine has.

pub mod ipam;
pub mod local;

pub use ipam::Ipam;
pub use local::Local;
