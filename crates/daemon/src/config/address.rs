use std::{fmt, path::PathBuf};

/// Where the API listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
    /// Sockets that systemd opened; `None`: all of them.
    Fd(Option<u32>),
}

/// The ports of dockerd.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

impl Address {
    /// Reads one `--host`.
    pub(crate) fn parse(text: &str, tls: bool) -> Result<Self, String> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            Some(parts) => parts,
            // As dockerd: a bare path is a unix socket, anything else a tcp address.
            None if text.starts_with('/') => ("unix", text),
            None => ("tcp", text),
        };
        match scheme {
            "unix" if rest.is_empty() => Ok(Self::Unix(super::DEFAULT_SOCKET.into())),
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" => Err(format!("invalid host {text:?}: the path of a unix socket must be absolute")),
            "fd" => match rest {
                "" | "*" => Ok(Self::Fd(None)),
                number => number
                    .parse()
                    .map(|number| Self::Fd(Some(number)))
                    .map_err(|_| format!("invalid host {text:?}: expected fd:// or fd://<number>")),
            },
            "tcp" => {
                let rest = rest.trim_end_matches('/');
                let (host, port) = match rest.rsplit_once(':') {
                    Some((host, port)) if !port.contains(']') => (host, port),
                    _ => (rest, ""),
                };
                let port = match port {
                    "" if tls => TLS_PORT,
                    "" => PLAIN_PORT,
                    port => {
                        port.parse().map_err(|_| format!("invalid host {text:?}: {port:?} is not a port"))?
                    }
                };
                let host = if host.is_empty() { "127.0.0.1" } else { host };
                Ok(Self::Tcp(format!("{host}:{port}")))
            }
            scheme => {
                Err(format!("invalid host {text:?}: {scheme} is not supported; use unix://, tcp:// or fd://"))
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Fd(None) => f.write_str("fd://"),
            Self::Fd(Some(number)) => write!(f, "fd://{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let read = |text| Address::parse(text, false).map(|address| address.to_string());
        assert_eq!(read("unix:///a/b"), Ok("unix:///a/b".into()));
        assert_eq!(read("unix://"), Ok("unix:///run/pintle.sock".into()));
        assert_eq!(read("/a/b"), Ok("unix:///a/b".into()));
        assert_eq!(read("fd://"), Ok("fd://".into()));
        assert_eq!(read("fd://3"), Ok("fd://3".into()));
        assert_eq!(read("tcp://0.0.0.0:1"), Ok("tcp://0.0.0.0:1".into()));
        assert_eq!(read("tcp://:1"), Ok("tcp://127.0.0.1:1".into()));
        assert_eq!(read("tcp://[::1]"), Ok("tcp://[::1]:2375".into()));
        assert_eq!(read("tcp://[::1]:7/"), Ok("tcp://[::1]:7".into()));
        assert_eq!(Address::parse("tcp://", true).unwrap().to_string(), "tcp://127.0.0.1:2376");
        for bad in ["unix://a", "npipe://x", "tcp://a:b", "fd://x"] {
            read(bad).unwrap_err();
        }
    }
}
