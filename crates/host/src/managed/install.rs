//! Installing: from an archive, from a registry; and upgrading.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pintle_image::{Auth, Digest, Progress, Reference};
use pintle_store::failpoint;
use pintle_wire::config::Privilege;
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use super::{
    command::Command,
    content::{Pin, make_private_dir, random_hex},
    grants::{self, Grants},
    names, owner,
    package::{self, Offer},
    plugins::Plugins,
    record::{Package, Record},
};
use crate::{HostError, PluginAction};

/// How long the privileges that a user was shown count.
const PROMPT: Duration = Duration::from_secs(15 * 60);

/// Names that an installation under way will take, and manifests whose privileges were shown.
#[derive(Default)]
pub(crate) struct Pending {
    names: Mutex<HashSet<String>>,
    shown: Mutex<HashMap<String, Vec<(Digest, Instant)>>>,
}

/// A name that nobody else may take meanwhile.
struct Reservation {
    pending: Arc<Pending>,
    name: String,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        lock(&self.pending.names).remove(&self.name);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pending {
    fn show(&self, remote: &Reference, digest: &Digest) {
        let mut shown = lock(&self.shown);
        let entry = shown.entry(remote.canonical()).or_default();
        entry.retain(|(_, when)| when.elapsed() < PROMPT);
        entry.push((digest.clone(), Instant::now()));
        // A client that asks and asks must not fill the memory.
        let surplus = entry.len().saturating_sub(16);
        entry.drain(..surplus);
        shown.retain(|_, entry| entry.iter().any(|(_, when)| when.elapsed() < PROMPT));
    }

    /// Refuses if privileges of `remote` were shown, and those of another manifest. What was shown counts once.
    fn accept(&self, remote: &Reference, digest: &Digest) -> Result<(), HostError> {
        let Some(mut shown) = lock(&self.shown).remove(&remote.canonical()) else { return Ok(()) };
        shown.retain(|(_, when)| when.elapsed() < PROMPT);
        if shown.is_empty() || shown.iter().any(|(known, _)| known == digest) {
            return Ok(());
        }
        Err(HostError::Privileges(format!(
            "incorrect privileges: {} is now {digest}, not what its privileges were read from; ask for them again",
            remote.familiar()
        )))
    }
}

impl Plugins {
    fn reserve(&self, name: &Reference) -> Result<Reservation, HostError> {
        let name = name.familiar();
        let taken = self.context.all().iter().any(|plugin| plugin.view().record.name == name);
        // Held from here to the drop; the plugin is in the list before.
        if taken || !lock(&self.pending.names).insert(name.clone()) {
            return Err(HostError::Exists(name));
        }
        let reservation = Reservation { pending: Arc::clone(&self.pending), name };
        let taken = self.context.all().iter().any(|plugin| plugin.view().record.name == reservation.name);
        if taken { Err(HostError::Exists(reservation.name.clone())) } else { Ok(reservation) }
    }

    pub(crate) async fn create(
        &self,
        typed: &str,
        archive: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<String, HostError> {
        let name = names::local(typed)?;
        let reservation = self.reserve(&name)?;
        let (images, contents) = (self.context.images.clone(), self.context.contents.clone());
        let scratch = self.context.paths.plugins().to_owned();
        let archive = SyncIoBridge::new(archive);
        let made = tokio::task::spawn_blocking(move || {
            make_private_dir(&scratch)?;
            package::create(&images, &contents, &scratch, archive)
        });
        let (package, pin) =
            made.await.map_err(|error| HostError::io("reading the plugin archive", error))??;
        failpoint!("host.create.unpacked");
        let id = self.add(&reservation, String::new(), package, pin)?;
        self.context.emit(PluginAction::Create, &id, &name.familiar());
        Ok(id)
    }

    /// Stores a package as a new plugin. This is the moment from which it exists.
    fn add(
        &self,
        reservation: &Reservation,
        reference: String,
        package: Package,
        pin: Pin,
    ) -> Result<String, HostError> {
        let id = random_hex(32);
        make_private_dir(&self.context.paths.plugin(&id))?;
        failpoint!("host.install.prepared");
        let record = Record {
            id: id.clone(),
            name: reservation.name.clone(),
            reference,
            package,
            overrides: Vec::new(),
            networks: Vec::new(),
            wanted: false,
            acknowledged: false,
            proven: false,
            timeout: None,
            restarts: 0,
            unhealthy_restarts: 0,
            last_error: None,
            exit_code: None,
            grants: Grants::new(),
            previous: None,
        };
        if let Err(error) = self.context.save_with_blobs(&record) {
            let _ = std::fs::remove_dir_all(self.context.paths.plugin(&id));
            return Err(error);
        }
        failpoint!("host.install.stored");
        drop(pin);
        let managed = owner::spawn(&self.context, record);
        self.context.plugins.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), managed);
        Ok(id)
    }

    pub(crate) async fn privileges(&self, remote: &str, auth: &Auth) -> Result<Vec<Privilege>, HostError> {
        let (remote, _) = names::remote(remote)?;
        let offer = package::inspect(&self.context.images, &self.context.contents, &remote, auth).await?;
        self.pending.show(&remote, &offer.manifest_digest);
        Ok(offer.privileges())
    }

    /// The offer at `remote`, if it is what the user was shown and granted.
    async fn accepted(
        &self,
        remote: &Reference,
        granted: &[Privilege],
        auth: &Auth,
    ) -> Result<Offer, HostError> {
        let offer = package::inspect(&self.context.images, &self.context.contents, remote, auth).await?;
        self.pending.accept(remote, &offer.manifest_digest)?;
        package::check_privileges(&offer, granted)?;
        Ok(offer)
    }

    pub(crate) async fn pull(
        &self,
        remote: &str,
        name: Option<&str>,
        granted: &[Privilege],
        auth: &Auth,
        progress: &Progress,
    ) -> Result<String, HostError> {
        let (remote, default_name) = names::remote(remote)?;
        let name = match name.filter(|name| !name.is_empty()) {
            Some(name) => names::alias(name)?,
            None => default_name.clone(),
        };
        let reservation = self.reserve(&name)?;
        let offer = self.accepted(&remote, granted, auth).await?;
        failpoint!("host.pull.accepted");
        let (images, contents) = (&self.context.images, &self.context.contents);
        let (package, pin) = package::fetch(images, contents, &remote, auth, offer, progress).await?;
        failpoint!("host.pull.unpacked");
        let id = self.add(&reservation, default_name.canonical(), package, pin)?;
        self.context.emit_pull(&remote.familiar(), &name.familiar());
        Ok(id)
    }

    pub(crate) async fn upgrade(
        &self,
        typed: &str,
        remote: &str,
        granted: &[Privilege],
        auth: &Auth,
        progress: &Progress,
    ) -> Result<(), HostError> {
        let managed = self.find(typed)?;
        let view = managed.view();
        // Refused before anything is downloaded, and once more by the owner.
        if view.record.wanted && view.running.is_some() {
            return Err(HostError::EnabledUpgrade(view.record.name.clone()));
        }
        let (remote, default_name) = names::remote(remote)?;
        let offer = self.accepted(&remote, granted, auth).await?;
        if let Some(loaded) = &view.loaded {
            grants::check_upgrade(&view.record, loaded, &offer.config, offer.privileges())?;
        }
        let (images, contents) = (&self.context.images, &self.context.contents);
        let (package, pin) = package::fetch(images, contents, &remote, auth, offer, progress).await?;
        failpoint!("host.upgrade.unpacked");
        let reference = default_name.canonical();
        self.ask(typed, &managed, |reply| Command::Upgrade {
            package: Box::new(package),
            reference,
            pin,
            reply,
        })
        .await?;
        self.context.emit_pull(&remote.familiar(), &view.record.name);
        Ok(())
    }
}
