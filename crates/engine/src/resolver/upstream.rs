//! Whom a sandbox's resolver asks about names that are not ours, and when.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::ADDRESS;

/// Servers beyond these are not asked.
const MOST: usize = 3;

/// How long a question may take in all. The C library gives up after five seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// From where a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// From the host's namespace: the servers of the host's own `resolv.conf`, which may be on its loopback.
    Host,
    /// From the container's: those that the user named for it.
    Sandbox,
    /// From the container's, and no further than its own links.
    Nearby,
}

/// A server to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Upstream {
    /// Its address and port.
    pub(super) server: SocketAddr,
    /// From where.
    pub(super) origin: Origin,
}

/// How one sandbox's questions are dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Settings {
    /// Servers for what is not ours, in order.
    pub(super) upstreams: Vec<Upstream>,
    /// All of the sandbox's networks are internal: nothing may leave, not even a question.
    pub(super) internal: bool,
    /// A name without a dot is not asked of others, so that the client's search domains are tried.
    pub(super) dotless_stay: bool,
}

impl Settings {
    /// The servers that may be asked. From an internal network, a server among the neighbours may be asked, since
    /// that question does not leave; what the driver makes of `internal` is not relied upon.
    pub(super) fn servers(&self) -> Vec<Upstream> {
        let usable = |upstream: &Upstream| match upstream.origin {
            Origin::Host => (!self.internal).then_some(*upstream),
            _ if upstream.server.ip() == IpAddr::V4(ADDRESS) => None,
            _ if self.internal => Some(Upstream { origin: Origin::Nearby, ..*upstream }),
            _ => Some(*upstream),
        };
        self.upstreams.iter().filter_map(usable).take(MOST).collect()
    }
}

/// When each of so many servers is asked: one after the other, evenly over the patience; a single one twice.
/// A server that fails sooner makes the next one's turn come sooner.
pub(super) fn pause(servers: usize) -> Duration {
    PATIENCE / u32::try_from(servers.max(2)).unwrap_or(u32::MAX)
}

/// The servers in the order of their turns.
pub(super) fn turns(servers: &[Upstream]) -> Vec<Upstream> {
    match servers {
        [only] => vec![*only, *only],
        all => all.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(text: &str, origin: Origin) -> Upstream {
        Upstream { server: SocketAddr::new(text.parse().unwrap(), 53), origin }
    }

    fn settings(internal: bool) -> Settings {
        let upstreams = vec![
            upstream("127.0.0.53", Origin::Host),
            upstream("127.0.0.11", Origin::Sandbox),
            upstream("10.0.0.2", Origin::Sandbox),
            upstream("9.9.9.9", Origin::Sandbox),
            upstream("8.8.8.8", Origin::Sandbox),
        ];
        Settings { upstreams, internal, dotless_stay: false }
    }

    fn asked(settings: &Settings) -> Vec<(String, Origin)> {
        settings
            .servers()
            .iter()
            .map(|upstream| (upstream.server.ip().to_string(), upstream.origin))
            .collect()
    }

    #[test]
    fn three_are_asked_and_never_the_resolver_itself() {
        let expected =
            [("127.0.0.53", Origin::Host), ("10.0.0.2", Origin::Sandbox), ("9.9.9.9", Origin::Sandbox)];
        assert_eq!(asked(&settings(false)), expected.map(|(text, origin)| (text.to_owned(), origin)));
    }

    #[test]
    fn nothing_leaves_an_internal_network() {
        let asked = asked(&settings(true));
        assert!(asked.len() == 3 && asked.iter().all(|(_, origin)| *origin == Origin::Nearby), "{asked:?}");
    }

    #[test]
    fn all_turns_come_within_the_patience() {
        for count in 1..=3 {
            let servers = vec![upstream("1.1.1.1", Origin::Host); count];
            let turns = turns(&servers);
            assert!(turns.len() >= 2 && turns.len() >= count);
            assert!(pause(count) * u32::try_from(turns.len()).unwrap() <= PATIENCE);
        }
    }
}
