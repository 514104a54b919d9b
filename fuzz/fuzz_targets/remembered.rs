//! What the manager keeps on its disk and reads again, as whoever could write there
//! would leave it. The first byte of an input chooses: a line of the audit log, its
//! head, a whole log, a secret's envelope.
#![no_main]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::LazyLock;

use lakekeep_store::audit::{
    AuditKey, Check, Event, Filter, parse_head, parse_line, query, verify,
};
use lakekeep_store::secrets::{LONGEST_SECRET, parse_envelope};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    match choice % 4 {
        0 => line(rest),
        1 => head(rest),
        2 => log(rest),
        _ => envelope(rest),
    }
});

fn printable(shown: &str) {
    assert!(!shown.contains(char::is_control), "{shown:?}");
}

fn line(bytes: &[u8]) {
    let key = AuditKey::from_bytes([1; 32]);
    match parse_line(bytes, Check::Skip) {
        Ok(record) => believed(record.event(), bytes),
        Err(error) => printable(&error.to_string()),
    }
    // Nobody has the key, so that nothing may be taken for a line that was sealed with
    // it; BLAKE3 itself is not on trial.
    assert!(parse_line(bytes, Check::Keyed(&key)).is_err());
    if let Err(error) = parse_line(bytes, Check::Plain) {
        printable(&error.to_string());
    }
}

/// One line of text is one event, and it is searched as it reads.
fn believed(event: &Event, bytes: &[u8]) {
    assert!(!bytes.contains(&b'\n'));
    let filter = Filter {
        who: Some(event.who().to_owned()),
        action: Some(event.action().to_owned()),
        ..Filter::default()
    };
    assert!(filter.takes(event) || event.action().ends_with('*'));
}

fn head(bytes: &[u8]) {
    let key = AuditKey::from_bytes([1; 32]);
    assert!(parse_head(bytes, Some(&key), true).is_err());
    for check in [false, true] {
        if let Err(error) = parse_head(bytes, None, check) {
            printable(&error.to_string());
        }
    }
}

/// The folder of a log; its file is written anew each time.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

/// A log is a head, a NUL, and the lines of its one file.
fn log(bytes: &[u8]) {
    let at = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let (head, lines) = bytes.split_at(at);
    let folder = FOLDER.path();
    put(folder, "head", head);
    put(
        folder,
        "audit-00000000000000000001.jsonl",
        lines.get(1..).unwrap_or_default(),
    );
    for key in [None, Some(AuditKey::from_bytes([1; 32]))] {
        // A head of more than two records is refused unread.
        let report = match verify(folder, key.as_ref()) {
            Ok(report) => report,
            Err(error) => {
                printable(&error.to_string());
                continue;
            }
        };
        if let Some(broken) = &report.broken {
            printable(&broken.to_string());
        }
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        assert!(report.events <= u64::try_from(lines).expect("few"));
    }
    let found = query(folder, Filter::default()).expect("a folder that can be read");
    for event in found {
        if let Err(error) = event {
            printable(&error.to_string());
        }
    }
}

/// As the manager's own files are: others are refused unread.
fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(folder.join(name));
    file.and_then(|mut file| file.write_all(bytes))
        .expect("a file");
}

/// Nothing of a secret is in what is said of it.
fn envelope(bytes: &[u8]) {
    match parse_envelope(bytes) {
        Ok(found) => {
            assert!(found.value.len() <= LONGEST_SECRET && found.name.len() <= 255);
            let lengths = [
                found.scope.len(),
                found.owner.len(),
                found.name.len(),
                8,
                found.value.len(),
            ];
            assert_eq!(
                bytes.len(),
                4 + lengths.iter().map(|length| length + 4).sum::<usize>()
            );
        }
        Err(error) => printable(&error.to_string()),
    }
}
