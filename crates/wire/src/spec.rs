//! Legacy discovery files: `NAME.spec` holds a URL, `NAME.json` an address and TLS settings.

use std::{fmt, path::PathBuf};

use crate::{
    jsonc,
    object::{DecodeError, Object},
};

/// Where a legacy plugin listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`, plain HTTP.
    Tcp(String),
    /// `host:port`, HTTP over TLS.
    Tls(String, TlsConfig),
}

/// How to talk TLS to a legacy plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// Accept any certificate. Docker does so whenever `ca_file` is missing, and so does this.
    pub insecure_skip_verify: bool,
    /// The authority that must have signed the plugin's certificate.
    pub ca_file: Option<PathBuf>,
    /// The certificate to present.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// A discovery file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The address names no known scheme.
    #[error("Unknown protocol in the address {0:?}: unix, tcp, http and https are known")]
    UnknownProtocol(String),
    /// The address names nothing after its scheme.
    #[error("the address {0:?} is empty after its scheme")]
    Empty(String),
    /// The file is not JSON of the right shape.
    #[error(transparent)]
    Json(#[from] jsonc::Error),
}

impl Address {
    /// Reads an address such as a `.spec` file holds; TLS addresses accept any certificate, as in Docker.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        Self::with_tls(text, None)
    }

    fn with_tls(text: &str, tls: Option<TlsConfig>) -> Result<Self, SpecError> {
        let text = text.trim();
        let unknown = || SpecError::UnknownProtocol(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(unknown)?;
        let host = rest.split('/').next().unwrap_or_default().to_owned();
        let address = match scheme {
            "unix" => Self::Unix(PathBuf::from(rest)),
            "tcp" | "http" => Self::Tcp(host.clone()),
            "https" => Self::Tls(host.clone(), tls.unwrap_or_else(TlsConfig::any)),
            _ => return Err(unknown()),
        };
        let empty = if scheme == "unix" { rest.is_empty() } else { host.is_empty() };
        if empty { Err(SpecError::Empty(text.to_owned())) } else { Ok(address) }
    }

    /// Reads a `.json` file. Its `Name` is ignored: the file's name counts.
    pub fn parse_json(text: &[u8]) -> Result<Self, SpecError> {
        let (address, tls) = jsonc::decode(text, |value| {
            let root = Object::root(value)?;
            let tls = root.object("TLSConfig")?.map(|object| TlsConfig::decode(&object)).transpose()?;
            Ok((root.string("Addr")?, tls))
        })?;
        Self::with_tls(&address, tls)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
            Self::Tls(host, _) => write!(f, "https://{host}"),
        }
    }
}

impl TlsConfig {
    fn any() -> Self {
        Self { insecure_skip_verify: true, ..Self::default() }
    }

    fn decode(object: &Object<'_>) -> Result<Self, DecodeError> {
        let path = |name| -> Result<Option<PathBuf>, DecodeError> {
            Ok(object.optional_string(name)?.filter(|text| !text.is_empty()).map(PathBuf::from))
        };
        let ca_file = path("CAFile")?;
        let insecure_skip_verify = object.bool("InsecureSkipVerify")? || ca_file.is_none();
        Ok(Self { insecure_skip_verify, ca_file, cert_file: path("CertFile")?, key_file: path("KeyFile")? })
    }
}
