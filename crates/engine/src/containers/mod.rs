//! Containers: their life, their files and their processes.
//!
//! [`Containers`] is the service; everything that it answers comes from snapshots ([`Container`]) that are
//! replaced whole, so that `list` and `inspect` never wait for a container that is being started or stopped.
//! Transitions of one container are serialised by that container's own lock, and [`step`] decides them.

mod record;
mod request;
mod service;
mod spec;
mod state;

pub use record::{Container, MountPoint};
pub use request::{
    Archive, AttachOptions, Attached, Config, Connection, CopyIn, Counts, Created, ExecSpec, ExecStart,
    ExecStarted, ExecView, ListOptions, LogOptions, Logs, PathStat, Pruned, RemoveOptions, Size, StopOptions,
    Top, Update, WaitCondition, Waited,
};
pub use service::Containers;
pub use spec::{
    ContainerSpec, DeviceSpec, LogConfig, MountKind, MountSpec, Resources, RestartMode, RestartPolicy, Ulimit,
};
pub use state::{Effect, Event, Exit, Lifecycle, Policy, Refusal, Run, State, step};
