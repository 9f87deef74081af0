//! OCI processes: bundles, the shim, the embedded runtime, cgroups and stdio.
//!
//! | module | what it holds |
//! |---|---|
//! | [`Runtime`], [`Task`], [`Exec`] | the engine's side: create, find again, and drive a container's processes |
//! | [`shim`] | the process that outlives the engine: one for each task, single-threaded, owns stdio and exit status |
//! | [`cdi`] | devices that files describe (CDI) |
//! | [`check`] | trying a runtime out with a small container of its own |
//! | [`init`] | `--init`: a tiny PID 1 |
//! | [`seccomp`] | Docker's profile format, its default profile, and a compiler to classic BPF |
//! | [`spec`] | the pieces of a default container spec, and the guards every spec passes |
//! | [`external`] | runtimes that are programs of their own: their names, what they can do, calling them |
//! | [`oci`] | the embedded runtime by the OCI command line, for others |
//! | [`quota`] | how much a directory may hold, where the file system counts it |
//! | [`socket`] | what the kernel knows of a connection and no safe library tells |
//! | [`cgroup`] | detection, limits, freezing, killing, statistics, removal, for v1, hybrid and v2 |
//!
//! Only the shim, or a verb of the OCI command line, touches a container's state through libcontainer: that library forks and allocates in the
//! child, which is sound only in a process with one thread.

mod bundle;
pub mod cdi;
pub mod cgroup;
pub mod check;
mod client;
mod control;
mod error;
pub mod external;
pub mod init;
pub mod oci;
mod plan;
pub mod quota;
mod rotated;
mod runtime;
pub mod seccomp;
pub mod shim;
pub mod socket;
pub mod spec;
mod task;

pub use error::{ErrorKind, RuntimeError};
pub use external::{Binary, Chosen, Demand, Features, Known, Need};
pub use libcontainer::oci_spec;
pub use rotated::{FileId, Origin};
pub use runtime::{Options, Runtime};
pub use task::{
    Attach, Exec, ExecConfig, ExitStatus, LogFile, LogFormat, Seccomp, Stats, Status, Task, TaskConfig,
    TaskState,
};
