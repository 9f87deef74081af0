//! How calls fail on the wire.
//!
//! Errors travel as `{"Err": "…"}`. Beside it pintle's SDK sends `"Kind"`, which other engines ignore, so that
//! a driver behind a socket fails with the same kinds as one in process.

use pintle_contract::{DriverError, ErrorKind};
use serde_json::{Value, json};

use crate::{
    object::{DecodeError, Object, message},
    value::line,
};

const KINDS: [(ErrorKind, &str); 9] = [
    (ErrorKind::NotFound, "not-found"),
    (ErrorKind::Conflict, "conflict"),
    (ErrorKind::InUse, "in-use"),
    (ErrorKind::InvalidArgument, "invalid-argument"),
    (ErrorKind::Unsupported, "unsupported"),
    (ErrorKind::PermissionDenied, "permission-denied"),
    (ErrorKind::Unavailable, "unavailable"),
    (ErrorKind::Timeout, "timeout"),
    (ErrorKind::Internal, "internal"),
];

/// The longest text of a failure that is not JSON.
const LONGEST_TEXT: usize = 4096;

/// The body that reports a failure, with status 500.
pub fn encode_error(error: &DriverError) -> Vec<u8> {
    let kind = KINDS.iter().find(|(known, _)| *known == error.kind).map_or("internal", |(_, name)| name);
    line(&json!({ "Err": error.message, "Kind": kind }))
}

/// The kind that a failure names, if it does.
fn named_kind(root: &Object<'_>) -> Option<ErrorKind> {
    let name = root.string("Kind").ok()?;
    KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
}

/// How one interface reports failures.
pub(crate) struct Dialect {
    /// The keys under which an answer with status 200 tells of a failure.
    pub(crate) keys: &'static [&'static str],
    /// What Docker puts before such a text.
    pub(crate) prefix: &'static str,
    /// What a failure is that names no kind, by the reply's status and its text.
    pub(crate) unnamed: fn(u16, &str) -> ErrorKind,
}

impl Dialect {
    /// The answer to `method`, if it is a success: status 200 without an error text.
    pub(crate) fn accept(&self, method: &str, status: u16, body: &[u8]) -> Result<Value, DriverError> {
        if status != 200 {
            return Err(self.refusal(method, status, body));
        }
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(DriverError::internal(format!("{method}: the plugin's answer is empty")));
        }
        let value = message(body).map_err(|error| unreadable(method, &error))?;
        let root = Object::root(&value).map_err(|error| unreadable(method, &error))?;
        for key in self.keys {
            let text = root.string(key).map_err(|error| unreadable(method, &error))?;
            if !text.is_empty() {
                let kind = named_kind(&root).unwrap_or_else(|| (self.unnamed)(status, &text));
                return Err(DriverError::new(kind, format!("{}{text}", self.prefix)));
            }
        }
        Ok(value)
    }

    /// A reply other than 200: `{"Err": …}`, or else the body as it is.
    fn refusal(&self, method: &str, status: u16, body: &[u8]) -> DriverError {
        let value = message(body).ok();
        let root = value.as_ref().and_then(|value| Object::root(value).ok());
        let text = root.as_ref().and_then(|root| root.string("Err").ok()).filter(|text| !text.is_empty());
        let named = text.is_some().then(|| root.as_ref().and_then(named_kind)).flatten();
        let text = text.unwrap_or_else(|| {
            String::from_utf8_lossy(body.get(..LONGEST_TEXT).unwrap_or(body)).trim().to_owned()
        });
        let kind = named.unwrap_or_else(|| (self.unnamed)(status, &text));
        DriverError::new(kind, format!("{method}: {text}"))
    }
}

/// An answer that is no answer to `method`.
pub(crate) fn unreadable(method: &str, error: &DecodeError) -> DriverError {
    DriverError::internal(format!("{method}: the plugin's answer cannot be read: {error}"))
}

/// Statuses of a server that has no such method.
const MISSING: [u16; 3] = [404, 405, 501];

/// Plugins that were written against an interface of methods have them all; those that they do not mean say so in
/// these two words.
fn says_missing(text: &str) -> bool {
    text.trim().trim_end_matches('.').eq_ignore_ascii_case("not implemented")
}

/// What a failure is that names no kind: a method that the plugin does not have, or its own trouble.
pub(crate) fn missing_or_internal(status: u16, text: &str) -> ErrorKind {
    if MISSING.contains(&status) || says_missing(text) { ErrorKind::Unsupported } else { ErrorKind::Internal }
}

/// Whether an answer says that the plugin does not have the method at all. A driver that has it and refuses what was
/// asked is another matter.
pub fn is_missing(status: u16, body: &[u8]) -> bool {
    let value = message(body).ok();
    let root = value.as_ref().and_then(|value| Object::root(value).ok());
    let text = root.as_ref().and_then(|root| root.string("Err").ok()).unwrap_or_default();
    MISSING.contains(&status) || (says_missing(&text) && root.as_ref().and_then(named_kind).is_none())
}
