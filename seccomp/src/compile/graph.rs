//! A decision graph in which equal parts exist once.

use std::collections::HashMap;

use crate::Action;

/// A node of one [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(usize);

/// One instruction and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// The answer.
    Return(Action),
    /// Puts a word of the call's data into the accumulator.
    Load { word: u8, next: NodeId },
    /// Keeps some bits of the accumulator.
    And { mask: u32, next: NodeId },
    /// Tests the accumulator.
    Jump { test: Test, yes: NodeId, no: NodeId },
}

/// A test of the accumulator against a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Test {
    /// Equal.
    Eq(u32),
    /// Greater.
    Gt(u32),
    /// Greater or equal.
    Ge(u32),
    /// Some of these bits set.
    Any(u32),
}

/// Nodes, each distinct.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    known: HashMap<Node, NodeId>,
}

impl Graph {
    pub(super) fn node(&self, id: NodeId) -> Node {
        self.nodes[id.0]
    }

    pub(super) fn action(&mut self, action: Action) -> NodeId {
        self.intern(Node::Return(action))
    }

    /// A load, unless what follows never looks at it.
    pub(super) fn load(&mut self, word: u8, next: NodeId) -> NodeId {
        if self.reads_accumulator(next) {
            self.intern(Node::Load { word, next })
        } else {
            next
        }
    }

    /// A mask, unless what follows never looks at it.
    pub(super) fn and(&mut self, mask: u32, next: NodeId) -> NodeId {
        if self.reads_accumulator(next) {
            self.intern(Node::And { mask, next })
        } else {
            next
        }
    }

    /// A test, unless both outcomes are the same.
    pub(super) fn jump(&mut self, test: Test, yes: NodeId, no: NodeId) -> NodeId {
        if yes == no {
            yes
        } else {
            self.intern(Node::Jump { test, yes, no })
        }
    }

    fn reads_accumulator(&self, id: NodeId) -> bool {
        matches!(self.node(id), Node::And { .. } | Node::Jump { .. })
    }

    fn intern(&mut self, node: Node) -> NodeId {
        let nodes = &mut self.nodes;
        *self.known.entry(node).or_insert_with(|| {
            nodes.push(node);
            NodeId(nodes.len() - 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_parts_exist_once_and_useless_ones_never() {
        let mut graph = Graph::default();
        let (allow, kill) = (
            graph.action(Action::Allow),
            graph.action(Action::KillProcess),
        );
        let first = graph.jump(Test::Eq(1), allow, kill);
        assert_eq!(first, graph.jump(Test::Eq(1), allow, kill));
        assert_eq!(allow, graph.jump(Test::Eq(1), allow, allow));
        assert_eq!(allow, graph.load(4, allow));
        let loaded = graph.load(4, first);
        assert_eq!(
            loaded,
            graph.load(5, loaded),
            "a second load would overwrite the first"
        );
    }
}
