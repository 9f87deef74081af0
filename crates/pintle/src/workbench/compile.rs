//! Compiling a plugin's crate to the static program that its root file system needs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use crate::json::Fields;

/// Runs `cargo build --release` in `dir` and puts the program into `rootfs/`, where config.json's entrypoint expects
/// it.
pub async fn compile(dir: &Path) -> Result<()> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let config = std::fs::read(dir.join("config.json"))
        .with_context(|| format!("cannot read {}", dir.join("config.json").display()))?;
    let config = pintle_wire::config::PluginConfig::parse(&config)
        .with_context(|| format!("{}", dir.join("config.json").display()))?;
    let place = config.entrypoint.first().map_or("", String::as_str);
    if place.is_empty() || place.split('/').any(|part| part == "..") {
        bail!("config.json: entrypoint {place:?} is no place in rootfs to put the program");
    }
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
    let built = program(&output.stdout, place)?;
    let landing = dir.join("rootfs").join(place.trim_start_matches('/'));
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

/// The program that cargo's messages name: the only one, or the one that is called as the entrypoint.
fn program(messages: &[u8], entrypoint: &str) -> Result<String> {
    let built: Vec<(String, String)> = String::from_utf8_lossy(messages)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|m| m.text("reason") == "compiler-artifact")
        .filter_map(|m| {
            Some((m.at("target").text("name").to_owned(), m.at("executable").as_str()?.to_owned()))
        })
        .collect();
    let wanted = entrypoint.rsplit('/').next().unwrap_or(entrypoint);
    match (built.as_slice(), built.iter().find(|(name, _)| name == wanted)) {
        ([(_, path)], _) | (_, Some((_, path))) => Ok(path.clone()),
        ([], _) => bail!("cargo built no program; a plugin has a src/main.rs or a [[bin]] section"),
        _ => {
            let names: Vec<&str> = built.iter().map(|(name, _)| name.as_str()).collect();
            bail!(
                "cargo built {}, and config.json's entrypoint {entrypoint:?} is none of them",
                names.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(name: &str) -> String {
        format!(r#"{{"reason":"compiler-artifact","target":{{"name":"{name}"}},"executable":"/t/{name}"}}"#)
    }

    #[test]
    fn the_program_is_the_only_one_or_the_one_that_is_named() {
        let library = r#"{"reason":"compiler-artifact","target":{"name":"lib"},"executable":null}"#;
        let one = [library, &artifact("a"), "not JSON"].join("\n");
        assert_eq!(program(one.as_bytes(), "/usr/bin/other").unwrap(), "/t/a");
        let two = [artifact("a"), artifact("b")].join("\n");
        assert_eq!(program(two.as_bytes(), "/usr/bin/b").unwrap(), "/t/b");
        assert!(program(two.as_bytes(), "/c").unwrap_err().to_string().contains("a, b"));
        assert!(program(library.as_bytes(), "/c").unwrap_err().to_string().contains("no program"));
    }
}
