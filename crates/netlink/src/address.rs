use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use nix::errno::Errno;

use crate::{
    Error, Handle, LinkName,
    message::{CREATE, EXCLUSIVE, attributes, read_u32},
};

const NEW: u16 = 20;
const DELETE: u16 = 21;
const GET: u16 = 22;

const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const BROADCAST: u16 = 4;

/// Duplicates are not looked for, so that the address can be used at once.
const NO_DUPLICATE_DETECTION: u8 = 0x02;

impl Handle {
    /// Gives a link an address, and with it a route to the prefix. One that it has already is fine.
    ///
    /// An IPv6 address can be used at once: who gives addresses here knows that nobody else has them.
    pub fn add_address(&self, link: &LinkName, address: IpNet) -> Result<(), Error> {
        let index = self.index("add an address to link", link)?;
        let flags = if address.addr().is_ipv6() { NO_DUPLICATE_DETECTION } else { 0 };
        let told = self.tell(NEW, CREATE | EXCLUSIVE, &head(address, flags, index), |message| match address
            .addr()
        {
            IpAddr::V4(ip) => {
                message.bytes(LOCAL, &ip.octets());
                message.bytes(ADDRESS, &ip.octets());
                if let Some(broadcast) = broadcast(address) {
                    message.bytes(BROADCAST, &broadcast.octets());
                }
            }
            IpAddr::V6(ip) => message.bytes(ADDRESS, &ip.octets()),
        });
        match told {
            Err(refusal) if refusal.code() == Some(Errno::EEXIST as i32) => Ok(()),
            other => {
                other.map_err(|refusal| refusal.of("add address", format_args!("{address} to link {link}")))
            }
        }
    }

    /// Takes an address from a link. Says whether it had it.
    pub fn remove_address(&self, link: &LinkName, address: IpNet) -> Result<bool, Error> {
        let index = self.index("remove an address from link", link)?;
        let told = self.tell(DELETE, 0, &head(address, 0, index), |message| match address.addr() {
            IpAddr::V4(ip) => message.bytes(LOCAL, &ip.octets()),
            IpAddr::V6(ip) => message.bytes(ADDRESS, &ip.octets()),
        });
        match told {
            Ok(()) => Ok(true),
            Err(refusal) if refusal.code() == Some(Errno::EADDRNOTAVAIL as i32) => Ok(false),
            Err(refusal) => Err(refusal.of("remove address", format_args!("{address} from link {link}"))),
        }
    }

    /// The addresses of a link, of both families, with their prefix lengths.
    pub fn addresses(&self, link: &LinkName) -> Result<Vec<IpNet>, Error> {
        let index = self.index("list addresses of link", link)?;
        let all = self.all_addresses()?;
        Ok(all.into_iter().filter(|(owner, _)| *owner == index).map(|(_, address)| address).collect())
    }

    /// Every address in the namespace, with the number of its link.
    pub fn all_addresses(&self) -> Result<Vec<(u32, IpNet)>, Error> {
        self.dump(GET, &[0; 8], read).map_err(|refusal| refusal.of("list", "addresses"))
    }
}

fn head(address: IpNet, flags: u8, index: u32) -> [u8; 8] {
    let family = if address.addr().is_ipv4() { 2 } else { 10 };
    let mut bytes = [family, address.prefix_len(), flags, 0, 0, 0, 0, 0];
    bytes[4..].copy_from_slice(&index.to_ne_bytes());
    bytes
}

fn broadcast(address: IpNet) -> Option<Ipv4Addr> {
    match address {
        IpNet::V4(net) if net.prefix_len() < 31 => Some(net.broadcast()),
        _ => None,
    }
}

fn read(body: &[u8]) -> Option<(u32, IpNet)> {
    let prefix = *body.get(1)?;
    let index = read_u32(body, 4)?;
    let mut address = None;
    for (kind, payload) in attributes(body.get(8..)?) {
        // On links between two hosts ADDRESS is the other one's.
        if kind == LOCAL || (kind == ADDRESS && address.is_none()) {
            address = ip(payload);
        }
    }
    Some((index, IpNet::new(address?, prefix).ok()?))
}

pub(crate) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
