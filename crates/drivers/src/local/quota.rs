use std::{io, path::Path};

/// Disk quotas for directories, as ext4 and xfs have them by project. Handed in, since setting them takes system
/// calls that only one crate of this workspace may make.
pub trait Quotas: Send + Sync + 'static {
    /// Whether directories below `root` can be limited.
    fn available(&self, root: &Path) -> bool;

    /// Makes the empty directory `dir`, and all that will ever be in it, part of `project`, which may hold
    /// `bytes` bytes.
    fn limit(&self, dir: &Path, project: u32, bytes: u64) -> io::Result<()>;
}
