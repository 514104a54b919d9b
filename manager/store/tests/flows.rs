//! The log of flows: what is found again, in which parts, what is forgotten, and what is told
//! of what is missing.

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::LazyLock;
    use std::time::{Duration, SystemTime};

    use lakekeep_store::Timestamp;
    use lakekeep_store::flows::{
        Cursor, Filter, FlowKind, FlowLog, FlowMode, FlowRow, FlowVerdict, GapCause, Retention,
    };
    use lakekeep_store::state::{Store, StoreError};
    use proptest::prelude::*;

    fn now() -> Timestamp {
        Timestamp::from(SystemTime::now())
    }

    fn row(at: Timestamp, principal: &str, name: &str) -> FlowRow {
        FlowRow {
            at,
            principal: principal.to_owned(),
            identity: format!("{principal}-on-disk"),
            profile: "research".to_owned(),
            sandbox: "0a1b".to_owned(),
            task: Some(3),
            query: Some("q-17".to_owned()),
            kind: FlowKind::Connection,
            name: Some(name.to_owned()),
            address: Some("2001:db8::7".parse().unwrap()),
            port: Some(443),
            rule: Some(format!("allow tls {name}:443")),
            mode: FlowMode::Enforce,
            verdict: FlowVerdict::Allowed,
            words: "closed".to_owned(),
            sent: 517,
            received: 1 << 40,
            duration_us: 1_000_001,
        }
    }

    fn open(folder: &Path, keep: Retention) -> FlowLog {
        FlowLog::open(&folder.join("flows.db"), keep).unwrap()
    }

    /// Everything, in parts of `most`.
    fn all(log: &FlowLog, filter: &Filter, most: usize) -> Vec<FlowRow> {
        let (mut rows, mut after): (Vec<FlowRow>, Option<Cursor>) = (Vec::new(), None);
        loop {
            let page = log.query(filter, after, most).unwrap();
            assert!(page.rows.len() <= most);
            rows.extend(page.rows);
            after = page.next;
            if after.is_none() {
                return rows;
            }
        }
    }

    #[test]
    fn what_was_noted_is_there_after_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path(), Retention::default());
        let start = now();
        let mut bare = row(start.plus(Duration::from_secs(1)), "bob", "x");
        (bare.name, bare.address, bare.port) = (None, None, None);
        (bare.task, bare.query, bare.rule) = (None, None, None);
        let rows = [row(start, "alice", "pypi.example"), bare];
        rows.iter().cloned().for_each(|row| log.note(row));
        log.flush().unwrap();
        assert_eq!(all(&log, &Filter::default(), 10), rows);
        assert_eq!((log.counts().written, log.counts().lost), (2, 0));
        log.close().unwrap();
        let log = open(folder.path(), Retention::default());
        assert_eq!(all(&log, &Filter::default(), 10), rows);
        assert_eq!(log.killed(), None);
        assert!(log.gaps(None, None).unwrap().is_empty());
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_character() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path(), Retention::default());
        let mut long = row(now(), &"é".repeat(200), "x");
        (long.words, long.sent) = ("é".repeat(3000), u64::MAX);
        log.note(long);
        log.flush().unwrap();
        let kept = all(&log, &Filter::default(), 10).remove(0);
        assert_eq!(kept.principal, "é".repeat(128));
        assert_eq!(kept.words.len(), 1024);
        assert_eq!(kept.sent, i64::MAX.cast_unsigned());
    }

    #[test]
    fn rows_are_bounded_by_number_and_age() {
        let folder = tempfile::tempdir().unwrap();
        let (start, day) = (now(), Duration::from_secs(24 * 60 * 60));
        let few = Retention {
            rows: 3,
            ..Retention::default()
        };
        let log = open(folder.path(), few);
        for number in 0..6 {
            let at = start.plus(Duration::from_secs(number));
            log.note(row(at, "alice", &format!("n{number}.example")));
        }
        log.note(row(start.minus(40 * day), "alice", "old.example"));
        log.flush().unwrap();
        assert_eq!(
            all(&log, &Filter::default(), 10).len(),
            7,
            "it is looked for at a start, and now and then"
        );
        drop(log);
        let log = open(folder.path(), few);
        let names: Vec<_> = all(&log, &Filter::default(), 10)
            .into_iter()
            .filter_map(|row| row.name)
            .collect();
        // The old one went by its age, though it came last.
        assert_eq!(names, ["n3.example", "n4.example", "n5.example"]);
    }

    #[test]
    fn bytes_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path(), Retention::default());
        let start = now();
        for number in 0..4000_u64 {
            log.note(row(
                start.plus(Duration::from_micros(number)),
                "alice",
                "n.example",
            ));
        }
        log.close().unwrap();
        let bytes = 400 << 10;
        let log = open(
            folder.path(),
            Retention {
                bytes,
                ..Retention::default()
            },
        );
        let left = all(&log, &Filter::default(), 10_000);
        assert!((100..3000).contains(&left.len()), "{}", left.len());
        assert_eq!(
            left.last().unwrap().at,
            start.plus(Duration::from_micros(3999))
        );
    }

    /// As a kill leaves the files: the database and its log, and nobody who closed them.
    fn as_if_killed(from: &Path, to: &Path) {
        for name in ["flows.db", "flows.db-wal"] {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }

    #[test]
    fn who_was_killed_is_told_as_a_gap_and_nothing_written_is_lost() {
        let [folder, after] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        let log = open(folder.path(), Retention::default());
        let start = now();
        log.note(row(start, "alice", "a.example"));
        log.flush().unwrap();
        as_if_killed(folder.path(), after.path());
        let log = open(after.path(), Retention::default());
        let gap = *log.killed().unwrap();
        assert_eq!(
            (gap.first, gap.rows, gap.cause),
            (start, None, GapCause::Killed)
        );
        assert_eq!(log.gaps(None, None).unwrap(), [gap]);
        assert!(log.gaps(None, Some(start)).unwrap().is_empty());
        assert_eq!(all(&log, &Filter::default(), 10).len(), 1);
        drop(log);
        assert_eq!(open(after.path(), Retention::default()).killed(), None);
    }

    /// A write to the disk that a loss of power tore: the last batch goes, those before stay.
    #[test]
    fn a_torn_write_loses_the_last_batch_alone() {
        for torn in [1, 100, 5000] {
            let [folder, after] = [(), ()].map(|()| tempfile::tempdir().unwrap());
            let log = open(folder.path(), Retention::default());
            let mut before = 0;
            for batch in 0..5 {
                before = std::fs::metadata(folder.path().join("flows.db-wal"))
                    .unwrap()
                    .len();
                for number in 0..50 {
                    let at = now().plus(Duration::from_micros(batch * 50 + number));
                    log.note(row(at, "alice", &format!("b{batch}.example")));
                }
                log.flush().unwrap();
            }
            as_if_killed(folder.path(), after.path());
            let wal = after.path().join("flows.db-wal");
            let length = std::fs::metadata(&wal).unwrap().len();
            assert!(
                length - torn > before,
                "the last batch is longer than what is torn of it"
            );
            let file = std::fs::OpenOptions::new().write(true).open(&wal).unwrap();
            file.set_len(length - torn).unwrap();
            let log = open(after.path(), Retention::default());
            let names: Vec<_> = all(&log, &Filter::default(), 1000)
                .into_iter()
                .filter_map(|row| row.name)
                .collect();
            assert_eq!(names.len(), 200, "torn by {torn}");
            assert!(!names.iter().any(|name| name == "b4.example"));
            assert!(log.killed().is_some());
        }
    }

    #[test]
    fn what_the_queue_has_no_room_for_is_counted_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path(), Retention::default());
        // Another connection holds the database: the thread waits, and nobody who notes does.
        let other = rusqlite::Connection::open(folder.path().join("flows.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let start = now();
        for number in 0..30_000_u64 {
            log.note(row(
                start.plus(Duration::from_micros(number)),
                "alice",
                "n.example",
            ));
        }
        let lost = log.counts().lost;
        assert!(lost > 10_000, "{lost}");
        other.execute_batch("ROLLBACK").unwrap();
        log.flush().unwrap();
        // A gap is written with the next row.
        log.note(row(start, "alice", "n.example"));
        log.flush().unwrap();
        let gaps = log.gaps(None, None).unwrap();
        let told: u64 = gaps.iter().filter_map(|gap| gap.rows).sum();
        assert_eq!(told, lost, "{gaps:?}");
        assert!(gaps.iter().all(|gap| gap.cause == GapCause::Overflow));
        assert_eq!(log.counts().written + lost, 30_001);
    }

    #[test]
    fn what_the_database_refuses_is_counted_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path(), Retention::default());
        let other = rusqlite::Connection::open(folder.path().join("flows.db")).unwrap();
        other
            .execute_batch("ALTER TABLE flows RENAME TO away")
            .unwrap();
        let start = now();
        log.note(row(start, "alice", "lost.example"));
        assert!(matches!(log.flush(), Err(StoreError::Sql { .. })));
        other
            .execute_batch("ALTER TABLE away RENAME TO flows")
            .unwrap();
        log.note(row(
            start.plus(Duration::from_secs(1)),
            "alice",
            "kept.example",
        ));
        log.flush().unwrap();
        assert_eq!(all(&log, &Filter::default(), 10).len(), 1);
        let gaps = log.gaps(None, None).unwrap();
        assert_eq!(
            (gaps.len(), gaps[0].rows, gaps[0].cause),
            (1, Some(1), GapCause::NotWritten)
        );
        assert_eq!((gaps[0].first, gaps[0].last), (start, start));
        assert_eq!((log.counts().written, log.counts().lost), (1, 1));
    }

    #[test]
    fn what_a_relay_forgot_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path(), Retention::default());
        log.forgotten(12, now());
        log.close().unwrap();
        let log = open(folder.path(), Retention::default());
        let gaps = log.gaps(None, None).unwrap();
        assert_eq!(
            (gaps.len(), gaps[0].rows, gaps[0].cause),
            (1, Some(12), GapCause::Unattended)
        );
        assert!(
            gaps[0]
                .to_string()
                .starts_with("12 flows are missing between ")
        );
    }

    #[test]
    fn another_database_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        drop(Store::open(&path).unwrap());
        let refused = FlowLog::open(&path, Retention::default());
        assert!(
            matches!(refused, Err(StoreError::Foreign { .. })),
            "{refused:?}"
        );
        Store::open(&path).unwrap();
    }

    /// Rows of few users, names and times, so that filters meet some.
    fn rows() -> impl Strategy<Value = Vec<FlowRow>> {
        let one = (
            0..20_u64,
            prop::sample::select(vec!["alice", "bob", "eve'--"]),
            prop::sample::select(vec!["a.x", "b.a.x", "x", "%.x", "_.x"]),
            prop::sample::select(FlowVerdict::ALL.to_vec()),
            prop::sample::select(vec!["research", "sales"]),
        )
            .prop_map(|(second, user, name, verdict, profile)| FlowRow {
                verdict,
                profile: profile.to_owned(),
                ..row(base().plus(Duration::from_secs(second)), user, name)
            });
        prop::collection::vec(one, 0..40)
    }

    /// Not older than what is remembered, and the same for rows and filters.
    fn base() -> Timestamp {
        static BASE: LazyLock<Timestamp> = LazyLock::new(now);
        *BASE
    }

    fn filters() -> impl Strategy<Value = Filter> {
        let maybe = |words: Vec<&'static str>| prop::option::of(prop::sample::select(words));
        (
            prop::option::of(0..20_u64),
            prop::option::of(0..20_u64),
            maybe(vec!["alice", "bob", "eve'--"]),
            maybe(vec!["research", "sales"]),
            (
                prop::sample::subsequence(FlowVerdict::ALL.to_vec(), 0..=3),
                maybe(vec!["a.x", "*.x", "*.a.x", "%.x", "*"]),
            ),
        )
            .prop_map(|(since, until, user, profile, (verdicts, name))| Filter {
                since: since.map(|second| base().plus(Duration::from_secs(second))),
                until: until.map(|second| base().plus(Duration::from_secs(second))),
                principal: user.map(str::to_owned),
                profile: profile.map(str::to_owned),
                sandbox: None,
                verdicts,
                name: name.map(str::to_owned),
            })
    }

    /// What a filter says, said once more.
    fn fits(filter: &Filter, row: &FlowRow) -> bool {
        let name = row.name.as_deref().unwrap_or_default();
        let named = match filter.name.as_deref() {
            None => true,
            Some(pattern) if pattern.starts_with("*.") => name.ends_with(&pattern[1..]),
            Some(whole) => name == whole,
        };
        named
            && filter.since.is_none_or(|since| row.at >= since)
            && filter.until.is_none_or(|until| row.at < until)
            && filter
                .principal
                .as_ref()
                .is_none_or(|user| *user == row.principal)
            && filter
                .profile
                .as_ref()
                .is_none_or(|profile| *profile == row.profile)
            && (filter.verdicts.is_empty() || filter.verdicts.contains(&row.verdict))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_filter_finds_what_it_says_in_parts_of_any_length(
            rows in rows(), filters in prop::collection::vec(filters(), 8), most in 1..7_usize,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let log = open(folder.path(), Retention::default());
            rows.iter().cloned().for_each(|row| log.note(row));
            log.flush().unwrap();
            for filter in filters {
                let mut expected: Vec<FlowRow> = rows.iter().filter(|row| fits(&filter, row)).cloned().collect();
                expected.sort_by_key(|row| row.at);
                prop_assert_eq!(&all(&log, &filter, most), &expected, "{:?}", filter);
            }
        }
    }
}
