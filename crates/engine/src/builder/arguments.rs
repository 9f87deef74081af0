//! `ARG` and `--build-arg`.

use std::collections::{BTreeMap, BTreeSet};

use pintle_image::{Platform, dockerfile::variable};

/// Known without being declared, and no part of what makes a step the same.
const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Build arguments as one build sees them.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// What the client gave.
    given: BTreeMap<String, Option<String>>,
    /// Declared before the first stage.
    global: BTreeMap<String, Option<String>>,
    /// Declared in this stage.
    stage: BTreeMap<String, Option<String>>,
    used: BTreeSet<String>,
}

impl Arguments {
    pub fn new(given: BTreeMap<String, Option<String>>, target: &Platform) -> Self {
        let host = Platform::host();
        let mut arguments = Self { given, ..Self::default() };
        for (prefix, platform) in [("BUILD", &host), ("TARGET", target)] {
            for (name, value) in [
                ("PLATFORM", platform.to_string()),
                ("OS", platform.os.clone()),
                ("ARCH", platform.architecture.clone()),
                ("VARIANT", platform.variant.clone().unwrap_or_default()),
            ] {
                arguments.global.insert(format!("{prefix}{name}"), Some(value));
            }
        }
        arguments
    }

    /// A new stage knows nothing of the last one's.
    pub fn begin_stage(&mut self) {
        self.stage.clear();
    }

    /// An `ARG` before the first stage.
    pub fn declare_global(&mut self, name: &str, default: Option<String>) {
        self.used.insert(name.to_owned());
        self.global.insert(name.to_owned(), default);
    }

    /// An `ARG` in a stage.
    pub fn declare(&mut self, name: &str, default: Option<String>) {
        self.used.insert(name.to_owned());
        self.stage.insert(name.to_owned(), default);
    }

    /// What an argument is before the first stage, and in its `FROM`.
    pub fn global(&self, name: &str) -> Option<String> {
        let declared = self.global.get(name)?;
        self.given.get(name).cloned().flatten().or_else(|| declared.clone())
    }

    fn value(&self, name: &str) -> Option<String> {
        let default = self.stage.get(name).cloned().flatten();
        let given = self.given.get(name).cloned().flatten();
        given.or(default).or_else(|| self.global.get(name).cloned().flatten())
    }

    /// What a variable of a stage is: the image's environment wins over arguments.
    pub fn variable(&self, env: &[String], name: &str) -> Option<String> {
        variable(env, name).or_else(|| {
            let known = self.stage.contains_key(name) || PREDEFINED.contains(&name);
            known.then(|| self.value(name)).flatten()
        })
    }

    /// `NAME=value` for the environment of a command.
    pub fn environment(&self, env: &[String]) -> Vec<String> {
        self.seen(env, true)
    }

    /// The part of it that makes a step another one.
    pub fn identity(&self, env: &[String]) -> Vec<String> {
        self.seen(env, false)
    }

    fn seen(&self, env: &[String], with_predefined: bool) -> Vec<String> {
        let predefined = PREDEFINED.iter().copied().filter(|name| {
            with_predefined && !self.stage.contains_key(*name) && self.given.contains_key(*name)
        });
        let names: BTreeSet<&str> = self.stage.keys().map(String::as_str).chain(predefined).collect();
        names
            .into_iter()
            .filter(|name| variable(env, name).is_none())
            .filter_map(|name| Some(format!("{name}={}", self.value(name)?)))
            .collect()
    }

    /// Given, and declared nowhere.
    pub fn unused(&self) -> Vec<&str> {
        self.given
            .keys()
            .map(String::as_str)
            .filter(|name| !self.used.contains(*name) && !PREDEFINED.contains(name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> Arguments {
        let given =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
        Arguments::new(given, &Platform::host())
    }

    #[test]
    fn the_client_wins_over_defaults_and_the_image_over_both() {
        let mut arguments = given(&[("A", "client"), ("Z", "unused"), ("http_proxy", "p")]);
        arguments.declare_global("A", Some("global".into()));
        arguments.declare_global("G", Some("global".into()));
        assert_eq!(arguments.global("A").as_deref(), Some("client"));
        // A stage sees nothing that it does not declare.
        assert_eq!(arguments.variable(&[], "A"), None);
        arguments.declare("A", Some("stage".into()));
        arguments.declare("G", None);
        arguments.declare("D", Some("default".into()));
        arguments.declare("N", None);
        let of = |name: &str, env: &[String]| arguments.variable(env, name);
        assert_eq!(of("A", &[]).as_deref(), Some("client"));
        assert_eq!(of("A", &["A=image".into()]).as_deref(), Some("image"));
        assert_eq!(of("G", &[]).as_deref(), Some("global"));
        assert_eq!(of("D", &[]).as_deref(), Some("default"));
        assert_eq!(of("N", &[]), None);
        assert_eq!(arguments.environment(&["D=image".into()]), ["A=client", "G=global", "http_proxy=p"]);
        assert_eq!(arguments.identity(&[]), ["A=client", "D=default", "G=global"]);
        assert_eq!(arguments.unused(), ["Z"]);
        arguments.begin_stage();
        assert_eq!(arguments.variable(&[], "D"), None);
    }
}
