//! /proc/self/mountinfo, and after a NUL byte /proc/self/cgroup. Mount points of
//! an input are looked at on the host (access(2), and a read of a file named
//! cgroup.controllers), never written.
#![no_main]

use std::path::{Component, Path};

use lakekeep_sys::cgroup::{Controller, Hierarchy, Mode};
use lakekeep_sys::mountinfo::{self, MountLine};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((mounts, groups)) = lakekeep_fuzz::halves(data) else {
        return;
    };
    for line in mountinfo::lines(mounts) {
        let text = written(&line);
        assert_eq!(
            mountinfo::lines(&text).collect::<Vec<_>>(),
            [line],
            "{text:?}"
        );
    }
    if let Ok(hierarchy) = Hierarchy::from_texts(mounts, groups) {
        check(&hierarchy);
    }
});

/// The line as the kernel writes it.
fn written(line: &MountLine<'_>) -> String {
    let (root, point) = (escaped(&line.root), escaped(&line.point));
    format!(
        "{} {} {} {root} {point} {} - {} none {}",
        line.id, line.parent, line.device, line.options, line.fstype, line.super_options
    )
}

fn escaped(path: &str) -> String {
    let escape = |c: char| match c {
        ' ' | '\t' | '\n' | '\\' => format!("\\{:03o}", u32::from(c)),
        _ => c.to_string(),
    };
    path.chars().map(escape).collect()
}

fn check(hierarchy: &Hierarchy) {
    let plain = |path: &Path| {
        let mut parts = path.components();
        parts.next() == Some(Component::RootDir)
            && parts.all(|part| matches!(part, Component::Normal(_)))
    };
    assert!(plain(hierarchy.parent()));
    assert_eq!(
        hierarchy.mode() == Mode::None,
        hierarchy.mounts().iter().all(named_only)
    );
    for mount in hierarchy.mounts() {
        assert!(mount.own.as_deref().is_none_or(plain), "{mount:?}");
    }
    for controller in Controller::ALL {
        if let Some(mount) = hierarchy.mount_of(controller) {
            assert!(hierarchy.mounts().contains(mount));
        }
    }
}

/// A version 1 hierarchy without a controller limits nothing.
fn named_only(mount: &lakekeep_sys::cgroup::Mount) -> bool {
    mount.version == lakekeep_sys::cgroup::Version::V1 && mount.controllers.is_empty()
}
