//! Lists, sizes and pruning.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use chrono::Utc;

use super::{
    Container, Containers, ListOptions, Pruned, Size,
    filter::{self, Filter, World},
    service::{Shared, blocking},
};
use crate::{EngineError, ErrorKind};

impl Containers {
    /// Containers, newest first, with sizes if asked for. Waits for no container and no plugin.
    pub async fn list(
        &self,
        options: ListOptions,
    ) -> Result<Vec<(Arc<Container>, Option<Size>)>, EngineError> {
        let filter = Filter::new(&options.filters)?;
        let all = options.all || options.limit > 0 || filter.wants_all();
        let mut found = self.shared.matching(&filter)?;
        found.retain(|container| all || container.life.is_running());
        found.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        if options.limit > 0 {
            found.truncate(options.limit);
        }
        let mut listed = Vec::with_capacity(found.len());
        for container in found {
            let size = if options.size { Some(self.size(&container.id).await?) } else { None };
            listed.push((container, size));
        }
        Ok(listed)
    }

    /// What a container wrote, and that with its image. Slow.
    pub async fn size(&self, id: &str) -> Result<Size, EngineError> {
        let id = self.shared.find(id)?.id.clone();
        let (images, dir) = (self.shared.images.clone(), self.shared.dir(&id));
        let (rw, image) = blocking(move || Ok(images.rootfs_size(&id, &dir)?)).await?;
        Ok(Size { rw, root: rw.saturating_add(image) })
    }

    /// Removes those that do not run and match (`label`, `label!`, `until`).
    pub async fn prune(&self, filters: &BTreeMap<String, Vec<String>>) -> Result<Pruned, EngineError> {
        let mut until = None;
        let mut rest = BTreeMap::new();
        for (key, values) in filters {
            match key.as_str() {
                "until" => {
                    let [one] = values.as_slice() else {
                        return Err(EngineError::invalid("more than one until filter specified"));
                    };
                    until = Some(filter::until(one, Utc::now())?);
                }
                "label" | "label!" => {
                    rest.insert(key.clone(), values.clone());
                }
                _ => return Err(EngineError::invalid(format!("invalid filter '{key}'"))),
            }
        }
        let filter = Filter::new(&rest)?;
        let mut pruned = Pruned::default();
        for container in self.shared.matching(&filter)? {
            let idle = !container.life.is_running() && !container.life.may_hold();
            if !idle || until.is_some_and(|until| container.created > until) {
                continue;
            }
            let size = self.size(&container.id).await.unwrap_or_default();
            match self.remove(&container.id, super::RemoveOptions::default()).await {
                Ok(()) => {
                    pruned.space_reclaimed = pruned.space_reclaimed.saturating_add(size.rw);
                    pruned.deleted.push(container.id.clone());
                }
                Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => {}
                Err(error) => tracing::warn!(container = %container.id, %error, "could not be pruned"),
            }
        }
        Ok(pruned)
    }
}

impl Shared {
    fn matching(&self, filter: &Filter) -> Result<Vec<Arc<Container>>, EngineError> {
        let created = |names: &[String]| -> Result<_, EngineError> {
            let found = names.iter().map(|name| Ok(self.find(name)?.container().created));
            found.collect::<Result<Vec<_>, EngineError>>()
        };
        let since = created(&filter.since)?.into_iter().max();
        let before = created(&filter.before)?.into_iter().min();
        let ids = std::cell::RefCell::new(BTreeMap::<String, Option<pintle_image::Image>>::new());
        let is_ancestor = |name: &str, container: &Container| {
            if container.spec.image == name {
                return true;
            }
            let mut ids = ids.borrow_mut();
            let wanted = ids.entry(name.to_owned()).or_insert_with(|| self.images.get(name).ok());
            let Some(wanted) = wanted else { return false };
            if container.image_id == wanted.id.as_str() {
                return true;
            }
            // An image made on top of it begins with the same layers.
            !wanted.layers.is_empty()
                && self
                    .images
                    .get(&container.image_id)
                    .is_ok_and(|own| own.layers.starts_with(&wanted.layers))
        };
        let cells = self.cells();
        let link_names = if filter.wants_names() { self.link_names() } else { HashMap::new() };
        let world = World { is_ancestor: &is_ancestor, link_names: &link_names, since, before };
        let well = |cell: &super::cell::Cell| cell.health().map_or("none", |health| health.status.as_str());
        let found = cells.iter().filter(|cell| filter.is_as_well_as(well(cell)));
        Ok(found.map(|cell| cell.container()).filter(|one| filter.matches(one, &world)).collect())
    }
}
