//! The engine dies at every step of every change; the next one makes the world agree with the store.
mod house;

use std::{collections::BTreeSet, time::Duration};

use house::{House, Registry, config, is_ready};
use pintle_host::Host;
use pintle_image::{Auth, Progress};
use serde_json::json;

/// What must hold after any crash and restart.
async fn assert_agrees(house: &House, host: &Host, after: &str) {
    let plugins = host.list(&Default::default());
    let ids: BTreeSet<String> = plugins.iter().map(|plugin| plugin.id.clone()).collect();
    let dirs: BTreeSet<String> = house.plugin_dirs().into_iter().collect();
    assert!(dirs.is_subset(&ids), "{after}: {dirs:?} {ids:?}");
    let up: BTreeSet<String> =
        plugins.iter().filter(|plugin| plugin.enabled).map(|plugin| plugin.id.clone()).collect();
    let tasks: BTreeSet<String> = house.tasks().into_iter().collect();
    assert_eq!(tasks, up, "{after}: processes are those that are wanted");
    assert_eq!(house.sockets().into_iter().collect::<BTreeSet<_>>(), up, "{after}: sockets");
    for plugin in &plugins {
        assert_eq!(is_ready(plugin), plugin.enabled, "{after}: {:?} {:?}", plugin.state, plugin.last_error);
        let mounts = house.mounts().iter().filter(|line| line.contains(&plugin.id)).count();
        assert_eq!(mounts, if plugin.enabled { 2 } else { 0 }, "{after}: {:?}", house.mounts());
    }
    let contents = house.contents();
    assert!(
        contents.len() <= plugins.len() && (plugins.is_empty() || !contents.is_empty()),
        "{after}: {contents:?}"
    );
}

#[tokio::test]
async fn killed_anywhere_it_converges() {
    let (house, registry) = (House::new(), Registry::start());
    let remote = |tag: &str| format!("{}/p/vol:{tag}", registry.address);
    let host = house.host().await;
    let mut two = config();
    two["description"] = json!("two");
    for (tag, config) in [("1", &config()), ("2", &two)] {
        house.create(&host, &remote(tag), config).await;
        host.push(&remote(tag), &Auth::None, &Progress::none()).await.unwrap();
        host.remove(&remote(tag), true).await.unwrap();
    }
    house.assert_clean();
    host.shutdown(true).await;
    drop(host);
    let archive = house.archive(&config());
    let archive = archive.to_str().unwrap();
    let (one, two) = (remote("1"), remote("2"));

    let start = ["host.start.prepared", "host.start.created", "host.start.started", "host.start.listening"];
    let sweeps: [(&[&str], &[&str], &[&str]); 6] = [
        (
            &["create", "vol", archive],
            &["host.create.unpacked", "host.install.prepared", "host.install.stored"],
            &[],
        ),
        (
            &["pull", "vol", &one],
            &["host.pull.accepted", "host.pull.unpacked", "host.install.prepared", "host.install.stored"],
            &[],
        ),
        (&["enable", "vol"], &["host.enable.after_store", "host.enable.acknowledged"], &start),
        (&["disable", "vol"], &["host.disable.after_store", "host.stop.stopped"], &[]),
        (
            &["upgrade", "vol", &two],
            &[
                "host.upgrade.unpacked",
                "host.upgrade.stored",
                "host.upgrade.tried",
                "host.stop.stopped",
                "host.upgrade.settled",
            ],
            &start,
        ),
        (
            &["remove", "vol"],
            &["host.stop.stopped", "host.remove.stopped", "host.remove.forgotten", "host.remove.renamed"],
            &[],
        ),
    ];
    let mut kills = 0;
    for (command, points, more) in sweeps {
        for point in points.iter().chain(more) {
            // Each command begins from the state that it is meant for.
            let host = house.host().await;
            let exists = host.get("vol").is_ok();
            match command[0] {
                "create" | "pull" => {
                    if exists {
                        host.remove("vol", true).await.unwrap();
                    }
                }
                verb => {
                    if exists {
                        host.remove("vol", true).await.unwrap();
                    }
                    let granted = host.privileges(&one, &Auth::None).await.unwrap();
                    host.pull(&one, Some("vol"), granted, &Auth::None, &Progress::none()).await.unwrap();
                    if verb != "enable" {
                        host.enable("vol", Duration::ZERO).await.unwrap();
                    }
                    if verb == "upgrade" {
                        host.disable("vol", true).await.unwrap();
                    }
                }
            }
            host.shutdown(false).await;
            drop(host);

            let (done, stderr) = house.engine(Some(point), command);
            assert!(!done, "{command:?} never came by {point}: {stderr}");
            assert_eq!(stderr, "", "{command:?} {point}");
            kills += 1;
            let after = format!("{command:?} killed at {point}");
            let host = house.host().await;
            assert_agrees(&house, &host, &after).await;
            if command[0] == "upgrade" {
                let plugin = host.get("vol").unwrap();
                let settled = *point == "host.upgrade.settled";
                assert_eq!(plugin.config.description, if settled { "two" } else { "one" }, "{after}");
                host.enable("vol", Duration::ZERO).await.unwrap();
            }
            host.shutdown(false).await;
            drop(host);
        }
    }
    assert!(kills >= 25, "{kills}");
    let host = house.host().await;
    if host.get("vol").is_ok() {
        host.remove("vol", true).await.unwrap();
    }
    // Blobs that were whole when the engine died stay for the next pull; the content store ages them out.
    assert_eq!(
        house.plugin_dirs().len() + house.contents().len() + house.tasks().len() + house.mounts().len(),
        0
    );
    host.shutdown(true).await;
}

/// Kills at random times. `HOST_KILLS` says how many.
#[tokio::test]
async fn killed_at_any_time_it_converges() {
    let kills: u32 = std::env::var("HOST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let house = House::new();
    let archive = house.archive(&config());
    let archive = archive.to_str().unwrap();
    for kill in 0..kills {
        let verb = ["create", "enable", "disable", "remove"][rand::random_range(0..4)];
        let length = Duration::from_millis(rand::random_range(0..250));
        let argument = if verb == "create" { archive } else { "" };
        house.engine_killed_after(length, &[verb, "vol", argument]);
        let host = house.host().await;
        assert_agrees(&house, &host, &format!("kill {kill}: {verb} after {length:?}")).await;
        if host.get("vol").is_err() {
            house.create(&host, "vol", &config()).await;
        }
        host.shutdown(false).await;
    }
    let host = house.host().await;
    host.remove("vol", true).await.unwrap();
    house.assert_clean();
    host.shutdown(true).await;
}
