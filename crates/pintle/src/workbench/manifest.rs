//! What a plugin's directory says about itself.

use std::path::Path;

use anyhow::{Context as _, Result};

/// The plugin's name if none is given: that of its directory.
pub fn name_of(dir: &Path) -> Result<String> {
    let full = dir.canonicalize().with_context(|| format!("cannot open {}", dir.display()))?;
    let name = full.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    anyhow::ensure!(!name.is_empty(), "{} has no name; give one with -t", full.display());
    Ok(name)
}

/// The name of the program that `cargo build` makes, from Cargo.toml. Only `name` below `[package]` is looked for.
pub fn program_of(cargo_toml: &str) -> Option<String> {
    let mut section = "";
    let mut package = None;
    for line in cargo_toml.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if let Some(value) =
            line.strip_prefix("name").map(str::trim_start).and_then(|l| l.strip_prefix('='))
        {
            let value = value.split('#').next().unwrap_or(value).trim().trim_matches(['"', '\'']).to_owned();
            match section {
                // A [[bin]] names the program itself.
                "[[bin]]" => return Some(value),
                "[package]" => package = Some(value),
                _ => {}
            }
        }
    }
    package
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs() {
        assert_eq!(
            program_of("[package]\nname = \"a\" # x\n[dependencies]\nname = \"z\"").as_deref(),
            Some("a")
        );
        assert_eq!(program_of("[package]\nname = \"a\"\n[[bin]]\nname = \"b\"").as_deref(), Some("b"));
        assert_eq!(program_of("[workspace]"), None);
    }
}
