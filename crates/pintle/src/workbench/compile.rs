//! Compiling a plugin's crate to the static program that its root file system needs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use super::manifest;
use crate::json::Fields;

/// Runs `cargo build --release` in `dir` and puts the program into `rootfs/`, where config.json's entrypoint expects
/// it.
pub async fn compile(dir: &Path) -> Result<()> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let text = std::fs::read_to_string(dir.join("Cargo.toml"))?;
    let program = manifest::program_of(&text)
        .with_context(|| format!("{} names no package", dir.join("Cargo.toml").display()))?;
    eprintln!("cargo build --release --target {target}  (in {})", dir.display());
    let output = Command::new("cargo")
        .args(["build", "--release", "--message-format", "json-render-diagnostics", "--target", &target])
        .env("RUSTFLAGS", static_flags())
        .current_dir(dir)
        .stderr(std::process::Stdio::inherit())
        .output()
        .await
        .context("cannot run cargo; install Rust, or fill rootfs yourself and use --no-compile")?;
    if !output.status.success() {
        bail!("cargo build failed");
    }
    let built = executable(&output.stdout, &program)
        .with_context(|| format!("cargo built no program named {program}; name one in a [[bin]] section"))?;
    let config = std::fs::read(dir.join("config.json"))?;
    let config = pintle_wire::config::PluginConfig::parse(&config)
        .with_context(|| format!("{}", dir.join("config.json").display()))?;
    let place = config.entrypoint.first().cloned().unwrap_or_else(|| format!("/{program}"));
    let landing = dir.join("rootfs").join(place.trim_start_matches('/'));
    if place.split('/').any(|part| part == "..") {
        bail!("config.json: the entrypoint {place:?} leaves the root file system");
    }
    if let Some(parent) = landing.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::copy(&built, &landing)
        .with_context(|| format!("cannot copy {built} to {}", landing.display()))?;
    std::fs::set_permissions(&landing, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The author's own flags, and a program that needs no library.
fn static_flags() -> String {
    let own = std::env::var("RUSTFLAGS").unwrap_or_default();
    format!("{own} -C target-feature=+crt-static").trim().to_owned()
}

/// The path of the program in cargo's messages.
fn executable(messages: &[u8], program: &str) -> Option<String> {
    String::from_utf8_lossy(messages)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|m| m.text("reason") == "compiler-artifact" && m.at("target").text("name") == program)
        .filter_map(|m| m.at("executable").as_str().map(str::to_owned))
        .next_back()
}
