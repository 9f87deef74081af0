//! Checking credentials, as `POST /auth` wants it.

use reqwest::{Method, StatusCode, header::WWW_AUTHENTICATE};

use super::{
    Login, Registry, challenge,
    session::{Refusal, Session},
};
use crate::{Auth, ErrorKind, ImageError, reference::DEFAULT_DOMAIN};

impl Registry {
    /// Checks credentials with `server`: a host, or a URL as Docker's clients keep it; empty is the hub.
    pub async fn login(&self, server: &str, auth: &Auth) -> Result<Login, ImageError> {
        let domain = domain(server)?;
        let mut last = None;
        for endpoint in self.hosts().endpoints(&domain, true) {
            let session = Session {
                hosts: self.hosts(),
                tokens: std::sync::Arc::default(),
                endpoint,
                scope: String::new(),
                auth: auth.clone(),
            };
            match log_in(&session).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    last.get_or_insert(error);
                }
                result => return result,
            }
        }
        Err(last.unwrap_or_else(|| ImageError::unavailable("the registry has no endpoint")))
    }
}

async fn log_in(session: &Session) -> Result<Login, ImageError> {
    let url = session.url("/v2/")?;
    let client = session.hosts.client(&session.endpoint.host, session.endpoint.insecure)?;
    let first = client.get(url.clone()).send().await;
    let first = first.map_err(|error| super::session::transport(&Method::GET, &url, error))?;
    let done = |token: Option<String>| Login {
        status: "Login Succeeded".to_owned(),
        identity_token: token.unwrap_or_default(),
    };
    if first.status().is_success() {
        return Ok(done(None));
    }
    let challenges: Vec<_> = first
        .headers()
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(challenge::parse)
        .collect();
    if first.status() != StatusCode::UNAUTHORIZED {
        return Err(Refusal::read(first).await.into_error());
    }
    let mut identity = None;
    if let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer")
        && !matches!(session.auth, Auth::RegistryToken(_))
    {
        identity = session.token(bearer, true).await?.refresh_token;
    }
    let second = match session.send(Method::GET, url.clone(), |request| request).await {
        Ok(second) => second,
        Err(error) if error.kind() == ErrorKind::Unauthorized => {
            return Err(ImageError::new(
                ErrorKind::Unauthorized,
                format!("login attempt to {url} failed with status: 401 Unauthorized"),
            )
            .because(error));
        }
        Err(error) => return Err(error),
    };
    if second.status().is_success() {
        Ok(done(identity))
    } else {
        Err(Refusal::read(second).await.into_error())
    }
}

fn domain(server: &str) -> Result<String, ImageError> {
    let host = server.trim();
    let host = host.strip_prefix("https://").or_else(|| host.strip_prefix("http://")).unwrap_or(host);
    let host = host.split('/').next().unwrap_or_default();
    match host {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => Ok(DEFAULT_DOMAIN.to_owned()),
        // The name's grammar keeps anything but a host and a port out.
        host if format!("{host}/x").parse::<crate::Reference>().is_ok_and(|name| name.domain() == host) => {
            Ok(host.to_owned())
        }
        host if !host.contains(':') && format!("{host}:443/x").parse::<crate::Reference>().is_ok() => {
            Ok(host.to_owned())
        }
        _ => Err(ImageError::invalid(format!("invalid registry address {server:?}"))),
    }
}
