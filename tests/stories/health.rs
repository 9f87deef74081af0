//! Health checks, name spaces that containers share, and what else decides how a container runs.

use std::{fs, time::Duration};

use crate::harness::{Engine, eventually};

fn ready() -> Engine {
    let engine = Engine::pintle();
    engine.busybox("alpine");
    engine
}

#[test]
fn a_container_is_asked_how_it_is() {
    let mut engine = ready();
    engine.sh("docker events --filter event=health_status > events 2>&1 & echo $! > pid").ok();
    engine
        .sh("docker run -d --name box --health-cmd 'echo asked; test -e /well' --health-interval 200ms --health-retries 2 \
             alpine sleep 1000")
        .ok();
    let status = |engine: &Engine| engine.sh("docker inspect -f '{{.State.Health.Status}}' box").ok();
    let becomes = |engine: &Engine, wanted: &str| {
        eventually(wanted, Duration::from_secs(30), || status(engine) == wanted);
    };
    assert!(engine.sh("docker ps").ok().contains("(health: starting)"));
    becomes(&engine, "unhealthy");
    let log = engine.sh("docker inspect -f '{{json .State.Health}}' box").ok();
    for said in [r#""ExitCode":1"#, r#""Output":"asked\n""#] {
        assert!(log.contains(said), "no {said} in {log}");
    }
    engine.sh("docker exec box touch /well").ok();
    becomes(&engine, "healthy");
    assert!(engine.sh("docker ps -f health=healthy").ok().contains("(healthy)"));
    assert_eq!(engine.sh("docker ps -q -f health=unhealthy").ok(), "");
    let streak =
        engine.sh("docker inspect -f '{{.State.Health.FailingStreak}} {{len .State.Health.Log}}' box").ok();
    assert!(streak.starts_with("0 "), "{streak}");
    // Frozen, it is not asked; the next engine asks again.
    engine.sh("docker pause box && sleep 1 && docker unpause box").ok();
    engine.kill();
    engine.boot(&[]);
    becomes(&engine, "healthy");
    engine.sh("kill $(cat pid); docker stop -t 0 box && docker start box").ok();
    becomes(&engine, "healthy");
    let events = fs::read_to_string(engine.dir.join("events")).unwrap();
    let seen: Vec<&str> = events.lines().filter_map(|line| line.split("health_status: ").nth(1)).collect();
    let seen: Vec<&str> = seen.iter().filter_map(|rest| rest.split(' ').next()).collect();
    assert_eq!(seen, ["unhealthy", "healthy"], "{events}");
    engine.sh("docker rm -f box").ok();
}

#[test]
fn probes_that_hang_or_cannot_run_are_failures() {
    let engine = ready();
    engine.sh("docker run -d --name hangs --health-cmd 'echo before; sleep 1000' --health-interval 100ms --health-timeout 500ms --health-retries 1 alpine sleep 1000").ok();
    engine.sh("docker run -d --name lacks --health-interval 100ms --health-retries 1 --health-cmd nosuch alpine sleep 1000").ok();
    engine.sh("docker run -d --name young --health-cmd 'exit 1' --health-interval 1h --health-start-period 1h --health-retries 1 alpine sleep 1000").ok();
    let health =
        |name: &str| engine.sh(&format!("docker inspect -f '{{{{json .State.Health}}}}' {name}")).ok();
    for name in ["hangs", "lacks"] {
        eventually(name, Duration::from_secs(30), || health(name).contains(r#""Status":"unhealthy""#));
    }
    assert!(health("hangs").contains("Health check exceeded timeout (500ms): before"), "{}", health("hangs"));
    assert!(health("hangs").contains(r#""ExitCode":-1"#));
    assert!(health("young").contains(r#""Status":"starting""#));
    // An image's check is the container's, unless it is turned off; so is a stopped one's.
    engine.sh("docker create --name base alpine sleep 1000 && docker commit -c 'HEALTHCHECK --interval=100ms CMD true' base checked").ok();
    engine.sh("docker run -d --name own checked && docker run -d --no-healthcheck --name none checked").ok();
    eventually("its own check", Duration::from_secs(30), || health("own").contains(r#""Status":"healthy""#));
    assert_eq!(health("none"), "null");
    let refused = engine.sh("docker create --health-cmd x --health-interval 1us alpine").fails();
    assert!(
        refused.contains("Interval in Healthcheck cannot be less than 1ms")
            || refused.contains("cannot be less than 1ms"),
        "{refused}"
    );
}

#[test]
fn containers_share_processes_and_memory() {
    let mut engine = ready();
    engine.sh("docker run -d --name donor --ipc shareable alpine sleep 1000").ok();
    engine.sh("docker exec donor sh -c 'echo shared > /dev/shm/x'").ok();
    assert_eq!(engine.sh("docker run --rm --ipc container:donor alpine cat /dev/shm/x").ok(), "shared");
    let ipc =
        |run: &str| engine.sh(&format!("{run} sh -c \"ls -l /proc/self/ns/ipc | sed 's/.*-> //'\"")).ok();
    assert_eq!(ipc("docker run --rm --ipc container:donor alpine"), ipc("docker exec donor"));
    assert_ne!(ipc("docker run --rm alpine"), ipc("docker exec donor"));
    let seen = engine.sh("docker run --rm --pid container:donor alpine ps").ok();
    assert!(seen.contains("sleep 1000"), "{seen}");
    // What is joined stays there while it is used, whatever becomes of the engine.
    engine
        .sh("docker run -d --name joins --ipc container:donor --pid container:donor alpine sleep 2000")
        .ok();
    engine.kill();
    engine.boot(&[]);
    assert_eq!(engine.sh("docker exec joins cat /dev/shm/x").ok(), "shared");
    engine.sh("docker run -d --name private alpine sleep 1000").ok();
    for (command, said) in [
        ("docker run --rm --ipc container:private alpine", "non-shareable IPC"),
        ("docker run --rm --ipc container:nobody alpine", "No such container: nobody"),
        (
            "docker stop -t 0 private; docker run --rm --pid container:private alpine",
            "cannot join PID of a non running container",
        ),
    ] {
        let refused = engine.sh(command).fails();
        assert!(refused.contains(said), "{command}: {refused}");
    }
    engine.sh("docker rm -f joins donor private").ok();
    eventually("all to be cleared away", Duration::from_secs(10), || {
        engine.sh("docker rm -f $(docker ps -aq) 2>/dev/null; true").ok();
        engine.leftovers().is_empty()
    });
}

#[test]
fn an_image_is_a_mount() {
    let mut engine = ready();
    engine
        .sh("mkdir -p data/sub && echo inside > data/sub/file && tar -C data -c . | docker import - data:1")
        .ok();
    let body = |source: &str, subpath: &str| {
        serde_json::json!({
            "Image": "alpine",
            "Cmd": ["sleep", "1000"],
            "HostConfig": { "Annotations": { "a.b": "c" }, "Mounts": [
                { "Type": "image", "Source": source, "Target": "/all" },
                { "Type": "image", "Source": source, "Target": "/part", "ImageOptions": { "Subpath": subpath } },
            ] },
        })
    };
    let made = engine.http("POST", "/containers/create?name=box", Some(&body("data:1", "sub")));
    assert_eq!(made.0, 201, "{made:?}");
    engine.sh("docker start box").ok();
    assert_eq!(engine.sh("docker exec box cat /all/sub/file /part/file").ok(), "inside\ninside");
    let refused = engine.sh("docker exec box touch /all/new").fails();
    assert!(refused.contains("Read-only file system"), "{refused}");
    let mounts = engine
        .sh("docker inspect -f '{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}};{{end}}' box")
        .ok();
    assert_eq!(mounts, "image data:1 /all false;image data:1 /part false;");
    let busy = engine.sh("docker rmi data:1").fails();
    assert!(busy.contains("is using its referenced image"), "{busy}");
    engine.kill();
    engine.boot(&[]);
    assert_eq!(engine.sh("docker exec box cat /part/file").ok(), "inside");
    engine.sh("docker restart -t 0 box").ok();
    assert_eq!(engine.sh("docker exec box cat /all/sub/file").ok(), "inside");
    for (source, subpath, said) in [
        ("nobody", "sub", "No such image: nobody:latest"),
        ("data:1", "../x", "subpath must be a relative path"),
    ] {
        let refused = engine.http("POST", "/containers/create", Some(&body(source, subpath)));
        assert!(refused.1["message"].as_str().is_some_and(|text| text.contains(said)), "{refused:?}");
    }
    engine.sh("docker rm -f box && docker rmi data:1").ok();
    assert_eq!(engine.leftovers(), Vec::<String>::new());
}
