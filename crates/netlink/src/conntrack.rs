//! The kernel's table of connections. Sources: `include/uapi/linux/netfilter/{nfnetlink,nfnetlink_conntrack}.h`.

use std::net::{IpAddr, SocketAddr};

use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;

use crate::{Error, Handle, Namespace, address::ip, message::attributes};

const GET: u16 = (1 << 8) | 1;
const DELETE: u16 = (1 << 8) | 2;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ZONE: u16 = 18;
const NESTED: u16 = 0x8000;

const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;

/// A connection, or what looks like one to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The transport protocol's number.
    pub protocol: u8,
    /// Who began, as seen by them.
    pub from: SocketAddr,
    /// Whom they wanted.
    pub to: SocketAddr,
    /// Who answers, which differs if addresses are translated.
    pub answered_by: SocketAddr,
}

impl Namespace {
    /// Makes the kernel forget the connections that `which` picks, so that their next packet is looked at as a first
    /// one. Says how many there were.
    ///
    /// Packets of a UDP "connection" keep going where the first one went, whatever the rules say by now.
    pub fn forget_flows(&self, which: impl Fn(&Flow) -> bool) -> Result<usize, Error> {
        let handle = self.run(|| Handle::open_protocol(NETLINK_NETFILTER))??;
        let mut forgotten = 0;
        for family in [2u8, 10] {
            let head = [family, 0, 0, 0];
            let rows = handle
                .dump(GET, &head, |body| read(body).filter(|(flow, _, _)| which(flow)))
                .map_err(|refusal| refusal.of("list", "connections"))?;
            for (flow, original, zone) in rows {
                let told = handle.tell(DELETE, 0, &head, |message| {
                    message.bytes(ORIGINAL | NESTED, &original);
                    if let Some(zone) = &zone {
                        message.bytes(ZONE, zone);
                    }
                });
                match told {
                    Ok(()) => forgotten += 1,
                    Err(refusal) if refusal.code() == Some(Errno::ENOENT as i32) => {}
                    Err(refusal) => {
                        return Err(
                            refusal.of("forget connection", format_args!("{} to {}", flow.from, flow.to))
                        );
                    }
                }
            }
        }
        Ok(forgotten)
    }
}

type Row = (Flow, Vec<u8>, Option<Vec<u8>>);

fn read(body: &[u8]) -> Option<Row> {
    let (mut original, mut reply, mut zone) = (None, None, None);
    for (kind, payload) in attributes(body.get(4..)?) {
        match kind {
            ORIGINAL => original = Some(payload),
            REPLY => reply = Some(payload),
            ZONE => zone = Some(payload.to_vec()),
            _ => {}
        }
    }
    let original = original?;
    let (protocol, from, to) = tuple(original)?;
    let (_, answered_by, _) = tuple(reply?)?;
    Some((Flow { protocol, from, to, answered_by }, original.to_vec(), zone))
}

fn tuple(list: &[u8]) -> Option<(u8, SocketAddr, SocketAddr)> {
    let (mut source, mut destination) = (None::<IpAddr>, None::<IpAddr>);
    let (mut protocol, mut from, mut to) = (0, 0, 0);
    for (kind, payload) in attributes(list) {
        for (field, value) in attributes(payload) {
            let port = || <[u8; 2]>::try_from(value).map(u16::from_be_bytes).unwrap_or_default();
            match (kind, field) {
                (TUPLE_ADDRESSES, 1 | 3) => source = ip(value),
                (TUPLE_ADDRESSES, 2 | 4) => destination = ip(value),
                (TUPLE_PROTOCOL, 1) => protocol = value.first().copied().unwrap_or_default(),
                (TUPLE_PROTOCOL, 2) => from = port(),
                (TUPLE_PROTOCOL, 3) => to = port(),
                _ => {}
            }
        }
    }
    Some((protocol, SocketAddr::new(source?, from), SocketAddr::new(destination?, to)))
}
