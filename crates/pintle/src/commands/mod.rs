//! One file per command. `each`, `filter` and `confirm` are what several of them share.

pub mod audit;
pub mod completion;
pub mod container;
pub mod each;
pub mod filter;
pub mod image;
pub mod inspect;
pub mod network;
pub mod oci;
pub mod plugin;
pub mod policy;
pub mod prompt;
pub mod runtime;
pub mod system;
pub mod volume;

/// How a command ends well: its exit code is 0.
pub type Done = anyhow::Result<()>;
