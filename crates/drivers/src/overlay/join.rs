//! Taking part in a network: settling with the other hosts what it is, and getting a part of it.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;
use pintle_contract::{DriverError, ErrorKind};

use super::{
    etcd::{Etcd, Made},
    model::{Keys, Peer, Settings, hash, subnet_of},
};

/// VXLAN identifiers from here on; lower ones are often somebody's.
const FIRST_VNI: u32 = 0x1_0000;
const LAST_VNI: u32 = 0xff_ffff;
/// How often another host may be faster.
const TRIES: u32 = 32;

/// The network's settings as all hosts have them: those of whoever was first.
pub(super) async fn settle(
    etcd: &Etcd,
    keys: &Keys,
    pool: Ipv4Net,
    subnet_length: Option<u8>,
    port: u16,
) -> Result<Settings, DriverError> {
    let wanted = Settings {
        pool,
        subnet_length: subnet_length.unwrap_or_else(|| 24.max(pool.prefix_len() + 2)),
        vni: 0,
        port,
    };
    wanted.check()?;
    let key = keys.settings(pool);
    let known = etcd.list(&key).await?.pairs.into_iter().find(|pair| pair.key == key);
    let settings = match known {
        Some(pair) => read(pool, &pair.value)?,
        None => {
            let vni = identifier(etcd, keys, pool).await?;
            let settings = Settings { vni, ..wanted.clone() };
            match etcd.make(&key, &encode(&settings)?, None).await? {
                Made::Ours => settings,
                Made::Theirs(value) => read(pool, &value)?,
            }
        }
    };
    let length = subnet_length.unwrap_or(settings.subnet_length);
    if (settings.subnet_length, settings.port) != (length, port) {
        return Err(DriverError::new(
            ErrorKind::Conflict,
            format!(
                "the network {pool} exists on other hosts with subnet-length {} and port {}, here it is to have {length} and \
                 {port}",
                settings.subnet_length, settings.port
            ),
        ));
    }
    Ok(settings)
}

/// A VXLAN identifier that no other network has.
async fn identifier(etcd: &Etcd, keys: &Keys, pool: Ipv4Net) -> Result<u32, DriverError> {
    let owner = pool.to_string();
    let span = u64::from(LAST_VNI - FIRST_VNI) + 1;
    for step in 0..TRIES {
        let offset = (hash(&[&owner]) + u64::from(step)) % span;
        let vni = FIRST_VNI + u32::try_from(offset).unwrap_or(0);
        match etcd.make(&keys.vni(vni), owner.as_bytes(), None).await? {
            Made::Ours => return Ok(vni),
            // From an attempt that was cut short.
            Made::Theirs(value) if value == owner.as_bytes() => return Ok(vni),
            Made::Theirs(_) => {}
        }
    }
    Err(DriverError::new(ErrorKind::Unavailable, "no VXLAN identifier is free"))
}

/// Gets a part of the network for this host: `wanted`, the one that it has already, or any that is free.
pub(super) async fn acquire(
    etcd: &Etcd,
    keys: &Keys,
    settings: &Settings,
    own: &Peer,
    wanted: Option<Ipv4Net>,
    lease: i64,
) -> Result<Ipv4Net, DriverError> {
    let value = encode(own)?;
    for try_number in 0..u64::from(TRIES) {
        let mut taken = BTreeSet::new();
        for pair in etcd.list(&keys.subnets(settings.pool)).await?.pairs {
            let Some(subnet) = subnet_of(&pair.key) else { continue };
            // Ours, from a start that died before it was written down. Nobody else has all three the same.
            if pair.value == value && wanted.is_none_or(|wanted| wanted == subnet) {
                etcd.remove(&pair.key, &value).await?;
                continue;
            }
            taken.insert(subnet);
        }
        let subnet = match wanted {
            Some(wanted) if taken.contains(&wanted) => {
                let text = format!("{wanted} of the network {} is another host's", settings.pool);
                return Err(DriverError::new(ErrorKind::Conflict, text));
            }
            Some(wanted) => wanted,
            None => settings.free(&taken, hash(&[&own.host]).wrapping_add(try_number)).ok_or_else(|| {
                let text = format!("every part of {} is taken, by {} hosts", settings.pool, taken.len());
                DriverError::new(ErrorKind::Unavailable, text)
            })?,
        };
        if etcd.make(&keys.subnet(settings.pool, subnet), &value, Some(lease)).await? == Made::Ours {
            return Ok(subnet);
        }
    }
    Err(DriverError::new(ErrorKind::Unavailable, format!("too many hosts want a part of {}", settings.pool)))
}

fn read(pool: Ipv4Net, value: &[u8]) -> Result<Settings, DriverError> {
    let wrong = |why: &dyn std::fmt::Display| {
        DriverError::internal(format!("what etcd has of the network {pool} cannot be used: {why}"))
    };
    let settings: Settings = serde_json::from_slice(value).map_err(|error| wrong(&error))?;
    if settings.pool != pool || !(1..=LAST_VNI).contains(&settings.vni) {
        return Err(wrong(&"it is of another network"));
    }
    settings.check()?;
    Ok(settings)
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, DriverError> {
    serde_json::to_vec(value).map_err(|error| DriverError::internal(error.to_string()))
}
