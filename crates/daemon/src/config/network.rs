use std::{
    collections::BTreeMap,
    fmt::Display,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Overlay, StringMap, raw::Raw};

/// Where CNI's network configurations are unless the file says otherwise.
const CNI_CONFIG: &str = "/etc/cni/net.d";
/// Where CNI's plugins are unless the file says otherwise: where they install themselves, and where Debian has them.
const CNI_BINARIES: &str = "/opt/cni/bin:/usr/lib/cni";
/// The kernel's own limit of a packet.
const LARGEST_MTU: i64 = 65_535;

/// Which bridge the default network is on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Bridge {
    /// One of the engine's.
    #[default]
    Own,
    /// One that the administrator made and gave its addresses.
    Named(String),
    /// There is no default network.
    Nowhere,
}

/// A network that subnets are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPool {
    /// The network.
    pub base: IpNet,
    /// The prefix length of the subnets.
    pub size: u8,
}

/// Networks by CNI's configuration files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cni {
    /// Where the configurations are.
    pub config_path: PathBuf,
    /// Where the plugins are, in the order in which they are looked for. A configuration can name none from elsewhere.
    pub binary_path: Vec<PathBuf>,
}

/// What networks are made by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The default network's bridge.
    pub bridge: Bridge,
    /// Its address and subnet.
    pub bip: Option<Ipv4Net>,
    /// The same, IPv6.
    pub bip6: Option<Ipv6Net>,
    /// The part of the subnet that containers get addresses from.
    pub fixed_cidr: Option<Ipv4Net>,
    /// The same, IPv6.
    pub fixed_cidr_v6: Option<Ipv6Net>,
    /// The containers' router, if it is not the bridge.
    pub default_gateway: Option<Ipv4Addr>,
    /// The same, IPv6.
    pub default_gateway_v6: Option<Ipv6Addr>,
    /// The largest packet on the default bridge; `None`: the kernel's default.
    pub mtu: Option<u32>,
    /// The host's address that ports of the default bridge are published on unless they say otherwise.
    pub ip: Option<IpAddr>,
    /// IPv6 on the default bridge.
    pub ipv6: bool,
    /// Containers on the default bridge may talk to each other.
    pub icc: bool,
    /// Packet filter rules are made for IPv4.
    pub iptables: bool,
    /// Packet filter rules are made for IPv6.
    pub ip6tables: bool,
    /// The host is made to forward packets.
    pub ip_forward: bool,
    /// Containers on the default bridge go out under the host's address.
    pub ip_masq: bool,
    /// Loopback addresses of the host lead to published ports as well. They always do here.
    pub userland_proxy: bool,
    /// Packets that somebody else's rules marked so reach containers directly: value and mask.
    pub accept_fwmark: Option<(u32, u32)>,
    /// Whether published ports are open at the containers' own addresses, too.
    pub direct_routing: bool,
    /// Name servers of containers that name none; empty: the host's.
    pub dns: Vec<IpAddr>,
    /// Resolver options of containers that have none.
    pub dns_opts: Vec<String>,
    /// Search domains of containers that have none.
    pub dns_search: Vec<String>,
    /// What `host-gateway` means; empty: the default bridge.
    pub host_gateway_ips: Vec<IpAddr>,
    /// Where subnets are taken from; empty: the usual private ranges.
    pub default_address_pools: Vec<AddressPool>,
    /// Options of new networks, by driver.
    pub default_network_opts: BTreeMap<String, StringMap>,
    /// The network driver of services; there are none here, so nothing uses it yet.
    pub default_network_driver: Option<String>,
    /// The network driver `cni`, if it is wanted.
    pub cni: Option<Cni>,
    /// The network driver `overlay`, if it is wanted.
    pub overlay: Option<Overlay>,
}

impl Network {
    /// Reads the settings, in the order in which they are documented.
    pub(super) fn check(raw: &Raw) -> Result<Self, String> {
        let network = Self {
            bridge: match raw.bridge.as_deref() {
                None | Some("") => Bridge::Own,
                Some("none") => Bridge::Nowhere,
                Some(name) => Bridge::Named(interface("bridge", name)?),
            },
            bip: parsed(
                "bip",
                raw.bip.as_ref(),
                "an IPv4 address with a prefix length, such as 172.26.0.1/16",
            )?,
            bip6: parsed(
                "bip6",
                raw.bip6.as_ref(),
                "an IPv6 address with a prefix length, such as fd00::1/64",
            )?,
            fixed_cidr: parsed(
                "fixed-cidr",
                raw.fixed_cidr.as_ref(),
                "an IPv4 subnet, such as 172.26.0.0/24",
            )?,
            fixed_cidr_v6: parsed(
                "fixed-cidr-v6",
                raw.fixed_cidr_v6.as_ref(),
                "an IPv6 subnet, such as fd00::/64",
            )?,
            default_gateway: parsed("default-gateway", raw.default_gateway.as_ref(), "an IPv4 address")?,
            default_gateway_v6: parsed(
                "default-gateway-v6",
                raw.default_gateway_v6.as_ref(),
                "an IPv6 address",
            )?,
            mtu: match raw.mtu {
                None | Some(0) => None,
                Some(mtu @ 68..=LARGEST_MTU) => u32::try_from(mtu).ok(),
                Some(mtu) => {
                    return Err(format!("invalid mtu {mtu}: it must be between 68 and {LARGEST_MTU}"));
                }
            },
            ip: parsed("ip", raw.ip.as_ref(), "an IP address")?.filter(|ip: &IpAddr| !ip.is_unspecified()),
            ipv6: raw.ipv6.unwrap_or(false),
            icc: raw.icc.unwrap_or(true),
            iptables: raw.iptables.unwrap_or(true),
            ip6tables: raw.ip6tables.unwrap_or(true),
            ip_forward: raw.ip_forward.unwrap_or(true),
            ip_masq: raw.ip_masq.unwrap_or(true),
            userland_proxy: raw.userland_proxy.unwrap_or(true),
            direct_routing: raw.allow_direct_routing.unwrap_or(false),
            accept_fwmark: raw
                .bridge_accept_fwmark
                .as_deref()
                .filter(|text| !text.is_empty())
                .map(fwmark)
                .transpose()?,
            dns: addresses("dns", raw.dns.as_ref())?,
            dns_opts: raw.dns_opts.clone().unwrap_or_default(),
            dns_search: search(raw.dns_search.as_ref())?,
            host_gateway_ips: match (&raw.host_gateway_ip, &raw.host_gateway_ips) {
                (Some(one), None) => addresses("host-gateway-ip", Some(&vec![one.clone()]))?,
                (Some(_), Some(_)) => {
                    return Err("host-gateway-ip and host-gateway-ips mean the same: give the second alone"
                        .to_owned());
                }
                (None, all) => addresses("host-gateway-ips", all.as_ref())?,
            },
            default_address_pools: pools(raw)?,
            default_network_opts: raw.default_network_opts.clone().unwrap_or_default(),
            default_network_driver: driver(raw.default_network_driver.as_ref())?,
            cni: cni(raw)?,
            overlay: match raw.plugins.as_ref().and_then(|plugins| plugins.overlay.as_ref()) {
                Some(entry) => Overlay::check(entry)?,
                None => None,
            },
        };
        network.agree()?;
        Ok(network)
    }

    /// Settings that contradict each other.
    fn agree(&self) -> Result<(), String> {
        if matches!(self.bridge, Bridge::Named(_)) {
            for (key, given) in [("bip", self.bip.is_some()), ("bip6", self.bip6.is_some())] {
                if given {
                    return Err(format!(
                        "You specified -b & --{key}, mutually exclusive options. Please specify only one"
                    ));
                }
            }
        }
        for (key, rules) in [("iptables", self.iptables), ("ip6tables", self.ip6tables || !self.ipv6)] {
            if !self.icc && !rules {
                return Err(format!(
                    "You specified --{key}=false with --icc=false. ICC=false uses {key} to function. Please set --icc \
                     or --{key} to true"
                ));
            }
        }
        let inside = |key: &str, fixed: Option<IpNet>, bip: Option<IpNet>| match (fixed, bip) {
            (Some(fixed), Some(bip)) if !bip.trunc().contains(&fixed.trunc()) => {
                Err(format!("{key}={fixed} is not inside the default bridge's subnet {}", bip.trunc()))
            }
            _ => Ok(()),
        };
        inside("fixed-cidr", self.fixed_cidr.map(IpNet::V4), self.bip.map(IpNet::V4))?;
        inside("fixed-cidr-v6", self.fixed_cidr_v6.map(IpNet::V6), self.bip6.map(IpNet::V6))?;
        let subnet = |bip: Option<IpNet>, fixed: Option<IpNet>| bip.or(fixed).map(|net| net.trunc());
        let near = |key: &str, gateway: Option<IpAddr>, subnet: Option<IpNet>| match (gateway, subnet) {
            (Some(gateway), Some(subnet)) if !subnet.contains(&gateway) => {
                Err(format!("{key}={gateway} is not inside the default bridge's subnet {subnet}"))
            }
            _ => Ok(()),
        };
        near(
            "default-gateway",
            self.default_gateway.map(IpAddr::V4),
            subnet(self.bip.map(IpNet::V4), self.fixed_cidr.map(IpNet::V4)),
        )?;
        near(
            "default-gateway-v6",
            self.default_gateway_v6.map(IpAddr::V6),
            subnet(self.bip6.map(IpNet::V6), self.fixed_cidr_v6.map(IpNet::V6)),
        )
    }
}

pub(super) fn parsed<T: FromStr>(key: &str, text: Option<&String>, what: &str) -> Result<Option<T>, String>
where
    T::Err: Display,
{
    match text.map(String::as_str) {
        None | Some("") => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|error| format!("invalid {key} {text:?}: it must be {what}: {error}")),
    }
}

/// `value` or `value/mask`, decimal, `0x…` or `0…`, as Go reads numbers.
fn fwmark(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => match text.strip_prefix('0').filter(|digits| !digits.is_empty()) {
            Some(digits) => u32::from_str_radix(digits, 8),
            None => text.parse(),
        },
    };
    let (value, mask) = text.split_once('/').map_or((text, None), |(value, mask)| (value, Some(mask)));
    let wrong =
        |_| format!("invalid firewall mark {text:.64?}: it must be a number, or one with a mask: 0x1/0x3");
    Ok((number(value).map_err(wrong)?, mask.map_or(Ok(u32::MAX), number).map_err(wrong)?))
}

fn addresses(key: &str, list: Option<&Vec<String>>) -> Result<Vec<IpAddr>, String> {
    let one = |text: &String| {
        text.trim()
            .parse()
            .map_err(|_| format!("invalid {key} {text:?}: ParseAddr({text:?}): it must be an IP address"))
    };
    list.into_iter().flatten().map(one).collect()
}

/// Domains as Docker takes them: labels of letters, digits, `-` and `_`; a single dot is no search at all.
fn search(list: Option<&Vec<String>>) -> Result<Vec<String>, String> {
    let one = |text: &String| {
        let domain = text.trim();
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let fine = domain == "." || domain.strip_suffix('.').unwrap_or(domain).split('.').all(label);
        if fine && domain.len() <= 255 {
            Ok(domain.to_owned())
        } else {
            Err(format!("{text} is not a valid domain"))
        }
    };
    list.into_iter().flatten().map(one).collect()
}

pub(super) fn interface(key: &str, name: &str) -> Result<String, String> {
    let fine = name.len() < 16
        && !matches!(name, "." | "..")
        && name.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':');
    if fine {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "invalid {key} {name:?}: it must be the name of a network interface, of at most 15 characters"
        ))
    }
}

fn pools(raw: &Raw) -> Result<Vec<AddressPool>, String> {
    let one = |entry: &super::raw::PoolEntry| {
        let invalid =
            |why: &str| format!("invalid default-address-pools {:?} {}: {why}", entry.base, entry.size);
        let base: IpNet =
            entry.base.parse().map_err(|_| invalid("the base must be a subnet, such as 10.0.0.0/8"))?;
        if base != base.trunc() {
            return Err(invalid(&format!("the base should be {}", base.trunc())));
        }
        let size = u8::try_from(entry.size)
            .ok()
            .filter(|size| (base.prefix_len()..=base.max_prefix_len()).contains(size))
            .ok_or_else(|| {
                invalid(&format!(
                    "the size must be between {} and {}",
                    base.prefix_len(),
                    base.max_prefix_len()
                ))
            })?;
        Ok(AddressPool { base, size })
    };
    raw.default_address_pools.iter().flatten().map(one).collect()
}

/// A driver's name: that of one which is linked in, or of a plugin.
fn driver(name: Option<&String>) -> Result<Option<String>, String> {
    let fine = |name: &str| {
        name.len() <= 255
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '@'))
    };
    match name.map(String::as_str) {
        None | Some("") => Ok(None),
        Some(name) if fine(name) => Ok(Some(name.to_owned())),
        Some(name) => {
            Err(format!("invalid default-network-driver {name:?}: it must be the name of a network driver"))
        }
    }
}

fn cni(raw: &Raw) -> Result<Option<Cni>, String> {
    let Some(entry) = raw.plugins.as_ref().and_then(|plugins| plugins.cni.as_ref()) else { return Ok(None) };
    let path = |key: &str, text: &str| {
        let path = PathBuf::from(text);
        let up = path.components().any(|part| part == std::path::Component::ParentDir);
        if path.is_absolute() && !up {
            Ok(path)
        } else {
            Err(format!("invalid plugins.cni.{key} {path:?}: it must be an absolute path"))
        }
    };
    let or = |given: &Option<String>, usual: &str| {
        given.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| usual.to_owned())
    };
    // Mistakes are told whether it is enabled or not.
    let cni = Cni {
        config_path: path("config-path", &or(&entry.config_path, CNI_CONFIG))?,
        binary_path: or(&entry.binary_path, CNI_BINARIES)
            .split(':')
            .map(|one| path("binary-path", one))
            .collect::<Result<_, _>>()?,
    };
    Ok(entry.enabled.then_some(cni))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Network, String> {
        Network::check(&Raw::parse(text.as_bytes()).map_err(|error| error.to_string())?)
    }

    #[test]
    fn nothing_said_is_dockers_default() {
        let network = read("{}").unwrap();
        assert_eq!(network.bridge, Bridge::Own);
        assert!(
            network.icc && network.iptables && network.ip6tables && network.ip_forward && network.ip_masq
        );
        assert!(!network.ipv6 && network.mtu.is_none() && network.cni.is_none());
    }

    #[test]
    fn the_founding_documents_file_is_taken_as_it_stands() {
        let network = read(
            r#"// /etc/docker/daemon.json
{
  "experimental": true,                 // Enable experimental Docker features
  "default-network-driver": "overlay",  // Default network type for swarm services
  "plugins": {
    "cni": {                            // Container Network Interface configuration
      "enabled": true,                  // Enable CNI plugins
      "config-path": "/etc/cni/net.d/", // Directory containing CNI network configs
      "binary-path": "/opt/cni/bin"     // Directory containing CNI plugin binaries
    }
  },
  "mtu": 1450,                          // Custom MTU for container interfaces
  "bip": "172.26.0.1/16",               // Custom default bridge network subnet
  "fixed-cidr": "172.26.0.0/16",        // Subnet for container IPs
  "dns": ["8.8.8.8", "8.8.4.4"],        // Default DNS servers for containers
  "ipv6": true,                         // Enable IPv6 networking support
  "iptables": true                      // Enable Docker's iptables rules
}
"#,
        )
        .unwrap();
        assert_eq!(network.default_network_driver.as_deref(), Some("overlay"));
        assert_eq!(
            network.cni,
            Some(Cni { config_path: "/etc/cni/net.d/".into(), binary_path: vec!["/opt/cni/bin".into()] })
        );
        assert_eq!(network.mtu, Some(1450));
        assert_eq!(network.bip, Some("172.26.0.1/16".parse().unwrap()));
        assert_eq!(network.fixed_cidr, Some("172.26.0.0/16".parse().unwrap()));
        assert_eq!(network.dns, [IpAddr::from([8, 8, 8, 8]), IpAddr::from([8, 8, 4, 4])]);
        assert!(network.ipv6 && network.iptables);
    }

    #[test]
    fn all_the_rest() {
        let network = read(
            r#"{"bridge": "br0", "fixed-cidr": "10.1.2.0/24", "fixed-cidr-v6": "fd00:1::/64", "ipv6": true,
                "default-gateway": "10.1.2.254", "default-gateway-v6": "fd00:1::fe", "ip": "0.0.0.0", "icc": false,
                "dns-opts": ["ndots:2"], "dns-search": ["example.com", "."], "host-gateway-ips": ["10.9.9.9"],
                "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}, {"base": "fd00::/48", "size": 64}],
                "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1400"}},
                "userland-proxy": false, "plugins": {"cni": {"enabled": false}}}"#,
        )
        .unwrap();
        assert_eq!(network.bridge, Bridge::Named("br0".to_owned()));
        assert_eq!(network.ip, None, "every address is what no address means");
        assert_eq!(network.default_address_pools.len(), 2);
        assert_eq!(network.default_address_pools[0].size, 24);
        assert_eq!(network.default_network_opts["bridge"]["com.docker.network.driver.mtu"], "1400");
        assert_eq!((network.userland_proxy, network.cni), (false, None));
        assert_eq!(fwmark("1"), Ok((1, u32::MAX)));
        assert_eq!(fwmark("0x1/0x3"), Ok((1, 3)));
        assert_eq!(fwmark("010/0xffffffff"), Ok((8, u32::MAX)));
        for bad in ["", "x", "1/", "/1", "1/2/3", "-1", "0x100000000"] {
            assert!(fwmark(bad).is_err(), "{bad:?}");
        }
        assert_eq!(read(r#"{"bridge": "none"}"#).unwrap().bridge, Bridge::Nowhere);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            (
                r#"{"bip": "172.26.0.1"}"#,
                "invalid bip \"172.26.0.1\": it must be an IPv4 address with a prefix length",
            ),
            (r#"{"bip": "fd00::1/64"}"#, "invalid bip"),
            (r#"{"bip6": "10.0.0.1/8"}"#, "invalid bip6"),
            (r#"{"fixed-cidr": "x"}"#, "invalid fixed-cidr"),
            (
                r#"{"bip": "10.0.0.1/24", "fixed-cidr": "10.0.1.0/24"}"#,
                "fixed-cidr=10.0.1.0/24 is not inside",
            ),
            (
                r#"{"bip": "10.0.0.1/24", "default-gateway": "10.0.1.1"}"#,
                "default-gateway=10.0.1.1 is not inside",
            ),
            (
                r#"{"bridge": "br0", "bip": "10.0.0.1/24"}"#,
                "You specified -b & --bip, mutually exclusive options",
            ),
            (r#"{"iptables": false, "icc": false}"#, "You specified --iptables=false with --icc=false"),
            (r#"{"ip6tables": false, "icc": false, "ipv6": true}"#, "--ip6tables=false with --icc=false"),
            (r#"{"bridge": "a/b"}"#, "invalid bridge"),
            (r#"{"bridge": "0123456789abcdef"}"#, "invalid bridge"),
            (r#"{"mtu": 10}"#, "invalid mtu 10"),
            (r#"{"mtu": -1}"#, "invalid mtu -1"),
            (r#"{"dns": ["x"]}"#, "invalid dns \"x\""),
            (r#"{"dns-search": ["a b"]}"#, "a b is not a valid domain"),
            (r#"{"ip": "x"}"#, "invalid ip \"x\""),
            (
                r#"{"default-address-pools": [{"base": "10.0.0.0/8", "size": 4}]}"#,
                "the size must be between 8 and 32",
            ),
            (
                r#"{"default-address-pools": [{"base": "10.0.0.1/8", "size": 24}]}"#,
                "the base should be 10.0.0.0/8",
            ),
            (r#"{"default-address-pools": [{"bass": "10.0.0.1/8"}]}"#, "unknown field `bass`"),
            (r#"{"default-network-driver": "a b"}"#, "invalid default-network-driver"),
            (
                r#"{"plugins": {"cni": {"enabled": true, "binary-path": "bin"}}}"#,
                "invalid plugins.cni.binary-path",
            ),
            (r#"{"plugins": {"cni": {"binary-path": "/opt/../etc"}}}"#, "invalid plugins.cni.binary-path"),
            (r#"{"plugins": {"cni": {"enable": true}}}"#, "unknown field `enable`"),
            (r#"{"plugins": {"csi": {}}}"#, "unknown field `csi`"),
            (r#"{"host-gateway-ip": "10.0.0.1", "host-gateway-ips": ["10.0.0.1"]}"#, "mean the same"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
