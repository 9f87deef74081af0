//! The two clients on the same engine print the same, column by column.

use crate::{
    harness::{Client, Engine, Kind},
    package::install,
};

/// Ages differ from one command to the next; how wide they make a column does not matter either.
const STEADY: &str =
    r#"sed -E 's/(About an? |Less than an? |[0-9]+ )(second|minute)s?( ago)?/AGE/g; s/ {3,}/ | /g; s/ +$//'"#;

#[test]
fn both_print_the_same() {
    let engine = Engine::start(Kind::Pintle, Client::Docker, &[]);
    engine.busybox("alpine");
    install(&engine, "me/dirs");
    engine
        .sh("docker volume create --label tier=fast local1 && docker volume create -d me/dirs remote1")
        .ok();
    engine.sh("docker run -d --name one -v local1:/d alpine sleep 1000; docker run --name two alpine sh -c 'echo out; exit 3'");
    for line in [
        "ps",
        "ps -a --no-trunc",
        "ps -aq --no-trunc",
        "ps -as",
        "ps -n 1",
        "ps --format 'table {{.Names}}\\t{{.Image}}\\t{{.Mounts}}\\t{{.Networks}}'",
        "ps -a --filter status=exited --format '{{.Names}} {{.Status}}'",
        "images",
        "images -a --digests --no-trunc",
        "images --format '{{.Repository}}:{{.Tag}} {{.Size}}'",
        "history alpine",
        "volume ls",
        "volume ls --filter driver=local --format json",
        "volume inspect local1 remote1",
        "plugin ls",
        "plugin ls --no-trunc --filter enabled=true",
        "plugin inspect -f '{{json .Settings}}' me/dirs",
        "network ls --no-trunc",
        "inspect -f '{{.State.Status}} {{.HostConfig.RestartPolicy.Name}}' one two",
        "container inspect nosuch",
        "logs two",
        "port one",
        "diff two",
        "system df",
        "system df -v --format '{{json .Volumes}}' | head -c 0",
        "wait two",
        "start nosuch",
        "rm nosuch",
        "volume rm nosuch",
        "plugin enable nosuch",
        "rmi nosuch",
        "exec nosuch true",
        "cp nosuch:/x .",
        "tag alpine other:1",
    ] {
        let said = |client: &str| {
            let ran = engine.sh(&format!("set -o pipefail; {client} {line} 2>&1 | {STEADY}"));
            (ran.code, ran.stdout)
        };
        let (theirs, ours) = (said("docker"), said("pintle"));
        assert_eq!(ours, theirs, "`{line}`");
    }
    let untagged =
        |client: &str| engine.sh(&format!("docker tag alpine other:1 && {client} rmi other:1")).ok();
    assert_eq!(untagged("pintle"), untagged("docker"));
    // In the tables of `system df -v` a volume of a plugin has no size.
    let detail =
        |client: &str| engine.sh(&format!("{client} system df -v | {STEADY} | grep -v remote1")).ok();
    assert_eq!(detail("pintle"), detail("docker"));
}
