use std::{error::Error, process::ExitCode, thread};

/// A plugin's `main`: runs the future, writes its error to standard error, and says how it went.
///
/// A few threads serve the calls, so a driver that blocks now and then stalls nobody. Put long blocking work
/// (copying, formatting) into [`tokio::task::spawn_blocking`].
pub fn run(plugin: impl Future<Output = Result<(), Box<dyn Error>>>) -> ExitCode {
    let threads = thread::available_parallelism().map_or(2, usize::from).clamp(2, 4);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let result = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(plugin));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
