//! Whoever changes the log is found, and what was changed is named.

#[cfg(test)]
mod common;
#[cfg(test)]
#[path = "common/files.rs"]
mod files;

#[cfg(test)]
mod tests {
    use super::common;
    use super::common::{NOW, Place};
    use super::files::{lines, write_lines};
    use lakekeep_store::audit::{AuditError, AuditLog, Fault, Note, verify};

    /// Events of a log in one file, the header aside.
    const EVENTS: u64 = 20;
    const ONE_FILE: u64 = 1 << 20;
    const SMALL_FILES: u64 = 2_000;

    /// The fault, its file's number in the order of files, and its line.
    fn found(place: &Place) -> (Fault, String, Option<u64>) {
        let broken = place.verify().broken.expect("the log is broken");
        (broken.fault, broken.file, broken.line)
    }

    /// Applies `change` to the lines of the log's only file.
    fn changed(change: impl FnOnce(&mut Vec<String>)) -> Place {
        let place = Place::written(EVENTS, ONE_FILE);
        let file = &place.files()[0];
        let mut content = lines(file);
        assert_eq!(content.len() as u64, EVENTS + 1);
        change(&mut content);
        write_lines(file, &content);
        place
    }

    fn refuses_to_open(place: &Place) -> AuditError {
        let before: Vec<Vec<u8>> = place
            .files()
            .iter()
            .map(|f| std::fs::read(f).unwrap())
            .collect();
        let error = AuditLog::open(&place.log(), &place.options(ONE_FILE), NOW).unwrap_err();
        let after: Vec<Vec<u8>> = place
            .files()
            .iter()
            .map(|f| std::fs::read(f).unwrap())
            .collect();
        assert_eq!(before, after, "a log that is refused stays as it is");
        error
    }

    #[test]
    fn an_untouched_log_is_intact() {
        for size in [ONE_FILE, SMALL_FILES] {
            let place = Place::written(EVENTS, size);
            let report = place.verify();
            assert_eq!((report.broken, report.notes), (None, vec![]));
            assert!(report.events > EVENTS);
            assert_eq!(report.files as usize, place.files().len());
            assert_eq!(report.last.unwrap().0, report.head.unwrap().seq);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_named_with_its_line() {
        let place = Place::written(3, ONE_FILE);
        let file = &place.files()[0];
        let good = std::fs::read(file).unwrap();
        for byte in 0..good.len() {
            let mut bad = good.clone();
            bad[byte] ^= 0x10;
            std::fs::write(file, &bad).unwrap();
            let line = 1 + good[..byte].iter().filter(|&&b| b == b'\n').count() as u64;
            let broken = place
                .verify()
                .broken
                .unwrap_or_else(|| panic!("byte {byte}"));
            assert_eq!(broken.line.unwrap_or(line), line, "byte {byte}: {broken}");
        }
    }

    #[test]
    fn a_dropped_line_is_a_gap() {
        let place = changed(|lines| drop(lines.remove(5)));
        let (fault, _, line) = found(&place);
        assert_eq!((fault, line), (Fault::Gap { expected: 6 }, Some(6)));
        assert!(matches!(
            refuses_to_open(&place),
            AuditError::Damaged { .. }
        ));
    }

    #[test]
    fn swapped_lines_are_reordered() {
        let place = changed(|lines| lines.swap(5, 8));
        let (fault, _, line) = found(&place);
        assert_eq!((fault, line), (Fault::Reordered { expected: 6 }, Some(6)));
    }

    #[test]
    fn a_repeated_line_is_named() {
        let place = changed(|lines| lines.insert(6, lines[5].clone()));
        let (fault, _, line) = found(&place);
        assert_eq!((fault, line), (Fault::Repeated { expected: 7 }, Some(7)));
    }

    #[test]
    fn a_changed_word_is_a_hash_mismatch() {
        let place = changed(|lines| lines[9] = lines[9].replace("alice", "mallo"));
        let (fault, _, line) = found(&place);
        assert_eq!((fault, line), (Fault::HashMismatch, Some(10)));
        assert!(matches!(
            refuses_to_open(&place),
            AuditError::Damaged { .. }
        ));
    }

    #[test]
    fn a_line_that_is_no_event_is_named() {
        let place = changed(|lines| lines.insert(3, "hello".to_owned()));
        let (fault, _, line) = found(&place);
        assert!(matches!(fault, Fault::Malformed(_)), "{fault}");
        assert_eq!(line, Some(4));
    }

    #[test]
    fn a_cut_end_is_truncation() {
        let place = changed(|lines| lines.truncate(15));
        let (fault, _, _) = found(&place);
        assert_eq!(fault, Fault::Truncated { last: 15, head: 21 });
        let error = refuses_to_open(&place);
        assert!(error.to_string().contains("its end was cut off"), "{error}");
        assert!(
            error.to_string().contains("lakekeep audit verify"),
            "{error}"
        );
    }

    #[test]
    fn an_end_cut_within_a_line_is_truncation() {
        let place = Place::written(EVENTS, ONE_FILE);
        let file = &place.files()[0];
        let content = std::fs::read(file).unwrap();
        std::fs::write(file, &content[..content.len() - 10]).unwrap();
        let (fault, _, _) = found(&place);
        assert_eq!(fault, Fault::Truncated { last: 20, head: 21 });
        assert!(matches!(
            refuses_to_open(&place),
            AuditError::Damaged { .. }
        ));
    }

    #[test]
    fn an_emptied_folder_is_truncation() {
        let place = Place::written(EVENTS, ONE_FILE);
        std::fs::remove_file(&place.files()[0]).unwrap();
        let (fault, _, _) = found(&place);
        assert_eq!(fault, Fault::Truncated { last: 0, head: 21 });
        assert!(matches!(
            refuses_to_open(&place),
            AuditError::Damaged { .. }
        ));
    }

    #[test]
    fn a_missing_file_in_the_middle_is_named() {
        let place = Place::written(EVENTS, SMALL_FILES);
        let files = place.files();
        assert!(files.len() > 3);
        std::fs::remove_file(&files[1]).unwrap();
        let (fault, file, line) = found(&place);
        assert!(matches!(fault, Fault::MissingFile { .. }), "{fault}");
        assert_eq!(line, None);
        assert!(files[2].ends_with(file));
    }

    #[test]
    fn the_missing_oldest_file_is_named() {
        let place = Place::written(EVENTS, SMALL_FILES);
        std::fs::remove_file(&place.files()[0]).unwrap();
        assert_eq!(found(&place).0, Fault::MissingFile { expected: 1 });
    }

    #[test]
    fn the_missing_newest_file_is_truncation() {
        let place = Place::written(EVENTS, SMALL_FILES);
        std::fs::remove_file(place.files().last().unwrap()).unwrap();
        assert!(matches!(found(&place).0, Fault::Truncated { .. }));
        assert!(matches!(
            refuses_to_open(&place),
            AuditError::Damaged { .. }
        ));
    }

    #[test]
    fn swapped_files_are_named() {
        let place = Place::written(EVENTS, SMALL_FILES);
        let files = place.files();
        let other = place.log().join("other");
        std::fs::rename(&files[0], &other).unwrap();
        std::fs::rename(&files[1], &files[0]).unwrap();
        std::fs::rename(&other, &files[1]).unwrap();
        let (fault, file, line) = found(&place);
        assert!(
            matches!(fault, Fault::WrongFile { found } if found > 1),
            "{fault}"
        );
        assert_eq!(line, Some(1));
        assert!(files[0].ends_with(file));
    }

    #[test]
    fn a_torn_line_in_the_middle_is_named() {
        let place = Place::written(EVENTS, SMALL_FILES);
        let file = &place.files()[0];
        let content = std::fs::read(file).unwrap();
        std::fs::write(file, &content[..content.len() - 1]).unwrap();
        assert_eq!(found(&place).0, Fault::Torn);
    }

    #[test]
    fn a_file_of_another_log_is_seen() {
        let (place, other) = (
            Place::written(EVENTS, ONE_FILE),
            Place::written(EVENTS, ONE_FILE),
        );
        std::fs::copy(&other.files()[0], &place.files()[0]).unwrap();
        assert_eq!(found(&place).0, Fault::HashMismatch);
    }

    /// An intruder without the key: all hashes are right for a log without one.
    #[test]
    fn a_chain_rewritten_without_the_key_is_seen() {
        let place = Place::written(EVENTS, ONE_FILE);
        let forged = Place::new();
        let options = lakekeep_store::audit::Options {
            key: None,
            ..place.options(ONE_FILE)
        };
        let log = AuditLog::open(&forged.log(), &options, NOW).unwrap().log;
        for number in 0..EVENTS {
            log.append(common::event(number + 100)).unwrap();
        }
        log.close().unwrap();
        assert!(verify(&forged.log(), None).unwrap().is_intact());
        std::fs::copy(&forged.files()[0], &place.files()[0]).unwrap();
        assert_eq!(
            found(&place),
            (Fault::HashMismatch, found(&place).1, Some(1))
        );
        assert!(matches!(
            refuses_to_open(&place),
            AuditError::Damaged { .. }
        ));
        std::fs::copy(forged.log().join("head"), place.log().join("head")).unwrap();
        assert_eq!(found(&place).0, Fault::HashMismatch);
        assert!(matches!(refuses_to_open(&place), AuditError::Head { .. }));
    }

    /// Without a key the head is the only witness; it must be rewritten as well.
    #[test]
    fn a_chain_rewritten_without_its_head_is_seen() {
        let without_key = |place: &Place, first: u64| {
            let options = lakekeep_store::audit::Options {
                key: None,
                ..place.options(ONE_FILE)
            };
            let log = AuditLog::open(&place.log(), &options, NOW).unwrap().log;
            for number in 0..EVENTS {
                log.append(common::event(first + number)).unwrap();
            }
            log.close().unwrap();
        };
        let (place, forged) = (Place::new(), Place::new());
        without_key(&place, 0);
        without_key(&forged, 100);
        std::fs::copy(&forged.files()[0], &place.files()[0]).unwrap();
        let broken = verify(&place.log(), None).unwrap().broken.unwrap();
        assert_eq!(broken.fault, Fault::HeadMismatch { seq: 21 });
        assert_eq!(broken.line, Some(21));
    }

    #[test]
    fn a_missing_and_a_changed_head_are_named() {
        let place = Place::written(EVENTS, ONE_FILE);
        let head = place.log().join("head");
        let content = std::fs::read_to_string(&head).unwrap();
        std::fs::write(&head, content.replace("\"seq\":2", "\"seq\":1")).unwrap();
        let (fault, file, _) = found(&place);
        assert!(matches!(fault, Fault::HeadInvalid(_)), "{fault}");
        assert_eq!(file, "head");
        assert!(matches!(
            refuses_to_open(&place),
            AuditError::Head { error: Some(_), .. }
        ));
        std::fs::remove_file(&head).unwrap();
        assert_eq!(found(&place).0, Fault::HeadMissing);
        assert!(matches!(
            refuses_to_open(&place),
            AuditError::Head { error: None, .. }
        ));
    }

    #[test]
    fn a_lost_key_is_not_replaced() {
        let place = Place::written(EVENTS, ONE_FILE);
        std::fs::remove_file(place.key_file()).unwrap();
        let error = refuses_to_open(&place);
        assert!(matches!(error, AuditError::Key(_)), "{error}");
        assert!(!place.key_file().exists());
    }

    #[test]
    fn without_the_key_the_links_are_checked_and_the_report_says_so() {
        let place = Place::written(EVENTS, ONE_FILE);
        let report = verify(&place.log(), None).unwrap();
        assert!(report.is_intact());
        assert_eq!(report.notes, vec![Note::HashesNotChecked]);
        let file = &place.files()[0];
        let mut content = lines(file);
        content.remove(5);
        write_lines(file, &content);
        let broken = verify(&place.log(), None).unwrap().broken.unwrap();
        assert_eq!(broken.fault, Fault::Gap { expected: 6 });
    }
}
