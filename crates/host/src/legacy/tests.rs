use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use pintle_contract::{IpamDriver, NetworkDriver, VolumeDriver};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    task::JoinSet,
};

use super::Legacy;
use crate::{ErrorKind, HostConfig, HostError, arrivals::Roster};

/// Serves `Plugin.Activate` with this answer, or never if there is none.
struct Plugin {
    activations: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

fn serve(socket: &Path, answer: Option<&'static str>) -> Plugin {
    let listener = UnixListener::bind(socket).unwrap();
    let activations = Arc::new(AtomicUsize::new(0));
    let (count, mut tasks) = (activations.clone(), JoinSet::new());
    tasks.spawn(async move {
        let mut serving = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            serving.spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    count.fetch_add(1, Ordering::SeqCst);
                    let Some(answer) = answer else { return std::future::pending().await };
                    let reply =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
                    if stream.write_all(reply.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Plugin { activations, _tasks: tasks }
}

const VOLUME: Option<&str> = Some(r#"{"Implements":["VolumeDriver"]}"#);

struct World {
    dir: tempfile::TempDir,
    legacy: Legacy,
    roster: Roster,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("host-").tempdir().unwrap();
        let mut config = HostConfig::new(dir.path(), dir.path());
        config.socket_dir = dir.path().join("run");
        config.spec_dirs = vec![dir.path().join("etc")];
        for made in [&config.socket_dir, &config.spec_dirs[0]] {
            fs::create_dir(made).unwrap();
        }
        let roster = Roster::default();
        Self { legacy: Legacy::new(&config, roster.clone()), roster, dir }
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join("run").join(format!("{name}.sock"))
    }
}

#[tokio::test]
async fn everybody_shares_one_activation() {
    let world = World::new();
    let plugin = serve(&world.socket("p"), VOLUME);
    let lookups = join_all((0..50).map(|_| world.legacy.driver::<dyn VolumeDriver>("p"))).await;
    assert!(lookups.iter().all(Result::is_ok));
    world.legacy.drivers::<dyn VolumeDriver>().await;
    assert_eq!(plugin.activations.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_plugin_that_appears_late_is_found_and_one_that_never_does_is_not() {
    let world = World::new();
    let socket = world.socket("late");
    let (found, _plugin) = tokio::join!(world.legacy.driver::<dyn VolumeDriver>("late"), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        serve(&socket, VOLUME)
    });
    found.unwrap();
    let started = Instant::now();
    let error = world.legacy.driver::<dyn VolumeDriver>("never").await.unwrap_err();
    assert_eq!(error.to_string(), "plugin \"never\" not found");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(started.elapsed() < Duration::from_secs(8));
    let started = Instant::now();
    world.legacy.driver::<dyn VolumeDriver>("never").await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(1), "it was looked for a moment ago");
    let _plugin = serve(&world.socket("never"), VOLUME);
    world.legacy.driver::<dyn VolumeDriver>("never").await.unwrap();
}

#[tokio::test]
async fn one_that_hangs_delays_no_other_and_no_list() {
    let world = World::new();
    let _hung = serve(&world.socket("hung"), None);
    let _well = serve(&world.socket("well"), VOLUME);
    tokio::select! {
        _ = world.legacy.driver::<dyn VolumeDriver>("hung") => unreachable!("it hangs for longer than this test"),
        () = async {
            let started = Instant::now();
            world.legacy.driver::<dyn VolumeDriver>("well").await.unwrap();
            assert!(started.elapsed() < Duration::from_millis(200));
            let started = Instant::now();
            let names: Vec<_> = world.legacy.drivers::<dyn VolumeDriver>().await.into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, ["well"]);
            assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        } => {}
    }
    world.legacy.shutdown().await;
}

#[tokio::test]
async fn a_dead_driver_is_named_in_lists_until_it_is_gone_and_found_again_when_it_is_back() {
    let world = World::new();
    let socket = world.socket("p");
    let plugin = serve(&socket, VOLUME);
    world.legacy.driver::<dyn VolumeDriver>("p").await.unwrap();
    drop(plugin);
    let started = Instant::now();
    let listed = world.legacy.drivers::<dyn VolumeDriver>().await;
    assert!(started.elapsed() < Duration::from_millis(500));
    assert_eq!(listed[0].0, "p");
    assert_eq!(listed[0].1.as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    fs::remove_file(&socket).unwrap();
    assert!(world.legacy.drivers::<dyn VolumeDriver>().await.is_empty(), "gone is gone");
    let again = serve(&socket, VOLUME);
    world.legacy.driver::<dyn VolumeDriver>("p").await.unwrap();
    assert_eq!(again.activations.load(Ordering::SeqCst), 1, "another life, another activation");
}

#[tokio::test]
async fn another_life_of_a_plugin_is_another_driver_and_is_told_of() {
    let world = World::new();
    let socket = world.socket("p");
    let first = serve(&socket, Some(r#"{"Implements":["NetworkDriver","IpamDriver"]}"#));
    let network = world.legacy.driver::<dyn NetworkDriver>("p").await.unwrap();
    let addresses = world.legacy.driver::<dyn IpamDriver>("p").await.unwrap();
    assert_eq!(network.life, addresses.life, "one life keeps both contracts");
    assert_eq!(first.activations.load(Ordering::SeqCst), 1);
    let mut arrivals = world.roster.watch();
    let told = arrivals.next().await.unwrap();
    assert_eq!((told.len(), told[0].life), (1, network.life));
    assert!(told[0].networks && told[0].addresses && !told[0].volumes);

    drop(first);
    fs::remove_file(&socket).unwrap();
    let second = serve(&socket, Some(r#"{"Implements":["NetworkDriver"]}"#));
    let again = world.legacy.driver::<dyn NetworkDriver>("p").await.unwrap();
    assert_ne!(again.life, network.life);
    assert_eq!(second.activations.load(Ordering::SeqCst), 1);
    let told = arrivals.next().await.unwrap();
    assert_eq!((told[0].life, told[0].addresses), (again.life, false));
    let error = world.legacy.driver::<dyn IpamDriver>("p").await.unwrap_err();
    assert!(matches!(error, HostError::WrongInterface(_)), "{error}");
}

#[tokio::test]
async fn a_plugin_of_another_kind_says_so() {
    let world = World::new();
    let _plugin = serve(&world.socket("net"), Some(r#"{"Implements":["NetworkDriver"]}"#));
    let error = world.legacy.driver::<dyn VolumeDriver>("net").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "legacy plugin: Plugin does not implement the requested driver: plugin=\"net\", requested \
         implementation=\"VolumeDriver\""
    );
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(world.legacy.drivers::<dyn VolumeDriver>().await.is_empty());
}

#[tokio::test]
async fn a_spec_that_others_may_write_is_refused_at_once() {
    let world = World::new();
    let spec = world.dir.path().join("etc/p.spec");
    fs::write(&spec, "tcp://127.0.0.1:1").unwrap();
    fs::set_permissions(&spec, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let started = Instant::now();
    let error = world.legacy.driver::<dyn VolumeDriver>("p").await.unwrap_err();
    assert!(matches!(error, HostError::Forbidden(_)), "{error}");
    assert!(started.elapsed() < Duration::from_secs(1));
}
