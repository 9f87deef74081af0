//! The `local` driver over real directories and mounts. Needs root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    sync::{Arc, Mutex},
};

use pintle_contract::{CreateVolume, ErrorKind, MountId, VolumeDriver};
use pintle_drivers::{Local, local::Quotas};
use pintle_testkit::volume::{Options, conformance};

fn request(name: &str, options: &[(&str, &str)]) -> CreateVolume {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    CreateVolume { name: name.to_owned(), options }
}

fn id(text: &str) -> MountId {
    MountId(text.to_owned())
}

/// What is mounted below `dir`.
fn mounted(dir: &Path) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let dir = dir.canonicalize().unwrap();
    table
        .lines()
        .filter(|line| line.split(' ').nth(4).is_some_and(|at| Path::new(at).starts_with(&dir)))
        .count()
}

async fn suite(create: BTreeMap<String, String>) {
    let dir = tempfile::Builder::new().prefix("drivers-").tempdir().unwrap();
    let root = dir.path().join("volumes");
    let driver = Local::open(&root).unwrap();
    let again = root.clone();
    let options = Options {
        create,
        restart: Some(&move || {
            let root = again.clone();
            Box::pin(async move {
                let successor: Arc<dyn VolumeDriver> =
                    Arc::new(Local::open(&root).map_err(|error| error.message)?);
                Ok(successor)
            })
        }),
        ..Options::default()
    };
    let report = conformance(&driver, &options).await;
    assert!(report.passed(), "{report}");
    assert_eq!(mounted(&root), 0);
    let left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".mounts"]);
    assert_eq!(fs::read_dir(root.join(".mounts")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_keep_the_contract() {
    suite(BTreeMap::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bind_mounts_keep_what_the_contract_says_of_mounts() {
    let dir = tempfile::Builder::new().prefix("drivers-").tempdir().unwrap();
    let (root, source) = (dir.path().join("volumes"), dir.path().join("source"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "text").unwrap();
    let driver = Local::open(&root).unwrap();
    let device = source.to_str().unwrap();
    driver.create(request("bound", &[("type", "none"), ("o", "bind,ro"), ("device", device)])).await.unwrap();
    assert_eq!(mounted(&root), 0);
    let at = driver.mount("bound", &id("a")).await.unwrap();
    assert_eq!(driver.mount("bound", &id("b")).await.unwrap(), at);
    assert_eq!(driver.mount("bound", &id("b")).await.unwrap(), at);
    assert_eq!(mounted(&root), 1);
    assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "text");
    fs::write(at.join("new"), "").unwrap_err();
    assert_eq!(driver.remove("bound").await.unwrap_err().kind, ErrorKind::InUse);
    driver.unmount("bound", &id("a")).await.unwrap();
    driver.unmount("bound", &id("b")).await.unwrap();
    assert_eq!(mounted(&root), 1);
    driver.unmount("bound", &id("b")).await.unwrap();
    assert_eq!(mounted(&root), 0);
    driver.remove("bound").await.unwrap();
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "text");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_and_its_holders_outlive_the_driver() {
    let dir = tempfile::Builder::new().prefix("drivers-").tempdir().unwrap();
    let root = dir.path().join("volumes");
    let tmpfs = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=7,nosuid")];
    let driver = Local::open(&root).unwrap();
    driver.create(request("memory", &tmpfs)).await.unwrap();
    let at = driver.mount("memory", &id("a")).await.unwrap();
    driver.mount("memory", &id("b")).await.unwrap();
    fs::write(at.join("file"), "text").unwrap();
    fs::write(at.join("large"), vec![0; 2 << 20]).unwrap_err();
    drop(driver);

    let driver = Local::open(&root).unwrap();
    driver.unmount("memory", &id("a")).await.unwrap();
    assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "text", "b still has it");
    driver.unmount("memory", &id("b")).await.unwrap();
    assert_eq!(mounted(&root), 0);

    // Holders that never come back do not keep the volume for ever.
    driver.mount("memory", &id("c")).await.unwrap();
    drop(driver);
    let driver = Local::open(&root).unwrap();
    driver.remove("memory").await.unwrap();
    assert_eq!(mounted(&root), 0);
    assert!(!root.join("memory").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_mount_holds_nothing() {
    let dir = tempfile::Builder::new().prefix("drivers-").tempdir().unwrap();
    let root = dir.path().join("volumes");
    let driver = Local::open(&root).unwrap();
    driver
        .create(request("bad", &[("type", "none"), ("o", "bind"), ("device", "/no/such/dir")]))
        .await
        .unwrap();
    let error = driver.mount("bad", &id("a")).await.unwrap_err();
    assert!(error.message.starts_with("failed to mount local volume: mount /no/such/dir:"), "{error}");
    driver.remove("bad").await.unwrap();
    driver
        .create(request("bad", &[("type", "tmpfs"), ("o", "nonsense=1"), ("device", "tmpfs")]))
        .await
        .unwrap();
    driver.mount("bad", &id("a")).await.unwrap_err();
    assert_eq!(mounted(&root), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_is_cleared_but_never_what_is_mounted_in_it() {
    let dir = tempfile::Builder::new().prefix("drivers-").tempdir().unwrap();
    let (root, precious) = (dir.path().join("volumes"), dir.path().join("precious"));
    fs::create_dir_all(&precious).unwrap();
    fs::write(precious.join("file"), "text").unwrap();
    drop(Local::open(&root).unwrap());
    fs::create_dir_all(root.join(".new-1-0/_data")).unwrap();
    fs::create_dir_all(root.join(".gone-1-0/_data")).unwrap();
    rustix::mount::mount_bind(&precious, root.join(".gone-1-0/_data")).unwrap();
    let driver = Local::open(&root).unwrap();
    assert_eq!(fs::read_to_string(precious.join("file")).unwrap(), "text");
    assert_eq!(mounted(&root), 0);
    assert!(!root.join(".new-1-0").exists() && !root.join(".gone-1-0").exists());
    assert!(driver.list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn options_names_and_permissions() {
    let dir = tempfile::Builder::new().prefix("drivers-").tempdir().unwrap();
    let root = dir.path().join("volumes");
    let driver = Local::open(&root).unwrap();
    let text = async |name: &str, options: &[(&str, &str)]| {
        driver.create(request(name, options)).await.unwrap_err().message
    };
    assert!(
        text("v1", &[("size", "10m")]).await.starts_with("quota size requested but no quota support: "),
        "Docker's words, and why"
    );
    assert_eq!(text("v1", &[("colour", "red")]).await, "invalid option: \"colour\"");
    assert!(text("a/b", &[]).await.contains("includes invalid characters for a local volume name"));
    assert!(text("a", &[]).await.starts_with("volume name is too short"));
    driver.create(request("v1", &[])).await.unwrap();
    driver.create(request("v1", &[])).await.unwrap();
    let tmpfs = [("type", "tmpfs"), ("device", "tmpfs")];
    let error = driver.create(request("v1", &tmpfs)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&root.join("v1")), mode(&root.join("v1/_data"))), (0o701, 0o755));
    let volume = driver.get("v1").await.unwrap();
    assert_eq!(volume.mountpoint.unwrap(), root.join("v1/_data"));
    assert!(volume.created_at.unwrap().ends_with('Z'));
    assert_eq!(driver.get("../volumes/v1").await.unwrap_err().kind, ErrorKind::NotFound);
}

/// What a file system would remember: the limit of each project, those of strangers included.
#[derive(Default)]
struct Recorded(Mutex<BTreeMap<u32, u64>>, Mutex<BTreeMap<u64, u32>>);

impl Quotas for Recorded {
    fn check(&self, _root: &Path) -> Result<(), String> {
        Ok(())
    }

    fn is_used(&self, _root: &Path, project: u32) -> std::io::Result<bool> {
        Ok(self.0.lock().unwrap().contains_key(&project))
    }

    fn limit(&self, dir: &Path, project: u32, bytes: u64) -> std::io::Result<()> {
        assert!(dir.is_dir());
        let inode = fs::metadata(dir).unwrap().ino();
        let before = self.1.lock().unwrap().insert(inode, project);
        let had = self.0.lock().unwrap().insert(project, bytes);
        assert!(had.is_none() || before == Some(project), "{project} was in use");
        if bytes == 13 { Err(std::io::Error::other("unlucky")) } else { Ok(()) }
    }

    fn project(&self, dir: &Path) -> std::io::Result<Option<u32>> {
        Ok(self.1.lock().unwrap().get(&fs::metadata(dir).unwrap().ino()).copied())
    }

    fn holds(&self, dir: &Path, project: u32, bytes: u64) -> std::io::Result<bool> {
        Ok(self.project(dir)? == Some(project) && self.0.lock().unwrap().get(&project) == Some(&bytes))
    }

    fn release(&self, _root: &Path, project: u32) -> std::io::Result<()> {
        assert!(self.0.lock().unwrap().remove(&project).is_some(), "{project} was released twice");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_limited_volume_has_its_own_project() {
    const FIRST: u32 = 1 << 20;
    let dir = tempfile::Builder::new().prefix("drivers-").tempdir().unwrap();
    let quotas = Arc::new(Recorded::default());
    let set = || quotas.0.lock().unwrap().clone().into_iter().collect::<Vec<_>>();
    // Somebody else's.
    quotas.0.lock().unwrap().insert(FIRST + 1, 7);
    let driver = Local::with_quotas(dir.path(), quotas.clone()).unwrap();
    driver.create(request("one", &[("size", "1k")])).await.unwrap();
    driver.create(request("two", &[("size", "2k")])).await.unwrap();
    driver.create(request("two", &[("size", "2k")])).await.unwrap();
    driver.create(request("bad", &[("size", "13")])).await.unwrap_err();
    assert_eq!(driver.get("bad").await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(set(), [(FIRST, 1024), (FIRST + 1, 7), (FIRST + 2, 2048)]);
    // A number is given back with its volume.
    driver.remove("two").await.unwrap();
    assert_eq!(set(), [(FIRST, 1024), (FIRST + 1, 7)]);
    // Many at once take no number twice.
    let mut many = tokio::task::JoinSet::new();
    for number in 0..16 {
        let driver = driver.clone();
        many.spawn(async move { driver.create(request(&format!("many{number}"), &[("size", "1k")])).await });
    }
    while let Some(made) = many.join_next().await {
        made.unwrap().unwrap();
    }
    assert_eq!(set().len(), 18);

    // What a crash left half removed or half made gives its number back at the next start.
    std::fs::rename(dir.path().join("one"), dir.path().join(".gone-1-0")).unwrap();
    std::fs::rename(dir.path().join("many3"), dir.path().join(".new-1-0")).unwrap();
    drop(Local::with_quotas(dir.path(), quotas.clone()).unwrap());
    assert_eq!(set().len(), 16);
    assert!(!set().contains(&(FIRST, 1024)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_is_kept_again_after_whatever_happened_to_the_directory() {
    const FIRST: u32 = 1 << 20;
    let dir = tempfile::Builder::new().prefix("drivers-").tempdir().unwrap();
    let quotas = Arc::new(Recorded::default());
    let driver = Local::with_quotas(dir.path(), quotas.clone()).unwrap();
    let limits = || quotas.0.lock().unwrap().clone().into_iter().collect::<Vec<_>>();
    driver.create(request("vv", &[("size", "1k")])).await.unwrap();
    driver.mount("vv", &id("a")).await.unwrap();
    driver.unmount("vv", &id("a")).await.unwrap();
    assert_eq!(limits(), [(FIRST, 1024)], "nothing was done again");

    // Somebody took the limit away.
    quotas.0.lock().unwrap().clear();
    driver.mount("vv", &id("a")).await.unwrap();
    assert_eq!(limits(), [(FIRST, 1024)]);

    // The directory was put back from a copy, and its number is somebody else's meanwhile.
    let data = dir.path().join("vv/_data");
    fs::rename(&data, dir.path().join("vv/old")).unwrap();
    fs::create_dir(&data).unwrap();
    driver.mount("vv", &id("a")).await.unwrap();
    assert_eq!(limits(), [(FIRST, 1024), (FIRST + 1, 1024)]);
    drop(driver);
    let driver = Local::with_quotas(dir.path(), quotas.clone()).unwrap();
    driver.mount("vv", &id("a")).await.unwrap();
    assert_eq!(limits().len(), 2, "the new number is on disk");

    // Docker's file names no project. Without quotas it is not mounted, and is not lost either.
    fs::create_dir_all(dir.path().join("dockers/_data")).unwrap();
    let options = r#"{"MountType":"","MountOpts":"","MountDevice":"","Quota":{"Size":4096}}"#;
    fs::write(dir.path().join("dockers/opts.json"), options).unwrap();
    drop(driver);
    let driver = Local::open(dir.path()).unwrap();
    for name in ["vv", "dockers"] {
        let error = driver.mount(name, &id("a")).await.unwrap_err();
        assert!(error.message.starts_with("quota size requested but no quota support"), "{}", error.message);
        driver.get(name).await.unwrap();
    }
    drop(driver);
    let driver = Local::with_quotas(dir.path(), quotas.clone()).unwrap();
    driver.mount("dockers", &id("a")).await.unwrap();
    assert_eq!(limits().last(), Some(&(FIRST + 2, 4096)));
    // One whose options nobody can read does not stand in the others' way.
    fs::write(dir.path().join("vv/opts.json"), "{").unwrap();
    driver.create(request("ww", &[("size", "1k")])).await.unwrap();

    let bound = [("type", "none"), ("o", "bind"), ("device", "/srv"), ("size", "1k")];
    let error = driver.create(request("bound", &bound)).await.unwrap_err();
    assert!(error.message.starts_with("size limits a volume's own directory"), "{}", error.message);
}
