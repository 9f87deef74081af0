//! Requests with the right credentials, to the right host and to no other.

use std::{
    collections::HashMap,
    error::Error as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::Engine as _;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE},
};
use serde::Deserialize;

use super::{
    challenge::{self, Challenge},
    hosts::{Endpoint, Hosts},
};
use crate::{Auth, ErrorKind, ImageError};

const MAX_REDIRECTS: usize = 10;
/// What an error's body or a token may weigh.
const MAX_REPLY: usize = 1 << 20;
/// Registries that do not say how long a token lives mean a minute (distribution's token specification).
const TOKEN_LIFE: Duration = Duration::from_secs(60);
const MAX_TOKENS: usize = 1000;

/// Authorization headers by where, what for and who.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<Asker, (HeaderValue, Instant)>>);

/// The endpoint, the scope and the user.
type Asker = (String, String, Auth);

impl Tokens {
    fn get(&self, key: &Asker) -> Option<HeaderValue> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(key).filter(|(_, until)| *until > Instant::now()).map(|(header, _)| header.clone())
    }

    fn put(&self, key: Asker, header: HeaderValue, life: Duration) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        tokens.retain(|_, (_, until)| *until > now);
        if tokens.len() < MAX_TOKENS {
            tokens.insert(key, (header, now + life));
        }
    }

    fn remove(&self, key: &Asker) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// One repository at one endpoint for one user.
pub(super) struct Session {
    pub hosts: Arc<Hosts>,
    pub tokens: Arc<Tokens>,
    pub endpoint: Endpoint,
    /// `repository:library/x:pull`; empty at login.
    pub scope: String,
    pub auth: Auth,
}

/// What a token server answers.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct TokenReply {
    token: Option<String>,
    access_token: Option<String>,
    pub refresh_token: Option<String>,
    expires_in: Option<u64>,
}

impl Session {
    pub fn url(&self, path: &str) -> Result<Url, ImageError> {
        let url = format!("{}{path}", self.endpoint.base);
        Url::parse(&url).map_err(|error| ImageError::invalid(format!("{url}: {error}")))
    }

    fn key(&self) -> Asker {
        (self.endpoint.base.clone(), self.scope.clone(), self.auth.clone())
    }

    fn is_ours(&self, url: &Url) -> bool {
        Url::parse(&self.endpoint.base).is_ok_and(|base| base.origin() == url.origin())
    }

    /// Sends a request, with credentials if the registry asks for them, and follows redirects of reads. `shape`
    /// may be called again when the request has to be. Any status is a success here but 401.
    pub async fn send(
        &self,
        method: Method,
        url: Url,
        shape: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, ImageError> {
        let mut url = url;
        let mut authenticated = false;
        for _ in 0..MAX_REDIRECTS {
            let ours = self.is_ours(&url);
            let host = if ours { self.endpoint.host.clone() } else { authority(&url) };
            let client = self.hosts.client(&host, self.endpoint.insecure && ours)?;
            let mut request = shape(client.request(method.clone(), url.clone()));
            if ours && let Some(header) = self.authorization() {
                request = request.header(AUTHORIZATION, header);
            }
            let response = request.send().await.map_err(|error| transport(&method, &url, error))?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && ours {
                if authenticated {
                    return Err(refused(&method, &url, response).await);
                }
                authenticated = true;
                self.authenticate(&method, &url, response).await?;
                continue;
            }
            if !status.is_redirection() || !matches!(method, Method::GET | Method::HEAD) {
                return Ok(response);
            }
            let Some(next) = response.headers().get(LOCATION) else { return Ok(response) };
            url = self.follow(&url, next)?;
        }
        Err(ImageError::unavailable(format!("{method} \"{url}\": more than {MAX_REDIRECTS} redirects")))
    }

    /// Where a redirect or an upload goes on. Never from TLS to plain HTTP, and only to HTTP at all.
    pub fn follow(&self, from: &Url, location: &HeaderValue) -> Result<Url, ImageError> {
        let bad = || ImageError::unavailable(format!("\"{from}\" sends us to an unusable place"));
        let next = from.join(location.to_str().map_err(|_| bad())?).map_err(|_| bad())?;
        let allowed = next.scheme() == "https"
            || next.scheme() == "http" && (from.scheme() == "http" || self.is_ours(&next));
        if !allowed || next.host_str().is_none() {
            return Err(bad());
        }
        Ok(next)
    }

    fn authorization(&self) -> Option<HeaderValue> {
        match &self.auth {
            Auth::RegistryToken(token) => secret(format!("Bearer {token}")),
            _ => self.tokens.get(&self.key()),
        }
    }

    async fn authenticate(&self, method: &Method, url: &Url, response: Response) -> Result<(), ImageError> {
        let challenges: Vec<Challenge> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|header| header.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        self.tokens.remove(&self.key());
        if let Auth::RegistryToken(_) = self.auth {
            return Err(refused(method, url, response).await);
        }
        if let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
            self.token(bearer, false).await?;
            return Ok(());
        }
        if challenges.iter().any(|challenge| challenge.scheme == "basic") {
            let Auth::Basic { user, pass } = &self.auth else {
                return Err(ImageError::new(
                    ErrorKind::Unauthorized,
                    format!("{} \"{url}\": no basic auth credentials", title(method)),
                ));
            };
            if let Some(header) = basic(user, pass) {
                self.tokens.put(self.key(), header, Duration::from_secs(3600));
            }
            return Ok(());
        }
        Err(refused(method, url, response).await)
    }

    /// Asks the realm for a token and keeps it. `offline` also asks for a refresh token.
    pub async fn token(&self, challenge: &Challenge, offline: bool) -> Result<TokenReply, ImageError> {
        let parameter = |name: &str| challenge.parameters.get(name).map(String::as_str).unwrap_or_default();
        let bad = || {
            ImageError::unavailable(format!(
                "the registry's token server {:?} is unusable",
                parameter("realm")
            ))
        };
        let mut realm = Url::parse(parameter("realm")).map_err(|_| bad())?;
        // Passwords go there: the registry says where, but not in the clear unless it speaks so itself.
        let clear =
            realm.scheme() == "http" && (self.endpoint.insecure || self.endpoint.base.starts_with("http:"));
        if realm.scheme() != "https" && !clear {
            return Err(bad());
        }
        let client = self.hosts.client(&authority(&realm), self.endpoint.insecure)?;
        let service = parameter("service");
        let request = match &self.auth {
            Auth::IdentityToken(refresh) => {
                let mut form = Url::parse("form:").map_err(|_| bad())?;
                form.query_pairs_mut()
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("service", service)
                    .append_pair("client_id", "docker")
                    .append_pair("scope", &self.scope)
                    .append_pair("refresh_token", refresh);
                client
                    .post(realm.clone())
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.query().unwrap_or_default().to_owned())
            }
            auth => {
                {
                    let mut query = realm.query_pairs_mut();
                    if !service.is_empty() {
                        query.append_pair("service", service);
                    }
                    if !self.scope.is_empty() {
                        query.append_pair("scope", &self.scope);
                    }
                    if let Auth::Basic { user, .. } = auth {
                        query.append_pair("account", user);
                    }
                    if offline {
                        query.append_pair("offline_token", "true").append_pair("client_id", "docker");
                    }
                }
                let request = client.get(realm.clone());
                match auth {
                    Auth::Basic { user, pass } => {
                        request.header(AUTHORIZATION, basic(user, pass).ok_or_else(bad)?)
                    }
                    _ => request,
                }
            }
        };
        let response = request.send().await.map_err(|error| transport(&Method::GET, &realm, error))?;
        if !response.status().is_success() {
            realm.set_query(None);
            return Err(refused(&Method::GET, &realm, response).await);
        }
        let reply: TokenReply =
            serde_json::from_slice(&body(response, MAX_REPLY).await?).map_err(|_| bad())?;
        let token = reply.token.as_ref().or(reply.access_token.as_ref()).filter(|token| !token.is_empty());
        let header = token.and_then(|token| secret(format!("Bearer {token}"))).ok_or_else(bad)?;
        // A token that ends while it is on its way is of no use.
        let life =
            reply.expires_in.map_or(TOKEN_LIFE, |seconds| Duration::from_secs(seconds.clamp(1, 86_400)));
        self.tokens.put(self.key(), header, life.mul_f32(0.9));
        Ok(reply)
    }
}

pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn basic(user: &str, pass: &str) -> Option<HeaderValue> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{pass}"));
    secret(format!("Basic {pair}"))
}

fn secret(text: String) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn title(method: &Method) -> String {
    let name = method.as_str();
    format!("{}{}", &name[..1], name[1..].to_ascii_lowercase())
}

/// The innermost cause, which is the one that says something.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Nobody answered, or stopped in the middle.
pub(super) fn transport(method: &Method, url: &Url, error: reqwest::Error) -> ImageError {
    let why =
        if error.is_timeout() && error.source().is_none() { "timed out".to_owned() } else { cause(&error) };
    let mut shown = url.clone();
    shown.set_query(None);
    ImageError::unavailable(format!("{} \"{shown}\": {why}", title(method))).because(error)
}

/// Reads a reply, up to a limit.
pub(super) async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, ImageError> {
    let url = response.url().clone();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&Method::GET, &url, error))? {
        if bytes.len() + chunk.len() > limit {
            return Err(ImageError::corrupt(format!("\"{url}\" answers with more than {limit} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// A registry's error: its first code and message in Docker's words.
pub(super) struct Refusal {
    pub status: StatusCode,
    pub code: String,
    pub text: String,
}

impl Refusal {
    pub async fn read(response: Response) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Body {
            errors: Vec<Item>,
            details: String,
            message: String,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Item {
            code: String,
            message: String,
        }
        let status = response.status();
        let bytes = body(response, MAX_REPLY).await.unwrap_or_default();
        let parsed: Body = serde_json::from_slice(&bytes).unwrap_or_default();
        let (code, text) = match parsed.errors.into_iter().next() {
            Some(item) => {
                let words = item.code.to_lowercase().replace('_', " ");
                (item.code, format!("{words}: {}", item.message))
            }
            None if !parsed.details.is_empty() => {
                (String::new(), format!("unauthorized: {}", parsed.details))
            }
            None if !parsed.message.is_empty() => (String::new(), parsed.message),
            // Replies to HEAD have no body.
            None if status == StatusCode::UNAUTHORIZED => {
                ("UNAUTHORIZED".to_owned(), "unauthorized: authentication required".to_owned())
            }
            None if status == StatusCode::FORBIDDEN => {
                ("DENIED".to_owned(), "denied: requested access to the resource is denied".to_owned())
            }
            None => (String::new(), format!("unexpected status from the registry: {status}")),
        };
        Self { status, code, text: text.chars().take(2000).collect() }
    }

    pub fn kind(&self) -> ErrorKind {
        match self.status.as_u16() {
            401 => ErrorKind::Unauthorized,
            403 => ErrorKind::Forbidden,
            404 => ErrorKind::NotFound,
            408 | 429 | 500..=599 => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        }
    }

    pub fn into_error(self) -> ImageError {
        ImageError::new(self.kind(), self.text)
    }
}

async fn refused(method: &Method, url: &Url, response: Response) -> ImageError {
    let refusal = Refusal::read(response).await;
    let mut shown = url.clone();
    shown.set_query(None);
    ImageError::new(refusal.kind(), format!("{} \"{shown}\": {}", title(method), refusal.text))
}
