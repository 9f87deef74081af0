//! `runtimes` and `default-runtime`: entries become programs.

use std::collections::BTreeMap;

use pintle_runtime::{
    Binary, Chosen, Known,
    external::known::{EMBEDDED, of_type},
};
use serde_json::Value;

use super::RuntimeEntry;

/// containerd's name for the runtime that is linked in here.
const RUNC_TYPE: &str = "io.containerd.runc.v2";

/// Every runtime that containers may name, checked.
pub(super) fn known(
    entries: &BTreeMap<String, RuntimeEntry>,
    default: Option<&str>,
) -> Result<Known, String> {
    let mut known = Known::default();
    for (name, entry) in entries {
        known.add(name, chosen(name, entry)?);
    }
    if let Some(name) = default.filter(|name| !name.is_empty()) {
        if !entries.contains_key(name) && known.resolve(name).is_err() {
            return Err(format!("specified default runtime '{name}' does not exist"));
        }
        known.set_default(name);
    }
    Ok(known)
}

fn chosen(name: &str, entry: &RuntimeEntry) -> Result<Chosen, String> {
    let wrong = |why: &str| Err(format!("runtime {name}: {why}"));
    if EMBEDDED.contains(&name) {
        return Err(format!("runtime name '{name}' is reserved"));
    }
    let binary = |path: &str, args: &[String]| {
        Chosen::Binary(Binary { name: name.to_owned(), path: path.into(), args: args.to_vec() })
    };
    match (entry.path.as_deref().filter(|path| !path.is_empty()), entry.runtime_type.as_deref()) {
        (Some(_), Some(_)) => wrong("cannot configure both path and runtimeType for the same runtime"),
        (None, None) => wrong("either a runtimeType or a path must be configured"),
        (Some(_), None) if entry.options.is_some() => wrong("options cannot be used with a path runtime"),
        (None, Some(_)) if entry.runtime_args.is_some() => {
            wrong("args cannot be used with a runtimeType runtime")
        }
        (Some(path), None) => Ok(binary(path, entry.runtime_args.as_deref().unwrap_or_default())),
        (None, Some(kind)) => {
            let mut program = None;
            for (key, value) in entry.options.iter().filter_map(Value::as_object).flatten() {
                match (key.as_str(), value) {
                    ("BinaryName", Value::String(path)) => program = Some(path.clone()),
                    ("TypeUrl", _) => {}
                    // These would make the container another one than was asked for.
                    (key, _) => {
                        return wrong(&format!(
                            "the option {key:?} of a runtimeType is not understood; BinaryName is, or use path and runtimeArgs"
                        ));
                    }
                }
            }
            match (program, of_type(kind)) {
                (Some(path), Some(_)) => Ok(binary(&path, &[])),
                (None, Some(_)) if kind == RUNC_TYPE => Ok(Chosen::Embedded),
                (None, Some(path)) => Ok(binary(&path, &[])),
                (_, None) => wrong(&format!(
                    "runtimeType {kind:?} is not of the form io.containerd.<name>.v<number>; a program is named by path"
                )),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(json: &str, default: Option<&str>) -> Result<Known, String> {
        known(&serde_json::from_str(json).unwrap(), default)
    }

    #[test]
    fn dockers_mistakes_in_dockers_words() {
        for (json, words) in [
            (r#"{"x": {}}"#, "runtime x: either a runtimeType or a path must be configured"),
            (
                r#"{"x": {"path": "/x", "runtimeType": "io.containerd.x.v1"}}"#,
                "runtime x: cannot configure both path and runtimeType for the same runtime",
            ),
            (
                r#"{"x": {"path": "/x", "options": {}}}"#,
                "runtime x: options cannot be used with a path runtime",
            ),
            (
                r#"{"x": {"runtimeType": "io.containerd.x.v1", "runtimeArgs": ["a"]}}"#,
                "runtime x: args cannot be used with a runtimeType runtime",
            ),
            (r#"{"runc": {"path": "/x"}}"#, "runtime name 'runc' is reserved"),
        ] {
            assert_eq!(table(json, None).unwrap_err(), words);
        }
        assert_eq!(table("{}", Some("nope")).unwrap_err(), "specified default runtime 'nope' does not exist");
        table(r#"{"x": {"runtimeType": "/usr/bin/containerd-shim-x-v1"}}"#, None).unwrap_err();
        table(r#"{"x": {"runtimeType": "io.containerd.x.v1", "options": {"Root": "/y"}}}"#, None)
            .unwrap_err();
    }

    #[test]
    fn types_become_programs() {
        let known = table(
            r#"{"a": {"runtimeType": "io.containerd.runsc.v1"}, "b": {"runtimeType": "io.containerd.runc.v2"},
                "c": {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": "/opt/crun"}},
                "d": {"path": "/d", "runtimeArgs": ["-x", "y"]}}"#,
            Some("d"),
        )
        .unwrap();
        let path = |name: &str| match known.resolve(name).unwrap() {
            Chosen::Embedded => String::new(),
            Chosen::Binary(binary) => format!("{} {}", binary.path.display(), binary.args.join(" ")),
        };
        assert_eq!((path("a"), path("b")), ("runsc ".to_owned(), String::new()));
        assert_eq!((path("c"), path("")), ("/opt/crun ".to_owned(), "/d -x y".to_owned()));
    }
}
