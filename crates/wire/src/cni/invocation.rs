//! What stands in a plugin's environment.

use std::path::{Path, PathBuf};

use super::{
    error::{CniError, code},
    name,
};

/// What a plugin is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Attach.
    Add,
    /// Detach.
    Del,
    /// Is the attachment as it was?
    Check,
    /// Could you attach?
    Status,
    /// Which versions do you speak?
    Version,
    /// These attachments are all that there are.
    Gc,
}

impl Command {
    /// As it is spelled.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
            Self::Gc => "GC",
        }
    }

    fn parse(text: &str) -> Result<Self, CniError> {
        [Self::Add, Self::Del, Self::Check, Self::Status, Self::Version, Self::Gc]
            .into_iter()
            .find(|command| command.name() == text)
            .ok_or_else(|| CniError::new(code::ENVIRONMENT, format!("unknown CNI_COMMAND: {text:.32}")))
    }

    /// Whether it is about one attachment.
    pub fn has_attachment(self) -> bool {
        matches!(self, Self::Add | Self::Del | Self::Check)
    }
}

/// One call of a plugin: everything but the configuration, which it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// The attachment's container.
    pub container: String,
    /// A path that opens its network namespace; `None` if it is gone.
    pub namespace: Option<PathBuf>,
    /// The attachment's interface.
    pub interface: String,
    /// The user's own words for plugins.
    pub args: Vec<(String, String)>,
    /// Where plugins are.
    pub path: Vec<PathBuf>,
}

impl Invocation {
    /// The variables that say it: those of CNI that apply, and no other.
    pub fn to_env(&self) -> Vec<(&'static str, String)> {
        let mut env = vec![("CNI_COMMAND", self.command.name().to_owned())];
        if self.command.has_attachment() {
            let namespace = self.namespace.as_deref().unwrap_or(Path::new(""));
            env.push(("CNI_CONTAINERID", self.container.clone()));
            env.push(("CNI_NETNS", namespace.to_string_lossy().into_owned()));
            env.push(("CNI_IFNAME", self.interface.clone()));
            if !self.args.is_empty() {
                let args: Vec<String> =
                    self.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
                env.push(("CNI_ARGS", args.join(";")));
            }
        }
        if self.command == Command::Version {
            // Plugins of before VERSION look for these first, and would complain of them instead of the command.
            env.extend([
                ("CNI_CONTAINERID", "dummy".into()),
                ("CNI_NETNS", "dummy".into()),
                ("CNI_IFNAME", "dummy".into()),
            ]);
        }
        let path: Vec<_> = self.path.iter().map(|folder| folder.to_string_lossy()).collect();
        env.push(("CNI_PATH", path.join(":")));
        env
    }

    /// Reads it from variables, and refuses what is missing or cannot be.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, CniError> {
        let text = |name: &str| get(name).unwrap_or_default();
        let command = text("CNI_COMMAND");
        if command.is_empty() {
            return Err(CniError::new(code::ENVIRONMENT, "required env variables [CNI_COMMAND] missing"));
        }
        let command = Command::parse(&command)?;
        let mut needed = Vec::new();
        if command.has_attachment() {
            needed.extend(["CNI_CONTAINERID", "CNI_IFNAME"]);
            if command != Command::Del {
                needed.push("CNI_NETNS");
            }
        }
        let missing: Vec<&str> = needed.into_iter().filter(|name| text(name).is_empty()).collect();
        if !missing.is_empty() {
            let missing = missing.join(",");
            return Err(CniError::new(
                code::ENVIRONMENT,
                format!("required env variables [{missing}] missing"),
            ));
        }
        let namespace = text("CNI_NETNS");
        let invocation = Self {
            command,
            container: text("CNI_CONTAINERID"),
            namespace: (!namespace.is_empty()).then(|| PathBuf::from(namespace)),
            interface: text("CNI_IFNAME"),
            args: Self::parse_args(&text("CNI_ARGS"))?,
            path: text("CNI_PATH")
                .split(':')
                .filter(|folder| !folder.is_empty())
                .map(PathBuf::from)
                .collect(),
        };
        if command.has_attachment() {
            let wrong = |error: name::InvalidName| CniError::new(code::ENVIRONMENT, error.to_string());
            name::container_id(&invocation.container).map_err(wrong)?;
            name::interface_name(&invocation.interface).map_err(wrong)?;
        }
        Ok(invocation)
    }

    /// Reads `KEY=VALUE;KEY=VALUE`. What could not be written again is refused.
    pub fn parse_args(text: &str) -> Result<Vec<(String, String)>, CniError> {
        let pair = |pair: &str| {
            let wrong = || CniError::new(code::ENVIRONMENT, format!("invalid CNI_ARGS pair {pair:.64?}"));
            let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
            if key.is_empty() || value.contains('=') || pair.contains('\0') {
                return Err(wrong());
            }
            Ok((key.to_owned(), value.to_owned()))
        };
        text.split(';').filter(|part| !part.is_empty()).map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(command: Command) -> Invocation {
        Invocation {
            command,
            container: "c1".into(),
            namespace: Some("/run/netns/x".into()),
            interface: "eth0".into(),
            args: vec![("IP".into(), "10.0.0.7".into()), ("IgnoreUnknown".into(), "1".into())],
            path: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
        }
    }

    #[test]
    fn environments_there_and_back() {
        for command in [Command::Add, Command::Check, Command::Del] {
            let (call, env) = (call(command), call(command).to_env());
            let get = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
            assert_eq!(Invocation::from_env(get).unwrap(), call);
        }
        let gone = Invocation { namespace: None, args: Vec::new(), ..call(Command::Del) };
        assert_eq!(
            gone.to_env(),
            [
                ("CNI_COMMAND", "DEL".to_owned()),
                ("CNI_CONTAINERID", "c1".to_owned()),
                ("CNI_NETNS", String::new()),
                ("CNI_IFNAME", "eth0".to_owned()),
                ("CNI_PATH", "/opt/cni/bin:/usr/lib/cni".to_owned()),
            ]
        );
        let names: Vec<&str> = call(Command::Gc).to_env().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["CNI_COMMAND", "CNI_PATH"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let from = |pairs: &[(&str, &str)]| {
            Invocation::from_env(|name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        let error = from(&[("CNI_COMMAND", "ADD"), ("CNI_IFNAME", "eth0")]).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (4, "required env variables [CNI_CONTAINERID,CNI_NETNS] missing")
        );
        let base = [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "c1")];
        assert!(from(&[base[0], base[1], ("CNI_IFNAME", "eth0")]).is_ok());
        assert!(from(&[base[0], base[1], ("CNI_IFNAME", "a/b")]).is_err());
        assert!(from(&[base[0], ("CNI_CONTAINERID", "../x"), ("CNI_IFNAME", "eth0")]).is_err());
        assert_eq!(from(&[("CNI_COMMAND", "EXPLODE")]).unwrap_err().message, "unknown CNI_COMMAND: EXPLODE");
        assert!(Invocation::parse_args("a=b=c").is_err() && Invocation::parse_args("=c").is_err());
        assert!(Invocation::parse_args("").unwrap().is_empty());
    }
}
