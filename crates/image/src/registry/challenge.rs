//! `WWW-Authenticate`: what a registry wants to see.

use std::collections::HashMap;

/// One way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Lower case: `basic`, `bearer`.
    pub scheme: String,
    /// By lower-case name.
    pub parameters: HashMap<String, String>,
}

/// Reads one header value, which may hold several challenges. What makes no sense is passed over.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header.trim();
    while !rest.is_empty() {
        let word_end = rest.find(|c: char| c.is_whitespace() || c == '=' || c == ',').unwrap_or(rest.len());
        let (word, tail) = rest.split_at(word_end);
        let after = tail.trim_start();
        if let Some(value) = after.strip_prefix('=') {
            let (value, tail) = value_of(value.trim_start());
            if let Some(challenge) = challenges.last_mut() {
                challenge.parameters.insert(word.to_ascii_lowercase(), value);
            }
            rest = tail;
        } else {
            if !word.is_empty() {
                challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: HashMap::new() });
            }
            rest = after;
        }
        rest = rest.trim_start_matches([',', ' ', '\t']);
    }
    challenges
}

fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn real_headers_are_read() {
        let read = parse(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push",error="x\"y", Basic realm=plain"#,
        );
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].scheme, "bearer");
        assert_eq!(read[0].parameters["realm"], "https://auth.docker.io/token");
        assert_eq!(read[0].parameters["scope"], "repository:a/b:pull,push");
        assert_eq!(read[0].parameters["error"], "x\"y");
        assert_eq!((read[1].scheme.as_str(), read[1].parameters["realm"].as_str()), ("basic", "plain"));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_or_hang(header in ".{0,120}") {
            let _ = parse(&header);
        }
    }
}
