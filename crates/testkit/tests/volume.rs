//! The volume suite over everything that is a volume driver here: it must pass where promises are kept, in both
//! homes, and fail where they are not.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use pintle_contract::{CreateVolume, DriverError, MountId, Scope, Volume, VolumeCapabilities, VolumeDriver};
use pintle_sdk::{Address, Listen, Server};
use pintle_testkit::{
    client::PluginClient,
    faulty::{Fault, Faulty, Script},
    volume::{Check, Look, Options, Outcome, ReferenceDriver, Restarted, conformance},
};
use pintle_wire::{Interface, spec, volume::Method};

#[tokio::test]
async fn in_process() {
    let driver = ReferenceDriver::temporary().unwrap();
    let report = conformance(&driver, &Options::default()).await;
    assert!(report.passed(), "{report}");
    assert!(driver.list().await.unwrap().is_empty(), "the suite leaves nothing behind");
}

#[tokio::test]
async fn loopback_over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let driver = ReferenceDriver::temporary().unwrap();
    let running = Server::volume(driver).start(Listen::unix(dir.path().join("s.sock"))).unwrap();
    let client = PluginClient::unix(dir.path().join("s.sock"));
    assert_eq!(client.activate().await.unwrap().implements, [Interface::Volume]);
    let report = conformance(&client, &Options::default()).await;
    assert!(report.passed(), "{report}");
    running.stop().await.unwrap();
    assert!(!dir.path().join("s.sock").exists());
}

#[tokio::test]
async fn loopback_over_tcp_found_by_its_spec_file() {
    let dir = tempfile::tempdir().unwrap();
    let listen = Listen::tcp("reference", "127.0.0.1:0".parse().unwrap()).spec_dir(dir.path());
    let running = Server::volume(ReferenceDriver::temporary().unwrap()).start(listen).unwrap();
    let file = dir.path().join("reference.spec");
    let address = spec::Address::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let Address::Tcp(bound) = running.address() else { unreachable!() };
    assert_eq!(address, spec::Address::Tcp(bound.to_string()));
    let report = conformance(&PluginClient::new(address), &Options::default()).await;
    assert!(report.passed(), "{report}");
    running.stop().await.unwrap();
    assert!(!file.exists());
}

#[tokio::test]
async fn a_restart_over_the_same_storage() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    let restart = || -> Restarted {
        let root = root.clone();
        Box::pin(async move {
            let driver = ReferenceDriver::open(root).map_err(|error| error.to_string())?;
            Ok(Arc::new(driver) as Arc<dyn VolumeDriver>)
        })
    };
    let driver = ReferenceDriver::open(&root).unwrap();
    let report = conformance(&driver, &Options { restart: Some(&restart), ..Options::default() }).await;
    assert_eq!(report.outcome("restart"), Some(&Outcome::Passed), "{report}");
    assert!(report.passed(), "{report}");
}

#[tokio::test]
async fn every_transport_fault_fails_the_suite() {
    let options = Options { budget: Duration::from_secs(1), crowd: 2, ..Options::default() };
    let faults = [
        Fault::Hang,
        Fault::HalfBody,
        Fault::HalfBodyHang,
        Fault::WrongJson,
        Fault::WrongShape,
        Fault::WrongContent,
        Fault::Garbage,
        Fault::Lie,
        Fault::Empty,
        Fault::Err500("broken".to_owned()),
        Fault::Err200("broken".to_owned()),
        Fault::Status(404),
        Fault::Status(204),
        Fault::Close,
        Fault::Huge(32 << 20),
    ];
    let runs = faults.iter().flat_map(|fault| Method::ALL.map(|method| (fault, method)));
    // Whoever says the same of itself each time keeps that promise.
    let runs = runs.filter(|(fault, method)| **fault != Fault::Lie || *method != Method::Capabilities);
    let runs = runs.map(async |(fault, method)| {
        let (_dir, plugin) = faulty(Script::new().fault(method, fault.clone()));
        let report = conformance(&PluginClient::unix(plugin.socket()), &options).await;
        // A body without an end in sight may not be read in time either.
        let waits = matches!(fault, Fault::Hang | Fault::HalfBodyHang | Fault::Huge(_));
        let in_time = |check: &&Check| !format!("{:?}", check.outcome).contains("did not finish");
        let noticed = report.failures().filter(|check| waits || in_time(check)).count();
        assert!(noticed > 0, "{fault:?} in {method:?} goes unnoticed:\n{report}");
    });
    // Most of them wait most of the time.
    futures_util::future::join_all(runs).await;
}

fn faulty(script: Script) -> (tempfile::TempDir, Faulty) {
    let dir = tempfile::tempdir().unwrap();
    let driver = ReferenceDriver::temporary().unwrap();
    let plugin = Faulty::start(dir.path().join("f.sock"), Server::volume(driver), script).unwrap();
    (dir, plugin)
}

#[tokio::test]
async fn a_plugin_that_dies_after_mount_fails_the_suite() {
    let (_dir, plugin) = faulty(Script::new().fault(Method::Mount, Fault::DieAfter));
    let client = PluginClient::unix(plugin.socket());
    client.create(CreateVolume { name: "v".to_owned(), ..CreateVolume::default() }).await.unwrap();
    client.mount("v", &MountId("id".to_owned())).await.unwrap();
    plugin.ended().await;
    assert!(client.get("v").await.is_err());
    let options = Options { budget: Duration::from_millis(400), ..Options::default() };
    assert!(!conformance(&client, &options).await.passed());
}

#[tokio::test]
async fn a_slow_plugin_passes() {
    let (_dir, plugin) = faulty(Script::new().every(&Fault::Slow(Duration::from_millis(5))));
    let report = conformance(&PluginClient::unix(plugin.socket()), &Options::default()).await;
    assert!(report.passed(), "{report}");
}

/// A driver that breaks one promise.
struct Liar {
    inner: ReferenceDriver,
    lie: Lie,
    calls: std::sync::atomic::AtomicU32,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Lie {
    ScopeChanges,
    CreateRefusesTwice,
    GetFindsAll,
    GetFailsOtherwise,
    RemoveUnknownSucceeds,
    RemoveKeepsData,
    RemoveMounted,
    MountRelative,
    MountMissing,
    MountUnknown,
    MountShared,
    UnmountLast,
    ListsTwice,
    ListsNothing,
    ForgetsCase,
}

#[async_trait]
impl VolumeDriver for Liar {
    async fn capabilities(&self) -> Result<VolumeCapabilities, DriverError> {
        let odd = self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 == 1;
        let scope = if odd && self.lie == Lie::ScopeChanges { Scope::Global } else { Scope::Local };
        Ok(VolumeCapabilities { scope })
    }

    async fn create(&self, mut request: CreateVolume) -> Result<(), DriverError> {
        if self.lie == Lie::CreateRefusesTwice && self.inner.get(&request.name).await.is_ok() {
            return Err(DriverError::internal("exists"));
        }
        if self.lie == Lie::ForgetsCase {
            request.name = request.name.to_lowercase();
        }
        self.inner.create(request).await
    }

    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        match self.lie {
            Lie::RemoveUnknownSucceeds if self.inner.get(name).await.is_err() => Ok(()),
            Lie::RemoveKeepsData => self.inner.get(name).await.map(drop),
            Lie::RemoveMounted => {
                for id in self.inner.holders(name) {
                    self.inner.unmount(name, &id).await?;
                }
                self.inner.remove(name).await
            }
            _ => self.inner.remove(name).await,
        }
    }

    async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> {
        match self.lie {
            Lie::MountRelative => Ok(PathBuf::from("data")),
            Lie::MountMissing => Ok(PathBuf::from("/nonexistent/data")),
            Lie::MountUnknown => Ok(std::env::temp_dir()),
            Lie::MountShared => self.inner.mount(name, id).await.map(|_| std::env::temp_dir()),
            _ => self.inner.mount(name, id).await,
        }
    }

    async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> {
        if self.lie == Lie::UnmountLast {
            for holder in self.inner.holders(name) {
                self.inner.unmount(name, &holder).await?;
            }
            return self.inner.remove(name).await;
        }
        self.inner.unmount(name, id).await
    }

    async fn get(&self, name: &str) -> Result<Volume, DriverError> {
        let volume = Volume { name: name.to_owned(), ..Volume::default() };
        match self.lie {
            Lie::GetFindsAll => Ok(volume),
            Lie::GetFailsOtherwise => self.inner.get(name).await.map_err(|_| DriverError::internal("what?")),
            Lie::ForgetsCase => self.inner.get(&name.to_lowercase()).await,
            _ => self.inner.get(name).await,
        }
    }

    async fn list(&self) -> Result<Vec<Volume>, DriverError> {
        let volumes = self.inner.list().await?;
        Ok(match self.lie {
            Lie::ListsTwice => volumes.iter().chain(&volumes).cloned().collect(),
            Lie::ListsNothing => Vec::new(),
            _ => volumes,
        })
    }
}

#[tokio::test]
async fn every_lie_fails_the_suite_where_it_is_told() {
    let lies = [
        (Lie::ScopeChanges, "capabilities"),
        (Lie::CreateRefusesTwice, "create_again"),
        (Lie::GetFindsAll, "get_unknown"),
        (Lie::GetFailsOtherwise, "get_unknown"),
        (Lie::RemoveUnknownSucceeds, "remove_unknown"),
        (Lie::RemoveKeepsData, "remove_forgets"),
        (Lie::RemoveMounted, "remove_mounted"),
        (Lie::MountRelative, "mount_directory"),
        (Lie::MountMissing, "mount_directory"),
        (Lie::MountUnknown, "mount_unknown"),
        (Lie::MountShared, "volumes_apart"),
        (Lie::UnmountLast, "two_holders"),
        (Lie::ListsTwice, "create_get"),
        (Lie::ListsNothing, "create_together"),
        (Lie::ForgetsCase, "names_plain"),
    ];
    for (lie, check) in lies {
        let inner = ReferenceDriver::temporary().unwrap();
        let driver = Liar { inner, lie, calls: Default::default() };
        let report = conformance(&driver, &Options::default()).await;
        assert!(
            matches!(report.outcome(check), Some(Outcome::Failed(_))),
            "{lie:?} passes {check}:\n{report}"
        );
    }
}

#[tokio::test]
async fn a_plugin_in_another_mount_namespace_is_asked_what_can_be_asked() {
    let driver = ReferenceDriver::temporary().unwrap();
    let report =
        conformance(&driver, &Options { look: Look::Nowhere("far away"), ..Options::default() }).await;
    assert!(report.passed(), "{report}");
    assert!(matches!(report.outcome("data_persists"), Some(Outcome::Skipped(_))));
    let text = report.to_string();
    assert!(text.contains("skipped  data_persists") && text.ends_with("skipped"), "{text}");
}

#[tokio::test]
async fn options_reach_the_driver() {
    struct Picky(ReferenceDriver);
    #[async_trait]
    impl VolumeDriver for Picky {
        async fn create(&self, request: CreateVolume) -> Result<(), DriverError> {
            assert_eq!(request.options.get("size").map(String::as_str), Some("1m"));
            self.0.create(request).await
        }
        async fn remove(&self, name: &str) -> Result<(), DriverError> {
            self.0.remove(name).await
        }
        async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> {
            self.0.mount(name, id).await
        }
        async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> {
            self.0.unmount(name, id).await
        }
        async fn get(&self, name: &str) -> Result<Volume, DriverError> {
            self.0.get(name).await
        }
        async fn list(&self) -> Result<Vec<Volume>, DriverError> {
            self.0.list().await
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let driver = Picky(ReferenceDriver::temporary().unwrap());
    let _running = Server::volume(driver).start(Listen::unix(dir.path().join("s.sock"))).unwrap();
    let create = BTreeMap::from([("size".to_owned(), "1m".to_owned())]);
    let client = PluginClient::unix(dir.path().join("s.sock"));
    let report = conformance(&client, &Options { create, ..Options::default() }).await;
    assert!(report.passed(), "{report}");
}

/// As plugins in other languages look through a socket: only `Get` tells "not found" from any other failure.
struct Kindless(ReferenceDriver);

fn kindless(error: DriverError) -> DriverError {
    DriverError::internal(error.message)
}

#[async_trait]
impl VolumeDriver for Kindless {
    async fn create(&self, request: CreateVolume) -> Result<(), DriverError> {
        self.0.create(request).await.map_err(kindless)
    }
    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        self.0.remove(name).await.map_err(kindless)
    }
    async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> {
        self.0.mount(name, id).await.map_err(kindless)
    }
    async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> {
        self.0.unmount(name, id).await.map_err(kindless)
    }
    async fn get(&self, name: &str) -> Result<Volume, DriverError> {
        self.0.get(name).await
    }
    async fn list(&self) -> Result<Vec<Volume>, DriverError> {
        self.0.list().await.map_err(kindless)
    }
}

#[tokio::test]
async fn kinds_are_asked_only_of_those_who_send_them() {
    let driver = Kindless(ReferenceDriver::temporary().unwrap());
    let report = conformance(&driver, &Options { kinds: false, ..Options::default() }).await;
    assert!(report.passed(), "{report}");
    let report = conformance(&driver, &Options::default()).await;
    let failed: Vec<_> = report.failures().map(|check| check.name).collect();
    assert_eq!(failed, ["remove_unknown", "mount_unknown", "remove_mounted"]);
}
