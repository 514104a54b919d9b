//! What a peer isolates, looked at from the host while a guest of it runs: what
//! a runtime was asked for and what it did are two things.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::error::BenchError;
use crate::ground::{Ground, Guest};
use crate::measure;
use crate::peers::{Called, Peer};

const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// Controller, its limit's file in version 1 and in version 2.
const LIMITS: [(&str, &str, &str); 3] = [
    ("memory", "memory.limit_in_bytes", "memory.max"),
    ("pids", "pids.max", "pids.max"),
    ("cpu", "cpu.cfs_quota_us", "cpu.max"),
];

/// Version 1 says "no limit" by a number near the largest there is.
const UNLIMITED: u64 = 1 << 60;

/// The layers that hold for a guest of `peer`, as one line.
pub fn of(peer: &Peer, ground: &Ground, serial: u32) -> Result<String, BenchError> {
    if let Some(called) = peer.called() {
        return of_call(called, ground);
    }
    let mut command = peer.command(ground, Guest::Hold, serial);
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(ground.words()?);
    let mut child = command.spawn().map_err(|error| BenchError::Start {
        program: program.clone(),
        error,
    })?;
    let ready = child.stdout.take().is_some_and(says_something);
    let found = ready
        .then(|| look(peer, ground.name(Guest::Hold), serial))
        .flatten();
    // The end of its input ends the guest.
    drop(child.stdin.take());
    measure::succeed(measure::end(&mut child), program.clone(), ground)?;
    let layers = found.ok_or(BenchError::NoGuest { program })?;
    let outcome = peer.receipt_command(ground).and_then(told);
    Ok(line(layers, &outcome.unwrap_or_default()))
}

/// What was found, and what only the receipt in `outcome` tells, where there is one.
fn line(mut layers: Vec<String>, outcome: &Value) -> String {
    if has_landlock(outcome) {
        layers.push("landlock".to_owned());
    }
    match layers.is_empty() {
        true => "nothing".to_owned(),
        false => layers.join(" "),
    }
}

/// The same where somebody is asked for a guest.
pub fn of_call(called: &Called, ground: &Ground) -> Result<String, BenchError> {
    let name = ground.name(Guest::Hold);
    let (found, outcome) = called.look(ground, || find(name).as_deref().map(layers))?;
    let program = "a task".to_owned();
    let layers = found.ok_or(BenchError::NoGuest { program })?;
    Ok(line(layers, &outcome))
}

/// The layers of a process, as far as /proc shows them.
pub fn of_process(pid: u32) -> String {
    line(
        layers(&Path::new("/proc").join(pid.to_string())),
        &Value::Null,
    )
}

fn says_something(mut stdout: ChildStdout) -> bool {
    measure::readable(stdout.as_fd()).unwrap_or(false) && stdout.read_exact(&mut [0]).is_ok()
}

/// The layers of the guest, or of the process that runs it without the host's seeing it.
fn look(peer: &Peer, guest: &str, serial: u32) -> Option<Vec<String>> {
    if let Some(process) = find(guest) {
        return Some(layers(&process));
    }
    let words = peer.stands_in(serial)?;
    let mut layers = layers(&find_by_words(&words)?);
    layers.push("sentry".to_owned());
    Some(layers)
}

/// The process whose command line holds all of these words.
fn find_by_words(words: &[String]) -> Option<PathBuf> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.map(|entry| entry.path()).find(|path| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        let has = |word: &String| {
            line.split(|byte| *byte == 0)
                .any(|arg| arg == word.as_bytes())
        };
        words.iter().all(has)
    })
}

/// The process of this name.
fn find(name: &str) -> Option<PathBuf> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.map(|entry| entry.path()).find(|path| {
        fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    })
}

fn layers(process: &Path) -> Vec<String> {
    let own = Path::new("/proc/self");
    let mut layers = Vec::new();
    let (new, shared): (Vec<&str>, Vec<&str>) = NAMESPACES
        .iter()
        .partition(|kind| namespace(process, kind) != namespace(own, kind));
    match (new.len(), shared.len()) {
        (0, _) => {}
        (_, 0) => layers.push("7ns".to_owned()),
        _ => layers.push(format!("ns({})", new.join(","))),
    }
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim_start_matches(':').trim().to_owned())
    };
    let is = |name: &str, value: &str| field(name).is_some_and(|found| found == value);
    if ["CapEff", "CapPrm", "CapBnd"]
        .iter()
        .all(|set| is(set, "0000000000000000"))
    {
        layers.push("caps".to_owned());
    }
    if is("NoNewPrivs", "1") {
        layers.push("nnp".to_owned());
    }
    if is("Seccomp", "2") {
        layers.push("seccomp".to_owned());
    }
    let limited: Vec<&str> = LIMITS
        .iter()
        .filter(|limit| is_limited(process, limit))
        .map(|limit| limit.0)
        .collect();
    if !limited.is_empty() {
        layers.push(format!("cgroup({})", limited.join(",")));
    }
    layers
}

fn namespace(process: &Path, kind: &str) -> Option<PathBuf> {
    fs::read_link(process.join("ns").join(kind)).ok()
}

/// Whether a group of the process, up to where this program's own is, has a
/// limit of this kind.
fn is_limited(process: &Path, (controller, v1, v2): &(&str, &str, &str)) -> bool {
    let (Some(theirs), Some(own)) = (
        group(process, controller),
        group(Path::new("/proc/self"), controller),
    ) else {
        return false;
    };
    let (mount, file) = match theirs.0 {
        true => (Path::new("/sys/fs/cgroup").join(controller), v1),
        false => (PathBuf::from("/sys/fs/cgroup"), v2),
    };
    let groups = Path::new(&theirs.1)
        .ancestors()
        .take_while(|group| !Path::new(&own.1).starts_with(group));
    let mut values = groups.filter_map(|group| {
        let group = group.strip_prefix("/").ok()?;
        fs::read_to_string(mount.join(group).join(file)).ok()
    });
    values.any(|value| {
        let first = value.split_whitespace().next();
        first
            .and_then(|word| word.parse::<u64>().ok())
            .is_some_and(|limit| limit < UNLIMITED)
    })
}

/// Whether the controller is of version 1, and the process's group in it.
fn group(process: &Path, controller: &str) -> Option<(bool, String)> {
    let text = fs::read_to_string(process.join("cgroup")).ok()?;
    let parts = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1).map(str::to_owned);
        Some((parts.next()?, parts.next()?))
    };
    let lines: Vec<(String, String)> = text.lines().filter_map(parts).collect();
    let v1 = lines
        .iter()
        .find(|(names, _)| names.split(',').any(|name| name == controller));
    let v2 = || lines.iter().find(|(names, _)| names.is_empty());
    v1.map(|(_, path)| (true, path.clone()))
        .or_else(|| v2().map(|(_, path)| (false, path.clone())))
}

/// The outcome, receipt included, that lakekeep writes to its standard error.
fn told(mut command: Command) -> Option<Value> {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output();
    serde_json::from_slice(&output.ok()?.stderr).ok()
}

/// Landlock shows nowhere in /proc: lakekeep's receipt says it, read back.
fn has_landlock(outcome: &Value) -> bool {
    let layers = outcome["receipt"]["layers"].as_array();
    layers.is_some_and(|layers| {
        layers
            .iter()
            .any(|layer| layer["layer"] == "landlock" && layer["state"] == "enforced")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn landlock_is_said_when_the_receipt_says_it() {
        let outcome = |state: &str| {
            serde_json::json!({
                "receipt": { "layers": [
                    { "layer": "seccomp", "state": "enforced" },
                    { "layer": "landlock", "state": state },
                ] },
            })
        };
        let found = || vec!["7ns".to_owned()];
        assert_eq!(line(found(), &outcome("enforced")), "7ns landlock");
        assert_eq!(line(found(), &outcome("unenforced")), "7ns");
        assert_eq!(line(Vec::new(), &Value::Null), "nothing");
    }
}
