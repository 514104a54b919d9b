//! What of a sandbox can be made before anybody has asked for it.

use lakekeep_plan::Plan;
use lakekeep_protocol::launch::RootfsStep;

use crate::maker::without_environment;

/// Sandboxes of one shape are the same but for their names and for what a claim mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape(blake3::Hash);

/// A plan, divided.
#[derive(Debug)]
pub struct Divided {
    /// What it is like.
    pub shape: Shape,
    /// Without a name and without `late`.
    pub blank: Plan,
    /// Mounts that come when it is claimed.
    pub late: Vec<RootfsStep>,
}

impl Divided {
    /// Whether a task can be ready in it before it is claimed: what all tasks share must
    /// not be made before what is mounted in it.
    pub fn has_task(&self) -> bool {
        self.late.is_empty() || !self.blank.task.scratch.shared
    }
}

/// Divides a plan whose last `late` mounts can be made after all others. `None` when it
/// has fewer, or cannot be written down.
///
/// Places to mount on are of the shape, and so is every generated file: they say what
/// the limits are.
pub fn divide(plan: &Plan, late: usize) -> Option<Divided> {
    // Nor with anybody's variables.
    let mut blank = without_environment(plan);
    let steps = &mut blank.sandbox.rootfs;
    let late = steps.split_off(steps.len().checked_sub(late)?);
    if !late
        .iter()
        .all(|step| matches!(step, RootfsStep::Bind { .. }))
    {
        return None;
    }
    blank.rename("");
    // A task may be ready in it: what that one is sealed with is of the shape too.
    let text = postcard::to_stdvec(&(&blank.sandbox, &blank.task)).ok()?;
    Some(Divided {
        shape: Shape(blake3::hash(&text)),
        blank,
        late,
    })
}

#[cfg(test)]
pub mod tests {
    use std::path::PathBuf;

    use lakekeep_plan::image::FolderImage;
    use lakekeep_plan::{Command, HostFacts, ImageFacts, Inputs, MountFacts};
    use lakekeep_policy::{Policy, PolicyDoc};

    use super::*;

    pub fn plan(id: &str, more: &str) -> Plan {
        let text = format!("version = 1\npreset = \"udf\"\nimage = \"/srv/image\"\n{more}");
        let doc = PolicyDoc::from_toml("test", &text).unwrap();
        let policy = Policy::check(doc).unwrap();
        let image = ImageFacts::Folder(FolderImage {
            folder: PathBuf::from("/srv/image"),
            not_directories: Vec::new(),
        });
        let facts = MountFacts {
            directory: true,
            owner: (1, 1),
            identity: Some((1, 1)),
        };
        let mounts = vec![facts; policy.mounts().len()];
        Plan::new(&Inputs {
            policy: &policy,
            host: &HostFacts::example_root(),
            image: &image,
            mounts: &mounts,
            command: &Command {
                arguments: vec![b"true".to_vec()],
                path: "/bin".to_owned(),
                ..Command::default()
            },
            id,
        })
        .unwrap()
    }

    const MOUNT: &str = "[[mounts]]\nsource = \"/srv/SOURCE\"\ntarget = \"/data\"\n";

    #[test]
    fn names_and_sources_of_late_mounts_are_not_of_the_shape() {
        let of = |id, source: &str| {
            let plan = plan(id, &MOUNT.replace("SOURCE", source));
            divide(&plan, 1).unwrap()
        };
        let (one, other) = (of("1", "alice"), of("2", "bob"));
        assert_eq!(one.shape, other.shape);
        assert_ne!(one.late, other.late);
        let text = format!("{:?}", one.blank);
        assert!(!text.contains("alice"), "{text}");
    }

    #[test]
    fn limits_and_places_are_of_the_shape() {
        let of = |more: &str, late| divide(&plan("1", more), late).unwrap().shape;
        let plain = of("", 0);
        assert_ne!(plain, of("[limits]\nmemory = \"64MiB\"\n", 0));
        assert_ne!(plain, of(&MOUNT.replace("SOURCE", "a"), 1));
    }

    #[test]
    fn a_renamed_plan_is_the_plan_of_that_name() {
        let mut renamed = plan("1", "");
        renamed.rename("2");
        let of = |plan: &Plan| serde_json::to_string(plan).unwrap();
        assert_eq!(of(&renamed), of(&plan("2", "")));
    }

    #[test]
    fn what_is_no_mount_does_not_come_late() {
        assert!(divide(&plan("1", ""), 1).is_none());
        assert!(divide(&plan("1", ""), 10_000).is_none());
    }
}
