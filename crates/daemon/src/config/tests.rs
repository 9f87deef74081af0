use clap::Parser;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    options: Options,
}

fn load(args: &[&str]) -> Result<Config, String> {
    let args = ["daemon"].iter().chain(args);
    Config::load(&Command::try_parse_from(args).map_err(|error| error.to_string())?.options)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn dockerds_flags_are_taken() {
    let config = load(&[
        "-H",
        "unix:///tmp/x.sock",
        "--host=tcp://127.0.0.1:0",
        "--data-root",
        "/tmp/d",
        "--exec-root",
        "/tmp/e",
        "--pidfile",
        "/tmp/p",
        "-D",
        "--log-level=warn",
        "--insecure-registry",
        "10.0.0.0/8",
        "--registry-mirror",
        "https://m",
        "--add-runtime",
        "x=/bin/x",
        "--default-runtime",
        "runc",
        "--live-restore",
        "--storage-driver",
        "overlay2",
        "--userland-proxy=false",
        "--containerd",
        "/x.sock",
        "--shutdown-timeout",
        "3",
        "--label",
        "a=b",
        "--iptables=false",
        "--ip6tables=false",
        "--bridge",
        "none",
    ])
    .unwrap();
    assert_eq!(config.hosts.len(), 2);
    assert_eq!(config.log_level, tracing::Level::DEBUG);
    assert_eq!(config.registry_mirrors, ["https://m/"]);
    assert_eq!(config.shutdown_timeout, 3);
    assert!(config.warnings.iter().any(|warning| warning.starts_with("containerd")), "{:?}", config.warnings);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let error = load(&["--config-file", "/nonexistent/daemon.json"]).unwrap_err();
    assert!(error.contains("/nonexistent/daemon.json"), "{error}");
}

#[test]
fn the_files_mistakes_name_the_file() {
    let file = file("{\n \"debug\": tru }");
    let error = load(&["--config-file", file.path().to_str().unwrap()]).unwrap_err();
    assert!(error.contains("line 2") && error.contains(file.path().to_str().unwrap()), "{error}");
}

#[test]
fn flag_and_file_together_are_refused() {
    let file = file(r#"{"debug": false}"#);
    let error = load(&["-D", "--config-file", file.path().to_str().unwrap()]).unwrap_err();
    assert!(
        error.contains("the following directives are specified both as a flag and in the configuration file: debug: (from flag: true, from file: false)"),
        "{error}"
    );
}

#[test]
fn what_would_weaken_the_engine_in_silence_is_refused() {
    for text in [
        r#"{"authorization-plugins": [""]}"#,
        r#"{"authorization-recovery-socket": "relative"}"#,
        r#"{"userns-remap": "default"}"#,
        r#"{"rootless": true}"#,
        r#"{"api-cors-header": "*"}"#,
        r#"{"min-api-version": "1.10"}"#,
        r#"{"min-api-version": "v1.44"}"#,
        r#"{"oom-score-adjust": 1001}"#,
        r#"{"proxies": {"http-proxy": "http://["}}"#,
        r#"{"proxies": {"default": {"httpProxy": "http://x"}}}"#,
        r#"{"seccomp-profile": "/nonexistent"}"#,
        r#"{"storage-driver": "btrfs"}"#,
        r#"{"storage-opts": ["dm.basesize=1G"]}"#,
        r#"{"storage-opts": ["overlay2.size=much"]}"#,
        r#"{"log-driver": "etwlogs"}"#,
        r#"{"more-log-drivers": {"a/b": {"driver": "syslog"}}}"#,
        r#"{"more-log-drivers": {"a": {"driver": "json-file"}}}"#,
        r#"{"more-log-drivers": {"a": {"drivers": "syslog"}}}"#,
        r#"{"default-runtime": "nope"}"#,
        r#"{"runtimes": {"x": {}}}"#,
        r#"{"runtimes": {"runc": {"path": "/x"}}}"#,
        r#"{"max-concurrent-downloads": 0}"#,
        r#"{"registry-mirrors": ["m"]}"#,
        r#"{"labels": ["a"]}"#,
        r#"{"hosts": ["npipe://"]}"#,
        r#"{"data-root": "relative"}"#,
        r#"{"log-level": "loud"}"#,
        r#"{"log-opts": {"max-file": 3}}"#,
        r#"{"log-opts": {"nonsense": "1"}}"#,
        r#"{"log-opts": {"max-size": "much"}}"#,
        r#"{"log-driver": "local", "log-opts": {"tag": "x", "mode": "sometimes"}}"#,
        r#"{"log-driver": "syslog", "log-opts": {"syslog-address": "nowhere"}}"#,
        r#"{"log-driver": "gelf", "log-opts": {"tag": "x"}}"#,
        r#"{"log-driver": "shipper", "log-opts": {"pintle-include": "("}}"#,
        r#"{"more-log-drivers": {"a": {"driver": "syslog", "options": {"nonsense": "1"}}}}"#,
    ] {
        let file = file(text);
        load(&["--config-file", file.path().to_str().unwrap()]).expect_err(text);
    }
}

#[test]
fn what_has_no_effect_here_says_why() {
    let config = load(&[
        "--selinux-enabled=false",
        "--rootless=false",
        "--userns-remap=",
        "--allow-nondistributable-artifacts=r.test",
        "--cpu-rt-period=1000000",
        "--cpu-rt-runtime=950000",
        "--node-generic-resource=gpu=1",
        "--swarm-default-advertise-addr=eth0",
        "--network-control-plane-mtu=1500",
        "--userland-proxy-path=/usr/bin/docker-proxy",
    ])
    .unwrap();
    let warned = |key: &str, why: &str| {
        let mut found =
            config.warnings.iter().filter(|warning| warning.starts_with(&format!("{key} has no effect")));
        assert!(found.any(|warning| warning.contains(why)), "{key}: {:?}", config.warnings);
    };
    warned("allow-nondistributable-artifacts", "in this version");
    warned("cpu-rt-period", "real-time");
    warned("cpu-rt-runtime", "real-time");
    warned("node-generic-resources", "no swarm mode");
    warned("swarm-default-advertise-addr", "no swarm mode");
    warned("network-control-plane-mtu", "no swarm mode");
    warned("userland-proxy-path", "no userland proxy");
    assert_eq!(config.warnings.len(), 7, "{:?}", config.warnings);
    let selinux = load(&["--selinux-enabled"]);
    assert_eq!(selinux.is_err(), std::path::Path::new("/sys/fs/selinux/enforce").exists());
    if let Ok(config) = selinux {
        assert!(config.warnings[0].contains("no SELinux"), "{:?}", config.warnings);
    }
}

#[test]
fn proxies_of_flags_and_file_are_one_setting_each() {
    let file = file(r#"{"proxies": {"https-proxy": "http://me:secret@one:3128", "no-proxy": "a.test"}}"#);
    let path = file.path().to_str().unwrap();
    let config = load(&["--http-proxy=http://two:3128", "--config-file", path]).unwrap();
    let proxies = config.proxies.unwrap();
    assert_eq!(
        (proxies.http.as_str(), proxies.https.as_str(), proxies.except.as_str()),
        ("http://two:3128", "http://me:secret@one:3128", "a.test")
    );
    let error = load(&["--https-proxy=http://x", "--config-file", path]).unwrap_err();
    assert!(
        error.contains("https-proxy: (from flag: http://x, from file: http://xxxxx:xxxxx@one:3128)"),
        "{error}"
    );
}

#[test]
fn the_oldest_version_and_the_score_are_read() {
    let file = file(r#"{"min-api-version": "1.44", "oom-score-adjust": -500}"#);
    let config = load(&["--config-file", file.path().to_str().unwrap()]).unwrap();
    assert_eq!(
        (config.min_api_version.to_string(), config.oom_score_adjust),
        ("1.44".to_owned(), Some(-500))
    );
    assert_eq!(load(&[]).unwrap().min_api_version, version::MIN);
    let both = min_api_version(Some("1.44".into()), Some("1.45".into())).unwrap();
    assert_eq!(both.to_string(), "1.45");
    assert!(
        min_api_version(None, Some("x".into())).unwrap_err().starts_with("invalid DOCKER_MIN_API_VERSION")
    );
}

#[test]
fn log_options_that_may_mean_something_are_not_refused() {
    for text in [
        r#"{"log-opts": {"max-file": "3"}}"#,
        r#"{"log-driver": "gelf"}"#,
        r#"{"log-driver": "shipper", "log-opts": {"any": "thing"}}"#,
        r#"{"more-log-drivers": {"a": {"driver": "shipper", "options": {"any": "thing"}}}}"#,
    ] {
        let file = file(text);
        load(&["--config-file", file.path().to_str().unwrap()]).expect(text);
    }
    let refused = file(r#"{"log-driver": "json-file", "log-opts": {"nonsense": "1"}}"#);
    assert_eq!(
        load(&["--config-file", refused.path().to_str().unwrap()]).unwrap_err(),
        "failed to set log opts: unknown log opt 'nonsense' for json-file log driver"
    );
}

#[test]
fn a_reload_reads_the_file_again_and_keeps_the_flags() {
    let file = file(r#"{"labels": ["a=1"]}"#);
    let config = load(&["--shutdown-timeout=7", "--config-file", file.path().to_str().unwrap()]).unwrap();
    std::fs::write(file.path(), r#"{"labels": ["a=2"], "debug": true}"#).unwrap();
    let again = config.reread().unwrap();
    assert_eq!((&again.labels[..], again.debug, again.shutdown_timeout), (&["a=2".to_owned()][..], true, 7));
    let moved = Config { data_root: "/elsewhere".into(), ..again };
    let (effective, kept) = moved.after_reload(&config);
    assert_eq!((effective.data_root, kept), (config.data_root.clone(), vec!["data-root"]));
    std::fs::write(file.path(), "{").unwrap();
    config.reread().unwrap_err();
}

#[test]
fn the_chain_is_of_the_flags_or_of_the_file_and_survives_a_reload() {
    let file = file("{}");
    let path = file.path().to_str().unwrap().to_owned();
    let flags = ["--authorization-plugin=b", "--authorization-plugin=a", "--authorization-plugin=b"];
    let config = load(&[&flags[..], &["--config-file", &path]].concat()).unwrap();
    assert_eq!(config.authorization_plugins, ["b", "a"]);
    std::fs::write(file.path(), r#"{"debug": true}"#).unwrap();
    assert_eq!(config.reread().unwrap().authorization_plugins, ["b", "a"]);
    std::fs::write(file.path(), r#"{"authorization-plugins": ["c"]}"#).unwrap();
    let error = config.reread().unwrap_err();
    assert!(
        error.contains("both as a flag and in the configuration file: authorization-plugins: (from flag: [b a b], from file: [c])"),
        "{error}"
    );
    let config = load(&["--config-file", &path]).unwrap();
    assert_eq!(config.authorization_plugins, ["c"]);
    std::fs::write(file.path(), "{}").unwrap();
    assert!(config.reread().unwrap().authorization_plugins.is_empty());
}

#[test]
fn sizes_are_read() {
    assert_eq!(bytes("64m"), Some(64 << 20));
    assert_eq!(bytes("1GiB"), Some(1 << 30));
    assert_eq!(bytes("1024"), Some(1024));
    assert_eq!(bytes("x"), None);
}

#[test]
fn a_seccomp_profile_is_read_at_once_and_named_if_it_is_bad() {
    let name = |args: &[&str]| load(args).map(|config| config.seccomp.name);
    assert_eq!(name(&[]).unwrap(), "builtin");
    assert_eq!(name(&["--seccomp-profile", ""]).unwrap(), "builtin");
    assert_eq!(name(&["--seccomp-profile=unconfined"]).unwrap(), "unconfined");
    let good = file(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
    let path = good.path().to_str().unwrap();
    assert_eq!(name(&["--seccomp-profile", path]).unwrap(), path);
    for bad in ["{", r#"{"defaultAction": "SCMP_ACT_PERHAPS"}"#] {
        let bad = file(bad);
        let path = bad.path().to_str().unwrap();
        let error = name(&["--seccomp-profile", path]).unwrap_err();
        assert!(error.contains(path), "{error}");
    }
}
