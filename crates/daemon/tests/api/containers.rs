//! Containers over HTTP: what the engine does is proved in its own crate, what travels is proved here.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::{
    House,
    client::{call, entry, parse, run, send},
};

pub async fn life_of_one(house: Arc<House>) {
    let id = run(&house, "one", "echo out; echo err >&2; exit 3", json!({"Labels": {"a": "b"}})).await;
    let waited = call(&house, "POST", &format!("/containers/{id}/wait"), None).await;
    assert_eq!(waited.text(), "{\"StatusCode\":3}\n");
    let logs = call(&house, "GET", "/v1.42/containers/one/logs?stdout=1&stderr=1", None).await;
    assert!(logs.head.contains("application/vnd.docker.multiplexed-stream"), "{}", logs.head);
    for frame in [&b"\x01\0\0\0\0\0\0\x04out\n"[..], b"\x02\0\0\0\0\0\0\x04err\n"] {
        assert!(logs.body.windows(frame.len()).any(|window| window == frame), "{:?}", logs.text());
    }
    let none = call(&house, "GET", "/containers/one/logs", None).await;
    assert_eq!(
        (none.status, none.message()),
        (400, "Bad parameters: you must choose at least one stream".to_owned())
    );
    let one = call(&house, "GET", "/containers/one/json", None).await.json();
    assert_eq!((&one["Name"], &one["State"]["ExitCode"]), (&json!("/one"), &json!(3)));
    for key in ["Entrypoint", "OnBuild", "Volumes"] {
        assert_eq!(one["Config"].get(key), Some(&json!(null)), "{key}");
    }
    assert_eq!(one["HostConfig"].get("Binds"), Some(&json!(null)));
    let list =
        call(&house, "GET", "/containers/json?all=1&filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D", None)
            .await;
    assert_eq!(list.json()[0]["Names"], json!(["/one"]));
    let taken =
        call(&house, "POST", "/containers/create?name=one", Some(json!({"Image": "box", "Cmd": ["x"]})))
            .await;
    assert_eq!(taken.status, 409, "{}", taken.text());
    let missing =
        call(&house, "POST", "/containers/create", Some(json!({"Image": "nope", "Cmd": ["x"]}))).await;
    assert_eq!((missing.status, missing.message()), (404, "No such image: nope:latest".to_owned()));
    assert_eq!(call(&house, "POST", "/containers/one/stop", None).await.status, 304);
    assert_eq!(call(&house, "DELETE", "/containers/one", None).await.status, 204);
    let gone = call(&house, "GET", "/containers/one/json", None).await;
    assert_eq!((gone.status, gone.message()), (404, "No such container: one".to_owned()));
}

pub async fn wait_answers_before_the_end(house: Arc<House>) {
    let id = run(&house, "waited", "sleep 1000", json!({})).await;
    let mut stream = UnixStream::connect(&house.socket).await.unwrap();
    let request = format!(
        "POST /containers/{id}/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    assert_eq!(call(&house, "POST", "/containers/waited/kill", None).await.status, 204);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("{\"StatusCode\":137}"), "{rest}");
    assert_eq!(call(&house, "POST", "/containers/waited/wait?condition=odd", None).await.status, 400);
    call(&house, "DELETE", "/containers/waited?force=1", None).await;
}

pub async fn hijack_with_and_without_upgrade(house: Arc<House>) {
    run(&house, "host", "sleep 1000", json!({})).await;
    for (headers, status, content_type) in [
        (
            "Connection: Upgrade\r\nUpgrade: tcp\r\n",
            "HTTP/1.1 101 UPGRADED",
            "application/vnd.docker.multiplexed-stream",
        ),
        ("", "HTTP/1.1 200 OK", "application/vnd.docker.raw-stream"),
    ] {
        let body = json!({"AttachStdin": true, "AttachStdout": true, "AttachStderr": true, "Cmd": ["/bin/busybox", "cat"]});
        let exec = call(&house, "POST", "/containers/host/exec", Some(body)).await;
        assert_eq!(exec.status, 201, "{}", exec.text());
        let id = exec.json()["Id"].as_str().unwrap_or_default().to_owned();
        let mut stream = UnixStream::connect(&house.socket).await.unwrap();
        let body = "{\"Detach\":false}";
        let request = format!(
            "POST /v1.44/exec/{id}/start HTTP/1.1\r\nHost: d\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}early ",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(b"late").await.unwrap();
        // Half of the connection: what comes back still does.
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        let answer = parse(&all);
        assert!(answer.head.starts_with(status), "{}", answer.head);
        assert!(answer.head.contains(content_type), "{}", answer.head);
        assert_eq!(answer.head.to_ascii_lowercase().contains("upgrade: tcp"), status.contains("101"));
        let mut text = Vec::new();
        let mut frames = answer.body.as_slice();
        while let [1, 0, 0, 0, a, b, c, d, rest @ ..] = frames {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            text.extend_from_slice(&rest[..length]);
            frames = &rest[length..];
        }
        assert_eq!(String::from_utf8_lossy(&text), "early late");
        let inspected = call(&house, "GET", &format!("/exec/{id}/json"), None).await.json();
        assert_eq!(inspected["ExitCode"], 0, "{inspected}");
    }
    let bad = call(&house, "POST", "/containers/host/attach?stream=1&detachKeys=nonsense", None).await;
    assert_eq!((bad.status, bad.message()), (400, "Invalid detach keys (nonsense) provided".to_owned()));
    assert_eq!(call(&house, "POST", "/exec/nope/start", Some(json!({}))).await.status, 404);
    assert_eq!(call(&house, "DELETE", "/containers/host?force=1", None).await.status, 204);
}

pub async fn files_go_in_and_out(house: Arc<House>) {
    run(&house, "files", "sleep 1000", json!({})).await;
    let mut tar = Vec::new();
    entry(&mut tar, "note", b"hello", 0o640);
    tar.extend_from_slice(&[0; 1024]);
    let put = send(
        &house,
        "PUT",
        "/containers/files/archive?path=/bin",
        "Content-Type: application/x-tar\r\n",
        &tar,
    )
    .await;
    assert_eq!(put.status, 200, "{}", put.text());
    let stat = call(&house, "HEAD", "/containers/files/archive?path=/bin/note", None).await;
    assert!(stat.status == 200 && stat.head.contains("x-docker-container-path-stat: "), "{}", stat.head);
    let got = call(&house, "GET", "/containers/files/archive?path=/bin/note", None).await;
    assert!(got.status == 200 && got.body.windows(5).any(|window| window == b"hello"), "{}", got.head);
    let export = call(&house, "GET", "/containers/files/export", None).await;
    assert!(export.status == 200 && export.body.len() > 1 << 20, "{}", export.head);
    let no_path = call(&house, "GET", "/containers/files/archive", None).await;
    assert_eq!(no_path.status, 400);
    assert_eq!(call(&house, "GET", "/containers/files/archive?path=/nope", None).await.status, 404);
    call(&house, "DELETE", "/containers/files?force=1", None).await;
}

pub async fn ends_have_reasons(house: Arc<House>) {
    let body = json!({"Image": "box", "Cmd": ["/nope"], "HostConfig": {"Memory": 64 << 20}});
    let made = call(&house, "POST", "/containers/create?name=never", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let created = call(&house, "GET", "/containers/never/json", None).await.json();
    assert_eq!((&created["LogPath"], &created["HostsPath"]), (&json!(""), &json!("")));
    assert_eq!(created["HostConfig"]["MemorySwap"], 128 << 20);
    let started = call(&house, "POST", "/containers/never/start", None).await;
    assert_eq!(started.status, 400, "{}", started.text());
    let waited = call(&house, "POST", "/containers/never/wait", None).await.json();
    assert_eq!(waited["StatusCode"], 127, "{waited}");
    assert_eq!(waited["Error"]["Message"].as_str().unwrap_or_default(), started.message());
    // Clients read these as times, whatever the container does.
    let stats = call(&house, "GET", "/containers/never/stats?stream=0", None).await.json();
    assert_eq!(stats["read"], "0001-01-01T00:00:00Z");
    assert_eq!(stats.get("networks"), None);
    for (path, message) in [
        ("kill", "cannot kill container: never: container"),
        ("unpause", "Container "),
        ("rename?name=a%20b", "Error when allocating new name: Invalid container name (a b)"),
    ] {
        let answer = call(&house, "POST", &format!("/containers/never/{path}"), None).await;
        assert!(answer.message().starts_with(message), "{path}: {}", answer.text());
    }
    call(&house, "DELETE", "/containers/never", None).await;

    run(&house, "plain", "sleep 1000", json!({})).await;
    // Without a terminal there is nothing to resize, which is no error.
    assert_eq!(call(&house, "POST", "/containers/plain/resize?h=5&w=5", None).await.status, 200);
    let body = json!({"Cmd": ["/bin/busybox", "pwd"], "WorkingDir": "/nope", "AttachStdout": true});
    let exec = call(&house, "POST", "/containers/plain/exec", Some(body)).await.json();
    let path = format!("/exec/{}/start", exec["Id"].as_str().unwrap_or_default());
    let answer = call(&house, "POST", &path, Some(json!({"Detach": true}))).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .message()
            .contains("chdir to cwd (\"/nope\") set in config.json failed: no such file or directory"),
        "{}",
        answer.text()
    );
    let limits = json!({"PidsLimit": 9});
    let updated = call(&house, "POST", "/containers/plain/update", Some(limits)).await;
    assert_eq!(updated.text(), "{\"Warnings\":null}\n");
    call(&house, "POST", "/containers/plain/update", Some(json!({"PidsLimit": 0}))).await;
    let plain = call(&house, "GET", "/containers/plain/json", None).await.json();
    assert_eq!(plain["HostConfig"]["PidsLimit"], 0, "zero lifts the limit");
    call(&house, "DELETE", "/containers/plain?force=1", None).await;
}

/// Not even for those who may do anything with the engine: a container does not say what it does to the host.
pub async fn the_hosts_kernel_is_not_the_containers(house: Arc<House>) {
    let before = std::fs::read_to_string("/proc/sys/kernel/panic").unwrap();
    for (key, privileged) in [("kernel.panic", false), ("kernel/panic", true), ("vm.swappiness", true)] {
        let host = json!({"Sysctls": {key: "17"}, "Privileged": privileged});
        let body = json!({"Image": "box", "Cmd": ["/bin/busybox", "true"], "HostConfig": host});
        let answer = call(&house, "POST", "/containers/create?name=sys", Some(body)).await;
        let message = format!("sysctl {key:?} is not in a separate kernel namespace");
        assert_eq!((answer.status, answer.message()), (400, message));
    }
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/panic").unwrap(), before);
}
