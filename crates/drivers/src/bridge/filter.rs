//! The packet filter of bridge networks: one table of our own, the rules of a network, and the elements of its ports.
//!
//! ```text
//! prerouting, output ── to an address of this host ──► published ── ports ──► a container
//! forward ── from a bridge ──► from_ID     may it leave?
//!         ── to a bridge ────► to_ID       may it enter?
//! postrouting ── from a subnet ──► out_ID  which address does it get?
//! ```
//!
//! Packets of others pass: every base chain accepts what is not about one of our bridges. What another table drops
//! stays dropped.

use std::net::IpAddr;

use pintle_contract::{DriverError, network::Protocol};
use pintle_netlink::nft::{Change, Ident};

use super::options::{GatewayMode, Settings};

/// Sets, maps and base chains. Elements come and go; rules here are for all networks.
pub(super) const LAYOUT: [&str; 15] = [
    "set bridges { type ifname; }",
    "map from { type ifname : verdict; }",
    "map to { type ifname : verdict; }",
    "map published4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }",
    "map published6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }",
    "map anywhere4 { type inet_proto . inet_service : ipv4_addr . inet_service; }",
    "map anywhere6 { type inet_proto . inet_service : ipv6_addr . inet_service; }",
    "set open4 { type ipv4_addr . inet_proto . inet_service; }",
    "set open6 { type ipv6_addr . inet_proto . inet_service; }",
    // The loopback addresses are routed on our bridges, for ports published there; containers must not reach what
    // else listens on them.
    "chain martians { type filter hook prerouting priority -300; policy accept; \
     iifname @bridges ip daddr 127.0.0.0/8 drop; iifname @bridges ip saddr 127.0.0.0/8 drop; }",
    "chain published { \
     meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @published4; \
     meta nfproto ipv4 dnat ip to meta l4proto . th dport map @anywhere4; \
     meta nfproto ipv6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @published6; \
     meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @anywhere6; }",
    // A neighbour can send frames with a loopback address to this host; only its own processes may use one.
    "chain prerouting { type nat hook prerouting priority -100; policy accept; \
     ip daddr 127.0.0.0/8 return; ip6 daddr fe80::/10 return; fib daddr type local jump published; }",
    // The kernel does not route from ::1, nor answers to addresses of a link; a relay carries these.
    "chain output { type nat hook output priority -100; policy accept; \
     ip6 daddr { ::1, fe80::/10 } return; fib daddr type local jump published; }",
    "chain postrouting { type nat hook postrouting priority 100; policy accept; }",
    "chain forward { type filter hook forward priority 0; policy accept; \
     ct state established,related accept; iifname vmap @from; oifname vmap @to; }",
];

/// What is sent to a port that is open at the container's own address.
const OPEN_V4: &str = "ip daddr . meta l4proto . th dport @open4";
/// The same for IPv6.
const OPEN_V6: &str = "ip6 daddr . meta l4proto . th dport @open6";

fn word(text: &str) -> Result<Ident, DriverError> {
    Ok(text.parse()?)
}

/// The chains of a network by its id.
struct Chains {
    to: Ident,
    from: Ident,
    out: Ident,
}

impl Chains {
    fn of(network: &str) -> Result<Self, DriverError> {
        let short = network.get(..12).unwrap_or(network);
        let name = |kind: &str| word(&format!("{kind}_{short}"));
        Ok(Self { to: name("to")?, from: name("from")?, out: name("out")? })
    }
}

/// Which families are filtered at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Families {
    pub(super) v4: bool,
    pub(super) v6: bool,
}

/// Brings a network's rules about.
pub(super) fn raise(
    network: &str,
    settings: &Settings,
    families: Families,
) -> Result<Vec<Change>, DriverError> {
    let chains = Chains::of(network)?;
    let bridge = settings.bridge.to_string();
    let jump = |chain: &Ident| Some(format!("jump {chain}"));
    Ok(vec![
        Change::Chain(chains.to.clone(), entrance(settings, families)),
        Change::Chain(chains.from.clone(), exit(settings, families)),
        Change::Chain(chains.out, translation(settings)),
        Change::Element(word("bridges")?, bridge.clone(), None),
        Change::Element(word("from")?, bridge.clone(), jump(&chains.from)),
        Change::Element(word("to")?, bridge, jump(&chains.to)),
    ])
}

/// Takes a network's rules away.
pub(super) fn raze(network: &str, settings: &Settings) -> Result<Vec<Change>, DriverError> {
    let chains = Chains::of(network)?;
    let bridge = settings.bridge.to_string();
    Ok(vec![
        Change::NoElement(word("bridges")?, bridge.clone()),
        Change::NoElement(word("from")?, bridge.clone()),
        Change::NoElement(word("to")?, bridge),
        Change::NoChain(chains.to),
        Change::NoChain(chains.from),
        Change::NoChain(chains.out),
    ])
}

/// Which network's addresses are translated where, for all networks.
pub(super) fn departures<'a>(
    networks: impl Iterator<Item = (&'a str, &'a Settings)>,
    families: Families,
) -> Result<Change, DriverError> {
    // A process of this host that speaks to a port published on loopback has an address that is no use elsewhere.
    let mut rules = vec!["oifname @bridges ip saddr 127.0.0.0/8 masquerade".to_owned()];
    for (id, settings) in networks {
        let out = Chains::of(id)?.out;
        if let Some(subnet) = settings.v4.filter(|_| families.v4) {
            rules.push(format!("ip saddr {} jump {out}", subnet.pool));
        }
        if let Some(subnet) = settings.v6.filter(|_| families.v6) {
            rules.push(format!("ip6 saddr {} jump {out}", subnet.pool));
        }
    }
    Ok(Change::Chain(word("postrouting")?, rules))
}

/// What may come in by the bridge.
fn entrance(settings: &Settings, families: Families) -> Vec<String> {
    let bridge = &settings.bridge;
    let mut rules = Vec::new();
    for (filtered, family) in [(families.v4, "ipv4"), (families.v6, "ipv6")] {
        if !filtered {
            rules.push(format!("meta nfproto {family} accept"));
        }
    }
    // Seen here only on hosts that filter what is bridged, too; else the ports themselves are isolated.
    if settings.icc {
        rules.push(format!("iifname \"{bridge}\" accept"));
    } else {
        rules.push(format!("iifname \"{bridge}\" ct status dnat accept"));
        rules.push(format!("iifname \"{bridge}\" drop"));
    }
    for extension in &settings.extensions {
        rules.push(format!("iifname \"{extension}\" accept"));
    }
    if !settings.internal {
        rules.push("ct status dnat accept".to_owned());
        if let Some((value, mask)) = settings.accept_fwmark {
            rules.push(format!("meta mark & {mask:#x} == {:#x} accept", value & mask));
        }
        // Whom the network trusts may use the containers' own addresses, and no ports but those that are published.
        for open in [OPEN_V4, OPEN_V6] {
            if settings.direct_routing {
                rules.push(format!("{open} accept"));
                continue;
            }
            for trusted in &settings.trusted {
                rules.push(format!("iifname \"{trusted}\" {open} accept"));
            }
        }
        for (mode, family, icmp, open) in
            [(settings.mode_v4, "ipv4", "icmp", OPEN_V4), (settings.mode_v6, "ipv6", "ipv6-icmp", OPEN_V6)]
        {
            match mode {
                GatewayMode::NatUnprotected => rules.push(format!("meta nfproto {family} accept")),
                GatewayMode::Routed => {
                    rules.push(format!("meta nfproto {family} meta l4proto {icmp} accept"));
                    rules.push(format!("{open} accept"));
                }
                GatewayMode::Nat | GatewayMode::Isolated => {}
            }
        }
    }
    rules.push("drop".to_owned());
    rules
}

/// What may go out by the bridge.
fn exit(settings: &Settings, families: Families) -> Vec<String> {
    let bridge = &settings.bridge;
    if !settings.internal {
        return Vec::new();
    }
    let mut rules: Vec<String> =
        settings.extensions.iter().map(|extension| format!("oifname \"{extension}\" return")).collect();
    match families {
        Families { v4: true, v6: true } => rules.push(format!("oifname != \"{bridge}\" drop")),
        Families { v4: true, v6: false } => {
            rules.push(format!("meta nfproto ipv4 oifname != \"{bridge}\" drop"));
        }
        Families { v4: false, v6: true } => {
            rules.push(format!("meta nfproto ipv6 oifname != \"{bridge}\" drop"));
        }
        Families { v4: false, v6: false } => return Vec::new(),
    }
    rules
}

/// Which address a packet from the network's subnets gets.
fn translation(settings: &Settings) -> Vec<String> {
    let bridge = &settings.bridge;
    // A container that speaks to a published port of its own network: the answer has to come back by this host.
    let mut rules = vec![format!("oifname \"{bridge}\" ct status dnat masquerade")];
    for extension in &settings.extensions {
        rules.push(format!("oifname \"{extension}\" return"));
    }
    if settings.masquerade && !settings.internal {
        let families = [
            (
                settings.v4.is_some() && settings.mode_v4.translates(),
                "ipv4",
                "ip",
                settings.host_ipv4.map(IpAddr::V4),
            ),
            (
                settings.v6.is_some() && settings.mode_v6.translates(),
                "ipv6",
                "ip6",
                settings.host_ipv6.map(IpAddr::V6),
            ),
        ];
        for (translated, family, header, address) in families {
            let rule = format!("meta nfproto {family} oifname != \"{bridge}\"");
            match address {
                _ if !translated => {}
                Some(address) => rules.push(format!("{rule} snat {header} to {address}")),
                None => rules.push(format!("{rule} masquerade")),
            }
        }
    }
    rules
}

/// One port as the filter sees it: what is asked for, and which container answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) protocol: Protocol,
    /// The host's address and port; `None` where containers are reached by their own.
    pub(super) host: Option<(IpAddr, u16)>,
    pub(super) container: (IpAddr, u16),
}

impl Opening {
    /// Opens it.
    pub(super) fn open(&self) -> Result<Change, DriverError> {
        let (set, key) = self.place()?;
        let (address, port) = self.container;
        let value = self.host.map(|_| format!("{address} . {port}"));
        Ok(Change::Element(set, key, value))
    }

    /// Closes it.
    pub(super) fn close(&self) -> Result<Change, DriverError> {
        let (set, key) = self.place()?;
        Ok(Change::NoElement(set, key))
    }

    fn place(&self) -> Result<(Ident, String), DriverError> {
        let family = if self.container.0.is_ipv4() { 4 } else { 6 };
        let protocol = self.protocol.number();
        let (name, key) = match self.host {
            Some((address, port)) if address.is_unspecified() => ("anywhere", format!("{protocol} . {port}")),
            Some((address, port)) => ("published", format!("{address} . {protocol} . {port}")),
            None => {
                let (address, port) = self.container;
                ("open", format!("{address} . {protocol} . {port}"))
            }
        };
        Ok((word(&format!("{name}{family}"))?, key))
    }
}
