//! The Docker Engine API's vocabulary: what travels in requests and answers, and how it is read.
//!
//! * [`decode`] reads a JSON body as Docker's own decoder does: keys in any case, nulls anywhere.
//! * [`ApiVersion`] and [`version`] settle which version of the API a client speaks.
//! * [`Filters`] reads the `filters` query parameter in both of its forms.
//! * The other modules hold one resource each. Names and nulls are those of API 1.51; fields that Docker
//!   keeps as `null` when they are empty are `Option`s, fields that it leaves out are skipped.
//!
//! Nothing here does I/O or knows HTTP.

pub mod container;
pub mod decode;
pub mod error;
pub mod event;
pub mod exec;
pub mod filters;
pub mod host_config;
pub mod image;
pub mod inspect;
pub mod network;
pub mod plugin;
pub mod stats;
pub mod stream;
mod syntax;
pub mod system;
pub mod time;
pub mod version;
pub mod volume;

pub use decode::{DecodeError, decode, decode_as};
pub use error::ErrorBody;
pub use filters::{FilterError, Filters};
pub use version::ApiVersion;

use std::collections::BTreeMap;

/// Labels, and every other map from text to text.
pub type StringMap = BTreeMap<String, String>;

/// Go's `struct{}`: an object without members, as in `ExposedPorts` and `Volumes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Empty {}
