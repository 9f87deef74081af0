//! Which devices the files describe.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::edits::Edits;

/// No file is larger: a host with hundreds of devices has one of some hundred kilobytes.
const LARGEST: u64 = 8 << 20;

/// A file as it is written. Keys of later versions are passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    cdi_version: String,
    kind: String,
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

/// A device: what it needs itself, and what every device of its file needs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub file: PathBuf,
    pub common: Edits,
    pub own: Edits,
}

/// What was read from the directories.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Registry {
    /// By kind and name, `vendor.com/class=name`.
    pub(super) devices: BTreeMap<String, Known>,
    /// Files that could not be read, and why.
    pub errors: Vec<(PathBuf, String)>,
}

impl Registry {
    /// Reads every file. One that is wrong is told in `errors` and stands in nobody's way.
    #[must_use]
    pub fn read(dirs: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for dir in dirs {
            let mut here: BTreeMap<String, Known> = BTreeMap::new();
            let mut files: Vec<PathBuf> =
                std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
            files.sort();
            let is_spec = |path: &PathBuf| {
                path.extension().is_some_and(|word| word == "json" || word == "yaml" || word == "yml")
            };
            for path in files.into_iter().filter(is_spec) {
                match devices(&path) {
                    Ok(found) => {
                        for (name, known) in found {
                            // Two files of one directory that describe a device: nobody knows which is meant.
                            if let Some(other) = here.get(&name) {
                                let why = format!("device {name} is in {} too", other.file.display());
                                registry.errors.push((path.clone(), why));
                            } else {
                                here.insert(name, known);
                            }
                        }
                    }
                    Err(why) => registry.errors.push((path, why)),
                }
            }
            registry.devices.extend(here);
        }
        registry
    }

    /// The names of all devices.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }
}

fn devices(path: &Path) -> Result<Vec<(String, Known)>, String> {
    let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if meta.len() > LARGEST {
        return Err(format!("is larger than {LARGEST} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file: File = if path.extension().is_some_and(|word| word == "json") {
        serde_json::from_str(&text).map_err(|error| error.to_string())?
    } else {
        serde_yaml_ng::from_str(&text).map_err(|error| error.to_string())?
    };
    if !file.cdi_version.starts_with("0.") && !file.cdi_version.starts_with("1.") {
        return Err(format!("is of version {:?}, which is not known", file.cdi_version));
    }
    let (vendor, class) = file.kind.split_once('/').ok_or_else(|| format!("invalid kind {:?}", file.kind))?;
    if !is_name(vendor, "-_.") || !is_name(class, "-_") {
        return Err(format!("invalid kind {:?}", file.kind));
    }
    file.devices
        .into_iter()
        .map(|device| {
            if device.name.is_empty()
                || !device.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
            {
                return Err(format!("invalid device name {:?}", device.name));
            }
            let known = Known {
                file: path.to_owned(),
                common: file.container_edits.clone(),
                own: device.container_edits,
            };
            Ok((format!("{}={}", file.kind, device.name), known))
        })
        .collect()
}

fn is_name(text: &str, besides: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || besides.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read_and_mistakes_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write(
            "a.yaml",
            "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n- name: \"0\"\n  containerEdits:\n    deviceNodes:\n    - path: /dev/null\n- name: all\n  containerEdits: {env: [A=b]}\ncontainerEdits:\n  env: [X=y]\n",
        );
        write(
            "b.json",
            r#"{"cdiVersion":"0.6.0","kind":"v.com/c","devices":[{"name":"d","containerEdits":{}}]}"#,
        );
        write("c.json", "{");
        write(
            "d.json",
            r#"{"cdiVersion":"0.6.0","kind":"v.com/c","devices":[{"name":"d","containerEdits":{}}]}"#,
        );
        write("e.json", r#"{"cdiVersion":"0.6.0","kind":"../x","devices":[]}"#);
        write("f.txt", "not ours");
        let registry = Registry::read(&[dir.path().to_owned(), "/no/such".into()]);
        assert_eq!(
            registry.names().collect::<Vec<_>>(),
            ["nvidia.com/gpu=0", "nvidia.com/gpu=all", "v.com/c=d"]
        );
        let wrong: Vec<_> =
            registry.errors.iter().map(|(path, _)| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(wrong, ["c.json", "d.json", "e.json"]);
    }
}
