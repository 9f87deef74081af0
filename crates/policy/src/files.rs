//! Where policies and their data come from.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde_json::{Map, Value, json};

/// A policy that comes with pintle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub text: &'static str,
    /// Its own tests.
    pub tests: &'static str,
}

impl Ready {
    /// The first line, which says what it is for.
    pub fn about(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
    }
}

macro_rules! ready {
    ($($name:literal)*) => {
        &[$(Ready {
            name: $name,
            text: include_str!(concat!("../policies/", $name, ".rego")),
            tests: include_str!(concat!("../policies/", $name, "_test.rego")),
        }),*]
    };
}

/// Policies that come with pintle. They refuse, and never allow, so that any of them can be in force together.
pub const READY: &[Ready] = ready![
    "commands" "hours" "images" "learned" "limits" "mounts" "no-privileges" "quotas" "rates" "read-only" "secrets" "teams"
];

/// The variables of this process that policies see as `data.env`.
const VARIABLES: [&str; 2] = ["ADMIN_USERS", "RESTRICTED_COMMANDS"];
/// And those that begin so.
const OURS: &str = "POLICY_";
/// A larger file is none of a policy.
const LARGEST: u64 = 64 << 20;

/// Policies and data as they were read.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Name and text of each policy.
    pub policies: Vec<(String, String)>,
    /// Name and text of each policy with tests.
    pub tests: Vec<(String, String)>,
    /// Documents, which are merged.
    pub data: Vec<(String, Value)>,
}

impl Sources {
    /// Reads files, folders with all that is below them, and ready policies by name. What ends in `.rego` is a policy, what ends in
    /// `.json` is data; in a folder everything else is left alone.
    ///
    /// # Errors
    /// What cannot be read, and why.
    pub fn read(sources: &[String]) -> Result<Self, String> {
        let mut read = Self::default();
        for source in sources {
            if let Some(ready) = READY.iter().find(|ready| ready.name == source) {
                read.policies.push((format!("{source}.rego"), ready.text.to_owned()));
                read.tests.push((format!("{source}_test.rego"), ready.tests.to_owned()));
                continue;
            }
            let path = Path::new(source);
            if !path.exists() && !source.contains(['/', '.']) {
                let known: Vec<&str> = READY.iter().map(|ready| ready.name).collect();
                return Err(format!(
                    "{source}: no such file, and no policy of that name (there are {})",
                    known.join(", ")
                ));
            }
            for file in files(path)? {
                read.file(&file)?;
            }
        }
        if read.policies.is_empty() {
            return Err("there is no policy: name files that end in .rego, folders with such files, or ready policies".to_owned());
        }
        read.data.push(("the environment".to_owned(), environment()));
        Ok(read)
    }

    fn file(&mut self, file: &Path) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let length = std::fs::metadata(file).map_err(|error| failed(&error))?.len();
        if length > LARGEST {
            return Err(failed(&format!("it is longer than {LARGEST} bytes")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| failed(&error))?;
        let name = file.display().to_string();
        if name.ends_with("_test.rego") {
            self.tests.push((name, text));
        } else if name.ends_with(".rego") {
            self.policies.push((name, text));
        } else {
            let document: Value = serde_json::from_str(&text).map_err(|error| failed(&error))?;
            if !document.is_object() {
                return Err(failed(&"data must be an object"));
            }
            self.data.push((name, document));
        }
        Ok(())
    }
}

fn environment() -> Value {
    let wanted = |name: &String| VARIABLES.contains(&name.as_str()) || name.starts_with(OURS);
    let all = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let env: Map<String, Value> =
        all.filter(|(name, _)| wanted(name)).map(|(name, value)| (name, value.into())).collect();
    json!({ "env": env })
}

/// A file that is named, or all of a folder's that count, in order.
fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        let known = path.extension().is_some_and(|ending| ending == "rego" || ending == "json");
        return if known {
            Ok(vec![path.to_owned()])
        } else {
            Err(format!("{}: a policy ends in .rego, data in .json", path.display()))
        };
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        let hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        let counts = entry.extension().is_some_and(|ending| ending == "rego" || ending == "json");
        // A folder that is reached by a link may be one that it is in.
        if counts || std::fs::symlink_metadata(&entry).is_ok_and(|facts| facts.is_dir()) {
            found.extend(files(&entry)?);
        }
    }
    found.sort();
    Ok(found)
}

/// What tells that files changed.
pub(crate) type Stamp = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

pub(crate) fn stamp(sources: &[String]) -> Stamp {
    let named = sources.iter().filter(|source| !READY.iter().any(|ready| ready.name == **source));
    let all =
        named.flat_map(|source| files(Path::new(source)).unwrap_or_else(|_| vec![PathBuf::from(source)]));
    all.map(|file| {
        let facts = std::fs::metadata(&file).ok();
        let facts = facts.and_then(|facts| Some((facts.modified().ok()?, facts.len())));
        (file, facts)
    })
    .collect()
}
