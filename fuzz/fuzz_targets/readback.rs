//! A process's status, mountinfo and limits, read back from a made-up /proc. The
//! first byte of an input chooses the file.
#![no_main]

use std::fmt::Write;
use std::path::Path;
use std::sync::LazyLock;

use lakekeep_sys::readback::{self, Mounts, Status};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, contents)) = data.split_first() else {
        return;
    };
    match choice % 4 {
        0 => status(contents),
        1 => drop(with_file("mountinfo", contents, |proc| {
            Mounts::read(proc, "1")
        })),
        2 => drop(with_file("limits", contents, |proc| {
            readback::limits(proc, "1")
        })),
        _ => number(contents),
    }
});

/// Made once: making and removing it costs more than all else. The engine ends
/// without destructors, so an empty process of it is left where TMPDIR says.
static PROC: LazyLock<TempDir> = LazyLock::new(|| {
    let proc = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(proc.path().join("1")).expect("a folder");
    proc
});

/// Runs `read` on a /proc in which process 1 has this file.
fn with_file<R>(name: &str, contents: &[u8], read: impl FnOnce(&Path) -> R) -> R {
    let file = PROC.path().join("1").join(name);
    std::fs::write(&file, contents).expect("a file");
    let result = read(PROC.path());
    std::fs::remove_file(&file).expect("the file just written");
    result
}

/// What was read is what is there: written as the kernel does, it reads the same.
fn status(contents: &[u8]) {
    let read = |contents: &[u8]| with_file("status", contents, |proc| Status::read(proc, "1"));
    let Ok(status) = read(contents) else {
        return;
    };
    let again = read(written(&status).as_bytes()).expect("the kernel's form");
    assert_eq!(again, status);
    // Of a line that stands twice, which no kernel writes, the first counts.
    let text = std::str::from_utf8(contents).expect("only text is read");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("NoNewPrivs:"));
    assert_eq!(
        Some(status.no_new_privileges),
        value.map(|value| value.trim() == "1")
    );
}

fn number(contents: &[u8]) {
    let read = with_file("oom_score_adj", contents, |proc| {
        readback::number(proc, "1", "oom_score_adj")
    });
    if let Ok(number) = read {
        let text = std::str::from_utf8(contents).expect("only text is read");
        assert_eq!(text.trim().parse(), Ok(number));
    }
}

fn written(status: &Status) -> String {
    let list = |numbers: &[u32]| {
        numbers.iter().fold(String::new(), |mut text, number| {
            write!(text, "\t{number}").expect("a string");
            text
        })
    };
    let sets = status.capabilities;
    // As many processors as there were, in words of 32.
    let words = (0..=status.processors / 32).map(|word| {
        let bits = status.processors.saturating_sub(word * 32).min(32);
        format!("{:x}", (1_u64 << bits) - 1)
    });
    format!(
        "Name:\tfuzz\nUid:{}\nGid:{}\nGroups:{}\nCapInh:\t{:016x}\nCapPrm:\t{:016x}\n\
         CapEff:\t{:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}\nNoNewPrivs:\t{}\nSeccomp:\t{}\n\
         Seccomp_filters:\t{}\nCpus_allowed:\t{}\nCpus_allowed_list:\t0\n",
        list(&status.users),
        list(&status.groups),
        list(&status.supplementary),
        sets.inheritable,
        sets.permitted,
        sets.effective,
        sets.bounding,
        sets.ambient,
        u8::from(status.no_new_privileges),
        status.seccomp_mode,
        status.seccomp_filters,
        words.collect::<Vec<_>>().join(","),
    )
}
