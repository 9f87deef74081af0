//! Questions to the packet filter that are too small for a program. Source: the kernel's
//! `include/uapi/linux/netfilter/nf_tables.h`.

use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;

use super::{Family, Ident, Nft};
use crate::{Error, Handle, message::attributes};

const GET_CHAIN: u16 = (10 << 8) | 4;
const TABLE: u16 = 1;
const NAME: u16 = 3;
const POLICY: u16 = 5;

/// What becomes of packets that no rule of a base chain decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// They go on.
    Accept,
    /// They end there.
    Drop,
}

/// What the kernel says of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainInfo {
    /// For base chains.
    pub policy: Option<Policy>,
}

impl Nft {
    /// Looks up a chain, without starting a program: takes microseconds. `None` if there is none.
    pub fn look_up(&self, family: Family, table: &Ident, chain: &Ident) -> Result<Option<ChainInfo>, Error> {
        let number = match family {
            Family::Inet => 1,
            Family::Ip => 2,
            Family::Bridge => 7,
            Family::Ip6 => 10,
        };
        let asked = self.handle()?.ask(
            GET_CHAIN,
            &[number, 0, 0, 0],
            |message| {
                message.text(TABLE, &table.to_string());
                message.text(NAME, &chain.to_string());
            },
            |body| {
                let policy = attributes(body.get(4..)?).find(|(kind, _)| *kind == POLICY);
                let policy = policy.and_then(|(_, value)| <[u8; 4]>::try_from(value).ok());
                // The numbers are those of verdicts.
                let policy = policy.map(u32::from_be_bytes).map(|number| match number {
                    0 => Policy::Drop,
                    _ => Policy::Accept,
                });
                Some(ChainInfo { policy })
            },
        );
        match asked {
            Err(refusal) if refusal.code() == Some(Errno::ENOENT as i32) => Ok(None),
            other => other.map_err(|refusal| {
                refusal.of("look up chain", format_args!("{chain} of table {family} {table}"))
            }),
        }
    }

    pub(super) fn handle(&self) -> Result<Handle, Error> {
        if let Some(handle) = self.handle.get() {
            return Ok(handle.clone());
        }
        let handle = match &self.namespace {
            Some(namespace) => namespace.run(|| Handle::open_protocol(NETLINK_NETFILTER))??,
            None => Handle::open_protocol(NETLINK_NETFILTER)?,
        };
        Ok(self.handle.get_or_init(|| handle).clone())
    }
}
