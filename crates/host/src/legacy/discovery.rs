//! Where legacy plugins are looked for.
//!
//! | order | path |
//! |---|---|
//! | 1 | `<sockets>/N.sock`, `<sockets>/N/N.sock`, if it is a socket |
//! | 2 | in each spec directory: `N.spec`, `N/N.spec`, `N.json`, `N/N.json` |

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::FileTypeExt,
    path::{Component, Path, PathBuf},
};

use pintle_wire::spec::Address;

use super::trust;
use crate::HostError;

/// No honest spec file is larger.
const LARGEST_SPEC: u64 = 64 << 10;

/// A plugin that was found, not called yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it listens.
    pub(super) address: Address,
    /// The file that said so.
    pub(super) file: PathBuf,
}

/// Where to look.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) sockets: PathBuf,
    pub(super) specs: Vec<PathBuf>,
}

impl Places {
    /// Finds `name`. `None` if nobody has it; an error if somebody has, but cannot be believed or read.
    pub(super) fn find(&self, name: &str) -> Result<Option<Found>, HostError> {
        if !is_name(name) {
            return Err(HostError::NotFound(name.to_owned()));
        }
        let last = name.rsplit('/').next().unwrap_or(name);
        for path in
            [self.sockets.join(format!("{name}.sock")), self.sockets.join(name).join(format!("{last}.sock"))]
        {
            if is_socket(&path) {
                return believed(&path)
                    .map(|()| Some(Found { address: Address::Unix(path.clone()), file: path }));
            }
        }
        // Docker joins the whole name twice, so `a/b` is also `a/b/a/b.sock`.
        if name.contains('/') {
            let path = self.sockets.join(name).join(format!("{name}.sock"));
            if is_socket(&path) {
                return believed(&path)
                    .map(|()| Some(Found { address: Address::Unix(path.clone()), file: path }));
            }
        }
        for dir in &self.specs {
            for kind in ["spec", "json"] {
                for path in
                    [dir.join(format!("{name}.{kind}")), dir.join(name).join(format!("{last}.{kind}"))]
                {
                    if path.is_file() {
                        return read(&path).map(Some);
                    }
                }
            }
        }
        Ok(None)
    }

    /// The names of everything that looks like a plugin, for listing.
    pub(super) fn scan(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for path in entries(&self.sockets) {
            if is_socket(&path) {
                names.extend(stem(&path));
            } else if path.is_dir()
                && let Some(name) = file_name(&path)
                && is_socket(&path.join(format!("{name}.sock")))
            {
                names.insert(name);
            }
        }
        for path in self.specs.iter().flat_map(|dir| entries(dir)) {
            if is_spec(&path) {
                names.extend(stem(&path));
            } else if path.is_dir() {
                let inside = entries(&path).into_iter().filter(|file| is_spec(file));
                let name = file_name(&path);
                names.extend(inside.filter_map(|file| stem(&file)).find(|stem| Some(stem) == name.as_ref()));
            }
        }
        names
    }
}

/// Whether `name` may be joined to a directory: relative, without `..`, `.` or NUL.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.contains('\0')
        && !name.ends_with('/')
        && !name.contains("//")
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
        && !name.split('/').any(|part| part == ".")
}

fn believed(path: &Path) -> Result<(), HostError> {
    trust::check(path)
        .map_err(|why| HostError::Forbidden(format!("refusing the plugin at {}: {why}", path.display())))
}

/// An address that somebody typed. A socket must be one that nobody else could have put there.
pub(super) fn typed(address: Address) -> Result<Address, HostError> {
    if let Address::Unix(path) = &address {
        believed(path)?;
    }
    Ok(address)
}

fn read(path: &Path) -> Result<Found, HostError> {
    believed(path)?;
    let broken = |why: &dyn std::fmt::Display| HostError::Invalid(format!("{}: {why}", path.display()));
    let size = path.metadata().map_err(|error| broken(&error))?.len();
    if size > LARGEST_SPEC {
        return Err(broken(&format!("{size} bytes are too many for a plugin's address")));
    }
    let bytes = fs::read(path).map_err(|error| broken(&error))?;
    let address = if path.extension().is_some_and(|kind| kind == "json") {
        Address::parse_json(&bytes).map_err(|error| broken(&error))?
    } else {
        Address::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| broken(&error))?
    };
    if let Address::Unix(socket) = &address {
        match trust::check(socket) {
            // It may appear yet; the call will say that it is not there.
            Err(trust::Distrust::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(why) => {
                return Err(HostError::Forbidden(format!(
                    "refusing the plugin at {}: {why}",
                    socket.display()
                )));
            }
            Ok(()) => {}
        }
    }
    Ok(Found { address, file: path.to_owned() })
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn is_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.file_type().is_socket())
}

fn is_spec(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "spec" || kind == "json") && path.is_file()
}

fn stem(path: &Path) -> Option<String> {
    path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned)
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().and_then(|name| name.to_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    struct World {
        dir: tempfile::TempDir,
        listeners: Vec<UnixListener>,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for sub in ["run", "etc", "lib"] {
                fs::create_dir(dir.path().join(sub)).unwrap();
            }
            Self { dir, listeners: Vec::new() }
        }

        fn places(&self) -> Places {
            let at = |sub| self.dir.path().join(sub);
            Places { sockets: at("run"), specs: vec![at("etc"), at("lib")] }
        }

        fn put(&mut self, path: &str) {
            let path = self.dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if path.extension().is_some_and(|kind| kind == "sock") || path.extension().is_none() {
                self.listeners.push(UnixListener::bind(path).unwrap());
            } else if path.extension().unwrap() == "json" {
                fs::write(path, r#"{"Name":"ignored","Addr":"tcp://json:1"}"#).unwrap();
            } else {
                fs::write(path, " tcp://spec:1\n").unwrap();
            }
        }
    }

    #[test]
    fn places_are_tried_in_dockers_order() {
        let order = [
            "run/n.sock",
            "run/n/n.sock",
            "etc/n.spec",
            "etc/n/n.spec",
            "etc/n.json",
            "etc/n/n.json",
            "lib/n.spec",
            "lib/n/n.spec",
            "lib/n.json",
            "lib/n/n.json",
        ];
        for (rank, expected) in order.iter().enumerate() {
            let mut world = World::new();
            for path in &order[rank..] {
                world.put(path);
            }
            let found = world.places().find("n").unwrap().unwrap();
            assert_eq!(found.file, world.dir.path().join(expected));
        }
        assert_eq!(World::new().places().find("n").unwrap(), None);
    }

    #[test]
    fn a_name_may_have_directories() {
        let mut world = World::new();
        world.put("run/a/b.sock");
        assert!(world.places().find("a/b").unwrap().is_some());
        let mut world = World::new();
        world.put("run/a/b/a/b.sock");
        assert!(world.places().find("a/b").unwrap().is_some());
    }

    #[test]
    fn a_name_cannot_leave_its_directory() {
        let mut world = World::new();
        world.put("n.sock");
        for name in ["../n", "a/../../n", "/n", "", ".", "./n", "a//n", "n/", "..", "a/..", "n\0"] {
            assert!(matches!(world.places().find(name), Err(HostError::NotFound(_))), "{name:?}");
        }
    }

    #[test]
    fn a_scan_sees_every_form_and_nothing_else() {
        let mut world = World::new();
        for path in [
            "run/one.sock",
            "run/odd.socket.sock",
            "run/two/two.sock",
            "run/three/other.sock",
            "etc/four.spec",
            "etc/five/five.json",
            "etc/six/other.spec",
            "lib/seven.json",
        ] {
            world.put(path);
        }
        fs::write(world.dir.path().join("run/file.sock"), "").unwrap();
        fs::write(world.dir.path().join("etc/note.txt"), "").unwrap();
        let names: Vec<_> = world.places().scan().into_iter().collect();
        assert_eq!(names, ["five", "four", "odd.socket", "one", "seven", "two"]);
    }

    #[test]
    fn a_broken_spec_says_what_is_wrong() {
        let world = World::new();
        fs::write(world.dir.path().join("etc/n.spec"), "gopher://x").unwrap();
        let error = world.places().find("n").unwrap_err();
        assert!(error.to_string().contains("Unknown protocol"), "{error}");
        fs::write(world.dir.path().join("etc/n.spec"), vec![b'x'; 70_000]).unwrap();
        assert!(world.places().find("n").unwrap_err().to_string().contains("too many"));
    }
}
