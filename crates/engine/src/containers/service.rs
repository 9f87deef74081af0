use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    sync::Arc,
};

use pintle_image::Images;
use pintle_runtime::Runtime;
use pintle_store::Store;
use tokio::io::AsyncRead;

use super::{
    Archive, AttachOptions, Attached, Config, Container, ContainerSpec, CopyIn, Counts, Created, ExecSpec,
    ExecStart, ExecStarted, ExecView, ListOptions, LogOptions, Logs, PathStat, Pruned, RemoveOptions, Size,
    StopOptions, Top, Update, WaitCondition, Waited,
};
use crate::{EngineError, events::Events, volumes::Volumes};

/// Every container of this engine. Cheap to clone. Wherever a container is named, its id, an unambiguous
/// prefix of the id, or its name with or without the leading slash will do.
#[derive(Clone)]
pub struct Containers {}

impl Containers {
    /// Reads the records; touches nothing else. Call [`Containers::restore`] next.
    pub fn open(
        config: Config,
        store: Store,
        images: Images,
        runtime: Runtime,
        volumes: Volumes,
        events: Events,
    ) -> Result<Self, EngineError> { todo!() }

    /// Makes the world agree with the records after a start of the engine: re-attaches what runs, records
    /// what ended meanwhile, cleans up what was half done. Returns when that is done; restarts by policy go
    /// on in the background.
    pub async fn restore(&self) -> Result<(), EngineError> { todo!() }

    /// Starts, in the background, what its policy wants running. Call when the plugins had their first chance.
    pub fn start_wanted(&self) { todo!() }

    /// Ends the engine's part: waits for what is being done. Containers go on running.
    pub async fn shutdown(&self) { todo!() }

    /// Makes a container. Nothing of it stays if this fails.
    pub async fn create(&self, name: Option<&str>, spec: ContainerSpec) -> Result<Created, EngineError> { todo!() }
    /// Starts it. `NotModified` if it runs.
    pub async fn start(&self, name: &str) -> Result<(), EngineError> { todo!() }
    /// Ends it: a signal, then SIGKILL. `NotModified` if it does not run.
    pub async fn stop(&self, name: &str, options: StopOptions) -> Result<(), EngineError> { todo!() }
    /// Stops it if it runs, and starts it.
    pub async fn restart(&self, name: &str, options: StopOptions) -> Result<(), EngineError> { todo!() }
    /// Sends a signal (name or number; empty: SIGKILL) to its PID 1.
    pub async fn kill(&self, name: &str, signal: &str) -> Result<(), EngineError> { todo!() }
    /// Freezes it.
    pub async fn pause(&self, name: &str) -> Result<(), EngineError> { todo!() }
    /// Thaws it.
    pub async fn unpause(&self, name: &str) -> Result<(), EngineError> { todo!() }
    /// Gives it another name.
    pub async fn rename(&self, name: &str, new_name: &str) -> Result<(), EngineError> { todo!() }
    /// Removes it.
    pub async fn remove(&self, name: &str, options: RemoveOptions) -> Result<(), EngineError> { todo!() }
    /// Changes limits and the restart policy; answers warnings.
    pub async fn update(&self, name: &str, update: Update) -> Result<Vec<String>, EngineError> { todo!() }
    /// Sets the size of its terminal.
    pub async fn resize(&self, name: &str, height: u16, width: u16) -> Result<(), EngineError> { todo!() }
    /// Registers a wait at once, and waits in the future that it returns. An exit that happens between the
    /// two is not missed.
    pub fn wait(
        &self,
        name: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = Waited> + Send + 'static, EngineError> { todo!(); Ok(async { todo!() }) }

    /// One container.
    pub fn inspect(&self, name: &str) -> Result<Arc<Container>, EngineError> { todo!() }
    /// Ids of the execs that a container has.
    pub fn exec_ids(&self, id: &str) -> Vec<String> { todo!() }
    /// What a container wrote, and that with its image. Slow.
    pub async fn size(&self, id: &str) -> Result<Size, EngineError> { todo!() }
    /// The file of a container's output, if it has one.
    pub fn log_path(&self, id: &str) -> Option<PathBuf> { todo!() }
    /// `containers/<id>` below the data root.
    pub fn dir(&self, id: &str) -> PathBuf { todo!() }
    /// Containers, newest first, with sizes if asked for.
    pub async fn list(&self, options: ListOptions) -> Result<Vec<(Arc<Container>, Option<Size>)>, EngineError> { todo!() }
    /// How many there are.
    pub fn counts(&self) -> Counts { todo!() }
    /// Ids of the containers made from an image.
    pub fn using_image(&self, image_id: &str) -> Vec<String> { todo!() }

    /// Reads its output.
    pub async fn logs(&self, name: &str, options: LogOptions) -> Result<Logs, EngineError> { todo!() }
    /// Connects to its standard streams, now or when it starts.
    pub async fn attach(&self, name: &str, options: AttachOptions) -> Result<Attached, EngineError> { todo!() }
    /// Prepares a further process; answers its id.
    pub async fn exec_create(&self, name: &str, spec: ExecSpec) -> Result<String, EngineError> { todo!() }
    /// Starts it.
    pub async fn exec_start(&self, exec: &str, start: ExecStart) -> Result<ExecStarted, EngineError> { todo!() }
    /// One exec.
    pub fn exec_inspect(&self, exec: &str) -> Result<ExecView, EngineError> { todo!() }
    /// Sets the size of its terminal.
    pub async fn exec_resize(&self, exec: &str, height: u16, width: u16) -> Result<(), EngineError> { todo!() }
    /// Its processes; `args` as for `ps`, empty for the usual.
    pub async fn top(&self, name: &str, args: &str) -> Result<Top, EngineError> { todo!() }
    /// What it uses now; `None` if it does not run.
    pub async fn stats(&self, name: &str) -> Result<Option<pintle_runtime::Stats>, EngineError> { todo!() }

    /// Its root file system as a tar stream.
    pub async fn export(&self, name: &str) -> Result<Archive, EngineError> { todo!() }
    /// What is at a path.
    pub async fn stat_path(&self, name: &str, path: &str) -> Result<PathStat, EngineError> { todo!() }
    /// A path as a tar stream.
    pub async fn copy_out(&self, name: &str, path: &str) -> Result<(PathStat, Archive), EngineError> { todo!() }
    /// Unpacks a tar stream (plain or compressed) into a directory.
    pub async fn copy_in(
        &self,
        name: &str,
        path: &str,
        tar: impl AsyncRead + Send + Unpin + 'static,
        options: CopyIn,
    ) -> Result<(), EngineError> { todo!() }
    /// What it changed in its root file system.
    pub async fn changes(&self, name: &str) -> Result<Vec<pintle_image::Change>, EngineError> { todo!() }
    /// Removes those that do not run and match (`label`, `label!`, `until`).
    pub async fn prune(&self, filters: &BTreeMap<String, Vec<String>>) -> Result<Pruned, EngineError> { todo!() }
}
