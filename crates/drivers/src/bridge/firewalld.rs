//! Beside firewalld, which rejects what is forwarded from interfaces that it knows nothing of: ours are put into its
//! zone `trusted`, as long as it runs. What enters and leaves is decided by our own table.

use std::{
    collections::HashSet,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use pintle_contract::DriverError;
use pintle_netlink::{
    LinkName, Namespace,
    nft::{Family, Ident, Nft},
};

#[derive(Debug)]
pub(super) struct Firewalld {
    nft: Nft,
    host: Namespace,
    /// `firewall-cmd`, or what stands for it.
    program: PathBuf,
    table: Ident,
    chain: Ident,
    trusted: Mutex<HashSet<LinkName>>,
}

impl Firewalld {
    pub(super) fn new(nft: Nft, host: Namespace, program: PathBuf) -> Result<Self, DriverError> {
        let (table, chain) = ("firewalld".parse()?, "filter_FORWARD".parse()?);
        Ok(Self { nft, host, program, table, chain, trusted: Mutex::default() })
    }

    fn trusted(&self) -> MutexGuard<'_, HashSet<LinkName>> {
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it trust these bridges, and no others of ours. What it refuses is logged: containers work without it as far
    /// as they can.
    pub(super) fn trust(&self, bridges: &[LinkName]) -> Result<(), DriverError> {
        if self.nft.look_up(Family::Inet, &self.table, &self.chain)?.is_none() {
            self.forget();
            return Ok(());
        }
        let (new, gone): (Vec<LinkName>, Vec<LinkName>) = {
            let trusted = self.trusted();
            let new = bridges.iter().filter(|bridge| !trusted.contains(*bridge)).cloned().collect();
            (new, trusted.iter().filter(|bridge| !bridges.contains(bridge)).cloned().collect())
        };
        for bridge in new {
            if self.tell("--change-interface", &bridge) {
                self.trusted().insert(bridge);
            }
        }
        for bridge in gone {
            self.tell("--remove-interface", &bridge);
            self.trusted().remove(&bridge);
        }
        Ok(())
    }

    /// Takes nothing for granted the next time: it may have been started anew.
    pub(super) fn forget(&self) {
        self.trusted().clear();
    }

    fn tell(&self, what: &str, bridge: &LinkName) -> bool {
        let run = || {
            Command::new(&self.program)
                .arg("--zone=trusted")
                .arg(format!("{what}={bridge}"))
                .stdin(Stdio::null())
                .output()
        };
        let said = match self.host.run(run) {
            Ok(Ok(output)) if output.status.success() => return true,
            Ok(Ok(output)) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(%bridge, said, "firewalld does not take the bridge into its zone trusted");
        false
    }
}
