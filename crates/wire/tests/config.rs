//! `config.json`, from the author's text to what Docker shows, and everything that a user may do to it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use pintle_wire::config::{
    Args, Env, Mount, PluginConfig, Privilege, SeccompProfile, SetError, Settings, Severity, apply_set,
    decode_privileges, effective_config, merge_settings, overrides, privileges, privileges_difference,
    privileges_match, validate, validate_text,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const SEED: &[u8] = include_bytes!("golden/seed-config.json");
const SECURITY: &[u8] = include_bytes!("golden/seed-security.json");

#[test]
fn the_seeds_config_is_read_comments_and_all() {
    let config = PluginConfig::parse(SEED).unwrap();
    let shown = serde_json::to_value(&config).unwrap();
    // Shape, spelling and nulls as `docker plugin inspect` shows them.
    let expected = json!({
        "Args": { "Description": "", "Name": "", "Settable": null, "Value": null },
        "Description": "My custom volume plugin",
        "Documentation": "https://github.com/me/my-volume-plugin",
        "Entrypoint": ["/usr/bin/my-volume-plugin"],
        "Env": [{
            "Description": "Enable debugging output", "Name": "DEBUG", "Settable": ["value"], "Value": "0",
        }],
        "Interface": { "Socket": "my-volume-plugin.sock", "Types": ["docker.volumedriver/1.0"] },
        "IpcHost": false,
        "Linux": { "AllowAllDevices": false, "Capabilities": ["CAP_SYS_ADMIN"], "Devices": null },
        "Mounts": [{
            "Description": "", "Destination": "/var/lib/docker/volumes", "Name": "", "Options": ["rbind"],
            "Settable": null, "Source": "/var/lib/docker/volumes", "Type": "bind",
        }],
        "Network": { "Type": "host" },
        "PidHost": false,
        "PropagatedMount": "/mnt/volumes",
        "User": {},
        "WorkDir": "/",
    });
    assert_eq!(shown, expected);
    assert_eq!(PluginConfig::parse(&config.to_bytes()).unwrap(), config, "written and read again");
    assert!(config.has_capability("volumedriver") && !config.has_capability("logdriver"));
}

#[test]
fn the_seeds_security_block_is_read_whole() {
    let config = PluginConfig::parse(SECURITY).unwrap();
    let linux = &config.linux;
    assert_eq!(linux.capabilities, ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
    assert_eq!(linux.devices[0].cgroup_permissions.as_deref(), Some("rwm"));
    assert_eq!(linux.seccomp.as_ref().unwrap().profile, SeccompProfile::Default);
    assert_eq!(linux.apparmor_profile.as_deref(), Some("docker-default"));
    assert_eq!(linux.no_new_privileges, Some(true));
    let again: PluginConfig = serde_json::from_slice(&config.to_bytes()).unwrap();
    assert_eq!(again, config);
    let (_, findings) = validate_text(SECURITY).unwrap();
    assert!(findings.iter().all(|finding| !finding.message.contains("no engine knows")), "{findings:?}");
}

#[test]
fn a_mistake_is_placed() {
    let place = |text: &str| {
        let error = PluginConfig::parse(text.as_bytes()).unwrap_err();
        (error.line, error.column, error.message)
    };
    assert_eq!(
        place("{\n  // a comment, with \"quotes\"\n  \"Mounts\": [\n    { \"source\": 7 }\n  ]\n}"),
        (4, 17, "Mounts[0].source: expected a string, found a number".to_owned())
    );
    let (line, column, message) = place("{ \"description\": \"a\" # ü\n  \"documentation\": \"b\" }");
    assert_eq!((line, column), (2, 3));
    assert!(message.contains("expected `,` or `}`"), "{message}");
    assert_eq!(place("{} /* open").0, 1);
    assert_eq!(place("{ \"x\": [,] }").0, 1);
    assert_eq!(place("{\"linux\":{\"seccomp\":{\"profile\":\"/etc/x\"}}}").1, 32);
    assert!(place("{\"linux\":{\"devices\":[{\"cgroup_permissions\":\"rwx\"}]}}").2.contains("\"rwx\""));
}

#[test]
fn defaults_and_vacancies_survive() {
    let config = PluginConfig::parse(
        br#"{"ENV":[{"name":"A"},{"name":"B","value":""},{"name":"C","value":"c"}],
             "mounts":[{"name":"m","source":null}],
             "args":{"name":"args","value":["a","b"]},
             "linux":{"devices":[{"name":"d","path":null}]}}"#,
    )
    .unwrap();
    let settings = Settings::initial(&config);
    assert_eq!(settings.env, ["B=", "C=c"]);
    assert_eq!(settings.args, ["a", "b"]);
    assert_eq!(settings.env_value("B"), Some(""));
    let shown = serde_json::to_value(&config).unwrap();
    assert_eq!(shown["Env"][0]["Value"], Value::Null);
    assert_eq!(shown["Mounts"][0]["Source"], Value::Null);
    let shown = serde_json::to_value(&settings).unwrap();
    assert_eq!(shown["Mounts"][0]["Source"], Value::Null);
    assert_eq!(serde_json::from_value::<Settings>(shown).unwrap(), settings);
}

/// One of everything that can be set, and some that cannot.
fn settable() -> PluginConfig {
    PluginConfig::parse(
        br#"{
        "env": [{"name":"DEBUG","value":"0","settable":["value"]}, {"name":"FIXED","value":"x"},
                {"name":"NEW","settable":["value"]}, {"name":"TWO","settable":["value","description"]},
                {"name":"ODD","settable":["name"]}],
        "mounts": [{"name":"data.dir","source":"/a","settable":["source"]}, {"name":"void","settable":["source"]}],
        "linux": {"devices": [{"name":"disk","path":"/dev/a","settable":["path"]},
                              {"name":"none","settable":["path"]}]},
        "args": {"name":"args","value":["-v"],"settable":["value"]}
    }"#,
    )
    .unwrap()
}

fn set(items: &[&str]) -> Result<Settings, SetError> {
    let config = settable();
    let mut settings = Settings::initial(&config);
    let items: Vec<_> = items.iter().map(|item| (*item).to_owned()).collect();
    apply_set(&config, &mut settings, &items).map(|()| settings)
}

#[test]
fn set_sets_what_docker_sets() {
    let settings =
        set(&["DEBUG=1", "NEW.value=a=b", "data.dir.source=/b", "disk=/dev/b", "args=-a  b"]).unwrap();
    assert_eq!(settings.env, ["DEBUG=1", "FIXED=x", "NEW=a=b"]);
    assert_eq!(settings.mounts[0].source.as_deref(), Some("/b"));
    assert_eq!(settings.devices[0].path.as_deref(), Some("/dev/b"));
    assert_eq!(settings.args, ["-a", "", "b"], "split at single spaces");
    assert_eq!(set(&["DEBUG="]).unwrap().env[0], "DEBUG=");
    assert_eq!(set(&["DEBUG"]).unwrap().env[0], "DEBUG=");
    assert_eq!(set(&["TWO.value=1"]).unwrap().env_value("TWO"), Some("1"));
    let shown = effective_config(&settable(), &settings);
    assert_eq!(shown.mounts[0].source.as_deref(), Some("/b"));
    assert_eq!(shown.linux.devices[0].path.as_deref(), Some("/dev/b"));
}

#[test]
fn set_refuses_in_dockers_words() {
    let text = |item: &str| set(&[item]).unwrap_err().to_string();
    assert!(text("X=1").starts_with("setting \"X\" not found in the plugin configuration"));
    assert!(
        text("X=1").ends_with("can be set: DEBUG, NEW, TWO, data.dir, void, disk, none, args"),
        "{}",
        text("X")
    );
    assert_eq!(text("FIXED=1"), "\"FIXED\" is not settable");
    assert_eq!(text("DEBUG.name=1"), "\"DEBUG.name\" is not settable");
    assert_eq!(text("ODD=1"), "\"ODD.name\" is not settable");
    assert_eq!(text("=1"), "invalid format, must be <name>[.<field>][=<value>]");
    assert_eq!(text("TWO=1"), "multiple fields are settable, one must be specified");
    assert_eq!(text("void=/x"), "plugin config has no mount source");
    assert_eq!(text("none=/dev/x"), "plugin config has no device path");
}

#[test]
fn a_failing_list_applies_nothing() {
    let config = settable();
    let before = Settings::initial(&config);
    let mut settings = before.clone();
    assert!(apply_set(&config, &mut settings, &["DEBUG=1".to_owned(), "X=1".to_owned()]).is_err());
    assert_eq!(settings, before);
}

#[test]
fn an_upgrade_keeps_overrides_and_takes_new_defaults() {
    let old = settable();
    let mut settings = Settings::initial(&old);
    let items = ["DEBUG=1", "data.dir=/mine", "disk=/dev/mine"].map(str::to_owned);
    apply_set(&old, &mut settings, &items).unwrap();
    let mut new = settable();
    new.env[0].value = Some("5".to_owned());
    new.env[1].value = Some("y".to_owned());
    new.env.push(Env { name: "LATER".to_owned(), value: Some("1".to_owned()), ..Env::default() });
    new.mounts[0].source = Some("/new".to_owned());
    new.linux.devices[0].settable.clear();
    new.linux.devices[0].path = Some("/dev/new".to_owned());
    new.args.value = vec!["-q".to_owned()];
    let merged = merge_settings(&old, &settings, &new);
    assert_eq!(merged.env, ["DEBUG=1", "FIXED=y", "LATER=1"]);
    assert_eq!(merged.mounts[0].source.as_deref(), Some("/mine"));
    assert_eq!(merged.devices[0].path.as_deref(), Some("/dev/new"), "no longer settable");
    assert_eq!(merged.args, ["-q"]);
}

#[test]
fn privileges_are_dockers() {
    let config = PluginConfig::parse(
        br#"{"network":{"type":"host"},"ipchost":true,"pidhost":true,
             "mounts":[{"source":"/a"},{"source":null},{"source":"/b"}],
             "linux":{"allowAllDevices":true,"capabilities":["CAP_A","CAP_B"],"devices":[{"path":"/dev/x"}]}}"#,
    )
    .unwrap();
    let list = privileges(&config);
    let short: Vec<_> = list.iter().map(|it| format!("{} {}", it.name, it.value.join(","))).collect();
    let expected = [
        "network host",
        "host ipc namespace true",
        "host pid namespace true",
        "mount /a",
        "mount /b",
        "device /dev/x",
        "allow-all-devices true",
        "capabilities CAP_A,CAP_B",
    ];
    assert_eq!(short, expected);
    let body = serde_json::to_vec(&list).unwrap();
    assert_eq!(
        serde_json::to_value(&list[0]).unwrap(),
        json!({"Name":"network","Description":"permissions to access a network","Value":["host"]})
    );
    assert_eq!(decode_privileges(&body).unwrap(), list);
    assert_eq!(decode_privileges(b"null").unwrap(), []);
    assert_eq!(decode_privileges(b"").unwrap(), []);
    assert_eq!(decode_privileges(br#"[{"name":"x","value":null}]"#).unwrap()[0].name, "x");
    assert!(decode_privileges(b"{}").is_err());
    for none in ["", "null", "bridge"] {
        let config = PluginConfig::parse(format!(r#"{{"network":{{"type":"{none}"}}}}"#).as_bytes()).unwrap();
        assert_eq!(privileges(&config), [], "{none:?}");
    }
}

#[test]
fn a_difference_is_named() {
    let privilege = |name: &str, value: &str| Privilege {
        name: name.to_owned(),
        value: vec![value.to_owned()],
        ..Privilege::default()
    };
    let required = [privilege("mount", "/a"), privilege("mount", "/b")];
    let granted = [privilege("mount", "/b"), privilege("mount", "/b")];
    assert!(!privileges_match(&required, &granted), "as multisets, not as sets");
    let text = privileges_difference(&required, &granted).unwrap();
    assert_eq!(text, "not granted: mount: [/a]; granted but not asked for: mount: [/b]");
    assert_eq!(privileges_difference(&required, &required), None);
}

#[test]
fn validation_says_what_would_fail_and_what_can_be_dropped() {
    let findings = |text: &str| validate_text(text.as_bytes()).unwrap().1;
    let has = |text: &str, severity: Severity, path: &str, part: &str| {
        let all = findings(text);
        let found =
            all.iter().any(|it| it.severity == severity && it.path == path && it.message.contains(part));
        assert!(found, "{path} {part}: {all:#?}");
    };
    use Severity::{Error, Warning};
    has("{}", Error, "entrypoint", "no program");
    has("{}", Error, "interface.socket", "no socket");
    has("{}", Error, "interface.types", "docker.volumedriver/1.0");
    has(r#"{"interface":{"socket":"a/b"}}"#, Error, "interface.socket", "file name");
    has(
        r#"{"interface":{"types":["docker.VolumeDriver/1.0"]}}"#,
        Error,
        "interface.types[0]",
        "volumedriver",
    );
    has(r#"{"interface":{"types":["docker.volumedriver/2.0"]}}"#, Warning, "interface.types[0]", "1.0");
    has(r#"{"interface":{"types":["volumedriver"]}}"#, Error, "interface.types[0]", "prefix");
    has(r#"{"Linux":{"Capabilites":[]}}"#, Warning, "Linux.Capabilites", "ignored");
    has(r#"{"linux":{"capabilities":["CAP_CHOWN"]}}"#, Warning, "linux.capabilities[0]", "drop CAP_CHOWN");
    has(r#"{"linux":{"capabilities":["sys_admin"]}}"#, Error, "linux.capabilities[0]", "CAP_SYS_ADMIN");
    has(r#"{"mounts":[{"destination":"/x"}]}"#, Error, "mounts[0].source", "cannot be enabled");
    has(
        r#"{"mounts":[{"source":"/run/docker.sock","destination":"/x"}]}"#,
        Warning,
        "mounts[0].source",
        "host",
    );
    has(r#"{"pidhost":true}"#, Warning, "pidHost", "drop");
    let seed = validate_text(SEED).unwrap().1;
    assert!(seed.iter().all(|finding| finding.severity == Warning), "{seed:#?}");
    assert!(seed.iter().any(|finding| finding.path == "network.type" && finding.message.contains("drop")));
}

proptest! {
    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = validate_text(&bytes);
        let _ = decode_privileges(&bytes);
    }

    #[test]
    fn parsing_nearly_json_never_panics(text in r#"([{}\[\]",:#/*\n \\]|"[a-z]*"|null|1|"env"|"name"|//|/\*|\*/){0,60}"#) {
        let _ = validate_text(text.as_bytes());
    }

    /// Whatever was set: it stays over an upgrade to the same version, its overrides say it again, and setting
    /// twice is setting once.
    #[test]
    fn laws_of_set(values in proptest::collection::vec(("[a-z =.]{0,6}", 0..5_usize), 0..6)) {
        let config = settable();
        let names = ["DEBUG", "NEW", "data.dir.source", "disk", "args"];
        let items: Vec<_> = values.iter().map(|(value, name)| format!("{}={value}", names[*name])).collect();
        let mut settings = Settings::initial(&config);
        apply_set(&config, &mut settings, &items).unwrap();

        prop_assert_eq!(&merge_settings(&config, &settings, &config), &settings);

        let mut replayed = Settings::initial(&config);
        apply_set(&config, &mut replayed, &overrides(&config, &settings)).unwrap();
        prop_assert_eq!(&replayed, &settings);

        let mut twice = settings.clone();
        apply_set(&config, &mut twice, &items).unwrap();
        prop_assert_eq!(&twice, &settings);
    }

    /// T9: any difference at any position refuses; any order is accepted.
    #[test]
    fn any_difference_in_privileges_refuses(
        list in proptest::collection::vec(("[ab]", proptest::collection::vec("[xy]", 0..3)), 1..6),
        at in any::<prop::sample::Index>(),
        turn in any::<prop::sample::Index>(),
    ) {
        let required: Vec<_> = list
            .into_iter()
            .map(|(name, value)| Privilege { name, value, description: String::new() })
            .collect();
        let mut granted = required.clone();
        granted.rotate_left(turn.index(required.len()));
        prop_assert!(privileges_match(&required, &granted));

        let at = at.index(required.len());
        let mut less = granted.clone();
        less.remove(at);
        prop_assert!(!privileges_match(&required, &less));
        let mut more = granted.clone();
        more.push(granted[at].clone());
        prop_assert!(!privileges_match(&required, &more));
        let mut renamed = granted.clone();
        renamed[at].name.push('z');
        prop_assert!(!privileges_match(&required, &renamed));
        let mut widened = granted.clone();
        widened[at].value.push("z".to_owned());
        prop_assert!(!privileges_match(&required, &widened));
        prop_assert!(!privileges_match(&required, &[]));
    }

    /// What is written is read again as it was, whatever its keys looked like.
    #[test]
    fn written_and_read_again(
        description in ".{0,10}",
        value in proptest::option::of(".{0,6}"),
        source in proptest::option::of(".{0,6}"),
        args in proptest::collection::vec(".{0,4}", 0..3),
        upper in any::<bool>(),
    ) {
        let config = PluginConfig {
            description,
            env: vec![Env { name: "E".to_owned(), value, ..Env::default() }],
            mounts: vec![Mount { source, destination: "/x".to_owned(), ..Mount::default() }],
            args: Args { value: args, ..Args::default() },
            ..PluginConfig::default()
        };
        let value = serde_json::to_value(&config).unwrap();
        let value = recase(&value, upper);
        prop_assert_eq!(&PluginConfig::from_value(&value).unwrap(), &config);
        let _ = validate(&config);
    }
}

fn recase(value: &Value, upper: bool) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let key = if upper { key.to_uppercase() } else { key.to_lowercase() };
                (key, recase(value, upper))
            })
            .collect(),
        Value::Array(items) => items.iter().map(|item| recase(item, upper)).collect(),
        other => other.clone(),
    }
}
