//! Rules of the house that a compiler does not check.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Layers from the bottom up. A crate may use crates of lower layers, and, within its own, those listed before
/// it: `engine` stands on nothing of its layer, `drivers` and `testkit` neither; `pintle` stands on `daemon`.
const LAYERS: [&[&str]; 5] = [
    &["contract", "api", "store", "template"],
    &["wire", "image", "netlink", "runtime"],
    &["sdk", "host"],
    &["engine", "drivers", "policy", "cni", "testkit"],
    &["daemon", "pintle"],
];

/// Edges inside a layer that are meant. The shim writes a log in a format that is `wire`'s.
const SIDEWAYS: [(&str, &str); 2] = [("pintle", "daemon"), ("runtime", "wire")];

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

/// The workspace crates that a manifest names in one of its tables.
fn workspace_dependencies(manifest: &str, table: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim() == format!("[{table}]");
        } else if inside && line.starts_with("pintle-") {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            names.push(name.trim_start_matches("pintle-").to_owned());
        }
    }
    names
}

fn manifests() -> BTreeMap<String, String> {
    fs::read_dir(root().join("crates"))
        .unwrap()
        .flatten()
        .map(|entry| {
            let manifest = fs::read_to_string(entry.path().join("Cargo.toml")).unwrap();
            (entry.file_name().to_string_lossy().into_owned(), manifest)
        })
        .collect()
}

#[test]
fn arrows_point_down() {
    let mut wrong = Vec::new();
    for (name, manifest) in manifests() {
        let own = layer(&name).unwrap_or_else(|| panic!("crate {name} is in no layer of tests/tidy"));
        for dependency in workspace_dependencies(&manifest, "dependencies") {
            let below =
                layer(&dependency).unwrap_or_else(|| panic!("{name} uses the unknown crate {dependency}"));
            if below >= own && !SIDEWAYS.contains(&(name.as_str(), dependency.as_str())) {
                wrong.push(format!("{name} (layer {own}) uses {dependency} (layer {below})"));
            }
        }
    }
    assert!(wrong.is_empty(), "upward edges: {wrong:#?}");
}

#[test]
fn plugin_authors_depend_on_the_protocol_alone() {
    let sdk = workspace_dependencies(&manifests()["sdk"], "dependencies");
    assert_eq!(sdk, ["contract", "wire"]);
}

#[test]
fn every_crate_obeys_the_workspace_lints() {
    for (name, manifest) in manifests() {
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{name} does not inherit the workspace's lints"
        );
    }
}

fn sources(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn unsafe_code_lives_in_runtime_and_is_argued() {
    for path in sources(&root().join("crates")) {
        let text = fs::read_to_string(&path).unwrap();
        let runtime = path.starts_with(root().join("crates/runtime"));
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl") {
                assert!(runtime, "{}:{}: unsafe outside runtime", path.display(), number + 1);
                let before: Vec<&str> = text.lines().take(number + 1).collect();
                let argued = before.iter().rev().take(12).any(|line| line.contains("SAFETY:"));
                assert!(argued, "{}:{}: no SAFETY argument", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn rooms_have_names() {
    let banned = ["util", "utils", "common", "helpers", "misc", "manager"];
    for path in sources(&root().join("crates")) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        assert!(!banned.contains(&stem.as_str()), "{}: name it by a noun of the field", path.display());
    }
}

/// Every invariant and promised number names its test, and that test exists.
#[test]
fn prose_names_tests_that_exist() {
    let mut tests = String::new();
    for below in ["crates", "tests", "examples", "benches"] {
        for path in sources(&root().join(below)) {
            tests += &fs::read_to_string(path).unwrap();
        }
    }
    for page in ["ARCHITECTURE.md", "SPECIFICATION.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let mut named = 0;
        for (number, line) in text.lines().enumerate() {
            let Some((_, rest)) = line.split_once("[test: `") else { continue };
            for name in rest.split('`').step_by(2).filter(|name| !name.is_empty() && !name.starts_with(']')) {
                let function = name.rsplit("::").next().unwrap_or_default();
                assert!(
                    tests.contains(&format!("fn {function}(")),
                    "{page}:{}: there is no test {name}",
                    number + 1
                );
                named += 1;
            }
        }
        assert!(named > 0, "{page} names no test at all");
    }
}
