//! The Container Network Interface's bytes, versions 0.1.0 to 1.1.0: network configurations, what a plugin is
//! asked, and what it answers.
//!
//! Both ends use it: the `cni` network driver calls plugins, `pintle-cni` is one. Results of every version are read
//! into one form and written in any, as the specification's own library converts them.

mod cache;
mod config;
mod error;
mod invocation;
mod name;
mod result;
mod version;

pub use cache::{CacheRecord, Home};
pub use config::{Attachment, ConfigError, NetworkConfig, PluginConfig, Request};
pub use error::{CniError, code};
pub use invocation::{Command, Invocation};
pub use name::{InvalidName, PluginType, container_id, interface_name, network_name};
pub use result::{Dns, Interface, Ip, Route, Success};
pub use version::{SUPPORTED, Version, VersionInfo};
