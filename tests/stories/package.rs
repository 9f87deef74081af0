//! Plugin packages for the stories, made of binaries that this workspace built.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::harness::{Engine, PINTLE};

/// A binary that the workspace built beside pintle.
pub fn built(name: &str) -> PathBuf {
    let path = Path::new(PINTLE).with_file_name(name);
    assert!(path.is_file(), "{} is missing: cargo build --workspace", path.display());
    path
}

/// A folder with `config.json` and a rootfs that holds `binary` as `/usr/bin/<name>`.
pub fn folder(engine: &Engine, name: &str, binary: &Path, config: &Value) -> PathBuf {
    let folder = engine.dir.join("packages").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("rootfs/usr/bin")).unwrap();
    fs::create_dir_all(folder.join("rootfs/run/docker/plugins")).unwrap();
    fs::create_dir_all(folder.join("rootfs/mnt/volumes")).unwrap();
    fs::copy(binary, folder.join("rootfs/usr/bin").join(name)).unwrap();
    fs::write(folder.join("config.json"), serde_json::to_string_pretty(config).unwrap()).unwrap();
    folder
}

/// What `volume-dirs` needs to run as a managed plugin called `name`.
pub fn config(name: &str) -> Value {
    json!({
        "description": "directories as volumes",
        "documentation": "https://example.invalid/",
        "entrypoint": [format!("/usr/bin/{name}")],
        "workdir": "/",
        "network": {"type": ""},
        "interface": {"types": ["docker.volumedriver/1.0"], "socket": format!("{name}.sock")},
        "linux": {"capabilities": []},
        "mounts": [],
        "env": [
            {"name": "FIXED", "value": "1"},
            {"name": "ROOT", "value": "/mnt/volumes", "settable": ["value"]},
            {"name": "DEBUG", "description": "more words", "value": "0", "settable": ["value"]}
        ],
        "propagatedMount": "/mnt/volumes"
    })
}

/// Installs and enables the example plugin under `name`.
pub fn install(engine: &Engine, name: &str) {
    let folder = folder(engine, "volume-dirs", &built("volume-dirs"), &config("volume-dirs"));
    // dockerd 20.10 refuses a package whose layer it has, so each has something of its own.
    fs::write(folder.join("rootfs/name"), name).unwrap();
    engine.sh(&format!("docker plugin create {name} {}", folder.display())).ok();
    engine.sh(&format!("docker plugin enable {name}")).ok();
}
