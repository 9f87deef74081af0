use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use pintle_contract::{DriverError, ErrorKind};

use super::{
    bases::{PoolBase, bounds},
    ranges::Ranges,
};

/// Pools that may not overlap.
#[derive(Debug)]
pub(super) struct Space {
    bases: Vec<PoolBase>,
    pools: BTreeMap<IpNet, Addresses>,
}

/// The addresses of a pool.
#[derive(Debug)]
pub(super) struct Addresses {
    subnet: IpNet,
    taken: Ranges,
    /// The ranges that are held of it; one that is `None` is the whole.
    holders: Vec<Option<IpNet>>,
    last: Option<u128>,
}

impl Space {
    pub(super) fn new(bases: Vec<PoolBase>) -> Self {
        Self { bases, pools: BTreeMap::new() }
    }

    /// Takes a pool, or a range of one. Several may each have a range of the same pool, and share its addresses.
    pub(super) fn take(&mut self, pool: IpNet, range: Option<IpNet>) -> Result<(), DriverError> {
        if let Some(range) = range
            && !pool.contains(&range)
        {
            let text = format!("invalid sub-pool: {range} is not part of {pool}");
            return Err(DriverError::invalid(text));
        }
        if let Some(held) = self.pools.get_mut(&pool) {
            if range.is_none() || held.holders.contains(&None) || held.holders.contains(&range) {
                return Err(overlap());
            }
            held.holders.push(range);
            return Ok(());
        }
        if self.pools.keys().any(|held| overlaps(held, &pool)) {
            return Err(overlap());
        }
        self.pools.insert(pool, Addresses::new(pool, range));
        Ok(())
    }

    /// Takes a pool of our choice that overlaps none of those held, nor any of `avoid`; of this `size`, if one is asked
    /// for.
    pub(super) fn choose(
        &mut self,
        v6: bool,
        size: Option<u8>,
        avoid: &[IpNet],
    ) -> Result<IpNet, DriverError> {
        let bases = self.bases.iter().filter(|base| base.is_v6() == v6);
        for base in bases.filter_map(|base| size.map_or(Some(*base), |size| base.cut_by(size))) {
            let mut from = 0;
            while let Some(pool) = base.pool_from(from) {
                let in_the_way = self.pools.keys().chain(avoid).filter(|other| overlaps(other, &pool));
                // A large subnet in the way is passed at once.
                match in_the_way.map(|other| bounds(*other).1).max() {
                    None => {
                        self.pools.insert(pool, Addresses::new(pool, None));
                        return Ok(pool);
                    }
                    Some(u128::MAX) => break,
                    Some(last) => from = last + 1,
                }
            }
        }
        Err(DriverError::new(
            ErrorKind::Unavailable,
            "all predefined address pools have been fully subnetted",
        ))
    }

    pub(super) fn give_back(&mut self, pool: IpNet, range: Option<IpNet>) {
        if let Some(held) = self.pools.get_mut(&pool) {
            held.holders.retain(|holder| *holder != range);
            if held.holders.is_empty() {
                self.pools.remove(&pool);
            }
        }
    }

    /// The pool, if it, or this range of it, is held.
    pub(super) fn pool(&mut self, pool: IpNet, range: Option<IpNet>) -> Option<&mut Addresses> {
        self.pools.get_mut(&pool).filter(|held| held.holders.contains(&range))
    }
}

fn overlap() -> DriverError {
    DriverError::new(
        ErrorKind::Conflict,
        "invalid pool request: Pool overlaps with other one on this address space",
    )
}

fn overlaps(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

impl Addresses {
    fn new(subnet: IpNet, range: Option<IpNet>) -> Self {
        let (first, last) = bounds(subnet);
        let mut taken = Ranges::default();
        let v4 = subnet.addr().is_ipv4();
        // The subnet itself, and for IPv6 the address of any router; links between two hosts have neither.
        if !v4 || last - first > 1 {
            taken.insert(first);
        }
        // Everybody.
        if v4 && last - first > 1 {
            taken.insert(last);
        }
        Self { subnet, taken, holders: vec![range], last: None }
    }

    /// Takes this address, which may lie outside of the range.
    pub(super) fn take(&mut self, address: IpAddr) -> Result<IpAddr, DriverError> {
        if !self.subnet.contains(&address) {
            let text = format!("requested address is out of range: {address} is not part of {}", self.subnet);
            return Err(DriverError::invalid(text));
        }
        if self.taken.insert(number(address)) {
            Ok(address)
        } else {
            Err(DriverError::new(ErrorKind::Conflict, "Address already in use"))
        }
    }

    /// Takes the lowest free address of the range, or, if `serial`, the next one after the last.
    pub(super) fn next(&mut self, range: Option<IpNet>, serial: bool) -> Option<IpAddr> {
        let (first, last) = bounds(range.unwrap_or(self.subnet));
        let from = self.last.filter(|at| serial && (first..last).contains(at)).map_or(first, |at| at + 1);
        let found = self.taken.free(from, last).or_else(|| self.taken.free(first, last))?;
        self.taken.insert(found);
        self.last = Some(found);
        if self.subnet.addr().is_ipv4() {
            u32::try_from(found).ok().map(|bits| Ipv4Addr::from_bits(bits).into())
        } else {
            Some(Ipv6Addr::from_bits(found).into())
        }
    }

    pub(super) fn release(&mut self, address: IpAddr) {
        let (first, last) = bounds(self.subnet);
        let number = number(address);
        let reserved = (number == first && (self.subnet.addr().is_ipv6() || last - first > 1))
            || (number == last && self.subnet.addr().is_ipv4() && last - first > 1);
        if self.subnet.contains(&address) && !reserved {
            self.taken.remove(number);
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}
