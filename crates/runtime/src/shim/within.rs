//! Execs in a container with a user namespace.
//!
//! The embedded runtime has a further process join every namespace of its container but that one: it would be root of
//! the host, with the host's ids. So the runtime is told to leave it root without groups, and the launcher, which comes
//! last, takes it into the namespace and makes it who it is to be there.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use libcontainer::oci_spec::runtime::{Process, User};
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities};

use crate::bundle::CapabilityMasks;
use crate::error::{IoContext, RuntimeError};

/// The way into a container's user namespace, and who goes it.
#[derive(Clone)]
pub(crate) struct Within {
    namespace: Rc<File>,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// What the host calls this user, if it has a number there.
    outside: Option<u32>,
}

impl Within {
    /// Takes the user out of a process that is to join the container of process `init`. None: it has our own namespace.
    pub(crate) fn take(init: i32, process: &mut Process) -> Result<Option<Self>, RuntimeError> {
        let open = |path: &str| File::open(path).context(|| format!("opening {path}"));
        let path = format!("/proc/{init}/ns/user");
        let (namespace, own) = (open(&path)?, open("/proc/self/ns/user")?);
        let identity = |file: &File| file.metadata().map(|data| (data.dev(), data.ino()));
        if identity(&namespace).context(|| format!("looking at {path}"))?
            == identity(&own).context(|| "looking at our user namespace".into())?
        {
            return Ok(None);
        }
        let map = format!("/proc/{init}/uid_map");
        let map = std::fs::read_to_string(&map).context(|| format!("reading {map}"))?;
        let user = process.user().clone();
        let within = Self {
            namespace: Rc::new(namespace),
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            outside: outside(&map, user.uid()),
        };
        let mut root = User::default();
        root.set_umask(user.umask());
        process.set_user(root);
        Ok(Some(within))
    }

    /// What the host calls the user.
    pub(crate) fn outside(&self) -> Option<u32> {
        self.outside
    }

    /// Goes in. What is left are the capabilities asked for, there, and those that the launcher's last step takes.
    pub(crate) fn enter(&self, want: CapabilityMasks) -> io::Result<()> {
        setns(&*self.namespace, CloneFlags::CLONE_NEWUSER)?;
        if !self.groups.is_empty() {
            setgroups(&self.groups.iter().copied().map(Gid::from_raw).collect::<Vec<_>>())?;
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        setresgid(gid, gid, gid)?;
        set_keep_capabilities(true)?;
        setresuid(uid, uid, uid)?;
        set_keep_capabilities(false)?;
        let last = CapabilitySet::SETPCAP | CapabilitySet::SYS_ADMIN;
        let effective = CapabilitySet::from_bits_retain(want.effective) | last;
        let permitted = CapabilitySet::from_bits_retain(want.permitted) | effective;
        let sets = CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() };
        Ok(set_capabilities(None, sets)?)
    }
}

/// Looks an id up in a `uid_map`.
fn outside(map: &str, id: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u32>().ok());
        let (inside, outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let offset = id.checked_sub(inside).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_looked_up_in_a_map() {
        let map = "         0     100000       1000\n      1000          7          1\n";
        assert_eq!(
            [0, 999, 1000, 1001].map(|id| outside(map, id)),
            [Some(100_000), Some(100_999), Some(7), None]
        );
        assert_eq!(outside("0 0 4294967295", 5), Some(5));
    }
}
