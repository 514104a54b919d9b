//! Which rules are about a destination, without looking at all of them.

use core::net::IpAddr;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use crate::cidr::masked;
use crate::name::HostName;
use crate::rule::{Rule, Target};

/// Numbers of rules, under what they are about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    names: HashMap<HostName, Vec<usize>>,
    below: HashMap<HostName, Vec<usize>>,
    any_name: Vec<usize>,
    /// By prefix length, the longest first: at most 33 lengths of IPv4 and 129 of IPv6.
    blocks: BTreeMap<Reverse<u8>, HashMap<IpAddr, Vec<usize>>>,
}

impl Index {
    pub(crate) fn new<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Index {
        let mut index = Index::default();
        for (number, rule) in rules.into_iter().enumerate() {
            index.bucket(&rule.target).push(number);
        }
        index
    }

    fn bucket(&mut self, target: &Target) -> &mut Vec<usize> {
        match target {
            Target::Name(name) => self.names.entry(name.clone()).or_default(),
            Target::Below(name) => self.below.entry(name.clone()).or_default(),
            Target::AnyName => &mut self.any_name,
            Target::Block(block) => {
                let blocks = self.blocks.entry(Reverse(block.length())).or_default();
                blocks.entry(block.address()).or_default()
            }
        }
    }

    /// Rules about a name, the most specific first.
    pub(crate) fn of_name<'a>(&'a self, name: &'a HostName) -> impl Iterator<Item = usize> + 'a {
        let exact = self.names.get(name.as_str()).into_iter().flatten();
        let above = name
            .parents()
            .filter_map(|parent| self.below.get(parent))
            .flatten();
        exact.chain(above).chain(&self.any_name).copied()
    }

    /// Rules about a canonical address, the most specific first. A length beyond IPv4's
    /// masks nothing of an IPv4 address, and holds no block of that family.
    pub(crate) fn of_address(&self, address: IpAddr) -> impl Iterator<Item = usize> + '_ {
        let blocks = self.blocks.iter();
        let found =
            blocks.filter_map(move |(length, blocks)| blocks.get(&masked(address, length.0)));
        found.flatten().copied()
    }
}
