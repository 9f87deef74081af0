use std::{net::IpAddr, path::PathBuf, time::Duration};

use super::{
    network::{interface, parsed},
    raw::OverlayEntry,
};

/// The port that Flannel and the kernel use for VXLAN.
const PORT: u16 = 8472;
/// How long a host that is not heard of keeps its part.
const LEASE: Duration = Duration::from_secs(24 * 3600);
/// Below which key of etcd everything stands.
const PREFIX: &str = "/pintle/overlay";

/// Networks across hosts: where hosts meet, and how their tunnels go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// etcd's addresses, tried in this order.
    pub etcd: Vec<String>,
    /// Authorities that etcd's certificates come from; the system's if there is none.
    pub ca: Option<PathBuf>,
    /// This host's certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// User and password.
    pub user: Option<(String, String)>,
    /// Below which key everything stands.
    pub prefix: String,
    /// The interface that carries the tunnels; the one of the default route, if `None`.
    pub interface: Option<String>,
    /// The address of this host for the others; the interface's, if `None`.
    pub address: Option<IpAddr>,
    /// The WireGuard interface that carries them instead.
    pub wireguard: Option<String>,
    /// The UDP port of the tunnels.
    pub port: u16,
    /// How long a host that is not heard of keeps its part.
    pub lease: Duration,
}

impl Overlay {
    /// Reads `plugins.overlay`; `None` if it is not wanted. Mistakes are told whether it is or not.
    pub(super) fn check(entry: &OverlayEntry) -> Result<Option<Self>, String> {
        let wrong = |key: &str, why: &str| format!("invalid plugins.overlay.{key}: {why}");
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        for endpoint in &entry.etcd {
            let rest = endpoint.strip_prefix("http://").or_else(|| endpoint.strip_prefix("https://"));
            if rest.is_none_or(str::is_empty) {
                return Err(wrong(
                    "etcd",
                    &format!("{endpoint:?} must be http://HOST:PORT or https://HOST:PORT"),
                ));
            }
        }
        let file = |key: &str, text: &Option<String>| match some(text).map(PathBuf::from) {
            Some(path) if !path.is_absolute() => {
                Err(wrong(key, &format!("{path:?} must be an absolute path")))
            }
            path => Ok(path),
        };
        let overlay = Self {
            etcd: entry.etcd.clone(),
            ca: file("etcd-ca", &entry.etcd_ca)?,
            certificate: match (file("etcd-cert", &entry.etcd_cert)?, file("etcd-key", &entry.etcd_key)?) {
                (Some(certificate), Some(key)) => Some((certificate, key)),
                (None, None) => None,
                _ => {
                    return Err(wrong(
                        "etcd-cert",
                        "a certificate needs its key, etcd-key, and the other way round",
                    ));
                }
            },
            user: match some(&entry.etcd_user) {
                None => None,
                Some(text) => Some(
                    text.split_once(':')
                        .map(|(user, password)| (user.to_owned(), password.to_owned()))
                        .ok_or_else(|| wrong("etcd-user", "it must be USER:PASSWORD"))?,
                ),
            },
            prefix: match some(&entry.prefix) {
                None => PREFIX.to_owned(),
                Some(prefix) if prefix.starts_with('/') && !prefix.ends_with('/') => prefix,
                Some(prefix) => {
                    return Err(wrong(
                        "prefix",
                        &format!("{prefix:?} must begin with a slash and not end with one"),
                    ));
                }
            },
            interface: some(&entry.interface)
                .map(|name| interface("plugins.overlay.interface", &name))
                .transpose()?,
            address: parsed("plugins.overlay.address", entry.address.as_ref(), "an IP address")?,
            wireguard: some(&entry.wireguard)
                .map(|name| interface("plugins.overlay.wireguard", &name))
                .transpose()?,
            port: match entry.port {
                None => PORT,
                Some(port) => u16::try_from(port)
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(|| wrong("port", &format!("{port} must be between 1 and 65535")))?,
            },
            lease: match some(&entry.lease) {
                None => LEASE,
                Some(text) => {
                    duration(&text).filter(|lease| *lease >= Duration::from_secs(5)).ok_or_else(|| {
                        wrong("lease", &format!("{text:?} must be a time such as 24h, at least 5s"))
                    })?
                }
            },
        };
        if !entry.enabled {
            return Ok(None);
        }
        if overlay.etcd.is_empty() {
            return Err(wrong("etcd", "it must name where etcd is, such as [\"http://10.0.0.1:2379\"]"));
        }
        Ok(Some(overlay))
    }
}

/// `90s`, `30m`, `24h`.
fn duration(text: &str) -> Option<Duration> {
    let unit = match text.chars().next_back()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    let count: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    Some(Duration::from_secs(count.checked_mul(unit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Overlay>, String> {
        Overlay::check(&serde_json::from_str(text).map_err(|error| error.to_string())?)
    }

    #[test]
    fn what_is_needed_is_where_etcd_is() {
        let plain = read(r#"{"enabled": true, "etcd": ["http://10.0.0.1:2379"]}"#).unwrap().unwrap();
        assert_eq!((plain.port, plain.lease, plain.prefix.as_str()), (PORT, LEASE, PREFIX));
        let full = read(
            r#"{"enabled": true, "etcd": ["https://a:1", "https://b:1"], "etcd-ca": "/ca", "etcd-cert": "/c",
                "etcd-key": "/k", "etcd-user": "u:p:q", "prefix": "/x/y", "interface": "eth1", "address": "10.0.0.2",
                "wireguard": "wg0", "port": 4789, "lease": "90s"}"#,
        )
        .unwrap()
        .unwrap();
        assert_eq!(full.user, Some(("u".to_owned(), "p:q".to_owned())));
        assert_eq!(full.certificate, Some(("/c".into(), "/k".into())));
        assert_eq!((full.lease.as_secs(), full.port), (90, 4789));
        assert_eq!(read("{}").unwrap(), None);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            (r#"{"enabled": true}"#, "plugins.overlay.etcd: it must name where etcd is"),
            (r#"{"etcd": ["10.0.0.1:2379"]}"#, "must be http://HOST:PORT"),
            (r#"{"etcd-cert": "/c"}"#, "a certificate needs its key"),
            (r#"{"etcd-ca": "ca"}"#, "must be an absolute path"),
            (r#"{"etcd-user": "u"}"#, "it must be USER:PASSWORD"),
            (r#"{"prefix": "x/"}"#, "must begin with a slash"),
            (r#"{"interface": "a/b"}"#, "plugins.overlay.interface"),
            (r#"{"address": "x"}"#, "plugins.overlay.address"),
            (r#"{"port": 0}"#, "must be between 1 and 65535"),
            (r#"{"lease": "1s"}"#, "at least 5s"),
            (r#"{"lease": "soon"}"#, "at least 5s"),
            (r#"{"etc": []}"#, "unknown field `etc`"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
