//! What names below an allowed wildcard, which the code inside makes up, can carry out: the
//! host's resolver hears of them, but only of so many, and only of what is connected to.

use lakekeep_tests::{Privilege, for_each_privilege};
use libtest_mimic::Failed;

use crate::ground::{Ground, Leak, Outcome};

/// `limits.new_names_per_minute` of the rules' defaults (docs/egress.md).
const PER_MINUTE: usize = 60;

type Check = fn(&str) -> Result<(), Failed>;

pub const TESTS: &[(&str, Check)] = &[
    ("names_only_asked_for_leave_nothing", only_asked_for),
    ("names_connected_to_are_limited", connected_to),
    ("long_names_cost_more", long_names),
    ("capitals_carry_nothing", capitals),
];

/// Names below the wildcard that the resolver was asked for, each once.
fn below_wildcard(outcome: &Outcome) -> Vec<&str> {
    let asked = outcome.asked().iter().map(String::as_str);
    let mut names: Vec<&str> = asked
        .filter(|name| name.to_ascii_lowercase().ends_with("wild.example."))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Asks outside, then inside; how many names left each time.
fn tried(test: &str, words: &str, check: fn(usize, &Outcome) -> bool) -> Result<(), Failed> {
    let shared = Ground::shared(test);
    let Some(ground) = shared.as_deref().and_then(Option::as_ref) else {
        return Ok(());
    };
    let outside = ground.outside(Leak::Secret, words);
    let before = below_wildcard(&outside).len();
    if before == 0 || outside.mistaken() {
        return Err(format!("it must succeed outside first: {outside:#?}").into());
    }
    let mut failed = None;
    for_each_privilege(test, |privilege: Privilege| {
        let inside = ground.inside(privilege, words);
        if !check(before, &inside) || inside.mistaken() || !inside.permitted() {
            failed.get_or_insert_with(|| format!("{privilege:?}: of {before}: {inside:#?}"));
        }
    });
    failed.map_or(Ok(()), |failed| Err(failed.into()))
}

fn only_asked_for(test: &str) -> Result<(), Failed> {
    let words = "each(range(50), lambda n: socket.gethostbyname(f'secret-{n}.wild.example'))";
    tried(test, words, |before, inside| {
        before == 50 && below_wildcard(inside).is_empty()
    })
}

fn connected_to(test: &str) -> Result<(), Failed> {
    let words = "each(range(90), lambda n: hello(f'{n}.wild.example'))";
    tried(test, words, |before, inside| {
        let left = below_wildcard(inside).len();
        before == 90 && (1..=PER_MINUTE + PER_MINUTE / 4).contains(&left)
    })
}

fn long_names(test: &str) -> Result<(), Failed> {
    let words = "each(range(40), lambda n: hello('secret' * 10 + f'.{n:060}.wild.example'))";
    tried(test, words, |before, inside| {
        let left = below_wildcard(inside);
        let bytes: usize = left.iter().map(|name| name.len()).sum();
        before == 40 && left.len() < 20 && bytes < 32 * (PER_MINUTE + PER_MINUTE / 4)
    })
}

fn capitals(test: &str) -> Result<(), Failed> {
    let words = "each(range(16), lambda n: hello(cased('abcdefgh', n) + '.wild.example'))";
    tried(test, words, |before, inside| {
        let left = below_wildcard(inside);
        before == 16 && left == ["abcdefgh.wild.example."]
    })
}
