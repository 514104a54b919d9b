//! What each profile lets through, written down; and how much of it, at most.
//!
//! `LAKEKEEP_UPDATE_GOLDEN=1 cargo test -p lakekeep-seccomp --test golden` rewrites the lists.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use lakekeep_seccomp::{Arch, Profile, Refusal, compile, decide, syscall_number};

#[test]
fn allowed_calls_equal_the_golden_lists() {
    let update = std::env::var_os("LAKEKEEP_UPDATE_GOLDEN").is_some_and(|value| value == "1");
    for name in Profile::BUILTIN
        .into_iter()
        .chain(Profile::ZYGOTES)
        .chain(Profile::SERVICES)
    {
        for arch in Arch::ALL {
            let list = golden(&common::profile(name), arch);
            let path = common::folder().join(format!("golden/{name}.{arch}.txt"));
            if update {
                fs::write(&path, &list).unwrap();
            }
            let expected = fs::read_to_string(&path).unwrap_or_default();
            assert!(list == expected, "{} differs:\n{list}", path.display());
        }
    }
}

/// One call on each line; "?" after those that depend on their arguments.
fn golden(profile: &Profile, arch: Arch) -> String {
    let line = |name: &str| {
        let number = i32::try_from(syscall_number(arch, name).unwrap()).unwrap();
        let mut all = common::arguments(profile, arch, number, [0; 6]).into_iter();
        let open = all.all(|args| {
            let call = lakekeep_seccomp::SeccompData::call(arch, number, args);
            decide(profile, arch, Refusal::Errno, &call).is_allow()
        });
        format!("{name}{}\n", if open { "" } else { " ?" })
    };
    profile.allowed(arch).into_iter().map(line).collect()
}

#[test]
fn no_profile_grows_past_its_limit() {
    for (name, limit) in [("udf", 102), ("notebook", 190), ("general", 265)] {
        let count = common::profile(name).allowed(Arch::X86_64).len();
        assert!(count <= limit, "{name}: {count} calls, limit {limit}");
    }
}

#[test]
fn no_filter_grows_past_150_instructions() {
    for name in Profile::BUILTIN {
        for arch in Arch::ALL {
            for refusal in [Refusal::Errno, Refusal::Notify] {
                let length = compile(&common::profile(name), arch, refusal)
                    .unwrap()
                    .len();
                assert!(
                    length <= 150,
                    "{name} on {arch}, {refusal:?}: {length} instructions"
                );
            }
        }
    }
}

#[test]
fn every_call_is_decided_within_26_steps() {
    for name in Profile::BUILTIN {
        for arch in Arch::ALL {
            let profile = common::profile(name);
            let program = compile(&profile, arch, Refusal::Errno).unwrap();
            let longest = common::calls(&profile, arch)
                .map(|call| program.run(&call).1)
                .max()
                .unwrap();
            assert!(longest <= 26, "{name} on {arch}: {longest} steps");
        }
    }
}

#[test]
fn a_zygote_may_what_its_tasks_may_and_little_else() {
    for (tasks, zygote) in Profile::BUILTIN.into_iter().zip(Profile::ZYGOTES) {
        for arch in Arch::ALL {
            let allowed = |name| common::profile(name).allowed(arch);
            let more: Vec<&str> = allowed(zygote)
                .into_iter()
                .filter(|call| !allowed(tasks).contains(call))
                .collect();
            let lost = allowed(tasks)
                .into_iter()
                .any(|call| !allowed(zygote).contains(&call));
            assert!(!lost, "{zygote} on {arch} refuses what {tasks} allows");
            // What a fork goes through (profiles/zygote.json).
            for call in [
                "chdir",
                "setns",
                "setgroups",
                "setresgid",
                "setresuid",
                "capset",
                "keyctl",
            ] {
                let allowed = allowed(zygote);
                assert!(allowed.contains(&call), "{zygote} on {arch} lacks {call}");
            }
            assert!(more.len() <= 14, "{zygote} on {arch}: {more:?}");
        }
    }
}
