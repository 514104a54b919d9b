//! Rules for the floor.

use std::collections::BTreeSet;

use super::unknown;
use crate::document::FloorDoc;
use crate::layer::Layer;
use crate::policy::Limits;
use crate::show::quoted;
use crate::violation::Findings;

pub(super) fn check(doc: &FloorDoc, findings: &mut Findings<'_>) -> Vec<Layer> {
    let mut layers = BTreeSet::new();
    for (number, name) in doc.require.iter().enumerate() {
        let field = format!("floor.require[{number}]");
        match name.parse::<Layer>() {
            Err(error) => unknown(&field, &error, findings),
            Ok(layer) if !layers.insert(layer) => {
                findings.add(&field, quoted(name), "named twice", "keep one of the two");
            }
            Ok(_) => {}
        }
    }
    layers.into_iter().collect()
}

/// A layer that the same document switches off cannot be required.
pub(super) fn contradictions(
    floor: &[Layer],
    landlock: bool,
    limits: &Limits,
    findings: &mut Findings<'_>,
) {
    let off = [
        (
            Layer::Landlock,
            !landlock,
            "landlock.enabled is false",
            "set landlock.enabled = true",
        ),
        (
            Layer::WallTimeLimit,
            limits.wall_time.is_none(),
            "there is no limits.wall_time",
            "set limits.wall_time",
        ),
        (
            Layer::CpuTimeLimit,
            limits.cpu_time.is_none(),
            "there is no limits.cpu_time",
            "set limits.cpu_time",
        ),
    ];
    for (layer, is_off, why, remedy) in off {
        if is_off && floor.contains(&layer) {
            findings.add(
                "floor.require",
                quoted(layer.as_str()),
                format!("the layer is required, and {why}"),
                format!("{remedy}, or require it no longer"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accept, refuse};
    use super::*;

    #[test]
    fn required_layers_are_ordered() {
        let policy = accept("floor.require = [\"memory_limit\", \"landlock\"]");
        assert_eq!(policy.floor(), [Layer::Landlock, Layer::MemoryLimit]);
    }

    #[test]
    fn unknown_and_repeated_layers_are_refused() {
        let found = refuse("floor.require = [\"landlok\", \"seccomp\", \"seccomp\"]");
        assert_eq!(
            found,
            [
                "floor.require[0]: not a layer",
                "floor.require[2]: named twice"
            ]
        );
    }

    #[test]
    fn a_layer_that_is_off_cannot_be_required() {
        let found = refuse("landlock.enabled = false\nfloor.require = [\"landlock\"]");
        assert!(found[0].contains("landlock.enabled is false"), "{found:?}");
        let found = refuse(
            "preset = \"notebook\"\nfloor.require = [\"wall_time_limit\", \"cpu_time_limit\"]",
        );
        assert_eq!(found.len(), 2, "{found:?}");
        accept("floor.require = [\"wall_time_limit\"]");
    }
}
