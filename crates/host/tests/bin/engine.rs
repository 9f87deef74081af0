//! As much of an engine as a plugin host needs, to be killed by this crate's tests; and its shim.
//!
//! `engine DIR VERB NAME [ARG]` does one thing to the plugin and says `done`.

use std::{env, error::Error, path::Path, process::ExitCode, sync::Arc, time::Duration};

use pintle_host::{Host, HostConfig};
use pintle_image::{Auth, Images, Options, Progress};
use pintle_runtime::Runtime;
use pintle_store::Store;

fn main() -> ExitCode {
    let mut args = env::args_os();
    let name = args.next().unwrap_or_default();
    if Path::new(&name).file_name().is_some_and(|name| name == "docker-init") {
        return pintle_runtime::init::main(args);
    }
    match args.next() {
        Some(word) if word == "shim" => pintle_runtime::shim::main(args),
        Some(word) if word == "engine" => {
            let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
            match engine(&args) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            }
        }
        _ => ExitCode::from(2),
    }
}

#[tokio::main]
async fn engine(args: &[String]) -> Result<(), Box<dyn Error>> {
    let [dir, verb, name, rest @ ..] = args else { return Err("engine DIR VERB NAME [ARG]".into()) };
    let dir = Path::new(dir);
    let store = Store::open(&dir.join("pintle.redb"))?;
    let images = Images::open(&dir.join("data"), store.clone(), Options::default())?;
    let shim = env::current_exe()?;
    let runtime = Runtime::new(pintle_runtime::Options { root: dir.join("tasks"), shim })?;
    let mut config = HostConfig::new(dir.join("data"), dir);
    config.socket_dir = dir.join("s");
    config.spec_dirs = Vec::new();
    let host = Host::open(config, store, images, runtime, Arc::new(|_| {})).await?;
    host.reconcile().await;
    let argument = rest.first().map(String::as_str).unwrap_or_default();
    match verb.as_str() {
        "create" => {
            host.create(name, tokio::fs::File::open(argument).await?).await?;
        }
        "enable" => host.enable(name, Duration::from_secs(20)).await?,
        "disable" => host.disable(name, true).await?,
        "remove" => host.remove(name, true).await?,
        "set" => host.set(name, &[argument.to_owned()]).await?,
        "pull" => {
            let granted = host.privileges(argument, &Auth::None).await?;
            host.pull(argument, Some(name), granted, &Auth::None, &Progress::none()).await?;
        }
        "upgrade" => {
            let granted = host.privileges(argument, &Auth::None).await?;
            host.upgrade(name, argument, granted, &Auth::None, &Progress::none()).await?;
        }
        other => return Err(format!("no such verb: {other}").into()),
    }
    println!("done");
    host.shutdown(false).await;
    Ok(())
}
