//! From rules to a filter.
//!
//! 1. The rules of each call become steps, then a decision graph that loads each argument word
//!    as rarely as it can ([`lower`], [`decision`]).
//! 2. Numbers with the same graph are joined to runs, and the runs to a search tree ([`search`]).
//! 3. The graph is written out backwards, so that a jump knows how far its targets are ([`emit`]).
//!
//! Why a tree: at installation the kernel itself runs the filter once for every number, to learn
//! which calls it need not be asked about again; a short path to every number makes that short.

mod decision;
mod emit;
mod graph;
mod lower;
mod search;

use std::collections::BTreeMap;

use graph::{Graph, NodeId, Test};
use search::Run;

use crate::bpf::{ARCH, NUMBER};
use crate::reference::{DEFAULT, UNKNOWN};
use crate::{Action, Arch, CompileError, Profile, Program, Refusal, Rule, syscall_number};

/// Compiles a profile for one architecture. The result answers as [`crate::decide`] does.
pub fn compile(profile: &Profile, arch: Arch, refusal: Refusal) -> Result<Program, CompileError> {
    let mut graph = Graph::default();
    let runs = runs(&mut graph, profile, arch, refusal)?;
    let tree = search::tree(&mut graph, &runs);
    let root = guard(&mut graph, arch, tree);
    Program::from_instructions(emit::emit(&graph, root)).map_err(|source| CompileError::Refused {
        profile: profile.name().to_owned(),
        arch,
        source,
    })
}

/// First the architecture: a number means nothing before it is known.
fn guard(graph: &mut Graph, arch: Arch, tree: NodeId) -> NodeId {
    let kill = graph.action(Action::KillProcess);
    let search = graph.load(NUMBER, tree);
    let native = graph.jump(Test::Eq(arch.audit()), search, kill);
    graph.load(ARCH, native)
}

/// Every number there is, as runs of numbers with the same decision.
fn runs(
    graph: &mut Graph,
    profile: &Profile,
    arch: Arch,
    refusal: Refusal,
) -> Result<Vec<Run>, CompileError> {
    let rules = rules_by_number(profile, arch);
    let unknown = graph.action(UNKNOWN.under(refusal));
    let default = graph.action(DEFAULT.under(refusal));
    let mut runs = Vec::new();
    let mut next = 0;
    for &(number, syscall) in arch.calls() {
        let number = u32::from(number);
        if number > next {
            search::push(&mut runs, next, unknown);
        }
        let node = match rules.get(&number) {
            None => default,
            Some(rules) => decision::decide(graph, &lower::lower(rules, refusal)).map_err(
                |decision::TooComplex| CompileError::TooComplex {
                    profile: profile.name().to_owned(),
                    arch,
                    syscall,
                },
            )?,
        };
        search::push(&mut runs, number, node);
        next = number + 1;
    }
    search::push(&mut runs, next, unknown);
    if let Some(foreign) = arch.foreign_numbers() {
        let kill = graph.action(Action::KillProcess);
        search::push(&mut runs, foreign, kill);
    }
    Ok(runs)
}

/// The rules that speak of each number, in their order.
fn rules_by_number(profile: &Profile, arch: Arch) -> BTreeMap<u32, Vec<&Rule>> {
    let mut by_number: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
    for rule in profile
        .rules()
        .iter()
        .filter(|rule| rule.arches().contains(&arch))
    {
        let numbers = rule
            .syscalls()
            .iter()
            .filter_map(|name| syscall_number(arch, name));
        for number in numbers.filter_map(|number| u32::try_from(number).ok()) {
            by_number.entry(number).or_default().push(rule);
        }
    }
    by_number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ProgramError, SeccompData, decide};

    fn profile(rules: &[String]) -> Profile {
        let text = format!("{{\"rules\": [{}]}}", rules.join(","));
        Profile::parse("p", &text, |_| None).unwrap()
    }

    fn rule(conditions: &str) -> String {
        format!(r#"{{"syscalls": ["ioctl"], "action": "allow", "when": [{conditions}]}}"#)
    }

    #[test]
    fn what_a_path_knows_is_not_tested_again() {
        let range = |first: u32| {
            rule(&format!(
                r#"{{"arg": 0, "op": "ge", "bits": 32, "value": {first}}},
                   {{"arg": 0, "op": "lt", "bits": 32, "value": {}}}"#,
                first + 5
            ))
        };
        let rules: Vec<String> = (1..=40).map(|step| range(step * 10)).collect();
        let length = compile(&profile(&rules), Arch::X86_64, Refusal::Errno)
            .unwrap()
            .len();
        assert!(
            length < 40 * 2 + 20,
            "{length}: one load, two tests for each range"
        );
    }

    #[test]
    fn jumps_reach_further_than_an_offset() {
        let rules: Vec<String> = (0..1000)
            .map(|value| {
                rule(&format!(
                    r#"{{"arg": 0, "op": "eq", "value": {}}}"#,
                    value * 3
                ))
            })
            .collect();
        let profile = profile(&rules);
        let program = compile(&profile, Arch::X86_64, Refusal::Errno).unwrap();
        assert!(program.len() > 1000);
        for value in 0..3010 {
            let call = SeccompData::call(Arch::X86_64, 16, [value, 0, 0, 0, 0, 0]);
            assert_eq!(
                program.evaluate(&call),
                decide(&profile, Arch::X86_64, Refusal::Errno, &call)
            );
        }
    }

    #[test]
    fn a_filter_longer_than_the_kernel_takes_is_refused() {
        let rules: Vec<String> = ["read", "write", "ioctl", "fcntl", "lseek"]
            .into_iter()
            .enumerate()
            .flat_map(|(call, name)| (0..1000).map(move |value| (name, value * 7 + call)))
            .map(|(name, value)| {
                rule(&format!(
                    r#"{{"arg": 0, "op": "eq", "bits": 32, "value": {value}}}"#
                ))
                .replace("ioctl", name)
            })
            .collect();
        let error = compile(&profile(&rules), Arch::X86_64, Refusal::Errno).unwrap_err();
        let CompileError::Refused {
            source: ProgramError::Length { instructions },
            ..
        } = error
        else {
            panic!("{error}");
        };
        assert!(instructions > crate::MAX_INSTRUCTIONS);
    }

    #[test]
    fn rules_with_too_many_steps_are_refused() {
        let rules: Vec<String> = (0..5000)
            .map(|value| rule(&format!(r#"{{"arg": 0, "op": "eq", "value": {value}}}"#)))
            .collect();
        let error = compile(&profile(&rules), Arch::X86_64, Refusal::Errno).unwrap_err();
        assert!(matches!(error, CompileError::TooComplex { .. }), "{error}");
    }

    #[test]
    fn rules_with_too_many_cases_are_refused() {
        let set = |arg: usize, bit: usize| {
            format!(
                r#"{{"arg": {arg}, "op": "masked_eq", "mask": {}, "value": {}}}"#,
                1u64 << bit,
                1u64 << bit
            )
        };
        let rules: Vec<String> = (0..60)
            .map(|bit| {
                rule(&[set(0, bit), set(1, (bit * 7) % 60), set(2, (bit * 11) % 60)].join(","))
            })
            .collect();
        let error = compile(&profile(&rules), Arch::X86_64, Refusal::Errno).unwrap_err();
        assert!(
            matches!(
                error,
                CompileError::TooComplex {
                    syscall: "ioctl",
                    ..
                }
            ),
            "{error}"
        );
    }
}
