//! `info`.

use std::fmt::Write;

use clap::Args;
use serde_json::Value;

use crate::commands::Done;
use crate::context::Context;
use crate::json::Fields;
use crate::render::{format, units};

/// Display system-wide information.
#[derive(Debug, Args)]
pub struct Info {
    /// Format output: 'json' or a Go template
    #[arg(short = 'f', long, value_name = "FORMAT")]
    pub format: Option<String>,
}

impl Info {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let info = client.get("/info").value().await?;
        match self.format.as_deref() {
            Some(template) => println!("{}", format::document(template, &info)?),
            None => {
                print!(
                    "Client:\n Version:    {}\n Endpoint:   {}\n\n",
                    env!("CARGO_PKG_VERSION"),
                    client.endpoint()
                );
                print!("{}", text(&info));
                for warning in info.texts("Warnings") {
                    eprintln!("{warning}");
                }
            }
        }
        Ok(())
    }
}

fn text(info: &Value) -> String {
    let mut out = String::from("Server:\n");
    // A list is a heading and a line for each.
    let mut line = |name: &str, value: String| {
        if let Some(items) = value.strip_prefix('\n') {
            let _ = writeln!(out, " {name}:\n  {}", items.replace('\n', "\n  "));
        } else if !value.is_empty() {
            let _ = writeln!(out, " {name}: {value}");
        }
    };
    let listed = |items: Vec<String>| items.iter().map(|item| format!("\n{item}")).collect::<String>();
    line("Containers", info.number("Containers").to_string());
    line(" Running", info.number("ContainersRunning").to_string());
    line(" Paused", info.number("ContainersPaused").to_string());
    line(" Stopped", info.number("ContainersStopped").to_string());
    line("Images", info.number("Images").to_string());
    line("Server Version", info.text("ServerVersion").to_owned());
    line("Storage Driver", info.text("Driver").to_owned());
    for status in info.list("DriverStatus") {
        if let [name, value] = status.as_array().map(Vec::as_slice).unwrap_or_default() {
            line(&format!(" {}", name.as_str().unwrap_or("")), value.as_str().unwrap_or("").to_owned());
        }
    }
    line("Logging Driver", info.text("LoggingDriver").to_owned());
    line("Cgroup Driver", info.text("CgroupDriver").to_owned());
    line("Cgroup Version", info.text("CgroupVersion").to_owned());
    let plugins = info.at("Plugins");
    let kinds = ["Volume", "Network", "Authorization", "Log"]
        .into_iter()
        .filter(|kind| !plugins.texts(kind).is_empty());
    line("Plugins", listed(kinds.map(|kind| format!("{kind}: {}", plugins.texts(kind).join(" "))).collect()));
    line("Swarm", info.at("Swarm").text("LocalNodeState").to_owned());
    let runtimes: Vec<&str> =
        info.at("Runtimes").as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
    line("Runtimes", runtimes.join(" "));
    line("Default Runtime", info.text("DefaultRuntime").to_owned());
    line("Init Binary", info.text("InitBinary").to_owned());
    line(
        "Security Options",
        listed(info.texts("SecurityOptions").iter().map(|text| security(text)).collect()),
    );
    line("Kernel Version", info.text("KernelVersion").to_owned());
    line("Operating System", info.text("OperatingSystem").to_owned());
    line("OSType", info.text("OSType").to_owned());
    line("Architecture", info.text("Architecture").to_owned());
    line("CPUs", info.number("NCPU").to_string());
    #[expect(clippy::cast_precision_loss, reason = "shown with four digits")]
    line("Total Memory", units::memory(info.number("MemTotal") as f64));
    line("Name", info.text("Name").to_owned());
    line("ID", info.text("ID").to_owned());
    line("Docker Root Dir", info.text("DockerRootDir").to_owned());
    line("Debug Mode", info.flag("Debug").to_string());
    line("Labels", listed(info.texts("Labels")));
    line("Experimental", info.flag("ExperimentalBuild").to_string());
    line("Insecure Registries", listed(info.at("RegistryConfig").texts("InsecureRegistryCIDRs")));
    line("Registry Mirrors", listed(info.at("RegistryConfig").texts("Mirrors")));
    line("Live Restore Enabled", info.flag("LiveRestoreEnabled").to_string());
    out
}

/// `name=seccomp,profile=builtin` as a name and, below it, the rest.
fn security(option: &str) -> String {
    let mut shown = String::new();
    for part in option.split(',') {
        match part.split_once('=') {
            Some(("name", name)) => shown.insert_str(0, name),
            Some(("profile", profile)) => {
                let _ = write!(shown, "\n Profile: {profile}");
            }
            Some((key, value)) => {
                let _ = write!(shown, "\n {key}: {value}");
            }
            None => shown.push_str(part),
        }
    }
    shown
}
