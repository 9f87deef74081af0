//! Devices by the Container Device Interface: files say what a container that has a device needs, and that is put into
//! its spec.
//!
//! A file below `/etc/cdi` or `/var/run/cdi`, JSON or YAML, is of one kind, `vendor.com/class`, and names devices; a
//! device is asked for as `vendor.com/class=name`. Written after the specification of version 1.0.

mod edits;
mod registry;
mod request;

pub use edits::Edits;
pub use registry::Registry;
pub use request::{CdiError, DeviceRequest};

/// Where files are looked for unless somebody says otherwise; what is in the later wins.
pub const DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
