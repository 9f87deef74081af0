//! Plugins' names: familiar, with a tag, never with a digest; and looking plugins up by them.

use pintle_image::Reference;

use crate::HostError;

/// The local name that `text` stands for, `:latest` added.
pub(crate) fn local(text: &str) -> Result<Reference, HostError> {
    let reference = parse(text)
        .map_err(|error| HostError::Invalid(format!("failed to parse reference {text}: {error}")))?;
    if reference.digest().is_some() {
        return Err(HostError::Invalid("canonical references are not permitted".into()));
    }
    Ok(reference.or_latest())
}

/// The local name that a user asks for when pulling.
pub(crate) fn alias(text: &str) -> Result<Reference, HostError> {
    let reference = parse(text)?;
    if reference.digest().is_some() {
        return Err(HostError::Invalid("cannot use digest in plugin tag".into()));
    }
    Ok(reference.or_latest())
}

/// What to pull for `text`, and the local name that it gets unless another is asked for: with a tag and a
/// digest it is pulled by the digest and named by the tag.
pub(crate) fn remote(text: &str) -> Result<(Reference, Reference), HostError> {
    let reference = parse(text)?;
    let Some(digest) = reference.digest().cloned() else {
        let named = reference.or_latest();
        return Ok((named.clone(), named));
    };
    match reference.tag() {
        Some(tag) => {
            let named = reference.with_tag(tag)?;
            Ok((named.with_digest(digest), named))
        }
        None => Ok((reference.clone(), reference.repository().or_latest())),
    }
}

fn parse(text: &str) -> Result<Reference, HostError> {
    text.parse::<Reference>().map_err(|error| HostError::Invalid(error.to_string()))
}

/// What a plugin may be called by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    /// The reference that it was pulled from, or empty.
    pub(crate) origin: &'a str,
}

/// Finds a plugin by full id, exact name, unique id prefix, and last by where it was pulled from, if only one
/// came from there. Docker does not do the last: a plugin installed with `--alias` then answers to the alias
/// alone, though its users go on calling it what they installed.
pub(crate) fn find<'a>(
    text: &str,
    plugins: impl Iterator<Item = Named<'a>> + Clone,
) -> Result<String, HostError> {
    if let Some(plugin) = plugins.clone().find(|plugin| plugin.id == text) {
        return Ok(plugin.id.to_owned());
    }
    let reference = text.parse::<Reference>().ok().map(Reference::or_latest);
    let name = reference.as_ref().map(Reference::familiar);
    if let Some(plugin) = plugins.clone().find(|plugin| name.as_deref() == Some(plugin.name)) {
        return Ok(plugin.id.to_owned());
    }
    let mut matching = plugins.clone().filter(|plugin| !text.is_empty() && plugin.id.starts_with(text));
    match (matching.next(), matching.next()) {
        (Some(plugin), None) => return Ok(plugin.id.to_owned()),
        (Some(_), Some(_)) => return Err(HostError::Ambiguous(text.to_owned())),
        _ => {}
    }
    let same =
        |plugin: &Named<'_>| reference.is_some() && plugin.origin.parse::<Reference>().ok() == reference;
    let mut pulled = plugins.filter(same);
    match (pulled.next(), pulled.next()) {
        (Some(plugin), None) => Ok(plugin.id.to_owned()),
        _ => Err(HostError::NotFound(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_found_by_id_then_name_then_prefix() {
        let (one, two) = ("a1".repeat(32), format!("a1{}", "b2".repeat(31)));
        // A name that is also a prefix of the other's id.
        let plugins = [
            Named { id: &one, name: "vol:latest", origin: "docker.io/acme/storage:1" },
            Named { id: &two, name: "a1b2:latest", origin: "" },
        ];
        let find = |text: &str| find(text, plugins.into_iter());
        assert_eq!(find(&one).unwrap(), one);
        assert_eq!(find("vol").unwrap(), one);
        assert_eq!(find("vol:latest").unwrap(), one);
        assert_eq!(find("docker.io/library/vol").unwrap(), one);
        assert_eq!(find("a1b2").unwrap(), two);
        assert_eq!(find("a1a").unwrap(), one);
        assert_eq!(find("acme/storage:1").unwrap(), one);
        let twins = plugins.map(|plugin| Named { origin: "docker.io/acme/storage:1", ..plugin });
        assert!(matches!(super::find("acme/storage:1", twins.into_iter()), Err(HostError::NotFound(_))));
        assert!(matches!(find("a1"), Err(HostError::Ambiguous(_))));
        for missing in ["vol:2", "", "c", "VOL", "a1x"] {
            assert!(matches!(find(missing), Err(HostError::NotFound(_))), "{missing}");
        }
        assert_eq!(find("x").unwrap_err().to_string(), "plugin \"x\" not found");
    }

    #[test]
    fn digests_name_content_and_not_plugins() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let error = local(&format!("x@{digest}")).unwrap_err();
        assert_eq!(error.to_string(), "canonical references are not permitted");
        let error = alias(&format!("x@{digest}")).unwrap_err();
        assert_eq!(error.to_string(), "cannot use digest in plugin tag");
        let error = local("X").unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to parse reference X: invalid reference format: repository name must be lowercase"
        );
        assert_eq!(local("x/y").unwrap().familiar(), "x/y:latest");
        let (pulled, named) = remote(&format!("x/y:1@{digest}")).unwrap();
        assert_eq!(named.familiar(), "x/y:1");
        assert_eq!(pulled.digest().unwrap().as_str(), digest);
        let (pulled, named) = remote("localhost:5000/p").unwrap();
        assert_eq!(
            (pulled.familiar(), named.familiar()),
            ("localhost:5000/p:latest".into(), "localhost:5000/p:latest".into())
        );
    }
}
