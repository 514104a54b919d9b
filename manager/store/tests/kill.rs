//! A process that writes is killed at random moments; what it was told to be
//! durable is there afterwards.
//!
//! The tests run this file's ignored tests as processes of their own, which
//! print a line for every acknowledgement. They are killed after a random
//! number of lines; the seed is printed.

#[cfg(test)]
mod common;
#[cfg(test)]
#[path = "common/rows.rs"]
mod rows;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::hash::{BuildHasher, Hasher};
    use std::io::{BufRead, BufReader};
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::common::{NOW, Place, event};
    use super::rows::{sandbox, task};
    use lakekeep_store::Timestamp;
    use lakekeep_store::audit::{AuditError, AuditLog, Filter, Options, query};
    use lakekeep_store::flows::{
        Filter as Flows, FlowKind, FlowLog, FlowMode, FlowRow, FlowVerdict, GapCause,
        LONGEST_FLOW_PAGE, Retention,
    };
    use lakekeep_store::secrets::{Plaintext, SecretName, Vault};
    use lakekeep_store::state::{Scope, SetVariable, Store};

    const FOLDER: &str = "LAKEKEEP_STORE_TEST_FOLDER";
    const KILLS: u64 = 60;

    /// The folder that the parent gave.
    fn folder() -> Option<PathBuf> {
        std::env::var_os(FOLDER).map(PathBuf::from)
    }

    /// A small generator: no test needs better.
    struct Random(u64);

    impl Random {
        fn new() -> Random {
            let seed = std::hash::RandomState::new().build_hasher().finish() | 1;
            println!("seed {seed}");
            Random(seed)
        }

        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }
    }

    /// Runs a test of this file as a process, kills it after `lines`
    /// acknowledgements, and returns all that it printed.
    fn killed_after(lines: u64, child: &str, folder: &Path) -> Vec<String> {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                &format!("tests::{child}"),
                "--ignored",
                "--nocapture",
            ])
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut acknowledged = Vec::new();
        for line in output.lines() {
            // What the pipe holds when the process dies was acknowledged as well.
            let Ok(line) = line else { break };
            if let Some(rest) = line.strip_prefix("ack ") {
                acknowledged.push(rest.to_owned());
                if acknowledged.len() as u64 == lines {
                    process.kill().unwrap();
                }
            }
        }
        let ended = process.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(
            acknowledged.len() as u64 >= lines,
            "the child ended by itself: {words}"
        );
        acknowledged
    }

    #[test]
    #[ignore = "the process that the test of the audit log kills"]
    fn child_audit() {
        let Some(folder) = folder() else { return };
        let options = Options {
            max_bytes: 20_000,
            keep: 10_000,
            key: Some(folder.join("audit.key")),
            ..Options::default()
        };
        let log = AuditLog::open(&folder.join("log"), &options, NOW)
            .unwrap()
            .log;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0.. {
                        let done = log.append(event(number)).unwrap();
                        println!("ack {} {}", done.seq, done.hash);
                    }
                });
            }
        });
    }

    #[test]
    fn no_acknowledged_event_is_lost_by_a_kill() {
        let place = Place::new();
        let root = place.log().parent().unwrap().to_owned();
        let mut random = Random::new();
        let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
        for round in 0..KILLS {
            let lines = 1 + random.below(150);
            for line in killed_after(lines, "child_audit", &root) {
                let (seq, hash) = line.split_once(' ').unwrap();
                let before = acknowledged.insert(seq.parse().unwrap(), hash.to_owned());
                assert_eq!(
                    before, None,
                    "round {round}: event {seq} was acknowledged twice"
                );
            }
            let report = place.verify();
            assert!(report.is_intact(), "round {round}: {:?}", report.broken);
            let there: BTreeMap<u64, String> = query(&place.log(), Filter::default())
                .unwrap()
                .map(|record| record.unwrap())
                .map(|record| (record.seq(), record.hash().to_string()))
                .collect();
            for (seq, hash) in &acknowledged {
                assert_eq!(there.get(seq), Some(hash), "round {round}: event {seq}");
            }
        }
        drop(AuditLog::open(&place.log(), &place.options(20_000), NOW).unwrap());
        assert!(place.verify().is_intact());
    }

    #[test]
    #[ignore = "the process that the test of the state kills"]
    fn child_state() {
        let Some(folder) = folder() else { return };
        let store = Store::open(&folder.join("state.db")).unwrap();
        let process = std::process::id();
        for number in 0.. {
            let id = format!("s-{process}-{number}");
            store
                .insert_sandbox(&sandbox(&id, "alice"), None, NOW)
                .unwrap();
            let task = store.insert_task(&id, &task(&["true"]), NOW).unwrap();
            let set = SetVariable {
                scope: Scope::User,
                owner: &id,
                name: "A",
                value: &id,
                allow_code: false,
            };
            store.set_variable(set, NOW).unwrap();
            println!("ack {id} {task}");
        }
    }

    #[test]
    fn no_acknowledged_row_is_lost_by_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random::new();
        let mut acknowledged = BTreeSet::new();
        for _ in 0..KILLS {
            let lines = 1 + random.below(40);
            acknowledged.extend(killed_after(lines, "child_state", folder.path()));
            let store = Store::open(&folder.path().join("state.db")).unwrap();
            for line in &acknowledged {
                let (id, task) = line.split_once(' ').unwrap();
                assert!(store.sandbox(id).unwrap().is_some(), "{id}");
                assert!(
                    store.task(id, task.parse().unwrap()).unwrap().is_some(),
                    "{id}"
                );
                assert_eq!(store.variables(Scope::User, id).unwrap()[0].value, id);
            }
        }
    }

    #[test]
    #[ignore = "the process that the test of key rotation kills"]
    fn child_rotation() {
        let Some(folder) = folder() else { return };
        let store = Arc::new(Store::open(&folder.join("state.db")).unwrap());
        let vault = Vault::open(store, &folder.join("secrets.key")).unwrap();
        for number in 0.. {
            let name = format!("S{}", number % 20);
            let which = SecretName {
                scope: Scope::User,
                owner: "alice",
                name: &name,
            };
            let value = Plaintext::new(format!("value of {name}").into_bytes());
            vault.set(which, &value, NOW).unwrap();
            println!("ack {name}");
            vault.rotate().unwrap();
        }
    }

    #[test]
    fn no_secret_is_lost_by_a_kill_in_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random::new();
        let mut names = BTreeSet::new();
        for _ in 0..KILLS {
            let lines = 1 + random.below(12);
            names.extend(killed_after(lines, "child_rotation", folder.path()));
            let store = Arc::new(Store::open(&folder.path().join("state.db")).unwrap());
            let vault = Vault::open(store, &folder.path().join("secrets.key")).unwrap();
            for name in &names {
                let which = SecretName {
                    scope: Scope::User,
                    owner: "alice",
                    name,
                };
                let value = vault.get(which).unwrap();
                assert_eq!(value.expose(), format!("value of {name}").as_bytes());
            }
            assert!(!folder.path().join("secrets.key.new").exists());
        }
    }

    #[test]
    #[ignore = "the process that the test of the log of flows kills"]
    fn child_flows() {
        let Some(folder) = folder() else { return };
        let log = FlowLog::open(&folder.join("flows.db"), Retention::default()).unwrap();
        let process = std::process::id();
        for number in 0.. {
            log.note(flow(process, number));
            if number % 7 == 0 {
                log.flush().unwrap();
                println!("ack {process} {number}");
            }
        }
    }

    fn flow(process: u32, number: u32) -> FlowRow {
        FlowRow {
            at: Timestamp::from(SystemTime::now()),
            principal: "alice".to_owned(),
            identity: "alice".to_owned(),
            profile: "research".to_owned(),
            sandbox: process.to_string(),
            task: Some(number),
            query: None,
            kind: FlowKind::Name,
            name: Some("n.example".to_owned()),
            address: None,
            port: None,
            rule: None,
            mode: FlowMode::Enforce,
            verdict: FlowVerdict::Denied,
            words: String::new(),
            sent: 0,
            received: 0,
            duration_us: 0,
        }
    }

    /// What was flushed is there, what follows it is there without a hole, and that there may
    /// have been more is told.
    #[test]
    fn no_flushed_flow_is_lost_by_a_kill_and_no_hole_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random::new();
        for round in 1..=KILLS {
            let lines = 1 + random.below(30);
            let acknowledged = killed_after(lines, "child_flows", folder.path());
            let (process, last) = acknowledged.last().unwrap().split_once(' ').unwrap();
            let log = FlowLog::open(&folder.path().join("flows.db"), Retention::default()).unwrap();
            assert_eq!(log.killed().unwrap().cause, GapCause::Killed);
            assert_eq!(log.gaps(None, None).unwrap().len() as u64, round);
            let filter = Flows {
                sandbox: Some(process.to_owned()),
                ..Flows::default()
            };
            let rows = log.query(&filter, None, LONGEST_FLOW_PAGE).unwrap().rows;
            let numbers: BTreeSet<u32> = rows.iter().filter_map(|row| row.task).collect();
            assert_eq!(numbers.len(), rows.len(), "round {round}");
            assert!(
                numbers
                    .into_iter()
                    .eq(0..u32::try_from(rows.len()).unwrap()),
                "round {round}"
            );
            assert!(rows.len() > last.parse().unwrap(), "round {round}");
        }
    }

    #[test]
    #[ignore = "the process whose files may not grow"]
    fn child_full() {
        let Some(folder) = folder() else { return };
        let options = Options {
            key: Some(folder.join("audit.key")),
            ..Options::default()
        };
        let log = AuditLog::open(&folder.join("log"), &options, NOW)
            .unwrap()
            .log;
        let refused = (0..10_000).find_map(|number| log.append(event(number)).err());
        assert!(matches!(refused, Some(AuditError::File(_))), "{refused:?}");
        assert!(log.append(event(0)).is_err());
        // The log has not stopped: only what found no room was refused.
        log.close().unwrap();
        println!("full");
    }

    /// A file that may not grow stands for a full disk: the kernel writes a part
    /// of a line and refuses the rest (RLIMIT_FSIZE, with its signal ignored).
    #[test]
    fn a_full_disk_refuses_events_and_leaves_no_part_of_one() {
        let place = Place::new();
        let root = place.log().parent().unwrap().to_owned();
        let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
        let output = Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "tests::child_full", "--ignored", "--nocapture"])
            .env(FOLDER, &root)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            said.contains("full"),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let report = place.verify();
        assert!(report.is_intact() && report.notes.is_empty(), "{report:?}");
        let opened = AuditLog::open(&place.log(), &place.options(1 << 20), NOW).unwrap();
        assert_eq!(opened.torn, None);
        assert_eq!(opened.log.append(event(1)).unwrap().seq, report.events + 1);
    }
}
