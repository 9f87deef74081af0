//! What the configuration says of networks, as the engine and the drivers take it.

use std::{collections::BTreeMap, net::IpAddr, os::unix::ffi::OsStrExt, path::Path, sync::Arc};

use anyhow::{Context, bail};
use ipnet::IpNet;
use pintle_contract::NetworkDriver;
use pintle_drivers::{
    Overlay,
    bridge::{self, label},
    ipam::{AddressPools, PoolBase},
    overlay::{EtcdConfig, OverlayConfig},
};
use pintle_engine::networks::{self, IpamSpec, NetworkSpec, SubnetSpec};
use pintle_netlink::{
    ErrorKind, LinkName, Namespace,
    nft::{Family, Nft},
};
use sha2::{Digest, Sha256};

use crate::config::{self, Bridge, Config};

/// The state directory of the engine that a host has if it has one.
const USUAL_EXEC_ROOT: &str = "/run/pintle";
/// The largest packet on a bridge that nobody said anything of.
const USUAL_MTU: u32 = 1500;

/// The names of what an engine has on its host: the engine of the usual place has the plain ones, others add what is
/// theirs alone, so that several can be on one host. The place decides and not the engine's id, so that whoever comes
/// back to the place finds what was left there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// The packet filter's table, which also marks bridges.
    pub(crate) table: String,
    /// The same for what the overlay driver has of bridges.
    pub(crate) overlay: String,
    /// The default network's bridge.
    pub(crate) bridge: String,
    /// The bridge of containers that no other network leads out.
    pub(crate) gateway: String,
}

impl Names {
    /// Those of the engine with this state directory.
    pub(crate) fn of(exec_root: &Path) -> Self {
        if exec_root == Path::new(USUAL_EXEC_ROOT) {
            return Self::named("pintle", "pintle0", "pintle_gwbridge");
        }
        // With eight digits it is as long as the name of an interface may be.
        let hash = hex::encode(Sha256::digest(exec_root.as_os_str().as_bytes()));
        let own = hash.get(..8).unwrap_or_default();
        let name = format!("pintle-{own}");
        Self::named(&name, &name, &format!("pintgw-{own}"))
    }

    fn named(table: &str, bridge: &str, gateway: &str) -> Self {
        Self {
            table: table.to_owned(),
            overlay: format!("{table}-overlay"),
            bridge: bridge.to_owned(),
            gateway: gateway.to_owned(),
        }
    }
}

/// Removes from the host what an engine with this state directory has there of networks: bridges, links, packet
/// filter rules. Only for engines that do not run and whose containers are of no more use, such as a test's.
pub async fn clear_networks(exec_root: &Path) -> anyhow::Result<()> {
    let names = Names::of(exec_root);
    let host = Namespace::current()?;
    for name in [names.table, names.overlay] {
        let (nft, table) = (Nft::new(Some(host.clone())), name.parse()?);
        let deleted = tokio::task::spawn_blocking(move || nft.delete_table(Family::Inet, &table)).await?;
        match deleted {
            // Without the program there never were rules.
            Err(error) if error.kind() != ErrorKind::ToolMissing => return Err(error.into()),
            _ => {}
        }
        let config = bridge::Config {
            table: name,
            iptables: false,
            ip6tables: false,
            ..bridge::Config::standard(host.clone())
        };
        bridge::Bridge::new(config)?.retain(&[], &[]).await?;
    }
    Ok(())
}

/// What the bridge driver is told of this host.
pub(crate) fn bridge_config(config: &config::Network, names: &Names) -> anyhow::Result<bridge::Config> {
    Ok(bridge::Config {
        table: names.table.clone(),
        default_bridge: names.bridge.clone(),
        iptables: config.iptables,
        ip6tables: config.ip6tables,
        ip_forward: config.ip_forward,
        userland_proxy: config.userland_proxy,
        accept_fwmark: config.accept_fwmark,
        direct_routing: config.direct_routing,
        ..bridge::Config::standard(Namespace::current()?)
    })
}

/// The driver of networks across hosts. What it has of bridges on this host is not the bridge driver's to tidy up.
pub(crate) fn overlay(
    overlay: &config::Overlay,
    config: &config::Network,
    names: &Names,
    data_root: &Path,
    id: &str,
) -> anyhow::Result<Overlay> {
    let own = Names { table: names.overlay.clone(), ..names.clone() };
    let bridge = bridge::Bridge::new(bridge_config(config, &own)?)?;
    let link = |name: &Option<String>| name.as_deref().map(str::parse::<LinkName>).transpose();
    let etcd = EtcdConfig {
        endpoints: overlay.etcd.clone(),
        ca: overlay.ca.clone(),
        certificate: overlay.certificate.clone(),
        user: overlay.user.clone(),
    };
    let state = data_root.join("overlay");
    let config = OverlayConfig {
        prefix: overlay.prefix.clone(),
        address: overlay.address,
        interface: link(&overlay.interface)?,
        wireguard: link(&overlay.wireguard)?,
        port: overlay.port,
        ttl: overlay.lease,
        ..OverlayConfig::new(etcd, id, &state, Namespace::current()?)
    };
    Ok(Overlay::open(config, Arc::new(bridge))?)
}

/// Where subnets are taken from that nobody names.
pub(crate) fn address_pools(config: &config::Network, id: &str) -> anyhow::Result<AddressPools> {
    let bases = config.default_address_pools.iter().map(|pool| PoolBase::new(pool.base, pool.size));
    Ok(AddressPools::configured(bases.collect::<Result<_, _>>()?, id))
}

/// What the networks of the engine share.
pub(crate) fn network_config(config: &Config, names: &Names) -> anyhow::Result<networks::Config> {
    let network = &config.network;
    Ok(networks::Config {
        exec_root: config.exec_root.clone(),
        default_bridge: default_bridge(network, names, &addresses_of)?,
        gateway_bridge: names.gateway.clone(),
        host_gateways: network.host_gateway_ips.clone(),
        default_options: network.default_network_opts.clone(),
        dns: network.dns.iter().map(ToString::to_string).collect(),
        dns_options: network.dns_opts.clone(),
        dns_search: network.dns_search.clone(),
    })
}

/// The addresses of a bridge that is there already; `None` if it is not.
fn addresses_of(bridge: &str) -> anyhow::Result<Option<Vec<IpNet>>> {
    let name: LinkName = bridge.parse()?;
    let handle = Namespace::current()?.handle()?;
    match handle.link(&name)? {
        Some(_) => Ok(Some(handle.addresses(&name)?)),
        None => Ok(None),
    }
}

/// The network of containers that name none.
fn default_bridge(
    config: &config::Network,
    names: &Names,
    addresses: &dyn Fn(&str) -> anyhow::Result<Option<Vec<IpNet>>>,
) -> anyhow::Result<Option<NetworkSpec>> {
    let mut bips = [config.bip.map(IpNet::V4), config.bip6.map(IpNet::V6)];
    let fixed = [config.fixed_cidr.map(IpNet::V4), config.fixed_cidr_v6.map(IpNet::V6)];
    let name = match &config.bridge {
        Bridge::Nowhere => return Ok(None),
        Bridge::Own => names.bridge.clone(),
        Bridge::Named(name) => {
            let Some(found) = addresses(name).with_context(|| format!("looking at bridge {name}"))? else {
                bail!("bridge device with non default name {name} must be created manually");
            };
            bips = [chosen(&found, fixed[0], true), chosen(&found, fixed[1], false)];
            name.clone()
        }
    };
    let routers = [config.default_gateway.map(IpAddr::V4), config.default_gateway_v6.map(IpAddr::V6)];
    let families = [true, config.ipv6];
    let mut subnets = Vec::new();
    for family in 0..2 {
        if families[family] && (bips[family].is_some() || fixed[family].is_some()) {
            subnets.push(subnet(
                bips[family],
                fixed[family],
                routers[family],
                [label::ROUTER_V4, label::ROUTER_V6][family],
            )?);
        }
    }
    let options = BTreeMap::from(
        [
            (label::NAME, name),
            (label::DEFAULT_BRIDGE, "true".to_owned()),
            (label::ICC, config.icc.to_string()),
            (label::MASQUERADE, config.ip_masq.to_string()),
            (label::HOST_BINDING, config.ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string())),
            (label::MTU, config.mtu.unwrap_or(USUAL_MTU).to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    Ok(Some(NetworkSpec {
        name: "bridge".to_owned(),
        driver: "bridge".to_owned(),
        enable_ipv4: Some(true),
        enable_ipv6: Some(config.ipv6),
        options,
        ipam: IpamSpec { config: subnets, ..IpamSpec::default() },
        ..NetworkSpec::default()
    }))
}

/// The address of the administrator's bridge that is the containers' gateway: one whose subnet has the part that
/// containers get addresses from, else any.
fn chosen(found: &[IpNet], fixed: Option<IpNet>, v4: bool) -> Option<IpNet> {
    let link_local = |net: &IpNet| matches!(net, IpNet::V6(net) if net.addr().segments()[0] == 0xfe80);
    let mut own = found.iter().filter(|net| net.addr().is_ipv4() == v4 && !link_local(net));
    let first = own.clone().next().copied();
    match fixed {
        None => first,
        Some(fixed) => own.find(|net| net.trunc().contains(&fixed.trunc())).copied().or(first),
    }
}

fn subnet(
    bip: Option<IpNet>,
    fixed: Option<IpNet>,
    router: Option<IpAddr>,
    label: &str,
) -> anyhow::Result<SubnetSpec> {
    if let (Some(bip), Some(fixed)) = (bip, fixed)
        && !bip.trunc().contains(&fixed.trunc())
    {
        bail!("fixed-cidr {fixed} is outside any subnet implied by the addresses of the default bridge");
    }
    let subnet = bip.or(fixed).map(|net| net.trunc());
    Ok(SubnetSpec {
        subnet: subnet.map(|net| net.to_string()).unwrap_or_default(),
        // Where it is the whole subnet, it says nothing.
        ip_range: fixed
            .map(|net| net.trunc())
            .filter(|net| Some(*net) != subnet)
            .map(|net| net.to_string())
            .unwrap_or_default(),
        gateway: bip.map(|net| net.addr().to_string()).unwrap_or_default(),
        aux_addresses: router.map(|router| (label.to_owned(), router.to_string())).into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(file: &str, found: &[&str]) -> anyhow::Result<Option<NetworkSpec>> {
        let path = tempfile::NamedTempFile::new()?;
        std::fs::write(path.path(), file)?;
        let options =
            config::Options { config_file: Some(path.path().to_owned()), ..config::Options::default() };
        let config = Config::load(&options).map_err(anyhow::Error::msg)?;
        let found: Vec<IpNet> = found.iter().map(|net| net.parse().unwrap()).collect();
        let there = |name: &str| Ok((name == "br0").then(|| found.clone()));
        default_bridge(&config.network, &Names::of(Path::new(USUAL_EXEC_ROOT)), &there)
    }

    #[test]
    fn engines_of_other_places_have_names_of_their_own() {
        assert_eq!(Names::of(Path::new("/run/pintle")).bridge, "pintle0");
        let other = Names::of(Path::new("/tmp/x"));
        assert!(other.bridge.starts_with("pintle-") && other.bridge.parse::<LinkName>().is_ok(), "{other:?}");
        assert_ne!(other, Names::of(Path::new("/tmp/y")));
    }

    #[test]
    fn the_default_bridge_is_as_it_is_configured() {
        let plain = spec("{}", &[]).unwrap().unwrap();
        assert_eq!(plain.options[label::NAME], "pintle0");
        assert_eq!(plain.options[label::MTU], "1500");
        assert!(plain.ipam.config.is_empty() && plain.enable_ipv6 == Some(false));

        let text = r#"{"bip": "172.26.0.1/16", "fixed-cidr": "172.26.8.0/24", "mtu": 1450, "ipv6": true, "icc": false,
            "bip6": "fd00::1/64", "default-gateway": "172.26.0.254"}"#;
        let said = spec(text, &[]).unwrap().unwrap();
        assert_eq!((said.options[label::MTU].as_str(), said.options[label::ICC].as_str()), ("1450", "false"));
        let [v4, v6] = &said.ipam.config[..] else { panic!("{said:?}") };
        assert_eq!((v4.subnet.as_str(), v4.gateway.as_str()), ("172.26.0.0/16", "172.26.0.1"));
        assert_eq!(
            (v4.ip_range.as_str(), v4.aux_addresses["DefaultGatewayIPv4"].as_str()),
            ("172.26.8.0/24", "172.26.0.254")
        );
        assert_eq!((v6.subnet.as_str(), v6.gateway.as_str()), ("fd00::/64", "fd00::1"));

        let fixed = spec(r#"{"fixed-cidr": "10.5.0.0/24"}"#, &[]).unwrap().unwrap();
        assert_eq!(fixed.ipam.config[0].subnet, "10.5.0.0/24");
        assert_eq!(fixed.ipam.config[0].gateway, "");
        assert_eq!(spec(r#"{"bridge": "none"}"#, &[]).unwrap(), None);
    }

    #[test]
    fn the_administrators_bridge_says_where_containers_are() {
        let found = ["fe80::1/64", "10.1.0.1/24", "10.2.0.1/16", "fd00::1/64"];
        let first = spec(r#"{"bridge": "br0"}"#, &found).unwrap().unwrap();
        assert_eq!(first.options[label::NAME], "br0");
        assert_eq!((first.ipam.config.len(), first.ipam.config[0].gateway.as_str()), (1, "10.1.0.1"));
        let second =
            spec(r#"{"bridge": "br0", "fixed-cidr": "10.2.3.0/24", "ipv6": true}"#, &found).unwrap().unwrap();
        assert_eq!(
            (second.ipam.config[0].subnet.as_str(), second.ipam.config[1].gateway.as_str()),
            ("10.2.0.0/16", "fd00::1")
        );
        spec(r#"{"bridge": "br0", "fixed-cidr": "10.9.0.0/24"}"#, &found).unwrap_err();
        let missing = spec(r#"{"bridge": "br1"}"#, &found).unwrap_err();
        assert_eq!(missing.to_string(), "bridge device with non default name br1 must be created manually");
    }
}
