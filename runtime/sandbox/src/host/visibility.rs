//! Whether a new proc may be mounted in a user namespace.

use lakekeep_sys::mountinfo;

/// The kernel allows a fresh proc only where one is visible in full already
/// (`mount_too_revealing`): its root mounted, not read-only, and nothing on top of it
/// that hides a file or a directory with something in it. Container engines mask parts
/// of /proc in this way, and so forbid nested containers.
pub(super) fn proc_fully_visible(mountinfo: &str) -> bool {
    let procs = mountinfo::lines(mountinfo)
        .filter(|mount| mount.fstype == "proc" && mount.root == "/" && !mount.has_option("ro"));
    procs.into_iter().any(|proc| {
        mountinfo::lines(mountinfo)
            .filter(|mount| mount.parent == proc.id && mount.id != proc.id)
            .all(|mount| hides_nothing(&mount.point, &proc.point))
    })
}

/// Directories of proc that exist to be mounted on, and are empty for ever.
fn hides_nothing(point: &str, proc: &str) -> bool {
    const EMPTY: [&str; 4] = ["/sys/fs/binfmt_misc", "/fs/nfsd", "/openprom", "/xen"];
    point
        .strip_prefix(proc)
        .is_some_and(|inside| EMPTY.contains(&inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "22 27 0:21 / /proc rw,nosuid - proc proc rw\n";

    #[test]
    fn a_plain_proc_is_visible() {
        assert!(proc_fully_visible(PLAIN));
        let binfmt = "50 22 0:40 / /proc/sys/fs/binfmt_misc rw - binfmt_misc none rw\n";
        assert!(proc_fully_visible(&format!("{PLAIN}{binfmt}")));
    }

    #[test]
    fn a_masked_proc_is_not() {
        for mask in [
            "50 22 0:40 / /proc/kcore rw - tmpfs tmpfs rw\n",
            "50 22 0:21 /sys /proc/sys ro - proc proc rw\n",
            "50 22 0:21 /bus /proc/bus ro - proc proc rw\n",
        ] {
            assert!(!proc_fully_visible(&format!("{PLAIN}{mask}")), "{mask}");
        }
    }

    #[test]
    fn part_of_a_proc_or_a_read_only_one_or_none_is_not() {
        assert!(!proc_fully_visible(
            "22 27 0:21 /sys /x rw - proc proc rw\n"
        ));
        assert!(!proc_fully_visible(
            "22 27 0:21 / /proc ro - proc proc rw\n"
        ));
        assert!(!proc_fully_visible(
            "22 27 0:21 / /tmp rw - tmpfs tmpfs rw\n"
        ));
    }

    #[test]
    fn a_second_whole_proc_elsewhere_is_enough() {
        let masked = "50 22 0:40 / /proc/kcore rw - tmpfs tmpfs rw\n";
        let second = "60 27 0:44 / /run/proc rw - proc proc rw\n";
        assert!(proc_fully_visible(&format!("{PLAIN}{masked}{second}")));
    }
}
