//! What is remembered of sandboxes after their end.

#[cfg(test)]
#[path = "common/rows.rs"]
mod rows;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::rows::{sandbox, task};
    use lakekeep_store::state::{
        Ending, PastFilter, PastTask, Record, Retention, SandboxState, Store, TaskState,
        arguments_digest,
    };
    use lakekeep_store::{JsonText, Timestamp};

    const START: u64 = 1_800_000_000_000_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(START + seconds * 1_000_000)
    }

    fn fresh() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).unwrap();
        (folder, store)
    }

    fn json(text: &str) -> JsonText {
        JsonText::new(text.to_owned()).unwrap()
    }

    fn made(id: &str, owner: &str, seconds: u64) -> Record {
        Record::Made {
            sandbox: Box::new(sandbox(id, owner)),
            volumes: vec!["home".to_owned()],
            at: at(seconds),
        }
    }

    fn ran(id: &str, number: u32, seconds: u64) -> Record {
        Record::Task(Box::new(PastTask {
            sandbox: id.to_owned(),
            number,
            arguments: arguments_digest(&["true"]),
            program: "true".to_owned(),
            tty: false,
            state: TaskState::Ended,
            started: at(seconds),
            ended: at(seconds + 1),
            exit_code: 3,
            verdict: Some(json("{\"kind\":\"exit\"}")),
            receipt: Some(json("{\"layers\":[]}")),
        }))
    }

    fn ended(id: &str, seconds: u64) -> Record {
        Record::Ended {
            sandbox: id.to_owned(),
            end: Ending {
                state: SandboxState::Ended,
                verdict: Some(json("{\"kind\":\"killed\"}")),
                receipt: None,
            },
            last_used: at(seconds - 1),
            at: at(seconds),
        }
    }

    fn ids(store: &Store, after: &str, filter: &PastFilter) -> Vec<String> {
        let found = store.past_after(after, filter, 100).unwrap();
        found.into_iter().map(|past| past.sandbox.made.id).collect()
    }

    #[test]
    fn a_sandbox_is_found_with_its_tasks_after_its_end() {
        let (folder, store) = fresh();
        let receipt = json("{\"layers\":[\"x\"]}");
        let enforced = Record::Enforced {
            sandbox: "a".to_owned(),
            receipt: receipt.clone(),
        };
        let records = [
            made("a", "alice", 0),
            enforced,
            ran("a", 1, 1),
            ran("a", 2, 2),
            ended("a", 9),
        ];
        store.record(&records).unwrap();
        drop(store);
        let store = Store::open(&folder.path().join("state.db")).unwrap();
        let past = store.past("a").unwrap().unwrap();
        assert_eq!(past.volumes, ["home"]);
        assert_eq!(past.sandbox.state, SandboxState::Ended);
        assert_eq!(past.sandbox.ended, Some(at(9)));
        assert_eq!(past.sandbox.last_used, at(8));
        assert_eq!(past.sandbox.receipt, Some(receipt));
        let tasks = store.past_tasks("a", 100).unwrap();
        let numbers: Vec<u32> = tasks.iter().map(|task| task.number).collect();
        assert_eq!(numbers, [1, 2]);
        assert_eq!(store.past_tasks("a", 1).unwrap()[0].number, 2);
        assert_eq!(tasks[0].exit_code, 3);
        assert_eq!(store.past_task("a", 0).unwrap().unwrap().number, 2);
        assert_eq!(store.past_task("a", 1).unwrap().unwrap(), tasks[0]);
        assert!(store.past_task("a", 3).unwrap().is_none());
        assert!(store.past("b").unwrap().is_none());
    }

    #[test]
    fn what_is_told_twice_or_of_nobody_changes_nothing() {
        let (_folder, store) = fresh();
        store
            .record(&[ran("nobody", 1, 1), ended("nobody", 2)])
            .unwrap();
        assert!(store.past("nobody").unwrap().is_none());
        let all = [made("a", "alice", 0), ran("a", 1, 1), ended("a", 9)];
        store.record(&all).unwrap();
        let before = (store.past("a").unwrap(), store.past_tasks("a", 9).unwrap());
        store
            .record(&[made("a", "bob", 50), ran("a", 1, 60), ended("a", 90)])
            .unwrap();
        let after = (store.past("a").unwrap(), store.past_tasks("a", 9).unwrap());
        assert_eq!(before, after);
    }

    #[test]
    fn lists_are_of_ended_ones_in_the_order_of_their_identifiers() {
        let (_folder, store) = fresh();
        for (id, owner) in [("c", "alice"), ("a", "alice"), ("b", "bob"), ("d", "alice")] {
            store.record(&[made(id, owner, 0)]).unwrap();
        }
        store
            .record(&[ended("a", 5), ended("b", 4), ended("c", 3)])
            .unwrap();
        let all = PastFilter::default();
        assert_eq!(ids(&store, "", &all), ["a", "b", "c"]);
        assert_eq!(ids(&store, "a", &all), ["b", "c"]);
        let of = PastFilter {
            owner: Some("alice".to_owned()),
            profile: Some("research".to_owned()),
        };
        assert_eq!(ids(&store, "", &of), ["a", "c"]);
        let none = PastFilter {
            profile: Some("other".to_owned()),
            ..PastFilter::default()
        };
        assert!(ids(&store, "", &none).is_empty());
    }

    #[test]
    fn rows_are_bounded_and_the_oldest_go_first() {
        let (_folder, store) = fresh();
        for (number, id) in ["a", "b", "c"].into_iter().enumerate() {
            let seconds = 10 * u64::try_from(number).unwrap();
            let records = [
                made(id, "alice", seconds),
                ran(id, 1, seconds),
                ended(id, seconds + 9),
            ];
            store.record(&records).unwrap();
        }
        store.record(&[made("live", "alice", 1)]).unwrap();
        for number in 1..=3 {
            store
                .record(&[ran("live", number, u64::from(number))])
                .unwrap();
        }
        let prune = |rows| while store.prune_rows(rows).unwrap() {};
        prune(10);
        assert_eq!(ids(&store, "", &PastFilter::default()), ["a", "b", "c"]);
        prune(8);
        assert_eq!(ids(&store, "", &PastFilter::default()), ["c"]);
        prune(2);
        assert!(ids(&store, "", &PastFilter::default()).is_empty());
        let left = store.past_tasks("live", 9).unwrap();
        assert_eq!(left.iter().map(|task| task.number).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn what_is_old_is_forgotten_and_what_lives_is_not() {
        let (_folder, store) = fresh();
        store
            .record(&[made("old", "alice", 0), ran("old", 1, 1), ended("old", 9)])
            .unwrap();
        store.record(&[made("live", "alice", 0)]).unwrap();
        store.insert_task("live", &task(&["true"]), at(1)).unwrap();
        let retention = Retention {
            sandboxes: Duration::from_secs(100),
            ..Retention::default()
        };
        store.prune(&retention, at(109)).unwrap();
        assert!(store.past("old").unwrap().is_some());
        store.prune(&retention, at(110)).unwrap();
        assert!(store.past("old").unwrap().is_none());
        assert!(store.past_tasks("old", 9).unwrap().is_empty());
        assert!(store.past("live").unwrap().is_some());
    }
}
