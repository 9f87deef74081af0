//! `create`: a container whose process waits for `start`.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;

use super::{Containers, ORIGIN, Origin, failed};
use crate::bundle::{Manifest, TaskDir};
use crate::cgroup::Group;
use crate::error::{IoContext, RuntimeError};
use crate::external::{Chosen, features::Asked};
use crate::plan::{Plan, plan};
use crate::seccomp::Program;
use crate::shim::{Launch, Listening, OomScore, Outside, Report, divide, settle};
use crate::task::{Seccomp, TaskConfig};

/// How to create a container.
#[derive(Debug, Default)]
pub struct CreateOptions {
    /// The bundle: `config.json` and what it names.
    pub bundle: PathBuf,
    /// Where its terminal is sent, if it has one.
    pub console_socket: Option<PathBuf>,
    /// Where the process's number is written.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors after the standard ones the process keeps.
    pub preserve_fds: i32,
    /// Change the root without `pivot_root`.
    pub no_pivot: bool,
}

impl Containers {
    /// Sets everything up; the process waits. It has the caller's standard streams.
    ///
    /// # Errors
    /// With what of the bundle cannot be had. Nothing is left.
    pub fn create(&self, id: &str, options: &CreateOptions) -> Result<(), RuntimeError> {
        let dir = self.dir(id)?;
        let bundle = options
            .bundle
            .canonicalize()
            .context(|| format!("finding the bundle {}", options.bundle.display()))?;
        let Plan { manifest, config, filter } = read(id, &bundle)?;
        dir.create(id)?;
        let made = (|| {
            dir.write_json("config.json", &config)?;
            dir.write_json("task.json", &manifest)?;
            dir.write_json(ORIGIN, &Origin { bundle: bundle.clone() })?;
            if let Some(filter) = &filter {
                dir.write("seccomp.bpf", &filter.to_bytes())?;
            }
            make(&dir, config, &manifest, filter, options, &bundle)
        })();
        if made.is_err() {
            let group = Group::new(&manifest.cgroup);
            let _ = group.kill_all().and_then(|()| group.remove());
            let _ = dir.remove();
        }
        made
    }
}

/// Decides as for a container of the engine, from what the bundle says.
fn read(id: &str, bundle: &Path) -> Result<Plan, RuntimeError> {
    let path = bundle.join("config.json");
    let mut spec = Spec::load(&path)
        .map_err(|error| RuntimeError::InvalidArgument(format!("{}: {error}", path.display())))?;
    spec.canonicalize_rootfs(bundle).map_err(|error| {
        RuntimeError::InvalidArgument(format!("the root file system of {}: {error}", bundle.display()))
    })?;
    let rootfs = spec.root().as_ref().map(|root| root.path().clone()).unwrap_or_default();
    let linux = spec.linux().clone().unwrap_or_default();
    let process = spec.process().clone();
    let mut task = TaskConfig::new(id, rootfs, spec);
    task.runtime = "pintle".into();
    task.terminal = process.as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    task.oom_score_adj = process.as_ref().and_then(|process| process.oom_score_adj());
    task.seccomp = match linux.seccomp() {
        Some(profile) => Seccomp::Profile(
            serde_json::to_value(profile).map_err(|error| RuntimeError::Internal(error.to_string()))?,
        ),
        None => Seccomp::Unconfined,
    };
    if let Some(path) = linux.cgroups_path() {
        task.cgroup = format!("/{}", path.to_string_lossy().trim_start_matches('/'));
    }
    plan(task, Chosen::Embedded, &Asked::default(), Path::new("/proc/self/exe"))
}

fn make(
    dir: &TaskDir,
    mut config: Spec,
    manifest: &Manifest,
    filter: Option<Program>,
    options: &CreateOptions,
    bundle: &Path,
) -> Result<(), RuntimeError> {
    let own = [std::ffi::OsString::from("pintle"), "shim".into()];
    divide(dir, &mut config, &own)?;
    let state = dir.file("state");
    std::fs::create_dir_all(&state).context(|| format!("making {}", state.display()))?;
    let report = Report::new()?;
    let launch = Launch {
        capabilities: manifest.capabilities,
        filter: filter.map(Rc::new),
        report: report.writer(),
        close: Vec::new(),
        terminal: manifest.terminal.then_some(manifest.console_size),
        init: true,
        within: None,
    };
    // libcontainer leaves supplementary groups alone when a user has none.
    rustix::thread::set_thread_groups(&[]).context(|| "dropping supplementary groups".into())?;
    let score = OomScore::set(manifest.oom_score_adj)?;
    let outside = Outside::enter(&config)?;
    let listening = Listening::on(report.writer());
    let built = ContainerBuilder::new(manifest.id.clone(), SyscallType::default())
        .with_root_path(&state)
        .map_err(|error| failed(&error))?
        .with_pid_file(options.pid_file.as_ref())
        .map_err(|error| failed(&error))?
        .with_console_socket(options.console_socket.as_ref())
        .with_preserved_fds(options.preserve_fds)
        .with_executor(launch)
        .as_init(dir.path())
        .with_systemd(false)
        .with_detach(true)
        .with_no_pivot(options.no_pivot)
        .build();
    drop(listening);
    drop(outside);
    score.restore();
    let mut inner = match built {
        Ok(inner) => inner,
        Err(error) => return Err(report.refused(&error, "unable to start container process")),
    };
    // Hooks that come later, and whoever asks, hear of the caller's bundle.
    inner.state.bundle = bundle.to_owned();
    inner.save().map_err(|error| failed(&error))?;
    let pid = inner.pid().and_then(|pid| u32::try_from(pid.as_raw()).ok());
    let pid = pid.ok_or_else(|| RuntimeError::Internal("the container has no process".into()))?;
    let resources = config.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let rules = resources.and_then(|r| r.devices().as_deref()).unwrap_or_default();
    settle(&config, pid)?;
    Group::new(&manifest.cgroup).filter_devices(rules)
}
