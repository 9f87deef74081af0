//! What hosts tell each other through etcd.
//!
//! ```text
//! <prefix>/networks/10.20.0.0-16/config                 Settings, for good
//! <prefix>/networks/10.20.0.0-16/subnets/10.20.3.0-24   Peer, as long as the host's lease lives
//! <prefix>/vni/4711                                     the pool that has this VXLAN identifier
//! ```

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::Ipv4Net;
use pintle_contract::{DriverError, network::MacAddress};
use serde::{Deserialize, Serialize};

/// What all hosts agree on about a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// The addresses of the whole network.
    pub(super) pool: Ipv4Net,
    /// The prefix length of one host's part.
    pub(super) subnet_length: u8,
    /// The VXLAN identifier.
    pub(super) vni: u32,
    /// The UDP port of the tunnels.
    pub(super) port: u16,
}

impl Settings {
    /// Checks that the parts fit into the whole.
    pub(super) fn check(&self) -> Result<(), DriverError> {
        let (pool, length) = (self.pool, self.subnet_length);
        if length <= pool.prefix_len() || length > 30 {
            return Err(DriverError::invalid(format!(
                "subnet-length {length}: it must be longer than the pool's {} and at most 30",
                pool.prefix_len()
            )));
        }
        if length - pool.prefix_len() > 16 {
            return Err(DriverError::invalid(format!("{pool} has more than 65536 parts of length {length}")));
        }
        Ok(())
    }

    /// The first part that nobody has, looked for from `start` on.
    pub(super) fn free(&self, taken: &BTreeSet<Ipv4Net>, start: u64) -> Option<Ipv4Net> {
        let count = 1u64 << (self.subnet_length.saturating_sub(self.pool.prefix_len())).min(16);
        let size = 1u64 << (32 - self.subnet_length.min(32));
        let base = u64::from(u32::from(self.pool.network()));
        (0..count)
            .map(|step| base + (start.wrapping_add(step) % count) * size)
            .filter_map(|first| u32::try_from(first).ok())
            .filter_map(|first| Ipv4Net::new(first.into(), self.subnet_length).ok())
            .find(|subnet| !taken.contains(subnet))
    }
}

/// A host's part in a network, for the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Peer {
    /// The host's own name for itself, for life.
    pub(super) host: String,
    /// Where its end of the tunnel is.
    pub(super) address: IpAddr,
    /// The link-layer address of its end of the tunnel.
    #[serde(with = "mac")]
    pub(super) mac: MacAddress,
}

mod mac {
    use pintle_contract::network::MacAddress;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(mac: &MacAddress, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(mac)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MacAddress, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Where things stand in etcd.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: format!("/{}", prefix.trim_matches('/')) }
    }

    pub(super) fn settings(&self, pool: Ipv4Net) -> String {
        format!("{}/networks/{}/config", self.prefix, dashed(pool))
    }

    pub(super) fn subnets(&self, pool: Ipv4Net) -> String {
        format!("{}/networks/{}/subnets/", self.prefix, dashed(pool))
    }

    pub(super) fn subnet(&self, pool: Ipv4Net, subnet: Ipv4Net) -> String {
        format!("{}{}", self.subnets(pool), dashed(subnet))
    }

    pub(super) fn vni(&self, vni: u32) -> String {
        format!("{}/vni/{vni}", self.prefix)
    }
}

fn dashed(net: Ipv4Net) -> String {
    format!("{}-{}", net.network(), net.prefix_len())
}

/// The subnet that a key below [`Keys::subnets`] is of.
pub(super) fn subnet_of(key: &str) -> Option<Ipv4Net> {
    let (address, length) = key.rsplit('/').next()?.split_once('-')?;
    let net = Ipv4Net::new(address.parse().ok()?, length.parse().ok()?).ok()?;
    (net == net.trunc()).then_some(net)
}

/// FNV-1a: the same on every host and in every version, which is all that is asked of it.
pub(super) fn hash(parts: &[&str]) -> u64 {
    parts
        .iter()
        .flat_map(|part| part.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The link-layer address of a host's end of a tunnel: locally administered, the same at every start.
pub(super) fn mac_of(host: &str, vni: u32) -> MacAddress {
    let [_, _, a, b, c, d, e, f] = hash(&[host, &vni.to_string()]).to_be_bytes();
    MacAddress([(a & 0xfc) | 2, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(pool: &str, subnet_length: u8) -> Settings {
        Settings { pool: pool.parse().unwrap(), subnet_length, vni: 1, port: 8472 }
    }

    #[test]
    fn parts_fit_into_the_whole() {
        assert!(settings("10.20.0.0/16", 24).check().is_ok());
        for (pool, length) in [("10.20.0.0/16", 16), ("10.20.0.0/16", 31), ("10.0.0.0/8", 28)] {
            assert!(settings(pool, length).check().is_err(), "{pool} {length}");
        }
    }

    #[test]
    fn keys_and_back() {
        let keys = Keys::new("pintle/overlay/");
        let (pool, subnet) = ("10.20.0.0/16".parse().unwrap(), "10.20.3.0/24".parse().unwrap());
        assert_eq!(keys.subnet(pool, subnet), "/pintle/overlay/networks/10.20.0.0-16/subnets/10.20.3.0-24");
        assert_eq!(subnet_of(&keys.subnet(pool, subnet)), Some(subnet));
        for bad in ["", "x", "a/10.0.0.0", "a/10.0.0.1-24", "a/10.0.0.0-99", "a/-", "a/::-64"] {
            assert_eq!(subnet_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn link_addresses_are_stable_unicast_and_local() {
        let mac = mac_of("host-1", 4711);
        assert_eq!(mac, mac_of("host-1", 4711));
        assert_ne!(mac, mac_of("host-2", 4711));
        assert_eq!(mac.0[0] & 3, 2, "{mac}");
    }

    proptest! {
        #[test]
        fn a_free_part_is_in_the_pool_and_nobodys(taken in prop::collection::btree_set(0u8..16, 0..16), start: u64) {
            let settings = settings("10.20.0.0/20", 24);
            let taken: BTreeSet<Ipv4Net> =
                taken.iter().map(|third| format!("10.20.{third}.0/24").parse().unwrap()).collect();
            match settings.free(&taken, start) {
                Some(part) => {
                    prop_assert!(settings.pool.contains(&part) && !taken.contains(&part));
                }
                None => prop_assert_eq!(taken.len(), 16),
            }
        }
    }
}
