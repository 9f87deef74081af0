//! Where a container's output is kept, and the options that say how.

use std::{collections::BTreeMap, path::PathBuf};

use pintle_runtime::{LogFile, LogFormat};
use pintle_template::{
    MissingKey, Template,
    log::{self, Chosen, Whose},
};

use super::{Container, ContainerSpec, LogConfig};
use crate::EngineError;

/// The file of a container's output below its own folder, and its format; `None` with the driver `none`.
pub(super) fn place(spec: &ContainerSpec, id: &str) -> Option<(PathBuf, LogFormat)> {
    match spec.log.driver.as_str() {
        "none" if spec.more_logs.is_empty() => None,
        "local" => Some((PathBuf::from("local-logs/container.log"), LogFormat::Local)),
        "" | "json-file" => Some((PathBuf::from(format!("{id}-json.log")), LogFormat::Json)),
        _ => Some((PathBuf::from("container-cached.log"), LogFormat::Local)),
    }
}

/// Whether its lines are taken to a driver, from what is kept here meanwhile.
pub(super) fn is_delivered(spec: &ContainerSpec) -> bool {
    !is_kept(&spec.log.driver)
}

/// Whether a driver's lines stay here, if they are kept at all.
pub(super) fn is_kept(driver: &str) -> bool {
    matches!(driver, "" | "none" | "local" | "json-file")
}

/// The labels that give a container more drivers: `pintle.log-driver.NAME=DRIVER`, `pintle.log-opt.NAME.KEY=VALUE`.
const DRIVER: &str = "pintle.log-driver.";
const OPTION: &str = "pintle.log-opt.";

/// The drivers that labels give it besides its own.
pub(super) fn more(labels: &BTreeMap<String, String>) -> Result<BTreeMap<String, LogConfig>, EngineError> {
    let mut more: BTreeMap<String, LogConfig> = BTreeMap::new();
    for (label, driver) in labels {
        let Some(name) = label.strip_prefix(DRIVER) else { continue };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(EngineError::invalid(format!(
                "label {label:.150}: a name has letters, digits, - and _, and not more than 64 of them"
            )));
        }
        if is_kept(driver) {
            return Err(EngineError::invalid(format!(
                "label {label:.150}: {driver:.100} keeps lines on this host; give it with --log-driver"
            )));
        }
        more.insert(name.to_owned(), LogConfig { driver: driver.clone(), options: BTreeMap::new() });
    }
    for (label, value) in labels {
        let Some((name, key)) = label.strip_prefix(OPTION).and_then(|rest| rest.split_once('.')) else {
            continue;
        };
        let Some(config) = more.get_mut(name) else {
            return Err(EngineError::invalid(format!(
                "label {label:.150}: there is no label {DRIVER}{name:.64} that says which driver it is for"
            )));
        };
        config.options.insert(key.to_owned(), value.clone());
    }
    Ok(more)
}

/// Everybody whom its lines are taken to: its own driver without a name, and more by name.
pub(super) fn destinations(spec: &ContainerSpec) -> Vec<(String, LogConfig)> {
    let own = is_delivered(spec).then(|| (String::new(), spec.log.clone()));
    let more = spec.more_logs.iter().map(|(name, config)| (name.clone(), config.clone()));
    own.into_iter().chain(more).collect()
}

/// Whether the user wants that nobody reads what is kept here until the driver has it.
pub(super) fn hides(spec: &ContainerSpec) -> bool {
    let disabled = spec.log.options.get("cache-disabled");
    // What is kept of `none` is for other drivers.
    spec.log.driver == "none"
        || is_delivered(spec)
            && disabled.is_some_and(|value| flag("cache-disabled", value).unwrap_or_default())
}

/// Where and how output is kept; `None` keeps nothing. Without a container it is only looked whether the options are good.
pub(super) fn log_file(
    spec: &ContainerSpec,
    container: Option<&Container>,
    path: PathBuf,
) -> Result<Option<LogFile>, EngineError> {
    let driver = match spec.log.driver.as_str() {
        "" => "json-file",
        driver => driver,
    };
    if driver == "none" {
        let kept = LogFile {
            path,
            max_size: Some(20 << 20),
            max_files: 5,
            format: LogFormat::Local,
            ..LogFile::default()
        };
        return Ok(Some(kept).filter(|_| !spec.more_logs.is_empty()));
    }
    mode(spec)?;
    let mut file = LogFile { path, max_size: None, max_files: 1, ..LogFile::default() };
    let delivered = is_delivered(spec);
    if driver == "local" || delivered {
        file = LogFile { max_size: Some(20 << 20), max_files: 5, format: LogFormat::Local, ..file };
    }
    // What waits for a driver is read once, and soon.
    let mut compress = driver == "local";
    for (key, value) in &spec.log.options {
        match key.as_str() {
            "cache-max-size" if delivered => file.max_size = size(key, value)?,
            "cache-max-file" if delivered => {
                let count = value.parse().ok().filter(|count| (1..=1000).contains(count));
                file.max_files = count.ok_or_else(|| {
                    EngineError::invalid(format!(
                        "invalid log opt cache-max-file: {value:.100}: must be from 1 to 1000"
                    ))
                })?;
            }
            "cache-compress" if delivered => compress = flag(key, value)?,
            "mode" | "max-buffer-size" => {}
            // What a driver's options mean it says itself.
            _ if delivered => {}
            "max-size" => file.max_size = size(key, value)?,
            "max-file" => {
                file.max_files =
                    value.parse().ok().filter(|count| (1..=1000).contains(count)).ok_or_else(|| {
                        EngineError::invalid(format!(
                            "invalid log opt max-file: {value}: must be from 1 to 1000"
                        ))
                    })?;
            }
            "labels" | "labels-regex" | "env" | "env-regex" | "tag" => {}
            "compress" => compress = flag(key, value)?,
            _ => {
                // Docker's two drivers say it in two ways.
                let whom = if driver == "local" { "log driver local" } else { "json-file log driver" };
                return Err(EngineError::invalid(format!("unknown log opt '{key:.100}' for {whom}")));
            }
        }
    }
    // Docker's words.
    if driver == "local" && compress && file.max_files < 2 {
        return Err(EngineError::invalid("compression cannot be enabled when max file count is 1"));
    }
    let rotates = file.max_size.is_some() && file.max_files > 1;
    if driver == "json-file" && compress && !rotates {
        return Err(EngineError::invalid(
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ));
    }
    file.compress = compress && rotates;
    file.attrs = match attributes(spec, container) {
        Ok(attributes) => attributes,
        // What it means there the driver says itself.
        Err(_) if delivered => BTreeMap::new(),
        Err(error) => return Err(error),
    };
    Ok(Some(file))
}

/// The options that every driver has. The shim never keeps a container waiting for its log.
fn mode(spec: &ContainerSpec) -> Result<(), EngineError> {
    let mode = spec.log.options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(EngineError::invalid(format!("logger: logging mode not supported: {mode:.100}")));
    }
    if let Some(value) = spec.log.options.get("max-buffer-size") {
        if mode != "non-blocking" {
            return Err(EngineError::invalid(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ));
        }
        size("max-buffer-size", value)?;
    }
    Ok(())
}

/// Go's spellings of true and false.
fn flag(option: &str, text: &str) -> Result<bool, EngineError> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => {
            Err(EngineError::invalid(format!("invalid log opt {option}: {text:.100}: must be true or false")))
        }
    }
}

/// What stands beside each line in `docker logs --details`: the tag, if the user gave one, and labels and variables.
fn attributes(
    spec: &ContainerSpec,
    container: Option<&Container>,
) -> Result<BTreeMap<String, String>, EngineError> {
    let option = |key: &str| spec.log.options.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let refused = |key: &str, value: &str, why: &str| {
        EngineError::invalid(format!("invalid log opt {key}: {value:.100}: {why}"))
    };
    let chosen = Chosen::parse(option).map_err(|error| refused(error.key, &error.value, &error.why))?;
    let mut attributes: BTreeMap<String, String> = chosen.of(&spec.labels, &spec.env).into_iter().collect();
    if let Some(tag) = option("tag") {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let command = container.map(|known| log::command(&known.path, &known.args)).unwrap_or_default();
        let whose = container.map_or_else(Whose::default, |known| Whose {
            id: &known.id,
            name: &known.name,
            image_id: &known.image_id,
            image_name: &spec.image,
            command: &command,
            hostname: &hostname,
        });
        let filled = Template::parse(tag).and_then(|tag| tag.render(&whose.facts(), MissingKey::Error));
        attributes.insert("tag".to_owned(), filled.map_err(|error| refused("tag", tag, &error.to_string()))?);
    }
    Ok(attributes)
}

/// `10m` and the like, in powers of two; `-1` means no limit.
fn size(option: &str, text: &str) -> Result<Option<u64>, EngineError> {
    let invalid = || EngineError::invalid(format!("invalid log opt {option}: {text:.100}"));
    if text == "-1" {
        return Ok(None);
    }
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match lower.get(digits.len()..).unwrap_or_default() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(invalid()),
    };
    let number: u64 = digits.trim().parse().map_err(|_| invalid())?;
    number.checked_mul(factor).filter(|bytes| *bytes > 0).map(Some).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_give_more_drivers() {
        let labels = |pairs: &[(&str, &str)]| {
            more(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        let found = labels(&[
            ("pintle.log-driver.audit", "syslog"),
            ("pintle.log-opt.audit.syslog-address", "udp://h:1"),
            ("other", "1"),
        ])
        .unwrap();
        assert_eq!(found["audit"].options["syslog-address"], "udp://h:1");
        labels(&[("pintle.log-driver.x/y", "syslog")]).unwrap_err();
        labels(&[("pintle.log-driver.x", "json-file")]).unwrap_err();
        labels(&[("pintle.log-opt.x.tag", "1")]).unwrap_err();
    }

    #[test]
    fn a_tag_is_filled_when_its_container_is_known_and_what_a_plugin_means_by_it_is_its_own() {
        let option = |driver: &str, tag: &str| ContainerSpec {
            image: "nginx".to_owned(),
            log: LogConfig {
                driver: driver.to_owned(),
                options: [("tag".to_owned(), tag.to_owned())].into(),
            },
            ..ContainerSpec::default()
        };
        let tag = |driver: &str, tag: &str| {
            let spec = std::sync::Arc::new(option(driver, tag));
            let container = Container {
                updating: None,
                id: "0123456789abcdef".to_owned(),
                name: "web".to_owned(),
                created: chrono::Utc::now(),
                image_id: "sha256:1".to_owned(),
                os: "linux".to_owned(),
                spec,
                path: "sh".to_owned(),
                args: vec!["-c".to_owned()],
                mounts: Default::default(),
                life: crate::containers::Lifecycle::new(),
            };
            let file = log_file(&container.spec, Some(&container), "/l".into()).unwrap().unwrap();
            file.attrs.get("tag").cloned()
        };
        for driver in ["json-file", "local", "shipper"] {
            let filled = tag(driver, "{{.ID}}/{{.Name}}/{{.ImageName}}/{{.Command}}");
            assert_eq!(filled.as_deref(), Some("0123456789ab/web/nginx/sh -c"), "{driver}");
        }
        assert_eq!(tag("shipper", "{{range"), None);
        log_file(&option("local", "{{range"), None, "/l".into()).unwrap_err();
    }

    #[test]
    fn log_options() {
        let mut spec = ContainerSpec::default();
        spec.log.options = [("max-size", "10m"), ("max-file", "3"), ("labels", "a,b"), ("env", "E")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        spec.labels.insert("a".into(), "1".into());
        spec.env = vec!["E=2=3".into()];
        let file = log_file(&spec, None, "/l".into()).unwrap().unwrap();
        assert_eq!((file.max_size, file.max_files), (Some(10 << 20), 3));
        assert_eq!(file.attrs, [("E", "2=3"), ("a", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        spec.log.options = [("labels-regex", "^a"), ("env-regex", "E|F"), ("mode", "non-blocking")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let file = log_file(&spec, None, "/l".into()).unwrap().unwrap();
        assert_eq!(file.attrs, [("E", "2=3"), ("a", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        spec.log.driver = "local".into();
        spec.log.options = [("max-file".to_owned(), "2".to_owned())].into();
        let file = log_file(&spec, None, "/l".into()).unwrap().unwrap();
        assert_eq!((file.format, file.max_size, file.max_files), (LogFormat::Local, Some(20 << 20), 2));
        assert!(file.compress, "as Docker's does");
        spec.log.options = [("max-file".to_owned(), "1".to_owned())].into();
        let error = log_file(&spec, None, "/l".into()).unwrap_err();
        assert_eq!(error.message, "compression cannot be enabled when max file count is 1");
        spec.log.options.insert("compress".to_owned(), "F".to_owned());
        assert!(!log_file(&spec, None, "/l".into()).unwrap().unwrap().compress);
        spec.log.driver = "syslog".into();
        for (value, expected) in [("0", false), ("1", true)] {
            spec.log.options = [("cache-compress".to_owned(), value.to_owned())].into();
            assert_eq!(log_file(&spec, None, "/l".into()).unwrap().unwrap().compress, expected);
        }
        spec.log.driver = String::new();
        for (key, value) in [
            ("max-size", "x"),
            ("max-size", "0"),
            ("max-file", "0"),
            ("bogus", "1"),
            ("compress", "true"),
            ("compress", "perhaps"),
            ("mode", "sometimes"),
            ("max-buffer-size", "1m"),
            ("labels-regex", "("),
            ("tag", "{{.Name"),
            ("tag", "{{.Nope}}"),
        ] {
            spec.log.options = [(key.to_owned(), value.to_owned())].into();
            log_file(&spec, None, "/l".into()).unwrap_err();
        }
    }
}
