//! The text form and the digest of a policy.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use lakekeep_egress_rules::{EgressDoc, Mode};

use crate::canonical::Canonical;
use crate::policy::{ImageRef, Limits, MountRule, Policy};
use crate::show::toml_string;
use crate::units::format_duration;

/// Lines of the text form.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn put(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        if self.0.write_fmt(line).is_ok() {
            self.0.push('\n');
        }
    }
}

pub(crate) fn text(policy: &Policy) -> String {
    let mut lines = Lines::default();
    lines.put(format_args!("version = {}", crate::DOCUMENT_VERSION));
    lines.put(format_args!("preset = \"{}\"", policy.preset));
    lines.put(format_args!("image = {}", image(&policy.image)));
    let workdir = toml_string(policy.workdir.as_str());
    lines.put(format_args!("workdir = {workdir}"));
    limits(&mut lines, &policy.limits);
    for rule in &policy.mounts {
        mount(&mut lines, rule);
    }
    lines.put(format_args!("\n[env]"));
    for name in policy.env.keys() {
        lines.put(format_args!("# {} (value not shown)", toml_string(name)));
    }
    lines.put(format_args!("\n[network]\nmode = \"{}\"", policy.network));
    if let Some(egress) = &policy.egress {
        rules(&mut lines, &egress.document);
    }
    lines.put(format_args!(
        "\n[seccomp]\nprofile = \"{}\"",
        policy.seccomp
    ));
    lines.put(format_args!("\n[proc]\nview = \"{}\"", policy.proc_view));
    lines.put(format_args!("\n[landlock]\nenabled = {}", policy.landlock));
    let floor: Vec<String> = policy
        .floor
        .iter()
        .map(|layer| toml_string(layer.as_str()))
        .collect();
    lines.put(format_args!("\n[floor]\nrequire = [{}]", floor.join(", ")));
    lines.0
}

fn image(image: &ImageRef) -> String {
    match image {
        ImageRef::Host => "\"host\"".to_owned(),
        ImageRef::Folder(path) => toml_string(&path.to_string_lossy()),
    }
}

fn limits(lines: &mut Lines, limits: &Limits) {
    lines.put(format_args!("\n[limits]"));
    lines.put(format_args!("memory = \"{}\"", limits.memory));
    lines.put(format_args!("swap = \"{}\"", limits.swap));
    lines.put(format_args!("cpus = {}", limits.cpus));
    lines.put(format_args!("pids = {}", limits.pids));
    time(lines, "wall_time", limits.wall_time);
    time(lines, "cpu_time", limits.cpu_time);
    lines.put(format_args!("open_files = {}", limits.open_files));
    lines.put(format_args!("file_size = \"{}\"", limits.file_size));
    lines.put(format_args!("scratch_size = \"{}\"", limits.scratch_size));
    lines.put(format_args!("scratch_inodes = {}", limits.scratch_inodes));
    lines.put(format_args!("output = \"{}\"", limits.output));
}

fn time(lines: &mut Lines, name: &str, span: Option<Duration>) {
    match span {
        Some(span) => lines.put(format_args!("{name} = \"{}\"", format_duration(span))),
        None => lines.put(format_args!("# {name}: no limit")),
    }
}

fn rules(lines: &mut Lines, document: &EgressDoc) {
    let rules: Vec<String> = document
        .rules
        .iter()
        .map(|rule| toml_string(rule))
        .collect();
    let mode = match document.mode {
        Mode::Enforce => "enforce",
        Mode::DryRun => "dry-run",
        Mode::Off => "off",
    };
    lines.put(format_args!(
        "\n[egress]\nmode = \"{mode}\"\nrules = [{}]",
        rules.join(", ")
    ));
}

fn mount(lines: &mut Lines, rule: &MountRule) {
    lines.put(format_args!("\n[[mounts]]"));
    lines.put(format_args!(
        "source = {}",
        toml_string(&rule.source.to_string_lossy())
    ));
    let target = toml_string(rule.target.as_str());
    lines.put(format_args!("target = {target}"));
    lines.put(format_args!("mode = \"{}\"", rule.mode));
}

/// The order is part of the encoding; a new field goes to the end, under a new
/// domain.
pub(crate) fn digest(policy: &Policy) -> String {
    let mut encoder = Canonical::new("lakekeep policy v1");
    encoder.text(policy.preset.as_str());
    match &policy.image {
        ImageRef::Host => encoder.text("host").bytes(&[]),
        ImageRef::Folder(path) => encoder.text("folder").bytes(path.as_os_str().as_bytes()),
    };
    encoder.text(policy.workdir.as_str());
    digest_limits(&mut encoder, &policy.limits);
    encoder.number(policy.mounts.len() as u64);
    for mount in &policy.mounts {
        encoder
            .bytes(mount.source.as_os_str().as_bytes())
            .text(mount.target.as_str())
            .text(mount.mode.as_str());
    }
    encoder.number(policy.env.len() as u64);
    for (name, value) in &policy.env {
        encoder.text(name).text(value);
    }
    encoder
        .text(policy.network.as_str())
        .text(policy.seccomp.as_str())
        .text(policy.proc_view.as_str())
        .number(u64::from(policy.landlock))
        .number(policy.floor.len() as u64);
    for layer in &policy.floor {
        encoder.text(layer.as_str());
    }
    // After all that every policy has, so that those without keep their digests.
    if let Some(egress) = &policy.egress {
        encoder.text("egress").text(egress.digest());
    }
    encoder.finish()
}

fn digest_limits(encoder: &mut Canonical, limits: &Limits) {
    // A checked span is at most u64::MAX milliseconds.
    let millis = |span: Option<Duration>| span.map(|span| span.as_millis() as u64);
    encoder
        .number(limits.memory.get())
        .number(limits.swap.get())
        .number(u64::from(limits.cpus.millis()))
        .number(u64::from(limits.pids))
        .maybe_number(millis(limits.wall_time))
        .maybe_number(millis(limits.cpu_time))
        .number(limits.open_files)
        .number(limits.file_size.get())
        .number(limits.scratch_size.get())
        .number(limits.scratch_inodes)
        .number(limits.output.get());
}
