//! Containers: their life, their files and their processes.
//!
//! [`Containers`] is the service; everything that it answers comes from snapshots ([`Container`]) that are
//! replaced whole, so that `list` and `inspect` never wait for a container that is being started or stopped.
//! Transitions of one container are serialised by that container's own turn, and [`step`] decides them.
//!
//! | module | job |
//! |---|---|
//! | `state` | the states and what may follow what, purely |
//! | `spec`, `record`, `request` | what is asked for, what is kept, what is answered |
//! | `service`, `cell`, `index`, `records` | the service, one container in memory, finding them, keeping them |
//! | `create`, `commit`, `launch`, `supervise`, `health`, `stop`, `remove`, `update`, `networks`, `restore` | the transitions |
//! | `check`, `limits`, `merge`, `mounts`, `names`, `signal`, `log_options` | understanding what clients send |
//! | `oci`, `hosts`, `joins`, `links` | what the runtime and the container get to see |
//! | `streams`, `logs`, `exec`, `files`, `top`, `list`, `filter` | looking at containers and into them |
//!
//! **What a crash leaves.** A record says `Starting` before anything is mounted, `Running` by the time a start is
//! acknowledged, `Removing` before anything is deleted, and `Exited` before the shim's own record of the exit goes. The root file system is
//! unmounted last, so one that is still mounted tells that the end of a run was not finished. An update of a running
//! container says its new limits first, with the old ones beside them until the kernel has taken the new.

use pintle_store::failpoint;

mod cell;
mod check;
mod commit;
mod create;
mod exec;
mod files;
mod filter;
mod health;
mod hosts;
mod index;
mod joins;
mod launch;
mod limits;
mod links;
mod list;
mod log_options;
mod logs;
mod merge;
mod mounts;
mod names;
mod networks;
mod oci;
mod record;
mod records;
mod remove;
mod request;
mod restore;
mod service;
mod signal;
mod size;
mod spec;
mod state;
mod stop;
mod streams;
mod supervise;
mod top;
mod update;

pub use commit::CommitOptions;
pub(crate) use filter::until;
pub use health::{Health, HealthSpec, HealthStatus, Probe};
pub(crate) use hosts::{Surroundings, write as write_names};
pub use logs::{LogDelivery, LogDrivers, read as read_log};
pub(crate) use names::new_id;
pub use record::{Container, MountPoint};
pub use request::{
    Archive, AttachOptions, Attached, Config, Connection, CopyIn, Counts, Created, Defaults, ExecSpec,
    ExecStart, ExecStarted, ExecView, ListOptions, LogOptions, Logs, PathStat, Pruned, RemoveOptions, Size,
    StopOptions, Top, Update, WaitCondition, Waited,
};
pub use service::Containers;
pub(crate) use service::blocking;
pub(crate) use signal::check as check_signal;
pub use spec::{
    BlkioDevices, ContainerSpec, DeviceSpec, LogConfig, MountKind, MountSpec, Resources, RestartMode,
    RestartPolicy, Ulimit,
};
pub use state::{Effect, Event, Exit, Lifecycle, Policy, Refusal, Run, State, step};
