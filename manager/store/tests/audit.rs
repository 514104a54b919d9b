//! The log in use: many threads, rotation, retention, recovery, search.

#[cfg(test)]
mod common;
#[cfg(test)]
#[path = "common/files.rs"]
mod files;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::common::{NOW, Place, event};
    use super::files::{files, lines, write_lines};
    use lakekeep_store::audit::{
        AuditError, AuditLog, Event, Filter, Note, Options, Outcome, QueryError, Record, query,
        verify,
    };

    fn all(place: &Place, filter: Filter) -> Vec<Record> {
        let found = query(&place.log(), filter).unwrap();
        found.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn eight_threads_append_over_rotations() {
        const THREADS: u64 = 8;
        const EACH: u64 = 200;
        let place = Place::new();
        let log = place.open(4_000);
        let acknowledged: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let log = &log;
                    scope.spawn(move || {
                        let append = |number| log.append(event(thread * EACH + number)).unwrap();
                        (0..EACH).map(append).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        let live = place.verify();
        assert!(live.is_intact(), "{live:?}");
        log.close().unwrap();

        let numbers: BTreeSet<u64> = acknowledged.iter().map(|event| event.seq).collect();
        assert_eq!(numbers.len() as u64, THREADS * EACH);
        let report = place.verify();
        assert!(report.is_intact(), "{report:?}");
        assert!(report.files > 10, "{}", report.files);
        let records = all(&place, Filter::default());
        assert_eq!(records.len() as u64, report.events);
        for event in acknowledged {
            let record = &records[usize::try_from(event.seq - 1).unwrap()];
            assert_eq!((record.seq(), record.hash()), (event.seq, event.hash));
        }
    }

    #[test]
    fn one_thread_keeps_its_order() {
        let place = Place::written(50, 2_000);
        let filter = Filter {
            action: Some("sandbox.exec".to_owned()),
            ..Filter::default()
        };
        let numbers: Vec<String> = all(&place, filter)
            .iter()
            .map(|record| record.event().extra()["number"].clone())
            .collect();
        assert_eq!(numbers, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn a_log_goes_on_after_it_was_closed() {
        let place = Place::written(5, 1 << 20);
        let log = place.open(1 << 20);
        assert_eq!(log.append(event(9)).unwrap().seq, 7);
        drop(log);
        let report = place.verify();
        assert!(report.is_intact());
        assert_eq!((report.files, report.events), (1, 7));
    }

    #[test]
    fn a_folder_has_one_writer() {
        let place = Place::new();
        let log = place.open(1 << 20);
        let error = AuditLog::open(&place.log(), &place.options(1 << 20), NOW).unwrap_err();
        assert!(matches!(error, AuditError::Locked { .. }), "{error}");
        drop(log);
        drop(place.open(1 << 20));
    }

    #[test]
    fn everything_is_private() {
        let place = Place::written(20, 2_000);
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(place.log()), 0o700);
        for file in place.files() {
            assert_eq!(mode(file), 0o600);
        }
        assert_eq!(mode(place.log().join("head")), 0o600);
        assert_eq!(mode(place.key_file()), 0o600);
    }

    #[test]
    fn a_file_ends_when_it_is_old() {
        let place = Place::new();
        let log = place.open(1 << 20);
        let later = |seconds| {
            let time = NOW.plus(Duration::from_secs(seconds));
            log.append(Event::allowed(time, "a", "b")).unwrap();
        };
        later(0);
        later(3_599);
        assert_eq!(place.files().len(), 1);
        later(3_600);
        assert_eq!(place.files().len(), 2);
        // An event of an earlier time is no reason.
        later(10);
        assert_eq!(place.files().len(), 2);
        drop(log);
        assert!(place.verify().is_intact());
    }

    #[test]
    fn retention_keeps_the_newest_and_the_chain_stays_checkable() {
        let place = Place::new();
        let options = Options {
            keep: 3,
            ..place.options(2_000)
        };
        let log = AuditLog::open(&place.log(), &options, NOW).unwrap().log;
        for number in 0..60 {
            log.append(event(number)).unwrap();
        }
        drop(log);
        assert_eq!(place.files().len(), 3);
        let report = place.verify();
        assert!(report.is_intact(), "{report:?}");
        assert!(report.head.unwrap().first > 1);
        // One more that is gone is nobody's retention.
        std::fs::remove_file(&place.files()[0]).unwrap();
        assert!(!place.verify().is_intact());
    }

    #[test]
    fn an_interrupted_retention_is_finished() {
        let place = Place::new();
        let options = Options {
            keep: 2,
            ..place.options(2_000)
        };
        let log = AuditLog::open(&place.log(), &options, NOW).unwrap().log;
        let (mut number, mut old) = (0, None);
        while place.files().len() < 3 && number < 60 {
            let oldest = place.files()[0].clone();
            old = Some((oldest.clone(), std::fs::read(&oldest).unwrap()));
            log.append(event(number)).unwrap();
            number += 1;
            if !oldest.exists() {
                break;
            }
        }
        drop(log);
        let (path, content) = old.unwrap();
        assert!(!path.exists());
        std::fs::write(&path, content).unwrap();
        let report = place.verify();
        assert!(report.is_intact());
        assert!(matches!(report.notes[..], [Note::Leftover { .. }]));
        drop(AuditLog::open(&place.log(), &options, NOW).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn every_torn_end_is_moved_aside_and_the_chain_goes_on() {
        let place = Place::written(3, 1 << 20);
        let spare = Place::written(1, 1 << 20);
        let torn = lines(&spare.files()[0])[1].clone();
        let file = place.files()[0].clone();
        for (attempt, length) in [1, 7, torn.len() / 2, torn.len()].into_iter().enumerate() {
            let tail = &torn.as_bytes()[..length];
            let mut content = std::fs::read(&file).unwrap();
            content.extend_from_slice(tail);
            std::fs::write(&file, &content).unwrap();
            let report = place.verify();
            assert!(report.is_intact());
            assert!(
                matches!(report.notes[..], [Note::Unfinished { bytes, .. }] if bytes == length as u64)
            );

            let opened = AuditLog::open(&place.log(), &place.options(1 << 20), NOW).unwrap();
            let found = opened.torn.unwrap();
            assert_eq!(std::fs::read(&found.kept_as).unwrap(), tail);
            opened.log.append(event(4)).unwrap();
            drop(opened.log);
            assert!(place.verify().is_intact());
            assert_eq!(files(&place.log(), ".torn").len(), attempt + 1);
        }
        let filter = Filter {
            action: Some("audit.recovered".to_owned()),
            ..Filter::default()
        };
        assert_eq!(all(&place, filter).len(), 4);
    }

    #[test]
    fn whole_lines_of_garbage_that_nobody_was_promised_are_moved_aside() {
        let place = Place::written(3, 1 << 20);
        let file = &place.files()[0];
        let mut content = std::fs::read(file).unwrap();
        content.extend_from_slice(&[0; 4096]);
        content.extend_from_slice(b"\n{}\nx");
        std::fs::write(file, &content).unwrap();
        let opened = AuditLog::open(&place.log(), &place.options(1 << 20), NOW).unwrap();
        assert_eq!(opened.torn.unwrap().bytes, 4096 + 5);
        drop(opened.log);
        assert!(place.verify().is_intact());
    }

    #[test]
    fn a_file_whose_header_was_cut_off_gets_a_new_one() {
        for header in [&b""[..], b"{\"seq\":"] {
            let place = Place::written(3, 1 << 20);
            let next = place.log().join("audit-00000000000000000005.jsonl");
            std::fs::write(&next, header).unwrap();
            assert!(place.verify().is_intact());
            let opened = AuditLog::open(&place.log(), &place.options(1 << 20), NOW).unwrap();
            assert_eq!(
                opened.torn.map_or(0, |torn| torn.bytes),
                header.len() as u64
            );
            drop(opened.log);
            let report = place.verify();
            assert!(report.is_intact(), "{report:?}");
            assert_eq!(report.files, 2);
        }
    }

    #[test]
    fn a_rotation_that_fails_refuses_the_event_and_the_log_goes_on() {
        let place = Place::new();
        let log = place.open(1);
        let taken = place.log().join("audit-00000000000000000002.jsonl");
        std::fs::create_dir(&taken).unwrap();
        let error = log.append(event(0)).unwrap_err();
        assert!(matches!(error, AuditError::File(_)), "{error}");
        std::fs::remove_dir(&taken).unwrap();
        assert_eq!(log.append(event(1)).unwrap().seq, 3);
        drop(log);
        assert!(place.verify().is_intact());
    }

    #[test]
    fn a_submitted_event_is_answered_once_it_is_durable() {
        let place = Place::new();
        let log = place.open(1 << 20);
        let (sender, receiver) = std::sync::mpsc::channel();
        for number in 0..1_000 {
            let sender = sender.clone();
            log.submit(event(number), move |answer| {
                sender.send(answer.unwrap().seq).unwrap()
            })
            .unwrap();
        }
        let answers: Vec<u64> = receiver.iter().take(1_000).collect();
        assert_eq!(answers, (2..=1_001).collect::<Vec<_>>());
        let report = verify(&place.log(), Some(&place.key())).unwrap();
        assert!(report.events >= 1_001);
    }

    /// A log with events of several kinds.
    fn mixed() -> Place {
        let place = Place::new();
        let log = place.open(2_000);
        for number in 0..60_u64 {
            let time = NOW.plus(Duration::from_secs(number));
            let who = ["alice", "bob"][(number % 2) as usize];
            let action = ["sandbox.create", "sandbox.exec", "secret.set"][(number % 3) as usize];
            let event = match number % 4 {
                0 => Event::denied(time, who, action, "no"),
                1 => Event::error(time, who, action, "oops"),
                _ => Event::allowed(time, who, action),
            };
            let event = event.with_profile(["p", "q"][(number % 5 / 3) as usize]);
            log.append(event.with_sandbox(&format!("s{}", number % 7)))
                .unwrap();
        }
        place
    }

    #[test]
    fn every_filter_takes_what_it_says() {
        let place = mixed();
        let text = |text: &str| Some(text.to_owned());
        let at = |seconds| Some(NOW.plus(Duration::from_secs(seconds)));
        let ours = Filter {
            profile: text("p"),
            ..Filter::default()
        };
        let count = |filter: Filter| all(&place, filter).len();
        assert_eq!(count(ours), 36);
        assert_eq!(
            count(Filter {
                who: text("alice"),
                ..Filter::default()
            }),
            30
        );
        assert_eq!(
            count(Filter {
                action: text("secret.set"),
                ..Filter::default()
            }),
            20
        );
        assert_eq!(
            count(Filter {
                action: text("sandbox.*"),
                ..Filter::default()
            }),
            40
        );
        assert_eq!(
            count(Filter {
                action: text("sandbox"),
                ..Filter::default()
            }),
            0
        );
        assert_eq!(
            count(Filter {
                sandbox: text("s0"),
                ..Filter::default()
            }),
            9
        );
        assert_eq!(
            count(Filter {
                outcome: Some(Outcome::Denied),
                ..Filter::default()
            }),
            15
        );
        let span = Filter {
            since: at(10),
            until: at(20),
            who: text("bob"),
            ..Filter::default()
        };
        assert_eq!(count(span), 5);
        assert_eq!(
            count(Filter {
                limit: Some(7),
                ..Filter::default()
            }),
            7
        );
        assert_eq!(
            count(Filter {
                limit: Some(0),
                ..Filter::default()
            }),
            0
        );
    }

    #[test]
    fn pages_make_up_the_whole() {
        let place = mixed();
        let whole: Vec<u64> = all(&place, Filter::default())
            .iter()
            .map(Record::seq)
            .collect();
        let (mut paged, mut after) = (Vec::new(), None);
        loop {
            let page = all(
                &place,
                Filter {
                    after,
                    limit: Some(11),
                    ..Filter::default()
                },
            );
            let Some(last) = page.last() else { break };
            after = Some(last.seq());
            paged.extend(page.iter().map(Record::seq));
        }
        assert_eq!(paged, whole);
    }

    #[test]
    fn a_search_names_malformed_lines_and_goes_on() {
        let place = Place::written(5, 1 << 20);
        let file = &place.files()[0];
        let mut content = lines(file);
        content.insert(2, "x".repeat(2 << 20));
        content.insert(4, "{}".to_owned());
        write_lines(file, &content);
        let found: Vec<_> = query(&place.log(), Filter::default()).unwrap().collect();
        let malformed: Vec<u64> = found
            .iter()
            .filter_map(|item| match item {
                Err(QueryError::Malformed(malformed)) => Some(malformed.line),
                _ => None,
            })
            .collect();
        assert_eq!(malformed, [3, 5]);
        assert_eq!(found.iter().filter(|item| item.is_ok()).count(), 6);
    }
}
