//! What the interfaces of containers have in common.

use std::net::Ipv4Addr;

use pintle_contract::{DriverError, network::MacAddress};
use pintle_netlink::{LinkName, Namespace};

/// The link-layer address that goes with an IPv4 address, as Docker has it: neighbours that remember the last holder
/// of the address are right about the next. Without one, one that goes with the endpoint.
pub(crate) fn mac_of(v4: Option<Ipv4Addr>, endpoint: &str) -> MacAddress {
    let four = v4.map(|address| address.octets()).unwrap_or_else(|| {
        let byte = |at: usize| endpoint.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        [0, 2, 4, 6].map(|at| byte(at).unwrap_or_default())
    });
    MacAddress([0x02, 0x42, four[0], four[1], four[2], four[3]])
}

/// The first name with a number behind `prefix` that is free in the sandbox.
pub(crate) fn free_name(sandbox: &Namespace, prefix: &str) -> Result<LinkName, DriverError> {
    let taken: Vec<String> = sandbox.handle()?.links()?.into_iter().map(|link| link.name).collect();
    let free = (0..1000).map(|number| format!("{prefix}{number}")).find(|name| !taken.contains(name));
    let none = || DriverError::internal(format!("no free interface name that begins with {prefix}"));
    Ok(free.ok_or_else(none)?.parse()?)
}
