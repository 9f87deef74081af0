//! Words: flags, quotes, JSON lists.

use serde_json::Value;

use super::SyntaxError;

/// The flags at the start of an instruction's arguments (`--name=value`, quotes taken away), and the rest.
pub(super) fn flags(text: &str) -> (Vec<String>, &str) {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let (word, end) = flag(rest);
        rest = &rest[end..];
        if word == "--" {
            break;
        }
        found.push(word);
        rest = rest.trim_start();
    }
    (found, rest.trim())
}

/// One word without its quotes, and where it ends.
fn flag(text: &str) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, next)) = chars.next() {
        match (quote, next) {
            (None, next) if next.is_whitespace() => return (word, at),
            (None, '"' | '\'') => quote = Some(next),
            (Some(open), next) if next == open => quote = None,
            (_, '\\') => word.extend(chars.next().map(|(_, next)| next)),
            (_, next) => word.push(next),
        }
    }
    (word, text.len())
}

/// Words as written: quotes and escapes stay, since what they mean depends on variables.
pub(super) fn quoted(text: &str, escape: char) -> Vec<String> {
    let mut all = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match quote {
            None if next.is_whitespace() => {
                if !word.is_empty() {
                    all.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if next == '"' || next == '\'' => quote = Some(next),
            Some(open) if next == open => quote = None,
            _ => {}
        }
        if next == escape && quote != Some('\'') {
            // At the very end it means nothing.
            if let Some(after) = chars.next() {
                word.extend([next, after]);
            }
            continue;
        }
        word.push(next);
    }
    if !word.is_empty() {
        all.push(word);
    }
    all
}

/// `A=b C="d e"`, or the old form `A everything else`, as written.
pub(super) fn pairs(name: &str, text: &str, escape: char) -> Result<Vec<(String, String)>, SyntaxError> {
    let words = quoted(text, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        let Some((key, value)) = text.split_once(char::is_whitespace) else {
            return Err(SyntaxError::new(format!("{name} must have two arguments")));
        };
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(SyntaxError::new(format!("{name} names can not be blank"))),
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(SyntaxError::new(format!(
                "Syntax error - can't find = in {word:?}. Must be of the form: name=value"
            ))),
        })
        .collect()
}

/// A JSON list of texts. `None` if it is not JSON at all, which then is something else.
pub(super) fn json(text: &str) -> Result<Option<Vec<String>>, SyntaxError> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    // What follows the list is ignored, as Go's decoder does.
    let first = serde_json::Deserializer::from_str(text).into_iter::<Value>().next();
    let Some(Ok(Value::Array(items))) = first else { return Ok(None) };
    let words = items.into_iter().map(|item| match item {
        Value::String(word) => Ok(word),
        _ => Err(SyntaxError::new("when using JSON array syntax, arrays must be comprised of strings only")),
    });
    words.collect::<Result<_, _>>().map(Some)
}

/// A JSON list, or words between white space.
pub(super) fn list(text: &str) -> Result<Vec<String>, SyntaxError> {
    Ok(json(text)?.unwrap_or_else(|| text.split_whitespace().map(str::to_owned).collect()))
}
