//! The API's shapes to and from the engine's. Pure: nothing here asks anybody anything.

pub(crate) mod container;
pub(crate) mod endpoints;
pub(crate) mod event;
pub(crate) mod image;
pub(crate) mod legacy;
pub(crate) mod network;
pub(crate) mod plugin;
pub(crate) mod since;
pub(crate) mod spec;
pub(crate) mod stats;
pub(crate) mod volume;

use std::collections::BTreeMap;

use pintle_api::Filters;

/// The engine takes filters as plain lists.
pub(crate) fn filters(filters: &Filters) -> BTreeMap<String, Vec<String>> {
    filters.iter().map(|(key, values)| (key.to_owned(), values.map(str::to_owned).collect())).collect()
}
