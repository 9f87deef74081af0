//! Volumes: the local driver, remote drivers, and the name space that they share.

use crate::{
    harness::{Engine, eventually},
    package::install,
};
use std::time::Duration;

#[test]
fn a_local_volume_outlives_its_containers() {
    let engine = Engine::pintle();
    engine.busybox("alpine");
    engine.sh("docker volume create --label team=db vol").ok();
    engine.sh("docker run --rm -v vol:/d alpine sh -c 'echo kept > /d/f'").ok();
    assert_eq!(
        engine.sh("docker run --rm --mount type=volume,src=vol,dst=/d,readonly alpine cat /d/f").ok(),
        "kept"
    );
    let denied = engine.sh("docker run --rm -v vol:/d:ro alpine touch /d/x").fails();
    assert!(denied.contains("Read-only file system"), "{denied}");
    assert_eq!(engine.sh("docker volume ls -q -f label=team=db").ok(), "vol");
    engine.sh("docker create --name holder -v vol:/d alpine true").ok();
    let held = engine.sh("docker volume rm vol").fails();
    assert!(held.contains("volume is in use - ["), "{held}");
    engine.sh("docker rm holder && docker volume rm vol").ok();
    assert!(engine.sh("docker volume inspect vol").fails().contains("no such volume"));
}

#[test]
fn image_content_is_copied_into_an_empty_volume_unless_told_not_to() {
    let engine = Engine::pintle();
    engine.busybox("base");
    engine.sh("docker run --name maker base sh -c 'mkdir /seeded && echo from-image > /seeded/f && chown 1000:1000 /seeded'").ok();
    engine.sh("docker export maker | docker import - seeded && docker rm maker").ok();
    assert_eq!(engine.sh("docker run --rm -v fresh:/seeded seeded cat /seeded/f").ok(), "from-image");
    assert_eq!(engine.sh("docker run --rm -v fresh:/d seeded stat -c %u:%g /d").ok(), "1000:1000");
    assert_eq!(engine.sh("docker run --rm -v bare:/seeded:nocopy seeded ls /seeded").ok(), "");
}

#[test]
fn anonymous_volumes_go_with_their_container_and_prune_spares_the_named() {
    let engine = Engine::pintle();
    engine.busybox("alpine");
    engine.sh("docker run --rm -v /d alpine true").ok();
    assert_eq!(engine.sh("docker volume ls -q").ok(), "");
    engine
        .sh("docker volume create named && docker create --name box -v /d alpine true && docker rm box")
        .ok();
    assert_eq!(engine.sh("docker volume ls -q").ok().lines().count(), 2);
    engine.sh("docker volume prune -f").ok();
    assert_eq!(engine.sh("docker volume ls -q").ok(), "named");
    engine.sh("docker volume prune -af").ok();
    assert_eq!(engine.sh("docker volume ls -q").ok(), "");
}

#[test]
fn the_local_driver_mounts_what_its_options_say() {
    let engine = Engine::pintle();
    engine.busybox("alpine");
    let there = engine.dir.join("there");
    std::fs::create_dir(&there).unwrap();
    std::fs::write(there.join("f"), "bound").unwrap();
    engine
        .sh(&format!("docker volume create -o type=none -o o=bind -o device={} bound", there.display()))
        .ok();
    assert_eq!(engine.sh("docker run --rm -v bound:/d alpine cat /d/f").ok(), "bound");
    engine.sh("docker volume create -o type=tmpfs -o o=size=1m -o device=tmpfs memory").ok();
    let size = engine.sh("docker run --rm -v memory:/d alpine df -k /d").ok();
    assert!(size.contains("1024"), "{size}");
    let bad = engine.sh("docker volume create -o colour=red xx").fails();
    assert!(bad.contains("invalid option: \"colour\""), "{bad}");
    let missing = engine.sh("docker volume create -o type=nfs xx").fails();
    assert!(missing.contains("missing required option: \"device\""), "{missing}");
    let size = engine.sh("docker volume create -o size=10m xx").fails();
    assert!(size.contains("quota"), "{size}");
}

#[test]
fn one_name_space_for_every_driver() {
    let engine = Engine::pintle();
    install(&engine, "dirs");
    engine.sh("docker volume create -d dirs vol").ok();
    let clash = engine.sh("docker volume create -d local vol").fails();
    assert!(clash.contains("volume name must be unique"), "{clash}");
    // Without a driver, whoever has the name answers. (The stock client always names one.)
    assert_eq!(engine.http("POST", "/volumes/create", Some(&serde_json::json!({"Name": "vol"}))).0, 201);
    assert_eq!(engine.sh("docker volume inspect -f '{{.Driver}}' vol").ok(), "dirs:latest");
    let unknown = engine.sh("docker volume create -d nosuch w").fails();
    assert!(unknown.contains("plugin \"nosuch\" not found"), "{unknown}");
}

#[test]
fn a_subpath_stays_inside_its_volume() {
    let engine = Engine::pintle();
    engine.busybox("alpine");
    engine
        .sh("docker run --rm -v vol:/d alpine sh -c 'mkdir -p /d/a/b; echo deep > /d/a/b/f; ln -s / /d/up'")
        .ok();
    let deep = "docker run --rm --mount type=volume,src=vol,dst=/m,volume-subpath=a/b alpine cat /m/f";
    assert_eq!(engine.sh(deep).ok(), "deep");
    let escape = "docker run --rm --mount type=volume,src=vol,dst=/m,volume-subpath=up/etc alpine ls /m";
    assert_ne!(engine.sh(escape).code, 0);
    let dots = "docker run --rm --mount type=volume,src=vol,dst=/m,volume-subpath=../.. alpine ls /m";
    assert!(engine.sh(dots).fails().contains("subpath"), "names the option");
}

#[test]
fn a_volume_whose_plugin_is_off_is_listed_with_a_warning() {
    let engine = Engine::pintle();
    install(&engine, "dirs");
    engine.sh("docker volume create -d dirs vol && docker plugin disable -f dirs").ok();
    let (status, listed) = engine.http("GET", "/volumes", None);
    assert_eq!(status, 200);
    assert!(listed["Warnings"].to_string().contains("dirs"), "{listed}");
    assert_eq!(listed["Volumes"][0]["Name"], "vol");
    engine.sh("docker plugin enable dirs").ok();
    eventually("the warning to go", Duration::from_secs(5), || {
        engine.http("GET", "/volumes", None).1["Warnings"].as_array().is_none_or(Vec::is_empty)
    });
}
