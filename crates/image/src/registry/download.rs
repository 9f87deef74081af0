//! Plain files over HTTP, for `docker import URL`.

use std::io;

use futures_util::TryStreamExt as _;
use reqwest::{Method, Url, header::LOCATION};
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::{
    Registry,
    session::{authority, body, transport},
};
use crate::{ErrorKind, ImageError, Progress};

const MAX_REDIRECTS: usize = 10;
/// How much of an error page is shown.
const MAX_SHOWN: usize = 1 << 10;

impl Registry {
    /// Opens a file that a web server has. An address without a scheme is plain HTTP, as in Docker. What arrives
    /// is reported as `Importing`.
    pub async fn download(
        &self,
        address: &str,
        progress: &Progress,
    ) -> Result<impl AsyncRead + Send + Unpin + 'static + use<>, ImageError> {
        let address = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let invalid = |why: &str| ImageError::invalid(format!("parse \"{address}\": {why}"));
        let mut url = Url::parse(&address).map_err(|error| invalid(&error.to_string()))?;
        for _ in 0..MAX_REDIRECTS {
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                return Err(invalid("only files on web servers can be imported"));
            }
            let client = self.hosts().client(&authority(&url), false)?;
            let request = client.get(url.clone());
            let response = request.send().await.map_err(|error| transport(&Method::GET, &url, error))?;
            let status = response.status();
            if status.is_redirection() {
                let next =
                    response.headers().get(LOCATION).and_then(|next| url.join(next.to_str().ok()?).ok());
                url = next.ok_or_else(|| invalid("the server sends us to an unusable place"))?;
                continue;
            }
            if !status.is_success() {
                let page = body(response, MAX_SHOWN).await.unwrap_or_default();
                let kind = match status.as_u16() {
                    404 => ErrorKind::NotFound,
                    401 => ErrorKind::Unauthorized,
                    403 => ErrorKind::Forbidden,
                    400..500 => ErrorKind::InvalidArgument,
                    _ => ErrorKind::Unavailable,
                };
                let page = String::from_utf8_lossy(&page).trim().to_owned();
                let text = format!("failed to GET {url} with status {status}: {page}");
                return Err(ImageError::new(kind, text));
            }
            progress.message(format!("Downloading from {url}"));
            let bar = progress.bar("", "Importing", response.content_length());
            let pieces = response.bytes_stream().map_err(io::Error::other);
            return Ok(StreamReader::new(Box::pin(
                pieces.inspect_ok(move |piece| bar.add(piece.len() as u64)),
            )));
        }
        Err(ImageError::unavailable(format!("\"{url}\": more than {MAX_REDIRECTS} redirects")))
    }
}
