//! What a network's options say, read once.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use pintle_contract::{
    DriverError,
    network::{CreateNetwork, IpamData},
};
use pintle_netlink::{IpvlanFlag, IpvlanMode, LinkKind, LinkName, MacvlanMode};

use super::Kind;

/// The options' names, as Docker knows them.
const PARENT: &str = "parent";
const MACVLAN_MODE: &str = "macvlan_mode";
const IPVLAN_MODE: &str = "ipvlan_mode";
const IPVLAN_FLAG: &str = "ipvlan_flag";
const MTU: &str = "com.docker.network.driver.mtu";
const PREFIX: &str = "com.docker.network.container_iface_prefix";

/// A network, as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) parent: LinkName,
    /// The parent was left to us, or the network is internal: nothing is below.
    pub(super) detached: bool,
    pub(super) internal: bool,
    pub(super) mode: Mode,
    pub(super) mtu: Option<u32>,
    pub(super) prefix: String,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) gateway_v6: Option<Ipv6Addr>,
    pub(super) v4: bool,
    pub(super) v6: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Macvlan(MacvlanMode),
    Ipvlan(IpvlanMode, IpvlanFlag),
}

impl Settings {
    pub(super) fn read(request: &CreateNetwork, kind: Kind) -> Result<Self, DriverError> {
        let options = request.generic();
        let option = |name: &str| options.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let short = request.network.get(..12).filter(|id| id.chars().all(|c| c.is_ascii_hexdigit()));
        let short = short
            .ok_or_else(|| DriverError::invalid(format!("invalid network id {:.80?}", request.network)))?;
        let (parent, detached) = match option(PARENT) {
            Some("lo") => {
                let text = format!("loopback interface is not a valid {} parent link", kind.name());
                return Err(DriverError::invalid(text));
            }
            Some(parent) => (parent.parse()?, false),
            None => (format!("dm-{short}").parse()?, true),
        };
        let mtu = match option(MTU) {
            None | Some("0") => None,
            Some(text) => Some(
                text.parse()
                    .ok()
                    .filter(|mtu| (68..=65_535).contains(mtu))
                    .ok_or_else(|| DriverError::invalid(format!("invalid MTU number: {text:.32}")))?,
            ),
        };
        let prefix = option(PREFIX).unwrap_or("eth").to_owned();
        if prefix.len() > 12 {
            return Err(DriverError::invalid(format!("interface name prefix {prefix:.32} is too long")));
        }
        format!("{prefix}0").parse::<LinkName>()?;
        let first =
            |list: &[IpamData]| list.first().and_then(|data| data.gateway).map(|net: IpNet| net.addr());
        let gateway = match first(&request.ipv4) {
            Some(std::net::IpAddr::V4(gateway)) => Some(gateway),
            _ => None,
        };
        let gateway_v6 = match first(&request.ipv6) {
            Some(std::net::IpAddr::V6(gateway)) => Some(gateway),
            _ => None,
        };
        Ok(Self {
            parent,
            detached,
            internal: request.internal() || detached,
            mode: mode(kind, option(MACVLAN_MODE), option(IPVLAN_MODE), option(IPVLAN_FLAG))?,
            mtu,
            prefix,
            gateway,
            gateway_v6,
            v4: request.enable_ipv4(),
            v6: request.enable_ipv6(),
        })
    }

    /// What a container's link is.
    pub(super) fn link_kind(&self) -> LinkKind {
        let parent = self.parent.clone();
        match self.mode {
            Mode::Macvlan(mode) => LinkKind::Macvlan { parent, mode },
            Mode::Ipvlan(mode, flag) => LinkKind::Ipvlan { parent, mode, flag },
        }
    }

    /// Whether containers find their way by the link alone, without a gateway.
    pub(super) fn routed(&self) -> bool {
        matches!(self.mode, Mode::Ipvlan(IpvlanMode::L3 | IpvlanMode::L3s, _))
    }
}

fn mode(
    kind: Kind,
    macvlan: Option<&str>,
    ipvlan: Option<&str>,
    flag: Option<&str>,
) -> Result<Mode, DriverError> {
    let unknown = |what: &str, text: &str| Err(DriverError::invalid(format!("unknown {what}: {text:.64}")));
    match kind {
        Kind::Macvlan => Ok(Mode::Macvlan(match macvlan {
            None | Some("bridge") => MacvlanMode::Bridge,
            Some("private") => MacvlanMode::Private,
            Some("vepa") => MacvlanMode::Vepa,
            Some("passthru") => MacvlanMode::Passthru,
            Some(other) => return unknown("macvlan mode", other),
        })),
        Kind::Ipvlan => {
            let mode = match ipvlan {
                None | Some("l2") => IpvlanMode::L2,
                Some("l3") => IpvlanMode::L3,
                Some("l3s") => IpvlanMode::L3s,
                Some(other) => return unknown("ipvlan mode", other),
            };
            let flag = match flag {
                None | Some("bridge") => IpvlanFlag::Bridge,
                Some("private") => IpvlanFlag::Private,
                Some("vepa") => IpvlanFlag::Vepa,
                Some(other) => return unknown("ipvlan flag", other),
            };
            Ok(Mode::Ipvlan(mode, flag))
        }
    }
}
