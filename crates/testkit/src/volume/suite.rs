use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use pintle_contract::{CreateVolume, DriverError, ErrorKind, MountId, Volume, VolumeDriver};
use tokio::time::timeout;

use super::checks::CHECKS;
use crate::{
    check::{Result, fail, judge, run_id, said, skip},
    report::Report,
};

/// The driver after a restart, or why there is none.
pub type Restarted = Pin<Box<dyn Future<Output = std::result::Result<Arc<dyn VolumeDriver>, String>> + Send>>;

/// Ends the driver as a crash would and returns its successor, over the same storage.
pub type Restart<'a> = &'a (dyn Fn() -> Restarted + Send + Sync);

/// How the suite gets to look at the data behind a path that the driver returned.
#[derive(Clone, Copy)]
pub enum Look<'a> {
    /// The driver's paths are paths here.
    Here,
    /// They are paths somewhere else, and this says where that is found from here.
    Through(&'a (dyn Fn(&Path) -> PathBuf + Send + Sync)),
    /// Not at all, and why. What needs a look at the data is skipped.
    Nowhere(&'a str),
}

/// How to run the suite.
#[derive(Clone)]
pub struct Options<'a> {
    /// Every volume's name begins so; the suite adds what makes it unique. Nothing else is touched.
    pub prefix: String,
    /// Options for every volume that is created.
    pub create: BTreeMap<String, String>,
    /// Where the paths that the driver returns are.
    pub look: Look<'a>,
    /// Whether errors arrive with their kinds, as from drivers in process or behind pintle's SDK. Otherwise
    /// an error is only expected to be an error.
    pub kinds: bool,
    /// Whether the driver documents that it removes volumes that are mounted.
    pub removes_mounted: bool,
    /// Checks, by name, that are not put to this driver.
    pub skip: Vec<String>,
    /// How long each check may take.
    pub budget: Duration,
    /// How many calls run at once where a check wants many.
    pub crowd: usize,
    /// How to restart the driver, where that can be done.
    pub restart: Option<Restart<'a>>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            prefix: "pintle-suite".to_owned(),
            create: BTreeMap::new(),
            look: Look::Here,
            kinds: true,
            removes_mounted: false,
            skip: Vec::new(),
            budget: Duration::from_secs(30),
            crowd: 16,
            restart: None,
        }
    }
}

/// Puts every promise of the volume contract to a driver.
///
/// Each check uses volumes of its own and removes them, whatever happens; a driver that hangs fails the check
/// that it hangs in and cannot hang the suite.
pub async fn conformance(driver: &dyn VolumeDriver, options: &Options<'_>) -> Report {
    let mut report = Report::default();
    let run = format!("{}-{}", options.prefix, run_id());
    let numbers = AtomicU32::new(0);
    for (name, promise, check) in CHECKS {
        let trace = Trace::default();
        let suite = Suite { driver, options, run: &run, numbers: &numbers, trace: &trace };
        let asked = async {
            if options.skip.iter().any(|left_out| left_out == name) {
                return skip("it was not asked for");
            }
            check(&suite).await
        };
        let check = judge(name, promise, options.budget, asked).await;
        suite.clean_up().await;
        report.checks.push(check);
    }
    report
}

/// The names of the checks, in their order.
pub fn checks() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|(name, ..)| *name)
}

/// What a check made and has not yet unmade.
#[derive(Default)]
struct Trace(Mutex<Left>);

#[derive(Default)]
struct Left {
    volumes: Vec<String>,
    mounts: Vec<(String, MountId)>,
}

impl Trace {
    fn lock(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn created(&self, name: &str) {
        let mut left = self.lock();
        if !left.volumes.iter().any(|known| known == name) {
            left.volumes.push(name.to_owned());
        }
    }

    fn mounted(&self, name: &str, id: &MountId) {
        self.lock().mounts.push((name.to_owned(), id.clone()));
    }

    fn unmounted(&self, name: &str, id: &MountId) {
        let mut left = self.lock();
        if let Some(place) = left.mounts.iter().position(|(known, by)| known == name && by == id) {
            left.mounts.swap_remove(place);
        }
    }
}

/// A driver under test, with the words that checks are written in.
pub(super) struct Suite<'a> {
    pub driver: &'a dyn VolumeDriver,
    pub options: &'a Options<'a>,
    run: &'a str,
    numbers: &'a AtomicU32,
    trace: &'a Trace,
}

impl Suite<'_> {
    /// A name that nobody used before.
    pub fn name(&self) -> String {
        format!("{}-{}", self.run, self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    /// A mount ID that nobody used before.
    pub fn id(&self) -> MountId {
        MountId(format!("{}-id-{}", self.run, self.numbers.fetch_add(1, Ordering::Relaxed)))
    }

    pub fn request(&self, name: &str) -> CreateVolume {
        self.trace.created(name);
        CreateVolume { name: name.to_owned(), options: self.options.create.clone() }
    }

    pub async fn create(&self, name: &str) -> Result {
        said(format!("create {name:?}"), self.driver.create(self.request(name)).await)
    }

    /// A new volume.
    pub async fn volume(&self) -> Result<String> {
        let name = self.name();
        self.create(&name).await?;
        Ok(name)
    }

    pub async fn try_mount(&self, name: &str, id: &MountId) -> std::result::Result<PathBuf, DriverError> {
        self.trace.mounted(name, id);
        self.driver.mount(name, id).await
    }

    pub async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf> {
        let path = said(format!("mount {name:?}"), self.try_mount(name, id).await)?;
        if path.is_absolute() {
            Ok(path)
        } else {
            fail(format!("mount {name:?} answered {path:?}, which is not an absolute path"))
        }
    }

    pub async fn unmount(&self, name: &str, id: &MountId) -> Result {
        self.trace.unmounted(name, id);
        said(format!("unmount {name:?}"), self.driver.unmount(name, id).await)
    }

    pub async fn remove(&self, name: &str) -> Result {
        said(format!("remove {name:?}"), self.driver.remove(name).await)
    }

    pub async fn get(&self, name: &str) -> Result<Volume> {
        said(format!("get {name:?}"), self.driver.get(name).await)
    }

    /// How often `list` names the volume.
    pub async fn listed(&self, name: &str) -> Result<usize> {
        let volumes = said("list".to_owned(), self.driver.list().await)?;
        Ok(volumes.iter().filter(|volume| volume.name == name).count())
    }

    /// The volume must be gone from `get` and `list` alike.
    pub async fn expect_gone(&self, name: &str) -> Result {
        match self.driver.get(name).await {
            Ok(_) => return fail(format!("get {name:?} still finds the volume")),
            Err(error) if error.kind == ErrorKind::NotFound => {}
            Err(error) => {
                return fail(format!("get {name:?} says {error:?}, not that there is no such volume"));
            }
        }
        match self.listed(name).await? {
            0 => Ok(()),
            _ => fail(format!("list still names {name:?}")),
        }
    }

    /// The call must fail because there is no such volume.
    pub fn expect_not_found<T>(&self, call: &str, result: std::result::Result<T, DriverError>) -> Result {
        match result {
            Ok(_) => fail(format!("{call} of a volume that does not exist succeeds")),
            Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout) => {
                fail(format!("{call} of a volume that does not exist breaks the driver: {error}"))
            }
            Err(error) if self.options.kinds && error.kind != ErrorKind::NotFound => fail(format!(
                "{call} of a volume that does not exist fails with {error:?}, not with NotFound"
            )),
            Err(_) => Ok(()),
        }
    }

    /// For checks that are about data alone.
    pub fn needs_data(&self) -> Result {
        match self.options.look {
            Look::Nowhere(why) => skip(why),
            _ => Ok(()),
        }
    }

    /// Where the driver's `path` is found from here.
    pub fn seen(&self, path: &Path) -> Option<PathBuf> {
        match self.options.look {
            Look::Here => Some(path.to_owned()),
            Look::Through(find) => Some(find(path)),
            Look::Nowhere(_) => None,
        }
    }

    /// Writes a file into a mounted volume, where volumes can be looked into.
    pub fn write(&self, dir: &Path, file: &str, text: &str) -> Result {
        let Some(seen) = self.seen(dir) else { return Ok(()) };
        std::fs::write(seen.join(file), text)
            .or_else(|error| fail(format!("{} cannot be written to: {error}", dir.display())))
    }

    /// Expects a file in a mounted volume to read as it was written, where volumes can be looked into.
    pub fn expect_text(&self, dir: &Path, file: &str, text: &str) -> Result {
        let Some(seen) = self.seen(dir) else { return Ok(()) };
        match std::fs::read_to_string(seen.join(file)) {
            Ok(found) if found == text => Ok(()),
            Ok(found) => fail(format!("{} reads {found:?}, not {text:?}", dir.join(file).display())),
            Err(error) => fail(format!("{} is not there any more: {error}", dir.join(file).display())),
        }
    }

    /// Whether the file is in a mounted volume, as far as can be seen.
    pub fn holds(&self, dir: &Path, file: &str) -> bool {
        self.seen(dir).is_some_and(|seen| seen.join(file).exists())
    }

    async fn clean_up(&self) {
        let Left { mounts, volumes } = std::mem::take(&mut *self.trace.lock());
        let budget = Duration::from_secs(5).min(self.options.budget);
        let _ = timeout(budget, async {
            // What a check left behind; most of this fails because there is nothing left, and that is fine.
            for (name, id) in mounts {
                let _ = self.driver.unmount(&name, &id).await;
            }
            for name in volumes {
                let _ = self.driver.remove(&name).await;
            }
        })
        .await;
    }
}
