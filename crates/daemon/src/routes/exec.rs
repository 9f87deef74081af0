//! Processes in running containers, apart from starting them ([`super::attach`]).

use std::sync::Arc;

use http::StatusCode;
use pintle_api::exec::{ExecCreate, ExecInspect, IdResponse, ProcessConfig};
use pintle_engine::containers::ExecSpec;

use super::containers::size;
use crate::{
    app::App,
    convert,
    hijack::DetachKeys,
    http::{Call, reply, router::Outcome},
    status::Failure,
};

pub(crate) async fn create(app: Arc<App>, mut call: Call) -> Outcome {
    let request: ExecCreate = call.json()?;
    if !request.cmd.is_some() {
        return Err(Failure::invalid("No exec command specified"));
    }
    DetachKeys::parse(&request.detach_keys)?;
    let spec = ExecSpec {
        cmd: request.cmd.0.unwrap_or_default(),
        env: request.env.unwrap_or_default(),
        user: request.user,
        working_dir: request.working_dir,
        tty: request.tty,
        stdin: request.attach_stdin,
        stdout: request.attach_stdout,
        stderr: request.attach_stderr,
        privileged: request.privileged,
        detach_keys: Some(request.detach_keys),
        console_size: request.console_size.and_then(convert::spec::console_size),
    };
    let id = app.containers().await.exec_create(&call.name, spec).await?;
    Ok(reply::json(StatusCode::CREATED, &IdResponse { id }))
}

pub(crate) async fn resize(app: Arc<App>, call: Call) -> Outcome {
    let (height, width) = size(&call)?;
    app.containers().await.exec_resize(&call.name, height, width).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn inspect(app: Arc<App>, call: Call) -> Outcome {
    let exec = app.containers().await.exec_inspect(&call.name)?;
    let mut words = exec.spec.cmd.into_iter();
    Ok(reply::ok(&ExecInspect {
        id: exec.id,
        running: exec.running,
        exit_code: exec.exit_code,
        process_config: ProcessConfig {
            tty: exec.spec.tty,
            entrypoint: words.next().unwrap_or_default(),
            arguments: words.collect(),
            privileged: exec.spec.privileged,
            user: exec.spec.user,
        },
        open_stdin: exec.spec.stdin,
        open_stderr: exec.spec.stderr,
        open_stdout: exec.spec.stdout,
        can_remove: false,
        container_id: exec.container,
        detach_keys: exec.spec.detach_keys,
        pid: exec.pid,
    }))
}
