//! What the operator's guide says to do, done.

use std::{fs, process::Command};

use crate::{harness::Engine, package::install};

#[test]
fn what_was_backed_up_is_there_when_it_is_restored() {
    let mut engine = Engine::pintle();
    engine.busybox("alpine");
    install(&engine, "me/dirs");
    engine.sh("docker plugin disable me/dirs && docker plugin set me/dirs DEBUG=7 && docker plugin enable me/dirs").ok();
    engine.sh("docker volume create -d me/dirs remote1 && docker volume create local1").ok();
    engine.sh("docker run -d --name box -v remote1:/r -v local1:/l alpine sh -c 'echo far > /r/f; echo near > /l/f; echo own > /own; sleep 1000'").ok();
    crate::harness::eventually("the data", std::time::Duration::from_secs(20), || {
        engine.sh("docker exec box cat /own").stdout.trim() == "own"
    });

    // The engine stops, what runs does not.
    assert_eq!(engine.stop(), Some(0));
    let run = |script: &str| {
        let status = Command::new("bash").args(["-ec", script]).current_dir(&engine.dir).status().unwrap();
        assert!(status.success(), "{script}");
    };
    run("tar --one-file-system --xattrs --numeric-owner -C data -cf backup.tar .");
    // The host is lost, with all that ran on it.
    engine.sweep();
    fs::remove_dir_all(engine.dir.join("data")).unwrap();
    let _ = fs::remove_dir_all(engine.dir.join("exec"));
    run("mkdir -p -m 710 data && tar --xattrs --numeric-owner -C data -xf backup.tar");
    engine.boot(&[]);

    assert_eq!(engine.sh("docker plugin ls --format '{{.Name}} {{.Enabled}}'").ok(), "me/dirs:latest true");
    assert!(engine.sh("docker plugin inspect -f '{{json .Settings.Env}}' me/dirs").ok().contains("DEBUG=7"));
    assert_eq!(engine.sh("docker inspect -f '{{.State.Running}}' box").ok(), "false");
    engine.sh("docker cp box:/own own && grep -q own own").ok();
    assert_eq!(
        engine.sh("docker run --rm -v remote1:/r -v local1:/l alpine cat /r/f /l/f").ok(),
        "far\nnear"
    );
    engine.sh("docker start box").ok();
}

#[test]
fn a_configuration_is_checked_before_it_counts() {
    let engine = Engine::pintle();
    fs::write(
        engine.dir.join("good.json"),
        "{\n  \"debug\": true, // say more\n  \"labels\": [\"a=b\"],\n}\n",
    )
    .unwrap();
    fs::write(engine.dir.join("bad.json"), "{\n  \"debug\": true,\n  \"insecure-registry\": []\n}\n")
        .unwrap();
    engine.sh("pintle daemon --validate --config-file good.json").ok();
    let refused = engine.sh("pintle daemon --validate --config-file bad.json").fails();
    assert!(refused.contains("line 3") && refused.contains("insecure-registries"), "{refused}");
}
