use reqwest::{ClientBuilder, NoProxy, Proxy};

use crate::ImageError;

/// Through whom registries are reached. An empty text is nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://`: a URL, or a host and port.
    pub http: String,
    /// For `https://`.
    pub https: String,
    /// Hosts, domains and networks that are reached directly, with commas between them.
    pub except: String,
}

impl Proxies {
    /// Whether all of it is well formed.
    pub fn check(&self) -> Result<(), ImageError> {
        self.all().map(drop)
    }

    fn all(&self) -> Result<Vec<Proxy>, ImageError> {
        let http = (!self.http.is_empty()).then(|| Proxy::http(&self.http));
        let https = (!self.https.is_empty()).then(|| Proxy::https(&self.https));
        let all = http.into_iter().chain(https).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(|_| ImageError::invalid("a proxy is not a URL"))?;
        let except = NoProxy::from_string(&self.except);
        Ok(all.into_iter().map(|proxy| proxy.no_proxy(except.clone())).collect())
    }

    /// A client that asks them.
    pub(super) fn apply(&self, builder: ClientBuilder) -> Result<ClientBuilder, ImageError> {
        Ok(self.all()?.into_iter().fold(builder.no_proxy(), ClientBuilder::proxy))
    }
}
