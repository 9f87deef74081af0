//! Plugins' names: familiar, with a tag, never with a digest; and looking plugins up by them.

use pintle_image::Reference;

use crate::HostError;

/// The local name that `text` stands for, `:latest` added.
pub(crate) fn local(text: &str) -> Result<Reference, HostError> {
    let reference = parse(text)?;
    if reference.digest().is_some() {
        return Err(HostError::Invalid(format!("{text}: canonical references are not permitted")));
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

/// Finds a plugin among `(id, name)` pairs: by full id, exact name, then unique id prefix.
pub(crate) fn find<'a>(
    text: &str,
    plugins: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> Result<String, HostError> {
    if let Some((id, _)) = plugins.clone().find(|(id, _)| *id == text) {
        return Ok(id.to_owned());
    }
    let name = text.parse::<Reference>().ok().map(|reference| reference.or_latest().familiar());
    if let Some((id, _)) = plugins.clone().find(|(_, known)| name.as_deref() == Some(*known)) {
        return Ok(id.to_owned());
    }
    let mut matching = plugins.filter(|(id, _)| !text.is_empty() && id.starts_with(text));
    match (matching.next(), matching.next()) {
        (Some((id, _)), None) => Ok(id.to_owned()),
        (Some(_), Some(_)) => Err(HostError::Ambiguous(text.to_owned())),
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
        let plugins = [(one.as_str(), "vol:latest"), (two.as_str(), "a1b2:latest")];
        let find = |text: &str| find(text, plugins.into_iter());
        assert_eq!(find(&one).unwrap(), one);
        assert_eq!(find("vol").unwrap(), one);
        assert_eq!(find("vol:latest").unwrap(), one);
        assert_eq!(find("docker.io/library/vol").unwrap(), one);
        assert_eq!(find("a1b2").unwrap(), two);
        assert_eq!(find("a1a").unwrap(), one);
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
        assert!(error.to_string().contains("canonical references are not permitted"));
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
