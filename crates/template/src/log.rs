//! What stands beside a container's lines: the tag, and the labels and variables that its user chose.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Value, json};

/// What a tag can say of the container.
#[derive(Debug, Clone, Copy, Default)]
pub struct Whose<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its name, with the leading slash or without.
    pub name: &'a str,
    /// The image's id.
    pub image_id: &'a str,
    /// The image as it was asked for.
    pub image_name: &'a str,
    /// Program and arguments.
    pub command: &'a str,
    /// The host's name.
    pub hostname: &'a str,
}

impl Whose<'_> {
    /// The document that a tag is filled from, with Docker's keys.
    pub fn facts(&self) -> Value {
        json!({
            "ID": short(self.id),
            "FullID": self.id,
            "Name": self.name.strip_prefix('/').unwrap_or(self.name),
            "ImageID": short(self.image_id),
            "ImageFullID": self.image_id,
            "ImageName": self.image_name,
            "Command": self.command,
            "DaemonName": "docker",
            "Hostname": self.hostname,
        })
    }
}

/// The first twelve digits of an id.
pub fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

/// Program and arguments, as a tag shows them.
pub fn command(program: &str, args: &[String]) -> String {
    let words: Vec<&str> = std::iter::once(program).chain(args.iter().map(String::as_str)).collect();
    words.join(" ")
}

/// An option that is no regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {value:.100}: {why}")]
pub struct Refused {
    /// The option.
    pub key: &'static str,
    /// What the user gave.
    pub value: String,
    /// What is wrong with it.
    pub why: String,
}

/// Which labels and variables the options `labels`, `labels-regex`, `env` and `env-regex` choose.
#[derive(Debug, Clone)]
pub struct Chosen {
    labels: Names,
    env: Names,
}

#[derive(Debug, Clone)]
struct Names {
    listed: Vec<String>,
    pattern: Option<Regex>,
}

impl Names {
    fn parse(listed: Option<&str>, key: &'static str, pattern: Option<&str>) -> Result<Self, Refused> {
        let listed = listed.map(|names| names.split(',').map(|name| name.trim().to_owned()).collect());
        let refused =
            |text: &str, why: &regex::Error| Refused { key, value: text.to_owned(), why: why.to_string() };
        let pattern = pattern.map(|text| Regex::new(text).map_err(|why| refused(text, &why))).transpose()?;
        Ok(Self { listed: listed.unwrap_or_default(), pattern })
    }

    fn take(&self, name: &str) -> bool {
        self.listed.iter().any(|listed| listed == name)
            || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(name))
    }
}

impl Chosen {
    /// Reads the options; `option` gives the value of one if the user gave any.
    pub fn parse<'a>(option: impl Fn(&str) -> Option<&'a str>) -> Result<Self, Refused> {
        Ok(Self {
            labels: Names::parse(option("labels"), "labels-regex", option("labels-regex"))?,
            env: Names::parse(option("env"), "env-regex", option("env-regex"))?,
        })
    }

    /// Those that a container has of them; a variable takes the place of a label.
    pub fn of(&self, labels: &BTreeMap<String, String>, env: &[String]) -> Vec<(String, String)> {
        let labels = labels.iter().filter(|(name, _)| self.labels.take(name));
        let mut found: Vec<(String, String)> =
            labels.map(|(name, value)| (name.clone(), value.clone())).collect();
        let variables = env.iter().filter_map(|variable| variable.split_once('='));
        for (name, value) in variables.filter(|(name, _)| self.env.take(name)) {
            found.retain(|(have, _)| have != name);
            found.push((name.to_owned(), value.to_owned()));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MissingKey, Template};

    #[test]
    fn a_tag_says_whose_lines_they_are() {
        let whose = Whose {
            id: "0123456789abcdef",
            name: "/web",
            image_id: "sha256:fedcba98765432100",
            image_name: "nginx",
            command: "nginx -g x",
            hostname: "h",
        };
        let filled =
            |text: &str| Template::parse(text).and_then(|tag| tag.render(&whose.facts(), MissingKey::Error));
        let tag =
            "{{.ID}} {{.Name}}/{{upper .ImageName}}/{{.DaemonName}}/{{.ImageID}} {{.Command}}@{{.Hostname}}";
        assert_eq!(filled(tag).unwrap(), "0123456789ab web/NGINX/docker/fedcba987654 nginx -g x@h");
        filled("{{.Nope}}").unwrap_err();
    }

    #[test]
    fn labels_and_variables_are_chosen_by_name_and_by_pattern() {
        let options: BTreeMap<&str, &str> = [("labels", "a, b"), ("env", "X"), ("env-regex", "^H")].into();
        let chosen = Chosen::parse(|key| options.get(key).copied()).unwrap();
        let labels = [("a", "1"), ("c", "2"), ("X", "3")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let env = ["HOME=/root", "X=4=5", "Y=6", "Z"].map(str::to_owned);
        let expected = [("a", "1"), ("HOME", "/root"), ("X", "4=5")];
        assert_eq!(chosen.of(&labels, &env), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let refused = Chosen::parse(|key| (key == "env-regex").then_some("(")).unwrap_err();
        assert_eq!((refused.key, &refused.value[..]), ("env-regex", "("));
    }
}
