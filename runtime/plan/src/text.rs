//! A plan for people and for golden tests. Values of variables never show.

use std::fmt::Write;

use lakekeep_protocol::launch::{IdSource, RootfsStep};
use serde_json::{Value, json};

use crate::layers::Enforcement;
use crate::planner::Plan;

impl Plan {
    /// The plan as JSON, without the filter's bytes and without values of
    /// variables.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut sandbox = json!(self.sandbox);
        for step in sandbox["rootfs"].as_array_mut().into_iter().flatten() {
            show_contents(step);
        }
        let mut task = json!(self.task);
        task["filter"] =
            json!({ "digest": self.filter_digest, "instructions": self.task.filter.len() / 8 });
        task["arguments"] = json!(self.arguments());
        task["environment"] = json!(self.variable_names());
        task["explain"] = json!(self.task.explain.is_some());
        json!({
            "sandbox": sandbox,
            "task": task,
            "wall_time_ms": self.wall_time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            "output_bytes": self.output,
            "egress": self.egress,
            "layers": self.layers,
            "warnings": self.warnings,
            "policy_digest": self.policy_digest,
        })
    }

    /// The plan as numbered steps, in the order in which they are taken.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut steps = vec![
            self.ids_text(),
            "new network namespace, loopback up".to_owned(),
        ];
        steps.extend(self.egress_text());
        steps.extend(self.sandbox.rootfs.iter().map(rootfs_text));
        steps.push(self.group_text());
        steps.push(
            "libcontainer: user, pid, mount, ipc, uts, cgroup namespaces; /proc, /dev; pivot"
                .to_owned(),
        );
        steps.push("seal the init, read it back, exec it from a sealed memfd".to_owned());
        steps.extend(self.task_text());
        let mut text = String::new();
        for (number, step) in (1..).zip(&steps) {
            line(&mut text, format_args!("{number:>3}. {step}"));
        }
        line(&mut text, format_args!("layers:"));
        for layer in &self.layers {
            match &layer.enforcement {
                Enforcement::Enforced => line(&mut text, format_args!("  + {}", layer.layer)),
                Enforcement::Unenforced { reason } => {
                    line(&mut text, format_args!("  - {}: {reason}", layer.layer));
                }
            }
        }
        for warning in &self.warnings {
            line(&mut text, format_args!("warning: {warning}"));
        }
        text
    }

    fn ids_text(&self) -> String {
        match self.sandbox.ids {
            IdSource::Lease { count } => {
                format!("lease {count} host ids that no other sandbox has")
            }
            IdSource::Own { count } => format!("map {count} of the caller's own ids"),
        }
    }

    fn egress_text(&self) -> Option<String> {
        self.egress.as_ref().map(|egress| {
            format!(
                "every address local, its TCP and DNS to a relay of {} rules: {}",
                egress.rules.len(),
                egress.rules.join("; ")
            )
        })
    }

    fn group_text(&self) -> String {
        let Some(limits) = &self.sandbox.limits else {
            return "no cgroup".to_owned();
        };
        format!(
            "cgroup: memory {:?}, swap {:?}, cpu {:?}/{} us, pids {:?}",
            limits.memory, limits.swap, limits.cpu_quota_us, limits.cpu_period_us, limits.pids
        )
    }

    fn task_text(&self) -> Vec<String> {
        let task = &self.task;
        let view = match task.proc.only_processes {
            true => "processes only".to_owned(),
            false => format!(
                "all empty but processes, {:?}, read-only {:?}, generated {:?}",
                task.proc.shown,
                task.proc.read_only,
                task.proc
                    .replaced
                    .iter()
                    .map(|(name, _)| name)
                    .collect::<Vec<_>>()
            ),
        };
        let mut steps = vec![
            "task: new pid, mount, ipc, uts, cgroup namespaces".to_owned(),
            format!("task: own /proc, {view}"),
            format!(
                "task: scratch of {} bytes, {} inodes at {}",
                task.scratch.size,
                task.scratch.inodes,
                places(&task.scratch.directories)
            ),
            format!(
                "task: limits {:?}, {} processors, oom score {}",
                task.limits, task.processors, task.oom_score_adj
            ),
            format!(
                "task: empty keyring, no capabilities, user {} group {}, no new privileges",
                task.user, task.group
            ),
        ];
        if task.refuse_executable_gain {
            steps.push("task: no memory becomes executable".to_owned());
        }
        if let Some(rules) = &task.landlock {
            steps.push(format!(
                "task: landlock ABI {}: read {:?}, write {:?} and scratch, devices {:?}",
                rules.abi, rules.read, rules.write, rules.devices
            ));
        }
        steps.push(format!(
            "task: seccomp filter {} ({} instructions)",
            self.filter_digest,
            task.filter.len() / 8
        ));
        steps.push("task: read back, then go".to_owned());
        steps.push(format!(
            "task: exec {:?} in {}, variables {:?}",
            self.arguments(),
            task.working_directory,
            self.variable_names()
        ));
        steps
    }

    fn arguments(&self) -> Vec<String> {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        self.task.arguments.iter().map(text).collect()
    }

    fn variable_names(&self) -> Vec<String> {
        let name = |entry: &Vec<u8>| {
            let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        };
        self.task.environment.iter().map(name).collect()
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail; the Result is the trait's.
    if writeln!(text, "{content}").is_err() {
        text.push('\n');
    }
}

fn show_contents(step: &mut Value) {
    if let Some(contents) = step.pointer_mut("/File/contents") {
        let bytes: Vec<u8> = serde_json::from_value(contents.take()).unwrap_or_default();
        *contents = json!(String::from_utf8_lossy(&bytes));
    }
}

fn rootfs_text(step: &RootfsStep) -> String {
    match step {
        RootfsStep::Directory { path, mode } => format!("root: directory {path} {mode:o}"),
        RootfsStep::Symlink { path, target } => format!("root: link {path} -> {target}"),
        RootfsStep::File {
            path,
            contents,
            mode,
        } => {
            format!("root: file {path} {mode:o}, {} bytes", contents.len())
        }
        RootfsStep::Image { folder } => format!("root: image {folder} below, read-only"),
        RootfsStep::Bind {
            source,
            target,
            read_only,
            executable,
            owner,
            disk,
        } => {
            let access = if *read_only { "read-only" } else { "WRITABLE" };
            let exec = if *executable { "" } else { ", noexec" };
            let owner = owner.map_or(String::new(), |(user, group)| {
                let whose = disk.map_or("owner".to_owned(), |(user, group)| {
                    format!("files of {user}:{group}")
                });
                format!(", {whose} shown as {user}:{group}")
            });
            format!("root: bind {source} at {target}, {access}, nosuid, nodev{exec}{owner}")
        }
    }
}

fn places(directories: &[(String, u32)]) -> String {
    let paths: Vec<&str> = directories.iter().map(|(path, _)| path.as_str()).collect();
    paths.join(" ")
}
