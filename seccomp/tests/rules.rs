//! Each rule of the built-in profiles: needed, explained, and tried both ways.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use lakekeep_seccomp::{
    Action, Arch, Profile, Refusal, SeccompData, compile, decide, syscall_number,
};
use serde_json::Value;

/// Whether any built-in profile decides any call to `names` differently once `document` is `text`.
fn changes(document: &str, text: &str, names: &[&str]) -> bool {
    let mut all = Profile::BUILTIN.into_iter().chain(Profile::SERVICES);
    all.any(|name| {
        let before = common::profile(name);
        let after = common::profile_with(name, document, text);
        Arch::ALL.into_iter().any(|arch| {
            names
                .iter()
                .any(|call| differ([&before, &after], arch, call))
        })
    })
}

fn differ([before, after]: [&Profile; 2], arch: Arch, name: &str) -> bool {
    let Some(number) = syscall_number(arch, name) else {
        return false;
    };
    let number = i32::try_from(number).unwrap();
    let all = common::arguments(before, arch, number, [0; 6]);
    all.into_iter()
        .map(|args| SeccompData::call(arch, number, args))
        .any(|call| {
            decide(before, arch, Refusal::Errno, &call)
                != decide(after, arch, Refusal::Errno, &call)
        })
}

fn names(rule: &Value) -> Vec<&str> {
    rule["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect()
}

fn each_rule(mut check: impl FnMut(&str, &Value, usize)) {
    for document in common::DOCUMENTS {
        let value: Value = serde_json::from_str(&common::document(document)).unwrap();
        for index in 0..value["rules"].as_array().unwrap().len() {
            check(document, &value, index);
        }
    }
}

#[test]
fn no_rule_is_redundant() {
    each_rule(|document, value, index| {
        let rule = &value["rules"][index];
        let mut without = value.clone();
        without["rules"].as_array_mut().unwrap().remove(index);
        assert!(
            changes(document, &without.to_string(), &names(rule)),
            "{document}: without {rule} nothing changes"
        );
    });
}

#[test]
fn no_call_of_a_rule_is_redundant() {
    each_rule(|document, value, index| {
        for (at, name) in names(&value["rules"][index]).into_iter().enumerate() {
            let mut without = value.clone();
            let calls = without["rules"][index]["syscalls"].as_array_mut().unwrap();
            if calls.len() == 1 {
                continue; // no_rule_is_redundant
            }
            calls.remove(at);
            assert!(
                changes(document, &without.to_string(), &[name]),
                "{document}, rule {index}: {name} changes nothing"
            );
        }
    });
}

#[test]
fn no_condition_is_redundant() {
    each_rule(|document, value, index| {
        let rule = &value["rules"][index];
        for at in 0..rule["when"].as_array().map_or(0, Vec::len) {
            let mut without = value.clone();
            without["rules"][index]["when"]
                .as_array_mut()
                .unwrap()
                .remove(at);
            assert!(
                changes(document, &without.to_string(), &names(rule)),
                "{document}, rule {index}: condition {at}"
            );
        }
    });
}

#[test]
fn every_rule_says_why() {
    each_rule(|document, value, index| {
        let comment = value["rules"][index]["comment"]
            .as_str()
            .unwrap_or_default();
        assert!(
            comment.len() > 10,
            "{document}, rule {index} has no comment"
        );
    });
}

/// For each rule, each call: a case in which the rule decides and the filter answers with its
/// action, and, where it has conditions, one in which they fail and it does not decide.
#[test]
fn every_rule_is_tried_both_ways() {
    for name in Profile::BUILTIN {
        for arch in Arch::ALL {
            let profile = common::profile(name);
            let program = compile(&profile, arch, Refusal::Errno).unwrap();
            for (index, rule) in profile
                .rules()
                .iter()
                .enumerate()
                .filter(|(_, rule)| rule.arches().contains(&arch))
            {
                let tried = rule
                    .syscalls()
                    .iter()
                    .filter(|call| syscall_number(arch, call).is_some())
                    .filter(|call| {
                        let outcome = both_ways(&profile, &program, arch, (index, call));
                        assert!(
                            rule.when().is_empty() || outcome.1,
                            "{name} {arch}: {call} never fails rule {index}"
                        );
                        outcome.0
                    });
                let reachable = tried.count() > 0
                    || rule
                        .syscalls()
                        .iter()
                        .all(|call| syscall_number(arch, call).is_none());
                // base may be overruled wholly by what includes it; no_rule_is_redundant sees to the rest.
                assert!(
                    reachable || rule.when().is_empty(),
                    "{name} {arch}: rule {index} never decides"
                );
            }
        }
    }
}

fn both_ways(
    profile: &Profile,
    program: &lakekeep_seccomp::Program,
    arch: Arch,
    rule: (usize, &str),
) -> (bool, bool) {
    let (index, call) = rule;
    let number = i32::try_from(syscall_number(arch, call).unwrap()).unwrap();
    let (mut decided, mut passed_by) = (false, false);
    for args in common::arguments(profile, arch, number, [0; 6]) {
        let answer = program.evaluate(&SeccompData::call(arch, number, args));
        let rules = profile.rules().iter().enumerate();
        let first = rules
            .filter(|(_, rule)| rule.syscalls().contains(&call) && rule.arches().contains(&arch));
        match first.into_iter().find(|(_, rule)| rule.holds(&args)) {
            Some((found, rule)) if found == index => {
                assert_eq!(answer, rule.action());
                decided = true;
            }
            _ => passed_by = true,
        }
    }
    (decided, passed_by)
}

/// Calls that no profile may ever let through, whatever their arguments.
const NEVER: &str = "unshare setns mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick \
    mount_setattr open_tree_attr statmount listmount bpf perf_event_open userfaultfd io_uring_setup io_uring_enter \
    io_uring_register keyctl add_key request_key ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd \
    kcmp modify_ldt name_to_handle_at open_by_handle_at init_module finit_module delete_module kexec_load \
    kexec_file_load reboot swapon swapoff syslog acct quotactl quotactl_fd fanotify_init fanotify_mark lookup_dcookie \
    nfsservctl vmsplice clone3 openat2 sethostname setdomainname settimeofday clock_settime adjtimex clock_adjtime \
    iopl ioperm uselib ustat sysfs _sysctl vhangup sync syncfs move_pages migrate_pages memfd_secret \
    sched_setaffinity process_mrelease \
    lsm_set_self_attr map_shadow_stack remap_file_pages uretprobe uprobe";

#[test]
fn what_breaks_isolation_is_never_open() {
    for name in Profile::BUILTIN {
        for arch in Arch::ALL {
            let allowed = common::profile(name).allowed(arch);
            let open: Vec<_> = NEVER
                .split_whitespace()
                .filter(|call| allowed.contains(call))
                .collect();
            assert!(open.is_empty(), "{name} {arch}: {open:?}");
        }
    }
    assert!(
        NEVER
            .split_whitespace()
            .all(|name| syscall_number(Arch::X86_64, name).is_some())
    );
}

fn answer(profile: &str, call: &str, args: [u64; 6]) -> Action {
    let number = i32::try_from(syscall_number(Arch::X86_64, call).unwrap()).unwrap();
    let program = compile(&common::profile(profile), Arch::X86_64, Refusal::Errno).unwrap();
    program.evaluate(&SeccompData::call(Arch::X86_64, number, args))
}

fn expect(profile: &str, call: &str, open: &[[u64; 6]], closed: &[[u64; 6]]) {
    for args in open {
        assert_eq!(
            answer(profile, call, *args),
            Action::Allow,
            "{profile}: {call} {args:x?}"
        );
    }
    for args in closed {
        assert_eq!(
            answer(profile, call, *args),
            Action::Errno(1),
            "{profile}: {call} {args:x?}"
        );
    }
}

fn first(value: u64) -> [u64; 6] {
    [value, 0, 0, 0, 0, 0]
}

fn second(value: u64) -> [u64; 6] {
    [0, value, 0, 0, 0, 0]
}

#[test]
fn sockets_are_of_few_families() {
    let socket = |family, kind, protocol| [family, kind, protocol, 0, 0, 0];
    const HIGH: u64 = 0xdead_0000_0000_0000;
    const CLOEXEC: u64 = 0o2_000_000;
    for profile in ["notebook", "general"] {
        let open = [
            socket(1, 1, 0),
            socket(2, 1, 6),
            socket(2, 2 | CLOEXEC, 17),
            socket(10, 1, 0),
            socket(16, 3, 0),
        ];
        expect(profile, "socket", &open, &[]);
        let families = (0..64)
            .filter(|family| ![1, 2, 10, 16].contains(family))
            .map(|family| socket(family, 1, 0));
        expect(profile, "socket", &[], &families.collect::<Vec<_>>());
        let raw = [
            socket(2, 3, 1),
            socket(2, 3 | CLOEXEC, 255),
            socket(2, 3 | HIGH, 1),
            socket(10, 10, 0),
            socket(2, 1, 262),
        ];
        expect(profile, "socket", &[], &raw);
        expect(
            profile,
            "socket",
            &[],
            &[
                socket(16, 3, 9),
                socket(16 | HIGH, 3, 15),
                socket(40 | HIGH, 1, 0),
            ],
        );
        expect(profile, "socketpair", &[first(1)], &[first(2), first(16)]);
    }
    expect("udf", "socket", &[], &[socket(1, 1, 0), socket(2, 1, 0)]);
    expect("udf", "socketpair", &[], &[first(1)]);
}

#[test]
fn terminals_cannot_be_typed_into() {
    for number in [0x5412, 0x541c, 0x541d, 0x5423] {
        for high in [0, 1 << 32, 0xffff_ffff_0000_0000] {
            for profile in Profile::BUILTIN {
                expect(
                    profile,
                    "ioctl",
                    &[second(0x5413 | high)],
                    &[second(number | high)],
                );
            }
        }
    }
}

#[test]
fn no_new_namespaces_and_no_processes_of_functions() {
    const THREAD: u64 = 0x003d_0f00;
    for bit in [
        0x2_0000,
        0x200_0000,
        0x400_0000,
        0x800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ] {
        for profile in Profile::BUILTIN {
            expect(
                profile,
                "clone",
                &[first(THREAD)],
                &[first(THREAD | bit), first(17 | bit)],
            );
        }
    }
    expect("general", "clone", &[first(17)], &[]);
    expect(
        "udf",
        "clone",
        &[],
        &[first(17), first(0x100), first(0x1_0000)],
    );
    expect("udf", "fork", &[], &[first(0)]);
    expect("udf", "vfork", &[], &[first(0)]);
}

#[test]
fn no_setuid_file_is_ever_made() {
    let third = |value| [0, 0, value, 0, 0, 0];
    for (call, place) in [
        ("chmod", 1),
        ("fchmod", 1),
        ("creat", 1),
        ("fchmodat", 2),
        ("fchmodat2", 2),
        ("mknodat", 2),
        ("mknod", 1),
    ] {
        let at = |mode| {
            if place == 1 {
                second(mode)
            } else {
                third(mode)
            }
        };
        expect(
            "general",
            call,
            &[at(0o755), at(0o1777)],
            &[at(0o4755), at(0o2755), at(0o6000), at(0o4000 | 1 << 32)],
        );
    }
    for profile in Profile::BUILTIN {
        for flags in [0x41, 0x40_0000 | 0x1_0000 | 2] {
            expect(
                profile,
                "openat",
                &[[0, 0, flags, 0o644, 0, 0], [0, 0, 0, 0o7777, 0, 0]],
                &[[0, 0, flags, 0o4755, 0, 0]],
            );
            expect(
                profile,
                "open",
                &[[0, flags, 0o644, 0, 0, 0], [0, 0, 0o7777, 0, 0, 0]],
                &[[0, flags, 0o2755, 0, 0, 0]],
            );
        }
    }
    let kinds = |kind: u64| third(kind | 0o600);
    expect(
        "general",
        "mknodat",
        &[kinds(0o10000), kinds(0o100000), kinds(0o140000)],
        &[kinds(0o20000), kinds(0o60000)],
    );
}

#[test]
fn functions_have_no_writable_code() {
    for call in ["mmap", "mprotect"] {
        let prot = |bits| [0, 0, bits, 0, 0, 0];
        expect(
            "udf",
            call,
            &[prot(0), prot(1), prot(3), prot(5)],
            &[prot(6), prot(7)],
        );
        expect("general", call, &[prot(7)], &[]);
    }
    expect("udf", "memfd_create", &[], &[second(0), second(3)]);
    expect("general", "memfd_create", &[second(1)], &[]);
    // Each of these maps shared memory twice; the sizes past the last page become 0 by rounding.
    let remap = |old_size, flags| [0x1000, old_size, 0x1000, flags, 0, 0];
    let twice = [
        remap(0, 1),
        remap(u64::MAX, 1),
        remap(u64::MAX - 0xffe, 1),
        remap(u64::MAX - 0xfffe, 1),
        remap(0x1000, 5),
        remap(0x1000, 7),
    ];
    let honest = [
        remap(0x1000, 0),
        remap(1, 1),
        remap(0x1000, 3),
        remap(1 << 40, 1),
        remap(1 << 32, 1),
    ];
    expect("udf", "mremap", &honest, &twice);
    expect("general", "mremap", &twice, &[]);
}

/// Upper halves that the kernel does not look at.
const UPPER: [u64; 2] = [0, 0xdead_beef_0000_0000];

/// With the task's own user id, the kernel would let these change the sandbox's processes.
#[test]
fn other_processes_are_out_of_reach() {
    let pair = |one, other| [one, other, 0, 0, 0, 0];
    for upper in UPPER {
        let others = [1, 2, 4711, 0xffff_ffff].map(|pid| pid | upper);
        for profile in Profile::BUILTIN {
            let of = |pid| [pid, 7, 0, 8, 0, 0];
            expect(profile, "prlimit64", &[of(upper)], &others.map(of));
        }
        for call in ["sched_setattr", "get_robust_list"] {
            expect("general", call, &[first(upper)], &others.map(first));
        }
        for profile in ["notebook", "general"] {
            let nice = |who| pair(upper, who);
            expect(profile, "setpriority", &[nice(upper)], &others.map(nice));
            let kinds = [1, 2, 3].map(|kind| pair(kind | upper, upper));
            expect(profile, "setpriority", &[], &kinds);
        }
        let class = |who| pair(1 | upper, who);
        expect("general", "ioprio_set", &[class(upper)], &others.map(class));
        let kinds = [0, 2, 3].map(|kind| pair(kind | upper, upper));
        expect("general", "ioprio_set", &[], &kinds);
    }
    for upper in UPPER {
        let set = [0, 1 << 40].map(|limit| [upper, 7, limit, 8, 0, 0]);
        expect("notebook", "prlimit64", &set, &[]);
        expect("general", "prlimit64", &set, &[]);
        expect("udf", "prlimit64", &set[..1], &set[1..]);
        expect("udf", "prlimit64", &[], &[[upper, 7, 8, 0, 0, 0]]);
    }
}

#[test]
fn other_threads_keep_a_share_of_the_processor() {
    const RESET_ON_FORK: u64 = 0x4000_0000;
    let set = |thread, policy| [thread, policy, 8, 0, 0, 0];
    for profile in ["notebook", "general"] {
        for upper in UPPER {
            // libzmq: each thread by its id, to the policy that it has.
            let plain = [set(4711, upper), set(1 | upper, 3 | upper)];
            let own = [0, 3, 5, 5 | RESET_ON_FORK].map(|policy| set(upper, policy | upper));
            expect(
                profile,
                "sched_setscheduler",
                &[plain.as_slice(), &own].concat(),
                &[],
            );
            let policies = [1, 2, 4, 5, 6, 7, RESET_ON_FORK, 5 | RESET_ON_FORK];
            let others = policies.map(|policy| set(1 | upper, policy | upper));
            expect(profile, "sched_setscheduler", &[], &others);
        }
    }
    for profile in Profile::BUILTIN {
        for pid in [0, 1, 4711] {
            expect(profile, "sched_getaffinity", &[first(pid)], &[]);
            expect(profile, "sched_setaffinity", &[], &[first(pid)]);
        }
    }
    expect("udf", "sched_setscheduler", &[], &[set(0, 0)]);
    expect("udf", "setpriority", &[], &[first(0)]);
    let timers = [first(0), first(1 << 32)];
    expect("udf", "setitimer", &timers, &[first(1), first(2)]);
}

#[test]
fn personality_and_nested_filters_stay_narrow() {
    expect(
        "general",
        "personality",
        &[first(0), first(0xffff_ffff), first(u64::MAX)],
        &[first(0x4_0000), first(8), first(0x40_0000)],
    );
    expect(
        "general",
        "seccomp",
        &[second(0), second(1)],
        &[second(8), second(9)],
    );
    expect(
        "general",
        "prctl",
        &[first(15), first(38), first(22)],
        &[first(4), first(35), first(59), first(47), first(0)],
    );
    expect(
        "udf",
        "prctl",
        &[first(15)],
        &[first(22), first(38), first(1)],
    );
}
