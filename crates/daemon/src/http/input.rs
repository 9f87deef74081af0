//! What routes do with the bodies of their requests.

use std::any::Any;

use pintle_api::{DecodeError, decode::Reading, decode_as};
use serde::de::DeserializeOwned;

use crate::status::Failure;

/// A body that was read, as the type that the handler will ask for.
pub(crate) type Parsed = Box<dyn Any + Send>;
type Parse = fn(&[u8], Reading) -> Result<Parsed, DecodeError>;

/// What a route does with the body of a request.
#[derive(Clone, Copy)]
pub(crate) enum Input {
    /// Nothing: what there is is not looked at.
    Ignored,
    /// It is JSON, read whole and once, before the handler begins.
    Json(Parse),
    /// It is an archive, or the client's half of a connection that is taken over: the handler reads it as it comes.
    Stream,
}

/// A body that must be there.
pub(crate) fn json<T: DeserializeOwned + Send + 'static>() -> Input {
    Input::Json(|bytes, reading| Ok(Box::new(decode_as::<T>(bytes, reading)?)))
}

/// A body that is all defaults where there is none.
pub(crate) fn json_or_default<T: DeserializeOwned + Default + Send + 'static>() -> Input {
    Input::Json(|bytes, reading| match decode_as::<T>(bytes, reading) {
        Err(DecodeError::Empty) if bytes.is_empty() => Ok(Box::new(T::default())),
        read => Ok(Box::new(read?)),
    })
}

/// Docker's rules: no type is fine without a body, anything else must be JSON.
pub(crate) fn check_json(content_type: &str, body: &[u8]) -> Result<(), Failure> {
    if content_type.is_empty() {
        if body.is_empty() {
            return Ok(());
        }
        return Err(Failure::invalid("malformed Content-Type header (): mime: no media type"));
    }
    if is_json(content_type) {
        return Ok(());
    }
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if media_type.is_empty() || media_type.contains(char::is_whitespace) {
        return Err(Failure::invalid(format!(
            "malformed Content-Type header ({content_type}): mime: no media type"
        )));
    }
    Err(Failure::invalid(format!(
        "unsupported Content-Type header ({content_type}): must be 'application/json'"
    )))
}

/// Whether a header says that a body is JSON.
pub(crate) fn is_json(content_type: &str) -> bool {
    content_type.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_follow_dockers_rules() {
        let check = |content_type, body: &str| {
            check_json(content_type, body.as_bytes()).map_err(|failure| failure.message)
        };
        assert_eq!(check("", ""), Ok(()));
        assert_eq!(check("application/json", ""), Ok(()));
        assert_eq!(check("Application/JSON; charset=utf-8", "{}"), Ok(()));
        assert_eq!(
            check("text/plain", "{}"),
            Err("unsupported Content-Type header (text/plain): must be 'application/json'".to_owned())
        );
        assert_eq!(
            check("text/plain", ""),
            Err("unsupported Content-Type header (text/plain): must be 'application/json'".to_owned())
        );
        assert_eq!(check("", "{}"), Err("malformed Content-Type header (): mime: no media type".to_owned()));
    }
}
