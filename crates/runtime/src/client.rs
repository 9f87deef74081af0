//! The engine's end of `shim.sock`.
use tokio::net::UnixStream;
use crate::bundle::TaskDir;
use crate::control::{Reply, Request};
use crate::error::RuntimeError;
use crate::task::{ExitStatus, Task, TaskState};

pub(crate) async fn done(_dir: &TaskDir, _r: &Request) -> Result<(), RuntimeError> { todo!() }
pub(crate) async fn call(_dir: &TaskDir, _r: &Request) -> Result<Reply, RuntimeError> { todo!() }
pub(crate) async fn open(_dir: &TaskDir, _r: &Request) -> Result<(UnixStream, Reply), RuntimeError> { todo!() }
pub(crate) async fn wait(_t: &Task) -> Result<ExitStatus, RuntimeError> { todo!() }
pub(crate) async fn state(_t: &Task) -> Result<TaskState, RuntimeError> { todo!() }
pub(crate) async fn delete(_t: &Task) -> Result<ExitStatus, RuntimeError> { todo!() }
pub(crate) async fn blocking<T: Send + 'static>(_f: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static) -> Result<T, RuntimeError> { todo!() }
