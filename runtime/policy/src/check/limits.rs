//! Rules for limits. Whether the host can give as much is not decided here.

use std::time::Duration;

use crate::document::LimitsDoc;
use crate::policy::Limits;
use crate::preset::Preset;
use crate::units::{Bytes, Cpus, format_duration};
use crate::violation::Findings;

/// Less memory than this holds no process; most often the unit was forgotten.
const LEAST_MEMORY: Bytes = Bytes::mib(1);

/// The kernel's smallest CPU quota is 1 ms in each period of 100 ms.
const LEAST_CPUS: Cpus = Cpus::from_millis(10);

/// The kernel keeps sizes in signed 64-bit numbers.
const MOST_BYTES: u64 = i64::MAX as u64;

pub(super) fn check(doc: &LimitsDoc, preset: Preset, findings: &mut Findings<'_>) -> Limits {
    let limits = fill(doc, preset.limits());
    zero(&limits, findings);
    memory_too_small(&limits, findings);
    cpus_too_small(&limits, findings);
    too_large(&limits, findings);
    memory_and_swap(&limits, findings);
    scratch_in_memory(&limits, findings);
    wall_time(&limits, findings);
    cpu_time(&limits, findings);
    cpu_time_in_wall_time(&limits, findings);
    limits
}

fn fill(doc: &LimitsDoc, usual: Limits) -> Limits {
    let memory = doc.memory.unwrap_or(usual.memory);
    Limits {
        memory,
        swap: doc.swap.unwrap_or(usual.swap),
        cpus: doc.cpus.unwrap_or(usual.cpus),
        pids: doc.pids.unwrap_or(usual.pids),
        wall_time: doc.wall_time.or(usual.wall_time),
        cpu_time: doc.cpu_time.or(usual.cpu_time),
        open_files: doc.open_files.unwrap_or(usual.open_files),
        file_size: doc.file_size.unwrap_or(usual.file_size),
        // Scratch is memory: a small memory makes the usual scratch smaller,
        // instead of refusing a document that never spoke of it.
        scratch_size: doc.scratch_size.unwrap_or(usual.scratch_size.min(memory)),
        scratch_inodes: doc.scratch_inodes.unwrap_or(usual.scratch_inodes),
        output: doc.output.unwrap_or(usual.output),
    }
}

/// Zero means "no limit" to some interfaces of the kernel and "nothing at all"
/// to others; only swap has a use for it.
fn zero(limits: &Limits, findings: &mut Findings<'_>) {
    let amounts = [
        ("memory", limits.memory.get()),
        ("cpus", u64::from(limits.cpus.millis())),
        ("pids", u64::from(limits.pids)),
        ("wall_time", nanos(limits.wall_time)),
        ("cpu_time", nanos(limits.cpu_time)),
        ("open_files", limits.open_files),
        ("file_size", limits.file_size.get()),
        ("scratch_size", limits.scratch_size.get()),
        ("scratch_inodes", limits.scratch_inodes),
        ("output", limits.output.get()),
    ];
    for (name, _) in amounts.iter().filter(|(_, amount)| *amount == 0) {
        findings.add(
            &format!("limits.{name}"),
            "0",
            "a limit of zero leaves nothing to run with",
            "write more than zero, or leave the field out for the preset's value",
        );
    }
}

/// For comparing with zero: an absent limit is not zero.
fn nanos(span: Option<Duration>) -> u64 {
    span.map_or(1, |span| u64::from(!span.is_zero()))
}

fn memory_too_small(limits: &Limits, findings: &mut Findings<'_>) {
    if limits.memory.get() > 0 && limits.memory < LEAST_MEMORY {
        findings.add(
            "limits.memory",
            limits.memory.to_string(),
            format!("less than {LEAST_MEMORY} holds no process"),
            "add the unit, as in \"512MiB\"",
        );
    }
}

fn cpus_too_small(limits: &Limits, findings: &mut Findings<'_>) {
    if limits.cpus.millis() > 0 && limits.cpus < LEAST_CPUS {
        findings.add(
            "limits.cpus",
            limits.cpus.to_string(),
            format!("the kernel gives no less than {LEAST_CPUS}"),
            format!("write {LEAST_CPUS} or more"),
        );
    }
}

fn too_large(limits: &Limits, findings: &mut Findings<'_>) {
    let sizes = [
        ("memory", limits.memory.get()),
        ("swap", limits.swap.get()),
        ("open_files", limits.open_files),
        ("file_size", limits.file_size.get()),
        ("scratch_size", limits.scratch_size.get()),
        ("scratch_inodes", limits.scratch_inodes),
        ("output", limits.output.get()),
    ];
    for (name, amount) in sizes.iter().filter(|(_, amount)| *amount > MOST_BYTES) {
        findings.add(
            &format!("limits.{name}"),
            amount.to_string(),
            "more than the kernel can count",
            format!("write at most {MOST_BYTES}"),
        );
    }
}

/// cgroup v1 takes the sum of both.
fn memory_and_swap(limits: &Limits, findings: &mut Findings<'_>) {
    let (memory, swap) = (limits.memory.get(), limits.swap.get());
    let each_fits = memory <= MOST_BYTES && swap <= MOST_BYTES;
    if each_fits && memory.checked_add(swap).is_none_or(|sum| sum > MOST_BYTES) {
        findings.add(
            "limits.swap",
            limits.swap.to_string(),
            format!(
                "with limits.memory = {} it is more than the kernel can count",
                limits.memory
            ),
            "lower one of the two",
        );
    }
}

fn scratch_in_memory(limits: &Limits, findings: &mut Findings<'_>) {
    if limits.scratch_size > limits.memory {
        findings.add(
            "limits.scratch_size",
            limits.scratch_size.to_string(),
            format!(
                "scratch files are kept in memory, and limits.memory is {}",
                limits.memory
            ),
            "raise limits.memory, or lower limits.scratch_size to at most that",
        );
    }
}

fn wall_time(limits: &Limits, findings: &mut Findings<'_>) {
    let Some(span) = limits.wall_time else { return };
    if span.subsec_nanos() % 1_000_000 != 0 {
        findings.add(
            "limits.wall_time",
            format!("{span:?}"),
            "not a whole number of milliseconds",
            "write whole milliseconds",
        );
    }
    countable("limits.wall_time", span, findings);
}

/// The kernel's limit of CPU time (`RLIMIT_CPU`) is in seconds.
fn cpu_time(limits: &Limits, findings: &mut Findings<'_>) {
    let Some(span) = limits.cpu_time else { return };
    if span.subsec_nanos() != 0 {
        findings.add(
            "limits.cpu_time",
            format!("{span:?}"),
            "the kernel counts CPU time in whole seconds",
            "write whole seconds, such as \"30s\"",
        );
    }
    countable("limits.cpu_time", span, findings);
}

fn countable(field: &str, span: Duration, findings: &mut Findings<'_>) {
    if u64::try_from(span.as_millis()).is_err() {
        findings.add(
            field,
            format_duration(span),
            "more milliseconds than can be counted",
            "write a shorter time",
        );
    }
}

/// No process can use more CPU time than `wall_time` of every CPU it has.
fn cpu_time_in_wall_time(limits: &Limits, findings: &mut Findings<'_>) {
    let (Some(wall), Some(cpu)) = (limits.wall_time, limits.cpu_time) else {
        return;
    };
    let reported_already = wall.is_zero() || limits.cpus.millis() == 0;
    if !reported_already
        && cpu.as_millis() * 1000 > wall.as_millis() * u128::from(limits.cpus.millis())
    {
        findings.add(
            "limits.cpu_time",
            format_duration(cpu),
            format!(
                "cannot be reached within limits.wall_time = {} on limits.cpus = {}",
                format_duration(wall),
                limits.cpus
            ),
            "lower limits.cpu_time, or raise limits.wall_time",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accept, refuse, refuse_doc};
    use super::*;
    use crate::document::PolicyDoc;

    fn refuse_limits(body: &str) -> Vec<String> {
        refuse(&format!("[limits]\n{body}"))
    }

    #[test]
    fn every_limit_can_be_set() {
        let policy = accept(
            "[limits]\nmemory = \"512MiB\"\nswap = \"1MiB\"\ncpus = 1.5\npids = 64\n\
             wall_time = \"60s\"\ncpu_time = 30\nopen_files = 7\nfile_size = \"1GiB\"\n\
             scratch_size = \"64MiB\"\nscratch_inodes = 10\noutput = 17",
        );
        let limits = policy.limits();
        assert_eq!(limits.memory(), Bytes::mib(512));
        assert_eq!(limits.swap(), Bytes::mib(1));
        assert_eq!(limits.cpus(), Cpus::from_millis(1500));
        assert_eq!(limits.pids(), 64);
        assert_eq!(limits.wall_time(), Some(Duration::from_secs(60)));
        assert_eq!(limits.cpu_time(), Some(Duration::from_secs(30)));
        assert_eq!(limits.open_files(), 7);
        assert_eq!(limits.file_size(), Bytes::gib(1));
        assert_eq!(limits.scratch_size(), Bytes::mib(64));
        assert_eq!(limits.scratch_inodes(), 10);
        assert_eq!(limits.output(), Bytes(17));
    }

    #[test]
    fn zero_is_refused_but_for_swap() {
        for name in [
            "memory",
            "cpus",
            "pids",
            "wall_time",
            "cpu_time",
            "open_files",
            "file_size",
            "scratch_size",
            "scratch_inodes",
            "output",
        ] {
            // No memory leaves no scratch either, which the preset fills in.
            let scratch = if name == "memory" {
                "scratch_size = 0"
            } else {
                ""
            };
            let found = refuse_limits(&format!("{name} = 0\n{scratch}"));
            assert!(
                found[0].starts_with(&format!("limits.{name}: a limit of zero")),
                "{found:?}"
            );
        }
        accept("[limits]\nswap = 0");
    }

    #[test]
    fn memory_without_its_unit_is_refused() {
        let found = refuse_limits("memory = 512");
        assert_eq!(found, ["limits.memory: less than 1MiB holds no process"]);
        accept("[limits]\nmemory = \"1MiB\"");
    }

    #[test]
    fn less_cpu_than_the_kernel_gives_is_refused() {
        let found = refuse_limits("cpus = 0.009");
        assert_eq!(found, ["limits.cpus: the kernel gives no less than 0.01"]);
        accept("[limits]\ncpus = 0.01");
    }

    #[test]
    fn sizes_beyond_the_kernel_are_refused() {
        let found = refuse_limits("memory = \"9223372036854775808\"");
        assert_eq!(found, ["limits.memory: more than the kernel can count"]);
        accept("[limits]\nmemory = 9223372036854775807");
    }

    #[test]
    fn memory_and_swap_together_must_be_countable() {
        let found = refuse_limits("memory = 9223372036854775807\nswap = 1");
        assert!(
            found[0].starts_with("limits.swap: with limits.memory"),
            "{found:?}"
        );
    }

    #[test]
    fn scratch_beyond_memory_is_refused() {
        let found = refuse_limits("memory = \"64MiB\"\nscratch_size = \"65MiB\"");
        assert!(
            found[0].starts_with("limits.scratch_size: scratch files"),
            "{found:?}"
        );
        accept("[limits]\nmemory = \"64MiB\"\nscratch_size = \"64MiB\"");
    }

    #[test]
    fn a_small_memory_makes_the_usual_scratch_smaller() {
        let policy = accept("[limits]\nmemory = \"32MiB\"");
        assert_eq!(policy.limits().scratch_size(), Bytes::mib(32));
    }

    #[test]
    fn cpu_time_is_in_whole_seconds() {
        let found = refuse_limits("cpu_time = \"1500ms\"");
        assert_eq!(
            found,
            ["limits.cpu_time: the kernel counts CPU time in whole seconds"]
        );
    }

    #[test]
    fn cpu_time_that_cannot_be_reached_is_refused() {
        let found = refuse_limits("wall_time = 10\ncpu_time = 16\ncpus = 1.5");
        assert!(
            found[0].starts_with("limits.cpu_time: cannot be reached"),
            "{found:?}"
        );
        accept("[limits]\nwall_time = 10\ncpu_time = 15\ncpus = 1.5");
        accept("preset = \"notebook\"\n[limits]\ncpu_time = \"10d\"");
    }

    #[test]
    fn times_set_in_code_are_checked_too() {
        let mut doc = PolicyDoc::default();
        doc.limits.wall_time = Some(Duration::from_nanos(1));
        let found = refuse_doc(doc.clone());
        assert_eq!(
            found,
            ["limits.wall_time: not a whole number of milliseconds"]
        );
        doc.limits.wall_time = Some(Duration::from_secs(u64::MAX));
        let found = refuse_doc(doc);
        assert_eq!(
            found,
            ["limits.wall_time: more milliseconds than can be counted"]
        );
    }
}
