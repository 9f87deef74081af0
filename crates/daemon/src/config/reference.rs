//! Every key of `daemon.json`, for the reference in `docs/`.

use clap::Args as _;

use super::{Options, fixed::FIXED, network_options::NetworkOptions, raw::KEYS, without_effect};

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// The flag that says the same, if there is one.
    pub flag: Option<String>,
    /// What it is for.
    pub about: String,
    /// When a change of it counts.
    pub effect: Effect,
}

/// When a change of a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// From the next SIGHUP on.
    Reload,
    /// From the next start on.
    Restart,
    /// Never: it is read for compatibility.
    Never,
}

/// Keys whose flag has another name.
const OTHERWISE: [(&str, &str); 5] = [
    ("runtimes", "add-runtime"),
    ("containerd-plugin-namespace", "containerd-plugins-namespace"),
    ("insecure-registries", "insecure-registry"),
    ("default-address-pools", "default-address-pool"),
    ("features", "feature"),
];

/// Keys without a flag.
const FILE_ONLY: &[(&str, &str)] = &[
    ("default-stop-timeout", "Seconds between a container's stop signal and its end, if it does not say"),
    ("default-network-driver", "The driver of networks that name none"),
    ("host-gateway-ips", "What `host-gateway` stands for in `--add-host`, one of each family"),
    (
        "more-log-drivers",
        "Drivers that take every container's lines besides its own, by name: `{\"audit\": {\"driver\": \"syslog\", \"options\": {…}}}`",
    ),
    (
        "policy",
        "What the built-in authorizer `policy` decides by: `sources`, `package`, `decision-timeout-ms`, or `opa` with `url`, `cache-ms`, `token-file`; files are followed",
    ),
    (
        "audit",
        "A trail of every request and what was decided: `file`, `max-size`, `max-file`, `required`, `bodies`, `redact`, `exclude`, `log-drivers`",
    ),
    ("plugin-spec-dirs", "Where `.spec` and `.json` files of legacy plugins are looked for"),
    (
        "restart-unhealthy-plugins",
        "Managed plugins that are restarted when they leave three probes unanswered, by name; `*` is all of them",
    ),
    (
        "plugins",
        "What is configured of whole kinds of plugins: `cni` with `enabled`, `config-path`, `binary-path`; `runtimes`, the OCI runtimes of single plugins",
    ),
    (
        "authorization-changers",
        "Authorization plugins that may change requests and answers, by name; the built-in `policy` always may",
    ),
    (
        "identity",
        "How it is told who asks: `unix`, `certificate` (`cn` or `san`), `jwt` with `issuer`, `audience`, `jwks`, `jwks-ca`, `user-claim`, `groups-claim`, `required`",
    ),
    (
        "authorization-recovery-socket",
        "A socket on which the host's root is served without authorization, to mend what authorizes; each request is logged",
    ),
    (
        "proxies",
        "Through whom registries are asked: `http-proxy`, `https-proxy`, `no-proxy`, as the flags of these names",
    ),
    (
        "min-api-version",
        "The oldest version of the API that is answered; `DOCKER_MIN_API_VERSION` in the environment goes before it",
    ),
];

/// Every key, in the alphabet's order.
pub fn keys() -> Vec<Key> {
    let flags = Options::augment_args(clap::Command::new("daemon"));
    let network = NetworkOptions::augment_args(clap::Command::new("network"));
    let mut all: Vec<Key> = KEYS
        .iter()
        .map(|name| {
            let spelt = |long: &str| {
                long == *name || name.strip_suffix('s') == Some(long) || OTHERWISE.contains(&(*name, long))
            };
            let flag = flags.get_arguments().find(|arg| arg.get_long().is_some_and(spelt));
            let of_networks = network.get_arguments().any(|arg| arg.get_long().is_some_and(spelt));
            let file_only =
                FILE_ONLY.iter().find(|(key, _)| key == name).map(|(_, about)| (*about).to_owned());
            let about =
                flag.and_then(clap::Arg::get_help).map(|help| help.to_string().replace(" (repeatable)", ""));
            let effect = if without_effect(name) {
                Effect::Never
            } else if FIXED.contains(name)
                || of_networks
                || name.starts_with("tls")
                || ["default-network-driver", "host-gateway-ips", "plugins"].contains(name)
            {
                Effect::Restart
            } else {
                Effect::Reload
            };
            let about = file_only.or(about).unwrap_or_else(|| match effect {
                Effect::Never => "Accepted without effect".to_owned(),
                _ => String::new(),
            });
            Key { name, flag: flag.and_then(|arg| arg.get_long()).map(str::to_owned), about, effect }
        })
        .collect();
    all.sort_by_key(|key| key.name);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_described() {
        let silent: Vec<_> =
            keys().into_iter().filter(|key| key.about.is_empty()).map(|key| key.name).collect();
        assert!(silent.is_empty(), "describe these in FILE_ONLY: {silent:?}");
    }

    #[test]
    fn flags_and_effects_are_found() {
        let all = keys();
        let key = |name: &str| all.iter().find(|key| key.name == name).unwrap();
        assert_eq!((key("hosts").flag.as_deref(), key("hosts").effect), (Some("host"), Effect::Restart));
        assert_eq!((key("debug").flag.as_deref(), key("debug").effect), (Some("debug"), Effect::Reload));
        assert_eq!(key("builder").effect, Effect::Never);
        assert_eq!(key("bip").effect, Effect::Restart);
        assert_eq!(key("default-stop-timeout").flag, None);
    }
}
