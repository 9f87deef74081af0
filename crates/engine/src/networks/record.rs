//! What the engine remembers of networks and endpoints across its own death.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use pintle_contract::{Scope, ipam, network::IpamData};
use serde::{Deserialize, Serialize};

use super::{EndpointSpec, IpamSpec, Subnet, life::Life};

/// The table of networks, by id.
pub(super) const NETWORKS: &str = "networks";
/// The table of endpoints, by id.
pub(super) const ENDPOINTS: &str = "network-endpoints";

/// Where a network is in its life. Written before a driver is called, so that after `kill -9` it is known what may
/// have been half done:
///
/// ```text
///            drivers made it             remove asked             nothing of it is held
/// Creating ─────────────────▶ Ready ───────────────────▶ Removing ─────────────────────▶ (no record)
///    │                          ▲                           │
///    │                          └───────────────────────────┘ the driver forbids it
///    └─▶ (no record): a driver refused, or after a crash, when what may have been made is undone
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Drivers may hold some of it. Nobody was told that it exists.
    Creating,
    /// It exists.
    #[default]
    Ready,
    /// Drivers may have given back some of it. It takes no more endpoints.
    Removing,
}

/// One network's record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct NetworkRecord {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) created: DateTime<Utc>,
    pub(super) driver: String,
    pub(super) global: bool,
    pub(super) enable_ipv4: bool,
    pub(super) enable_ipv6: bool,
    pub(super) internal: bool,
    pub(super) attachable: bool,
    pub(super) config_only: bool,
    pub(super) config_from: String,
    pub(super) options: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    /// As asked for.
    pub(super) ipam: IpamSpec,
    /// What the IPAM driver gave.
    pub(super) pools: Vec<PoolRecord>,
    pub(super) state: State,
    /// The driver may have it: it is to be told of the removal.
    pub(super) driver_holds: bool,
}

/// One pool of addresses that a network holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PoolRecord {
    /// The IPAM driver's name for it.
    pub(super) id: String,
    pub(super) address_space: String,
    pub(super) pool: Option<IpNet>,
    /// The part of it from which addresses are given to containers.
    pub(super) range: Option<IpNet>,
    /// The gateway, with the subnet's prefix length.
    pub(super) gateway: Option<IpNet>,
    /// The gateway was requested as an address, and is given back as one.
    pub(super) gateway_held: bool,
    /// Addresses set apart, by name, with the subnet's prefix length.
    pub(super) aux: BTreeMap<String, IpNet>,
    /// Those of them that were requested as addresses.
    pub(super) aux_held: Vec<String>,
    /// The subnet was asked for, not chosen by the driver.
    pub(super) asked: bool,
}

impl PoolRecord {
    pub(super) fn is_v6(&self) -> bool {
        matches!(self.pool, Some(IpNet::V6(_)))
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.pool.is_some_and(|pool| pool.contains(&address))
    }

    /// As network drivers are told.
    pub(super) fn data(&self) -> IpamData {
        IpamData {
            address_space: self.address_space.clone(),
            pool: self.pool,
            sub_pool: self.range,
            gateway: self.gateway,
            aux_addresses: self.aux.clone(),
        }
    }

    /// As people are shown.
    pub(super) fn subnet(&self) -> Subnet {
        Subnet {
            subnet: self.pool,
            ip_range: self.range,
            gateway: self.gateway.map(|gateway| gateway.addr()),
            aux_addresses: self.aux.iter().map(|(name, net)| (name.clone(), net.addr())).collect(),
        }
    }

    /// Notes that an address is held no more.
    pub(super) fn forget(&mut self, address: IpAddr) {
        if self.gateway.is_some_and(|gateway| gateway.addr() == address) {
            self.gateway_held = false;
        }
        let aux = &self.aux;
        self.aux_held.retain(|name| aux.get(name).is_some_and(|net| net.addr() != address));
    }

    /// Every single address that is held in it for the network itself.
    pub(super) fn held(&self) -> Vec<IpAddr> {
        let gateway = self.gateway.filter(|_| self.gateway_held).map(|gateway| gateway.addr());
        let aux = self.aux_held.iter().filter_map(|name| self.aux.get(name)).map(IpNet::addr);
        gateway.into_iter().chain(aux).collect()
    }
}

impl NetworkRecord {
    pub(super) fn scope(&self) -> Scope {
        if self.global { Scope::Global } else { Scope::Local }
    }

    /// The name of the IPAM driver.
    pub(super) fn ipam_driver(&self) -> &str {
        match self.ipam.driver.as_str() {
            "" if matches!(self.driver.as_str(), "null" | "host") => "null",
            "" => DEFAULT_IPAM,
            driver => driver,
        }
    }

    /// Whether it is one of `host` and `none`, which hold nothing and are in nobody's hands but the engine's.
    pub(super) fn special(&self) -> bool {
        matches!(self.driver.as_str(), "null" | "host") && !self.config_only
    }

    pub(super) fn predefined(&self) -> bool {
        is_predefined(&self.name)
    }

    pub(super) fn data(&self, v6: bool) -> Vec<IpamData> {
        self.pools.iter().filter(|pool| pool.is_v6() == v6).map(PoolRecord::data).collect()
    }
}

/// The IPAM driver that is meant where none is named.
pub(super) const DEFAULT_IPAM: &str = "default";
/// The network of containers that name none.
pub(super) const BRIDGE: &str = "bridge";

/// Whether a network of this name is always there.
pub(super) fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none" | "default")
}

/// One endpoint's record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct EndpointRecord {
    pub(super) id: String,
    pub(super) network: String,
    /// The container's id.
    pub(super) container: String,
    /// Its name: the container's, or `gateway_<id12>`.
    pub(super) name: String,
    pub(super) life: Life,
    /// What the container wants of it.
    pub(super) spec: EndpointSpec,
    /// It is the way out that the engine gives a container whose drivers give none.
    pub(super) gateway_service: bool,
    /// With the subnet's prefix length.
    pub(super) address: Option<IpNet>,
    pub(super) address_v6: Option<IpNet>,
    /// Of which pool the addresses are.
    pub(super) pool: String,
    pub(super) pool_v6: String,
    pub(super) mac: String,
    /// The interface's name in the sandbox, and before it got there.
    pub(super) interface: String,
    pub(super) source: String,
    /// The driver made it in the sandbox.
    pub(super) made_inside: bool,
    /// The driver did everything in the sandbox itself.
    pub(super) settled: bool,
    /// A setting of the user's keeps IPv6 off the interface; its address is held all the same.
    pub(super) without_v6: bool,
    /// Name servers that the driver knows of.
    pub(super) name_servers: Vec<IpAddr>,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) gateway_v6: Option<Ipv6Addr>,
    pub(super) routes: Vec<Route>,
    pub(super) disable_gateway_service: bool,
    /// Ports as they are published.
    pub(super) published: Vec<Published>,
    /// Names in this network; empty where names are not answered.
    pub(super) dns_names: Vec<String>,
    /// Which of the sandbox's gateways it is.
    pub(super) is_gateway: bool,
    pub(super) is_gateway_v6: bool,
}

/// A route of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    pub(super) destination: IpNet,
    /// `None`: on the link itself.
    pub(super) next_hop: Option<IpAddr>,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) protocol: u8,
    pub(super) port: u16,
    pub(super) host_ip: Option<IpAddr>,
    pub(super) host_port: u16,
}

impl EndpointRecord {
    /// Whether it gives the sandbox a way out, IPv4 and IPv6.
    pub(super) fn ways_out(&self) -> (bool, bool) {
        let default = |v6: bool| {
            self.routes.iter().any(|route| {
                route.destination.prefix_len() == 0 && matches!(route.destination, IpNet::V6(_)) == v6
            })
        };
        (self.gateway.is_some() || default(false), self.gateway_v6.is_some() || default(true))
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v6 = self.address_v6.filter(|_| !self.without_v6);
        [self.address, v6].into_iter().flatten().map(|net| net.addr())
    }
}

/// What an address is requested for, when it is a network's gateway.
pub(super) fn gateway_options() -> BTreeMap<String, String> {
    BTreeMap::from([(ipam::label::REQUEST_ADDRESS_TYPE.to_owned(), ipam::label::GATEWAY.to_owned())])
}
