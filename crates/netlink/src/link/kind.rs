//! What a link is, and how the kernel is told.

use std::{fmt, net::IpAddr};

use super::{INFO_DATA, INFO_KIND};
use crate::{LinkName, message::Message};

/// How the interfaces on one parent see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MacvlanMode {
    /// Not at all.
    Private,
    /// By way of the next switch, if it sends frames back.
    Vepa,
    /// Directly.
    Bridge,
    /// There is only one, and it takes the parent over.
    Passthru,
}

/// What an ipvlan interface looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpvlanMode {
    /// Link-layer frames.
    L2,
    /// Packets, routed by the parent.
    L3,
    /// Packets, routed by the parent, past its connection tracking.
    L3s,
}

/// How the ipvlan interfaces on one parent see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpvlanFlag {
    /// Directly.
    Bridge,
    /// Not at all.
    Private,
    /// By way of the next switch, if it sends frames back.
    Vepa,
}

/// A tunnel of Ethernet frames in UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// The network's identifier, below 2²⁴.
    pub id: u32,
    /// This host's end of the tunnel.
    pub local: Option<IpAddr>,
    /// The link that carries it.
    pub parent: Option<LinkName>,
    /// The UDP port.
    pub port: u16,
    /// Whether it learns from frames where addresses are.
    pub learning: bool,
    /// Whether it answers for neighbours that it knows.
    pub proxy: bool,
}

/// What a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// A switch.
    Bridge,
    /// A link that swallows everything.
    Dummy,
    /// One end of a pair; see [`Handle::add_veth`].
    Peer,
    /// An interface with a link-layer address of its own on a parent.
    Macvlan {
        /// The link below.
        parent: LinkName,
        /// How its siblings see it.
        mode: MacvlanMode,
    },
    /// An interface with the parent's link-layer address.
    Ipvlan {
        /// The link below.
        parent: LinkName,
        /// What it looks at.
        mode: IpvlanMode,
        /// How its siblings see it.
        flag: IpvlanFlag,
    },
    /// A tagged part of a parent.
    Vlan {
        /// The link below.
        parent: LinkName,
        /// The tag, 1 to 4094.
        id: u16,
    },
    /// A tunnel.
    Vxlan(Vxlan),
}

pub(super) fn write_kind(info: &mut Message, kind: &LinkKind, parent: Option<u32>) {
    info.text(INFO_KIND, kind.name());
    match kind {
        LinkKind::Bridge | LinkKind::Dummy | LinkKind::Peer => {}
        LinkKind::Macvlan { mode, .. } => info.nest(INFO_DATA, |data| {
            let mode = match mode {
                MacvlanMode::Private => 1,
                MacvlanMode::Vepa => 2,
                MacvlanMode::Bridge => 4,
                MacvlanMode::Passthru => 8,
            };
            data.u32(1, mode);
        }),
        LinkKind::Ipvlan { mode, flag, .. } => info.nest(INFO_DATA, |data| {
            let mode = match mode {
                IpvlanMode::L2 => 0,
                IpvlanMode::L3 => 1,
                IpvlanMode::L3s => 2,
            };
            data.u16(1, mode);
            match flag {
                IpvlanFlag::Bridge => {}
                IpvlanFlag::Private => data.u16(2, 1),
                IpvlanFlag::Vepa => data.u16(2, 2),
            }
        }),
        LinkKind::Vlan { id, .. } => info.nest(INFO_DATA, |data| data.u16(1, *id)),
        LinkKind::Vxlan(vxlan) => info.nest(INFO_DATA, |data| {
            data.u32(1, vxlan.id);
            if let Some(parent) = parent {
                data.u32(3, parent);
            }
            match vxlan.local {
                Some(IpAddr::V4(local)) => data.bytes(4, &local.octets()),
                Some(IpAddr::V6(local)) => data.bytes(17, &local.octets()),
                None => {}
            }
            data.u8(7, vxlan.learning.into());
            data.u8(11, vxlan.proxy.into());
            data.bytes(15, &vxlan.port.to_be_bytes());
        }),
    }
}

impl LinkKind {
    /// The kernel's word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Dummy => "dummy",
            Self::Peer => "veth",
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
            Self::Vlan { .. } => "vlan",
            Self::Vxlan(_) => "vxlan",
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
