//! From steps to a decision graph: what a path already knows is not tested again, and what the
//! accumulator already holds is not loaded again.

use std::collections::HashMap;

use super::graph::{Graph, NodeId, Test};
use super::lower::{Step, Steps, Target};

/// Cases after which a call's rules count as too complex: far above any sensible profile (the
/// built-in ones need fewer than 100), low enough to end at once.
const MAX_CASES: usize = 20_000;

/// The rules of a call lead to too many cases.
#[derive(Debug)]
pub(super) struct TooComplex;

/// What a path has learned about a masked word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fact {
    word: u8,
    mask: u32,
    test: Test,
    truth: bool,
}

/// What the accumulator holds: a word, masked.
type Held = Option<(u8, u32)>;

/// What the rest of a decision depends on.
type Case = (Target, Vec<Fact>, Held);

struct Decider<'a> {
    graph: &'a mut Graph,
    steps: &'a [Step],
    /// For each step, the words that it and what it leads to may test, one bit each.
    words: Vec<u16>,
    memo: HashMap<Case, NodeId>,
}

/// The graph of one call. It begins with a load or is an answer, so that it can follow the
/// search for the number.
pub(super) fn decide(graph: &mut Graph, steps: &Steps) -> Result<NodeId, TooComplex> {
    let words = words(&steps.steps);
    let mut decider = Decider { graph, steps: &steps.steps, words, memo: HashMap::new() };
    decider.node((steps.entry, Vec::new(), None))
}

fn words(steps: &[Step]) -> Vec<u16> {
    let mut words: Vec<u16> = Vec::with_capacity(steps.len());
    for step in steps {
        let below = |target| match target {
            Target::Step(at) => words.get(at).copied().unwrap_or_default(),
            Target::Done(_) => 0,
        };
        words.push(1 << step.word | below(step.yes) | below(step.no));
    }
    words
}

impl Decider<'_> {
    fn node(&mut self, case: Case) -> Result<NodeId, TooComplex> {
        let (target, mut facts, held) = case;
        let at = match target {
            Target::Done(action) => return Ok(self.graph.action(action)),
            Target::Step(at) => at,
        };
        let step = self.steps[at];
        if let Some(truth) = facts.iter().find_map(|fact| fact.implies(&step)) {
            return self.node((if truth { step.yes } else { step.no }, facts, held));
        }
        // Facts that cannot matter below would only tell equal cases apart.
        facts.retain(|fact| self.words[at] & 1 << fact.word != 0);
        let case = (target, facts, held);
        if let Some(&known) = self.memo.get(&case) {
            return Ok(known);
        }
        if self.memo.len() >= MAX_CASES {
            return Err(TooComplex);
        }
        let node = self.test(&step, &case.1, held)?;
        self.memo.insert(case, node);
        Ok(node)
    }

    fn test(&mut self, step: &Step, facts: &[Fact], held: Held) -> Result<NodeId, TooComplex> {
        let holds = Some((step.word, step.mask));
        let yes = self.node((step.yes, learn(facts, step, true), holds))?;
        let no = self.node((step.no, learn(facts, step, false), holds))?;
        let test = self.graph.jump(step.test, yes, no);
        if held == holds {
            return Ok(test);
        }
        let masked = if step.mask == u32::MAX { test } else { self.graph.and(step.mask, test) };
        Ok(if held == Some((step.word, u32::MAX)) { masked } else { self.graph.load(step.word, masked) })
    }
}

fn learn(facts: &[Fact], step: &Step, truth: bool) -> Vec<Fact> {
    let fact = Fact { word: step.word, mask: step.mask, test: step.test, truth };
    let exact = truth && matches!(step.test, Test::Eq(_));
    let same_word = |known: &&Fact| exact && (known.word, known.mask) == (step.word, step.mask);
    let mut facts: Vec<Fact> = facts.iter().filter(|known| !same_word(known)).copied().collect();
    facts.push(fact);
    facts.sort_unstable_by_key(|fact| (fact.word, fact.mask, fact.test.key(), fact.truth));
    facts
}

impl Fact {
    /// What this fact says about a step, if anything.
    fn implies(&self, step: &Step) -> Option<bool> {
        if self.word != step.word {
            return None;
        }
        if (self.mask, self.test) == (step.mask, step.test) {
            return Some(self.truth);
        }
        match self.test {
            Test::Eq(value) if self.truth && step.bits() & !self.mask == 0 => {
                Some(step.test.holds(value & step.mask))
            }
            _ => None,
        }
    }
}

impl Step {
    /// The bits of the word that its outcome depends on.
    fn bits(&self) -> u32 {
        match self.test {
            Test::Any(bits) => bits & self.mask,
            _ => self.mask,
        }
    }
}

impl Test {
    fn holds(self, value: u32) -> bool {
        match self {
            Self::Eq(k) => value == k,
            Self::Gt(k) => value > k,
            Self::Ge(k) => value >= k,
            Self::Any(k) => value & k != 0,
        }
    }

    fn key(self) -> (u8, u32) {
        match self {
            Self::Eq(k) => (0, k),
            Self::Gt(k) => (1, k),
            Self::Ge(k) => (2, k),
            Self::Any(k) => (3, k),
        }
    }
}
