//! The launcher trusts no message: every field of a plan is checked again.

use std::path::{Component, Path};

use lakekeep_protocol::launch::{
    IdSource, LaunchStep, MAX_NURSERY, MAX_TREES, RootfsStep, SandboxSpec,
};
use lakekeep_protocol::zygote::ZygoteSpec;

use crate::error::Failed;
use crate::ids::SIZE;

/// Most steps of one root file system.
const MAX_STEPS: usize = 4096;

/// Most bytes of all generated files of one root file system.
const MAX_GENERATED: usize = 1 << 20;

/// Capabilities that an init may be given over its own user namespace.
const INIT_MAY_HAVE: u64 =
    1 << 0 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 18 | 1 << 19 | 1 << 21 | 1 << 23;

/// Checks a whole specification before anything is made.
pub fn sandbox(spec: &SandboxSpec, privileged: bool) -> Result<(), Failed> {
    identifier(&spec.id)?;
    identifier(&spec.hostname)?;
    ids(spec.ids, privileged)?;
    family(spec, privileged)?;
    capabilities(spec.init_capabilities)?;
    steps(&spec.rootfs)?;
    spec.rootfs.iter().try_for_each(step)
}

fn refuse(detail: impl Into<String>) -> Failed {
    Failed::refused(LaunchStep::Check, detail)
}

/// `[a-z0-9-]`, 1 to 64 bytes, not beginning with a dash: a safe name for a
/// folder, a cgroup and a host.
pub fn identifier(text: &str) -> Result<(), Failed> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-') {
        return Ok(());
    }
    Err(refuse("identifier is not 1 to 64 of a-z, 0-9 and -"))
}

fn ids(source: IdSource, privileged: bool) -> Result<(), Failed> {
    match source {
        IdSource::Lease { count: 1..=65_536 } if privileged => Ok(()),
        IdSource::Own { count: 1..=65_536 } if !privileged => Ok(()),
        // Root's own ids would map the host's root into a sandbox.
        _ => Err(refuse(
            "id range is empty, too large, or not for this launcher",
        )),
    }
}

/// A zygote's sandbox, or one of its zygote's.
fn family(spec: &SandboxSpec, privileged: bool) -> Result<(), Failed> {
    if let Some(zygote) = &spec.zygote {
        identifier(zygote)?;
    }
    match (spec.nursery, &spec.zygote) {
        (0, None) => Ok(()),
        _ if !privileged => Err(refuse("a zygote needs a launcher that is the host's root")),
        // It runs nobody's code.
        (1.., _) if spec.egress => Err(refuse("a zygote has no egress")),
        (1..=MAX_NURSERY, None) | (0, Some(_)) => Ok(()),
        (0.., None) => Err(refuse("ids for more sandboxes than a map has lines")),
        (1.., Some(_)) => Err(refuse("a zygote has no zygote")),
    }
}

/// Checks what a zygote is.
pub fn zygote(spec: &ZygoteSpec) -> Result<(), Failed> {
    // Root of its sandbox it would be a peer of the init, which nobody else may be.
    if !(1..SIZE).contains(&spec.user) {
        return Err(refuse("a zygote that is not a plain user of its sandbox"));
    }
    let interpreter = std::str::from_utf8(&spec.interpreter);
    absolute(interpreter.map_err(|_| refuse("the interpreter's path is not UTF-8"))?)
}

fn capabilities(bits: u64) -> Result<(), Failed> {
    match bits & !INIT_MAY_HAVE {
        0 => Ok(()),
        _ => Err(refuse("a capability that no init may have")),
    }
}

fn steps(steps: &[RootfsStep]) -> Result<(), Failed> {
    let generated = steps.iter().map(|step| match step {
        RootfsStep::File { contents, .. } => contents.len(),
        _ => 0,
    });
    if steps.len() > MAX_STEPS || generated.sum::<usize>() > MAX_GENERATED {
        return Err(refuse("root file system of too many steps or bytes"));
    }
    Ok(())
}

/// Checks what a sandbox that runs is to get.
pub fn extension(steps: &[RootfsStep]) -> Result<(), Failed> {
    self::steps(steps)?;
    let mounts = steps
        .iter()
        .filter(|step| matches!(step, RootfsStep::Bind { .. }));
    if mounts.count() > MAX_TREES {
        return Err(refuse("more mounts than one answer has trees"));
    }
    let unfit =
        |step: &RootfsStep| matches!(step, RootfsStep::Image { .. } | RootfsStep::Symlink { .. });
    if steps.iter().any(unfit) {
        return Err(refuse("a root that is in use gets no image and no link"));
    }
    steps.iter().try_for_each(step)
}

/// Checks the paths of one step.
pub fn step(step: &RootfsStep) -> Result<(), Failed> {
    match step {
        RootfsStep::Directory { path, .. }
        | RootfsStep::Symlink { path, .. }
        | RootfsStep::File { path, .. } => absolute(path),
        RootfsStep::Image { folder } => absolute(folder),
        // The host's root may be shown, as any other folder.
        RootfsStep::Bind { source, target, .. } if source == "/" => absolute(target),
        RootfsStep::Bind { source, target, .. } => absolute(source).and_then(|()| absolute(target)),
    }
}

/// Checks the folder of a volume's quota.
pub fn folder(path: &str) -> Result<(), Failed> {
    absolute(path)
}

/// Absolute, not `/`, made of plain names alone.
fn absolute(path: &str) -> Result<(), Failed> {
    let mut parts = Path::new(path).components();
    let rooted = parts.next() == Some(Component::RootDir);
    let plain =
        parts.clone().next().is_some() && parts.all(|part| matches!(part, Component::Normal(_)));
    if rooted && plain && !path.contains('\0') {
        return Ok(());
    }
    Err(refuse(format!("path {path:?} is not absolute and plain")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> SandboxSpec {
        SandboxSpec {
            id: "s1".to_owned(),
            hostname: "sandbox-s1".to_owned(),
            ids: IdSource::Lease { count: 65_536 },
            rootfs: Vec::new(),
            limits: None,
            init_capabilities: 1 << 21,
            nursery: 0,
            zygote: None,
            egress: false,
        }
    }

    #[test]
    fn a_zygote_has_no_egress_and_its_sandboxes_may() {
        let of = |nursery, zygote: Option<&str>| SandboxSpec {
            nursery,
            zygote: zygote.map(str::to_owned),
            egress: true,
            ..spec()
        };
        assert!(sandbox(&of(0, None), true).is_ok());
        assert!(sandbox(&of(1, None), true).is_err());
        assert!(sandbox(&of(0, Some("z")), true).is_ok());
    }

    #[test]
    fn a_zygote_is_roots_launchers_alone_and_has_none_itself() {
        let of = |nursery, zygote: Option<&str>| SandboxSpec {
            nursery,
            zygote: zygote.map(str::to_owned),
            ..spec()
        };
        for good in [of(1, None), of(MAX_NURSERY, None), of(0, Some("z"))] {
            sandbox(&good, true).unwrap();
            let ids = IdSource::Own { count: 1 };
            assert!(sandbox(&SandboxSpec { ids, ..good }, false).is_err());
        }
        for bad in [
            of(MAX_NURSERY + 1, None),
            of(1, Some("z")),
            of(0, Some("../z")),
        ] {
            assert!(sandbox(&bad, true).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_plain_plan_passes() {
        sandbox(&spec(), true).unwrap();
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        for id in ["", "..", "a/b", "-a", "A", "a\0", &"a".repeat(65)] {
            let spec = SandboxSpec {
                id: id.to_owned(),
                ..spec()
            };
            assert!(sandbox(&spec, true).is_err(), "{id:?}");
        }
    }

    #[test]
    fn the_hosts_own_ids_are_never_mapped_by_root() {
        let own = SandboxSpec {
            ids: IdSource::Own { count: 1 },
            ..spec()
        };
        assert!(sandbox(&own, true).is_err());
        sandbox(&own, false).unwrap();
        assert!(sandbox(&spec(), false).is_err());
    }

    #[test]
    fn capabilities_beyond_the_inits_are_refused() {
        // CAP_SYS_MODULE, CAP_NET_ADMIN, CAP_DAC_OVERRIDE.
        for bit in [16, 12, 1] {
            let spec = SandboxSpec {
                init_capabilities: 1 << bit,
                ..spec()
            };
            assert!(sandbox(&spec, true).is_err(), "{bit}");
        }
    }

    #[test]
    fn an_extension_has_places_and_a_few_mounts() {
        let directory = |path: &str| RootfsStep::Directory {
            path: path.to_owned(),
            mode: 0o755,
        };
        let bind = |source: &str| RootfsStep::Bind {
            source: source.to_owned(),
            target: "/home/a".to_owned(),
            read_only: true,
            executable: true,
            owner: None,
            disk: None,
        };
        extension(&[directory("/home/a"), bind("/x")]).unwrap();
        extension(&vec![bind("/x"); MAX_TREES]).unwrap();
        assert!(extension(&vec![bind("/x"); MAX_TREES + 1]).is_err());
        assert!(extension(&[directory("/home/../a")]).is_err());
        assert!(extension(&[bind("/x/../y")]).is_err());
        let link = RootfsStep::Symlink {
            path: "/a".to_owned(),
            target: "/b".to_owned(),
        };
        let image = RootfsStep::Image {
            folder: "/a".to_owned(),
        };
        assert!(extension(&[link]).is_err() && extension(&[image]).is_err());
    }

    #[test]
    fn paths_that_climb_are_refused() {
        for path in ["", "/", "relative", "/a/../b", "/a\0b"] {
            let rootfs = vec![RootfsStep::Image {
                folder: path.to_owned(),
            }];
            assert!(
                sandbox(&SandboxSpec { rootfs, ..spec() }, true).is_err(),
                "{path:?}"
            );
        }
    }
}
