//! Who else could have written a file that root is about to run or obey.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The folder or file on the way to `path` that another user could change, if there is one. `path` has no links.
///
/// A folder such as `/tmp`, where everybody writes but only owners rename, is safe for what root made in it.
pub(super) fn stranger(path: &Path) -> io::Result<Option<PathBuf>> {
    let own = rustix::process::geteuid().as_raw();
    for (depth, place) in path.ancestors().enumerate() {
        let meta = fs::symlink_metadata(place)?;
        let sticky = depth > 0 && meta.mode() & 0o1000 != 0;
        let others = meta.mode() & 0o002 != 0 || meta.mode() & 0o020 != 0 && meta.gid() != 0;
        if (meta.uid() != 0 && meta.uid() != own) || (others && !sticky) {
            return Ok(Some(place.to_owned()));
        }
    }
    Ok(None)
}
