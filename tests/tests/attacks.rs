//! Every attack works outside and fails inside: `attack::<case>::root`, `::user`
//! and `::ready`.
//!
//! Not the standard harness: the tests are made from the attacks' table, one per
//! case and way, so that each has a process, a name and a result of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lakekeep_attacks::{Case, Judgement, cases};
use lakekeep_tests::{AttackGround, Privilege, Way, skip};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = cases()
        .flat_map(|case| Way::ALL.map(|way| (case, way)))
        .map(|(case, way)| {
            let name = format!("attack::{}::{}", case.name, way.name());
            trial(name, move |name| attack(name, case, way))
        })
        .collect();
    trials.push(trial("attack::table".to_owned(), |_| {
        table_agrees_with_the_program()
    }));
    for way in Way::ALL {
        trials.push(trial(
            format!("attack::control::{}", way.name()),
            move |name| control(name, way),
        ));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: String, test: impl Fn(&str) -> Result<(), Failed> + Send + 'static) -> Trial {
    let own = name.clone();
    Trial::test(name, move || {
        catch_unwind(AssertUnwindSafe(|| test(&own)))
            .unwrap_or_else(|_| Err(Failed::from("panicked, see above")))
    })
}

fn attack(name: &str, case: &'static Case, way: Way) -> Result<(), Failed> {
    if !way.privilege().available(name) {
        return Ok(());
    }
    if case.needs_root() && !Privilege::Root.available(name) {
        return Ok(());
    }
    let ground = AttackGround::new();
    let features = ground.features();
    if let Some(missing) = case
        .needs
        .iter()
        .find(|&&need| features.get(need) != Some(&true))
    {
        skip(
            name,
            missing,
            "this kernel lacks it: the attack, or its defence, works nowhere here",
        );
        return Ok(());
    }
    match ground.outside(case) {
        Judgement::Succeeded(how) => eprintln!("outside: {how}"),
        other => return Err(format!("it must work outside first: {other:?}").into()),
    }
    for preset in case.presets {
        inside(name, case, preset, (&ground, way))?;
    }
    Ok(())
}

fn inside(name: &str, case: &Case, preset: &str, at: (&AttackGround, Way)) -> Result<(), Failed> {
    let (ground, way) = at;
    let before = ground.snapshot();
    let (judgement, finished) = ground.inside(case, preset, way);
    before.assert_unchanged();
    let unenforced = case
        .layer
        .and_then(|layer| Some((layer, finished.unenforced(layer)?)));
    match (judgement, unenforced) {
        (Judgement::Blocked(how), _) => eprintln!("{preset}: {how}"),
        // Said in the receipt, as it must be: reported, and required where it can be had.
        (Judgement::Succeeded(_), Some((layer, reason))) => skip(name, layer, &reason),
        (other, _) => {
            let text = format!(
                "{preset}: {other:?}\nexit {}, verdict {:?}\n{}",
                finished.code,
                finished.verdict(),
                finished.stderr
            );
            return Err(text.into());
        }
    }
    Ok(())
}

/// The table and the program must name the same cases and features.
fn table_agrees_with_the_program() -> Result<(), Failed> {
    let ground = AttackGround::new();
    let mut listed = ground.listed();
    let mut named: Vec<String> = cases().map(|case| case.name.to_owned()).collect();
    listed.sort();
    named.sort();
    assert_eq!(listed, named);
    let features = ground.features();
    let unknown: Vec<_> = cases()
        .flat_map(|case| case.needs)
        .filter(|need| !features.contains_key(**need))
        .collect();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(format!("features that the program does not know: {unknown:?}").into())
    }
}

/// The runner can see success, from inside too: the read-only volume's own rule
/// turned round, a file that may be read is read.
fn control(name: &str, way: Way) -> Result<(), Failed> {
    if !way.privilege().available(name) {
        return Ok(());
    }
    let ground = AttackGround::new();
    let case = lakekeep_attacks::control();
    for preset in case.presets {
        let (judgement, finished) = ground.inside(case, preset, way);
        if !matches!(judgement, Judgement::Succeeded(_)) {
            return Err(format!("{preset}: {judgement:?}\n{}", finished.stderr).into());
        }
    }
    match ground.outside(case) {
        Judgement::Succeeded(_) => Ok(()),
        other => Err(format!("outside: {other:?}").into()),
    }
}
