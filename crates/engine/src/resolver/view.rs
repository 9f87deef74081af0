//! What the resolver asks about the names of containers.

use std::net::{IpAddr, SocketAddr};

use super::upstream::{Origin, Settings, Upstream};
use crate::networks::{Answer, Names};

/// The names that one sandbox can see. Asked for each query, on the resolver's own thread.
///
/// Names arrive in lower case and without a dot at the end.
pub(super) trait View: Send + Sync + 'static {
    /// Adds the addresses of `name`, of both families, to `found`, which is empty. `false`: this is no name of
    /// ours, so that others may be asked for it.
    fn addresses(&self, name: &str, found: &mut Vec<IpAddr>) -> bool;

    /// The full name (`container.network`) of whoever has this address.
    fn name_of(&self, address: IpAddr) -> Option<String>;

    /// How to deal with what is not ours.
    fn settings(&self) -> Settings;
}

impl View for Names {
    fn addresses(&self, name: &str, found: &mut Vec<IpAddr>) -> bool {
        match self.resolve(name) {
            Answer::Known(addresses) => {
                *found = addresses;
                true
            }
            Answer::Unknown => false,
        }
    }

    fn name_of(&self, address: IpAddr) -> Option<String> {
        self.reverse(address)
    }

    fn settings(&self) -> Settings {
        let upstream = self.upstream();
        let origin = |from_host| if from_host { Origin::Host } else { Origin::Sandbox };
        let servers = upstream.servers.iter().map(|server| Upstream {
            server: SocketAddr::new(server.address, 53),
            origin: origin(server.from_host),
        });
        Settings {
            upstreams: servers.collect(),
            internal: !upstream.allowed,
            dotless_stay: upstream.dotless_stay,
        }
    }
}

/// Ports of services that people look for by name (IANA's registry). A number is always understood.
const WELL_KNOWN: &[(&str, u16)] = &[
    ("amqp", 5672),
    ("domain", 53),
    ("ftp", 21),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("imap", 143),
    ("imaps", 993),
    ("kerberos", 88),
    ("ldap", 389),
    ("ldaps", 636),
    ("mqtt", 1883),
    ("mongodb", 27017),
    ("mysql", 3306),
    ("nfs", 2049),
    ("ntp", 123),
    ("postgresql", 5432),
    ("redis", 6379),
    ("sip", 5060),
    ("smtp", 25),
    ("ssh", 22),
    ("submission", 587),
    ("syslog", 514),
    ("xmpp-client", 5222),
    ("xmpp-server", 5269),
];

/// The port that the service part of an SRV name means.
pub(super) fn port_of(service: &str) -> Option<u16> {
    service
        .parse()
        .ok()
        .or_else(|| WELL_KNOWN.iter().find(|(name, _)| *name == service).map(|(_, port)| *port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_known_by_number_and_by_name() {
        assert_eq!(port_of("8443"), Some(8443));
        assert_eq!(port_of("http"), Some(80));
        assert_eq!(port_of("nonsense"), None);
        assert_eq!(port_of("70000"), None);
    }
}
