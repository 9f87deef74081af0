//! What networks ask of the kernel: namespaces, and interfaces in them.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use ipnet::IpNet;
use pintle_contract::network::MacAddress;
use pintle_netlink::{Error, ErrorKind, Handle, LinkChange, LinkName, Namespace, Route, Sysctl};

use crate::EngineError;

/// An interface on its way into a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Placement {
    /// Its name now: in the host's namespace, or in the sandbox if it was made there.
    pub(super) source: String,
    /// It is in the sandbox already.
    pub(super) inside: bool,
    /// What its name in the sandbox begins with; a number follows.
    pub(super) prefix: String,
    /// Its whole name in the sandbox; empty: the prefix and the first free number.
    pub(super) name: String,
    pub(super) addresses: Vec<IpNet>,
    pub(super) mac: Option<MacAddress>,
    /// Routes, with next hops and without.
    pub(super) routes: Vec<(IpNet, Option<IpAddr>)>,
    /// `net.ipv4.conf.IFNAME.x` and what it shall be.
    pub(super) sysctls: Vec<(String, String)>,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its name in the sandbox.
    pub(super) name: String,
    /// Its link-layer address.
    pub(super) mac: String,
    /// A setting took its IPv6 addresses away again.
    pub(super) without_v6: bool,
}

/// A default route: over which interface, and by way of whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WayOut {
    pub(super) interface: String,
    /// `None`: everything is on the link.
    pub(super) gateway: Option<IpAddr>,
}

/// The kernel. Every call is short.
#[async_trait]
pub(super) trait Kernel: Send + Sync + 'static {
    /// Makes a network namespace, loopback up, bound to a path.
    async fn make(&self, at: &Path) -> Result<(), EngineError>;

    /// Changes settings of the sandbox.
    async fn set(&self, at: &Path, settings: Vec<(String, String)>) -> Result<(), EngineError>;

    /// Removes it. None is fine.
    async fn remove(&self, at: &Path) -> Result<(), EngineError>;

    /// Names of what is bound in a directory of namespaces.
    async fn bound(&self, directory: &Path) -> Vec<String>;

    /// The first name that begins like this and is free in the sandbox.
    async fn free_name(&self, at: &Path, prefix: &str) -> Result<String, EngineError>;

    /// Brings an interface into the sandbox and sets it up. One that fails is where it was.
    async fn place(&self, at: &Path, placement: Placement) -> Result<Placed, EngineError>;

    /// Takes an interface out of the sandbox: back to the host under its old name, or away if it was made inside.
    async fn withdraw(&self, at: &Path, name: &str, source: &str, inside: bool) -> Result<(), EngineError>;

    /// Sets the sandbox's default routes in the place of those of `ours`. One that the container set itself stays, and
    /// there is no second one beside it.
    async fn way_out(
        &self,
        at: &Path,
        v4: Option<WayOut>,
        v6: Option<WayOut>,
        ours: Vec<WayOut>,
    ) -> Result<(), EngineError>;

    /// Every subnet that the host reaches.
    async fn subnets(&self) -> Vec<IpNet>;
}

/// The smallest largest packet of a link that has IPv6 (RFC 8200, section 5).
const SMALLEST_V6: u32 = 1280;

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Linux;

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(EngineError::internal(format!("the engine failed: {error}"))),
    }
}

impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        use crate::ErrorKind as Kind;
        let kind = match error.kind() {
            ErrorKind::Invalid => Kind::InvalidArgument,
            ErrorKind::Denied => Kind::Forbidden,
            ErrorKind::Unsupported | ErrorKind::ToolMissing => Kind::NotImplemented,
            _ => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

fn name_of(text: &str) -> Result<LinkName, EngineError> {
    Ok(text.parse::<LinkName>()?)
}

#[async_trait]
impl Kernel for Linux {
    async fn make(&self, at: &Path) -> Result<(), EngineError> {
        let at = at.to_owned();
        blocking(move || {
            if let Some(directory) = at.parent() {
                std::fs::create_dir_all(directory)?;
            }
            Namespace::create_at(&at)?;
            Ok(())
        })
        .await
    }

    async fn set(&self, at: &Path, settings: Vec<(String, String)>) -> Result<(), EngineError> {
        let at = at.to_owned();
        blocking(move || {
            let parsed: Vec<(Sysctl, String)> = settings
                .into_iter()
                .map(|(key, value)| Ok((key.parse::<Sysctl>()?, value)))
                .collect::<Result<_, EngineError>>()?;
            Ok(Namespace::open(&at)?.set_sysctls(&parsed)?)
        })
        .await
    }

    async fn remove(&self, at: &Path) -> Result<(), EngineError> {
        let at = at.to_owned();
        blocking(move || Ok(Namespace::remove(&at)?)).await
    }

    async fn bound(&self, directory: &Path) -> Vec<String> {
        let directory = directory.to_owned();
        let names = blocking(move || {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            Ok(entries.filter_map(|entry| entry.file_name().into_string().ok()).collect())
        });
        names.await.unwrap_or_default()
    }

    async fn free_name(&self, at: &Path, prefix: &str) -> Result<String, EngineError> {
        let (at, prefix) = (at.to_owned(), prefix.to_owned());
        blocking(move || {
            let taken = Namespace::open(&at)?.handle()?.links()?;
            Ok(free(&prefix, |name| taken.iter().any(|link| link.name == name)))
        })
        .await
    }

    async fn place(&self, at: &Path, placement: Placement) -> Result<Placed, EngineError> {
        let at = at.to_owned();
        blocking(move || place(&at, &placement)).await
    }

    async fn withdraw(&self, at: &Path, name: &str, source: &str, inside: bool) -> Result<(), EngineError> {
        let (at, name, source) = (at.to_owned(), name.to_owned(), source.to_owned());
        blocking(move || {
            let sandbox = match Namespace::open(&at) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                opened => opened?,
            };
            withdraw(&sandbox, &name_of(&name)?, &source, inside)
        })
        .await
    }

    async fn way_out(
        &self,
        at: &Path,
        v4: Option<WayOut>,
        v6: Option<WayOut>,
        ours: Vec<WayOut>,
    ) -> Result<(), EngineError> {
        let at = at.to_owned();
        blocking(move || way_out(&at, v4, v6, &ours)).await
    }

    async fn subnets(&self) -> Vec<IpNet> {
        let listed = blocking(|| Ok(Namespace::current()?.handle()?.subnets_in_use()?)).await;
        listed.unwrap_or_else(|error| {
            tracing::warn!(%error, "which subnets this host uses is not known; new pools may overlap them");
            Vec::new()
        })
    }
}

fn free(prefix: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut number = 0u32;
    loop {
        let name = format!("{prefix}{number}");
        if !taken(&name) {
            return name;
        }
        number += 1;
    }
}

fn place(at: &Path, placement: &Placement) -> Result<Placed, EngineError> {
    let sandbox = Namespace::open(at)?;
    let source = name_of(&placement.source)?;
    if !placement.inside {
        let host = Namespace::current()?.handle()?;
        refuse_the_hosts_own(&host, &source)?;
        let there = LinkChange { namespace: Some(sandbox.clone()), ..LinkChange::default() };
        host.change_link(&source, &there).map_err(|error| {
            EngineError::from(error).context("cannot move the interface into the sandbox")
        })?;
    }
    let placed = settle(&sandbox, &source, placement);
    if placed.is_err()
        && let Err(error) = withdraw(&sandbox, &source, &placement.source, placement.inside)
    {
        tracing::warn!(link = %source, %error, "an interface that could not be set up stays in its sandbox");
    }
    placed
}

/// A link that the host uses is no container's, whatever a driver says: without it nobody might reach the host.
fn refuse_the_hosts_own(host: &Handle, source: &LinkName) -> Result<(), EngineError> {
    let Some(link) = host.link(source)? else { return Ok(()) };
    let is_of_the_host = |address: &&IpNet| match address {
        IpNet::V4(_) => true,
        IpNet::V6(net) => !net.addr().is_unicast_link_local(),
    };
    let why = match host.addresses(source)?.iter().find(is_of_the_host) {
        Some(address) => format!("it has the address {address}"),
        None if link.master.is_some() => "it is a port of a bridge".to_owned(),
        None => return Ok(()),
    };
    Err(EngineError::internal(format!("{source} is in use on the host: {why}")))
}

fn settle(sandbox: &Namespace, source: &LinkName, placement: &Placement) -> Result<Placed, EngineError> {
    let links = sandbox.handle()?;
    let name = if placement.name.is_empty() {
        let taken = links.links()?;
        let prefix = if placement.prefix.is_empty() { "eth" } else { &placement.prefix };
        free(prefix, |name| name != source.as_str() && taken.iter().any(|link| link.name == name))
    } else {
        placement.name.clone()
    };
    let name = name_of(&name)?;
    let renamed = || -> Result<(), EngineError> {
        let rename = (name != *source).then(|| name.clone());
        let now = links.link(source)?.unwrap_or_default();
        if rename.is_some() || placement.mac.is_some_and(|mac| now.mac != Some(mac)) {
            if now.up {
                links.change_link(source, &LinkChange { up: Some(false), ..LinkChange::default() })?;
            }
            links.change_link(
                source,
                &LinkChange { name: rename, mac: placement.mac, ..LinkChange::default() },
            )?;
        }
        Ok(())
    };
    renamed().map_err(|error| error.context(format!("cannot call the interface {name}")))?;
    let configured = configure(sandbox, &name, placement);
    if configured.is_err() && name != *source {
        let back = LinkChange { name: Some(source.clone()), up: Some(false), ..LinkChange::default() };
        let _ = links.change_link(&name, &LinkChange { up: Some(false), ..LinkChange::default() });
        let _ = links.change_link(&name, &back);
    }
    configured
}

fn configure(sandbox: &Namespace, name: &LinkName, placement: &Placement) -> Result<Placed, EngineError> {
    let links = sandbox.handle()?;
    let wants_v6 = placement.addresses.iter().any(|address| matches!(address, IpNet::V6(_)));
    let mut settings = Vec::new();
    // A kernel without IPv6 has nothing to turn off.
    // Nor has a link that is too narrow for it.
    let narrow = !wants_v6 && links.link(name)?.is_some_and(|link| link.mtu < SMALLEST_V6);
    if !narrow && Path::new("/proc/sys/net/ipv6").exists() {
        let value = if wants_v6 { "0" } else { "1" };
        settings.push((Sysctl::of_link("ipv6", "conf", name, "disable_ipv6"), value.to_owned()));
    }
    for (key, value) in &placement.sysctls {
        let key = key.replace("IFNAME", &name.as_str().replace('.', "/"));
        settings.push((key.parse::<Sysctl>()?, value.clone()));
    }
    for address in &placement.addresses {
        if !matches!(address, IpNet::V6(_)) {
            links.add_address(name, *address)?;
        }
    }
    sandbox.set_sysctls(&settings)?;
    for address in &placement.addresses {
        if matches!(address, IpNet::V6(_)) {
            match links.add_address(name, *address) {
                // A setting of the user's forbids it.
                Err(error) if error.kind() == ErrorKind::Denied => {}
                other => other?,
            }
        }
    }
    links.set_up(name)?;
    for (destination, next_hop) in &placement.routes {
        links.set_route(name, &Route::new(*destination, *next_hop))?;
    }
    let there = if wants_v6 { links.addresses(name)? } else { Vec::new() };
    let wanted = placement.addresses.iter().filter(|address| matches!(address, IpNet::V6(_)));
    let without_v6 = wants_v6 && !wanted.clone().all(|address| there.contains(address));
    let link = links.link(name)?.unwrap_or_default();
    let mac = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
    Ok(Placed { name: name.to_string(), mac, without_v6 })
}

fn withdraw(sandbox: &Namespace, name: &LinkName, source: &str, inside: bool) -> Result<(), EngineError> {
    let links = sandbox.handle()?;
    if links.link(name)?.is_none() {
        return Ok(());
    }
    if inside || source.is_empty() {
        sandbox.remove_link(name)?;
        return Ok(());
    }
    links.change_link(name, &LinkChange { up: Some(false), ..LinkChange::default() })?;
    let source = name_of(source)?;
    if source != *name {
        links.change_link(name, &LinkChange { name: Some(source.clone()), ..LinkChange::default() })?;
    }
    let host = Namespace::current()?;
    links.change_link(&source, &LinkChange { namespace: Some(host), ..LinkChange::default() })?;
    Ok(())
}

fn way_out(at: &Path, v4: Option<WayOut>, v6: Option<WayOut>, ours: &[WayOut]) -> Result<(), EngineError> {
    let links = Namespace::open(at)?.handle()?;
    let everywhere = |six: bool| {
        if six { IpNet::V6(ipnet::Ipv6Net::default()) } else { IpNet::V4(ipnet::Ipv4Net::default()) }
    };
    let wanted: Vec<(LinkName, Route)> = [(v4, false), (v6, true)]
        .into_iter()
        .filter_map(|(way, six)| way.map(|way| (way, six)))
        .map(|(way, six)| Ok((name_of(&way.interface)?, Route::new(everywhere(six), way.gateway))))
        .collect::<Result<_, EngineError>>()?;
    let all = links.links()?;
    let number = |name: &LinkName| all.iter().find(|link| link.name == name.as_str()).map(|link| link.index);
    let (mut there, mut others) = (Vec::new(), Vec::new());
    for route in links.routes()?.into_iter().filter(|route| route.is_default() && route.table == 254) {
        let same = wanted.iter().position(|(name, want)| {
            number(name) == route.link
                && want.gateway == route.gateway
                && want.destination == route.destination
        });
        match same {
            Some(position) => there.push(position),
            None => others.push(route),
        }
    }
    for route in others {
        let over = all.iter().find(|link| Some(link.index) == route.link);
        let of_ours = |way: &WayOut| {
            over.is_some_and(|link| link.name == way.interface)
                && (way.gateway.is_none() || way.gateway == route.gateway)
        };
        // IPv6 has routers that advertise themselves.
        if route.destination.addr().is_ipv4() && !ours.iter().any(of_ours) {
            if wanted.iter().any(|(_, want)| want.destination == route.destination) {
                return Err(EngineError::internal("file exists"));
            }
            continue;
        }
        if let Some(name) = over.and_then(|link| link.name.parse::<LinkName>().ok()) {
            links.remove_route(&name, &route)?;
        }
    }
    for (position, (name, route)) in wanted.iter().enumerate() {
        if !there.contains(&position) {
            links.set_route(name, route)?;
        }
    }
    Ok(())
}

/// Where a container's namespace is bound.
pub(super) fn namespace_path(directory: &Path, container: &str) -> PathBuf {
    directory.join(container.get(..12).unwrap_or(container))
}
