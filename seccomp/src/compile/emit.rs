//! Writes a graph out, last instruction first: when a jump is written, its targets already have
//! their places, and one that is out of an 8-bit offset's reach gets a stand-in next to it.

use std::collections::HashMap;

use super::graph::{Graph, Node, NodeId, Test};
use crate::SockFilter;
use crate::bpf::{AND, JUMP, JUMP_EQ, JUMP_GE, JUMP_GT, JUMP_SET, LOAD, RETURN};

struct Emitter<'a> {
    graph: &'a Graph,
    /// Instructions, last first.
    reversed: Vec<SockFilter>,
    /// Where each node was written last, as an index of `reversed`.
    places: HashMap<NodeId, usize>,
}

/// The instructions of everything that `root` leads to, `root` first.
pub(super) fn emit(graph: &Graph, root: NodeId) -> Vec<SockFilter> {
    let mut emitter = Emitter {
        graph,
        reversed: Vec::new(),
        places: HashMap::new(),
    };
    emitter.write(root);
    emitter.reversed.reverse();
    emitter.reversed
}

impl Emitter<'_> {
    /// Writes a node as the next instruction, though it may stand elsewhere already.
    fn write(&mut self, id: NodeId) {
        match self.graph.node(id) {
            Node::Return(action) => self.push(RETURN, action.to_raw(), [0, 0]),
            Node::Load { word, next } => {
                self.write_before(next);
                self.push(LOAD, u32::from(word) * 4, [0, 0]);
            }
            Node::And { mask, next } => {
                self.write_before(next);
                self.push(AND, mask, [0, 0]);
            }
            Node::Jump { test, yes, no } => {
                self.write_once(yes);
                self.write_once(no);
                let offsets = self.reach([yes, no]);
                let (code, operand) = operation(test);
                self.push(code, operand, offsets);
            }
        }
        self.places.insert(id, self.reversed.len() - 1);
    }

    fn write_once(&mut self, id: NodeId) {
        if !self.places.contains_key(&id) {
            self.write(id);
        }
    }

    /// Makes `next` the instruction just written. A copy costs as much as a jump to it would.
    fn write_before(&mut self, next: NodeId) {
        if self
            .places
            .get(&next)
            .is_none_or(|place| place + 1 != self.reversed.len())
        {
            self.write(next);
        }
    }

    /// The offsets of two targets from the instruction to be written next.
    fn reach(&mut self, targets: [NodeId; 2]) -> [u8; 2] {
        loop {
            let offsets = targets.map(|target| u8::try_from(self.distance(target)).ok());
            match offsets {
                [Some(yes), Some(no)] => return [yes, no],
                [None, _] => self.write_stand_in(targets[0]),
                [_, None] => self.write_stand_in(targets[1]),
            }
        }
    }

    /// An answer is copied; anything else gets a jump, whose offset has 32 bits.
    fn write_stand_in(&mut self, target: NodeId) {
        if let Node::Return(action) = self.graph.node(target) {
            self.push(RETURN, action.to_raw(), [0, 0]);
        } else {
            let distance = u32::try_from(self.distance(target)).unwrap_or(u32::MAX);
            self.push(JUMP, distance, [0, 0]);
        }
        self.places.insert(target, self.reversed.len() - 1);
    }

    fn distance(&self, target: NodeId) -> usize {
        self.places
            .get(&target)
            .map_or(usize::MAX, |place| self.reversed.len() - place - 1)
    }

    fn push(&mut self, code: u16, k: u32, [jt, jf]: [u8; 2]) {
        self.reversed.push(SockFilter { code, jt, jf, k });
    }
}

fn operation(test: Test) -> (u16, u32) {
    match test {
        Test::Eq(k) => (JUMP_EQ, k),
        Test::Gt(k) => (JUMP_GT, k),
        Test::Ge(k) => (JUMP_GE, k),
        Test::Any(k) => (JUMP_SET, k),
    }
}
