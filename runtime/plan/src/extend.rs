//! A client's environment for a sandbox that was made without one.

use lakekeep_protocol::launch::RootfsStep;

use crate::error::PlanError;
use crate::image::{Replica, View};
use crate::planner::Plan;
use crate::rootfs;
use crate::zygote::ZygotePlan;

/// What a command is looked for on.
const PATH: &[u8] = b"PATH=";

/// What a launcher and an init are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Places in the root, where there are none yet.
    pub places: Vec<RootfsStep>,
    /// What is shown there, in order.
    pub mounts: Vec<RootfsStep>,
}

impl Plan {
    /// Shows an environment in this plan's sandbox: the plan is then as if it had been made with
    /// it, and what is answered makes a sandbox so that was made before.
    ///
    /// # Errors
    /// `TargetBlocked` where the root is an image's, and for a place on the way to which is a
    /// link or that another mount has. The plan is then as it was.
    pub fn extend(&mut self, view: &View) -> Result<Extension, PlanError> {
        for part in &view.replicas {
            self.check_free(&part.target)?;
        }
        let extension = Extension {
            places: rootfs::places(&self.sandbox.rootfs, &view.replicas),
            mounts: view.replicas.iter().map(mount).collect(),
        };
        self.sandbox.rootfs.extend(extension.mounts.iter().cloned());
        self.keep_in_sight(&view.replicas);
        self.tell(view);
        Ok(extension)
    }

    fn check_free(&self, target: &str) -> Result<(), PlanError> {
        let below = |path: &str| target == path || target.starts_with(&format!("{path}/"));
        let blocks = |step: &RootfsStep| match step {
            RootfsStep::Image { folder } => Some((folder.clone(), "an image")),
            RootfsStep::Symlink { path, .. } if below(path) => {
                Some((path.clone(), "a symbolic link"))
            }
            RootfsStep::Bind { target: taken, .. } if taken == target => {
                Some((taken.clone(), "another mount"))
            }
            _ => None,
        };
        match self.sandbox.rootfs.iter().find_map(blocks) {
            None => Ok(()),
            Some((path, found)) => Err(PlanError::TargetBlocked {
                target: target.to_owned(),
                path,
                found,
            }),
        }
    }

    /// What lies below a task's scratch directories must stay in sight there.
    fn keep_in_sight(&mut self, replicas: &[Replica]) {
        let scratch = &mut self.task.scratch;
        let directories = &scratch.directories;
        let below = |part: &&Replica| {
            let under = |(place, _): &(String, u32)| part.target.starts_with(&format!("{place}/"));
            directories.iter().any(under)
        };
        let kept = replicas.iter().filter(below);
        let kept: Vec<_> = kept
            .map(|part| (part.target.clone(), part.directory))
            .collect();
        scratch.kept.extend(kept);
    }

    /// Tells its command of an environment that it is planned with: the interpreter's
    /// variables, and its folder first on `PATH`.
    pub fn tell(&mut self, view: &View) {
        tell(&mut self.task.environment, view);
    }
}

impl ZygotePlan {
    /// The same for the zygote itself.
    pub fn tell(&mut self, view: &View) {
        tell(&mut self.spec.environment, view);
    }
}

fn tell(variables: &mut Vec<Vec<u8>>, view: &View) {
    for (name, value) in &view.variables {
        let begins = format!("{name}=");
        let given = |it: &Vec<u8>| it.starts_with(begins.as_bytes());
        if !variables.iter().any(given) {
            variables.push(format!("{name}={value}").into_bytes());
        }
    }
    let path = variables.iter_mut().find(|it| it.starts_with(PATH));
    if let Some(path) = path {
        let first = format!("{}:", view.programs).into_bytes();
        path.splice(PATH.len()..PATH.len(), first);
    }
}

fn mount(part: &Replica) -> RootfsStep {
    rootfs::shown(&part.source, &part.target, true)
}
