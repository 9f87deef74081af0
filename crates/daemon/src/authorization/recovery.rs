//! The way in for the host's root while nobody can be asked.
//!
//! Authorizers that are down refuse everything, their own repair included. Where the configuration names a socket for
//! it (`authorization-recovery-socket`), processes of user 0 in this engine's PID name space are not judged there, and
//! each of their requests is recorded.

use std::path::Path;

use crate::{
    http::call::Head,
    peer::{Peer, Process},
};

/// Whether a client may come in this way, or why not. A container's root that found the socket is not the host's.
pub(crate) fn admit(peer: &Peer) -> Result<(), String> {
    let Some(Process { uid, pid, .. }) = peer.process else {
        return Err("the kernel does not say who it is".to_owned());
    };
    if uid != 0 {
        return Err(format!("its process {pid} is of user {uid}, not root"));
    }
    let space = |process: &str| std::fs::read_link(Path::new("/proc").join(process).join("ns/pid")).ok();
    match (space("self"), space(&pid.to_string())) {
        (Some(ours), Some(its)) if ours == its => Ok(()),
        _ => Err(format!("its process {pid} is not in the engine's PID name space: it is a container's")),
    }
}

/// Records a request that nobody judged.
pub(super) fn record(head: &Head) {
    let process = head.peer.process;
    tracing::warn!(
        method = %head.method,
        uri = %head.uri,
        uid = process.map(|process| process.uid),
        gid = process.map(|process| process.gid),
        pid = process.map(|process| process.pid),
        "a request on the recovery socket was carried out without authorization"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, pid: u32) -> Peer {
        Peer { process: Some(Process { uid, gid: 0, pid }), ..Peer::default() }
    }

    #[test]
    fn only_the_hosts_root_comes_in() {
        admit(&peer(0, std::process::id())).unwrap();
        assert!(admit(&peer(1000, std::process::id())).unwrap_err().contains("user 1000"));
        assert!(admit(&peer(0, 0)).unwrap_err().contains("PID name space"));
        admit(&Peer::default()).unwrap_err();
    }
}
