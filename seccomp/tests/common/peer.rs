//! The same rules, compiled by the `seccompiler` crate.
//!
//! It knows one action for a match and one for the rest, so "allowed" is its match and every
//! refusal its EPERM; which error is refused with is compared with the reference instead. A
//! conditional refusal before an allowing rule cannot be said in it; the built-in profiles have
//! none, which is asserted.

use std::collections::BTreeMap;

use lakekeep_seccomp::{Arch, Comparison, Condition, Profile, Program, SockFilter, syscall_number};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

pub fn compile(profile: &Profile, arch: Arch) -> Program {
    let rules = rules(profile, arch);
    let target = match arch {
        Arch::X86_64 => TargetArch::x86_64,
        Arch::Aarch64 => TargetArch::aarch64,
    };
    let filter =
        SeccompFilter::new(rules, SeccompAction::Errno(1), SeccompAction::Allow, target).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    let copy = |from: &seccompiler::sock_filter| SockFilter {
        code: from.code,
        jt: from.jt,
        jf: from.jf,
        k: from.k,
    };
    Program::from_instructions(program.iter().map(copy).collect()).unwrap()
}

/// Calls and their allowing rules; none means always.
fn rules(profile: &Profile, arch: Arch) -> BTreeMap<i64, Vec<SeccompRule>> {
    profile
        .allowed(arch)
        .into_iter()
        .map(|name| {
            (
                syscall_number(arch, name).unwrap(),
                rules_of(profile, arch, name),
            )
        })
        .collect()
}

fn rules_of(profile: &Profile, arch: Arch, name: &str) -> Vec<SeccompRule> {
    let mut allowing = Vec::new();
    let matching = |rule: &&lakekeep_seccomp::Rule| {
        rule.syscalls().contains(&name) && rule.arches().contains(&arch)
    };
    for rule in profile.rules().iter().filter(matching) {
        match (rule.action().is_allow(), rule.when()) {
            (true, []) => return Vec::new(),
            (true, when) => {
                allowing.push(SeccompRule::new(when.iter().map(condition).collect()).unwrap())
            }
            (false, []) => break,
            (false, _) => panic!("{name}: a conditional refusal"),
        }
    }
    allowing
}

fn condition(condition: &Condition) -> SeccompCondition {
    let whole = [u64::from(u32::MAX), u64::MAX].contains(&condition.mask());
    let operator = match condition.comparison() {
        Comparison::Eq if !whole => SeccompCmpOp::MaskedEq(condition.mask()),
        Comparison::Eq => SeccompCmpOp::Eq,
        Comparison::Ne => SeccompCmpOp::Ne,
        Comparison::Lt => SeccompCmpOp::Lt,
        Comparison::Le => SeccompCmpOp::Le,
        Comparison::Gt => SeccompCmpOp::Gt,
        Comparison::Ge => SeccompCmpOp::Ge,
    };
    let half = condition.mask() == u64::from(u32::MAX);
    let width = if half {
        SeccompCmpArgLen::Dword
    } else {
        SeccompCmpArgLen::Qword
    };
    SeccompCondition::new(condition.arg(), width, operator, condition.value()).unwrap()
}
