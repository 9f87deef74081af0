use std::net::IpAddr;

use nix::errno::Errno;
use pintle_contract::network::MacAddress;

use crate::{
    Error, Handle, LinkName,
    address::ip,
    message::{APPEND, CREATE, Message, REPLACE, attributes, read_u16, read_u32},
};

const NEW: u16 = 28;
const DELETE: u16 = 29;
const GET: u16 = 30;

const ADDRESS: u16 = 1;
const MAC: u16 = 2;

const PERMANENT: u16 = 0x80;
const NO_ARP: u16 = 0x40;
/// The entry is the link's own, not its bridge's.
const SELF: u8 = 2;
const FAMILY_BRIDGE: u8 = 7;

/// A row of the tables of neighbours: which link-layer address an IP address has, or, in a forwarding table, behind
/// which host of a tunnel a link-layer address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// The number of the link.
    pub link: u32,
    /// The neighbour, or the tunnel's other end.
    pub address: Option<IpAddr>,
    /// The link-layer address.
    pub mac: Option<MacAddress>,
    /// Whether it stays until it is removed.
    pub permanent: bool,
}

impl Handle {
    /// Says for good that `address` has the link-layer address `mac`.
    pub fn set_neighbour(&self, link: &LinkName, address: IpAddr, mac: MacAddress) -> Result<(), Error> {
        let index = self.index("set a neighbour on link", link)?;
        self.tell(NEW, CREATE | REPLACE, &head(family(address), index, PERMANENT, 0), |message| {
            write(message, Some(address), Some(mac));
        })
        .map_err(|refusal| refusal.of("set neighbour", format_args!("{address} on link {link}")))
    }

    /// Forgets a neighbour. Says whether it was known.
    pub fn remove_neighbour(&self, link: &LinkName, address: IpAddr) -> Result<bool, Error> {
        let index = self.index("remove a neighbour of link", link)?;
        let told = self.tell(DELETE, 0, &head(family(address), index, 0, 0), |message| {
            write(message, Some(address), None)
        });
        match told {
            Ok(()) => Ok(true),
            Err(refusal) if refusal.code() == Some(Errno::ENOENT as i32) => Ok(false),
            Err(refusal) => Err(refusal.of("remove neighbour", format_args!("{address} of link {link}"))),
        }
    }

    /// Says that a tunnel sends frames for `mac` to the host `to`. For the address of all zeros the host is added to
    /// those that get what goes to everybody.
    pub fn set_forwarding(&self, tunnel: &LinkName, mac: MacAddress, to: IpAddr) -> Result<(), Error> {
        let index = self.index("set a forwarding entry on link", tunnel)?;
        let how = if mac.0 == [0; 6] { APPEND } else { REPLACE };
        let state = PERMANENT | NO_ARP;
        let told = self.tell(NEW, CREATE | how, &head(FAMILY_BRIDGE, index, state, SELF), |message| {
            write(message, Some(to), Some(mac));
        });
        match told {
            Err(refusal) if refusal.code() == Some(Errno::EEXIST as i32) => Ok(()),
            other => other.map_err(|refusal| {
                refusal.of("set forwarding entry", format_args!("{mac} to {to} on link {tunnel}"))
            }),
        }
    }

    /// Forgets where a tunnel sends frames for `mac`. Says whether it was known.
    pub fn remove_forwarding(&self, tunnel: &LinkName, mac: MacAddress, to: IpAddr) -> Result<bool, Error> {
        let index = self.index("remove a forwarding entry of link", tunnel)?;
        let told = self.tell(DELETE, 0, &head(FAMILY_BRIDGE, index, 0, SELF), |message| {
            write(message, Some(to), Some(mac));
        });
        match told {
            Ok(()) => Ok(true),
            Err(refusal) if refusal.code() == Some(Errno::ENOENT as i32) => Ok(false),
            Err(refusal) => {
                Err(refusal.of("remove forwarding entry", format_args!("{mac} to {to} of link {tunnel}")))
            }
        }
    }

    /// The neighbours of a link.
    pub fn neighbours(&self, link: &LinkName) -> Result<Vec<Neighbour>, Error> {
        self.table(link, 0)
    }

    /// The forwarding table of a link: a tunnel, a bridge or a port of one.
    pub fn forwarding(&self, link: &LinkName) -> Result<Vec<Neighbour>, Error> {
        self.table(link, FAMILY_BRIDGE)
    }

    fn table(&self, link: &LinkName, family: u8) -> Result<Vec<Neighbour>, Error> {
        let index = self.index("list neighbours of link", link)?;
        let rows = self
            .dump(GET, &head(family, 0, 0, 0), read)
            .map_err(|refusal| refusal.of("list neighbours of link", link))?;
        Ok(rows.into_iter().filter(|row| row.link == index).collect())
    }
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { 2 } else { 10 }
}

fn head(family: u8, index: u32, state: u16, flags: u8) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[0] = family;
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..10].copy_from_slice(&state.to_ne_bytes());
    bytes[10] = flags;
    bytes
}

fn write(message: &mut Message, address: Option<IpAddr>, mac: Option<MacAddress>) {
    match address {
        Some(IpAddr::V4(address)) => message.bytes(ADDRESS, &address.octets()),
        Some(IpAddr::V6(address)) => message.bytes(ADDRESS, &address.octets()),
        None => {}
    }
    if let Some(MacAddress(mac)) = mac {
        message.bytes(MAC, &mac);
    }
}

fn read(body: &[u8]) -> Option<Neighbour> {
    let mut row = Neighbour {
        link: read_u32(body, 4)?,
        address: None,
        mac: None,
        permanent: read_u16(body, 8)? & PERMANENT != 0,
    };
    for (kind, payload) in attributes(body.get(12..)?) {
        match kind {
            ADDRESS => row.address = ip(payload),
            MAC => row.mac = payload.try_into().ok().map(MacAddress),
            _ => {}
        }
    }
    Some(row)
}
