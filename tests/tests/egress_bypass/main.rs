//! Attempts to get past the egress firewall: `bypass::<group>::<attempt>`, each as root and
//! as an ordinary user; those that would change the network also in sandboxes that were made
//! ahead.
//!
//! Not the standard harness: the tests are made from the groups' tables, one per attempt, so
//! that each has a process, a name and a result of its own. An attempt is a few lines of Python.
//! It first succeeds where no sandbox is around it; then it fails in one whose network
//! works, as a permitted connection after it shows.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod addresses;
mod ahead;
mod datagrams;
mod forced;
mod ground;
mod http;
mod names;
mod neighbours;
mod packets;
mod places;
mod rates;
mod remains;
mod tampering;
mod tls;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ahead::Ahead;
use ground::{Ground, Leak};
use lakekeep_tests::{for_each_privilege, skip};
use libtest_mimic::{Arguments, Failed, Trial};

/// Attempts of one kind.
pub struct Group {
    name: &'static str,
    /// What must not leave.
    leak: Leak,
    attempts: &'static [Attempt],
}

/// A name, and what the attempt does.
pub type Attempt = (&'static str, &'static str);

fn groups() -> impl Iterator<Item = &'static Group> {
    [
        addresses::GROUPS,
        datagrams::GROUPS,
        packets::GROUPS,
        tls::GROUPS,
        http::GROUPS,
        names::GROUPS,
        tampering::GROUPS,
        places::GROUPS,
        forced::GROUPS,
    ]
    .into_iter()
    .flatten()
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = groups()
        .flat_map(|group| group.attempts.iter().map(move |attempt| (group, attempt)))
        .map(|(group, attempt)| {
            let name = format!("bypass::{}::{}", group.name, attempt.0);
            trial(name, move |name| bypass(name, group.leak, attempt.1))
        })
        .collect();
    for (attempt, words) in neighbours::ATTEMPTS {
        let name = format!("bypass::neighbours::{attempt}");
        trials.push(trial(name, |name| neighbours::attempt(name, words)));
    }
    for (name, check) in rates::TESTS {
        trials.push(trial(format!("bypass::rates::{name}"), check));
    }
    eprintln!("{} attempts to get past the firewall", trials.len());
    for (attempt, words) in remains::ATTEMPTS {
        let name = format!("remains::{attempt}");
        trials.push(trial(name, |name| remains::attempt(name, words)));
    }
    trials.push(trial("table".to_owned(), |_| every_name_is_one_attempt()));
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: String, test: impl Fn(&str) -> Result<(), Failed> + Send + 'static) -> Trial {
    let own = name.clone();
    Trial::test(name, move || {
        catch_unwind(AssertUnwindSafe(|| test(&own)))
            .unwrap_or_else(|_| Err(Failed::from("panicked, see above")))
    })
}

fn bypass(name: &str, leak: Leak, words: &str) -> Result<(), Failed> {
    let shared = Ground::shared(name);
    let Some(ground) = shared.as_deref().and_then(Option::as_ref) else {
        return Ok(());
    };
    let outside = ground.outside(leak, words);
    if let Some(missing) = outside.missing() {
        skip(name, "attempt", missing);
        return Ok(());
    }
    if !outside.leaked(leak) {
        return Err(format!("it must succeed outside first: {outside:#?}").into());
    }
    let mut failed = None;
    for_each_privilege(name, |privilege| {
        let inside = ground.inside(privilege, words);
        if inside.leaked(leak) || inside.mistaken() || !inside.permitted() {
            failed.get_or_insert_with(|| format!("{privilege:?}: {inside:#?}"));
        }
    });
    // What the program changes is its network's, which was made before the program's time.
    for how in Ahead::ALL.iter().filter(|_| matches!(leak, Leak::Effect)) {
        let inside = ground.ahead(*how, words);
        if inside.leaked(leak) || inside.mistaken() || !inside.permitted() {
            failed.get_or_insert_with(|| format!("{how:?}: {inside:#?}"));
        }
    }
    failed.map_or(Ok(()), |failed| Err(failed.into()))
}

/// A name that stands twice would run one attempt twice.
fn every_name_is_one_attempt() -> Result<(), Failed> {
    let mut seen = HashSet::new();
    for group in groups() {
        for (name, words) in group.attempts {
            if !seen.insert((group.name, name)) || !seen.insert((group.name, words)) {
                return Err(format!("{}::{name} stands twice", group.name).into());
            }
        }
    }
    Ok(())
}
