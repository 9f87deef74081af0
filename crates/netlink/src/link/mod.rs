mod kind;
mod remove;

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use pintle_contract::network::MacAddress;

use crate::{
    Error, ErrorKind, Handle, LinkName, Namespace,
    handle::Refusal,
    message::{CREATE, EXCLUSIVE, Message, attributes, read_i32, read_text, read_u16, read_u32},
};

use kind::write_kind;
pub use kind::{IpvlanFlag, IpvlanMode, LinkKind, MacvlanMode, Vxlan};

const NEW: u16 = 16;
const DELETE: u16 = 17;
const GET: u16 = 18;
const SET: u16 = 19;

const ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const PARENT: u16 = 5;
const MASTER: u16 = 10;
const INFO: u16 = 18;
const ALIAS: u16 = 20;
const NAMESPACE: u16 = 28;

const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;

const UP: u32 = 1;

/// What is to change of a link; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct LinkChange {
    /// Its name. Older kernels want it down for that.
    pub name: Option<LinkName>,
    /// Whether it is up.
    pub up: Option<bool>,
    /// The bridge that it is a port of; `Some(None)` takes it out.
    pub master: Option<Option<LinkName>>,
    /// Its link-layer address.
    pub mac: Option<MacAddress>,
    /// How long a packet may be.
    pub mtu: Option<u32>,
    /// A note of at most 255 bytes on it, for people and for finding it again.
    pub alias: Option<String>,
    /// Where it shall be. A move takes the kernel milliseconds, and brings the link down.
    pub namespace: Option<Namespace>,
}

/// A link that is to be made.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// Its name.
    pub name: LinkName,
    /// What it is.
    pub kind: LinkKind,
    /// How it is from the start. With a namespace, it is made there; parents are still found in the handle's.
    pub with: LinkChange,
}

impl NewLink {
    /// A link that is down, with all else as the kernel likes it.
    pub fn new(name: LinkName, kind: LinkKind) -> Self {
        Self { name, kind, with: LinkChange::default() }
    }

    /// Up from the start.
    pub fn up(mut self) -> Self {
        self.with.up = Some(true);
        self
    }

    /// A port of this bridge.
    pub fn master(mut self, bridge: LinkName) -> Self {
        self.with.master = Some(Some(bridge));
        self
    }

    /// With this link-layer address.
    pub fn mac(mut self, mac: MacAddress) -> Self {
        self.with.mac = Some(mac);
        self
    }

    /// For packets of at most this length.
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.with.mtu = Some(mtu);
        self
    }

    /// Made in this namespace.
    pub fn inside(mut self, namespace: &Namespace) -> Self {
        self.with.namespace = Some(namespace.clone());
        self
    }
}

/// A link as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name, whatever the kernel let it be.
    pub name: String,
    /// `bridge`, `veth`, … in the kernel's words; empty for hardware and loopback.
    pub kind: String,
    /// Whether it was brought up.
    pub up: bool,
    /// Its link-layer address, where it has one of six bytes.
    pub mac: Option<MacAddress>,
    /// How long a packet may be.
    pub mtu: u32,
    /// The number of the bridge that it is a port of.
    pub master: Option<u32>,
    /// The number of the link below, in that link's namespace; a veth's other end.
    pub parent: Option<u32>,
    /// The note on it.
    pub alias: String,
}

impl Handle {
    /// All links.
    pub fn links(&self) -> Result<Vec<Link>, Error> {
        self.dump(GET, &head(0, 0, 0), read).map_err(|refusal| refusal.of("list", "links"))
    }

    /// The link of that name, if there is one.
    pub fn link(&self, name: &LinkName) -> Result<Option<Link>, Error> {
        match self.ask(GET, &head(0, 0, 0), |message| message.text(NAME, name.as_str()), read) {
            Err(refusal) if refusal.code() == Some(Errno::ENODEV as i32) => Ok(None),
            other => other.map_err(|refusal| refusal.of("look up link", name)),
        }
    }

    /// The number of the link of that name.
    pub(crate) fn index(&self, operation: &'static str, name: &LinkName) -> Result<u32, Error> {
        let missing = || Error::kernel(operation, name, Errno::ENODEV as i32, String::new());
        self.link(name)?.map(|link| link.index).ok_or_else(missing)
    }

    /// Makes a link.
    pub fn add_link(&self, link: &NewLink) -> Result<(), Error> {
        let parent = match &link.kind {
            LinkKind::Macvlan { parent, .. }
            | LinkKind::Ipvlan { parent, .. }
            | LinkKind::Vlan { parent, .. }
            | LinkKind::Vxlan(Vxlan { parent: Some(parent), .. }) => {
                Some(self.index("find the parent of the new link, ", parent)?)
            }
            LinkKind::Peer => {
                return Err(Error::of(ErrorKind::Invalid, "add link", &link.name, "a pair has two ends"));
            }
            _ => None,
        };
        let master = self.master_of(&link.with)?;
        let up = if link.with.up == Some(true) { UP } else { 0 };
        self.tell(NEW, CREATE | EXCLUSIVE, &head(0, up, up), |message| {
            message.text(NAME, link.name.as_str());
            write_settings(message, &link.with, master);
            if let Some(parent) = parent.filter(|_| !matches!(link.kind, LinkKind::Vxlan(_))) {
                message.u32(PARENT, parent);
            }
            message.nest(INFO, |info| write_kind(info, &link.kind, parent));
        })
        .map_err(|refusal| refusal.of("add link", &link.name))?;
        self.annotate(&link.name, &link.with)
    }

    /// Makes a pair of links, `peer` directly in the namespace `inside`. Both are [`LinkKind::Peer`].
    pub fn add_veth(&self, link: &NewLink, peer: &NewLink, inside: &Namespace) -> Result<(), Error> {
        let master = self.master_of(&link.with)?;
        let up = if link.with.up == Some(true) { UP } else { 0 };
        self.tell(NEW, CREATE | EXCLUSIVE, &head(0, up, up), |message| {
            message.text(NAME, link.name.as_str());
            write_settings(message, &link.with, master);
            message.nest(INFO, |info| {
                info.text(INFO_KIND, "veth");
                info.nest(INFO_DATA, |data| {
                    data.nest(VETH_PEER, |end| {
                        end.fixed(&head(0, 0, 0));
                        end.text(NAME, peer.name.as_str());
                        write_settings(end, &peer.with, None);
                        end.u32(NAMESPACE, descriptor(inside));
                    });
                });
            });
        })
        .map_err(|refusal| refusal.of("add link", format_args!("{} with peer {}", link.name, peer.name)))?;
        // The kernel makes the peer first, and it cannot be up as long as it is alone.
        if peer.with.up == Some(true) {
            inside.handle()?.set_up(&peer.name)?;
        }
        self.annotate(&link.name, &link.with)
    }

    /// The kernel takes a note on a link only once the link is there.
    fn annotate(&self, name: &LinkName, with: &LinkChange) -> Result<(), Error> {
        match &with.alias {
            Some(_) if with.namespace.is_none() => {
                self.change_link(name, &LinkChange { alias: with.alias.clone(), ..LinkChange::default() })
            }
            _ => Ok(()),
        }
    }

    /// Changes a link.
    pub fn change_link(&self, name: &LinkName, change: &LinkChange) -> Result<(), Error> {
        let master = self.master_of(change)?;
        let (flags, mask) = match change.up {
            Some(up) => (if up { UP } else { 0 }, UP),
            None => (0, 0),
        };
        let rename = change.name.as_ref();
        // With a new name in the message the old one must be given as a number.
        let index = if rename.is_some() { self.index("change link", name)? } else { 0 };
        self.tell(SET, 0, &head(index, flags, mask), |message| {
            message.text(NAME, rename.unwrap_or(name).as_str());
            write_settings(message, change, master);
            if let Some(alias) = &change.alias {
                message.text(ALIAS, alias);
            }
        })
        .map_err(|refusal| refusal.of("change link", name))
    }

    /// Brings a link up.
    pub fn set_up(&self, name: &LinkName) -> Result<(), Error> {
        self.change_link(name, &LinkChange { up: Some(true), ..LinkChange::default() })
    }

    /// Removes a link. Says whether there was one. The kernel answers tens of milliseconds after the link is gone;
    /// [`Namespace::remove_link`] does not wait for that.
    pub fn remove_link(&self, name: &LinkName) -> Result<bool, Error> {
        match self.tell(DELETE, 0, &head(0, 0, 0), |message| message.text(NAME, name.as_str())) {
            Ok(()) => Ok(true),
            Err(refusal) if refusal.code() == Some(Errno::ENODEV as i32) => Ok(false),
            Err(refusal) => Err(refusal.of("remove link", name)),
        }
    }

    pub(crate) fn bring_up_loopback(&self) -> Result<(), Error> {
        self.tell(SET, 0, &head(1, UP, UP), |_| ())
            .map_err(|refusal: Refusal| refusal.of("bring up link", "lo"))
    }

    fn master_of(&self, change: &LinkChange) -> Result<Option<u32>, Error> {
        match &change.master {
            Some(Some(bridge)) => self.index("find the bridge", bridge).map(Some),
            Some(None) => Ok(Some(0)),
            None => Ok(None),
        }
    }
}

/// The fixed part of every message on links: family, type, index, flags, which flags change.
fn head(index: u32, flags: u32, mask: u32) -> [u8; 16] {
    head_of_family(0, index, flags, mask)
}

pub(crate) fn head_of_family(family: u8, index: u32, flags: u32, mask: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0] = family;
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&mask.to_ne_bytes());
    bytes
}

fn descriptor(namespace: &Namespace) -> u32 {
    // Descriptors are never negative.
    u32::try_from(namespace.as_fd().as_raw_fd()).unwrap_or(u32::MAX)
}

fn write_settings(message: &mut Message, change: &LinkChange, master: Option<u32>) {
    if let Some(MacAddress(mac)) = change.mac {
        message.bytes(ADDRESS, &mac);
    }
    if let Some(mtu) = change.mtu {
        message.u32(MTU, mtu);
    }
    if let Some(master) = master {
        message.u32(MASTER, master);
    }
    if let Some(namespace) = &change.namespace {
        message.u32(NAMESPACE, descriptor(namespace));
    }
}

fn read(body: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: u32::try_from(read_i32(body, 4)?).ok()?,
        up: read_u32(body, 8)? & UP != 0,
        ..Link::default()
    };
    // The type of loopback; its all-zero address is none.
    let loopback = read_u16(body, 2) == Some(772);
    for (kind, payload) in attributes(body.get(16..)?) {
        match kind {
            ADDRESS if !loopback => link.mac = payload.try_into().ok().map(MacAddress),
            NAME => link.name = read_text(payload),
            MTU => link.mtu = read_u32(payload, 0)?,
            PARENT => link.parent = read_u32(payload, 0),
            MASTER => link.master = read_u32(payload, 0),
            ALIAS => link.alias = read_text(payload),
            INFO => {
                let kind = attributes(payload).find(|(kind, _)| *kind == INFO_KIND);
                link.kind = kind.map(|(_, text)| read_text(text)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}
