//! The steps that make a sandbox's root file system.

use std::collections::BTreeSet;
use std::path::Path;

use lakekeep_policy::{MountMode, MountRule, Policy, Preset};
use lakekeep_protocol::launch::RootfsStep;

use crate::error::PlanError;
use crate::image::{FolderImage, HostImage, ImageFacts, MountFacts, Replica};

/// Home of the user inside.
pub const HOME: &str = "/home/user";

/// Files of /proc that are replaced by generated ones, which speak of the
/// sandbox's limits and not of the machine.
pub const GENERATED_PROC: [&str; 5] = ["loadavg", "meminfo", "stat", "swaps", "uptime"];

/// Where /sys is asked how many processors there are.
const CPU_FILES: [&str; 3] = ["online", "possible", "present"];

/// What the steps are made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    pub policy: &'a Policy,
    pub image: &'a ImageFacts,
    pub mounts: &'a [MountFacts],
    /// User and group inside that own what is mounted, where owners can be
    /// mapped.
    pub owner: Option<(u32, u32)>,
    pub user: u32,
    pub hostname: &'a str,
    pub processors: u32,
}

/// All steps, in this order:
///
/// 1. the skeleton: directories that something is mounted on, generated files;
/// 2. the image, below the skeleton, which thereby wins;
/// 3. the mounts of the policy, on top.
pub fn steps(parts: &Parts<'_>) -> Result<Vec<RootfsStep>, PlanError> {
    let mut steps = skeleton(parts);
    match parts.image {
        ImageFacts::Host(image) => steps.extend(host(image)),
        ImageFacts::Folder(image) => steps.push(folder(image)?),
    }
    check_nesting(parts)?;
    for (index, rule) in parts.policy.mounts().iter().enumerate() {
        check_target(parts.image, rule.target().as_str())?;
        steps.push(RootfsStep::Bind {
            source: rule.source().display().to_string(),
            target: rule.target().as_str().to_owned(),
            read_only: rule.mode() == MountMode::ReadOnly,
            // A function may bring libraries; it may not run what it wrote.
            executable: rule.mode() == MountMode::ReadOnly || parts.policy.preset() != Preset::Udf,
            owner: parts.owner,
            disk: parts.mounts.get(index).and_then(|facts| facts.identity),
        });
    }
    Ok(steps)
}

/// Nothing can be mounted below a file.
fn check_nesting(parts: &Parts<'_>) -> Result<(), PlanError> {
    let rules = parts.policy.mounts();
    let files = rules
        .iter()
        .zip(parts.mounts)
        .filter(|(_, facts)| !facts.directory);
    for (file, _) in files {
        let below = |rule: &&MountRule| {
            rule.target() != file.target() && rule.target().starts_with(file.target())
        };
        if let Some(rule) = rules.iter().find(below) {
            return Err(PlanError::TargetBlocked {
                target: rule.target().as_str().to_owned(),
                path: file.target().as_str().to_owned(),
                found: "a mounted file",
            });
        }
    }
    Ok(())
}

fn directory(path: impl Into<String>) -> RootfsStep {
    RootfsStep::Directory {
        path: path.into(),
        mode: 0o755,
    }
}

fn file(path: impl Into<String>, contents: impl Into<Vec<u8>>) -> RootfsStep {
    RootfsStep::File {
        path: path.into(),
        contents: contents.into(),
        mode: 0o444,
    }
}

/// Mount points and generated files. Parents come before their children.
fn skeleton(parts: &Parts<'_>) -> Vec<RootfsStep> {
    let mut directories: BTreeSet<String> = BTreeSet::new();
    let fixed = [
        "/dev",
        "/proc",
        "/tmp",
        "/var/tmp",
        "/etc",
        HOME,
        "/run/lakekeep/scratch",
    ];
    for path in fixed {
        with_parents(path, &mut directories);
    }
    with_parents("/run/secrets", &mut directories);
    with_parents("/run/lakekeep/empty", &mut directories);
    with_parents("/run/lakekeep/proc", &mut directories);
    with_parents("/sys/devices/system/cpu", &mut directories);
    with_parents(parts.policy.workdir().as_str(), &mut directories);
    let mut files = Vec::new();
    if let ImageFacts::Host(image) = parts.image {
        for name in image.directories.iter().chain(&image.etc_directories) {
            with_parents(name, &mut directories);
        }
        for name in &image.etc_files {
            parent(name, &mut directories);
            files.push(file(name.as_str(), Vec::new()));
        }
        for prefix in &image.prefixes {
            with_parents(prefix, &mut directories);
        }
        for replica in &image.replicas {
            place(
                &replica.target,
                replica.directory,
                &mut directories,
                &mut files,
            );
        }
    }
    for (rule, facts) in parts.policy.mounts().iter().zip(parts.mounts) {
        let target = rule.target().as_str();
        place(target, facts.directory, &mut directories, &mut files);
    }
    let mut steps: Vec<RootfsStep> = directories.into_iter().map(directory).collect();
    steps.extend(generated(parts));
    steps.extend(files);
    steps
}

/// A place to mount a directory or a file on.
fn place(
    target: &str,
    directory: bool,
    directories: &mut BTreeSet<String>,
    files: &mut Vec<RootfsStep>,
) {
    if directory {
        with_parents(target, directories);
    } else {
        parent(target, directories);
        files.push(file(target, Vec::new()));
    }
}

fn with_parents(path: &str, into: &mut BTreeSet<String>) {
    parent(path, into);
    if path != "/" {
        into.insert(path.to_owned());
    }
}

fn parent(path: &str, into: &mut BTreeSet<String>) {
    let above = Path::new(path).ancestors().skip(1);
    let named = above
        .filter_map(Path::to_str)
        .filter(|path| *path != "/" && !path.is_empty());
    into.extend(named.map(str::to_owned));
}

/// The files that hold the sandbox's name.
pub fn names(hostname: &str) -> [RootfsStep; 2] {
    [
        file("/etc/hostname", format!("{hostname}\n")),
        file(
            "/etc/hosts",
            format!("127.0.0.1 localhost {hostname}\n::1 localhost {hostname}\n"),
        ),
    ]
}

/// Every address is answered, so any of them would do; this one is of a range that is
/// nobody's (RFC 2544).
fn resolver(policy: &Policy) -> &'static str {
    match policy.egress() {
        Some(_) => "nameserver 198.18.0.1\n",
        None => "# no network\n",
    }
}

fn generated(parts: &Parts<'_>) -> Vec<RootfsStep> {
    let user = parts.user;
    let mut passwd = format!("user:x:{user}:{user}:user:{HOME}:/bin/sh\n");
    let mut group = format!("user:x:{user}:\n");
    if user != 0 {
        passwd.insert_str(0, "root:x:0:0:root:/:/usr/sbin/nologin\n");
        group.insert_str(0, "root:x:0:\n");
    }
    passwd.push_str("nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n");
    group.push_str("nogroup:x:65534:\n");
    let [hostname, hosts] = names(parts.hostname);
    let mut steps = vec![
        file("/etc/passwd", passwd),
        file("/etc/group", group),
        hostname,
        hosts,
        file("/etc/resolv.conf", resolver(parts.policy)),
        file(
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
        ),
    ];
    let cpus = match parts.processors {
        1 => "0\n".to_owned(),
        count => format!("0-{}\n", count - 1),
    };
    let cpu_file = |name| file(format!("/sys/devices/system/cpu/{name}"), cpus.clone());
    steps.extend(CPU_FILES.map(cpu_file));
    steps.extend(
        GENERATED_PROC
            .map(|name| file(format!("/run/lakekeep/proc/{name}"), proc_file(name, parts))),
    );
    steps
}

/// Static answers with the sandbox's own limits in the formats of proc(5).
fn proc_file(name: &str, parts: &Parts<'_>) -> String {
    let memory = parts.policy.limits().memory().get() / 1024;
    match name {
        "loadavg" => "0.00 0.00 0.00 1/1 1\n".to_owned(),
        "meminfo" => format!(
            "MemTotal: {memory:>14} kB\nMemFree: {memory:>15} kB\nMemAvailable: {memory:>10} kB\n\
             Buffers: {zero:>15} kB\nCached: {zero:>16} kB\nSwapCached: {zero:>12} kB\n\
             Active: {zero:>16} kB\nInactive: {zero:>14} kB\nSwapTotal: {zero:>13} kB\n\
             SwapFree: {zero:>14} kB\nShmem: {zero:>17} kB\nSlab: {zero:>18} kB\n\
             SReclaimable: {zero:>10} kB\n",
            zero = 0
        ),
        "stat" => cpu_times(parts.processors),
        "swaps" => "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".to_owned(),
        _ => "1.00 1.00\n".to_owned(),
    }
}

fn cpu_times(processors: u32) -> String {
    let zeros = "0 0 0 0 0 0 0 0 0 0\n";
    let mut text = format!("cpu  {zeros}");
    for cpu in 0..processors {
        text.push_str(&format!("cpu{cpu} {zeros}"));
    }
    text.push_str("intr 0\nctxt 0\nbtime 0\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n");
    text
}

/// A file or folder of the host that is shown read-only, as nobody's.
pub fn shown(source: &str, target: &str, executable: bool) -> RootfsStep {
    RootfsStep::Bind {
        source: source.to_owned(),
        target: target.to_owned(),
        read_only: true,
        executable,
        owner: None,
        disk: None,
    }
}

/// Places for `replicas` in a root of these steps that was made without them, parents first.
/// What is within another mount has its place there, or has none.
pub fn places(root: &[RootfsStep], replicas: &[Replica]) -> Vec<RootfsStep> {
    let within_a_mount = |target: &str| {
        root.iter().any(|step| match step {
            RootfsStep::Bind { target: mount, .. } => Path::new(target).starts_with(mount),
            _ => false,
        })
    };
    let mut directories = BTreeSet::new();
    let mut files = Vec::new();
    for part in replicas {
        if !within_a_mount(&part.target) {
            place(&part.target, part.directory, &mut directories, &mut files);
        }
    }
    directories
        .into_iter()
        .map(directory)
        .chain(files)
        .collect()
}

fn host(image: &HostImage) -> Vec<RootfsStep> {
    let bind = |path: &String, executable| shown(path, path, executable);
    let mut steps: Vec<RootfsStep> = Vec::new();
    for (path, target) in &image.links {
        steps.push(RootfsStep::Symlink {
            path: path.clone(),
            target: target.clone(),
        });
    }
    steps.extend(image.directories.iter().map(|path| bind(path, true)));
    let etc = image.etc_files.iter().chain(&image.etc_directories);
    steps.extend(etc.map(|path| bind(path, false)));
    steps.extend(image.prefixes.iter().map(|path| bind(path, true)));
    // Last: a part of the host's /usr may be replaced by the client's.
    let replicas = image.replicas.iter();
    steps.extend(replicas.map(|part| shown(&part.source, &part.target, true)));
    steps
}

fn folder(image: &FolderImage) -> Result<RootfsStep, PlanError> {
    let folder = image.folder.display().to_string();
    match image.not_directories.first() {
        Some((path, found)) => Err(PlanError::UnsafeImage {
            image: folder,
            path: path.clone(),
            found,
        }),
        None => Ok(RootfsStep::Image { folder }),
    }
}

/// A target below a link of the image would be placed elsewhere.
fn check_target(image: &ImageFacts, target: &str) -> Result<(), PlanError> {
    let ImageFacts::Host(image) = image else {
        return Ok(());
    };
    let blocked = |link: &str| target == link || target.starts_with(&format!("{link}/"));
    match image.links.iter().find(|(path, _)| blocked(path)) {
        Some((path, _)) => Err(PlanError::TargetBlocked {
            target: target.to_owned(),
            path: path.clone(),
            found: "a symbolic link",
        }),
        None => Ok(()),
    }
}
