//! Secrets: at rest, exchanged, with another key, through a rotation.

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use lakekeep_store::Timestamp;
    use lakekeep_store::secrets::{Plaintext, SecretError, SecretName, Vault};
    use lakekeep_store::state::{Levels, NameError, Scope, Store, StoreError};

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
    const VALUE: &[u8] = b"correct-horse-battery-staple";

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Place {
            Place {
                folder: tempfile::tempdir().unwrap(),
            }
        }

        fn database(&self) -> PathBuf {
            self.folder.path().join("state.db")
        }

        fn key(&self) -> PathBuf {
            self.folder.path().join("secrets.key")
        }

        fn next_key(&self) -> PathBuf {
            self.folder.path().join("secrets.key.new")
        }

        fn try_open(&self) -> Result<Vault, SecretError> {
            let store = Arc::new(Store::open(&self.database()).unwrap());
            Vault::open(store, &self.key())
        }

        fn open(&self) -> Vault {
            self.try_open().unwrap()
        }

        fn sql(&self, sql: &str) {
            let connection = rusqlite::Connection::open(self.database()).unwrap();
            connection.execute_batch(sql).unwrap();
        }
    }

    fn users<'a>(owner: &'a str, name: &'a str) -> SecretName<'a> {
        SecretName {
            scope: Scope::User,
            owner,
            name,
        }
    }

    fn set(vault: &Vault, which: SecretName<'_>, value: &[u8]) -> u64 {
        vault
            .set(which, &Plaintext::new(value.to_vec()), NOW)
            .unwrap()
    }

    fn value(vault: &Vault, which: SecretName<'_>) -> Vec<u8> {
        vault.get(which).unwrap().expose().to_vec()
    }

    fn refused(result: Result<Plaintext, SecretError>) -> SecretError {
        match result {
            Ok(_) => panic!("the secret was given"),
            Err(error) => error,
        }
    }

    #[test]
    fn a_secret_is_given_back_after_a_restart() {
        let place = Place::new();
        let which = users("alice", "TOKEN");
        set(&place.open(), which, VALUE);
        let vault = place.open();
        assert_eq!(value(&vault, which), VALUE);
        assert!(vault.remove(which).unwrap());
        assert!(!vault.remove(which).unwrap());
        assert!(matches!(
            refused(vault.get(which)),
            SecretError::Missing { .. }
        ));
    }

    #[test]
    fn no_plaintext_is_in_any_file() {
        let place = Place::new();
        let vault = place.open();
        set(&vault, users("alice", "TOKEN"), VALUE);
        vault.rotate().unwrap();
        set(&vault, users("alice", "TOKEN"), VALUE);
        let mut files = 0;
        for entry in std::fs::read_dir(place.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            assert!(
                !bytes.windows(VALUE.len()).any(|window| window == VALUE),
                "{path:?}"
            );
            files += 1;
        }
        assert!(files >= 4, "database, -wal, -shm, key");
    }

    #[test]
    fn errors_and_debug_forms_say_nothing_of_values() {
        let place = Place::new();
        let vault = place.open();
        let which = users("alice", "TOKEN");
        set(&vault, which, VALUE);
        let shown = format!("{vault:?} {:?}", vault.list(Scope::User, "alice").unwrap());
        assert!(!shown.contains("correct-horse") && !shown.contains("AGE-SECRET"));
    }

    #[test]
    fn bounds_and_names_are_those_of_profiles() {
        let vault = Place::new();
        let vault = vault.open();
        let try_set = |name: &str, bytes: usize| {
            let value = Plaintext::new(vec![b'x'; bytes]);
            vault.set(users("alice", name), &value, NOW)
        };
        assert!(matches!(
            try_set("A", 65 << 10),
            Err(SecretError::TooLong { .. })
        ));
        assert!(try_set("A", 64 << 10).is_ok());
        assert_eq!(value(&vault, users("alice", "A")).len(), 64 << 10);
        for name in ["model-key", "a.b_C-9", "LD_PRELOAD", &"n".repeat(63)] {
            assert!(try_set(name, 1).is_ok(), "{name}");
        }
        for name in ["", "-a", "a/", "../a", "a b", ".", "ü", &"n".repeat(64)] {
            let refused = try_set(name, 1).unwrap_err();
            let form = matches!(
                refused,
                SecretError::Store(StoreError::Name(NameError::SecretForm { .. }))
            );
            assert!(form, "{name:?}: {refused}");
        }
        assert!(try_set("EMPTY", 0).is_ok());
    }

    #[test]
    fn exchanged_rows_are_refused() {
        let place = Place::new();
        let vault = place.open();
        let (alice, bob) = (users("alice", "TOKEN"), users("bob", "TOKEN"));
        set(&vault, alice, VALUE);
        set(&vault, bob, b"bob's");
        // Bob's row gets the ciphertext of Alice's.
        place.sql(
            "UPDATE secrets SET ciphertext = (SELECT ciphertext FROM secrets WHERE owner = 'alice')
         WHERE owner = 'bob'",
        );
        assert!(matches!(
            refused(vault.get(bob)),
            SecretError::Swapped { .. }
        ));
        assert_eq!(value(&vault, alice), VALUE);
        // Bob takes over the whole row.
        place.sql("DELETE FROM secrets WHERE owner = 'bob'; UPDATE secrets SET owner = 'bob'");
        assert!(matches!(
            refused(vault.get(bob)),
            SecretError::Swapped { .. }
        ));
        for change in [
            "owner = 'alice', name = 'OTHER'",
            "owner = 'alice', name = 'TOKEN', scope = 'project'",
        ] {
            place.sql(&format!("UPDATE secrets SET {change}"));
            let (scope, name) = match change.contains("scope") {
                true => (Scope::Project, "TOKEN"),
                false => (Scope::User, "OTHER"),
            };
            let error = refused(vault.get(SecretName {
                scope,
                owner: "alice",
                name,
            }));
            assert!(matches!(error, SecretError::Swapped { .. }), "{error}");
        }
    }

    #[test]
    fn an_older_ciphertext_of_the_same_secret_is_refused() {
        let place = Place::new();
        let vault = place.open();
        let which = users("alice", "TOKEN");
        set(&vault, which, b"old");
        place.sql("CREATE TABLE kept AS SELECT ciphertext FROM secrets");
        set(&vault, which, b"new");
        place.sql("UPDATE secrets SET ciphertext = (SELECT ciphertext FROM kept)");
        assert!(matches!(
            refused(vault.get(which)),
            SecretError::Swapped { .. }
        ));
    }

    #[test]
    fn a_changed_ciphertext_is_damaged() {
        let place = Place::new();
        let vault = place.open();
        let which = users("alice", "TOKEN");
        set(&vault, which, VALUE);
        place.sql("UPDATE secrets SET ciphertext = substr(ciphertext, 1, length(ciphertext) - 1)");
        assert!(matches!(
            refused(vault.get(which)),
            SecretError::Damaged { .. }
        ));
        place.sql("UPDATE secrets SET ciphertext = x'00'");
        assert!(matches!(
            refused(vault.get(which)),
            SecretError::Damaged { .. }
        ));
    }

    #[test]
    fn another_key_and_no_key_are_refused_with_the_remedy() {
        let (place, other) = (Place::new(), Place::new());
        let vault = place.open();
        let wanted = vault.recipient();
        set(&vault, users("alice", "TOKEN"), VALUE);
        drop((vault, other.open()));
        let kept = std::fs::read(place.key()).unwrap();
        std::fs::copy(other.key(), place.key()).unwrap();
        let error = place.try_open().unwrap_err();
        assert!(matches!(error, SecretError::WrongKey { .. }), "{error}");
        assert!(error.to_string().contains(&wanted), "{error}");
        std::fs::remove_file(place.key()).unwrap();
        let error = place.try_open().unwrap_err();
        assert!(
            matches!(error, SecretError::NoKey { secrets: 1, .. }),
            "{error}"
        );
        assert!(
            !place.key().exists(),
            "no key is made in place of a lost one"
        );
        std::fs::write(place.key(), "hello\n").unwrap();
        std::fs::set_permissions(
            place.key(),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        assert!(matches!(
            place.try_open(),
            Err(SecretError::MalformedKey { .. })
        ));
        std::fs::write(place.key(), kept).unwrap();
        assert_eq!(value(&place.open(), users("alice", "TOKEN")), VALUE);
    }

    #[test]
    fn listing_needs_no_key() {
        let place = Place::new();
        let vault = place.open();
        set(&vault, users("alice", "A"), VALUE);
        set(&vault, users("alice", "B"), VALUE);
        place.sql("UPDATE secrets SET ciphertext = x'00'");
        let names: Vec<_> = vault.list(Scope::User, "alice").unwrap();
        assert_eq!(
            names
                .iter()
                .map(|row| row.name.as_str())
                .collect::<Vec<_>>(),
            ["A", "B"]
        );
        assert!(vault.list(Scope::User, "bob").unwrap().is_empty());
    }

    #[test]
    fn the_digest_is_of_names_and_versions() {
        let place = Place::new();
        let vault = place.open();
        let levels = Levels {
            profile: "p",
            project: Some("x"),
            user: "alice",
        };
        let digest = || vault.set_digest(levels).unwrap();
        let mut seen = vec![digest()];
        let mut changed = || {
            let now = digest();
            assert!(!seen.contains(&now));
            seen.push(now);
        };
        set(&vault, users("alice", "A"), VALUE);
        changed();
        set(&vault, users("alice", "A"), VALUE);
        changed();
        // Removed and set again is another one, whatever the value.
        vault.remove(users("alice", "A")).unwrap();
        set(&vault, users("alice", "A"), VALUE);
        changed();
        set(
            &vault,
            SecretName {
                scope: Scope::Profile,
                owner: "p",
                name: "B",
            },
            VALUE,
        );
        changed();
        let before = digest();
        set(&vault, users("bob", "A"), VALUE);
        // Hidden by the user's own: the task does not get it.
        set(
            &vault,
            SecretName {
                scope: Scope::Project,
                owner: "x",
                name: "A",
            },
            VALUE,
        );
        assert_eq!(digest(), before);
        vault.rotate().unwrap();
        assert_eq!(digest(), before);
        let effective = vault.effective(levels).unwrap();
        assert_eq!(effective["A"].from, Scope::User);
        assert_eq!(effective["A"].replaced, [Scope::Project]);
        assert_eq!(effective["B"].owner, "p");
    }

    #[test]
    fn a_rotation_changes_the_key_and_no_value() {
        let place = Place::new();
        let vault = place.open();
        for number in 0..20 {
            set(
                &vault,
                users("alice", &format!("S{number}")),
                format!("value {number}").as_bytes(),
            );
        }
        let old_key = std::fs::read(place.key()).unwrap();
        let rotated = vault.rotate().unwrap();
        assert_eq!(
            (rotated.secrets, &rotated.recipient),
            (20, &vault.recipient())
        );
        assert_ne!(std::fs::read(place.key()).unwrap(), old_key);
        assert!(!place.next_key().exists());
        drop(vault);
        let vault = place.open();
        for number in 0..20 {
            let name = format!("S{number}");
            assert_eq!(
                value(&vault, users("alice", &name)),
                format!("value {number}").into_bytes()
            );
        }
    }

    #[test]
    fn a_rotation_that_ended_before_its_commit_is_taken_back() {
        let (place, other) = (Place::new(), Place::new());
        let vault = place.open();
        set(&vault, users("alice", "TOKEN"), VALUE);
        drop((vault, other.open()));
        // What a crash leaves between the new key and the commit.
        std::fs::copy(other.key(), place.next_key()).unwrap();
        let vault = place.open();
        assert!(!place.next_key().exists());
        assert_eq!(value(&vault, users("alice", "TOKEN")), VALUE);
        vault.rotate().unwrap();
    }

    #[test]
    fn a_rotation_that_ended_after_its_commit_is_finished() {
        let place = Place::new();
        let vault = place.open();
        set(&vault, users("alice", "TOKEN"), VALUE);
        let old_key = std::fs::read(place.key()).unwrap();
        vault.rotate().unwrap();
        drop(vault);
        // What a crash leaves between the commit and the renaming.
        let new_key = std::fs::read(place.key()).unwrap();
        std::fs::rename(place.key(), place.next_key()).unwrap();
        std::fs::write(place.key(), old_key).unwrap();
        std::fs::set_permissions(
            place.key(),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        let vault = place.open();
        assert_eq!(std::fs::read(place.key()).unwrap(), new_key);
        assert!(!place.next_key().exists());
        assert_eq!(value(&vault, users("alice", "TOKEN")), VALUE);
    }

    #[test]
    fn a_rotation_that_meets_a_damaged_secret_changes_nothing() {
        let place = Place::new();
        let vault = place.open();
        set(&vault, users("alice", "A"), VALUE);
        set(&vault, users("bob", "A"), VALUE);
        place.sql("UPDATE secrets SET ciphertext = x'00' WHERE owner = 'bob'");
        let before = vault.recipient();
        assert!(matches!(vault.rotate(), Err(SecretError::Damaged { .. })));
        assert_eq!(vault.recipient(), before);
        assert_eq!(value(&vault, users("alice", "A")), VALUE);
        vault.remove(users("bob", "A")).unwrap();
        assert_eq!(vault.rotate().unwrap().secrets, 1);
        drop(vault);
        assert_eq!(value(&place.open(), users("alice", "A")), VALUE);
    }
}
