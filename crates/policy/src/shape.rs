//! Bodies changed by what a policy says: merged into, masked, and left out of.

use serde_json::{Map, Value};

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

/// Merges `patch` into `target`, as RFC 7386 says: null takes away, objects are merged, everything else is put.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in patch {
        match value {
            Value::Null => drop(map.remove(key)),
            value => merge(map.entry(key.clone()).or_insert(Value::Null), value),
        }
    }
}

/// A step of a path: a key or a position, `*` for any, `**` for any number of them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Named(String),
    Any,
    Deep,
}

/// Paths that a rule gives: texts with dots, or lists of steps where a key has a dot itself. What is neither is said.
fn paths(value: &Value) -> Result<Vec<Vec<Step>>, String> {
    let step = |text: &str| match text {
        "*" => Step::Any,
        "**" => Step::Deep,
        name => Step::Named(name.to_owned()),
    };
    let one = |path: &Value| match path {
        Value::String(text) => Ok(text.split('.').map(step).collect()),
        Value::Number(number) => Ok(vec![step(&number.to_string())]),
        Value::Array(steps) => {
            let of = |value: &Value| match value {
                Value::String(text) => Ok(step(text)),
                Value::Number(number) => Ok(step(&number.to_string())),
                other => Err(format!("{other} is no step of a path")),
            };
            steps.iter().map(of).collect()
        }
        other => Err(format!("{other} is no path: write \"A.B.*\" or [\"A\", \"B\", 3]")),
    };
    match value {
        Value::Null => Ok(Vec::new()),
        // A set, or a list.
        Value::Array(all) => all.iter().map(one).collect(),
        single => Ok(vec![one(single)?]),
    }
}

/// Masks what is at these paths. Of `NAME=value` in a list the name stays, and so do keys and lengths.
pub(crate) fn redact(body: &mut Value, rule: &Value) -> Result<(), String> {
    for path in paths(rule)? {
        visit(body, &path, &mut mask);
    }
    Ok(())
}

/// Leaves out what is at these paths.
pub(crate) fn hide(body: &mut Value, rule: &Value) -> Result<(), String> {
    // Marked first, so that positions are those of the whole.
    for path in paths(rule)? {
        visit(body, &path, &mut |value| *value = Value::String(HIDDEN.to_owned()));
    }
    drop_hidden(body);
    Ok(())
}

/// No answer has this text: it has a NUL and a word of our own.
const HIDDEN: &str = "\0pintle hides this\0";

fn drop_hidden(value: &mut Value) {
    let is_hidden = |value: &Value| value.as_str() == Some(HIDDEN);
    match value {
        Value::Array(list) => {
            list.retain(|value| !is_hidden(value));
            list.iter_mut().for_each(drop_hidden);
        }
        Value::Object(map) => {
            map.retain(|_, value| !is_hidden(value));
            map.values_mut().for_each(drop_hidden);
        }
        other if is_hidden(other) => *other = Value::Null,
        _ => {}
    }
}

fn visit(value: &mut Value, path: &[Step], change: &mut dyn FnMut(&mut Value)) {
    let Some((step, rest)) = path.split_first() else { return change(value) };
    if *step == Step::Deep {
        visit(value, rest, change);
    }
    let rest = if *step == Step::Deep { path } else { rest };
    match value {
        Value::Array(list) => match step {
            Step::Named(name) => {
                let found = name.parse::<usize>().ok().and_then(|at| list.get_mut(at));
                if let Some(found) = found {
                    visit(found, rest, change);
                }
            }
            Step::Any | Step::Deep => list.iter_mut().for_each(|value| visit(value, rest, change)),
        },
        Value::Object(map) => match step {
            Step::Named(name) => {
                if let Some(found) = map.get_mut(name) {
                    visit(found, rest, change);
                }
            }
            Step::Any | Step::Deep => map.values_mut().for_each(|value| visit(value, rest, change)),
        },
        _ => {}
    }
}

fn mask(value: &mut Value) {
    match value {
        Value::Null => {}
        Value::Bool(truth) => *truth = false,
        Value::Number(number) => *number = 0.into(),
        Value::String(text) => {
            *text = match text.split_once('=') {
                Some((name, _)) => format!("{name}={REDACTED}"),
                None => REDACTED.to_owned(),
            };
        }
        Value::Array(list) => list.iter_mut().for_each(mask),
        Value::Object(map) => map.values_mut().for_each(mask),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn patches_are_merged_as_the_rfc_says() {
        // RFC 7386, appendix A.
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = target;
            merge(&mut merged, &patch);
            assert_eq!(merged, result);
        }
    }

    #[test]
    fn secrets_are_masked_where_they_are() {
        let mut body =
            json!({"Config": {"Env": ["A=1", "B=x=y", "C"], "Labels": {"a.b": "c"}}, "Pid": 7, "On": true});
        let rule = json!(["Config.Env.*", ["Config", "Labels", "a.b"], "Pid", "On", "No.such"]);
        redact(&mut body, &rule).unwrap();
        assert_eq!(
            body,
            json!({"Config": {"Env": ["A=[redacted]", "B=[redacted]", "[redacted]"], "Labels": {"a.b": "[redacted]"}}, "Pid": 0, "On": false})
        );
        let mut list = json!([{"Env": ["A=1"]}, {"Inner": {"Env": ["B=2"]}}]);
        redact(&mut list, &json!("**.Env")).unwrap();
        assert_eq!(list, json!([{"Env": ["A=[redacted]"]}, {"Inner": {"Env": ["B=[redacted]"]}}]));
        redact(&mut list, &json!([{"a": 1}])).unwrap_err();
    }

    #[test]
    fn what_is_hidden_is_gone_by_its_place_in_the_whole() {
        let mut body = json!({"Volumes": ["a", "b", "c", "d"], "Warnings": null});
        hide(&mut body, &json!([["Volumes", 0], "Volumes.2"])).unwrap();
        assert_eq!(body, json!({"Volumes": ["b", "d"], "Warnings": null}));
        let mut list = json!([{"x": 1}, {"x": 2}]);
        hide(&mut list, &json!([0, "1.x"])).unwrap();
        assert_eq!(list, json!([{}]));
    }

    proptest! {
        #[test]
        fn no_path_panics(path in ".{0,20}", depth in 0usize..6) {
            let mut body = (0..depth).fold(json!(["x=y", 1]), |inner, _| json!({"a": [inner], "": null}));
            redact(&mut body, &json!([path.clone(), "**"])).unwrap();
            hide(&mut body, &json!([path])).unwrap();
        }
    }
}
