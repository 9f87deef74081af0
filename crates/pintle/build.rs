//! Puts the SDK's source into the program, so that `pintle plugin new` scaffolds a crate that builds wherever pintle
//! was installed: no checkout, no repository, and on the machine that built pintle no network either.
//!
//! The crates go in as they are, tests apart; their manifests are written out without the workspace that they
//! inherit from, and beside them goes the part of `Cargo.lock` that is theirs.
//!
//! It also has the binary lie at a fixed address: docs/adr/0006-no-position-independence.md.

#![expect(clippy::panic, reason = "a build that cannot go on should say why")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

/// What every plugin's author depends on.
const ROOT_CRATE: &str = "pintle-sdk";

/// What authors of network plugins depend on as well.
const NETLINK: &str = "pintle-netlink";

fn main() -> io::Result<()> {
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../..");
    let workspace = Manifest::read(&root.join("Cargo.toml"))?;
    let mut out = String::from("pub const FILES: &[(&str, &str)] = &[\n");
    let mut wanted = vec![ROOT_CRATE.to_owned(), NETLINK.to_owned()];
    let mut done = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if !done.insert(name.clone()) {
            continue;
        }
        let dir = root.join("crates").join(name.trim_start_matches("pintle-"));
        let (manifest, inside) = flattened(&workspace, &Manifest::read(&dir.join("Cargo.toml"))?);
        wanted.extend(inside);
        let _ = writeln!(out, "    ({:?}, {manifest:?}),", format!("{name}/Cargo.toml"));
        for file in sources(&dir.join("src"))? {
            let place = Path::new(&name).join(file.strip_prefix(&dir).unwrap_or(&file));
            let _ = writeln!(out, "    ({place:?}, include_str!({:?})),", file.canonicalize()?);
        }
    }
    let _ = writeln!(out, "    (\"LICENSE\", include_str!({:?})),", root.join("LICENSE").canonicalize()?);
    let lock = watched(&root.join("Cargo.lock"))?;
    let _ = writeln!(out, "];\n\npub const LOCK: &str = {:?};", part_of_lock(&lock, &[ROOT_CRATE]));
    let both = part_of_lock(&lock, &[ROOT_CRATE, NETLINK]);
    let _ = writeln!(out, "\npub const LOCK_WITH_NETLINK: &str = {both:?};");
    fs::write(PathBuf::from(variable("OUT_DIR")).join("sdk.rs"), out)?;
    link_at_a_fixed_address();
    Ok(())
}

/// Of what a C compiler is told about this, the last word counts.
fn link_at_a_fixed_address() {
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if features.split(',').any(|feature| feature == "crt-static") {
        println!("cargo:rustc-link-arg-bins=-no-pie");
        println!("cargo:rustc-link-arg-bins=-static");
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

fn watched(path: &Path) -> io::Result<String> {
    println!("cargo:rerun-if-changed={}", path.display());
    fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The Rust files below `dir`.
fn sources(dir: &Path) -> io::Result<Vec<PathBuf>> {
    println!("cargo:rerun-if-changed={}", dir.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A manifest of this repository, whose values are on one line each.
struct Manifest(BTreeMap<String, BTreeMap<String, String>>);

impl Manifest {
    fn read(path: &Path) -> io::Result<Self> {
        let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut table = String::new();
        for line in
            watched(path)?.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                name.clone_into(&mut table);
            } else if let Some((key, value)) = line.split_once('=') {
                // A comment may follow, a hash sign within a value does not occur.
                let value = value.split(" #").next().unwrap_or(value).trim().to_owned();
                tables.entry(table.clone()).or_default().insert(key.trim().to_owned(), value);
            }
        }
        Ok(Self(tables))
    }

    fn table(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        self.0.get(name).into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn get(&self, table: &str, key: &str) -> &str {
        self.0.get(table).and_then(|table| table.get(key)).unwrap_or_else(|| panic!("no {key} in [{table}]"))
    }
}

/// A crate's manifest on its own, and the crates of this repository that it needs.
fn flattened(workspace: &Manifest, own: &Manifest) -> (String, Vec<String>) {
    let mut out = String::from("[package]\n");
    let mut inside = Vec::new();
    let _ = writeln!(out, "name = {}", own.get("package", "name"));
    let _ = writeln!(out, "description = {}", own.get("package", "description"));
    for key in ["version", "edition", "rust-version", "license"] {
        let _ = writeln!(out, "{key} = {}", workspace.get("workspace.package", key));
    }
    out += "publish = false\n\n[dependencies]\n";
    for (key, value) in own.table("dependencies") {
        let Some(name) = key.strip_suffix(".workspace").filter(|_| value == "true") else {
            panic!("{key} = {value}: build.rs understands `name.workspace = true` in the SDK's crates");
        };
        if name.starts_with("pintle-") {
            let _ = writeln!(out, "{name} = {{ path = \"../{name}\" }}");
            inside.push(name.to_owned());
        } else {
            let _ = writeln!(out, "{name} = {}", workspace.get("workspace.dependencies", name));
        }
    }
    (out, inside)
}

/// The packages that these crates need, as they were locked when pintle was built, and some that only the engine's features
/// of them need: cargo drops those.
fn part_of_lock(lock: &str, roots: &[&'static str]) -> String {
    let mut parts = lock.split("[[package]]\n");
    let mut out = parts.next().unwrap_or("").to_owned();
    let packages: Vec<(&str, &str)> = parts.map(|part| (name_in(part), part)).collect();
    let mut wanted: Vec<&str> = roots.to_vec();
    let mut kept = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        for (at, (_, part)) in packages.iter().enumerate().filter(|(_, (known, _))| *known == name) {
            if kept.insert(at) {
                wanted.extend(dependencies_in(name, part));
            }
        }
    }
    for (name, part) in kept.into_iter().filter_map(|at| packages.get(at)) {
        out += "[[package]]\n";
        out += &without_tests(name, part);
    }
    out
}

fn name_in(part: &str) -> &str {
    part.lines().find_map(|line| line.strip_prefix("name = \"")).map_or("", |rest| rest.trim_end_matches('"'))
}

/// Names only: a version behind a name tells apart what is rarely there twice, and one too many does no harm.
fn dependencies_in<'a>(name: &str, part: &'a str) -> Vec<&'a str> {
    let own = name.starts_with("pintle-");
    part.lines()
        .filter_map(|line| line.strip_prefix(" \""))
        .map(|line| line.trim_end_matches("\",").split(' ').next().unwrap_or(line))
        .filter(|dependency| !own || !TEST_ONLY.contains(dependency))
        .collect()
}

/// What the SDK's crates need for their own tests, which stay behind.
const TEST_ONLY: [&str; 2] = ["proptest", "tempfile"];

fn without_tests(name: &str, part: &str) -> String {
    let own = name.starts_with("pintle-");
    let keeps = |line: &&str| !own || !TEST_ONLY.iter().any(|test| line.trim() == format!("\"{test}\","));
    part.lines().filter(keeps).map(|line| format!("{line}\n")).collect()
}
