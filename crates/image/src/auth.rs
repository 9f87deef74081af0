//! Credentials for a registry, as Docker's clients send them.

use std::fmt;

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;

use crate::ImageError;

/// Who speaks to a registry. Its `Debug` shows no secret.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub enum Auth {
    /// Nobody in particular.
    #[default]
    None,
    /// A user with a password.
    Basic {
        /// The user's name.
        user: String,
        /// The password or access token.
        pass: String,
    },
    /// A refresh token that an earlier login gave out.
    IdentityToken(String),
    /// A bearer token to be sent as it is.
    RegistryToken(String),
}

/// The document in `X-Registry-Auth` and in the body of `POST /auth`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    #[serde(alias = "Username")]
    username: String,
    #[serde(alias = "Password")]
    password: String,
    #[serde(alias = "Auth")]
    auth: String,
    #[serde(alias = "IdentityToken", alias = "identityToken")]
    identitytoken: String,
    #[serde(alias = "RegistryToken", alias = "registryToken")]
    registrytoken: String,
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

impl Auth {
    /// Reads `X-Registry-Auth`: base64 (URL or standard alphabet, padded or not) of a JSON document.
    /// An empty header is [`Auth::None`].
    pub fn from_header(header: &str) -> Result<Self, ImageError> {
        let header = header.trim();
        if header.is_empty() {
            return Ok(Self::None);
        }
        let bytes = decode(header)
            .ok_or_else(|| ImageError::invalid("invalid X-Registry-Auth header: it is not base64"))?;
        Self::from_json(&bytes)
    }

    /// Reads the JSON document itself.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ImageError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::None);
        }
        let document: Option<Document> = serde_json::from_slice(bytes)
            .map_err(|error| ImageError::invalid(format!("invalid X-Registry-Auth header: {error}")))?;
        let document = document.unwrap_or_default();
        Ok(if !document.registrytoken.is_empty() {
            Self::RegistryToken(document.registrytoken)
        } else if !document.identitytoken.is_empty() {
            Self::IdentityToken(document.identitytoken)
        } else if !document.username.is_empty() || !document.password.is_empty() {
            Self::Basic { user: document.username, pass: document.password }
        } else if let Some((user, pass)) = decode(&document.auth)
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .as_deref()
            .and_then(|pair| pair.split_once(':'))
        {
            Self::Basic { user: user.to_owned(), pass: pass.trim_end_matches('\0').to_owned() }
        } else {
            Self::None
        })
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() {
        return None;
    }
    let url = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);
    let standard = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
    url.decode(text).or_else(|_| standard.decode(text)).ok()
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Basic { user, .. } => write!(f, "Basic({user:?})"),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
            Self::RegistryToken(_) => f.write_str("RegistryToken"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(json: &str) -> String {
        base64::engine::general_purpose::URL_SAFE.encode(json)
    }

    #[test]
    fn every_form_that_clients_send_is_read() {
        let basic = Auth::Basic { user: "u".to_owned(), pass: "p?>".to_owned() };
        assert_eq!(Auth::from_header(&header(r#"{"username":"u","password":"p?>"}"#)).unwrap(), basic);
        assert_eq!(
            Auth::from_header(header(r#"{"username":"u","password":"p?>"}"#).trim_end_matches('=')).unwrap(),
            basic
        );
        assert_eq!(Auth::from_header(&header(r#"{"auth":"dTpwPz4="}"#)).unwrap(), basic);
        assert_eq!(
            Auth::from_header(&header(r#"{"username":"u","identitytoken":"t"}"#)).unwrap(),
            Auth::IdentityToken("t".to_owned())
        );
        for nothing in ["", " ", &header("{}"), &header("null")] {
            assert_eq!(Auth::from_header(nothing).unwrap(), Auth::None);
        }
        Auth::from_header("%%%").unwrap_err();
        Auth::from_header(&header("[1]")).unwrap_err();
    }

    #[test]
    fn secrets_are_not_printed() {
        let shown = format!("{:?}", Auth::Basic { user: "u".to_owned(), pass: "secret".to_owned() });
        assert!(!shown.contains("secret"));
    }
}
