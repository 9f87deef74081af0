//! The served end, looked at over bare sockets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic, and one driver does on purpose")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use pintle_sdk::{
    Address, CreateVolume, DriverError, Listen, MountId, Running, ServeError, Server, Volume, VolumeDriver,
    async_trait,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::Notify,
    time::sleep,
};

/// Panics on `create panic`, waits on `create wait`, and counts what it finished.
#[derive(Default, Clone)]
struct Odd {
    begun: Arc<Notify>,
    proceed: Arc<Notify>,
    finished: Arc<AtomicU32>,
}

#[async_trait]
impl VolumeDriver for Odd {
    async fn create(&self, request: CreateVolume) -> Result<(), DriverError> {
        match request.name.as_str() {
            "panic" => panic!("on purpose"),
            "wait" => {
                self.begun.notify_one();
                self.proceed.notified().await;
            }
            _ => {}
        }
        self.finished.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        Err(DriverError::not_found(format!("no such volume: {name}")))
    }
    async fn mount(&self, _: &str, _: &MountId) -> Result<PathBuf, DriverError> {
        Ok(PathBuf::from("/mnt"))
    }
    async fn unmount(&self, _: &str, _: &MountId) -> Result<(), DriverError> {
        Ok(())
    }
    async fn get(&self, name: &str) -> Result<Volume, DriverError> {
        Ok(Volume { name: name.to_owned(), ..Volume::default() })
    }
    async fn list(&self) -> Result<Vec<Volume>, DriverError> {
        Ok(Vec::new())
    }
}

async fn send(socket: &Path, request: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The status and the body.
async fn ask(socket: &Path, request: &str) -> (u16, String) {
    let mut stream = send(socket, &request.replacen("\r\n", "\r\nConnection: close\r\n", 1)).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn start(driver: Odd) -> (tempfile::TempDir, PathBuf, Running) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sub/s.sock");
    let running = Server::volume(driver).start(Listen::unix(&socket)).unwrap();
    (dir, socket, running)
}

const ACTIVATE: &str = "POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn replies_follow_the_helpers() {
    let (_dir, socket, running) = start(Odd::default());
    let call = async |path: &str, body: &str| ask(&socket, &post(path, body)).await;
    assert_eq!(ask(&socket, ACTIVATE).await, (200, "{\"Implements\":[\"VolumeDriver\"]}\n".to_owned()));
    assert_eq!(
        call("/VolumeDriver.Create", "{\"Name\":\"v\",\"Opts\":null}").await,
        (200, "{}\n".to_owned())
    );
    assert_eq!(
        call("/VolumeDriver.Mount", "{\"Name\":\"v\",\"ID\":\"i\"}").await,
        (200, "{\"Mountpoint\":\"/mnt\"}\n".to_owned())
    );
    assert_eq!(call("/VolumeDriver.List", "").await, (200, "{\"Volumes\":[]}\n".to_owned()));
    let (status, body) = call("/VolumeDriver.Remove", "{\"Name\":\"v\"}").await;
    assert_eq!((status, body.as_str()), (500, "{\"Err\":\"no such volume: v\",\"Kind\":\"not-found\"}\n"));
    assert_eq!(call("/VolumeDriver.Create", "{\"Name\":").await.0, 400);
    assert_eq!(call("/VolumeDriver.Create", "{}").await.0, 400);
    assert_eq!(call("/VolumeDriver.Nothing", "{}").await.0, 404);
    assert_eq!(ask(&socket, "GET /VolumeDriver.List HTTP/1.1\r\nHost: x\r\n\r\n").await.0, 405);
    // Only the head: the server says no by its length, before the body is sent.
    let huge = "POST /VolumeDriver.List HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n";
    let (status, body) = ask(&socket, huge).await;
    assert!(status == 400 && body.contains("is longer than"), "{status} {body}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_panic_ends_one_call_only() {
    let (_dir, socket, _running) = start(Odd::default());
    let (status, body) = ask(&socket, &post("/VolumeDriver.Create", "{\"Name\":\"panic\"}")).await;
    assert!(status == 500 && body.contains("panicked"), "{status} {body}");
    assert_eq!(ask(&socket, &post("/VolumeDriver.Create", "{\"Name\":\"v\"}")).await.0, 200);
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_cut_its_call() {
    let driver = Odd::default();
    let (_dir, socket, running) = start(driver.clone());
    let stream = send(&socket, &post("/VolumeDriver.Create", "{\"Name\":\"wait\"}")).await;
    driver.begun.notified().await;
    drop(stream);
    sleep(Duration::from_millis(50)).await;
    driver.proceed.notify_one();
    running.stop().await.unwrap();
    assert_eq!(driver.finished.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn stopping_waits_for_calls_and_refuses_new_ones() {
    let driver = Odd::default();
    let (_dir, socket, running) = start(driver.clone());
    let call = tokio::spawn({
        let socket = socket.clone();
        async move { ask(&socket, &post("/VolumeDriver.Create", "{\"Name\":\"wait\"}")).await }
    });
    driver.begun.notified().await;
    let stop = tokio::spawn(running.stop());
    while socket.exists() {
        sleep(Duration::from_millis(5)).await;
    }
    assert!(UnixStream::connect(&socket).await.is_err());
    assert!(!stop.is_finished());
    driver.proceed.notify_one();
    assert_eq!(call.await.unwrap().0, 200, "the last answer arrives");
    stop.await.unwrap().unwrap();
}

#[tokio::test]
async fn stopping_has_a_deadline_and_counts_what_it_left() {
    let driver = Odd::default();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s.sock");
    let server = Server::volume(driver.clone()).drain(Duration::from_millis(100));
    let running = server.start(Listen::unix(&socket)).unwrap();
    let _stream = send(&socket, &post("/VolumeDriver.Create", "{\"Name\":\"wait\"}")).await;
    driver.begun.notified().await;
    let begun = Instant::now();
    let error = running.stop().await.unwrap_err();
    assert!(matches!(error, ServeError::Drain { calls: 1, .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn an_idle_connection_does_not_delay_the_stop() {
    let (_dir, socket, running) = start(Odd::default());
    let _idle = UnixStream::connect(&socket).await.unwrap();
    let _half = send(&socket, "POST /VolumeDriver.List HTTP/1.1\r\nContent-").await;
    sleep(Duration::from_millis(20)).await;
    let begun = Instant::now();
    running.stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn the_socket_is_its_owners_and_goes_with_the_server() {
    let (dir, socket, running) = start(Odd::default());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(&dir.path().join("sub")), 0o700);
    assert_eq!(running.address(), &Address::Unix(socket.clone()));
    running.stop().await.unwrap();
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "as a kill leaves it");
    let running = Server::volume(Odd::default()).start(Listen::unix(&socket)).unwrap();
    assert_eq!(ask(&socket, ACTIVATE).await.0, 200);

    let second = Server::volume(Odd::default()).start(Listen::unix(&socket));
    assert!(second.is_err_and(|error| error.to_string().contains("another plugin answers there")));
    assert_eq!(ask(&socket, ACTIVATE).await.0, 200, "the first is unharmed");

    // A successor's socket is not the old server's to remove.
    fs::remove_file(&socket).unwrap();
    let successor = Server::volume(Odd::default()).start(Listen::unix(&socket)).unwrap();
    running.stop().await.unwrap();
    assert_eq!(ask(&socket, ACTIVATE).await.0, 200);
    successor.stop().await.unwrap();
    assert!(!socket.exists());

    fs::write(&socket, "precious").unwrap();
    assert!(Server::volume(Odd::default()).start(Listen::unix(&socket)).is_err());
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_either() {
    let (_dir, socket, running) = start(Odd::default());
    drop(running);
    for _ in 0..200 {
        if !socket.exists() {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("the socket is still there");
}

#[tokio::test]
async fn health_says_what_the_plugin_says() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s.sock");
    let asked = AtomicU32::new(0);
    let server = Server::volume(Odd::default()).health(move || {
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { Ok(()) } else { Err(DriverError::internal("the disk is gone")) } }
    });
    let _running = server.start(Listen::unix(&socket)).unwrap();
    let get = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(ask(&socket, get).await, (200, "{\"Status\":\"ok\"}\n".to_owned()));
    let (status, body) = ask(&socket, get).await;
    assert!(status == 503 && body.contains("the disk is gone"), "{status} {body}");
}

#[tokio::test]
async fn a_name_becomes_a_socket_where_engines_look() {
    let refused = Server::volume(Odd::default()).start(Listen::tcp("../x", "127.0.0.1:0".parse().unwrap()));
    assert!(refused.is_err());
    let refused = Server::volume(Odd::default()).start(Listen::activated());
    assert!(matches!(refused, Err(ServeError::NotActivated)));
    let name = format!("pintle-sdk-test-{}", std::process::id());
    let running = Server::volume(Odd::default()).start(Listen::auto(&name)).unwrap();
    let expected = Path::new(pintle_sdk::SOCKET_DIR).join(format!("{name}.sock"));
    assert_eq!(running.address(), &Address::Unix(expected.clone()));
    running.stop().await.unwrap();
    assert!(!expected.exists());
}
