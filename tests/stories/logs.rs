//! Containers' output, kept by log drivers.

use std::fs;

use crate::harness::{Client, Engine, Kind};

/// 16 KiB lines, bytes that are no text, an end without a newline.
const SCRIPT: &str = r#"i=0; while [ $i -lt 300 ]; do echo "line $i"; i=$((i+1)); done
printf 'a\0b\377\n' >&2; head -c 40000 /dev/zero | tr '\0' x; echo; printf 'no newline'"#;

#[test]
fn the_local_driver_keeps_every_byte() {
    let engine = Engine::pintle();
    engine.busybox("bb");
    engine.sh(&format!(
        "docker run --name talk --log-driver local --log-opt max-size=8k --log-opt max-file=20 --label who=me \
         --log-opt labels=who bb sh -c '{}' >live.out 2>live.err",
        SCRIPT.replace('\'', "'\\''")
    ))
    .ok();
    engine.sh("docker logs talk >kept.out 2>kept.err && cmp live.out kept.out && cmp live.err kept.err").ok();
    let out = fs::read(engine.dir.join("kept.out")).unwrap();
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 301);
    assert!(fs::read(engine.dir.join("kept.err")).unwrap().starts_with(b"a\0b\xff\n"));
    let id = engine.sh("docker inspect -f '{{.Id}}' talk").ok();
    let folder = engine.dir.join("data/containers").join(id.trim()).join("local-logs");
    assert!(folder.join("container.log.1").exists(), "rotated");
    assert_eq!(engine.sh("docker inspect -f '{{.LogPath}}' talk").ok().trim(), "");
    assert!(engine.sh("docker logs --details --tail 1 talk").ok().starts_with("who=me no newline"));
    engine.sh("docker run -d --name follow --log-driver local bb sh -c 'echo one; cat /dev/zero | head -c 1; sleep 600'").ok();
    engine.sh("timeout 10 docker logs -f follow | head -n 1 | grep -x one; docker rm -f follow").ok();
    let refused = engine.sh("docker run --log-driver local --log-opt nonsense=1 bb true").fails();
    assert!(refused.contains("unknown log opt 'nonsense' for local log driver"), "{refused}");
    assert!(engine.sh("docker info -f '{{.Plugins.Log}}'").ok().contains("local"));
    engine.sh("docker rm talk").ok();
}

#[test]
fn dockerd_reads_what_pintle_wrote() {
    let ours = Engine::pintle();
    let theirs = Engine::start(Kind::Dockerd, Client::Docker, &[]);
    for engine in [&ours, &theirs] {
        engine.busybox("bb");
    }
    let script = SCRIPT.replace('\'', "'\\''");
    ours.sh(&format!("docker run --name talk --log-driver local bb sh -c '{script}' >/dev/null 2>&1")).ok();
    theirs.sh("docker run --name talk --log-driver local bb true").ok();
    let file = |engine: &Engine| {
        let id = engine.sh("docker inspect -f '{{.Id}}' talk").ok();
        engine.dir.join("data/containers").join(id.trim()).join("local-logs/container.log")
    };
    fs::copy(file(&ours), file(&theirs)).unwrap();
    let read = |engine: &Engine| {
        engine.sh("docker logs talk >read.out 2>read.err").ok();
        (fs::read(engine.dir.join("read.out")).unwrap(), fs::read(engine.dir.join("read.err")).unwrap())
    };
    let ((out, err), (their_out, their_err)) = (read(&ours), read(&theirs));
    // Docker 20.10 forgets the newline behind a line that was cut; later versions and pintle do not.
    let long = format!("{}\nno newline", "x".repeat(40_000)).into_bytes();
    let out = out.strip_suffix(&long[..]).expect("the long line, whole");
    let their_out = their_out.strip_suffix(&[&long[..40_000], b"no newline"].concat()[..]).expect("the same");
    assert!(out == their_out && err == their_err, "the two engines read the same file alike");
}
