//! HTTP to whoever takes the lines.

use std::{io::Write, time::Duration};

use flate2::{Compression, write::GzEncoder};
use pintle_contract::{DriverError, ErrorKind};
use reqwest::{Client, RequestBuilder, StatusCode, Url};

use super::{connection::unavailable, options::Options, tls::Trust};

const CONNECT: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(30);
/// No answer that is looked at is larger.
const LARGEST: usize = 8 << 20;

/// A client that follows no redirect and obeys the engine's proxy variables.
pub(super) async fn client(trust: Trust) -> Result<Client, DriverError> {
    let config = crate::blocking(move || trust.config()).await?;
    Client::builder()
        .tls_backend_preconfigured(config)
        .connect_timeout(CONNECT)
        .timeout(REQUEST)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| DriverError::internal(format!("an HTTP client: {error}")))
}

/// An `http` or `https` address.
pub(super) fn url(options: &Options<'_>, key: &str, text: &str) -> Result<Url, DriverError> {
    let url = Url::parse(text).map_err(|error| options.bad(key, text, &error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(options.bad(key, text, "it must be http://HOST or https://HOST"));
    }
    Ok(url)
}

/// `base` with more path behind it.
pub(super) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let whole = format!("{}/{}", base.path().trim_end_matches('/'), path.trim_start_matches('/'));
    url.set_path(&whole);
    url
}

/// Packs a body.
pub(super) fn gzip(body: &[u8], level: Compression) -> Result<Vec<u8>, DriverError> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(body)?;
    Ok(encoder.finish()?)
}

/// Asks, and gives back the status with the body, whatever they are.
pub(super) async fn ask(request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), DriverError> {
    let mut response = request.send().await.map_err(|error| broken(&error))?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| broken(&error))? {
        body.extend_from_slice(&piece);
        if body.len() > LARGEST {
            return Err(DriverError::internal("the answer is too large"));
        }
    }
    Ok((status, body))
}

/// Asks, and gives back the body of a success. What is refused for what it is, is
/// [`InvalidArgument`](ErrorKind::InvalidArgument).
pub(super) async fn post(request: RequestBuilder) -> Result<Vec<u8>, DriverError> {
    let (status, body) = ask(request).await?;
    if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
}

/// What an answer that is no success means.
pub(super) fn refused(status: StatusCode, body: &[u8]) -> DriverError {
    let text = String::from_utf8_lossy(body);
    let kind = match status.as_u16() {
        400 | 413 | 422 => ErrorKind::InvalidArgument,
        401 | 403 => ErrorKind::PermissionDenied,
        404 => ErrorKind::NotFound,
        _ => ErrorKind::Unavailable,
    };
    DriverError::new(kind, format!("it answered {status}: {:.300}", text.trim()))
}

fn broken(error: &reqwest::Error) -> DriverError {
    // What it was about is in the causes.
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    unavailable(&"the request", &text)
}
