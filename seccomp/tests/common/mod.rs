//! What several tests need: the documents, the calls worth trying, the peers.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test uses a part of it, and fails by panicking"
)]

pub mod peer;
pub mod probe;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use lakekeep_seccomp::{Arch, Condition, Profile, SeccompData, syscall_name};

/// Every document of the built-in profiles.
pub const DOCUMENTS: [&str; 6] = [
    "udf.json",
    "notebook.json",
    "general.json",
    "workload.json",
    "base.json",
    "relay.json",
];

/// Numbers that every comparison tries: all known ones, the gaps, and the odd ones.
pub fn numbers() -> impl Iterator<Item = i32> {
    let odd = [
        -1,
        -2,
        i32::MIN,
        i32::MAX,
        512,
        547,
        4096,
        0x4000_0000,
        0x4000_0000 + 1,
        0x4000_0000 + 520,
    ];
    (0..=511).chain(odd)
}

pub fn profile(name: &str) -> Profile {
    Profile::builtin(name).unwrap()
}

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("profiles")
}

pub fn document(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

/// The built-in profile `name` with one of its documents replaced.
pub fn profile_with(name: &str, document_name: &str, text: &str) -> Profile {
    let read = |wanted: &str| {
        if wanted == document_name {
            text.to_owned()
        } else {
            document(wanted)
        }
    };
    Profile::parse(name, &read(&format!("{name}.json")), |include| {
        Some(read(include))
    })
    .unwrap()
}

/// Arguments that a profile could treat differently for this call: for each argument that a
/// condition looks at, the values around the condition's, combined; elsewhere `rest`.
pub fn arguments(profile: &Profile, arch: Arch, number: i32, rest: [u64; 6]) -> Vec<[u64; 6]> {
    let name = syscall_name(arch, i64::from(number)).unwrap_or_default();
    let rules = profile
        .rules()
        .iter()
        .filter(|rule| rule.syscalls().contains(&name));
    let mut values: [BTreeSet<u64>; 6] = Default::default();
    for condition in rules.flat_map(|rule| rule.when()) {
        values[usize::from(condition.arg())].extend(around(condition));
    }
    let mut all = vec![rest];
    for (arg, values) in values
        .iter()
        .enumerate()
        .filter(|(_, values)| !values.is_empty())
    {
        let with = |args: &[u64; 6], value| {
            let mut args = *args;
            args[arg] = value;
            args
        };
        all = all
            .iter()
            .flat_map(|args| values.iter().map(move |&value| with(args, value)))
            .collect();
    }
    all
}

/// The value of a condition, its neighbours, and what differs only outside or inside the mask.
fn around(condition: &Condition) -> Vec<u64> {
    let (value, mask) = (condition.value(), condition.mask());
    let lowest = mask & mask.wrapping_neg();
    let highest = if mask == 0 {
        0
    } else {
        1 << (63 - mask.leading_zeros())
    };
    vec![
        value,
        value.wrapping_add(1),
        value.wrapping_sub(1),
        value | 1 << 32,
        value | 1 << 63,
        value ^ lowest,
        value ^ highest,
        value | !mask,
        value ^ mask,
    ]
}

/// Every call worth trying against a profile.
pub fn calls(profile: &Profile, arch: Arch) -> impl Iterator<Item = SeccompData> {
    numbers().flat_map(move |number| {
        let all = arguments(profile, arch, number, [0; 6]);
        all.into_iter()
            .map(move |args| SeccompData::call(arch, number, args))
    })
}
