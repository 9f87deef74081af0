//! A disk that fills up under the engine, and has room again: a small ext4 file system on a loop device holds the data
//! root. Whatever finds it full says so, leaves nothing half done, and everything works as soon as there is room.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    harness::{Client, Engine, Kind, eventually},
    registry::Registry,
};

/// What the disk holds in all, in MiB.
const DISK: u64 = 200;
/// What an image is, in MiB: random, so that nothing makes it smaller.
const BIG: u64 = 24;
/// What is left free where something must not fit, in MiB.
const ROOM: u64 = 16;

/// An engine whose data root is a file system of its own. Of the blocks that ext4 keeps for itself it has few, so that
/// what is free is nearly what can be written, and not none: without any it cannot even write into a file's own blocks, and gives up.
fn on_a_small_disk() -> Engine {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    let data = engine.dir.join("data");
    fs::create_dir(&data).unwrap();
    engine
        .sh(&format!(
            "truncate -s {DISK}M disk && mkfs.ext4 -q -m 0 disk && mount -o loop disk {0} && rmdir {0}/lost+found && \
             echo 512 >/sys/fs/ext4/$(basename $(findmnt -no SOURCE {0}))/reserved_clusters",
            data.display()
        ))
        .ok();
    engine.boot(&[]);
    engine
}

/// Bytes that are free.
fn free(engine: &Engine) -> u64 {
    let data = engine.dir.join("data");
    let said = Command::new("df").args(["-B1", "--output=avail"]).arg(data).output().unwrap().stdout;
    String::from_utf8_lossy(&said).lines().nth(1).unwrap().trim().parse().unwrap()
}

/// Takes all but so many MiB, or, with none, every last block.
fn fill(engine: &Engine, leave: u64) -> PathBuf {
    let filler = engine.dir.join("data/filler");
    let length = free(engine).saturating_sub(leave << 20);
    let shown = filler.display();
    if leave > 0 {
        engine.sh(&format!("fallocate -l {length} {shown}")).ok();
    } else {
        // To the last block that anybody can have. What was removed is free only after the journal's next commit.
        for _ in 0..3 {
            is_named("filling", &engine.sh(&format!("sync; cat /dev/zero >>{shown}")).fails());
        }
    }
    filler
}

/// Every file of the engine, logs and the filler apart.
fn files(engine: &Engine) -> BTreeSet<String> {
    let said = engine
        .sh("find data -xdev ! -path 'data/filler' ! -name '*-json.log' ! -path 'data/containers/*/rw/*' -printf '%P\\n'");
    said.ok().lines().map(str::to_owned).collect()
}

/// Nothing new lies about, and the room is there again.
#[track_caller]
fn nothing_is_left(engine: &Engine, what: &str, before: &BTreeSet<String>, room: u64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let more: Vec<String> = files(engine).difference(before).cloned().collect();
        // Logs grow meanwhile, and so may directories.
        let taken = room.saturating_sub(free(engine));
        if more.is_empty() && taken < 512 << 10 {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {taken} bytes are taken by {more:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn is_named(what: &str, said: &str) {
    assert!(said.to_lowercase().contains("no space left on device"), "{what}: {said}");
}

/// The numbers that a container's log has.
fn numbers(engine: &Engine) -> Vec<u64> {
    let logged = engine.sh("docker logs talker").ok();
    logged.lines().map(|line| line.strip_prefix("line ").unwrap().trim().parse().unwrap()).collect()
}

#[test]
fn a_full_disk_is_named_and_nothing_is_half_done() {
    let mut engine = on_a_small_disk();
    let registry = Registry::open(&engine.dir);
    engine.busybox("alpine");
    // An image that is elsewhere: in a registry, in an archive, in a context.
    let big = format!("{}/me/big:1", registry.address);
    engine
        .sh(&format!(
            "mkdir context && head -c {BIG}M /dev/urandom >context/big && tar -C context -c big | docker import - {big} && \
             docker push {big} && docker save -o big.tar {big} && docker rmi {big} && \
             printf 'FROM alpine\\nCOPY big /big\\n' >context/Dockerfile && tar -C context -cf context.tar ."
        ))
        .ok();
    let talk = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.01; done";
    engine
        .sh(&format!(
            "docker run -d --name talker alpine sh -c '{talk}' && \
             docker run -d --name writer alpine sh -c 'head -c 12m /dev/urandom >/file; echo done; sleep 1000' && \
             docker run -d --name ender alpine sh -c 'trap \"exit 7\" TERM; while :; do sleep 0.1; done' && \
             docker create --name spare alpine true"
        ))
        .ok();
    eventually("the writer", Duration::from_secs(20), || {
        engine.sh("docker logs writer").stdout.contains("done")
    });

    // Room for a part of it.
    let filler = fill(&engine, ROOM);
    let (before, room) = (files(&engine), free(&engine));
    for (what, script) in [
        ("pull", format!("docker pull {big}")),
        ("load", "docker load -i big.tar".to_owned()),
        ("import", "docker import context.tar wide".to_owned()),
        ("commit", "docker commit writer committed".to_owned()),
        ("build with a large context", "docker build -q - <context.tar".to_owned()),
        (
            "build that writes",
            "printf 'FROM alpine\\nRUN dd if=/dev/zero of=/wide bs=1M count=100\\n' | docker build --force-rm --network none -"
                .to_owned(),
        ),
        ("cp", "docker cp context/big spare:/".to_owned()),
    ] {
        let said = engine.sh(&format!("export DOCKER_BUILDKIT=0; {script}"));
        is_named(what, &format!("{}{}", said.stderr, said.stdout));
        assert_ne!(said.code, 0, "{what}");
        if what == "cp" {
            // What a copy has written stays, as with cp.
            engine.sh("docker rm spare && docker create --name spare alpine true").ok();
            continue;
        }
        nothing_is_left(&engine, what, &before, room);
    }
    assert_eq!(engine.sh("docker images -q | wc -l").ok(), "1");
    assert_eq!(engine.sh("docker inspect -f '{{.State.Status}}' writer").ok(), "running");

    // No room at all: what runs goes on, what needs no room works, and what does says why not.
    fs::remove_file(&filler).unwrap();
    fill(&engine, 0);
    is_named("cp", &engine.sh("docker cp busybox/bin/busybox spare:/more").fails());
    // Whether something small still fits is the file system's affair.
    for (make, remove) in [
        ("docker run -d --name late alpine true", "docker rm -f late"),
        ("docker volume create late", "docker volume rm late"),
    ] {
        let said = engine.sh(make);
        if said.code == 0 {
            engine.sh(remove).ok();
        } else {
            is_named(make, &said.fails());
            // A container may have been made that could not be started.
            engine.sh(remove);
        }
    }
    assert_eq!(engine.sh("docker ps -aq | wc -l").ok(), "4");
    let heard = engine.sh("timeout -s KILL 2 docker attach --no-stdin --sig-proxy=false talker").stdout;
    assert!(heard.lines().count() > 10, "the talker is mute: {heard}");
    assert_eq!(engine.sh("docker exec writer echo hello").ok(), "hello");
    engine.sh("docker pause writer && docker unpause writer && docker stop -t 20 ender").ok();
    assert_eq!(engine.sh("docker inspect -f '{{.State.ExitCode}}' ender").ok(), "7");
    assert!(!numbers(&engine).is_empty());

    // An engine that dies then comes back then.
    engine.kill();
    engine.boot(&[]);
    assert_eq!(engine.sh("docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' ender").ok(), "exited 7");
    assert_eq!(engine.sh("docker inspect -f '{{.State.Status}}' talker").ok(), "running");

    // Removing is how there is room again.
    let none = free(&engine);
    engine.sh("docker rm ender && docker rm -f writer").ok();
    assert!(free(&engine) > none + (10 << 20), "removing the writer made no room");
    fs::remove_file(&filler).unwrap();

    let past = numbers(&engine).last().copied().unwrap();
    eventually("the talker's log to go on", Duration::from_secs(20), || {
        numbers(&engine).last().is_some_and(|last| *last > past + 20)
    });
    let logged = numbers(&engine);
    assert!(logged.is_sorted_by(|one, other| one < other), "a line is doubled");
    engine
        .sh(&format!(
            "export DOCKER_BUILDKIT=0; docker pull {big} && docker rmi {big} && docker load -i big.tar && docker rmi {big} && \
             docker build -q -t built - <context.tar && docker run --rm --network none built test -s /big && docker rmi built && \
             docker commit talker committed && docker rmi committed && docker volume create late && docker volume rm late && \
             docker start -a spare && docker run --name late --network none alpine true && docker rm -f late spare talker && \
             docker image prune -f && docker rmi alpine"
        ))
        .ok();
    let data = engine.dir.join("data").display().to_string();
    let left: Vec<String> =
        engine.leftovers().into_iter().filter(|left| *left != format!("mount {data}")).collect();
    assert_eq!(left, Vec::<String>::new());
    let blobs = engine.sh("find data/blobs data/layers -type f").ok();
    assert_eq!(blobs, "");
    assert!(engine.alive());
}
