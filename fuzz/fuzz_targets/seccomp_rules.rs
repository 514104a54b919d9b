//! Profiles that are valid by construction, and calls: the compiler against the
//! rules themselves.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use lakekeep_seccomp::{Arch, Profile, ProfileError, SeccompData, syscall_name};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

#[derive(Arbitrary, Debug)]
struct Input {
    rules: Vec<Rule>,
    calls: Vec<Call>,
}

#[derive(Arbitrary, Debug)]
struct Rule {
    calls: Vec<u16>,
    answer: u8,
    arches: Arches,
    when: Vec<Condition>,
}

#[derive(Arbitrary, Debug)]
enum Arches {
    Both,
    Intel,
    Arm,
}

#[derive(Arbitrary, Debug)]
struct Condition {
    arg: u8,
    operator: u8,
    narrow: bool,
    mask: Number,
    value: Number,
}

/// Mostly few distinct values, so that conditions meet.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Bit(u8),
    Below(u8),
    Small(u8),
    Any(u64),
}

#[derive(Arbitrary, Debug)]
struct Call {
    /// Which of the rules' calls, or any number.
    known: Option<u16>,
    number: i32,
    arch: Option<u32>,
    intel: bool,
    pointer: u64,
    args: [Number; 6],
}

/// Rules beyond this many only make an input slow.
const MOST_RULES: usize = 24;

static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let mut names: Vec<_> = Arch::ALL
        .into_iter()
        .flat_map(|arch| (0..512).filter_map(move |number| syscall_name(arch, number)))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
});

fuzz_target!(|input: Input| {
    let rules: Vec<Value> = input.rules.iter().take(MOST_RULES).map(rule).collect();
    let text = json!({ "rules": rules }).to_string();
    match Profile::parse("fuzz", &text, |_| None) {
        Ok(profile) => {
            let calls: Vec<_> = input.calls.iter().map(call).collect();
            lakekeep_fuzz::seccomp::agree(&profile, &calls);
        }
        // The one fault that a rule can still have: no call on its architecture.
        Err(ProfileError::NoCall { .. }) => {}
        Err(error) => panic!("{error}\n{text}"),
    }
});

fn rule(rule: &Rule) -> Value {
    let mut names: Vec<_> = rule.calls.iter().map(|&at| name(at)).collect();
    names.sort_unstable();
    names.dedup();
    let answers = [
        json!("allow"),
        json!({"errno": "EPERM"}),
        json!({"errno": "ENOSYS"}),
    ];
    let arches = match rule.arches {
        Arches::Both => json!(["x86_64", "aarch64"]),
        Arches::Intel => json!(["x86_64"]),
        Arches::Arm => json!(["aarch64"]),
    };
    json!({
        "syscalls": names,
        "action": answers[usize::from(rule.answer) % answers.len()],
        "arch": arches,
        "when": rule.when.iter().map(condition).collect::<Vec<_>>(),
    })
}

fn name(at: u16) -> &'static str {
    NAMES[usize::from(at) % NAMES.len()]
}

fn condition(condition: &Condition) -> Value {
    let operators = ["eq", "ne", "lt", "le", "gt", "ge", "masked_eq"];
    let operator = operators[usize::from(condition.operator) % operators.len()];
    let width = if condition.narrow {
        u64::from(u32::MAX)
    } else {
        u64::MAX
    };
    let mask = if operator == "masked_eq" {
        number(condition.mask) & width
    } else {
        width
    };
    let mut document = json!({
        "arg": condition.arg % 6,
        "op": operator,
        "bits": if condition.narrow { 32 } else { 64 },
        "value": number(condition.value) & mask,
    });
    if operator == "masked_eq" {
        document["mask"] = json!(mask);
    }
    document
}

fn number(number: Number) -> u64 {
    match number {
        Number::Bit(bit) => 1 << (bit % 64),
        Number::Below(bit) => (1 << (bit % 64)) - 1,
        Number::Small(value) => u64::from(value % 8),
        Number::Any(value) => value,
    }
}

fn call(call: &Call) -> SeccompData {
    let arch = if call.intel {
        Arch::X86_64
    } else {
        Arch::Aarch64
    };
    let known = call
        .known
        .and_then(|at| lakekeep_seccomp::syscall_number(arch, name(at)));
    SeccompData {
        nr: known
            .and_then(|nr| i32::try_from(nr).ok())
            .unwrap_or(call.number),
        arch: call.arch.unwrap_or(arch.audit()),
        instruction_pointer: call.pointer,
        args: call.args.map(number),
    }
}
