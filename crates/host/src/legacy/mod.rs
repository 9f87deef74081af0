//! Plugins that somebody else started: found by their sockets and spec files, activated once, shared by all.

mod activate;
mod discovery;
#[cfg(test)]
mod tests;
mod trust;

use pintle_wire::spec::Address;

pub(crate) use activate::Legacy;

use crate::{HostConfig, HostError};

/// Where a plugin listens that somebody else started: by its name, as an engine finds it, or by a path or URL that
/// somebody typed. `None` if nobody has it. For programs without a [`Host`](crate::Host). Blocks, briefly.
pub fn locate(config: &HostConfig, name: &str) -> Result<Option<Address>, HostError> {
    if name.starts_with('/') {
        return discovery::typed(Address::Unix(name.into())).map(Some);
    }
    if name.contains("://") {
        let address = Address::parse(name).map_err(|error| HostError::Invalid(error.to_string()))?;
        return discovery::typed(address).map(Some);
    }
    let places = discovery::Places { sockets: config.socket_dir.clone(), specs: config.spec_dirs.clone() };
    Ok(places.find(name)?.map(|found| found.address))
}
