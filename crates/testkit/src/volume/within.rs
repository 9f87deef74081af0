use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Whether `inner` is `outer` or below it, whatever the paths look like: by what is there, from `inner` upwards. Paths
/// that lead into another mount namespace cannot be compared as texts.
pub(super) fn is_within(inner: &Path, outer: &Path) -> bool {
    let Ok(outer) = identity(outer) else { return false };
    let mut at = PathBuf::from(inner);
    let mut before = None;
    while let Ok(here) = identity(&at) {
        if here == outer {
            return true;
        }
        if before == Some(here) {
            return false;
        }
        before = Some(here);
        at.push("..");
    }
    false
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_is_told_from_beside() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::create_dir(at("ab")).unwrap();
        std::os::unix::fs::symlink("a", at("link")).unwrap();
        assert!(is_within(&at("a/b"), &at("a")));
        assert!(is_within(&at("link/b"), &at("a")));
        assert!(is_within(&at("a"), &at("ab/../a")));
        assert!(!is_within(&at("ab"), &at("a")));
        assert!(!is_within(&at("a"), &at("a/b")));
        assert!(!is_within(&at("none"), &at("a")));
    }
}
