//! All cases, by the file of the program that holds them.

mod kernel;
mod neighbours;
mod resources;
mod runtime;

use crate::case::Case;

/// Every case, in the order of the threat model's chapters.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [
        runtime::CASES,
        kernel::CASES,
        resources::CASES,
        neighbours::CASES,
    ]
    .into_iter()
    .flatten()
}

/// Not an attack: what a sandbox allows, so that a runner that sees only refusals
/// is found out.
#[must_use]
pub fn control() -> &'static Case {
    const CONTROL: Case = Case::new("control", 0, "use what is allowed")
        .user()
        .everywhere();
    &CONTROL
}

/// A case by root outside, under the wide presets; its builder says otherwise.
const fn at(name: &'static str, class: u8, title: &'static str) -> Case {
    Case::new(name, class, title)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::cases;

    #[test]
    fn names_are_unique_and_the_suite_is_wide_enough() {
        let names: BTreeSet<_> = cases().map(|case| case.name).collect();
        assert_eq!(names.len(), cases().count());
        assert!(names.len() >= 60, "{} cases", names.len());
    }

    #[test]
    fn every_case_has_a_preset_and_a_title() {
        for case in cases() {
            assert!(
                !case.presets.is_empty() && !case.title.is_empty(),
                "{}",
                case.name
            );
        }
    }
}
