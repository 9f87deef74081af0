//! The pieces of a default container spec, shared by containers and plugins, and the guards every spec passes.

mod capabilities;
mod defaults;
mod guards;
mod sets;
mod user;

pub use capabilities::{
    adjust_capabilities, all_capabilities, available_capabilities, capability_sets, default_capabilities,
    parse_capability,
};
pub(crate) use capabilities::{capability_name, from_mask};
pub use defaults::{
    default_device_rules, default_mounts, default_namespaces, default_path, default_spec, host_devices,
    masked_paths, readonly_paths,
};
pub(crate) use defaults::{mount, rectangle};
pub use guards::{harden, settle};
pub(crate) use sets::{masks, widen};
pub use user::{ResolvedUser, UserError, home_of, resolve_user};
