//! The schema as a table: what the reader suggests from, and what the reference
//! documentation is tested against.

/// One field of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// The table that holds it; empty at the top, `mounts` for each mount.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What to write.
    pub expects: &'static str,
}

const fn field(table: &'static str, name: &'static str, expects: &'static str) -> FieldInfo {
    FieldInfo {
        table,
        name,
        expects,
    }
}

const SIZE: &str = "write a size such as \"512MiB\", or a whole number of bytes";
const TIME: &str =
    "write a span of time such as \"90s\" or \"1h30m\", or a whole number of seconds";
const COUNT: &str = "write a whole number above zero";
const TABLE: &str = "write a table of its fields";

/// Every field, in the order of the documentation.
pub const SCHEMA: &[FieldInfo] = &[
    field("", "version", "write version = 1"),
    field("", "preset", "write \"udf\", \"notebook\" or \"general\""),
    field(
        "",
        "image",
        "write \"host\" or the absolute path of a folder",
    ),
    field("", "workdir", "write an absolute path inside the sandbox"),
    field("", "limits", TABLE),
    field("", "mounts", "write one [[mounts]] table for each mount"),
    field("", "env", "write a table of names and text values"),
    field("", "network", TABLE),
    field("", "egress", TABLE),
    field("", "seccomp", TABLE),
    field("", "proc", TABLE),
    field("", "landlock", TABLE),
    field("", "floor", TABLE),
    field("limits", "memory", SIZE),
    field("limits", "swap", SIZE),
    field("limits", "cpus", "write a number of CPUs such as 1.5"),
    field("limits", "pids", COUNT),
    field("limits", "wall_time", TIME),
    field("limits", "cpu_time", TIME),
    field("limits", "open_files", COUNT),
    field("limits", "file_size", SIZE),
    field("limits", "scratch_size", SIZE),
    field("limits", "scratch_inodes", COUNT),
    field("limits", "output", SIZE),
    field("mounts", "source", "write an absolute path on the host"),
    field(
        "mounts",
        "target",
        "write an absolute path inside the sandbox",
    ),
    field("mounts", "mode", "write \"ro\" or \"rw\""),
    field("network", "mode", "write \"none\""),
    field(
        "egress",
        "mode",
        "write \"enforce\", \"dry-run\" or \"off\"",
    ),
    field(
        "egress",
        "rules",
        "write a list of rules such as \"allow tls pypi.example:443\"",
    ),
    field("egress", "limits", TABLE),
    field(
        "seccomp",
        "profile",
        "write \"udf\", \"notebook\" or \"general\"",
    ),
    field("proc", "view", "write \"pids\" or \"full\""),
    field("landlock", "enabled", "write true or false"),
    field("floor", "require", "write a list of names of layers"),
];

/// The field `name` of `table`.
pub(super) fn find(table: &str, name: &str) -> Option<&'static FieldInfo> {
    SCHEMA
        .iter()
        .find(|info| info.table == table && info.name == name)
}

/// The names of the fields of `table`.
pub(super) fn names(table: &str) -> Vec<&'static str> {
    SCHEMA
        .iter()
        .filter(|info| info.table == table)
        .map(|info| info.name)
        .collect()
}
