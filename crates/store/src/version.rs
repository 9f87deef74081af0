//! How the records are written, as a number, and how those of an older engine become today's.
//!
//! A field that is added with a default changes nothing here: older and newer engines read each other's records. What
//! an older engine could not read, or would read wrongly, is a new version: one more of [`STEPS`], which rewrites the
//! records as JSON. An engine that finds a version it does not know touches nothing and says so.

use crate::{Store, StoreError, Transaction};

/// Brings the records of one version to the next.
pub type Step = fn(&Store, &mut Transaction) -> Result<(), StoreError>;

/// From version 1 to 2, from 2 to 3, and so on.
pub const STEPS: &[Step] = &[];

/// What a store says that says nothing: it was written before there were versions.
const FIRST: u32 = 1;

const TABLE: &str = "store";
const KEY: &str = "version";

/// Does the steps that are still to do, each with its number in one commit: a crash in between goes on there.
pub(crate) fn settle(store: &Store, steps: &[Step]) -> Result<(), StoreError> {
    let table = store.table::<u32>(TABLE);
    let noted = table.get(KEY)?;
    let found = noted.unwrap_or(FIRST);
    let known = FIRST.saturating_add(u32::try_from(steps.len()).unwrap_or(u32::MAX));
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    if noted.is_none() {
        table.put(KEY, &FIRST)?;
    }
    for (version, step) in (FIRST + 1..).zip(steps).skip_while(|(version, _)| *version <= found) {
        store.write(|transaction| {
            step(store, transaction)?;
            transaction.put(&table, KEY, &version)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rename(store: &Store, transaction: &mut Transaction) -> Result<(), StoreError> {
        let table = store.table::<Value>("boxes");
        for (key, mut record) in transaction.list(&table)? {
            record["title"] = record["name"].take();
            transaction.put(&table, &key, &record)?;
        }
        Ok(())
    }

    fn number(store: &Store, transaction: &mut Transaction) -> Result<(), StoreError> {
        let table = store.table::<Value>("boxes");
        for (key, mut record) in transaction.list(&table)? {
            let title = record["title"].as_str().unwrap_or_default();
            record["length"] = json!(title.len());
            transaction.put(&table, &key, &record)?;
        }
        Ok(())
    }

    fn fails(_: &Store, _: &mut Transaction) -> Result<(), StoreError> {
        Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into())
    }

    #[test]
    fn records_of_older_engines_become_todays_once() {
        let store = Store::in_memory().unwrap();
        let boxes = store.table::<Value>("boxes");
        boxes.put("a", &json!({"name": "one"})).unwrap();
        settle(&store, &[]).unwrap();
        assert_eq!(store.table::<u32>(TABLE).get(KEY).unwrap(), Some(1));
        settle(&store, &[rename]).unwrap();
        settle(&store, &[rename, number]).unwrap();
        settle(&store, &[rename, number]).unwrap();
        assert_eq!(boxes.get("a").unwrap().unwrap()["title"], "one");
        assert_eq!(boxes.get("a").unwrap().unwrap()["length"], 3);
        assert_eq!(store.table::<u32>(TABLE).get(KEY).unwrap(), Some(3));
    }

    #[test]
    fn a_step_that_fails_changes_nothing_and_is_tried_again() {
        let store = Store::in_memory().unwrap();
        let boxes = store.table::<Value>("boxes");
        boxes.put("a", &json!({"name": "one"})).unwrap();
        settle(&store, &[rename, fails]).unwrap_err();
        assert_eq!(store.table::<u32>(TABLE).get(KEY).unwrap(), Some(2));
        settle(&store, &[rename, number]).unwrap();
        assert_eq!(boxes.get("a").unwrap().unwrap()["length"], 3);
    }

    #[test]
    fn a_newer_version_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        Store::open(&path).unwrap().table::<u32>(TABLE).put(KEY, &7).unwrap();
        let Err(error) = Store::open(&path) else { panic!("was opened") };
        let error = error.to_string();
        assert!(error.contains("version 7") && error.contains("newer pintle"), "{error}");
        let as_it_is = Store { held: std::sync::Arc::new(crate::file::Held::file(&path).unwrap()) };
        assert_eq!(as_it_is.table::<u32>(TABLE).get(KEY).unwrap(), Some(7));
    }
}
