use std::path::PathBuf;

use pintle_runtime::oci_spec::runtime::Mount;

use crate::containers::{
    ContainerSpec, MountKind, MountPoint,
    mounts::{clean, read_only_goes_deep},
};

/// Something to mount into a container, found on this host.
#[derive(Debug, Clone)]
pub(in crate::containers) struct Source {
    /// What to mount: a directory or file to bind; not used for a tmpfs.
    pub path: PathBuf,
    /// How.
    pub point: MountPoint,
}

/// All mounts in the order in which they are made, and the root's propagation if some mount needs it.
pub(super) fn build(
    spec: &ContainerSpec,
    defaults: Vec<Mount>,
    sources: &[Source],
    shm: Option<&std::path::Path>,
    writable_cgroups: bool,
) -> (Vec<Mount>, Option<String>) {
    let tmpfs = spec.tmpfs.iter().map(|(path, options)| {
        let options: Vec<String> = options.split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect();
        tmpfs_mount(&clean(path), &options, true)
    });
    let mut own: Vec<Mount> = sources.iter().map(one).chain(tmpfs).collect();
    // A mount below another comes after it.
    own.sort_by_key(|mount| mount.destination().components().count());

    let taken = |path: &std::path::Path| own.iter().any(|mount| mount.destination() == path);
    let dev_taken = taken(std::path::Path::new("/dev"));
    let mut all = Vec::new();
    for mut mount in defaults {
        let path = mount.destination().clone();
        if taken(&path) || (dev_taken && path.starts_with("/dev/")) {
            continue;
        }
        if path == std::path::Path::new("/dev/shm") {
            match spec.ipc_mode.as_str() {
                _ if let Some(shm) = shm => mount = bind(&shm.to_string_lossy(), "/dev/shm"),
                "none" => continue,
                "host" => mount = bind("/dev/shm", "/dev/shm"),
                _ => set_size(&mut mount, spec.shm_size),
            }
        } else if path == std::path::Path::new("/dev/mqueue") && spec.ipc_mode == "host" {
            mount = bind("/dev/mqueue", "/dev/mqueue");
        } else if match mount.typ().as_deref() {
            Some("cgroup" | "cgroup2") => writable_cgroups,
            // A privileged container may change the kernel's settings.
            _ => spec.privileged && path.starts_with("/sys"),
        } {
            let options =
                mount.options().iter().flatten().filter(|option| *option != "ro").cloned().collect();
            mount.set_options(Some(options));
        }
        all.push(mount);
    }
    let propagation = root_propagation(sources);
    all.extend(own);
    (all, propagation)
}

fn set_size(mount: &mut Mount, size: i64) {
    let mut options: Vec<String> =
        mount.options().iter().flatten().filter(|option| !option.starts_with("size=")).cloned().collect();
    options.push(format!("size={size}"));
    mount.set_options(Some(options));
}

fn bind(source: &str, destination: &str) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(destination))
        .set_source(Some(PathBuf::from(source)))
        .set_typ(Some("bind".to_owned()))
        .set_options(Some(vec!["rbind".to_owned(), "rprivate".to_owned()]));
    mount
}

fn one(source: &Source) -> Mount {
    let point = &source.point;
    if point.kind == MountKind::Tmpfs {
        return tmpfs_mount(&point.destination, &point.options, point.rw);
    }
    let recursive = if point.non_recursive { "bind" } else { "rbind" };
    let propagation = if point.propagation.is_empty() { "rprivate" } else { point.propagation.as_str() };
    let access = match point.rw {
        true => "rw",
        // What is mounted below would stay writable.
        false if !point.non_recursive && !point.read_only_shallow && read_only_goes_deep() => "rro",
        false => "ro",
    };
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(&point.destination))
        .set_source(Some(source.path.clone()))
        .set_typ(Some("bind".to_owned()))
        .set_options(Some([recursive, access, propagation].map(str::to_owned).to_vec()));
    mount
}

fn tmpfs_mount(destination: &str, wanted: &[String], rw: bool) -> Mount {
    let mut options: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec();
    for option in wanted {
        let opposite = match option.as_str() {
            "exec" => Some("noexec"),
            "suid" => Some("nosuid"),
            "dev" => Some("nodev"),
            _ => None,
        };
        options.retain(|known| known != option && Some(known.as_str()) != opposite);
        options.push(option.clone());
    }
    if !rw && !options.iter().any(|option| option == "ro") {
        options.push("ro".to_owned());
    }
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(destination))
        .set_source(Some(PathBuf::from("tmpfs")))
        .set_typ(Some("tmpfs".to_owned()))
        .set_options(Some(options));
    mount
}

/// A bind that shares its mounts needs a root that does not keep them apart.
fn root_propagation(sources: &[Source]) -> Option<String> {
    let any =
        |words: [&str; 2]| sources.iter().any(|source| words.contains(&source.point.propagation.as_str()));
    if any(["shared", "rshared"]) {
        Some("rshared".to_owned())
    } else if any(["slave", "rslave"]) {
        Some("rslave".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn source(destination: &str, propagation: &str) -> Source {
        let point = MountPoint {
            destination: destination.to_owned(),
            propagation: propagation.to_owned(),
            rw: true,
            ..MountPoint::default()
        };
        Source { path: "/host".into(), point }
    }

    fn destinations(mounts: &[Mount]) -> Vec<&Path> {
        mounts.iter().map(|mount| mount.destination().as_path()).collect()
    }

    #[test]
    fn own_mounts_replace_defaults_and_parents_come_first() {
        let defaults = pintle_runtime::spec::default_mounts(1);
        let spec =
            ContainerSpec { tmpfs: [("/a".to_owned(), String::new())].into(), ..ContainerSpec::default() };
        let sources = [source("/a/b/c", ""), source("/a/b", "rshared"), source("/dev", "")];
        let (all, propagation) = build(&spec, defaults, &sources, None, false);
        let seen = destinations(&all);
        assert_eq!(propagation.as_deref(), Some("rshared"));
        assert_eq!(seen.iter().filter(|path| path.starts_with("/dev")).count(), 1);
        let at = |path: &str| seen.iter().position(|seen| *seen == Path::new(path));
        assert!(at("/a") < at("/a/b") && at("/a/b") < at("/a/b/c"), "{seen:?}");
    }

    #[test]
    fn tmpfs_options_override_dockers() {
        let mount = tmpfs_mount("/x", &["exec".into(), "size=4m".into()], false);
        let options = mount.options().clone().unwrap_or_default();
        assert_eq!(options, ["nosuid", "nodev", "exec", "size=4m", "ro"]);
    }
}
