//! What `nft -nj list` says of chains, rules and elements.

use serde_json::Value;

use super::{Ident, table::Content};

/// Reads a listing. What is not understood is left out; the next full change shows whether it mattered.
pub(super) fn read(text: &str) -> Content {
    let mut content = Content::default();
    let whole: Value = serde_json::from_str(text).unwrap_or_default();
    for object in whole["nftables"].as_array().into_iter().flatten() {
        if let Some(name) = name(&object["chain"]) {
            content.chains.insert(name, None);
        }
        for kind in ["set", "map"] {
            let Some(name) = name(&object[kind]) else { continue };
            for element in object[kind]["elem"].as_array().into_iter().flatten() {
                let (key, value) = match element.as_array().map(Vec::as_slice) {
                    Some([key, value]) => (term(key), Some(term(value))),
                    _ => (term(element), None),
                };
                content.elements.insert((name.clone(), key), value);
            }
        }
    }
    content
}

/// A rule of somebody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its number, by which it is removed, or another one put before it.
    pub handle: u64,
    /// What it decides: `accept`, `jump NAME`, …; empty if it does something else.
    pub verdict: String,
    /// It decides so of every packet.
    pub always: bool,
}

/// Reads the rules of a chain.
pub(super) fn rules(text: &str) -> Vec<Rule> {
    let whole: Value = serde_json::from_str(text).unwrap_or_default();
    let objects = whole["nftables"].as_array().into_iter().flatten();
    let one = |object: &Value| {
        let rule = &object["rule"];
        let handle = rule["handle"].as_u64()?;
        let statements = rule["expr"].as_array()?;
        let kind = |statement: &Value| statement.as_object().and_then(|fields| fields.keys().next().cloned());
        let decides = ["accept", "drop", "return", "jump", "goto"];
        let last =
            statements.last().filter(|last| kind(last).is_some_and(|kind| decides.contains(&kind.as_str())));
        let others = statements.len().saturating_sub(1);
        let counts =
            statements.iter().take(others).all(|statement| kind(statement).as_deref() == Some("counter"));
        Some(Rule { handle, verdict: last.map(term).unwrap_or_default(), always: last.is_some() && counts })
    };
    objects.filter_map(one).collect()
}

fn name(object: &Value) -> Option<Ident> {
    object["name"].as_str()?.parse().ok()
}

/// A key or a value as nft's language has it.
fn term(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            if let Some(parts) = fields.get("concat").and_then(Value::as_array) {
                let parts: Vec<String> = parts.iter().map(term).collect();
                return parts.join(" . ");
            }
            if let Some(element) = fields.get("elem") {
                return term(&element["val"]);
            }
            match fields.iter().next() {
                Some((verdict, to)) => match to["target"].as_str() {
                    Some(chain) => format!("{verdict} {chain}"),
                    None => verdict.clone(),
                },
                None => String::new(),
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_and_elements_are_read() {
        let text = r#"{"nftables": [{"metainfo": {}}, {"table": {"name": "t"}},
            {"set": {"name": "bridges", "elem": ["br0", {"elem": {"val": "br1", "counter": {}}}]}},
            {"map": {"name": "to", "map": "verdict", "elem": [["br0", {"jump": {"target": "to_1"}}], ["br1", {"drop": null}]]}},
            {"map": {"name": "ports", "elem": [[{"concat": ["fd00::1", 17, 53]}, {"concat": ["fd00::2", 53]}]]}},
            {"chain": {"name": "to_1"}}, {"rule": {"chain": "to_1", "expr": []}}]}"#;
        let content = read(text);
        let element =
            |set: &str, key: &str| content.elements.get(&(set.parse().unwrap(), key.to_owned())).cloned();
        assert_eq!(element("bridges", "br0"), Some(None));
        assert_eq!(element("bridges", "br1"), Some(None));
        assert_eq!(element("to", "br0"), Some(Some("jump to_1".into())));
        assert_eq!(element("to", "br1"), Some(Some("drop".into())));
        assert_eq!(element("ports", "fd00::1 . 17 . 53"), Some(Some("fd00::2 . 53".into())));
        assert_eq!(content.elements.len(), 5);
        assert!(content.chains.len() == 1 && content.chains.contains_key(&"to_1".parse().unwrap()));
        assert_eq!(read("nonsense"), Content::default());
    }

    #[test]
    fn rules_are_read() {
        let text = r#"{"nftables": [{"chain": {"name": "c"}},
            {"rule": {"handle": 4, "expr": [{"match": {"op": "=="}}, {"accept": null}]}},
            {"rule": {"handle": 5, "expr": [{"counter": {}}, {"jump": {"target": "MINE"}}]}},
            {"rule": {"handle": 6, "expr": [{"counter": {}}]}},
            {"rule": {"handle": 7, "expr": [{"return": null}]}}]}"#;
        let rule = |handle, verdict: &str, always| Rule { handle, verdict: verdict.into(), always };
        let expected = [
            rule(4, "accept", false),
            rule(5, "jump MINE", true),
            rule(6, "", false),
            rule(7, "return", true),
        ];
        assert_eq!(rules(text), expected);
        assert_eq!(rules("nonsense"), []);
    }
}
