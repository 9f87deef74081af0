use std::path::PathBuf;

use crate::{
    EngineError,
    containers::{MountKind, MountPoint, MountSpec},
};

pub(in crate::containers) use pintle_contract::path::clean;

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

fn invalid_spec(text: &str) -> EngineError {
    EngineError::invalid(format!("invalid volume specification: '{text}'"))
}

/// `source:destination[:mode]`, or a destination alone.
pub(in crate::containers) fn parse_bind(text: &str) -> Result<MountPoint, EngineError> {
    let fields: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match fields.as_slice() {
        [destination] => ("", *destination, ""),
        [source, destination] => (*source, *destination, ""),
        [source, destination, mode] if !mode.is_empty() => (*source, *destination, *mode),
        _ => return Err(invalid_spec(text)),
    };
    if destination.is_empty() || (source.is_empty() && fields.len() > 1) {
        return Err(invalid_spec(text));
    }
    if !destination.starts_with('/') {
        return Err(EngineError::invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{}\": invalid mount path: '{destination}' mount path must be absolute",
            if source.starts_with('/') { "bind" } else { "volume" }
        )));
    }
    let kind = if source.starts_with('/') { MountKind::Bind } else { MountKind::Volume };
    let destination = clean(destination);
    if destination == "/" {
        return Err(EngineError::invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{}\": invalid specification: destination can't be '/'",
            kind.as_str()
        )));
    }
    let mut mount = MountPoint {
        kind,
        destination,
        rw: true,
        mode: mode.to_owned(),
        anonymous: source.is_empty(),
        ..MountPoint::default()
    };
    if kind == MountKind::Bind {
        mount.source = PathBuf::from(clean(source));
        mount.create_source = true;
    } else if !source.is_empty() {
        mount.name = Some(source.to_owned());
    }
    parse_mode(text, &mut mount)?;
    Ok(mount)
}

fn parse_mode(text: &str, mount: &mut MountPoint) -> Result<(), EngineError> {
    let mode = mount.mode.clone();
    let invalid =
        || EngineError::invalid(format!("invalid volume specification: '{text}': invalid mode: {mode}"));
    let (mut access, mut label, mut copy, mut propagation, mut consistency) = (0, 0, 0, 0, 0);
    for option in mode.split(',').filter(|_| !mode.is_empty()) {
        match option {
            "rw" | "ro" => {
                access += 1;
                mount.rw = option == "rw";
            }
            "z" | "Z" => label += 1,
            "nocopy" if mount.kind == MountKind::Volume => {
                copy += 1;
                mount.no_copy = true;
            }
            "consistent" | "cached" | "delegated" | "default" => consistency += 1,
            option if mount.kind == MountKind::Bind && PROPAGATIONS.contains(&option) => {
                propagation += 1;
                option.clone_into(&mut mount.propagation);
            }
            _ => return Err(invalid()),
        }
    }
    if [access, label, copy, propagation, consistency].iter().any(|&count| count > 1) {
        return Err(invalid());
    }
    Ok(())
}

/// The long form.
pub(in crate::containers) fn parse_long(long: &MountSpec) -> Result<MountPoint, EngineError> {
    let kind = long.kind.as_str();
    let invalid =
        |why: &str| EngineError::invalid(format!("invalid mount config for type \"{kind}\": {why}"));
    if long.target.is_empty() {
        return Err(invalid("field Target must not be empty"));
    }
    if !long.target.starts_with('/') {
        return Err(invalid(&format!("invalid mount path: '{}' mount path must be absolute", long.target)));
    }
    let destination = clean(&long.target);
    if destination == "/" {
        return Err(invalid("invalid specification: destination can't be '/'"));
    }
    let mut mount = MountPoint {
        kind: long.kind,
        destination,
        rw: !long.read_only,
        long_form: true,
        ..MountPoint::default()
    };
    match long.kind {
        MountKind::Bind => {
            if long.source.is_empty() {
                return Err(invalid("field Source must not be empty"));
            }
            if !long.source.starts_with('/') {
                return Err(invalid(&format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    long.source
                )));
            }
            if !long.propagation.is_empty() && !PROPAGATIONS.contains(&long.propagation.as_str()) {
                return Err(invalid(&format!("invalid propagation mode: {}", long.propagation)));
            }
            mount.source = PathBuf::from(clean(&long.source));
            mount.propagation.clone_from(&long.propagation);
            mount.non_recursive = long.non_recursive;
            mount.read_only_shallow = long.read_only_shallow;
            if long.read_only_forced {
                if long.read_only_shallow || long.non_recursive {
                    return Err(invalid(
                        "mount options conflict: read-only cannot be both recursive and not",
                    ));
                }
                if !long.read_only || !matches!(long.propagation.as_str(), "rprivate" | "private") {
                    return Err(invalid(
                        "BindOptions.ReadOnlyForceRecursive needs ReadOnly and propagation rprivate",
                    ));
                }
                if !super::read_only_goes_deep() {
                    return Err(invalid("recursive read-only mounts need Linux 5.12 or newer"));
                }
            }
            mount.create_source = long.create_mountpoint;
        }
        MountKind::Volume => {
            if !long.subpath.is_empty() {
                let path = clean(&long.subpath);
                if long.source.is_empty() {
                    return Err(invalid("must not set Subpath when using anonymous volumes"));
                }
                if long.subpath.starts_with('/') || path == ".." || path.starts_with("../") {
                    return Err(invalid("subpath must be a relative path within the volume"));
                }
                mount.subpath = path;
            }
            mount.anonymous = long.source.is_empty();
            mount.name = (!mount.anonymous).then(|| long.source.clone());
            mount.driver.clone_from(&long.driver);
            mount.no_copy = long.no_copy;
        }
        MountKind::Image => {
            if long.source.is_empty() {
                return Err(invalid("field Source must not be empty"));
            }
            if !long.subpath.is_empty() {
                let path = clean(&long.subpath);
                if long.subpath.starts_with('/') || path == ".." || path.starts_with("../") {
                    return Err(invalid("subpath must be a relative path within the volume"));
                }
                mount.subpath = path;
            }
            mount.name = Some(long.source.clone());
            // Docker's are never writable, whatever was asked for.
            mount.rw = false;
        }
        MountKind::Tmpfs => {
            if !long.source.is_empty() {
                return Err(invalid("field Source must not be specified"));
            }
            if long.tmpfs_size < 0 {
                return Err(invalid("invalid tmpfs size"));
            }
            mount.options.clone_from(&long.tmpfs_options);
            if long.tmpfs_size > 0 {
                mount.options.push(format!("size={}", long.tmpfs_size));
            }
            if long.tmpfs_mode != 0 {
                mount.options.push(format!("mode={:o}", long.tmpfs_mode));
            }
        }
    }
    Ok(mount)
}

/// `container[:ro|rw|z|Z]`.
pub(in crate::containers) fn parse_volumes_from(text: &str) -> Result<(&str, Option<&str>), EngineError> {
    let (name, mode) = match text.split_once(':') {
        Some((name, mode)) => (name, Some(mode)),
        None => (text, None),
    };
    if name.is_empty() {
        return Err(EngineError::invalid("volumes-from specification cannot be an empty string"));
    }
    match mode {
        None | Some("ro" | "rw" | "z" | "Z") => Ok((name, mode)),
        Some(mode) => Err(EngineError::invalid(format!("invalid mode: {mode}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_forms() {
        let bind = parse_bind("/a/../b:/c/:ro,z,rslave").unwrap();
        assert_eq!((bind.kind, bind.source.to_str().unwrap()), (MountKind::Bind, "/b"));
        assert_eq!((bind.destination.as_str(), bind.rw), ("/c", false));
        assert_eq!(bind.propagation, "rslave");
        let volume = parse_bind("data:/var/data:nocopy").unwrap();
        assert_eq!((volume.kind, volume.name.as_deref()), (MountKind::Volume, Some("data")));
        assert!(volume.no_copy && volume.rw && !volume.anonymous);
        let anonymous = parse_bind("/var/data").unwrap();
        assert!(anonymous.anonymous && anonymous.name.is_none());
    }

    #[test]
    fn bad_short_forms_say_what_is_wrong() {
        for (text, part) in [
            ("", "invalid volume specification: ''"),
            (":", "invalid volume specification"),
            ("a:", "invalid volume specification"),
            (":/a", "invalid volume specification"),
            ("a:/b:", "invalid volume specification"),
            ("a:/b:ro:x", "invalid volume specification"),
            ("a:/", "destination can't be '/'"),
            ("/a:/b/..", "destination can't be '/'"),
            ("a:b", "mount path must be absolute"),
            ("a:/b:rx", "invalid mode: rx"),
            ("a:/b:ro,rw", "invalid mode: ro,rw"),
            ("a:/b:shared", "invalid mode: shared"),
            ("/a:/b:nocopy", "invalid mode: nocopy"),
            ("/a:/b:shared,private", "invalid mode"),
        ] {
            let error = parse_bind(text).unwrap_err();
            assert!(error.message.contains(part), "{text}: {}", error.message);
        }
    }

    #[test]
    fn long_forms() {
        let base = MountSpec { target: "/x".to_owned(), ..MountSpec::default() };
        let error = parse_long(&base).unwrap_err().message;
        assert_eq!(error, "invalid mount config for type \"bind\": field Source must not be empty");
        let sub = MountSpec {
            kind: MountKind::Volume,
            source: "v".to_owned(),
            subpath: "a/../../b".to_owned(),
            ..base.clone()
        };
        assert!(parse_long(&sub).unwrap_err().message.contains("relative path within the volume"));
        let tmpfs = MountSpec { kind: MountKind::Tmpfs, tmpfs_size: 64, tmpfs_mode: 0o700, ..base };
        assert_eq!(parse_long(&tmpfs).unwrap().options, ["size=64", "mode=700"]);
    }

    #[test]
    fn volumes_from() {
        assert_eq!(parse_volumes_from("c").unwrap(), ("c", None));
        assert_eq!(parse_volumes_from("c:ro").unwrap(), ("c", Some("ro")));
        assert_eq!(parse_volumes_from("c:x").unwrap_err().message, "invalid mode: x");
        parse_volumes_from(":ro").unwrap_err();
    }

    proptest! {
        #[test]
        fn cleaning_never_leaves_the_root(path in "(/|[a-c.]){0,20}") {
            let cleaned = clean(&format!("/{path}"));
            prop_assert!(cleaned.starts_with('/'));
            prop_assert!(!cleaned.split('/').any(|part| part == ".." || part == "."));
            prop_assert_eq!(clean(&cleaned), cleaned);
        }

        #[test]
        fn what_parses_has_a_clean_absolute_destination(text in "[a-z/.:,]{0,24}") {
            if let Ok(mount) = parse_bind(&text) {
                prop_assert!(mount.destination.starts_with('/') && mount.destination.len() > 1);
            }
        }
    }
}
