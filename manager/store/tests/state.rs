//! The state: every table, and reconciliation.

#[cfg(test)]
#[path = "common/rows.rs"]
mod rows;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::rows::{sandbox, task};
    use lakekeep_store::state::{
        Ending, Foreign, ForeignWhy, Found, Inserted, Levels, LostWhy, NameError, Page, RequestKey,
        Retention, SandboxFilter, SandboxState, Scope, SetVariable, Store, StoreError, TaskEnding,
        TaskState, arguments_digest,
    };
    use lakekeep_store::{Digest, JsonText, Timestamp};

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn at(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn fresh() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).unwrap();
        (folder, store)
    }

    fn json(text: &str) -> JsonText {
        JsonText::new(text.to_owned()).unwrap()
    }

    fn ended() -> Ending {
        Ending {
            state: SandboxState::Ended,
            verdict: Some(json("{\"kind\":\"exit\"}")),
            receipt: None,
        }
    }

    #[test]
    fn a_sandbox_lives_and_ends_once() {
        let (_folder, store) = fresh();
        let new = sandbox("s1", "alice");
        assert_eq!(
            store.insert_sandbox(&new, None, NOW).unwrap(),
            Inserted::New
        );
        let receipt = json("{\"layers\":[]}");
        let live = SandboxState::Live;
        store
            .set_sandbox_state("s1", live, Some(&receipt), at(1))
            .unwrap();
        store.touch("s1", at(5)).unwrap();
        store.touch("s1", at(3)).unwrap();
        let row = store.sandbox("s1").unwrap().unwrap();
        assert_eq!(row.made, new);
        assert_eq!((row.state, row.last_used, row.ended), (live, at(5), None));
        assert_eq!(row.receipt, Some(receipt.clone()));

        store.end_sandbox("s1", &ended(), at(9)).unwrap();
        let row = store.sandbox("s1").unwrap().unwrap();
        assert_eq!((row.state, row.ended), (SandboxState::Ended, Some(at(9))));
        assert_eq!((row.verdict, row.receipt), (ended().verdict, Some(receipt)));
        let again = store.end_sandbox("s1", &ended(), at(10)).unwrap_err();
        assert!(matches!(
            again,
            StoreError::Over {
                from: SandboxState::Ended,
                ..
            }
        ));
        let back = store
            .set_sandbox_state("s1", live, None, at(10))
            .unwrap_err();
        assert!(
            matches!(
                back,
                StoreError::Over {
                    to: SandboxState::Live,
                    ..
                }
            ),
            "{back}"
        );
        let unknown = store.end_sandbox("s2", &ended(), at(10)).unwrap_err();
        assert!(matches!(unknown, StoreError::Missing { .. }));
    }

    #[test]
    fn an_end_needs_a_final_state_and_nothing_else_may_set_one() {
        let (_folder, store) = fresh();
        store
            .insert_sandbox(&sandbox("s1", "alice"), None, NOW)
            .unwrap();
        let end = Ending {
            state: SandboxState::Frozen,
            ..ended()
        };
        assert!(store.end_sandbox("s1", &end, NOW).is_err());
        assert!(
            store
                .set_sandbox_state("s1", SandboxState::Lost, None, NOW)
                .is_err()
        );
        let row = store.sandbox("s1").unwrap().unwrap();
        assert_eq!(row.state, SandboxState::Creating);
    }

    #[test]
    fn hostile_and_oversized_fields_are_refused_or_kept_as_they_are() {
        let (_folder, store) = fresh();
        let quoted = "'); DROP TABLE sandboxes; --";
        store
            .insert_sandbox(&sandbox(quoted, "alice"), None, NOW)
            .unwrap();
        assert!(store.sandbox(quoted).unwrap().is_some());
        for bad in ["", "a\0b", &"x".repeat(256)] {
            assert!(
                store
                    .insert_sandbox(&sandbox(bad, "alice"), None, NOW)
                    .is_err()
            );
        }
        let mut long = sandbox("s2", "alice");
        long.policy_text = "x".repeat(65 << 10);
        assert!(matches!(
            store.insert_sandbox(&long, None, NOW),
            Err(StoreError::TooLong { .. })
        ));
        let mut many = sandbox("s3", "alice");
        many.labels = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert!(matches!(
            store.insert_sandbox(&many, None, NOW),
            Err(StoreError::TooMany { .. })
        ));
        let again = store
            .insert_sandbox(&sandbox(quoted, "bob"), None, NOW)
            .unwrap_err();
        assert!(matches!(again, StoreError::Exists { .. }));
    }

    #[test]
    fn lists_are_filtered_and_paged() {
        let (_folder, store) = fresh();
        for number in 0..25 {
            let owner = ["alice", "bob"][number % 2];
            let id = format!("s{number}");
            store
                .insert_sandbox(&sandbox(&id, owner), None, NOW)
                .unwrap();
        }
        store.end_sandbox("s1", &ended(), NOW).unwrap();
        let bobs = SandboxFilter {
            owner: Some("bob".to_owned()),
            live: true,
            ..SandboxFilter::default()
        };
        assert_eq!(store.count_sandboxes(&bobs).unwrap(), 11);
        let (mut seen, mut page) = (
            Vec::new(),
            Page {
                after: None,
                limit: 4,
            },
        );
        loop {
            let part = store.sandboxes(&bobs, page).unwrap();
            assert!(part.rows.len() <= 4);
            seen.extend(part.rows.into_iter().map(|row| row.made.id));
            page.after = part.next;
            if page.after.is_none() {
                break;
            }
        }
        let expected: Vec<_> = (3..25).step_by(2).map(|n| format!("s{n}")).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn tasks_are_numbered_and_end_once() {
        let (_folder, store) = fresh();
        store
            .insert_sandbox(&sandbox("s1", "alice"), None, NOW)
            .unwrap();
        let long = "x".repeat(5_000);
        assert_eq!(store.insert_task("s1", &task(&["true"]), NOW).unwrap(), 1);
        assert_eq!(store.insert_task("s1", &task(&[&long]), NOW).unwrap(), 2);
        assert!(store.insert_task("s2", &task(&["true"]), NOW).is_err());
        let end = TaskEnding {
            verdict: Some(json("1")),
            usage: Some(json("2")),
        };
        store.end_task(("s1", 1), &end, at(1)).unwrap();
        assert!(store.end_task(("s1", 1), &end, at(2)).is_err());
        let first = store.task("s1", 1).unwrap().unwrap();
        assert_eq!((first.state, first.ended), (TaskState::Ended, Some(at(1))));
        assert_eq!(first.made, task(&["true"]));
        store.end_sandbox("s1", &ended(), at(3)).unwrap();
        let all = store.tasks("s1", Page::default()).unwrap().rows;
        assert_eq!(all.len(), 2);
        assert_eq!((all[1].state, all[1].ended), (TaskState::Lost, Some(at(3))));
        assert_eq!(all[1].made.arguments.as_ref().unwrap().len(), 1024);
        assert!(store.insert_task("s1", &task(&["true"]), NOW).is_err());
    }

    #[test]
    fn a_digest_of_arguments_sees_their_borders() {
        assert_ne!(arguments_digest(&["a b"]), arguments_digest(&["a", "b"]));
        assert_ne!(arguments_digest::<&str>(&[]), arguments_digest(&[""]));
    }

    #[test]
    fn a_managed_id_is_one_users_for_ever() {
        let (folder, store) = fresh();
        assert_eq!(store.managed_id("alice", 100..=102, NOW).unwrap(), 100);
        assert_eq!(store.managed_id("bob", 100..=102, NOW).unwrap(), 101);
        assert_eq!(store.managed_id("alice", 100..=102, NOW).unwrap(), 100);
        assert_eq!(store.managed_id("carol", 100..=102, NOW).unwrap(), 102);
        let none = store.managed_id("dave", 100..=102, NOW).unwrap_err();
        assert!(
            matches!(
                none,
                StoreError::NoIds {
                    first: 100,
                    last: 102
                }
            ),
            "{none}"
        );
        // A range that begins lower has room below.
        assert_eq!(store.managed_id("dave", 98..=102, NOW).unwrap(), 98);
        assert_eq!(store.managed_id("erin", 98..=102, NOW).unwrap(), 99);
        let outside = store.managed_id("alice", 200..=300, NOW).unwrap_err();
        assert!(
            matches!(outside, StoreError::IdOutside { uid: 100, .. }),
            "{outside}"
        );
        assert_eq!(
            store.user_of_managed_id(101).unwrap().as_deref(),
            Some("bob")
        );
        assert_eq!(store.user_of_managed_id(7).unwrap(), None);
        // Not even by hand.
        let other = rusqlite::Connection::open(folder.path().join("state.db")).unwrap();
        assert!(other.execute("DELETE FROM managed_ids", []).is_err());
        assert!(other.execute("UPDATE managed_ids SET uid = 5", []).is_err());
    }

    #[test]
    fn a_request_that_comes_again_gets_its_sandbox() {
        let (_folder, store) = fresh();
        let key = |principal: &str, text: &str| RequestKey {
            principal: principal.to_owned(),
            request: "r1".to_owned(),
            digest: arguments_digest(&[text]),
        };
        let insert =
            |id, key: &RequestKey| store.insert_sandbox(&sandbox(id, "alice"), Some(key), NOW);
        assert_eq!(insert("s1", &key("alice", "x")).unwrap(), Inserted::New);
        let before = Inserted::Before {
            sandbox: "s1".to_owned(),
        };
        assert_eq!(insert("s2", &key("alice", "x")).unwrap(), before);
        assert!(store.sandbox("s2").unwrap().is_none());
        let differs = insert("s3", &key("alice", "y")).unwrap_err();
        assert!(matches!(differs, StoreError::RequestDiffers { .. }));
        assert_eq!(insert("s4", &key("bob", "x")).unwrap(), Inserted::New);
        // A request whose sandbox is refused is not remembered.
        let mut other = key("alice", "z");
        other.request = "r2".to_owned();
        assert!(matches!(
            insert("s1", &other),
            Err(StoreError::Exists { .. })
        ));
        assert_eq!(insert("s5", &other).unwrap(), Inserted::New);
    }

    #[test]
    fn a_revoked_delegation_stays_so_until_it_expires() {
        let (_folder, store) = fresh();
        store.revoke_delegation("d1", at(100), NOW).unwrap();
        store.revoke_delegation("d1", at(50), NOW).unwrap();
        assert!(store.is_revoked("d1").unwrap());
        assert!(!store.is_revoked("d2").unwrap());
        let retention = Retention::default();
        assert_eq!(store.prune(&retention, at(99)).unwrap().delegations, 0);
        assert_eq!(store.prune(&retention, at(101)).unwrap().delegations, 1);
        assert!(!store.is_revoked("d1").unwrap());
    }

    #[test]
    fn old_sandboxes_are_forgotten_with_their_tasks() {
        let (_folder, store) = fresh();
        let key = RequestKey {
            principal: "alice".to_owned(),
            request: "r".to_owned(),
            digest: Digest::ZERO,
        };
        for number in 0..250 {
            let id = format!("s{number}");
            store
                .insert_sandbox(
                    &sandbox(&id, "alice"),
                    Some(&key).filter(|_| number == 0),
                    NOW,
                )
                .unwrap();
            if number < 2 {
                store.insert_task(&id, &task(&["true"]), NOW).unwrap();
            }
            if number != 1 {
                store.end_sandbox(&id, &ended(), at(10)).unwrap();
            }
        }
        let retention = Retention {
            sandboxes: Duration::from_secs(60),
            requests: Duration::from_secs(60),
        };
        assert_eq!(store.prune(&retention, at(60)).unwrap().sandboxes.len(), 0);
        let first = store.prune(&retention, at(71)).unwrap();
        assert_eq!(
            (first.sandboxes.len(), first.more, first.requests),
            (200, true, 1)
        );
        assert_eq!(first.spools, ["spool-1"]);
        let rest = store.prune(&retention, at(71)).unwrap();
        assert_eq!((rest.sandboxes.len(), rest.more), (49, false));
        assert_eq!(store.tasks("s1", Page::default()).unwrap().rows.len(), 1);
        assert_eq!(store.count_sandboxes(&SandboxFilter::default()).unwrap(), 1);
    }

    #[test]
    fn reconciliation_adopts_loses_and_names_strangers() {
        let (_folder, store) = fresh();
        for id in ["kept", "frozen", "gone", "over", "unfinished", "reboot"] {
            let mut new = sandbox(id, "alice");
            if id == "reboot" {
                new.boot_id = "boot-0".to_owned();
            }
            store.insert_sandbox(&new, None, NOW).unwrap();
            if id != "unfinished" {
                store
                    .set_sandbox_state(id, SandboxState::Live, None, NOW)
                    .unwrap();
            }
            store.insert_task(id, &task(&["true"]), NOW).unwrap();
        }
        store.end_sandbox("over", &ended(), NOW).unwrap();
        let found = |id: &str| Found {
            id: id.to_owned(),
            frozen: id == "frozen",
            launcher_generation: 2,
        };
        let there: Vec<Found> = ["kept", "frozen", "over", "unfinished", "reboot", "stranger"]
            .map(found)
            .into();
        let result = store.reconcile(&there, "boot-1", at(5)).unwrap();

        let adopted: Vec<_> = result
            .adopted
            .iter()
            .map(|row| row.made.id.as_str())
            .collect();
        assert_eq!(adopted, ["kept", "frozen"]);
        assert_eq!(store.sandbox("frozen").unwrap().unwrap(), result.adopted[1]);
        assert_eq!(result.adopted[1].state, SandboxState::Frozen);
        assert_eq!(result.adopted[0].made.launcher_generation, 2);
        let lost: Vec<_> = result
            .lost
            .iter()
            .map(|l| (l.sandbox.made.id.as_str(), l.why))
            .collect();
        let expected = [
            ("gone", LostWhy::Vanished),
            ("unfinished", LostWhy::Unfinished),
            ("reboot", LostWhy::Rebooted),
        ];
        assert_eq!(lost, expected);
        let foreign = |id: &str, why| Foreign {
            id: id.to_owned(),
            why,
        };
        let expected = [
            foreign("unfinished", ForeignWhy::Unfinished),
            foreign("reboot", ForeignWhy::OtherBoot),
            foreign("over", ForeignWhy::Over),
            foreign("stranger", ForeignWhy::Unknown),
        ];
        assert_eq!(result.foreign, expected);
        let gone = store.sandbox("gone").unwrap().unwrap();
        assert_eq!((gone.state, gone.ended), (SandboxState::Lost, Some(at(5))));
        assert!(
            gone.verdict
                .unwrap()
                .as_str()
                .contains("gone when the manager came back")
        );
        let task = store.task("gone", 1).unwrap().unwrap();
        assert_eq!(task.state, TaskState::Lost);
        // The second time there is nothing left to lose.
        let again = store.reconcile(&there, "boot-1", at(6)).unwrap();
        assert_eq!((again.adopted.len(), again.lost.len()), (2, 0));
    }

    fn set<'a>(scope: Scope, owner: &'a str, name: &'a str, value: &'a str) -> SetVariable<'a> {
        SetVariable {
            scope,
            owner,
            name,
            value,
            allow_code: false,
        }
    }

    #[test]
    fn the_users_variables_go_over_the_projects_over_the_profiles() {
        let (_folder, store) = fresh();
        for variable in [
            set(Scope::Profile, "research", "A", "profile"),
            set(Scope::Profile, "research", "B", "profile"),
            set(Scope::Profile, "research", "C", "profile"),
            set(Scope::Project, "x", "B", "project"),
            set(Scope::Project, "x", "C", "project"),
            set(Scope::User, "alice", "C", ""),
            set(Scope::User, "bob", "A", "bob's"),
        ] {
            store.set_variable(variable, NOW).unwrap();
        }
        let levels = Levels {
            profile: "research",
            project: Some("x"),
            user: "alice",
        };
        let merged = store.effective(levels).unwrap();
        let shown: Vec<_> = merged
            .iter()
            .map(|(name, v)| (name.as_str(), v.value.as_str(), v.from, v.replaced.clone()))
            .collect();
        let expected = [
            ("A", "profile", Scope::Profile, vec![]),
            ("B", "project", Scope::Project, vec![Scope::Profile]),
            ("C", "", Scope::User, vec![Scope::Profile, Scope::Project]),
        ];
        assert_eq!(shown, expected);
        let without = store
            .effective(Levels {
                project: None,
                ..levels
            })
            .unwrap();
        assert_eq!(without["B"].from, Scope::Profile);
        assert!(store.remove_variable((Scope::User, "alice"), "C").unwrap());
        assert!(!store.remove_variable((Scope::User, "alice"), "C").unwrap());
        assert_eq!(store.effective(levels).unwrap()["C"].value, "project");
    }

    #[test]
    fn variables_are_bounded_and_some_names_refused() {
        fn profile<'a>(name: &'a str, value: &'a str) -> SetVariable<'a> {
            set(Scope::Profile, "p", name, value)
        }
        let (_folder, store) = fresh();
        let refused = store
            .set_variable(profile("LD_PRELOAD", "/x.so"), NOW)
            .unwrap_err();
        assert!(
            matches!(refused, StoreError::Name(NameError::RunsCode { .. })),
            "{refused}"
        );
        let allowed = SetVariable {
            allow_code: true,
            ..profile("LD_PRELOAD", "/x.so")
        };
        store.set_variable(allowed, NOW).unwrap();
        assert!(
            store
                .set_variable(profile("A", &"x".repeat(33 << 10)), NOW)
                .is_err()
        );
        assert!(store.set_variable(profile("A", "x\0y"), NOW).is_err());
        assert!(
            store
                .set_variable(set(Scope::User, "", "A", "x"), NOW)
                .is_err()
        );
        for number in 1..256 {
            store
                .set_variable(profile(&format!("V{number}"), "x"), NOW)
                .unwrap();
        }
        let many = store
            .set_variable(profile("ONE_MORE", "x"), NOW)
            .unwrap_err();
        assert!(matches!(many, StoreError::TooMany { .. }), "{many}");
        store.set_variable(profile("V7", "replaced"), NOW).unwrap();
        assert_eq!(store.variables(Scope::Profile, "p").unwrap().len(), 256);
    }

    #[test]
    fn threads_share_the_store() {
        let (_folder, store) = fresh();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    for number in 0..20 {
                        let id = format!("s{thread}-{number}");
                        store
                            .insert_sandbox(&sandbox(&id, "alice"), None, NOW)
                            .unwrap();
                        store.touch(&id, at(1)).unwrap();
                        assert_eq!(store.sandbox(&id).unwrap().unwrap().last_used, at(1));
                    }
                });
            }
        });
        assert_eq!(
            store.count_sandboxes(&SandboxFilter::default()).unwrap(),
            160
        );
    }
}
