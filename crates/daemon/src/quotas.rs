//! Disk quotas of this machine's file systems, for the drivers that limit directories.

use std::{io, path::Path};

use pintle_drivers::local::Quotas;
use pintle_runtime::quota;

/// The kernel's project quota.
pub(crate) struct ProjectQuotas;

impl Quotas for ProjectQuotas {
    fn check(&self, root: &Path) -> Result<(), String> {
        let enforced = quota::is_enforced(root);
        let root = root.display();
        match enforced {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!(
                "the file system of {root} does not enforce project quota: it needs xfs mounted with prjquota, or ext4 \
                 with the features quota and project, mounted with prjquota"
            )),
            Err(error) => Err(format!("asking for the quota of {root}: {error}")),
        }
    }

    fn is_used(&self, root: &Path, project: u32) -> io::Result<bool> {
        Ok(!quota::usage(root, project)?.is_free())
    }

    fn limit(&self, dir: &Path, project: u32, bytes: u64) -> io::Result<()> {
        // What is there already counts before there is a limit: it may be more than that.
        if quota::project(dir)? != Some(project) {
            quota::assign(dir, project)?;
        }
        quota::set_limit(dir, project, bytes)
    }

    fn project(&self, dir: &Path) -> io::Result<Option<u32>> {
        quota::project(dir)
    }

    fn holds(&self, dir: &Path, project: u32, bytes: u64) -> io::Result<bool> {
        // The kernel counts in KiB.
        Ok(quota::project(dir)? == Some(project)
            && quota::usage(dir, project)?.limit == bytes.next_multiple_of(1024))
    }

    fn release(&self, root: &Path, project: u32) -> io::Result<()> {
        quota::set_limit(root, project, 0)
    }
}
