//! The compiled filters against the rules themselves and against another compiler's filters.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use lakekeep_seccomp::{Action, Arch, Profile, Program, Refusal, SeccompData, compile, decide};

fn each(mut check: impl FnMut(&Profile, Arch)) {
    for name in Profile::BUILTIN
        .into_iter()
        .chain(Profile::ZYGOTES)
        .chain(Profile::SERVICES)
    {
        for arch in Arch::ALL {
            check(&common::profile(name), arch);
        }
    }
}

#[test]
fn filters_answer_as_the_rules_say() {
    each(|profile, arch| {
        for refusal in [Refusal::Errno, Refusal::Notify] {
            let program = compile(profile, arch, refusal).unwrap();
            for call in common::calls(profile, arch) {
                let expected = decide(profile, arch, refusal, &call);
                assert_eq!(
                    program.evaluate(&call),
                    expected,
                    "{} {arch} {refusal:?} {call:x?}",
                    profile.name()
                );
            }
        }
    });
}

#[test]
fn filters_answer_as_seccompiler_does() {
    let mut compared = 0;
    each(|profile, arch| {
        let ours = compile(profile, arch, Refusal::Errno).unwrap();
        let theirs = common::peer::compile(profile, arch);
        for call in common::calls(profile, arch) {
            let (ours, theirs) = (ours.evaluate(&call), theirs.evaluate(&call));
            assert_eq!(
                ours.is_allow(),
                theirs.is_allow(),
                "{} {arch} {call:x?}",
                profile.name()
            );
            compared += 1;
        }
    });
    assert!(compared > 10_000, "{compared} calls compared");
}

#[test]
fn foreign_calls_are_killed_whatever_they_are() {
    const I386: u32 = 0x4000_0003;
    const ARM: u32 = 0x4000_0028;
    each(|profile, arch| {
        for refusal in [Refusal::Errno, Refusal::Notify] {
            let program = compile(profile, arch, refusal).unwrap();
            let other = Arch::ALL
                .into_iter()
                .find(|&other| other != arch)
                .unwrap()
                .audit();
            for (audit, number) in [I386, ARM, other, 0]
                .into_iter()
                .flat_map(|audit| (0..512).map(move |n| (audit, n)))
            {
                let call = SeccompData {
                    arch: audit,
                    ..SeccompData::call(arch, number, [0; 6])
                };
                assert_eq!(program.evaluate(&call), Action::KillProcess);
                assert_eq!(decide(profile, arch, refusal, &call), Action::KillProcess);
            }
        }
    });
}

#[test]
fn x32_calls_are_killed() {
    let program = compile(&common::profile("general"), Arch::X86_64, Refusal::Errno).unwrap();
    for number in 0..=547 {
        let call = SeccompData::call(Arch::X86_64, number | 0x4000_0000, [0; 6]);
        assert_eq!(program.evaluate(&call), Action::KillProcess);
    }
}

#[test]
fn unknown_numbers_are_missing_calls() {
    each(|profile, arch| {
        let program = compile(profile, arch, Refusal::Errno).unwrap();
        for number in [400, 470, 512, 4096] {
            assert_eq!(
                program.evaluate(&SeccompData::call(arch, number, [0; 6])),
                Action::Errno(38)
            );
        }
    });
}

#[test]
fn bytes_carry_the_whole_filter() {
    each(|profile, arch| {
        let program = compile(profile, arch, Refusal::Errno).unwrap();
        let read = Program::from_bytes(&program.to_bytes()).unwrap();
        assert_eq!(read, program);
        assert_eq!(read.digest(), program.digest());
    });
}

#[test]
fn compiling_twice_gives_the_same_filter() {
    each(|profile, arch| {
        let digest = || compile(profile, arch, Refusal::Errno).unwrap().digest();
        assert_eq!(digest(), digest());
    });
}
