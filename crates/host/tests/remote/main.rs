//! The plugin protocol's client against plugins that hang, lie and die.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod network;
mod scripted;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use pintle_contract::{CreateVolume, ErrorKind, MountId, Scope, VolumeDriver};
use pintle_host::remote::{BreakerState, Budget, CallError, Client, PathMap, Volume};
use pintle_wire::spec::Address;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

use scripted::{Act, Plugin};

const BRIEF: Budget = Budget::once(Duration::from_millis(200));

#[tokio::test]
async fn requests_look_as_dockers_do() {
    let plugin = Plugin::new(|_| Act::Answer(200, "{}"));
    let client = plugin.client();
    client.call("/Plugin.Activate", None, BRIEF).await.unwrap();
    let volume = Volume::new(client, PathMap::default());
    volume.create(CreateVolume { name: "v".into(), ..CreateVolume::default() }).await.unwrap();
    volume.unmount("v", &MountId("id".into())).await.unwrap();
    let requests = plugin.requests();
    assert!(requests[0].starts_with("POST /Plugin.Activate HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].ends_with("\r\n\r\n"), "no body: {}", requests[0]);
    for request in &requests {
        assert!(request.contains("\r\nHost: plugin.moby.localhost\r\n"), "{request}");
        assert!(request.contains("\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n"), "{request}");
        assert!(!request.to_lowercase().contains("content-type"), "{request}");
        assert!(!request.to_lowercase().contains("transfer-encoding"), "{request}");
    }
    assert!(requests[0].contains("\r\nContent-Length: 0\r\n"));
    assert!(requests[1].ends_with("\r\n\r\n{\"Name\":\"v\",\"Opts\":null}\n"), "{}", requests[1]);
    assert!(requests[2].ends_with("{\"Name\":\"v\",\"ID\":\"id\"}\n"), "{}", requests[2]);
    assert_eq!(plugin.connections.load(Ordering::SeqCst), 1, "one connection is used again");
}

#[tokio::test]
async fn every_misbehaviour_ends_within_the_budget() {
    for (act, timeout) in [
        (Act::Hang, true),
        (Act::HalfBody, true),
        (Act::Drip, true),
        (Act::Close, false),
        (Act::Garbage, false),
        (Act::Endless, false),
        (Act::Huge, false),
    ] {
        let plugin = Plugin::new(move |_| act.clone());
        let started = Instant::now();
        let budget = Budget::once(Duration::from_millis(if timeout { 200 } else { 5000 }));
        let error =
            plugin.client().call("/VolumeDriver.Get", Some(b"{}\n".to_vec()), budget).await.unwrap_err();
        assert_eq!(matches!(error, CallError::Timeout { .. }), timeout, "{error}");
        assert!(started.elapsed() < Duration::from_secs(4), "{error}");
        assert!(error.to_string().contains("plugin \"p\""), "{error}");
        assert_eq!(plugin.requests().len(), 1, "never sent again: {error}");
    }
}

#[tokio::test]
async fn a_hung_call_delays_no_other() {
    let plugin = Plugin::new(|path| match path {
        "/VolumeDriver.Mount" => Act::Hang,
        _ => Act::Answer(200, r#"{"Volumes":[]}"#),
    });
    let volume = Volume::new(plugin.client(), PathMap::default());
    let id = MountId("id".into());
    tokio::select! {
        _ = volume.mount("v", &id) => panic!("it hangs"),
        () = async {
            for _ in 0..50 {
                let started = Instant::now();
                volume.list().await.unwrap();
                assert!(started.elapsed() < Duration::from_millis(500));
            }
        } => {}
    }
}

#[tokio::test]
async fn only_exactly_200_without_err_is_success() {
    for (status, body, expected) in [
        (500, r#"{"Err":"boom"}"#, "VolumeDriver.Create: boom"),
        (500, "plain boom\n", "VolumeDriver.Create: plain boom"),
        (201, "{}", "VolumeDriver.Create: {}"),
        (204, "", "VolumeDriver.Create: "),
        (200, r#"{"Err":"boom create"}"#, "boom create"),
    ] {
        let plugin = Plugin::new(move |_| Act::Answer(status, body));
        let volume = Volume::new(plugin.client(), PathMap::default());
        let error =
            volume.create(CreateVolume { name: "v".into(), ..CreateVolume::default() }).await.unwrap_err();
        assert_eq!(error.message, expected);
    }
    let plugin = Plugin::new(|_| Act::Answer(200, r#"{"Err":""}"#));
    let volume = Volume::new(plugin.client(), PathMap::default());
    volume.remove("v").await.unwrap();
    assert_eq!(volume.get("v").await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn capabilities_are_asked_once_and_old_plugins_are_local() {
    let plugin = Plugin::new(|_| Act::Answer(200, r#"{"Capabilities":{"Scope":"Global"}}"#));
    let volume = Volume::new(plugin.client(), PathMap::default());
    for _ in 0..3 {
        assert_eq!(volume.capabilities().await.unwrap().scope, Scope::Global);
    }
    assert_eq!(plugin.requests().len(), 1);
    let plugin = Plugin::new(|_| Act::Answer(404, "404 page not found"));
    let volume = Volume::new(plugin.client(), PathMap::default());
    assert_eq!(volume.capabilities().await.unwrap().scope, Scope::Local);
}

#[tokio::test]
async fn get_mount_path_and_list_name_this_hosts_paths() {
    let plugin = Plugin::new(|path| {
        Act::Answer(
            200,
            match path {
                "/VolumeDriver.Get" => r#"{"Volume":{"Name":"v","Mountpoint":"/mnt/v"}}"#,
                "/VolumeDriver.List" => r#"{"Volumes":[{"Name":"v","Mountpoint":"/mnt/v"},{"Name":"w"}]}"#,
                _ => r#"{"Mountpoint":"/mnt/v"}"#,
            },
        )
    });
    let paths = PathMap { rootfs: Some("/r".into()), propagated: Some(("/mnt".into(), "/p".into())) };
    let volume = Volume::new(plugin.client(), paths);
    let here = Path::new("/p/v");
    assert_eq!(volume.mount("v", &MountId("i".into())).await.unwrap(), here);
    assert_eq!(volume.path("v").await.unwrap().unwrap(), here);
    assert_eq!(volume.get("v").await.unwrap().mountpoint.unwrap(), here, "unlike Docker");
    let listed = volume.list().await.unwrap();
    assert_eq!(listed[0].mountpoint.as_deref(), Some(here));
    assert_eq!(listed[1].mountpoint, None);
}

#[tokio::test]
async fn the_breaker_opens_after_wasted_budgets_and_closes_when_the_plugin_is_back() {
    let healthy = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = healthy.clone();
    let plugin =
        Plugin::new(move |_| if seen.load(Ordering::SeqCst) { Act::Answer(200, "{}") } else { Act::Hang });
    let client = plugin.client();
    let call = || client.call("/VolumeDriver.Remove", Some(b"{}\n".to_vec()), BRIEF);
    for _ in 0..3 {
        assert!(matches!(call().await, Err(CallError::Timeout { .. })));
    }
    let started = Instant::now();
    let error = call().await.unwrap_err();
    assert!(matches!(error, CallError::Open { failures: 3, .. }), "{error}");
    assert!(started.elapsed() < Duration::from_millis(50));
    assert!(matches!(client.breaker(), BreakerState::Open { .. }));
    assert_eq!(plugin.requests().len(), 3, "an open breaker sends nothing");
    healthy.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    call().await.unwrap();
    assert_eq!(client.breaker(), BreakerState::Closed);
    let stats = &client.stats()["VolumeDriver.Remove"];
    assert_eq!((stats.calls, stats.failures), (5, 4));
    assert!(stats.last_error.as_ref().unwrap().contains("is not asked"));
}

#[tokio::test]
async fn connecting_is_retried_and_a_refusal_is_quick() {
    let dir = tempfile::Builder::new().prefix("host-").tempdir().unwrap();
    let socket = dir.path().join("late.sock");
    let client = Client::new("p", Address::Unix(socket.clone()));
    let started = Instant::now();
    let error = client.call("/X.Y", None, Budget::once(Duration::from_secs(60))).await.unwrap_err();
    assert!(
        started.elapsed() < Duration::from_millis(500) && error.to_string().contains("no such socket"),
        "{error}"
    );
    let patient = Budget { total: Duration::from_secs(10), connect: Duration::from_secs(5) };
    let (outcome, ()) = tokio::join!(client.call("/X.Y", None, patient), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let listener = UnixListener::bind(&socket).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    });
    assert_eq!(outcome.unwrap().0, 200);
    // Nobody listens any more: a stale socket, as a killed plugin leaves it.
    let error = client.call("/X.Y", None, Budget::once(Duration::from_secs(60))).await.unwrap_err();
    assert!(error.to_string().contains("nobody listens"), "{error}");
}

#[tokio::test]
async fn a_plugin_that_hangs_up_between_calls_is_called_again_on_a_new_connection() {
    let dir = tempfile::Builder::new().prefix("host-").tempdir().unwrap();
    let socket = dir.path().join("p.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let served = tokio::spawn(async move {
        for _ in 0..5 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
        }
    });
    let client = Client::new("p", Address::Unix(socket));
    for _ in 0..5 {
        client.call("/X.Y", None, BRIEF).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    served.await.unwrap();
}
