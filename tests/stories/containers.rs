//! Containers under the stock client.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Client, Engine, Kind, eventually};

fn ready() -> Engine {
    let engine = Engine::pintle();
    engine.busybox("alpine");
    engine
}

#[test]
fn run_says_what_the_process_said_and_exits_as_it_did() {
    let engine = ready();
    assert_eq!(engine.sh("docker run --rm alpine echo hello").ok(), "hello");
    let failed = engine.sh("docker run --rm alpine sh -c 'echo oops >&2; exit 42'");
    assert_eq!((failed.code, failed.stderr.trim()), (42, "oops"));
    let missing = engine.sh("docker run --rm alpine nosuchcmd");
    assert_eq!(missing.code, 127, "{missing:?}");
    assert!(missing.stderr.contains("\"nosuchcmd\": executable file not found in $PATH"), "{missing:?}");
    let denied = engine.sh("docker run --rm alpine /etc/passwd");
    assert_eq!(denied.code, 126, "{denied:?}");
    assert_eq!(engine.sh("echo through | docker run -i --rm alpine cat").ok(), "through");
    assert_eq!(engine.sh("docker ps -aq").ok(), "");
    let unknown = engine.sh("docker start nobody").fails();
    assert!(unknown.contains("No such container: nobody"), "{unknown}");
}

#[test]
fn a_terminal_is_a_terminal() {
    let engine = ready();
    let out = engine.sh("script -qec 'docker run --rm -t alpine sh -c \"tty; stty size\"' /dev/null").ok();
    assert!(out.contains("/dev/"), "{out}");
    engine.sh("docker run -d --name box -t alpine sh -c 'echo plain; sleep 100'").ok();
    eventually("the log", Duration::from_secs(5), || engine.sh("docker logs box").ok().contains("plain"));
    let size = engine.sh("script -qec 'stty rows 33 cols 44; docker exec -it box stty size' /dev/null").ok();
    assert!(size.contains("33 44"), "{size}");
}

#[test]
fn the_life_of_a_container() {
    let engine = ready();
    let id = engine.sh("docker run -d --name box -l k=v alpine sh -c 'trap \"exit 3\" TERM; echo up; while :; do sleep 0.1; done'").ok();
    assert_eq!(id.len(), 64);
    assert_eq!(engine.sh("docker ps --format '{{.Names}} {{.Image}}'").ok(), "box alpine");
    assert_eq!(engine.sh("docker ps -q --no-trunc -f label=k=v -f name=box -f status=running").ok(), id);
    assert_eq!(
        engine.sh("docker inspect -f '{{.State.Status}} {{.State.Running}} {{.Name}}' box").ok(),
        "running true /box"
    );
    let clash = engine.sh("docker create --name box alpine").fails();
    assert!(clash.contains("The container name \"/box\" is already in use by container"), "{clash}");
    let busy = engine.sh("docker rm box").fails();
    assert!(busy.contains("container is running"), "{busy}");
    eventually("it to trap", Duration::from_secs(5), || engine.sh("docker logs box").ok() == "up");
    engine.sh("docker stop box").ok();
    assert_eq!(engine.sh("docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' box").ok(), "exited 3");
    assert_eq!(engine.sh("docker wait box").ok(), "3");
    engine.sh("docker rename box two && docker start two && docker kill two").ok();
    assert_eq!(engine.sh("docker wait two").ok(), "137");
    engine.sh("docker restart -t 0 two && docker rm -f two").ok();
    assert_eq!(engine.sh("docker ps -aq").ok(), "");
    engine.sh("docker rmi alpine").ok();
    assert_eq!(engine.leftovers(), Vec::<String>::new());
}

#[test]
fn exec_in_every_way() {
    let engine = ready();
    engine.sh("docker run -d --name box -e OUTER=1 -w /tmp alpine sleep 1000").ok();
    assert_eq!(engine.sh("docker exec box pwd").ok(), "/tmp");
    assert_eq!(
        engine.sh("docker exec -e INNER=2 -w /bin box sh -c 'echo $OUTER$INNER; pwd'").ok(),
        "12\n/bin"
    );
    assert_eq!(engine.sh("docker exec -u user box id -u").ok(), "1000");
    assert_eq!(engine.sh("echo piped | docker exec -i box cat").ok(), "piped");
    assert_eq!(engine.sh("docker exec box sh -c 'exit 9'").code, 9);
    assert_eq!(engine.sh("docker exec box nosuch").code, 127);
    engine.sh("docker exec -d box sh -c 'echo detached > /tmp/d'").ok();
    eventually("the detached exec", Duration::from_secs(5), || {
        engine.sh("docker exec box cat /tmp/d").stdout.trim() == "detached"
    });
    // The filter that holds for the first process holds for this one.
    assert_eq!(engine.sh("docker exec box grep -w Seccomp: /proc/self/status").ok(), "Seccomp:\t2");
    assert_eq!(engine.sh("docker exec box grep CapInh /proc/self/status").ok(), "CapInh:\t0000000000000000");
    assert_eq!(
        engine.sh("docker exec box grep CapEff /proc/self/status").ok(),
        engine.sh("docker exec box grep CapEff /proc/1/status").ok()
    );
    engine.sh("docker stop -t 0 box").ok();
    let stopped = engine.sh("docker exec box true").fails();
    assert!(stopped.contains("is not running"), "{stopped}");
}

#[test]
fn logs_with_every_option() {
    let engine = ready();
    engine
        .sh("docker run --name box alpine sh -c 'for i in $(seq 1 20); do echo line $i; done; echo err >&2'")
        .ok();
    assert_eq!(engine.sh("docker logs --tail 3 box 2>/dev/null | head -2").ok(), "line 19\nline 20");
    assert_eq!(engine.sh("docker logs box 2>&1 >/dev/null").ok(), "err");
    let stamped = engine.sh("docker logs -t --tail 1 box 2>&1").ok();
    assert!(stamped.starts_with("20") && stamped.contains('T'), "{stamped}");
    assert_eq!(engine.sh("docker logs --since 2100-01-01T00:00:00Z box").ok(), "");
    assert_eq!(engine.sh("docker logs --until 2000-01-01T00:00:00Z box").ok(), "");
    engine.sh("docker run -d --name fol alpine sh -c 'for i in 1 2 3; do echo $i; sleep 0.3; done'").ok();
    assert_eq!(engine.sh("docker logs -f fol").ok(), "1\n2\n3");
    engine.sh("docker run --name big alpine sh -c 'head -c 1048576 /dev/zero | tr \"\\0\" x; echo'").ok();
    assert_eq!(engine.sh("docker logs big | wc -c").ok(), "1048577");
    engine.sh("docker run --name rot --log-opt max-size=10k --log-opt max-file=2 alpine seq 1 20000").ok();
    let kept = engine.sh("docker logs rot | tail -1").ok();
    assert_eq!(kept, "20000");
    assert!(engine.sh("docker logs rot | wc -l").ok().parse::<u32>().unwrap() < 20000);
}

#[test]
fn the_sandbox_is_dockers() {
    let engine = ready();
    assert_eq!(
        engine.sh("docker run --rm alpine grep CapEff /proc/self/status").ok(),
        "CapEff:\t00000000a80425fb"
    );
    assert_eq!(
        engine.sh("docker run --rm --cap-drop ALL --cap-add CHOWN alpine grep CapEff /proc/self/status").ok(),
        "CapEff:\t0000000000000001"
    );
    assert_eq!(
        engine
            .sh("docker run --rm --security-opt seccomp=unconfined alpine grep -w Seccomp: /proc/self/status")
            .ok(),
        "Seccomp:\t0"
    );
    assert_eq!(
        engine
            .sh("docker run --rm --security-opt no-new-privileges alpine grep NoNewPrivs /proc/self/status")
            .ok(),
        "NoNewPrivs:\t1"
    );
    assert_eq!(engine.sh("docker run --rm -u user alpine id -u").ok(), "1000");
    assert_eq!(engine.sh("docker run --rm -h box alpine hostname").ok(), "box");
    assert!(engine.sh("docker run --rm --read-only alpine touch /x").fails().contains("Read-only"));
    assert!(
        engine
            .sh("docker run --rm alpine sh -c 'echo 1 > /proc/sys/kernel/domainname'")
            .fails()
            .contains("Read-only")
    );
    assert!(
        engine
            .sh("docker run --rm alpine sh -c 'echo 1 > /sys/fs/cgroup/pids/cgroup.procs'")
            .fails()
            .contains("ead-only")
    );
    assert_eq!(engine.sh("docker run --rm alpine sh -c 'wc -c < /proc/keys'").ok(), "0");
    assert_eq!(
        engine
            .sh("docker run --rm --tmpfs /t:size=64k alpine sh -c 'df -k /t | tail -1'")
            .ok()
            .split_whitespace()
            .nth(1),
        Some("64")
    );
    assert_eq!(engine.sh("docker run --rm --init alpine sh -c 'cat /proc/1/comm'").ok(), "docker-init");
    assert_eq!(engine.sh("docker run --rm --ulimit nofile=77:88 alpine sh -c 'ulimit -n'").ok(), "77");
    assert_eq!(engine.sh("docker run --rm --network none alpine ls /sys/class/net").ok(), "lo");
    assert!(
        engine.sh("docker run --rm --device /dev/loop-control alpine ls -la /dev/loop-control").code == 0
    );
    let only_first = engine.sh("docker run --rm alpine ls /proc/self/fd").ok();
    assert!(only_first.lines().count() <= 4, "only 0, 1, 2 and the listing itself: {only_first}");
}

#[test]
fn limits_hold() {
    let engine = ready();
    let killed = engine.sh("docker run --name oom -m 16m alpine sh -c 'head -c 64m /dev/zero | tail'");
    assert_eq!(engine.sh("docker inspect -f '{{.State.OOMKilled}}' oom").ok(), "true", "{killed:?}");
    let forks = engine
        .sh("docker run --rm --pids-limit 4 alpine sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait'")
        .fails();
    assert!(forks.contains("fork"), "{forks}");
}

#[test]
fn files_go_in_and_out() {
    let engine = ready();
    engine.sh("docker create --name box alpine true").ok();
    engine.sh("echo in > f && docker cp f box:/tmp/g && docker cp box:/tmp/g out").ok();
    assert_eq!(engine.sh("cat out").ok(), "in");
    engine.sh("mkdir -p d/e && echo x > d/e/f && docker cp d box:/root && docker cp box:/root/d - | tar -t | sort").ok();
    let listed = engine.sh("docker cp box:/root/d - | tar -t | sort").ok();
    assert_eq!(listed, "d/\nd/e/\nd/e/f");
    let missing = engine.sh("docker cp box:/nope out").fails();
    assert!(missing.contains("Could not find the file /nope in container box"), "{missing}");
    assert!(engine.sh("docker export box | tar -t").ok().contains("bin/busybox"));
    assert_eq!(engine.sh("docker diff box | grep -c /root/d").ok(), "3");
}

#[test]
fn what_the_engine_says_of_itself() {
    let engine = ready();
    assert!(engine.sh("docker version --format '{{.Server.APIVersion}}'").ok().starts_with("1."));
    let info = engine.sh("docker info").ok();
    for line in [
        "Storage Driver: overlay2",
        "Logging Driver: json-file",
        "Swarm: inactive",
        "Volume: local",
        "Network: bridge host ipvlan macvlan null",
    ] {
        assert!(info.contains(line), "{line} in\n{info}");
    }
    engine.sh("docker system df").ok();
    assert!(engine.sh("docker node ls").fails().contains("This node is not a swarm manager"));
    assert_eq!(engine.http("GET", "/v1.23/version", None).0, 400);
    assert_eq!(engine.http("GET", "/v9.99/version", None).0, 400);
    assert_eq!(engine.http("GET", "/nope", None).0, 404);
    let since = engine.sh("date +%s").ok();
    engine.sh("docker run --rm --name evt alpine true").ok();
    let events = engine.sh(&format!("docker events --since {since} --until $(($(date +%s)+1)) --filter container=evt --format '{{{{.Action}}}}'")).ok();
    assert_eq!(events, "create\nattach\nstart\ndie\ndestroy", "in Docker's order");
}

#[test]
fn killing_the_engine_loses_no_output_and_no_exit_code() {
    let mut engine = ready();
    engine.sh("docker run -d --name box -v vol:/d alpine sh -c 'i=0; while [ $i -lt 40 ]; do echo $i; i=$((i+1)); sleep 0.05; done; exit 5'").ok();
    engine.sh("docker run -d --name stays alpine sleep 1000").ok();
    let pid = engine.sh("docker inspect -f '{{.State.Pid}}' stays").ok();
    engine.kill();
    std::thread::sleep(Duration::from_millis(2500));
    engine.boot(&[]);
    assert_eq!(engine.sh("docker inspect -f '{{.State.Pid}}' stays").ok(), pid);
    assert_eq!(engine.sh("docker wait box").ok(), "5");
    let expected = (0..40).map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
    assert_eq!(engine.sh("docker logs box").ok(), expected);
    let held = engine.sh("docker volume rm vol").fails();
    assert!(held.contains("in use"), "{held}");
    assert_eq!(engine.sh("docker exec stays echo alive").ok(), "alive");
    engine.sh("docker rm -f box stays && docker volume rm vol").ok();
}

#[test]
fn a_term_drains_and_exits_zero() {
    let mut engine = ready();
    engine.sh("docker run -d --name box alpine sleep 1000").ok();
    let start = Instant::now();
    assert_eq!(engine.stop(), Some(0), "{}", engine.daemon_log());
    assert!(start.elapsed() < Duration::from_secs(10));
    engine.boot(&[]);
    assert_eq!(engine.sh("docker ps --format '{{.Names}}'").ok(), "box");
}

#[test]
fn standard_streams_over_a_websocket() {
    use std::io::{Read, Write};
    let engine = ready();
    engine
        .sh("docker run -d -i --name box alpine sh -c 'while read line; do echo got $line; done; exit 5'")
        .ok();
    let mut stream = std::os::unix::net::UnixStream::connect(engine.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The handshake of the standard's own example, and its answer.
    stream
        .write_all(
            b"GET /v1.44/containers/box/attach/ws?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: docker\r\n\
              Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    // One masked text message; the mask of zeros leaves it readable.
    stream.write_all(&[0x81, 0x80 | 3, 0, 0, 0, 0, b'h', b'i', b'\n']).unwrap();
    let mut said = Vec::new();
    while said != b"got hi\n" {
        let mut frame = [0; 2];
        stream.read_exact(&mut frame).unwrap();
        assert_eq!(frame[0], 0x82, "a whole message of bytes");
        let mut bytes = vec![0; usize::from(frame[1])];
        stream.read_exact(&mut bytes).unwrap();
        said.extend(bytes);
    }
    // A good-bye is answered, and ends nothing but the conversation.
    stream.write_all(&[0x88, 0x80, 0, 0, 0, 0]).unwrap();
    let mut last = [0; 2];
    stream.read_exact(&mut last).unwrap();
    assert_eq!(last[0], 0x88);
    assert_eq!(engine.sh("docker inspect -f '{{.State.Running}}' box").ok(), "true");
    let refused = engine.http("GET", "/containers/box/attach/ws", None);
    assert_eq!(refused.0, 400, "{refused:?}");
}

/// What a killed engine was told of limits holds after the next one's start, or what was before: in its record and in the
/// kernel alike.
#[test]
fn an_update_is_whole_whenever_the_engine_dies() {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    engine.boot(&[]);
    engine.busybox("base");
    engine.sh("docker run -d --name box --network none --pids-limit 50 base sleep 1000").ok();
    let file = "f=/sys/fs/cgroup/pids/pids.max; [ -e $f ] || f=/sys/fs/cgroup/pids.max; cat $f";
    let seen = |engine: &Engine| {
        let kernel = engine.sh(&format!("docker exec box sh -c '{file}'")).ok();
        (engine.sh("docker inspect -f '{{.HostConfig.PidsLimit}}' box").ok(), kernel)
    };
    let limits = |limit: &str| (limit.to_owned(), limit.to_owned());
    for (limit, failpoint) in [("61", "engine.update.after_intent"), ("62", "engine.update.after_apply")] {
        engine.stop();
        engine.boot(&[("PINTLE_FAILPOINT", failpoint)]);
        engine.sh(&format!("docker update --pids-limit {limit} box")).fails();
        engine.kill();
        engine.boot(&[]);
        assert_eq!(seen(&engine), limits(limit), "{failpoint}");
    }
    // Limits that the kernel does not take: at once, and when the next engine tries.
    let update = |engine: &Engine| {
        let body = json!({ "PidsLimit": 63, "CpuQuota": 1_u64 << 60 });
        engine.try_http("POST", "/containers/box/update", Some(&body)).map(|answer| answer.0)
    };
    assert_eq!(update(&engine).unwrap(), 400);
    assert_eq!(seen(&engine), limits("62"));
    engine.stop();
    engine.boot(&[("PINTLE_FAILPOINT", "engine.update.after_intent")]);
    update(&engine).unwrap_err();
    engine.kill();
    engine.boot(&[]);
    assert_eq!(seen(&engine), limits("62"));
    engine.sh("docker update --pids-limit 64 box").ok();
    assert_eq!(seen(&engine), limits("64"));
}
