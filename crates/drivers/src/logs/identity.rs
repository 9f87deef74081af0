//! Whose lines they are: the tag, and the labels and variables that go along.

use pintle_contract::{DriverError, log::LogInfo};
use pintle_template::{MissingKey, Template};
use serde_json::{Value, json};

use super::options::Options;

/// Docker's tag where the user gives none.
pub(super) const DEFAULT: &str = "{{.ID}}";

/// Refuses what is no template and no regular expression.
pub(super) fn check(options: &Options<'_>) -> Result<(), DriverError> {
    if let Some(tag) = options.text("tag") {
        Template::parse(tag).map_err(|error| options.bad("tag", tag, &error.to_string()))?;
    }
    for key in ["labels-regex", "env-regex"] {
        if let Some(text) = options.text(key) {
            regex::Regex::new(text).map_err(|error| options.bad(key, text, &error.to_string()))?;
        }
    }
    Ok(())
}

/// The tag of a container's lines.
pub(super) fn tag(options: &Options<'_>, info: &LogInfo, default: &str) -> Result<String, DriverError> {
    fill(options, "tag", options.text("tag").unwrap_or(default), info)
}

/// `text`, which came with the option `key`, with the container's facts in its places.
pub(super) fn fill(
    options: &Options<'_>,
    key: &str,
    text: &str,
    info: &LogInfo,
) -> Result<String, DriverError> {
    let bad = |error: &dyn std::fmt::Display| options.bad(key, text, &error.to_string());
    let template = Template::parse(text).map_err(|error| bad(&error))?;
    template.render(&facts(info), MissingKey::Error).map_err(|error| bad(&error))
}

fn facts(info: &LogInfo) -> Value {
    json!({
        "ID": short(&info.id),
        "FullID": info.id,
        "Name": name(info),
        "ImageID": short(&info.image_id),
        "ImageFullID": info.image_id,
        "ImageName": info.image_name,
        "Command": command(info),
        "DaemonName": "docker",
        "Hostname": hostname(),
    })
}

/// The first twelve digits of an id.
pub(super) fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

/// The container's name without its slash.
pub(super) fn name(info: &LogInfo) -> &str {
    info.name.strip_prefix('/').unwrap_or(&info.name)
}

/// Program and arguments.
pub(super) fn command(info: &LogInfo) -> String {
    let words: Vec<&str> =
        std::iter::once(info.entrypoint.as_str()).chain(info.args.iter().map(String::as_str)).collect();
    words.join(" ")
}

/// This host's name.
pub(super) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The labels and variables that the user asked to have beside each line.
pub(super) fn attributes(
    options: &Options<'_>,
    info: &LogInfo,
) -> Result<Vec<(String, String)>, DriverError> {
    let pattern = |key: &str| match options.text(key) {
        None => Ok(None),
        Some(text) => {
            regex::Regex::new(text).map(Some).map_err(|error| options.bad(key, text, &error.to_string()))
        }
    };
    let listed = |key: &str, name: &str| {
        options.text(key).is_some_and(|names| names.split(',').any(|wanted| wanted.trim() == name))
    };
    let (labels, variables) = (pattern("labels-regex")?, pattern("env-regex")?);
    let mut found = Vec::new();
    for (name, value) in &info.labels {
        if listed("labels", name) || labels.as_ref().is_some_and(|pattern| pattern.is_match(name)) {
            found.push((name.clone(), value.clone()));
        }
    }
    for (name, value) in info.env.iter().filter_map(|variable| variable.split_once('=')) {
        if listed("env", name) || variables.as_ref().is_some_and(|pattern| pattern.is_match(name)) {
            found.retain(|(have, _)| have != name);
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_dockers_templates() {
        let given = [
            ("tag", "nginx.{{.Name}}/{{upper .ImageName}}/{{.DaemonName}}/{{.ImageID}}"),
            ("labels", "a"),
            ("env-regex", "^H"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let options = Options::new("x", &given, &[super::super::options::ATTRIBUTES, &["tag"]]).unwrap();
        let info = LogInfo {
            id: "0123456789abcdef".into(),
            name: "/web".into(),
            image_id: "sha256:fedcba98765432100".into(),
            image_name: "nginx".into(),
            env: vec!["HOME=/root".into(), "A=1".into()],
            labels: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into(),
            ..LogInfo::default()
        };
        assert_eq!(tag(&options, &info, DEFAULT).unwrap(), "nginx.web/NGINX/docker/fedcba987654");
        let expected = [("a", "1"), ("HOME", "/root")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(attributes(&options, &info).unwrap(), expected);
        let wrong = [("tag".to_owned(), "{{.Nope}}".to_owned())].into();
        let options = Options::new("x", &wrong, &[&["tag"]]).unwrap();
        tag(&options, &info, DEFAULT).unwrap_err();
    }
}
