//! Legacy links: what a container on the default bridge calls others there.
//!
//! A link is bound to a container, not to its name: `links` of a specification says `<id>:<alias>`. Each gives the other
//! container one more name, `/<container>/<alias>`, which follows whatever either is renamed to.

use std::{collections::HashMap, sync::Arc};

use super::{Container, ContainerSpec, Containers, cell::Cell, service::Shared};
use crate::EngineError;

impl Containers {
    /// A container's links as they were once written: `/other:/this/alias`. Those to containers that are gone are gone.
    pub fn links(&self, container: &Container) -> Vec<String> {
        let links = self.shared.linked(container).into_iter();
        links
            .map(|(alias, other)| format!("/{}:/{}/{alias}", other.container().name, container.name))
            .collect()
    }

    /// What linked containers are called besides their own names, by id.
    pub fn link_names(&self) -> HashMap<String, Vec<String>> {
        self.shared.link_names()
    }

    /// Ends the link that is called `parent/alias`.
    pub async fn unlink(&self, name: &str) -> Result<(), EngineError> {
        let other = self.shared.find(name)?;
        let Some((parent, alias)) = split(name) else {
            return Err(EngineError::internal(
                "Conflict, cannot remove the default link name of the container",
            ));
        };
        let parent = self.shared.find(parent)?;
        let (shared, alias) = (Arc::clone(&self.shared), alias.to_owned());
        self.run(async move {
            let _turn = parent.turn.lock().await;
            shared.change_links(&parent, |link| !names(link, &other.id, &alias)).await
        })
        .await
    }
}

/// `parent/alias`, with or without a slash before it.
fn split(name: &str) -> Option<(&str, &str)> {
    name.trim_start_matches('/').split_once('/')
}

fn names(link: &str, id: &str, alias: &str) -> bool {
    crate::networks::link(link).is_ok_and(|(target, called)| target == id && called == alias)
}

fn on_default_bridge(spec: &ContainerSpec) -> bool {
    matches!(spec.network_mode.as_str(), "" | "default" | "bridge")
}

impl Shared {
    /// On the default bridge a container can be linked to others that are there, and in no host's network. Binds the links
    /// to those whom the names mean now.
    pub fn bind_links(&self, spec: &mut ContainerSpec) -> Result<(), EngineError> {
        if !on_default_bridge(spec) {
            return Ok(());
        }
        for link in &mut spec.links {
            let (name, alias) = crate::networks::link(link)?;
            let found = self.find(&name);
            // As "not found" clients would take it for the image.
            let other = found.map_err(|error| {
                EngineError::invalid(error.message).context(format!("could not get container for {name}"))
            })?;
            if other.container().spec.network_mode == "host" {
                return Err(EngineError::invalid(
                    "conflicting options: host type networking can't be used with links. This would result in \
                     undefined behavior",
                ));
            }
            *link = format!("{}:{alias}", other.id);
        }
        Ok(())
    }

    /// Those whom a container is linked to, each with what it calls it.
    fn linked(&self, container: &Container) -> Vec<(String, Arc<Cell>)> {
        if !on_default_bridge(&container.spec) {
            return Vec::new();
        }
        let links = container.spec.links.iter().filter_map(|link| crate::networks::link(link).ok());
        links.filter_map(|(target, alias)| Some((alias, self.index().find(&target).ok()?))).collect()
    }

    /// What linked containers are called besides their own names, by id.
    pub fn link_names(&self) -> HashMap<String, Vec<String>> {
        let mut all: HashMap<String, Vec<String>> = HashMap::new();
        for container in self.cells().iter().map(|cell| cell.container()) {
            for (alias, other) in self.linked(&container) {
                all.entry(other.id.clone()).or_default().push(format!("/{}/{alias}", container.name));
            }
        }
        all.values_mut().for_each(|names| names.sort());
        all
    }

    /// The container that another one calls so: `parent/alias`.
    pub fn find_linked(&self, name: &str) -> Option<Arc<Cell>> {
        let (parent, wanted) = split(name)?;
        let parent = self.index().find(parent).ok()?;
        let mut linked = self.linked(&parent.container()).into_iter();
        linked.find_map(|(alias, other)| (alias == wanted).then_some(other))
    }
}
