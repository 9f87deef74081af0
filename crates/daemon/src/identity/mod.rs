//! Who asks: by a client's certificate, a unix socket's credentials, or a token of those who front the API.
//!
//! Docker knows the name in a certificate and nothing else. The rest is there where the configuration asks for it (`identity`).

mod jwt;
mod verify;

use http::{StatusCode, header};

use self::jwt::Tokens;
use crate::{http::call::Head, peer::Peer, status::Failure};

/// What the configuration says of identities.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// On unix sockets, who asks is whose process it is.
    pub unix: bool,
    /// In certificates, the first host name counts, and not the common name.
    pub host_names: bool,
    /// Tokens that are understood.
    pub jwt: Option<JwtSettings>,
}

/// Tokens that are understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSettings {
    /// Who must have issued them.
    pub issuer: String,
    /// For whom they must be.
    pub audience: String,
    /// A file, or an address, with the issuer's keys.
    pub jwks: String,
    /// The authority of that address's certificate, a PEM file; `None`: the host's.
    pub jwks_ca: Option<std::path::PathBuf>,
    /// The claim that names the user.
    pub user_claim: String,
    /// The claim that has the user's groups: texts, or one text with spaces.
    pub groups_claim: String,
    /// Over TCP nothing is done without one.
    pub required: bool,
}

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// Empty where the engine does not know.
    pub(crate) user: String,
    /// How it knows: `TLS`, `unix` or `JWT`.
    pub(crate) authentication: &'static str,
    pub(crate) groups: Vec<String>,
    /// Other names in its certificate.
    pub(crate) names: Vec<String>,
    /// The name of the process's user.
    account: String,
}

impl Client {
    /// Its name, or else that of its process's user; empty if it has none.
    pub(crate) fn who(&self) -> &str {
        if self.user.is_empty() { &self.account } else { &self.user }
    }
}

/// Tells who asks.
#[derive(Debug)]
pub(crate) struct Identity {
    settings: Settings,
    tokens: Option<Tokens>,
}

impl Identity {
    /// Reads the keys, where they are a file. Keys at an address are fetched with the first token.
    pub(crate) fn open(settings: &Settings) -> Result<Self, String> {
        let tokens = settings.jwt.clone().map(Tokens::open).transpose()?;
        Ok(Self { settings: settings.clone(), tokens })
    }

    /// Whether somebody can be turned away for who they are.
    pub(crate) fn decides(&self) -> bool {
        self.tokens.is_some()
    }

    /// Who asks, or why that is nobody who may ask anything.
    pub(crate) async fn of(&self, head: &Head) -> Result<Client, Failure> {
        let peer = &head.peer;
        let Some(tokens) = &self.tokens else { return Ok(self.of_peer(peer)) };
        let bearer = head.headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        match bearer {
            Some(token) => {
                let known = tokens.verify(token).await.map_err(|why| {
                    unauthorized(format!("the token in the Authorization header is not accepted: {why}"))
                })?;
                let of_peer = self.of_peer(peer);
                Ok(Client { user: known.user, authentication: "JWT", groups: known.groups, ..of_peer })
            }
            None if tokens.settings.required && peer.process.is_none() => Err(unauthorized(
                "this engine wants a token on TCP: send \"Authorization: Bearer TOKEN\" (HttpHeaders in the client's \
                 config.json)",
            )),
            None => Ok(self.of_peer(peer)),
        }
    }

    fn of_peer(&self, peer: &Peer) -> Client {
        if !peer.certificates.is_empty() {
            let first = peer.host_names.first().filter(|_| self.settings.host_names);
            return Client {
                user: first.unwrap_or(&peer.common_name).clone(),
                authentication: "TLS",
                groups: peer.organisations.clone(),
                names: peer.host_names.clone(),
                account: String::new(),
            };
        }
        let Some(account) = peer.account() else { return Client::default() };
        let (user, authentication) = match self.settings.unix {
            true => (account.name.clone(), "unix"),
            false => (String::new(), ""),
        };
        Client {
            user,
            authentication,
            groups: account.groups.clone(),
            names: Vec::new(),
            account: account.name.clone(),
        }
    }
}

fn unauthorized(message: impl Into<String>) -> Failure {
    Failure::new(StatusCode::UNAUTHORIZED, message)
}

/// The token of an `Authorization` header.
fn bearer(value: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
