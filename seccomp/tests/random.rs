//! Random profiles: the compiler against the rules themselves.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use lakekeep_seccomp::{
    Arch, CompileError, Profile, Refusal, SeccompData, compile, decide, syscall_name,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

fn known() -> Vec<&'static str> {
    (0..470)
        .filter_map(|number| syscall_name(Arch::X86_64, number))
        .collect()
}

/// Few distinct values, so that conditions meet.
fn number() -> impl Strategy<Value = u64> {
    let few = select(vec![
        0,
        1,
        2,
        3,
        7,
        8,
        0xff,
        0x8000_0000,
        0xffff_ffff,
        1 << 32,
        3 << 32,
        1 << 63,
        u64::MAX,
    ]);
    prop_oneof![4 => few, 1 => any::<u64>()]
}

fn condition() -> impl Strategy<Value = Value> {
    let op = select(vec!["eq", "ne", "lt", "le", "gt", "ge", "masked_eq"]);
    (0..3u8, op, number(), number(), any::<bool>()).prop_map(|(arg, op, value, mask, narrow)| {
        if op == "masked_eq" {
            return json!({"arg": arg, "op": op, "mask": mask, "value": value & mask});
        }
        let width = if narrow { 0xffff_ffff } else { u64::MAX };
        json!({"arg": arg, "op": op, "value": value & width, "bits": if narrow { 32 } else { 64 }})
    })
}

fn rule(most: usize) -> impl Strategy<Value = Value> {
    let action = select(vec![
        json!("allow"),
        json!({"errno": "EPERM"}),
        json!({"errno": "ENOSYS"}),
    ]);
    let arch = prop_oneof![3 => Just(json!(["x86_64", "aarch64"])), 1 => Just(json!(["x86_64"]))];
    (subsequence(known(), 1..most), action, vec(condition(), 0..4), arch)
        .prop_map(|(syscalls, action, when, arch)| json!({"syscalls": syscalls, "action": action, "when": when, "arch": arch}))
}

fn profile(rules: std::ops::Range<usize>, most: usize) -> impl Strategy<Value = Profile> {
    vec(rule(most), rules).prop_map(|rules| {
        Profile::parse("random", &json!({"rules": rules}).to_string(), |_| None).unwrap()
    })
}

fn agree(
    profile: &Profile,
    arch: Arch,
    refusal: Refusal,
    args: &[[u64; 6]],
) -> Result<usize, TestCaseError> {
    let program = match compile(profile, arch, refusal) {
        Ok(program) => program,
        Err(CompileError::TooComplex { .. } | CompileError::Refused { .. }) => {
            return Err(TestCaseError::reject("too large"));
        }
    };
    for number in common::numbers() {
        for &args in args {
            let call = SeccompData::call(arch, number, args);
            prop_assert_eq!(
                program.evaluate(&call),
                decide(profile, arch, refusal, &call),
                "{:x?}",
                call
            );
        }
    }
    Ok(program.len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn small_profiles_are_compiled_as_they_say(
        profile in profile(1..12, 40),
        notify in any::<bool>(),
        args in vec([number(), number(), number(), number(), number(), number()], 24),
    ) {
        let refusal = if notify { Refusal::Notify } else { Refusal::Errno };
        for arch in Arch::ALL {
            agree(&profile, arch, refusal, &args)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Far jumps: programs much longer than an 8-bit offset reaches.
    #[test]
    fn large_profiles_are_compiled_as_they_say(
        profile in profile(100..140, 12),
        args in vec([number(), number(), number(), number(), number(), number()], 16),
    ) {
        let length = agree(&profile, Arch::X86_64, Refusal::Errno, &args)?;
        prop_assert!(length > 512, "{length} instructions do not test far jumps");
    }
}
