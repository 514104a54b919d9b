//! Documents as a user meets them: both formats, overlays, digests, secrets.

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use lakekeep_policy::{
        Bytes, Cpus, Layer, MAX_DOCUMENT_BYTES, MountDoc, MountMode, Policy, PolicyDoc, Preset,
        ProcView, SCHEMA, format_duration, parse_duration,
    };

    const TOML: &str = include_str!("full.toml");
    const JSON: &str = include_str!("full.json");

    fn toml(body: &str) -> PolicyDoc {
        PolicyDoc::from_toml("t.toml", &format!("version = 1\n{body}")).unwrap()
    }

    fn policy(body: &str) -> Policy {
        Policy::check(toml(body)).unwrap()
    }

    #[test]
    fn toml_and_json_mean_the_same() {
        let from_toml = PolicyDoc::from_toml("full.toml", TOML).unwrap();
        let from_json = PolicyDoc::from_json("full.json", JSON).unwrap();
        assert_eq!(from_toml, from_json);
        let (a, b) = (
            Policy::check(from_toml).unwrap(),
            Policy::check(from_json).unwrap(),
        );
        assert_eq!(a.digest(), b.digest());
        assert_eq!(a.to_text(), b.to_text());
    }

    #[test]
    fn a_document_survives_being_written_and_read() {
        let doc = PolicyDoc::from_toml("full.toml", TOML).unwrap();
        let json = serde_json::to_string(&doc).unwrap();
        assert_eq!(PolicyDoc::from_json("again.json", &json).unwrap(), doc);
        let again = toml::to_string(&doc).unwrap();
        assert_eq!(PolicyDoc::from_toml("again.toml", &again).unwrap(), doc);
    }

    /// The full document sets every field, so its JSON form names every field.
    #[test]
    fn the_schema_table_is_the_schema() {
        let doc = PolicyDoc::from_json("full.json", JSON).unwrap();
        let value = serde_json::to_value(&doc).unwrap();
        let mut fields = Vec::new();
        for (name, value) in value.as_object().unwrap() {
            fields.push((String::new(), name.clone()));
            let table = value.as_array().map_or(value, |items| &items[0]);
            for inner in table
                .as_object()
                .filter(|_| name != "env")
                .iter()
                .flat_map(|t| t.keys())
            {
                fields.push((name.clone(), inner.clone()));
            }
        }
        let mut table: Vec<(String, String)> = SCHEMA
            .iter()
            .map(|info| (info.table.to_owned(), info.name.to_owned()))
            .collect();
        fields.sort();
        table.sort();
        assert_eq!(fields, table);
    }

    #[test]
    fn the_reference_names_every_field_layer_and_preset_value() {
        let reference = include_str!("../../../docs/policy.md");
        for info in SCHEMA {
            let field = match info.table {
                "" => format!("`{}`", info.name),
                table => format!("`{table}.{}`", info.name),
            };
            assert!(
                reference.contains(&field),
                "{field} is not in docs/policy.md"
            );
        }
        for layer in Layer::ALL {
            let row = format!("| `{layer}` | {} |", layer.describe());
            assert!(reference.contains(&row), "{row} is not in docs/policy.md");
        }
        for row in default_rows() {
            assert!(reference.contains(&row), "{row} is not in docs/policy.md");
        }
    }

    /// `| `limits.memory` | 1GiB | 4GiB | 2GiB |` and so on.
    fn default_rows() -> Vec<String> {
        let columns: Vec<Vec<(&str, String)>> = Preset::ALL
            .iter()
            .map(|preset| {
                let limits = preset.limits();
                let time = |span: Option<Duration>| span.map_or("none".into(), format_duration);
                vec![
                    ("memory", limits.memory().to_string()),
                    ("swap", limits.swap().to_string()),
                    ("cpus", limits.cpus().to_string()),
                    ("pids", limits.pids().to_string()),
                    ("wall_time", time(limits.wall_time())),
                    ("cpu_time", time(limits.cpu_time())),
                    ("open_files", limits.open_files().to_string()),
                    ("file_size", limits.file_size().to_string()),
                    ("scratch_size", limits.scratch_size().to_string()),
                    ("scratch_inodes", limits.scratch_inodes().to_string()),
                    ("output", limits.output().to_string()),
                ]
            })
            .collect();
        (0..columns[0].len())
            .map(|row| {
                let values: Vec<&str> = columns.iter().map(|c| c[row].1.as_str()).collect();
                format!(
                    "| `limits.{}` | {} |",
                    columns[0][row].0,
                    values.join(" | ")
                )
            })
            .collect()
    }

    #[test]
    fn single_values_of_the_upper_document_win() {
        let under =
            toml("preset = \"udf\"\nworkdir = \"/a\"\n[limits]\npids = 5\nmemory = \"1MiB\"");
        let mut over = PolicyDoc {
            workdir: Some("/b".into()),
            ..PolicyDoc::default()
        };
        over.limits.memory = Some(Bytes(2 << 20));
        let doc = under.overlay(over);
        assert_eq!(doc.preset, Some(Preset::Udf));
        assert_eq!(doc.workdir.as_deref(), Some("/b"));
        assert_eq!(doc.limits.pids, Some(5));
        assert_eq!(doc.limits.memory, Some(Bytes(2 << 20)));
    }

    #[test]
    fn every_single_value_can_be_overlaid() {
        let full = PolicyDoc::from_toml("full.toml", TOML).unwrap();
        let over_nothing = PolicyDoc::default().overlay(full.clone());
        assert_eq!(over_nothing, full);
        assert_eq!(full.clone().overlay(PolicyDoc::default()), full);
    }

    #[test]
    fn mounts_are_appended_variables_merged_and_the_floor_raised() {
        let under = toml(
            "env = {A = \"1\", B = \"1\"}\nfloor.require = [\"seccomp\"]\n\
             [[mounts]]\nsource = \"/a\"\ntarget = \"/a\"",
        );
        let over = toml(
            "env = {B = \"2\"}\nfloor.require = [\"landlock\", \"seccomp\"]\n\
             [[mounts]]\nsource = \"/b\"\ntarget = \"/b\"",
        );
        let doc = under.overlay(over);
        let sources: Vec<&str> = doc
            .mounts
            .iter()
            .map(|mount| mount.source.as_str())
            .collect();
        assert_eq!(sources, ["/a", "/b"]);
        assert_eq!(
            (doc.env.0["A"].as_str(), doc.env.0["B"].as_str()),
            ("1", "2")
        );
        assert_eq!(doc.floor.require, ["seccomp", "landlock"]);
    }

    /// A violation names the line of the document that the value came from, and
    /// none if it came from a flag.
    #[test]
    fn violations_keep_their_line_through_an_overlay() {
        let under = toml(
            "[limits]\npids = 0\nopen_files = 0\n[[mounts]]\nsource = \"/a\"\ntarget = \"/a\"",
        );
        let mut flags = PolicyDoc::from_toml(
            "over.toml",
            "version = 1\n\n[[mounts]]\nsource = \"b\"\ntarget = \"/b\"",
        )
        .unwrap();
        flags.limits.pids = Some(0);
        let errors = Policy::check(under.overlay(flags)).unwrap_err();
        let places: Vec<String> = errors
            .violations()
            .iter()
            .map(|v| {
                format!(
                    "{} {}",
                    v.field(),
                    v.place().map_or("-".into(), ToString::to_string)
                )
            })
            .collect();
        assert_eq!(
            places,
            [
                "limits.pids t.toml:2",
                "limits.open_files t.toml:4",
                "mounts[1].source over.toml:4"
            ]
        );
    }

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_writing() {
        let a = policy(
            "preset = \"udf\"\n[env]\nA = \"1\"\nB = \"2\"\n[limits]\npids = 5\ncpus = 2\n[floor]\nrequire = [\"seccomp\", \"landlock\"]",
        );
        let b = policy(
            "preset = \"udf\"\n[floor]\nrequire = [\"landlock\", \"seccomp\"]\n[limits]\ncpus = 2.0\npids = 5\n[env]\nB = \"2\"\nA = \"1\"",
        );
        assert_eq!(a.digest(), b.digest());
        assert_eq!(a.digest().len(), 64);
    }

    #[test]
    fn the_digest_spells_out_the_preset() {
        assert_eq!(
            policy("").digest(),
            policy("preset = \"general\"\n[limits]\nmemory = \"2GiB\"").digest()
        );
    }

    #[test]
    fn every_field_counts_in_the_digest() {
        let bodies = [
            "",
            "preset = \"udf\"",
            "preset = \"notebook\"",
            "image = \"/srv/a\"",
            "image = \"/srv/b\"",
            "workdir = \"/w\"",
            "limits.memory = \"3GiB\"",
            "limits.swap = \"1MiB\"",
            "limits.cpus = 3",
            "limits.pids = 3",
            "limits.wall_time = 3",
            "limits.cpu_time = 3",
            "limits.open_files = 3",
            "limits.file_size = 3",
            "limits.scratch_size = 3",
            "limits.scratch_inodes = 3",
            "limits.output = 3",
            "[[mounts]]\nsource = \"/a\"\ntarget = \"/t\"",
            "[[mounts]]\nsource = \"/a\"\ntarget = \"/u\"",
            "[[mounts]]\nsource = \"/b\"\ntarget = \"/t\"",
            "[[mounts]]\nsource = \"/a\"\ntarget = \"/t\"\nmode = \"rw\"",
            "env.A = \"1\"",
            "env.A = \"2\"",
            "env.B = \"1\"",
            "seccomp.profile = \"udf\"",
            "proc.view = \"pids\"",
            "landlock.enabled = false",
            "floor.require = [\"seccomp\"]",
        ];
        let digests: BTreeMap<String, &str> = bodies
            .iter()
            .map(|body| (policy(body).digest(), *body))
            .collect();
        assert_eq!(digests.len(), bodies.len());
    }

    #[test]
    fn values_of_variables_are_shown_nowhere() {
        let doc = toml("[env]\nTOKEN = \"hunter2\"");
        assert!(!format!("{doc:?}").contains("hunter2"));
        let policy = Policy::check(doc).unwrap();
        for text in [format!("{policy:?}"), policy.to_string(), policy.to_text()] {
            assert!(
                text.contains("TOKEN") && !text.contains("hunter2"),
                "{text}"
            );
        }
    }

    #[test]
    fn values_of_variables_are_in_no_error() {
        for body in [
            "env = \"hunter2\"",
            "[[env]]\nA = \"hunter2\"",
            "[env]\nA = [\"hunter2\"]",
            "[env]\nA.B = \"hunter2\"",
            "[env]\nA = \"hunter2",
            "[env]\nA = hunter2",
            "[env]\nA = '''hunter2''",
            "[env]\nA = \"hunter2\"\nA = \"hunter2\"",
            "[env]\nA = \"hunter2\\q\"",
            "[env]\nA = \"hunter2\" x",
        ] {
            let error = PolicyDoc::from_toml("t", &format!("version = 1\n{body}")).unwrap_err();
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
        for env in [
            "\"hunter2\"",
            "[\"hunter2\"]",
            "{\"A\": [\"hunter2\"]}",
            "{\"A\": {\"B\": \"hunter2\"}}",
            "{\"A\": \"hunter2",
            "{\"A\": hunter2}",
            "{\"A\": \"x\", \"A\": \"hunter2\"}",
            "{\"A\": \"hunter2\\q\"}",
        ] {
            let text = format!("{{\"version\": 1, \"env\": {env}}}");
            let error = PolicyDoc::from_json("t", &text).unwrap_err();
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
        for number in ["4711.5", "4711", "-4711", "471147114711471147114711"] {
            let text = format!("{{\"version\": 1, \"env\": {{\"A\": {number}}}}}");
            let error = PolicyDoc::from_json("t", &text).unwrap_err();
            assert!(!error.to_string().contains("4711"), "{error}");
        }
    }

    #[test]
    fn the_text_form_is_a_document_of_the_same_policy() {
        let long = "n".repeat(200);
        let body = format!(
            "preset = \"notebook\"\nworkdir = '/a\"b\\c'\nfloor.require = [\"seccomp\"]\n\
             [[mounts]]\nsource = \"/a\\n\\u202E{long}\"\ntarget = \"/{long}/x\""
        );
        let first = policy(&body);
        let again = PolicyDoc::from_toml("text", &first.to_text()).unwrap();
        assert_eq!(Policy::check(again).unwrap().digest(), first.digest());
    }

    #[test]
    fn weakenings_announce_themselves() {
        for (body, field) in [
            ("landlock.enabled = false", "landlock.enabled"),
            (
                "preset = \"udf\"\nseccomp.profile = \"general\"",
                "seccomp.profile",
            ),
            ("preset = \"udf\"\nproc.view = \"full\"", "proc.view"),
            ("limits.swap = \"1MiB\"", "limits.swap"),
            (
                "[[mounts]]\nsource = \"/home\"\ntarget = \"/d\"\nmode = \"rw\"",
                "mounts.source",
            ),
            (
                "[[mounts]]\nsource = \"/\"\ntarget = \"/d\"",
                "mounts.source",
            ),
            (
                "[[mounts]]\nsource = \"/run/docker.sock\"\ntarget = \"/d\"",
                "mounts.source",
            ),
        ] {
            let warnings = policy(body).warnings();
            let fields: Vec<&str> = warnings.iter().map(|warning| warning.field()).collect();
            assert_eq!(fields, [field], "{body}");
        }
        for body in [
            "seccomp.profile = \"udf\"",
            "proc.view = \"pids\"",
            "[[mounts]]\nsource = \"/home\"\ntarget = \"/d\"",
            "[[mounts]]\nsource = \"/home/a\"\ntarget = \"/d\"\nmode = \"rw\"",
        ] {
            assert_eq!(policy(body).warnings(), [], "{body}");
        }
    }

    #[test]
    fn a_document_can_be_made_in_code() {
        let mut doc = PolicyDoc {
            preset: Some(Preset::Udf),
            ..PolicyDoc::default()
        };
        doc.proc.view = Some(ProcView::Pids);
        doc.limits.cpus = Some(Cpus::from_millis(500));
        doc.env.0.insert("A".into(), "1".into());
        doc.mounts.push(MountDoc {
            source: "/srv/x".into(),
            target: "/data/x".into(),
            mode: Some(MountMode::ReadOnly),
        });
        assert!(Policy::check(doc).is_ok());
    }

    #[test]
    fn an_oversized_document_is_refused_unread() {
        let text = "#".repeat(MAX_DOCUMENT_BYTES + 1);
        for error in [
            PolicyDoc::from_toml("big", &text).unwrap_err(),
            PolicyDoc::from_json("big", &text).unwrap_err(),
        ] {
            assert!(error.to_string().contains("write at most 1048576 bytes"));
        }
    }

    #[test]
    fn sizes_read_back() {
        let powers = (0..64).map(|shift| 1_u64 << shift);
        let mixed = (1..5000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (n % 64));
        for bytes in powers.chain(mixed).chain([0, u64::MAX]).map(Bytes) {
            assert_eq!(bytes.to_string().parse(), Ok(bytes));
            assert_eq!(bytes.get().to_string().parse(), Ok(bytes));
        }
    }

    #[test]
    fn times_read_back() {
        for n in 0..5000_u64 {
            let millis = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (n % 64);
            let span = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(span)), Ok(span));
        }
    }
}
