//! From runs of numbers to a search tree.

use std::ops::Range;

use super::graph::{Graph, NodeId, Test};

/// Numbers from `first` to the next run's, all with the same decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    first: u32,
    node: NodeId,
}

/// Consecutive runs that need no split: single numbers picked out of one decision.
#[derive(Clone, Debug)]
struct Group {
    runs: Range<usize>,
    rest: NodeId,
    /// Single numbers to pick out.
    picked: usize,
}

/// The most numbers picked out one after another: longer chains were not measured to gain.
const MAX_PICKED: usize = 8;

/// An instruction costs the installation about as much (translating and assembling it) as this
/// many steps of the kernel's trial of every number.
const PATH_WEIGHT: u64 = 128;

/// The kernel tries every number up to its last at installation; those beyond weigh nothing.
const TRIED: u32 = 480;

/// Adds a run, or lengthens the last one.
pub(super) fn push(runs: &mut Vec<Run>, first: u32, node: NodeId) {
    if runs.last().is_none_or(|last| last.node != node) {
        runs.push(Run { first, node });
    }
}

/// The tree over runs that begin at 0.
pub(super) fn tree(graph: &mut Graph, runs: &[Run]) -> NodeId {
    let groups = group(runs);
    let table = Table {
        runs,
        groups: &groups,
    };
    table.subtree(graph, 0..groups.len())
}

/// Runs and their grouping.
#[derive(Clone, Copy)]
struct Table<'a> {
    runs: &'a [Run],
    groups: &'a [Group],
}

impl Table<'_> {
    fn first(self, group: usize) -> u32 {
        self.groups
            .get(group)
            .map_or(u32::MAX, |group| self.runs[group.runs.start].first)
    }

    fn subtree(self, graph: &mut Graph, groups: Range<usize>) -> NodeId {
        if groups.len() == 1 {
            return self.leaf(graph, &self.groups[groups.start]);
        }
        let middle = self.middle(&groups);
        let left = self.subtree(graph, groups.start..middle);
        let right = self.subtree(graph, middle..groups.end);
        graph.jump(Test::Ge(self.first(middle)), right, left)
    }

    fn leaf(self, graph: &mut Graph, group: &Group) -> NodeId {
        let single = |run: &&Run| run.node != group.rest;
        self.runs[group.runs.clone()]
            .iter()
            .rev()
            .filter(single)
            .fold(group.rest, |rest, run| {
                graph.jump(Test::Eq(run.first), run.node, rest)
            })
    }

    /// Where to split so that both sides have about as many numbers.
    fn middle(self, groups: &Range<usize>) -> usize {
        let weight = |group: usize| self.first(group).min(TRIED);
        let (low, high) = (weight(groups.start), weight(groups.end));
        let uneven = |middle: &usize| {
            let at = weight(*middle);
            (at - low).abs_diff(high - at)
        };
        (groups.start + 1..groups.end)
            .min_by_key(uneven)
            .unwrap_or(groups.start)
    }
}

/// The cheapest grouping: one instruction for each split and each number picked out, and a little
/// for long chains.
fn group(runs: &[Run]) -> Vec<Group> {
    let mut best: Vec<(u64, Option<Group>)> = vec![(0, None)];
    for end in 1..=runs.len() {
        let longest = end.saturating_sub(2 * MAX_PICKED + 1);
        let candidates = (longest..end).flat_map(|start| candidates(runs, start..end));
        let cheapest = candidates
            .map(|group| (best[group.runs.start].0 + cost(runs, &group), Some(group)))
            .min_by_key(|(cost, _)| *cost)
            .unwrap_or_default();
        best.push(cheapest);
    }
    let mut groups = Vec::new();
    let mut end = runs.len();
    while let Some(group) = best.get_mut(end).and_then(|(_, group)| group.take()) {
        end = group.runs.start;
        groups.push(group);
    }
    groups.reverse();
    groups
}

/// The ways to make one group of these runs.
fn candidates(runs: &[Run], range: Range<usize>) -> impl Iterator<Item = Group> {
    let rests = range.clone().take(2).map(|run| runs[run].node);
    rests.filter_map(move |rest| {
        let mut picked = range.clone().filter(|&run| runs[run].node != rest);
        let singles = picked.clone().all(|run| is_single(runs, run));
        let picked = picked.by_ref().count();
        (singles && picked <= MAX_PICKED).then(|| Group {
            runs: range.clone(),
            rest,
            picked,
        })
    })
}

fn is_single(runs: &[Run], run: usize) -> bool {
    runs.get(run + 1)
        .is_some_and(|next| next.first == runs[run].first + 1)
}

fn cost(runs: &[Run], group: &Group) -> u64 {
    let first = |run: usize| u64::from(runs.get(run).map_or(TRIED, |run| run.first.min(TRIED)));
    let numbers = first(group.runs.end) - first(group.runs.start);
    let picked = group.picked as u64;
    (1 + picked) * PATH_WEIGHT + numbers * picked
}
