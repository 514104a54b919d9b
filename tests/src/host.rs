//! The host before and after: nothing of a sandbox may stay.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::processes::{cgroups_of_lakekeep, is_held, is_populated, orphans};
use crate::{eventually_within, fail};

/// How long the launcher, or the next start, may take to clean up.
const PATIENCE: Duration = Duration::from_secs(15);

/// What there was before a test.
#[derive(Debug)]
pub struct HostSnapshot {
    place: PathBuf,
    temporary: BTreeSet<PathBuf>,
    groups: BTreeSet<PathBuf>,
    mounts: BTreeSet<String>,
}

impl HostSnapshot {
    /// Taken before the test that uses `place` for its state directories.
    #[must_use]
    pub fn take(place: &Path) -> Self {
        Self {
            place: place.to_path_buf(),
            temporary: temporary_files(),
            groups: cgroups_of_lakekeep().into_iter().collect(),
            mounts: mounts(place).collect(),
        }
    }

    /// Fails the test when something of a sandbox stays: processes, mounts, control
    /// groups, state, temporary files. Other tests run meanwhile: what counts is
    /// what never goes away while this one looks.
    #[track_caller]
    pub fn assert_unchanged(&self) {
        let mut persisting = self.leftovers();
        let clean = eventually_within(PATIENCE, || {
            if persisting.is_empty() {
                return Some(());
            }
            let now = self.leftovers();
            persisting.retain(|item| now.contains(item));
            None
        });
        if clean.is_none() {
            let list: Vec<_> = persisting.into_iter().collect();
            fail(format_args!("left behind:\n  {}", list.join("\n  ")));
        }
    }

    fn leftovers(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        found.extend(
            orphans()
                .into_iter()
                .map(|(pid, line)| format!("process {pid}: {line}")),
        );
        let new = mounts(&self.place).filter(|line| !self.mounts.contains(line));
        found.extend(new.map(|line| format!("mount {line}")));
        let groups = cgroups_of_lakekeep();
        found.extend(
            groups
                .iter()
                .filter(|group| !self.groups.contains(*group) && !is_populated(group))
                // A manager's launcher may have nothing to do for a while.
                .filter(|group| !is_held(group, &groups))
                .map(|group| format!("control group {}", group.display())),
        );
        found.extend(
            self.state_files()
                .into_iter()
                .map(|path| format!("state {}", path.display())),
        );
        found.extend(
            temporary_files()
                .difference(&self.temporary)
                .map(|path| format!("temporary file {}", path.display())),
        );
        found
    }

    /// Everything in the state directories but empty directories at their top and
    /// what is there once and for all.
    fn state_files(&self) -> Vec<PathBuf> {
        let states = children(&self.place)
            .into_iter()
            .filter(|dir| is_state(dir));
        let top: Vec<PathBuf> = states.flat_map(|state| children(&state)).collect();
        let (folders, files): (Vec<_>, Vec<_>) = top.into_iter().partition(|path| path.is_dir());
        let below = folders.iter().flat_map(|folder| children(folder));
        files
            .into_iter()
            .chain(below)
            .filter(|path| !path.ends_with("ids") && !is_map_folder(path))
            .collect()
    }
}

/// The host's mounts below `place`.
fn mounts(place: &Path) -> impl Iterator<Item = String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let place = place.display().to_string();
    let lines = text.lines().filter(|line| line.contains(&place));
    lines.map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Made at the first run and used by all later ones, as the file `ids` is, whose locks are
/// the leases of id ranges: a rootless caller's stand-ins for the setuid helpers.
fn is_map_folder(path: &Path) -> bool {
    let links = children(path);
    path.parent().is_some_and(|parent| parent.ends_with("map"))
        && links
            .iter()
            .all(|link| link.ends_with("newuidmap") || link.ends_with("newgidmap"))
}

fn is_state(dir: &Path) -> bool {
    dir.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("state"))
}

fn children(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).map_or_else(
        |_| Vec::new(),
        |list| list.filter_map(Result::ok).map(|e| e.path()).collect(),
    )
}

/// Files of lakekeep's where temporary files are; the attacks' bait is not one.
fn temporary_files() -> BTreeSet<PathBuf> {
    ["/tmp", "/var/tmp", "/dev/shm", "/run"]
        .into_iter()
        .flat_map(|dir| children(Path::new(dir)))
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| {
                    (name.starts_with("lakekeep") || name.starts_with(".lakekeep"))
                        && !name.contains("bait")
                        && name != "lakekeep"
                })
        })
        .collect()
}
