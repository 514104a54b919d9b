//! Attacks that work against a program that trusts what it reads, and what cannot be shown so.
//!
//! Three readers of archives are at hand: Python's tarfile as it was before it had filters, GNU tar with `-P`
//! and all attributes, and busybox. An attack is proven when one of them does what no unpacker
//! may do, or when two of them make different trees of one archive: then one thing is checked and another used.

mod outside;
mod readers;
mod unproven;
mod within;

use std::collections::BTreeSet;

use super::common::Tar;
use super::place::{Case, Place, unpacked};
use super::{all_cases, place};
use readers::Reader;

/// How it is shown that it works.
pub enum Proof {
    /// After this reader, that is so.
    Harms(Reader, fn(&Place) -> bool),
    /// These two see different things in it.
    Differs(Reader, Reader),
}

/// What it is called (as the case that is refused, where it is one), its archive, and how it works.
pub type Attack = (&'static str, Tar, Proof);

/// What is taken, without that which would harm.
const LEFT_OUT: [&str; 3] = ["set-user-ID", "set-group-ID", "file capability"];

fn attacks(place: &Place) -> Vec<Attack> {
    [
        outside::by_names(place),
        outside::by_links(place),
        outside::by_hard_links(place),
        within::kinds(),
        within::attributes(),
        within::amounts(),
        readers::of_names(),
        readers::of_sizes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The attack of this number, against what is beside this place.
fn attack(number: usize, place: &Place) -> Attack {
    attacks(place).swap_remove(number)
}

fn works(number: usize) -> bool {
    let victim = Place::new();
    let (_, archive, proof) = attack(number, &victim);
    let archive = archive.end();
    match proof {
        Proof::Harms(reader, worked) => {
            reader.unpack(&archive, &victim.root());
            worked(&victim)
        }
        Proof::Differs(one, other) => {
            let second = Place::new();
            one.unpack(&archive, &victim.root());
            other.unpack(&archive, &second.root());
            place::tree(&victim.root()) != place::tree(&second.root())
        }
    }
}

fn fails_here(number: usize) {
    let place = Place::new();
    let before = place.canaries();
    let (what, archive, proof) = attack(number, &place);
    let unpacked = unpacked(&archive.end(), &place.root());
    if let Proof::Harms(_, worked) = proof {
        assert!(!worked(&place), "{what}: works here");
    }
    assert_eq!(place.canaries(), before, "{what}");
    assert_eq!(
        unpacked.is_ok(),
        LEFT_OUT.contains(&what),
        "{what}: {unpacked:?}"
    );
}

/// Each attack first works against a program that trusts what it reads, and then fails here.
#[test]
fn attacks_that_work_elsewhere_fail_here() {
    let all = attacks(&Place::new());
    assert!(all.len() >= 60, "{}", all.len());
    let mut weak = Vec::new();
    for (number, (what, _, _)) in all.iter().enumerate() {
        if within::needs_privileges(what) && !within::has_privileges() {
            println!("{what}: not proven, this takes root's privileges");
        } else if !works(number) {
            weak.push(*what);
        }
        fails_here(number);
    }
    assert!(weak.is_empty(), "these do not work at all: {weak:?}");
    println!("{} attacks", all.len());
}

/// Each archive that is refused has been shown to work elsewhere, or it is said why that is not possible.
#[test]
fn what_is_not_proven_has_a_reason() {
    let proven: BTreeSet<&str> = attacks(&Place::new())
        .iter()
        .map(|(what, _, _)| *what)
        .collect();
    let reasons: BTreeSet<&str> = unproven::REASONS
        .iter()
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    let both: Vec<_> = proven.intersection(&reasons).collect();
    assert!(
        both.is_empty(),
        "proven, and said to be not provable: {both:?}"
    );
    let cases = all_cases();
    let known: BTreeSet<&str> = cases.iter().map(|(what, _, _): &Case| *what).collect();
    let open: Vec<_> = known
        .iter()
        .filter(|what| !proven.contains(**what) && !reasons.contains(**what))
        .collect();
    assert!(
        open.is_empty(),
        "neither proven nor with a reason: {open:?}"
    );
    let strange: Vec<_> = reasons.difference(&known).collect();
    assert!(
        strange.is_empty(),
        "reasons for what is no case: {strange:?}"
    );
    println!(
        "{} of {} archives are proven elsewhere",
        known.intersection(&proven).count(),
        known.len()
    );
}
