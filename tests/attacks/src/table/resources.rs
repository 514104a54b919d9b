//! More than the limits allow.

use super::at;
use crate::case::Case;

const PIDS: &[&str] = &["--pids", "64"];
const MEMORY: &[&str] = &["--memory", "128MiB", "--swap", "0"];
const MEMORY_AND_FILES: &[&str] = &["--memory", "128MiB", "--swap", "0", "--open-files", "16384"];
const SCRATCH: &[&str] = &["--scratch-size", "16MiB"];
const INODES: &[&str] = &["--scratch-inodes", "1000"];
const FILES: &[&str] = &["--open-files", "64"];
const FILE_SIZE: &[&str] = &["--file-size", "1MiB"];
const OUTPUT: &[&str] = &["--output-limit", "1MiB"];
const CPU_TIME: &[&str] = &["--cpu-time", "1s"];
const CPUS: &[&str] = &["--cpus", "1"];
const TIME: &[&str] = &["--timeout", "1s"];

const OOM: &[&str] = &["out_of_memory"];
const FULL: &[&str] = &["disk_full"];

// A table: one case a line.
#[rustfmt::skip]
pub(super) const CASES: &[Case] = &[
    at("fork_bomb", 35, "start 200 processes").limit("pids_limit", PIDS, &["pids"]),
    at("thread_bomb", 35, "start 200 threads").limit("pids_limit", PIDS, &["pids"]),
    at("memory_bomb", 36, "use three times the memory").limit("memory_limit", MEMORY, OOM),
    at("memory_in_pieces", 36, "use it in eight processes").limit("memory_limit", MEMORY, OOM),
    at("shared_memory_bomb", 36, "use it as shared memory").limit("memory_limit", MEMORY, OOM),
    at("memfd_bomb", 36, "use it in a memfd").limit("memory_limit", MEMORY, OOM),
    at("sysv_bomb", 45, "use it as SysV memory").limit("memory_limit", MEMORY, OOM),
    at("pipe_bomb", 40, "use it in pipe buffers").limit("memory_limit", MEMORY_AND_FILES, OOM),
    at("socket_bomb", 40, "use it in socket buffers").limit("memory_limit", MEMORY_AND_FILES, OOM),
    at("fill_tmp", 37, "fill /tmp").limit("scratch_limit", SCRATCH, FULL),
    at("fill_dev_shm", 37, "fill /dev/shm").limit("scratch_limit", SCRATCH, FULL),
    at("fill_home", 37, "fill the home directory").limit("scratch_limit", SCRATCH, FULL),
    at("fill_together", 37, "fill all three, each below the limit").limit("scratch_limit", SCRATCH, FULL),
    at("inode_bomb", 38, "make 5000 files").limit("scratch_limit", INODES, FULL),
    at("file_size", 41, "write a large file to a volume").limit("file_size_limit", FILE_SIZE, &[]),
    at("sparse_file", 41, "make a file of a tebibyte").limit("file_size_limit", FILE_SIZE, &[]),
    at("fd_bomb", 39, "open 1000 descriptors").limit("open_files_limit", FILES, &[]),
    at("watch_bomb", 39, "open 1000 epoll and eventfd descriptors").limit("open_files_limit", FILES, &[]),
    at("output_flood", 43, "write 64 MiB of output").limit("output_limit", OUTPUT, &["output_limit"]),
    at("cpu_hog", 42, "use 4 seconds of CPU time").limit("cpu_time_limit", CPU_TIME, &["cpu_time"]),
    at("many_cpus", 42, "use a second CPU").needs(&["two_cpus"]).limit("cpu_affinity", CPUS, &[]),
    at("outlast", 42, "live longer than the time limit").limit("wall_time_limit", TIME, &["wall_time"]),
    at("lock_memory", 45, "lock 64 MiB of memory"),
    at("lock_all", 45, "lock all memory"),
    at("queue_bomb", 45, "make 32 message queues").needs(&["cap_sys_resource"]),
];
