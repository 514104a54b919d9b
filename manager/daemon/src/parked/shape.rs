//! What of a sandbox can be made before anybody has asked for it.

use std::path::Path;
use std::sync::Arc;

use lakekeep_content::Pin;
use lakekeep_plan::{Extension, Plan, View};
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
    pub late: Late,
    /// Keeps the image in its store, for as long as any are made ahead on it.
    pub image: Option<Arc<Pin>>,
}

/// What a claim mounts, in this order.
#[derive(Debug, Default)]
pub struct Late {
    /// A client's environment.
    pub environment: Option<Extension>,
    /// Volumes.
    pub volumes: Vec<RootfsStep>,
}

impl Divided {
    /// Whether a task can be ready in it before it is claimed: what all tasks share must
    /// not be made before what is mounted in it.
    pub fn has_task(&self) -> bool {
        self.late.volumes.is_empty() || !self.blank.task.scratch.shared
    }

    /// On an image of the store's.
    pub fn on_image(self, image: Option<Arc<Pin>>) -> Self {
        Self { image, ..self }
    }

    /// Has an environment shown with the claim, in a sandbox of which no task is forked from a
    /// zygote that has imported what the environment may have otherwise; `zygote`: sandboxes of
    /// this shape have such tasks. `None` where it must be there from the beginning: where one of
    /// its parts and a volume are within each other, or where tasks share a directory that it
    /// lies below, which the task that is ready has made.
    pub fn with_environment(mut self, view: &View, zygote: bool) -> Option<Self> {
        let mut extended = self.blank.clone();
        let extension = extended.extend(view).ok()?;
        let (before, after) = (&self.blank.task.scratch, &extended.task.scratch);
        if after.shared && before.kept != after.kept {
            return None;
        }
        let volumes = self.late.volumes.iter().filter_map(target);
        let mut parts = extension.mounts.iter().filter_map(target);
        if parts.any(|part| volumes.clone().any(|volume| overlap(part, volume))) {
            return None;
        }
        if zygote {
            self.shape = Shape(blake3::hash(self.shape.0.as_bytes()));
        }
        self.late.environment = Some(extension);
        Some(self)
    }
}

fn target(step: &RootfsStep) -> Option<&Path> {
    match step {
        RootfsStep::Bind { target, .. } => Some(Path::new(target)),
        _ => None,
    }
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// Divides a plan whose last `late` mounts can be made after all others. `None` when it
/// has fewer, or cannot be written down.
///
/// Places to mount on are of the shape, and so is every generated file: they say what
/// the limits are. So is whether anything may leave, for which routes and sockets are made
/// ahead; what, and who may, is not.
pub fn divide(plan: &Plan, late: usize) -> Option<Divided> {
    // Nor with anybody's variables.
    let mut blank = without_environment(plan);
    // Nor with anybody's rules, of which warnings tell too.
    blank.egress = None;
    blank.warnings.clear();
    let steps = &mut blank.sandbox.rootfs;
    let volumes = steps.split_off(steps.len().checked_sub(late)?);
    if !volumes.iter().all(|step| target(step).is_some()) {
        return None;
    }
    blank.rename("");
    // A task may be ready in it: what that one is sealed with is of the shape too.
    let text = postcard::to_stdvec(&(&blank.sandbox, &blank.task)).ok()?;
    Some(Divided {
        shape: Shape(blake3::hash(&text)),
        blank,
        late: Late {
            volumes,
            ..Late::default()
        },
        image: None,
    })
}

#[cfg(test)]
pub mod tests {
    use std::path::PathBuf;

    use lakekeep_plan::image::{FolderImage, HostImage};
    use lakekeep_plan::{Command, HostFacts, ImageFacts, Inputs, MountFacts, Replica};
    use lakekeep_policy::{Policy, PolicyDoc};

    use super::*;

    pub fn plan(id: &str, more: &str) -> Plan {
        let image = ImageFacts::Folder(FolderImage {
            folder: PathBuf::from("/srv/image"),
            not_directories: Vec::new(),
        });
        plan_of(id, &format!("image = \"/srv/image\"\n{more}"), &image)
    }

    fn host_plan(more: &str) -> Plan {
        let image = HostImage {
            directories: vec!["/usr".to_owned()],
            ..HostImage::default()
        };
        plan_of("1", more, &ImageFacts::Host(image))
    }

    fn plan_of(id: &str, more: &str, image: &ImageFacts) -> Plan {
        let text = format!("version = 1\npreset = \"udf\"\n{more}");
        let doc = PolicyDoc::from_toml("test", &text).unwrap();
        let policy = Policy::check(doc).unwrap();
        let facts = MountFacts {
            directory: true,
            owner: (1, 1),
            identity: Some((1, 1)),
        };
        let mounts = vec![facts; policy.mounts().len()];
        Plan::new(&Inputs {
            policy: &policy,
            host: &HostFacts::example_root(),
            image,
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
        assert_ne!(one.late.volumes, other.late.volumes);
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
    fn that_something_may_leave_is_of_the_shape_and_what_is_not() {
        let of = |rules: &str| {
            let more = format!("[seccomp]\nprofile = \"general\"\n{rules}");
            divide(&plan("1", &more), 0).unwrap()
        };
        let rules = |rule: &str| format!("[egress]\nrules = [\"{rule}\"]\n");
        let (none, one) = (of(""), of(&rules("allow opaque alice.example")));
        assert_eq!(one.shape, of(&rules("allow tls bob.example")).shape);
        assert_ne!(one.shape, none.shape);
        assert!(one.blank.sandbox.egress && !none.blank.sandbox.egress);
        let text = format!("{:?}", one.blank);
        assert!(!text.contains("alice"), "{text}");
    }

    fn view(target: &str) -> View {
        View {
            replicas: vec![Replica {
                source: "/store/trees/0".to_owned(),
                target: target.to_owned(),
                directory: true,
            }],
            ..View::default()
        }
    }

    #[test]
    fn environments_are_not_of_the_shape_unless_its_tasks_are_forked() {
        let divided = || divide(&host_plan(""), 0).unwrap();
        let bare = divided().shape;
        let one = divided().with_environment(&view("/home/a/venv"), false);
        let other = divided().with_environment(&view("/srv/b"), false);
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!((one.shape, other.shape), (bare, bare));
        let mounts = |divided: &Divided| divided.late.environment.clone().unwrap().mounts;
        assert_eq!(mounts(&one).len(), 1);
        assert_ne!(mounts(&one), mounts(&other));
        let forked = divided().with_environment(&view("/srv/b"), true).unwrap();
        assert_ne!(forked.shape, bare, "its tasks are not the zygote's");
    }

    #[test]
    fn an_environment_that_cannot_come_late_does_not() {
        let of = |target: &str| {
            let plan = host_plan(&MOUNT.replace("SOURCE", "a"));
            divide(&plan, 1)
                .unwrap()
                .with_environment(&view(target), false)
        };
        assert!(of("/srv/b").is_some());
        for within in ["/data", "/data/below"] {
            assert!(of(within).is_none(), "{within}");
        }
        // Each task brings its own home, unless they share it.
        let shared = |shared: bool| {
            let mut plan = host_plan("");
            plan.task.scratch.shared = shared;
            let divided = divide(&plan, 0).unwrap();
            divided.with_environment(&view("/home/user/venv"), false)
        };
        assert!(shared(false).is_some());
        assert!(shared(true).is_none());
        // An image's root has no place for it.
        let image = divide(&plan("1", ""), 0).unwrap();
        assert!(image.with_environment(&view("/srv/b"), false).is_none());
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
