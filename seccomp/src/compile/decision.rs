//! From steps to a decision graph: what a path already knows is not tested again, and what the
//! accumulator already holds is not loaded again.

use std::collections::HashMap;

use super::graph::{Graph, NodeId, Test};
use super::lower::{Step, Steps, Target};

/// Cases after which a call's rules count as too complex: far above any sensible profile (the
/// built-in ones need fewer than 100), low enough to end at once.
const MAX_CASES: usize = 20_000;

/// Steps after which they do: the graph is walked by recursion, which must not exhaust the stack.
const MAX_STEPS: usize = 2048;

/// The rules of a call lead to too many cases.
#[derive(Debug)]
pub(super) struct TooComplex;

/// What a path has learned about a masked word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Fact {
    word: u8,
    mask: u32,
    about: Knowledge,
}

/// At most one range for each masked word; the others add to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Knowledge {
    /// From the first to the last, both included.
    Within(u32, u32),
    /// Not this value.
    Not(u32),
    /// Whether some of these bits are set.
    Any(u32, bool),
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
    if steps.steps.len() > MAX_STEPS {
        return Err(TooComplex);
    }
    let words = words(&steps.steps);
    let mut decider = Decider {
        graph,
        steps: &steps.steps,
        words,
        memo: HashMap::new(),
    };
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
        let masked = if step.mask == u32::MAX {
            test
        } else {
            self.graph.and(step.mask, test)
        };
        Ok(if held == Some((step.word, u32::MAX)) {
            masked
        } else {
            self.graph.load(step.word, masked)
        })
    }
}

/// Adds what the outcome of a step tells.
fn learn(facts: &[Fact], step: &Step, truth: bool) -> Vec<Fact> {
    let Step { word, mask, .. } = *step;
    let mut learned = Knowledge::of(step.test, truth);
    let mut facts = facts.to_vec();
    facts.retain(|fact| {
        if (fact.word, fact.mask) != (word, mask) {
            return true;
        }
        match (fact.about, learned) {
            (Knowledge::Within(first, last), Knowledge::Within(low, high)) => {
                learned = Knowledge::Within(first.max(low), last.min(high));
                false
            }
            (Knowledge::Not(value), Knowledge::Within(low, high)) => (low..=high).contains(&value),
            _ => true,
        }
    });
    facts.push(Fact {
        word,
        mask,
        about: learned,
    });
    facts.sort_unstable();
    facts
}

impl Knowledge {
    fn of(test: Test, truth: bool) -> Self {
        match (test, truth) {
            (Test::Eq(k), true) => Self::Within(k, k),
            (Test::Eq(k), false) => Self::Not(k),
            (Test::Ge(k), true) => Self::Within(k, u32::MAX),
            (Test::Ge(k), false) => Self::Within(0, k.saturating_sub(1)),
            (Test::Gt(k), true) => Self::Within(k.saturating_add(1), u32::MAX),
            (Test::Gt(k), false) => Self::Within(0, k),
            (Test::Any(k), truth) => Self::Any(k, truth),
        }
    }

    /// What this says about a test of the same bits.
    fn implies(self, test: Test) -> Option<bool> {
        match (self, test) {
            (Self::Within(first, last), _) if first == last => Some(test.holds(first)),
            (Self::Within(first, last), Test::Eq(k)) => (k < first || k > last).then_some(false),
            // Both hold for all from some value on: the ends of the range tell.
            (Self::Within(first, last), Test::Ge(_) | Test::Gt(_)) => {
                (test.holds(first) == test.holds(last)).then_some(test.holds(first))
            }
            (Self::Not(value), Test::Eq(k)) => (k == value).then_some(false),
            (Self::Any(bits, truth), Test::Any(k)) => (k == bits).then_some(truth),
            _ => None,
        }
    }
}

impl Fact {
    /// What this fact says about a step, if anything.
    fn implies(&self, step: &Step) -> Option<bool> {
        if self.word != step.word {
            return None;
        }
        match self.about {
            Knowledge::Within(value, last) if value == last && step.bits() & !self.mask == 0 => {
                Some(step.test.holds(value & step.mask))
            }
            about if self.mask == step.mask => about.implies(step.test),
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
}
