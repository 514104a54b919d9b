//! What a task sees of /proc.

use lakekeep_policy::ProcView as Wanted;
use lakekeep_protocol::task::{ProcMask, ProcView};

use crate::rootfs::GENERATED_PROC;

/// Reads as empty: facts about the machine, its other users and its kernel
/// (class 51 of the threat model), and ways into the kernel (24, 29, 30).
const EMPTY: [&str; 34] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/buddyinfo",
    "/proc/bus",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/diskstats",
    "/proc/driver",
    "/proc/fs",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/irq",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/pagetypeinfo",
    "/proc/partitions",
    "/proc/pressure",
    "/proc/sched_debug",
    "/proc/schedstat",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/softirqs",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/vmallocinfo",
];

const ALSO_EMPTY: [&str; 4] = [
    "/proc/sysvipc",
    "/proc/vmstat",
    "/proc/zoneinfo",
    "/proc/mdstat",
];

/// The view that the policy asks for, as mounts.
pub fn view(wanted: Wanted) -> ProcView {
    match wanted {
        Wanted::Pids => ProcView {
            only_processes: true,
            masks: Vec::new(),
        },
        Wanted::Full => ProcView {
            only_processes: false,
            masks: masks(),
        },
    }
}

fn masks() -> Vec<ProcMask> {
    let empty = EMPTY.iter().chain(&ALSO_EMPTY);
    let replaced = GENERATED_PROC.iter().map(|name| ProcMask::Replaced {
        path: format!("/proc/{name}"),
        with: format!("/run/lakekeep/proc/{name}"),
    });
    empty
        .map(|path| ProcMask::Empty((*path).to_owned()))
        .chain(replaced)
        .chain([ProcMask::ReadOnly("/proc/sys".to_owned())])
        .collect()
}
