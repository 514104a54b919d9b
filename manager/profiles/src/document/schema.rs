//! The schema as a table: what the reader suggests from, and what the reference
//! documentation is tested against.

/// One field of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// The table that holds it; empty at the top.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What to write.
    pub expects: &'static str,
}

const SIZE: &str = "write a size such as \"512MiB\", or a whole number of bytes";
const TIME: &str =
    "write a span of time such as \"90s\" or \"1h30m\", or a whole number of seconds";
const COUNT: &str = "write a whole number above zero";
const CPUS: &str = "write a number of CPUs such as 1.5";
const TABLE: &str = "write a table of its fields";
const NAMES: &str = "write a list of names";
const FLAG: &str = "write true or false";
const PRESETS: &str = "write a list of \"udf\", \"notebook\" and \"general\"";
const IMAGES: &str = "write a list of \"host\", absolute folders, images' names in full, and patterns such as \"/srv/images/**\"";

/// Fields of one table, in the order of the documentation.
type Table = (&'static str, &'static [(&'static str, &'static str)]);

const TOP: Table = (
    "",
    &[
        ("version", "write version = 1"),
        (
            "name",
            "write a name of letters a-z, digits, \"-\", \"_\" and \".\"",
        ),
        ("title", "write one line of text"),
        ("owner", "write the name of a user"),
        ("project", "write the name of a project"),
        ("images", IMAGES),
        ("presets", PRESETS),
        ("contributors", TABLE),
        ("viewers", TABLE),
        ("quotas", TABLE),
        ("limits", "write [limits.default] and [limits.maximum]"),
        ("volume", "write one [[volume]] table for each volume"),
        ("env", "write a table of names and text values"),
        ("secret", "write one [[secret]] table for each secret"),
        ("egress", TABLE),
        ("floor", TABLE),
        ("admin", TABLE),
    ],
);

const PEOPLE: &[(&str, &str)] = &[("users", NAMES), ("groups", NAMES)];

const QUOTAS: &[(&str, &str)] = &[
    ("sandboxes", COUNT),
    ("tasks", COUNT),
    ("cpus", CPUS),
    ("memory", SIZE),
    ("disk", SIZE),
    ("queued", COUNT),
    ("kernels", COUNT),
    ("per_user", TABLE),
];

const LIMITS: &[(&str, &str)] = &[
    ("memory", SIZE),
    ("swap", SIZE),
    ("cpus", CPUS),
    ("pids", COUNT),
    ("wall_time", TIME),
    ("cpu_time", TIME),
    ("open_files", COUNT),
    ("file_size", SIZE),
    ("scratch_size", SIZE),
    ("scratch_inodes", COUNT),
    ("output", SIZE),
    ("idle_timeout", TIME),
    ("max_lifetime", TIME),
];

const VOLUME: &[(&str, &str)] = &[
    ("name", "write a short name"),
    ("source", "write an absolute folder on the host"),
    ("home", FLAG),
    ("target", "write an absolute path inside the sandbox"),
    ("mode", "write \"ro\" or \"rw\""),
    ("owner", "write \"user\" or \"project\""),
    ("quota", SIZE),
    ("optional", FLAG),
];

const SECRET: &[(&str, &str)] = &[
    ("name", "write the name that the secret is stored under"),
    ("as", "write \"file\" or \"variable\""),
    (
        "target",
        "write a path inside the sandbox, or a variable's name",
    ),
];

const EGRESS: &[(&str, &str)] = &[
    ("version", "leave it out"),
    ("mode", "write \"enforce\", \"dry-run\" or \"off\""),
    (
        "rules",
        "write a list of rules such as \"allow tls pypi.example:443\"",
    ),
    ("services", "write a list of names such as \"identity\""),
    ("limits", TABLE),
    ("total", TABLE),
    (
        "sockets",
        "write one [[egress.sockets]] table for each socket",
    ),
];

const EGRESS_LIMITS: &[(&str, &str)] = &[
    ("connections", COUNT),
    ("new_per_second", COUNT),
    ("bytes_per_second", COUNT),
    ("idle_seconds", COUNT),
    ("connect_seconds", COUNT),
    ("first_bytes_seconds", COUNT),
    ("names", COUNT),
    ("new_names_per_minute", COUNT),
];

const EGRESS_TOTAL: &[(&str, &str)] = &[
    ("connections", COUNT),
    ("new_per_second", COUNT),
    ("bytes_per_second", COUNT),
];

const EGRESS_SOCKET: &[(&str, &str)] = &[
    ("name", "write what the socket is called inside"),
    ("path", "write an absolute path on the host"),
];

const ADMIN: &[(&str, &str)] = &[
    ("expose_host_image", FLAG),
    ("allow_delegation", FLAG),
    ("delegates", NAMES),
    ("owner_reads_output", FLAG),
    ("owner_reads_files", FLAG),
    (
        "allow_weakening",
        "write a list of \"landlock\", \"seccomp\" and \"proc\"",
    ),
    ("max_lifetime", TIME),
    ("max_idle", TIME),
    ("require", "write a list of sections: \"egress\""),
];

const PROFILE_TABLES: &[Table] = &[
    TOP,
    ("contributors", PEOPLE),
    ("viewers", PEOPLE),
    ("quotas", QUOTAS),
    ("quotas.per_user", QUOTAS.split_at(QUOTAS.len() - 1).0),
    ("limits", &[("default", TABLE), ("maximum", TABLE)]),
    ("limits.default", LIMITS),
    ("limits.maximum", LIMITS),
    ("volume", VOLUME),
    ("secret", SECRET),
    ("egress", EGRESS),
    ("egress.limits", EGRESS_LIMITS),
    ("egress.total", EGRESS_TOTAL),
    ("egress.sockets", EGRESS_SOCKET),
    ("floor", &[("require", "write a list of names of layers")]),
    ("admin", ADMIN),
];

const CEILINGS_TABLES: &[Table] = &[
    (
        "",
        &[
            ("images", IMAGES),
            ("presets", PRESETS),
            (
                "volume_roots",
                "write a list of absolute folders on the host",
            ),
            ("users_may_create", FLAG),
            ("profiles_per_user", COUNT),
            ("require", "write a list of sections: \"egress\""),
            ("quotas", TABLE),
            ("limits", TABLE),
        ],
    ),
    ("quotas", QUOTAS),
    ("quotas.per_user", QUOTAS.split_at(QUOTAS.len() - 1).0),
    ("limits", LIMITS),
];

/// What may stand in one kind of document.
#[derive(Clone, Copy)]
pub(crate) struct Schema(&'static [Table]);

impl Schema {
    pub(super) const PROFILE: Schema = Schema(PROFILE_TABLES);
    pub(super) const CEILINGS: Schema = Schema(CEILINGS_TABLES);

    fn table(self, table: &str) -> &'static [(&'static str, &'static str)] {
        let found = self.0.iter().find(|(name, _)| *name == table);
        found.map_or(&[], |(_, fields)| fields)
    }

    /// What to write for the field `name` of `table`; `None` if there is none.
    pub(super) fn expects(self, table: &str, name: &str) -> Option<&'static str> {
        let fields = self.table(table).iter();
        fields
            .clone()
            .find(|(known, _)| *known == name)
            .map(|(_, expects)| *expects)
    }

    /// The names of the fields of `table`.
    pub(super) fn names(self, table: &str) -> Vec<&'static str> {
        self.table(table).iter().map(|(name, _)| *name).collect()
    }

    fn fields(self) -> Vec<FieldInfo> {
        let of = |(table, fields): &Table| {
            let table = *table;
            let field = move |(name, expects): &(&'static str, &'static str)| FieldInfo {
                table,
                name,
                expects,
            };
            fields.iter().map(field).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }
}

/// Every field of a profile, in the order of the documentation.
#[must_use]
pub fn profile_schema() -> Vec<FieldInfo> {
    Schema::PROFILE.fields()
}

/// Every field of the ceilings, in the order of the documentation.
#[must_use]
pub fn ceilings_schema() -> Vec<FieldInfo> {
    Schema::CEILINGS.fields()
}
