//! The layers of isolation, by name.

use crate::names::named_enum;

named_enum! {
    /// One layer of isolation: what a receipt reports on, and what a policy's
    /// floor can require.
    pub enum Layer as "layer" {
        UserNamespace = "user_namespace", "Own user namespace: no capability inside counts on the host.";
        MountNamespace = "mount_namespace", "Own mount table: only the image and the granted mounts exist.";
        PidNamespace = "pid_namespace", "Own process numbers: processes outside cannot be seen or signalled.";
        IpcNamespace = "ipc_namespace", "Own System V IPC and POSIX message queues.";
        UtsNamespace = "uts_namespace", "Own host and domain name.";
        CgroupNamespace = "cgroup_namespace", "Own view of the cgroup tree: its place on the host is hidden.";
        NetworkNamespace = "network_namespace", "Own network stack, without any interface unless one is granted.";
        IdRange = "id_range", "A range of user and group ids on the host that no other sandbox has.";
        SeparateUid = "separate_uid", "Runs as a user id other than the one that started it.";
        Capabilities = "capabilities", "Every capability set is empty, the bounding and ambient sets included.";
        NoNewPrivileges = "no_new_privileges", "Set-user-id programs and file capabilities gain nothing.";
        Seccomp = "seccomp", "System calls outside the profile are refused by a filter.";
        Landlock = "landlock", "File access outside the granted paths is refused a second time, below the mounts.";
        ReadOnlyRoot = "read_only_root", "The image cannot be written to.";
        MaskedProc = "masked_proc", "Kernel-wide files of /proc and /sys are hidden or read-only.";
        Keyring = "keyring", "Own session keyring: keys of the host's session are out of reach.";
        Descriptors = "descriptors", "No open file is inherited but those that are meant to be.";
        MemoryLimit = "memory_limit", "Memory is limited; beyond it the sandbox's own processes are killed.";
        SwapLimit = "swap_limit", "Swap is limited.";
        CpuLimit = "cpu_limit", "CPU bandwidth is limited.";
        CpuAffinity = "cpu_affinity", "May run only on the CPUs that were given to it.";
        PidsLimit = "pids_limit", "The number of processes and threads is limited.";
        OpenFilesLimit = "open_files_limit", "The number of open files per process is limited.";
        FileSizeLimit = "file_size_limit", "The size of any file written is limited.";
        CpuTimeLimit = "cpu_time_limit", "CPU time per process is limited.";
        WallTimeLimit = "wall_time_limit", "Elapsed time is limited; at the end everything inside is killed.";
        ScratchLimit = "scratch_limit", "Writable in-memory file systems are limited in bytes and files.";
        OutputLimit = "output_limit", "Bytes accepted on standard output and standard error are limited.";
        NotDumpable = "not_dumpable", "Our own processes inside cannot be traced, and leave no core dump.";
        OomScore = "oom_score", "When the host runs out of memory, the sandbox is killed before the host's services.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_is_found_by_its_name_and_has_help() {
        assert_eq!(Layer::ALL.len(), 30);
        for layer in Layer::ALL {
            assert_eq!(layer.as_str().parse::<Layer>(), Ok(*layer));
            assert!(layer.describe().ends_with('.') && !layer.describe().contains('\n'));
        }
    }

    #[test]
    fn a_misspelt_layer_is_corrected() {
        let error = "landlok".parse::<Layer>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"landlok\" is not a layer; did you mean \"landlock\"?"
        );
    }
}
