//! `-v`, `--mount` and `--tmpfs`.

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value, json};

use crate::render::units;

/// The `-v` values without a source: paths of anonymous volumes.
pub fn anonymous(volumes: &[String]) -> Vec<String> {
    volumes.iter().filter(|v| !v.contains(':')).cloned().collect()
}

/// The `-v` values with a source, a relative host path made absolute.
pub fn binds(volumes: &[String]) -> Result<Vec<String>> {
    volumes
        .iter()
        .filter(|v| v.contains(':'))
        .map(|volume| {
            let (source, rest) = volume.split_once(':').unwrap_or((volume, ""));
            if source.is_empty() || rest.is_empty() || volume.split(':').count() > 3 {
                bail!("invalid volume specification: '{volume}': give SOURCE:PATH[:OPTIONS]");
            }
            let relative =
                source == "." || source == ".." || source.starts_with("./") || source.starts_with("../");
            if relative {
                let base = std::env::current_dir()?;
                let absolute = std::path::absolute(base.join(source))?;
                let clean = lexically_clean(&absolute);
                return Ok(format!("{}:{rest}", clean.display()));
            }
            match source.strip_prefix("~/").zip(std::env::home_dir()) {
                Some((tail, home)) => Ok(format!("{}:{rest}", home.join(tail).display())),
                None => Ok(volume.clone()),
            }
        })
        .collect()
}

fn lexically_clean(path: &std::path::Path) -> std::path::PathBuf {
    let mut out = std::path::PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// `--tmpfs PATH[:OPTIONS]`.
pub fn tmpfs(values: &[String]) -> Map<String, Value> {
    values
        .iter()
        .map(|value| {
            let (path, options) = value.split_once(':').unwrap_or((value, ""));
            (path.to_owned(), Value::from(options))
        })
        .collect()
}

/// `--mount type=…,source=…,target=…`.
pub fn mount(text: &str) -> Result<Value> {
    let mut mount = Map::new();
    let mut volume = Map::new();
    let mut driver = Map::new();
    let mut bind = Map::new();
    let mut tmpfs = Map::new();
    mount.insert("Type".into(), "volume".into());
    for field in csv(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.trim().to_lowercase(), Some(value)),
            None => (field.trim().to_lowercase(), None),
        };
        let wanted = || value.ok_or_else(|| anyhow!("invalid field '{field}' must be a key=value pair"));
        let switch = || match value {
            None | Some("1" | "true") => Ok(true),
            Some("0" | "false") => Ok(false),
            Some(other) => Err(anyhow!("invalid value for {key}: {other} (must be \"true\" or \"false\")")),
        };
        match key.as_str() {
            "type" => {
                mount.insert("Type".into(), wanted()?.to_lowercase().into());
            }
            "source" | "src" => {
                mount.insert("Source".into(), wanted()?.into());
            }
            "target" | "dst" | "destination" => {
                mount.insert("Target".into(), wanted()?.into());
            }
            "readonly" | "ro" => {
                mount.insert("ReadOnly".into(), switch()?.into());
            }
            "consistency" => {
                mount.insert("Consistency".into(), wanted()?.to_lowercase().into());
            }
            "bind-propagation" => {
                bind.insert("Propagation".into(), wanted()?.to_lowercase().into());
            }
            "bind-nonrecursive" => {
                bind.insert("NonRecursive".into(), switch()?.into());
            }
            "bind-recursive" => match wanted()? {
                "enabled" => {}
                "disabled" => {
                    bind.insert("NonRecursive".into(), true.into());
                }
                "writable" => {
                    bind.insert("ReadOnlyNonRecursive".into(), true.into());
                }
                "readonly" => {
                    bind.insert("ReadOnlyForceRecursive".into(), true.into());
                }
                other => bail!("invalid value for bind-recursive: {other}"),
            },
            "volume-nocopy" => {
                volume.insert("NoCopy".into(), switch()?.into());
            }
            "volume-subpath" => {
                volume.insert("Subpath".into(), wanted()?.into());
            }
            "volume-label" => put(&mut volume, "Labels", wanted()?),
            "volume-driver" => {
                driver.insert("Name".into(), wanted()?.into());
            }
            "volume-opt" => put(&mut driver, "Options", wanted()?),
            "tmpfs-size" => {
                let bytes =
                    units::parse_memory(wanted()?).map_err(|e| anyhow!("invalid value for {key}: {e}"))?;
                tmpfs.insert("SizeBytes".into(), bytes.into());
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(wanted()?, 8)
                    .map_err(|_| anyhow!("invalid value for {key}: {}", value.unwrap_or_default()))?;
                tmpfs.insert("Mode".into(), mode.into());
            }
            _ => bail!("unknown option '{key}' in '{field}'"),
        }
    }
    let kind = mount.get("Type").and_then(Value::as_str).unwrap_or("").to_owned();
    if !mount.contains_key("Target") {
        bail!("target is required");
    }
    for (options, owner, present) in [
        ("volume-*", "volume", !volume.is_empty() || !driver.is_empty()),
        ("bind-*", "bind", !bind.is_empty()),
        ("tmpfs-*", "tmpfs", !tmpfs.is_empty()),
    ] {
        if present && kind != owner {
            bail!("cannot mix '{options}' options with mount type '{kind}'");
        }
    }
    if !driver.is_empty() {
        volume.insert("DriverConfig".into(), driver.into());
    }
    for (key, options) in [("VolumeOptions", volume), ("BindOptions", bind), ("TmpfsOptions", tmpfs)] {
        if !options.is_empty() {
            mount.insert(key.into(), options.into());
        }
    }
    Ok(json!(mount))
}

/// Adds `entry` to the object at `key`.
fn put(map: &mut Map<String, Value>, key: &str, entry: &str) {
    let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
    if let Some(object) = map.entry(key).or_insert_with(|| Value::Object(Map::new())).as_object_mut() {
        object.insert(name.to_owned(), value.into());
    }
}

/// One line of comma-separated values; a field may be quoted, with `""` for a quote.
pub fn csv(text: &str) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let mut field = String::new();
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    let mut started = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            '"' if !started => quoted = true,
            '"' => bail!("a bare \" in {text:?}: quote the whole field"),
            ',' if !quoted => {
                out.push(std::mem::take(&mut field));
                started = false;
                continue;
            }
            _ => field.push(c),
        }
        started = true;
    }
    if quoted {
        bail!("an unclosed \" in {text:?}");
    }
    out.push(field);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts() {
        assert_eq!(
            mount("type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave").unwrap(),
            json!({"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true, "BindOptions": {"Propagation": "rslave"}})
        );
        assert_eq!(
            mount("source=v,target=/d,volume-driver=p,volume-opt=size=1g,\"volume-opt=o=a,b\",volume-nocopy")
                .unwrap(),
            json!({"Type": "volume", "Source": "v", "Target": "/d", "VolumeOptions": {
                "NoCopy": true, "DriverConfig": {"Name": "p", "Options": {"size": "1g", "o": "a,b"}}}})
        );
        assert_eq!(
            mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777").unwrap()["TmpfsOptions"],
            json!({"SizeBytes": 1 << 20, "Mode": 0o1777})
        );
        for (text, why) in [
            ("type=bind,src=/a", "target is required"),
            ("type=tmpfs,target=/t,volume-nocopy", "cannot mix"),
            ("type=bind,target=/t,nosuch=1", "unknown option"),
            ("target", "key=value"),
            ("\"target=/x", "unclosed"),
        ] {
            let error = mount(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn volumes() {
        let given = ["/anon".to_owned(), "v:/d:ro,nocopy".to_owned(), "./x/../y:/d".to_owned()];
        assert_eq!(anonymous(&given), ["/anon"]);
        let binds = binds(&given).unwrap();
        assert_eq!(binds[0], "v:/d:ro,nocopy");
        assert_eq!(binds[1], format!("{}/y:/d", std::env::current_dir().unwrap().display()));
        assert!(super::binds(&["a:b:c:d".into()]).is_err() && super::binds(&[":/x".into()]).is_err());
    }
}
