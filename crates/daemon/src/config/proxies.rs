//! Through whom registries are reached: what is configured, and where that is silent, the environment.

use pintle_image::Proxies;

use super::raw::ProxiesEntry;

/// Who is asked in place of registries, and whether anything of it is configured.
pub(super) fn effective(
    entry: Option<ProxiesEntry>,
    environment: impl Fn(&str) -> Option<String>,
    warnings: &mut Vec<String>,
) -> Result<Option<Proxies>, String> {
    let Some(entry) = entry else { return Ok(None) };
    let mut one = |configured: Option<String>, name: &str| {
        let own = environment(name)
            .or_else(|| environment(&name.to_ascii_lowercase()))
            .filter(|own| !own.is_empty());
        match (configured.filter(|value| !value.is_empty()), own) {
            (Some(value), Some(own)) if value != own => {
                warnings
                    .push(format!("overriding existing proxy variable {name} with value from configuration"));
                value
            }
            (configured, own) => configured.or(own).unwrap_or_default(),
        }
    };
    let proxies = Proxies {
        http: one(entry.http_proxy, "HTTP_PROXY"),
        https: one(entry.https_proxy, "HTTPS_PROXY"),
        except: one(entry.no_proxy, "NO_PROXY"),
    };
    proxies.check().map_err(|error| format!("proxies: {error}"))?;
    Ok(Some(proxies))
}

/// What the process was started with.
pub(crate) fn of_environment() -> Proxies {
    let one = |name: &str| {
        std::env::var(name).or_else(|_| std::env::var(name.to_ascii_lowercase())).unwrap_or_default()
    };
    Proxies { http: one("HTTP_PROXY"), https: one("HTTPS_PROXY"), except: one("NO_PROXY") }
}

/// A URL without the name and password in it, as Docker shows it.
pub(crate) fn masked(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (_, host))) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_goes_before_the_environment() {
        let entry = ProxiesEntry {
            https_proxy: Some("http://me:secret@one:3128".into()),
            no_proxy: Some("a.test".into()),
            ..ProxiesEntry::default()
        };
        let environment = |name: &str| match name {
            "HTTPS_PROXY" | "http_proxy" => Some("http://two:3128".to_owned()),
            _ => None,
        };
        let mut warnings = Vec::new();
        let proxies = effective(Some(entry), environment, &mut warnings).unwrap().unwrap();
        assert_eq!(proxies.https, "http://me:secret@one:3128");
        assert_eq!((proxies.http.as_str(), proxies.except.as_str()), ("http://two:3128", "a.test"));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("HTTPS_PROXY") && !warnings[0].contains("secret"), "{warnings:?}");
        assert_eq!(effective(None, environment, &mut warnings), Ok(None));
        assert_eq!(masked(&proxies.https), "http://xxxxx:xxxxx@one:3128");
        let bad = ProxiesEntry { http_proxy: Some("http://[".into()), ..ProxiesEntry::default() };
        effective(Some(bad), environment, &mut warnings).unwrap_err();
    }
}
