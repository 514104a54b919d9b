//! Quotas of volumes.

use lakekeep_plan::host::HostFacts;

use super::{Check, Surroundings, as_root};

/// Whether some file system of this host can bound a volume.
pub(super) fn projects(facts: &HostFacts, around: &Surroundings) -> Check {
    const NAME: &str = "project quotas";
    if let Some(places) = &around.project_quotas
        && !places.is_empty()
    {
        return Check::ok(NAME, format!("on {}", places.join(", ")));
    }
    Check::degraded(
        NAME,
        "no file system is mounted with prjquota",
        "a manager's volumes: their quota is reported as not enforced",
        as_root(
            facts,
            "tune2fs -O project,quota -Q prjquota DEVICE && mount -o prjquota DEVICE FOLDER",
        ),
    )
}

/// Where file systems are mounted that enforce project quotas, from the text of
/// /proc/self/mountinfo (proc_pid_mountinfo(5)).
pub(super) fn mounted(mountinfo: &str) -> Vec<String> {
    let places = mountinfo.lines().filter_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let mut words = system.split(' ');
        let kind = words.next()?;
        let options = words.nth(1)?;
        let counts = options
            .split(',')
            .any(|word| word == "prjquota" || word == "pquota");
        (matches!(kind, "ext4" | "xfs") && counts)
            .then(|| mount.split(' ').nth(4).map(str::to_owned))?
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_file_systems_that_count_projects_are_named() {
        let text = "29 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw,errors=remount-ro\n\
                    30 29 8:2 / /data rw - ext4 /dev/sdb rw,prjquota\n\
                    31 29 8:3 / /more rw shared:4 - xfs /dev/sdc rw,attr2,prjquota\n\
                    32 29 0:5 / /proc rw - proc prjquota rw,prjquota\n";
        assert_eq!(mounted(text), ["/data", "/more"]);
        assert!(mounted("").is_empty());
    }
}
