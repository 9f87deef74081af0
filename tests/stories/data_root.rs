//! Engines that follow each other on one data root.

use std::{fs, path::Path};

use crate::harness::{Client, Engine, Kind};

/// An engine on a data root that another one left, from the archives beside these stories.
fn on_the_root(name: &str) -> Engine {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/stories/roots").join(name);
    engine.sh(&format!("tar --xattrs -xzf {}", archive.display())).ok();
    engine.boot(&[]);
    engine
}

#[test]
fn a_data_root_of_the_version_before() {
    let mut engine = on_the_root("1.tar.gz");
    let says = |engine: &Engine, script: &str, wanted: &str| {
        assert_eq!(engine.sh(script).ok(), wanted, "{script}");
    };
    says(
        &engine,
        "docker images --format '{{.Repository}}:{{.Tag}}' | sort",
        "old:1\nold:committed\nold:same",
    );
    says(
        &engine,
        "docker image inspect -f '{{.Config.Env}} {{.Comment}}' old:committed",
        "[A=b OLD=yes] remark",
    );
    says(&engine, "docker ps -a --format '{{.Names}} {{.State}}' | sort", "ended exited\nguest created");
    says(
        &engine,
        "docker inspect -f '{{.State.ExitCode}} {{.RestartCount}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}} \
         {{.Config.Labels.kept}}' ended",
        "3 1 67108864 on-failure yes",
    );
    says(&engine, "docker logs ended", "a line\na line");
    says(&engine, "docker diff ended | grep greeting", "C /greeting");
    says(&engine, "docker volume inspect -f '{{.Labels.kept}}' data", "yes");
    says(
        &engine,
        "docker network inspect -f '{{.Labels.kept}} {{(index .IPAM.Config 0).Subnet}}' net",
        "yes 10.251.77.0/24",
    );
    says(&engine, "docker plugin inspect -f '{{.Enabled}} {{.Settings.Env}}' kept", "false [DEBUG=7]");
    // And all of it still works: what was made runs, with what it was given.
    says(&engine, "docker start -a guest", "written\nhello");
    says(&engine, "docker inspect -f '{{.State.ExitCode}}' guest", "0");
    says(&engine, "docker start -a ended; docker inspect -f '{{.State.ExitCode}}' ended", "a line\n3");
    engine
        .sh(
            "docker save old:committed | docker load && docker rm ended guest && docker rmi old:1 old:same old:committed && \
             docker volume rm data && docker network rm net && docker plugin rm kept",
        )
        .ok();
    assert_eq!(engine.leftovers(), Vec::<String>::new());
    assert_eq!(engine.stop(), Some(0));
}

#[test]
fn a_data_root_of_a_newer_version_is_refused_and_left_alone() {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    let data = engine.dir.join("data");
    fs::create_dir_all(&data).unwrap();
    let store = data.join("pintle.redb");
    let version = pintle_store::Store::open(&store).unwrap().table::<u32>("store");
    version.put("version", &99).unwrap();
    drop(version);
    engine.spawn(&[]);
    crate::harness::eventually("the engine to give up", std::time::Duration::from_secs(20), || {
        !engine.alive()
    });
    let said = engine.daemon_log();
    assert!(
        said.contains("opening the engine's store")
            && said.contains("has version 99")
            && said.contains("a newer pintle wrote it"),
        "{said}"
    );
    assert!(!data.join("containers").exists(), "something was made beside it");
}
