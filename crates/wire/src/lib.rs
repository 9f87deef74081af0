//! The plugin protocol's bytes, both ways: JSON shapes, `config.json`, activation, legacy files; and CNI's.
//!
//! Nothing here opens a socket or a file; whoever reads the bytes bounds them first. Input is decoded as
//! tolerantly as Docker's Go code does it (keys in any case, unknown fields ignored, `null` for absent),
//! output is spelled as Docker spells it.

pub mod activation;
pub mod authorization;
pub mod cni;
pub mod config;
mod failure;
pub mod ipam;
pub mod jsonc;
pub mod log;
pub mod metrics;
pub mod network;
pub mod object;
pub mod spec;
pub mod value;
pub mod volume;

pub use activation::{Activation, Interface};
pub use failure::{encode_error, is_missing};
pub use object::DecodeError;

/// The content type that plugins answer with and engines accept: the newest version of the plugin protocol.
pub const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// The content type of a plugin's configuration in a registry.
pub const CONFIG_MEDIA_TYPE: &str = "application/vnd.docker.plugin.v1+json";
