//! What is told of environments.

use std::time::SystemTime;

use lakekeep_environment::{Manifest, Node};
use lakekeep_tree::{Environment, Made};
use serde_json::{Value, json};

use super::build;
use super::take::Taken;
use crate::args::environment::InspectArgs;

/// What was collected.
pub fn collected(removed: Vec<String>, in_use: Vec<String>, bytes: u64) -> String {
    let gone: String = removed.iter().map(|digest| format!("{digest}\n")).collect();
    let stays = in_use
        .iter()
        .map(|digest| format!("{digest} is in use, and stays\n"));
    let stays: String = stays.collect();
    format!(
        "{gone}{stays}{} removed, {bytes} bytes are left\n",
        removed.len()
    )
}

/// Files and their bytes together.
pub fn amount(manifest: &Manifest) -> (usize, u64) {
    manifest.contents().fold((0, 0), |(files, bytes), file| {
        (files + 1, bytes + file.size)
    })
}

pub fn captured(taken: &Taken, made: &Made) -> String {
    let manifest = made.environment.manifest();
    let (files, bytes) = amount(manifest);
    let told = json!({
        "digest": manifest.digest().to_string(),
        "files": files,
        "bytes": bytes,
        "known_by_stat": taken.known,
        "seconds": taken.elapsed.as_secs_f64(),
        "written": made.written,
        "linked": made.linked,
        "notes": taken.captured.notes,
    });
    format!("{told:#}\n")
}

/// What was built, and of what.
pub fn built(outcome: &build::Outcome) -> String {
    let manifest = outcome.made.environment.manifest();
    let (files, bytes) = amount(manifest);
    let packages = outcome.lock.packages().iter();
    let packages: Vec<Value> = packages
        .map(|one| json!({ "name": one.name, "version": one.version, "marker": one.marker }))
        .collect();
    let told = json!({
        "digest": manifest.digest().to_string(),
        "packages": packages,
        "resolved": outcome.resolved,
        "lock": outcome.written.as_ref().map(|path| path.display().to_string()),
        "files": files,
        "bytes": bytes,
        "written": outcome.made.written,
        "linked": outcome.made.linked,
        "seconds": outcome.elapsed.as_secs_f64(),
        "notes": outcome.notes,
    });
    format!("{told:#}\n")
}

pub fn list(rows: &[(Environment, SystemTime)], json: bool) -> String {
    if json {
        let rows: Vec<Value> = rows.iter().map(|(one, used)| row(one, *used)).collect();
        return format!("{:#}\n", Value::from(rows));
    }
    let line = |(environment, used): &(Environment, SystemTime)| {
        let manifest = environment.manifest();
        let (files, bytes) = amount(manifest);
        let used = humantime::format_rfc3339_seconds(*used);
        let python = manifest.interpreter();
        let digest = manifest.digest();
        format!(
            "{digest}  {used}  {files:>6} files {:>6} MiB  Python {} {}\n",
            bytes >> 20,
            python.version,
            python.prefix
        )
    };
    rows.iter().map(line).collect()
}

fn row(environment: &Environment, used: SystemTime) -> Value {
    let manifest = environment.manifest();
    let (files, bytes) = amount(manifest);
    json!({
        "digest": manifest.digest().to_string(),
        "used": humantime::format_rfc3339_seconds(used).to_string(),
        "files": files,
        "bytes": bytes,
        "python": manifest.interpreter().version,
        "prefix": manifest.interpreter().prefix.as_str(),
    })
}

pub fn inspect(environment: &Environment, arguments: &InspectArgs) -> String {
    let manifest = environment.manifest();
    if arguments.manifest {
        return manifest.to_text();
    }
    if arguments.json {
        return format!("{:#}\n", whole(manifest));
    }
    let python = manifest.interpreter();
    let (files, bytes) = amount(manifest);
    let mut out = format!(
        "environment   {}\npython        {} {} ({}, {}, {})\nfiles         {files}, {bytes} bytes\n",
        manifest.digest(),
        python.executable,
        python.version,
        python.soabi,
        python.libc,
        python.machine
    );
    for tree in manifest.trees() {
        let links = tree.entries.iter();
        let links = links
            .filter(|entry| matches!(entry.node, Node::Link(_)))
            .count();
        let entries = tree.entries.len();
        out.push_str(&format!(
            "tree          {} ({entries} entries, {links} links)\n",
            tree.root
        ));
    }
    for file in manifest.files() {
        out.push_str(&format!("file          {}\n", file.path));
    }
    for path in manifest.paths() {
        let how = if path.added { " (PYTHONPATH)" } else { "" };
        out.push_str(&format!("sys.path      {}{how}\n", path.path));
    }
    for one in manifest.distributions() {
        let how = if one.editable { " (editable)" } else { "" };
        out.push_str(&format!(
            "distribution  {} {}{how}\n",
            one.name, one.version
        ));
    }
    for library in manifest.libraries() {
        out.push_str(&format!(
            "library       {} ({})\n",
            library.soname, library.path
        ));
    }
    out
}

fn whole(manifest: &Manifest) -> Value {
    let python = manifest.interpreter();
    let (files, bytes) = amount(manifest);
    let trees: Vec<&str> = manifest
        .trees()
        .iter()
        .map(|tree| tree.root.as_str())
        .collect();
    let single: Vec<&str> = manifest
        .files()
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    let paths: Vec<Value> = manifest
        .paths()
        .iter()
        .map(|path| json!({ "path": path.path.as_str(), "added": path.added }))
        .collect();
    let distributions: Vec<Value> = manifest
        .distributions()
        .iter()
        .map(|one| json!({ "name": one.name, "version": one.version, "editable": one.editable }))
        .collect();
    let libraries: Vec<Value> = manifest
        .libraries()
        .iter()
        .map(|one| {
            json!({
                "soname": one.soname,
                "path": one.path.as_str(),
                "blake3": one.file.digest.to_string(),
            })
        })
        .collect();
    json!({
        "digest": manifest.digest().to_string(),
        "python": {
            "executable": python.executable.as_str(),
            "version": python.version,
            "soabi": python.soabi,
            "libc": python.libc,
            "machine": python.machine,
            "prefix": python.prefix.as_str(),
            "base_prefix": python.base_prefix.as_str(),
        },
        "files": files,
        "bytes": bytes,
        "trees": trees,
        "single_files": single,
        "sys_path": paths,
        "distributions": distributions,
        "libraries": libraries,
    })
}
