//! What an owner does to a plugin that does not run: change its settings, replace its version, erase it, and
//! recover it after a crash.

use std::fs;

use pintle_store::failpoint;
use pintle_wire::config::{apply_set, merge_settings};
use tokio_util::sync::CancellationToken;

use super::{
    grants,
    launch::blocking,
    mounts, networking,
    owner::Owner,
    record::{Loaded, Package, Previous, Record},
    state::{Event, State},
};
use crate::HostError;

impl Owner {
    fn is_down(&self) -> bool {
        matches!(self.state, State::Down | State::BackingOff { .. })
    }

    /// Changes settings, all of them or none. A plugin that is wanted and down is tried with them at once.
    pub(super) async fn set(&mut self, args: &[String], grant: bool) -> Result<(), HostError> {
        if !self.is_down() {
            let text = "cannot set on an active plugin, disable plugin before setting";
            return Err(HostError::Setting(text.into()));
        }
        let Some(loaded) = &self.loaded else {
            return Err(HostError::Setting(self.record.last_error.clone().unwrap_or_default()));
        };
        let mut changed = loaded.clone();
        let (networks, args) = networking::split(args);
        apply_set(&changed.config, &mut changed.settings, &args)
            .map_err(|error| HostError::Setting(error.to_string()))?;
        let grants = grants::settle(&self.record, &changed, grant)?;
        let before = (
            std::mem::replace(&mut self.record.overrides, changed.overrides()),
            std::mem::replace(&mut self.record.grants, grants),
        );
        let stored = match &networks {
            Some(networks) => self.set_networks(networks),
            None => self.save(),
        };
        if let Err(error) = stored {
            (self.record.overrides, self.record.grants) = before;
            return Err(error);
        }
        failpoint!("host.set.stored");
        self.loaded = Some(changed);
        self.publish();
        if self.record.wanted {
            self.apply(Event::Enable).await;
        }
        Ok(())
    }

    /// Replaces the version. One that came up before must come up with the new version too, or the old one is
    /// put back; a new version that only lacks settings of the user's is kept.
    pub(super) async fn upgrade(&mut self, package: Package, reference: String) -> Result<(), HostError> {
        if !self.is_down() {
            return Err(HostError::EnabledUpgrade(self.record.name.clone()));
        }
        let mut next = upgraded(&self.record, self.loaded.as_ref(), package, reference)?;
        let loaded = Loaded::new(&next)?;
        // From here on a crash puts the old version back, until the new one has proved itself.
        self.context.save_with_blobs(&next)?;
        failpoint!("host.upgrade.stored");
        std::mem::swap(&mut self.record, &mut next);
        self.loaded = Some(loaded);
        if self.state != State::Down {
            // Ends the pause without changing what is wanted.
            self.apply(Event::Disable).await;
        }
        if let Err(failure) = self.try_out().await {
            self.put_back().await?;
            if self.record.wanted {
                self.apply(Event::Enable).await;
            }
            return Err(HostError::Start(format!(
                "the new version of plugin {} did not start, so the old one was put back: {failure}",
                self.record.name
            )));
        }
        let replaced =
            self.record.previous.take().map(|previous| previous.package.blobs()).unwrap_or_default();
        self.context.save_with_blobs(&self.record)?;
        failpoint!("host.upgrade.settled");
        self.context.drop_blobs(replaced);
        self.keep_generations().await;
        if self.record.wanted {
            let event = if self.running.is_some() { Event::Attached } else { Event::Enable };
            self.apply(event).await;
        }
        Ok(())
    }

    /// Undoes an upgrade that has not been settled.
    async fn put_back(&mut self) -> Result<(), HostError> {
        let refused = self.record.package.blobs();
        self.record.roll_back();
        self.loaded = Some(Loaded::new(&self.record)?);
        self.context.save_with_blobs(&self.record)?;
        self.context.drop_blobs(refused);
        self.keep_generations().await;
        Ok(())
    }

    /// Starts the version, leaves it running if the plugin is wanted, and stops it again otherwise.
    async fn try_out(&mut self) -> Result<(), HostError> {
        let Some(version) = self.version().filter(|_| self.record.proven) else { return Ok(()) };
        let cancel = CancellationToken::new();
        match self.context.launcher.launch(&version, self.limit(), &cancel).await {
            Ok(running) if self.record.wanted => self.install(running),
            Ok(_) => {
                failpoint!("host.upgrade.tried");
                self.context.launcher.stop(&self.record.id, &version.loaded.config).await?;
            }
            Err(failure) if failure.is_for_the_user() => {}
            Err(failure) => return Err(HostError::Start(failure.to_string())),
        }
        Ok(())
    }

    async fn keep_generations(&mut self) {
        let (contents, id) = (self.context.contents.clone(), self.record.id.clone());
        let mut keep = vec![self.record.package.generation];
        keep.extend(self.record.previous.iter().map(|previous| previous.package.generation));
        let cleared = blocking(move || {
            contents.keep_generations(&id, &keep);
            Ok(())
        });
        if let Err(error) = cleared.await {
            tracing::warn!(plugin = self.record.name, %error, "an old version's files are left");
        }
    }

    /// Removes the record, then everything that it named. A crash in between is finished at the next boot.
    pub(super) async fn erase(&mut self) -> Result<(), HostError> {
        let config = self.loaded.as_ref().map(|loaded| (*loaded.config).clone()).unwrap_or_default();
        // While anything of it is left, the record stays to tell of it.
        self.context.launcher.stop(&self.record.id, &config).await?;
        failpoint!("host.remove.stopped");
        self.context.forget(&self.record)?;
        failpoint!("host.remove.forgotten");
        let (dir, aside) =
            (self.context.paths.plugin(&self.record.id), self.context.paths.removing(&self.record.id));
        let removed = blocking(move || {
            mounts::unmount_below(&dir)?;
            if dir.exists() {
                fs::rename(&dir, &aside)?;
                failpoint!("host.remove.renamed");
                fs::remove_dir_all(&aside)?;
            }
            Ok(())
        });
        if let Err(error) = removed.await {
            tracing::warn!(plugin = self.record.name, %error, "the directory of a removed plugin is left for the next boot");
        }
        self.context.collect().await;
        Ok(())
    }

    /// Finishes or undoes what a crash interrupted.
    pub(super) async fn recover(&mut self) -> Result<(), HostError> {
        if self.record.previous.is_some() {
            tracing::warn!(
                plugin = self.record.name,
                "an upgrade was interrupted; the old version is put back"
            );
            self.context.launcher.clear(&self.record.id).await?;
            self.put_back().await?;
            self.context.collect().await;
        } else {
            self.keep_generations().await;
        }
        if !self.record.wanted
            && let Some(loaded) = &self.loaded
        {
            self.context.launcher.stop(&self.record.id, &loaded.config).await?;
        }
        Ok(())
    }
}

/// The record after an upgrade. Refused if a setting that is carried over goes beyond what the new version was granted.
pub(super) fn upgraded(
    record: &Record,
    loaded: Option<&Loaded>,
    mut package: Package,
    reference: String,
) -> Result<Record, HostError> {
    let config = package.parse()?;
    let mut next = record.clone();
    package.generation = next.package.generation + 1;
    next.previous = Some(Previous {
        package: std::mem::replace(&mut next.package, package),
        overrides: record.overrides.clone(),
        grants: record.grants.clone(),
        reference: std::mem::replace(&mut next.reference, reference),
    });
    if let Some(old) = loaded {
        let settings = merge_settings(&old.config, &old.settings, &config);
        let new = Loaded { config: config.into(), settings };
        next.grants = grants::settle(&next, &new, false)?;
        next.overrides = new.overrides();
    }
    Ok(next)
}
