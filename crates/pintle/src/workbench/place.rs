//! The line and column of a value in config.json.

use pintle_wire::jsonc;
use pintle_wire::object::{DecodeError, Segment};
use serde_json::Value;

/// Where the value at `path` (`mounts[0].source`) is, as far as it is there at all: for a missing value, the place of
/// the innermost object that should have it.
pub fn of(text: &[u8], path: &str) -> Option<(usize, usize)> {
    let placed = jsonc::decode(text, |root| {
        Err::<(), _>(DecodeError { path: spelt(root, path), message: String::new() })
    });
    placed.err().map(|error| (error.line, error.column))
}

/// The path in the author's own spelling of the keys, up to the first that is missing.
fn spelt(root: &Value, path: &str) -> Vec<Segment> {
    let mut at = root;
    let mut out = Vec::new();
    for part in path.split(['.', '[']).map(|p| p.trim_end_matches(']')).filter(|p| !p.is_empty()) {
        let next = match at {
            Value::Object(map) => {
                let found = map.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(part));
                found.map(|(key, value)| (Segment::Key(key.clone()), value))
            }
            Value::Array(items) => {
                part.parse::<usize>().ok().and_then(|i| Some((Segment::Index(i), items.get(i)?)))
            }
            _ => None,
        };
        let Some((segment, value)) = next else { break };
        out.push(segment);
        at = value;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let text = b"{\n  \"Mounts\": [\n    { \"source\": \"/a\" }\n  ], // x\n  \"env\": []\n}";
        assert_eq!(of(text, "mounts[0].source"), Some((3, 17)));
        assert_eq!(of(text, "mounts[0].destination"), Some((3, 5)));
        assert_eq!(of(text, "env"), Some((5, 10)));
        assert_eq!(of(text, "linux.capabilities"), Some((1, 1)));
    }
}
