//! The example is put to the volume suite as what it is: a program behind a socket, killed and started again.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Arc, Mutex},
};

use pintle_contract::{CreateVolume, ErrorKind, MountId, Value, VolumeDriver};
use pintle_testkit::{
    client::PluginClient,
    volume::{Options, Outcome, Restarted, conformance},
};
use pintle_wire::config;

/// The program under way, ended with the test.
struct Plugin {
    dir: tempfile::TempDir,
    root: PathBuf,
    child: Arc<Mutex<Child>>,
}

fn spawn(socket: &Path, root: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_volume-dirs"));
    command.env("PLUGIN_NAME", socket).env("ROOT", root).spawn().unwrap()
}

async fn listening(socket: &Path) -> PluginClient {
    PluginClient::unix(socket).awake().await.unwrap()
}

impl Plugin {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("volume-dirs-").tempdir().unwrap();
        let root = dir.path().join("root");
        Self::start_on(dir, root)
    }

    fn start_on(dir: tempfile::TempDir, root: PathBuf) -> Self {
        let child = Arc::new(Mutex::new(spawn(&dir.path().join("v.sock"), &root)));
        Self { dir, root, child }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("v.sock")
    }

    async fn client(&self) -> PluginClient {
        listening(&self.socket()).await
    }

    /// As a crash would.
    fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn start_again(&self) {
        *self.child.lock().unwrap() = spawn(&self.socket(), &self.root);
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.kill();
    }
}

fn request(name: &str, options: &[(&str, &str)]) -> CreateVolume {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    CreateVolume { name: name.to_owned(), options }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_every_promise() {
    let plugin = Plugin::start();
    let client = plugin.client().await;
    let (child, socket, root) = (Arc::clone(&plugin.child), plugin.socket(), plugin.root.clone());
    let restart = move || -> Restarted {
        let (child, socket, root) = (Arc::clone(&child), socket.clone(), root.clone());
        Box::pin(async move {
            {
                let mut child = child.lock().unwrap();
                child.kill().unwrap();
                child.wait().unwrap();
                *child = spawn(&socket, &root);
            }
            Ok(Arc::new(listening(&socket).await) as Arc<dyn VolumeDriver>)
        })
    };
    let create = BTreeMap::from([("label.tier".to_owned(), "fast".to_owned())]);
    let options = Options { restart: Some(&restart), create, ..Options::default() };
    let report = conformance(&client, &options).await;
    println!("{report}");
    assert!(report.passed());
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::Passed), "nothing is skipped here");
}

#[tokio::test]
async fn a_mount_survives_a_kill_and_still_protects_the_volume() {
    let plugin = Plugin::start();
    let client = plugin.client().await;
    let id = MountId("container".to_owned());
    client.create(request("v", &[])).await.unwrap();
    let path = client.mount("v", &id).await.unwrap();
    plugin.kill();
    plugin.start_again();
    let client = plugin.client().await;
    assert_eq!(client.remove("v").await.unwrap_err().kind, ErrorKind::InUse);
    assert_eq!(client.path("v").await.unwrap(), Some(path));
    client.unmount("v", &id).await.unwrap();
    client.remove("v").await.unwrap();
}

#[tokio::test]
async fn options_are_checked_kept_and_shown() {
    let plugin = Plugin::start();
    let client = plugin.client().await;
    client.create(request("v", &[("label.a", "b")])).await.unwrap();
    let volume = client.get("v").await.unwrap();
    assert_eq!(volume.status.get("label.a"), Some(&Value::from("b")));
    assert!(volume.created_at.is_some() && volume.mountpoint.is_none());
    let error = client.create(request("v", &[("label.a", "c")])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    for wrong in [("sise", "10m"), ("size", "--help"), ("size", "none"), ("size", ""), ("size", "-1")] {
        let error = client.create(request("w", &[wrong])).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument, "{wrong:?}");
    }
}

#[tokio::test]
async fn a_size_that_nobody_enforces_is_refused_and_leaves_nothing() {
    let plugin = Plugin::start();
    let client = plugin.client().await;
    let error = client.create(request("v", &[("size", "10m")])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("size=10m takes btrfs"), "{error}");
    assert_eq!(std::fs::read_dir(&plugin.root).unwrap().count(), 0);
}

/// Needs root, loop devices and btrfs-progs; says so if they are missing, and fails where `CI` is set.
#[tokio::test]
async fn a_size_is_enforced_on_btrfs() {
    let dir = tempfile::Builder::new().prefix("volume-dirs-").tempdir().unwrap();
    let (image, root) = (dir.path().join("image"), dir.path().join("root"));
    std::fs::create_dir(&root).unwrap();
    std::fs::File::create(&image).unwrap().set_len(200 << 20).unwrap();
    let run = |program: &str, args: &[&str]| {
        Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
    };
    let (image, mounted) = (image.to_str().unwrap(), root.to_str().unwrap());
    if !run("mkfs.btrfs", &["-q", image]) || !run("mount", &["-o", "loop", image, mounted]) {
        assert!(std::env::var_os("CI").is_none(), "btrfs-progs, loop devices and root are needed");
        eprintln!("NOT TESTED: a_size_is_enforced_on_btrfs needs btrfs-progs, loop devices and root");
        return;
    }
    struct Unmount(String);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = Command::new("umount").args(["-l", &self.0]).status();
        }
    }
    let _unmount = Unmount(mounted.to_owned());

    let plugin = Plugin::start_on(tempfile::tempdir().unwrap(), root.clone());
    let client = plugin.client().await;
    let error = client.create(request("v", &[("size", "10m")])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported, "quotas are off: {error}");
    assert!(run("btrfs", &["quota", "enable", mounted]));

    client.create(request("v", &[("size", "10m")])).await.unwrap();
    client.create(request("w", &[])).await.unwrap();
    let id = MountId("container".to_owned());
    let limited = client.mount("v", &id).await.unwrap().join("file");
    let unlimited = client.mount("w", &id).await.unwrap().join("file");
    std::fs::write(&limited, vec![1; 5 << 20]).unwrap();
    let error = std::fs::write(&limited, vec![2; 20 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::QuotaExceeded);
    std::fs::write(&unlimited, vec![2; 20 << 20]).unwrap();
    for name in ["v", "w"] {
        client.unmount(name, &id).await.unwrap();
        client.remove(name).await.unwrap();
    }
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}

#[test]
fn its_config_is_valid_and_asks_for_nothing() {
    let text = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/config.json")).unwrap();
    let (config, findings) = config::validate_text(&text).unwrap();
    assert_eq!(findings, []);
    assert_eq!(config::privileges(&config), []);
}

#[test]
fn it_fits_on_three_pages() {
    let lines = include_str!("../src/main.rs").lines().count();
    assert!(lines < 150, "the example has {lines} lines; it is promised to have fewer than 150");
}
