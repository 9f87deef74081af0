//! Names of images and plugins, normalised as Docker does.
//!
//! Grammar: the distribution project's `reference` package. `ubuntu` is `docker.io/library/ubuntu`; the first
//! component is a host if it has a dot or a colon, is `localhost`, or has an upper-case letter.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Digest, ImageError};

/// The host that names without one belong to.
pub const DEFAULT_DOMAIN: &str = "docker.io";
const MAX_NAME: usize = 255;

/// A normalised name: host, path, and a tag or a digest or both or neither.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's host, with its port.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository on that host: `library/ubuntu`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if the name has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the name has one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same with `:latest` where there is neither tag nor digest.
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The repository alone.
    pub fn repository(&self) -> Self {
        Self { tag: None, digest: None, ..self.clone() }
    }

    /// The same repository by another tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ImageError> {
        if !is_tag(tag) {
            return Err(ImageError::invalid("invalid tag format"));
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository by digest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The name alone as users write it: `ubuntu`, `quay.io/x/y`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return format!("{}/{}", self.domain, self.path);
        }
        let short = match self.path.strip_prefix("library/") {
            Some(rest) if !rest.contains('/') => rest,
            _ => &self.path,
        };
        // `docker.io/a.b/c` without its host would read as `c` on the host `a.b`.
        match short.split_once('/') {
            Some((first, _)) if reads_as_domain(first) => format!("{}/{}", self.domain, self.path),
            _ => short.to_owned(),
        }
    }

    /// The whole as users write it: `ubuntu:22.04`, `ubuntu@sha256:…`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// The whole with nothing left out: `docker.io/library/ubuntu:22.04`.
    pub fn canonical(&self) -> String {
        self.with_suffix(format!("{}/{}", self.domain, self.path))
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest.as_str());
        }
        name
    }
}

fn invalid() -> ImageError {
    ImageError::invalid("invalid reference format")
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        if text.len() > 4096 {
            return Err(invalid());
        }
        if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ImageError::invalid(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        // A colon after the last slash begins a tag; one before it belongs to a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid());
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, path)) if reads_as_domain(first) => (first, path.to_owned()),
            _ => (DEFAULT_DOMAIN, name.to_owned()),
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ImageError::invalid("invalid reference format: repository name must be lowercase"));
        }
        let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
        if !is_domain(domain) || !path.split('/').all(is_component) {
            return Err(invalid());
        }
        if path.len() > MAX_NAME {
            return Err(ImageError::invalid(format!(
                "repository name must not be more than {MAX_NAME} characters"
            )));
        }
        let path =
            if domain == DEFAULT_DOMAIN && !path.contains('/') { format!("library/{path}") } else { path };
        Ok(Self { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }
}

fn reads_as_domain(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// Runs of lower-case letters and digits, held together by `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let mut rest = component.as_bytes();
    loop {
        let run = rest.iter().take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()).count();
        if run == 0 {
            return false;
        }
        rest = &rest[run..];
        rest = match rest {
            [] => return true,
            [b'_', b'_', tail @ ..] | [b'_' | b'.', tail @ ..] => tail,
            [b'-', ..] => {
                let dashes = rest.iter().take_while(|byte| **byte == b'-').count();
                &rest[dashes..]
            }
            _ => return false,
        };
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(v6) => {
            let Some((address, rest)) = v6.split_once(']') else { return false };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match rest.strip_prefix(':') {
                Some(port) => ("v6", Some(port)),
                None if rest.is_empty() => ("v6", None),
                None => return false,
            }
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(label)
        && port.is_none_or(|port| {
            !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
        })
}

impl TryFrom<String> for Reference {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.canonical()
    }
}

/// As users write it.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_normalised_as_docker_does() {
        let digest = Digest::of(b"");
        for (typed, canonical, familiar) in [
            ("ubuntu", "docker.io/library/ubuntu", "ubuntu"),
            ("ubuntu:22.04", "docker.io/library/ubuntu:22.04", "ubuntu:22.04"),
            ("docker.io/ubuntu", "docker.io/library/ubuntu", "ubuntu"),
            ("index.docker.io/library/ubuntu", "docker.io/library/ubuntu", "ubuntu"),
            ("vieux/sshfs:next", "docker.io/vieux/sshfs:next", "vieux/sshfs:next"),
            ("localhost/x", "localhost/x", "localhost/x"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x", "127.0.0.1:5000/x"),
            ("[::1]:5000/x:y", "[::1]:5000/x:y", "[::1]:5000/x:y"),
            ("quay.io/a__b/c--d", "quay.io/a__b/c--d", "quay.io/a__b/c--d"),
            ("HOST/x", "HOST/x", "HOST/x"),
        ] {
            let reference: Reference = typed.parse().unwrap();
            assert_eq!(reference.canonical(), canonical, "{typed}");
            assert_eq!(reference.familiar(), familiar, "{typed}");
        }
        let both: Reference = format!("x:y@{digest}").parse().unwrap();
        assert_eq!((both.tag(), both.digest()), (Some("y"), Some(&digest)));
        assert_eq!("x".parse::<Reference>().unwrap().or_latest().familiar(), "x:latest");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for typed in [
            "",
            ":x",
            "x:",
            "/x",
            "x/",
            "a//b",
            "a..b",
            "-x",
            "x_",
            "x@sha256:1",
            "x:-y",
            "../x",
            "x y",
            "é",
            "[::1/x",
        ] {
            assert!(typed.parse::<Reference>().is_err(), "{typed}");
        }
        let error = "Ubuntu".parse::<Reference>().unwrap_err();
        assert_eq!(error.to_string(), "invalid reference format: repository name must be lowercase");
        "a".repeat(64).parse::<Reference>().unwrap_err();
    }

    proptest! {
        #[test]
        fn what_parses_survives_both_of_its_forms(
            text in "([a-z0-9.]{1,9}(:[0-9]{1,4})?/)?[a-z0-9._-]{1,8}(/[a-z0-9_]{1,5})?(:[A-Za-z0-9._-]{1,9})?"
        ) {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.canonical().parse::<Reference>().unwrap(), &reference);
                prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = text.parse::<Reference>();
        }
    }
}
