//! JSON as people write it: comments and trailing commas are allowed, mistakes are placed.
//!
//! [`blank`] overwrites what plain JSON lacks with spaces, so that every byte keeps its place and an error's
//! line and column are those of the file on the user's screen.

use serde_json::Value;

use crate::object::{DecodeError, Segment};

/// The largest text that [`parse`] accepts. Every configuration file known to man is a thousandth of it.
pub const MAX_BYTES: usize = 1 << 20;

/// A mistake in a text, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct Error {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong, without the place.
    pub message: String,
}

impl Error {
    fn at(text: &[u8], offset: usize, message: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let column = String::from_utf8_lossy(before.get(start..).unwrap_or_default()).chars().count() + 1;
        Self { line, column, message: message.into() }
    }

    fn from_json(text: &[u8], error: &serde_json::Error) -> Self {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string();
        let message = message.strip_suffix(&place).unwrap_or(&message).to_owned();
        let start = (1..error.line()).fold(0, |start, _| {
            let rest = text.get(start..).unwrap_or_default();
            start + rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |newline| newline + 1)
        });
        Self::at(text, start + error.column().saturating_sub(1), message)
    }
}

/// Parses JSON with `//`, `#` and `/* */` comments and trailing commas.
pub fn parse(text: &[u8]) -> Result<Value, Error> {
    let plain = blank(text)?;
    serde_json::from_slice(&plain).map_err(|error| Error::from_json(text, &error))
}

/// Parses as [`parse`] does and decodes the value; a decoder's complaint gets the place of what it names.
pub fn decode<T>(text: &[u8], decoder: impl FnOnce(&Value) -> Result<T, DecodeError>) -> Result<T, Error> {
    let plain = blank(text)?;
    let value = serde_json::from_slice(&plain).map_err(|error| Error::from_json(text, &error))?;
    decoder(&value)
        .map_err(|error| Error::at(text, locate(&plain, &error.path).unwrap_or_default(), error.to_string()))
}

/// The text as plain JSON of the same length: comments, trailing commas and a byte-order mark become spaces.
pub fn blank(text: &[u8]) -> Result<Vec<u8>, Error> {
    if text.len() > MAX_BYTES {
        let message = format!("the text is {} bytes long; at most {MAX_BYTES} are read", text.len());
        return Err(Error { line: 1, column: 1, message });
    }
    if let Err(error) = std::str::from_utf8(text) {
        return Err(Error::at(text, error.valid_up_to(), "this is not UTF-8 text"));
    }
    let mut out = text.to_vec();
    if out.starts_with(b"\xef\xbb\xbf") {
        out[..3].fill(b' ');
    }
    let mut at = 0;
    let mut last = b' '; // the last byte that means something to JSON
    let mut comma: Option<usize> = None; // where it is, if it is a comma that may turn out to be trailing
    while let Some(&byte) = out.get(at) {
        let rest = out.get(at + 1).copied();
        let end = match (byte, rest) {
            (b'"', _) => end_of_string(&out, at),
            (b'#', _) | (b'/', Some(b'/')) => {
                let line = out[at..].iter().position(|&byte| byte == b'\n');
                line.map_or(out.len(), |length| at + length)
            }
            (b'/', Some(b'*')) => {
                let close = out[at + 2..].windows(2).position(|pair| pair == b"*/");
                let Some(length) = close else {
                    return Err(Error::at(text, at, "this comment is never closed"));
                };
                at + 2 + length + 2
            }
            _ => at + 1,
        };
        match byte {
            b'#' | b'/' if end > at + 1 || byte == b'#' => {
                for byte in &mut out[at..end] {
                    if *byte != b'\n' && *byte != b'\r' {
                        *byte = b' ';
                    }
                }
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => {
                if let (b'}' | b']', Some(place)) = (byte, comma) {
                    out[place] = b' ';
                }
                // A comma with nothing before it is a mistake, not a trailing comma.
                let after_value = !matches!(last, b'{' | b'[' | b',' | b':' | b' ');
                comma = (byte == b',' && after_value).then_some(at);
                last = byte;
            }
        }
        at = end;
    }
    Ok(out)
}

fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Where the value at `path` begins in a text that is known to be plain JSON.
fn locate(text: &[u8], path: &[Segment]) -> Option<usize> {
    let mut at = space(text, 0);
    for segment in path {
        let open = *text.get(at)?;
        at = space(text, at + 1);
        let mut index = 0;
        let mut found = None;
        while !matches!(text.get(at)?, b'}' | b']') {
            let mut matches = matches!(segment, Segment::Index(wanted) if *wanted == index);
            if open == b'{' {
                let end = end_of_string(text, at);
                let key: Option<String> = serde_json::from_slice(text.get(at..end)?).ok();
                matches = matches!((segment, key), (Segment::Key(wanted), Some(key)) if *wanted == key);
                at = space(text, space(text, end) + 1);
            }
            if matches {
                // The last of several equal keys is the one that counts.
                found = Some(at);
            }
            at = space(text, skip(text, at));
            if text.get(at) == Some(&b',') {
                at = space(text, at + 1);
            }
            index += 1;
        }
        at = found?;
    }
    Some(at)
}

fn space(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(rest.len())
}

/// The end of the value that begins at `at`.
fn skip(text: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(text, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return if depth == 1 { at + 1 } else { at },
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}
