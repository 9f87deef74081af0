//! Durable tables of records: the one place where intent is committed before the world is touched.
//!
//! A [`Store`] is one embedded database file. A [`Table`] holds records of one type by name. Every write is
//! durable when it returns: `kill -9` afterwards loses nothing. Several writes that must agree go into one
//! [`Store::write`]. Records are JSON, so that a newer engine reads what an older one wrote and the other way
//! round (`#[serde(default)]` on every field that appeared later); what cannot be had that way changes the
//! [version](version) and migrates. Calls block for one disk flush, usually well under a millisecond.
//!
//! A write that finds the disk full fails, and writes nothing. The next one finds the store as it was before.

pub mod failpoint;
mod file;
pub mod version;

use std::{marker::PhantomData, path::Path, sync::Arc};

use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::{Serialize, de::DeserializeOwned};

use self::file::Held;

/// Why the store could not do it. All of these are the disk's or the file's fault, never the caller's.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the engine's store failed: {0}")]
    Database(Box<redb::Error>),
    /// A record in the file is not what this version can read.
    #[error("record {table}/{key} in the engine's store cannot be read: {source}")]
    Record {
        /// The table that holds it.
        table: String,
        /// Its key.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A newer engine wrote it in a way that this one does not know.
    #[error(
        "the engine's store has version {found} and this engine knows versions up to {known}: a newer pintle wrote \
         it; run that one again, or use another data root"
    )]
    Newer {
        /// What the file says.
        found: u32,
        /// The newest that this engine can read.
        known: u32,
    },
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// One embedded database file. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    held: Arc<Held>,
}

impl Store {
    /// Opens the file, making it if there is none, and brings its records to today's [version]. One process at a
    /// time may hold it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Self { held: Arc::new(Held::file(path)?) };
        version::settle(&store, version::STEPS)?;
        Ok(store)
    }

    /// A store that is gone when dropped, for tests.
    pub fn in_memory() -> Result<Self, StoreError> {
        Ok(Self { held: Arc::new(Held::memory()?) })
    }

    /// The table called `name`, which holds `T`s.
    pub fn table<T: Serialize + DeserializeOwned>(&self, name: &'static str) -> Table<T> {
        Table { store: self.clone(), name, records: PhantomData }
    }

    /// Runs `change` and commits all that it wrote, or nothing. `change` must not ask the store by another way. It is run
    /// again where the disk was full and there was room held back for that.
    pub fn write<R>(
        &self,
        mut change: impl FnMut(&mut Transaction) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.held.with(|database| {
            let mut transaction = Transaction { inner: database.begin_write()? };
            let result = change(&mut transaction)?;
            transaction.inner.commit()?;
            self.held.reserve();
            Ok(result)
        })
    }
}

/// Writes that become durable together.
pub struct Transaction {
    inner: redb::WriteTransaction,
}

impl Transaction {
    /// Writes one record, replacing what was there.
    pub fn put<T: Serialize>(&mut self, table: &Table<T>, key: &str, record: &T) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(record).map_err(|source| table.unreadable(key, source))?;
        self.inner.open_table(table.definition())?.insert(key, bytes.as_slice())?;
        Ok(())
    }

    /// Removes one record, if it is there.
    pub fn delete<T>(&mut self, table: &Table<T>, key: &str) -> Result<(), StoreError> {
        self.inner.open_table(table.definition())?.remove(key)?;
        Ok(())
    }

    /// Every record with its key, as the changes so far have left them.
    pub fn list<T: DeserializeOwned>(&self, table: &Table<T>) -> Result<Vec<(String, T)>, StoreError> {
        let mut records = Vec::new();
        for entry in self.inner.open_table(table.definition())?.iter()? {
            let (key, bytes) = entry?;
            let record = serde_json::from_slice(bytes.value())
                .map_err(|source| table.unreadable(key.value(), source))?;
            records.push((key.value().to_owned(), record));
        }
        Ok(records)
    }
}

/// Records of one type by name. Cheap to clone.
pub struct Table<T> {
    store: Store,
    name: &'static str,
    records: PhantomData<fn() -> T>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), name: self.name, records: PhantomData }
    }
}

impl<T> Table<T> {
    fn definition(&self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.name)
    }

    fn unreadable(&self, key: &str, source: serde_json::Error) -> StoreError {
        StoreError::Record { table: self.name.to_owned(), key: key.to_owned(), source }
    }
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    /// One record.
    pub fn get(&self, key: &str) -> Result<Option<T>, StoreError> {
        self.read(|table| {
            let Some(bytes) = table.get(key)? else { return Ok(None) };
            serde_json::from_slice(bytes.value()).map(Some).map_err(|source| self.unreadable(key, source))
        })
    }

    /// Every record with its key, in the order of the keys.
    pub fn list(&self) -> Result<Vec<(String, T)>, StoreError> {
        self.read(|table| {
            let mut records = Vec::new();
            for entry in table.iter()? {
                let (key, bytes) = entry?;
                let record = serde_json::from_slice(bytes.value())
                    .map_err(|source| self.unreadable(key.value(), source))?;
                records.push((key.value().to_owned(), record));
            }
            Ok(records)
        })
    }

    /// Writes one record durably, replacing what was there.
    pub fn put(&self, key: &str, record: &T) -> Result<(), StoreError> {
        self.store.write(|transaction| transaction.put(self, key, record))
    }

    /// Removes one record durably, if it is there.
    pub fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.store.write(|transaction| transaction.delete(self, key))
    }

    /// Reads from the table; nothing if it was never written.
    fn read<R: Default>(
        &self,
        look: impl Fn(&redb::ReadOnlyTable<&'static str, &'static [u8]>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.store.held.with(|database| match database.begin_read()?.open_table(self.definition()) {
            Ok(table) => look(&table),
            Err(TableError::TableDoesNotExist(_)) => Ok(R::default()),
            Err(error) => Err(error.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let table = Store::open(&path).unwrap().table::<u32>("numbers");
        table.put("b", &2).unwrap();
        table.put("a", &1).unwrap();
        table.delete("b").unwrap();
        drop(table);
        let table = Store::open(&path).unwrap().table::<u32>("numbers");
        assert_eq!(table.list().unwrap(), [("a".to_owned(), 1)]);
        assert_eq!(table.get("b").unwrap(), None);
    }

    #[test]
    fn a_failed_change_writes_nothing() {
        let store = Store::in_memory().unwrap();
        let table = store.table::<u32>("numbers");
        let failed: Result<(), _> = store.write(|transaction| {
            transaction.put(&table, "a", &1)?;
            Err(redb::Error::DatabaseAlreadyOpen.into())
        });
        failed.unwrap_err();
        assert_eq!(table.list().unwrap(), []);
    }

    #[test]
    fn a_record_of_another_shape_is_named() {
        let store = Store::in_memory().unwrap();
        store.table::<String>("t").put("k", &"text".to_owned()).unwrap();
        let error = store.table::<u32>("t").get("k").unwrap_err();
        assert!(error.to_string().contains("t/k"), "{error}");
    }
}
