use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pintle_contract::DriverError;

/// A block from which pools are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolBase {
    base: IpNet,
    size: u8,
}

impl PoolBase {
    /// Pools with prefixes of `size` bits out of `base`.
    pub fn new(base: IpNet, size: u8) -> Result<Self, DriverError> {
        if size < base.prefix_len() || size > base.max_prefix_len() {
            let text = format!("invalid default address pool: size {size} does not fit into {base}");
            return Err(DriverError::invalid(text));
        }
        Ok(Self { base: base.trunc(), size })
    }

    /// The same block cut into pools of another size, if they fit into it.
    pub(super) fn cut_by(self, size: u8) -> Option<Self> {
        Self::new(self.base, size).ok()
    }

    /// Whether its pools are IPv6.
    pub fn is_v6(&self) -> bool {
        self.base.addr().is_ipv6()
    }

    /// The first of its pools that begins at or behind `from`, an address of it as a number.
    pub(super) fn pool_from(&self, from: u128) -> Option<IpNet> {
        let (first, last) = bounds(self.base);
        let step = 1u128.checked_shl(u32::from(self.base.max_prefix_len() - self.size))?;
        let start = from.max(first).checked_next_multiple_of(step)?;
        if start > last { None } else { net(start, self.size, self.is_v6()) }
    }
}

/// The pools that a driver chooses from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPools {
    pub(super) local: Vec<PoolBase>,
    pub(super) global: Vec<PoolBase>,
}

impl AddressPools {
    /// Docker's: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20 and on, for networks of this host; 10.0.0.0/24 and
    /// on for networks across hosts. For IPv6, /64s of a /48 for local use (RFC 4193) that `engine` alone decides, so
    /// that it is the same after every start and another one on the next host.
    pub fn standard(engine: &str) -> Self {
        let v4 = |a, b, prefix, size| {
            base(IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), prefix)), size)
        };
        let local = vec![
            v4(172, 17, 16, 16),
            v4(172, 18, 15, 16),
            v4(172, 20, 14, 16),
            v4(172, 24, 13, 16),
            v4(192, 168, 16, 20),
            private_v6(engine),
        ];
        Self { local, global: vec![v4(10, 0, 8, 24)] }
    }

    /// These in the place of Docker's. Where they have no IPv6, it is as in [`standard`](Self::standard).
    pub fn configured(bases: Vec<PoolBase>, engine: &str) -> Self {
        let mut pools = Self::standard(engine);
        if bases.is_empty() {
            return pools;
        }
        pools.local = bases;
        if !pools.local.iter().any(PoolBase::is_v6) {
            pools.local.push(private_v6(engine));
        }
        pools
    }
}

/// One that is known to fit.
fn base(base: IpNet, size: u8) -> PoolBase {
    PoolBase { base, size }
}

/// `fd`, then 40 bits of a hash (FNV-1a: it has to be stable, not secret).
fn private_v6(engine: &str) -> PoolBase {
    let hash = engine.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let folded = (hash ^ (hash >> 40)) & 0xff_ffff_ffff;
    let bits = (0xfdu128 << 120) | (u128::from(folded) << 80);
    base(IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), 48)), 64)
}

/// The first and the last address of a subnet as numbers.
pub(super) fn bounds(net: IpNet) -> (u128, u128) {
    match net {
        IpNet::V4(net) => (net.network().to_bits().into(), net.broadcast().to_bits().into()),
        IpNet::V6(net) => (net.network().to_bits(), net.broadcast().to_bits()),
    }
}

fn net(start: u128, prefix: u8, v6: bool) -> Option<IpNet> {
    if v6 {
        return Ipv6Net::new(Ipv6Addr::from_bits(start), prefix).ok().map(IpNet::V6);
    }
    Ipv4Net::new(Ipv4Addr::from_bits(u32::try_from(start).ok()?), prefix).ok().map(IpNet::V4)
}
