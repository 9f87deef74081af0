//! An IPAM plugin: addresses from ranges in a text file, the same ones for the same container. See README.md.

use std::collections::{BTreeMap, BTreeSet};
use std::{env, fs, io, net::IpAddr, path::PathBuf, process::ExitCode, sync::Mutex};

use pintle_sdk::ipnet::{IpAddrRange, IpNet, Ipv4AddrRange, Ipv6AddrRange};
use pintle_sdk::{DriverError, ErrorKind, IpamDriver, async_trait, ipam::*};
use serde::{Deserialize, Serialize};

/// A line of the file: `SUBNET FIRST LAST [GATEWAY]`.
struct Line {
    subnet: IpNet,
    range: IpAddrRange,
    gateway: Option<IpAddr>,
}

fn parse(line: &str) -> Option<Line> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [net, first, last, gateway @ ..] = &words[..] else { return None };
    let range = match (first.parse().ok()?, last.parse().ok()?) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Ipv4AddrRange::new(first, last).into(),
        (IpAddr::V6(first), IpAddr::V6(last)) => Ipv6AddrRange::new(first, last).into(),
        _ => return None,
    };
    let gateway = gateway.first().map(|text| text.parse()).transpose().ok()?;
    Some(Line { subnet: net.parse().ok()?, range, gateway })
}

/// `STATE/leases.json`: what is held, and the name of whoever had an address last.
#[derive(Default, Clone, Serialize, Deserialize)]
struct Leases {
    pools: BTreeMap<IpNet, BTreeSet<IpAddr>>,
    last: BTreeMap<IpAddr, String>,
}

struct Ranges {
    file: PathBuf,
    state: PathBuf,
    leases: Mutex<Leases>,
}

impl Ranges {
    fn open(file: PathBuf, state: PathBuf) -> Result<Self, DriverError> {
        fs::create_dir_all(&state)?;
        let leases = match fs::read(state.join("leases.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Mutex::default(),
            text => serde_json::from_slice(&text?).map_err(io::Error::from)?,
        };
        Ok(Self { file, state, leases })
    }

    /// Read anew each time, so that whoever edits the file need tell nobody.
    fn lines(&self) -> Result<Vec<Line>, DriverError> {
        let text = fs::read_to_string(&self.file)?;
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let odd = |line| DriverError::internal(format!("{line:?} is not SUBNET FIRST LAST [GATEWAY]"));
        lines.filter(|line| !line.is_empty()).map(|line| parse(line).ok_or_else(|| odd(line))).collect()
    }

    /// Writes down what changes before it is so. A kill leaves the old file or the new one.
    fn change<T>(&self, act: impl FnOnce(&mut Leases) -> Result<T, DriverError>) -> Result<T, DriverError> {
        let mut leases = self.leases.lock().map_err(|_| DriverError::internal("a call panicked"))?;
        let (mut next, draft) = (leases.clone(), self.state.join("leases.json.new"));
        let done = act(&mut next)?;
        fs::write(&draft, serde_json::to_vec(&next).map_err(io::Error::from)?)?;
        fs::File::open(&draft)?.sync_all()?;
        fs::rename(draft, self.state.join("leases.json"))?;
        *leases = next;
        Ok(done)
    }
}

#[async_trait]
impl IpamDriver for Ranges {
    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        Ok(AddressSpaces { local: "ranges".to_owned(), global: "ranges".to_owned() })
    }

    async fn request_pool(&self, request: PoolRequest) -> Result<Pool, DriverError> {
        if request.sub_pool.is_some() {
            return Err(DriverError::new(ErrorKind::Unsupported, "ranges are in the file"));
        }
        let (lines, missing) = (self.lines()?, || DriverError::not_found("the file has no such subnet"));
        self.change(|Leases { pools, .. }| {
            let is_free = |net: IpNet| net.addr().is_ipv6() == request.v6 && !pools.contains_key(&net);
            let suits =
                |line: &&Line| request.pool.map_or_else(|| is_free(line.subnet), |it| it == line.subnet);
            let Line { subnet, gateway, .. } = lines.iter().find(suits).ok_or_else(missing)?;
            if pools.insert(*subnet, BTreeSet::new()).is_some() {
                return Err(DriverError::new(ErrorKind::Conflict, format!("{subnet} is in use")));
            }
            let gateway = gateway.map(|address| format!("{address}/{}", subnet.prefix_len()));
            let data = gateway.into_iter().map(|gateway| (label::GATEWAY.to_owned(), gateway)).collect();
            Ok(Pool { id: subnet.to_string(), pool: *subnet, data })
        })
    }

    async fn release_pool(&self, pool: &str) -> Result<(), DriverError> {
        self.change(|Leases { pools, .. }| {
            pools.retain(|subnet, _| subnet.to_string() != pool);
            Ok(())
        })
    }

    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError> {
        let (lines, unknown) = (self.lines()?, || DriverError::not_found("no such pool"));
        self.change(|Leases { pools, last }| {
            let line = lines.iter().find(|line| line.subnet.to_string() == request.pool);
            let Line { subnet, range, gateway } = line.ok_or_else(unknown)?;
            let held = pools.get_mut(subnet).ok_or_else(unknown)?;
            let name = request.options.get(label::ENDPOINT_NAME);
            let free = |one: &IpAddr| !held.contains(one) && Some(*one) != *gateway;
            let choose = |of: &dyn Fn(&IpAddr) -> bool| range.take(1 << 16).find(|one| free(one) && of(one));
            // Its own of last time, one that nobody ever had, or else one that somebody left.
            let any = || {
                let own = choose(&|one| name.is_some() && last.get(one) == name);
                own.or_else(|| choose(&|one| !last.contains_key(one))).or_else(|| choose(&|_| true))
            };
            let Some(address) = request.address.or_else(any) else {
                return Err(DriverError::new(ErrorKind::Unavailable, format!("{subnet} is full")));
            };
            if !subnet.contains(&address) {
                return Err(DriverError::invalid(format!("{address} is not in {subnet}")));
            }
            if !held.insert(address) {
                return Err(DriverError::new(ErrorKind::Conflict, format!("{address} is in use")));
            }
            last.extend(name.map(|name| (address, name.clone())));
            let whole = IpNet::new(address, subnet.prefix_len());
            let address = whole.map_err(|error| DriverError::internal(error.to_string()))?;
            Ok(Address { address, data: BTreeMap::new() })
        })
    }

    async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), DriverError> {
        self.change(|Leases { pools, .. }| {
            let held = pools.iter_mut().filter(|(subnet, _)| subnet.to_string() == pool);
            held.for_each(|(_, held)| held.retain(|one| *one != address));
            Ok(())
        })
    }
}

fn main() -> ExitCode {
    let read = |name: &str, default: &str| env::var(name).unwrap_or(default.to_owned());
    let (name, file) = (read("PLUGIN_NAME", "ipam-ranges"), read("RANGES", "/etc/ipam-ranges"));
    let ranges = Ranges::open(file.into(), read("STATE", "/var/lib/ipam-ranges").into());
    pintle_sdk::run(async move { Ok(pintle_sdk::serve_ipam(&name, ranges?).await?) })
}
