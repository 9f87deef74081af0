//! Packages in both directions between pintle and Docker's own engine.

use crate::{
    harness::{Client, Engine, Kind},
    package::{built, config, folder},
    registry::Registry,
};

#[test]
fn dockerd_installs_what_pintle_pushed_and_pintle_what_dockerd_pushed() {
    let pintle = Engine::pintle();
    let dockerd = Engine::start(Kind::Dockerd, Client::Docker, &[]);
    let registry = Registry::open(&pintle.dir);
    for (from, to, tag) in [(&pintle, &dockerd, "from-pintle"), (&dockerd, &pintle, "from-dockerd")] {
        let name = format!("{}/me/dirs:{tag}", registry.address);
        let package = folder(from, "volume-dirs", &built("volume-dirs"), &config("volume-dirs"));
        from.sh(&format!("docker plugin create {name} {} && docker plugin push {name}", package.display()))
            .ok();
        to.busybox("alpine");
        to.sh(&format!("docker plugin install --grant-all-permissions --alias dirs {name}")).ok();
        to.sh("docker volume create -d dirs vol && docker run --rm --network none -v vol:/d alpine sh -c 'echo works > /d/f'").ok();
        assert_eq!(to.sh("docker run --rm --network none -v vol:/d alpine cat /d/f").ok(), "works");
        // The same suite judges the plugin under both engines, its data and a crash included.
        let report = to.sh("pintle plugin test --restart dirs");
        assert_eq!(report.code, 0, "{report:?}");
        assert!(report.stdout.contains(", 0 skipped"), "{report:?}");
        to.sh("docker volume rm vol && docker plugin rm -f dirs").ok();
    }
}

#[test]
fn dockerd_runs_what_pintle_saved() {
    let pintle = Engine::pintle();
    let dockerd = Engine::start(Kind::Dockerd, Client::Docker, &[]);
    pintle.busybox("box");
    let file = pintle.dir.join("saved.tar");
    pintle.sh(&format!("docker save -o {} box", file.display())).ok();
    dockerd.sh(&format!("docker load -i {}", file.display())).ok();
    assert_eq!(dockerd.sh("docker run --rm --network none box echo here").ok(), "here");
    dockerd.sh("docker save -o back.tar box").ok();
    pintle
        .sh(&format!(
            "docker rmi box && docker load -i {} && docker run --rm box true",
            dockerd.dir.join("back.tar").display()
        ))
        .ok();
}
