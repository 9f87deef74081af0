//! Finding containers by id, prefix and name.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::cell::Cell;
use crate::EngineError;

/// All containers, and which names are taken (by one that is being made, too).
#[derive(Default)]
pub(super) struct Index {
    by_id: BTreeMap<String, Arc<Cell>>,
    names: HashMap<String, String>,
}

impl Index {
    /// By full id, then by name, then by a prefix of the id, as Docker does.
    pub fn find(&self, wanted: &str) -> Result<Arc<Cell>, EngineError> {
        let missing = || EngineError::not_found(format!("No such container: {wanted}"));
        if wanted.is_empty() {
            return Err(EngineError::invalid("Container name cannot be empty"));
        }
        if let Some(cell) = self.by_id.get(wanted) {
            return Ok(Arc::clone(cell));
        }
        let name = wanted.strip_prefix('/').unwrap_or(wanted);
        if let Some(cell) = self.names.get(name).and_then(|id| self.by_id.get(id)) {
            return Ok(Arc::clone(cell));
        }
        let mut matching = self
            .by_id
            .range(wanted.to_owned()..)
            .take_while(|(id, _)| id.starts_with(wanted))
            .map(|(_, c)| c);
        let first = matching.next().ok_or_else(missing)?;
        if matching.next().is_some() {
            return Err(EngineError::invalid(format!("multiple IDs found with provided prefix: {wanted}")));
        }
        Ok(Arc::clone(first))
    }

    /// Takes a name for `id`.
    pub fn reserve(&mut self, name: &str, id: &str) -> Result<(), EngineError> {
        match self.names.get(name) {
            Some(holder) if holder != id => Err(EngineError::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
            ))),
            _ => {
                self.names.insert(name.to_owned(), id.to_owned());
                Ok(())
            }
        }
    }

    /// Gives a name back, if `id` has it.
    pub fn release(&mut self, name: &str, id: &str) {
        if self.names.get(name).is_some_and(|holder| holder == id) {
            self.names.remove(name);
        }
    }

    /// Adds a container whose name is reserved.
    pub fn insert(&mut self, cell: Arc<Cell>) {
        self.by_id.insert(cell.id.clone(), cell);
    }

    /// Removes a container and its names.
    pub fn remove(&mut self, id: &str) {
        self.by_id.remove(id);
        self.names.retain(|_, holder| holder != id);
    }

    pub fn all(&self) -> Vec<Arc<Cell>> {
        self.by_id.values().cloned().collect()
    }

    pub fn holds(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::{Container, Lifecycle};

    fn add(index: &mut Index, id: &str, name: &str) {
        index.reserve(name, id).unwrap();
        index.insert(Arc::new(Cell::new(Container {
            id: id.to_owned(),
            name: name.to_owned(),
            created: chrono::Utc::now(),
            image_id: String::new(),
            os: String::new(),
            spec: Arc::default(),
            path: String::new(),
            args: Vec::new(),
            mounts: Arc::default(),
            life: Lifecycle::new(),
            updating: None,
        })));
    }

    #[test]
    fn ids_then_names_then_prefixes() {
        let mut index = Index::default();
        add(&mut index, "abc1", "web");
        add(&mut index, "abc2", "abc1x");
        add(&mut index, "ffff", "abc");
        let found =
            |wanted: &str| index.find(wanted).map(|cell| cell.id.clone()).map_err(|error| error.message);
        assert_eq!(found("abc1").unwrap(), "abc1");
        assert_eq!(found("abc").unwrap(), "ffff", "a name wins over a prefix");
        assert_eq!(found("/abc1x").unwrap(), "abc2");
        assert_eq!(found("ff").unwrap(), "ffff");
        assert_eq!(found("ab").unwrap_err(), "multiple IDs found with provided prefix: ab");
        assert_eq!(found("zz").unwrap_err(), "No such container: zz");
        found("").unwrap_err();
    }

    #[test]
    fn a_name_is_taken_while_somebody_has_it() {
        let mut index = Index::default();
        add(&mut index, "abc1", "web");
        assert!(
            index
                .reserve("web", "other")
                .unwrap_err()
                .message
                .contains("already in use by container \"abc1\"")
        );
        index.reserve("web", "abc1").unwrap();
        index.release("web", "other");
        index.reserve("web", "other").unwrap_err();
        index.remove("abc1");
        index.reserve("web", "other").unwrap();
    }
}
