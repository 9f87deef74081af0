//! The managed life cycle, with real processes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod house;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use house::{House, config, is_ready, until};
use pintle_contract::{CreateVolume, ErrorKind as Kind, MountId};
use pintle_host::{ErrorKind, Holder, PluginAction, PluginFilters, PluginState};
use serde_json::json;

const DEFAULT: Duration = Duration::ZERO;

#[tokio::test]
async fn a_plugin_lives_serves_and_leaves_nothing() {
    let house = House::new();
    let host = house.host().await;
    let id = house.create(&host, "vol", &config()).await;
    let plugin = host.get("vol").unwrap();
    assert_eq!(
        (plugin.id.as_str(), plugin.name.as_str(), plugin.enabled),
        (id.as_str(), "vol:latest", false)
    );
    assert_eq!(plugin.state, PluginState::Disabled);
    assert!(plugin.size > 100_000);
    assert_eq!(
        host.volume_driver("vol").await.unwrap_err().to_string(),
        "plugin vol:latest found but disabled"
    );

    host.enable("vol", DEFAULT).await.unwrap();
    let plugin = host.get(&id[..12]).unwrap();
    let unified = !Path::new("/sys/fs/cgroup/pids").exists();
    assert!(unified || Path::new("/sys/fs/cgroup/pids/pintle").join(&id).exists());
    assert!(plugin.enabled && is_ready(&plugin) && plugin.pid.is_some());
    let error = host.enable("vol", DEFAULT).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin already enabled: plugin vol:latest is enabled");
    assert_eq!(host.set("vol", &["DELAY=1".into()]).await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(host.remove("vol", false).await.unwrap_err().to_string(), "plugin vol:latest is enabled");

    let driver = host.volume_driver("vol").await.unwrap();
    assert_eq!((driver.name.as_str(), driver.plugin_id.as_deref()), ("vol:latest", Some(id.as_str())));
    let driver = driver.driver;
    driver.create(CreateVolume { name: "v".into(), ..CreateVolume::default() }).await.unwrap();
    let path = driver.mount("v", &MountId("m".into())).await.unwrap();
    assert_eq!(path, house.path().join("data/plugins").join(&id).join("propagated-mount/v"));
    assert!(path.is_dir());
    assert_eq!(driver.get("v").await.unwrap().mountpoint.unwrap(), path);
    assert_eq!(driver.get("none").await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(host.volume_drivers().await.len(), 1);
    assert_eq!(host.get("vol").unwrap().calls["VolumeDriver.Mount"].calls, 1);

    assert_eq!(host.top("vol").await.unwrap(), [host.get("vol").unwrap().pid.unwrap()]);
    assert!(host.stats("vol").await.unwrap().memory.usage > 0);
    let log = std::fs::read_to_string(host.log_path("vol").unwrap()).unwrap();
    assert!(log.contains(r#"args [\"one\"]"#), "{log}");

    let lease = host.lease("vol", Holder::Volume("v".into()));
    for refused in [host.disable("vol", false).await, host.remove("vol", false).await] {
        let error = refused.unwrap_err();
        assert_eq!(error.to_string(), "plugin vol:latest is in use by volume v");
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    lease.release();
    host.disable("vol", false).await.unwrap();
    assert_eq!(host.get("vol").unwrap().state, PluginState::Disabled);
    let error = host.disable("vol", false).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin is already disabled: plugin vol:latest found but disabled");
    assert_eq!((house.tasks().len(), house.sockets().len(), house.mounts().len()), (0, 0, 0));

    host.enable("vol:latest", DEFAULT).await.unwrap();
    host.remove("vol", true).await.unwrap();
    assert_eq!(host.get("vol").unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!Path::new("/sys/fs/cgroup/pids/pintle").join(&id).exists());
    house.assert_clean();
    let events: Vec<_> = house.events.lock().unwrap().iter().map(|e| (e.action, e.name.clone())).collect();
    let expected = [
        (PluginAction::Create, "vol:latest"),
        (PluginAction::Enable, "vol"),
        (PluginAction::Disable, "vol"),
        (PluginAction::Enable, "vol:latest"),
        (PluginAction::Remove, "vol"),
    ];
    assert_eq!(events, expected.map(|(action, name)| (action, name.to_owned())));
    host.shutdown(true).await;
}

#[tokio::test]
async fn five_causes_give_five_errors() {
    let house = House::new();
    let host = house.host().await;
    let mut broken = config();
    broken["mounts"] = json!([{ "name": "data", "type": "bind", "source": "/no/such/dir", "destination": "/data", "settable": ["source"] }]);
    house.create(&host, "mount", &broken).await;
    house.create(&host, "vol", &config()).await;
    let foreign = foreign_archive(&house);
    host.create("arch", tokio::fs::File::open(foreign).await.unwrap()).await.unwrap();
    for (name, setting, seconds, texts) in [
        (
            "vol",
            "MODE=exit",
            20,
            &["exited with code 3", "reading the licence | the licence has expired"][..],
        ),
        ("arch", "", 20, &["wrong architecture: /bin/plugin is built for s390x, this host is"]),
        ("mount", "", 20, &["mount source \"/no/such/dir\" of mount \"data\" does not exist"]),
        ("vol", "MODE=wrong-socket", 2, &["wrong socket", "\"v.sock\"", "\"other.sock\""]),
        ("vol", "MODE=silent", 1, &["still not listening on", "after 1s"]),
    ] {
        if !setting.is_empty() {
            host.set(name, &[setting.into()]).await.unwrap();
        }
        let error = host.enable(name, Duration::from_secs(seconds)).await.unwrap_err().to_string();
        let plugin = host.get(name).unwrap();
        for text in texts {
            assert!(error.contains(text), "{name}: {error}");
            assert!(plugin.last_error.as_ref().unwrap().contains(text), "{name}: {:?}", plugin.last_error);
        }
        assert!(plugin.enabled, "it stays wanted");
        host.disable(name, false).await.unwrap();
    }
    assert_eq!(host.get("vol").unwrap().timeout, Some(1), "the time asked for is remembered");
    for name in ["vol", "arch", "mount"] {
        host.remove(name, false).await.unwrap();
    }
    house.assert_clean();
    host.shutdown(true).await;
}

/// A package whose binary is for another machine.
fn foreign_archive(house: &House) -> std::path::PathBuf {
    let path = house.path().join("foreign.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
    let mut elf = vec![0u8; 4096];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x02\x01");
    elf[17] = 2;
    elf[18..20].copy_from_slice(&0x16u16.to_be_bytes());
    house::append(&mut tar, "config.json", 0o644, config().to_string().as_bytes());
    house::append(&mut tar, "rootfs/bin/plugin", 0o755, &elf);
    tar.finish().unwrap();
    path
}

#[tokio::test]
async fn a_wanted_plugin_comes_up_by_itself_when_the_cause_is_gone() {
    let house = House::new();
    let host = house.host().await;
    let source = house.path().join("data-of-plugin");
    let mut late = config();
    late["mounts"] = json!([{ "name": "data", "type": "bind", "source": source, "destination": "/data" }]);
    house.create(&host, "vol", &late).await;
    let error = host.enable("vol", DEFAULT).await.unwrap_err().to_string();
    assert!(error.contains("does not exist on this host"), "{error}");
    assert!(matches!(host.get("vol").unwrap().state, PluginState::BackingOff { .. } | PluginState::Starting));
    assert_eq!(host.volume_drivers().await[0].1.as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    std::fs::create_dir(&source).unwrap();
    until(&host, "vol", is_ready).await;
    host.enable("vol", DEFAULT).await.unwrap();
    assert_eq!(host.enable("vol", DEFAULT).await.unwrap_err().kind(), ErrorKind::Conflict);
    host.remove("vol", true).await.unwrap();
    house.assert_clean();
    host.shutdown(true).await;
}

#[tokio::test]
async fn a_crash_is_counted_and_made_good() {
    let house = House::new();
    let host = house.host().await;
    house.create(&host, "vol", &config()).await;
    host.set("vol", &["MODE=crash-once".into()]).await.unwrap();
    host.enable("vol", DEFAULT).await.unwrap();
    let before = host.volume_driver("vol").await.unwrap();
    let plugin = until(&host, "vol", |plugin| plugin.restarts == 1 && is_ready(plugin)).await;
    let error = plugin.last_error.unwrap();
    assert!(error.contains("code 9") && error.contains("out of luck"), "{error}");
    assert_eq!(plugin.exit_code, Some(9));
    before.driver.list().await.unwrap();
    host.remove("vol", true).await.unwrap();
    host.shutdown(true).await;
}

#[tokio::test]
async fn a_plugin_that_accepts_and_never_answers_is_unwell_and_nobody_waits_for_it() {
    let house = House::new();
    let host = house.host().await;
    let id = house.create(&host, "vol", &config()).await;
    host.set("vol", &["MODE=mute".into()]).await.unwrap();
    host.enable("vol", DEFAULT).await.unwrap();
    let plugin = until(&host, "vol", |plugin| matches!(plugin.state, PluginState::Degraded { .. })).await;
    let PluginState::Degraded { why } = &plugin.state else { unreachable!("that is what was waited for") };
    assert!(why.contains("3 probes unanswered"), "{why}");
    let driver = host.volume_driver("vol").await.unwrap().driver;
    let started = Instant::now();
    driver.list().await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    std::fs::write(house.path().join(format!("data/plugins/{id}/rootfs/speak")), "").unwrap();
    until(&host, "vol", is_ready).await;
    driver.list().await.unwrap();
    let events: Vec<_> = house.events.lock().unwrap().iter().map(|event| event.action).collect();
    assert!(events.ends_with(&[PluginAction::Unhealthy, PluginAction::Healthy]), "{events:?}");
    host.remove("vol", true).await.unwrap();
    house.assert_clean();
    host.shutdown(true).await;
}

#[tokio::test]
async fn a_mute_plugin_is_restarted_where_the_operator_wants_it() {
    let house = House::new();
    let host = house.host().await;
    let id = house.create(&host, "vol", &config()).await;
    host.set("vol", &["MODE=mute".into()]).await.unwrap();
    host.enable("vol", DEFAULT).await.unwrap();
    let degraded = until(&host, "vol", |plugin| matches!(plugin.state, PluginState::Degraded { .. })).await;
    assert_eq!((degraded.restarts, degraded.unhealthy_restarts), (0, 0), "nobody said so");
    host.restart_unhealthy(vec!["other".into(), "vol".into()]);
    // It is as mute when it comes again, so the pauses grow as they do after crashes.
    let again = until(&host, "vol", |plugin| plugin.unhealthy_restarts >= 2).await;
    assert_eq!(again.restarts, again.unhealthy_restarts);
    assert!(again.last_error.unwrap().contains("probes unanswered"));
    // Its files are there while it runs.
    let well = until(&host, "vol", is_ready).await;
    std::fs::write(house.path().join(format!("data/plugins/{id}/rootfs/speak")), "").unwrap();
    host.volume_driver("vol").await.unwrap().driver.list().await.unwrap();
    assert_ne!(well.pid, degraded.pid);
    let events = house.events.lock().unwrap().clone();
    let restarts: Vec<_> = events.iter().filter(|event| event.action == PluginAction::Restart).collect();
    assert!(restarts.len() >= 2, "{events:?}");
    assert_eq!(restarts[1].attributes["restarts"], "2");
    assert!(restarts[0].attributes["reason"].contains("probes unanswered"), "{restarts:?}");
    host.remove("vol", true).await.unwrap();
    house.assert_clean();
    host.shutdown(true).await;
}

#[tokio::test]
async fn a_slow_plugin_is_waited_for_and_can_be_called_off() {
    let house = House::new();
    let host = house.host().await;
    house.create(&host, "vol", &config()).await;
    host.set("vol", &["DELAY=2".into()]).await.unwrap();
    let (enabled, driver) = tokio::join!(host.enable("vol", Duration::from_secs(30)), async {
        until(&host, "vol", |plugin| plugin.state == PluginState::Starting).await;
        let started = Instant::now();
        host.volume_drivers().await;
        assert!(started.elapsed() < Duration::from_millis(300), "a list waits for nobody");
        host.volume_driver("vol").await
    });
    enabled.unwrap();
    driver.unwrap();
    host.disable("vol", false).await.unwrap();
    host.set("vol", &["DELAY=1000".into()]).await.unwrap();
    let started = Instant::now();
    let (enabled, disabled) = tokio::join!(host.enable("vol", Duration::from_secs(100)), async {
        until(&host, "vol", |plugin| plugin.pid.is_none() && plugin.state == PluginState::Starting).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        host.disable("vol", false).await
    });
    assert!(enabled.unwrap_err().to_string().contains("disabled while it was starting"));
    disabled.unwrap();
    assert!(started.elapsed() < Duration::from_secs(30));
    host.remove("vol", false).await.unwrap();
    house.assert_clean();
    host.shutdown(true).await;
}

#[tokio::test]
async fn settings_are_kept_and_content_is_shared() {
    let house = House::new();
    let host = house.host().await;
    house.create(&host, "one", &config()).await;
    house.create(&host, "two", &config()).await;
    assert_eq!(house.contents().len(), 1, "the same content is stored once");
    let error = host.set("one", &["DELAY=1".into(), "NOPE=1".into()]).await.unwrap_err().to_string();
    assert!(error.contains("\"NOPE\" not found in the plugin configuration"), "{error}");
    assert!(host.get("one").unwrap().settings.env.contains(&"DELAY=0".to_owned()), "all or nothing");
    host.set("one", &["args=a b".into()]).await.unwrap();
    for name in ["one", "two"] {
        host.enable(name, DEFAULT).await.unwrap();
    }
    let log = |name: &str| std::fs::read_to_string(host.log_path(name).unwrap()).unwrap();
    assert!(log("one").contains(r#"args [\"a\", \"b\"]"#), "{}", log("one"));
    assert!(log("two").contains(r#"args [\"one\"]"#));
    let error = host.create("one", tokio::io::empty()).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin one:latest already exists");
    let enabled = PluginFilters { enabled: Some(true), capabilities: vec!["volumedriver".into()] };
    assert_eq!(host.list(&enabled).len(), 2);
    let either = vec!["networkdriver".into(), "volumedriver".into()];
    assert_eq!(host.list(&PluginFilters { enabled: None, capabilities: either }).len(), 2);
    let other = PluginFilters { enabled: None, capabilities: vec!["networkdriver".into()] };
    assert_eq!(host.list(&other).len(), 0);
    host.remove("one", true).await.unwrap();
    assert_eq!(house.contents().len(), 1);
    host.remove("two", true).await.unwrap();
    house.assert_clean();
    host.shutdown(true).await;
}

#[tokio::test]
async fn plugins_outlive_the_engine() {
    let house = House::new();
    let host = house.host().await;
    house.create(&host, "up", &config()).await;
    house.create(&host, "down", &config()).await;
    host.enable("up", Duration::from_secs(33)).await.unwrap();
    let pid = host.get("up").unwrap().pid.unwrap();
    host.shutdown(false).await;
    drop(host);
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    let host = house.host().await;
    let plugin = host.get("up").unwrap();
    assert_eq!((plugin.pid, plugin.restarts), (Some(pid), 0), "attached, not started again");
    assert!(is_ready(&plugin));
    assert_eq!(plugin.timeout, Some(33), "the time asked for outlives the engine too");
    assert_eq!(host.get("down").unwrap().state, PluginState::Disabled);
    host.volume_driver("up").await.unwrap().driver.list().await.unwrap();
    host.shutdown(true).await;
    drop(host);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    // One that was killed meanwhile is started again.
    let host = house.host().await;
    assert!(is_ready(&host.get("up").unwrap()));
    for name in ["up", "down"] {
        host.remove(name, true).await.unwrap();
    }
    house.assert_clean();
    host.shutdown(true).await;
}

#[tokio::test]
async fn rights_are_as_the_configuration_asks_and_no_more() {
    let house = House::new();
    let host = house.host().await;
    let mut wide = config();
    wide["linux"] = json!({
        "capabilities": ["CAP_SYS_ADMIN"],
        "noNewPrivileges": true,
        "devices": [{ "name": "fuse", "path": "/dev/null", "settable": ["path"], "cgroup_permissions": "r" }],
    });
    house.create(&host, "wide", &wide).await;
    house.create(&host, "plain", &config()).await;
    for (name, capabilities, no_new_privileges) in
        [("wide", "00000000a82425fb", "1"), ("plain", "00000000a80425fb", "0")]
    {
        host.enable(name, DEFAULT).await.unwrap();
        let pid = host.get(name).unwrap().pid.unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field =
            |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
        assert_eq!(field("CapInh:"), "0000000000000000");
        assert_eq!(field("CapAmb:"), "0000000000000000");
        for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
            assert_eq!(field(set), capabilities, "{name} {set}");
        }
        assert_eq!(field("NoNewPrivs:"), no_new_privileges);
        host.remove(name, true).await.unwrap();
    }
    host.shutdown(true).await;
}

#[tokio::test]
async fn hostile_archives_are_refused_and_leave_nothing() {
    let house = House::new();
    let host = house.host().await;
    type Fill = fn(&mut tar::Builder<std::fs::File>);
    let good = |tar: &mut tar::Builder<std::fs::File>| {
        house::append(tar, "config.json", 0o644, config().to_string().as_bytes());
    };
    let cases: [(&str, Fill, &str); 8] = [
        ("no-rootfs", |_| {}, "no rootfs found"),
        ("traversal", |tar| raw(tar, b"rootfs/../../evil", tar::EntryType::Regular, ""), "evil"),
        ("absolute", |tar| raw(tar, b"/etc/evil", tar::EntryType::Regular, ""), "evil"),
        ("device", |tar| raw(tar, b"rootfs/dev0", tar::EntryType::Block, ""), "dev"),
        ("link-out", |tar| raw(tar, b"rootfs/evil", tar::EntryType::Symlink, "../../../etc"), "evil"),
        (
            "hard-link-out",
            |tar| raw(tar, b"rootfs/evil", tar::EntryType::Link, "../../../etc/passwd"),
            "evil",
        ),
        (
            "through-link",
            |tar| {
                raw(tar, b"rootfs/evil", tar::EntryType::Symlink, "/tmp");
                raw(tar, b"rootfs/evil/host-escape", tar::EntryType::Regular, "");
            },
            "",
        ),
        (
            "duplicate",
            |tar| {
                raw(tar, b"rootfs/evil", tar::EntryType::Regular, "");
                raw(tar, b"rootfs/evil", tar::EntryType::Regular, "");
            },
            "evil",
        ),
    ];
    for (name, fill, text) in cases {
        let path = house.path().join("hostile.tar");
        let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
        good(&mut tar);
        fill(&mut tar);
        tar.finish().unwrap();
        match host.create(name, tokio::fs::File::open(&path).await.unwrap()).await {
            Err(error) => assert!(error.to_string().contains(text), "{name}: {error}"),
            // Contained is as good as refused, as long as nothing is outside.
            Ok(_) if name == "through-link" => host.remove(name, true).await.unwrap(),
            Ok(_) => panic!("{name} was accepted"),
        }
        assert!(!Path::new("/tmp/host-escape").exists());
        house.assert_clean();
    }
    let path = house.path().join("large.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
    house::append(&mut tar, "config.json", 0o644, &vec![b' '; 2 << 20]);
    tar.finish().unwrap();
    let error = host.create("large", tokio::fs::File::open(&path).await.unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("config.json has 2097152 bytes"), "{error}");
    let error = host.create("empty", tokio::io::empty()).await.unwrap_err();
    assert!(error.to_string().contains("config not found"), "{error}");
    house.assert_clean();
    host.shutdown(true).await;
}

fn raw(tar: &mut tar::Builder<std::fs::File>, name: &[u8], kind: tar::EntryType, link: &str) {
    let mut header = house::header(0o644);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_size(0);
    if kind == tar::EntryType::Block {
        header.set_device_major(8).unwrap();
        header.set_device_minor(0).unwrap();
    }
    header.set_cksum();
    tar.append(&header, std::io::empty()).unwrap();
}
