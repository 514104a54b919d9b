//! The host and the other sandboxes.

use super::at;
use crate::case::Case;

// A table: one case a line.
#[rustfmt::skip]
pub(super) const CASES: &[Case] = &[
    at("abstract_socket", 48, "connect to an abstract socket of the host's").user().everywhere(),
    at("descriptor_from_outside", 54, "receive a descriptor of the host's").user().everywhere(),
    at("service_socket", 48, "connect to a service of the host's").user().everywhere(),
    at("loopback", 58, "connect to the host's loopback").user().everywhere(),
    at("interfaces", 58, "have a network interface").user().needs(&["interfaces"]).everywhere(),
    at("route_out", 58, "have a route out").user().needs(&["route"]).everywhere(),
    at("metadata_address", 58, "have a route to the metadata address").user().needs(&["route"]).everywhere(),
    at("sysv_shm", 45, "read shared memory of the host's").user().everywhere(),
    at("sysv_msg", 45, "reach a message queue of the host's").user().everywhere(),
    at("sysv_sem", 45, "reach a semaphore of the host's").user().everywhere(),
    at("posix_queue", 45, "open a POSIX queue of the host's").user().everywhere(),
    at("dev_shm_file", 45, "read the host's /dev/shm").user().everywhere(),
    at("same_hostname", 51, "learn the host's name").user().everywhere(),
    at("machine_id", 51, "learn the host's machine-id").user().needs(&["machine_id"]).everywhere(),
    at("host_variable", 50, "read a variable of the launching process").user().everywhere(),
    at("read_hidden", 12, "read a host file by its path").user().everywhere(),
    at("shadow", 12, "read the host's password hashes").everywhere(),
    at("host_keys", 12, "read the host's keys or root's files").everywhere(),
    at("host_directories", 12, "list a directory of the host's").user().everywhere(),
    at("write_directories", 4, "make a file in a directory of the system").everywhere(),
    at("write_mounts", 4, "make a file in any mount but the scratch").everywhere(),
    at("mount_flags", 15, "find a mount that honours set-uid files").user().everywhere(),
    at("read_only_volume", 4, "write to a read-only volume").everywhere(),
    at("link_absolute", 18, "read by an absolute link in a volume").user().everywhere(),
    at("link_relative", 18, "read by a relative link in a volume").user().everywhere(),
    at("climb_from_volume", 18, "read above a volume").user().everywhere(),
    at("hard_link", 16, "link a foreign file into a volume").everywhere(),
];
