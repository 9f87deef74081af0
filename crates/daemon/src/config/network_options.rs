use std::collections::BTreeMap;

use super::raw::{PoolEntry, Raw};

/// The flags of `pintle daemon` that are about networks, with dockerd's names.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct NetworkOptions {
    /// A bridge of your own as the default network; "none" for no default network
    #[arg(short = 'b', long, value_name = "NAME")]
    pub bridge: Option<String>,
    /// The default bridge's IPv4 address, with its prefix length
    #[arg(long, value_name = "CIDR")]
    pub bip: Option<String>,
    /// The default bridge's IPv6 address, with its prefix length
    #[arg(long, value_name = "CIDR")]
    pub bip6: Option<String>,
    /// The part of the default bridge's subnet that containers get addresses from
    #[arg(long, value_name = "CIDR")]
    pub fixed_cidr: Option<String>,
    /// The same for IPv6
    #[arg(long, value_name = "CIDR")]
    pub fixed_cidr_v6: Option<String>,
    /// The router of containers on the default bridge, if it is not the bridge
    #[arg(long, value_name = "IP")]
    pub default_gateway: Option<String>,
    /// The same for IPv6
    #[arg(long, value_name = "IP")]
    pub default_gateway_v6: Option<String>,
    /// Packets with this mark reach containers directly: value or value/mask
    #[arg(long, value_name = "MARK")]
    pub bridge_accept_fwmark: Option<String>,
    /// Published ports are open at the containers' own addresses, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allow_direct_routing: Option<bool>,
    /// The largest packet on the default bridge
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub mtu: Option<i64>,
    /// The host's address that ports are published on unless they say otherwise
    #[arg(long, value_name = "IP")]
    pub ip: Option<String>,
    /// IPv6 on the default bridge
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ipv6: Option<bool>,
    /// Containers on the default bridge may talk to each other
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub icc: Option<bool>,
    /// Set packet filter rules for IPv4
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub iptables: Option<bool>,
    /// Set packet filter rules for IPv6
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ip6tables: Option<bool>,
    /// Let the host forward packets
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ip_forward: Option<bool>,
    /// Containers on the default bridge go out under the host's address
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ip_masq: Option<bool>,
    /// A name server of containers that name none (repeatable)
    #[arg(long, value_name = "IP")]
    pub dns: Vec<String>,
    /// A resolver option of containers that have none (repeatable)
    #[arg(long = "dns-opt", value_name = "OPTION")]
    pub dns_opts: Vec<String>,
    /// A search domain of containers that have none (repeatable)
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// What host-gateway means in --add-host (repeatable)
    #[arg(long = "host-gateway-ip", value_name = "IP")]
    pub host_gateway_ips: Vec<String>,
    /// Where subnets are taken from: base=CIDR,size=LENGTH (repeatable)
    #[arg(long = "default-address-pool", value_name = "POOL")]
    pub default_address_pools: Vec<String>,
    /// An option of new networks: driver=key=value (repeatable)
    #[arg(long = "default-network-opt", value_name = "DRIVER=KEY=VALUE")]
    pub default_network_opts: Vec<String>,
    /// The network driver of services
    #[arg(long, value_name = "NAME")]
    pub default_network_driver: Option<String>,
}

impl NetworkOptions {
    /// The flags that were given, as settings.
    pub(super) fn to_raw(&self) -> Result<Raw, String> {
        let given = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let pools =
            self.default_address_pools.iter().map(|text| pool(text)).collect::<Result<Vec<_>, String>>()?;
        let mut options: BTreeMap<String, super::StringMap> = BTreeMap::new();
        for text in &self.default_network_opts {
            let (driver, option) = text.split_once('=').filter(|(driver, _)| !driver.is_empty()).ok_or_else(
                || format!("invalid value {text:?} for --default-network-opt: it must be of the form driver=key=value"),
            )?;
            let (key, value) = option.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
                format!("invalid value {text:?} for --default-network-opt: it must be of the form driver=key=value")
            })?;
            options.entry(driver.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        }
        Ok(Raw {
            bridge: self.bridge.clone(),
            bip: self.bip.clone(),
            bip6: self.bip6.clone(),
            fixed_cidr: self.fixed_cidr.clone(),
            fixed_cidr_v6: self.fixed_cidr_v6.clone(),
            default_gateway: self.default_gateway.clone(),
            default_gateway_v6: self.default_gateway_v6.clone(),
            bridge_accept_fwmark: self.bridge_accept_fwmark.clone(),
            allow_direct_routing: self.allow_direct_routing,
            mtu: self.mtu,
            ip: self.ip.clone(),
            ipv6: self.ipv6,
            icc: self.icc,
            iptables: self.iptables,
            ip6tables: self.ip6tables,
            ip_forward: self.ip_forward,
            ip_masq: self.ip_masq,
            dns: given(&self.dns),
            dns_opts: given(&self.dns_opts),
            dns_search: given(&self.dns_search),
            host_gateway_ips: given(&self.host_gateway_ips),
            default_address_pools: (!pools.is_empty()).then_some(pools),
            default_network_opts: (!options.is_empty()).then_some(options),
            default_network_driver: self.default_network_driver.clone(),
            ..Raw::default()
        })
    }
}

/// `base=10.0.0.0/8,size=24`.
fn pool(text: &str) -> Result<PoolEntry, String> {
    let mut entry = PoolEntry::default();
    for field in text.split(',') {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
        match key.to_ascii_lowercase().as_str() {
            "base" => value.clone_into(&mut entry.base),
            "size" => {
                entry.size = value
                    .parse()
                    .map_err(|_| format!("invalid size value: {text:?} (must be integer): {value:?}"))?;
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    Ok(entry)
}
