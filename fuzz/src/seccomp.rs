//! A compiled profile answers as its rules do, for every call that could tell.

use lakekeep_seccomp::{
    Action, Arch, Condition, Profile, Program, Refusal, SeccompData, compile, decide,
    syscall_number,
};

/// Rules of a profile, and calls of a rule, whose conditions are tried.
const MOST_RULES: usize = 32;
const MOST_CALLS: usize = 4;

/// Compiles for each architecture and way to refuse, and compares with
/// [`decide`] on `calls` and on the calls that the conditions are about.
pub fn agree(profile: &Profile, calls: &[SeccompData]) {
    for arch in Arch::ALL {
        let mut telling = telling(profile, arch);
        telling.extend(calls);
        for refusal in [Refusal::Errno, Refusal::Notify] {
            // Too many cases or instructions: refused, which is an answer.
            let Ok(program) = compile(profile, arch, refusal) else {
                continue;
            };
            assert_eq!(
                Program::from_bytes(&program.to_bytes()),
                Ok(program.clone())
            );
            for call in &telling {
                let (answer, steps) = program.run(call);
                assert!(steps <= program.len());
                assert_eq!(
                    answer,
                    decide(profile, arch, refusal, call),
                    "{arch} {call:x?}"
                );
                native_only(arch, call, answer);
            }
        }
    }
}

/// Whatever the rules say.
fn native_only(arch: Arch, call: &SeccompData, answer: Action) {
    let x32 = arch == Arch::X86_64 && call.nr & 0x4000_0000 != 0;
    if call.arch != arch.audit() || x32 {
        assert_eq!(answer, Action::KillProcess, "{call:x?}");
    }
}

/// For each rule, calls with arguments around its conditions' values.
fn telling(profile: &Profile, arch: Arch) -> Vec<SeccompData> {
    let odd = [-1, i32::MIN, i32::MAX, 470, 0x4000_0000];
    let mut calls: Vec<_> = odd.map(|nr| SeccompData::call(arch, nr, [0; 6])).to_vec();
    for rule in profile.rules().iter().take(MOST_RULES) {
        let numbers = rule.syscalls().iter().take(MOST_CALLS);
        for number in numbers.filter_map(|name| syscall_number(arch, name)) {
            let number = i32::try_from(number).expect("numbers are small");
            for args in arguments(rule.when()) {
                calls.push(SeccompData::call(arch, number, args));
            }
        }
    }
    calls
}

/// Arguments that meet all conditions where that is simple, then with each
/// condition's argument moved around its value.
fn arguments(conditions: &[Condition]) -> Vec<[u64; 6]> {
    let mut base = [0; 6];
    for condition in conditions {
        base[usize::from(condition.arg())] |= condition.value();
    }
    let mut all = vec![base, [0; 6], [u64::MAX; 6]];
    for condition in conditions {
        for value in around(condition) {
            let mut args = base;
            args[usize::from(condition.arg())] = value;
            all.push(args);
        }
    }
    all
}

/// The value, its neighbours, and what differs only inside or outside the mask.
fn around(condition: &Condition) -> [u64; 8] {
    let (value, mask) = (condition.value(), condition.mask());
    [
        value,
        value.wrapping_add(1),
        value.wrapping_sub(1),
        value ^ 1 << 32,
        value ^ 1 << 63,
        value ^ (mask & mask.wrapping_neg()),
        value | !mask,
        value ^ mask,
    ]
}
