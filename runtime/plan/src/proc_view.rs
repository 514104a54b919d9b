//! What a task sees of /proc.

use lakekeep_policy::ProcView as Wanted;
use lakekeep_protocol::task::ProcView;

use crate::rootfs::GENERATED_PROC;

/// Shown as they are: what programs need and what tells of no other user. The
/// processor's model is no secret: an instruction tells it.
const SHOWN: [&str; 3] = ["cpuinfo", "filesystems", "version"];

/// Kernel settings that programs read.
const READ_ONLY: [&str; 1] = ["sys"];

/// The view that the policy asks for. It is a list of what is shown: what a
/// later kernel adds to /proc is covered without anybody noticing it first.
pub fn view(wanted: Wanted) -> ProcView {
    match wanted {
        Wanted::Pids => ProcView {
            only_processes: true,
            shown: Vec::new(),
            read_only: Vec::new(),
            replaced: Vec::new(),
        },
        Wanted::Full => ProcView {
            only_processes: false,
            shown: SHOWN.map(str::to_owned).to_vec(),
            read_only: READ_ONLY.map(str::to_owned).to_vec(),
            replaced: GENERATED_PROC
                .map(|name| (name.to_owned(), format!("/run/lakekeep/proc/{name}")))
                .to_vec(),
        },
    }
}
