//! By which calls the stages of a run are told apart.

use std::time::Duration;

use crate::error::BenchError;
use crate::stages::trace::{Call, Trace};

/// The end of one stage and the beginning of the next.
#[derive(Debug, Clone, Copy)]
pub struct Milestone {
    /// The stage that ends here.
    pub until: &'static str,
    at: fn(&Run<'_>) -> Option<Duration>,
}

/// A trace, and which of its processes is which.
#[derive(Debug)]
struct Run<'a> {
    trace: &'a Trace,
    cli: u32,
    server: u32,
    intermediate: u32,
    init: u32,
    stub: u32,
    command: u32,
}

/// In the order in which they occur; the first has no stage before it.
pub const MILESTONES: [Milestone; 20] = [
    Milestone {
        until: "",
        at: |run| run.first(run.cli, "execve").map(|call| call.start),
    },
    Milestone {
        until: "command line: load, policy, plan, filter",
        at: |run| run.first(run.cli, "clone3").map(|call| call.start),
    },
    Milestone {
        until: "launcher: spawn, load, clone into its pid namespace",
        at: |run| run.first(run.server, "unshare").map(|call| call.start),
    },
    Milestone {
        until: "launcher: own mounts, hide cgroup v1 trees, state, init's memfd",
        at: |run| run.first(run.server, "recvmsg").map(|call| call.start),
    },
    Milestone {
        until: "root file system assembled",
        at: |run| run.before_network("fsmount").map(|call| call.end),
    },
    Milestone {
        until: "cgroup with limits, config.json",
        at: |run| run.network().map(|call| call.start),
    },
    Milestone {
        until: "network namespace, libcontainer's preparation",
        at: |run| run.after_network("clone3").map(|call| call.start),
    },
    Milestone {
        until: "intermediate: fork, join cgroups",
        at: |run| {
            run.first_with(run.intermediate, "unshare", "CLONE_NEWUSER")
                .map(|call| call.start)
        },
    },
    Milestone {
        until: "intermediate: user namespace, id maps",
        at: |run| {
            run.first_with(run.intermediate, "unshare", "CLONE_NEWPID")
                .map(|call| call.start)
        },
    },
    Milestone {
        until: "container's first process: fork, namespaces",
        at: |run| {
            run.first_with(run.init, "unshare", "CLONE_NEWNS")
                .map(|call| call.end)
        },
    },
    Milestone {
        until: "its mounts, pivot",
        at: |run| run.first(run.init, "pivot_root").map(|call| call.end),
    },
    Milestone {
        until: "masks, capabilities, seal",
        at: |run| {
            run.first_with(run.init, "sendmsg", "InitReady")
                .map(|call| call.start)
        },
    },
    Milestone {
        until: "launcher: read-back, state files, start",
        at: |run| run.first(run.init, "execveat").map(|call| call.start),
    },
    Milestone {
        until: "init: exec, start",
        at: |run| {
            run.after(run.init, "execveat", "sendmsg")
                .map(|call| call.start)
        },
    },
    Milestone {
        until: "task: request, preparation",
        at: |run| {
            run.first_with(run.init, "clone3", "CLONE_NEWPID")
                .map(|call| call.start)
        },
    },
    Milestone {
        until: "task: namespaces, /proc, masks, scratch",
        at: |run| run.last(run.stub, "clone3").map(|call| call.start),
    },
    Milestone {
        until: "command: seal, filter, read-back",
        at: |run| run.first(run.command, "execve").map(|call| call.start),
    },
    Milestone {
        until: "command: exec, run",
        at: |run| run.first(run.command, "exit_group").map(|call| call.start),
    },
    Milestone {
        until: "end of the task reaches the command line",
        at: |run| {
            run.first(run.server, "pidfd_send_signal")
                .map(|call| call.start)
        },
    },
    Milestone {
        until: "destroy, end of the launcher, exit",
        at: |run| run.last(run.cli, "exit_group").map(|call| call.start),
    },
];

/// When each milestone was passed.
pub fn instants(trace: &Trace) -> Result<Vec<Duration>, BenchError> {
    let run = Run::recognise(trace)?;
    MILESTONES
        .iter()
        .map(|milestone| (milestone.at)(&run).ok_or(BenchError::Trace(milestone.until)))
        .collect()
}

impl<'a> Run<'a> {
    /// Tells the processes apart by what only one of them does. Numbers that
    /// clone3 returned do not help: each is of another pid namespace.
    fn recognise(trace: &'a Trace) -> Result<Self, BenchError> {
        let who = |name: &str, part: &str, what| {
            trace
                .first(name, part)
                .map(|call| call.process)
                .ok_or(BenchError::Trace(what))
        };
        let mut run = Self {
            trace,
            cli: who("execve", "", "command line")?,
            server: who("unshare", "CLONE_NEWNET", "launcher's server")?,
            intermediate: who("unshare", "CLONE_NEWUSER", "intermediate process")?,
            init: who("execveat", "lakekeep-init", "init")?,
            stub: 0,
            command: who("execve", "[\"/bin/true\"]", "command")?,
        };
        let cloned = run
            .first_with(run.init, "clone3", "CLONE_NEWPID")
            .ok_or(BenchError::Trace("task"))?;
        let forks = |call: &&Call| {
            call.name == "clone3" && call.start > cloned.start && call.process != run.init
        };
        let stub = trace.0.iter().find(forks);
        run.stub = stub
            .map(|call| call.process)
            .ok_or(BenchError::Trace("task's first process"))?;
        Ok(run)
    }

    fn first(&self, process: u32, name: &str) -> Option<&'a Call> {
        self.first_with(process, name, "")
    }

    fn first_with(&self, process: u32, name: &str, part: &str) -> Option<&'a Call> {
        self.trace
            .of(process)
            .find(|call| call.name == name && call.rest.contains(part))
    }

    fn last(&self, process: u32, name: &str) -> Option<&'a Call> {
        self.trace.of(process).rfind(|call| call.name == name)
    }

    fn network(&self) -> Option<&'a Call> {
        self.first_with(self.server, "unshare", "CLONE_NEWNET")
    }

    fn before_network(&self, name: &str) -> Option<&'a Call> {
        let until = self.network()?.start;
        self.trace
            .of(self.server)
            .rfind(|call| call.name == name && call.end <= until)
    }

    fn after_network(&self, name: &str) -> Option<&'a Call> {
        let from = self.network()?.end;
        self.trace
            .of(self.server)
            .find(|call| call.name == name && call.start >= from)
    }

    /// The first `name` of `process` after its first `earlier`.
    fn after(&self, process: u32, earlier: &str, name: &str) -> Option<&'a Call> {
        let from = self.first(process, earlier)?.end;
        self.trace
            .of(process)
            .find(|call| call.name == name && call.start >= from)
    }
}
