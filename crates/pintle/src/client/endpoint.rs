//! Which engine: flags, environment, Docker's contexts, or the sockets that usually exist.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ClientError;
use crate::json::Fields;

/// Pintle's own socket, then Docker's.
const DEFAULT_SOCKETS: [&str; 2] = ["/run/pintle.sock", "/var/run/docker.sock"];

/// The most that a context's metadata may be.
const MAX_CONTEXT: u64 = 1 << 20;

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`, with TLS if files are given.
    Tcp(String, Option<TlsFiles>),
    /// `ssh://[user@]host[:port]`: the remote `docker system dial-stdio`.
    Ssh(String),
}

/// TLS, as Docker's flags give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who signed the server's certificate.
    pub ca: PathBuf,
    /// This client's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whether the server's certificate is checked.
    pub verify: bool,
}

/// What the user said about the engine.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// `-H`.
    pub host: Option<String>,
    /// `--context`.
    pub context: Option<String>,
    /// `--config`, the directory.
    pub config_dir: PathBuf,
    /// `currentContext` of config.json.
    pub current_context: Option<String>,
    /// TLS flags, if any was given.
    pub tls: Option<TlsFiles>,
}

impl Selection {
    /// Docker's order: `-H`, `--context`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context, the usual sockets.
    pub fn resolve(&self) -> Result<Endpoint, ClientError> {
        if let Some(host) = &self.host {
            if self.context.is_some() {
                return Err(ClientError::Usage(
                    "conflicting options: cannot specify both --host and --context".into(),
                ));
            }
            return self.parse(host);
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        if self.context.is_none()
            && let Some(host) = variable("DOCKER_HOST")
        {
            return self.parse(&host);
        }
        let context =
            self.context.clone().or_else(|| variable("DOCKER_CONTEXT")).or(self.current_context.clone());
        if let Some(name) = context.filter(|name| name != "default") {
            return self.parse(&context_host(&self.config_dir, &name)?);
        }
        let found =
            DEFAULT_SOCKETS.iter().find(|path| Path::new(path).exists()).unwrap_or(&DEFAULT_SOCKETS[0]);
        Ok(Endpoint::Unix(PathBuf::from(found)))
    }

    fn parse(&self, host: &str) -> Result<Endpoint, ClientError> {
        let (scheme, rest) = host.split_once("://").unwrap_or(("tcp", host));
        match scheme {
            "unix" => {
                Ok(Endpoint::Unix(PathBuf::from(if rest.is_empty() { DEFAULT_SOCKETS[1] } else { rest })))
            }
            "tcp" | "http" | "https" => {
                let tls = self
                    .tls
                    .clone()
                    .or_else(|| (scheme == "https").then(|| TlsFiles::in_dir(&self.config_dir)));
                let address = rest.trim_end_matches('/');
                let port = if tls.is_some() { 2376 } else { 2375 };
                let has_port = address.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
                let address = match (address, has_port) {
                    ("", _) => format!("localhost:{port}"),
                    (address, true) if address.starts_with(':') => format!("localhost{address}"),
                    (address, true) => address.to_owned(),
                    (address, false) => format!("{address}:{port}"),
                };
                Ok(Endpoint::Tcp(address, tls))
            }
            "ssh" if !rest.is_empty() && !rest.starts_with('-') => Ok(Endpoint::Ssh(rest.to_owned())),
            _ => Err(ClientError::Usage(format!(
                "unable to parse docker host `{host}`: give unix://PATH, tcp://HOST:PORT or ssh://HOST"
            ))),
        }
    }
}

/// A context's host, from `contexts/meta/<sha256 of its name>/meta.json`.
fn context_host(config_dir: &Path, name: &str) -> Result<String, ClientError> {
    let id = hex::encode(Sha256::digest(name.as_bytes()));
    let path = config_dir.join("contexts/meta").join(id).join("meta.json");
    let unusable = |why: String| ClientError::Usage(format!("context {name:?} cannot be used: {why}"));
    let size = std::fs::metadata(&path)
        .map_err(|_| {
            unusable(format!("there is no {}; 'docker context ls' lists what there is", path.display()))
        })?
        .len();
    if size > MAX_CONTEXT {
        return Err(unusable(format!("{} is too large", path.display())));
    }
    let bytes = std::fs::read(&path).map_err(|e| unusable(e.to_string()))?;
    let meta: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|e| unusable(format!("{}: {e}", path.display())))?;
    let host = meta.at("Endpoints").at("docker").text("Host");
    if host.is_empty() { Err(unusable("it names no docker endpoint".into())) } else { Ok(host.to_owned()) }
}

impl TlsFiles {
    /// Docker's file names in `dir`.
    pub fn in_dir(dir: &Path) -> Self {
        Self { ca: dir.join("ca.pem"), cert: dir.join("cert.pem"), key: dir.join("key.pem"), verify: true }
    }
}

impl Endpoint {
    /// Whether this is a socket file.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address, _) => write!(f, "tcp://{address}"),
            Self::Ssh(target) => write!(f, "ssh://{target}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> String {
        let selection = Selection { host: Some(text.to_owned()), ..Selection::default() };
        selection.resolve().map_or_else(|e| e.to_string(), |e| e.to_string())
    }

    #[test]
    fn hosts_are_read_as_docker_reads_them() {
        for (text, endpoint) in [
            ("unix:///run/x.sock", "unix:///run/x.sock"),
            ("unix://", "unix:///var/run/docker.sock"),
            ("tcp://1.2.3.4:5", "tcp://1.2.3.4:5"),
            ("tcp://1.2.3.4", "tcp://1.2.3.4:2375"),
            ("tcp://:2375", "tcp://localhost:2375"),
            ("localhost:7", "tcp://localhost:7"),
            ("ssh://me@box", "ssh://me@box"),
        ] {
            assert_eq!(host(text), endpoint);
        }
        assert!(host("ssh://-oProxyCommand=x").contains("unable to parse"));
        assert!(host("npipe://x").contains("unable to parse"));
    }

    #[test]
    fn contexts_are_looked_up_by_the_digest_of_their_name() {
        let dir = tempfile::tempdir().unwrap();
        let id = hex::encode(Sha256::digest(b"far"));
        let meta = dir.path().join("contexts/meta").join(id);
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(
            meta.join("meta.json"),
            r#"{"Name":"far","Endpoints":{"docker":{"Host":"tcp://far:1"}}}"#,
        )
        .unwrap();
        let mut selection = Selection {
            context: Some("far".into()),
            config_dir: dir.path().to_owned(),
            ..Selection::default()
        };
        assert_eq!(selection.resolve().unwrap().to_string(), "tcp://far:1");
        selection.context = Some("near".into());
        assert!(selection.resolve().unwrap_err().to_string().contains("\"near\" cannot be used"));
    }
}
