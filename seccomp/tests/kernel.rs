//! The filters on the real kernel: what the golden lists say is what it does.
//!
//! Each refusal's error is replaced by one that the kernel never returns itself, so that the
//! filter's refusals can be told from the kernel's. Needs a C compiler that links statically;
//! without one it is skipped, unless `LAKEKEEP_TESTS_REQUIRE` names `cc`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking and skips aloud"
)]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use common::probe::Probe;
use lakekeep_seccomp::{
    Action, Arch, Profile, Program, Refusal, SeccompData, SockFilter, compile, decide,
    syscall_name, syscall_number,
};

/// Added to each error of the filter: between the kernel's own errors and its limit of 4095.
const MARK: u16 = 3000;

fn probe(name: &str) -> Option<(Probe, Arch)> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let arch = Arch::native().ok_or_else(|| "neither x86-64 nor aarch64".to_owned());
    match arch.and_then(|arch| Probe::build(&folder).map(|probe| (probe, arch))) {
        Ok(found) => Some(found),
        Err(reason) => {
            let required = std::env::var("LAKEKEEP_TESTS_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|name| name == "cc"),
                "required, but {reason}"
            );
            eprintln!("skipped: {reason}");
            None
        }
    }
}

fn marked(program: &Program) -> Program {
    let mark = |instruction: &SockFilter| match Action::from_raw(instruction.k) {
        Some(Action::Errno(number)) if instruction.code == 6 => SockFilter {
            k: Action::Errno(MARK + number).to_raw(),
            ..*instruction
        },
        _ => *instruction,
    };
    Program::from_instructions(program.instructions().iter().map(mark).collect()).unwrap()
}

/// Arguments with which no call does harm: no address, descriptor or flag that exists.
fn harmless(arch: Arch, number: i32) -> [u64; 6] {
    match syscall_name(arch, i64::from(number)) {
        // All flags set would make a queue, and it would stay.
        Some("msgget") => [0x7ead_beef, 0, 0, 0, 0, 0],
        _ => [u64::MAX; 6],
    }
}

/// The kernel runs these two without asking the filter (since Linux 6.14); it decides by where
/// they are called from.
fn exempt(arch: Arch, number: i32) -> bool {
    matches!(
        syscall_name(arch, i64::from(number)),
        Some("uretprobe" | "uprobe")
    )
}

fn line(call: &SeccompData) -> String {
    let mut line = format!("{:x}", call.nr);
    for arg in call.args {
        write!(line, " {arg:x}").unwrap();
    }
    line
}

/// What the outcome says about the filter's answer.
fn answer(outcome: &str) -> Action {
    let returned = outcome
        .strip_prefix("returned ")
        .map(|value| value.parse::<i64>().unwrap());
    match returned {
        Some(value) if (-4095..=-i64::from(MARK)).contains(&value) => {
            Action::Errno(u16::try_from(-value).unwrap() - MARK)
        }
        None if outcome == "killed" => Action::KillProcess,
        _ => Action::Allow,
    }
}

fn confirm(probe: &Probe, arch: Arch, profile: &Profile) -> BTreeSet<&'static str> {
    let program = marked(&compile(profile, arch, Refusal::Errno).unwrap());
    let calls: Vec<SeccompData> = (0..=469)
        .filter(|&number| !exempt(arch, number))
        .flat_map(|number| {
            let rest = harmless(arch, number);
            let all = common::arguments(profile, arch, number, rest);
            all.into_iter()
                .map(move |args| SeccompData::call(arch, number, args))
        })
        .collect();
    let lines: Vec<String> = calls.iter().map(line).collect();
    let outcomes = probe.cases(&program, &lines.join("\n"));
    assert_eq!(outcomes.len(), calls.len());
    let mut allowed = BTreeSet::new();
    for (call, outcome) in calls.iter().zip(&outcomes) {
        let expected = decide(profile, arch, Refusal::Errno, call);
        assert_eq!(
            answer(outcome),
            expected,
            "{}: {} gave {outcome}",
            profile.name(),
            line(call)
        );
        if expected.is_allow() {
            allowed.extend(syscall_name(arch, i64::from(call.nr)));
        }
    }
    allowed
}

#[test]
fn the_kernel_confirms_the_golden_lists() {
    let Some((probe, arch)) = probe("confirm") else {
        return;
    };
    for name in Profile::BUILTIN {
        let confirmed = confirm(&probe, arch, &common::profile(name));
        let golden = common::document(&format!("golden/{name}.{arch}.txt"));
        let golden: BTreeSet<&str> = golden
            .lines()
            .map(|line| line.trim_end_matches(" ?"))
            .collect();
        assert_eq!(confirmed, golden, "{name}");
    }
}

/// Without a filter the same probe sees no refusal: the marks come from the filters.
#[test]
fn without_refusals_the_probe_sees_none() {
    let Some((probe, arch)) = probe("open") else {
        return;
    };
    let open = SockFilter {
        code: 6,
        jt: 0,
        jf: 0,
        k: Action::Allow.to_raw(),
    };
    let program = Program::from_instructions(vec![open]).unwrap();
    let calls = ["getpid", "read", "keyctl", "bpf"].map(|name| {
        let number = i32::try_from(syscall_number(arch, name).unwrap()).unwrap();
        line(&SeccompData::call(arch, number, [u64::MAX; 6]))
    });
    for outcome in probe.cases(&program, &calls.join("\n")) {
        assert_eq!(answer(&outcome), Action::Allow, "{outcome}");
    }
}

#[test]
fn the_kernel_kills_foreign_calls() {
    let Some((probe, arch)) = probe("foreign") else {
        return;
    };
    if arch != Arch::X86_64 {
        eprintln!("skipped: no foreign calls to make on {arch}");
        return;
    }
    for name in Profile::BUILTIN {
        let program = compile(&common::profile(name), arch, Refusal::Errno).unwrap();
        // i386 getpid and socketcall; x32 getpid and execve; number -1.
        let cases =
            "int80 14\nint80 66\n40000027 0 0 0 0 0 0\n40000208 0 0 0 0 0 0\nffffffff 0 0 0 0 0 0";
        assert_eq!(probe.cases(&program, cases), ["killed"; 5], "{name}");
    }
}

#[test]
fn programs_run_under_the_filters() {
    let Some((probe, arch)) = probe("programs") else {
        return;
    };
    let program = |name| compile(&common::profile(name), arch, Refusal::Errno).unwrap();
    let echo = "echo $((6 * 7)); test -d /proc";
    for name in Profile::BUILTIN {
        let (succeeded, output) = probe.exec(&program(name), &["sh", "-c", echo]);
        assert!(succeeded && output == "42\n", "{name}: {output}");
    }
    let fork = "(echo child)";
    let (succeeded, output) = probe.exec(&program("udf"), &["sh", "-c", fork]);
    assert!(!succeeded, "udf forked: {output}");
    for name in ["notebook", "general"] {
        let (succeeded, output) = probe.exec(&program(name), &["sh", "-c", fork]);
        assert!(succeeded && output == "child\n", "{name}: {output}");
    }
}
