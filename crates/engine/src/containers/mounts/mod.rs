//! Mounts as clients ask for them, made into one list of [`MountPoint`]s.

mod images;
mod parse;

pub(super) use parse::{clean, parse_bind, parse_long, parse_volumes_from};

use std::{collections::BTreeMap, path::Path};

use super::{Container, ContainerSpec, MountKind, MountPoint};
use crate::EngineError;

/// Whether the kernel can make a whole tree of mounts read-only at once (`mount_setattr`, Linux 5.12).
pub(super) fn read_only_goes_deep() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(12))
}

/// Every mount that a specification asks for, by destination, in Docker's order of precedence: mounts taken
/// over from other containers give way to `binds` and `mounts`, those to nothing; two that ask for the same
/// destination in `binds`, `mounts` and `tmpfs` are an error. Anonymous volumes of the image and of
/// `Config.Volumes` come last, where nothing else is mounted. Volumes have no names or ids yet where the client
/// gave none.
pub(super) fn resolve(
    spec: &ContainerSpec,
    data_root: &Path,
    find: &dyn Fn(&str) -> Result<std::sync::Arc<Container>, EngineError>,
) -> Result<Vec<MountPoint>, EngineError> {
    let mut points: BTreeMap<String, MountPoint> = BTreeMap::new();

    for text in &spec.volumes_from {
        let (from, mode) = parse_volumes_from(text)?;
        for taken in find(from)
            .map_err(|error| EngineError::invalid(error.message))?
            .mounts
            .iter()
            .filter(|mount| mount.kind != MountKind::Tmpfs)
        {
            let mut mount = taken.clone();
            mount.mount_id.clear();
            mount.rw = mount.rw && mode.is_none_or(|mode| mode != "ro");
            mount.taken_over = true;
            mount.mode.clear();
            points.insert(mount.destination.clone(), mount);
        }
    }

    let mut explicit: std::collections::BTreeSet<String> =
        spec.tmpfs.keys().map(|path| clean(path)).collect();
    let mut add = |mut mount: MountPoint| {
        if mount.kind == MountKind::Bind {
            mount.propagation = propagation(&mount, data_root)?;
        }
        if !explicit.insert(mount.destination.clone()) {
            return Err(EngineError::invalid(format!("Duplicate mount point: {}", mount.destination)));
        }
        points.insert(mount.destination.clone(), mount);
        Ok(())
    };
    for text in &spec.binds {
        let mut mount = parse_bind(text)?;
        if mount.kind == MountKind::Volume && mount.driver.is_empty() {
            mount.driver.clone_from(&spec.volume_driver);
        }
        add(mount)?;
    }
    for long in &spec.mounts {
        add(parse_long(long)?)?;
    }
    for path in &spec.volumes {
        let destination = clean(path);
        if !destination.starts_with('/') {
            return Err(EngineError::invalid(format!(
                "invalid mount path: '{path}' mount path must be absolute"
            )));
        }
        if destination == "/" {
            return Err(EngineError::invalid(format!(
                "invalid volume specification: '{path}': invalid mount config for type \"volume\": invalid specification: destination can't be '/'"
            )));
        }
        if spec.tmpfs.keys().any(|tmpfs| clean(tmpfs) == destination) {
            continue;
        }
        points.entry(destination.clone()).or_insert_with(|| MountPoint {
            kind: MountKind::Volume,
            destination,
            rw: true,
            anonymous: true,
            driver: spec.volume_driver.clone(),
            ..MountPoint::default()
        });
    }
    for path in spec.tmpfs.keys() {
        if !path.starts_with('/') {
            return Err(EngineError::invalid(format!(
                "invalid mount path: '{path}' mount path must be absolute"
            )));
        }
        if clean(path) == "/" {
            return Err(EngineError::invalid("invalid specification: destination can't be '/'"));
        }
        points.remove(&clean(path));
    }
    let shallow = spec.read_only_shallow;
    Ok(points
        .into_values()
        .map(|mount| MountPoint { read_only_shallow: mount.read_only_shallow || shallow, ..mount })
        .collect())
}

/// A bind's propagation. What is mounted in the data root comes and goes: a container that kept it to itself would hold
/// others' root file systems and volumes.
fn propagation(mount: &MountPoint, data_root: &Path) -> Result<String, EngineError> {
    let source = &mount.source;
    let ours = source.starts_with(data_root) || data_root.starts_with(source);
    match mount.propagation.as_str() {
        "" if ours => Ok("rslave".to_owned()),
        "" => Ok("rprivate".to_owned()),
        wanted if ours && !matches!(wanted, "rslave" | "rshared") => Err(EngineError::invalid(format!(
            "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is \
             within the daemon root, daemon root: {data_root:?}, bind mount source: {source:?}, propagation: {wanted:?}"
        ))),
        wanted => Ok(wanted.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_the_data_root_in_it_follows_what_is_mounted_there() {
        let of = |bind: &str| {
            let spec = ContainerSpec { binds: vec![bind.to_owned()], ..ContainerSpec::default() };
            let points = resolve(&spec, Path::new("/var/lib/pintle"), &|_| Err(EngineError::internal("")));
            points.map(|points| points[0].propagation.clone()).map_err(|error| error.message)
        };
        for source in ["/", "/var/lib", "/var/lib/pintle", "/var/lib/pintle/containers"] {
            assert_eq!(of(&format!("{source}:/x")).unwrap(), "rslave");
            assert_eq!(of(&format!("{source}:/x:rshared")).unwrap(), "rshared");
            for refused in ["private", "rprivate", "shared", "slave"] {
                let said = of(&format!("{source}:/x:{refused}")).unwrap_err();
                assert!(said.starts_with("invalid mount config: must use either propagation"), "{said}");
            }
        }
        for source in ["/srv", "/var/lib/pin", "/var/lib/pintle2"] {
            assert_eq!(of(&format!("{source}:/x")).unwrap(), "rprivate");
            assert_eq!(of(&format!("{source}:/x:private")).unwrap(), "private");
        }
    }
}
