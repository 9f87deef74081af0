//! Answers that Docker's own suites look at, to the letter.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Engine, eventually};

fn ready() -> Engine {
    let engine = Engine::pintle();
    engine.busybox("base");
    engine
}

fn said(answer: &(u16, Value)) -> &str {
    answer.1["message"].as_str().unwrap_or_default()
}

#[test]
fn an_exec_of_nobody_is_refused_before_there_is_a_stream() {
    let engine = ready();
    engine.sh("docker run -d --name box --network none base sleep 1000").ok();
    for (user, text) in [
        ("no-such-user", "unable to find user no-such-user: no matching entries in passwd file"),
        ("no-such-user:1", "unable to find user no-such-user: no matching entries in passwd file"),
        ("1:no-such-group", "unable to find group no-such-group: no matching entries in group file"),
        ("root;0", "unable to find user root;0: no matching entries in passwd file"),
    ] {
        let body = json!({ "Cmd": ["id"], "User": user, "AttachStdout": true });
        let answer = engine.http("POST", "/containers/box/exec", Some(&body));
        assert_eq!((answer.0, said(&answer)), (400, text));
        let client = engine.sh(&format!("docker exec -u '{user}' box id"));
        assert_eq!((client.code, client.stderr.trim()), (1, &*format!("Error response from daemon: {text}")));
    }
    assert_eq!(engine.sh("docker exec -u 1:1 box id -u").ok(), "1");
    let created = engine.http("POST", "/containers/box/exec", Some(&json!({ "Cmd": ["true"] }))).1;
    let id = created["Id"].as_str().unwrap();
    let start = || engine.http("POST", &format!("/exec/{id}/start"), Some(&json!({ "Detach": true })));
    assert_eq!(start().0, 200);
    eventually("the exec to end", Duration::from_secs(5), || {
        engine.http("GET", &format!("/exec/{id}/json"), None).1["Running"] == false
    });
    let again = start();
    assert_eq!((again.0, said(&again)), (409, &*format!("exec command {id} has already run")));
    assert_eq!(engine.sh("docker inspect -f '{{.ExecIDs}}' box").ok(), "[]");
}

#[test]
fn the_mode_of_a_mount_is_dockers() {
    let engine = ready();
    engine
        .sh("docker create --name box -v /image -v named:/named -v named:/ro:ro -v /tmp:/bind \
             --mount type=volume,dst=/long --mount type=volume,src=other,dst=/other base && \
             docker create --name heir --volumes-from box:ro base")
        .ok();
    let modes = |name: &str| {
        let format = "{{range .Mounts}}{{println .Destination .Mode}}{{end}}";
        let shown = engine.sh(&format!("docker inspect -f '{format}' {name} | sort")).ok();
        shown.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(modes("box"), ["/bind", "/image", "/long z", "/named z", "/other z", "/ro ro"]);
    assert_eq!(modes("heir"), ["/bind", "/image", "/long", "/named", "/other", "/ro"]);
}

#[test]
fn a_file_is_not_a_directory() {
    let engine = ready();
    engine.sh("docker create --name box base").ok();
    let answer = engine.http("GET", "/containers/box/archive?path=/etc/passwd/", None);
    assert_eq!((answer.0, said(&answer)), (500, "lstat /etc/passwd/: not a directory"));
    let answer = engine.http("PUT", "/containers/box/archive?path=/etc/passwd/", Some(&json!({})));
    assert_eq!((answer.0, said(&answer)), (500, "lstat /etc/passwd/: not a directory"));
    let answer = engine.http("PUT", "/containers/box/archive?path=/etc/passwd", Some(&json!({})));
    assert_eq!((answer.0, said(&answer)), (400, "extraction point is not a directory"));
    let client = engine.sh("docker cp box:/etc/passwd/ .").fails();
    assert!(client.contains("not a directory"), "{client}");
    engine
        .sh("docker cp box:/etc/ out && docker cp box:/etc/passwd out2 && test -f out2 && test -d out")
        .ok();
    let answer = engine.http("GET", "/containers/box/archive?path=/nothing/", None);
    assert_eq!(answer.0, 404);
}

#[test]
fn links_are_names_that_follow_their_containers() {
    let engine = ready();
    engine.sh("docker run -d --name db base sleep 1000 && docker run -d --name app --link db:/data base sleep 1000").ok();
    let names = || engine.sh("docker ps -a --no-trunc --format '{{.Names}}' | sort").ok();
    assert_eq!(names(), "app\ndb,app/data");
    let links = |name: &str| engine.sh(&format!("docker inspect -f '{{{{.HostConfig.Links}}}}' {name}")).ok();
    assert_eq!(links("app"), "[/db:/app/data]");
    let id = engine.sh("docker inspect -f '{{.Id}}' db").ok();
    assert_eq!(engine.sh("docker inspect -f '{{.Id}}' app/data").ok(), id);
    assert_eq!(engine.sh("docker ps -q --no-trunc -f name='^/app/data$'").ok(), id);

    // Whatever is renamed, the link is to the same container.
    engine
        .sh("docker rename app front && docker rename db old && docker run -d --name db base sleep 1000")
        .ok();
    assert_eq!(links("front"), "[/old:/front/data]");
    assert_eq!(engine.sh("docker inspect -f '{{.Id}}' front/data").ok(), id);
    assert_eq!(
        engine
            .sh("docker exec front grep -c -w old /etc/hosts; docker restart -t 0 front && \
                          docker exec front grep -c -w old /etc/hosts")
            .stdout
            .lines()
            .last(),
        Some("1")
    );
    engine.sh("docker inspect app/data").fails();

    // With the container the link to it goes.
    engine.sh("docker run -d --name other --link db base sleep 1000 && docker rm -f db && docker restart -t 0 other").ok();
    assert_eq!(links("other"), "[]");
    engine.sh("docker rm -f other && docker run -d --name db base sleep 1000").ok();

    let own = engine.http("DELETE", "/containers/db?link=1", None);
    assert_eq!(said(&own), "Conflict, cannot remove the default link name of the container");
    assert_eq!(engine.http("DELETE", "/containers/front/data?link=1", None).0, 204);
    assert_eq!(links("front"), "[]");
    assert_eq!(engine.sh("docker exec front grep -w data /etc/hosts").code, 1);
    engine.sh("docker inspect front/data").fails();
    assert_eq!(names(), "db\nfront\nold");
}

#[test]
fn binds_of_the_data_root_follow_what_is_mounted_there() {
    let engine = ready();
    let root = engine.sh("docker info -f '{{.DockerRootDir}}'").ok();
    for source in [root.clone(), format!("{root}/containers")] {
        engine.sh(&format!("docker run --rm -v {source}:/x:ro base true")).ok();
        engine.sh(&format!("docker create --name box -v {source}:/x base")).ok();
        let shown =
            "docker inspect -f '{{range .Mounts}}{{.Propagation}}{{end}}' box; docker rm box >/dev/null";
        assert_eq!(engine.sh(shown).ok(), "rslave");
        let refused = engine.sh(&format!("docker create -v {source}:/x:rprivate base")).fails();
        let text = format!(
            "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is \
             within the daemon root, daemon root: \"{root}\", bind mount source: \"{source}\", propagation: \"rprivate\""
        );
        assert!(refused.contains(&text), "{refused}");
    }
}

#[test]
fn what_is_mounted_over_dev_is_read_only_all_the_way_down() {
    let engine = ready();
    let host = engine.sh("grep -c ' /dev/shm ' /proc/self/mountinfo");
    if host.stdout.trim() == "0" {
        return;
    }
    let shm = "sh -c \"grep ' /dev/shm ' /proc/self/mountinfo\"";
    let deep = engine.sh(&format!("docker run --rm -v /dev:/dev:ro base {shm}")).ok();
    assert!(deep.contains(" /dev/shm ro,"), "{deep}");
    let shallow =
        engine.sh(&format!("DOCKER_API_VERSION=1.43 docker run --rm -v /dev:/dev:ro base {shm}")).ok();
    assert!(shallow.contains(" /dev/shm rw,"), "{shallow}");
}

#[test]
fn control_groups_are_writable_for_whom_it_is_said() {
    let engine = ready();
    let make = "sh -c 'd=/sys/fs/cgroup; [ -d $d/pids ] && d=$d/pids; mkdir $d/foo && rmdir $d/foo'";
    let code =
        |options: &str| engine.sh(&format!("docker run --rm --network none {options} base {make}")).code;
    assert_eq!(code(""), 1);
    assert_eq!(code("--security-opt writable-cgroups=true"), 0);
    assert_eq!(code("--security-opt writable-cgroups=false"), 1);
    assert_eq!(code("--privileged"), 0);
    assert_eq!(code("--privileged --security-opt writable-cgroups=false"), 1);
    for (option, status) in
        [("writable-cgroups", 201), ("writable-cgroups=1", 201), ("writable-cgroups=potato", 400)]
    {
        let body = json!({ "Image": "base", "HostConfig": { "SecurityOpt": [option] } });
        assert_eq!(engine.http("POST", "/containers/create", Some(&body)).0, status, "{option}");
    }
}

#[test]
fn images_go_by_their_own_digest_and_by_platform() {
    let engine = ready();
    engine.sh("docker tag base other/name:one && docker tag base other/name:two").ok();
    let id = engine.sh("docker inspect -f '{{.Id}}' base").ok();
    assert_eq!(engine.sh(&format!("docker inspect -f '{{{{.Id}}}}' other/name@{id}")).ok(), id);
    engine.sh(&format!("docker inspect nobody@{id}")).fails();
    let removed = engine.sh(&format!("docker rmi other/name@{id}")).ok();
    assert_eq!(removed, "Untagged: other/name:one\nUntagged: other/name:two");
    engine.sh("docker inspect other/name:one").fails();
    assert_eq!(engine.sh("docker inspect -f '{{.Id}}' base").ok(), id);

    let own = engine.sh("docker version -f '{{.Server.Os}}/{{.Server.Arch}}'").ok();
    engine.sh(&format!("docker save --platform {own} -o base.tar base && docker rmi base")).ok();
    let none = engine.sh("docker load --platform linux/s390x -i base.tar").fails();
    assert!(none.contains("no images providing the requested platform(s) found: [linux/s390x]"), "{none}");
    engine.sh("docker inspect base").fails();
    engine.sh(&format!("docker load --platform {own} -i base.tar")).ok();
    assert_eq!(engine.sh("docker inspect -f '{{.Id}}' base").ok(), id);
    let refused = engine.sh("docker save --platform linux/s390x -o no.tar base").fails();
    assert!(refused.contains("no suitable export target found for platform linux/s390x"), "{refused}");
}

#[test]
fn a_container_says_which_manifest_its_image_came_with() {
    let engine = ready();
    // Without Docker's own manifest the archive is an OCI layout.
    engine
        .sh("mkdir layout && docker save base | tar x -C layout && docker rmi base && rm layout/manifest.json && \
             tar c -C layout . | docker load && docker create --name box base")
        .ok();
    let wanted = engine.sh("cat layout/index.json").ok();
    let index: Value = serde_json::from_str(&wanted).unwrap();
    let arch = engine.sh("docker version -f '{{.Server.Arch}}'").ok();
    let expected = json!({
        "mediaType": index["manifests"][0]["mediaType"],
        "digest": index["manifests"][0]["digest"],
        "size": index["manifests"][0]["size"],
        "platform": { "architecture": arch, "os": "linux" },
    });
    let asked =
        |version: &str, path: &str| engine.http("GET", &format!("/v{version}/containers/{path}"), None).1;
    assert_eq!(asked("1.48", "box/json")["ImageManifestDescriptor"], expected);
    assert_eq!(asked("1.48", "json?all=1")[0]["ImageManifestDescriptor"], expected);
    assert_eq!(asked("1.47", "box/json").get("ImageManifestDescriptor"), None);
    assert_eq!(asked("1.47", "json?all=1")[0].get("ImageManifestDescriptor"), None);
}

#[test]
fn the_last_line_of_a_log_may_lack_its_end() {
    let engine = ready();
    for driver in ["json-file", "local"] {
        let name = format!("box-{driver}");
        engine
            .sh(&format!("docker run --name {name} --log-driver {driver} --network none base printf 'one\\ntwo\\nthree'"))
            .ok();
        assert_eq!(engine.sh(&format!("docker logs {name}")).ok(), "one\ntwo\nthree");
        assert_eq!(engine.sh(&format!("docker logs --tail 1 {name}")).ok(), "three");
        assert_eq!(engine.sh(&format!("docker logs --tail 2 {name} | wc -c")).ok(), "9");
    }
}
