//! Whose lines they are: the tag, and the labels and variables that go along.

use pintle_contract::{DriverError, log::LogInfo};
pub(super) use pintle_template::log::short;
use pintle_template::{
    MissingKey, Template,
    log::{self, Chosen, Whose},
};
use serde_json::Value;

use super::options::Options;

/// Docker's tag where the user gives none.
pub(super) const DEFAULT: &str = "{{.ID}}";

/// Refuses what is no template and no regular expression.
pub(super) fn check(options: &Options<'_>) -> Result<(), DriverError> {
    if let Some(tag) = options.text("tag") {
        Template::parse(tag).map_err(|error| options.bad("tag", tag, &error.to_string()))?;
    }
    chosen(options).map(drop)
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
    let whose = Whose {
        id: &info.id,
        name: &info.name,
        image_id: &info.image_id,
        image_name: &info.image_name,
        command: &command(info),
        hostname: &hostname(),
    };
    whose.facts()
}

/// The container's name without its slash.
pub(super) fn name(info: &LogInfo) -> &str {
    info.name.strip_prefix('/').unwrap_or(&info.name)
}

/// Program and arguments.
pub(super) fn command(info: &LogInfo) -> String {
    log::command(&info.entrypoint, &info.args)
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
    Ok(chosen(options)?.of(&info.labels, &info.env))
}

fn chosen(options: &Options<'_>) -> Result<Chosen, DriverError> {
    Chosen::parse(|key| options.text(key))
        .map_err(|refused| options.bad(refused.key, &refused.value, &refused.why))
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
