//! What a manager and its launchers hold, as /proc and cgroupfs show it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

use super::{Manager, entries, parent, words};
use crate::{children, descendants, open_descriptors};

/// What one of the processes holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// Resident memory, KiB.
    pub rss: u64,
    /// The same, shared pages counted by their share, KiB.
    pub pss: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Time on a processor since its start, milliseconds.
    pub cpu: u64,
}

/// What is there at one moment. Launchers are added up: of each, the one that watches
/// and the one that serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// The manager itself.
    pub manager: Use,
    /// The supervisor.
    pub supervisor: Use,
    /// All launchers.
    pub launchers: Use,
    /// What must be the same whenever the same sandboxes live.
    pub host: Counts,
}

/// Things of the host's, of this manager alone: other tests run meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes below the supervisor.
    pub processes: usize,
    /// Namespaces that they are in and the host is not.
    pub namespaces: usize,
    /// Control groups below the launchers', in all hierarchies.
    pub groups: usize,
    /// Mounts in the launchers' mount tables.
    pub mounts: usize,
    /// Mounts of the host's own table below the manager's folder.
    pub host_mounts: usize,
    /// Entries of the manager's folders of sandboxes and of launchers.
    pub folders: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} processes, {} namespaces, {} control groups, {} mounts of launchers and {} of the host, {} folders",
            self.processes,
            self.namespaces,
            self.groups,
            self.mounts,
            self.host_mounts,
            self.folders
        )
    }
}

impl Manager {
    /// Looks.
    #[must_use]
    pub fn sample(&self) -> Sample {
        let servers = self.launcher_servers();
        let mut launchers = Use::default();
        for pid in self.launchers().iter().chain(&servers) {
            launchers.add(of(*pid));
        }
        Sample {
            manager: self.pid().map(of).unwrap_or_default(),
            supervisor: of(self.supervisor()),
            launchers,
            host: self.counts(&servers),
        }
    }

    /// The inits of the sandboxes that are there.
    #[must_use]
    pub fn inits(&self) -> Vec<i32> {
        let servers = self.launcher_servers().into_iter();
        let servers = servers.filter_map(|pid| u32::try_from(pid).ok());
        servers.flat_map(children).collect()
    }

    /// The launchers' serving processes, the parents of inits.
    #[must_use]
    pub fn launcher_servers(&self) -> Vec<i32> {
        let launchers = self.launchers();
        let below = descendants(self.supervisor.id()).into_iter();
        below
            .filter(|pid| parent(*pid).is_some_and(|parent| launchers.contains(&parent)))
            .filter(|pid| {
                let words = words(*pid);
                words
                    .first()
                    .is_some_and(|word| word.ends_with("lakekeep-launcher"))
            })
            .collect()
    }

    fn counts(&self, servers: &[i32]) -> Counts {
        let state = entries(&self.runtime().join("state/launchers"));
        let names: BTreeSet<_> = state.iter().filter_map(|path| path.file_name()).collect();
        let launchers = crate::cgroups_of_lakekeep().into_iter();
        let launchers =
            launchers.filter(|path| path.file_name().is_some_and(|n| names.contains(n)));
        let place = self.folder.display().to_string();
        Counts {
            processes: descendants(self.supervisor.id()).len(),
            namespaces: self.namespaces().len(),
            groups: launchers.map(|path| groups_in(&path)).sum(),
            mounts: servers.iter().map(|pid| mounts(*pid, "")).sum(),
            host_mounts: mounts(self.supervisor(), &place),
            folders: state.iter().map(|path| entries(path).len()).sum(),
        }
    }
}

impl Use {
    fn add(&mut self, other: Self) {
        self.rss += other.rss;
        self.pss += other.pss;
        self.descriptors += other.descriptors;
        self.threads += other.threads;
        self.cpu += other.cpu;
    }
}

fn of(pid: i32) -> Use {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let (memory, stat) = (read("smaps_rollup"), read("stat"));
    let field = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|rest| rest.split_whitespace().next());
        word.and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let number = |at: usize| -> u64 {
        let word = after.split_whitespace().nth(at);
        word.and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    Use {
        rss: field("Rss:"),
        pss: field("Pss:"),
        descriptors: open_descriptors(u32::try_from(pid).unwrap_or(0)),
        threads: usize::try_from(number(17)).unwrap_or(0),
        // In ticks, of which every Linux has 100 a second.
        cpu: (number(11) + number(12)) * 10,
    }
}

fn groups_in(group: &Path) -> usize {
    let below = entries(group).into_iter().filter(|path| path.is_dir());
    below.map(|path| 1 + groups_in(&path)).sum()
}

fn mounts(pid: i32, place: &str) -> usize {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    text.lines().filter(|line| line.contains(place)).count()
}

/// The launcher that the init of this number was made by: not the process that serves,
/// but the one that watches it.
///
/// `None` also for an init whose launcher was killed a moment ago: until it is gone, it is
/// the child of another.
pub(super) fn launcher_of(init: i32) -> Option<i32> {
    let is_launcher = |pid: &i32| {
        let words = words(*pid);
        words
            .first()
            .is_some_and(|word| word.ends_with("lakekeep-launcher"))
    };
    let server = parent(init).filter(is_launcher)?;
    parent(server).filter(is_launcher)
}
