//! From a policy and a command to a plan, for this host.

use std::path::Path;

use lakekeep_plan::{Command, HostFacts, Inputs, Plan, PlanError, Preload, ZygotePlan};
use lakekeep_policy::Policy;
use rustix::rand::GetRandomFlags;

use crate::image::{self, Additions, ImageError};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanningError {
    /// An image or a mount source.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A rule of the planner.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No randomness for an identifier.
    #[error("getrandom")]
    Identifier(#[from] rustix::io::Errno),
}

/// Looks at what the policy names on this host, and plans. `interpreter` is a
/// program whose prefix the host image shall include.
pub fn plan_for(
    policy: &Policy,
    host: &HostFacts,
    command: &Command,
    interpreter: Option<&Path>,
) -> Result<Plan, PlanningError> {
    let additions = Additions {
        interpreter,
        ..Additions::default()
    };
    plan_with(policy, host, command, &additions)
}

/// The same, with more that is added to the image.
///
/// # Errors
/// As of [`plan_for`]; for parts of an environment that are not there or have no place, or
/// with another image than the host's, [`PlanningError::Image`].
pub fn plan_with(
    policy: &Policy,
    host: &HostFacts,
    command: &Command,
    additions: &Additions<'_>,
) -> Result<Plan, PlanningError> {
    let image = image::image(policy.image(), additions)?;
    let mounts = policy
        .mounts()
        .iter()
        .map(image::mount_source)
        .collect::<Result<Vec<_>, _>>()?;
    let id = identifier()?;
    let inputs = Inputs {
        policy,
        host,
        image: &image,
        mounts: &mounts,
        command,
        id: &id,
    };
    let mut plan = Plan::new(&inputs)?;
    if let Some(view) = additions.view {
        plan.tell(view);
    }
    Ok(plan)
}

/// As [`plan_for`], for a zygote of tasks under this policy. It knows nothing of their mounts
/// and variables.
///
/// # Errors
/// As of a plan, and for what can be no zygote.
pub fn zygote_for(
    policy: &Policy,
    host: &HostFacts,
    preload: &Preload,
) -> Result<ZygotePlan, PlanningError> {
    let additions = Additions {
        interpreter: Some(Path::new(&preload.interpreter)),
        ..Additions::default()
    };
    zygote_with(policy, host, preload, &additions)
}

/// The same with what is added to the image, of which the interpreter must be a part.
///
/// # Errors
/// As of [`zygote_for`] and of [`plan_with`].
pub fn zygote_with(
    policy: &Policy,
    host: &HostFacts,
    preload: &Preload,
    additions: &Additions<'_>,
) -> Result<ZygotePlan, PlanningError> {
    let policy = policy.bare();
    let image = image::image(policy.image(), additions)?;
    let inputs = Inputs {
        policy: &policy,
        host,
        image: &image,
        mounts: &[],
        command: &Command {
            arguments: vec![preload.interpreter.clone().into_bytes()],
            path: "/usr/bin:/bin".to_owned(),
            ..Command::default()
        },
        id: &identifier()?,
    };
    let mut zygote = ZygotePlan::new(&inputs, preload)?;
    if let Some(view) = additions.view {
        zygote.tell(view);
    }
    Ok(zygote)
}

pub(crate) fn identifier() -> Result<String, rustix::io::Errno> {
    let mut bytes = [0u8; 8];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}
