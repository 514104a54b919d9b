//! The texts of errors, as an administrator reads them.
//!
//! `LAKEKEEP_UPDATE_GOLDEN=1 cargo test -p lakekeep-profiles --test golden`
//! rewrites `errors.golden`.

#[cfg(test)]
mod tests {
    use lakekeep_profiles::{Ceilings, CeilingsDoc, Profile, ProfileDoc};
    use lakekeep_profiles::{ceilings_schema, profile_schema};

    const CASES: &str = include_str!("errors.cases");
    const README: &str = include_str!("../README.md");

    /// Cases are separated by lines of `---`.
    fn outcome(case: &str) -> String {
        let doc = ProfileDoc::from_toml("team.toml", case);
        match doc.and_then(|doc| Profile::check(&doc, &Ceilings::default())) {
            Err(errors) => errors.to_string(),
            Ok(_) => "accepted".to_owned(),
        }
    }

    #[test]
    fn error_texts_are_as_agreed() {
        let actual: Vec<String> = CASES
            .split("---\n")
            .map(|case| format!("{case}>>> {}\n", outcome(case).replace('\n', "\n>>> ")))
            .collect();
        let actual = actual.join("\n");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/errors.golden");
        if std::env::var_os("LAKEKEEP_UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &actual).unwrap();
        }
        let agreed = std::fs::read_to_string(path).unwrap();
        assert!(
            actual == agreed,
            "LAKEKEEP_UPDATE_GOLDEN=1 rewrites it:\n{actual}"
        );
        assert!(!actual.contains(">>> accepted"));
        for line in actual.lines().filter(|line| line.starts_with(">>> ")) {
            assert!(line.contains(';') && line.contains("team.toml:"), "{line}");
            assert!(!line.contains("hunter2"), "{line}");
        }
    }

    /// The TOML of the README's blocks, in their order.
    fn examples() -> Vec<&'static str> {
        let blocks = README.split("```toml\n").skip(1);
        blocks
            .map(|block| block.split("```").next().unwrap())
            .collect()
    }

    #[test]
    fn the_examples_of_the_documentation_are_valid() {
        let examples = examples();
        assert_eq!(examples.len(), 3);
        let doc = ProfileDoc::from_toml("example", examples[0]).unwrap();
        let profile = Profile::check(&doc, &Ceilings::default()).unwrap();
        assert_eq!(profile.volumes().len(), 3);
        assert!(profile.egress().is_some());
        let ceilings = CeilingsDoc::from_toml("ceilings", examples[1]).unwrap();
        let ceilings = Ceilings::check(ceilings).unwrap();
        lakekeep_profiles::PersonalProfile::from_toml("personal", examples[2], &ceilings).unwrap();
    }

    #[test]
    fn a_document_survives_being_written() {
        let doc = ProfileDoc::from_toml("example", examples()[0]).unwrap();
        let text = doc.to_toml().unwrap();
        assert_eq!(ProfileDoc::from_toml("again", &text).unwrap(), doc);
    }

    /// Each field of the schema is a field of the document: an unknown one
    /// would be called so.
    #[test]
    fn the_schema_names_every_field() {
        for (fields, ceilings) in [(profile_schema(), false), (ceilings_schema(), true)] {
            for field in fields {
                let list = matches!(field.table, "volume" | "secret" | "egress.sockets");
                let open = if list { "[[" } else { "[" };
                let close = if list { "]]" } else { "]" };
                let text = match field.table {
                    "" => format!("{} = nan\n", field.name),
                    table => format!("{open}{table}{close}\n{} = nan\n", field.name),
                };
                let errors = if ceilings {
                    CeilingsDoc::from_toml("t", &text).unwrap_err().to_string()
                } else {
                    ProfileDoc::from_toml("t", &text).unwrap_err().to_string()
                };
                assert!(!errors.contains("unknown field"), "{text}{errors}");
                let full = format!("{}.{}", field.table, field.name);
                let full = full.trim_start_matches('.');
                assert!(
                    field.name == "env" || errors.contains(field.expects),
                    "{full}: {errors}"
                );
            }
        }
    }

    #[test]
    fn a_long_or_hostile_document_is_refused_in_bounded_time() {
        let long = format!("version = 1 # {}", "x".repeat(300_000));
        assert!(
            ProfileDoc::from_toml("t", &long)
                .unwrap_err()
                .to_string()
                .contains("300")
        );
        let many: String = (0..5000).map(|n| format!("field{n} = 1\n")).collect();
        let errors = ProfileDoc::from_toml("t", &many).unwrap_err();
        assert_eq!(errors.faults().len(), lakekeep_profiles::MOST_FAULTS);
    }
}
