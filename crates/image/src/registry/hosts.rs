//! Where a registry is and how to speak to it: schemes, certificates, mirrors.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, Once, PoisonError},
    time::Duration,
};

use reqwest::{Client, Url, redirect::Policy};

use super::certificates::Certificates;
use crate::{ImageError, Options, reference::DEFAULT_DOMAIN};

const HUB: &str = "registry-1.docker.io";
const CONNECT: Duration = Duration::from_secs(30);
/// How long a registry may say nothing in the middle of something.
const SILENCE: Duration = Duration::from_secs(60);

/// One base URL of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Scheme, host and port, and for a mirror perhaps a path; no slash at the end.
    pub base: String,
    /// The host as names and `certs.d` write it.
    pub host: String,
    /// Any certificate will do, and so will none.
    pub insecure: bool,
    /// Gets no credentials that were meant for the hub.
    pub mirror: bool,
}

pub(super) struct Hosts {
    options: Options,
    mirrors: Vec<Endpoint>,
    clients: Mutex<HashMap<(String, bool), Client>>,
    /// The endpoint that answered last time.
    working: Mutex<HashMap<String, String>>,
}

impl Hosts {
    pub fn new(options: Options) -> Result<Self, ImageError> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Somebody else in this process may have been first; theirs is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let mut mirrors = Vec::new();
        for mirror in &options.mirrors {
            let bad = || {
                ImageError::invalid(format!("invalid mirror: {mirror:?} is not an HTTP URL without a query"))
            };
            let url = Url::parse(mirror).map_err(|_| bad())?;
            let host = url.host_str().ok_or_else(bad)?;
            let plain =
                matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
            if !plain || !url.username().is_empty() {
                return Err(bad());
            }
            let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
            mirrors.push(Endpoint {
                base: url.as_str().trim_end_matches('/').to_owned(),
                insecure: is_insecure(&host, &options.insecure_registries),
                host,
                mirror: true,
            });
        }
        Ok(Self { options, mirrors, clients: Mutex::default(), working: Mutex::default() })
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Where to ask for what belongs to `domain`, best first.
    pub fn endpoints(&self, domain: &str, push: bool) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        let hub = domain == DEFAULT_DOMAIN;
        if hub && !push {
            endpoints.extend(self.mirrors.iter().cloned());
        }
        let host = if hub { HUB } else { domain };
        let insecure = is_insecure(host, &self.options.insecure_registries);
        let schemes: &[&str] = if insecure { &["https", "http"] } else { &["https"] };
        endpoints.extend(schemes.iter().map(|scheme| Endpoint {
            base: format!("{scheme}://{host}"),
            host: host.to_owned(),
            insecure,
            mirror: false,
        }));
        let working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(base) = working.get(domain) {
            endpoints.sort_by_key(|endpoint| !endpoint.mirror && endpoint.base != *base);
        }
        endpoints
    }

    /// Remembers which of a domain's schemes answered.
    pub fn remember(&self, domain: &str, endpoint: &Endpoint) {
        if endpoint.insecure && !endpoint.mirror {
            let mut working = self.working.lock().unwrap_or_else(PoisonError::into_inner);
            working.insert(domain.to_owned(), endpoint.base.clone());
        }
    }

    /// Forgets it again: the registry may have come back as something else.
    pub fn forget(&self, domain: &str) {
        self.working.lock().unwrap_or_else(PoisonError::into_inner).remove(domain);
    }

    /// The client for a host.
    pub fn client(&self, host: &str, insecure: bool) -> Result<Client, ImageError> {
        let key = (host.to_owned(), insecure);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = build(host, insecure, &self.options)?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

fn build(host: &str, insecure: bool, options: &Options) -> Result<Client, ImageError> {
    let mut builder = Client::builder()
        .redirect(Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .user_agent(concat!("pintle/", env!("CARGO_PKG_VERSION")));
    // A name with a slash never gets here, so this stays inside.
    builder = match Certificates::read(&options.certs_dir.join(host))? {
        Some(own) if !insecure => builder.tls_backend_preconfigured(own.into_config(true)?),
        Some(own) if own.has_identity() => builder.tls_backend_preconfigured(own.into_config(false)?),
        _ => builder.tls_danger_accept_invalid_certs(insecure),
    };
    // As in Docker, nobody is asked for what is on this host.
    builder = match &options.proxies {
        _ if is_loopback(host_of(host)) => builder.no_proxy(),
        Some(proxies) => proxies.apply(builder)?,
        None => builder,
    };
    builder.build().map_err(|error| {
        ImageError::internal(format!("preparing to speak to {host}: {}", super::session::cause(&error)))
            .because(error)
    })
}

/// Loopback always is; the rest as configured, by host or network.
fn is_insecure(host_port: &str, configured: &[String]) -> bool {
    if configured.iter().any(|entry| entry == host_port) {
        return true;
    }
    let host = host_of(host_port);
    if host == "localhost" || configured.iter().any(|entry| entry == host) {
        return true;
    }
    let networks: Vec<(IpAddr, u8)> = configured.iter().filter_map(|entry| network(entry)).collect();
    let inside = |address: IpAddr| {
        address.is_loopback() || networks.iter().any(|(network, bits)| contains(*network, *bits, address))
    };
    match host.parse() {
        Ok(address) => inside(address),
        // Only networks make it worth asking what a name stands for.
        Err(_) if networks.is_empty() => false,
        Err(_) => std::net::ToSocketAddrs::to_socket_addrs(&(host, 443))
            .is_ok_and(|mut addresses| addresses.any(|address| inside(address.ip()))),
    }
}

/// Without its port.
fn host_of(host_port: &str) -> &str {
    match host_port.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host_port.split(':').next().unwrap_or_default(),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn network(entry: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = entry.split_once('/')?;
    let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let same = |a: u128, b: u128, width: u8| bits == 0 || (a ^ b) >> (width - bits) == 0;
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            same(network.to_bits().into(), address.to_bits().into(), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => same(network.to_bits(), address.to_bits(), 128),
        _ => false,
    }
}

/// Shared, so that what began with old options ends with them.
pub(super) type SharedHosts = Arc<Hosts>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_and_what_is_configured() {
        let configured = ["10.0.0.0/8".to_owned(), "reg.test:5000".to_owned(), "fd00::/8".to_owned()];
        for host in ["localhost:5000", "127.3.2.1", "[::1]:5000", "10.1.2.3:80", "reg.test:5000", "[fd00::1]"]
        {
            assert!(is_insecure(host, &configured), "{host}");
        }
        for host in ["11.0.0.1", "8.8.8.8:443", "[fe80::1]"] {
            assert!(!is_insecure(host, &configured), "{host}");
        }
        assert!(!is_insecure("localhost.evil.test", &[]));
    }

    #[test]
    fn the_hub_has_mirrors_for_pulling_only() {
        let options = Options { mirrors: vec!["http://127.0.0.1:5000/x/".to_owned()], ..Options::default() };
        let hosts = Hosts::new(options).unwrap();
        let bases = |domain, push| {
            let endpoints = hosts.endpoints(domain, push);
            endpoints.into_iter().map(|endpoint| endpoint.base).collect::<Vec<_>>()
        };
        assert_eq!(bases("docker.io", false), ["http://127.0.0.1:5000/x", "https://registry-1.docker.io"]);
        assert_eq!(bases("docker.io", true), ["https://registry-1.docker.io"]);
        assert_eq!(bases("quay.io", false), ["https://quay.io"]);
        assert_eq!(bases("localhost:1", false), ["https://localhost:1", "http://localhost:1"]);
        let bad = Options { mirrors: vec!["ftp://x".to_owned()], ..Options::default() };
        assert!(Hosts::new(bad).is_err());
    }
}
