//! From the rules of one call to steps on 32-bit words.

use super::graph::Test;
use crate::bpf::ARGS;
use crate::reference::DEFAULT;
use crate::{Action, Comparison, Condition, Refusal, Rule};

/// The steps of one call. A step leads only to steps before it, so index order is bottom-up.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) steps: Vec<Step>,
    pub(super) entry: Target,
}

/// One test of one masked word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) word: u8,
    pub(super) mask: u32,
    pub(super) test: Test,
    pub(super) yes: Target,
    pub(super) no: Target,
}

/// Where a step leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Step(usize),
    Done(Action),
}

/// Half of an argument, with its halves of the mask and the value.
#[derive(Clone, Copy)]
struct Half {
    word: u8,
    mask: u32,
    value: u32,
}

/// Lowers rules from the last to the first, since each needs to know where its failure leads.
pub(super) fn lower(rules: &[&Rule], refusal: Refusal) -> Steps {
    let mut steps = Vec::new();
    let mut entry = Target::Done(DEFAULT.under(refusal));
    for rule in rules.iter().rev() {
        let otherwise = entry;
        entry = Target::Done(rule.action().under(refusal));
        for condition in rule.when().iter().rev() {
            entry = lower_condition(&mut steps, condition, entry, otherwise);
        }
    }
    Steps { steps, entry }
}

fn lower_condition(
    steps: &mut Vec<Step>,
    condition: &Condition,
    pass: Target,
    fail: Target,
) -> Target {
    let (low, high) = halves(condition);
    match condition.comparison() {
        Comparison::Eq => equal(steps, [low, high], pass, fail),
        Comparison::Ne => equal(steps, [low, high], fail, pass),
        Comparison::Ge => ordered(steps, [low, high], Test::Ge, [pass, fail]),
        Comparison::Lt => ordered(steps, [low, high], Test::Ge, [fail, pass]),
        Comparison::Gt => ordered(steps, [low, high], Test::Gt, [pass, fail]),
        Comparison::Le => ordered(steps, [low, high], Test::Gt, [fail, pass]),
    }
}

fn halves(condition: &Condition) -> (Half, Half) {
    let word = ARGS + condition.arg() * 2;
    let half = |word, shift: u32| Half {
        word,
        mask: (condition.mask() >> shift & 0xffff_ffff) as u32,
        value: (condition.value() >> shift & 0xffff_ffff) as u32,
    };
    (half(word, 0), half(word + 1, 32))
}

fn equal(steps: &mut Vec<Step>, halves: [Half; 2], pass: Target, fail: Target) -> Target {
    halves
        .into_iter()
        .fold(pass, |then, half| equal_half(steps, half, then, fail))
}

/// A mask of zero holds (the value has no bit outside it); bits that must all be clear, or one
/// that must be set, need no AND.
fn equal_half(steps: &mut Vec<Step>, half: Half, pass: Target, fail: Target) -> Target {
    let Half { word, mask, value } = half;
    if mask == 0 {
        return pass;
    }
    let (mask, test, yes, no) = if mask != u32::MAX && value == 0 {
        (u32::MAX, Test::Any(mask), fail, pass)
    } else if mask == value && mask.is_power_of_two() {
        (u32::MAX, Test::Any(mask), pass, fail)
    } else {
        (mask, Test::Eq(value), pass, fail)
    };
    push(
        steps,
        Step {
            word,
            mask,
            test,
            yes,
            no,
        },
    )
}

/// The low halves decide only when the high ones are equal.
fn ordered(
    steps: &mut Vec<Step>,
    halves: [Half; 2],
    test: fn(u32) -> Test,
    outcomes: [Target; 2],
) -> Target {
    let [low, high] = halves;
    let [yes, no] = outcomes;
    let low = push(
        steps,
        Step {
            word: low.word,
            mask: low.mask,
            test: test(low.value),
            yes,
            no,
        },
    );
    if high.mask == 0 {
        return low;
    }
    let Half { word, mask, value } = high;
    let tie = push(
        steps,
        Step {
            word,
            mask,
            test: Test::Eq(value),
            yes: low,
            no,
        },
    );
    push(
        steps,
        Step {
            word,
            mask,
            test: Test::Gt(value),
            yes,
            no: tie,
        },
    )
}

fn push(steps: &mut Vec<Step>, step: Step) -> Target {
    steps.push(step);
    Target::Step(steps.len() - 1)
}
