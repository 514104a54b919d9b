//! Archives that are made to harm: each is refused for its own reason, and nothing outside of the
//! folder is touched.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod attacks;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "the rest is for other tests")]
mod common;
mod headers;
mod kinds;
mod links;
mod names;
mod place;

use std::fs;
use std::os::fd::AsFd;

use common::{Tar, diff_id};
use headers::{broken_headers, compressed, extended_headers, numbers};
use kinds::{attribute_kinds, special_kinds, whiteout_kinds};
use lakekeep_unpack::{Refusal, UnpackError, unpack};
use links::{links_and_replacements, links_out, links_through};
use names::{names_by_extension, plain_names};
use place::{Case, Place, pax_entry, refusal, small, unpacked};

/// All that are refused.
fn all_cases() -> Vec<Case> {
    [
        plain_names(),
        names_by_extension(),
        links_through(),
        links_out(),
        links_and_replacements(),
        special_kinds(),
        attribute_kinds(),
        whiteout_kinds(),
        broken_headers(),
        numbers(),
        extended_headers(),
        compressed(),
    ]
    .concat()
}

#[test]
fn hostile_archives_are_refused_for_their_reasons() {
    let cases = all_cases();
    assert!(cases.len() >= 120, "{}", cases.len());
    let mut wrong = Vec::new();
    for (what, archive, word) in &cases {
        let place = Place::new();
        let before = place.canaries();
        match unpacked(archive, &place.root()) {
            Err(UnpackError::Refused { why, .. }) if why.to_string().contains(word) => {}
            other => wrong.push(format!("{what}: {other:?}, not {word:?}")),
        }
        assert_eq!(
            place.canaries(),
            before,
            "{what}: something outside was touched"
        );
    }
    assert_eq!(wrong, [""; 0], "of {} archives", cases.len());
    println!("{} hostile archives", cases.len());
}

/// A refusal names the entry, as far as its name is known.
#[test]
fn a_refusal_names_the_entry() {
    let archive = Tar::default().file("fine", "x").file("../evil", "x").end();
    let place = Place::new();
    let error = unpacked(&archive, &place.root()).unwrap_err().to_string();
    assert!(
        error.contains("entry 2") && error.contains("../evil"),
        "{error}"
    );
    let archive = pax_entry(&[("path", "/etc/shadow")]).end();
    let error = unpacked(&archive, &Place::new().root())
        .unwrap_err()
        .to_string();
    assert!(error.contains("/etc/shadow"), "{error}");
}

#[test]
fn the_wrong_diff_id_is_refused() {
    let archive = Tar::default().file("f", "x").end();
    let place = Place::new();
    let root = fs::File::open(place.root()).unwrap();
    let unpacked = unpack(&archive[..], root.as_fd(), &diff_id(b"other"), small());
    assert!(
        matches!(unpacked, Err(UnpackError::WrongDiffId { .. })),
        "{unpacked:?}"
    );
}

#[test]
fn refusals_are_of_their_kind() {
    let place = Place::new();
    let archive = Tar::default().kind(b'3', "dev/sda", b"").end();
    assert_eq!(refusal(&archive, &place), Refusal::Device);
}
