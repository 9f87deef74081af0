use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
};

use arc_swap::ArcSwap;
use pintle_image::{Digest, Images};
use pintle_store::{Store, Table};
use tokio_util::task::TaskTracker;

use super::{
    content::Contents,
    launch::Launcher,
    names,
    paths::Paths,
    record::Record,
    shared::{Managed, View},
};
use crate::{
    EventSink, HostConfig, HostError, PluginAction, PluginEvent, PluginNetworks, arrivals::Roster,
    lease::Leases,
};

/// What every managed plugin's owner needs.
pub(crate) struct Context {
    pub(crate) config: HostConfig,
    pub(crate) paths: Paths,
    pub(crate) store: Store,
    pub(crate) table: Table<Record>,
    pub(crate) images: Images,
    pub(crate) contents: Contents,
    pub(crate) launcher: Launcher,
    pub(crate) leases: Leases,
    pub(crate) roster: Roster,
    pub(crate) events: EventSink,
    pub(crate) owners: TaskTracker,
    /// Which plugins are restarted when they do not answer.
    pub(crate) impatience: ArcSwap<Vec<String>>,
    pub(crate) plugins: RwLock<BTreeMap<String, Arc<Managed>>>,
    /// Who makes networks, once that is known.
    pub(crate) networks: Arc<OnceLock<Arc<dyn PluginNetworks>>>,
    /// Held while networks are chosen, so that two choices that each are fine make no cycle.
    pub(crate) choosing: Mutex<()>,
}

impl Context {
    pub(crate) fn save(&self, record: &Record) -> Result<(), HostError> {
        Ok(self.table.put(&record.id, record)?)
    }

    /// Stores the record and, together with it, which blobs it needs.
    pub(crate) fn save_with_blobs(&self, record: &Record) -> Result<(), HostError> {
        let blobs = record.blobs();
        Ok(self.store.write(|transaction| {
            transaction.put(&self.table, &record.id, record)?;
            self.images.blobs().hold_in(transaction, &Record::holder(&record.id), &blobs)
        })?)
    }

    /// Removes the record, and the plugin from the list. This is the point of no return; its claim on blobs is
    /// ended next, or by [`Context::release_strangers`] if there is no next.
    pub(crate) fn forget(&self, record: &Record) -> Result<(), HostError> {
        self.table.delete(&record.id)?;
        self.plugins.write().unwrap_or_else(PoisonError::into_inner).remove(&record.id);
        self.leases.forget(&record.id);
        if let Err(error) = self.images.blobs().release(&Record::holder(&record.id)) {
            tracing::warn!(%error, "blobs of a removed plugin are left");
        }
        Ok(())
    }

    /// Ends the claims of plugins that there is no record of.
    pub(crate) fn release_strangers(&self, known: &[String]) -> Result<(), HostError> {
        for holder in self.images.blobs().holders()?.into_keys() {
            let stranger =
                holder.strip_prefix("plugin/").is_some_and(|id| !known.iter().any(|known| known == id));
            if stranger {
                self.images.blobs().release(&holder)?;
            }
        }
        Ok(())
    }

    /// Removes those of these blobs that nobody holds any more.
    pub(crate) fn drop_blobs(&self, blobs: Vec<Digest>) {
        if let Err(error) = self.images.blobs().collect(blobs) {
            tracing::warn!(%error, "blobs that no plugin needs are left");
        }
    }

    /// Removes unpacked layers that no plugin needs any more.
    pub(crate) async fn collect(&self) {
        let records = match self.table.list() {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(%error, "unpacked layers are not collected, since the records cannot be read");
                return;
            }
        };
        let used: BTreeSet<String> = records
            .iter()
            .flat_map(|(_, record)| record.blobs())
            .map(|digest| digest.hex().to_owned())
            .collect();
        let contents = self.contents.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || contents.collect(&used)).await {
            tracing::warn!(%error, "unpacked layers are not collected");
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Managed>> {
        self.plugins.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A plugin by full id, exact name or unique id prefix.
    pub(crate) fn find(&self, text: &str) -> Result<Arc<Managed>, HostError> {
        let all: Vec<(Arc<Managed>, Arc<View>)> =
            self.all().into_iter().map(|managed| (Arc::clone(&managed), managed.view())).collect();
        let known = all.iter().map(|(_, view)| names::Named {
            id: &view.record.id,
            name: &view.record.name,
            origin: &view.record.reference,
        });
        let id = names::find(text, known)?;
        let found = all.into_iter().find(|(_, view)| view.record.id == id);
        found.map(|(managed, _)| managed).ok_or_else(|| HostError::NotFound(text.to_owned()))
    }

    /// Whether a plugin that does not answer is restarted.
    pub(crate) fn restarts_unhealthy(&self, name: &str) -> bool {
        let same = |listed: &String| {
            listed == "*" || names::local(listed).is_ok_and(|listed| listed.familiar() == name)
        };
        self.impatience.load().iter().any(same)
    }

    /// Reports what happened to a plugin, under the name that the client typed.
    pub(crate) fn emit(&self, action: PluginAction, id: &str, typed: &str) {
        self.emit_with(action, id, typed, []);
    }

    /// The same, and more about it.
    pub(crate) fn emit_with(
        &self,
        action: PluginAction,
        id: &str,
        typed: &str,
        more: impl IntoIterator<Item = (String, String)>,
    ) {
        tracing::info!(plugin = typed, id, "plugin {}", action.as_str());
        let mut attributes = BTreeMap::from([("name".to_owned(), typed.to_owned())]);
        attributes.extend(more);
        (self.events)(PluginEvent { action, id: id.to_owned(), name: typed.to_owned(), attributes });
    }

    /// Docker's `pull` is about the remote reference, not the plugin.
    pub(crate) fn emit_pull(&self, remote: &str, name: &str) {
        self.emit(PluginAction::Pull, remote, name);
    }
}
