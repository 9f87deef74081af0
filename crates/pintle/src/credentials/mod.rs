//! Registry credentials: Docker's config.json, and the helpers that it names.
//!
//! One registry is asked of one store, once. A store that fails is an error that names it; no other store is tried,
//! and nothing is ever sent to a registry other than the one that was named.

mod config_file;
mod helper;
mod store;

pub use config_file::ConfigFile;
pub use store::{Credentials, DOCKER_HUB, all, erase, lookup, registry_of, save, server_key};
