//! Everything that can be decided about a task before anything of it exists.

use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{LinuxNamespaceType, PosixRlimitType, Process, Spec};

use crate::bundle::{CapabilityMasks, Manifest};
use crate::cgroup::Setup;
use crate::error::RuntimeError;
use crate::external::features::Asked;
use crate::external::{Binary, Chosen, trim::trim};
use crate::seccomp;
use crate::spec;
use crate::task::{Seccomp, TaskConfig};

/// Where `--init` puts pintle's init in a container, as Docker does.
const INIT_PATH: &str = "/sbin/docker-init";

/// What is written into the task's directory before its shim starts.
pub(crate) struct Plan {
    pub manifest: Manifest,
    pub config: Spec,
    /// What the shim loads; a runtime of its own has its filter in the spec.
    pub filter: Option<seccomp::Program>,
}

/// Decides it. `init` is the program that `--init` binds into the container.
pub(crate) fn plan(
    mut task: TaskConfig,
    chosen: Chosen,
    asked: &Asked,
    init: &Path,
) -> Result<Plan, RuntimeError> {
    let mut config = std::mem::take(&mut task.spec);
    match &chosen {
        Chosen::Embedded => spec::harden(&mut config, Setup::detect()),
        Chosen::Binary(_) => spec::settle(&mut config),
    }
    let mut root = config.root().clone().unwrap_or_default();
    root.set_path(task.rootfs.clone());
    config.set_root(Some(root));
    if task.init {
        add_init(&mut config, init);
    }
    let missing = |what: &str| RuntimeError::InvalidArgument(format!("the spec has no {what}"));
    let process = config.process_mut().as_mut().ok_or_else(|| missing("process"))?;
    process.set_terminal(Some(task.terminal)).set_console_size(None);
    let oom_score_adj = task.oom_score_adj.or(process.oom_score_adj());
    // Inherited from the shim in every runtime; what a runtime would write itself takes a capability to lower.
    process.set_oom_score_adj(None);
    crate::shim::ensure_home(process, &task.rootfs);
    check_rlimits(process)?;
    let capabilities = spec::masks(process.capabilities().as_ref()).unwrap_or_default();
    check_capabilities(capabilities.bounding | capabilities.permitted | capabilities.effective)?;
    let no_new_privileges = process.no_new_privileges() == Some(true);
    let profile = profile(&task.seccomp, capabilities)?;
    let linux = config.linux_mut().as_mut().ok_or_else(|| missing("linux section"))?;
    if !task.cgroup.starts_with('/')
        || task.cgroup.split('/').any(|part| part == "..")
        || task.cgroup.len() < 2
    {
        return Err(RuntimeError::InvalidArgument(format!("invalid cgroup path: {:?}", task.cgroup)));
    }
    linux.set_cgroups_path(Some(PathBuf::from(&task.cgroup)));
    let private_pids =
        linux.namespaces().iter().flatten().any(|n| n.typ() == LinuxNamespaceType::Pid && n.path().is_none());
    let (filter, runtime) = match chosen {
        Chosen::Embedded => (for_the_shim(&mut config, profile.as_ref(), capabilities)?, None),
        Chosen::Binary(mut binary) => {
            for_a_program(&mut config, &task, profile.as_ref(), &binary, asked)?;
            // The shim has another `PATH`, and later engines may have too.
            binary.path = binary.found().unwrap_or(binary.path);
            (None, Some(binary))
        }
    };
    let manifest = Manifest {
        id: task.id,
        terminal: task.terminal,
        stdin_open: task.stdin_open,
        stdin_once: task.stdin_once,
        console_size: task.console_size,
        log: task.log,
        oom_score_adj,
        cgroup: task.cgroup,
        capabilities,
        no_new_privileges,
        private_pids,
        labels: task.labels,
        runtime,
    };
    Ok(Plan { manifest, config, filter })
}

fn profile(
    wanted: &Seccomp,
    capabilities: CapabilityMasks,
) -> Result<Option<seccomp::Profile>, RuntimeError> {
    let names: Vec<String> =
        spec::from_mask(capabilities.bounding).into_iter().map(spec::capability_name).collect();
    match wanted {
        Seccomp::Unconfined => Ok(None),
        Seccomp::Default => Ok(Some(seccomp::Profile::docker_default(&names))),
        Seccomp::Profile(json) => seccomp::Profile::parse(json, &names)
            .map(Some)
            .map_err(|e| RuntimeError::InvalidArgument(e.to_string())),
    }
}

/// The embedded runtime's: the filter is compiled here and loaded by the shim, which needs wider sets until then.
fn for_the_shim(
    config: &mut Spec,
    profile: Option<&seccomp::Profile>,
    capabilities: CapabilityMasks,
) -> Result<Option<seccomp::Program>, RuntimeError> {
    let filter = profile
        .map(seccomp::compile)
        .transpose()
        .map_err(|e| RuntimeError::InvalidArgument(e.to_string()))?;
    if let Some(process) = config.process_mut() {
        spec::widen(process, capabilities, filter.is_some(), false);
    }
    Ok(filter)
}

/// A program's: everything is in the spec, and nothing that it does not support.
fn for_a_program(
    config: &mut Spec,
    task: &TaskConfig,
    profile: Option<&seccomp::Profile>,
    binary: &Binary,
    asked: &Asked,
) -> Result<(), RuntimeError> {
    if let Some(process) = config.process_mut() {
        process.set_console_size(task.console_size.filter(|_| task.terminal).and_then(spec::rectangle));
    }
    if let Some(linux) = config.linux_mut() {
        linux.set_seccomp(profile.and_then(seccomp::Profile::to_oci));
    }
    let features = asked.features(binary);
    trim(config, &binary.name, features.as_deref(), &task.demands, Setup::detect())
}

fn add_init(config: &mut Spec, init: &Path) {
    let mut mounts = config.mounts().clone().unwrap_or_default();
    mounts.push(spec::mount(INIT_PATH, "bind", &init.to_string_lossy(), &["bind", "ro"]));
    config.set_mounts(Some(mounts));
    if let Some(process) = config.process_mut() {
        let mut args = vec![INIT_PATH.to_owned(), "--".to_owned()];
        args.extend(process.args().clone().unwrap_or_default());
        process.set_args(Some(args));
    }
}

/// Raising a hard limit needs a capability that not every engine has; the kernel's bare EPERM says too little.
fn check_rlimits(process: &Process) -> Result<(), RuntimeError> {
    for limit in process.rlimits().iter().flatten() {
        if limit.soft() > limit.hard() {
            return Err(RuntimeError::InvalidArgument(format!(
                "ulimit {}: soft limit {} is above hard limit {}",
                name(limit.typ()),
                limit.soft(),
                limit.hard()
            )));
        }
        let Ok(resource) = nix::libc::c_int::try_from(limit.typ() as u32) else { continue };
        let Some(own) = own_hard_limit(resource) else { continue };
        if limit.hard() > own && !has_capability(24) {
            return Err(RuntimeError::Unsupported(format!(
                "ulimit {}: cannot raise the hard limit from {own} to {}: the engine lacks CAP_SYS_RESOURCE",
                name(limit.typ()),
                limit.hard()
            )));
        }
    }
    Ok(())
}

fn name(kind: PosixRlimitType) -> String {
    format!("{kind:?}").trim_start_matches("Rlimit").to_ascii_lowercase()
}

#[expect(unsafe_code, reason = "the resource is a number here, the safe wrapper takes names")]
fn own_hard_limit(resource: nix::libc::c_int) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer; unknown resources are refused.
    (unsafe { libc::getrlimit(resource.unsigned_abs(), &raw mut limit) } == 0).then_some(limit.rlim_max)
}

fn has_capability(bit: u32) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.bits() & (1 << bit) != 0)
}

fn check_capabilities(wanted: u64) -> Result<(), RuntimeError> {
    let own = rustix::thread::capabilities(None).map_or(u64::MAX, |sets| sets.permitted.bits());
    let lacking = wanted & !own;
    if lacking == 0 {
        return Ok(());
    }
    let mut names: Vec<String> = spec::from_mask(lacking).iter().map(|c| format!("CAP_{c}")).collect();
    names.sort();
    Err(RuntimeError::Unsupported(format!("the engine does not have {} to give", names.join(", "))))
}
