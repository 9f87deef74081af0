use std::{io, path::Path};

/// Disk quotas for directories, as ext4 and xfs have them by project. Handed in, since setting them takes system
/// calls that only one crate of this workspace may make.
pub trait Quotas: Send + Sync + 'static {
    /// Whether directories below `root` can be limited; the error says why not, for people.
    fn check(&self, root: &Path) -> Result<(), String>;

    /// Whether somebody, maybe another program, uses `project` on the file system of `root`.
    fn is_used(&self, root: &Path, project: u32) -> io::Result<bool>;

    /// Makes the directory `dir`, and all that is and will ever be in it, part of `project`, which may hold `bytes`
    /// bytes.
    fn limit(&self, dir: &Path, project: u32, bytes: u64) -> io::Result<()>;

    /// The project that `dir` is part of, if any.
    fn project(&self, dir: &Path) -> io::Result<Option<u32>>;

    /// Whether `dir` is part of `project` and that may hold `bytes` bytes, as [`Quotas::limit`] makes it.
    fn holds(&self, dir: &Path, project: u32, bytes: u64) -> io::Result<bool>;

    /// Forgets the limit of a project whose directory is gone.
    fn release(&self, root: &Path, project: u32) -> io::Result<()>;
}
