//! The database's file: its versions, damage, access.

#[cfg(test)]
#[path = "common/rows.rs"]
mod rows;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::rows::{sandbox, task};
    use lakekeep_store::Timestamp;
    use lakekeep_store::state::{SandboxState, Scope, SetVariable, Store, StoreError, TaskState};

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn fresh() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).unwrap();
        (folder, store)
    }

    fn database(folder: &Path, sql: &str) -> PathBuf {
        let path = folder.join("state.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch(sql).unwrap();
        path
    }

    #[test]
    fn a_database_of_version_1_is_brought_on_with_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path(), include_str!("fixtures/state-v1.sql"));
        let store = Store::open(&path).unwrap();
        let old = store.sandbox("old-1").unwrap().unwrap();
        assert_eq!(
            (old.made.owner.as_str(), old.state),
            ("alice", SandboxState::Live)
        );
        assert_eq!(old.made.labels["team"], "x");
        assert_eq!(
            store.task("old-1", 1).unwrap().unwrap().state,
            TaskState::Running
        );
        assert_eq!(
            store.managed_id("bob", 200_000..=200_010, NOW).unwrap(),
            200_000
        );
        let variable = SetVariable {
            scope: Scope::User,
            owner: "alice",
            name: "A",
            value: "x",
            allow_code: false,
        };
        store.set_variable(variable, NOW).unwrap();
        store.insert_task("old-1", &task(&["true"]), NOW).unwrap();
        store
            .insert_sandbox(&sandbox("new-1", "alice"), None, NOW)
            .unwrap();
        drop(store);

        // The tables are those of a new database.
        let (fresh_folder, fresh_store) = fresh();
        drop(fresh_store);
        let schema = |path: &Path| -> Vec<String> {
            let connection = rusqlite::Connection::open(path).unwrap();
            let mut statement = connection
                .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
                .unwrap();
            let rows = statement
                .query_map([], |row| row.get::<_, String>(0))
                .unwrap();
            rows.map(|sql| {
                sql.unwrap()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
        };
        assert_eq!(schema(&path), schema(&fresh_folder.path().join("state.db")));
        drop(Store::open(&path).unwrap());
    }

    #[test]
    fn a_newer_database_is_refused_and_stays() {
        let (folder, store) = fresh();
        drop(store);
        let path = database(folder.path(), "PRAGMA user_version=99");
        let error = Store::open(&path).unwrap_err();
        assert!(
            matches!(error, StoreError::Newer { found: 99, .. }),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains("install the manager that wrote it"),
            "{error}"
        );
    }

    #[test]
    fn a_database_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path(), "CREATE TABLE cats (name TEXT)");
        assert!(matches!(
            Store::open(&path),
            Err(StoreError::Foreign { .. })
        ));
    }

    #[test]
    fn damage_is_named_and_nothing_is_removed() {
        let (folder, store) = fresh();
        for number in 0..200 {
            store
                .insert_sandbox(&sandbox(&format!("s{number}"), "alice"), None, NOW)
                .unwrap();
        }
        drop(store);
        let path = folder.path().join("state.db");
        let good = std::fs::read(&path).unwrap();
        assert!(good.len() > 20 * 4096);
        for page in [0, 1, 5] {
            let mut bad = good.clone();
            bad[page * 4096..page * 4096 + 2048].fill(0xa5);
            std::fs::write(&path, &bad).unwrap();
            let error = Store::open(&path).unwrap_err();
            assert!(
                matches!(error, StoreError::Corrupt { .. }),
                "page {page}: {error}"
            );
            assert!(error.to_string().contains("restore a backup"), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), bad);
        }
    }

    #[test]
    fn the_files_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, store) = fresh();
        store
            .insert_sandbox(&sandbox("s1", "alice"), None, NOW)
            .unwrap();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            names.push(entry.file_name());
            assert_eq!(
                entry.metadata().unwrap().permissions().mode() & 0o777,
                0o600,
                "{entry:?}"
            );
        }
        assert!(names.contains(&"state.db-wal".into()), "{names:?}");
    }
}
